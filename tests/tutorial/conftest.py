"""Runs all programs that the selected tests ask for, several at a time, before the first of them.

Together they sleep for minutes; side by side that is a quarter of one. They all end before the
first test begins, so that no test sees descriptors or threads of another's child.
"""

from concurrent.futures import ThreadPoolExecutor

import pytest
from programs import EXPECTED, Run

AT_A_TIME = 8  # Most of them sleep most of the time.


@pytest.fixture(scope="session")
def finished_runs(request):
    """Return {(program, entry): future of its Run} for what the selected tests need, all done.

    A program that did not end makes its own future fail, and only the tests that look at it.
    """
    wanted = {
        item.callspec.params["run"]
        for item in request.session.items
        if hasattr(item, "callspec") and "run" in item.callspec.params
    }
    wanted |= {(program, "asyncio") for program, _ in wanted}  # For comparison.
    longest_first = sorted(wanted, key=lambda pair: (-EXPECTED[pair[0]][0], pair))
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        return {pair: pool.submit(Run, *pair) for pair in longest_first}


@pytest.fixture
def run(request, finished_runs):
    """Return the Run of the pair (program, entry) that the test is parametrised with."""
    return finished_runs[request.param].result()


@pytest.fixture
def stock_run(run, finished_runs):
    """Return the Run of the same program on asyncio."""
    return finished_runs[run.program, "asyncio"].result()
