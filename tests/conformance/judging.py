"""Turns results into verdicts and into the table: pure functions of data, no processes.

The rules: every id that stock asyncio runs has run or is listed in exclusions.py; one that failed
or was skipped counts against hotloop unless stock fails or skips it on this interpreter too; a
listed id must not pass; and the module must have used hotloop's own loop and types (a proof).
"""

import dataclasses

from .exclusions import short_id

COLUMNS = ("run", "on hotloop", "passed", "failed", "skipped", "as stock", "excluded")
MAX_SHOWN = 12  # Failures of one module that are shown with what they printed.
MAX_LINES = 40


@dataclasses.dataclass
class Report:
    """The verdict on one job."""

    job: object
    counts: dict
    problems: list  # Pairs of a headline and the detail below it.
    as_stock: list  # The ids that neither hotloop nor stock asyncio passes here.
    seconds: float

    def explain(self):
        """Return the text that a failing test case shows."""
        lines = [f"{self.job.name}: {len(self.problems)} problems"]
        lines += [f"  {headline}" for headline, _ in self.problems]
        for headline, detail in self.problems[:MAX_SHOWN]:
            if detail:
                lines += ["", f"--- {headline}", *detail.rstrip().splitlines()[-MAX_LINES:]]
        return "\n".join(lines)


def judge(job, ids, listed, own, excluded, stock):
    """Return the Report on a job; own, excluded and stock are runner.Results by id."""
    counts = dict.fromkeys(COLUMNS, 0)
    problems, as_stock = list(own.problems), []
    outcomes = own.outcomes | excluded.outcomes
    missing = [test_id for test_id in ids if test_id not in outcomes]
    if missing:
        problems.append((f"{len(missing)} ids were not run, first {missing[0]}", ""))
    for test_id in ids:
        if test_id in listed:
            counts["excluded"] += 1
            if excluded.outcomes.get(test_id, {}).get("outcome") == "passed":
                entry = listed[test_id]
                headline = f"{short_id(test_id)} passes but is listed: {entry.reason}"
                problems.append((headline, entry.detail))
            continue
        line = own.outcomes.get(test_id, {"outcome": "missing"})
        on_stock = stock.outcomes.get(test_id, {}).get("outcome")
        column = verdict(line["outcome"], on_stock)
        counts[column] += 1
        if column == "as stock":
            as_stock.append(short_id(test_id))
        elif column == "failed" and "detail" in line:
            headline = f"{short_id(test_id)} {line['outcome']}, stock {on_stock}"
            problems.append((headline, line["detail"]))
    known = set(ids)
    for test_id, line in own.outcomes.items():
        if test_id not in known:  # A failure of setUpClass or setUpModule.
            problems.append((f"{short_id(test_id)} {line['outcome']}", line["detail"]))
    counts["run"] = counts["passed"] + counts["failed"] + counts["as stock"]
    counts["on hotloop"] = sum(1 for line in own.outcomes.values() if line.get("own"))
    problems += [(problem, "") for problem in unproved(job, own.uses)]
    seconds = sum(line.get("seconds", 0) for line in own.outcomes.values())
    return Report(job, counts, problems, as_stock, seconds)


def verdict(outcome, on_stock):
    """Return the column that counts a test which is not listed."""
    if outcome == "passed":
        return "passed"
    if outcome == on_stock == "skipped":
        return "skipped"
    return "as stock" if on_stock in ("failed", "crashed", "skipped") else "failed"


def unproved(job, uses):
    """Yield what the tests of a module should have used of hotloop's and did not.

    Release builds count loops only; there the types are vouched for by Injection.problems().
    """
    for name in sorted(job.module.expected_uses(job.mode)):
        if uses.get(name) == 0:
            yield f"no use of hotloop's {name} was seen: {uses}"


def idle_exclusions(job, ids, exclusions):
    """Yield a problem for each entry about this job that matches none of the ids stock has."""
    for entry in exclusions:
        if entry.is_needed(job.module.name, job.mode.name) and not any(
            entry.matches(test_id, job.mode.name) for test_id in ids
        ):
            yield f"{entry.pattern} is listed and matches no test", entry.detail


def table(reports):
    """Return the lines of the table: a row per module and mode, a sum per mode, notes."""
    reports = list(reports)
    rows = [("module", "mode", *COLUMNS, "seconds")]
    sums = {}
    for report in reports:
        name = report.job.module.name.removeprefix("test.test_asyncio.")
        values = [report.counts[column] for column in COLUMNS]
        rows.append((name, report.job.mode.title, *values, f"{report.seconds:.1f}"))
        mode = sums.setdefault(report.job.mode.title, [0] * len(COLUMNS) + [0.0])
        for i, value in enumerate([*values, report.seconds]):
            mode[i] += value
    for title, values in sums.items():
        rows.append(("all", title, *values[:-1], f"{values[-1]:.1f}"))
    return align(rows) + [
        f"neither on stock asyncio here: {test_id}"
        for report in reports
        for test_id in report.as_stock
    ]


def align(rows):
    """Return the rows as lines, the first two columns to the left and the others to the right."""
    widths = [max(len(str(row[i])) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            str(cell).ljust(width) if i < 2 else str(cell).rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
