"""Memory that runs out at every so many of the places where it can; ``python -m tests.stress.failpoints`` takes all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.stress import failpoints as driver
from tests.support.failing import Failpoints, failpoints, running_failing


@pytest.fixture(scope="module")
def points() -> Iterator[Failpoints]:
    with failpoints() as found:
        yield found


def test_at_the_start_it_is_said_and_nothing_is_left(points):
    said = list(driver.starting(points, step=3))
    assert len(said) >= 13
    assert any("failed to start the engine" in text for text in said)


def test_a_file_is_gone_on_with_or_not(points, tmp_path):
    said = list(driver.going_on(points, tmp_path, step=5))
    assert any("failed to start the engine" in text for text in said)


@pytest.mark.parametrize(("row", "step"), [(1, 11), (8, 23)])
def test_while_it_serves_who_is_struck_is_told_and_nothing_is_left(points, row, step):
    runs = list(driver.serving(points, row, step=step))
    assert len(runs) >= 100 // step
    assert any(gone for _, gone in runs)


@pytest.mark.parametrize("line", driver.LISTS)
def test_python_answers_the_next_one(points, line):
    few = line in (b"stats conns", b"stats sizes", b"stats cachedump 5 0", b"stats detail dump")
    assert any(driver.answering(points, line, step=3 if few else 151))


def test_users_are_read_again(points, tmp_path):
    assert len(list(driver.reloading(points, tmp_path, step=3))) >= 10


def test_a_block_too_many_is_found(points, monkeypatch):
    monkeypatch.setattr(driver, "PATIENCE", 0.3)
    with running_failing(points, *driver.WORDS) as daemon, driver.Checker(daemon) as checker:
        blocks = checker.settle()
        with pytest.raises(driver.FaultError, match="left behind"):
            checker.settle(blocks - 1)
        with driver.Client(daemon.address), pytest.raises(driver.FaultError, match="'curr_connections': 2"):
            checker.settle(blocks)
