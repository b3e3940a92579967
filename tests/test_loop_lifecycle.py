"""A loop's life: running, stopping, closing, running again, and what it is told to be.

Most scenarios are run on both loops and their outcomes compared; the messages a user may meet by
misusing a loop (another thread, a closed loop, a nested run) are spelled out literally.
"""

import asyncio
import contextvars
import functools
import gc
import logging
import signal
import socket
import sys
import threading
import time
import warnings
import weakref
from unittest import mock

import pytest
from support.differential import (
    FACTORIES,
    assert_same_on_both,
    class_of_loops,
    collect_reports,
    normalized,
    outcome_of,
    outcome_on,
    run_briefly,
)

import hotloop


async def give(value=None):
    return value


async def fail(error):
    raise error


def try_coroutine(function, *args):
    """Call the function with a coroutine and close it, whatever became of it."""
    coroutine = give("value")
    try:
        return outcome_of(function, coroutine, *args)
    finally:
        coroutine.close()


# Running and stopping.


def scenario_run_until_complete(loop):
    done = loop.create_future()
    done.set_result("done before")
    results = [loop.run_until_complete(done), loop.run_until_complete(give("from a coroutine"))]
    results.append(loop.run_until_complete(loop.create_task(give("from a task"))))
    results.append(outcome_of(loop.run_until_complete, fail(KeyError("raised"))))
    results += [outcome_of(loop.run_until_complete, wrong) for wrong in (None, 5, "text", give)]
    return results


def scenario_stopped_before_complete(loop):
    future = loop.create_future()
    loop.call_soon(loop.stop)
    first = outcome_of(loop.run_until_complete, future)
    return first, future.done(), outcome_of(run_briefly, loop)


def scenario_future_of_another_loop(loop):
    other = asyncio.SelectorEventLoop()
    try:
        future = other.create_future()
        return outcome_of(loop.run_until_complete, future)
    finally:
        other.close()


def scenario_stop_before_run(loop):
    ran = []
    loop.stop()
    loop.call_soon(lambda: (ran.append(1), loop.call_soon(ran.append, 2)))
    loop.run_forever()
    between = list(ran)
    run_briefly(loop)
    return between, ran


def scenario_stop_many_times(loop):
    turns = []
    loop.call_soon(lambda: (loop.stop(), loop.stop()))
    loop.call_soon(lambda: loop.call_soon(turns.append, "next turn"))
    loop.run_forever()
    first = list(turns)
    run_briefly(loop)
    return first, turns


def scenario_flags(loop):
    seen = [(loop.is_running(), loop.is_closed())]
    loop.call_soon(lambda: seen.append((loop.is_running(), loop.is_closed())))
    run_briefly(loop)
    seen.append((loop.is_running(), loop.is_closed()))
    loop.close()
    seen.append((loop.is_running(), loop.is_closed()))
    return seen


def scenario_close(loop):
    loop.call_soon(print, "never printed")
    loop.call_later(1, print, "never printed")
    return [outcome_of(loop.close), outcome_of(loop.close), loop.is_closed()]


def scenario_close_while_running(loop):
    seen = []
    loop.call_soon(lambda: seen.append(outcome_of(loop.close)))
    run_briefly(loop)
    return seen, loop.is_closed()


def scenario_nested_runs(loop):
    other = asyncio.SelectorEventLoop()
    seen = []

    def nest():
        seen.append(try_coroutine(loop.run_until_complete))
        seen.append(try_coroutine(other.run_until_complete))
        # The early 3.13 releases forget here that a loop is running and that it is to stop.
        seen.append(outcome_of(other.run_forever))
        seen.append(outcome_of(loop.run_forever))
        loop.stop()

    loop.call_soon(nest)
    run_briefly(loop)
    other.close()
    return seen, outcome_of(run_briefly, loop)


def scenario_run_in_the_loop_of_another_kind(loop):
    other = asyncio.SelectorEventLoop()
    seen = []
    other.call_soon(lambda: seen.append(try_coroutine(loop.run_until_complete)))
    other.call_soon(lambda: seen.append(outcome_of(loop.run_forever)))
    run_briefly(other)
    other.close()
    return seen, outcome_of(run_briefly, loop)


def scenario_running_loop_is_set(loop):
    seen = []
    loop.call_soon(lambda: seen.append(asyncio.get_running_loop() is loop))
    loop.call_soon(lambda: seen.append(asyncio.get_event_loop() is loop))
    run_briefly(loop)
    seen.append(outcome_of(asyncio.get_running_loop))
    return seen


@pytest.mark.parametrize(
    "scenario",
    [value for name, value in list(globals().items()) if name.startswith("scenario_")],
    ids=lambda scenario: scenario.__name__.removeprefix("scenario_"),
)
def test_scenario_ends_as_on_asyncio(scenario):
    with warnings.catch_warnings():
        # Wrong arguments of run_until_complete leave coroutines behind that were never awaited.
        warnings.simplefilter("ignore", RuntimeWarning)
        kind, value = assert_same_on_both(scenario)
    assert kind == "returned", value


def test_the_messages_of_misuse_are_asyncios(loop):
    loop.call_soon(loop.stop)
    with pytest.raises(RuntimeError, match=r"^Event loop stopped before Future completed\.$"):
        loop.run_until_complete(loop.create_future())

    async def nest():
        with pytest.raises(RuntimeError, match=r"^Cannot close a running event loop$"):
            loop.close()
        other = asyncio.SelectorEventLoop()
        with pytest.raises(
            RuntimeError, match=r"^Cannot run the event loop while another loop is running$"
        ):
            other.run_forever()
        other.close()
        with pytest.raises(RuntimeError, match=r"^This event loop is already running$"):
            loop.run_forever()

    loop.run_until_complete(nest())


CLOSED_CALLS = {
    "call_soon": lambda loop: loop.call_soon(print),
    "call_soon_threadsafe": lambda loop: loop.call_soon_threadsafe(print),
    "call_later": lambda loop: loop.call_later(1, print),
    "call_at": lambda loop: loop.call_at(1, print),
    "run_forever": lambda loop: loop.run_forever(),
    "run_until_complete": lambda loop: try_coroutine(loop.run_until_complete),
    "create_task": lambda loop: try_coroutine(loop.create_task),
    "create_future": lambda loop: loop.create_future().done(),
    "run_in_executor": lambda loop: loop.run_in_executor(None, print),
    "add_reader": lambda loop: loop.add_reader(0, print),
    "remove_reader": lambda loop: loop.remove_reader(0),
    "add_writer": lambda loop: loop.add_writer(0, print),
    "remove_writer": lambda loop: loop.remove_writer(0),
    "add_signal_handler": lambda loop: loop.add_signal_handler(10, print),
    "remove_signal_handler": lambda loop: loop.remove_signal_handler(10),
    "stop": lambda loop: loop.stop(),
    "time": lambda loop: isinstance(loop.time(), float),
    "get_debug": lambda loop: loop.get_debug(),
    "set_debug": lambda loop: loop.set_debug(True),
    "repr": lambda loop: repr(loop),
    "is_running": lambda loop: loop.is_running(),
    "set_task_factory": lambda loop: loop.set_task_factory(None),
    "set_exception_handler": lambda loop: loop.set_exception_handler(None),
    "_write_to_self": lambda loop: loop._write_to_self(),
    "_ready": lambda loop: len(loop._ready),
    "_scheduled": lambda loop: len(loop._scheduled),
    "close": lambda loop: loop.close(),
}


@pytest.mark.parametrize("call", CLOSED_CALLS.values(), ids=CLOSED_CALLS)
@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
def test_a_closed_loop_answers_as_asyncios(call, debug):
    def scenario(loop):
        loop.set_debug(debug)
        loop.close()
        return call(loop)

    assert_same_on_both(scenario)


@pytest.mark.parametrize("where", ["instance", "class"])
def test_a_loop_that_says_that_it_runs_is_not_run(where):
    def scenario(loop):
        target = loop if where == "instance" else type(loop)
        coroutine = asyncio.sleep(0)
        with mock.patch.object(target, "is_running", lambda *args: True):
            loop.call_soon(loop.stop)
            outcomes = [outcome_of(loop.run_forever), outcome_of(loop.close)]
            outcomes.append(outcome_of(loop.run_until_complete, coroutine))
        coroutine.close()
        return outcomes, loop.is_running()

    outcomes, is_running = assert_same_on_both(scenario)[1]
    assert [ended for ended, *_ in outcomes] == ["raised"] * 3 and not is_running


@pytest.mark.parametrize("name", ["call_soon", "call_later", "run_forever", "call_soon_threadsafe"])
def test_a_closed_loop_says_so_literally(loop, name):
    loop.close()
    with pytest.raises(RuntimeError, match=r"^Event loop is closed$"):
        CLOSED_CALLS[name](loop)


@pytest.mark.parametrize("leave", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("raiser", ["callback", "task", "timer", "done callback"])
def test_keyboard_interrupt_and_system_exit_leave_at_once_and_keep_the_rest(leave, raiser):
    def scenario(loop):
        ran = []

        def throw(*_):
            raise leave("now")

        loop.call_soon(ran.append, "before")
        if raiser == "callback":
            loop.call_soon(throw)
        elif raiser == "timer":
            loop.call_later(-1, throw)
        elif raiser == "task":
            task = loop.create_task(fail(leave("now")))
        else:
            task = loop.create_future()
            task.add_done_callback(throw)
            task.set_result(None)
        loop.call_soon(ran.append, "after")
        first = outcome_of(run_briefly, loop)
        left = list(ran)
        state = loop.is_running(), loop.is_closed()
        if raiser == "task":
            assert isinstance(task.exception(), leave)
        second = outcome_of(run_briefly, loop, 2)
        return first, left, state, second, ran

    kind, (first, left, *_) = assert_same_on_both(scenario)
    assert kind == "returned" and first[:2] == ("raised", leave.__name__)
    assert left == ["before"] or raiser == "timer"


def test_run_until_complete_raises_what_leaves_the_loop(loop):
    def throw():
        raise KeyboardInterrupt("typed")

    loop.call_soon(throw)
    with pytest.raises(KeyboardInterrupt, match="typed"):
        loop.run_until_complete(asyncio.sleep(0))
    for task in asyncio.all_tasks(loop):
        task.cancel()
    # The next run is not stopped by what remained of the first one.
    assert loop.run_until_complete(give("again")) == "again"
    run_briefly(loop, 2)


def test_a_loop_runs_again_and_again(loop):
    assert [loop.run_until_complete(give(n)) for n in range(100)] == list(range(100))


def test_a_loop_moves_from_thread_to_thread_between_runs(loop):
    results = []

    def run(number):
        results.append(loop.run_until_complete(give(number)))

    for number in range(3):
        thread = threading.Thread(target=run, args=(number,))
        thread.start()
        thread.join()
    run(3)
    assert results == [0, 1, 2, 3]


def test_an_unclosed_loop_warns_and_names_itself(loop_factory):
    loop = loop_factory()
    run_briefly(loop)
    identity = id(loop)
    description = repr(loop)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del loop
        gc.collect()
    ours = [w for w in caught if "event loop" in str(w.message)]
    assert [w.category for w in ours] == [ResourceWarning]
    assert str(ours[0].message) == f"unclosed event loop {description}"
    assert id(ours[0].source) == identity


def test_an_unclosed_loop_closes_itself_whatever_the_collector_takes_first(loop_factory):
    """A full collection looks at the youngest objects before those that survived one."""
    gc.collect()
    loop = loop_factory()
    gc.collect(0)
    loop.call_later(0.001, loop.stop)
    loop.run_forever()  # What is made for the first wait is younger than the loop.
    loop.itself = loop
    end = weakref.ref(loop)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del loop
        gc.collect()
    assert [str(w.message).split(" <")[0] for w in caught] == ["unclosed event loop"]
    caught.clear()  # A warning has its source, the loop.
    gc.collect()
    assert end() is None


def test_a_loop_dropped_with_work_queued_frees_it(loop_factory):
    class Payload:
        pass

    payload = Payload()
    end = weakref.ref(payload)
    loop = loop_factory()
    loop.call_soon(print, payload)
    loop.call_later(100, print, payload)
    loop.call_soon_threadsafe(print, payload)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        del loop, payload
        gc.collect()
    assert end() is None


def test_a_callback_may_drop_the_last_reference_to_the_loop(loop_factory):
    loops = [loop_factory()]
    end = weakref.ref(loops[0])
    seen = []

    def drop():
        running = asyncio.get_running_loop()
        running.call_soon(running.stop)
        loops.clear()
        gc.collect()
        seen.append("dropped")

    loops[0].call_soon(drop)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        loops[0].run_forever()
        gc.collect()
    assert seen == ["dropped"] and end() is None


def test_closing_drops_what_is_queued(loop):
    class Payload:
        pass

    payload = Payload()
    end = weakref.ref(payload)
    loop.call_soon(print, payload)
    loop.call_later(1, print, payload)
    del payload
    loop.close()
    gc.collect()
    assert end() is None


# Futures, tasks and their factories.


def test_create_future_makes_a_pending_future_of_the_loop(loop):
    future = loop.create_future()
    assert asyncio.isfuture(future) and isinstance(future, asyncio.Future)
    assert not future.done() and future.get_loop() is loop


@pytest.mark.only_hotloop("these are its own types")
def test_futures_and_tasks_are_hotloops(loop):
    assert type(loop.create_future()) is hotloop.Future
    task = loop.create_task(give())
    assert type(task) is hotloop.Task
    loop.run_until_complete(task)


class KeywordRecorder:
    """A task factory of the given signature that notes what it is called with."""

    def __init__(self, make):
        self.calls = []
        self.make = make

    def __call__(self, loop, coro, **kwargs):
        self.calls.append(dict(kwargs))
        return self.make(loop, coro, **kwargs)


def stock_task(loop, coro, **kwargs):
    return asyncio.Task(coro, loop=loop, **kwargs)


def native_task(loop, coro, **kwargs):
    return hotloop.Task(coro, loop=loop, **kwargs)


CONTEXT = contextvars.copy_context()
# What callers pass to create_task; eager_start is asyncio's own parameter from 3.14 on.
KEYWORDS = [{}, {"name": "n"}, {"name": None}, {"context": CONTEXT}, {"context": None}]
KEYWORDS += [{"name": "n", "context": CONTEXT}, {"unknown": 1}, {"name": 5}]
if sys.version_info >= (3, 14):
    KEYWORDS += [{"eager_start": True}, {"eager_start": False}, {"eager_start": None}]


def create_with_factory(loop, make_factory, keywords, debug):
    loop.set_debug(debug)
    factory = make_factory()
    loop.set_task_factory(factory)
    seen = []

    async def create():
        coroutine = give("result")
        try:
            task = loop.create_task(coroutine, **keywords)
        finally:
            seen.append(getattr(factory, "calls", None))
        seen.append((task.get_name() if keywords.get("name") else None, task.done()))
        return await task

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # Refused coroutines were never awaited.
        ended = outcome_of(loop.run_until_complete, create())
        gc.collect()
    return ended, seen, loop.get_task_factory() is factory


def two_arguments(loop, coro):
    return asyncio.Task(coro, loop=loop)


FACTORY_KINDS = {
    "none": lambda: None,
    "two arguments": lambda: two_arguments,
    "keywords, stock tasks": lambda: KeywordRecorder(stock_task),
    "keywords, native tasks": lambda: KeywordRecorder(native_task),
    "a future instead of a task": lambda: (
        lambda loop, coro, **kw: (
            coro.close(),
            asyncio.ensure_future(asyncio.sleep(0, "other"), loop=loop),
        )[1]
    ),
}
if sys.version_info >= (3, 12):
    FACTORY_KINDS["eager"] = lambda: asyncio.eager_task_factory
    FACTORY_KINDS["eager, native tasks"] = lambda: asyncio.create_eager_task_factory(hotloop.Task)


@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
@pytest.mark.parametrize("keywords", KEYWORDS, ids=lambda keywords: ",".join(keywords) or "nothing")
@pytest.mark.parametrize("make_factory", FACTORY_KINDS.values(), ids=FACTORY_KINDS)
def test_task_factories_get_exactly_what_the_caller_passed(make_factory, keywords, debug):
    assert_same_on_both(create_with_factory, make_factory, keywords, debug)


@pytest.mark.parametrize("wrong", [5, "factory", object()])
def test_a_task_factory_must_be_callable(wrong):
    assert_same_on_both(lambda loop: loop.set_task_factory(wrong))


def test_create_task_rejects_what_is_no_coroutine():
    for wrong in (None, 5, "text", give, asyncio.Future, object()):
        assert_same_on_both(lambda loop, wrong=wrong: loop.create_task(wrong))
    assert_same_on_both(lambda loop: loop.create_task())


def test_a_subclass_of_the_task_comes_out_of_a_factory_unchanged(loop):
    class Own(hotloop.Task):
        pass

    loop.set_task_factory(lambda loop, coro, **kwargs: Own(coro, loop=loop, **kwargs))
    task = loop.create_task(give(5), name="own")
    assert type(task) is Own and task.get_name() == "own"
    assert loop.run_until_complete(task) == 5


# Debug mode.


def debug_repr(loop):
    states = [repr(loop), loop.get_debug()]
    loop.set_debug(True)
    states += [repr(loop), loop.get_debug()]
    loop.call_soon(lambda: states.append(repr(loop)))
    run_briefly(loop)
    loop.close()
    return [normalized(str(state)) for state in [*states, repr(loop)]]


def test_debug_mode_and_repr():
    assert_same_on_both(debug_repr)


@pytest.mark.parametrize("wrong", [None, 0, 1, "yes", []])
def test_set_debug_takes_any_truth_value(wrong):
    assert_same_on_both(lambda loop: (loop.set_debug(wrong), bool(loop.get_debug())))


def test_debug_mode_switches_origin_tracking_and_restores_it(loop):
    depth = sys.get_coroutine_origin_tracking_depth()
    seen = []
    loop.set_debug(True)
    loop.call_soon(lambda: seen.append(sys.get_coroutine_origin_tracking_depth() > 0))
    run_briefly(loop)
    assert seen == [True] and sys.get_coroutine_origin_tracking_depth() == depth

    async def switch():
        inside = []
        for debug in (False, True, False):
            loop.set_debug(debug)
            # The loop does it from another turn: set_debug may come from another thread.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            inside.append(sys.get_coroutine_origin_tracking_depth() > 0)
        return inside

    assert loop.run_until_complete(switch()) == [False, True, False]
    assert sys.get_coroutine_origin_tracking_depth() == depth


def slow_log(loop, make, caplog):
    """What is logged about one slow thing, with the measured time left out."""
    caplog.clear()
    loop.set_debug(True)
    loop.slow_callback_duration = 0.01
    with caplog.at_level(logging.WARNING, logger="asyncio"):
        make(loop)
        run_briefly(loop, 3)
    slow = [r for r in caplog.records if "took" in r.getMessage()]
    assert [r.levelno for r in slow] == [logging.WARNING] * len(slow)
    return [normalized(r.getMessage()).rpartition(" took ")[0] for r in slow]


async def slow_coroutine():
    time.sleep(0.02)


def slow_callback():
    time.sleep(0.02)


@pytest.mark.parametrize(
    "make",
    [
        lambda loop: loop.call_soon(slow_callback),
        lambda loop: loop.call_later(-1, slow_callback),
        lambda loop: loop.create_task(slow_coroutine(), name="named"),
        lambda loop: loop.call_soon(print),
    ],
    ids=["callback", "timer", "task", "nothing slow"],
)
def test_slow_callbacks_are_logged_as_by_asyncio(make, caplog):
    logged = {
        name: outcome_on(name, lambda loop: without_when(slow_log(loop, make, caplog)))
        for name in FACTORIES
    }
    assert logged["hotloop"] == logged["asyncio"]


def without_when(lines):
    """Timers show their deadline, which differs between two runs."""
    return [" ".join(w for w in line.split() if not w.startswith("when=")) for line in lines]


def test_the_slow_callback_log_says_how_long_it_took(loop, caplog):
    loop.set_debug(True)
    loop.slow_callback_duration = 0.01
    loop.call_soon(slow_callback)
    with caplog.at_level(logging.WARNING, logger="asyncio"):
        run_briefly(loop)
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith("Executing <Handle slow_callback() at ")
    seconds = message.rpartition(" took ")[2]
    assert seconds.endswith(" seconds") and 0.02 <= float(seconds.split()[0]) < 5


def test_the_slow_callback_threshold_is_asyncios(loop):
    assert loop.slow_callback_duration == 0.1


WRONG_THREAD_CALLS = {
    "call_soon": lambda loop: loop.call_soon(print),
    "call_later": lambda loop: loop.call_later(100, print),
    "call_at": lambda loop: loop.call_at(1e9, print),
    "call_soon_threadsafe": lambda loop: loop.call_soon_threadsafe(int),
    "future": lambda loop: loop.create_future().done(),
}


def call_from_another_thread(loop, call, debug):
    """The outcome of the call in a thread that is not the one in which the loop runs."""
    loop.set_debug(debug)
    outcomes = []

    def start_and_join():
        thread = threading.Thread(target=lambda: outcomes.append(outcome_of(call, loop)))
        thread.start()
        thread.join()

    loop.call_soon(start_and_join)
    run_briefly(loop)
    (outcome,) = outcomes
    return "a handle" if isinstance(outcome[1], asyncio.Handle) else outcome


@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
@pytest.mark.parametrize("call", WRONG_THREAD_CALLS.values(), ids=WRONG_THREAD_CALLS)
def test_calls_from_another_thread_end_as_on_asyncio(call, debug):
    assert_same_on_both(call_from_another_thread, call, debug)


def test_a_wrong_thread_is_told_so_literally_in_debug_mode(loop):
    for name in ("call_soon", "call_later", "call_at"):
        kind, error, message = call_from_another_thread(loop, WRONG_THREAD_CALLS[name], True)
        assert (kind, error) == ("raised", "RuntimeError")
        assert message == (
            "Non-thread-safe operation invoked on an event loop other than the current one"
        )


# What a user replaces on the instance or in a subclass is what the loop and its tasks use.


def test_an_assigned_time_drives_all_timers(loop):
    now = 1000.0
    loop.time = lambda: now
    ran = []
    assert loop.call_later(5, ran.append, "five").when() == 1005.0
    loop.call_at(1003, ran.append, "three")
    run_briefly(loop, 2)
    assert ran == []
    now = 1004.0
    run_briefly(loop, 2)
    assert ran == ["three"]
    now = 2000.0
    run_briefly(loop)
    assert ran == ["three", "five"]
    del loop.time
    assert abs(loop.time() - time.monotonic()) < 60


def test_an_assigned_call_soon_is_used_by_tasks_and_futures(loop):
    calls = []
    original = loop.call_soon

    def call_soon(callback, *args, context=None):
        calls.append(callback)
        return original(callback, *args, context=context)

    loop.call_soon = call_soon
    future = loop.create_future()
    future.add_done_callback(print_nothing)
    future.set_result(None)
    assert calls == [print_nothing]
    calls.clear()
    task = loop.create_task(asyncio.sleep(0))
    assert len(calls) == 1
    loop.run_until_complete(task)
    # Beside run_until_complete's own callback: the task's first step and the one after the yield.
    assert len(calls) >= 3
    del loop.call_soon
    calls.clear()
    loop.run_until_complete(asyncio.sleep(0))
    assert calls == []


def print_nothing(future):
    """A done callback that can be told apart from others."""


def test_call_soon_overridden_by_a_subclass_is_used_by_tasks(loop_factory):
    calls = []

    class Own(class_of_loops(loop_factory)):
        def call_soon(self, callback, *args, context=None):
            calls.append(callback)
            return super().call_soon(callback, *args, context=context)

    loop = Own()
    try:
        loop.run_until_complete(asyncio.sleep(0))
    finally:
        loop.close()
    assert len(calls) >= 2


@pytest.mark.parametrize("how", ["subclass", "instance"])
def test_an_overridden_run_once_is_each_turn(how):
    """Programs that measure or drive turns themselves replace this private method."""

    def scenario(loop):
        turns = []

        class Own(type(loop)):
            def _run_once(self):
                turns.append(len(self._ready))
                super()._run_once()

        own = Own() if how == "subclass" else loop
        if how == "instance":
            original = loop._run_once
            loop._run_once = lambda: (turns.append(len(loop._ready)), original())
        own.call_soon(int)
        results = [own.run_until_complete(give("through overridden turns"))]
        run_briefly(own)
        own.close()
        return results, turns

    assert_same_on_both(scenario)


@pytest.mark.only_hotloop("asyncio's own _run_once then pops from an empty deque")
def test_turns_inside_a_callback_run_what_is_queued(loop):
    """Code that makes loops re-entrant takes turns from inside of a callback."""
    log = []

    def take_turns(depth):
        log.append(depth)
        if depth:
            loop.call_soon(take_turns, depth - 1)
            loop._run_once()
        log.append(-depth)

    loop.call_soon(take_turns, 3)
    loop.call_soon(log.append, "queued beside it")
    run_briefly(loop, 3)
    assert log == [3, "queued beside it", 2, 1, 0, 0, -1, -2, -3]


def test_call_soon_replaced_on_the_class_later_is_used(loop_factory):
    calls = []

    class Own(class_of_loops(loop_factory)):
        pass

    loop = Own()

    def call_soon(self, callback, *args, context=None):
        calls.append(callback)
        return super(Own, self).call_soon(callback, *args, context=context)

    try:
        loop.run_until_complete(asyncio.sleep(0))
        assert calls == []
        Own.call_soon = call_soon
        loop.run_until_complete(asyncio.sleep(0))
        assert len(calls) >= 2
        del Own.call_soon
        calls.clear()
        loop.run_until_complete(asyncio.sleep(0))
        assert calls == []
    finally:
        loop.close()


@pytest.mark.parametrize("answer", [True, False])
@pytest.mark.parametrize("where", ["instance", "class"])
def test_a_replaced_get_debug_is_asked_by_all_that_is_made(where, answer):
    """Where a thing was made and the text of a cancelled handle are kept if it says so."""

    def make(loop, made):
        made["soon"] = loop.call_soon(int)
        made["threadsafe"] = loop.call_soon_threadsafe(int)
        made["later"] = loop.call_later(60, int)
        made["at"] = loop.call_at(loop.time() + 60, int)
        loop.add_signal_handler(signal.SIGUSR1, int)
        made["signal"] = loop._signal_handlers[signal.SIGUSR1]
        loop.remove_signal_handler(signal.SIGUSR1)
        made["by hand"] = type(made["soon"])(int, (), loop)
        made["future"] = loop.create_future()
        made["task"] = loop.create_task(asyncio.sleep(0))
        for name in ("later", "at"):
            made[name].cancel()

    def scenario(loop):
        made = {}
        with mock.patch.object(
            loop if where == "instance" else type(loop), "get_debug", lambda *args: answer
        ):
            loop.set_debug(not answer)
            loop.slow_callback_duration = 60
            loop.call_soon(make, loop, made)
            run_briefly(loop, 3)
        sources = {name: one._source_traceback is not None for name, one in made.items()}
        return sources, [made[name]._repr is not None for name in ("later", "at")]

    sources, texts = assert_same_on_both(scenario)[1]
    assert set(sources.values()) == set(texts) == {answer}


def test_a_mocked_exception_handler_call_gets_every_report(loop):
    loop.call_exception_handler = mock.Mock()

    def failing():
        raise ValueError("callback")

    loop.call_soon(failing)
    run_briefly(loop)
    (call,) = loop.call_exception_handler.call_args_list
    assert str(call.args[0]["exception"]) == "callback"
    loop.call_exception_handler.reset_mock()

    future = loop.create_future()
    future.set_exception(ValueError("never retrieved"))
    del future
    gc.collect()
    (call,) = loop.call_exception_handler.call_args_list
    assert call.args[0]["message"] == "Future exception was never retrieved"
    loop.call_exception_handler.reset_mock()

    task = loop.create_task(asyncio.sleep(3600))
    run_briefly(loop)
    timer = loop._scheduled[0]
    timer.cancel()
    run_briefly(loop)
    del task, timer
    gc.collect()
    (call,) = loop.call_exception_handler.call_args_list
    assert call.args[0]["message"] == "Task was destroyed but it is pending!"


@pytest.mark.parametrize(
    "name",
    [
        "call_at",
        "call_exception_handler",
        "call_later",
        "call_soon",
        "call_soon_threadsafe",
        "create_future",
        "create_task",
        "default_exception_handler",
        "run_forever",
        "run_in_executor",
        "stop",
    ],
)
@pytest.mark.parametrize("where", ["instance", "class"])
def test_what_asyncio_calls_through_the_loop_hotloop_calls_too(name, where, caplog):
    """The counts of calls of a spy on the method agree while a program runs."""

    def scenario(loop):
        if where == "instance":
            target, side_effect = loop, getattr(loop, name)
        else:
            target, side_effect = type(loop), functools.partial(getattr(type(loop), name), loop)
        spy = mock.Mock(side_effect=side_effect)
        with mock.patch.object(target, name, spy):
            loop.run_until_complete(program_for_spies())
            loop.run_until_complete(loop.shutdown_default_executor())
        return spy.call_count

    _, count = assert_same_on_both(scenario)
    assert count > 0, "the program does not lead there"


async def program_for_spies():
    loop = asyncio.get_running_loop()
    await asyncio.sleep(0.001)
    await asyncio.gather(give(1), give(2))
    async with asyncio.timeout(60):
        await loop.run_in_executor(None, int)
    await asyncio.wait_for(give(3), 60)
    loop.call_soon(int, "no number")
    await asyncio.sleep(0)


async def connect_and_close(loop):
    """Make a connection to a server of our own; return its address once both ends are closed."""
    lost = loop.create_future()

    class Accepted(asyncio.Protocol):
        def connection_lost(self, error):
            loop.call_soon(lost.set_result, error)

    server = await loop.create_server(Accepted, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    transport, _ = await loop.create_connection(asyncio.Protocol, *address)
    transport.close()
    assert await lost is None
    server.close()
    await server.wait_closed()
    return address


def test_create_connection_uses_a_method_that_was_set_on_the_instance(loop):
    original = loop.sock_connect
    loop.sock_connect = mock.Mock(side_effect=original)
    address = loop.run_until_complete(connect_and_close(loop))
    assert [call.args[1] for call in loop.sock_connect.mock_calls] == [address]


def test_the_loop_makes_no_instance_dict_of_its_own():
    """With one, up to 3.13, each call of a method looks the method up anew."""
    loop = hotloop.new_event_loop()

    def dicts():
        found = [one for one in gc.get_referents(loop) if type(one) is dict]
        attributes = (loop._signal_handlers, loop._unix_server_sockets)
        return [one for one in found if not any(one is known for known in attributes)]

    async def program():
        reader, writer = socket.socketpair()
        with reader, writer:
            reader.setblocking(False)
            receiving = loop.create_task(loop.sock_recv(reader, 1))
            await asyncio.sleep(0.001)
            writer.send(b"x")
            assert await receiving == b"x"
        await connect_and_close(loop)
        await loop.run_in_executor(None, int)
        process = await asyncio.create_subprocess_exec("true")
        await process.wait()

    loop.set_exception_handler(lambda loop, report: None)
    loop.run_until_complete(program())
    assert dicts() == []
    assert vars(loop) == {}
    assert dicts() == [{}]
    loop.close()


def test_attributes_of_any_name_may_be_set_and_deleted(loop):
    loop.own_attribute = 5
    assert loop.own_attribute == 5 and loop.__dict__["own_attribute"] == 5
    del loop.own_attribute
    assert not hasattr(loop, "own_attribute")
    for name in ("is_running", "close", "stop", "create_future", "shutdown_asyncgens"):
        replacement = mock.Mock(return_value="replaced")
        setattr(loop, name, replacement)
        assert getattr(loop, name)() == "replaced"
        delattr(loop, name)
        assert getattr(loop, name) is not replacement
    assert not loop.is_closed()


def test_reports_during_a_run_reach_the_handler_that_was_set(loop):
    reports = collect_reports(loop)
    loop.call_soon(int, "no number")
    run_briefly(loop)
    assert len(reports) == 1


def test_loops_are_weakly_referable_hashable_and_distinct(loop_factory):
    first, second = loop_factory(), loop_factory()
    try:
        assert len({first, second, first}) == 2 and first != second
        assert weakref.ref(first)() is first
        assert isinstance(first, asyncio.AbstractEventLoop)
        assert isinstance(first, asyncio.BaseEventLoop)
    finally:
        first.close()
        second.close()
