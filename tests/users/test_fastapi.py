"""A FastAPI (and so Starlette) application under uvicorn: what frameworks add to a server."""

import hashlib
import json
import random
import signal

import pytest

from . import content, load, websocket_load, wrk
from .program import free_port, wait_until
from .server import Server

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
def server(programs, loop_name):
    """The application, served by uvicorn."""
    port = free_port()
    loop = {"hotloop": "hotloop:new_event_loop", "asyncio": "asyncio"}[loop_name]
    options = ("--loop", loop, "--log-level", "warning", "--port", port)
    program = programs.python("-m", "uvicorn", "users.fastapi_app:app", *options)
    return Server(program, load.Target(("127.0.0.1", port)), loop_name)


def ask(connection, method, path, value=None):
    """A request with JSON both ways."""
    headers = {"Content-Type": "application/json"}
    body = None if value is None else json.dumps(value)
    return json.loads(load.exchange(connection, method, path, body, headers=headers))


def digest(body):
    """The digest as the application sends it."""
    return hashlib.sha256(body).hexdigest()


def asks_everything(target, seed):
    """Every path, several times, in random order, on one connection."""
    rng = random.Random(seed)

    def hello(connection):
        assert ask(connection, "GET", "/hello") == {"message": "hello"}

    def item(connection):
        answer = ask(connection, "POST", "/items", {"name": "n" * seed, "count": seed})
        assert answer == {"name": "n" * seed, "twice": 2 * seed}

    def in_a_thread(connection):
        answer = ask(connection, "GET", f"/in-a-thread?length={1000 * seed}")
        assert answer == {"digest": digest(content.data(1000 * seed))}

    def dependency(connection):
        assert ask(connection, "GET", "/dependency") == {"value": "depends"}

    def stream(connection):
        length = rng.choice((10, 5000, 1_500_000))
        received = load.exchange(connection, "GET", f"/stream?length={length}&chunk=20000")
        assert received == content.data(length)

    def upload(connection):
        file = content.data(rng.choice((10, 1_500_000)), seed)
        head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
        body = head + file + b"\r\n--b--\r\n"
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        answer = load.exchange(connection, "POST", "/upload", body, headers=headers)
        assert json.loads(answer) == {"size": len(file), "digest": digest(file)}

    kinds = [hello, item, in_a_thread, dependency, stream, upload] * 4
    rng.shuffle(kinds)
    with target.http() as connection:
        for kind in kinds:
            kind(connection)


def talks_json(target, seed):
    """A WebSocket conversation."""
    with websocket_load.open_connection(target) as connection:
        for number in range(50):
            connection.send(json.dumps({"seed": seed, "number": number}))
            answer = json.loads(connection.recv(load.SECONDS))
            assert answer == {"echo": {"seed": seed, "number": number}}


def test_everything_at_once(server, tmp_path):
    load.together(server.target, asks_everything, talks_json, times=6)
    url = "http://{}:{}/hello".format(*server.target.address)
    wrk.run(tmp_path, url, b'{"message":"hello"}')
    assert server.program.stop() == -signal.SIGTERM


def test_background_tasks_all_run(server):
    with server.target.http() as connection:
        for number in range(30):
            ask(connection, "POST", f"/background/{number}")
        wait_until(lambda: ask(connection, "GET", "/finished") == [*range(30)], "all tasks")
    assert server.ask_state()
    assert server.program.stop() == -signal.SIGTERM
