"""``python -m bench.readme``: put the figures of docs/performance/report.json into the project's README."""

from __future__ import annotations

from pathlib import Path

from bench import chapters, embedded, memory, report
from bench.errors import BenchError, run_command
from bench.plots import OVERVIEW

ROOT = Path(__file__).parent.parent
FOLDER = "docs/performance"


def came_from(entry: dict) -> str:
    """Command, date, machine and version of a chapter's entry in a report; the servers' stand in its table."""
    ours = ("cachecore", "Python")
    versions = ", ".join(f"{name} {version}" for name, version in entry["versions"].items() if name in ours)
    return f"`{entry['command']}`, {entry['date']}; {entry['machine']}; {versions}."


def throughput_part(entry: dict) -> str:
    """The table, the picture, and where they come from, of the throughput chapter's entry in a report."""
    result = entry["result"]
    named = [name for name in OVERVIEW if name in result["titles"]]
    table = report.overview(result, named, without=report.superseded(result))
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


def memory_part(entry: dict) -> str:
    """What an item takes, small ones and mixed sizes, and the process."""
    result = entry["result"]
    each = {name: [servers[name]["resident"] for servers in result["beyond"].values()] for name in memory.SERVERS}
    ours, theirs = (" and ".join(dict.fromkeys(f"{figure:.0f}" for figure in each[name])) for name in memory.SERVERS)
    ratios = [memory.mixed_ratio(mixed, "resident") for mixed in result["mixed"]]
    empty = [result["mixed"][0]["servers"][name]["empty"] / 1e6 for name in memory.SERVERS]
    return (
        f"`{entry['command']}`: a million items with {result['key']}-byte keys and values of "
        f"{' or '.join(result['beyond'])} bytes take {ours} bytes each beyond key and value; memcached takes {theirs}. "
        f"Values of mixed sizes, {memory.SMALLEST} to {memory.LARGEST} bytes, take {min(ratios):.2f} to "
        f"{max(ratios):.2f} of what they take in memcached. The process without items has {empty[0]:.0f} MB, "
        f"memcached's {empty[1]:.0f}.\n"
    )


#: What stands between the marks of each chapter.
PARTS = {"throughput": throughput_part, "memory": memory_part, "embedded": embedded_part}


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
