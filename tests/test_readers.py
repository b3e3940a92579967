"""add_reader, add_writer and their removal: what they take, return, and must never do.

The descriptors stay the caller's: neither their O_NONBLOCK flag nor their life is touched.  An
event that belongs to an earlier registration never calls a later one's callback, however numbers
of descriptors are reused.
"""

import asyncio
import contextlib
import contextvars
import errno
import fcntl
import gc
import inspect
import os
import re
import socket
import tempfile
import weakref
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.differential import (
    FACTORIES,
    assert_same_on_both,
    collect_reports,
    evaluated,
    outcome_of,
    run_briefly,
)

import hotloop


@pytest.fixture
def pair():
    near, far = socket.socketpair()
    yield near, far
    near.close()
    far.close()


@pytest.fixture
def pipe():
    """A pipe as two unbuffered file objects."""
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb", 0) as reader, os.fdopen(write_end, "wb", 0) as writer:
        yield reader, writer


class FilenoOf:
    """Something that is no file but has a fileno() of the given value."""

    def __init__(self, value):
        self.value = value

    def fileno(self):
        if isinstance(self.value, BaseException):
            raise self.value
        return self.value


def evaluate_on_descriptors(loop, expression, debug):
    """Evaluate with a connected pair, a closed socket and a regular file at hand."""
    loop.set_debug(debug)
    own = len(loop._selector.get_map())  # asyncio watches its own wake-up descriptor as well.
    near, far = socket.socketpair()
    closed = socket.socket()
    closed.close()
    with near, far, tempfile.TemporaryFile() as regular:
        ended = outcome_of(
            evaluated,
            expression,
            loop,
            near=near,
            far=far,
            closed=closed,
            regular=regular,
            FilenoOf=FilenoOf,
            coroutine_function=coroutine_function,
            context=contextvars.copy_context(),
            unused=unused_descriptor(),
        )
        watched = len(loop._selector.get_map()) - own
        for end in (near, far):
            loop.remove_reader(end)
            loop.remove_writer(end)
        loop.close()
    return ended, watched


async def coroutine_function():
    raise AssertionError("never runs")


def unused_descriptor():
    """The number of no open descriptor, far from those that tests open."""
    return 900


EXPRESSIONS = [
    expression.format(kind=kind)
    for kind in ("reader", "writer")
    for expression in (
        "loop.add_{kind}()",
        "loop.add_{kind}(near)",
        "type(loop.add_{kind}(near, print)).__name__",
        "type(loop.add_{kind}(near.fileno(), print, 1, 2)).__name__",
        "type(loop.add_{kind}(FilenoOf(near.fileno()), print)).__name__",
        "type(loop.add_{kind}(near, None)).__name__",
        "type(loop.add_{kind}(near, 5)).__name__",
        "loop.add_{kind}(near, print, key=1)",
        "loop.add_{kind}(None, print)",
        "loop.add_{kind}('near', print)",
        "loop.add_{kind}(1.5, print)",
        "loop.add_{kind}(-1, print)",
        "loop.add_{kind}(10**30, print)",
        "loop.add_{kind}(2**40, print)",
        "loop.add_{kind}(closed, print)",
        "loop.add_{kind}(unused, print)",
        "loop.add_{kind}(regular, print)",
        "loop.add_{kind}(FilenoOf('x'), print)",
        "loop.add_{kind}(FilenoOf(-5), print)",
        "loop.add_{kind}(FilenoOf(None), print)",
        "loop.add_{kind}(FilenoOf(LookupError('no number')), print)",
        "loop.remove_{kind}()",
        "loop.remove_{kind}(near)",
        "loop.remove_{kind}(near.fileno())",
        "loop.remove_{kind}(unused)",
        "loop.remove_{kind}(closed)",
        "loop.remove_{kind}(-1)",
        "loop.remove_{kind}(10**30)",
        "loop.remove_{kind}('near')",
        "loop.remove_{kind}(None)",
        "loop.remove_{kind}(regular)",
        "loop.remove_{kind}(near, 5)",
        "loop.remove_{kind}(near, fd=5)",
        "loop.remove_{kind}(fd=near)",
        "loop.remove_{kind}(file=near)",
        "loop.remove_{kind}(-10**30)",
        "loop.remove_{kind}(FilenoOf(10**30))",
        "loop.remove_{kind}(FilenoOf(-5))",
        "loop.remove_{kind}(True)",
        "loop.add_{kind}(fd=near, callback=print)",
        "loop.add_{kind}(near, callback=print)",
        "loop.add_{kind}(near, print, callback=print)",
        "loop.add_{kind}(near, print, 1, fd=near)",
        "loop.add_{kind}(fd=near)",
        "loop.add_{kind}(near, print, context=None)",
        "loop.add_{kind}(-10**30, print)",
        "loop.add_{kind}(FilenoOf(10**30), print)",
        "loop.add_{kind}(FilenoOf(str(near.fileno())), print)",
        "type(loop._add_{kind}(near, print, 1)).__name__",
        "loop._add_{kind}(near.fileno(), print, 1)._args",
        "loop._add_{kind}(near.fileno(), print, 1, 2)._args",
        "loop._add_{kind}(fd=near, callback=print)._args",
        "loop._add_{kind}(near)",
        "type(loop._add_{kind}(near, print, context=None)._context).__name__",
        "loop._add_{kind}(near, print, 1, context=context)._context is context",
        "loop._add_{kind}(near, callback=print, context=context)._context is context",
        "loop._add_{kind}(FilenoOf(None), print)",
        "loop._add_{kind}(-1, print)",
        "(loop._add_{kind}(near, print) and 0, loop._remove_{kind}(near))",
        "(loop._add_{kind}(near, print) and 0, loop._remove_{kind}(fd=near.fileno()))",
        "loop._remove_{kind}()",
        "loop._remove_{kind}(closed)",
        "loop._remove_{kind}(FilenoOf(LookupError('no number')))",
        "loop._ensure_fd_no_transport()",
        "loop._ensure_fd_no_transport(near)",
        "loop._ensure_fd_no_transport(fd=near.fileno())",
        "loop._ensure_fd_no_transport(-1)",
        "loop._ensure_fd_no_transport(10**30)",
        "loop._ensure_fd_no_transport(closed)",
        "loop._ensure_fd_no_transport('near')",
        "loop._ensure_fd_no_transport(FilenoOf(ValueError('closed')))",
        "loop._ensure_fd_no_transport(FilenoOf(LookupError('no number')))",
        "loop._ensure_fd_no_transport(FilenoOf('x'))",
        "(loop.close(), loop.add_{kind}(near, print))",
        "(loop.close(), loop.add_{kind}(None, print))",
        "(loop.close(), loop.add_{kind}(-1, print))",
        "(loop.close(), loop._add_{kind}(None, print))",
        "(loop.close(), loop.remove_{kind}(near))",
        "(loop.close(), loop.remove_{kind}(-1))",
        "(loop.close(), loop.remove_{kind}('near'))",
        "(loop.close(), loop._remove_{kind}('near'))",
        "(loop.add_{kind}(near, print) and None, loop.remove_{kind}(near))",
        "(loop.add_{kind}(near, print) and None, loop.remove_{kind}(near.fileno()))",
        "(loop.add_{kind}(near, int) and 0, loop.add_{kind}(near, str) and 0,"
        " loop.remove_{kind}(near), loop.remove_{kind}(near))",
        "(loop.add_reader(near, int) and 0, loop.add_writer(near, str) and 0,"
        " loop.remove_{kind}(near), loop.remove_{kind}(near))",
    )
]


@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_arguments_and_results_are_asyncios(expression, debug):
    assert_same_on_both(evaluate_on_descriptors, expression, debug)


PRIVATE_NAMES = [
    "_ensure_fd_no_transport",
    "_add_reader",
    "_add_writer",
    "_remove_reader",
    "_remove_writer",
]


@pytest.mark.parametrize("name", PRIVATE_NAMES)
def test_private_methods_have_asyncios_signatures(name):
    assert_same_on_both(lambda loop: str(inspect.signature(getattr(loop, name))))


def public_calls(loop, near):
    """Call the four public methods, by number and by object, and return what they returned."""
    results = []
    for file in (near.fileno(), near):
        for kind in ("reader", "writer"):
            results.append(getattr(loop, f"add_{kind}")(file, int, "5"))
            results.append(getattr(loop, f"remove_{kind}")(file))
    return results


def noting(name, notes, original=None):
    """A stand-in for a method, which notes its calls; it goes on to the original, if any."""

    def stand_in(*args, **kwargs):
        notes.append((name, len(args)))
        return None if original is None else original(*args, **kwargs)

    return stand_in


def replaced_on_instance(loop, near):
    notes = []
    for name in PRIVATE_NAMES:
        setattr(loop, name, noting(name, notes, getattr(loop, name)))
        notes.append(public_calls(loop, near))
        delattr(loop, name)
        notes.append(public_calls(loop, near))
    return notes


def replaced_on_class(loop, near):
    notes = []
    for name in PRIVATE_NAMES:
        with mock.patch.object(type(loop), name, noting(name, notes)):
            notes.append(public_calls(loop, near))
        notes.append(public_calls(loop, near))
    return notes


def replaced_within_a_callback(loop, near):
    notes = []
    loop.call_soon(lambda: notes.append(replaced_on_class(loop, near)))
    run_briefly(loop)
    loop.call_soon(lambda: notes.append(replaced_on_instance(loop, near)))
    run_briefly(loop)
    return notes


def replaced_in_subclass(loop, near):
    notes = []

    def overriding(name):
        def method(self, *args):
            notes.append((name, len(args)))
            return getattr(super(derived, self), name)(*args)

        return method

    derived = type("Derived", (type(loop),), {name: overriding(name) for name in PRIVATE_NAMES})
    with contextlib.closing(derived()) as other:
        notes.clear()  # asyncio's loop watches its own wake-up from the start.
        notes.append(public_calls(other, near))
        kept = list(notes)
    return kept


@pytest.mark.parametrize(
    "replace",
    [replaced_on_instance, replaced_on_class, replaced_within_a_callback, replaced_in_subclass],
)
def test_replaced_private_methods_are_used(pair, replace):
    """What a program or its tests put in the place of what the public methods call is called."""
    kind, notes = assert_same_on_both(replace, pair[0])
    assert kind == "returned" and len(notes) >= 2


def other_numbers(loop, near):
    """Descriptors that are ints of another kind: bools and instances of subclasses."""

    class Number(int):
        def fileno(self):
            raise AssertionError("an int is its own number")

        def __repr__(self):
            return f"Number({int(self)})"

    number = Number(near.fileno())
    results = []
    for kind in ("reader", "writer"):
        add, remove = getattr(loop, f"add_{kind}"), getattr(loop, f"remove_{kind}")
        results += [add(number, int), loop._selector.get_map()[near].fileobj is number]
        results += [remove(near.fileno()), remove(number)]
        results += [outcome_of(add, Number(-3), int), outcome_of(remove, Number(-3))]
        results += [remove(False), outcome_of(add, Number(2**70), int)]
    return results


def test_other_kinds_of_int_are_numbers_as_well(pair):
    assert_same_on_both(other_numbers, pair[0])


def registered_objects(loop, near):
    found = []
    for file in (near, near.fileno(), FilenoOf(near.fileno())):
        loop.add_reader(file, int)
        key = loop._selector.get_key(near)
        found.append((key.fileobj is file or key.fileobj == file, key.fd == near.fileno()))
        loop.remove_reader(near)
    return found


def test_the_selector_shows_what_was_registered(pair):
    _, found = assert_same_on_both(registered_objects, pair[0])
    assert found == [(True, True)] * 3


def test_a_number_registered_over_a_file_object_takes_its_place(pair):
    """The object may be closed by now, and its number another file's."""
    loop = hotloop.new_event_loop()
    near = FilenoOf(pair[0].fileno())
    ended = weakref.ref(near)
    loop.add_reader(near, int)
    loop.add_reader(pair[0].fileno(), int)
    del near
    assert ended() is None
    assert loop._selector.get_key(pair[0]).fileobj == pair[0].fileno()
    loop.close()


def owned_by_python_transport(loop, near):
    """A transport in Python that the loop's table knows, open, closing, and gone."""

    class Owner:
        closing = False

        def is_closing(self):
            return self.closing

        def __repr__(self):
            return "<owner>"

    owner, seen = Owner(), []
    number = near.fileno()
    loop._transports[number] = owner
    for owner.closing in (False, True):
        for file in (number, near):
            for name in ("add_reader", "add_writer"):
                seen.append(outcome_of(getattr(loop, name), file, int))
            for name in ("remove_reader", "remove_writer", "_ensure_fd_no_transport"):
                seen.append(outcome_of(getattr(loop, name), file))
    seen.append(outcome_of(loop.add_reader, 10**30, int))
    owner.closing = False
    del loop._transports[number]
    seen.append(outcome_of(loop.remove_reader, number))
    return [normalized_socket(text) for text in seen]


def normalized_socket(ended):
    return tuple(
        re.sub(r"<socket.*?>", "SOCKET", part) if isinstance(part, str) else part for part in ended
    )


def test_a_transport_made_in_python_owns_its_descriptor(pair):
    _, seen = assert_same_on_both(owned_by_python_transport, pair[0])
    assert "is used by transport <owner>" in seen[0][2]


def refused_chain(loop):
    """The exception for what is no file, raised while another one is handled."""
    try:
        raise LookupError("handled")
    except LookupError:
        try:
            loop.add_reader(FilenoOf(TypeError("inner")), print)
        except ValueError as error:
            return (
                repr(error.__cause__),
                error.__suppress_context__,
                repr(error.__context__),
                repr(error.__context__.__context__),
            )


def test_the_error_for_what_is_no_file_hides_why():
    assert_same_on_both(refused_chain)


def test_a_regular_file_is_refused_with_epolls_permission_error(loop):
    with tempfile.TemporaryFile() as regular:
        with pytest.raises(PermissionError) as raised:
            loop.add_reader(regular, print)
        assert raised.value.errno == errno.EPERM
        assert loop.remove_reader(regular) is False


def test_callbacks_get_their_arguments_and_come_again_while_there_is_data(loop, pair):
    near, far = pair
    received = []
    loop.add_reader(near, lambda *args: received.append((near.recv(1), *args)), "a", 2)
    far.send(b"xyz")
    run_briefly(loop, 6)
    assert received == [(b"x", "a", 2), (b"y", "a", 2), (b"z", "a", 2)]
    assert loop.remove_reader(near) is True


def test_a_writer_comes_again_as_long_as_there_is_room(loop, pair):
    near, _ = pair
    calls = []
    loop.add_writer(near, calls.append, 1)
    run_briefly(loop, 4)
    assert 3 <= len(calls) <= 4
    loop.remove_writer(near)
    run_briefly(loop, 2)
    assert len(calls) <= 4


def test_a_second_callback_replaces_the_first(loop, pair):
    near, far = pair
    called = []
    loop.add_reader(near, called.append, "first")
    loop.add_reader(near, lambda: called.append(near.recv(1)))
    far.send(b"x")
    run_briefly(loop, 3)
    assert called == [b"x"]
    loop.remove_reader(near)


def test_pipes_and_file_objects_are_watched(loop, pipe):
    reader, writer = pipe
    received = []
    loop.add_reader(reader, lambda: received.append(reader.read(10)))
    loop.add_writer(writer, lambda: (writer.write(b"data"), loop.remove_writer(writer)))
    run_briefly(loop, 4)
    assert received == [b"data"]
    assert loop.remove_reader(reader) is True


@pytest.mark.parametrize("blocking", [True, False])
def test_the_blocking_flag_is_never_touched(loop, pair, pipe, blocking):
    for descriptor in (pair[0].fileno(), pipe[0].fileno(), pipe[1].fileno()):
        os.set_blocking(descriptor, blocking)
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
        loop.add_reader(descriptor, int)
        loop.add_writer(descriptor, int)
        run_briefly(loop, 2)
        loop.remove_reader(descriptor)
        loop.remove_writer(descriptor)
        run_briefly(loop)
        assert fcntl.fcntl(descriptor, fcntl.F_GETFL) == flags


def test_the_loop_keeps_no_reference_to_a_file_object(loop):
    near, far = socket.socketpair()
    end = weakref.ref(near)
    loop.add_reader(near, int)
    descriptor = near.fileno()
    loop.remove_reader(descriptor)
    near.close()
    del near
    assert end() is None
    far.close()


def test_callback_and_arguments_are_dropped_on_removal(loop, pair):
    class Witness:
        def __call__(self, *args):
            pass

    called, argument = Witness(), Witness()
    ends = [weakref.ref(called), weakref.ref(argument)]
    loop.add_reader(pair[0], called, argument)
    del called, argument
    gc.collect()
    assert all(end() is not None for end in ends)
    loop.remove_reader(pair[0])
    assert [end() for end in ends] == [None, None]


def test_closing_the_loop_drops_callbacks_but_not_descriptors(loop, pair):
    class Witness:
        def __call__(self):
            pass

    called = Witness()
    end = weakref.ref(called)
    loop.add_reader(pair[0], called)
    del called
    loop.close()
    gc.collect()
    assert end() is None
    pair[1].send(b"x")
    assert pair[0].recv(1) == b"x"


def hung_up(how):
    """A descriptor whose other end went away in the given way, as (watched, what to close)."""
    if how.startswith("pipe"):
        ends = list(os.pipe())
        watched = ends.pop(0 if how == "pipe's writer" else 1)
        os.close(ends[0])
        return watched, os.fdopen(watched, "rb" if how == "pipe's writer" else "wb", 0)
    near, far = socket.socketpair()
    if how == "shutdown":
        far.shutdown(socket.SHUT_WR)
    else:
        far.close()
    stack = contextlib.ExitStack()
    stack.enter_context(near)
    stack.enter_context(far)
    return near.fileno(), stack


def hang_up(loop, how):
    """The sides told of a hang-up, with the reader, the writer or both asked for."""
    told = []
    for asked in ("reader", "writer", "both"):
        watched, closing = hung_up(how)
        with closing:
            if asked in ("reader", "both"):
                loop.add_reader(watched, told.append, (asked, "read"))
            if asked in ("writer", "both"):
                loop.add_writer(watched, told.append, (asked, "write"))
            run_briefly(loop, 2)
            loop.remove_reader(watched)
            loop.remove_writer(watched)
    return told


@pytest.mark.parametrize("how", ["close", "shutdown", "pipe's writer", "pipe's reader"])
def test_hang_up_and_errors_tell_the_sides_that_asyncio_tells(how):
    kind, told = assert_same_on_both(hang_up, how)
    assert kind == "returned" and told


def test_a_removed_reader_is_not_called_in_the_turn_in_which_it_was_due(loop, pair):
    near, far = pair
    other_near, other_far = socket.socketpair()
    called = []

    def first(name, other):
        called.append(name)
        loop.remove_reader(other)

    # Both are ready in the same wait; whichever comes first removes the other one.
    loop.add_reader(near, first, "near", other_near)
    loop.add_reader(other_near, first, "other", near)
    far.send(b"x")
    other_far.send(b"x")
    run_briefly(loop)
    assert len(called) == 1
    loop.remove_reader(near)
    loop.remove_reader(other_near)
    other_near.close()
    other_far.close()


def test_an_event_of_an_earlier_registration_never_calls_the_new_callback(loop, pair):
    near, far = pair
    fired = socket.socketpair()
    called = []

    def replace():
        called.append("replace")
        loop.remove_reader(fired[0])
        loop.remove_reader(near)
        loop.add_reader(near, called.append, "new")
        far_bytes = near.recv(10)
        assert far_bytes == b"old"

    loop.add_reader(fired[0], replace)
    loop.add_reader(near, called.append, "old")
    fired[1].send(b"x")
    far.send(b"old")
    run_briefly(loop, 4)
    # The old callback may have come first; the new one has nothing to be called for.
    assert "new" not in called and called.count("replace") == 1
    loop.remove_reader(near)
    for end in fired:
        end.close()


def test_a_reused_descriptor_number_does_not_inherit_events(loop):
    """Close a ready descriptor in the turn in which its event is queued and reuse its number."""
    near, far = socket.socketpair()
    trigger = socket.socketpair()
    called, opened = [], []

    def reuse():
        number = near.fileno()
        loop.remove_reader(trigger[0])
        loop.remove_reader(near)
        near.close()
        fresh = socket.socketpair()
        opened.extend(fresh)
        assert number in (fresh[0].fileno(), fresh[1].fileno())
        for end in fresh:
            loop.add_reader(end, called.append, "fresh")

    loop.add_reader(trigger[0], reuse)
    loop.add_reader(near, lambda: called.append(near.recv(1)))
    trigger[1].send(b"x")
    far.send(b"x")
    run_briefly(loop, 4)
    assert "fresh" not in called
    opened[1].send(b"y")
    run_briefly(loop, 2)
    assert called.count("fresh") >= 1
    for end in opened:
        loop.remove_reader(end)
    for end in (*opened, *trigger, far):
        end.close()


def test_a_descriptor_closed_without_removal_does_not_disturb_the_loop(loop):
    near, far = socket.socketpair()
    loop.add_reader(near, int)
    number = near.fileno()
    near.close()
    far.close()
    run_briefly(loop, 2)
    # The kernel has forgotten it; removal still succeeds and the number can be watched again.
    assert loop.remove_reader(number) is True
    fresh = socket.socketpair()
    received = []
    for end in fresh:
        loop.add_reader(end, received.append, end.fileno())
    fresh[1].send(b"x")
    run_briefly(loop, 2)
    assert received and set(received) == {fresh[0].fileno()}
    for end in fresh:
        loop.remove_reader(end)
        end.close()


def test_a_duplicate_that_keeps_an_event_alive_never_calls_a_strangers_callback(loop):
    """epoll reports a closed number as long as a duplicate of it is open elsewhere."""
    near, far = socket.socketpair()
    duplicate = near.dup()
    called = []
    loop.add_reader(near, called.append, "first owner")
    number = near.fileno()
    near.close()
    far.send(b"x")
    loop.remove_reader(number)
    fresh = socket.socketpair()
    assert number in (fresh[0].fileno(), fresh[1].fileno())
    for end in fresh:
        loop.add_reader(end, called.append, "second owner")
    run_briefly(loop, 3)
    for end in fresh:
        loop.remove_reader(end)
        end.close()
    duplicate.close()
    far.close()
    # asyncio is misled here: its selector knows a descriptor by its number alone.
    assert called == [] or isinstance(loop, asyncio.SelectorEventLoop)


def test_a_failing_callback_is_reported_and_called_again(loop, pair):
    near, far = pair
    reports = collect_reports(loop)

    def failing():
        near.recv(1)
        raise ValueError("from the reader")

    loop.add_reader(near, failing)
    far.send(b"xy")
    run_briefly(loop, 4)
    loop.remove_reader(near)
    assert [report[1] for report in reports] == ["ValueError('from the reader')"] * 2


def test_descriptors_that_lie_far_apart(loop):
    """Each is watched for itself, and numbers between them were never watched."""
    reads, write = os.pipe()
    numbers = [fcntl.fcntl(reads, fcntl.F_DUPFD, least) for least in (100, 500, 900)]
    seen = []
    try:
        for number in numbers:
            loop.add_reader(number, seen.append, number)
        assert not loop.remove_reader(300)
        assert not loop.remove_writer(numbers[0])
        assert loop.remove_reader(numbers[1])
        os.write(write, b".")
        run_briefly(loop)
        assert sorted(seen) == [numbers[0], numbers[2]]
        assert loop.remove_reader(numbers[0])
        assert loop.remove_reader(numbers[2])
    finally:
        for number in (reads, write, *numbers):
            os.close(number)


@pytest.mark.parametrize("number", [2**31 - 1, 2**30, 2**24])
def test_a_number_that_is_no_descriptor_takes_no_memory(loop, number):
    """Tables are as long as the largest number that was ever watched."""

    def pages():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0])

    before = pages()
    for add in (loop.add_reader, loop.add_writer):
        with pytest.raises(OSError) as caught:
            add(number, print)
        assert caught.value.errno == errno.EBADF
    assert not loop.remove_reader(number)
    assert (pages() - before) * os.sysconf("SC_PAGE_SIZE") < 2**20


def test_hundreds_of_descriptors_are_each_told_apart(loop):
    pairs = [socket.socketpair() for _ in range(200)]
    received = set()
    for index, (near, _) in enumerate(pairs):
        loop.add_reader(near, received.add, index)
    for index, (_, far) in enumerate(pairs):
        if index % 3 == 0:
            far.send(b"x")
    run_briefly(loop, 2)
    assert received == set(range(0, 200, 3))
    for near, far in pairs:
        assert loop.remove_reader(near) is True
        near.close()
        far.close()


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["read", "write", "unread", "unwrite", "send", "close far", "turn"]),
        st.integers(0, 2),
    ),
    max_size=25,
)


def carry_out(loop, operations):
    """Apply the operations to three socket pairs and note every call and result."""
    log = []
    pairs = [socket.socketpair() for _ in range(3)]
    try:
        for number, (operation, index) in enumerate(operations):
            near, far = pairs[index]
            if operation == "read":
                loop.add_reader(near, log.append, ("read", number))
            elif operation == "write":
                loop.add_writer(near, log.append, ("write", number))
            elif operation == "unread":
                log.append(loop.remove_reader(near))
            elif operation == "unwrite":
                log.append(loop.remove_writer(near))
            elif operation == "send":
                with contextlib.suppress(OSError):
                    far.send(b"x")
            elif operation == "close far":
                far.close()
            else:
                run_briefly(loop)
        run_briefly(loop, 2)
        return log
    finally:
        for near, far in pairs:
            loop.remove_reader(near)
            loop.remove_writer(near)
            near.close()
            far.close()


@settings(deadline=None, max_examples=100)
@given(operations=OPERATIONS)
def test_any_sequence_of_operations_ends_as_on_asyncio(operations):
    logs = {}
    for name, factory in FACTORIES.items():
        loop = factory()
        try:
            logs[name] = carry_out(loop, operations)
        finally:
            loop.close()
    assert logs["hotloop"] == logs["asyncio"]
