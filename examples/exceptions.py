"""When one of several fails.

An exception leaves a coroutine where somebody awaits it. asyncio.gather() awaits several, and
has two ways to deal with a failure:

* with return_exceptions=True it waits for all, and the exception is one of the results;
* without it the first exception reaches the caller at once. The others are not cancelled: they
  go on, and whoever kept the tasks can still await them.

Each half takes 1 second.
"""

import asyncio


async def might_fail(n):
    if n == 2:
        raise ValueError("This is an expected error!")
    await asyncio.sleep(1)
    return n * 2


async def collect():
    results = await asyncio.gather(
        might_fail(1),
        might_fail(2),
        might_fail(3),
        return_exceptions=True,
    )
    print(f"Results: {results}")


async def first_failure():
    tasks = [asyncio.create_task(might_fail(n)) for n in (1, 2, 3)]
    try:
        await asyncio.gather(*tasks)
    except ValueError as error:
        print(f"Caught: {error}")
    print(f"Done so far: {[task.done() for task in tasks]}")
    print(f"The others: {await tasks[0]} and {await tasks[2]}")


async def main():
    await collect()
    await first_failure()


if __name__ == "__main__":
    asyncio.run(main())
