"""Transports of stream sockets: what a protocol sees, and what reaches the other end.

Each scenario runs on asyncio and on hotloop and must come out the same, call by call: the order of
a protocol's calls, what is raised and reported, what the peer receives.
"""

import asyncio
import contextlib
import errno
import gc
import logging
import os
import socket
import struct
import sys
import warnings
import weakref

import pytest
from support.differential import (
    assert_same_on_both,
    collect_reports,
    normalized,
    outcome_of,
    outcome_on,
)
from support.protocols import (
    BufferedRecorder,
    Recorder,
    collected,
    link,
    receive_available,
    settle,
    until,
    wire,
)

BIG = bytes(range(256)) * 8192  # 2 MiB, more than the kernel takes at once


# asyncio's transports of this version end a connection twice if it is closed while it drains.
LOSES_TWICE = sys.version_info < (3, 14)


def same(scenario, asyncio_is_right=True):
    """Run the coroutine function, given the loop's reports, on both loops; return the outcome.

    Where asyncio has a defect that later versions have mended, only hotloop runs it, and nothing
    may be reported.
    """

    def run(loop):
        reports = collect_reports(loop)
        loop.set_debug(False)
        return loop.run_until_complete(scenario(reports)), reports

    if asyncio_is_right:
        kind, *value = assert_same_on_both(run)
    else:
        kind, *value = outcome_on("hotloop", run)
        assert kind != "returned" or value[0][1] == []
    assert kind == "returned", value
    return value[0]


KINDS = pytest.mark.parametrize("kind", [Recorder, BufferedRecorder])


# -- what a connection looks like -------------------------------------------------------------


def test_calls_of_a_connection_in_order():
    async def scenario(reports):
        log = []
        client = Recorder("client", log)
        server = Recorder("server", log, data=lambda p, data: p.transport.write(data))
        async with link(client, lambda: server) as (transport, _):
            log.append("awaited")
            transport.write(b"hello")
            await until(lambda: client.received == b"hello")
            transport.close()
            await client.lost
            await server.lost
        return [entry for entry in log if entry == "awaited" or entry[0] == "client"], sorted(
            entry[1] for entry in log if entry[0] == "server"
        )

    (client_log, server_log), reports = same(scenario)
    assert client_log == [
        ("client", "made"),
        "awaited",
        ("client", "data"),
        ("client", "lost", "None"),
    ]
    assert server_log == ["data", "eof", "lost", "made"]
    assert reports == []


def test_data_comes_after_the_coroutine_that_awaited_the_connection():
    async def scenario(reports):
        loop = asyncio.get_running_loop()
        log = []
        near, far = socket.socketpair()
        far.send(b"early")
        protocol = Recorder("", log)
        transport, _ = await loop.create_connection(lambda: protocol, sock=near)
        log.append("awaited")
        await settle()
        transport.close()
        await protocol.lost
        far.close()
        return log

    log, _ = same(scenario)
    assert log[:3] == [("", "made"), "awaited", ("", "data")]


@pytest.mark.parametrize(
    "name", ["peername", "sockname", "socket", "nothing", "_extra", 5, None, ("a", 1)]
)
@pytest.mark.parametrize("when", ["open", "closed"])
def test_extra_info(name, when):
    async def scenario(reports):
        client, server = Recorder(), Recorder()
        async with link(client, lambda: server) as (transport, _):
            ports = {
                transport.get_extra_info("peername")[1]: "SERVER",
                transport.get_extra_info("sockname")[1]: "CLIENT",
            }
            if when == "closed":
                transport.close()
                await client.lost
                await server.lost
            values = [
                transport.get_extra_info(name),
                transport.get_extra_info(name, "default"),
                server.transport.get_extra_info(name) if when == "open" else None,
            ]
        shown = []
        for value in values:
            if isinstance(value, tuple) and len(value) == 2:
                value = (value[0], ports.get(value[1], value[1]))
            elif hasattr(value, "fileno"):
                value = (type(value).__mro__[-2].__name__, value.fileno() < 0, value.family)
            shown.append(value)
        return shown

    same(scenario)


def test_extra_info_of_a_connection_whose_names_nobody_asked_for_before_the_end():
    async def scenario(reports):
        client, server = Recorder(), Recorder()
        async with link(client, lambda: server) as (transport, _):
            kept = server.transport
            client_port = transport.get_extra_info("sockname")[1]
            transport.abort()
            await server.lost
            await settle()
        peer, own = kept.get_extra_info("peername"), kept.get_extra_info("sockname")
        return peer[0], peer[1] == client_port, own[0], kept.get_extra_info("socket").fileno()

    assert same(scenario)[0] == ("127.0.0.1", True, "127.0.0.1", -1)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "unix", "pair"])
def test_the_socket_of_a_connection_that_nobody_asked_for_before_the_end(address):
    """It is closed, but of the family, type and protocol that it had."""

    async def ended(reports):
        loop = asyncio.get_running_loop()
        if address == "pair":
            near, far = socket.socketpair()
            protocol = Recorder()
            await loop.create_connection(lambda: protocol, sock=near)
            far.close()
            return protocol
        made, factory = collected(Recorder)
        name = f"\0hotloop {os.getpid()} of a connection"
        if address == "unix":
            server = await loop.create_unix_server(factory, name)
            client = socket.socket(socket.AF_UNIX)
            client.connect(name)
        else:
            server = await loop.create_server(factory, address, 0)
            client = socket.create_connection(server.sockets[0].getsockname()[:2])
        await until(lambda: made and made[0].transport)
        client.close()
        server.close()
        return made[0]

    async def scenario(reports):
        protocol = await ended(reports)
        await protocol.lost
        await settle()
        sock = protocol.transport.get_extra_info("socket")
        return sock.family, sock.type, sock.proto, sock.fileno(), repr(sock)

    assert same(scenario)[0][3] == -1


def test_type_and_attributes():
    async def scenario(reports):
        protocol = Recorder()
        async with wire(protocol) as (transport, _):
            transport.anything = 5
            transport.write = lambda data: "replaced"
            found = [transport.anything, transport.write(b"x"), vars(transport)["anything"]]
            del transport.write
            reference = weakref.ref(transport)
            found += [
                isinstance(transport, asyncio.Transport),
                isinstance(transport, asyncio.transports._FlowControlMixin),
                type(transport).__name__,
                reference() is transport,
                transport.get_protocol() is protocol,
                transport._loop is asyncio.get_running_loop(),
                transport._sock.fileno() == transport._sock_fd,
                [transport._closing, transport._paused, transport._eof, transport._conn_lost],
                transport._protocol_paused,
                transport._protocol is protocol,
                transport._server,
                transport._start_tls_compatible,
                str(transport._sendfile_compatible),
                transport.max_size,
                list(transport._buffer),
                (transport._low_water, transport._high_water),
                sorted(transport._extra),
            ]
            return found

    same(scenario)


def test_repr_in_every_state():
    async def scenario(reports):
        shown = []
        protocol = Recorder()
        async with wire(protocol) as (transport, _):
            fd = f"fd={transport._sock_fd}"
            show = lambda: shown.append(repr(transport).replace(fd, "fd=N"))  # noqa: E731
            show()
            await settle()
            show()
            transport.pause_reading()
            show()
            transport.resume_reading()
            transport.write(BIG)
            shown.append("bufsize=0" in repr(transport))
            transport.close()
            shown.append("closing" in repr(transport))
            transport.abort()
            show()
            await protocol.lost
            show()
        return shown

    same(scenario)


# -- reading ------------------------------------------------------------------------------------


@KINDS
@pytest.mark.parametrize("size", [1, 100, 16383, 16384, 70000, 300_000, len(BIG)])
def test_bytes_arrive_whole(kind, size):
    async def scenario(reports):
        client = Recorder()
        server = kind(data=lambda p, data: p.transport.write(data))
        async with link(client, lambda: server) as (transport, _):
            for start in (0, 7):
                transport.write(BIG[start : start + size])
                want = BIG[start : start + size]
                await until(lambda: len(client.received) >= len(want))  # noqa: B023
                assert client.received == want
                client.received.clear()
        return "same bytes"

    same(scenario)


@KINDS
def test_one_byte_at_a_time(kind):
    async def scenario(reports):
        protocol = kind()
        async with wire(protocol) as (_, far):
            for byte in b"one byte at a time":
                far.send(bytes([byte]))
                await settle(2)
            await until(lambda: len(protocol.received) == 18)
            return bytes(protocol.received)

    assert same(scenario)[0] == b"one byte at a time"


def test_reading_can_be_paused_and_resumed():
    async def scenario(reports):
        protocol = Recorder()
        log = protocol.log
        async with wire(protocol) as (transport, far):
            await settle()
            log.append(transport.is_reading())
            transport.pause_reading()
            transport.pause_reading()
            log.append(transport.is_reading())
            far.send(b"x")
            await settle()
            log.append(bytes(protocol.received))
            transport.resume_reading()
            transport.resume_reading()
            await until(lambda: protocol.received)
            transport.close()
            transport.pause_reading()
            transport.resume_reading()
            log.append(transport.is_reading())
        return log

    same(scenario)


@pytest.mark.skipif(
    sys.version_info < (3, 11, 4), reason="needs Python 3.11.4: asyncio loses that pause before"
)
def test_pausing_in_connection_made_keeps_the_data_back():
    async def scenario(reports):
        protocol = Recorder(made=lambda p: p.transport.pause_reading())
        async with wire(protocol) as (transport, far):
            far.send(b"x")
            await settle()
            seen = bytes(protocol.received)
            transport.resume_reading()
            await until(lambda: protocol.received)
            return seen

    assert same(scenario)[0] == b""


def test_an_event_collected_before_a_pause_calls_nobody():
    async def scenario(reports):
        loop = asyncio.get_running_loop()
        first, second = Recorder("a"), Recorder("b")
        async with wire(first) as (one, far_one), wire(second) as (two, far_two):
            await settle()
            # Whichever is called first pauses both; the other's event is already queued.
            for protocol in (first, second):
                protocol.actions["data"] = lambda p, data: (
                    one.pause_reading(),
                    two.pause_reading(),
                )
            far_one.send(b"1")
            far_two.send(b"2")
            await settle()
            received = len(first.received) + len(second.received)
            # Resumed within the turn of the event: not before the next turn's poll.
            for protocol in (first, second):
                protocol.actions.clear()
            loop.call_soon(one.resume_reading)
            loop.call_soon(two.resume_reading)
            await until(lambda: len(first.received) + len(second.received) == 2)
            return received

    assert same(scenario)[0] == 1


@KINDS
def test_switching_protocols(kind):
    async def scenario(reports):
        log = []
        first, second = Recorder("first", log), kind("second", log)
        async with wire(first) as (transport, far):
            far.send(b"one")
            await until(lambda: first.received)
            transport.set_protocol(second)
            far.send(b"two")
            await until(lambda: second.received)
            transport.set_protocol(first)
            far.send(b"three")
            await until(lambda: first.received == b"onethree")
            transport.close()
            await first.lost
        return log, transport.get_protocol()

    same(scenario)


def test_switching_in_data_received():
    async def scenario(reports):
        second = BufferedRecorder("second")
        first = Recorder("first", data=lambda p, data: p.transport.set_protocol(second))
        async with wire(first) as (_, far):
            far.send(b"one")
            await until(lambda: first.received)
            far.send(b"two")
            await until(lambda: second.received)
            return bytes(first.received), bytes(second.received)

    assert same(scenario)[0] == (b"one", b"two")


@pytest.mark.parametrize("keep_open", [None, False, True, 1])
def test_end_of_stream(keep_open):
    async def scenario(reports):
        protocol = Recorder(eof=lambda p: keep_open)
        async with wire(protocol) as (transport, far):
            far.shutdown(socket.SHUT_WR)
            await until(lambda: ("", "eof") in protocol.log)
            await settle()
            state = transport.is_closing(), transport.is_reading()
            transport.write(b"half open")
            await settle()
            got = receive_available(far)
            transport.close()
            await protocol.lost
            return state, got, protocol.log

    same(scenario)


@pytest.mark.parametrize(
    "call",
    ["made", "data", "eof", "pause", "resume", "lost", "get_buffer", "empty_buffer", "factory"],
)
@pytest.mark.parametrize("error", [ValueError, OSError, asyncio.CancelledError])
def test_protocols_that_raise(call, error):
    async def scenario(reports):
        def fail(p, *arguments):
            raise error(f"in {call}")

        def receive_into_nothing(p, hint):
            return bytearray()

        kind = BufferedRecorder if "buffer" in call else Recorder
        actions = {call: fail}
        if call == "empty_buffer":
            actions = {"get_buffer": receive_into_nothing}
        protocol = kind(**actions)
        if call == "factory":
            loop = asyncio.get_running_loop()
            near, far = socket.socketpair()
            with near, far, pytest.raises(error):
                await loop.create_connection(lambda: fail(None), sock=near)
            return near.fileno() < 0
        async with wire(protocol) as (transport, far):
            await settle()
            far.send(b"data")
            await settle()
            if call in ("pause", "resume"):
                transport.write(BIG)
                await settle()
                while receive_available(far):
                    await settle()
            if call in ("eof", "lost"):
                far.shutdown(socket.SHUT_WR)
            await settle()
            return protocol.log, transport.is_closing()

    same(scenario)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("call", ["data", "eof", "lost"])
def test_exceptions_that_leave_the_loop(call, error):
    def run(loop):
        reports = collect_reports(loop)
        near, far = socket.socketpair()

        def fail(p, *arguments):
            raise error("out")

        async def connect():
            protocol = Recorder(**{call: fail})
            transport, _ = await loop.create_connection(lambda: protocol, sock=near)
            return transport, protocol

        transport, protocol = loop.run_until_complete(connect())
        far.send(b"x")
        far.shutdown(socket.SHUT_WR)
        left = outcome_of(loop.run_until_complete, asyncio.sleep(5))
        transport.abort()
        again = outcome_of(loop.run_until_complete, settle())
        far.close()
        return left, again, protocol.log, reports

    assert_same_on_both(run)


# -- writing ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"bytes", bytearray(b"bytearray"), memoryview(b"view"), memoryview(b"abcd")[::2]),
        *("str", 5, None, [b"x"], object),
    ],
    ids=lambda data: type(data).__name__ + str(len(data) if hasattr(data, "__len__") else ""),
)
def test_what_write_takes(data):
    async def scenario(reports):
        protocol = Recorder()
        async with wire(protocol) as (transport, far):
            result = outcome_of(transport.write, data)
            await settle()
            return result, receive_available(far), protocol.log

    same(scenario)


@pytest.mark.parametrize(
    "pieces",
    [
        *("[]", "[b'a', b'b']", "(b'a', bytearray(b'b'), memoryview(b'c'))", "iter([b'a', b'b'])"),
        *("[b'', b'a', b'']", "[b'a', 'str']", "5", "[b'x' * 70000] * 40", "None", "[5]"),
    ],
)
def test_what_writelines_takes(pieces):
    async def scenario(reports):
        protocol = Recorder()
        async with wire(protocol) as (transport, far):
            result = outcome_of(transport.writelines, eval(pieces))
            received = b""
            for _ in range(50):
                received += receive_available(far)
                await settle()
            return result, len(received), received[:4]

    if sys.version_info < (3, 13) and pieces == "[b'', b'a', b'']":
        pytest.skip("needs Python 3.13: before, asyncio never sends an empty piece and waits")
    same(scenario)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="needs Python 3.12: writelines() joined")
@pytest.mark.parametrize("nothing", ["None", "''", "bytearray()", "memoryview(b'')"])
def test_writelines_skips_what_is_false(nothing):
    async def scenario(reports):
        protocol = Recorder()
        async with wire(protocol) as (transport, far):
            result = outcome_of(transport.writelines, [b"a", eval(nothing), b"b"])
            await settle()
            return result, receive_available(far)

    # As CPython's gh-155888 has mended it.
    assert same(scenario, sys.version_info >= (3, 14, 8))[0][1] == b"ab"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="needs Python 3.12: writelines() joined")
def test_writelines_sends_what_is_queued_at_once():
    """asyncio tries to, however much waits, and may resume the protocol in the call."""

    async def scenario(reports):
        protocol = Recorder()
        async with wire(protocol) as (transport, far):
            transport.set_write_buffer_limits(high=len(BIG), low=len(BIG) - 1)
            transport.write(BIG)
            transport.write(BIG)
            received = receive_available(far)
            while transport.get_write_buffer_size() > len(BIG):
                transport._write_ready()
                received += receive_available(far)
            size = transport.get_write_buffer_size()
            transport.writelines([b"x", b"", bytearray(b"y")])
            is_less = transport.get_write_buffer_size() < size
            log = list(protocol.log)
            while transport.get_write_buffer_size():
                await settle()
                received += receive_available(far)
            received += receive_available(far)
            return is_less, log, received == BIG + BIG + b"xy"

    is_less, log, is_whole = same(scenario)[0]
    assert is_less and is_whole
    assert [call for _, call in log] == ["made", "pause", "resume"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="needs Python 3.12: writelines() joined")
@pytest.mark.parametrize("is_queued", [False, True], ids=["idle", "queued"])
def test_writelines_with_a_piece_that_is_scattered(is_queued):
    async def scenario(reports):
        protocol = Recorder()
        async with wire(protocol) as (transport, far):
            if is_queued:
                transport.write(BIG)
            result = outcome_of(transport.writelines, [b"1", memoryview(b"abcd")[::2], b"2"])
            closing = transport.is_closing()
            received = receive_available(far)
            await protocol.lost
            return result, closing, received != b"", protocol.log

    result, closing, was_sent, _ = same(scenario)[0]
    assert result == ("returned", None) and closing
    assert was_sent == is_queued


@pytest.mark.skipif(sys.version_info < (3, 12), reason="needs Python 3.12: writelines() joined")
def test_what_pause_writing_writes_comes_behind_all_lines():
    async def scenario(reports):
        protocol = Recorder(pause=lambda self: self.transport.write(b"nested"))
        async with wire(protocol) as (transport, far):
            transport.writelines([BIG, b"second", b"third"])
            received = receive_available(far)
            while transport.get_write_buffer_size():
                await settle()
                received += receive_available(far)
            return (received + receive_available(far))[len(BIG) :]

    # Earlier versions do not pause here.
    assert same(scenario, sys.version_info >= (3, 14))[0] == b"secondthirdnested"


def test_a_log_that_is_written_while_another_write_fails():
    """Each of three connections gets its own bytes, in whatever write the others are flushed."""

    async def scenario(reports):
        asyncio.get_running_loop().set_debug(True)
        async with (
            wire(Recorder()) as (transport, far),
            wire(Recorder()) as (broken, gone),
            wire(Recorder()) as (log, far_log),
        ):

            class Sends(logging.Handler):
                def emit(self, record):
                    if "Fatal write error" in record.msg % record.args:
                        log.write(b"failed")

            logger, handler = logging.getLogger("asyncio"), Sends()
            level = logger.level
            logger.addHandler(handler)
            logger.setLevel(logging.DEBUG)
            logger.propagate = False  # pytest would keep the transports.
            try:
                gone.close()
                broken.write(b"x")
                transport.write(b"data")
                await settle()
            finally:
                logger.propagate = True
                logger.setLevel(level)
                logger.removeHandler(handler)
            return receive_available(far), receive_available(far_log)

    assert same(scenario)[0] == (b"data", b"failed")


def test_many_small_writes_in_order():
    async def scenario(reports):
        client, server = Recorder(), Recorder()
        async with link(client, lambda: server) as (transport, _):
            for number in range(5000):
                transport.write(b"%d," % number)
                if number % 100 == 0:
                    await asyncio.sleep(0)
            want = b"".join(b"%d," % number for number in range(5000))
            await until(lambda: len(server.received) == len(want))
            return server.received == want

    assert same(scenario)[0] is True


def test_changes_after_write_are_not_sent():
    """asyncio up to now sends what a bytearray holds when the kernel takes it."""
    import hotloop

    async def scenario():
        protocol = Recorder()
        async with wire(protocol) as (transport, far):
            data = bytearray(b"a" * 1_000_000)
            transport.write(data)
            small = bytearray(b"b" * 10)
            transport.write(small)
            view = memoryview(bytearray(b"c" * 10))
            transport.writelines([view])
            data[:] = b"x" * len(data)
            small[:] = b"x" * 10
            view[:] = b"x" * 10
            received = b""
            while len(received) < 1_000_020:
                received += receive_available(far)
                await settle()
            return received

    received = hotloop.run(scenario())
    assert received == b"a" * 1_000_000 + b"b" * 10 + b"c" * 10


def test_water_marks():
    async def scenario(reports):
        protocol = Recorder()
        async with wire(protocol) as (transport, _):
            limits = [transport.get_write_buffer_limits()]
            for high, low in [(1000, None), (None, 100), (1000, 100), (0, None), (None, None)]:
                transport.set_write_buffer_limits(high, low)
                limits.append(transport.get_write_buffer_limits())
            for arguments in [(1, 2), (-1,), ("x",), (5, -1)]:
                limits.append(outcome_of(transport.set_write_buffer_limits, *arguments))
            limits.append(outcome_of(lambda: transport.set_write_buffer_limits(high=7, low=3)))
            return limits, transport.get_write_buffer_limits()

    same(scenario)


def test_flow_control():
    async def scenario(reports):
        protocol = Recorder()
        async with wire(protocol) as (transport, far):
            transport.set_write_buffer_limits(high=100_000, low=1000)
            transport.write(BIG)
            seen = [list(protocol.log), transport.get_write_buffer_size() > 100_000]
            total = 0
            while total < len(BIG):
                total += len(receive_available(far))
                await settle(2)
            seen += [protocol.log, transport.get_write_buffer_size()]
            return seen

    same(scenario)


def test_a_protocol_that_writes_when_it_may_again():
    async def scenario(reports):
        rounds = []

        def resume(p):
            rounds.append(1)
            if len(rounds) < 4:
                p.transport.write(BIG)
            else:
                p.transport.close()

        protocol = Recorder(resume=resume)
        async with wire(protocol) as (transport, far):
            transport.write(BIG)
            total = 0
            while not protocol.lost.done():
                total += len(receive_available(far))
                await settle(2)
            total += len(receive_available(far))
            return total == 4 * len(BIG), protocol.log

    assert same(scenario, not LOSES_TWICE)[0][0] is True


def test_no_water_means_write_through():
    async def scenario(reports):
        protocol = Recorder()
        async with wire(protocol) as (transport, far):
            transport.set_write_buffer_limits(high=0)
            transport.write(b"at once")
            return receive_available(far)

    assert same(scenario)[0] == b"at once"


@pytest.mark.parametrize(
    "then",
    [
        "transport.abort()",
        "transport.close()",
        "transport.write_eof()",
        "transport.get_write_buffer_size()",
        "transport.get_extra_info('socket').getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)",
        "transport.get_extra_info('socket')",
        "transport.set_write_buffer_limits(5)",
        "repr(transport)",
        "transport._sock",
        "transport._make_empty_waiter(); transport._reset_empty_waiter()",
        "transport.set_protocol(protocol)",
        "os.fork() or os._exit(0)",
        "other.write(b'other')",
        "loop.sock_sendall(sock, b'x').send(None)",
    ],
)
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_what_is_written_is_with_the_peer_after(then):
    """Within the same callback, as on asyncio, where write() itself sends."""

    async def scenario(reports):
        loop = asyncio.get_running_loop()
        protocol, second = Recorder(), Recorder()
        sock, far_sock = socket.socketpair()
        sock.setblocking(False)
        async with wire(protocol) as (transport, far), wire(second) as (other, _):
            await settle()
            transport.write(b"first ")
            transport.write(b"second")
            names = {
                "transport": transport,
                "other": other,
                "protocol": protocol,
                "sock": sock,
                "loop": loop,
                "socket": socket,
                "os": os,
            }
            with contextlib.suppress(StopIteration):
                exec(then, names)
            if "fork" in then:
                os.wait()
            received = receive_available(far)
        sock.close()
        far_sock.close()
        return received

    assert same(scenario)[0] == b"first second"


def test_the_last_write_of_a_run_is_sent():
    def run(loop):
        near, far = socket.socketpair()

        async def connect():
            transport, _ = await loop.create_connection(Recorder, sock=near)
            return transport

        async def write(transport):
            transport.write(b"last")

        transport = loop.run_until_complete(connect())
        loop.run_until_complete(write(transport))
        far.settimeout(2)
        first = far.recv(100)
        transport.write(b"not running")
        second = far.recv(100)
        transport.abort()
        loop.run_until_complete(settle())
        far.close()
        return first, second

    assert assert_same_on_both(run) == ("returned", (b"last", b"not running"))


def test_write_through_can_be_asked_for():
    import hotloop

    def first_bytes(loop):
        async def scenario():
            protocol = Recorder()
            async with wire(protocol) as (transport, far):
                await settle()
                transport.write(b"x")
                return receive_available(far)

        try:
            return loop.run_until_complete(scenario())
        finally:
            loop.close()

    loop = hotloop.new_event_loop()
    assert loop.write_through is False
    assert first_bytes(loop) == b""
    loop = hotloop.new_event_loop()
    loop.write_through = True
    assert first_bytes(loop) == b"x"


@pytest.mark.only_hotloop("asyncio always writes through")
def test_write_through_from_the_middle_on_keeps_the_order(loop):
    async def scenario():
        async with wire(Recorder()) as (transport, far):
            transport.write(b"1")
            loop.write_through = True
            transport.write(b"2")
            transport.writelines([b"3", b"4"])
            return receive_available(far)

    assert loop.run_until_complete(scenario()) == b"1234"


def test_write_through_by_the_environment(monkeypatch):
    import hotloop

    monkeypatch.setenv("HOTLOOP_WRITE_THROUGH", "1")
    loop = hotloop.new_event_loop()
    assert loop.write_through is True
    loop.close()


# -- the end ------------------------------------------------------------------------------------


def test_write_eof_after_what_is_queued():
    async def scenario(reports):
        protocol = Recorder(eof=lambda p: True)
        async with wire(protocol) as (transport, far):
            transport.write(BIG)
            transport.write_eof()
            transport.write_eof()
            errors = [
                outcome_of(transport.write, b"x"),
                outcome_of(transport.writelines, [b"x"]),
                transport.can_write_eof(),
            ]
            total = 0
            while True:
                try:
                    piece = far.recv(1 << 16)
                except BlockingIOError:
                    await settle(1)
                    continue
                if not piece:
                    break
                total += len(piece)
            far.send(b"still there")
            await until(lambda: protocol.received)
            return errors, total == len(BIG), bytes(protocol.received)

    same(scenario)


def test_close_sends_what_is_queued():
    async def scenario(reports):
        protocol = Recorder()
        async with wire(protocol) as (transport, far):
            transport.write(BIG)
            transport.close()
            transport.close()
            state = transport.is_closing(), list(protocol.log)
            total = 0
            while not protocol.lost.done():
                total += len(receive_available(far))
                await settle(1)
            total += len(receive_available(far))
            return state, total == len(BIG), protocol.log

    state, is_whole, log = same(scenario, not LOSES_TWICE)[0]
    assert is_whole and state == (True, [("", "made"), ("", "pause")])
    assert log == [("", "made"), ("", "pause"), ("", "resume"), ("", "lost", "None")]


def test_abort_drops_what_is_queued():
    async def scenario(reports):
        protocol = Recorder()
        async with wire(protocol) as (transport, far):
            transport.write(BIG)
            transport.abort()
            transport.abort()
            await protocol.lost
            await settle()
            return len(receive_available(far)) < len(BIG), protocol.log, transport._sock

    same(scenario)


def test_writes_after_the_end_are_counted_and_warned_of(caplog):
    async def scenario(reports):
        caplog.clear()
        protocol = Recorder()
        async with wire(protocol) as (transport, _):
            transport.close()
            for _ in range(8):
                transport.write(b"x")
                if sys.version_info >= (3, 14):
                    transport.writelines([b"x"])
            await protocol.lost
            transport.write(b"x")
            transport.write_eof()
            transport.close()
            transport.abort()
            transport.pause_reading()
            transport.resume_reading()
        return [record.getMessage() for record in caplog.records if record.name == "asyncio"]

    assert same(scenario)[0]


def test_a_peer_that_resets():
    async def scenario(reports):
        client, server = Recorder(), Recorder()
        async with link(client, lambda: server) as (transport, _):
            sock = transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
            await server.lost
            return server.log[-1]

    assert same(scenario)[0][2].startswith("ConnectionResetError")


def test_a_peer_that_is_gone_while_we_write():
    async def scenario(reports):
        protocol = Recorder(eof=lambda p: True)
        async with wire(protocol) as (transport, far):
            far.close()
            await settle()
            for _ in range(3):
                transport.write(b"x")
                await settle()
            await protocol.lost
            return protocol.log, transport.is_closing()

    same(scenario)


@pytest.mark.parametrize("call", ["made", "data", "eof", "pause", "resume", "lost"])
@pytest.mark.parametrize("action", ["close", "abort"])
def test_closing_in_every_callback(call, action):
    async def scenario(reports):
        def act(p, *arguments):
            getattr(p.transport, action)()
            p.transport.write(b"after the end")

        protocol = Recorder(**{call: act})
        async with wire(protocol) as (transport, far):
            await settle()
            if not transport.is_closing():
                far.send(b"data")
            await settle()
            transport.write(BIG)
            for _ in range(200):
                receive_available(far)
                await settle(1)
                if transport.is_closing():
                    break
            far.shutdown(socket.SHUT_WR)
            for _ in range(200):
                receive_available(far)
                await settle(1)
            return protocol.log

    log = same(scenario, call not in ("pause", "resume") or not LOSES_TWICE)[0]
    assert [entry[1] for entry in log].count("lost") == 1


def test_unclosed_transports_warn_and_close():
    async def scenario(reports):
        loop = asyncio.get_running_loop()
        near, far = socket.socketpair()
        transport, protocol = await loop.create_connection(Recorder, sock=near)
        await settle()
        transport.pause_reading()
        protocol.transport = None
        fd = transport._sock_fd
        near = None
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del transport, protocol
            gc.collect()
        texts = {str(w.message).replace(f"fd={fd}", "fd=N").split("<", 1)[0] for w in caught}
        with far:
            far.setblocking(False)
            return "unclosed transport " in texts, far.recv(10)

    assert same(scenario)[0] == (True, b"")


# -- contexts -----------------------------------------------------------------------------------


def test_contexts_of_callbacks():
    import contextvars

    variable = contextvars.ContextVar("variable", default="unset")

    async def scenario(reports):
        seen = []

        def note(p, *arguments):
            seen.append(variable.get())
            variable.set(f"set {len(seen)}")

        variable.set("creator")
        client = Recorder(made=note, data=note, eof=note, lost=note)
        server = Recorder(made=note, data=note, lost=note)
        async with link(client, lambda: server) as (transport, _):
            variable.set("later")
            await settle()
            server.transport.write(b"1")
            await until(lambda: client.received == b"1")
            server.transport.write(b"2")
            await until(lambda: client.received == b"12")
            transport.write(b"1")
            await until(lambda: server.received == b"1")
            transport.pause_reading()
            variable.set("resumer")
            transport.resume_reading()
            server.transport.write(b"3")
            await until(lambda: client.received == b"123")
            server.transport.close()
            await server.lost
            await client.lost
        return sorted(seen), variable.get()

    same(scenario)


# -- sockets that are not plain ------------------------------------------------------------------


def test_a_socket_that_sends_by_itself_is_asked():
    async def scenario(reports):
        calls = []

        class Talkative(socket.socket):
            def send(self, data, *flags):
                calls.append("send")
                return super().send(data, *flags)

            def recv(self, *arguments):
                calls.append("recv")
                return super().recv(*arguments)

        loop = asyncio.get_running_loop()
        near, far = socket.socketpair()
        own = Talkative(fileno=near.detach())
        protocol = Recorder()
        transport, _ = await loop.create_connection(lambda: protocol, sock=own)
        await settle()
        transport.write(b"x")
        far.send(b"y")
        await until(lambda: protocol.received)
        transport.close()
        await protocol.lost
        far.close()
        return calls

    assert same(scenario)[0] == ["send", "recv"]


@pytest.mark.parametrize("state", ["closed", "listening", "datagram", "unconnected", "regular"])
def test_sockets_of_a_wrong_kind(state, tmp_path):
    async def scenario(reports):
        loop = asyncio.get_running_loop()
        sock = socket.socket(
            socket.AF_INET, socket.SOCK_DGRAM if state == "datagram" else socket.SOCK_STREAM
        )
        with sock:
            if state == "closed":
                sock.close()
            if state == "listening":
                sock.bind(("127.0.0.1", 0))
                sock.listen()
            given = open(__file__) if state == "regular" else sock  # noqa: SIM115
            protocol = Recorder()

            async def connect():
                transport, _ = await loop.create_connection(lambda: protocol, sock=given)
                await settle()
                transport.abort()
                await settle()
                return "made"

            try:
                result = await connect()
            except Exception as error:
                result = type(error).__name__, normalized(str(error)).partition("<")[0]
            if state == "regular":
                given.close()
            return result, protocol.log

    same(scenario)


def test_a_descriptor_that_another_transport_owns():
    async def scenario(reports):
        loop = asyncio.get_running_loop()
        protocol = Recorder()
        async with wire(protocol) as (transport, _):
            sock = transport.get_extra_info("socket")
            fd = transport._sock_fd
            results = []
            for call in (loop.add_reader, loop.add_writer):
                results.append(outcome_of(call, sock, print))
            for call in (loop.remove_reader, loop.remove_writer):
                results.append(outcome_of(call, fd))
            transport.close()
            await protocol.lost
            return [
                (kind, name, text.replace(str(fd), "N").partition(" is used")[0])
                for kind, name, text in results
            ]

    results, _ = same(scenario)
    assert {kind for kind, *_ in results} == {"raised"}


def test_errno_of_a_failed_connection():
    async def scenario(reports):
        loop = asyncio.get_running_loop()
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
            try:
                await loop.create_connection(Recorder, "127.0.0.1", port)
            except OSError as error:
                return error.errno, str(error).replace(str(port), "PORT")

    assert same(scenario)[0][0] == errno.ECONNREFUSED


@pytest.mark.parametrize("keep", [True, False])
def test_messages_that_are_kept_do_not_change(keep):
    """The memory of a message that nobody has any more is used again, and only that."""

    async def scenario(reports):
        kept, seen = [], []
        protocol = Recorder()

        def receive(p, data):
            seen.append((len(data), data[:1], hash(data) == hash(bytes(bytearray(data)))))
            if keep:
                kept.append(data)
            p.transport.write(data)

        protocol.actions["data"] = receive
        async with wire(protocol) as (_, far):
            for number in range(40):
                message = bytes([65 + number % 26]) * (700 + number % 7)
                far.send(message)
                await until(lambda: len(seen) == number + 1)  # noqa: B023
                assert receive_available(far) == message
        return seen, [(len(data), set(data)) for data in kept]

    same(scenario)
