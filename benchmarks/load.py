"""Runs a server and a client, each in its own process and on its own CPU, and says what it cost.

The figure is CPU time of the server per message, kernel and user, of all its threads.  The client
in C reads the server's CPU clock itself, at both ends of its measuring window; for wrk, which has
no such window, the clock is read around its whole run.
"""

import contextlib
import dataclasses
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from benchmarks import compiled, loops
from benchmarks.registry import NotApplicable
from benchmarks.runner import ROOT

SHORTEST = 0.1  # seconds of a window: less may pass on a busy machine before the server runs
EXCHANGE_LIMIT = 300  # seconds for a number of messages, under callgrind too

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
BODY = b"Hello, world!"  # of an answer

# Servers of servers.py that exist in C, and the kind there.
IN_C = {"proto": "echo", "unix": "echo", "udp": "datagram", "http": "http", "sock": "turns"}


class LoadFailed(Exception):
    """The client or the server gave up; the message is the last thing it said."""


@dataclasses.dataclass(frozen=True)
class Server:
    """A server that is ready."""

    pid: int
    address: str


def choose_cpus():
    """Return the CPU of the server and that of the client."""
    cpus = sorted(os.sched_getaffinity(0))
    return cpus[0], cpus[-1]


def make_certificate(folder):
    """Make a certificate for this run, and its key."""
    command = ["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise compiled.Missing("needs the program openssl (Debian: openssl)") from None


def _server_command(name, kind, folder):
    cpu = str(choose_cpus()[0])
    if name in loops.SERVERS:
        if kind == "sock" and name == "C-libuv":
            raise NotApplicable("libuv has no calls for sockets of the program's own")
        path = str(folder / "socket") if kind == "unix" else "inet"
        return [str(compiled.build(loops.SERVERS[name])), IN_C[kind], path, cpu]
    module = [sys.executable, "-m", "benchmarks.servers"]
    return [*module, name, kind, "--folder", str(folder), "--cpu", cpu]


def _last_line(path):
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it wrote nothing"


@contextlib.contextmanager
def running_server(name, kind, wrapper=(), environment=None):
    """Start the server of this kind on a loop, or in C; kill it at the end.

    If the server ends on its own, its last words are raised in the place of the client's.  A
    wrapper is the command of a program that runs the server; it is ended by SIGTERM, so that it
    can write down what it saw.
    """
    with tempfile.TemporaryDirectory() as folder_name:
        folder = pathlib.Path(folder_name)
        if kind == "tls":
            make_certificate(folder)
        words = folder / "stderr"
        with words.open("w") as stderr:
            process = subprocess.Popen(
                [*wrapper, *_server_command(name, kind, folder)],
                cwd=ROOT,
                env=environment or loops.environment(name),
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        try:
            yield Server(process.pid, _read_address(process, words))
            if process.poll() is not None:
                raise LoadFailed(f"the server ended: {_last_line(words)}")
        except LoadFailed as failure:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.2)  # a client may see the end of the server before its parent does
                raise LoadFailed(f"the server ended: {_last_line(words)}") from failure
            raise
        finally:
            process.send_signal(signal.SIGTERM if wrapper else signal.SIGKILL)
            process.communicate()


def _read_address(process, words):
    line = process.stdout.readline()
    if not line:
        raise LoadFailed(f"the server ended: {_last_line(words)}")
    answer = json.loads(line)
    if isinstance(answer, str):
        return answer
    if "missing" in answer:
        raise compiled.Missing(answer["missing"])
    raise LoadFailed(f"the server did not start: {answer['error']}")


def run_client(server, seconds, *client_options, tls=False):
    """Load the server with the client in C; return what it measured."""
    seconds = max(seconds, SHORTEST)
    measuring = ["--seconds", str(seconds), "--warmup", str(seconds / 4)]
    measuring += ["--server-pid", str(server.pid)]
    return _run_client(server, [*client_options, *measuring], 30 + 3 * seconds, tls)


def exchange(server, messages, *client_options, tls=False):
    """Exchange at least so many messages with the server; return how many it were."""
    arguments = [*client_options, "--messages", str(messages)]
    return _run_client(server, arguments, EXCHANGE_LIMIT, tls)["messages"]


def exchange_http(server, requests, connections=50):
    """Get at least so many answers over connections that stay; return how many it were.

    One request of each connection is on its way all the time, as with wrk.
    """
    host, port = server.address.split(":")
    streams = [
        socket.create_connection((host, int(port)), EXCHANGE_LIMIT) for _ in range(connections)
    ]
    with contextlib.ExitStack() as stack:
        for stream in streams:
            stack.enter_context(stream)
            stream.sendall(REQUEST)
        rounds = -(-requests // connections)
        for _ in range(rounds - 1):
            for stream in streams:
                _take_answer(stream)
                stream.sendall(REQUEST)
        for stream in streams:
            _take_answer(stream)
    return rounds * connections


def _take_answer(stream):
    answer = b""
    while not answer.endswith(BODY):
        piece = stream.recv(65536)
        if not piece or not (answer or piece.startswith(b"HTTP/1.1 200 OK\r\n")):
            raise LoadFailed(f"wrong answer: {answer + piece!r}")
        answer += piece


def _run_client(server, arguments, limit, tls=False):
    program = compiled.build("load_client_tls" if tls else "load_client")
    command = [str(program), server.address, *arguments, "--cpu", str(choose_cpus()[1])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    if done.returncode != 0:
        raise LoadFailed((done.stderr.strip().splitlines() or ["the client died"])[-1])
    return json.loads(done.stdout)


def measure(case, kind, *client_options):
    """Return the server's CPU time in us per message; the rest goes to the case's details."""
    with running_server(case.loop_name, kind) as server:
        result = run_client(server, case.seconds, *client_options, tls=kind == "tls")
    case.details = result
    return result.pop("server_cpu_us")


def process_clock_ns(pid):
    """Return the CPU time of another process, of all its threads, in ns.

    Linux numbers the CPU clock of a process so; there is no function for it in Python.
    """
    return time.clock_gettime_ns(~pid << 3 | 2)


def _check_answer(server):
    """Ask once: a server that answers wrongly, or not at all, is not measured."""
    connection = http.client.HTTPConnection(server.address, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", "/")
        response = connection.getresponse()
        body = response.read()
    if (response.status, body) != (200, BODY):
        raise LoadFailed(f"wrong answer: {response.status} {body!r}")


def parse_wrk(text):
    """Return what wrk printed as a dict of requests, rate, p50_us and p99_us."""
    for complaint in ("Socket errors", "Non-2xx"):
        for line in text.splitlines():
            if complaint in line:
                raise LoadFailed(f"wrk: {line.strip()}")
    factors = {"us": 1, "ms": 1_000, "s": 1_000_000}
    percentiles = {
        f"p{percent}_us": float(number) * factors[unit]
        for percent, number, unit in re.findall(r"^ +(50|99)% +([\d.]+)(us|ms|s)$", text, re.M)
    }
    return {
        "requests": int(re.search(r"(\d+) requests in", text).group(1)),
        "rate": float(re.search(r"Requests/sec: +([\d.]+)", text).group(1)),
        **percentiles,
    }


def measure_wrk(case, kind):
    """Return the server's CPU time in us per request under wrk."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise compiled.Missing("needs the program wrk (Debian: wrk)")
    seconds = max(1, round(case.seconds))  # wrk counts whole ones
    with running_server(case.loop_name, kind) as server:
        _check_answer(server)
        command = [wrk, "-t1", "-c50", f"-d{seconds}s", "--latency", f"http://{server.address}/"]
        client_cpu = choose_cpus()[1]
        start = process_clock_ns(server.pid)
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=True,
            timeout=30 + 3 * seconds,
            preexec_fn=lambda: os.sched_setaffinity(0, {client_cpu}),
        )
        used = process_clock_ns(server.pid) - start
    case.details = parse_wrk(done.stdout)
    return used / 1_000 / case.details["requests"]
