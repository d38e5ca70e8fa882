"""The clock, whole seconds as every item's times are kept."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachecore_ext.probe import Clock

START = 62
MONTH = 30 * 24 * 60 * 60


@pytest.fixture
def clock():
    standing = Clock()
    standing.freeze()
    return standing


def test_it_starts_where_memcached_starts():
    clock = Clock()
    assert START <= clock.now() <= START + 1
    assert abs(clock.started + clock.now() - time.time()) < 3


def test_it_moves_and_moves_back(clock):
    before = clock.now()
    clock.advance(100)
    assert clock.now() == before + 100
    clock.advance(-150)
    assert clock.now() == before - 50


def test_it_never_shows_a_tick_that_has_a_meaning(clock):
    clock.advance(-1_000_000)
    assert clock.now() == 2


def test_it_goes_on_after_a_freeze(clock):
    clock.advance(10)
    frozen = clock.now()
    clock.resume()
    assert frozen <= clock.now() <= frozen + 2


def test_moved_from_many_threads_it_loses_nothing(clock):
    before = clock.now()

    def move():
        for _ in range(10_000):
            clock.advance(3)
            clock.advance(-2)

    threads = [threading.Thread(target=move) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.now() == before + 40_000


@pytest.mark.parametrize(
    ("exptime", "tick"),
    [(0, 0), (-1, 1), (-(2**31), 1), (1, 1001), (MONTH, 1000 + MONTH)],
)
def test_relative_exptimes(clock, exptime, tick):
    assert clock.expiry(1000, exptime) == tick


def test_beyond_a_month_it_is_a_unix_time(clock):
    assert clock.expiry(1000, MONTH + 1) == 1, "1970: long expired"
    assert clock.expiry(1000, clock.started + 5000) == 5000
    assert clock.expiry(1000, clock.started) == 1
    assert clock.expiry(1000, clock.started + 1) == 1
    assert clock.expiry(1000, clock.started + 2) == 2


@given(now=st.integers(2, 2**31), exptime=st.integers(-(2**31), 2**31 - 1))
def test_only_zero_means_never(now, exptime):
    tick = Clock().expiry(now, exptime)
    assert (tick == 0) == (exptime == 0)
    if 0 < exptime <= MONTH:
        assert tick == now + exptime
