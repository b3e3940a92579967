"""websockets' asyncio server and client, both on the loop, in one process."""

import asyncio
import contextlib
import random

import pytest
import websockets
from websockets.asyncio.client import connect
from websockets.asyncio.server import broadcast, serve

from . import content

pytestmark = pytest.mark.timeout(60)


async def echo(connection):
    """Send every message back, until the client goes, however it does."""
    with contextlib.suppress(websockets.ConnectionClosedError):
        async for message in connection:
            await connection.send(message)


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def tls(request, certificates):
    """What serve() and connect() take for TLS."""
    if not request.param:
        return {}, {}
    return {"ssl": certificates.server()}, {"ssl": certificates.client()}


@pytest.fixture
def run(loop_factory, tls):
    """Run a coroutine function with a server and what opens a connection to it."""

    def run_server(main, handler=echo):
        async def whole():
            for_server, for_client = tls
            options = {"max_size": None, "close_timeout": 0.1}
            async with serve(handler, "127.0.0.1", 0, **options, **for_server) as server:
                port = server.sockets[0].getsockname()[1]
                scheme = "wss" if for_client else "ws"

                def open_connection(**more):
                    url = f"{scheme}://localhost:{port}/"
                    return connect(url, proxy=None, **options, **for_client, **more)

                await main(server, open_connection)

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(whole())

    return run_server


async def converse(connection, seed, largest=3000, count=20):
    """Messages of random lengths, sent and received at the same time."""
    rng = random.Random(seed)
    messages = [content.data(rng.randrange(largest), i) for i in range(count)]

    async def send():
        for message in messages:
            await connection.send(message)

    async with asyncio.TaskGroup() as group:
        group.create_task(send())
        assert [await connection.recv() for _ in messages] == messages


@pytest.mark.parametrize("compression", ["deflate", None])
def test_many_conversations_at_once(run, compression):
    async def client(open_connection, seed):
        async with open_connection(compression=compression) as connection:
            await converse(connection, seed)
            await converse(connection, seed, largest=1_000_000 if seed < 3 else 30_000, count=5)
            await (await connection.ping())

    async def main(server, open_connection):
        await asyncio.gather(*(client(open_connection, seed) for seed in range(40)))

    run(main)


def test_a_slow_reader_stops_the_writer(run):
    sent = []

    async def flood(connection):
        for number in range(200):
            await connection.send(content.data(100_000, number))
            sent.append(number)

    async def main(server, open_connection):
        async with open_connection(compression=None, max_queue=1) as connection:
            await asyncio.sleep(0.3)
            assert len(sent) < 190  # 20 MB do not fit into the kernel's buffers.
            for number in range(200):
                assert await connection.recv() == content.data(100_000, number)

    run(main, flood)


def test_a_broadcast_reaches_everybody(run):
    async def main(server, open_connection):
        connections = await asyncio.gather(*(open_connection() for _ in range(30)))
        messages = [content.data(1000 * i, i) for i in range(50)]
        for message in messages:
            broadcast(server.connections, message)
        for connection in connections:
            assert [await connection.recv() for _ in messages] == messages
        await asyncio.gather(*(connection.close() for connection in connections))

    run(main)


def test_cancelled_clients_leave_the_others_alone(run):
    async def client(open_connection, seed):
        async with open_connection() as connection:
            await converse(connection, seed, largest=200_000, count=100)

    async def main(server, open_connection):
        rng = random.Random(6)
        async with open_connection() as steady:
            for _ in range(4):
                victims = [asyncio.ensure_future(client(open_connection, i)) for i in range(6)]
                await asyncio.sleep(rng.random() * 0.05)
                for victim in victims:
                    victim.cancel()
                await converse(steady, rng.randrange(100))
                results = await asyncio.gather(*victims, return_exceptions=True)
                assert {type(result) for result in results} <= {
                    type(None),
                    asyncio.CancelledError,
                    ExceptionGroup,
                }, results

    run(main)


def test_a_server_that_closes_tells_its_clients(run):
    async def main(server, open_connection):
        connections = await asyncio.gather(*(open_connection() for _ in range(20)))
        server.close()
        await server.wait_closed()
        for connection in connections:
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await connection.recv()
            assert closed.value.rcvd.code == 1001

    run(main)


def test_a_connection_that_is_cut_is_noticed(run):
    async def main(server, open_connection):
        async with open_connection() as connection:
            await converse(connection, 1)
            (on_server,) = server.connections
            on_server.transport.abort()
            with pytest.raises(websockets.ConnectionClosedError):
                await connection.recv()

    run(main)
