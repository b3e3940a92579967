"""The event loop policy, for programs that choose their loop by asyncio.set_event_loop_policy.

Imported at the first use of hotloop.EventLoopPolicy and not before: asyncio deprecates policies
from 3.14 on and then loses them, and this import fails where there are none.  The base class is
looked up where no version warns about it.  Everything but the kind of loop is the base's, so that
asyncio.get_event_loop() does outside a running loop what it does in that Python version.
"""

import sys

from ._loop import Loop

if sys.version_info >= (3, 14):
    from asyncio.unix_events import _DefaultEventLoopPolicy as DefaultPolicy
else:
    from asyncio import DefaultEventLoopPolicy as DefaultPolicy


class EventLoopPolicy(DefaultPolicy):
    """EventLoopPolicy()

    asyncio's default policy, with hotloop.Loop as the loop that it makes.

    Mirrors asyncio.DefaultEventLoopPolicy of the running Python version.
    """

    def new_event_loop(self) -> Loop:
        """new_event_loop()

        Return a new hotloop.Loop; it is not made the current loop of the thread.
        """
        return Loop()


EventLoopPolicy.__module__ = "hotloop"
