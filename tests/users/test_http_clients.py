"""HTTP clients on the loop, against a server of threads: aiohttp's and httpx's.

Both are asked the same through two small adapters. Each test ends with requests that must be right,
so that nothing before it can have put a connection out of step.
"""

import asyncio
import io
import random
import socket
import ssl

import aiohttp
import httpx
import pytest

from . import content, thread_server

pytestmark = pytest.mark.timeout(60)


class Aiohttp:
    """aiohttp's client session."""

    timeout_error = asyncio.TimeoutError
    broken_error = (aiohttp.ClientPayloadError, aiohttp.ClientOSError)
    refused_error = aiohttp.ClientConnectorError

    def __init__(self, tls, connections):
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, ssl=tls if tls else True)
        )

    async def get(self, url, seconds=30):
        timeout = aiohttp.ClientTimeout(total=seconds)
        async with self.session.get(url, timeout=timeout) as response:
            return await response.read()

    async def get_in_parts(self, url):
        """Read slowly, so that the transport has to be paused."""
        parts = []
        async with self.session.get(url) as response:
            async for part in response.content.iter_chunked(20_000):
                parts.append(part)
                await asyncio.sleep(0)
        return b"".join(parts)

    async def post(self, url, body):
        if isinstance(body, bytes):
            body = io.BytesIO(body)  # It warns of large bytes.
        async with self.session.post(url, data=body) as response:
            return await response.read()

    async def close(self):
        await self.session.close()


class Httpx:
    """httpx's asynchronous client."""

    timeout_error = httpx.TimeoutException
    broken_error = (httpx.ReadError, httpx.RemoteProtocolError)
    refused_error = httpx.ConnectError

    def __init__(self, tls, connections):
        self.client = httpx.AsyncClient(
            verify=tls if tls else True,
            limits=httpx.Limits(max_connections=connections),
            timeout=30,
            trust_env=False,
        )

    async def get(self, url, seconds=30):
        return (await self.client.get(url, timeout=seconds)).content

    async def get_in_parts(self, url):
        """Read slowly, so that the transport has to be paused."""
        parts = []
        async with self.client.stream("GET", url) as response:
            async for part in response.aiter_bytes(20_000):
                parts.append(part)
                await asyncio.sleep(0)
        return b"".join(parts)

    async def post(self, url, body):
        return (await self.client.post(url, content=body)).content

    async def close(self):
        await self.client.aclose()


@pytest.fixture(params=[Aiohttp, Httpx], ids=["aiohttp", "httpx"])
def make_client(request):
    """The adapter of one library."""
    return request.param


@pytest.fixture
def run(make_client, loop_factory):
    """Run a coroutine function with a client and the server's URL, on a loop of this run's kind."""

    def run_client(main, server, tls=None, connections=8):
        async def whole():
            client = make_client(tls, connections)
            try:
                await main(client, server.url)
                await asyncio.gather(*(checked_get(client, server.url, i) for i in range(10)))
            finally:
                await client.close()
                # aiohttp lets the transports of TLS end by themselves.
                while tls and len(asyncio.all_tasks()) > 1:
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.05 if tls else 0)

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(whole())

    return run_client


def data_path(seed, largest=300_000):
    """A path and the bytes that it gives, of a size and form that the seed determines."""
    rng = random.Random(seed)
    length, offset = rng.randrange(largest), rng.randrange(100_000)
    chunk = rng.choice((0, 0, 4096, 100_000))
    return f"/data?length={length}&offset={offset}&chunk={chunk}", content.data(length, offset)


async def checked_get(client, url, seed, **options):
    """A request whose answer must be right."""
    path, expected = data_path(seed, **options)
    assert await client.get(url + path) == expected


async def checked_get_in_parts(client, url, seed):
    """A large answer that is read slowly."""
    path = f"/data?length=3000000&offset={seed}&chunk={(0, 30_000)[seed % 2]}"
    assert await client.get_in_parts(url + path) == content.data(3_000_000, seed)


async def checked_post(client, url, seed):
    """A large body, whole or as chunks that are made while they are sent."""
    body = content.data(random.Random(seed).randrange(2_000_000), seed)

    async def parts():
        for at in range(0, len(body), 70_000):
            yield body[at : at + 70_000]
            await asyncio.sleep(0)

    assert await client.post(url + "/echo", parts() if seed % 2 else body) == body


async def mixed_load(client, url):
    """Requests of every kind, all at once."""
    async with asyncio.TaskGroup() as group:
        for seed in range(60):
            group.create_task(checked_get(client, url, seed))
        for seed in range(8):
            group.create_task(checked_post(client, url, seed))
            group.create_task(checked_get_in_parts(client, url, seed))


def test_every_body_arrives_whole(run):
    with thread_server.serve() as server:
        run(mixed_load, server)
        assert server.connections <= 9  # They are kept and used again.


def test_tls(run, certificates):
    with thread_server.serve(certificates.server()) as server:
        run(mixed_load, server, certificates.client())


def test_a_certificate_that_is_not_trusted_is_refused(run, make_client, certificates):
    async def main(client, url):
        stranger = make_client(ssl.create_default_context(), 1)
        with pytest.raises((aiohttp.ClientConnectorCertificateError, httpx.ConnectError)):
            await stranger.get(url + "/data?length=1&offset=0&chunk=0")
        await stranger.close()

    with thread_server.serve(certificates.server()) as server:
        run(main, server, certificates.client())


def test_a_timeout_leaves_the_client_usable(run, make_client):
    async def late(client, url):
        with pytest.raises(make_client.timeout_error):
            await client.get(url + "/sleep?milliseconds=600", seconds=0.1)

    async def main(client, url):
        await asyncio.gather(*(late(client, url) for _ in range(8)), checked_get(client, url, 1))

    with thread_server.serve() as server:
        run(main, server)


async def cancel_anywhere(client, url):
    """Requests are cancelled at any point, while others go on and must get their own bytes."""
    rng = random.Random(3)
    for _ in range(15):
        kinds = (checked_get, checked_post, checked_get_in_parts)
        victims = [asyncio.ensure_future(rng.choice(kinds)(client, url, i)) for i in range(6)]
        await asyncio.sleep(rng.random() * 0.03)
        for victim in victims:
            victim.cancel()
        await checked_get(client, url, rng.randrange(100))
        for result in await asyncio.gather(*victims, return_exceptions=True):
            assert result is None or isinstance(result, asyncio.CancelledError), repr(result)


def test_cancelled_requests_mix_nothing_up(run):
    with thread_server.serve() as server:
        run(cancel_anywhere, server)


# Not with httpx: what it opens a connection with forgets to close one whose handshake is cancelled.
@pytest.mark.parametrize("make_client", [Aiohttp], ids=["aiohttp"])
def test_cancelled_requests_over_tls_mix_nothing_up(run, certificates):
    with thread_server.serve(certificates.server()) as server:
        run(cancel_anywhere, server, certificates.client())


def test_a_reset_in_the_middle_of_a_body_is_reported(run, make_client):
    async def main(client, url):
        for length in (10, 2_000_000):
            with pytest.raises(make_client.broken_error):
                await client.get(f"{url}/reset?length={length}&offset=0")
            await checked_get(client, url, length)

    with thread_server.serve() as server:
        run(main, server)


def test_nobody_listening_is_reported(run, make_client):
    async def main(client, url):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            with pytest.raises(make_client.refused_error):
                await client.get(f"http://127.0.0.1:{taken.getsockname()[1]}/")

    with thread_server.serve() as server:
        run(main, server)


def test_small_pieces_with_pauses(run):
    async def main(client, url):
        paths = [f"/drip?length={1000 * i}&offset={i}" for i in range(1, 20)]
        bodies = await asyncio.gather(*(client.get(url + path) for path in paths))
        assert bodies == [content.data(1000 * i, i) for i in range(1, 20)]

    with thread_server.serve() as server:
        run(main, server)
