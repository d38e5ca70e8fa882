"""The hash table: chains of buckets, removal, growth by single buckets, ghosts in what is free."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cachecore_ext.probe import Slabs, Table

MEGABYTE = 1 << 20
SLOTS = 12


def key_of(h: int, more: bytes = b"") -> bytes:
    """A key whose hash is ``h``, in a table with chosen hashes."""
    return struct.pack("<Q", h) + more


def chosen_table(**options) -> Table:
    return Table(Slabs(64 * MEGABYTE), chosen_hashes=True, **options)


def grow_to(table: Table, nbuckets: int) -> None:
    while table.nbuckets < nbuckets:
        assert table.grow()


def test_an_empty_table_has_nothing():
    table = Table(Slabs(MEGABYTE))
    assert table.find(b"x") is None
    assert not table.remove(b"x")
    assert table.check() == {"items": 0, "buckets": table.nbuckets, "overflow": 0, "longest": 1}


def test_a_key_is_found_until_it_is_removed():
    table = Table(Slabs(MEGABYTE))
    assert table.insert(b"x")
    assert table.find(b"x") is not None
    assert table.find(b"y") is None
    assert table.remove(b"x")
    assert table.find(b"x") is None
    assert table.check()["items"] == 0


def test_keys_that_begin_alike_are_told_apart():
    table = Table(Slabs(MEGABYTE))
    keys = [b"k" * n for n in range(1, 251)]
    assert all(map(table.insert, keys))
    assert len({table.find(key) for key in keys}) == 250
    assert table.check()["items"] == 250


def test_equal_hashes_do_not_make_equal_keys():
    table = chosen_table()
    keys = [key_of(7, bytes([i])) for i in range(100)]
    assert all(map(table.insert, keys))
    assert table.check() == {"items": 100, "buckets": 8192, "overflow": 8, "longest": 9}
    assert len({table.find(key) for key in keys}) == 100
    assert table.find(key_of(7, b"\xff")) is None


def test_replace_lets_the_slot_name_another_item():
    table = chosen_table()
    keys = [key_of(7, bytes([i])) for i in range(20)]
    assert all(map(table.insert, keys))
    for key in keys:
        before = table.find(key)
        assert table.replace(key) == table.find(key) != before
    assert table.check()["items"] == 20


@pytest.mark.parametrize("number", [1, SLOTS, SLOTS + 1, 2 * SLOTS, 2 * SLOTS + 1, 5 * SLOTS])
@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_a_removal_leaves_no_hole(number, place):
    table = chosen_table()
    keys = [key_of(3, struct.pack("<H", i)) for i in range(number)]
    assert all(map(table.insert, keys))
    while keys:
        at = {"first": 0, "middle": len(keys) // 2, "last": -1}[place]
        assert table.remove(keys.pop(at))
        found = table.check()
        assert found["items"] == len(keys)
        assert found["overflow"] == max(0, -(-len(keys) // SLOTS) - 1)
        assert all(table.find(key) is not None for key in keys)


def test_what_is_not_there_is_not_removed():
    table = chosen_table()
    assert table.insert(key_of(3))
    ref = table.find(key_of(3))
    assert not table.remove_ref(key_of(3 | 2 << 56), ref)
    assert not table.remove_ref(key_of(4), ref)
    assert not table.remove_ref(key_of(3), ref + 1)
    assert table.check()["items"] == 1


def test_tag_zero_is_a_tag_like_others():
    table = chosen_table()
    low, one = key_of(5), key_of(5 | 1 << 56)  # both hashes have the tag 1
    assert table.insert(low) and table.insert(one)
    assert table.find(low) != table.find(one)
    assert table.remove(low)
    assert table.find(one) is not None
    table.check()


# ---- growth


@pytest.mark.parametrize("moving", [0, 1, 11, 12, 13, 24, 25, 40])
@pytest.mark.parametrize("staying", [0, 1, 11, 12, 13, 24, 25, 40])
@pytest.mark.parametrize("order", ["moving first", "staying first", "mixed"])
def test_a_bucket_with_overflow_is_divided(moving, staying, order):
    table = chosen_table()
    bit = table.nbuckets
    keys = [(key_of(bit, struct.pack("<H", i)), i / (moving or 1)) for i in range(moving)]
    keys += [(key_of(0, struct.pack("<H", i)), i / (staying or 1)) for i in range(staying)]
    if order == "staying first":
        keys.reverse()
    elif order == "mixed":
        keys.sort(key=lambda pair: pair[1])
    assert all(table.insert(key) for key, _ in keys)
    before = table.check()
    assert table.grow()
    after = table.check()
    assert after["items"] == before["items"] == moving + staying
    assert after["overflow"] == sum(max(0, -(-n // SLOTS) - 1) for n in (moving, staying))
    assert all(table.find(key) is not None for key, _ in keys)


def keys_that_use_up_the_overflow(table: Table) -> list[bytes]:
    """Chains of 128 overflow buckets and a shorter one; half of each moves when its bucket is divided."""
    lengths = [128] * (table.max_overflow // 128) + [table.max_overflow % 128]
    return [
        key_of(bucket + (i % 2) * table.nbuckets, struct.pack("<I", i))
        for bucket, overflow in enumerate(lengths)
        for i in range((1 + overflow) * SLOTS)
    ]


def test_division_gets_by_with_the_overflow_buckets_that_it_frees():
    table = chosen_table(max_items=1)
    keys = keys_that_use_up_the_overflow(table)
    assert all(map(table.insert, keys))
    assert table.check()["overflow"] == table.max_overflow
    assert table.grow()
    assert not table.grow(), "it is as large as it gets"
    assert table.check()["items"] == len(keys)
    assert all(table.find(key) is not None for key in keys)


def test_a_refused_insertion_changes_nothing_and_a_removal_makes_room():
    table = chosen_table(max_items=1)
    keys = keys_that_use_up_the_overflow(table)
    assert all(map(table.insert, keys))
    before = table.check()
    assert not table.insert(key_of(0, b"one more"))
    assert table.find(key_of(0, b"one more")) is None
    assert table.check() == before
    assert table.insert(key_of(1000, b"elsewhere"))
    for key in keys[:SLOTS]:
        assert table.remove(key)
    assert table.insert(key_of(1, b"one more"))
    assert table.check()["overflow"] == table.max_overflow


def test_every_key_is_found_at_every_size():
    table = Table(Slabs(16 * MEGABYTE), stripes=8, max_items=1 << 20)
    keys = [b"key-%d" % i for i in range(20_000)]
    assert all(map(table.insert, keys))
    begin = table.nbuckets
    for nbuckets in (begin + 1, begin + 777, 2 * begin - 1, 2 * begin, 2 * begin + 1, 4 * begin, 5 * begin):
        grow_to(table, nbuckets)
        assert table.check()["items"] == len(keys)
        assert all(table.find(key) is not None for key in keys)


def test_items_come_and_go_between_growth_steps():
    table = Table(Slabs(16 * MEGABYTE), stripes=64, max_items=1 << 20)
    keys = [b"key-%d" % i for i in range(30_000)]
    present = set()
    for i, key in enumerate(keys):
        assert table.insert(key)
        present.add(key)
        if i % 3 == 0:
            gone = keys[i // 2]
            assert table.remove(gone) == (gone in present)
            present.discard(gone)
        if i % 2 == 0:
            table.grow()
    assert table.check()["items"] == len(present)
    assert all((table.find(key) is not None) == (key in present) for key in keys)


def test_a_bucket_in_use_is_not_divided():
    table = chosen_table()
    table.lock_stripe(key_of(0))
    assert not table.grow()
    table.unlock_stripe(key_of(0))
    assert table.grow()
    table.lock_stripe(key_of(0))
    assert table.grow(), "the next bucket is another stripe's"
    table.unlock_stripe(key_of(0))


def test_the_table_is_full_when_the_stripe_has_seven_items_a_bucket():
    table = chosen_table(stripes=2048)  # so 4 buckets a stripe
    for i in range(28):
        assert not table.is_full(key_of(0))
        assert table.insert(key_of(i * 2048, bytes([i])))
    assert not table.is_full(key_of(0))
    assert table.insert(key_of(0, b"one more"))
    assert table.is_full(key_of(0))
    assert not table.is_full(key_of(1))


def test_it_starts_with_a_bucket_a_stripe_at_least():
    assert Table(Slabs(MEGABYTE), stripes=32768).nbuckets == 32768
    assert Table(Slabs(MEGABYTE), stripes=8).nbuckets == 8192


def test_bytes_are_those_of_the_buckets_in_use():
    table = chosen_table()
    before = table.bytes
    assert before == table.nbuckets * 64
    for i in range(13):
        table.insert(key_of(0, bytes([i])))
    assert table.bytes == before + 64


def mappings_of_large_pages() -> int:
    """How many of this process's mappings ask for them."""
    flags = [line for line in Path("/proc/self/smaps").read_text().splitlines() if line.startswith("VmFlags:")]
    return sum(" hg" in line for line in flags)


def test_from_16_megabytes_on_a_table_asks_for_large_pages():
    kernel_has_them = Path("/sys/kernel/mm/transparent_hugepage").exists()
    before = mappings_of_large_pages()
    table = Table(Slabs(MEGABYTE), max_items=4 << 20)
    while table.nbuckets < (16 * MEGABYTE) // 64 - 1:
        assert table.grow()
    assert mappings_of_large_pages() == before
    assert table.grow()
    assert (mappings_of_large_pages() > before) == kernel_has_them


# ---- ghosts


def test_a_ghost_is_found_once_with_its_stamp():
    table = chosen_table()
    key, other = key_of(5 | 7 << 32), key_of(5 | 8 << 32)
    assert table.take_ghost(key) is None
    table.add_ghost(key, 0xFFFF)
    table.add_ghost(other, 0)
    assert table.find(key) is None
    assert [table.take_ghost(key), table.take_ghost(key), table.take_ghost(other)] == [0xFFFF, None, 0]


def test_a_hash_without_a_mark_gets_one():
    table = chosen_table()
    assert table.take_ghost(key_of(5)) is None, "a slot that was never used is nobody's ghost"
    table.add_ghost(key_of(5), 3)
    assert table.take_ghost(key_of(5)) == 3


@pytest.mark.parametrize("items", [0, 1, 7, 11, 12, 13, 24])
def test_a_bucket_has_a_ghost_for_each_free_slot_the_latest_ones(items):
    table = chosen_table()
    assert all(table.insert(key_of(5, bytes([i]))) for i in range(items))
    for mark in range(1, 31):
        table.add_ghost(key_of(5 | mark << 32), mark)
    free = SLOTS if items == 0 else -items % SLOTS
    expected = [mark if mark > 30 - free else None for mark in range(1, 31)]
    assert [table.take_ghost(key_of(5 | mark << 32)) for mark in range(1, 31)] == expected
    assert table.check()["items"] == items


@pytest.mark.parametrize("items", [1, 6, SLOTS])
def test_an_item_takes_the_place_of_the_oldest_ghost(items):
    table = chosen_table()
    for mark in range(1, SLOTS + 1):
        table.add_ghost(key_of(5 | mark << 32), mark)
    assert all(table.insert(key_of(5, bytes([i]))) for i in range(items))
    expected = [mark if mark > items else None for mark in range(1, SLOTS + 1)]
    assert [table.take_ghost(key_of(5 | mark << 32)) for mark in range(1, SLOTS + 1)] == expected


class Places:
    """What the free slots of the last bucket of a chain hold, the oldest first: a mark and a stamp, or None."""

    def __init__(self, items: int = 0) -> None:
        self.items = items
        self.free: list[tuple[int, int] | None] = [None] * (-items % SLOTS if items else SLOTS)

    def insert(self) -> None:
        if not self.free:
            self.free = [None] * SLOTS
        self.free.pop(0)
        self.items += 1

    def remove(self) -> None:
        self.free.insert(0, None)
        self.items -= 1
        if len(self.free) == SLOTS and self.items:
            self.free = []

    def add(self, mark: int, stamp: int) -> None:
        if self.free:
            self.free.pop(0)
            self.free.append((mark, stamp))

    def take(self, mark: int) -> int | None:
        for place, ghost in enumerate(self.free):
            if ghost is not None and ghost[0] == mark:
                del self.free[place]
                self.free.insert(0, None)
                return ghost[1]
        return None


class TableModel(RuleBasedStateMachine):
    """Against a dict, with hashes that fall into few buckets and share tags and marks."""

    @initialize(
        hashes=st.lists(
            st.builds(
                lambda low, high, mark, tag: low | high << 13 | mark << 32 | tag << 56,
                st.integers(0, 2),
                st.integers(0, 3),
                st.integers(1, 2),
                st.integers(0, 2),
            ),
            min_size=1,
            max_size=6,
            unique=True,
        )
    )
    def begin(self, hashes):
        self.table = chosen_table(stripes=1)
        self.hashes = hashes
        self.refs: dict[bytes, int] = {}
        self.places: dict[int, Places] = {self.bucket(h): Places() for h in hashes}

    def hash(self, which):
        return self.hashes[which % len(self.hashes)]

    def key(self, which, number):
        return key_of(self.hash(which), bytes([number]))

    def bucket(self, h):
        top = 1 << self.table.nbuckets.bit_length() - 1
        return h % (2 * top) if h % (2 * top) < self.table.nbuckets else h % top

    def places_of(self, key):
        return self.places[self.bucket(*struct.unpack_from("<Q", key))]

    @rule(which=st.integers(0, 5), first=st.integers(0, 50), number=st.integers(1, 30))
    def insert(self, which, first, number):
        for i in range(first, first + number):
            key = self.key(which, i)
            if key not in self.refs:
                assert self.table.insert(key)
                self.refs[key] = self.table.find(key)
                self.places_of(key).insert()

    @rule(which=st.integers(0, 5), first=st.integers(0, 80), number=st.integers(1, 20))
    def remove(self, which, first, number):
        for i in range(first, first + number):
            key = self.key(which, i)
            was_there = self.refs.pop(key, None) is not None
            assert self.table.remove(key) == was_there
            if was_there:
                self.places_of(key).remove()

    @precondition(lambda self: self.refs)
    @rule(at=st.integers(0, 1000))
    def replace(self, at):
        key = sorted(self.refs)[at % len(self.refs)]
        assert self.refs[key] == self.table.find(key)
        self.refs[key] = self.table.replace(key)

    @rule(which=st.integers(0, 5), stamp=st.integers(0, 0xFFFF))
    def add_ghost(self, which, stamp):
        key = self.key(which, 0)
        self.table.add_ghost(key, stamp)
        self.places_of(key).add(self.hash(which) >> 32 & 3, stamp)

    @rule(which=st.integers(0, 5))
    def take_ghost(self, which):
        key = self.key(which, 0)
        assert self.table.take_ghost(key) == self.places_of(key).take(self.hash(which) >> 32 & 3)

    @rule(steps=st.sampled_from([1, 2, 3, 8190, 8192]))
    def grow(self, steps):
        assume(self.table.nbuckets < 40_000)
        for _ in range(steps):
            before = {self.bucket(h) for h in self.hashes}
            assert self.table.grow()
            for new in {self.bucket(h) for h in self.hashes} - before:
                self.divided(new)

    def divided(self, new):
        """What moves is removed from the old bucket, one by one; ghosts stay in it."""
        old = self.places[new - (1 << new.bit_length() - 1)]
        moved = sum(self.bucket(*struct.unpack_from("<Q", key)) == new for key in self.refs)
        for _ in range(moved):
            old.remove()
        self.places[new] = Places(moved)

    @invariant()
    def agrees(self):
        if hasattr(self, "table"):
            assert {key: self.table.find(key) for key in self.refs} == self.refs
            assert all(self.table.find(self.key(which, 255)) is None for which in range(len(self.hashes)))

    def teardown(self):
        if hasattr(self, "table"):
            assert self.table.check()["items"] == len(self.refs)
            keys, ended = self.table.walk(steps=self.table.nbuckets)
            assert sorted(keys) == sorted(self.refs)
            assert ended is None


TestTableModel = TableModel.TestCase
