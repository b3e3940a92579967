"""What a server says about itself when it is asked over the network."""

import asyncio
import gc
import os
import sys


def name_of(value):
    """Module and name of an object's type."""
    return f"{type(value).__module__}.{type(value).__qualname__}"


def describe():
    """Which loop and task run this, and how many native objects of each type there are."""
    gc.collect()
    core = sys.modules.get("hotloop._core")
    counters = core.counters() if core is not None else {}
    return {
        "pid": os.getpid(),
        "loop": name_of(asyncio.get_running_loop()),
        "task": name_of(asyncio.current_task()),
        "live": {name: value for name, value in counters.items() if name.startswith("live_")},
    }
