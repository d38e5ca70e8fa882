"""``python -m bench.embedded``: a cache inside the process, beside what else Python people take.

get and set of one key after another through ``cachecore.Cache``, a dict with a lock, cachetools' LRUCache and TTLCache
with a lock, and diskcache (as it is set up by default, in a directory of its own), from one thread and from two.
"""

from __future__ import annotations

import pickle
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from bench.chapter import Say, keep_figure, run_alone
from bench.errors import MissingTool, run_command

KEYS = 20_000
VALUES = (100, 10_000, 1_000_000)  # bytes
KEYS_OF = {100: KEYS, 10_000: 2_000, 1_000_000: 20}
THREADS = (1, 2)
SLOW = "diskcache"
SLOW_SHARE = 20  # of the operations that the others have: one in so many

Get = Callable[[str], Any]
Set = Callable[[str, bytes], Any]


def with_lock(mapping: Any) -> tuple[Get, Set]:
    """get and set of a mapping that threads share."""
    lock = threading.Lock()

    def get(key: str) -> Any:
        with lock:
            return mapping.get(key)

    def put(key: str, value: bytes) -> None:
        with lock:
            mapping[key] = value

    return get, put


@contextmanager
def caches() -> Iterator[dict[str, tuple[Get, Set]]]:
    """Every contender, by name."""
    try:
        import cachetools
        import diskcache
    except ImportError as error:
        raise MissingTool(f"not installed: {error.name} (pip install '.[bench]')") from error
    from cachecore import Cache

    with ExitStack() as opened:
        ours = opened.enter_context(Cache(256 << 20))
        theirs = opened.enter_context(diskcache.Cache(opened.enter_context(tempfile.TemporaryDirectory())))
        pickling = opened.enter_context(Cache(256 << 20, serializer=pickle))
        bare: dict[str, bytes] = {}
        yield {
            "dict": (bare.get, bare.__setitem__),
            "dict and lock": with_lock({}),
            "cachecore.Cache": (ours.get, ours.set),
            "cachecore.Cache, pickle": (pickling.get, pickling.set),
            "LRUCache and lock": with_lock(cachetools.LRUCache(2 * KEYS)),
            "TTLCache and lock": with_lock(cachetools.TTLCache(2 * KEYS, 3600)),
            SLOW: (theirs.get, theirs.set),
        }


def seconds_of(operation: Callable[[str], Any], keys: list[str], times: int, threads: int) -> float:
    """How long so many threads take that each do it ``times`` times to each key."""
    barrier = threading.Barrier(threads + 1)

    def run() -> None:
        barrier.wait()
        for _ in range(times):
            for key in keys:
                operation(key)

    started = [threading.Thread(target=run) for _ in range(threads)]
    for thread in started:
        thread.start()
    barrier.wait()
    began = time.perf_counter()
    for thread in started:
        thread.join()
    return time.perf_counter() - began


def measure(short: bool, say: Say) -> dict:
    """Every contender in turn, a round at a time: a minute; ``short``: some seconds."""
    rounds, total = (3, 20_000) if short else (7, 100_000)
    rows = []
    for size in VALUES:
        keys = [f"user:{number}" for number in random.Random(1).sample(range(10**6), KEYS_OF[size])]
        value = bytes(size)
        share = max(1, size // 10_000)
        for threads in THREADS:
            rows += one_size(keys, value, total // share, rounds, threads)
            say(f"{size} bytes, {threads} threads: done")
    return {
        "command": "python -m bench.embedded" + (" --short" if short else ""),
        "rounds": rounds,
        "operations": total,
        "switch_interval": sys.getswitchinterval(),
        "rows": rows,
    }


def one_size(keys: list[str], value: bytes, total: int, rounds: int, threads: int) -> list[dict]:
    """Nanoseconds for an operation, of all threads together, for each contender."""
    took: dict[tuple[str, str], list[float]] = {}
    with caches() as contenders:
        for _ in range(rounds):
            for name, (get, put) in contenders.items():
                wanted = total // SLOW_SHARE if name == SLOW else total
                some = keys[: max(1, min(len(keys), wanted))]
                times = max(1, wanted // len(some))

                def set_one(key: str, put: Set = put) -> None:
                    put(key, value)

                for what, operation in (("set", set_one), ("get", get)):
                    seconds = seconds_of(operation, some, times, threads)
                    took.setdefault((name, what), []).append(seconds / (len(some) * times * threads) * 1e9)
    return [
        {"cache": name, "operation": what, "value": len(value), "threads": threads, "ns": median(figures)}
        for (name, what), figures in took.items()
    ]


def markdown(result: dict) -> str:
    """The chapter."""
    columns = [(size, threads) for size in VALUES for threads in THREADS]
    return f"## A cache inside the process\n\n{explained(result)}\n\n{table(result, columns)}\n"


def explained(result: dict) -> str:
    """What the figures of a table are."""
    return (
        f"`{result['command']}`: nanoseconds for a get / a set of values of so many bytes, from one and from two "
        f"threads (time that passes, over the operations of both), medians of {result['rounds']} rounds; the loop "
        "around the calls is part of it. A dict keeps a reference, where `cachecore.Cache` copies the bytes, and has "
        "neither a limit nor TTLs."
    )


def table(result: dict, columns: Sequence[tuple[int, int]]) -> str:
    """Caches by columns, each so many bytes of a value and so many threads."""
    names = list(dict.fromkeys(row["cache"] for row in result["rows"]))
    ns = {(row["cache"], row["operation"], row["value"], row["threads"]): row["ns"] for row in result["rows"]}
    lines = [
        "| cache | " + " | ".join(f"{size:,} B, {threads} thr." for size, threads in columns) + " |",
        "|---|" + "--:|" * len(columns),
    ]
    for name in names:
        cells = [
            f"{ns[name, 'get', size, threads]:,.0f} / {ns[name, 'set', size, threads]:,.0f}"
            for size, threads in columns
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(result: dict, directory: Path) -> list[Path]:
    """Bars for the smallest values and one thread."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    chosen = [row for row in result["rows"] if row["value"] == VALUES[0] and row["threads"] == 1]
    names = list(dict.fromkeys(row["cache"] for row in chosen))
    figure, axis = pyplot.subplots(figsize=(8, 4))
    for offset, what in ((-0.2, "get"), (0.2, "set")):
        heights = [row["ns"] for name in names for row in chosen if (row["cache"], row["operation"]) == (name, what)]
        axis.bar([place + offset for place in range(len(names))], heights, width=0.4, label=what)
    axis.set_xticks(range(len(names)), names)
    axis.set_yscale("log")
    axis.set_ylabel(f"ns, values of {VALUES[0]} bytes, one thread")
    axis.legend()
    return keep_figure(figure, directory / "embedded.svg")


if __name__ == "__main__":
    run_command(lambda arguments: run_alone("embedded", arguments, measure, markdown, plot))
