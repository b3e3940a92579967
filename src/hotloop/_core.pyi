# What hotloop._core offers, in types.  The classes here stand in front of asyncio's own in the
# method resolution order, so only what C defines anew is listed; the rest is inherited.  Task and
# Future are asyncio's own where the interpreter's layout was not recognised (`native` is False).
# Names with an underscore are for hotloop's own Python, or the ones that asyncio's classes have.

import asyncio
import sys
from asyncio import _AwaitableLike, _CoroutineLike
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from contextvars import Context
from typing import Any, Literal, Protocol, Self, TypeVar, TypeVarTuple, final, type_check_only

from _typeshed import FileDescriptorLike
from typing_extensions import Buffer, disjoint_base

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)
_Ts = TypeVarTuple("_Ts")

native: bool
layout_problem: str | None

def build_info() -> dict[str, object]: ...
def counters() -> dict[str, int]: ...
def _registered_tasks() -> list[asyncio.Task[Any]]: ...
def _forget_task(task: object, /) -> None: ...
def _before_fork() -> None: ...
def _after_fork_in_child() -> list[Any]: ...

@type_check_only
class _SockCall(Awaitable[None], Protocol[_T_co]):
    def take(self) -> _T_co: ...

class Future(asyncio.Future[_T]): ...
class Task(Future[_T_co], asyncio.Task[_T_co]): ...  # type: ignore[type-var]
class Handle(asyncio.Handle): ...

@disjoint_base
class TimerHandle(Handle, asyncio.TimerHandle):
    def __hash__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __lt__(self, other: asyncio.TimerHandle, /) -> bool: ...
    def __le__(self, other: asyncio.TimerHandle, /) -> bool: ...
    def __gt__(self, other: asyncio.TimerHandle, /) -> bool: ...
    def __ge__(self, other: asyncio.TimerHandle, /) -> bool: ...

@disjoint_base
class _Transport(asyncio.transports._FlowControlMixin):
    def _start_reading(self) -> None: ...
    def _force_close(self, exc: BaseException | None, /) -> None: ...
    def _fatal_error(self, exc: BaseException, message: str = ...) -> None: ...
    def _call_connection_lost(self, exc: BaseException | None, /) -> None: ...
    def _make_empty_waiter(self) -> asyncio.Future[None]: ...
    def _reset_empty_waiter(self) -> None: ...

@final
class _ClientSet:
    def __new__(cls) -> Self: ...
    def add(self, transport: object, /) -> None: ...
    def discard(self, transport: object, /) -> None: ...
    def copy(self) -> list[Any]: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __len__(self) -> int: ...
    def __contains__(self, key: object, /) -> bool: ...

# Fields of asyncio.sslproto.SSLProtocol that C keeps; None where asyncio would have no attribute.
@disjoint_base
class _SSLProtocol:
    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    _sslobj: Any
    _incoming: Any
    _outgoing: Any
    _loop: Any
    _write_backlog: Any
    _ssl_buffer: Any
    _ssl_buffer_view: Any
    _server_side: Any
    _server_hostname: Any
    _sslcontext: Any
    _extra: Any
    _waiter: Any
    _app_transport: Any
    _transport: Any
    _ssl_handshake_timeout: Any
    _ssl_shutdown_timeout: Any
    _state: Any
    _app_state: Any
    _app_protocol: Any
    _app_protocol_get_buffer: Any
    _app_protocol_buffer_updated: Any
    _incoming_high_water: Any
    _incoming_low_water: Any
    _outgoing_high_water: Any
    _outgoing_low_water: Any
    _handshake_start_time: Any
    _handshake_timeout_handle: Any
    _shutdown_timeout_handle: Any
    _app_transport_created: bool
    _ssl_writing_paused: bool
    _app_reading_paused: bool
    _ssl_reading_paused: bool
    _eof_received: bool
    _app_writing_paused: bool
    _app_protocol_is_buffer: bool
    _write_buffer_size: int
    _conn_lost: int
    @property
    def _has_unread(self) -> bool: ...
    def _try_read(self) -> bool: ...
    def _follow(self, data: Buffer, /) -> None: ...

@disjoint_base
class _SSLProtocolTransport(asyncio.transports._FlowControlMixin):
    _closed: bool
    _ssl_protocol: Any
    def write(self, data: bytes | bytearray | memoryview) -> None: ...
    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None: ...

@disjoint_base
class Loop:
    slow_callback_duration: float
    write_through: bool

    def run_forever(self) -> None: ...
    def run_until_complete(self, future: _AwaitableLike[_T]) -> _T: ...
    def stop(self) -> None: ...
    def is_running(self) -> bool: ...
    def is_closed(self) -> bool: ...
    def time(self) -> float: ...
    def get_debug(self) -> bool: ...
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

    _signal_handlers: dict[int, asyncio.Handle]
    _internal_fds: int
    _has_signal_handlers: bool
    _has_own_attributes: bool
    _internal_watched: bool
    def _check_closed(self) -> None: ...
    def _drop_work(self) -> None: ...
    def _executor_job(self, change: object, /) -> None: ...
    def add_reader(
        self, fd: FileDescriptorLike, callback: Callable[[*_Ts], object], *args: *_Ts
    ) -> None: ...
    def remove_reader(self, fd: FileDescriptorLike) -> bool: ...
    def add_writer(
        self, fd: FileDescriptorLike, callback: Callable[[*_Ts], object], *args: *_Ts
    ) -> None: ...
    def remove_writer(self, fd: FileDescriptorLike) -> bool: ...
    if sys.version_info >= (3, 15):
        def _add_reader(
            self,
            fd: FileDescriptorLike,
            callback: Callable[[*_Ts], object],
            *args: *_Ts,
            context: Context | None = None,
        ) -> asyncio.Handle: ...
        def _add_writer(
            self,
            fd: FileDescriptorLike,
            callback: Callable[[*_Ts], object],
            *args: *_Ts,
            context: Context | None = None,
        ) -> asyncio.Handle: ...
    else:
        def _add_reader(
            self, fd: FileDescriptorLike, callback: Callable[[*_Ts], object], *args: *_Ts
        ) -> asyncio.Handle: ...
        def _add_writer(
            self, fd: FileDescriptorLike, callback: Callable[[*_Ts], object], *args: *_Ts
        ) -> asyncio.Handle: ...

    def _remove_reader(self, fd: FileDescriptorLike) -> bool: ...
    def _remove_writer(self, fd: FileDescriptorLike) -> bool: ...
    def _ensure_fd_no_transport(self, fd: FileDescriptorLike) -> None: ...
    def _watched_as(self, file: object, /) -> int: ...
    def _watch_list(
        self,
    ) -> list[tuple[int, Any, asyncio.Handle | None, asyncio.Handle | None]]: ...
    def _numeric_addresses(
        self,
        host: object,
        port: object,
        family: object,
        type: object,
        proto: object,
        flags: object,
        /,
    ) -> list[Any] | None: ...
    def _numeric_endpoint(self, host: object, port: object, /) -> tuple[int, Any] | None: ...
    def _is_free_socket(self, sock: object, /) -> bool: ...
    def _begin_sock_call(self, sock: object, /) -> bool: ...
    def _try_sock_recv(self, sock: object, n: object, /) -> bytes | _SockCall[bytes] | None: ...
    def _try_sock_recv_into(self, sock: object, buf: object, /) -> int | _SockCall[int] | None: ...
    def _try_sock_sendall(
        self, sock: object, data: object, /
    ) -> Literal[True] | Awaitable[None] | None: ...
    def _try_sock_connect(
        self, sock: object, address: object, /
    ) -> Literal[True] | Awaitable[None] | None: ...
    def _sock_ready(self, sock: object, kind: int, /) -> Awaitable[None]: ...
    _transports: MutableMapping[int, asyncio.BaseTransport]
    def _flush(self) -> None: ...
    def _make_stream(
        self,
        sock: object,
        protocol: object,
        waiter: object,
        extra: object,
        server: object,
        context: Context | None,
        /,
    ) -> _Transport: ...
    def _make_datagram(
        self,
        sock: object,
        protocol: object,
        address: object,
        waiter: object,
        extra: object,
        /,
    ) -> _Transport: ...
    def _make_read_pipe(
        self, pipe: object, protocol: object, waiter: object, extra: object, /
    ) -> asyncio.ReadTransport: ...
    def _make_write_pipe(
        self, pipe: object, protocol: object, waiter: object, extra: object, /
    ) -> _Transport: ...
    def _listen(
        self,
        protocol_factory: object,
        sock: object,
        sslcontext: object,
        server: object,
        backlog: int,
        ssl_handshake_timeout: float | None,
        ssl_shutdown_timeout: float | None,
        context: Context | None,
        /,
    ) -> None: ...
    def _transport_of(self, fd: int, /) -> _Transport | None: ...
    def _own_descriptor(self, fd: int, transport: _Transport | None, /) -> None: ...
