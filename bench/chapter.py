"""What a part of the bench that works alone has in common with the others: its command."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import report

Say = Callable[[str], None]
HERE = Path(__file__).parent


def run_alone(
    name: str,
    arguments: list[str],
    measure: Callable[[bool, Say], dict],
    markdown: Callable[[dict], str],
    plot: Callable[[dict, Path], list[Path]],
) -> None:
    """Measure one chapter, print it, and write it as ``name``.md and .json, with its plots where they can be drawn."""
    parser = argparse.ArgumentParser(prog=f"python -m bench.{name}")
    parser.add_argument("--short", action="store_true", help="less data, shorter runs")
    parser.add_argument("--output", type=Path, default=HERE / "results", metavar="DIR")
    options = parser.parse_args(arguments)
    result = measure(options.short, lambda line: print(line, file=sys.stderr, flush=True))
    result["machine"] = report.machine()
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    text = markdown(result)
    (options.output / f"{name}.md").write_text(text)
    print(text)
    try:
        plot(result, options.output)
    except ImportError:
        print("no plot: matplotlib is not installed", file=sys.stderr)


def keep_figure(figure: Any, path: Path) -> list[Path]:
    """Write a figure of pyplot's, and let it go; the same figures make the same file."""
    from matplotlib import pyplot

    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return [path]
