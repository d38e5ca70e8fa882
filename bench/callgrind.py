"""``python -m bench.callgrind``: instructions of user code per operation, counted by valgrind.

A server runs under callgrind with counting off; after a preload and a warm-up it is counted over N requests and over
2N. The difference, divided by the operations of N requests, is free of what connecting costs. Counted is what the
thread that serves executes in user space, libraries included; the others work whenever there is time, and are left
out. One connection sends, so that a batch of requests is always one turn of that thread. So the number is the same in
every run, however busy the machine; how long an instruction takes is another matter.

That makes it a guard: ``--check`` holds cachecore's numbers against those of ``bounds.toml``, ``--record`` writes them.
"""

from __future__ import annotations

import argparse
import contextlib
import platform
import re
import shutil
import subprocess
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

from bench import build, facts, workload
from bench.errors import BenchError, MissingTool, run_command
from bench.measure import Say, preload
from bench.report import COLOURS, label
from bench.servers import KINDS, Launch, Server, installed
from bench.workload import Workload

KEYS = 10_000  # a data set that is filled quickly under valgrind
ADMITTED = 64  # connections of a server
STALL_SECONDS = 120.0
CONTROL_SECONDS = 120.0
OPERATIONS = 20_000
TOOLS = ("valgrind", "callgrind_control")

#: The chapter's servers and workloads, and those of a short run. memcached-new is a script, perhaps: not for valgrind.
SERVERS = ("cachecore", "memcached", "redis")
WORKLOADS = ("get-p1-32", "get-p16-32", "metaget-p16-32", "set-p16-32", "mix-p16-32", "multiget100-32")
SHORT = ("get-p16-32", "set-p16-32")

BOUNDS = Path(__file__).parent / "bounds.toml"
TOLERANCE = 0.02  # of a bound: another compiler's minor version, not another path


def prefix(folder: Path) -> tuple[str, ...]:
    """valgrind's command line, up to the server's."""
    options = ["--instr-atstart=no", "--fair-sched=try", "--separate-threads=yes"]
    return ("valgrind", "--tool=callgrind", "--quiet", *options, f"--callgrind-out-file={folder}/counts")


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
    """The instructions that the busiest thread executes while ``requests`` requests are answered."""
    before = set(folder.glob("counts.*"))
    control(server, "-z")
    load.run(requests=requests)
    control(server, "-d")
    written = set(folder.glob("counts.*")) - before
    if not written:
        raise BenchError("callgrind wrote no counts")
    return max(read_total(path) for path in written)


def count_workload(server: Server, folder: Path, work: Workload, operations: int) -> float:
    """Instructions per operation of ``work`` on a server that is filled already."""
    from bench.loadgen import LoadGenerator

    keys = load_keys(work)
    requests = max(operations // keys, 1)
    with LoadGenerator(
        work.wire(server.kind.protocol),
        server.address,
        keys=work.keys,
        connections=1,
        pipeline=work.pipeline,
        check_keys=server.kind.stores,
        stall=STALL_SECONDS,
    ) as load:
        control(server, "-i", "on")
        load.run(requests=requests)
        once = count(server, folder, load, requests)
        twice = count(server, folder, load, 2 * requests)
        control(server, "-i", "off")
    return (twice - once) / requests / keys


def instructions(
    name: str, works: list[Workload], operations: int, binaries: dict[str, str], folder: Path
) -> Iterator[tuple[str, float]]:
    """The names and instructions per operation of workloads of one data set; callgrind's files go to ``folder``."""
    from bench.loadgen import LoadError

    kind = KINDS[name]
    launch = Launch(
        workload=works[0],
        memory=works[0].memory,
        connections=file_limit() if kind.binary == "memcached" else ADMITTED,
        binaries=binaries,
        prefix=prefix(folder),
    )
    try:
        with Server(kind, launch) as server:
            if kind.stores:
                preload(server, works[0])
            for work in works:
                yield work.name, count_workload(server, folder, work, operations)
    except (LoadError, OSError) as error:
        raise BenchError(f"{name}: {error}") from None


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
    """The same requests over fewer keys."""
    return Workload(**{**vars(work), "keys": min(work.keys, KEYS), "filled": 0, "zipf": 0.0})


def count_all(
    names: list[str], works: list[Workload], operations: int, binaries: dict[str, str], output: Path | None, say: Say
) -> dict[str, dict[str, float]]:
    """Instructions per operation by workload and server."""
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        raise MissingTool(f"not installed: {', '.join(missing)}; both are part of valgrind")
    build.ensure()
    found: dict[str, dict[str, float]] = {work.name: {} for work in works}
    sets = dict.fromkeys(small(work).dataset for work in works)
    for name in names:
        for dataset in sets:
            chosen = [w for w in map(small, works) if w.dataset == dataset and w.runs_on(KINDS[name].protocol)]
            if not chosen:
                continue
            with counts_folder(output, f"{chosen[0].name}-{name}") as folder:
                for workload_name, per_operation in instructions(name, chosen, operations, binaries, folder):
                    found[workload_name][name] = round(per_operation, 1)
                    say(f"{workload_name}: {name}: {per_operation:,.0f} instructions per operation")
    return found


def named(names: tuple[str, ...]) -> list[Workload]:
    """The workloads of these names."""
    return workload.select(workload.load_all(), list(names), short=False)


def measure(short: bool, say: Say) -> dict:
    """The chapter's result: cachecore and its peers, as far as they are installed."""
    works = named(SHORT if short else WORKLOADS)
    operations = OPERATIONS // 4 if short else OPERATIONS
    servers = [name for name in SERVERS if name in installed()]
    return {
        "settings": {"operations": operations, "keys": KEYS, "connections": 1},
        "servers": facts.versions(),
        "titles": {work.name: work.title for work in works},
        "instructions": count_all(servers, works, operations, {}, None, say),
    }


def markdown(result: dict) -> str:
    """The chapter for people."""
    found = result["instructions"]
    servers = [name for name in SERVERS if any(name in row for row in found.values())]
    lines = ["| workload | " + " | ".join(label(name, result["servers"]) for name in servers) + " |"]
    lines.append("|---|" + "--:|" * len(servers))
    for name, row in found.items():
        cells = [f"{row[server]:,.0f}" if server in row else "" for server in servers]
        lines.append(f"| {result['titles'][name]} | " + " | ".join(cells) + " |")
    said = ", ".join(f"{name}: {value:,}" for name, value in result["settings"].items())
    parts = [
        "## Instructions",
        f"`python -m bench.callgrind`: {said}. User instructions per operation of the thread that serves, under "
        "callgrind: the same on a busy machine. The kernel's are not among them, nor do they say how long they take.",
        "\n".join(lines),
    ]
    return "\n\n".join(parts) + "\n"


def plot(result: dict, directory: Path) -> list[Path]:
    """Bars of instructions: a group for each workload."""
    import matplotlib

    from bench.plots import STYLE

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = result["instructions"]
    servers = [name for name in SERVERS if any(name in row for row in found.values())]
    height = 0.8 / len(servers)
    with pyplot.rc_context(STYLE):
        figure, panel = pyplot.subplots(figsize=(8, 1 + 0.6 * len(found)))
        for number, server in enumerate(servers):
            places = [at + number * height for at, row in enumerate(found.values()) if server in row]
            values = [row[server] for row in found.values() if server in row]
            name = label(server, result["servers"])
            bars = panel.barh(places, values, height * 0.9, color=COLOURS[server], label=name)
            panel.bar_label(bars, [f"{value:,.0f}" for value in values], padding=3, fontsize=8)
        middle = height * (len(servers) - 1) / 2
        panel.set_yticks([at + middle for at in range(len(found))], [result["titles"][name] for name in found])
        panel.invert_yaxis()
        panel.tick_params(left=False)
        panel.set_xlabel("user instructions per operation")
        panel.margins(x=0.1)
        figure.legend(frameon=False, loc="upper center", ncols=len(servers))
        figure.tight_layout(rect=(0, 0, 1, 1 - 0.3 / figure.get_figheight()))
        path = directory / "instructions.svg"
        figure.savefig(path, metadata={"Date": None})
        pyplot.close(figure)
    return [path]


# ---- the guard -----------------------------------------------------------------------------------------------------


def toolchain() -> str:
    """What instruction counts depend on beside the sources."""
    return f"gcc {facts.versions().get('gcc', '?')}, {facts.libc()}, Python {platform.python_version()}"


def read_bounds(path: Path = BOUNDS) -> dict:
    """The recorded bounds: ``toolchain``, and ``instructions`` by workload."""
    try:
        bounds = tomllib.loads(path.read_text())
        return {"toolchain": str(bounds["toolchain"]), "instructions": dict(bounds["instructions"])}
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise BenchError(f"{path.name}: {error!r}: python -m bench.callgrind --record writes it") from None


def write_bounds(found: dict[str, float], tools: str, path: Path = BOUNDS) -> None:
    """Record instructions per operation as the bounds from now on."""
    lines = [
        "# cachecore's user instructions per operation, which CI lets grow by 2 % at most.",
        "# Written by python -m bench.callgrind --record; held by python -m bench.callgrind --check.",
        f'toolchain = "{tools}"',
        "",
        "[instructions]",
        *(f"{name} = {number:.1f}" for name, number in found.items()),
    ]
    path.write_text("\n".join(lines) + "\n")


def judge(bounds: dict[str, float], found: dict[str, float]) -> tuple[list[str], list[str]]:
    """What is above its bound, or has none; and what has become so cheap that its bound could be lowered."""
    worse = [f"{name} has no bound" for name in found if name not in bounds]
    better = []
    for name, bound in bounds.items():
        if name not in found:
            worse.append(f"{name} was not counted")
            continue
        line = f"{name}: {found[name]:,.1f} instructions per operation, {found[name] / bound - 1:+.1%} of {bound:,.1f}"
        if found[name] > bound * (1 + TOLERANCE):
            worse.append(line)
        elif found[name] < bound * (1 - TOLERANCE):
            better.append(line)
    return worse, better


def check(found: dict[str, float]) -> None:
    """Say how ``found`` compares with the bounds; BenchError when one of them is exceeded."""
    recorded = read_bounds()
    worse, better = judge(recorded["instructions"], found)
    for line in better:
        print(f"a bound can be lowered (--record): {line}")
    if worse:
        tools = recorded["toolchain"]
        origin = "" if tools == toolchain() else f" (recorded with {tools}; this is {toolchain()})"
        raise BenchError(f"above the bounds by more than {TOLERANCE:.0%}{origin}: {'; '.join(worse)}")
    print(f"none above its bound by more than {TOLERANCE:.0%}")


# ---- the command ---------------------------------------------------------------------------------------------------


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.callgrind", description=__doc__)
    parser.add_argument("--short", action="store_true", help="two workloads, fewer requests")
    parser.add_argument("--workload", action="append", default=[], metavar="GLOB", help="default: the chapter's")
    parser.add_argument("--servers", metavar="A,B", help=f"default {','.join(SERVERS)}, as far as installed")
    parser.add_argument("--operations", type=int, default=OPERATIONS, metavar="N")
    parser.add_argument("--memcached", metavar="PATH", help="the memcached to run")
    parser.add_argument("--output", type=Path, metavar="DIR", help="keep the counts, for callgrind_annotate")
    guard = parser.add_mutually_exclusive_group()
    guard.add_argument("--check", action="store_true", help="hold cachecore's numbers against bounds.toml")
    guard.add_argument("--record", action="store_true", help="write them to bounds.toml")
    options = parser.parse_args(arguments)
    if options.operations < 1000:
        raise BenchError("--operations: at least 1000")
    return options


def choose_servers(options: argparse.Namespace) -> list[str]:
    """The servers asked for; the guard's is cachecore."""
    if options.check or options.record:
        return ["cachecore"]
    names = options.servers.split(",") if options.servers else [name for name in SERVERS if name in installed()]
    if unknown := [name for name in names if name not in KINDS]:
        raise BenchError(f"unknown server {', '.join(unknown)}: known are {', '.join(KINDS)}")
    return names


def run(arguments: list[str]) -> None:
    """Count, then print a table, or check, or record."""
    options = parse(arguments)
    works = named(tuple(options.workload) or (SHORT if options.short else WORKLOADS))
    binaries = {"memcached": str(Path(options.memcached).resolve())} if options.memcached else {}
    found = count_all(choose_servers(options), works, options.operations, binaries, options.output, print)
    ours = {name: row["cachecore"] for name, row in found.items() if "cachecore" in row}
    if options.record:
        write_bounds(ours, toolchain())
        print(f"recorded in {BOUNDS.name}")
    elif options.check:
        check(ours)


if __name__ == "__main__":
    run_command(run)
