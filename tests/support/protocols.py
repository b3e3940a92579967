"""Protocols that write down what a transport calls, and a connection with one at each end."""

import asyncio
import contextlib
import socket

from support.differential import normalized


class Recorder(asyncio.Protocol):
    """Notes every call; what it answers or does in one is set by the scenario.

    `actions` maps the name of a call to a function of (protocol, *arguments) that runs in it.
    """

    def __init__(self, name="", log=None, **actions):
        self.name = name
        self.log = [] if log is None else log
        self.actions = actions
        self.transport = None
        self.received = bytearray()
        self.lost = asyncio.get_running_loop().create_future()

    def _act(self, call, *arguments):
        action = self.actions.get(call)
        return None if action is None else action(self, *arguments)

    def _note(self, call, *details):
        self.log.append((self.name, call, *details))

    def connection_made(self, transport):
        self.transport = transport
        self._note("made")
        self._act("made")

    def data_received(self, data):
        # How the stream is cut into pieces is the kernel's business.
        self.received += data
        if self.log[-1:] != [(self.name, "data")]:
            self._note("data")
        self._act("data", data)

    def eof_received(self):
        self._note("eof")
        return self._act("eof")

    def pause_writing(self):
        self._note("pause")
        self._act("pause")

    def resume_writing(self):
        self._note("resume")
        self._act("resume")

    def connection_lost(self, exc):
        self._note("lost", normalized(repr(exc)))
        if not self.lost.done():
            self.lost.set_result(exc)
        self._act("lost", exc)


class BufferedRecorder(Recorder, asyncio.BufferedProtocol):
    """The same, receiving into a buffer of its own."""

    size = 4096

    def get_buffer(self, sizehint):
        answer = self._act("get_buffer", sizehint)
        if answer is not None:
            return answer
        self.buffer = bytearray(self.size)
        return self.buffer

    def buffer_updated(self, nbytes):
        Recorder.data_received(self, bytes(self.buffer[:nbytes]))


def collected(make):
    """Return a list, and a protocol factory that calls make() and adds what it returns to it."""
    made = []

    def factory():
        made.append(make())
        return made[-1]

    return made, factory


async def settle(turns=8):
    """Let everything that needs no waiting happen."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def until(condition, seconds=5):
    """Wait, turn by turn, until the condition holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def wire(protocol):
    """Yield (transport, peer): a transport of one end, and the other as a blocking-free socket."""
    loop = asyncio.get_running_loop()
    near, far = socket.socketpair()
    far.setblocking(False)
    try:
        transport, _ = await loop.create_connection(lambda: protocol, sock=near)
        try:
            yield transport, far
        finally:
            transport.abort()
            await settle()
    finally:
        far.close()


@contextlib.asynccontextmanager
async def link(client, make_server, **options):
    """Yield (client's transport, server's protocols): a TCP connection over loopback."""
    loop = asyncio.get_running_loop()
    made, factory = collected(make_server)
    server = await loop.create_server(factory, "127.0.0.1", 0, **options)
    try:
        address = server.sockets[0].getsockname()
        transport, _ = await loop.create_connection(lambda: client, *address)
        await until(lambda: made and made[0].transport is not None)
        try:
            yield transport, made
        finally:
            transport.abort()
            for protocol in made:
                if protocol.transport is not None:
                    protocol.transport.abort()
            await settle()
    finally:
        server.close()
        await server.wait_closed()


def receive_available(sock):
    """Return what a non-blocking socket has; b"" for nothing yet or the end."""
    pieces = []
    with contextlib.suppress(BlockingIOError):
        while piece := sock.recv(1 << 16):
            pieces.append(piece)
    return b"".join(pieces)
