"""Pairs of plain sockets, as the loop's socket calls and transports take them."""

import socket


def nonblocking_pair(kind=socket.SOCK_STREAM):
    """Two connected unix sockets that do not block."""
    near, far = socket.socketpair(socket.AF_UNIX, kind)
    near.setblocking(False)
    far.setblocking(False)
    return near, far
