"""The commands that Python answers: one row each, the first row that a line fits answers it.

A row has the words that the line begins with and what may follow them. How many words are too few or too many, and
what is a number, is decided here and nowhere else. Where memcached answers a line that is nearly a command with a
text of its own, that is a further row, behind the command's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from . import stats
from .control import Control, Options
from .options import MEBIBYTE

#: What is sent; None closes the connection instead.
Reply = bytes | None

#: Words of a line beyond this one are not seen, as in the data plane.
WORDS_MAX: Final = 23

#: ``cache_memlimit`` takes megabytes between these two.
MEMORY_LIMIT_MIN: Final = 8
MEMORY_LIMIT_MAX: Final = 1_000_000_000

CLASS_MAX: Final = 63
CRAWLER_SLEEP_MAX: Final = 1_000_000
AUTOMOVE_WINDOW: Final = range(3, 1801)
LRU_PERCENT_MAX: Final = 80

_OK: Final = b"OK\r\n"
_ERROR: Final = b"ERROR\r\n"
_FORMAT: Final = b"CLIENT_ERROR bad command line format\r\n"

_REASSIGNED: Final = {
    "OK": _OK,
    "BUSY": b"BUSY currently processing reassign request\r\n",
    "BADCLASS": b"BADCLASS invalid src or dst class id\r\n",
    "NOSPARE": b"NOSPARE source class has no spare pages\r\n",
    "SAME": b"SAME src and dst class are identical\r\n",
}
_CRAWLED: Final = {
    "OK": _OK,
    "BUSY": b"BUSY currently processing crawler request\r\n",
    "BADCLASS": b"BADCLASS invalid class id\r\n",
}


# ---- arguments: the value, or ValueError


def _digits(word: bytes, longest: int, least: int, most: int) -> int:
    """Decimal digits and nothing but, ``longest`` characters with the sign and leading zeros; a lone minus is 0."""
    negative = least < 0 and word.startswith(b"-")
    digits = word[negative:]
    if len(word) > longest or not (digits.isdigit() or (negative and not digits)):
        raise ValueError(word)
    value = -int(digits or b"0") if negative else int(digits)
    if not least <= value <= most:
        raise ValueError(word)
    return value


def _int32(word: bytes) -> int:
    return _digits(word, 11, -(1 << 31), (1 << 31) - 1)


def _uint32(word: bytes) -> int:
    return _digits(word, 11, 0, (1 << 32) - 1)


def _number(word: bytes) -> float:
    """A decimal number. Infinity and NaN, which memcached takes, would make nonsense of every comparison."""
    if len(word) > 31 or not re.fullmatch(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", word):
        raise ValueError(word)
    value = float(word)
    if not math.isfinite(value) or (value == 0 and re.match(rb"[^eE]*[1-9]", word)):  # beyond what a double holds
        raise ValueError(word)
    return value


def _word(word: bytes) -> bytes:
    return word


# ---- the commands


class Admin:
    """Answers command lines. ``request_shutdown(graceful)`` has to return at once: the answer is still to be sent."""

    def __init__(self, control: Control, options: Options, request_shutdown: Callable[[bool], None]) -> None:
        self.control = control
        self.options = options
        self.request_shutdown = request_shutdown

    def answer(self, line: bytes) -> Reply:
        """The reply to a command line without its line end; empty where ``noreply`` asks for none."""
        words = [word for word in line.split(b" ") if word][:WORDS_MAX]
        reply = self._run(words)
        silent = len(words) > 1 and words[-1] == b"noreply" and words[0] != b"stats"
        return b"" if silent and reply is not None else reply

    def _run(self, words: list[bytes]) -> Reply:
        row = next((row for row in _ROWS if row.fits(words)), None)
        if row is None:
            return _ERROR
        if row.refusal is not None and (refused := row.refusal(self)) is not None:
            return refused
        try:
            arguments = row.values(words)
        except ValueError:
            return row.malformed
        return row.run(self, *arguments)


_Refusal = Callable[[Admin], Reply]


class _Row(NamedTuple):
    """A command. ``run`` gets the dispatcher and a value for each argument."""

    words: tuple[bytes, ...]
    arguments: tuple[Callable[[bytes], Any], ...]
    run: Callable[..., Reply]
    malformed: bytes  # the reply when an argument is none
    surplus: bool  # whether further words do no harm
    refusal: _Refusal | None  # a reply instead, whatever the arguments are; None: go on

    def fits(self, words: list[bytes]) -> bool:
        wanted = len(self.words) + len(self.arguments)
        enough = len(words) >= wanted if self.surplus else len(words) == wanted
        return enough and tuple(words[: len(self.words)]) == self.words

    def values(self, words: list[bytes]) -> list[Any]:
        """Raises ValueError."""
        return [read(word) for read, word in zip(self.arguments, words[len(self.words) :], strict=False)]


def _row(
    command: str,
    run: Callable[..., Reply],
    *arguments: Callable[[bytes], Any],
    malformed: bytes = _ERROR,
    exact: bool = False,
    refusal: _Refusal | None = None,
) -> _Row:
    return _Row(tuple(command.encode().split()), arguments, run, malformed, not exact, refusal)


def _unless(allowed: Callable[[Admin], bool], refused: bytes) -> _Refusal:
    return lambda admin: None if allowed(admin) else refused


def _always(reply: bytes) -> Callable[[Admin], Reply]:
    return lambda _: reply


# slabs


def _reassign(admin: Admin, source: int, target: int) -> Reply:
    return _REASSIGNED[admin.control.slabs_reassign(source, target)]


def _automove(admin: Admin, mode: int) -> Reply:
    if mode > 2:
        return _ERROR
    admin.control.set_automove(mode)
    return _OK


def _automove_ratio(admin: Admin, ratio: float) -> Reply:
    admin.control.set_automove_ratio(ratio)
    return _OK


def _automove_freeratio(_: Admin, __: float) -> Reply:
    """It is about memory for an external store, which is not here."""
    return _OK


def _automove_window(admin: Admin, looks: int) -> Reply:
    if looks not in AUTOMOVE_WINDOW:
        return b"CLIENT_ERROR automove window too low or too high\r\n"
    admin.control.set_automove_window(looks)
    return _OK


# lru


def _lru_flat(admin: Admin) -> Reply:
    admin.control.set_lru_policy("flat")
    return _OK


def _lru_segmented(admin: Admin) -> Reply:
    admin.control.set_lru_policy("segmented")
    return _OK


def _lru_s3fifo(admin: Admin) -> Reply:
    admin.control.set_lru_policy("s3fifo")
    return _OK


def _lru_tune(admin: Admin, hot: int, warm: int, hot_factor: float, warm_factor: float) -> Reply:
    if hot + warm > LRU_PERCENT_MAX:
        return b"ERROR hot and warm pcts must not exceed 80\r\n"
    if hot_factor <= 0 or warm_factor <= 0:
        return b"ERROR hot/warm age factors must be greater than 0\r\n"
    admin.control.set_lru_tuning(hot, warm, hot_factor, warm_factor)
    return _OK


def _lru_temporary(admin: Admin, seconds: int) -> Reply:
    admin.control.set_temporary_ttl(seconds if seconds >= 0 else None)
    return _OK


# lru_crawler


def _crawler_enable(admin: Admin) -> Reply:
    if admin.control.crawler_enabled:
        return b"ERROR failed to start lru crawler thread\r\n"
    admin.control.set_crawler_enabled(True)
    return _OK


def _crawler_disable(admin: Admin) -> Reply:
    admin.control.set_crawler_enabled(False)
    return _OK


def _crawler_sleep(admin: Admin, microseconds: int) -> Reply:
    if microseconds > CRAWLER_SLEEP_MAX:
        return b"CLIENT_ERROR sleep must be one second or less\r\n"
    admin.control.set_crawler_sleep(microseconds)
    return _OK


def _crawler_tocrawl(admin: Admin, items: int) -> Reply:
    admin.control.set_crawler_tocrawl(items)
    return _OK


def _crawl(admin: Admin, which: bytes) -> Reply:
    """``all``, or class ids between commas, of which some may be missing. ``hash`` is for the dumps only."""
    if which == b"hash":
        return b"ERROR an unknown error happened\r\n"
    if which == b"all":
        return _CRAWLED[admin.control.crawl(None)]
    try:
        classes = frozenset(_digits(word, 11, 1, CLASS_MAX) for word in which.split(b",") if word)
    except ValueError:
        return _CRAWLED["BADCLASS"]
    return _CRAWLED[admin.control.crawl(classes)] if classes else b"NOTSTARTED no items to crawl\r\n"


# stats


def _detail_on(admin: Admin) -> Reply:
    admin.control.set_detail(True)
    return _OK


def _detail_off(admin: Admin) -> Reply:
    admin.control.set_detail(False)
    return _OK


def _cachedump(admin: Admin, cls: int, limit: int) -> Reply:
    if cls > CLASS_MAX:
        return b"CLIENT_ERROR Illegal slab id\r\n"
    return stats.cachedump(admin.control, cls, limit)


def _reset(admin: Admin) -> Reply:
    admin.control.reset_counters()
    return b"RESET\r\n"


def _list(fields: Callable[[Control, Options], stats.Fields]) -> Callable[[Admin], Reply]:
    return lambda admin: stats.encode(fields(admin.control, admin.options))


# the others


def _memory_limit(admin: Admin, megabytes: int) -> Reply:
    if megabytes < MEMORY_LIMIT_MIN:
        return b"MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m\r\n"
    if megabytes > MEMORY_LIMIT_MAX:
        return b"MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes\r\n"
    if not admin.control.set_memory_limit(megabytes * MEBIBYTE):
        return b"MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust\r\n"
    return _OK


def _shutdown(admin: Admin) -> Reply:
    admin.request_shutdown(False)
    return None


def _shutdown_graceful(admin: Admin) -> Reply:
    admin.request_shutdown(True)
    return None


# ---- the table

_REASSIGNS: Final = _unless(lambda admin: admin.options.slab_reassign, b"CLIENT_ERROR slab reassignment disabled\r\n")
_CRAWLS: Final = _unless(lambda admin: admin.control.crawler_enabled, b"CLIENT_ERROR lru crawler disabled\r\n")
_MAINTAINS: Final = _unless(lambda admin: admin.options.lru_maintainer, _ERROR)
_SHUTS_DOWN: Final = _unless(lambda admin: admin.options.enable_shutdown, b"SERVER_ERROR: shutdown not enabled\r\n")
_DETAILS: Final = _unless(lambda admin: not admin.options.disable_dumping, b"CLIENT_ERROR stats detail not allowed\r\n")
_DUMPS: Final = _unless(
    lambda admin: not admin.options.disable_dumping, b"CLIENT_ERROR stats cachedump not allowed\r\n"
)

_ROWS: Final[tuple[_Row, ...]] = (
    _row("stats", _list(stats.general), exact=True),
    _row("stats settings", _list(stats.settings)),
    _row("stats items", _list(stats.items)),
    _row("stats slabs", _list(stats.slabs)),
    _row("stats sizes", _list(stats.sizes)),
    _row("stats conns", _list(stats.connections)),
    _row("stats extstore", _always(b"END\r\n")),
    _row("stats reset", _reset),
    _row("stats detail on", _detail_on, refusal=_DETAILS),
    _row("stats detail off", _detail_off, refusal=_DETAILS),
    _row("stats detail dump", lambda admin: stats.prefixes(admin.control), refusal=_DETAILS),
    _row("stats detail", _always(b"CLIENT_ERROR usage: stats detail on|off|dump\r\n"), refusal=_DETAILS),
    _row("stats cachedump", _cachedump, _uint32, _uint32, malformed=_FORMAT, refusal=_DUMPS),
    _row("stats cachedump", _always(b"CLIENT_ERROR bad command line\r\n"), refusal=_DUMPS),
    _row("slabs reassign", _reassign, _int32, _int32, malformed=_FORMAT, exact=True, refusal=_REASSIGNS),
    _row("slabs automove ratio", _automove_ratio, _number),
    _row("slabs automove ratio", _always(_ERROR), exact=True),
    _row("slabs automove freeratio", _automove_freeratio, _number),
    _row("slabs automove freeratio", _always(_ERROR), exact=True),
    _row("slabs automove window", _automove_window, _uint32, malformed=_FORMAT),
    _row("slabs automove", _automove, _uint32, malformed=_FORMAT),
    _row("lru mode flat", _lru_flat, refusal=_MAINTAINS),
    _row("lru mode segmented", _lru_segmented, refusal=_MAINTAINS),
    _row("lru mode s3fifo", _lru_s3fifo, refusal=_MAINTAINS),
    _row("lru tune", _lru_tune, _uint32, _uint32, _number, _number),
    _row("lru temp_ttl", _lru_temporary, _int32, refusal=_MAINTAINS),
    _row("lru_crawler enable", _crawler_enable, exact=True),
    _row("lru_crawler disable", _crawler_disable, exact=True),
    _row("lru_crawler sleep", _crawler_sleep, _uint32, malformed=_FORMAT, exact=True),
    _row("lru_crawler tocrawl", _crawler_tocrawl, _uint32, malformed=_FORMAT, exact=True),
    _row("lru_crawler crawl", _crawl, _word, exact=True, refusal=_CRAWLS),
    _row("cache_memlimit", _memory_limit, _uint32),
    _row("shutdown", _shutdown, exact=True, refusal=_SHUTS_DOWN),
    _row("shutdown graceful", _shutdown_graceful, exact=True, refusal=_SHUTS_DOWN),
    _row("shutdown", _always(b"CLIENT_ERROR invalid shutdown mode\r\n"), refusal=_SHUTS_DOWN),
)
