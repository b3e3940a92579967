"""Cold paths of the core's transports: what runs once per connection at most, or on failure.

Called from ``hotloop._core`` by name; nothing here is public. Texts are asyncio's own.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import sys
import weakref
from asyncio import constants, selector_events, trsock
from asyncio.log import logger

# Not imported at run time: the import of hotloop is measured in milliseconds.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_HIGH_WATER = 64 * 1024
SENDFILE_TRY_NATIVE = constants._SendfileMode.TRY_NATIVE


class _TransportSocket(trsock.TransportSocket):
    """asyncio's view of a transport's socket; what the transport holds back is sent first."""

    __slots__ = ("_loop", "_real")

    def __init__(self, loop: Any, sock: Any) -> None:
        self._loop = loop
        self._real = sock

    @property
    def _sock(self) -> Any:
        self._loop._flush()
        return self._real


def adopt_socket(fd: int, proto: int) -> socket.socket:
    """Return a non-blocking socket object that owns fd from now on; fd is closed on failure.

    An accepted socket shows the number of the protocol that the listening one was made with, which
    is often none; -1 is what the kernel says.
    """
    sock = socket.socket(proto=proto, fileno=fd)
    sock.setblocking(False)
    return sock


def transport_socket(loop: Any, sock: Any, family: int, proto: int) -> trsock.TransportSocket:
    """Return what get_extra_info("socket") gives; loop is None after the end.

    sock is None for an accepted connection that has ended before anybody asked: a closed socket of
    its kind stands for it. proto is that of adopt_socket().
    """
    if sock is None:
        if proto < 0:
            proto = socket.IPPROTO_TCP if family in (socket.AF_INET, socket.AF_INET6) else 0
        sock = socket.socket(family, socket.SOCK_STREAM, proto)
        sock.close()
    if loop is None:
        return trsock.TransportSocket(sock)
    return _TransportSocket(loop, sock)


def log_debug(text: str, transport: Any) -> None:
    """Log in asyncio's logger what a transport does, for debug mode."""
    logger.debug(text, transport)


def _report(loop: Any, message: str, exception: BaseException, transport: Any) -> None:
    """Call the loop's exception handler with the context that asyncio's transports give."""
    loop.call_exception_handler(
        {
            "message": message,
            "exception": exception,
            "transport": transport,
            "protocol": transport.get_protocol(),
        }
    )


def transport_failed(loop: Any, message: str, exception: BaseException, transport: Any) -> None:
    """Report what ends a connection: a broken one to the debug log, all else to the handler."""
    if isinstance(exception, OSError):
        logger.debug("%r: %s", transport, message, exc_info=exception)
    else:
        _report(loop, message, exception, transport)


def flow_control_failed(loop: Any, method: str, exception: BaseException, transport: Any) -> None:
    """Report that pause_writing() or resume_writing() of a protocol raised."""
    _report(loop, f"protocol.{method}() failed", exception, transport)


def water_marks(high: Any, low: Any) -> tuple[int, int]:
    """Return (high, low) of set_write_buffer_limits(), with what was not given filled in."""
    if high is None:
        high = _HIGH_WATER if low is None else 4 * low
    if low is None:
        low = high // 4
    if not high >= low >= 0:
        raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
    return int(min(high, sys.maxsize)), int(min(low, sys.maxsize))


def warn_of_lost_write() -> None:
    """Log that a protocol goes on writing to a connection that is lost."""
    logger.warning("socket.send() raised exception.")


def what_datagrams_do() -> tuple[bool, int]:
    """Tell whether asyncio's transports send empty datagrams here, and what queueing one costs.

    The second is what a queued datagram adds to the size of the queue besides its data.
    """
    queue: Any = [b"earlier"]
    kind: Any = selector_events._SelectorDatagramTransport  # type: ignore[attr-defined]
    probe = kind.__new__(kind)
    probe._address = None
    probe._conn_lost = 0
    probe._buffer = queue
    probe._buffer_size = 0
    probe._maybe_pause_protocol = lambda: None
    probe.sendto(b"")
    sends_empty = len(queue) > 1
    probe._buffer_size = 0
    probe.sendto(b"1")
    return sends_empty, probe._buffer_size - 1


def log_closed_by_peer(transport: Any) -> None:
    """Log in debug mode that the other end of a pipe was closed."""
    logger.info("%r was closed by peer", transport)


def read_pipe_failed(loop: Any, message: str, exception: BaseException, transport: Any) -> None:
    """Report what ends a read pipe; EIO is how a terminal ends."""
    if isinstance(exception, OSError) and exception.errno == errno.EIO:
        if loop.get_debug():
            logger.debug("%r: %s", transport, message, exc_info=exception)
    else:
        _report(loop, message, exception, transport)


def warn_of_lost_pipe_write() -> None:
    """Log that a protocol goes on writing to a pipe that is closed."""
    logger.warning("pipe closed by peer or os.write(pipe, data) raised exception.")


# Open files that were blocking, and how many transports use each: a terminal is often standard
# input and output at once, and stays non-blocking until the last one ends. Beside it, by id, which
# of them a transport's file object stands for: its descriptor may be closed behind the transport.
_unblocked: dict[tuple[int, int, int], int] = {}
_unblocked_by: dict[int, tuple[int, int, int]] = {}


def _open_file(fd: int) -> tuple[int, int, int]:
    """Return what tells open files apart: the two ends of a pipe are one inode."""
    status = os.fstat(fd)
    return status.st_dev, status.st_ino, fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE


def begin_nonblocking(file: Any, fd: int) -> bool:
    """Make fd non-blocking; tell whether end_nonblocking() is to be called for it."""
    key = _open_file(fd)
    users = _unblocked.get(key, 0)
    if users == 0 and not os.get_blocking(fd):
        return False
    os.set_blocking(fd, False)
    _unblocked[key] = users + 1
    _unblocked_by[id(file)] = key
    return True


def end_nonblocking(file: Any, fd: int) -> None:
    """Make fd blocking again if it is still that file and no other transport uses it."""
    key = _unblocked_by.pop(id(file))
    users = _unblocked.pop(key) - 1
    if users > 0:
        _unblocked[key] = users
        return
    with contextlib.suppress(OSError, ValueError):  # Closed behind the transport's back.
        if file.fileno() == fd and _open_file(fd) == key:
            os.set_blocking(fd, True)


def refuse_write(transport: Any, data: Any) -> None:
    """Raise the TypeError that this version of asyncio has for data of a wrong type."""
    selector_events._SelectorSocketTransport.write(  # type: ignore[attr-defined]
        transport, data
    )


def accept_failed(loop: Any, exception: BaseException, protocol: Any) -> None:
    """Report in debug mode that an accepted connection could not be made."""
    context = {
        "message": "Error on transport creation for incoming connection",
        "exception": exception,
    }
    if protocol is not None:
        context["protocol"] = protocol
    loop.call_exception_handler(context)


def accept_by_task(
    loop: Any,
    fd: int,
    proto: int,
    address: Any,
    listening: socket.socket,
    protocol_factory: Any,
    sslcontext: Any,
    server: Any,
    handshake_timeout: Any,
    shutdown_timeout: Any,
    context: Any,
) -> None:
    """Make an accepted connection by asyncio's own task: for TLS, and in debug mode."""
    conn = adopt_socket(fd, proto)
    if address is None:
        address = conn.getpeername()
    if loop.get_debug():
        logger.debug("%r got a new connection from %r: %r", server, address, conn)
    options = {} if context is None else {"context": context.copy()}
    accept = loop._accept_connection2(
        protocol_factory,
        conn,
        {"peername": address},
        sslcontext,
        server,
        handshake_timeout,
        shutdown_timeout,
        **options,
    )
    loop.create_task(accept, **options)


def accept_paused(loop: Any, exception: BaseException, listener: Any) -> None:
    """Report that the system has no more descriptors, and accept again in a second."""
    loop.call_exception_handler(
        {
            "message": "socket.accept() out of system resource",
            "exception": exception,
            "socket": trsock.TransportSocket(listener.sock),
        }
    )
    loop.call_later(constants.ACCEPT_RETRY_DELAY, listener.restart)


class TransportMap(weakref.WeakValueDictionary):  # type: ignore[type-arg]
    """asyncio's table of transports by descriptor: the core's own, and others made in Python."""

    def __init__(self, loop: Any) -> None:
        super().__init__()
        self._loop_reference = weakref.ref(loop)

    @property
    def _loop(self) -> Any:
        return self._loop_reference()

    def __getitem__(self, fd: int) -> Any:
        transport = self._loop._transport_of(fd)
        return super().__getitem__(fd) if transport is None else transport

    def get(self, fd: int, default: Any = None) -> Any:
        transport = self._loop._transport_of(fd)
        return super().get(fd, default) if transport is None else transport

    def __contains__(self, fd: Any) -> bool:
        return self.get(fd) is not None

    def __setitem__(self, fd: int, transport: Any) -> None:
        from hotloop import _core

        if isinstance(transport, _core._Transport):
            # A transport that was lost meanwhile owns nothing: asyncio's keeps a dead entry.
            with contextlib.suppress(ValueError):
                self._loop._own_descriptor(fd, transport)
        else:
            super().__setitem__(fd, transport)

    def __delitem__(self, fd: int) -> None:
        loop = self._loop
        if loop._transport_of(fd) is not None:
            loop._own_descriptor(fd, None)
        else:
            super().__delitem__(fd)
