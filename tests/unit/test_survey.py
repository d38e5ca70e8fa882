"""What the engine tells of all items: their sizes, and the keys of a class."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import pytest

from cachecore import Server
from cachecore_ext.engine import Engine
from tests.support.wire import Client

TEXT_MAX = 2 << 20  # of a cachedump


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(port=0, threads=1) as running:
        running.clock.freeze()
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.address) as connected:
        yield connected


@pytest.fixture
def engine(server: Server) -> Engine:
    running = server._engine
    assert running is not None
    return running


def put(client: Client, key: bytes, size: int, exptime: int = 0) -> None:
    client.send(b"set %s 0 %d %d noreply\r\n%s\r\n" % (key, exptime, size, b"v" * size))


def known(client: Client, key: bytes) -> tuple[int, int]:
    """What ``me`` shows: the item's class and its size."""
    found = re.search(rb" cls=(\d+) size=(\d+)", client.ask(b"me %s\r\n" % key, b"\r\n"))
    assert found
    return int(found[1]), int(found[2])


def test_no_items(engine: Engine) -> None:
    assert engine.item_sizes() == {}
    assert engine.cachedump(1, 0) == []


def test_sizes_are_rounded_up(engine: Engine, client: Client) -> None:
    sizes = [0, 1, 29, 30, 31, 32, 35, 67, 1000, 4000, 5000, 600_000]
    for size in sizes:
        put(client, b"%06d" % size, size)
    expected = Counter(-(-known(client, b"%06d" % size)[1] // 32) * 32 for size in sizes)
    assert known(client, b"%06d" % 30)[1] == 64, "one is a whole step, the next begins another"
    assert expected[64] == 4
    assert engine.item_sizes() == expected


def test_every_item_is_counted_once(engine: Engine, client: Client) -> None:
    for i in range(20_000):
        put(client, b"key%05d" % i, 10)
    _, size = known(client, b"key19999")
    assert engine.item_sizes() == {-(-size // 32) * 32: 20_000}


def test_keys_of_a_class(engine: Engine, client: Client, server: Server) -> None:
    put(client, b"small", 3)
    put(client, b"end/%", 4, exptime=100)
    put(client, b"large", 5000)
    put(client, b"huge", 600_000)
    classes = {key: known(client, key)[0] for key in (b"small", b"end/%", b"large", b"huge")}
    assert len(set(classes.values())) >= 3
    entries = {b"small": (3, 0), b"end/%": (4, server.clock.now + 100), b"large": (5000, 0), b"huge": (600_000, 0)}
    for cls in set(classes.values()):
        expected = {(key, *entries[key]) for key in classes if classes[key] == cls}
        assert set(engine.cachedump(cls, 0)) == expected
    for nobodys in (0, 63, 64, 2**32 - 1):
        assert engine.cachedump(nobodys, 0) == []


def test_what_has_ended_is_left_out(engine: Engine, client: Client, server: Server) -> None:
    put(client, b"ends", 3, exptime=10)
    put(client, b"stays", 3)
    cls, size = known(client, b"stays")
    server.clock.advance(10)
    assert engine.cachedump(cls, 0) == [(b"stays", 3, 0)]
    assert engine.item_sizes() == {-(-size // 32) * 32: 1}
    client.ask(b"flush_all\r\n", b"OK\r\n")
    assert engine.cachedump(cls, 0) == []
    assert engine.item_sizes() == {}


def test_binary_keys_are_left_out(engine: Engine, client: Client) -> None:
    client.ask(b"ms AP8= 3 b\r\nvvv\r\n", b"HD\r\n")
    put(client, b"ab", 3)
    cls, size = known(client, b"ab")
    assert engine.cachedump(cls, 0) == [(b"ab", 3, 0)]
    assert engine.item_sizes() == {-(-size // 32) * 32: 2}


def test_a_limit(engine: Engine, client: Client) -> None:
    for i in range(3000):
        put(client, b"key%04d" % i, 10)
    cls, _ = known(client, b"key0000")
    for limit in (1, 10, 2999, 3000, 3001):
        found = engine.cachedump(cls, limit)
        assert len(set(found)) == len(found) == min(limit, 3000)


def test_two_megabytes_of_text(engine: Engine, client: Client) -> None:
    for i in range(12_000):
        put(client, b"%0200d" % i, 10)
    cls, _ = known(client, b"%0200d" % 0)
    lines = [b"ITEM %b [%d b; %d s]\r\n" % entry for entry in engine.cachedump(cls, 0)]
    reply = b"".join([*lines, b"END\r\n"])
    assert len(reply) < TEXT_MAX <= len(reply) + len(lines[0])
