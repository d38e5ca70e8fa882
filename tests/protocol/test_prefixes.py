"""What counts for a key's prefix, by the commands of both protocols."""

from __future__ import annotations

import pytest

from tests.conftest import Launch
from tests.support.cases import put
from tests.support.peers import Peer
from tests.support.watching import Watcher, await_watchers

Counted = dict[bytes, tuple[int, int, int, int]]


def counted(peer: Peer) -> Counted:
    """Prefix to gets, hits, sets, deletes."""
    return {prefix: tuple(numbers) for prefix, *numbers in peer.server._running().prefix_stats()}


def count(peer: Peer, requests: bytes) -> Counted:
    """What ``requests`` count for, on an empty server."""
    engine = peer.server._running()
    with peer.fresh() as client:
        client.transcript(b"stats reset\r\n")
        engine.set_detail(True)
        try:
            client.transcript(requests)
            return counted(peer)
        finally:
            engine.set_detail(False)


#: Requests about the keys of prefix k, of which k:1 is there with the value 1; what k has then beyond its one set.
COUNTED = {
    "get": (b"get k:1 k:2 k:1\r\n", (3, 2, 0, 0)),
    "gets": (b"gets k:1\r\n", (1, 1, 0, 0)),
    "gat-gats": (b"gat 0 k:1 k:2\r\ngats 0 k:1\r\n", (3, 2, 0, 0)),
    "touch": (b"touch k:1 0\r\ntouch k:2 0\r\n", (2, 1, 0, 0)),
    "incr-decr": (b"incr k:1 1\r\ndecr k:1 1\r\nincr k:2 1\r\n", (3, 2, 0, 0)),
    "set": (put(b"k:1", b"2") + put(b"k:2", b"2"), (0, 0, 2, 0)),
    "set-that-is-not-stored": (b"add k:1 0 0 1\r\n1\r\ncas k:2 0 0 1 1\r\n1\r\n", (0, 0, 2, 0)),
    "append-prepend": (b"append k:1 0 0 1\r\n1\r\nprepend k:2 0 0 1\r\n1\r\n", (0, 0, 2, 0)),
    "set-too-large": (b"set k:1 0 0 2000000\r\n" + b"x" * 2_000_000 + b"\r\n", (0, 0, 1, 0)),
    "set-large": (put(b"k:1", b"x" * 100_000), (0, 0, 1, 0)),
    "set-bad-block": (b"set k:1 0 0 1\r\n22\r\n", (0, 0, 1, 0)),
    "set-bad-line": (b"set k:1 x 0 1\r\n1\r\n", (0, 0, 0, 0)),
    "delete": (b"delete k:1\r\ndelete k:1\r\n", (0, 0, 0, 2)),
    "mg": (b"mg k:1 v\r\nmg k:2\r\nmg k:1 T30 q\r\n", (3, 2, 0, 0)),
    "mg-vivify": (b"mg k:2 N30\r\nmg k:2\r\n", (2, 1, 0, 0)),
    "ms": (b"ms k:1 1\r\n1\r\nms k:2 1 ME\r\n1\r\nms k:2 1 MA\r\n1\r\nms k:1 1 C1\r\n1\r\n", (0, 0, 4, 0)),
    "md": (b"md k:1 I\r\nmd k:1\r\nmd k:1 q\r\n", (0, 0, 0, 3)),
    "ma": (b"ma k:1\r\nma k:2\r\nma k:2 N0\r\n", (3, 1, 0, 0)),
    "me": (b"me k:1\r\nme k:2\r\n", (2, 1, 0, 0)),
    "key-in-base64": (b"mg azox b\r\n", (1, 1, 0, 0)),
    "other-prefixes": (b"get k\r\nget kk:1\r\nget K:1\r\n", (0, 0, 0, 0)),
    "second-delimiter": (b"get k:1:2:3\r\n", (1, 0, 0, 0)),
}


@pytest.mark.parametrize("name", COUNTED)
def test_what_counts(cachecore_peer: Peer, name: str) -> None:
    requests, (gets, hits, sets, deletes) = COUNTED[name]
    found = count(cachecore_peer, put(b"k:1", b"1") + requests)
    assert found[b"k"] == (gets, hits, sets + 1, deletes)


def test_what_a_prefix_is(cachecore_peer: Peer) -> None:
    longest = b"p" * 249
    found = count(cachecore_peer, b"get none :empty ::empty a:b:c end: %s:\r\nmg %s\r\n" % (longest, b"q" * 250))
    one = (1, 0, 0, 0)
    assert found == {b"": (2, 0, 0, 0), b"a": one, b"end": one, longest: one}


def test_on_and_off(cachecore_peer: Peer) -> None:
    """Off, nothing is counted, and what was counted stays; stats reset forgets it."""
    engine = cachecore_peer.server._running()
    assert not engine.detail
    with cachecore_peer.fresh() as client:
        client.transcript(b"stats reset\r\n")
        engine.set_detail(True)
        assert engine.detail
        client.transcript(b"get a:1\r\n")
        engine.set_detail(True)
        engine.set_detail(False)
        client.transcript(b"get a:1\r\nget b:1\r\n")
        assert counted(cachecore_peer) == {b"a": (1, 0, 0, 0)}
        client.transcript(b"stats reset\r\n")
        assert counted(cachecore_peer) == {}


def test_watchers_do_not_change_it(cachecore_peer: Peer) -> None:
    """Both are told by the same word."""
    engine = cachecore_peer.server._running()
    engine.set_detail(True)
    try:
        with Watcher(cachecore_peer, b"mutations"):
            assert engine.detail
        await_watchers(cachecore_peer, 0)
        assert engine.detail
    finally:
        engine.set_detail(False)


def test_delimiter_and_state_at_the_start(launch_cachecore: Launch) -> None:
    peer = launch_cachecore(prefix_delimiter="/")
    with peer.connect() as client:
        client.transcript(b"get a:b/c\r\n")
    assert counted(peer) == {b"a:b": (1, 0, 0, 0)}


def test_many_prefixes(cachecore_peer: Peer) -> None:
    """More than are copied at once; each is there once."""
    number = 3000
    found = count(cachecore_peer, b"".join(b"get p%d:x p%d:y\r\n" % (i, i) for i in range(number)))
    assert found == {b"p%d" % i: (2, 0, 0, 0) for i in range(number)}


def test_what_follows_in_the_same_packet_counts(cachecore_peer: Peer) -> None:
    """Also when the worker gets the answer to the switch while it still is at work on another answer."""
    requests = b"stats reset\r\nstats detail on\r\nget k:1\r\nstats detail off\r\nget k:1\r\nstats detail dump\r\n"
    expected = b"RESET\r\nOK\r\nEND\r\nOK\r\nEND\r\nPREFIX k get 1 hit 0 set 0 del 0\r\nEND\r\n"
    with cachecore_peer.fresh() as client:
        for _ in range(200):
            assert client.transcript(requests * 5) == expected * 5
