"""A task group: tasks that end together.

`async with asyncio.TaskGroup()` waits for all tasks made in it before the block is left. When one
fails, the others are cancelled, and the failures come out as an ExceptionGroup, which `except*`
takes apart. Compare with gather() in exceptions.py, which leaves the others running.
"""

import asyncio


async def square(number):
    await asyncio.sleep(0.1 * number)
    return number * number


async def fail():
    await asyncio.sleep(0.1)
    raise ValueError("this one fails")


async def sleep_long():
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        print("The task beside it is cancelled.")
        raise


async def main():
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(square(number)) for number in (1, 2, 3)]
    print(f"All are done: {[task.result() for task in tasks]}")

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            group.create_task(sleep_long())
    except* ValueError as failures:
        print(f"The group failed: {failures.exceptions}")


if __name__ == "__main__":
    asyncio.run(main())
