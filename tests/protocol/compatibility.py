"""docs/compatibility.md, made of the inventory and of what the suite's rows show.

``python -m tests.protocol.compatibility`` prints the page once everything has been held against live servers:
cachecore, and Debian's memcached where it is installed. With ``--check`` it says whether the file is up to date.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from cachecore.version import MEMCACHED_VERSION
from tests.protocol import evidence
from tests.protocol.evidence import ROWS, counting, summed
from tests.support import compatibility as inventory
from tests.support import peers
from tests.support.compatibility import ABSENT, Command, Entry, Field, Line, Option, Verdict

PAGE = Path(__file__).resolve().parents[2] / "docs" / "compatibility.md"
COMMAND = "python -m tests.protocol.compatibility"

#: The two that cachecore is compared with: the model, and the one at hand.
MODEL = MEMCACHED_VERSION
OLDER = peers.MEMCACHED_VERSION.decode()

INTRO = """\
# Compatibility with memcached {model}

What memcached {model} has, and how cachecore stands to it. `{command}` makes this page, and
fails where cachecore does not do what it says.

- **Commands.** A row of the suite in [tests/protocol](../tests/protocol) is a request and the bytes that cachecore has
  to answer: those of {model}, unless it departs on purpose. Every row is run against cachecore and against a live
  memcached {older}, Debian's, which answers otherwise where it is older, or where cachecore departs, as
  [differences.py](../tests/support/differences.py) says. {model} itself is not run; its replies are written down in the
  rows.

  There are {rows:,} rows: {like_current:,} of cachecore's replies are those of {model}, {like_older:,} of {older}.
  The columns of numbers say the same for each command; a row that sends several commands counts for each, and one that
  departs only for what it is about.
- **Options** are given to cachecore and to memcached {older} in each of their spellings; giving a default has to change
  nothing.
- **Statistics, lines of watch, signals, environment** are those of a live server. The names of the statistics, their
  order and the format of the values are compared with those of {older}, and the settings by value, too."""


# ---- Markdown


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; columns whose head ends with a colon hold numbers."""
    under = "".join("|--:" if head.endswith(":") else "|---" for head in heads) + "|"
    above, *others = ("| " + " | ".join(cells) + " |" for cells in ([head.rstrip(":") for head in heads], *rows))
    return "\n".join([above, under, *others])


def code(text: str) -> str:
    return f"`{text}`"


def shown(entry: Entry) -> str:
    """Its verdict."""
    return entry.verdict.name.lower()


def section(title: str, *parts: str, level: int = 2) -> str:
    return "\n\n".join([f"{'#' * level} {title}", *parts])


# ---- the tables


def of_commands(head: str, commands: Sequence[Command]) -> str:
    """Commands with the numbers of their rows; the fields of a list are in a table of their own."""

    def line(command: Command) -> list[str]:
        name = command.name if command in inventory.RULES else code(command.name)
        rows = counting(command)
        if command.lists:
            numbers = ["[fields](#statistics)", "", ""]
        else:
            numbers = [f"{number:,}" if rows else "" for number in summed(rows)]
        return [name, shown(command), *numbers, command.how]

    return table([head, "verdict", "rows:", f"{MODEL}:", f"{OLDER}:", "note"], map(line, commands))


def of_options(options: Sequence[Option], absent: Sequence[Option]) -> str:
    """What is there one by one; what is absent by the reason."""
    rows = [[written(option), shown(option), option.note] for option in options]
    return table(["option", "verdict", "note"], [*rows, *grouped(absent)])


def grouped(entries: Iterable[Option | Field]) -> Iterator[list[str]]:
    """Neighbours with the same verdict and the same note on one line."""
    for (_, note), group in itertools.groupby(entries, key=lambda entry: (entry.verdict, entry.note)):
        same = list(group)
        yield [", ".join(map(written, same)), shown(same[0]), note]


def written(entry: Entry) -> str:
    """The names of an entry; a value that is refused goes with its option."""
    refused = isinstance(entry, Option) and entry in inventory.NO_OPTIONS and entry.value
    return ", ".join(code(f"{name} {entry.value}" if refused else name) for name in entry.name.split(", "))


def of_statistics(name: str, fields: Sequence[Field]) -> str:
    absent = [Field(", ".join(names.split()), ABSENT, note) for names, note in inventory.NO_FIELDS.get(name, ())]
    command = "stats" if name == "general" else f"stats {name}"
    return section(command, table(["field", "verdict", "note"], grouped([*fields, *absent])), level=3)


def of_watch() -> str:
    def line(one: Line) -> list[str]:
        return [code(one.watched), written(one) if one not in inventory.QUIET_WORDS else "", shown(one), one.note]

    lines = (*inventory.LINES, *inventory.QUIET_WORDS, *inventory.NO_LINES)
    return table(["word", "line", "verdict", "note"], map(line, lines))


def plain(head: str, entries: Iterable[Entry]) -> str:
    return table([head, "verdict", "note"], ([written(entry), shown(entry), entry.note] for entry in entries))


def page() -> str:
    """The whole page."""
    intro = INTRO.format(model=MODEL, older=OLDER, command=COMMAND, **summed(ROWS)._asdict())
    legend = table(["verdict", "meaning"], ([verdict.name.lower(), verdict.value] for verdict in Verdict))
    features = table(["feature", "why"], ([entry.name, entry.note] for entry in inventory.FEATURES))
    beyond = table(["what", "note"], ([written(entry), entry.note] for entry in inventory.BEYOND))
    parts = [
        intro,
        section("Legend", legend),
        section("Absent features", features),
        section("Rules for all commands", of_commands("rule", inventory.RULES)),
        section("Classic commands", of_commands("command", inventory.CLASSIC)),
        section(
            "Meta commands",
            of_commands("command", inventory.META),
            "Their flags, and what a reply to `mg` says of a lease:",
            of_commands("flag", [*inventory.FLAGS, *inventory.RETURNED]),
        ),
        section(
            "Commands about the server",
            of_commands("command", inventory.ADMIN),
            "Not there, and answered by `ERROR`:",
            plain("command", inventory.NO_COMMANDS),
        ),
        section(
            "Options",
            "A value must be a number where memcached takes any text for 0.",
            of_options(inventory.OPTIONS, inventory.NO_OPTIONS),
        ),
        section("Suboptions of -o", of_options(inventory.SUBOPTIONS, inventory.NO_SUBOPTIONS)),
        section("Environment", plain("variable", inventory.ENVIRONMENT)),
        section("Signals", plain("signal", inventory.SIGNALS)),
        section("Statistics", *(of_statistics(name, fields) for name, fields in inventory.SECTIONS.items())),
        section("What watch tells", of_watch()),
        section("Only in cachecore", beyond),
    ]
    return "\n\n".join(parts) + "\n"


#: What is held against cachecore alone.
CHECKS = (
    evidence.check_commands,
    evidence.check_absent_commands,
    evidence.check_options,
    evidence.check_options_are_all,
    evidence.check_statistics,
    evidence.check_watch,
    evidence.check_memory_file,
    evidence.check_signals_and_environment,
)


def check_all() -> None:
    """Hold everything against live servers. Raises AssertionError."""
    for check in CHECKS:
        check()
    evidence.check_rows(peers.CACHECORE)
    if shutil.which("memcached") is None:
        print("without memcached, which is not installed", file=sys.stderr)
        return
    evidence.check_rows(peers.MEMCACHED)
    evidence.check_options_of_memcached()
    for suboptions in (evidence.ALL_SHOWN, *evidence.FEWER_SHOWN):
        evidence.check_statistics_of_memcached(suboptions)


def main() -> int:
    """The exit status: 1 when the file is out of date."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the file instead of printing the page")
    compare = parser.parse_args().check
    check_all()
    if not compare:
        print(page(), end="")
        return 0
    fresh = PAGE.exists() and PAGE.read_text() == page()
    print("up to date" if fresh else f"out of date: {COMMAND} > docs/{PAGE.name}", file=sys.stderr)
    return 0 if fresh else 1


if __name__ == "__main__":
    sys.exit(main())
