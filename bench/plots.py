"""The pictures: a row for each workload, a mark for each server, distances that are ratios.

A line through a mark reaches from the least to the most of the rounds.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from bench.errors import MissingTool
from bench.report import COLOURS, Row, label, rows_of, superseded

#: Shapes beside the colours, so that a picture can be read without them.
MARKERS = {"cachecore": "o", "memcached": "s", "memcached-new": "D", "redis": "^", "redis-io": "v", "null": "|"}
#: The picture of the README; redis-io has no place where CPU time is compared, for its threads spin.
#: The rows that the README shows: one of each kind, those in which all servers are near the limit, too.
OVERVIEW = (
    "get-p1-32",
    "get-p16-32",
    "set-p16-32",
    "multiget100-32",
    "set-p16-32-full",
    "get-p16-1k",
    "get-p1-500k",
)
STYLE = {
    "svg.fonttype": "none",  # letters stay letters: smaller, and found by a search
    "svg.hashsalt": "cachecore",  # the same figures make the same file
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
}


def check() -> None:
    """MissingTool when nothing can be drawn."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingTool("matplotlib is not installed: pip install 'cachecore[bench]'") from None


def draw_panel(panel, rows: list[Row], result: dict, workloads: list[str], figure: str) -> None:
    """The marks of one figure of the rows, on a logarithmic axis."""
    for server in COLOURS:
        here = [row for row in rows if row.server == server]
        if not here:
            continue
        places = [workloads.index(row.workload) for row in here]
        if figure == "cpu_us":
            least, most = [row.cpu_us_least for row in here], [row.cpu_us_most for row in here]
            panel.hlines(places, least, most, color=COLOURS[server], linewidth=1.2, alpha=0.7)
        panel.plot(
            [getattr(row, figure) for row in here],
            places,
            linestyle="none",
            marker=MARKERS[server],
            markersize=13 if server == "null" else 7,
            markeredgewidth=2 if server == "null" else 0.6,
            markeredgecolor=COLOURS[server] if server == "null" else "white",
            color=COLOURS[server],
            label=label(server, result["servers"]),
            zorder=4 if server == "cachecore" else 3,
        )
    panel.set_xscale("log")
    panel.set_yticks(range(len(workloads)), [result["titles"][name] for name in workloads])
    panel.invert_yaxis()
    panel.set_ylim(len(workloads) - 0.5, -0.5)
    panel.tick_params(left=False)
    panel.grid(axis="x", which="major", color="#cccccc", linewidth=0.7)
    panel.grid(axis="x", which="minor", color="#eeeeee", linewidth=0.5)
    panel.grid(axis="y", color="#eeeeee", linewidth=0.7)
    panel.set_axisbelow(True)


def set_ticks(panel, name: str) -> None:
    """Plain numbers at 1 and 3 of each decade, and what they are."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    panel.xaxis.set_major_locator(LogLocator(subs=(1, 3), numticks=40))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.set_xlabel(name)


def draw(path: Path, result: dict, workloads: list[str], without: Collection[str] = ()) -> None:
    """CPU time per operation beside operations per second, for ``workloads``."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [row for row in rows_of(result) if row.workload in workloads and row.server not in without]
    with pyplot.rc_context(STYLE):
        figure, panels = pyplot.subplots(1, 2, sharey=True, figsize=(10, 1.4 + 0.34 * len(workloads)))
        draw_panel(panels[0], [row for row in rows if row.server != "redis-io"], result, workloads, "cpu_us")
        set_ticks(panels[0], "CPU us per operation (left is better)")
        draw_panel(panels[1], rows, result, workloads, "rate")
        set_ticks(panels[1], "operations per second (right is better)")
        thousands(panels[1])
        marks, names = panels[1].get_legend_handles_labels()
        figure.legend(marks, names, loc="upper center", ncols=len(names), frameon=False, handletextpad=0.2)
        figure.tight_layout(rect=(0, 0, 1, 1 - 0.32 / figure.get_figheight()))
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=120)
        pyplot.close(figure)


def thousands(panel) -> None:
    """Ticks in thousands and millions."""
    from matplotlib.ticker import FuncFormatter

    panel.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value / 1e6:g}M" if value >= 1e6 else f"{value / 1e3:g}k")
    )


def plot(result: dict, directory: Path) -> list[Path]:
    """The main workloads, and all of them if there are more."""
    measured = list(dict.fromkeys(row.workload for row in rows_of(result)))
    main = [name for name in OVERVIEW if name in measured]
    pictures = [(directory / "overview.svg", main, superseded(result))] if main else []
    if set(measured) > set(main):
        pictures.append((directory / "throughput.svg", measured, set()))
    for path, workloads, without in pictures:
        draw(path, result, workloads, without)
    return [path for path, _, _ in pictures]
