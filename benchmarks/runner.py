"""Orders the processes of a run and collects what they measured.

Rounds are outermost and the loops run directly after each other inside a row, so that what the
machine does meanwhile meets all loops alike; figures are compared inside a round only.  The base
runs a second time in each round: how far that is from the first is what this machine cannot tell
apart.  A loop that cannot be made, or fails in a row, is not run again there, and is reported
with the reason.
"""

import dataclasses
import datetime
import json
import os
import pathlib
import platform
import signal
import subprocess
import sys
import sysconfig

from benchmarks import loops, registry

ROOT = pathlib.Path(__file__).resolve().parents[1]
AGAIN = "-b"  # ends the label of the base's second run
ABSENT = {"error", "missing"}  # answers of a worker that could not make the loop
NO_LOOP = "python"  # the label of a floor, which runs once a round
MALLOC_PREFIXES = ("MALLOC_", "GLIBC_TUNABLES", "PYTHONMALLOC")  # variables that move figures
WORKER_LIMIT = 120  # seconds after which a worker counts as hanging


@dataclasses.dataclass
class Results:
    """All of one run; written to JSON as it is."""

    machine: dict
    settings: dict  # loops, base, rounds, seconds
    rows: dict  # row name: what Row.describe says
    loops: dict  # loop name: version and build, or error
    samples: dict = dataclasses.field(default_factory=dict)  # row: loop: one value per round
    failures: dict = dataclasses.field(default_factory=dict)  # row: loop: what it answered
    details: dict = dataclasses.field(default_factory=dict)  # row: loop: one dict per round

    def add(self, row_name, label, answer):
        """Store what a worker answered for this row and loop."""
        if "value" in answer:
            self.samples.setdefault(row_name, {}).setdefault(label, []).append(answer["value"])
            if answer.get("details"):
                self.details.setdefault(row_name, {}).setdefault(label, []).append(
                    answer["details"]
                )
        else:
            self.failures.setdefault(row_name, {})[label] = answer

    def failed(self, row_name, label):
        return label in self.failures.get(row_name, {})

    def samples_of(self, row_name, label):
        """One value per round, or nothing at all if any of the rounds failed."""
        if self.failed(row_name, label):
            return []
        return self.samples.get(row_name, {}).get(label, [])

    def details_of(self, row_name, label, name):
        """One value per round of a figure beside the row's own, or nothing at all."""
        if self.failed(row_name, label):
            return []
        rounds = self.details.get(row_name, {}).get(label, [])
        return [details[name] for details in rounds if name in details]

    def write(self, path):
        text = json.dumps(dataclasses.asdict(self), indent=1)
        pathlib.Path(path).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path):
        return cls(**json.loads(pathlib.Path(path).read_text(encoding="utf-8")))


def _cpu_model():
    for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def describe_machine():
    """Say on what the figures were measured."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "compiler": platform.python_compiler(),
        "debug_python": bool(sysconfig.get_config_var("Py_DEBUG")),
        "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        "kernel": platform.release(),
        "cpu": _cpu_model(),
        "cpus": os.cpu_count(),
        "load_at_start": os.getloadavg()[0],
        "gc": "enabled",
        "malloc": {k: v for k, v in os.environ.items() if k.startswith(MALLOC_PREFIXES)},
    }


def run_worker(loop_name, *arguments, limit=WORKER_LIMIT):
    """Run a worker; return what it answered, or an error for one that died or hung."""
    command = [sys.executable, "-m", "benchmarks.worker", loop_name, *arguments]
    try:
        done = _run_group(command, loops.environment(loop_name), limit)
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {limit} s"}
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        return {"error": _cause_of_death(done)}


def _run_group(command, environment, limit):
    """Run a command, and end all that it started if it does not end in time or we are stopped."""
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    ) as process:
        try:
            stdout, stderr = process.communicate(timeout=limit)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


def _cause_of_death(done):
    """Why a worker ended without an answer: the signal, or the last thing it wrote."""
    if done.returncode < 0:
        return f"killed by {signal.Signals(-done.returncode).name}"
    last_words = done.stderr.strip().splitlines()[-1:] or ["it wrote nothing"]
    return f"exit code {done.returncode}: {last_words[0]}"


def labels_of_row(row, loop_names, base):
    """Return (label, loop name) for each sample that a round takes of this row, in order."""
    if not row.needs_loop:
        return [(NO_LOOP, "asyncio")]
    labels = [(name, name) for name in loop_names if loops.kind(name) in row.kinds]
    if (base, base) in labels:
        labels.append((base + AGAIN, base))
    return labels


def with_floors(row_names, rows):
    """Return the names with the floors that they refer to, without repetition."""
    floors = [rows[name].floor for name in row_names if rows[name].floor]
    return list(dict.fromkeys([*row_names, *floors]))


def run(loop_names, row_names, *, base, rounds, seconds, progress=print):
    """Measure the rows on the loops; return Results."""
    rows = registry.all_rows()
    row_names = with_floors(row_names, rows)
    results = Results(
        machine=describe_machine(),
        settings={"loops": loop_names, "base": base, "rounds": rounds, "seconds": seconds},
        rows={name: rows[name].describe() for name in row_names},
        loops={name: run_worker(name) for name in loop_names},
    )
    present = [name for name in loop_names if not results.loops[name].keys() & ABSENT]
    for round_number in range(1, rounds + 1):
        for row_name in row_names:
            progress(f"round {round_number} of {rounds}: {row_name}")
            for label, loop_name in labels_of_row(rows[row_name], present, base):
                if not results.failed(row_name, label):
                    answer = run_worker(loop_name, row_name, "--seconds", str(seconds))
                    results.add(row_name, label, answer)
    results.machine["load_at_end"] = os.getloadavg()[0]
    return results
