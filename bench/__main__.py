"""``python -m bench``: every chapter of the bench, one after the other, and one report of all."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from bench import chapters, plots
from bench.errors import BenchError, MissingTool, run_command

HERE = Path(__file__).parent


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    names = ", ".join(chapter.name for chapter in chapters.CHAPTERS)
    parser.add_argument("--short", action="store_true", help="less of everything: under two minutes in all")
    parser.add_argument("--chapter", action="append", default=[], metavar="NAME", help=f"of {names}; repeatable")
    parser.add_argument("--update", action="store_true", help="keep the other chapters of the report in DIR")
    parser.add_argument("--draw", action="store_true", help="measure nothing: text and pictures of the report in DIR")
    parser.add_argument("--no-plot", action="store_true", help="do without matplotlib")
    parser.add_argument("--output", type=Path, default=HERE / "results", metavar="DIR")
    return parser.parse_args(arguments)


def can_plot(options: argparse.Namespace) -> bool:
    """Whether pictures are wanted and can be drawn; says so when they cannot."""
    if options.no_plot:
        return False
    try:
        plots.check()
    except MissingTool as error:
        print(f"no pictures: {error}", file=sys.stderr)
        return False
    return True


def command_of(options: argparse.Namespace) -> str:
    """The command as a report names it: what its figures depend on, and not where they are written."""
    chosen = [word for name in options.chapter for word in ("--chapter", name)]
    return shlex.join(["python", "-m", "bench", *(["--short"] if options.short else []), *chosen])


def say(line: str) -> None:
    """Progress, beside the report."""
    print(line, file=sys.stderr, flush=True)


def run(arguments: list[str]) -> None:
    """Measure the chapters, write the report; BenchError when one of them failed."""
    options = parse(arguments)
    chosen = chapters.select(options.chapter)
    entries = chapters.load(options.output / "report.json") if options.update or options.draw else {}
    with_plots = can_plot(options)
    if not options.draw:
        command = command_of(options)
        entries |= chapters.run_all(chosen, options.short, command, say)
    print(chapters.write(entries, options.output, plots=with_plots))
    print(f"Written to {options.output}")
    if failed := [f"{name}: {entry['failed']}" for name, entry in entries.items() if "failed" in entry]:
        raise BenchError("; ".join(failed))


if __name__ == "__main__":
    run_command(run)
