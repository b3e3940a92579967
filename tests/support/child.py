"""Runs the tests' own interpreter in another process, in an empty folder, bounded in time.

For tests of what belongs to a process: entry points, exit codes, policies, signals, import-time
behaviour. The child finds hotloop as this process found it, sees no HOTLOOP_* or PYTHON* switch
of the caller but those, and turns warnings into errors unless told otherwise.
"""

import os
import subprocess
import sys
import tempfile

import pytest

# The variables of the caller that a child keeps although they begin with PYTHON: where modules
# are, and how memory is allocated (the sanitizer runs need it in every process).
KEPT = ("PYTHONPATH", "PYTHONHOME", "PYTHONMALLOC")


def environment(**changes):
    """Return the variables for a child; a value of None in changes removes that variable."""
    result = {
        name: value
        for name, value in os.environ.items()
        if name in KEPT or not name.startswith(("PYTHON", "HOTLOOP_"))
    }
    for name, value in changes.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = value
    return result


def command(*arguments, warnings="error"):
    """Return the argument list of a child; warnings=None leaves Python's own filters in place."""
    options = [] if warnings is None else ["-W", warnings]
    return [sys.executable, *options, *map(str, arguments)]


def run(*arguments, warnings="error", env=None, stdin="", timeout=60, cwd=None):
    """Run the interpreter with these arguments and return the CompletedProcess, output as text.

    It fails the test when the child takes longer than `timeout` seconds, and shows what the
    child had written by then. It does not look at the exit code: that is the test's business.
    """
    with tempfile.TemporaryDirectory() as empty:
        try:
            return subprocess.run(
                command(*arguments, warnings=warnings),
                env=environment() if env is None else env,
                input=stdin,
                capture_output=True,
                text=True,
                timeout=timeout,
                cwd=cwd or empty,
            )
        except subprocess.TimeoutExpired as late:
            pytest.fail(f"no end after {timeout} s: {late.stdout!r} {late.stderr!r}")


def run_ok(*arguments, **options):
    """Run as `run` does, require exit code 0 and an empty stderr, and return stdout."""
    done = run(*arguments, **options)
    if done.returncode != 0 or done.stderr:
        pytest.fail(f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout
