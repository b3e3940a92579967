"""Pairs of Future and Task types under test, and how their behaviour is reduced to plain data.

A *kind* says which Future, which Task and which loop a scenario works with.  The same scenario run
on ``STOCK`` and on ``NATIVE`` must leave the same traces; the mixed kinds put hotloop's types on
asyncio's loop and the other way round.  ``Describer`` turns whatever a scenario produced into data
that can be compared: it names the objects the scenario knows, and drops addresses and the
spelling of the loop's own class, which are the only things that may differ.
"""

import asyncio
import collections.abc
import contextvars
import dataclasses
import re
import traceback
import types
from collections.abc import Callable

import hotloop


@dataclasses.dataclass(frozen=True)
class Kind:
    """The types one run of a scenario uses."""

    name: str
    Future: type
    Task: type
    new_loop: Callable[[], asyncio.AbstractEventLoop]

    def __repr__(self):
        return self.name


# asyncio's loop is named directly: asyncio.new_event_loop() may be hotloop's after install().
STOCK = Kind("asyncio", asyncio.Future, asyncio.Task, asyncio.SelectorEventLoop)
NATIVE = Kind("hotloop", hotloop.Future, hotloop.Task, hotloop.new_event_loop)
NATIVE_ON_ASYNCIO = Kind("hotloop-types", hotloop.Future, hotloop.Task, asyncio.SelectorEventLoop)
STOCK_ON_NATIVE = Kind("asyncio-types", asyncio.Future, asyncio.Task, hotloop.new_event_loop)

KINDS = (STOCK, NATIVE)
ALL_KINDS = (STOCK, NATIVE, NATIVE_ON_ASYNCIO, STOCK_ON_NATIVE)

_ADDRESS = re.compile(r"0x[0-9a-fA-F]+")
_LOOP_REPR = re.compile(r"<(?:[\w.]*\.)?(?:_UnixSelectorEventLoop|Loop) [^>]*>")
# Up to 3.13 asyncio's Task has attributes of its own where hotloop's inherits those of Future.
_READ_ONLY = re.compile(r"(?<=of ')\S*(?:Future|Task)(?=' objects)")
_OWN_TYPE = re.compile(r"\b(?:hotloop(?:\._core)?|_asyncio|asyncio\.(?:tasks|futures|events))\.")

# How a call with too few, too many or unknown arguments is worded is up to CPython's argument
# parsers, which say it in a dozen ways even within _asyncio: that it is a TypeError must suffice.
_WRONG_CALL = re.compile(
    r"\(\) (takes (no|at most|exactly)|missing|expects|expected at|got (an|some))|keyword argument"
    r"|function takes"
)


def normalized(text):
    """Drop addresses, the loop's own repr and the module that a type lives in."""
    text = _READ_ONLY.sub("...", _LOOP_REPR.sub("<LOOP>", text))
    return _OWN_TYPE.sub("", _ADDRESS.sub("0x...", text))


class Describer:
    """Turns values into comparable data; objects given a name are shown by that name."""

    def __init__(self):
        self._names = {}

    def name(self, label, value):
        """Give the value a name and return the value."""
        # The pair keeps the value alive, so that its id cannot pass to another object.
        self._names[id(value)] = (label, value)
        return value

    def forget(self, *values):
        """Drop the names of these values, and the references that came with them."""
        for value in values:
            self._names.pop(id(value), None)

    def __call__(self, value):
        if id(value) in self._names:
            return "<" + self._names[id(value)][0] + ">"
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, str):
            return normalized(value)
        if isinstance(value, TypeError) and _WRONG_CALL.search(str(value)):
            return ("exception", "TypeError", "wrong number or names of arguments")
        if isinstance(value, BaseException):
            return ("exception", type(value).__qualname__, self(value.args))
        return self._structure(value)

    def _structure(self, value):
        if isinstance(value, asyncio.Handle):
            return re.sub(r" created at [^>]*", "", normalized(repr(value)))
        if isinstance(value, traceback.StackSummary):
            return "<stack>"  # Whether the loop itself has Python frames is no matter.
        if isinstance(value, tuple | list):
            return (type(value).__name__, *map(self, value))
        if isinstance(value, set | frozenset):
            return ("set", *sorted(map(self, value), key=repr))
        if isinstance(value, dict):
            return {key: self(item) for key, item in value.items()}
        if isinstance(value, contextvars.Context):
            return "<context>"
        if isinstance(value, types.FrameType):
            return ("frame", value.f_code.co_name, value.f_lineno)
        if isinstance(value, asyncio.AbstractEventLoop):
            return "<some loop>"
        if callable(value) and hasattr(value, "__self__"):
            return ("method", getattr(value, "__name__", None), self(value.__self__))
        if isinstance(value, collections.abc.Callable):
            return ("callable", normalized(getattr(value, "__qualname__", repr(value))))
        return normalized(repr(value))


def attempt(describe, function, *args, **kwargs):
    """Call the function and describe how it ended."""
    try:
        return ("returned", describe(function(*args, **kwargs)))
    except BaseException as error:
        return ("raised", describe(error))


def run_turns(loop, turns=1):
    """Let the loop take that many turns: a stop() asked for beforehand ends a run after one."""
    for _ in range(turns):
        loop.stop()
        loop.run_forever()
