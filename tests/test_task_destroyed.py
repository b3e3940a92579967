"""What is reported about tasks and futures that go away pending, or failed and never looked at.

The reports reach the loop's exception handler when the object is freed, by reference count or by
the garbage collector; an object that comes back from its own report must be whole.
"""

import asyncio
import contextlib
import gc
import sys
import weakref

import pytest
from support.task_kinds import ALL_KINDS
from support.worlds import same_as_asyncio

import hotloop


async def await_it(future):
    await future


@same_as_asyncio
def test_pending_task(w):
    task = w.kind.Task(await_it(w.kind.Future(loop=w.loop)), loop=w.loop, name="lost")
    w.turns(1)
    del task
    gc.collect()


@same_as_asyncio
def test_pending_task_that_shall_not_be_reported(w):
    task = w.kind.Task(await_it(w.kind.Future(loop=w.loop)), loop=w.loop, name="lost")
    task._log_destroy_pending = False
    w.turns(1)
    del task
    gc.collect()
    w.note("nothing reported")


@same_as_asyncio
def test_task_that_never_ran(w):
    """The loop is closed while the first step is still queued."""
    loop = w.kind.new_loop()
    loop.set_exception_handler(lambda loop, context: w.note("handler", context["message"]))
    coroutine = w.keep(asyncio.sleep(0))
    task = w.kind.Task(coroutine, loop=loop, name="never ran")
    loop.close()
    del task, loop
    gc.collect()


@same_as_asyncio
def test_exception_never_retrieved(w):
    future = w.kind.Future(loop=w.loop)
    future.set_exception(LookupError("future"))
    del future
    gc.collect()

    async def body():
        raise LookupError("task")

    task = w.kind.Task(body(), loop=w.loop, name="failing")
    w.turns(1)
    del task
    gc.collect()


@same_as_asyncio
def test_exception_that_was_looked_at_is_not_reported(w):
    for look in ("result", "exception", "cancel", "clear"):
        future = w.kind.Future(loop=w.loop)
        future.set_exception(LookupError("text"))
        with contextlib.suppress(LookupError):
            if look == "clear":
                future._log_traceback = False
            else:
                getattr(future, look)()
        del future
        gc.collect()
    w.note("nothing reported")


@same_as_asyncio
def test_awaited_exception_is_not_reported(w):
    async def main():
        future = w.kind.Future(loop=w.loop)
        w.loop.call_soon(future.set_exception, LookupError("text"))
        await w.wait_for("main", future)

    w.run(main())
    gc.collect()
    w.note("nothing more")


@same_as_asyncio
def test_exception_reported_for_a_future_that_was_used_again(w):
    """One future's life must not depend on what another at the same address had been through."""
    for number in range(3):
        future = w.kind.Future(loop=w.loop)
        future.set_exception(LookupError(number))
        del future
        gc.collect()


@same_as_asyncio
def test_exception_reported_out_of_a_cycle(w):
    """The collector marks objects as finalized; a recycled object must not keep that mark."""

    class Holder:
        pass

    for number in range(3):
        holder = Holder()
        holder.future = w.kind.Future(loop=w.loop)
        holder.future.add_done_callback(lambda future, holder=holder: None)
        holder.future.set_exception(LookupError(number))
        holder.cycle = holder
        w.turns(1)
        del holder
        gc.collect()


@same_as_asyncio
def test_task_in_a_cycle_with_its_coroutine(w):
    async def body():
        me = asyncio.current_task()
        await w.kind.Future(loop=w.loop)
        return me

    task = w.kind.Task(body(), loop=w.loop, name="cycle")
    w.turns(1)
    reference = weakref.ref(task)
    del task
    gc.collect()
    w.note(reference() is None)


@same_as_asyncio
def test_two_tasks_waiting_for_each_other(w):
    tasks = {}

    async def body(other):
        await asyncio.sleep(0)
        await tasks[other]

    tasks[0] = w.kind.Task(body(1), loop=w.loop, name="pair")
    tasks[1] = w.kind.Task(body(0), loop=w.loop, name="pair")
    w.loop.set_exception_handler(lambda loop, context: w.note("handler", context["message"]))
    w.turns(3)
    tasks.clear()
    gc.collect()


@pytest.mark.parametrize("kind", ALL_KINDS, ids=str)
def test_object_kept_by_its_report_is_whole(kind):
    reports = []
    loop = kind.new_loop()
    loop.set_exception_handler(lambda loop, context: reports.append(context))
    future = kind.Future(loop=loop)
    future.set_exception(LookupError("text"))
    del future
    kept = reports.pop()["future"]
    assert repr(kept.exception()) == "LookupError('text')"
    assert kept.get_loop() is loop
    del kept
    gc.collect()
    assert reports == []
    loop.close()


@same_as_asyncio
def test_task_kept_by_its_report_is_whole(w):
    reports = []
    w.loop.set_exception_handler(lambda loop, context: reports.append(context))
    task = w.kind.Task(await_it(w.kind.Future(loop=w.loop)), loop=w.loop, name="lost")
    w.turns(1)
    del task
    gc.collect()
    (report,) = reports
    reports.clear()
    task = w.describe.name("task", report.pop("task"))
    w.note(report, task._state, task.get_name(), task._fut_waiter._state)
    # The collector has closed the coroutine, which is part of the same cycle, by now.
    w.attempt(task.cancel, "text")
    w.turns(3)
    w.note(task._state, task.cancelling(), len(reports))


@same_as_asyncio
def test_exception_handler_that_raises(w):
    def handler(loop, context):
        w.note("handler", context["message"])
        raise ValueError("from the handler")

    w.loop.set_exception_handler(handler)
    future = w.kind.Future(loop=w.loop)
    future.set_exception(LookupError("text"))
    del future
    gc.collect()
    w.note("survived")


@same_as_asyncio
def test_loop_that_cannot_take_the_report(w):
    """What a finalizer cannot report goes to sys.unraisablehook, or nowhere, as with asyncio."""

    class Silent:
        def get_debug(self):
            return False

    class Raising(Silent):
        def call_exception_handler(self, context):
            raise OSError("refused")

    hook, sys.unraisablehook = sys.unraisablehook, lambda report: w.note(report.exc_value)
    try:
        for loop in (Silent(), Raising()):
            future = w.kind.Future(loop=loop)
            future.set_exception(LookupError("text"))
            w.note("now", type(loop).__name__)
            del future
    finally:
        sys.unraisablehook = hook


def test_current_exception_survives_a_finalizer(loop, loop_reports):
    """A future freed while an exception is handled reports and leaves that exception alone."""
    future = hotloop.Future(loop=loop)
    future.set_exception(LookupError("text"))
    with pytest.raises(KeyError, match="other"):
        try:
            raise KeyError("other")
        finally:
            del future
    (report,) = loop_reports.take()
    assert report["message"] == "Future exception was never retrieved"


def test_many_recycled_objects_keep_reporting(loop, loop_reports):
    for _ in range(200):
        hotloop.Future(loop=loop).set_exception(LookupError())
    assert len(loop_reports.take()) == 200
