"""Coroutines one after the other.

`async def` makes a coroutine function. Calling it runs nothing yet: it returns a coroutine, and
`await` runs that to its end. While `greet` sleeps the event loop is free for other work, but here
there is none: `main` awaits Alice to the end before it begins with Bob, so this takes 2 seconds.

asyncio.run() makes an event loop, runs the coroutine on it to the end, and closes the loop.
"""

import asyncio


async def greet(name):
    print(f"Hello, {name}!")
    await asyncio.sleep(1)  # Pauses this coroutine, not the loop.
    print(f"Goodbye, {name}!")


async def main():
    await greet("Alice")
    await greet("Bob")


if __name__ == "__main__":
    asyncio.run(main())
