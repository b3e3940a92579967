"""Private names of asyncio's loop that real code reads, and that therefore exist here as well.

Debuggers, test helpers and libraries look at these attributes; each test names the use it stands
for.  They can be read as asyncio's can.  Their types are hotloop's own: sized and iterable, but not
to be changed by anyone but the loop.
"""

import asyncio
import signal
import socket
import threading

import pytest
from support.differential import assert_same_on_both, run_briefly


def test_ready_has_a_length_and_the_handles_in_order(loop):
    assert len(loop._ready) == 0 and not loop._ready
    handles = [loop.call_soon(int), loop.call_soon_threadsafe(int), loop.call_soon(str)]
    assert len(loop._ready) == 3 and loop._ready
    assert list(loop._ready) == handles
    handles[1].cancel()
    run_briefly(loop)
    assert len(loop._ready) == 0 and list(loop._ready) == []


def test_ready_counts_task_steps(loop):
    """Lag monitors look at how much is queued: tasks count as much as callbacks."""

    async def main():
        tasks = [asyncio.create_task(asyncio.sleep(0)) for _ in range(5)]
        queued = len(loop._ready), len(list(loop._ready))
        await asyncio.gather(*tasks)
        return queued

    assert loop.run_until_complete(main()) == (5, 5)


def test_ready_entries_of_tasks_are_handles_too(loop):
    async def main():
        task = asyncio.create_task(asyncio.sleep(0))
        entries = list(loop._ready)
        await task
        return entries

    (entry,) = loop.run_until_complete(main())
    assert isinstance(entry, asyncio.Handle) and not entry.cancelled()


def test_ready_during_a_turn_holds_what_is_still_to_run(loop):
    lengths = []
    for _ in range(3):
        loop.call_soon(lambda: lengths.append(len(loop._ready)))
    run_briefly(loop)
    assert lengths == [2, 1, 0]


def test_scheduled_has_a_length_and_the_timers(loop):
    """Test clocks jump to the first deadline: min(timer.when() for timer in loop._scheduled)."""
    assert len(loop._scheduled) == 0 and not loop._scheduled
    timers = {loop.call_later(delay, int) for delay in (3, 1, 2)}
    assert len(loop._scheduled) == 3 and loop._scheduled
    assert set(loop._scheduled) == timers
    assert min(loop._scheduled).when() == min(timer.when() for timer in timers)
    assert loop._scheduled[0] is min(timers, key=asyncio.TimerHandle.when)
    for timer in timers:
        timer.cancel()
    run_briefly(loop)
    assert len(loop._scheduled) == 0


def test_a_test_clock_built_on_scheduled_works(loop):
    """What fast-forwarding test helpers do: replace time, jump to the first timer when idle."""
    now = 0.0
    loop.time = lambda: now
    log = []

    async def main():
        nonlocal now
        tasks = [asyncio.create_task(sleep_and_log(delay)) for delay in (30, 10, 20)]
        await asyncio.sleep(0)
        while not all(task.done() for task in tasks):
            if len(loop._ready) == 0 and loop._scheduled:
                now = min(timer.when() for timer in loop._scheduled)
            await asyncio.sleep(0)

    async def sleep_and_log(delay):
        await asyncio.sleep(delay)
        log.append(delay)

    loop.run_until_complete(main())
    assert log == [10, 20, 30] and now == 30.0


@pytest.mark.only_hotloop("asyncio's own deque and list can be changed by anyone")
@pytest.mark.parametrize("name", ["_ready", "_scheduled"])
def test_the_queues_cannot_be_changed_from_outside(loop, name):
    view = getattr(loop, name)
    for change in ("append", "pop", "clear", "insert", "__setitem__", "__delitem__"):
        assert not hasattr(view, change), change


@pytest.mark.only_hotloop("asyncio's deque raises RuntimeError when it is changed meanwhile")
@pytest.mark.parametrize("name", ["_ready", "_scheduled"])
def test_iterating_a_queue_survives_its_changes(loop, name):
    for _ in range(10):
        loop.call_soon(int)
        loop.call_later(1, int)
    seen = []
    for handle in getattr(loop, name):
        seen.append(handle)
        handle.cancel()
        loop.call_soon(str)
        loop.call_later(2, str).cancel()
        if len(seen) == 100:
            break
    assert len(seen) >= 5 and all(isinstance(handle, asyncio.Handle) for handle in seen)


def test_thread_id_is_that_of_the_running_thread(loop):
    """Checks of "am I in the loop's thread?" compare it with threading.get_ident()."""
    assert loop._thread_id is None
    seen = []
    loop.call_soon(lambda: seen.append(loop._thread_id))
    thread = threading.Thread(target=run_briefly, args=(loop,))
    thread.start()
    thread.join()
    assert seen == [thread.ident] and loop._thread_id is None


def test_default_executor_is_none_until_it_is_needed(loop):
    assert loop._default_executor is None


def test_signal_handlers_maps_numbers_to_handles(loop):
    """Frameworks look whether somebody has a handler already."""
    assert len(loop._signal_handlers) == 0
    loop.add_signal_handler(signal.SIGUSR1, print, "usr1")
    assert list(loop._signal_handlers) == [signal.SIGUSR1]
    handle = loop._signal_handlers[signal.SIGUSR1]
    assert isinstance(handle, asyncio.Handle)
    assert (handle._callback, handle._args) == (print, ("usr1",))
    assert signal.SIGUSR2 not in loop._signal_handlers
    loop.remove_signal_handler(signal.SIGUSR1)
    assert len(loop._signal_handlers) == 0


def test_write_to_self_wakes_the_loop(loop):
    """Other event systems wake an asyncio loop by this call, from any thread."""
    watchdog = loop.call_later(60, loop.stop)
    stopped = []

    def wake():
        stopped.append(loop.stop())
        loop._write_to_self()

    waker = threading.Timer(0.005, wake)
    waker.start()
    loop.run_forever()
    waker.join()
    assert stopped == [None] and not loop.time() > watchdog.when()
    watchdog.cancel()
    assert loop._write_to_self() is None


def describe_map(loop):
    """What _selector.get_map() shows of two descriptors, in asyncio's words."""
    near, far = socket.socketpair()
    try:
        before = len(loop._selector.get_map())
        loop.add_reader(near, int)
        loop.add_writer(near, int)
        loop.add_writer(far.fileno(), int)
        found = loop._selector.get_map()
        seen = [len(found) - before]
        for end in (near, far):
            key = found[end.fileno()]
            reader, writer = key.data
            seen.append((key.fd == end.fileno(), key.events))
            seen.append((isinstance(reader, asyncio.Handle), isinstance(writer, asyncio.Handle)))
            seen.append(end.fileno() in found)
        keys = set(found)
        seen.append({near.fileno(), far.fileno()} <= keys)
        loop.remove_reader(near)
        loop.remove_writer(near)
        loop.remove_writer(far)
        seen.append(near.fileno() in loop._selector.get_map())
        return seen
    finally:
        near.close()
        far.close()


def test_selector_get_map_shows_what_is_watched():
    """Leak checks of test suites compare it before and after."""
    kind, value = assert_same_on_both(describe_map)
    assert kind == "returned", value


@pytest.mark.parametrize(
    "expression",
    [
        "loop._debug",
        "loop._closed",
        "loop._stopping",
        "loop._task_factory",
        "loop._exception_handler",
        "loop._asyncgens_shutdown_called",
        "loop._executor_shutdown_called",
        "loop._internal_fds >= 0",
        "len(loop._asyncgens)",
        "loop._check_closed()",
        "loop._check_running()",
        "loop._check_thread()",
        "loop._current_handle",
        "loop._clock_resolution > 0",
        "callable(loop._run_once)",
        "callable(loop._add_callback)",
        "callable(loop._add_reader)",
        "callable(loop._remove_reader)",
        "callable(loop._add_writer)",
        "callable(loop._remove_writer)",
        "callable(loop._process_events)",
        "callable(loop._timer_handle_cancelled)",
        "callable(loop._asyncgen_firstiter_hook)",
    ],
)
@pytest.mark.parametrize("state", ["open", "closed"])
def test_other_private_names_answer_as_on_asyncio(expression, state):
    def scenario(loop):
        if state == "closed":
            loop.close()
        return eval(expression, {"loop": loop})

    assert_same_on_both(scenario)
