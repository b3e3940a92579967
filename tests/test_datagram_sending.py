"""DatagramTransport.sendto(): what it takes, the order in which it leaves, errors, flow control.

hotloop sends what a callback sends by one system call when the callback ends; most tests watch from
outside with a plain socket.
"""

import asyncio
import contextvars
import errno
import gc
import os
import socket
import sys
import warnings

import pytest
from support.datagrams import (
    LOCALHOST,
    LOOPBACKS,
    Endpoints,
    Recorder,
    drain,
    in_callback,
    name_of,
    need_pausing,
    numbers,
    until,
)
from support.differential import assert_same_on_both, outcome_of, outcome_on, run_briefly
from support.known_differences import known_difference

SO_NO_CHECK = 11  # Of Linux; the socket module does not have it.


@pytest.fixture
def pair(loop, tmp_path):
    """A transport on one end of two connected unix sockets with small buffers, and the other."""
    opened = Endpoints(loop)
    near = opened.plain(str(tmp_path / "near"), socket.AF_UNIX)
    far = opened.plain(str(tmp_path / "far"), socket.AF_UNIX)
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    near.connect(str(tmp_path / "far"))
    transport, protocol = opened.make(sock=near)
    yield transport, protocol, far
    opened.close()


# -- sending ---------------------------------------------------------------------------------------


def test_what_a_callback_sends_arrives_in_order(loop, endpoints):
    """More than one system call takes, to several peers, by several transports."""
    peers = [endpoints.plain() for _ in range(2)]
    senders = [endpoints.make(LOCALHOST)[0] for _ in range(2)]

    def send():
        for number in range(200):
            sender, peer = senders[number % 50 == 0], peers[number % 2]
            sender.sendto(b"%d" % number, peer.getsockname())

    in_callback(loop, send)
    assert drain(peers[0]) == numbers(*range(0, 200, 2))
    assert drain(peers[1]) == numbers(*range(1, 200, 2))


def test_a_datagram_is_sent_before_the_next_callback(loop, endpoints):
    transport, _ = endpoints.make(LOCALHOST)
    peer = endpoints.plain()
    seen = []
    loop.call_soon(transport.sendto, b"x", peer.getsockname())
    loop.call_soon(lambda: seen.extend(drain(peer)))
    run_briefly(loop)
    assert seen == [b"x"]


@pytest.mark.parametrize(
    "look",
    [
        lambda transport: transport.get_write_buffer_size(),
        lambda transport: transport.get_extra_info("socket"),
        lambda transport: transport.set_write_buffer_limits(10),
        lambda transport: transport.set_protocol(Recorder()),
        lambda transport: transport.close(),
        lambda transport: transport.abort(),
        lambda transport: transport._buffer,
        repr,
    ],
    ids=["size", "info", "limits", "protocol", "close", "abort", "buffer", "repr"],
)
def test_who_looks_finds_everything_sent(loop, endpoints, look):
    transport, _ = endpoints.make(LOCALHOST)
    peer = endpoints.plain()

    def send_and_look():
        for number in range(3):
            transport.sendto(b"%d" % number, peer.getsockname())
        look(transport)
        return drain(peer)

    assert in_callback(loop, send_and_look) == numbers(0, 1, 2)


@pytest.mark.parametrize("family", LOOPBACKS)
@pytest.mark.parametrize("connected", [False, True], ids=["", "connected"])
@pytest.mark.parametrize("checksums", [True, False], ids=["", "without checksums"])
def test_runs_of_one_size_arrive_one_by_one(loop, endpoints, family, connected, checksums):
    """hotloop has the kernel cut such a run out of one buffer, if the kernel can."""
    local = LOOPBACKS[family]
    peer, other = endpoints.plain(local, family), endpoints.plain(local, family)
    address = peer.getsockname()
    options = {"remote_addr": address[:2]} if connected else {"local_addr": local}
    transport, protocol = endpoints.make(**options)
    if not checksums:  # Linux does not cut datagrams that are sent without one.
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
    for sizes in (
        [64] * 10,
        [64] * 10 + [10] + [64] * 3 + [65] * 4,
        [10, 11, 12, 11, 10, 10, 10, 10, 9],
        [1] * 64,
        [1] * 65,
        [7000] * 9,
        [20_000] * 4,
        [32_000, 32_000, 1_500, 1_500],
        [1] * 30 + [2] * 30 + [1] * 30,
    ):
        sent = [bytes([number]) * size for number, size in enumerate(sizes)]

        def send(sent=sent):
            for number, data in enumerate(sent):
                transport.sendto(data, None if connected else address)
                if number == 5 and not connected:
                    transport.sendto(data, other.getsockname())

        in_callback(loop, send)
        assert drain(peer) == sent
        assert drain(other) == ([] if connected else sent[5:6])
    assert protocol.errors == []


@pytest.mark.only_hotloop("asyncio writes through always")
def test_writing_through_sends_within_the_call(loop, endpoints):
    loop.write_through = True
    transport, protocol = endpoints.make(LOCALHOST)
    peer = endpoints.plain()

    def send():
        transport.sendto(b"x", peer.getsockname())
        transport.sendto(b"y", ("127.255.255.255", 9))
        return drain(peer), [type(error) for error in protocol.errors]

    assert in_callback(loop, send) == ([b"x"], [PermissionError])


def test_data_may_change_after_the_call(loop, endpoints):
    transport, _ = endpoints.make(LOCALHOST)
    peer = endpoints.plain()

    def send():
        data = bytearray(b"first")
        transport.sendto(data, peer.getsockname())
        data[:] = b"second, longer"
        transport.sendto(memoryview(data)[:6], peer.getsockname())
        data[:] = b"-" * len(data)
        data.clear()

    in_callback(loop, send)
    assert drain(peer) == [b"first", b"second"]


def test_addresses_in_other_forms(loop, endpoints):
    """Names, bytes, list-like and odd numbers are left to the socket, in the order of the calls."""
    transport, protocol = endpoints.make(LOCALHOST)
    peer = endpoints.plain()
    port = peer.getsockname()[1]

    class Address(tuple):
        pass

    class Port(int):
        pass

    hosts = ["127.0.0.1", "localhost", b"127.0.0.1", bytearray(b"127.0.0.1"), "127.1"]
    addresses = [(host, port) for host in hosts]
    addresses += [Address(addresses[0]), ("127.0.0.1", Port(port)), ("127.0.0.1", port)]

    def send():
        for number, address in enumerate(addresses):
            transport.sendto(b"%d" % number, address)

    in_callback(loop, send)
    assert drain(peer) == numbers(*range(len(addresses)))
    assert protocol.errors == []


def test_a_list_that_changes_is_no_address_to_remember(loop, endpoints):
    """What is remembered of an address by its identity cannot change."""
    transport, _ = endpoints.make(LOCALHOST)
    peers = [endpoints.plain() for _ in range(2)]

    class Shifting(str):
        pass

    def send():
        for peer in peers:
            for _ in range(3):
                address = ("127.0.0.1", peer.getsockname()[1])
                transport.sendto(b"x", address)
                del address  # The next one is likely to be at the same place in memory.
            transport.sendto(b"y", (Shifting("127.0.0.1"), peer.getsockname()[1]))

    in_callback(loop, send)
    assert [drain(peer) for peer in peers] == [[b"x", b"x", b"x", b"y"]] * 2


@pytest.mark.parametrize(
    "address",
    [
        None,
        ("127.0.0.1", 65536),
        ("127.0.0.1", -1),
        ("127.0.0.1", 2**70),
        ("127.0.0.1", 1, 2),
        ("127.0.0.1\0", 1),
        ("127.0.0.1",),
        ["127.0.0.1", 1],
        "127.0.0.1",
        (1, "127.0.0.1"),
        ("\udcff", 1),
        ("", 70000),
        object,
    ],
    ids=repr,
)
@pytest.mark.parametrize("inside", [False, True], ids=["outside", "in a callback"])
def test_a_wrong_address_ends_the_endpoint(address, inside):
    """asyncio closes the transport for what its socket refuses with anything but an OSError."""

    def scenario(loop):
        contexts = []
        loop.set_exception_handler(lambda loop, context: contexts.append(context))
        endpoints = Endpoints(loop)
        transport, protocol = endpoints.make(LOCALHOST)
        call = in_callback if inside else lambda loop, function, *args: function(*args)
        returned = call(loop, transport.sendto, b"x", address)
        run_briefly(loop, 2)
        described = [
            (context["message"], repr(context["exception"]), context["transport"] is transport)
            for context in contexts
        ]
        error = protocol.lost and repr(protocol.lost[0])
        endpoints.close()
        return returned, described, error, [repr(error) for error in protocol.errors]

    outcome = assert_same_on_both(scenario)
    assert outcome[0] == "returned"


@pytest.mark.parametrize(
    "data", [None, "text", 5, [1], object(), b"", bytearray(), memoryview(b"")], ids=repr
)
@pytest.mark.parametrize("connected", [False, True], ids=["", "connected"])
def test_what_can_be_sent(data, connected):
    """Other data is refused in asyncio's words; empty datagrams are sent if asyncio sends them."""

    def scenario(loop):
        endpoints = Endpoints(loop)
        peer = endpoints.plain()
        options = {"remote_addr": peer.getsockname()} if connected else {"local_addr": LOCALHOST}
        transport, protocol = endpoints.make(**options)
        address = None if connected else peer.getsockname()

        def send():
            transport.sendto(b"before", address)
            outcome = outcome_of(transport.sendto, data, address)
            transport.sendto(b"after", addr=address)
            return outcome

        seen = in_callback(loop, send), drain(peer), protocol.errors
        endpoints.close()
        return seen

    outcome, received, errors = assert_same_on_both(scenario)[1]
    assert received[0] == b"before" and received[-1] == b"after" and errors == []
    if not isinstance(data, (bytes, bytearray, memoryview)):
        assert outcome[:2] == ("raised", "TypeError") and len(received) == 2


def test_the_arguments_of_sendto():
    def scenario(loop):
        endpoints = Endpoints(loop)
        peer = endpoints.plain()
        transport, _ = endpoints.make(remote_addr=peer.getsockname())
        seen = [
            outcome_of(transport.sendto, *args, **kwargs)
            for args, kwargs in (
                ((b"1",), {}),
                ((b"2", None), {}),
                ((b"3", list(peer.getsockname())), {}),
                ((b"4", ("127.0.0.1", 1)), {}),
                ((), {"data": b"5", "addr": peer.getsockname()}),
                ((b"6",), {"address": None}),
                ((), {}),
                ((b"7", None, None), {}),
                (("8", ("127.0.0.1", 1)), {}),
            )
        ]
        seen = [
            (kind, str(what).replace(str(peer.getsockname()), "PEER")) for kind, what, *_ in seen
        ]
        received = drain(peer)
        endpoints.close()
        return seen, received

    _, received = assert_same_on_both(scenario)[1]
    assert received == [b"1", b"2", b"5"]


def test_an_address_that_compares_is_asked(loop, endpoints):
    peer = endpoints.plain()
    transport, _ = endpoints.make(remote_addr=peer.getsockname())

    class Equal:
        def __init__(self, answer):
            self.answer = answer

        def __eq__(self, other):
            return self.answer and other == peer.getsockname()

        __hash__ = None

    in_callback(loop, transport.sendto, b"x", Equal(True))
    with pytest.raises(ValueError, match="Invalid address: must be None or"):
        transport.sendto(b"y", Equal(False))
    assert drain(peer) == [b"x"]


def test_an_anonymous_pair_cannot_send(loop, endpoints, loop_reports):
    """Its peer has an empty name, which asyncio takes for none."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with far:
        transport, protocol = endpoints.make(sock=near)
        far.send(b"in")
        until(loop, lambda: protocol.received)
        assert protocol.received == [(b"in", None)] or protocol.received == [(b"in", "")]
        transport.sendto(b"out")
        run_briefly(loop, 2)
    assert isinstance(protocol.lost[0], TypeError)
    assert [report["message"] for report in loop_reports.take()] == [
        "Fatal write error on datagram transport"
    ]


def test_a_scattered_memoryview(loop, endpoints, loop_reports):
    transport, protocol = endpoints.make(LOCALHOST)
    transport.sendto(memoryview(b"abcdef")[::2], endpoints.plain().getsockname())
    until(loop, lambda: protocol.lost)
    [report] = loop_reports.take()
    assert report["message"] == "Fatal write error on datagram transport"
    assert isinstance(report["exception"], BufferError) and protocol.lost == (report["exception"],)


AUDITED = []
AUDIT_HOOK = []


def _audit(event, args):
    if AUDITED and event == "socket.sendto":
        AUDITED.append(args[1])


def test_audit_hooks_see_what_is_sent(loop, endpoints):
    transport, _ = endpoints.make(LOCALHOST)
    peer = endpoints.plain()
    if not AUDIT_HOOK:  # A hook stays for ever.
        sys.addaudithook(_audit)
        AUDIT_HOOK.append(_audit)
    AUDITED.append("start")
    try:
        in_callback(loop, transport.sendto, b"x", peer.getsockname())
        transport.sendto(b"x", peer.getsockname())
        assert ["start", peer.getsockname(), peer.getsockname()] == AUDITED
    finally:
        AUDITED.clear()


# -- errors ----------------------------------------------------------------------------------------


def closed_port(endpoints):
    sock = endpoints.plain()
    address = sock.getsockname()
    sock.close()
    return address


def test_nobody_listens(loop, endpoints):
    transport, protocol = endpoints.make(remote_addr=closed_port(endpoints))
    in_callback(loop, transport.sendto, b"x")
    until(loop, lambda: protocol.errors)
    assert all(isinstance(error, ConnectionRefusedError) for error in protocol.errors)
    assert not transport.is_closing()
    before = len(protocol.errors)
    in_callback(loop, lambda: [transport.sendto(b"x") for _ in range(5)])
    until(loop, lambda: len(protocol.errors) > before)
    assert protocol.lost is None


def test_an_error_does_not_keep_data_from_being_received(loop, endpoints):
    peer = endpoints.plain()
    address = peer.getsockname()
    transport, protocol = endpoints.make(remote_addr=address)
    peer.close()
    transport.sendto(b"refused")
    until(loop, lambda: protocol.errors)
    peer = endpoints.plain(address)
    peer.sendto(b"back again", name_of(transport))
    until(loop, lambda: protocol.received)
    assert protocol.data == [b"back again"]


def test_one_that_fails_among_others(loop, endpoints):
    """The others arrive; the protocol is told of each that failed."""
    transport, protocol = endpoints.make(LOCALHOST)
    peer = endpoints.plain()
    good, bad = peer.getsockname(), ("127.255.255.255", 9)

    def send():
        for number in range(8):
            transport.sendto(b"%d" % number, good if number % 3 else bad)
        transport.sendto(b"8" * 70_000, good)
        transport.sendto(b"9", good)

    in_callback(loop, send)
    run_briefly(loop)
    assert drain(peer) == numbers(1, 2, 4, 5, 7, 9)
    assert [error.errno for error in protocol.errors] == [errno.EACCES] * 3 + [errno.EMSGSIZE]
    assert not transport.is_closing()


def test_an_error_may_end_the_endpoint(loop, endpoints):
    """What was sent before reaches the peer; error_received() aborts, or sends once more."""
    peer = endpoints.plain()
    good, bad = peer.getsockname(), ("127.255.255.255", 9)

    class Ending(Recorder):
        def error_received(self, error):
            super().error_received(error)
            if len(self.errors) == 1:
                self.transport.sendto(b"from the error", good)
            else:
                self.transport.abort()

    transport, protocol = endpoints.make(LOCALHOST, protocol=Ending())

    def send():
        transport.sendto(b"0", good)
        transport.sendto(b"1", bad)
        transport.sendto(b"2", good)
        transport.sendto(b"3", bad)

    in_callback(loop, send)
    until(loop, lambda: protocol.lost)
    assert (len(protocol.errors), protocol.lost) == (2, (None,))
    assert drain(peer) == [b"0", b"from the error", b"2"]


@pytest.mark.parametrize("receiver", [("127.0.0.1", 9), ("localhost", 9)], ids=["number", "name"])
@pytest.mark.parametrize(
    "call", [lambda loop, send: send(), in_callback], ids=["outside", "inside"]
)
def test_error_received_may_change_the_size_of_what_was_sent(loop, endpoints, call, receiver):
    """The memory of a bytearray that was too much is the program's own again by then."""
    data = bytearray(100_000)

    class Clearing(Recorder):
        def error_received(self, error):
            super().error_received(error)
            data.clear()

    transport, protocol = endpoints.make(LOCALHOST, protocol=Clearing())
    call(loop, lambda: transport.sendto(data, receiver))
    assert [error.errno for error in protocol.errors] == [errno.EMSGSIZE]
    assert not data


def test_error_received_that_raises_outside_of_callbacks(loop, endpoints):
    class Raising(Recorder):
        def error_received(self, error):
            raise ZeroDivisionError from error

    transport, _ = endpoints.make(LOCALHOST, protocol=Raising())
    with pytest.raises(ZeroDivisionError):
        transport.sendto(b"x", ("127.255.255.255", 9))
    assert not transport.is_closing()


def test_error_received_that_raises_on_receiving(loop, endpoints, loop_reports):
    class Raising(Recorder):
        def error_received(self, error):
            super().error_received(error)
            raise ZeroDivisionError

    transport, protocol = endpoints.make(remote_addr=closed_port(endpoints), protocol=Raising())
    transport.sendto(b"x")
    until(loop, lambda: protocol.errors)
    [report] = loop_reports.take()
    assert report["message"] == "Exception in callback _SelectorDatagramTransport._read_ready()"
    assert isinstance(report["exception"], ZeroDivisionError)
    assert report["exception"].__context__ is protocol.errors[0]


def test_error_received_runs_in_the_context_of_sendto(loop, endpoints):
    """The very context, also if what is held back leaves later, and one callback has several."""
    variable = contextvars.ContextVar("variable", default="nothing")
    bad = ("127.255.255.255", 9)

    class Seeing(Recorder):
        def error_received(self, error):
            super().error_received(error)
            seen.append(variable.get())
            variable.set(f"{variable.get()}, told")

    seen = []
    transport, _ = endpoints.make(LOCALHOST, protocol=Seeing())
    contexts = [contextvars.copy_context() for _ in range(3)]

    def send():
        for number, context in enumerate(contexts):
            context.run(variable.set, f"{number}")
            context.run(transport.sendto, b"x", bad)
            context.run(transport.sendto, b"y", bad)

    in_callback(loop, send)
    assert seen == ["0", "0, told", "1", "1, told", "2", "2, told"]
    assert [context[variable] for context in contexts] == [f"{n}, told, told" for n in range(3)]


@known_difference("Sockets")
def test_a_datagram_that_fails_is_told_when_the_callback_ends():
    """What `sendto()` of a datagram transport is given within a callback leaves when the callback
    ends, if not before, as with streams. If the kernel refuses a datagram, `error_received()` is
    called then, and what that raises goes to the exception handler. On asyncio it is called within
    `sendto()`, which raises it."""

    def scenario(loop):
        reports = []
        loop.set_exception_handler(lambda loop, context: reports.append(context["message"]))

        class Raising(Recorder):
            def error_received(self, error):
                super().error_received(error)
                raise ZeroDivisionError

        endpoints = Endpoints(loop)
        transport, protocol = endpoints.make(LOCALHOST, protocol=Raising())

        def send():
            kind = outcome_of(transport.sendto, b"x", ("127.255.255.255", 9))[0]
            return kind, len(protocol.errors)

        within = in_callback(loop, send)
        endpoints.close()
        return within, len(protocol.errors), reports

    assert outcome_on("asyncio", scenario)[1] == (("raised", 1), 1, [])
    assert outcome_on("hotloop", scenario)[1] == (
        ("returned", 0),
        1,
        ["Exception in callback _SelectorDatagramTransport._sendto_ready()"],
    )


@known_difference("Sockets")
def test_errors_of_one_callback_are_told_as_one():
    """Datagrams of one size that a callback sends through a datagram transport with a remote
    address leave as one buffer, so that they have one error if nobody listens there. On asyncio
    each has its own system call, and every second one is refused with the error of the one
    before."""

    def scenario(loop):
        endpoints = Endpoints(loop)
        transport, protocol = endpoints.make(remote_addr=closed_port(endpoints))

        def send():
            for _ in range(8):
                transport.sendto(b"x")

        in_callback(loop, send)
        until(loop, lambda: protocol.errors)
        run_briefly(loop, 3)
        endpoints.close()
        return len(protocol.errors)

    theirs, ours = (outcome_on(name, scenario)[1] for name in ("asyncio", "hotloop"))
    assert theirs == 4
    assert 1 <= ours < theirs


# -- flow control and the end ----------------------------------------------------------------------


def fill(transport, count=40, size=2000):
    """Send more than the kernel takes; return what was sent."""
    sent = [b"%d " % number + b"x" * size for number in range(count)]
    for data in sent:
        transport.sendto(data)
    return sent


def collect(loop, sock, count):
    received = []

    def more():
        received.extend(drain(sock))
        return len(received) >= count

    until(loop, more)
    return received


@pytest.mark.parametrize("inside", [False, True], ids=["outside", "in a callback"])
def test_a_full_kernel_queues_and_pauses(loop, pair, inside):
    transport, protocol, far = pair
    sent = in_callback(loop, fill, transport) if inside else fill(transport)
    assert protocol.calls == ["made", "pause"]
    assert transport.get_write_buffer_size() > 65536 and transport._protocol_paused
    assert "write=<polling" in repr(transport)
    data, address = transport._buffer[-1]
    assert (data, address) == (sent[-1], None)
    assert collect(loop, far, len(sent)) == sent
    until(loop, lambda: "resume" in protocol.calls)
    assert protocol.calls == ["made", "pause", "resume"]
    until(loop, lambda: "write=<idle" in repr(transport))


def test_the_size_of_the_queue_is_asyncios():
    """Per datagram some versions count a header, and empty datagrams are not sent by all."""

    def scenario(loop, path):
        endpoints = Endpoints(loop)
        endpoints.plain(path, socket.AF_UNIX)
        near = endpoints.plain(None, socket.AF_UNIX)
        near.connect(path)
        transport, _ = endpoints.make(sock=near)
        while not transport.get_write_buffer_size():
            transport.sendto(b"x" * 1000)
        sizes = [transport.get_write_buffer_size()]
        for data in (b"", b"1", bytearray(100), memoryview(b"abc")):
            transport.sendto(data)
            sizes.append(transport.get_write_buffer_size())
        queued = [data for data, address in transport._buffer]
        transport.abort()
        endpoints.close()
        return sizes, queued

    assert_same_on_both(scenario, b"\0hotloop-" + os.urandom(8))


@known_difference("Sockets")
def test_the_size_of_an_empty_queue_is_zero():
    """`get_write_buffer_size()` of a datagram transport is 0 when nothing is queued. On asyncio it
    stays what it was after `abort()` (before Python 3.15), or above 0 when all is sent (3.13.0)."""

    def scenario(loop, path):
        endpoints = Endpoints(loop)
        far = endpoints.plain(path, socket.AF_UNIX)
        sizes = []
        for end in ("sent", "dropped"):
            near = endpoints.plain(None, socket.AF_UNIX)
            near.connect(path)
            transport, _ = endpoints.make(sock=near)
            while not transport._buffer:
                transport.sendto(b"x" * 1000)
            if end == "sent":
                until(loop, lambda transport=transport: drain(far) and not transport._buffer)
            else:
                transport.abort()
            assert not transport._buffer
            sizes.append(transport.get_write_buffer_size())
        endpoints.close()
        return sizes

    path = b"\0hotloop-" + os.urandom(8)
    theirs, ours = (outcome_on(name, scenario, path)[1] for name in ("asyncio", "hotloop"))
    assert ours == [0, 0] and (theirs[1] > 0) is (sys.version_info < (3, 15))


def test_what_is_queued_is_a_copy(loop, pair):
    transport, _, far = pair
    sent = fill(transport)
    data = bytearray(b"before")
    transport.sendto(data)
    transport.sendto(memoryview(data)[::2])
    data[:] = b"behind"
    received = collect(loop, far, len(sent) + 2)
    assert received == [*sent, b"before", b"bfr"]


@pytest.mark.parametrize("inside", [False, True], ids=["outside", "in a callback"])
def test_close_sends_what_is_queued(loop, pair, inside):
    transport, protocol, far = pair

    def send_and_close():
        sent = fill(transport)
        transport.close()
        return sent

    sent = in_callback(loop, send_and_close) if inside else send_and_close()
    run_briefly(loop, 3)
    assert transport.is_closing() and protocol.lost is None
    assert collect(loop, far, len(sent)) == sent
    until(loop, lambda: protocol.lost)
    assert protocol.lost == (None,) and transport._sock is None


def test_abort_drops_what_is_queued(loop, pair):
    transport, protocol, far = pair
    sent = fill(transport)
    queued = len(transport._buffer)
    transport.abort()
    assert not transport._buffer
    until(loop, lambda: protocol.lost)
    assert protocol.lost == (None,)
    assert drain(far) == sent[: len(sent) - queued]


def test_resume_writing_may_send_more(loop, pair):
    transport, protocol, far = pair
    more = [b"more %d" % number for number in range(3)]

    def resume_writing():
        for data in more:
            transport.sendto(data)
        transport.close()

    sent = fill(transport)
    protocol.resume_writing = resume_writing
    assert collect(loop, far, len(sent) + 3) == sent + more
    until(loop, lambda: protocol.lost)


def test_an_error_while_the_queue_is_sent(loop, endpoints, tmp_path):
    """The peer goes away: the protocol is told for each datagram, and the endpoint stays."""
    far = endpoints.plain(str(tmp_path / "far"), socket.AF_UNIX)
    near = endpoints.plain(None, socket.AF_UNIX)
    near.connect(str(tmp_path / "far"))
    transport, protocol = endpoints.make(sock=near)
    while not transport._buffer:
        transport.sendto(b"x" * 1000)
    transport.sendto(b"second")
    far.close()
    until(loop, lambda: len(protocol.errors) == 2)
    assert {error.errno for error in protocol.errors} <= {
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.ENOTCONN,
    }
    until(loop, lambda: "write=<idle" in repr(transport))
    assert protocol.lost is None and not transport._buffer


def test_writing_after_the_end_is_logged(loop, endpoints, caplog):
    transport, _ = endpoints.make(remote_addr=endpoints.plain().getsockname())
    transport.close()
    for _ in range(7):
        transport.sendto(b"x")
    assert [record.getMessage() for record in caplog.records] == [
        "socket.send() raised exception."
    ] * 3
    assert transport._conn_lost == 8
    run_briefly(loop, 2)
    transport.sendto(b"x")
    caplog.clear()


def test_an_endpoint_without_a_peer_sends_until_it_is_lost(loop, endpoints):
    transport, _ = endpoints.make(LOCALHOST)
    peer = endpoints.plain()
    transport.close()
    transport.sendto(b"last", peer.getsockname())
    assert drain(peer) == [b"last"]


@known_difference("Sockets")
def test_sending_after_connection_lost_is_ignored():
    """`sendto()` after `connection_lost()` does nothing on a datagram transport, as on one that was
    connected. asyncio raises an AttributeError of its own internals unless it was connected."""

    def scenario(loop):
        endpoints = Endpoints(loop)
        transport, _ = endpoints.make(LOCALHOST)
        endpoints.close()
        return outcome_of(transport.sendto, b"x", ("127.0.0.1", 9))[:2]

    assert outcome_on("asyncio", scenario)[1] == ("raised", "AttributeError")
    assert outcome_on("hotloop", scenario)[1] == ("returned", None)


def test_an_endpoint_that_is_dropped_warns_and_closes(loop):
    need_pausing(loop)
    transport, _ = loop.run_until_complete(loop.create_datagram_endpoint(Recorder, LOCALHOST))
    transport.pause_reading()
    transport.set_protocol(asyncio.DatagramProtocol())
    fd = transport._sock_fd
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del transport, _
        gc.collect()
    assert any(
        "unclosed transport <_SelectorDatagramTransport fd=" in str(w.message) for w in caught
    )
    with pytest.raises(OSError):
        os.fstat(fd)


def test_debug_mode(loop, endpoints):
    loop.set_debug(True)
    server = Recorder()
    server.on_datagram = lambda data, address: server.transport.sendto(data, address)
    transport, _ = endpoints.make(LOCALHOST, protocol=server)
    client, protocol = endpoints.make(remote_addr=name_of(transport))
    in_callback(loop, lambda: [client.sendto(b"%d" % number) for number in range(5)])
    until(loop, lambda: len(protocol.received) == 5)
    assert protocol.data == numbers(*range(5))


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_forked_child_sends_nothing_of_its_parents(loop, endpoints):
    transport, _ = endpoints.make(LOCALHOST)
    peer = endpoints.plain()

    def send_and_fork():
        transport.sendto(b"once", peer.getsockname())
        pid = os.fork()
        if pid == 0:
            transport.sendto(b"child", peer.getsockname())
            transport.get_write_buffer_size()
            os._exit(0)
        os.waitpid(pid, 0)

    in_callback(loop, send_and_fork)
    assert sorted(drain(peer)) == [b"child", b"once"]


def test_a_loop_that_is_closed_with_datagrams_held_back(loop_factory):
    """closing in the callback is refused; the held back datagram still goes out."""
    loop = loop_factory()
    endpoints = Endpoints(loop)
    transport, _ = endpoints.make(LOCALHOST)
    peer = endpoints.plain()

    def send_and_close():
        transport.sendto(b"x", peer.getsockname())
        with pytest.raises(RuntimeError):
            loop.close()

    in_callback(loop, send_and_close)
    assert drain(peer) == [b"x"]
    endpoints.close()
    loop.close()
