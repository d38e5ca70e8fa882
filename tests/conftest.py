"""Fixtures of every suite: servers to talk to."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the checkout, built in place

from cachecore.testing import plugin
from tests.support.peers import (
    CACHECORE,
    KINDS,
    MEMCACHED,
    Peer,
    check_version,
    running,
    running_cachecore,
    running_memcached,
)

Launch = Callable[..., Peer]


def pytest_configure(config: pytest.Config) -> None:
    """The plugin under test is there whether the checkout is installed or not."""
    if not config.pluginmanager.has_plugin("cachecore"):
        config.pluginmanager.register(plugin, "cachecore")


@pytest.fixture(scope="session")
def shared_cachecore() -> Iterator[Peer]:
    with running_cachecore() as peer:
        yield peer


@pytest.fixture(scope="session")
def shared_memcached() -> Iterator[Peer]:
    with running_memcached() as peer:
        check_version(peer)
        yield peer


@pytest.fixture(params=KINDS)
def peer(request: pytest.FixtureRequest) -> Peer:
    """Each server in turn, shared by the whole session; ``peer.fresh()`` empties it."""
    found: Peer = request.getfixturevalue(f"shared_{request.param}")
    return found


@pytest.fixture
def cachecore_peer(shared_cachecore: Peer) -> Peer:
    """cachecore only: for what memcached cannot do, such as moving its clock."""
    return shared_cachecore


@pytest.fixture
def memcached_peer(shared_memcached: Peer) -> Peer:
    return shared_memcached


@pytest.fixture(params=KINDS)
def launch(request: pytest.FixtureRequest) -> Iterator[Launch]:
    """Start a server of each kind with options of the test's own; it ends with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(running(request.param, **options))


@pytest.fixture
def launch_cachecore() -> Iterator[Launch]:
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(running(CACHECORE, **options))


@pytest.fixture
def launch_memcached() -> Iterator[Launch]:
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(running(MEMCACHED, **options))
