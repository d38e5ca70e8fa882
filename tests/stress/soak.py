"""A daemon under load for as long as one likes, whose memory and descriptors have to stay as they are.

    python -m tests.stress.soak --seconds 3600

In rounds: clients that set, get and delete values of 40 bytes to 900 KB under eviction; clients that come and go, among
them many that leave in the middle of a command, a value or a reply, half of these by a reset; an operator who asks for
every list, dumps, watches, moves pages, crawls, and now and then flushes. At the end of each round all have left, and
the daemon's resident memory and descriptors are looked at. A part of the time at the beginning is warm-up. Behind it

- the descriptors are as many as at the start, at the end of every round,
- resident memory, the median of the last rounds, is at most ``BOUND`` above that of the first rounds.

Exit status 0 if that is so and every reply was right.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import random
import socket
import statistics
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from tests.stress import serving
from tests.support.processes import daemon, descriptors, resident

#: Bytes of resident memory that may be added between the first rounds behind the warm-up and the last.
BOUND: Final = 3 << 19
#: Rounds on either side whose median is taken.
ROUNDS: Final = 5
#: What of the time is warm-up, and seconds of it at most: until then every page and bucket was in use.
WARM_UP: Final = 0.4
WARM_UP_MAX: Final = 300.0
MEGABYTES: Final = 24
PATIENCE: Final = 60

_RESET: Final = struct.pack("ii", 1, 0)  # struct linger: on, no time
_LEFT: Final = (
    b"", b"g", b"get a\r\n", b"get churn\r\n" * 50, b"set churn 0 0 100\r\nabc", b"set churn 0 0 500000\r\nabc",
    b"set churn 0 0 900000\r\n" + bytes(300_000), b"get " + b"a " * 4000, b"ms churn 10\r\n01234", b"stats\r\n",
    b"lru_crawler mgdump all\r\n", b"watch fetchers\r\n", b"\x80\0", b"nonsense " * 300,
    b"set churn 0 0 5\r\nabcdefg\r\n",
)  # fmt: skip
_ASKED: Final = (
    b"stats", b"stats settings", b"stats items", b"stats slabs", b"stats sizes", b"stats conns", b"stats cachedump 5 0",
    b"stats detail dump",
)  # fmt: skip
_TOLD: Final = (
    b"stats detail on", b"stats detail off", b"stats reset", b"lru_crawler crawl all", b"slabs reassign -1 5",
    b"slabs reassign 5 0", b"slabs automove 1", b"lru mode s3fifo", b"cache_memlimit 23", b"cache_memlimit 24",
    b"nonsense",
)  # fmt: skip


class Sample(NamedTuple):
    """How a round ended."""

    second: float
    resident: int
    descriptors: int
    connected: int  # clients that came and went so far


def faults(samples: Sequence[Sample], warm_up: float, before: int) -> list[str]:
    """What is wrong with these rounds; ``before``: the descriptors at the start."""
    behind = [sample for sample in samples if sample.second > warm_up]
    found = [
        f"{sample.descriptors} descriptors instead of {before} after {sample.second:.0f} s"
        for sample in samples
        if sample.descriptors != before
    ]
    if len(behind) < 2 * ROUNDS:
        return [*found, f"only {len(behind)} rounds behind the warm-up: too short to tell"]
    growth = growth_of(behind)
    if growth > BOUND:
        clients = behind[-1].connected - behind[0].connected
        found.append(f"{growth} bytes more, that is {growth / max(clients, 1):.1f} for each of {clients} clients")
    return found


def growth_of(samples: Sequence[Sample]) -> int:
    """Bytes that were added from the first of these rounds to the last."""
    first, last = samples[:ROUNDS], samples[-ROUNDS:]
    return int(
        statistics.median(sample.resident for sample in last) - statistics.median(sample.resident for sample in first)
    )


# ---- the load


class Churn:
    """Clients that come, and leave in the middle of something."""

    def __init__(self, address: Any, seed: int) -> None:
        self._address = address
        self._chosen = random.Random(seed)
        self.number = 0

    def run(self, until: float) -> None:
        while time.monotonic() < until:
            with socket.create_connection(self._address, PATIENCE) as client:
                self.number += 1
                if self._chosen.random() < 0.5:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                with contextlib.suppress(ConnectionError, TimeoutError):
                    client.sendall(self._chosen.choice(_LEFT))
                    if self._chosen.random() < 0.1:
                        client.settimeout(0.01)  # what was left may be a value that is waited for
                        client.sendall(b"\r\nmn\r\n" * 2)
                        client.recv(1000)


def ask(client: socket.socket, line: bytes, end: bytes) -> None:
    client.sendall(line + b"\r\n")
    read = b""
    while not read.endswith(end):
        part = client.recv(1 << 18)
        if not part:
            raise AssertionError(f"closed while {line!r} was answered, behind {read[-100:]!r}")
        read = read[-100:] + part


def operate(address: Any, seed: int, until: float) -> None:
    """What operators do; they flush rarely."""
    chosen = random.Random(seed)
    with socket.create_connection(address, PATIENCE) as client:
        while time.monotonic() < until:
            ask(client, chosen.choice(_ASKED), b"END\r\n")
            ask(client, chosen.choice(_TOLD), b"\r\n")
            if chosen.random() < 0.02:
                ask(client, b"lru_crawler metadump all", b"END\r\n")
            if chosen.random() < 0.002:
                ask(client, b"flush_all", b"OK\r\n")
            with socket.create_connection(address, PATIENCE) as watcher:
                ask(watcher, b"watch fetchers mutations evictions connevents", b"\n")


class Soak:
    """A daemon's clients, round by round."""

    def __init__(self, address: Any) -> None:
        self._address = address
        self._seeds = itertools.count()
        self.connected = 0
        self.hits = 0

    def _round(self, until: float) -> None:
        sizes = [(20_000, 40, 300), (3000, 300, 20_000), (100, 50_000, 900_000)]
        loads = [serving.Client(self._address, next(self._seeds), *load) for load in sizes]
        churns = [Churn(self._address, next(self._seeds)) for _ in range(2)]
        operator = next(self._seeds)
        works: list[Callable[[], None]] = [lambda: operate(self._address, operator, until)]
        works += [lambda part=part: part.run(until) for part in (*loads, *churns)]  # type: ignore[misc]
        failures: list[BaseException] = []

        def guarded(work: Callable[[], None]) -> None:
            try:
                work()
            except BaseException as failure:
                failures.append(failure)

        threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        if wrong := [key for load in loads for key in load.wrong]:
            raise AssertionError(f"values that are not whole, or another key's: {wrong}")
        self.hits += sum(load.hits for load in loads)
        self.connected += sum(churn.number for churn in churns)

    def await_quiet(self) -> None:
        """Return when the server has noticed that all have left."""
        until = time.monotonic() + PATIENCE
        with socket.create_connection(self._address, PATIENCE) as client, client.makefile("rb") as replies:
            wanted = {b"STAT curr_connections 1\r\n", b"STAT log_watchers 0\r\n", b"STAT response_obj_bytes 0\r\n"}
            while True:
                client.sendall(b"stats\r\n")
                lines = set(iter(replies.readline, b"END\r\n"))
                if wanted <= lines:
                    return
                if time.monotonic() > until:
                    raise AssertionError(f"clients are left behind: {sorted(lines)}")

    def run(self, seconds: float, pid: int, before: int) -> Iterator[Sample]:
        """Rounds for so long; ``before``: descriptors that there should be behind each."""
        began = time.monotonic()
        length = min(max(seconds / 30, 1.0), 30.0)
        while time.monotonic() - began < seconds:
            self._round(time.monotonic() + length)
            self.await_quiet()
            yield Sample(time.monotonic() - began, resident(pid), descriptors_left(pid, before), self.connected)


def descriptors_left(pid: int, wanted: int) -> int:
    """How many descriptors there are, once those of the last client are closed."""
    until = time.monotonic() + PATIENCE
    while (found := descriptors(pid)) != wanted and time.monotonic() < until:
        os.sched_yield()
    return found


def soak(seconds: float, say: Callable[[str], None]) -> list[str]:
    """What was wrong."""
    warm_up = min(seconds * WARM_UP, WARM_UP_MAX)
    words = ("-m", str(MEGABYTES), "-t", "4", "-o", "track_sizes,idle_timeout=0")
    samples: list[Sample] = []
    with daemon(*words) as (process, address):
        before = descriptors(process.pid)  # nobody has come yet
        load = Soak(address)
        for sample in load.run(seconds, process.pid, before):
            samples.append(sample)
            say(
                f"{sample.second:6.0f} s: {sample.resident / 1024:.0f} KiB, {sample.descriptors} descriptors, "
                f"{sample.connected} clients, {load.hits} hits{'' if sample.second > warm_up else ' (warm-up)'}"
            )
    behind = [sample for sample in samples if sample.second > warm_up]
    if len(behind) >= 2 * ROUNDS:
        say(f"growth behind the warm-up: {growth_of(behind)} bytes, {BOUND} are allowed")
    return faults(samples, warm_up, before)


def main() -> int:
    """Soak, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120.0, help="in all, the warm-up included")
    found = soak(parser.parse_args().seconds, lambda text: print(text, flush=True))
    for fault in found:
        print(f"FAULT: {fault}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
