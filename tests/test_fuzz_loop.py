"""Junk for every constructor and method of loop, futures, tasks and handles, refused as by asyncio.

hypothesis picks a call and arguments of any kind, evil ones included.  On both loops the call has
to end alike: in a value of the same kind, or in the same exception with the same message.  The
process surviving is the other half of the test; run it under a debug build and sanitizers.
"""

import asyncio
import contextlib
import contextvars
import decimal
import gc
import inspect
import io
import itertools
import logging
import re
import signal
import socket
import threading
import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.differential import (
    FACTORIES,
    collect_reports,
    normalized,
    outcome_of,
    run_briefly,
)

import hotloop

pytestmark = [
    pytest.mark.timeout(120),
    # Coroutines that a call refused are dropped unawaited.
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
]


@pytest.fixture(autouse=True)
def silent_log():
    """Keep reports of junk out of the log: its records hold tracebacks, and those hold loops."""
    logger = logging.getLogger("asyncio")
    logger.disabled = True
    yield
    logger.disabled = False


class Evil:
    """Raises from every special method that native code is likely to call."""

    def _raise(self, *args):
        raise LookupError("evil")

    __eq__ = __lt__ = __hash__ = __bool__ = __index__ = __float__ = __call__ = __iter__ = _raise
    __len__ = __add__ = __radd__ = __getitem__ = fileno = _raise

    def __repr__(self):
        return "<Evil>"


class EvilRepr(Evil):
    """Has not even a repr."""

    __repr__ = Evil._raise


class CallsBack:
    """Re-enters the loop from its conversions and from its end."""

    def __init__(self, loop):
        self.loop = loop

    def __float__(self):
        self.loop.call_soon(int)
        return 0.0

    def __index__(self):
        self.loop.stop()
        return 1

    def __call__(self, *args):
        self.loop.call_soon(int).cancel()

    def __del__(self):
        if not self.loop.is_closed():
            self.loop.call_soon(int)

    def __repr__(self):
        return "<CallsBack>"


async def coroutine_function():
    return None


def callback(*args):
    return None


# Each maker gets the loop and makes a fresh value; its name identifies it in a failing example.
MAKERS = {
    "None": lambda loop: None,
    "True": lambda loop: True,
    "0": lambda loop: 0,
    "-1": lambda loop: -1,
    "2**31": lambda loop: 2**31,
    "10**400": lambda loop: 10**400,
    "0.5": lambda loop: 0.5,
    "nan": lambda loop: float("nan"),
    "inf": lambda loop: float("inf"),
    "Decimal": lambda loop: decimal.Decimal("0.25"),
    "complex": lambda loop: 1j,
    "str": lambda loop: "text",
    "surrogate": lambda loop: "\ud800",
    "bytes": lambda loop: b"bytes",
    "tuple": lambda loop: (1, 2),
    "list": lambda loop: [1],
    "dict": lambda loop: {"message": "by hand"},
    "type": lambda loop: int,
    "callback": lambda loop: callback,
    "method": lambda loop: [].append,
    "coroutine function": lambda loop: coroutine_function,
    "coroutine": lambda loop: coroutine_function(),
    "context": lambda loop: contextvars.copy_context(),
    "loop": lambda loop: loop,
    "future": lambda loop: loop.create_future(),
    "done future": lambda loop: done_future(loop),
    "handle": lambda loop: loop.call_soon(int),
    "timer": lambda loop: loop.call_later(1000, int),
    "exception": lambda loop: ValueError("value"),
    "exception class": lambda loop: KeyError,
    "Evil": lambda loop: Evil(),
    "EvilRepr": lambda loop: EvilRepr(),
    "CallsBack": lambda loop: CallsBack(loop),
}


def done_future(loop):
    future = loop.create_future()
    future.set_result(5)
    return future


# A deadline that no number stands for is refused at the call, where asyncio's next turn fails, and
# a callback context is checked when it is needed: see test_known_differences.py.
METHODS = [
    "call_soon",
    "call_soon_threadsafe",
    "call_later",
    "call_at",
    "time",
    "stop",
    "is_running",
    "is_closed",
    "create_future",
    "create_task",
    "set_task_factory",
    "get_task_factory",
    "set_exception_handler",
    "get_exception_handler",
    "call_exception_handler",
    "default_exception_handler",
    "get_debug",
    "set_debug",
    "add_reader",
    "remove_reader",
    "add_writer",
    "remove_writer",
    "add_signal_handler",
    "remove_signal_handler",
    "set_default_executor",
    "run_in_executor",
    "run_forever",
    "run_until_complete",
    "shutdown_asyncgens",
    "shutdown_default_executor",
    "close",
]
KEYWORDS = ["context", "name", "callback", "delay", "when", "loop", "eager_start", "bogus"]
POSITIONAL = st.lists(st.sampled_from(sorted(MAKERS)), max_size=4)
NAMED = st.dictionaries(st.sampled_from(KEYWORDS), st.sampled_from(sorted(MAKERS)), max_size=2)


_CALL_SHAPE = re.compile(
    r"wrong number of arguments|unexpected keyword argument|multiple values for"
    r"|invalid keyword argument|given by name \('\w+'\) and position"
)


def call_outcome(function, *args, **kwargs):
    """The outcome of a call, where all that is wrong with the form of the call is the same.

    Of a call with several such mistakes Python functions name another one first than C functions.
    """
    ended = outcome_of(function, *args, **kwargs)
    if ended[:2] == ("raised", "TypeError") and _CALL_SHAPE.search(ended[2]):
        return ("raised", "TypeError", "the form of the call")
    return ended


def kind_of(value):
    """What can be compared of a returned value: its kind, and itself if it is plain data."""
    if isinstance(value, asyncio.Future):
        return "task" if isinstance(value, asyncio.Task) else "future"
    if isinstance(value, asyncio.Handle):
        return "timer" if isinstance(value, asyncio.TimerHandle) else "handle"
    if isinstance(value, asyncio.AbstractEventLoop):
        return "loop"
    if isinstance(value, (bool, str, type(None))):
        return value
    return type(value).__name__


def finish_value(value, loop):
    """Leave nothing unawaited behind and give the kind of the value."""
    kind = kind_of(value)
    if inspect.iscoroutine(value):
        value.close()
    if isinstance(value, asyncio.Future) and value.get_loop() is loop:
        value.cancel()
    return kind


def call_with_junk(loop, method, positional, named):
    """Make the arguments, make the call, take a few turns; give all that can be compared."""
    collect_reports(loop)
    arguments = [MAKERS[name](loop) for name in positional]
    keywords = {key: MAKERS[name](loop) for key, name in named.items()}
    ended = call_outcome(getattr(loop, method), *arguments, **keywords)
    if ended[0] == "returned":
        ended = ("returned", finish_value(ended[1], loop))
    return ended


def tidy_up(loop):
    """Run what junk calls queued, as far as it lets itself run, and close the loop."""
    loop.set_debug(False)
    for number in list(loop._signal_handlers):
        loop.remove_signal_handler(number)
    for _ in range(3):
        if loop.is_closed():
            break
        for task in asyncio.all_tasks(loop):
            task.cancel()
        outcome_of(run_briefly, loop)
    executor, loop._default_executor = loop._default_executor, None
    if executor is not None and hasattr(executor, "shutdown"):
        executor.shutdown(wait=True)
    loop.close()


# What a time can be compared with; None is refused in so many words by both.
NUMBERS = {"None", "True", "0", "-1", "2**31", "0.5", "nan", "inf"}


def is_comparable(method, positional, named):
    """Whether both loops end the call at all, and by asking the same of its arguments.

    Runs that nobody stops do not end.  What set_debug is given is asked for its truth at once, and
    a deadline for its number, not in a later turn (see test_known_differences.py).
    """
    if method == "set_debug":
        return not {"Evil", "EvilRepr"}.intersection(positional)
    if method == "call_at":
        return {*positional[:1], named.get("when", "0")} <= NUMBERS
    if method == "call_later":
        return "complex" not in {*positional[:1], named.get("delay")}
    if method == "run_forever":
        return bool(positional)
    return method != "run_until_complete" or "future" not in positional


@settings(deadline=None, max_examples=600, suppress_health_check=[HealthCheck.filter_too_much])
@given(method=st.sampled_from(METHODS), positional=POSITIONAL, named=NAMED)
def test_junk_calls_end_as_on_asyncio(method, positional, named):
    if not is_comparable(method, positional, named):
        return
    outcomes = {}
    for name, factory in FACTORIES.items():
        loop = factory()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outcomes[name] = call_with_junk(loop, method, positional, named)
            tidy_up(loop)
    assert outcomes["hotloop"] == outcomes["asyncio"]


CONSTRUCTORS = {
    "Handle": (asyncio.Handle, hotloop.Handle),
    "TimerHandle": (asyncio.TimerHandle, hotloop.TimerHandle),
    "Future": (asyncio.Future, hotloop.Future),
    "Task": (asyncio.Task, hotloop.Task),
}


def construct(loop, kind, positional, named):
    reports = collect_reports(loop)
    arguments = [MAKERS[name](loop) for name in positional]
    keywords = {key: MAKERS[name](loop) for key, name in named.items()}
    # Futures and tasks made without a loop= take the thread's current one.
    asyncio.set_event_loop(loop)
    ended = call_outcome(kind, *arguments, **keywords)
    asyncio.set_event_loop(None)
    if ended[0] == "returned":
        value = ended[1]
        ended = ("returned", finish_value(value, loop), outcome_of(repr, value)[0])
    return ended, [report for report in reports if "never retrieved" not in report[0]]


@settings(deadline=None, max_examples=500)
@given(name=st.sampled_from(sorted(CONSTRUCTORS)), positional=POSITIONAL, named=NAMED)
def test_junk_constructions_end_as_asyncios(name, positional, named):
    if name == "Task" and "eager_start" in named and "loop" not in named:
        return  # The early 3.13 releases then ask None whether it is running.
    outcomes = []
    for kind, factory in zip(CONSTRUCTORS[name], FACTORIES.values(), strict=True):
        loop = factory()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outcomes.append(construct(loop, kind, positional, named))
            tidy_up(loop)
    assert outcomes[1] == outcomes[0]


def failed_future(loop):
    future = loop.create_future()
    future.set_exception(ValueError("value"))
    future.exception()
    return future


def new_task(loop, awaitable=None):
    async def main():
        return await awaitable if awaitable is not None else 5

    return loop.create_task(main(), name="task")


def run_for_a_step(loop, task):
    run_briefly(loop)
    return task


def cancelled(thing):
    thing.cancel()
    return thing


# Names of methods, and what makes an object that has them.
OF_FUTURES, OF_TASKS, OF_HANDLES, OF_TIMERS = (
    [name for name, value in inspect.getmembers(kind, callable) if not name.startswith("_")]
    for kind in (asyncio.Future, asyncio.Task, asyncio.Handle, asyncio.TimerHandle)
)
OF_ITERATORS = ["send", "throw", "close"]
OBJECTS = {
    "pending future": (OF_FUTURES, lambda loop: loop.create_future()),
    "done future": (OF_FUTURES, done_future),
    "failed future": (OF_FUTURES, failed_future),
    "cancelled future": (OF_FUTURES, lambda loop: cancelled(loop.create_future())),
    "iterator": (OF_ITERATORS, lambda loop: iter(loop.create_future())),
    "iterator of a done future": (OF_ITERATORS, lambda loop: iter(done_future(loop))),
    "new task": (OF_TASKS, new_task),
    "waiting task": (
        OF_TASKS,
        lambda loop: run_for_a_step(loop, new_task(loop, loop.create_future())),
    ),
    "done task": (OF_TASKS, lambda loop: run_for_a_step(loop, new_task(loop))),
    "cancelled task": (OF_TASKS, lambda loop: run_for_a_step(loop, cancelled(new_task(loop)))),
    "handle": (OF_HANDLES, lambda loop: loop.call_soon(int)),
    "threadsafe handle": (OF_HANDLES, lambda loop: loop.call_soon_threadsafe(int)),
    "cancelled handle": (OF_HANDLES, lambda loop: cancelled(loop.call_soon(int))),
    "timer": (OF_TIMERS, lambda loop: loop.call_later(1000, int)),
    "cancelled timer": (OF_TIMERS, lambda loop: cancelled(loop.call_later(1000, int))),
}
OBJECT_CALLS = [(name, method) for name, (methods, _) in OBJECTS.items() for method in methods]
# How many arguments a method takes by position, and what by keyword; none unless it stands here.
FORMS = {
    "add_done_callback": (1, ["context"]),
    "cancel": (0, ["msg"]),
    "get_stack": (0, ["limit"]),
    "print_stack": (0, ["limit", "file"]),
    "remove_done_callback": (1, []),
    "send": (1, []),
    "set_exception": (1, []),
    "set_name": (1, []),
    "set_result": (1, []),
    "throw": (3, []),
}


@st.composite
def object_calls(draw):
    """An object, a method of it, and junk, of which one time in eight there is too much."""
    name, method = draw(st.sampled_from(OBJECT_CALLS))
    count, keywords = FORMS.get(method, (0, []))
    least = min(count, 1)
    if draw(st.integers(0, 7)) == 0:
        count, keywords = count + 1, [*keywords, "bogus"]
    junk = st.sampled_from(sorted(MAKERS))
    positional = draw(st.lists(junk, min_size=least, max_size=count))
    named = {key: draw(junk) for key in keywords if draw(st.booleans())}
    return name, method, positional, named


def call_object_with_junk(loop, name, method, positional, named):
    """Make object and arguments, call the method, take a turn; give all that can be compared."""
    reports = collect_reports(loop)
    thing = OBJECTS[name][1](loop)
    arguments = [MAKERS[name](loop) for name in positional]
    keywords = {key: MAKERS[name](loop) for key, name in named.items()}
    ended = call_outcome(getattr(thing, method), *arguments, **keywords)
    if ended[0] == "returned":
        ended = ("returned", finish_value(ended[1], loop))
    outcome_of(run_briefly, loop, 2)
    states = [
        outcome_of(getattr(thing, ask)) for ask in ("done", "cancelled") if hasattr(thing, ask)
    ]
    return ended, states, [report for report in reports if "never retrieved" not in report[0]]


@settings(deadline=None, max_examples=800, suppress_health_check=[HealthCheck.too_slow])
@given(call=object_calls())
def test_junk_calls_of_what_a_loop_makes_end_as_on_asyncio(call):
    outcomes = {}
    for name, factory in FACTORIES.items():
        loop = factory()
        # print_stack() writes there.
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            outcomes[name] = call_object_with_junk(loop, *call)
            tidy_up(loop)
    assert outcomes["hotloop"] == outcomes["asyncio"]


@settings(deadline=None, max_examples=100)
@given(positional=st.lists(st.sampled_from(sorted(MAKERS)), min_size=1, max_size=3), named=NAMED)
def test_a_loop_made_with_junk_is_refused_in_peace(positional, named):
    """There is no selector to choose (see test_known_differences.py), nor anything else."""
    loop = hotloop.new_event_loop()
    arguments = [MAKERS[name](loop) for name in positional]
    keywords = {key: MAKERS[name](loop) for key, name in named.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(TypeError):
            hotloop.Loop(*arguments, **keywords).close()
        del arguments, keywords
        tidy_up(loop)


STEPS = st.lists(st.tuples(st.sampled_from(METHODS), POSITIONAL, NAMED), min_size=1, max_size=12)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS, inside=st.booleans())
def test_sequences_of_junk_calls_never_crash(steps, inside):
    """Also from inside a callback, where the loop is running and in the middle of a turn."""
    loop = hotloop.new_event_loop()

    def carry_out():
        for method, positional, named in steps:
            if is_comparable(method, positional, named) and not loop.is_closed():
                call_with_junk(loop, method, positional, named)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if inside:
            outcome_of(lambda: loop.call_soon(carry_out))
            outcome_of(run_briefly, loop)
        else:
            carry_out()
        tidy_up(loop)


# What is called while the loop is in the middle of something.


def test_the_loop_may_be_closed_by_a_finalizer_between_runs(loop_factory):
    loop = loop_factory()

    class Closes:
        def __del__(self):
            outcome_of(loop.close)

    loop.call_soon(callback, Closes())
    loop.call_later(0, callback, Closes())
    outcome_of(run_briefly, loop, 2)
    loop.close()
    gc.collect()
    assert loop.is_closed()


def test_closing_from_finalizers_of_what_close_drops_ends(loop_factory):
    loop = loop_factory()
    ended = []

    class Closes:
        def __del__(self):
            ended.append(outcome_of(loop.close)[0])
            outcome_of(loop.call_soon, callback)

    for _ in range(3):
        loop.call_soon(callback, Closes())
        loop.call_later(5, callback, Closes())
    near, far = socket.socketpair()
    loop.add_reader(near, callback, Closes())
    loop.close()
    near.close()
    far.close()
    gc.collect()
    assert len(ended) == 7 and loop.is_closed()


@pytest.mark.parametrize("what", ["call_soon", "call_later", "reader", "threadsafe"])
def test_evil_arguments_do_not_disturb_the_others(loop, what):
    near, far = socket.socketpair()
    ran, evil = [], Evil()
    far.send(b"x")
    {
        "call_soon": lambda: loop.call_soon(lambda *_: ran.append("evil"), evil),
        "call_later": lambda: loop.call_later(-1, lambda *_: ran.append("evil"), evil),
        "reader": lambda: loop.add_reader(
            near, lambda *_: (ran.append("evil"), loop.remove_reader(near)), evil
        ),
        "threadsafe": lambda: loop.call_soon_threadsafe(lambda *_: ran.append("evil"), evil),
    }[what]()
    loop.call_soon(ran.append, "other")
    run_briefly(loop, 3)
    near.close()
    far.close()
    assert sorted(ran) == ["evil", "other"]


def test_an_evil_callback_is_reported_like_any_other(loop, loop_reports):
    loop.call_soon(Evil())
    loop.call_soon(callback)
    run_briefly(loop)
    assert [str(report["exception"]) for report in loop_reports.take()] == ["evil"]


def test_running_out_of_recursion_inside_a_callback_leaves_the_loop_usable(loop, loop_reports):
    def recurse():
        recurse()

    ran = []
    loop.call_soon(recurse)
    loop.call_soon(ran.append, 1)
    run_briefly(loop)
    (report,) = loop_reports.take()
    assert isinstance(report["exception"], RecursionError) and ran == [1]


def test_threads_hammering_a_closing_loop_get_the_message_or_a_handle(loop_factory):
    """call_soon_threadsafe races with close(): each call ends in one of two ways."""
    for _ in range(10):
        loop = loop_factory()
        outcomes, begin = [], threading.Barrier(3)

        def hammer(loop=loop, outcomes=outcomes, begin=begin):
            begin.wait()
            for _ in range(200):
                outcomes.append(outcome_of(loop.call_soon_threadsafe, callback))

        threads = [threading.Thread(target=hammer) for _ in range(2)]
        for thread in threads:
            thread.start()
        begin.wait()
        run_briefly(loop, 3)
        loop.close()
        for thread in threads:
            thread.join()
        refused = ("raised", "RuntimeError", "Event loop is closed")
        for kind, value, *rest in outcomes:
            assert (kind, value, *rest) == refused or isinstance(value, asyncio.Handle)


def test_many_generators_of_junk_signals_are_refused(loop):
    numbers = itertools.chain(range(-3, 0), range(65, 70), (signal.SIGKILL, signal.SIGSTOP))
    for number in numbers:
        ended = outcome_of(loop.add_signal_handler, number, callback)
        assert ended[0] == "raised" and ended[1] in ("ValueError", "RuntimeError"), normalized(
            number
        )
    assert len(loop._signal_handlers) == 0
