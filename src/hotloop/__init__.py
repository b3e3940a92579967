"""hotloop: asyncio's event loop, Task and Future in C, a drop-in that behaves the same, faster.

Programs go on using asyncio; this package only says which loop runs them:

    hotloop.run(main())                                               # asyncio.run on this loop
    asyncio.Runner(loop_factory=hotloop.new_event_loop)               # a loop of one's own
    hotloop.install()                                                 # every new loop from now on
    asyncio.set_event_loop_policy(hotloop.EventLoopPolicy())          # up to Python 3.15
    python -m hotloop app.py                                          # an unchanged program

Importing it changes nothing in asyncio.
"""

from ._core import Future, Handle, Task, TimerHandle
from ._entry import install, new_event_loop, run, uninstall
from ._loop import Loop, Server

# Type checkers take every name TYPE_CHECKING for true; typing itself would cost import time.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._policy import EventLoopPolicy as EventLoopPolicy

__version__ = "0.1.0"

# As the core's classes do it: the name by which users reach it, not the file it stands in.
Loop.__module__ = __name__

__all__ = [
    "Future",
    "Handle",
    "Loop",
    "Server",
    "Task",
    "TimerHandle",
    "__version__",
    "install",
    "new_event_loop",
    "run",
    "uninstall",
]


def __getattr__(name: str) -> object:
    # The policy class is made at its first use, because its base class is on the way out of
    # asyncio: a Python without policies must not notice before someone asks for one.
    if name == "EventLoopPolicy":
        try:
            from ._policy import EventLoopPolicy
        except ImportError:
            raise AttributeError(
                "hotloop has no EventLoopPolicy here: this version of asyncio has no policies; "
                "use hotloop.install() or a loop_factory",
                name=name,
            ) from None
        globals()[name] = EventLoopPolicy
        return EventLoopPolicy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)


def __dir__() -> list[str]:
    return sorted({*globals(), "EventLoopPolicy"})
