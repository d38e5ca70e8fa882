"""What does not run under the sanitizers is one test for each name, and one file."""

from __future__ import annotations

import re

import pytest

from tests.house.sources import ROOT
from tests.sanitize.__main__ import LEFT_OUT, MEASURED


def all_tests() -> list[str]:
    """``file::function`` of every test, as pytest's -k looks at them, but for parameters."""
    return [
        f"{path.relative_to(ROOT)}::{name}"
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
    ]


@pytest.mark.parametrize("name", MEASURED)
def test_a_name_leaves_out_one_test(name: str) -> None:
    assert sum(name in test for test in all_tests()) == 1


def test_the_file_is_there() -> None:
    assert (ROOT / LEFT_OUT).is_file()
