"""Which context is the current one while a callback, a step of a task or a read event runs.

The loop enters and leaves contexts without asking CPython (py/context.h), so what CPython keeps of
them has to be as it leaves it: the values that a variable's cache may answer, the context outside,
whether a context is entered, and the complaint about one that was not left.
"""

import asyncio
import contextvars
import ctypes
import gc
import socket
import sys

import pytest
from support.differential import assert_same_log_on_both, run_briefly

variable = contextvars.ContextVar("variable", default="nothing")

enter_current = ctypes.pythonapi.PyContext_Enter
enter_current.argtypes = [ctypes.py_object]
leave_current = ctypes.pythonapi.PyContext_Exit
leave_current.argtypes = [ctypes.py_object]


def contexts_of(names):
    contexts = [contextvars.copy_context() for _ in names]
    for context, name in zip(contexts, names, strict=True):
        context.run(variable.set, name)
    return contexts


def test_each_callback_sees_the_values_of_its_own_context(loop):
    contexts = contextvars.copy_context(), *contexts_of("abc")
    seen = []

    def look():
        seen.append((variable.get(), variable.get()))  # The second one from the cache.

    for _ in range(3):
        for context in contexts:
            loop.call_soon(look, context=context)
    run_briefly(loop, 2)
    assert seen == [(name, name) for name in ("nothing", "a", "b", "c")] * 3
    assert variable.get() == "nothing"


def test_steps_of_tasks_see_their_own_values_again_and_again(loop):
    seen = {}

    async def look(name):
        variable.set(name)
        for _ in range(5):
            await asyncio.sleep(0)
            seen.setdefault(name, []).append(variable.get())

    async def main():
        await asyncio.gather(*[look(name) for name in "abc"])
        return variable.get()

    assert loop.run_until_complete(main()) == "nothing"
    assert seen == {name: [name] * 5 for name in "abc"}


def test_events_see_the_context_of_their_connection(loop):
    seen = []

    class Protocol(asyncio.Protocol):
        def data_received(self, data):
            seen.append((data, variable.get()))
            variable.set(variable.get() + "+")

    async def connect(name):
        variable.set(name)
        ours, theirs = socket.socketpair()
        transport, _ = await asyncio.get_running_loop().create_connection(Protocol, sock=ours)
        return transport, theirs

    async def main():
        ends = [await asyncio.create_task(connect(name)) for name in "ab"]
        for word in (b"1", b"2"):
            for _, theirs in ends:
                theirs.send(word)
            for _ in range(5):
                await asyncio.sleep(0.001)
        for transport, theirs in ends:
            transport.close()
            theirs.close()
        await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert sorted(seen) == [(b"1", "a"), (b"1", "b"), (b"2", "a+"), (b"2", "b+")]


@pytest.mark.parametrize("leave", [KeyboardInterrupt, SystemExit])
def test_an_exception_that_leaves_the_loop_leaves_the_context(loop, leave):
    (context,) = contexts_of("a")

    def failing():
        raise leave

    loop.call_soon(failing, context=context)
    with pytest.raises(leave):
        loop.run_forever()
    assert variable.get() == "nothing"
    assert context.run(variable.get) == "a"  # It is not entered any more.


def test_a_context_is_free_again_after_a_callback_and_can_be_nested(loop):
    outer, inner = contexts_of("oi")
    seen = []

    def nested():
        seen.append(inner.run(variable.get))
        seen.append(variable.get())
        with pytest.raises(RuntimeError, match="is already entered"):
            outer.run(variable.get)

    for _ in range(2):
        loop.call_soon(nested, context=outer)
        run_briefly(loop, 2)
        seen.append(outer.run(variable.get))
    assert seen == ["i", "o", "o"] * 2


def entered_and_not_left(loop):
    """A callback whose C code has entered a context and forgotten it; return what is seen then."""
    seen = []
    context, forgotten = contexts_of("cf")

    def forget():
        enter_current(forgotten)
        seen.append(variable.get())

    loop.call_soon(forget, context=context)
    run_briefly(loop, 2)
    seen.append(variable.get())
    for inner in (forgotten, context):
        leave_current(inner)
        seen.append(variable.get())
    return seen


def test_a_context_that_was_entered_and_not_left_is_complained_of(caplog):
    (_, seen), log = assert_same_log_on_both(caplog, entered_and_not_left)
    assert seen == ["f", "f", "c", "nothing"]
    assert len(log) == 1


def test_entering_costs_no_references(loop):
    (context,) = contexts_of("a")
    before = contextvars.copy_context()
    gc.collect()
    counts = sys.getrefcount(context), sys.getrefcount(before)
    for _ in range(50):
        loop.call_soon(variable.get, context=context)
        loop.call_soon(variable.get, context=before)
        run_briefly(loop, 2)
    assert (sys.getrefcount(context), sys.getrefcount(before)) == counts
