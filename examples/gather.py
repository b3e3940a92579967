"""Several results at once.

asyncio.gather() runs coroutines at the same time, waits for all of them and returns their results
in the order of its arguments, whichever is ready first. Within one factorial the pauses add up (C
sleeps 2 + 3 + 4 seconds); across the three they overlap, so the whole takes the 9 seconds of C.
"""

import asyncio
import time


async def factorial(name, number):
    product = 1
    for i in range(2, number + 1):
        print(f"Task {name}: Compute factorial({number}), currently i={i}...")
        await asyncio.sleep(i)
        product *= i
    print(f"Task {name}: factorial({number}) = {product}")
    return product


async def main():
    start = time.monotonic()
    results = await asyncio.gather(
        factorial("A", 2),
        factorial("B", 3),
        factorial("C", 4),
    )
    print(f"Results: {results}")
    print(f"Completed in {int(time.monotonic() - start)} seconds")


if __name__ == "__main__":
    asyncio.run(main())
