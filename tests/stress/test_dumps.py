"""Dumps while others write: what nobody touches is listed exactly once, whatever the threads do."""

from __future__ import annotations

import collections
import threading

from cachecore import Server
from tests.support.wire import Client

STEADY = 5000
DUMPS = 20
WRITTEN = 100_000  # keys of a writer, half of which stay: more than the first table has room for


def write(server: Server, name: bytes, stop: threading.Event, writes: list[int]) -> None:
    """Set keys, and delete every second one of them again, over and over."""
    first = written = 0
    with Client(server.address, timeout=60) as client:
        while not stop.is_set():
            numbers = range(first, first + 500)
            client.ask(
                b"".join(b"set %s%d 0 0 4 noreply\r\ndata\r\n" % (name, n) for n in numbers)
                + b"".join(b"delete %s%d noreply\r\n" % (name, n) for n in numbers if n % 2)
                + b"mn\r\n",
                b"MN\r\n",
            )
            first = (first + 500) % WRITTEN
            written += 500
    writes.append(written)


def test_dumps_while_others_write() -> None:
    stop, writes = threading.Event(), list[int]()
    with Server(port=0, threads=4, memory_limit=256) as server, Client(server.address, timeout=60) as client:
        empty = int(server.stats()["hash_bytes"])
        client.ask(b"".join(b"set steady%d 0 0 1 noreply\r\n1\r\n" % n for n in range(STEADY)) + b"mn\r\n", b"MN\r\n")
        writers = [threading.Thread(target=write, args=(server, b"%c-" % name, stop, writes)) for name in b"xyz"]
        for writer in writers:
            writer.start()
        try:
            dumps = 0
            # Until the table has grown, too: it does, if not at which dump; the suite's time limit ends this.
            while dumps < DUMPS or int(server.stats()["hash_bytes"]) == empty:
                dumps += 1
                lines = client.ask(b"lru_crawler mgdump all\r\n", b"\r\nEN\r\n").split(b"\r\n")
                listed = collections.Counter(line for line in lines if line.startswith(b"mg steady"))
                assert listed == {b"mg steady%d" % n: 1 for n in range(STEADY)}
        finally:
            stop.set()
            for writer in writers:
                writer.join()
        assert len(writes) == 3 and min(writes) > 0
        assert int(server.stats()["evictions"]) == 0
