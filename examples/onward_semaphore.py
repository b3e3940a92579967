"""A semaphore limits how many may do something at the same time.

Ten workers start at once, three of them get in, and each that leaves lets the next one in, in the
order in which they came. Ten workers of 0.2 seconds, three at a time, make four rounds.
"""

import asyncio

inside = 0
most = 0


async def worker(number, semaphore):
    global inside, most
    async with semaphore:
        inside += 1
        most = max(most, inside)
        print(f"Worker {number} is in.")
        await asyncio.sleep(0.2)
        inside -= 1


async def main():
    semaphore = asyncio.Semaphore(3)
    await asyncio.gather(*(worker(number, semaphore) for number in range(10)))
    print(f"Never more than {most} at the same time, and now {inside}.")


if __name__ == "__main__":
    asyncio.run(main())
