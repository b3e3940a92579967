"""What happens to exceptions nobody catches: the handler, the default handler, their contexts.

The loop hands them to call_exception_handler with a context dictionary.  Which keys and messages it
holds, in which contextvars context the handler runs, what the log says without a handler, and what
becomes of exceptions of the handler itself are asyncio's; most of it is compared with it.
"""

import asyncio
import contextvars
import gc
import logging
import re
import signal
import socket
import sys

import pytest
from support.differential import (
    FACTORIES,
    assert_same_log_on_both,
    assert_same_on_both,
    class_of_loops,
    collect_reports,
    normalized,
    outcome_of,
    outcome_on,
    run_briefly,
)

variable = contextvars.ContextVar("variable", default="default")


class Leaving(BaseException):
    """A BaseException that is neither KeyboardInterrupt nor SystemExit."""


def throw(error):
    raise error


async def throw_later(error):
    raise error


# Each makes a loop meet one exception that nobody catches.


def in_callback(loop, error):
    loop.call_soon(throw, error)


def in_timer(loop, error):
    loop.call_later(-1, throw, error)


def in_threadsafe_callback(loop, error):
    loop.call_soon_threadsafe(throw, error)


def in_reader(loop, error):
    near, far = socket.socketpair()

    def fail():
        loop.remove_reader(near)
        near.close()
        far.close()
        raise error

    far.send(b"x")
    loop.add_reader(near, fail)


def in_writer(loop, error):
    near, far = socket.socketpair()

    def fail():
        loop.remove_writer(near)
        near.close()
        far.close()
        raise error

    loop.add_writer(near, fail)


def in_signal_handler(loop, error):
    def fail():
        loop.remove_signal_handler(signal.SIGUSR1)
        raise error

    loop.add_signal_handler(signal.SIGUSR1, fail)
    loop.call_soon(signal.raise_signal, signal.SIGUSR1)


def in_done_callback(loop, error):
    future = loop.create_future()
    future.add_done_callback(lambda future: throw(error))
    future.set_result(None)


def in_task_nobody_awaits(loop, error):
    loop.create_task(throw_later(error), name="nobody awaits it")


def in_future_nobody_reads(loop, error):
    loop.create_future().set_exception(error)


def of_uncallable(loop, error):
    loop.call_soon("not callable", error)


def pending_task_dropped(loop, error):
    async def wait():
        await loop.create_future()

    loop.create_task(wait(), name="dropped")


PLACES = [
    in_callback,
    in_timer,
    in_threadsafe_callback,
    in_reader,
    in_writer,
    in_signal_handler,
    in_done_callback,
    in_task_nobody_awaits,
    in_future_nobody_reads,
    of_uncallable,
    pending_task_dropped,
]
ERRORS = [ValueError("one", 2), Leaving("base"), asyncio.CancelledError("cancelled")]


def place_name(place):
    return place.__name__


def meet(loop, place, error):
    """Let the loop meet the exception and everything it left behind be collected."""
    refused = outcome_of(place, loop, error)
    run_briefly(loop, 4)
    gc.collect()
    return refused


def without_numbers(line):
    """Leave out what differs between two runs: line numbers, deadlines and task numbers.

    Where a future was made is left out too: asyncio names its own create_future, which hotloop has
    no Python frame of.
    """
    line = re.sub(r"when=[-\d.]+|:\d+>?|Task-\d+", "", normalized(line))
    return re.sub(r"created at \S+|(?<=<Future finis)[^)]*", "", line)


@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("place", PLACES, ids=place_name)
def test_reports_hold_what_asyncios_hold(place, error, debug):
    def scenario(loop):
        loop.set_debug(debug)
        reports = collect_reports(loop)
        refused = meet(loop, place, type(error)(*error.args))
        return refused, [(without_numbers(message), *rest) for message, *rest in reports]

    _, (refused, reports) = assert_same_on_both(scenario)
    # Of a cancelled task nothing is reported, nor of what debug mode did not even accept.
    expected = refused[0] == "returned" and not isinstance(error, asyncio.CancelledError)
    assert bool(reports) >= expected, "nothing was reported: the test has no subject"


@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
@pytest.mark.parametrize("place", PLACES, ids=place_name)
def test_the_default_handler_logs_what_asyncios_logs(place, debug, caplog):
    def scenario(loop):
        loop.set_debug(debug)
        loop.slow_callback_duration = 60  # a warning of it would stand between the errors
        refused = meet(loop, place, ValueError("logged"))
        lines = [log_lines(r.getMessage()) for r in caplog.records if r.levelname == "ERROR"]
        formatted = [bool(record.exc_info) for record in caplog.records]
        caplog.clear()
        return refused, lines, formatted

    _, (refused, lines, _) = assert_same_on_both(scenario)
    assert lines or refused[0] == "raised", "nothing was logged: the test has no subject"


def log_lines(message):
    """The lines of a report, without those of source tracebacks, which are pytest's frames."""
    kept = [line for line in message.splitlines() if not line.startswith("  ")]
    return [without_numbers(line) for line in kept]


def test_messages_literally(loop, loop_reports):
    in_callback(loop, ValueError())
    in_task_nobody_awaits(loop, ValueError())
    in_future_nobody_reads(loop, ValueError())
    meet(loop, pending_task_dropped, None)
    messages = sorted(report["message"].partition("(")[0] for report in loop_reports.take())
    assert messages == [
        "Exception in callback throw",
        "Future exception was never retrieved",
        "Task exception was never retrieved",
        "Task was destroyed but it is pending!",
    ]


def test_the_handler_of_a_callback_runs_in_the_callbacks_context(loop):
    seen = []
    loop.set_exception_handler(lambda loop, context: seen.append(variable.get()))
    context = contextvars.copy_context()
    context.run(variable.set, "the handle's")
    loop.call_soon(throw, ValueError(), context=context)
    run_briefly(loop)
    assert seen == [outcome_of_context_rule("the handle's")]


def outcome_of_context_rule(expected):
    """What stock asyncio's handler sees: the rule came with a minor version, so it is asked."""
    loop = FACTORIES["asyncio"]()
    seen = []
    loop.set_exception_handler(lambda loop, context: seen.append(variable.get()))
    context = contextvars.copy_context()
    context.run(variable.set, expected)
    loop.call_soon(throw, ValueError(), context=context)
    run_briefly(loop)
    loop.close()
    return seen[0]


@pytest.mark.parametrize("place", PLACES, ids=place_name)
def test_the_handler_runs_in_asyncios_context(place):
    def scenario(loop):
        seen = []
        loop.set_exception_handler(lambda loop, context: seen.append(variable.get()))
        context = contextvars.copy_context()
        context.run(variable.set, "of who scheduled it")
        context.run(place, loop, ValueError())
        run_briefly(loop, 4)
        gc.collect()
        return seen

    kind, seen = assert_same_on_both(scenario)
    assert kind == "returned" and len(seen) == 1


@pytest.mark.parametrize("handler", [None, print, lambda loop, context: None])
def test_the_handler_set_is_the_handler_got(loop, handler):
    assert loop.get_exception_handler() is None or callable(loop.get_exception_handler())
    assert loop.set_exception_handler(handler) is None
    assert loop.get_exception_handler() is handler
    loop.set_exception_handler(None)


@pytest.mark.parametrize("wrong", [5, "handler", object(), []])
def test_a_handler_must_be_callable(wrong):
    assert_same_on_both(lambda loop: loop.set_exception_handler(wrong))


def test_the_handler_gets_the_loop_and_the_context_itself(loop):
    received = []
    loop.set_exception_handler(lambda *args: received.append(args))
    context = {"message": "by hand", "anything": object()}
    loop.call_exception_handler(context)
    assert received == [(loop, context)] and received[0][1] is context


@pytest.mark.parametrize(
    "context",
    [
        {"message": "only a message"},
        {},
        {"exception": ValueError("no message")},
        {"message": "m", "exception": ValueError("e"), "zeta": 1, "alpha": [1, 2]},
        {"message": "m", "source_traceback": ["bad"]},
        {"message": "m", "handle": "no handle"},
        {"message": "m", "future": None, "task": 5},
        {5: "not a string"},
        None,
        [],
    ],
    ids=repr,
)
@pytest.mark.parametrize("method", ["call_exception_handler", "default_exception_handler"])
def test_contexts_made_by_hand_are_logged_as_by_asyncio(context, method, caplog):
    assert_same_log_on_both(caplog, lambda loop: getattr(loop, method)(context))


def failing_handler(error):
    def handler(loop, context):
        raise error

    return handler


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_handler_that_raises_is_logged_as_by_asyncio(error, caplog):
    def scenario(loop):
        loop.set_exception_handler(failing_handler(type(error)(*error.args)))
        loop.call_soon(throw, KeyError("the first"))
        return outcome_of(run_briefly, loop), outcome_of(run_briefly, loop)

    assert_same_log_on_both(caplog, scenario)


@pytest.mark.parametrize("leave", [KeyboardInterrupt, SystemExit])
def test_keyboard_interrupt_and_system_exit_leave_through_a_handler(loop, leave):
    ran = []
    loop.set_exception_handler(failing_handler(leave("from the handler")))
    loop.call_soon(throw, ValueError())
    loop.call_soon(ran.append, "next")
    with pytest.raises(leave, match="from the handler"):
        run_briefly(loop)
    loop.set_exception_handler(None)
    run_briefly(loop)
    assert ran == ["next"]


@pytest.mark.parametrize("leave", [KeyboardInterrupt, SystemExit, Leaving, ValueError])
def test_a_default_handler_that_raises_ends_as_asyncios(leave, caplog):
    def scenario(loop):
        loop.default_exception_handler = lambda context: throw(leave("from the default handler"))
        loop.call_soon(throw, ValueError())
        return outcome_of(run_briefly, loop)

    assert_same_log_on_both(caplog, scenario)


@pytest.mark.parametrize("place", PLACES, ids=place_name)
def test_a_handler_sees_the_exception_as_the_one_being_handled(place):
    """For traceback.print_exc() in a handler, and for the context of what it raises itself."""

    def scenario(loop):
        seen = []
        loop.set_exception_handler(lambda loop, context: seen.append(sys.exc_info()[1]))
        outer = ZeroDivisionError("outer")
        try:
            raise outer
        except ZeroDivisionError:
            meet(loop, place, ValueError("inner"))
            is_outer_again = sys.exc_info()[1] is outer
        return repr(seen), is_outer_again

    assert_same_on_both(scenario)


def test_what_leaves_through_a_handler_has_its_cause_as_context(loop):
    loop.set_exception_handler(failing_handler(KeyboardInterrupt("from the handler")))
    error = ValueError("of the callback")
    loop.call_soon(throw, error)
    with pytest.raises(KeyboardInterrupt) as caught:
        run_briefly(loop)
    assert caught.value.__context__ is error
    loop.set_exception_handler(None)


def test_a_subclass_may_override_the_default_handler(loop_factory):
    reports = []

    class Own(class_of_loops(loop_factory)):
        def default_exception_handler(self, context):
            reports.append(context["message"])

    loop = Own()
    loop.call_soon(throw, ValueError())
    run_briefly(loop)
    loop.close()
    (message,) = reports
    assert message.startswith("Exception in callback throw(")


def test_a_handler_may_replace_itself_and_stop_the_loop(loop):
    calls = []

    def first(loop, context):
        calls.append("first")
        loop.set_exception_handler(second)
        loop.stop()

    def second(loop, context):
        calls.append("second")

    loop.set_exception_handler(first)
    loop.call_soon(throw, ValueError())
    loop.call_soon(throw, ValueError())
    loop.run_forever()
    assert calls == ["first", "second"]
    loop.set_exception_handler(None)


def test_a_handler_runs_inside_the_task_that_fails_to_be_awaited(loop):
    """asyncio.current_task() in a handler is what it is on asyncio."""

    def scenario(loop):
        seen = []

        def handler(loop, context):
            current = asyncio.current_task(loop)
            seen.append(current and current.get_name())

        loop.set_exception_handler(handler)

        async def main():
            loop.call_exception_handler({"message": "inside"})
            loop.call_soon(throw, ValueError())
            await asyncio.sleep(0)
            await asyncio.sleep(0)

        loop.run_until_complete(loop.create_task(main(), name="main"))
        return seen

    assert assert_same_on_both(scenario) == ("returned", ["main", None])


class RefusesLoop:
    """An awaitable that no task can wait for: the step fails, and with it what ran the step."""

    _asyncio_future_blocking = True

    def __await__(self):
        yield self

    def get_loop(self):
        raise ValueError("no loop")


@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
def test_reports_and_warnings_of_steps_come_from_no_task(caplog, debug):
    """Log records and handlers name the current task: not the one that ended or comes next."""

    async def fails():
        raise ValueError("not awaited")

    async def waits():
        await RefusesLoop()

    def scenario(loop):
        loop.set_debug(debug)
        loop.slow_callback_duration = 0
        failing = loop.create_task(fails(), name="fails")
        waiting = loop.create_task(waits(), name="waits")
        following = loop.create_task(asyncio.sleep(0), name="follows")
        del failing
        run_briefly(loop, 2)
        records = [record for record in caplog.records if record.levelno >= logging.WARNING]
        caplog.clear()
        loop.set_exception_handler(lambda *args: None)
        waiting.get_coro().close()
        assert following.done() and len(records) >= 2
        lines = [log_lines(record.getMessage())[0] for record in records]
        lines = [re.sub(r"(?<=<)[\w.]+(?=Task)| took .*", "", line) for line in lines]
        return [(line, getattr(r, "taskName", 0)) for line, r in zip(lines, records, strict=True)]

    def of_tasks(ended):
        kind, records = ended
        assert kind == "returned", ended
        return [record for record in records if "Handle" not in record[0]]

    expected, actual = (outcome_on(name, scenario) for name in ("asyncio", "hotloop"))
    assert of_tasks(actual) == of_tasks(expected)


def test_the_reported_exception_carries_its_traceback(loop, loop_reports):
    in_callback(loop, ValueError("traced"))
    run_briefly(loop)
    (report,) = loop_reports.take()
    names = []
    traceback = report["exception"].__traceback__
    while traceback is not None:
        names.append(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    assert names[-1] == "throw"


@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
def test_debug_mode_adds_where_the_handle_was_made(loop, loop_reports, debug):
    loop.set_debug(debug)
    in_callback(loop, ValueError())
    run_briefly(loop)
    (report,) = loop_reports.take()
    assert ("source_traceback" in report) is debug
    if debug:
        assert report["source_traceback"][-1].name == "in_callback"
