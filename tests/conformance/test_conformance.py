"""CPython's own tests pass on hotloop: one case per module of theirs and mode of ours.

What a case runs and how it is judged is told in the files beside this one; a case that fails shows
the ids with their tracebacks. The table at the end of the run has the numbers.
"""

import pytest

from . import plan
from .runner import CHILD_LIMIT

# A case may wait for the jobs before it too; each process is bounded on its own.
pytestmark = pytest.mark.timeout(3 * CHILD_LIMIT)

MISSING = (
    f"CPython's own tests are not installed here; on Debian the package is {plan.TEST_PACKAGE}"
)


def pytest_generate_tests(metafunc):
    """Make one case per job of this Python's plan, or one skip where there are no tests."""
    if "job" in metafunc.fixturenames:
        jobs = [pytest.param(job, id=job.name) for job in plan.jobs()]
        skip = pytest.param(None, id="not-installed", marks=pytest.mark.skip(reason=MISSING))
        metafunc.parametrize("job", jobs if plan.tests_are_installed() else [skip])


def test_cpythons_own_tests_pass(job, conformance):
    """All ids of the module pass as they do on asyncio, and hotloop's types were in use."""
    report = conformance.report(job)
    if report.problems:
        pytest.fail(report.explain(), pytrace=False)
