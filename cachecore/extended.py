"""The suboptions of ``-o``, one row each, as keywords of ``Settings``; and the rules between them.

Names, defaults, ranges, messages and exit statuses are memcached's.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Final

from .errors import EXIT_FAILURE, SettingsError
from .options import KIBIBYTE, MEBIBYTE, choice, ratio, suboption, toggle, whole, whole_list

#: The size of a slab page in bytes.
PAGE: Final = MEBIBYTE

_INT_MAX: Final = (1 << 31) - 1
_UINT_MAX: Final = (1 << 32) - 1

#: memcached has 63 classes, of which the last is for what no other takes.
_SLAB_SIZES_MAX: Final = 62
_SLAB_SIZE_STEP: Final = 8

_NUMERIC: Final = "Missing numeric argument for {}"
_VALUE: Final = "Missing {} value"

#: Accepted, because scripts have it, but without a meaning here.
_NO_EFFECT: Final = " (accepted, no effect)"

#: Words of ``-o`` that set several suboptions.
PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "modern": {},
    "no_modern": {
        "slab_chunk_max": PAGE // KIBIBYTE,
        "slab_reassign": False,
        "slab_automove": 0,
        "maxconns_fast": False,
        "lru_maintainer": False,
        "lru_crawler": False,
        "hash_algorithm": "jenkins",
    },
}

#: Words of ``-o`` that memcached takes and forgets, whatever their value, with what it says.
FORGOTTEN: Final[Mapping[str, str]] = {
    "resp_obj_mem_limit": "DEPRECATED: resp_obj_mem_limit no longer used. See read_buf_mem_limit",
}

#: How suboptions begin that are there only in memcached with what is named, which this server does not have.
ABSENT: Final[Mapping[str, str]] = {
    "ext_": "storage on disk (extstore)",
    "slab_automove_freeratio": "storage on disk (extstore)",
    "ssl_": "TLS",
    "proxy_": "the proxy",
}


#: What ``lru_policy`` can be.
LRU_POLICIES: Final = ("s3fifo", "segmented")


def yes_no(value: bool) -> str:
    """A switch as ``stats settings`` has it."""
    return "yes" if value else "no"


def _zero_unless_given(value: int | None) -> int:
    return value or 0


def _hashpower_refused(value: object) -> str:
    high = type(value) is int and value > 32
    return f"Initial hashtable multiplier of {value} is too {'high' if high else 'low'}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Extended:
    """The keywords of ``Settings`` that are suboptions of ``-o`` on the command line, in its units."""

    maxconns_fast: bool = toggle(
        True,
        "close new connections at once when -c is reached, instead of letting them wait",
        stats={"maxconns_fast": yes_no},
    )
    idle_timeout: int = suboption(
        "seconds",
        0,
        whole(0, _INT_MAX, "idle_timeout must be a number of seconds from 0 on", EXIT_FAILURE),
        "close connections that are idle for longer; 0 never",
        missing=_NUMERIC,
        stats={"idle_timeout": int},
    )
    read_buf_mem_limit: int = suboption(
        "MB",
        0,
        whole(0, _INT_MAX // MEBIBYTE, "could not parse argument to read_buf_mem_limit", EXIT_FAILURE),
        "limit of what clients have sent or were sent unfinished; 0 is an eighth of -m, at least 16",
        stats={"read_buf_mem_limit": lambda value: value * MEBIBYTE},
    )
    lru_crawler: bool = toggle(
        True,
        "free the memory of expired items in the background",
    )
    lru_crawler_sleep: int = suboption(
        "us",
        100,
        whole(0, 1_000_000, "LRU crawler sleep must be between 0 and 1 second", EXIT_FAILURE),
        "microseconds that the crawler sleeps after each 1000 chunks",
        missing=_VALUE,
    )
    lru_crawler_tocrawl: int = suboption(
        "num",
        0,
        whole(0, _UINT_MAX, "lru_crawler_tocrawl takes a numeric 32bit value", EXIT_FAILURE),
        "items that the crawler looks at in one run of a class; 0 is all",
        missing=_VALUE,
    )
    lru_maintainer: bool = toggle(
        True,
        "lists of several parts, as lru_policy says, and the upkeep that they need; without, one LRU list per class",
        stats={"lru_maintainer_thread": yes_no},
    )
    lru_policy: str = suboption(
        "name",
        "s3fifo",
        choice(LRU_POLICIES, "lru_policy must be s3fifo or segmented", EXIT_FAILURE),
        "who is evicted: s3fifo admits to the main list what is used again; segmented is memcached's LRU",
        missing=_VALUE,
    )
    hot_lru_pct: int = suboption(
        "num",
        20,
        whole(1, 79, "hot_lru_pct must be > 1 and < 80", EXIT_FAILURE),
        "with lru_policy=segmented: percent of a class's memory for its hot list",
    )
    warm_lru_pct: int = suboption(
        "num",
        40,
        whole(1, 79, "warm_lru_pct must be > 1 and < 80", EXIT_FAILURE),
        "the same for its warm list; with hot_lru_pct at most 80",
    )
    hot_max_factor: float = suboption(
        "num",
        0.2,
        ratio(0, math.inf, "hot_max_factor must be > 0"),
        "with lru_policy=segmented: how long an item of the hot list may be idle, times the age of the cold list",
    )
    warm_max_factor: float = suboption(
        "num",
        2.0,
        ratio(0, math.inf, "warm_max_factor must be > 0"),
        "the same for the warm list",
    )
    temporary_ttl: int | None = suboption(
        "seconds",
        None,
        whole(0, _INT_MAX, "temporary_ttl must be a number of seconds from 0 on", EXIT_FAILURE),
        "items with a TTL of at most this have an LRU list of their own and are evicted last",
    )
    slab_reassign: bool = toggle(
        True,
        "slab pages can move from one class to another",
        stats={"slab_reassign": yes_no},
    )
    slab_automove: int = suboption(
        "0-2",
        1,
        whole(0, 2, "slab_automove must be between 0 and 2", EXIT_FAILURE),
        "whether they do by themselves: 0 not, 1 to where a page more brings most hits, 2 at every eviction",
        words={"{}": 1, "no_{}": 0},
    )
    slab_automove_ratio: float = suboption(
        "num",
        0.8,
        ratio(0, 1, "slab_automove_ratio must be > 0 and < 1"),
        "a class gets a page when its oldest items are younger than this times those of the class that gives it",
    )
    slab_automove_window: int = suboption(
        "num",
        10,
        whole(3, 1800, "slab_automove_window must be > 2 and <= 1800", EXIT_FAILURE),
        "looks over which the ages are averaged; there are 100 a second while items are evicted",
    )
    slab_sizes: tuple[int, ...] = suboption(
        "a-b-c",
        (),
        whole_list("-", "slab_sizes must be numbers with a - between them"),
        "the chunk sizes themselves, in bytes, rising by more than 8, instead of -f",
        shown="",
    )
    slab_chunk_max: int = suboption(
        "KB",
        512,
        whole(1, PAGE // KIBIBYTE, "slab_chunk_max must be from 1 to 1024 kilobytes"),
        "size of the largest chunk; larger values take several. It divides 1024 and -I",
        words={"no_chunked_items": PAGE // KIBIBYTE},
        stats={"slab_chunk_max": lambda value: value * KIBIBYTE},
    )
    track_sizes: bool = toggle(
        False,
        "let stats sizes walk over all items and count their sizes",
        words={"{}": True},
        stats={"track_sizes": yes_no},
    )
    watcher_logbuf_size: int = suboption(
        "KB",
        256,
        whole(0, _INT_MAX // KIBIBYTE, "could not parse argument to watcher_logbuf_size", EXIT_FAILURE),
        "room for the log lines that a watcher has not read yet",
        stats={"watcher_logbuf_size": lambda value: value * KIBIBYTE},
    )
    worker_logbuf_size: int = suboption(
        "KB",
        64,
        whole(0, _INT_MAX // KIBIBYTE, "could not parse argument to worker_logbuf_size", EXIT_FAILURE),
        "room for the log lines that a worker has not handed on yet",
        stats={"worker_logbuf_size": lambda value: value * KIBIBYTE},
    )
    sock_cookie_id: int = suboption(
        "num",
        0,
        whole(0, _UINT_MAX, "sock_cookie_id takes a numeric 32bit value", EXIT_FAILURE),
        "mark of the TCP connections' packets for a firewall (SO_MARK, a privilege)",
    )
    hashpower: int | None = suboption(
        "num",
        None,
        whole(12, 32, _hashpower_refused, EXIT_FAILURE),
        "initial size of the hash table, 12 to 32; the table fits itself" + _NO_EFFECT,
        missing=_NUMERIC,
        stats={"hashpower_init": _zero_unless_given},
    )
    hashexpand: bool = toggle(True, "let the hash table be as it is" + _NO_EFFECT, words={"no_{}": False})
    hash_algorithm: str | None = suboption(
        "name",
        None,
        choice(("jenkins", "murmur3", "xxh3"), "Unknown hash_algorithm option (jenkins, murmur3, xxh3)", EXIT_FAILURE),
        "jenkins, murmur3 or xxh3; the hash here is keyed, so that nobody can prepare collisions" + _NO_EFFECT,
    )
    tail_repair_time: int | None = suboption(
        "seconds",
        None,
        whole(10, _INT_MAX, "Cannot set tail_repair_time to less than 10 seconds", EXIT_FAILURE),
        "from 10 on; no item gets stuck at a list's tail" + _NO_EFFECT,
        missing=_NUMERIC,
        stats={"tail_repair_time": _zero_unless_given},
    )
    inline_ascii_resp: bool = toggle(False, "lay out the reply in the item" + _NO_EFFECT)
    drop_privileges: bool = toggle(False, "give up system calls; a service manager can see to that" + _NO_EFFECT)

    def check_extended(self) -> None:
        """The rules between suboptions. Raises SettingsError."""
        if self.hot_lru_pct + self.warm_lru_pct > 80:
            raise SettingsError("hot_lru_pct + warm_lru_pct cannot be more than 80% combined")
        if self.temporary_ttl is not None and not self.lru_maintainer:
            raise SettingsError("temporary_ttl requires lru_maintainer to be enabled")

    def check_sizes(self, *, item_size: int, smallest: int) -> None:
        """``slab_chunk_max`` and ``slab_sizes`` against -I and -n, in bytes. Raises SettingsError."""
        largest = self.slab_chunk_max * KIBIBYTE
        if item_size % largest:
            raise SettingsError(
                f"-I (item_size_max: {item_size}) must be evenly divisible by slab_chunk_max (bytes: {largest})"
            )
        if PAGE % largest:
            raise SettingsError(f"slab_chunk_max (bytes: {largest}) must divide evenly into {PAGE} (slab_page_size)")
        last = 0
        for size in self.slab_sizes:
            if not smallest <= size <= largest:
                raise SettingsError(f"slab size {size} is out of valid range")
            if size <= last:
                raise SettingsError(f"slab size {size} cannot be lower than or equal to a previous class size")
            if size <= last + _SLAB_SIZE_STEP:
                raise SettingsError(
                    f"slab size {size} must be at least {_SLAB_SIZE_STEP} bytes larger than previous class"
                )
            last = size
        if len(self.slab_sizes) > _SLAB_SIZES_MAX:
            raise SettingsError("too many slab classes specified")
