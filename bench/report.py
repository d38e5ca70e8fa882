"""What the throughput chapter is reported as: medians, tables and notes, from the chapter's JSON alone."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, fields
from statistics import median

from bench.facts import machine as machine
from bench.measure import Results, Sample
from bench.servers import KINDS

REFERENCE = "memcached"
LIMIT = "null"
#: This memcached makes a system call for every reply to pipelined classic gets.
ONE_BY_ONE = "1.6.18"
#: Of Okabe and Ito's palette, which people see apart who do not see all colours.
COLOURS = {
    "cachecore": "#009E73",
    "memcached": "#D55E00",
    "memcached-new": "#E69F00",
    "redis": "#0072B2",
    "redis-io": "#56B4E9",
    "null": "#808080",
}
LEGEND = (
    "CPU us/op is the CPU time of the server's process per operation, all its threads, user and system; least to most "
    "of the rounds. An operation is one key. *x memcached* and *of null* compare CPU times round by round; p50 and p99 "
    "are of a whole batch, behind those of all other connections; load is the load generator's CPU time per operation. "
    "*null* receives and sends as many bytes and does nothing else: the limit."
)


@dataclass(frozen=True)
class Row:
    """The medians of one workload on one server over the rounds."""

    workload: str
    server: str
    rate: float  # operations per second
    cpu_us: float  # server CPU time per operation, microseconds
    cpu_us_least: float
    cpu_us_most: float
    user_us: float
    system_us: float
    load_us: float
    p50_us: float
    p99_us: float
    p999_us: float
    misses: int  # of all rounds
    times_memcached: float | None  # memcached's CPU time over this one's, median of the rounds' ratios
    share_of_null: float | None  # the null server's CPU time over this one's, likewise
    refused: int = 0  # sets that found no memory, of all rounds


def ratio(base: list[Sample], other: list[Sample]) -> float | None:
    """The median over the rounds of ``base``'s CPU time over ``other``'s, round by round."""
    by_round = {sample.round: sample.cpu_us for sample in base}
    pairs = [by_round[s.round] / s.cpu_us for s in other if s.round in by_round and s.cpu_us > 0]
    return median(pairs) if pairs else None


def make_row(samples: list[Sample], reference: list[Sample], limit: list[Sample]) -> Row:
    """One server's samples of one workload as medians."""

    def middle(name: str) -> float:
        return median(getattr(sample, name) for sample in samples)

    cpu_us = middle("cpu_us")
    # The kernel samples user and system in ticks: only over all rounds together is the split worth showing.
    user_share = sum(s.user_us * s.operations for s in samples) / sum(s.cpu_us * s.operations for s in samples)
    return Row(
        workload=samples[0].workload,
        server=samples[0].server,
        rate=middle("rate"),
        cpu_us=cpu_us,
        cpu_us_least=min(sample.cpu_us for sample in samples),
        cpu_us_most=max(sample.cpu_us for sample in samples),
        user_us=cpu_us * user_share,
        system_us=cpu_us * (1 - user_share),
        load_us=middle("load_us"),
        p50_us=middle("p50_us"),
        p99_us=middle("p99_us"),
        p999_us=middle("p999_us"),
        misses=sum(sample.misses for sample in samples),
        times_memcached=ratio(reference, samples),
        share_of_null=ratio(limit, samples),
        refused=sum(sample.errors for sample in samples),
    )


def summarize(samples: Iterable[Sample]) -> list[Row]:
    """The rows of all workloads and servers, in the order in which they were first run."""
    groups: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        groups.setdefault((sample.workload, sample.server), []).append(sample)
    order = list(KINDS)
    rows = [
        make_row(group, groups.get((workload, REFERENCE), []), groups.get((workload, LIMIT), []))
        for (workload, _), group in groups.items()
    ]
    workloads = list(dict.fromkeys(row.workload for row in rows))
    return sorted(rows, key=lambda row: (workloads.index(row.workload), order.index(row.server)))


def rounded(record: dict[str, object]) -> dict[str, object]:
    """The same with floats of five significant digits: what is behind them is noise."""
    return {name: float(f"{v:.5g}") if isinstance(v, float) else v for name, v in record.items()}


def as_json(results: Results, titles: dict[str, str], settings: dict[str, object]) -> dict[str, object]:
    """The chapter's result: the rows, and each single run as a list of figures, those of a row together."""
    groups: dict[tuple[str, str], list[list[object]]] = {}
    for sample in results.samples:
        figures = list(rounded(asdict(sample)).values())
        groups.setdefault((sample.workload, sample.server), []).append(figures)
    return {
        "settings": settings,
        "servers": results.versions,
        "commands": results.commands,
        "titles": titles,
        "resident_bytes_beyond_key_and_value": results.overhead,
        "rows": [rounded(asdict(row)) for row in summarize(results.samples)],
        "sample_fields": [field.name for field in fields(Sample)],
        "samples": list(groups.values()),
    }


def rows_of(result: dict) -> list[Row]:
    """The rows of a chapter's result."""
    return [Row(**row) for row in result["rows"]]


def label(server: str, versions: dict[str, str]) -> str:
    """What a server is called in a table or a plot."""
    version = versions.get(server, "")
    names = {"cachecore": "cachecore", "null": "the limit"}
    if server in names:
        return names[server]
    if server == "redis-io":
        return f"Redis {version}, I/O threads"
    return f"{'Redis' if server == 'redis' else 'memcached'} {version}"


def one_by_one(row: Row, result: dict) -> bool:
    """Whether a row is of the memcached that answers pipelined classic gets one by one."""
    pipelined = row.workload.startswith(("get-p", "mix-p")) and not row.workload.startswith(("get-p1-", "mix-p1-"))
    return pipelined and row.server.startswith("memcached") and result["servers"].get(row.server) == ONE_BY_ONE


def superseded(result: dict) -> set[str]:
    """The memcached for which a newer one stands: it need not be shown where there is little room."""
    servers = {row.server for row in rows_of(result)}
    return {"memcached"} if "memcached-new" in servers else set()


def overview(result: dict, workloads: Iterable[str] = (), without: Collection[str] = ()) -> str:
    """A table of workloads, all or those named, by servers: CPU time and operations per second in each cell."""
    rows = rows_of(result)
    by_place = {(row.workload, row.server): row for row in rows}
    servers = [name for name in KINDS if name in {row.server for row in rows} and name not in without]
    titles = [label(name, result["servers"]) for name in servers]
    lines = [
        "| CPU us per operation / million operations per second | " + " | ".join(titles) + " |",
        "|---|" + "--:|" * len(servers),
    ]
    for name in workloads or dict.fromkeys(row.workload for row in rows):
        cells = [cell(by_place.get((name, server)), result) for server in servers]
        lines.append(f"| {result['titles'][name]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cell(row: Row | None, result: dict) -> str:
    """CPU microseconds per operation and million operations per second of one row."""
    if row is None:
        return ""
    cpu = f"{row.cpu_us:.2f}" if row.cpu_us < 10 else f"{row.cpu_us:.0f}"
    rate = f"{row.rate / 1e6:.2f}" if row.rate >= 1e5 else f"{row.rate / 1e6:.3f}"
    return f"{cpu} / {rate}{' [1]' if one_by_one(row, result) else ''}"


def details(result: dict) -> str:
    """The table of all figures."""
    lines = [
        "| workload | server | ops/s | CPU us/op | least to most | user | system | x memcached | of null "
        "| p50 us | p99 us | load us/op |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows_of(result):
        times = "" if row.times_memcached is None else f"{row.times_memcached:.2f}"
        share = "" if row.share_of_null is None else f"{row.share_of_null:.0%}"
        lines.append(
            f"| {row.workload} | {row.server} | {row.rate:,.0f} | {row.cpu_us:.3f} "
            f"| {row.cpu_us_least:.3f} to {row.cpu_us_most:.3f} | {row.user_us:.3f} | {row.system_us:.3f} "
            f"| {times} | {share} | {row.p50_us:,.0f} | {row.p99_us:,.0f} | {row.load_us:.3f} |"
        )
    return "\n".join(lines)


def markdown(result: dict) -> str:
    """The chapter for people."""
    settings = ", ".join(f"{name} {value}" for name, value in result["settings"].items())
    parts = [
        "## Throughput",
        f"`python -m bench.throughput`: {settings}.",
        "Server CPU time per operation in microseconds / million operations per second:",
        overview(result),
        *notes(result),
        "### All figures",
        LEGEND,
        details(result),
        "### How the servers were started",
        "\n".join(f"- {name}: `{command}`" for name, command in result["commands"].items()),
    ]
    return "\n\n".join(parts) + "\n"


def notes(result: dict) -> Iterable[str]:
    """What a reader of the tables has to know about this run."""
    rows = rows_of(result)
    if any(one_by_one(row, result) for row in rows):
        yield (
            f"[1] memcached {ONE_BY_ONE} makes a system call for each reply to pipelined classic gets, which its own "
            "meta get and newer versions do not: no fair reference."
        )
    if any(row.server == "redis-io" for row in rows):
        yield (
            "Redis' I/O threads spin while they wait, which counts as CPU time: its operations per second say more. "
            "It may use every core, that of the load generator too; the others with one thread have one core."
        )
    for title, servers in result["resident_bytes_beyond_key_and_value"].items():
        figures = ", ".join(f"{name} {grown:.0f}" for name, grown in servers.items())
        yield f"Resident bytes per item beyond key and value ({title}): {figures}."
        for name in (name for name, grown in servers.items() if grown < 0):
            yield f"**{name} did not keep all of that: its memory was too small.**"
    for row in rows:
        if row.misses:
            yield f"**{row.server} missed {row.misses} keys of {row.workload}: its memory was too small.**"
        if row.refused:
            yield f"**{row.server} refused {row.refused} sets of {row.workload} for want of memory.**"
