"""Every allocation fails once: the operation raises MemoryError or succeeds, and nothing crashes.

CPython's _testcapi makes one chosen allocation of a process fail. A child tries an operation with
the first allocation failing, then with the second, and so on, and then shows that a loop still
works. Freelists would hide allocations, so each try uses fresh objects. The operations are those
that are C all through: the interpreter itself does not survive every failing allocation.
"""

import importlib.util
import sysconfig
import textwrap

import pytest
from support import child

HARNESS = """
    import asyncio, contextlib, gc, socket, sys
    import _testcapi
    import hotloop

    MOST = 150

    async def nothing():
        return None

    async def wait_for(future):
        return await future

    def turn(loop):
        loop.stop()
        loop.run_forever()

    def make_room_for_current_tasks():
        # CPython 3.13.0 has a bug of its own: a step that a handle runs calls
        # _asyncio._enter_task -> PyDict_SetDefaultRef(_current_tasks) -> insert_combined_dict, and
        # if that has no memory to resize the table, the dict counts an entry that it does not
        # have, and its next resize reads past the table. dict.setdefault shows the same without
        # any loop. So the table gets room, and nothing in the operation has to resize it.
        current_tasks = getattr(asyncio.tasks, "_current_tasks", {})
        keys = [object() for _ in range(11)]
        current_tasks.clear()
        current_tasks.update(dict.fromkeys(keys))
        for key in keys:
            del current_tasks[key]

    def attempt(prepare, operation, number, is_changed):
        # Tell whether the failing allocation was one that the operation made. After a change of
        # the class, no attribute of it is in the interpreter's cache.
        loop = hotloop.new_event_loop()
        loop.set_exception_handler(lambda loop, context: None)
        things = prepare(loop)
        failed = False
        # Objects of freed lists are used up, so that the operation has to allocate its own.
        kept = [hotloop.Future(loop=loop) for _ in range(20)]
        iterators = [future.__await__() for future in kept]
        make_room_for_current_tasks()
        if is_changed:
            hotloop.Loop.unused = None
        _testcapi.set_nomemory(number, number + 1)
        try:
            operation(loop, *things)
        except MemoryError:
            failed = True
        finally:
            _testcapi.remove_mem_hooks()
        # Up to 3.11 asyncio has to allocate to say that no loop is running any more.
        asyncio._set_running_loop(None)
        try:
            turn(loop)
            turn(loop)
        except MemoryError:
            pass
        for thing in things:
            if isinstance(thing, asyncio.Task):
                thing._log_destroy_pending = False
            if asyncio.iscoroutine(thing):
                thing.close()
        del things, kept, iterators
        loop.close()
        gc.collect()
        return failed

    def exhaust(prepare, operation):
        return sum(
            attempt(prepare, operation, number, is_changed)
            for number in range(MOST)
            for is_changed in (False, True)
        )

    def check(prepare, operation):
        failures = exhaust(prepare, operation)
        # The loops and types of the process have taken no harm.
        assert hotloop.run(asyncio.wait_for(asyncio.sleep(0, "fine"), 5)) == "fine"
        print(failures > 0)

    def no_things(loop):
        return []

    def two_sockets(loop):
        sockets = socket.socketpair()
        for end in sockets:
            end.setblocking(False)
        return sockets

    async def receive(loop, near):
        call = loop._try_sock_recv(near, 10)
        await call
        return call.take()

    def drive(loop, call, other):
        if call is None:
            raise MemoryError  # Left to asyncio's own method, which is not tried here.
        call.send(None)
        with contextlib.suppress(BlockingIOError):
            other.send(b"data")
        turn(loop)
        call.close()
"""

# What comes before, what is tried, and whether it allocates at all.
OPERATIONS = {
    "create_future": ("no_things", "lambda loop: loop.create_future()"),
    "Future": ("no_things", "lambda loop: hotloop.Future(loop=loop)"),
    "create_task": ("lambda loop: [nothing()]", "lambda loop, coro: loop.create_task(coro)"),
    "Task": (
        "lambda loop: [nothing()]",
        "lambda loop, coro: hotloop.Task(coro, loop=loop, name=5)",
    ),
    "call_soon": ("no_things", "lambda loop: [loop.call_soon(int, 1) for _ in range(100)]"),
    "call_soon_threadsafe": ("no_things", "lambda loop: loop.call_soon_threadsafe(int, 1)"),
    "call_later": (
        "no_things",
        "lambda loop: [loop.call_later(n, print) for n in range(1, 100)]",
    ),
    "set_result": (
        "lambda loop: [loop.create_future()]",
        "lambda loop, future: ([future.add_done_callback(int) for _ in range(3)],"
        " future.set_result(1))",
    ),
    "set_exception": (
        "lambda loop: [loop.create_future()]",
        "lambda loop, future: (future.set_exception(LookupError), future.exception())",
    ),
    "cancel": (
        "lambda loop: [loop.create_task(wait_for(loop.create_future()))]",
        "lambda loop, task: (turn(loop), task.cancel('text'), turn(loop), turn(loop))",
    ),
    "await": (
        "lambda loop: [loop.create_future(), loop.create_future()]",
        "lambda loop, one, two: ([loop.create_task(wait_for(f)) for f in (one, one, two)],"
        " turn(loop), one.set_result(1), two.cancel(), turn(loop), turn(loop))",
    ),
    "remove_done_callback": (
        "lambda loop: [loop.create_future()]",
        "lambda loop, future: ([future.add_done_callback(f) for f in (int, str, int)],"
        " future.remove_done_callback(int))",
    ),
    "sock_recv": (
        "two_sockets",
        "lambda loop, near, far: drive(loop, loop._try_sock_recv(near, 10), far)",
    ),
    "sock_recv in a task": (
        "two_sockets",
        "lambda loop, near, far: (loop.create_task(receive(loop, near)), turn(loop),"
        " far.send(b'data'), turn(loop), turn(loop))",
    ),
    "sock_sendall": (
        "two_sockets",
        "lambda loop, near, far: drive(loop, loop._try_sock_sendall(near, bytes(10**6)), far)",
    ),
    "getaddrinfo": (
        "no_things",
        "lambda loop: loop._numeric_addresses('::1', 80, 0, socket.SOCK_STREAM, 0, 0)",
    ),
}

# Without a GIL CPython itself (3.13) crashes at the next object when _testcapi does this to it.
if importlib.util.find_spec("_testcapi") is not None and not sysconfig.get_config_var(
    "Py_GIL_DISABLED"
):

    @pytest.mark.timeout(120)
    @pytest.mark.parametrize("prepare, operation", OPERATIONS.values(), ids=OPERATIONS)
    def test_failing_allocation(prepare, operation):
        code = textwrap.dedent(HARNESS) + f"\ncheck({prepare}, {operation})\n"
        done = child.run("-c", code, warnings="ignore", timeout=100)
        # An error that no caller can take is shown on stderr, where it is welcome.
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout == "True\n"
