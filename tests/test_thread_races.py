"""Several threads do what one loop does not expect, at the same moment.

asyncio promises nothing about most of this, so only hotloop is tried: nothing may crash, be lost or
run twice. On interpreters without a GIL the threads really run at once, and ThreadSanitizer looks
at these tests (`.ci/run thread-sanitizer`).
"""

import asyncio
import concurrent.futures
import contextlib
import os
import queue
import socket
import threading
import time

import pytest

import hotloop

ROUNDS = 30
THREADS = 3
BOUND = 20  # Seconds that anything may take.


@pytest.fixture
def running():
    """Return a loop that runs in a thread of its own until the test is over."""
    loop = hotloop.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def together(function, count=THREADS):
    """Call the function in several threads at the same moment and return what they returned."""
    barrier = threading.Barrier(count)

    def call():
        barrier.wait(BOUND)
        return function()

    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return [future.result(BOUND) for future in [pool.submit(call) for _ in range(count)]]


def on_loop(loop, function):
    """Return what the function returns in the loop's thread."""
    result = concurrent.futures.Future()
    loop.call_soon_threadsafe(lambda: result.set_result(function()))
    return result.result(BOUND)


def test_handles_cancelled_while_they_are_due(running):
    for _ in range(ROUNDS):
        handles = on_loop(
            running,
            lambda: [
                handle
                for _ in range(5)
                for handle in (running.call_soon(int), running.call_later(0, int))
            ],
        )
        handles.append(running.call_soon_threadsafe(int))
        for handle in handles:
            handle.cancel()
        assert all(handle.cancelled() for handle in handles)


def test_a_future_finished_by_several_threads_wakes_everybody_once(running):
    for _ in range(ROUNDS):
        future = running.create_future()
        woken = []

        async def wait(future=future, woken=woken):
            woken.append(await future)

        waiting = [asyncio.run_coroutine_threadsafe(wait(), running) for _ in range(2)]

        def finish(future=future):
            with contextlib.suppress(asyncio.InvalidStateError):
                future.set_result("value")
                return 1
            return 0

        assert sum(together(finish)) == 1
        running.call_soon_threadsafe(int)
        for one in waiting:
            one.result(BOUND)
        assert woken == ["value", "value"]


def test_callbacks_added_while_a_future_is_finished(running):
    for _ in range(ROUNDS):
        future = running.create_future()
        called = threading.Semaphore(0)

        def add(future=future, called=called):
            future.add_done_callback(lambda future: called.release())
            with contextlib.suppress(asyncio.InvalidStateError):
                future.set_result(None)

        together(add)
        running.call_soon_threadsafe(int)
        assert all(called.acquire(timeout=BOUND) for _ in range(THREADS))
        assert not called.acquire(blocking=False)


def test_looking_at_a_loop_that_runs(running):
    async def busy():
        for _ in range(ROUNDS):
            await asyncio.sleep(0)

    work = asyncio.run_coroutine_threadsafe(busy(), running)
    while not work.done():
        assert running.is_running() and not running.is_closed()
        assert isinstance(len(running._ready) + len(running._scheduled), int)
        for task in asyncio.all_tasks(running):
            assert task.get_loop() is running and repr(task)
    work.result(BOUND)


def test_loops_made_and_closed_in_several_threads():
    def make():
        for _ in range(ROUNDS):
            loop = hotloop.new_event_loop()
            loop.call_soon(int)
            loop.close()

    together(make)


def test_loops_that_run_in_several_threads():
    async def give(value):
        await asyncio.sleep(0)
        return value

    async def main():
        return await asyncio.gather(*map(give, range(10)))

    assert together(lambda: hotloop.run(main())) == [list(range(10))] * THREADS


def test_one_loop_started_by_several_threads():
    """One of them runs it; the others are refused, or run it afterwards."""
    loop = hotloop.new_event_loop()
    inside = []
    most = []

    def turn():
        inside.append(None)
        most.append(len(inside))
        inside.pop()

    def start():
        refused = 0
        for _ in range(ROUNDS):
            try:
                loop.call_soon_threadsafe(turn)
                loop.call_soon_threadsafe(loop.stop)
                loop.run_forever()
            except RuntimeError as error:
                assert "already running" in str(error)
                refused += 1
        return refused

    assert sum(together(start)) < THREADS * ROUNDS
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    assert len(most) == THREADS * ROUNDS and set(most) == {1}


class CountingLoop(hotloop.Loop):
    """Counts what is set up before a run first waits, and undone at its end."""

    prepared = undone = 0

    def _prepare_to_block(self):
        self.prepared += 1
        super()._prepare_to_block()

    def _after_block(self):
        self.undone += 1
        super()._after_block()


def test_a_run_that_ends_undoes_nothing_of_the_next_one(monkeypatch):
    """Another thread runs the loop as soon as it may, while the first one is still at its end."""
    loop = CountingLoop()
    original = asyncio.events._set_running_loop
    second = threading.Thread(target=loop.run_forever)

    def set_running_loop(running):
        original(running)
        if running is None and second.ident is None:
            second.start()
            while not loop.prepared:
                second.join(0.001)

    monkeypatch.setattr(asyncio.events, "_set_running_loop", set_running_loop)
    loop.call_soon(loop.stop)
    loop.run_forever()
    counts = [(loop.prepared, loop.undone)]
    loop.call_soon_threadsafe(loop.stop)
    second.join(BOUND)
    counts.append((loop.prepared, loop.undone))
    loop.close()
    assert counts == [(1, 0), (1, 1)]


@pytest.mark.timeout(60)
def test_a_loop_closed_while_threads_call_it():
    """They are told that it is closed, and write to no descriptor that another file has by then."""
    for _ in range(5):
        loop = hotloop.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        called = threading.Event()

        def call(loop=loop, called=called):
            with pytest.raises(RuntimeError, match="closed"):
                while True:
                    loop.call_soon_threadsafe(int)
                    called.set()

        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            calling = [pool.submit(call) for _ in range(2)]
            called.wait(BOUND)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()
            for one in calling:
                one.result(BOUND)


def test_descriptors_watched_by_several_threads(running):
    """The loop waits meanwhile, and its tables grow."""

    def watch():
        with contextlib.ExitStack() as stack:
            for _ in range(ROUNDS):
                reader, writer = map(stack.enter_context, socket.socketpair())
                received = queue.SimpleQueue()
                running.add_reader(reader, lambda sock=reader, put=received.put: put(sock.recv(1)))
                writer.send(b"x")
                assert received.get(timeout=BOUND) == b"x"
                assert running.remove_reader(reader)

    together(watch)


class Counting(asyncio.Protocol):
    """Answers each message by one byte, until it has counted as many bytes as are to come."""

    def __init__(self, expected):
        self.missing = expected
        self.complete = threading.Event()

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(b"y")
        self.missing -= len(data)
        if self.missing <= 0:
            self.complete.set()


def test_one_stream_written_by_several_threads_and_the_loop(running):
    size = 30_000
    mine, theirs = socket.socketpair()
    receiver = Counting(THREADS * ROUNDS * size)
    sender = Counting(1)
    for protocol, sock in ((receiver, mine), (sender, theirs)):
        connecting = running.create_connection(lambda protocol=protocol: protocol, sock=sock)
        asyncio.run_coroutine_threadsafe(connecting, running).result(BOUND)

    def write():
        for _ in range(ROUNDS):
            sender.transport.write(b"x" * size)

    together(write)
    # The answers of the sender to the answers come on top.
    assert receiver.complete.wait(BOUND) and sender.complete.wait(BOUND)
    for protocol in (receiver, sender):
        on_loop(running, protocol.transport.abort)
    on_loop(running, int)


def test_one_endpoint_used_by_several_threads_and_the_loop(running):
    opening = running.create_datagram_endpoint(
        asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
    )
    transport, _ = asyncio.run_coroutine_threadsafe(opening, running).result(BOUND)
    address = transport.get_extra_info("sockname")

    def send():
        for _ in range(ROUNDS):
            transport.sendto(b"x", address)
            running.call_soon_threadsafe(transport.sendto, b"yy", address)

    together(send)
    on_loop(running, transport.abort)
    on_loop(running, int)


# What a program may ask of a transport, or do to it, while the loop is at work with it; what a
# kind of transport has not is left out.
USES = [
    ("get_protocol",),
    ("set_protocol", None),  # a new one each time, so that the old one dies
    ("is_closing",),
    ("is_reading",),
    ("get_extra_info", "sockname"),
    ("get_extra_info", "socket"),
    ("get_extra_info", "pipe"),
    ("pause_reading",),
    ("__repr__",),
    ("resume_reading",),
    ("get_write_buffer_limits",),
    ("set_write_buffer_limits", 100),
    ("can_write_eof",),
    ("get_write_buffer_size",),
    ("set_write_buffer_limits", 100_000),
]
ENDS = [("write_eof",), ("abort",), ("close",)]


class Answering(asyncio.Protocol, asyncio.DatagramProtocol):
    """Sends everything back, so that the traffic has no end; tells when the connection is lost."""

    def __init__(self, lost):
        self.lost = lost
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        if isinstance(self.transport, asyncio.WriteTransport):
            with contextlib.suppress(AttributeError, RuntimeError):  # it is being closed
                self.transport.write(data)

    def datagram_received(self, data, address):
        self.transport.sendto(data, address)

    def connection_lost(self, exc):
        self.lost.release()

    def successor(self):
        one = Answering(self.lost)
        one.transport = self.transport
        return one


class Connection:
    """Two transports of one loop that send to each other; `lost` is released once for each."""

    def __init__(self, loop):
        self.lost = threading.Semaphore(0)
        self.loop = loop

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(BOUND)

    def protocol(self):
        return Answering(self.lost)

    def wait_until_lost(self):
        """Wait for both, and wake the loop, which a close() in another thread does not."""
        for _ in range(2):
            bound = time.monotonic() + BOUND
            while not self.lost.acquire(timeout=0.01):
                assert time.monotonic() < bound
                self.loop.call_soon_threadsafe(int)

    def stream(self):
        mine, theirs = socket.socketpair()
        connecting = self.loop.create_connection(self.protocol, sock=mine)
        first, _ = self.call(connecting)
        second, _ = self.call(self.loop.create_connection(self.protocol, sock=theirs))
        on_loop(self.loop, lambda: first.write(b"x" * 300))  # before anybody ends it
        return [first, second]

    def datagram(self):
        address = ("127.0.0.1", 0)
        first, second = (
            self.call(self.loop.create_datagram_endpoint(self.protocol, address))[0]
            for _ in range(2)
        )
        target = second.get_extra_info("sockname")
        for _ in range(5):
            self.loop.call_soon_threadsafe(first.sendto, b"x" * 300, target)
        return [first, second]

    def pipe(self):
        reading, writing = os.pipe()
        reader, _ = self.call(
            self.loop.connect_read_pipe(self.protocol, os.fdopen(reading, "rb", 0))
        )
        writer, _ = self.call(
            self.loop.connect_write_pipe(self.protocol, os.fdopen(writing, "wb", 0))
        )

        def write():
            if not writer.is_closing() and not reader.is_closing():
                writer.write(b"x" * 3000)
                self.loop.call_soon(write)

        self.loop.call_soon_threadsafe(write)
        return [reader, writer]


def use(transport, calls):
    """Make the calls that the transport has; it may refuse them, and have no protocol any more."""
    for name, *arguments in calls:
        with contextlib.suppress(AttributeError, OSError, RuntimeError):
            if name == "set_protocol":
                arguments = [transport.get_protocol().successor()]
            getattr(transport, name)(*arguments)


# Not over TLS: the ssl module gives up the GIL for OpenSSL, where one thread then reads the memory
# that another one writes, since a MemoryBIO has no lock. asyncio's own transports crash in it too.
KINDS = ["stream", "datagram", "pipe"]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", KINDS)
def test_a_transport_used_by_several_threads_while_the_loop_serves_it(running, kind):
    connection = Connection(running)
    transports = getattr(connection, kind)()

    def hammer():
        for _ in range(ROUNDS):
            for transport in transports:
                use(transport, USES)

    together(hammer)
    for transport in transports:
        on_loop(running, transport.abort if hasattr(transport, "abort") else transport.close)
    connection.wait_until_lost()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("end", ENDS, ids=[name for name, *_ in ENDS])
@pytest.mark.parametrize("kind", KINDS)
def test_a_transport_that_several_threads_end(running, kind, end):
    """Whichever is the first, the protocol is told once, and what follows is refused or ignored."""
    for _ in range(5):
        connection = Connection(running)
        transports = getattr(connection, kind)()

        def hammer(transports=transports):
            for transport in transports:
                use(transport, USES)
                use(transport, [end])
                use(transport, USES)
                use(transport, ENDS)

        together(hammer)
        connection.wait_until_lost()
        on_loop(running, int)
        assert not connection.lost.acquire(blocking=False)
