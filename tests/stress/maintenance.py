"""Threads that use a store while pages move, the limit changes, time passes and everything is flushed now and then.

    python -m tests.stress.maintenance --seconds 300 --seed 7

Each value says whose it is and whether it is whole, and the census afterwards counts every chunk, list and slot.
"""

from __future__ import annotations

import argparse
import random
import threading
import time
from collections.abc import Callable
from typing import Any

from cachecore_ext.probe import Store

MEGABYTE = 1 << 20
BATCH = 2000  # operations of a loop, or steps of the maintenance, between two looks at the watch

Load = dict[str, int]
Tally = dict[str, int]

#: What one thread does each: values in chunks, of two pieces and more, and all of them against each other.
EVICTING: list[Load] = [
    {"keys": 150_000, "sets": 40, "deletes": 5, "others": 10, "smallest": 8, "largest": 300},
    {"keys": 3000, "sets": 30, "deletes": 5, "others": 20, "smallest": 8, "largest": 12_000, "ttl": 20},
    {"keys": 40, "sets": 30, "deletes": 10, "others": 20, "smallest": 200_000, "largest": 1_500_000, "ttl": 60},
]
#: A few keys whose values change their length in place, again and again, and with it places in the lists.
REWRITING: list[Load] = [{"keys": 4, "sets": 50, "smallest": 32, "largest": 35}] * 2
#: Values that only ever change places; 11 MB at most.
KEEPING: list[Load] = [
    {"keys": 40_000, "sets": 30, "others": 20, "smallest": 8, "largest": 150},
    {"keys": 40_000, "sets": 30, "others": 20, "smallest": 30, "largest": 40},
]
#: The same with chained ones.
KEEPING_CHAINED: list[Load] = [
    {"keys": 300, "sets": 30, "others": 30, "smallest": 4000, "largest": 100_000},
    {"keys": 300, "sets": 30, "others": 30, "smallest": 15_000, "largest": 20_000},
]


class Churn:
    """A store, its loops, its maintenance, and who disturbs them; each in a thread."""

    def __init__(self, store: Store, seed: int) -> None:
        self.store = store
        self.seed = seed
        self.tallies: list[Tally] = []
        self.failures: list[BaseException] = []
        self._stop = threading.Event()
        store.maintain()  # sets up what the threads share

    def run(self, seconds: float, *works: Callable[[], object], until: Callable[[], bool] = lambda: True) -> None:
        """Repeat each in a thread, beside the maintenance, for so long, and until something is so."""
        enough = threading.Event()

        def maintain() -> None:
            self.store.maintain(BATCH)
            if until():  # asks about what only this thread may look at
                enough.set()

        threads = [threading.Thread(target=self._repeat, args=(work,)) for work in (*works, maintain)]
        for thread in threads:
            thread.start()
        self._stop.wait(seconds)
        while not enough.is_set() and not self._stop.wait(0.1):
            pass
        self._stop.set()
        for thread in threads:
            thread.join()
        if self.failures:
            raise self.failures[0]

    def _repeat(self, work: Callable[[], object]) -> None:
        try:
            while not self._stop.is_set():
                work()
        except BaseException as failure:
            self.failures.append(failure)
            self._stop.set()

    def loop(self, load: Load, number: int) -> Callable[[], None]:
        """A thread's loop over a load."""
        chosen = random.Random(self.seed * 1000 + number)
        operations = BATCH if load["largest"] < 100_000 else BATCH // 100

        def work() -> None:
            self.tallies.append(self.store.run_mixed(operations, seed=chosen.getrandbits(63), **load))

        return work

    def total(self, name: str) -> int:
        return sum(tally[name] for tally in self.tallies)

    def settle(self, limit: int) -> dict[str, Any]:
        """Let moves end, and the memory come as near to the limit as it gets; then the census."""
        self.store.automove(1)
        self.store.tune(mode=2)
        assert self.store.set_limit(limit)
        for _ in range(200):
            charged = self.store.memory()["charged"]
            self.store.maintain(BATCH)
            if not self.store.mover()["moving"] and self.store.memory()["charged"] == charged:
                break
        return self.store.check()


def disturb(store: Store, seed: int, limits: tuple[int, int]) -> Callable[[], None]:
    """Everything that an operator can do, in no order."""
    chosen = random.Random(seed)
    classes = range(60)
    doings: list[tuple[int, Callable[[], object]]] = [
        (50, lambda: store.reassign(-1, chosen.choice([0, chosen.choice(classes)]))),
        (50, lambda: store.reassign(chosen.choice(classes), chosen.choice([0, chosen.choice(classes)]))),
        (10, lambda: store.set_limit(chosen.randint(*limits))),
        (4, lambda: store.automove(chosen.choice([0, 1, 1, 2]))),
        (4, lambda: store.tune(temporary_ttl=chosen.choice([5, 60]))),
        (2, lambda: store.tune(mode=chosen.choice([0, 1, 2, 2]))),
        (20, lambda: store.advance(chosen.randint(0, 3))),
        (1, lambda: store.flush(chosen.choice([0, 0, 5]))),
    ]
    weights = [weight for weight, _ in doings]

    def work() -> None:
        chosen.choices(doings, weights)[0][1]()
        time.sleep(0.0005)  # leave the cores to the others

    return work


def move_pages(store: Store, seed: int) -> Callable[[], None]:
    """Reassign pages, mostly to the pool, so that whoever needs one finds one."""
    chosen = random.Random(seed)

    def work() -> None:
        store.reassign(chosen.choice([-1, chosen.randrange(1, 40)]), chosen.choice([0, 0, 0, chosen.randrange(40)]))
        time.sleep(0.0005)

    return work


def evicting(seconds: float, seed: int, **options: int) -> Churn:
    """Everything at once, in too little memory."""
    limit = 24 * MEGABYTE
    store = Store(memory_limit=limit, item_size_max=4 * MEGABYTE, **options)  # type: ignore[arg-type]
    churn = Churn(store, seed)
    loops = [churn.loop(load, number) for number, load in enumerate(EVICTING)]
    churn.run(seconds, *loops, disturb(store, seed, (8 * MEGABYTE, 40 * MEGABYTE)))
    churn.settle(limit)
    assert churn.total("hits") > 0
    assert (churn.total("torn"), churn.total("foreign")) == (0, 0)
    return churn


def keeping(seconds: float, seed: int, loads: list[Load], **options: int) -> Churn:
    """No evictions and memory enough: whatever was stored last is there in the end, wherever it is."""
    limit = 256 * MEGABYTE  # the pages that are moved to classes that need none come to some 90 MB
    store = Store(memory_limit=limit, evictions=False, **options)  # type: ignore[arg-type]
    keys = [b"key%d" % i for i in range(loads[0]["keys"])]
    churn = Churn(store, seed)
    assert store.fill(0, len(keys), loads[0]["smallest"])["refused"] == 0
    loops = [churn.loop(load, number) for number, load in enumerate(loads)]
    churn.run(seconds, *loops, move_pages(store, seed))
    found = churn.settle(limit)
    assert [churn.total(name) for name in ("torn", "foreign", "refused", "misses")] == [0, 0, 0, 0]
    assert found["items"] == len(keys)
    assert all(store.get(key) is not None for key in keys)
    return churn


def rewriting(seconds: float, seed: int) -> Churn:
    """Items that are rewritten while the LRU moves them: the lists know what they hold."""
    churn = Churn(Store(memory_limit=8 * MEGABYTE), seed)
    churn.run(seconds, *(churn.loop(load, number) for number, load in enumerate(REWRITING)))
    churn.settle(8 * MEGABYTE)
    assert [churn.total(name) for name in ("torn", "foreign", "refused")] == [0, 0, 0]
    return churn


def holding(seconds: float, seed: int) -> Churn:
    """Values that are held for a moment, over and over: what is held does not move, or its count of readers is off."""
    store, keys = Store(memory_limit=64 * MEGABYTE, evictions=False), 400
    churn = Churn(store, seed)
    assert store.fill(0, keys, 5000)["stored"] == keys

    def hold() -> None:
        assert store.repeat_get(0, keys, 100) == 100 * keys

    churn.run(seconds, hold, hold, move_pages(store, seed), until=lambda: store.mover()["busy_items"] > 0)
    assert churn.settle(64 * MEGABYTE)["items"] == keys
    return churn


def counting(seconds: float, seed: int) -> Churn:
    """Numbers that are added to, in place and by cas, while their pages move: not one is lost."""
    store = Store(memory_limit=64 * MEGABYTE, evictions=False)
    numbers = [b"number%d" % i for i in range(40_000)]
    churn = Churn(store, seed)
    for number in numbers:
        assert store.put("set", number, b"1000000") == "STORED"
    added = [0] * 3

    def add(which: int) -> Callable[[], None]:
        chosen = random.Random(seed * 10 + which)

        def work() -> None:
            number = chosen.choice(numbers)
            if which == 0:
                store.run_cas(number, 5)
                added[which] += 5
            else:
                added[which] += store.run_incr(number, 20)

        return work

    churn.run(seconds, add(0), add(1), add(2), move_pages(store, seed))
    churn.settle(64 * MEGABYTE)
    found = [store.get(number) for number in numbers]
    assert sum(int(value[0]) - 1_000_000 for value in found if value is not None) == sum(added) > 0
    assert None not in found
    return churn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="for each of the scenes")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    scenes: dict[str, Callable[[], Churn]] = {
        "evicting": lambda: evicting(arguments.seconds, arguments.seed),
        "evicting, short pieces": lambda: evicting(arguments.seconds, arguments.seed, chunk_max=16 * 1024),
        "keeping": lambda: keeping(arguments.seconds, arguments.seed, KEEPING),
        "keeping, chained": lambda: keeping(arguments.seconds, arguments.seed, KEEPING_CHAINED, chunk_max=16 * 1024),
        "holding": lambda: holding(arguments.seconds, arguments.seed),
        "rewriting": lambda: rewriting(arguments.seconds, arguments.seed),
        "counting": lambda: counting(arguments.seconds, arguments.seed),
    }
    for name, scene in scenes.items():
        churn = scene()
        print(f"{name}, seed {arguments.seed}: {churn.total('hits'):,} hits; the mover: {churn.store.mover()}")


if __name__ == "__main__":
    main()
