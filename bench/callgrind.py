"""``python -m bench.callgrind``: instructions of user code per operation, counted by valgrind.

A server runs under callgrind with counting off; after a preload and a warm-up it is counted over N requests
and over 2N. The difference, divided by the operations of N requests, is free of what connecting and idling
cost. Counted is everything the process executes in user space, libraries included, on all of its threads. The
number is exact but for the idle work of maintenance threads; how long an instruction takes is another matter.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench import build, workload
from bench.errors import BenchError, run_command
from bench.measure import preload
from bench.servers import KINDS, Launch, Server
from bench.workload import Workload

KEYS = 10_000  # a data set that is filled quickly under valgrind
CONNECTIONS = 4
ADMITTED = 64  # connections of a server
STALL_SECONDS = 120.0
CONTROL_SECONDS = 120.0


def prefix(folder: Path) -> tuple[str, ...]:
    """valgrind's command line, up to the server's."""
    options = ["--instr-atstart=no", "--fair-sched=try", f"--callgrind-out-file={folder}/counts"]
    return ("valgrind", "--tool=callgrind", "--quiet", *options)


def file_limit() -> int:
    """Open files a process may have under valgrind; it refuses memcached's request for any other number."""
    command = ["valgrind", "--quiet", "--tool=none", "sh", "-c", "ulimit -Hn"]
    try:
        answer = subprocess.run(command, check=True, capture_output=True, text=True, timeout=CONTROL_SECONDS)
        return int(answer.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise BenchError(f"{' '.join(command)}: {error}") from None


def control(server: Server, option: str, *values: str) -> None:
    """Tell callgrind in the server to switch, to forget or to write its counts."""
    command = ["callgrind_control", f"{option}", *values, str(server.pid)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=CONTROL_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        raise BenchError(f"{' '.join(command)}: {error}") from None


def read_total(path: Path) -> int:
    """The instructions in one file of counts."""
    if match := re.search(r"^(?:totals|summary): (\d+)", path.read_text(errors="replace"), re.MULTILINE):
        return int(match[1])
    raise BenchError(f"{path.name}: no total in it")


def count(server: Server, folder: Path, load, requests: int) -> int:
    """The instructions the server executes while ``requests`` requests are answered."""
    before = set(folder.glob("counts.*"))
    control(server, "-z")
    load.run(requests=requests)
    control(server, "-d")
    written = set(folder.glob("counts.*")) - before
    if not written:
        raise BenchError("callgrind wrote no counts")
    return sum(read_total(path) for path in written)


def instructions(name: str, work: Workload, requests: int, binaries: dict[str, str], folder: Path) -> float:
    """User instructions per operation of ``work`` on the server ``name``; the counts go to ``folder``."""
    from bench.loadgen import LoadError, LoadGenerator

    launch = Launch(
        workload=work,
        memory=work.memory,
        connections=file_limit() if name == "memcached" else ADMITTED,
        binaries=binaries,
        prefix=prefix(folder),
    )
    kind = KINDS[name]
    try:
        with (
            Server(kind, launch) as server,
            LoadGenerator(
                work.wire(kind.protocol),
                server.address,
                keys=work.keys,
                connections=work.connections,
                pipeline=work.pipeline,
                check_keys=kind.stores,
                stall=STALL_SECONDS,
            ) as load,
        ):
            if kind.stores:
                preload(server, work)
            control(server, "-i", "on")
            load.run(requests=requests)
            once = count(server, folder, load, requests)
            twice = count(server, folder, load, 2 * requests)
    except (LoadError, OSError) as error:
        raise BenchError(f"{name}: {error}") from None
    return (twice - once) / requests / load_keys(work)


@contextlib.contextmanager
def counts_folder(output: Path | None, name: str) -> Iterator[Path]:
    """An empty folder for callgrind's files: ``output/name``, or one that is removed afterwards."""
    if output is None:
        with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
            yield Path(temporary)
        return
    folder = output.resolve() / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    yield folder


def load_keys(work: Workload) -> int:
    """Operations of one request: a multiget's keys."""
    return work.keys_per_request if work.kind == "multiget" else 1


def small(work: Workload) -> Workload:
    """The same requests over fewer keys and connections."""
    settings = {"keys": min(work.keys, KEYS), "connections": CONNECTIONS, "zipf": 0.0}
    return Workload(**{**vars(work), **settings})


def run(arguments: list[str]) -> None:
    """Parse, count, print a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m bench.callgrind", description=__doc__)
    parser.add_argument("--workload", action="append", default=[], metavar="GLOB", help="default get-p16-32")
    parser.add_argument("--servers", default="cachecore,memcached", metavar="A,B")
    parser.add_argument("--requests", type=int, default=20_000, metavar="N")
    parser.add_argument("--memcached", metavar="PATH", help="the memcached to run")
    parser.add_argument("--output", type=Path, metavar="DIR", help="keep the counts, for callgrind_annotate")
    options = parser.parse_args(arguments)
    names = options.servers.split(",")
    if unknown := [name for name in names if name not in KINDS]:
        raise BenchError(f"unknown server {', '.join(unknown)}: known are {', '.join(KINDS)}")
    if options.requests < 100:
        raise BenchError("--requests: at least 100")
    for tool in ("valgrind", "callgrind_control"):
        if shutil.which(tool) is None:
            raise BenchError(f"{tool} is not installed: it is part of valgrind")
    build.ensure()
    chosen = workload.select(workload.load_all(), options.workload or ["get-p16-32"], everything=False)
    binaries = {"memcached": str(Path(options.memcached).resolve())} if options.memcached else {}
    print("| workload | server | user instructions per operation |\n|---|---|--:|", flush=True)
    for work in map(small, chosen):
        for name in names:
            if not work.runs_on(KINDS[name].protocol):
                continue
            with counts_folder(options.output, f"{work.name}-{name}") as folder:
                per_operation = instructions(name, work, options.requests, binaries, folder)
            print(f"| {work.name} | {name} | {per_operation:,.0f} |", flush=True)


if __name__ == "__main__":
    run_command(run)
