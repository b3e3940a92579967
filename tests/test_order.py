"""The order of everything a loop runs is asyncio's, entry by entry.

One program mixes callbacks, task steps, descriptors that become ready, timers, calls and signals
from elsewhere, cancellations and stop(), and writes down each thing as it happens, together with
the turns of the loop.  The list it gives on hotloop has to be the list it gives on asyncio.  A
second test has hypothesis write such programs.  All deadlines are distinct, because what asyncio
does with equal ones is an accident of its heap (see test_known_differences.py).
"""

import asyncio
import contextlib
import os
import signal
import socket
import threading
import types

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.differential import FACTORIES, run_briefly


@types.coroutine
def bare_yield():
    """Give up the rest of this turn the way asyncio.sleep(0) does, without its Python frames."""
    yield


class Recording:
    """A loop, the list of what happened on it, and the means to run it to the program's end."""

    def __init__(self, loop):
        self.loop = loop
        self.entries = []
        self.is_finished = False
        self._cleanup = contextlib.ExitStack()
        loop.set_exception_handler(self._note_error)

    def note(self, entry):
        self.entries.append(entry)

    def _note_error(self, loop, context):
        # Objects found unretrieved are reported when they are freed, and when that is belongs to
        # the garbage collector, not to the loop's order; only failing callbacks are part of it.
        if "handle" in context:
            self.note(f"error: {context['exception']!r}")

    def socketpair(self):
        pair = socket.socketpair()
        for end in pair:
            end.setblocking(False)
            self._cleanup.callback(end.close)
        return pair

    def on_signal(self, number, callback, *args):
        self.loop.add_signal_handler(number, callback, *args)
        self._cleanup.callback(self.loop.remove_signal_handler, number)

    def mark_turns(self, count):
        """Note the number of each turn; a queue that is never empty keeps the loop from waiting."""

        def mark(number):
            self.note(f"turn {number}")
            if number < count:
                self.loop.call_soon(mark, number + 1)
            else:
                self.finish()

        self.loop.call_soon(mark, 1)

    def finish(self):
        self.is_finished = True
        self.loop.stop()

    def run(self):
        """Run until finish(), noting each time the loop was stopped before that."""
        try:
            while not self.is_finished:
                self.loop.run_forever()
                self.note("stopped")
            return list(self.entries)  # What leaving adds to it is not part of the program.
        finally:
            self._leave_nothing_behind()

    def _leave_nothing_behind(self):
        for _ in range(5):
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            run_briefly(self.loop)
        self._cleanup.close()
        self.loop.close()


# The parts of the one program.  Each queues its own beginnings; run together, they interleave.


def callbacks(recording):
    loop, note = recording.loop, recording.note

    def first():
        note("first")
        loop.call_soon(note, "queued by first: next turn")
        doomed.cancel()

    def failing():
        note("failing")
        raise ValueError("from a callback")

    loop.call_soon(first)
    loop.call_soon(failing)
    doomed = loop.call_soon(note, "never: cancelled by first in its own turn")
    loop.call_soon(note, "never: cancelled at once").cancel()
    loop.call_soon_threadsafe(note, "threadsafe from the loop's thread")
    loop.call_soon(loop.call_soon, loop.call_soon, note, "two turns on")


def tasks(recording):
    loop, note = recording.loop, recording.note
    gate = loop.create_future()

    async def stepping(name, steps):
        for step in range(steps):
            note(f"{name} step {step}")
            await bare_yield()
        note(f"{name} done")
        return name

    async def waiting(name):
        note(f"{name} waits")
        try:
            note(f"{name} got {await gate}")
        except asyncio.CancelledError as error:
            note(f"{name} cancelled {error.args}")
            await bare_yield()
            note(f"{name} cleaned up")
            raise

    async def gathering():
        note(f"gathered {await asyncio.gather(stepping('g1', 1), stepping('g2', 3))}")

    created = [
        loop.create_task(coroutine)
        for coroutine in (
            stepping("a", 2),
            waiting("w1"),
            waiting("w2"),
            waiting("w3"),
            gathering(),
        )
    ]
    for number, task in enumerate(created):
        task.add_done_callback(lambda task, number=number: note(f"task {number} was done"))
    never_started = loop.create_task(stepping("never started", 1))
    never_started.add_done_callback(lambda task: note(f"never started: {task.cancelled()}"))
    never_started.cancel()

    def decide():
        note("decide")
        created[2].cancel("why not")
        gate.set_result("the gate")
        created[3].cancel()
        gate.add_done_callback(lambda future: note("added when the gate was open"))

    gate.add_done_callback(lambda future: note("the gate opens"))
    loop.call_soon(loop.call_soon, loop.call_soon, decide)
    # The list is kept: a task that only the loop knows could be collected.
    recording.created_tasks = created


def descriptors(recording):
    loop, note = recording.loop, recording.note
    near, far = recording.socketpair()
    other_near, other_far = recording.socketpair()
    closed_near, closed_far = recording.socketpair()

    def receive():
        note(f"near receives {near.recv(1)!r}")

    def replaced():
        note("never: replaced in the turn in which it was due")

    def replacing():
        note("other end replaces")
        loop.add_reader(closed_near, end_of_file)
        loop.remove_reader(other_near)

    def end_of_file():
        note(f"end of file {closed_near.recv(1)!r}")
        loop.remove_reader(closed_near)
        loop.add_reader(closed_near, note, "never: removed again")
        loop.remove_reader(closed_near)

    def writable(turns_left):
        note(f"near is writable, {turns_left} more")
        loop.remove_writer(near)
        if turns_left:
            loop.add_writer(near, writable, turns_left - 1)

    far.send(b"123")
    other_far.send(b"x")
    closed_far.close()
    loop.add_reader(near, receive)
    loop.add_writer(near, writable, 2)
    loop.add_reader(other_near, replacing)
    loop.add_reader(closed_near, replaced)
    loop.add_writer(closed_near, lambda: (note("hang-up"), loop.remove_writer(closed_near)))


def timers(recording):
    loop, note = recording.loop, recording.note

    def spawn_due_timers(*backs):
        note("timers made")
        now = loop.time()
        for back in backs:
            loop.call_at(now - back, note, f"timer due {back} s ago")
        loop.call_at(now - 25, note, "never: cancelled timer").cancel()
        loop.call_later(-5, loop.call_soon, note, "queued by a timer due 5 s ago")

    def become_due():
        loop.call_later(0.0005, note, "timer that came due while a callback ran")
        end = loop.time() + 0.002
        while loop.time() < end:
            pass
        note("spun for two milliseconds")

    loop.call_soon(spawn_due_timers, 10, 30, 20)
    loop.call_soon(loop.call_soon, become_due)
    loop.call_at(loop.time() - 1, spawn_due_timers, 35, 15)


def threads(recording):
    loop, note = recording.loop, recording.note

    def call_from_a_thread():
        note("thread begins")
        thread = threading.Thread(
            target=lambda: [
                loop.call_soon_threadsafe(note, f"from a thread {number}") for number in range(3)
            ]
        )
        thread.start()
        thread.join()
        loop.call_soon(note, "after the thread's calls")

    loop.call_soon(note, "before the thread's calls")
    loop.call_soon(loop.call_soon, call_from_a_thread)


def signals(recording):
    loop, note = recording.loop, recording.note
    recording.on_signal(signal.SIGUSR1, note, "SIGUSR1 handled")
    recording.on_signal(signal.SIGUSR2, note, "SIGUSR2 handled")

    def raise_both():
        note("raising SIGUSR2, then SIGUSR1")
        signal.raise_signal(signal.SIGUSR2)
        signal.raise_signal(signal.SIGUSR1)

    loop.call_soon(loop.call_soon, loop.call_soon, loop.call_soon, raise_both)


def stops(recording):
    loop, note = recording.loop, recording.note

    def stop_here():
        note("stop asked for")
        loop.stop()
        loop.call_soon(note, "queued after stop: the next run's first turn")

    loop.call_soon(stop_here)
    loop.call_soon(note, "the same turn still runs")
    loop.call_soon(loop.call_soon, loop.call_soon, stop_here)


PARTS = (callbacks, tasks, descriptors, timers, threads, signals, stops)


def record_busy_program(loop, parts):
    """All parts at once, on a loop whose queue is never empty."""
    recording = Recording(loop)
    for part in parts:
        part(recording)
    recording.mark_turns(16)
    return recording.run()


def record_idle_program(loop):
    """One thing after the other, each of which wakes a loop that has nothing to do but wait."""
    recording = Recording(loop)
    note = recording.note
    near, far = recording.socketpair()

    async def main():
        started = loop.time()
        due = [loop.call_at(started + back, note, f"due in {back}") for back in (0.006, 0.002)]
        due.append(loop.call_at(started + 0.004, note, "never: cancelled"))
        due[-1].cancel()
        await asyncio.sleep(0.008)
        readable = loop.create_future()
        loop.add_reader(near, lambda: (note("woken by bytes"), readable.set_result(near.recv(9))))
        sender = threading.Timer(0.002, far.send, [b"bytes"])
        sender.start()
        note(await readable)
        loop.remove_reader(near)
        sender.join()
        called = asyncio.Event()
        caller = threading.Thread(
            target=lambda: (
                loop.call_soon_threadsafe(note, "woken by a thread"),
                loop.call_soon_threadsafe(called.set),
            )
        )
        caller.start()
        await called.wait()
        caller.join()
        note(await loop.run_in_executor(None, lambda: "from the executor"))
        killer = threading.Timer(0.002, os.kill, [os.getpid(), signal.SIGUSR2])
        killer.start()
        await signalled.wait()
        note("woken by a signal")
        killer.join()
        recording.finish()

    signalled = asyncio.Event()
    recording.on_signal(signal.SIGUSR2, signalled.set)
    loop.create_task(main()).add_done_callback(lambda task: task.exception() and recording.finish())
    return recording.run()


@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
def test_one_program_of_everything_gives_asyncios_list(debug):
    lists = {}
    for name, factory in FACTORIES.items():
        loop = factory()
        loop.set_debug(debug)
        lists[name] = record_busy_program(loop, PARTS)
    assert lists["hotloop"] == lists["asyncio"]
    assert len(lists["asyncio"]) > 80, "the program did not do what it is for"


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_each_part_alone_gives_asyncios_list(part):
    lists = {name: record_busy_program(factory(), [part]) for name, factory in FACTORIES.items()}
    assert lists["hotloop"] == lists["asyncio"]
    assert not [entry for entry in lists["asyncio"] if entry.startswith("never:")]


def test_what_wakes_an_idle_loop_comes_in_asyncios_order():
    lists = {name: record_idle_program(factory()) for name, factory in FACTORIES.items()}
    assert lists["hotloop"] == lists["asyncio"]
    assert "woken by a signal" in lists["asyncio"]


# Random programs.  A program is a tree of operations as plain data; running it labels each
# operation by the order in which it is carried out, so that any difference of order shows up.

SLOTS = st.integers(0, 3)
LEAVES = st.one_of(
    st.tuples(
        st.sampled_from(
            [
                "cancel handle",
                "cancel timer",
                "cancel task",
                "cancel future",
                "resolve future",
                "fail future",
                "send byte",
                "receive byte",
                "drop reader",
                "drop writer",
                "close far end",
            ]
        ),
        SLOTS,
    ),
    st.tuples(st.sampled_from(["stop", "signal", "raise", "advance clock"]), st.just(0)),
)


def nested(children):
    body = st.lists(children, max_size=3)
    wait = st.tuples(st.sampled_from(["bare", "sleep", "future", "task"]), SLOTS)
    return st.one_of(
        st.tuples(st.sampled_from(["soon", "threadsafe", "from a thread"]), body),
        st.tuples(
            st.sampled_from(["when future done", "when task done", "reader", "writer"]),
            SLOTS,
            body,
        ),
        st.tuples(st.just("timer"), st.integers(-9, 9), body),
        st.tuples(st.just("task"), st.lists(st.tuples(body, wait), max_size=3)),
    )


PROGRAMS = st.lists(st.recursive(LEAVES, nested, max_leaves=20), min_size=1, max_size=12)


class ProgramRun:
    """Carries out one random program on one loop."""

    MOST_OPERATIONS = 300

    def __init__(self, loop, use_own_clock, use_threads):
        self.use_threads = use_threads
        self.has_signalled = False
        self.recording = Recording(loop)
        self.loop = loop
        self.note = self.recording.note
        self.count = 0
        self.handles, self.timers, self.tasks = [], [], []
        self.futures = [loop.create_future() for _ in range(4)]
        self.pairs = [self.recording.socketpair() for _ in range(4)]
        self.recording.on_signal(signal.SIGUSR1, self.note, "signal")
        self.now = loop.time()
        self.use_own_clock = use_own_clock
        if use_own_clock:
            loop.time = lambda: self.now

    def run(self, program):
        self.loop.call_soon(self.body, "start", program)
        self.recording.mark_turns(14)
        entries = self.recording.run()
        entries.append([(future.done(), future.cancelled()) for future in self.futures])
        return entries

    def body(self, label, operations, *_unused):
        """What every callback of a program does: note its label, carry out its operations."""
        self.note(label)
        for kind, *details in operations:
            self.count += 1
            if self.count > self.MOST_OPERATIONS:
                return
            getattr(self, "do_" + kind.replace(" ", "_"))(self.count, *details)

    @staticmethod
    def pick(things, slot):
        return things[slot % len(things)] if things else None

    def do_soon(self, label, operations):
        self.handles.append(self.loop.call_soon(self.body, f"soon {label}", operations))

    def do_threadsafe(self, label, operations):
        if not self.use_threads:
            return
        handle = self.loop.call_soon_threadsafe(self.body, f"threadsafe {label}", operations)
        self.handles.append(handle)

    def do_from_a_thread(self, label, operations):
        thread = threading.Thread(target=self.do_threadsafe, args=(label, operations))
        thread.start()
        thread.join()

    def do_timer(self, label, offset, operations):
        # A label is used once, so its share of the deadline makes all deadlines distinct, in an
        # order that is not the order of creation.  On the real clock all deadlines are long past:
        # otherwise it would be the machine's speed that decides what is due.
        when = self.now + offset + (label * 619 % 1000) * 1e-6
        if not self.use_own_clock:
            when -= 1000
        self.timers.append(self.loop.call_at(when, self.body, f"timer {label}", operations))

    def do_advance_clock(self, label, _slot):
        if self.use_own_clock:
            self.now += 3

    def do_cancel_handle(self, label, slot):
        handle = self.pick(self.handles, slot)
        if handle is not None:
            handle.cancel()

    def do_cancel_timer(self, label, slot):
        timer = self.pick(self.timers, slot)
        if timer is not None:
            timer.cancel()

    def do_cancel_task(self, label, slot):
        task = self.pick(self.tasks, slot)
        if task is not None:
            self.note(f"cancel {label}: {task.cancel()}")

    def do_cancel_future(self, label, slot):
        self.note(f"cancel {label}: {self.futures[slot].cancel()}")

    def do_resolve_future(self, label, slot):
        if not self.futures[slot].done():
            self.futures[slot].set_result(label)

    def do_fail_future(self, label, slot):
        if not self.futures[slot].done():
            self.futures[slot].set_exception(LookupError(label))
            self.futures[slot].exception()

    def do_when_future_done(self, label, slot, operations):
        self.futures[slot].add_done_callback(
            lambda future: self.body(f"future done {label}", operations)
        )

    def do_when_task_done(self, label, slot, operations):
        task = self.pick(self.tasks, slot)
        if task is not None:
            task.add_done_callback(lambda task: self.body(f"task done {label}", operations))

    def do_reader(self, label, slot, operations):
        self.loop.add_reader(
            self.pairs[slot][0], self.only_once, "reader", slot, f"reader {label}", operations
        )

    def do_writer(self, label, slot, operations):
        self.loop.add_writer(
            self.pairs[slot][0], self.only_once, "writer", slot, f"writer {label}", operations
        )

    def only_once(self, kind, slot, label, operations):
        # A level-triggered callback comes back each turn; removing it bounds the program.
        getattr(self, f"do_drop_{kind}")(label, slot)
        self.body(label, operations)

    def do_drop_reader(self, label, slot):
        self.note(f"reader removed: {self.loop.remove_reader(self.pairs[slot][0])}")

    def do_drop_writer(self, label, slot):
        self.note(f"writer removed: {self.loop.remove_writer(self.pairs[slot][0])}")

    def do_send_byte(self, label, slot):
        with contextlib.suppress(OSError):
            self.pairs[slot][1].send(b"x")

    def do_receive_byte(self, label, slot):
        with contextlib.suppress(BlockingIOError):
            self.note(f"received {self.pairs[slot][0].recv(1)}")

    def do_close_far_end(self, label, slot):
        self.pairs[slot][1].close()

    def do_stop(self, label, _slot):
        self.loop.stop()

    def do_signal(self, label, _slot):
        # Each call from a thread and each signal makes asyncio read its own wake-up pipe one turn
        # later; a signal of that very turn is then seen a turn earlier than one that comes alone.
        # That accident of asyncio is kept out: one signal, and no such calls beside it.
        if not self.use_threads and not self.has_signalled:
            self.has_signalled = True
            signal.raise_signal(signal.SIGUSR1)

    def do_raise(self, label, _slot):
        # Raised in a callback of its own: here it would end the surrounding body.
        self.loop.call_soon(self.fail, label)

    @staticmethod
    def fail(label):
        raise ArithmeticError(label)

    def do_task(self, label, steps):
        task = self.loop.create_task(self.coroutine(label, steps, len(self.tasks)))
        self.tasks.append(task)
        task.add_done_callback(lambda task: self.note(f"task {label} ended {task.cancelled()}"))

    async def coroutine(self, label, steps, own_slot):
        for number, (operations, (wait, slot)) in enumerate(steps):
            self.body(f"task {label} step {number}", operations)
            try:
                await self.waiting(wait, slot, own_slot)
            except LookupError as error:
                self.note(f"task {label} caught {error!r}")

    def waiting(self, wait, slot, own_slot):
        if wait == "future":
            return self.futures[slot]
        if wait == "task" and own_slot:
            # Only older tasks are awaited, so that no ring of tasks waits for itself.
            return self.tasks[slot % own_slot]
        return asyncio.sleep(0) if wait == "sleep" else bare_yield()


@pytest.mark.timeout(120)
@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(program=PROGRAMS, use_own_clock=st.booleans(), use_threads=st.booleans())
def test_random_programs_give_asyncios_list(program, use_own_clock, use_threads):
    lists = {
        name: ProgramRun(factory(), use_own_clock, use_threads).run(program)
        for name, factory in FACTORIES.items()
    }
    assert lists["hotloop"] == lists["asyncio"]
