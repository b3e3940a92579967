"""What these tests need beside pytest: the libraries of the extra `users`, and three servers.

Without the libraries the folder is left out of a run, which the header of the run says; a test that
needs a program of Debian's is skipped where that is missing. Both name what to install.
"""

import importlib.metadata
import os
import re
import shutil
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def libraries():
    """The names of the distributions that the extra `users` lists."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    listed = project["optional-dependencies"]["users"]
    return [re.match(r"[\w.-]+", requirement)[0] for requirement in listed]


def is_installed(name):
    """Whether a distribution is there."""
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def missing_libraries():
    """Those of the extra's distributions that are not installed."""
    return [name for name in libraries() if not is_installed(name)]


def header():
    """One line for the head of a run that leaves these tests out, or None."""
    missing = missing_libraries()
    if not missing:
        return None
    return f"tests/users: left out, needs {', '.join(missing)} (pip install '.[users]')"


def environment():
    """The variables for programs that are not Python: a sanitizer is for the interpreter alone."""
    return {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}


def program(name, package):
    """The path of a program; skips the test, naming the Debian package, where there is none."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name} (apt-get install {package})")
    return found


def postgresql_program(name):
    """The path of one of PostgreSQL's programs, which Debian keeps out of PATH."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parts[4]))
    for folder in reversed(folders):
        if (folder / name).exists():
            return str(folder / name)
    return program(name, "postgresql")
