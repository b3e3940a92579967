"""Which of CPython's test modules are run, in which modes, and what each must be seen to use.

A *mode* says which of asyncio's classes hotloop's stand in for. Mode "asyncio" replaces nothing:
it tells what stock asyncio does with an id on this interpreter. Modules that a Python version does
not have are simply absent from its plan. Nothing here imports CPython's tests or hotloop.
"""

import dataclasses
import importlib.util
import os
import platform
import re
import sys

TEST_PACKAGE = "libpython3-testsuite"


@dataclasses.dataclass(frozen=True)
class Mode:
    """What hotloop provides in one run of a module."""

    name: str
    title: str
    loop: bool = False
    task: bool = False
    future: bool = False


MODES = {
    mode.name: mode
    for mode in (
        Mode("asyncio", "asyncio"),
        Mode("loop", "hotloop's loop", loop=True, task=True, future=True),
        Mode("types", "types on asyncio's loop", task=True, future=True),
        Mode("task", "Task, asyncio's Future", loop=True, task=True),
        Mode("future", "Future, asyncio's Task", loop=True, future=True),
    )
}

# Test classes that take their Task or Future class from asyncio.tasks._CTask and
# asyncio.futures._CFuture: what "types" runs. The variants for the pure-Python classes are left
# out there because nothing of hotloop's takes part in them; mode "loop" runs those too.
TAKES_TYPES = (
    r"(CTask|PyTask_CFuture|CIntrospection|CCurrentLoop)"
    r"|C(Sub)?Future"
    r"|CEagerTaskFactory|(Non)?Eager(CTask)?Tests"
    r"|Test(Eager)?CFreeThreading|TestCallStackC|TestCGetEventLoop"
)
# The classes in which an asyncio C Task meets an asyncio C Future: with one of the two replaced
# they show hotloop's Task and Future beside asyncio's own. The other pairs occur in "types".
BOTH_IN_C = r"CTask_CFuture"


@dataclasses.dataclass(frozen=True)
class Module:
    """One of CPython's test modules and what its tests must have made of hotloop's (a proof)."""

    name: str
    uses: str = "Loop Task Future steps"
    types: str = ""  # What mode "types" must use; it is left out where it would use nothing.
    pairs: bool = False
    future: bool = True  # False: asyncio's Future stays, also where a mode replaces it.

    def jobs(self):
        """Yield a job for each mode this module is run in."""
        yield self.job("loop", "")
        if self.types:
            yield self.job("types", TAKES_TYPES)
        if self.pairs:
            yield self.job("task", BOTH_IN_C)
            yield self.job("future", BOTH_IN_C)

    def job(self, mode_name, classes):
        """Return the job for one mode and the test classes that match the pattern."""
        mode = MODES[mode_name]
        return Job(self, dataclasses.replace(mode, future=mode.future and self.future), classes)

    def expected_uses(self, mode):
        """Return which of hotloop's things must have been in use in that mode."""
        provided = {
            "Loop": mode.loop,
            "Transport": mode.loop,
            "SockCall": mode.loop,
            "Task": mode.task,
            "steps": mode.task,
            "Future": mode.future,
        }
        uses = self.uses if mode.loop else self.types
        return {name for name in uses.split() if provided[name]}


SINCE_3_14 = sys.version_info >= (3, 14)
TASK_ONLY = "Loop Task steps"
TRANSPORTS = "Loop Task Future steps Transport"
# Not here: test_selector_events, which drives the private transports of asyncio's selector loop
# with mocks of sockets and selectors, and what belongs to another platform (test_proactor_events,
# test_windows_events, test_windows_utils).
IN_TEST_ASYNCIO = (
    Module("tasks", types="Task Future steps", pairs=True),
    # Takes the types since 3.14.
    Module("events", uses=TRANSPORTS, types="Task steps" if SINCE_3_14 else ""),
    Module("taskgroups"),
    Module("eager_task_factory", types="Task steps"),
    Module("futures", types="Future"),
    Module("futures2", uses=TASK_ONLY, types="Task steps"),
    Module("base_events"),
    Module("free_threading", types="Task Future steps"),
    # The tests put _CFuture in the place of the class that asyncio checks futures against, which
    # asyncio's own helper classes, gather's for example, have to pass as well.
    Module("graph", types="Task steps", future=False),
    Module("waitfor"),
    Module("locks"),
    Module("queues"),
    Module("timeouts"),
    Module("staggered"),
    Module("runners"),
    Module("context"),
    Module("threads"),
    Module("pep492"),
    Module("protocols", uses=""),
    Module("transports", uses=""),
    Module("tools", uses=""),
    Module("sock_lowlevel", uses="Loop Task steps SockCall"),
    Module("sendfile", uses=TRANSPORTS),
    Module("server", uses=TRANSPORTS),
    Module("server_context", uses=TRANSPORTS),
    Module("streams", uses=TRANSPORTS),
    Module("buffered_proto", uses=TRANSPORTS),
    Module("ssl", uses=TRANSPORTS),
    Module("sslproto", uses=TRANSPORTS),
    Module("subprocess"),
    Module("unix_events"),
)
ELSEWHERE = (
    Module("test.test_asyncgen"),
    # Drives its coroutines itself since 3.14.
    Module("test.test_contextlib_async", uses="" if SINCE_3_14 else TASK_ONLY),
    Module("test.test_unittest.test_async_case"),  # 3.12 and later.
    Module("unittest.test.test_async_case"),  # 3.11.
)
MODULES = (
    *(dataclasses.replace(m, name=f"test.test_asyncio.test_{m.name}") for m in IN_TEST_ASYNCIO),
    *ELSEWHERE,
)


@dataclasses.dataclass(frozen=True)
class Job:
    """One module in one mode, restricted to the test classes that the pattern matches."""

    module: Module
    mode: Mode
    classes: str

    @property
    def name(self):
        """Return a short name such as tasks-loop."""
        return f"{short_name(self.module.name)}-{self.mode.name}"

    def select(self, ids):
        """Return those of the module's test ids that this mode runs."""
        return [test_id for test_id in ids if re.match(self.classes, class_name(test_id))]


def short_name(module_name):
    """Return the module's name without what all of them have in common."""
    return module_name.rpartition(".")[2].removeprefix("test_")


def class_name(test_id):
    """Return the class of a test id such as test.test_asyncio.test_tasks.SleepTests.test_sleep."""
    return test_id.split(".")[-2] if test_id.count(".") > 1 else ""


def source_of(module_name):
    """Return the file of a module of the standard library, or None if it is not installed.

    Not found by import: what a test package imports has no place in the process that runs pytest.
    """
    top, *rest = module_name.split(".")
    spec = importlib.util.find_spec(top)
    for folder in (spec and spec.submodule_search_locations) or ():
        path = os.path.join(folder, *rest)
        for candidate in (path + ".py", os.path.join(path, "__init__.py")):
            if os.path.exists(candidate):
                return candidate
    return None


def python_version():
    """Return this interpreter's full version."""
    return platform.python_version()


def tests_are_installed():
    """Say whether this interpreter came with CPython's tests of asyncio."""
    return source_of("test.test_asyncio.test_tasks") is not None


def jobs():
    """Return all jobs for this interpreter, the longest modules first."""
    present = [module for module in MODULES if source_of(module.name) is not None]
    return [job for module in present for job in module.jobs()]
