"""What docs/security.md says is held by a test: each that it names is there."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.house.sources import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text()


def named(text: str) -> set[str]:
    """The tests that a page names, as pytest does."""
    return set(re.findall(r"`(tests/[\w/]+\.py::[^`]+)`", text))


def missing(tests: set[str]) -> set[str]:
    """Those that pytest does not find; a test of many rows is found by its name alone, too."""
    files = sorted({test.partition("::")[0] for test in tests})
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = set(listed.stdout.splitlines())
    return tests - found - {test.partition("[")[0] for test in found}


def test_the_tests_that_the_page_names_are_there():
    assert len(named(PAGE)) > 40
    assert missing(named(PAGE)) == set()


def test_every_past_fault_has_its_test():
    table = PAGE.split("<!-- past -->")[1].split("<!-- /past -->")[0].strip().splitlines()[2:]
    assert len(table) > 25
    assert [row for row in table if len(named(row)) != 1] == []


def test_a_test_that_is_not_there_is_seen():
    tests = named("`tests/house/test_security.py::test_nothing` `tests/house/test_security.py::named`")
    assert len(tests) == 2
    assert missing(tests) == tests
