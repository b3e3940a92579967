"""One owner per descriptor, whatever is cancelled when.

Each call that makes a connection is cancelled after 0, 1, 2, ... turns of the loop, until it is
quicker than that, while other connections come and go all the time, so that the numbers of
descriptors are used again at once.
Every connection carries its own tag and checks each byte that it receives: none may ever be
another's.  Afterwards no descriptor is left (conftest.py looks at that after every test).
"""

import asyncio
import contextlib
import itertools
import os
import random
import socket
import sys
import weakref

import pytest
from support.certificates import client_context, server_context
from support.protocols import settle

import hotloop

SERVER, CLIENT = server_context(), client_context()


class Tagged(asyncio.Protocol):
    """Receives nothing but repetitions of its tag."""

    def __init__(self, tag):
        self.tag = tag
        self.rest = b""
        self.count = 0
        self.wrong = None

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.rest += data
        while len(self.rest) >= len(self.tag):
            if not self.rest.startswith(self.tag):
                self.wrong = self.rest[:80]
            self.count += 1
            self.rest = self.rest[len(self.tag) :]


class Churn:
    """Opens and closes connections in every turn; each checks its own bytes."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.open = []
        self.seen = []
        self.number = 0
        self.is_over = False

    async def run(self):
        loop = asyncio.get_running_loop()
        while not self.is_over:
            near, far = socket.socketpair()
            far.setblocking(False)
            self.number += 1
            protocol = Tagged(b"<pair %d>" % self.number)
            transport, _ = await loop.create_connection(lambda: protocol, sock=near)  # noqa: B023
            self.open.append((transport, protocol, far))
            self.seen.append(protocol)
            for _, other, end in self.open:
                with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionError):
                    end.send(other.tag)
            while len(self.open) > 6:
                self._close(self.open.pop(self.random.randrange(len(self.open))))
            await asyncio.sleep(0)
        for entry in self.open:
            self._close(entry)
        await settle(4)

    def _close(self, entry):
        transport, _, far = entry
        # Either end goes first, politely or not.
        for act in self.random.sample([transport.close, transport.abort, far.close], 3):
            act()

    def check(self):
        assert [p.wrong for p in self.seen if p.wrong] == []
        assert sum(p.count for p in self.seen) > 0


SERVED = weakref.WeakSet()  # The servers' ends of connections, to be aborted at the end.


class TagServer(asyncio.Protocol):
    """Sends its tag to whoever comes."""

    def connection_made(self, transport):
        SERVED.add(transport)
        self.received = b""
        transport.write(b"<server>" * 3)

    def data_received(self, data):
        self.received += data


# -- the calls: each an async function(context) that returns a function to end what it made ------


async def connect_by_address(world):
    transport, _ = await world.loop.create_connection(
        lambda: world.note(Tagged(b"<server>")), *world.address
    )
    return transport.abort


async def connect_by_name(world):
    transport, _ = await world.loop.create_connection(
        lambda: world.note(Tagged(b"<server>")),
        "localhost",
        world.address[1],
        family=socket.AF_INET,
    )
    return transport.abort


async def connect_with_two_families(world):
    transport, _ = await world.loop.create_connection(
        lambda: world.note(Tagged(b"<server>")),
        "127.0.0.1",
        world.address[1],
        happy_eyeballs_delay=0.01,
        local_addr=("127.0.0.1", 0),
    )
    return transport.abort


async def open_streams(world):
    reader, writer = await asyncio.open_connection(*world.address)
    try:
        assert await reader.readexactly(8) == b"<server>"
    except BaseException:
        writer.transport.abort()
        raise
    return lambda: writer.transport.abort()


async def connect_unix(world):
    transport, _ = await world.loop.create_unix_connection(
        lambda: world.note(Tagged(b"<server>")), world.path
    )
    return transport.abort


async def connect_socket(world):
    near, far = socket.socketpair()
    far.send(b"<server>" * 3)
    far.close()
    try:
        transport, _ = await world.loop.create_connection(
            lambda: world.note(Tagged(b"<server>")), sock=near
        )
    except BaseException:
        near.close()  # The caller's, until the call has succeeded.
        raise
    return transport.abort


async def socket_calls(world):
    sock = socket.socket()
    sock.setblocking(False)
    try:
        await world.loop.sock_connect(sock, world.address)
        await world.loop.sock_sendall(sock, b"<client>")
        received = b""
        while len(received) < 24:
            received += await world.loop.sock_recv(sock, 100)
        assert received == b"<server>" * 3
    except BaseException:
        sock.close()
        raise
    return sock.close


async def accept_socket(world):
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    near = socket.socket()
    near.setblocking(False)
    near.connect_ex(listening.getsockname())
    try:
        connection, _ = await world.loop.sock_accept(listening)
    finally:
        listening.close()
        near.close()
    return connection.close


async def serve(world):
    server = await world.loop.create_server(TagServer, "127.0.0.1", 0)
    try:
        with socket.create_connection(server.sockets[0].getsockname()):
            await settle(3)
        await settle(3)
    except BaseException:
        server.close()
        raise
    return server.close


async def connect_tls(world):
    transport, _ = await world.loop.create_connection(
        lambda: world.note(Tagged(b"<server>")), *world.tls_address, ssl=CLIENT
    )
    return transport.abort


async def connect_and_start_tls(world):
    """What start_tls() makes has the descriptor of what it is given."""
    loop = world.loop
    plain, _ = await loop.create_connection(asyncio.Protocol, *world.tls_address)
    protocol = world.note(Tagged(b"<server>"))
    try:
        tls = await loop.start_tls(plain, protocol, CLIENT, server_hostname="localhost")
    except BaseException:
        plain.abort()
        raise
    return tls.abort


async def both_ends_of_tls(world):
    near, far = socket.socketpair()
    made = []
    client = asyncio.ensure_future(
        world.loop.create_connection(
            lambda: world.note(Tagged(b"<server>")),
            sock=far,
            ssl=CLIENT,
            server_hostname="localhost",
        )
    )
    try:
        made += await world.loop.connect_accepted_socket(TagServer, near, ssl=SERVER)
        await asyncio.shield(client)
        await settle(3)
    finally:
        client.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            made += await client
        for transport in made[::2]:
            transport.abort()
        await settle(3)  # Until then transports that were cancelled have them.
        near.close()
        far.close()
    return int


async def adopt_socket(world):
    near, far = socket.socketpair()
    far.send(b"<server>" * 3)
    far.close()
    try:
        transport, _ = await world.loop.connect_accepted_socket(
            lambda: world.note(Tagged(b"<server>")), near
        )
    except BaseException:
        near.close()
        raise
    return transport.abort


async def serve_unix(world):
    path = world.path + str(next(world.numbers))
    server = await world.loop.create_unix_server(TagServer, path)
    try:
        with socket.socket(socket.AF_UNIX) as near:
            near.connect(path)
            await settle(3)
        await settle(3)
    except BaseException:
        server.close()
        raise
    return server.close


async def open_unix_streams(world):
    reader, writer = await asyncio.open_unix_connection(world.path)
    try:
        assert await reader.readexactly(8) == b"<server>"
    except BaseException:
        writer.transport.abort()
        raise
    return lambda: writer.transport.abort()


async def connect_socket_by_name(world):
    sock = socket.socket()
    sock.setblocking(False)
    try:
        await world.loop.sock_connect(sock, ("localhost", world.address[1]))
        assert await world.loop.sock_recv(sock, 8) == b"<server>"
    except BaseException:
        sock.close()
        raise
    return sock.close


async def datagrams_by_name(world):
    transport, _ = await world.loop.create_datagram_endpoint(
        asyncio.DatagramProtocol,
        local_addr=("localhost", 0),
        remote_addr=("localhost", world.address[1]),
        family=socket.AF_INET,
    )
    transport.sendto(b"x")
    return transport.abort


async def datagrams(world):
    transport, _ = await world.loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
    )
    return transport.abort


async def pipes(world):
    read_fd, write_fd = os.pipe()
    reader, writer = os.fdopen(read_fd, "rb", 0), os.fdopen(write_fd, "wb", 0)
    ends = [reader, writer]
    try:
        read_transport, _ = await world.loop.connect_read_pipe(
            lambda: world.note(Tagged(b"<pipe>")), reader
        )
        ends.remove(reader)
        write_transport, _ = await world.loop.connect_write_pipe(asyncio.BaseProtocol, writer)
        ends.remove(writer)
        write_transport.write(b"<pipe>")
        await settle(3)
    except BaseException:
        for end in ends:
            end.close()
        if reader not in ends:
            read_transport.close()
        raise

    def end():
        read_transport.close()
        write_transport.abort()

    return end


async def child(world):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "print('<child>')", stdout=asyncio.subprocess.PIPE
    )
    try:
        output, _ = await process.communicate()
    except BaseException:
        process._transport.close()
        await process.wait()
        raise
    assert output == b"<child>\n"
    return int


async def shell(world):
    process = await asyncio.create_subprocess_shell("exit 3")
    try:
        assert await process.wait() == 3
    except BaseException:
        process._transport.close()
        await process.wait()
        raise
    return int


CALLS = [
    connect_by_address,
    connect_by_name,
    connect_with_two_families,
    open_streams,
    connect_unix,
    open_unix_streams,
    connect_socket,
    adopt_socket,
    connect_tls,
    connect_and_start_tls,
    both_ends_of_tls,
    socket_calls,
    connect_socket_by_name,
    accept_socket,
    serve,
    serve_unix,
    datagrams,
    datagrams_by_name,
    pipes,
]
CHILDREN = [child, shell]


class World:
    """What the calls need, and the protocols that they made."""

    def __init__(self, address, tls_address, path):
        self.loop = asyncio.get_running_loop()
        self.address = address
        self.tls_address = tls_address
        self.path = path
        self.numbers = itertools.count()
        self.protocols = []

    def note(self, protocol):
        self.protocols.append(protocol)
        return protocol

    def check(self):
        assert [p.wrong for p in self.protocols if p.wrong] == []


async def cancelled_after(turns, call, world):
    """Run the call for so many turns, then cancel it; end what it made if it was quicker.

    Says whether it was cancelled.
    """
    task = asyncio.ensure_future(call(world))
    for _ in range(turns):
        await asyncio.sleep(0)
        if task.done():
            break
    task.cancel()
    try:
        end = await task
    except asyncio.CancelledError:
        return True
    await settle(3)
    end()
    return False


async def timed_out_after(seconds, call, world):
    """The same by asyncio's timeout."""
    try:
        async with asyncio.timeout(seconds):
            end = await call(world)
    except TimeoutError:
        return
    end()


async def among_others(path, seed, body):
    """Run body(world) while connections come and go, then check every byte of all."""
    loop = asyncio.get_running_loop()
    churn = Churn(seed)
    churning = asyncio.ensure_future(churn.run())
    tcp = await loop.create_server(TagServer, "127.0.0.1", 0)
    tls = await loop.create_server(TagServer, "127.0.0.1", 0, ssl=SERVER)
    unix = await loop.create_unix_server(TagServer, path)
    world = World(tcp.sockets[0].getsockname(), tls.sockets[0].getsockname(), path)
    try:
        await body(world)
    finally:
        await settle(10)
        churn.is_over = True
        await churning
        await settle(4)
        for transport in list(SERVED):
            transport.abort()
        for server in (tcp, tls, unix):
            server.close()
            await server.wait_closed()
    churn.check()
    world.check()


@pytest.mark.only_hotloop("a property of its own transports")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("call", CALLS + CHILDREN, ids=lambda call: call.__name__)
def test_cancelled_at_every_await(call, tmp_path):
    async def body(world):
        turns = 0
        while await cancelled_after(turns, call, world):
            turns += 1 + turns // 16  # Each of the first ones; more take waiting for a process.

    hotloop.run(among_others(str(tmp_path / "s"), 1, body))


@pytest.mark.only_hotloop("a property of its own transports")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("call", CALLS + CHILDREN, ids=lambda call: call.__name__)
def test_timed_out_at_random_moments(call, tmp_path):
    async def body(world):
        moments = random.Random(2)
        for _ in range(10):
            await timed_out_after(moments.random() * 0.004, call, world)

    hotloop.run(among_others(str(tmp_path / "s"), 2, body))


@pytest.mark.only_hotloop("a property of its own transports")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("seed", range(4))
def test_many_calls_at_once_cancelled_at_random(seed, tmp_path):
    async def body(world):
        moments = random.Random(seed)
        calls = [moments.choice(CALLS) for _ in range(60)]
        await asyncio.gather(
            *(cancelled_after(moments.randrange(20), call, world) for call in calls)
        )

    hotloop.run(among_others(str(tmp_path / "s"), seed, body))


@pytest.mark.only_hotloop("asyncio's own message goes on for ever")
def test_a_descriptor_closed_behind_a_transport_poisons_nothing():
    """The number comes back for another connection, which must work, and get its own bytes."""

    async def main():
        loop = asyncio.get_running_loop()
        near, far = socket.socketpair()
        victim, _ = await loop.create_connection(lambda: Tagged(b"<one>"), sock=near)
        number = near.fileno()
        victim.pause_reading()
        os.close(number)
        one, two = socket.socketpair()
        again = one if one.fileno() == number else two
        other = two if again is one else one
        assert again.fileno() == number
        victim.abort()
        protocol = Tagged(b"<two>")
        copy = socket.socket(fileno=os.dup(again.fileno()))
        transport, _ = await loop.create_connection(lambda: protocol, sock=copy)
        other.send(b"<two>")
        await settle(4)
        transport.abort()
        await settle(4)
        for sock in (far, one, two):
            with contextlib.suppress(OSError):
                sock.close()
        return protocol.count, protocol.wrong

    assert hotloop.run(main()) == (1, None)


@pytest.mark.only_hotloop("shows its own checks")
@pytest.mark.parametrize("held_back", [True, False])
def test_a_socket_object_closed_behind_its_transport_sends_nowhere(held_back):
    """Its number is another connection's by the time the transport writes and reads."""

    async def main():
        loop = asyncio.get_running_loop()
        loop.write_through = not held_back
        near, far = socket.socketpair()
        victim, _ = await loop.create_connection(lambda: Tagged(b"<one>"), sock=near)
        number = near.fileno()
        await settle(3)
        near.close()
        one, two = socket.socketpair()
        again, other = (one, two) if one.fileno() == number else (two, one)
        assert again.fileno() == number
        other.setblocking(False)
        other.send(b"<two>")
        victim.write(b"for somebody else")
        await settle(3)
        received = []
        with contextlib.suppress(BlockingIOError):
            received.append(other.recv(100))
        left = again.recv(100)
        for sock in (far, one, two):
            sock.close()
        return received, left, victim.is_closing()

    assert hotloop.run(main()) == ([], b"<two>", True)


@pytest.mark.only_hotloop("shows its own checks")
def test_a_pipe_closed_behind_its_transport_changes_no_other_file():
    """Its number is a socket's by the time the transport ends, which must stay non-blocking."""

    async def main():
        loop = asyncio.get_running_loop()
        read_fd, write_fd = os.pipe()
        file = os.fdopen(read_fd, "rb", 0)
        transport, _ = await loop.connect_read_pipe(asyncio.Protocol, file)
        number = file.fileno()
        file.close()
        one, two = socket.socketpair()
        again = one if one.fileno() == number else two
        assert again.fileno() == number
        one.setblocking(False)
        two.setblocking(False)
        transport.close()
        await settle(3)
        still = os.get_blocking(number)
        os.close(write_fd)
        one.close()
        two.close()
        return still

    assert hotloop.run(main()) is False
