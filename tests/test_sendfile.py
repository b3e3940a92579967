"""loop.sock_sendfile() and loop.sendfile(): what arrives, what is returned, where the file stands.

Both send by the kernel where it can do so and otherwise by reading and sending; which of the two
it is shows in nothing but `fallback=False`, which refuses the second.
"""

import asyncio
import contextlib
import errno
import io
import os
import random
import socket
import ssl
import tempfile

import pytest
from support.differential import assert_same_on_both, outcome_of, outcome_on, run_briefly
from support.known_differences import known_difference
from support.sockets import nonblocking_pair

CONTENT = random.Random(7).randbytes(300_000)


@pytest.fixture
def file():
    with tempfile.TemporaryFile() as opened:
        opened.write(CONTENT)
        opened.seek(0)
        yield opened


async def read_all(loop, sock):
    received = bytearray()
    while data := await loop.sock_recv(sock, 65536):
        received += data
    return bytes(received)


def sent_and_received(loop, pair, *arguments, **options):
    """Send by sock_sendfile(); return what it returned and what the other end got."""
    near, far = pair

    async def main():
        reader = asyncio.create_task(read_all(loop, far))
        count = await loop.sock_sendfile(near, *arguments, **options)
        near.shutdown(socket.SHUT_WR)
        return count, await reader

    return loop.run_until_complete(main())


# -- arguments and results -------------------------------------------------------------------------


class NoNumber(io.BytesIO):
    """A file in memory: it has no descriptor."""


class OddFile:
    """A file whose methods answer what the test says."""

    def __init__(self, **answers):
        self.answers = answers

    def __getattr__(self, name):
        if name in self.__dict__["answers"]:
            return self.__dict__["answers"][name]
        raise AttributeError(name)


class Subclass(socket.socket):
    """A socket that is not exactly of socket.socket."""


def raises(error):
    def method(*_):
        raise error

    return method


async def attempt(text, loop, names):
    near, far = names["near"], names["far"]
    reader = asyncio.ensure_future(read_all(loop, far))
    try:
        return await eval(text, {"loop": loop, **names})
    finally:
        names["sub"].close()
        near.close()
        names["received"] = await reader


def sent_by_call(loop, text, debug):
    """Await the call of that text; what it ended with, what arrived, where the file stands."""
    loop.set_debug(debug)
    near, far = nonblocking_pair()
    blocking = socket.socket()
    datagrams = socket.socket(type=socket.SOCK_DGRAM)
    datagrams.setblocking(False)
    closed = socket.socket()
    closed.setblocking(False)
    closed.close()
    unconnected = socket.socket()
    unconnected.setblocking(False)
    sub = Subclass(fileno=os.dup(near.fileno()))
    sub.setblocking(False)
    pipe_end, other_end = os.pipe()
    os.write(other_end, b"through a pipe")
    os.close(other_end)
    with contextlib.ExitStack() as stack:
        for thing in (near, far, blocking, datagrams, unconnected, sub):
            stack.enter_context(thing)
        file = stack.enter_context(tempfile.TemporaryFile())
        file.write(CONTENT)
        file.seek(5)
        empty = stack.enter_context(tempfile.TemporaryFile())
        names = {
            "near": near,
            "far": far,
            "blocking": blocking,
            "datagrams": datagrams,
            "closed": closed,
            "unconnected": unconnected,
            "sub": sub,
            "file": file,
            "empty": empty,
            "text_file": stack.enter_context(tempfile.TemporaryFile("w+")),
            "memory": NoNumber(CONTENT),
            "pipe": stack.enter_context(open(pipe_end, "rb", 0)),
            "OddFile": OddFile,
            "raises": raises,
            "OSError": OSError,
            "size": len(CONTENT),
        }
        ended = outcome_of(loop.run_until_complete, attempt(text, loop, names))
        received = names["received"]
        loop.run_until_complete(loop.shutdown_default_executor())
        return ended, len(received), hash(received), file.tell(), names["memory"].tell()


CALLS = [
    "loop.sock_sendfile()",
    "loop.sock_sendfile(near)",
    "loop.sock_sendfile(near, file)",
    "loop.sock_sendfile(sock=near, file=file, offset=3, count=4, fallback=False)",
    "loop.sock_sendfile(near, file, 0, None, True)",
    "loop.sock_sendfile(near, file, 100)",
    "loop.sock_sendfile(near, file, 100, 1000)",
    "loop.sock_sendfile(near, file, size - 5, 100)",
    "loop.sock_sendfile(near, file, size)",
    "loop.sock_sendfile(near, file, size + 5)",
    "loop.sock_sendfile(near, file, 0, size)",
    "loop.sock_sendfile(near, file, 0, size * 10)",
    "loop.sock_sendfile(near, file, 0, 1)",
    "loop.sock_sendfile(near, file, 0, 10**30)",
    "loop.sock_sendfile(near, file, 10**30)",
    "loop.sock_sendfile(near, file, fallback=False)",
    "loop.sock_sendfile(near, file, -1)",
    "loop.sock_sendfile(near, file, 1.0)",
    "loop.sock_sendfile(near, file, '1')",
    "loop.sock_sendfile(near, file, None)",
    "loop.sock_sendfile(near, file, True)",
    "loop.sock_sendfile(near, file, 0, 0)",
    "loop.sock_sendfile(near, file, 0, -1)",
    "loop.sock_sendfile(near, file, 0, 1.0)",
    "loop.sock_sendfile(near, file, 0, '1')",
    "loop.sock_sendfile(near, file, 0, True)",
    "loop.sock_sendfile(near, empty)",
    "loop.sock_sendfile(near, empty, 0, 10)",
    "loop.sock_sendfile(near, text_file)",
    "loop.sock_sendfile(near, memory)",
    "loop.sock_sendfile(near, memory, 10, 100)",
    "loop.sock_sendfile(near, memory, fallback=False)",
    "loop.sock_sendfile(near, pipe, fallback=False)",
    "loop.sock_sendfile(near, pipe, 0, 5, fallback=False)",
    "loop.sock_sendfile(near, None)",
    "loop.sock_sendfile(near, None, fallback=False)",
    "loop.sock_sendfile(near, OddFile(fileno=raises(OSError(5, 'no'))))",
    "loop.sock_sendfile(near, OddFile(fileno=lambda: 900), fallback=False)",
    "loop.sock_sendfile(near, OddFile(fileno=lambda: 'x'), fallback=False)",
    "loop.sock_sendfile(near, OddFile(mode='rb'), fallback=False)",
    "loop.sock_sendfile(near, OddFile(mode='r'))",
    "loop.sock_sendfile(sub, file, 7)",
    "loop.sock_sendfile(blocking, file)",
    "loop.sock_sendfile(datagrams, file)",
    "loop.sock_sendfile(closed, file)",
    "loop.sock_sendfile(closed, file, fallback=False)",
    "loop.sock_sendfile(unconnected, file)",
    "loop.sock_sendfile(unconnected, file, 0, 10, fallback=False)",
    "loop.sock_sendfile(None, file)",
]


@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
@pytest.mark.parametrize("text", CALLS)
def test_arguments_and_results_are_asyncios(text, debug):
    if "(blocking" in text and not debug:
        debug = True  # What a blocking socket does is not asked for outside of debug mode.
    assert_same_on_both(sent_by_call, text, debug)


# -- sockets ---------------------------------------------------------------------------------------


def test_a_file_arrives_as_it_is(loop, pair, file):
    assert sent_and_received(loop, pair, file, fallback=False) == (len(CONTENT), CONTENT)
    assert file.tell() == len(CONTENT)


def test_a_part_of_a_file_arrives_and_leaves_the_position_behind_it(loop, pair, file):
    part = CONTENT[1000:201_000]
    assert sent_and_received(loop, pair, file, 1000, 200_000, fallback=False) == (200_000, part)
    assert file.tell() == 201_000


def test_other_callbacks_run_while_a_file_is_sent(loop, pair, file):
    pair[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    turns = 0

    def tick():
        nonlocal turns, ticker
        turns += 1
        ticker = loop.call_soon(tick)

    ticker = loop.call_soon(tick)

    assert sent_and_received(loop, pair, file, fallback=False) == (len(CONTENT), CONTENT)
    ticker.cancel()
    assert turns > 8


def test_a_file_that_shrinks_ends_early(loop, pair, file):
    near, far = pair
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

    async def main():
        sender = asyncio.create_task(loop.sock_sendfile(near, file, fallback=False))
        await asyncio.sleep(0)
        os.ftruncate(file.fileno(), 100_000)
        reader = asyncio.create_task(read_all(loop, far))
        count = await sender
        near.shutdown(socket.SHUT_WR)
        return count, await reader

    assert loop.run_until_complete(main()) == (100_000, CONTENT[:100_000])
    assert file.tell() == 100_000


def test_a_peer_that_goes_away_is_an_error_and_the_position_says_how_far(loop, pair, file):
    near, far = pair
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

    async def main():
        sender = asyncio.create_task(loop.sock_sendfile(near, file, fallback=False))
        for _ in range(3):
            await asyncio.sleep(0)
        far.close()
        with pytest.raises(ConnectionError):
            await sender

    loop.run_until_complete(main())
    assert 0 < file.tell() < len(CONTENT)
    loop.remove_writer(near)
    run_briefly(loop)


def test_a_peer_that_is_gone_already_is_no_reason_to_fall_back_silently(loop, pair, file):
    near, far = pair
    far.close()
    with pytest.raises(asyncio.SendfileNotAvailableError, match=r"os\.sendfile call failed"):
        loop.run_until_complete(loop.sock_sendfile(near, file, fallback=False))
    with pytest.raises(BrokenPipeError):
        loop.run_until_complete(loop.sock_sendfile(near, file))
    loop.run_until_complete(loop.shutdown_default_executor())


def test_a_cancelled_call_leaves_no_watcher(loop, pair, file):
    near, _ = pair
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    sender = loop.create_task(loop.sock_sendfile(near, file, fallback=False))
    run_briefly(loop, 3)
    sender.cancel()
    run_briefly(loop, 3)
    assert sender.cancelled()
    assert loop.remove_writer(near) is False


def test_cancelling_after_the_file_was_closed_moves_no_other_file(loop, pair, file):
    near, _ = pair
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    sender = loop.create_task(loop.sock_sendfile(near, file, fallback=False))
    run_briefly(loop, 3)
    number = file.fileno()
    file.close()
    with tempfile.TemporaryFile() as other:
        assert other.fileno() == number
        sender.cancel()
        run_briefly(loop, 3)
        assert sender.cancelled()
        assert os.lseek(number, 0, os.SEEK_CUR) == 0


def position_after_cancellation(loop):
    near, far = nonblocking_pair()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with near, far, tempfile.TemporaryFile() as opened:
        opened.write(CONTENT)
        opened.seek(0)
        sender = loop.create_task(loop.sock_sendfile(near, opened, fallback=False))
        run_briefly(loop, 10)
        sender.cancel()
        run_briefly(loop, 3)
        arrived = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                arrived += len(far.recv(65536))
        assert sender.cancelled() and arrived > 0
        return os.lseek(opened.fileno(), 0, os.SEEK_CUR) == arrived


@known_difference("Sockets")
def test_a_cancelled_sendfile_moves_the_position_too():
    """`loop.sock_sendfile()` leaves the file's position behind what was sent also when it is
    cancelled, as the documentation promises for every way it ends. asyncio leaves it where it was
    before the call."""
    assert outcome_on("hotloop", position_after_cancellation) == ("returned", True)
    assert outcome_on("asyncio", position_after_cancellation) == ("returned", False)


def test_the_fallback_reads_in_a_thread_and_sends(loop, pair):
    near, far = pair
    memory = NoNumber(CONTENT)

    async def main():
        reader = asyncio.create_task(read_all(loop, far))
        count = await loop.sock_sendfile(near, memory, 10, 250_000)
        near.shutdown(socket.SHUT_WR)
        result = count, await reader
        await loop.shutdown_default_executor()
        return result

    assert loop.run_until_complete(main()) == (250_000, CONTENT[10:250_010])
    assert memory.tell() == 250_010


# -- transports ------------------------------------------------------------------------------------


class Collector(asyncio.Protocol):
    """Gathers what arrives until the connection ends."""

    def __init__(self, loop):
        self.received = bytearray()
        self.done = loop.create_future()

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.received += data

    def connection_lost(self, error):
        if not self.done.done():
            self.done.set_result(bytes(self.received))


def anonymous(purpose):
    """A TLS context that needs no certificate."""
    context = ssl.SSLContext(purpose)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("aNULL:@SECLEVEL=0")
    return context


async def connected(loop, tls=False):
    """A client transport, the server's protocol and its server."""
    served = loop.create_future()

    def accept():
        protocol = Collector(loop)
        served.set_result(protocol)
        return protocol

    options = {"ssl": anonymous(ssl.PROTOCOL_TLS_SERVER)} if tls else {}
    server = await loop.create_server(accept, "127.0.0.1", 0, **options)
    options = {"ssl": anonymous(ssl.PROTOCOL_TLS_CLIENT)} if tls else {}
    transport, _ = await loop.create_connection(
        lambda: Collector(loop), *server.sockets[0].getsockname(), **options
    )
    return transport, await served, server


async def sent_over(loop, tls, *arguments, **options):
    """Send a file over a transport, between two writes; what it returned and what arrived."""
    transport, protocol, server = await connected(loop, tls)
    transport.write(b"before ")
    try:
        result = await loop.sendfile(transport, *arguments, **options)
        transport.write(b" after")
    finally:
        transport.close()
        received = await protocol.done
        server.close()
        await server.wait_closed()
        await loop.shutdown_default_executor()
    return result, received


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_a_file_goes_between_what_is_written_before_and_after(loop, file, tls):
    result, received = loop.run_until_complete(sent_over(loop, tls, file))
    assert result == len(CONTENT)
    assert received == b"before " + CONTENT + b" after"
    assert file.tell() == len(CONTENT)


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_a_part_of_a_file_goes_over_a_transport(loop, file, tls):
    result, received = loop.run_until_complete(sent_over(loop, tls, file, 5000, 100_000))
    assert result == 100_000
    assert received == b"before " + CONTENT[5000:105_000] + b" after"
    assert file.tell() == 105_000


def test_a_file_in_memory_goes_over_a_transport(loop):
    memory = NoNumber(CONTENT)
    result, received = loop.run_until_complete(sent_over(loop, False, memory))
    assert (result, received) == (len(CONTENT), b"before " + CONTENT + b" after")


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_without_a_fallback_there_is_an_error_where_the_kernel_cannot(loop, file, tls):
    expected = RuntimeError if tls else asyncio.SendfileNotAvailableError
    source = file if tls else NoNumber(CONTENT)
    with pytest.raises(expected):
        loop.run_until_complete(sent_over(loop, tls, source, fallback=False))


def test_a_closing_transport_is_refused(loop, file):
    async def main():
        transport, protocol, server = await connected(loop)
        transport.close()
        with pytest.raises(RuntimeError, match="Transport is closing"):
            await loop.sendfile(transport, file)
        await protocol.done
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())


def test_what_is_no_socket_transport_is_refused(loop, file):
    class Plain(asyncio.Transport):
        def is_closing(self):
            return False

    with pytest.raises(RuntimeError, match="sendfile is not supported for transport"):
        loop.run_until_complete(loop.sendfile(Plain(), file))


def test_writing_meanwhile_is_refused_and_reading_pauses(loop, file):
    async def main():
        transport, protocol, server = await connected(loop)
        os.ftruncate(file.fileno(), 20_000_000)
        sender = asyncio.create_task(loop.sendfile(transport, file, fallback=False))
        protocol.transport.pause_reading()
        while not (transport._empty_waiter and transport._empty_waiter.done()):
            await asyncio.sleep(0)
        assert not transport.is_reading()
        with pytest.raises(RuntimeError, match="unable to write; sendfile is in progress"):
            transport.write(b"x")
        with pytest.raises(RuntimeError, match="sendfile is in progress"):
            transport.writelines([b"x"])
        protocol.transport.resume_reading()
        assert await sender == 20_000_000
        assert transport.is_reading()
        transport.write(b"allowed again")
        transport.close()
        received = await protocol.done
        server.close()
        await server.wait_closed()
        return received

    received = loop.run_until_complete(main())
    assert len(received) == 20_000_013 and received.endswith(b"\0allowed again")


def test_a_connection_that_is_lost_meanwhile_is_an_error(loop, file):
    async def main():
        transport, protocol, server = await connected(loop)
        os.ftruncate(file.fileno(), 50_000_000)
        protocol.transport.pause_reading()
        sender = asyncio.create_task(loop.sendfile(transport, file, fallback=False))
        for _ in range(5):
            await asyncio.sleep(0)
        protocol.transport.abort()
        with pytest.raises(OSError) as raised:
            await sender
        assert raised.value.errno in (errno.EPIPE, errno.ECONNRESET)
        assert 0 < file.tell() < 50_000_000
        transport.abort()
        await asyncio.sleep(0)
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())
