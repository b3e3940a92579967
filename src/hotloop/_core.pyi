# What hotloop._core offers, in types.  The classes here stand in front of asyncio's own in the
# method resolution order, so only what C defines anew is listed; the rest is inherited.  Task and
# Future are asyncio's own where the interpreter's layout was not recognised (`native` is False).

import asyncio
import sys
from asyncio import _AwaitableLike, _CoroutineLike
from collections.abc import Callable
from contextvars import Context
from typing import Any, TypeVar, TypeVarTuple

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)
_Ts = TypeVarTuple("_Ts")

native: bool
layout_problem: str | None

def build_info() -> dict[str, object]: ...
def counters() -> dict[str, int]: ...

class Future(asyncio.Future[_T]): ...
class Task(Future[_T_co], asyncio.Task[_T_co]): ...  # type: ignore[type-var]
class Handle(asyncio.Handle): ...
class TimerHandle(Handle, asyncio.TimerHandle): ...

class Loop:
    def run_forever(self) -> None: ...
    def run_until_complete(self, future: _AwaitableLike[_T]) -> _T: ...
    def stop(self) -> None: ...
    def close(self) -> None: ...
    def is_running(self) -> bool: ...
    def is_closed(self) -> bool: ...
    def time(self) -> float: ...
    def get_debug(self) -> bool: ...
    def set_debug(self, enabled: bool) -> None: ...
    def call_soon(
        self, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle: ...
    def call_soon_threadsafe(
        self, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle: ...
    def call_later(
        self,
        delay: float,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle: ...
    def call_at(
        self,
        when: float,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle: ...
    def create_future(self) -> asyncio.Future[Any]: ...
    if sys.version_info >= (3, 13):
        def create_task(
            self,
            coro: _CoroutineLike[_T],
            *,
            name: object = None,
            context: Context | None = None,
            eager_start: bool | None = None,
        ) -> asyncio.Task[_T]: ...
    else:
        def create_task(
            self, coro: _CoroutineLike[_T], *, name: object = None, context: Context | None = None
        ) -> asyncio.Task[_T]: ...
