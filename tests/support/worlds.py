"""Scenarios about futures and tasks, played on asyncio and on hotloop and compared note by note.

A scenario is a function that takes a `World`: a fresh loop, constructors for the futures and tasks
of the kind being tested, and a log.  What the scenario notes, what reaches the loop's exception
handler and what asyncio logs must be the same on asyncio's types and loop as on hotloop's, and as
on each mixture of the two.  `same_as_asyncio` makes a pytest test of a scenario.
"""

import asyncio
import contextlib
import functools
import itertools
import logging

import pytest

from support.task_kinds import (
    NATIVE,
    NATIVE_ON_ASYNCIO,
    STOCK,
    STOCK_ON_NATIVE,
    Describer,
    attempt,
    run_turns,
)


class World:
    """One loop, the types under test, and the log of what happened."""

    def __init__(self, kind, debug=False):
        self.kind = kind
        self.loop = kind.new_loop()
        self.loop.set_debug(debug)
        # A loaded machine makes callbacks slow, and debug mode logs that.
        self.loop.slow_callback_duration = 60
        self.loop.set_exception_handler(lambda loop, context: self.note("handler", context))
        self.describe = Describer()
        self.describe.name("loop", self.loop)
        self.log = []
        self._coroutines = []
        self._tasks = []
        logging.getLogger("asyncio").addFilter(self._on_log_record)

    def _on_log_record(self, record):
        """Take the record out of asyncio's log and into ours: a kept record keeps its objects."""
        error = record.exc_info[1] if record.exc_info else None
        self.note("logged", record.levelname, error)
        return False

    def note(self, *values):
        """Write the values into the log, in comparable form."""
        self.log.append(tuple(self.describe(value) for value in values))

    def attempt(self, function, *args, **kwargs):
        """Call the function and note what it returned or raised."""
        self.log.append(attempt(self.describe, function, *args, **kwargs))

    def future(self, label="future"):
        """Make a future of the kind under test, shown by its label in the log."""
        return self.describe.name(label, self.kind.Future(loop=self.loop))

    def keep(self, coroutine):
        """See to it that the coroutine is closed in the end, also if no task ever runs it."""
        self._coroutines.append(coroutine)
        return coroutine

    def task(self, coroutine, label="task", **options):
        """Make a task of the kind under test; it is named by its label."""
        self.keep(coroutine)
        options.setdefault("name", label)
        task = self.kind.Task(coroutine, loop=self.loop, **options)
        self._tasks.append(task)
        return self.describe.name(label, task)

    def callback(self, label="callback"):
        """Make a done callback that notes its call."""
        return self.describe.name(label, lambda future: self.note(label, "called with", future))

    async def wait_for(self, label, awaitable):
        """Await, and note what came of it."""
        try:
            self.note(label, "got", await awaitable)
        except (asyncio.CancelledError, Exception) as error:
            self.note(label, "caught", error)

    def turns(self, number=1):
        """Let the loop take that many turns."""
        run_turns(self.loop, number)

    def run(self, coroutine):
        """Run a coroutine in a task of the kind under test until it is done."""
        return self.loop.run_until_complete(self.task(coroutine, "main"))

    def forget(self, *objects):
        """Let go of objects the log knows, so that they can be collected."""
        self.describe.forget(*objects)
        for kept in (self._tasks, self._coroutines):
            kept[:] = [entry for entry in kept if not any(entry is gone for gone in objects)]

    def close(self):
        """Finish whatever the scenario left pending; nothing of this is compared."""
        self.loop.set_exception_handler(lambda loop, context: None)
        for task in self._tasks:
            with contextlib.suppress(Exception):
                task.cancel()
        self.turns(3)
        for coroutine in self._coroutines:
            with contextlib.suppress(RuntimeError, AttributeError, asyncio.CancelledError):
                coroutine.close()
        self.loop.close()
        logging.getLogger("asyncio").removeFilter(self._on_log_record)


def play(kind, scenario, debug=False):
    """Run the scenario on that kind and return its log."""
    world = World(kind, debug)
    try:
        scenario(world)
        return list(world.log)
    finally:
        world.close()


def check(kind, scenario, debug=False):
    """Fail unless the scenario leaves the same log on that kind as on asyncio."""
    expected = play(STOCK, scenario, debug)
    assert expected, "a scenario that notes nothing tests nothing"
    actual = play(kind, scenario, debug)
    pairs = list(itertools.zip_longest(actual, expected))
    different = [pair for pair in pairs if pair[0] != pair[1]]
    if different:
        lines = [f"on {kind}: {mine!r}\nasyncio: {stock!r}" for mine, stock in different[:5]]
        pytest.fail("\n".join(lines), pytrace=False)


OTHER_KINDS = (NATIVE, NATIVE_ON_ASYNCIO, STOCK_ON_NATIVE)


def check_every_kind(scenario):
    """Do so for every kind; for tests that are parametrised by something of their own."""
    for kind in OTHER_KINDS:
        check(kind, scenario)


def same_as_asyncio(scenario):
    """Decorate a scenario: it becomes a test that it leaves the same log on every kind."""

    @pytest.mark.parametrize("debug", [False, True], ids=["", "debug"])
    @pytest.mark.parametrize("kind", OTHER_KINDS, ids=str)
    @functools.wraps(scenario)
    def test(kind, debug):
        check(kind, scenario, debug)

    # pytest would otherwise look through the wrapper and ask for the scenario's argument.
    del test.__wrapped__
    return test
