"""Datagram transports: every datagram arrives whole, once, in order, with its sender.

hotloop receives many datagrams by one system call; what is promised is that nobody can tell except
by counting turns.  Sending is tested in test_datagram_sending.py.
"""

import asyncio
import contextvars
import gc
import os
import random
import socket
import weakref

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
    waiting,
)
from support.differential import outcome_of, outcome_on, run_briefly
from support.known_differences import known_difference

needs_ipv6 = pytest.mark.skipif(socket.AF_INET6 not in LOOPBACKS, reason="this machine has no ::1")


# -- endpoints and their addresses -----------------------------------------------------------------


def test_an_endpoint_is_a_transport_of_asyncio(loop, endpoints):
    need_pausing(loop)
    transport, protocol = endpoints.make(LOCALHOST)
    assert isinstance(transport, (asyncio.DatagramTransport, asyncio.Transport))
    assert type(transport).__name__ == "_SelectorDatagramTransport"
    assert transport.get_protocol() is protocol is transport._protocol
    assert (transport._loop, transport._address, transport._conn_lost) == (loop, None, 0)
    assert (list(transport._buffer), transport._buffer_size, transport.max_size) == ([], 0, 2**18)
    assert transport.is_reading() and not transport.is_closing()
    assert transport.get_write_buffer_limits() == (16384, 65536)
    transport.mark = "attributes can be set"
    assert weakref.ref(transport)() is transport
    assert f"fd={transport._sock_fd} read=polling write=<idle, bufsize=0>" in repr(transport)


@pytest.mark.only_hotloop("the type is hotloop's own")
def test_an_endpoint_is_native(endpoints):
    transport, _ = endpoints.make(LOCALHOST)
    assert type(transport).__module__ == "hotloop._core"
    assert isinstance(transport, asyncio.DatagramTransport)
    with pytest.raises(TypeError):
        type(transport)()


def test_extra_info_is_of_the_time_of_creation(endpoints):
    transport, _ = endpoints.make(family=socket.AF_INET)
    assert name_of(transport) == ("0.0.0.0", 0)
    transport.sendto(b"binds the socket", endpoints.plain().getsockname())
    assert name_of(transport) == ("0.0.0.0", 0)
    sock = transport.get_extra_info("socket")
    assert sock.type == socket.SOCK_DGRAM and sock.getsockname()[1] != 0
    assert transport.get_extra_info("peername") is None
    assert transport.get_extra_info("nothing", 5) == 5


def test_ipv4_addresses(loop, endpoints):
    transport, protocol = endpoints.make(LOCALHOST)
    peers = [endpoints.plain() for _ in range(3)]
    for number, peer in enumerate(peers):
        peer.sendto(b"%d" % number, name_of(transport))
    until(loop, lambda: len(protocol.received) == 3)
    expected = [(b"%d" % n, peer.getsockname()) for n, peer in enumerate(peers)]
    assert sorted(protocol.received) == expected


@needs_ipv6
def test_ipv6_addresses_keep_flow_and_scope(loop, endpoints):
    transport, protocol = endpoints.make(("::1", 0))
    peer = endpoints.plain(("::1", 0), socket.AF_INET6)
    port = peer.getsockname()[1]
    scope = socket.if_nametoindex("lo")
    for address in (("::1", port), ("::1", port, 0), ("::1", port, 0, scope), ("0:0::1", port)):
        transport.sendto(b"out", address)
        assert peer.recvfrom(10) == (b"out", name_of(transport))
    peer.sendto(b"in", name_of(transport))
    until(loop, lambda: protocol.received)
    assert protocol.received == [(b"in", ("::1", port, 0, 0))]


@needs_ipv6
def test_ipv6_link_local_peers_differ_by_scope(loop, endpoints):
    """The scope is part of a sender's address and of the one that is sent to."""
    transport, protocol = endpoints.make(family=socket.AF_INET6)
    transport.get_extra_info("socket").setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    peer = endpoints.plain()
    transport.sendto(b"mapped", ("::ffff:127.0.0.1", peer.getsockname()[1], 0, 0))
    data, address = peer.recvfrom(10)
    peer.sendto(b"back", address)
    until(loop, lambda: protocol.received)
    assert data == b"mapped"
    assert protocol.received == [(b"back", ("::ffff:127.0.0.1", peer.getsockname()[1], 0, 0))]


def test_unix_addresses(loop, endpoints, tmp_path):
    """Paths are str, abstract names bytes, and a sender without a name has None."""
    path = str(tmp_path / "endpoint")
    transport, protocol = endpoints.make(path, family=socket.AF_UNIX)
    abstract = b"\0hotloop-" + os.urandom(8)
    named = endpoints.plain(str(tmp_path / "peer"), socket.AF_UNIX)
    for peer in (named, endpoints.plain(abstract, socket.AF_UNIX)):
        peer.sendto(b"hello", path)
    endpoints.plain(None, socket.AF_UNIX).sendto(b"anonymous", path)
    until(loop, lambda: len(protocol.received) == 3)
    assert protocol.received == [
        (b"hello", str(tmp_path / "peer")),
        (b"hello", abstract),
        (b"anonymous", None),
    ]
    in_callback(loop, transport.sendto, b"back", protocol.received[0][1])
    assert named.recvfrom(10) == (b"back", path)


def test_a_connected_endpoint_receives_from_its_peer_only(loop, endpoints):
    peer, stranger = endpoints.plain(), endpoints.plain()
    transport, protocol = endpoints.make(remote_addr=peer.getsockname())
    assert transport.get_extra_info("peername") == transport._address == peer.getsockname()
    stranger.sendto(b"no", name_of(transport))
    peer.sendto(b"yes", name_of(transport))
    until(loop, lambda: protocol.received)
    run_briefly(loop, 3)
    assert protocol.received == [(b"yes", peer.getsockname())]
    in_callback(loop, transport.sendto, b"1")
    in_callback(loop, transport.sendto, b"2", peer.getsockname())
    assert drain(peer) == [b"1", b"2"]


def test_options_of_the_socket(endpoints):
    def option(transport, name):
        return transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, name)

    first, _ = endpoints.make(LOCALHOST, reuse_port=True, allow_broadcast=True)
    second, _ = endpoints.make(name_of(first), reuse_port=True)
    assert option(first, socket.SO_REUSEPORT) == option(second, socket.SO_REUSEPORT) == 1
    assert (option(first, socket.SO_BROADCAST), option(second, socket.SO_BROADCAST)) == (1, 0)


def test_broadcast_needs_the_option(loop, endpoints):
    transport, protocol = endpoints.make(LOCALHOST)
    in_callback(loop, transport.sendto, b"x", ("127.255.255.255", 9))
    until(loop, lambda: protocol.errors)
    assert isinstance(protocol.errors[0], PermissionError)
    allowed, protocol = endpoints.make(LOCALHOST, allow_broadcast=True)
    receiver = endpoints.plain(("0.0.0.0", 0))
    in_callback(loop, allowed.sendto, b"all", ("127.255.255.255", receiver.getsockname()[1]))
    assert (protocol.errors, drain(receiver)) == ([], [b"all"])


def test_a_remote_address_with_broadcast_is_sent_to_but_not_connected(loop, endpoints):
    peer, stranger = endpoints.plain(), endpoints.plain()
    transport, protocol = endpoints.make(
        LOCALHOST, remote_addr=peer.getsockname(), allow_broadcast=True
    )
    assert transport.get_extra_info("peername") is None
    assert transport._address == peer.getsockname()
    in_callback(loop, transport.sendto, b"to the peer")
    assert drain(peer) == [b"to the peer"]
    stranger.sendto(b"received as well", name_of(transport))
    until(loop, lambda: protocol.received)
    assert outcome_of(transport.sendto, b"x", stranger.getsockname()) == (
        "raised",
        "ValueError",
        f"Invalid address: must be None or {peer.getsockname()}",
    )


def test_multicast(loop, endpoints):
    group = "239.255.77.1"
    sock = endpoints.plain(("0.0.0.0", 0))
    request = socket.inet_aton(group) + socket.inet_aton("127.0.0.1")
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
    member, protocol = endpoints.make(sock=sock)
    sender, _ = endpoints.make(LOCALHOST)
    sender.get_extra_info("socket").setsockopt(
        socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1")
    )
    in_callback(loop, sender.sendto, b"to all", (group, name_of(member)[1]))
    until(loop, lambda: protocol.received)
    assert protocol.received == [(b"to all", name_of(sender))]


def test_other_families_go_through_the_sockets_own_methods(loop, endpoints):
    """Netlink addresses are (port, groups); hotloop's C knows nothing of them."""
    kind = (socket.AF_NETLINK, socket.SOCK_DGRAM, socket.NETLINK_USERSOCK)
    near, far = socket.socket(*kind), socket.socket(*kind)
    endpoints.open.append(far)
    far.setblocking(False)
    near.bind((0, 0))
    far.bind((0, 0))
    near.connect(far.getsockname())
    transport, protocol = endpoints.make(sock=near)
    assert name_of(transport) == near.getsockname()
    assert transport.get_extra_info("peername") == far.getsockname()
    in_callback(loop, lambda: [transport.sendto(b"%d" % number) for number in range(3)])
    assert drain(far) == numbers(0, 1, 2)
    for number in range(3):
        far.sendto(b"%d" % number, near.getsockname())
    until(loop, lambda: len(protocol.received) == 3)
    assert protocol.received == [(data, far.getsockname()) for data in numbers(0, 1, 2)]
    far.close()
    in_callback(loop, transport.sendto, b"nobody")
    assert isinstance(protocol.errors[0], ConnectionRefusedError)


def test_a_socket_with_methods_of_its_own_is_used_by_them(loop, endpoints):
    class Shouting(socket.socket):
        def sendto(self, data, address):
            return super().sendto(bytes(data).upper(), address)

    sock = Shouting(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(LOCALHOST)
    peer = endpoints.plain()
    transport, _ = endpoints.make(sock=sock)
    in_callback(loop, transport.sendto, b"quiet", peer.getsockname())
    assert drain(peer) == [b"QUIET"]


# -- content ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [*LOOPBACKS, socket.AF_UNIX])
def test_datagrams_between_many_peers_keep_their_content(loop, endpoints, tmp_path, family):
    """Each of 20 peers gets back what it sent, and nothing else; sizes are mixed."""
    is_unix = family == socket.AF_UNIX
    local = str(tmp_path / "server") if is_unix else LOOPBACKS[family]
    options = {"family": socket.AF_UNIX} if is_unix else {}
    chosen = random.Random(7)
    server = Recorder()
    server.on_datagram = lambda data, address: server.transport.sendto(data, address)
    transport, _ = endpoints.make(local, protocol=server, **options)
    peers = []
    for number in range(20):
        own = {"local_addr": str(tmp_path / str(number)), **options} if is_unix else {}
        peers.append(
            endpoints.make(remote_addr=name_of(transport)[:2] if own == {} else local, **own)
        )
    sent = [[] for _ in peers]

    def send_round(turn):
        for number, (client, _) in enumerate(peers):
            for _ in range(chosen.randrange(4)):
                size = chosen.choice((4, 60, 400, 1400, 9000))
                data = b"%d %d " % (number, turn) + chosen.randbytes(size)
                sent[number].append(data)
                client.sendto(data)

    for turn in range(10):
        in_callback(loop, send_round, turn)
        expected = sum(map(len, sent))
        until(loop, lambda expected=expected: sum(len(p.received) for _, p in peers) == expected)
    assert [protocol.data for _, protocol in peers] == sent
    assert len(server.received) == sum(map(len, sent))


@pytest.mark.parametrize("size", [1, 1472, 9000, 60000, 65507])
def test_sizes_over_udp(loop, endpoints, size):
    transport, protocol = endpoints.make(LOCALHOST)
    data = random.Random(size).randbytes(size)
    peer = endpoints.plain()
    peer.sendto(data, name_of(transport))
    peer.sendto(b"small", name_of(transport))
    until(loop, lambda: len(protocol.received) == 2)
    assert protocol.data == [data, b"small"]
    in_callback(loop, transport.sendto, data, peer.getsockname())
    assert drain(peer) == [data]


def test_large_datagrams_of_unix_sockets(loop, endpoints, tmp_path):
    transport, protocol = endpoints.make(str(tmp_path / "x"), family=socket.AF_UNIX)
    peer = endpoints.plain(None, socket.AF_UNIX)
    for size in (100_000, 10, 150_000, 70_000):
        peer.sendto(bytes([size % 251]) * size, name_of(transport))
        until(
            loop, lambda size=size: protocol.received[-1:] == [(bytes([size % 251]) * size, None)]
        )


def test_more_waits_than_one_system_call_takes(loop, endpoints):
    transport, protocol = endpoints.make(LOCALHOST)
    peers = [endpoints.plain() for _ in range(3)]
    expected = []
    for number in range(150):
        peer = peers[number % 3]
        peer.sendto(b"%d" % number, name_of(transport))
        expected.append((b"%d" % number, peer.getsockname()))
    until(loop, lambda: len(protocol.received) == 150)
    assert protocol.received == expected


def test_received_data_is_not_overwritten_by_what_follows(loop, endpoints):
    """A callback may make another transport, or the same one, receive."""
    other, other_protocol = endpoints.make(LOCALHOST)
    transport, protocol = endpoints.make(LOCALHOST)
    peer = endpoints.plain()
    protocol.on_datagram = lambda data, address: (other._read_ready(), transport._read_ready())
    for number in range(5):
        peer.sendto(b"transport %d" % number, name_of(transport))
        peer.sendto(b"other %d" % number, name_of(other))
    until(loop, lambda: len(protocol.received) + len(other_protocol.received) == 10)
    assert sorted(protocol.data) == [b"transport %d" % number for number in range(5)]
    assert other_protocol.data == [b"other %d" % number for number in range(5)]


def test_a_context_is_that_of_the_endpoints_creation(loop, endpoints):
    variable = contextvars.ContextVar("variable", default="outside")
    seen = []

    async def create():
        variable.set("inside")
        protocol = Recorder(lambda data, address: seen.append(variable.get()))
        return await loop.create_datagram_endpoint(lambda: protocol, LOCALHOST)

    transport, _ = loop.run_until_complete(create())
    endpoints.open.append(transport)
    peer = endpoints.plain()
    for _ in range(2):
        peer.sendto(b"x", name_of(transport))
    until(loop, lambda: len(seen) == 2)
    assert seen == ["inside"] * 2


# -- what the protocol does while it receives ------------------------------------------------------


def test_nothing_is_delivered_after_close(loop, endpoints):
    def close_at_3(data, address):
        if data == b"3":
            transport.close()

    transport, protocol = waiting(endpoints, 10, close_at_3)
    until(loop, lambda: protocol.lost)
    assert protocol.data == numbers(0, 1, 2, 3)
    assert (protocol.lost, repr(transport).split()[1]) == ((None,), "closed")


def test_nothing_is_delivered_after_abort(loop, endpoints):
    transport, protocol = waiting(endpoints, 10, lambda data, address: transport.abort())
    until(loop, lambda: protocol.lost)
    assert protocol.data == numbers(0)


def test_pausing_keeps_the_rest(loop, endpoints):
    need_pausing(loop)

    def pause(data, address):
        if int(data) % 3 == 2:
            transport.pause_reading()

    transport, protocol = waiting(endpoints, 10, pause)
    until(loop, lambda: len(protocol.received) == 3)
    run_briefly(loop, 3)
    assert protocol.data == numbers(0, 1, 2)
    transport.resume_reading()
    transport.pause_reading()
    run_briefly(loop, 3)
    assert protocol.data == numbers(0, 1, 2)
    for count in (6, 9, 10):
        transport.resume_reading()
        until(loop, lambda count=count: len(protocol.received) == count)
        run_briefly(loop, 3)
        assert protocol.data == numbers(*range(count))
    assert transport.is_reading()


def test_pausing_and_resuming_at_once_goes_on(loop, endpoints):
    need_pausing(loop)

    def hesitate(data, address):
        transport.pause_reading()
        transport.resume_reading()

    transport, protocol = waiting(endpoints, 10, hesitate)
    until(loop, lambda: len(protocol.received) == 10)
    assert protocol.data == numbers(*range(10))


def test_what_was_kept_comes_before_what_arrives_later(loop, endpoints):
    need_pausing(loop)
    transport, protocol = waiting(endpoints, 4, lambda *_: transport.pause_reading())
    peer = endpoints.plain()
    until(loop, lambda: protocol.received)
    peer.sendto(b"4", name_of(transport))
    protocol.on_datagram = None
    transport.resume_reading()
    until(loop, lambda: len(protocol.received) == 5)
    assert protocol.data == numbers(*range(5))


def test_closing_a_paused_transport_drops_the_rest(loop, endpoints):
    need_pausing(loop)
    transport, protocol = waiting(endpoints, 4, lambda *_: transport.pause_reading())
    until(loop, lambda: protocol.received)
    transport.close()
    transport.resume_reading()
    until(loop, lambda: protocol.lost)
    assert protocol.data == numbers(0)


def test_an_exception_is_reported_and_the_rest_is_delivered(loop, endpoints, loop_reports):
    def fail(data, address):
        if data in (b"1", b"3"):
            raise ZeroDivisionError(data)

    transport, protocol = waiting(endpoints, 5, fail)
    until(loop, lambda: len(protocol.received) == 5)
    reports = loop_reports.take()
    assert [report["exception"].args for report in reports] == [(b"1",), (b"3",)]
    assert all(
        report["message"] == "Exception in callback _SelectorDatagramTransport._read_ready()"
        and "_read_ready" in repr(report["handle"])
        for report in reports
    )
    assert not transport.is_closing()


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_exception_that_leaves_the_loop_loses_nothing(loop, endpoints, kind):
    def leave(data, address):
        if data == b"1":
            raise kind

    _, protocol = waiting(endpoints, 5, leave)
    loop.call_later(5, loop.stop)
    with pytest.raises(kind):
        loop.run_forever()
    until(loop, lambda: len(protocol.received) == 5)
    assert protocol.data == numbers(*range(5))


def test_stopping_leaves_the_rest_for_the_next_run(loop, endpoints):
    _, protocol = waiting(endpoints, 5, lambda data, address: loop.stop())
    for count in range(1, 6):
        loop.run_forever()
        assert protocol.data == numbers(*range(count))


def test_the_protocol_may_be_exchanged(loop, endpoints):
    second = Recorder()
    transport, first = waiting(endpoints, 4, lambda *_: transport.set_protocol(second))
    until(loop, lambda: len(second.received) == 3)
    assert (first.data, second.data) == (numbers(0), numbers(1, 2, 3))


def test_a_failing_connection_made_does_not_stop_the_endpoint(loop, endpoints, loop_reports):
    class Failing(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            raise ZeroDivisionError

    transport, protocol = endpoints.make(LOCALHOST, protocol=Failing())
    [report] = loop_reports.take()
    assert isinstance(report["exception"], ZeroDivisionError)
    endpoints.plain().sendto(b"x", name_of(transport))
    until(loop, lambda: protocol.received)


def test_a_dropped_endpoint_frees_what_it_kept(loop, endpoints):
    """It was paused in the middle of what it had received."""
    need_pausing(loop)
    transport, protocol = waiting(endpoints, 5)
    protocol.on_datagram = lambda *_: protocol.transport.pause_reading()
    until(loop, lambda: protocol.received)
    reference = weakref.ref(transport)
    transport.close()
    run_briefly(loop, 3)
    endpoints.open.remove(transport)
    protocol.transport = protocol.on_datagram = None
    del transport
    gc.collect()
    assert reference() is None


@known_difference("Sockets")
def test_datagrams_that_wait_are_received_in_one_turn():
    """A datagram transport receives up to 64 datagrams that wait and delivers them one after the
    other in the same turn of the loop, until the protocol pauses or closes the transport or stops
    the loop. asyncio delivers one in a turn."""

    def scenario(loop):
        endpoints = Endpoints(loop)
        turns = []
        _, protocol = waiting(endpoints, 5, lambda *_: turns.append(turn))
        turn = 0

        def count():
            nonlocal turn
            turn += 1
            loop.call_soon(count if len(protocol.received) < 5 else loop.stop)

        count()
        loop.run_forever()
        endpoints.close()
        return [turn - turns[0] for turn in turns]

    assert outcome_on("asyncio", scenario)[1] == [0, 1, 2, 3, 4]
    assert outcome_on("hotloop", scenario)[1] == [0, 0, 0, 0, 0]
