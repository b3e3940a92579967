"""Puts recorded runs into README.md: `python -m benchmarks.readme [FILE.json...]`.

The files are what `python -m benchmarks --json FILE` has written, one for each Python version; by
default those in docs/benchmarks. Each gives a table between the README's benchmark markers and a
plot beside the file; the last plot of each group of rows also stands on top. Nothing is measured
here, so the same files give the same README.
"""

import argparse
import pathlib
import sys

from benchmarks import plot, registry, report, runner

ROOT = pathlib.Path(__file__).resolve().parents[1]


def replace_between(text, marker, content):
    """Return the text with `content` in the place of what stands between two marker comments."""
    begin, end = f"<!-- {marker}:begin -->\n", f"<!-- {marker}:end -->"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"README.md has no lines {begin.strip()} and {end}")
    return f"{before}{begin}{content}{end}{after}"


def title(results):
    """Return what tells a run from the others: the Python, and the group if it is not the first."""
    groups = {facts.get("group", registry.GROUPS[0]) for facts in results.rows.values()}
    python = f"CPython {results.machine['python']}"
    return python if registry.GROUPS[0] in groups else f"{python}, {', '.join(sorted(groups))}"


def picture(results, path, folder):
    """Return the Markdown of a run's plot."""
    words = f"Speed against {results.settings['base']}, {title(results)}"
    return f"![{words}]({path.relative_to(folder).as_posix()})\n"


def section(results, path, folder):
    """Return the part of the README about one run."""
    source = path.relative_to(folder).as_posix()
    return (
        f"### {title(results)}\n\n"
        f"[Plot]({path.with_suffix('.png').relative_to(folder).as_posix()}) and "
        f"[samples]({source}); this table alone: `python -m benchmarks --load {source}`.\n\n"
        f"{report.markdown(results)}"
    )


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.readme", description=__doc__)
    parser.add_argument("file", nargs="*", type=pathlib.Path, help="(docs/benchmarks/*.json)")
    parser.add_argument("--root", type=pathlib.Path, default=ROOT, help="the folder of README.md")
    options = parser.parse_args(arguments)
    root = options.root.resolve()
    paths = [path.resolve() for path in options.file]
    paths = paths or sorted((root / "docs" / "benchmarks").glob("*.json"))
    if not paths:
        parser.error("there is no run to show: python -m benchmarks --json FILE records one")
    runs = [(runner.Results.read(path), path) for path in paths]
    for results, path in runs:
        plot.draw(results, path.with_suffix(".png"))
    readme = root / "README.md"
    text = readme.read_text(encoding="utf-8")
    sections = "\n".join(section(results, path, root) for results, path in runs)
    text = replace_between(text, "benchmarks", f"\n{sections}\n")
    shown = {title(results).partition(",")[2]: (results, path) for results, path in runs}
    pictures = [picture(r, path.with_suffix(".png"), root) for r, path in shown.values()]
    text = replace_between(text, "plot", "\n" + "\n".join(pictures) + "\n")
    readme.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
