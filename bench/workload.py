"""Workloads as data: one TOML table each, in ``bench/workloads``."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path

from bench import wire
from bench.errors import BenchError

FOLDER = Path(__file__).parent / "workloads"
#: What a kind is called in a title; the number is that of the keys of a request.
WORDS = {
    "get": "get",
    "metaget": "meta get",
    "set": "set",
    "mix": "90 % get",
    "multiget": "multiget of {}",
}


@dataclass(frozen=True)
class Workload:
    """What the connections ask for. A file's ``[defaults]`` apply to every table in it."""

    name: str
    kind: str
    value: int = 32  # bytes
    keys: int = 100_000  # that requests are drawn from
    filled: int = 0  # of those, how many are set before the run, in order; 0 is all
    limit: int = 0  # megabytes of memory; 0 is what holds all that is set, with room to spare
    pipeline: int = 1  # requests in flight on a connection
    connections: int = 50
    keys_per_request: int = 1  # of a multiget
    zipf: float = 0.0  # skew of the key distribution; 0 is uniform
    threads: int = 0  # of the server; 0 is what the run is started with
    pin: bool = True  # server and load have cores of their own; false: whoever comes
    short: bool = False  # belongs to the selection of a short run
    extra: bool = False  # runs only when it is named

    @property
    def title(self) -> str:
        """What it does, for people."""
        unit = 1000 if self.value % 1000 == 0 else 1024
        size = f"{self.value} B" if self.value < 1000 else f"{self.value // unit} KB"
        words = [WORDS[self.kind].format(self.keys_per_request)]
        words += [f"{self.pipeline} pipelined"] if self.pipeline > 1 else []
        words += ["one at a time"] if self.pipeline == 1 and self.kind != "multiget" and self.value < 100_000 else []
        words += [size]
        words += [f"{self.keys / 1e6:.0f} million keys"] if self.keys >= 1e6 and not self.limit else []
        words += ["full cache"] if self.limit else []
        words += ["Zipf"] if self.zipf else []
        words += [f"{self.threads} threads, not pinned"] if self.threads else []
        words += ["per key"] if self.kind == "multiget" else []
        return ", ".join(words)

    @property
    def place(self) -> tuple[float, ...]:
        """Where it stands in a report: what is common first."""
        kinds = list(WORDS)
        large = self.preloaded >= 1_000_000
        depth = self.pipeline * self.keys_per_request
        return self.threads, bool(self.limit), large, self.value, depth, kinds.index(self.kind), self.zipf

    @property
    def dataset(self) -> tuple[int, int, int, int, bool]:
        """Workloads with the same one can share a preloaded server."""
        return self.value, self.preloaded, self.limit, self.threads, self.pin

    @property
    def preloaded(self) -> int:
        """Keys that are set before the run."""
        return self.filled or self.keys

    @property
    def memory(self) -> int:
        """Megabytes of the servers' memory."""
        return self.limit or int(self.preloaded * (self.value * 1.5 + 200) / 1e6) + 128

    def runs_on(self, protocol: str) -> bool:
        """Whether ``protocol`` has such requests."""
        return protocol == "memcached" or self.kind != "metaget"

    def wire(self, protocol: str) -> wire.Wire:
        """The requests and replies in ``protocol``; ValueError when it has no such requests."""
        return wire.make(self.kind, self.value, self.keys_per_request, protocol)

    def check(self) -> None:
        """BenchError when a number is out of range."""
        limits = {
            "value": (wire.VALUE_MIN, 1_000_000),
            "keys": (1, wire.KEYS_MAX),
            "pipeline": (1, 100),
            "connections": (1, 1000),
            "keys_per_request": (1, 100),
            "filled": (0, self.keys),
            "limit": (0, 1 << 20),
            "threads": (0, 64),
        }
        if self.kind not in wire.KINDS:
            raise BenchError(f"workload {self.name}: kind = {self.kind!r}: known are {', '.join(wire.KINDS)}")
        for name, (least, most) in limits.items():
            number = getattr(self, name)
            if not least <= number <= most:
                raise BenchError(f"workload {self.name}: {name} = {number}: possible are {least} to {most}")


def load_file(path: Path) -> list[Workload]:
    """The workloads of one file, in its order."""
    try:
        tables = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise BenchError(f"{path}: {error}") from None
    defaults = tables.pop("defaults", {})
    known = {field.name for field in fields(Workload)} - {"name"}
    workloads = []
    for name, table in tables.items():
        settings = {**defaults, **table}
        if unknown := settings.keys() - known:
            raise BenchError(f"{path.name}: workload {name}: unknown setting {', '.join(sorted(unknown))}")
        if "kind" not in settings:
            raise BenchError(f"{path.name}: workload {name}: it has no kind")
        workloads.append(Workload(name, **settings))
        workloads[-1].check()
    return workloads


def load_all(folder: Path = FOLDER) -> list[Workload]:
    """Every workload of every file; a name may stand in one place only."""
    workloads = [workload for path in sorted(folder.glob("*.toml")) for workload in load_file(path)]
    names = [workload.name for workload in workloads]
    if twice := {name for name in names if names.count(name) > 1}:
        raise BenchError(f"workload names that are used twice: {', '.join(sorted(twice))}")
    return workloads


def select(workloads: list[Workload], patterns: list[str], *, short: bool) -> list[Workload]:
    """The workloads that match one of ``patterns``; without any the short selection, or all but the extra ones."""
    if not patterns:
        chosen = [workload for workload in workloads if (workload.short if short else not workload.extra)]
        return sorted(chosen, key=lambda workload: workload.place)
    chosen = [w for w in workloads if any(fnmatchcase(w.name, pattern) for pattern in patterns)]
    if not chosen:
        names = ", ".join(workload.name for workload in workloads)
        raise BenchError(f"no workload matches {' '.join(patterns)}: there are {names}")
    return sorted(chosen, key=lambda workload: workload.place)
