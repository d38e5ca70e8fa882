"""meta-memcache: the meta protocol with leases, stale values, early recaching and compare-and-swap."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import meta_memcache as mm
import pytest


@pytest.fixture
def connect() -> Iterator:
    """Clients over a pool of connections a node; the pools are closed at the end."""
    pools: list[mm.ConnectionPool] = []
    # With its default buffer of 4 KiB this client takes seconds for half a megabyte, from any server.
    build = mm.connection_pool_factory_builder(connection_timeout=10, recv_timeout=10, read_buffer_size=256 * 1024)

    def remembered(address: mm.ServerAddress) -> mm.ConnectionPool:
        pools.append(build(address))
        return pools[-1]

    def open_client(nodes) -> mm.CacheApi:
        servers = [mm.ServerAddress(*node.address) for node in nodes]
        return mm.CacheClient.cache_client_from_servers(servers, remembered)

    yield open_client
    for pool in pools:
        while pool.get_counters().available:
            pool.pop_connection().close()


@pytest.fixture
def client(connect, peer) -> mm.CacheApi:
    return connect([peer])


def no_waiting(_seconds: float) -> None:
    """A client that loses a lease asks again at once."""


LEASE = mm.LeasePolicy(ttl=30, miss_retries=2)


def test_set_get_delete(client):
    assert client.get("k") is None
    assert client.set("k", "value", ttl=100) is True
    assert client.get("k") == "value"
    assert client.delete("k") is True
    assert client.delete("k") is False
    assert client.invalidate("k") is True  # already gone is as good
    assert client.get("k") is None


@pytest.mark.parametrize(
    "value",
    ["text ü", b"bytes \r\nEN\r\n\0\xff", 42, {"a": [1, None]}, "x" * 10_000, b""],
    ids=lambda value: repr(value)[:20],
)
def test_values_come_back_with_their_type(client, value):
    assert client.set("k", value, ttl=100) is True
    assert client.get("k") == value


def test_set_modes(client):
    assert client.set("k", "x", ttl=100, set_mode=mm.SetMode.REPLACE) is False
    assert client.set("k", "x", ttl=100, set_mode=mm.SetMode.APPEND) is False
    assert client.set("k", "one", ttl=100, set_mode=mm.SetMode.ADD) is True
    assert client.set("k", "two", ttl=100, set_mode=mm.SetMode.ADD) is False
    assert client.set("k", "three", ttl=100, set_mode=mm.SetMode.REPLACE) is True
    assert client.set("k", ">", ttl=100, set_mode=mm.SetMode.APPEND) is True
    assert client.set("k", "<", ttl=100, set_mode=mm.SetMode.PREPEND) is True
    assert client.get("k") == "<three>"
    assert client.refill("k", "late", ttl=100) is False
    assert client.refill("new", "filled", ttl=100) is True


def test_no_reply(client):
    client.set("k", "one", ttl=100, no_reply=True)
    client.set("n", 1, ttl=100, no_reply=True)
    client.delta("n", 4, no_reply=True)
    client.touch("k", ttl=50, no_reply=True)
    client.set("gone", "x", ttl=100, no_reply=True)
    client.delete("gone", no_reply=True)
    assert client.get("k") == "one"
    assert client.get("n") == 5
    assert client.get("gone") is None


def test_cas(client):
    assert client.get_cas("k") == (None, None)
    client.set("k", "first", ttl=100)
    value, token = client.get_cas("k")
    assert value == "first"
    assert client.set("k", "second", ttl=100, cas_token=token) is True
    assert client.set("k", "third", ttl=100, cas_token=token) is False
    assert client.delete("k", cas_token=token) is False
    assert client.get("k") == "second"
    assert client.delete("k", cas_token=client.get_cas("k")[1]) is True


def test_set_cas_tells_the_new_token(client):
    token = client.set_cas("k", "first", ttl=100)
    assert token == client.get_cas("k")[1]
    assert client.set_cas("k", "second", ttl=100, cas_token=token) not in (None, token)
    assert client.set_cas("k", "third", ttl=100, cas_token=token) is None


def test_delta(client):
    assert client.delta("n", 1) is False
    assert client.delta_and_get("n", 1) is None
    assert client.delta_initialize("n", 1, initial_value=10, initial_ttl=100) is True
    assert client.delta_initialize_and_get("n", 5, initial_value=10, initial_ttl=100) == 15
    assert client.delta_and_get("n", -3) == 12
    assert client.delta_and_get("n", -100) == 0
    assert client.delta("n", 7, refresh_ttl=50) is True
    assert client.delta_and_get("n", 0) == 7


def test_touch(client):
    assert client.touch("k", ttl=100) is False
    client.set("k", "v", ttl=10)
    assert client.touch("k", ttl=100) is True
    assert client.get("k", touch_ttl=200) == "v"


def test_multi_get(client):
    for number in range(100):
        client.set(f"key-{number}", number, ttl=100)
    keys = [mm.Key(f"key-{number}") for number in range(110)]
    found = client.multi_get(keys)
    assert [found[key] for key in keys] == [*range(100), *[None] * 10]
    with_tokens = client.multi_get_cas(keys)
    assert len({with_tokens[key][1] for key in keys[:100]}) == 100


def test_keys_that_need_base64(client):
    """Keys that a text line cannot carry travel base64 encoded, with the flag b."""
    for key in ("two words", "grüße-🦊", "tab\tand\nline", "k" * 250, "k" * 400):
        assert client.set(key, key, ttl=100) is True
        assert client.get(key) == key
        assert client.touch(key, ttl=100) is True
        assert client.delete(key) is True


@pytest.mark.parametrize("size", [1, 65_536, 524_289, 1024 * 1024 - 1024])
def test_values_of_every_size(connect, peer, size):
    value = Random(size).randbytes(size)  # the client compresses: let it gain nothing
    client = connect([peer])
    assert client.set("k", value, ttl=100) is True
    assert client.get("k") == value


def test_lease_one_client_fills_the_others_wait(connect, peer):
    winner, loser = connect([peer]), connect([peer])
    # The first to miss wins the lease; its miss comes with a token.
    value, token = winner.get_or_lease_cas("k", LEASE, lease_wait_fn=no_waiting)
    assert value is None
    assert token is not None
    # The next finds the placeholder, asks again, and gives up after its retries.
    asked = []
    assert loser.get_or_lease("k", LEASE, lease_wait_fn=asked.append) is None
    assert len(asked) == 1
    # The winner fills; whoever waits has the value on its next question.
    assert (
        loser.get_or_lease("k", LEASE, lease_wait_fn=lambda _: winner.set("k", "filled", ttl=100, cas_token=token))
        == "filled"
    )
    assert loser.get("k") == "filled"


def test_stale_value_while_one_client_refreshes(connect, peer):
    policy = mm.StalePolicy(mark_stale_on_deletion_ttl=30)
    winner, other = connect([peer]), connect([peer])
    winner.set("k", "old", ttl=100)
    assert winner.delete("k", stale_policy=policy) is True
    value, token = winner.get_cas("k")
    assert value is None  # won: the client shows it as a miss
    assert token is not None
    assert other.get("k") == "old"  # lost: stale is better than nothing
    assert other.multi_get([mm.Key("k")]) == {mm.Key("k"): "old"}
    assert winner.set("k", "new", ttl=100, cas_token=token) is True
    assert other.get("k") == "new"
    assert winner.get("k") == "new"


def test_invalidate_marks_stale(connect, peer):
    policy = mm.StalePolicy(mark_stale_on_deletion_ttl=30)
    winner, other = connect([peer]), connect([peer])
    assert winner.invalidate("missing", stale_policy=policy) is True
    winner.set("k", "old", ttl=100)
    assert winner.invalidate("k", stale_policy=policy) is True
    assert winner.get("k") is None
    assert other.get("k") == "old"


def test_a_late_write_is_stored_as_stale(connect, peer):
    """Somebody invalidates between a client's read and its write: the write lands, marked stale."""
    invalidation = mm.StalePolicy(mark_stale_on_deletion_ttl=30)
    late = mm.StalePolicy(mark_stale_on_cas_mismatch=True)
    client, other = connect([peer]), connect([peer])
    client.set("k", "old", ttl=100)
    client.delete("k", stale_policy=invalidation)
    _, token = client.get_cas("k")
    other.delete("k", stale_policy=invalidation)
    assert client.set("k", "late", ttl=100, cas_token=token, stale_policy=late) is True
    assert other.get("k") is None  # stale, and the first to see it wins the right to refresh
    assert client.get("k") == "late"


def test_recache_before_it_expires(connect, peer):
    policy = mm.RecachePolicy(ttl=30)
    winner, other = connect([peer]), connect([peer])
    winner.set("fresh", "v", ttl=1000)
    assert winner.get("fresh", recache_policy=policy) == "v"
    winner.set("k", "v", ttl=10)  # less than 30 seconds remain
    assert winner.get("k", recache_policy=policy) is None
    assert other.get("k", recache_policy=policy) == "v"
    winner.set("k", "again", ttl=1000)
    assert other.get("k", recache_policy=policy) == "again"


def test_details_of_a_hit(client):
    client.set("k", b"value", ttl=100)
    first = client.meta_get(mm.Key("k"), mm.RequestFlags(return_value=True, return_fetched=True))
    assert isinstance(first, mm.Value)
    assert first.flags.fetched is False
    again = client.meta_get(
        mm.Key("k"),
        mm.RequestFlags(
            return_value=True, return_fetched=True, return_ttl=True, return_size=True, return_last_access=True
        ),
    )
    assert again.flags.fetched is True
    assert 98 <= again.flags.ttl <= 100
    assert again.size == 5
    assert again.flags.last_access == 0
    assert isinstance(client.meta_get(mm.Key("missing"), mm.RequestFlags(return_value=True)), mm.Miss)


def test_three_nodes(connect, nodes):
    client = connect(nodes)
    keys = [mm.Key(f"key-{number}") for number in range(300)]
    for number, key in enumerate(keys):
        assert client.set(key, number, ttl=100) is True
    found = client.multi_get(keys)
    assert [found[key] for key in keys] == list(range(300))
    for node in nodes:
        alone = connect([node]).multi_get(keys)
        assert sum(value is not None for value in alone.values()) > 30


def test_expiry(connect, ticking):
    client = connect([ticking])
    client.set("k", "v", ttl=10)
    client.set("touched", "v", ttl=10)
    ticking.advance(5)
    assert client.touch("touched", ttl=20) is True
    assert client.get("k") == "v"
    ticking.advance(10)
    assert client.get("k") is None
    assert client.get("touched", touch_ttl=100) == "v"
    ticking.advance(50)
    assert client.get("touched") == "v"
    ticking.advance(60)
    assert client.get("touched") is None


def test_the_right_to_recache_expires_with_the_stale_value(connect, ticking):
    client = connect([ticking])
    client.set("k", "old", ttl=1000)
    client.delete("k", stale_policy=mm.StalePolicy(mark_stale_on_deletion_ttl=30))
    assert client.get("k") is None
    assert client.get("k") == "old"
    ticking.advance(31)
    assert client.get("k") is None
    assert client.get_or_lease("k", LEASE, lease_wait_fn=no_waiting) is None
    ticking.advance(31)  # the lease's placeholder lives for its ttl
    assert client.get_cas("k") == (None, None)


def test_recache_as_time_goes_by(connect, ticking):
    policy = mm.RecachePolicy(ttl=30)
    client = connect([ticking])
    client.set("k", "v", ttl=100)
    ticking.advance(60)
    assert client.get("k", recache_policy=policy) == "v"
    ticking.advance(15)
    assert client.get("k", recache_policy=policy) is None
    assert client.get("k", recache_policy=policy) == "v"
