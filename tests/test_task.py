"""Task: construction, steps, what a coroutine may yield, cancellation, names, contexts.

Most tests are scenarios played on asyncio's and on hotloop's types (support/worlds.py); the
messages a user is likely to match on are also written out once.
"""

import asyncio
import collections.abc
import contextvars
import copy
import gc
import inspect
import io
import re
import sys
import types
import weakref

import pytest
from support.task_kinds import ALL_KINDS, NATIVE, STOCK
from support.worlds import check_every_kind, same_as_asyncio

import hotloop

variable = contextvars.ContextVar("variable", default="unset")


@types.coroutine
def give(value):
    """Await this to hand any object to the task that runs the coroutine."""
    return (yield value)


async def nothing():
    return "nothing"


async def return_value(value):
    return value


async def raise_error(error):
    raise error


@pytest.mark.parametrize("kind", ALL_KINDS, ids=str)
def test_messages_are_asyncios(kind):
    """The texts themselves: everything else in this file only compares."""
    loop = kind.new_loop()
    with pytest.raises(TypeError, match=r"^a coroutine was expected, got 5$"):
        kind.Task(5, loop=loop)
    task = kind.Task(nothing(), loop=loop)
    with pytest.raises(RuntimeError, match=r"^Task does not support set_result operation$"):
        task.set_result(1)
    with pytest.raises(RuntimeError, match=r"^Task does not support set_exception operation$"):
        task.set_exception(ValueError())
    with pytest.raises(asyncio.InvalidStateError, match=r"^Result is not set\.$"):
        task.result()
    loop.run_until_complete(task)
    other = kind.new_loop()
    foreign = kind.Future(loop=other)

    async def wait_for(awaitable):
        await awaitable

    task = kind.Task(wait_for(foreign), loop=loop)
    with pytest.raises(RuntimeError, match=r"^Task <Task.*got Future <Future.*different loop$"):
        loop.run_until_complete(task)
    for value, message in (
        (5, "^Task got bad yield: 5$"),
        ((n for n in ()), "^yield was used instead of yield from for generator in task <Task"),
        (kind.Future(loop=loop), "^yield was used instead of yield from in task <Task.*with <Fut"),
    ):
        with pytest.raises(RuntimeError, match=message):
            loop.run_until_complete(kind.Task(give_in_coroutine(value), loop=loop))
    loop.close()
    other.close()


async def give_in_coroutine(value):
    return await give(value)


def test_types_stand_in_asyncios_class_tree():
    assert issubclass(hotloop.Task, asyncio.Task)
    assert issubclass(hotloop.Task, hotloop.Future)
    assert hotloop.Task.__name__ == "Task"
    assert hotloop.Task.__module__ == "hotloop"
    assert hotloop.Task.__mro__[:4] == (
        hotloop.Task,
        hotloop.Future,
        asyncio.Task,
        asyncio.Future,
    )


def test_task_is_as_large_as_asyncios():
    assert hotloop.Task.__basicsize__ == asyncio.Task.__basicsize__


def test_type_cannot_be_changed():
    with pytest.raises(TypeError, match="immutable type"):
        hotloop.Task.extra = None


@pytest.mark.parametrize(
    "name", [n for n in dir(asyncio.Task) if callable(getattr(asyncio.Task, n))]
)
def test_signatures_are_asyncios(name):
    """inspect.signature() gives what it gives for asyncio, and fails where it fails there."""

    def signature(owner):
        try:
            return str(inspect.signature(getattr(owner, name)))
        except (ValueError, TypeError) as error:
            return type(error)

    assert signature(hotloop.Task) == signature(asyncio.Task)


def test_generic_alias_is_of_the_own_type():
    assert hotloop.Task[int].__origin__ is hotloop.Task


def test_loop_creates_own_tasks(loop_factory):
    made = loop_factory()
    task = made.create_task(nothing())
    expected = (STOCK if loop_factory is asyncio.SelectorEventLoop else NATIVE).Task
    assert type(task) is expected
    assert made.run_until_complete(task) == "nothing"
    made.close()


# --- Construction ---------------------------------------------------------------------------------


@same_as_asyncio
def test_constructor_arguments(w):
    make = w.kind.Task
    coroutine = w.keep(nothing())
    w.attempt(make)
    w.attempt(make, coroutine, w.loop)
    w.attempt(make, coroutine, loop=w.loop, extra=1)
    for wrong in (5, None, nothing, object(), w.future(), (n for n in ()), [], "text"):
        w.attempt(make, wrong, loop=w.loop, name="wrong")
    w.turns(1)  # asyncio of 3.11 takes generators.
    w.attempt(make, coroutine, loop=object())


@same_as_asyncio
def test_constructor_context(w):
    class Odd:
        def run(self, *args):
            return None

    w.attempt(lambda: w.task(nothing(), context=None)._state)
    w.attempt(lambda: w.task(nothing(), context=contextvars.copy_context())._state)
    if sys.version_info >= (3, 15):  # Before, asyncio takes anything and fails at the first step.
        w.attempt(lambda: w.task(nothing(), context=5)._state)
        w.attempt(lambda: w.task(nothing(), context=Odd())._state)
    w.turns(1)


@same_as_asyncio
def test_names(w):
    class Text(str):
        pass

    class Unprintable:
        def __str__(self):
            raise LookupError("no text")

    for name in ("text", 5, Text("child"), ("a", 1), True, "", 1.5):
        task = w.task(nothing(), name=name)
        w.note(task.get_name(), type(task.get_name()).__name__)
        w.attempt(task.set_name, name)
        w.note(task.get_name(), type(task.get_name()).__name__)
    w.attempt(lambda: w.kind.Task(w.keep(nothing()), loop=w.loop, name=Unprintable()))
    w.attempt(task.set_name, Unprintable())
    w.attempt(task.set_name, None)
    w.note(task.get_name())
    w.attempt(task.set_name)
    w.attempt(task.set_name, "one", "two")
    w.turns(1)


def test_default_names_count_up_across_kinds(loop):
    """asyncio's tasks and hotloop's number themselves from the same form, each without gaps."""
    tasks = [hotloop.Task(nothing(), loop=loop) for _ in range(3)]
    numbers = [int(re.fullmatch(r"Task-(\d+)", task.get_name())[1]) for task in tasks]
    assert numbers == list(range(numbers[0], numbers[0] + 3))
    assert tasks[0].get_name() is tasks[0].get_name()
    loop.run_until_complete(asyncio.gather(*tasks))


class RegisteredCoroutine:
    """What collections.abc calls a coroutine without being derived from it."""

    def __init__(self, note):
        self.note = note

    def send(self, value):
        raise StopIteration("from send")

    def throw(self, *args):
        raise args[0]

    def close(self):
        self.note("close")


collections.abc.Coroutine.register(RegisteredCoroutine)


class DerivedCoroutine(collections.abc.Coroutine):
    """A coroutine in plain Python that counts its steps."""

    def __init__(self, note):
        self.note = note
        self.steps = 0

    def send(self, value):
        self.note("send", value)
        self.steps += 1
        if self.steps == 3:
            raise StopIteration("derived")
        return None

    def throw(self, kind, value=None, traceback=None):
        self.note("throw", kind)
        raise kind

    def close(self):
        self.note("close")

    def __await__(self):
        return self


@same_as_asyncio
def test_coroutine_like_objects(w):
    for make in (RegisteredCoroutine, DerivedCoroutine, DerivedCoroutine):
        task = w.task(make(w.note))
        w.turns(4)
        w.attempt(task.result)
    task = w.task(DerivedCoroutine(w.note))
    w.turns(1)
    task.cancel("text")
    w.turns(2)
    w.note(task.cancelled())
    # A second type of the same name: the answer is remembered by type, not by name.
    w.attempt(w.kind.Task, type("DerivedCoroutine", (), {})(), loop=w.loop)


@same_as_asyncio
def test_second_init(w):
    task = w.task(nothing())
    w.turns(1)
    w.attempt(task.__init__, w.keep(return_value("again")), loop=w.loop, name="renamed")
    w.note(task.get_name(), task._state)
    w.turns(2)
    w.attempt(task.result)


# --- Steps ----------------------------------------------------------------------------------------


@same_as_asyncio
def test_result_of_the_coroutine(w):
    for error in (
        ValueError("text"),
        LookupError,
        asyncio.CancelledError("self"),
        GeneratorExit("text"),
        BaseException("text"),
    ):
        task = w.task(raise_error(error))
        w.turns(1)
        w.note(task._state, task.done(), task.cancelled(), task._log_traceback)
        w.attempt(task.result)
        w.attempt(task.exception)
    task = w.task(return_value("value"))
    w.note(task._state, task.done())
    w.turns(1)
    w.note(task._state, task.done(), task._result)
    w.attempt(task.result)
    w.attempt(task.exception)


@pytest.mark.parametrize("value", [None, (), (1, 2), StopIteration(5), ValueError("v")], ids=repr)
def test_returned_values_stay_what_they_are(value):
    """A tuple or an exception in a StopIteration is easily unpacked by mistake."""

    def scenario(w):
        task = w.task(return_value(value))
        w.turns(1)
        w.attempt(task.result)
        w.note(task.result() is value)

    check_every_kind(scenario)


@pytest.mark.parametrize("error", [KeyboardInterrupt("text"), SystemExit(5)], ids=repr)
def test_exits_leave_the_loop(error):
    def scenario(w):
        task = w.task(raise_error(copy.copy(error)))
        w.loop.call_soon(w.note, "behind it")
        w.attempt(w.loop.run_forever)
        w.note(task._state)
        w.attempt(task.result)
        w.note(w.loop.is_running(), asyncio.current_task(w.loop))
        w.turns(1)

    check_every_kind(scenario)


class BlockingNone:
    _asyncio_future_blocking = None


class LooksLikeAFuture:
    """The protocol for futures of others: what asyncio asks of an object that is awaited."""

    def __init__(self, w, blocking=True, **overrides):
        self.w = w
        self._asyncio_future_blocking = blocking
        self.callbacks = []
        self.__dict__.update(overrides)

    def get_loop(self):
        self.w.note("get_loop")
        return self.w.loop

    def add_done_callback(self, callback, *, context):
        self.w.note("add_done_callback", context)
        self.callbacks.append((callback, context))

    def result(self):
        self.w.note("result")
        return "its result"

    def cancel(self, msg="not given"):
        self.w.note("cancel", msg)
        return False


def _bad_yields(w):
    def raising_get_loop():
        raise LookupError("get_loop")

    def raising_add(callback, *, context):
        raise LookupError("add_done_callback")

    foreign = w.kind.Future(loop=types.SimpleNamespace(get_debug=lambda: False))
    foreign._asyncio_future_blocking = True
    return {
        "int": 5,
        "text": "text",
        "false": False,
        "list": [],
        "generator": (n for n in ()),
        "future, not blocking": w.future(),
        "future of another loop": foreign,
        "blocking is None": BlockingNone(),
        "not blocking": LooksLikeAFuture(w, blocking=False),
        "get_loop raises": LooksLikeAFuture(w, get_loop=raising_get_loop),
        "other loop": LooksLikeAFuture(w, get_loop=lambda: None),
        "add_done_callback raises": LooksLikeAFuture(w, add_done_callback=raising_add),
        "no add_done_callback": types.SimpleNamespace(
            _asyncio_future_blocking=True, get_loop=lambda: w.loop
        ),
    }


@pytest.mark.parametrize(
    "label",
    _bad_yields(type("W", (), {"kind": STOCK, "loop": None, "future": staticmethod(lambda: None)})),
)
def test_what_may_not_be_yielded(label):
    def scenario(w):
        value = w.describe.name("yielded", _bad_yields(w)[label])
        w.log.clear()

        async def body():
            try:
                await give(value)
            except BaseException as error:
                w.note("delivered", type(error).__name__, re.sub("<.*>", "<>", str(error)))
                raise

        task = w.task(body())
        w.turns(1)
        w.note("one turn", task.done(), getattr(value, "_asyncio_future_blocking", None))
        w.turns(1)
        w.note("two turns", task.done())
        w.note(task._state, type(task._exception).__name__, task._must_cancel)
        task._log_destroy_pending = task._log_traceback = False

    check_every_kind(scenario)


@same_as_asyncio
def test_awaiting_itself(w):
    async def body():
        await task

    task = w.task(body())
    w.turns(3)
    w.attempt(task.result)


@same_as_asyncio
def test_bare_yield_gives_way_for_one_turn(w):
    async def body(label):
        for number in range(3):
            w.note(label, number)
            await give(None)

    w.task(body("one"), "one")
    w.loop.call_soon(w.note, "between")
    w.task(body("two"), "two")
    for _ in range(4):
        w.turns(1)
        w.note("turn")


@same_as_asyncio
def test_foreign_future_protocol(w):
    future = w.describe.name("foreign", LooksLikeAFuture(w))

    async def body():
        w.note("sent in", await give(future))
        w.note("after")

    task = w.task(body())
    w.turns(1)
    w.note(future._asyncio_future_blocking, task._fut_waiter is future)
    ((callback, context),) = future.callbacks
    w.note(callback)
    w.loop.call_soon(callback, future, context=context)
    w.turns(1)
    w.note(task._state, task._fut_waiter)


@same_as_asyncio
def test_foreign_future_that_has_only_a_loop_attribute(w):
    class Old(LooksLikeAFuture):
        get_loop = property()

    future = Old(w, _loop=w.loop)

    async def body():
        await give(future)

    task = w.task(body())
    w.turns(2)
    w.note(task._state, len(future.callbacks))


@same_as_asyncio
def test_foreign_future_whose_result_raises(w):
    for error in (LookupError("result"), asyncio.CancelledError("result"), GeneratorExit("result")):

        def raising(error=error):
            raise error

        future = LooksLikeAFuture(w, result=raising)

        async def body(future=future):
            try:
                await give(future)
            except BaseException as caught:
                w.note("thrown in", caught)
                raise

        task = w.task(body())
        w.turns(1)
        ((callback, context),) = future.callbacks
        w.loop.call_soon(callback, future, context=context)
        w.turns(2)
        w.note(task._state, task.cancelled())
        w.attempt(task.exception)


@same_as_asyncio
def test_step_when_already_done(w):
    """asyncio's tasks can be woken by hand: the second wake-up finds the task done."""
    gate = w.future("gate")
    task = w.task(w.wait_for("task", gate))
    w.turns(1)
    ((wakeup, _),) = gate._callbacks
    gate.set_result(1)
    w.turns(1)
    w.note(task._state)
    w.attempt(wakeup, gate)


@same_as_asyncio
def test_set_result_by_way_of_future(w):
    """The Future's methods work on a task; its own next step then finds it done."""
    task = w.task(w.wait_for("task", w.future("gate")))
    w.task(w.wait_for("waiter", task), "waiter")
    w.turns(1)
    w.attempt(w.kind.Future.set_result, task, "forced")
    w.turns(1)
    w.attempt(task.result)
    w.attempt(w.kind.Future.set_exception, task, ValueError())
    late = w.task(nothing())
    w.kind.Future.set_result(late, "forced")
    w.loop.set_exception_handler(
        lambda loop, context: w.note(re.sub("<.*>", "<>", str(context["exception"])))
    )
    w.turns(1)


@same_as_asyncio
def test_current_task_and_order_of_steps(w):
    async def body(label):
        w.note(label, asyncio.current_task(), asyncio.current_task(w.loop))
        await asyncio.sleep(0)
        w.note(label, asyncio.current_task())

    w.task(body("one"), "one")
    w.loop.call_soon(
        lambda: w.note("callback", asyncio.current_task(), asyncio.current_task(w.loop))
    )
    w.task(body("two"), "two")
    w.turns(2)
    w.note(asyncio.current_task(w.loop))


@same_as_asyncio
def test_wakeup_order_is_first_come_first_served(w):
    future = w.future()
    for number in range(4):
        w.task(w.wait_for(f"waiter {number}", future), f"waiter {number}")
    w.turns(1)
    w.loop.call_soon(w.note, "before")
    future.set_result("go")
    w.loop.call_soon(w.note, "after")
    w.turns(1)


@same_as_asyncio
def test_turns_until_a_chain_of_tasks_is_done(w):
    async def outer(inner):
        w.note(await inner)
        return "outer"

    inner = w.task(return_value("inner"), "inner")
    middle = w.task(outer(inner), "middle")
    last = w.task(outer(middle), "last")
    while not last.done():
        w.turns(1)
        w.note(inner.done(), middle.done(), last.done())


# --- Cancellation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [(), ("text",), (None,), (5,)], ids=repr)
@pytest.mark.parametrize("when", ["before start", "waiting", "between yields", "done"])
def test_cancel(when, arguments):
    def scenario(w):
        async def body():
            try:
                if when == "between yields":
                    await give(None)
                    await give(None)
                else:
                    await w.future("gate")
            except asyncio.CancelledError as error:
                w.note("body", error)
                raise

        task = w.task(nothing() if when == "done" else body())
        w.turns({"before start": 0, "waiting": 1, "between yields": 1, "done": 1}[when])
        w.attempt(task.cancel, *arguments)
        w.note(task.cancelling(), task._must_cancel, task._cancel_message, task._fut_waiter)
        w.attempt(task.cancel, "second")
        w.note(task.cancelling(), task._must_cancel, task._cancel_message)
        w.turns(3)
        w.note(task._state, task.cancelling(), task._must_cancel)
        w.attempt(task.result)
        w.attempt(task.cancel)

    check_every_kind(scenario)


@same_as_asyncio
def test_cancel_arguments(w):
    task = w.task(w.wait_for("body", w.future("gate")))
    w.attempt(task.cancel, "one", "two")
    w.attempt(task.cancel, message="wrong keyword")
    w.attempt(task.cancelling, 1)
    w.attempt(task.uncancel, 1)
    w.turns(2)


@same_as_asyncio
def test_cancel_that_is_swallowed(w):
    async def body():
        for _ in range(2):
            try:
                await w.future("gate")
            except asyncio.CancelledError as error:
                w.note("swallowed", error)
        return "survived"

    task = w.task(body())
    w.turns(1)
    for message in ("first", "second"):
        task.cancel(message)
        w.turns(2)
        w.note(task._state, task.cancelling())
    w.attempt(task.result)


@same_as_asyncio
def test_cancel_oneself(w):
    async def body():
        w.attempt(task.cancel, "by myself")
        w.note(task._must_cancel, task.cancelling())
        await w.wait_for("body", w.future("gate"))
        return "went on"

    task = w.task(body())
    w.turns(3)
    w.note(task._state)


@same_as_asyncio
def test_cancel_oneself_and_return(w):
    async def body():
        task.cancel("too late?")
        return "value"

    task = w.task(body())
    w.turns(2)
    w.note(task._state)
    w.attempt(task.result)


@same_as_asyncio
def test_cancel_oneself_then_raise(w):
    async def body():
        task.cancel("text")
        raise LookupError("stronger")

    task = w.task(body())
    w.turns(2)
    w.note(task._state)
    w.attempt(task.result)


@same_as_asyncio
def test_cancel_oneself_then_bare_yield(w):
    async def body():
        task.cancel("text")
        await give(None)

    task = w.task(body())
    w.turns(2)
    w.note(task._state, task._cancel_message)


@same_as_asyncio
def test_cancel_of_the_innermost_waiter(w):
    gate = w.future("gate")
    tasks = [w.task(w.wait_for("inner", gate), "inner")]
    for level in range(3):
        tasks.append(w.task(w.wait_for(f"level {level}", tasks[-1]), f"level {level}"))
    w.turns(4)
    w.attempt(tasks[-1].cancel, "from outside")
    w.note(gate._state, gate._cancel_message, [task._must_cancel for task in tasks])
    w.turns(5)
    w.note([task._state for task in tasks])


@same_as_asyncio
def test_cancel_while_the_waiter_is_already_done(w):
    gate = w.future("gate")
    task = w.task(w.wait_for("task", gate))
    w.turns(1)
    gate.set_result("value")
    w.attempt(task.cancel, "text")
    w.note(task._must_cancel)
    w.turns(2)
    w.note(task._state)


@same_as_asyncio
def test_cancel_when_the_waiter_refuses(w):
    future = w.describe.name("foreign", LooksLikeAFuture(w))

    async def body():
        try:
            await give(future)
        except asyncio.CancelledError as error:
            w.note("cancelled", error)

    task = w.task(body())
    w.turns(1)
    w.attempt(task.cancel, "text")
    w.note(task._must_cancel)
    ((callback, context),) = future.callbacks
    w.loop.call_soon(callback, future, context=context)
    w.turns(2)
    w.note(task._state)


@same_as_asyncio
def test_cancel_when_the_waiters_cancel_raises(w):
    class Raising(LooksLikeAFuture):
        def cancel(self, msg=None):
            raise LookupError("no cancel")

    task = w.task(give_in_coroutine(Raising(w)))
    w.turns(1)
    w.attempt(task.cancel)
    w.note(task._must_cancel, task.cancelling(), task._state)


@same_as_asyncio
def test_uncancel(w):
    task = w.task(w.wait_for("task", w.future("gate")))
    w.attempt(task.uncancel)
    task.cancel("text")
    task.cancel("text")
    for _ in range(3):
        w.attempt(task.uncancel)
        w.note(task.cancelling(), task._must_cancel)
    w.turns(2)
    w.note(task._state)


@same_as_asyncio
def test_exception_in_handling_cancellation_is_chained(w):
    async def body():
        try:
            await w.future("gate")
        except asyncio.CancelledError:
            raise LookupError("while cleaning up")  # noqa: B904

    task = w.task(body())
    w.turns(1)
    task.cancel("text")
    w.turns(2)
    w.note(task.exception(), task.exception().__context__)


@same_as_asyncio
def test_same_cancelled_error_object_travels(w):
    async def body():
        try:
            await w.future("gate")
        except asyncio.CancelledError as error:
            seen.append(error)
            raise

    async def outer():
        try:
            await task
        except asyncio.CancelledError as error:
            seen.append(error)
            raise

    seen = []
    task = w.task(body())
    waiter = w.task(outer(), "outer")
    w.turns(1)
    task.cancel("text")
    w.turns(3)
    w.attempt(waiter.result)
    w.note(seen, seen[0] is seen[1])
    seen.clear()


# --- Contexts -------------------------------------------------------------------------------------


@same_as_asyncio
def test_context_is_a_copy_of_the_creators(w):
    async def body():
        w.note(variable.get())
        variable.set("inside")
        await give(None)
        w.note(variable.get())

    token = variable.set("creator")
    w.task(body())
    variable.set("later")
    w.turns(2)
    w.note(variable.get())
    variable.reset(token)


@same_as_asyncio
def test_given_context_is_used_itself(w):
    async def body():
        variable.set("inside")
        await w.future("gate")

    context = contextvars.copy_context()
    task = w.task(body(), context=context)
    w.turns(1)
    w.note(context[variable])
    if sys.version_info >= (3, 12):
        w.note(task.get_context() is context)


@same_as_asyncio
def test_context_that_is_no_context(w):
    """All that asyncio asks of it, up to 3.14, is its run()."""

    class Other:
        def __init__(self):
            self.context = contextvars.copy_context()

        def run(self, function, *args):
            w.note("run")
            return self.context.run(function, *args)

    async def body():
        variable.set("inside")
        await asyncio.sleep(0)
        w.note("resumed", variable.get(), asyncio.current_task(w.loop))
        w.note("got", await gate)

    gate = w.future("gate")
    w.attempt(lambda: w.task(body(), context=Other())._state)
    w.turns(3)
    gate.set_result("result")
    w.turns(2)
    w.note(asyncio.current_task(w.loop))


@same_as_asyncio
def test_done_callbacks_run_in_the_context_they_were_added_in(w):
    async def body():
        variable.set("task's own")

    task = w.task(body())
    token = variable.set("adder's")
    task.add_done_callback(lambda task: w.note(variable.get()))
    variable.reset(token)
    w.turns(2)


@same_as_asyncio
def test_context_that_is_already_entered(w):
    """The step cannot begin; loop and thread stay usable and no task stays current."""
    w.loop.set_exception_handler(
        lambda loop, context: w.note("handler", type(context["exception"]).__name__)
    )
    context = contextvars.copy_context()
    task = w.task(nothing(), context=context)

    def inside():
        w.turns(1)
        w.note(asyncio.current_task(w.loop), task._state)

    context.run(inside)
    other = w.task(nothing(), "other")
    w.turns(1)
    w.note(other._state)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="needs Python 3.12: Task.get_context")
def test_get_context():
    def scenario(w):
        context = contextvars.copy_context()
        task = w.task(nothing(), context=context)
        w.note(task.get_context() is context)
        w.turns(1)
        w.note(task.get_context() is context)

    check_every_kind(scenario)


# --- Looking at it --------------------------------------------------------------------------------


@same_as_asyncio
def test_attributes(w):
    gate = w.future("gate")
    coroutine = w.wait_for("task", gate)
    w.describe.name("coroutine", coroutine)
    task = w.task(coroutine)
    for name in ("_coro", "_fut_waiter", "_must_cancel", "_log_destroy_pending"):
        w.attempt(getattr, task, name)
        w.attempt(delattr, task, name)
        if name != "_log_destroy_pending":
            w.attempt(setattr, task, name, None)
    for value in (False, 0, 1, "", "text", None):
        w.attempt(setattr, task, "_log_destroy_pending", value)
        w.note(task._log_destroy_pending)
    w.turns(1)
    w.note(task._fut_waiter, task.get_coro(), task._coro)
    gate.set_result(1)
    w.note(task._fut_waiter)
    w.turns(1)
    w.note(task._fut_waiter, task.get_coro())


@same_as_asyncio
def test_repr(w):
    gate = w.future("gate")
    task = w.task(w.wait_for("task", gate))
    w.note(repr(task))
    task.add_done_callback(w.callback("callback"))
    w.turns(1)
    w.note(repr(task))
    task.cancel("text")
    w.note(repr(task))
    w.turns(1)
    w.note(repr(task))
    failed = w.task(raise_error(LookupError("text")))
    w.turns(1)
    w.note(repr(failed), failed.exception())
    cancelled = w.task(nothing())
    cancelled.cancel()
    w.note(repr(cancelled))
    w.turns(1)
    w.note(repr(cancelled))


@same_as_asyncio
def test_stack(w):
    async def inner(gate):
        await gate

    async def outer(gate):
        await inner(gate)

    gate = w.future("gate")
    task = w.task(outer(gate))
    w.note(task.get_stack())
    w.turns(1)
    w.note(task.get_stack(), task.get_stack(limit=1), task.get_stack(limit=0))
    sink = io.StringIO()
    w.attempt(task.print_stack, file=sink)
    w.note(sink.getvalue())
    w.attempt(task.get_stack, 1)
    w.attempt(task.get_stack, limit="x")
    w.attempt(task.print_stack, limit=1, file=5)
    gate.set_exception(LookupError("text"))
    w.turns(1)
    w.note([frame.f_code.co_name for frame in task.get_stack()])
    sink = io.StringIO()
    task.print_stack(file=sink)
    w.note(sink.getvalue())
    w.note(task.exception())


@same_as_asyncio
def test_source_traceback(w):
    def create():
        return w.task(nothing())

    task = create()
    if w.loop.get_debug():
        w.note([frame.name for frame in task._source_traceback[-3:]])
    else:
        w.note(task._source_traceback)
    w.turns(1)


@same_as_asyncio
def test_source_traceback_of_loop_and_asyncio_create_task(w):
    async def main():
        for make in (w.loop.create_task, asyncio.create_task, asyncio.ensure_future):
            task = make(nothing())
            stack = task._source_traceback
            w.note(stack and stack[-1].name)
            await task

    w.run(main())


def test_weakly_referenced(loop):
    task = hotloop.Task(nothing(), loop=loop)
    died = []
    reference = weakref.ref(task, died.append)
    loop.run_until_complete(task)
    del task
    gc.collect()
    assert died == [reference]


def test_coroutine_and_result_are_released_with_the_task(loop):
    class Value:
        pass

    async def body(argument):
        return Value()

    argument = Value()
    task = hotloop.Task(body(argument), loop=loop)
    result = loop.run_until_complete(task)
    references = [weakref.ref(argument), weakref.ref(result)]
    del argument, result, task
    gc.collect()
    assert [reference() for reference in references] == [None, None]


@same_as_asyncio
def test_waiting_task_is_kept_alive_by_its_future_only(w):
    gate = w.kind.Future(loop=w.loop)
    task = w.kind.Task(w.wait_for("task", gate), loop=w.loop, name="task")
    w.turns(1)
    reference = weakref.ref(task)
    del task
    gc.collect()
    w.note(reference() is not None)
    gate.set_result("woken")
    w.turns(1)
    gc.collect()
    w.note(reference() is None)


# --- asyncio's own tools with it ------------------------------------------------------------------


@same_as_asyncio
def test_gather(w):
    async def main():
        w.note(await asyncio.gather(*(w.task(return_value(n)) for n in range(3)), nothing()))
        broken = w.task(raise_error(LookupError("text")))
        w.note(await asyncio.gather(nothing(), broken, return_exceptions=True))
        await w.wait_for("gather", asyncio.gather(nothing(), raise_error(ValueError("v"))))
        never = w.future("never")
        gathered = asyncio.gather(never, nothing())
        w.loop.call_soon(gathered.cancel, "text")
        await w.wait_for("cancelled", gathered)
        w.note(never._state)

    w.run(main())


@same_as_asyncio
def test_wait_and_as_completed(w):
    async def main():
        gates = [w.future(f"gate {n}") for n in range(3)]
        tasks = [w.task(w.wait_for(f"task {n}", gate), f"task {n}") for n, gate in enumerate(gates)]
        w.loop.call_soon(gates[1].set_result, 1)
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        w.note(done, pending)
        done, pending = await asyncio.wait(pending, timeout=0.001)
        w.note(done, pending)
        w.loop.call_soon(gates[2].set_exception, LookupError("two"))
        w.loop.call_soon(gates[0].cancel)
        for finished in asyncio.as_completed(tasks):
            w.note(await finished)

    w.run(main())


@same_as_asyncio
def test_shield_and_wait_for(w):
    async def main():
        inner = w.future("inner")
        outer = asyncio.shield(inner)
        w.loop.call_soon(outer.cancel)
        await w.wait_for("shield", outer)
        w.note(inner._state)
        await w.wait_for("wait_for", asyncio.wait_for(inner, 0.001))
        w.note(inner._state)
        w.note(await asyncio.wait_for(nothing(), 5))
        async with asyncio.timeout(5):
            w.note(await nothing())
        try:
            async with asyncio.timeout(0.001):
                await w.future("never")
        except TimeoutError as error:
            w.note("timed out", error.__cause__)

    w.run(main())


@same_as_asyncio
def test_task_group(w):
    async def main():
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(return_value(n)) for n in range(3)]
        w.note([task.result() for task in tasks])
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(w.wait_for("sibling", w.future("never")))
                group.create_task(raise_error(LookupError("text")))
        except* LookupError as errors:
            w.note(str(errors), errors.exceptions)
        w.note(asyncio.current_task().cancelling())

    w.run(main())


@same_as_asyncio
def test_queue_lock_event_and_threads(w):
    async def worker(queue):
        while (item := await queue.get()) is not None:
            w.note(item)
            queue.task_done()

    async def main():
        queue = asyncio.Queue(1)
        consumer = w.task(worker(queue), "consumer")
        for item in (1, 2, 3):
            await queue.put(item)
        await queue.join()
        await queue.put(None)
        await consumer
        lock, event = asyncio.Lock(), asyncio.Event()
        async with lock:
            waiting = w.task(lock.acquire(), "locked")
            await asyncio.sleep(0)
            w.note(waiting.done())
        w.note(await waiting)
        w.loop.call_soon(event.set)
        w.note(await event.wait())
        w.note(await asyncio.to_thread(lambda: "from a thread"))

    w.run(main())
    w.loop.run_until_complete(w.loop.shutdown_default_executor())
