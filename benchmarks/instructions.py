"""Instructions of one task step under callgrind: `python -m benchmarks.instructions`.

A step is one of yield_100tasks.  Each program runs twice, with different numbers of turns, and
the difference of the two counts is divided by the steps between them, so that start-up and
set-up cancel out.  The same is done with a bare C loop around PyIter_Send over the same
coroutine, which is the least that a step can cost; the ratio to it is what the loop adds.  The
counts do not depend on what else the machine does.  Needs valgrind and a C compiler.
"""

import argparse
import importlib
import pathlib
import re
import shlex
import subprocess
import sys
import sysconfig
import tempfile

from benchmarks import loops, registry, worker
from benchmarks.runner import ROOT
from benchmarks.tasks import HUNDRED, yield_forever

SOURCE = pathlib.Path(__file__).parent / "native" / "bare_steps.c"
SHORT, LONG = 100, 300  # turns


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


def count_instructions(turns, directory, loop_name):
    """Run the steps under callgrind, by the C loop if loop_name is None; return the count."""
    counts = pathlib.Path(directory) / f"{turns}.callgrind"
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={counts}", sys.executable]
    command += ["-m", "benchmarks.instructions", "--turns", str(turns)]
    command += ["--bare", directory] if loop_name is None else ["--loops", loop_name]
    # Hashes decide how dictionaries collide; the two run lengths must not differ in that.
    environment = {**loops.environment(loop_name or "asyncio"), "PYTHONHASHSEED": "0"}
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    except FileNotFoundError:
        raise ToolFailed("counting instructions needs valgrind (Debian: valgrind)") from None
    if done.returncode != 0:
        raise ToolFailed(f"{' '.join(command)} failed:\n{done.stderr.strip()}")
    return int(re.search(r"^(?:totals|summary): (\d+)", counts.read_text(), re.M).group(1))


def instructions_per_step(directory, loop_name=None):
    """The instructions of one step of this loop, or of the C loop."""
    short, long = (count_instructions(turns, directory, loop_name) for turns in (SHORT, LONG))
    return (long - short) / ((LONG - SHORT) * HUNDRED)


def report(loop_names):
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


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__)
    parser.add_argument("--loops", default="hotloop", metavar="NAME,...", help="loops (hotloop)")
    # What the counted processes are started with.
    parser.add_argument("--turns", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--bare", metavar="DIRECTORY", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    try:
        if options.turns is None:
            report(options.loops.split(","))
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
