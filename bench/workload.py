"""Workloads as data: one TOML table each, in ``bench/workloads``."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path

from bench import wire
from bench.errors import BenchError

FOLDER = Path(__file__).parent / "workloads"


@dataclass(frozen=True)
class Workload:
    """What the connections ask for. A file's ``[defaults]`` apply to every table in it."""

    name: str
    kind: str
    value: int = 32  # bytes
    keys: int = 100_000  # in the data set; all of them are set before the run
    pipeline: int = 1  # requests in flight on a connection
    connections: int = 50
    keys_per_request: int = 1  # of a multiget
    zipf: float = 0.0  # skew of the key distribution; 0 is uniform
    short: bool = False  # belongs to the selection that runs when nothing else is asked for

    @property
    def dataset(self) -> tuple[int, int]:
        """Workloads with the same one can share a preloaded server."""
        return self.value, self.keys

    @property
    def memory(self) -> int:
        """Megabytes that hold the data set in any of the servers, with room to spare."""
        return int(self.keys * (self.value * 1.5 + 200) / 1e6) + 128

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


def select(workloads: list[Workload], patterns: list[str], *, everything: bool) -> list[Workload]:
    """The workloads that match one of ``patterns``; without any the short selection, or ``everything``."""
    if not patterns:
        return [workload for workload in workloads if everything or workload.short]
    chosen = [w for w in workloads if any(fnmatchcase(w.name, pattern) for pattern in patterns)]
    if not chosen:
        names = ", ".join(workload.name for workload in workloads)
        raise BenchError(f"no workload matches {' '.join(patterns)}: there are {names}")
    return chosen
