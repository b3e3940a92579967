"""asyncio.get_event_loop() and its kin do what they do without hotloop, on every Python version.

One script asks for the loop in every situation the tutorial speaks of and prints what it got: the
kind of loop, or the exception, and each warning. It runs once on stock asyncio and once through
each entry point that takes effect outside a coroutine; only the class of the loops may differ.
"""

import asyncio
import json
import textwrap

import pytest
from support import child

import hotloop

pytestmark = pytest.mark.timeout(60)

ASK = textwrap.dedent("""
    import asyncio, json, threading, warnings

    answers = []
    kept = []

    def ask(where, function):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                loop = function()
            except RuntimeError as error:
                answer = f"RuntimeError: {error}"
            else:
                kept.append(loop)
                known = [number for number, other in enumerate(kept) if other is loop][0]
                answer = f"{type(loop).__module__}.{type(loop).__name__} {known}"
        answers.append([where, answer, [f"{w.category.__name__}: {w.message}" for w in caught]])

    async def inside():
        ask("inside, running", asyncio.get_running_loop)
        ask("inside", asyncio.get_event_loop)

    ask("outside, running", asyncio.get_running_loop)
    ask("outside, first", asyncio.get_event_loop)
    ask("outside, again", asyncio.get_event_loop)
    asyncio.run(inside())
    ask("outside, after run()", asyncio.get_event_loop)
    ask("a new one", asyncio.new_event_loop)
    asyncio.set_event_loop(kept[-1])
    ask("outside, after set_event_loop()", asyncio.get_event_loop)
    asyncio.get_event_loop().run_until_complete(inside())
    asyncio.set_event_loop(None)
    ask("outside, after set_event_loop(None)", asyncio.get_event_loop)
    thread = threading.Thread(target=ask, args=("in a thread", asyncio.get_event_loop))
    thread.start()
    thread.join()
    for loop in kept:
        loop.close()
    print(json.dumps(answers))
""")

POLICY = textwrap.dedent("""
    import asyncio, hotloop, sys, warnings

    with warnings.catch_warnings():
        if sys.version_info >= (3, 14):
            warnings.simplefilter("ignore", DeprecationWarning)
        asyncio.set_event_loop_policy(hotloop.EventLoopPolicy())
""")

STOCK = "asyncio.unix_events._UnixSelectorEventLoop"

# The arguments of the interpreter for each entry point.
ENTRIES = {
    "install": ("-c", "import hotloop; hotloop.install()\n" + ASK),
    "module": ("-m", "hotloop", "-c", ASK),
}
if hasattr(asyncio, "set_event_loop_policy"):
    ENTRIES["policy"] = ("-c", POLICY + ASK)


@pytest.fixture(scope="module")
def answers_of_asyncio():
    """Return what stock asyncio answers on this Python."""
    return json.loads(child.run_ok("-c", ASK))


@pytest.mark.parametrize("entry", ENTRIES)
def test_the_answers_are_asyncios_with_hotloops_loops(entry, answers_of_asyncio):
    answers = json.loads(child.run_ok(*ENTRIES[entry]))
    own = f"{hotloop.Loop.__module__}.{hotloop.Loop.__name__}"
    expected = [
        [where, answer.replace(STOCK, own), warnings]
        for where, answer, warnings in answers_of_asyncio
    ]
    assert answers == expected
    assert own in str(answers)
