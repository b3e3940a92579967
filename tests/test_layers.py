"""The shape of src/core, checked on its text: who may include whom, and what leaves the library.

Folders stand in layers, and a file includes files of its own folder and of lower layers only, so
that the pieces at the bottom can be read, tested and replaced without those above.  Folders of one
layer do not know each other.  The two lowest that could do without an interpreter do so.
"""

import re
import subprocess
import sysconfig
from pathlib import Path

import pytest

CORE = Path(__file__).parents[1] / "src" / "core"
LAYERS = (
    {"base"},
    {"poll", "py"},
    {"sched"},
    {"task"},
    {"io", "sync"},
    {"streams"},
    {"api"},
    {"module"},
)
LEVEL = {folder: level for level, folders in enumerate(LAYERS) for folder in folders}
WITHOUT_PYTHON = {"base", "poll"}
# The interpreters' headers of this run; setup.py compiles with the same.
PYTHON_INCLUDE = {sysconfig.get_path("include"), sysconfig.get_path("platinclude")}

COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)
VERSION_CHECK = re.compile(r"\bPY_(VERSION_HEX|MINOR_VERSION|MAJOR_VERSION)\b")


def of_core(pattern):
    """Names, relative to src/core, of the files that match pattern."""
    return sorted(path.relative_to(CORE).as_posix() for path in CORE.rglob(pattern))


SOURCES = of_core("*.c")
HEADERS = of_core("*.h")


def code_of(name):
    """The text of a file without its comments."""
    return COMMENT.sub(" ", (CORE / name).read_text())


def includes_of(name):
    """Pairs (quote, target) of the include lines of a file, in order."""
    return INCLUDE.findall(code_of(name))


def folder_of(name):
    """The folder of a file of the core; "" for one that stands directly in src/core."""
    return name.rpartition("/")[0]


def bad_includes(name, targets):
    """Those of targets that a file of this name must not include."""
    own = folder_of(name)
    return [
        target
        for target in targets
        if folder_of(target) != own and LEVEL.get(folder_of(target), 99) >= LEVEL[own]
    ]


def syntax_errors(name, include_dirs):
    """What the compiler says about a header as the only content of a file."""
    command = ["cc", "-std=c11", "-D_GNU_SOURCE=1", "-fsyntax-only", "-x", "c", "-"]
    command += ["-Werror", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Wno-unused-function"]
    command += [f"-I{folder}" for folder in include_dirs]
    program = f'#include "{name}"\n'
    result = subprocess.run(command, input=program, capture_output=True, text=True, cwd=CORE)
    return result.stderr if result.returncode else ""


def test_there_is_a_core_to_check():
    assert SOURCES and HEADERS


@pytest.mark.parametrize("name", SOURCES + HEADERS)
def test_file_stands_in_a_known_layer(name):
    assert folder_of(name) in LEVEL


@pytest.mark.parametrize("name", SOURCES + HEADERS)
def test_file_includes_only_its_folder_and_lower_layers(name):
    own_files = [target for quote, target in includes_of(name) if quote == '"']
    assert bad_includes(name, own_files) == []


def test_the_include_rule_sees_a_sibling_an_upper_layer_and_a_relative_path():
    targets = ["base/heap.h", "py/args.h", "poll/poller.h", "sched/loop.h", "epoll.h"]
    assert bad_includes("poll/epoll.c", targets) == ["py/args.h", "sched/loop.h", "epoll.h"]


@pytest.mark.parametrize("name", [name for name in SOURCES if name[:-1] + "h" in HEADERS])
def test_source_includes_its_own_header_first(name):
    assert includes_of(name)[0] == ('"', name[:-1] + "h")


@pytest.mark.parametrize("name", [n for n in SOURCES + HEADERS if folder_of(n) in WITHOUT_PYTHON])
def test_lowest_layers_do_not_know_python(name):
    assert "Python.h" not in [target for _, target in includes_of(name)]


@pytest.mark.parametrize("name", [n for n in SOURCES + HEADERS if n != "py/compat.h"])
def test_version_of_python_is_asked_in_one_place(name):
    assert VERSION_CHECK.findall(code_of(name)) == []


@pytest.mark.parametrize("name", HEADERS)
def test_header_compiles_alone(name):
    python = set() if folder_of(name) in WITHOUT_PYTHON else PYTHON_INCLUDE
    assert syntax_errors(name, [CORE, *python]) == ""


def test_library_exports_its_init_function_only():
    from hotloop import _core

    command = ["nm", "--dynamic", "--defined-only", "--format=posix", _core.__file__]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert [line.split()[0] for line in listing.splitlines()] == ["PyInit__core"]
