"""Fails when a test was left out without need: `skips.py REPORT.xml...`, pytest's JUnit reports.

A skip passes only if its reason begins with "needs Python", because the running interpreter lacks
the thing, or with "stock asyncio skips", because asyncio leaves out the same case here.  A test
that is expected to fail is not accepted either, nor a report without tests.
"""

import sys
import xml.etree.ElementTree as ET

ACCEPTED = ("needs Python", "stock asyncio skips")


def complaints(report):
    """What is wrong with one report, one line each."""
    cases = list(ET.parse(report).iter("testcase"))
    if not cases:
        yield f"{report}: no test was run"
    for case in cases:
        for skip in case.iter("skipped"):
            reason = skip.get("message", "")
            if not reason.startswith(ACCEPTED):
                yield f"{case.get('classname')}::{case.get('name')} was left out: {reason}"


def main():
    lines = [line for report in sys.argv[1:] for line in complaints(report)]
    for line in lines:
        print(line)
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
