"""aiohttp's server under `web.run_app(app, loop=...)`: every body, files, forms, TLS, the end."""

import hashlib
import json
import signal
import sys

import pytest

from . import aiohttp_app, content, load, websocket_load, wrk
from .program import free_port
from .server import Server

pytestmark = pytest.mark.timeout(90)

# aiohttp makes its tasks itself, as asyncio.Task(..., eager_start=True), where the loop cannot.
TASK = "_asyncio.Task" if (3, 12) <= sys.version_info < (3, 14) else None


@pytest.fixture
def start(programs, loop_name):
    """Start aiohttp_app.py at a target, with these files of a certificate, as a Server."""

    def start_aiohttp(*certificate, target=None):
        target = target or load.Target(("127.0.0.1", free_port()))
        address = target.address if isinstance(target.address, str) else target.address[1]
        command = (aiohttp_app.__file__, loop_name, address, *certificate)
        return Server(programs.python(*command), target, loop_name, TASK)

    return start_aiohttp


def end(server):
    """Stop a server that has nothing to do: cleanly, and at once."""
    server.check_nothing_is_left()
    assert server.program.stop() == 0
    assert server.program.text().endswith("app: shutdown\n")


def takes_the_file(target, seed):
    """The whole file and a part of it, over one connection; sent by sendfile."""
    with target.http() as connection:
        for _ in range(2):
            assert load.exchange(connection, "GET", "/file") == content.DATA
        first, last = 100_000 * seed, 3_000_000 + seed
        connection.request("GET", "/file", headers={"Range": f"bytes={first}-{last}"})
        response = connection.getresponse()
        assert response.status == 206
        assert response.read() == content.DATA[first : last + 1]


def uploads(target, seed):
    """A form with two files, one of them large."""
    files = {"small": content.data(10, seed), "large": content.data(2_000_000, seed)}
    lines = b"".join(
        b'--part\r\nContent-Disposition: form-data; name="%s"; filename="f"\r\n\r\n%s\r\n'
        % (name.encode(), body)
        for name, body in files.items()
    )
    with target.http() as connection:
        headers = {"Content-Type": "multipart/form-data; boundary=part"}
        answer = load.exchange(
            connection, "POST", "/form", lines + b"--part--\r\n", headers=headers
        )
    digests = {name: [len(f), hashlib.sha256(f).hexdigest()] for name, f in files.items()}
    assert json.loads(answer) == digests


USUAL = (*load.USUAL, *websocket_load.USUAL, takes_the_file, uploads)


def test_every_body_arrives_whole_under_load(start):
    server = start()
    load.together(server.target, *USUAL)
    server.warm_up()
    load.together(server.target, *USUAL, times=3)
    end(server)


def test_tls(start, certificates):
    target = load.Target(("127.0.0.1", free_port()), certificates.client())
    server = start(certificates.certificate, certificates.key, target=target)
    load.together(server.target, *USUAL)
    server.warm_up()
    load.together(target, *USUAL, load.vanishes, times=2)
    end(server)


def test_a_unix_socket(start, tmp_path):
    server = start(target=load.Target(str(tmp_path / "socket")))
    load.together(server.target, *USUAL)
    server.warm_up()
    load.together(server.target, *USUAL, times=2)
    end(server)


def test_wrk_finds_no_wrong_answer(start, tmp_path):
    server = start()
    server.warm_up()
    url = "http://{}:{}".format(*server.target.address)
    wrk.run(tmp_path, f"{url}/data?length=1300&offset=5&chunk=0", content.data(1300, 5))
    wrk.run(tmp_path, f"{url}/data?length=90000&offset=0&chunk=7000", content.data(90000))
    wrk.run(tmp_path, f"{url}/file?name=part", content.data(1_200_000), connections=10)
    end(server)


def test_clients_that_vanish_leave_nothing(start):
    server = start()
    load.together(server.target, takes_the_file)
    server.warm_up()
    vanishing = (load.vanishes, load.waits_and_vanishes, websocket_load.vanishes)
    load.together(server.target, *vanishing, takes_the_file, load.keeps_alive, times=5)
    end(server)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_busy_server_finishes_its_answers_before_it_ends(start, number):
    server = start()
    server.warm_up()
    server.end_while_busy(number)
    assert server.program.wait() == 0
    assert server.program.text().endswith("app: shutdown\n")
