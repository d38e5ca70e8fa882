"""The bench's report: its chapters, its JSON and text, and the bounds that instruction counts are held to."""

from __future__ import annotations

import json
import sys
import types

import pytest

from bench import callgrind, chapters, embedded, facts, readme, report
from bench.chapters import Chapter
from bench.errors import BenchError, MissingTool
from tests.house.sources import ROOT

ROW = {
    "rate": 2_000_000.0,
    "cpu_us": 0.456,
    "cpu_us_least": 0.4,
    "cpu_us_most": 0.5,
    "user_us": 0.1,
    "system_us": 0.356,
    "load_us": 0.3,
    "p50_us": 100.0,
    "p99_us": 200.0,
    "p999_us": 300.0,
    "misses": 0,
    "times_memcached": None,
    "share_of_null": None,
}


def result(*rows: dict) -> dict:
    """A throughput chapter's result as it comes out of a file."""
    return {
        "settings": {"rounds:": 5},
        "servers": {
            "cachecore": "1",
            "memcached": "1.6.18",
            "memcached-new": "1.6.38",
            "redis": "7.0.15",
            "redis-io": "7.0.15",
        },
        "commands": {"cachecore": "cachecore -m 64"},
        "titles": {"get-p16-32": "get, 16 pipelined, 32 B", "metaget-p16-32": "meta get", "get-p1-32": "get"},
        "resident_bytes_beyond_key_and_value": {"7 keys": {"cachecore": 38.0}},
        "rows": [{**ROW, **row} for row in rows],
    }


def test_the_overview_is_a_table_of_workloads_by_servers():
    found = result(
        {"workload": "get-p16-32", "server": "redis"},
        {"workload": "get-p16-32", "server": "cachecore", "cpu_us": 12.34, "rate": 81_000.0},
        {"workload": "metaget-p16-32", "server": "cachecore"},
    )
    assert report.overview(found).splitlines() == [
        "| CPU us per operation / million operations per second | cachecore | Redis 7.0.15 |",
        "|---|--:|--:|",
        "| get, 16 pipelined, 32 B | 12 / 0.081 | 0.46 / 2.00 |",
        "| meta get | 0.46 / 2.00 |  |",
    ]


@pytest.mark.parametrize(
    ("workload", "server", "version", "marked"),
    [
        ("get-p16-32", "memcached", "1.6.18", True),
        ("mix-p16-32", "memcached", "1.6.18", True),
        ("get-p16-32", "memcached", "1.6.38", False),
        ("get-p1-32", "memcached", "1.6.18", False),
        ("metaget-p16-32", "memcached", "1.6.18", False),
        ("get-p16-32", "redis", "1.6.18", False),
    ],
)
def test_a_figure_that_is_no_fair_reference_is_marked(workload, server, version, marked):
    found = result({"workload": workload, "server": server})
    found["servers"][server] = version
    found["titles"][workload] = "x"
    assert ("[1]" in report.overview(found)) is marked
    assert ("[1] memcached 1.6.18 makes" in report.markdown(found)) is marked


def test_misses_and_lost_items_are_said():
    found = result({"workload": "get-p1-32", "server": "redis", "misses": 3, "refused": 2})
    found["resident_bytes_beyond_key_and_value"]["7 keys"]["memcached"] = -2.0
    text = report.markdown(found)
    assert "redis missed 3 keys of get-p1-32" in text
    assert "redis refused 2 sets of get-p1-32" in text
    assert "memcached did not keep all of that" in text
    assert "cachecore did not keep" not in text


# ---- chapters ------------------------------------------------------------------------------------------------------


def fake(name: str, monkeypatch, measure, pictures: tuple[str, ...] = ()) -> Chapter:
    """A chapter that the registry finds as ``bench.NAME``."""
    module = types.ModuleType(f"bench.{name}")
    module.measure = measure
    module.markdown = lambda found: f"## {name.title()}\n\nfound {found['n']}\n"
    module.plot = lambda found, directory: [directory / picture for picture in pictures]
    monkeypatch.setitem(sys.modules, f"bench.{name}", module)
    return Chapter(name, short=10, full=100)


def refuse(error: Exception):
    """A measurement that does not take place."""

    def measure(short, say):
        raise error

    return measure


@pytest.fixture
def book(monkeypatch):
    """Four chapters: one that is good, one without its library, one that fails, and one without its program."""
    good = fake("good", monkeypatch, lambda short, say: {"n": 1 if short else 2}, ("good.svg",))
    missing = fake("missing", monkeypatch, refuse(MissingTool("no such library")))
    wrong = fake("wrong", monkeypatch, refuse(BenchError("a wrong reply")))
    tool = Chapter("tool", short=1, full=1, needs=("sh", "no-such-program"))
    monkeypatch.setattr(chapters, "CHAPTERS", (good, missing, wrong, tool))
    monkeypatch.setattr(facts, "versions", lambda: {"cachecore": "1"})
    return chapters.CHAPTERS


def test_one_chapter_that_cannot_run_does_not_stop_the_others(book, tmp_path):
    said: list[str] = []
    entries = chapters.run_all(list(book), True, "python -m bench --short", said.append)
    assert [entry.get("result") for entry in entries.values()] == [{"n": 1}, None, None, None]
    assert entries["missing"]["skipped"] == "no such library"
    assert entries["wrong"]["failed"] == "a wrong reply"
    assert entries["tool"]["skipped"] == "not installed: no-such-program"
    assert said[0].startswith("[0:00, about 0:31 left] good: ")
    assert sum("not run: " in line for line in said) == 3
    text = chapters.write(entries, tmp_path, plots=True)
    assert text == (tmp_path / "report.md").read_text()
    assert "## Good\n\n![good](good.svg)\n\nfound 1\n" in text
    assert "Measured by `python -m bench --short`, " in text
    assert "## Wrong\n\nNot run: a wrong reply.\n" in text


def test_a_report_is_made_again_from_its_json(book, tmp_path):
    entries = chapters.run_all([book[0]], False, "python -m bench", lambda line: None)
    text = chapters.write(entries, tmp_path, plots=True)
    assert chapters.write(chapters.load(tmp_path / "report.json"), tmp_path, plots=True) == text


def test_a_failure_ends_the_command_with_a_word(book, tmp_path):
    from bench.__main__ import run

    options = ["--no-plot", "--output", str(tmp_path)]
    run([*options, "--chapter", "good", "--chapter", "tool"])
    command = chapters.load(tmp_path / "report.json")["good"]["command"]
    assert command == "python -m bench --chapter good --chapter tool"
    with pytest.raises(BenchError, match="wrong: a wrong reply"):
        run([*options, "--chapter", "wrong", "--update"])
    assert set(chapters.load(tmp_path / "report.json")) == {"good", "tool", "wrong"}
    run([*options, "--chapter", "good"])
    assert set(chapters.load(tmp_path / "report.json")) == {"good"}


def test_a_part_of_the_checkout_that_is_missing_is_a_failure():
    with pytest.raises(BenchError, match=r"no bench\.no_such_part: is this checkout built") as caught:
        chapters.module(Chapter("no_such_part", 1, 1))
    assert not isinstance(caught.value, MissingTool)


def test_an_unknown_chapter_is_said():
    with pytest.raises(BenchError, match="unknown chapter x: there are throughput"):
        chapters.select(["x"])
    assert chapters.select([]) == list(chapters.CHAPTERS)


def test_every_chapter_keeps_the_contract():
    for chapter in chapters.CHAPTERS:
        module = chapters.module(Chapter(chapter.name, 1, 1))
        assert {"measure", "markdown", "plot"} <= set(vars(module))


@pytest.mark.parametrize(
    "value",
    [{}, [], 1.5, {"a": [1, 2]}, {"a": {"b": ["x" * 70, "y" * 70], "c": [[1] * 60, {"d": "z" * 100}]}, "e": []}],
)
def test_the_json_is_the_same_in_more_lines(value):
    text = chapters.dumps(value)
    assert json.loads(text) == value
    assert len(text) <= 110 or len(text.splitlines()) > 3


# ---- bounds --------------------------------------------------------------------------------------------------------


def test_two_percent_above_a_bound_is_too_much():
    bounds = {"a": 1000.0, "b": 1000.0, "c": 1000.0, "d": 1000.0}
    worse, better = callgrind.judge(bounds, {"a": 1019.0, "b": 1021.0, "c": 979.0, "d": 981.0})
    assert [line.split(":")[0] for line in worse] == ["b"]
    assert [line.split(":")[0] for line in better] == ["c"]


def test_what_was_not_counted_is_no_pass():
    assert callgrind.judge({"a": 1.0}, {}) == (["a was not counted"], [])
    assert callgrind.judge({}, {"a": 1.0}) == (["a has no bound"], [])


def test_bounds_are_written_and_read(tmp_path):
    path = tmp_path / "bounds.toml"
    callgrind.write_bounds({"a": 123.44, "b": 7.0}, "gcc 1", path)
    assert callgrind.read_bounds(path) == {"toolchain": "gcc 1", "instructions": {"a": 123.4, "b": 7.0}}


def test_a_check_says_what_is_above_and_what_could_be_lower(monkeypatch, capsys):
    recorded = {"toolchain": "gcc 1", "instructions": {"a": 100.0, "b": 100.0}}
    monkeypatch.setattr(callgrind, "read_bounds", lambda: recorded)
    monkeypatch.setattr(callgrind, "toolchain", lambda: "gcc 2")
    callgrind.check({"a": 101.0, "b": 90.0})
    assert "can be lowered (--record): b: 90.0 instructions per operation, -10.0% of 100.0" in capsys.readouterr().out
    with pytest.raises(BenchError, match=r"recorded with gcc 1; this is gcc 2\): a: 150.0 .* \+50.0% of 100.0"):
        callgrind.check({"a": 150.0, "b": 100.0})


def test_the_recorded_bounds_are_those_of_the_guard():
    assert set(callgrind.read_bounds()["instructions"]) == set(callgrind.WORKLOADS)
    assert "bench.callgrind --check" in (ROOT / ".ci" / "run").read_text()


def test_a_bad_file_of_bounds_is_said(tmp_path):
    path = tmp_path / "bounds.toml"
    for text in ("instructions = 1\n", "[instructions]\na = 1\n", "[x\n"):
        path.write_text(text)
        with pytest.raises(BenchError, match=r"bounds\.toml: .*--record writes it"):
            callgrind.read_bounds(path)


# ---- the project's README ------------------------------------------------------------------------------------------


def test_the_readme_has_the_figures_of_the_report():
    text = (ROOT / "README.md").read_text()
    entries = chapters.load(ROOT / readme.FOLDER / "report.json")
    assert readme.updated(text, entries) == text, "python -m bench.readme puts them there"


@pytest.fixture
def entries():
    """Those of a report with two chapters."""
    found = result({"workload": "get-p16-32", "server": "memcached"}, {"workload": "get-p1-32", "server": "redis"})
    inside = {
        "command": "E",
        "rounds": 7,
        "rows": [
            {"cache": "a dict", "operation": what, "value": size, "threads": threads, "ns": 1234.4}
            for what in ("get", "set")
            for size in embedded.VALUES
            for threads in embedded.THREADS
        ],
    }
    size = {"resident": 38.2, "empty": 26e6}
    room = {
        "key": 12,
        "beyond": {"32": {"cachecore": size, "memcached": size}, "100": {"cachecore": size, "memcached": size}},
        "mixed": [{"servers": {"cachecore": size, "memcached": size | {"resident": 76.4}}}],
    }
    of_both = {"date": "D", "machine": "M", "versions": {"cachecore": "1", "Python": "3", "gcc": "4"}}
    return {
        "throughput": {"result": found, "command": "C", **of_both},
        "memory": {"result": room, "command": "G", **of_both},
        "embedded": {"result": inside, "command": "F", **of_both},
    }


MARKED = (
    "a\n<!-- embedded -->\n<!-- /embedded -->\n<!-- memory -->\n<!-- /memory -->\n"
    "b\n<!-- throughput -->\nold \\1\n<!-- /throughput -->\nc\n"
)


def test_figures_replace_what_was_between_the_marks(entries):
    text = readme.updated(MARKED, entries)
    assert text.startswith("a\n<!-- embedded -->\n| cache | 100 B, 1 thr. | 10,000 B, 1 thr. |\n")
    assert "\n| a dict | 1,234 / 1,234 | 1,234 / 1,234 |\n" in text
    came_from = "D; M; cachecore 1, Python 3."
    assert f"\n\n`F`, {came_from}\n<!-- /embedded -->\n<!-- memory -->" in text
    assert "[1] memcached 1.6.18 makes" in text
    assert text.endswith(f"`C`, {came_from}\n<!-- /throughput -->\nc\n")
    assert "<!-- memory -->\n`G`: a million items with 12-byte keys and values of 32 or 100 bytes take 38 bytes" in text
    assert "take 0.50 to 0.50 of what" in text
    assert readme.updated(text, entries) == text


def test_the_readme_leaves_out_the_memcached_that_a_newer_one_stands_for(entries):
    found = result(
        {"workload": "get-p16-32", "server": "memcached"}, {"workload": "get-p16-32", "server": "memcached-new"}
    )
    text = readme.throughput_part(entries["throughput"] | {"result": found})
    assert "| memcached 1.6.38 |" in text
    assert "1.6.18" not in text


def test_what_the_readme_lacks_is_said(entries):
    with pytest.raises(BenchError, match="once"):
        readme.updated("no marks\n", entries)
    with pytest.raises(BenchError, match="no embedded in"):
        readme.updated(MARKED, {name: entry for name, entry in entries.items() if name != "embedded"})
