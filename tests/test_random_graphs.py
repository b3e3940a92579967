"""Random programs of tasks and futures, played on asyncio and on hotloop with one and the same log.

A program is a handful of tasks, each a list of steps: give way, await, gather or shield others,
finish, fail or cancel a future, cancel a task, start a child, swallow the next cancellation. The
steps write into one log; its order is the order in which things ran. Nothing depends on the clock,
so the log and how every task and future ended must be the same on every mixture of types and loops.
"""

import asyncio
import contextlib
import sys

import hypothesis
import hypothesis.strategies as st
import pytest
from support.task_kinds import NATIVE, NATIVE_ON_ASYNCIO, STOCK, STOCK_ON_NATIVE, run_turns

TASKS = 5
FUTURES = 4
TURNS = 60

tasks_numbers = st.integers(0, TASKS - 1)
future_numbers = st.integers(0, FUTURES - 1)
# A thing to wait for: a task or a future, by number.
things = st.one_of(
    st.tuples(st.just("task"), tasks_numbers), st.tuples(st.just("future"), future_numbers)
)

simple_steps = st.one_of(
    st.tuples(st.just("give way"), st.integers(1, 3)),
    st.tuples(st.just("await"), things),
    st.tuples(st.just("shield"), things),
    st.tuples(st.just("gather"), st.lists(things, max_size=3), st.booleans()),
    st.tuples(st.just("wait"), st.lists(things, min_size=1, max_size=3), st.booleans()),
    st.tuples(st.just("add callback"), things),
    st.tuples(st.just("call soon"), st.integers(0, 9)),
    st.tuples(st.just("finish"), future_numbers),
    st.tuples(st.just("fail"), future_numbers),
    st.tuples(st.just("cancel"), things),
    st.tuples(st.just("swallow cancellations"), st.booleans()),
    st.tuples(st.just("uncancel"), st.integers(1, 2)),
    st.tuples(st.just("raise"), st.just(0)),
    st.tuples(st.just("return"), st.just(0)),
)
children = st.lists(simple_steps, max_size=3)
steps = st.one_of(
    simple_steps,
    simple_steps,
    st.tuples(st.just("child"), children, st.booleans()),
    # Only one member, since a group cancels the members that are left in the order of a set.
    st.tuples(st.just("task group"), st.lists(children, max_size=1)),
)
# The type of each object: the kind's own, asyncio's C type, asyncio's pure-Python type.
makes = st.sampled_from(["own", "own", "own", "C", "python"])
programs = st.tuples(
    st.lists(st.tuples(makes, st.lists(steps, max_size=6)), min_size=1, max_size=TASKS),
    st.lists(makes, min_size=FUTURES, max_size=FUTURES),
)


class Player:
    """Plays one program on one kind of types and loop."""

    def __init__(self, kind, program):
        task_plans, future_makes = program
        self.log = []
        self.loop = kind.new_loop()
        self.loop.set_exception_handler(
            lambda loop, context: self.log.append(("handler", context["message"]))
        )
        self.loop.set_task_factory(
            lambda loop, coroutine, **options: self.tasks_of["own"](coroutine, loop=loop, **options)
        )
        self.tasks_of = {"own": kind.Task, "C": asyncio.Task, "python": asyncio.tasks._PyTask}
        futures_of = {"own": kind.Future, "C": asyncio.Future, "python": asyncio.futures._PyFuture}
        self.futures = [futures_of[make](loop=self.loop) for make in future_makes]
        self.tasks = []
        for number, (make, plan) in enumerate(task_plans):
            self.start(f"task {number}", make, plan)
        self.named_tasks = list(self.tasks)

    def start(self, label, make, plan, **options):
        coroutine = self.body(label, plan)
        task = self.tasks_of[make](coroutine, loop=self.loop, name=label, **options)
        self.tasks.append(task)
        return task

    def thing(self, reference, label=None):
        """The task or future referred to; one that the task of that label may wait for.

        Tasks wait for tasks before them only: a ring of tasks waiting for each other cannot be
        cancelled, in asyncio either.
        """
        kind, number = reference
        allowed = len(self.named_tasks) if label is None else int(label.split()[1])
        if kind == "task" and allowed:
            return self.named_tasks[number % allowed]
        return self.futures[number % FUTURES]

    async def body(self, label, plan):
        swallow = False
        for step in plan:
            self.log.append((label, step[0]))
            if step[0] == "swallow cancellations":
                swallow = step[1]
                continue
            if step[0] == "return":
                return label
            try:
                result = await self.step(label, *step)
            except asyncio.CancelledError as error:
                self.log.append((label, "cancelled", error.args))
                if not swallow:
                    raise
            except (LookupError, RuntimeError, BaseExceptionGroup) as error:
                self.log.append((label, "caught", type(error).__name__))
                if step[0] == "raise":
                    raise
            else:
                self.log.append((label, "got", result))
        return label

    async def step(self, label, operation, *arguments):
        return await getattr(self, "step_" + operation.replace(" ", "_"))(label, *arguments)

    async def step_give_way(self, label, number):
        for _ in range(number):
            await asyncio.sleep(0)

    async def step_await(self, label, reference):
        return await self.thing(reference, label)

    async def step_shield(self, label, reference):
        return await asyncio.shield(self.thing(reference, label))

    async def step_gather(self, label, references, return_exceptions):
        things = [self.thing(reference, label) for reference in references]
        results = await asyncio.gather(*things, return_exceptions=return_exceptions)
        return [type(one).__name__ if isinstance(one, BaseException) else one for one in results]

    async def step_wait(self, label, references, first):
        things = {self.thing(reference, label) for reference in references}
        when = asyncio.FIRST_COMPLETED if first else asyncio.ALL_COMPLETED
        done, pending = await asyncio.wait(things, return_when=when)
        return len(done), len(pending)

    async def step_add_callback(self, label, reference):
        self.thing(reference).add_done_callback(
            lambda future: self.log.append((label, "callback", future.cancelled()))
        )

    async def step_call_soon(self, label, number):
        self.loop.call_soon(self.log.append, (label, "soon", number))

    async def step_finish(self, label, number):
        if not self.futures[number].done():
            self.futures[number].set_result(number)

    async def step_fail(self, label, number):
        if not self.futures[number].done():
            self.futures[number].set_exception(LookupError(number))

    async def step_cancel(self, label, reference):
        return self.thing(reference).cancel(f"by {label}")

    async def step_uncancel(self, label, number):
        me = next(task for task in self.tasks if task.get_name() == label)
        return [me.uncancel() for _ in range(number)]

    async def step_raise(self, label, _):
        raise LookupError(label)

    async def step_child(self, label, plan, eager):
        options = {"eager_start": eager} if sys.version_info >= (3, 12) else {}
        self.start(f"{label} child {len(self.tasks)}", "own", plan, **options)

    async def step_task_group(self, label, plans):
        async with asyncio.TaskGroup() as group:
            for number, plan in enumerate(plans):
                name = f"{label} member {number} of {len(self.tasks)}"
                self.tasks.append(group.create_task(self.body(name, plan), name=name))
        return "group"

    def states(self):
        """How everything stands, and what the tasks have been asked."""
        return [
            (
                thing._state,
                type(thing._exception).__name__,
                getattr(thing, "cancelling", int)(),
                getattr(thing, "_must_cancel", None),
                str(thing._cancel_message),
            )
            for thing in [*self.tasks, *self.futures]
        ]

    def play(self):
        """Run to the end, or to a deadlock; then cancel what is left, and return the whole log."""
        run_turns(self.loop, TURNS)
        self.log.append(self.states())
        for task in self.tasks:
            self.log.append(task.cancel("the end"))
        run_turns(self.loop, TURNS)
        self.log.append(self.states())
        return self.log

    def close(self):
        """Let nothing of the program be reported after its end."""
        self.loop.set_exception_handler(lambda loop, context: None)
        for _ in range(10):
            pending = [task for task in self.tasks if not task.done()]
            for task in pending:
                task.cancel()
            run_turns(self.loop, 5)
        for thing in [*self.tasks, *self.futures]:
            with contextlib.suppress(asyncio.InvalidStateError, asyncio.CancelledError):
                thing.exception()
            if isinstance(thing, asyncio.Task) or hasattr(thing, "get_coro"):
                thing._log_destroy_pending = False
        self.loop.close()


def play(kind, program):
    player = Player(kind, program)
    try:
        return list(player.play())
    finally:
        player.close()


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", [NATIVE, NATIVE_ON_ASYNCIO, STOCK_ON_NATIVE], ids=str)
@hypothesis.settings(
    max_examples=150,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=list(hypothesis.HealthCheck),
)
@hypothesis.given(program=programs)
def test_random_program_goes_the_same_way(kind, program):
    assert play(kind, program) == play(STOCK, program)


def test_the_log_tells_orders_apart():
    """The comparison would notice two tasks that change places."""
    plan = [("give way", 1), ("await", ("future", 0))]
    finish = [("finish", 0)]
    futures = ["own"] * FUTURES
    one = play(STOCK, ([("own", plan), ("own", finish)], futures))
    other = play(STOCK, ([("own", finish), ("own", plan)], futures))
    assert one != other
    assert ("task 0", "got", 0) in one
