"""How signals wake a loop that waits: a pair of sockets, made when it is first needed.

While a run may block on the main thread, the pair is the interpreter's wake-up descriptor; what
somebody else had put there before gets the bytes as well, and its place back at the end of the run.

A handler of a signal, Ctrl-C's above all, may raise between any two instructions here.  So what is
made is kept by whoever makes it, what tells that a step was done is set after it, what tells that
one is to be undone before it, and a step that was begun can be begun again.
"""

from __future__ import annotations

import _socket
import asyncio
import contextlib
import functools
import os
import signal
import threading

# Not imported at run time: the import of hotloop is measured in milliseconds.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _put_back(wakeup_fd: int) -> int:
    """Make that the interpreter's wake-up descriptor again; return which one it replaces."""
    try:
        return signal.set_wakeup_fd(wakeup_fd, warn_on_full_buffer=wakeup_fd >= 0)
    except (OSError, ValueError):
        return signal.set_wakeup_fd(-1)  # its owner has closed it, or made it blocking


class SignalWakeUp(asyncio.SelectorEventLoop):
    """What the core and asyncio call around the waits of a loop; for hotloop.Loop only."""

    if TYPE_CHECKING:  # Private names of asyncio's loops, and of the core's struct.
        _ssock: _socket.socket | None
        _csock: _socket.socket | None
        _borrowed_wakeup: bool
        _foreign_wakeup_fd: int | None
        _has_signal_handlers: bool
        _internal_watched: bool

        _add_reader: Any
        _keep_foreign_wakeup: Any
        _keep_self_pipe: Any
        _remove_reader: Any

        def _read_from_self(self) -> None: ...

    def _make_self_pipe(self) -> None:
        if self._ssock is None:
            self._keep_self_pipe(_socket.socketpair)
        assert self._ssock is not None and self._csock is not None
        self._ssock.setblocking(False)
        self._csock.setblocking(False)
        self._add_reader(self._ssock.fileno(), self._read_from_self)
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
        foreign = self._wakeup_before()
        if foreign >= 0:
            # Full or closed: what the interpreter's own write ignores as well.
            with contextlib.suppress(OSError):
                os.write(foreign, data)
        super()._process_self_data(data)  # type: ignore[misc]  # typeshed lists it nowhere

    def _prepare_to_block(self) -> None:
        """Have signals wake this run; called once per run, before its first real wait."""
        if threading.current_thread() is not threading.main_thread():
            return
        if not self._internal_watched:
            self._make_self_pipe()
        if self._has_signal_handlers:
            return
        wakeup_fd = self._wakeup_fd()
        self._borrowed_wakeup = True
        try:
            install = functools.partial(signal.set_wakeup_fd, wakeup_fd, warn_on_full_buffer=False)
            self._keep_foreign_wakeup(install, wakeup_fd)
        except ValueError:
            self._borrowed_wakeup = False  # the main thread of a subinterpreter gets no signals

    def _wakeup_before(self) -> int:
        """Return the wake-up descriptor of somebody else's that ours has replaced, or -1."""
        foreign = self._foreign_wakeup_fd
        return -1 if foreign is None else foreign

    def _forget_wakeup(self) -> None:
        self._borrowed_wakeup = False
        self._foreign_wakeup_fd = None

    def _after_block(self) -> None:
        """Give the wake-up descriptor back at the end of a run that used it."""
        if not self._borrowed_wakeup:
            return
        if not self._has_signal_handlers:
            installed = _put_back(self._wakeup_before())
            if installed != self._wakeup_fd():
                _put_back(installed)  # somebody has set another during the run
        self._forget_wakeup()

    def _forget_self_pipe(self) -> None:
        """In a forked child: drop the pair shared with the parent, by number only."""
        if self._ssock is None:
            return
        is_installed = self._borrowed_wakeup or self._has_signal_handlers
        wakeup_fd = self._wakeup_before()
        self._forget_wakeup()
        self._close_self_pipe()
        if self._has_signal_handlers:
            self._make_self_pipe()
            wakeup_fd = self._wakeup_fd()
        if is_installed:
            _put_back(wakeup_fd)
