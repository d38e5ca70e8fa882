"""``python -m bench.memory``: what an item and an idle connection cost in resident memory, against memcached.

Both servers get the same data, and enough memory to keep all of it. What is compared is how much a server's resident
memory grew: what it occupies with nothing stored is reported beside it.
"""

from __future__ import annotations

import random
import resource
import shutil
import socket
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import accumulate, islice
from pathlib import Path

from bench import build, workload
from bench.chapter import Say, keep_figure, run_alone
from bench.errors import BenchError, run_command
from bench.measure import preload
from bench.report import COLOURS
from bench.servers import KINDS, Launch, Server

SERVERS = ("cachecore", "memcached")
#: Bytes of key; ``bench.wire`` has as many.
KEY = 12
THREADS = 4
BATCH = 256 * 1024  # bytes that are sent at once
SETTLED_SECONDS = 2.0  # memcached's hash table grows in the background
#: Descriptors of this process that are no connection.
SPARE_DESCRIPTORS = 100

#: Bytes of value of the mixed data: size SMALLEST + r - 1 has the probability of rank r.
SMALLEST, LARGEST = 20, 8192
#: Zipf's exponents, the larger the more small values, and bytes of values in all; in a small server memcached's pages,
#: which it touches as a whole, weigh more.
MIXED = ((0.99, 80_000_000), (0.99, 400_000_000), (1.2, 400_000_000), (1.5, 80_000_000))
SEED = 20

WARM_UP = 50  # connections that come and go first
HALF = 500  # bytes of a value under way
BIG = 100_000

#: What every connection does, one after the other; the second text is sent when all have sent the first one. And how
#: the replies to both end.
USES: dict[str, tuple[bytes, bytes, bytes]] = {
    "a get": (b"get small\r\n", b"", b"END\r\n"),
    "a set": (b"set small 0 0 3\r\nabc\r\n", b"", b"STORED\r\n"),
    "a value of 100 KB": (
        b"set big 0 0 %d\r\n%s\r\n" % (BIG, b"b" * BIG) + b"get big\r\n",
        b"",
        b"END\r\n",
    ),
    "a line in two parts, all at once": (b"get ", b"small\r\n", b"END\r\n"),
    "a value in two parts, all at once": (
        b"set small 0 0 %d\r\n%s" % (2 * HALF, b"v" * HALF),
        b"v" * HALF + b"\r\n",
        b"STORED\r\n",
    ),
}


def resident(pid: int) -> dict[str, int]:
    """A process's resident memory, and what of it is its own and written, in bytes."""
    fields = dict(line.split(":") for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:] if line)
    return {
        name: int(fields[field].split()[0]) * 1024
        for name, field in (("resident", "Rss"), ("private", "Private_Dirty"))
    }


def grown(server: Server, before: dict[str, int]) -> dict[str, int]:
    """How much more that is by now, once the server has come to rest."""
    time.sleep(SETTLED_SECONDS)
    return {name: number - before[name] for name, number in resident(server.pid).items()}


def installed() -> list[str]:
    """Those of the servers that there are."""
    return [name for name in SERVERS if name == "cachecore" or shutil.which(name)]


def launch(memory: int, connections: int = 1100) -> Launch:
    """A server with so many megabytes."""
    return Launch(workload.load_all()[0], memory, threads=THREADS, connections=connections)


# ---- items


def measure_items(number: int, value: int, say: Say) -> dict[str, dict[str, float]]:
    """Bytes an item beyond key and value, by server."""
    found = {}
    data = workload.Workload(name=f"items-{value}", kind="set", value=value, keys=number)
    for name in installed():
        with Server(KINDS[name], launch(data.memory)) as server:
            before = resident(server.pid)
            preload(server, data)
            after = grown(server, before)
        found[name] = {kind: nbytes / number - KEY - value for kind, nbytes in after.items()}
        say(f"{name}: {number} items of {value} bytes: {found[name]['resident']:.1f} bytes each beyond them")
    return found


# ---- mixed sizes


def ranks(exponent: float) -> list[float]:
    """The cumulated weights of the sizes, from SMALLEST to LARGEST."""
    return list(accumulate(rank**-exponent for rank in range(1, LARGEST - SMALLEST + 2)))


def mean_size(exponent: float) -> float:
    """The expected size of a value."""
    weights = [rank**-exponent for rank in range(1, LARGEST - SMALLEST + 2)]
    return sum((SMALLEST + i) * weight for i, weight in enumerate(weights)) / sum(weights)


def mixed_sizes(exponent: float) -> Iterator[int]:
    """Sizes of values, the same ones every time."""
    cumulated, chosen = ranks(exponent), random.Random(SEED)
    while True:
        yield SMALLEST + bisect_left(cumulated, chosen.random() * cumulated[-1])


def write_values(client: socket.socket, sizes: Iterable[int]) -> None:
    """Store a value of each of these sizes; returns when the server has them all."""
    filler = b"v" * LARGEST
    batch = bytearray()
    for number, size in enumerate(sizes):
        batch += b"set key_%08d 0 0 %d noreply\r\n%b\r\n" % (number, size, filler[:size])
        if len(batch) > BATCH:
            client.sendall(batch)
            batch.clear()
    ask(client, bytes(batch) + b"mn\r\n", b"MN\r\n")


def measure_mixed(total: int, exponent: float, say: Say) -> dict:
    """What the same values of mixed sizes, some ``total`` bytes of them, occupy in each server."""
    mean = mean_size(exponent)
    number = int(total / mean)
    sizes = list(islice(mixed_sizes(exponent), number))
    content = sum(sizes) + KEY * number
    found: dict = {
        "exponent": exponent,
        "items": number,
        "expected_mean": mean,
        "mean": sum(sizes) / number,
        "content": content,
        "servers": {},
    }
    for name in installed():
        with Server(KINDS[name], launch(content * 2 // 1_000_000 + 100)) as server, server.connect(60.0) as client:
            before = resident(server.pid)
            write_values(client, sizes)
            after = grown(server, before)
        found["servers"][name] = after | {"empty": before["resident"]}
        say(
            f"{name}: {number} values by Zipf {exponent}, {found['mean']:.0f} bytes each: "
            f"{after['resident'] / content:.3f} of keys and values"
        )
    return found


# ---- connections


def ask(client: socket.socket, request: bytes, end: bytes) -> None:
    """Send a request and read until its reply ends."""
    client.sendall(request)
    read = b""
    while not read.endswith(end):
        part = client.recv(1 << 18)
        if not part:
            raise BenchError(f"closed after {read[-100:]!r}")
        read = read[-len(end) :] + part


def connection_count(wanted: int) -> int:
    """As many connections as the descriptors allow, which this process and the server need one each for."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return min(wanted, hard - SPARE_DESCRIPTORS)


def use_all(clients: list[socket.socket], first: bytes, second: bytes, end: bytes) -> None:
    """Let every connection do the same."""
    if second:
        for client in clients:
            client.sendall(first)
    for client in clients:
        ask(client, second or first, end)


def measure_connections(wanted: int, chosen: tuple[str, ...], say: Say) -> dict[str, dict[str, dict[str, float]]]:
    """User memory that an idle connection costs, in bytes, by server and by what it was used for since it came."""
    uses = {use: USES[use] for use in chosen}
    number = connection_count(wanted)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name in installed():
        server = Server(KINDS[name], launch(64, number + SPARE_DESCRIPTORS))
        clients: list[socket.socket] = []
        with server:
            found[name] = {}
            try:
                for _ in range(WARM_UP):  # what the first of them cost is no connection's
                    with server.connect(60.0) as client:
                        for use in uses.values():
                            use_all([client], *use)
                time.sleep(SETTLED_SECONDS)
                before = resident(server.pid)
                clients.extend(server.connect(60.0) for _ in range(number))
                ask(clients[-1], b"mn\r\n", b"MN\r\n")
                for use, parts in {"nothing": None, **uses}.items():
                    if parts is not None:
                        use_all(clients, *parts)
                    after = grown(server, before)
                    found[name][use] = {kind: nbytes / number for kind, nbytes in after.items()}
                    say(f"{name}: {number} connections, after {use}: {found[name][use]['resident']:.0f} bytes each")
            finally:
                for client in clients:
                    client.close()
    return {"number": number, "servers": found}


# ---- the chapter


def measure(short: bool, say: Say) -> dict:
    """Everything: a minute and a half; ``short``: a fifth of the data and of the connections, and of each kind one."""
    build.ensure()
    scale = 5 if short else 1
    items = 1_000_000 // scale
    values = (32,) if short else (32, 100)
    uses = tuple(USES)[-1:] if short else tuple(USES)
    return {
        "command": "python -m bench.memory" + (" --short" if short else ""),
        "threads": THREADS,
        "items": items,
        "key": KEY,
        "beyond": {str(value): measure_items(items, value, say) for value in values},
        "mixed": [measure_mixed(total // scale, exponent, say) for exponent, total in (MIXED[1:2] if short else MIXED)],
        "connections": measure_connections(10_000 // scale, uses, say),
    }


def mixed_ratio(mixed: dict, kind: str) -> float | None:
    """What the first server needs of the second's memory, if both were there."""
    servers = mixed["servers"]
    if len(servers) < len(SERVERS):
        return None
    ours, theirs = (servers[name] for name in SERVERS)
    if kind == "with the empty server":
        return (ours["resident"] + ours["empty"]) / (theirs["resident"] + theirs["empty"])
    return ours[kind] / theirs[kind]


def shown(number: float | None, digits: int = 1) -> str:
    """A figure, or a dash."""
    return "-" if number is None else f"{number:.{digits}f}"


def markdown(result: dict) -> str:
    """The chapter."""
    names = list(next(iter(result["beyond"].values())))
    lines = [
        "## Memory",
        "",
        f"`{result['command']}`: growth of resident memory, servers with {result['threads']} threads.",
        "",
        f"Bytes an item beyond key ({result['key']} bytes) and value, {result['items']:,} items:",
        "",
        "| bytes of value | " + " | ".join(names) + " |",
        "|---|" + "---|" * len(names),
    ]
    for value, servers in result["beyond"].items():
        lines.append(f"| {value} | " + " | ".join(shown(servers[n]["resident"]) for n in names) + " |")
    lines += [
        "",
        f"Values of {SMALLEST} to {LARGEST} bytes, where the size {SMALLEST} + r - 1 has Zipf's probability of rank r, "
        f"seed {SEED}: megabytes for the same data, and cachecore's part of memcached's:",
        "",
        "| exponent | mean | items | keys and values | " + " | ".join(names) + " | ratio | with the empty server |",
        "|---|---|---|---|" + "---|" * len(names) + "---|---|",
    ]
    for mixed in result["mixed"]:
        sums = " | ".join(shown(mixed["servers"][n]["resident"] / 1e6) for n in names)
        lines.append(
            f"| {mixed['exponent']} | {mixed['mean']:.0f} | {mixed['items']:,} | {mixed['content'] / 1e6:.1f} | {sums} "
            f"| {shown(mixed_ratio(mixed, 'resident'), 3)} "
            f"| {shown(mixed_ratio(mixed, 'with the empty server'), 3)} |"
        )
    connections = result["connections"]
    lines += [
        "",
        f"Bytes of user memory an idle connection costs, {connections['number']:,} of them, after each has done:",
        "",
        "| done before, one after the other | " + " | ".join(names) + " |",
        "|---|" + "---|" * len(names),
    ]
    for use in connections["servers"][names[0]]:
        sums = " | ".join(shown(connections["servers"][n][use]["resident"], 0) for n in names)
        lines.append(f"| {use} | {sums} |")
    return "\n".join(lines) + "\n"


def plot(result: dict, directory: Path) -> list[Path]:
    """Three groups of bars: items, mixed sizes, connections."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(13, 4))
    names = list(next(iter(result["beyond"].values())))
    uses = list(result["connections"]["servers"][names[0]])
    groups = [
        (
            "bytes an item beyond key and value",
            [f"{value} B" for value in result["beyond"]],
            {n: [of[n]["resident"] for of in result["beyond"].values()] for n in names},
        ),
        (
            "mixed sizes: bytes a byte of key and value",
            [f"Zipf {of['exponent']}, {of['content'] / 1e6:.0f} MB" for of in result["mixed"]],
            {n: [of["servers"][n]["resident"] / of["content"] for of in result["mixed"]] for n in names},
        ),
        (
            "bytes an idle connection, after ...",
            [use.split(",")[0].removeprefix("a ") for use in uses],
            {n: [result["connections"]["servers"][n][use]["resident"] for use in uses] for n in names},
        ),
    ]
    for axis, (title, labels, bars) in zip(axes, groups, strict=True):
        for i, (name, heights) in enumerate(bars.items()):
            axis.bar([x + 0.4 * i for x in range(len(labels))], heights, 0.4, label=name, color=COLOURS[name])
        axis.set_xticks([x + 0.2 for x in range(len(labels))], labels, rotation=25, ha="right", fontsize=8)
        axis.set_title(title, fontsize=10)
    axes[2].set_yscale("log")
    axes[0].legend()
    return keep_figure(figure, directory / "memory.svg")


if __name__ == "__main__":
    run_command(lambda arguments: run_alone("memory", arguments, measure, markdown, plot))
