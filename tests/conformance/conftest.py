"""Fixtures of the conformance run: its jobs in the background, and the table at the end."""

import pytest

from . import judging, plan
from .runner import Runner

RUNNER = pytest.StashKey()


@pytest.fixture(scope="session")
def conformance(request):
    """Start the jobs of all selected cases at the first one; each case then waits for its own."""
    cases = (getattr(item, "callspec", None) for item in request.session.items)
    jobs = [case.params["job"] for case in cases if case and "job" in case.params]
    with Runner(jobs) as runner:
        request.config.stash[RUNNER] = runner
        yield runner


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """Stand in for the check of the same name: jobs of later cases run and own descriptors."""


def pytest_terminal_summary(terminalreporter):
    """Print the table of what was run."""
    runner = terminalreporter.config.stash.get(RUNNER, None)
    if runner is not None and runner.reports:
        terminalreporter.section(f"CPython's own tests on hotloop, Python {plan.python_version()}")
        for line in judging.table(runner.reports.values()):
            terminalreporter.write_line(line)
