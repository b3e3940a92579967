"""hotloop's tasks and futures among those of others: other loops, other futures, other tasks.

Every pair of task and future out of asyncio's C types, asyncio's pure-Python types and hotloop's is
tried on every loop that can be imported: asyncio's, hotloop's, uvloop's and the test loop of
CPython's own tests, which is written in Python and calls the private steps of tasks itself.
"""

import asyncio
import concurrent.futures
import contextlib
import importlib
import re
import sys
import threading

import pytest

import hotloop


def _importable(name):
    """The module, or None; some of the loops tried here do not exist for every Python."""
    with contextlib.suppress(ImportError):
        return importlib.import_module(name)
    return None


LOOPS = {"asyncio": asyncio.SelectorEventLoop, "hotloop": hotloop.new_event_loop}
if uvloop := _importable("uvloop"):
    LOOPS["uvloop"] = uvloop.new_event_loop
    # Its first loop opens a pipe for the whole process, which is not to count as left behind.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as _runner:
        _runner.run(asyncio.sleep(0))

# (Future, Task) of each implementation. The pure-Python ones have no public name.
TYPES = {
    "C": (asyncio.Future, asyncio.Task),
    "python": (asyncio.futures._PyFuture, asyncio.tasks._PyTask),
    "hotloop": (hotloop.Future, hotloop.Task),
}
PAIRS = [
    pytest.param(TYPES[task][1], TYPES[future][0], id=f"{task} task, {future} future")
    for task in TYPES
    for future in TYPES
    if "hotloop" in (task, future)
]


def task_pairs(names):
    """Make parameters of each pair of task types of which one is hotloop's."""
    return [
        pytest.param(TYPES[outer][1], TYPES[inner][1], id=f"{outer} task awaits {inner} task")
        for outer in names
        for inner in names
        if "hotloop" in (outer, inner)
    ]


# From 3.14 on asyncio.current_task() does not know of the tasks written in Python.
SEEN = [name for name in TYPES if name != "python" or sys.version_info < (3, 14)]


@pytest.fixture(params=LOOPS)
def any_loop(request):
    """Return a new loop of each importable kind."""
    loop = LOOPS[request.param]()
    yield loop
    loop.close()


def run(loop, coroutine, task_type):
    """Run a coroutine in a task of that type."""
    return loop.run_until_complete(task_type(coroutine, loop=loop))


@pytest.mark.parametrize("task_type, future_type", PAIRS)
def test_result_passes_between(any_loop, task_type, future_type):
    async def main():
        future = future_type(loop=any_loop)
        any_loop.call_soon(future.set_result, "value")
        assert await future == "value"
        assert await future == "value"
        return "done"

    assert run(any_loop, main(), task_type) == "done"


@pytest.mark.parametrize("task_type, future_type", PAIRS)
def test_exception_passes_between(any_loop, task_type, future_type):
    error = LookupError("text")

    async def main():
        future = future_type(loop=any_loop)
        any_loop.call_soon(future.set_exception, error)
        with pytest.raises(LookupError) as caught:
            await future
        assert caught.value is error

    run(any_loop, main(), task_type)


@pytest.mark.parametrize("task_type, future_type", PAIRS)
def test_cancellation_passes_in_both_directions(any_loop, task_type, future_type):
    async def wait_for(future):
        await future

    async def main():
        future = future_type(loop=any_loop)
        task = task_type(wait_for(future), loop=any_loop)
        await asyncio.sleep(0)
        assert task._fut_waiter is future
        task.cancel("outwards")
        with pytest.raises(asyncio.CancelledError, match="outwards"):
            await task
        assert future.cancelled()

        future = future_type(loop=any_loop)
        task = task_type(wait_for(future), loop=any_loop)
        await asyncio.sleep(0)
        future.cancel("inwards")
        with pytest.raises(asyncio.CancelledError, match="inwards"):
            await task
        assert task.cancelled()

    run(any_loop, main(), task_type)


@pytest.mark.parametrize("outer_type, inner_type", task_pairs(TYPES))
def test_tasks_await_each_other(any_loop, outer_type, inner_type):
    async def inner(value):
        await asyncio.sleep(0)
        return value

    async def failing():
        raise LookupError("inner")

    async def main():
        task = inner_type(inner("value"), loop=any_loop)
        assert await task == "value"
        with pytest.raises(LookupError, match="inner"):
            await inner_type(failing(), loop=any_loop)
        endless = inner_type(asyncio.sleep(1000), loop=any_loop)
        await asyncio.sleep(0)
        endless.cancel("enough")
        with pytest.raises(asyncio.CancelledError, match="enough"):
            await endless

    run(any_loop, main(), outer_type)


@pytest.mark.parametrize("outer_type, inner_type", task_pairs(SEEN))
def test_current_task_among_tasks_of_several_kinds(any_loop, outer_type, inner_type):
    seen = []

    async def look(turns):
        for _ in range(turns):
            seen.append(asyncio.current_task() is not None)
            seen.append(asyncio.current_task() in asyncio.all_tasks())
            await asyncio.sleep(0)
        return asyncio.current_task()

    async def main():
        me = asyncio.current_task()
        assert type(me) is outer_type
        tasks = [kind(look(3), loop=any_loop) for kind in (outer_type, inner_type) * 2]
        assert await asyncio.gather(*tasks) == tasks
        assert asyncio.current_task() is me
        any_loop.call_soon(lambda: seen.append(asyncio.current_task(any_loop) is None))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    run(any_loop, main(), outer_type)
    assert asyncio.current_task(any_loop) is None
    assert len(seen) == 25
    assert all(seen)


def test_one_waiter_of_each_kind_is_woken_in_order(any_loop):
    for future_type, _ in TYPES.values():
        order = []

        async def wait(label, future, order=order):
            order.append((label, await future))

        future = future_type(loop=any_loop)
        tasks = [
            kind(wait(label, future), loop=any_loop)
            for label, (_, kind) in [*TYPES.items(), *TYPES.items()]
        ]
        any_loop.call_soon(any_loop.call_soon, future.set_result, 1)
        any_loop.run_until_complete(asyncio.wait_for(_all(tasks), 5))
        assert order == [(label, 1) for label in [*TYPES, *TYPES]]


async def _all(tasks):
    return await asyncio.gather(*tasks)


def test_asyncio_tools_mix_all_kinds(any_loop):
    async def value(number):
        await asyncio.sleep(0)
        return number

    async def main():
        tasks = [kind(value(n), loop=any_loop) for n, (_, kind) in enumerate(TYPES.values())]
        assert await asyncio.gather(*tasks) == [0, 1, 2]
        tasks = [kind(value(n), loop=any_loop) for n, (_, kind) in enumerate(TYPES.values())]
        done, pending = await asyncio.wait(tasks)
        assert (done, pending) == (set(tasks), set())
        for kind, _ in TYPES.values():
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(kind(loop=any_loop), 0.001)
            shielded = kind(loop=any_loop)
            outer = asyncio.shield(shielded)
            outer.cancel()
            with pytest.raises(asyncio.CancelledError):
                await outer
            assert not shielded.done()

    for name in SEEN:
        run(any_loop, main(), TYPES[name][1])


def test_thread_pool_results(any_loop):
    async def main():
        assert await any_loop.run_in_executor(None, lambda: "from a thread") == "from a thread"
        source = concurrent.futures.Future()
        threading.Timer(0.001, source.set_result, ["later"]).start()
        assert await asyncio.wrap_future(source) == "later"

    run(any_loop, main(), hotloop.Task)
    any_loop.run_until_complete(any_loop.shutdown_default_executor())


def test_run_coroutine_threadsafe(any_loop):
    async def value():
        return type(asyncio.current_task()).__name__

    async def main():
        def ask():
            return asyncio.run_coroutine_threadsafe(value(), any_loop).result(5)

        return await any_loop.run_in_executor(None, ask)

    assert run(any_loop, main(), hotloop.Task) == "Task"
    any_loop.run_until_complete(any_loop.shutdown_default_executor())


@pytest.mark.parametrize("task_type, future_type", PAIRS)
def test_future_of_another_loop_is_refused(any_loop, task_type, future_type):
    other = asyncio.SelectorEventLoop()

    async def main():
        await future_type(loop=other)

    task = task_type(main(), loop=any_loop, name="name")
    with pytest.raises(RuntimeError) as caught:
        any_loop.run_until_complete(task)
    text = re.sub(r"0x\w+|<Future [^>]*>|<coroutine[^>]*>", "...", str(caught.value))
    assert text.startswith("Task <Task pending name='name' coro=<")
    assert text.endswith("got Future ... attached to a different loop")
    other.close()


def test_own_future_awaited_on_another_loop_stays_usable(loop):
    """The refused future has no callback left over, and its own loop can still finish it."""
    other = hotloop.new_event_loop()
    future = hotloop.Future(loop=other)

    async def main():
        await future

    with pytest.raises(RuntimeError, match="attached to a different loop"):
        loop.run_until_complete(main())
    assert future._callbacks is None
    future.set_result("late")
    assert other.run_until_complete(future) == "late"
    other.close()


def test_task_types_under_a_factory(any_loop):
    """A task factory decides; the loop runs what it gets."""

    async def main():
        return type(asyncio.current_task()), type(asyncio.create_task(asyncio.sleep(0)))

    for kind in (TYPES[name][1] for name in SEEN):
        any_loop.set_task_factory(lambda loop, coro, kind=kind, **kw: kind(coro, loop=loop, **kw))
        assert any_loop.run_until_complete(main()) == (kind, kind)
        any_loop.run_until_complete(asyncio.sleep(0))


def test_ensure_future_passes_own_types_through(any_loop):
    async def main():
        for future_type, task_type in TYPES.values():
            future = future_type(loop=any_loop)
            assert asyncio.ensure_future(future) is future
            task = task_type(asyncio.sleep(0), loop=any_loop)
            assert asyncio.ensure_future(task) is task
            assert asyncio.isfuture(task)
            await task

    any_loop.run_until_complete(main())


# CPython's own tests drive tasks on a loop written in Python, whose clock is made up.
if utils := _importable("test.test_asyncio.utils"):

    def test_cpythons_test_loop_runs_own_tasks():
        def clock():
            advance = 0
            while when := (yield advance):  # Closing the loop sends 0.
                advance = max(0, when - loop.time())

        loop = utils.TestLoop(clock)
        order = []

        async def body(label, delay):
            await asyncio.sleep(delay)
            order.append(label)
            return label

        async def main():
            future = hotloop.Future(loop=loop)
            loop.call_later(3, future.set_result, "value")
            tasks = [hotloop.Task(body(n, n), loop=loop) for n in (2, 1)]
            results = await asyncio.gather(*tasks)
            return [*results, await future]

        assert run(loop, main(), hotloop.Task) == [2, 1, "value"]
        assert order == [1, 2]
        assert loop.time() >= 3
        loop.close()


def test_loop_that_does_not_know_call_soons_context():
    """A loop of long ago: its refusal reaches the caller, as with asyncio's own future."""

    class Old(asyncio.SelectorEventLoop):
        def call_soon(self, callback, *args):
            return super().call_soon(callback, *args)

    loop = Old()
    for future_type, _ in (TYPES["C"], TYPES["hotloop"]):
        future = future_type(loop=loop)
        future.add_done_callback(print)
        with pytest.raises(TypeError, match="context"):
            future.set_result(1)
    loop.close()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="needs Python 3.12: eager tasks")
@pytest.mark.parametrize("outer_type, inner_type", task_pairs(SEEN))
def test_eager_tasks_of_several_kinds_nest(any_loop, outer_type, inner_type):
    async def inner():
        assert type(asyncio.current_task()) is inner_type
        await asyncio.sleep(0)
        return "inner"

    async def middle():
        assert type(asyncio.current_task()) is outer_type
        task = inner_type(inner(), loop=any_loop, eager_start=True)
        assert type(asyncio.current_task()) is outer_type
        return await task

    async def main():
        return await outer_type(middle(), loop=any_loop, eager_start=True)

    assert run(any_loop, main(), outer_type) == "inner"
