"""The pytest plugin: fixtures with a memcached in the test process. Until one is asked for, it costs this import.

``cachecore_server`` is what most tests want: a ``CacheServer`` without items, at the right time. It is that of the
whole session, unless the marker ``cachecore`` gives the test one of its own. ``cachecore_client`` is a pymemcache
client of it, ``cachecore_faults`` and ``cachecore_commands`` have it behind a proxy, so that replies can go wrong and
commands be looked at. ``cachecore_session`` is the server of the session, for applications that are set up once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .commands import Commands
    from .faults import Faults
    from .server import CacheServer

_PROXIED = {"cachecore_faults", "cachecore_commands"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the ini file, for the server of the session and where a marker says nothing else."""
    parser.addini("cachecore_memory_limit", "megabytes of the test server")
    parser.addini("cachecore_threads", "worker threads of the test server")
    parser.addini("cachecore_max_item_size", "largest item of the test server, bytes or with a suffix k or m")
    parser.addini("cachecore_auth", "who may use the test server: lines user:password", type="linelist")
    parser.addini("cachecore_proxy", "put the session's server behind the proxy of faults", type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """The marker."""
    config.addinivalue_line(
        "markers",
        "cachecore(memory_limit=..., threads=..., max_item_size=..., auth=..., proxy=..., **options): give the test a"
        " memcached of its own, set up with these options of cachecore.Server",
    )


@pytest.fixture(scope="session")
def cachecore_session(pytestconfig: pytest.Config) -> Iterator[CacheServer]:
    """The memcached of this process and session, with all that the tests have left in it; xdist has one per worker."""
    with _server(_configured(pytestconfig)) as server:
        yield server


@pytest.fixture
def cachecore_server(request: pytest.FixtureRequest) -> Iterator[CacheServer]:
    """A memcached without items, at the right time, whose counters are at 0. ``address`` is where to find it."""
    marks = list(request.node.iter_markers("cachecore"))
    if any(mark.args for mark in marks):
        pytest.fail("the marker cachecore takes keywords only", pytrace=False)
    options = _configured(request.config)
    if not marks and (options["proxy"] or _PROXIED.isdisjoint(request.fixturenames)):
        server: CacheServer = request.getfixturevalue("cachecore_session")
        server.reset()
        yield server
        return
    options["proxy"] |= not _PROXIED.isdisjoint(request.fixturenames)
    for mark in reversed(marks):  # the closest last
        options |= mark.kwargs
    with _server(options) as server:
        yield server


@pytest.fixture
def cachecore_client(cachecore_server: CacheServer) -> Iterator[Any]:
    """A pymemcache client of ``cachecore_server``, which waits for every reply."""
    try:
        client = cachecore_server.pymemcache_client()
    except ImportError:
        pytest.fail("cachecore_client needs pymemcache: pip install pymemcache", pytrace=False)
    yield client
    client.close()


@pytest.fixture
def cachecore_faults(cachecore_server: CacheServer) -> Faults:
    """What can go wrong between the code under test and ``cachecore_server``, as context managers."""
    return cachecore_server.faults


@pytest.fixture
def cachecore_commands(cachecore_server: CacheServer) -> Commands:
    """The commands that ``cachecore_server`` receives in this test."""
    return cachecore_server.commands


def _configured(config: pytest.Config) -> dict[str, Any]:
    """The keywords of CacheServer that the ini file gives."""
    options: dict[str, Any] = {"proxy": config.getini("cachecore_proxy")}
    for name in ("memory_limit", "threads", "max_item_size"):
        if value := config.getini(f"cachecore_{name}"):
            options[name] = value
    if users := config.getini("cachecore_auth"):
        options["auth"] = [tuple(line.split(":", 1)) for line in users]
    return options


def _server(options: dict[str, Any]) -> CacheServer:
    """A server, not started. A wrong option fails the test with one line."""
    from cachecore.errors import SettingsError

    from .server import CacheServer

    try:
        return CacheServer(**options)
    except (SettingsError, TypeError, ValueError) as error:
        pytest.fail(f"cachecore: {error}", pytrace=False)
