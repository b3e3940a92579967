"""The servers of the network rows: `python -m benchmarks.servers LOOP KIND --folder FOLDER`.

Each runs in a process of its own until it is killed.  The first line it prints is JSON: the
address, HOST:PORT or the path of a unix socket, or an object with the reason why there is none.
What a loop reports to its exception handler ends the process.
"""

import argparse
import asyncio
import importlib
import json
import os
import pathlib
import socket
import ssl
import sys
import traceback

from benchmarks import compiled, loops

BACKLOG = 4096
HELLO = b"Hello, world!"
REPORTED = 3  # exit code after a report to the exception handler


class Echo(asyncio.Protocol):
    """Writes back what it receives."""

    def connection_made(self, transport):
        self.write = transport.write

    def data_received(self, data):
        self.write(data)


class EchoInFour(Echo):
    """Writes back what it receives, in four pieces."""

    def data_received(self, data):
        quarter = (len(data) + 3) // 4
        for start in range(0, len(data), quarter):
            self.write(data[start : start + quarter])


class EchoDatagram(asyncio.DatagramProtocol):
    """Sends back what it receives."""

    def connection_made(self, transport):
        self.sendto = transport.sendto

    def datagram_received(self, data, address):
        self.sendto(data, address)


class MinimalHttp(asyncio.Protocol):
    """Answers each end of a request without looking at what it asks for."""

    answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s" % (
        len(HELLO),
        HELLO,
    )

    def connection_made(self, transport):
        self.write = transport.write
        self.rest = b""

    def data_received(self, data):
        data = self.rest + data
        requests = data.count(b"\r\n\r\n")
        self.rest = b"" if data.endswith(b"\r\n\r\n") else data[data.rfind(b"\r\n\r\n") + 1 :]
        if requests:
            self.write(self.answer * requests)


def address_of(sock):
    """Return the address of a bound socket as the clients take it."""
    name = sock.getsockname()
    return name if isinstance(name, str) else f"{name[0]}:{name[1]}"


async def _serve_protocol(protocol, **options):
    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, "127.0.0.1", 0, backlog=BACKLOG, **options)
    return server, address_of(server.sockets[0])


async def serve_proto(folder):
    return await _serve_protocol(Echo)


async def serve_proto_in_four(folder):
    return await _serve_protocol(EchoInFour)


async def serve_http(folder):
    return await _serve_protocol(MinimalHttp)


async def serve_tls(folder):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return await _serve_protocol(Echo, ssl=context)


async def serve_unix(folder):
    path = str(folder / "socket")
    server = await asyncio.get_running_loop().create_unix_server(Echo, path, backlog=BACKLOG)
    return server, path


async def serve_udp(folder):
    endpoint = await asyncio.get_running_loop().create_datagram_endpoint(
        EchoDatagram, ("127.0.0.1", 0)
    )
    return endpoint, address_of(endpoint[0].get_extra_info("socket"))


async def _serve_streams(on_connect):
    server = await asyncio.start_server(on_connect, "127.0.0.1", 0, backlog=BACKLOG)
    return server, address_of(server.sockets[0])


async def serve_streams(folder):
    async def echo(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    return await _serve_streams(echo)


async def serve_readline(folder):
    async def echo(reader, writer):
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
        writer.close()

    return await _serve_streams(echo)


async def serve_sock(folder):
    loop = asyncio.get_running_loop()
    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    listener.setblocking(False)
    tasks = set()

    async def echo(connection):
        with connection:
            while data := await loop.sock_recv(connection, 65536):
                await loop.sock_sendall(connection, data)

    async def accept():
        while True:
            connection, _ = await loop.sock_accept(listener)
            tasks.add(loop.create_task(echo(connection)))

    tasks.add(loop.create_task(accept()))
    return tasks, address_of(listener)


def _import(name):
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise compiled.Missing(f"{error} (pip install '.[bench]')") from None


async def serve_uvicorn(folder):
    uvicorn = _import("uvicorn")

    async def hello(scope, receive, send):
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(HELLO))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": HELLO})

    config = uvicorn.Config(
        hello, port=0, backlog=BACKLOG, lifespan="off", access_log=False, log_level="warning"
    )
    server = uvicorn.Server(config)
    serving = asyncio.get_running_loop().create_task(server.serve())
    while not server.started:
        await asyncio.wait([serving], timeout=0.01)
        if serving.done():
            raise RuntimeError("uvicorn did not start") from serving.exception()
    return serving, address_of(server.servers[0].sockets[0])


async def serve_aiohttp(folder):
    web = _import("aiohttp.web")

    async def hello(request):
        return web.Response(body=HELLO, content_type="text/plain")

    app = web.Application()
    app.router.add_get("/", hello)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=BACKLOG).start()
    host, port = runner.addresses[0]
    return runner, f"{host}:{port}"


KINDS = {
    "proto": serve_proto,
    "proto_in_four": serve_proto_in_four,
    "streams": serve_streams,
    "readline": serve_readline,
    "sock": serve_sock,
    "unix": serve_unix,
    "udp": serve_udp,
    "tls": serve_tls,
    "http": serve_http,
    "uvicorn": serve_uvicorn,
    "aiohttp": serve_aiohttp,
}


def _end_on_report(loop, report):
    """The exception handler: a loop that has something to report does not get a figure."""
    error = report.get("exception")
    if error is not None:
        traceback.print_exception(error)
    print(f"{report.get('message')}: {error!r}", file=sys.stderr, flush=True)
    os._exit(REPORTED)


def _say(answer):
    print(json.dumps(answer), flush=True)


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.servers", description=__doc__)
    parser.add_argument("loop")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="for files it needs")
    parser.add_argument("--cpu", type=int, help="the CPU to run on")
    options = parser.parse_args(arguments)
    if options.cpu is not None:
        os.sched_setaffinity(0, {options.cpu})
    try:
        loop = loops.load_factory(options.loop)()
        loop.set_exception_handler(_end_on_report)
        serving, address = loop.run_until_complete(KINDS[options.kind](options.folder))
    except compiled.Missing as missing:
        _say({"missing": str(missing)})
        return 1
    except Exception as error:
        traceback.print_exc()
        _say({"error": repr(error)})
        return 1
    _say(address)
    loop.run_forever()
    del serving  # not before: it is all that holds the server
    return 0


if __name__ == "__main__":
    sys.exit(main())
