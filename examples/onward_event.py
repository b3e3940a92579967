"""An event lets any number of tasks wait for one signal.

wait() returns at once when the event is set and otherwise waits for set(), which wakes all who
wait, in the order in which they began.
"""

import asyncio


async def runner(name, start):
    print(f"{name} is ready.")
    await start.wait()
    print(f"{name} runs.")


async def main():
    start = asyncio.Event()
    runners = [asyncio.create_task(runner(name, start)) for name in ("Ann", "Ben", "Cem")]
    await asyncio.sleep(0.3)
    print("Go!")
    start.set()
    for task in runners:
        await task
    await start.wait()
    print("The event stays set.")


if __name__ == "__main__":
    asyncio.run(main())
