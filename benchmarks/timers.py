"""Rows about deadlines: timers, timeouts and sleeping tasks."""

import asyncio
import random

from benchmarks.registry import row

MANY = 10_000
# The same for each loop: deadlines that are distinct and in no order.
_random = random.Random(1)
FRACTIONS = [_random.random() for _ in range(MANY)]
FAR = 3_600.0  # seconds, a deadline that no run reaches


@row(operations_per_pass=MANY)
def timer_sched_cancel_10k(case):
    """One of 10,000 timers scheduled by call_later for far deadlines and then cancelled."""
    loop = case.loop

    def schedule_and_cancel():
        timers = [loop.call_later(FAR * (1 + fraction), int) for fraction in FRACTIONS]
        for timer in timers:
            timer.cancel()

    async def passes():
        for _ in range(case.passes):
            schedule_and_cancel()
            await asyncio.sleep(0)

    with case.timed():
        loop.run_until_complete(passes())


@row(operations_per_pass=MANY)
def timer_fire_10k(case):
    """One of 10,000 timers scheduled by call_later within 30 ms, waited for and run."""
    loop = case.loop

    def schedule(all_ran):
        left = MANY

        def fire():
            nonlocal left
            left -= 1
            if left == 0:
                all_ran.set_result(None)

        for fraction in FRACTIONS:
            loop.call_later(0.03 * fraction, fire)

    async def passes():
        for _ in range(case.passes):
            all_ran = loop.create_future()
            schedule(all_ran)
            await all_ran

    with case.timed():
        loop.run_until_complete(passes())


@row(operations_per_pass=MANY)
async def sleep1ms_10k(case):
    """One of 10,000 gathered coroutines that each sleep for a millisecond."""
    with case.timed():
        for _ in range(case.passes):
            await asyncio.gather(*[asyncio.sleep(0.001) for _ in range(MANY)])


async def _done():
    pass


@row()
async def wait_for_coro(case):
    """One wait_for with a timeout around a coroutine that returns without waiting."""
    with case.timed():
        for _ in range(case.passes):
            await asyncio.wait_for(_done(), FAR)


@row()
async def wait_for_future(case):
    """One wait_for with a timeout around a future that a callback resolves in the next turn."""
    loop = case.loop
    with case.timed():
        for _ in range(case.passes):
            future = loop.create_future()
            loop.call_soon(future.set_result, None)
            await asyncio.wait_for(future, FAR)


@row()
async def timeout_sleep0(case):
    """One `async with asyncio.timeout()` around a sleep(0)."""
    with case.timed():
        for _ in range(case.passes):
            async with asyncio.timeout(FAR):
                await asyncio.sleep(0)
