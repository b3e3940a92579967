"""Servers: accepting, closing, running out of descriptors, and being fair under load.

What can be compared runs on both loops; limits that only hotloop promises are tested on it alone.
"""

import asyncio
import contextlib
import errno
import gc
import os
import resource
import socket
import subprocess
import sys
import time
import warnings

import pytest
from support.certificates import client_context, server_context
from support.differential import assert_same_on_both, collect_reports, normalized, outcome_of
from support.protocols import Recorder, collected, link, settle, until

SINCE_3_13 = sys.version_info >= (3, 13)


def same(scenario):
    def run(loop):
        reports = collect_reports(loop)
        return loop.run_until_complete(scenario(reports)), reports

    kind, *value = assert_same_on_both(run)
    assert kind == "returned", value
    return value[0]


async def start(factory, host="127.0.0.1", **options):
    server = await asyncio.get_running_loop().create_server(factory, host, 0, **options)
    return server, server.sockets[0].getsockname()


def connected(address):
    sock = socket.create_connection(address[:2])
    sock.setblocking(False)
    return sock


@contextlib.contextmanager
def descriptor_limit(spare):
    """Leave this process only so many more descriptors."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    # Numbers that are free below the highest one are taken too.
    fillers = [os.dup(2)]
    while fillers[-1] < highest:
        fillers.append(os.dup(2))
    resource.setrlimit(resource.RLIMIT_NOFILE, (fillers[-1] + 1 + spare, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for filler in fillers:
            os.close(filler)


# -- life of a server ------------------------------------------------------------------------


def test_states_and_names():
    async def scenario(reports):
        server, _ = await start(Recorder, start_serving=False)
        seen = [server.is_serving(), len(server.sockets), type(server.sockets[0]).__name__]
        await server.start_serving()
        await server.start_serving()
        seen += [server.is_serving(), server.get_loop() is asyncio.get_running_loop()]
        seen.append(normalized(repr(server)).partition(" sockets")[0])
        server.close()
        server.close()
        seen += [server.is_serving(), server.sockets]
        await server.wait_closed()
        seen.append(outcome_of(lambda: server.sockets))
        seen.append(server._sockets if hasattr(server, "_sockets") else None)
        return seen, isinstance(server, asyncio.base_events.Server)

    same(scenario)


def test_serve_forever_and_its_cancellation():
    async def scenario(reports):
        server, _ = await start(Recorder, start_serving=False)
        task = asyncio.ensure_future(server.serve_forever())
        await settle()
        serving = server.is_serving()
        second = outcome_of(server.serve_forever().send, None)[:2]
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return serving, second, server.is_serving(), task.cancelled()

    same(scenario)


def test_connections_outlive_their_server():
    async def scenario(reports):
        made, factory = collected(lambda: Recorder(data=lambda p, data: p.transport.write(data)))
        server, address = await start(factory)
        loop = asyncio.get_running_loop()
        sock = connected(address)
        await until(lambda: made and made[0].transport)
        server.close()
        waiter = asyncio.ensure_future(server.wait_closed())
        await settle()
        early = waiter.done()
        await loop.sock_sendall(sock, b"still served")
        answer = await loop.sock_recv(sock, 100)
        sock.close()
        await made[0].lost
        await waiter
        refused = False
        try:
            connected(address).close()
        except ConnectionRefusedError:
            refused = True
        return early, answer, refused

    same(scenario)


@pytest.mark.skipif(not SINCE_3_13, reason="needs Python 3.13")
@pytest.mark.parametrize("method", ["close_clients", "abort_clients"])
def test_clients_can_be_ended(method):
    async def scenario(reports):
        made, factory = collected(Recorder)
        server, address = await start(factory)
        socks = [connected(address) for _ in range(5)]
        await until(lambda: len(made) == 5 and all(p.transport for p in made))
        server.close()
        getattr(server, method)()
        await server.wait_closed()
        ended = [sock.recv(10) for sock in socks]
        for sock in socks:
            sock.close()
        return ended, [p.lost.done() for p in made]

    same(scenario)


def test_a_server_of_several_hosts_and_its_ports():
    async def scenario(reports):
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Recorder, ["127.0.0.1", "127.0.0.2"], 0)
        hosts = sorted(sock.getsockname()[0] for sock in server.sockets)
        for sock in server.sockets:
            connected(sock.getsockname()).close()
        await settle()
        server.close()
        await server.wait_closed()
        return hosts

    assert same(scenario)[0] == ["127.0.0.1", "127.0.0.2"]


@pytest.mark.parametrize(
    "options",
    [
        {"backlog": 0},
        {"backlog": 1},
        {"reuse_address": True},
        {"reuse_port": True},
        {"family": socket.AF_INET},
        {"flags": socket.AI_PASSIVE},
        {"ssl_handshake_timeout": 1},
        {"sock": None},
        {"nonsense": 1},
        pytest.param(
            {"keep_alive": True},
            marks=pytest.mark.skipif(not SINCE_3_13, reason="needs Python 3.13"),
        ),
    ],
    ids=str,
)
def test_options(options):
    async def scenario(reports):
        try:
            server, address = await start(Recorder, **options)
        except Exception as error:
            return type(error).__name__, normalized(str(error))
        sock = connected(address)
        option = (socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        keep_alive = server.sockets[0].getsockopt(*option)
        reuse = server.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
        sock.close()
        await settle()
        server.close()
        await server.wait_closed()
        return keep_alive, reuse

    same(scenario)


def test_a_busy_port():
    async def scenario(reports):
        server, address = await start(Recorder)
        loop = asyncio.get_running_loop()
        try:
            await loop.create_server(Recorder, *address)
        except OSError as error:
            seen = error.errno, str(error).replace(str(address[1]), "PORT")
        server.close()
        await server.wait_closed()
        return seen

    assert same(scenario)[0][0] == errno.EADDRINUSE


def test_connections_have_no_delay():
    async def scenario(reports):
        server_side = Recorder()
        async with link(Recorder(), lambda: server_side) as (transport, _):
            option = (socket.IPPROTO_TCP, socket.TCP_NODELAY)
            return [
                t.get_extra_info("socket").getsockopt(*option) != 0
                for t in (transport, server_side.transport)
            ]

    assert same(scenario)[0] == [True, True]


def test_an_accepted_socket_can_be_adopted():
    async def scenario(reports):
        loop = asyncio.get_running_loop()
        listening = socket.create_server(("127.0.0.1", 0))
        near = connected(listening.getsockname())
        accepted, _ = listening.accept()
        protocol = Recorder()
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, accepted)
        near.send(b"hello")
        await until(lambda: protocol.received)
        transport.close()
        await protocol.lost
        near.close()
        listening.close()
        return bytes(protocol.received)

    assert same(scenario)[0] == b"hello"


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("proto", [0, socket.IPPROTO_TCP])
def test_accepted_sockets_show_the_protocol_of_the_listening_one(proto, debug):
    """A socket that a program has made has none, usually; create_server() makes it for TCP."""

    async def scenario(reports):
        loop = asyncio.get_running_loop()
        loop.set_debug(debug)
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, proto)
        listening.bind(("127.0.0.1", 0))
        made, factory = collected(Recorder)
        server = await loop.create_server(factory, sock=listening)
        with connected(listening.getsockname()):
            await until(lambda: made and made[0].transport)
            sock = made[0].transport.get_extra_info("socket")
            seen = sock.family, sock.type, sock.proto, sock.gettimeout()
            made[0].transport.abort()
            await made[0].lost
        server.close()
        await server.wait_closed()
        return seen

    assert same(scenario)[0][2] == proto


def test_a_listening_socket_that_accepts_by_itself_is_asked():
    """A subclass may do something of its own in accept(), which a program counts on."""

    class Counts(socket.socket):
        accepted = 0

        def accept(self):
            if self.accepted == 2:
                raise PermissionError(errno.EPERM, "two are enough")
            answer = super().accept()
            self.accepted += 1
            return answer

    async def scenario(reports):
        loop = asyncio.get_running_loop()
        listening = Counts()
        listening.bind(("127.0.0.1", 0))
        made, factory = collected(Recorder)
        server = await loop.create_server(factory, sock=listening)
        clients = [connected(listening.getsockname()) for _ in range(3)]
        await until(lambda: len(made) == 2 and all(one.transport for one in made))
        server.close()
        for protocol in made:
            protocol.transport.abort()
            await protocol.lost
        for client in clients:
            client.close()
        await server.wait_closed()
        told = {report[1] for report in reports}
        reports.clear()  # As many as there were turns.
        return listening.accepted, len(made), told

    accepted, connections, told = same(scenario)[0]
    assert (accepted, connections) == (2, 2)
    assert "PermissionError" in told.pop()


@pytest.mark.only_hotloop("asyncio's transport of such a connection fails in its finalizer")
@pytest.mark.skipif(
    sys.version_info < (3, 12), reason="needs Python 3.12: tasks that begin at once"
)
def test_a_server_closed_while_it_accepts_takes_no_connection_of_another(loop, loop_reports):
    """Its number may be another listening socket's by then."""
    loop.set_task_factory(asyncio.eager_task_factory)
    loop.set_debug(True)  # Connections are accepted by tasks.
    others, clients, is_reused = [], [], []

    def factory():
        fd = server.sockets[0].fileno()
        server.close()
        others.append(socket.create_server(("127.0.0.1", 0)))
        others[0].setblocking(False)
        is_reused.append(others[0].fileno() == fd)
        clients.append(connected(others[0].getsockname()))
        return asyncio.Protocol()

    async def main():
        nonlocal server
        server, address = await start(factory)
        clients.extend(connected(address) for _ in range(2))
        await until(lambda: others)
        await settle()

    server = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # Of the connection that has no server.
        loop.run_until_complete(main())
        error = loop_reports.take()[-1]["exception"]
        gc.collect()
    accepted, _ = others[0].accept()  # Nobody else has taken it.
    for sock in (accepted, *others, *clients):
        sock.close()
    assert is_reused == [True]
    assert error.errno == errno.EBADF


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("error", [ValueError, OSError, asyncio.CancelledError])
def test_a_factory_that_fails(error, debug):
    async def scenario(reports):
        loop = asyncio.get_running_loop()
        loop.set_debug(debug)
        calls = []

        def factory():
            calls.append(1)
            if len(calls) == 1:
                raise error("no protocol")
            return Recorder()

        server, address = await start(factory)
        first, second = connected(address), connected(address)
        await until(lambda: len(calls) == 2)
        await settle()
        gc.collect()
        ended = first.recv(10)
        try:
            alive = second.recv(10)
        except BlockingIOError:
            alive = "open"
        first.close()
        second.close()
        await settle()
        server.close()
        await server.wait_closed()
        return ended, alive

    import warnings

    with warnings.catch_warnings():
        # asyncio leaves the socket to the garbage collector, which warns.
        warnings.simplefilter("ignore", ResourceWarning)
        (seen, reports) = same(scenario)
    assert seen == (b"", "open")
    assert bool(reports) == debug


@pytest.mark.skipif(not SINCE_3_13, reason="needs Python 3.13")
def test_the_set_of_clients():
    async def scenario(reports):
        made, factory = collected(Recorder)
        server, address = await start(factory)
        socks = [connected(address) for _ in range(4)]
        await until(lambda: len(made) == 4 and all(p.transport for p in made))
        clients = server._clients
        transports = [p.transport for p in made]
        seen = [
            len(clients),
            {transports.index(t) for t in clients} == {0, 1, 2, 3},
            len(list(clients.copy())),
            [t in clients for t in transports],
            object() in clients,
        ]
        transports[1].abort()
        await made[1].lost
        seen += [len(clients), transports[1] in clients]
        clients.discard(transports[2])
        clients.discard(transports[2])
        clients.discard(transports[1])
        seen += [len(clients), {transports.index(t) for t in clients} == {0, 3}]
        clients.add(transports[2])
        clients.add(transports[2])

        class Other:
            def close(self):
                seen.append("closed")

        other = Other()
        clients.add(other)
        seen += [len(clients), other in clients]
        server.close_clients()
        del other
        gc.collect()
        for protocol in made:
            await protocol.lost
        seen.append(len(clients))
        server.close()
        await server.wait_closed()
        for sock in socks:
            sock.close()
        return seen

    same(scenario)


def test_the_type_of_a_server(loop):
    import hotloop

    server, _ = loop.run_until_complete(start(Recorder))
    server.close()
    loop.run_until_complete(server.wait_closed())
    assert isinstance(server, asyncio.base_events.Server)
    assert (type(server) is hotloop.Server) == isinstance(loop, hotloop.Loop)


# -- unix sockets ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["str", "bytes", "PathLike", "abstract"])
def test_unix_names(kind, tmp_path):
    counter = iter("ab")

    async def scenario(reports):
        loop = asyncio.get_running_loop()
        path = tmp_path / next(counter)
        name = {
            "str": str(path),
            "bytes": os.fsencode(path),
            "PathLike": path,
            "abstract": f"\0hotloop-test-{os.getpid()}-{path.name}",
        }[kind]
        shouting = {"data": lambda protocol, data: protocol.transport.write(data.upper())}
        made, factory = collected(lambda: Recorder(**shouting))
        server = await loop.create_unix_server(factory, name)
        client = Recorder()
        transport, _ = await loop.create_unix_connection(lambda: client, name)
        transport.write(b"hello")
        await until(lambda: client.received)
        names = [
            type(value).__name__
            for value in (
                transport.get_extra_info("peername"),
                transport.get_extra_info("sockname"),
                made[0].transport.get_extra_info("peername"),
                made[0].transport.get_extra_info("sockname"),
            )
        ]
        empty = transport.get_extra_info("sockname"), made[0].transport.get_extra_info("peername")
        transport.close()
        await client.lost
        server.close()
        await server.wait_closed()
        return bytes(client.received), names, empty, path.exists()

    assert same(scenario)[0][0] == b"HELLO"


# -- overload ----------------------------------------------------------------------------------


@pytest.mark.only_hotloop("asyncio reports once for each connection that it tried to accept")
def test_out_of_descriptors_pauses_with_one_report(loop, loop_reports):
    async def main():
        made, factory = collected(Recorder)
        server, address = await start(factory, backlog=100)
        # Clients of another process: accepting is all that needs descriptors here.
        client = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import socket, sys\n"
                f"socks = [socket.create_connection({address!r}) for _ in range(20)]\n"
                "print('connected', flush=True)\n"
                "sys.stdin.read()\n",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with descriptor_limit(5):
            await asyncio.to_thread(client.stdout.readline)
            await asyncio.sleep(0.3)
            contexts = loop_reports.take()
            accepted = len(made)
        # With descriptors again, it goes on by itself.
        await until(lambda: len(made) == 20)
        await until(lambda: all(p.transport for p in made))
        client.communicate()
        for protocol in made:
            await protocol.lost
        server.close()
        await server.wait_closed()
        return contexts, accepted

    contexts, accepted = loop.run_until_complete(main())
    assert accepted <= 6
    assert [context["message"] for context in contexts] == [
        "socket.accept() out of system resource"
    ]
    assert contexts[0]["exception"].errno == errno.EMFILE


@pytest.mark.only_hotloop("the bound is hotloop's")
def test_a_storm_of_connections_leaves_time_for_others(loop):
    async def main():
        turns = []
        made = []

        def factory():
            made.append(turns[-1])
            return Recorder()

        server, address = await start(factory, backlog=500)
        socks = [connected(address) for _ in range(200)]

        def tick():
            turns.append(len(turns))
            if len(made) < 200:
                loop.call_soon(tick)

        tick()
        await until(lambda: len(made) == 200)
        for sock in socks:
            sock.close()
        await settle(20)
        server.close()
        await server.wait_closed()
        return max(made.count(turn) for turn in set(made))

    assert loop.run_until_complete(main()) <= 64


@contextlib.contextmanager
def many_descriptors(count):
    """Allow this process so many descriptors."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(count, before[0]), before[1]), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


OTHERS = 999


@pytest.mark.timeout(30)
def test_one_busy_connection_does_not_starve_999_others(loop):
    """A sender that always has more gets one read of at most 256 KiB a turn.

    All others are answered within the turns that it takes to collect that many events, at most
    256 in each, and one for what was sent after the first of them was collected.
    """

    async def main():
        near, far = socket.socketpair()
        far.setblocking(False)
        sizes = []

        class Busy(asyncio.Protocol):
            def data_received(self, data):
                sizes.append(len(data))
                with contextlib.suppress(BlockingIOError):
                    while True:
                        far.send(b"x" * 65536)

        transport, _ = await loop.create_connection(Busy, sock=near)
        far.send(b"x")
        await until(lambda: sizes)
        others = []
        for _ in range(OTHERS):
            one, two = socket.socketpair()
            protocol = Recorder(data=lambda p, data: p.transport.write(data))
            await loop.create_connection(lambda: protocol, sock=one)  # noqa: B023
            two.setblocking(False)
            others.append((protocol, two))
        for _, sock in others:
            sock.send(b"ping")
        before, turns = len(sizes), 0
        while not all(protocol.received for protocol, _ in others):
            await asyncio.sleep(0)
            turns += 1
        spent = len(sizes) - before
        answers = {sock.recv(10) for _, sock in others}
        transport.abort()
        for protocol, sock in others:
            protocol.transport.abort()
            sock.close()
        await settle()
        far.close()
        return spent, turns, max(sizes), answers

    with many_descriptors(2 * OTHERS + 200):
        spent, turns, largest, answers = loop.run_until_complete(main())
    assert answers == {b"ping"}
    assert turns <= -(-OTHERS // 256) + 1
    assert spent <= turns
    assert largest <= 256 * 1024


def test_a_peer_that_does_not_read_stops_the_writer(loop):
    async def main():
        near, far = socket.socketpair()
        state = {"paused": False, "pauses": 0}

        class Writer(asyncio.Protocol):
            def pause_writing(self):
                state["paused"] = True
                state["pauses"] += 1

            def resume_writing(self):
                state["paused"] = False

        transport, _ = await loop.create_connection(Writer, sock=near)
        largest = 0
        deadline = time.monotonic() + 0.2
        while time.monotonic() < deadline:
            if not state["paused"]:
                transport.write(b"x" * 1000)
            largest = max(largest, transport.get_write_buffer_size())
            await asyncio.sleep(0)
        transport.abort()
        await settle()
        far.close()
        return largest, state["pauses"]

    largest, pauses = loop.run_until_complete(main())
    assert pauses == 1
    assert largest <= 64 * 1024 + 1000


@pytest.mark.parametrize("kind", ["tcp", "tls", "unix", "child"])
def test_a_consumer_that_does_not_read_stops_its_peer(loop, kind, tmp_path):
    """What nobody takes out of a StreamReader stays with the sender, not in this process."""
    limit = 64 * 1024

    async def ends(stack):
        """A reader of that kind, and what keeps writing to it and tells how much that was."""
        if kind == "child":
            process = await asyncio.create_subprocess_exec(
                "yes", stdout=asyncio.subprocess.PIPE, limit=limit
            )
            stack.push_async_callback(process.communicate)  # Reads on to the end of the pipe.
            stack.callback(process.kill)
            return process.stdout
        accepted = loop.create_future()

        async def serve(*streams):
            accepted.set_result(streams)

        if kind == "unix":
            server = await asyncio.start_unix_server(serve, tmp_path / "name", limit=limit)
            _, writer = await asyncio.open_unix_connection(tmp_path / "name")
        else:
            is_tls = kind == "tls"
            server = await asyncio.start_server(
                serve, "127.0.0.1", 0, limit=limit, ssl=server_context() if is_tls else None
            )
            _, writer = await asyncio.open_connection(
                *server.sockets[0].getsockname(), ssl=client_context() if is_tls else None
            )
        reader, answers = await accepted
        writer.write(b"x" * 20_000_000)
        stack.push_async_callback(server.wait_closed)
        stack.callback(server.close)
        for side in (writer, answers):
            stack.callback(lambda side: side.transport.abort(), side)
        return reader

    async def main():
        async with contextlib.AsyncExitStack() as stack:
            reader = await ends(stack)
            await asyncio.sleep(0.2)
            kept = len(reader._buffer)
            # It goes on as soon as somebody reads.
            received = 0
            while received < 5_000_000:
                received += len(await reader.read(1 << 16))
                kept = max(kept, len(reader._buffer))
            return kept

    # The reader pauses above twice its limit, and one read can come on top of that.
    kept = loop.run_until_complete(main())
    assert 2 * limit < kept <= 2 * limit + 256 * 1024


class Listening:
    """As much of a listening socket as create_server() asks for."""

    family, type = socket.AF_INET, socket.SOCK_STREAM

    def __init__(self, descriptor):
        self.descriptor = descriptor
        self.is_closed = False

    def fileno(self):
        return self.descriptor

    def setblocking(self, flag):
        assert flag is False

    def listen(self, backlog):
        assert backlog == 100

    def close(self):
        self.is_closed = True


@pytest.mark.parametrize("descriptor", [None, "3", -1, 1.5], ids=repr)
def test_socket_without_a_descriptor_is_refused(loop, descriptor):
    """A socket whose fileno() is no descriptor raises the ValueError of asyncio's selectors."""
    sock = Listening(descriptor)

    async def main():
        with pytest.raises(ValueError, match=r"Invalid file (object|descriptor): "):
            await loop.create_server(asyncio.Protocol, sock=sock)

    loop.run_until_complete(main())


def test_a_backlog_as_large_as_a_number_can_be(loop):
    """Only private calls can give one, because listen() takes less."""

    async def scenario():
        made = loop.create_future()

        class Connected(asyncio.Protocol):
            def connection_made(self, transport):
                transport.abort()
                made.set_result(True)

        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.setblocking(False)
            loop._start_serving(Connected, listening, backlog=2**63 - 1)
            with connected(listening.getsockname()):
                await asyncio.wait_for(made, 3)
                await settle()
            loop._remove_reader(listening)

    loop.run_until_complete(scenario())
