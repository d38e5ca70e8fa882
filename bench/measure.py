"""The measurement: every server runs the same workload in turn, and pays in CPU time of its own process."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from bench import wire
from bench.errors import BenchError
from bench.quiet import Turns
from bench.servers import KINDS, Launch, Server
from bench.workload import Workload

#: Requests in flight and connections of a preload; a large value lowers the first. With so few connections Redis does
#: without its I/O threads, which on few cores only take time from the others.
PRELOAD_PIPELINE = 64
PRELOAD_CONNECTIONS = 2
PRELOAD_BATCH = 1 << 20  # bytes
TICKS = os.sysconf("SC_CLK_TCK")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """How the workloads are run."""

    servers: tuple[str, ...]
    rounds: int = 5
    seconds: float = 1.0  # of each run
    warm_up: float = 0.2  # seconds before each run, on the same connections
    threads: int = 1
    server_cpus: frozenset[int] = frozenset()  # empty: not pinned
    load_cpus: frozenset[int] = frozenset()
    memory: dict[str, int] = field(default_factory=dict)  # megabytes by server name, where not derived
    binaries: dict[str, str] = field(default_factory=dict)
    unix: bool = False


@dataclass(frozen=True)
class CpuTime:
    """What a process has used so far: all of its threads together, in nanoseconds."""

    total: int
    user_ticks: int
    system_ticks: int


@dataclass(frozen=True)
class Sample:
    """One run of one workload on one server. An operation is one key read or written."""

    workload: str
    server: str
    round: int
    operations: int
    requests: int
    hits: int
    misses: int
    errors: int
    elapsed: float  # seconds
    cpu_us: float  # server CPU time per operation, microseconds
    user_us: float
    system_us: float
    load_us: float  # the load generator's, likewise
    p50_us: float  # time from sending a batch to its last reply, microseconds
    p99_us: float
    p999_us: float

    @property
    def rate(self) -> float:
        """Operations per second."""
        return self.operations / self.elapsed


def cpu_time(pid: int) -> CpuTime:
    """The CPU time of a process. The sum is exact (schedstat); the kernel counts user and system in ticks."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system = int(fields[11]), int(fields[12])
    try:
        total = sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat"))
    except (OSError, IndexError):
        total = 0
    return CpuTime(total or (user + system) * 1_000_000_000 // TICKS, user, system)


def resident(pid: int) -> int:
    """Resident memory of a process in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def quantile(histogram: list[tuple[float, int]], share: float) -> float:
    """The latency in microseconds that ``share`` of the batches did not exceed."""
    wanted = share * sum(count for _, count in histogram)
    for bound, count in histogram:
        wanted -= count
        if wanted <= 0:
            return bound
    return 0.0


@contextlib.contextmanager
def pinned(cpus: frozenset[int]) -> Iterator[None]:
    """Run the block on ``cpus`` only; anywhere when that is empty."""
    before = os.sched_getaffinity(0)
    if cpus:
        os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def preload(server: Server, workload: Workload) -> int:
    """Set the keys of the data set; the server's growth in resident memory, in bytes."""
    from bench.loadgen import LoadError, LoadGenerator

    before = resident(server.pid)
    pipeline = max(1, min(PRELOAD_PIPELINE, PRELOAD_BATCH // workload.value))
    try:
        with LoadGenerator(
            wire.preload(workload.value, server.kind.protocol),
            server.address,
            keys=workload.keys,
            connections=PRELOAD_CONNECTIONS,
            pipeline=pipeline,
            sequential=True,
        ) as load:
            load.run(requests=workload.preloaded)
    except (LoadError, OSError) as error:
        raise BenchError(f"{server.kind.name}: preload for {workload.name}: {error}") from None
    return resident(server.pid) - before


def run_once(server: Server, workload: Workload, plan: Plan, number: int) -> Sample:
    """One run: connect, warm up, measure."""
    from bench.loadgen import LoadError, LoadGenerator

    try:
        with LoadGenerator(
            workload.wire(server.kind.protocol),
            server.address,
            keys=workload.keys,
            connections=workload.connections,
            pipeline=workload.pipeline,
            seed=1 + number,
            check_keys=server.kind.stores,
            zipf=workload.zipf,
        ) as load:
            load.run(seconds=plan.warm_up)
            before, load_before = cpu_time(server.pid), time.thread_time_ns()
            counts = load.run(seconds=plan.seconds)
            load_used = time.thread_time_ns() - load_before
            time.sleep(0.005)  # for the server to go to sleep, which brings its clock up to date
            after = cpu_time(server.pid)
    except (LoadError, OSError) as error:
        raise BenchError(f"{server.kind.name}: {workload.name}: {error}") from None
    return make_sample(server.kind.name, workload, number, counts, before, after, load_used)


def make_sample(
    server: str, workload: Workload, number: int, counts: dict, before: CpuTime, after: CpuTime, load_ns: int
) -> Sample:
    """Put a run's counts and clocks together."""
    used_us = (after.total - before.total) / 1000 / counts["keys"]
    user = after.user_ticks - before.user_ticks
    system = after.system_ticks - before.system_ticks
    user_us = used_us * user / max(user + system, 1)
    return Sample(
        workload=workload.name,
        server=server,
        round=number,
        operations=counts["keys"],
        requests=counts["requests"],
        hits=counts["hits"],
        misses=counts["misses"],
        errors=counts["errors"],
        elapsed=counts["elapsed"],
        cpu_us=used_us,
        user_us=user_us,
        system_us=used_us - user_us,
        load_us=load_ns / 1000 / counts["keys"],
        p50_us=quantile(counts["histogram"], 0.5),
        p99_us=quantile(counts["histogram"], 0.99),
        p999_us=quantile(counts["histogram"], 0.999),
    )


@dataclass
class Results:
    """Everything measured so far."""

    samples: list[Sample] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    commands: dict[str, str] = field(default_factory=dict)
    #: Bytes of resident memory per item beyond key and value, by data set and server.
    overhead: dict[str, dict[str, float]] = field(default_factory=dict)


class Runner:
    """Runs workloads on servers as a plan says, and keeps the results."""

    def __init__(self, plan: Plan, say: Say) -> None:
        self.plan = plan
        self.say = say
        self.results = Results()
        self.total = 0  # runs of all workloads
        self.turns = Turns()

    def run(self, workloads: list[Workload]) -> Results:
        """All workloads; those with one data set share the servers that hold it."""
        runs = [name for work in workloads for name in self.plan.servers if work.runs_on(KINDS[name].protocol)]
        self.total = len(runs) * self.plan.rounds
        ordered = sorted(workloads, key=lambda workload: workload.dataset)
        with self.turns:
            for _, group in groupby(ordered, key=lambda workload: workload.dataset):
                self.run_dataset(list(group))
        order = [workload.name for workload in workloads]
        self.results.samples.sort(key=lambda sample: order.index(sample.workload))
        return self.results

    def start(self, stack: contextlib.ExitStack, name: str, workload: Workload) -> Server:
        """Start one server for ``workload``, to be stopped with ``stack``."""
        plan = self.plan
        launch = Launch(
            workload=workload,
            memory=plan.memory.get(name, workload.memory),
            threads=workload.threads or plan.threads,
            cpus=plan.server_cpus if workload.pin else frozenset(),
            binaries=plan.binaries,
            unix=plan.unix,
        )
        server = stack.enter_context(Server(KINDS[name], launch))
        self.results.versions[name] = server.version()
        words = ["python" if word == sys.executable else word for word in server.command]
        self.results.commands.setdefault(name, shlex.join(words))
        return server

    def run_dataset(self, workloads: list[Workload]) -> None:
        """The workloads of one data set on servers that are filled with it once."""
        first = workloads[0]
        with pinned(self.plan.load_cpus if first.pin else frozenset()), contextlib.ExitStack() as stack:
            stores: dict[str, Server] = {}
            for name in self.plan.servers:
                if KINDS[name].stores and any(work.runs_on(KINDS[name].protocol) for work in workloads):
                    stores[name] = self.start(stack, name, first)
                    self.fill(stores[name], first)
            for workload in workloads:
                self.run_workload(workload, stores)

    def fill(self, server: Server, workload: Workload) -> None:
        """Preload a server, and note what memory that took if it was to hold everything."""
        name = server.kind.name
        started = time.monotonic()
        self.turns.offer()
        grown = preload(server, workload)
        title = f"{workload.preloaded} keys, values of {workload.value} bytes"
        if not workload.limit:
            beyond = grown / workload.preloaded - workload.value - len(wire.KEY)
            self.results.overhead.setdefault(title, {})[name] = round(beyond, 1)
        self.say(f"{name}: preloaded {title} in {time.monotonic() - started:.1f} s")

    def run_workload(self, workload: Workload, stores: dict[str, Server]) -> None:
        """The rounds of one workload: every server once in each, in alternating order."""
        with contextlib.ExitStack() as stack:
            servers = []
            for name in self.plan.servers:
                if not workload.runs_on(KINDS[name].protocol):
                    continue
                servers.append(stores.get(name) or self.start(stack, name, workload))
            self.turns.offer()
            for number in range(self.plan.rounds):
                for server in servers if number % 2 == 0 else reversed(servers):
                    sample = run_once(server, workload, self.plan, number)
                    self.results.samples.append(sample)
                    self.say(
                        f"{len(self.results.samples)}/{self.total} {workload.name}: {server.kind.name}: "
                        f"{sample.cpu_us:.3f} us CPU per operation, {sample.rate:,.0f} operations/s"
                    )
