"""All tables of requests and replies together, for the tests that go over every row."""

from __future__ import annotations

from dataclasses import replace

from tests.protocol import (
    test_admin_effects,
    test_admin_errors,
    test_changes,
    test_dump,
    test_framing,
    test_limits,
    test_meta_get,
    test_meta_rest,
    test_meta_set,
    test_misc,
    test_numbers,
    test_retrieval,
    test_stats,
    test_storage,
)
from tests.support.cases import Case

MODULES = (
    test_framing,
    test_storage,
    test_retrieval,
    test_changes,
    test_numbers,
    test_misc,
    test_limits,
    test_meta_get,
    test_meta_set,
    test_meta_rest,
    test_stats,
    test_admin_effects,
    test_admin_errors,
    test_dump,
)

#: Every row, its name preceded by its table's.
ALL: list[Case] = [
    replace(row, name=f"{module.__name__.rsplit('.test_', 1)[1]}-{row.name}")
    for module in MODULES
    for row in module.CASES
]

#: Rows that depend on what is before them in their packet, or that memcached does not answer what is behind.
APART: list[Case] = test_dump.LISTS + test_dump.REFUSED
