"""Rows about tasks that wait for each other: queues, locks, events, semaphores."""

import asyncio

from benchmarks.registry import row


async def _hand_over(case, maxsize):
    """Pass `case.passes` items from one task to another through a queue."""
    queue = asyncio.Queue(maxsize)
    total = 0

    async def produce():
        for _ in range(case.passes):
            await queue.put(1)

    async def consume():
        nonlocal total
        for _ in range(case.passes):
            total += await queue.get()

    with case.timed():
        await asyncio.gather(produce(), consume())
    assert total == case.passes


@row()
async def queue_max1(case):
    """One item put and got through a queue of size 1, so that each item switches tasks."""
    await _hand_over(case, 1)


@row()
async def queue_max100(case):
    """One item put and got through a queue of size 100."""
    await _hand_over(case, 100)


async def _contend(case, gate, number):
    """Let `number` tasks enter the gate `case.passes` times each, giving way inside."""

    async def enter():
        for _ in range(case.passes):
            async with gate:
                await asyncio.sleep(0)

    with case.timed():
        await asyncio.gather(*[enter() for _ in range(number)])


@row(operations_per_pass=10)
async def lock_10tasks(case):
    """One acquisition of a lock that 10 tasks want, held over a sleep(0)."""
    await _contend(case, asyncio.Lock(), 10)


@row(operations_per_pass=100)
async def semaphore_100tasks_10(case):
    """One acquisition of a semaphore of 10 that 100 tasks want, held over a sleep(0)."""
    await _contend(case, asyncio.Semaphore(10), 100)


@row(operations_per_pass=2)
async def event_pingpong(case):
    """One wake-up of a task by another one through an event; the two take turns."""
    events = [asyncio.Event(), asyncio.Event()]

    async def play(mine, other):
        for _ in range(case.passes):
            await events[mine].wait()
            events[mine].clear()
            events[other].set()

    events[0].set()
    with case.timed():
        await asyncio.gather(play(0, 1), play(1, 0))
