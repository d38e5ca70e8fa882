"""What the commands that Python answers ask of the data plane and of the options: the two contracts, as types.

Every method may be called from the admin thread while the workers serve; none waits for a client.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class Control(Protocol):
    """The engine, as far as ``stats``, ``slabs``, ``lru``, ``lru_crawler`` and ``cache_memlimit`` need it."""

    # What there is to see.

    @property
    def started(self) -> int:
        """Unix time of tick 0."""

    def clock_now(self) -> int:
        """The server clock's tick."""

    @property
    def verbosity(self) -> int:
        """As ``-v`` and the command ``verbosity`` set it."""

    @property
    def flush_tick(self) -> int:
        """The tick of the last flush_all, 0 without one."""

    def counters(self) -> Mapping[str, int]:
        """Every counter and gauge by memcached's name."""

    def class_counters(self) -> Mapping[int, Mapping[str, int]]:
        """The same by slab class, for the classes that own a page or hold an item."""

    def reset_counters(self) -> None:
        """Begin anew, the prefixes' counters too; gauges stay."""

    def item_sizes(self) -> Mapping[int, int]:
        """How many items there are by size: bytes as ``me`` shows them, rounded up to 32."""

    def cachedump(self, cls: int, limit: int) -> Sequence[tuple[bytes, int, int]]:
        """Items of a class, at most ``limit`` of them unless that is 0: key, bytes of value, expiry in Unix time or 0.

        No more of them than make two mebibytes of lines, as with memcached.
        """

    def connections(self) -> Sequence[tuple[int, str, str | None, str, int]]:
        """Descriptor, address, address listened on (None for a listener), state, seconds since the last command."""

    # Statistics by the prefixes of keys.

    @property
    def detail(self) -> bool:
        """Whether they are counted."""

    def set_detail(self, on: bool) -> None:
        """Count from now on, or no more; what was counted stays."""

    def prefix_stats(self) -> Sequence[tuple[bytes, int, int, int, int]]:
        """Prefix, and how often it was got, was there, was set, was deleted."""

    # Pages, and how they wander between classes.

    def slabs_reassign(self, source: int, target: int) -> str:
        """Ask for a page of ``source`` (-1: of any class) to go to ``target`` (0: to the pool).

        ``OK`` (it will), ``BUSY``, ``BADCLASS``, ``NOSPARE`` or ``SAME``.
        """

    @property
    def slab_reassign_last_busy_status(self) -> str:
        """Why the last page could not go at once; ``none`` at first."""

    @property
    def automove(self) -> int:
        """0: pages go only where they are told to; 1: to the class that evicts youngest; 2: at every eviction."""

    def set_automove(self, mode: int) -> None:
        """0, 1 or 2."""

    @property
    def automove_ratio(self) -> float:
        """How old the youngest class's items may be, of the oldest's age, to be given a page."""

    def set_automove_ratio(self, ratio: float) -> None:
        """Any finite number."""

    @property
    def automove_window(self) -> int:
        """Looks over which the ages are averaged; there are 100 a second while items are evicted."""

    def set_automove_window(self, looks: int) -> None:
        """3 to 1800."""

    def set_memory_limit(self, nbytes: int) -> bool:
        """Whether that limit can be had."""

    # The lists.

    @property
    def lru_policy(self) -> str:
        """Who is evicted next: ``s3fifo``, ``segmented`` or ``flat``."""

    def set_lru_policy(self, policy: str) -> None:
        """Only called with the maintainer."""

    @property
    def hot_lru_pct(self) -> int:
        """What share of a class the hot list may have."""

    @property
    def warm_lru_pct(self) -> int:
        """What share of a class the warm list may have."""

    @property
    def hot_max_factor(self) -> float:
        """How old the hot tail may be, of the cold tail's age."""

    @property
    def warm_max_factor(self) -> float:
        """How old the warm tail may be, of the cold tail's age."""

    def set_lru_tuning(self, hot_pct: int, warm_pct: int, hot_factor: float, warm_factor: float) -> None:
        """Both percentages together are at most 80, the factors above 0."""

    @property
    def temporary_ttl(self) -> int | None:
        """Items that live this long at most have a list of their own; None: there is no such list."""

    def set_temporary_ttl(self, seconds: int | None) -> None:
        """Only called with the maintainer; from 0 on, or None."""

    # The crawler.

    @property
    def crawler_enabled(self) -> bool:
        """Whether it may crawl."""

    def set_crawler_enabled(self, on: bool) -> None:
        """Off ends a crawl that is under way."""

    @property
    def crawler_sleep(self) -> int:
        """Microseconds, at most a second."""

    def set_crawler_sleep(self, microseconds: int) -> None:
        """0 to 1,000,000."""

    @property
    def crawler_tocrawl(self) -> int:
        """Items of a class in one crawl; 0 is all of them."""

    def set_crawler_tocrawl(self, items: int) -> None:
        """From 0 on."""

    def crawl(self, classes: frozenset[int] | None) -> str:
        """Crawl these classes, 1 to 63, or all of them (None), empty ones too: ``OK``, ``BUSY`` or
        ``BADCLASS``."""


class Options(Protocol):
    """The options that the commands' answers depend on."""

    @property
    def conn_limit(self) -> int:
        """``-c``."""

    @property
    def threads(self) -> int:
        """``-t``."""

    @property
    def enable_shutdown(self) -> bool:
        """Whether ``shutdown`` is allowed (``-A``)."""

    @property
    def disable_dumping(self) -> bool:
        """Whether what shows keys is refused (``-X``)."""

    @property
    def slab_reassign(self) -> bool:
        """Whether pages may go from class to class."""

    @property
    def lru_maintainer(self) -> bool:
        """Whether a thread looks after the lists."""

    @property
    def track_sizes(self) -> bool:
        """Whether ``stats sizes`` counts the items."""

    @property
    def maxconns_fast(self) -> bool:
        """Whether a client beyond ``-c`` is turned away rather than left to wait."""

    @property
    def idle_timeout(self) -> int:
        """Seconds after which a silent client is disconnected; 0 is never."""

    def stats(self) -> Mapping[str, int | str]:
        """The fields of ``stats settings`` that come from options."""
