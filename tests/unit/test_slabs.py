"""The slab allocator: classes, pages, chunks, the limit."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from cachecore_ext.probe import Slabs

PAGE = 1 << 20
LARGEST = 512 * 1024


@pytest.mark.parametrize("factor", [0, 1.01, 1.05, 1.25, 2, 10, 2**32 / 68 + 0.01, 1e30])
@pytest.mark.parametrize("chunk_min", [1, 48, 1000, 100_000])
def test_classes_rise_to_the_largest_chunk(factor, chunk_min):
    sizes = Slabs(PAGE, factor, chunk_min).sizes()
    assert list(sizes) == list(range(1, len(sizes) + 1))
    assert len(sizes) <= 63
    rising = list(sizes.values())
    assert rising == sorted(set(rising))
    assert rising[-1] == LARGEST
    assert all(size % 4 == 0 for size in rising)


def test_the_default_ladder_wastes_little():
    sizes = list(Slabs(PAGE).sizes().values())
    for smaller, size in itertools.pairwise(sizes):
        wasted = size - smaller - 1
        if size <= 100:
            assert wasted < 4
        elif size <= 164:
            assert wasted < 8
        elif size <= 8704:
            assert wasted <= smaller / 8 + 4
        elif size <= 16 * 1024:
            assert wasted <= smaller / 4 + 4
        elif size < LARGEST:
            assert wasted <= smaller / 2 + 4


@pytest.mark.parametrize("slabs", [Slabs(PAGE), Slabs(PAGE, 1.08, 10)], ids=["default", "factor"])
def test_a_size_goes_to_the_smallest_class_that_holds_it(slabs):
    sizes = slabs.sizes()
    interesting = {1, LARGEST} | {size + by for size in sizes.values() for by in (-1, 0, 1)}
    for size in sorted(interesting | set(range(1, 2100))):
        expected = next((cls for cls, chunk in sizes.items() if chunk >= size), 0)
        assert slabs.class_for(size) == expected, size


def test_no_class_for_more_than_the_largest_chunk():
    assert Slabs(PAGE).class_for(LARGEST + 1) == 0


def test_a_page_is_cut_from_first_to_last():
    slabs = Slabs(4 * PAGE)
    cls = slabs.class_for(1000)
    size = slabs.sizes()[cls]
    refs = [slabs.alloc(cls) for _ in range(PAGE // size)]
    assert [slabs.offset(ref) for ref in refs] == [i * size for i in range(len(refs))]
    assert slabs.check()[cls] == {"size": size, "pages": 1, "free": 0, "fresh": 0, "used": len(refs)}
    assert slabs.offset(slabs.alloc(cls)) == PAGE


def test_a_freed_chunk_is_the_next_one_given_out():
    slabs = Slabs(4 * PAGE)
    first, second = slabs.alloc(3), slabs.alloc(3)
    slabs.free(first)
    slabs.free(second)
    assert [slabs.alloc(3), slabs.alloc(3)] == [second, first]


def test_the_limit_counts_pages_and_what_they_add_to_the_table():
    cost = 100_000
    slabs = Slabs(4 * PAGE, table_cost=1024 * cost // 2, initial_charge=1000)
    cls = slabs.class_for(LARGEST)
    chunks = 0
    while slabs.alloc(cls) is not None:
        chunks += 1
    assert chunks == 6  # three pages; with the fourth's table they would be more than the limit
    assert slabs.charged == 1000 + 3 * (PAGE + cost)


def test_what_every_class_may_have_beyond_the_limit():
    """A first page; and the largest class three, for a value of a megabyte and the one that it replaces."""
    slabs = Slabs(PAGE)
    sizes = slabs.sizes()
    for cls in sizes:
        while slabs.alloc(cls) is not None:
            pass
    found = slabs.check()
    assert {cls: of["pages"] for cls, of in found.items()} == dict.fromkeys(sizes, 1) | {max(sizes): 3}
    assert slabs.charged == (len(sizes) + 2) * PAGE


def test_the_largest_chunk_and_the_sizes_can_be_chosen():
    slabs = Slabs(PAGE, chunk_max=16 * 1024, sizes=(100, 50, 200, 400, 20_000))
    assert list(slabs.sizes().values()) == [100, 200, 400, 16 * 1024]
    assert slabs.class_for(101) == 2
    assert slabs.class_for(16 * 1024 + 1) == 0


def filled(slabs: Slabs, size: int) -> tuple[int, list[int]]:
    """A class all of whose pages are used up, and its chunks."""
    cls = slabs.class_for(size)
    chunks = []
    while (ref := slabs.alloc(cls)) is not None:
        chunks.append(ref)
    return cls, chunks


def test_a_page_that_leaves_gives_out_no_chunk_any_more():
    slabs = Slabs(2 * PAGE)
    cls, chunks = filled(slabs, 1000)
    page = slabs.page_of(chunks[0])
    slabs.leave(page)
    own = [ref for ref in chunks if slabs.page_of(ref) == page]
    for ref in own:
        slabs.free(ref)
    assert slabs.page_free(page) == len(own)
    assert slabs.alloc(cls) is None
    slabs.check()
    slabs.stay(page)
    assert slabs.page_of(slabs.alloc(cls)) == page
    slabs.check()


def test_an_empty_page_goes_to_another_class():
    slabs = Slabs(2 * PAGE, table_cost=100_000)
    _, chunks = filled(slabs, 1000)
    other = slabs.class_for(3000)
    charged = slabs.charged
    page = slabs.page_of(chunks[0])
    slabs.leave(page)
    for ref in chunks:
        if slabs.page_of(ref) == page:
            slabs.free(ref)
    slabs.move(page, other)
    assert slabs.page_class(page) == other
    assert slabs.charged == charged, "the table does not shrink"
    ref = slabs.alloc(other)
    assert slabs.offset(ref) == page * PAGE, "a moved page is cut from its beginning"
    assert slabs.check()[other]["fresh"] == PAGE // slabs.sizes()[other] - 1


def test_an_empty_page_goes_to_the_pool_and_is_the_next_one_given_out():
    slabs = Slabs(3 * PAGE)
    _, chunks = filled(slabs, 1000)
    page = slabs.page_of(chunks[0])
    before = slabs.charged
    slabs.leave(page)
    for ref in chunks:
        if slabs.page_of(ref) == page:
            slabs.free(ref)
    slabs.move(page, 0)
    assert (slabs.page_class(page), slabs.pooled, slabs.charged) == (0, 1, before - PAGE)
    slabs.check()
    other = slabs.class_for(100)
    assert slabs.page_of(slabs.alloc(other)) == page
    assert (slabs.pooled, slabs.charged) == (0, before)
    slabs.check()


def test_the_limit_can_be_raised_and_lowered():
    slabs = Slabs(2 * PAGE)
    cls, chunks = filled(slabs, 1000)
    assert len(chunks) == 2 * (PAGE // slabs.sizes()[cls])
    assert slabs.set_limit(200 * PAGE)
    more = filled(slabs, 1000)[1]
    assert len(chunks) + len(more) == 200 * (PAGE // slabs.sizes()[cls])
    assert slabs.set_limit(PAGE)
    assert slabs.alloc(cls) is None
    slabs.free(more[0])
    assert slabs.alloc(cls) == more[0]
    assert not slabs.set_limit(1 << 50)
    slabs.check()


@pytest.mark.parametrize(("gigabytes", "shift"), [(1, 2), (15, 2), (17, 3), (31, 3), (33, 4), (70, 5)])
def test_references_reach_all_of_a_large_memory(gigabytes, shift):
    slabs = Slabs(gigabytes << 30)
    assert slabs.unit_shift == shift
    assert all(size % (1 << shift) == 0 for size in slabs.sizes().values())
    slabs.free(slabs.alloc(1))


class SlabModel(RuleBasedStateMachine):
    """Chunks in use never overlap, keep what was written in them, and are all accounted for."""

    chunks = Bundle("chunks")

    def __init__(self):
        super().__init__()
        self.slabs = Slabs(3 * PAGE, table_cost=5000, initial_charge=500_000)
        self.sizes = self.slabs.sizes()
        self.used: dict[int, int] = {}

    @rule(target=chunks, size=st.sampled_from([40, 64, 3000, 70_000, 300_000, LARGEST]))
    def alloc(self, size):
        cls = self.slabs.class_for(size)
        before = self.slabs.check().get(cls, {"free": 0, "fresh": 0, "pages": 0})
        ref = self.slabs.alloc(cls)
        if ref is None:
            assert before["free"] == before["fresh"] == 0 < before["pages"]
            return None
        begin = self.slabs.offset(ref)
        assert begin // PAGE == (begin + self.sizes[cls] - 1) // PAGE
        assert begin % PAGE % self.sizes[cls] == 0
        assert self.slabs.class_of(ref) == cls
        for other, other_cls in self.used.items():
            at = self.slabs.offset(other)
            assert at + self.sizes[other_cls] <= begin or begin + self.sizes[cls] <= at
        self.used[ref] = cls
        return ref

    @rule(data=st.data(), to=st.sampled_from([0, 40, 3000, 300_000]))
    def move_a_page(self, data, to):
        pages = sorted({self.slabs.page_of(ref) for ref in self.used})
        if not pages:
            return
        page = data.draw(st.sampled_from(pages))
        self.slabs.leave(page)
        if data.draw(st.booleans()):
            self.slabs.stay(page)
            return
        for ref in [ref for ref in self.used if self.slabs.page_of(ref) == page]:
            self.slabs.free(ref)
            del self.used[ref]
        self.slabs.move(page, to and self.slabs.class_for(to))

    @rule(ref=consumes(chunks))
    def free(self, ref):
        if ref in self.used:  # its page may have been moved
            del self.used[ref]
            self.slabs.free(ref)

    @invariant()
    def accounts(self):
        found = {cls: of["used"] for cls, of in self.slabs.check().items() if of["used"]}
        assert found == {cls: list(self.used.values()).count(cls) for cls in set(self.used.values())}


TestSlabModel = SlabModel.TestCase
