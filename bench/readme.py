"""``python -m bench.readme``: put the figures of docs/performance/report.json into the project's README."""

from __future__ import annotations

from pathlib import Path

from bench import chapters, embedded, report
from bench.errors import BenchError, run_command

ROOT = Path(__file__).parent.parent
FOLDER = "docs/performance"
#: What the README has of the report's rows: one of each kind, those in which all servers are near the limit, too.
ROWS = (
    "get-p1-32",
    "get-p16-32",
    "set-p16-32",
    "multiget100-32",
    "set-p16-32-full",
    "get-p16-1k",
    "get-p1-500k",
)


def came_from(entry: dict) -> str:
    """Command, date, machine and version of a chapter's entry in a report; the servers' stand in its table."""
    ours = ("cachecore", "Python")
    versions = ", ".join(f"{name} {version}" for name, version in entry["versions"].items() if name in ours)
    return f"`{entry['command']}`, {entry['date']}; {entry['machine']}; {versions}."


def throughput_part(entry: dict) -> str:
    """The table, the picture, and where they come from, of the throughput chapter's entry in a report."""
    result = entry["result"]
    named = [name for name in ROWS if name in result["titles"]]
    newer = any(row.server == "memcached-new" for row in report.rows_of(result))
    table = report.overview(result, named, without={"memcached"} if newer else ())
    parts = [
        table,
        *(note for note in report.notes(result) if note.startswith("[1]") and "[1]" in table),
        f"![CPU time per operation and operations per second]({FOLDER}/overview.svg)",
        came_from(entry),
    ]
    return "\n\n".join(parts) + "\n"


def embedded_part(entry: dict) -> str:
    """What one thread takes for small and middling values in each cache, and where the figures come from."""
    table = embedded.table(entry["result"], [(size, 1) for size in embedded.VALUES[:2]])
    return f"{table}\n\n{came_from(entry)}\n"


#: What stands between the marks of each chapter.
PARTS = {"throughput": throughput_part, "embedded": embedded_part}


def updated(text: str, entries: dict[str, dict]) -> str:
    """The README's text with the figures of each chapter between its two marks."""
    for name, part in PARTS.items():
        if "result" not in entries.get(name, {}):
            raise BenchError(f"no {name} in {FOLDER}/report.json: python -m bench --output {FOLDER} measures it")
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        if text.count(begin) != 1 or text.count(end) != 1:
            raise BenchError(f"README.md: there have to be the marks {begin.strip()} and {end}, once")
        before, rest = text.split(begin)
        text = before + begin + part(entries[name]) + end + rest.split(end)[1]
    return text


def run(arguments: list[str]) -> None:
    """Rewrite README.md."""
    if arguments:
        raise BenchError("bench.readme takes no options")
    path = ROOT / "README.md"
    path.write_text(updated(path.read_text(), chapters.load(ROOT / FOLDER / "report.json")))
    print("README.md has the figures")


if __name__ == "__main__":
    run_command(run)
