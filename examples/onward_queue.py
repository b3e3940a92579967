"""A queue between tasks that produce and tasks that consume.

put() waits while the queue is full, so fast producers cannot run away from slow consumers; get()
waits while it is empty. join() waits until task_done() was called for everything that was put in.
Consumers that wait for ever are cancelled when the work is over.
"""

import asyncio


async def producer(name, queue):
    for number in range(1, 5):
        await queue.put(f"{name}{number}")
    print(f"Producer {name} is finished.")


async def consumer(queue, consumed):
    while True:
        item = await queue.get()
        await asyncio.sleep(0.05)
        consumed.append(item)
        queue.task_done()


async def main():
    queue = asyncio.Queue(maxsize=2)
    consumed = []
    consumers = [asyncio.create_task(consumer(queue, consumed)) for _ in range(3)]
    await asyncio.gather(producer("a", queue), producer("b", queue))
    await queue.join()
    print(f"Consumed {len(consumed)} items: {' '.join(sorted(consumed))}")

    for task in consumers:
        task.cancel()
    await asyncio.wait(consumers)
    print(f"Consumers cancelled: {[task.cancelled() for task in consumers]}")


if __name__ == "__main__":
    asyncio.run(main())
