"""Clients of a server whose pages move and whose limit changes; items expire, are flushed and crawled meanwhile."""

from __future__ import annotations

import random
import socket
import threading
import time
from typing import Any

from cachecore import Server

MEGABYTE = 1 << 20
PIPELINE = 100  # commands that are sent before a reply is read


def value_of(key: bytes, version: int, size: int) -> bytes:
    """A value that says whose it is, which one, and whether it is whole."""
    unit = b"%s:%d:%d:" % (key, version, size)
    return (unit * (size // len(unit) + 1))[:size]


def is_whole(key: bytes, value: bytes) -> bool:
    named, version, size, *_ = value.split(b":", 3)
    return named == key and value == value_of(key, int(version), int(size))


class Client:
    """Sets and gets keys that it shares with the others; counts what it got."""

    def __init__(self, address: Any, seed: int, keys: int, smallest: int, largest: int) -> None:
        self._chosen = random.Random(seed)
        self._address = address
        self._keys = keys
        self._sizes = (smallest, largest)
        self.hits = 0
        self.wrong: list[bytes] = []

    def _command(self) -> bytes:
        key = b"s%d-%d" % (self._sizes[1], self._chosen.randrange(self._keys))
        drawn = self._chosen.random()
        if drawn < 0.5:
            return b"get %s\r\n" % key
        if drawn < 0.6:
            return b"delete %s noreply\r\n" % key
        value = value_of(key, self._chosen.getrandbits(30), self._chosen.randint(*self._sizes))
        ttl = self._chosen.choice([0, 0, 3, 30])
        return b"set %s 0 %d %d noreply\r\n%s\r\n" % (key, ttl, len(value), value)

    def _read(self, replies: Any) -> None:
        """The replies up to that of the no-op at the end of a batch."""
        while (line := replies.readline()) != b"MN\r\n":
            if line.startswith(b"VALUE "):
                _, key, _, size = line.split()
                value = replies.read(int(size) + 2)[:-2]
                self.hits += 1
                if not is_whole(key, value):
                    self.wrong.append(key)
            elif line != b"END\r\n" and not line.startswith(b"SERVER_ERROR out of memory"):
                raise AssertionError(f"an unexpected reply: {line!r}")

    def run(self, until: float, hits: int = 0) -> None:
        """Go on so long, and until there were so many hits."""
        with socket.create_connection(self._address, 60) as client, client.makefile("rb") as replies:
            while time.monotonic() < until or self.hits < hits:
                client.sendall(b"".join([*(self._command() for _ in range(self._batch())), b"mn\r\n"]))
                self._read(replies)

    def _batch(self) -> int:
        return PIPELINE if self._sizes[1] < 20_000 else 5


def flush(address: Any) -> None:
    with socket.create_connection(address, 60) as client:
        client.sendall(b"flush_all\r\n")
        assert client.recv(4) == b"OK\r\n"


def disturb(server: Server, seed: int, until: float) -> None:
    """What operators do, over and over."""
    chosen = random.Random(seed)
    engine: Any = server._engine
    while time.monotonic() < until:
        doing = chosen.randrange(20)
        if doing < 14:
            engine.slabs_reassign(
                chosen.choice([-1, chosen.randrange(1, 60)]), chosen.choice([0, chosen.randrange(60)])
            )
        elif doing < 16:
            engine.crawl(None)
        elif doing < 18:
            engine.set_memory_limit(chosen.randint(8, 24) * MEGABYTE)
        elif doing < 19:
            server.clock.advance(chosen.randint(0, 2))
            if chosen.random() < 0.1:
                flush(server.address)
        else:
            engine.set_automove(chosen.choice([0, 1, 2]))
        time.sleep(0.001)  # leave the cores to the clients


def serve(seconds: float, seed: int) -> tuple[list[Client], dict[str, Any]]:
    """A server of 16 MB under four clients; they, and its counters."""
    with Server(port=0, threads=2, memory_limit=16) as server:
        until = time.monotonic() + seconds
        loads = [(20_000, 30, 200), (2000, 30, 12_000), (60, 100_000, 900_000), (60, 100_000, 900_000)]
        clients = [Client(server.address, seed + number, *load) for number, load in enumerate(loads)]
        failures: list[BaseException] = []

        def run(client: Client) -> None:
            try:
                client.run(until, 1)
            except BaseException as failure:
                failures.append(failure)

        threads = [threading.Thread(target=run, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        disturb(server, seed, until)
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        return clients, server._running().counters()
