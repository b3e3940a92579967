"""A gRPC server, and clients that load one:   grpc_app.py serve|load LOOP PORT

Messages are plain bytes, so that no generated code is needed. The server ends when it is told to
by SIGTERM, after the calls that are under way; the clients print "all right" if it was.
"""

import asyncio
import contextlib
import signal
import sys

import grpc
import grpc.aio

import hotloop
from users import content, state

OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
SERVICE = "/users.Echo/"


class Echo(grpc.GenericRpcHandler):
    """Every kind of call, on bytes."""

    def service(self, details):
        """The handler of a method, or None."""
        handlers = {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "Split": grpc.unary_stream_rpc_method_handler(self.split),
            "Join": grpc.stream_unary_rpc_method_handler(self.join),
            "Mirror": grpc.stream_stream_rpc_method_handler(self.mirror),
            "Sleep": grpc.unary_unary_rpc_method_handler(self.sleep),
            "Loop": grpc.unary_unary_rpc_method_handler(self.loop),
            "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
        }
        return handlers.get(details.method.removeprefix(SERVICE))

    async def unary(self, request, context):
        return request

    async def split(self, request, context):
        for at in range(0, len(request), 10_000):
            yield request[at : at + 10_000]

    async def join(self, requests, context):
        return b"".join([request async for request in requests])

    async def mirror(self, requests, context):
        async for request in requests:
            yield request

    async def sleep(self, request, context):
        print("sleeping", request.decode(), flush=True)
        await asyncio.sleep(int(request) / 1000)
        return b"slept"

    async def loop(self, request, context):
        return state.name_of(asyncio.get_running_loop()).encode()

    async def fail(self, request, context):
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "as asked")


async def serve(port):
    """Serve until SIGTERM."""
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((Echo(),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    await server.stop(10)
    print("server has ended", flush=True)


class Client:
    """Calls of every kind, with every answer checked."""

    def __init__(self, channel):
        def method(name, kind):
            return getattr(channel, kind)(SERVICE + name)

        self.unary = method("Unary", "unary_unary")
        self.split = method("Split", "unary_stream")
        self.join = method("Join", "stream_unary")
        self.mirror = method("Mirror", "stream_stream")
        self.sleep = method("Sleep", "unary_unary")
        self.loop = method("Loop", "unary_unary")
        self.fail = method("Fail", "unary_unary")

    async def every_kind(self, seed):
        """One call of each kind."""
        body = content.data(1 + 3_000 * seed, seed)
        assert await self.unary(body) == body
        assert b"".join([part async for part in self.split(body)]) == body
        parts = [content.data(1 + 100 * i, seed) for i in range(30)]

        async def slowly():
            for part in parts:
                yield part
                await asyncio.sleep(0)

        assert await self.join(slowly()) == b"".join(parts)
        assert [part async for part in self.mirror(slowly())] == parts

    async def large(self, seed):
        """More than a megabyte both ways."""
        body = content.data(3_000_000, seed)
        assert await self.unary(body) == body

    async def refused(self):
        """Errors and deadlines come with their status."""
        for call, code in (
            (self.fail(b""), grpc.StatusCode.FAILED_PRECONDITION),
            (self.sleep(b"5000", timeout=0.1), grpc.StatusCode.DEADLINE_EXCEEDED),
        ):
            try:
                await call
            except grpc.aio.AioRpcError as error:
                assert error.code() is code
            else:
                raise AssertionError(code)

    async def cancelled(self):
        """A call is cancelled, by its task."""
        task = asyncio.ensure_future(self.wait_for_sleep())
        await asyncio.sleep(0.02)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()

    async def wait_for_sleep(self):
        await self.sleep(b"5000")


async def load(port):
    """Many calls of every kind, all at once, on two channels."""
    async with (
        grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS) as one,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[*OPTIONS, ("x", 1)]) as two,
    ):
        clients = [Client(one), Client(two)]
        expected = state.name_of(asyncio.get_running_loop())
        assert (await clients[0].loop(b"")).decode() == expected
        async with asyncio.TaskGroup() as group:
            for seed in range(40):
                client = clients[seed % 2]
                group.create_task(client.every_kind(seed))
                if seed < 4:
                    group.create_task(client.large(seed))
                    group.create_task(client.refused())
                    group.create_task(client.cancelled())
    print("all right", flush=True)


def main(mode, loop_name, port):
    """Run one of the two on one kind of loop."""
    factory = hotloop.new_event_loop if loop_name == "hotloop" else asyncio.SelectorEventLoop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run({"serve": serve, "load": load}[mode](int(port)))


if __name__ == "__main__":
    main(*sys.argv[1:])
