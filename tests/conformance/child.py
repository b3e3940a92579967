"""Runs tests of one of CPython's test modules in this process and writes down what came out.

Started by runner.py as a script: `python child.py request.json`. The request names the modules,
the mode, the ids to run and the file for the results: one JSON object a line, written as soon as it
is known, because the tests of a faulty loop may crash or hang this process. A test that outlives
its limit ends the process with the stacks of all threads on stderr.
"""

import faulthandler
import importlib
import json
import sys
import time
import unittest

# Only as much of a traceback is kept as a report can use.
MAX_DETAIL = 6000


def flatten(suite):
    """Yield the test cases of a suite in order."""
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flatten(test)
        else:
            yield test


class Recorder(unittest.TestResult):
    """Writes a line when a test starts and a line with its outcome when it stops."""

    def __init__(self, write, limit, injection):
        super().__init__()
        self.write = write
        self.limit = limit
        self.injection = injection
        self.outcome = "passed"
        self.details = []
        self.running = False

    def startTest(self, test):
        """Note the start, and put hotloop in place again for this test."""
        super().startTest(test)
        self.outcome = "passed"
        self.details = []
        self.running = True
        self.write(event="start", id=test.id())
        self.started_at = time.perf_counter()
        faulthandler.dump_traceback_later(self.limit, exit=True)
        if self.injection:
            self.injection.before_test()

    def stopTest(self, test):
        """Write the outcome; 3.12.1 calls this for a skipped test that was never started."""
        if not self.running:
            return
        seconds = time.perf_counter() - self.started_at
        faulthandler.cancel_dump_traceback_later()
        own = bool(self.injection and self.injection.only_own_loops())
        self.running = False
        self.write_outcome(test, seconds=round(seconds, 3), own=own)
        super().stopTest(test)

    def write_outcome(self, test, **more):
        """Write the line that ends a test."""
        detail = "\n".join(self.details)[-MAX_DETAIL:]
        self.write(event="stop", id=test.id(), outcome=self.outcome, detail=detail, **more)

    def note(self, test, outcome, detail):
        """Take an outcome; one that belongs to no test, of setUpClass for example, is written."""
        if self.outcome != "failed":
            self.outcome = outcome
        self.details.append(detail)
        if not self.running:
            self.write_outcome(test)
            self.outcome, self.details = "passed", []

    def addError(self, test, err):
        """Take an error as a failure."""
        self.note(test, "failed", self._exc_info_to_string(err, test))

    addFailure = addError

    def addSubTest(self, test, subtest, err):
        """Take the failure of a part of a test."""
        if err is not None:
            text = self._exc_info_to_string(err, test)
            self.note(test, "failed", f"{subtest._subDescription()}\n{text}")

    def addSkip(self, test, reason):
        """Take a skip with its reason."""
        self.note(test, "skipped", reason)

    def addExpectedFailure(self, test, err):
        """Take an expected failure as what it is: the test behaved as its author expects."""

    def addUnexpectedSuccess(self, test):
        """Take a success that the test's author does not expect as a failure."""
        self.note(test, "failed", "unexpected success")


def main():
    """Serve the request named on the command line."""
    with open(sys.argv[1], encoding="utf-8") as file:
        request = json.load(file)
    injection = make_injection(request["mode"])
    del sys.path[0]  # This folder: CPython's tests must not find our modules.
    with open(request["results"], "a", encoding="utf-8", buffering=1) as results:

        def write(**line):
            results.write(json.dumps(line) + "\n")

        if request["mode"] is None:
            for name in request["modules"]:
                collect(name, write)
            write(event="end")
        else:
            run(request, injection, write)


def make_injection(mode):
    """Return the replacement of asyncio's classes that the mode asks for, or None for none."""
    if not mode or not any(mode.values()):
        return None
    import inject  # Needs hotloop, which stock asyncio's runs do without.

    return inject.Injection(**mode)


def collect(name, write):
    """Write the ids of the tests in a module."""
    for test in flatten(load(name)):
        write(event="id", module=name, id=test.id())


def load(name):
    """Return the suite of a module; an import that fails is raised here."""
    return unittest.defaultTestLoader.loadTestsFromModule(importlib.import_module(name))


def run(request, injection, write):
    """Run the ids of the request with hotloop put in place as its mode says."""
    (name,) = request["modules"]
    if injection:
        injection.prepare()
    suite = load(name)
    if injection:
        injection.adapt(sys.modules[name])
    wanted = set(request["ids"])
    recorder = Recorder(write, request["limit"], injection)
    unittest.TestSuite(test for test in flatten(suite) if test.id() in wanted).run(recorder)
    end = {"uses": injection.uses(), "problems": injection.problems()} if injection else {}
    write(event="end", **end)


if __name__ == "__main__":
    main()
