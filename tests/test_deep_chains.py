"""Long chains of futures and tasks that own each other are freed without exhausting the C stack.

A chain dies from one end: freeing an object frees the next one from within. Each scenario runs in
a process of its own, because what is tested against is a crash. Only on hotloop: asyncio's own
tasks overflow the stack on some versions.
"""

import textwrap

import pytest
from support import child

COMMON = """
    import gc
    import hotloop

    COUNT = 100_000

    def turn(loop):
        loop.stop()
        loop.run_forever()

    async def give(value):
        return value

    async def wait_for(future):
        await future

    def finished(loop, result):
        future = loop.create_future()
        future.set_result(result)
        return future

    def cancelled(loop, message):
        future = loop.create_future()
        future.cancel(message)
        return future

    def silent_task(loop, coroutine):
        task = loop.create_task(coroutine)
        task._log_destroy_pending = False
        return task

    def main(link, turns):
        gc.disable()  # The collector would take apart what is to die by its last reference.
        loop = hotloop.new_event_loop()
        last = None
        for _ in range(COUNT):
            last = link(loop, last)
        for _ in range(turns):
            turn(loop)
        del last
        gc.enable()
        loop.close()
        del loop
        gc.collect()
        print("freed")
"""

# What makes the next link of the chain, and how many turns are run before all is dropped.
CHAINS = {
    "results": ("finished", 0),
    "messages of cancelled futures": ("cancelled", 0),
    "results of tasks": ("lambda loop, last: loop.create_task(give(last))", 2),
    "tasks that never ran": ("lambda loop, last: silent_task(loop, give(last))", 0),
    "tasks that wait": (
        "lambda loop, last: silent_task(loop, wait_for(last or loop.create_future()))",
        2,
    ),
    "callbacks": (
        "lambda loop, last: ((future := loop.create_future()).add_done_callback("
        "last.set_result if last else print), future)[1]",
        0,
    ),
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("link, turns", CHAINS.values(), ids=CHAINS)
def test_chain_is_freed(link, turns):
    code = textwrap.dedent(COMMON) + f"\nmain({link}, {turns})\n"
    # Coroutines that never ran warn when they are freed.
    done = child.run("-c", code, warnings="ignore", timeout=100)
    assert (done.returncode, done.stdout) == (0, "freed\n"), done.stderr[-2000:]
