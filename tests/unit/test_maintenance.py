"""What goes on beside the serving: the crawler, the mover of pages, the automover. Time stands still or is moved."""

from __future__ import annotations

import array
import ctypes
import random

import pytest

from cachecore_ext.probe import Store

MEGABYTE = 1 << 20
FIRST = 100_000_000
OK, BUSY, BADCLASS, NOSPARE, SAME = range(5)
FLAT, SEGMENTED = range(2)
STEPS = 3000  # of the maintenance: enough for a crawl or a move in these small stores, and known to end


def key(i: int) -> bytes:
    return b"key%d" % (FIRST + i)


def value(i: int, size: int) -> bytes:
    return (b"%d," % i * size)[:size]


def store_with(memory: int = 8 * MEGABYTE, automove: int = 0, **options) -> Store:
    store = Store(memory_limit=memory, **options)
    store.freeze()
    store.maintain()  # the first crawl finds nothing
    store.automove(automove)
    return store


def sum_of(store: Store, name: str) -> int:
    return sum(of[name] for of in store.lists().values())


def class_of(store: Store, name: bytes) -> int:
    return store.look(name)["class"]


def pages(store: Store) -> dict[int, int]:
    return {cls: of["pages"] for cls, of in store.check()["classes"].items()}


# ---- the crawler


def test_what_has_expired_gives_its_memory_back_unasked():
    store = store_with()
    for i in range(5000):
        store.put("set", key(i), value(i, 500), exptime=10 if i % 2 else 0)
    store.advance(11)
    store.advance(60)
    store.maintain(STEPS)
    assert store.check()["items"] == 2500
    assert sum_of(store, "crawler_reclaimed") + sum_of(store, "reclaimed") == 2500
    assert sum_of(store, "crawler_reclaimed") > 1000
    assert all((store.look(key(i)) is None) == bool(i % 2) for i in range(5000))


def test_what_was_flushed_gives_its_memory_back_unasked():
    store = store_with()
    for i in range(2000):
        store.put("set", key(i), value(i, 500))
    store.flush()
    for i in range(2000, 2100):
        store.put("set", key(i), value(i, 500))
    store.advance(60)
    store.maintain(STEPS)
    assert store.check()["items"] == 100


def test_large_and_chained_items_are_crawled_too():
    store = store_with(32 * MEGABYTE)
    for i, size in enumerate([5000, 100_000, 700_000, 900_000]):
        store.put("set", key(i), value(i, size), exptime=10)
        store.put("set", key(10 + i), value(i, size))
    store.advance(70)
    store.maintain(STEPS)
    assert store.check()["items"] == 4


def test_a_crawl_waits_until_enough_will_have_ended():
    store = store_with()
    for i in range(1000):
        store.put("set", key(i), value(i, 500), exptime=22)
    store.put("set", key(5000), b"", exptime=3000)
    store.advance(60)
    store.advance(-60)  # the crawls that are due now have been
    store.maintain(STEPS)
    before = store.check()["items"]
    store.advance(10)
    store.maintain(STEPS)
    assert store.check()["items"] == before == 1001
    store.advance(16)
    store.maintain(STEPS)
    assert store.check()["items"] == 1


# ---- the mover


def crowd(store: Store, number: int, size: int = 500, **options) -> int:
    """Items of one class; the class."""
    for i in range(number):
        assert store.put("set", key(i), value(i, size), **options) == "STORED"
    return class_of(store, key(number - 1))


def test_a_page_moves_and_no_item_is_lost():
    store = store_with(32 * MEGABYTE)
    cls = crowd(store, 9000)
    for i in range(0, 9000, 3):
        assert store.delete(key(i))  # so that there is room in the other pages
    kept = [i for i in range(9000) if i % 3]
    looks = {i: store.look(key(i)) for i in kept}
    before = pages(store)
    assert store.reassign(cls, 0) == OK
    store.maintain(STEPS)
    assert store.mover()["moved"] == 1
    assert pages(store) == before | {cls: before[cls] - 1}
    assert store.check()["items"] == 6000
    for i, look in looks.items():
        assert store.get(key(i))[0] == value(i, 500)
        now = store.look(key(i))
        assert now | {"address": 0, "marks": 0} == look | {"address": 0, "marks": 0}
    assert store.mover()["rescues"] > 100
    assert sum_of(store, "evicted") == 0


def test_the_order_of_eviction_survives_a_move():
    store = store_with(4 * MEGABYTE)
    cls = crowd(store, 3000)
    assert store.reassign(cls, 0) == OK
    store.maintain(STEPS)
    assert store.mover()["moved"] == 1
    i = 3000
    while sum_of(store, "evicted") < 500:
        store.put("set", key(i), value(i, 500))
        i += 1
    gone = [j for j in range(3000) if store.look(key(j)) is None]
    assert len(gone) == 500
    assert gone[-5] < 500, "the oldest, but for the few whose bucket was in use"


def test_a_page_moves_to_another_class():
    store = store_with(32 * MEGABYTE)
    cls = crowd(store, 9000)
    store.put("set", b"other", value(1, 3000))
    other = class_of(store, b"other")
    assert store.reassign(cls, other) == OK
    store.maintain(STEPS)
    assert pages(store)[other] == 2
    assert store.get(b"other")[0] == value(1, 3000)


def test_in_a_full_class_the_least_useful_give_way():
    store = store_with(4 * MEGABYTE)
    i = 0
    while sum_of(store, "evicted") == 0:
        store.put("set", key(i), value(i, 500))
        i += 1
    cls = class_of(store, key(i - 1))
    items, per_page = store.check()["items"], 2 * MEGABYTE // 1100
    assert store.reassign(cls, 0) == OK
    store.maintain(STEPS)
    assert store.mover()["moved"] == 1
    left = store.check()["items"]
    assert items - per_page - 200 < left < items
    gone = [j for j in range(i) if store.look(key(j)) is None]
    assert gone[-5] < len(gone), "the oldest went, but for the few whose bucket was in use"


def test_a_set_finds_memory_while_the_page_of_the_oldest_items_leaves():
    """What is evicted then lies in that page, for thousands of items in a row. Each set takes over one item's chunk."""
    store = store_with(4 * MEGABYTE)
    i = 0
    while sum_of(store, "evicted") == 0:
        store.put("set", key(i), value(i, 32))
        i += 1
    oldest = next(j for j in range(i) if store.look(key(j)))
    for j in range(oldest, oldest + 500):
        store.delete(key(j))  # their page is the emptiest
    assert store.reassign(class_of(store, key(i - 1)), 0) == OK
    store.maintain()
    assert store.mover()["moving"]
    before = sum_of(store, "evicted")
    assert all(store.put("set", key(i + j), value(j, 32)) == "STORED" for j in range(100))
    assert sum_of(store, "evicted") == before + 100
    store.check()
    store.maintain(STEPS)
    assert store.mover()["moved"] == 1
    assert all(store.get(key(i + j))[0] == value(j, 32) for j in range(100))
    store.check()


def test_without_evictions_a_full_class_keeps_its_pages():
    store = store_with(4 * MEGABYTE, evictions=False)
    i = 0
    while store.put("set", key(i), value(i, 500)) == "STORED":
        i += 1
    cls = class_of(store, key(0))
    before = pages(store)
    assert store.reassign(cls, 0) == OK
    store.maintain(100)
    assert store.mover()["given_up"] is not None, "one walk tells that there is no chunk to copy to"
    assert pages(store) == before
    assert store.check()["items"] == i


def test_without_evictions_no_page_is_asked_of_who_has_none_to_spare():
    store = store_with(4 * MEGABYTE, automove=1, evictions=False)
    for size in (5000, 100_000):
        i = 0
        while store.put("set", key(size + i), value(i, size)) == "STORED":
            i += 1
    store.maintain(100)
    assert (store.mover()["given_up"], store.mover()["moving"]) == (None, False)


def test_what_has_ended_is_not_copied():
    store = store_with(32 * MEGABYTE)
    cls = crowd(store, 9000, exptime=10)
    store.advance(11)
    assert store.reassign(cls, 0) == OK
    store.maintain(STEPS)
    assert store.mover()["moved"] == 1
    assert store.mover()["rescues"] == 0


@pytest.mark.parametrize("size", [5000, 60_000, 200_000])
def test_large_items_move(size):
    store = store_with(64 * MEGABYTE)
    number = 4 * MEGABYTE // size
    cls = crowd(store, number, size)
    assert store.reassign(cls, 0) == OK
    store.maintain(STEPS)
    assert store.mover()["moved"] == 1
    assert store.check()["items"] == number
    assert all(store.get(key(i))[0] == value(i, size) for i in range(number))


def test_pieces_of_chained_values_move():
    store = store_with(64 * MEGABYTE, item_size_max=8 * MEGABYTE)
    for i in range(6):
        assert store.put("set", key(i), value(i, 1_500_000)) == "STORED"
    largest = max(store.check()["classes"])
    for _ in range(3):
        assert store.reassign(largest, 0) == OK
        store.maintain(STEPS)
    assert store.mover()["moved"] == 3
    assert store.mover()["chunk_rescues"] >= 3
    store.check()
    assert all(store.get(key(i))[0] == value(i, 1_500_000) for i in range(6))


@pytest.mark.parametrize(("size", "moves"), [(4_000_000, True), (5_000_000, False)])
def test_a_value_in_very_many_pieces_stays_where_it_is(size, moves):
    """They are walked under its bucket's lock, for each of them that moves: 4096 at most."""
    store = store_with(64 * MEGABYTE, item_size_max=8 * MEGABYTE, chunk_max=1024)
    assert store.put("set", key(0), value(0, size)) == "STORED"
    assert store.reassign(max(store.check()["classes"]), 0) == OK
    store.maintain(2 * STEPS)
    assert store.mover()["moved"] == moves
    assert (store.mover()["given_up"] is None) == moves
    assert (store.mover()["chunk_rescues"] > 0) == moves
    assert store.get(key(0))[0] == value(0, size)
    store.check()


def test_heads_of_chained_values_move_and_their_pieces_know():
    store = store_with(64 * MEGABYTE, item_size_max=8 * MEGABYTE, chunk_max=16 * 1024)
    number = 40_000  # three pages of heads, most of them of small values
    for i in range(number):
        store.put("set", key(i), b"")
    store.put("set", key(0), value(0, 40_000))
    cls = next(cls for cls, of in store.check()["classes"].items() if of["size"] == 68)
    before = store.look(key(0))["address"]
    for _ in range(2):
        assert store.reassign(cls, 0) == OK
        store.maintain(STEPS)
    assert store.look(key(0))["address"] != before
    largest = max(store.check()["classes"])
    for i in range(1, 60):
        store.put("set", key(i), value(i, 40_000))
    for i in range(1, 21):
        store.delete(key(i))  # so that the page of the first one's pieces is the emptiest
    assert store.reassign(largest, 0) == OK
    store.maintain(STEPS)
    assert store.mover()["moved"] == 3
    store.check()
    assert all(store.get(key(i))[0] == value(i, 40_000) for i in (0, *range(21, 60)))


def test_what_a_reply_reads_holds_its_page_until_it_is_let_go():
    store = store_with(32 * MEGABYTE)
    cls = crowd(store, 20, 200_000)
    held = [store.hold(key(i)) for i in range(20)]
    assert store.reassign(cls, 0) == OK
    store.maintain(100)
    assert store.mover()["moving"]
    assert store.mover()["busy_items"] > 0
    for i, handle in enumerate(held):
        assert store.held_value(handle) == value(i, 200_000)
        store.release(handle)
    store.maintain(STEPS)
    assert store.mover()["moved"] == 1
    store.check()
    assert all(store.get(key(i))[0] == value(i, 200_000) for i in range(20))


def test_a_page_that_never_becomes_empty_is_given_up():
    store = store_with(32 * MEGABYTE)
    cls = crowd(store, 20, 200_000)
    held = [store.hold(key(i)) for i in range(20)]
    before = pages(store)
    assert store.reassign(cls, 0) == OK
    store.maintain(STEPS)
    assert store.mover()["given_up"] is not None
    assert not store.mover()["moving"]
    assert pages(store) == before
    assert store.put("set", key(50), value(1, 200_000)) == "STORED"
    for handle in held:
        store.release(handle)
    store.check()


def by_page(store: Store, number: int) -> list[list[int]]:
    """The numbers of the keys in each page, in the order of the pages; the first key is the first page's first."""
    found: dict[int, list[int]] = {}
    first = store.look(key(0))["address"]
    for i in range(number):
        found.setdefault((store.look(key(i))["address"] - first) // MEGABYTE, []).append(i)
    return [found[page] for page in sorted(found)]


def test_after_a_move_that_was_given_up_another_page_is_tried():
    store = store_with(32 * MEGABYTE)
    cls = crowd(store, 20, 200_000)
    held, *others = by_page(store, 20)[0]
    handle = store.hold(key(held))
    for i in others:
        store.delete(key(i))
    for moved in (0, 1):
        assert store.reassign(cls, 0) == OK
        store.maintain(STEPS)
        assert store.mover()["moved"] == moved
    assert store.mover()["given_up"] is not None
    store.release(handle)
    store.check()


@pytest.mark.parametrize("emptied", range(3, 7))
def test_a_page_becomes_another_classes_under_the_crawler(emptied):
    """The crawler is in the middle of a page of many chunks when that becomes one of two."""
    store = store_with(32 * MEGABYTE)
    cls = crowd(store, 15_000, 650)
    store.put("set", b"large", value(1, 400_000))
    for i in by_page(store, 15_000)[emptied]:
        store.delete(key(i))
    store.advance(70)
    assert store.reassign(cls, class_of(store, b"large")) == OK
    store.maintain(STEPS)
    assert store.mover()["moved"] == 1
    store.check()


def test_a_page_whose_memory_is_locked_is_empty_all_the_same():
    """The kernel does not take locked memory back; what was in the page must not look like items of its new class."""
    store = store_with(32 * MEGABYTE)
    cls = crowd(store, 9000)
    store.put("set", b"other", value(1, 3000))
    address = store.look(key(0))["address"] // 4096 * 4096
    for i in by_page(store, 9000)[0]:
        store.delete(key(i))
    assert ctypes.CDLL(None).mlock(ctypes.c_void_p(address), ctypes.c_size_t(4096)) == 0
    assert store.reassign(cls, class_of(store, b"other")) == OK
    store.maintain(STEPS)
    assert store.mover()["moved"] == 1
    store.check()


def test_what_the_mover_answers():
    store = store_with(32 * MEGABYTE)
    cls = crowd(store, 9000)
    assert store.reassign(0, cls) == NOSPARE
    assert store.reassign(0, 0) == SAME
    assert store.reassign(64, cls) == BADCLASS
    assert store.reassign(cls, 64) == BADCLASS
    assert store.reassign(cls, -1) == BADCLASS
    assert store.reassign(cls, cls) == SAME
    assert store.reassign(cls + 1, cls) == NOSPARE
    assert store.reassign(-1, 0) == OK
    assert store.reassign(cls, 0) == BUSY


def test_a_page_of_any_class_is_not_the_target_s_own():
    store = store_with(32 * MEGABYTE)
    rich = crowd(store, 9000)
    assert store.reassign(-1, 64) == BADCLASS
    assert store.reassign(-1, rich) == NOSPARE, "no other class has a page"
    for i in range(500):
        store.put("set", b"other%d" % i, value(i, 3000))
    for i in range(400):
        store.delete(b"other%d" % i)
    other = class_of(store, b"other499")
    before = pages(store)
    assert before[rich] > before[other] == 2
    assert store.reassign(-1, rich) == OK
    store.maintain(STEPS)
    assert pages(store) == {rich: before[rich] + 1, other: 1}
    assert store.reassign(-1, rich) == NOSPARE, "and that is the other class's last"
    assert store.reassign(-1, 64) == BADCLASS


def test_a_page_of_the_pool_is_given_to_a_class():
    store = store_with(32 * MEGABYTE)
    cls = crowd(store, 9000)
    assert store.reassign(cls, 0) == OK
    store.maintain(STEPS)
    before = pages(store)
    store.put("set", b"other", value(1, 3000))
    other = class_of(store, b"other")  # it took the page, as its first
    assert store.reassign(0, other) == NOSPARE
    assert store.reassign(cls, 0) == OK
    store.maintain(STEPS)
    assert store.reassign(0, other) == OK
    assert pages(store)[other] == 2
    assert sum(pages(store).values()) <= sum(before.values()) + 2


# ---- the limit


def test_a_lower_limit_gives_pages_back():
    store = store_with(64 * MEGABYTE)
    crowd(store, 60_000)
    before = store.memory()["charged"]
    assert before > 30 * MEGABYTE
    assert store.set_limit(16 * MEGABYTE)
    store.maintain(100_000)
    assert store.memory()["charged"] <= 16 * MEGABYTE
    found = store.check()
    assert 10_000 < found["items"] < 60_000
    assert store.get(key(59_999))[0] == value(59_999, 500)


def test_a_higher_limit_is_used():
    store = store_with(4 * MEGABYTE)
    crowd(store, 20_000)
    assert sum_of(store, "evicted") > 0
    assert store.set_limit(64 * MEGABYTE)
    before = sum_of(store, "evicted")
    for i in range(20_000, 60_000):
        store.put("set", key(i), value(i, 500))
    assert sum_of(store, "evicted") == before
    store.check()


# ---- the automover


def hit_ratio(store: Store, first: int, number: int, size: int, rounds: int, *, maintained: bool) -> float:
    """Of keys that are asked for in turn and stored where they are missing: the share of hits in the last round."""
    hits = 0
    for _ in range(rounds):
        hits = 0
        for i in range(first, first + number):
            if store.get(key(i)) is not None:
                hits += 1
            else:
                store.put("set", key(i), value(i, size))
            if maintained and i % 20 == 0:
                store.maintain(2)
    return hits / number


@pytest.mark.parametrize(("mode", "recovers"), [(1, True), (2, True), (0, False)])
def test_a_cache_of_small_values_becomes_one_of_large_values(mode, recovers):
    """The case that moving pages is for: all memory belongs to 100-byte values, and then the workload is 4 KB."""
    store = store_with(16 * MEGABYTE, automove=mode)
    for i in range(150_000):
        store.put("set", key(i), value(i, 100))
    ratio = hit_ratio(store, 200_000, 2000, 4000, 6, maintained=True)
    store.check()
    if recovers:
        assert ratio > 0.99  # 8 MB of 16
    else:
        assert ratio < 0.2  # one page


def test_beyond_the_limit_no_page_moves_that_would_be_replaced_at_once():
    """Every class has its first page, which is more than the limit; the largest one's items take more than one."""
    store = store_with(8 * MEGABYTE, automove=1, chunk_max=16 * 1024)
    largest = 16_384 - 100
    for i in range(66):  # a page has 64 of them
        store.put("set", key(i), value(i, largest))
    for size in range(1, 16_000, 50):
        store.put("set", b"of%d" % size, value(size, size))
    memory = store.memory()
    assert memory["charged"] > memory["limit"]
    store.maintain(STEPS)
    settled = store.mover()["moved"], pages(store)
    store.maintain(STEPS)
    assert (store.mover()["moved"], pages(store)) == settled
    assert max(settled[1].values()) == 2


def test_a_class_that_found_no_memory_is_given_a_page():
    store = store_with(8 * MEGABYTE, automove=1)
    crowd(store, 20_000)
    held = []
    i = 0
    while store.put("set", key(100_000 + i), value(i, 300_000)) == "STORED":
        held.append(store.hold(key(100_000 + i)))
        i += 1
    store.maintain(STEPS)
    assert store.put("set", key(100_000 + i), value(i, 300_000)) == "STORED"
    for handle in held:
        store.release(handle)
    store.check()


def test_equal_classes_leave_each_other_alone():
    store = store_with(16 * MEGABYTE, automove=1)
    for i in range(60_000):
        store.put("set", key(i), value(i, 700 if i % 2 else 200))
        if i % 50 == 0:
            store.maintain()
    before = store.mover()["moved"]
    for i in range(60_000, 120_000):
        store.put("set", key(i), value(i, 700 if i % 2 else 200))
        if i % 50 == 0:
            store.maintain()
    assert store.mover()["moved"] - before <= 3


# ---- the LRU


def test_an_idle_cache_drains_to_cold_and_back_to_flat():
    store = store_with(32 * MEGABYTE)
    store.tune(mode=SEGMENTED)
    crowd(store, 300)
    assert sum_of(store, "hot") > 0
    store.advance(2)
    store.maintain()
    assert (sum_of(store, "hot"), sum_of(store, "cold")) == (0, 300)


def test_a_flat_lru_takes_over_what_the_segments_hold():
    store = store_with(32 * MEGABYTE)
    store.tune(mode=SEGMENTED)
    crowd(store, 300)
    for i in range(300):
        store.get(key(i))
        store.get(key(i))
    store.advance(2)
    store.maintain()
    assert sum_of(store, "warm") > 0
    store.tune(mode=FLAT)
    store.maintain(20)
    assert (sum_of(store, "hot"), sum_of(store, "warm"), sum_of(store, "cold")) == (0, 0, 300)


def test_what_ends_soon_is_kept_apart_and_reclaimed():
    store = store_with(32 * MEGABYTE)
    store.tune(temporary_ttl=61)
    crowd(store, 300, exptime=60)
    assert sum_of(store, "temp") == 300
    # Stored again in its old place, with a longer life, it would never be evicted: so it moves.
    store.put("set", key(0), value(1, 500), exptime=6000)
    store.put("set", key(1), value(1, 500))
    assert sum_of(store, "temp") == 298
    store.advance(60)
    store.maintain(10)
    assert store.check()["items"] == 2


# ---- pages follow the hits


def demand(store: Store, order: list[int], size: int) -> int:
    """Look-ups by number, a set for each that misses; how many missed."""
    numbers = array.array("I", order)
    sizes = array.array("I", [size] * len(order))
    return sum(store.replay(numbers, sizes, array.array("I", [0] * len(order)), rate=10**9))


def pages_of(store: Store, size: int) -> int:
    """Pages of the class whose chunks are the first to hold so much."""
    classes = store.check()["classes"].values()
    return min(((of["size"], of["pages"]) for of in classes if of["size"] > size), default=(0, 0))[1]


def test_a_page_goes_to_where_it_brings_hits():
    """Large keys come round, of which two thirds fit; small ones come once, so that a page more brings them nothing."""
    store = store_with(16 * MEGABYTE, automove=1)
    large = list(range(1400))
    once = 10_000
    for _ in range(30):
        demand(store, list(range(once, once + 4000)), 100)
        once += 4000
        demand(store, large, 8000)
    before = demand(store, large, 8000)
    assert pages_of(store, 8000) >= 12
    assert before < len(large) / 20
    assert pages_of(store, 100) >= 1


def test_pages_stay_where_classes_are_alike():
    """Two sizes, asked for alike: once they share the memory, no page goes to and fro."""
    store = store_with(16 * MEGABYTE, automove=1)
    chosen = random.Random(3)
    order = [2 * int(20_000 * chosen.random() ** 3) + chosen.randrange(2) for _ in range(400_000)]
    sizes = array.array("I", [900 if number % 2 else 700 for number in order])
    store.replay(array.array("I", order), sizes, array.array("I", [0] * len(order)), rate=10**9)
    assert store.mover()["moved"] <= 4


def test_the_last_page_is_taken_from_who_is_not_asked():
    store = store_with(8 * MEGABYTE, automove=1)
    demand(store, list(range(200)), 8000)
    demand(store, list(range(10_000, 10_100)), 3000)
    chosen = random.Random(3)
    for _ in range(20):
        demand(store, [100_000 + int(100_000 * chosen.random() ** 3) for _ in range(20_000)], 500)
    assert (pages_of(store, 8000), pages_of(store, 3000)) == (0, 0)


def test_a_page_that_is_hit_is_not_taken_though_its_class_evicts_nothing():
    store = store_with(8 * MEGABYTE, automove=1)
    few = list(range(200))
    chosen = random.Random(3)
    order = [
        chosen.choice(few) if chosen.random() < 0.5 else 1000 + int(100_000 * chosen.random() ** 3)
        for _ in range(300_000)
    ]
    sizes = array.array("I", [4000 if number < 1000 else 500 for number in order])
    store.replay(array.array("I", order), sizes, array.array("I", [0] * len(order)), rate=10**9)
    assert demand(store, few, 4000) == 0
