"""Future: states, results, exceptions, callbacks, awaiting and representation.

Most tests are scenarios played on asyncio's and on hotloop's types (support/worlds.py), so that
each Python's own asyncio says what is right, down to the message. The messages that a user is
likely to match on are also written out, once, in the first test.
"""

import asyncio
import concurrent.futures
import contextvars
import copy
import gc
import inspect
import traceback
import weakref

import pytest
from support.task_kinds import ALL_KINDS, NATIVE, STOCK
from support.worlds import check_every_kind, same_as_asyncio

import hotloop

variable = contextvars.ContextVar("variable", default="unset")


@pytest.mark.parametrize("kind", ALL_KINDS, ids=str)
def test_messages_are_asyncios(kind):
    """The texts themselves: everything else in this file only compares."""
    loop = kind.new_loop()
    future = kind.Future(loop=loop)
    with pytest.raises(asyncio.InvalidStateError, match=r"^Result is not set\.$"):
        future.result()
    with pytest.raises(asyncio.InvalidStateError, match=r"^Exception is not set\.$"):
        future.exception()
    future.set_result(1)
    with pytest.raises(asyncio.InvalidStateError, match=r"^invalid state$"):
        future.set_result(2)
    with pytest.raises(ValueError, match=r"^_log_traceback can only be set to False$"):
        future._log_traceback = True
    with pytest.raises(RuntimeError, match=r"^Future object is not initialized\.$"):
        kind.Future.__new__(kind.Future).get_loop()
    loop.close()


def test_types_stand_in_asyncios_class_tree():
    assert issubclass(hotloop.Future, asyncio.Future)
    assert not issubclass(hotloop.Future, asyncio.Task)
    assert hotloop.Future.__name__ == "Future"
    assert hotloop.Future.__module__ == "hotloop"
    assert asyncio.isfuture(hotloop.Future.__new__(hotloop.Future))


def test_future_is_as_large_as_asyncios():
    assert hotloop.Future.__basicsize__ == asyncio.Future.__basicsize__


def test_type_cannot_be_changed():
    with pytest.raises(TypeError, match="immutable type"):
        hotloop.Future.done = None
    with pytest.raises(TypeError, match="immutable type"):
        hotloop.Future.extra = None


def test_generic_alias_is_of_the_own_type():
    alias = hotloop.Future[int]
    assert alias.__origin__ is hotloop.Future
    assert alias.__args__ == (int,)


def _documented(owner):
    return [name for name in dir(owner) if callable(getattr(owner, name))]


@pytest.mark.parametrize("name", _documented(asyncio.Future))
def test_signatures_are_asyncios(name):
    """inspect.signature() gives what it gives for asyncio, and fails where it fails there."""

    def signature(owner):
        try:
            return str(inspect.signature(getattr(owner, name)))
        except (ValueError, TypeError) as error:
            return type(error)

    assert signature(hotloop.Future) == signature(asyncio.Future)


# --- Construction ---------------------------------------------------------------------------------


@same_as_asyncio
def test_constructor_arguments(w):
    future_type = w.kind.Future
    w.attempt(future_type, w.loop)
    w.attempt(future_type, 1, 2)
    w.attempt(future_type, loop=w.loop, extra=1)
    w.attempt(lambda: future_type(loop=w.loop)._state)
    w.attempt(future_type, loop=5)
    w.attempt(future_type, loop=object())


def test_loop_defaults_to_the_running_one(loop):
    async def main():
        return hotloop.Future().get_loop()

    assert loop.run_until_complete(main()) is loop


@same_as_asyncio
def test_default_loop_outside_of_a_coroutine(w):
    asyncio.set_event_loop(w.loop)
    try:
        w.attempt(lambda: w.kind.Future().get_loop())
    finally:
        asyncio.set_event_loop(None)
    w.attempt(lambda: w.kind.Future().get_loop())


@same_as_asyncio
def test_loop_is_asked_for_its_debug_mode(w):
    class Loop:
        def get_debug(self):
            w.note("asked")
            return []

    class DebugLoop(Loop):
        def get_debug(self):
            return 1

    class RefusingLoop(Loop):
        def get_debug(self):
            raise LookupError("no")

    class Undecided:
        def __bool__(self):
            raise LookupError("neither")

    class UndecidedLoop(Loop):
        def get_debug(self):
            return Undecided()

    w.note(w.kind.Future(loop=Loop())._source_traceback)
    w.note(w.kind.Future(loop=DebugLoop())._source_traceback)
    w.attempt(w.kind.Future, loop=RefusingLoop())
    w.attempt(w.kind.Future, loop=UndecidedLoop())


@same_as_asyncio
def test_second_init(w):
    for finish in ("cancel", "leave", "result", "exception"):
        future = w.future()
        future.add_done_callback(w.callback())
        if finish == "cancel":
            future.cancel("why")
        elif finish == "result":
            future.set_result(1)
        elif finish == "exception":
            future.set_exception(ValueError("x"))
            future.exception()
        w.attempt(future.__init__, loop=w.loop)
        w.note(repr(future), future._cancel_message, future._log_traceback)
        w.attempt(future.result)
        w.turns(1)


@same_as_asyncio
def test_uninitialized(w):
    future = w.kind.Future.__new__(w.kind.Future)
    w.describe.name("future", future)
    for name in ("done", "cancelled", "result", "exception", "cancel", "get_loop", "__await__"):
        w.attempt(getattr(future, name))
    w.attempt(future.set_result, 1)
    w.attempt(future.set_exception, ValueError)
    w.attempt(future.add_done_callback, print)
    w.attempt(future.remove_done_callback, print)
    w.attempt(future._make_cancelled_error)
    w.attempt(repr, future)
    w.attempt(lambda: future._state)
    w.attempt(lambda: future._loop)
    w.attempt(lambda: future._callbacks)
    w.attempt(setattr, future, "_log_traceback", False)
    w.attempt(setattr, future, "_asyncio_future_blocking", True)
    w.attempt(setattr, future, "_cancel_message", "text")


# --- Results and exceptions -----------------------------------------------------------------------


@same_as_asyncio
def test_result(w):
    future = w.future()
    w.note(future.done(), future.cancelled(), future._state, future._result)
    w.attempt(future.result)
    w.attempt(future.exception)
    w.attempt(future.set_result, None)
    w.note(future.done(), future.cancelled(), future._state, future._result)
    w.attempt(future.result)
    w.attempt(future.result)
    w.attempt(future.exception)
    w.attempt(future.set_result, 1)
    w.attempt(future.set_exception, ValueError("late"))
    w.attempt(future.cancel)
    w.attempt(future.result, 1)
    w.attempt(future.set_result)


class NeedsArgument(Exception):
    def __init__(self, argument):
        super().__init__(argument)


class NotAnException:
    pass


class NewGivesSomethingElse(Exception):
    def __new__(cls):
        return NotAnException()


class StopIterationChild(StopIteration):
    pass


@pytest.mark.parametrize(
    "error",
    [
        ValueError("text"),
        ValueError,
        KeyboardInterrupt("text"),
        SystemExit,
        asyncio.CancelledError("text"),
        NeedsArgument,
        NewGivesSomethingElse,
        None,
        5,
        "text",
        object,
        type,
        StopIteration,
        StopIteration("value"),
        StopIterationChild,
        StopIterationChild("value"),
        StopAsyncIteration("value"),
        GeneratorExit,
    ],
    ids=repr,
)
def test_set_exception(error):
    def scenario(w):
        future = w.future()
        # A copy, because the parameter outlives the test, with the frames in its traceback.
        w.attempt(future.set_exception, copy.copy(error))
        w.note(future._state, future._log_traceback)
        w.attempt(future.result)
        w.attempt(future.exception)
        if future.done():
            stored = future.exception()
            w.note(stored, stored.__cause__, stored.__context__)

    check_every_kind(scenario)


@same_as_asyncio
def test_exception_constructor_that_finishes_the_future(w):
    for finish in ("set_result", "cancel", "set_exception"):
        future = w.future()

        class Evil(Exception):
            def __init__(self, future=future, finish=finish):
                arguments = {"set_result": (1,), "cancel": (), "set_exception": (OSError("x"),)}
                getattr(future, finish)(*arguments[finish])

        w.attempt(future.set_exception, Evil)
        w.note(future._state, future._result)
        w.attempt(future.exception)


@same_as_asyncio
def test_result_raises_the_same_object_with_its_traceback(w):
    def raise_it():
        raise ValueError("text")

    error = None
    try:
        raise_it()
    except ValueError as caught:
        error = caught
    future = w.future()
    future.set_exception(error)
    for _ in range(3):
        try:
            future.result()
        except ValueError as caught:
            frames = [frame.name for frame in traceback.extract_tb(caught.__traceback__)]
            w.note(caught is error, len(frames), frames[-1])
    w.note(future.exception() is error)
    error.__traceback__ = None


@same_as_asyncio
def test_log_traceback(w):
    future = w.future()
    w.note(future._log_traceback)
    w.attempt(setattr, future, "_log_traceback", True)
    w.attempt(setattr, future, "_log_traceback", 1)
    w.attempt(setattr, future, "_log_traceback", 0)
    w.attempt(setattr, future, "_log_traceback", "")
    w.attempt(delattr, future, "_log_traceback")
    for look in ("result", "exception", "cancel"):
        future = w.future()
        future.set_exception(ValueError("text"))
        w.note(future._log_traceback)
        w.attempt(getattr(future, look))
        w.note(future._log_traceback)
    future = w.future()
    future.set_exception(ValueError("text"))
    future._log_traceback = False
    w.note(future._log_traceback)


# --- Cancelling -----------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [(), ("text",), (None,), (5,), (("a", "b"),)], ids=repr)
def test_cancel(arguments):
    def scenario(w):
        future = w.future()
        future.add_done_callback(w.callback())
        w.attempt(future.cancel, *arguments)
        w.note(future._state, future.done(), future.cancelled(), future._cancel_message)
        w.attempt(future.cancel, "again")
        w.note(future._cancel_message)
        w.attempt(future.result)
        w.attempt(future.exception)
        w.attempt(future.set_result, 1)
        w.attempt(future.set_exception, ValueError)
        w.attempt(future.cancel, "one", "two")
        w.attempt(future.cancel, message="wrong keyword")
        w.turns(1)

    check_every_kind(scenario)


@same_as_asyncio
def test_make_cancelled_error(w):
    future = w.future()
    w.attempt(future._make_cancelled_error)
    future.cancel("text")
    first, second = future._make_cancelled_error(), future._make_cancelled_error()
    w.note(first, second, first is second)
    future._cancel_message = "changed"
    w.attempt(future.result)
    w.attempt(delattr, future, "_cancel_message")


@same_as_asyncio
def test_cancelled_error_is_chained_to_where_it_was_raised(w):
    async def inner():
        await w.future("gate")

    async def outer(task):
        await task

    task = w.task(inner(), "inner")
    waiting = w.task(outer(task), "outer")
    w.turns(2)
    waiting.cancel("text")
    w.turns(4)
    w.attempt(waiting.result)
    try:
        waiting.result()
    except asyncio.CancelledError as error:
        w.note(error, error.__context__, error.__cause__)


# --- Callbacks ------------------------------------------------------------------------------------


@same_as_asyncio
def test_callbacks_run_in_order_and_never_at_once(w):
    future = w.future()
    for label in ("one", "two", "three"):
        w.attempt(future.add_done_callback, w.callback(label))
    future.set_result(1)
    w.note("set")
    w.attempt(future.add_done_callback, w.callback("late"))
    w.note("added")
    w.turns(1)
    w.note("turn")
    w.turns(1)


@same_as_asyncio
def test_callbacks_share_the_queue_with_call_soon(w):
    future = w.future()
    future.add_done_callback(w.callback("callback"))
    w.loop.call_soon(w.note, "before")
    future.set_result(1)
    w.loop.call_soon(w.note, "after")
    w.turns(1)


@same_as_asyncio
def test_add_done_callback_arguments(w):
    future = w.future()
    w.attempt(future.add_done_callback)
    w.attempt(future.add_done_callback, print, print)
    w.attempt(future.add_done_callback, fn=print)
    w.attempt(future.add_done_callback, print, context=None)
    w.attempt(future.add_done_callback, print, other=None)
    w.attempt(future.remove_done_callback)
    w.attempt(future.remove_done_callback, print, print)
    w.attempt(future.remove_done_callback, fn=print)


@same_as_asyncio
def test_callback_that_is_not_callable(w):
    future = w.future()
    w.attempt(future.add_done_callback, 5)
    w.attempt(future.set_result, 1)
    w.note(future._state)
    w.turns(1)


@same_as_asyncio
def test_callback_that_raises_goes_to_the_exception_handler(w):
    def bad(future):
        raise LookupError("from callback")

    future = w.future()
    future.add_done_callback(bad)
    future.add_done_callback(w.callback("second"))
    future.set_result(1)
    # The handle in the report has a number of its own; the error and the order are the point.
    w.loop.set_exception_handler(lambda loop, context: w.note("handler", context["exception"]))
    w.turns(1)


@same_as_asyncio
def test_callback_context(w):
    def seen(future):
        w.note(variable.get())

    future = w.future()
    token = variable.set("when added")
    future.add_done_callback(seen)
    context = contextvars.copy_context()
    context.run(variable.set, "given")
    variable.set("later")
    future.add_done_callback(seen, context=context)
    future.add_done_callback(seen)
    future.add_done_callback(seen, context=None)
    variable.set("when done")
    future.set_result(1)
    future.add_done_callback(seen)
    future.add_done_callback(seen, context=context)
    future.add_done_callback(seen, context=None)
    variable.reset(token)
    w.turns(1)


@same_as_asyncio
def test_a_task_is_no_callback(w):
    """Nor is it woken: its own wait goes on."""
    gate = w.future("gate")
    task = w.task(w.wait_for("task", gate))
    w.turns(1)
    future = w.future()
    future.add_done_callback(task)
    future.add_done_callback(w.callback())
    w.note(len(future._callbacks), future.remove_done_callback(task), len(future._callbacks))
    future.add_done_callback(task)
    w.loop.set_exception_handler(lambda loop, context: w.note(type(context["exception"])))
    w.attempt(future.set_result, 1)
    w.turns(2)
    w.note(task.done())
    gate.set_result("opened")
    w.turns(2)
    w.note(task.done())


@same_as_asyncio
def test_a_subclass_hands_on_the_context_that_nobody_gave(w):
    class Own(w.kind.Future):
        def add_done_callback(self, fn, *, context=None):
            super().add_done_callback(lambda future: fn(self), context=context)

    future = Own(loop=w.loop)
    w.note(future._callbacks)
    future.add_done_callback(w.callback("first"))
    future.add_done_callback(w.callback("second"))
    w.loop.call_soon(future.set_result, 1)
    w.note(w.run(asyncio.wait_for(future, 10)))


@same_as_asyncio
def test_remove_done_callback(w):
    one, two = w.callback("one"), w.callback("two")
    future = w.future()
    w.attempt(future.remove_done_callback, one)
    for callback in (one, two, one, one, two):
        future.add_done_callback(callback)
    w.attempt(future.remove_done_callback, one)
    w.note(len(future._callbacks))
    w.attempt(future.remove_done_callback, one)
    future.add_done_callback(one)
    w.attempt(future.remove_done_callback, two)
    w.attempt(future.remove_done_callback, one)
    w.note(future._callbacks)
    future.add_done_callback(two)
    future.set_result(1)
    w.attempt(future.remove_done_callback, two)
    w.turns(1)


@same_as_asyncio
def test_remove_done_callback_compares_by_equality(w):
    class Equal:
        def __init__(self, key):
            self.key = key

        def __eq__(self, other):
            w.note("compared", self.key)
            return isinstance(other, Equal) and self.key == other.key

        __hash__ = None

    class Refusing(Equal):
        def __eq__(self, other):
            raise LookupError("no comparison")

    future = w.future()
    for key in (1, 2, 1):
        future.add_done_callback(Equal(key))
    w.attempt(future.remove_done_callback, Equal(1))
    w.note(len(future._callbacks))
    w.attempt(future.remove_done_callback, Refusing(1))
    w.note(len(future._callbacks))
    future.remove_done_callback(Equal(2))


@same_as_asyncio
def test_callbacks_attribute(w):
    future = w.future()
    w.note(future._callbacks)
    future.add_done_callback(w.callback("one"))
    w.note(future._callbacks)
    future.add_done_callback(w.callback("two"))
    w.note(future._callbacks)
    future.set_result(1)
    w.note(future._callbacks)
    w.attempt(setattr, future, "_callbacks", [])
    w.turns(1)


@same_as_asyncio
def test_callbacks_attribute_shows_waiting_tasks(w):
    future = w.future()
    w.task(w.wait_for("first", future), "first")
    w.turns(1)
    w.note(future._callbacks)
    w.task(w.wait_for("second", future), "second")
    w.turns(1)
    w.note(future._callbacks)
    ((wakeup, _), _) = future._callbacks
    w.note(wakeup.__name__, wakeup == wakeup, wakeup == future._callbacks[0][0])
    w.note(hash(wakeup) == hash(future._callbacks[0][0]))
    future.set_result(1)
    w.turns(1)


@same_as_asyncio
def test_wakeup_found_in_callbacks_can_be_removed_and_called(w):
    future = w.future()
    w.task(w.wait_for("first", future), "first")
    w.turns(1)
    ((wakeup, _),) = future._callbacks
    w.attempt(future.remove_done_callback, wakeup)
    w.note(future._callbacks)
    other = w.future("other")
    other.set_result("by hand")
    w.loop.call_soon(wakeup, other)
    w.turns(1)


# --- Awaiting -------------------------------------------------------------------------------------


@same_as_asyncio
def test_await_gives_result_exception_and_cancellation(w):
    futures = [w.future(label) for label in ("one", "two", "three")]
    for number, future in enumerate(futures):
        w.task(w.wait_for(f"task {number}", future))
    w.turns(1)
    futures[0].set_result("value")
    futures[1].set_exception(LookupError("broken"))
    futures[2].cancel("unwanted")
    w.turns(1)


@same_as_asyncio
def test_await_done_future_does_not_give_way(w):
    future = w.future()
    future.set_result("value")
    w.loop.call_soon(w.note, "other")
    w.task(w.wait_for("task", future))
    w.loop.call_soon(w.note, "last")
    w.turns(1)


@same_as_asyncio
def test_iterator_protocol(w):
    for finish in (lambda f: f.set_result(7), lambda f: f.set_exception(KeyError("k"))):
        future = w.future()
        iterator = iter(future.__await__())
        w.attempt(lambda: next(iterator) is future)  # noqa: B023
        w.note(future._asyncio_future_blocking)
        finish(future)
        w.attempt(next, iterator)
        w.note(future._log_traceback)
    iterator = w.future().__await__()
    next(iterator)
    w.attempt(next, iterator)


@same_as_asyncio
def test_iterator_send_ignores_the_value(w):
    future = w.future()
    iterator = future.__await__()
    w.attempt(lambda: iterator.send("ignored") is future)
    future.set_result(3)
    w.attempt(iterator.send, "ignored")
    w.attempt(iterator.send)


THROWS = {
    "instance": (ValueError("text"),),
    "class": (ValueError,),
    "class, value": (ValueError, "text"),
    "class, tuple": (ValueError, ("one", "two")),
    "class, instance": (ValueError, ValueError("text")),
    "class, none": (ValueError, None),
    "class, none, none": (ValueError, None, None),
    "with bad traceback": (ValueError, None, 5),
    "instance, value": (ValueError("text"), "other"),
    "not an exception": (5,),
    "string": ("text",),
    "nothing": (),
    "none": (None,),
    "class of something else": (int,),
    "too many": (ValueError, None, None, None),
    "generator exit": (GeneratorExit,),
    "stop iteration": (StopIteration(5),),
}


@pytest.mark.parametrize("arguments", THROWS.values(), ids=THROWS)
@pytest.mark.filterwarnings("ignore:the \\(type, exc, tb\\) signature:DeprecationWarning")
def test_iterator_throw(arguments):
    def scenario(w):
        for steps in (0, 1):
            iterator = w.future().__await__()
            for _ in range(steps):
                next(iterator)
            w.attempt(iterator.throw, *map(copy.copy, arguments))
            # What asyncio does next with an iterator that was thrown into is a crash on 3.14.
            w.attempt(iterator.close)

    check_every_kind(scenario)


@same_as_asyncio
def test_iterator_throw_deprecation(w):
    iterator = w.future().__await__()
    w.attempt(iterator.throw, ValueError, ValueError("text"), None)


def test_iterator_is_finished_after_close_and_throw(loop):
    """asyncio's own iterator crashes here from 3.14 on; before, it says StopIteration."""
    future = hotloop.Future(loop=loop)
    closed, thrown = future.__await__(), future.__await__()
    next(closed)
    closed.close()
    closed.close()
    with pytest.raises(LookupError):
        thrown.throw(LookupError())
    for iterator in (closed, thrown):
        with pytest.raises(StopIteration):
            next(iterator)
        with pytest.raises(StopIteration):
            iterator.send(None)
        with pytest.raises(ValueError, match="again"):
            iterator.throw(ValueError("again"))


@same_as_asyncio
def test_iterator_is_what_asyncios_is(w):
    iterator = w.future().__await__()
    w.note(iter(iterator) is iterator)
    for name in ("send", "throw", "close", "__next__", "__iter__"):
        w.note(name, callable(getattr(iterator, name, None)))
    w.attempt(setattr, iterator, "attribute", 1)


def test_iterator_is_freed_with_its_future(loop):
    future = hotloop.Future(loop=loop)
    iterator = future.__await__()
    reference = weakref.ref(future)
    del future
    assert reference() is not None
    del iterator
    assert reference() is None


def test_iterators_in_a_cycle_are_collected(loop):
    future = hotloop.Future(loop=loop)
    future.iterator = future.__await__()
    next(future.iterator)
    reference = weakref.ref(future)
    del future
    gc.collect()
    assert reference() is None


@same_as_asyncio
def test_blocking_flag(w):
    future = w.future()
    w.note(future._asyncio_future_blocking)
    for value in (True, 1, "text", 0, None, []):
        w.attempt(setattr, future, "_asyncio_future_blocking", value)
        w.note(future._asyncio_future_blocking)
    w.attempt(delattr, future, "_asyncio_future_blocking")


@same_as_asyncio
def test_awaiting_outside_of_a_task(w):
    async def wait():
        await w.future()

    coroutine = wait()
    w.attempt(lambda: coroutine.send(None)._state)
    w.attempt(coroutine.send, None)


# --- Looking at it --------------------------------------------------------------------------------


@same_as_asyncio
def test_repr(w):
    future = w.future()
    w.note(repr(future))
    future.add_done_callback(w.callback("one"))
    w.note(repr(future))
    future.add_done_callback(w.callback("two"))
    w.note(repr(future))
    future.add_done_callback(print)
    w.note(repr(future))
    future.set_result([1, "x" * 300])
    w.note(repr(future))
    failed = w.future()
    failed.set_exception(ValueError("text"))
    w.note(repr(failed), failed.exception())
    cancelled = w.future()
    cancelled.cancel()
    w.note(repr(cancelled))
    w.turns(1)


@same_as_asyncio
def test_repr_of_awaited_future(w):
    future = w.future()
    w.task(w.wait_for("first", future), "first")
    w.turns(1)
    w.note(repr(future))
    w.task(w.wait_for("second", future), "second")
    w.turns(1)
    w.note(repr(future))


@same_as_asyncio
def test_repr_of_future_that_contains_itself(w):
    future = w.future()
    future.set_result(future)
    w.note(repr(future))


@same_as_asyncio
def test_plain_attributes(w):
    future = w.future()
    for name in ("_state", "_loop", "_result", "_exception", "_source_traceback"):
        w.attempt(getattr, future, name)
        w.attempt(setattr, future, name, None)
        w.attempt(delattr, future, name)
    future.attribute = 5
    w.attempt(lambda: (future.attribute, future.__dict__))
    w.attempt(lambda: future.no_such_attribute)
    w.note(asyncio.isfuture(future), isinstance(future, asyncio.Future))


def test_weakly_referenced(loop):
    future = hotloop.Future(loop=loop)
    died = []
    reference = weakref.ref(future, died.append)
    del future
    assert died == [reference]


# --- The rest of the standard library with it -----------------------------------------------------


@same_as_asyncio
def test_wrap_future_of_a_thread_pool(w):
    async def main():
        source = concurrent.futures.Future()
        wrapped = asyncio.wrap_future(source, loop=w.loop)
        source.set_running_or_notify_cancel()
        source.set_result("from outside")
        w.note(await wrapped)
        source = concurrent.futures.Future()
        wrapped = asyncio.wrap_future(source, loop=w.loop)
        source.set_exception(LookupError("outside"))
        await w.wait_for("wrapped", wrapped)

    w.run(main())


@same_as_asyncio
def test_chained_to_a_concurrent_future_both_ways(w):
    async def main():
        for finish in ("result", "exception", "cancel"):
            source, target = w.future(), concurrent.futures.Future()
            asyncio.futures._chain_future(source, target)
            if finish == "result":
                source.set_result(5)
            elif finish == "exception":
                source.set_exception(LookupError("inside"))
            else:
                source.cancel()
            await asyncio.sleep(0)
            w.attempt(target.result, 1)
        source, target = w.future(), concurrent.futures.Future()
        asyncio.futures._chain_future(source, target)
        target.cancel()
        await asyncio.sleep(0.001)
        w.note(source.cancelled())

    w.run(main())


@same_as_asyncio
def test_wrap_future_returns_asyncio_futures_unchanged(w):
    future = w.future()
    w.note(asyncio.wrap_future(future) is future, asyncio.ensure_future(future) is future)


def test_loop_creates_own_futures(loop_factory):
    made = loop_factory()
    expected = (STOCK if loop_factory is asyncio.SelectorEventLoop else NATIVE).Future
    assert type(made.create_future()) is expected
    assert made.create_future().get_loop() is made
    made.close()
