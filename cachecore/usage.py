"""The command line, made of the option rows: reading it, ``-h``, and the tables of docs/reference/options.md.

``python -m cachecore.usage`` prints the tables.
"""

from __future__ import annotations

import getopt
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, Final, NamedTuple

from .errors import EXIT_FAILURE, EXIT_USAGE, SettingsError
from .extended import ABSENT, FORGOTTEN, PRESETS, Extended
from .options import Option, likely
from .settings import OPTIONS, SUBOPTIONS, Settings
from .version import MEMCACHED_VERSION, package_version


class Action(Enum):
    """An option that prints something and ends; its value is (letter, long option, help text)."""

    HELP = ("h", "help", "print this help and exit")
    LICENSE = ("i", "license", "print the license and exit")
    VERSION = ("V", "version", "print the version and exit")


#: The option whose value is a list of suboptions.
EXTENDED: Final = ("o", "extended", "list", "suboptions, with commas between")

#: memcached's switches for what this server does not have: letter, long option, message.
REFUSED: Final = (
    ("S", "enable-sasl", "This server is not built with SASL support."),
    ("Z", "enable-ssl", "This server is not built with TLS support."),
)


#: Where the options stand.
_HELP: Final = "cachecore -h"


class CommandLine(NamedTuple):
    """What a command line asks for: an action, or a server with these settings."""

    settings: Settings
    action: Action | None
    remarks: tuple[str, ...]  # lines for the user: what has no effect


def parse_argv(argv: Sequence[str]) -> CommandLine:
    """Read the words after the program's name in getopt's manner (``-p11211``, ``-vvp 11211``, ``--port=1``).

    A value may begin with blanks, so ``"-p 11211"`` as one word means what it seems to mean.

    Raises:
        SettingsError: an option is unknown, not available, lacks its value or has a wrong one.
    """
    options = {flag: row for row in OPTIONS for flag in _flags(row.short, row.long)}
    actions = {flag: action for action in Action for flag in _flags(*action.value[:2])}
    refused = {flag: message for letter, long, message in REFUSED for flag in _flags(letter, long)}
    given, surplus = _getopt(argv)
    remarks: list[str] = []
    values: dict[str, Any] = {}
    for flag, text in given:
        value = text.lstrip()
        if flag in actions:
            return CommandLine(Settings(), actions[flag], ())
        if flag in refused:
            raise SettingsError(refused[flag], EXIT_USAGE)
        if flag in _flags(*EXTENDED[:2]):
            _read_suboptions(value, values, remarks)
            continue
        row = options[flag]
        values[row.name] = row.read(value, values.get(row.name, row.default), f"{flag} {value}".rstrip())
    if surplus:
        text = f'"{surplus[0]}" belongs to no option, and there are no commands; see cachecore -h'
        raise SettingsError(text, EXIT_USAGE)
    return CommandLine(Settings(**values), None, tuple(remarks))


def _read_suboptions(text: str, values: dict[str, Any], remarks: list[str]) -> None:
    """Read a list of suboptions into ``values`` and ``remarks``; as memcached, mind no value behind a plain word."""
    by_word = {word: row for row in SUBOPTIONS for word in row.words}
    by_name = {row.name: row for row in SUBOPTIONS if row.metavar}
    for item in text.split(",") if text else ():
        word, sign, value = item.partition("=")
        if word in by_name and (sign or word not in by_word):
            if not sign:
                raise SettingsError(by_name[word].missing, EXIT_FAILURE)
            values[word] = by_name[word].read(value, None, f"-o {item}")
        elif word in by_word:
            values[by_word[word].name] = by_word[word].words[word]
        elif word in PRESETS:
            values.update(PRESETS[word])
        elif word in FORGOTTEN:
            remarks.append(FORGOTTEN[word])
        else:
            raise _illegal(item)


def _illegal(item: str) -> SettingsError:
    """The error for a suboption that is none."""
    lacks = (f": this server is without {lack}" for begin, lack in ABSENT.items() if item.startswith(begin))
    known = [word for row in SUBOPTIONS for word in {row.name, *row.words}]
    advice = next(lacks, likely(item.partition("=")[0], known, _HELP))
    return SettingsError(f'Illegal suboption "{item}"{advice}', EXIT_FAILURE)


def _flags(letter: str, long: str) -> list[str]:
    return [flag for flag, name in ((f"-{letter}", letter), (f"--{long}", long)) if name]


def _getopt(argv: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
    known = [(row.short, row.long, bool(row.metavar)) for row in OPTIONS]
    known += [(*action.value[:2], False) for action in Action]
    known += [(letter, long, False) for letter, long, _ in REFUSED]
    known.append((*EXTENDED[:2], True))
    letters = "".join(letter + ":" * valued for letter, _, valued in known if letter)
    longs = [long + "=" * valued for _, long, valued in known if long]
    try:
        return getopt.gnu_getopt(list(argv), letters, longs)
    except getopt.GetoptError as error:
        flag = error.msg.split()[1]  # "option --port requires argument"
        reason, _, _ = error.msg.partition(";")  # CPython 3.14 appends what a prefix could stand for
        names = [f"--{long}" for _, long, _ in known if long]
        begun = [name for name in names if name.startswith(flag)]
        if reason.endswith("not a unique prefix"):
            advice = f" of {', '.join(begun)}"
        elif flag.startswith("--") and not begun:
            advice = likely(flag, names, _HELP)
        else:
            advice = "; see cachecore -h"
        raise SettingsError(f'Illegal argument "{flag}": {reason}{advice}', EXIT_FAILURE) from None


def version_text() -> str:
    """What ``-V`` prints; tools look for memcached's version in the first line."""
    return f"memcached {MEMCACHED_VERSION}\ncachecore {package_version()}"


def help_text() -> str:
    """What ``-h`` prints."""
    lines = [
        f"{version_text()}: a cache daemon compatible with the memcached of the line above",
        "",
    ]
    for row in OPTIONS:
        if not row.hidden:
            value = f"=<{row.metavar}>" if row.metavar else ""
            lines += _help_rows(", ".join(_flags(row.short, row.long)) + value, row.help + _default(row))
    for action in Action:
        letter, long, text = action.value
        lines += _help_rows(", ".join(_flags(letter, long)), text)
    letter, long, metavar, text = EXTENDED
    lines += _help_rows(f"{', '.join(_flags(letter, long))}=<{metavar}>", text + ":")
    for flags, text, shown in _suboptions(lambda row: f"=<{row.metavar}>"):
        lines += _help_rows(f"   - {flags}:", text + (f" (default: {shown})" if shown else ""))
    return "\n".join(lines)


def _default(row: Option) -> str:
    return f" (default: {row.shown})" if row.shown else ""


def _suboptions(show_value: Callable[[Option], str]) -> Iterable[tuple[str, str, str]]:
    """Of each suboption, then of the presets: how it is written, what it means, its default."""
    for row in SUBOPTIONS:
        value = show_value(row) if row.metavar else ""
        if row.words.keys() == {row.name, f"no_{row.name}"}:
            flags = f"[no_]{row.name}" + (f"[{value}]" if value else "")
        else:
            flags = ", ".join([row.name + value] * bool(value) + list(row.words))
        yield flags, row.help, row.shown
    yield "modern", "what is the default already", ""
    yield "no_modern", "the manners of memcached 1.4: " + ", ".join(_assignments(PRESETS["no_modern"])), ""


def _assignments(values: Mapping[str, Any]) -> Iterable[str]:
    """Suboptions as ``-o`` takes them, with these values."""
    for name, value in values.items():
        yield {True: name, False: f"no_{name}"}[value] if isinstance(value, bool) else f"{name}={value}"


def _help_rows(flags: str, text: str) -> list[str]:
    indent = " " * 30
    return textwrap.fill(text, 100, initial_indent=f"{flags:<29} ", subsequent_indent=indent).splitlines()


def license_text() -> str:
    """What ``-i`` prints."""
    from importlib import metadata

    try:
        text = metadata.distribution("cachecore").read_text("licenses/LICENSE")
    except metadata.PackageNotFoundError:
        text = None
    return f"{version_text()}\n\n{text or 'MIT License'}".rstrip()


def markdown_tables() -> dict[str, str]:
    """The tables of docs/reference/options.md, each by the name of the markers that it stands between."""

    def line(flags: Iterable[str], metavar: str, text: str, shown: str) -> str:
        value = f" *{metavar}*" if metavar else ""
        return f"| {', '.join(f'`{flag}`' for flag in flags)}{value} | {shown} | {text} |"

    letter, long, metavar, text = EXTENDED
    options = [line(_flags(row.short, row.long), row.metavar, row.help, row.shown) for row in OPTIONS]
    options += [line(_flags(*action.value[:2]), "", action.value[2], "") for action in Action]
    options += [line(_flags(letter, long), metavar, text, "")]
    extended = [
        line(flags.split(", "), "", text, shown) for flags, text, shown in _suboptions(lambda row: f"={row.metavar}")
    ]
    types: Mapping[str, str] = {**Extended.__annotations__, **Settings.__annotations__}
    keywords = [
        f"{line([row.name], row.metavar, types[row.name].replace('|', 'or'), f'`{row.kind.literal(row.default)}`')}"
        f" {row.keyword or row.help} |"
        for row in (*OPTIONS, *SUBOPTIONS)
    ]
    tables = {
        "options": ["| option | default | meaning |", "|---|---|---|", *options],
        "extended": ["| suboption | default | meaning |", "|---|---|---|", *extended],
        "keywords": ["| keyword | default | type | meaning |", "|---|---|---|---|", *keywords],
    }
    return {name: "\n".join(lines) for name, lines in tables.items()}


if __name__ == "__main__":
    print(*markdown_tables().values(), sep="\n\n")
