"""slabs, lru, lru_crawler, cache_memlimit, shutdown and the rarer stats: what they do, and where they are forbidden."""

from __future__ import annotations

import contextlib
import re
import time

import pytest

from tests.conftest import Launch
from tests.support.cases import (
    END,
    ERROR,
    FORMAT,
    MN,
    OK,
    Case,
    answer,
    case,
    check,
    put,
    recorded,
    rows,
)
from tests.support.peers import CACHECORE, KINDS, Peer, running

NOSPARE = b"NOSPARE source class has no spare pages\r\n"
BADCLASS = b"BADCLASS invalid src or dst class id\r\n"
SAME = b"SAME src and dst class are identical\r\n"
NO_REASSIGN = b"CLIENT_ERROR slab reassignment disabled\r\n"
BUSY = b"BUSY currently processing crawler request\r\n"
BAD_CRAWL = b"BADCLASS invalid class id\r\n"
NO_CRAWL = b"CLIENT_ERROR lru crawler disabled\r\n"
NOT_STARTED = b"NOTSTARTED no items to crawl\r\n"
RUNNING = b"ERROR failed to start lru crawler thread\r\n"
UNKNOWN = b"ERROR an unknown error happened\r\n"
NO_CACHEDUMP = b"CLIENT_ERROR stats cachedump not allowed\r\n"
NO_DETAIL = b"CLIENT_ERROR stats detail not allowed\r\n"
NO_FLUSH = b"CLIENT_ERROR flush_all not allowed\r\n"
NO_MODE = b"CLIENT_ERROR invalid shutdown mode\r\n"

#: Each row leaves things as they were: the servers are shared.
SLABS = [
    case("automove-0", b"slabs automove 0\r\nslabs automove 1\r\n", OK * 2),
    case("automove-2", b"slabs automove 2\r\nslabs automove 1\r\n", OK * 2),
    case("automove-and-more", b"slabs automove 1 x y\r\n", OK),
    case("automove-noreply", b"slabs automove 1 noreply\r\nmn\r\n", MN),
    case("automove-ratio", b"slabs automove ratio .5\r\nslabs automove ratio 8e-1\r\n", OK * 2),
    case("automove-ratio-and-more", b"slabs automove ratio 0.8 x\r\n", OK),
    case("automove-ratio-noreply", b"slabs automove ratio 0.8 noreply\r\nmn\r\n", MN),
    case("automove-freeratio", b"slabs automove freeratio 0.01\r\n", OK),
    case("automove-window-3", b"slabs automove window 3\r\nslabs automove window 10\r\n", OK * 2),
    case("automove-window-1800", b"slabs automove window 1800\r\nslabs automove window 10\r\n", OK * 2),
    case("automove-window-and-more", b"slabs automove window 10 x\r\n", OK),
    case("reassign-to-itself", b"slabs reassign 1 1\r\n", SAME),
    case("reassign-the-pool-to-itself", b"slabs reassign 0 0\r\n", SAME),
    case("reassign-from-no-class", b"slabs reassign 64 1\r\n", BADCLASS),
    case("reassign-to-no-class", b"slabs reassign 1 64\r\n", BADCLASS),
    case("reassign-to-any-class", b"slabs reassign 1 -1\r\n", BADCLASS),
    case("reassign-from-minus-two", b"slabs reassign -2 1\r\n", BADCLASS),
    case("reassign-word-1", b"slabs reassign x 1\r\n", FORMAT),
    case("reassign-word-2", b"slabs reassign 1 x\r\n", FORMAT),
    case("reassign-plus", b"slabs reassign +1 1\r\n", FORMAT),
]

LRU = [
    case("lru-mode", b"lru mode flat\r\nlru mode segmented\r\n", OK * 2),
    case("lru-mode-and-more", b"lru mode segmented x\r\n", OK),
    case("lru-mode-noreply", b"lru mode segmented noreply\r\nmn\r\n", MN),
    case("lru-tune", b"lru tune 80 0 0.5 1.5\r\nlru tune 20 40 0.2 2.0\r\n", OK * 2),
    case("lru-tune-and-more", b"lru tune 20 40 0.2 2.0 x\r\n", OK),
    case("lru-tune-noreply", b"lru tune 20 40 0.2 2.0 noreply\r\nmn\r\n", MN),
    case("lru-temp-ttl", b"lru temp_ttl 0\r\nlru temp_ttl 61\r\nlru temp_ttl -1\r\n", OK * 3),
    case("lru-temp-ttl-and-more", b"lru temp_ttl -1 x\r\n", OK),
    case("lru-temp-ttl-noreply", b"lru temp_ttl -1 noreply\r\nmn\r\n", MN),
]

CRAWLER = [
    case("crawler-enable-again", b"lru_crawler enable\r\n", RUNNING),
    case("crawler-sleep", b"lru_crawler sleep 1000000\r\nlru_crawler sleep 0\r\nlru_crawler sleep 100\r\n", OK * 3),
    case("crawler-tocrawl", b"lru_crawler tocrawl 4294967295\r\nlru_crawler tocrawl 0\r\n", OK * 2),
    case("crawl-class-0", b"lru_crawler crawl 0\r\n", BAD_CRAWL),
    case("crawl-class-64", b"lru_crawler crawl 64\r\n", BAD_CRAWL),
    case("crawl-word", b"lru_crawler crawl x\r\n", BAD_CRAWL),
    case("crawl-a-class-and-a-word", b"lru_crawler crawl 1,x\r\n", BAD_CRAWL),
    case("crawl-no-class", b"lru_crawler crawl ,,\r\n", NOT_STARTED),
    case("crawl-hash", b"lru_crawler crawl hash\r\n", UNKNOWN),
]

OTHERS = [
    case("memlimit", b"cache_memlimit 32\r\ncache_memlimit 64\r\n", OK * 2),
    case("memlimit-and-more", b"cache_memlimit 64 x y\r\n", OK),
    case("memlimit-noreply", b"cache_memlimit 64 noreply\r\nmn\r\n", MN),
    case("stats-detail", b"stats detail on\r\nstats detail off\r\n", OK * 2),
    case("stats-detail-and-more", b"stats detail off x\r\n", OK),
    case("stats-detail-off-answers-in-spite-of-noreply", b"stats detail off noreply\r\n", OK),
    case(
        "stats-detail-dump",
        b"stats reset\r\nstats detail on\r\nget a:b\r\nstats detail off\r\nstats detail dump\r\n",
        b"RESET\r\n" + OK + END + OK + b"PREFIX a get 1 hit 0 set 0 del 0\r\n" + END,
    ),
    case("stats-cachedump-of-an-empty-class", b"stats cachedump 63 0\r\n", END),
    case("stats-cachedump-and-more", b"stats cachedump 63 0 x\r\n", END),
]

#: What memcached 1.6.18 answers instead: by difference, then by row.
MEMCACHED_ANSWERS: dict[str, dict[str, bytes]] = {
    "lenient-numbers": {
        "reassign-plus": SAME,
    },
    "surplus-arguments": {
        "memlimit-and-more": ERROR,
    },
    "automove-arguments": {
        "automove-freeratio": FORMAT,
        "automove-window-3": FORMAT * 2,
        "automove-window-1800": FORMAT * 2,
        "automove-window-and-more": FORMAT,
    },
}

CASES = recorded(SLABS + LRU + CRAWLER + OTHERS, MEMCACHED_ANSWERS)


@rows(CASES)
def test_admin_effects(peer: Peer, row: Case) -> None:
    check(peer, row)


# What shows that it was done

#: A line, the field of ``stats settings`` that it changes, its value then, and the line that changes it back.
SHOWN = [
    (b"slabs automove 2", b"slab_automove", b"2", b"slabs automove 1"),
    (b"slabs automove ratio 0.751", b"slab_automove_ratio", b"0.75", b"slabs automove ratio 0.8"),
    (b"lru mode flat", b"lru_segmented", b"no", b"lru mode segmented"),
    (b"lru mode segmented", b"lru_segmented", b"yes", b"lru mode segmented"),
    (b"lru tune 11 40 0.2 2", b"hot_lru_pct", b"11", b"lru tune 20 40 0.2 2"),
    (b"lru tune 20 41 0.2 2", b"warm_lru_pct", b"41", b"lru tune 20 40 0.2 2"),
    (b"lru tune 20 40 0.333 2", b"hot_max_factor", b"0.33", b"lru tune 20 40 0.2 2"),
    (b"lru tune 20 40 0.2 3", b"warm_max_factor", b"3.00", b"lru tune 20 40 0.2 2"),
    (b"lru temp_ttl 5", b"temp_lru", b"yes", b"lru temp_ttl -1"),
    (b"lru temp_ttl 5", b"temporary_ttl", b"5", b"lru temp_ttl -1"),
    (b"lru temp_ttl -1", b"temp_lru", b"no", b"lru temp_ttl -1"),
    (b"lru_crawler sleep 55", b"lru_crawler_sleep", b"55", b"lru_crawler sleep 100"),
    (b"lru_crawler tocrawl 66", b"lru_crawler_tocrawl", b"66", b"lru_crawler tocrawl 0"),
    (b"stats detail on", b"detail_enabled", b"yes", b"stats detail off"),
    (b"stats detail off", b"detail_enabled", b"no", b"stats detail off"),
    (b"cache_memlimit 32", b"maxbytes", b"33554432", b"cache_memlimit 64"),
]


@pytest.mark.parametrize(("line", "field", "value", "back"), SHOWN, ids=[row[0].decode() for row in SHOWN])
def test_it_shows_in_the_settings(peer: Peer, line: bytes, field: bytes, value: bytes, back: bytes) -> None:
    with peer.connect() as client:
        assert client.transcript(line + b"\r\n") == OK
        assert peer.stats(b"settings")[field] == value
        assert client.transcript(back + b"\r\n") == OK


def test_a_class_without_pages_has_none_to_spare(launch: Launch) -> None:
    with launch().connect() as client:
        lines = b"slabs reassign 3 4\r\nslabs reassign 3 0\r\nslabs reassign 0 3\r\n"
        assert client.transcript(lines) == NOSPARE * 3


def test_a_page_moves(launch: Launch) -> None:
    """To the pool, from a class that has two pages."""
    peer = launch()
    with peer.connect() as client:
        value = bytes(100)
        client.transcript(b"".join(put(b"key%d" % i, value) for i in range(20_000)))
        pages = peer.stats(b"slabs")
        source = next(name.split(b":")[0] for name, n in pages.items() if b":total_pages" in name and int(n) > 1)
        assert client.transcript(b"slabs reassign %s 0\r\n" % source) == OK
        deadline = time.monotonic() + 10
        while (stats := peer.stats())[b"slabs_moved"] == b"0":
            assert time.monotonic() < deadline
        assert stats[b"slab_global_page_pool"] == b"1"
        assert stats[b"slab_reassign_running"] == b"0"


def wait_for_crawler(peer: Peer, state: bytes) -> None:
    """memcached's crawler comes and goes beside the serving; the suite's time limit ends this."""
    while peer.stats(b"settings")[b"lru_crawler"] != state:
        pass


def test_the_crawler_is_switched(launch: Launch) -> None:
    peer = launch()
    wait_for_crawler(peer, b"yes")
    with peer.connect() as client:
        assert client.transcript(b"lru_crawler disable\r\nlru_crawler disable\r\n") == OK * 2
        wait_for_crawler(peer, b"no")
        assert b"lru_crawler_running" not in peer.stats()
        assert client.transcript(b"lru_crawler crawl all\r\nlru_crawler crawl x\r\n") == NO_CRAWL * 2
        assert client.transcript(b"lru_crawler enable\r\nlru_crawler enable\r\n") == OK + RUNNING
        wait_for_crawler(peer, b"yes")
        assert b"lru_crawler_running" in peer.stats()


@pytest.mark.parametrize("which", [b"all", b"1", b"1,2,,3"])
@pytest.mark.parametrize("stored", [b"", put(b"a", b"1")], ids=["nothing", "an-item"])
def test_a_crawl_starts(launch: Launch, stored: bytes, which: bytes) -> None:
    """Also where there is nothing to crawl."""
    with launch().connect() as client:
        client.transcript(stored)
        deadline = time.monotonic() + 10
        while (reply := client.transcript(b"lru_crawler crawl %s\r\n" % which)) == BUSY:
            assert time.monotonic() < deadline, "its own crawl does not end"
        assert reply == OK


def test_statistics_by_prefix(launch: Launch) -> None:
    """The order of the prefixes is the server's own."""
    peer = launch()
    with peer.connect() as client:
        client.transcript(b"get a:b\r\nstats detail on\r\nget a:b c\r\n" + put(b"a:b", b"1") + put(b"c", b"1"))
        client.transcript(b"add a:b 0 0 1\r\n1\r\ngets a:b a:x\r\ngat 0 a:b\r\ndelete a:x\r\ndelete bb:x:y\r\n")
        client.transcript(b"stats detail off\r\nget a:b\r\n")
        lines = client.transcript(b"stats detail dump\r\n").split(b"\r\n")
        assert lines[-2:] == [b"END", b""]
        assert sorted(lines[:-2]) == [b"PREFIX a get 4 hit 2 set 2 del 1", b"PREFIX bb get 0 hit 0 set 0 del 1"]
        assert client.transcript(b"stats reset\r\nstats detail dump\r\n") == b"RESET\r\nEND\r\n"


def test_statistics_by_prefix_of_the_rarer_commands(launch: Launch) -> None:
    peer = launch()
    with peer.connect() as client:
        client.transcript(b"stats detail on\r\n" + put(b"a:b", b"1") + b"incr a:b 1\r\ntouch a:b 0\r\nmg a:b v\r\n")
        client.transcript(b"ms a:b 1\r\n1\r\nma a:b\r\nmd a:b\r\n")
        reply = client.transcript(b"stats detail dump\r\n")
    if peer.is_cachecore:
        assert re.fullmatch(rb"PREFIX a get [1-9]\d* hit [1-9]\d* set [2-9]\d* del 1\r\nEND\r\n", reply)
    else:
        answer(peer, "prefix-of-every-command", reply, b"PREFIX a get 0 hit 0 set 1 del 0\r\nEND\r\n")


def test_cachedump(launch: Launch) -> None:
    """It shows the cold list, where items come within a second or two."""
    peer = launch()
    with peer.connect() as client:
        expiry = peer.now() + 1000
        client.transcript(put(b"dumped", b"12345") + put(b"expires", b"1234", exptime=expiry))
        cls = re.search(rb"items:(\d+):number ", client.transcript(b"stats items\r\n"))
        assert cls is not None
        expected = [b"", b"END", b"ITEM dumped [5 b; 0 s]", b"ITEM expires [4 b; %d s]" % expiry]
        deadline = time.monotonic() + 10
        while sorted(lines := client.transcript(b"stats cachedump %s 0\r\n" % cls[1]).split(b"\r\n")) != expected:
            assert time.monotonic() < deadline, lines
        assert client.transcript(b"stats cachedump %s 1\r\n" % cls[1]).count(b"ITEM") == 1


def test_connections(launch: Launch) -> None:
    peer = launch()
    host, port = peer.address
    with peer.connect() as client:
        lines = client.transcript(b"stats conns\r\n").split(b"\r\n")
        own = b"tcp:%s:%d" % (client.socket.getsockname()[0].encode(), client.socket.getsockname()[1])
    assert lines[-2:] == [b"END", b""]
    fields: dict[bytes, dict[bytes, bytes]] = {}
    for line in lines[:-2]:
        found = re.fullmatch(rb"STAT (\d+):(addr|listen_addr|state|secs_since_last_cmd) (.+)", line)
        assert found, line
        fields.setdefault(found[1], {})[found[2]] = found[3]
    listener = b"tcp:%s:%d" % (host.encode(), port)
    listening = [one for one in fields.values() if one[b"state"] == b"conn_listening"]
    assert listener in [one[b"addr"] for one in listening]
    assert all(b"listen_addr" not in one for one in listening)
    (asking,) = [one for one in fields.values() if one[b"addr"] == own]
    assert asking[b"listen_addr"] == listener
    assert re.fullmatch(rb"conn_\w+", asking[b"state"])
    assert asking[b"secs_since_last_cmd"] == b"0"


# What an option forbids or brings


@pytest.mark.parametrize(
    ("ours", "theirs", "request_bytes", "reply"),
    [
        ({"slab_reassign": False}, "no_slab_reassign", b"slabs reassign 1 2\r\n", NO_REASSIGN),
        ({"slab_reassign": False}, "no_slab_reassign", b"slabs reassign x 2\r\n", NO_REASSIGN),
        ({"slab_reassign": False}, "no_slab_reassign", b"slabs reassign 1\r\n", ERROR),
        ({"lru_maintainer": False}, "no_lru_maintainer", b"lru mode flat\r\nlru temp_ttl 5\r\n", ERROR * 2),
        ({"lru_maintainer": False}, "no_lru_maintainer", b"lru tune 20 40 0.2 2\r\n", OK),
        ({"lru_crawler": False}, "no_lru_crawler", b"lru_crawler crawl x\r\nlru_crawler enable\r\n", NO_CRAWL + OK),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_extended_options(kind: str, ours: dict[str, bool], theirs: str, request_bytes: bytes, reply: bytes) -> None:
    options: dict[str, bool | str] = {**ours} if kind == CACHECORE else {"extended": theirs}
    with running(kind, **options) as peer, peer.connect() as client:
        assert client.transcript(request_bytes) == reply


@pytest.mark.parametrize("kind", KINDS)
def test_sizes(kind: str) -> None:
    """Both in steps of 32 bytes; how large an item is, is the server's own business, as in the line of ``me``."""
    options = {"track_sizes": True} if kind == CACHECORE else {"extended": "track_sizes"}
    with running(kind, **options) as peer, peer.connect() as client:
        client.transcript(put(b"a", b"x") + put(b"b", bytes(99)) + put(b"c", bytes(98)))
        small, large = (32, 128) if peer.is_cachecore else (64, 160)
        assert client.transcript(b"stats sizes\r\n") == b"STAT %d 1\r\nSTAT %d 2\r\nEND\r\n" % (small, large)


def test_dumping_disabled(launch: Launch) -> None:
    peer = launch(disable_dumping=True)
    with peer.connect() as client:
        assert client.transcript(b"stats cachedump 1 1\r\nstats cachedump\r\n") == NO_CACHEDUMP * 2
        reply = client.transcript(b"stats detail dump\r\nstats detail on\r\n")
    if peer.is_cachecore:
        assert reply == NO_DETAIL * 2
    else:
        answer(peer, "detail-in-spite-of-no-dumps", reply, END + OK)


def test_flush_all_disabled(launch: Launch) -> None:
    peer = launch(disable_flush_all=True)
    with peer.connect() as client:
        client.transcript(put(b"a", b"1"))
        request = b"flush_all\r\nflush_all x\r\nflush_all 5\r\nflush_all noreply\r\nget a\r\n"
        assert client.transcript(request) == NO_FLUSH * 3 + b"VALUE a 0 1\r\n1\r\nEND\r\n"
        assert peer.stats()[b"cmd_flush"] == b"4"
        assert peer.stats(b"settings")[b"flush_enabled"] == b"no"


def test_shutdown_enabled_and_wrongly_spelled(launch: Launch) -> None:
    peer = launch(enable_shutdown=True)
    with peer.connect() as client:
        assert client.transcript(b"shutdown x\r\nshutdown graceful x\r\n") == NO_MODE * 2
        assert peer.stats(b"settings")[b"shutdown_command"] == b"yes"


@pytest.mark.parametrize("line", [b"shutdown\r\n", b"shutdown graceful\r\n"])
def test_shutdown(launch_cachecore: Launch, line: bytes) -> None:
    peer = launch_cachecore(enable_shutdown=True)
    with peer.connect() as client:
        assert client.transcript_to_close(b"mn\r\n" + line + b"mn\r\n") == MN + b"<closed>"
    peer.server.wait()
    with pytest.raises(OSError), contextlib.closing(peer.connect()):
        pass
