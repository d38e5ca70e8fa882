"""The ``stats`` family: the engine's counters under memcached's names, in its order, one row per field.

Fields of features that are absent here are left out where memcached, with the feature off, leaves them out;
the others say 0 or no, as memcached does then.
"""

from __future__ import annotations

import os
import resource
import struct
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from .settings import Settings
from .version import MEMCACHED_VERSION, package_version

if TYPE_CHECKING:
    from cachecore_ext.engine import Engine

#: A field's value: a number, or text where memcached has text (``rusage_user``, ``version`` ...).
Value = int | str

#: The server clock's tick at start; memcached's clock begins there as well.
FIRST_TICK: Final = 62

_ERROR: Final = b"ERROR\r\n"


class _Snapshot(NamedTuple):
    """What the rows of ``stats`` are computed from."""

    engine: Engine
    settings: Settings
    counters: Mapping[str, int]
    usage: resource.struct_rusage


_Row = tuple[str, Callable[[_Snapshot], Value]]


def _counters(names: str) -> tuple[_Row, ...]:
    """Rows of counters that the engine has under the same name."""

    def row(name: str) -> _Row:
        return name, lambda now: now.counters[name]

    return tuple(map(row, names.split()))


def _off(names: str) -> tuple[_Row, ...]:
    """Rows of features that are off; memcached shows them nevertheless."""
    return tuple((name, lambda _: 0) for name in names.split())


_GENERAL: Final[tuple[_Row, ...]] = (
    ("pid", lambda _: os.getpid()),
    ("uptime", lambda now: now.engine.clock_now() - FIRST_TICK),
    ("time", lambda now: now.engine.started + now.engine.clock_now()),
    ("version", lambda _: MEMCACHED_VERSION),
    ("libevent", lambda _: f"cachecore-{package_version()}"),
    ("pointer_size", lambda _: struct.calcsize("P") * 8),
    ("rusage_user", lambda now: f"{now.usage.ru_utime:.6f}"),
    ("rusage_system", lambda now: f"{now.usage.ru_stime:.6f}"),
    ("max_connections", lambda now: now.settings.conn_limit),
    *_counters(
        "curr_connections total_connections rejected_connections connection_structures "
        "response_obj_oom response_obj_count response_obj_bytes read_buf_count read_buf_bytes "
        "read_buf_bytes_free read_buf_oom reserved_fds cmd_get cmd_set cmd_flush cmd_touch cmd_meta "
        "get_hits get_misses get_expired get_flushed delete_misses delete_hits incr_misses incr_hits "
        "decr_misses decr_hits cas_misses cas_hits cas_badval touch_hits touch_misses store_too_large "
        "store_no_memory"
    ),
    *_off("auth_cmds auth_errors"),
    *_counters(
        "bytes_read bytes_written limit_maxbytes accepting_conns listen_disabled_num time_in_listen_disabled_us"
    ),
    ("threads", lambda now: now.settings.threads),
    *_counters("conn_yields hash_power_level hash_bytes"),
    *_off("hash_is_expanding"),  # it has no state of its own: the table grows bucket by bucket
    *_counters("malloc_fails"),
    *_off("log_worker_dropped log_worker_written log_watcher_skipped log_watcher_sent log_watchers"),
    *_off("unexpected_napi_ids round_robin_fallback"),
    *_counters("bytes curr_items total_items"),
    *_off("slab_global_page_pool"),
    *_counters("expired_unfetched evicted_unfetched evictions reclaimed"),
    *_off("crawler_reclaimed crawler_items_checked"),
    *_counters("lrutail_reflocked"),
)

#: The order of ``stats settings``, and what no option sets; None: an option's row has the value.
_SETTINGS: Final[tuple[tuple[str, Value | Callable[[Engine], Value] | None], ...]] = (
    ("maxbytes", None),
    ("maxconns", None),
    ("tcpport", None),
    ("udpport", None),
    ("inter", None),
    ("verbosity", lambda engine: engine.verbosity),  # the command verbosity changes it
    ("oldest", lambda engine: engine.flush_tick),
    ("evictions", None),
    ("domain_socket", None),
    ("umask", None),
    ("shutdown_command", None),
    ("growth_factor", None),
    ("chunk_size", None),
    ("num_threads", None),
    ("num_threads_per_udp", None),
    ("stat_key_prefix", None),
    ("detail_enabled", None),
    ("reqs_per_event", None),
    ("cas_enabled", None),
    ("tcp_backlog", None),
    ("binding_protocol", None),
    ("auth_enabled_sasl", "no"),
    ("auth_enabled_ascii", None),
    ("item_size_max", None),
    ("maxconns_fast", None),
    ("hashpower_init", None),
    ("slab_reassign", None),
    ("slab_automove", None),
    ("slab_automove_ratio", None),
    ("slab_automove_window", None),
    ("slab_chunk_max", None),
    ("lru_crawler", None),
    ("lru_crawler_sleep", None),
    ("lru_crawler_tocrawl", None),
    ("tail_repair_time", None),
    ("flush_enabled", None),
    ("dump_enabled", None),
    ("hash_algorithm", "mulfold64"),
    ("lru_maintainer_thread", None),
    ("lru_segmented", None),
    ("hot_lru_pct", None),
    ("warm_lru_pct", None),
    ("hot_max_factor", None),
    ("warm_max_factor", None),
    ("temp_lru", None),
    ("temporary_ttl", None),
    ("idle_timeout", None),
    ("watcher_logbuf_size", None),
    ("worker_logbuf_size", None),
    ("read_buf_mem_limit", None),
    ("track_sizes", None),
    ("inline_ascii_response", "no"),
    ("num_napi_ids", None),
    ("memory_file", None),
    ("client_flags_size", 4),
)

#: The fields of a class in ``stats items`` and ``stats slabs``, in order.
_ITEMS: Final = (
    "number",
    "age",
    "mem_requested",
    "evicted",
    "evicted_nonzero",
    "evicted_time",
    "outofmemory",
    "tailrepairs",
    "reclaimed",
    "expired_unfetched",
    "evicted_unfetched",
    "crawler_reclaimed",
    "crawler_items_checked",
    "lrutail_reflocked",
)
_SLABS: Final = (
    "chunk_size",
    "chunks_per_page",
    "total_pages",
    "total_chunks",
    "used_chunks",
    "free_chunks",
    "free_chunks_end",
    "get_hits",
    "cmd_set",
    "delete_hits",
    "incr_hits",
    "decr_hits",
    "cas_hits",
    "cas_badval",
    "touch_hits",
)

#: Fields of a class that say 0: the crawler and tail repair are off, and free_chunks_end is of memcached's past.
_CLASS_OFF: Final = frozenset({"crawler_reclaimed", "crawler_items_checked", "free_chunks_end", "tailrepairs"})


def general(engine: Engine, settings: Settings) -> dict[str, Value]:
    """The fields of ``stats``."""
    now = _Snapshot(engine, settings, engine.counters(), resource.getrusage(resource.RUSAGE_SELF))
    return {name: value(now) for name, value in _GENERAL}


def _settings(engine: Engine, settings: Settings) -> dict[str, Value]:
    from_options = settings.stats()

    def value(name: str, source: Value | Callable[[Engine], Value] | None) -> Value:
        if source is None:
            return from_options[name]
        return source(engine) if callable(source) else source

    return {name: value(name, source) for name, source in _SETTINGS}


def _class_field(counters: Mapping[str, int], name: str) -> int:
    return 0 if name in _CLASS_OFF else counters[name]


def _items(engine: Engine, _: Settings) -> dict[str, Value]:
    return {
        f"items:{number}:{name}": _class_field(counters, name)
        for number, counters in sorted(engine.class_counters().items())
        if counters["number"]
        for name in _ITEMS
    }


def _slabs(engine: Engine, _: Settings) -> dict[str, Value]:
    classes = [(number, c) for number, c in sorted(engine.class_counters().items()) if c["total_pages"]]
    fields: dict[str, Value] = {
        f"{number}:{name}": _class_field(counters, name) for number, counters in classes for name in _SLABS
    }
    fields["active_slabs"] = len(classes)
    fields["total_malloced"] = engine.counters()["total_malloced"]
    return fields


_LISTS: Final = {b"settings": _settings, b"items": _items, b"slabs": _slabs}


def answer(engine: Engine, settings: Settings, line: bytes) -> bytes:
    """The reply to a command line of the ``stats`` family; memcached ignores words after the sub-command."""
    command, *words = [word for word in line.split(b" ") if word]
    if command != b"stats":
        return _ERROR
    if not words:
        return _encode(general(engine, settings))
    if words[0] == b"reset":
        engine.reset_counters()
        return b"RESET\r\n"
    fields = _LISTS.get(words[0])
    return _ERROR if fields is None else _encode(fields(engine, settings))


def _encode(fields: Mapping[str, Value]) -> bytes:
    lines = (f"STAT {name} {value}\r\n" for name, value in fields.items())
    return "".join((*lines, "END\r\n")).encode("utf-8", "surrogateescape")
