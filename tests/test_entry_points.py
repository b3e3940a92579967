"""Choosing hotloop's loop: run, new_event_loop, install, uninstall and the event loop policy.

What install() changes belongs to the process, so that each test of it runs its program in a child,
with warnings as errors: importing hotloop and installing it warn of nothing on any Python.  The
programs check with assert and print what the test compares.
"""

import asyncio
import contextlib
import contextvars
import inspect
import signal
import sys
import threading
import unittest

import pytest
from support import child

import hotloop

HAS_POLICIES = hasattr(asyncio.events, "_event_loop_policy")

needs_policies = pytest.mark.skipif(
    sys.version_info >= (3, 16), reason="needs Python 3.15 or older: asyncio's policies are gone"
)

# What the programs below begin with.
PRELUDE = """\
import asyncio, sys, threading, unittest, warnings
from asyncio import events
import hotloop

def policy():
    return getattr(events, "_event_loop_policy", None)

def functions():
    return asyncio.new_event_loop, events.new_event_loop

async def running():
    return asyncio.get_running_loop()

def in_use():
    return type(asyncio.run(running()))

def refused():
    try:
        hotloop.uninstall()
    except RuntimeError as error:
        return str(error)

def set_policy(policy):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asyncio.set_event_loop_policy(policy)

def default_policy():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return asyncio.DefaultEventLoopPolicy()

before = policy(), functions()
"""


def check(program):
    """Run a program after the prelude; return what it printed."""
    return child.run_ok("-c", PRELUDE + program)


def test_import_changes_nothing_and_does_not_look_for_policies():
    child.run_ok(
        "-c",
        """
import asyncio, sys
modules = [sys.modules[name] for name in sorted(sys.modules) if name.startswith("asyncio")]
before = [dict(vars(module)) for module in modules]
import hotloop
assert [dict(vars(module)) for module in modules] == before
assert "hotloop._policy" not in sys.modules
""",
    )


def test_public_names():
    assert hotloop.__version__ == "0.1.0"
    for name in hotloop.__all__:
        assert getattr(hotloop, name).__doc__, name
        assert name in dir(hotloop)
    assert "EventLoopPolicy" in dir(hotloop)
    with pytest.raises(AttributeError, match="module 'hotloop' has no attribute 'nothing'"):
        hotloop.nothing  # noqa: B018


@pytest.mark.parametrize("name", ["run", "new_event_loop", "install", "uninstall"])
def test_docstring_begins_with_the_signature(name):
    function = getattr(hotloop, name)
    parameters = inspect.signature(function).parameters.values()
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in parameters]
    assert inspect.getdoc(function).splitlines()[:2] == [f"{name}{inspect.Signature(bare)}", ""]


def test_new_event_loop_is_not_made_the_current_one():
    check(
        """
with warnings.catch_warnings(record=True):
    warnings.simplefilter("always")
    asyncio.set_event_loop(None)
    loop = hotloop.new_event_loop()
    assert type(loop) is hotloop.Loop
    try:
        asyncio.get_event_loop()
    except RuntimeError:
        print("no current loop")
    loop.close()
"""
    )


def test_install_makes_every_new_loop_ours():
    check(
        """
seen = []
class Case(unittest.IsolatedAsyncioTestCase):
    async def test_loop(self):
        seen.append(type(asyncio.get_running_loop()))

assert hotloop.install() is None
seen.append(in_use())
with asyncio.Runner() as runner:
    seen.append(type(runner.get_loop()))
for function in functions():
    loop = function()
    seen.append(type(loop))
    loop.close()
result = unittest.TestResult()
Case("test_loop").run(result)
assert result.wasSuccessful(), result.errors
thread = threading.Thread(target=lambda: seen.append(in_use()))
thread.start()
thread.join()
assert seen == [hotloop.Loop] * 6, seen
"""
    )


def test_loop_factory_wins_over_install():
    check(
        """
hotloop.install()
with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
    assert type(runner.get_loop()) is asyncio.SelectorEventLoop
loop = hotloop.run(running(), loop_factory=asyncio.SelectorEventLoop)
assert type(loop) is asyncio.SelectorEventLoop
if sys.version_info >= (3, 12):
    loop = asyncio.run(running(), loop_factory=asyncio.SelectorEventLoop)
    assert type(loop) is asyncio.SelectorEventLoop
"""
    )


def test_uninstall_puts_back_the_lazy_default():
    check(
        """
hotloop.install()
assert (policy(), functions()) != before
assert hotloop.uninstall() is None
assert policy() is None is before[0] and functions() == before[1]
assert in_use() is not hotloop.Loop
"""
    )


@needs_policies
def test_uninstall_puts_back_the_very_policy_that_was_set():
    check(
        """
mine = default_policy()
set_policy(mine)
hotloop.install()
assert in_use() is hotloop.Loop
hotloop.uninstall()
assert policy() is mine and functions() == before[1]
assert in_use() is not hotloop.Loop
"""
    )


def test_install_twice_is_install_once():
    check(
        """
hotloop.install()
installed = policy(), functions()
hotloop.install()
assert (policy(), functions()) == installed
hotloop.uninstall()
assert (policy(), functions()) == before
"""
    )


def test_uninstall_without_install_does_nothing():
    check(
        """
hotloop.uninstall()
assert (policy(), functions()) == before
hotloop.install()
hotloop.uninstall()
hotloop.uninstall()
assert (policy(), functions()) == before
"""
    )


# Each replaces what install() has put in; `theirs` tells how to find it again, `give_back` undoes.
POLICY_REPLACED = """\
ours = policy()
theirs = default_policy()
set_policy(theirs)
def still_theirs():
    return policy() is theirs
def give_back():
    set_policy(ours)
"""
FUNCTION_REPLACED = """\
ours = {place}.new_event_loop
def theirs():
    return asyncio.SelectorEventLoop()
{place}.new_event_loop = theirs
def still_theirs():
    return {place}.new_event_loop is theirs
def give_back():
    {place}.new_event_loop = ours
"""
if sys.version_info >= (3, 14):
    INTRUDERS = {place: FUNCTION_REPLACED.format(place=place) for place in ("asyncio", "events")}
else:
    INTRUDERS = {"policy": POLICY_REPLACED}


@pytest.mark.parametrize("intruder", INTRUDERS)
def test_uninstall_refuses_when_someone_else_is_in_its_place(intruder):
    message = check(
        f"""
hotloop.install()
{INTRUDERS[intruder]}
print(refused())
assert still_theirs(), "nothing may be changed by the refusal"
give_back()
hotloop.uninstall()
assert (policy(), functions()) == before
"""
    )
    assert message.startswith("hotloop.uninstall() has nothing to put back: ")
    assert "is now <" in message and message.count("\n") == 1


@pytest.mark.parametrize("intruder", INTRUDERS)
def test_install_over_someone_else_puts_back_theirs(intruder):
    check(
        f"""
hotloop.install()
{INTRUDERS[intruder]}
hotloop.install()
assert in_use() is hotloop.Loop
hotloop.uninstall()
assert still_theirs()
"""
    )


@needs_policies
def test_policy_set_after_install_wins():
    check(
        """
class Policy(type(default_policy())):
    pass
hotloop.install()
set_policy(Policy())
assert in_use() is not hotloop.Loop
"""
    )


# What asyncio.get_event_loop() gives where no loop runs; the loop's own class is masked.
OUTSIDE = """
def outside():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            loop = asyncio.get_event_loop()
        except RuntimeError as error:
            print("error:", error)
        else:
            print("a loop", asyncio.get_event_loop() is loop, type(loop) in (Expected, Another))
            loop.close()
        print(*[(entry.category.__name__, str(entry.message)) for entry in caught])

Expected, Another = asyncio.SelectorEventLoop, hotloop.Loop
outside()
thread = threading.Thread(target=outside, name="another")
thread.start()
thread.join()
asyncio.set_event_loop(None)
outside()
asyncio.run(running())
outside()
mine = asyncio.new_event_loop()
asyncio.set_event_loop(mine)
print(asyncio.get_event_loop() is mine)
outside()
"""


def test_get_event_loop_outside_is_that_versions():
    expected = check(OUTSIDE)
    assert check("hotloop.install()" + OUTSIDE) == expected
    assert check("set_policy(hotloop.EventLoopPolicy())" + OUTSIDE) == expected


@needs_policies
def test_event_loop_policy():
    check(
        """
Policy = hotloop.EventLoopPolicy
assert Policy is hotloop.EventLoopPolicy and Policy.__module__ == "hotloop"
assert issubclass(Policy, type(default_policy()))
set_policy(Policy())
assert in_use() is hotloop.Loop
assert functions() == before[1]
set_policy(None)
assert in_use() is not hotloop.Loop
"""
    )


def test_where_asyncio_has_no_policies_there_is_no_policy():
    """Plays the Python that has removed them by removing them before the first use."""
    message = check(
        """
for place in (asyncio, asyncio.unix_events):
    for name in ("DefaultEventLoopPolicy", "_DefaultEventLoopPolicy"):
        vars(place).pop(name, None)
if sys.version_info >= (3, 14):
    del asyncio.__getattr__
assert not hasattr(hotloop, "EventLoopPolicy")
try:
    hotloop.EventLoopPolicy
except AttributeError as error:
    print(error, error.name)
from hotloop import *
"""
    )
    assert message.startswith("hotloop has no EventLoopPolicy here: ")
    assert message.endswith("EventLoopPolicy\n")


def test_concurrent_installs_leave_one_installation(monkeypatch):
    made = []

    def install_while_another_thread_does():
        made.append(threading.Thread(target=hotloop.install))
        if len(made) == 1:
            made[0].start()
            made[0].join(0.1)  # It has to wait for this call, so that this cannot wait for it.
        return Uninstalled()

    class Uninstalled:
        """An installation that installs nothing."""

        def intruder(self):
            return None

    monkeypatch.setattr(hotloop._entry, "_current", None)
    monkeypatch.setattr(hotloop._entry, "Installation", install_while_another_thread_does)
    hotloop.install()
    made[0].join()
    assert len(made) == 1


def test_forked_child_inherits_the_installation():
    check(
        """
import os
hotloop.install()
pid = os.fork()
if pid == 0:
    os._exit(0 if in_use() is hotloop.Loop else 1)
assert os.waitpid(pid, 0)[1] == 0
"""
    )


def test_installed_function_is_pickled_as_asyncios_own():
    check(
        """
import pickle
hotloop.install()
assert pickle.loads(pickle.dumps(asyncio.new_event_loop)) is asyncio.new_event_loop
assert b"hotloop" not in pickle.dumps(asyncio.new_event_loop)
"""
    )


async def running_loop():
    return asyncio.get_running_loop()


def test_run_returns_the_result_and_closes_the_loop():
    loop = hotloop.run(running_loop())
    assert type(loop) is hotloop.Loop
    assert loop.is_closed()


@pytest.mark.parametrize("debug", [None, False, True])
def test_run_sets_debug_mode(debug):
    async def main():
        return asyncio.get_running_loop().get_debug()

    expected = asyncio.coroutines._is_debug_mode() if debug is None else debug
    assert hotloop.run(main(), debug=debug) == expected


def test_run_takes_a_loop_factory():
    made = []

    def factory():
        made.append(asyncio.SelectorEventLoop())
        return made[0]

    assert [hotloop.run(running_loop(), loop_factory=factory)] == made


def test_run_cancels_what_main_leaves_and_closes_generators():
    steps = []

    async def generator():
        try:
            yield
        finally:
            steps.append("generator")

    async def background():
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            steps.append("background")

    async def main():
        kept.append(generator())
        await anext(kept[0])
        kept.append(asyncio.create_task(background()))
        await asyncio.sleep(0)

    kept = []
    hotloop.run(main())
    assert steps == ["background", "generator"]


def test_run_raises_what_main_raises():
    async def main():
        raise LookupError("from main")

    with pytest.raises(LookupError, match=r"^from main$"):
        hotloop.run(main())


def test_run_turns_sigint_into_keyboard_interrupt():
    async def main():
        try:
            signal.raise_signal(signal.SIGINT)
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    cancelled = []
    with pytest.raises(KeyboardInterrupt):
        hotloop.run(main())
    assert cancelled == [True]


def test_run_sees_the_callers_context():
    variable = contextvars.ContextVar("variable", default="default")
    variable.set("caller's")

    async def main():
        return variable.get()

    assert hotloop.run(main()) == "caller's"


def error_of(function, *args, **kwargs):
    """Return the class and the text of what a call raises."""
    with pytest.raises(Exception) as caught:
        function(*args, **kwargs)
    return caught.type, str(caught.value)


def test_run_in_a_running_loop_is_refused_with_asyncios_words():
    async def main(run):
        inner = running_loop()
        with contextlib.closing(inner):
            return error_of(run, inner)

    expected = asyncio.run(main(asyncio.run))
    assert expected[0] is RuntimeError
    assert hotloop.run(main(hotloop.run)) == expected


@pytest.mark.parametrize("wrong", [None, 5, running_loop, unittest, threading.Event()])
def test_run_of_no_coroutine_is_refused_with_asyncios_words(wrong):
    assert error_of(hotloop.run, wrong) == error_of(asyncio.run, wrong)


def test_run_has_the_signature_of_asyncio_run():
    def names(function):
        return [
            (parameter.name, parameter.kind, parameter.default)
            for parameter in inspect.signature(function).parameters.values()
        ]

    loop_factory = ("loop_factory", inspect.Parameter.KEYWORD_ONLY, None)
    expected = names(asyncio.run)
    assert names(hotloop.run) == expected + ([] if loop_factory in expected else [loop_factory])


@pytest.mark.parametrize("way", ["positional", "unknown"])
def test_run_takes_the_rest_by_keyword_only(way):
    main = running_loop()
    with contextlib.closing(main), pytest.raises(TypeError, match=r"run\(\)"):
        if way == "positional":
            hotloop.run(main, True)
        else:
            hotloop.run(main, no_such_argument=True)
