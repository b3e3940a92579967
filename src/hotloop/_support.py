"""Cold paths of the C core: what runs once, or only when something went wrong.

Called from ``hotloop._core`` by name; nothing here is public.  Everything that asyncio has
a function for is done by asyncio's own, so that texts are those of the running version.
"""

from __future__ import annotations

import _asyncio
import asyncio
import contextvars
import gc
import sys
import warnings
import weakref
from asyncio import base_events, format_helpers, unix_events

# Not imported at run time: the import of hotloop is measured in milliseconds.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterator
    from typing import Any

_FORMAT_TAKES_DEBUG = "debug" in format_helpers._format_callback_source.__code__.co_varnames


def _logger() -> logging.Logger:
    """Return asyncio's logger as its own loop finds it."""
    return base_events.logger  # type: ignore[attr-defined,no-any-return]


def extract_stack() -> Any:
    """Return the stack of the Python code that called into the core, for debug mode."""
    return format_helpers.extract_stack(sys._getframe(1))


def handle_failed(handle: Any, exception: BaseException) -> None:
    """Report an exception that a handle's callback raised, as asyncio.Handle._run does."""
    loop = handle._loop
    options = {"debug": loop.get_debug()} if _FORMAT_TAKES_DEBUG else {}
    callback = format_helpers._format_callback_source(handle._callback, handle._args, **options)
    context = {
        "message": f"Exception in callback {callback}",
        "exception": exception,
        "handle": handle,
    }
    if handle._source_traceback:
        context["source_traceback"] = handle._source_traceback
    loop.call_exception_handler(context)


def report_slow(loop: Any, handle: Any, seconds: float) -> None:
    """Log in debug mode that a handle took at least ``loop.slow_callback_duration``."""
    if seconds >= loop.slow_callback_duration:
        has_callback = hasattr(handle, "_callback")  # What is no Handle shows itself.
        shown = base_events._format_handle(handle) if has_callback else repr(handle)  # type: ignore[attr-defined]
        _logger().warning("Executing %s took %.3f seconds", shown, seconds)


# -- loop attributes made at first use ----------------------------------------------------


def _make_child_watcher() -> Any:
    """Return what asyncio's own loop watches child processes with (3.14 and later)."""
    if unix_events.can_use_pidfd():  # type: ignore[attr-defined]
        return unix_events._PidfdChildWatcher()  # type: ignore[attr-defined]
    return unix_events._ThreadedChildWatcher()  # type: ignore[attr-defined]


_LAZY_ATTRIBUTES: dict[str, Callable[[], Any]] = {
    "_asyncgens": weakref.WeakSet,
    "_process_fds": set,
    "_signal_handlers": dict,
    "_unix_server_sockets": dict,
    "_watcher": _make_child_watcher,
}


def make_attribute(name: str, loop: Any) -> Any:
    """Return the initial value of a loop attribute that is made when first read."""
    if name == "_transports":
        from hotloop import _transports

        return _transports.TransportMap(loop)
    return _LAZY_ATTRIBUTES[name]()


# -- the task registry up to 3.13 -----------------------------------------------------------


class _ChainedTaskSet(weakref.WeakSet):  # type: ignore[type-arg]
    """asyncio's WeakSet of tasks, followed by the tasks of the core's own register."""

    def __iter__(self) -> Iterator[Any]:
        from hotloop import _core

        stored = set(super().__iter__())
        yield from stored
        for task in _core._registered_tasks():
            if task not in stored:
                yield task

    def discard(self, item: Any) -> None:
        from hotloop import _core

        _core._forget_task(item)
        super().discard(item)

    def remove(self, item: Any) -> None:
        if item not in self:
            raise KeyError(item)
        self.discard(item)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, item: Any) -> bool:
        return any(item is task for task in self)


def chain_task_set(tasks: Any) -> bool:
    """Make asyncio's set of tasks show the core's tasks too, if it is a plain WeakSet."""
    if type(tasks) is not weakref.WeakSet:
        return False
    tasks.__class__ = _ChainedTaskSet
    return True


# -- the layout probe -------------------------------------------------------------------------


class _ProbeLoop:
    """As much of a loop as a stock Future and Task ask for, which runs nothing."""

    def __init__(self) -> None:
        self.scheduled: list[tuple[Any, Any]] = []

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return False

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> None:
        self.scheduled.append((callback, context))

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Nothing of the probe is worth a log line."""


def _swap_current_task(loop: Any, task: Any) -> Any:
    """Make a task the current one of this thread; return the previous one (3.14 and later)."""
    return _asyncio._swap_current_task(loop, task)  # type: ignore[attr-defined]


def _stock_future(loop: _ProbeLoop) -> Any:
    """Return a future of asyncio's own, of which the probe reads private fields."""
    return _asyncio.Future(loop=loop)  # type: ignore[arg-type]


def _stock_task(coroutine: Any, loop: _ProbeLoop, **options: Any) -> Any:
    """Return a task of asyncio's own, of which the probe reads private fields."""
    return _asyncio.Task(coroutine, loop=loop, **options)  # type: ignore[arg-type]


async def _wait_for(future: Any) -> None:
    await future


def _probe_futures(loop: _ProbeLoop) -> list[tuple[str, Any, Any]]:
    """Stock futures in known states, and what their fields must hold."""
    context = contextvars.copy_context()
    message = object()
    result = object()

    def first(_: Any) -> None:
        """The first callback."""

    pending = _stock_future(loop)
    pending.add_done_callback(first, context=context)
    pending._cancel_message = message
    pending._asyncio_future_blocking = True
    finished = _stock_future(loop)
    finished.set_result(result)
    error = ValueError()
    try:
        raise error
    except ValueError:
        traceback = error.__traceback__
    failed = _stock_future(loop)
    failed.set_exception(error)
    expectations = [
        ("loop", pending, loop),
        ("callback0", pending, first),
        ("context0", pending, context),
        ("callbacks", pending, None),
        ("cancel_msg", pending, message),
        ("blocking", pending, 1),
        ("log_tb", pending, 0),
        ("state", pending, 0),
        ("source_tb", pending, None),
        ("result", pending, None),
        ("exception", pending, None),
        ("result", finished, result),
        ("state", finished, 2),
        ("blocking", finished, 0),
        ("callback0", finished, None),
        ("exception", failed, error),
        ("exception_tb", failed, traceback),
        ("log_tb", failed, 1),
        ("cancelled_exc", failed, None),
    ]
    return expectations


def _referent(thing: Any, kind: type) -> Any:
    """Return the object of a kind that thing refers to, or None, which fails the check.

    In a second interpreter on 3.11 the types in _asyncio raise the first one's CancelledError.
    """
    return next((one for one in gc.get_referents(thing) if isinstance(one, kind)), None)


def _probe_callback_list(loop: _ProbeLoop) -> list[tuple[str, Any, Any]]:
    """A future with two callbacks, which makes a list of the second."""
    future = _stock_future(loop)
    future.add_done_callback(print)
    future.add_done_callback(print)
    return [("callbacks", future, _referent(future, list))]


def _probe_cancelled_error(loop: _ProbeLoop) -> list[tuple[str, Any, Any]]:
    """A task that ended with CancelledError, which it keeps; needs the loop to be running."""
    task = _stock_task(_wait_for(None), loop)
    task.cancel()
    loop.scheduled[-1][0]()
    return [("cancelled_exc", task, _referent(task, asyncio.CancelledError))]


def _probe_two_waiters(loop: _ProbeLoop) -> list[tuple[str, Any, Any]]:
    """A future awaited by two others, which it knows of from 3.14 on."""
    if sys.version_info < (3, 14):
        return []
    future, *waiters = (_stock_future(loop) for _ in range(3))
    for waiter in waiters:
        _asyncio.future_add_to_awaited_by(future, waiter)
    return [("awaited_by_is_set", future, 1)]


def _probe_cancelled_task(loop: _ProbeLoop) -> tuple[Any, list[tuple[str, Any, Any]]]:
    """A stock task that was cancelled before its first step, and its fields."""
    task = _stock_task(_wait_for(None), loop)
    task.cancel()
    return task, [("must_cancel", task, 1), ("log_destroy_pending", task, 1)]


def _probe_task(loop: _ProbeLoop, waiter: Any) -> tuple[Any, list[tuple[str, Any, Any]]]:
    """A stock task that will wait for waiter, and its fields."""
    context = contextvars.copy_context()
    name = "hotloop-probe"
    coroutine = _wait_for(waiter)
    task = _stock_task(coroutine, loop, name=name, context=context)
    task._log_destroy_pending = False
    expectations = [
        ("loop", task, loop),
        ("coro", task, coroutine),
        ("name", task, name),
        ("context", task, context),
        ("state", task, 0),
        ("log_destroy_pending", task, 0),
    ]
    return task, expectations


def warn_of_stock_types(problem: str) -> None:
    """Say once that tasks and futures are asyncio's own here, why, and what helps."""
    version = ".".join(map(str, sys.version_info[:3]))
    warnings.warn(
        f"hotloop uses asyncio's own Task and Future: in this Python {version} they are not "
        f"laid out as hotloop expects ({problem}); install a hotloop made for this version",
        RuntimeWarning,
        stacklevel=2,
    )


def wraps_stop_iteration() -> bool:
    """Tell whether set_exception(StopIteration()) is wrapped here, or refused."""
    future = _stock_future(_ProbeLoop())
    try:
        future.set_exception(StopIteration())
    except TypeError:
        return False
    future.exception()
    return True


def probe(check: Callable[[list[tuple[str, Any, Any]], Any, Any], bool]) -> bool:
    """Show stock objects in known states to the core's check, and leave nothing behind.

    The import may happen inside a running task, so the running loop and the current task
    of this thread are put back as they were.
    """
    in_thread_state = sys.version_info >= (3, 14)
    loop = _ProbeLoop()
    expectations = _probe_futures(loop) + _probe_callback_list(loop) + _probe_two_waiters(loop)
    waiter = _stock_future(loop)
    cancelled, cancelled_expectations = _probe_cancelled_task(loop)
    task, task_expectations = _probe_task(loop, waiter)
    expectations += cancelled_expectations + task_expectations
    running = asyncio._get_running_loop()
    previous = None
    try:
        if in_thread_state and running is not None:
            previous = _swap_current_task(running, None)
        asyncio._set_running_loop(loop)  # type: ignore[arg-type]
        loop.scheduled[-1][0]()  # the task's first step: it waits now
        expectations += _probe_cancelled_error(loop)
        task.cancel()
        expectations += [("state", waiter, 1), ("num_cancels", task, 1)]
        if in_thread_state:
            expectations += [("is_task", task, 1), ("is_task", waiter, 0)]
            expectations += [("awaited_by", waiter, task), ("awaited_by_is_set", waiter, 0)]
        expectations += [("fut_waiter", task, waiter), ("must_cancel", task, 0)]
        if in_thread_state:
            _swap_current_task(loop, task)
        try:
            return check(expectations, loop, task)
        finally:
            if in_thread_state:
                _swap_current_task(loop, None)
            cancelled._log_destroy_pending = False
            cancelled.get_coro().close()
            task.get_coro().close()
            for _, thing, _ in expectations:
                if thing.done() and not thing.cancelled():
                    thing.exception()
    finally:
        asyncio._set_running_loop(running)
        if previous is not None:
            _swap_current_task(running, previous)
        _asyncio._unregister_task(task)
        _asyncio._unregister_task(cancelled)
