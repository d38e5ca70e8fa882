"""The table grows while it serves: nobody waits long, and nothing is lost from sight."""

from __future__ import annotations

import threading

from cachecore_ext.probe import Store
from tests.stress.growth import grow_store, grow_table

ITEMS = 1_000_000
LONGEST_US = 10_000
TRIES = 3


def test_no_set_waits_for_the_table():
    """A table that moved as a whole would take some hundred milliseconds at its last doubling."""
    longest = float("inf")
    for _ in range(TRIES):
        found = grow_store(ITEMS)
        assert found["table"] > 64 * ITEMS / 12
        longest = min(longest, found["set_us"])
        if longest < LONGEST_US:
            break
    assert longest < LONGEST_US


def test_a_step_of_growth_is_short():
    longest = float("inf")
    for _ in range(TRIES):
        found = grow_table(ITEMS)
        assert found["buckets"] > ITEMS / 12
        longest = min(longest, found["grow_us"])
        if longest < LONGEST_US / 10:
            break
    assert longest < LONGEST_US / 10


def test_every_item_is_found_while_the_table_grows():
    store = Store(memory_limit=256 << 20, threads=4)
    known = 50_000
    store.fill(0, known)
    before = store.memory()["table"]
    fillers = [threading.Thread(target=store.fill, args=(10_000_000 * i, 300_000)) for i in (1, 2)]
    for filler in fillers:
        filler.start()
    rounds = 0
    while any(filler.is_alive() for filler in fillers) or rounds == 0:
        assert store.repeat_get(0, known, 1) == known
        rounds += 1
    for filler in fillers:
        filler.join()
    assert store.memory()["table"] > 4 * before
    assert store.check()["items"] == known + 600_000


def test_many_threads_fill_one_table():
    store = Store(memory_limit=256 << 20, threads=4)
    fillers = [threading.Thread(target=store.fill, args=(i * 200_000, 200_000)) for i in range(4)]
    for filler in fillers:
        filler.start()
    for filler in fillers:
        filler.join()
    found = store.check()
    assert found["items"] == 800_000
    assert found["longest"] <= 4
    assert found["buckets"] >= 800_000 / 9 * 0.95
