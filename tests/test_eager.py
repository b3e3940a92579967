"""Tasks that start at once: asyncio.eager_task_factory (3.12) and eager_start (3.14).

Scenarios played on asyncio's and on hotloop's types: what runs when, which task is current, which
context is entered, what is left of a task that finished within its own construction, and what is
restored when the first step fails.
"""

import asyncio
import contextvars
import gc
import sys
import weakref

import pytest
from support.task_kinds import KINDS
from support.worlds import same_as_asyncio

import hotloop

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="needs Python 3.12: tasks that start eagerly"
)
needs_eager_start = pytest.mark.skipif(
    sys.version_info < (3, 14), reason="needs Python 3.14: create_task(eager_start=)"
)

variable = contextvars.ContextVar("variable", default="unset")


async def return_value(value):
    return value


async def raise_error(error):
    raise error


def _inside(scenario):
    """Play a scenario that needs a running loop: it is an async function of the world."""

    def play(w):
        w.run(scenario(w))

    return same_as_asyncio(play)


@_inside
async def test_runs_up_to_its_first_wait(w):
    gate = w.future("gate")
    w.note("before")
    task = w.task(w.wait_for("eager", gate), eager_start=True)
    w.note("after", task._state, task._fut_waiter)
    gate.set_result("value")
    await asyncio.sleep(0)
    w.note(task._state)


@_inside
async def test_finishes_at_once(w):
    task = w.task(return_value("value"), eager_start=True)
    w.note(task._state, task.done(), task.get_name())
    if sys.version_info >= (3, 13):  # Before, asyncio's own get_coro() crashes here.
        w.note(task.get_coro())
    task.add_done_callback(w.callback())
    w.note(repr(task), await task)
    await asyncio.sleep(0)
    w.note(asyncio.all_tasks())


@_inside
async def test_fails_at_once(w):
    for error in (LookupError("text"), asyncio.CancelledError("text")):
        task = w.task(raise_error(error), eager_start=True)
        w.note(task._state, task._log_traceback, task.cancelled())
        await w.wait_for("creator", task)


@_inside
async def test_exits_pass_through_the_constructor(w):
    for error in (KeyboardInterrupt("text"), SystemExit(3)):
        coroutine = w.keep(raise_error(error))
        try:
            w.kind.Task(coroutine, loop=w.loop, eager_start=True, name="eager")
        except BaseException as caught:
            w.note(caught)
            caught.__traceback__ = None
        w.note(asyncio.current_task())
    gc.collect()


@_inside
async def test_current_task_is_swapped_and_restored(w):
    async def body():
        w.note("inside", asyncio.current_task() is not creator)
        nested = w.task(inner(), "nested", eager_start=True)
        w.note("inside again", asyncio.current_task().get_name())
        await nested

    async def inner():
        w.note("nested", asyncio.current_task().get_name())
        await asyncio.sleep(0)
        w.note("nested later", asyncio.current_task().get_name())

    creator = asyncio.current_task()
    task = w.task(body(), eager_start=True)
    w.note("outside", asyncio.current_task() is creator)
    await task


@_inside
async def test_context_is_entered_and_left(w):
    async def body():
        w.note(variable.get())
        variable.set("inside")
        await asyncio.sleep(0)
        w.note(variable.get())

    variable.set("creator")
    task = w.task(body(), eager_start=True)
    w.note(variable.get())
    await task
    context = contextvars.copy_context()
    task = w.task(body(), eager_start=True, context=context)
    w.note(context[variable], variable.get(), task.get_context() is context)
    await task


@_inside
async def test_context_that_is_already_entered(w):
    context = contextvars.copy_context()

    def inside():
        coroutine = w.keep(return_value("x"))
        try:
            w.kind.Task(coroutine, loop=w.loop, eager_start=True, context=context)
        except RuntimeError as error:
            w.note(str(error).partition(":")[0])

    creator = asyncio.current_task()
    if sys.version_info >= (3, 15):  # Before, asyncio forgets which task was current.
        context.run(inside)
    w.note(asyncio.current_task() is creator)
    w.note(await w.task(return_value("still works")))


@_inside
async def test_bare_yield_and_bad_yield_at_once(w):
    async def body():
        await asyncio.sleep(0)
        w.note("second step")

    async def itself():
        await asyncio.current_task()

    w.loop.call_soon(w.note, "between")
    task = w.task(body(), eager_start=True)
    w.note(task._state)
    await task
    await w.wait_for("creator", w.task(itself(), eager_start=True))


@_inside
async def test_cancelled_before_and_after_its_first_wait(w):
    task = w.task(w.wait_for("eager", w.future("gate")), eager_start=True)
    w.note(task.cancel("text"), task._must_cancel)
    await asyncio.wait([task])
    w.note(task._state)

    async def cancels_itself():
        asyncio.current_task().cancel("self")
        await w.wait_for("self", w.future("gate"))

    task = w.task(cancels_itself(), eager_start=True)
    w.note(task._must_cancel, task.cancelling())
    await asyncio.wait([task])
    w.note(task._state)


@_inside
async def test_all_tasks_shows_it_while_it_runs_and_waits(w):
    async def body():
        w.note(sorted(task.get_name() for task in asyncio.all_tasks()))
        await gate

    gate = w.future("gate")
    task = w.task(body(), "eager", eager_start=True)
    w.note(sorted(task.get_name() for task in asyncio.all_tasks()))
    gate.set_result(None)
    await task
    w.note(sorted(task.get_name() for task in asyncio.all_tasks()))


@same_as_asyncio
def test_needs_a_running_loop(w):
    task = w.task(w.wait_for("task", w.future("gate")), eager_start=True)
    w.note(task._state, "no step yet")
    w.turns(1)
    w.note(task._fut_waiter)


@same_as_asyncio
def test_values_of_eager_start(w):
    class Undecided:
        def __bool__(self):
            raise LookupError("neither")

    for value in (0, 1, None, "text", Undecided()):
        w.attempt(lambda: w.task(return_value(5), eager_start=value)._state)  # noqa: B023
    w.turns(1)


@_inside
async def test_eager_task_factory(w):
    w.loop.set_task_factory(asyncio.create_eager_task_factory(w.kind.Task))
    tasks = [asyncio.create_task(return_value(n), name=f"number {n}") for n in range(3)]
    w.note([task.done() for task in tasks], [task.get_name() for task in tasks])
    w.note(await asyncio.gather(*tasks, return_value(3)))
    waiting = asyncio.create_task(w.wait_for("waiting", gate := w.future("gate")))
    gate.set_result("value")
    await waiting
    async with asyncio.TaskGroup() as group:
        child = group.create_task(return_value("child"))
        w.note(child.done())
    w.note(await asyncio.wait_for(return_value("timed"), 5))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_stock_eager_factory_on_each_loop(kind):
    """Whichever kind of task a loop makes of it, it has started."""

    async def main():
        task = asyncio.create_task(return_value("eager"))
        assert isinstance(task, asyncio.Task)
        assert task.done()
        return await task

    loop = kind.new_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    assert loop.run_until_complete(main()) == "eager"
    loop.close()


@needs_eager_start
@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("eager", [False, True])
def test_eager_start_of_create_task(kind, eager):
    async def main():
        task = asyncio.create_task(return_value("value"), eager_start=eager)
        assert type(task) is kind.Task
        assert task.done() is eager
        assert await task == "value"
        direct = loop.create_task(return_value("value"), eager_start=eager)
        assert direct.done() is eager
        assert await direct == "value"

    loop = kind.new_loop()
    loop.run_until_complete(main())
    loop.close()


@needs_eager_start
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_eager_start_can_be_refused_under_an_eager_factory(kind):
    async def main():
        loop.set_task_factory(asyncio.create_eager_task_factory(kind.Task))
        eager = asyncio.create_task(return_value(1))
        lazy = asyncio.create_task(return_value(2), eager_start=False)
        assert (eager.done(), lazy.done()) == (True, False)
        assert await asyncio.gather(eager, lazy) == [1, 2]

    loop = kind.new_loop()
    loop.run_until_complete(main())
    loop.close()


def test_finished_eager_task_is_freed_at_once(loop):
    async def main():
        task = hotloop.Task(return_value(object()), loop=loop, eager_start=True)
        reference = weakref.ref(task)
        del task
        return reference()

    assert loop.run_until_complete(main()) is None


def test_finished_eager_task_has_no_coroutine(loop):
    """asyncio's crashes in 3.12; what later versions say is the answer there as well."""

    async def main():
        return hotloop.Task(return_value(1), loop=loop, eager_start=True).get_coro()

    assert loop.run_until_complete(main()) is None


def test_many_eager_tasks_nested_deeply(loop):
    """Each level starts the next within its own first step."""

    async def level(depth):
        if depth == 0:
            return "bottom"
        return await hotloop.Task(level(depth - 1), loop=loop, eager_start=True)

    assert loop.run_until_complete(level(50)) == "bottom"
