"""Readers and writers that are removed with their first event, and the next ones of their number.

What the loop keeps of a descriptor between two short stays must not be noticed: not by who stays
longer, nor by the next file of the same number, a transport, another thread or a forked child.
"""

import asyncio
import contextlib
import os
import socket
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.differential import FACTORIES, assert_same_on_both, collect_reports, run_briefly
from test_fork import in_child

pytestmark = pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")


@pytest.fixture
def pair():
    near, far = socket.socketpair()
    with near, far:
        yield near, far


def visit(loop, near, far):
    """Watch near, have it ready, and remove the reader in its callback."""
    received = []

    def read_and_leave():
        received.append(near.recv(100))
        assert loop.remove_reader(near)

    loop.add_reader(near, read_and_leave)
    far.send(b"visit")
    run_briefly(loop, 2)
    assert received == [b"visit"]


@pytest.fixture
def visited(loop, pair):
    """A descriptor that had two short stays, and its other end."""
    visit(loop, *pair)
    visit(loop, *pair)
    return pair


# -- who stays longer ----------------------------------------------------------------------------


def test_who_stays_after_all_is_called_as_long_as_there_is_data(loop, visited):
    near, far = visited
    received = []
    loop.add_reader(near, lambda: received.append(near.recv(1)))
    far.send(b"abc")
    run_briefly(loop, 5)
    assert received == [b"a", b"b", b"c"]
    far.send(b"d")
    run_briefly(loop, 2)
    assert received[3:] == [b"d"]
    assert loop.remove_reader(near) is True


def test_who_stays_after_an_exception_is_called_again(loop, visited):
    near, far = visited
    reports = collect_reports(loop)

    def fail():
        near.recv(1)
        raise ValueError("in the reader")

    loop.add_reader(near, fail)
    far.send(b"xy")
    run_briefly(loop, 4)
    assert len(reports) == 2
    loop.remove_reader(near)


def test_a_hang_up_while_nobody_watches_is_told_to_the_next_one(loop, visited):
    near, far = visited
    far.close()
    run_briefly(loop, 2)
    received = []
    loop.add_reader(near, lambda: received.append(near.recv(1)))
    run_briefly(loop, 3)
    assert len(received) >= 2 and set(received) == {b""}
    loop.remove_reader(near)


def test_a_hang_up_in_the_turn_of_the_first_event_is_told(loop, visited):
    near, far = visited
    received = []

    def read_and_hang_up():
        received.append(near.recv(10))
        far.close()

    loop.add_reader(near, read_and_hang_up)
    far.send(b"x")
    run_briefly(loop, 3)
    assert received[:2] == [b"x", b""]
    loop.remove_reader(near)


def replace_in_callback(loop, near, far):
    visit(loop, near, far)
    log = []

    def first():
        log.append("first")
        loop.add_reader(near, lambda: log.append(near.recv(1)))

    loop.add_reader(near, first)
    far.send(b"abc")
    run_briefly(loop, 5)
    return log, loop.remove_reader(near)


def leave_and_come_back(loop, near, far):
    visit(loop, near, far)
    log = []

    def again():
        log.append(near.recv(1))
        log.append(loop.remove_reader(near))
        loop.add_reader(near, again)

    loop.add_reader(near, again)
    far.send(b"abc")
    run_briefly(loop, 5)
    far.send(b"d")
    run_briefly(loop, 3)
    return log, loop.remove_reader(near)


def join_while_asleep(loop, near, far):
    visit(loop, near, far)
    log = []

    def read():
        log.append(near.recv(1))
        loop.add_writer(near, write)

    def write():
        log.append("write")
        log.append(loop.remove_writer(near))

    loop.add_reader(near, read)
    far.send(b"ab")
    run_briefly(loop, 6)
    return log, loop.remove_reader(near), loop.remove_writer(near)


def join_before_the_event(loop, near, far):
    visit(loop, near, far)
    log = []
    loop.add_reader(near, lambda: log.append(near.recv(1)))
    loop.add_writer(near, lambda: log.append(loop.remove_writer(near)))
    run_briefly(loop, 3)
    far.send(b"ab")
    run_briefly(loop, 4)
    return log, loop.remove_reader(near), loop.remove_writer(near)


def join_and_be_left(loop, near, far):
    """A writer joins the sleeping reader, who leaves; the writer stays."""
    visit(loop, near, far)
    log = []

    def read():
        log.append(near.recv(1))
        loop.add_writer(near, log.append, "write")
        log.append(loop.remove_reader(near))

    loop.add_reader(near, read)
    far.send(b"ab")
    run_briefly(loop, 4)
    return log, loop.remove_reader(near), loop.remove_writer(near)


def cancel_from_outside(loop, near, far):
    visit(loop, near, far)
    log = []
    handle = loop._add_reader(near, log.append, "cancelled")
    handle.cancel()
    far.send(b"ab")
    run_briefly(loop, 3)
    log.append(near.fileno() in loop._selector.get_map())
    loop.add_reader(near, lambda: log.append(near.recv(1)))
    run_briefly(loop, 4)
    return log, loop.remove_reader(near)


def cancel_while_asleep(loop, near, far):
    visit(loop, near, far)
    log = []

    def read():
        log.append(near.recv(1))
        handle.cancel()

    handle = loop._add_reader(near, read)
    far.send(b"ab")
    run_briefly(loop, 4)
    return log, near.fileno() in loop._selector.get_map(), loop.remove_reader(near)


def stop_in_callback(loop, near, far):
    """The run ends while the descriptor is asleep; the next one goes on with it."""
    visit(loop, near, far)
    log = []

    def read():
        log.append(near.recv(1))
        loop.stop()

    loop.add_reader(near, read)
    far.send(b"abc")
    for _ in range(3):
        loop.run_forever()
    return log, loop.remove_reader(near)


def use_sock_recv_between(loop, near, far):
    """A call on the socket, which arms the descriptor, between two stays."""
    near.setblocking(False)
    log = []
    for number in range(4):
        visit(loop, near, far)
        receiving = loop.create_task(loop.sock_recv(near, 10))
        run_briefly(loop, 2)
        far.send(b"%d" % number)
        log.append(loop.run_until_complete(receiving))
    return log, loop.remove_reader(near)


SCENARIOS = [
    replace_in_callback,
    leave_and_come_back,
    join_while_asleep,
    join_before_the_event,
    join_and_be_left,
    cancel_from_outside,
    cancel_while_asleep,
    stop_in_callback,
    use_sock_recv_between,
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_ends_as_on_asyncio(scenario):
    def on_a_fresh_pair(loop):
        near, far = socket.socketpair()
        with near, far:
            return scenario(loop, near, far)

    kind, _ = assert_same_on_both(on_a_fresh_pair)
    assert kind == "returned"


def test_of_many_every_second_one_stays(loop):
    """Those that stay are called for each of their bytes."""
    with contextlib.ExitStack() as stack:
        pairs = [socket.socketpair() for _ in range(100)]
        for end in (end for ends in pairs for end in ends):
            stack.enter_context(end)
        for near, far in pairs:
            visit(loop, near, far)
        received = [b""] * len(pairs)

        def read(index):
            near = pairs[index][0]
            received[index] += near.recv(1)
            if index % 2:
                assert loop.remove_reader(near)

        for index, (near, far) in enumerate(pairs):
            loop.add_reader(near, read, index)
            far.send(b"abc")
        run_briefly(loop, 6)
        assert received == [b"a" if index % 2 else b"abc" for index in range(len(pairs))]
        for index, (near, _) in enumerate(pairs):
            assert loop.remove_reader(near) is (index % 2 == 0)
            received[index] = b""
            loop.add_reader(near, read, index)
        run_briefly(loop, 4)
        assert received == [b"b" if index % 2 else b"" for index in range(len(pairs))]


# -- the next file of the number -------------------------------------------------------------------


def open_at(number):
    """Open a connected pair of which one end has this number, which is free; that one first."""
    ends = socket.socketpair()
    for near, far in (ends, ends[::-1]):
        if near.fileno() == number:
            return near, far
    near, far = ends
    os.dup2(near.fileno(), number)
    near.close()
    return socket.socket(fileno=number), far


@pytest.mark.parametrize("keep_duplicate", [False, True])
def test_the_next_file_of_the_number_gets_its_own_events_only(loop, keep_duplicate):
    near, far = socket.socketpair()
    number = near.fileno()
    visit(loop, near, far)
    visit(loop, near, far)
    duplicate = near.dup() if keep_duplicate else None
    near.close()
    fresh, fresh_far = open_at(number)
    called = []
    loop.add_reader(number, lambda: called.append(fresh.recv(10)))
    with contextlib.suppress(BrokenPipeError):
        far.send(b"for the first file")
    run_briefly(loop, 3)
    assert called == []
    fresh_far.send(b"abc")
    run_briefly(loop, 3)
    assert called == [b"abc"]
    assert loop.remove_reader(number) is True
    for end in (far, fresh, fresh_far, duplicate):
        if end is not None:
            end.close()


def test_a_file_that_takes_the_number_by_dup2_gets_its_own_events_only(loop, visited):
    near, far = visited
    kept = near.dup()
    fresh, fresh_far = socket.socketpair()
    os.dup2(fresh.fileno(), near.fileno())
    called = []
    loop.add_reader(near.fileno(), called.append, "fresh")
    far.send(b"old")
    run_briefly(loop, 3)
    assert called == []
    fresh_far.send(b"new")
    run_briefly(loop)
    assert called == ["fresh"]
    loop.remove_reader(near.fileno())
    for end in (kept, fresh, fresh_far):
        end.close()


def test_a_transport_takes_over_the_descriptor(loop, visited):
    near, far = visited

    async def echo():
        reader, writer = await asyncio.open_connection(sock=near)
        far.send(b"one")
        assert await reader.read(10) == b"one"
        far.send(b"two")
        assert await reader.read(10) == b"two"
        writer.close()
        await writer.wait_closed()

    loop.run_until_complete(echo())


# -- threads, forks and the end -----------------------------------------------------------------


def test_another_thread_comes_and_goes_while_the_loop_waits(loop, visited):
    """Forbidden, but borne by asyncio: the descriptors never lose an event for good."""
    near, far = visited
    received = []
    done = threading.Event()

    def read():
        received.append(near.recv(1))
        loop.remove_reader(near)
        done.set()

    def other_thread():
        for _ in range(50):
            done.clear()
            loop.add_reader(near, int)
            loop.remove_reader(near)
            loop.add_reader(near, read)
            far.send(b"x")
            assert done.wait(5)
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=other_thread)
    loop.call_soon(thread.start)
    loop.run_forever()
    thread.join()
    assert received == [b"x"] * 50


@pytest.mark.only_hotloop("asyncio's loop shares its set of descriptors with the child")
@pytest.mark.parametrize("state", ["asleep", "registered for one event", "ready"])
def test_a_forked_child_goes_on_by_itself(loop, visited, state):
    near, far = visited
    received = []

    def read():
        received.append(near.recv(1))

    if state != "asleep":
        loop.add_reader(near, read)
    if state == "ready":
        far.send(b"p")
        run_briefly(loop)
        assert received == [b"p"]

    def child():
        received.clear()
        loop.add_reader(near, read)
        far.send(b"abc")
        run_briefly(loop, 4)
        return b"".join(received).decode()

    assert in_child(child) == "abc"
    received.clear()
    loop.add_reader(near, read)
    far.send(b"de")
    run_briefly(loop, 4)
    assert received == [b"d", b"e"]
    loop.remove_reader(near)


@pytest.mark.parametrize("when", ["asleep", "in the callback", "before the event"])
def test_the_loop_can_be_closed_at_any_time(loop, visited, when):
    near, far = visited
    if when == "in the callback":
        loop.add_reader(near, loop.stop)
        far.send(b"x")
        loop.run_forever()
    elif when == "before the event":
        loop.add_reader(near, int)
    loop.close()
    assert loop.remove_reader(near) is False


# -- anything else ---------------------------------------------------------------------------------

OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "visit",
                "visit",
                "read",
                "read all",
                "come back",
                "write once",
                "write",
                "unread",
                "unwrite",
                "send",
                "send",
                "reopen",
                "close far",
                "turn",
                "turn",
            ]
        ),
        st.integers(0, 1),
    ),
    max_size=30,
)


class Program:
    """Two descriptors, used by a list of operations; the log of each is told apart."""

    def __init__(self, loop):
        self.loop = loop
        self.logs = [[], []]
        self.pairs = [socket.socketpair() for _ in range(2)]
        for near, _ in self.pairs:
            near.setblocking(False)

    def read(self, index, size):
        with contextlib.suppress(BlockingIOError):
            self.logs[index].append(self.pairs[index][0].recv(size))

    def call(self, index, what):
        """Stand in the place of a reader or a writer."""
        near = self.pairs[index][0]
        self.logs[index].append(what)
        if what == "write once":
            self.loop.remove_writer(near)
        elif what == "read all":
            self.read(index, 100)
        elif what != "write":
            self.read(index, 1)
        if what in ("visit", "come back"):
            self.loop.remove_reader(near)
        if what == "come back":
            self.loop.add_reader(near, self.call, index, "visit")

    def remove(self, index):
        near = self.pairs[index][0]
        return self.loop.remove_reader(near), self.loop.remove_writer(near)

    def carry_out(self, operation, index):
        near, far = self.pairs[index]
        if operation in ("visit", "read", "read all", "come back"):
            self.loop.add_reader(near, self.call, index, operation)
        elif operation.startswith("write"):
            self.loop.add_writer(near, self.call, index, operation)
        elif operation == "unread":
            self.logs[index].append(self.loop.remove_reader(near))
        elif operation == "unwrite":
            self.logs[index].append(self.loop.remove_writer(near))
        elif operation == "send":
            with contextlib.suppress(OSError):
                far.send(b"ab")
        elif operation == "reopen":
            self.logs[index].append(self.remove(index))
            number = near.fileno()
            near.close()
            far.close()
            near, far = self.pairs[index] = open_at(number)
            near.setblocking(False)
        elif operation == "close far":
            far.close()
        else:
            run_briefly(self.loop)

    def run(self, operations):
        try:
            for operation, index in operations:
                self.carry_out(operation, index)
            run_briefly(self.loop, 2)
            return self.logs, [self.remove(index) for index in range(2)]
        finally:
            for near, far in self.pairs:
                near.close()
                far.close()


@settings(deadline=None, max_examples=200)
@given(operations=OPERATIONS)
def test_any_sequence_of_stays_ends_as_on_asyncio(operations):
    ended = {}
    for name, factory in FACTORIES.items():
        loop = factory()
        try:
            ended[name] = Program(loop).run(operations)
        finally:
            loop.close()
    assert ended["hotloop"] == ended["asyncio"]
