"""``loop._selector``: what real code and asyncio's tests read of the selector of asyncio's loop."""

from __future__ import annotations

import selectors
from collections.abc import Mapping

# Not imported at run time: the import of hotloop is measured in milliseconds.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ._loop import Loop

_READ = selectors.EVENT_READ
_WRITE = selectors.EVENT_WRITE


def descriptor_of(file: Any) -> int:
    """Return the descriptor of a number or a file object; ValueError as selectors raise it."""
    return selectors._fileobj_to_fd(file)  # type: ignore[attr-defined,no-any-return]


class SelectorMap(Mapping):  # type: ignore[type-arg]
    """What is watched, as ``BaseSelector.get_map()`` shows it.  Read-only and live."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def _keys(self) -> dict[int, selectors.SelectorKey]:
        keys = {}
        for fd, file, reader, writer in self._loop._watch_list():
            events = (_READ if reader is not None else 0) | (_WRITE if writer is not None else 0)
            registered = fd if file is None else file
            keys[fd] = selectors.SelectorKey(registered, fd, events, (reader, writer))
        return keys

    def __getitem__(self, file: Any) -> selectors.SelectorKey:
        keys = self._keys()
        try:
            fd = descriptor_of(file)
        except ValueError:
            # A closed file object has no descriptor any more but was registered with one.
            fd = self._loop._watched_as(file)
            if fd < 0:
                raise
        if fd not in keys:
            raise KeyError(f"{file!r} is not registered")
        return keys[fd]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._keys())

    def __len__(self) -> int:
        return len(self._keys())


class SelectorView:
    """What real code reads of ``loop._selector``: which descriptors are watched."""

    def __init__(self, loop: Loop) -> None:
        self._map = SelectorMap(loop)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._map

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        return self._map[fileobj]
