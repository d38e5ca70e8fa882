"""The tests that README and docs/testing.md show, run as they stand there."""

from __future__ import annotations

import re

import pytest

from tests.house.sources import ROOT

pytest_plugins = ("pytester",)

EXAMPLES = [
    (name, text)
    for name in ("README.md", "docs/testing.md")
    for text in re.findall(r"^```python\n(.*?)^```$", (ROOT / name).read_text(), re.MULTILINE | re.DOTALL)
    if "def test_" in text
]


def test_there_are_examples():
    assert [name for name, _ in EXAMPLES] == ["README.md", *["docs/testing.md"] * 4]


@pytest.mark.parametrize("text", [text for _, text in EXAMPLES])
def test_an_example_passes(suite, text):
    suite(text).assert_outcomes(passed=text.count("def test_"))


def test_the_ini_file_of_the_page_is_understood(suite):
    (ini,) = re.findall(r"^```ini\n\[pytest\]\n(.*?)^```$", (ROOT / "docs/testing.md").read_text(), re.M | re.DOTALL)
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
