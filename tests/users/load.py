"""Load for servers, from threads with blocking sockets, so that no loop judges itself.

Each client is a function of (target, seed) that checks every byte of every answer; `together` runs
many of them at once. The paths are those of asgi_app.py, which the other servers serve too.
"""

import contextlib
import http.client
import random
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from users import content

SECONDS = 30  # What one operation on a socket may take at most.


@dataclass(frozen=True)
class Target:
    """Where a server listens: a (host, port) or a path, and the client's TLS context if any."""

    address: tuple | str
    tls: object = None

    def connect(self, receive_buffer=None):
        """A new connected socket, after the handshake where there is TLS."""
        family = socket.AF_INET if isinstance(self.address, tuple) else socket.AF_UNIX
        sock = socket.socket(family)
        sock.settimeout(SECONDS)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.connect(self.address)
        if self.tls is not None:
            sock = self.tls.wrap_socket(sock, server_hostname="localhost")
        return sock

    @contextlib.contextmanager
    def http(self):
        """A connection of http.client's."""
        connection = http.client.HTTPConnection("localhost")
        connection.sock = self.connect()
        try:
            yield connection
        finally:
            connection.close()


def together(target, *clients, times=1):
    """Run each of the clients so many times, all at once, with seeds that differ."""
    jobs = [client for client in clients for _ in range(times)]
    with ThreadPoolExecutor(len(jobs)) as pool:
        for done in [pool.submit(job, target, seed) for seed, job in enumerate(jobs)]:
            done.result()


def data_request(rng, largest):
    """A path under /data and the bytes it gives."""
    length = rng.randrange(largest)
    offset = rng.randrange(len(content.DATA) - length)
    chunk = rng.choice((0, 0, 1 + length // 7, 65536))
    return f"/data?length={length}&offset={offset}&chunk={chunk}", content.data(length, offset)


def exchange(connection, method, path, body=None, **options):
    """One request and the bytes of its answer, which must have the status 200."""
    connection.request(method, path, body, **options)
    response = connection.getresponse()
    received = response.read()
    assert response.status == 200, (response.status, received[:200])
    return received


def one_request(connection, rng, **options):
    """A request of a random kind and size, with its answer checked."""
    kind = rng.choice(("data", "data", "echo"))
    largest = rng.choice((100, 5_000, 100_000, 2_500_000))
    path, expected = data_request(rng, largest)
    if kind == "data":
        received = exchange(connection, "GET", path, **options)
    else:
        body = expected
        if rng.random() < 0.4:
            body = (expected[at : at + 30_000] for at in range(0, len(expected), 30_000))
            options["encode_chunked"] = True
            options["headers"] = {**options.get("headers", {}), "Transfer-Encoding": "chunked"}
        received = exchange(connection, "POST", "/echo", body, **options)
    assert received == expected, (kind, len(expected), len(received))


def keeps_alive(target, seed):
    """Many requests of every kind on one connection."""
    rng = random.Random(seed)
    with target.http() as connection:
        sock = connection.sock
        for _ in range(12):
            one_request(connection, rng)
            assert connection.sock is sock, "the server has closed the connection"


def closes(target, seed):
    """One request for each connection, which the server then closes."""
    rng = random.Random(seed)
    for _ in range(6):
        with target.http() as connection:
            sock = connection.sock
            one_request(connection, rng, headers={"Connection": "close"})
            assert connection.sock is None  # http.client has read "Connection: close".
            sock.close()


def pipelines(target, seed):
    """Many small requests in one piece; the answers come in their order."""
    rng = random.Random(seed)
    wanted = []
    for _ in range(60):
        length, offset = rng.randrange(3000), rng.randrange(100_000)
        path = f"/data?length={length}&offset={offset}&chunk=0"
        wanted.append((path, content.data(length, offset)))
    requests = [f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n" for path, _ in wanted]
    with target.connect() as sock, sock.makefile("rb") as answers:
        sock.sendall("".join(requests).encode())
        for path, expected in wanted:
            assert b" 200 " in answers.readline(), path
            headers = http.client.parse_headers(answers)
            assert answers.read(int(headers["Content-Length"])) == expected, path


def read_response(sock):
    """The body of the next answer on a socket."""
    with http.client.HTTPResponse(sock) as response:
        response.begin()
        return response.read()


def reads_slowly(target, seed):
    """A large answer taken in small pieces, through a small window, with pauses."""
    length = 3_000_000
    path = f"/data?length={length}&offset={seed}&chunk={(0, 50_000)[seed % 2]}"
    with target.connect(receive_buffer=8192) as sock:
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        sock.sendall(request.encode())
        time.sleep(0.2)
        with http.client.HTTPResponse(sock) as response:
            response.begin()
            parts = [response.read(997)]
            while parts[-1]:
                if len(parts) < 100:
                    time.sleep(0.001)
                parts.append(response.read(997 if len(parts) < 100 else 65536))
    assert b"".join(parts) == content.data(length, seed)


def writes_slowly(target, seed):
    """A request in pieces of one byte, the body in a few more, with pauses."""
    body = content.data(20_000, seed)
    head = f"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    with target.connect() as sock:
        for at in range(len(head)):
            sock.sendall(head[at : at + 1].encode())
        for at in range(0, len(body), 1000):
            sock.sendall(body[at : at + 1000])
            time.sleep(0.002)
        assert read_response(sock) == body


def mirrors(target, seed):
    """A large body is sent while its echo is read, so that both directions are full."""
    body = content.data(4_000_000, seed)
    head = f"POST /mirror HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    with target.connect(receive_buffer=16384) as sock, ThreadPoolExecutor(1) as pool:
        sent = pool.submit(sock.sendall, head.encode() + body)
        time.sleep(0.2)
        assert read_response(sock) == body
        sent.result()


USUAL = (keeps_alive, closes, mirrors, pipelines, reads_slowly, writes_slowly)


def reset(sock):
    """Close a connection with a RST instead of a FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def vanishes(target, seed):
    """Goes away in every state of a request, politely and with a reset."""
    rng = random.Random(seed)
    get = b"GET /data?length=4000000&offset=0&chunk=0 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    post = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000\r\n\r\n"
    states = (b"", get[:20], get, get * 3, post, post + bytes(500), post + bytes(500_000))
    for state in states:
        sock = target.connect()
        sock.sendall(state)
        if state.startswith(get):
            sock.recv(1 + rng.randrange(200_000))
        if rng.random() < 0.5:
            reset(sock)
        else:
            sock.close()


def waits_and_vanishes(target, seed):
    """Goes away while the server works on the answer."""
    for _ in range(5):
        with target.connect() as sock:
            sock.sendall(b"GET /sleep?milliseconds=200 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            time.sleep(0.01 * (seed % 3))
