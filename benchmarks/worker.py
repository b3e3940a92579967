"""One row on one loop, measured in this process: `python -m benchmarks.worker LOOP ROW`.

The runner starts a fresh one of these for each sample and reads the JSON object it prints as its
last line: {"value": ..., "details": ...}, {"error": ...} with the last line of the exception,
{"missing": ...} with what to install, or {"not_applicable": ...} with the reason.  The row is
called with growing numbers of passes until one call fills a fair share of the time, then several
times with that number; the median of those is the value.  A row that returns its figure itself is
called once.  Garbage collection stays as CPython has it.  Without a row, the object says what the
loop is.
"""

import argparse
import inspect
import json
import statistics
import time
import traceback

from benchmarks import compiled, loops, registry

REPEATS = 5  # measured calls of the row
SHARES = 8  # a call should fill this fraction of the time: the repeats and the way up to them


class LoopReportedError(Exception):
    """The row came to its end, but the loop told its exception handler of an error."""


def call_row(row, case):
    """Run the row's function once; return what it returned."""
    figure = row.function(case)
    if inspect.iscoroutine(figure):
        figure = case.loop.run_until_complete(figure)
    if case.reports:
        report = case.reports[0]
        raise LoopReportedError(f"{report.get('message')}: {report.get('exception')!r}")
    return figure


def find_passes(row, case):
    """Warm up, and leave in case.passes a number of passes that fills a share of the time."""
    share = case.seconds / SHARES
    while True:
        start = time.perf_counter()
        call_row(row, case)
        took = time.perf_counter() - start
        if took >= share / 2:
            return
        growth = min(10.0, share / took)
        case.passes = max(case.passes + 1, int(case.passes * growth))


def measure(row, case):
    """Return the row's figure in the row's unit."""
    figure = call_row(row, case)
    if figure is not None:
        return figure
    find_passes(row, case)
    samples = []
    for _ in range(REPEATS):
        call_row(row, case)
        samples.append(case.elapsed_ns)
    operations = case.passes * row.operations_per_pass
    return statistics.median(samples) / operations / registry.NANOSECONDS[row.unit]


def answer_for(loop_name, row_name, seconds):
    """Measure the row of this name on a loop made for it; return what main() prints."""
    row = registry.all_rows()[row_name]
    case = registry.Case(loop_name, row.clock, seconds)
    try:
        return {"value": measure(row, case), "details": case.details}
    finally:
        case.close()


def measure_by_name(loop_name, row_name, seconds):
    """Measure the row of this name on a loop made for it; return its figure."""
    return answer_for(loop_name, row_name, seconds)["value"]


def last_line(error):
    """The line that a traceback of this exception ends with."""
    return "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worker", description=__doc__)
    parser.add_argument("loop")
    parser.add_argument("row", nargs="?")
    parser.add_argument("--seconds", type=float, default=0.5)
    options = parser.parse_args(arguments)
    try:
        if options.row is None:
            answer = loops.describe(options.loop)
        else:
            answer = answer_for(options.loop, options.row, options.seconds)
    except registry.NotApplicable as reason:
        answer = {"not_applicable": str(reason)}
    except compiled.Missing as reason:
        answer = {"missing": str(reason)}
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        traceback.print_exc()
        answer = {"error": last_line(error)}
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
