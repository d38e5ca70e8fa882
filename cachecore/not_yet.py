"""What the engine and the options do not have yet, filled in as if it were off.

It goes when nothing is missing: what is named here is what is.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from .control import Control, Options

#: Counters, of the engine and of its classes, that read as 0.
NOT_YET: Final = (
    *("slab_reassign_rescues", "slab_reassign_chunk_rescues", "slab_reassign_inline_reclaim"),
    *("slab_reassign_busy_items", "slab_reassign_busy_deletes", "slab_reassign_busy_nomem"),
    *("slab_reassign_running", "slabs_moved", "slab_global_page_pool"),
    *("lru_crawler_running", "lru_crawler_starts", "crawler_reclaimed", "crawler_items_checked"),
    *("lru_maintainer_juggles", "moves_to_cold", "moves_to_warm", "moves_within_lru", "direct_reclaims"),
    *("lru_bumps_dropped", "evicted_active", "idle_kicks", "tailrepairs"),
    *("number_hot", "number_warm", "number_cold", "number_temp", "age_hot", "age_warm"),
    *("hits_to_hot", "hits_to_warm", "hits_to_cold", "hits_to_temp"),
)

#: The engine's properties.
ENGINE: Final[Mapping[str, object]] = {
    "slab_reassign_last_busy_status": "none",
    "automove": 0,
    "automove_ratio": 0.8,
    "automove_window": 10,
    "lru_segmented": False,
    "hot_lru_pct": 20,
    "warm_lru_pct": 40,
    "hot_max_factor": 0.2,
    "warm_max_factor": 2.0,
    "temporary_ttl": None,
    "crawler_enabled": False,
    "crawler_sleep": 100,
    "crawler_tocrawl": 0,
    "detail": False,
}

#: The options.
OPTIONS: Final[Mapping[str, object]] = {
    "enable_shutdown": False,
    "disable_dumping": False,
    "slab_reassign": False,
    "lru_maintainer": False,
    "track_sizes": False,
    "idle_timeout": 0,
}

_ZEROS: Final = dict.fromkeys(NOT_YET, 0)


class _Filled:
    def __init__(self, whole: Any, missing: Mapping[str, object]) -> None:
        self._whole = whole
        self._missing = missing

    def __getattr__(self, name: str) -> Any:
        if name in self._missing and not hasattr(self._whole, name):
            return self._missing[name]
        return getattr(self._whole, name)


class _FilledEngine(_Filled):
    def counters(self) -> Mapping[str, int]:
        return ChainMap(self._whole.counters(), _ZEROS)

    def class_counters(self) -> Mapping[int, Mapping[str, int]]:
        return {cls: ChainMap(counters, _ZEROS) for cls, counters in self._whole.class_counters().items()}


def request_shutdown(server: Any) -> Callable[[bool], None]:
    """The server's method of that name, which nobody calls without the option for it."""
    return lambda graceful: server.request_shutdown(graceful)


def control(engine: object) -> Control:
    """The engine, filled in."""
    return cast(Control, _FilledEngine(engine, ENGINE))


def options(settings: object) -> Options:
    """The options, filled in."""
    return cast(Options, _Filled(settings, OPTIONS))
