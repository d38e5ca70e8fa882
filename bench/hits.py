"""``python -m bench.hits``: what servers and policies miss of six traces, at the same memory.

Every trace is run against memcached and cachecore over the wire, both with the same ``-m``, and through policies in
simulation. A miss is followed by a set. Miss ratios do not depend on how fast the machine is, but for traces with TTLs
and with shifting sizes: those are sent at the trace's own rate, so that servers have the time that they would have.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import build
from bench.errors import BenchError, run_command
from bench.servers import KINDS, Launch, Server
from bench.workload import Workload

MEGABYTE = 1 << 20
MEMORY = 64  # megabytes
REQUESTS = 8_000_000
RATE = 250_000  # requests in a second of a trace
PARTS = 32  # of a trace, for the plot
KEY = 12  # bytes
#: Bytes an item takes beyond key and value: what cachecore takes with its table, and what memcached does.
OVERHEAD = {"cachecore": 37, "memcached": 57}


@dataclass(frozen=True)
class Spec:
    """A trace, and what is known of it."""

    name: str
    title: str
    bound: float  # the most that cachecore may miss of it, as a share
    settings: dict[str, Any]  # for bench.traces.generate
    paced: bool = False  # sent at the trace's rate

    def make(self, requests: int, scale: float = 1.0, seed: int = 1) -> Any:
        """The trace; ``scale`` is this run's memory over that of the full one, and there are as many fewer keys."""
        from bench.traces import generate

        keys = int(self.settings["keys"] * scale)
        return generate(**{"rate": RATE, **self.settings, "requests": requests, "seed": seed, "keys": keys})


TRACES = [
    Spec("zipf-0.9", "Zipf 0.9, ten times the cache", 0.32, {"keys": 3_790_000, "skew": 0.9, "sizes": (128, 128)}),
    Spec("zipf-1.0", "Zipf 1.0, ten times the cache", 0.19, {"keys": 3_790_000, "skew": 1.0, "sizes": (128, 128)}),
    Spec(
        "scans",
        "Zipf with 30 % scans",
        0.455,
        {"keys": 3_790_000, "skew": 1.0, "sizes": (128, 128), "scans": 0.3, "scan_length": 1000},
    ),
    Spec("mixed", "mixed sizes", 0.275, {"keys": 1_000_000, "skew": 0.9, "sizes": (16, 4096)}),
    Spec(
        "mixed-ttl",
        "mixed sizes with TTLs",
        0.33,
        {"keys": 1_000_000, "skew": 0.9, "sizes": (16, 4096), "ttl_percent": 50, "ttls": (5, 60)},
        paced=True,
    ),
    Spec(
        "shift",
        "sizes that shift half way",
        0.34,
        {"keys": 1_000_000, "skew": 0.9, "sizes": (64, 256), "later_sizes": (512, 2048)},
        paced=True,
    ),
]


def simulate(trace: Any, policy: str, memory: float, overhead: int) -> list[int]:
    """What ``policy`` misses with ``memory`` megabytes, for each part of the trace."""
    from bench import policies

    found: list[int] = policies.misses(
        trace, policy, int(memory * MEGABYTE), overhead=overhead + KEY, parts=PARTS
    )
    return found


def serve(spec: Spec, trace: Any, name: str, memory: int, options: list[str]) -> tuple[list[int], float]:
    """What a server misses, for each part of the trace; and the most seconds that the trace was late."""
    from bench import replay

    launch = Launch(Workload(name=spec.name, kind="get", value=128), memory=memory, threads=4, connections=64)
    server = Server(KINDS[name], launch)
    server.command += options
    with server:
        try:
            found, late = replay.misses(trace, server.address, paced=spec.paced, parts=PARTS)
        except (replay.ReplayError, OSError) as error:
            raise BenchError(f"{name}, {spec.name}: {error}") from None
    return found, late


def probe(trace: Any, memory: int, tuning: dict[str, int], automove: int | None = None) -> list[int]:
    """What cachecore's storage misses in this process, without a socket and with a clock of its own."""
    from cachecore_ext.probe import Store

    store = Store(memory_limit=memory * MEGABYTE)
    store.freeze()
    store.tune(**tuning)
    return store.replay(trace.keys, trace.sizes, trace.ttls, rate=trace.rate, parts=PARTS)


if __name__ == "__main__":
    build.ensure()
    names = sys.argv[1].split(",") if len(sys.argv) > 1 and sys.argv[1] != "all" else [t.name for t in TRACES]
    tuning = {k: int(v) for k, v in (a.split("=") for a in sys.argv[2:])}
    for spec in TRACES:
        if spec.name in names:
            begun = time.monotonic()
            trace = spec.make(REQUESTS)
            made = time.monotonic()
            found = probe(trace, MEMORY, tuning)
            print(f"{spec.name}: {sum(found) / len(trace):.4f} (at most {spec.bound}), made in {made - begun:.1f} s, run in "
                  f"{time.monotonic() - made:.1f} s; parts {[round(n * PARTS / len(trace), 3) for n in found]}", flush=True)
