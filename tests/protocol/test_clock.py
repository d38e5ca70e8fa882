"""What time does to items: cachecore only, whose clock a test can move; memcached would need waiting."""

from __future__ import annotations

import re

import pytest

from tests.conftest import Launch
from tests.support.cases import END, ERROR, NOT_FOUND, OK, STORED, hit, put
from tests.support.peers import Peer, running_cachecore
from tests.support.wire import Client

A = hit(b"a", b"1")
HD, EN = b"HD\r\n", b"EN\r\n"


def ask(client: Client, request: bytes) -> bytes:
    return client.transcript(request)


def lives(peer: Peer, client: Client, seconds: int) -> None:
    """``a`` is there until just before ``seconds`` from now have passed, and then not."""
    peer.advance(seconds - 1)
    assert ask(client, b"mg a\r\n").startswith(b"HD")
    peer.advance(1)
    assert ask(client, b"get a\r\n") == END


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"set a 0 10 1\r\n1\r\n",
        b"add a 0 10 1\r\n1\r\n",
        b"set a 0 0 1\r\n1\r\ntouch a 10\r\n",
        b"set a 0 0 1\r\n1\r\ngat 10 a\r\n",
        b"set a 0 0 1\r\n1\r\ngats 10 a\r\n",
        b"set a 0 0 1\r\n1\r\nmg a T10\r\n",
        b"set a 0 0 1\r\n1\r\nreplace a 0 10 1\r\n1\r\n",
        b"set a 0 10 1\r\n1\r\nappend a 0 500 1\r\n1\r\n",
        b"set a 0 10 1\r\n1\r\nprepend a 0 0 1\r\n1\r\n",
        b"set a 0 10 1\r\n1\r\nincr a 1\r\n",
        b"set a 0 10 1\r\n9\r\nincr a 1\r\n",
        b"set a 0 10 1\r\n1\r\ndecr a 1\r\n",
        b"set a 0 500 1\r\n1\r\ntouch a 10\r\n",
        b"ms a 1 T10\r\n1\r\n",
        b"ms a 1 T10 ME\r\n1\r\n",
        b"ms a 1 MA N10 T500\r\n1\r\n",
        b"ms a 1 MP N10\r\n1\r\n",
        b"mg a N10\r\n",
        b"ma a N10\r\n",
        b"set a 0 0 1\r\n1\r\nma a T10\r\n",
        b"set a 0 0 1\r\n9\r\nma a T10\r\n",
        b"set a 0 0 1\r\n9\r\nmd a I T10\r\n",
        b"set a 0 0 1\r\n9\r\nmd a x T10\r\n",
        b"set a 0 10 1\r\n9\r\nmd a I\r\n",
    ],
)
def test_ten_seconds(cachecore_peer: Peer, request_bytes: bytes) -> None:
    with cachecore_peer.fresh() as client:
        assert b"ERROR" not in ask(client, request_bytes)
        lives(cachecore_peer, client, 10)


@pytest.mark.parametrize("seconds", [1, 2, 60, 2_592_000])
def test_relative_times(cachecore_peer: Peer, seconds: int) -> None:
    with cachecore_peer.fresh() as client:
        assert ask(client, put(b"a", b"1", 0, seconds)) == STORED
        lives(cachecore_peer, client, seconds)


def test_absolute_time(cachecore_peer: Peer) -> None:
    with cachecore_peer.fresh() as client:
        assert ask(client, put(b"a", b"1", 0, cachecore_peer.now() + 100)) == STORED
        assert ask(client, b"mg a t\r\n") == b"HD t100\r\n"
        lives(cachecore_peer, client, 100)


def test_no_time_is_for_ever(cachecore_peer: Peer) -> None:
    with cachecore_peer.fresh() as client:
        ask(client, put(b"a", b"1"))
        cachecore_peer.advance(40 * 86400)
        assert ask(client, b"get a\r\n") == A


@pytest.mark.parametrize("request_bytes", [b"touch a 0\r\n", b"gat 0 a\r\n", b"mg a T0\r\n"])
def test_touch_to_never(cachecore_peer: Peer, request_bytes: bytes) -> None:
    with cachecore_peer.fresh() as client:
        ask(client, put(b"a", b"1", 0, 10) + request_bytes)
        cachecore_peer.advance(1000)
        assert ask(client, b"get a\r\n") == A


@pytest.mark.parametrize(
    ("request_bytes", "reply"),
    [
        (b"get a\r\n", END),
        (b"gat 50 a\r\n", END),
        (b"touch a 50\r\n", NOT_FOUND),
        (b"delete a\r\n", NOT_FOUND),
        (b"incr a 1\r\n", NOT_FOUND),
        (b"replace a 0 0 1\r\n2\r\n", b"NOT_STORED\r\n"),
        (b"append a 0 0 1\r\n2\r\n", b"NOT_STORED\r\n"),
        (b"add a 0 0 1\r\n2\r\n", STORED),
        (b"cas a 0 0 1 5\r\n2\r\n", NOT_FOUND),
        (b"mg a T50\r\n", EN),
        (b"mg a N0\r\n", b"HD W\r\n"),
        (b"ms a 1 ME\r\n2\r\n", HD),
        (b"md a\r\n", b"NF\r\n"),
        (b"ma a\r\n", b"NF\r\n"),
        (b"me a\r\n", EN),
    ],
)
def test_expired_is_absent(cachecore_peer: Peer, request_bytes: bytes, reply: bytes) -> None:
    with cachecore_peer.fresh() as client:
        ask(client, put(b"a", b"1", 0, 10))
        cachecore_peer.advance(10)
        assert ask(client, request_bytes) == reply


def test_time_left(cachecore_peer: Peer) -> None:
    with cachecore_peer.fresh() as client:
        ask(client, put(b"a", b"1", 0, 100))
        assert ask(client, b"mg a t\r\n") == b"HD t100\r\n"
        cachecore_peer.advance(30)
        assert ask(client, b"mg a t\r\n") == b"HD t70\r\n"
        assert b" exp=70 " in ask(client, b"me a\r\n")
        cachecore_peer.advance(69)
        assert ask(client, b"mg a t\r\n") == b"HD t1\r\n"


def test_time_since_access(cachecore_peer: Peer) -> None:
    """Only the second fetch after a store renews the time of access."""
    with cachecore_peer.fresh() as client:
        ask(client, put(b"a", b"1"))
        cachecore_peer.advance(5)
        assert ask(client, b"me a\r\n").split()[3] == b"la=5"
        assert ask(client, b"mg a l h\r\n") == b"HD l5 h0\r\n"
        cachecore_peer.advance(5)
        assert ask(client, b"mg a l h u\r\n") == b"HD l10 h1\r\n"
        assert ask(client, b"mg a l h\r\n") == b"HD l10 h1\r\n"


def test_negative_time_left_wraps(cachecore_peer: Peer) -> None:
    """T-1 expires the item at once; t is then the 32-bit difference to tick 1."""
    with cachecore_peer.fresh() as client:
        ask(client, put(b"a", b"1"))
        left = int(ask(client, b"mg a T-1 t\r\n").split()[1][1:])
        tick = int(cachecore_peer.stats()[b"uptime"]) + 62
        assert left == 2**32 + 1 - tick


def test_recache(cachecore_peer: Peer) -> None:
    with cachecore_peer.fresh() as client:
        ask(client, put(b"a", b"1", 0, 100))
        assert ask(client, b"mg a R30 t\r\n") == b"HD t100\r\n"
        cachecore_peer.advance(70)
        assert ask(client, b"mg a R30 t\r\n") == b"HD t30\r\n"
        cachecore_peer.advance(1)
        assert ask(client, b"mg a R30 t\r\nmg a R30 t\r\n") == b"HD t29 W\r\nHD t29 Z\r\n"
        assert ask(client, put(b"a", b"1", 0, 100) + b"mg a R30\r\n") == STORED + HD


def test_flush_now_and_store_in_the_same_second(cachecore_peer: Peer) -> None:
    with cachecore_peer.fresh() as client:
        ask(client, put(b"a", b"1") + put(b"b", b"1"))
        assert ask(client, b"flush_all\r\n" + put(b"a", b"1") + b"get a b\r\n") == OK + STORED + A
        cachecore_peer.advance(1)
        assert ask(client, b"get a\r\n") == A


def test_flush_later(cachecore_peer: Peer) -> None:
    """A delay of ten seconds takes effect after nine, on everything stored until then."""
    with cachecore_peer.fresh() as client:
        ask(client, put(b"a", b"1"))
        assert ask(client, b"flush_all 10\r\n") == OK
        cachecore_peer.advance(5)
        assert ask(client, put(b"b", b"1") + b"get a\r\n") == STORED + A
        cachecore_peer.advance(3)
        assert ask(client, b"get a\r\n") == A
        cachecore_peer.advance(1)
        assert ask(client, b"get a b\r\n") == END
        cachecore_peer.advance(1)
        assert ask(client, put(b"a", b"1") + b"get a\r\n") == STORED + A
        cachecore_peer.advance(100)
        assert ask(client, b"get a\r\n") == A


def test_flush_at_an_absolute_time(cachecore_peer: Peer) -> None:
    with cachecore_peer.fresh() as client:
        ask(client, put(b"a", b"1") + b"flush_all %d\r\n" % (cachecore_peer.now() + 10))
        cachecore_peer.advance(8)
        assert ask(client, b"get a\r\n") == A
        cachecore_peer.advance(1)
        assert ask(client, b"get a\r\n") == END


def test_later_flush_replaces_the_earlier(cachecore_peer: Peer) -> None:
    with cachecore_peer.fresh() as client:
        ask(client, put(b"a", b"1") + b"flush_all 10\r\nflush_all 100\r\n")
        cachecore_peer.advance(50)
        assert ask(client, b"get a\r\n") == A
        assert ask(client, b"flush_all\r\n" + put(b"a", b"1")) == OK + STORED
        cachecore_peer.advance(100)
        assert ask(client, b"get a\r\n") == A


def test_expired_and_flushed_are_counted() -> None:
    # With nobody who would reclaim them before they are asked for.
    with running_cachecore(lru_maintainer=False, lru_crawler=False) as peer, peer.fresh() as client:
        ask(client, put(b"a", b"1", 0, 10) + put(b"b", b"1"))
        before = peer.stats()
        peer.advance(10)
        ask(client, b"get a\r\nflush_all\r\nget b\r\n")
        after = peer.stats()
    for name in (b"get_expired", b"get_flushed"):
        assert int(after[name]) == int(before[name]) + 1


def test_uptime_follows_the_clock(cachecore_peer: Peer) -> None:
    with cachecore_peer.fresh():
        before = cachecore_peer.stats()
        cachecore_peer.advance(1000)
        after = cachecore_peer.stats()
    for name in (b"uptime", b"time"):
        assert int(after[name]) - int(before[name]) == 1000


def test_debugtime(cachecore_peer: Peer) -> None:
    """The same clock by command."""
    with cachecore_peer.fresh() as client:
        ask(client, put(b"a", b"1", 0, 100))
        assert ask(client, b"debugtime 60\r\nmg a t\r\n") == OK + b"HD t40\r\n"
        assert ask(client, b"debugtime -20\r\nmg a t\r\n") == OK + b"HD t60\r\n"
        assert ask(client, b"debugtime p\r\n") == OK
        assert ask(client, b"debugtime r\r\n") == OK
        left = int(re.fullmatch(rb"HD t(\d+)\r\n", ask(client, b"mg a t\r\n"))[1])  # type: ignore[index]
        assert 50 < left <= 60
        assert ask(client, b"debugtime p\r\ndebugtime 100\r\nget a\r\n") == OK * 2 + END
        assert ask(client, b"debugtime\r\n") == ERROR
        assert ask(client, b"debugtime x\r\n") == ERROR


def test_debugtime_needs_its_option(launch: Launch) -> None:
    with launch(debug_commands=False).fresh() as client:
        assert ask(client, b"debugtime 5\r\ndebugtime p\r\n") == ERROR * 2


def test_blank_values_are_no_numbers(cachecore_peer: Peer) -> None:
    """memcached reads on behind a blank value, into whatever memory held before."""
    with cachecore_peer.fresh() as client:
        for blank in (b"", b" ", b"   ", b"\t", b"\r\n", b"\0"):
            ask(client, put(b"a", b"123456") + put(b"a", blank))
            reply = ask(client, b"incr a 1\r\ndecr a 1\r\nma a\r\nget a\r\n")
            refused = b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"
            assert reply == refused * 3 + hit(b"a", blank)
