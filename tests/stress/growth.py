"""How long the growing table keeps a single set waiting.

    python -m tests.stress.growth --items 10000000

Times are CPU time of the thread that sets, so that being preempted does not count.
"""

from __future__ import annotations

import argparse
import time

from cachecore_ext.probe import Slabs, Store, Table

PAGE = 1 << 20


def memory_for(items: int, chunk: int) -> int:
    """Bytes in which so many items stay: chunks, and the table that is charged with them."""
    return items * (chunk + 10) + 64 * PAGE


def grow_store(items: int, size: int = 8) -> dict[str, float]:
    """Set ``items`` keys and measure each; the store is checked afterwards, as far as that is quick."""
    store = Store(memory_limit=memory_for(items, 64 + size), threads=2)
    begin = time.perf_counter()
    found = store.fill(0, items, size, measure=True)
    seconds = time.perf_counter() - begin
    assert found["stored"] == items
    assert store.repeat_get(0, items, 1) == items, "not one may be missing"
    return {
        "set_us": found["longest_ns"] / 1000,
        "over_ms": found["over_ms"],
        "seconds": seconds,
        "table": store.memory()["table"],
    }


def grow_table(items: int) -> dict[str, float]:
    """The same in a table by itself: the longest insertion and the longest growth by a bucket."""
    table = Table(Slabs(memory_for(items, 64)), max_items=items)
    found = table.fill(0, items, measure=True)
    assert table.repeat_find(0, items, 1) == items
    return {
        "insert_us": found["insert_ns"] / 1000,
        "grow_us": found["grow_ns"] / 1000,
        "buckets": table.nbuckets,
    }


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--items", type=int, default=10_000_000)
    items = parser.parse_args().items
    store = grow_store(items)
    print(f"{items:,} sets in {store['seconds']:.1f} s; the table took {store['table'] / PAGE:.1f} MiB")
    print(f"longest set: {store['set_us']:.0f} us; above a millisecond: {store['over_ms']:.0f}")
    table = grow_table(items)
    print(f"table alone: longest insertion {table['insert_us']:.0f} us, table_grow {table['grow_us']:.0f} us")


if __name__ == "__main__":
    main()
