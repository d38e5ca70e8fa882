"""The pytest plugin: fixtures with a memcached in the test process. Until one is asked for, it costs this import.

``cachecore_server`` is what most tests want: a ``CacheServer`` without items, at the right time. It is that of the
whole session, unless the marker ``cachecore`` gives the test one of its own. ``cachecore_client`` is a pymemcache
client of it, ``cachecore_faults`` and ``cachecore_commands`` have it behind a proxy, so that replies can go wrong and
commands be looked at. ``cachecore_session`` is the server of the session, for applications that are set up once.
"""

from __future__ import annotations

import contextlib
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
    # [tool.pytest] has numbers: pytest knows a type for them since 8.4, and one for either since 9.2.
    version = pytest.version_tuple[:2]
    either: Any = int | str if version >= (9, 2) else "string"
    number: Any = "int" if (8, 4) <= version < (9, 2) else either
    parser.addini("cachecore_memory_limit", "megabytes of the test server", number, None)
    parser.addini("cachecore_threads", "worker threads of the test server", number, None)
    size = "largest item of the test server, bytes or with a suffix k or m"
    parser.addini("cachecore_max_item_size", size, either, None)
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
def cachecore_session(request: pytest.FixtureRequest) -> Iterator[CacheServer]:
    """The memcached of this process and session, with all that the tests have left in it; xdist has one per worker."""
    with _server(request, "the ini file", _configured(request)) as server:
        yield server


@pytest.fixture
def cachecore_server(request: pytest.FixtureRequest) -> Iterator[CacheServer]:
    """A memcached without items, at the right time, whose counters are at 0. ``address`` is where to find it."""
    marks = list(request.node.iter_markers("cachecore"))
    if any(mark.args for mark in marks):
        raise _failure(request, "the marker cachecore takes keywords only")
    options = _configured(request)
    if not marks and (options["proxy"] or _PROXIED.isdisjoint(request.fixturenames)):
        server: CacheServer = request.getfixturevalue("cachecore_session")
        server.reset()
        yield server
        return
    _warn_of_two(request, bool(marks))
    options["proxy"] |= not _PROXIED.isdisjoint(request.fixturenames)
    for mark in reversed(marks):  # the closest last
        options |= mark.kwargs
    with _server(request, "the marker cachecore" if marks else "the ini file", options) as server:
        yield server


@pytest.fixture
def cachecore_client(request: pytest.FixtureRequest, cachecore_server: CacheServer) -> Iterator[Any]:
    """A pymemcache client of ``cachecore_server``, which waits for every reply."""
    client = None
    with contextlib.suppress(ImportError):
        client = cachecore_server.pymemcache_client()
    if client is None:
        raise _failure(request, "cachecore_client needs pymemcache: pip install pymemcache")
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


def _configured(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The keywords of CacheServer that the ini file gives."""
    config = request.config
    options: dict[str, Any] = {}
    wrong = ""
    for name in ("proxy", "memory_limit", "threads", "max_item_size", "auth"):
        try:
            if (value := config.getini(f"cachecore_{name}")) not in (None, "", []):
                options[name] = value
        except (TypeError, ValueError, pytest.UsageError) as error:
            wrong = f"cachecore_{name}: {error}"
    if wrong:
        raise _failure(request, wrong)
    return options


def _server(request: pytest.FixtureRequest, owner: str, options: dict[str, Any]) -> CacheServer:
    """A server, not started, with the options of ``owner``. A wrong one fails the test with one line."""
    from cachecore.errors import SettingsError

    from .server import CacheServer, settings_of

    try:
        settings_of(owner, {name: value for name, value in options.items() if name not in ("proxy", "auth")})
        return CacheServer(**options)
    except (SettingsError, TypeError, ValueError) as error:
        wrong = str(error)
    raise _failure(request, wrong)


def _failure(request: pytest.FixtureRequest, text: str) -> BaseException:
    """A failure of one line, which says where; to be raised outside of ``except``, else pytest shows that one, too."""
    path, line, _ = getattr(request.node, "location", (request.config.inipath, None, ""))
    where = f"{path}: " if line is None else f"{path}:{line + 1}: "
    return pytest.fail.Exception(f"{where if path else ''}cachecore: {text}", pytrace=False)


def _warn_of_two(request: pytest.FixtureRequest, marked: bool) -> None:
    """A test with faults and a server of its own whose application uses the session's: they would never meet."""
    if "cachecore_session" not in request.fixturenames or _PROXIED.isdisjoint(request.fixturenames):
        return
    text = "this test's faults and commands are those of a server of its own, but it uses cachecore_session, too"
    if not marked:
        raise _failure(request, f"{text}: set cachecore_proxy = true in the ini file, and they are one")
    text += ": without the marker, and with cachecore_proxy = true, they are one"
    request.node.warn(pytest.PytestWarning(text))
