"""Futures, and what tasks have in common with them.

A Future stands for a result that is not there yet. Somebody sets it, here a timer of the loop,
and everybody who awaits it goes on with that result. A Task is a Future whose result is set by a
coroutine that runs on its own; a bare coroutine is neither, and does nothing until it is awaited
or made into a task.

Cancelling a task raises CancelledError at the place where it waits, carrying the message given to
cancel(). A task may clean up there; then the exception should go on to whoever awaits the task.
"""

import asyncio


async def set_later():
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    loop.call_later(0.5, future.set_result, "a result, half a second later")
    print(f"The future is done: {future.done()}")
    print(f"Awaited: {await future}")
    print(f"The future is done: {future.done()}")


async def sleep_long():
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError as cancelled:
        print(f"Inside the task: cancelled, {cancelled}")
        raise


async def cancel_a_task():
    task = asyncio.create_task(sleep_long())
    print(f"A task is a future: {isinstance(task, asyncio.Future)}")
    await asyncio.sleep(0)  # Lets the task start, so that there is something to interrupt.
    task.cancel("no time to wait")
    try:
        await task
    except asyncio.CancelledError as cancelled:
        print(f"Outside the task: cancelled, {cancelled}")
    print(f"The task was cancelled: {task.cancelled()}")


async def say(what):
    print(what)


async def await_late():
    coroutine = say("Now it runs.")
    await asyncio.sleep(0.1)
    print("The coroutine exists, and has printed nothing.")
    await coroutine


async def main():
    await set_later()
    await cancel_a_task()
    await await_late()


if __name__ == "__main__":
    asyncio.run(main())
