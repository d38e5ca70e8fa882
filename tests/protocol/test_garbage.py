"""Bytes that are no protocol at all: the connection may end, the server goes on, nothing hangs."""

from __future__ import annotations

import random

import pytest

from tests.support.cases import CLOSED, STORED, hit, put
from tests.support.peers import Peer

TLS_HELLO = bytes.fromhex("16030100c8010000c403035f4d") + bytes(range(1, 190)) + b"\n" + bytes(8)
HTTP = b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n"
REDIS = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n"


def binary(opcode: int, key: int, extras: int, body: int) -> bytes:
    """A header of memcached's binary protocol with lengths of the sender's choice."""
    header = bytes([0x80, opcode]) + key.to_bytes(2, "big") + bytes([extras, 0, 0, 0])
    return header + body.to_bytes(4, "big") + bytes(12) + b"x" * 64


HOSTILE = {
    "tls": TLS_HELLO,
    "http": HTTP,
    "redis": REDIS,
    "binary-get": binary(0x00, 1, 0, 1),
    "binary-body-smaller-than-key": binary(0x01, 250, 8, 1),
    "binary-huge-body": binary(0x01, 1, 8, 2**32 - 1),
    "binary-negative-body": binary(0x0E, 65535, 255, 2**31),
    "nuls": bytes(1000),
    "nul-lines": b"\0\n" * 500,
    "high-bytes": b"\xff" * 1000 + b"\r\n",
    "carriage-returns": b"\r" * 1500 + b"\n",
    "line-feeds": b"\n" * 5000,
    "unfinished-length": b"set a 0 0 2147483645\r\nabc",
    "unfinished-meta-length": b"ms a 2147483645 T0\r\nabc",
    "many-unfinished": b"set a 0 0 5\r\nab",
    "block-without-end": b"set a 0 0 3\r\nabc",
    "half-an-end": b"set a 0 0 3\r\nabc\r",
    "only-a-word": b"get",
    "nothing": b"",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_openings(peer: Peer, name: str) -> None:
    """The connection closes when the client has finished, if not before; others do not notice."""
    with peer.fresh() as other, peer.connect() as client:
        assert other.transcript(put(b"b", b"1")) == STORED
        assert client.transcript_to_close(HOSTILE[name], end=True).endswith(CLOSED)
        assert other.transcript(b"get a b\r\n") == hit(b"b", b"1")


@pytest.mark.parametrize("seed", range(20))
def test_random_bytes(peer: Peer, seed: int) -> None:
    """Bytes at random, and lines of the protocol with bytes changed at random, cut at random."""
    chosen = random.Random(seed)
    lines = b"set a 0 0 3\r\nabc\r\nget a b\r\nmg a v t\r\nms b 3 T0\r\nabc\r\n"
    lines += b"ma n N0\r\nincr a 1\r\ndelete a\r\n"
    with peer.fresh() as other:
        for round_ in range(20):
            data = bytearray(chosen.randbytes(200) if round_ % 4 == 0 else lines * chosen.randint(1, 4))
            for _ in range(chosen.randint(0, 8)):
                data[chosen.randrange(len(data))] = chosen.choice(b"\r\n 0123456789\0\x80-+abTNqv")
            with peer.connect() as client:
                pieces = sorted(chosen.sample(range(1, len(data)), 3))
                assert client.transcript_to_close(bytes(data), pieces, end=True).endswith(CLOSED)
        assert other.transcript(put(b"b", b"1") + b"get b\r\n") == STORED + hit(b"b", b"1")


def test_connections_are_given_back(peer: Peer) -> None:
    """However connections end, the server does not keep them."""
    with peer.fresh():
        before = int(peer.stats()[b"curr_connections"])
        for name in HOSTILE:
            with peer.connect() as client:
                client.transcript_to_close(HOSTILE[name], end=True)
        assert int(peer.stats()[b"curr_connections"]) == before
