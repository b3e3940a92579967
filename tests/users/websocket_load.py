"""Load for WebSocket servers that echo, by blocking clients in threads: see load.py."""

import random

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from users import content, load

LENGTHS = (0, 1, 125, 126, 5_000, 65_535, 65_536, 300_000, 1_500_000)


def open_connection(target, path="/ws"):
    """A connection of the library's blocking client, over the target's kind of socket."""
    scheme = "ws" if target.tls is None else "wss"
    sock = target.connect() if target.tls is None else plain(target).connect()
    tls = {} if target.tls is None else {"ssl": target.tls}
    return connect(f"{scheme}://localhost{path}", sock=sock, max_size=None, compression=None, **tls)


def plain(target):
    """The same target without TLS."""
    return load.Target(target.address)


def echoes(target, seed):
    """Messages of many lengths, one by one and several at once, text and bytes, with pings."""
    rng = random.Random(seed)
    with open_connection(target) as connection:
        for length in rng.sample(LENGTHS, len(LENGTHS)):
            message = content.data(length, seed)
            connection.send(message)
            assert connection.recv(load.SECONDS) == message
            assert connection.ping().wait(load.SECONDS)
        messages = [content.data(rng.randrange(1, 4000), i).hex() for i in range(40)]
        for message in messages:
            connection.send(message)
        assert [connection.recv(load.SECONDS) for _ in messages] == messages


def sends_fragments(target, seed):
    """One message in many frames."""
    parts = [content.data(1 + 13 * i, seed + i) for i in range(200)]
    with open_connection(target) as connection:
        connection.send(parts)
        assert connection.recv(load.SECONDS) == b"".join(parts)


def is_closed_by_server(target, seed):
    """The server closes, with a code and a reason."""
    with open_connection(target) as connection:
        connection.send("close")
        try:
            connection.recv(load.SECONDS)
        except ConnectionClosed as closed:
            assert (closed.rcvd.code, closed.rcvd.reason) == (4001, "asked to")
        else:
            raise AssertionError("the server has not closed")


def vanishes(target, seed):
    """Goes away without a closing handshake, while a large message is under way."""
    with open_connection(target) as connection:
        connection.send(content.data(700_000))
        load.reset(connection.socket)


USUAL = (echoes, sends_fragments, is_closed_by_server)
