"""``python -m bench.scaling``: the store's operations on several threads, in one process and without a network.

Every thread gets, or gets and sets, keys of one store as fast as it can. That is compared with one thread, and with
the same loop where nothing is shared that a lock guards: gets without the buckets' locks, which nobody needs while
nobody writes; and, where there are sets, a store for each thread. What a line costs that two cores write in turn is
measured beside it, and from it where 16 and 64 threads would be held up.
"""

from __future__ import annotations

import random
import threading
import time
from array import array
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from statistics import median

from bench import build
from bench.chapter import Say, keep_figure, run_alone
from bench.errors import run_command
from cachecore_ext.probe import Store

KEYS = 100_000
DRAWN = 1 << 16  # numbers of keys that a thread goes through again and again
VALUE = 32
SKEW = 0.99
SET_EVERY = 10
THREADS = (1, 2, 4)
DRAWS = ("uniform", "zipf", "hot")
MODES = ("get", "90/10")
#: Threads that there are no cores for here.
FORESEEN = (16, 64)
#: Nanoseconds of a worker's own for an operation: a get with 64 in flight, and one in flight (the kernel's share
#: included).
OWN_NS = {"64 in flight": 300.0, "1 in flight": 6400.0}
#: What a transfer takes between sockets, or far ends of one, times what it takes between neighbours.
FAR = 3.0


def drawn(kind: str, seed: int) -> array[int]:
    """Numbers of keys."""
    chosen = random.Random(seed)
    if kind == "hot":
        return array("I", [0])
    if kind == "uniform":
        return array("I", (chosen.randrange(KEYS) for _ in range(DRAWN)))
    weights = list(accumulate(rank**-SKEW for rank in range(1, KEYS + 1)))
    return array("I", chosen.choices(range(KEYS), cum_weights=weights, k=DRAWN))


def together(threads: int, work: Callable[[int], None]) -> float:
    """Let so many threads work at once; the seconds from the first one's start to the last one's end."""
    barrier = threading.Barrier(threads + 1)

    def run(index: int) -> None:
        barrier.wait()
        work(index)

    started = [threading.Thread(target=run, args=(index,)) for index in range(threads)]
    for thread in started:
        thread.start()
    barrier.wait()
    began = time.perf_counter()
    for thread in started:
        thread.join()
    return time.perf_counter() - began


def filled(threads: int) -> Store:
    """A store with all keys, which have been fetched often enough that a get writes no mark any more."""
    store = Store(memory_limit=64 << 20, threads=threads)
    store.fill(0, KEYS, VALUE)
    store.repeat_get(0, KEYS, 3)
    return store


def rate(stores: list[Store], numbers: list[array[int]], operations: int, set_every: int, locked: bool) -> float:
    """Operations a second, all threads together."""

    def work(index: int) -> None:
        stores[index].run_drawn(numbers[index], operations, set_every=set_every, size=VALUE, locked=locked)

    return len(stores) * operations / together(len(stores), work)


def measure_rates(operations: int, rounds: int, say: Say) -> list[dict]:
    """Each mode, draw and number of threads, with and without sharing."""
    stores = [filled(max(THREADS)) for _ in range(max(THREADS))]
    found = []
    for mode in MODES:
        set_every = SET_EVERY if mode == "90/10" else 0
        for kind in DRAWS:
            numbers = [drawn(kind, seed) for seed in range(max(THREADS))]
            for threads in THREADS:
                alone = stores[:threads] if set_every else stores[:1] * threads
                shared, free = [], []
                for _ in range(rounds):
                    shared.append(rate(stores[:1] * threads, numbers, operations, set_every, True))
                    free.append(rate(alone, numbers, operations, set_every, bool(set_every)))
                row = {"mode": mode, "draw": kind, "threads": threads, "rate": median(shared), "free": median(free)}
                found.append(row)
                say(f"{mode} {kind}, {threads} threads: {row['rate'] / 1e6:.1f} M/s, {row['free'] / 1e6:.1f} without")
    return found


def measure_lines(times: int) -> dict[str, float]:
    """Nanoseconds: for a line to go from one core to another; for an atomic addition by two cores at once to the same
    word, and to words of their own."""
    from bench.lines import Lines

    def slowest(work: Callable[[Lines, int], int]) -> float:
        lines, took = Lines(), [0, 0]

        def run(index: int) -> None:
            lines.meet(2)
            took[index] = work(lines, index)

        together(2, run)
        return max(took) / times

    def middle(work: Callable[[Lines, int], int]) -> float:
        return median(slowest(work) for _ in range(5))

    return {
        "transfer": middle(lambda lines, index: lines.pass_on(times, index)) / 2,
        # Two threads did ``times`` each: an addition has the word for half of that.
        "add": middle(lambda lines, _: lines.add(times, 0)) / 2,
        "own": middle(lambda lines, index: lines.add(times, index)),
    }


def closed_rate(threads: int, own: float, visits: float, service: float) -> float:
    """Operations a nanosecond of so many threads that each do ``own`` nanoseconds of work by themselves, and need one
    line for ``service`` nanoseconds ``visits`` times an operation: mean value analysis of one queue."""
    waiting, throughput = 0.0, 0.0
    for n in range(1, threads + 1):
        response = visits * service * (1 + waiting)
        throughput = n / (own + response)
        waiting = throughput * response
    return throughput


def foresee(lines: dict[str, float], rates: list[dict]) -> list[dict]:
    """For words that many threads write: of what the threads could do, how much they do."""
    hot = {row["threads"]: 1e9 / row["rate"] for row in rates if row["mode"] == "get" and row["draw"] == "hot"}
    popular = 1 / sum(rank**-SKEW for rank in range(1, KEYS + 1))
    transfer = lines["transfer"]
    words = [
        # What, visits of an operation, nanoseconds that it is held, of which a transfer is a part
        ("one hot key's stripe, get", 1.0, max(hot[2], transfer)),
        ("the most popular key's stripe, Zipf, get", popular, max(hot[2], transfer)),
        ("the cas, set in place, one by one", 1.0, max(lines["add"], transfer)),
        ("the cas, set in place, 64 at once", 1 / 64, max(lines["add"], transfer)),
        ("an LRU class's lock, new items of one size", 1.0, 3 * transfer),
        ("a slab class's lock, new items for old", 2.0, 2 * transfer),
        ("buffer_bytes, a value in two parts, one for all", 2.0, transfer),
    ]
    found = []
    for name, visits, service in words:
        for situation, own in OWN_NS.items():
            row = {"word": name, "situation": situation, "visits": visits, "service": service}
            for far in (1.0, FAR):
                held = service + (far - 1) * transfer
                for threads in FORESEEN:
                    linear = threads / (own + visits * held)
                    row[f"{threads} {'near' if far == 1 else 'far'}"] = closed_rate(threads, own, visits, held) / linear
            found.append(row)
    return found


def measure(short: bool, say: Say) -> dict:
    """Everything: a minute; ``short``: some seconds."""
    build.ensure()
    operations, rounds = (200_000, 3) if short else (1_000_000, 5)
    lines = measure_lines(200_000 if short else 1_000_000)
    say(f"a line's way from core to core: {lines['transfer']:.0f} ns; an addition: {lines['add']:.0f} ns")
    rates = measure_rates(operations, rounds, say)
    return {
        "command": "python -m bench.scaling" + (" --short" if short else ""),
        "keys": KEYS,
        "value": VALUE,
        "skew": SKEW,
        "operations": operations,
        "rounds": rounds,
        "lines": lines,
        "rates": rates,
        "foreseen": foresee(lines, rates),
    }


def markdown(result: dict) -> str:
    """The chapter."""
    lines = result["lines"]
    one = {(row["mode"], row["draw"]): row["rate"] for row in result["rates"] if row["threads"] == 1}
    text = [
        "## Threads",
        "",
        f"`{result['command']}`: the store's operations in one process, {result['keys']:,} keys, values of "
        f"{result['value']} bytes, Zipf's exponent {result['skew']}, {result['operations']:,} operations a thread, "
        f"medians of {result['rounds']}. *Without*: gets without the buckets' locks; with sets, a store each.",
        "",
        "| operations | keys | threads | million/s | of one thread | without, million/s | of without |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in result["rates"]:
        text.append(
            f"| {row['mode']} | {row['draw']} | {row['threads']} | {row['rate'] / 1e6:.1f} "
            f"| {row['rate'] / one[row['mode'], row['draw']]:.2f} | {row['free'] / 1e6:.1f} "
            f"| {row['rate'] / row['free']:.2f} |"
        )
    text += [
        "",
        f"A line goes from core to core in {lines['transfer']:.0f} ns; an atomic addition holds a word that two cores "
        f"add to for {lines['add']:.0f} ns, a word of its own takes {lines['own']:.1f} ns.",
        "",
        "What threads would do of what they could, by mean value analysis of a queue for one word; *far*: a transfer "
        f"takes {FAR:.0f} times as long:",
        "",
        "| word | visits | held, ns | requests | " + " | ".join(f"{n} threads | far" for n in FORESEEN) + " |",
        "|---|---|---|---|" + "---|---|" * len(FORESEEN),
    ]
    for row in result["foreseen"]:
        shares = " | ".join(f"{row[f'{n} near']:.2f} | {row[f'{n} far']:.2f}" for n in FORESEEN)
        text.append(f"| {row['word']} | {row['visits']:.3f} | {row['service']:.0f} | {row['situation']} | {shares} |")
    return "\n".join(text) + "\n"


def plot(result: dict, directory: Path) -> list[Path]:
    """Rates by threads, a field for each mode."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(MODES), figsize=(10, 4))
    for axis, mode in zip(axes, MODES, strict=True):
        for kind in DRAWS:
            rows = [row for row in result["rates"] if row["mode"] == mode and row["draw"] == kind]
            threads = [row["threads"] for row in rows]
            (line,) = axis.plot(threads, [row["rate"] / 1e6 for row in rows], marker="o", label=kind)
            axis.plot(threads, [row["free"] / 1e6 for row in rows], linestyle=":", color=line.get_color())
        axis.set_title(f"{mode}: million operations a second; dotted: without")
        axis.set_xlabel("threads")
        axis.set_xticks(list(THREADS))
        axis.set_ylim(bottom=0)
        axis.legend()
    return keep_figure(figure, directory / "scaling.svg")


if __name__ == "__main__":
    run_command(lambda arguments: run_alone("scaling", arguments, measure, markdown, plot))
