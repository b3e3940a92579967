"""Child processes: what comes out of them, how they end, and what is left behind: nothing.

Scenarios run on asyncio and on hotloop and must come out the same. What only hotloop promises (a
child is watched by a process descriptor on every version, never half made, never forgotten) is
asked of hotloop alone.
"""

import asyncio
import contextlib
import errno
import fcntl
import gc
import logging
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import threading
import warnings
from asyncio import unix_events
from unittest import mock

import pytest
from support.differential import assert_same_on_both, collect_reports, normalized
from support.protocols import settle, until

BIG = bytes(range(256)) * 20_000  # 5 MB.
PIPE = subprocess.PIPE
HAS_WATCHERS = sys.version_info < (3, 14)


def same(scenario):
    """Run the coroutine function on both loops; return what it returned, with no report made."""

    def run(loop):
        reports = collect_reports(loop)
        with watcher_by_process_descriptors(loop):
            return loop.run_until_complete(scenario()), reports

    kind, *value = assert_same_on_both(run)
    assert kind == "returned", value
    result, reports = value[0]
    assert reports == []
    return result


@contextlib.contextmanager
def watcher_by_process_descriptors(loop):
    """Have asyncio wait as newer versions do, on those that let a program choose."""
    if not HAS_WATCHERS:
        yield
        return
    policy = asyncio.get_event_loop_policy()
    policy._watcher = unix_events.PidfdChildWatcher()
    policy._watcher.attach_loop(loop)
    try:
        yield
    finally:
        policy._watcher = None


@pytest.fixture(autouse=True)
def forget_the_watcher():
    yield
    if HAS_WATCHERS:
        asyncio.get_event_loop_policy()._watcher = None


def children():
    """Return the numbers of this process's children, and of what is left of them."""
    path = f"/proc/self/task/{os.getpid()}/children"
    with open(path, encoding="ascii") as file:
        return list(map(int, file.read().split()))


@pytest.fixture(autouse=True)
def no_zombies():
    """Fail where a child is left, running or not, and take it away from the next test."""
    before = children()
    yield
    left = [pid for pid in children() if pid not in before]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert left == []


def sh(script, **options):
    return asyncio.create_subprocess_exec("/bin/sh", "-c", script, **options)


async def output_of(script, **options):
    process = await sh(script, stdout=PIPE, **options)
    output, _ = await process.communicate()
    return process.returncode, output


# -- what comes out ---------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 7, 127, 255])
def test_exit_codes(code):
    async def scenario():
        process = await asyncio.create_subprocess_shell(f"exit {code}")
        return await process.wait(), process.returncode, await process.wait()

    assert same(scenario) == (code, code, code)


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1, signal.SIGABRT])
@pytest.mark.parametrize("way", ["send_signal", "own"])
def test_death_by_a_signal(sig, way):
    async def scenario():
        if way == "own":
            process = await sh(f"kill -{int(sig)} $$")
        else:
            process = await asyncio.create_subprocess_exec("sleep", "60")
            process.send_signal(sig)
        return await process.wait()

    assert same(scenario) == -sig


@pytest.mark.parametrize("method", ["terminate", "kill"])
def test_terminate_and_kill(method):
    async def scenario():
        process = await asyncio.create_subprocess_exec("sleep", "60")
        getattr(process, method)()
        code = await process.wait()
        await settle()
        with contextlib.suppress(ProcessLookupError):
            getattr(process, method)()
            process.send_signal(signal.SIGTERM)
        return code

    same(scenario)


def test_five_megabytes_both_ways():
    async def scenario():
        process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        output, errors = await process.communicate(BIG)
        return output == BIG, errors, process.returncode

    assert same(scenario) == (True, None, 0)


def test_standard_error_and_output_apart_and_together():
    async def scenario():
        apart = await sh("echo out; echo err >&2", stdout=PIPE, stderr=PIPE)
        together = await sh("echo out; echo err >&2", stdout=PIPE, stderr=subprocess.STDOUT)
        return await apart.communicate(), await together.communicate()

    assert same(scenario) == ((b"out\n", b"err\n"), (b"out\nerr\n", None))


def test_devnull():
    async def scenario():
        process = await sh(
            "cat; echo lost; echo lost >&2",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        return await process.communicate(), process.returncode

    assert same(scenario) == ((None, None), 0)


def test_lines_back_and_forth():
    async def scenario():
        process = await sh("while read line; do echo got $line; done", stdin=PIPE, stdout=PIPE)
        answers = []
        for number in range(20):
            process.stdin.write(b"%d\n" % number)
            await process.stdin.drain()
            answers.append(await process.stdout.readline())
        process.stdin.close()
        await process.stdin.wait_closed()
        return answers, await process.stdout.read(), await process.wait()

    assert same(scenario)[0][-1] == b"got 19\n"


def test_the_child_closes_its_input_early():
    async def scenario():
        process = await sh("exec <&-; sleep 0.05; echo done", stdin=PIPE, stdout=PIPE)
        output, _ = await process.communicate(BIG)
        return output, process.returncode

    assert same(scenario) == (b"done\n", 0)


def test_killed_while_communicating():
    async def scenario():
        process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        loop = asyncio.get_running_loop()
        loop.call_later(0.02, process.kill)
        process.stdout._transport.pause_reading()
        task = asyncio.create_task(process.communicate(BIG))
        await asyncio.sleep(0.03)
        with contextlib.suppress(RuntimeError):
            process.stdout._transport.resume_reading()
        output, _ = await task
        return BIG.startswith(output), process.returncode

    assert same(scenario) == (True, -signal.SIGKILL)


def test_the_order_of_a_process_protocols_calls():
    class Protocol(asyncio.SubprocessProtocol):
        def __init__(self):
            self.log = []
            self.ended = asyncio.get_running_loop().create_future()

        def connection_made(self, transport):
            self.log.append("made")

        def pipe_data_received(self, fd, data):
            self.log.append((fd, data))

        def pipe_connection_lost(self, fd, exc):
            self.log.append(("lost", fd, normalized(repr(exc))))

        def process_exited(self):
            self.log.append("exited")

        def connection_lost(self, exc):
            self.log.append(("lost", exc))
            self.ended.set_result(None)

    async def scenario():
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.subprocess_exec(
            Protocol, "/bin/sh", "-c", "echo out; exec >&-; sleep 0.05", stdin=None, stderr=None
        )
        await protocol.ended
        transport.close()
        # On versions that scan their pipes asyncio may be told of the exit first.
        return protocol.log, transport.get_returncode(), transport.get_pid() > 0

    log, code, has_pid = same(scenario)
    assert log == ["made", (1, b"out\n"), ("lost", 1, "None"), "exited", ("lost", None)]
    assert (code, has_pid) == (0, True)


def test_repr_in_every_state():
    async def scenario():
        loop = asyncio.get_running_loop()
        transport, _ = await loop.subprocess_exec(
            asyncio.SubprocessProtocol, "cat", stdin=PIPE, stdout=PIPE, stderr=None
        )
        seen = [repr(transport)]
        transport.get_pipe_transport(0).close()
        await until(lambda: transport.get_returncode() is not None)
        await settle()
        seen.append(repr(transport))
        transport.close()
        seen.append(repr(transport))
        pid = str(transport.get_pid())
        return [text.replace(pid, "PID").split(" stdin")[0] for text in seen]

    same(scenario)


# -- arguments of Popen -------------------------------------------------------------------------


ARGUMENTS = {
    "cwd": ("pwd", {"cwd": "/"}),
    "env": ("echo $NAME", {"env": {"NAME": "value"}}),
    "umask": ("umask", {"umask": 0o077}),
    "user": ("id -u", {"user": os.getuid()}),
    "group": ("id -g", {"group": os.getgid()}),
    "extra_groups": ("id -G", {"extra_groups": [os.getgid()]}),
    "close_fds": ("echo x", {"close_fds": False}),
    "restore_signals": ("echo x", {"restore_signals": False}),
    "executable": ("echo $0", {"executable": "/bin/sh"}),
    "shell": ("echo x", {"shell": False}),
    "universal_newlines": ("echo x", {"universal_newlines": True}),
    "text": ("echo x", {"text": True}),
    "encoding": ("echo x", {"encoding": "utf-8"}),
    "errors": ("echo x", {"errors": "strict"}),
    "bufsize": ("echo x", {"bufsize": 1}),
    "pipesize": ("echo x", {"pipesize": 8192}),
    "unknown": ("echo x", {"unknown": 1}),
    "limit": ("echo x", {"limit": 100}),
    "preexec_fn": ("pwd", {"preexec_fn": lambda: os.chdir("/")}),
    "preexec_fn that fails": ("pwd", {"preexec_fn": lambda: 1 / 0}),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # a fork beside the watchdog's thread
@pytest.mark.parametrize("name", ARGUMENTS)
def test_argument(name):
    script, options = ARGUMENTS[name]

    async def scenario():
        try:
            return await output_of(script, **options)
        except Exception as error:
            return type(error).__name__, normalized(str(error))

    same(scenario)


@pytest.mark.parametrize(
    "options", [{"start_new_session": True}, {"process_group": 0}, {}], ids=str
)
def test_sessions_and_groups(options):
    async def scenario():
        process = await asyncio.create_subprocess_exec(
            "cat", "/proc/self/stat", stdout=PIPE, **options
        )
        output, _ = await process.communicate()
        _, _, group, session = output.rpartition(b")")[2].split()[:4]
        return int(group) == process.pid, int(session) == process.pid

    assert same(scenario) == (bool(options), "start_new_session" in options)


def test_descriptors_that_are_passed():
    async def scenario():
        reading, writing = os.pipe()
        os.write(writing, b"passed")
        os.close(writing)
        try:
            with_it = await output_of(f"cat /proc/self/fd/{reading}", pass_fds=[reading])
            without = await output_of(f"cat /proc/self/fd/{reading}", stderr=subprocess.DEVNULL)
        finally:
            os.close(reading)
        return with_it, without[0] != 0

    assert same(scenario) == ((0, b"passed"), True)


def test_files_as_the_standard_streams(tmp_path):
    source = tmp_path / "in"
    source.write_bytes(b"text")

    async def scenario():
        with source.open("rb") as stdin, (tmp_path / "out").open("w+b") as stdout:
            process = await asyncio.create_subprocess_exec("cat", stdin=stdin, stdout=stdout)
            await process.wait()
            stdout.seek(0)
            return stdout.read(), process.stdin, process.stdout

    assert same(scenario) == (b"text", None, None)


def test_the_size_of_the_pipes():
    async def scenario():
        process = await asyncio.create_subprocess_exec(
            "cat", stdin=PIPE, stdout=PIPE, pipesize=8192
        )
        sizes = [
            fcntl.fcntl(process._transport.get_pipe_transport(fd).get_extra_info("pipe"), 1032)
            for fd in (0, 1)
        ]
        await process.communicate(b"")
        return sizes

    assert same(scenario) == [8192, 8192]


@pytest.mark.only_hotloop("asyncio gives some 3.11 a socket as standard input")
def test_the_pipes_are_pipes(loop):
    async def scenario():
        # Nothing ends before the child is told to go on.
        program = "read line; ls -l /proc/self/fd/0 /proc/self/fd/1"
        process = await sh(program, stdin=PIPE, stdout=PIPE)
        own = [process._transport.get_pipe_transport(fd) for fd in (0, 1)]
        modes = [os.fstat(pipe.get_extra_info("pipe").fileno()).st_mode for pipe in own]
        output, _ = await process.communicate(b"\n")
        return list(map(stat.S_ISFIFO, modes)), output.count(b"pipe:[")

    assert loop.run_until_complete(scenario()) == ([True, True], 2)


# -- what cannot start --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "program", ["/nowhere/program", "no-program-of-this-name", "/", "nul\0", 5, "/etc/passwd"]
)
def test_programs_that_cannot_run(program):
    async def scenario():
        with pytest.raises((OSError, ValueError, TypeError)) as caught:
            await asyncio.create_subprocess_exec(program, stdin=PIPE, stdout=PIPE)
        return type(caught.value).__name__, normalized(str(caught.value))

    same(scenario)


@contextlib.contextmanager
def descriptors_left(count):
    """Leave so many numbers of descriptors free."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        for _ in range(count):
            os.close(taken.pop())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for fd in taken:
            os.close(fd)


@pytest.mark.parametrize("left", range(9))
def test_too_few_descriptors(loop, left):
    """However far the start comes: an OSError and nothing left, or a child that runs."""
    if left in (2, 3) and sys.version_info < (3, 11, 4):
        pytest.skip("needs Python 3.11.4: Popen leaves its first pipe open when the second fails")

    async def scenario():
        await asyncio.sleep(0)
        with descriptors_left(left):
            try:
                process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
            except OSError as error:
                return error.errno
        output, _ = await process.communicate(b"text")
        assert (process.returncode, output) == (0, b"text")
        return 0

    result = loop.run_until_complete(scenario())
    assert result in ((0,) if left > 7 else (errno.EMFILE,) if left < 6 else (0, errno.EMFILE))


# -- cancellation ----------------------------------------------------------------------------------


@pytest.mark.only_hotloop("asyncio before 3.14 may wait for ever for pipes it never connected")
@pytest.mark.parametrize("turns", range(12))
@pytest.mark.parametrize("again", [False, True], ids=["once", "twice"])
def test_cancelled_after_so_many_turns(loop, turns, again):
    async def scenario():
        task = asyncio.create_task(
            asyncio.create_subprocess_exec("sleep", "60", stdin=PIPE, stdout=PIPE, stderr=PIPE)
        )
        await settle(turns)
        if not task.cancel():
            process = task.result()
            process.kill()
            await process.communicate(b"")
            return "made"
        if again:
            await settle(1)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # A child that nobody waits for is waited for by the loop.
        await until(lambda: not loop._process_fds)
        await settle()
        return "cancelled"

    loop.run_until_complete(scenario())
    gc.collect()


@pytest.mark.only_hotloop("asyncio closes its pipes on some versions only")
def test_cancelled_while_a_grandchild_holds_the_pipes(loop):
    started = []
    reading, writing = os.pipe()

    def popen(*args, _real=subprocess.Popen, **options):
        started.append(_real(*args, **options))
        os.read(reading, 1)  # The grandchild runs.
        return started[-1]

    async def scenario():
        script = f"(echo >/proc/self/fd/{writing}; exec sleep 60) & wait"
        with mock.patch("subprocess.Popen", popen):
            task = asyncio.create_task(
                sh(script, stdout=PIPE, pass_fds=[writing], start_new_session=True)
            )
            await settle(2)
        task.cancel()
        await asyncio.wait([task], timeout=5)
        os.killpg(started[0].pid, signal.SIGKILL)
        return task.cancelled()

    assert loop.run_until_complete(scenario())
    os.close(reading)
    os.close(writing)


def test_communicate_and_wait_cancelled():
    async def scenario():
        process = await asyncio.create_subprocess_exec("sleep", "60", stdin=PIPE, stdout=PIPE)
        for method in (process.communicate, process.wait):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(method(), 0.01)
        process.kill()
        return await process.wait()

    same(scenario)


# -- many ------------------------------------------------------------------------------------------


@pytest.mark.timeout(60)
def test_three_hundred_children_at_once(loop):
    async def child(number):
        process = await sh(f"read x; echo $x; exit {number % 256}", stdin=PIPE, stdout=PIPE)
        output, _ = await process.communicate(b"%d\n" % number)
        return process.returncode == number % 256 and int(output) == number

    async def scenario():
        return await asyncio.gather(*map(child, range(300)))

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, limits[1]), limits[1]))
    try:
        assert loop.run_until_complete(scenario()) == [True] * 300
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.only_hotloop("asyncio on 3.11 has a thread for each child")
@pytest.mark.timeout(60)
def test_thousands_of_children(loop):
    """Each has its own exit status, whatever the order in which they end."""

    async def child(number):
        process = await sh(f"exit {number % 256}")
        return await process.wait() == number % 256

    async def scenario():
        ended = 0
        for start in range(0, 2000, 200):
            ended += sum(await asyncio.gather(*map(child, range(start, start + 200))))
        return ended

    assert loop.run_until_complete(scenario()) == 2000


# -- how the loop learns of the end ---------------------------------------------------------------


@pytest.mark.only_hotloop("what asyncio uses depends on the version")
def test_no_thread_and_no_signal_handler(loop):
    async def scenario():
        process = await asyncio.create_subprocess_exec("cat", stdin=PIPE)
        seen = signal.getsignal(signal.SIGCHLD), threading.active_count(), len(loop._process_fds)
        await process.communicate(b"")
        return seen, len(loop._process_fds)

    before = threading.active_count()
    expected = signal.getsignal(signal.SIGCHLD), before, 1
    assert loop.run_until_complete(scenario()) == (expected, 0)


@pytest.mark.only_hotloop("the thread is hotloop's own")
@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENOSYS, errno.EPERM, errno.ESRCH])
def test_a_thread_waits_where_there_is_no_process_descriptor(loop, error):
    async def scenario():
        with mock.patch("os.pidfd_open", side_effect=OSError(error, "none")):
            process = await sh("read x; exit 3", stdin=PIPE)
        assert any(t.name == f"hotloop-waitpid-{process.pid}" for t in threading.enumerate())
        await process.communicate(b"x\n")
        return process.returncode

    assert loop.run_until_complete(scenario()) == 3
    await_threads()


def await_threads():
    for thread in threading.enumerate():
        if thread.name.startswith("hotloop-waitpid"):
            thread.join(5)


@pytest.mark.only_hotloop("the thread is hotloop's own")
def test_a_waiting_thread_reaps_a_child_that_outlives_the_loop(loop_factory):
    async def scenario():
        with mock.patch("os.pidfd_open", side_effect=OSError(errno.ENOSYS, "none")):
            transport, _ = await asyncio.get_running_loop().subprocess_exec(
                asyncio.SubprocessProtocol, "sleep", "0.1", stdin=None, stdout=None, stderr=None
            )
        return transport

    loop = loop_factory()
    transport = loop.run_until_complete(scenario())
    loop.close()
    await_threads()
    assert transport._proc.returncode == 0
    transport.close()


@pytest.mark.only_hotloop("the watch is hotloop's own")
def test_a_thread_waits_where_the_descriptor_cannot_be_watched(loop):
    async def scenario():
        full = OSError(errno.ENOSPC, "no more watches")
        with mock.patch.object(loop, "_add_reader", side_effect=full):
            process = await sh("exit 4")
        return await process.wait()

    assert loop.run_until_complete(scenario()) == 4
    await_threads()


@pytest.mark.only_hotloop("asyncio leaves such a child running")
@pytest.mark.parametrize("what", ["_add_reader", "create_task"])
def test_a_failure_after_the_start_leaves_no_child(loop, what):
    async def scenario():
        coroutines = []

        def fail(*args, **kwargs):
            coroutines.extend(args[:1])
            raise LookupError("no")

        with mock.patch.object(loop, what, fail), pytest.raises(LookupError):
            await sh("sleep 60", stdin=PIPE, stdout=PIPE)
        if what == "create_task":
            coroutines[0].close()
        await until(lambda: not loop._process_fds)
        await settle()

    loop.run_until_complete(scenario())


@pytest.mark.only_hotloop("asyncio leaves the descriptor open in most versions")
def test_a_process_descriptor_that_fails_is_closed(loop, loop_reports):
    """An unexpected error of waitid() is reported once, not in every turn."""

    async def main():
        process = await asyncio.create_subprocess_exec("cat", stdin=subprocess.PIPE)
        with mock.patch("os.waitid", side_effect=OSError(errno.EINVAL, "unexpected")) as waitid:
            process.stdin.close()
            await until(lambda: waitid.called)
            await settle()
            calls = waitid.call_count
        os.waitpid(process.pid, 0)
        process._transport._process_exited(0)
        await process.wait()
        return calls, len(loop._process_fds)

    assert loop.run_until_complete(main()) == (1, 0)
    assert len(loop_reports.take()) == 1


def test_somebody_else_reads_the_exit_status(caplog):
    async def scenario():
        process = await sh("read x; exit 5", stdin=PIPE)
        process.stdin.write(b"x\n")
        os.waitpid(process.pid, 0)
        code = await process.wait()
        await settle()
        return code

    assert same(scenario) == 255
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2 and all(
        "exit status already read:  will report returncode 255" in line for line in lines
    )
    caplog.clear()


@pytest.mark.only_hotloop("asyncio loses such a status")
@pytest.mark.parametrize("way", ["poll", "wait"])
def test_the_popen_object_reads_the_exit_status(loop, way):
    async def scenario():
        process = await sh("exit 6")
        popen = process._transport.get_extra_info("subprocess")
        if way == "wait":
            popen.wait()
        else:
            await until(lambda: popen.poll() is not None)
        return await process.wait()

    assert loop.run_until_complete(scenario()) == 6


@pytest.mark.only_hotloop("asyncio loses such a status")
def test_threads_that_wait_with_the_loop(loop):
    async def scenario():
        processes = [await sh(f"read x; exit {n}", stdin=PIPE) for n in range(20)]
        popens = [process._transport.get_extra_info("subprocess") for process in processes]
        threads = [threading.Thread(target=popen.wait) for popen in popens]
        for thread in threads:
            thread.start()
        codes = []
        for process in processes:
            await process.communicate(b"x\n")
            codes.append(process.returncode)
        for thread in threads:
            thread.join()
        return codes, [popen.returncode for popen in popens]

    assert loop.run_until_complete(scenario()) == ([*range(20)], [*range(20)])


@pytest.mark.only_hotloop("asyncio's ESRCH goes to the caller")
def test_children_that_the_kernel_reaps(loop, caplog):
    previous = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:

        async def scenario():
            process = await sh("exit 5")
            return await process.wait()

        assert loop.run_until_complete(scenario()) == 255
    finally:
        signal.signal(signal.SIGCHLD, previous)
    await_threads()
    caplog.clear()


def test_a_handler_of_sigchld_beside_it():
    async def scenario():
        loop = asyncio.get_running_loop()
        arrived = asyncio.Event()
        loop.add_signal_handler(signal.SIGCHLD, arrived.set)
        try:
            process = await sh("exit 3")
            await arrived.wait()
            return await process.wait()
        finally:
            loop.remove_signal_handler(signal.SIGCHLD)

    assert same(scenario) == 3


if HAS_WATCHERS:

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    @pytest.mark.parametrize("where", ["in the policy", "found by the policy"])
    def test_a_child_watcher_of_the_program_is_used(loop, where):
        class Watcher(unix_events.ThreadedChildWatcher):
            watched = 0

            def add_child_handler(self, *args):
                self.watched += 1
                super().add_child_handler(*args)

        class Policy(asyncio.DefaultEventLoopPolicy):
            def get_child_watcher(self):
                return watcher

        watcher = Watcher()

        async def scenario():
            process = await sh("exit 3")
            return await process.wait()

        patched = (
            mock.patch.object(asyncio.get_event_loop_policy(), "_watcher", watcher)
            if where == "in the policy"
            else mock.patch("asyncio.events._event_loop_policy", Policy())
        )
        with patched:
            assert loop.run_until_complete(scenario()) == 3
        assert watcher.watched == 1
        for thread in threading.enumerate():
            if "waitpid" in thread.name:  # Others belong to the run of CPython's tests.
                thread.join(5)


@pytest.mark.only_hotloop("asyncio holds nothing back")
@pytest.mark.parametrize("what", ["start", "kill", "terminate", "send_signal", "close"])
def test_what_is_held_back_is_sent_before(loop, what):
    async def scenario():
        near, far = socket.socketpair()
        far.setblocking(False)
        writer, _ = await loop.create_connection(asyncio.Protocol, sock=near)
        seen = []

        def look(*args, **kwargs):
            with contextlib.suppress(BlockingIOError):
                seen.append(far.recv(100))
            return real(*args, **kwargs)

        transport = None
        if what == "start":
            real = subprocess.Popen
            patch = mock.patch("subprocess.Popen", look)
        else:
            transport, _ = await loop.subprocess_exec(
                asyncio.SubprocessProtocol, "sleep", "60", stdin=None, stdout=None, stderr=None
            )
            real = os.kill
            patch = mock.patch("os.kill", look)
        with patch:
            writer.write(b"before")
            if what == "start":
                process = await sh("exit 0")
                await process.wait()
            else:
                arguments = [signal.SIGTERM] if what == "send_signal" else []
                getattr(transport, what)(*arguments)
        if transport is not None:
            transport.close()
            await until(lambda: not loop._process_fds)
        writer.close()
        await settle()
        far.close()
        return seen[:1]

    assert loop.run_until_complete(scenario()) == [b"before"]


# -- the end of the loop, and forks --------------------------------------------------------------


@pytest.mark.only_hotloop("asyncio leaves a thread or a descriptor behind")
def test_a_child_that_outlives_the_loop(loop_factory):
    async def scenario():
        transport, _ = await asyncio.get_running_loop().subprocess_exec(
            asyncio.SubprocessProtocol, "sleep", "60", stdin=None, stdout=None, stderr=None
        )
        return transport

    loop = loop_factory()
    transport = loop.run_until_complete(scenario())
    loop.close()
    assert not loop._process_fds
    popen = transport._proc
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        del transport
        gc.collect()
    assert popen.wait() == -signal.SIGKILL


def forked(function):
    """Call the function in a forked child; return its exit status, 0 if it returned True."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = 0 if function() else 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_forked_child_runs_children_of_its_own(loop, loop_factory):
    async def grandchild():
        return await output_of("echo text")

    def child():
        asyncio.events._set_running_loop(None)
        own = loop_factory()
        with contextlib.closing(own):
            return own.run_until_complete(grandchild()) == (0, b"text\n")

    async def scenario():
        process = await asyncio.create_subprocess_exec("cat", stdin=PIPE)
        status = forked(child)
        await process.communicate(b"")
        return status, process.returncode

    assert loop.run_until_complete(scenario()) == (0, 0)


@pytest.mark.only_hotloop("asyncio's child keeps the descriptors")
def test_a_forked_child_has_no_process_descriptors_of_its_parent(loop):
    def child():
        names = os.listdir("/proc/self/fd")
        kinds = []
        for name in names:
            with contextlib.suppress(OSError):
                kinds.append(os.readlink(f"/proc/self/fd/{name}"))
        return not loop._process_fds and not any("pidfd" in kind for kind in kinds)

    async def scenario():
        process = await asyncio.create_subprocess_exec("cat", stdin=PIPE)
        status = forked(child)
        await process.communicate(b"")
        return status, process.returncode

    assert loop.run_until_complete(scenario()) == (0, 0)


def test_in_a_thread(loop_factory):
    results = []

    def run():
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            results.append(runner.run(output_of("echo text")))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert results == [(0, b"text\n")]


def test_debug_mode_logs_the_start_and_the_end(caplog):
    caplog.set_level(logging.DEBUG, "asyncio")

    def run(loop):
        loop.set_debug(True)
        loop.slow_callback_duration = 60  # seconds: the start takes long on a busy machine
        caplog.clear()

        async def scenario():
            reading, writing = os.pipe()
            script = f"read x </proc/self/fd/{reading}; exit 3"
            process = await sh(script, pass_fds=[reading])
            os.write(writing, b"go\n")
            code = await process.wait()
            os.close(reading)
            os.close(writing)
            await settle()
            return code, str(process.pid)

        with watcher_by_process_descriptors(loop):
            code, pid = loop.run_until_complete(scenario())
        lines = [record.getMessage().replace(pid, "PID") for record in caplog.records]
        return code, [normalized(line) for line in lines if "process" in line.lower()]

    kind, (code, lines) = assert_same_on_both(run)
    assert (kind, code) == ("returned", 3)
    assert any("created: pid PID" in line for line in lines)
    assert any("exited with return code 3" in line for line in lines)
    caplog.clear()


def test_closing_a_running_child_kills_it(caplog):
    async def scenario():
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        transport, _ = await loop.subprocess_exec(asyncio.SubprocessProtocol, "cat", stdin=PIPE)
        transport.close()
        closing = transport.is_closing()
        transport.close()
        await until(lambda: transport.get_returncode() is not None)
        await settle()
        return closing, transport.get_returncode()

    assert same(scenario) == (True, -signal.SIGKILL)
    warned = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warned) == 2
    caplog.clear()
