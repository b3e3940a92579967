"""Servers: what create_server() and Server do besides accepting connections."""

import asyncio
import socket

import pytest


class Listening:
    """As much of a listening socket as create_server() asks for."""

    family, type = socket.AF_INET, socket.SOCK_STREAM

    def __init__(self, descriptor):
        self.descriptor = descriptor
        self.is_closed = False

    def fileno(self):
        return self.descriptor

    def setblocking(self, flag):
        assert flag is False

    def listen(self, backlog):
        assert backlog == 100

    def close(self):
        self.is_closed = True


@pytest.mark.parametrize("descriptor", [None, "3", -1, 1.5], ids=repr)
def test_socket_without_a_descriptor_is_refused(loop, descriptor):
    """A socket whose fileno() is no descriptor raises the ValueError of asyncio's selectors."""
    sock = Listening(descriptor)

    async def main():
        with pytest.raises(ValueError, match=r"Invalid file (object|descriptor): "):
            await loop.create_server(asyncio.Protocol, sock=sock)

    loop.run_until_complete(main())
