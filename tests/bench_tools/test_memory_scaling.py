"""The chapters on memory and on threads: what of them needs no server and no clock."""

from __future__ import annotations

from itertools import islice

import pytest

from bench import memory, scaling


def test_sizes_are_the_same_every_time_and_within_their_bounds():
    first, again = (list(islice(memory.mixed_sizes(0.99), 20_000)) for _ in range(2))
    assert first == again
    assert min(first) == memory.SMALLEST
    assert memory.LARGEST * 0.99 < max(first) <= memory.LARGEST


@pytest.mark.parametrize("exponent", [0.99, 1.5])
def test_sizes_have_the_mean_that_is_told(exponent):
    sizes = list(islice(memory.mixed_sizes(exponent), 50_000))
    assert sum(sizes) / len(sizes) == pytest.approx(memory.mean_size(exponent), rel=0.05)


def test_the_ratio_is_ours_over_theirs():
    figures = {"cachecore": {"resident": 80, "empty": 20}, "memcached": {"resident": 100, "empty": 0}}
    assert memory.mixed_ratio({"servers": figures}, "resident") == 0.8
    assert memory.mixed_ratio({"servers": figures}, "with the empty server") == 1
    del figures["memcached"]
    assert memory.mixed_ratio({"servers": figures}, "resident") is None


def test_memory_s_chapter_names_its_command():
    servers = {name: {"resident": 1.0, "private": 1.0, "empty": 1.0} for name in memory.SERVERS}
    mixed = {"exponent": 1.0, "items": 1, "mean": 30.0, "content": 42, "servers": servers}
    connections = {"number": 10, "servers": {name: {"nothing": {"resident": 91.0}} for name in memory.SERVERS}}
    text = memory.markdown(
        {
            "command": "python -m bench.memory",
            "threads": 4,
            "items": 1,
            "key": 12,
            "beyond": {"32": servers},
            "mixed": [mixed],
            "connections": connections,
        }
    )
    assert text.startswith("## ")
    assert "`python -m bench.memory`" in text
    assert "| nothing | 91 | 91 |" in text


def test_a_line_that_nobody_waits_for_slows_nobody_down():
    assert scaling.closed_rate(1, 300, 1, 50) == pytest.approx(1 / 350)
    assert scaling.closed_rate(64, 300, 0, 50) == pytest.approx(64 / 300)


def test_many_threads_get_no_more_from_a_line_than_it_gives():
    rates = [scaling.closed_rate(threads, 300, 1, 50) for threads in (1, 4, 16, 64)]
    assert rates == sorted(rates)
    assert 0.95 / 50 < rates[-1] <= 1 / 50


@pytest.mark.parametrize("kind", scaling.DRAWS)
def test_drawn_keys_are_among_those_that_there_are(kind):
    numbers = scaling.drawn(kind, 3)
    assert max(numbers) < scaling.KEYS
    popular = numbers.count(0) / len(numbers)
    assert {"uniform": popular < 0.001, "zipf": 0.07 < popular < 0.09, "hot": popular == 1}[kind]


def test_the_chapter_on_threads_tells_of_what_it_measured():
    rates = [
        {"mode": mode, "draw": kind, "threads": threads, "rate": threads * 1e7, "free": threads * 2e7}
        for mode in scaling.MODES
        for kind in scaling.DRAWS
        for threads in scaling.THREADS
    ]
    lines = {"transfer": 50.0, "add": 20.0, "own": 2.0}
    result = {"command": "python -m bench.scaling", "keys": 1, "value": 32, "skew": 1, "operations": 1, "rounds": 1}
    text = scaling.markdown(result | {"lines": lines, "rates": rates, "foreseen": scaling.foresee(lines, rates)})
    assert text.startswith("## ")
    assert "`python -m bench.scaling`" in text
    assert "| get | hot | 2 | 20.0 | 2.00 | 40.0 | 0.50 |" in text
