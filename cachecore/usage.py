"""The command line, made of the option rows: reading it, ``-h``, and the README's table of options.

``python -m cachecore.usage`` prints the table.
"""

from __future__ import annotations

import getopt
import textwrap
from collections.abc import Sequence
from enum import Enum
from typing import Any, Final, NamedTuple

from .errors import EXIT_FAILURE, EXIT_USAGE, SettingsError
from .settings import OPTIONS, Settings
from .version import MEMCACHED_VERSION, package_version

README_BEGIN: Final = "<!-- options -->"
README_END: Final = "<!-- /options -->"


class Action(Enum):
    """An option that prints something and ends; its value is (letter, long option, help text)."""

    HELP = ("h", "help", "print this help and exit")
    LICENSE = ("i", "license", "print the license and exit")
    VERSION = ("V", "version", "print the version and exit")


#: memcached's options that this version does not have: letter, long option, whether a value follows.
UNAVAILABLE: Final = (
    ("A", "enable-shutdown", False),
    ("B", "protocol", True),
    ("d", "daemon", False),
    ("D", "", True),
    ("e", "memory-file", True),
    ("F", "disable-flush-all", False),
    ("k", "lock-memory", False),
    ("L", "enable-largepages", False),
    ("N", "napi-ids", True),
    ("o", "extended", True),
    ("r", "enable-coredumps", False),
    ("S", "enable-sasl", False),
    ("W", "disable-watch", False),
    ("X", "disable-dumping", False),
    ("Y", "auth-file", True),
    ("Z", "enable-ssl", False),
)


class CommandLine(NamedTuple):
    """What a command line asks for: an action, or a server with these settings."""

    settings: Settings
    action: Action | None
    ignored: tuple[str, ...]  # words that belong to no option; memcached ignores them, too


def parse_argv(argv: Sequence[str]) -> CommandLine:
    """Read the words after the program's name in getopt's manner (``-p11211``, ``-vvp 11211``, ``--port=1``).

    A value may begin with blanks, so ``"-p 11211"`` as one word means what it seems to mean.

    Raises:
        SettingsError: an option is unknown, not available, lacks its value or has a wrong one.
    """
    options = {flag: row for row in OPTIONS for flag in _flags(row.short, row.long)}
    actions = {flag: action for action in Action for flag in _flags(*action.value[:2])}
    unavailable = {flag for letter, long, _ in UNAVAILABLE for flag in _flags(letter, long)}
    given, ignored = _getopt(argv)
    values: dict[str, Any] = {}
    for flag, text in given:
        if flag in actions:
            return CommandLine(Settings(), actions[flag], ())
        if flag in unavailable:
            raise SettingsError(f"{flag} is not available in this version of cachecore", EXIT_USAGE)
        row = options[flag]
        value = text.lstrip()
        values[row.name] = row.read(value, values.get(row.name, row.default), f"{flag} {value}".rstrip())
    return CommandLine(Settings(**values), None, tuple(ignored))


def _flags(letter: str, long: str) -> list[str]:
    return [flag for flag, name in ((f"-{letter}", letter), (f"--{long}", long)) if name]


def _getopt(argv: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
    known = [(row.short, row.long, bool(row.metavar)) for row in OPTIONS]
    known += [(*action.value[:2], False) for action in Action]
    known += UNAVAILABLE
    letters = "".join(letter + ":" * valued for letter, _, valued in known if letter)
    longs = [long + "=" * valued for _, long, valued in known if long]
    try:
        return getopt.gnu_getopt(list(argv), letters, longs)
    except getopt.GetoptError as error:
        flag = error.msg.split()[1]  # "option --port requires argument"
        text = f'Illegal argument "{flag}"\n{error.msg}; see cachecore -h'
        raise SettingsError(text, EXIT_FAILURE) from None


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
        default = f" (default: {row.shown})" if row.shown else ""
        lines += _help_rows(row.short, row.long, row.metavar, row.help + default)
    for action in Action:
        letter, long, text = action.value
        lines += _help_rows(letter, long, "", text)
    return "\n".join(lines)


def _help_rows(letter: str, long: str, metavar: str, text: str) -> list[str]:
    indent = " " * 30
    value = f"=<{metavar}>" if metavar else ""
    flags = ", ".join(_flags(letter, long)) + value
    return textwrap.fill(text, 100, initial_indent=f"{flags:<29} ", subsequent_indent=indent).splitlines()


def license_text() -> str:
    """What ``-i`` prints."""
    from importlib import metadata

    try:
        text = metadata.distribution("cachecore").read_text("licenses/LICENSE")
    except metadata.PackageNotFoundError:
        text = None
    return f"{version_text()}\n\n{text or 'MIT License'}".rstrip()


def markdown_table() -> str:
    """The options as the table that stands in README.md between its two markers."""

    def line(letter: str, long: str, metavar: str, text: str, shown: str) -> str:
        flags = ", ".join(f"`{flag}`" for flag in _flags(letter, long))
        value = f" *{metavar}*" if metavar else ""
        return f"| {flags}{value} | {shown} | {text} |"

    lines = ["| option | default | meaning |", "|---|---|---|"]
    lines += [line(row.short, row.long, row.metavar, row.help, row.shown) for row in OPTIONS]
    lines += [line(*action.value[:2], "", action.value[2], "") for action in Action]
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown_table())
