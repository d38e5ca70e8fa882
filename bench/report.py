"""What a run is reported as: a Markdown table, JSON and a plot."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from bench.errors import BenchError
from bench.measure import Results, Sample

REFERENCE = "memcached"
LIMIT = "null"
COLOURS = {"cachecore": "#1b7837", "memcached": "#4575b4", "redis": "#d73027", "null": "#999999"}


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
    user_share = sum(s.user_us * s.operations for s in samples) / sum(
        s.cpu_us * s.operations for s in samples
    )
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
    )


def summarize(samples: Iterable[Sample]) -> list[Row]:
    """The rows of all workloads and servers, in the order in which they were first run."""
    groups: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        groups.setdefault((sample.workload, sample.server), []).append(sample)
    return [
        make_row(group, groups.get((workload, REFERENCE), []), groups.get((workload, LIMIT), []))
        for (workload, _), group in groups.items()
    ]


def markdown(results: Results, about: dict[str, object]) -> str:
    """The report for people."""
    lines = [
        "| workload | server | ops/s | CPU us/op | least to most | user | system | x memcached | of null "
        "| p50 us | p99 us | load us/op |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    rows = summarize(results.samples)
    for row in rows:
        times = "" if row.times_memcached is None else f"{row.times_memcached:.2f}"
        share = "" if row.share_of_null is None else f"{row.share_of_null:.0%}"
        lines.append(
            f"| {row.workload} | {row.server} | {row.rate:,.0f} | {row.cpu_us:.3f} "
            f"| {row.cpu_us_least:.3f} to {row.cpu_us_most:.3f} | {row.user_us:.3f} | {row.system_us:.3f} "
            f"| {times} | {share} | {row.p50_us:,.0f} | {row.p99_us:,.0f} | {row.load_us:.3f} |"
        )
    lines += ["", *_notes(results, rows), "", *(f"- {name}: {value}" for name, value in about.items())]
    return "\n".join(lines) + "\n"


def _notes(results: Results, rows: list[Row]) -> Iterable[str]:
    """What a reader of the table has to know about this run."""
    for title, servers in results.overhead.items():
        figures = ", ".join(f"{name} {grown:.0f}" for name, grown in servers.items())
        yield f"Resident bytes per item beyond key and value ({title}): {figures}."
        for name in (name for name, grown in servers.items() if grown < 0):
            yield f"**{name} did not keep all of that: its memory was too small.**"
    for row in rows:
        if row.misses:
            yield f"**{row.server} missed {row.misses} keys of {row.workload}: its memory was too small.**"
    version = results.versions.get(REFERENCE, "")
    if sends_each_reply_alone(version):
        yield (
            f"**memcached {version} makes a system call for each reply to pipelined classic gets. Its get "
            "and mix rows with p16 and p64 are no fair reference: take --memcached PATH with a newer one, or "
            "compare metaget.**"
        )


def sends_each_reply_alone(version: str) -> bool:
    """Whether this memcached is known to make a system call for every pipelined classic get."""
    return version == "1.6.18"


def machine() -> dict[str, object]:
    """What the numbers depend on, beside the servers."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def write_json(path: Path, results: Results, about: dict[str, object]) -> None:
    """Everything, samples included, for tools."""
    content = {
        **about,
        "versions": results.versions,
        "commands": results.commands,
        "resident_bytes_beyond_key_and_value": results.overhead,
        "rows": [asdict(row) for row in summarize(results.samples)],
        "samples": [asdict(sample) for sample in results.samples],
    }
    path.write_text(json.dumps(content, indent=1) + "\n")


def check_plot() -> None:
    """BenchError when plots cannot be drawn: better before the run than after it."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise BenchError(
            "the plot needs matplotlib: pip install 'cachecore[bench]', or leave it out with --no-plot"
        ) from None


def write_plot(paths: Iterable[Path], results: Results) -> None:
    """Server CPU time per operation as bars: a panel for each workload, its whiskers least and most."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = summarize(results.samples)
    workloads = list(dict.fromkeys(row.workload for row in rows))
    columns = min(len(workloads), 4)
    height = -(-len(workloads) // columns)
    figure, panels = pyplot.subplots(height, columns, figsize=(3.2 * columns, 2.6 * height), squeeze=False)
    for panel, workload in zip(panels.flat, workloads, strict=False):
        here = [row for row in rows if row.workload == workload]
        whiskers = [
            [row.cpu_us - row.cpu_us_least for row in here],
            [row.cpu_us_most - row.cpu_us for row in here],
        ]
        names = [row.server for row in here]
        bars = panel.bar(names, [row.cpu_us for row in here], color=[COLOURS[name] for name in names])
        panel.errorbar(names, [row.cpu_us for row in here], whiskers, fmt="none", ecolor="black", capsize=3)
        panel.bar_label(bars, fmt="%.2f", fontsize=7, padding=1)
        panel.margins(y=0.12)
        panel.set_title(workload, fontsize=9)
        panel.tick_params(labelsize=7)
    for panel in list(panels.flat)[len(workloads) :]:
        panel.set_visible(False)
    figure.supylabel("server CPU time per operation, us", fontsize=9)
    figure.tight_layout()
    for path in paths:
        figure.savefig(path, dpi=150)
    pyplot.close(figure)
