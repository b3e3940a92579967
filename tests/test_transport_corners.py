"""Corners of the transports: private methods that code calls, wrong calls, ends of every kind.

Each scenario runs on asyncio and on hotloop and must come out the same.
"""

import asyncio
import contextlib
import errno
import gc
import os
import socket
import struct
import sys
import time
import warnings

import pytest
from support.differential import assert_same_on_both, collect_reports, normalized, outcome_of
from support.protocols import BufferedRecorder, Recorder, receive_available, settle, wire

BIG = bytes(range(256)) * 8192  # 2 MiB, more than a pair of sockets takes at once
HUGE = BIG * 8  # More than a TCP connection takes.


def same(scenario):
    """Run the coroutine function on both loops; return the common (value, reports)."""

    def run(loop):
        reports = collect_reports(loop)
        return loop.run_until_complete(scenario()), reports

    kind, *value = assert_same_on_both(run)
    assert kind == "returned", value
    return value[0]


def reset(sock):
    """Close a TCP socket with a reset in place of an end."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@contextlib.asynccontextmanager
async def tcp_wire(protocol):
    """Yield (transport, peer) of a TCP connection, the peer as a plain socket."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        transport, _ = await asyncio.get_running_loop().create_connection(
            lambda: protocol, *listening.getsockname()
        )
        peer, _ = listening.accept()
        try:
            yield transport, peer
        finally:
            transport.abort()
            await settle()
            peer.close()


def queued(transport):
    """Return the bytes that wait in a transport; asyncio keeps them in different ways."""
    buffer = transport._buffer
    return bytes(buffer) if isinstance(buffer, (bytes, bytearray)) else b"".join(buffer)


# -- how a connection ends --------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Recorder, BufferedRecorder])
@pytest.mark.parametrize("is_queued", [False, True], ids=["idle", "writing"])
def test_a_reset_ends_the_connection(kind, is_queued):
    """connection_lost() gets the error, whatever way the protocol takes data."""

    async def scenario():
        protocol = kind()
        async with tcp_wire(protocol) as (transport, peer):
            if is_queued:
                transport.write(HUGE)
            reset(peer)
            await protocol.lost
            return [entry for entry in protocol.log if entry[1] != "data"]

    log, reports = same(scenario)
    assert log[-1][1] == "lost"
    assert "ConnectionResetError" in log[-1][2] or "BrokenPipeError" in log[-1][2]
    assert reports == []


def test_a_buffered_protocol_that_raises_is_reported():
    """buffer_updated() that fails ends the connection with its exception."""

    class Fails(BufferedRecorder):
        def buffer_updated(self, nbytes):
            raise ValueError(f"{nbytes} bytes")

    async def scenario():
        protocol = Fails()
        async with wire(protocol) as (_, far):
            far.send(b"abc")
            await protocol.lost
            return protocol.log

    log, reports = same(scenario)
    assert log[-1] == ("", "lost", "ValueError('3 bytes')")
    assert len(reports) == 1


@pytest.mark.parametrize("method", ["data_received", "pause_writing", "eof_received"])
def test_a_handler_is_called_while_the_exception_is_handled(method):
    """sys.exc_info() shows it, which traceback.print_exc() and logging.exception() read."""

    def fail(*args):
        raise ValueError(method)

    async def scenario():
        seen = []
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: seen.append(repr(sys.exc_info()[1]))
        )
        protocol = Recorder()
        setattr(protocol, method, fail)
        async with wire(protocol) as (transport, far):
            if method == "pause_writing":
                transport.write(BIG)
            elif method == "data_received":
                far.send(b"abc")
            else:
                far.shutdown(socket.SHUT_WR)
            await settle()
            transport.abort()
            await protocol.lost
        return seen

    seen, _ = same(scenario)
    assert seen == [repr(ValueError(method))]


def test_what_is_handled_around_the_loop_is_not_handled_in_a_coroutine():
    """A handler that is called in a coroutine's step leaves nothing behind in the coroutine."""

    class Fails(Recorder):
        def pause_writing(self):
            raise ValueError("pausing")

    def run(loop):
        reports = collect_reports(loop)
        near, far = socket.socketpair()
        gate = loop.create_future()

        async def write():
            transport, _ = await loop.create_connection(Fails, sock=near)
            transport.write(BIG)
            shown = [repr(sys.exc_info()[1])]
            await gate
            shown.append(repr(sys.exc_info()[1]))
            transport.abort()
            await settle()
            return shown

        task = loop.create_task(write())
        try:
            raise LookupError("around")
        except LookupError:
            loop.run_until_complete(settle())
        gate.set_result(None)
        shown = loop.run_until_complete(task)
        far.close()
        return shown, reports

    _, (shown, reports) = assert_same_on_both(run)
    assert shown == [repr(LookupError("around")), "None"]
    assert len(reports) == 1


def test_write_eof_when_the_connection_is_gone():
    """The error of shutdown() comes out of write_eof(), and the connection ends by itself."""

    async def scenario():
        protocol = Recorder()
        async with tcp_wire(protocol) as (transport, peer):
            reset(peer)
            deadline = time.monotonic() + 5
            with contextlib.suppress(OSError):
                while time.monotonic() < deadline:  # Until the reset has arrived.
                    transport.get_extra_info("socket").getpeername()
            ended = outcome_of(transport.write_eof)
            await protocol.lost
            return ended, protocol.log

    (ended, log), reports = same(scenario)
    assert ended[:2] == ("raised", "OSError")
    assert str(errno.ENOTCONN) in ended[2]
    assert log[-1][1] == "lost"
    assert reports == []


@pytest.mark.parametrize("how", ["reset", "abort"])
def test_waiting_for_an_empty_buffer_ends_with_the_connection(how):
    """What sendfile() waits with gets the bytes' fate: sent, or the error that lost them."""

    async def scenario():
        protocol = Recorder()
        async with tcp_wire(protocol) as (transport, peer):
            transport.write(HUGE)
            waiter = transport._make_empty_waiter()
            second = outcome_of(transport._make_empty_waiter)
            done_before = waiter.done()
            if how == "reset":
                reset(peer)
            else:
                transport.abort()
            lost = await protocol.lost
            await settle()
            if not waiter.done():
                return second, done_before, "pending", lost is None
            error = waiter.exception()
            transport._reset_empty_waiter()
            return second, done_before, type(error).__name__, lost is None

    (second, done_before, _, _), reports = same(scenario)
    assert second[:2] == ("raised", "RuntimeError")
    assert not done_before
    assert reports == []


def test_nothing_to_wait_for_when_nothing_is_queued():
    """The waiter for an empty buffer is done at once where the buffer is empty."""

    async def scenario():
        async with wire(Recorder()) as (transport, _):
            waiter = transport._make_empty_waiter()
            first = waiter.done(), waiter.result()
            transport._reset_empty_waiter()
            another = transport._make_empty_waiter() is not waiter
            transport._reset_empty_waiter()
            return first, another

    assert same(scenario) == (((True, None), True), [])


def test_a_listening_socket_that_fails_is_reported():
    """Errors of accept() other than a lack of resources reach the exception handler."""

    async def scenario():
        loop = asyncio.get_running_loop()
        errors = []
        loop.set_exception_handler(
            lambda loop, context: errors.append(
                (context["message"].split()[:3], context["exception"].errno)
            )
        )
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        listening = socket.socket(fileno=os.dup(server.sockets[0].fileno()))
        listening.shutdown(socket.SHUT_RDWR)
        async with asyncio.timeout(5):
            while not errors:
                await asyncio.sleep(0)
        server.close()
        await settle()
        count = len(errors)
        await settle()
        listening.close()
        return errors[0], len(errors) - count

    (error, more), _ = same(scenario)
    assert error == (["Exception", "in", "callback"], errno.EINVAL)
    assert more == 0


@pytest.mark.parametrize("make", [object, type("Nameless", (), {"__slots__": ()})])
def test_an_object_that_is_no_protocol_is_refused(make):
    """What has no connection_made() raises AttributeError, and the socket stays the caller's."""

    async def scenario():
        near, far = socket.socketpair()
        with near, far, warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # asyncio's half-made transport
            try:
                await asyncio.get_running_loop().create_connection(make, sock=near)
            except AttributeError as error:
                text = normalized(str(error))
            gc.collect()
            return text

    text, reports = same(scenario)
    assert "connection_made" in text
    assert reports == []


# -- private names that code reads and calls --------------------------------------------------


def test_reading_and_writing_by_hand():
    """_read_ready() and _write_ready() do what an event does."""

    async def scenario():
        protocol = Recorder()
        async with wire(protocol) as (transport, far):
            far.send(b"abc")
            transport._read_ready()
            seen = bytes(protocol.received)
            transport.write(BIG)
            before = transport.get_write_buffer_size()
            first = receive_available(far)
            transport._write_ready()
            after = transport.get_write_buffer_size()
            waiting = queued(transport)
            second = receive_available(far)
            whole = first + second + waiting == BIG
            return seen, 0 < after < before, len(waiting) == after, whole

    assert same(scenario) == ((b"abc", True, True, True), [])


@pytest.mark.parametrize("message", [(), ("of ours",)], ids=["", "message"])
@pytest.mark.parametrize("error", [ValueError("bad"), BrokenPipeError(errno.EPIPE, "gone")])
def test_fatal_errors_from_outside(error, message):
    """_fatal_error() ends the connection and reports all but what a network does."""

    async def scenario():
        protocol = Recorder()
        async with wire(protocol) as (transport, _):
            transport._fatal_error(error, *message)
            closing = transport.is_closing()
            await protocol.lost
            error.__traceback__ = None
            return closing, protocol.log

    (closing, log), reports = same(scenario)
    assert closing
    assert log[-1][1] == "lost"
    assert len(reports) == isinstance(error, ValueError)


def test_protocol_and_extra_can_be_assigned():
    """Code that sets _protocol and _extra finds them in use."""

    async def scenario():
        first, second = Recorder("first"), Recorder("second")
        async with wire(first) as (transport, far):
            transport._extra = {"color": "red"}
            transport._protocol = second
            far.send(b"abc")
            async with asyncio.timeout(5):
                while not second.received:
                    await asyncio.sleep(0)
            return (
                transport.get_extra_info("color"),
                transport.get_protocol() is second,
                bytes(first.received),
                bytes(second.received),
            )

    assert same(scenario) == (("red", True, b"", b"abc"), [])


def test_flow_control_by_hand():
    """The private methods of flow control set limits without a call, and call on demand."""

    async def scenario():
        protocol = Recorder()
        async with wire(protocol) as (transport, _):
            transport.set_write_buffer_limits(high=4 * len(BIG))
            transport.write(BIG)
            transport._set_write_buffer_limits(high=2, low=1)
            limits = [transport.get_write_buffer_limits()]
            calls = [len(protocol.log)]
            transport._maybe_pause_protocol()
            transport._maybe_pause_protocol()
            calls.append(len(protocol.log))
            transport._set_write_buffer_limits(low=2 * len(BIG))
            limits.append(transport.get_write_buffer_limits())
            transport._maybe_resume_protocol()
            transport._maybe_resume_protocol()
            return limits, calls, list(protocol.log)

    (limits, calls, log), reports = same(scenario)
    assert limits == [(1, 2), (2 * len(BIG), 8 * len(BIG))]
    assert calls == [1, 2]
    assert [entry[1] for entry in log] == ["made", "pause", "resume"]
    assert reports == []


# -- wrong calls ------------------------------------------------------------------------------


class Datagrams(asyncio.DatagramProtocol):
    """Takes nothing."""


@contextlib.asynccontextmanager
async def stream():
    async with wire(Recorder()) as (transport, _):
        yield transport


@contextlib.asynccontextmanager
async def datagram():
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        Datagrams, local_addr=("127.0.0.1", 0)
    )
    yield transport
    transport.abort()
    await settle()


@contextlib.asynccontextmanager
async def pipe(reads):
    loop = asyncio.get_running_loop()
    read_end, write_end = os.pipe()
    other = write_end if reads else read_end
    if reads:
        transport, _ = await loop.connect_read_pipe(asyncio.Protocol, os.fdopen(read_end, "rb", 0))
    else:
        transport, _ = await loop.connect_write_pipe(
            asyncio.BaseProtocol, os.fdopen(write_end, "wb", 0)
        )
    yield transport
    transport.close()
    await settle()
    os.close(other)


@contextlib.asynccontextmanager
async def server():
    made = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    yield made
    made.close()
    await made.wait_closed()


TRANSPORTS = {
    "stream": stream,
    "datagram": datagram,
    "reading pipe": lambda: pipe(True),
    "writing pipe": lambda: pipe(False),
    "server": server,
}
WRONG_ARGUMENTS = {
    "unknown keyword": ((), {"nonsense": 1}),
    "many": ((1, 2, 3, 4, 5, 6, 7), {}),
    "keyword twice": (("peername",), {"name": 1, "data": 2, "protocol": 3, "high": 4}),
}


@pytest.mark.parametrize("arguments", WRONG_ARGUMENTS.values(), ids=WRONG_ARGUMENTS)
@pytest.mark.parametrize("kind", TRANSPORTS)
def test_wrong_arguments_are_refused(kind, arguments):
    """Each public method raises what asyncio's raises, and nothing else happens."""
    positional, keywords = arguments

    async def scenario():
        ended = {}
        async with TRANSPORTS[kind]() as transport:
            for name in sorted(dir(transport)):
                method = getattr(transport, name)
                if name[0] != "_" and callable(method):
                    kind_of_end, *details = outcome_of(method, *positional, **keywords)
                    if asyncio.iscoroutine(details[0]):
                        details[0].close()
                        details = ["coroutine"]
                    # Functions in C name an argument given twice in another way.
                    ended[name] = (kind_of_end, details[0])
            closing = getattr(transport, "is_closing", lambda: False)()
        return ended, closing

    (ended, closing), reports = same(scenario)
    assert not closing
    assert all(end == ("raised", "TypeError") for end in ended.values()), ended
    assert len(ended) > 4
    assert reports == []


@pytest.mark.skipif(
    sys.version_info < (3, 11, 4), reason="needs Python 3.11.4: pause_reading() of datagrams"
)
def test_collected_transports_close_and_warn():
    """Transports in a cycle that nobody refers to close their sockets with a warning each."""

    async def scenario():
        loop = asyncio.get_running_loop()
        near, far = socket.socketpair()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ResourceWarning)
            first, _ = await loop.create_connection(asyncio.Protocol, sock=near)
            second, _ = await loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0))
            numbers = [t.get_extra_info("socket").fileno() for t in (first, second)]
            for transport in (first, second):
                transport.pause_reading() if hasattr(transport, "pause_reading") else None
                transport.itself = transport
            loop._remove_reader(numbers[1])
            del first, second, transport, near
            await settle()
            gc.collect()
            await settle()
        far.close()
        texts = [str(warning.message).split()[0] for warning in caught]
        return texts.count("unclosed") >= 2, [is_open(number) for number in numbers]

    def is_open(number):
        try:
            os.fstat(number)
        except OSError:
            return False
        return True

    value, reports = same(scenario)
    assert value == (True, [False, False])
    assert reports == []


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "127.1", "", "127.0.0.1\0", b"127.0.0.1"])
@pytest.mark.parametrize("port", [1, True, "1", b"1", "", None, 0, -1, 70_000, 1.0])
def test_connecting_to_numbers_ends_as_on_asyncio(host, port):
    """Which of them are an address in numbers, and what those that cannot be connected to raise."""

    def run(loop):
        return outcome_of(
            loop.run_until_complete, loop.create_connection(asyncio.Protocol, host, port)
        )

    assert_same_on_both(run)


@pytest.mark.parametrize("is_class", [False, True])
def test_a_replaced_sock_connect_is_what_connects(monkeypatch, is_class):
    def run(loop):
        asked = []

        async def refuse(*arguments):
            asked.append(arguments[-1])
            raise ConnectionRefusedError("replaced")

        monkeypatch.setattr(type(loop) if is_class else loop, "sock_connect", refuse)
        connecting = loop.create_connection(asyncio.Protocol, "127.0.0.1", 9)
        return outcome_of(loop.run_until_complete, connecting), asked

    ended, asked = assert_same_on_both(run)[1]
    assert ended[:2] == ("raised", "ConnectionRefusedError") and asked == [("127.0.0.1", 9)]


def test_connecting_to_numbers_takes_asyncios_turns():
    """Step by step: connection_made(), a callback that was there before it, the awaiting task."""

    async def scenario():
        loop = asyncio.get_running_loop()
        log = []
        ticking = []
        ended = loop.create_future()

        class Client(asyncio.Protocol):
            def connection_made(self, transport):
                log.append("made")
                loop.call_soon(log.append, "after made")

        class Served(asyncio.Protocol):
            def connection_lost(self, error):
                ended.set_result(None)

        async def tick():
            while "connected" not in log:
                log.append("tick")
                await asyncio.sleep(0)

        def make():
            log.append("factory")
            ticking.append(loop.create_task(tick()))
            return Client()

        server = await loop.create_server(Served, "127.0.0.1", 0)
        transport, _ = await loop.create_connection(make, *server.sockets[0].getsockname())
        log.append("connected")
        transport.close()
        await ended
        server.close()
        await server.wait_closed()
        return log

    same(scenario)


# -- the transport ends in the middle ----------------------------------------------------------


def connected(loop, protocol):
    """Return (transport, peer) of a connection that is made by the loop, which then stops."""
    near, far = socket.socketpair()
    transport, _ = loop.run_until_complete(loop.create_connection(lambda: protocol, sock=near))
    return transport, far


def test_a_socket_that_connection_made_closes_cannot_be_watched(loop, loop_reports):
    """The exception handler is told, and the loop goes on."""

    class Closes(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            near.close()

    near, far = socket.socketpair()
    loop.add_reader(far, far.recv, 1)  # The loop has its own descriptors from here on.

    async def scenario():
        transport, protocol = await loop.create_connection(Closes, sock=near)
        await settle()
        (report,) = loop_reports.take()
        transport.abort()
        await settle()
        return report["exception"].errno, protocol.log[-1][1]

    assert loop.run_until_complete(scenario()) == (errno.EBADF, "lost")
    loop.remove_reader(far)
    far.close()


def test_the_end_by_hand_when_the_socket_was_closed_behind_the_transport():
    """Both directions were watched, which the kernel knows nothing of any more."""

    async def scenario():
        protocol = Recorder()
        near, far = socket.socketpair()
        transport, _ = await asyncio.get_running_loop().create_connection(
            lambda: protocol, sock=near
        )
        transport.write(BIG)
        await settle()
        near.close()
        ended = outcome_of(transport._call_connection_lost, None)
        far.close()
        return ended, protocol.log[-1]

    (ended, last), reports = same(scenario)
    assert ended == ("returned", None)
    assert last[1] == "lost"
    assert reports == []


@pytest.mark.only_hotloop("asyncio's latest keeps a view of what was not sent")
@pytest.mark.parametrize("before", [b"", BIG], ids=["direct", "queued"])
@pytest.mark.parametrize("kind", ["stream", "pipe"])
def test_pause_writing_may_change_the_size_of_what_was_written(loop, kind, before):
    """What was not sent is a copy by then, and a bytearray the program's own again."""
    data = bytearray(6 * len(BIG))

    class Clears(asyncio.Protocol):
        def pause_writing(self):
            data.clear()

    if kind == "stream":
        transport, far = connected(loop, Clears())
    else:
        reader, writer = os.pipe()
        far = os.fdopen(reader, "rb", 0)
        transport, _ = loop.run_until_complete(
            loop.connect_write_pipe(Clears, os.fdopen(writer, "wb", 0))
        )
    transport.set_write_buffer_limits(2 * len(BIG))
    transport.write(before)
    assert data
    transport.write(data)
    transport.abort()
    loop.run_until_complete(settle())
    far.close()
    assert not data


@pytest.mark.only_hotloop("asyncio's transport has no loop to report to")
@pytest.mark.parametrize("how", ["abort", "_call_connection_lost"])
def test_pause_writing_that_ends_the_connection_and_raises_is_reported(loop, loop_reports, how):
    """What it raises goes to the exception handler, although the transport has no loop then."""

    class Ends(asyncio.Protocol):
        def pause_writing(self):
            if how == "abort":
                transport.abort()
                loop.run_until_complete(settle())
            else:
                transport._call_connection_lost(None)
            raise ValueError("after the end")

    transport, far = connected(loop, Ends())
    transport.write(BIG)
    (report,) = loop_reports.take()
    assert report["message"] == "protocol.pause_writing() failed"
    assert str(report["exception"]) == "after the end"
    assert transport.get_extra_info("socket").fileno() == -1
    far.close()


CALLS_AFTER_THE_END = [
    *("write_eof", "close", "abort", "_start_reading", "_read_ready", "_write_ready"),
    *("_maybe_pause_protocol", "get_write_buffer_size"),
]
CALLS_OF_READERS = ["pause_reading", "resume_reading"]


@pytest.mark.only_hotloop("asyncio's transports raise an AttributeError of their internals")
@pytest.mark.parametrize("kind", ["stream", "read pipe", "write pipe"])
def test_a_connection_that_was_lost_by_hand_bears_every_call(loop, kind):
    """Each call does nothing."""
    if kind == "stream":
        transport, far = connected(loop, asyncio.Protocol())
    else:
        reader, writer = os.pipe()
        ends = os.fdopen(reader, "rb", 0), os.fdopen(writer, "wb", 0)
        own, far = ends if kind == "read pipe" else ends[::-1]
        connect = loop.connect_read_pipe if kind == "read pipe" else loop.connect_write_pipe
        transport, _ = loop.run_until_complete(connect(asyncio.Protocol, own))
    transport._call_connection_lost(None)
    for name in CALLS_AFTER_THE_END + (CALLS_OF_READERS if kind != "write pipe" else []):
        if hasattr(transport, name):
            getattr(transport, name)()
    loop.run_until_complete(settle())
    assert "closed" in repr(transport)
    far.close()


@pytest.mark.parametrize("number", ["reused", "free"])
def test_the_end_is_not_sent_to_another_connection(number):
    """A socket that is closed behind the transport may have left its number to another one."""

    async def scenario():
        protocol = Recorder()
        near, far = socket.socketpair()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(lambda: protocol, sock=near)
        fd = near.fileno()
        near.close()
        others = socket.socketpair() if number == "reused" else ()
        reused = [other.fileno() == fd for other in others]
        ended = outcome_of(transport.write_eof)
        cut = []
        for other in others:
            other.setblocking(False)
            cut.append(outcome_of(other.recv, 1))
        transport.abort()
        await protocol.lost
        for sock in (far, *others):
            sock.close()
        return any(reused), ended, cut

    (is_reused, ended, cut), reports = same(scenario)
    assert is_reused == (number == "reused")
    assert ended[:2] == ("raised", "OSError")
    assert all(end[1] == "BlockingIOError" for end in cut)
    assert reports == []


def test_the_name_of_a_closed_socket_is_not_that_of_another_one():
    """asyncio knows the name from the beginning; hotloop, which asks later, gives none."""

    async def scenario():
        protocol = Recorder()
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listening:
            near = socket.create_connection(listening.getsockname())
            name = near.getsockname()
            transport, _ = await loop.create_connection(lambda: protocol, sock=near)
            near.close()
            with socket.create_server(("127.0.0.2", 0)):
                before = transport.get_extra_info("sockname")
                transport.abort()
                await protocol.lost
            return before in (None, name), transport.get_extra_info("sockname") in (None, name)

    assert same(scenario) == ((True, True), [])


@pytest.mark.parametrize(
    "buffer",
    [b"x", "text", [0], memoryview(bytearray(9))[::2], None, 5, bytearray()],
    ids=lambda buffer: f"{type(buffer).__name__}",
)
def test_a_buffer_that_cannot_be_filled(buffer):
    """A BufferedProtocol that answers get_buffer() with it is told as on asyncio."""

    class Answers(BufferedRecorder):
        def get_buffer(self, sizehint):
            return buffer

    async def scenario():
        protocol = Answers()
        async with wire(protocol) as (_, far):
            far.send(b"abc")
            await protocol.lost
            return protocol.log

    _, reports = same(scenario)
    assert len(reports) == 1


def test_limits_of_writing_without_end():
    """An infinite limit never pauses."""

    async def scenario():
        protocol = Recorder()
        async with wire(protocol) as (transport, _):
            transport.set_write_buffer_limits(high=float("inf"), low=0)
            transport.write(BIG)
            transport.set_write_buffer_limits(high=1e300, low=0.5)
            return list(protocol.log)

    assert same(scenario) == ([("", "made")], [])
