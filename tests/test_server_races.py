"""Several threads use what makes and ends connections: servers, TLS, and child processes.

As in test_transport_races.py nothing may crash, be lost or be told twice. What asyncio's own Python
does in these classes has no lock on any loop, and may raise where two threads meet in it.
"""

import asyncio
import contextlib
import signal
import socket
import sys
import threading
import time

import pytest
from support.certificates import client_context, server_context
from support.threads import BOUND, ROUNDS, in_threads, lockstep, on_loop, running_loop


@pytest.fixture
def running():
    """Return a loop that runs in a thread of its own until the test is over."""
    with running_loop() as new_loop:
        new_loop.set_exception_handler(lambda loop, context: None)  # see the top
        yield new_loop


def call(loop, coroutine):
    return asyncio.run_coroutine_threadsafe(coroutine, loop).result(BOUND)


class Counted(asyncio.Protocol):
    """Counts in two semaphores what is made and lost; sends back what comes."""

    def __init__(self, made, lost):
        self.made, self.lost = made, lost
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport
        self.made.append(self)

    def data_received(self, data):
        self.transport.write(data)

    def connection_lost(self, exc):
        self.lost.append(self)


def wait_until(loop, condition):
    """Wait, and wake the loop, which a call in another thread does not."""
    end = time.monotonic() + BOUND
    while not condition():
        assert time.monotonic() < end
        on_loop(loop, int)
        time.sleep(0.001)


# -- servers ------------------------------------------------------------------------------------


def connect(address):
    """Connect and hang up; the server may be gone."""
    with contextlib.suppress(OSError), socket.create_connection(address, timeout=BOUND) as sock:
        sock.settimeout(0.05)
        sock.send(b"x")
        sock.recv(1)


def test_servers_closed_by_a_thread_while_they_accept(running):
    """Each connection that was made is lost, once.

    Only ThreadSanitizer sees what the close and the accept share. A descriptor that the loop is
    about to accept from may be gone, and its number another file's (docs/architecture.md), which
    the exception handler is told then.
    """
    made, lost = [], []
    servers = [
        call(running, running.create_server(lambda: Counted(made, lost), "127.0.0.1", 0))
        for _ in range(min(ROUNDS, 100))
    ]
    addresses = [server.sockets[0].getsockname() for server in servers]

    def look(server):
        assert server.is_serving() in (True, False)
        assert server.get_loop() is running
        assert len(server.sockets) <= 1 and repr(server)

    def close(number):
        server = servers[number]
        look(server)
        with contextlib.suppress(TypeError):  # of asyncio: both threads wake who waits
            server.close()
        look(server)
        if sys.version_info >= (3, 13):
            with contextlib.suppress(RuntimeError):  # a WeakSet that changes while it is copied
                server.close_clients()
                server.abort_clients()

    lockstep(
        len(servers),
        close,
        lambda number: connect(addresses[number]),
        lambda number: connect(addresses[number]),
        seconds=3,
    )
    for server in servers:
        on_loop(running, server.close)
    for protocol in list(made):
        on_loop(running, protocol.transport.abort)
    wait_until(running, lambda: len(lost) == len(made))
    assert len(set(map(id, lost))) == len(lost)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="needs Python 3.13: servers know clients")
def test_clients_aborted_by_several_threads_while_others_come(running):
    made, lost = [], []
    server = call(running, running.create_server(lambda: Counted(made, lost), "127.0.0.1", 0))
    address = server.sockets[0].getsockname()

    def abort(number):
        with contextlib.suppress(RuntimeError):
            server.abort_clients()
        with contextlib.suppress(RuntimeError):
            server.close_clients()
        running.call_soon_threadsafe(int)

    lockstep(min(ROUNDS, 300), lambda number: connect(address), abort, abort)
    on_loop(running, server.close)
    for protocol in list(made):
        on_loop(running, protocol.transport.abort)
    wait_until(running, lambda: len(lost) == len(made))
    assert len(set(map(id, lost))) == len(lost)


def test_a_protocol_that_is_refused_while_a_thread_looks_at_its_transport(running):
    """The server knows of the connection before connection_made() is found missing.

    Only ThreadSanitizer sees the protocol dropped without a lock.
    """
    seen = []

    class Unfit:
        """Has no connection_made()."""

    def make():
        return Unfit()

    server = call(running, running.create_server(make, "127.0.0.1", 0))
    if not hasattr(server, "_clients"):
        server.close()
        pytest.skip("needs Python 3.13: servers know clients")
    original = server._attach

    def attach(transport):
        original(transport)
        seen.append(transport)

    server._attach = attach
    address = server.sockets[0].getsockname()
    done = threading.Event()

    def come():
        for _ in range(min(ROUNDS, 100)):
            connect(address)
        done.set()

    def look():
        while not done.is_set():
            for transport in seen[-3:]:
                assert isinstance(transport.get_protocol(), (Unfit, type(None)))

    in_threads(come, look)
    on_loop(running, server.close)
    seen.clear()
    server._attach = None
    on_loop(running, int)


# -- TLS ----------------------------------------------------------------------------------------

# What a program may ask of a TLS connection without an answer of OpenSSL, which has no lock
# (test_transport_races.py); the loop encrypts and decrypts meanwhile.
TLS_USES = [
    ("get_protocol",),
    ("is_closing",),
    ("is_reading",),
    ("get_extra_info", "sockname"),
    ("get_extra_info", "peername"),
    ("get_extra_info", "socket"),
    ("pause_reading",),
    ("__repr__",),
    ("resume_reading",),
    ("get_write_buffer_limits",),
    ("get_write_buffer_size",),
    ("can_write_eof",),
]


class Tossing(asyncio.Protocol):
    """Sends back what comes, so that the traffic has no end."""

    def __init__(self, lost):
        self.lost = lost
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)

    def connection_lost(self, exc):
        self.lost.release()


class BufferedTossing(Tossing, asyncio.BufferedProtocol):
    def get_buffer(self, sizehint):
        self.buffer = bytearray(1000)
        return self.buffer

    def buffer_updated(self, nbytes):
        self.transport.writelines([self.buffer[:nbytes]])


async def tls_pair(loop, kind, lost):
    """Return both protocols of a new connection over TLS."""
    accepted = []

    def make():
        accepted.append(kind(lost))
        return accepted[-1]

    server = await loop.create_server(make, "127.0.0.1", 0, ssl=server_context())
    address = server.sockets[0].getsockname()
    _, client = await loop.create_connection(
        lambda: kind(lost), *address, ssl=client_context(), server_hostname="localhost"
    )
    while not accepted or accepted[0].transport is None:
        await asyncio.sleep(0.001)
    server.close()
    client.transport.write(b"x" * 300)
    return client, accepted[0]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", [Tossing, BufferedTossing])
def test_a_tls_transport_looked_at_by_several_threads_while_the_loop_serves_it(running, kind):
    """For ThreadSanitizer, which looks at all of this in any order."""
    lost = threading.Semaphore(0)
    protocols = call(running, tls_pair(running, kind, lost))

    def hammer():
        for number in range(30):
            for protocol in protocols:
                transport = protocol.transport
                for name, *arguments in TLS_USES:
                    getattr(transport, name)(*arguments)
                transport.set_protocol(protocol)
                # asyncio's own keeps the two in steps of Python.
                transport.set_write_buffer_limits(high=1000 + number)

    in_threads(*[hammer] * 3)
    for protocol in protocols:
        on_loop(running, protocol.transport.abort)
    for _ in protocols:
        assert lost.acquire(timeout=BOUND)
    on_loop(running, int)
    assert not lost.acquire(blocking=False)


@pytest.mark.timeout(60)
def test_tls_connections_aborted_by_several_threads_are_lost_once(running):
    lost = threading.Semaphore(0)

    async def pairs():
        return await asyncio.gather(
            *(tls_pair(running, Tossing, lost) for _ in range(min(ROUNDS, 30)))
        )

    transports = [one.transport for pair in call(running, pairs()) for one in pair]

    def abort(number):
        transports[number].abort()
        running.call_soon_threadsafe(int)

    lockstep(len(transports), abort, abort, seconds=BOUND)
    for _ in transports:
        assert lost.acquire(timeout=BOUND)
    on_loop(running, int)
    assert not lost.acquire(blocking=False)


# -- child processes ----------------------------------------------------------------------------


class Child(asyncio.SubprocessProtocol):
    def __init__(self):
        self.exited = []
        self.lost = threading.Event()

    def process_exited(self):
        self.exited.append(True)

    def connection_lost(self, exc):
        self.lost.set()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("end", ["kill", "terminate", "send_signal", "close"])
def test_a_child_that_several_threads_end(running, end):
    """The protocol is told once that it has ended, whoever was the first."""

    def use(transport):
        assert transport.get_pid() > 0
        assert transport.get_returncode() in (None, -signal.SIGKILL, -signal.SIGTERM)
        assert repr(transport)
        for fd in range(3):
            pipe = transport.get_pipe_transport(fd)
            assert pipe is None or repr(pipe)

    def hammer():
        for _ in range(5):
            use(transport)
        # AttributeError: asyncio, too, forgets the process between its check and its use.
        with contextlib.suppress(ProcessLookupError, AttributeError):
            getattr(transport, end)(*[signal.SIGKILL] * (end == "send_signal"))
        use(transport)

    for _ in range(3):
        transport, child = call(running, running.subprocess_exec(Child, "sleep", "60"))
        in_threads(*[hammer] * 3)
        assert child.lost.wait(BOUND)
        on_loop(running, transport.close)
        assert child.exited == [True]
