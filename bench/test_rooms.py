"""The rooms of the data plane one by one; not part of the tests.

    python -m pytest bench/test_rooms.py

Every benchmark runs its inner loop without Python; the time of a round is that of ``LOOP`` operations.
"""

from __future__ import annotations

import pytest

from cachecore_ext.probe import Parser, Slabs, Store, Table

MEGABYTE = 1 << 20
LOOP = 10_000
COLD = 1_000_000  # keys, so that neither table nor items are in a cache

REQUESTS = {
    "get": b"get some:key:123\r\n",
    "set": b"set some:key:123 0 0 32\r\n" + bytes(32) + b"\r\n",
    "mg": b"mg some:key:123 v t f\r\n",
    "ms": b"ms some:key:123 32 T300\r\n" + bytes(32) + b"\r\n",
}


@pytest.fixture(scope="module")
def table():
    filled = Table(Slabs(128 * MEGABYTE), max_items=COLD)
    filled.fill(0, COLD)
    return filled


@pytest.fixture(scope="module")
def store():
    filled = Store(memory_limit=256 * MEGABYTE)
    filled.fill(0, COLD, 32)
    return filled


@pytest.mark.benchmark(group="slabs")
@pytest.mark.parametrize("size", [64, 1024, 512 * 1024])
def test_slab_alloc_and_free(benchmark, size):
    slabs = Slabs(8 * MEGABYTE)
    benchmark(slabs.repeat, slabs.class_for(size), LOOP)


@pytest.mark.benchmark(group="table")
def test_table_find_hot(benchmark, table):
    assert benchmark(table.repeat_find, 0, 100, LOOP // 100) == LOOP


@pytest.mark.benchmark(group="table")
def test_table_find_cold(benchmark, table):
    starts = iter(range(0, 1 << 60, LOOP))
    benchmark(lambda: table.repeat_find(next(starts) % COLD, LOOP, 1))


@pytest.mark.benchmark(group="table")
def test_table_find_miss(benchmark, table):
    assert benchmark(table.repeat_find, 10 * COLD, LOOP, 1) == 0


@pytest.mark.benchmark(group="table")
def test_table_insert(benchmark):
    def fresh():
        return (Table(Slabs(8 * MEGABYTE), max_items=LOOP), 0, LOOP), {}

    benchmark.pedantic(Table.fill, setup=fresh, rounds=50)


@pytest.mark.benchmark(group="parser")
@pytest.mark.parametrize("request_line", REQUESTS)
def test_parse(benchmark, request_line):
    stream = REQUESTS[request_line] * 100
    assert benchmark(Parser().repeat, stream, LOOP // 100) == LOOP


@pytest.mark.benchmark(group="store")
def test_store_get_hot(benchmark, store):
    assert benchmark(store.repeat_get, 0, 100, LOOP // 100) == LOOP


@pytest.mark.benchmark(group="store")
def test_store_get_cold(benchmark, store):
    starts = iter(range(0, 1 << 60, LOOP))
    benchmark(lambda: store.repeat_get(next(starts) % COLD, LOOP, 1))


@pytest.mark.benchmark(group="store")
def test_store_set_in_place(benchmark, store):
    starts = iter(range(0, 1 << 60, LOOP))
    benchmark(lambda: store.fill(next(starts) % COLD, LOOP, 32))


@pytest.mark.benchmark(group="store")
def test_store_set_with_eviction(benchmark):
    full = Store(memory_limit=4 * MEGABYTE)
    full.fill(0, 100_000, 32)
    starts = iter(range(1_000_000, 1 << 60, LOOP))
    benchmark(lambda: full.fill(next(starts), LOOP, 32))
