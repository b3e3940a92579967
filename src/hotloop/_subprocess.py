"""Child processes: asyncio's transport over real pipes, and how the loop learns of an exit.

Every child has a process descriptor that the loop watches, on every version and in every thread:
no handler of SIGCHLD, no thread. Where the system gives no descriptor (none left, an old kernel, a
sandbox) a thread waits instead; it leaves the status to the loop, so that a process number is free
only after the transport knows. Invariants:

1. A child is watched as soon as it runs. What fails later kills it and waits for it.
2. The status is read under the lock of the ``Popen`` object and kept there: whoever asks that
   object, in any thread, gets the same answer, and nobody signals a number that is free again.
3. Process descriptors belong to the loop, which closes them at its end and in a forked child.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from asyncio import events, unix_events
from asyncio.log import logger

# Not imported at run time: the import of hotloop is measured in milliseconds.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from typing import Any

    from ._loop import Loop

_UNKNOWN_STATUS = 255  # What asyncio says where somebody else has read the status.


# -- the exit of a process -------------------------------------------------------------------------


def _reap(proc: Any, kind: int, number: int) -> int | None:
    """Return the exit status of an ended child, read now or before; None if it still runs."""
    with proc._waitpid_lock:
        if proc.returncode is None:
            try:
                ended = os.waitid(kind, number, os.WEXITED | os.WNOHANG)
            except ChildProcessError:
                logger.warning(
                    "child process pid %d exit status already read:  will report returncode 255",
                    proc.pid,
                )
                proc.returncode = _UNKNOWN_STATUS
            else:
                if ended is not None:
                    is_exit = ended.si_code == os.CLD_EXITED
                    proc.returncode = ended.si_status if is_exit else -ended.si_status
        returncode: int | None = proc.returncode
        return returncode


def _on_readable(loop: Loop, process_fd: int, transport: Any, proc: Any) -> None:
    """The loop's callback for a process descriptor."""
    try:
        returncode = _reap(proc, os.P_PIDFD, process_fd)
    except OSError:
        _close_process_fd(loop, process_fd)  # It would be readable for ever.
        raise
    if returncode is None:
        return
    _close_process_fd(loop, process_fd)
    loop._child_watcher_callback(proc.pid, returncode, transport)


def _on_thread_done(loop: Loop, transport: Any, proc: Any) -> None:
    returncode = _reap(proc, os.P_PID, proc.pid)
    if returncode is not None:
        loop._child_watcher_callback(proc.pid, returncode, transport)


def _wait_in_thread(loop: Loop, transport: Any, proc: Any) -> None:
    """The body of a waiting thread."""
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PID, proc.pid, os.WEXITED | os.WNOWAIT)
    try:
        loop.call_soon_threadsafe(_on_thread_done, loop, transport, proc)
    except RuntimeError:  # The loop is closed.
        _reap(proc, os.P_PID, proc.pid)


def _watch(loop: Loop, transport: Any, proc: Any) -> None:
    """Have the loop call the transport's _process_exited() when the child has ended."""
    try:
        process_fd = os.pidfd_open(proc.pid)
    except OSError:
        process_fd = -1
    if process_fd >= 0:
        try:
            loop._add_reader(process_fd, _on_readable, loop, process_fd, transport, proc)
        except OSError:  # No more watches for this user.
            os.close(process_fd)
        except BaseException:
            os.close(process_fd)
            raise
        else:
            loop._process_fds.add(process_fd)
            return
    threading.Thread(
        target=_wait_in_thread,
        name=f"hotloop-waitpid-{proc.pid}",
        args=(loop, transport, proc),
        daemon=True,
    ).start()


def _close_process_fd(loop: Loop, process_fd: int) -> None:
    loop._process_fds.remove(process_fd)
    loop._remove_reader(process_fd)
    os.close(process_fd)


def forget_children(loop: Loop) -> None:
    """Close the process descriptors: nobody is told any more how those children end."""
    for process_fd in list(loop._process_fds):
        _close_process_fd(loop, process_fd)


# -- the transport ---------------------------------------------------------------------------------


class _UnixSubprocessTransport(unix_events._UnixSubprocessTransport):  # type: ignore[name-defined,misc]
    """asyncio's transport of a child, which it starts and watches in one step."""

    _proc: Any = None
    _is_connecting = True
    _gone: asyncio.Future[None] | None = None

    def __init__(self, loop: Loop, *args: Any, **kwargs: Any) -> None:
        try:
            super().__init__(loop, *args, **kwargs)
        except BaseException:
            if self._proc is not None:  # Started, but nothing will connect its pipes.
                self.close()
                self._close_pipes(self._proc)
            raise

    def _start(
        self,
        args: Any,
        shell: bool,
        stdin: Any,
        stdout: Any,
        stderr: Any,
        bufsize: int,
        **kwargs: Any,
    ) -> None:
        proc = subprocess.Popen(
            args,
            shell=shell,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            universal_newlines=False,
            bufsize=bufsize,
            **kwargs,
        )
        try:
            _watch(self._loop, self, proc)
        except BaseException:
            with proc:
                proc.kill()
            raise
        self._proc = proc

    def _flush_loop(self) -> None:
        # What was written to sockets before is sent before the process is signalled.
        if self._loop is not None:
            self._loop._flush()

    def send_signal(self, signal: int) -> None:
        self._flush_loop()
        self._check_proc()
        if self._proc.returncode is None:  # Afterwards the number may be another process.
            super().send_signal(signal)

    def terminate(self) -> None:
        self._flush_loop()
        super().terminate()

    def kill(self) -> None:
        self._flush_loop()
        super().kill()

    def close(self) -> None:
        if not self._closed and self._returncode is None:
            self._flush_loop()
        super().close()

    def _close_pipes(self, proc: Any) -> None:
        for fd, file in enumerate((proc.stdin, proc.stdout, proc.stderr)):
            protocol = self._pipes.get(fd)
            if protocol is not None:
                protocol.pipe.close()
            elif file is not None:
                file.close()

    async def _connect_pipes(self, waiter: Any) -> None:
        proc = self._proc
        try:
            await super()._connect_pipes(waiter)
        finally:
            if self._pending_calls is not None or self._closed:
                self._close_pipes(proc)
            self._is_connecting = False
            self._wake_abandoner()

    def _process_exited(self, returncode: int) -> None:
        super()._process_exited(returncode)
        self._wake_abandoner()

    def _wake_abandoner(self) -> None:
        if self._gone is not None and not self._gone.done() and self._is_gone():
            self._gone.set_result(None)

    def _is_gone(self) -> bool:
        return self._returncode is not None and not self._is_connecting

    async def _abandon(self) -> None:
        """Kill the process and return when it has ended."""
        loop = self._loop
        self.close()
        if not self._is_gone():
            self._gone = loop.create_future()
            await self._gone


def has_watcher_of_its_own() -> bool:
    """Tell whether the program has set a child watcher that does what asyncio's defaults do not.

    So it has, too, if its policy has a way of its own to find one.
    """
    if sys.version_info >= (3, 14):
        return False
    policy = getattr(events, "_event_loop_policy", None)
    find = getattr(type(policy), "get_child_watcher", None)
    policies = (events.AbstractEventLoopPolicy, unix_events.DefaultEventLoopPolicy)
    if find is not None and all(find is not known.get_child_watcher for known in policies):
        return True
    watcher = getattr(policy, "_watcher", None)
    defaults = (unix_events.ThreadedChildWatcher, unix_events.PidfdChildWatcher)
    return watcher is not None and type(watcher) not in defaults


async def make_transport(loop: Loop, *args: Any, **kwargs: Any) -> Any:
    """Start a process; return its transport when its pipes are connected."""
    waiter = loop.create_future()
    transport = _UnixSubprocessTransport(loop, *args, waiter=waiter, **kwargs)
    try:
        await waiter
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException:
        await transport._abandon()
        raise
    return transport
