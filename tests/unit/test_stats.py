"""The lists of stats: names, order and formats as memcached has them."""

from __future__ import annotations

import os
import re

import pytest

from cachecore import Settings, __version__
from cachecore.settings import ROWS
from cachecore.stats import (
    cachedump,
    connections,
    encode,
    general,
    items,
    prefixes,
    settings,
    sizes,
    slabs,
)
from tests.support.peers import running_cachecore
from tests.unit.fake_engine import EveryNumber, FakeEngine, FakeOptions


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

#: Fields of a feature, and the field that they stand behind.
REASSIGNING = split(
    "hash_is_expanding slab_reassign_rescues slab_reassign_chunk_rescues slab_reassign_inline_reclaim "
    "slab_reassign_busy_items slab_reassign_busy_deletes slab_reassign_busy_nomem "
    "slab_reassign_last_busy_status slab_reassign_running slabs_moved"
)
CRAWLING = split("hash_is_expanding lru_crawler_running lru_crawler_starts")
MAINTAINED = [
    split("hash_is_expanding lru_maintainer_juggles"),
    split("evicted_unfetched evicted_active"),
    split("lrutail_reflocked moves_to_cold moves_to_warm moves_within_lru direct_reclaims lru_bumps_dropped"),
]

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
    "limit_maxbytes": 64 << 20,
    "slab_reassign_last_busy_status": "none",
    **dict.fromkeys(("unexpected_napi_ids", "round_robin_fallback", "hash_is_expanding"), 0),
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
    "slab_reassign": "yes",
    "slab_automove": "1",
    "slab_automove_ratio": "0.80",
    "slab_automove_window": "10",
    "slab_chunk_max": "524288",
    "lru_crawler": "yes",
    "lru_crawler_sleep": "100",
    "lru_crawler_tocrawl": "0",
    "tail_repair_time": "0",
    "flush_enabled": "yes",
    "dump_enabled": "yes",
    "hash_algorithm": "mulfold64",
    "lru_maintainer_thread": "yes",
    "lru_segmented": "yes",
    "lru_policy": "s3fifo",
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

#: The fields of stats items when everything is on.
ALL_ITEMS = split(
    "number number_hot number_warm number_cold number_temp age_hot age_warm age mem_requested evicted "
    "evicted_nonzero evicted_time outofmemory tailrepairs reclaimed expired_unfetched evicted_unfetched "
    "evicted_active crawler_reclaimed crawler_items_checked lrutail_reflocked moves_to_cold moves_to_warm "
    "moves_within_lru direct_reclaims hits_to_hot hits_to_warm hits_to_cold hits_to_temp"
)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(tick=100, verbosity=2, flush_tick=77)


def behind(names: list[str], *added: list[str]) -> list[str]:
    """The names with each list's own put behind its first, which is one of them."""
    names = list(names)
    for first, *more in added:
        at = names.index(first) + 1
        names[at:at] = more
    return names


@pytest.mark.parametrize(
    ("options", "crawls", "names"),
    [
        ({}, False, GENERAL),
        ({"slab_reassign": True}, False, behind(GENERAL, REASSIGNING)),
        ({}, True, behind(GENERAL, CRAWLING)),
        ({"lru_maintainer": True}, False, behind(GENERAL, *MAINTAINED)),
        ({"idle_timeout": 1}, False, behind(GENERAL, ["auth_errors", "idle_kicks"])),
        ({"maxconns_fast": False}, False, [name for name in GENERAL if name != "rejected_connections"]),
        (
            {"slab_reassign": True, "lru_maintainer": True},
            True,
            behind(GENERAL, *MAINTAINED, CRAWLING, REASSIGNING),
        ),
    ],
)
def test_general(engine, options, crawls, names):
    engine.crawler_enabled = crawls
    found = general(engine, FakeOptions(**options))
    assert list(found) == names
    counted = EveryNumber()
    for name, value in found.items():
        if not name.startswith("rusage"):
            assert value == OWN.get(name, counted[name]), name


def test_rusage_is_seconds_with_six_digits(engine):
    found = general(engine, FakeOptions())
    for name in ("rusage_user", "rusage_system"):
        assert re.fullmatch(r"\d+\.\d{6}", found[name])
    assert 0 < float(found["rusage_user"]) < sum(os.times()[:2]) + 1


def shown(engine: FakeEngine, **options: object) -> dict[str, str]:
    """What stats settings shows with these options."""
    found = settings(engine, FakeOptions(Settings(**options)))
    return {name: str(value) for name, value in found.items()}


def test_settings(engine):
    assert list(shown(engine).items()) == list(SETTINGS.items())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
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
        ({"enable_shutdown": True}, {"shutdown_command": "yes"}),
        ({"prefix_delimiter": "/"}, {"stat_key_prefix": "/"}),
        ({"protocol": "ascii"}, {"binding_protocol": "ascii"}),
        ({"auth_file": "/y"}, {"auth_enabled_ascii": "/y"}),
        ({"memory_file": "/e"}, {"memory_file": "/e"}),
        ({"disable_flush_all": True}, {"flush_enabled": "no"}),
        ({"disable_dumping": True}, {"dump_enabled": "no"}),
        ({"napi_ids": 2}, {"num_napi_ids": "2"}),
        ({"maxconns_fast": False}, {"maxconns_fast": "no"}),
        ({"hashpower": 20}, {"hashpower_init": "20"}),
        ({"tail_repair_time": 11}, {"tail_repair_time": "11"}),
        ({"slab_reassign": False}, {"slab_reassign": "no"}),
        ({"slab_chunk_max": 1024}, {"slab_chunk_max": "1048576"}),
        ({"lru_maintainer": False}, {"lru_maintainer_thread": "no"}),
        ({"idle_timeout": 5}, {"idle_timeout": "5"}),
        ({"watcher_logbuf_size": 1}, {"watcher_logbuf_size": "1024"}),
        ({"worker_logbuf_size": 1}, {"worker_logbuf_size": "1024"}),
        ({"read_buf_mem_limit": 3}, {"read_buf_mem_limit": "3145728"}),
        ({"track_sizes": True}, {"track_sizes": "yes"}),
    ],
)
def test_settings_follow_the_options(engine, options, expected):
    assert shown(engine, **options) == SETTINGS | expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"prefix_delimiter": ":"}, {"detail_enabled": "yes"}),
        ({"prefix_delimiter": "/"}, {"stat_key_prefix": "/", "detail_enabled": "yes"}),
        ({"slab_automove": 2}, {"slab_automove": "2"}),
        ({"slab_automove_ratio": 0.5}, {"slab_automove_ratio": "0.50"}),
        ({"slab_automove_window": 20}, {"slab_automove_window": "20"}),
        ({"lru_crawler": False}, {"lru_crawler": "no"}),
        ({"lru_crawler_sleep": 5}, {"lru_crawler_sleep": "5"}),
        ({"lru_crawler_tocrawl": 5}, {"lru_crawler_tocrawl": "5"}),
        ({"lru_maintainer": False}, {"lru_maintainer_thread": "no", "lru_segmented": "no"}),
        ({"hot_lru_pct": 5, "warm_lru_pct": 6}, {"hot_lru_pct": "5", "warm_lru_pct": "6"}),
        ({"hot_max_factor": 1, "warm_max_factor": 3.25}, {"hot_max_factor": "1.00", "warm_max_factor": "3.25"}),
        ({"temporary_ttl": 61}, {"temp_lru": "yes"}),
        ({"temporary_ttl": 5}, {"temp_lru": "yes", "temporary_ttl": "5"}),
    ],
)
def test_settings_follow_the_options_that_commands_may_change(options, expected):
    with running_cachecore(**options) as peer:
        found = peer.stats(b"settings")
    for name, value in expected.items():
        assert found[name.encode()] == value.encode()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("memory_limit", 100 << 20, {"maxbytes": "104857600"}),
        ("detail", True, {"detail_enabled": "yes"}),
        ("automove", 2, {"slab_automove": "2"}),
        ("automove_ratio", 0.755, {"slab_automove_ratio": "0.76"}),
        ("automove_window", 30, {"slab_automove_window": "30"}),
        ("crawler_enabled", False, {"lru_crawler": "no"}),
        ("crawler_sleep", 5, {"lru_crawler_sleep": "5"}),
        ("crawler_tocrawl", 6, {"lru_crawler_tocrawl": "6"}),
        ("lru_policy", "flat", {"lru_segmented": "no", "lru_policy": "flat"}),
        ("hot_lru_pct", 1, {"hot_lru_pct": "1"}),
        ("warm_lru_pct", 2, {"warm_lru_pct": "2"}),
        ("hot_max_factor", 3, {"hot_max_factor": "3.00"}),
        ("warm_max_factor", 0.5, {"warm_max_factor": "0.50"}),
        ("temporary_ttl", 0, {"temp_lru": "yes", "temporary_ttl": "0"}),
    ],
)
def test_settings_follow_the_engine(engine, name, value, expected):
    setattr(engine, name, value)
    assert shown(engine) == SETTINGS | expected


def test_every_field_of_an_option_is_shown():
    named = [name for row in ROWS for name in row.stats]
    assert len(named) == len(set(named))
    assert set(named) <= set(SETTINGS)


def test_a_path_that_is_no_utf_8_is_shown_as_its_bytes(engine):
    reply = encode(settings(engine, FakeOptions(Settings(unix_socket="/\udcff"))))
    assert b"STAT domain_socket /\xff\r\n" in reply


@pytest.mark.parametrize(
    ("maintainer", "temporary_ttl", "names"),
    [
        (False, None, ITEMS),
        (False, 5, ITEMS),
        (True, 5, ALL_ITEMS),
        (True, None, [name for name in ALL_ITEMS if name != "number_temp"]),
    ],
)
def test_items_of_classes_in_order(engine, maintainer, temporary_ttl, names):
    counters = EveryNumber(number=3)
    engine.classes = {12: counters, 2: counters}
    engine.temporary_ttl = temporary_ttl
    expected = {f"items:{number}:{name}": counters[name] for number in (2, 12) for name in names}
    found = items(engine, FakeOptions(lru_maintainer=maintainer))
    assert list(found.items()) == list(expected.items())


def test_slabs_of_classes_in_order(engine):
    counters = EveryNumber(total_pages=1)
    engine.classes = {12: counters, 2: counters}
    expected = {
        f"{number}:{name}": 0 if name == "free_chunks_end" else counters[name] for number in (2, 12) for name in SLABS
    } | {"active_slabs": 2, "total_malloced": EveryNumber()["total_malloced"]}
    assert list(slabs(engine, FakeOptions()).items()) == list(expected.items())


def test_only_classes_with_items_and_only_those_with_pages(engine):
    engine.classes = {1: EveryNumber(number=0, total_pages=1), 2: EveryNumber(number=5, total_pages=0)}
    assert {name.split(":")[1] for name in items(engine, FakeOptions())} == {"2"}
    found = slabs(engine, FakeOptions())
    assert {name.split(":")[0] for name in found if ":" in name} == {"1"}
    assert found["active_slabs"] == 1


def test_a_list_of_nothing_is_its_end(engine):
    assert encode(items(engine, FakeOptions())) == b"END\r\n"


def test_sizes(engine):
    engine.sizes = {96: 2, 32: 1, 1024: 7}
    assert sizes(engine, FakeOptions()) == {"sizes_status": "disabled"}
    assert list(sizes(engine, FakeOptions(track_sizes=True)).items()) == [("32", 1), ("96", 2), ("1024", 7)]


def test_connections(engine):
    engine.clients = [
        (5, "tcp:127.0.0.1:11211", None, "conn_listening", 70),
        (9, "unix:/a b", "unix:/a b", "conn_new_cmd", 0),
    ]
    assert encode(connections(engine, FakeOptions())) == (
        b"STAT 5:addr tcp:127.0.0.1:11211\r\nSTAT 5:state conn_listening\r\nSTAT 5:secs_since_last_cmd 70\r\n"
        b"STAT 9:addr unix:/a b\r\nSTAT 9:listen_addr unix:/a b\r\nSTAT 9:state conn_new_cmd\r\n"
        b"STAT 9:secs_since_last_cmd 0\r\nEND\r\n"
    )


def test_cachedump(engine):
    engine.dumped = [(b"\xff\x00", 5, 0), (b"a", 0, 1_800_000_000)]
    assert cachedump(engine, 3, 7) == b"ITEM \xff\x00 [5 b; 0 s]\r\nITEM a [0 b; 1800000000 s]\r\nEND\r\n"
    assert engine.calls == [("cachedump", 3, 7)]


def test_prefixes(engine):
    engine.prefixes = [(b"a", 1, 2, 3, 4), (b"\xff", 0, 0, 0, 0)]
    assert prefixes(engine) == b"PREFIX a get 1 hit 2 set 3 del 4\r\nPREFIX \xff get 0 hit 0 set 0 del 0\r\nEND\r\n"
