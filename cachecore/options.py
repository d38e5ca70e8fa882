"""The machinery of an option: how its text is read, what it accepts, and how it shows in ``stats settings``.

The rows themselves are in ``settings`` and ``extended``; ``usage`` makes of them the command line, ``-h`` and the
tables of docs/reference/options.md.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

from .errors import EXIT_FAILURE, EXIT_USAGE, SettingsError

#: How a value is written in ``stats settings``, by the field's name there.
Stats = Mapping[str, Callable[[Any], "int | str"]]

KIBIBYTE: Final = 1 << 10
MEBIBYTE: Final = 1 << 20

_SIZE_UNITS: Final = {"k": KIBIBYTE, "m": MEBIBYTE}


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """How the values of an option are read and checked."""

    read: Callable[[str, Any], Any]  # text and the value so far -> value; ValueError: not readable
    accepts: Callable[[Any], bool]  # type and range of a value
    refusal: str | Callable[[object], str]  # the message for everything else, memcached's where it has one
    status: int = EXIT_USAGE  # of the process that was given such a value
    literal: Callable[[Any], str] = repr  # how Python's programmers write a value

    def refused(self, value: object, shown: str) -> SettingsError:
        """The error for ``value``, which the user wrote as ``shown``."""
        text = self.refusal if isinstance(self.refusal, str) else self.refusal(value)
        return SettingsError(f"{text} ({shown})", self.status)


@dataclasses.dataclass(frozen=True, slots=True)
class Option:
    """One row: an option of the command line which is also a keyword of ``Settings`` and ``Server``."""

    name: str  # memcached's long option, with underscores
    short: str  # its letter, or "" where there is none
    metavar: str  # what its value is called, or "" for a switch
    default: Any
    kind: Kind
    help: str
    shown: str  # the default as the user reads it, "" where there is nothing to say
    stats: Stats
    hidden: bool  # accepted, but not in -h, where tools look for what a server can do
    suboption: bool  # one of -o's
    words: Mapping[str, Any]  # of -o: what a word without a value sets this to
    missing: str  # the message when a suboption lacks its value
    keyword: str = ""  # the help where it is a keyword, if that differs

    @property
    def long(self) -> str:
        """The long option without its dashes."""
        return self.name.replace("_", "-")

    def checked(self, value: object, shown: str) -> Any:
        """``value``, if its type and range are right; else SettingsError names ``shown``.

        None means not given, where that is the default. An option with several values takes a list, too, and one that
        is no text takes the command line's form of it: "1m" for a size.
        """
        if value is None and self.default is None:
            return None
        if isinstance(value, str) and self.metavar and isinstance(self.default, (tuple, int)):
            return self.read(value, (), shown)
        value = tuple(value) if isinstance(value, list) else value
        if not self.kind.accepts(value):
            raise self.kind.refused(value, shown)
        return value

    def read(self, text: str, before: object, shown: str) -> Any:
        """The value that ``text`` means after ``before``; SettingsError names ``shown``."""
        try:
            value = self.kind.read(text, before)
        except ValueError:
            raise self.kind.refused(text, shown) from None
        return self.checked(value, shown)


def option(
    short: str,
    metavar: str,
    default: Any,
    kind: Kind,
    text: str,
    *,
    shown: str | None = None,
    stats: Stats | None = None,
    hidden: bool = False,
    keyword: str = "",
) -> Any:
    """A field of ``Settings`` with its row; the row's name is the field's."""
    row = {"short": short, "metavar": metavar, "kind": kind, "help": text, "stats": stats or {}, "hidden": hidden}
    return _field(default, shown, row | {"suboption": False, "words": {}, "missing": "", "keyword": keyword})


def suboption(
    metavar: str,
    default: Any,
    kind: Kind,
    text: str,
    *,
    words: Mapping[str, Any] | None = None,
    missing: str = "Missing {} argument",
    shown: str | None = None,
    stats: Stats | None = None,
) -> Any:
    """The same for a suboption of ``-o``; ``{}`` in ``words`` and ``missing`` stands for its name."""
    row = {"short": "", "metavar": metavar, "kind": kind, "help": text, "stats": stats or {}, "hidden": False}
    return _field(default, shown, row | {"suboption": True, "words": words or {}, "missing": missing})


def toggle(default: bool, text: str, *, words: Mapping[str, bool] | None = None, stats: Stats | None = None) -> Any:
    """A suboption that is on by its name and off by its name behind ``no_``, unless ``words`` are given."""
    words = {"{}": True, "no_{}": False} if words is None else words
    shown = "on" if words.get("{}") and default else ""
    return suboption("", default, switch(), text, words=words, shown=shown, stats=stats)


def _field(default: Any, shown: str | None, row: dict[str, Any]) -> Any:
    if shown is None:
        shown = "" if default is None or isinstance(default, bool) else str(default)
    return dataclasses.field(default=default, metadata={**row, "shown": shown})


def rows(settings: type) -> tuple[Option, ...]:
    """The rows of a class whose fields were made with the functions above."""

    def row(name: str, default: Any, metadata: Mapping[str, Any]) -> Option:
        words = {word.format(name): value for word, value in metadata["words"].items()}
        own = {"words": words, "missing": metadata["missing"].format(name)}
        return Option(name=name, default=default, **{**metadata, **own})

    return tuple(row(field.name, field.default, field.metadata) for field in dataclasses.fields(settings))


def whole(low: int, high: int, refusal: str | Callable[[object], str], status: int = EXIT_USAGE) -> Kind:
    """Whole numbers from ``low`` to ``high``."""
    return Kind(lambda text, _: _whole(text), lambda value: _is_whole(value, low, high), refusal, status)


def whole_list(separator: str, refusal: str) -> Kind:
    """A tuple of whole numbers; a text has them with a separator between."""

    def read(text: str, _: object) -> tuple[int, ...]:
        return tuple(map(_whole, text.split(separator)))

    def accepts(value: object) -> bool:
        return isinstance(value, tuple) and all(type(number) is int for number in value)

    return Kind(read, accepts, refusal)


def octal(low: int, high: int, refusal: str) -> Kind:
    """Whole numbers, written in octal on the command line."""

    def read(text: str, _: object) -> int:
        return int(text, 8) if text.isdecimal() else _unreadable()

    return Kind(read, lambda value: _is_whole(value, low, high), refusal, literal=oct)


def size(low: int, high: int, refusal: str) -> Kind:
    """Bytes; on the command line with a suffix k or m for KiB and MiB."""

    def read(text: str, _: object) -> int:
        unit = _SIZE_UNITS.get(text[-1:].lower())
        return _whole(text) if unit is None else _whole(text[:-1]) * unit

    return Kind(read, lambda value: _is_whole(value, low, high), refusal)


def ratio(low: float, high: float, refusal: str) -> Kind:
    """Finite numbers above ``low`` and up to ``high``."""

    def accepts(value: object) -> bool:
        if not isinstance(value, int | float) or isinstance(value, bool):
            return False
        return math.isfinite(value) and low < value <= high

    return Kind(lambda text, _: float(text), accepts, refusal, EXIT_FAILURE)


def choice(allowed: tuple[str, ...], refusal: str | Callable[[object], str], status: int = EXIT_USAGE) -> Kind:
    """One of these words."""
    return Kind(lambda text, _: text, lambda value: value in allowed, refusal, status)


def character(refusal: str) -> Kind:
    """One byte that is neither blank nor a control character."""

    def accepts(value: object) -> bool:
        code = os.fsencode(value) if isinstance(value, str) else b""
        return len(code) == 1 and code[0] > 0x20 and code[0] != 0x7F

    return Kind(lambda text, _: text, accepts, refusal, EXIT_FAILURE)


def words(what: str) -> Kind:
    """Any text but the empty one; ``what`` it is, the message begins with."""
    return Kind(lambda text, _: text or _unreadable(), _is_words, partial(_no_words, what))


def word_list(separators: str, what: str) -> Kind:
    """A tuple of words; on the command line the option may be repeated, and one text may hold several."""

    def read(text: str, before: tuple[str, ...]) -> tuple[str, ...]:
        for separator in separators:
            text = text.replace(separator, " ")
        return tuple(dict.fromkeys((*before, *(text.split() or _unreadable()))))

    return Kind(read, lambda value: isinstance(value, tuple) and all(map(_is_words, value)), partial(_no_words, what))


def switch() -> Kind:
    """Off until it is given."""
    return Kind(lambda *_: True, lambda value: isinstance(value, bool), "This option is either on or off")


def level(refusal: str) -> Kind:
    """A count of how often the switch was given."""
    return Kind(lambda _, before: before + 1, lambda value: _is_whole(value, 0, 1 << 31), refusal)


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.lstrip("+-").isdecimal() else _unreadable()


def _is_whole(value: object, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _is_words(value: object) -> bool:
    return isinstance(value, str) and value != "" and "\0" not in value


def _no_words(what: str, value: object) -> str:
    several = value if isinstance(value, (list, tuple)) else (value,)
    if not all(isinstance(word, str) for word in several):
        return f"{what} must be text"
    return f"{what} must {'have no NUL in it' if any(chr(0) in word for word in several) else 'not be empty'}"


def size_text(nbytes: int) -> str:
    """A size as ``-I`` takes it: 4m, 512k or bytes."""
    for suffix, unit in reversed(_SIZE_UNITS.items()):
        if nbytes % unit == 0:
            return f"{nbytes // unit}{suffix}"
    return str(nbytes)


def _unreadable() -> Any:
    raise ValueError


def likely(word: str, known: Iterable[str], otherwise: str) -> str:
    """What follows the name of an option that there is not: those that it may stand for, or where to look."""
    from difflib import get_close_matches  # for this alone

    meant = get_close_matches(word, known, n=2, cutoff=0.75)
    return f"; is it {' or '.join(meant)}?" if meant else f"; see {otherwise}"
