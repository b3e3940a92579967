"""Objects that misbehave: whatever user code does in the middle of our work, nothing may crash.

Each scenario has user code run at a point where a task or future is half-way through a change: in a
comparison, a constructor, a finalizer, call_soon, a custom awaitable, a context manager. Most are
compared with asyncio's outcome; where asyncio itself crashes, only hotloop's types are tried.
"""

import asyncio
import contextlib
import contextvars
import gc
import re
import sys
import threading
import types
import weakref

import pytest
from support.task_kinds import NATIVE, run_turns
from support.worlds import same_as_asyncio

import hotloop


@types.coroutine
def give(value):
    """Await this to hand any object to the task that runs the coroutine."""
    return (yield value)


@pytest.fixture
def own(request):
    """Return a loop for tests of hotloop's types alone."""
    loop = hotloop.new_event_loop()
    yield loop
    loop.close()


# --- Comparisons ----------------------------------------------------------------------------------


def _comparing(reaction):
    class Evil:
        def __init__(self):
            self.reacted = False

        def __call__(self, future):
            pass

        def __eq__(self, other):
            if not self.reacted:
                self.reacted = True
                reaction(other)
            return NotImplemented if isinstance(other, Evil) else False

        __hash__ = None

    return Evil


@same_as_asyncio
def test_comparison_that_removes_or_finishes(w):
    reactions = {
        "removes all": lambda future, evil: future.remove_done_callback(evil),
        "adds one": lambda future, evil: future.add_done_callback(w.callback("added")),
        "finishes": lambda future, evil: future.set_result(1),
        "cancels": lambda future, evil: future.cancel(),
        "raises": lambda future, evil: 1 / 0,
    }
    for label, reaction in reactions.items():
        for position in range(3):
            future = w.kind.Future(loop=w.loop)
            evil_type = _comparing(lambda other: reaction(future, other))  # noqa: B023
            callbacks = [evil_type() for _ in range(3)]
            for number, callback in enumerate(callbacks):
                callback.reacted = number != position
                future.add_done_callback(callback)
            w.note(label, position)
            # How many it says it removed, of those that were scheduled meanwhile, is an accident.
            w.attempt(lambda: type(future.remove_done_callback(object())))  # noqa: B023
            w.note(future._state, len(future._callbacks or ()))
            w.turns(1)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_comparison_that_reinitializes_the_future(own):
    """Re-initialising frees the callbacks that are being compared; 3.15 refuses to do it."""

    class Evil:
        def __eq__(self, other):
            future.__init__(loop=own)
            return False

        __hash__ = None

    for number in range(1, 4):
        future = hotloop.Future(loop=own)
        for _ in range(number):
            future.add_done_callback(Evil())
        if sys.version_info >= (3, 15):
            with pytest.raises(RuntimeError, match="already initialized"):
                future.remove_done_callback(Evil())
        else:
            future.remove_done_callback(Evil())
            assert future._callbacks is None


def test_comparison_in_which_the_callback_frees_itself(own):
    class Evil:
        def __eq__(self, other):
            if other is not always:
                future.remove_done_callback(always)
                gc.collect()
            return other is always

        __hash__ = None

    always = object()
    for number in (1, 2, 5):
        future = hotloop.Future(loop=own)
        for _ in range(number):
            future.add_done_callback(Evil())
        assert future.remove_done_callback(object()) == 0
        assert not future._callbacks


# --- call_soon and other methods of the loop ------------------------------------------------------


@same_as_asyncio
def test_call_soon_that_misbehaves(w):
    def misbehaving(reaction):
        class Loop:
            def get_debug(self):
                return False

            def is_running(self):
                return False

            def call_exception_handler(self, context):
                w.note("handler", context["message"])

            def call_soon(self, callback, *args, context=None):
                w.note("call_soon")
                return reaction()

        return Loop()

    def raising():
        raise LookupError("call_soon")

    reactions = {
        "raises": raising,
        "re-enters": lambda: w.note(future.done(), future._callbacks),
        "adds": lambda: future.add_done_callback(print) if len(w.log) < 20 else None,
        "removes": lambda: future.remove_done_callback(print),
        "cancels": lambda: w.note(future.cancel()),
        "sets": lambda: w.attempt(future.set_result, 2),
    }
    for label, reaction in reactions.items():
        for finish in ("set_result", "cancel", "set_exception"):
            future = w.kind.Future(loop=misbehaving(reaction))
            for _ in range(3):
                future.add_done_callback(print)
            w.log.clear()
            w.note(label, finish)
            arguments = {"set_result": [1], "set_exception": [LookupError("x")]}
            w.attempt(getattr(future, finish), *arguments.get(finish, []))
            w.note(future._state, future._callbacks)
            future._log_traceback = False


@same_as_asyncio
def test_task_on_a_loop_that_misbehaves(w):
    class Loop:
        def __init__(self, error):
            self.error = error

        def get_debug(self):
            return False

        def call_soon(self, *args, **kwargs):
            raise self.error

        def call_exception_handler(self, context):
            w.note("handler", context["message"])

    for error in (LookupError("call_soon"), KeyboardInterrupt("call_soon")):
        w.attempt(w.kind.Task, w.keep(asyncio.sleep(0)), loop=Loop(error), name="task")
        gc.collect()


# --- Constructors and finalizers ------------------------------------------------------------------


@same_as_asyncio
def test_exception_class_whose_constructor_drops_the_future(w):
    holder = {}

    class Evil(Exception):
        def __init__(self):
            holder.clear()
            gc.collect()

    holder["future"] = w.kind.Future(loop=w.loop)
    w.attempt(lambda: holder["future"].set_exception(Evil))
    w.note(len(holder))


@same_as_asyncio
def test_value_whose_finalizer_uses_the_future(w):
    class Evil:
        def __del__(self):
            w.attempt(lambda: (future._state, future._result))
            w.attempt(future.cancel)

    future = w.kind.Future(loop=w.loop)
    future.set_result(Evil())
    if sys.version_info < (3, 15):
        w.attempt(future.__init__, loop=w.loop)
    w.note(future._state)
    future = w.kind.Future(loop=w.loop)
    future.cancel(Evil())
    future._cancel_message = None
    w.note(future._state)


@same_as_asyncio
def test_finalizer_that_runs_the_loop(w):
    class Evil:
        def __del__(self):
            w.note("running", w.loop.is_running())
            w.attempt(w.loop.run_until_complete, w.kind.Future(loop=w.loop))

    async def body():
        Evil()
        await asyncio.sleep(0)
        w.note("still running")

    w.run(body())


@same_as_asyncio
def test_finalizer_in_the_coroutines_frame(w):
    """The last reference to the coroutine goes while its task ends: its frame's values die then."""

    class Evil:
        def __del__(self):
            w.note("finalized", asyncio.current_task(w.loop) is not None)
            w.loop.call_soon(w.note, "pushed by the finalizer")

    async def body():
        kept = Evil()
        await asyncio.sleep(0)
        return id(kept) != 0

    w.note(w.run(body()))
    w.turns(1)


@same_as_asyncio
def test_done_callback_drops_the_last_reference_to_everything(w):
    def drop(future):
        holder.clear()
        gc.collect()
        w.note("dropped")

    holder = {"future": w.kind.Future(loop=w.loop)}
    holder["future"].add_done_callback(drop)
    holder["future"].add_done_callback(drop)
    holder["future"].set_result(1)
    w.turns(1)


# --- Coroutines -----------------------------------------------------------------------------------


class Misbehaving:
    """A coroutine by its methods, each of which does what it is told."""

    def __init__(self, send, throw=None):
        self.send_reaction = send
        self.throw_reaction = throw

    def send(self, value):
        return self.send_reaction()

    def throw(self, *args):
        return self.throw_reaction(args)

    def close(self):
        pass

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        return self.send(None)


asyncio.coroutines.collections.abc.Coroutine.register(Misbehaving)


def _raise(error):
    raise error


@same_as_asyncio
def test_send_that_misbehaves(w):
    reactions = {
        "returns a value": lambda: 5,
        "returns none for ever": lambda: None,
        "stops without a value": lambda: _raise(StopIteration),
        "stops with a tuple": lambda: _raise(StopIteration((1, 2))),
        "stops with many values": lambda: _raise(StopIteration(1, 2)),
        "raises a class": lambda: _raise(LookupError),
        "stops asynchronously": lambda: _raise(StopAsyncIteration("x")),
        "exits as a generator": lambda: _raise(GeneratorExit("x")),
        "returns itself": lambda: coroutine,
        "closes the loop": lambda: w.attempt(w.loop.close),
        "finishes its own task": lambda: w.kind.Future.cancel(task),
        "runs the loop": lambda: w.attempt(w.loop.run_until_complete, w.future("never")),
    }
    w.loop.set_exception_handler(
        lambda loop, context: w.note("handler", re.sub("<.*>", "<>", str(context.get("exception"))))
    )
    for label, reaction in reactions.items():
        coroutine = w.describe.name("coroutine", Misbehaving(reaction))
        task = w.task(coroutine)
        w.turns(3)
        w.note(label, task._state)
        task.cancel()
        coroutine.throw_reaction = lambda args: _raise(args[0])
        w.turns(3)
        w.note(task._state, task._must_cancel)
        w.note(type(task._exception).__name__ if task.done() else None)
        task._log_traceback = False


@same_as_asyncio
def test_throw_that_misbehaves(w):
    reactions = {
        "ignores it": lambda args: None,
        "yields something else": lambda args: 5,
        "stops": lambda args: _raise(StopIteration("result")),
        "raises another": lambda args: _raise(LookupError("x")),
        "raises the class": lambda args: _raise(asyncio.CancelledError),
        "raises the same": lambda args: _raise(args[0]),
        "cancels again": lambda args: w.note(task.cancel("again")),
    }
    for label, reaction in reactions.items():
        task = w.task(Misbehaving(lambda: None, reaction))
        w.turns(2)
        task.cancel("text")
        w.turns(2)
        w.note(label, task._state, task.cancelling(), task._must_cancel)
        w.note(type(task._exception).__name__ if task.done() else None)
        task._log_traceback = False
        task._log_destroy_pending = False
        if not task.done():
            w.kind.Future.set_result(task, "given up")
            w.loop.set_exception_handler(lambda loop, context: None)
            w.turns(1)


@same_as_asyncio
def test_awaitables_of_many_makes(w):
    class WithAwait:
        def __init__(self, iterator):
            self.iterator = iterator

        def __await__(self):
            return self.iterator

    @types.coroutine
    def generator_based():
        yield from w_future.__await__()
        return "generator-based"

    class Iterator:
        def __init__(self):
            self.steps = 0

        def __iter__(self):
            return self

        def __next__(self):
            self.steps += 1
            if self.steps > 2:
                raise StopIteration("iterator")
            return None

    w_future = w.future()
    w_future.set_result(None)

    async def main():
        w.note(await WithAwait(Iterator()))
        w.note(await WithAwait(iter(())))
        w.note(await generator_based())
        w.note(await WithAwait(w_future.__await__()))
        for wrong in (5, None, [], iter("")):
            try:
                await WithAwait(wrong)
            except TypeError as error:
                w.note(error)

    w.run(main())


@same_as_asyncio
def test_blocking_attribute_that_misbehaves(w):
    class Evil:
        def __init__(self, answer):
            self.answer = answer

        @property
        def _asyncio_future_blocking(self):
            return self.answer()

        @_asyncio_future_blocking.setter
        def _asyncio_future_blocking(self, value):
            w.note("set to", value)
            raise LookupError("not settable")

        def get_loop(self):
            return w.loop

        def add_done_callback(self, callback, *, context):
            w.note("callback added")

    class Undecided:
        def __bool__(self):
            raise LookupError("neither")

    async def body(answer):
        try:
            await give(Evil(answer))
        except Exception as error:
            w.note("delivered", type(error).__name__)

    reported = []
    w.loop.set_exception_handler(lambda loop, context: reported.append(context))
    for answer in (lambda: _raise(LookupError("get")), lambda: True, Undecided, lambda: 0):
        task = w.task(body(answer))
        w.turns(3)
        w.note(task._state, type(task._exception).__name__)
        w.note([type(context["exception"]).__name__ for context in reported])
        reported.clear()
        task._log_destroy_pending = task._log_traceback = False


@same_as_asyncio
def test_waiter_that_calls_the_wakeup_at_once(w):
    """A future of others that breaks the rule and calls its callback inside add_done_callback."""

    class Hasty:
        _asyncio_future_blocking = True

        def get_loop(self):
            return w.loop

        def add_done_callback(self, callback, *, context):
            try:
                callback(self)
            except Exception as error:
                w.note("callback", type(error).__name__)

        def result(self):
            return None

        def cancel(self, msg=None):
            return False

    w.loop.set_exception_handler(
        lambda loop, context: w.note("handler", type(context["exception"]).__name__)
    )
    task = w.task(give_in_coroutine(Hasty()))
    w.turns(3)
    w.note(task._state)
    task._log_destroy_pending = task._log_traceback = False


async def give_in_coroutine(value):
    return await give(value)


# --- Re-entrance ----------------------------------------------------------------------------------


@same_as_asyncio
def test_loop_run_from_within_a_task(w):
    async def main():
        # Not run_forever(), after whose refusal asyncio of 3.13 thinks that no loop is running.
        w.attempt(w.loop.run_until_complete, w.future())
        w.note(asyncio.current_task() is not None)
        await asyncio.sleep(0)

    w.run(main())


@same_as_asyncio
def test_task_stepped_by_hand_within_itself(w):
    gate = w.future("gate")
    wakeups = []

    async def body():
        await gate
        try:
            wakeups[0](gate)
        except Exception as error:
            w.note(type(error).__name__)
        return "survived"

    task = w.task(body())
    w.turns(1)
    wakeups.append(gate._callbacks[0][0])
    gate.set_result(1)
    w.loop.set_exception_handler(
        lambda loop, context: w.note("handler", type(context["exception"]).__name__)
    )
    w.turns(2)
    w.note(task._state)
    task._log_traceback = False


@same_as_asyncio
def test_coroutine_shared_by_two_tasks(w):
    async def body():
        await w.future("gate")

    coroutine = body()
    tasks = [w.task(coroutine, label) for label in ("one", "two")]
    w.turns(2)
    w.note([task._state for task in tasks])
    w.note([type(task._exception).__name__ for task in tasks])
    for task in tasks:
        task._log_traceback = False


@same_as_asyncio
def test_coroutine_that_is_finished_or_closed_already(w):
    async def body():
        return "value"

    finished, closed = body(), body()
    w.attempt(finished.send, None)
    closed.close()
    for coroutine in (finished, closed):
        task = w.task(coroutine)
        w.turns(1)
        w.attempt(task.result)


@same_as_asyncio
def test_context_manager_that_cancels_its_task_on_the_way_out(w):
    class Evil:
        async def __aenter__(self):
            return self

        async def __aexit__(self, *error):
            w.note("leaving", error[1])
            asyncio.current_task().cancel("on the way out")

    async def body():
        async with Evil():
            await asyncio.sleep(0)
        w.note("left")
        await w.wait_for("body", w.future("gate"))

    task = w.task(body())
    w.turns(4)
    w.note(task._state)


@same_as_asyncio
def test_deep_chains_of_tasks_do_not_use_up_the_stack(w):
    async def wait_for(task):
        return await task

    async def bottom():
        await asyncio.sleep(0)
        return "bottom"

    task = first = w.kind.Task(bottom(), loop=w.loop)
    for _ in range(500):
        task = w.kind.Task(wait_for(task), loop=w.loop)
    w.turns(2)
    w.note(w.loop.run_until_complete(task), first.done())
    task = w.kind.Future(loop=w.loop)
    chain = [task]
    for _ in range(200):
        chain.append(w.kind.Task(wait_for(chain[-1]), loop=w.loop))
    w.turns(201)
    w.note(chain[-1].cancel(), chain[0].cancelled())
    w.turns(202)
    w.note([one.cancelled() for one in chain] == [True] * 201)
    del task, first, chain
    gc.collect()


@same_as_asyncio
def test_cancelling_tasks_that_wait_for_each_other(w):
    """Cancelling goes round in a circle while the stack lasts; it must end in an error."""

    async def body(other):
        await asyncio.sleep(0)
        await tasks[other]

    tasks = {}
    tasks[0], tasks[1] = w.task(body(1), "zero"), w.task(body(0), "one")
    w.turns(3)
    try:
        tasks[0].cancel()
    except RecursionError:
        w.note("RecursionError")
    w.note(tasks[0].done(), tasks[1].done())
    for task in tasks.values():
        w.kind.Future.set_result(task, "given up")
    w.loop.set_exception_handler(lambda loop, context: None)
    w.turns(2)


def test_collector_frees_a_long_chain_of_futures(own):
    """Freed one by the other, a chain of 10,000 must not overflow the C stack."""
    last = None
    for _ in range(10_000):
        future = hotloop.Future(loop=own)
        future.set_result(last)
        last = future
    del future, last
    gc.collect()


def test_collector_runs_in_every_state(own):
    """A collection at the worst moment: within each call of user code that a step makes."""
    thresholds = gc.get_threshold()
    gc.set_threshold(1)
    try:

        async def child(number):
            await asyncio.sleep(0)
            if number % 3 == 0:
                raise LookupError(number)
            return [number]

        async def main():
            tasks = [hotloop.Task(child(number), loop=own) for number in range(30)]
            tasks[1].cancel()
            return await asyncio.gather(*tasks, return_exceptions=True)

        results = own.run_until_complete(main())
    finally:
        gc.set_threshold(*thresholds)
    assert len(results) == 30
    assert results[2] == [2]


def test_garbage_that_finishes_the_future_whose_callbacks_are_shown(own):
    """CPython 3.11 collects in the middle of the making of what stands for a waiting task."""

    class Garbage:
        def __init__(self, future):
            self.itself = self
            self.future = future

        def __del__(self):
            if not self.future.done():
                self.future.set_result(None)

    async def wait(future):
        await future

    thresholds = gc.get_threshold()
    for allocations in range(1, 12):
        gc.collect()
        future = hotloop.Future(loop=own)
        task = own.create_task(wait(future))
        run_turns(own, 1)
        Garbage(future)
        gc.set_threshold(allocations)
        try:
            shown = future._callbacks
        finally:
            gc.set_threshold(*thresholds)
        assert shown is None or len(shown) <= 1
        gc.collect()
        run_turns(own, 1)
        assert task.done()


# --- Where asyncio's own types crash --------------------------------------------------------------


def test_uninitialized_task_bears_everything(own):
    """asyncio's crashes in get_coro, get_context or its finalizer, depending on the version."""
    task = hotloop.Task.__new__(hotloop.Task)
    for name in ("get_coro", "get_context", "get_name", "done", "result", "cancel", "get_stack"):
        if hasattr(task, name):
            try:
                getattr(task, name)()
            except (RuntimeError, asyncio.InvalidStateError, AttributeError):
                continue
    for name in dir(asyncio.Task):
        with contextlib.suppress(RuntimeError):
            getattr(task, name, None)
    with pytest.raises(RuntimeError, match="Future object is not initialized"):
        repr(task)
    task._log_destroy_pending = True
    reference = weakref.ref(task)
    del task
    gc.collect()
    assert reference() is None


def test_reinitialized_while_running_and_cancelled(own):
    """asyncio 3.14 crashes: the cancellation has lost its message on the way."""

    async def body():
        task.cancel("text")
        with contextlib.suppress(RuntimeError):  # 3.15 refuses to initialise twice.
            hotloop.Future.__init__(task, loop=own)
        await gate

    gate = hotloop.Future(loop=own)
    task = hotloop.Task(body(), loop=own)
    run_turns(own, 3)
    assert task.cancelled()
    assert gate.cancelled()


def test_a_scheduled_task_that_cannot_be_initialised_again(own):
    """In a thread without a loop; asyncio's then has none to be scheduled on."""

    async def body():
        await asyncio.sleep(0)
        return "done"

    def initialize():
        other = body()
        with contextlib.suppress(RuntimeError):
            task.__init__(other)
        other.close()

    task = hotloop.Task(body(), loop=own)
    thread = threading.Thread(target=initialize)
    thread.start()
    thread.join()
    assert own.run_until_complete(task) == "done"


def test_a_running_task_that_is_given_another_coroutine(own):
    """The one that runs belonged to the task alone."""

    async def body():
        coroutine = other()
        with contextlib.suppress(RuntimeError):  # 3.15 refuses to initialise twice.
            tasks[0].__init__(coroutine, loop=own)
        coroutine.close()
        await asyncio.sleep(0)
        return "the first"

    async def other():
        raise AssertionError("never runs")

    tasks = [hotloop.Task(body(), loop=own)]
    own.set_exception_handler(lambda loop, context: None)
    run_turns(own, 4)
    tasks.clear()
    gc.collect()


def test_a_scheduled_handle_whose_second_initialisation_cancels_it(own):
    """In the finalizer of its argument, which is neither the old one nor the new one then."""

    class Cancels:
        def __del__(self):
            handle.cancel()
            repr(handle)
            handle._run()

    handle = own.call_soon(print, Cancels())
    own.set_exception_handler(lambda loop, context: None)
    handle.__init__(print, (1, 2), own)
    run_turns(own, 1)


def test_contexts_that_are_none_of_ours(own):
    """A context that is not one fails, in the first step at the latest; the loop stays whole."""

    class Odd:
        def run(self, *args):
            return None

    reports = []
    own.set_exception_handler(lambda loop, context: reports.append(context))
    for context in (5, "text", Odd()):
        coroutine = asyncio.sleep(0)
        try:
            task = hotloop.Task(coroutine, loop=own, context=context)
            task._log_destroy_pending = False
            run_turns(own, 2)
        except (TypeError, AttributeError):
            pass
        finally:
            coroutine.close()
    reports.clear()
    assert own.run_until_complete(asyncio.sleep(0, "fine")) == "fine"


def test_done_callback_with_a_context_that_is_none(own):
    future = hotloop.Future(loop=own)
    with contextlib.suppress(TypeError, AttributeError):
        future.add_done_callback(print, context=5)
        future.set_result(1)
    own.set_exception_handler(lambda loop, context: None)
    with contextlib.suppress(TypeError, AttributeError):
        run_turns(own, 1)
    context = contextvars.copy_context()
    other = NATIVE.Future(loop=own)
    seen = []
    other.add_done_callback(seen.append, context=context)
    other.set_result(1)
    run_turns(own, 1)
    assert seen == [other]
