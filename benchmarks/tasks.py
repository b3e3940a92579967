"""Rows about tasks and futures: switching between tasks, spawning, cancelling, gathering."""

import asyncio
import contextlib
import functools
import sys
import types

from benchmarks.registry import NotApplicable, row

HUNDRED = 100
MANY = 10_000


@types.coroutine
def bare_yield():
    """Give way for one turn of the loop, with nothing of asyncio around it."""
    yield


async def trivial():
    """A coroutine that returns at once."""


async def yield_forever():
    """What each task of yield_100tasks runs; instructions.py steps it by itself."""
    while True:
        await bare_yield()


async def sleep0_forever():
    """What each task of the sleep0 rows runs; a floor steps it by itself."""
    while True:
        await asyncio.sleep(0)


async def _give_way(case, number, run_forever, give_way):
    """Let `number` tasks give way `case.passes` times each.

    The calling task is the last of them and counts by giving way itself; the others never end of
    their own accord, so that starting and ending them is not measured.
    """
    others = [case.loop.create_task(run_forever()) for _ in range(number - 1)]
    await give_way()
    with case.timed():
        for _ in range(case.passes):
            await give_way()
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


# A partial, as a Python function around it would be measured too.
_sleep0 = functools.partial(asyncio.sleep, 0)


@row(operations_per_pass=HUNDRED, floor="coro_send")
async def yield_100tasks(case):
    """One step of one of 100 tasks that give way by a bare yield."""
    await _give_way(case, HUNDRED, yield_forever, bare_yield)


@row(floor="coro_send")
async def sleep0_1task(case):
    """One sleep(0) of a single task."""
    await _give_way(case, 1, sleep0_forever, _sleep0)


@row(operations_per_pass=HUNDRED, floor="coro_send")
async def sleep0_100tasks(case):
    """One sleep(0) of one of 100 tasks."""
    await _give_way(case, HUNDRED, sleep0_forever, _sleep0)


@row(operations_per_pass=MANY, floor="coro_send")
async def sleep0_10ktasks(case):
    """One sleep(0) of one of 10,000 tasks."""
    await _give_way(case, MANY, sleep0_forever, _sleep0)


@row(floor="coro_full")
async def spawn_await_one(case):
    """One asyncio.create_task of a trivial coroutine, awaited before the next one."""
    with case.timed():
        for _ in range(case.passes):
            await asyncio.create_task(trivial())


@row(operations_per_pass=MANY, floor="coro_full")
async def spawn_gather_10k(case):
    """One of 10,000 trivial coroutines, spawned by create_task and then gathered."""
    with case.timed():
        for _ in range(case.passes):
            await asyncio.gather(*[asyncio.create_task(trivial()) for _ in range(MANY)])


@row(operations_per_pass=HUNDRED, floor="coro_full")
async def create_task_run(case):
    """One loop.create_task of a trivial coroutine, 100 at a time, run to the end."""
    create_task = case.loop.create_task
    tasks = []
    with case.timed():
        for _ in range(case.passes):
            tasks = [create_task(trivial()) for _ in range(HUNDRED)]
            await bare_yield()  # the tasks stand before this one in the queue of the next turn
    assert all(task.done() for task in tasks)


@row()
async def spawn_cancel_await(case):
    """One task that starts to wait for a future, is cancelled and awaited."""
    loop = case.loop

    async def wait_forever():
        await loop.create_future()

    with case.timed():
        for _ in range(case.passes):
            task = asyncio.create_task(wait_forever())
            await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


@row(operations_per_pass=2, floor="coro_send")
async def future_pingpong(case):
    """One wake-up of a task by another one through a future; the two take turns."""
    loop = case.loop
    ball = [loop.create_future(), loop.create_future()]

    async def play(mine, other):
        for _ in range(case.passes):
            await ball[mine]
            ball[mine] = loop.create_future()
            ball[other].set_result(None)

    players = [loop.create_task(play(0, 1)), loop.create_task(play(1, 0))]
    await asyncio.sleep(0)
    with case.timed():
        ball[0].set_result(None)
        for player in players:
            await player


@row(operations_per_pass=HUNDRED, floor="coro_full")
async def gather_100(case):
    """One of 100 trivial coroutines given to gather."""
    with case.timed():
        for _ in range(case.passes):
            await asyncio.gather(*[trivial() for _ in range(HUNDRED)])


@row(operations_per_pass=HUNDRED, floor="coro_full")
async def taskgroup_100(case):
    """One of 100 trivial coroutines spawned in a task group."""
    with case.timed():
        for _ in range(case.passes):
            async with asyncio.TaskGroup() as group:
                for _ in range(HUNDRED):
                    group.create_task(trivial())


def _use_eager_tasks(loop):
    if sys.version_info < (3, 12):
        raise NotApplicable("needs Python 3.12: asyncio.eager_task_factory")
    loop.set_task_factory(asyncio.eager_task_factory)


@row(floor="coro_full")
async def eager_spawn_await(case):
    """One spawn_await_one under asyncio.eager_task_factory."""
    _use_eager_tasks(case.loop)
    await spawn_await_one(case)


@row(operations_per_pass=HUNDRED, floor="coro_full")
async def eager_gather_100(case):
    """One child of gather_100 under asyncio.eager_task_factory."""
    _use_eager_tasks(case.loop)
    await gather_100(case)
