"""Limits on how long to wait.

asyncio.timeout() limits a block, asyncio.wait_for() one awaitable. When the time is over, what is
being awaited is cancelled and the waiter gets TimeoutError. asyncio.shield() protects a task from
that: only the wait ends, and the task can be awaited again.
"""

import asyncio


async def work(seconds):
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        print(f"Work of {seconds} s was cancelled.")
        raise
    return f"work of {seconds} s"


async def main():
    async with asyncio.timeout(5):
        print(f"In time: {await work(0.1)}")
    try:
        async with asyncio.timeout(0.2):
            await work(3600)
    except TimeoutError:
        print("The block took too long.")
    try:
        await asyncio.wait_for(work(7200), timeout=0.2)
    except TimeoutError:
        print("The call took too long.")

    task = asyncio.create_task(work(0.3))
    try:
        await asyncio.wait_for(asyncio.shield(task), timeout=0.1)
    except TimeoutError:
        print("The wait was too short, the task goes on.")
    print(f"Later: {await task}")


if __name__ == "__main__":
    asyncio.run(main())
