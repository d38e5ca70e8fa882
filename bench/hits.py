"""``python -m bench.hits``: what servers, and policies in simulation, miss of six traces at the same memory.

A request is a look-up; a miss is followed by a set. memcached and cachecore get the same ``-m`` and the trace over one
connection (bench/replay.pyx); the policies (bench/policies.pyx) get as many bytes and pay for an item what cachecore
does, so that they say what could be had at its density. The first requests of a trace, which fill the cache, are not
counted (WARM_UP). How fast a machine is makes no difference to what is missed, but where seconds count: where items
have a TTL, or where pages have to move from one size to another. Such traces are *paced*, sent to both servers at the
trace's own rate; a run that cannot keep it up says how late it was.

The traces are ours; their settings were chosen so that memcached 1.6.18 and S3-FIFO miss what they had been seen to
miss of traces of these kinds (``expected``): sizes and key spaces were varied until both came within a hundredth.
"""

from __future__ import annotations

import argparse
import json
import shlex
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

Say = Callable[[str], None]

HERE = Path(__file__).parent
MEGABYTE = 1 << 20
MEMORY = 64  # megabytes
REQUESTS = 8_000_000
SHORT_MEMORY = 8
SHORT_REQUESTS = 300_000
PARTS = 40  # of a trace, each counted by itself
WARM_UP = 2  # of those are not counted: a twentieth
SEED = 1
KEY = 12  # bytes
#: Bytes that an item takes beside key and value in the simulations: cachecore's header and its share of the table.
OVERHEAD = 38
SERVERS = ("memcached", "cachecore")
POLICIES = ("LRU", "SIEVE", "S3-FIFO", "W-TinyLFU", "Belady")


@dataclass(frozen=True)
class Spec:
    """A trace, and what is known of it. Ratios are misses over requests."""

    name: str
    title: str
    bound: float  # the most that cachecore may miss
    expected: tuple[float, float]  # what memcached 1.6.18, and S3-FIFO in simulation, should come near to
    settings: dict[str, Any]  # for bench.traces.generate
    paced: bool = False  # sent at the trace's rate
    rate: int = 200_000  # requests in a second of it

    def make(self, requests: int, memory: int, seed: int) -> Any:
        """The trace, for a cache of ``memory`` megabytes: a smaller one has as many fewer keys."""
        from bench.traces import generate

        keys = max(self.settings["keys"] * memory // MEMORY, 1)
        return generate(**{**self.settings, "requests": requests, "seed": seed, "keys": keys, "rate": self.rate})


#: Ten times 64 MB in items of 256 bytes: 2.2 million.
EQUAL: dict[str, Any] = {"keys": 10 * MEMORY * MEGABYTE // (256 + KEY + OVERHEAD), "sizes": (256, 256)}
MIXED: dict[str, Any] = {"keys": 660_000, "skew": 0.9, "sizes": (16, 4096)}

TRACES = (
    Spec("zipf-0.9", "Zipf 0.9, ten times the cache", 0.32, (0.375, 0.317), {**EQUAL, "skew": 0.9}),
    Spec("zipf-1.0", "Zipf 1.0, ten times the cache", 0.19, (0.223, 0.189), {**EQUAL, "skew": 1.0}),
    Spec(
        "scans",
        "Zipf 1.0 with 30 % scans",
        0.455,
        (0.493, 0.452),
        {**EQUAL, "skew": 1.0, "scans": 0.3, "scan_length": 1000},
    ),
    Spec("mixed", "mixed sizes", 0.275, (0.320, 0.283), MIXED),
    Spec(
        "mixed-ttl",
        "mixed sizes with TTLs",
        0.33,
        (0.347, 0.341),
        {**MIXED, "ttl_percent": 100, "ttls": (1, 30)},
        paced=True,
    ),
    Spec(
        "shift",
        "sizes that shift half way",
        0.34,
        (0.533, 0.331),
        {"keys": 1_550_000, "skew": 0.9, "sizes": (100, 200), "later_sizes": (900, 1100)},
        paced=True,
        rate=300_000,
    ),
)


@dataclass(frozen=True)
class Plan:
    """What is to be run."""

    traces: tuple[Spec, ...] = TRACES
    servers: tuple[str, ...] = SERVERS
    policies: tuple[str, ...] = POLICIES
    requests: int = REQUESTS
    memory: int = MEMORY  # megabytes
    seed: int = SEED
    overhead: int = OVERHEAD  # bytes
    options: dict[str, list[str]] = field(default_factory=dict)  # further ones of a server's command, by its name
    binaries: dict[str, str] = field(default_factory=dict)
    storage: bool = False  # cachecore's storage in this process too
    tuning: dict[str, int] = field(default_factory=dict)  # of that


def ratio(misses: list[int], requests: int) -> float:
    """The share that was missed after the warm-up."""
    return sum(misses[WARM_UP:]) / (requests - WARM_UP * requests // PARTS)


def serve(plan: Plan, spec: Spec, trace: Any, name: str) -> tuple[list[int], dict[str, Any]]:
    """What a server misses in each part of the trace, and how it was run."""
    from bench import replay

    workload = Workload(name=spec.name, kind="get")
    launch = Launch(workload, memory=plan.memory, threads=4, connections=64, binaries=plan.binaries)
    server = Server(KINDS[name], launch)
    server.command += plan.options.get(name, [])
    with server:
        version, begun = server.version(), time.monotonic()
        try:
            misses, late = replay.misses(trace, server.address, paced=spec.paced, parts=PARTS)
        except (replay.ReplayError, OSError) as error:
            raise BenchError(f"{name}, {spec.name}: {error}") from None
        seconds = time.monotonic() - begun
    command = shlex.join(server.command)
    return misses, {"version": version, "command": command, "seconds": seconds, "late_seconds": late}


def simulate(plan: Plan, trace: Any, policy: str) -> list[int]:
    """What a policy misses in each part of the trace."""
    from bench import policies

    found: list[int] = policies.misses(trace, policy, plan.memory * MEGABYTE, overhead=plan.overhead + KEY, parts=PARTS)
    return found


def probe(plan: Plan, trace: Any) -> list[int]:
    """What cachecore's storage misses in each part of the trace: without a socket, by a clock that is moved."""
    from cachecore_ext.probe import Store

    store = Store(memory_limit=plan.memory * MEGABYTE)
    store.freeze()
    store.tune(**plan.tuning)
    return store.replay(trace.keys, trace.sizes, trace.ttls, rate=trace.rate, parts=PARTS)


def run_trace(plan: Plan, spec: Spec, say: Say) -> dict[str, Any]:
    """One trace against everything."""
    begun = time.monotonic()
    trace = spec.make(plan.requests, plan.memory, plan.seed)
    found: dict[str, Any] = {
        **{"name": spec.name, "title": spec.title, "bound": spec.bound, "expected": spec.expected},
        **{"settings": spec.settings, "rate": spec.rate, "paced": spec.paced, "misses": {}, "runs": {}},
    }

    def note(name: str, misses: list[int]) -> None:
        found["misses"][name] = misses
        seconds = time.monotonic() - begun
        say(f"{spec.name}, {name}: {ratio(misses, plan.requests):.4f} ({seconds:.0f} s since the trace's begin)")

    for policy in plan.policies:
        note(policy, simulate(plan, trace, policy))
    if plan.storage:
        note("storage", probe(plan, trace))
    for name in plan.servers:
        misses, found["runs"][name] = serve(plan, spec, trace, name)
        note(name, misses)
    found["ratios"] = {name: ratio(misses, plan.requests) for name, misses in found["misses"].items()}
    return found


def run_plan(plan: Plan, say: Say) -> dict[str, Any]:
    """Everything, as the functions below take it."""
    build.ensure()
    return {
        "requests": plan.requests,
        "memory": plan.memory,
        "seed": plan.seed,
        "overhead": plan.overhead,
        "parts": PARTS,
        "warm_up_parts": WARM_UP,
        "comparable": (plan.requests, plan.memory) == (REQUESTS, MEMORY),
        "traces": [run_trace(plan, spec, say) for spec in plan.traces],
    }


def measure(short: bool, say: Say) -> dict[str, Any]:
    """The chapter's figures; ``short`` is too small for its figures to mean anything."""
    return run_plan(Plan(requests=SHORT_REQUESTS, memory=SHORT_MEMORY) if short else Plan(), say)


# ---- the report


def columns(result: dict[str, Any]) -> list[str]:
    """Who was run, servers first."""
    names = dict.fromkeys(name for trace in result["traces"] for name in trace["ratios"])
    return [*(n for n in SERVERS if n in names), *(n for n in names if n not in SERVERS)]


def markdown(result: dict[str, Any]) -> str:
    """The chapter of the report."""
    names = columns(result)
    lines = [
        "## Hit ratio",
        "",
        f"Share of {result['requests']:,} requests that miss, with {result['memory']} MB "
        f"(`-m {result['memory']}`), after the first {WARM_UP / PARTS:.0%}, which fill the cache. Policies are "
        f"simulated: an item takes its key, its value and {result['overhead']} bytes. Command: `python -m bench.hits`.",
        "",
        f"| trace | {' | '.join(names)} | cachecore at most |",
        f"|---|{'--:|' * (len(names) + 1)}",
    ]
    for trace in result["traces"]:
        cells = [f"{trace['ratios'][name]:.4f}" if name in trace["ratios"] else "" for name in names]
        lines.append(f"| {trace['title']} | {' | '.join(cells)} | {trace['bound']:.3f} |")
    return "\n".join([*lines, "", *notes(result)]) + "\n"


def notes(result: dict[str, Any]) -> list[str]:
    """What a reader of the table has to know about this run."""
    found = []
    if not result["comparable"]:
        found.append("**Too short or too small to be compared with the bounds, or with another run.**")
    for trace in result["traces"]:
        reached = trace["ratios"].get("cachecore")
        if result["comparable"] and reached is not None and reached > trace["bound"]:
            found.append(f"**cachecore misses more than {trace['bound']:.3f} of {trace['title']}.**")
        for name, run in trace["runs"].items():
            if trace["paced"] and run["late_seconds"] > 1:
                late = run["late_seconds"]
                found.append(f"**{name} was {late:.1f} s late in {trace['title']}: the machine was busy.**")
    versions = {name: run["version"] for trace in result["traces"] for name, run in trace["runs"].items()}
    return [*found, *(f"- {name}: {version}" for name, version in versions.items())]


COLOURS = {"cachecore": "#1b7837", "memcached": "#4575b4", "storage": "#000000"}
MARKERS = {"storage": "|", "LRU": "v", "SIEVE": "s", "S3-FIFO": "D", "W-TinyLFU": "^", "Belady": "P"}


def plot(result: dict[str, Any], directory: Path) -> list[Path]:
    """Two pictures: what is missed of each trace, and how that goes over the trace."""
    import matplotlib

    matplotlib.use("Agg")
    paths = [directory / "hits.svg", directory / "hits-over-time.svg"]
    draw_ratios(result, paths[0])
    draw_courses(result, paths[1])
    return paths


def draw_ratios(result: dict[str, Any], path: Path) -> None:
    """A row for each trace: from memcached to cachecore, among the policies, with the bound as a bar."""
    from matplotlib import pyplot

    traces, names = result["traces"], columns(result)
    figure, axes = pyplot.subplots(figsize=(9, 1 + 0.7 * len(traces)))
    for row, trace in enumerate(reversed(traces)):
        ratios = trace["ratios"]
        axes.plot([min(ratios.values()), max(ratios.values())], [row, row], color="#dddddd", zorder=1)
        if {"memcached", "cachecore"} <= ratios.keys():
            ends = [ratios["memcached"], ratios["cachecore"]]
            axes.plot(ends, [row, row], color=COLOURS["cachecore"], lw=3, alpha=0.4, zorder=2)
        axes.plot([trace["bound"]] * 2, [row - 0.3, row + 0.3], color="#d73027", lw=2, zorder=2)
    for name in names:
        points = [(t["ratios"][name], row) for row, t in enumerate(reversed(traces)) if name in t["ratios"]]
        server = name in SERVERS
        axes.scatter(
            *zip(*points, strict=True),
            label=name,
            marker=MARKERS.get(name, "o"),
            s=90 if server else 32,
            color=COLOURS.get(name, "#777777"),
            zorder=4 if server else 3,
        )
    axes.plot([], [], color="#d73027", lw=2, label="cachecore at most")
    axes.set_yticks(range(len(traces)), [trace["title"] for trace in reversed(traces)])
    axes.set_xlabel(f"share of requests that miss, {result['memory']} MB: further left is better")
    axes.grid(axis="x", color="#eeeeee")
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, 1.14), ncols=len(names) + 1, fontsize=7, frameon=False)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def draw_courses(result: dict[str, Any], path: Path) -> None:
    """A panel for each trace: the share that is missed, part by part."""
    from matplotlib import pyplot

    traces = result["traces"]
    width = min(len(traces), 3)
    figure, panels = pyplot.subplots(
        -(-len(traces) // width), width, figsize=(4 * width, 2.8 * -(-len(traces) // width)), squeeze=False
    )
    each = result["requests"] / PARTS
    for panel, trace in zip(panels.flat, traces, strict=False):
        for name in columns(result):
            course = [missed / each for missed in trace["misses"].get(name, [])]
            along = [(part + 0.5) * each / 1e6 for part in range(len(course))]
            style = {"lw": 2} if name not in MARKERS else {"lw": 0.9, "ls": "--" if name == "Belady" else "-"}
            colour = COLOURS.get(name, {"LRU": "#bbbbbb", "S3-FIFO": "#e08214", "Belady": "#555555"}.get(name))
            if colour is not None:
                panel.plot(along, course, color=colour, label=name, **style)
        panel.axvspan(0, WARM_UP * each / 1e6, color="#f4f4f4")
        panel.set_title(trace["title"], fontsize=9)
        panel.tick_params(labelsize=7)
    for panel in list(panels.flat)[len(traces) :]:
        panel.set_visible(False)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper right", ncols=len(labels), fontsize=7, frameon=False)
    figure.supxlabel("million requests", fontsize=9)
    figure.supylabel("share that misses", fontsize=9)
    figure.tight_layout(rect=(0, 0, 1, 0.96))
    figure.savefig(path)
    pyplot.close(figure)


# ---- the command


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.hits", description=__doc__)
    known = ", ".join(spec.name for spec in TRACES)
    parser.add_argument("--short", action="store_true", help="few requests and little memory: only that it works")
    parser.add_argument("--trace", action="append", default=[], metavar="NAME", help=f"of {known}; repeatable")
    parser.add_argument("--servers", default=",".join(SERVERS), metavar="A,B", help="empty for none")
    parser.add_argument("--policies", default=",".join(POLICIES), metavar="A,B", help="empty for none")
    parser.add_argument("--storage", action="store_true", help="cachecore's storage in this process, too: fast")
    parser.add_argument("--tune", action="append", default=[], metavar="NAME=N", help="of that (Store.tune)")
    parser.add_argument("--options", action="append", default=[], metavar="SERVER='-o ...'", help="for its command")
    parser.add_argument("--memcached", metavar="PATH", help="the memcached to run")
    parser.add_argument("--overhead", type=int, default=OVERHEAD, metavar="BYTES", help="an item's, in simulation")
    parser.add_argument("--seed", type=int, default=SEED, metavar="N")
    parser.add_argument("--no-plot", action="store_true", help="do without matplotlib")
    parser.add_argument("--output", type=Path, default=HERE / "results", metavar="DIR")
    return parser.parse_args(arguments)


def pairs(texts: list[str], what: str) -> dict[str, str]:
    """NAME=VALUE, each."""
    if wrong := [text for text in texts if "=" not in text]:
        raise BenchError(f"{what} {wrong[0]}: NAME=VALUE")
    return {name: value for name, _, value in (text.partition("=") for text in texts)}


def choose(text: str, known: tuple[str, ...], what: str) -> tuple[str, ...]:
    """Names between commas; BenchError for one that is not known."""
    names = tuple(name for name in text.split(",") if name)
    if unknown := [name for name in names if name not in known]:
        raise BenchError(f"{what} {', '.join(unknown)}: known are {', '.join(known)}")
    return names


def make_plan(options: argparse.Namespace) -> Plan:
    """The plan that the command line describes."""
    chosen = choose(",".join(options.trace), tuple(spec.name for spec in TRACES), "trace")
    tuning = pairs(options.tune, "--tune")
    if wrong := [value for value in tuning.values() if not value.isdecimal()]:
        raise BenchError(f"--tune: {wrong[0]} is no number")
    return Plan(
        traces=tuple(spec for spec in TRACES if spec.name in chosen or not chosen),
        servers=choose(options.servers, SERVERS, "server"),
        policies=choose(options.policies, POLICIES, "policy"),
        requests=SHORT_REQUESTS if options.short else REQUESTS,
        memory=SHORT_MEMORY if options.short else MEMORY,
        seed=options.seed,
        overhead=options.overhead,
        options={name: shlex.split(text) for name, text in pairs(options.options, "--options").items()},
        binaries={"memcached": str(Path(options.memcached).resolve())} if options.memcached else {},
        storage=options.storage,
        tuning={name: int(value) for name, value in tuning.items()},
    )


def run(arguments: list[str]) -> None:
    """Parse, run, report."""
    options = parse(arguments)
    plan = make_plan(options)
    result = run_plan(plan, lambda line: print(line, file=sys.stderr, flush=True))
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "hits.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.output / "hits.md").write_text(markdown(result))
    if not options.no_plot:
        plot(result, options.output)
    print(markdown(result))


if __name__ == "__main__":
    run_command(run)
