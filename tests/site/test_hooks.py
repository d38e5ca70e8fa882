"""What the site's hooks make of links, and what they see in a site that was built."""

from __future__ import annotations

import importlib.util
import tomllib

import pytest

from tests.house.sources import ROOT


@pytest.fixture(scope="module")
def hooks():
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs" / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("page", "link", "shown"),
    [
        ("data-plane.md", "[cores](../docs/performance/scaling.md#a)", "[cores](performance/scaling.md#a)"),
        ("performance/bench.md", "[x](../docs/testing.md)", "[x](../testing.md)"),
        ("testing.md", "[home](../README.md)", "[home](index.md)"),
        ("how-it-works.md", "[rooms](../cachecore_ext/README.md)", "[rooms](data-plane.md)"),
        ("reliability.md", "[a model](../tests/support/model.py)", "a model (`tests/support/model.py`)"),
        ("compatibility.md", "[tests/protocol](../tests/protocol)", "`tests/protocol`"),
        ("howto/memory.md", "[x](nowhere.md)", "[x](nowhere.md)"),
        ("howto/memory.md", "[x](https://x.example/y.md)", "[x](https://x.example/y.md)"),
        ("howto/memory.md", "![x](../../LICENSE)", "![x](../../LICENSE)"),
    ],
)
def test_links_lead_to_the_pages(hooks, page, link, shown):
    assert hooks.relinked(link, page) == shown


def test_pages_from_elsewhere_are_there(hooks):
    assert all((ROOT / source).is_file() for source in hooks.ELSEWHERE.values())


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ('<a href="gone.html">x</a>', "index.html: gone.html is not there"),
        ('<a href="b.html#c">x</a>', "index.html: b.html#c has no such anchor"),
        ('<script src="https://x.example/y"></script>', "index.html: loads https://x.example/y from another host"),
        ('<link rel="stylesheet" href="//x.example/y.css">', "index.html: loads //x.example/y.css from another host"),
        ('<img src="gone.svg">', "index.html: gone.svg is not there"),
    ],
)
def test_a_site_that_is_wrong_is_seen(hooks, tmp_path, body, complaint):
    (tmp_path / "index.html").write_text(f'<a href="b.html#a">b</a>{body}')
    (tmp_path / "b.html").write_text('<p id="a">')
    assert list(hooks.complaints(tmp_path)) == [complaint]


def test_a_page_without_links_to_it_is_seen(hooks, tmp_path):
    (tmp_path / "index.html").write_text("")
    (tmp_path / "404.html").write_text("")
    (tmp_path / "b.html").write_text('<a href="index.html">x</a>')
    (tmp_path / "c.css").write_text("@import 'https://x.example/z.css'; a { background: url(d.svg) }")
    assert list(hooks.complaints(tmp_path)) == [
        "c.css: loads https://x.example/z.css from another host",
        "b.html: no link leads there",
    ]


def test_ci_builds_the_site():
    script = (ROOT / ".ci" / "run").read_text()
    assert "\nmkdocs build --strict" in script
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert any(needed.startswith("mkdocs>") for needed in project["optional-dependencies"]["docs"])
