"""Rows about what a loop costs before and beside the work: starting, importing, memory."""

import asyncio
import gc
import os
import statistics
import subprocess
import sys
import time

from benchmarks import loops
from benchmarks.registry import NotApplicable, row

MANY = 10_000


@row(unit="us")
def runner_startup(case):
    """One asyncio.Runner made with the loop's factory, running a trivial coroutine, closed."""

    async def main():
        pass

    with case.timed():
        for _ in range(case.passes):
            with asyncio.Runner(loop_factory=case.new_loop) as runner:
                runner.run(main())


def _import_ms(case, already, measured):
    """Median CPU time in ms of importing `measured` after `already`, in fresh interpreters."""
    program = (
        f"import time{''.join(', ' + name for name in already)}\n"
        "start = time.process_time_ns()\n"
        f"import {', '.join(measured)}\n"
        "print(time.process_time_ns() - start)\n"
    )
    # With bytecode, as installed packages have it, whatever the caller's environment says.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}

    def import_once():
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        return int(done.stdout) / 1e6

    import_once()  # writes the bytecode and fills the page cache
    deadline = time.monotonic() + case.seconds
    samples = [import_once()]
    while time.monotonic() < deadline:
        samples.append(import_once())
    return statistics.median(samples)


@row(unit="ms")
def import_time(case):
    """The import of asyncio and the loop's module in a fresh interpreter."""
    return _import_ms(case, [], ["asyncio", loops.module_name(case.loop_name)])


@row(unit="ms")
def import_beyond_asyncio(case):
    """The import of the loop's module in a fresh interpreter that has imported asyncio."""
    module = loops.module_name(case.loop_name)
    if module == "asyncio":
        raise NotApplicable("this row starts where importing asyncio ends")
    return _import_ms(case, ["asyncio"], [module])


def resident_bytes():
    """Return the resident memory of this process."""
    with open("/proc/self/statm", "rb") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def _bytes_per_task(case, make_coroutine):
    """Growth of the resident memory per waiting task."""
    gc.collect()
    before = resident_bytes()
    tasks = [case.loop.create_task(make_coroutine()) for _ in range(MANY)]
    await asyncio.sleep(0)
    grown = resident_bytes() - before
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return grown / MANY


@row(unit="B")
async def mem_task_sleeping(case):
    """One of 10,000 tasks that sleep for an hour, with its coroutine and timer."""

    async def sleeper():
        await asyncio.sleep(3600)

    return await _bytes_per_task(case, sleeper)


@row(unit="B")
async def mem_task_on_future(case):
    """One of 10,000 tasks that wait for a future of their own, with coroutine and future."""
    create_future = case.loop.create_future

    async def waiter():
        await create_future()

    return await _bytes_per_task(case, waiter)
