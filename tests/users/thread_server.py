"""An HTTP server of threads and blocking sockets, for clients: no loop but the client's is used."""

import contextlib
import http.server
import threading
import time
from urllib.parse import parse_qs, urlsplit

from users import content, load


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves /data, /echo and /sleep as asgi_app.py does, and two that are only for clients."""

    protocol_version = "HTTP/1.1"
    timeout = load.SECONDS

    def log_message(self, *arguments):
        """Say nothing."""

    def handle(self):
        """Serve a connection; a client that goes away is no error."""
        with contextlib.suppress(OSError):
            super().handle()

    def answer(self, body):
        """Send a whole body with its length."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def in_chunks(self, body, size):
        """Send a body as chunks."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for at in range(0, len(body), size):
            part = body[at : at + size]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        self.wfile.write(b"0\r\n\r\n")

    def do_GET(self):
        """Dispatch by path; numbers come in the query."""
        url = urlsplit(self.path)
        query = {name: int(values[0]) for name, values in parse_qs(url.query).items()}
        if url.path == "/sleep":
            time.sleep(query["milliseconds"] / 1000)
            self.answer(b"slept")
            return
        body = content.data(query["length"], query["offset"])
        if url.path == "/reset":  # The head, a part of the body, and a RST.
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2])
            load.reset(self.connection)
            self.close_connection = True
        elif url.path == "/drip":  # Small pieces with pauses.
            self.in_chunks(body, 1 + len(body) // 50)
        elif query["chunk"]:
            self.in_chunks(body, query["chunk"])
        else:
            self.answer(body)

    def do_POST(self):
        """Send the request's body back, however it came."""
        if self.headers["Transfer-Encoding"] == "chunked":
            body = b"".join(iter(self.read_chunk, b""))
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(body)

    def read_chunk(self):
        """The next chunk of a request."""
        chunk = self.rfile.read(int(self.rfile.readline(), 16))
        self.rfile.readline()
        return chunk


class ThreadServer(http.server.ThreadingHTTPServer):
    """Its threads are waited for when it is closed; `connections` counts what it has accepted."""

    daemon_threads = False
    request_queue_size = 200

    def __init__(self, tls):
        super().__init__(("127.0.0.1", 0), Handler)
        self.tls = tls
        self.connections = 0

    def get_request(self):
        """Accept a connection."""
        sock, address = super().get_request()
        self.connections += 1
        return sock, address

    def finish_request(self, request, address):
        """Serve a connection in its thread, after the handshake."""
        if self.tls is not None:
            with contextlib.suppress(OSError):
                request.settimeout(load.SECONDS)
                with self.tls.wrap_socket(request, server_side=True) as request:
                    super().finish_request(request, address)
        else:
            super().finish_request(request, address)

    def handle_error(self, request, address):
        """Be silent about clients that go away in the middle of something."""


@contextlib.contextmanager
def serve(tls=None):
    """Run a server in a thread; gives it with `url`, and ends all threads afterwards."""
    with ThreadServer(tls) as server:
        scheme = "http" if tls is None else "https"
        server.url = f"{scheme}://localhost:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
