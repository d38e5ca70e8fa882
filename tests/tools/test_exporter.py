"""What the Prometheus exporter reads: a field that is missing is passed by, one that is not a number is an error."""

from __future__ import annotations

import pytest

from tests.support.cases import MN, put
from tests.support.peers import Peer

#: The fields that it knows. Those of features that are off may be missing.
GENERAL = """uptime time rusage_user rusage_system get_hits get_misses delete_hits delete_misses incr_hits incr_misses
decr_hits decr_misses cas_hits cas_misses cas_badval touch_hits touch_misses cmd_flush cmd_set bytes limit_maxbytes
curr_items total_items bytes_read bytes_written curr_connections total_connections rejected_connections conn_yields
listen_disabled_num evictions reclaimed store_too_large store_no_memory crawler_items_checked crawler_reclaimed
accepting_conns"""
GENERAL_OFF = "lru_crawler_starts direct_reclaims moves_to_cold moves_to_warm moves_within_lru"
SETTINGS = """maxconns lru_crawler lru_crawler_sleep lru_crawler_tocrawl lru_maintainer_thread hot_lru_pct warm_lru_pct
hot_max_factor warm_max_factor"""
ITEMS = """number age crawler_reclaimed evicted evicted_nonzero evicted_time evicted_unfetched expired_unfetched
outofmemory reclaimed tailrepairs mem_requested"""
ITEMS_OFF = """hits_to_hot hits_to_warm hits_to_cold hits_to_temp moves_to_cold moves_to_warm moves_within_lru
number_hot number_warm number_cold number_temp age_hot age_warm"""
SLABS = """chunk_size chunks_per_page total_pages total_chunks used_chunks free_chunks free_chunks_end get_hits
delete_hits incr_hits decr_hits cas_hits cas_badval touch_hits cmd_set"""

SWITCHES = {b"yes": 1.0, b"no": 0.0}


def number(name: str, text: bytes) -> float:
    """A value as the exporter reads it."""
    if name.startswith("rusage_"):
        seconds, micros = text.split(b".")  # exactly one dot
        return int(seconds) + int(micros) / 1e6
    if text in SWITCHES and name.startswith(("lru_crawler", "lru_maintainer")):
        return SWITCHES[text]
    return float(text)


def read(found: dict[bytes, bytes], required: str, off: str = "", prefix: str = "") -> dict[str, float]:
    """The known fields; those of ``required`` must be there."""
    known = {name: found.get(prefix.encode() + name.encode()) for name in (required + " " + off).split()}
    missing = [name for name in required.split() if known[name] is None]
    assert not missing, f"{prefix}: {missing}"
    return {name: number(name, text) for name, text in known.items() if text is not None}


@pytest.fixture
def busy(node: Peer) -> Peer:
    """A server that has served some of everything."""
    with node.connect() as client:
        client.ask(
            put(b"a", b"1") + put(b"b", b"2" * 5000) + b"get a b x\r\nincr a 1\r\ndecr a 1\r\nincr x 1\r\n"
            b"touch a 0\r\ndelete x\r\ncas a 0 0 1 99\r\n1\r\ndelete b\r\nmn\r\n",
            MN,
        )
    return node


def test_general(busy: Peer) -> None:
    stats = busy.stats()
    values = read(stats, GENERAL, GENERAL_OFF)
    counted = {
        "get_hits": 2,
        "get_misses": 1,
        "incr_hits": 1,
        "incr_misses": 1,
        "decr_hits": 1,
        "touch_hits": 1,
        "delete_hits": 1,
        "delete_misses": 1,
        "cas_badval": 1,
        "cmd_set": 3,
        "curr_items": 1,
        "total_items": 2,
        "accepting_conns": 1,
        "evictions": 0,
    }
    assert {name: values[name] for name in counted} == counted
    assert stats[b"version"]
    assert values["time"] > 1.7e9
    assert 0 < values["bytes"] < values["limit_maxbytes"]


def test_settings(busy: Peer) -> None:
    assert read(busy.stats(b"settings"), SETTINGS)["maxconns"] == 1024


def test_items(busy: Peer) -> None:
    stats = busy.stats(b"items")
    classes = {name.split(b":")[1].decode() for name in stats}
    read_all = {cls: read(stats, ITEMS, ITEMS_OFF, f"items:{cls}:") for cls in classes}
    assert sum(values["number"] for values in read_all.values()) == 1


def test_slabs(busy: Peer) -> None:
    stats = busy.stats(b"slabs")
    classes = {name.split(b":")[0].decode() for name in stats if b":" in name}
    read_all = [read(stats, SLABS, prefix=f"{cls}:") for cls in classes]
    assert len(read_all) == int(stats[b"active_slabs"]) == 2
    assert sum(values["used_chunks"] for values in read_all) == 1
    assert sum(values["get_hits"] for values in read_all) == 2
    assert sum(values["total_pages"] for values in read_all) * 2**20 == float(stats[b"total_malloced"])
