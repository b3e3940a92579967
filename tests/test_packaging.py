"""setup.py says what is missing in one line, builds what was asked for, and the sdist is complete.

Most tests build a project of one small C file with hotloop's own setup.py and pyproject.toml, which
takes a second; the last ones pack and build hotloop itself, outside the checkout.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGED = ("src", "tests", "benchmarks", "examples", "docs", ".ci")
PACKAGED_FILES = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md")
GENERATED = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.pyc", "*.so", "*.o", "results")

MODULE = """
#include <Python.h>
PyMODINIT_FUNC PyInit__core(void);
static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "hotloop._core", .m_doc = HL_BUILD_FLAGS};
PyMODINIT_FUNC
PyInit__core(void)
{
    return PyModuleDef_Init(&definition);
}
"""

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def project(tmp_path):
    """A folder with hotloop's build files and the smallest possible core."""
    folder = tmp_path / "project"
    (folder / "src" / "core" / "module").mkdir(parents=True)
    (folder / "src" / "core" / "module" / "module.c").write_text(MODULE)
    (folder / "src" / "hotloop").mkdir()
    (folder / "src" / "hotloop" / "__init__.py").write_text('__version__ = "0"\n')
    for name in PACKAGED_FILES:
        shutil.copy(ROOT / name, folder)
    return folder


def run(*command, cwd, **environment):
    """Run a program without what HOTLOOP_* and the compiler's variables say outside."""
    outside = ("HOTLOOP_", "PYTHONPATH", "CC", "CFLAGS", "LDFLAGS", "LD_PRELOAD")
    env = {name: value for name, value in os.environ.items() if not name.startswith(outside)}
    return subprocess.run(command, cwd=cwd, env=env | environment, capture_output=True, text=True)


def build(project, *options, **environment):
    """Compile the extension of a project beside its Python files, or show why not."""
    command = (sys.executable, "setup.py", "-q", "build_ext", "--inplace", *options)
    return run(*command, cwd=project, **environment)


def the_line(result):
    """The one line in which setup.py gave up; there is no traceback around it."""
    assert result.returncode != 0
    assert "Traceback" not in result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("hotloop: ")]
    return line


def compiler_script(folder, text):
    """Put a program in front of PATH that stands for every name the C compiler may have here."""
    folder.mkdir()
    for name in {"gcc", "cc", sysconfig.get_config_var("CC").split()[0]}:
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def header_folder(folder, text):
    """A folder with a Python.h that is found before the interpreter's own."""
    folder.mkdir()
    (folder / "Python.h").write_text(text)
    return f"--include-dirs={folder}"


def flags_of(project):
    """The flags that a project's extension was compiled with, as it says itself."""
    code = "import hotloop._core; print(hotloop._core.__doc__)"
    result = run(sys.executable, "-c", code, cwd=project, PYTHONPATH=str(project / "src"))
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


def test_missing_compiler_is_named_with_its_package(project, tmp_path):
    line = the_line(build(project, PATH=str(tmp_path)))
    assert line.startswith("hotloop: building needs a C compiler (")
    assert "apt-get install gcc" in line and "dnf install gcc" in line


def test_missing_c_library_headers_are_named_with_their_package(project, tmp_path):
    real = shutil.which("cc")
    path = compiler_script(tmp_path / "bin", f'exec {real} -nostdinc "$@"')
    line = the_line(build(project, PATH=path))
    assert "apt-get install libc6-dev" in line and "dnf install glibc-devel" in line


def test_missing_python_header_is_named_with_its_package(project, tmp_path):
    option = header_folder(tmp_path / "include", "#error not there\n")
    line = the_line(build(project, option))
    kind = "dbg" if sysconfig.get_config_var("Py_DEBUG") else "dev"
    package = "python{}.{}-{}".format(*sys.version_info[:2], kind)
    assert "(Python.h cannot be compiled)" in line
    assert f"apt-get install {package}" in line and "dnf install python3-devel" in line


@pytest.mark.parametrize("macro", ["Py_DEBUG", "Py_GIL_DISABLED"])
def test_headers_of_another_build_of_python_are_refused(project, tmp_path, macro):
    opposite = f"#ifdef {macro}\n#undef {macro}\n#else\n#define {macro} 1\n#endif\n"
    option = header_folder(tmp_path / "include", f"#include_next <Python.h>\n{opposite}")
    line = the_line(build(project, option))
    assert line.endswith(f"than {sys.executable}: {macro} differs")


@pytest.mark.parametrize(
    "name, value, answer",
    [
        ("HOTLOOP_DEBUG", "yes", "HOTLOOP_DEBUG=yes is not understood: use 0 or 1"),
        ("HOTLOOP_SANITIZE", "leak", "use address, undefined, thread"),
        ("HOTLOOP_SANITIZE", "thread,address", "thread and address exclude each other"),
    ],
)
def test_wrong_switch_is_named(project, name, value, answer):
    assert answer in the_line(build(project, **{name: value}))


def test_release_build_is_optimised_at_link_time_where_the_linker_can(project):
    assert build(project).returncode == 0
    flags = flags_of(project)
    assert "-O3" in flags and "-DNDEBUG" in flags
    assert "-flto=auto" in flags or "-flto" in flags


def test_release_build_does_without_link_time_optimisation(project, tmp_path):
    # Compiling for LTO works, linking does not: what a linker without the plugin does.
    refuse = 'case "$* " in *-shared*-flto*) echo "no LTO here" >&2; exit 1;; esac'
    path = compiler_script(tmp_path / "bin", f'{refuse}\nexec {shutil.which("cc")} "$@"')
    result = build(project, PATH=path)
    assert result.returncode == 0, result.stderr
    assert "-O3" in flags_of(project)
    assert not [flag for flag in flags_of(project) if flag.startswith("-flto")]


def test_debug_build_keeps_assertions_and_is_not_reused_as_release(project):
    assert build(project, HOTLOOP_DEBUG="1").returncode == 0
    flags = flags_of(project)
    assert "-UNDEBUG" in flags and "-O0" in flags
    assert build(project, HOTLOOP_DEBUG="0").returncode == 0
    assert "-UNDEBUG" not in flags_of(project)


def test_warnings_fail_the_build_only_when_asked_to(project):
    with (project / "src" / "core" / "module" / "module.c").open("a") as source:
        source.write("static int unused_function(void) { return 0; }\n")
    assert build(project).returncode == 0
    result = build(project, HOTLOOP_WERROR="1")
    assert result.returncode != 0 and "unused_function" in result.stderr


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    """hotloop's source distribution, made from a copy of the checkout."""
    folder = tmp_path_factory.mktemp("sdist")
    checkout = folder / "checkout"
    checkout.mkdir()
    for name in PACKAGED:
        shutil.copytree(ROOT / name, checkout / name, ignore=GENERATED)
    for name in (*PACKAGED_FILES, "MANIFEST.in", ".clang-format"):
        shutil.copy(ROOT / name, checkout)
    command = (sys.executable, "setup.py", "-q", "sdist", "--dist-dir", str(folder))
    result = run(*command, cwd=checkout)
    assert result.returncode == 0, result.stderr
    (archive,) = folder.glob("*.tar.gz")
    return archive, checkout


def test_sdist_holds_every_file_of_the_checkout(sdist):
    archive, checkout = sdist
    with tarfile.open(archive) as content:
        packed = {name.partition("/")[2] for name in content.getnames()}
    present = {path.relative_to(checkout) for path in checkout.rglob("*") if path.is_file()}
    wanted = {path.as_posix() for path in present if ".egg-info" not in path.as_posix()}
    assert wanted - packed == set()


def test_sdist_builds_and_runs_where_there_is_nothing_else(sdist, tmp_path):
    archive, _ = sdist
    assert run("tar", "-xf", str(archive), cwd=tmp_path).returncode == 0
    (unpacked,) = tmp_path.iterdir()
    backend = "from setuptools import build_meta; build_meta.build_wheel('..')"
    result = run(sys.executable, "-c", backend, cwd=unpacked, HOTLOOP_DEBUG="1")
    assert result.returncode == 0, result.stderr
    shutil.rmtree(unpacked)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as content:
        content.extractall(site)
    code = (
        "import sys, asyncio, hotloop._core; assert hotloop.__file__.startswith(sys.argv[1]);"
        "print(hotloop.run(asyncio.sleep(0, 'slept')))"
    )
    command = (sys.executable, "-c", code, str(site))
    result = run(*command, cwd=tmp_path, PYTHONPATH=str(site))
    assert (result.returncode, result.stdout) == (0, "slept\n"), result.stderr
    for name in ("py.typed", "_core.pyi"):
        assert (site / "hotloop" / name).is_file()
