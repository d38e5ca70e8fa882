"""Django: views and values that are cached, and the two session engines that use the cache."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.conf import settings
from django.core.cache import cache, close_caches
from django.test import Client, override_settings
from django.test.utils import setup_databases, setup_test_environment, teardown_databases, teardown_test_environment

from cachecore.testing import CacheServer
from examples import django_site


@pytest.fixture(scope="module", autouse=True)
def project() -> Iterator[None]:
    """What Django's test runner does: no mail, and a database in memory."""
    setup_test_environment(debug=False)
    databases = setup_databases(verbosity=0, interactive=False)
    yield
    teardown_databases(databases, verbosity=0)
    teardown_test_environment()


@pytest.fixture(autouse=True)
def caches(server: CacheServer) -> Iterator[None]:
    """The project's settings, but for the address, and for patience with a busy machine."""
    project = settings.CACHES["default"]
    options = {**project["OPTIONS"], "timeout": 10, "connect_timeout": 10}
    with override_settings(CACHES={"default": {**project, "LOCATION": server.location, "OPTIONS": options}}):
        yield


@pytest.fixture
def orders(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    fresh = {"monday": 3, "tuesday": 5}
    monkeypatch.setattr(django_site, "ORDERS", fresh)
    return fresh


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture(params=["cache", "cached_db"])
def engine(request: pytest.FixtureRequest) -> Iterator[str]:
    with override_settings(SESSION_ENGINE=f"django.contrib.sessions.backends.{request.param}"):
        yield request.param


def test_a_page_is_rendered_once_a_minute(client, orders, server):
    assert client.get("/").content == b"<h1>8 orders</h1>"
    orders["monday"] = 4
    server.clock.advance(59)
    again = client.get("/")
    assert again.content == b"<h1>8 orders</h1>"
    assert again["Cache-Control"] == "max-age=60"
    assert client.get("/?page=2").content == b"<h1>9 orders</h1>", "another URL"
    server.clock.advance(1)
    assert client.get("/").content == b"<h1>9 orders</h1>"


def test_a_value_is_computed_once_until_it_changes(client, orders, server):
    assert client.get("/report/monday").json()["orders"] == 3
    assert server.items()[b"site:1:report:monday"].ttl == 600
    orders["monday"] = 10  # past the site: the cache does not know
    assert client.get("/report/monday").json()["orders"] == 3
    assert client.post("/order/monday").status_code == 204
    assert client.get("/report/monday").json()["orders"] == 11
    orders["monday"] = 20
    server.clock.advance(600)
    assert client.get("/report/monday").json()["orders"] == 20


def test_no_request_is_lost_in_counting(server):
    """Four threads, each with a connection of its own, as Django has it."""

    def count() -> list[int]:
        visitor = Client()
        return [visitor.get("/counter").json()["requests"] for _ in range(10)]

    with ThreadPoolExecutor(4) as threads:
        counted = [number for run in [threads.submit(count) for _ in range(4)] for number in run.result(30)]
    assert sorted(counted) == list(range(1, 41))
    assert server.items()[b"site:1:requests"].ttl is None


@pytest.mark.usefixtures("engine")
def test_a_visitor_is_known_to_every_worker(client):
    assert [client.get("/visits").json()["visits"] for _ in range(2)] == [1, 2]
    close_caches()
    worker = Client()
    worker.cookies = client.cookies
    assert worker.get("/visits").json()["visits"] == 3
    assert Client().get("/visits").json()["visits"] == 1


def test_flush_all_logs_out_whom_only_the_cache_knows(engine, client, server):
    client.get("/visits")
    assert any(key.startswith(f"site:1:django.contrib.sessions.{engine}".encode()) for key in server.items())
    server.flush()
    assert client.get("/visits").json()["visits"] == {"cache": 1, "cached_db": 2}[engine]


def test_two_weeks_without_a_visit_end_a_session_in_the_cache(client, server):
    with override_settings(SESSION_ENGINE="django.contrib.sessions.backends.cache"):
        visitor = Client()
        visitor.get("/visits")
        server.clock.advance(14 * 24 * 3600 - 1)
        assert visitor.get("/visits").json()["visits"] == 2
        server.clock.advance(14 * 24 * 3600)
        assert visitor.get("/visits").json()["visits"] == 1


def test_without_the_cache_the_site_is_there(client, orders, cachecore_faults):
    assert client.get("/visits").json()["visits"] == 1
    assert client.get("/").status_code == 200
    with cachecore_faults.refuse():
        orders["monday"] = 4
        assert client.get("/").content == b"<h1>9 orders</h1>"
        assert client.get("/report/monday").json()["orders"] == 4
        assert client.get("/counter").json()["requests"] is None
        assert client.get("/visits").json()["visits"] == 2, "from the database"


def test_values_of_every_kind_come_back(server):
    values = {"text": "grüße", "number": 7, "nothing": None, "list": [1, {"a": (2,)}], "bytes": b"\0\r\n"}
    assert cache.set_many(values, timeout=60) == []
    assert cache.get_many(values) == values
    assert cache.touch("text", 600)
    server.clock.advance(60)
    assert cache.get_many(values) == {"text": "grüße"}
    assert cache.get("nothing", "gone") == "gone"
    cache.clear()
    assert server.items() == {}
