"""The order of I/O callbacks among all others is asyncio's, turn by turn.

A program with connections, servers, pauses and closes notes what happens and in which turn of the
loop; the list must be the same on both loops.  Loopback delivers at once, so turns are comparable.
"""

import asyncio
import socket

import pytest
from support.differential import assert_same_on_both
from support.protocols import Recorder, settle


class TurnLog(list):
    """Notes entries with the number of the turn that they come in."""

    def __init__(self, loop):
        self.turn = 0
        self.loop = loop
        self.is_over = False
        self._tick()

    def _tick(self):
        self.turn += 1
        if not self.is_over:
            self.loop.call_soon(self._tick)

    def append(self, entry):
        name, call, *details = entry
        super().append((self.turn, name, call, *details))


def same_turns(program):
    """Run the coroutine function program(log) on both loops; the logs must be equal."""

    def run(loop):
        async def main():
            log = TurnLog(loop)
            try:
                await program(log)
                await settle(10)
            finally:
                log.is_over = True
                await settle(2)
            first = log[0][0]
            return [(turn - first, *entry) for turn, *entry in log]

        return loop.run_until_complete(main())

    kind, log = assert_same_on_both(run)
    assert kind == "returned", log
    return log


def test_a_server_accepts():
    async def program(log):
        loop = asyncio.get_running_loop()
        made = []

        def factory():
            log.append(("server", "factory"))
            made.append(
                Recorder(f"server {len(made)}", log, data=lambda p, d: p.transport.write(d))
            )
            return made[-1]

        server = await loop.create_server(factory, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        socks = []
        for number in range(3):
            sock = socket.create_connection(address)
            sock.send(b"x")
            socks.append(sock)
            loop.call_soon(log.append, ("call_soon", number))
        await settle(8)
        for sock in socks:
            sock.close()
        await settle(8)
        server.close()
        await server.wait_closed()
        for protocol in made:
            assert protocol.lost.done()

    log = same_turns(program)
    assert [entry[2] for entry in log].count("factory") == 3


def test_a_connection_is_made_and_awaited():
    async def program(log):
        loop = asyncio.get_running_loop()
        near, far = socket.socketpair()
        far.send(b"early")
        protocol = Recorder("client", log)

        async def connect():
            await loop.create_connection(lambda: protocol, sock=near)
            log.append(("coroutine", "awaited"))

        async def bystander():
            for number in range(8):
                log.append(("task", number))
                await asyncio.sleep(0)

        await asyncio.gather(connect(), bystander())
        loop.call_soon(log.append, ("call_soon", "before close"))
        protocol.transport.close()
        loop.call_soon(log.append, ("call_soon", "after close"))
        await protocol.lost
        log.append(("coroutine", "lost"))
        far.close()

    same_turns(program)


@pytest.mark.parametrize("end", ["close", "abort", "eof", "reset"])
def test_everything_at_once(end):
    async def program(log):
        loop = asyncio.get_running_loop()
        near, far = socket.socketpair()
        watched, other_end = socket.socketpair()
        protocol = Recorder("stream", log, data=lambda p, data: p.transport.write(data))
        await loop.create_connection(lambda: protocol, sock=near)

        def on_reader():
            log.append(("reader", watched.recv(100)))
            loop.call_soon(log.append, ("call_soon", "from reader"))

        loop.add_reader(watched, on_reader)
        far.send(b"one")
        other_end.send(b"one")
        loop.call_soon(log.append, ("call_soon", "beside"))
        loop.call_later(0, log.append, ("timer", "due"))
        future = loop.create_future()
        loop.call_soon(future.set_result, None)
        await future
        log.append(("task", "woken"))
        await settle(3)
        log.append(("peer", far.recv(100)))
        far.send(b"two")
        protocol.transport.pause_reading()
        await settle(2)
        protocol.transport.resume_reading()
        log.append(("task", "resumed"))
        await settle(3)
        if end == "eof":
            far.shutdown(socket.SHUT_WR)
        elif end == "reset":
            far.close()
        else:
            getattr(protocol.transport, end)()
        loop.call_soon(log.append, ("call_soon", "at the end"))
        await protocol.lost
        log.append(("task", "lost"))
        loop.remove_reader(watched)
        for sock in (far, watched, other_end):
            sock.close()

    same_turns(program)


def test_writes_that_wait_for_room():
    async def program(log):
        loop = asyncio.get_running_loop()
        near, far = socket.socketpair()
        far.setblocking(False)
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        protocol = Recorder("stream", log)
        transport, _ = await loop.create_connection(lambda: protocol, sock=near)
        transport.set_write_buffer_limits(high=10_000, low=0)
        log.append(("task", "writes"))
        transport.write(b"x" * 300_000)
        log.append(("task", "wrote"))
        while not any("resume" in entry for entry in log):
            far.recv(1 << 20)
            loop.call_soon(int)
            await settle(2)
        transport.write_eof()
        transport.close()
        await protocol.lost
        far.close()

    log = same_turns(program)
    assert [entry[2] for entry in log if entry[1] == "stream"] == [
        "made",
        "pause",
        "resume",
        "lost",
    ]


def test_two_connections_share_a_turn():
    async def program(log):
        loop = asyncio.get_running_loop()
        ends, protocols = [], []
        for name in "abc":
            near, far = socket.socketpair()
            protocol = Recorder(
                name, log, data=lambda p, data: loop.call_soon(log.append, (p.name, "soon"))
            )
            await loop.create_connection(lambda: protocol, sock=near)  # noqa: B023
            ends.append(far)
            protocols.append(protocol)
        await settle(4)
        for far in ends:
            far.send(b"x")
        await settle(4)
        # The first that is called closes all: the other events of the turn call nobody.
        for protocol in protocols:
            protocol.actions["data"] = lambda p, data: [q.transport.abort() for q in protocols]
        for far in ends:
            far.send(b"x")
        await settle(6)
        for far in ends:
            far.close()

    same_turns(program)
