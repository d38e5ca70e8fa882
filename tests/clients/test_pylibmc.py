"""pylibmc: libmemcached, the C client, in its text mode."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pylibmc
import pytest


def connect(nodes, **behaviors) -> pylibmc.Client:
    behaviors = {"tcp_nodelay": True, "cas": True, **behaviors}
    servers = ["{}:{}".format(*node.address) for node in nodes]
    return pylibmc.Client(servers, binary=False, behaviors=behaviors)


@pytest.fixture
def client(peer) -> Iterator[pylibmc.Client]:
    client = connect([peer])
    yield client
    client.disconnect_all()


def test_set_get_delete(client):
    assert client.get("k") is None
    assert client.get("k", "nothing") == "nothing"
    assert client.set("k", "value") is True
    assert client.get("k") == "value"
    assert client.delete("k") is True
    assert client.delete("k") is False


@pytest.mark.parametrize(
    "value",
    ["text ü", b"bytes \r\n\0\xff", 42, 2**62, {"a": [1, 2.5, None]}, "", b""],
    ids=repr,
)
def test_python_values_come_back_with_their_type(client, value):
    client.set("k", value)
    found = client.get("k")
    assert found == value
    assert type(found) is type(value)


def test_add_replace_append_prepend(client):
    assert client.replace("k", b"x") is False
    assert client.append("k", b"x") is False
    assert client.prepend("k", b"x") is False
    assert client.add("k", b"one") is True
    assert client.add("k", b"two") is False
    assert client.replace("k", b"three") is True
    assert client.append("k", b">") is True
    assert client.prepend("k", b"<") is True
    assert client.get("k") == b"<three>"


def test_cas(client):
    assert client.gets("k") == (None, None)
    client.set("k", "first")
    value, token = client.gets("k")
    assert value == "first"
    assert client.cas("k", "second", token) is True
    assert client.cas("k", "third", token) is False
    with pytest.raises(pylibmc.NotFound):
        client.cas("missing", "x", token)
    assert client.get("k") == "second"


def test_incr_and_decr(client):
    with pytest.raises(pylibmc.NotFound):
        client.incr("n")
    client.set("n", 10)
    assert client.incr("n") == 11
    assert client.incr("n", 9) == 20
    assert client.decr("n", 5) == 15
    assert client.decr("n", 100) == 0
    client.set("text", "letters")
    with pytest.raises(pylibmc.Error):
        client.incr("text")
    assert client.get("text") == "letters"


def test_many_at_once(client):
    everything = {f"key-{number}": "v" * number for number in range(300)}
    assert client.set_multi(everything) == []
    assert client.get_multi([*everything, "missing"]) == everything
    assert client.add_multi({"key-1": "no", "new": "yes"}) == ["key-1"]
    assert client.delete_multi(list(everything)) is True
    assert client.delete_multi(["key-1"]) is False
    assert client.get_multi(list(everything)) == {}


def test_key_prefix(client):
    client.set_multi({"a": 1, "b": 2}, key_prefix="app:")
    assert client.get("app:a") == 1
    assert client.get_multi(["a", "b", "c"], key_prefix="app:") == {"a": 1, "b": 2}


def test_touch(client):
    assert client.touch("k", 100) is False
    client.set("k", "v")
    assert client.touch("k", 100) is True
    assert client.get("k") == "v"


@pytest.mark.parametrize("size", [1, 65_536, 524_289, 1024 * 1024 - 1024])
def test_binary_values(client, size):
    value = (bytes(range(256)) * (size // 256 + 1))[:size]
    assert client.set("k", value) is True
    assert client.get("k") == value


def test_compressed_values(client):
    value = b"compress me " * 200_000  # twice the largest item
    assert client.set("k", value, min_compress_len=1000) is True
    assert client.get("k") == value


def test_too_large(client):
    with pytest.raises(pylibmc.Error):
        client.set("k", b"\xff" * 1024 * 1024 * 2)
    assert client.set("k", "small") is True
    assert client.get("k") == "small"


def test_keys(client):
    longest = "k" * 250
    assert client.set(longest, "fits") is True
    assert client.get(longest) == "fits"
    with pytest.raises(ValueError, match="too long"):
        client.get("k" * 251)


def test_mapping_interface(client):
    client["k"] = "v"
    assert client["k"] == "v"
    assert "k" in client
    del client["k"]
    assert "k" not in client
    with pytest.raises(KeyError):
        client["k"]


def test_noreply_and_buffered_requests(peer):
    client = connect([peer], _noreply=True)
    client.set("k", "one")
    client.append("k", "+")
    client.set("n", 1)
    client.incr("n")
    client.disconnect_all()
    reader = connect([peer])
    while reader.get("n") != 2:
        pass  # nobody has waited for what was sent on the other connection; the suite's time limit ends this
    assert reader.get("k") == "one+"
    reader.disconnect_all()


def test_three_nodes(nodes):
    client = connect(nodes, ketama=True)
    everything = {f"key-{number}": number for number in range(300)}
    assert client.set_multi(everything) == []
    assert client.get_multi(list(everything)) == everything
    stats = client.get_stats()
    assert len(stats) == 3
    assert all(int(counters["curr_items"]) > 30 for _, counters in stats)
    assert client.flush_all() is True
    assert client.get_multi(list(everything)) == {}
    client.disconnect_all()


def test_threads_share_a_pool(client):
    client.set("n", 0)
    pool = pylibmc.ClientPool(client, 4)

    def work() -> None:
        for _ in range(100):
            with pool.reserve(block=True) as mine:
                mine.incr("n")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.get("n") == 800


def test_stats(client):
    client.set("k", "v")
    ((_, stats),) = client.get_stats()  # libmemcached keeps only the counters that it knows
    assert int(stats["curr_items"]) >= 1
    assert int(stats["limit_maxbytes"]) == 64 * 1024 * 1024
    assert int(stats["pointer_size"]) == 64
    assert int(stats["threads"]) == 2


def test_expiry(ticking):
    client = connect([ticking])
    client.set("k", "v", time=10)
    ticking.advance(5)
    assert client.get("k") == "v"
    assert client.touch("k", 20) is True
    ticking.advance(15)
    assert client.get("k") == "v"
    ticking.advance(10)
    assert client.get("k") is None
    client.disconnect_all()
