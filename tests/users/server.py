"""An HTTP server under test: where it listens, what it says of itself, and how it ends."""

import json
import socket

from users import content, load
from users.program import children_of, descriptors_of, wait_until

LOOPS = {"hotloop": "hotloop.Loop", "asyncio": "asyncio.unix_events._UnixSelectorEventLoop"}
TASKS = {"hotloop": "hotloop.Task", "asyncio": "_asyncio.Task"}


class Server:
    """A program that serves the application of asgi_app.py at a target, on one kind of loop.

    `task` is the type of the task that a request runs in, where it is not the loop's own.
    """

    def __init__(self, program, target, loop_name, task=None):
        self.program = program
        self.target = target
        self.loop = LOOPS[loop_name]
        self.task = task or TASKS[loop_name]
        program.wait_for_address(target.address)

    def ask_state(self):
        """What the serving process says of itself; its loop and task must be the wanted ones."""
        with self.target.http() as connection:
            state = json.loads(load.exchange(connection, "GET", "/state"))
        assert (state["loop"], state["task"]) == (self.loop, self.task), state
        return state

    def warm_up(self):
        """Let the process open and make what it keeps, and remember how much that is."""
        load.together(self.target, load.keeps_alive, load.waits_and_vanishes)
        self.expected = self.measure_settled()

    def end_while_busy(self, number):
        """Send the signal during one sleeping and one long answer; both must still be given."""
        before = self.program.text().count("app: sleeping")
        with self.target.http() as sleeping, self.target.connect(8192) as reading:
            sleeping.request("GET", "/sleep?milliseconds=700")
            reading.sendall(
                b"GET /data?length=3000000&offset=1&chunk=0 HTTP/1.1\r\nHost: localhost\r\n\r\n"
            )
            assert reading.recv(1, socket.MSG_PEEK) == b"H"  # Both have begun.
            self.program.wait_for_text("app: sleeping", before + 1)
            self.program.send_signal(number)
            assert sleeping.getresponse().read() == b"slept"
            assert load.read_response(reading) == content.data(3_000_000, 1)

    def measure(self):
        """The living native objects and the number of open descriptors, of the serving process."""
        state = self.ask_state()
        return state["live"], descriptors_of(state["pid"])

    def measure_settled(self):
        """The same once it stays the same."""
        found = [None, self.measure()]

        def settled():
            found.append(self.measure())
            return found[-1] == found[-2] == found[-3]

        wait_until(settled, lambda: f"a steady state, last {found[-2:]}")
        return found[-1]

    def check_nothing_is_left(self):
        """Fail if descriptors or native objects stay that were not there after `warm_up`."""
        found = []

        def as_before():
            found[:] = self.measure()
            live, descriptors = self.expected
            return descriptors >= found[1] and all(
                value <= live.get(name, 0) for name, value in found[0].items()
            )

        wait_until(as_before, lambda: f"{self.expected}, found {found}")

    def children(self):
        """The process ids of the server's workers."""
        return children_of(self.program.pid)
