"""Several threads use one transport, at the same moment and while the loop serves it.

Transports are not thread-safe, and asyncio promises nothing; here nothing may crash, be lost or be
told twice. As in test_thread_races.py what is about a lock was seen to fail in a debug build of an
interpreter without a GIL when that was taken out, unless the docstring says that only
ThreadSanitizer sees it.

No writing over TLS: the ssl module gives up the GIL for OpenSSL, where one thread then reads the
memory that another one writes, since a MemoryBIO has no lock. asyncio's own transports crash in it
too. The rest of TLS is in test_server_races.py.
"""

import asyncio
import contextlib
import itertools
import os
import socket
import threading
import time

import pytest
from support.sockets import nonblocking_pair
from support.threads import (
    BOUND,
    ROUNDS,
    THREADS,
    in_threads,
    lockstep,
    on_loop,
    references,
    running_loop,
)

import hotloop

MANY = 20  # Calls in a round where one call takes less time than to begin a round does.


@pytest.fixture
def running():
    """Return a loop that runs in a thread of its own until the test is over."""
    with running_loop() as new_loop:
        yield new_loop


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

    def silent_stream(self):
        mine, theirs = socket.socketpair()
        first, _ = self.call(self.loop.create_connection(self.protocol, sock=mine))
        second, _ = self.call(self.loop.create_connection(self.protocol, sock=theirs))
        return [first, second]

    def stream(self):
        first, second = self.silent_stream()
        on_loop(self.loop, first.write, b"x" * 300)  # before anybody ends it
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


@pytest.fixture
def connection(running):
    """Return a Connection of a running loop, which is ended after the test if it was made."""
    one = Connection(running)
    made = []
    original = one.silent_stream

    def silent_stream():
        made.extend(original())
        return made[-2:]

    one.silent_stream = silent_stream
    yield one
    for transport in made:
        on_loop(running, transport.abort)
    for _ in made:
        assert one.lost.acquire(timeout=BOUND)


# -- writing ------------------------------------------------------------------------------------


class Blocked:
    """A transport whose kernel takes no more, and what comes out once the other side is read."""

    def __init__(self, loop, kind, path):
        self.loop = loop
        self.lost = threading.Semaphore(0)
        if kind == "pipe":
            self.other, mine = os.pipe()
            making = loop.connect_write_pipe(self.protocol, os.fdopen(mine, "wb", 0))
        elif kind == "stream":
            mine, other = nonblocking_pair()
            self.other = other.detach()
            making = loop.create_connection(self.protocol, sock=mine)
        else:
            other = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            other.bind(path)
            self.other = other.detach()
            mine = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            mine.setblocking(False)
            mine.connect(path)
            making = loop.create_datagram_endpoint(self.protocol, sock=mine)
        self.transport, _ = asyncio.run_coroutine_threadsafe(making, loop).result(BOUND)
        self.put = self.transport.sendto if kind == "datagram" else self.transport.write
        self.transport.set_write_buffer_limits(1 << 30)
        while not self.transport.get_write_buffer_size():
            on_loop(loop, self.put, b"-" * 1000)

    def protocol(self):
        return Answering(self.lost)

    def read_to_the_end(self):
        """Close the transport and return how often each letter was written."""
        received = bytearray()
        lost = threading.Event()

        def read():
            while True:
                was_lost = lost.is_set()
                try:
                    data = os.read(self.other, 1 << 20)
                except BlockingIOError:
                    time.sleep(0.001)
                    data = b"" if was_lost else None
                if data == b"":
                    return
                received.extend(data or b"")

        os.set_blocking(self.other, False)
        on_loop(self.loop, self.transport.close)
        reading = threading.Thread(target=read)
        reading.start()
        assert self.lost.acquire(timeout=BOUND)
        lost.set()
        reading.join()
        os.close(self.other)
        return {letter: received.count(letter) for letter in set(received) - set(b"-")}


def write_lines(transport, data):
    transport.writelines([data])


@pytest.mark.parametrize(
    ("kind", "write"),
    [
        ("stream", asyncio.Transport.write),
        ("stream", write_lines),
        ("pipe", asyncio.Transport.write),
        ("datagram", asyncio.DatagramTransport.sendto),
    ],
    ids=["stream-write", "stream-writelines", "pipe-write", "datagram-sendto"],
)
def test_what_several_threads_write_is_queued_and_sent_once(running, kind, write, tmp_path):
    blocked = Blocked(running, kind, str(tmp_path / "other"))
    name = getattr(write, "__name__", "")
    if name != "write_lines":
        write = getattr(type(blocked.transport), name)

    def put(letter, number):
        write(blocked.transport, letter * (number % 5 + 1))

    letters = b"abcd"[:THREADS]
    rounds = lockstep(
        min(ROUNDS, 10_000),
        *(lambda number, letter=bytes([letter]): put(letter, number) for letter in letters),
    )
    expected = sum(number % 5 + 1 for number in range(rounds))
    assert blocked.read_to_the_end() == dict.fromkeys(letters, expected)


def received(sock):
    """Return all that comes until the end of the stream."""
    sock.settimeout(BOUND)
    return b"".join(iter(lambda: sock.recv(1 << 20), b""))


@pytest.mark.parametrize("end", ["close", "write_eof"])
def test_what_was_written_before_another_thread_ends_the_stream_is_sent(running, end):
    """The loop holds it back until its callback ends, which is after that."""
    mine, theirs = nonblocking_pair()
    lost = threading.Semaphore(0)
    making = running.create_connection(lambda: Answering(lost), sock=mine)
    transport, _ = asyncio.run_coroutine_threadsafe(making, running).result(BOUND)
    written, ended = threading.Event(), threading.Event()

    def write():
        transport.write(b"the last ")
        transport.write(b"words")
        written.set()
        assert ended.wait(BOUND)

    running.call_soon_threadsafe(write)
    assert written.wait(BOUND)
    getattr(transport, end)()
    assert transport.is_closing() is (end == "close")
    ended.set()
    on_loop(running, int)
    assert received(theirs) == b"the last words"
    on_loop(running, transport.abort)
    assert lost.acquire(timeout=BOUND)
    theirs.close()


def test_the_order_of_what_the_loop_writes_when_another_thread_writes_in_between(running):
    """The kernel does not take all of that, and it stays in one piece."""
    mine, theirs = nonblocking_pair()
    lost = threading.Semaphore(0)
    making = running.create_connection(lambda: Answering(lost), sock=mine)
    transport, _ = asyncio.run_coroutine_threadsafe(making, running).result(BOUND)
    large = b"[" + b"-" * 3_000_000 + b"]"
    first, second = threading.Event(), threading.Event()

    def write():
        transport.write(b"first")
        first.set()
        assert second.wait(BOUND)
        transport.write(b"second")
        transport.close()

    running.call_soon_threadsafe(write)
    assert first.wait(BOUND)
    transport.write(large)
    second.set()
    data = received(theirs)
    assert data.count(large) == 1
    assert data.replace(large, b"") == b"firstsecond"
    assert lost.acquire(timeout=BOUND)
    theirs.close()


# -- what is known of a transport ---------------------------------------------------------------


def test_reading_paused_and_resumed_by_several_threads(connection):
    """What the transport says is what the kernel was asked for."""
    transport, _ = connection.silent_stream()

    def resume(number):
        for _ in range(MANY if number % 2 else 0):
            transport.resume_reading()

    def pause(number):
        for _ in range(MANY if number % 2 else 0):
            transport.pause_reading()
        if number % 2 == 0:
            assert transport.is_reading() is ("read=polling" in repr(transport))

    lockstep(ROUNDS, resume, pause)
    transport.resume_reading()


def test_protocols_exchanged_by_several_threads(connection):
    """Each is let go once. Only ThreadSanitizer sees get_protocol() without the lock."""
    transport, _ = connection.silent_stream()
    protocols = [[connection.protocol() for _ in range(10)] for _ in range(THREADS)]
    before = references(itertools.chain(*protocols))

    def exchange(own, number):
        for protocol in own * MANY:
            transport.set_protocol(protocol)
        assert isinstance(transport.get_protocol(), Answering)

    first = transport.get_protocol()
    lockstep(ROUNDS, *(lambda number, own=own: exchange(own, number) for own in protocols))
    transport.set_protocol(first)
    assert references(itertools.chain(*protocols)) == before


def test_water_marks_set_by_several_threads_belong_together(connection):
    transport, _ = connection.silent_stream()

    def limit(low, number):
        transport.set_write_buffer_limits(low=low, high=2 * low)
        low, high = transport.get_write_buffer_limits()
        assert high == 2 * low

    lockstep(ROUNDS, *(lambda number, low=low: limit(low, number) for low in range(1, THREADS + 1)))


def test_the_socket_of_a_transport_is_made_once(connection):
    """A second one would close the descriptor when it dies."""
    transports = [one for _ in range(min(ROUNDS, 300)) for one in connection.silent_stream()]

    def ask(found, number):
        found.append(transports[number].get_extra_info("socket")._sock)

    found = [[] for _ in range(THREADS)]
    lockstep(len(transports), *(lambda number, own=own: ask(own, number) for own in found))
    for socks in zip(*found, strict=True):
        assert len(set(map(id, socks))) == 1


def test_the_extra_information_exchanged_by_several_threads(connection):
    transport, _ = connection.silent_stream()
    extras = [[{"own": place} for _ in range(10)] for place in range(THREADS)]
    before = references(itertools.chain(*extras))

    def exchange(own, number):
        transport._extra = own[number % 10]
        assert transport.get_extra_info("own") in range(THREADS)

    lockstep(ROUNDS, *(lambda number, own=own: exchange(own, number) for own in extras))
    transport._extra = {}
    assert references(itertools.chain(*extras)) == before


def test_a_set_of_clients_filled_by_several_threads():
    """Its first client makes what holds them. Only ThreadSanitizer sees it read without a lock."""
    sets = [hotloop._core._ClientSet() for _ in range(min(ROUNDS, 1000))]
    clients = [Answering(None) for _ in range(THREADS)]

    def add(place, number):
        sets[number].add(clients[place])

    rounds = lockstep(
        len(sets), *(lambda number, place=place: add(place, number) for place in range(THREADS))
    )
    assert {len(one) for one in sets[:rounds]} == {THREADS}


def test_a_connection_aborted_by_several_threads_is_lost_once(connection):
    transports = [one for _ in range(200) for one in connection.silent_stream()]

    def abort(number):
        transports[number].abort()

    lockstep(len(transports), *[abort] * THREADS, seconds=BOUND)
    assert {transport._conn_lost for transport in transports} == {1}


# -- everything at once -------------------------------------------------------------------------

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


def use(transport, calls):
    """Make the calls that the transport has; it may refuse them, and have no protocol any more."""
    for name, *arguments in calls:
        with contextlib.suppress(AttributeError, OSError, RuntimeError):
            if name == "set_protocol":
                arguments = [transport.get_protocol().successor()]
            getattr(transport, name)(*arguments)


KINDS = ["stream", "datagram", "pipe"]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", KINDS)
def test_a_transport_used_by_several_threads_while_the_loop_serves_it(running, kind):
    """For ThreadSanitizer, which looks at all of this in any order."""
    connection = Connection(running)
    transports = getattr(connection, kind)()

    def hammer():
        for _ in range(30):
            for transport in transports:
                use(transport, USES)

    in_threads(*[hammer] * 3)
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

        in_threads(*[hammer] * 3)
        connection.wait_until_lost()
        on_loop(running, int)
        assert not connection.lost.acquire(blocking=False)
