"""Flask-Caching: what is cached is computed once, until its time is over or it is invalidated."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient

from cachecore.testing import CacheServer
from examples import flask_pages
from tests.examples.conftest import patient


@pytest.fixture
def catalogue(monkeypatch: pytest.MonkeyPatch) -> flask_pages.Catalogue:
    fresh = flask_pages.Catalogue()
    monkeypatch.setattr(flask_pages, "catalogue", fresh)
    return fresh


@pytest.fixture
def client(server: CacheServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[FlaskClient]:
    monkeypatch.setattr("cachelib.memcached.time", lambda: server.clock.now)
    app = flask_pages.create_app(server.location)
    pool = patient(app.config["CACHE_MEMCACHED_SERVERS"])
    yield app.test_client()
    pool.close()


def test_a_page_is_rendered_once_a_minute(client, catalogue, server):
    first = client.get("/")
    assert "tea: 4" in first.text
    server.clock.advance(59)
    assert client.get("/").text == first.text
    assert catalogue.queries == 1
    server.clock.advance(1)
    client.get("/")
    assert catalogue.queries == 2
    client.get("/")
    assert catalogue.queries == 2


def test_a_response_for_each_query_string(client, catalogue, server):
    assert set(client.get("/api/products").json) == {"tea", "coffee", "bread"}
    assert client.get("/api/products?category=drinks&below=5").json == {"tea": {"category": "drinks", "price": 4}}
    assert catalogue.queries == 2
    assert set(client.get("/api/products?below=5&category=drinks").json) == {"tea"}
    assert catalogue.queries == 2
    assert all(key.startswith(b"shop:") for key in server.items())


def test_a_new_price_is_seen_where_it_was_cached(client, catalogue):
    assert client.get("/api/categories/drinks").json["average"] == 5.5
    assert client.get("/api/categories/food").json["average"] == 3
    assert client.get("/api/categories/drinks").json["average"] == 5.5
    client.get("/")
    assert catalogue.queries == 3
    assert client.put("/api/products/tea/price", json={"price": 9}).status_code == 204
    assert client.get("/api/categories/drinks").json["average"] == 8
    assert "tea: 9" in client.get("/").text
    assert catalogue.queries == 5
    assert client.get("/api/categories/food").json["average"] == 3
    assert catalogue.queries == 5, "of another category nothing was forgotten"
    assert client.put("/api/products/wine/price", json={"price": 9}).status_code == 404


def test_two_workers_share_the_cache(client, catalogue, server):
    client.get("/")
    other = flask_pages.create_app(server.location)
    pool = patient(other.config["CACHE_MEMCACHED_SERVERS"])
    other.test_client().get("/")
    pool.close()
    assert catalogue.queries == 1


def test_without_the_cache_the_shop_is_open(client, catalogue, cachecore_faults):
    client.get("/")
    with cachecore_faults.refuse():
        assert "tea: 4" in client.get("/").text
        assert client.get("/api/categories/food").json["average"] == 3
        assert catalogue.queries == 3
    assert "tea: 4" in client.get("/").text
    assert catalogue.queries == 3, "what was cached before is there again"
