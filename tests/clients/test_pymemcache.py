"""pymemcache: the plain client, the pool of connections, and the hashing client over three nodes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest
from pymemcache import Client, HashClient, PooledClient, serde
from pymemcache.exceptions import MemcacheClientError, MemcacheIllegalInputError, MemcacheServerError

MEGABYTE = 1024 * 1024
ALL_BYTES = bytes(range(256))
TRICKY = [b"", b"\r\n", b"END\r\n", b"VALUE k 0 1\r\nx\r\nEND\r\n", ALL_BYTES * 8, b"\0" * 4096]


@pytest.fixture(params=[Client, PooledClient], ids=lambda kind: kind.__name__)
def client(request: pytest.FixtureRequest, peer) -> Iterator[Client]:
    client = request.param(peer.address, default_noreply=False, timeout=10, connect_timeout=10)
    yield client
    client.close()


@pytest.fixture
def plain(peer) -> Iterator[Client]:
    with_replies = Client(peer.address, default_noreply=False, timeout=10, connect_timeout=10)
    yield with_replies
    with_replies.close()


@pytest.fixture
def hashed(nodes) -> Iterator[HashClient]:
    servers = [node.address for node in nodes]
    client = HashClient(servers, default_noreply=False, timeout=10, connect_timeout=10)
    yield client
    client.close()


def test_set_get_delete(client):
    assert client.get("k") is None
    assert client.get("k", default=b"nothing") == b"nothing"
    assert client.set("k", b"value") is True
    assert client.get("k") == b"value"
    assert client.delete("k") is True
    assert client.delete("k") is False
    assert client.get("k") is None


def test_add_and_replace(client):
    assert client.replace("k", b"one") is False
    assert client.add("k", b"two") is True
    assert client.add("k", b"three") is False
    assert client.replace("k", b"four") is True
    assert client.get("k") == b"four"


def test_append_and_prepend(client):
    assert client.append("k", b"x") is False
    assert client.prepend("k", b"x") is False
    client.set("k", b"middle")
    assert client.append("k", b" end") is True
    assert client.prepend("k", b"start ") is True
    assert client.get("k") == b"start middle end"


def test_append_keeps_the_flags_of_the_first_value(plain):
    plain.set("k", b"a", flags=77)
    plain.append("k", b"b", flags=12)
    assert plain.raw_command(b"get k", b"END\r\n").startswith(b"VALUE k 77 2\r\nab")


def test_cas(client):
    assert client.gets("k") == (None, None)
    assert client.cas("k", b"x", b"1") is None  # not found
    client.set("k", b"first")
    value, token = client.gets("k")
    assert value == b"first"
    assert client.cas("k", b"second", token) is True
    assert client.cas("k", b"third", token) is False
    assert client.get("k") == b"second"


def test_gets_many_gives_every_value_its_own_token(client):
    client.set_many({"a": b"1", "b": b"2"})
    got = client.gets_many(["a", "b", "missing"])
    assert {key: value for key, (value, _) in got.items()} == {"a": b"1", "b": b"2"}
    assert got["a"][1] != got["b"][1]


def test_incr_and_decr(client):
    assert client.incr("n", 1) is None
    assert client.decr("n", 1) is None
    client.set("n", b"10")
    assert client.incr("n", 5) == 15
    assert client.decr("n", 1) == 14
    assert client.decr("n", 100) == 0  # never below zero
    client.set("n", b"18446744073709551615")
    assert client.incr("n", 2) == 1  # and round at 64 bits
    client.set("n", b"not a number")
    with pytest.raises(MemcacheClientError, match="non-numeric"):
        client.incr("n", 1)
    assert client.get("n") == b"not a number"


def test_counters_of_many_threads_lose_nothing(peer):
    shared = PooledClient(peer.address, max_pool_size=8, default_noreply=False, timeout=10)
    shared.set("n", b"0")
    threads = [threading.Thread(target=lambda: [shared.incr("n", 1) for _ in range(250)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shared.get("n") == b"2000"
    shared.close()


def test_set_many_get_many_delete_many(client):
    everything = {f"key-{number}": b"%d" % number * (number % 50) for number in range(500)}
    assert client.set_many(everything) == []
    assert client.get_many([*everything, "missing", "and-this"]) == everything
    assert client.get_many([]) == {}
    assert client.delete_many(everything) is True
    assert client.get_many(everything) == {}


def test_touch(client):
    assert client.touch("k", 100) is False
    client.set("k", b"v")
    assert client.touch("k", 100) is True
    assert client.get("k") == b"v"
    assert client.touch("k", -1) is True
    assert client.get("k") is None


def test_gat(plain):
    plain.set("k", b"value")
    assert plain.raw_command(b"gat 100 k", b"END\r\n") == b"VALUE k 0 5\r\nvalue\r\n"
    assert plain.raw_command(b"gats 100 missing", b"END\r\n") == b""
    assert plain.raw_command(b"gat -1 k", b"END\r\n") == b"VALUE k 0 5\r\nvalue\r\n"
    assert plain.get("k") is None


@pytest.mark.parametrize("value", TRICKY, ids=lambda value: repr(value[:20]))
def test_any_bytes_are_a_value(client, value):
    client.set("k", value)
    client.set("after", b"still in step")
    assert client.get("k") == value
    assert client.get_many(["k", "after"]) == {"k": value, "after": b"still in step"}


def test_keys(plain):
    longest = "k" * 250
    plain.set(longest, b"fits")
    assert plain.get(longest) == b"fits"
    for unusable in ("k" * 251, "two words", "line\nend", "nul\0"):
        with pytest.raises(MemcacheIllegalInputError):
            plain.get(unusable)
    assert plain.get(longest) == b"fits"


def test_unicode_keys_and_key_prefix(peer):
    client = Client(peer.address, allow_unicode_keys=True, key_prefix=b"app:", default_noreply=False, encoding="utf-8")
    client.set("grüße-🦊", "wert")
    assert client.get("grüße-🦊") == b"wert"
    assert client.get_many(["grüße-🦊"]) == {"grüße-🦊": b"wert"}
    client.close()


@pytest.mark.parametrize("size", [1, 1023, 16 * 1024, 100_000, MEGABYTE // 2, MEGABYTE // 2 + 1, MEGABYTE - 1024])
def test_values_of_every_size(client, size):
    value = (ALL_BYTES * (size // 256 + 1))[:size]
    assert client.set("large", value) is True
    assert client.get("large") == value
    assert client.append("large", b"!") is True
    assert client.get("large") == value + b"!"


def test_a_value_over_the_limit_is_refused_and_its_key_forgotten(client):
    client.set("large", b"old")
    with pytest.raises(MemcacheServerError, match="too large"):
        client.set("large", b"x" * MEGABYTE)
    assert client.get("large") is None
    client.set("small", b"next")
    assert client.get("small") == b"next"


def test_many_large_values_in_one_reply(client):
    large = {f"large-{number}": bytes([number]) * 200_000 for number in range(20)}
    client.set_many(large)
    for _ in range(5):  # a reply that fills every buffer on its way, and the next one behind it
        assert client.get_many(large) == large
        assert client.get_many(["large-19", "large-0"]) == {k: large[k] for k in ("large-19", "large-0")}


def test_noreply_everywhere(peer):
    client = Client(peer.address, default_noreply=True, timeout=10)
    client.set("k", b"one")
    client.add("k", b"not this")
    client.replace("k", b"two")
    client.append("k", b"+")
    client.prepend("k", b"+")
    client.touch("k", 100)
    client.set("n", b"1")
    client.incr("n", 41, noreply=True)
    client.decr("n", 1, noreply=True)
    client.set("gone", b"x")
    client.delete("gone")
    assert client.get_many(["k", "n", "gone"]) == {"k": b"+two+", "n": b"41"}
    _, token = client.gets("k")
    client.cas("k", b"three", token, noreply=True)
    assert client.get("k") == b"three"
    client.flush_all(noreply=True)
    assert client.get("k") is None
    client.close()


def test_flush_all(client):
    client.set_many({"a": b"1", "b": b"2"})
    assert client.flush_all() is True
    assert client.get_many(["a", "b"]) == {}
    client.set("a", b"new")
    assert client.get("a") == b"new"


def test_stats(plain):
    before = plain.stats()
    plain.set("k", b"v")
    plain.get("k")
    plain.get("missing")
    after = plain.stats()
    for name, more in [(b"cmd_set", 1), (b"cmd_get", 2), (b"get_hits", 1), (b"get_misses", 1)]:
        assert after[name] - before[name] == more, name
    assert after[b"threads"] == 2
    assert after[b"curr_connections"] >= 1
    assert after[b"curr_items"] >= 1
    settings = plain.stats("settings")
    assert settings[b"maxbytes"] == 64 * MEGABYTE
    assert settings[b"item_size_max"] == MEGABYTE
    items = plain.stats("items")
    assert any(name.startswith(b"items:") and name.endswith(b":number") for name in items)
    assert b"active_slabs" in plain.stats("slabs")
    assert plain.raw_command(b"stats reset") == b"RESET"


def test_version(plain):
    assert plain.version()[:1].isdigit()


def test_mapping_interface(plain):
    plain["k"] = b"v"
    assert plain["k"] == b"v"
    del plain["k"]
    with pytest.raises(KeyError):
        plain["k"]


def test_quit_and_come_back(plain):
    plain.set("k", b"v")
    plain.quit()
    assert plain.get("k") == b"v"  # pymemcache connects again


class JsonSerde:
    def serialize(self, key, value):
        return (value, 1) if isinstance(value, str) else (json.dumps(value), 2)

    def deserialize(self, key, value, flags):
        return value.decode() if flags == 1 else json.loads(value)


@pytest.mark.parametrize(
    ("how", "value"),
    [
        (serde.pickle_serde, {"nested": [1, 2.5, None, "ü"], "bytes": ALL_BYTES}),
        (serde.pickle_serde, 12345678901234567890),
        (serde.compressed_serde, "compress me " * 1000),
        (JsonSerde(), {"a": [1, 2, 3]}),
        (JsonSerde(), "plain text"),
    ],
    ids=["pickle", "pickle-int", "compressed", "json", "json-str"],
)
def test_serialisers_get_their_flags_back(peer, how, value):
    client = Client(peer.address, serde=how, default_noreply=False)
    client.set("k", value)
    assert client.get("k") == value
    assert client.get_many(["k"]) == {"k": value}
    client.close()


def test_flags_use_all_32_bits(plain):
    plain.set("k", b"v", flags=4294967295)
    assert plain.raw_command(b"get k", b"END\r\n").startswith(b"VALUE k 4294967295 1\r\n")


def test_three_nodes_share_the_keys(hashed, nodes):
    everything = {f"key-{number}": b"value %d" % number for number in range(300)}
    assert hashed.set_many(everything) == []
    assert hashed.get_many([*everything, "missing"]) == everything
    for node in nodes:
        alone = Client(node.address, timeout=10)
        assert len(alone.get_many(everything)) > 30, "a node got hardly any key"
        alone.close()


def test_three_nodes_everyday_operations(hashed):
    for number in range(30):
        key = f"key-{number}"
        assert hashed.get(key) is None
        assert hashed.set(key, b"5") is True
        assert hashed.add(key, b"6") is False
        assert hashed.incr(key, 2) == 7
        assert hashed.decr(key, 1) == 6
        assert hashed.append(key, b"0") is True
        assert hashed.prepend(key, b"1") is True
        value, token = hashed.gets(key)
        assert value == b"160"
        assert hashed.cas(key, b"swapped", token) is True
        assert hashed.replace(key, b"replaced") is True
        assert hashed.touch(key, 100) is True
        assert hashed.get(key) == b"replaced"
    assert len(hashed.gets_many([f"key-{number}" for number in range(30)])) == 30
    assert hashed.delete("key-0") is True
    assert hashed.delete_many([f"key-{number}" for number in range(1, 10)]) is True
    hashed.flush_all()
    assert hashed.get_many([f"key-{number}" for number in range(30)]) == {}


def test_three_nodes_with_pools(nodes):
    client = HashClient(
        [node.address for node in nodes], use_pooling=True, max_pool_size=4, default_noreply=False, timeout=10
    )
    everything = {f"key-{number}": b"x" * number for number in range(100)}
    client.set_many(everything)
    assert client.get_many(everything) == everything
    client.close()


def test_expiry(ticking):
    client = Client(ticking.address, default_noreply=False, timeout=10)
    client.set("ten", b"v", expire=10)
    client.set("forever", b"v")
    client.set("past", b"v", expire=-1)
    assert client.get_many(["ten", "forever", "past"]) == {"ten": b"v", "forever": b"v"}
    ticking.advance(8)
    assert client.get("ten") == b"v"
    assert client.touch("ten", 100) is True
    ticking.advance(90)
    assert client.get("ten") == b"v"
    ticking.advance(20)
    assert client.get("ten") is None
    assert client.add("ten", b"again", expire=30 * 24 * 3600) is True
    ticking.advance(29 * 24 * 3600)
    assert client.get_many(["ten", "forever"]) == {"ten": b"again", "forever": b"v"}
    ticking.advance(24 * 3600 + 1)
    assert client.get_many(["ten", "forever"]) == {"forever": b"v"}
    client.close()


def test_flush_all_with_a_delay(ticking):
    client = Client(ticking.address, default_noreply=False, timeout=10)
    client.set("k", b"v")
    assert client.flush_all(delay=10) is True
    assert client.get("k") == b"v"
    ticking.advance(11)
    assert client.get("k") is None
    client.set("k", b"new")
    assert client.get("k") == b"new"
    client.close()
