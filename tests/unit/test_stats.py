"""The stats family: names, order and formats as memcached has them; what is asked for, what is an error."""

from __future__ import annotations

import os
import re

import pytest

from cachecore import Settings, __version__
from cachecore.settings import OPTIONS
from cachecore.stats import answer
from tests.unit.fake_engine import EveryNumber, FakeEngine


def split(names: str) -> list[str]:
    return names.split()


#: memcached's fields in its order, when everything that can be switched off is off.
GENERAL = split(
    "pid uptime time version libevent pointer_size rusage_user rusage_system max_connections "
    "curr_connections total_connections rejected_connections connection_structures response_obj_oom "
    "response_obj_count response_obj_bytes read_buf_count read_buf_bytes read_buf_bytes_free "
    "read_buf_oom reserved_fds cmd_get cmd_set cmd_flush cmd_touch cmd_meta get_hits get_misses "
    "get_expired get_flushed delete_misses delete_hits incr_misses incr_hits decr_misses decr_hits "
    "cas_misses cas_hits cas_badval touch_hits touch_misses store_too_large store_no_memory "
    "auth_cmds auth_errors bytes_read bytes_written limit_maxbytes accepting_conns "
    "listen_disabled_num time_in_listen_disabled_us threads conn_yields hash_power_level hash_bytes "
    "hash_is_expanding malloc_fails log_worker_dropped log_worker_written log_watcher_skipped "
    "log_watcher_sent log_watchers unexpected_napi_ids round_robin_fallback bytes curr_items "
    "total_items slab_global_page_pool expired_unfetched evicted_unfetched evictions reclaimed "
    "crawler_reclaimed crawler_items_checked lrutail_reflocked"
)

#: The fields that are not a counter of the engine.
OWN = {
    "pid": os.getpid(),
    "uptime": 38,
    "time": 1_700_000_100,
    "version": "1.6.45",
    "libevent": f"cachecore-{__version__}",
    "pointer_size": 64,
    "max_connections": 1024,
    "threads": 4,
    **dict.fromkeys(
        (
            "log_worker_dropped",
            "log_worker_written",
            "log_watcher_skipped",
            "log_watcher_sent",
            "log_watchers",
        ),
        0,
    ),
    **dict.fromkeys(("unexpected_napi_ids", "crawler_reclaimed", "crawler_items_checked"), 0),
    **dict.fromkeys(("auth_cmds", "auth_errors", "hash_is_expanding"), 0),
    **dict.fromkeys(("round_robin_fallback", "slab_global_page_pool"), 0),
}

SETTINGS = {
    "maxbytes": "67108864",
    "maxconns": "1024",
    "tcpport": "11211",
    "udpport": "0",
    "inter": "127.0.0.1,::1",
    "verbosity": "2",
    "oldest": "77",
    "evictions": "on",
    "domain_socket": "NULL",
    "umask": "700",
    "shutdown_command": "no",
    "growth_factor": "1.25",
    "chunk_size": "48",
    "num_threads": "4",
    "num_threads_per_udp": "4",
    "stat_key_prefix": ":",
    "detail_enabled": "no",
    "reqs_per_event": "20",
    "cas_enabled": "yes",
    "tcp_backlog": "1024",
    "binding_protocol": "auto-negotiate",
    "auth_enabled_sasl": "no",
    "auth_enabled_ascii": "no",
    "item_size_max": "1048576",
    "maxconns_fast": "yes",
    "hashpower_init": "0",
    "slab_reassign": "no",
    "slab_automove": "0",
    "slab_automove_ratio": "0.80",
    "slab_automove_window": "10",
    "slab_chunk_max": "524288",
    "lru_crawler": "no",
    "lru_crawler_sleep": "100",
    "lru_crawler_tocrawl": "0",
    "tail_repair_time": "0",
    "flush_enabled": "yes",
    "dump_enabled": "no",
    "hash_algorithm": "mulfold64",
    "lru_maintainer_thread": "no",
    "lru_segmented": "no",
    "hot_lru_pct": "20",
    "warm_lru_pct": "40",
    "hot_max_factor": "0.20",
    "warm_max_factor": "2.00",
    "temp_lru": "no",
    "temporary_ttl": "61",
    "idle_timeout": "0",
    "watcher_logbuf_size": "262144",
    "worker_logbuf_size": "65536",
    "read_buf_mem_limit": "0",
    "track_sizes": "no",
    "inline_ascii_response": "no",
    "num_napi_ids": "0",
    "memory_file": "(null)",
    "client_flags_size": "4",
}

ITEMS = split(
    "number age mem_requested evicted evicted_nonzero evicted_time outofmemory tailrepairs reclaimed "
    "expired_unfetched evicted_unfetched crawler_reclaimed crawler_items_checked lrutail_reflocked"
)

SLABS = split(
    "chunk_size chunks_per_page total_pages total_chunks used_chunks free_chunks free_chunks_end "
    "get_hits cmd_set delete_hits incr_hits decr_hits cas_hits cas_badval touch_hits"
)

ZERO = {"crawler_reclaimed", "crawler_items_checked", "free_chunks_end", "tailrepairs"}


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(tick=100, verbosity=2, flush_tick=77)


def fields(engine: FakeEngine, line: bytes, **options: object) -> dict[str, str]:
    reply = answer(engine, Settings(**options), line).decode()
    lines = reply.split("\r\n")
    assert lines[-2:] == ["END", ""]
    matches = [re.fullmatch(r"STAT (\S+) (.+)", found) for found in lines[:-2]]
    return {match[1]: match[2] for match in matches}


def test_general(engine):
    found = fields(engine, b"stats")
    assert list(found) == GENERAL
    counted = EveryNumber()
    for name, value in found.items():
        if not name.startswith("rusage"):
            assert value == str(OWN.get(name, counted[name])), name


def test_rusage_is_seconds_with_six_digits(engine):
    found = fields(engine, b"stats")
    for name in ("rusage_user", "rusage_system"):
        assert re.fullmatch(r"\d+\.\d{6}", found[name])
    assert 0 < float(found["rusage_user"]) < sum(os.times()[:2]) + 1


def test_settings(engine):
    found = fields(engine, b"stats settings")
    assert list(found.items()) == list(SETTINGS.items())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"memory_limit": 100}, {"maxbytes": "104857600"}),
        ({"conn_limit": 7}, {"maxconns": "7"}),
        ({"port": -1}, {"tcpport": "-1"}),
        ({"listen": "a,b:5"}, {"inter": "a,b:5"}),
        ({"disable_evictions": True}, {"evictions": "off"}),
        ({"unix_socket": "/a/b"}, {"domain_socket": "/a/b"}),
        ({"unix_mask": 0o77}, {"umask": "77"}),
        ({"slab_growth_factor": 1.08}, {"growth_factor": "1.08"}),
        ({"slab_growth_factor": 2}, {"growth_factor": "2.00"}),
        ({"slab_min_size": 72}, {"chunk_size": "72"}),
        ({"threads": 9}, {"num_threads": "9", "num_threads_per_udp": "9"}),
        ({"max_reqs_per_event": 5}, {"reqs_per_event": "5"}),
        ({"disable_cas": True}, {"cas_enabled": "no"}),
        ({"listen_backlog": 5}, {"tcp_backlog": "5"}),
        ({"max_item_size": 2 << 20}, {"item_size_max": "2097152"}),
    ],
)
def test_settings_follow_the_options(engine, options, expected):
    assert fields(engine, b"stats settings", **options) == SETTINGS | expected


def test_every_field_of_an_option_is_shown():
    named = [name for row in OPTIONS for name in row.stats]
    assert len(named) == len(set(named))
    assert set(named) <= set(SETTINGS)


def test_a_path_that_is_no_utf_8_is_shown_as_its_bytes(engine):
    reply = answer(engine, Settings(unix_socket="/\udcff"), b"stats settings")
    assert b"STAT domain_socket /\xff\r\n" in reply


def test_items_and_slabs_of_classes_in_order(engine):
    counters = EveryNumber(number=3, total_pages=1)
    engine.classes = {12: counters, 2: counters}
    for line, prefix, names in ((b"stats items", "items:", ITEMS), (b"stats slabs", "", SLABS)):
        expected = {
            f"{prefix}{number}:{name}": "0" if name in ZERO else str(counters[name])
            for number in (2, 12)
            for name in names
        }
        if not prefix:
            expected |= {"active_slabs": "2", "total_malloced": str(EveryNumber()["total_malloced"])}
        assert list(fields(engine, line).items()) == list(expected.items())


def test_only_classes_with_items_and_only_those_with_pages(engine):
    engine.classes = {1: EveryNumber(number=0, total_pages=1), 2: EveryNumber(number=5, total_pages=0)}
    assert {name.split(":")[1] for name in fields(engine, b"stats items")} == {"2"}
    slabs = fields(engine, b"stats slabs")
    assert {name.split(":")[0] for name in slabs if ":" in name} == {"1"}
    assert slabs["active_slabs"] == "1"


def test_an_empty_server_has_no_items(engine):
    assert answer(engine, Settings(), b"stats items") == b"END\r\n"


@pytest.mark.parametrize("line", [b"stats reset", b"stats  reset ", b"stats reset now"])
def test_reset(engine, line):
    assert answer(engine, Settings(), line) == b"RESET\r\n"
    assert engine.calls == ["reset"]


@pytest.mark.parametrize(
    ("line", "same"),
    [
        (b"stats ", b"stats"),
        (b"stats   ", b"stats"),
        (b"stats  settings  detail", b"stats settings"),
        (b"stats items x", b"stats items"),
        (b"stats slabs noreply", b"stats slabs"),
    ],
)
def test_blanks_and_further_words_do_not_matter(engine, line, same):
    assert list(fields(engine, line)) == list(fields(engine, same))


@pytest.mark.parametrize(
    "line",
    [
        b"stats r",
        b"stats set",
        b"stats itemsx",
        b"stats Items",
        b"stats\tsettings",
        b"stats noreply",
        b"statsx",
    ]
    + [
        b"stats " + absent
        for absent in (b"conns", b"sizes", b"detail on", b"cachedump 1 1", b"nonsense", b"\xff")
    ],
)
def test_anything_else_is_an_error(engine, line):
    assert answer(engine, Settings(), line) == b"ERROR\r\n"
    assert engine.calls == []
