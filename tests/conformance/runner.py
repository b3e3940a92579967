"""Starts the processes that run CPython's tests, two at a time, and gathers their results.

A process that a test brings down is replaced by one for the rest of the ids, so that a crash or a
hang costs one test and not the module. Ids that do not pass on hotloop are run again on stock
asyncio on the same machine: what stock fails or skips there is not held against hotloop.
"""

import concurrent.futures
import contextlib
import dataclasses
import fnmatch
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading

from . import judging
from .exclusions import EXCLUSIONS
from .plan import MODES

CHILD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "child.py")
PROCESSES = 2
TEST_LIMIT = 30  # Seconds for one of CPython's tests.
CHILD_LIMIT = 240  # Seconds for one process; the longest module takes 30 on an idle machine.
MAX_OUTPUT = 6000  # Characters of a dead process's output that a report shows.


@dataclasses.dataclass
class Results:
    """What came out of some tests: one line per id as written by child.py, and the end."""

    outcomes: dict = dataclasses.field(default_factory=dict)
    uses: dict = dataclasses.field(default_factory=dict)
    problems: list = dataclasses.field(default_factory=list)
    ids: list = dataclasses.field(default_factory=list)
    running: str | None = None
    ended: bool = False

    def take(self, line):
        """Take one line of a results file."""
        event = line.pop("event")
        if event == "id":
            self.ids.append((line["module"], line["id"]))
        elif event == "start":
            self.running = line["id"]
        elif event == "stop":
            self.outcomes[line["id"]] = line
            self.running = None
        else:
            self.ended = True
            self.problems += ((text, "") for text in line.get("problems", ()))
            for name, count in line.get("uses", {}).items():
                self.uses[name] = self.uses.get(name, 0) + count


class Runner:
    """Runs jobs in the background; `report(job)` waits for one of them."""

    def __init__(self, jobs, pattern=None):
        self.jobs = list(jobs)
        self.pattern = pattern
        self.reports = {}
        self.children = set()
        self.lock = threading.Lock()
        self.stopped = False
        self.pool = concurrent.futures.ThreadPoolExecutor(PROCESSES)
        self.expected = self.pool.submit(self.collect)
        self.futures = {job: self.pool.submit(self.run, job) for job in self.jobs}

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        """Stop what is still running."""
        with self.lock:
            self.stopped = True
            children = list(self.children)
        for child in children:
            kill_group(child)
        self.pool.shutdown(cancel_futures=True)

    def report(self, job):
        """Wait for a job and return its judging.Report."""
        report = self.futures[job].result()
        self.reports[job] = report
        return report

    def collect(self):
        """Return the ids of each module as stock asyncio's process finds them, in order."""
        names = list(dict.fromkeys(job.module.name for job in self.jobs))
        results = Results()
        output = self.spawn(names, None, (), results)
        if not results.ended:
            raise RuntimeError(f"CPython's tests cannot be imported:\n{output}")
        expected = {name: [] for name in names}
        for name, test_id in results.ids:
            expected[name].append(test_id)
        return expected

    def run(self, job):
        """Run a job to its verdict."""
        ids = job.select(self.expected.result()[job.module.name])
        idle = list(judging.idle_exclusions(job, ids, EXCLUSIONS))
        if self.pattern:
            ids = fnmatch.filter(ids, self.pattern)
        listed = {}
        for test_id in ids:
            entries = [e for e in EXCLUSIONS if e.matches(test_id, job.mode.name)]
            if entries:
                listed[test_id] = entries[0]
        own = self.run_ids(job, job.mode, [i for i in ids if i not in listed])
        excluded = self.run_ids(job, job.mode, list(listed)) if listed else Results()
        doubtful = [i for i, line in own.outcomes.items() if line["outcome"] != "passed"]
        stock = self.run_ids(job, MODES["asyncio"], doubtful) if doubtful else Results()
        own.problems += idle
        if self.pattern:  # A part of a module need not use all that the whole must use.
            own.uses.clear()
        return judging.judge(job, ids, listed, own, excluded, stock)

    def run_ids(self, job, mode, ids):
        """Run ids, starting again after one that ends the process."""
        total = Results()
        pending = list(ids)
        while pending:
            output = self.spawn([job.module.name], mode, pending, total)
            if total.ended:
                break
            if total.running is None:
                total.problems.append(("the process ended outside of the tests", output))
                break
            culprit = total.running
            total.outcomes[culprit] = {"id": culprit, "outcome": "crashed", "detail": output}
            total.running = None
            pending = pending[pending.index(culprit) + 1 :]
        return total

    def spawn(self, names, mode, ids, results):
        """Run one process and add what it wrote to the results; return its output's end."""
        flags = mode and {"loop": mode.loop, "task": mode.task, "future": mode.future}
        with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
            written = os.path.join(folder, "results.jsonl")
            request = os.path.join(folder, "request.json")
            with open(request, "w", encoding="utf-8") as file:
                fields = {"modules": names, "mode": flags, "ids": list(ids)}
                json.dump(fields | {"results": written, "limit": TEST_LIMIT}, file)
            output = self.wait_for_child([sys.executable, CHILD, request], folder)
            for line in complete_lines(written):
                results.take(json.loads(line))
        return output

    def wait_for_child(self, command, folder):
        """Run a command in its own folder and process group; return the end of what it prints."""
        work = os.path.join(folder, "work")
        os.mkdir(work)
        with open(os.path.join(folder, "output"), "w+b") as output:
            with self.lock:
                if self.stopped:
                    return "stopped"
                child = subprocess.Popen(
                    command,
                    cwd=work,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                self.children.add(child)
            ending = wait_bounded(child)
            with self.lock:
                self.children.discard(child)
            output.seek(0)
            return ending + output.read().decode(errors="replace")[-MAX_OUTPUT:]


def wait_bounded(child):
    """Wait for a process, kill what is left of its group, and say how it ended if not well."""
    ending = ""
    with open(os.pidfd_open(child.pid), "rb") as process:
        poll = select.poll()
        poll.register(process, select.POLLIN)
        if not poll.poll(CHILD_LIMIT * 1000):
            ending = f"killed after {CHILD_LIMIT} s\n"
    kill_group(child)  # It was not waited for yet: its number is still its own.
    code = child.wait()
    return ending or (f"exit code {code}\n" if code else "")


def kill_group(child):
    """Kill a child and what it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


def complete_lines(path):
    """Yield the lines of a file that were written to their end."""
    with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                yield line
