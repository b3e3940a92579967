"""The command: python -m hotloop runs an unchanged program with hotloop as asyncio's loop.

Reads the command line, calls hotloop.install() and leaves the rest to _program.  What is wrong
with the command line ends with one line on stderr and exit code 2, as with python itself.
"""

from __future__ import annotations

import os
import sys

import hotloop
from hotloop import _core, _program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import NoReturn

USAGE = """\
usage: python [python's options] -m hotloop [options] [FILE | -m MODULE | -c CODE | -] [arguments]

Runs an unchanged asyncio program with hotloop as the event loop, as python would run it: FILE (a
script, or a folder or zip file with a __main__.py), the MODULE of that name, the text of CODE, or
what stands on stdin.

options:
  --children     also use hotloop in the processes that multiprocessing and
                 concurrent.futures start by spawn or forkserver (forked ones always do)
  --info         show what hotloop was built for and runs on, and exit
  --version, -V  show hotloop's version, and exit
  --help, -h     show this text, and exit
"""


def fail(message: str) -> NoReturn:
    """End the process the way python ends over a bad command line."""
    sys.stderr.write(f"hotloop: {message} (see python -m hotloop --help)\n")
    sys.exit(2)


def info() -> Iterator[tuple[str, str]]:
    """Yield the lines of --info, as pairs of what and how."""
    yield "hotloop", hotloop.__version__
    stock = f"stock (asyncio's own; unknown layout of this CPython: {_core.layout_problem})"
    yield "tasks", "native" if _core.native else stock
    yield "backend", "epoll"
    yield "python", f"{sys.implementation.name} {sys.version} ({sys.executable})"
    system = os.uname()
    yield "kernel", f"{system.sysname} {system.release} {system.machine}"
    for name, value in sorted(_core.build_info().items()):
        yield f"build {name}", str(value)


def show_help() -> None:
    sys.stdout.write(USAGE)


def show_version() -> None:
    sys.stdout.write(f"hotloop {hotloop.__version__}\n")


def show_info() -> None:
    for name, value in info():
        sys.stdout.write(f"{name}: {value}\n")


SHOW = {
    "--help": show_help,
    "-h": show_help,
    "--version": show_version,
    "-V": show_version,
    "--info": show_info,
}
NAMED = {"-m": _program.run_module, "-c": _program.run_command}


def chosen_program(arguments: list[str]) -> tuple[Callable[..., None], tuple[object, ...]]:
    """Return the function that runs the program asked for, and what to call it with."""
    if arguments[:1] == ["--"]:
        arguments = arguments[1:]
    elif arguments and arguments[0].startswith("-") and arguments[0] != "-":
        return named_program(arguments[0], arguments[1:])
    if not arguments or arguments[0] == "-":
        return _program.run_stdin, (arguments,)
    return _program.run_script, (arguments[0], arguments[1:])


def named_program(option: str, rest: list[str]) -> tuple[Callable[..., None], tuple[object, ...]]:
    """Return the same for -m and -c, whose value may follow without a space."""
    letter, value = option[:2], option[2:]
    if letter not in NAMED:
        fail(f"unknown option {option}; Python's own options stand before -m hotloop")
    if not value:
        if not rest:
            fail(f"argument expected for the {letter} option")
        value, rest = rest[0], rest[1:]
    return NAMED[letter], (value, rest)


def main(arguments: list[str]) -> None:
    """Do what the command line asks for."""
    with_children = False
    while arguments[:1] == ["--children"]:
        with_children = True
        arguments = arguments[1:]
    if arguments and arguments[0] in SHOW:
        SHOW[arguments[0]]()
        return
    run, values = chosen_program(arguments)
    hotloop.install()
    if with_children:
        from hotloop import _children

        _children.enable()
    _program.run(run, *values)


if __name__ == "__main__":
    main(sys.argv[1:])
