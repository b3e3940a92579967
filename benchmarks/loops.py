"""What a row can run on: a name, its kind and how it is made.

A loop is asked for by its name, or by the import path of its factory if it has no name here.
`name@directory` puts that directory first on the import path: two builds of one loop can so be
compared in the same run.  `name+add-on` is a loop whose connections an add-on makes.  The servers
in C are no loops: they are what no loop can be better than.  Nothing here imports a loop before it
is asked for, since a peer may be missing or break at import.
"""

import importlib
import importlib.metadata
import os
import platform

from benchmarks import compiled

FACTORIES = {
    "hotloop": "hotloop:new_event_loop",
    "asyncio": "asyncio:SelectorEventLoop",
    "uvloop": "uvloop:new_event_loop",
    "zuvloop": "zuvloop:new_event_loop",
    "rloop": "rloop:new_event_loop",
    "zloop": "zloop:new_event_loop",
    "rsloop": "rsloop:new_event_loop",
}

# Modules with a function patch_loop(loop).
ADD_ONS = ("aiofastnet",)

# Name: the program in C.
SERVERS = {"C-epoll": "bare_server", "C-libuv": "libuv_server"}

LOOP, ADD_ON, SERVER = "loop", "add-on", "server"


def kind(name):
    """Return what stands behind a name: a loop, a loop with an add-on, or a server in C."""
    if name in SERVERS:
        return SERVER
    return ADD_ON if add_on(name) else LOOP


def add_on(loop_name):
    """Return the name of the add-on's module, or ""."""
    last = loop_name.rpartition("+")[2]
    return last if last in ADD_ONS else ""


def check_name(name):
    """Raise ValueError for a name that stands for nothing."""
    if name not in SERVERS:
        split_loop_name(name)


def split_loop_name(loop_name):
    """Return the factory's import path and the directory (or "") of a loop."""
    plain_name = loop_name.removesuffix(f"+{add_on(loop_name)}")
    name, _, directory = plain_name.partition("@")
    factory = FACTORIES.get(name, name)
    if ":" not in factory:
        known = ", ".join(FACTORIES)
        raise ValueError(f"unknown loop {name!r}, expected module:factory or one of {known}")
    return factory, directory


def module_name(loop_name):
    """Return the name of the module that makes this loop."""
    return split_loop_name(loop_name)[0].partition(":")[0]


def environment(name):
    """Return the environment of a process that runs this loop or server."""
    directory = "" if name in SERVERS else split_loop_name(name)[1]
    path = [directory, os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}


def load_factory(loop_name):
    """Import and return the function that makes this loop."""
    module, _, attribute = split_loop_name(loop_name)[0].partition(":")
    factory = getattr(importlib.import_module(module), attribute)
    if not add_on(loop_name):
        return factory
    patch_loop = importlib.import_module(add_on(loop_name)).patch_loop

    def patched_loop():
        loop = factory()
        patch_loop(loop)
        return loop

    return patched_loop


def _version(name):
    module = importlib.import_module(name)
    return getattr(module, "__version__", None) or importlib.metadata.version(name)


def describe(name):
    """Return version and build facts, having made and closed one of it."""
    if name in SERVERS:
        return compiled.describe(SERVERS[name])
    load_factory(name)().close()
    module = module_name(name)
    if add_on(name):
        return {"version": _version(add_on(name))}
    if module == "asyncio":
        return {"version": platform.python_version()}
    facts = {"version": _version(module)}
    core = getattr(importlib.import_module(module), "_core", None)
    if hasattr(core, "build_info"):
        facts["build"] = core.build_info()
    return facts
