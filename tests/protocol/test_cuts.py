"""However the bytes arrive, the replies are the same."""

from __future__ import annotations

import random

import pytest

from tests.protocol.tables import ALL
from tests.support.cases import Case, explain, rows, run
from tests.support.peers import Peer
from tests.support.wire import cut

#: Up to this size a request is sent byte by byte, beyond it in a number of random pieces.
BYTEWISE = 600
PIECES = 25


def offsets(row: Case, seed: int) -> list[int]:
    size = len(row.request)
    if size <= BYTEWISE:
        return list(range(1, size + 100))  # the marker behind it too
    return sorted(random.Random(seed).sample(range(1, size), PIECES))


@rows(ALL)
def test_in_single_bytes(cachecore_peer: Peer, row: Case) -> None:
    """Every byte is a segment of its own, and the server has read it before the next one is sent."""
    reply, expected = run(cachecore_peer, row, offsets(row, seed=1))
    if reply != expected:
        pytest.fail(explain(cachecore_peer, row, expected, reply), pytrace=False)


@rows([row for row in ALL if len(row.request) <= BYTEWISE])
def test_cut_in_two(cachecore_peer: Peer, row: Case) -> None:
    """A seeded sample of the cuts in two pieces: the middle of the line, of its end, of the block."""
    chosen = random.Random(row.name)
    size = len(row.request)
    ends = {row.request.find(b"\r") + 1, row.request.find(b"\n") + 1, size - 1}
    for place in sorted(ends | {chosen.randrange(1, size + 1)}):
        reply, expected = run(cachecore_peer, row, [place])
        if reply != expected:
            pytest.fail(f"cut at {place}: {explain(cachecore_peer, row, expected, reply)}", pytrace=False)


def test_one_stream_of_all(cachecore_peer: Peer) -> None:
    """All rows behind each other on one connection: in one go, in single bytes, in random pieces."""
    chosen = [
        row
        for row in ALL
        if not row.closing
        and not row.half_close
        and b"<" not in row.request + row.setup + row.reply
        and len(row.request) <= BYTEWISE
        and not row.ticks
    ]
    stream = b"".join(b"flush_all\r\n" + row.setup + row.request for row in chosen)
    replies = []
    for seed in range(4):
        cuts = None if seed == 0 else sorted(random.Random(seed).sample(range(1, len(stream)), seed * 400))
        with cachecore_peer.fresh() as client:
            replies.append(client.transcript(stream, cuts))
    assert len(replies[0]) > 5000
    assert replies[1:] == replies[:1] * 3


def test_pieces() -> None:
    assert cut(b"abcdef", [2, 2, 5, 0, 6, 9]) == [b"ab", b"cde", b"f"]
    assert cut(b"abc", ()) == [b"abc"]
