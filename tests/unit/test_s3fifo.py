"""The default policy: a small list for what is new, a hand over what was used, and ghosts of what was evicted."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cachecore_ext.probe import Lru, Slabs, Store

CLS = 3
HOT, WARM, COLD, TEMP = range(4)
FLAT, SEGMENTED, S3FIFO = range(3)
KNOWN = -2  # an item that takes the place of one in WARM
MEGABYTE = 1 << 20


def lists_with(new: int, warm: int) -> tuple[Lru, list[int], list[int]]:
    """So many items in HOT and in WARM, the oldest first."""
    lru = Lru(Slabs(MEGABYTE))
    kept = [lru.link(CLS, arrival=KNOWN) for _ in range(warm)]
    return lru, [lru.link(CLS) for _ in range(new)], kept


def evict(lru: Lru) -> int | None:
    """Let the next one go."""
    victim = lru.victim(CLS)
    if victim is not None:
        lru.unlink(victim)
    return victim


def test_new_items_enter_hot_and_the_oldest_leaves_first():
    lru, new, _ = lists_with(3, 0)
    assert lru.check(CLS) == [new[::-1], [], [], []]
    assert [evict(lru) for _ in range(4)] == [*new, None]


def test_what_was_fetched_once_goes_from_hot_to_warm():
    lru, (a, b, c), _ = lists_with(3, 0)
    lru.fetched(a, 100)
    assert lru.victim(CLS) == b
    assert lru.check(CLS)[:2] == [[c, b], [a]]
    assert lru.marks(a) == {"fetched"}
    assert lru.moves(CLS) == (0, 1, 0)


def test_what_was_stored_again_in_its_place_counts_as_used():
    lru, (a, b), _ = lists_with(2, 0)
    lru.rewrite(a)
    assert lru.victim(CLS) == b
    assert (lru.check(CLS)[WARM], lru.marks(a)) == ([a], set())


def test_hot_gives_way_while_it_has_more_than_its_share():
    """A twentieth of the bytes: 7 of 121 are more, 6 of 120 are not."""
    lru, new, kept = lists_with(7, 114)
    assert evict(lru) == new[0]
    assert evict(lru) == kept[0]


def test_a_scan_leaves_what_is_used_alone():
    lru, new, kept = lists_with(5, 95)
    for _ in range(1000):
        new.append(lru.link(CLS))
        assert evict(lru) == new.pop(0)
    assert lru.check(CLS)[WARM] == kept[::-1]


def test_the_hand_passes_by_what_was_used_and_moves_nothing():
    lru, _, kept = lists_with(0, 4)
    lru.fetched(kept[0], 100)
    lru.fetched(kept[1], 100)
    assert lru.victim(CLS) == kept[2]
    assert lru.check(CLS)[WARM] == kept[::-1]
    assert lru.marks(kept[0]) == {"fetched"}
    assert lru.moves(CLS) == (0, 0, 2)


def test_the_hand_goes_on_from_where_it_evicted_and_comes_round_again():
    lru, _, kept = lists_with(0, 4)
    lru.fetched(kept[0], 100)
    assert [evict(lru) for _ in range(4)] == [kept[1], kept[2], kept[3], kept[0]]


def test_a_new_one_in_warm_waits_for_the_next_round():
    lru, _, kept = lists_with(0, 3)
    lru.fetched(kept[0], 100)
    assert evict(lru) == kept[1]
    late = lru.link(CLS, arrival=KNOWN)
    assert [evict(lru) for _ in range(3)] == [kept[2], late, kept[0]]


def test_a_copy_of_whom_the_hand_points_at_is_the_next():
    lru, _, kept = lists_with(0, 3)
    lru.fetched(kept[0], 100)
    assert lru.victim(CLS) == kept[1]
    copy = lru.replace(CLS, kept[1])
    lru.check(CLS)
    assert lru.victim(CLS) == copy


def test_the_first_fetch_in_warm_is_enough():
    """An item that never was in HOT has not been fetched when it comes to WARM."""
    lru, _, (item,) = lists_with(0, 1)
    lru.fetched(item, 105)
    assert (lru.marks(item), lru.time(item)) == ({"fetched", "active"}, 105)


def test_the_search_ends_when_everything_is_in_use():
    lru, _, kept = lists_with(0, 60)
    for item in kept:
        lru.fetched(item, 100)
    assert lru.victim(CLS) == kept[32]


def test_temporary_items_are_the_last_to_go():
    lru, _, _ = lists_with(0, 0)
    lru.tune(temporary_ttl=60)
    soon = lru.link(CLS, exptime=150)
    lru.fetched(soon, 100)
    later = lru.link(CLS)
    lru.fetched(later, 100)
    assert evict(lru) == later
    assert lru.check(CLS)[TEMP] == [soon]
    assert evict(lru) == soon


# ---- ghosts, in a store


def key(i: int) -> bytes:
    return b"key%06d" % i


def full_store() -> tuple[Store, int]:
    """A store of one size that is full, nothing fetched: the number of items. The keys are 0, 1, ..."""
    store = Store(memory_limit=4 * MEGABYTE)
    store.freeze()
    last = 0
    while not evicted(store):
        last += 1
        assert store.put("set", key(last), bytes(100)) == "STORED"
    return store, last


def evicted(store: Store) -> int:
    return sum(of["evicted"] for of in store.lists().values())


def warm(store: Store) -> int:
    return sum(of["warm"] for of in store.lists().values())


def test_who_comes_back_soon_enters_warm():
    store, last = full_store()
    assert store.put("set", key(1), bytes(100)) == "STORED"
    assert warm(store) == 1
    assert store.put("set", key(last + 1), bytes(100)) == "STORED"
    assert warm(store) == 1
    store.check()


def test_a_ghost_is_good_for_one_return():
    store, _ = full_store()
    store.put("set", key(1), bytes(100))
    store.delete(key(1))
    store.put("set", key(1), bytes(100))
    assert warm(store) == 0


def test_what_was_deleted_has_no_ghost():
    store, last = full_store()
    store.delete(key(last))
    store.put("set", key(last), bytes(100))
    assert warm(store) == 0


def test_a_flush_lets_ghosts_be_forgotten():
    store, _ = full_store()
    store.flush()
    store.put("set", key(1), bytes(100))
    assert warm(store) == 0


def test_ghosts_are_forgotten_as_others_come():
    store, last = full_store()
    for i in range(last + 1, 10 * last):
        store.put("set", key(i), bytes(100))
    before = warm(store)
    for i in range(1, 100):
        store.put("set", key(i), bytes(100))
    assert warm(store) - before <= 2  # marks of 16 bits are taken for another's now and then


def test_a_larger_value_stays_in_warm():
    store, _ = full_store()
    store.put("set", key(1), bytes(100))
    store.put("set", key(1), bytes(300))
    assert warm(store) == 1
    store.check()


def test_the_segmented_lru_lets_everything_enter_hot():
    store, _ = full_store()
    store.tune(mode=SEGMENTED)
    store.put("set", key(1), bytes(100))
    assert warm(store) == 0


@pytest.mark.parametrize("mode", [FLAT, SEGMENTED])
def test_another_mode_takes_over_and_gives_back(mode):
    """What lies in segments that a mode does not fill is evicted first, and nothing is lost on the way."""
    store, last = full_store()
    items = sum(of["number"] for of in store.lists().values())
    for i in range(last - 200, last):
        store.get(key(i))
    store.tune(mode=mode)
    for i in range(last + 1, last + 1000):
        store.put("set", key(i), bytes(100))
    store.tune(mode=S3FIFO)
    cold = sum(of["cold"] for of in store.lists().values())
    assert cold > 0
    for i in range(last + 1000, last + 1000 + cold):
        store.put("set", key(i), bytes(100))
    store.check()
    assert sum(of["cold"] for of in store.lists().values()) == 0
    assert sum(of["number"] for of in store.lists().values()) == items


# ---- no rule loses an item


class Model(RuleBasedStateMachine):
    """Whatever is done, in whichever mode: every item is in one segment, and the hand in WARM, as the census sees."""

    def __init__(self):
        super().__init__()
        self.lru = Lru(Slabs(MEGABYTE))
        self.items: set[int] = set()

    @rule(number=st.integers(1, 12), known=st.booleans())
    def link(self, number, known):
        self.items |= {self.lru.link(CLS, arrival=KNOWN if known else -1) for _ in range(number)}

    @precondition(lambda self: self.items)
    @rule(at=st.integers(0, 99), what=st.sampled_from(["unlink", "fetch", "rewrite", "defer", "replace"]))
    def do(self, at, what):
        ref = sorted(self.items)[at % len(self.items)]
        if what == "unlink":
            self.lru.unlink(ref)
            self.items.remove(ref)
        elif what == "fetch":
            self.lru.fetched(ref, 100)
        elif what == "rewrite":
            self.lru.rewrite(ref)
        elif what == "defer":
            self.lru.defer(CLS, ref)
        else:
            self.items = self.items - {ref} | {self.lru.replace(CLS, ref)}

    @rule()
    def victim(self):
        assert (self.lru.victim(CLS) is None) == (not self.items)

    @rule(mode=st.sampled_from([FLAT, SEGMENTED, S3FIFO]))
    def switch(self, mode):
        self.lru.tune(mode=mode)
        self.lru.juggle(CLS, 100, 10)

    @invariant()
    def all_there(self):
        assert sorted(ref for segment in self.lru.check(CLS) for ref in segment) == sorted(self.items)


TestModel = Model.TestCase
