"""hotloop in the processes that multiprocessing starts; the --children option of python -m hotloop.

A forked child inherits what install() did.  A child of the spawn or forkserver method is another
interpreter and knows nothing of it.  All that multiprocessing sends such a child first is the dict
of `multiprocessing.spawn.get_preparation_data`, which it unpickles before it imports the program's
main module.  `enable` adds one entry to that dict whose unpickling installs hotloop there, and
enables the same for the child's own children.  multiprocessing ignores entries it does not know.

The child must be able to import hotloop at its start, as an installed package is.
"""

from __future__ import annotations

from multiprocessing import spawn

from ._entry import install

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "hotloop"


class InstallWhenUnpickled:
    """Stands in the preparation data; what arrives in the child is the None that the call gives."""

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return (start_child, ())


def start_child() -> None:
    """Runs in the child, in the middle of unpickling the preparation data."""
    install()
    enable()


def enable() -> None:
    """Have every process that multiprocessing starts from now on use hotloop, and its children."""
    prepare = spawn.get_preparation_data
    if getattr(prepare, "adds", None) == KEY:
        return

    def get_preparation_data(name: str) -> dict[str, object]:
        return {**prepare(name), KEY: InstallWhenUnpickled()}

    vars(get_preparation_data)["adds"] = KEY
    vars(spawn)["get_preparation_data"] = get_preparation_data
