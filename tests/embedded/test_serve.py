"""``Cache.serve``: the same items, by memcached's protocol."""

from __future__ import annotations

import socket

import pytest
from pymemcache.client.base import Client

from cachecore import Cache


def test_the_same_items():
    with Cache() as cache, cache.serve() as server:
        cache["a"] = b"1"
        client = Client(server.address, default_noreply=False)
        assert client.get("a") == b"1"
        client.set("b", b"2")
        assert cache["b"] == b"2"
        cache.incr("b")
        value, token = client.gets("b")
        assert (value, cache.cas("b", b"9", int(token))) == (b"3", True)
        assert int(client.stats()[b"get_hits"]) == cache.stats()["get_hits"] == 3
        client.flush_all()
        assert "a" not in cache
        client.close()


def test_the_number_of_items_while_a_worker_stores():
    with Cache() as cache, cache.serve() as server, socket.create_connection(server.address) as client:
        client.sendall(b"".join(b"set key%d 0 0 1 noreply\r\nv\r\n" % i for i in range(3000)))
        numbers = [0]
        while numbers[-1] < 3000:
            numbers.append(len(cache))
        assert numbers == sorted(numbers)


def test_it_can_be_served_again_with_what_it_has():
    with Cache(threads=2) as cache:
        cache["a"] = b"1"
        for _ in range(3):
            with cache.serve() as server:
                client = Client(server.address)
                assert client.get("a") == b"1"
                with pytest.raises(RuntimeError, match="served already"):
                    cache.serve()
            assert client.sock.recv(1) == b""
            client.close()
            assert cache["a"] == b"1"
            assert cache.stats()["curr_connections"] == 0


def test_two_servers_do_not_meet():
    with Cache() as cache:
        first = cache.serve()
        first.stop()
        with cache.serve() as second:
            with pytest.raises(RuntimeError, match="open"):
                first.start()
            client = Client(second.address)
            assert client.get("a") is None
            client.close()


def test_a_cache_that_ends_takes_the_server_along():
    cache = Cache()
    server = cache.serve()
    cache.close()
    with pytest.raises(RuntimeError, match="not listen"):
        _ = server.address


def test_a_watcher_sees_calls_and_goes_with_the_server():
    with Cache() as cache:
        with cache.serve() as server:
            watcher = Client(server.address, timeout=10)
            watcher._connect()
            watcher.sock.sendall(b"watch fetchers mutations deletions\r\n")
            seen = watcher.sock.recv(4096)
            cache["some"] = b"1"
            cache.get("other")
            cache.delete("some")
            while b"type=deleted key=some" not in seen:
                seen += watcher.sock.recv(4096)
            assert b"key=some status=stored cmd=set" in seen
            assert b"key=other status=not_found" in seen
            watcher.close()
        cache["a"] = b"1"
        assert cache["a"] == b"1"
