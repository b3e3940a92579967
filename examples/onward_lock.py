"""A lock guards what must not be interleaved.

Only `await` lets another task run, so most code needs no lock. It does need one when it reads
something, awaits, and writes back what it made of it: without the lock all ten tasks below read
the same old value, and nine increments are lost.
"""

import asyncio


class Counter:
    def __init__(self):
        self.value = 0
        self.lock = asyncio.Lock()

    async def increment(self):
        value = self.value
        await asyncio.sleep(0.01)  # Another task may run here and read the same value.
        self.value = value + 1

    async def increment_guarded(self):
        async with self.lock:
            await self.increment()


async def main():
    careless = Counter()
    await asyncio.gather(*(careless.increment() for _ in range(10)))
    print(f"Ten increments without the lock: {careless.value}")

    careful = Counter()
    await asyncio.gather(*(careful.increment_guarded() for _ in range(10)))
    print(f"Ten increments with the lock: {careful.value}")


if __name__ == "__main__":
    asyncio.run(main())
