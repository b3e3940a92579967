"""Transports of pipes: FIFOs, sockets and terminals, read and written, in every state.

Each scenario runs on asyncio and on hotloop and must come out the same, with the same reports to
the exception handler. The kernel decides how data is cut into pieces; protocols here only note that
data came.
"""

import asyncio
import contextlib
import contextvars
import gc
import os
import pty
import re
import select
import socket
import sys
import tty
import weakref

import pytest
from support.differential import (
    assert_same_on_both,
    collect_reports,
    normalized,
    outcome_of,
    outcome_on,
)
from support.known_differences import known_difference
from support.protocols import Recorder, settle, until

BIG = bytes(range(256)) * 4096  # 1 MiB, more than any pipe holds.
PIPE_BUF = select.PIPE_BUF


def same(scenario, debug=False):
    """Run the coroutine function, given the loop, on both loops; return what it returned."""

    def run(loop):
        loop.set_debug(debug)
        loop.slow_callback_duration = 60
        reports = collect_reports(loop)
        result = loop.run_until_complete(scenario(loop))
        return result, [(without_number(message), *rest) for message, *rest in reports]

    kind, *value = assert_same_on_both(run)
    assert kind == "returned", value
    return value[0]


def without_number(text):
    """Leave out the number of a transport's descriptor."""
    return re.sub(r"fd=\d+", "fd=N", text)


def shown(transport):
    return without_number(repr(transport))


def make_pipe():
    reading, writing = os.pipe()
    return open(reading, "rb", 0), open(writing, "wb", 0)


def duplicate(file):
    return os.fdopen(os.dup(file.fileno()), "wb", 0)


def make_socket():
    near, far = socket.socketpair()
    return near, far


def make_terminal():
    """The two ends of a terminal that hands on bytes as they are."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    return open(master, "r+b", 0), open(slave, "r+b", 0)


KINDS = {"pipe": make_pipe, "socket": make_socket, "terminal": make_terminal}
EACH_KIND = pytest.mark.parametrize("kind", KINDS)


def put(file, data):
    return os.write(file.fileno(), data)


def get_all(file):
    """Read what a file has now."""
    pieces = []
    while select.select([file], [], [], 0)[0]:
        try:
            piece = os.read(file.fileno(), 1 << 16)
        except OSError:
            break
        if not piece:
            break
        pieces.append(piece)
    return b"".join(pieces)


@contextlib.asynccontextmanager
async def reader(loop, kind="pipe", protocol=None):
    """Yield (transport, protocol, far file): a read pipe and what writes to it."""
    near, far = KINDS[kind]()
    transport, protocol = await loop.connect_read_pipe(lambda: protocol or Recorder(), near)
    try:
        yield transport, protocol, far
    finally:
        transport.close()
        await settle()
        far.close()


@contextlib.asynccontextmanager
async def writer(loop, kind="pipe", protocol=None):
    """Yield (transport, protocol, far file): a write pipe and what reads from it."""
    far, near = KINDS[kind]()
    transport, protocol = await loop.connect_write_pipe(lambda: protocol or Recorder(), near)
    try:
        yield transport, protocol, far
    finally:
        if not transport.is_closing():
            transport.abort()
        await settle()
        far.close()


# -- kinds of files ---------------------------------------------------------------------------


@EACH_KIND
def test_reading(kind):
    async def scenario(loop):
        async with reader(loop, kind) as (transport, protocol, far):
            put(far, b"first")
            await until(lambda: protocol.received == b"first")
            put(far, b"second")
            await until(lambda: len(protocol.received) == 11)
            transport.close()
            await protocol.lost
        return protocol.log, bytes(protocol.received)

    (log, _), reports = same(scenario)
    assert [entry[1] for entry in log] == ["made", "data", "lost"] and reports == []


@EACH_KIND
def test_writing(kind):
    async def scenario(loop):
        async with writer(loop, kind) as (transport, protocol, far):
            for data in (b"one ", bytearray(b"two "), memoryview(b"three")):
                transport.write(data)
            at_once = get_all(far)
            transport.close()
            await protocol.lost
        return protocol.log, at_once

    assert same(scenario)[0][1] == b"one two three"


@EACH_KIND
@pytest.mark.parametrize("direction", ["reading", "writing"])
def test_the_other_end_closes(kind, direction):
    async def scenario(loop):
        open_it = reader if direction == "reading" else writer
        async with open_it(loop, kind) as (transport, protocol, far):
            far.close()
            if direction == "writing" and kind == "terminal":
                transport.write(b"x")  # Nothing else tells that a terminal is gone.
            await protocol.lost
            await settle()
        return protocol.log, shown(transport), transport.is_closing()

    same(scenario)


def test_both_directions_of_one_terminal():
    async def scenario(loop):
        near, far = make_terminal()
        transports = [
            (await loop.connect_read_pipe(Recorder, near))[0],
            (await loop.connect_write_pipe(Recorder, duplicate(near)))[0],
        ]
        protocol = transports[0].get_protocol()
        transports[1].write(b"to the other")
        put(far, b"from the other")
        await until(lambda: protocol.received == b"from the other")
        got = get_all(far)
        for transport in transports:
            transport.close()
        await settle()
        far.close()
        return got

    assert same(scenario)[0] == b"to the other"


@pytest.mark.parametrize("method", ["connect_read_pipe", "connect_write_pipe"])
def test_regular_files_are_refused_and_stay_the_callers(method, tmp_path):
    path = tmp_path / "file"

    async def scenario(loop):
        with open(path, "w+b", 0) as file:
            with pytest.raises(ValueError) as caught:
                await getattr(loop, method)(Recorder, file)
            file.write(b"usable")
            return str(caught.value), file.closed, os.get_blocking(file.fileno())

    same(scenario)


@pytest.mark.only_hotloop("asyncio's half-made transport fails once more when it is collected")
@pytest.mark.parametrize("method", ["connect_read_pipe", "connect_write_pipe"])
@pytest.mark.parametrize(
    "what, error, text",
    [
        ("number", AttributeError, "'int' object has no attribute 'fileno'"),
        ("closed", ValueError, "I/O operation on closed file"),
        ("nothing", AttributeError, "'NoneType' object has no attribute 'fileno'"),
    ],
)
def test_what_is_no_open_file(loop, method, what, error, text):
    async def scenario():
        near, far = make_pipe()
        near.close()
        far.close()
        with pytest.raises(error, match=text):
            await getattr(loop, method)(Recorder, {"closed": near, "number": 5}.get(what))

    loop.run_until_complete(scenario())


def test_a_named_fifo(tmp_path):
    async def scenario(loop):
        path = tmp_path / "fifo"
        os.mkfifo(path)
        read_end = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", 0)
        write_end = os.fdopen(os.open(path, os.O_WRONLY), "wb", 0)
        source, protocol = await loop.connect_read_pipe(Recorder, read_end)
        sink, _ = await loop.connect_write_pipe(Recorder, write_end)
        sink.write(b"through the fifo")
        sink.close()
        await protocol.lost
        os.unlink(path)
        return protocol.log, bytes(protocol.received), source.is_closing()

    assert same(scenario)[0][1] == b"through the fifo"


# -- reading ----------------------------------------------------------------------------------


def test_data_then_the_end():
    async def scenario(loop):
        async with reader(loop) as (_, protocol, far):
            put(far, b"last words")
            far.close()
            await protocol.lost
        return protocol.log, bytes(protocol.received)

    (log, data), _ = same(scenario)
    assert [entry[1] for entry in log] == ["made", "data", "eof", "lost"]
    assert data == b"last words"


@pytest.mark.skipif(sys.version_info < (3, 11, 4), reason="needs Python 3.11.4: is_reading()")
def test_pause_and_resume():
    async def scenario(loop):
        async with reader(loop) as (transport, protocol, far):
            seen = [transport.is_reading()]
            transport.pause_reading()
            transport.pause_reading()
            seen.append((transport.is_reading(), shown(transport)))
            put(far, b"kept")
            await settle()
            seen.append(bytes(protocol.received))
            transport.resume_reading()
            transport.resume_reading()
            seen.append((transport.is_reading(), shown(transport)))
            await until(lambda: protocol.received == b"kept")
            transport.close()
            transport.pause_reading()
            transport.resume_reading()
            seen.append((transport.is_reading(), shown(transport)))
            await protocol.lost
            seen.append((transport.is_reading(), shown(transport)))
        return seen, protocol.log

    same(scenario)


def test_paused_within_the_call_that_brings_data():
    async def scenario(loop):
        def pause(protocol, data):
            protocol.transport.pause_reading()

        async with reader(loop, protocol=Recorder(data=pause)) as (transport, protocol, far):
            put(far, b"1")
            await until(lambda: protocol.received == b"1")
            put(far, b"2")
            await settle()
            before = bytes(protocol.received)
            transport.resume_reading()
            await until(lambda: protocol.received == b"12")
        return before

    assert same(scenario)[0] == b"1"


def test_a_megabyte():
    async def scenario(loop):
        near, far = make_pipe()
        source, protocol = await loop.connect_read_pipe(Recorder, near)
        sink, _ = await loop.connect_write_pipe(Recorder, far)
        sink.write(BIG)
        sink.close()
        await protocol.lost
        source.close()
        return bytes(protocol.received) == BIG

    assert same(scenario)[0]


@pytest.mark.parametrize("call", ["made", "data", "eof", "lost"])
@pytest.mark.parametrize("raising", [LookupError, asyncio.CancelledError])
def test_exceptions_in_a_reading_protocol(call, raising):
    async def scenario(loop):
        def fail(*args):
            raise raising("text")

        async with reader(loop, protocol=Recorder(**{call: fail})) as (_, protocol, far):
            put(far, b"data")
            await settle()
            await until(lambda: protocol.received == b"data")
            far.close()
            await protocol.lost
            await settle()
        return protocol.log

    same(scenario)


def test_closed_within_the_call_that_brings_data():
    async def scenario(loop):
        async with reader(loop, protocol=Recorder(data=lambda p, data: p.transport.close())) as (
            _,
            protocol,
            far,
        ):
            put(far, b"data")
            await protocol.lost
        return protocol.log

    same(scenario)


# -- writing ----------------------------------------------------------------------------------


@pytest.mark.parametrize("data", ["text", None, 5, [1], object, (b"x",)], ids=repr)
def test_data_of_a_wrong_type(data):
    async def scenario(loop):
        async with writer(loop) as (transport, _, far):
            with pytest.raises(BaseException) as caught:
                transport.write(data)
            return type(caught.value).__name__, normalized(str(caught.value)), get_all(far)

    same(scenario)


@pytest.mark.parametrize("name", ["is_reading", "pause_reading", "resume_reading"])
def test_a_pipe_for_writing_cannot_read(name):
    async def scenario(loop):
        async with writer(loop) as (transport, _, _):
            with pytest.raises(NotImplementedError):
                getattr(transport, name)()
            return isinstance(transport, asyncio.ReadTransport)

    same(scenario)


def test_a_full_pipe_pauses_the_protocol_and_goes_on():
    async def scenario(loop):
        async with writer(loop) as (transport, protocol, far):
            transport.write(BIG)
            size = transport.get_write_buffer_size()
            state = shown(transport)
            got = bytearray()
            while len(got) < len(BIG):
                got += get_all(far)
                await asyncio.sleep(0)
            await settle()
            left = transport.get_write_buffer_size()
        return size, state, got == BIG, left, protocol.log[:3]

    size, _, complete, left, log = same(scenario)[0]
    assert size > 0 and complete and left == 0
    assert [entry[1] for entry in log] == ["made", "pause", "resume"]


def test_limits():
    async def scenario(loop):
        async with writer(loop) as (transport, protocol, far):
            seen = [transport.get_write_buffer_limits()]
            transport.set_write_buffer_limits(high=100, low=10)
            seen.append(transport.get_write_buffer_limits())
            with pytest.raises(ValueError) as caught:
                transport.set_write_buffer_limits(high=1, low=2)
            seen.append(str(caught.value))
            transport.write(bytes(65536))
            seen.append(len(protocol.log))
            transport.write(bytes(100))
            seen.append(len(protocol.log))
            transport.write(b"x")
            seen.append(len(protocol.log))
            get_all(far)
            await until(lambda: len(protocol.log) == 3)
        return seen, protocol.log[:3]

    same(scenario)


def test_messages_up_to_pipe_buf_stay_whole():
    """Two writers of one pipe, both with messages of PIPE_BUF bytes, and a slow reader."""

    async def scenario(loop):
        far, near = make_pipe()
        sinks = [(await loop.connect_write_pipe(Recorder, duplicate(near)))[0] for _ in range(2)]
        near.close()
        got = bytearray()
        for _ in range(40):
            for letter, sink in zip(b"AB", sinks, strict=True):
                if sink.get_write_buffer_size() == 0:
                    sink.write(bytes([letter]) * PIPE_BUF)
            if len(got) < 10 * PIPE_BUF:
                got += os.read(far.fileno(), PIPE_BUF)
            await asyncio.sleep(0)
        while not all(sink.get_write_buffer_size() == 0 for sink in sinks):
            got += get_all(far)
            await asyncio.sleep(0)
        got += get_all(far)
        for sink in sinks:
            sink.close()
        await settle()
        far.close()
        messages = [got[i : i + PIPE_BUF] for i in range(0, len(got), PIPE_BUF)]
        return all(len(set(message)) == 1 for message in messages)

    assert same(scenario)[0]


def test_what_is_queued_is_safe_from_the_caller():
    async def scenario(loop):
        async with writer(loop) as (transport, _, far):
            transport.write(bytes(65536))
            data = bytearray(b"as it was")
            transport.write(data)
            transport.write(memoryview(data)[3:])
            data[:] = b"changed!!"
            got = bytearray()
            while len(got) < 65536 + 15:
                got += get_all(far)
                await asyncio.sleep(0)
            return bytes(got[65536:])

    assert same(scenario)[0] == b"as it wasit was"


@pytest.mark.parametrize("method", ["close", "write_eof", "abort"])
@pytest.mark.parametrize("queued", [0, 1_000_000])
def test_ways_to_end(method, queued):
    async def scenario(loop):
        async with writer(loop) as (transport, protocol, far):
            if queued:
                transport.write(bytes(queued))
            getattr(transport, method)()
            seen = [shown(transport), transport.is_closing(), transport.can_write_eof()]
            transport.write(b"ignored")
            if method != "abort":
                getattr(transport, method)()
            got = 0
            while not protocol.lost.done():
                got += len(get_all(far))
                await asyncio.sleep(0)
            got += len(get_all(far))
            seen += [shown(transport), transport.get_write_buffer_size()]
        return seen, got if method != "abort" else None, protocol.log

    (_, got, _), _ = same(scenario)
    assert got in (None, queued)


@known_difference("Sockets")
def test_aborting_a_pipe_that_was_lost():
    """`abort()` of a pipe for writing, in `connection_lost()` or after it, does nothing. asyncio
    raises an AttributeError of its own internals."""

    def scenario(loop):
        reports = collect_reports(loop)

        async def lost_and_aborted(in_the_middle):
            protocol = Recorder()
            if in_the_middle:
                protocol.actions["lost"] = lambda protocol, exc: protocol.transport.abort()
            async with writer(loop, protocol=protocol) as (transport, protocol, _):
                transport.close()
                await protocol.lost
                await settle()
            return outcome_of(transport.abort)[:2]

        ended = [loop.run_until_complete(lost_and_aborted(way)) for way in (False, True)]
        return ended, [error.partition("(")[0] for _, error, _ in reports]

    fails = ("raised", "AttributeError")
    assert outcome_on("asyncio", scenario)[1] == ([fails, fails], ["AttributeError"])
    assert outcome_on("hotloop", scenario)[1] == ([("returned", None)] * 2, [])


@pytest.mark.parametrize("queued", [False, True])
def test_the_reader_goes_away(queued):
    async def scenario(loop):
        async with writer(loop) as (transport, protocol, far):
            if queued:
                transport.write(BIG)
            far.close()
            if queued:
                await settle(1)
            await protocol.lost
            await settle()
        return protocol.log, shown(transport)

    (log, _), _ = same(scenario)
    assert log[-1][2] == ("BrokenPipeError()" if queued else "None")


def test_writing_to_a_pipe_that_broke_a_moment_ago():
    async def scenario(loop):
        async with writer(loop) as (transport, protocol, far):
            far.close()
            transport.write(b"nobody reads")
            await protocol.lost
        return protocol.log, transport.is_closing()

    same(scenario)


def test_writes_after_the_end_are_warned_of(caplog):
    async def scenario(loop):
        caplog.clear()
        async with writer(loop) as (transport, protocol, _):
            transport.close()
            await protocol.lost
            for _ in range(10):
                transport.write(b"ignored")
        return [(record.levelname, record.getMessage()) for record in caplog.records]

    lines, _ = same(scenario)
    assert 0 < len(lines) < 10
    caplog.clear()


@pytest.mark.parametrize("call", ["made", "pause", "resume", "lost"])
def test_exceptions_in_a_writing_protocol(call):
    async def scenario(loop):
        def fail(*args):
            raise LookupError("text")

        async with writer(loop, protocol=Recorder(**{call: fail})) as (transport, protocol, far):
            transport.write(bytes(300_000))
            transport.close()
            while not protocol.lost.done():
                get_all(far)
                await asyncio.sleep(0)
            await settle()
        return protocol.log

    log, reports = outcome_without_callback(scenario)
    assert len(log) == 4 and len(reports) == 1


def outcome_without_callback(scenario):
    """As same(); the callback that a report names is left out.

    asyncio calls it None where the transport has cancelled the handle that runs.
    """

    def run(loop):
        reports = collect_reports(loop)
        log = loop.run_until_complete(scenario(loop))
        return log, [
            (re.sub(r"callback \S+\(\)", "callback", message), *rest) for message, *rest in reports
        ]

    kind, value = assert_same_on_both(run)
    assert kind == "returned", value
    return value


def test_contexts():
    """Each callback sees the context that was current when the transport was made."""
    variable = contextvars.ContextVar("variable", default="unset")

    async def scenario(loop):
        seen = []

        def look(protocol, *args):
            seen.append(variable.get())
            variable.set("set in a callback")

        variable.set("at connecting")
        actions = dict.fromkeys(("made", "data", "eof", "lost", "pause", "resume"), look)
        async with reader(loop, protocol=Recorder(**actions)) as (_, protocol, far):
            variable.set("later")
            put(far, b"data")
            await until(lambda: protocol.received)
            far.close()
            await protocol.lost
        variable.set("at connecting")
        async with writer(loop, protocol=Recorder(**actions)) as (transport, protocol, far):
            variable.set("at writing")
            transport.write(bytes(300_000))
            transport.close()
            while not protocol.lost.done():
                get_all(far)
                await asyncio.sleep(0)
        return seen

    assert len(same(scenario)[0]) == 8


def test_a_socket_whose_peer_writes_ends_a_write_pipe():
    async def scenario(loop):
        async with writer(loop, "socket") as (_, protocol, far):
            far.send(b"unexpected")
            await protocol.lost
        return protocol.log

    same(scenario)


# -- the transport as an object ---------------------------------------------------------------


@pytest.mark.parametrize("open_it", [reader, writer])
@pytest.mark.parametrize("debug", [False, True])
def test_objects(open_it, debug):
    async def scenario(loop):
        class Other(asyncio.Protocol):
            pass

        async with open_it(loop) as (transport, protocol, _):
            other = Other()
            file = transport.get_extra_info("pipe")
            seen = [
                shown(transport),
                transport.get_protocol() is protocol,
                transport.get_extra_info("nothing", 5),
                isinstance(transport, asyncio.ReadTransport),
                isinstance(transport, asyncio.WriteTransport),
                file.fileno() == transport._fileno,
                file is transport._pipe,
                transport._loop is loop,
            ]
            transport.set_protocol(other)
            seen.append(transport.get_protocol() is other)
            transport.attribute = 5
            weakref.ref(transport)
            transport.set_protocol(protocol)
            transport.close()
            seen.append(shown(transport))
            await protocol.lost
            seen += [shown(transport), file.closed, transport._pipe, transport.get_protocol()]
        return seen

    same(scenario, debug)


@pytest.mark.parametrize("open_it", [reader, writer])
def test_unclosed_transports_warn(open_it):
    def run(loop):
        async def scenario():
            near, far = make_pipe()
            if open_it is reader:
                transport, _ = await loop.connect_read_pipe(asyncio.Protocol, near)
                return transport, far
            transport, _ = await loop.connect_write_pipe(asyncio.Protocol, far)
            return transport, near

        transport, far = loop.run_until_complete(scenario())
        loop.close()
        with pytest.warns(ResourceWarning) as warned:
            del transport
            gc.collect()
        far.close()
        return sorted(without_number(str(w.message)) for w in warned)

    kind, lines = assert_same_on_both(run)
    assert kind == "returned" and len(lines) >= 1


@pytest.mark.parametrize("method", ["connect_read_pipe", "connect_write_pipe"])
def test_a_factory_that_fails(method):
    async def scenario(loop):
        near, far = make_pipe()
        with near, far:
            with pytest.raises(LookupError):
                await getattr(loop, method)(lambda: {}["no protocol"], near)
            return near.closed, os.get_blocking(near.fileno())

    assert same(scenario)[0] == (False, True)


@pytest.mark.parametrize("turns", range(5))
@pytest.mark.parametrize("method", ["connect_read_pipe", "connect_write_pipe"])
def test_cancelled_while_connecting(method, turns):
    async def scenario(loop):
        near, far = make_pipe()
        file = near if "read" in method else far
        task = asyncio.create_task(getattr(loop, method)(asyncio.Protocol, file))
        await settle(turns)
        if not task.cancel():
            task.result()[0].close()
        await asyncio.wait([task])
        cancelled = task.cancelled()
        await settle()
        closed = near.closed, far.closed
        near.close()
        far.close()
        return cancelled, closed

    same(scenario)


# -- what is shared with other processes ------------------------------------------------------


@pytest.mark.only_hotloop("asyncio leaves the file non-blocking")
@EACH_KIND
@pytest.mark.parametrize("direction", ["reading", "writing"])
@pytest.mark.parametrize("was_blocking", [True, False])
def test_blocking_is_as_before_at_the_end(loop, kind, direction, was_blocking):
    async def scenario():
        near, far = KINDS[kind]()
        file = near if direction == "reading" or kind != "pipe" else far
        os.set_blocking(file.fileno(), was_blocking)
        shared = os.dup(file.fileno())
        connect = loop.connect_read_pipe if direction == "reading" else loop.connect_write_pipe
        transport, _ = await connect(asyncio.Protocol, file)
        during = os.get_blocking(shared)
        transport.close()
        await settle()
        after = os.get_blocking(shared)
        os.close(shared)
        near.close()
        far.close()
        return during, after

    assert loop.run_until_complete(scenario()) == (False, was_blocking)


@pytest.mark.only_hotloop("asyncio leaves the file non-blocking")
def test_two_transports_on_one_terminal(loop):
    """As standard input and output are: blocking again when the last of them has ended."""

    async def scenario():
        near, far = make_terminal()
        output = duplicate(near)
        shared = os.dup(near.fileno())
        source, _ = await loop.connect_read_pipe(asyncio.Protocol, near)
        sink, _ = await loop.connect_write_pipe(asyncio.Protocol, output)
        states = [os.get_blocking(shared)]
        for transport in (source, sink):
            transport.close()
            await settle()
            states.append(os.get_blocking(shared))
        os.close(shared)
        far.close()
        return states

    assert loop.run_until_complete(scenario()) == [False, False, True]


@pytest.mark.only_hotloop("asyncio leaves the file non-blocking")
def test_a_number_that_another_file_got_is_left_alone(loop):
    """The file was closed behind the transport's back; the number is a socket's by its end."""

    async def scenario():
        near, far = make_pipe()
        number = near.fileno()
        transport, _ = await loop.connect_read_pipe(asyncio.Protocol, near)
        transport.close()
        near.close()
        other, peer = socket.socketpair()
        with other, peer:
            other.setblocking(False)
            moved = other.fileno() == number
            await settle()
            still = not os.get_blocking(other.fileno())
        far.close()
        return moved, still

    assert loop.run_until_complete(scenario()) == (True, True)


def test_a_device_that_cannot_be_watched_is_reported(loop, loop_reports):
    """epoll refuses it; the exception handler is told, and the loop goes on."""

    async def scenario():
        null = open(os.devnull, "rb", 0)  # noqa: SIM115
        transport, _ = await loop.connect_read_pipe(Recorder, null)
        await settle()
        transport.close()
        await settle()
        return null.closed

    assert loop.run_until_complete(scenario())
    (report,) = loop_reports.take()
    assert isinstance(report["exception"], PermissionError)


@pytest.mark.only_hotloop("asyncio's transport has no loop to tell")
def test_a_value_of_the_writers_context_that_ends_the_pipe(loop):
    """What dies with the context of write events may end the transport in the middle of a write."""
    variable = contextvars.ContextVar("variable")

    class Ends:
        def __del__(self):
            transport._call_connection_lost(None)

    def write():
        variable.set(Ends())
        transport.write(BIG)

    reader, writer = make_pipe()
    transport, protocol = loop.run_until_complete(loop.connect_write_pipe(Recorder, writer))
    contextvars.copy_context().run(write)
    os.set_blocking(reader.fileno(), False)

    while transport.get_write_buffer_size() > 0:
        os.read(reader.fileno(), len(BIG))
        transport._write_ready()
    assert protocol.log[-1][1] == "lost"
    reader.close()
