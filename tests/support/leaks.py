"""What a test may not leave behind: descriptors, native objects, reports and an installed loop.

`Baseline` is taken before a test and compared afterwards by the autouse fixture in conftest.py;
`Reports` collects what loops hand to an exception handler, so that a test which expects a report
takes it out and one which expects none fails when there is one. Both only observe: they use
/proc, the debug build's counters and public asyncio calls, and never keep a test's objects alive
after the comparison.
"""

import asyncio
import contextlib
import gc
import logging
import os
import sys


def open_descriptors():
    """Map each descriptor of this process to what it points at, for example socket:[123]."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # The one that listed the folder itself.
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


def live_objects():
    """Count the living objects of each native type; empty in release builds and without hotloop.

    Only a core that is already loaded is asked: a test of stock asyncio must not import one.
    """
    core = sys.modules.get("hotloop._core")
    counts = core.counters() if core is not None else {}
    return {name: count for name, count in counts.items() if name.startswith("live_")}


def installed_policy():
    """Name the module of this process's event loop policy; asyncio where none was ever set.

    The getter warns from 3.14 on and creates a policy where there is none, so it is not used.
    """
    policy = getattr(asyncio.events, "_event_loop_policy", None)
    return "asyncio" if policy is None else type(policy).__module__.partition(".")[0]


class Baseline:
    """The state of the process before a test, and what has been added since."""

    def __init__(self):
        self.descriptors = open_descriptors()
        self.objects = live_objects()
        self.policy = installed_policy()
        self.new_event_loop = asyncio.new_event_loop, asyncio.events.new_event_loop

    def differences(self):
        """Collect garbage, then describe in one line each what the test left behind."""
        gc.collect()
        found = [
            f"descriptor {number} is still open: {target}"
            for number, target in open_descriptors().items()
            if self.descriptors.get(number) != target
        ]
        found += [
            f"{name} grew from {self.objects.get(name, 0)} to {count}"
            for name, count in live_objects().items()
            if count > self.objects.get(name, 0)
        ]
        if installed_policy() != self.policy:
            found.append(f"the event loop policy is now one of {installed_policy()}")
        if (asyncio.new_event_loop, asyncio.events.new_event_loop) != self.new_event_loop:
            found.append("asyncio.new_event_loop is not what it was")
        if asyncio._get_running_loop() is not None:
            found.append("a running loop is still set")
        return found


class Reports:
    """An exception handler that keeps what it is given until the test takes it.

    Set it with loop.set_exception_handler(reports); the `loop` fixture has done so already.
    """

    def __init__(self):
        self._contexts = []

    def __call__(self, loop, context):
        self._contexts.append(context)

    def __len__(self):
        return len(self._contexts)

    def take(self):
        """Return the contexts reported so far, oldest first, and forget them."""
        taken, self._contexts = self._contexts, []
        return taken

    def describe_and_forget(self):
        """Return one line for each report nobody took, keeping no object of the test alive."""
        return [f"{c.get('message')!r} with {c.get('exception')!r}" for c in self.take()]


class LoggedErrors(logging.Handler):
    """Keeps the text of what asyncio logs as an error, which loops do without a handler set."""

    def __init__(self):
        super().__init__(logging.ERROR)
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())
