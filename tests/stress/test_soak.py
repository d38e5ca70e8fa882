"""The soak's verdict, and a few seconds of it; continuous integration runs two minutes."""

from __future__ import annotations

import pytest

from tests.stress.soak import BOUND, ROUNDS, Sample, faults, soak


def rounds(per_round: int, descriptors: int = 17) -> list[Sample]:
    """Ten rounds of warm-up in which memory grows, and twenty behind it."""
    start = [Sample(second, second << 20, 17, second * 1000) for second in range(1, 11)]
    return start + [Sample(10 + n, (10 << 20) + n * per_round, descriptors, n * 1000) for n in range(1, 21)]


def test_what_stays_as_it_is_has_no_fault():
    assert faults(rounds(0), 10, 17) == []
    assert faults(rounds(BOUND // (20 - ROUNDS)), 10, 17) == []


def test_a_few_bytes_for_each_client_are_a_leak():
    assert faults(rounds(200_000), 10, 17) == ["3000000 bytes more, that is 157.9 for each of 19000 clients"]


def test_a_descriptor_too_many_is_a_leak():
    found = faults(rounds(0, descriptors=18), 10, 17)
    assert len(found) == 20
    assert found[0] == "18 descriptors instead of 17 after 11 s"


def test_too_short_is_no_proof():
    assert faults(rounds(0)[: 10 + 2 * ROUNDS - 1], 10, 17) == ["only 9 rounds behind the warm-up: too short to tell"]


@pytest.mark.timeout(120)
def test_a_soak():
    """Too short for a verdict about memory, but every reply is looked at and every descriptor counted."""
    said: list[str] = []
    found = soak(3, said.append)
    assert len(found) == 1
    assert "too short to tell" in found[0]
    assert said
