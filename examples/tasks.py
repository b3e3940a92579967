"""Tasks run at the same time.

asyncio.create_task() hands a coroutine to the event loop, which starts it as soon as the current
coroutine pauses. Both tasks below sleep at the same time, so the program takes 2 seconds, the
longer of the two, and not 3. `Started tasks...` comes first because neither task has run before
`main` awaits something.

Keep what create_task() returns: the loop itself holds tasks only weakly.
"""

import asyncio


async def say_after(delay, what):
    await asyncio.sleep(delay)
    print(what)


async def main():
    task1 = asyncio.create_task(say_after(1, "hello"))
    task2 = asyncio.create_task(say_after(2, "world"))

    print("Started tasks...")
    await task1
    await task2
    print("Tasks finished.")


if __name__ == "__main__":
    asyncio.run(main())
