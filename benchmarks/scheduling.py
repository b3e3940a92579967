"""Rows about callbacks: call_soon from the loop's own thread and from others, and the executor."""

import threading

from benchmarks.registry import row

BURST = 1_000


@row(floor="ctx_run")
def call_soon_chain(case):
    """One callback that schedules the next one, so each turn of the loop runs a single one."""
    loop = case.loop
    left = case.passes

    def step():
        nonlocal left
        left -= 1
        if left > 0:
            loop.call_soon(step)
        else:
            loop.stop()

    loop.call_soon(step)
    with case.timed():
        loop.run_forever()
    assert left == 0


def _run_bursts(case, schedule):
    """Let schedule(loop, callback) schedule BURST callbacks in one turn, pass after pass."""
    loop = case.loop
    left = case.passes
    ran = 0

    def callback(one=None, two=None, three=None):
        nonlocal ran
        ran += 1

    def burst():
        nonlocal left
        if left == 0:
            loop.stop()
            return
        left -= 1
        schedule(loop, callback)
        loop.call_soon(burst)

    loop.call_soon(burst)
    with case.timed():
        loop.run_forever()
    assert ran == case.passes * BURST


@row(operations_per_pass=BURST, floor="ctx_run")
def call_soon_burst1000(case):
    """One of 1,000 callbacks without arguments, scheduled in one turn and run in the next."""

    def schedule(loop, callback):
        for _ in range(BURST):
            loop.call_soon(callback)

    _run_bursts(case, schedule)


@row(operations_per_pass=BURST, floor="ctx_run")
def call_soon_burst1000_3args(case):
    """One of 1,000 callbacks with three arguments, scheduled in one turn and run in the next."""

    def schedule(loop, callback):
        for _ in range(BURST):
            loop.call_soon(callback, 1, "two", 3.0)

    _run_bursts(case, schedule)


def _run_beside_thread(case, work):
    """Run the loop while `work` runs in another thread; the clock stops when the thread ends."""
    loop = case.loop
    thread = threading.Thread(target=work, daemon=True)
    loop.call_soon(thread.start)
    with case.timed():
        loop.run_forever()
    thread.join()


@row(clock="wall")
def threadsafe_roundtrip(case):
    """One call_soon_threadsafe to an idle loop, and the calling thread waiting until it ran."""
    loop = case.loop

    def ask():
        for _ in range(case.passes):
            answered = threading.Event()
            loop.call_soon_threadsafe(answered.set)
            answered.wait()
        loop.call_soon_threadsafe(loop.stop)

    _run_beside_thread(case, ask)


@row(clock="wall", operations_per_pass=BURST)
def threadsafe_burst(case):
    """One of many calls that another thread sends by call_soon_threadsafe without waiting."""
    loop = case.loop
    count = case.passes * BURST
    ran = 0

    def callback():
        nonlocal ran
        ran += 1

    def send():
        for _ in range(count):
            loop.call_soon_threadsafe(callback)
        loop.call_soon_threadsafe(loop.stop)

    _run_beside_thread(case, send)
    assert ran == count


@row(clock="wall")
async def executor_roundtrip(case):
    """One empty function run by run_in_executor and awaited."""
    loop = case.loop
    await loop.run_in_executor(None, int)
    with case.timed():
        for _ in range(case.passes):
            await loop.run_in_executor(None, int)
