"""The machinery of an option: how its text is read, what it accepts, and how it shows in ``stats settings``.

The rows themselves are in ``settings``; ``usage`` makes of them the command line, ``-h`` and README's table.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from .errors import EXIT_USAGE, SettingsError

#: How a value is written in ``stats settings``, by the field's name there.
Stats = Mapping[str, Callable[[Any], "int | str"]]

_SIZE_UNITS: Final = {"k": 1 << 10, "m": 1 << 20}


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """How the values of an option are read and checked."""

    read: Callable[[str, Any], Any]  # text and the value so far -> value; ValueError: not readable
    accepts: Callable[[Any], bool]  # type and range of a value
    refusal: str  # the message for everything else, memcached's where it has one
    status: int = EXIT_USAGE  # of the process that was given such a value


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

    @property
    def long(self) -> str:
        """The long option without its dashes."""
        return self.name.replace("_", "-")

    def checked(self, value: object, shown: str) -> Any:
        """``value``, if its type and range are right; else SettingsError names ``shown``.

        An option with several values takes a list, too, and one that is no text takes the command line's form of it:
        "1m" for a size.
        """
        if isinstance(value, str) and isinstance(self.default, (tuple, int)):
            return self.read(value, (), shown)
        value = tuple(value) if isinstance(value, list) else value
        if not self.kind.accepts(value):
            raise SettingsError(f"{self.kind.refusal} ({shown})", self.kind.status)
        return value

    def read(self, text: str, before: object, shown: str) -> Any:
        """The value that ``text`` means after ``before``; SettingsError names ``shown``."""
        try:
            value = self.kind.read(text, before)
        except ValueError:
            raise SettingsError(f"{self.kind.refusal} ({shown})", self.kind.status) from None
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
) -> Any:
    """A field of ``Settings`` with its row; the row's name is the field's."""
    if shown is None:
        shown = "" if default is None or isinstance(default, bool) else str(default)
    row = {
        "short": short,
        "metavar": metavar,
        "kind": kind,
        "help": text,
        "shown": shown,
        "stats": stats or {},
    }
    return dataclasses.field(default=default, metadata=row)


def rows(settings: type) -> tuple[Option, ...]:
    """The rows of a class whose fields were made with ``option``."""
    return tuple(
        Option(name=field.name, default=field.default, **field.metadata)
        for field in dataclasses.fields(settings)
    )


def whole(low: int, high: int, refusal: str, status: int = EXIT_USAGE) -> Kind:
    """Whole numbers from ``low`` to ``high``."""
    return Kind(lambda text, _: _whole(text), lambda value: _is_whole(value, low, high), refusal, status)


def octal(low: int, high: int, refusal: str) -> Kind:
    """Whole numbers, written in octal on the command line."""

    def read(text: str, _: object) -> int:
        return int(text, 8) if text.isdecimal() else _unreadable()

    return Kind(read, lambda value: _is_whole(value, low, high), refusal)


def size(low: int, high: int, refusal: str) -> Kind:
    """Bytes; on the command line with a suffix k or m for KiB and MiB."""

    def read(text: str, _: object) -> int:
        unit = _SIZE_UNITS.get(text[-1:].lower())
        return _whole(text) if unit is None else _whole(text[:-1]) * unit

    return Kind(read, lambda value: _is_whole(value, low, high), refusal)


def ratio_above(low: float, refusal: str, status: int) -> Kind:
    """Finite numbers above ``low``; None means the built-in default."""

    def accepts(value: object) -> bool:
        if value is None:
            return True
        return isinstance(value, int | float) and math.isfinite(value) and value > low

    return Kind(lambda text, _: float(text), accepts, refusal, status)


def words(refusal: str) -> Kind:
    """Any text but the empty one; None means not given."""
    return Kind(
        lambda text, _: text or _unreadable(), lambda value: value is None or _is_words(value), refusal
    )


def word_list(separators: str, refusal: str) -> Kind:
    """A tuple of words; on the command line the option may be repeated, and one text may hold several."""

    def read(text: str, before: tuple[str, ...]) -> tuple[str, ...]:
        for separator in separators:
            text = text.replace(separator, " ")
        return tuple(dict.fromkeys((*before, *(text.split() or _unreadable()))))

    return Kind(read, lambda value: isinstance(value, tuple) and all(map(_is_words, value)), refusal)


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


def _unreadable() -> Any:
    raise ValueError
