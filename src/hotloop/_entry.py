"""The functions by which a program chooses hotloop's loop: run, new_event_loop, install, uninstall.

install() is the only thing in this package that changes asyncio.  Up to Python 3.13 it sets the
event loop policy; from 3.14 on, where asyncio warns about policies, it replaces
asyncio.new_event_loop under both names by which asyncio and programs find it.  Either way
asyncio.run, asyncio.Runner and unittest follow, and an explicit loop_factory goes first because it
asks nobody.  uninstall() puts back the very objects that were there, or refuses.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from asyncio import events

from ._loop import Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any, TypeVar

    T = TypeVar("T")


def new_event_loop() -> Loop:
    """new_event_loop()

    Return a new hotloop.Loop; it is not made the current loop of the thread.

    Mirrors asyncio.new_event_loop, and is what a loop_factory argument takes.  Thread-safe.
    """
    return Loop()


def run(
    main: Coroutine[Any, Any, T],
    *,
    debug: bool | None = None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> T:
    """run(main, *, debug=None, loop_factory=None)

    Run a coroutine on a new hotloop.Loop, close the loop, and return the coroutine's result.

    main: the coroutine.  debug: the loop's debug mode, None for the default.  loop_factory: what
    makes the loop instead, a callable without arguments.  Raises RuntimeError when called from a
    running event loop, and what main raises.  Thread-safe; Ctrl-C is handled on the main thread.

    Mirrors asyncio.run; loop_factory is there on Python 3.11 too.
    """
    factory = new_event_loop if loop_factory is None else loop_factory
    if sys.version_info >= (3, 12):
        return asyncio.run(main, debug=debug, loop_factory=factory)
    if events._get_running_loop() is not None:
        raise RuntimeError("asyncio.run() cannot be called from a running event loop")
    with asyncio.Runner(debug=debug, loop_factory=factory) as runner:
        return runner.run(main)


def current_policy() -> object:
    """Return the policy set in asyncio; None if there is none yet, or no policies at all.

    Read where asyncio keeps it: the public getter would create the default, and warns from 3.14 on.
    """
    return getattr(events, "_event_loop_policy", None)


class PolicyInstallation:
    """hotloop's policy in the place of the one that was there; for Python up to 3.13."""

    def __init__(self) -> None:
        from ._policy import EventLoopPolicy

        self.before = current_policy()
        self.ours = EventLoopPolicy()
        asyncio.set_event_loop_policy(self.ours)

    def intruder(self) -> str | None:
        """Return what is now in our place, in words, or None while nothing else is."""
        now = current_policy()
        return None if now is self.ours else f"the event loop policy is now {now!r}"

    def undo(self) -> None:
        """Put back what was there; None has asyncio make its default when it needs one."""
        vars(events)["_event_loop_policy"] = self.before


class FunctionInstallation:
    """A function of ours in the place of asyncio.new_event_loop; for Python from 3.14 on."""

    # asyncio itself (run, Runner, unittest's async case) uses the name in events.
    PLACES = (asyncio, events)

    def __init__(self) -> None:
        self.before: list[Callable[[], asyncio.AbstractEventLoop]] = [
            vars(place)["new_event_loop"] for place in self.PLACES
        ]
        self.policy_before = current_policy()
        self.ours = self.make_function()
        for place in self.PLACES:
            vars(place)["new_event_loop"] = self.ours

    def make_function(self) -> Callable[[], asyncio.AbstractEventLoop]:
        """Return what asyncio.new_event_loop is to be from now on."""

        def new_event_loop() -> asyncio.AbstractEventLoop:
            """new_event_loop()

            Return a new hotloop.Loop, or what an event loop policy set after install() makes.
            """
            if self.was_policy_chosen():
                return self.before[1]()
            return Loop()

        # Whoever sends asyncio.new_event_loop to another process pickles it by this name.
        new_event_loop.__module__, new_event_loop.__qualname__ = events.__name__, "new_event_loop"
        return new_event_loop

    def was_policy_chosen(self) -> bool:
        """Whether someone has set a policy since, whose wish is younger than install().

        asyncio makes its default policy by itself as soon as it needs one; that is no choice.
        """
        policy = current_policy()
        if policy is None or policy is self.policy_before:
            return False
        return type(policy) is not getattr(asyncio.unix_events, "_DefaultEventLoopPolicy", None)

    def intruder(self) -> str | None:
        """Return what is now in our place, in words, or None while nothing else is."""
        for place in self.PLACES:
            now = vars(place)["new_event_loop"]
            if now is not self.ours:
                return f"{place.__name__}.new_event_loop is now {now!r}"
        return None

    def undo(self) -> None:
        """Put back what was there."""
        for place, function in zip(self.PLACES, self.before, strict=True):
            vars(place)["new_event_loop"] = function


Installation = FunctionInstallation if sys.version_info >= (3, 14) else PolicyInstallation

# Guards `_current`: two threads that install at once must not each take the other's for what was
# there before.
_lock = threading.Lock()
_current: PolicyInstallation | FunctionInstallation | None = None


def install() -> None:
    """install()

    Make hotloop.Loop the loop that asyncio creates in this process from now on.

    asyncio.run, asyncio.Runner, asyncio.new_event_loop and unittest follow; an explicit
    loop_factory or an event loop policy set later goes first.  Loops that exist are not touched.
    A second call does nothing, unless something else has taken the place of hotloop since: then
    hotloop is installed over that.  Processes forked later inherit it.  Thread-safe.

    Mirrors asyncio.set_event_loop_policy(hotloop.EventLoopPolicy()) up to Python 3.13; from 3.14
    on, where policies are deprecated, asyncio.new_event_loop is replaced and no policy is set.
    """
    global _current
    with _lock:
        if _current is None or _current.intruder() is not None:
            _current = Installation()


def uninstall() -> None:
    """uninstall()

    Put back what install() replaced, the very objects that were there.

    Raises RuntimeError, and changes nothing, if something else was put in that place after
    install().  Does nothing when hotloop is not installed.  Loops that exist are not touched.
    Thread-safe.
    """
    global _current
    with _lock:
        if _current is None:
            return
        intruder = _current.intruder()
        if intruder is not None:
            raise RuntimeError(f"hotloop.uninstall() has nothing to put back: {intruder}")
        _current.undo()
        _current = None
