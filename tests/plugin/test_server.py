"""``CacheServer``: what a test can do with it and see of it."""

from __future__ import annotations

import contextlib
import re
import socket
import time

import pytest
from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheServerError

from cachecore import SettingsError
from cachecore.testing import CacheServer, Item
from tests.support.wire import Client as Wire
from tests.unit.traces import nothing_left


def ask(server: CacheServer, request: bytes) -> bytes:
    with Wire(server.address) as client:
        return client.transcript(request)


def test_it_leaves_nothing_behind():
    with nothing_left(), CacheServer(proxy=True) as server:
        clients = [socket.create_connection(server.address) for _ in range(3)]
        for client in clients:
            client.close()


def test_two_have_addresses_of_their_own(direct):
    with CacheServer() as other:
        assert other.address != direct.address
        assert other.location == f"127.0.0.1:{other.port}"
        assert (other.host, other.port) == other.address


def test_items_are_seen_with_flags_ttl_and_size(direct):
    ask(direct, b"set a 7 60 3\r\nabc\r\nset b 0 0 0\r\n\r\nget b\r\nset gone 0 -1 1\r\nx\r\n")
    ask(direct, b"ms YyBk 5000 b T9\r\n%s\r\n" % (b"v" * 5000))
    direct.clock.advance(2)
    found = direct.items()
    assert found == {
        b"a": Item(key=b"a", flags=7, size=3, ttl=58, cas=found[b"a"].cas, fetched=False),
        b"b": Item(key=b"b", flags=0, size=0, ttl=None, cas=found[b"b"].cas, fetched=True),
        b"c d": Item(key=b"c d", flags=0, size=5000, ttl=7, cas=found[b"c d"].cas, fetched=False),
    }
    assert ask(direct, b"gets a\r\n") == b"VALUE a 7 3 %d\r\nabc\r\nEND\r\n" % found[b"a"].cas


def test_looking_is_no_fetch(direct):
    with Wire(direct.address) as client:  # it stays: connections are counted, too
        client.ask(b"set a 0 0 1\r\nx\r\n", b"STORED\r\n")
        before = direct.counters()
        assert not direct.items()[b"a"].fetched
        assert not direct.items()[b"a"].fetched
        assert direct.counters() == before


def test_all_of_many_items_are_seen(direct):
    ask(direct, b"".join(b"set %d 0 0 1 noreply\r\nx\r\n" % i for i in range(5000)) + b"mn\r\n")
    assert set(direct.items()) == {b"%d" % i for i in range(5000)}


def test_counters(direct):
    ask(direct, b"set a 0 0 1\r\nx\r\nget a\r\nget a\r\nget b\r\n")
    seen = direct.counters()
    assert (seen.cmd_set, seen.cmd_get, seen.get_hits, seen.get_misses, seen.curr_items) == (1, 3, 2, 1, 1)


def test_reset_is_as_good_as_new(proxied):
    proxied.clock.advance(100_000)
    ask(proxied, b"ms a 1 E%d\r\nx\r\nget a\r\n" % (1 << 60))
    proxied.reset()
    assert proxied.items() == {}
    assert list(proxied.commands) == []
    assert (proxied.counters().cmd_get, proxied.counters().cmd_set) == (0, 0)
    assert abs(proxied.clock.now - time.time()) <= 2
    assert ask(proxied, b"ms a 1 E%d\r\ny\r\nmg a v\r\n" % (1 << 61)) == b"HD\r\nVA 1\r\ny\r\n"


def test_flush_keeps_the_time(direct):
    ask(direct, b"set a 0 0 1\r\nx\r\n")
    direct.clock.advance(1000)
    now = direct.clock.now
    direct.flush()
    assert direct.items() == {}
    assert direct.clock.now == now


def test_a_flush_that_is_disabled_is_an_error():
    with CacheServer(disable_flush_all=True) as server, pytest.raises(RuntimeError, match=r"flush_all: .*not allowed"):
        server.flush()


def test_the_clock_goes_by_wire_too(direct):
    assert ask(direct, b"set a 0 10 1\r\nx\r\ndebugtime 10\r\nget a\r\n") == b"STORED\r\nOK\r\nEND\r\n"


@pytest.mark.parametrize("proxy", [False, True])
def test_an_idle_timeout_follows_the_clock(proxy):
    with CacheServer(proxy=proxy, idle_timeout=60) as server, socket.create_connection(server.address, 10) as client:
        server.clock.freeze()
        client.sendall(b"mn\r\n")
        assert client.recv(100) == b"MN\r\n"
        server.clock.advance(61)
        assert client.recv(100) == b""


@pytest.mark.parametrize("proxy", [False, True])
def test_who_has_no_password_gets_nothing(proxy):
    with CacheServer(proxy=proxy, auth=("me", "pass word")) as server:
        with Wire(server.address) as stranger:
            assert stranger.ask(b"get a\r\n", b"\r\n") == b"CLIENT_ERROR unauthenticated\r\n"
        assert ask(server, b"set auth 0 0 12\r\nme pass word\r\nget a\r\n") == b"STORED\r\nEND\r\n"
        server.reset()
        client = server.pymemcache_client()
        assert client.set("a", "1")
        client.close()
        assert client.get("a") == b"1"
        client.close()
        assert server.client_libraries == ("pymemcache",)


def test_a_wrong_password_is_said_by_the_client(direct):
    with CacheServer(auth=[("me", "a"), ("you", "b")]) as server:
        server.users = (("me", "wrong"),)
        with pytest.raises(ConnectionError, match="cannot log in"):
            server.pymemcache_client().get("a")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"threads": 0}, SettingsError),
        ({"nonsense": 1}, TypeError),
        ({"auth": [("me",)]}, ValueError),
    ],
)
def test_wrong_options(options, error):
    with pytest.raises(error):
        CacheServer(**options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"unix_socket": "/x"}, "CacheServer has no unix_socket: its clients come by TCP"),
        ({"unix_socket": "/x", "proxy": True}, "CacheServer has no unix_socket"),
        ({"auth_file": "/x"}, 'CacheServer has no auth_file: who may use it is said as in auth=("user", "password")'),
        ({"daemon": True}, "CacheServer has no daemon: that is the daemon's alone"),
        ({"user": "nobody"}, "CacheServer has no user"),
        *(
            ({"auth": wrong}, 'as in auth=("user", "password") or auth="user:password", or several of these')
            for wrong in ("me", 5, b"me:secret", [5], ["me"], [("me", 5)], [("m:e", "x")], ["me", "secret", "x"])
        ),
    ],
)
def test_what_a_server_for_tests_cannot_have(options, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        CacheServer(**options)


def test_an_unknown_option_is_named():
    with pytest.raises(TypeError, match=r"^CacheServer has no option prox; is it proxy\?"):
        CacheServer(prox=True)


@pytest.mark.parametrize(
    ("auth", "users"),
    [
        (None, ()),
        (("me", "se:cret"), (("me", "se:cret"),)),
        (["me", "secret"], (("me", "secret"),)),
        ("me:se:cret", (("me", "se:cret"),)),
        (("me:a", "you:b"), (("me", "a"), ("you", "b"))),
        ([["me", "a"], "you:b"], (("me", "a"), ("you", "b"))),
    ],
)
def test_ways_to_say_who_may_use_it(auth, users):
    assert CacheServer(auth=auth).users == users


def test_where_it_is():
    server = CacheServer(listen="::1", proxy=True)
    assert repr(server) == "<CacheServer, not running>"
    with server:
        assert server.location == f"127.0.0.1:{server.port}"
        assert repr(server) == f"<CacheServer at {server.location}>"
    with CacheServer(listen="::1") as server:
        assert server.location == f"[::1]:{server.port}"


def test_items_by_str(direct):
    with contextlib.closing(direct.pymemcache_client()) as client:
        client.set("a", "1")
    items = direct.items()
    assert items["a"] is items[b"a"] is items.get("a")
    assert ("a" in items, "b" in items, items.get("b"), list(items)) == (True, False, None, [b"a"])
    with pytest.raises(KeyError):
        items["b"]


def test_the_client_waits_for_replies(direct):
    client = direct.pymemcache_client()
    assert isinstance(client, Client)
    assert client.set("a", "1", expire=10) is True
    direct.clock.advance(10)
    assert client.get("a") is None
    with pytest.raises(MemcacheServerError, match="too large"):
        client.set("a", "x" * (2 << 20))
    client.close()


def test_libraries_that_are_installed_are_named(direct, monkeypatch):
    assert {"pymemcache", "aiomcache", "pylibmc"} <= set(direct.client_libraries)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if name == "emcache" else None)
    assert direct.client_libraries == ("emcache",)


def test_without_a_proxy_it_is_said_how_to_get_one(direct):
    for use in (lambda: direct.faults, lambda: direct.commands):
        with pytest.raises(RuntimeError, match=r"CacheServer\(proxy=True\)"):
            use()


def test_with_a_proxy_that_is_not_there_yet_it_is_said_so():
    server = CacheServer(proxy=True)
    for use in (lambda: server.faults, lambda: server.commands):
        with pytest.raises(RuntimeError, match=r"^the server is not running$"):
            use()
