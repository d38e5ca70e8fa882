"""Flask-Session: whose cookie names a session is logged in with every worker, and no longer than it lasts."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from flask.testing import FlaskClient

from cachecore.testing import CacheServer
from examples import flask_sessions
from tests.examples.conftest import patient

HTTPS = "https://shop.example"
Worker = Callable[[], FlaskClient]


@pytest.fixture
def worker(server: CacheServer) -> Iterator[Worker]:
    """Start a worker of the site; a client of it without cookies."""
    pools = []

    def start() -> FlaskClient:
        app = flask_sessions.create_app(server.location)
        pools.append(patient(app.config["SESSION_MEMCACHED"]))
        return app.test_client()

    yield start
    for pool in pools:
        pool.close()


@pytest.fixture
def client(worker: Worker) -> FlaskClient:
    return worker()


def log_in(client: FlaskClient, name: str = "Ada") -> str:
    """The session's id."""
    assert "Hello" not in client.get("/", base_url=HTTPS).text
    page = client.post("/login", base_url=HTTPS, data={"name": name}, follow_redirects=True)
    assert f"Hello {name}" in page.text
    cookie = client.get_cookie("session", "shop.example")
    assert cookie is not None
    assert cookie.http_only
    assert cookie.secure
    return cookie.value


def logged_in(client: FlaskClient) -> bool:
    return "Hello" in client.get("/", base_url=HTTPS).text


def test_the_session_survives_a_change_of_workers(worker, server):
    sid = log_in(worker())
    assert list(server.items()) == [f"session:{sid}".encode()]
    other = worker()
    assert not logged_in(other)
    other.set_cookie("session", sid, domain="shop.example", secure=True)
    assert "Hello Ada" in other.get("/", base_url=HTTPS).text


def test_two_visitors_are_two(worker):
    ada, bob = worker(), worker()
    log_in(ada)
    log_in(bob, "Bob")
    assert "Hello Ada" in ada.get("/", base_url=HTTPS).text


def test_an_hour_without_a_request_ends_it(client, server):
    log_in(client)
    for _ in range(3):
        server.clock.advance(3599)
        assert logged_in(client)
    server.clock.advance(3600)
    assert not logged_in(client)


def test_log_out(client, worker, server):
    sid = log_in(client)
    client.post("/logout", base_url=HTTPS)
    assert not logged_in(client)
    assert server.items() == {}
    thief = worker()
    thief.set_cookie("session", sid, domain="shop.example", secure=True)
    assert not logged_in(thief)


def test_who_logs_in_gets_another_id(client, server):
    known_before = log_in(client)
    assert log_in_again(client) != known_before
    assert f"session:{known_before}".encode() not in server.items()


def log_in_again(client: FlaskClient) -> str:
    client.post("/login", base_url=HTTPS, data={"name": "Ada"})
    cookie = client.get_cookie("session", "shop.example")
    assert cookie is not None
    return cookie.value


@pytest.mark.parametrize("cookie", ["two words", "x" * 300, "grüße"])
def test_a_cookie_that_can_be_no_key_is_a_stranger_s(client, cookie):
    client.set_cookie("session", cookie, domain="shop.example", secure=True)
    log_in(client)


def test_flush_all_logs_everybody_out(worker, server):
    clients = [worker(), worker()]
    for client in clients:
        log_in(client)
    server.flush()
    assert not any(map(logged_in, clients))


def test_without_the_cache_everybody_is_a_stranger_for_the_time(client, cachecore_faults):
    log_in(client)
    with cachecore_faults.refuse():
        assert client.get("/", base_url=HTTPS).status_code == 200
        assert not logged_in(client)
    assert logged_in(client)


def test_after_a_restart_one_logs_in_again(client, cachecore_faults):
    log_in(client)
    with cachecore_faults.restart():
        pass
    log_in(client)
