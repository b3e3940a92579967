"""uvicorn, told by `--loop` which loop to run: HTTP, WebSockets, TLS, workers and the end."""

import os
import signal

import pytest

from . import content, load, websocket_load, wrk
from .program import free_port, wait_until
from .server import Server

pytestmark = pytest.mark.timeout(90)

LOOP_OPTIONS = {"hotloop": "hotloop:new_event_loop", "asyncio": "asyncio"}


@pytest.fixture
def start(programs, loop_name):
    """Start `uvicorn users.asgi_app:app` with these options and return the Server."""

    def start_uvicorn(*options, target=None):
        target = target or load.Target(("127.0.0.1", free_port()))
        if isinstance(target.address, tuple):
            where = ("--host", target.address[0], "--port", target.address[1])
        else:
            where = ("--uds", target.address)
        chosen = ("--loop", LOOP_OPTIONS[loop_name], "--log-level", "warning")
        command = ("-m", "uvicorn", "users.asgi_app:app", *chosen, *where, *options)
        return Server(programs.python(*command), target, loop_name)

    return start_uvicorn


@pytest.fixture(params=["httptools", "h11"])
def http_option(request):
    """Each of uvicorn's two HTTP implementations."""
    return ("--http", request.param)


def end(server):
    """Stop a server that has nothing to do: cleanly, and at once."""
    server.check_nothing_is_left()
    # uvicorn cleans up and then sends itself the signal again, as a program should.
    assert server.program.stop() == -signal.SIGTERM
    assert server.program.text().endswith("app: shutdown\n")


def test_every_body_arrives_whole_under_load(start, http_option):
    server = start(*http_option)
    server.warm_up()
    load.together(server.target, *load.USUAL, times=4)
    end(server)


def test_wrk_finds_no_wrong_answer(start, http_option, tmp_path):
    # The cancelled timers of closed connections live for so long, as on asyncio.
    server = start(*http_option, "--timeout-keep-alive", "2")
    server.warm_up()
    url = "http://{}:{}".format(*server.target.address)
    wrk.run(tmp_path, f"{url}/data?length=1300&offset=5&chunk=0", content.data(1300, 5))
    wrk.run(tmp_path, f"{url}/data?length=90000&offset=0&chunk=7000", content.data(90000))
    end(server)


@pytest.mark.parametrize("implementation", ["websockets", "websockets-sansio", "wsproto"])
def test_websockets_echo_everything(start, implementation):
    server = start("--ws", implementation)
    load.together(server.target, *websocket_load.USUAL)
    server.warm_up()
    load.together(server.target, *websocket_load.USUAL, times=5)
    end(server)


def test_clients_that_vanish_leave_nothing(start, http_option):
    server = start(*http_option)
    server.warm_up()
    vanishing = (load.vanishes, load.waits_and_vanishes, websocket_load.vanishes)
    load.together(server.target, *vanishing, load.keeps_alive, times=5)
    end(server)


def test_https(start, certificates):
    target = load.Target(("127.0.0.1", free_port()), certificates.client())
    files = ("--ssl-certfile", certificates.certificate, "--ssl-keyfile", certificates.key)
    server = start(*files, target=target)
    server.warm_up()
    load.together(target, *load.USUAL, *websocket_load.USUAL, load.vanishes, times=3)
    end(server)


def test_a_unix_socket(start, tmp_path):
    server = start(target=load.Target(str(tmp_path / "socket")))
    server.warm_up()
    load.together(server.target, *load.USUAL, *websocket_load.USUAL, times=2)
    end(server)


def test_idle_connections_are_closed_by_the_server(start):
    server = start("--timeout-keep-alive", "1")
    server.warm_up()
    with server.target.http() as connection:
        sock = connection.sock
        load.exchange(connection, "GET", "/data?length=10&offset=0&chunk=0")
        assert sock.recv(1) == b""
    end(server)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_busy_server_finishes_its_answers_before_it_ends(start, number):
    server = start()
    server.warm_up()
    server.end_while_busy(number)
    code = server.program.wait()
    assert code == (-signal.SIGTERM if number == signal.SIGTERM else 0)
    assert server.program.text().endswith("app: shutdown\n")


class TestWorkers:
    """`--workers 2`: a parent that only watches, and two processes that serve."""

    # The parent keeps the listening socket until the interpreter ends.
    KNOWN = r"<?sys>?:\d: ResourceWarning: unclosed <socket.*laddr.*\nResourceWarning: Enable.*"

    @pytest.fixture
    def server(self, start):
        """A server with two workers that both have answered."""
        server = start("--workers", "2")
        server.program.known = self.KNOWN
        server.program.wait_for_text("app: startup", 2)
        wait_until(lambda: len(self.pids(server)) == 2, "both workers answering")
        return server

    def pids(self, server):
        """The process ids that answer, asked many times."""
        return {server.ask_state()["pid"] for _ in range(30)}

    def test_both_serve_and_both_end(self, server):
        load.together(server.target, *load.USUAL, times=3)
        assert server.program.stop() == 0
        assert server.program.text().count("app: shutdown") == 2

    def test_a_killed_worker_is_replaced(self, server):
        victim = server.ask_state()["pid"]
        os.kill(victim, signal.SIGKILL)
        server.program.wait_for_text("app: startup", 3)
        load.together(server.target, load.keeps_alive, load.closes, times=3)
        assert victim not in self.pids(server)
        assert server.program.stop() == 0

    def test_a_hangup_replaces_all(self, server):
        before = self.pids(server)
        server.program.send_signal(signal.SIGHUP)
        server.program.wait_for_text("app: startup", 4)
        server.program.wait_for_text("app: shutdown", 2)
        load.together(server.target, load.keeps_alive, load.closes, times=3)
        assert not before & self.pids(server)
        assert server.program.stop() == 0
