"""``python -m bench``: run workloads on the servers in turn and report the medians."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
import time
from pathlib import Path

from bench import build, report, workload
from bench.errors import BenchError, run_command
from bench.measure import Plan, Runner
from bench.servers import KINDS

HERE = Path(__file__).parent


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line; how long a run takes follows from --short and --full, or is said."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--short", action="store_true", help="3 rounds of half a second: about a minute and a half"
    )
    length.add_argument("--full", action="store_true", help="all workloads, 5 rounds of 2 seconds")
    parser.add_argument(
        "--workload", action="append", default=[], metavar="GLOB", help="run these; repeatable"
    )
    parser.add_argument("--list", action="store_true", help="print the names of the workloads, and end")
    parser.add_argument(
        "--servers", metavar="A,B", help=f"of {','.join(KINDS)}; without it, those that are installed"
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="runs of each server (default 5)")
    parser.add_argument("--seconds", type=float, metavar="S", help="length of a run (default 1)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="server threads (default 1)")
    parser.add_argument("--memory", action="append", default=[], metavar="[SERVER=]MB", help="repeatable")
    parser.add_argument("--memcached", metavar="PATH", help="the memcached to run")
    parser.add_argument("--redis", metavar="PATH", help="the redis-server to run")
    parser.add_argument("--unix", action="store_true", help="unix sockets instead of TCP on 127.0.0.1")
    parser.add_argument(
        "--no-pin", action="store_true", help="do not tie server and load to cores of their own"
    )
    parser.add_argument("--no-plot", action="store_true", help="do without matplotlib")
    parser.add_argument("--output", type=Path, default=HERE / "results", metavar="DIR")
    return parser.parse_args(arguments)


def choose_servers(options: argparse.Namespace) -> tuple[str, ...]:
    """The servers asked for, or all that are installed."""
    for named in (options.memcached, options.redis):
        if named and not shutil.which(named):
            raise BenchError(f"there is no program {named}")
    if options.servers:
        names = tuple(dict.fromkeys(options.servers.split(",")))
        if unknown := [name for name in names if name not in KINDS]:
            raise BenchError(f"unknown server {', '.join(unknown)}: known are {', '.join(KINDS)}")
        return names
    binaries = {"memcached": options.memcached or "memcached", "redis": options.redis or "redis-server"}
    return tuple(name for name in KINDS if name not in binaries or shutil.which(binaries[name]))


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
        raise BenchError("server and load need a core each; with one core only --no-pin is possible")
    return frozenset(cpus[: min(options.threads, len(cpus) - 1)]), frozenset(cpus[-1:])


def make_plan(options: argparse.Namespace) -> Plan:
    """The plan that the command line describes."""
    rounds, seconds = (3, 0.5) if options.short else (5, 2.0) if options.full else (5, 1.0)
    rounds = rounds if options.rounds is None else options.rounds
    seconds = seconds if options.seconds is None else options.seconds
    if rounds < 1 or not 0 < seconds <= 600 or not 1 <= options.threads <= 64:
        raise BenchError("--rounds from 1, --seconds above 0 to 600, --threads 1 to 64")
    server_cpus, load_cpus = choose_cpus(options)
    binaries = {"memcached": options.memcached, "redis": options.redis}
    return Plan(
        servers=choose_servers(options),
        rounds=rounds,
        seconds=seconds,
        warm_up=min(0.2, seconds),
        threads=options.threads,
        server_cpus=server_cpus,
        load_cpus=load_cpus,
        memory=choose_memory(options),
        binaries={name: str(Path(path).resolve()) for name, path in binaries.items() if path},
        unix=options.unix,
    )


def about(plan: Plan, options: argparse.Namespace, arguments: list[str]) -> dict[str, object]:
    """What a report says about how it came to be."""
    pinning = f"server on cores {sorted(plan.server_cpus)}, load on {sorted(plan.load_cpus)}"
    return {
        "command": shlex.join(["python", "-m", "bench", *arguments]),
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "machine": report.machine(),
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "threads": plan.threads,
        "pinning": "none" if options.no_pin else pinning,
        "sockets": "unix" if plan.unix else "TCP on 127.0.0.1",
    }


def run(arguments: list[str]) -> None:
    """The whole bench: choose, build, measure, report."""
    options = parse(arguments)
    known = workload.load_all()
    if options.list:
        print("\n".join(f"{w.name}{'  (short)' if w.short else ''}" for w in known))
        return
    chosen = workload.select(known, options.workload, everything=options.full)
    plan = make_plan(options)
    if not options.no_plot:
        report.check_plot()
    build.ensure()
    results = Runner(plan, lambda line: print(line, file=sys.stderr, flush=True)).run(chosen)
    facts = about(plan, options, arguments)
    table = report.markdown(results, {**facts, "versions": results.versions})
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "report.md").write_text(table)
    report.write_json(options.output / "report.json", results, facts)
    if not options.no_plot:
        report.write_plot([options.output / "report.png", options.output / "report.svg"], results)
    print(table)
    print(f"Written to {options.output}: report.md, report.json{'' if options.no_plot else ', .png, .svg'}")


if __name__ == "__main__":
    run_command(run)
