"""Puts hotloop's loop, Task and Future where CPython's test modules will look for asyncio's.

Runs in the process of one test module (child.py), in this order: `Injection(mode)`, `prepare()`
before the module is imported, `adapt(module)` after that, `before_test()` before each test, and
`problems()` at the end. What CPython's tests build for themselves to test with, a TestLoop with a
clock of its own or a mock, stays CPython's; the loops made are counted, so that a test
that met no loop of hotloop's is not taken for one that did.
"""

import asyncio
import functools
import os
import sys

import hotloop
import hotloop._core

HAS_POLICIES = sys.version_info < (3, 14)


class Injection:
    """One replacement of asyncio's classes, for the life of this process."""

    def __init__(self, *, loop, task, future):
        self.replaces_loop = loop
        self.replaces_task = task
        self.replaces_future = future
        self.own_loops = self.own_loops_before = 0
        self.foreign_loops = 0
        self.policy_is_the_tests = False
        self.counters_before = {}

    def prepare(self):
        """Replace what test modules read when they are imported, and in their tests later."""
        # The two private names are where CPython's tests get the classes from that they test.
        if self.replaces_task:
            asyncio.tasks._CTask = hotloop.Task
        if self.replaces_future:
            asyncio.futures._CFuture = hotloop.Future
        if self.replaces_loop:
            self.count_loops()
            asyncio.SelectorEventLoop = hotloop.Loop
            asyncio.Handle = hotloop.Handle
            asyncio.TimerHandle = hotloop.TimerHandle
            if hasattr(asyncio, "EventLoop"):  # Since 3.13.
                asyncio.EventLoop = hotloop.Loop
        self.counters_before = hotloop._core.counters()

    def count_loops(self):
        """Count the loops that are initialised from now on: hotloop's and all others."""
        initialise_own = hotloop.Loop.__init__
        initialise_any = asyncio.BaseEventLoop.__init__

        def count_own(loop, *args, **kwargs):
            self.own_loops += 1
            initialise_own(loop, *args, **kwargs)

        def count_foreign(loop):
            self.foreign_loops += not isinstance(loop, hotloop.Loop)
            initialise_any(loop)

        hotloop.Loop.__init__ = count_own
        asyncio.BaseEventLoop.__init__ = count_foreign

    def adapt(self, module):
        """Replace the loops that the tests of this module make by themselves."""
        if not self.replaces_loop:
            return
        if "test.test_asyncio.utils" in sys.modules:
            replace_test_loops(sys.modules["test.test_asyncio.utils"])
        replace_loops_of_selectors(module)
        adapter = ADAPTERS.get(module.__name__.rpartition(".")[2])
        if adapter is not None:
            adapter(self, module)
        self.policy_is_the_tests = module.__name__.endswith("test_runners")
        if not HAS_POLICIES and not self.policy_is_the_tests:
            hotloop.install()

    def before_test(self):
        """Make hotloop the source of new loops again: most tests reset the policy at their end."""
        self.own_loops_before = self.own_loops
        self.foreign_loops = 0
        if self.replaces_loop and HAS_POLICIES and not self.policy_is_the_tests:
            asyncio.set_event_loop_policy(hotloop.EventLoopPolicy())

    def only_own_loops(self):
        """Say whether the test since before_test() has made loops, all of them hotloop's."""
        return self.own_loops > self.own_loops_before and self.foreign_loops == 0

    def uses(self):
        """Say how often hotloop's things were used, by name; Loop is always there."""
        before = self.counters_before
        after = hotloop._core.counters()
        used = {}
        for name in after:
            if name.startswith("created_") or name == "steps":
                used[name.removeprefix("created_")] = after[name] - before.get(name, 0)
        used["Loop"] = self.own_loops
        return used

    def problems(self):
        """Say what is wrong with the replacement itself."""
        if not hotloop._core.native:
            return [f"hotloop runs on asyncio's stock types: {hotloop._core.layout_problem}"]
        return self.loop_problems() if self.replaces_loop else []

    def loop_problems(self):
        """Say whether a new loop and what it makes are hotloop's own."""
        self.before_test()
        loop = asyncio.new_event_loop() if not self.policy_is_the_tests else hotloop.Loop()

        async def nothing():
            """End at once."""

        try:
            task = loop.create_task(nothing())
            loop.run_until_complete(task)
            made = (
                (loop, hotloop.Loop),
                (task, hotloop.Task),
                (loop.create_future(), hotloop.Future),
            )
            return [f"{thing!r} is no {kind!r}" for thing, kind in made if type(thing) is not kind]
        finally:
            loop.close()


def replace_test_loops(utils):
    """Let new_test_loop() without a time generator return hotloop's loop.

    With a generator the test drives the clock of CPython's TestLoop, which stays as it is.
    """
    new_test_loop = utils.TestCase.new_test_loop

    def new_test_loop_of_hotloop(test, gen=None):
        if gen is not None or test.id().endswith(NEEDS_TEST_LOOP):
            return new_test_loop(test, gen)
        loop = hotloop.new_event_loop()
        test.set_event_loop(loop)
        return loop

    utils.TestCase.new_test_loop = new_test_loop_of_hotloop


def replace_loops_of_selectors(module):
    """Let the classes that test one selector each make hotloop's loop, which has its own poller."""

    def create_event_loop(test):
        return hotloop.new_event_loop()

    for value in list(vars(module).values()):
        if isinstance(value, type) and "create_event_loop" in vars(value):
            value.create_event_loop = create_event_loop


# Tests that use a TestLoop's own methods although they give it no time generator.
NEEDS_TEST_LOOP = ()


def after_set_up(test_class, call):
    """Have `call(test)` follow the setUp of each test in the class."""
    set_up = test_class.setUp

    def set_up_and_call(test):
        set_up(test)
        call(test)

    test_class.setUp = set_up_and_call


def use_python_tasks(loop):
    """Let a loop of hotloop's make asyncio's pure-Python tasks and futures.

    Asyncio's loop does because the tests replace asyncio.tasks.Task; hotloop's makes its own.
    """
    loop.set_task_factory(
        lambda loop, coro, **options: asyncio.tasks._PyTask(coro, loop=loop, **options)
    )
    loop.create_future = lambda: asyncio.futures._PyFuture(loop=loop)


def adapt_runners(injection, module):
    """Let the policy of test_runners make hotloop's loop, not a BaseEventLoop with mocks."""

    def new_loop(test):
        loop = hotloop.new_event_loop()
        loop.shutdown_ag_run = False

        async def shutdown_asyncgens():
            loop.shutdown_ag_run = True

        loop.shutdown_asyncgens = shutdown_asyncgens
        return loop

    module.BaseTest.new_loop = new_loop


def adapt_events(injection, module):
    """Let the tests make pure-Python tasks where they replace the functions that those call.

    They put the Python functions that know the running loop in the place of those in C, which only
    Python tasks take notice of.
    """
    after_set_up(module.TestPyGetEventLoop, lambda test: use_python_tasks(test.loop))


class SysOfUnixEvents:
    """Reads sys where asyncio.unix_events does, in which a test replaces it by a mock."""

    def __getattr__(self, name):
        return getattr(asyncio.unix_events.sys, name)


def adapt_unix_events(injection, module):
    """Let hotloop's close() and asyncio's code for signals meet what the tests replace."""
    hotloop._loop.sys = SysOfUnixEvents()
    # Inherited code makes the handles of signals.
    asyncio.Handle = asyncio.events.Handle
    if hasattr(module, "PidfdChildWatcherTests"):
        # Counts descriptors; the loop's own ones are opened when it first waits.
        after_set_up(
            module.PidfdChildWatcherTests,
            lambda test: test.loop.run_until_complete(asyncio.sleep(0.001)),
        )


def adapt_server_context(injection, module):
    """Replace the loop factory that a class took over when the module was imported."""
    module.AsyncioEventLoopTests.loop_factory = staticmethod(hotloop.new_event_loop)


def adapt_mock_selector(class_name, injection, module):
    """Let hotloop's loop replace the BaseEventLoop with a mock selector that setUp has made.

    As the mock's select() does, its poll returns at once: it watches what is always ready.
    """

    def replace_loop(test):
        test.loop.close()
        injection.foreign_loops -= 1
        always_ready = os.eventfd(1)
        test.addCleanup(os.close, always_ready)  # Runs after the loop's own clean-up.
        test.loop = hotloop.new_event_loop()
        test.set_event_loop(test.loop)
        test.loop.add_reader(always_ready, lambda: None)

    after_set_up(getattr(module, class_name), replace_loop)


def adapt_graph(injection, module):
    """Let the loop make pure-Python tasks in the tests of the pure-Python call graph."""
    after_set_up(
        module.TestCallStackPy, lambda test: use_python_tasks(test._asyncioRunner.get_loop())
    )


ADAPTERS = {
    "test_graph": adapt_graph,
    "test_runners": adapt_runners,
    "test_events": adapt_events,
    "test_unix_events": adapt_unix_events,
    "test_server_context": adapt_server_context,
    "test_base_events": functools.partial(adapt_mock_selector, "BaseEventLoopTests"),
    "test_pep492": functools.partial(adapt_mock_selector, "BaseTest"),
}
