"""A server of each kind for every test, and a way to run a program against it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from tests.conftest import Launch
from tests.support.peers import CACHECORE, Peer

#: Tools wait forever for a reply that does not come.
TIMEOUT = 30

Run = Callable[..., str]


@pytest.fixture
def node(request: pytest.FixtureRequest, launch: Launch) -> Peer:
    """An empty server. memcached lists the keys of a class at once only with a single list a class."""
    kind = request.node.callspec.params["launch"]
    return launch() if kind == CACHECORE else launch(extended="no_lru_maintainer")


@pytest.fixture
def counting(request: pytest.FixtureRequest, launch: Launch) -> Peer:
    """An empty server that was told to count sizes."""
    kind = request.node.callspec.params["launch"]
    return launch(track_sizes=True) if kind == CACHECORE else launch(extended="track_sizes")


@pytest.fixture
def run() -> Run:
    """Run a program and return what it prints. It must end, and with the status that the test expects."""

    def run(*command: str, status: int = 0) -> str:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT, check=False)
        output = done.stdout.decode()  # with its line ends as they are
        said = f"{' '.join(command)} ended with {done.returncode}\n{output}{done.stderr.decode()}"
        assert done.returncode == status, said
        return output

    return run
