"""What a row is, and what the function of a row is given.

A row is a small program that stands for one thing a loop does.  Its function takes a Case, does
its set-up, puts what is to be measured under `with case.timed():` and checks that the work was
really done.  It runs `case.passes` passes; a pass is a fixed number of operations, and the row's
docstring says what one operation is.  A function that measures in another way returns the row's
figure and enters no timed part.  A coroutine function runs inside the loop.
"""

import contextlib
import dataclasses
import functools
import importlib
import inspect
import time

from benchmarks import loops

NANOSECONDS = {"ns": 1, "us": 1_000, "ms": 1_000_000}

# The modules that register rows, in the order of the report.
ROW_MODULES = (
    "scheduling",
    "timers",
    "tasks",
    "sync",
    "inprocess_io",
    "footprint",
    "floors",
    "network",
)

# Each has a table, and a command, of its own.
GROUPS = ("loop", "network")


class NotApplicable(Exception):
    """This row says nothing about this loop or this Python; the message says why."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One benchmark: its name, its function and how its figure is to be read."""

    name: str
    function: object
    unit: str  # of one operation: ns, us, ms, or B for bytes
    clock: str  # "cpu", the time of the process, "wall", or what the function's figure says
    operations_per_pass: int
    floor: str  # the row that says what CPython alone needs, or ""
    needs_loop: bool  # False for a floor, which is measured once a round and not per loop
    group: str = "loop"  # the table it stands in
    kinds: tuple = (loops.LOOP,)  # what it runs on

    @property
    def operation(self):
        """What one operation is: the first line of the function's docstring."""
        return inspect.getdoc(self.function).partition("\n")[0]

    def describe(self):
        """What a reader of the figures has to know about the row."""
        unit = f"{self.unit} wall" if self.clock == "wall" else self.unit
        return {
            "unit": unit,
            "floor": self.floor,
            "needs_loop": self.needs_loop,
            "group": self.group,
            "kinds": list(self.kinds),
            "operation": self.operation,
        }


_rows = {}


def row(*, unit="ns", clock="cpu", operations_per_pass=1, floor="", needs_loop=True, **where):
    """Register the decorated function as the row of its name; `where` is group and kinds."""

    def register(function):
        name = function.__name__
        assert name not in _rows, f"two rows are called {name}"
        _rows[name] = Row(
            name, function, unit, clock, operations_per_pass, floor, needs_loop, **where
        )
        return function

    return register


def all_rows():
    """Return every row by name, in the order of the report."""
    for module in ROW_MODULES:
        importlib.import_module(f"benchmarks.{module}")
    return dict(_rows)


class Case:
    """One row on one loop in this process; made by the worker, used by the row's function."""

    def __init__(self, loop_name, clock="cpu", seconds=0.0):
        self.loop_name = loop_name
        self.seconds = seconds  # roughly how long the whole measurement may take
        self.passes = 1
        self.elapsed_ns = 0
        self.reports = []  # what the loop told its exception handler
        self.details = {}  # figures beside the row's own, by name
        self._kept = {}  # what keep() entered, by the function that made it
        self._to_leave = contextlib.ExitStack()
        self._clock = time.process_time_ns if clock == "cpu" else time.perf_counter_ns

    @functools.cached_property
    def new_loop(self):
        """The factory of the loop."""
        return loops.load_factory(self.loop_name)

    @functools.cached_property
    def loop(self):
        """The loop, the same one for all passes; it is closed by close()."""
        loop = self.new_loop()
        loop.set_exception_handler(lambda loop, report: self.reports.append(report))
        return loop

    @contextlib.contextmanager
    def timed(self):
        """Measure what runs inside; a row enters this once."""
        start = self._clock()
        yield
        self.elapsed_ns = self._clock() - start

    def keep(self, make):
        """Make a context manager and enter it, once for all passes; close() leaves it.

        For what takes longer to set up than the row takes.
        """
        if make not in self._kept:
            self._kept[make] = self._to_leave.enter_context(make())
        return self._kept[make]

    def close(self):
        """Leave what was kept, and close the loop if one was made."""
        self._to_leave.close()
        loop = self.__dict__.pop("loop", None)
        if loop is not None:
            loop.close()
