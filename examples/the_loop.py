"""Asking for the event loop.

Inside a coroutine there is exactly one answer, the loop that is running it, and
asyncio.get_running_loop() gives it. asyncio.get_event_loop() gives the same one there.

Outside, no loop is running: get_running_loop() raises RuntimeError. What get_event_loop() does
outside depends on the version of Python: up to 3.13 it makes a loop (3.12 and 3.13 warn about
it), from 3.14 on it raises RuntimeError. So new programs ask inside, and let asyncio.run() make
the loop.
"""

import asyncio


def outside():
    try:
        asyncio.get_running_loop()
    except RuntimeError as error:
        print(f"Outside, get_running_loop: {error}")
    try:
        loop = asyncio.get_event_loop()
    except RuntimeError as error:
        print(f"Outside, get_event_loop: {error}")
    else:
        print(f"Outside, get_event_loop: a new loop, running: {loop.is_running()}")
        asyncio.set_event_loop(None)
        loop.close()  # Nobody else knows this loop.


async def main():
    loop = asyncio.get_running_loop()
    print(f"Inside, get_running_loop: a loop, running: {loop.is_running()}")
    print(f"Inside, get_event_loop: the same one: {asyncio.get_event_loop() is loop}")


if __name__ == "__main__":
    outside()
    asyncio.run(main())
