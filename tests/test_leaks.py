"""Repeating an operation must not use up memory.

Each operation is repeated in rounds, until a round leaves the number of references (interpreters
built with Py_REF_DEBUG) or of allocated blocks (others), and the number of living native objects
(debug builds of hotloop), as it was. Caches and freelists fill up in the first rounds; a leak shows
in every round, and so ends in a failure. That the harness notices one is shown on seeded leaks.
"""

import asyncio
import contextlib
import gc
import os
import socket
import sys
import threading
from unittest import mock

import pytest
from support.leaks import live_objects
from support.task_kinds import run_turns

import hotloop

pytestmark = [pytest.mark.leak, pytest.mark.timeout(120)]

REPEATS = 100
# So many that a freelist of a thousand objects which takes one more each time has filled up.
ROUNDS = 25
# Growth of a round that is no leak: less than one object for every five repeats.
TOLERANCE = REPEATS // 5

# The cache of attribute lookups keeps the names that were looked up, up to 4,096 of them.
clear_caches = getattr(sys, "_clear_internal_caches", sys._clear_type_cache)
# Exact where it exists; blocks are freed late by the allocator, but never grow for ever.
count = getattr(sys, "gettotalrefcount", sys.getallocatedblocks)


def usage():
    """Return how many references, or blocks of memory, there are without garbage and caches."""
    clear_caches()
    gc.collect()
    return count()


def growth_of_a_round(function):
    """Play rounds until one grows by next to nothing; return the last one's growth.

    The growth is a pair: references or blocks, and native objects by name of their counter.
    """
    for _ in range(ROUNDS):
        before, alive = usage(), live_objects()
        for _ in range(REPEATS):
            function()
        growth = usage() - before
        born = {name: n - alive[name] for name, n in live_objects().items() if n > alive[name]}
        if growth < TOLERANCE and not born:
            break
    return growth, born


def check(function):
    growth, born = growth_of_a_round(function)
    assert growth < TOLERANCE, f"{growth} more per {REPEATS} repeats"
    assert born == {}


# --- The harness itself ---------------------------------------------------------------------------


def test_the_harness_notices_a_leak():
    kept = []
    growth, _ = growth_of_a_round(lambda: kept.append(object()))
    assert growth >= REPEATS


def test_the_harness_notices_a_leaked_future(loop):
    """What is leaked is a native object: the counters of a debug build see it as well."""
    kept = []
    growth, born = growth_of_a_round(lambda: kept.append(hotloop.Future(loop=loop)))
    kept.clear()
    assert growth >= REPEATS
    if hotloop._core.counters():
        assert born == {"live_Future": REPEATS}


def test_the_harness_is_silent_where_nothing_leaks():
    check(lambda: [object() for _ in range(10)])


# --- Operations without a running loop ------------------------------------------------------------


def cycle_of_futures(loop):
    one, two = hotloop.Future(loop=loop), hotloop.Future(loop=loop)
    one.add_done_callback(two.cancel)
    two.add_done_callback(one.cancel)
    one.other, two.other = (None, None)


def wrong_calls(loop):
    future = hotloop.Future(loop=loop)
    for call in (
        lambda: hotloop.Future(5),
        lambda: hotloop.Future(loop=loop, extra=1),
        lambda: future.set_result(),
        lambda: future.set_exception(5),
        lambda: future.set_exception(StopIteration),
        lambda: future.add_done_callback(),
        lambda: future.add_done_callback(print, extra=1),
        lambda: future.remove_done_callback(),
        lambda: future.cancel(1, 2),
        lambda: future.result(),
        lambda: future.exception(),
        lambda: setattr(future, "_log_traceback", True),
        lambda: hotloop.Task(5, loop=loop),
        lambda: hotloop.Task(),
        lambda: loop.call_soon(),
        lambda: loop.call_later("soon", print),
        lambda: loop.call_at(None, print),
    ):
        with contextlib.suppress(Exception):
            call()
    if future.done():
        future.exception()


def callbacks_of_a_future(loop):
    future = hotloop.Future(loop=loop)
    for _ in range(3):
        future.add_done_callback(print)
        future.add_done_callback(hotloop.Future.cancelled)
    future.remove_done_callback(print)
    repr(future)
    future._callbacks  # noqa: B018
    future.cancel("text")
    with contextlib.suppress(asyncio.CancelledError):
        future.result()
    run_turns(loop)


def iterators(loop):
    for finish in ("close", "throw", "leave"):
        iterator = hotloop.Future(loop=loop).__await__()
        next(iterator)
        if finish == "close":
            iterator.close()
        elif finish == "throw":
            with contextlib.suppress(LookupError):
                iterator.throw(LookupError())


def uninitialized(loop):
    for made in (hotloop.Future.__new__(hotloop.Future), hotloop.Task.__new__(hotloop.Task)):
        for name in ("done", "result", "cancel", "__await__"):
            with contextlib.suppress(RuntimeError, asyncio.InvalidStateError):
                getattr(made, name)()


def handles(loop):
    loop.call_soon(print).cancel()
    for delay in (1000, 2000, 0.5):
        timer = loop.call_later(delay, print)
        repr(timer)
        timer.when()
        timer.cancel()
    loop.call_soon_threadsafe(print).cancel()
    run_turns(loop)


def loops(loop):
    other = hotloop.new_event_loop()
    other.call_soon(print)
    other.call_later(10, print)
    other.create_future()
    other.close()


def lost_tasks(loop):
    async def body():
        await hotloop.Future(loop=loop)

    loop.set_exception_handler(lambda loop, context: None)
    hotloop.Task(body(), loop=loop)
    run_turns(loop)
    gc.collect(0)


PLAIN = [
    cycle_of_futures,
    wrong_calls,
    callbacks_of_a_future,
    iterators,
    uninitialized,
    handles,
    loops,
    lost_tasks,
]


@pytest.mark.only_hotloop("counts the references that hotloop's code holds")
@pytest.mark.parametrize("operation", PLAIN, ids=lambda f: f.__name__)
def test_operation(loop, operation):
    check(lambda: operation(loop))


# --- Operations in a running loop -----------------------------------------------------------------


async def value(number):
    await asyncio.sleep(0)
    return number


async def failing():
    raise LookupError("text")


async def tasks():
    assert await asyncio.create_task(value(1)) == 1
    await asyncio.create_task(asyncio.sleep(0), name="name")


async def futures():
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.set_result, "value")
    assert await future == "value"
    waiting = [asyncio.create_task(asyncio.wait_for(future, 1)) for _ in range(2)]
    await asyncio.gather(*waiting)


async def cancelling():
    task = asyncio.create_task(asyncio.Event().wait())
    await asyncio.sleep(0)
    repr(task)
    task.cancel("text")
    with contextlib.suppress(asyncio.CancelledError):
        await task
    task = asyncio.create_task(value(1))
    task.cancel()
    await asyncio.wait([task])


async def gathering():
    await asyncio.gather(value(1), value(2), failing(), return_exceptions=True)
    with contextlib.suppress(LookupError):
        await asyncio.gather(value(1), failing())
    async with asyncio.TaskGroup() as group:
        group.create_task(value(1))
    with contextlib.suppress(BaseExceptionGroup):
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.Event().wait())
            group.create_task(failing())


async def timers():
    loop = asyncio.get_running_loop()
    await asyncio.sleep(0.00001)
    handles = [loop.call_later(number, print) for number in range(5, 0, -1)]
    for handle in handles:
        handle.cancel()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0):
            await asyncio.Event().wait()


async def exceptions():
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: None)
    for error in (LookupError, asyncio.CancelledError, StopAsyncIteration):
        future = loop.create_future()
        future.set_exception(error("text"))
        with contextlib.suppress(LookupError, StopAsyncIteration, asyncio.CancelledError):
            await future
        loop.create_future().set_exception(error())
    loop.call_soon(lambda: 1 / 0)
    task = asyncio.create_task(failing())
    await asyncio.wait([task])
    del task


async def bad_awaits():
    async def give(wrong):
        class Bad:
            def __await__(self):
                yield wrong

        await Bad()

    for wrong in (5, hotloop.Future(), asyncio.Future(), (n for n in ())):
        with contextlib.suppress(RuntimeError):
            await asyncio.create_task(give(wrong))


async def eager():
    options = {"eager_start": True} if sys.version_info >= (3, 12) else {}
    for coroutine in (value(1), failing(), asyncio.sleep(0)):
        task = hotloop.Task(coroutine, loop=asyncio.get_running_loop(), **options)
        await asyncio.wait([task])
        task._log_traceback = False


async def threadsafe():
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    thread = threading.Thread(target=loop.call_soon_threadsafe, args=(done.set_result, 1))
    thread.start()
    await done
    thread.join()


async def foreign():
    loop = asyncio.get_running_loop()
    for kind in (asyncio.Task, asyncio.tasks._PyTask):
        future = hotloop.Future(loop=loop)
        task = kind(asyncio.wait([future]), loop=loop)
        own = hotloop.Task(asyncio.wait([task]), loop=loop)
        loop.call_soon(future.set_result, 1)
        await own


async def introspection():
    task = asyncio.create_task(asyncio.Event().wait())
    await asyncio.sleep(0)
    asyncio.all_tasks()
    asyncio.current_task()
    task.get_stack()
    if sys.version_info >= (3, 14):
        asyncio.format_call_graph(task)
    task.cancel()
    await asyncio.wait([task])


async def async_generators():
    async def numbers():
        for number in range(3):
            yield number
            await asyncio.sleep(0)

    async for _ in numbers():
        break
    assert [number async for number in numbers()] == [0, 1, 2]


async def socket_calls():
    loop = asyncio.get_running_loop()
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        far.setblocking(False)
        waiting = asyncio.create_task(loop.sock_recv(near, 10))
        await asyncio.sleep(0)
        await loop.sock_sendall(far, b"data")
        assert await asyncio.wait_for(waiting, 5) == b"data"
        buffer = bytearray(10)
        waiting = asyncio.create_task(loop.sock_recv_into(near, buffer))
        await asyncio.sleep(0)
        await loop.sock_sendall(far, b"data")
        assert await waiting == 4
        for call in (loop.sock_recv(near, 10), loop.sock_recv_into(near, buffer)):
            waiting = asyncio.create_task(call)
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
        waiting = asyncio.create_task(loop.sock_sendall(far, bytes(1_000_000)))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        dropped = loop.sock_recv(far, 10)
        dropped.send(None)
        del dropped
        far.close()
        with contextlib.suppress(OSError):
            await loop.sock_sendall(near, bytes(1_000_000))
        with contextlib.suppress(TypeError, OSError):
            await loop.sock_recv(far, 10)
        with contextlib.suppress(TypeError):
            await loop.sock_recv_into(near, b"constant")


async def numeric_addresses():
    loop = asyncio.get_running_loop()
    for host in ("127.0.0.1", "::1"):
        assert await loop.getaddrinfo(host, 80, type=socket.SOCK_STREAM)
    assert loop._numeric_addresses("127.0.0.1", 80, "x", None, 0, 0) is None
    assert loop._numeric_addresses("name", 10**30, 0, 1, 0, 0) is None


async def datagrams():
    loop = asyncio.get_running_loop()

    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, transport):
            self.transport = transport
            self.error = loop.create_future()
            self.answer = loop.create_future()

        def datagram_received(self, data, address):
            if data == b"question":
                self.transport.sendto(b"answer", address)
            elif not self.answer.done():
                self.answer.set_result((data, address))

        def error_received(self, error):
            if not self.error.done():
                self.error.set_result(error)

    server, _ = await loop.create_datagram_endpoint(Echo, ("127.0.0.1", 0))
    address = server.get_extra_info("sockname")
    client, protocol = await loop.create_datagram_endpoint(Echo, remote_addr=address)
    for _ in range(3):
        client.sendto(b"question")
    assert await protocol.answer == (b"answer", address)
    server.sendto(b"x", ("127.255.255.255", 9))
    await server.get_protocol().error
    server.sendto(b"x", ("localhost", address[1]))
    server.close()
    client.abort()
    await asyncio.sleep(0)


async def pipes():
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: None)

    class Closing(asyncio.Protocol):
        def connection_made(self, transport):
            self.ended = loop.create_future()

        def connection_lost(self, exc):
            self.ended.set_result(exc)

    for last in ("close", "abort", "reader", "raise"):
        reading, writing = os.pipe()
        source, receiver = await loop.connect_read_pipe(Closing, os.fdopen(reading, "rb", 0))
        sink, sender = await loop.connect_write_pipe(Closing, os.fdopen(writing, "wb", 0))
        sink.write(bytearray(200_000))
        repr(source), repr(sink)
        source.pause_reading()
        source.resume_reading()
        if last == "raise":
            receiver.data_received = None
        if last in ("close", "abort"):
            getattr(sink, last)()
        else:
            await asyncio.sleep(0)
            source.close()
        await sender.ended
        sink.write(b"ignored")
        source.close()
        await receiver.ended
        with contextlib.suppress(AssertionError, TypeError):
            sink.write("text")
    with open(__file__, "rb") as file, contextlib.suppress(ValueError):
        await loop.connect_read_pipe(Closing, file)


RUNNING = [
    pipes,
    tasks,
    futures,
    cancelling,
    gathering,
    timers,
    exceptions,
    bad_awaits,
    eager,
    threadsafe,
    foreign,
    introspection,
    async_generators,
    socket_calls,
    numeric_addresses,
    datagrams,
]


async def children():
    loop = asyncio.get_running_loop()
    process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
    await process.communicate(b"text")
    starting = asyncio.create_task(asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1))
    await asyncio.sleep(0)
    starting.cancel()
    await asyncio.wait([starting])
    with contextlib.suppress(OSError):
        await asyncio.create_subprocess_exec("/nowhere")
    with mock.patch("os.pidfd_open", side_effect=OSError):
        process = await asyncio.create_subprocess_exec("true")
    await process.wait()
    assert not loop._process_fds


@pytest.mark.only_hotloop("counts the references that hotloop's code holds")
def test_children(loop):
    """As the operations below, of which a process takes too long to make for so many repeats."""

    def ten():
        loop.run_until_complete(repeat())

    async def repeat():
        for _ in range(10):
            await children()

    growth = None
    for _ in range(5):
        before = usage()
        ten()
        growth = usage() - before
        if growth < 10:
            break
    assert growth < 10, f"{growth} more per 10 repeats"


@pytest.mark.only_hotloop("counts the references that hotloop's code holds")
@pytest.mark.parametrize("operation", RUNNING, ids=lambda f: f.__name__)
@pytest.mark.parametrize("debug", [False, True], ids=["", "debug"])
def test_operation_in_a_running_loop(loop, operation, debug):
    loop.set_debug(debug)
    loop.slow_callback_duration = 60
    check(lambda: loop.run_until_complete(operation()))


@pytest.mark.parametrize("operation", [tasks, gathering, timers], ids=lambda f: f.__name__)
def test_run(operation):
    """A loop of its own for each repeat."""
    check(lambda: hotloop.run(operation()))
