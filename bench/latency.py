"""``python -m bench.latency``: how long answers take, and how long the longest, while the server has other work, too.

An open-loop generator (``openloop.pyx``) asks by a fixed schedule at 10, 50 and 80 % of the peak rate: that of each
server in the same scene, with 50 connections that ask as soon as they were answered. The server that does no work runs
by cachecore's schedule: what it shows is the machine's. Server and generator have a core each, and a witness
(``witness.pyx``) tells when the server's core stood still; ``stalls.py`` says what is then the server's own fault.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

from bench import build, report
from bench.chapter import keep_figure
from bench.errors import BenchError, run_command
from bench.measure import pinned, quantile
from bench.servers import KINDS, Launch, Server
from bench.stalls import judge
from bench.wire import KEYS_MAX
from bench.workload import Workload

SERVERS = ("cachecore", "memcached", "null")
SHARES = (10, 50, 80)  # percent of the peak rate
CONNECTIONS = 50
STALL_MS = 10.0  # what no server should be the cause of
MS = 1_000_000  # ns
PRELOAD_IN_FLIGHT = 64
PASSING_KEYS = 50_000_000  # the keys that soon end begin here

Say = Callable[[str], None]
Result = dict[str, object]


@dataclass(frozen=True)
class Shape:
    """One kind of set, and its weight among the others at a run's beginning and end."""

    value: int  # bytes
    exptime: int = 0  # seconds, one digit
    weight: float = 1.0
    weight_end: float = 1.0


@dataclass(frozen=True)
class Scene:
    """What is asked, and what else goes on."""

    name: str
    title: str
    writes: int  # percent of sets
    keys: int
    memory: int  # megabytes
    shapes: tuple[Shape, ...] = (Shape(32),)
    preload: int = 0  # keys
    fresh: bool = False  # sets are of new keys, in order
    passing: int = 0  # items that end after ``passing_seconds``, stored before each run
    passing_seconds: int = 2
    control: str = ""  # a command, every ``control_seconds``
    control_seconds: float = 0.1
    evidence: tuple[str, ...] = ()  # statistics that show that it goes on

    @property
    def mean_value(self) -> int:
        """Bytes of a value: for the server that does no work, which knows one size."""
        weights = [shape.weight + shape.weight_end for shape in self.shapes]
        sizes = [shape.value for shape in self.shapes]
        return round(sum(w * s for w, s in zip(weights, sizes, strict=True)) / sum(weights))

    def smaller(self) -> Scene:
        """The same in a fraction of the time, for a look."""
        return replace(
            self,
            keys=min(self.keys, 50_000) if not self.fresh and self.memory > 64 else self.keys,
            preload=min(self.preload, 50_000) if self.memory > 64 else self.preload // 8,
            memory=self.memory if self.memory > 64 else self.memory // 8,
            passing=self.passing // 20,
            passing_seconds=1,
        )


SCENES = (
    Scene("steady", "90 % gets, 10 % sets, a million keys", writes=10, keys=1_000_000, memory=512, preload=1_000_000),
    Scene(
        "growth",
        "half of the requests insert new keys, from none on: the table grows",
        writes=50,
        keys=1,
        memory=2048,
        fresh=True,
        evidence=("curr_items", "hash_power_level"),
    ),
    Scene(
        "moves",
        "full memory, and the sizes of values shift there and back: pages move",
        writes=50,
        keys=2_000_000,
        memory=64,
        preload=400_000,
        shapes=(Shape(60, 0, 8, 1), Shape(400, 0, 1, 1), Shape(2000, 0, 1, 8)),
        evidence=("slabs_moved", "evictions"),
    ),
    Scene(
        "crawler",
        "the steady scene beside half a million items that end, while the crawler is always sent through all classes",
        writes=10,
        keys=1_000_000,
        memory=512,
        preload=1_000_000,
        passing=500_000,
        control="lru_crawler crawl all\r\n",
        evidence=("lru_crawler_starts", "crawler_reclaimed"),
    ),
    Scene(
        "eviction",
        "sets of ever new keys in full memory: each evicts",
        writes=100,
        keys=40_000_000,
        memory=64,
        preload=1_500_000,
        evidence=("evictions",),
    ),
)


@dataclass(frozen=True)
class Plan:
    """How the scenes are run."""

    servers: tuple[str, ...]
    rounds: int
    seconds: float  # of each run
    warm_up: float  # seconds of the same, before each run
    server_cpus: frozenset[int]
    load_cpus: frozenset[int]


def make_plan(short: bool, servers: tuple[str, ...] = SERVERS) -> Plan:
    """The plan of a short or a full measurement; BenchError with one core."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        raise BenchError("server and load generator need a core each")
    rounds, seconds, warm_up = (1, 0.12, 0.04) if short else (3, 4.0, 0.2)
    return Plan(servers, rounds, seconds, warm_up, frozenset(cpus[:1]), frozenset(cpus[-1:]))


# ---- a scene ----


def open_loop(server: Server, scene: Scene, *, flip: bool = False, set_keys: int = 0, seed: int = 1):
    """The generator's connections for a scene; ``flip``: the sizes shift back."""
    from bench.openloop import OpenLoop

    if server.kind.stores:
        shapes = [
            (s.value, s.exptime, s.weight_end, s.weight) if flip else (s.value, s.exptime, s.weight, s.weight_end)
            for s in scene.shapes
        ]
    else:
        shapes = [(scene.mean_value, 0, 1.0, 1.0)]
    return OpenLoop(
        server.address,
        shapes=shapes,
        writes=scene.writes,
        keys=scene.keys,
        fresh=scene.fresh,
        set_keys=set_keys,
        connections=CONNECTIONS,
        check_keys=server.kind.stores,
        seed=seed,
        control=scene.control.encode() if server.kind.stores else b"",
        control_seconds=scene.control_seconds,
    )


def fill(server: Server, scene: Scene, keys: int, *, first: int = 0, exptime: int | None = None) -> None:
    """Set ``keys`` keys in order, as fast as it goes."""
    from bench.openloop import OpenLoop

    shapes = [(s.value, s.exptime, s.weight, s.weight) for s in scene.shapes]
    if exptime is not None:
        shapes = [(scene.mean_value, exptime, 1.0, 1.0)]
    with OpenLoop(server.address, shapes=shapes, writes=100, keys=keys, first=first, fresh=True, connections=8) as load:
        load.run(requests=keys, in_flight=PRELOAD_IN_FLIGHT)


def statistics(server: Server, names: tuple[str, ...]) -> dict[str, int]:
    """Some of a server's statistics; those that it does not have are left out."""
    if not server.kind.stores or not names:
        return {}
    with server.connect(10.0) as client, client.makefile("rb") as lines:
        client.sendall(b"stats\r\n")
        found = {}
        for line in iter(lines.readline, b"END\r\n"):
            _, name, value = line.decode().split(maxsplit=2)
            if name in names:
                found[name] = int(value)
    return found


def waited_ns(pid: int) -> int:
    """How long the threads of a process were ready to run and did not have the core, in ns, each wait counted."""
    total = 0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError, IndexError):
            total += int(path.read_text().split()[1])
    return total


class Stage:
    """One scene on one server: what it needs to be run again and again."""

    def __init__(self, server: Server, scene: Scene, plan: Plan) -> None:
        self.server = server
        self.scene = scene
        self.plan = plan
        self.runs = 0
        self.set_keys = 0

    def prepare(self) -> None:
        """Bring the server to where the scene begins."""
        if self.server.kind.stores and self.scene.preload:
            fill(self.server, self.scene, self.scene.preload)

    def peak(self) -> float:
        """Requests a second with every connection asking as soon as it was answered; the median of some runs."""
        plan, rates = self.plan, []
        with open_loop(self.server, self.scene, seed=7) as load:
            load.run(seconds=plan.warm_up)
            for _ in range(plan.rounds):
                counts = load.run(seconds=min(1.0, plan.seconds))
                rates.append(counts["requests"] / counts["elapsed"])
        return median(rates)

    def run(self, share: int, rate: float, number: int) -> Result:
        """One run at ``rate``, in the round ``number``; its sample."""
        from bench.witness import Witness

        scene, server, plan = self.scene, self.server, self.plan
        self.runs += 1
        if server.kind.stores and scene.passing:
            fill(server, scene, scene.passing, first=PASSING_KEYS, exptime=scene.passing_seconds)
        seed = 1000 * number + share
        with open_loop(server, scene, flip=self.runs % 2 == 0, set_keys=self.set_keys, seed=seed) as load:
            load.run(seconds=plan.warm_up, rate=rate, seed=seed + 1)
            before, waited = statistics(server, scene.evidence), waited_ns(server.pid)
            with Witness(plan.server_cpus) as witness:
                counts = load.run(seconds=plan.seconds, rate=rate, seed=seed)
            waited = waited_ns(server.pid) - waited
            after = statistics(server, scene.evidence)
            self.set_keys = load.set_keys
        sample = summarize(counts, witness.still)
        return {
            "scene": scene.name,
            "server": server.kind.name,
            "share": share,
            "round": number,
            "rate": rate,
            "seconds": plan.seconds,
            "seed": seed,
            **sample,
            "real_time_witness": witness.real_time,
            "waited_ms": waited / MS,
            "evidence": {name: (before[name], after[name]) for name in before},
        }


def summarize(counts: Result, still: list[tuple[int, int]]) -> Result:
    """What is kept of a run's counts, with the stretches in which the server's core ``still`` stood."""
    episodes = judge(counts["slow"], [*counts["still"], *still])
    return {
        **{name: counts[name] for name in ("requests", "hits", "misses", "refused", "unnoted")},
        "latency": counts["latency"],
        "most_us": counts["most_us"],
        "late_p99_us": quantile(counts["late"], 0.99),
        "generator_still_ms": max((last - first for first, last in counts["still"]), default=0) / MS,
        "core_still_ms": max((last - first for first, last in still), default=0) / MS,
        "still_total_ms": sum(last - first for first, last in [*counts["still"], *still]) / MS,
        "episodes": [
            {"longest_ms": e.longest / MS, "still_ms": e.still / MS, "own_ms": e.own / MS, "requests": e.requests}
            for e in sorted(episodes, key=lambda e: -e.longest)[:20]
        ],
        "own_ms": max((e.own for e in episodes), default=0) / MS,
        "own_stalls": sum(e.own > STALL_MS * MS for e in episodes),
    }


def run_scene(scene: Scene, plan: Plan, say: Say) -> Result:
    """All runs of a scene: the servers in turn, in alternating order, round by round and share by share."""
    samples: list[Result] = []
    peaks: dict[str, float] = {}
    versions: dict[str, str] = {}
    commands: dict[str, list[str]] = {}
    with contextlib.ExitStack() as stack:
        stages: dict[str, Stage] = {}
        for name in plan.servers:
            if scene.fresh and KINDS[name].stores:  # the peak's keys are not to be there
                with start(name, scene, plan) as server:
                    peaks[name] = Stage(server, scene, plan).peak()
            server = stack.enter_context(start(name, scene, plan))
            versions[name], commands[name] = server.version(), server.command
            stages[name] = Stage(server, scene, plan)
            stages[name].prepare()
            if name not in peaks and (server.kind.stores or not peaks):
                peaks[name] = stages[name].peak()
            if name in peaks:
                say(f"{scene.name}: {name}: peak {peaks[name]:,.0f} requests/s")
        reference = peaks.get("cachecore", next(iter(peaks.values())))
        for number in range(plan.rounds):
            for share in SHARES:
                for name in plan.servers if number % 2 == 0 else reversed(plan.servers):
                    samples.append(stages[name].run(share, peaks.get(name, reference) * share / 100, number))
                    say(line_of(samples[-1]))
    return {
        **asdict(scene),
        "peaks": peaks,
        "versions": versions,
        "commands": commands,
        "samples": samples,
        "rows": make_rows(samples),
    }


def start(name: str, scene: Scene, plan: Plan) -> Server:
    """A server for a scene, to be entered."""
    work = Workload(
        scene.name, "set" if scene.writes == 100 else "mix", value=scene.mean_value, keys=min(scene.keys, KEYS_MAX)
    )
    return Server(KINDS[name], Launch(workload=work, memory=scene.memory, cpus=plan.server_cpus))


def line_of(sample: Result) -> str:
    """A run in one line."""
    p50, p99, p999 = (quantile(sample["latency"], share) for share in (0.5, 0.99, 0.999))
    machine = max(sample["generator_still_ms"], sample["core_still_ms"])
    return (
        f"{sample['scene']} round {sample['round'] + 1}, {sample['share']} %: {sample['server']}: "
        f"p50 {p50:.0f} us, p99 {p99:.0f}, p99.9 {p999:.0f}, most {sample['most_us']:,.0f}; "
        f"own {sample['own_ms']:.2f} ms, machine {machine:.2f} ms"
    )


def make_rows(samples: list[Result]) -> list[Result]:
    """The rounds of a server at a share put together: histograms added up, the largest of what is largest."""
    groups: dict[tuple[str, int], list[Result]] = {}
    for sample in samples:
        groups.setdefault((sample["server"], sample["share"]), []).append(sample)
    rows = []
    for (server, share), group in groups.items():
        counts: dict[float, int] = {}
        for sample in group:
            for bound, count in sample["latency"]:
                counts[bound] = counts.get(bound, 0) + count
        latency = sorted(counts.items())
        most = {
            name: max(sample[name] for sample in group)
            for name in ("most_us", "own_ms", "generator_still_ms", "core_still_ms", "waited_ms", "late_p99_us")
        }
        evidence = {
            name: sum(s["evidence"][name][1] - s["evidence"][name][0] for s in group) for name in group[0]["evidence"]
        }
        rows.append(
            {
                "server": server,
                "share": share,
                "rate": median(sample["rate"] for sample in group),
                "requests": sum(sample["requests"] for sample in group),
                "refused": sum(sample["refused"] for sample in group),
                "p50_us": quantile(latency, 0.5),
                "p99_us": quantile(latency, 0.99),
                "p999_us": quantile(latency, 0.999),
                **most,
                "own_stalls": sum(sample["own_stalls"] for sample in group),
                "evidence": evidence,
                "latency": latency,
            }
        )
    return rows


# ---- the bench's contract ----


def measure(short: bool, say: Say, *, scenes: tuple[str, ...] = (), plan: Plan | None = None) -> Result:
    """Run the scenes (all of them, or those named) and return every figure with its settings."""
    from bench.loadgen import LoadError

    build.ensure()
    plan = plan or make_plan(short)
    results = []
    with pinned(plan.load_cpus):
        for scene in SCENES:
            if scenes and scene.name not in scenes:
                continue
            try:
                results.append(run_scene(scene.smaller() if short else scene, plan, say))
            except (LoadError, OSError) as error:
                raise BenchError(f"{scene.name}: {error}") from None
    return {
        "command": shlex.join(["python", "-m", "bench.latency", *(["--short"] if short else [])]),
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "machine": report.machine(),
        "connections": CONNECTIONS,
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "server_cpus": sorted(plan.server_cpus),
        "load_cpus": sorted(plan.load_cpus),
        "stall_ms": STALL_MS,
        "scenes": results,
    }


def markdown(result: Result) -> str:
    """The chapter of the report."""
    lines = [
        "## Latency",
        "",
        f"`{result['command']}`: {result['rounds']} rounds of {result['seconds']} s a share, "
        f"{result['connections']} connections, Poisson schedule, server and generator on a core each. A latency is "
        "counted from when the request was due. *own*: the longest that is left of it when the time is taken off for "
        "which the machine stood still (the generator, or a real-time thread on the server's core, could not run); "
        "*machine*: the longest such time; "
        "*waited*: time in which the server's threads were ready but had no core, for one another included.",
    ]
    for scene in result["scenes"]:
        lines += [
            "",
            f"### {scene['name']}: {scene['title']}",
            "",
            "| share | server | requests/s | p50 us | p99 us | p99.9 us | longest us | own ms | machine ms | waited ms "
            f"| own > {result['stall_ms']:.0f} ms |",
            "|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
        ]
        for row in sorted(scene["rows"], key=lambda row: row["share"]):
            machine = max(row["generator_still_ms"], row["core_still_ms"])
            lines.append(
                f"| {row['share']} % | {row['server']} | {row['rate']:,.0f} | {row['p50_us']:.0f} "
                f"| {row['p99_us']:.0f} | {row['p999_us']:,.0f} | {row['most_us']:,.0f} "
                f"| {row['own_ms']:.2f} | {machine:.2f} | {row['waited_ms']:.1f} | {row['own_stalls']} |"
            )
        lines += ["", *scene_notes(scene)]
    return "\n".join(lines).rstrip("\n") + "\n"


def scene_notes(scene: Result) -> Iterator[str]:
    """What a reader of a scene's table has to know."""
    for server, peak in scene["peaks"].items():
        rows = [row for row in scene["rows"] if row["server"] == server]
        seen = [f"{name} +{sum(row['evidence'][name] for row in rows):,}" for name in rows[0]["evidence"]]
        yield f"- {server}: peak {peak:,.0f} requests/s{'; in all runs ' if seen else ''}{', '.join(seen)}"
        if refused := sum(row["refused"] for row in rows):
            yield f"- **{server} refused {refused} sets.**"
    if not all(sample["real_time_witness"] for sample in scene["samples"]):
        yield (
            "- **The witness had no real-time priority: a server that kept its core busy is taken for a machine that "
            "stood still. Run this as root.**"
        )


def plot(result: Result, directory: Path) -> list[Path]:
    """Percentile curves: a panel for each scene and share, a curve for each server."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    scenes = result["scenes"]
    figure, panels = pyplot.subplots(
        len(scenes), len(SHARES), figsize=(3.4 * len(SHARES), 2.4 * len(scenes)), squeeze=False, sharey="row"
    )
    for line, scene in zip(panels, scenes, strict=True):
        for panel, share in zip(line, SHARES, strict=True):
            for row in scene["rows"]:
                if row["share"] == share:
                    draw_curve(panel, row)
            panel.set_title(f"{scene['name']}, {share} % of the peak", fontsize=9)
    for panel in panels.flat:
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xticks([2, 100, 1000, 100_000], ["50", "99", "99.9", "99.999"])
        panel.grid(True, alpha=0.3)
        panel.tick_params(labelsize=7)
    panels[0][0].legend(fontsize=7)
    figure.supxlabel("percentile", fontsize=9)
    figure.supylabel("time from due to answered, us", fontsize=9)
    directory.mkdir(parents=True, exist_ok=True)
    return keep_figure(figure, directory / "latency.svg")


def draw_curve(panel, row: Result) -> None:
    """One server's latencies over the share of requests that took longer, from the median on."""
    total = sum(count for _, count in row["latency"])
    left, places, bounds = total, [], []
    for bound, count in row["latency"]:
        if left <= total / 2:
            places.append(total / left)
            bounds.append(bound)
        left -= count
    panel.plot(places, bounds, label=row["server"], color=report.COLOURS[row["server"]], linewidth=1.2)


def run(arguments: list[str]) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.latency", description=__doc__)
    parser.add_argument("--short", action="store_true", help="a look, in under 20 seconds")
    parser.add_argument("--scene", action="append", default=[], choices=[scene.name for scene in SCENES])
    parser.add_argument("--servers", default=",".join(SERVERS), metavar="A,B", help=f"of {','.join(SERVERS)}")
    parser.add_argument("--rounds", type=int, metavar="N")
    parser.add_argument("--seconds", type=float, metavar="S", help="length of a run")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results", metavar="DIR")
    options = parser.parse_args(arguments)
    servers = tuple(options.servers.split(","))
    if unknown := set(servers) - set(SERVERS):
        raise BenchError(f"unknown server {', '.join(sorted(unknown))}: known are {', '.join(SERVERS)}")
    plan = make_plan(options.short, servers)
    plan = replace(plan, rounds=options.rounds or plan.rounds, seconds=options.seconds or plan.seconds)
    result = measure(
        options.short, lambda line: print(line, file=sys.stderr, flush=True), scenes=tuple(options.scene), plan=plan
    )
    result["command"] = shlex.join(["python", "-m", "bench.latency", *arguments])
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "latency.json").write_text(json.dumps(result) + "\n")
    (options.output / "latency.md").write_text(markdown(result))
    plot(result, options.output)
    print(markdown(result))


if __name__ == "__main__":
    run_command(run)
