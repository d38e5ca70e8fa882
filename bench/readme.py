"""``python -m bench.readme``: put the figures of docs/performance/report.json into the project's README."""

from __future__ import annotations

import re
from pathlib import Path

from bench import chapters, report
from bench.errors import BenchError, run_command
from bench.plots import OVERVIEW

ROOT = Path(__file__).parent.parent
FOLDER = "docs/performance"
ROWS = (*OVERVIEW, "get-p64-32-5m", "set-p16-32-full", "get-p16-1k", "set-p16-1k", "get-p16-16k", "get-p1-500k")
PART = re.compile(r"(?<=<!-- figures -->\n).*?(?=<!-- /figures -->)", re.DOTALL)


def figures(entry: dict) -> str:
    """The table, the picture, and where they come from, of the throughput chapter's entry in a report."""
    result = entry["result"]
    versions = ", ".join(f"{name} {version}" for name, version in entry["versions"].items())
    named = [name for name in ROWS if name in result["titles"]]
    parts = [
        report.overview(result, named),
        *(note for note in report.notes(result) if note.startswith("[1]")),
        f"![CPU time per operation and operations per second]({FOLDER}/overview.svg)",
        f"`{entry['command']}`, {entry['date']}; {entry['machine']}; {versions}.",
    ]
    return "\n\n".join(parts) + "\n"


def updated(text: str, entry: dict) -> str:
    """The README's text with these figures between its two marks."""
    if len(PART.findall(text)) != 1:
        raise BenchError("README.md: there have to be the marks <!-- figures --> and <!-- /figures -->, once")
    return PART.sub(lambda _: figures(entry), text)


def run(arguments: list[str]) -> None:
    """Rewrite README.md."""
    if arguments:
        raise BenchError("bench.readme takes no options")
    entries = chapters.load(ROOT / FOLDER / "report.json")
    if "result" not in entries.get("throughput", {}):
        raise BenchError(f"no throughput in {FOLDER}/report.json: python -m bench --output {FOLDER} measures it")
    path = ROOT / "README.md"
    path.write_text(updated(path.read_text(), entries["throughput"]))
    print("README.md has the figures")


if __name__ == "__main__":
    run_command(run)
