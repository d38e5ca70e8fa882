"""Words that many threads write are on lines of their own: no thread waits for a word that it does not use."""

from __future__ import annotations

import itertools

import pytest

from cachecore_ext.probe import layout

LINE = 64


def lines(span: tuple[int, int]) -> set[int]:
    first, end = span
    return set(range(first // LINE, (end - 1) // LINE + 1))


WORDS = layout.store_words()


@pytest.mark.parametrize("written", [name for name in WORDS if not name.startswith("read")])
def test_what_an_operation_writes_shares_its_line_with_nothing_else(written):
    for other, span in WORDS.items():
        assert other == written or not lines(span) & lines(WORDS[written]), other


def test_what_connections_write_that_come_and_go_is_apart_wherever_it_lies():
    spans = sorted(layout.shared_words().values())
    for (_, end), (begin, _) in itertools.pairwise(spans):
        assert begin - end >= LINE


@pytest.mark.parametrize("name", ["counters", "log", "hub", "buffers", "connection", "bucket"])
def test_neighbours_of_different_threads_have_whole_lines(name):
    assert layout.sizes()[name] % LINE == 0
