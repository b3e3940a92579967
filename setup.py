"""Builds hotloop's one C extension, ``hotloop._core``, from everything under src/core.

All metadata stands in pyproject.toml; this file only knows how to compile.  It looks at the
compiler and at CPython's headers before the first real file, so that what is missing is named in
one line, and it reads five switches from the environment:

  HOTLOOP_DEBUG=1            -O0 -g3, assertions and live-object counters
  HOTLOOP_SANITIZE=a,b       address, undefined or thread; -O1 -g3 with assertions
  HOTLOOP_FREELISTS=0        every object is freed for real, for sanitizers and fault tests
  HOTLOOP_WERROR=1           a warning fails the build
  HOTLOOP_COVERAGE=1         gcov counters for the coverage report
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NoReturn

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

CORE = Path("src/core")

WARNINGS = [
    "-Wall",
    "-Wextra",
    "-Wshadow",
    "-Wstrict-prototypes",
    "-Wmissing-prototypes",
    "-Wvla",
    "-Wundef",
    "-Wno-unused-parameter",
]

# What POSIX and Linux add to C11 is asked for by this header, and it must come before the first one
# of the C library, in the files that never include Python.h too.
FEATURES = ["-include", "pyconfig.h"]

SANITIZERS = ("address", "undefined", "thread")


def give_up(message: str) -> NoReturn:
    """Ends the build with one line on stderr: a traceback would bury what the user can do."""
    raise SystemExit(f"hotloop: {message}")


def need_package(what: str, debian: str, fedora: str) -> NoReturn:
    """Ends the build with the name of the packages that hold what is missing."""
    give_up(
        f"building needs {what}: install {debian} "
        f"(Debian: apt-get install {debian}, Fedora: dnf install {fedora})"
    )


def switch(name: str, default: bool = False) -> bool:
    """A yes-or-no build switch; anything but empty, 0 and 1 is a mistake worth stopping for."""
    value = os.environ.get(name, "") or str(int(default))
    if value not in ("0", "1"):
        give_up(f"{name}={value} is not understood: use 0 or 1")
    return value == "1"


@dataclass
class Flags:
    """What is added to the interpreter's own compiler command; later flags win over its."""

    compile: list[str] = field(default_factory=lambda: ["-std=c11", "-fvisibility=hidden"])
    link: list[str] = field(default_factory=list)
    defines: dict[str, str] = field(default_factory=dict)

    def both(self, *flags: str) -> None:
        """Adds flags that the compiler and the linker must agree on."""
        self.compile += flags
        self.link += flags


def sanitizers() -> list[str]:
    """The sanitizers asked for, checked against the ones the code is tested with."""
    names = [name for name in os.environ.get("HOTLOOP_SANITIZE", "").split(",") if name]
    for name in names:
        if name not in SANITIZERS:
            give_up(f"HOTLOOP_SANITIZE={name} is not understood: use {', '.join(SANITIZERS)}")
    if "thread" in names and "address" in names:
        give_up("HOTLOOP_SANITIZE: thread and address exclude each other")
    return names


def chosen_flags() -> Flags:
    """The flags that the environment's switches ask for; LTO is left to the compiler probe."""
    flags = Flags()
    sanitize = sanitizers()
    debug = switch("HOTLOOP_DEBUG")
    if sanitize:
        flags.both(f"-fsanitize={','.join(sanitize)}")
        flags.compile += ["-O1", "-g3", "-UNDEBUG", "-fno-omit-frame-pointer"]
        flags.compile += ["-fno-sanitize-recover=undefined"] if "undefined" in sanitize else []
        flags.defines["HL_SANITIZE"] = '"{}"'.format(",".join(sanitize))
    elif debug:
        # Some distributions put -D_FORTIFY_SOURCE into every build, which warns without -O.
        flags.compile += ["-O0", "-g3", "-UNDEBUG", "-U_FORTIFY_SOURCE"]
    else:
        flags.compile += ["-O3", "-DNDEBUG"]
    if debug:
        flags.defines["HL_DEBUG"] = "1"
    if not switch("HOTLOOP_FREELISTS", default=True):
        flags.defines["HL_FREELISTS"] = "0"
    if switch("HOTLOOP_COVERAGE"):
        flags.both("--coverage")
        flags.compile += ["-fprofile-update=atomic"]
    if switch("HOTLOOP_WERROR"):
        flags.compile += ["-Werror"]
    return flags


@dataclass
class Compiler:
    """Asks the real compiler about small programs, before it is given the real ones."""

    compile_command: list[str]
    link_command: list[str]
    include_dirs: list[str]

    def accepts(self, source: str, *flags: str, link: bool = False) -> bool:
        """Whether source compiles (and links to a shared object) with these flags."""
        with tempfile.TemporaryDirectory(prefix="hotloop-probe-") as folder:
            c_file, o_file = Path(folder, "probe.c"), Path(folder, "probe.o")
            c_file.write_text(source)
            includes = [f"-I{path}" for path in self.include_dirs]
            command = [*self.compile_command, *includes, *flags, "-c", c_file, "-o", o_file]
            if not runs(command):
                return False
            command = [*self.link_command, *flags, o_file, "-o", Path(folder, "probe.so")]
            return not link or runs(command)

    def check_complete(self) -> None:
        """Names the missing package if this machine cannot compile an extension."""
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        debug = bool(sysconfig.get_config_var("Py_DEBUG"))
        if shutil.which(self.compile_command[0]) is None:
            need_package(
                f"a C compiler ({self.compile_command[0]} is not there)",
                debian="gcc libc6-dev",
                fedora="gcc",
            )
        if not self.accepts("#include <stdio.h>\n"):
            need_package(
                "the C library's headers (stdio.h cannot be compiled)",
                debian="libc6-dev",
                fedora="glibc-devel",
            )
        if not self.accepts("#include <Python.h>\n"):
            need_package(
                f"the headers of CPython {version} (Python.h cannot be compiled)",
                debian=f"python{version}-{'dbg' if debug else 'dev'}",
                fedora="python3-devel",
            )

    def check_headers_fit(self) -> None:
        """Stops when the headers found are of another build than the interpreter that runs this.

        A debug or free-threaded interpreter has larger objects.  An extension compiled against
        the release pyconfig.h imports there, and then counts and corrupts at random.
        """
        for macro in ("Py_DEBUG", "Py_GIL_DISABLED"):
            wanted = "!" if sysconfig.get_config_var(macro) else ""
            if not self.accepts(
                f"#include <Python.h>\n#if {wanted}defined({macro})\n#error\n#endif\n"
            ):
                give_up(
                    f"the Python.h found in {' or '.join(self.include_dirs)} belongs to another "
                    f"build of CPython than {sys.executable}: {macro} differs"
                )

    def link_time_optimisation(self) -> list[str]:
        """The LTO flag that compiles and links here, or nothing where the linker has none."""
        for candidate in ("-flto=auto", "-flto"):
            if self.accepts("int probe(void) { return 0; }\n", "-O1", candidate, link=True):
                return [candidate]
        return []


def runs(command: list[str | Path]) -> bool:
    """Whether a command exits with 0; its output is of no interest."""
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def in_parallel(compile_all, jobs, sources, **options):
    """Compiles each source on its own thread: the compilers are processes and need no GIL."""
    with ThreadPoolExecutor(jobs) as pool:
        lists = list(pool.map(lambda source: compile_all([source], **options), sources))
    return [name for names in lists for name in names]


class BuildCore(build_ext):
    """build_ext with the compiler looked at first, hotloop's flags, and parallel compilation."""

    def finalize_options(self) -> None:
        super().finalize_options()
        # A left-over build folder would otherwise hand a debug build to a release install: the
        # age of files says nothing about the flags they were built with.
        self.force = True

    def build_extensions(self) -> None:
        """Decides on the flags, then lets setuptools do the work."""
        compiler = Compiler(self.compiler.compiler_so, self.compiler.linker_so, self.include_dirs)
        compiler.check_complete()
        compiler.check_headers_fit()
        flags = chosen_flags()
        if "-O3" in flags.compile:
            flags.both(*compiler.link_time_optimisation())
            flags.link += ["-O3"]
        flags.defines["HL_BUILD_FLAGS"] = '"{}"'.format(" ".join(flags.compile))
        for extension in self.extensions:
            extension.extra_compile_args += flags.compile + FEATURES + WARNINGS
            extension.extra_link_args += flags.link
            extension.define_macros += list(flags.defines.items())
        jobs = self.parallel if self.parallel and self.parallel is not True else os.cpu_count()
        self.parallel = None
        self.compiler.compile = partial(in_parallel, self.compiler.compile, jobs)
        super().build_extensions()


def core_extension() -> Extension:
    """The extension: every C file of the core, in an order that does not depend on the disk."""
    return Extension(
        "hotloop._core",
        sources=sorted(path.as_posix() for path in CORE.rglob("*.c")),
        depends=sorted(path.as_posix() for path in CORE.rglob("*.h")),
        include_dirs=[CORE.as_posix()],
    )


# The commands run from the checkout or the unpacked sdist; both start setup.py in its own folder.
setup(ext_modules=[core_extension()], cmdclass={"build_ext": BuildCore})
