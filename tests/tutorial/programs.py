"""The examples, what each must print and how long it takes, and the ways to run one.

The expected lines are those of stock asyncio, which the tests run too. Seconds are what the pauses
in the script add up to: no run may be faster, because timers are never early.
"""

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

from support import child

FOLDER = Path(__file__).resolve().parents[2] / "examples"
DRIVER = Path(__file__).with_name("driver.py")

# What a coroutine's time may exceed the pauses by: less than any pause saved by concurrency.
SLACK = 0.9
# What an interpreter may need, beside that, to start, import and end on a busy machine.
STARTUP = 10
# When a program is taken to hang; the longest has pauses of 9 seconds.
LIMIT = 40

OUTSIDE = (
    "Outside, get_event_loop: There is no current event loop in thread 'MainThread'."
    if sys.version_info >= (3, 14)
    else "Outside, get_event_loop: a new loop, running: False"
)

# Name of the script: (seconds, its stdout).
EXPECTED = {
    "sequential": (
        2,
        "Hello, Alice!\nGoodbye, Alice!\nHello, Bob!\nGoodbye, Bob!\n",
    ),
    "the_loop": (
        0,
        "Outside, get_running_loop: no running event loop\n"
        f"{OUTSIDE}\n"
        "Inside, get_running_loop: a loop, running: True\n"
        "Inside, get_event_loop: the same one: True\n",
    ),
    "tasks": (
        2,
        "Started tasks...\nhello\nworld\nTasks finished.\n",
    ),
    "gather": (
        9,
        "Task A: Compute factorial(2), currently i=2...\n"
        "Task B: Compute factorial(3), currently i=2...\n"
        "Task C: Compute factorial(4), currently i=2...\n"
        "Task A: factorial(2) = 2\n"
        "Task B: Compute factorial(3), currently i=3...\n"
        "Task C: Compute factorial(4), currently i=3...\n"
        "Task B: factorial(3) = 6\n"
        "Task C: Compute factorial(4), currently i=4...\n"
        "Task C: factorial(4) = 24\n"
        "Results: [2, 6, 24]\n"
        "Completed in 9 seconds\n",
    ),
    "exceptions": (
        2,
        "Results: [2, ValueError('This is an expected error!'), 6]\n"
        "Caught: This is an expected error!\n"
        "Done so far: [False, True, False]\n"
        "The others: 2 and 6\n",
    ),
    "futures": (
        0.6,
        "The future is done: False\n"
        "Awaited: a result, half a second later\n"
        "The future is done: True\n"
        "A task is a future: True\n"
        "Inside the task: cancelled, no time to wait\n"
        "Outside the task: cancelled, no time to wait\n"
        "The task was cancelled: True\n"
        "The coroutine exists, and has printed nothing.\n"
        "Now it runs.\n",
    ),
    "onward_semaphore": (
        0.8,
        "".join(f"Worker {number} is in.\n" for number in range(10))
        + "Never more than 3 at the same time, and now 0.\n",
    ),
    "onward_lock": (
        0.11,
        "Ten increments without the lock: 1\nTen increments with the lock: 10\n",
    ),
    "onward_event": (
        0.3,
        "Ann is ready.\nBen is ready.\nCem is ready.\n"
        "Go!\n"
        "Ann runs.\nBen runs.\nCem runs.\n"
        "The event stays set.\n",
    ),
    "onward_queue": (
        0.15,
        "Producer a is finished.\n"
        "Producer b is finished.\n"
        "Consumed 8 items: a1 a2 a3 a4 b1 b2 b3 b4\n"
        "Consumers cancelled: [True, True, True]\n",
    ),
    "onward_timeouts": (
        0.8,
        "In time: work of 0.1 s\n"
        "Work of 3600 s was cancelled.\n"
        "The block took too long.\n"
        "Work of 7200 s was cancelled.\n"
        "The call took too long.\n"
        "The wait was too short, the task goes on.\n"
        "Later: work of 0.3 s\n",
    ),
    "onward_taskgroup": (
        0.4,
        "All are done: [1, 4, 9]\n"
        "The task beside it is cancelled.\n"
        "The group failed: (ValueError('this one fails'),)\n",
    ),
    "onward_to_thread": (
        0.5,
        "Done: 0.5 s of blocking work for Alice\nThe loop kept ticking meanwhile: True\n",
    ),
    "streams": (
        0,
        "Echoed: ['Hello, Alice!', 'Goodbye, Alice!'], then the end: b''\n"
        "Echoed: ['Hello, Bob!', 'Goodbye, Bob!'], then the end: b''\n",
    ),
}

# Entry points that driver.py knows, and the options that start the interpreter for each. Policies
# are gone from asyncio where it has no setter for them; there this entry point does not exist.
PROBED = {"run": (), "runner": (), "install": (), "module": ("-m", "hotloop")}
if hasattr(asyncio, "set_event_loop_policy"):
    PROBED["policy"] = ()

# Entry points that run the script with nothing around it; asyncio is there for comparison.
PLAIN = {"asyncio": (), "command": ("-m", "hotloop")}

ENTRIES = (*PROBED, *PLAIN)


class Run:
    """One finished run: how it ended, how long it took, and the driver's report if it had one."""

    def __init__(self, program, entry):
        script = str(FOLDER / f"{program}.py")
        # 3.12 and 3.13 warn in the_loop.py, which is part of what that script shows.
        warnings = None if program == "the_loop" else "error"
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder, "report.json")
            if entry in PROBED:
                arguments = (*PROBED[entry], DRIVER, entry, script, report)
            else:
                arguments = (*PLAIN[entry], script)
            start = time.monotonic()
            done = child.run(*arguments, warnings=warnings, timeout=LIMIT)
            self.elapsed = time.monotonic() - start
            self.report = json.loads(report.read_text()) if report.exists() else {}
        self.program, self.entry = program, entry
        self.exit_code, self.stdout, self.stderr = done.returncode, done.stdout, done.stderr
