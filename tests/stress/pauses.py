"""How long a single set takes at most while the maintenance is at work, and what an idle cache costs.

    python -m tests.stress.pauses --items 1000000

CPU time is of the thread that sets; the other figure counts its waiting, for locks and for a core.
"""

from __future__ import annotations

import argparse
import itertools
import threading
import time
from collections.abc import Callable
from pathlib import Path

from cachecore import Server
from cachecore_ext.probe import Store

PAGE = 1 << 20
FIRST = 100_000_000  # keys of one length
VALUE = 40
ROUND = 20_000  # sets between two looks at whether it is still going on


def filled(items: int) -> Store:
    """A store of items of 40 bytes each, a fifth of its memory free."""
    store = Store(memory_limit=items * (VALUE + 60) + 64 * PAGE, threads=2)
    store.maintain()
    store.automove(0)
    assert store.fill(FIRST, items, VALUE)["stored"] == items
    return store


def longest(store: Store, items: int, beside: Callable[[], bool]) -> dict[str, float]:
    """The longest set over what is there, while ``beside`` is repeated in another thread until it says False."""
    going = True

    def work() -> None:
        nonlocal going
        while beside():
            pass
        going = False

    thread = threading.Thread(target=work)
    thread.start()
    worst = {"cpu_us": 0.0, "us": 0.0, "over_ms": 0.0}
    for start in itertools.cycle(range(0, items - ROUND, ROUND)):
        found = store.fill(FIRST + start, ROUND, VALUE, measure=True)
        worst["cpu_us"] = max(worst["cpu_us"], found["longest_ns"] / 1000)
        worst["us"] = max(worst["us"], found["longest_us"])
        worst["over_ms"] += found["over_ms"]
        if not going:
            break
    thread.join()
    return worst


def nothing(seconds: float) -> Callable[[], bool]:
    until = time.monotonic() + seconds

    def beside() -> bool:
        time.sleep(0.01)
        return time.monotonic() < until

    return beside


def moves(store: Store, number: int) -> Callable[[], bool]:
    """Pages of the items go to the pool, one after the other."""

    def beside() -> bool:
        if not store.mover()["moving"]:
            store.reassign(-1, 0)
        store.maintain(100)
        return store.mover()["moved"] < number

    return beside


def crawls(store: Store, items: int, rounds: int) -> Callable[[], bool]:
    """All items are looked at, time and again."""
    left = itertools.count(rounds * items // 1000, -100)

    def beside() -> bool:
        store.advance(70)  # everything is due again; nothing has ended
        store.maintain(100)
        return next(left) > 0

    return beside


def idle(seconds: float) -> float:
    """The share of a core that the maintenance of an idle server takes."""
    with Server(port=0, threads=1, memory_limit=64) as server:
        thread = next(thread for thread in server._threads if thread.name == "cachecore-maintenance")
        account = Path(f"/proc/self/task/{thread.native_id}/schedstat")
        time.sleep(2)  # the first rounds
        before = int(account.read_text().split()[0])
        time.sleep(seconds)
        return (int(account.read_text().split()[0]) - before) / 1e9 / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    items = parser.parse_args().items
    store = filled(items)
    for name, beside in {
        "nothing": nothing(3),
        "20 pages move": moves(store, 20),
        "10 crawls": crawls(store, items, 10),
    }.items():
        found = longest(store, items, beside)
        print(f"{name}: the longest set {found['cpu_us']:.0f} us of CPU, {found['us']:.0f} us in all", end="; ")
        print(f"above a millisecond of CPU: {found['over_ms']:.0f}")
    print(f"idle: {idle(5):.4%} of a core")


if __name__ == "__main__":
    main()
