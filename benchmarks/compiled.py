"""The programs in C: the load client and the servers that are the ceilings, compiled when needed.

A program is compiled once for its source, compiler and flags, into a folder of the user's cache.
One whose headers are not there raises Missing with the name of the Debian package.
"""

import dataclasses
import functools
import hashlib
import os
import pathlib
import shlex
import subprocess
import tempfile

FOLDER = pathlib.Path(__file__).parent / "native"
FLAGS = ["-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra"]


class Missing(Exception):
    """Something that has to be installed is not; the message says what."""


@dataclasses.dataclass(frozen=True)
class Program:
    """What a program is compiled of, and the header that may be missing."""

    sources: tuple
    libraries: tuple = ()
    header: str = ""
    package: str = ""


CLIENT = ("load_client.c", "load_stream.c", "load_churn.c", "load_datagram.c")
PROGRAMS = {
    "load_client": Program((*CLIENT, "channel_plain.c")),
    "load_client_tls": Program(
        (*CLIENT, "channel_tls.c"), ("-lssl", "-lcrypto"), "openssl/ssl.h", "libssl-dev"
    ),
    "bare_server": Program(("bare_server.c", "server.c")),
    "libuv_server": Program(("libuv_server.c", "server.c"), ("-luv",), "uv.h", "libuv1-dev"),
}


def _compiler():
    return shlex.split(os.environ.get("CC", "cc"))


@functools.cache
def compiler_version():
    """What the C compiler says that it is."""
    try:
        done = subprocess.run([*_compiler(), "--version"], capture_output=True, text=True)
    except FileNotFoundError:
        raise Missing("needs a C compiler (Debian: gcc)") from None
    return done.stdout


def _cache_folder():
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "hotloop-benchmarks"


def _key(program):
    """Changes with all that the compiled program depends on, other folders' copies included."""
    digest = hashlib.sha256(repr((program, FLAGS, _compiler())).encode())
    digest.update(compiler_version().encode())
    for path in sorted(FOLDER.glob("*.[ch]")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def build(name):
    """Return the path of the compiled program of this name."""
    program = PROGRAMS[name]
    target = _cache_folder() / f"{name}-{_key(program)}"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        # Under another name first: processes of the same run may want it at the same time.
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            fresh = pathlib.Path(folder) / name
            _compile(program, fresh)
            fresh.replace(target)
    return target


def _compile(program, target):
    sources = [str(FOLDER / source) for source in program.sources]
    command = [*_compiler(), *FLAGS, *sources, "-o", str(target), *program.libraries]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        return
    if program.header and f"{program.header}: No such file" in done.stderr:
        raise Missing(f"needs {program.header} (Debian: {program.package})")
    raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")


def describe(name):
    """Return the version of what the program stands on."""
    path = build(name)
    if name == "libuv_server":
        version = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
        return {"version": f"libuv {version.stdout.strip()}"}
    return {"version": compiler_version().partition("\n")[0]}
