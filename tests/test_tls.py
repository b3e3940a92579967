"""TLS on loopback: every byte, every ending, and what asyncio's own class would have called.

One end is the loop's, the other is either the loop's too or a Peer that is driven by hand, which
can cut the stream of records anywhere, damage it or end it.
"""

import array
import asyncio
import contextlib
import gc
import inspect
import random
import resource
import socket
import ssl
import subprocess
import sys
import tempfile
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.certificates import certificate_file, client_context, server_context
from support.differential import FACTORIES, outcome_of
from support.known_differences import known_difference
from support.protocols import BufferedRecorder, Recorder, link, settle, until
from support.tls_peer import Peer, peer_of

VERSIONS = ["1.2", "1.3"]
CONTENT = random.Random(7).randbytes(3_000_000)
FATAL = "Fatal error on SSL protocol"


@pytest.fixture(params=VERSIONS)
def version(request):
    return request.param


@pytest.fixture
def contexts(version):
    """Context of the server and of the client, of one version."""
    return server_context(version=version), client_context(version)


def tls_link(client, make_server, contexts, **options):
    """As link(), over TLS; options for the client have `client_` in front."""
    return _tls_link(client, make_server, contexts, options)


@contextlib.asynccontextmanager
async def _tls_link(client, make_server, contexts, options):
    loop = asyncio.get_running_loop()
    made = []

    def factory():
        made.append(make_server())
        return made[-1]

    of_client = {
        key.removeprefix("client_"): options.pop(key)
        for key in list(options)
        if key.startswith("client_")
    }
    server = await loop.create_server(factory, "127.0.0.1", 0, ssl=contexts[0], **options)
    try:
        port = server.sockets[0].getsockname()[1]
        transport, _ = await loop.create_connection(
            lambda: client, "127.0.0.1", port, ssl=contexts[1], **of_client
        )
        await until(lambda: made and made[0].transport is not None)
        try:
            yield transport, made
        finally:
            for protocol in [client, *made]:
                if protocol.transport is not None:
                    protocol.transport.abort()
                    await protocol.lost
    finally:
        server.close()
        await asyncio.sleep(0)


def echo():
    return Recorder("server", data=lambda protocol, data: protocol.transport.write(data))


def calls(protocol):
    """The calls a protocol got, without the owner's name."""
    return [entry[1] for entry in protocol.log]


class Buffered(BufferedRecorder):
    """One whose buffer is a view: asyncio's TLS fills only the first record into others."""

    def get_buffer(self, sizehint):
        return memoryview(super().get_buffer(sizehint))


# -- bytes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 1000, 16384, 16385, 100_000, 3_000_000])
def test_every_byte_comes_back(loop, contexts, size):
    async def main():
        client = Recorder("client")
        async with tls_link(client, echo, contexts) as (transport, _):
            transport.write(CONTENT[:size])
            await until(lambda: len(client.received) >= size)
            assert client.received == CONTENT[:size]
            assert transport.get_write_buffer_size() == 0

    loop.run_until_complete(main())


@pytest.mark.parametrize("piece", [1, 3, 7, 1000])
def test_records_arrive_in_small_pieces(loop, contexts, piece):
    async def main():
        server = echo()
        async with peer_of(loop, server, *contexts, piece=piece) as peer:
            data = CONTENT[: 500 * piece]
            await peer.write(data, b"and more", piece=piece)
            assert await peer.read(len(data) + 8) == data + b"and more"
            assert server.received == data + b"and more"

    loop.run_until_complete(main())


def test_records_that_arrive_together_are_one_call(loop, contexts):
    async def main():
        pieces = []
        server = Recorder("server", data=lambda protocol, data: pieces.append(data))
        async with peer_of(loop, server, *contexts) as peer:
            await peer.write(*[b"%d," % number for number in range(100)])
            await until(lambda: pieces)
        assert pieces == [b"".join(b"%d," % number for number in range(100))]

    loop.run_until_complete(main())


def test_messages_that_are_kept_stay_what_they_were(loop, contexts):
    """The memory of those that nobody keeps serves the next ones."""
    sizes = [16384, 16384, 16000, 16384, 13000, 5000, 16384, 4500, 16383, 12288, 700, 16384, 1] * 3

    async def main():
        kept = []

        def keep(protocol, data):
            if len(hashes) % 3 == 0:
                kept.append((len(hashes), data))
            hashes.append(hash(data))

        hashes = []
        server = Recorder("server", data=keep)
        async with peer_of(loop, server, *contexts) as peer:
            for number, size in enumerate(sizes):
                await peer.write(CONTENT[number:][:size])
                await until(lambda number=number: len(hashes) > number)
        assert hashes == [hash(CONTENT[number:][:size]) for number, size in enumerate(sizes)]
        assert len(kept) == len(sizes) / 3
        for number, data in kept:
            assert data == CONTENT[number:][: sizes[number]]

    loop.run_until_complete(main())


def test_an_incomplete_record_behind_a_complete_one_waits(loop, contexts):
    async def main():
        server = Recorder("server")
        async with peer_of(loop, server, *contexts) as peer:
            records = peer.seal(b"first", b"second")
            await peer.send(records[:-3])
            await until(lambda: server.received)
            assert server.received == b"first"
            assert server.transport.get_read_buffer_size() == 0
            await peer.send(records[-3:])
            await until(lambda: len(server.received) > 5)
            assert server.received == b"firstsecond"

    loop.run_until_complete(main())


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.integers(1, 40_000), min_size=1, max_size=8),
    st.lists(st.integers(1, 30_000), min_size=1, max_size=8),
    st.sampled_from(VERSIONS),
)
@pytest.mark.parametrize("name", sorted(FACTORIES))
@pytest.mark.timeout(60)
def test_no_cut_of_writes_and_segments_changes_the_bytes(name, writes, segments, version):
    async def main():
        server = echo()
        contexts = server_context(version=version), client_context(version)
        async with peer_of(asyncio.get_running_loop(), server, *contexts) as peer:
            data = CONTENT[: sum(writes)]
            pieces, start = [], 0
            for size in writes:
                pieces.append(data[start : start + size])
                start += size
            records, number = peer.seal(*pieces), 0

            async def send():
                nonlocal records, number
                while records:
                    size = segments[number % len(segments)]
                    await peer.send(records[:size])
                    records, number = records[size:], number + 1

            sending = asyncio.ensure_future(send())
            received = await peer.read(len(data))
            await sending
            assert received == data
            assert server.received == data

    loop = FACTORIES[name]()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


# -- writing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [bytes, bytearray, memoryview, lambda data: memoryview(array.array("I", data))],
    ids=["bytes", "bytearray", "memoryview", "memoryview of ints"],
)
@pytest.mark.parametrize("size", [4, 400, 16384, 40_000])
def test_each_kind_of_data_is_written(loop, contexts, make, size):
    async def main():
        server = Recorder("server")
        async with peer_of(loop, server, *contexts) as peer:
            server.transport.write(make(CONTENT[:size]))
            assert await peer.read(size) == CONTENT[:size]

    loop.run_until_complete(main())


def test_what_was_written_does_not_change_afterwards(loop, contexts):
    async def main():
        server = Recorder("server")
        async with peer_of(loop, server, *contexts) as peer:
            data = bytearray(b"as it was")
            server.transport.write(data)
            data[:] = b"after all"
            assert await peer.read(9) == b"as it was"

    loop.run_until_complete(main())


def test_nothing_is_sent_for_nothing(loop, contexts):
    async def main():
        server = Recorder("server")
        async with peer_of(loop, server, *contexts) as peer:
            for nothing in (b"", bytearray(), memoryview(b"")):
                assert server.transport.write(nothing) is None
            server.transport.writelines([])
            server.transport.write(b"x")
            assert await peer.read(1) == b"x"

    loop.run_until_complete(main())


@pytest.mark.parametrize("wrong", ["text", 5, None, [b"list"]])
def test_other_data_is_refused_with_asyncios_words(loop, contexts, wrong):
    async def main():
        server = Recorder("server")
        async with peer_of(loop, server, *contexts):
            kind = type(wrong).__name__
            expected = f"data: expecting a bytes-like instance, got {kind}"
            with pytest.raises(TypeError) as caught:
                server.transport.write(wrong)
            assert str(caught.value) == expected
            assert not server.transport.is_closing()

    loop.run_until_complete(main())


@pytest.mark.parametrize("lines", [[b"one", bytearray(b"two"), memoryview(b"three")], (b"x",) * 9])
def test_lines_are_written_in_order(loop, contexts, lines):
    async def main():
        server = Recorder("server")
        async with peer_of(loop, server, *contexts) as peer:
            server.transport.writelines(lines)
            server.transport.writelines(iter(lines))
            expected = b"".join(lines) * 2
            assert await peer.read(len(expected)) == expected

    loop.run_until_complete(main())


def test_a_line_of_a_wrong_type_ends_the_connection(loop, loop_reports, contexts):
    async def main():
        server = Recorder("server")
        async with peer_of(loop, server, *contexts):
            server.transport.writelines([b"good", "bad"])
            assert isinstance(await server.lost, TypeError)

    loop.run_until_complete(main())
    assert [report["message"] for report in loop_reports.take()] == [FATAL]


def test_data_that_is_not_contiguous_ends_the_connection(loop, loop_reports, contexts):
    async def main():
        server = Recorder("server")
        async with peer_of(loop, server, *contexts):
            server.transport.write(memoryview(b"123456")[::2])
            assert isinstance(await server.lost, BufferError)

    loop.run_until_complete(main())
    assert [report["message"] for report in loop_reports.take()] == [FATAL]


def test_writes_of_one_callback_on_two_connections_keep_their_order(loop, contexts):
    async def main():
        one, two = Recorder("one"), Recorder("two")
        async with (
            peer_of(loop, one, *contexts) as first,
            peer_of(loop, two, *contexts) as second,
        ):
            for number in range(20):
                one.transport.write(b"a%d" % number)
                two.transport.write(b"b%d" % number)
            expected = [b"".join(b"%c%d" % (c, i) for i in range(20)) for c in b"ab"]
            assert await first.read(len(expected[0])) == expected[0]
            assert await second.read(len(expected[1])) == expected[1]

    loop.run_until_complete(main())


# -- flow control ----------------------------------------------------------------------------------


def test_a_peer_that_does_not_read_pauses_the_writer(loop, contexts):
    async def main():
        server = Recorder("server")
        async with peer_of(loop, server, *contexts) as peer:
            total = 0
            while "pause" not in calls(server):
                server.transport.write(CONTENT[:65536])
                total += 65536
                assert total < 50_000_000
                await asyncio.sleep(0)
            assert server.transport.get_write_buffer_size() > 0
            received = await peer.read(total)
            assert received == CONTENT[:65536] * (total // 65536)
            await until(lambda: "resume" in calls(server))
            assert server.transport.get_write_buffer_size() == 0
            assert calls(server) == ["made", "pause", "resume"]

    loop.run_until_complete(main())


def test_a_limit_of_zero_pauses_at_each_write(loop, contexts):
    async def main():
        server = Recorder("server")
        async with peer_of(loop, server, *contexts) as peer:
            server.transport.set_write_buffer_limits(high=0)
            assert server.transport.get_write_buffer_limits() == (0, 0)
            server.transport.write(b"one")
            server.transport.write(b"two")
            assert await peer.read(6) == b"onetwo"
            await settle()
        return calls(server)

    # What asyncio does there is odd: it takes an empty queue for one that is too full.
    assert loop.run_until_complete(main())[:3] == ["made", "pause", "resume"]


def test_what_cannot_be_encrypted_any_more_is_counted(loop, contexts):
    """The program has ended TLS itself; what it writes then ends the connection."""

    async def main():
        server = Recorder("server")
        async with peer_of(loop, server, *contexts):
            transport = server.transport
            with contextlib.suppress(ssl.SSLWantReadError):
                transport.get_extra_info("ssl_object").unwrap()
            sizes = [transport.get_write_buffer_size()]
            transport.writelines([b"a" * 70, bytearray(30)])
            sizes.append(transport.get_write_buffer_size() - sizes[0])
            transport.write(b"more")
            sizes.append(transport.get_write_buffer_size() - sizes[0])
            lost = await server.lost
            sizes.append(transport.get_write_buffer_size())
            return sizes[1:], type(lost), lost.reason

    answer = loop.run_until_complete(main())
    assert answer == ([100, 104, 104], ssl.SSLError, "PROTOCOL_IS_SHUTDOWN")


def test_paused_reading_delivers_nothing_until_it_is_resumed(loop, contexts):
    async def main():
        server = Recorder("server")
        async with peer_of(loop, server, *contexts) as peer:
            transport = server.transport
            assert transport.is_reading()
            transport.pause_reading()
            assert not transport.is_reading()
            sending = asyncio.ensure_future(peer.write(CONTENT))
            await until(transport.get_read_buffer_size)
            await asyncio.sleep(0.05)
            assert not server.received
            assert transport.get_read_buffer_size() < 1_000_000
            transport.resume_reading()
            await until(lambda: len(server.received) == len(CONTENT))
            await sending
            assert server.received == CONTENT

    loop.run_until_complete(main())


@pytest.mark.parametrize("begun", [0, 3, 40])
def test_incomplete_records_count_from_the_pause_on(loop, contexts, begun):
    async def main():
        server = Recorder("server")
        async with peer_of(loop, server, *contexts) as peer:
            transport = server.transport
            record = peer.seal(b"x" * 100)
            await peer.send(record[:begun])
            await settle(20)
            sizes = [transport.get_read_buffer_size()]
            transport.pause_reading()
            sizes.append(transport.get_read_buffer_size())
            await peer.send(record[begun : begun + 20])
            await until(lambda: transport.get_read_buffer_size() == 20)
            await peer.send(record[begun + 20 :])
            await until(lambda: transport.get_read_buffer_size() == len(record) - begun)
            transport.resume_reading()
            await until(lambda: server.received)
            sizes.append(transport.get_read_buffer_size())
            assert server.received == b"x" * 100
            return sizes

    assert loop.run_until_complete(main()) == [0, 0, 0]


def test_an_incomplete_record_alone_can_stop_the_transport(loop, contexts):
    async def main():
        server = Recorder("server")
        async with peer_of(loop, server, *contexts) as peer:
            transport = server.transport
            transport.set_read_buffer_limits(high=10, low=5)
            transport.pause_reading()
            record = peer.seal(b"x" * 1000)
            await peer.send(record[:50])
            await until(lambda: transport.get_read_buffer_size() == 50)
            await peer.send(record[50:])
            await asyncio.sleep(0.05)
            assert transport.get_read_buffer_size() == 50
            transport.resume_reading()
            await until(lambda: len(server.received) == 1000)

    loop.run_until_complete(main())


def test_reading_is_paused_and_resumed_by_the_data_itself(loop, contexts):
    def pause(protocol, data):
        protocol.transport.pause_reading()
        loop.call_later(0.001, protocol.transport.resume_reading)

    async def main():
        server = Recorder("server", data=pause)
        async with peer_of(loop, server, *contexts) as peer:
            sending = asyncio.ensure_future(peer.write(CONTENT[:500_000]))
            await until(lambda: len(server.received) == 500_000)
            await sending
            assert server.received == CONTENT[:500_000]

    loop.run_until_complete(main())


def test_read_buffer_limits_are_kept(loop, contexts):
    async def main():
        server = Recorder("server")
        async with peer_of(loop, server, *contexts) as peer:
            transport = server.transport
            transport.pause_reading()
            transport.set_read_buffer_limits(high=1000, low=10)
            assert transport.get_read_buffer_limits() == (10, 1000)
            sending = asyncio.ensure_future(peer.write(CONTENT[:300_000]))
            await until(lambda: transport.get_read_buffer_size() >= 1000)
            transport.resume_reading()
            await until(lambda: len(server.received) == 300_000)
            await sending
            assert server.received == CONTENT[:300_000]

    loop.run_until_complete(main())


# -- protocols -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 100, 4096, 70_000])
def test_a_buffered_protocol_gets_every_byte(loop, contexts, size):
    async def main():
        server = Buffered("server")
        server.size = size
        total = 3000 if size == 1 else 200_000
        async with peer_of(loop, server, *contexts) as peer:
            sending = asyncio.ensure_future(peer.write(CONTENT[:total]))
            await until(lambda: len(server.received) == total)
            await sending
            assert server.received == CONTENT[:total]

    loop.run_until_complete(main())


@pytest.mark.parametrize("buffer", [b"read only", None, 5], ids=["bytes", "None", "int"])
def test_a_buffer_that_cannot_be_filled(loop, loop_reports, contexts, buffer):
    class Answers(Buffered):
        is_ready = False

        def get_buffer(self, sizehint):
            return buffer if self.is_ready else super().get_buffer(sizehint)

    async def main():
        server = Answers("server")
        async with peer_of(loop, server, *contexts) as peer:
            server.is_ready = True
            with contextlib.suppress(OSError):
                await peer.write(b"abc")
            return await server.lost

    error = loop.run_until_complete(main())
    loop_reports.take()
    assert isinstance(error, TypeError)
    if buffer == b"read only":
        words = "read() argument 2 must be read-write bytes-like object, not bytes"
        assert str(error) == words


def test_a_protocol_may_be_exchanged_while_it_receives(loop, contexts):
    async def main():
        final = Buffered("final")
        final.transport = True
        second = Recorder("second", data=lambda _, data: first.transport.set_protocol(final))
        first = Recorder("first", data=lambda self, data: self.transport.set_protocol(second))
        async with peer_of(loop, first, *contexts) as peer:
            await peer.write(b"1")
            await until(lambda: first.received)
            assert first.transport.get_protocol() is second
            await peer.write(b"2")
            await until(lambda: second.received)
            await peer.write(b"3")
            await until(lambda: final.received)
            first.transport.set_protocol(first)
        assert (first.received, second.received, final.received) == (b"1", b"2", b"3")

    loop.run_until_complete(main())


def test_closing_before_all_is_read_leaves_nothing_to_send(loop, contexts):
    """The message of the end is sent although the data behind makes it an error."""
    left = []

    class Closes(Buffered):
        def get_buffer(self, sizehint):
            return bytearray(64 if self.transport.is_closing() else 1000)

        def buffer_updated(self, nbytes):
            tls = self.transport._ssl_protocol
            self.transport.close()
            loop.call_soon(lambda: left.append(tls._outgoing.pending))

    async def main():
        server = Closes("server")
        async with peer_of(loop, server, *contexts) as peer:
            with contextlib.suppress(OSError, ssl.SSLError):
                await peer.write(CONTENT[:400_000])
            await server.lost

    loop.run_until_complete(main())
    assert left and not any(left)


@pytest.mark.parametrize("call", ["data", "get_buffer", "eof"])
def test_a_protocol_that_raises_loses_the_connection(loop, loop_reports, contexts, call):
    error = ZeroDivisionError("in the protocol")

    def fail(*_):
        raise error

    async def main():
        kind = Buffered if call == "get_buffer" else Recorder
        server = kind("server", **{call: fail})
        # get_buffer() is called as soon as there is a connection, maybe before the peer has one.
        with contextlib.suppress(EOFError, ConnectionError):
            async with peer_of(loop, server, *contexts) as peer:
                await peer.write(b"data")
                await peer.send(peer.seal_end())
                await server.lost
        assert await server.lost is error

    loop.run_until_complete(main())
    expected = "Error calling eof_received()" if call == "eof" else FATAL
    assert [report["message"] for report in loop_reports.take()] == [expected]


def test_what_is_no_exception_leaves_the_protocol_as_on_asyncio(loop, loop_reports, contexts):
    def fail(*_):
        raise asyncio.CancelledError

    async def main():
        server = Recorder("server", data=fail)
        async with peer_of(loop, server, *contexts) as peer:
            await peer.write(b"data")
            assert isinstance(await server.lost, asyncio.CancelledError)

    loop.run_until_complete(main())
    messages = [report["message"] for report in loop_reports.take()]
    assert messages == ["Fatal error: protocol.buffer_updated() call failed."]


@pytest.mark.parametrize("leaving", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_the_protocol_leaves_the_loop(loop, contexts, leaving):
    def leave(*_):
        raise leaving

    async def main():
        async with peer_of(loop, server, *contexts) as peer:
            await peer.write(b"data")
            await asyncio.sleep(5)

    async def with_protocol():
        nonlocal server
        server = Recorder("server", data=leave)
        await main()

    server = None
    task = loop.create_task(with_protocol())
    with pytest.raises(leaving):
        loop.run_until_complete(task)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)


# -- endings ---------------------------------------------------------------------------------------


def test_data_and_close_notify_in_one_segment(loop, contexts):
    async def main():
        server = Recorder("server")
        async with peer_of(loop, server, *contexts) as peer:
            await peer.send(peer.seal(b"last", b"words") + peer.seal_end())
            assert await server.lost is None
            assert server.received == b"lastwords"
            assert calls(server) == ["made", "data", "eof", "lost"]
            assert (await peer.read_end())[0] == "closed"

    loop.run_until_complete(main())


def test_what_is_written_at_the_end_of_the_stream_is_sent(loop, contexts):
    async def main():
        server = Recorder("server", eof=lambda self: self.transport.write(b"good bye"))
        async with peer_of(loop, server, *contexts) as peer:
            await peer.send(peer.seal_end())
            return await peer.read_end(), await server.lost, calls(server)

    end, lost, names = loop.run_until_complete(main())
    assert end[0] == "closed"
    assert lost is None
    assert names == ["made", "eof", "lost"]


def test_a_stream_cut_between_records(loop, contexts):
    async def main():
        server = Recorder("server")
        async with peer_of(loop, server, *contexts) as peer:
            await peer.write(b"data")
            peer.sock.shutdown(socket.SHUT_WR)
            lost = await server.lost
            assert server.received == b"data"
            return lost, calls(server)

    lost, names = loop.run_until_complete(main())
    assert lost is None
    assert names == ["made", "data", "eof", "lost"] or names == ["made", "data", "lost"]


def test_a_stream_cut_inside_a_record(loop, contexts):
    async def main():
        server = Recorder("server")
        async with peer_of(loop, server, *contexts) as peer:
            await peer.send(peer.seal(b"whole", b"half")[:-5])
            peer.sock.shutdown(socket.SHUT_WR)
            await server.lost
            assert server.received == b"whole"

    loop.run_until_complete(main())


def test_a_reset_reaches_the_protocol(loop, contexts):
    async def main():
        server = Recorder("server")
        async with peer_of(loop, server, *contexts) as peer:
            peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            peer.sock.close()
            assert isinstance(await server.lost, ConnectionResetError)

    loop.run_until_complete(main())


@pytest.mark.parametrize("with_data", [False, True])
def test_a_damaged_record_ends_the_connection(loop, contexts, with_data):
    async def main():
        server = Recorder("server")
        async with peer_of(loop, server, *contexts) as peer:
            records = bytearray(peer.seal(*[b"good"] * with_data, b"to be damaged"))
            records[-1] ^= 1
            await peer.send(bytes(records))
            assert isinstance(await server.lost, ssl.SSLError)
            return bytes(server.received)

    # Together with a damaged one, good records are lost on asyncio as well.
    assert loop.run_until_complete(main()) == b""


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\x17\x03\x03\xff\xff", b"\0" * 9])
def test_what_is_no_record_ends_the_connection(loop, contexts, garbage):
    async def main():
        server = Recorder("server")
        async with peer_of(loop, server, *contexts) as peer:
            await peer.write(b"data")
            await until(lambda: server.received)
            await peer.send(garbage)
            assert isinstance(await server.lost, ssl.SSLError)
            assert server.received == b"data"

    loop.run_until_complete(main())


def test_close_sends_what_was_written_and_says_so(loop, contexts):
    async def main():
        server = Recorder("server")
        async with peer_of(loop, server, *contexts) as peer:
            server.transport.write(CONTENT[:200_000])
            server.transport.close()
            server.transport.write(b"too late")
            assert server.transport.is_closing()
            assert await peer.read_end() == ("closed", CONTENT[:200_000])
            await peer.send(peer.seal_end())
            assert await server.lost is None

    loop.run_until_complete(main())


@pytest.mark.parametrize("how", ["close", "abort"])
def test_the_end_may_come_while_data_is_received(loop, contexts, how):
    def end(protocol, data):
        protocol.transport.write(b"answer")
        getattr(protocol.transport, how)()

    async def main():
        server = Recorder("server", data=end)
        async with peer_of(loop, server, *contexts) as peer:
            await peer.write(b"question")
            ending, data = await peer.read_end()
            assert data == b"answer"
            assert ending == ("closed" if how == "close" else "cut")
            peer.close()
            await server.lost

    loop.run_until_complete(main())


def test_writing_on_after_the_end_warns(loop, contexts, caplog):
    async def main():
        server = Recorder("server")
        async with peer_of(loop, server, *contexts):
            transport = server.transport
            transport.abort()
            await server.lost
            for _ in range(8):
                transport.write(b"nobody hears it")
                transport.writelines([b"nor", b"this"])

    loop.run_until_complete(main())
    assert {record.getMessage() for record in caplog.records} == {"SSL connection is closed"}


def test_half_close_is_refused(loop, contexts):
    async def main():
        server = Recorder("server")
        async with peer_of(loop, server, *contexts):
            assert not server.transport.can_write_eof()
            with pytest.raises(NotImplementedError):
                server.transport.write_eof()

    loop.run_until_complete(main())


def test_a_peer_that_never_says_goodbye_is_cut_off(loop, contexts):
    async def main():
        server = Recorder("server")
        async with peer_of(loop, server, *contexts, ssl_shutdown_timeout=0.05):
            server.transport.close()
            return await server.lost

    lost = loop.run_until_complete(main())
    assert isinstance(lost, TimeoutError)
    assert str(lost) == "SSL shutdown timed out"


def test_waiting_for_the_end_can_be_cancelled(loop, contexts):
    async def main():
        async with peer_of(loop, server := Recorder("server"), *contexts):
            reader = asyncio.StreamReader(loop=loop)
            protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
            server.transport.set_protocol(protocol)
            protocol._replace_transport = None
            server.transport.close()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await asyncio.shield(server.lost)
            assert server.transport.is_closing()
            server.transport.set_protocol(server)

    loop.run_until_complete(main())


def test_an_unclosed_transport_warns_when_it_dies(loop, contexts):
    async def main():
        server = Recorder("server")
        async with peer_of(loop, server, *contexts):
            transport = server.transport
            ssl_protocol = transport._ssl_protocol
            stand_in = type(transport)(loop, ssl_protocol)
            with pytest.warns(ResourceWarning, match="unclosed transport <asyncio._SSLProtocol"):
                del stand_in

    loop.run_until_complete(main())


# -- handshakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("old", "certificate has expired"),
        ("alone", "self-signed certificate"),
        ("elsewhere", "IP address mismatch"),
    ],
)
def test_a_bad_certificate_is_refused(loop, version, name, reason):
    async def main():
        server = Recorder("server")
        contexts = server_context(name, version), client_context(version)
        with pytest.raises(ssl.SSLCertVerificationError) as caught:
            async with tls_link(Recorder("client"), lambda: server, contexts):
                pass
        assert reason in caught.value.verify_message
        await settle(20)

    loop.run_until_complete(main())


def test_a_certificate_of_the_client_is_asked_for(loop, contexts):
    contexts[0].verify_mode = ssl.CERT_REQUIRED
    contexts[0].load_verify_locations(certificate_file("authority"))
    key = certificate_file("good").removesuffix("pem") + "key"
    contexts[1].load_cert_chain(certificate_file("good"), key)

    async def main():
        client = Recorder("client")
        async with tls_link(client, echo, contexts) as (transport, made):
            transport.write(b"hello")
            await until(lambda: client.received)
            peer = made[0].transport.get_extra_info("peercert")
            assert peer["subject"] == ((("commonName", "good"),),)

    loop.run_until_complete(main())


def test_a_missing_certificate_of_the_client_is_refused(loop, version, contexts):
    contexts[0].verify_mode = ssl.CERT_REQUIRED
    contexts[0].load_verify_locations(certificate_file("authority"))

    async def main():
        client = Recorder("client")
        server = Recorder("server")
        if version == "1.2":
            with pytest.raises((ssl.SSLError, ConnectionError)):
                async with tls_link(client, lambda: server, contexts):
                    pass
            return
        # With 1.3 the client believes to be connected until it hears of it.
        listener = await loop.create_server(lambda: server, "127.0.0.1", 0, ssl=contexts[0])
        port = listener.sockets[0].getsockname()[1]
        await loop.create_connection(lambda: client, "127.0.0.1", port, ssl=contexts[1])
        await client.lost
        assert not server.log
        listener.close()

    loop.run_until_complete(main())


def test_a_server_name_chooses_the_certificate(loop, contexts):
    names = []
    other = server_context("elsewhere")

    def choose(ssl_object, name, context):
        names.append(name)
        ssl_object.context = other

    contexts[0].sni_callback = choose

    async def main():
        client = Recorder("client")
        options = {"client_server_hostname": "elsewhere.example"}
        async with tls_link(client, echo, contexts, **options) as (transport, _):
            certificate = transport.get_extra_info("peercert")
            assert certificate["subject"] == ((("commonName", "elsewhere"),),)
            transport.write(b"hello")
            await until(lambda: client.received == b"hello")

    loop.run_until_complete(main())
    assert names == ["elsewhere.example"]


def test_a_protocol_is_agreed_on(loop, contexts):
    contexts[0].set_alpn_protocols(["h2", "http/1.1"])
    contexts[1].set_alpn_protocols(["http/1.1"])

    async def main():
        client = Recorder("client")
        async with tls_link(client, echo, contexts) as (transport, made):
            for end in (transport, made[0].transport):
                chosen = end.get_extra_info("ssl_object").selected_alpn_protocol()
                assert chosen == "http/1.1"

    loop.run_until_complete(main())


def test_a_session_is_taken_up_again(loop, contexts):
    async def main():
        async with peer_of(loop, echo(), *contexts) as peer:
            await peer.write(b"x")
            assert await peer.read(1) == b"x"  # with it the tickets of 1.3 have come
            session = peer.tls.session
        async with peer_of(loop, echo(), *contexts, session=session) as peer:
            await peer.write(b"y")
            assert await peer.read(1) == b"y"
            assert peer.tls.session_reused

    loop.run_until_complete(main())


@pytest.mark.parametrize("number", [0, 1, 8])
def test_tickets_after_the_handshake_are_no_data(loop, number):
    contexts = server_context(version="1.3"), client_context("1.3")
    contexts[0].num_tickets = number

    async def main():
        client = Recorder("client")
        async with tls_link(client, echo, contexts) as (transport, _):
            for data in (b"one", b"two", b"three"):
                transport.write(data)
                await until(lambda data=data: client.received.endswith(data))
            assert client.received == b"onetwothree"
            assert calls(client) == ["made", "data"]

    loop.run_until_complete(main())


@pytest.mark.parametrize(
    ("wanted", "command", "answer"), [("1.3", "K", b"KEYUPDATE"), ("1.2", "R", b"RENEGOTIATING")]
)
@pytest.mark.timeout(30)
def test_new_keys_in_the_middle_of_the_stream(loop, wanted, command, answer):
    """The openssl program asks for them: key update with 1.3, renegotiation with 1.2."""
    context = server_context(version=wanted)
    context.options |= 1 << 8  # SSL_OP_ALLOW_CLIENT_RENEGOTIATION

    async def main():
        server = echo()
        listener = await loop.create_server(lambda: server, "127.0.0.1", 0, ssl=context)
        port = listener.sockets[0].getsockname()[1]
        flag = "-tls" + wanted.replace(".", "_")
        with (
            tempfile.TemporaryFile() as output,
            subprocess.Popen(
                ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", flag],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
            ) as client,
        ):

            async def say(line, answered):
                client.stdin.write(line + b"\n")
                client.stdin.flush()

                def is_answered():
                    output.seek(0)
                    return answered in output.read()

                await until(is_answered, 10)

            await say(b"before", b"before\n")
            await say(command.encode(), answer)
            await say(b"after", b"after\n")
            client.stdin.write(b"Q\n")
            client.stdin.close()
            await asyncio.wait_for(server.lost, 10)
            client.wait(10)
        assert server.received == b"before\nafter\n"
        listener.close()

    loop.run_until_complete(main())


def test_a_server_that_says_nothing_is_given_up(loop):
    async def main():
        with socket.create_server(("127.0.0.1", 0)) as silent:
            with pytest.raises(ConnectionAbortedError) as caught:
                await loop.create_connection(
                    lambda: Recorder("client"),
                    *silent.getsockname(),
                    ssl=client_context(),
                    ssl_handshake_timeout=0.05,
                )
            return str(caught.value)

    message = loop.run_until_complete(main())
    assert message == "SSL handshake is taking longer than 0.05 seconds: aborting the connection"


def test_a_client_that_says_nothing_is_cut_off(loop):
    async def main():
        options = {"ssl": server_context(), "ssl_handshake_timeout": 0.05}
        listener = await loop.create_server(echo, "127.0.0.1", 0, **options)
        with socket.socket() as silent:
            silent.setblocking(False)
            await loop.sock_connect(silent, listener.sockets[0].getsockname())
            assert await loop.sock_recv(silent, 1) == b""
        listener.close()
        await settle()

    loop.run_until_complete(main())


@pytest.mark.parametrize("moment", [0, 1, 2, 3, 5, 8])
def test_a_handshake_can_be_cancelled(loop, contexts, moment):
    async def main():
        server = Recorder("server")
        listener = await loop.create_server(lambda: server, "127.0.0.1", 0, ssl=contexts[0])
        client = Recorder("client")
        connecting = loop.create_task(
            loop.create_connection(
                lambda: client, *listener.sockets[0].getsockname(), ssl=contexts[1]
            )
        )
        await settle(moment)
        connecting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            transport, _ = await connecting
            transport.abort()
            await client.lost
        await settle(20)
        listener.close()
        # Handshakes of the server are tasks, which end when they hear that the client has gone.
        await until(lambda: len(asyncio.all_tasks()) == 1)
        if server.transport is not None:
            server.transport.abort()
            await server.lost

    loop.run_until_complete(main())


@pytest.mark.parametrize("option", ["ssl_handshake_timeout", "ssl_shutdown_timeout"])
@pytest.mark.parametrize("seconds", [0, -1])
def test_time_limits_must_be_positive(loop, option, seconds):
    async def main():
        near, far = socket.socketpair()
        with near, far:
            near.setblocking(False)
            with pytest.raises(ValueError) as caught:
                await loop.create_connection(
                    lambda: Recorder("client"),
                    sock=near,
                    ssl=client_context(),
                    server_hostname="localhost",
                    **{option: seconds},
                )
            return str(caught.value)

    message = loop.run_until_complete(main())
    assert message == f"{option} should be a positive number, got {seconds}"


def test_plain_text_for_a_tls_server_is_refused(loop):
    async def main():
        listener = await loop.create_server(echo, "127.0.0.1", 0, ssl=server_context())
        with socket.socket() as plain:
            plain.setblocking(False)
            await loop.sock_connect(plain, listener.sockets[0].getsockname())
            await loop.sock_sendall(plain, b"GET / HTTP/1.1\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                while await loop.sock_recv(plain, 100):
                    pass
        listener.close()
        await settle()

    loop.run_until_complete(main())


# -- start_tls -------------------------------------------------------------------------------------


def streams_pair(loop):
    """A reader and writer at each end of a plain connection."""

    async def make():
        accepted = loop.create_future()

        async def on_connect(reader, writer):
            accepted.set_result((reader, writer))

        server = await asyncio.start_server(on_connect, "127.0.0.1", 0)
        client = await asyncio.open_connection(*server.sockets[0].getsockname())
        pair = client, await accepted
        server.close()
        return pair

    return make()


def test_streams_upgrade(loop, contexts):
    async def main():
        (reader, writer), (server_reader, server_writer) = await streams_pair(loop)
        writer.write(b"STARTTLS\n")
        assert await server_reader.readline() == b"STARTTLS\n"
        await asyncio.gather(
            writer.start_tls(contexts[1], server_hostname="localhost"),
            server_writer.start_tls(contexts[0]),
        )
        assert (
            writer.get_extra_info("ssl_object").version()
            == server_writer.get_extra_info("ssl_object").version()
        )
        writer.write(CONTENT[:300_000])
        assert await server_reader.readexactly(300_000) == CONTENT[:300_000]
        server_writer.write(b"answer\n")
        assert await reader.readline() == b"answer\n"
        for end in (writer, server_writer):
            end.close()
        for end in (writer, server_writer):
            await end.wait_closed()

    loop.run_until_complete(main())


# Versions of asyncio differ in what start_tls() does with what a StreamReader holds.
MOVES_EARLY_BYTES = "_incoming.write" in inspect.getsource(asyncio.BaseEventLoop.start_tls)


def test_bytes_that_came_before_start_tls_are_the_handshakes(loop, contexts):
    async def main():
        server = await asyncio.start_server(on_connect, "127.0.0.1", 0)
        with socket.socket() as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, server.sockets[0].getsockname())
            peer = Peer(sock, contexts[1])
            with contextlib.suppress(ssl.SSLWantReadError):
                peer.tls.do_handshake()
            await peer.send(b"STARTTLS\n" + peer.outgoing.read())
            try:
                await peer.handshake()
                await peer.write(b"secret\n")
                assert await peer.read(7) == b"SECRET\n"
                result = True
            except (EOFError, ConnectionError, ssl.SSLError):
                result = False
        await done
        server.close()
        return result

    async def on_connect(reader, writer):
        assert await reader.readline() == b"STARTTLS\n"
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.start_tls(contexts[0], ssl_handshake_timeout=0.3)
            writer.write((await reader.readline()).upper())
            await reader.read()
        writer.transport.abort()
        await settle()
        done.set_result(None)

    done = loop.create_future()
    assert loop.run_until_complete(main()) is MOVES_EARLY_BYTES


@pytest.mark.skipif(
    sys.version_info < (3, 11, 4), reason="needs Python 3.11.4: abort() of a closed transport"
)
def test_tls_in_tls(loop, contexts):
    async def upgrade(transport, protocol, context, **options):
        inner = await loop.start_tls(transport, protocol, context, **options)
        protocol.transport = inner
        return inner

    async def main():
        client, server = Recorder("client"), echo()
        async with tls_link(client, lambda: server, contexts) as (transport, _):
            inner, _ = await asyncio.gather(
                upgrade(transport, client, client_context(), server_hostname="localhost"),
                upgrade(server.transport, server, server_context(), server_side=True),
            )
            sizes = (1, 16384, 500_000)
            for size in sizes:
                del client.received[:]
                inner.write(CONTENT[:size])
                await until(lambda size=size: len(client.received) >= size)
                assert client.received == CONTENT[:size]
            assert inner.get_extra_info("ssl_object") is not transport.get_extra_info("ssl_object")
            inner.close()
            assert await client.lost is None
            await server.lost
            transport.abort()

    loop.run_until_complete(main())


def test_start_tls_refuses_what_asyncio_refuses(loop, contexts):
    async def main():
        client = Recorder("client")
        async with link(client, lambda: Recorder("server")) as (transport, _):
            with pytest.raises(TypeError) as caught:
                await loop.start_tls(transport, client, None)
            yield_message = str(caught.value)
            with pytest.raises(TypeError) as caught:
                await loop.start_tls(object(), client, contexts[1])
            return yield_message, str(caught.value)

    context, transport = loop.run_until_complete(main())
    assert context == "sslcontext is expected to be an instance of ssl.SSLContext, got None"
    assert transport.endswith("is not supported by start_tls()")


def test_start_tls_has_asyncios_signature(loop_factory):
    kind = type(new := loop_factory())
    new.close()
    stock = asyncio.BaseEventLoop.start_tls
    assert inspect.signature(kind.start_tls) == inspect.signature(stock)
    assert inspect.iscoroutinefunction(kind.start_tls)
    assert kind.start_tls.__qualname__ == stock.__qualname__
    assert kind.start_tls.__doc__ == stock.__doc__


# -- what programs ask of a transport --------------------------------------------------------------


def test_extra_information(loop, contexts):
    async def main():
        client = Recorder("client")
        async with tls_link(client, echo, contexts) as (transport, _):
            info = transport.get_extra_info
            assert info("sslcontext") is contexts[1]
            assert info("ssl_object").version() == "TLSv" + str(
                contexts[1].maximum_version.name
            ).removeprefix("TLSv").replace("_", ".")
            assert info("cipher") == info("ssl_object").cipher()
            assert info("compression") is None
            assert ("DNS", "localhost") in info("peercert")["subjectAltName"]
            assert info("peername")[0] == info("sockname")[0] == "127.0.0.1"
            assert info("socket").type == socket.SOCK_STREAM
            assert info("nothing like that", "default") == "default"

    loop.run_until_complete(main())


def test_the_transport_is_asyncios(loop, contexts):
    async def main():
        client = Recorder("client")
        async with tls_link(client, echo, contexts) as (transport, _):
            assert isinstance(transport, asyncio.Transport)
            assert isinstance(transport, asyncio.sslproto._SSLProtocolTransport)
            assert isinstance(transport._ssl_protocol, asyncio.sslproto.SSLProtocol)
            assert isinstance(transport._ssl_protocol, asyncio.BufferedProtocol)
            assert type(transport).__name__ == "_SSLProtocolTransport"
            assert transport._ssl_protocol._sslcontext is contexts[1]
            assert transport._ssl_protocol._app_protocol is client
            assert transport._loop is loop
            transport.note = "instances take attributes"
            assert transport.note == "instances take attributes"

    loop.run_until_complete(main())


@pytest.mark.only_hotloop("asyncio has one way to read")
def test_usual_connections_are_read_in_c(loop, contexts):
    async def main():
        client = Recorder("client")
        async with tls_link(client, echo, contexts) as (transport, made):
            for end in (transport, made[0].transport):
                assert end._ssl_protocol._try_read() is True
                transport.write(b"x")
                await until(lambda: client.received)
                assert not end._ssl_protocol._has_unread
                assert not end._ssl_protocol._ssl_buffer
                assert not end._ssl_protocol.__dict__

    loop.run_until_complete(main())


class Shouting(ssl.SSLObject):
    """An SSLObject that does something of its own."""

    def read(self, len=1024, buffer=None):
        if buffer is not None:
            return super().read(len, buffer)
        return super().read(len).upper()

    def write(self, data):
        return super().write(bytes(data).replace(b"A", b"4"))


def test_an_ssl_object_of_ones_own_is_used(loop, contexts):
    contexts[0].sslobject_class = Shouting

    async def main():
        async with peer_of(loop, echo(), *contexts) as peer:
            await peer.write(b"banana")
            assert await peer.read(6) == b"B4N4N4"

    loop.run_until_complete(main())


def test_replaced_methods_of_ssl_object_are_called(loop, contexts, monkeypatch):
    read = ssl.SSLObject.read
    seen = []

    def spy(self, *arguments):
        seen.append(arguments)
        return read(self, *arguments)

    monkeypatch.setattr(ssl.SSLObject, "read", spy)

    async def main():
        server = echo()
        async with peer_of(loop, server, *contexts) as peer:
            seen.clear()
            await peer.write(b"x")
            await until(lambda: server.received)
            assert seen

    loop.run_until_complete(main())


@known_difference("Sockets")
def test_a_buffer_that_is_no_view_is_filled_with_all_records(loop, loop_factory, contexts):
    """Over TLS, a `BufferedProtocol` may return any writable buffer from `get_buffer()`. asyncio
    fills a `bytearray` with the first record only and loses the records that came with it; a
    `memoryview` is right on both."""

    async def main():
        server = BufferedRecorder("server")
        async with peer_of(loop, server, *contexts) as peer:
            await peer.write(b"first", b"second")
            await until(lambda: len(server.received) >= 11)
            return bytes(server.received)

    is_asyncio = loop_factory is asyncio.SelectorEventLoop
    expected = b"first" + bytes(6) if is_asyncio else b"firstsecond"
    assert loop.run_until_complete(main()) == expected


@known_difference("Sockets")
def test_methods_replaced_later_are_not_called(loop, loop_factory, contexts, monkeypatch):
    """Whether `ssl.SSLObject.read` and `write` were replaced is looked at when a TLS connection is
    made; asyncio calls what the class has at each message."""
    read = ssl.SSLObject.read
    seen = []

    def spy(self, *arguments):
        seen.append(arguments)
        return read(self, *arguments)

    async def main():
        server = echo()
        async with peer_of(loop, server, *contexts) as peer:
            monkeypatch.setattr(ssl.SSLObject, "read", spy)
            await peer.write(b"x")
            await until(lambda: server.received)

    loop.run_until_complete(main())
    assert bool(seen) is (loop_factory is asyncio.SelectorEventLoop)


@pytest.mark.parametrize("option", ["OP_NO_TICKET", "OP_CIPHER_SERVER_PREFERENCE", "OP_ALL"])
def test_options_of_the_context_are_kept(loop, contexts, option):
    for context in contexts:
        context.options |= getattr(ssl, option)

    async def main():
        client = Recorder("client")
        async with tls_link(client, echo, contexts) as (transport, _):
            assert transport.get_extra_info("ssl_object").context.options & getattr(ssl, option)
            transport.write(CONTENT[:50_000])
            await until(lambda: len(client.received) == 50_000)
            assert client.received == CONTENT[:50_000]

    loop.run_until_complete(main())


def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


@pytest.mark.only_hotloop("asyncio keeps a buffer of 256 KiB for each connection")
@pytest.mark.timeout(60)
def test_idle_connections_need_little_memory(loop, version):
    contexts = server_context(version=version), client_context(version)

    async def main():
        made = []

        def accept():
            made.append(Recorder("server"))
            return made[-1]

        listener = await loop.create_server(accept, "127.0.0.1", 0, ssl=contexts[0], backlog=600)
        address = listener.sockets[0].getsockname()

        async def connect():
            client = Recorder("client")
            await loop.create_connection(lambda: client, *address, ssl=contexts[1])
            return client

        clients = [await connect() for _ in range(20)]
        gc.collect()
        before = resident_bytes()
        clients += [await connect() for _ in range(500)]
        await until(lambda: len(made) == 520 and all(end.transport for end in made), 20)
        gc.collect()
        grown = (resident_bytes() - before) / 1000
        for end in clients + made:
            end.transport.abort()
            await end.lost
        listener.close()
        return grown

    assert loop.run_until_complete(main()) < 100_000  # of which OpenSSL has most


def test_a_connection_that_fails_in_the_handshake_leaves_nothing(loop, version):
    contexts = server_context("old", version), client_context(version)

    async def main():
        listener = await loop.create_server(echo, "127.0.0.1", 0, ssl=contexts[0])
        for _ in range(10):
            with pytest.raises(ssl.SSLCertVerificationError):
                await loop.create_connection(
                    lambda: Recorder("client"), *listener.sockets[0].getsockname(), ssl=contexts[1]
                )
        listener.close()
        await settle(20)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loop.run_until_complete(main())
    assert sys.exc_info() == (None, None, None)


def test_the_end_of_a_run_ends_a_handshake():
    """What accepts is a task, as on asyncio: asyncio.run() cancels it, and that is what closes."""

    async def main():
        loop = asyncio.get_running_loop()
        made = loop.create_future()

        def make():
            made.set_result(None)
            return asyncio.Protocol()

        server = await loop.create_server(make, "127.0.0.1", 0, ssl=server_context())
        client = socket.create_connection(server.sockets[0].getsockname(), timeout=5)
        await made
        server.close()
        return client

    seen = {}
    for name, factory in FACTORIES.items():
        with asyncio.Runner(loop_factory=factory) as runner:
            client = runner.run(main())
        with client:
            seen[name] = outcome_of(client.recv, 1)
    assert seen["hotloop"] == seen["asyncio"] == ("returned", b"")
