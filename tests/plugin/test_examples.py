"""The tests that README and docs/testing.md show, run as they stand there."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.house.sources import ROOT
from tests.support.pages import blocks

pytest_plugins = ("pytester",)

CONFTEST = "# conftest.py\n"


def examples(page: str) -> list[tuple[str, str]]:
    """The blocks that hold tests, each with the conftest.py that stands right before it, or an empty one."""
    texts = ["", *(block.text for block in blocks(page, "python"))]
    return [
        (before if before.startswith(CONFTEST) else "", text) for before, text in pairwise(texts) if "def test_" in text
    ]


EXAMPLES = {name: examples((ROOT / name).read_text()) for name in ("README.md", "docs/testing.md")}


def test_there_are_examples():
    assert {name: len(found) for name, found in EXAMPLES.items()} == {"README.md": 1, "docs/testing.md": 6}
    assert sum(bool(conftest) for conftest, _ in EXAMPLES["docs/testing.md"]) == 2


@pytest.mark.parametrize(("conftest", "text"), [example for found in EXAMPLES.values() for example in found])
def test_an_example_passes(suite, pytester, conftest, text):
    pytester.makeconftest(conftest)
    suite(text).assert_outcomes(passed=text.count("def test_"))


def test_the_ini_file_of_the_page_is_understood(suite):
    (block,) = blocks((ROOT / "docs/testing.md").read_text(), "ini")
    ini = block.text.removeprefix("[pytest]\n")
    result = suite(
        """
        def test_settings(cachecore_server):
            settings = cachecore_server.server.settings
            assert (settings.memory_limit, settings.threads, settings.max_item_size) == (16, 1, 2 << 20)
            assert cachecore_server.users == (("user", "password"),)
        """,
        ini=ini,
    )
    result.assert_outcomes(passed=1)
