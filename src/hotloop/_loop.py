"""The public ``Loop``: the C core on top of asyncio's own loop class.

The core schedules and moves bytes; everything that runs once per loop or once per outgoing
connection is Python. Methods that stand neither here nor in the core are those of the running
version of asyncio, whose coroutines make their transports and servers by the factories below.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
import os
import selectors
import socket
import sys
import warnings
from asyncio import base_events, constants, futures, selector_events, unix_events

from . import _core, _selector, _sendfile, _subprocess, _tls, _wakeup

# Not imported at run time: the import of hotloop is measured in milliseconds.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar, TypeVarTuple

    _T = TypeVar("_T")
    _Ts = TypeVarTuple("_Ts")

# The connected sockets of a create_connection() that lets addresses race, until one is chosen.
_RACING_SOCKETS: contextvars.ContextVar[list[socket.socket] | None] = contextvars.ContextVar(
    "hotloop_racing_sockets", default=None
)

_READ = selectors.EVENT_READ
_WRITE = selectors.EVENT_WRITE
_NOT_NOW = (BlockingIOError, InterruptedError)
_FAMILIES_OF_HOSTS = (socket.AF_INET, socket.AF_INET6) if socket.has_ipv6 else (socket.AF_INET,)


# From 3.15 on all callbacks of a connection run in one context.
_TRANSPORTS_TAKE_CONTEXT = (
    "context" in selector_events.BaseSelectorEventLoop._make_socket_transport.__kwdefaults__  # type: ignore[attr-defined]
)


async def _started(server: Any) -> Any:
    """Return the server once it accepts; nobody else would close it if this is cancelled."""
    try:
        await server.start_serving()
    except BaseException:
        server.close()
        raise
    return server


def _is_plain_socket(sock: Any, methods: tuple[str, ...]) -> bool:
    """Tell whether the kernel is all there is behind a socket.

    asyncio takes anything that has the methods of a socket, and a subclass may do something of
    its own when it sends and receives: those stay asyncio's transports.
    """
    kind = type(sock)
    return kind is socket.socket or (
        issubclass(kind, socket.socket)
        and all(getattr(kind, name) is getattr(socket.socket, name) for name in methods)
    )


_STREAMS_USE = ("recv", "recv_into", "send", "sendmsg", "shutdown")
_DATAGRAMS_USE = ("recvfrom", "send", "sendto")
_LISTENERS_USE = ("accept", "_accept")


class Server(base_events.Server):
    """A server of hotloop's: asyncio's own, with a cheaper set of its connections.

    https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.Server
    """

    __module__ = "hotloop"
    _clients: Any  # From 3.13 on.

    def _adopt(self) -> None:
        """Begin the life of an asyncio server that has become one of ours."""
        if hasattr(self, "_clients") and not self._clients:
            self._clients = _core._ClientSet()


class Loop(_core.Loop, _wakeup.SignalWakeUp):
    """An asyncio event loop whose scheduling, tasks and futures run in C.

    Behaves as the event loop of the running version of asyncio:
    https://docs.python.org/3/library/asyncio-eventloop.html
    """

    __module__ = "hotloop"

    if TYPE_CHECKING:  # Private names of asyncio's loops, of which typeshed does not tell.
        _default_executor: concurrent.futures.Executor | None
        _executor_shutdown_called: bool
        # A field of ours in the struct.  Nothing here may make an instance dict (sched/loop.h).
        _process_fds: set[int]  # Of the children that this loop waits for.

        def _check_callback(self, callback: object, method: str) -> None: ...
        def _check_default_executor(self) -> None: ...
        def _child_watcher_callback(self, pid: int, returncode: int, transp: Any) -> None: ...
        async def _ensure_resolved(
            self, address: Any, *, family: int, type: int, proto: int, loop: Any
        ) -> list[Any]: ...

    def __repr__(self) -> str:
        kind = "native" if _core.native else "stock"
        return (
            f"<{self.__class__.__name__} running={self.is_running()} "
            f"closed={self.is_closed()} debug={self.get_debug()} tasks={kind}>"
        )

    # -- tasks and executors ---------------------------------------------------------------------

    def _create_task_with_factory(self, *args: Any, **kwargs: Any) -> Any:
        return base_events.BaseEventLoop.create_task(self, *args, **kwargs)

    def run_in_executor(
        self,
        executor: concurrent.futures.Executor | None,
        func: Callable[[*_Ts], _T],
        *args: *_Ts,
    ) -> asyncio.Future[_T]:
        """Run ``func(*args)`` in an executor; return a future of its result.

        https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.loop.run_in_executor
        """
        self._check_closed()
        if self.get_debug():
            self._check_callback(func, "run_in_executor")
        if executor is None:
            executor = self._default_executor
            self._check_default_executor()
            if executor is None:
                executor = concurrent.futures.ThreadPoolExecutor(thread_name_prefix="asyncio")
                self._default_executor = executor
        job = executor.submit(func, *args)
        future = futures.wrap_future(job, loop=self)
        if not asyncio.isfuture(job):  # An executor may answer with one: no thread works then.
            # While a job is out the loop hands over the GIL in every turn.
            self._executor_job(1)
            job.add_done_callback(self._executor_job)
        return future

    # -- watched descriptors ---------------------------------------------------------------------

    @property
    def _selector(self) -> _selector.SelectorView | None:
        return None if self.is_closed() else _selector.SelectorView(self)

    # -- names -----------------------------------------------------------------------------------

    async def getaddrinfo(
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """Call ``socket.getaddrinfo()`` in the executor, unless host is an address already.

        https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.loop.getaddrinfo
        """
        found = self._numeric_addresses(host, port, family, type, proto, flags)
        if found is not None:
            return found
        return await super().getaddrinfo(
            host, port, family=family, type=type, proto=proto, flags=flags
        )

    # -- sockets ---------------------------------------------------------------------------------
    #
    # For plain sockets only (io/plain_socket.h); any other is left to asyncio's own method, which
    # also has the words for arguments that are wrong.  A system call comes first and is made
    # again in the step of the task that waited: what cancels it meanwhile loses nothing.

    async def sock_recv(self, sock: socket.socket, n: int) -> bytes:
        """Receive up to n bytes from a socket.

        https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.loop.sock_recv
        """
        answer = self._try_sock_recv(sock, n)
        if isinstance(answer, bytes):
            return answer
        if answer is None:
            return await super().sock_recv(sock, n)
        await answer
        return answer.take()

    async def sock_recv_into(self, sock: socket.socket, buf: Any) -> int:
        """Receive from a socket into a buffer; return the number of bytes.

        https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.loop.sock_recv_into
        """
        answer = self._try_sock_recv_into(sock, buf)
        if isinstance(answer, int):
            return answer
        if answer is None:
            return await super().sock_recv_into(sock, buf)
        await answer
        return answer.take()

    async def sock_recvfrom(self, sock: socket.socket, bufsize: int) -> tuple[bytes, Any]:
        """Receive a datagram of up to bufsize bytes; return it and its sender's address.

        https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.loop.sock_recvfrom
        """
        if not self._begin_sock_call(sock):
            return await super().sock_recvfrom(sock, bufsize)
        while True:
            try:
                return sock.recvfrom(bufsize)
            except _NOT_NOW:
                pass
            await self._sock_ready(sock, _READ)

    async def sock_recvfrom_into(
        self, sock: socket.socket, buf: Any, nbytes: int = 0
    ) -> tuple[int, Any]:
        """Receive a datagram into a buffer; return its size and its sender's address.

        https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.loop.sock_recvfrom_into
        """
        if not self._begin_sock_call(sock):
            return await super().sock_recvfrom_into(sock, buf, nbytes)
        if not nbytes:
            nbytes = len(buf)
        while True:
            try:
                return sock.recvfrom_into(buf, nbytes)
            except _NOT_NOW:
                pass
            await self._sock_ready(sock, _READ)

    async def sock_sendall(self, sock: socket.socket, data: Any) -> None:
        """Send all of data to a socket.

        https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.loop.sock_sendall
        """
        answer = self._try_sock_sendall(sock, data)
        if answer is None:
            await super().sock_sendall(sock, data)
        elif answer is not True:
            await answer

    async def sock_sendto(self, sock: socket.socket, data: Any, address: Any) -> int:
        """Send a datagram to an address; return the number of bytes.

        https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.loop.sock_sendto
        """
        if not self._begin_sock_call(sock):
            return await super().sock_sendto(sock, data, address)
        while True:
            try:
                return sock.sendto(data, address)
            except _NOT_NOW:
                pass
            await self._sock_ready(sock, _WRITE)

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Connect a socket to an address, whose host may be a name.

        https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.loop.sock_connect
        """
        answer = self._try_sock_connect(sock, address)
        if answer is True:
            return None
        if answer is not None:
            return await answer
        if not self._begin_sock_call(sock):
            return await super().sock_connect(sock, address)
        if sock.family in _FAMILIES_OF_HOSTS:
            found = await self._ensure_resolved(
                address, family=sock.family, type=sock.type, proto=sock.proto, loop=self
            )
            address = found[0][4]
        try:
            return sock.connect(address)
        except _NOT_NOW:
            pass
        await self._sock_ready(sock, _WRITE)
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error != 0:
            raise OSError(error, f"Connect call failed {address}")

    async def sock_accept(self, sock: socket.socket) -> tuple[socket.socket, Any]:
        """Accept a connection; return its socket, which is non-blocking, and the peer's address.

        https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.loop.sock_accept
        """
        if not self._begin_sock_call(sock):
            return await super().sock_accept(sock)
        while True:
            try:
                connection, address = sock.accept()
                connection.setblocking(False)
                return connection, address
            except _NOT_NOW:
                pass
            await self._sock_ready(sock, _READ)

    async def _sock_sendfile_native(
        self, sock: socket.socket, file: Any, offset: int, count: int | None
    ) -> int:
        if not self._begin_sock_call(sock):
            return await super()._sock_sendfile_native(sock, file, offset, count)  # type: ignore[misc,no-any-return]
        return await _sendfile.send_file(self, sock, file, offset, count)

    # -- transports ------------------------------------------------------------------------------

    @functools.wraps(base_events.BaseEventLoop.create_connection)
    async def create_connection(  # type: ignore[override]
        self, *args: Any, **kwargs: Any
    ) -> Any:
        endpoint = None
        if (
            len(args) == 3
            and not kwargs
            and type(self) is Loop
            and Loop.sock_connect is _SOCK_CONNECT
            and not self._has_own_attributes
            and not self.get_debug()
        ):
            endpoint = self._numeric_endpoint(args[1], args[2])
        if endpoint is None:
            return await self._create_connection(*args, **kwargs)
        # One address in numbers: what asyncio does then, without its detours.
        family, address = endpoint
        context = contextvars.copy_context() if _TRANSPORTS_TAKE_CONTEXT else None
        sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            sock.setblocking(False)
            connecting = self._try_sock_connect(sock, address)
            if connecting is None:
                await self.sock_connect(sock, address)
            elif connecting is not True:
                await connecting
            protocol = args[0]()
            waiter = self.create_future()
        except BaseException:
            sock.close()
            raise
        transport = self._make_socket_transport(sock, protocol, waiter, context=context)
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
        return transport, protocol

    async def _create_connection(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("happy_eyeballs_delay") is None:
            return await super().create_connection(*args, **kwargs)
        # A race that is cancelled when one of its tasks has just won drops that task's socket.
        sockets: list[socket.socket] = []
        token = _RACING_SOCKETS.set(sockets)
        try:
            return await super().create_connection(*args, **kwargs)
        except BaseException:
            for sock in sockets:
                sock.close()
            raise
        finally:
            sockets.clear()
            _RACING_SOCKETS.reset(token)

    @functools.wraps(base_events.BaseEventLoop.create_server)
    async def create_server(  # type: ignore[override]
        self, *args: Any, start_serving: Any = True, **kwargs: Any
    ) -> Any:
        server = await super().create_server(*args, start_serving=False, **kwargs)
        return await _started(server) if start_serving else server

    @functools.wraps(unix_events._UnixSelectorEventLoop.create_unix_server)
    async def create_unix_server(  # type: ignore[override]
        self, *args: Any, start_serving: Any = True, **kwargs: Any
    ) -> Any:
        server = await super().create_unix_server(*args, start_serving=False, **kwargs)
        return await _started(server) if start_serving else server

    async def _connect_sock(self, *args: Any, **kwargs: Any) -> Any:
        try:
            sock = await super()._connect_sock(*args, **kwargs)  # type: ignore[misc]
        finally:
            # They hold the list of exceptions, whose tracebacks hold this frame.
            del args, kwargs
        sockets = _RACING_SOCKETS.get()
        if sockets is not None:
            sockets.append(sock)
        return sock

    async def _create_connection_transport(
        self, sock: Any, protocol_factory: Any, *args: Any, **kwargs: Any
    ) -> Any:
        sockets = _RACING_SOCKETS.get()
        if sockets:
            sockets.remove(sock)
        return await super()._create_connection_transport(  # type: ignore[misc]
            sock, protocol_factory, *args, **kwargs
        )

    def _make_socket_transport(
        self,
        sock: Any,
        protocol: Any,
        waiter: Any = None,
        *,
        extra: Any = None,
        server: Any = None,
        context: Any = None,
    ) -> Any:
        if not self._is_free_socket(sock):
            self._ensure_fd_no_transport(sock)
            if not _is_plain_socket(sock, _STREAMS_USE):
                options = {} if context is None else {"context": context}
                return super()._make_socket_transport(  # type: ignore[misc]
                    sock, protocol, waiter, extra=extra, server=server, **options
                )
        return self._make_stream(sock, protocol, waiter, extra, server, context)

    def _make_datagram_transport(
        self,
        sock: Any,
        protocol: Any,
        address: Any = None,
        waiter: Any = None,
        extra: Any = None,
    ) -> Any:
        self._ensure_fd_no_transport(sock)
        if not _is_plain_socket(sock, _DATAGRAMS_USE):
            return super()._make_datagram_transport(  # type: ignore[misc]
                sock, protocol, address, waiter, extra
            )
        return self._make_datagram(sock, protocol, address, waiter, extra)

    def _make_ssl_transport(
        self,
        rawsock: Any,
        protocol: Any,
        sslcontext: Any,
        waiter: Any = None,
        *,
        server_side: bool = False,
        server_hostname: Any = None,
        extra: Any = None,
        server: Any = None,
        ssl_handshake_timeout: Any = constants.SSL_HANDSHAKE_TIMEOUT,
        ssl_shutdown_timeout: Any = constants.SSL_SHUTDOWN_TIMEOUT,
        context: Any = None,
    ) -> Any:
        self._ensure_fd_no_transport(rawsock)
        ssl_protocol = _tls.SSLProtocol(
            self,
            protocol,
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
        self._make_socket_transport(
            rawsock, ssl_protocol, extra=extra, server=server, context=context
        )
        return ssl_protocol._app_transport

    # The version's own code with its messages, but it makes our protocol.
    start_tls = _tls.with_our_protocol(base_events.BaseEventLoop.start_tls)

    def _make_read_pipe_transport(
        self, pipe: Any, protocol: Any, waiter: Any = None, extra: Any = None
    ) -> Any:
        return self._make_read_pipe(pipe, protocol, waiter, extra)

    def _make_write_pipe_transport(
        self, pipe: Any, protocol: Any, waiter: Any = None, extra: Any = None
    ) -> Any:
        return self._make_write_pipe(pipe, protocol, waiter, extra)

    async def _make_subprocess_transport(
        self,
        protocol: Any,
        args: Any,
        shell: Any,
        stdin: Any,
        stdout: Any,
        stderr: Any,
        bufsize: Any,
        extra: Any = None,
        **kwargs: Any,
    ) -> Any:
        self._flush()
        make = functools.partial(_subprocess.make_transport, self)
        if _subprocess.has_watcher_of_its_own():
            make = super()._make_subprocess_transport  # type: ignore[misc]
        return await make(
            protocol, args, shell, stdin, stdout, stderr, bufsize, extra=extra, **kwargs
        )

    def _start_serving(
        self,
        protocol_factory: Any,
        sock: Any,
        sslcontext: Any = None,
        server: Any = None,
        backlog: int = 100,
        ssl_handshake_timeout: Any = constants.SSL_HANDSHAKE_TIMEOUT,
        ssl_shutdown_timeout: Any = constants.SSL_SHUTDOWN_TIMEOUT,
        context: Any = None,
    ) -> None:
        _selector.descriptor_of(
            sock.fileno()
        )  # What is none is refused as asyncio's selectors refuse it.
        if type(server) is base_events.Server:
            server.__class__ = Server
            Server._adopt(server)  # type: ignore[arg-type]
        arguments = (
            protocol_factory,
            sock,
            sslcontext,
            server,
            backlog,
            ssl_handshake_timeout,
            ssl_shutdown_timeout,
        )
        if _is_plain_socket(sock, _LISTENERS_USE):
            self._listen(*arguments, context)
        else:
            options = {} if context is None else {"context": context}
            super()._start_serving(*arguments, **options)  # type: ignore[misc]

    # -- signals ---------------------------------------------------------------------------------

    def add_signal_handler(self, sig: int, callback: Callable[[*_Ts], object], *args: *_Ts) -> None:
        """Call ``callback(*args)`` from the loop when signal sig arrives.

        https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.loop.add_signal_handler
        """
        if not self._internal_watched and not self.is_closed():
            self._make_self_pipe()
        super().add_signal_handler(sig, callback, *args)
        self._has_signal_handlers = bool(self._signal_handlers)

    def remove_signal_handler(self, sig: int) -> bool:
        """Remove the handler of signal sig; return whether there was one.

        https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.loop.remove_signal_handler
        """
        removed = super().remove_signal_handler(sig)
        self._has_signal_handlers = bool(self._signal_handlers)
        return removed

    # -- closing ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the loop, which must not run; what is scheduled is forgotten.

        https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.loop.close
        """
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        if self.is_closed():
            return
        if self.get_debug():
            base_events.logger.debug("Close %r", self)  # type: ignore[attr-defined]
        try:
            if self._has_signal_handlers:
                self._remove_signal_handlers()
        finally:  # In another thread than the main one it is refused.
            self._close_everything()

    def _close_everything(self) -> None:
        self._drop_work()  # first: refused if another thread has begun to run the loop
        self._close_self_pipe()
        _subprocess.forget_children(self)
        self._executor_shutdown_called = True
        executor = self._default_executor
        if executor is not None:
            self._default_executor = None
            executor.shutdown(wait=False)

    def _remove_signal_handlers(self) -> None:
        if not sys.is_finalizing():
            for sig in list(self._signal_handlers):
                self.remove_signal_handler(sig)
            return
        warnings.warn(
            f"Closing the loop {self!r} on interpreter shutdown stage, "
            f"skipping signal handlers removal",
            ResourceWarning,
            stacklevel=2,
            source=self,
        )
        self._signal_handlers.clear()


# What create_connection() calls; programs and their tests may put another in its place.
_SOCK_CONNECT = Loop.sock_connect


def _after_fork_in_child() -> None:
    """Disown what every loop shares with the parent process."""
    for loop in _core._after_fork_in_child():
        loop._forget_self_pipe()
        _subprocess.forget_children(loop)


os.register_at_fork(before=_core._before_fork, after_in_child=_after_fork_in_child)
