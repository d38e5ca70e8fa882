"""A walk over the table: whatever happens meanwhile, what is there all the time is visited exactly once."""

from __future__ import annotations

import collections
import itertools
import struct

import pytest
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from cachecore_ext.probe import Slabs, Table

BUCKETS = 8192  # that a table begins with
MEGABYTE = 1 << 20


def key_of(h: int, number: int = 0) -> bytes:
    """A key whose hash is ``h``, in a table with chosen hashes."""
    return struct.pack("<QH", h, number)


def chosen_table() -> Table:
    return Table(Slabs(64 * MEGABYTE), stripes=1, chosen_hashes=True)


def walked(table: Table, most: int = 1000, grow: int = 0) -> list[bytes]:
    """Every key that a walk visits; between two of its steps the table grows."""
    seen: list[bytes] = []
    at: int | None = 0
    while at is not None:
        keys, at = table.walk(at, most)
        seen += keys
        for _ in range(grow):
            table.grow()
    return seen


def test_an_empty_table():
    table = Table(Slabs(MEGABYTE))
    assert walked(table) == []
    assert table.walk() == ([], 2**64 // BUCKETS), "one bucket of all"


@pytest.mark.parametrize("size", [BUCKETS, BUCKETS + 1, 2 * BUCKETS - 1, 2 * BUCKETS, 3 * BUCKETS + 7])
def test_every_item_once_at_every_size(size):
    table = Table(Slabs(16 * MEGABYTE), max_items=1 << 20)
    keys = [b"key-%d" % i for i in range(20_000)]
    assert all(map(table.insert, keys))
    while table.nbuckets < size:
        assert table.grow()
    assert sorted(walked(table)) == sorted(keys)


@pytest.mark.parametrize("most", [1, 5, 1000])
@pytest.mark.parametrize("grow", [1, 2, 7])
def test_every_item_once_while_it_grows(most, grow):
    table = Table(Slabs(64 * MEGABYTE), max_items=1 << 20)
    keys = [b"key-%d" % i for i in range(20_000)]
    assert all(map(table.insert, keys))
    assert sorted(walked(table, most, grow)) == sorted(keys)
    assert table.nbuckets > 2 * BUCKETS


def test_a_long_chain_is_visited_in_parts():
    table = chosen_table()
    keys = [key_of(3 + BUCKETS * i) for i in range(200)]
    assert all(map(table.insert, keys))
    assert sorted(walked(table, most=16)) == sorted(keys)
    assert sorted(walked(table, most=1, grow=1)) == sorted(keys)


def test_more_equal_hashes_than_fit_are_passed_by():
    table = chosen_table()
    keys = [key_of(3, i) for i in range(20)]
    other = [key_of(3 + (1 << 63)), key_of(4)]
    assert all(map(table.insert, keys + other))
    seen = walked(table, most=16)
    assert len(seen) == len(set(seen)) == 18
    assert set(other) < set(seen)


class WalkModel(RuleBasedStateMachine):
    """Insertions, removals and growth between the steps of a walk, in few buckets."""

    @initialize(
        hashes=st.lists(
            st.builds(
                lambda low, high: low | high << 13,
                st.sampled_from([0, 1, 4096, 8190, 8191]),
                st.integers(0, 3),
            ),
            min_size=1,
            max_size=10,
            unique=True,
        ),
        most=st.sampled_from([1, 3, 16]),
    )
    def begin(self, hashes, most):
        self.table = chosen_table()  # hashes that differ in bits 17 and up, so that none is passed by
        self.hashes = itertools.cycle(hashes)
        self.number = itertools.count()
        self.most = most
        self.present: list[bytes] = []
        self.at: int | None = None
        self.start_over()

    def start_over(self):
        self.at = 0
        self.steady = set(self.present)
        self.seen: collections.Counter[bytes] = collections.Counter()

    @rule(times=st.integers(1, 60))
    def insert(self, times):
        for _ in range(times):
            key = key_of(next(self.hashes) | next(self.number) << 17)
            assert self.table.insert(key)
            self.present.append(key)

    @precondition(lambda self: self.present)
    @rule(at=st.integers(0, 1000), times=st.integers(1, 20))
    def remove(self, at, times):
        for _ in range(min(times, len(self.present))):
            key = self.present.pop(at % len(self.present))
            assert self.table.remove(key)
            self.steady.discard(key)

    @rule(steps=st.sampled_from([1, 2, 8189, 8192]))
    def grow(self, steps):
        assume(self.table.nbuckets < 35_000)
        for _ in range(steps):
            assert self.table.grow()

    @rule(steps=st.sampled_from([1, 1, 2, 5, 40, 4000, 100_000]))
    def walk(self, steps):
        keys, self.at = self.table.walk(self.at, self.most, steps)
        self.seen.update(keys)
        if self.at is None:
            assert {key: self.seen[key] for key in self.steady} == dict.fromkeys(self.steady, 1)
            assert max(self.seen.values(), default=1) == 1
            self.start_over()


TestWalkModel = WalkModel.TestCase
