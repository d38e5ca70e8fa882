"""Clusters of three nodes, of memcached and of cachecore, for the clients to talk to.

``peer`` is one node, ``nodes`` are three; all are empty when a test begins. ``ticking`` is a node whose clock
stands still until the test moves it: only cachecore has such a clock, so that no test of expiry ever sleeps.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.support.peers import KINDS, Peer, running, running_cachecore


@pytest.fixture(scope="session", params=KINDS)
def cluster(request: pytest.FixtureRequest) -> Iterator[list[Peer]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(running(request.param)) for _ in range(3)]


@pytest.fixture
def nodes(cluster: list[Peer]) -> list[Peer]:
    for node in cluster:
        with node.connect() as connection:
            connection.ask(b"flush_all\r\n", b"OK\r\n")
    return cluster


@pytest.fixture
def peer(nodes: list[Peer]) -> Peer:
    return nodes[0]


@pytest.fixture
def ticking() -> Iterator[Peer]:
    with running_cachecore() as node:
        node.fresh().close()
        yield node
