"""The order of eviction: the segments, their rules, and the flat list."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cachecore_ext.probe import Lru, Slabs

CLS = 3
ROUNDS = 32  # marked items that may pass the tail before one is chosen all the same
HOT, WARM, COLD, TEMP = range(4)
FLAT, SEGMENTED, S3FIFO = range(3)


def flat_with(number: int) -> tuple[Lru, list[int]]:
    """One list and its items, the oldest first."""
    lru = Lru(Slabs(1 << 20), mode=FLAT)
    return lru, [lru.link(CLS) for _ in range(number)]


def cold(lru: Lru) -> list[int]:
    """What is in COLD, where everything is while the LRU is flat."""
    found = lru.check(CLS)
    assert found[HOT] == found[WARM] == found[TEMP] == []
    return found[COLD]


def segmented_with(number: int, **tuning: int) -> tuple[Lru, list[int]]:
    """Segments with everything in HOT, the oldest first: shares so large that nothing moves by itself."""
    lru = Lru(Slabs(1 << 20), mode=SEGMENTED)
    lru.tune(hot_pct=100, warm_pct=100, hot_factor=10**9, warm_factor=10**9)
    items = [lru.link(CLS) for _ in range(number)]
    lru.tune(**{"hot_pct": 100, "warm_pct": 100, "hot_factor": 10**9, "warm_factor": 10**9} | tuning)
    return lru, items


def use(lru: Lru, item: int, now: int = 100) -> None:
    """Twice: a first fetch is not enough to be spared."""
    lru.fetched(item, now)
    lru.fetched(item, now)


# ---- flat


def test_an_empty_list_has_no_victim():
    lru, _ = flat_with(0)
    assert lru.victim(CLS) is None
    assert cold(lru) == []


def test_the_oldest_leaves_first():
    lru, items = flat_with(3)
    assert cold(lru) == items[::-1]
    for item in items:
        assert lru.victim(CLS) == item
        lru.unlink(item)
    assert lru.victim(CLS) is None


def test_unlinking_in_the_middle_and_at_the_ends():
    lru, (a, b, c, d) = flat_with(4)
    lru.unlink(c)
    assert cold(lru) == [d, b, a]
    lru.unlink(a)
    lru.unlink(d)
    assert cold(lru) == [b]
    lru.unlink(b)
    assert cold(lru) == []


def test_the_first_fetch_marks_fetched_the_second_active_and_notes_the_time():
    lru, (item,) = flat_with(1)
    assert (lru.marks(item), lru.time(item)) == (set(), 100)
    lru.fetched(item, 105)
    assert (lru.marks(item), lru.time(item)) == ({"fetched"}, 100)
    lru.fetched(item, 106)
    assert (lru.marks(item), lru.time(item)) == ({"fetched", "active"}, 106)
    lru.fetched(item, 107)
    assert lru.time(item) == 106


def test_a_fetch_never_turns_the_time_back():
    """An item may carry a time to come: one whose cas a client chose, stored in the second of a flush."""
    lru, (item,) = flat_with(1)
    lru.fetched(item, 99)
    lru.fetched(item, 99)
    assert lru.time(item) == 100


def test_what_was_fetched_once_gets_no_other_round():
    lru, items = flat_with(2)
    lru.fetched(items[0], 100)
    assert lru.victim(CLS) == items[0]


def test_what_was_fetched_twice_goes_round_once():
    lru, (a, b) = flat_with(2)
    for _ in range(2):
        lru.fetched(a, 100)
    assert lru.victim(CLS) == b
    assert cold(lru) == [a, b]
    assert lru.marks(a) == {"fetched"}
    lru.unlink(b)
    assert lru.victim(CLS) == a


def test_what_was_stored_in_its_old_place_counts_as_new():
    lru, (a, b) = flat_with(2)
    lru.rewrite(a)
    assert lru.victim(CLS) == b
    assert lru.marks(a) == set()


def test_the_search_ends_when_everything_is_in_use():
    lru, items = flat_with(ROUNDS + 10)
    for item in items:
        lru.fetched(item, 100)
        lru.fetched(item, 100)
    assert lru.victim(CLS) == items[ROUNDS]
    assert cold(lru) == [*items[:ROUNDS][::-1], *items[ROUNDS:][::-1]]


def test_a_deferred_victim_goes_to_the_head():
    lru, (a, b, c) = flat_with(3)
    lru.defer(CLS, a)
    assert cold(lru) == [a, c, b]
    assert lru.victim(CLS) == b


def test_the_bytes_follow_a_value_that_changes_its_length():
    lru, items = flat_with(2)
    before = lru.bytes(CLS)
    lru.resize(items[0], 10)
    assert lru.bytes(CLS) == before + 10
    lru.resize(items[0], 3)
    assert lru.bytes(CLS) == before + 3
    lru.unlink(items[0])
    assert lru.bytes(CLS) == before // 2
    cold(lru)


def test_classes_have_lists_of_their_own():
    lru, (a,) = flat_with(1)
    b = lru.link(CLS + 1)
    assert (lru.check(CLS)[COLD], lru.check(CLS + 1)[COLD]) == ([a], [b])


# ---- segmented


def test_new_items_enter_hot():
    lru, items = segmented_with(3)
    assert lru.check(CLS) == [items[::-1], [], [], []]


def test_what_hot_has_beyond_its_share_goes_to_cold():
    lru, items = segmented_with(10, hot_pct=20)
    for _ in range(10):
        items.append(lru.link(CLS))
    found = lru.check(CLS)
    # Each new item lets one at most move: after ten of them ten moved, and HOT is still too large.
    assert found[COLD] == items[:10][::-1]
    assert found[HOT] == items[10:][::-1]
    lru.juggle(CLS, 100)
    found = lru.check(CLS)
    assert (len(found[HOT]), len(found[COLD])) == (4, 16)
    assert lru.moves(CLS) == (16, 0, 0)


def test_the_oldest_of_cold_is_the_victim():
    lru, items = segmented_with(5, hot_pct=20)
    lru.juggle(CLS, 100)
    assert lru.victim(CLS) == items[0]
    lru.unlink(items[0])
    assert lru.victim(CLS) == items[1]


def test_without_cold_the_victim_comes_from_hot_then_warm_then_temp():
    lru, (first, second) = segmented_with(2, temporary_ttl=60)
    ending = lru.link(CLS, exptime=150)
    use(lru, second)
    assert lru.victim(CLS) == first
    lru.unlink(first)
    # The only one left in HOT is in use: it goes to WARM, and is the next all the same.
    assert lru.victim(CLS) == second
    assert lru.check(CLS) == [[], [second], [], [ending]]
    lru.unlink(second)
    assert lru.victim(CLS) == ending


def test_what_is_in_use_at_hots_tail_goes_to_warm():
    lru, items = segmented_with(10, hot_pct=20)
    use(lru, items[3])
    lru.juggle(CLS, 100)
    found = lru.check(CLS)
    assert found[WARM] == [items[3]]
    assert lru.marks(items[3]) == {"fetched"}
    assert lru.moves(CLS)[1] == 1


def test_what_is_in_use_at_colds_tail_goes_to_warm_and_is_not_evicted():
    lru, items = segmented_with(10, hot_pct=0)
    lru.juggle(CLS, 100)
    use(lru, items[0])
    assert lru.victim(CLS) == items[1]
    assert lru.check(CLS)[WARM] == [items[0]]


def test_what_is_in_use_at_warms_tail_stays_in_warm():
    lru, items = segmented_with(4, hot_pct=0)
    for item in items[:2]:
        use(lru, item)
    lru.juggle(CLS, 100)
    assert lru.check(CLS)[WARM] == items[:2][::-1]
    use(lru, items[0])
    lru.juggle(CLS, 100)
    assert lru.check(CLS)[WARM] == items[:2]
    assert lru.moves(CLS) == (2, 2, 1)


def test_what_warm_has_beyond_its_share_goes_to_cold():
    lru, items = segmented_with(10, hot_pct=0)
    for item in items:
        use(lru, item)
    lru.juggle(CLS, 100)
    assert lru.check(CLS)[WARM] == items[::-1]
    lru.tune(hot_pct=0, warm_pct=40, hot_factor=10**9, warm_factor=10**9)
    lru.juggle(CLS, 100)
    found = lru.check(CLS)
    assert (found[WARM], found[COLD]) == (items[6:][::-1], items[:6][::-1])


@pytest.mark.parametrize(("factor", "stays"), [(200, False), (2000, True)])
def test_what_hot_holds_for_too_long_goes_to_cold(factor, stays):
    lru, _ = segmented_with(0, hot_factor=factor)
    old = lru.link(CLS, now=0)
    lru.tune(hot_pct=0, hot_factor=factor)
    lru.juggle(CLS, 0)
    assert lru.check(CLS)[COLD] == [old]
    lru.tune(hot_pct=100, hot_factor=factor)
    item = lru.link(CLS, now=50)
    lru.juggle(CLS, 100)  # COLD's oldest was used 100 seconds ago, the item 50
    assert (item in lru.check(CLS)[HOT]) == stays


def test_an_idle_cache_drains_to_cold():
    lru, items = segmented_with(10, hot_factor=200)
    lru.juggle(CLS, 100)
    assert lru.check(CLS)[HOT] == items[::-1]
    lru.juggle(CLS, 101)
    assert lru.check(CLS)[COLD] == items[::-1]


def test_what_was_stored_in_its_old_place_is_new():
    lru, items = segmented_with(3, hot_pct=0)
    lru.juggle(CLS, 100)
    lru.rewrite(items[0])
    lru.tune(hot_pct=100)
    assert lru.victim(CLS) == items[1]
    assert lru.check(CLS)[HOT] == [items[0]]


def test_what_ends_soon_enters_temp_and_stays_there():
    lru, _ = segmented_with(0, temporary_ttl=60)
    soon = lru.link(CLS, now=100, exptime=160)
    later = lru.link(CLS, now=100, exptime=161)
    never = lru.link(CLS, now=100)
    use(lru, soon)
    lru.juggle(CLS, 120)
    found = lru.check(CLS)
    assert found[TEMP] == [soon]
    assert later not in found[TEMP] and never not in found[TEMP]
    assert lru.victim(CLS) != soon


def test_the_maintenance_moves_no_more_than_it_was_told():
    lru, _ = segmented_with(50, hot_pct=0)
    assert lru.juggle(CLS, 100, 7) == 7
    assert len(lru.check(CLS)[COLD]) == 7


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_copy_takes_the_place_of_its_item(at):
    lru, items = segmented_with(3)
    use(lru, items[at])
    copy = lru.replace(CLS, items[at])
    expected = [copy if item == items[at] else item for item in items]
    assert lru.check(CLS)[HOT] == expected[::-1]
    assert lru.marks(copy) == {"fetched", "active"}


class SegmentModel(RuleBasedStateMachine):
    """No rule loses an item, doubles one, or lets the sums go wrong."""

    def __init__(self):
        super().__init__()
        self.lru = Lru(Slabs(1 << 20), mode=SEGMENTED)
        self.lru.tune(temporary_ttl=20)
        self.items: set[int] = set()
        self.now = 100

    def some(self, at):
        return sorted(self.items)[at % len(self.items)]

    @rule(number=st.integers(1, 12), ttl=st.sampled_from([0, 10, 50]))
    def link(self, number, ttl):
        for _ in range(number):
            self.items.add(self.lru.link(CLS, now=self.now, exptime=ttl and self.now + ttl))

    @precondition(lambda self: self.items)
    @rule(at=st.integers(0, 99), what=st.sampled_from(["unlink", "use", "rewrite", "defer", "replace"]))
    def do(self, at, what):
        ref = self.some(at)
        if what == "unlink":
            self.lru.unlink(ref)
            self.items.remove(ref)
        elif what == "use":
            use(self.lru, ref, self.now)
        elif what == "rewrite":
            self.lru.rewrite(ref)
        elif what == "defer":
            self.lru.defer(CLS, ref)
        else:
            self.items.add(self.lru.replace(CLS, ref))
            self.items.remove(ref)

    @rule(seconds=st.integers(0, 30), steps=st.integers(1, 50))
    def juggle(self, seconds, steps):
        self.now += seconds
        assert self.lru.juggle(CLS, self.now, steps) <= steps

    @rule(hot=st.integers(0, 60), warm=st.integers(0, 60), ttl=st.sampled_from([20, 0xFFFFFFFF]))
    def tune(self, hot, warm, ttl):
        self.lru.tune(hot_pct=hot, warm_pct=warm, temporary_ttl=ttl)

    @rule()
    def victim(self):
        assert (self.lru.victim(CLS) is None) == (not self.items)

    @invariant()
    def all_there(self):
        found = [ref for segment in self.lru.check(CLS) for ref in segment]
        assert sorted(found) == sorted(self.items)


TestSegmentModel = SegmentModel.TestCase


class LruModel(RuleBasedStateMachine):
    """Against a Python list, head first, and sets of marked items."""

    def __init__(self):
        super().__init__()
        self.lru = Lru(Slabs(1 << 20), mode=FLAT)
        self.order: list[int] = []
        self.fetched_once: set[int] = set()
        self.spared: set[int] = set()

    def some(self, at):
        return self.order[at % len(self.order)]

    @rule(number=st.integers(1, 12))
    def link(self, number):
        for _ in range(number):
            ref = self.lru.link(CLS)
            self.order.insert(0, ref)

    @precondition(lambda self: self.order)
    @rule(at=st.integers(0, 99))
    def unlink(self, at):
        ref = self.some(at)
        self.lru.unlink(ref)
        self.order.remove(ref)
        self.fetched_once.discard(ref)
        self.spared.discard(ref)

    @precondition(lambda self: self.order)
    @rule(first=st.integers(0, 99), number=st.integers(1, 40))
    def fetch(self, first, number):
        for at in range(first, first + number):
            ref = self.some(at)
            self.lru.fetched(ref, 100)
            if ref in self.fetched_once:
                self.spared.add(ref)
            self.fetched_once.add(ref)

    @precondition(lambda self: self.order)
    @rule(at=st.integers(0, 99))
    def rewrite(self, at):
        ref = self.some(at)
        self.lru.rewrite(ref)
        self.fetched_once.discard(ref)
        self.spared.add(ref)

    @rule()
    def victim(self):
        for _ in range(ROUNDS):
            if not self.order or self.order[-1] not in self.spared:
                break
            self.spared.remove(self.order[-1])
            self.order.insert(0, self.order.pop())
        assert self.lru.victim(CLS) == (self.order[-1] if self.order else None)

    @precondition(lambda self: self.order)
    @rule(at=st.integers(0, 99))
    def defer(self, at):
        ref = self.some(at)
        self.lru.defer(CLS, ref)
        self.order.remove(ref)
        self.order.insert(0, ref)

    @invariant()
    def agrees(self):
        assert cold(self.lru) == self.order


TestLruModel = LruModel.TestCase
