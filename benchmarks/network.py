"""Rows about servers and the network: what a message costs the server, what a connection holds.

A server row's figure is CPU time of the server process per message; beside it stand the rate and
the latency that the client saw.  Echo rows run on the servers in C too where there is one.
"""

import asyncio
import gc
import resource
import subprocess

from benchmarks import compiled, load, servers
from benchmarks.footprint import resident_bytes
from benchmarks.loops import ADD_ON, LOOP, SERVER
from benchmarks.registry import row

WITH_SERVERS = (LOOP, SERVER)
WITH_ADD_ONS = (LOOP, ADD_ON)


def _register(name, operation, kinds, function):
    function.__name__ = name
    function.__doc__ = operation
    row(unit="us", clock="server", group="network", kinds=kinds)(function)


def server_row(name, operation, kind, *client_options, kinds=WITH_SERVERS):
    """Register a row of the server of this kind under the load of the client in C."""
    _register(name, operation, kinds, lambda case: load.measure(case, kind, *client_options))


def wrk_row(name, operation, kind, kinds=(LOOP,)):
    """Register a row of the server of this kind under wrk."""
    _register(name, operation, kinds, lambda case: load.measure_wrk(case, kind))


def _connections(count, size, *more):
    return ("--connections", str(count), "--size", str(size), *more)


KIB = 1024
TEN = "one of 10 connections"
server_row(
    "tcp_proto_1KiB_x10",
    f"One message of 1 KiB echoed by a Protocol on {TEN}.",
    "proto",
    *_connections(10, KIB),
)
server_row(
    "tcp_proto_1KiB_x100",
    "One message of 1 KiB echoed by a Protocol on one of 100 connections.",
    "proto",
    *_connections(100, KIB),
)
server_row(
    "tcp_proto_1KiB_x1000",
    "One message of 1 KiB echoed by a Protocol on one of 1,000 connections.",
    "proto",
    *_connections(1000, KIB),
)
server_row(
    "tcp_proto_16KiB_x10",
    f"One message of 16 KiB echoed by a Protocol on {TEN}.",
    "proto",
    *_connections(10, 16 * KIB),
)
server_row(
    "tcp_proto_100KiB_x10",
    f"One message of 100 KiB echoed by a Protocol on {TEN}.",
    "proto",
    *_connections(10, 100 * KIB),
)
server_row(
    "tcp_4x256B_x10",
    f"One message of 1 KiB echoed by a Protocol in four writes of 256 bytes on {TEN}.",
    "proto_in_four",
    *_connections(10, KIB),
    kinds=(LOOP,),
)
server_row(
    "tcp_streams_1KiB_x10",
    f"One message of 1 KiB echoed by read() and write() of a stream on {TEN}.",
    "streams",
    *_connections(10, KIB),
    kinds=(LOOP,),
)
server_row(
    "tcp_readline_64B_x10",
    f"One line of 64 bytes echoed by readline() and write() of a stream on {TEN}.",
    "readline",
    *_connections(10, 64, "--lines"),
    kinds=(LOOP,),
)
server_row(
    "tcp_sock_1KiB_x10",
    f"One message of 1 KiB echoed by sock_recv() and sock_sendall() on {TEN}.",
    "sock",
    *_connections(10, KIB),
)
server_row(
    "unix_proto_1KiB_x10",
    f"One message of 1 KiB echoed by a Protocol on {TEN} over a unix socket.",
    "unix",
    *_connections(10, KIB),
)
server_row(
    "udp_64B_x10",
    "One datagram of 64 bytes echoed to one of 10 peers.",
    "udp",
    *_connections(10, 64, "--datagrams"),
)
server_row(
    "udp_64B_w32",
    "One datagram of 64 bytes echoed to a peer that has 32 on their way.",
    "udp",
    *_connections(1, 64, "--datagrams", "--in-flight", "32"),
)
server_row(
    "tls_proto_1KiB_x10",
    f"One message of 1 KiB echoed by a Protocol on {TEN} over TLS.",
    "tls",
    *_connections(10, KIB),
    kinds=WITH_ADD_ONS,
)
server_row(
    "tls_proto_16KiB_x10",
    f"One message of 16 KiB echoed by a Protocol on {TEN} over TLS.",
    "tls",
    *_connections(10, 16 * KIB),
    kinds=WITH_ADD_ONS,
)
server_row(
    "accept_proto_x10",
    "One connection accepted, its message of 64 bytes echoed by a Protocol, and closed; 10 at a "
    "time.",
    "proto",
    *_connections(10, 64, "--churn"),
)
wrk_row(
    "http_min_wrk50",
    "One HTTP request answered by a Protocol without parsing, on one of wrk's 50 connections.",
    "http",
    WITH_SERVERS,
)
wrk_row(
    "uvicorn_wrk50",
    "One HTTP request answered by uvicorn and a hello in ASGI, on one of wrk's 50 connections.",
    "uvicorn",
)
wrk_row(
    "aiohttp_wrk50",
    "One HTTP request answered by aiohttp's server, on one of wrk's 50 connections.",
    "aiohttp",
)

IDLE = 5_000
BEFORE_IDLE = (
    500  # connections that are there already, so that what comes with the first is not seen
)


@row(unit="B", group="network")
async def mem_idle_protocol(case):
    """One of 5,000 accepted connections that do nothing, with a plain Protocol; resident memory."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = IDLE + BEFORE_IDLE + 100
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, max(hard, needed)))
    accepted = []
    wanted = case.loop.create_future()

    class Idle(asyncio.Protocol):
        __slots__ = ()

        def connection_made(self, transport):
            accepted.append(transport)
            if len(accepted) in (BEFORE_IDLE, BEFORE_IDLE + IDLE):
                wanted.set_result(None)

    server = await case.loop.create_server(Idle, "127.0.0.1", 0, backlog=servers.BACKLOG)
    address = servers.address_of(server.sockets[0])
    clients = []

    async def connect(count):
        nonlocal wanted
        wanted = case.loop.create_future()
        clients.append(hold_connections(address, count))
        await asyncio.wait_for(wanted, 60)
        gc.collect()
        return resident_bytes()

    try:
        before = await connect(BEFORE_IDLE)
        accepted.extend([None] * IDLE)  # the list has its size
        del accepted[BEFORE_IDLE:]
        grown = await connect(IDLE) - before
    finally:
        for client in clients:
            client.kill()
            client.communicate()
        server.close()
    return grown / IDLE


def hold_connections(address, count):
    """Start a process that opens connections and keeps them until it is killed."""
    command = [str(compiled.build("load_client")), address, "--connections", str(count), "--hold"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
