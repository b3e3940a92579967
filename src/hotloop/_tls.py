"""TLS connections: asyncio's, with the bytes of every message moved in C.

What is not here and not in ``hotloop._core._SSLProtocol`` is the running version's
``asyncio.sslproto``.
"""

from __future__ import annotations

import types
from asyncio import base_events, sslproto

from . import _core

# Not imported at run time: the import of hotloop is measured in milliseconds.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    _Function = TypeVar("_Function", bound=Callable[..., Any])


class _SSLProtocolTransport(_core._SSLProtocolTransport, sslproto._SSLProtocolTransport):
    """The transport that a program has of a TLS connection."""


class SSLProtocol(_core._SSLProtocol, sslproto.SSLProtocol):
    """TLS between a transport and the program's protocol."""

    _begun = 0  # bytes of an incomplete record that were there when reading was paused

    @property
    def max_size(self) -> int:  # type: ignore[override]
        """The size of a buffer for ciphertext, of which most connections never need one.

        asyncio makes one for every connection, and a larger one where it is too small.
        """
        return 0 if self._ssl_buffer is None else sslproto.SSLProtocol.max_size

    def _get_app_transport(self) -> Any:
        if not self._app_transport_created:
            self._app_transport = _SSLProtocolTransport(self._loop, self)
            self._app_transport_created = True
        return super()._get_app_transport()  # type: ignore[misc]

    def connection_made(self, transport: Any) -> None:
        """Begin the handshake, maybe with bytes that start_tls() has put into the BIO."""
        if self._incoming.pending:
            early = self._incoming.read()
            self._incoming.write(early)
            self._follow(early)
        super().connection_made(transport)

    def buffer_updated(self, nbytes: int) -> None:
        """Take ciphertext from a transport that is not hotloop's."""
        self._follow(self._ssl_buffer_view[:nbytes])
        super().buffer_updated(nbytes)

    def _do_read(self) -> None:
        if not self._try_read():
            super()._do_read()  # type: ignore[misc]

    def _pause_reading(self) -> None:
        if not self._app_reading_paused:
            # An incomplete record that OpenSSL has taken by now on asyncio.
            self._begun = 0 if self._has_unread else self._incoming.pending
        super()._pause_reading()  # type: ignore[misc]

    def _get_read_buffer_size(self) -> int:
        pending: int = self._incoming.pending
        if self._app_reading_paused:
            return pending - self._begun
        # What is incomplete is in the BIO, too; on asyncio OpenSSL has taken it by now.
        return pending if self._has_unread else 0


class _NamesOfBaseEvents(dict[str, "Any"]):
    """The globals of asyncio.base_events, but for the names in this dict."""

    def __missing__(self, name: str) -> Any:
        return vars(base_events)[name]


def with_our_protocol(function: _Function) -> _Function:
    """Return a function of asyncio.base_events as one that makes our SSLProtocol."""
    assert isinstance(function, types.FunctionType)
    names = _NamesOfBaseEvents(
        {name: vars(base_events)[name] for name in ("__name__", "__package__", "__spec__")},
        sslproto=types.SimpleNamespace(SSLProtocol=SSLProtocol),
    )
    ours = types.FunctionType(
        function.__code__, names, function.__name__, function.__defaults__, function.__closure__
    )
    ours.__kwdefaults__ = function.__kwdefaults__
    ours.__qualname__ = function.__qualname__
    ours.__doc__ = function.__doc__
    return ours  # type: ignore[return-value]  # of the same kind
