"""``python -m bench.throughput``: run workloads on the servers in turn; what an operation costs each of them."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import sys
from pathlib import Path

from bench import build, facts, plots, report, workload
from bench.errors import BenchError, MissingTool, run_command
from bench.measure import Plan, Runner, Say
from bench.report import markdown
from bench.servers import KINDS, installed
from bench.workload import Workload

__all__ = ["markdown", "measure", "plot"]

HERE = Path(__file__).parent
plot = plots.plot
#: Programs that may be named, and the servers that they are.
NAMED = {"memcached": ("memcached",), "redis": ("redis", "redis-io")}
#: Rounds and seconds of a run.
SHORT, FULL = (2, 0.25), (5, 0.5)


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.throughput", description=__doc__)
    parser.add_argument("--short", action="store_true", help="fewer workloads, 2 rounds of a quarter of a second")
    parser.add_argument("--workload", action="append", default=[], metavar="GLOB", help="run these; repeatable")
    parser.add_argument("--list", action="store_true", help="print the names of the workloads, and end")
    parser.add_argument("--servers", metavar="A,B", help=f"of {','.join(KINDS)}; without it, those that are installed")
    parser.add_argument("--rounds", type=int, metavar="N", help="runs of each server (default 5)")
    parser.add_argument("--seconds", type=float, metavar="S", help="length of a run (default 0.5)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="server threads (default 1)")
    parser.add_argument("--memory", action="append", default=[], metavar="[SERVER=]MB", help="repeatable")
    parser.add_argument("--memcached", metavar="PATH", help="the memcached to run")
    parser.add_argument("--redis", metavar="PATH", help="the redis-server to run")
    parser.add_argument("--unix", action="store_true", help="unix sockets instead of TCP on 127.0.0.1")
    parser.add_argument("--no-pin", action="store_true", help="do not tie server and load to cores of their own")
    parser.add_argument("--no-plot", action="store_true", help="do without matplotlib")
    parser.add_argument("--output", type=Path, default=HERE / "results", metavar="DIR")
    return parser.parse_args(arguments)


def choose_servers(options: argparse.Namespace) -> tuple[str, ...]:
    """The servers asked for, or all that are installed."""
    named = {server for program in NAMED if getattr(options, program) for server in NAMED[program]}
    for program in NAMED:
        if (path := getattr(options, program)) and not shutil.which(path):
            raise BenchError(f"there is no program {path}")
    if options.servers:
        names = tuple(dict.fromkeys(options.servers.split(",")))
        if unknown := [name for name in names if name not in KINDS]:
            raise BenchError(f"unknown server {', '.join(unknown)}: known are {', '.join(KINDS)}")
        return names
    return tuple(name for name in KINDS if name in named or name in installed())


def choose_memory(options: argparse.Namespace) -> dict[str, int]:
    """--memory as megabytes by server name."""
    memory: dict[str, int] = {}
    for text in options.memory:
        name, _, number = text.rpartition("=")
        if not number.isdecimal() or int(number) < 1 or (name and name not in KINDS):
            raise BenchError(f"--memory {text}: either MB or SERVER=MB")
        memory |= {name: int(number)} if name else dict.fromkeys(KINDS, int(number))
    return memory


def choose_cpus(options: argparse.Namespace) -> tuple[frozenset[int], frozenset[int]]:
    """Cores for the server and for the load: one each, or all but the last for a server with threads."""
    cpus = sorted(os.sched_getaffinity(0))
    if options.no_pin:
        return frozenset(), frozenset()
    if len(cpus) < 2:
        raise MissingTool("server and load need a core each; with one core only --no-pin is possible")
    return frozenset(cpus[: min(options.threads, len(cpus) - 1)]), frozenset(cpus[-1:])


def make_plan(options: argparse.Namespace) -> Plan:
    """The plan that the command line describes."""
    rounds, seconds = SHORT if options.short else FULL
    rounds = rounds if options.rounds is None else options.rounds
    seconds = seconds if options.seconds is None else options.seconds
    if rounds < 1 or not 0 < seconds <= 600 or not 1 <= options.threads <= 64:
        raise BenchError("--rounds from 1, --seconds above 0 to 600, --threads 1 to 64")
    server_cpus, load_cpus = choose_cpus(options)
    paths = {server: getattr(options, program) for program, servers in NAMED.items() for server in servers}
    return Plan(
        servers=choose_servers(options),
        rounds=rounds,
        seconds=seconds,
        warm_up=min(0.2, seconds / 3),
        threads=options.threads,
        server_cpus=server_cpus,
        load_cpus=load_cpus,
        memory=choose_memory(options),
        binaries={name: str(Path(path).resolve()) for name, path in paths.items() if path},
        unix=options.unix,
    )


def settings(plan: Plan, chosen: list[Workload]) -> dict[str, object]:
    """How the runs were made, by words that make a sentence with their values."""
    return {
        "rounds:": plan.rounds,
        "seconds of each run:": plan.seconds,
        "server threads:": plan.threads,
        "connections:": ", ".join(str(count) for count in sorted({work.connections for work in chosen})),
        "sockets:": "unix" if plan.unix else "TCP on 127.0.0.1",
        "cores:": f"server {sorted(plan.server_cpus)}, load {sorted(plan.load_cpus)}" if plan.load_cpus else "any",
    }


def perform(options: argparse.Namespace, say: Say) -> dict:
    """Build what has to be compiled, run what the options say, and return the chapter's result."""
    chosen = workload.select(workload.load_all(), options.workload, short=options.short)
    plan = make_plan(options)
    build.ensure()
    results = Runner(plan, say).run(chosen)
    return report.as_json(results, {work.name: work.title for work in chosen}, settings(plan, chosen))


def measure(short: bool, say: Say) -> dict:
    """The chapter's result, as ``python -m bench`` asks for it."""
    return perform(parse(["--short"] if short else []), say)


def run(arguments: list[str]) -> None:
    """Measure, and write this chapter alone."""
    options = parse(arguments)
    if options.list:
        kinds = {True: "  (short)", False: ""}
        for work in workload.load_all():
            print(f"{work.name}{'  (only by name)' if work.extra else kinds[work.short]}")
        return
    if not options.no_plot:
        plots.check()
    about = facts.about(shlex.join(["python", "-m", "bench.throughput", *arguments]))
    result = perform(options, lambda line: print(line, file=sys.stderr, flush=True))
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "throughput.json").write_text(json.dumps(about | result, indent=1) + "\n")
    text = markdown(result)
    (options.output / "throughput.md").write_text(text)
    if not options.no_plot:
        plot(result, options.output)
    print(text)
    print(f"Written to {options.output}")


if __name__ == "__main__":
    run_command(run)
