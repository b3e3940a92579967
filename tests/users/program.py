"""A program that a test has started: its output, its descriptors, and how it ended.

The output goes to a file, so that nothing waits for a reader, and must be free of complaints: what
asyncio, the interpreter and the servers say about lost tasks, unclosed transports and exceptions
nobody took. Descriptors are counted from outside, in /proc.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import child

TESTS = Path(__file__).resolve().parents[1]

COMPLAINTS = re.compile(
    r"was destroyed|never retrieved|never awaited|ResourceWarning|unclosed|Traceback"
    r"|Exception ignored|Fatal (?:error|Python error|read|write)|Assertion.*failed|RuntimeWarning"
    r"|Sanitizer|runtime error:"
)


def free_port():
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(condition, what, seconds=20):
    """Wait until the condition is true; fail the test, saying what was awaited, if it never is."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {what() if callable(what) else what}")
        time.sleep(0.01)


def answers(address):
    """Whether something accepts connections at a path or a (host, port)."""
    family = socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX
    with socket.socket(family) as probe:
        return probe.connect_ex(address) == 0


def children_of(pid):
    """The process ids of the living children of a process."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[1]) == pid and fields[0] != "Z":
                found.append(int(entry.name))
    return sorted(found)


def descriptors_of(pid):
    """How many descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


class Program:
    """A running command; `folder` is its working directory and takes its output.

    `known` is a pattern of complaints that the program is known to make on any loop.
    """

    known = None

    def __init__(self, arguments, folder, **environment):
        self.output = folder / "output.txt"
        variables = child.environment(
            PYTHONPATH=str(TESTS),
            PYTHONWARNINGS="always::ResourceWarning",
            PYTHONUNBUFFERED="1",
            **environment,
        )
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [str(argument) for argument in arguments],
                cwd=folder,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self.process.pid

    def text(self):
        """What the program has written so far."""
        return self.output.read_text(encoding="utf-8", errors="replace")

    def wait_for_address(self, address):
        """Wait until the program accepts connections there."""

        def ready():
            assert self.process.poll() is None, self.text()
            return answers(address)

        wait_until(ready, lambda: f"an answer at {address}\n{self.text()}", 40)

    def wait_for_text(self, text, count=1):
        """Wait until the program has written this so many times."""
        wait_until(lambda: self.text().count(text) >= count, lambda: f"{text!r} in\n{self.text()}")

    def send_signal(self, number):
        """Send a signal to the program."""
        self.process.send_signal(number)

    def wait(self, seconds=20):
        """Wait for the end and return the exit code; the output must be free of complaints."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"still running after {seconds} s\n{self.text()}")
        text = self.text() if self.known is None else re.sub(self.known, "", self.text())
        complaint = COMPLAINTS.search(text)
        assert complaint is None, f"{complaint[0]} in\n{self.text()}"
        return code

    def stop(self, number=signal.SIGTERM):
        """Ask the program to end, and return its exit code as `wait` does."""
        self.send_signal(number)
        return self.wait()

    def kill(self):
        """End it and what it has started, whatever it does."""
        if self.process.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
            self.process.wait()


class Programs:
    """Starts programs, each in a folder of its own, and ends those that a test has left."""

    def __init__(self, folder):
        self._folder = folder
        self._started = []

    def start(self, *arguments, **environment):
        """Start any command."""
        folder = self._folder / f"program-{len(self._started)}"
        folder.mkdir()
        started = Program(arguments, folder, **environment)
        self._started.append(started)
        return started

    def python(self, *arguments, **environment):
        """Start the interpreter that runs the tests."""
        return self.start(sys.executable, *arguments, **environment)

    def close(self):
        """End everything that still runs."""
        for program in self._started:
            program.kill()
