"""QUIC by aioquic, a server and clients on the loop: what uses datagrams in earnest."""

import asyncio
import contextlib
import random

import pytest
from aioquic.asyncio import QuicConnectionProtocol, connect, serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamDataReceived

from . import content

pytestmark = pytest.mark.timeout(60)


class Echo(QuicConnectionProtocol):
    """The server's side: every stream goes back as it comes."""

    def quic_event_received(self, event):
        if isinstance(event, StreamDataReceived):
            self._quic.send_stream_data(event.stream_id, event.data, event.end_stream)


class Client(QuicConnectionProtocol):
    """The client's side: one body for each stream, and what has come back of it."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self._streams = {}

    def quic_event_received(self, event):
        if isinstance(event, StreamDataReceived):
            received, ended = self._streams[event.stream_id]
            received.append(event.data)
            if event.end_stream and not ended.done():
                ended.set_result(None)
        elif isinstance(event, ConnectionTerminated):
            for _, ended in self._streams.values():
                ended.cancel()

    async def converse(self, seed, length):
        """Send a body on a new stream and compare what comes back."""
        body = content.data(length, seed)
        stream = self._quic.get_next_available_stream_id()
        received, ended = self._streams[stream] = [], self._loop.create_future()
        self._quic.send_stream_data(stream, body, end_stream=True)
        self.transmit()
        await ended
        assert b"".join(received) == body


@pytest.fixture
def run(loop_factory, certificates):
    """Run a coroutine function with what opens a connection to an echo server."""
    for_server = QuicConfiguration(is_client=False)
    for_server.load_cert_chain(certificates.certificate, certificates.key)
    for_client = QuicConfiguration(is_client=True, server_name="localhost")
    for_client.load_verify_locations(certificates.authority)

    def run_server(main):
        async def whole():
            server = await serve("127.0.0.1", 0, configuration=for_server, create_protocol=Echo)
            port = server._transport.get_extra_info("sockname")[1]
            options = {"configuration": for_client, "create_protocol": Client}
            await main(lambda: connect("127.0.0.1", port, **options))
            server.close()
            await asyncio.sleep(0)

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(whole())

    return run_server


def test_many_streams_of_many_connections(run):
    async def client(open_connection, seed):
        async with open_connection() as connection, asyncio.TaskGroup() as group:
            for stream in range(5):
                group.create_task(connection.converse(seed + stream, 1 + 9_000 * stream))

    async def main(open_connection):
        await asyncio.gather(*(client(open_connection, seed) for seed in range(10)))

    run(main)


def test_more_than_a_megabyte(run):
    async def main(open_connection):
        async with open_connection() as connection:
            await connection.converse(1, 1_200_000)

    run(main)


def test_cancelled_clients_leave_the_others_alone(run):
    async def client(open_connection, seed, connected):
        async with open_connection() as connection:
            connected.release()  # What is cancelled before that loses a future of aioquic's.
            await connection.converse(seed, 300_000)

    async def main(open_connection):
        rng = random.Random(7)
        async with open_connection() as steady:
            for turn in range(5):
                connected = asyncio.Semaphore(0)
                coroutines = [client(open_connection, i, connected) for i in range(4)]
                victims = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
                for _ in victims:
                    await connected.acquire()
                await asyncio.sleep(rng.random() * 0.1)
                for victim in victims:
                    victim.cancel()
                await steady.converse(turn, 20_000)
                for victim in victims:
                    with contextlib.suppress(asyncio.CancelledError):
                        await victim

    run(main)
