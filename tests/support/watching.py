"""A connection that watches, and its lines without what is different every time."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from tests.support.peers import Peer

STAMP = re.compile(rb"^ts=\d+\.\d{1,6} gid=\d+ ")
_OWN = re.compile(rb" (cfd|rport)=\d+|(?<= )clsid=[1-9]\d*")
_serial = itertools.count(1)


def masked(line: bytes) -> bytes:
    """``line`` without stamp and line end; descriptors, ports and slab classes but 0 become #."""
    assert STAMP.match(line), line
    assert line.endswith(b"\n")
    assert not line.endswith(b"\r\n")
    return _OWN.sub(lambda found: b" %s=#" % found[1] if found[1] else b"clsid=#", STAMP.sub(b"", line).rstrip(b"\n"))


class Watcher:
    """``watch`` and what comes of it."""

    def __init__(self, peer: Peer, words: bytes = b"fetchers") -> None:
        self.client = peer.connect()
        assert self.client.ask(b"watch %s\r\n" % words, b"\r\n") == b"OK\r\n"

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *exc: object) -> None:
        self.client.close()

    def lines_until(self, ending: bytes) -> Iterator[bytes]:
        """The lines up to the one that has ``ending`` in it, without that one."""
        while ending not in (line := self.client.read_until(b"\n")):
            yield line


def sentinel() -> tuple[bytes, bytes]:
    """A get that no test sends otherwise, and what its line has in it."""
    key = b"sentinel%08d" % next(_serial)
    return b"mg %s\r\n" % key, b" key=%s " % key


def await_stat(peer: Peer, name: bytes, number: int) -> None:
    """Return when ``stats`` says so, to a connection of its own; who has gone is counted until a worker has seen it."""
    with peer.connect() as client:
        for _ in range(100_000):
            if b"STAT %s %d\r\n" % (name, number) in client.ask(b"stats\r\n"):
                return
    raise AssertionError(f"{name.decode()} was never {number}")


def await_watchers(peer: Peer, number: int) -> None:
    """Return when the server knows of so many watchers: it looks for those that have gone every now and then."""
    await_stat(peer, b"log_watchers", number)
