"""Memory: the limit, who gives way, who does not, and what -M says."""

from __future__ import annotations

import pytest

from cachecore_ext.probe import Store

MEGABYTE = 1 << 20
CHUNK_MAX = 512 * 1024


FIRST = 100_000_000  # so that all keys are of one length, and their items of one class


def key(i: int) -> bytes:
    return b"key%d" % (FIRST + i)


def fill(store: Store, first: int, number: int) -> None:
    store.fill(FIRST + first, number, 32)


def full_store(**options) -> Store:
    """Full of small items: key(0) is the oldest."""
    store = Store(memory_limit=4 * MEGABYTE, **options)
    store.freeze()
    fill(store, 0, 100_000)
    return store


def sum_of(store: Store, name: str) -> int:
    return sum(of[name] for of in store.lists().values())


def test_a_full_cache_evicts_the_oldest():
    store = full_store()
    found = store.check()
    assert sum_of(store, "evicted") + found["items"] == 100_000
    first = 100_000 - found["items"]
    present = [i for i in range(100_000) if store.look(key(i))]
    # Not strictly: an item whose bucket is in use at the moment goes round again.
    assert sum(i < first for i in present) <= 100


def test_what_is_in_use_stays():
    store = full_store()
    hot = [key(i) for i in range(99_000, 100_000, 10)]  # apart: the search for a victim passes 32 at most
    for turn in range(10):
        for name in hot:
            assert store.get(name)
            assert store.get(name)
        fill(store, 100_000 + turn * 20_000, 20_000)
    assert all(store.get(name) for name in hot)
    store.check()


def test_pages_and_table_stay_within_the_limit():
    for megabytes in (2, 8, 64, 150):
        store = Store(memory_limit=megabytes * MEGABYTE)
        store.fill(10**9, megabytes * 16_000, 4)
        memory = store.memory()
        assert memory["charged"] <= memory["limit"]
        assert memory["charged"] > memory["limit"] - 2 * MEGABYTE, "and the limit is used"
        # With overflow buckets, a fifth more halfway between two doublings; all of it was charged.
        assert memory["pages"] + memory["table"] <= memory["limit"]


def test_every_class_may_go_beyond_the_limit_by_a_page():
    store = full_store()
    sizes = [100, 300, 1000, 3000, 10_000, 100_000, 400_000]
    for size in sizes:
        assert store.put("set", b"k%d" % size, bytes(size)) == "STORED"
    assert all(store.get(b"k%d" % size) for size in sizes)
    store.check()


@pytest.mark.parametrize("size", [5000, 200_000, 600_000, 900_000])
def test_large_items_give_way_to_large_items(size):
    store = Store(memory_limit=8 * MEGABYTE)
    for i in range(50):
        assert store.put("set", key(i), bytes([i]) * size, reserve=i % 2 == 0) == "STORED"
        store.check()
    assert store.get(key(49))[0] == bytes([49]) * size
    assert sum_of(store, "evicted") > 0 or size == 5000


def test_what_a_reply_reads_does_not_give_way():
    store = Store(memory_limit=8 * MEGABYTE)
    store.put("set", b"held", bytes([7]) * 700_000)
    held = store.hold(b"held")
    for i in range(100):
        assert store.put("set", key(i), bytes(700_000)) == "STORED"
    assert store.held_value(held) == bytes([7]) * 700_000
    assert store.get(b"held") is not None
    store.check()
    store.release(held)
    for i in range(100):
        store.put("set", key(i), bytes(700_000))
    assert store.look(b"held") is None
    store.check()


def test_when_replies_read_everything_there_is_no_memory():
    store = Store(memory_limit=2 * MEGABYTE)
    held = []
    for i in range(100):
        if store.put("set", key(i), bytes(400_000)) != "STORED":
            break
        held.append(store.hold(key(i)))
    assert 1 < len(held) < 10
    assert store.put("set", b"more", bytes(400_000)) == "NO_MEMORY"
    assert store.put("set", b"more", bytes(400_000), reserve=True) == "NO_MEMORY"
    store.check()
    for handle in held:
        store.release(handle)
    assert store.put("set", b"more", bytes(400_000)) == "STORED"
    store.check()


@pytest.mark.parametrize("reserve", [False, True], ids=["whole", "in parts"])
def test_a_set_that_finds_no_memory_leaves_no_older_value_behind(reserve):
    store = Store(memory_limit=2 * MEGABYTE, evictions=False)
    store.put("set", b"k", b"old")
    i = 0
    while store.put("add", key(i), bytes(400_000)) == "STORED":
        i += 1
    assert store.put("replace", b"k", bytes(400_000), reserve=reserve) == "NO_MEMORY"
    assert store.get(b"k")[0] == b"old"
    assert store.put("set", b"k", bytes(400_000), reserve=reserve) == "NO_MEMORY"
    assert store.get(b"k") is None
    store.check()


def test_a_value_that_gets_only_part_of_its_pieces_gives_them_back():
    store = Store(memory_limit=4 * MEGABYTE, item_size_max=16 * MEGABYTE, evictions=False)
    store.put("set", b"k", b"small")
    before = {cls: of["used"] for cls, of in store.check()["classes"].items()}
    assert store.put("add", b"large", bytes(12 * MEGABYTE)) == "NO_MEMORY"
    after = {cls: of["used"] for cls, of in store.check()["classes"].items()}
    assert {cls: n for cls, n in after.items() if n} == before


# ---- -M


def test_without_evictions_a_full_cache_refuses():
    store = full_store(evictions=False)
    found = store.check()
    assert sum_of(store, "evicted") == 0
    assert store.get(key(0)) is not None
    assert store.put("set", key(500_000), bytes(32)) == "NO_MEMORY"
    assert sum_of(store, "outofmemory") >= 1
    assert store.delete(key(0))
    assert store.put("set", key(500_000), bytes(32)) == "STORED"
    assert store.check()["items"] == found["items"]


def test_without_evictions_a_refused_set_moves_nobody():
    """Who is looked for as a victim, and was fetched, would go to WARM."""
    store = full_store(evictions=False)
    for i in range(store.check()["items"]):
        assert store.get(key(i)) is not None
    for i in range(200):
        assert store.put("set", key(500_000 + i), bytes(32)) == "NO_MEMORY"
    assert sum_of(store, "warm") == 0


def test_without_evictions_what_has_ended_gives_way():
    store = Store(memory_limit=2 * MEGABYTE, evictions=False)
    store.freeze()
    i = 0
    while store.put("set", key(i), bytes(1000), exptime=10) == "STORED":
        i += 1
    assert i > 500
    store.advance(20)
    for j in range(i):
        assert store.put("set", key(10_000 + j), bytes(1000)) == "STORED"
    assert store.put("set", key(50_000), bytes(1000)) == "NO_MEMORY"
    assert (sum_of(store, "reclaimed"), sum_of(store, "evicted")) == (i, 0)
    store.check()


def test_without_evictions_a_full_cache_can_still_touch():
    store = full_store(evictions=False)
    assert store.touch(key(0), 100)
    assert store.look(key(0))["exptime"] > 0
    store.check()


def test_what_was_flushed_gives_way_first():
    store = full_store(evictions=False)
    items = store.check()["items"]
    store.flush()
    fill(store, 200_000, items)
    assert store.check()["items"] == items
    assert sum_of(store, "reclaimed") > 0
    assert sum_of(store, "evicted") == 0
    assert store.get(key(200_000)) is not None
