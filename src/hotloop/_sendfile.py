"""``sock_sendfile`` by os.sendfile(): the kernel copies from a file into a socket.

Behaves as the running version of asyncio, whose own method is used for sockets that are not
plain, and whose fallback, which reads and sends, is used where the kernel refuses the file.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import selectors
import sys
from asyncio import exceptions, unix_events

# Not imported at run time: the import of hotloop is measured in milliseconds.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any

_NOT_NOW = (BlockingIOError, InterruptedError)
# What os.sendfile takes as a count; asyncio before 3.13 hands on any number.
_LARGEST_BLOCK = sys.maxsize // 2 + 1 if sys.version_info >= (3, 13) else None
# asyncio moves the file's position always, or, in older versions, only if something was sent,
# which its helper has an argument for.
_HELPER = unix_events._UnixSelectorEventLoop._sock_sendfile_update_filepos  # type: ignore[attr-defined]
_MOVES_ALWAYS = "total_sent" not in _HELPER.__code__.co_varnames


def _size_of(file: Any) -> tuple[int, int]:
    """Return descriptor and size of a file that has both."""
    try:
        descriptor = file.fileno()
    except (AttributeError, io.UnsupportedOperation):
        raise exceptions.SendfileNotAvailableError("not a regular file") from None
    try:
        return descriptor, os.fstat(descriptor).st_size
    except OSError:
        raise exceptions.SendfileNotAvailableError("not a regular file") from None


def _failure(error: OSError, sent: int, waited: bool) -> Exception:
    """Return what a failed os.sendfile means."""
    if sent == 0:
        return exceptions.SendfileNotAvailableError("os.sendfile call failed")
    if waited and error.errno == errno.ENOTCONN:
        # Closed in the middle: the same error as on other systems.
        lost = ConnectionError("socket is not connected", errno.ENOTCONN)
        lost.__cause__ = error
        return lost
    return error


def _move(source: int, offset: int, sent: int) -> None:
    """Have the file's position follow what was sent."""
    if sent > 0 or _MOVES_ALWAYS:
        os.lseek(source, offset, os.SEEK_SET)


async def send_file(
    loop: Any, sock: socket.socket, file: Any, offset: int, count: int | None
) -> int:
    """Send a file from offset on; return the number of bytes.

    At most one system call a turn, so that a fast reader does not keep the loop. The file's
    position follows what was sent, also after an error or a cancellation.
    """
    source, size = _size_of(file)
    block = count or size
    if not block:
        return 0
    sent = 0
    waited = False
    failed: OSError | None = None
    try:
        while not count or sent < count:
            if count:
                block = count - sent
            if _LARGEST_BLOCK is not None:
                block = min(block, _LARGEST_BLOCK)
            try:
                done = os.sendfile(sock.fileno(), source, offset, block)
            except _NOT_NOW:
                pass
            except OSError as error:
                failed = error
                break
            else:
                if done == 0:
                    break  # The end of the file.
                offset += done
                sent += done
            await loop._sock_ready(sock, selectors.EVENT_WRITE)
            waited = True
    except Exception:
        _move(source, offset, sent)
        raise
    except BaseException:  # Cancelled: the file may be closed by now, its number another's.
        with contextlib.suppress(OSError, ValueError):
            if file.fileno() == source:
                _move(source, offset, sent)
        raise
    _move(source, offset, sent)
    if failed is not None:
        raise _failure(failed, sent, waited)
    return sent
