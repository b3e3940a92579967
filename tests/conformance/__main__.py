"""Run CPython's asyncio tests on hotloop by hand: `python -m tests.conformance [options] [name]`.

From the project's folder. Names such as `tasks-loop`, `locks` or `test_s*` limit what is run;
without one everything is. Exits with 1 if there is a problem.
"""

import argparse
import dataclasses
import fnmatch
import sys

from . import judging, plan
from .runner import Runner


def main():
    """Parse the command line, run, print problems and the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("name", nargs="*", help="job or module, shell patterns allowed")
    parser.add_argument("-k", metavar="PATTERN", help="only ids that match, for example '*cancel*'")
    parser.add_argument("--mode", choices=plan.MODES, help="only this mode; 'asyncio' is stock")
    options = parser.parse_args()
    if not plan.tests_are_installed():
        sys.exit(f"CPython's own tests are not installed: install {plan.TEST_PACKAGE}")
    jobs = [job for job in candidates(options.mode) if wanted(job, options.name)]
    if not jobs:
        parser.error("no job or module of that name is run in that mode on this Python")
    with Runner(jobs, options.k) as runner:
        reports = [show(runner.report(job)) for job in jobs]
    print(*judging.table(reports), sep="\n")
    sys.exit(any(report.problems for report in reports))


def candidates(mode):
    """Return the jobs of one mode, or all; stock asyncio runs each module once and whole."""
    if mode != "asyncio":
        return [job for job in plan.jobs() if mode in (None, job.mode.name)]
    whole = [job for job in plan.jobs() if job.mode.name == "loop"]
    return [dataclasses.replace(job, mode=plan.MODES["asyncio"]) for job in whole]


def wanted(job, names):
    """Say whether the names given on the command line mean this job."""
    module = plan.short_name(job.module.name)
    return not names or any(
        fnmatch.fnmatchcase(candidate, name.removeprefix("test_"))
        for name in names
        for candidate in (job.name, module)
    )


def show(report):
    """Print the problems of one job as soon as it has ended."""
    if report.problems:
        print(report.explain(), end="\n\n", flush=True)
    return report


if __name__ == "__main__":
    main()
