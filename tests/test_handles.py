"""Handle and TimerHandle: what users and asyncio's own code can see of them.

Each expression of the tables is evaluated once with asyncio's classes and once with hotloop's, on
either loop, and must give the same: construction, private names, repr, comparison.  What follows
are promises about lifetime: what a handle drops when it is cancelled, and when timers leave the
loop.
"""

import asyncio
import contextvars
import gc
import linecache
import sys
import warnings
import weakref
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.differential import (
    FACTORIES,
    assert_same_on_both,
    evaluated,
    normalized,
    outcome_of,
    run_briefly,
)

import hotloop

CLASSES = {
    "asyncio": {"Handle": asyncio.Handle, "TimerHandle": asyncio.TimerHandle},
    "hotloop": {"Handle": hotloop.Handle, "TimerHandle": hotloop.TimerHandle},
}


def callback(*args):
    return args


class Callable:
    def __call__(self, *args):
        return args

    def __repr__(self):
        return "Callable()"


class BadRepr:
    def __call__(self):
        return None

    def __repr__(self):
        raise LookupError("no repr")


def cancelled(handle):
    handle.cancel()
    return handle


def ran(handle):
    """Run the handle the way the loop does and return it."""
    handle._run()
    return handle


def set_attribute(handle, name, value):
    setattr(handle, name, value)
    return getattr(handle, name)


def shown(handle):
    """The repr without the creation site's line, which is that of this file's evaluation."""
    return normalized(repr(handle))


NAMES = {
    "cb": callback,
    "Callable": Callable,
    "BadRepr": BadRepr,
    "cancelled": cancelled,
    "ran": ran,
    "set_attribute": set_attribute,
    "shown": shown,
    "mock": mock,
    "context": contextvars.copy_context(),
}

MAKING = [
    "Handle()",
    "Handle(cb)",
    "Handle(cb, ())",
    "shown(Handle(cb, (), loop))",
    "shown(Handle(cb, (1, 'two'), loop, None))",
    "shown(Handle(cb, (), loop, context))",
    "shown(Handle(cb, (), loop, context=context))",
    "shown(Handle(callback=cb, args=(), loop=loop))",
    "Handle(cb, (), loop, None, 5)",
    "Handle(cb, (), loop, unknown=5)",
    "Handle(cb, (), None)",
    "Handle(cb, (), object())",
    "shown(Handle(cb, (), mock.Mock(get_debug=lambda: False)))",
    "shown(Handle(cb, [1, 2], loop))",
    "shown(Handle(cb, None, loop))",
    "shown(Handle(None, (), loop))",
    "shown(Handle(5, (), loop))",
    "TimerHandle()",
    "TimerHandle(1)",
    "TimerHandle(1, cb, ())",
    "shown(TimerHandle(1, cb, (), loop))",
    "shown(TimerHandle(1.5, cb, (3,), loop, None))",
    "shown(TimerHandle(when=1.5, callback=cb, args=(), loop=loop, context=context))",
    "shown(TimerHandle(float('inf'), cb, (), loop))",
    "TimerHandle(None, cb, (), loop).when()",
    "TimerHandle('soon', cb, (), loop).when()",
    "TimerHandle(1, cb, (), loop, None, 5)",
]

LOOKING = [
    "shown(Handle(Callable(), (1,), loop))",
    "shown(Handle(BadRepr(), (), loop))",
    "shown(Handle(print, ('x' * 1000,), loop))",
    "shown(Handle(mock.Mock(name='m'), (), loop))",
    "shown(Handle([].append, (5,), loop))",
    "shown(cancelled(Handle(cb, (1, 2), loop)))",
    "shown(cancelled(TimerHandle(2, cb, (1, 2), loop)))",
    "shown(cancelled(cancelled(Handle(cb, (), loop))))",
    "Handle(cb, (), loop).cancel()",
    "Handle(cb, (), loop).cancelled()",
    "cancelled(Handle(cb, (), loop)).cancelled()",
    "TimerHandle(1, cb, (), loop).when()",
    "type(TimerHandle(1, cb, (), loop).when())",
    "cancelled(TimerHandle(1, cb, (), loop)).when()",
    "Handle(cb, (1, 2), loop)._args",
    "Handle(cb, [1, 2], loop)._args",
    "Handle(cb, (), loop)._callback is cb",
    "Handle(cb, (), loop, context)._context is context",
    "type(Handle(cb, (), loop)._context)",
    "Handle(cb, (), loop)._loop is loop",
    "Handle(cb, (), loop)._cancelled",
    "type(Handle(cb, (), loop)._source_traceback)",
    "Handle(cb, (), loop)._repr",
    "TimerHandle(1, cb, (), loop)._scheduled",
    "TimerHandle(1, cb, (), loop)._when",
    "cancelled(Handle(cb, (1,), loop))._callback",
    "cancelled(Handle(cb, (1,), loop))._args",
    "cancelled(Handle(cb, (1,), loop))._cancelled",
    "type(cancelled(Handle(cb, (1,), loop))._repr)",
    "cancelled(Handle(cb, (1,), loop, context))._context is context",
    "ran(Handle(cb, (1,), loop))._callback is cb",
    "ran(Handle(cb, (1,), loop)).cancelled()",
    "Handle(cb, (1,), loop)._run()",
    "Handle(cb, (1,), loop).__dict__",
    "set_attribute(Handle(cb, (), loop), 'new', 5)",
    "set_attribute(Handle(cb, (), loop), '_args', (7,))",
    "set_attribute(Handle(cb, (), loop), '_callback', print) is print",
    "set_attribute(Handle(cb, (), loop), '_cancelled', True)",
    "set_attribute(TimerHandle(1, cb, (), loop), '_when', 3)",
    "set_attribute(TimerHandle(1, cb, (), loop), '_scheduled', True)",
    "hasattr(Handle, '__slots__')",
    "Handle(cb, (), loop) == Handle(cb, (), loop)",
    "[getattr(Handle, name).__name__ for name in ('cancel', 'cancelled')]",
    "issubclass(TimerHandle, Handle)",
    "issubclass(Handle, asyncio.Handle)",
    "issubclass(TimerHandle, asyncio.TimerHandle)",
]

COMPARING = [
    f"TimerHandle({left}, {first}, (), loop) {operator} TimerHandle({right}, cb, (), loop)"
    for operator in ("<", "<=", ">", ">=", "==", "!=")
    for left, right in ((1, 1), (1, 2), (2, 1), (1.0, 1))
    for first in ("cb", "print")
] + [
    "hash(TimerHandle(1.5, cb, (), loop)) == hash(1.5)",
    "hash(TimerHandle(1, cb, (), loop)) == hash(1)",
    "TimerHandle(1, cb, (), loop) == cancelled(TimerHandle(1, cb, (), loop))",
    "TimerHandle(1, cb, (1,), loop) == TimerHandle(1, cb, (2,), loop)",
    "TimerHandle(1, cb, (), loop) <= TimerHandle(1, cb, (1,), loop)",
    "TimerHandle(1, cb, (), loop) == Handle(cb, (), loop)",
    "TimerHandle(1, cb, (), loop) == 1",
    "TimerHandle(1, cb, (), loop) != 1",
    "TimerHandle(1, cb, (), loop) < 1",
    "TimerHandle(1, cb, (), loop) >= Handle(cb, (), loop)",
    "TimerHandle('x', cb, (), loop) < TimerHandle(1, cb, (), loop)",
    "hash(TimerHandle([], cb, (), loop))",
    "TimerHandle(1, cb, (), loop) == mock.ANY",
    "sorted(TimerHandle(n, cb, (), loop) for n in (3, 1, 2))[0].when()",
]


def outcome(classes, factory, expression, debug):
    loop = factory()
    loop.set_debug(debug)
    try:
        return outcome_of(evaluated, expression, loop, **NAMES, **classes)
    finally:
        loop.close()


@pytest.mark.parametrize("name", ["_callback", "_args"])
@pytest.mark.parametrize("args", [(), (1,), (1, 2)], ids=len)
def test_a_scheduled_handle_that_has_lost_an_attribute(loop, name, args):
    """An error of the callback is reported with callback and arguments: without, it gets out."""
    handle = loop.call_soon(print, *args)
    delattr(handle, name)
    with pytest.raises(AttributeError, match=name):
        run_briefly(loop)
    run_briefly(loop)


@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
@pytest.mark.parametrize("expression", MAKING + LOOKING + COMPARING)
def test_handles_are_made_shown_and_compared_as_asyncios(expression, debug):
    expected = outcome(CLASSES["asyncio"], FACTORIES["asyncio"], expression, debug)
    for factory in FACTORIES.values():
        assert outcome(CLASSES["hotloop"], factory, expression, debug) == expected


def test_a_handle_in_debug_mode_says_where_it_was_made(loop):
    loop.set_debug(True)
    handles = [loop.call_soon(callback), loop.call_later(5, callback)]
    for handle in handles:
        lines = linecache.getlines(__file__)
        number = handle._source_traceback[-1].lineno
        assert "handles = [loop.call_soon(callback)" in lines[number - 1]
        assert f"created at {__file__}:{number}" in repr(handle)
        handle.cancel()
        assert "cancelled" in repr(handle) and f"created at {__file__}:{number}" in repr(handle)
        # The callback itself is gone, but the repr still names it.
        assert "callback" in repr(handle)


@pytest.mark.parametrize("kind", ["call_soon", "call_soon_threadsafe", "call_later"])
def test_the_memory_of_many_handles_is_given_back_when_the_run_ends(loop, kind):
    def schedule():
        for _ in range(10_000):
            getattr(loop, kind)(*((0, callback) if kind == "call_later" else (callback,)))

    loop.call_soon(schedule)
    gc.collect()
    before = sys.getallocatedblocks()
    run_briefly(loop, 3)
    gc.collect()
    assert sys.getallocatedblocks() - before < 3_000


class Holder:
    """Something that has a handle whose callback has it."""

    def __call__(self):
        pass


def held(schedule):
    """A weak reference to a holder whose handle schedule(holder) makes."""
    holder = Holder()
    holder.handle = schedule(holder)
    return weakref.ref(holder)


SCHEDULES = {
    "call_soon": lambda loop, holder: loop.call_soon(holder),
    "call_soon_threadsafe": lambda loop, holder: loop.call_soon_threadsafe(holder),
    "call_later": lambda loop, holder: loop.call_later(0, holder),
}


@pytest.mark.parametrize("kind", SCHEDULES)
class TestHandlesInCyclesAreCollected:
    """A handle that its callback holds, made while the loop runs and while it does not."""

    def test_after_they_ran(self, loop, kind):
        references = []

        def make():
            references.append(held(lambda holder: SCHEDULES[kind](loop, holder)))

        loop.call_soon(make)
        run_briefly(loop, 3)
        make()
        run_briefly(loop, 2)
        gc.collect()
        assert [reference() for reference in references] == [None, None]

    def test_while_they_wait_and_not_before(self, loop, kind):
        references = []

        def make():
            references.append(held(lambda holder: SCHEDULES[kind](loop, holder)))
            gc.collect()

        loop.call_soon(make)
        run_briefly(loop)
        gc.collect()
        assert references[0]() is not None
        run_briefly(loop, 2)
        gc.collect()
        assert references[0]() is None

    def test_after_they_were_cancelled(self, loop, kind):
        references = []

        def make():
            references.append(held(lambda holder: SCHEDULES[kind](loop, holder)))
            references[0]().handle.cancel()

        loop.call_soon(make)
        run_briefly(loop, 3)
        gc.collect()
        assert references[0]() is None

    def test_when_they_waited_as_the_loop_was_closed(self, loop_factory, kind):
        loop = loop_factory()
        references = []
        loop.call_soon(
            lambda: references.append(held(lambda holder: SCHEDULES[kind](loop, holder)))
        )
        run_briefly(loop)
        loop.close()
        gc.collect()
        assert references[0]() is None

    def test_with_a_loop_that_was_abandoned(self, loop_factory, kind):
        loop = loop_factory()
        references = [weakref.ref(loop)]

        def make(loop):
            references.append(held(lambda holder: SCHEDULES[kind](loop, holder)))

        loop.call_soon(make, loop)
        run_briefly(loop)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            del loop
            gc.collect()
        assert [reference() for reference in references] == [None, None]

    def test_after_their_callback_raised(self, loop, kind):
        references, contexts = [], []
        loop.set_exception_handler(lambda loop, context: contexts.append(context))

        def make():
            def fail():
                raise LookupError("no")

            fail.handle = SCHEDULES[kind](loop, fail)
            references.append(weakref.ref(fail))

        loop.call_soon(make)
        run_briefly(loop, 3)
        assert [str(context["exception"]) for context in contexts] == ["no"]
        contexts.clear()
        gc.collect()
        assert references[0]() is None


class TestTimersInCyclesAreCollected:
    """A timer for a far deadline that was made while the loop ran."""

    def far_timer(self, loop, references, in_context=False):
        """Schedule it when the loop runs; it and its holder have each other."""
        variable = contextvars.ContextVar("variable")
        context = contextvars.copy_context()

        def schedule(holder):
            if in_context:
                context.run(variable.set, holder)
            return loop.call_later(3600, callback if in_context else holder, context=context)

        loop.call_soon(lambda: references.append(held(schedule)))

    @pytest.mark.parametrize("when", ["in the run", "after the run"])
    def test_after_they_were_cancelled(self, loop, when):
        # What is left of a cancelled timer is its context: the cycle goes through that.
        references = []
        self.far_timer(loop, references, in_context=True)
        if when == "in the run":
            loop.call_soon(lambda: references[0]().handle.cancel())
        run_briefly(loop, 2)
        if when == "after the run":
            references[0]().handle.cancel()
            run_briefly(loop)  # asyncio has it among its timers until then
        gc.collect()
        assert references[0]() is None

    def test_but_not_while_they_wait(self, loop):
        references = []
        self.far_timer(loop, references)
        run_briefly(loop)
        loop.call_soon(gc.collect)
        run_briefly(loop)
        gc.collect()
        assert references[0]() is not None

    def test_when_the_loop_was_closed(self, loop_factory):
        loop = loop_factory()
        references = []
        self.far_timer(loop, references)
        run_briefly(loop)
        loop.close()
        gc.collect()
        assert references[0]() is None

    def test_with_a_loop_that_was_abandoned(self, loop_factory):
        loop = loop_factory()
        references = [weakref.ref(loop)]
        self.far_timer(loop, references)
        run_briefly(loop, 2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            del loop
            gc.collect()
        assert [reference() for reference in references] == [None, None]


@pytest.mark.parametrize("delay", [0.25, 3, True, float("inf"), float("nan")])
def test_when_is_one_object_for_good(loop, delay):
    loop.time = lambda: 1.0
    timers = [loop.call_later(delay, callback)]
    del loop.time
    timers.append(loop.call_later(delay, callback))
    for timer in timers:
        assert type(timer.when()) is float
        assert timer.when() is timer._when
        assert hash(timer) == hash(timer.when())
        assert (timer == timer) is True or delay != delay
        timer._when = "another"
        assert timer.when() == "another"
        del timer._when
        with pytest.raises(AttributeError):
            timer.when()
        timer._when = 5
        assert timer.when() == 5
        timer.cancel()


def noting_context(variable, seen, value):
    """A callback that notes the variable's value in its context and changes it."""

    def note():
        seen.append(variable.get("unset"))
        variable.set(value)

    return note


def test_each_handle_runs_in_a_context_of_its_own(loop):
    variable, seen = contextvars.ContextVar("variable"), []
    handles = [loop.call_soon(noting_context(variable, seen, value)) for value in range(3)]
    loop.call_soon(noting_context(variable, seen, 3))
    loop.call_later(0, noting_context(variable, seen, 4))
    run_briefly(loop, 2)
    assert seen == ["unset"] * 5
    assert [handle._context[variable] for handle in handles] == [0, 1, 2]
    assert variable.get("unset") == "unset"


def test_a_handle_takes_the_context_of_the_time_it_was_scheduled(loop):
    variable, seen = contextvars.ContextVar("variable"), []
    before = loop.call_soon(noting_context(variable, seen, "in before"))
    token = variable.set("outside")
    loop.call_soon(noting_context(variable, seen, "in middle"))
    variable.reset(token)
    after = loop.call_soon(noting_context(variable, seen, "in after"))
    run_briefly(loop)
    assert seen == ["unset", "outside", "unset"]
    assert (before._context[variable], after._context[variable]) == ("in before", "in after")


def test_the_context_of_a_handle_is_the_one_it_runs_in(loop):
    variable, seen = contextvars.ContextVar("variable"), []
    handle = loop.call_soon(noting_context(variable, seen, "inside"))
    context = handle._context
    context.run(variable.set, "given")
    run_briefly(loop)
    assert seen == ["given"]
    assert handle._context is context
    assert context[variable] == "inside"


def test_a_kept_context_is_not_used_for_later_callbacks(loop):
    variable, kept = contextvars.ContextVar("variable"), []

    def keep():
        kept.append(handles.pop()._context)

    for _ in range(3):
        handles = [loop.call_soon(keep)]
        run_briefly(loop)
    loop.call_soon(variable.set, "later")
    run_briefly(loop)
    assert len({id(context) for context in kept}) == 3
    assert [context.get(variable) for context in kept] == [None] * 3


def test_the_context_of_a_handle_dies_with_it(loop):
    references = []

    def note():
        references.append(weakref.ref(handles.pop()._context))

    for _ in range(3):
        handles = [loop.call_soon(note)]
        run_briefly(loop)
    assert [reference() for reference in references] == [None] * 3


def test_a_value_set_in_a_callback_dies_with_its_context(loop):
    variable = contextvars.ContextVar("variable")
    value = Callable()
    reference = weakref.ref(value)
    loop.call_soon(variable.set, value)
    run_briefly(loop)
    del value
    loop.call_soon(callback)
    run_briefly(loop)
    gc.collect()
    assert reference() is None


def test_callbacks_of_a_loop_inside_a_callback_have_their_own_contexts(loop, loop_factory):
    variable, seen = contextvars.ContextVar("variable"), []

    def outer():
        inner = loop_factory()
        asyncio._set_running_loop(None)
        inner.call_soon(noting_context(variable, seen, "inner"))
        inner.call_soon(noting_context(variable, seen, "inner again"))
        run_briefly(inner)
        inner.close()
        asyncio._set_running_loop(loop)
        seen.append(variable.get("unset"))

    loop.call_soon(outer)
    run_briefly(loop)
    assert seen == ["unset"] * 3


@pytest.mark.skipif(sys.version_info < (3, 12), reason="needs Python 3.12: get_context")
def test_get_context_gives_the_context_itself(loop):
    context = contextvars.copy_context()
    handle = loop.call_soon(callback, context=context)
    assert handle.get_context() is context
    assert loop.call_soon(callback).get_context() is not context
    handle.cancel()
    assert handle.get_context() is context


def test_handles_are_cancelled_by_the_loop_that_made_them(loop):
    with mock.patch.object(type(loop), "_timer_handle_cancelled", create=True) as told:
        handle = loop.call_soon(callback)
        handle.cancel()
        assert told.call_count == 0


def test_a_timer_handle_tells_a_foreign_loop_that_it_was_cancelled():
    foreign = mock.Mock(get_debug=lambda: False)
    for classes in CLASSES.values():
        handle = classes["TimerHandle"](1, callback, (), foreign)
        handle.cancel()
        handle.cancel()
        foreign._timer_handle_cancelled.assert_called_once_with(handle)
        foreign.reset_mock()


class Witness:
    """A callback or argument whose end can be observed."""

    def __call__(self, *args):
        return None


@pytest.mark.parametrize(
    "schedule",
    [
        lambda loop, *args: loop.call_soon(*args),
        lambda loop, *args: loop.call_soon_threadsafe(*args),
        lambda loop, *args: loop.call_later(3600, *args),
        lambda loop, *args: loop.call_at(0, *args),
    ],
    ids=["call_soon", "call_soon_threadsafe", "call_later", "call_at"],
)
class TestLifetime:
    def test_cancel_drops_callback_and_arguments_at_once(self, loop, schedule):
        called, argument = Witness(), Witness()
        ends = [weakref.ref(called), weakref.ref(argument)]
        handle = schedule(loop, called, argument)
        del called, argument
        handle.cancel()
        assert [end() for end in ends] == [None, None]
        assert (handle._callback, handle._args) == (None, None)

    def test_cancel_twice_is_cancel_once(self, loop, schedule):
        handle = schedule(loop, Witness())
        assert handle.cancel() is None and handle.cancel() is None
        assert handle.cancelled()
        run_briefly(loop)

    def test_a_handle_can_be_referred_to_weakly(self, loop, schedule):
        handle = schedule(loop, Witness())
        reference = weakref.ref(handle)
        assert reference() is handle
        handle.cancel()
        del handle
        run_briefly(loop, 2)
        loop.close()
        assert reference() is None

    def test_a_handle_in_a_cycle_with_its_callback_is_collected(self, loop, schedule):
        called = Witness()
        called.handle = schedule(loop, called)
        end = weakref.ref(called)
        called.handle.cancel()
        run_briefly(loop)
        loop.close()
        del called
        gc.collect()
        assert end() is None

    def test_the_loop_keeps_what_is_scheduled_alive(self, loop, schedule):
        called = Witness()
        end = weakref.ref(called)
        schedule(loop, called)
        del called
        gc.collect()
        assert end() is not None
        loop.close()
        gc.collect()
        assert end() is None


def test_cancelling_from_the_finalizer_of_an_argument_is_safe(loop):
    class CancelsAll:
        def __del__(self):
            for handle in handles:
                handle.cancel()

    handles = [loop.call_soon(callback, CancelsAll()) for _ in range(3)]
    handles += [loop.call_later(n, callback, CancelsAll()) for n in range(3)]
    handles[1].cancel()
    assert all(handle.cancelled() for handle in handles)
    run_briefly(loop, 2)


@pytest.mark.only_hotloop("asyncio keeps cancelled timers until they are due or half of the heap")
def test_a_cancelled_timer_leaves_the_heap_at_once(loop):
    handles = [loop.call_later(delay, callback) for delay in (5, 1, 4, 2, 3)]
    assert len(loop._scheduled) == 5
    for left, handle in zip((4, 3, 2, 1, 0), handles, strict=True):
        assert handle._scheduled
        handle.cancel()
        assert not handle._scheduled
        assert len(loop._scheduled) == left


def timers_whose_loop_was_exchanged(loop, exchange):
    """Cancel one of three timers after giving it another loop; return what then ran."""
    other = type(loop)()
    ran = []
    try:
        timers = [loop.call_later(0.001 * i, ran.append, i) for i in range(3)]
        theirs = [other.call_later(0.001 * i, ran.append, 10 + i) for i in range(3)]
        asyncio.Handle.__dict__["_loop"].__set__(timers[1], exchange(other))
        try:
            timers[1].cancel()
        except AttributeError as error:
            ran.append(str(error))
        for runs in (loop, other):
            runs.call_later(0.005, runs.stop)
            runs.run_forever()
        return ran, [timer.cancelled() for timer in timers + theirs]
    finally:
        other.close()


@pytest.mark.parametrize("exchange", [lambda other: None, lambda other: other])
def test_a_timer_that_was_given_another_loop_disturbs_neither(exchange):
    assert_same_on_both(timers_whose_loop_was_exchanged, exchange)


def test_a_timer_is_scheduled_until_it_ran(loop):
    seen = []
    handle = loop.call_later(0, lambda: seen.append(handle._scheduled))
    assert handle._scheduled is True
    run_briefly(loop, 2)
    assert seen == [False] and handle._scheduled is False


@given(order=st.permutations(range(12)), gone=st.sets(st.integers(0, 11)))
def test_any_order_of_cancelling_leaves_the_others_in_order(order, gone):
    loop = FACTORIES["hotloop"]()
    now = loop.time()
    ran_deadlines = []
    handles = {n: loop.call_at(now - 100 + n, ran_deadlines.append, n) for n in order}
    for number in gone:
        handles[number].cancel()
    run_briefly(loop)
    loop.close()
    assert ran_deadlines == sorted(set(range(12)) - gone)


@pytest.mark.parametrize("name", ["Handle", "TimerHandle"])
def test_subclasses_of_the_handles_work(loop, name):
    class Own(CLASSES["hotloop"][name]):
        def _run(self):
            self.note = "ran"
            super()._run()

    called = []
    when = (1,) if name == "TimerHandle" else ()
    handle = Own(*when, called.append, (5,), loop)
    handle._run()
    assert called == [5] and handle.note == "ran"
    assert type(handle).__name__ in repr(handle)
    handle.cancel()
    assert handle.cancelled()


@pytest.mark.parametrize("kind", ["call_soon", "call_soon_threadsafe", "call_later"])
@pytest.mark.parametrize("is_cancelled", [False, True], ids=["", "cancelled"])
def test_a_handle_run_by_hand_in_a_task_leaves_the_task_the_current_one(kind, is_cancelled):
    def scenario(loop):
        seen = []

        async def main():
            when = (0,) if kind == "call_later" else ()
            handle = getattr(loop, kind)(*when, lambda: seen.append(name_of_current()))
            if is_cancelled:
                handle.cancel()
                loop.set_exception_handler(lambda loop, context: seen.append(context["message"]))
            handle._run()
            seen.append(name_of_current())
            loop.set_exception_handler(None)

        def name_of_current():
            task = asyncio.current_task(loop)
            return task and task.get_name()

        loop.run_until_complete(loop.create_task(main(), name="main"))
        run_briefly(loop)
        return seen

    assert_same_on_both(scenario)


def test_a_failing_handle_reports_itself(loop, loop_reports):
    error = ValueError("from the callback")

    def failing():
        raise error

    handle = loop.call_soon(failing)
    run_briefly(loop)
    (report,) = loop_reports.take()
    assert report["handle"] is handle and report["exception"] is error
    assert report["message"].startswith("Exception in callback ")
    assert "failing" in report["message"]


def test_an_uninitialised_handle_raises_and_does_not_crash():
    for classes in CLASSES.values():
        for kind in classes.values():
            bare = kind.__new__(kind)
            with pytest.raises((AttributeError, RuntimeError, TypeError)):
                bare._run()
            for action in (repr, hash, lambda bare: bare == bare, lambda bare: bare.cancel()):
                outcome_of(action, bare)
