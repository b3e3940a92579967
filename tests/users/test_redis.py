"""redis-py's asyncio client against redis-server, over TCP, a Unix socket and TLS."""

import asyncio
import random

import pytest
import redis.asyncio

from . import content

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(params=["tcp", "unix", "tls"])
def way(request, redis_server):
    """The client's arguments for one way to the server."""
    return redis_server.ways[request.param]


@pytest.fixture
def run(way, loop_factory):
    """Run a coroutine function with a client, on an empty database."""

    def run_client(main):
        async def whole():
            async with redis.asyncio.Redis(**way) as client:
                await client.flushall()
                await main(client)
                assert await client.ping()

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(whole())

    return run_client


async def set_and_get(client, key, largest=20_000):
    """A value goes to the server and comes back."""
    value = content.data(random.Random(key).randrange(1, largest), key)
    assert await client.set(key, value)
    assert await client.get(key) == value


def test_many_commands_at_once(run):
    async def main(client):
        async with asyncio.TaskGroup() as group:
            for key in range(40):
                group.create_task(set_and_get(client, key))
            for key in range(100, 106):
                group.create_task(set_and_get(client, key, largest=4_000_000))

    run(main)


def test_a_long_pipeline(run):
    async def main(client):
        pipeline = client.pipeline(transaction=False)
        for number in range(4000):
            pipeline.set(f"key {number}", content.data(500, number))
        assert await pipeline.execute() == [True] * 4000
        values = await client.mget([f"key {number}" for number in range(4000)])
        assert values == [content.data(500, number) for number in range(4000)]

    run(main)


def test_published_messages_arrive_in_order(run):
    async def subscriber(client, ready):
        async with client.pubsub() as pubsub:
            await pubsub.subscribe("news")
            got = []
            async for message in pubsub.listen():
                if message["type"] == "subscribe":
                    ready.release()
                    continue
                got.append(message["data"])
                if len(got) == 300:
                    return got

    async def main(client):
        ready = asyncio.Semaphore(0)
        subscribers = [asyncio.ensure_future(subscriber(client, ready)) for _ in range(5)]
        for _ in subscribers:
            await ready.acquire()
        messages = [content.data(10 * i, i) for i in range(300)]
        for message in messages:
            assert await client.publish("news", message) == 5
        assert await asyncio.gather(*subscribers) == [messages] * 5

    run(main)


def test_waiting_for_a_list_that_is_filled_later(run):
    async def main(client):
        takers = [asyncio.ensure_future(client.blpop("list", timeout=20)) for _ in range(20)]
        await asyncio.sleep(0.05)
        await client.rpush("list", *range(20))
        taken = sorted(int(value) for _, value in await asyncio.gather(*takers))
        assert taken == list(range(20))
        assert await client.blpop("nothing", timeout=0.1) is None

    run(main)


def test_cancelled_commands_mix_nothing_up(run):
    async def main(client):
        rng = random.Random(5)
        for turn in range(15):
            victims = [
                asyncio.ensure_future(set_and_get(client, key, rng.choice((100, 2_000_000))))
                for key in range(10 * turn, 10 * turn + 8)
            ]
            waiting = asyncio.ensure_future(client.blpop("nothing", timeout=20))
            await asyncio.sleep(rng.random() * 0.02)
            for victim in (*victims[::2], waiting):
                victim.cancel()
            await set_and_get(client, 10_000 + turn)
            results = await asyncio.gather(*victims, waiting, return_exceptions=True)
            for result in results:
                assert result is None or isinstance(result, asyncio.CancelledError), repr(result)

    run(main)


def test_a_time_limit_on_a_command(run, way, loop_factory):
    async def main(client):
        async with redis.asyncio.Redis(**way, socket_timeout=0.2, retry=None) as impatient:
            with pytest.raises(redis.exceptions.TimeoutError):
                await impatient.execute_command("BLPOP", "nothing", 5)
            await set_and_get(impatient, 1)

    run(main)


def test_a_killed_connection_is_opened_again(run):
    async def main(client):
        async with client.client() as victim:
            identity = await victim.client_id()
            await client.execute_command("CLIENT", "KILL", "ID", identity)
            await set_and_get(victim, 1)

    run(main)
