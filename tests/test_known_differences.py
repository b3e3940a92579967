"""Each known difference from asyncio, shown by one test: what asyncio does and what hotloop does.

The docstrings are for users: docs/known-differences.md is made of them (see
support/known_differences.py), and the last test here keeps that page up to date.
"""

import asyncio
import contextlib
import contextvars
import os
import resource
import selectors
import signal
import socket
import stat
import subprocess
import sys
import sysconfig
import threading
import time
import weakref
from unittest import mock

import pytest
from support import known_differences
from support.differential import FACTORIES, outcome_of, outcome_on, run_briefly
from support.known_differences import known_difference
from support.leaks import open_descriptors

import hotloop


def on_each(scenario):
    """Run the scenario on both loops and return its results as (asyncio's, hotloop's)."""
    results = []
    for name in ("asyncio", "hotloop"):
        kind, *value = outcome_on(name, scenario)
        assert kind == "returned", value
        results.append(value[0])
    return tuple(results)


@known_difference("Scheduling")
def test_timers_with_equal_deadlines_run_in_the_order_of_their_creation():
    """Timers with exactly the same deadline run in the order in which they were created. asyncio
    runs them in an order that follows from the way its heap moved them."""

    def scenario(loop):
        ran = []
        when = loop.time() - 1
        for number in range(6):
            loop.call_at(when, ran.append, number)
        run_briefly(loop)
        return ran

    theirs, ours = on_each(scenario)
    assert ours == [0, 1, 2, 3, 4, 5]
    assert theirs != ours and sorted(theirs) == ours


@known_difference("Scheduling")
def test_a_cancelled_timer_leaves_the_loop_at_once():
    """A timer that is cancelled leaves the loop at once, with its entry in `loop._scheduled`.
    asyncio keeps the entry until the timer is due, or until more than half of a hundred or more
    entries are cancelled ones."""

    def scenario(loop):
        timers = [loop.call_later(3600, int) for _ in range(10)]
        for timer in timers[:5]:
            timer.cancel()
        return len(loop._scheduled)

    assert on_each(scenario) == (10, 5)


@known_difference("Scheduling")
def test_sleeps_are_not_rounded_up_to_milliseconds():
    """Timers wake a waiting loop to the resolution of the kernel's clock, and where they crowd,
    eight or more to a wake-up, within a quarter of a millisecond. asyncio's wait is rounded up to
    whole milliseconds: there a sleep of 0.2 ms takes 1 ms or more."""

    def scenario(loop):
        async def shortest():
            durations = []
            for _ in range(30):
                started = time.perf_counter()
                await asyncio.sleep(0.0002)
                durations.append(time.perf_counter() - started)
            return min(durations)

        return loop.run_until_complete(shortest())

    theirs, ours = on_each(scenario)
    assert theirs > 0.0009 and 0.0002 <= ours < 0.0008


@known_difference("Scheduling")
def test_the_queues_are_views_that_cannot_be_changed():
    """The private `loop._ready` and `loop._scheduled` can be measured, iterated and indexed as on
    asyncio, but only the loop itself can add or remove entries."""

    def scenario(loop):
        return [
            (len(queue), hasattr(queue, "append"), hasattr(queue, "clear"))
            for queue in (loop._ready, loop._scheduled)
        ]

    theirs, ours = on_each(scenario)
    assert theirs == [(0, True, True)] * 2 and ours == [(0, False, False)] * 2


@known_difference("Scheduling")
def test_a_signal_takes_the_same_number_of_turns_whatever_else_happens():
    """A handler of `loop.add_signal_handler` runs two turns of the loop after the signal came. On
    asyncio it runs one turn earlier if, in the turn before the signal, another thread (or the loop
    itself) called `call_soon_threadsafe`, because both use the same pipe."""

    def scenario(loop):
        turns = []
        arrived = []

        def count(number=1):
            turns.append(number)
            if number < 6:
                loop.call_soon(count, number + 1)

        loop.add_signal_handler(signal.SIGUSR1, lambda: arrived.append(turns[-1]))
        loop.call_soon(loop.call_soon_threadsafe, signal.raise_signal, signal.SIGUSR1)
        loop.call_soon(count)
        run_briefly(loop, 6)
        loop.remove_signal_handler(signal.SIGUSR1)
        return arrived

    assert on_each(scenario) == ([3], [4])


@known_difference("Descriptors and signals")
def test_a_number_reused_behind_the_loops_back_is_watched():
    """A descriptor that is closed without `remove_reader` and whose number comes back for another
    file can be given to `add_reader` again and is watched. asyncio takes it for the old one, which
    the kernel has forgotten, and never calls the callback."""

    def scenario(loop):
        near, far = socket.socketpair()
        loop.add_reader(near, int)
        number = near.fileno()
        near.close()
        ends = socket.socketpair()
        assert number in (ends[0].fileno(), ends[1].fileno())
        called = []
        for end in ends:
            end.send(b"x")
            loop.add_reader(end, called.append, end.fileno())
        run_briefly(loop, 2)
        for end in ends:
            loop.remove_reader(end)
        for end in (far, *ends):
            end.close()
        return number in called

    assert on_each(scenario) == (False, True)


@known_difference("Descriptors and signals")
def test_an_event_kept_alive_by_a_duplicate_calls_nobody():
    """When a watched descriptor is closed while a duplicate of it stays open, the kernel goes on
    reporting its events under the old number. If that number has come back for another file,
    hotloop sees that the event is not that file's; asyncio calls the other file's callback."""

    def scenario(loop):
        near, far = socket.socketpair()
        duplicate = os.dup(near.fileno())
        loop.add_reader(near, int)
        run_briefly(loop)
        number = near.fileno()
        near.close()
        far.send(b"x")
        ends = socket.socketpair()
        assert number in (ends[0].fileno(), ends[1].fileno())
        loop.remove_reader(number)
        called = []
        for end in ends:
            loop.add_reader(end, called.append, end.fileno())
        run_briefly(loop, 3)
        for end in ends:
            loop.remove_reader(end)
        os.close(duplicate)
        for end in (far, *ends):
            end.close()
        return called

    theirs, ours = on_each(scenario)
    assert ours == [] and isinstance(theirs, list)


@known_difference("Descriptors and signals")
def test_there_is_no_selector_to_choose():
    """`hotloop.Loop()` takes no selector: it always waits with epoll. `loop._selector` exists for
    code that looks at `get_map()`; nothing can be registered with it."""
    with selectors.EpollSelector() as selector, pytest.raises(TypeError):
        hotloop.Loop(selector).close()

    def scenario(loop):
        return hasattr(loop._selector, "get_map"), hasattr(loop._selector, "register")

    assert on_each(scenario) == ((True, True), (True, False))


@known_difference("Descriptors and signals")
def test_the_wakeup_descriptor_in_a_run_is_the_loops():
    """While a loop runs on the main thread, the wake-up descriptor that `signal.set_wakeup_fd()`
    returns is the loop's, so that a signal wakes it at any moment. On asyncio it is the loop's
    only while a handler of `loop.add_signal_handler` is set."""

    async def main():
        await asyncio.sleep(0.001)
        descriptor = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(descriptor)
        return descriptor == -1

    assert on_each(lambda loop: loop.run_until_complete(main())) == (True, False)


def connected_transport(loop, protocol_factory=asyncio.Protocol):
    """Return (transport, the other end) of a new connection."""
    near, far = socket.socketpair()
    far.setblocking(False)
    transport, _ = loop.run_until_complete(loop.create_connection(protocol_factory, sock=near))
    return transport, far


def end_connection(loop, transport, far):
    transport.abort()
    run_briefly(loop, 3)
    far.close()


def available(sock):
    """Return what a non-blocking socket has received; None if nothing yet."""
    try:
        return sock.recv(1 << 20)
    except BlockingIOError:
        return None


@known_difference("Sockets")
def test_writes_leave_at_the_end_of_the_callback():
    """What a callback or a task step writes to a stream socket leaves when it ends, before
    anything else runs, so that several writes become one system call. asyncio sends within
    `write()`. A callback that blocks until the peer has answered its write therefore waits for
    ever, and `os._exit()` or `os.exec*()` in it lose what it wrote. `loop.write_through = True`,
    or `HOTLOOP_WRITE_THROUGH=1` in the environment, sends within `write()`. Everything that asks
    for the state of the connection sends first: `close()`, `abort()`, `write_eof()`,
    `get_write_buffer_size()`, `get_extra_info()`, the methods of its socket, writing elsewhere."""

    def scenario(loop):
        transport, far = connected_transport(loop)
        seen = []

        def callback():
            transport.write(b"a")
            transport.write(b"b")
            seen.append(available(far))
            loop.call_soon(lambda: seen.append(available(far)))

        loop.call_soon(callback)
        run_briefly(loop, 2)
        end_connection(loop, transport, far)
        return seen

    assert on_each(scenario) == ([b"ab", None], [None, b"ab"])


@known_difference("Sockets")
def test_a_failed_send_shows_at_the_end_of_the_callback():
    """A write that fails, because the peer is gone, makes the transport closing when the callback
    ends and not within `write()`. `connection_lost()` does not have the callback's context
    variables then, as it has none on asyncio from 3.15 on."""

    def scenario(loop):
        variable = contextvars.ContextVar("variable", default="no context")
        seen = []

        class KeepOpen(asyncio.Protocol):
            def eof_received(self):
                return True

            def connection_lost(self, exc):
                seen.append(variable.get())

        transport, far = connected_transport(loop, KeepOpen)
        far.close()
        run_briefly(loop, 3)

        def callback():
            variable.set("the callback's")
            transport.write(b"x")
            seen.append(transport.is_closing())
            loop.call_soon(lambda: seen.append(transport.is_closing()))

        loop.call_soon(callback, context=contextvars.copy_context())
        run_briefly(loop, 4)
        return sorted(seen, key=str)

    of_stock = "no context" if sys.version_info >= (3, 15) else "the callback's"
    assert on_each(scenario) == ([True, True, of_stock], [False, True, "no context"])


@known_difference("Sockets")
def test_the_callers_own_socket_object_does_not_send_first():
    """Bytes that are sent past the transport within the same callback, through the caller's own
    socket object or the raw descriptor, overtake what `write()` was given before. The socket that
    `get_extra_info("socket")` gives keeps the order."""

    def scenario(loop):
        near, far = socket.socketpair()
        far.setblocking(False)
        transport, _ = loop.run_until_complete(loop.create_connection(asyncio.Protocol, sock=near))

        def callback():
            transport.write(b"first ")
            os.write(near.fileno(), b"second ")

        loop.call_soon(callback)
        run_briefly(loop)
        received = available(far)
        end_connection(loop, transport, far)
        return received

    assert on_each(scenario) == (b"first second ", b"second first ")


@known_difference("Sockets")
def test_what_is_queued_is_safe_from_later_changes():
    """A `bytearray` or a writable `memoryview` that is changed after `write()` or `writelines()`
    is sent as it was. asyncio sends what it holds when the kernel takes it (from 3.12 on)."""

    def scenario(loop):
        transport, far = connected_transport(loop)
        data = bytearray(b"a" * 1_000_000)
        transport.write(data)
        data[:] = b"b" * len(data)
        received = b""
        while len(received) < len(data):
            received += available(far) or b""
            run_briefly(loop)
        end_connection(loop, transport, far)
        return received.count(b"b") > 0

    assert on_each(scenario) == (sys.version_info >= (3, 12), False)


@known_difference("Sockets")
def test_accepting_needs_no_task():
    """`protocol_factory()` of a server without TLS runs in the turn of the loop in which asyncio
    runs it, but not in a task: `asyncio.current_task()` is None in it, and `all_tasks()` shows no
    task for a connection that is being accepted."""

    def scenario(loop):
        seen = []

        def factory():
            seen.append(asyncio.current_task() is not None)
            return asyncio.Protocol()

        server = loop.run_until_complete(loop.create_server(factory, "127.0.0.1", 0))
        sock = socket.create_connection(server.sockets[0].getsockname())
        run_briefly(loop, 5)
        sock.close()
        run_briefly(loop, 5)
        server.close()
        loop.run_until_complete(server.wait_closed())
        return seen

    assert on_each(scenario) == ([True], [False])


@known_difference("Sockets")
def test_no_delay_whatever_the_number_of_the_protocol():
    """Connections over TCP always have `TCP_NODELAY`, so that a small write is not kept back until
    the peer has acknowledged the one before. asyncio sets it unless the socket, or the listening
    one, was made by the program without a protocol number, as by `socket.socket()`."""

    def scenario(loop):
        made = []

        class Protocol(asyncio.Protocol):
            def connection_made(self, transport):
                made.append(transport)

        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        server = loop.run_until_complete(loop.create_server(Protocol, sock=listening))
        with socket.create_connection(listening.getsockname()):
            while not made:
                run_briefly(loop)
            sock = made[0].get_extra_info("socket")
            option = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            made[0].abort()
            run_briefly(loop, 3)
        server.close()
        loop.run_until_complete(server.wait_closed())
        return option

    theirs, ours = on_each(scenario)
    assert not theirs and ours


@known_difference("Sockets")
def test_at_most_64_connections_are_accepted_in_a_turn():
    """A server accepts at most 64 connections in one turn of the loop, and the rest in the next
    ones. asyncio accepts as many as its `backlog`."""

    def scenario(loop):
        turns = []
        made = []

        def factory():
            made.append(len(turns))
            return asyncio.Protocol()

        def tick():
            turns.append(1)
            if len(made) < 90:
                loop.call_soon(tick)
            else:
                loop.stop()

        server = loop.run_until_complete(loop.create_server(factory, "127.0.0.1", 0, backlog=200))
        address = server.sockets[0].getsockname()
        socks = [socket.create_connection(address) for _ in range(90)]
        tick()
        loop.run_forever()
        for sock in socks:
            sock.close()
        run_briefly(loop, 8)
        server.close()
        loop.run_until_complete(server.wait_closed())
        return max(made.count(turn) for turn in made)

    assert on_each(scenario) == (90, 64)


@known_difference("Sockets")
def test_running_out_of_descriptors_is_reported_once():
    """A server that cannot accept for want of descriptors reports it once and tries again after
    a second. asyncio reports it as often as `backlog` says."""

    def scenario(loop):
        reports = []
        loop.set_exception_handler(lambda loop, context: reports.append(context["message"]))
        server = loop.run_until_complete(
            loop.create_server(asyncio.Protocol, "127.0.0.1", 0, backlog=5)
        )
        sock = socket.create_connection(server.sockets[0].getsockname())
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        fillers = [os.dup(2) for _ in range(50)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(fillers) + 1, limit[1]))
        with contextlib.suppress(OSError):
            while True:
                fillers.append(os.dup(2))
        run_briefly(loop, 3)
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        for filler in fillers:
            os.close(filler)
        sock.close()
        server.close()
        run_briefly(loop, 3)
        return len(reports), set(reports)

    theirs, ours = on_each(scenario)
    assert ours == (1, {"socket.accept() out of system resource"})
    assert theirs[0] > 1


@known_difference("Sockets")
def test_a_cancelled_create_server_listens_no_more():
    """`create_server()` that is cancelled after the server has started closes it. asyncio leaves a
    server that listens and that nobody has."""

    def scenario(loop):
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))

            async def cancelled():
                task = asyncio.ensure_future(loop.create_server(asyncio.Protocol, sock=sock))
                while not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    await asyncio.sleep(0)
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
                return sock.fileno() >= 0

            still_listens = loop.run_until_complete(cancelled())
            if still_listens:
                loop.remove_reader(sock)
            return still_listens

    assert on_each(scenario) == (True, False)


@known_difference("Sockets")
def test_transports_behave_as_later_versions_have_mended_them():
    """Where a later version of CPython has mended its transports, hotloop's behave as mended on
    all versions. A transport that is closed while the rest of its data is being sent calls
    `connection_lost()` once; on 3.11 to 3.13 asyncio may lose it twice and report an
    AttributeError."""

    def scenario(loop):
        reports = []
        loop.set_exception_handler(lambda loop, context: reports.append(context["message"]))

        class CloseWhenDrained(asyncio.Protocol):
            def connection_made(self, transport):
                self.transport = transport

            def resume_writing(self):
                self.transport.close()

        transport, far = connected_transport(loop, CloseWhenDrained)
        transport.write(b"x" * 1_000_000)
        for _ in range(100):
            available(far)
            run_briefly(loop)
        far.close()
        return bool(reports)

    assert on_each(scenario) == (sys.version_info < (3, 14), False)


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
@known_difference("Processes")
def test_a_forked_child_has_its_own_epoll_set():
    """After `os.fork()` the child's copy of the loop opens an epoll set and a wake-up of its own
    when it is used. On asyncio parent and child share them: what the child does with its copy of
    the loop, closing it for example, can stop the parent's."""

    def scenario(loop):
        near, far = socket.socketpair()
        called = []
        loop.add_reader(near, called.append, 1)
        run_briefly(loop)
        pid = os.fork()
        if pid == 0:
            loop.remove_reader(near)
            loop.close()
            os._exit(0)
        os.waitpid(pid, 0)
        far.send(b"x")
        run_briefly(loop)
        loop.remove_reader(near)
        near.close()
        far.close()
        return called

    assert on_each(scenario) == ([], [1])


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
@known_difference("Processes")
def test_a_run_does_not_go_on_in_a_forked_child():
    """A loop that runs while the process forks ends its turn in the child with a RuntimeError, and
    cannot be run there again; the child makes a loop of its own. asyncio's child goes on with the
    parent's run, in which `asyncio.get_running_loop()` finds no loop."""

    def run_until_stopped(loop):
        loop.call_soon(loop.stop)
        return outcome_of(loop.run_forever)

    def scenario(loop):
        reading, writing = os.pipe()
        parent, children = os.getpid(), []
        loop.call_soon(lambda: children.append(os.fork()))
        runs = [run_until_stopped(loop), run_until_stopped(loop)]
        if os.getpid() != parent:
            os.write(writing, str(runs).encode())
            os._exit(0)
        os.waitpid(children[0], 0)
        os.close(writing)
        with os.fdopen(reading) as answer:
            return runs, eval(answer.read())

    refused = (
        "raised",
        "RuntimeError",
        "The event loop was running when the process forked; "
        "the child must create its own event loop",
    )
    normal = [("returned", None)] * 2
    assert on_each(scenario) == ((normal, normal), (normal, [refused, refused]))


@known_difference("Processes")
def test_no_thread_waits_for_a_child():
    """The loop learns of the exit of a child by a process descriptor (`pidfd_open`), on every
    version and in every thread; asyncio on 3.11 has a thread wait for each child. A child watcher
    that the program has set is used instead, unless it is one of asyncio's defaults. Where the
    system gives no process descriptor, because there are too many or it is an old kernel or a
    sandbox, a thread waits; asyncio raises then and leaves the child running."""

    async def scenario():
        before = threading.enumerate()
        process = await asyncio.create_subprocess_exec("cat", stdin=subprocess.PIPE)
        begun = set(threading.enumerate()).difference(before)
        await process.communicate(b"")
        return len(begun)

    theirs, ours = on_each(lambda loop: loop.run_until_complete(scenario()))
    assert (theirs, ours) == (int(sys.version_info < (3, 12)), 0)


def wait_by_process_descriptors(loop):
    """Have asyncio wait as newer versions do, on those that let a program choose."""
    if sys.version_info < (3, 14):
        policy = asyncio.get_event_loop_policy()
        policy._watcher = asyncio.unix_events.PidfdChildWatcher()
        policy._watcher.attach_loop(loop)


@pytest.fixture
def child_watcher():
    yield
    if sys.version_info < (3, 14):
        asyncio.get_event_loop_policy()._watcher = None


@known_difference("Processes")
def test_a_status_that_popen_has_read_is_reported(caplog, child_watcher):
    """If somebody has asked the `subprocess.Popen` object of a child for its exit status, by
    `transport.get_extra_info("subprocess").wait()` for example, `Process.wait()` gives that status.
    asyncio reports 255 and warns. A status that was read past the object, by `os.waitpid()`, is
    lost on both."""

    async def scenario():
        wait_by_process_descriptors(asyncio.get_running_loop())
        process = await asyncio.create_subprocess_exec("sh", "-c", "read x; exit 6", stdin=-1)
        process.stdin.write(b"x\n")
        process._transport.get_extra_info("subprocess").wait()
        return await process.wait()

    theirs, ours = on_each(lambda loop: loop.run_until_complete(scenario()))
    caplog.clear()
    assert (theirs, ours) == (255, 6)


@known_difference("Processes")
def test_standard_input_of_a_child_is_a_pipe():
    """The standard input of a child is a pipe, as its output is. asyncio on early 3.11 gives it a
    socket, which programs that open `/dev/stdin` refuse."""

    async def scenario():
        process = await asyncio.create_subprocess_exec("cat", stdin=subprocess.PIPE)
        file = process.stdin.get_extra_info("pipe")
        is_pipe = stat.S_ISFIFO(os.fstat(file.fileno()).st_mode)
        await process.communicate(b"")
        return is_pipe

    theirs, ours = on_each(lambda loop: loop.run_until_complete(scenario()))
    assert ours
    assert theirs or sys.version_info < (3, 12)


@known_difference("Processes")
def test_a_closed_loop_keeps_no_descriptor_of_a_child(child_watcher):
    """A loop that is closed while a child runs closes what it had open to wait for it. asyncio's
    keeps a process descriptor open for ever (3.12 and later) or a thread (3.11)."""

    def scenario(loop):
        async def start():
            return await loop.subprocess_exec(
                asyncio.SubprocessProtocol, "sleep", "60", stdin=None, stdout=None, stderr=None
            )

        wait_by_process_descriptors(loop)
        transport, _ = loop.run_until_complete(start())
        popen = transport.get_extra_info("subprocess")
        popen.kill()
        loop.close()
        left = [fd for fd, target in open_descriptors().items() if "pidfd" in target]
        transport.close()
        popen.wait()
        for fd in left:
            os.close(fd)
        return len(left)

    assert on_each(scenario) == (1, 0)


@known_difference("What objects look like")
def test_tasks_futures_and_handles_are_of_derived_types():
    """Tasks, futures and handles are of hotloop's types, derived from asyncio's: `isinstance` and
    `issubclass` hold, but `type(task) is asyncio.Task` does not."""

    def scenario(loop):
        future, handle = loop.create_future(), loop.call_soon(int)
        assert isinstance(future, asyncio.Future) and isinstance(handle, asyncio.Handle)
        return type(future) is asyncio.Future, type(handle) is asyncio.Handle

    assert on_each(scenario) == ((True, True), (False, False))


@known_difference("What objects look like")
def test_the_repr_of_a_loop_says_whether_its_tasks_are_native():
    """The repr of a loop ends in `tasks=native`, or in `tasks=stock` on a Python for which hotloop
    could not verify the layout of tasks and uses asyncio's."""
    theirs, ours = (shown for (shown,) in on_each(lambda loop: [repr(loop)]))
    assert "tasks=" not in theirs
    assert ours.endswith((" tasks=native>", " tasks=stock>"))


@known_difference("What objects look like")
def test_tracebacks_have_no_lines_of_the_loop():
    """Tracebacks have no lines of asyncio's own `run_until_complete()`, `run_forever()` and the
    like, which are not Python here. The lines of the program and of the rest of asyncio, of
    `asyncio.run()` for example, are there."""

    async def fail():
        raise LookupError("in the program")

    def scenario(loop):
        with pytest.raises(LookupError) as caught:
            loop.run_until_complete(fail())
        return [entry.name for entry in caught.traceback]

    assert on_each(scenario) == (
        ["scenario", "run_until_complete", "fail"],
        ["scenario", "fail"],
    )


@known_difference("What objects look like")
def test_private_steps_of_the_loop_are_not_asked():
    """Private methods by which asyncio's loop calls itself, such as `_call_soon()`,
    `_check_closed()`, `_process_events()` and `_add_callback()`, are there, but hotloop's loop does
    not go through them: replacing them changes nothing. The ones that packages are known to
    replace are called: `_run_once()`, `_write_to_self()`, `_add_reader()` and the like."""

    not_asked = {"_call_soon", "_check_closed", "_process_events", "_add_callback"}
    asked = {"_run_once", "_write_to_self", "_add_reader"}

    def scenario(loop):
        called = set()

        def watched(name):
            original = getattr(loop, name)

            def method(*args, **kwargs):
                called.add(name)
                return original(*args, **kwargs)

            return method

        for name in not_asked | asked:
            setattr(loop, name, watched(name))
        near, far = socket.socketpair()
        with near, far:
            far.send(b"x")
            loop.add_reader(near, loop.stop)
            loop.call_soon(int)
            loop.call_soon_threadsafe(int)
            loop.run_forever()
            loop.remove_reader(near)
        return called

    theirs, ours = on_each(scenario)
    assert ours == asked
    assert theirs - ours == not_asked


@known_difference("What objects look like")
def test_replacing_get_extra_info_of_the_base_class_changes_nothing():
    """`get_extra_info` is a method of hotloop's own transports. A test that replaces
    `asyncio.Transport.get_extra_info`, to give a connection another address, changes asyncio's
    transports and not ours. Replacing it on the transport itself does on both."""

    def scenario(loop):
        transport, far = connected_transport(loop)
        other = {"return_value": ("192.0.2.1", 1)}
        with mock.patch("asyncio.Transport.get_extra_info", **other):
            of_class = transport.get_extra_info("peername")
        with mock.patch.object(transport, "get_extra_info", **other):
            of_transport = transport.get_extra_info("peername")
        end_connection(loop, transport, far)
        return of_class, of_transport

    replaced = ("192.0.2.1", 1)
    assert on_each(scenario) == ((replaced, replaced), ("", replaced))


@known_difference("What objects look like")
def test_a_futures_source_traceback_ends_at_the_caller():
    """In debug mode the source traceback of a future made by `loop.create_future()` ends at the
    line that called it. asyncio's ends inside of its own `create_future`."""

    def scenario(loop):
        loop.set_debug(True)
        return os.path.basename(loop.create_future()._source_traceback[-1].filename)

    assert on_each(scenario) == ("base_events.py", os.path.basename(__file__))


@known_difference("What objects look like")
def test_the_stock_getter_shows_a_waiting_task_itself():
    """`asyncio.Future._callbacks` used as an unbound getter on a future that one hotloop task waits
    for shows the task itself as the callback. `future._callbacks` shows the task's wake-up, as on
    asyncio."""

    def scenario(loop):
        future = loop.create_future()

        async def wait():
            await future

        task = loop.create_task(wait())
        run_briefly(loop)
        [(stock, _)] = asyncio.Future._callbacks.__get__(future)
        [(own, _)] = future._callbacks
        future.set_result(None)
        loop.run_until_complete(task)
        return stock is task, own is task

    assert on_each(scenario) == ((False, False), (True, False))


@known_difference("What objects look like")
def test_the_set_of_scheduled_tasks_gets_another_class():
    """On Python 3.11 to 3.13 the set in which asyncio registers tasks becomes an instance of a
    subclass of WeakSet once a hotloop task exists, because the set then also holds hotloop's own
    list. Iteration, `len` and `in` work as before; its private attribute `data` lacks our tasks."""
    name = "_all_tasks" if sys.version_info < (3, 12) else "_scheduled_tasks"
    registry = getattr(asyncio.tasks, name)

    def scenario(loop):
        task = loop.create_task(asyncio.sleep(0))
        seen = task in registry, task in list(registry), task in asyncio.all_tasks(loop)
        in_data = any(reference() is task for reference in registry.data)
        loop.run_until_complete(task)
        return seen, in_data

    every = (True, True, True)
    if sys.version_info < (3, 14) and sysconfig.get_config_var("Py_GIL_DISABLED"):
        # A list of our own would need a lock there: tasks are registered as asyncio does it.
        assert on_each(scenario) == ((every, True), (every, True))
    elif sys.version_info < (3, 14):
        assert on_each(scenario) == ((every, True), (every, False))
        assert type(registry) is not weakref.WeakSet and isinstance(registry, weakref.WeakSet)
    else:
        # Tasks are registered in C there, and the set is for tasks of other kinds.
        assert on_each(scenario) == (((False, False, True), False),) * 2
        assert type(registry) is weakref.WeakSet


@known_difference("Errors")
@pytest.mark.parametrize(
    "when", ["soon", 1j, [], object(), 10**400], ids=lambda when: type(when).__name__
)
def test_a_deadline_that_is_no_number_is_refused_at_the_call(when):
    """A deadline or delay that is no number, or too large for a float, is refused by `call_at` and
    `call_later` with TypeError or OverflowError. asyncio accepts some of them and then fails in the
    next turn of the loop and in every turn after it."""

    def scenario(loop):
        at_the_call = outcome_of(loop.call_at, when, int)
        return at_the_call[1] if at_the_call[0] == "raised" else outcome_of(loop.run_forever)[1]

    expected = "OverflowError" if isinstance(when, int) else "TypeError"
    assert on_each(scenario) == (expected, expected)
    loop = FACTORIES["hotloop"]()
    try:
        with pytest.raises((TypeError, OverflowError)):
            loop.call_at(when, int)
        run_briefly(loop)
    finally:
        loop.close()


@known_difference("Errors")
def test_a_wrong_number_of_arguments_is_worded_differently():
    """A call with a wrong number of arguments raises TypeError in the words that CPython has for
    functions written in C, which differ from those for functions written in Python."""
    outcomes = []
    for factory in FACTORIES.values():
        loop = factory()
        with pytest.raises(TypeError) as raised:
            loop.time(1)
        outcomes.append(str(raised.value))
        loop.close()
    assert "takes 1 positional argument but 2 were given" in outcomes[0]
    assert outcomes[0] != outcomes[1]


@known_difference("Errors")
def test_set_debug_asks_for_the_truth_of_its_argument_once():
    """`loop.set_debug(value)` keeps the truth of the value. asyncio keeps the value itself and
    `loop.get_debug()` returns it."""

    def scenario(loop):
        loop.set_debug("yes")
        return loop.get_debug()

    assert on_each(scenario) == ("yes", True)


def test_the_page_is_up_to_date():
    committed = known_differences.PAGE.read_text(encoding="utf-8")
    assert committed == known_differences.page(), known_differences.__doc__


def test_the_page_finds_each_test_by_its_topic():
    """The page is made by reading files; the number of marked tests here says that it reads all."""
    marked = [
        name
        for name, test in globals().items()
        if name.startswith("test_") and test.__doc__ and not name.startswith("test_the_page")
    ]
    texts = [text for texts in known_differences.differences().values() for text in texts]
    assert len(texts) >= len(marked) > 10
    assert all(text.endswith(".") for text in texts)
