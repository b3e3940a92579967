"""asyncpg against PostgreSQL, over TCP, a Unix socket and TLS (which is a start_tls)."""

import asyncio
import random

import asyncpg
import pytest

from . import content

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(params=["tcp", "unix", "tls"])
def way(request, postgresql):
    """The arguments of connect() for one way to the server."""
    return postgresql.ways[request.param]


@pytest.fixture
def run(way, loop_factory):
    """Run a coroutine function with a pool of connections, which must all be given back."""

    def run_pool(main, size=6):
        async def whole():
            async with asyncpg.create_pool(**way, min_size=2, max_size=size) as pool:
                await main(pool)
                assert await pool.fetchval("select 1 + 1") == 2
                async with asyncio.timeout(10):
                    while pool.get_idle_size() != pool.get_size():
                        await asyncio.sleep(0.01)

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(whole())

    return run_pool


async def echo(pool, seed, largest=20_000):
    """Bytes go to the server and come back."""
    body = content.data(random.Random(seed).randrange(largest), seed)
    assert await pool.fetchval("select $1::bytea", body) == body


def test_many_queries_at_once(run):
    async def rows(pool, seed):
        count = 100 * (seed % 7)
        found = await pool.fetch(
            "select i, md5(i::text) m from generate_series(1, $1::int) i", count
        )
        assert [row["i"] for row in found] == list(range(1, count + 1))

    async def main(pool):
        async with asyncio.TaskGroup() as group:
            for seed in range(150):
                group.create_task(echo(pool, seed))
                group.create_task(rows(pool, seed))
            for seed in range(4):
                group.create_task(echo(pool, seed, largest=5_000_000))

    run(main)


def test_transactions_and_a_cursor(run):
    async def add(pool, seed):
        async with pool.acquire() as connection, connection.transaction():
            before = await connection.fetchval("select n from counted for update")
            await connection.execute("update counted set n = $1", before + seed)

    async def main(pool):
        await pool.execute("drop table if exists counted; create table counted as select 0 as n")
        await asyncio.gather(*(add(pool, seed) for seed in range(60)))
        assert await pool.fetchval("select n from counted") == sum(range(60))
        async with pool.acquire() as connection, connection.transaction():
            seen = [
                row["i"]
                async for row in connection.cursor(
                    "select i, repeat('x', 50) from generate_series(1, 20000) i", prefetch=700
                )
            ]
        assert seen == list(range(1, 20001))

    run(main)


def test_copying_in_and_out(run):
    """COPY both ways: more than a megabyte, by a source and a sink that are slow at times."""
    lines = [b"%d\t%s\n" % (i, content.data(60, i).hex().encode()) for i in range(15_000)]

    async def source():
        for at in range(0, len(lines), 500):
            yield b"".join(lines[at : at + 500])
            await asyncio.sleep(0)

    async def main(pool):
        received = []

        async def sink(part):
            received.append(part)
            if len(received) % 10 == 0:
                await asyncio.sleep(0.001)

        async with pool.acquire() as connection:
            await connection.execute("create temporary table copied (i int, t text)")
            status = await connection.copy_to_table("copied", source=source())
            assert status == "COPY 15000"
            await connection.copy_from_query("select * from copied order by i", output=sink)
        assert b"".join(received) == b"".join(lines)

    run(main)


def test_notifications_arrive_in_order(run):
    async def main(pool):
        got = asyncio.Queue()
        async with pool.acquire() as listening:
            await listening.add_listener("news", lambda *event: got.put_nowait(event[-1]))
            for number in range(100):
                await pool.execute(f"notify news, '{number}'")
            assert [await got.get() for _ in range(100)] == [str(n) for n in range(100)]
            await listening.reset()

    run(main)


def test_a_query_that_times_out_leaves_its_connection_usable(run):
    async def late(pool):
        with pytest.raises(asyncio.TimeoutError):
            await pool.execute("select pg_sleep(30)", timeout=0.1)

    async def main(pool):
        await asyncio.gather(*(late(pool) for _ in range(6)), *(echo(pool, i) for i in range(20)))

    run(main)


def bear_lost_upgrade(loop, context):
    """Hide what asyncpg leaves behind when it is cancelled while it asks for TLS."""
    if str(context.get("exception")) != "unexpected connection_lost() call":
        loop.default_exception_handler(context)


def test_cancelled_queries_mix_nothing_up(run):
    async def main(pool):
        asyncio.get_running_loop().set_exception_handler(bear_lost_upgrade)
        rng = random.Random(4)
        for _ in range(12):
            victims = [
                asyncio.ensure_future(echo(pool, i, rng.choice((100, 3_000_000)))) for i in range(8)
            ]
            await asyncio.sleep(rng.random() * 0.02)
            for victim in victims[::2]:
                victim.cancel()
            await echo(pool, rng.randrange(1000))
            for result in await asyncio.gather(*victims, return_exceptions=True):
                assert result is None or isinstance(result, asyncio.CancelledError), repr(result)

    run(main)


def test_a_killed_backend_is_reported(run):
    async def main(pool):
        async with pool.acquire() as victim:
            sleeping = asyncio.ensure_future(victim.execute("select pg_sleep(30)"))
            await asyncio.sleep(0.05)
            pid = victim.get_server_pid()
            assert await pool.fetchval("select pg_terminate_backend($1)", pid)
            with pytest.raises((asyncpg.AdminShutdownError, asyncpg.ConnectionDoesNotExistError)):
                await sleeping
        await asyncio.gather(*(echo(pool, i) for i in range(20)))

    run(main)
