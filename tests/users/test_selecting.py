"""docs/selecting-the-loop.md is true: its recipes run as they stand there, and select hotloop.

gunicorn's two are in test_gunicorn.py. aiohttp's and uvicorn's are in what the tests of these
start; that they are the recipes of the page is checked here.
"""

import asyncio
import inspect
import re
import signal

import pytest
from support import child

import hotloop

from . import aiohttp_app, load, recipes, websocket_load
from .program import TESTS, free_port
from .server import Server
from .test_uvicorn import LOOP_OPTIONS

pytestmark = pytest.mark.timeout(90)

SAY_LOOP = """
import asyncio

async def main():
    loop = asyncio.get_running_loop()
    print(type(loop).__module__, type(loop).__qualname__)
"""


def run_python(code, tmp_path):
    """Run a program and return what it has printed, which must include no complaint."""
    program = tmp_path / "program.py"
    program.write_text(code)
    environment = child.environment(PYTHONPATH=str(TESTS))
    return child.run_ok(program, warnings="error::ResourceWarning", env=environment)


class TestUvicorn:
    def test_the_option_is_the_one_that_the_other_tests_use(self):
        words = recipes.command("uvicorn", "uvicorn ")
        assert words == ["uvicorn", "app:app", "--loop", LOOP_OPTIONS["hotloop"]]

    def test_from_a_program(self, programs):
        port = free_port()
        call = recipes.inline("uvicorn", "uvicorn.run(")
        assert call.endswith(")")
        code = "import uvicorn\nfrom users.asgi_app import app\n"
        code += f"{call[:-1]}, port={port}, log_level='warning')\n"
        server = Server(programs.python("-c", code), load.Target(("127.0.0.1", port)), "hotloop")
        load.together(server.target, *load.USUAL)
        server.ask_state()
        assert server.program.stop() == -signal.SIGTERM


def test_aiohttp_is_told_as_the_page_says():
    call = recipes.inline("aiohttp", "web.run_app(")
    assert call == "web.run_app(app, loop=hotloop.new_event_loop())"
    source = inspect.getsource(aiohttp_app.main)
    assert "loop = hotloop.new_event_loop() if" in source
    assert re.search(r"web\.run_app\(app, loop=loop,", source)


def test_anyio(tmp_path):
    call = recipes.inline("anyio", "anyio.run(")
    code = f"import anyio, hotloop\n{SAY_LOOP}\n{call}\n"
    assert run_python(code, tmp_path) == "hotloop Loop\n"


ANYIO_PROGRAM = """
import contextlib

import anyio
import hotloop
from users import content

async def echo(stream):
    with contextlib.suppress(anyio.BrokenResourceError):  # One client is cancelled.
        async with stream:
            async for part in stream:
                await stream.send(part)

async def converse(address, seed):
    body = content.data(400_000, seed)
    async with await anyio.connect_tcp(*address) as stream, anyio.create_task_group() as group:
        async def send():
            for at in range(0, len(body), 9999):
                await stream.send(body[at : at + 9999])
            await stream.send_eof()
        group.start_soon(send)
        received = [part async for part in stream]
    assert b"".join(received) == body

async def main():
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    address = listener.extra(anyio.abc.SocketAttribute.local_address)
    async with anyio.create_task_group() as group:
        group.start_soon(listener.serve, echo)
        async with anyio.create_task_group() as clients:
            for seed in range(20):
                clients.start_soon(converse, address, seed)
        with anyio.move_on_after(0.1) as scope:
            await converse_for_ever(address)
        assert scope.cancelled_caught
        assert await anyio.to_thread.run_sync(sum, range(1000)) == 499_500
        done = await anyio.run_process(["cat"], input=content.data(2_000_000))
        assert done.stdout == content.data(2_000_000)
        async with await anyio.open_file(__file__) as file:
            assert "open_file" in await file.read()
        group.cancel_scope.cancel()
    await listener.aclose()
    print("all right")

async def converse_for_ever(address):
    while True:
        await converse(address, 1)

"""


def test_a_program_of_anyio_s(tmp_path):
    """Streams, cancel scopes, threads, processes and files."""
    code = ANYIO_PROGRAM + recipes.inline("anyio", "anyio.run(") + "\n"
    assert run_python(code, tmp_path) == "all right\n"


def run_pytest(tmp_path, conftest, tests, *options):
    """Run tests in a folder of their own and return how many have passed; all must."""
    (tmp_path / "conftest.py").write_text(conftest)
    (tmp_path / "test_it.py").write_text(tests)
    command = ("-m", "pytest", "-q", "-p", "no:cacheprovider", *options, tmp_path)
    done = child.run(*command, warnings=None, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    return int(re.search(r"^(\d+) passed", done.stdout, re.MULTILINE)[1])


PYTEST_ASYNCIO_TESTS = """
import asyncio
import hotloop
import pytest
import pytest_asyncio

@pytest_asyncio.fixture
async def server():
    async def echo(reader, writer):
        writer.write(await reader.read())
        writer.close()
        await writer.wait_closed()
    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()

@pytest.mark.asyncio
async def test_loop():
    assert type(asyncio.get_running_loop()) is hotloop.Loop
    assert type(asyncio.current_task()) is hotloop.Task

@pytest.mark.asyncio
@pytest.mark.parametrize("size", [0, 10, 1_000_000])
async def test_server(server, size):
    reader, writer = await asyncio.open_connection(*server)
    writer.write(bytes(size))
    writer.write_eof()
    assert await reader.read() == bytes(size)
    writer.close()
    await writer.wait_closed()
"""


def test_pytest_asyncio(tmp_path):
    conftest = recipes.code("pytest-asyncio")
    assert run_pytest(tmp_path, conftest, PYTEST_ASYNCIO_TESTS, "-p", "no:anyio") == 4


ANYIO_TESTS = """
import asyncio
import anyio
import hotloop
import pytest

pytestmark = pytest.mark.anyio

async def test_loop():
    assert type(asyncio.get_running_loop()) is hotloop.Loop

async def test_streams():
    send, receive = anyio.create_memory_object_stream(10)
    async with send, receive, anyio.create_task_group() as group:
        group.start_soon(send.send, 1)
        assert await receive.receive() == 1
"""


def test_the_pytest_plugin_of_anyio(tmp_path):
    value = recipes.inline("anyio's pytest plugin", '("asyncio"')
    conftest = (
        "import hotloop\nimport pytest\n\n\n"
        f"@pytest.fixture\ndef anyio_backend():\n    return {value}\n"
    )
    assert run_pytest(tmp_path, conftest, ANYIO_TESTS, "-p", "no:asyncio") == 2


def test_unittest(tmp_path):
    """`hotloop.install()` before the tests run."""
    code = (
        "import asyncio, unittest, hotloop\n"
        "hotloop.install()\n"
        "class Test(unittest.IsolatedAsyncioTestCase):\n"
        "    async def test_loop(self):\n"
        "        self.assertIs(type(asyncio.get_running_loop()), hotloop.Loop)\n"
        "result = unittest.main(exit=False).result\n"
        "assert result.testsRun == 1 and result.wasSuccessful()\n"
    )
    program = tmp_path / "program.py"
    program.write_text(code)
    done = child.run(program)
    assert done.returncode == 0, done.stderr


class TestHypercorn:
    """Its two recipes."""

    def test_as_a_command(self, programs):
        words = recipes.command("hypercorn", "python -m hotloop --children")
        assert words[0] == "python" and words[-1] == "app:app"
        port = free_port()
        options = ("--bind", f"127.0.0.1:{port}", "--workers", "2")
        program = programs.python(*words[1:-1], *options, "users.asgi_app:app")
        server = Server(program, load.Target(("127.0.0.1", port)), "hotloop")
        program.wait_for_text("app: startup", 2)
        load.together(server.target, *load.USUAL, *websocket_load.USUAL)
        server.ask_state()
        assert program.stop() == 0
        # Of two workers hypercorn may end one before it has shut down, on asyncio as well.
        assert program.text().count("app: shutdown") >= 1

    def test_from_a_program(self, programs):
        call = recipes.inline("hypercorn", "hotloop.run(hypercorn")
        port = free_port()
        code = (
            "import hotloop, hypercorn, hypercorn.asyncio\n"
            "from users.asgi_app import app\n"
            f"config = hypercorn.Config.from_mapping(bind='127.0.0.1:{port}')\n"
            f"{call}\n"
        )
        server = Server(programs.python("-c", code), load.Target(("127.0.0.1", port)), "hotloop")
        load.together(server.target, *load.USUAL, *websocket_load.USUAL)
        server.ask_state()
        assert server.program.stop() == 0
        assert server.program.text().count("app: shutdown") == 1


def test_the_loop_s_repr_is_as_the_page_says():
    async def main():
        return repr(asyncio.get_running_loop())

    assert f"`{hotloop.run(main())}`" in recipes.PAGE
