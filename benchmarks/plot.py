"""Draws the ratios of a run as a picture; needs matplotlib, which nothing else here does."""

from benchmarks import report


class PlotLibraryMissing(Exception):
    """matplotlib is not installed; the message says what to do."""


def _load_library():
    """Return what is used of matplotlib."""
    try:
        import matplotlib
    except ImportError:
        raise PlotLibraryMissing(
            "the plot needs matplotlib: pip install matplotlib (the table and the JSON do not)"
        ) from None
    matplotlib.use("Agg")  # draws into files, without a display
    from matplotlib import pyplot
    from matplotlib.ticker import LogLocator

    return pyplot, LogLocator


def draw(results, path):
    """Write a PNG with one line for each row and one mark for each loop's ratio to the base."""
    pyplot, LogLocator = _load_library()
    all_rows = report.all_figures(results)
    rows = [figures for figures in all_rows if figures.ratios]
    without_base = [figures.name for figures in all_rows if not figures.ratios]
    base = results.settings["base"]
    figure, axes = pyplot.subplots(figsize=(9, 1.6 + 0.28 * len(rows)), layout="constrained")
    for name in results.settings["loops"]:
        if name == base:
            continue
        if not any(report.runs_on(results, r.name, name) for r in all_rows):
            continue
        points = [(r.ratios[name], y) for y, r in enumerate(rows) if name in r.ratios]
        is_subject = name == report.SUBJECT
        axes.scatter(
            [ratio for ratio, _ in points],
            [y for _, y in points],
            label=name if points else f"{name} (not measured)",
            s=60 if is_subject else 22,
            marker="D" if is_subject else "o",
            zorder=3 if is_subject else 2,
        )
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_xscale("log", subs=[])
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}x")
    axes.set_yticks(range(len(rows)), [r.name for r in rows])
    axes.grid(axis="both", linewidth=0.3)
    axes.set_ylim(len(rows) - 0.5, -0.5)  # downwards, in the order of the table
    axes.set_xlabel(
        f"speed against {base} (= 1x), right is better"
        + (f"\nnot drawn, as {base} failed: {', '.join(without_base)}" if without_base else "")
    )
    axes.set_title(f"CPython {results.machine['python']}, {results.machine['date'][:10]}")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
