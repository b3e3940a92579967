"""The public ``Loop``: the C core on top of asyncio's own loop class.

The core schedules; everything that runs once per loop or once per connection is Python.
Methods that stand neither here nor in the core are those of the running version of
asyncio: until hotloop has transports of its own, network, pipe and subprocess methods are
asyncio's selector transports, over ``add_reader`` and ``add_writer`` of the core.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import selectors
import signal
import socket
import sys
import threading
import warnings
from asyncio import base_events, futures
from collections.abc import Mapping

from . import _core

# Not imported at run time: the import of hotloop is measured in milliseconds.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, TypeVar, TypeVarTuple

    _T = TypeVar("_T")
    _Ts = TypeVarTuple("_Ts")

_READ = selectors.EVENT_READ
_WRITE = selectors.EVENT_WRITE
_LARGEST_DESCRIPTOR = 2**31 - 1  # a C int


def _descriptor(file: Any) -> int:
    """Return the descriptor of a number or a file object; ValueError as selectors raise it."""
    return selectors._fileobj_to_fd(file)  # type: ignore[attr-defined,no-any-return]


class _SelectorMap(Mapping):  # type: ignore[type-arg]
    """What is watched, as ``BaseSelector.get_map()`` shows it.  Read-only and live."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def _keys(self) -> dict[int, selectors.SelectorKey]:
        keys = {}
        for fd, file, reader, writer in self._loop._watch_list():
            events = (_READ if reader is not None else 0) | (_WRITE if writer is not None else 0)
            registered = fd if file is None else file
            keys[fd] = selectors.SelectorKey(registered, fd, events, (reader, writer))
        return keys

    def __getitem__(self, file: Any) -> selectors.SelectorKey:
        keys = self._keys()
        if isinstance(file, int) and file in keys:
            return keys[file]
        fd = self._loop._watched_as(file)
        if fd < 0:
            fd = _descriptor(file)
        if fd not in keys:
            raise KeyError(f"{file!r} is not registered")
        return keys[fd]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._keys())

    def __len__(self) -> int:
        return len(self._keys())


class _SelectorView:
    """What real code reads of ``loop._selector``: which descriptors are watched."""

    def __init__(self, loop: Loop) -> None:
        self._map = _SelectorMap(loop)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._map

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        return self._map[fileobj]


class Loop(_core.Loop, asyncio.SelectorEventLoop):
    """An asyncio event loop whose scheduling, tasks and futures run in C.

    Behaves as the event loop of the running version of asyncio:
    https://docs.python.org/3/library/asyncio-eventloop.html
    """

    __module__ = "hotloop"

    if TYPE_CHECKING:  # Private names of asyncio's loops, of which typeshed does not tell.
        _default_executor: concurrent.futures.Executor | None
        _executor_shutdown_called: bool
        _ssock: socket.socket | None
        _csock: socket.socket | None

        def _check_callback(self, callback: object, method: str) -> None: ...
        def _check_default_executor(self) -> None: ...
        def _read_from_self(self) -> None: ...

    def __repr__(self) -> str:
        kind = "native" if _core.native else "stock"
        return (
            f"<{self.__class__.__name__} running={self.is_running()} "
            f"closed={self.is_closed()} debug={self.get_debug()} tasks={kind}>"
        )

    # -- tasks and executors ---------------------------------------------------------------------

    def _create_task_with_factory(self, *args: Any, **kwargs: Any) -> Any:
        return base_events.BaseEventLoop.create_task(self, *args, **kwargs)

    def run_in_executor(
        self,
        executor: concurrent.futures.Executor | None,
        func: Callable[[*_Ts], _T],
        *args: *_Ts,
    ) -> asyncio.Future[_T]:
        """Run ``func(*args)`` in an executor; return a future of its result.

        https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.loop.run_in_executor
        """
        self._check_closed()
        if self.get_debug():
            self._check_callback(func, "run_in_executor")
        if executor is None:
            executor = self._default_executor
            self._check_default_executor()
            if executor is None:
                executor = concurrent.futures.ThreadPoolExecutor(thread_name_prefix="asyncio")
                self._default_executor = executor
        job = executor.submit(func, *args)
        future = futures.wrap_future(job, loop=self)
        # While a job is out the loop hands over the GIL in every turn.
        self._executor_job(1)
        job.add_done_callback(self._executor_job)
        return future

    # -- watched descriptors ---------------------------------------------------------------------

    @property
    def _selector(self) -> _SelectorView | None:
        return None if self.is_closed() else _SelectorView(self)

    def _add_reader(
        self, fd: Any, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> Any:
        return self._watch(_descriptor(fd), _READ, fd, context, callback, *args)

    def _add_writer(
        self, fd: Any, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> Any:
        return self._watch(_descriptor(fd), _WRITE, fd, context, callback, *args)

    def _remove_watch(self, file: Any, kind: int) -> bool:
        if self.is_closed():
            return False
        if isinstance(file, int):
            fd = file
            if fd > _LARGEST_DESCRIPTOR:
                return False
        else:
            # A closed file object has no descriptor any more but was registered with one.
            fd = self._watched_as(file)
            if fd < 0:
                fd = _descriptor(file)
        return self._unwatch(fd, kind)

    def _remove_reader(self, fd: Any) -> bool:
        return self._remove_watch(fd, _READ)

    def _remove_writer(self, fd: Any) -> bool:
        return self._remove_watch(fd, _WRITE)

    # -- waking up for signals -------------------------------------------------------------------

    def _make_self_pipe(self) -> None:
        self._ssock, self._csock = ssock, csock = socket.socketpair()
        ssock.setblocking(False)
        csock.setblocking(False)
        self._add_reader(ssock.fileno(), self._read_from_self)
        self._internal_watched = True

    def _close_self_pipe(self) -> None:
        if self._ssock is None or self._csock is None:
            return
        self._remove_reader(self._ssock.fileno())
        self._internal_watched = False
        self._ssock.close()
        self._ssock = None
        self._csock.close()
        self._csock = None

    def _wakeup_fd(self) -> int:
        """Return the descriptor that signals write to."""
        assert self._csock is not None
        return self._csock.fileno()

    def _process_self_data(self, data: bytes) -> None:
        foreign = self.__dict__.get("_foreign_wakeup_fd", -1)
        if foreign >= 0:
            # Full or closed: what the interpreter's own write ignores as well.
            with contextlib.suppress(OSError):
                os.write(foreign, data)
        super()._process_self_data(data)  # type: ignore[misc]  # typeshed lists it nowhere

    def _prepare_to_block(self) -> None:
        """Have signals wake this run; called once per run, before its first real wait."""
        if threading.current_thread() is not threading.main_thread():
            return
        if self._ssock is None:
            self._make_self_pipe()
        if self._has_signal_handlers:
            return
        wakeup_fd = self._wakeup_fd()
        try:
            previous = signal.set_wakeup_fd(wakeup_fd, warn_on_full_buffer=False)
        except ValueError:
            return  # the main thread of a subinterpreter gets no signals
        if previous >= 0 and previous != wakeup_fd:
            self._foreign_wakeup_fd = previous
        self._borrowed_wakeup = True

    def _after_block(self) -> None:
        """Give the wake-up descriptor back at the end of a run that used it."""
        if self.__dict__.pop("_borrowed_wakeup", False):
            foreign = self.__dict__.pop("_foreign_wakeup_fd", -1)
            if not self._has_signal_handlers:
                signal.set_wakeup_fd(foreign, warn_on_full_buffer=foreign >= 0)

    def _forget_self_pipe(self) -> None:
        """In a forked child: drop the pair shared with the parent, by number only."""
        if self._ssock is None:
            return
        is_installed = self.__dict__.pop("_borrowed_wakeup", False) or self._has_signal_handlers
        foreign = self.__dict__.pop("_foreign_wakeup_fd", -1)
        self._close_self_pipe()
        if self._has_signal_handlers:
            self._make_self_pipe()
            foreign = self._wakeup_fd()
        if is_installed:
            signal.set_wakeup_fd(foreign, warn_on_full_buffer=foreign >= 0)

    def add_signal_handler(self, sig: int, callback: Callable[[*_Ts], object], *args: *_Ts) -> None:
        """Call ``callback(*args)`` from the loop when signal sig arrives.

        https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.loop.add_signal_handler
        """
        if self._ssock is None and not self.is_closed():
            self._make_self_pipe()
        super().add_signal_handler(sig, callback, *args)
        self._has_signal_handlers = bool(self._signal_handlers)

    def remove_signal_handler(self, sig: int) -> bool:
        """Remove the handler of signal sig; return whether there was one.

        https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.loop.remove_signal_handler
        """
        removed = super().remove_signal_handler(sig)
        self._has_signal_handlers = bool(self._signal_handlers)
        return removed

    # -- closing ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the loop, which must not run; what is scheduled is forgotten.

        https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.loop.close
        """
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        if self.is_closed():
            return
        if self.get_debug():
            base_events.logger.debug("Close %r", self)  # type: ignore[attr-defined]
        if self._has_signal_handlers:
            self._remove_signal_handlers()
        self._close_self_pipe()
        self._drop_work()
        self._executor_shutdown_called = True
        executor = self._default_executor
        if executor is not None:
            self._default_executor = None
            executor.shutdown(wait=False)

    def _remove_signal_handlers(self) -> None:
        if not sys.is_finalizing():
            for sig in list(self._signal_handlers):
                self.remove_signal_handler(sig)
            return
        warnings.warn(
            f"Closing the loop {self!r} on interpreter shutdown stage, "
            f"skipping signal handlers removal",
            ResourceWarning,
            stacklevel=2,
            source=self,
        )
        self._signal_handlers.clear()


def _after_fork_in_child() -> None:
    """Disown what every loop shares with the parent process."""
    for loop in _core._after_fork_in_child():
        loop._forget_self_pipe()


os.register_at_fork(after_in_child=_after_fork_in_child)
