"""gunicorn, with uvicorn's worker and with its own for ASGI, by the documentation's recipes."""

import os
import signal

import pytest

from . import content, load, recipes, websocket_load, wrk
from .program import free_port, wait_until
from .server import Server

pytestmark = pytest.mark.timeout(90)

UVICORN_WORKER = "gunicorn with uvicorn's worker"
OWN_WORKER = "gunicorn** with its own ASGI worker"
QUIET = "--no-control-socket"  # It would be in the home folder of whoever runs the tests.


@pytest.fixture
def start(programs, tmp_path):
    """Start gunicorn with two workers and these options, as a Server."""

    def start_gunicorn(*options):
        port = free_port()
        command = ("-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--workers", "2", QUIET)
        (tmp_path / "workers.py").write_text(recipes.code(UVICORN_WORKER))
        (tmp_path / "gunicorn.conf.py").write_text(recipes.code(OWN_WORKER))
        paths = ("--pythonpath", tmp_path)
        program = programs.python(*command, *paths, *options, "users.asgi_app:app")
        server = Server(program, load.Target(("127.0.0.1", port)), "hotloop")
        wait_until(lambda: len(pids(server)) == 2, "both workers answering")
        return server

    return start_gunicorn


def pids(server):
    """The process ids that answer, asked many times; each says that it runs on hotloop."""
    return {server.ask_state()["pid"] for _ in range(30)}


def worker_option():
    """`-k workers.HotloopWorker` of the recipe."""
    words = recipes.command(UVICORN_WORKER, "gunicorn -k")
    assert words[0] == "gunicorn" and words[-1] == "app:app"
    return words[1:-1]


@pytest.fixture(params=[(), ("--preload",)], ids=["", "preload"])
def preload(request):
    """Whether the application is imported before the workers are forked."""
    return request.param


def end(server):
    """Stop the whole server: both workers and the parent end cleanly."""
    assert server.program.stop() == 0


class TestUvicornWorker:
    """The recipe's `gunicorn -k workers.HotloopWorker app:app`."""

    def test_everything_under_load(self, start, preload, tmp_path):
        server = start(*worker_option(), *preload)
        load.together(server.target, *load.USUAL, *websocket_load.USUAL, load.vanishes, times=2)
        url = "http://{}:{}/data?length=2000&offset=5&chunk=0".format(*server.target.address)
        wrk.run(tmp_path, url, content.data(2000, 5))
        end(server)
        assert server.program.text().count("app: startup") == 2
        assert server.program.text().count("app: shutdown") == 2

    def test_a_hangup_replaces_the_workers_and_loses_no_answer(self, start, preload):
        server = start(*worker_option(), *preload)
        before = pids(server)
        with server.target.http() as sleeping:
            sleeping.request("GET", "/sleep?milliseconds=1500")
            server.program.wait_for_text("app: sleeping")
            server.program.send_signal(signal.SIGHUP)
            server.program.wait_for_text("app: startup", 4)
            assert sleeping.getresponse().read() == b"slept"
        server.program.wait_for_text("app: shutdown", 2)
        load.together(server.target, load.keeps_alive, load.closes, times=3)
        assert not before & pids(server)
        end(server)

    def test_a_killed_worker_is_replaced(self, start, preload):
        server = start(*worker_option(), *preload)
        os.kill(server.ask_state()["pid"], signal.SIGKILL)
        server.program.wait_for_text("app: startup", 3)
        wait_until(lambda: len(pids(server)) == 2, "both workers answering")
        load.together(server.target, load.keeps_alive, load.closes, times=3)
        end(server)

    def test_the_end_waits_for_an_answer(self, start, preload):
        server = start(*worker_option(), *preload)
        with server.target.http() as sleeping:
            sleeping.request("GET", "/sleep?milliseconds=1000")
            server.program.wait_for_text("app: sleeping")
            server.program.send_signal(signal.SIGTERM)
            assert sleeping.getresponse().read() == b"slept"
        assert server.program.wait() == 0


class TestOwnWorker:
    """gunicorn's own ASGI worker, with the recipe's `gunicorn.conf.py`."""

    def test_everything_under_load(self, start, preload, tmp_path):
        server = start("-c", tmp_path / "gunicorn.conf.py", *preload)
        load.together(server.target, *load.USUAL, *websocket_load.USUAL, times=2)
        url = "http://{}:{}/data?length=2000&offset=5&chunk=0".format(*server.target.address)
        wrk.run(tmp_path, url, content.data(2000, 5))
        end(server)
