"""Whose fault a slow answer was: the server's, or that of a machine that stood still.

An *episode* is a stretch of time in which requests that took over a millisecond follow one another without a gap. While
the machine stands still requests pile up, and those behind them wait longer, too; so an episode is judged as a whole:
from its longest latency is taken off how long the machine stood still between the episode's beginning and the end of
that request. What is left is the server's *own* part. It errs on the server's side by at most the shortest time that
counts as standing still, for each of the machine's stalls.

All times are in ns on one clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

Stretch = tuple[int, int]
#: A stretch of slow requests: first, last, longest latency, when that request ended, how many.
Slow = tuple[int, int, int, int, int]


@dataclass(frozen=True)
class Episode:
    """Slow requests that follow one another, and whose fault the longest was."""

    first: int
    last: int
    longest: int
    still: int  # how long the machine stood still before the longest request ended
    requests: int

    @property
    def own(self) -> int:
        """What is left for the server to answer for."""
        return max(0, self.longest - self.still)


def unite(stretches: Iterable[Stretch]) -> list[Stretch]:
    """The same time in stretches that neither touch nor overlap, in order."""
    united: list[Stretch] = []
    for first, last in sorted(stretches):
        if united and first <= united[-1][1]:
            united[-1] = (united[-1][0], max(united[-1][1], last))
        else:
            united.append((first, last))
    return united


def overlap(united: Iterable[Stretch], first: int, last: int) -> int:
    """How much of the time from ``first`` to ``last`` lies in the stretches."""
    return sum(max(0, min(last, end) - max(first, begin)) for begin, end in united)


def merge(slow: Iterable[Slow]) -> list[Slow]:
    """Stretches of slow requests that overlap as one each."""
    merged: list[Slow] = []
    for one in sorted(slow):
        if not merged or one[0] > merged[-1][1]:
            merged.append(one)
            continue
        before = merged[-1]
        longest, done = max(before[2:4], one[2:4])
        merged[-1] = (before[0], max(before[1], one[1]), longest, done, before[4] + one[4])
    return merged


def judge(slow: Iterable[Slow], still: Iterable[Stretch]) -> list[Episode]:
    """The episodes of a run in which the machine stood still in the stretches ``still``."""
    united = unite(still)
    return [
        Episode(first, last, longest, overlap(united, first, done), requests)
        for first, last, longest, done, requests in merge(slow)
    ]
