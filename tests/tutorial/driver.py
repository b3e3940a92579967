"""Runs one unmodified example through one entry point of hotloop, and reports what ran it.

Started by programs.py as `python driver.py ENTRY SCRIPT REPORT`. The script is executed as
__main__ and calls asyncio.run(main()) as ever; in place of asyncio.run it finds a function that
starts the same coroutine through ENTRY, inside a coroutine that looks at the running loop, tasks
and futures. What it finds goes to the file REPORT as JSON, so that stdout is the script's alone.
"""

import asyncio
import json
import runpy
import sys
import time
import warnings

stock_run = asyncio.run


def through_policy(main):
    """Set hotloop's policy. From 3.14 on asyncio warns of every use of policies."""
    import hotloop

    with warnings.catch_warnings():
        if sys.version_info >= (3, 14):
            warnings.simplefilter("ignore", DeprecationWarning)
        asyncio.set_event_loop_policy(hotloop.EventLoopPolicy())
    stock_run(main)


def through_run(main):
    """Use hotloop's own run()."""
    import hotloop

    hotloop.run(main)


def through_runner(main):
    """Give asyncio's Runner the factory."""
    import hotloop

    with asyncio.Runner(loop_factory=hotloop.new_event_loop) as runner:
        runner.run(main)


def through_install(main):
    """Install hotloop for the process."""
    import hotloop

    hotloop.install()
    stock_run(main)


def through_module(main):
    """Do nothing: this driver is itself a script of `python -m hotloop`."""
    stock_run(main)


ENTRIES = {
    "policy": through_policy,
    "run": through_run,
    "runner": through_runner,
    "install": through_install,
    "module": through_module,
}


def kind(thing):
    """Name the public hotloop type that this is exactly, or else show what it is."""
    import hotloop

    for name in ("Loop", "Task", "Future", "TimerHandle"):
        if type(thing) is getattr(hotloop, name):
            return name
    return repr(type(thing))


async def nothing():
    """Be the body of a task."""


async def probed(main, report):
    """Await main and note of which types everything around it is."""
    loop = asyncio.get_running_loop()
    created = asyncio.create_task(nothing())
    timer = loop.call_later(60, print)
    timer.cancel()
    report["kinds"] = {
        "running loop": kind(loop),
        "get_event_loop()": kind(asyncio.get_event_loop()),
        "current task": kind(asyncio.current_task()),
        "created task": kind(created),
        "future": kind(loop.create_future()),
        "timer": kind(timer),
    }
    report["all_tasks"] = sorted({kind(task) for task in asyncio.all_tasks()})
    await created
    start = time.monotonic()
    await main
    report["elapsed"] = time.monotonic() - start


def drive(entry, script, path):
    """Run the script with asyncio.run() leading through the entry point."""
    report = {}

    def start(main):
        asyncio.run = stock_run  # hotloop.run() itself may use it.
        ENTRIES[entry](probed(main, report))

    asyncio.run = start
    sys.argv = [script]
    runpy.run_path(script, run_name="__main__")

    from hotloop import _core

    report["native"] = _core.native
    report["counters"] = _core.counters()
    with open(path, "w") as file:
        json.dump(report, file)


if __name__ == "__main__":
    drive(*sys.argv[1:])
