"""The other end of a TLS connection, driven by hand.

What is sent can be cut, joined, changed and left out at will: `seal()` gives the records of some
data, and `send()` puts any bytes on the wire.
"""

import asyncio
import contextlib
import functools
import socket
import ssl

from support.protocols import until


class Peer:
    """A client, or with server_side a server, on a non-blocking socket."""

    def __init__(self, sock, context, server_side=False, name="localhost", session=None):
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.loop = asyncio.get_running_loop()
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self.incoming,
            self.outgoing,
            server_side,
            server_hostname=None if server_side else name,
            session=session,
        )

    async def send(self, data, piece=None):
        """Put bytes on the wire, in pieces of that size with a turn of the loop between."""
        piece = piece or len(data) or 1
        for start in range(0, len(data), piece):
            await self.loop.sock_sendall(self.sock, data[start : start + piece])
            await asyncio.sleep(0)

    async def flush(self, piece=None):
        await self.send(self.outgoing.read(), piece)

    async def _until_done(self, operation, piece=None):
        while True:
            try:
                result = operation()
            except ssl.SSLWantReadError:
                await self.flush(piece)
                data = await self.loop.sock_recv(self.sock, 1 << 16)
                if not data:
                    raise EOFError from None
                self.incoming.write(data)
            else:
                await self.flush(piece)
                return result

    async def handshake(self, piece=None):
        await self._until_done(self.tls.do_handshake, piece)
        return self

    def seal(self, *pieces):
        """Return the records of each of the pieces, without sending them."""
        for data in pieces:
            view = memoryview(data)
            while view:
                view = view[self.tls.write(view) :]
        return self.outgoing.read()

    def seal_end(self):
        """Return the record of close_notify."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self.outgoing.read()

    async def write(self, *pieces, piece=None):
        await self.send(self.seal(*pieces), piece)

    async def read(self, count):
        """Return exactly so many bytes, or fewer before close_notify."""
        data = bytearray()
        while len(data) < count:
            read = functools.partial(self.tls.read, count - len(data))
            chunk = await self._until_done(read)
            if not chunk:
                break
            data += chunk
        return bytes(data)

    async def read_end(self):
        """Wait for close_notify or the end of the stream; say which, and what came before."""
        data = bytearray()
        try:
            while chunk := await self._until_done(lambda: self.tls.read(1 << 16)):
                data += chunk
        except ssl.SSLZeroReturnError:
            pass  # close_notify, after our own
        except (EOFError, ConnectionError):
            return "cut", bytes(data)
        return "closed", bytes(data)

    def close(self):
        self.sock.close()


@contextlib.asynccontextmanager
async def peer_of(loop, protocol, server_context, client_context, **options):
    """Yield a client by hand that has shaken hands with a server of this one protocol."""
    piece = options.pop("piece", None)
    peer_options = {key: options.pop(key) for key in ("name", "session") if key in options}
    server = await loop.create_server(
        lambda: protocol, "127.0.0.1", 0, ssl=server_context, **options
    )
    sock = socket.socket()
    sock.setblocking(False)
    try:
        await loop.sock_connect(sock, server.sockets[0].getsockname())
        peer = await Peer(sock, client_context, **peer_options).handshake(piece)
        # With 1.3 the client is ready before the server is.
        await until(lambda: protocol.transport is not None)
        yield peer
    finally:
        sock.close()
        server.close()
        if protocol.transport is not None and not protocol.lost.done():
            protocol.transport.abort()
            await protocol.lost
        await asyncio.sleep(0)
