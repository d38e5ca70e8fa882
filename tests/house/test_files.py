"""Files: none too long, no notes to self, no trailing blanks, directives in one place."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.house.sources import ROOT, cython_files, text_files

LONGEST = 800
WIDEST = 120
NOTES = re.compile(r"\b(TO[D]O|FIX[M]E|X[X]X)\b")


def complaints(text: str) -> Iterator[str]:
    lines = text.split("\n")
    if len(lines) - 1 > LONGEST:
        yield f"{len(lines) - 1} lines: look for the second room inside"
    if "\n\n\n\n" in text:
        yield "more than two blank lines in a row"
    if text and (not text.endswith("\n") or text.endswith("\n\n")):
        yield "does not end with one line end"
    for number, line in enumerate(lines, 1):
        if line != line.rstrip():
            yield f"{number}: trailing blank"
        if "\t" in line:
            yield f"{number}: tab"
        if NOTES.search(line):
            yield f"{number}: a note to self"


def wide_lines(text: str) -> list[int]:
    """ruff sees to it in Python's sources."""
    return [number for number, line in enumerate(text.split("\n"), 1) if len(line) > WIDEST]


def own_directives(text: str) -> list[str]:
    """Directives in a source do not reach the inline functions that it cimports; setup.py's table does."""
    return re.findall(r"^#\s*(?:cython|distutils)\s*:.*", text, re.MULTILINE)


@pytest.mark.parametrize("path", list(text_files()), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_are_tidy(path):
    assert list(complaints(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("path", cython_files(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_lines_are_not_too_long(path):
    assert wide_lines(path.read_text()) == []


@pytest.mark.parametrize("path", cython_files(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_directives_stand_in_setup_py(path):
    assert own_directives(path.read_text()) == []


def test_the_files_are_found():
    found = {path.relative_to(ROOT).as_posix() for path in text_files()}
    assert found >= {
        "README.md",
        "LICENSE",
        "setup.py",
        ".ci/run",
        "cachecore_ext/engine.pyi",
        "tests/house/sources.py",
    }
    assert not [name for name in found if name.endswith((".c", ".so", ".html"))]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("x\n" * (LONGEST + 1), "lines"),
        ("x = 1 \n", "trailing"),
        ("x = 1\t# y\n", "tab"),
        ("# TO{}: later\n".format("DO"), "note"),
        ("x = 1", "line end"),
        ("x = 1\n\n", "line end"),
        ("x = 1\n\n\n\ny = 1\n", "blank lines"),
    ],
)
def test_an_untidy_file_is_seen(text, complaint):
    (found,) = complaints(text)
    assert complaint in found


def test_a_tidy_file_is_tidy():
    assert list(complaints("x\n" * LONGEST)) == []
    assert list(complaints("")) == []


def test_a_wide_line_is_seen():
    assert wide_lines("x" * WIDEST + "\n" + "x" * (WIDEST + 1)) == [2]


def test_a_directive_in_a_source_is_seen():
    assert own_directives("# cython: boundscheck=True\nx = 1\n") == ["# cython: boundscheck=True"]
    assert own_directives("# about cython: nothing\n") == []
