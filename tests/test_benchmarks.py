"""The benchmarks: every row runs and checks itself, and the report says what the samples say.

Durations are as short as possible here, so no figure is looked at beyond being there. The report
is tested on made-up samples, and the order of a run on a made-up worker.
"""

import asyncio
import contextlib
import dataclasses
import importlib.util
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # The package of the benchmarks is not installed.

from benchmarks import (  # noqa: E402
    __main__,
    compiled,
    instructions,
    load,
    loops,
    plot,
    registry,
    report,
    runner,
    worker,
)

ROWS = registry.all_rows()
ECHO_ROWS = [name for name, row in ROWS.items() if loops.SERVER in row.kinds]

# What rows need besides Python and a C compiler: something that tells whether it is there.
NEEDS = {
    "wrk": lambda: shutil.which("wrk"),
    "openssl": lambda: shutil.which("openssl"),
    "openssl/ssl.h": lambda: Path("/usr/include/openssl/ssl.h").exists(),
    "uv.h": lambda: Path("/usr/include/uv.h").exists(),
    "uvicorn": lambda: importlib.util.find_spec("uvicorn"),
    "aiohttp": lambda: importlib.util.find_spec("aiohttp"),
}


def needs_of(row_name, loop_name):
    """The names of what this row needs on this loop."""
    if row_name.endswith("_wrk50"):
        yield "wrk"
    if row_name.startswith("tls_"):
        yield from ("openssl", "openssl/ssl.h")
    if loop_name == "C-libuv":
        yield "uv.h"
    yield from (name for name in ("uvicorn", "aiohttp") if row_name.startswith(name))


def check_row(row_name, loop_name):
    """Run the row as shortly as can be; what is not installed has to be named."""
    missing = [name for name in needs_of(row_name, loop_name) if not NEEDS[name]()]
    if missing:
        with pytest.raises(compiled.Missing, match="|".join(missing)):
            worker.measure_by_name(loop_name, row_name, 0)
    else:
        assert worker.measure_by_name(loop_name, row_name, 0) > 0


def make_results(samples, failures=None, *, missing=None, loop_names=("hotloop", "uvloop")):
    """Results of a run on uvloop as the base, with these samples per row and loop.

    Unless samples say otherwise, the second run of the base is like the first.
    """
    rows = dict.fromkeys([*samples, *(failures or {})])
    for values in samples.values():
        if "uvloop" in values:
            values.setdefault("uvloop-b", values["uvloop"])
    return runner.Results(
        machine={
            "date": "2026-01-02T03:04:05+00:00",
            "python": "3.13.0",
            "compiler": "GCC",
            "debug_python": False,
            "free_threaded": False,
            "kernel": "6.1",
            "cpu": "a processor",
            "cpus": 2,
            "load_at_start": 0.0,
            "load_at_end": 0.1,
            "gc": "enabled",
        },
        settings={"loops": list(loop_names), "base": "uvloop", "rounds": 3, "seconds": 0.5},
        rows={name: ROWS[name].describe() for name in rows},
        loops={name: {"version": "1.0"} for name in loop_names} | (missing or {}),
        samples=samples,
        failures=failures or {},
    )


def only_row(results):
    (figures,) = report.all_figures(results)
    return figures


def table_cells(results, row_name):
    """The cells of the row's line in the Markdown table, by column."""
    lines = [line for line in report.table(results).splitlines() if line.startswith("| ")]
    split = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    (cells,) = [line for line in split if line[0] == row_name]
    return dict(zip(split[0], cells, strict=True))


class TestRows:
    @pytest.mark.timeout(60)
    @pytest.mark.parametrize("loop_name", ["hotloop", "asyncio"])
    @pytest.mark.parametrize("row_name", [name for name, row in ROWS.items() if row.unit != "B"])
    def test_row_runs_and_takes_time(self, row_name, loop_name):
        if (row_name, loop_name) == ("import_beyond_asyncio", "asyncio"):
            with pytest.raises(registry.NotApplicable):
                worker.measure_by_name(loop_name, row_name, 0)
        elif row_name.startswith("eager_") and sys.version_info < (3, 12):
            with pytest.raises(registry.NotApplicable, match="needs Python"):
                worker.measure_by_name(loop_name, row_name, 0)
        else:
            check_row(row_name, loop_name)

    @pytest.mark.timeout(60)
    @pytest.mark.parametrize("server", loops.SERVERS)
    @pytest.mark.parametrize("row_name", ECHO_ROWS)
    def test_echo_row_runs_on_the_servers_in_c(self, row_name, server):
        if (row_name, server) == ("tcp_sock_1KiB_x10", "C-libuv"):
            with pytest.raises(registry.NotApplicable, match="libuv has no calls"):
                worker.measure_by_name(server, row_name, 0)
        else:
            check_row(row_name, server)

    @pytest.mark.timeout(60)
    @pytest.mark.parametrize("row_name", ["mem_task_sleeping", "mem_task_on_future"])
    def test_memory_row_sees_a_task(self, row_name):
        """In a fresh process, where no freed memory is used again."""
        answer = runner.run_worker("asyncio", row_name, "--seconds", "0")
        assert 200 < answer["value"] < 10_000

    @pytest.mark.timeout(60)
    def test_memory_row_sees_a_connection(self):
        answer = runner.run_worker("asyncio", "mem_idle_protocol")
        assert 500 < answer["value"] < 20_000

    def test_every_row_says_what_an_operation_is(self):
        for row in ROWS.values():
            assert row.operation.startswith("One ") or row.operation.startswith("The ")

    def test_floors_are_rows_without_a_loop(self):
        floors = {row.floor for row in ROWS.values() if row.floor}
        assert floors == {name for name, row in ROWS.items() if not row.needs_loop}

    def test_calibration_fills_a_share_of_the_time(self):
        case = registry.Case("asyncio", seconds=0.08)
        assert worker.measure(ROWS["ctx_run"], case) > 0
        assert case.passes > 100

    def test_figure_is_time_per_operation(self):
        """The clock of the fake row moves by 1 ms a pass of 10 operations: 100 us each."""

        def fake_row(case):
            case.elapsed_ns = 1_000_000 * case.passes

        row = registry.Row("fake", fake_row, "us", "cpu", 10, "", True)
        assert worker.measure(row, registry.Case("asyncio")) == 100

    def test_what_a_row_keeps_is_made_once_and_left_at_the_end(self):
        steps = []

        @contextlib.contextmanager
        def make():
            steps.append("made")
            yield "it"
            steps.append("left")

        case = registry.Case("asyncio")
        assert [case.keep(make), case.keep(make)] == ["it", "it"]
        assert steps == ["made"]
        case.close()
        assert steps == ["made", "left"]

    def test_error_that_the_loop_only_reports_fails_the_row(self):
        async def row_with_failing_callback(case):
            case.loop.call_soon(int, "no number")
            await asyncio.sleep(0)

        row = registry.Row("fake", row_with_failing_callback, "ns", "cpu", 1, "", True)
        case = registry.Case("asyncio")
        with pytest.raises(worker.LoopReportedError, match=r"Exception in callback.*ValueError"):
            worker.measure(row, case)
        case.close()


class FakeEcho(threading.Thread):
    """A server for one connection or peer that spoils what `spoil` does to the bytes."""

    def __init__(self, spoil, kind=socket.SOCK_STREAM, tls=None):
        super().__init__()
        self.spoil = spoil
        self.tls = tls
        self.socket = socket.socket(socket.AF_INET, kind)
        self.socket.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            self.socket.listen()
        self.server = load.Server(os.getpid(), "{}:{}".format(*self.socket.getsockname()))

    def __enter__(self):
        self.start()
        return self.server

    def __exit__(self, *error):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)  # wakes up what waits for a client
        self.join()
        self.socket.close()

    def run(self):
        with contextlib.suppress(OSError):
            if self.socket.type == socket.SOCK_STREAM:
                self.echo_stream()
            else:
                self.echo_datagrams()

    def echo_stream(self):
        connection, _ = self.socket.accept()
        if self.tls is not None:
            connection = self.tls.wrap_socket(connection, server_side=True)
        with connection:
            while data := connection.recv(65536):
                connection.sendall(self.spoil(bytearray(data)))

    def echo_datagrams(self):
        while True:
            data, peer = self.socket.recvfrom(65536)
            if not data:
                return
            self.socket.sendto(self.spoil(bytearray(data)), peer)


def flip_one_bit(data):
    data[len(data) // 2] ^= 1
    return data


def lose_one_byte(data):
    del data[0]
    return data


def add_one_byte(data):
    data.append(data[-1])
    return data


SPOILERS = [flip_one_bit, lose_one_byte, add_one_byte]


class TestLoadClient:
    """The client in C; each of its checks is shown to fail on a server that spoils the echo."""

    def run(self, server, *options):
        return load.run_client(server, 0.05, "--size", "64", *options)

    def test_faithful_echo_is_measured(self):
        with FakeEcho(bytes) as server:
            result = self.run(server)
        assert result["messages"] > 0
        assert 0 < result["p50_us"] <= result["p99_us"]
        assert result["server_cpu_us"] > 0

    @pytest.mark.parametrize("options", [(), ("--lines",), ("--in-flight", "4"), ("--churn",)])
    @pytest.mark.parametrize("spoil", SPOILERS)
    def test_spoiled_stream_is_noticed(self, spoil, options):
        with FakeEcho(spoil) as server, pytest.raises(load.LoadFailed, match="wrong echo"):
            self.run(server, *options)

    @pytest.mark.parametrize("spoil", SPOILERS)
    def test_spoiled_datagram_is_noticed(self, spoil):
        with FakeEcho(spoil, socket.SOCK_DGRAM) as server:
            with pytest.raises(load.LoadFailed, match="wrong echo"):
                self.run(server, "--datagrams")
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                host, _, port = server.address.partition(":")
                last.sendto(b"", (host, int(port)))

    def test_spoiled_tls_is_noticed(self, tmp_path):
        if not (NEEDS["openssl"]() and NEEDS["openssl/ssl.h"]()):
            with pytest.raises(compiled.Missing, match="openssl"):
                load.measure(registry.Case("asyncio"), "tls")
            return
        load.make_certificate(tmp_path)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "certificate.pem", tmp_path / "key.pem")
        with FakeEcho(bytes, tls=context) as server:
            assert load.run_client(server, 0.05, tls=True)["messages"] > 0
        with (
            FakeEcho(flip_one_bit, tls=context) as server,
            pytest.raises(load.LoadFailed, match="wrong echo"),
        ):
            load.run_client(server, 0.05, tls=True)

    def test_client_without_an_answer_ends(self):
        with FakeEcho(lambda data: b"") as server, pytest.raises(load.LoadFailed, match="no mess"):
            self.run(server)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--nothing"], "not an option"),
            (["--connections"], "not an option, or one without its value"),
            (["--connections", "0"], "there must be a connection"),
        ],
    )
    def test_wrong_option_is_one_clear_line(self, options, message):
        command = [compiled.build("load_client"), "127.0.0.1:1", *options]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 1
        assert message in done.stderr


def wait_for_end(pid):
    """Wait until there is no such process any more, or nothing of it is left to run."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


class TestWorker:
    def answer_of(self, capsys, *arguments):
        worker.main(list(arguments))
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    def test_missing_module_is_named(self, capsys):
        assert self.answer_of(capsys, "no_such_loop:new_event_loop") == {
            "error": "ModuleNotFoundError: No module named 'no_such_loop'"
        }

    def test_what_is_not_installed_is_named(self, monkeypatch, capsys):
        monkeypatch.setattr(shutil, "which", lambda name: None)
        answer = self.answer_of(capsys, "asyncio", "http_min_wrk50", "--seconds", "0")
        assert answer == {"missing": "needs the program wrk (Debian: wrk)"}

    def test_server_that_cannot_be_imported_is_named(self, monkeypatch, tmp_path):
        (tmp_path / "aiohttp.py").write_text("raise ImportError('no aiohttp here')")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        with (
            pytest.raises(compiled.Missing, match="no aiohttp here"),
            load.running_server("asyncio", "aiohttp"),
        ):
            pass

    def test_loop_that_a_server_cannot_make_is_named(self):
        with (
            pytest.raises(load.LoadFailed, match="No module named 'no_such_loop'"),
            load.running_server("no_such_loop:new_event_loop", "proto"),
        ):
            pass

    @pytest.mark.parametrize("server", loops.SERVERS)
    def test_server_in_c_says_what_it_stands_on(self, capsys, server):
        answer = self.answer_of(capsys, server)
        if server == "C-libuv" and not NEEDS["uv.h"]():
            assert answer == {"missing": "needs uv.h (Debian: libuv1-dev)"}
        else:
            assert answer["version"]

    def test_failing_row_gives_the_last_line_of_the_exception(self, monkeypatch, capsys):
        def failing_row(case):
            raise ValueError("first line\nlast line")

        monkeypatch.setitem(
            registry._rows,
            "failing",
            registry.Row("failing", failing_row, "ns", "cpu", 1, "", True),
        )
        assert self.answer_of(capsys, "asyncio", "failing") == {"error": "last line"}

    def test_row_that_does_not_apply_says_so(self, capsys):
        answer = self.answer_of(capsys, "asyncio", "import_beyond_asyncio")
        assert list(answer) == ["not_applicable"]

    def test_description_has_the_version(self, capsys):
        assert self.answer_of(capsys, "asyncio")["version"].startswith("3.")

    def test_hotloop_describes_its_build(self, capsys):
        assert "debug" in self.answer_of(capsys, "hotloop")["build"]

    @pytest.mark.parametrize(
        ("returncode", "stderr", "reason"),
        [
            (-11, "", "killed by SIGSEGV"),
            (3, "one\ntwo\n", "exit code 3: two"),
            (3, "", "exit code 3: it wrote nothing"),
        ],
    )
    def test_death_without_an_answer_has_a_cause(self, monkeypatch, returncode, stderr, reason):
        done = subprocess.CompletedProcess([], returncode, stdout="", stderr=stderr)
        monkeypatch.setattr(runner, "_run_group", lambda *arguments: done)
        assert runner.run_worker("asyncio", "ctx_run") == {"error": reason}

    def test_hanging_worker_is_given_up(self):
        answer = runner.run_worker("asyncio", "ctx_run", "--seconds", "60", limit=0.01)
        assert answer == {"error": "no answer within 0.01 s"}

    def test_what_a_hanging_worker_started_ends_with_it(self, tmp_path):
        number = tmp_path / "pid"
        program = f"sleep 60 & echo $! > {number}.new; mv {number}.new {number}; wait"
        with pytest.raises(subprocess.TimeoutExpired):
            while not number.exists():
                runner._run_group(["sh", "-c", program], dict(os.environ), 0.5)
        assert wait_for_end(int(number.read_text()))

    def test_directory_of_a_loop_comes_first_on_the_path(self, monkeypatch):
        monkeypatch.setenv("PYTHONPATH", "elsewhere")
        path = loops.environment("hotloop@build/old")["PYTHONPATH"]
        assert path.split(os.pathsep) == ["build/old", "elsewhere"]

    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("uvloop", loops.LOOP),
            ("hotloop@build/old", loops.LOOP),
            ("uvloop+aiofastnet", loops.ADD_ON),
            ("C-epoll", loops.SERVER),
        ],
    )
    def test_name_says_what_it_stands_for(self, name, kind):
        assert loops.kind(name) == kind
        loops.check_name(name)

    def test_add_on_patches_each_loop(self, monkeypatch):
        add_on = types.ModuleType("aiofastnet")
        patched = []
        add_on.patch_loop = patched.append
        monkeypatch.setitem(sys.modules, "aiofastnet", add_on)
        loop = loops.load_factory("asyncio+aiofastnet")()
        loop.close()
        assert patched == [loop]

    @pytest.mark.parametrize("name", ["asyncio", "asyncio:SelectorEventLoop"])
    def test_loop_is_given_by_name_or_by_path(self, name):
        assert loops.load_factory(name) is asyncio.SelectorEventLoop


class FakeWorker:
    """Stands for runner.run_worker: records the calls, answers from a table."""

    def __init__(self, answers=()):
        self.calls = []
        self.answers = dict(answers)

    def __call__(self, loop_name, row_name=None, *options):
        self.calls.append((loop_name, row_name))
        usual = {"version": "1.0"} if row_name is None else {"value": 1.0}
        return self.answers.get((loop_name, row_name), usual)


class TestRun:
    def run(self, monkeypatch, fake, loop_names, rounds=2, base="uvloop"):
        monkeypatch.setattr(runner, "run_worker", fake)
        return runner.run(
            loop_names,
            ["call_soon_chain"],
            base=base,
            rounds=rounds,
            seconds=0.1,
            progress=lambda line: None,
        )

    def test_rounds_are_outermost_and_the_base_runs_twice(self, monkeypatch):
        fake = FakeWorker()
        results = self.run(monkeypatch, fake, ["hotloop", "uvloop", "asyncio"])
        one_round = [
            ("hotloop", "call_soon_chain"),
            ("uvloop", "call_soon_chain"),
            ("asyncio", "call_soon_chain"),
            ("uvloop", "call_soon_chain"),
            ("asyncio", "ctx_run"),  # The floor of the row, once.
        ]
        probes = [("hotloop", None), ("uvloop", None), ("asyncio", None)]
        assert fake.calls == probes + one_round * 2
        assert list(results.samples["call_soon_chain"]) == [
            "hotloop",
            "uvloop",
            "asyncio",
            "uvloop-b",
        ]
        assert results.samples_of("ctx_run", "python") == [1.0, 1.0]

    def test_loop_that_cannot_be_made_is_asked_once(self, monkeypatch):
        fake = FakeWorker({("zloop", None): {"error": "ImportError: no"}})
        results = self.run(monkeypatch, fake, ["zloop", "uvloop"])
        assert [call for call in fake.calls if call[0] == "zloop"] == [("zloop", None)]
        assert results.loops["zloop"] == {"error": "ImportError: no"}

    def test_missing_base_leaves_no_second_run(self, monkeypatch):
        fake = FakeWorker({("uvloop", None): {"error": "ImportError: no"}})
        results = self.run(monkeypatch, fake, ["hotloop", "uvloop"])
        assert list(results.samples["call_soon_chain"]) == ["hotloop"]
        assert table_cells(results, "call_soon_chain")["uvloop-b"] == "missing"

    def test_failing_row_is_not_run_again(self, monkeypatch):
        fake = FakeWorker({("hotloop", "call_soon_chain"): {"error": "ValueError: no"}})
        results = self.run(monkeypatch, fake, ["hotloop", "uvloop"])
        assert fake.calls.count(("hotloop", "call_soon_chain")) == 1
        assert results.failures["call_soon_chain"]["hotloop"] == {"error": "ValueError: no"}
        assert results.samples_of("call_soon_chain", "uvloop") == [1.0, 1.0]

    def test_row_runs_on_what_it_is_for(self, monkeypatch):
        names = ["uvloop", "uvloop+aiofastnet", "C-epoll"]
        labels = {
            row_name: [label for label, _ in runner.labels_of_row(ROWS[row_name], names, "uvloop")]
            for row_name in ("call_soon_chain", "tcp_proto_1KiB_x10", "tls_proto_1KiB_x10")
        }
        assert labels == {
            "call_soon_chain": ["uvloop", "uvloop-b"],
            "tcp_proto_1KiB_x10": ["uvloop", "C-epoll", "uvloop-b"],
            "tls_proto_1KiB_x10": ["uvloop", "uvloop+aiofastnet", "uvloop-b"],
        }

    def test_json_gives_the_results_back(self, monkeypatch, tmp_path):
        answer = {"value": 1.0, "details": {"rate": 5.0}}
        fake = FakeWorker({("hotloop", "call_soon_chain"): answer})
        results = self.run(monkeypatch, fake, ["hotloop", "uvloop"])
        assert results.details_of("call_soon_chain", "hotloop", "rate") == [5.0, 5.0]
        results.write(tmp_path / "run.json")
        again = runner.Results.read(tmp_path / "run.json")
        assert dataclasses.asdict(again) == dataclasses.asdict(results)
        assert {"python", "kernel", "cpu", "date", "gc"} <= set(again.machine)


class TestReport:
    def test_figure_is_the_median_of_ratios_not_the_ratio_of_medians(self):
        # The medians are 20 and 10; the ratios of the rounds are 5, 4 and 0.5.
        results = make_results(
            {"call_soon_chain": {"uvloop": [50.0, 20.0, 5.0], "hotloop": [10.0, 5.0, 10.0]}}
        )
        figures = only_row(results)
        assert (figures.medians["hotloop"], figures.medians["uvloop"]) == (10.0, 20.0)
        assert figures.ratios["hotloop"] == 4.0
        assert figures.lead == 4.0

    @pytest.mark.parametrize(
        ("ratios", "distance"),
        [
            ([1.0], 0.0),
            ([1.25], 0.25),
            ([0.8], 0.25),
            ([1.0, 1.0, 1.0, 1.0, 9.0], 0.0),
            ([0.5, 0.5, 1.0, 1.0, 1.1], 1.0),
        ],
    )
    def test_noise_is_the_farther_quartile(self, ratios, distance):
        assert report.distance_from_one(ratios) == pytest.approx(distance)

    @pytest.mark.parametrize(
        ("lead", "word"),
        [(1.11, "ahead"), (1.09, "level"), (1.0, "level"), (0.92, "level"), (0.90, "behind")],
    )
    def test_verdict_needs_more_than_the_noise(self, lead, word):
        results = make_results(
            {
                "call_soon_chain": {
                    "hotloop": [100.0],
                    "uvloop": [100.0 * lead],
                    "uvloop-b": [110.0 * lead],
                }
            }
        )
        assert only_row(results).noise == pytest.approx(0.1)
        assert only_row(results).verdict == word

    def test_best_peer_is_the_fastest_of_all_others(self):
        results = make_results(
            {
                "call_soon_chain": {
                    "hotloop": [1.0],
                    "uvloop": [4.0],
                    "rloop": [2.0],
                    "asyncio": [8.0],
                }
            },
            loop_names=["hotloop", "uvloop", "rloop", "asyncio"],
        )
        figures = only_row(results)
        assert (figures.best_peer, figures.lead, figures.verdict) == ("rloop", 2.0, "ahead")
        cells = table_cells(results, "call_soon_chain")
        assert cells["rloop"] == "2 (2.00x)"
        assert cells["asyncio"] == "8 (0.50x)"
        assert cells["hotloop vs best"] == "2.00x"

    def test_losing_row_stays_in(self):
        results = make_results({"call_soon_chain": {"hotloop": [9.0], "uvloop": [3.0]}})
        cells = table_cells(results, "call_soon_chain")
        assert cells["hotloop"] == "9 (0.33x)"
        assert cells["verdict"] == "behind"

    def test_missing_loop_is_named_with_its_reason(self):
        results = make_results(
            {"call_soon_chain": {"hotloop": [1.0], "uvloop": [2.0]}},
            missing={"zloop": {"error": "ModuleNotFoundError: No module named 'zloop'"}},
            loop_names=["hotloop", "uvloop", "zloop"],
        )
        assert table_cells(results, "call_soon_chain")["zloop"] == "missing"
        line = "* `zloop` was not measured at all: ModuleNotFoundError: No module named 'zloop'"
        assert line in report.markdown(results).splitlines()

    def test_failure_and_not_applicable_are_told_apart(self):
        results = make_results(
            {"import_beyond_asyncio": {"uvloop": [1.0]}},
            {
                "import_beyond_asyncio": {
                    "asyncio": {"not_applicable": "why not"},
                    "hotloop": {"error": "ValueError: broken"},
                }
            },
            loop_names=["hotloop", "uvloop", "asyncio"],
        )
        cells = table_cells(results, "import_beyond_asyncio")
        assert (cells["asyncio"], cells["hotloop"], cells["verdict"]) == ("n/a", "FAIL", "FAIL")
        text = report.markdown(results)
        assert "`import_beyond_asyncio` on `hotloop`: ValueError: broken" in text
        assert "`import_beyond_asyncio` on `asyncio`: why not" in text

    def test_row_whose_base_failed_borrows_the_noise_of_the_others(self):
        broken = {"error": "TypeError: eager"}
        results = make_results(
            {
                "call_soon_chain": {
                    "hotloop": [1.0],
                    "asyncio": [1.0],
                    "uvloop": [1.0],
                    "uvloop-b": [1.05],
                },
                "eager_spawn_await": {"hotloop": [1.0], "asyncio": [1.5]},
            },
            {"eager_spawn_await": {"uvloop": broken, "uvloop-b": broken}},
            loop_names=["hotloop", "uvloop", "asyncio"],
        )
        eager = report.all_figures(results)[1]
        assert eager.noise == pytest.approx(0.05)
        assert (eager.best_peer, eager.verdict, eager.ratios) == ("asyncio", "ahead", {})
        cells = table_cells(results, "eager_spawn_await")
        assert (cells["uvloop"], cells["asyncio"], cells["A/A"]) == ("FAIL", "1.5", "~5.0%")

    def test_one_failed_round_takes_the_samples_of_the_others_away(self):
        results = make_results(
            {"call_soon_chain": {"hotloop": [1.0], "uvloop": [1.0, 1.0]}},
            {"call_soon_chain": {"hotloop": {"error": "killed by SIGSEGV"}}},
        )
        assert table_cells(results, "call_soon_chain")["hotloop"] == "FAIL"

    def test_floor_stands_beside_the_row_and_not_as_a_row(self):
        results = make_results(
            {
                "call_soon_chain": {"hotloop": [100.0], "uvloop": [200.0]},
                "ctx_run": {"python": [65.0]},
            }
        )
        assert table_cells(results, "call_soon_chain")["floor"] == "65 (ctx_run)"
        assert [figures.name for figures in report.all_figures(results)] == ["call_soon_chain"]

    def test_servers_in_c_stand_last_and_are_no_peers(self):
        results = make_results(
            {"tcp_proto_1KiB_x10": {"hotloop": [4.0], "uvloop": [5.0], "C-epoll": [3.0]}},
            loop_names=["C-epoll", "hotloop", "uvloop"],
        )
        figures = only_row(results)
        assert (figures.best_peer, figures.lead, figures.verdict) == ("uvloop", 1.25, "ahead")
        cells = table_cells(results, "tcp_proto_1KiB_x10")
        assert cells["C-epoll"] == "3 (1.67x)"
        assert list(cells)[2:6] == ["hotloop", "uvloop", "uvloop-b", "C-epoll"]

    def test_add_on_is_a_peer_where_it_runs_and_blank_elsewhere(self):
        results = make_results(
            {
                "tcp_proto_1KiB_x10": {"hotloop": [4.0], "uvloop": [5.0]},
                "tls_proto_1KiB_x10": {
                    "hotloop": [10.0],
                    "uvloop": [40.0],
                    "uvloop+aiofastnet": [12.0],
                },
            },
            loop_names=["hotloop", "uvloop", "uvloop+aiofastnet"],
        )
        assert table_cells(results, "tls_proto_1KiB_x10")["best peer"] == "uvloop+aiofastnet"
        assert table_cells(results, "tcp_proto_1KiB_x10")["uvloop+aiofastnet"] == ""

    def test_what_is_not_installed_is_told_from_what_fails(self):
        results = make_results(
            {"tcp_proto_1KiB_x10": {"hotloop": [4.0], "uvloop": [5.0]}},
            {"tcp_proto_1KiB_x10": {"rloop": {"missing": "needs x"}, "zloop": {"error": "E: y"}}},
            missing={"C-libuv": {"missing": "needs uv.h"}},
            loop_names=["hotloop", "uvloop", "rloop", "zloop", "C-libuv"],
        )
        cells = table_cells(results, "tcp_proto_1KiB_x10")
        assert (cells["rloop"], cells["zloop"], cells["C-libuv"]) == ("missing", "FAIL", "missing")
        lines = report.markdown(results).splitlines()
        assert "* `C-libuv` was not measured at all: needs uv.h" in lines
        assert "* `tcp_proto_1KiB_x10` on `rloop`: needs x" in lines

    def test_each_group_has_a_table(self):
        results = make_results(
            {
                "call_soon_chain": {"hotloop": [1.0], "uvloop": [2.0]},
                "tcp_proto_1KiB_x10": {"hotloop": [4.0], "uvloop": [5.0], "C-epoll": [3.0]},
            },
            loop_names=["hotloop", "uvloop", "C-epoll"],
        )
        tables = list(report.tables(results))
        assert tables[0::2] == ["**Rows of the group loop**", "**Rows of the group network**"]
        assert "call_soon_chain" in tables[1] and "C-epoll" not in tables[1]
        assert "tcp_proto_1KiB_x10" in tables[3] and "C-epoll" in tables[3]

    def test_rate_and_latency_stand_below(self):
        """The ratio of a rate is the loop's by the base's, that of a latency the reverse."""
        row_name = "tcp_proto_1KiB_x10"
        results = make_results({row_name: {"hotloop": [4.0, 4.0], "uvloop": [5.0, 5.0]}})
        results.details[row_name] = {
            "hotloop": [{"rate": 300.0, "p50_us": 10.0}, {"rate": 500.0, "p50_us": 30.0}],
            "uvloop": [
                {"rate": 200.0, "p50_us": 40.0, "client_idle": 0.25},
                {"rate": 250.0, "p50_us": 30.0, "client_idle": 0.25},
            ],
        }
        text = report.markdown(results)
        assert "| tcp_proto_1KiB_x10 | 400 (1.75x) | 225 |  |" in text
        assert "| tcp_proto_1KiB_x10 | 20 (2.50x) | 35 |  |" in text
        assert "CPU that the client had to spare on uvloop: tcp_proto_1KiB_x10 25%." in text

    def test_debug_build_is_called_out(self):
        results = make_results({"call_soon_chain": {"hotloop": [1.0], "uvloop": [1.0]}})
        assert "debug build" not in report.markdown(results)
        results.loops["hotloop"]["build"] = {"debug": True}
        assert report.markdown(results).startswith("**hotloop is a debug build")


class TestCommand:
    @pytest.mark.timeout(60)
    def test_quick_run_writes_table_and_json(self, tmp_path):
        command = [sys.executable, "-m", "benchmarks", "--quick", "--base", "asyncio"]
        command += ["--loops", "hotloop,asyncio", "--rows", "call_soon_chain,pipe_hop_64B"]
        command += ["--markdown", str(tmp_path / "t.md"), "--json", str(tmp_path / "r.json")]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        table = (tmp_path / "t.md").read_text(encoding="utf-8")
        assert done.stdout == table
        results = runner.Results.read(tmp_path / "r.json")
        assert results.failures == {}
        for row_name in ("call_soon_chain", "pipe_hop_64B"):
            assert set(results.samples[row_name]) == {"hotloop", "asyncio", "asyncio-b"}
            assert table_cells(results, row_name)["verdict"] in ("ahead", "level", "behind")

    def test_earlier_run_can_be_reported_again(self, tmp_path, capsys):
        results = make_results({"call_soon_chain": {"hotloop": [1.0], "uvloop": [2.0]}})
        results.write(tmp_path / "r.json")
        assert __main__.main(["--load", str(tmp_path / "r.json")]) == 0
        assert capsys.readouterr().out == report.markdown(results)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--rows", "nothing"], "unknown row 'nothing'"),
            (["--loops", "nothing"], "unknown loop 'nothing'"),
            (["--base", "nothing"], "unknown loop 'nothing'"),
            (["--rounds", "0"], "--rounds must be at least 1"),
        ],
    )
    def test_wrong_option_is_one_clear_line(self, capsys, arguments, message):
        with pytest.raises(SystemExit) as ended:
            __main__.main(arguments)
        assert ended.value.code == 2
        assert message in capsys.readouterr().err.splitlines()[-1]

    def test_plot_without_matplotlib_says_what_to_install(self, monkeypatch, tmp_path):
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        results = make_results({"call_soon_chain": {"hotloop": [1.0], "uvloop": [2.0]}})
        with pytest.raises(plot.PlotLibraryMissing, match="pip install matplotlib"):
            plot.draw(results, tmp_path / "p.png")


class TestWrk:
    OUTPUT = """\
  1 threads and 50 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   306.29us  211.47us   4.11ms   96.31%
  Latency Distribution
     50%  255.00us
     75%  289.00us
     90%  383.00us
     99%    1.28ms
  189423 requests in 1.00s, 17.34MB read
Requests/sec: 189216.11
"""

    def test_output_is_read(self):
        assert load.parse_wrk(self.OUTPUT) == {
            "requests": 189423,
            "rate": 189216.11,
            "p50_us": 255.0,
            "p99_us": 1280.0,
        }

    @pytest.mark.parametrize(
        "complaint",
        ["  Socket errors: connect 0, read 3, write 0, timeout 0", "  Non-2xx or 3xx responses: 7"],
    )
    def test_complaint_fails_the_row(self, complaint):
        with pytest.raises(load.LoadFailed, match=complaint.strip()):
            load.parse_wrk(f"{self.OUTPUT}{complaint}\n")

    def test_process_clock_is_the_cpu_time_of_the_process(self):
        before = time.process_time_ns()
        measured = load.process_clock_ns(os.getpid())
        assert before <= measured <= time.process_time_ns()


class TestInstructions:
    def step_bare(self, directory, turns):
        command = [sys.executable, "-m", "benchmarks.instructions"]
        command += ["--turns", str(turns), "--bare", str(directory)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    @pytest.mark.timeout(60)
    def test_bare_loop_compiles_and_steps(self, tmp_path):
        instructions.compile_bare_steps(tmp_path)
        done = self.step_bare(tmp_path, 3)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    def test_bare_loop_that_was_not_compiled_is_noticed(self, tmp_path):
        assert self.step_bare(tmp_path, 3).returncode == 1

    def test_count_is_per_step_between_the_two_lengths(self, monkeypatch):
        def count(turns, directory, loop_name):
            return 5_000_000 + turns * 100 * 1_644

        monkeypatch.setattr(instructions, "count_instructions", count)
        assert instructions.instructions_per_step("anywhere") == 1_644

    def test_echo_count_is_per_message_between_the_two_lengths(self, monkeypatch):
        def count(messages, directory, name, kind="proto", size=1024):
            echoed = messages + 7
            return echoed, 5_000_000 + echoed * (1_800 if kind == "proto" else size)

        monkeypatch.setattr(instructions, "count_echoes", count)
        assert instructions.instructions_per_echo("anywhere", "hotloop") == 1_800
        assert instructions.instructions_per_echo("anywhere", "hotloop", "tls", 16384) == 16384

    @pytest.mark.timeout(60)
    def test_echoes_of_a_server_are_counted(self, tmp_path):
        if not shutil.which("valgrind"):
            with pytest.raises(instructions.ToolFailed, match="needs valgrind"):
                instructions.count_echoes(20, tmp_path, "C-epoll")
            return
        echoed, count = instructions.count_echoes(20, tmp_path, "C-epoll")
        assert 20 <= echoed < 40
        assert count > 10_000

    @pytest.mark.timeout(120)
    def test_echoes_over_tls_are_counted(self, tmp_path):
        if not (shutil.which("valgrind") and shutil.which("openssl")):
            with pytest.raises((instructions.ToolFailed, compiled.Missing), match="Debian"):
                instructions.count_echoes(20, tmp_path, "asyncio", "tls", 4096)
            return
        echoed, count = instructions.count_echoes(20, tmp_path, "asyncio", "tls", 4096)
        assert 20 <= echoed < 40
        assert count > 10_000_000

    @pytest.mark.timeout(120)
    def test_requests_are_counted(self, tmp_path):
        if not shutil.which("valgrind"):
            with pytest.raises(instructions.ToolFailed, match="needs valgrind"):
                instructions.count_echoes(20, tmp_path, "asyncio", "http")
            return
        answered, count = instructions.count_echoes(20, tmp_path, "asyncio", "http")
        assert answered == 50  # one on each connection at least
        assert count > 10_000_000

    def test_a_wrong_answer_is_no_answer(self):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.sendall(b"HTTP/1.1 500 Internal Server Error\r\n\r\nHello, world!")
            with pytest.raises(load.LoadFailed, match="500 Internal"):
                load._take_answer(ours)

    def test_an_answer_is_taken_to_its_end(self):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + load.BODY + b"next")
            ours.settimeout(10)
            theirs.close()
            with pytest.raises(load.LoadFailed, match="next"):
                load._take_answer(ours)

    def test_without_valgrind_it_says_what_to_install(self, monkeypatch, tmp_path):
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(instructions.ToolFailed, match="needs valgrind"):
            instructions.count_instructions(1, str(tmp_path), None)
