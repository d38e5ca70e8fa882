"""Memory that comes back by itself while clients are served: from what has expired, and from sizes of yesterday."""

from __future__ import annotations

import time

from cachecore import Server
from tests.support.wire import Client

MEGABYTES = 32
BATCH = 500
PATIENCE_S = 60.0  # only a broken maintenance takes anywhere near as long


def put(client: Client, keys: list[bytes], size: int, ttl: int = 0) -> None:
    """Store a value of ``size`` bytes under each key."""
    for at in range(0, len(keys), BATCH):
        lines = [b"set %b 0 %d %d\r\n%b\r\n" % (key, ttl, size, bytes(size)) for key in keys[at : at + BATCH]]
        assert client.ask(b"".join(lines) + b"mn\r\n", b"MN\r\n").count(b"STORED") == len(lines)


def missing(client: Client, keys: list[bytes]) -> list[bytes]:
    """Which of the keys are not there, asked for at once."""
    reply = client.ask(b"".join(b"mg %b k\r\n" % key for key in keys) + b"mn\r\n", b"MN\r\n")
    lines = reply.split(b"\r\n")[: len(keys)]
    return [key for key, line in zip(keys, lines, strict=True) if line.startswith(b"EN")]


def test_a_cache_full_of_expired_items_is_reclaimed_while_it_serves() -> None:
    ending = [b"ending%06d" % i for i in range(150_000)]
    lasting = [b"lasting%04d" % i for i in range(1000)]
    with Server(port=0, threads=2, memory_limit=MEGABYTES) as server, Client(server.address) as client:
        put(client, ending, 60, ttl=600)
        put(client, lasting, 60)
        server.clock.advance(600)
        # The crawler comes round after a minute of the server's clock at the latest.
        server.clock.advance(60)
        deadline = time.monotonic() + PATIENCE_S
        while server.stats()["curr_items"] > len(lasting):
            assert not missing(client, lasting)
            assert time.monotonic() < deadline, f"{server.stats()['curr_items']} items are still there"
        stats = server.stats()
        assert stats["crawler_reclaimed"] + stats["reclaimed"] == len(ending)
        assert stats["crawler_reclaimed"] > len(ending) / 2
        assert (stats["evictions"], stats["get_expired"]) == (0, 0)
        # Nobody has asked for it, and all of the memory can be used again.
        put(client, ending, 60)
        assert server.stats()["evictions"] == 0


def test_values_of_another_size_come_to_have_the_memory() -> None:
    """A cache filled with 100-byte values, and then a workload of 4 KB values that half of it would hold."""
    small = [b"small%06d" % i for i in range(250_000)]
    large = [b"large%04d" % i for i in range(4000)]
    with Server(port=0, threads=2, memory_limit=MEGABYTES) as server, Client(server.address) as client:
        put(client, small, 100)
        assert server.stats()["evictions"] > 0
        ratios = []
        deadline = time.monotonic() + PATIENCE_S
        while not ratios or ratios[-1] < 0.99:
            assert time.monotonic() < deadline, f"hit ratios, round by round: {ratios}"
            lost = 0
            for at in range(0, len(large), BATCH):
                keys = missing(client, large[at : at + BATCH])
                put(client, keys, 4000)
                lost += len(keys)
            ratios.append(1 - lost / len(large))
        stats = server.stats()
    assert ratios[0] == 0
    assert stats["slabs_moved"] >= 10
    assert stats["store_no_memory"] == 0


def test_a_lower_limit_is_reached_soon_though_nothing_is_evicted() -> None:
    """A page a second, at which the classes are looked at then, would take 20 seconds."""
    keys = [b"large%04d" % i for i in range(80)]
    with Server(port=0, threads=2, memory_limit=MEGABYTES) as server, Client(server.address) as client:
        put(client, keys, 300_000)
        for key in keys:
            if not key.endswith(b"0"):
                client.ask(b"delete %b\r\n" % key, b"\r\n")
        assert client.ask(b"cache_memlimit 8\r\n", b"\r\n") == b"OK\r\n"
        deadline = time.monotonic() + 10
        while server.stats()["slabs_moved"] < 20:
            assert time.monotonic() < deadline, f"{server.stats()['slabs_moved']} pages"
        assert not missing(client, keys[::10])
