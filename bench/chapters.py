"""The chapters of the bench's report: which there are, how one is run, and how a report is made of their results.

A chapter is a module of this package with three functions: ``measure(short, say)`` returns a result for JSON,
``markdown(result)`` its text, which begins with ``## ``, and ``plot(result, directory)`` the files that it has drawn.
"""

from __future__ import annotations

import importlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from bench import facts
from bench.errors import BenchError, MissingTool

Say = Callable[[str], None]


@dataclass(frozen=True)
class Chapter:
    """One module, what it needs, and about how long it takes: the basis of the time that is said to be left."""

    name: str
    short: float  # seconds
    full: float
    needs: tuple[str, ...] = ()  # programs without which it cannot run

    def seconds(self, short: bool) -> float:
        """How long it takes, about."""
        return self.short if short else self.full


CHAPTERS = (
    Chapter("throughput", short=35, full=720),
    Chapter("latency", short=20, full=720, needs=("memcached",)),
    Chapter("hits", short=10, full=360, needs=("memcached",)),
    Chapter("memory", short=20, full=90, needs=("memcached",)),
    Chapter("scaling", short=10, full=60),
    Chapter("embedded", short=15, full=60),
    Chapter("callgrind", short=12, full=60, needs=("valgrind", "callgrind_control")),
)


def select(names: list[str]) -> list[Chapter]:
    """The chapters of these names, in the report's order; all of them without any."""
    known = [chapter.name for chapter in CHAPTERS]
    if unknown := [name for name in names if name not in known]:
        raise BenchError(f"unknown chapter {', '.join(unknown)}: there are {', '.join(known)}")
    return [chapter for chapter in CHAPTERS if not names or chapter.name in names]


def module(chapter: Chapter) -> ModuleType:
    """The chapter's module; MissingTool when a program or library that it needs is not there."""
    if missing := [program for program in chapter.needs if shutil.which(program) is None]:
        raise MissingTool(f"not installed: {', '.join(missing)}")
    try:
        return importlib.import_module(f"bench.{chapter.name}")
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith(("bench", "cachecore")):
            raise BenchError(f"there is no {error.name}: is this checkout built?") from None
        raise MissingTool(f"not installed: {error.name}") from None


def run(chapter: Chapter, short: bool, command: str, say: Say) -> dict:
    """Measure one chapter: its entry in the report, which says why when there is no result."""
    started = time.monotonic()
    entry = facts.about(command)
    try:
        entry["result"] = module(chapter).measure(short, say)
    except MissingTool as error:
        entry["skipped"] = str(error)
    except BenchError as error:
        entry["failed"] = str(error)
    if reason := entry.get("skipped") or entry.get("failed"):
        say(f"not run: {reason}")
    entry["seconds"] = round(time.monotonic() - started)
    return entry


def run_all(chapters: list[Chapter], short: bool, command: str, say: Say) -> dict[str, dict]:
    """Measure ``chapters`` one after the other; ``say`` hears of each line when it was said and what time is left."""
    started = time.monotonic()
    entries = {}
    for number, chapter in enumerate(chapters):
        ends = sum(later.seconds(short) for later in chapters[number:]) + time.monotonic() - started

        def tell(line: str, name: str = chapter.name, ends: float = ends) -> None:
            gone = time.monotonic() - started
            say(f"[{clock(gone)}, about {clock(max(ends - gone, 0))} left] {name}: {line}")

        tell("begins")
        entries[chapter.name] = run(chapter, short, command, tell)
    return entries


def clock(seconds: float) -> str:
    """Minutes and seconds, rounded."""
    return f"{round(seconds) // 60}:{round(seconds) % 60:02}"


def text_of(name: str, entry: dict, pictures: list[str]) -> str:
    """One chapter's part of the report; pictures that its own text does not show follow its heading."""
    versions = ", ".join(f"{program} {version}" for program, version in entry["versions"].items())
    origin = f"`{entry['command']}`, {entry['date']}, in {entry['seconds']} s; {entry['machine']}; {versions}."
    if "result" not in entry:
        return f"## {name.capitalize()}\n\nNot run: {entry.get('skipped') or entry.get('failed')}.\n"
    heading, _, body = importlib.import_module(f"bench.{name}").markdown(entry["result"]).partition("\n")
    images = [f"![{picture.removesuffix('.svg')}]({picture})" for picture in pictures if f"({picture})" not in body]
    return "\n\n".join([heading, *images, body.strip(), f"Measured by {origin}"]) + "\n"


def draw(name: str, entry: dict, directory: Path) -> list[str]:
    """Draw one chapter's pictures; their names in ``directory``."""
    if "result" not in entry:
        return []
    paths = importlib.import_module(f"bench.{name}").plot(entry["result"], directory)
    return [path.relative_to(directory).as_posix() for path in paths]


def markdown(entries: dict[str, dict], pictures: dict[str, list[str]]) -> str:
    """The whole report, in the order of the chapters."""
    texts = [
        text_of(chapter.name, entries[chapter.name], pictures.get(chapter.name, []))
        for chapter in CHAPTERS
        if chapter.name in entries
    ]
    return "\n".join(["# What the bench measured\n", *texts])


def dumps(value: object, indent: int = 0, width: int = 110) -> str:
    """JSON that people can read: a line for each member of a large object, and for each item of a large array."""
    flat = json.dumps(value)
    if len(flat) + indent <= width or not isinstance(value, dict | list):
        return flat
    inner = " " * (indent + 1)
    if isinstance(value, dict):
        lines = [f"{inner}{json.dumps(key)}: {dumps(item, indent + 1, width)}" for key, item in value.items()]
        return "{\n" + ",\n".join(lines) + "\n" + " " * indent + "}"
    if any(isinstance(item, dict | list) for item in value):
        return "[\n" + ",\n".join(inner + json.dumps(item) for item in value) + "\n" + " " * indent + "]"
    return flat


def load(path: Path) -> dict[str, dict]:
    """The chapters of a report that was written before; none when there is no such file."""
    try:
        return json.loads(path.read_text())["chapters"]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchError(f"{path}: {error!r}") from None


def write(entries: dict[str, dict], directory: Path, *, plots: bool) -> str:
    """Write report.json, report.md and the pictures to ``directory``; the text of report.md."""
    directory.mkdir(parents=True, exist_ok=True)
    ordered = {chapter.name: entries[chapter.name] for chapter in CHAPTERS if chapter.name in entries}
    (directory / "report.json").write_text(dumps({"chapters": ordered}) + "\n")
    pictures = {name: draw(name, entry, directory) for name, entry in ordered.items()} if plots else {}
    text = markdown(ordered, pictures)
    (directory / "report.md").write_text(text)
    return text
