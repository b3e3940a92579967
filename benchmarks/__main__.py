"""The command line: `python -m benchmarks --help`."""

import argparse
import pathlib
import sys

from benchmarks import loops, plot, registry, report, runner

DEFAULT_LOOPS = ["hotloop", "uvloop", "zuvloop", "rloop", "zloop", "rsloop", "asyncio"]
DEFAULT_LOOPS += ["uvloop+aiofastnet", "asyncio+aiofastnet", *loops.SERVERS]


def _names(text):
    return [name.strip() for name in text.split(",") if name.strip()]


def _parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure event loops side by side and print a Markdown table.",
    )
    parser.add_argument(
        "--loops",
        type=_names,
        default=DEFAULT_LOOPS,
        metavar="NAME,...",
        help="loops by name or module:factory, in this order; NAME@DIRECTORY imports from there, "
        "NAME+aiofastnet patches the loop; C-epoll and C-libuv are servers in C",
    )
    parser.add_argument("--rows", type=_names, metavar="NAME,...", help="rows (all)")
    parser.add_argument("--group", choices=registry.GROUPS, help="the rows of one table (all)")
    parser.add_argument("--base", default="uvloop", help="the loop of ratio 1 (uvloop)")
    parser.add_argument("--rounds", type=int, default=5, help="fresh processes a row and loop (5)")
    parser.add_argument("--seconds", type=float, default=0.5, help="time of one process (0.5)")
    parser.add_argument("--quick", action="store_true", help="one short round: does it run at all?")
    parser.add_argument("--markdown", metavar="FILE", help="write the table there too")
    parser.add_argument("--json", metavar="FILE", help="write raw samples, versions, machine")
    parser.add_argument("--plot", metavar="FILE.png", help="draw the ratios (needs matplotlib)")
    parser.add_argument("--load", metavar="FILE", help="report on the JSON of an earlier run")
    parser.add_argument("--list", action="store_true", help="say what each row measures")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.seconds = 1, 0.02
    known_rows = registry.all_rows()
    options.rows = options.rows or [
        name for name, row in known_rows.items() if options.group in (None, row.group)
    ]
    for name in options.rows:
        if name not in known_rows:
            parser.error(f"unknown row {name!r}; --list shows them")
    for name in [*options.loops, options.base]:
        try:
            loops.check_name(name)
        except ValueError as error:
            parser.error(str(error))
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


def _list_rows():
    for row in registry.all_rows().values():
        print(f"{row.name} [{row.describe()['unit']}]: {row.operation}")


def _measure(options):
    return runner.run(
        options.loops,
        options.rows,
        base=options.base,
        rounds=options.rounds,
        seconds=options.seconds,
        progress=lambda line: print(line, file=sys.stderr, flush=True),
    )


def main(arguments=None):
    options = _parse(arguments)
    if options.list:
        _list_rows()
        return 0
    results = runner.Results.read(options.load) if options.load else _measure(options)
    if options.json:
        results.write(options.json)
    text = report.markdown(results)
    print(text, end="")
    if options.markdown:
        pathlib.Path(options.markdown).write_text(text, encoding="utf-8")
    if options.plot:
        try:
            plot.draw(results, options.plot)
        except plot.PlotLibraryMissing as missing:
            print(missing, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
