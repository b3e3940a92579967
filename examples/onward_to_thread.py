"""Code that blocks belongs in a thread.

A function that blocks would hold up every task of the loop. asyncio.to_thread() runs it in a
thread of the loop's executor and lets the caller await the result; the other tasks go on. The
function sees the context variables of its caller.
"""

import asyncio
import contextvars
import time

user = contextvars.ContextVar("user")


def blocking(seconds):
    time.sleep(seconds)
    return f"{seconds} s of blocking work for {user.get()}"


async def tick(ticks):
    while True:
        await asyncio.sleep(0.05)
        ticks.append(time.monotonic())


async def main():
    user.set("Alice")
    ticks = []
    ticker = asyncio.create_task(tick(ticks))
    print(f"Done: {await asyncio.to_thread(blocking, 0.5)}")
    ticker.cancel()
    print(f"The loop kept ticking meanwhile: {len(ticks) >= 2}")


if __name__ == "__main__":
    asyncio.run(main())
