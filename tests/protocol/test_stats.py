"""stats: the names, the counters, reset."""

from __future__ import annotations

import re

import pytest

from tests.support.cases import ERROR, OVERLONG_KEY, STORED, Case, case, check, put, rows
from tests.support.peers import KINDS, Peer, running

#: Fields of memcached 1.6.45's ``stats`` that both servers must have, in its order.
GENERAL = [
    "pid",
    "uptime",
    "time",
    "version",
    "libevent",
    "pointer_size",
    "rusage_user",
    "rusage_system",
    "max_connections",
    "curr_connections",
    "total_connections",
    "rejected_connections",
    "connection_structures",
    "response_obj_oom",
    "response_obj_count",
    "response_obj_bytes",
    "read_buf_count",
    "read_buf_bytes",
    "read_buf_bytes_free",
    "read_buf_oom",
    "reserved_fds",
    "cmd_get",
    "cmd_set",
    "cmd_flush",
    "cmd_touch",
    "cmd_meta",
    "get_hits",
    "get_misses",
    "get_expired",
    "get_flushed",
    "delete_misses",
    "delete_hits",
    "incr_misses",
    "incr_hits",
    "decr_misses",
    "decr_hits",
    "cas_misses",
    "cas_hits",
    "cas_badval",
    "touch_hits",
    "touch_misses",
    "store_too_large",
    "store_no_memory",
    "auth_cmds",
    "auth_errors",
    "bytes_read",
    "bytes_written",
    "limit_maxbytes",
    "accepting_conns",
    "listen_disabled_num",
    "time_in_listen_disabled_us",
    "threads",
    "conn_yields",
    "hash_power_level",
    "hash_bytes",
    "hash_is_expanding",
    "malloc_fails",
    "bytes",
    "curr_items",
    "total_items",
    "slab_global_page_pool",
    "expired_unfetched",
    "evicted_unfetched",
    "evictions",
    "reclaimed",
    "crawler_reclaimed",
    "crawler_items_checked",
    "lrutail_reflocked",
]

SETTINGS = [
    "maxbytes",
    "maxconns",
    "tcpport",
    "udpport",
    "inter",
    "verbosity",
    "oldest",
    "evictions",
    "domain_socket",
    "umask",
    "growth_factor",
    "chunk_size",
    "num_threads",
    "stat_key_prefix",
    "detail_enabled",
    "reqs_per_event",
    "cas_enabled",
    "tcp_backlog",
    "binding_protocol",
    "auth_enabled_sasl",
    "auth_enabled_ascii",
    "item_size_max",
    "maxconns_fast",
    "hashpower_init",
    "slab_reassign",
    "slab_automove",
    "slab_chunk_max",
    "lru_crawler",
    "tail_repair_time",
    "flush_enabled",
    "dump_enabled",
    "hash_algorithm",
    "lru_maintainer_thread",
    "lru_segmented",
    "hot_lru_pct",
    "warm_lru_pct",
    "temp_lru",
    "idle_timeout",
]

A = put(b"a", b"1")

#: Commands and by how much they change which counters; every other counter of the list below stays.
COUNTED = [
    (b"get a\r\n", "cmd_get get_hits"),
    (b"get x\r\n", "cmd_get get_misses"),
    (b"get a x a y\r\n", "cmd_get:4 get_hits:2 get_misses:2"),
    (b"gets a\r\n", "cmd_get get_hits"),
    (b"mg a v\r\n", "cmd_get get_hits"),
    (b"mg x\r\n", "cmd_get get_misses"),
    (b"mg vivified1 N30\r\n", "cmd_get get_hits total_items"),
    (b"mg vivified2 N30 T30\r\n", "cmd_touch touch_hits total_items"),
    (b"gat 0 a x\r\n", "cmd_touch:2 touch_hits touch_misses"),
    (b"touch a 0\r\n", "cmd_touch touch_hits"),
    (b"touch x 0\r\n", "cmd_touch touch_misses"),
    (b"mg a T0\r\n", "cmd_touch touch_hits"),
    (b"mg x T0\r\n", "cmd_get get_misses"),
    (b"set a 0 0 1\r\nx\r\n", "cmd_set total_items"),
    (b"add a 0 0 1\r\nx\r\n", "cmd_set"),
    (b"append a 0 0 1\r\nx\r\n", "cmd_set total_items"),
    (b"ms a 1\r\nx\r\n", "cmd_set total_items"),
    (b"set a 0 0 1\r\nxyz", "cmd_set"),  # a bad data chunk
    (b"ms a 1\r\nxyz", "cmd_set"),
    (b"set a 0 0 200000\r\n" + bytes(200_002), "cmd_set"),
    (b"cas a 0 0 1 0\r\nx\r\n", "cmd_set cas_badval"),
    (b"cas x 0 0 1 0\r\nx\r\n", "cmd_set cas_misses"),
    (b"cas a 0 0 1 <cas:a>\r\nx\r\n", "cmd_set cas_hits total_items"),
    (b"ms a 1 C1 I\r\nx\r\n", "cmd_set cas_hits total_items"),
    (b"delete a\r\n", "delete_hits"),
    (b"delete x\r\n", "delete_misses"),
    (b"md a\r\n", "delete_hits"),
    (b"md x\r\n", "delete_misses"),
    (b"md a C99999999999\r\n", "delete_misses"),
    (b"incr a 1\r\n", "incr_hits"),
    (b"incr x 1\r\n", "incr_misses"),
    (b"decr a 1\r\n", "decr_hits"),
    (b"decr x 1\r\n", "decr_misses"),
    (b"ma a\r\n", "incr_hits"),
    (b"ma x MD\r\n", "decr_misses"),
    (b"ma vivified3 N0\r\n", "total_items"),
    (b"me a\r\n", "cmd_meta"),
    (b"flush_all\r\n", "cmd_flush"),
    (b"gat -1 a\r\nget a\r\n", "cmd_touch touch_hits cmd_get get_misses get_expired"),
    (b"flush_all\r\nget a\r\n", "cmd_flush cmd_get get_misses get_flushed"),
    (b"set a 0 0 2000000\r\n" + bytes(2_000_000) + b"\r\n", "store_too_large"),
    (b"get %s\r\n" % OVERLONG_KEY, ""),
    (b"foo\r\n", ""),
]
COUNTERS = sorted({field.split(":")[0] for _, fields in COUNTED for field in fields.split()})

CASES = [
    case("unknown-section", b"stats foo\r\n", ERROR),
    case("unknown-section-and-more", b"stats foo bar\r\n", ERROR),
    case("sections-match-whole-words-reset", b"stats r\r\n", ERROR),
    case("sections-match-whole-words-settings", b"stats se\r\n", ERROR),
    case("sections-match-whole-words-items", b"stats i\r\n", ERROR),
    case("sections-match-whole-words-slabs", b"stats slab\r\n", ERROR),
    case("reset", b"stats reset\r\n", b"RESET\r\n"),
    case("upper-case", b"STATS\r\n", ERROR),
    case("longer-word", b"statsx\r\n", ERROR),
]


@rows(CASES)
def test_stats_replies(peer: Peer, row: Case) -> None:
    check(peer, row)


@pytest.mark.parametrize(
    "request_line",
    [
        b"stats\r\n",
        b"stats \n",
        b"stats\n",
        b"stats settings\r\n",
        b"stats settings x\r\n",
        b"stats items\r\n",
        b"stats slabs\r\n",
    ],
)
def test_stats_lines(peer: Peer, request_line: bytes) -> None:
    """Every line is ``STAT name value``, the last one is END."""
    with peer.fresh() as client:
        client.transcript(A)
        lines = client.transcript(request_line).split(b"\r\n")
    assert lines[-2:] == [b"END", b""]
    wrong = [line for line in lines[:-2] if not re.fullmatch(rb"STAT \S+ .*", line)]
    assert not wrong
    assert len(lines) > 5


def test_general_fields(peer: Peer) -> None:
    """memcached 1.6.45's fields are there, in its order."""
    fields = [name.decode() for name in peer.stats()]
    assert [name for name in fields if name in GENERAL] == GENERAL


def test_general_values(peer: Peer) -> None:
    with peer.fresh() as client:
        client.transcript(b"get a b\r\n")  # flushed items go when they are looked for
        before = int(peer.stats()[b"curr_items"])
        client.transcript(A + put(b"b", b"2" * 100))
        stats = peer.stats()
    numbers = [name for name in GENERAL if name not in ("version", "libevent", "rusage_user", "rusage_system")]
    for name in numbers:
        assert re.fullmatch(rb"\d+", stats[name.encode()]), name
    for used in (b"rusage_user", b"rusage_system"):
        assert re.fullmatch(rb"\d+\.\d{6}", stats[used])
    assert int(stats[b"curr_items"]) == before + 2
    assert stats[b"pointer_size"] == b"64"
    assert stats[b"threads"] == b"2"
    assert stats[b"accepting_conns"] == b"1"
    assert stats[b"limit_maxbytes"] == b"%d" % (64 << 20)
    assert stats[b"libevent"]


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_follow_the_items(kind: str) -> None:
    """``bytes`` grows with every item and is back at zero without one."""
    with running(kind) as peer, peer.connect() as client:
        assert peer.stats()[b"bytes"] == b"0"
        client.transcript(put(b"a", b"x" * 1000))
        assert 1000 < int(peer.stats()[b"bytes"]) < 1200
        client.transcript(b"delete a\r\n")
        assert peer.stats()[b"bytes"] == b"0"


def test_settings_fields(peer: Peer) -> None:
    fields = [name.decode() for name in peer.stats(b"settings")]
    assert [name for name in fields if name in SETTINGS] == SETTINGS


def test_settings_values(peer: Peer) -> None:
    settings = peer.stats(b"settings")
    expected = {
        b"maxbytes": b"%d" % (64 << 20),
        b"maxconns": b"1024",
        b"udpport": b"0",
        b"verbosity": b"0",
        b"evictions": b"on",
        b"domain_socket": b"NULL",
        b"umask": b"700",
        b"growth_factor": b"1.25",
        b"chunk_size": b"48",
        b"num_threads": b"2",
        b"stat_key_prefix": b":",
        b"detail_enabled": b"no",
        b"reqs_per_event": b"20",
        b"cas_enabled": b"yes",
        b"auth_enabled_sasl": b"no",
        b"auth_enabled_ascii": b"no",
        b"item_size_max": b"1048576",
        b"maxconns_fast": b"yes",
        b"flush_enabled": b"yes",
    }
    assert {name: settings[name] for name in expected} == expected


def test_items_and_slabs(peer: Peer) -> None:
    """The sections name the classes; an empty server has no items section."""
    with peer.fresh() as client:
        client.transcript(A)
        items, slabs = peer.stats(b"items"), peer.stats(b"slabs")
        for name in items:
            assert re.fullmatch(rb"items:\d+:\w+", name)
        assert any(name.endswith(b":number") for name in items)
        for name in slabs:
            assert re.fullmatch(rb"\d+:\w+|active_slabs|total_malloced", name)
        assert int(slabs[b"active_slabs"]) >= 1


def test_reset(peer: Peer) -> None:
    """Counters begin anew, gauges stay."""
    with peer.fresh() as client:
        client.transcript(A + b"get a\r\nget b\r\n")
        assert client.ask(b"stats reset\r\n", b"RESET\r\n") == b"RESET\r\n"
        stats = {name: int(value) for name, value in peer.stats().items() if value.isdigit()}
    assert [name for name in COUNTERS if stats[name.encode()]] == []
    assert stats[b"curr_items"] >= 1
    assert stats[b"curr_connections"] >= 1


@pytest.mark.parametrize(("request_bytes", "fields"), COUNTED, ids=[repr(row[0][:24]) for row in COUNTED])
def test_counters(peer: Peer, request_bytes: bytes, fields: str) -> None:
    expected = dict.fromkeys(COUNTERS, 0)
    for field in fields.split():
        name, _, by = field.partition(":")
        expected[name] = int(by or 1)
    with peer.fresh() as client:
        assert client.ask(b"set a 0 0 1\r\n1\r\n", b"\r\n") == STORED
        if b"<cas:a>" in request_bytes:
            cas = client.ask(b"gets a\r\n").split()[4]
            request_bytes = request_bytes.replace(b"<cas:a>", cas)
        before = peer.stats()
        client.ask(request_bytes + b"mn\r\n", b"MN\r\n")
        after = peer.stats()
    grown = {name: int(after[name.encode()]) - int(before[name.encode()]) for name in COUNTERS}
    assert grown == expected


def test_connections_are_counted(peer: Peer) -> None:
    with peer.fresh():
        before = peer.stats()
        with peer.connect() as one, peer.connect() as two:
            one.ask(b"mn\r\n", b"MN\r\n")
            two.ask(b"mn\r\n", b"MN\r\n")
            during = peer.stats()
        assert int(during[b"curr_connections"]) == int(before[b"curr_connections"]) + 2
        assert int(during[b"total_connections"]) >= int(before[b"total_connections"]) + 2


def test_bytes_are_counted(peer: Peer) -> None:
    with peer.fresh() as client:
        before = peer.stats()
        client.ask(b"get a\r\n" * 1000 + b"mn\r\n", b"MN\r\n")
        after = peer.stats()
    assert 7004 <= int(after[b"bytes_read"]) - int(before[b"bytes_read"]) < 7100
    assert 5004 <= int(after[b"bytes_written"]) - int(before[b"bytes_written"]) < 10_000
