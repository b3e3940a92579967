"""Turns samples into figures and figures into Markdown.

1. A ratio is base / loop inside one round, so above 1 is better; the figure is the median over
   the rounds, and so is that of hotloop against the best peer.
2. The A/A distance of a row is how far the farther quartile of the base's second run is from 1.
   Where the base failed, the median distance of the other rows stands in for it.
3. A verdict looks at hotloop against the best peer: beyond the A/A distance it is ahead or
   behind, else level.  The best peer is the other loop with the smallest median figure.

No row and no loop is left out: what was not measured is shown as such, with the reason below.
Servers in C are shown beside the loops, but are no peers: they are what no loop can be better than.
"""

import dataclasses
import statistics

from benchmarks import loops
from benchmarks.registry import GROUPS
from benchmarks.runner import ABSENT, AGAIN, NO_LOOP

SUBJECT = "hotloop"  # the loop that the verdicts are about

ABSENCES = {"not_applicable": "n/a", "missing": "missing"}  # what a worker answered: the cell

# Figures beside those of the network rows: the title of a table, what it takes from the details.
DETAIL_TABLES = (
    ("Messages, connections or requests per second; higher is better", "rate", True),
    ("Median latency that the client saw, us; lower is better", "p50_us", False),
    ("99th percentile of the latency, us; lower is better", "p99_us", False),
)


@dataclasses.dataclass
class RowFigures:
    """What the report says about one row."""

    name: str
    medians: dict  # label: median of the samples
    ratios: dict  # label: median ratio to the base, above 1 is better
    noise: float | None  # the A/A distance of the row, or its stand-in
    noise_is_own: bool  # False for the stand-in
    best_peer: str | None = None
    lead: float | None = None  # the subject's median ratio to the best peer, above 1 is better
    verdict: str = ""  # ahead, level or behind; what absence() says; or "" without peers or noise


def per_round_ratios(above, below):
    """Ratios of the samples of the same round; none if either side has no samples."""
    if not above or not below:
        return []
    return [top / bottom for top, bottom in zip(above, below, strict=True)]


def distance_from_one(ratios):
    """How far the farther quartile of the ratios is from 1, as a factor less 1."""
    low = high = ratios[0]
    if len(ratios) > 1:
        low, _, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return max(high, 1 / low) - 1


def judge(lead, noise):
    """Say what a lead means if so much is noise."""
    if lead > 1 + noise:
        return "ahead"
    if lead < 1 / (1 + noise):
        return "behind"
    return "level"


def absence(results, row_name, label):
    """Say in a word why there is no figure of this label in this row."""
    name = label.removesuffix(AGAIN)
    if not runs_on(results, row_name, name):
        return ""
    if results.loops.get(name, {}).keys() & ABSENT:
        return "missing"
    answer = results.failures[row_name][label]
    return next((word for key, word in ABSENCES.items() if key in answer), "FAIL")


def runs_on(results, row_name, name):
    """Whether the row is one for this loop, loop with an add-on, or server in C."""
    return loops.kind(name) in results.rows[row_name].get("kinds", [loops.LOOP])


def noise_by_row(results):
    """Return the A/A distance of each row whose base ran twice."""
    base = results.settings["base"]
    noise = {}
    for row_name in results.rows:
        ratios = per_round_ratios(
            results.samples_of(row_name, base), results.samples_of(row_name, base + AGAIN)
        )
        if ratios:
            noise[row_name] = distance_from_one(ratios)
    return noise


def row_figures(results, row_name, noise):
    """Work out the figures of one row; `noise` is what noise_by_row returned."""
    base = results.settings["base"]
    samples = {
        label: results.samples_of(row_name, label)
        for label in [*results.settings["loops"], base + AGAIN]
        if results.samples_of(row_name, label)
    }
    ratios = {
        label: per_round_ratios(samples.get(base), values) for label, values in samples.items()
    }
    figures = RowFigures(
        name=row_name,
        medians={label: statistics.median(values) for label, values in samples.items()},
        ratios={label: statistics.median(values) for label, values in ratios.items() if values},
        noise=noise.get(row_name, statistics.median(noise.values()) if noise else None),
        noise_is_own=row_name in noise,
    )
    compare_subject(results, figures, samples)
    return figures


def compare_subject(results, figures, samples):
    """Fill in the best peer, and how the subject stands against it if it is in the run."""
    names = results.settings["loops"]
    peers = [name for name in names if name != SUBJECT and name in samples]
    peers = [name for name in peers if loops.kind(name) != loops.SERVER]
    figures.best_peer = min(peers, key=figures.medians.get, default=None)
    if SUBJECT not in names:
        return
    if SUBJECT not in samples:
        figures.verdict = absence(results, figures.name, SUBJECT)
    elif figures.best_peer is not None:
        leads = per_round_ratios(samples[figures.best_peer], samples[SUBJECT])
        figures.lead = statistics.median(leads)
        if figures.noise is not None:
            figures.verdict = judge(figures.lead, figures.noise)


def all_figures(results, group=None):
    """Return the figures of each row (of a group) that runs on a loop, in order."""
    noise = noise_by_row(results)
    return [
        row_figures(results, name, noise)
        for name, facts in results.rows.items()
        if facts["needs_loop"] and group in (None, facts.get("group", GROUPS[0]))
    ]


def labels_of(results, all_rows):
    """The columns of a table: what any of these rows runs on, at the end the base's second run
    and the servers in C."""
    base, names = results.settings["base"], results.settings["loops"]
    used = [name for name in names if any(runs_on(results, f.name, name) for f in all_rows)]
    servers = [name for name in used if loops.kind(name) == loops.SERVER]
    labels = [name for name in used if name not in servers]
    return [*labels, *([base + AGAIN] if base in labels else []), *servers]


def format_figure(value):
    """Three significant digits at least, thousands apart."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _loop_cell(results, figures, label):
    """The cell of one loop: its figure and ratio, or why there is none."""
    if label not in figures.medians:
        return absence(results, figures.name, label)
    text = format_figure(figures.medians[label])
    if label != results.settings["base"] and label in figures.ratios:
        text += f" ({figures.ratios[label]:.2f}x)"
    return text


def _floor_cell(results, row_name):
    """What CPython alone needs for this row."""
    floor = results.rows[row_name]["floor"]
    values = results.samples_of(floor, NO_LOOP) if floor else []
    return f"{format_figure(statistics.median(values))} ({floor})" if values else ""


def _noise_cell(figures):
    if figures.noise is None:
        return ""
    return f"{'' if figures.noise_is_own else '~'}{figures.noise:.1%}"


def _markdown_table(header, lines, first_columns):
    """A Markdown table whose columns between the first and the text ones hold figures."""
    left, figures = first_columns
    rule = ["---"] * left + ["---:"] * figures + ["---"] * (len(header) - left - figures)
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, rule, *lines])


def table(results, group=None):
    """The Markdown table: one line for each row (of a group), one column for each loop."""
    all_rows = all_figures(results, group)
    labels = labels_of(results, all_rows)
    with_floor = any(results.rows[figures.name]["floor"] for figures in all_rows)
    with_verdict = SUBJECT in results.settings["loops"]
    header = ["row", "unit", *labels, *(["floor"] if with_floor else []), "best peer", "A/A"]
    if with_verdict:
        header += [f"{SUBJECT} vs best", "verdict"]
    lines = []
    for figures in all_rows:
        cells = [figures.name, results.rows[figures.name]["unit"]]
        cells += [_loop_cell(results, figures, label) for label in labels]
        cells += [_floor_cell(results, figures.name)] if with_floor else []
        cells += [figures.best_peer or "", _noise_cell(figures)]
        if with_verdict:
            cells += [f"{figures.lead:.2f}x" if figures.lead else "", figures.verdict]
        lines.append(cells)
    return _markdown_table(header, lines, (2, len(labels)))


def _detail_cell(results, row_name, label, name, higher_is_better):
    """One figure beside the row's own, with its ratio to the base; above 1 is better."""
    values = results.details_of(row_name, label, name)
    if not values:
        return ""
    text = format_figure(statistics.median(values))
    base = results.settings["base"]
    base_values = results.details_of(row_name, base, name)
    if label == base or not base_values:
        return text
    above, below = (values, base_values) if higher_is_better else (base_values, values)
    return f"{text} ({statistics.median(per_round_ratios(above, below)):.2f}x)"


def detail_table(results, group, name, higher_is_better):
    """A table like the main one of a figure from the details, or "" if no row has it."""
    all_rows = [f for f in all_figures(results, group) if results.details.get(f.name)]
    labels = labels_of(results, all_rows)
    lines = [
        [
            f.name,
            *(_detail_cell(results, f.name, label, name, higher_is_better) for label in labels),
        ]
        for f in all_rows
    ]
    return _markdown_table(["row", *labels], lines, (1, len(labels))) if lines else ""


def tables(results):
    """All tables with their titles, as paragraphs."""
    groups = [group for group in GROUPS if all_figures(results, group)]
    for group in groups:
        if len(groups) > 1:
            yield f"**Rows of the group {group}**"
        yield table(results, group)
        for title, name, higher_is_better in DETAIL_TABLES:
            text = detail_table(results, group, name, higher_is_better)
            if text:
                yield f"{title}:"
                yield text
        yield from _idle_lines(results, group)


def _idle_lines(results, group):
    """How much of its CPU the client in C had to spare; near none, a rate says what it can do."""
    base = results.settings["base"]
    shares = {
        figures.name: statistics.median(values)
        for figures in all_figures(results, group)
        if (values := results.details_of(figures.name, base, "client_idle"))
    }
    if shares:
        parts = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
        yield f"CPU that the client had to spare on {base}: {parts}."


def _floor_lines(results):
    """The floors that were measured, for a run that asked for them alone too."""
    for name, facts in results.rows.items():
        values = results.samples_of(name, NO_LOOP)
        if not facts["needs_loop"] and values:
            figure = format_figure(statistics.median(values))
            yield f"* floor `{name}`: {figure} {facts['unit']}. {facts['operation']}"


def _failure_lines(results):
    """Each loop that could not be made, and each row that a loop failed, with the reason."""
    for name, facts in results.loops.items():
        for key in facts.keys() & ABSENT:
            yield f"* `{name}` was not measured at all: {facts[key]}"
    for row_name, failures in results.failures.items():
        for label, answer in failures.items():
            for reason in answer.values():
                yield f"* `{row_name}` on `{label}`: {reason}"


def _warnings(results):
    """What makes figures worthless, if it was so."""
    machine = results.machine
    if machine.get("debug_python"):
        yield "**This is a debug interpreter: the figures mean nothing.**"
    for name, facts in results.loops.items():
        if facts.get("build", {}).get("debug"):
            yield f"**{name} is a debug build: its figures mean nothing.**"


def _what_is_measured(results):
    """What the figures are, by the groups in the run."""
    groups = {facts.get("group", GROUPS[0]) for facts in results.rows.values()}
    words = {
        "loop": "process CPU time per operation, or wall time where the unit says so",
        "network": "for servers CPU time of the server (kernel and user) per message, connection "
        "or request, the server on one CPU, the client on another",
    }
    return "; ".join(words[group] for group in GROUPS if group in groups)


def _malloc(machine):
    """Which variables that steer the allocator were set."""
    settings = machine.get("malloc")
    if not settings:
        return "malloc as it is by default"
    return "with " + " ".join(f"{name}={value}" for name, value in settings.items())


def _conditions(results):
    """Machine, versions and method, on two lines."""
    machine, settings = results.machine, results.settings
    versions = ", ".join(
        f"{name} {facts['version']}" for name, facts in results.loops.items() if "version" in facts
    )
    kind = ", free-threaded" if machine["free_threaded"] else ""
    rounds = f"{settings['rounds']} round{'s' if settings['rounds'] > 1 else ''}"
    return (
        f"{machine['date']}, CPython {machine['python']} ({machine['compiler']}{kind}), "
        f"kernel {machine['kernel']}, {machine['cpus']} x {machine['cpu']}, load "
        f"{machine['load_at_start']:.1f} to {machine['load_at_end']:.1f}. Loops: {versions}.\n\n"
        f"Medians of {rounds} of fresh processes, {settings['seconds']:g} s each; "
        f"{_what_is_measured(results)}; lower is better. In "
        f"brackets: median of the per-round ratios to {settings['base']}, above 1 is better. "
        f"Garbage collection {machine['gc']}, {_malloc(machine)}. A/A: how far a second run of "
        f"{settings['base']} (farther quartile) is from the first; `~`: the median of the other "
        f"rows, as {settings['base']} failed in this one."
    )


def markdown(results):
    """The whole report."""
    notes = [*_floor_lines(results), *_failure_lines(results)]
    parts = [*_warnings(results), _conditions(results), *tables(results), "\n".join(notes)]
    return "\n\n".join(part for part in parts if part) + "\n"
