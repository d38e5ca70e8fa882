"""The order of eviction."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cachecore_ext.probe import Lru, Slabs

CLS = 3
ROUNDS = 32  # marked items that may pass the tail before one is chosen all the same


def lru_with(number: int) -> tuple[Lru, list[int]]:
    """A list and its items, the oldest first."""
    lru = Lru(Slabs(1 << 20))
    return lru, [lru.link(CLS) for _ in range(number)]


def test_an_empty_list_has_no_victim():
    lru, _ = lru_with(0)
    assert lru.victim(CLS) is None
    assert lru.check(CLS) == []


def test_the_oldest_leaves_first():
    lru, items = lru_with(3)
    assert lru.check(CLS) == items[::-1]
    for item in items:
        assert lru.victim(CLS) == item
        lru.unlink(item)
    assert lru.victim(CLS) is None


def test_unlinking_in_the_middle_and_at_the_ends():
    lru, (a, b, c, d) = lru_with(4)
    lru.unlink(c)
    assert lru.check(CLS) == [d, b, a]
    lru.unlink(a)
    lru.unlink(d)
    assert lru.check(CLS) == [b]
    lru.unlink(b)
    assert lru.check(CLS) == []


def test_the_first_fetch_marks_fetched_the_second_active_and_notes_the_time():
    lru, (item,) = lru_with(1)
    assert (lru.marks(item), lru.time(item)) == (set(), 100)
    lru.fetched(item, 105)
    assert (lru.marks(item), lru.time(item)) == ({"fetched"}, 100)
    lru.fetched(item, 106)
    assert (lru.marks(item), lru.time(item)) == ({"fetched", "active"}, 106)
    lru.fetched(item, 107)
    assert lru.time(item) == 106


def test_a_fetch_never_turns_the_time_back():
    """An item may carry a time to come: one whose cas a client chose, stored in the second of a flush."""
    lru, (item,) = lru_with(1)
    lru.fetched(item, 99)
    lru.fetched(item, 99)
    assert lru.time(item) == 100


def test_what_was_fetched_once_gets_no_other_round():
    lru, items = lru_with(2)
    lru.fetched(items[0], 100)
    assert lru.victim(CLS) == items[0]


def test_what_was_fetched_twice_goes_round_once():
    lru, (a, b) = lru_with(2)
    for _ in range(2):
        lru.fetched(a, 100)
    assert lru.victim(CLS) == b
    assert lru.check(CLS) == [a, b]
    assert lru.marks(a) == {"fetched"}
    lru.unlink(b)
    assert lru.victim(CLS) == a


def test_what_was_stored_in_its_old_place_counts_as_new():
    lru, (a, b) = lru_with(2)
    lru.rewrite(a)
    assert lru.victim(CLS) == b
    assert lru.marks(a) == set()


def test_the_search_ends_when_everything_is_in_use():
    lru, items = lru_with(ROUNDS + 10)
    for item in items:
        lru.fetched(item, 100)
        lru.fetched(item, 100)
    assert lru.victim(CLS) == items[ROUNDS]
    assert lru.check(CLS) == [*items[:ROUNDS][::-1], *items[ROUNDS:][::-1]]


def test_a_deferred_victim_goes_to_the_head():
    lru, (a, b, c) = lru_with(3)
    lru.defer(CLS, a)
    assert lru.check(CLS) == [a, c, b]
    assert lru.victim(CLS) == b


def test_the_bytes_follow_a_value_that_changes_its_length():
    lru, items = lru_with(2)
    before = lru.bytes(CLS)
    lru.resize(items[0], 10)
    assert lru.bytes(CLS) == before + 10
    lru.resize(items[0], 3)
    assert lru.bytes(CLS) == before + 3
    lru.unlink(items[0])
    assert lru.bytes(CLS) == before // 2
    lru.check(CLS)


def test_classes_have_lists_of_their_own():
    lru, (a,) = lru_with(1)
    b = lru.link(CLS + 1)
    assert (lru.check(CLS), lru.check(CLS + 1)) == ([a], [b])


class LruModel(RuleBasedStateMachine):
    """Against a Python list, head first, and sets of marked items."""

    def __init__(self):
        super().__init__()
        self.lru = Lru(Slabs(1 << 20))
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
        assert self.lru.check(CLS) == self.order


TestLruModel = LruModel.TestCase
