"""Several threads do what one loop does not expect, at the same moment.

asyncio promises nothing about most of this, so only hotloop is tried: nothing may crash, be lost or
run twice. On interpreters without a GIL the threads really run at once. What is about a lock was
seen to fail there, in a debug build, when that was taken out: at most runs, if each thread has a
processor of its own. Where the docstrings say so, only ThreadSanitizer sees it
(`.ci/run thread-sanitizer`). Transports are in test_transport_races.py, servers, TLS and child
processes in test_server_races.py, tasks in test_task_threads.py.
"""

import asyncio
import concurrent.futures
import contextlib
import contextvars
import itertools
import queue
import socket
import threading
import time

import pytest
from support.sockets import nonblocking_pair
from support.threads import (
    BOUND,
    ROUNDS,
    THREADS,
    in_threads,
    lockstep,
    on_loop,
    references,
    running_loop,
)

import hotloop


class Callback:
    """A callable that nobody else has: a reference too few frees it."""

    def __call__(self, *arguments):
        pass


@pytest.fixture
def loop():
    """Return a loop that does not run."""
    new_loop = hotloop.new_event_loop()
    yield new_loop
    new_loop.close()


@pytest.fixture
def running():
    """Return a loop that runs in a thread of its own until the test is over."""
    with running_loop() as new_loop:
        yield new_loop


# -- handles and timers -------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["call_soon", "call_later"])
def test_a_handle_cancelled_by_several_threads_lets_go_of_its_callback_once(loop, schedule):
    callbacks = [Callback() for _ in range(ROUNDS)]
    if schedule == "call_soon":
        handles = [loop.call_soon(callback) for callback in callbacks]
    else:
        handles = [loop.call_later(1000, callback) for callback in callbacks]
    (before,) = references(callbacks)
    rounds = lockstep(ROUNDS, *[lambda number: handles[number].cancel()] * 2)
    assert references(itertools.islice(callbacks, rounds)) == {before - 1}


def test_a_handle_shown_while_it_is_cancelled(loop):
    """Only ThreadSanitizer sees its slots read without a lock, as the loop's look at them."""
    handles = [loop.call_soon(Callback(), number) for number in range(ROUNDS)]

    def show(number):
        handle = handles[number]
        assert "Handle" in repr(handle)
        assert handle._args in (None, (number,))
        assert isinstance(handle._callback, (Callback, type(None)))
        assert handle.cancelled() in (False, True)

    lockstep(ROUNDS, show, lambda number: handles[number].cancel())


def test_timers_scheduled_by_several_threads_are_all_there(loop):
    rounds = lockstep(ROUNDS, *[lambda number: loop.call_later(1000 - number % 7, int)] * THREADS)
    assert len(loop._scheduled) == rounds * THREADS


def test_timers_cancelled_by_several_threads_are_all_gone(loop):
    timers = [
        [loop.call_later(1000 - number % 7, int) for number in range(ROUNDS)]
        for _ in range(THREADS)
    ]
    rounds = lockstep(ROUNDS, *(lambda number, own=own: own[number].cancel() for own in timers))
    assert len(loop._scheduled) == (ROUNDS - rounds) * THREADS


def test_timers_listed_while_another_thread_cancels_them(loop):
    timers = [loop.call_later(1000, int) for number in range(100)]

    def exchange(number):
        timers[number % 100].cancel()
        timers[number % 100] = loop.call_later(1000 - number % 7, int)

    def look(number):
        assert len(loop._scheduled) in (99, 100)

    lockstep(ROUNDS, exchange, look)
    assert sorted(map(id, loop._scheduled)) == sorted(map(id, timers))


def test_timers_of_other_threads_run_once_each(running):
    """The loop takes them out of the heap while they are put in."""
    called = list(itertools.repeat(0, ROUNDS * THREADS))

    def call(place):
        called[place] += 1

    def schedule(place, number):
        running.call_later(0, call, number * THREADS + place)
        running.call_soon_threadsafe(int)  # call_later() alone does not wake the loop

    rounds = lockstep(
        ROUNDS,
        *(lambda number, place=place: schedule(place, number) for place in range(THREADS)),
        seconds=0.7,
    )
    on_loop(running, int)
    on_loop(running, int)
    assert set(called[: rounds * THREADS]) == {1}


def test_handles_cancelled_while_they_run(loop):
    """Only ThreadSanitizer sees that the callback is taken without a lock.

    A few instructions lie between the look at it and the reference to it.
    """
    handles = [loop.call_soon(Callback())]

    def run(number):
        loop._run_once()
        handles.append(loop.call_soon(Callback()))

    rounds = lockstep(ROUNDS, run, lambda number: handles[number].cancel())
    assert all(handle.cancelled() for handle in handles[:rounds])


@pytest.mark.parametrize("name", ["_scheduled", "_when", "_context", "_args", "_callback"])
def test_a_slot_of_a_handle_exchanged_by_several_threads(loop, name):
    """Each value is let go once."""
    handles = [loop.call_later(1000, int)]
    handles[0].cancel()
    values = [[Callback() for _ in range(10)] for _ in range(THREADS)]
    before = references(itertools.chain(*values))

    def exchange(own, number):
        for value in own:
            setattr(handles[0], name, value)
        assert isinstance(getattr(handles[0], name), Callback)

    lockstep(ROUNDS, *(lambda number, own=own: exchange(own, number) for own in values))
    handles.clear()
    assert references(itertools.chain(*values)) == before


def test_the_context_of_a_handle_exchanged_while_it_is_called(loop):
    """Each is let go once, and not before the callback has returned."""
    handles = [loop.call_later(1000, int)]
    contexts = [contextvars.copy_context() for _ in range(10)]
    before = references(contexts)

    def exchange(number):
        for context in contexts:
            handles[0]._context = context

    lockstep(ROUNDS, exchange, lambda number: handles[0]._run())
    handles.pop().cancel()
    assert references(contexts) == before


# -- the ready queue ----------------------------------------------------------------------------


def test_calls_of_several_threads_are_all_made_in_each_threads_order(running):
    seen = []
    rounds = lockstep(
        ROUNDS,
        *(
            lambda number, name=name: running.call_soon_threadsafe(seen.append, (name, number))
            for name in range(THREADS)
        ),
    )
    on_loop(running, int)
    for name in range(THREADS):
        assert [number for who, number in seen if who == name] == list(range(rounds))


def test_the_ready_queue_seen_by_another_thread(running):
    """What waits is listed while the loop, which is busy, takes it."""
    seen = []

    def busy():
        if not seen:
            running.call_soon(busy)

    def look(number):
        for _ in range(number % 5):
            running.call_soon_threadsafe(Callback())
        for handle in running._ready:
            assert isinstance(handle, asyncio.Handle)

    running.call_soon_threadsafe(busy)
    lockstep(ROUNDS, look)
    seen.append(True)
    on_loop(running, int)


def test_looking_at_a_loop_that_runs(running):
    async def busy():
        while not done:
            await asyncio.sleep(0)

    done = []
    work = asyncio.run_coroutine_threadsafe(busy(), running)

    def look(number):
        assert running.is_running() and not running.is_closed()
        assert len(running._ready) + len(running._scheduled) <= 5
        for task in asyncio.all_tasks(running):
            assert task.get_loop() is running and repr(task)

    lockstep(300, look)
    done.append(True)
    work.result(BOUND)


# -- futures ------------------------------------------------------------------------------------


def test_a_future_finished_by_several_threads_wakes_everybody_once(running):
    futures = [running.create_future() for _ in range(ROUNDS)]
    woken = []
    won = []

    def finish(number):
        with contextlib.suppress(asyncio.InvalidStateError):
            futures[number].set_result(number)
            won.append(number)

    for number, future in enumerate(futures):
        future.add_done_callback(lambda future, number=number: woken.append(number))
    rounds = lockstep(ROUNDS, finish, finish)
    on_loop(running, int)
    assert sorted(won) == list(range(rounds))
    assert sorted(woken) == list(range(rounds))


def test_callbacks_added_while_a_future_is_finished(running):
    futures = [running.create_future() for _ in range(ROUNDS)]
    called = []

    def add(number):
        futures[number].add_done_callback(called.append)

    def finish(number):
        add(number)
        futures[number].set_result(number)

    rounds = lockstep(ROUNDS, add, add, finish)
    on_loop(running, int)
    assert sorted(future.result() for future in called) == sorted(list(range(rounds)) * 3)


def test_callbacks_removed_while_others_are_added_and_listed(loop):
    """As many are removed as were added, and each is let go once."""
    future = loop.create_future()
    mine = [Callback() for _ in range(10)]
    before = references(mine)
    removed = []

    def add(number):
        future.add_done_callback(mine[number % 10])

    def remove(number):
        removed.append(future.remove_done_callback(mine[(number - 3) % 10]))
        if number % 10 == 0:
            assert {callback for callback, _ in future._callbacks} <= {other, *mine}

    other = Callback()
    for _ in range(100):  # to be looked through
        future.add_done_callback(other)
    rounds = lockstep(ROUNDS, add, remove)
    removed.extend([future.remove_done_callback(callback) for callback in mine])
    assert future.remove_done_callback(other) == 100
    assert future._callbacks is None
    assert sum(removed) == rounds
    assert references(mine) == before


# -- loops --------------------------------------------------------------------------------------


def test_loops_made_and_dropped_in_several_threads_are_all_known():
    """A list of all loops is what a forked child goes through."""
    kept = [[] for _ in range(THREADS)]

    def make(own, number):
        own.extend([hotloop._core.Loop() for _ in range(20)])  # the cheap half of a loop
        del own[-20::2]

    lockstep(min(ROUNDS, 2000), *(lambda number, own=own: make(own, number) for own in kept))
    known = {id(one) for one in hotloop._core._after_fork_in_child()}
    assert {id(one) for own in kept for one in own} <= known


def test_loops_that_run_in_several_threads():
    names = [[] for _ in range(THREADS)]

    async def give(own):
        own.append(asyncio.current_task().get_name())
        await asyncio.sleep(0)
        return len(own)

    async def main(own):
        for _ in range(20):
            await asyncio.gather(*(give(own) for _ in range(10)))

    in_threads(*(lambda own=own: hotloop.run(main(own)) for own in names))
    assert [len(own) for own in names] == [200] * THREADS
    assert len({name for own in names for name in own}) == 200 * THREADS


def test_attributes_that_are_made_when_first_asked_for_are_made_once():
    loops = [hotloop.new_event_loop() for _ in range(min(ROUNDS, 2000))]
    found = [[] for _ in range(THREADS)]

    def ask(own, number):
        own.append(loops[number]._asyncgens)

    lockstep(len(loops), *(lambda number, own=own: ask(own, number) for own in found))
    for loop in loops:
        loop.close()
    assert all(len(set(map(id, sets))) == 1 for sets in zip(*found, strict=True))


def test_exception_handlers_set_by_several_threads(loop):
    """Each is let go once."""
    handlers = [[Callback() for _ in range(50)] for _ in range(THREADS)]
    before = references(itertools.chain(*handlers))

    def exchange(own, number):
        for handler in own:
            loop.set_exception_handler(handler)
        assert isinstance(loop.get_exception_handler(), Callback)

    lockstep(ROUNDS, *(lambda number, own=own: exchange(own, number) for own in handlers))
    loop.set_exception_handler(None)
    assert references(itertools.chain(*handlers)) == before


def test_the_current_handle_seen_by_another_thread(running):
    """Only ThreadSanitizer sees it read without a lock."""
    running.set_debug(True)
    done = []

    def busy():
        if not done:
            running.call_soon(busy)

    running.call_soon_threadsafe(busy)
    lockstep(ROUNDS, lambda number: [repr(running._current_handle) for _ in range(10)])
    done.append(True)
    on_loop(running, int)


def test_methods_replaced_by_several_threads_are_all_called():
    """Only ThreadSanitizer sees that the bits of two of them are set without a lock."""
    loops = [hotloop.new_event_loop() for _ in range(min(ROUNDS, 1000))]
    replaced = {"time": lambda: 1000.0, "call_at": lambda when, *arguments, **options: when}

    def replace(name, number):
        setattr(loops[number], name, replaced[name])

    rounds = lockstep(
        len(loops), *(lambda number, name=name: replace(name, number) for name in replaced)
    )
    due = {loop.call_later(5, int) for loop in loops[:rounds]}
    for loop in loops:
        loop.close()
    assert due == {1005.0}


def test_tasks_made_by_several_threads_have_names_of_their_own():
    names = [[] for _ in range(THREADS)]

    def make(own, number):
        coroutine = asyncio.sleep(0)
        loop = hotloop.new_event_loop()
        own.append(loop.create_task(coroutine).get_name())
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

    rounds = lockstep(
        ROUNDS, *(lambda number, own=own: make(own, number) for own in names), seconds=0.7
    )
    assert len({name for own in names for name in own}) == rounds * THREADS


class WatchfulLoop(hotloop.Loop):
    """Notes how many threads are in a turn."""

    def __init__(self):
        super().__init__()
        self.inside = []
        self.most = []

    def _run_once(self):
        self.inside.append(None)
        self.most.append(len(self.inside))
        super()._run_once()
        self.inside.pop()


def test_one_loop_started_by_several_threads():
    """One of them runs it; the others are refused, or run it afterwards.

    A claim in two steps lets in two of them rarely: a few instructions lie between.
    """
    loop = WatchfulLoop()
    done = threading.Event()
    refused = []

    def start(number):
        loop.stop()  # one turn, unless another run has taken note of it
        try:
            loop.run_forever()
        except RuntimeError as error:
            refused.append(str(error))

    def stop():
        while not done.wait(0.0002):
            loop.call_soon_threadsafe(loop.stop)

    stopping = threading.Thread(target=stop)
    stopping.start()
    rounds = lockstep(ROUNDS, *[start] * THREADS, seconds=1.5)
    done.set()
    stopping.join()
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    assert set(loop.most) == {1}
    assert len(refused) < THREADS * rounds
    assert set(refused) <= {"This event loop is already running"}


class CountingLoop(hotloop.Loop):
    """Counts what is set up before a run first waits, and undone at its end."""

    prepared = undone = 0

    def _prepare_to_block(self):
        self.prepared += 1
        super()._prepare_to_block()

    def _after_block(self):
        self.undone += 1
        super()._after_block()


def test_a_run_that_ends_undoes_nothing_of_the_next_one(monkeypatch):
    """Another thread runs the loop as soon as it may, while the first one is still at its end."""
    loop = CountingLoop()
    original = asyncio.events._set_running_loop
    second = threading.Thread(target=loop.run_forever)

    def set_running_loop(running):
        original(running)
        if running is None and second.ident is None:
            second.start()
            while not loop.prepared:
                second.join(0.001)

    monkeypatch.setattr(asyncio.events, "_set_running_loop", set_running_loop)
    loop.call_soon(loop.stop)
    loop.run_forever()
    counts = [(loop.prepared, loop.undone)]
    loop.call_soon_threadsafe(loop.stop)
    second.join(BOUND)
    counts.append((loop.prepared, loop.undone))
    loop.close()
    assert counts == [(1, 0), (1, 1)]


@pytest.mark.timeout(60)
def test_a_loop_closed_while_threads_call_it():
    """They are told that it is closed, and write to no descriptor that another file has by then.

    Only ThreadSanitizer sees a wake-up without its lock: between the look at the descriptor and the
    write to it the loop has to end its wait and its run.
    """
    for _ in range(5):
        loop = hotloop.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        called = threading.Event()

        def call(loop=loop, called=called):
            with pytest.raises(RuntimeError, match="closed"):
                while True:
                    loop.call_soon_threadsafe(int)
                    called.set()

        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            calling = [pool.submit(call) for _ in range(2)]
            called.wait(BOUND)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()
            for one in calling:
                one.result(BOUND)


def test_a_loop_closed_while_threads_schedule_and_watch(pair):
    """What they add when it is closed already is refused, and what came before is dropped."""
    loops = [hotloop.new_event_loop() for _ in range(min(ROUNDS, 500))]
    near, far = pair

    def fill(number):
        for _ in range(20):
            loops[number].call_later(1000, Callback())

    def schedule(number):
        with contextlib.suppress(RuntimeError):
            while True:
                loops[number].call_later(1000, Callback())

    def watch(number):
        with contextlib.suppress(RuntimeError):
            while True:
                loops[number].add_reader(near, Callback())
                loops[number].add_writer(far, Callback())

    def close(number):
        fill(number)
        loops[number].close()

    rounds = lockstep(len(loops), close, schedule, watch)
    for loop in loops[rounds:]:
        loop.close()
    assert {len(loop._watch_list()) for loop in loops} == {0}


def interrupt():
    raise KeyboardInterrupt


def left_waiting(callbacks):
    """Return a loop that does not run, with calls in its ready queue and not in the inbox."""
    new_loop = hotloop.new_event_loop()
    new_loop.call_soon(interrupt)
    for callback in callbacks:
        new_loop.call_soon(callback)
    with contextlib.suppress(KeyboardInterrupt):
        new_loop.run_forever()
    return new_loop


def test_loops_closed_by_several_threads_drop_what_waits_once():
    """It is in the ready queue, which belongs to the thread that runs the loop."""
    callbacks = [[Callback() for _ in range(20)] for _ in range(min(ROUNDS, 1000))]
    before = references(itertools.chain(*callbacks))
    loops = [left_waiting(own) for own in callbacks]
    rounds = lockstep(len(loops), *[lambda number: loops[number].close()] * THREADS)
    for loop in loops[rounds:]:
        loop.close()
    assert references(itertools.chain(*callbacks)) == before


def test_a_loop_closed_by_a_thread_while_another_one_starts_it():
    """Either it runs and is not closed, or it is closed and does not run."""
    callbacks = [Callback() for _ in range(50)]
    before = references(callbacks)
    loops = [left_waiting(callbacks) for _ in range(min(ROUNDS, 2000))]
    refused = []
    for loop in loops:
        loop.call_soon(loop.stop)

    def run(number):
        try:
            loops[number].run_forever()
        except RuntimeError as error:
            refused.append(str(error))

    def close(number):
        for _ in range(number % 40):
            pass
        try:
            loops[number].close()
        except RuntimeError as error:
            refused.append(str(error))

    lockstep(len(loops), run, close)
    for loop in loops:
        loop.close()
    assert set(refused) <= {"Event loop is closed", "Cannot close a running event loop"}
    assert references(callbacks) == before


def test_the_ready_queue_seen_while_a_loop_is_started():
    """Nobody runs the loop when the look begins, and somebody when it ends."""
    loops = [left_waiting([Callback() for _ in range(100)]) for _ in range(min(ROUNDS, 500))]
    for loop in loops:
        loop.call_soon(loop.stop)

    def look(number):
        for handle in loops[number]._ready:
            assert isinstance(handle, asyncio.Handle)

    lockstep(len(loops), lambda number: loops[number].run_forever(), look, look)
    for loop in loops:
        loop.close()


def test_what_a_running_loop_is_set_to_by_another_thread(running):
    """Factory, handler and flags are looked at in every step. Only ThreadSanitizer sees it."""
    done = []

    async def child():
        await asyncio.sleep(0)

    async def work():
        while not done:
            await asyncio.gather(running.create_task(child()), child())
            await running.getaddrinfo("127.0.0.1", 80)

    def factory(loop, coroutine, **options):
        return asyncio.Task(coroutine, loop=loop, **options)

    factories = [None, factory, getattr(asyncio, "eager_task_factory", None)]

    def change(number):
        running.set_task_factory(factories[number % 3])
        running.set_debug(number % 5 == 0)
        running.slow_callback_duration = 100 + number % 2
        running.write_through = number % 4 == 0
        running._executor_shutdown_called = False
        assert running.get_task_factory() in factories
        assert running.get_debug() in (True, False)

    running.set_exception_handler(lambda loop, context: None)
    working = asyncio.run_coroutine_threadsafe(work(), running)
    lockstep(min(ROUNDS, 300), change)
    running.set_task_factory(None)
    running.set_debug(False)
    done.append(True)
    working.result(BOUND)


def test_jobs_given_to_the_executor_by_several_threads(running):
    """The loop counts those that are out; each answers once."""

    async def give(number):
        return await running.run_in_executor(None, int, number)

    async def forget():
        await running.shutdown_default_executor()
        running._executor_shutdown_called = False

    on_loop(running, running.set_default_executor, concurrent.futures.ThreadPoolExecutor(2))

    def ask(place, number):
        if number % 3:
            answer = asyncio.run_coroutine_threadsafe(give(number), running).result(BOUND)
        else:
            answers = concurrent.futures.Future()
            future = running.run_in_executor(None, int, number)
            running.call_soon_threadsafe(
                future.add_done_callback, lambda done: answers.set_result(done.result())
            )
            answer = answers.result(BOUND)
        assert answer == number

    lockstep(
        min(ROUNDS, 2000), *(lambda number, place=place: ask(place, number) for place in range(2))
    )
    asyncio.run_coroutine_threadsafe(forget(), running).result(BOUND)


# -- descriptors --------------------------------------------------------------------------------


def test_descriptors_watched_by_several_threads(running):
    """The loop waits meanwhile, and its tables grow."""

    def watch():
        with contextlib.ExitStack() as stack:
            for _ in range(30):
                reader, writer = map(stack.enter_context, socket.socketpair())
                received = queue.SimpleQueue()
                running.add_reader(reader, lambda sock=reader, put=received.put: put(sock.recv(1)))
                writer.send(b"x")
                assert received.get(timeout=BOUND) == b"x"
                assert running.remove_reader(reader)

    in_threads(*[watch] * THREADS)


@pytest.mark.parametrize("kind", ["reader", "writer"])
def test_one_descriptor_watched_by_several_threads(loop, pair, kind):
    """Each handle that was put into the table is let go once, by whoever takes its place."""
    add, remove = getattr(loop, f"add_{kind}"), getattr(loop, f"remove_{kind}")
    mine = [[Callback() for _ in range(10)] for _ in range(THREADS)]
    before = references(itertools.chain(*mine))

    def watch(own, number):
        add(pair[0], own[number % 10])
        if number % 3 == 0:
            remove(pair[0])

    lockstep(ROUNDS, *(lambda number, own=own: watch(own, number) for own in mine))
    remove(pair[0])
    assert loop._watch_list() == []
    assert references(itertools.chain(*mine)) == before


def test_the_number_of_watched_descriptors_is_kept_by_several_threads(loop):
    """A busy loop asks the kernel only if one is watched: a number too small, and it is deaf."""
    pairs = [nonblocking_pair() for _ in range(THREADS)]

    def watch(near, number):
        loop.add_reader(near, int)
        if number % 2:
            loop.remove_reader(near)

    def busy():
        if not heard and time.monotonic() < end:
            loop.call_soon(busy)
        else:
            loop.stop()

    lockstep(ROUNDS, *(lambda number, near=near: watch(near, number) for near, _ in pairs))
    for near, far in pairs:
        loop.remove_reader(near)
        heard = []
        end = time.monotonic() + 1
        loop.add_reader(near, heard.append, "something")
        far.send(b"x")
        loop.call_soon(busy)
        loop.run_forever()
        assert heard
        loop.remove_reader(near)
        near.close()
        far.close()


def test_a_loop_that_first_waits_while_another_thread_watches(pair):
    """Its epoll set is made by whoever needs it first: made twice, one of them is deaf."""
    near, far = pair
    far.send(b"x")
    loops = [hotloop.new_event_loop() for _ in range(min(ROUNDS, 1000))]
    deaf = []

    def run(number):
        loop = loops[number]
        guard = loop.call_later(1, lambda: [deaf.append(number), loop.stop()])
        loop.run_forever()
        guard.cancel()

    def watch(number):
        for _ in range(number % 60):
            pass
        loops[number].add_reader(near, loops[number].stop)

    lockstep(len(loops), run, watch)
    for loop in loops:
        loop.close()
    assert deaf == []
