"""Random streams of commands, cut at random places, to servers in this process.

    python -m tests.fuzz.streams --seconds 60 --current FILE

Two of the servers have the same past and are sent the same streams, one of them in pieces: every byte of their replies
must be the same, as must in the end what they count and hold. A third one, with all its threads, gets several streams
side by side on connections that end in every way; there it is the sanitizer that looks. FILE always has the streams
that are under way.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import re
import socket
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz import seeds
from tests.protocol.normaliser import OWN_VALUES
from tests.support.dumps import dump
from tests.support.peers import Option, Peer, running_cachecore
from tests.support.wire import CLOSED, Client

#: Whose answers tell of the server itself, or of what other threads do.
OWN = re.compile(rb"stats|slabs|lru|watch|shutdown|debugtime|cache_memlimit|verbosity")
AT_ONCE = 4  # connections to the third server
CHECK_EVERY = 200  # streams between two comparisons of all that the two count and hold
LARGE = 600_000  # bytes of the largest value


class DifferenceError(AssertionError):
    """The two servers do not agree."""


class Mutator:
    """Streams from one seed: those of the generators and of the tables, changed here and there."""

    def __init__(self, seed: int, more: list[bytes]) -> None:
        self.random = random.Random(seed)
        self.seeds = [*seeds.streams(), *more]

    def stream(self) -> bytes:
        """A stream of some hundred bytes, as a rule."""
        chosen = self.random
        stream = bytearray(b"".join(chosen.choices(self.seeds, k=chosen.randint(1, 3)))[:20_000])
        for _ in range(chosen.choice([0, 1, 1, 2, 3, 6])):
            self.change(stream)
        return bytes(stream)

    def change(self, stream: bytearray) -> None:
        """One change at a random place."""
        chosen = self.random
        at = chosen.randint(0, len(stream))
        behind = at + chosen.choice([1, 1, 2, 4, chosen.randint(0, 300)])
        what = chosen.randrange(7)
        if what == 0:
            stream[at:behind] = b""
        elif what == 1:
            stream[at:at] = chosen.choice(seeds.WORDS)
        elif what == 2:
            stream[at:behind] = chosen.choice(seeds.WORDS)
        elif what == 3:
            stream[at:at] = stream[at:behind] * chosen.choice([1, 2, 30])
        elif what == 4:
            stream[at : at + 1] = bytes([chosen.randrange(256)])
        elif what == 5:
            stream[at:at] = chosen.randbytes(chosen.randint(1, 20))
        else:
            stream[at:at] = self.large()

    def large(self) -> bytes:
        """A set of a large value, whole or not."""
        size = self.random.choice([1000, 3000, 5000, 70_000, LARGE])
        value = self.random.randbytes(50) * (size // 50)
        return b"set a 0 0 %d\r\n%s\r\nget a\r\n" % (len(value) + self.random.choice([0, 0, 0, -1, 1]), value)

    def cuts(self, size: int) -> list[int]:
        """Where to cut a stream: everywhere, or at some places."""
        if size < 2:
            return []
        if size < 300 and self.random.random() < 0.2:
            return list(range(1, size))
        return self.random.sample(range(1, size), min(size - 1, self.random.randint(1, 15)))


def answer(peer: Peer, stream: bytes, cuts: list[int] | None) -> tuple[bytes, bool]:
    """All that comes back until the server closes, as it does when this side has ended; and whether its end is lost."""
    with peer.connect(timeout=20) as client:
        return client.transcript_to_close(stream, cuts, end=True).removesuffix(CLOSED), client.reset


def differ_at(one: bytes, other: bytes, lost: bool) -> int | None:
    """Where two answers differ, if they do; what one of them lacks at its end may be ``lost``."""
    for at, (mine, its) in enumerate(zip(one, other, strict=False)):
        if mine != its:
            return at
    return None if lost or len(one) == len(other) else min(len(one), len(other))


class Pair:
    """Two servers of the same past; one gets its streams in pieces."""

    def __init__(self, whole: Peer, pieces: Peer) -> None:
        self.peers = whole, pieces

    def compare(self, stream: bytes, cuts: list[int]) -> None:
        """DifferenceError if their answers differ."""
        (whole, reset), (pieces, reset_too) = (
            answer(peer, stream, where) for peer, where in zip(self.peers, (None, cuts), strict=True)
        )
        at = None if whole == pieces else differ_at(whole, pieces, reset or reset_too)
        if at is not None:
            begin = max(0, at - 100)
            raise DifferenceError(
                f"at byte {at}, cut at {cuts}:\n{whole[begin : at + 300]!r}\n{pieces[begin : at + 300]!r}"
            )

    def compare_all(self) -> None:
        """DifferenceError if what they count, or hold, differs."""
        states: list[set[tuple[bytes, ...]]] = []
        for peer in self.peers:
            counted = {item for item in peer.stats().items() if item[0] not in OWN_VALUES}
            with peer.connect() as client:
                states.append(counted | {(line,) for line in dump(client).splitlines()})
        if differ := states[0] ^ states[1]:
            raise DifferenceError(f"counted or held: {sorted(differ)[:20]}")


@contextlib.contextmanager
def pair(**of_pieces: Option) -> Iterator[Pair]:
    """A fresh pair, whose clocks show the same and stand still."""
    calm: dict[str, Option] = {"threads": 1, "lru_maintainer": False, "lru_crawler": False}
    while True:
        with running_cachecore(**calm) as whole, running_cachecore(**(calm | of_pieces)) as pieces:
            for peer in (whole, pieces):
                peer.server.clock.freeze()
            if whole.now() == pieces.now():
                yield Pair(whole, pieces)
                return


class Crowd:
    """Connections to one server, side by side, that end as connections do."""

    def __init__(self, peer: Peer, chosen: random.Random) -> None:
        self.peer = peer
        self.random = chosen

    def run(self, streams: list[bytes]) -> None:
        """Send some of each stream in turn, then end each connection in one way or another."""
        clients = [self.peer.connect(timeout=30) for _ in streams]
        left = [memoryview(stream) for stream in streams]
        try:
            while any(left):
                for number, client in enumerate(clients):
                    step = self.random.choice([1, 7, 100, 3000, 1 << 20])
                    client.send(bytes(left[number][:step]))
                    left[number] = left[number][step:]
            for client in clients:
                self.end(client)
        finally:
            for client in clients:
                client.close()
        with self.peer.connect(timeout=30) as client:
            client.ask(b"mn\r\n", b"MN\r\n")

    def end(self, client: Client) -> None:
        """Read all and close, close at once, or reset."""
        way = self.random.randrange(3)
        if way == 0:
            client.end()
            client.read_to_close()
        elif way == 1:
            with contextlib.suppress(OSError):
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def fuzz(seconds: float, seed: int, current: Path, corpus: list[bytes]) -> tuple[int, int, int]:
    """Streams and bytes compared, and streams to the third server, until the time is over."""
    mutator = Mutator(seed, corpus)
    compared = sent = rough = 0
    until = time.monotonic() + seconds
    with pair() as both, running_cachecore(threads=4, memory_limit=16) as crowded:
        crowd = Crowd(crowded, mutator.random)
        while time.monotonic() < until:
            streams = [mutator.stream() for _ in range(AT_ONCE)]
            current.write_bytes(b"\n--\n".join(streams))
            for stream in streams:
                if not OWN.search(stream):
                    both.compare(stream, mutator.cuts(len(stream)))
                    compared += 1
                    sent += len(stream)
                    if compared % CHECK_EVERY == 0:
                        both.compare_all()
            crowd.run(streams)
            rough += len(streams)
        both.compare_all()
    return compared, sent, rough


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--current", type=Path, required=True, metavar="FILE")
    parser.add_argument("--corpus", type=Path)
    options = parser.parse_args()
    corpus = [path.read_bytes() for path in sorted(options.corpus.iterdir())] if options.corpus else []
    compared, sent, rough = fuzz(options.seconds, options.seed, options.current, corpus)
    print(f"seed {options.seed}: {compared} streams compared, {sent} bytes; {rough} streams side by side")
    return 0


if __name__ == "__main__":
    sys.exit(main())
