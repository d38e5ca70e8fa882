"""Random streams to both peers, with fixed seeds; ``python -m tests.protocol.differential`` runs on with new ones."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.protocol.differential import Normaliser, batches, compare, opponent, shrink
from tests.protocol.generator import AVOIDED, BARRIER, Generator
from tests.support.differences import DIFFERENCES
from tests.support.peers import CACHECORE, MEMCACHED, Peer, running

STREAMS = 35  # per test: 35 * 60 commands


@pytest.fixture(scope="module")
def oracle() -> Iterator[Peer]:
    with opponent(MEMCACHED) as peer:
        yield peer


@pytest.fixture(scope="module")
def subject() -> Iterator[Peer]:
    with opponent(CACHECORE) as peer:
        yield peer


@pytest.mark.parametrize("part", range(10))
def test_same_replies(subject: Peer, oracle: Peer, part: int) -> None:
    for seed in range(part * STREAMS, (part + 1) * STREAMS):
        if mismatch := compare(subject, oracle, seed):
            pytest.fail(f"{CACHECORE} left, {MEMCACHED} right\n{mismatch}", pytrace=False)


def test_memcached_agrees_with_memcached(oracle: Peer) -> None:
    """What the generator sends has one right answer: two memcached give the same."""
    with opponent(MEMCACHED) as other:
        for seed in range(STREAMS):
            mismatch = compare(other, oracle, seed)
            assert mismatch is None, str(mismatch)


def test_a_difference_is_found_and_shrunk_memcached(oracle: Peer) -> None:
    """Two memcached that do differ: the comparison sees it, and shows few commands."""
    with running(MEMCACHED, extended="no_lru_maintainer,no_lru_crawler", disable_cas=True) as other:
        found = next(filter(None, (compare(other, oracle, seed) for seed in range(STREAMS))))
    assert len(found.commands) <= 8
    assert found.replies[0] != found.replies[1]
    assert f"seed {found.seed}" in str(found)


def test_generator_repeats_itself() -> None:
    assert Generator(7).stream(500) == Generator(7).stream(500)
    assert Generator(7).stream(500) != Generator(8).stream(500)


def test_generator_avoids_listed_differences() -> None:
    assert set(AVOIDED) <= set(DIFFERENCES)


def test_normaliser() -> None:
    normalise = Normaliser()
    reply = b"VALUE a 0 4 17\r\nc17\n\r\nEND\r\nHD c17 t999 l1\r\nVA 6 c18 k\r\nHD c17\r\n"
    reply += b"ME a exp=-1000 la=0 cas=18 cls=1\r\n"
    assert normalise(reply) == (
        b"VALUE a 0 4 cas#1\r\nc17\n\r\nEND\r\nHD c#1 t1000 lfew\r\nVA 6 c#2 k\r\nHD c17\r\n"
        b"ME a exp=1000 la=few cas=#2 cls\r\n"
    )


def test_shrinking() -> None:
    """What remains is what the failure needs, in its order."""
    commands = [b"%d" % n for n in range(60)]
    assert shrink(commands, lambda left: b"7" in left and b"41" in left) == [b"7", b"41"]


def test_batches() -> None:
    assert batches([b"a", BARRIER, BARRIER, b"b", b"c", BARRIER]) == [[b"a"], [b"b", b"c"]]
