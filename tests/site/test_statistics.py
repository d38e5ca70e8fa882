"""The page of statistics names what the server shows, in its order."""

from __future__ import annotations

import re

import pytest

from tests.house.sources import ROOT
from tests.support.compatibility import SECTIONS

PAGE = (ROOT / "docs" / "reference" / "statistics.md").read_text()


@pytest.mark.parametrize("name", ["general", "settings", "items", "slabs", "conns"])
def test_the_page_has_every_field(name):
    part = PAGE.partition(f"<!-- {name} -->\n")[2].partition(f"<!-- /{name} -->")[0]
    fields = [field.name for field in SECTIONS[name]]
    if name == "slabs":
        fields = fields[:-2]  # which are not of a class
    assert re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE) == fields
