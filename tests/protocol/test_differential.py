"""Random streams to both peers, with fixed seeds; ``python -m tests.protocol.differential`` runs on with new ones."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.protocol.admin_generator import AVOIDED_ADMIN
from tests.protocol.auth_generator import AVOIDED_AUTH
from tests.protocol.differential import CONTESTS, Contest, batches, shrink
from tests.protocol.generator import AVOIDED, BARRIER, Generator
from tests.protocol.normaliser import Normaliser
from tests.support.differences import DIFFERENCES
from tests.support.peers import CACHECORE, MEMCACHED, Option

STREAMS = 35  # per test: 35 * 60 commands
PARTS = 5  # of the contest of the commands of every day
#: Not the strangers': how memcached reads a handshake depends on how its packets happen to arrive.
SUITE = [name for name in CONTESTS if name != "strangers"]


@pytest.fixture(scope="module", params=SUITE)
def contest(request: pytest.FixtureRequest) -> Iterator[Contest]:
    with CONTESTS[request.param]() as running:
        yield running


@pytest.mark.parametrize("part", range(PARTS))
def test_same_replies(contest: Contest, part: int) -> None:
    if part > 0 and type(contest) is not Contest:
        streams = range(STREAMS + part, STREAMS + part + 1)  # the rarer commands: a few more seeds
    else:
        streams = range(part * STREAMS, (part + 1) * STREAMS)
    for seed in streams:
        if mismatch := contest.compare(seed):
            pytest.fail(f"{CACHECORE} left, {MEMCACHED} right\n{mismatch}", pytrace=False)


@pytest.mark.parametrize("name", SUITE)
def test_memcached_agrees_with_memcached(name: str) -> None:
    """What the generators send has one right answer: two memcached give the same."""
    with CONTESTS[name](MEMCACHED, MEMCACHED) as contest:
        for seed in range(10):
            mismatch = contest.compare(seed)
            assert mismatch is None, str(mismatch)


class Unlike(Contest):
    """Two memcached that do differ."""

    def options(self, kind: str) -> dict[str, Option]:
        self.first = not getattr(self, "first", False)
        return {**super().options(kind), "disable_cas": self.first}


def test_a_difference_is_found_and_shrunk() -> None:
    """The comparison sees it, and shows few commands."""
    with Unlike(MEMCACHED, MEMCACHED) as contest:
        found = next(filter(None, (contest.compare(seed) for seed in range(STREAMS))))
    assert len(found.commands) <= 8
    assert found.replies[0] != found.replies[1]
    assert f"seed {found.seed}" in str(found)


def test_generator_repeats_itself() -> None:
    assert Generator(7).stream(500) == Generator(7).stream(500)
    assert Generator(7).stream(500) != Generator(8).stream(500)


def test_generator_avoids_listed_differences() -> None:
    assert set(AVOIDED) | set(AVOIDED_ADMIN) | set(AVOIDED_AUTH) <= set(DIFFERENCES)


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
