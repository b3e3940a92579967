"""gRPC's asyncio server and client, each in a process of its own, on the same kind of loop."""

import pytest

from . import grpc_app
from .program import descriptors_of, free_port, wait_until

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
def server(programs, loop_name):
    """A running server with its `port`."""
    port = free_port()
    program = programs.python(grpc_app.__file__, "serve", loop_name, port)
    program.wait_for_address(("127.0.0.1", port))
    program.port = port
    return program


def test_every_kind_of_call_under_load(server, programs, loop_name):
    for _ in range(2):
        client = programs.python(grpc_app.__file__, "load", loop_name, server.port)
        assert client.wait(60) == 0
        assert client.text() == "all right\n"
    assert server.stop() == 0
    assert server.text().endswith("server has ended\n")


def test_descriptors_of_clients_that_have_gone_are_closed(server, programs, loop_name):
    def load():
        client = programs.python(grpc_app.__file__, "load", loop_name, server.port)
        assert client.wait(60) == 0

    load()
    before = descriptors_of(server.pid)
    load()
    wait_until(lambda: descriptors_of(server.pid) <= before, "the descriptors of before")
    assert server.stop() == 0


def test_calls_under_way_are_finished_before_the_end(server, programs, loop_name):
    code = (
        "import asyncio, grpc.aio, hotloop\n"
        "from users.grpc_app import Client\n"
        "async def main():\n"
        f"    async with grpc.aio.insecure_channel('127.0.0.1:{server.port}') as channel:\n"
        "        print(await Client(channel).sleep(b'1500'), flush=True)\n"
        "hotloop.run(main())\n"
    )
    client = programs.python("-c", code)
    server.wait_for_text("sleeping 1500")
    assert server.stop() == 0
    assert client.wait() == 0
    assert client.text() == "b'slept'\n"
