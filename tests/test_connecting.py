"""What the calls that make connections, servers and endpoints do with their arguments.

Each line of the tables is a call.  It is made on both loops; compared are what came out, which
addresses were tried in which order, what the sockets were set to, and the exceptions.
"""

import asyncio
import contextlib
import os
import pathlib
import re
import socket
import sys
import tempfile

import pytest
from support.certificates import client_context, server_context
from support.differential import assert_same_on_both, normalized
from support.protocols import Recorder, settle

SINCE_3_12 = sys.version_info >= (3, 12)
SINCE_3_13 = sys.version_info >= (3, 13)
SERVER, CLIENT = server_context(), client_context()


def plain(value):
    """Leave out what differs between two runs: classes, descriptors, ports and folders."""
    text = re.sub(r"(hotloop\._tls|asyncio\.sslproto)\._|\bfd=-?\d+", "", normalized(repr(value)))
    text = re.sub(r"/[\w/]+/calls-\w+", "FOLDER", text)
    return re.sub(r"\b[1-6]\d{4}\b", "PORT", text)


def entry(address, port, family=None):
    """One of the answers of a resolver."""
    is_six = ":" in address
    family = family or (socket.AF_INET6 if is_six else socket.AF_INET)
    return family, socket.SOCK_STREAM, 6, "", (address, port, 0, 0) if is_six else (address, port)


class Datagrams(asyncio.DatagramProtocol):
    """Notes what it is told."""

    def __init__(self):
        self.log = []
        self.lost = asyncio.get_running_loop().create_future()

    def error_received(self, exc):
        self.log.append(plain(exc))

    def connection_lost(self, exc):
        self.lost.set_result(exc)


class Surroundings:
    """The names that a call of the tables can use, and what has to be closed afterwards."""

    def __init__(self, stack):
        self.stack = stack
        four = self.keep(socket.create_server(("127.0.0.1", 0)))
        self.port = four.getsockname()[1]
        six = self.keep(socket.socket(socket.AF_INET6))
        six.bind(("::1", self.port))
        six.listen()
        silent = self.keep(socket.socket())
        silent.bind(("127.0.0.1", 0))
        self.silent = silent.getsockname()[1]
        self.folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="calls-"))
        self.path = pathlib.Path(self.folder, "name")
        self.tried = []

    def keep(self, sock):
        return self.stack.enter_context(contextlib.closing(sock))

    def names(self):
        loop = asyncio.get_running_loop()
        return {
            **{name: getattr(socket, name) for name in dir(socket) if name[:3] in ("AF_", "AI_")},
            **{name: getattr(self, name) for name in ("port", "silent", "folder", "path", "sock")},
            "loop": loop,
            "P": Recorder,
            "D": Datagrams,
            "os": os,
            "HERE": "127.0.0.1",
            "server": SERVER,
            "client": CLIENT,
            "connect": self.connect,
        }

    def sock(self, kind):
        """A socket of that kind."""
        make = {
            "connected": lambda: socket.create_connection(("127.0.0.1", self.port)),
            "fresh": socket.socket,
            "udp": lambda: socket.socket(type=socket.SOCK_DGRAM),
            "unix": lambda: socket.socketpair()[0],
            "unix fresh": lambda: socket.socket(socket.AF_UNIX),
            "unix datagrams": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM),
            "packets": lambda: socket.socketpair(type=socket.SOCK_SEQPACKET)[0],
            "listening": lambda: socket.create_server(("127.0.0.1", 0)),
            "bound unix": self.bound,
        }
        sock = self.keep(socket.socket() if kind == "closed" else make[kind]())
        if kind == "closed":
            sock.close()
        return sock

    def bound(self):
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(self.path))
        return sock

    def connect(self, answers, **options):
        """create_connection() to a name that stands for several addresses.

        "+" is one where somebody listens, "-" one where nobody does.
        """
        loop = asyncio.get_running_loop()
        resolve, connect = loop.getaddrinfo, loop.sock_connect
        kinds = {
            "4+": entry("127.0.0.1", self.port),
            "6+": entry("::1", self.port),
            "4-": entry("127.0.0.1", self.silent),
            "6-": entry("::1", self.silent),
            "no family": entry("127.0.0.1", self.port, family=99),
        }

        async def getaddrinfo(host, *rest, **more):
            if host == "name":
                return [kinds[answer] for answer in answers]
            return await resolve(host, *rest, **more)

        async def sock_connect(sock, address):
            self.tried.append(address)
            return await connect(sock, address)

        loop.getaddrinfo, loop.sock_connect = getaddrinfo, sock_connect
        return loop.create_connection(Recorder, "name", 1, **options)


async def end_and_describe(result):
    """What can be seen of a server, or of a transport and its protocol; close them."""
    if isinstance(result, asyncio.AbstractServer):
        seen = [
            (
                sock.family,
                sock.type,
                sock.proto,
                sock.getsockname(),
                sock.gettimeout(),
                [sock.getsockopt(socket.SOL_SOCKET, option) for option in SERVER_OPTIONS],
            )
            for sock in result.sockets
        ]
        seen += [result.is_serving(), result._ssl_context is SERVER, result._ssl_handshake_timeout]
        result.close()
        await result.wait_closed()
        return seen
    transport, protocol = result
    sock = transport.get_extra_info("socket")
    names = ("sockname", "peername", "sslcontext")
    seen = [type(transport).__name__, *map(transport.get_extra_info, names)]
    with contextlib.suppress(OSError):  # One without a peer may be closed by now.
        seen.append((sock.family, sock.type, sock.proto, sock.gettimeout()))
        seen += [sock.getsockopt(socket.SOL_SOCKET, option) for option in SERVER_OPTIONS]
    transport.abort()
    await protocol.lost
    return seen, protocol.log


SERVER_OPTIONS = (
    socket.SO_REUSEADDR,
    socket.SO_REUSEPORT,
    socket.SO_KEEPALIVE,
    socket.SO_BROADCAST,
)


def same(call):
    """Make the call on both loops and compare."""

    async def scenario():
        with contextlib.ExitStack() as stack:
            around = Surroundings(stack)
            try:
                result = await asyncio.wait_for(eval(call, around.names()), 1.5)
            except Exception as error:
                several = getattr(error, "exceptions", [error])
                seen = type(error).__name__, [(plain(one), one.args[:1]) for one in several]
            else:
                seen = await end_and_describe(result)
            await settle()
            return plain((seen, around.tried, sorted(os.listdir(around.folder))))

    def run(loop):
        return loop.run_until_complete(scenario())

    kind, *value = assert_same_on_both(run)
    assert kind == "returned", value
    return value[0]


# -- several addresses -----------------------------------------------------------------------------

ANSWERS = [
    [],
    ["4+"],
    ["6+"],
    ["4-"],
    ["4-", "4+"],
    ["6-", "4+"],
    ["4-", "6-"],
    ["4-", "4-"],
    ["6+", "4+"],
    ["4+", "6+"],
    ["6-", "6-", "6-", "4-", "4-", "4+"],
    ["6-", "6-", "4-", "4-", "6+"],
    ["no family", "4+"],
]
# The delay is so long that nothing but a failure begins the next attempt.
WAYS = [
    "",
    "happy_eyeballs_delay=5",
    "happy_eyeballs_delay=5, interleave=2",
    "happy_eyeballs_delay=5, interleave=0",
    "interleave=1",
    "interleave=2",
    "local_addr=('127.0.0.1', 0)",
    "local_addr=('::1', 0), happy_eyeballs_delay=5",
    "local_addr=('localhost', 0)",
    "local_addr=('192.0.2.1', 0)",
]
SINCE_3_12_WAYS = [
    "all_errors=True",
    "all_errors=True, happy_eyeballs_delay=5",
    "all_errors=True, local_addr=('192.0.2.1', 0)",
]


@pytest.mark.parametrize("way", WAYS + SINCE_3_12_WAYS * SINCE_3_12)
@pytest.mark.parametrize("answers", ANSWERS, ids=" ".join)
def test_a_name_that_stands_for_several_addresses(answers, way):
    same(f"connect({answers}, {way})")


def test_families_take_turns():
    """What the differential test compares is really what is asked for."""
    six = "('::1', PORT, 0, 0)"
    four = "('127.0.0.1', PORT)"
    answers = ["6-", "6-", "4-", "4-"]
    assert f"[{six}, {six}, {four}, {four}]" in same(f"connect({answers})")
    assert f"[{six}, {four}, {six}, {four}]" in same(f"connect({answers}, interleave=1)")
    assert f"[{six}, {four}, {six}, {four}]" in same(f"connect({answers}, happy_eyeballs_delay=5)")


# -- one call after the other ----------------------------------------------------------------------

KINDS = [
    "connected",
    "fresh",
    "udp",
    "unix",
    "unix fresh",
    "unix datagrams",
    "packets",
    "listening",
    "closed",
]
CALLS = [
    "loop.create_connection(P)",
    "loop.create_connection(P, HERE)",
    "loop.create_connection(P, None, port)",
    "loop.create_connection(P, '', port)",
    "loop.create_connection(P, HERE, str(port))",
    "loop.create_connection(P, HERE, None)",
    "loop.create_connection(P, HERE, -1)",
    "loop.create_connection(P, HERE, 70000)",
    "loop.create_connection(P, HERE, 'no such service')",
    "loop.create_connection(P, HERE, port, family=AF_INET6)",
    "loop.create_connection(P, '::1', port)",
    "loop.create_connection(P, '::1%lo', port)",
    "loop.create_connection(P, HERE, port, proto=17)",
    "loop.create_connection(P, HERE, port, flags=AI_NUMERICHOST)",
    "loop.create_connection(P, 'localhost', port, flags=AI_NUMERICHOST)",
    "loop.create_connection(P, HERE, port, sock=sock('connected'))",
    "loop.create_connection(P, sock=sock('connected'), happy_eyeballs_delay=1)",
    "loop.create_connection(P, sock=sock('connected'), interleave=1)",
    "loop.create_connection(P, sock=sock('connected'), local_addr=(HERE, 0))",
    "loop.create_connection(P, sock=5)",
    *(f"loop.create_connection(P, sock=sock({kind!r}))" for kind in KINDS),
    "loop.create_connection(P, HERE, port, server_hostname='x')",
    "loop.create_connection(P, HERE, port, ssl_handshake_timeout=1)",
    "loop.create_connection(P, HERE, port, ssl_shutdown_timeout=1)",
    "loop.create_connection(P, sock=sock('connected'), ssl=True)",
    "loop.create_connection(P, HERE, port, ssl=5)",
    "loop.create_connection(P, HERE, port, ssl=client, ssl_handshake_timeout=0.02)",
    "loop.create_connection(P, HERE, port, ssl=client, ssl_handshake_timeout=-1)",
    "loop.create_connection(P, HERE, port, ssl=client, ssl_shutdown_timeout=0)",
    "loop.create_connection(P, HERE, port, ssl=client, server_hostname='')",
    "loop.create_connection(P, HERE, port, ssl=client, server_hostname='a\\0b')",
    *(f"loop.connect_accepted_socket(P, sock({kind!r}))" for kind in KINDS),
    "loop.connect_accepted_socket(P, None)",
    "loop.connect_accepted_socket(P, sock('connected'), ssl=5)",
    "loop.connect_accepted_socket(P, sock('connected'), ssl=server, ssl_handshake_timeout=0.02)",
    "loop.connect_accepted_socket(P, sock('connected'), ssl_handshake_timeout=1)",
    "loop.connect_accepted_socket(P, sock('connected'), ssl_shutdown_timeout=1)",
    "loop.create_server(P)",
    "loop.create_server(P, HERE, 0)",
    "loop.create_server(P, '::1', 0)",
    "loop.create_server(P, 'localhost', 0)",
    "loop.create_server(P, '', 0)",
    "loop.create_server(P, None, 0)",
    "loop.create_server(P, None, 0, family=AF_INET)",
    "loop.create_server(P, None, 0, family=AF_INET6)",
    "loop.create_server(P, [HERE, '::1'], 0)",
    "loop.create_server(P, [HERE, HERE], 0)",
    "loop.create_server(P, (HERE,), 0)",
    "loop.create_server(P, [], 0)",
    "loop.create_server(P, '192.0.2.1', 0)",
    "loop.create_server(P, [HERE, '192.0.2.1'], 0)",
    "loop.create_server(P, HERE, port)",
    "loop.create_server(P, HERE, -1)",
    "loop.create_server(P, HERE, 0, family=AF_INET6)",
    "loop.create_server(P, HERE, 0, reuse_address=False)",
    "loop.create_server(P, HERE, 0, reuse_port=True)",
    "loop.create_server(P, HERE, 0, backlog=-1)",
    "loop.create_server(P, HERE, 0, backlog='x')",
    "loop.create_server(P, HERE, 0, start_serving=False)",
    "loop.create_server(P, HERE, 0, ssl=server)",
    "loop.create_server(P, HERE, 0, ssl=server, ssl_handshake_timeout=3, ssl_shutdown_timeout=4)",
    "loop.create_server(P, HERE, 0, ssl=server, ssl_handshake_timeout=0)",
    "loop.create_server(P, HERE, 0, ssl=True)",
    "loop.create_server(P, HERE, 0, ssl_handshake_timeout=3)",
    "loop.create_server(P, HERE, 0, ssl_shutdown_timeout=3)",
    "loop.create_server(P, HERE, 0, sock=sock('listening'))",
    "loop.create_server(P, sock=3)",
    *(f"loop.create_server(P, sock=sock({kind!r}))" for kind in KINDS if kind != "connected"),
    "loop.create_unix_connection(P)",
    "loop.create_unix_connection(P, path)",
    "loop.create_unix_connection(P, '')",
    "loop.create_unix_connection(P, '\\0hotloop: nobody')",
    "loop.create_unix_connection(P, folder)",
    "loop.create_unix_connection(P, 5)",
    "loop.create_unix_connection(P, 'x' * 200)",
    "loop.create_unix_connection(P, path, sock=sock('unix'))",
    *(f"loop.create_unix_connection(P, sock=sock({kind!r}))" for kind in KINDS),
    "loop.create_unix_connection(P, path, ssl=client)",
    "loop.create_unix_connection(P, path, server_hostname='x')",
    "loop.create_unix_connection(P, path, ssl_handshake_timeout=1)",
    "loop.create_unix_connection(P, path, ssl_shutdown_timeout=1)",
    "loop.create_unix_server(P)",
    "loop.create_unix_server(P, path)",
    "loop.create_unix_server(P, str(path))",
    "loop.create_unix_server(P, os.fsencode(path))",
    "loop.create_unix_server(P, f'\\0hotloop {os.getpid()}')",
    "loop.create_unix_server(P, b'\\0hotloop %d' % os.getpid())",
    "loop.create_unix_server(P, str(path) + 'x' * 200)",
    "loop.create_unix_server(P, folder + '/no/such')",
    "loop.create_unix_server(P, folder)",
    "loop.create_unix_server(P, 5)",
    "loop.create_unix_server(P, [path.write_text(''), path][1])",
    "loop.create_unix_server(P, [sock('bound unix').listen(), path][1])",
    "loop.create_unix_server(P, [sock('bound unix').close(), path][1])",
    "loop.create_unix_server(P, sock=sock('bound unix'))",
    "loop.create_unix_server(P, path, sock=sock('bound unix'))",
    *(f"loop.create_unix_server(P, sock=sock({kind!r}))" for kind in KINDS if kind != "unix"),
    "loop.create_unix_server(P, path, backlog=3)",
    "loop.create_unix_server(P, path, start_serving=False)",
    "loop.create_unix_server(P, path, ssl=server)",
    "loop.create_unix_server(P, path, ssl=True)",
    "loop.create_unix_server(P, path, ssl_handshake_timeout=1)",
    "loop.create_unix_server(P, path, ssl_shutdown_timeout=1)",
    "loop.create_datagram_endpoint(D)",
    "loop.create_datagram_endpoint(D, family=AF_INET)",
    "loop.create_datagram_endpoint(D, family=AF_INET6)",
    "loop.create_datagram_endpoint(D, family=AF_UNIX)",
    "loop.create_datagram_endpoint(D, family=99)",
    "loop.create_datagram_endpoint(D, local_addr=(HERE, 0))",
    "loop.create_datagram_endpoint(D, local_addr=('::1', 0))",
    "loop.create_datagram_endpoint(D, local_addr=('localhost', 0))",
    "loop.create_datagram_endpoint(D, local_addr=('192.0.2.1', 0))",
    "loop.create_datagram_endpoint(D, local_addr=(HERE,))",
    "loop.create_datagram_endpoint(D, local_addr='x')",
    "loop.create_datagram_endpoint(D, remote_addr=(HERE, silent))",
    "loop.create_datagram_endpoint(D, remote_addr=('localhost', silent))",
    "loop.create_datagram_endpoint(D, remote_addr=(HERE, 0, 0))",
    "loop.create_datagram_endpoint(D, remote_addr=('255.255.255.255', 9))",
    "loop.create_datagram_endpoint(D, remote_addr=('255.255.255.255', 9), allow_broadcast=True)",
    "loop.create_datagram_endpoint(D, local_addr=(HERE, 0), remote_addr=(HERE, silent))",
    "loop.create_datagram_endpoint(D, local_addr=(HERE, 0), remote_addr=('::1', silent))",
    "loop.create_datagram_endpoint(D, local_addr=(HERE, 0), reuse_port=True)",
    "loop.create_datagram_endpoint(D, local_addr=(HERE, 0), allow_broadcast=True)",
    "loop.create_datagram_endpoint(D, local_addr=(HERE, 0), flags=AI_NUMERICHOST, proto=17)",
    "loop.create_datagram_endpoint(D, local_addr=(HERE, 0), proto=6)",
    *(f"loop.create_datagram_endpoint(D, sock=sock({kind!r}))" for kind in KINDS),
    "loop.create_datagram_endpoint(D, sock=sock('udp'), local_addr=(HERE, 0))",
    "loop.create_datagram_endpoint(D, sock=sock('udp'), reuse_port=True)",
    "loop.create_datagram_endpoint(D, family=AF_UNIX, local_addr=str(path))",
    "loop.create_datagram_endpoint(D, family=AF_UNIX, local_addr=os.fsencode(path))",
    "loop.create_datagram_endpoint(D, family=AF_UNIX, local_addr=(HERE, 0))",
    "loop.create_datagram_endpoint(D, family=AF_UNIX, remote_addr=str(path))",
    "loop.create_datagram_endpoint(D, family=AF_UNIX, local_addr=str(path), remote_addr=str(path))",
]
SINCE_3_13_CALLS = [
    "loop.create_server(P, HERE, 0, keep_alive=True)",
    "loop.create_unix_server(P, path, cleanup_socket=False)",
    "loop.create_unix_server(P, path, cleanup_socket=True)",
    "loop.create_unix_server(P, f'\\0hotloop {os.getpid()}', cleanup_socket=True)",
    "loop.create_unix_server(P, sock=sock('bound unix'), cleanup_socket=True)",
    "loop.create_unix_server(P, [sock('bound unix').close(), path][1], cleanup_socket=False)",
]


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # Of asyncio's, where it failed.
@pytest.mark.parametrize("call", CALLS + SINCE_3_13_CALLS * SINCE_3_13)
def test_call(call):
    same(call)
