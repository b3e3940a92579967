"""Each example through every entry point: its output, its time, and who ran it.

The programs are the unmodified files of examples/, each in a process of its own; programs.py says
what is expected of them, and conftest.py runs them all before the first test here begins.
"""

import ast

import pytest
from programs import ENTRIES, EXPECTED, FOLDER, PROBED, SLACK, STARTUP

# The first test waits for all the programs.
pytestmark = pytest.mark.timeout(180)


def every(entries):
    """Parametrise the fixture `run` with all programs through these entry points."""
    pairs = [(program, entry) for program in EXPECTED for entry in entries]
    return pytest.mark.parametrize("run", pairs, indirect=True, ids="-".join)


def report_of(run):
    """Return what the driver found, which is nothing when the program failed."""
    assert run.report, run.stderr
    return run.report


@every(ENTRIES)
def test_the_output_is_exactly_asyncios(run):
    assert (run.exit_code, run.stdout) == (0, EXPECTED[run.program][1]), run.stderr


@every([entry for entry in ENTRIES if entry != "asyncio"])
def test_nothing_goes_to_stderr_that_asyncio_does_not_write(run, stock_run):
    assert run.stderr == stock_run.stderr


@every(ENTRIES)
def test_the_process_takes_the_time_of_its_pauses(run):
    seconds = EXPECTED[run.program][0]
    assert seconds <= run.elapsed < seconds + SLACK + STARTUP


@every(PROBED)
def test_main_takes_the_time_of_its_pauses_and_no_more(run):
    seconds = EXPECTED[run.program][0]
    assert seconds <= report_of(run)["elapsed"] < seconds + SLACK


@every(PROBED)
def test_loop_tasks_and_futures_are_hotloops(run):
    report = report_of(run)
    assert report["kinds"] == {
        "running loop": "Loop",
        "get_event_loop()": "Loop",
        "current task": "Task",
        "created task": "Task",
        "future": "Future",
        "timer": "TimerHandle",
    }
    assert report["all_tasks"] == ["Task"]
    assert report["native"] is True


@every(PROBED)
def test_every_task_step_was_native(run):
    counters = report_of(run)["counters"]
    if counters:  # Debug builds count.
        # The probe's own task and the main one at the least, each with a step to begin with.
        assert counters["created_Task"] >= 2
        assert counters["steps"] >= counters["created_Task"]


def test_every_example_is_expected():
    assert {path.stem for path in FOLDER.glob("*.py")} == set(EXPECTED)


@pytest.mark.parametrize("program", EXPECTED)
def test_an_example_imports_asyncio_and_little_else(program):
    tree = ast.parse((FOLDER / f"{program}.py").read_text())
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    imported = {
        alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names
    }
    assert {"asyncio"} <= imported <= {"asyncio", "contextvars", "time"}
