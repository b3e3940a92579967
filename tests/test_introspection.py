"""What shows tasks to people and tools: current_task, all_tasks, call graphs, asyncio ps, pstree.

asyncio's own functions and the tool that reads another process's memory must see hotloop's tasks as
they see asyncio's, on every loop, from other threads, and at every moment of a task's life.
"""

import asyncio
import contextvars
import gc
import io
import os
import re
import subprocess
import sys
import textwrap
import threading
import weakref

import pytest
from support import child
from support.task_kinds import ALL_KINDS, NATIVE
from support.worlds import same_as_asyncio

import hotloop

needs_call_graphs = pytest.mark.skipif(
    sys.version_info < (3, 14), reason="needs Python 3.14: asyncio.capture_call_graph"
)
needs_asyncio_ps = pytest.mark.skipif(
    sys.version_info < (3, 14), reason="needs Python 3.14: python -m asyncio ps"
)


def names(tasks):
    return sorted(task.get_name() for task in tasks)


# --- current_task and all_tasks -------------------------------------------------------------------


@same_as_asyncio
def test_current_task_everywhere(w):
    async def main():
        me = asyncio.current_task()
        w.note(me, asyncio.current_task(w.loop) is me)
        w.note(asyncio.current_task(other))
        me.add_done_callback(lambda task: w.note("callback", asyncio.current_task(w.loop)))
        await asyncio.sleep(0)
        w.note(asyncio.current_task() is me)

    other = w.kind.new_loop()
    w.attempt(asyncio.current_task)
    w.attempt(asyncio.current_task, w.loop)
    w.run(main())
    w.note(asyncio.current_task(w.loop))
    other.close()


@same_as_asyncio
def test_a_task_that_dies_with_its_step_dies_outside_of_any_task(w):
    """Nor in the context of the task whose step comes next."""
    where = contextvars.ContextVar("where", default="in no task")

    class Finalized:
        def __init__(self, name):
            self.name = name

        def __del__(self):
            w.note(self.name, where.get(), asyncio.current_task(w.loop))

    async def returns(name):
        where.set(name)
        return Finalized(name)

    async def waits(name, future):
        where.set(name)
        await future

    def start(name, coroutine):
        weakref.finalize(w.kind.Task(coroutine, loop=w.loop), w.note, "dead", name)

    future = w.kind.Future(loop=w.loop)
    start("woken", waits("woken", future))
    start("returns", returns("first"))
    start("next", returns("second"))
    w.turns(1)
    future.set_result(Finalized("result"))
    del future
    start("another", returns("third"))
    w.turns(1)
    w.note("end")


@same_as_asyncio
def test_all_tasks_through_a_tasks_life(w):
    gate = w.future("gate")
    w.attempt(asyncio.all_tasks)
    task = w.task(w.wait_for("task", gate))
    w.note(names(asyncio.all_tasks(w.loop)))
    w.turns(1)
    w.note(names(asyncio.all_tasks(w.loop)))
    gate.set_result(1)
    w.note(names(asyncio.all_tasks(w.loop)))
    w.turns(1)
    w.note(names(asyncio.all_tasks(w.loop)), task.done())


@same_as_asyncio
def test_all_tasks_keeps_loops_apart(w):
    other = w.kind.new_loop()
    mine = w.task(w.wait_for("mine", w.future("gate")), "mine")
    theirs = w.kind.Task(w.keep(asyncio.sleep(0)), loop=other, name="theirs")
    w.note(names(asyncio.all_tasks(w.loop)), names(asyncio.all_tasks(other)))
    w.note(mine in asyncio.all_tasks(w.loop), mine in asyncio.all_tasks(other))
    other.run_until_complete(theirs)
    other.close()


@same_as_asyncio
def test_all_tasks_mixes_kinds(w):
    gate = w.future("gate")
    pairs = [("native", hotloop.Task), ("C", asyncio.Task), ("python", asyncio.tasks._PyTask)]
    tasks = [kind(w.wait_for(name, gate), loop=w.loop, name=name) for name, kind in pairs]
    w.note(names(asyncio.all_tasks(w.loop)))
    w.turns(1)
    w.note(names(asyncio.all_tasks(w.loop)))
    gate.set_result(1)
    w.turns(1)
    w.note(names(asyncio.all_tasks(w.loop)), [task.done() for task in tasks])


@same_as_asyncio
def test_freed_tasks_are_not_listed(w):
    for _ in range(5):
        task = w.kind.Task(w.wait_for("lost", w.kind.Future(loop=w.loop)), loop=w.loop)
        task._log_destroy_pending = False
        w.turns(1)
        del task
    gc.collect()
    w.note(names(asyncio.all_tasks(w.loop)))


@same_as_asyncio
def test_registering_by_hand(w):
    """The private functions that other loops and tools call."""
    task = w.task(w.wait_for("task", w.future("gate")))
    asyncio._unregister_task(task)
    w.note(names(asyncio.all_tasks(w.loop)))
    asyncio._register_task(task)
    w.note(names(asyncio.all_tasks(w.loop)))
    asyncio._register_task(task)
    w.note(names(asyncio.all_tasks(w.loop)))
    w.turns(1)


@same_as_asyncio
def test_entering_by_hand(w):
    """Up to 3.13 any loop will do; from then on it must be the running one."""

    async def main():
        task = w.task(asyncio.sleep(0), "entered")
        me = asyncio.current_task()
        w.attempt(asyncio._leave_task, w.loop, task)
        w.attempt(asyncio._enter_task, w.loop, task)
        w.note(asyncio.current_task() is me)
        asyncio._leave_task(w.loop, me)
        w.note(asyncio.current_task())
        asyncio._enter_task(w.loop, task)
        w.note(asyncio.current_task())
        asyncio._leave_task(w.loop, task)
        asyncio._enter_task(w.loop, me)
        w.note(asyncio.current_task() is me)
        if sys.version_info >= (3, 12):
            w.note(asyncio.tasks._swap_current_task(w.loop, task) is me)
            w.note(asyncio.tasks._swap_current_task(w.loop, me))
        await task

    w.run(main())


class Watcher(threading.Thread):
    """Calls a function over and over in another thread until told to stop, counting the calls."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.results = []
        self.stopped = threading.Event()
        self.seen_some = threading.Event()

    def run(self):
        while not self.stopped.is_set():
            self.results.append(self.function())
            if self.results[-1]:
                self.seen_some.set()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *error):
        self.stopped.set()
        self.join()


def _all_tasks_of(loop):
    """asyncio.all_tasks as another thread can call it: up to 3.13 it may lose a race and say so."""
    try:
        return asyncio.all_tasks(loop)
    except RuntimeError:
        return set()


@pytest.mark.parametrize("kind", ALL_KINDS, ids=str)
def test_all_tasks_from_another_thread_while_tasks_come_and_go(kind):
    async def short():
        await asyncio.sleep(0)

    async def main():
        rounds = 0
        while not (rounds > 50 and watcher.seen_some.is_set()):
            await asyncio.gather(*(kind.Task(short(), loop=loop) for _ in range(10)))
            rounds += 1

    loop = kind.new_loop()
    with Watcher(lambda: len(_all_tasks_of(loop))) as watcher:
        loop.run_until_complete(kind.Task(main(), loop=loop))
    loop.close()
    assert max(watcher.results) <= 11 + 1


@pytest.mark.parametrize("kind", ALL_KINDS, ids=str)
def test_current_task_from_another_thread(kind):
    """Another thread sees the task that is in its step, here one that waits for that thread."""
    answers = []

    async def main():
        asker = threading.Thread(target=lambda: answers.append(asyncio.current_task(loop)))
        asker.start()
        asker.join()
        return asyncio.current_task()

    loop = kind.new_loop()
    task = kind.Task(main(), loop=loop)
    assert loop.run_until_complete(task) is task
    assert answers == [task]
    assert asyncio.current_task(loop) is None
    loop.close()


@pytest.mark.parametrize("kind", ALL_KINDS, ids=str)
def test_all_tasks_after_the_thread_of_the_loop_has_ended(kind):
    """A thread's tasks outlive it; asyncio still lists them."""
    loop = kind.new_loop()
    tasks = []

    def work():
        tasks.append(kind.Task(asyncio.sleep(0), loop=loop, name="left over"))
        loop.run_until_complete(asyncio.sleep(0))
        tasks.append(kind.Task(asyncio.sleep(0), loop=loop, name="never started"))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert names(asyncio.all_tasks(loop)) == ["never started"]
    loop.run_until_complete(tasks[1])
    assert names(asyncio.all_tasks(loop)) == []
    loop.close()


# --- Who waits for whom ---------------------------------------------------------------------------


@needs_call_graphs
@same_as_asyncio
def test_awaited_by(w):
    async def main():
        inner = w.task(w.wait_for("inner", gate), "inner")
        w.note(gate._asyncio_awaited_by, inner._asyncio_awaited_by)
        outer = [w.task(w.wait_for(label, inner), label) for label in ("one", "two", "three")]
        await asyncio.sleep(0)
        w.note(gate._asyncio_awaited_by, inner._asyncio_awaited_by)
        await asyncio.sleep(0)
        w.note(inner._asyncio_awaited_by)
        gate.set_result("open")
        await asyncio.gather(*outer, return_exceptions=True)
        w.note(gate._asyncio_awaited_by, inner._asyncio_awaited_by)

    gate = w.future("gate")
    w.run(main())


@needs_call_graphs
@same_as_asyncio
def test_awaited_by_of_futures_that_end_in_each_way(w):
    for finish in ("set_result", "set_exception", "cancel"):
        future = w.future()
        w.task(w.wait_for("task", future), "task")
        w.turns(1)
        w.note(future._asyncio_awaited_by)
        getattr(future, finish)(
            *{"set_exception": [OSError("x")], "set_result": [1]}.get(finish, [])
        )
        w.turns(1)
        w.note(future._asyncio_awaited_by)


@needs_call_graphs
@same_as_asyncio
def test_future_add_to_awaited_by(w):
    futures = [w.future(label) for label in ("one", "two", "three")]
    asyncio.future_add_to_awaited_by(futures[0], futures[1])
    w.note(futures[0]._asyncio_awaited_by)
    asyncio.future_add_to_awaited_by(futures[0], futures[2])
    asyncio.future_add_to_awaited_by(futures[0], futures[2])
    w.note(futures[0]._asyncio_awaited_by)
    for waiter in (futures[1], futures[2], futures[1]):
        asyncio.future_discard_from_awaited_by(futures[0], waiter)
        w.note(futures[0]._asyncio_awaited_by)
    w.attempt(asyncio.future_add_to_awaited_by, futures[0], 5)
    w.note(futures[0]._asyncio_awaited_by)


@needs_call_graphs
@same_as_asyncio
def test_call_graph_of_nested_tasks(w):
    def describe(graph):
        calls = [entry.frame.f_code.co_name for entry in graph.call_stack]
        return (w.describe(graph.future), calls, [describe(entry) for entry in graph.awaited_by])

    async def innermost():
        await asyncio.sleep(0)
        w.log.append(describe(asyncio.capture_call_graph(depth=1, limit=3)))
        sink = io.StringIO()
        asyncio.print_call_graph(file=sink, limit=2)
        w.note(re.sub(r"id=0x\w+", "id", sink.getvalue()))
        await gate

    async def middle():
        async with asyncio.TaskGroup() as group:
            w.describe.name("child", group.create_task(innermost(), name="child"))

    async def outer(task):
        await asyncio.gather(task, asyncio.sleep(0))

    async def main():
        task = w.task(middle(), "middle")
        top = w.task(outer(task), "outer")
        for _ in range(4):
            await asyncio.sleep(0)
        w.log.append(describe(asyncio.capture_call_graph(gate)))
        w.log.append(describe(asyncio.capture_call_graph(task)))
        w.log.append(re.sub(r"id=0x\w+", "id", asyncio.format_call_graph(task)))
        gate.set_result(None)
        await top

    gate = w.future("gate")
    w.loop.set_task_factory(lambda loop, coro, **kw: w.kind.Task(coro, loop=loop, **kw))
    w.run(main())


PROGRAM = """
    import asyncio, sys

    async def leaf_function():
        await asyncio.Event().wait()

    async def branch_function():
        async with asyncio.TaskGroup() as group:
            group.create_task(leaf_function(), name="leaf one")
            group.create_task(leaf_function(), name="leaf two")

    async def main():
        task = asyncio.create_task(branch_function(), name="branch")
        while len(asyncio.all_tasks()) < 4:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        print(type(task).__module__, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    import hotloop
    hotloop.run(main())
"""


@pytest.fixture
def waiting_program():
    """Run a program whose tasks wait for each other, and return its process."""
    process = subprocess.Popen(
        child.command("-c", textwrap.dedent(PROGRAM)),
        env=child.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline().strip() == "hotloop"
        yield process
    finally:
        process.communicate("", timeout=20)
    assert process.returncode == 0


@needs_asyncio_ps
@pytest.mark.timeout(60)
def test_asyncio_ps_shows_the_tasks_of_another_process(waiting_program):
    listing = child.run_ok("-m", "asyncio", "ps", waiting_program.pid, warnings=None)
    for name in ("branch", "leaf one", "leaf two"):
        assert name in listing
    (line,) = [line for line in listing.splitlines() if " leaf one " in line]
    assert "leaf_function" in line
    assert "branch_function" in line


@needs_asyncio_ps
@pytest.mark.timeout(60)
def test_asyncio_pstree_shows_who_waits_for_whom(waiting_program):
    tree = child.run_ok("-m", "asyncio", "pstree", waiting_program.pid, warnings=None)
    order = [tree.index(name) for name in ("main", "branch_function", "leaf_function")]
    assert order == sorted(order)
    assert tree.count("leaf_function") == 2


def test_no_task_is_left_by_the_import():
    """The layout probe makes a task of its own; it must not stay in asyncio's lists."""
    code = """
        import asyncio, gc

        async def main():
            me, loop = asyncio.current_task(), asyncio.get_running_loop()
            import hotloop
            assert asyncio.current_task() is me
            assert asyncio.get_running_loop() is loop
            assert asyncio.all_tasks() == {me}
            gc.collect()
            assert asyncio.all_tasks() == {me}

        asyncio.run(main())
        import hotloop
        print(hotloop._core.native)
    """
    assert child.run_ok("-c", textwrap.dedent(code)) in ("True\n", "False\n")


def test_task_types_of_the_native_kind_are_native():
    """All of this would prove little if the types were asyncio's own."""
    assert hotloop._core.native
    assert NATIVE.Task is not asyncio.Task
    assert os.environ.get("HOTLOOP_TEST_LAYOUT_SHIFT") is None
