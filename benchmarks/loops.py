"""How each event loop is made: a name and the import path of its factory.

A loop is asked for by its name, or by such a path if it has no name here.  `name@directory` puts
that directory first on the import path: two builds of one loop can so be compared in the same
run.  Nothing here imports a loop before it is asked for, since a peer may be missing or break at
import.
"""

import importlib
import importlib.metadata
import os
import platform

FACTORIES = {
    "hotloop": "hotloop:new_event_loop",
    "asyncio": "asyncio:SelectorEventLoop",
    "uvloop": "uvloop:new_event_loop",
    "zuvloop": "zuvloop:new_event_loop",
    "rloop": "rloop:new_event_loop",
    "zloop": "zloop:new_event_loop",
    "rsloop": "rsloop:new_event_loop",
}


def split_loop_name(loop_name):
    """Return the factory's import path and the directory (or "") of a loop."""
    name, _, directory = loop_name.partition("@")
    factory = FACTORIES.get(name, name)
    if ":" not in factory:
        known = ", ".join(FACTORIES)
        raise ValueError(f"unknown loop {name!r}, expected module:factory or one of {known}")
    return factory, directory


def module_name(loop_name):
    """Return the name of the module that makes this loop."""
    return split_loop_name(loop_name)[0].partition(":")[0]


def environment(loop_name):
    """Return the environment of a process that runs this loop."""
    directory = split_loop_name(loop_name)[1]
    path = [directory, os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}


def load_factory(loop_name):
    """Import and return the function that makes this loop."""
    module, _, attribute = split_loop_name(loop_name)[0].partition(":")
    return getattr(importlib.import_module(module), attribute)


def describe(loop_name):
    """Return version and build facts of this loop, having made and closed one of it."""
    load_factory(loop_name)().close()
    name = module_name(loop_name)
    if name == "asyncio":
        return {"version": platform.python_version()}
    module = importlib.import_module(name)
    version = getattr(module, "__version__", None) or importlib.metadata.version(name)
    facts = {"version": version}
    core = getattr(module, "_core", None)
    if hasattr(core, "build_info"):
        facts["build"] = core.build_info()
    return facts
