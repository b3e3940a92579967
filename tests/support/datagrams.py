"""Endpoints for the tests of datagram transports, on the loopback interface."""

import asyncio
import socket
import time
from asyncio import selector_events

import pytest

import hotloop
from support.differential import run_briefly

LOCALHOST = ("127.0.0.1", 0)


def _has_ipv6():
    if not socket.has_ipv6:
        return False
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
    return True


# The loopback addresses that this machine has, by family.
LOOPBACKS = {socket.AF_INET: LOCALHOST}
if _has_ipv6():
    LOOPBACKS[socket.AF_INET6] = ("::1", 0)


def need_pausing(loop):
    """Skip the asyncio half of a test on early 3.11, which cannot pause datagram transports."""
    theirs = selector_events._SelectorDatagramTransport.pause_reading
    if theirs is asyncio.ReadTransport.pause_reading and not isinstance(loop, hotloop.Loop):
        pytest.skip("needs Python of a later 3.11 release, whose datagram transports can pause")


class Recorder(asyncio.DatagramProtocol):
    """Notes every call, and calls `on_datagram(data, address)` of the test, if there is one."""

    def __init__(self, on_datagram=None):
        self.on_datagram = on_datagram
        self.received = []
        self.errors = []
        self.calls = []
        self.transport = None
        self.lost = None

    def connection_made(self, transport):
        self.transport = transport
        self.calls.append("made")

    def datagram_received(self, data, address):
        self.received.append((data, address))
        if self.on_datagram is not None:
            self.on_datagram(data, address)

    def error_received(self, error):
        self.errors.append(error)

    def pause_writing(self):
        self.calls.append("pause")

    def resume_writing(self):
        self.calls.append("resume")

    def connection_lost(self, error):
        self.lost = (error,)
        self.calls.append("lost")

    @property
    def data(self):
        return [data for data, _ in self.received]


class Endpoints:
    """Opens endpoints and plain sockets for a test, and closes all of them."""

    def __init__(self, loop):
        self.loop = loop
        self.open = []

    def make(self, *args, protocol=None, **kwargs):
        protocol = Recorder() if protocol is None else protocol
        if "sock" in kwargs and kwargs["sock"] in self.open:
            self.open.remove(kwargs["sock"])  # The transport closes it.
        transport, _ = self.loop.run_until_complete(
            self.loop.create_datagram_endpoint(lambda: protocol, *args, **kwargs)
        )
        self.open.append(transport)
        return transport, protocol

    def plain(self, address=LOCALHOST, family=socket.AF_INET):
        sock = socket.socket(family, socket.SOCK_DGRAM)
        self.open.append(sock)
        sock.setblocking(False)
        if address is not None:
            sock.bind(address)
        return sock

    def close(self):
        for thing in self.open:
            thing.close()
        run_briefly(self.loop, 2)


def until(loop, condition, seconds=5):
    """Run the loop until condition() holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        loop.call_later(0.005, int)
        run_briefly(loop)


def in_callback(loop, function, *args):
    """Call the function in an entry of the loop, as programs do; return what it returned."""

    async def call():
        return function(*args)

    return loop.run_until_complete(call())


def name_of(transport):
    return transport.get_extra_info("sockname")


def drain(sock):
    """Everything that a plain socket has received."""
    received = []
    while True:
        try:
            received.append(sock.recv(1 << 20))
        except BlockingIOError:
            return received


def waiting(endpoints, count, on_datagram=None):
    """A transport for which count datagrams wait, and its protocol."""
    transport, protocol = endpoints.make(LOCALHOST, protocol=Recorder(on_datagram))
    peer = endpoints.plain()
    for number in range(count):
        peer.sendto(b"%d" % number, name_of(transport))
    return transport, protocol


def numbers(*values):
    return [b"%d" % value for value in values]
