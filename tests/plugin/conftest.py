"""Servers as users of ``cachecore.testing`` have them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from cachecore.testing import CacheServer
from tests.house.sources import ROOT

Suite = Callable[..., pytest.RunResult]


@pytest.fixture
def direct() -> Iterator[CacheServer]:
    with CacheServer() as server:
        server.clock.freeze()
        yield server


@pytest.fixture
def proxied() -> Iterator[CacheServer]:
    with CacheServer(proxy=True) as server:
        server.clock.freeze()
        yield server


#: What a test with the plugin needs on its command line; whether it is installed in this environment, too, is all one.
WITH_PLUGIN = ("-p", "cachecore.testing.plugin", "-p", "no:cacheprovider", "-W", "error")


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Suite:
    """Run tests with the plugin and no other, in a process of its own."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def run(source: str, *arguments: str, ini: str = "") -> pytest.RunResult:
        pytester.makepyfile(source)
        pytester.makeini(f"[pytest]\naddopts = --strict-markers --strict-config\n{ini}")
        return pytester.runpytest_subprocess(*WITH_PLUGIN, *arguments, timeout=60)

    return run
