"""The lists of ``stats``: the engine's counters under memcached's names, in its order, one row per field.

Fields of features that are absent here are left out where memcached, with the feature off, leaves them out;
the others say 0 or no, as memcached does then.
"""

from __future__ import annotations

import os
import re
import resource
import struct
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from .control import Control, Options
from .extended import yes_no
from .version import MEMCACHED_VERSION, package_version

#: A field's value: a number, or text where memcached has text (``rusage_user``, ``version`` ...).
Value = int | str

#: A list: its fields in order.
Fields = Mapping[str, Value]

#: The server clock's tick at start; memcached's clock begins there as well.
FIRST_TICK: Final = 62

_END: Final = b"END\r\n"
_NOT_SHOWN: Final = re.compile(rb"[\x00-\x20\x7f%]")

#: Whether a field is shown.
_Condition = Callable[[Control, Options], bool]


def _always(_: Control, __: Options) -> bool:
    return True


def _reassigning(_: Control, options: Options) -> bool:
    return options.slab_reassign


def _crawling(control: Control, _: Options) -> bool:
    return control.crawler_enabled


def _maintained(_: Control, options: Options) -> bool:
    return options.lru_maintainer


def _temporary(control: Control, options: Options) -> bool:
    return options.lru_maintainer and control.temporary_ttl is not None


def _turning_away(_: Control, options: Options) -> bool:
    return options.maxconns_fast


def _kicking(_: Control, options: Options) -> bool:
    return options.idle_timeout > 0


class _Snapshot(NamedTuple):
    """What the rows of ``stats`` are computed from."""

    engine: Control
    settings: Options
    counters: Mapping[str, int]
    usage: resource.struct_rusage


class _Row(NamedTuple):
    """A field of ``stats``."""

    name: str
    value: Callable[[_Snapshot], Value]
    shown: _Condition = _always


def _counters(names: str, shown: _Condition = _always) -> tuple[_Row, ...]:
    """Rows of counters that the engine has under the same name."""

    def row(name: str) -> _Row:
        return _Row(name, lambda now: now.counters[name], shown)

    return tuple(map(row, names.split()))


def _off(names: str) -> tuple[_Row, ...]:
    """Rows of features that are off; memcached shows them nevertheless."""
    return tuple(_Row(name, lambda _: 0) for name in names.split())


_GENERAL: Final[tuple[_Row, ...]] = (
    _Row("pid", lambda _: os.getpid()),
    _Row("uptime", lambda now: now.engine.clock_now() - FIRST_TICK),
    _Row("time", lambda now: now.engine.started + now.engine.clock_now()),
    _Row("version", lambda _: MEMCACHED_VERSION),
    _Row("libevent", lambda _: f"cachecore-{package_version()}"),
    _Row("pointer_size", lambda _: struct.calcsize("P") * 8),
    _Row("rusage_user", lambda now: f"{now.usage.ru_utime:.6f}"),
    _Row("rusage_system", lambda now: f"{now.usage.ru_stime:.6f}"),
    _Row("max_connections", lambda now: now.settings.conn_limit),
    *_counters("curr_connections total_connections"),
    *_counters("rejected_connections", _turning_away),
    *_counters(
        "connection_structures "
        "response_obj_oom response_obj_count response_obj_bytes read_buf_count read_buf_bytes "
        "read_buf_bytes_free read_buf_oom reserved_fds cmd_get cmd_set cmd_flush cmd_touch cmd_meta "
        "get_hits get_misses get_expired get_flushed delete_misses delete_hits incr_misses incr_hits "
        "decr_misses decr_hits cas_misses cas_hits cas_badval touch_hits touch_misses store_too_large "
        "store_no_memory"
    ),
    *_counters("auth_cmds auth_errors"),
    *_counters("idle_kicks", _kicking),
    *_counters(
        "bytes_read bytes_written limit_maxbytes accepting_conns listen_disabled_num time_in_listen_disabled_us"
    ),
    _Row("threads", lambda now: now.settings.threads),
    *_counters("conn_yields hash_power_level hash_bytes"),
    *_off("hash_is_expanding"),  # it has no state of its own: the table grows bucket by bucket
    *_counters(
        "slab_reassign_rescues slab_reassign_chunk_rescues slab_reassign_inline_reclaim slab_reassign_busy_items "
        "slab_reassign_busy_deletes slab_reassign_busy_nomem",
        _reassigning,
    ),
    _Row("slab_reassign_last_busy_status", lambda now: now.engine.slab_reassign_last_busy_status, _reassigning),
    *_counters("slab_reassign_running slabs_moved", _reassigning),
    *_counters("lru_crawler_running lru_crawler_starts", _crawling),
    *_counters("lru_maintainer_juggles", _maintained),
    *_counters("malloc_fails log_worker_dropped log_worker_written log_watcher_skipped log_watcher_sent log_watchers"),
    *_off("unexpected_napi_ids round_robin_fallback"),
    *_counters("bytes curr_items total_items slab_global_page_pool expired_unfetched evicted_unfetched"),
    *_counters("evicted_active", _maintained),
    *_counters("evictions reclaimed crawler_reclaimed crawler_items_checked lrutail_reflocked"),
    *_counters("moves_to_cold moves_to_warm moves_within_lru direct_reclaims lru_bumps_dropped", _maintained),
)


#: Seconds that ``temporary_ttl`` shows while there is no such list.
_TEMPORARY_TTL: Final = 61

#: The order of ``stats settings``, and what no option sets; None: an option's row has the value.
_SETTINGS: Final[tuple[tuple[str, Value | Callable[[Control], Value] | None], ...]] = (
    ("maxbytes", lambda engine: engine.counters()["limit_maxbytes"]),  # cache_memlimit changes it
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
    ("detail_enabled", lambda engine: yes_no(engine.detail)),
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
    ("slab_automove", lambda engine: engine.automove),
    ("slab_automove_ratio", lambda engine: f"{engine.automove_ratio:.2f}"),
    ("slab_automove_window", lambda engine: engine.automove_window),
    ("slab_chunk_max", None),
    ("lru_crawler", lambda engine: yes_no(engine.crawler_enabled)),
    ("lru_crawler_sleep", lambda engine: engine.crawler_sleep),
    ("lru_crawler_tocrawl", lambda engine: engine.crawler_tocrawl),
    ("tail_repair_time", None),
    ("flush_enabled", None),
    ("dump_enabled", None),
    ("hash_algorithm", "mulfold64"),
    ("lru_maintainer_thread", None),
    ("lru_segmented", lambda engine: yes_no(engine.lru_policy != "flat")),
    ("lru_policy", lambda engine: engine.lru_policy),
    ("hot_lru_pct", lambda engine: engine.hot_lru_pct),
    ("warm_lru_pct", lambda engine: engine.warm_lru_pct),
    ("hot_max_factor", lambda engine: f"{engine.hot_max_factor:.2f}"),
    ("warm_max_factor", lambda engine: f"{engine.warm_max_factor:.2f}"),
    ("temp_lru", lambda engine: yes_no(engine.temporary_ttl is not None)),
    ("temporary_ttl", lambda engine: _TEMPORARY_TTL if engine.temporary_ttl is None else engine.temporary_ttl),
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

#: The fields of a class in ``stats items``, in order.
_ITEMS: Final[tuple[tuple[str, _Condition], ...]] = (
    ("number", _always),
    ("number_hot number_warm number_cold", _maintained),
    ("number_temp", _temporary),
    ("age_hot age_warm", _maintained),
    ("age mem_requested evicted evicted_nonzero evicted_time outofmemory tailrepairs reclaimed", _always),
    ("expired_unfetched evicted_unfetched", _always),
    ("evicted_active", _maintained),
    ("crawler_reclaimed crawler_items_checked lrutail_reflocked", _always),
    ("moves_to_cold moves_to_warm moves_within_lru direct_reclaims", _maintained),
    ("hits_to_hot hits_to_warm hits_to_cold hits_to_temp", _maintained),
)

#: The fields of a class in ``stats slabs``, in order. free_chunks_end is of memcached's past, and 0.
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


def general(control: Control, options: Options) -> dict[str, Value]:
    """The fields of ``stats``."""
    now = _Snapshot(control, options, control.counters(), resource.getrusage(resource.RUSAGE_SELF))
    return {row.name: row.value(now) for row in _GENERAL if row.shown(control, options)}


def settings(control: Control, options: Options) -> Fields:
    """The fields of ``stats settings``."""
    from_options = options.stats()

    def value(name: str, source: Value | Callable[[Control], Value] | None) -> Value:
        if source is None:
            return from_options[name]
        return source(control) if callable(source) else source

    return {name: value(name, source) for name, source in _SETTINGS}


def items(control: Control, options: Options) -> Fields:
    """The fields of ``stats items``: of the classes that hold an item."""
    names = [name for names, shown in _ITEMS if shown(control, options) for name in names.split()]
    return {
        f"items:{number}:{name}": counters[name]
        for number, counters in sorted(control.class_counters().items())
        if counters["number"]
        for name in names
    }


def slabs(control: Control, _: Options) -> Fields:
    """The fields of ``stats slabs``: of the classes that own a page."""
    classes = [(number, c) for number, c in sorted(control.class_counters().items()) if c["total_pages"]]
    fields: dict[str, Value] = {
        f"{number}:{name}": 0 if name == "free_chunks_end" else counters[name]
        for number, counters in classes
        for name in _SLABS
    }
    fields["active_slabs"] = len(classes)
    fields["total_malloced"] = control.counters()["total_malloced"]
    return fields


def sizes(control: Control, options: Options) -> Fields:
    """The fields of ``stats sizes``: how many items there are of each size, if the options allow that."""
    if not options.track_sizes:
        return {"sizes_status": "disabled"}
    return {str(size): number for size, number in sorted(control.item_sizes().items())}


def connections(control: Control, _: Options) -> Fields:
    """The fields of ``stats conns``; a listener is not listened on."""
    fields: dict[str, Value] = {}
    for fd, address, listener, state, seconds in control.connections():
        fields[f"{fd}:addr"] = address
        if listener is not None:
            fields[f"{fd}:listen_addr"] = listener
        fields[f"{fd}:state"] = state
        fields[f"{fd}:secs_since_last_cmd"] = seconds
    return fields


def cachedump(control: Control, cls: int, limit: int) -> bytes:
    """The reply to ``stats cachedump``: items of a class, ``limit`` of them or 0 for all, as far as they fit."""
    lines = (b"ITEM %s [%d b; %d s]\r\n" % item for item in control.cachedump(cls, limit))
    return b"".join((*lines, _END))


def _percent(match: re.Match[bytes]) -> bytes:
    return b"%%%02X" % ord(match[0])


def prefixes(control: Control) -> bytes:
    """The reply to ``stats detail dump``. What would break a line, in a key that came as base64, is %XX, as % is."""
    lines = (
        b"PREFIX %s get %d hit %d set %d del %d\r\n" % (_NOT_SHOWN.sub(_percent, prefix), gets, hits, sets, deletes)
        for prefix, gets, hits, sets, deletes in control.prefix_stats()
    )
    return b"".join((*lines, _END))


def encode(fields: Fields) -> bytes:
    """The reply that is a list."""
    lines = (f"STAT {name} {value}\r\n" for name, value in fields.items())
    return "".join(lines).encode("utf-8", "surrogateescape") + _END
