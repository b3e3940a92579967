"""Instructions under callgrind: `python -m benchmarks.instructions [step|echo]`.

Each program runs twice, with different amounts of work, and the difference of the two counts is
divided by the work between them, so that start-up and set-up cancel out.  The counts do not depend
on what else the machine does.  Needs valgrind and a C compiler.

A step is one of yield_100tasks.  The same is done with a bare C loop around PyIter_Send over the
same coroutine, which is the least that a step can cost; the ratio to it is what the loop adds.

An echo is a message of 1 KiB that a Protocol writes back, on one of 10 connections, as in
tcp_proto_1KiB_x10; instructions of the kernel are not seen.  The server in C beside it shows
what the calls alone take.  --server names another one of servers.py, like tls or sock, and --size
another size; what copies bytes by one instruction of the processor counts as one for each byte.
With http, uvicorn and aiohttp it is a request and its answer, on one of 50 connections as under
wrk.
"""

import argparse
import importlib
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile

from benchmarks import compiled, load, loops, registry, worker
from benchmarks.runner import ROOT
from benchmarks.tasks import HUNDRED, yield_forever

SOURCE = pathlib.Path(__file__).parent / "native" / "bare_steps.c"
SHORT, LONG = 100, 300  # turns
ECHO_CONNECTIONS = 10
HTTP_SERVERS = ("http", "uvicorn", "aiohttp")  # of servers.py
ECHO_SERVERS = ("proto", "proto_in_four", "streams", "readline", "sock", "tls", *HTTP_SERVERS)
ECHO_SHORT, ECHO_LONG = 1_000, 3_000  # messages
BARE_SERVER = "C-epoll"


class ToolFailed(Exception):
    """A program that the measurement needs cannot be found or does not work."""


def compile_bare_steps(directory):
    """Compile the C loop into the directory for the running interpreter."""
    compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    includes = [f"-I{sysconfig.get_path(kind)}" for kind in ("include", "platinclude")]
    output = str(pathlib.Path(directory) / f"bare_steps{suffix}")
    command = [*compiler, "-O3", "-fPIC", "-shared", *includes, str(SOURCE), "-o", output]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise ToolFailed("the bare loop needs a C compiler (Debian: gcc)") from None
    except subprocess.CalledProcessError as error:
        raise ToolFailed(f"the bare loop does not compile: {error.stderr.strip()}") from None


def step_bare(turns, directory):
    """Step the coroutines of yield_100tasks by the C loop."""
    sys.path.insert(0, directory)
    bare_steps = importlib.import_module("bare_steps")
    coroutines = [yield_forever() for _ in range(HUNDRED)]
    bare_steps.step_all(coroutines, turns)
    for coroutine in coroutines:
        coroutine.close()


def step_loop(turns, loop_name):
    """Step the tasks of yield_100tasks by a loop."""
    case = registry.Case(loop_name)
    case.passes = turns
    worker.call_row(registry.all_rows()["yield_100tasks"], case)
    case.close()


def callgrind(counts):
    """The command that counts the instructions of a program into this file."""
    if shutil.which("valgrind") is None:
        raise ToolFailed("counting instructions needs valgrind (Debian: valgrind)")
    return ["valgrind", "--tool=callgrind", f"--callgrind-out-file={counts}"]


def read_count(counts):
    """The number of instructions in a file of callgrind's."""
    return int(re.search(r"^(?:totals|summary): (\d+)", counts.read_text(), re.M).group(1))


def environment(loop_name):
    """The environment of a counted process.

    Hashes decide how dictionaries collide; the two run lengths must not differ in that.
    """
    return {**loops.environment(loop_name), "PYTHONHASHSEED": "0"}


def count_instructions(turns, directory, loop_name):
    """Run the steps under callgrind, by the C loop if loop_name is None; return the count."""
    counts = pathlib.Path(directory) / f"{turns}.callgrind"
    command = [*callgrind(counts), sys.executable]
    command += ["-m", "benchmarks.instructions", "--turns", str(turns)]
    command += ["--bare", directory] if loop_name is None else ["--loops", loop_name]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment(loop_name or "asyncio"),
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise ToolFailed(f"{' '.join(command)} failed:\n{done.stderr.strip()}")
    return read_count(counts)


def instructions_per_step(directory, loop_name=None):
    """The instructions of one step of this loop, or of the C loop."""
    short, long = (count_instructions(turns, directory, loop_name) for turns in (SHORT, LONG))
    return (long - short) / ((LONG - SHORT) * HUNDRED)


def count_echoes(messages, directory, name, kind="proto", size=1024):
    """Run a server under callgrind; return how many messages it echoed, and the count."""
    counts = pathlib.Path(directory) / f"{messages}.callgrind"
    client = ["--connections", str(ECHO_CONNECTIONS), "--size", str(size)]
    if kind == "readline":
        client.append("--lines")
    with load.running_server(name, kind, callgrind(counts), environment(name)) as server:
        if kind in HTTP_SERVERS:
            echoed = load.exchange_http(server, messages)
        else:
            echoed = load.exchange(server, messages, *client, tls=kind == "tls")
    return echoed, read_count(counts)


def instructions_per_echo(directory, name, *server):
    """The instructions of one echo by this loop, or by a server in C."""
    short, short_count = count_echoes(ECHO_SHORT, directory, name, *server)
    long, long_count = count_echoes(ECHO_LONG, directory, name, *server)
    return (long_count - short_count) / (long - short)


def report_steps(loop_names):
    """Count and print, the bare loop first."""
    with tempfile.TemporaryDirectory() as directory:
        compile_bare_steps(directory)
        bare = instructions_per_step(directory)
        print(f"bare C loop around PyIter_Send: {bare:.0f} instructions a step")
        for name in loop_names:
            count = instructions_per_step(directory, name)
            print(
                f"{name}: {count:.0f} instructions a step, {count / bare:.3f} times the bare loop"
            )


def report_echoes(loop_names, kind, size):
    """Count and print, the server in C first if there is one of this kind."""
    bare = [BARE_SERVER] if kind in load.IN_C else []
    with tempfile.TemporaryDirectory() as directory:
        for name in [*bare, *loop_names]:
            try:
                count = instructions_per_echo(directory, name, kind, size)
                print(f"{name}: {count:.0f} instructions an echo")
            except (load.LoadFailed, compiled.Missing) as reason:
                print(f"{name}: {reason}")


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__)
    parser.add_argument("what", nargs="?", choices=["step", "echo"], default="step")
    parser.add_argument("--loops", default="hotloop", metavar="NAME,...", help="loops (hotloop)")
    parser.add_argument(
        "--server", default="proto", choices=ECHO_SERVERS, help="of an echo (proto)"
    )
    parser.add_argument("--size", type=int, default=1024, help="bytes of an echo (1024)")
    # What the counted processes are started with.
    parser.add_argument("--turns", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--bare", metavar="DIRECTORY", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    try:
        if options.what == "echo":
            report_echoes(options.loops.split(","), options.server, options.size)
        elif options.turns is None:
            report_steps(options.loops.split(","))
        elif options.bare is None:
            step_loop(options.turns, options.loops)
        else:
            step_bare(options.turns, options.bare)
    except (ToolFailed, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
