"""loop.sock_*(): what they take, return and refuse, and that cancelling one loses nothing.

What is awaited is a coroutine, as on asyncio.  Data is taken from the kernel for a call that is
still alive and for no other; nothing stays watched after a call, however it ended; and a number
that comes back for another file never meets the call of its predecessor.
"""

import array
import asyncio
import contextlib
import gc
import inspect
import os
import random
import signal
import socket
import ssl
import sys
import tempfile
import warnings
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import child
from support.differential import (
    FACTORIES,
    assert_same_on_both,
    close_completely,
    outcome_of,
    outcome_on,
    run_briefly,
)
from support.known_differences import known_difference
from support.sockets import nonblocking_pair

import hotloop


@pytest.fixture
def tcp_pair():
    """Two ends of a TCP connection, with small buffers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    for end in (near, far):
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    yield near, far
    near.close()
    far.close()


def watched(loop):
    """How many descriptors the program watches; asyncio watches its own wake-up as well."""
    own = 0 if getattr(loop, "_ssock", None) is None else 1
    return len(loop._selector.get_map()) - own


def finish(loop, awaitable):
    return loop.run_until_complete(awaitable)


def start(loop, coroutine, turns=2):
    """Make a task of the coroutine and let it get to where it waits."""
    task = loop.create_task(coroutine)
    run_briefly(loop, turns)
    assert not task.done()
    return task


# -- arguments -------------------------------------------------------------------------------------


class Subclass(socket.socket):
    """A socket that is not exactly of socket.socket."""


class Double:
    """Something that has just enough of a socket's methods to be given to asyncio."""

    def __init__(self, sock):
        self.sock = sock

    def gettimeout(self):
        return 0

    def recv(self, n):
        return b"doubled " + self.sock.recv(n)

    def send(self, data):
        return self.sock.send(data)

    def fileno(self):
        return self.sock.fileno()


async def attempt(loop, text, names):
    return await eval(text, {"loop": loop, "array": array, **names})


def call_with_data(loop, text, debug):
    """Await the call of that text; `near` can read b"abcdef", `datagrams` one datagram."""
    loop.set_debug(debug)
    near, far = nonblocking_pair()
    datagrams, sender = nonblocking_pair(socket.SOCK_DGRAM)
    blocking, blocked = socket.socketpair()
    sub = Subclass(fileno=os.dup(near.fileno()))
    sub.setblocking(False)
    closed = socket.socket()
    closed.setblocking(False)
    closed.close()
    unconnected = socket.socket()
    unconnected.setblocking(False)
    unconnected6 = socket.socket(socket.AF_INET6)
    unconnected6.setblocking(False)
    buffer = bytearray(8)
    names = {
        "near": near,
        "far": far,
        "blocking": blocking,
        "datagrams": datagrams,
        "sender": sender,
        "sub": sub,
        "double": Double(near),
        "closed": closed,
        "unconnected": unconnected,
        "unconnected6": unconnected6,
        "buffer": buffer,
    }
    with contextlib.ExitStack() as stack:
        for sock in (near, far, datagrams, sender, blocking, blocked, sub, unconnected):
            stack.enter_context(sock)
        stack.enter_context(unconnected6)
        far.send(b"abcdef")
        blocked.send(b"abcdef")
        sender.send(b"datagram")
        ended = outcome_of(loop.run_until_complete, attempt(loop, text, names))
        left = []
        for sock in (near, far, blocking, blocked, datagrams):
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                left.append(sock.recv(100))
        return ended, left, bytes(buffer), watched(loop)


CALLS = [
    "loop.sock_recv()",
    "loop.sock_recv(near)",
    "loop.sock_recv(near, 3)",
    "loop.sock_recv(sock=near, n=3)",
    "loop.sock_recv(near, 100)",
    "loop.sock_recv(near, 10**6)",
    "loop.sock_recv(near, 0)",
    "loop.sock_recv(near, -1)",
    "loop.sock_recv(near, True)",
    "loop.sock_recv(near, 10**30)",
    "loop.sock_recv(near, '3')",
    "loop.sock_recv(near, 3.0)",
    "loop.sock_recv(near, None)",
    "loop.sock_recv(blocking, 3)",
    "loop.sock_recv(datagrams, 3)",
    "loop.sock_recv(datagrams, 100)",
    "loop.sock_recv(sub, 3)",
    "loop.sock_recv(double, 3)",
    "loop.sock_recv(closed, 3)",
    "loop.sock_recv(unconnected, 3)",
    "loop.sock_recv(None, 3)",
    "loop.sock_recv(near.fileno(), 3)",
    "loop.sock_recv_into(near, buffer)",
    "loop.sock_recv_into(sock=near, buf=buffer)",
    "loop.sock_recv_into(near, memoryview(buffer)[2:4])",
    "loop.sock_recv_into(near, memoryview(buffer)[::2])",
    "loop.sock_recv_into(near, array.array('i', [1, 2]))",
    "loop.sock_recv_into(near, bytearray())",
    "loop.sock_recv_into(near, b'constant')",
    "loop.sock_recv_into(near, 'text')",
    "loop.sock_recv_into(near, None)",
    "loop.sock_recv_into(blocking, buffer)",
    "loop.sock_recv_into(sub, buffer)",
    "loop.sock_recv_into(closed, buffer)",
    "loop.sock_recv_into(closed, b'constant')",
    "loop.sock_recv_into(unconnected, buffer)",
    "loop.sock_recvfrom(datagrams, 100)",
    "loop.sock_recvfrom(datagrams, 3)",
    "loop.sock_recvfrom(near, 3)",
    "loop.sock_recvfrom(datagrams, -1)",
    "loop.sock_recvfrom(datagrams, 'x')",
    "loop.sock_recvfrom(blocking, 3)",
    "loop.sock_recvfrom(closed, 3)",
    "loop.sock_recvfrom_into(datagrams, buffer)",
    "loop.sock_recvfrom_into(datagrams, buffer, 4)",
    "loop.sock_recvfrom_into(datagrams, buffer, 0)",
    "loop.sock_recvfrom_into(datagrams, buffer, nbytes=100)",
    "loop.sock_recvfrom_into(datagrams, buffer, -1)",
    "loop.sock_recvfrom_into(datagrams, b'constant')",
    "loop.sock_recvfrom_into(datagrams, None)",
    "loop.sock_recvfrom_into(closed, buffer)",
    "loop.sock_sendall(near)",
    "loop.sock_sendall(near, b'data')",
    "loop.sock_sendall(sock=near, data=b'data')",
    "loop.sock_sendall(near, bytearray(b'data'))",
    "loop.sock_sendall(near, memoryview(b'data')[1:3])",
    "loop.sock_sendall(near, memoryview(b'data')[::2])",
    "loop.sock_sendall(near, array.array('b', [65, 66]))",
    "loop.sock_sendall(near, b'')",
    "loop.sock_sendall(near, 'text')",
    "loop.sock_sendall(near, None)",
    "loop.sock_sendall(blocking, b'data')",
    "loop.sock_sendall(sub, b'data')",
    "loop.sock_sendall(double, b'data')",
    "loop.sock_sendall(closed, b'data')",
    "loop.sock_sendall(closed, 'text')",
    "loop.sock_sendall(unconnected, b'data')",
    "loop.sock_sendall(None, b'data')",
    "loop.sock_sendto(sender, b'data', '/no/such/socket')",
    "loop.sock_sendto(near, b'data', '/no/such/socket')",
    "loop.sock_sendto(unconnected, b'data', ('127.0.0.1', 1))",
    "loop.sock_sendto(sender, 'text', '/no/such/socket')",
    "loop.sock_sendto(sender, b'data', 5)",
    "loop.sock_sendto(blocking, b'data', '/no/such/socket')",
    "loop.sock_sendto(closed, b'data', 'x')",
    "loop.sock_connect(closed, ('127.0.0.1', 1))",
    "loop.sock_connect(unconnected, ('127.0.0.1', 1))",
    "loop.sock_connect(unconnected, ('127.0.0.1', '1'))",
    "loop.sock_connect(unconnected, ('127.0.0.1',))",
    "loop.sock_connect(unconnected, ('127.0.0.1', 1, 2))",
    "loop.sock_connect(unconnected, ['127.0.0.1', 1])",
    "loop.sock_connect(unconnected, ('127.0.0.1', 70000))",
    "loop.sock_connect(unconnected, ('127.0.0.1', -1))",
    "loop.sock_connect(unconnected, ('127.1', 1))",
    "loop.sock_connect(unconnected, ('127.0.0.1', None))",
    "loop.sock_connect(unconnected, (b'127.0.0.1', 1))",
    "loop.sock_connect(unconnected6, ('::1', 1))",
    "loop.sock_connect(unconnected6, ('::1', 1, 5))",
    "loop.sock_connect(unconnected6, ('::1', 1, 0, 0))",
    "loop.sock_connect(unconnected6, ('::1', 1, 0, 10**9))",
    "loop.sock_connect(unconnected6, ('::1', 1, 2**20))",
    "loop.sock_connect(unconnected6, ('::1', 1, 0, 0, 0))",
    "loop.sock_connect(unconnected6, ('127.0.0.1', 1))",
    "loop.sock_connect(unconnected, '/path')",
    "loop.sock_connect(unconnected, None)",
    "loop.sock_connect(unconnected, ('::1', 1))",
    "loop.sock_connect(unconnected, ('127.0.0.1', 'no such service'))",
    "loop.sock_connect(near, '/no/such/socket')",
    "loop.sock_connect(near, 5)",
    "loop.sock_connect(blocking, '/no/such/socket')",
    "loop.sock_connect(None, ('127.0.0.1', 1))",
    "loop.sock_accept(near)",
    "loop.sock_accept(unconnected)",
    "loop.sock_accept(blocking)",
    "loop.sock_accept(closed)",
    "loop.sock_accept(None)",
    "loop.sock_accept()",
]


@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
@pytest.mark.parametrize("text", CALLS)
def test_arguments_and_results_are_asyncios(text, debug):
    assert_same_on_both(call_with_data, text, debug)


METHODS = [
    "sock_recv",
    "sock_recv_into",
    "sock_recvfrom",
    "sock_recvfrom_into",
    "sock_sendall",
    "sock_sendto",
    "sock_connect",
    "sock_accept",
    "sock_sendfile",
    "sendfile",
    "getaddrinfo",
    "getnameinfo",
]


@pytest.mark.parametrize("name", METHODS)
def test_methods_are_coroutine_functions_with_asyncios_parameters(loop, name):
    method = getattr(loop, name)
    assert inspect.iscoroutinefunction(method)
    own = inspect.signature(method).parameters.values()
    theirs = inspect.signature(getattr(asyncio.SelectorEventLoop, name)).parameters.values()
    assert [(p.name, p.kind, p.default) for p in own] == [
        (p.name, p.kind, p.default) for p in list(theirs)[1:]
    ]


def test_a_call_is_a_coroutine_that_does_nothing_before_it_is_awaited(loop, pair):
    near, far = pair
    far.send(b"data")
    call = loop.sock_recv(near, 10)
    assert asyncio.iscoroutine(call) and inspect.iscoroutine(call)
    run_briefly(loop, 2)
    with pytest.warns(RuntimeWarning, match="was never awaited"):
        del call
        gc.collect()
    assert near.recv(10) == b"data"


@pytest.mark.parametrize("name", METHODS[:8])
def test_a_tls_socket_is_refused(loop, name, pair):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    tls = context.wrap_socket(pair[0], do_handshake_on_connect=False)
    arguments = {"sock_recvfrom_into": [bytearray(1)], "sock_sendto": [b"", ""], "sock_accept": []}
    with tls, pytest.raises(TypeError, match="Socket cannot be of type SSLSocket"):
        finish(loop, getattr(loop, name)(tls, *arguments.get(name, [1])))


# -- waiting ---------------------------------------------------------------------------------------


def test_a_receiver_waits_for_its_data(loop, pair):
    near, far = pair
    task = start(loop, loop.sock_recv(near, 10))
    assert watched(loop) == 1
    far.send(b"data")
    assert finish(loop, task) == b"data"
    assert watched(loop) == 0


def test_the_end_of_a_stream_is_empty_bytes(loop, pair):
    near, far = pair
    task = start(loop, loop.sock_recv(near, 10))
    far.close()
    assert finish(loop, task) == b""
    assert finish(loop, loop.sock_recv_into(near, bytearray(3))) == 0


def test_a_stream_is_read_byte_by_byte(loop, tcp_pair):
    near, far = tcp_pair

    async def read(count):
        return [await loop.sock_recv(near, 1) for _ in range(count)]

    async def write(data):
        for position in range(len(data)):
            await loop.sock_sendall(far, data[position : position + 1])
            await asyncio.sleep(0)

    async def both(data):
        return (await asyncio.gather(read(len(data)), write(data)))[0]

    assert b"".join(finish(loop, both(b"one byte at a time" * 10))) == b"one byte at a time" * 10


@pytest.mark.parametrize("size", [1, 1000, 16 * 1024, 300_000, 2_000_000])
def test_large_messages_arrive_as_they_were_sent(loop, pair, size):
    near, far = pair
    data = random.Random(size).randbytes(size)

    async def read():
        received = bytearray()
        while len(received) < size:
            received += await loop.sock_recv(near, 1_000_000)
        return bytes(received)

    async def both():
        return (await asyncio.gather(read(), loop.sock_sendall(far, data)))[0]

    assert finish(loop, both()) == data
    assert watched(loop) == 0


def test_receiving_into_a_buffer_fills_it_from_the_front(loop, pair):
    near, far = pair
    buffer = bytearray(b"..........")
    task = start(loop, loop.sock_recv_into(near, memoryview(buffer)[2:]))
    far.send(b"data")
    assert finish(loop, task) == 4
    assert buffer == b"..data...."


def test_a_buffer_to_receive_into_can_change_while_the_call_waits(loop, pair):
    near, far = pair
    buffer = bytearray(b"..")
    task = start(loop, loop.sock_recv_into(near, buffer))
    buffer += b"......"
    far.send(b"12345678")
    assert finish(loop, task) == 8
    assert buffer == b"12345678"


def test_data_that_waits_to_be_sent_cannot_be_resized(loop, pair):
    near, _ = pair
    data = bytearray(5_000_000)
    task = start(loop, loop.sock_sendall(near, data))
    with pytest.raises(BufferError):
        data += b"more"
    task.cancel()
    run_briefly(loop, 2)
    data += b"more"
    assert task.cancelled()


def test_datagrams_come_with_their_senders(loop):
    near, far = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    with near, far:
        for sock in (near, far):
            sock.setblocking(False)
            sock.bind(("127.0.0.1", 0))
        task = start(loop, loop.sock_recvfrom(near, 100))
        assert finish(loop, loop.sock_sendto(far, b"first", near.getsockname())) == 5
        assert finish(loop, task) == (b"first", far.getsockname())
        buffer = bytearray(100)
        task = start(loop, loop.sock_recvfrom_into(near, buffer))
        assert finish(loop, loop.sock_sendto(far, b"second", near.getsockname())) == 6
        assert finish(loop, task) == (6, far.getsockname())
        assert buffer.startswith(b"second\0")
        assert watched(loop) == 0


def test_a_datagram_waits_until_there_is_room(loop):
    near, far = nonblocking_pair(socket.SOCK_DGRAM)
    with near, far:
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                near.send(b"filler")
                sent += 1
        task = start(loop, loop.sock_sendall(near, b"the last"))
        received = [far.recv(100) for _ in range(sent)]
        assert finish(loop, task) is None
        assert far.recv(100) == b"the last"
        assert set(received) == {b"filler"}


@pytest.mark.parametrize("family", ["inet", "inet6", "unix", "name"])
def test_connections_are_accepted_and_made(loop, family, tmp_path):
    families = {"inet6": socket.AF_INET6, "unix": socket.AF_UNIX}
    listener = socket.socket(families.get(family, socket.AF_INET))
    client = socket.socket(families.get(family, socket.AF_INET))
    with listener, client:
        client.setblocking(False)
        listener.setblocking(False)
        place = {"inet6": ("::1", 0), "unix": str(tmp_path / "s")}.get(family, ("127.0.0.1", 0))
        listener.bind(place)
        listener.listen()
        address = listener.getsockname()
        task = start(loop, loop.sock_accept(listener))
        target = ("localhost", address[1]) if family == "name" else address
        assert finish(loop, loop.sock_connect(client, target)) is None
        served, peer = finish(loop, task)
        with served:
            assert served.gettimeout() == 0
            assert peer == client.getsockname()
            assert client.getpeername() == address
        assert watched(loop) == 0


def refuse(loop):
    with socket.socket() as sock, socket.socket() as client:
        sock.bind(("127.0.0.1", 0))
        address = sock.getsockname()
        client.setblocking(False)
        with pytest.raises(ConnectionRefusedError) as raised:
            loop.run_until_complete(loop.sock_connect(client, address))
        return raised.value.errno, str(raised.value).replace(str(address[1]), "PORT")


def test_a_refused_connection_names_the_address():
    _, (_, message) = assert_same_on_both(refuse)
    assert message.endswith("Connect call failed ('127.0.0.1', PORT)")


@pytest.mark.parametrize("call", ["sock_recv", "sock_recv_into", "sock_recvfrom"])
def test_a_reset_connection_is_the_receivers_error(loop, tcp_pair, call):
    near, far = tcp_pair
    argument = bytearray(10) if call == "sock_recv_into" else 10
    task = start(loop, getattr(loop, call)(near, argument))
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    far.close()
    with pytest.raises(ConnectionResetError):
        finish(loop, task)
    assert watched(loop) == 0


def test_a_peer_that_goes_away_is_the_senders_error(loop, tcp_pair):
    near, far = tcp_pair
    task = start(loop, loop.sock_sendall(near, bytes(10_000_000)))
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    far.close()
    with pytest.raises(ConnectionError):
        finish(loop, task)
    assert watched(loop) == 0
    with pytest.raises(BrokenPipeError):
        finish(loop, loop.sock_sendall(near, b"more"))


def test_both_directions_of_a_socket_wait_at_once(loop, pair):
    near, far = pair
    data = bytes(3_000_000)
    sending = start(loop, loop.sock_sendall(near, data))
    receiving = start(loop, loop.sock_recv(near, 10))
    far.send(b"data")
    assert finish(loop, receiving) == b"data"
    assert not sending.done()

    async def drain():
        count = 0
        while count < len(data):
            count += len(await loop.sock_recv(far, 1_000_000))
        return count

    assert finish(loop, drain()) == len(data)
    assert finish(loop, sending) is None
    assert watched(loop) == 0


def test_a_call_that_needs_no_wait_gives_up_no_turn(loop, pair):
    near, far = pair
    order = []

    async def talk():
        loop.call_soon(order.append, "next turn")
        await loop.sock_sendall(far, b"data")
        order.append(await loop.sock_recv(near, 10))

    finish(loop, talk())
    assert order == [b"data", "next turn"]


def awake(loop):
    """The turns between readiness and the receiver's step, seen by a callback per turn."""
    near, far = nonblocking_pair()
    with near, far:
        turns = []

        def tick():
            turns.append("turn")
            if len(turns) == 3:
                far.send(b"data")
            if len(turns) < 10:
                loop.call_soon(tick)

        async def receive():
            turns.append(await loop.sock_recv(near, 10))

        async def run():
            tick()
            await receive()
            while len(turns) < 10:
                await asyncio.sleep(0)
            return turns

        return loop.run_until_complete(run())


def test_the_receiver_runs_in_asyncios_turn():
    assert_same_on_both(awake)


class PythonTask(asyncio.tasks._PyTask):
    """asyncio's Task in Python."""


def test_other_kinds_of_tasks_can_wait(loop, pair):
    near, far = pair
    task = PythonTask(loop.sock_recv(near, 10), loop=loop)
    run_briefly(loop, 2)
    far.send(b"data")
    assert finish(loop, task) == b"data"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="needs Python 3.12")
def test_an_eager_task_begins_at_once(loop, pair):
    near, far = pair
    loop.set_task_factory(asyncio.eager_task_factory)
    far.send(b"now")

    async def main():
        done = loop.create_task(loop.sock_recv(near, 10))
        assert done.done() and done.result() == b"now"
        waiting = loop.create_task(loop.sock_recv(near, 10))
        far.send(b"later")
        return await waiting

    assert finish(loop, main()) == b"later"


def test_the_awaitable_can_be_driven_by_hand(loop, pair):
    near, far = pair
    call = loop.sock_recv(near, 10)
    future = call.send(None)
    assert asyncio.isfuture(future) and not future.done()
    far.send(b"data")
    run_briefly(loop, 3)
    assert future.done()
    with pytest.raises(StopIteration) as stop:
        call.send(None)
    assert stop.value.value == b"data"


@pytest.mark.only_hotloop("asyncio's awaitable is a future, which has no close()")
@pytest.mark.skipif(sys.version_info < (3, 12), reason="needs Python 3.12: __buffer__()")
@pytest.mark.parametrize("method", ["__buffer__", "__release_buffer__"])
def test_a_buffer_that_ends_the_call_it_is_for(loop, pair, method):
    """The call has ended then, and touches the socket no more."""
    near, far = pair
    waiting = []

    class Ends:
        def __buffer__(self, flags):
            self.end("__buffer__")
            return memoryview(bytearray(4))

        def __release_buffer__(self, view):
            self.end("__release_buffer__")

        def end(self, name):
            if waiting and name == method:
                with contextlib.suppress(BlockingIOError):
                    near.recv(100)
                waiting.pop().close()

    async def main():
        task = loop.create_task(loop.sock_recv_into(near, Ends()))
        await asyncio.sleep(0)
        waiting.append(task.get_coro().cr_await)
        far.send(b"data")
        await asyncio.wait([task])
        return task.exception()

    error = loop.run_until_complete(main())
    if method == "__buffer__":
        assert isinstance(error, RuntimeError) and str(error) == "this call has ended"
    assert watched(loop) == 0


@pytest.mark.skipif(sys.version_info < (3, 12), reason="needs Python 3.12: __buffer__()")
def test_a_buffer_that_closes_the_socket(loop, pair):
    """Its number may be another file's by then, which is not received from."""
    near, _ = pair
    others = []

    class Closes:
        def __buffer__(self, flags):
            if not others:
                fd = near.fileno()
                near.close()
                others.extend(nonblocking_pair())
                others.sort(key=lambda other: other.fileno() != fd)
                others[1].send(b"for another")
            return memoryview(bytearray(20))

    with pytest.raises((OSError, ValueError)):
        loop.run_until_complete(loop.sock_recv_into(near, Closes()))
    assert others[0].recv(20) == b"for another"
    for other in others:
        other.close()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="needs Python 3.12: __buffer__()")
def test_a_buffer_that_closes_the_socket_when_it_is_given_back(loop, pair):
    """There was nothing to receive yet; its number may be another file's, which is not awaited."""
    near, _ = pair
    others = []

    class Closes:
        def __buffer__(self, flags):
            return memoryview(bytearray(20))

        def __release_buffer__(self, view):
            if not others:
                near.close()
                others.extend(nonblocking_pair())

    with pytest.raises((OSError, ValueError)) as caught:
        loop.run_until_complete(asyncio.wait_for(loop.sock_recv_into(near, Closes()), 1))
    assert not isinstance(caught.value, TimeoutError)
    for other in others:
        other.close()


def test_a_replaced_call_soon_that_raises_is_reported(loop, loop_reports, pair):
    """The event that should wake the task fails as a callback does; the loop goes on."""
    near, far = pair

    def refuse(*args, **kwargs):
        del loop.call_soon
        raise ZeroDivisionError("refused")

    task = start(loop, loop.sock_recv(near, 10))
    loop.call_soon = refuse
    far.send(b"data")
    for _ in range(3):
        run_briefly(loop)
    (report,) = loop_reports.take()
    assert isinstance(report["exception"], ZeroDivisionError)
    assert not task.done()
    task.cancel()
    task._log_destroy_pending = False
    run_briefly(loop, 2)


# -- cancellation ----------------------------------------------------------------------------------


WAITS = {
    "recv": lambda loop, near, buffer: loop.sock_recv(near, 10),
    "recv_into": lambda loop, near, buffer: loop.sock_recv_into(near, buffer),
    "recvfrom": lambda loop, near, buffer: loop.sock_recvfrom(near, 10),
    "recvfrom_into": lambda loop, near, buffer: loop.sock_recvfrom_into(near, buffer),
}


@pytest.mark.parametrize("kind", WAITS)
def test_a_cancelled_receiver_leaves_the_data_and_no_watcher(loop, pair, kind):
    near, far = pair
    buffer = bytearray(10)
    task = start(loop, WAITS[kind](loop, near, buffer))
    task.cancel()
    far.send(b"data")
    run_briefly(loop, 3)
    assert task.cancelled()
    assert watched(loop) == 0
    assert not any(buffer)
    assert finish(loop, loop.sock_recv(near, 10)) == b"data"


@pytest.mark.parametrize("kind", WAITS)
def test_a_timeout_loses_nothing(loop, pair, kind):
    near, far = pair
    buffer = bytearray(10)

    async def main():
        for _ in range(5):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(WAITS[kind](loop, near, buffer), 0.001)
            assert watched(loop) == 0
        far.send(b"data")
        return await loop.sock_recv(near, 10)

    assert finish(loop, main()) == b"data"


def cancelled_in_time(loop, call):
    """Cancel a sock_recv or sock_accept in the turn in which it could go on; what is left then.

    Returns what the next call gets, or None if nothing is there any more.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    client = socket.create_connection(listener.getsockname())
    served, _ = listener.accept()
    served.setblocking(False)
    late = socket.socket()

    def begin():
        return loop.sock_accept(listener) if call == "accept" else loop.sock_recv(served, 10)

    async def main():
        task = loop.create_task(begin())
        await asyncio.sleep(0)
        if call == "accept":
            late.connect(listener.getsockname())
        else:
            client.send(b"data")
        while not task._fut_waiter.done():
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled() and watched(loop) == 0
        return await asyncio.wait_for(begin(), 0.05)

    with listener, client, served, late, warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # The connection that asyncio dropped.
        try:
            result = loop.run_until_complete(main())
        except TimeoutError:
            result = None
        gc.collect()
        if call == "accept" and result is not None:
            with result[0]:
                return result[0].getpeername() == late.getsockname()
        return result


def closed_in_time(loop):
    near, far = nonblocking_pair()

    async def main():
        task = loop.create_task(loop.sock_recv(near, 10))
        await asyncio.sleep(0)
        far.send(b"data")
        while not task._fut_waiter.done():
            await asyncio.sleep(0)
        near.close()
        return await task

    with far:
        return loop.run_until_complete(main())


@known_difference("Sockets")
def test_a_cancelled_call_takes_nothing_from_the_kernel():
    """`loop.sock_recv()`, `sock_accept()` and the like receive in the step of the task that waits,
    so a cancellation or a timeout never loses data or a connection. asyncio receives one turn
    earlier; if the task is cancelled in that turn, what was received is lost. A socket that is
    closed in that turn gives OSError on hotloop, and what was received on asyncio."""
    assert outcome_on("asyncio", cancelled_in_time, "recv") == ("returned", None)
    assert outcome_on("asyncio", cancelled_in_time, "accept") == ("returned", None)
    assert outcome_on("hotloop", cancelled_in_time, "recv") == ("returned", b"data")
    assert outcome_on("hotloop", cancelled_in_time, "accept") == ("returned", True)
    assert outcome_on("asyncio", closed_in_time) == ("returned", b"data")
    bad_descriptor = ("raised", "OSError", "[Errno 9] Bad file descriptor")
    assert outcome_on("hotloop", closed_in_time) == bad_descriptor


def test_a_cancelled_sender_leaves_no_watcher(loop, pair):
    near, far = pair
    task = start(loop, loop.sock_sendall(near, bytes(5_000_000)))
    assert watched(loop) == 1
    task.cancel()
    run_briefly(loop, 2)
    assert task.cancelled()
    assert watched(loop) == 0
    before = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            before += len(far.recv(1_000_000))
    run_briefly(loop, 3)
    with pytest.raises(BlockingIOError):
        far.recv(1)
    assert before < 5_000_000


def test_a_cancelled_connection_leaves_no_watcher(loop):
    # A listener whose backlog is full leaves a connection in the making.
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        waiting = []
        for _ in range(3):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            waiting.append(loop.create_task(loop.sock_connect(sock, listener.getsockname())))
        run_briefly(loop, 5)
        for task in waiting:
            task.cancel()
        run_briefly(loop, 3)
        assert watched(loop) == 0
        assert any(task.cancelled() for task in waiting)


def test_a_cancelled_accept_leaves_no_watcher(loop):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        task = start(loop, loop.sock_accept(listener))
        task.cancel()
        run_briefly(loop, 2)
        assert task.cancelled() and watched(loop) == 0


@pytest.mark.only_hotloop("asyncio's reader stays and takes the data")
def test_a_closed_coroutine_leaves_the_data_and_no_watcher(loop, pair):
    near, far = pair
    call = loop.sock_recv(near, 10)
    call.send(None)
    assert watched(loop) == 1
    call.close()
    assert watched(loop) == 0
    far.send(b"data")
    run_briefly(loop, 2)
    assert near.recv(10) == b"data"


@pytest.mark.only_hotloop("asyncio's reader keeps the socket until the loop is closed")
def test_a_dropped_coroutine_lets_go_of_its_socket(loop):
    near, far = nonblocking_pair()
    call = loop.sock_recv(near, 10)
    call.send(None)
    end = weakref.ref(near)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # Nobody closes `near`.
        del near, call
        gc.collect()
    assert end() is None
    assert watched(loop) == 0
    far.close()


def test_closing_the_loop_drops_what_waits(loop_factory, pair):
    near, _ = pair
    loop = loop_factory()
    task = start(loop, loop.sock_recv(near, 10))
    task._log_destroy_pending = False
    loop.close()
    end = weakref.ref(task)
    del task
    gc.collect()
    assert end() is None


def test_a_loop_that_is_closed_refuses_to_wait(loop_factory, pair):
    near, far = pair
    loop = loop_factory()
    loop.close()
    call = loop.sock_recv(near, 10)
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        call.send(None)
    far.send(b"data")
    call = loop.sock_recv(near, 10)
    with pytest.raises(StopIteration) as stop:
        call.send(None)
    assert stop.value.value == b"data"


# -- one descriptor, several users -----------------------------------------------------------------


def test_a_second_receiver_takes_the_place_of_the_first(loop, pair):
    near, far = pair
    first = start(loop, loop.sock_recv(near, 10))
    second = start(loop, loop.sock_recv(near, 10))
    far.send(b"data")
    assert finish(loop, second) == b"data"
    run_briefly(loop, 3)
    assert not first.done()
    first.cancel()
    run_briefly(loop, 2)
    assert first.cancelled() and watched(loop) == 0


def test_cancelling_the_first_receiver_leaves_the_second(loop, pair):
    near, far = pair
    first = start(loop, loop.sock_recv(near, 10))
    second = start(loop, loop.sock_recv(near, 10))
    first.cancel()
    run_briefly(loop, 2)
    assert first.cancelled() and watched(loop) == 1
    far.send(b"data")
    assert finish(loop, second) == b"data"


def test_a_reader_takes_the_place_of_a_receiver(loop, pair):
    near, far = pair
    task = start(loop, loop.sock_recv(near, 10))
    received = []
    loop.add_reader(near, lambda: received.append(near.recv(10)))
    far.send(b"data")
    run_briefly(loop, 3)
    assert received == [b"data"] and not task.done()
    task.cancel()
    run_briefly(loop, 2)
    assert task.cancelled()
    assert loop.remove_reader(near) is True
    assert watched(loop) == 0


def test_a_receiver_takes_the_place_of_a_reader(loop, pair):
    near, far = pair
    received = []
    loop.add_reader(near, received.append, "reader")
    task = start(loop, loop.sock_recv(near, 10))
    far.send(b"data")
    assert finish(loop, task) == b"data"
    assert received == []
    far.send(b"more")
    run_briefly(loop, 3)
    assert received == [] and loop.remove_reader(near) is False


def test_a_receiver_and_a_writer_share_a_descriptor(loop, pair):
    near, far = pair
    calls = []
    loop.add_writer(near, calls.append, 1)
    task = start(loop, loop.sock_recv(near, 10))
    far.send(b"data")
    assert finish(loop, task) == b"data"
    before = len(calls)
    run_briefly(loop, 3)
    assert len(calls) > before
    assert loop.remove_writer(near) is True
    assert watched(loop) == 0


def test_removing_the_reader_of_a_receiver_leaves_it_waiting(loop, pair):
    near, far = pair
    task = start(loop, loop.sock_recv(near, 10))
    assert loop.remove_reader(near) is True
    far.send(b"data")
    run_briefly(loop, 3)
    assert not task.done()
    task.cancel()
    run_briefly(loop, 2)
    assert near.recv(10) == b"data"


def test_a_descriptor_of_a_transport_is_refused(loop):
    async def main():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            transport, _ = await loop.create_connection(asyncio.Protocol, *listener.getsockname())
            served, _ = listener.accept()
            with served, socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())):
                # The same number as the transport's, in a socket object of its own.
                number = transport.get_extra_info("socket").fileno()
                thief = socket.socket(fileno=number)
                thief.setblocking(False)
                try:
                    with pytest.raises(RuntimeError, match="is used by transport"):
                        await loop.sock_recv(thief, 10)
                    with pytest.raises(RuntimeError, match="is used by transport"):
                        await loop.sock_sendall(thief, bytes(10_000_000))
                finally:
                    thief.detach()
            transport.abort()
            await asyncio.sleep(0)

    finish(loop, main())


IMMEDIATE = {
    "sock_recv": lambda loop, near, other: loop.sock_recv(near, 10),
    "sock_recv_into": lambda loop, near, other: loop.sock_recv_into(near, bytearray(10)),
    "sock_recvfrom": lambda loop, near, other: loop.sock_recvfrom(near, 10),
    "sock_recvfrom_into": lambda loop, near, other: loop.sock_recvfrom_into(near, bytearray(10)),
    "sock_sendall": lambda loop, near, other: loop.sock_sendall(near, b"data"),
    "sock_connect": lambda loop, near, other: loop.sock_connect(*other),
    "sock_accept": lambda loop, near, other: loop.sock_accept(near),
}


@pytest.mark.parametrize("call", IMMEDIATE)
def test_what_a_transport_has_written_leaves_before_the_call(loop, pair, call):
    near, far = pair
    far.send(b"data")

    async def main():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            transport, _ = await loop.create_connection(asyncio.Protocol, *listener.getsockname())
            served, _ = listener.accept()
            with served, socket.socket(socket.AF_UNIX) as client:
                client.setblocking(False)
                served.settimeout(5)
                transport.write(b"written")
                step = IMMEDIATE[call](loop, near, (client, "/no/such/socket"))
                with contextlib.suppress(StopIteration, OSError):
                    step.send(None)
                # Nothing has run since but the call's own step.
                assert served.recv(100) == b"written"
            transport.abort()
            await asyncio.sleep(0)

    finish(loop, main())


def recycled(sock, number):
    """A new socket pair of which one end has that number, which sock had until now."""
    sock.close()
    near, far = nonblocking_pair()
    if far.fileno() == number:
        near, far = far, near
    assert near.fileno() == number
    return near, far


def test_a_recycled_number_does_not_meet_an_old_receiver(loop):
    near, far = nonblocking_pair()
    number = near.fileno()
    task = start(loop, loop.sock_recv(near, 10))
    near2, far2 = recycled(near, number)
    with far, near2, far2:
        far2.send(b"for the new one")
        run_briefly(loop, 3)
        assert not task.done()
        task.cancel()
        run_briefly(loop, 2)
        assert near2.recv(100) == b"for the new one"


@pytest.mark.only_hotloop("asyncio takes the new file for the old one and never looks at it")
def test_a_recycled_number_can_be_waited_for_while_an_old_receiver_waits(loop):
    near, far = nonblocking_pair()
    number = near.fileno()
    old = start(loop, loop.sock_recv(near, 10))
    near2, far2 = recycled(near, number)
    with far, near2, far2:
        new = start(loop, loop.sock_recv(near2, 10))
        far2.send(b"new")
        assert finish(loop, new) == b"new"
        assert not old.done()
        old.cancel()
        run_briefly(loop, 2)
        assert watched(loop) == 0


def test_a_recycled_number_does_not_get_the_bytes_of_an_old_sender(loop):
    near, far = nonblocking_pair()
    number = near.fileno()
    task = start(loop, loop.sock_sendall(near, b"old" * 1_000_000))
    near2, far2 = recycled(near, number)
    with far, near2, far2:
        run_briefly(loop, 3)
        with pytest.raises(BlockingIOError):
            far2.recv(1)
        task.cancel()
        run_briefly(loop, 2)


def test_a_socket_closed_in_the_turn_of_its_event_sends_no_more(loop):
    near, far = nonblocking_pair()
    task = start(loop, loop.sock_sendall(near, b"old" * 1_000_000))
    number = near.fileno()
    new = []

    def close_and_open():
        new.extend(recycled(near, number))

    loop.call_soon(close_and_open)  # Runs in the turn that also finds room for more.
    with contextlib.suppress(BlockingIOError):
        while True:
            far.recv(1_000_000)
    run_briefly(loop, 3)
    with far, new[0], new[1]:
        with pytest.raises(BlockingIOError):
            new[1].recv(1)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            finish(loop, task)


def test_a_number_is_used_by_one_socket_after_the_other(loop):
    async def main():
        for number in range(50):
            near, far = nonblocking_pair()
            with near, far:
                task = asyncio.create_task(loop.sock_recv(near, 10))
                await asyncio.sleep(0)
                await loop.sock_sendall(far, b"%d" % number)
                assert await task == b"%d" % number

    finish(loop, main())
    assert watched(loop) == 0


# -- how the kernel is asked -----------------------------------------------------------------------


def registered(descriptor):
    """The event masks under which epoll sets of this process hold the descriptor."""
    masks = []
    for name in os.listdir("/proc/self/fdinfo"):
        with contextlib.suppress(FileNotFoundError), open(f"/proc/self/fdinfo/{name}") as info:
            for line in info:
                fields = line.split()
                if fields[:2] == ["tfd:", str(descriptor)]:
                    masks.append(int(fields[3], 16))
    return masks


@pytest.mark.only_hotloop("asyncio adds and removes the descriptor at each wait")
def test_a_descriptor_stays_registered_but_asleep_between_calls(loop, pair):
    near, far = pair
    one_shot = 1 << 30
    for number in range(3):
        assert registered(near.fileno()) == ([one_shot] if number else [])
        task = start(loop, loop.sock_recv(near, 10))
        assert [mask & ~one_shot for mask in registered(near.fileno())] == [0x19]
        far.send(b"data")
        assert finish(loop, task) == b"data"
    far.send(b"more")
    run_briefly(loop, 2)
    assert registered(near.fileno()) == [one_shot]
    assert near.recv(10) == b"more"


@pytest.mark.only_hotloop("an event of a loop with a poller of its own")
def test_a_writer_that_ends_leaves_the_receiver_armed(loop, pair):
    near, far = pair
    loop.add_writer(near, int)
    task = start(loop, loop.sock_recv(near, 10))
    loop.remove_writer(near)
    run_briefly(loop)
    assert not task.done()
    far.send(b"data")
    assert finish(loop, task) == b"data"


def test_signals_do_not_disturb_a_transfer(loop, pair):
    near, far = pair
    data = random.Random(1).randbytes(20_000_000)
    signals = []
    before = signal.signal(signal.SIGALRM, lambda *_: signals.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:

        async def read():
            received = bytearray()
            while len(received) < len(data):
                received += await loop.sock_recv(near, 5000)
            return bytes(received)

        async def both():
            return (await asyncio.gather(read(), loop.sock_sendall(far, data)))[0]

        assert finish(loop, both()) == data
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert signals


@pytest.mark.only_hotloop("asyncio has a handle there")
def test_debug_mode_can_log_a_slow_event(loop, pair, caplog):
    near, far = pair
    loop.set_debug(True)
    loop.slow_callback_duration = 0
    task = start(loop, loop.sock_recv(near, 10))
    far.send(b"data")
    assert finish(loop, task) == b"data"
    assert any("Executing <hotloop.SockCall" in record.getMessage() for record in caplog.records)


AUDIT = """
import asyncio, socket, sys
import hotloop
events = []
sys.addaudithook(lambda name, args: events.append(args[1:]) if name == "socket.connect" else None)
for factory in (asyncio.SelectorEventLoop, hotloop.new_event_loop):
    loop = factory()
    for family, address in (
        (socket.AF_INET, ("127.0.0.1", 1)),
        (socket.AF_INET6, ("::1", 1)),
        (socket.AF_INET6, ("::1", 1, 0, 0)),
    ):
        with socket.socket(family) as sock:
            sock.setblocking(False)
            try:
                loop.run_until_complete(loop.sock_connect(sock, address))
            except OSError:
                pass
    loop.close()
assert len(events) == 6 and events[:3] == events[3:], events
"""


@pytest.mark.timeout(60)
def test_audit_hooks_see_the_same_connections():
    child.run_ok("-c", AUDIT)


def test_a_patched_method_of_the_class_is_called(loop, pair, monkeypatch):
    near, far = pair
    far.send(b"data")
    monkeypatch.setattr(socket.socket, "recv", lambda self, n: b"patched")
    assert finish(loop, loop.sock_recv(near, 10)) == b"patched"
    monkeypatch.undo()
    assert finish(loop, loop.sock_recv(near, 10)) == b"data"


# -- any order of sending, receiving and cancelling ------------------------------------------------

STEPS = st.lists(
    st.tuples(st.sampled_from(["send", "receive", "cancel", "turn", "into"]), st.integers(1, 50)),
    max_size=60,
)


def transfer(name, steps):
    """Do the steps; return the bytes sent and those that calls and, at the end, recv() got."""
    loop = FACTORIES[name]()
    near, far = nonblocking_pair()
    sent, received, tasks = bytearray(), bytearray(), []

    async def receive(count):
        received.extend(await loop.sock_recv(near, count))

    async def receive_into(count):
        buffer = bytearray(count)
        got = await loop.sock_recv_into(near, buffer)
        received.extend(buffer[:got])

    with near, far:
        for step, number in steps:
            if step == "send":
                data = bytes((len(sent) + i) % 256 for i in range(number))
                sent.extend(data)
                far.send(data)
            elif step == "cancel" and tasks:
                tasks.pop().cancel()
            elif step == "turn":
                run_briefly(loop, number % 3 + 1)
            elif step in ("receive", "into") and all(task.done() for task in tasks):
                tasks = [loop.create_task((receive if step == "receive" else receive_into)(number))]
        for task in tasks:
            task.cancel()
        run_briefly(loop, 3)
        with contextlib.suppress(BlockingIOError):
            while True:
                received.extend(near.recv(10_000))
    close_completely(loop)
    return bytes(sent), bytes(received)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_no_order_of_steps_loses_a_byte(steps):
    sent, received = transfer("hotloop", steps)
    assert received == sent


# -- cancelled in every turn -----------------------------------------------------------------------


async def echo_once(loop, directory):
    """Every call that can wait, one after the other, with other tasks as the peers."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        client = stack.enter_context(socket.socket(socket.AF_UNIX))
        near, far = (stack.enter_context(end) for end in nonblocking_pair(socket.SOCK_DGRAM))
        for sock in (listener, client):
            sock.setblocking(False)
        listener.bind(f"{directory}/socket")
        listener.listen()
        peers = [loop.create_task(loop.sock_accept(listener))]
        try:
            await asyncio.sleep(0)
            await loop.sock_connect(client, listener.getsockname())
            served = stack.enter_context((await peers[0])[0])
            data = bytes(range(256)) * 4000
            peers.append(loop.create_task(loop.sock_sendall(client, data)))
            received = bytearray()
            while len(received) < len(data):
                received += await loop.sock_recv(served, 100_000)
            assert received == data
            for call, argument in (
                (loop.sock_recvfrom, 10),
                (loop.sock_recvfrom_into, bytearray(10)),
            ):
                peers.append(loop.create_task(call(near, argument)))
                await asyncio.sleep(0)
                await loop.sock_sendall(far, b"datagram")
                await peers[-1]
            with tempfile.TemporaryFile() as file:
                file.write(data)
                peers.append(loop.create_task(loop.sock_sendfile(served, file)))
                count = 0
                while count < len(data):
                    count += await loop.sock_recv_into(client, received)
                await peers[-1]
        finally:
            for peer in peers:
                peer.cancel()
            await asyncio.wait(peers)
            if not peers[0].cancelled():
                peers[0].result()[0].close()
    return "done"


@pytest.mark.only_hotloop("asyncio loses what it received just before")
def test_a_cancellation_in_any_turn_leaves_nothing_behind(loop, tmp_path):
    turns = 0
    while True:
        task = loop.create_task(echo_once(loop, tmp_path))
        run_briefly(loop, turns)
        if task.done():
            break
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            finish(loop, task)
        assert watched(loop) == 0
        (tmp_path / "socket").unlink(missing_ok=True)
        turns += 1
    assert task.result() == "done"
    assert turns > 20


# -- other processes and other layouts -------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_forked_child_waits_on_what_the_parent_had_registered(loop, pair):
    near, far = pair
    task = start(loop, loop.sock_recv(near, 10))
    far.send(b"parent")
    assert finish(loop, task) == b"parent"
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.alarm(8)
            task = start(loop, loop.sock_recv(near, 10))
            far.send(b"child")
            status = 0 if finish(loop, task) == b"child" else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    task = start(loop, loop.sock_recv(near, 10))
    far.send(b"parent")
    assert finish(loop, task) == b"parent"


STOCK_TYPES = """
import asyncio, socket, warnings
warnings.simplefilter("ignore")
import hotloop

async def main():
    loop = asyncio.get_running_loop()
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        far.setblocking(False)
        task = loop.create_task(loop.sock_recv(near, 10))
        await asyncio.sleep(0)
        await loop.sock_sendall(far, b"data")
        assert await task == b"data"
        buffer = bytearray(10)
        task = loop.create_task(loop.sock_recv_into(near, buffer))
        await asyncio.sleep(0)
        await loop.sock_sendall(far, b"data")
        assert await task == 4
        task = loop.create_task(loop.sock_recvfrom(near, 10))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    assert await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)

hotloop.run(main())
print(hotloop._core.native)
"""

if hotloop._core.build_info()["debug"]:

    @pytest.mark.timeout(60)
    def test_calls_work_on_a_python_of_another_layout():
        environment = child.environment(HOTLOOP_TEST_LAYOUT_SHIFT="state")
        assert child.run_ok("-c", STOCK_TYPES, env=environment).strip() == "False"


HOOKED_CONNECT = """
import asyncio, socket, sys, hotloop

listening = socket.create_server(("127.0.0.1", 0))
sock = socket.socket()
sock.setblocking(False)
others = []

def hook(event, arguments):
    if event == "socket.connect" and not others:
        number = sock.fileno()
        sock.close()
        others.append(socket.socket())
        assert others[0].fileno() == number

sys.addaudithook(hook)
factory = {"hotloop": hotloop.new_event_loop, "asyncio": asyncio.SelectorEventLoop}[sys.argv[1]]
loop = factory()
for call in (
    lambda: loop.run_until_complete(loop.sock_connect(sock, listening.getsockname())),
    lambda: others[0].getpeername(),
):
    try:
        call()
    except OSError as error:
        print(error.strerror)
loop.close()
listening.close()
others[0].close()
"""


@pytest.mark.parametrize("name", ["hotloop", "asyncio"])
def test_a_socket_closed_by_the_audit_hook_of_connect(name):
    """Its number belongs to another socket by then, which is not connected. Hooks stay for ever."""
    ended = child.run("-c", HOOKED_CONNECT, name)
    assert (ended.stdout, ended.stderr) == (
        "Bad file descriptor\nTransport endpoint is not connected\n",
        "",
    )
