"""Tasks and futures touched from threads that do not run their loop.

Most of this is misuse that works under a GIL because of how asyncio is written, and programs rely
on it: a future finished by another thread is noticed as soon as the loop wakes up. It must be so
here too, and on interpreters without a GIL it must at least be safe.
"""

import asyncio
import concurrent.futures
import contextlib
import itertools
import sys
import sysconfig
import threading
import time

import pytest
from support.task_kinds import ALL_KINDS, NATIVE, NATIVE_ON_ASYNCIO
from support.threads import BOUND, ROUNDS, THREADS, in_threads, lockstep, references

import hotloop

TIMES = 50
STOCK_LOCKS = not sysconfig.get_config_var("Py_GIL_DISABLED") or sys.version_info >= (3, 14)


@pytest.fixture(params=ALL_KINDS, ids=str)
def kind(request):
    return request.param


def needs_locks(kind):
    """Skip the test of a kind whose futures several threads must not use at once."""
    if kind not in (NATIVE, NATIVE_ON_ASYNCIO) and not STOCK_LOCKS:
        pytest.skip("needs Python 3.14, whose own futures have locks where there is no GIL")


@pytest.fixture
def running(kind):
    """Return a loop of the kind that runs in a thread of its own until the test is over."""
    loop = kind.new_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def test_call_soon_threadsafe_keeps_the_order_of_each_thread(kind):
    seen = []

    async def main():
        def push(label):
            for number in range(TIMES):
                loop.call_soon_threadsafe(seen.append, (label, number))

        pushing = [loop.run_in_executor(None, push, label) for label in range(3)]
        await asyncio.gather(*pushing)
        await asyncio.sleep(0)
        await loop.shutdown_default_executor()

    loop = kind.new_loop()
    loop.run_until_complete(main())
    loop.close()
    for label in range(3):
        assert [number for who, number in seen if who == label] == list(range(TIMES))


def test_set_result_by_way_of_call_soon_threadsafe(kind, running):
    threads = []

    async def wait():
        future = kind.Future(loop=running)
        calls = running.call_soon_threadsafe, [future.set_result, "value"]
        threads.append(threading.Timer(0, *calls))
        threads[-1].start()
        return await future

    for _ in range(TIMES):
        assert asyncio.run_coroutine_threadsafe(wait(), running).result(5) == "value"
        threads.pop().join()


def test_set_result_directly_from_another_thread(kind, running):
    """The loop is only woken by the second call; both are there when it looks."""
    needs_locks(kind)
    futures = []

    async def wait(ready):
        futures.append(kind.Future(loop=running))
        ready.set()
        return await futures[-1]

    for number in range(TIMES):
        ready = threading.Event()
        waiting = asyncio.run_coroutine_threadsafe(wait(ready), running)
        ready.wait(5)
        futures[-1].set_result(number)
        running.call_soon_threadsafe(lambda: None)
        assert waiting.result(5) == number


def test_cancel_of_a_task_from_another_thread(kind, running):
    async def wait(started):
        started.append(asyncio.current_task())
        event.set()
        await kind.Future(loop=running)

    for _ in range(TIMES):
        started, event = [], threading.Event()
        waiting = asyncio.run_coroutine_threadsafe(wait(started), running)
        event.wait(5)
        running.call_soon_threadsafe(started[0].cancel)
        with pytest.raises(concurrent.futures.CancelledError):
            waiting.result(5)


def test_cancel_of_run_coroutine_threadsafe_reaches_the_task(kind, running):
    reached = threading.Event()
    started = threading.Event()

    async def wait():
        started.set()
        try:
            await kind.Future(loop=running)
        except asyncio.CancelledError:
            reached.set()
            raise

    waiting = asyncio.run_coroutine_threadsafe(wait(), running)
    started.wait(5)
    assert waiting.cancel()
    assert reached.wait(5)


def test_create_task_from_another_thread(kind, running):
    """Creating a task by call_soon_threadsafe, and waiting for its result with a callback."""
    results = concurrent.futures.Future()

    async def value():
        return threading.current_thread().name

    def create():
        task = kind.Task(value(), loop=running)
        task.add_done_callback(lambda task: results.set_result(task.result()))

    running.call_soon_threadsafe(create)
    assert results.result(5) != threading.current_thread().name


def test_only_one_of_many_threads_finishes_a_future(kind):
    needs_locks(kind)
    loop = kind.new_loop()
    futures = [kind.Future(loop=loop) for _ in range(ROUNDS)]
    won = []

    def finish(place, number):
        future = futures[number]
        with contextlib.suppress(asyncio.InvalidStateError):
            if number % 3 or place:
                future.set_result(place)
                won.append(number)
            elif future.cancel():
                won.append(number)

    rounds = lockstep(
        len(futures),
        *(lambda number, place=place: finish(place, number) for place in range(THREADS)),
    )
    loop.close()
    assert sorted(won) == list(range(rounds))
    assert all(future.done() for future in futures[:rounds])


def test_callbacks_added_by_many_threads_all_run(kind):
    needs_locks(kind)
    loop = kind.new_loop()
    futures = [kind.Future(loop=loop) for _ in range(ROUNDS // 20)]
    called = []

    def add(number):
        futures[number // 20].add_done_callback(called.append)

    rounds = lockstep(20 * len(futures), *[add] * THREADS)
    for future in futures:
        future.set_result(None)
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    assert len(called) == rounds * THREADS


def test_a_future_awaited_while_another_thread_finishes_it(kind, running):
    """The task that begins to wait is noticed, or finds the result: it never waits for ever."""
    needs_locks(kind)
    futures = [kind.Future(loop=running) for _ in range(ROUNDS)]
    at = [-1]
    end = time.monotonic() + 1

    async def wait():
        for number, future in enumerate(futures):
            at[0] = number % 100  # small numbers never die: see lockstep()
            await future
            if time.monotonic() > end:
                break
        at[0] = 100

    waiting = asyncio.run_coroutine_threadsafe(wait(), running)
    for number, future in enumerate(futures):
        while at[0] not in (number % 100, 100):
            time.sleep(0)
        for _ in range(number % 41):
            pass
        future.set_result(None)
        running.call_soon_threadsafe(int)
    waiting.result(BOUND)


def test_names_and_messages_set_by_many_threads(kind):
    """Each is let go once."""
    needs_locks(kind)
    loop = kind.new_loop()
    task = kind.Task(asyncio.sleep(0), loop=loop)
    texts = [[f"text {place} {number}" for number in range(10)] for place in range(THREADS)]
    before = references(itertools.chain(*texts))

    def exchange(own, number):
        task.set_name(own[number % 10])
        assert task.get_name().startswith("text")
        task._cancel_message = own[number % 10]

    lockstep(ROUNDS, *(lambda number, own=own: exchange(own, number) for own in texts))
    task.set_name("")
    task._cancel_message = None
    assert references(itertools.chain(*texts)) == before
    loop.run_until_complete(task)
    loop.close()


def test_requests_to_cancel_are_counted(kind):
    needs_locks(kind)
    loop = kind.new_loop()
    task = kind.Task(asyncio.sleep(0), loop=loop)
    rounds = lockstep(ROUNDS, *[lambda number: task.cancel()] * THREADS, seconds=0.7)
    assert task.cancelling() == rounds * THREADS
    lockstep(rounds, *[lambda number: task.uncancel()] * THREADS, seconds=BOUND)
    assert task.cancelling() == 0
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()


def test_threads_looking_at_futures_and_tasks(kind, running):
    """Reading every attribute while the loop's thread changes them shows some state, or another."""
    needs_locks(kind)
    stop = threading.Event()
    shown = []

    async def churn():
        while not stop.is_set():
            future = kind.Future(loop=running)
            shown.append(future)
            running.call_soon(future.set_result, 1)
            await future
            task = kind.Task(asyncio.sleep(0), loop=running)
            shown.append(task)
            await task
            del shown[:-20]

    def look():
        for _ in range(100):
            for thing in shown[-5:]:
                with contextlib.suppress(TypeError):
                    repr(thing)  # asyncio looks at the callbacks twice, and they may be gone
                for name in dir(thing):
                    if not name.startswith("__"):
                        getattr(thing, name)
                thing.done()
                if isinstance(thing, asyncio.Task):
                    thing.get_name()
                    thing.cancelling()

    churning = asyncio.run_coroutine_threadsafe(churn(), running)
    try:
        in_threads(look, look)
    finally:
        stop.set()
        churning.result(5)


def test_tasks_cancelled_by_several_threads_while_they_run(kind, running):
    """Each of them ends, cancelled; what they wait for is told once."""
    needs_locks(kind)

    async def turn():
        while True:
            await asyncio.sleep(0)

    async def wait():
        await kind.Future(loop=running)

    async def pause():
        while True:
            time.sleep(0.0005)  # asyncio's loop keeps the GIL from others while tasks spin
            await asyncio.sleep(0)

    async def start():
        return [kind.Task((turn, wait)[n % 2](), loop=running) for n in range(min(ROUNDS, 400))]

    pausing = asyncio.run_coroutine_threadsafe(pause(), running)
    tasks = asyncio.run_coroutine_threadsafe(start(), running).result(BOUND)

    def cancel(number):
        tasks[number].cancel("enough")
        running.call_soon_threadsafe(int)

    rounds = lockstep(len(tasks), *[cancel] * THREADS, seconds=2)

    async def end():
        for task in tasks[rounds:]:
            task.cancel()
        return await asyncio.wait(tasks, timeout=BOUND)

    done, pending = asyncio.run_coroutine_threadsafe(end(), running).result(BOUND)
    pausing.cancel()
    assert not pending and all(task.cancelled() for task in done)


def test_cancellations_read_by_several_threads(kind):
    needs_locks(kind)
    loop = kind.new_loop()
    futures = [kind.Future(loop=loop) for _ in range(min(ROUNDS, 2000))]
    for future in futures:
        future.cancel("enough")

    def read(number):
        with pytest.raises(asyncio.CancelledError):
            futures[number].result()
        with pytest.raises(asyncio.CancelledError):
            futures[number].exception()

    lockstep(len(futures), *[read] * THREADS)
    loop.close()


def test_callbacks_of_a_task_exchanged_by_threads_while_it_runs(kind, running):
    needs_locks(kind)
    called, added = [], []

    async def turn():
        while not done:
            await asyncio.sleep(0)

    done = []
    task = asyncio.run_coroutine_threadsafe(start_task(kind, turn, running), running).result(BOUND)

    def exchange(place, number):
        def callback(task):
            called.append((place, number))

        task.add_done_callback(callback)
        if number % 2:
            assert task.remove_done_callback(callback) == 1
        else:
            added.append((place, number))

    lockstep(
        min(ROUNDS, 1000),
        *(lambda number, place=place: exchange(place, number) for place in range(THREADS)),
    )
    done.append(True)
    end = time.monotonic() + BOUND
    while len(called) < len(added):
        assert time.monotonic() < end
        running.call_soon_threadsafe(int)
        time.sleep(0.001)
    assert sorted(called) == sorted(added)


async def start_task(kind, function, loop):
    return kind.Task(function(), loop=loop)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="needs Python 3.12: eager tasks")
def test_a_task_that_starts_eagerly_is_looked_at(kind, running):
    """Its coroutine goes when it ends in its first step. Only ThreadSanitizer sees it go."""
    needs_locks(kind)
    # On 3.12 asyncio's own task crashes when it is asked for the coroutine that it has dropped.
    tells_its_coroutine = kind in (NATIVE, NATIVE_ON_ASYNCIO) or sys.version_info >= (3, 13)
    seen = []
    done = threading.Event()

    async def step():
        seen.append(asyncio.current_task())

    async def start():
        while not done.is_set():
            kind.Task(step(), loop=running, eager_start=True)
            await asyncio.sleep(0)
            del seen[:-3]

    def look():
        for _ in range(300):
            for task in seen[-2:]:
                if tells_its_coroutine:
                    task.get_coro()
                task.cancel()
                task.get_context()

    starting = asyncio.run_coroutine_threadsafe(start(), running)
    try:
        in_threads(look, look)
    finally:
        done.set()
        starting.result(BOUND)


def test_loops_in_several_threads_do_not_meet(kind):
    """Each thread has its own loop, running task and list of tasks."""

    def run():
        async def child(number):
            await asyncio.sleep(0)
            assert asyncio.current_task().get_loop() is loop
            return number

        async def main():
            for _ in range(TIMES):
                children = [kind.Task(child(n), loop=loop) for n in range(5)]
                assert len(asyncio.all_tasks()) == 6
                assert await asyncio.gather(*children) == [0, 1, 2, 3, 4]
            return asyncio.current_task()

        loop = kind.new_loop()
        task = kind.Task(main(), loop=loop)
        assert loop.run_until_complete(task) is task
        loop.close()

    in_threads(run, run, run)


def test_future_handed_from_one_loop_to_another_thread(kind):
    """The last reference is dropped by a thread that has never seen the loop."""
    loop = kind.new_loop()

    def drop(objects):
        objects.clear()

    for _ in range(TIMES):
        future = kind.Future(loop=loop)
        task = kind.Task(asyncio.sleep(0), loop=loop)
        loop.run_until_complete(task)
        objects = [future, task]
        del future, task
        in_threads(lambda objects=objects: drop(objects))
    loop.close()


def test_native_types_stay_native_under_to_thread():
    async def main():
        task = asyncio.create_task(asyncio.to_thread(threading.get_ident))
        assert type(task) is hotloop.Task
        return await task

    assert hotloop.run(main()) != threading.get_ident()
