"""The list of differences between the peers is complete and in use."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.protocol import test_auth
from tests.protocol.tables import ALL, APART
from tests.support.differences import DIFFERENCES

#: Also the rows that need a server of their own.
ROWS = [*ALL, *APART, *test_auth.CASES]

HERE = Path(__file__).parent


@pytest.mark.parametrize("name", DIFFERENCES)
def test_every_difference_is_used(name: str) -> None:
    in_tables = any(row.differs == name for row in ROWS)
    in_code = any(f'answer(peer, "{name}"' in source.read_text() for source in HERE.glob("test_*.py"))
    in_generator = f'"{name}"' in (HERE / "differential.py").read_text()
    assert in_tables or in_code or in_generator, f"{name} is listed in differences.py but no test shows it"


def test_every_difference_has_its_reason() -> None:
    for name, difference in DIFFERENCES.items():
        assert difference.peer in ("memcached", "cachecore"), name
        assert 10 < len(difference.reason) <= 90, name
        assert "\n" not in difference.reason, name


def test_differing_rows_differ() -> None:
    """A row that names a difference must give two different replies."""
    same = [row.name for row in ROWS if row.differs and row.reply == row.memcached]
    assert not same
