"""watch: who may, what the lines look like, and what which command tells."""

from __future__ import annotations

import contextlib
import re
import resource
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Launch
from tests.support.cases import ERROR, MN, OK, Case, case, check, put, rows
from tests.support.peers import KINDS, Peer, running
from tests.support.watching import STAMP, Watcher, await_stat, await_watchers, masked, sentinel
from tests.support.wire import CLOSED, Client

PIPELINED = b"ERROR cannot pipeline other commands before watch\r\n"
VERSION = b"VERSION <v>\r\n"
NOT_ALLOWED = b"CLIENT_ERROR watch commands not allowed\r\n"
TOO_MANY = b"WATCHER_TOO_MANY log watcher limit reached\r\n"
WATCHERS = 20

#: These are no rows of the table of all rows: they are about what arrives together.
REFUSED = [
    case("unknown-word", b"watch bogus\r\n", ERROR),
    case("unknown-behind-a-known-one", b"watch fetchers bogus\r\n", ERROR),
    case("abbreviated", b"watch f\r\n", ERROR),
    case("capital-letters", b"watch FETCHERS\r\n", ERROR),
    case(
        "reply-before-and-unknown-word",
        b"version\r\nwatch bogus\r\n",
        VERSION + ERROR,
        memcached=VERSION + PIPELINED,
        differs="before-a-dump",
    ),
]


@rows(REFUSED)
def test_it_is_refused(peer: Peer, row: Case) -> None:
    check(peer, row)


@pytest.mark.parametrize("words", [b"noreply", b"fetchers noreply"])
def test_noreply_is_no_word_of_its_own(cachecore_peer: Peer, words: bytes) -> None:
    with cachecore_peer.fresh() as client:
        assert client.transcript(b"watch %s\r\n" % words) == ERROR


@pytest.mark.parametrize("before", [b"set a 0 0 1 noreply\r\n1\r\n", b"mn\r\n", b"watch bogus\r\n"])
def test_commands_may_stand_before_it(cachecore_peer: Peer, before: bytes) -> None:
    with cachecore_peer.fresh() as client:
        assert client.ask(before + b"watch\r\n", b"OK\r\n").endswith(OK)


@pytest.mark.parametrize(
    "words",
    [
        b"",
        b"fetchers mutations evictions connevents sysevents",
        b"rawcmds",
        b"proxyreqs",
        b"fetchers  fetchers ",
    ],
)
def test_it_is_granted(peer: Peer, words: bytes) -> None:
    with Watcher(peer, words):
        pass


@pytest.mark.parametrize("words", [b"deletions", b"proxyevents", b"proxyuser"])
def test_words_of_later_versions_are_known(cachecore_peer: Peer, words: bytes) -> None:
    with Watcher(cachecore_peer, words):
        pass


def test_the_server_may_be_told_to_refuse_all(launch: Launch) -> None:
    peer = launch(disable_watch=True)
    with peer.connect() as client:
        assert client.transcript(b"watch\r\n") == NOT_ALLOWED
        assert client.transcript(b"watch bogus\r\n") == NOT_ALLOWED
        assert client.transcript(b"verbosity 0\r\nwatch\r\n") == OK + NOT_ALLOWED


def test_there_are_twenty_at_most(launch: Launch) -> None:
    peer = launch()
    with contextlib.ExitStack() as stack:
        for _ in range(WATCHERS):
            stack.enter_context(Watcher(peer))
        with peer.connect() as client:
            assert client.ask(b"watch mutations\r\n", b"\r\n") == TOO_MANY
            assert client.transcript(b"mn\r\n") == MN  # it goes on as a client like any other
        assert peer.stats()[b"log_watchers"] == b"%d" % WATCHERS


def test_who_goes_makes_room_for_another(launch_cachecore: Launch) -> None:
    peer = launch_cachecore()
    watchers = [Watcher(peer) for _ in range(WATCHERS)]
    watchers.pop().client.close()
    await_watchers(peer, WATCHERS - 1)
    with Watcher(peer):
        assert peer.stats()[b"log_watchers"] == b"%d" % WATCHERS
        for watcher in watchers:
            watcher.client.close()
        await_watchers(peer, 1)
        await_stat(peer, b"curr_connections", 2)  # the watcher's and the one that asks


def test_a_watcher_is_not_heard(peer: Peer) -> None:
    """Neither what comes together with the command nor what comes later."""
    with peer.fresh() as client, peer.connect() as watching:
        assert watching.ask(b"watch\r\nset a 0 0 1\r\n1\r\nmn\r\n", b"\r\n") == OK
        watching.send(b"set a 0 0 1\r\n1\r\nquit\r\n" + b"x" * 5000 + b"\r\n")
        question, answer = sentinel()
        assert client.transcript(question) == b"EN\r\n"
        line = watching.read_until(b"\n")
        assert answer in line
        assert client.transcript(b"mg a v\r\n") == b"EN\r\n"


# ---- what is told

GET = b"type=item_get key=%s status=%s clsid=%s cfd=# size=%d"
STORE = b"type=item_store key=%s status=%s cmd=%s ttl=%d clsid=# cfd=# size=%d"


def missed(key: bytes, status: bytes = b"not_found") -> bytes:
    return GET % (key, status, b"0", 0)


def found(key: bytes, size: int = 1) -> bytes:
    return GET % (key, b"found", b"#", size)


def told(key: bytes, cmd: bytes = b"set", status: bytes = b"stored", size: int = 1, ttl: int = 0) -> bytes:
    return STORE % (key, status, cmd, ttl, size)


#: Requests, and the lines for who watches fetchers and mutations; the key k is another one in every row.
TOLD: dict[str, tuple[bytes, list[bytes]]] = {
    "get": (b"get k\r\n", [missed(b"k")]),
    "get-of-several": (
        put(b"k", b"1") + b"get k k2 k\r\n",
        [missed(b"k"), told(b"k"), found(b"k"), missed(b"k2"), found(b"k")],
    ),
    "gets-gat-touch": (
        put(b"k", b"1") + b"gets k\r\ngat 0 k\r\ntouch k 0\r\ntouch k2 0\r\n",
        [missed(b"k"), told(b"k"), found(b"k"), found(b"k"), found(b"k"), missed(b"k2")],
    ),
    "set-over-another": (
        put(b"k", b"1") + put(b"k", b"22"),
        [missed(b"k"), told(b"k"), found(b"k"), told(b"k", size=2)],
    ),
    "set-large": (
        put(b"k", b"x" * 50_000) + b"mg k\r\n",
        [missed(b"k"), told(b"k", size=50_000), found(b"k", 50_000)],
    ),
    "set-with-an-end": (put(b"k", b"1", exptime=100), [missed(b"k"), told(b"k", ttl=100)]),
    "add": (
        b"add k 0 0 1\r\n1\r\nadd k 0 0 2\r\n22\r\n",
        [missed(b"k"), told(b"k", b"add"), found(b"k"), told(b"k", b"add", b"not_stored", 2)],
    ),
    "replace": (
        b"replace k 0 0 1\r\n1\r\n" + put(b"k", b"1") + b"replace k 0 0 1\r\n2\r\n",
        [
            missed(b"k"),
            told(b"k", b"replace", b"not_stored"),
            missed(b"k"),
            told(b"k"),
            found(b"k"),
            told(b"k", b"replace"),
        ],
    ),
    "append-prepend": (
        b"append k 0 0 1\r\n1\r\n"
        + put(b"k", b"1", flags=5, exptime=100)
        + b"append k 0 0 1\r\n2\r\nprepend k 0 0 2\r\n33\r\n",
        [
            missed(b"k"),
            told(b"k", b"append", b"not_stored"),
            missed(b"k"),
            told(b"k", ttl=100),
            found(b"k"),
            told(b"k", b"append", size=2, ttl=100),
            found(b"k", 2),
            told(b"k", b"prepend", size=4, ttl=100),
        ],
    ),
    "cas": (
        b"cas k 0 0 1 9\r\n1\r\n" + put(b"k", b"1") + b"cas k 0 0 1 99999999999\r\n1\r\n",
        [
            missed(b"k"),
            told(b"k", b"cas", b"not_found"),
            missed(b"k"),
            told(b"k"),
            found(b"k"),
            told(b"k", b"cas", b"exists"),
        ],
    ),
    "incr-decr": (
        b"incr k 1\r\n" + put(b"k", b"1") + b"incr k 100\r\ndecr k 1\r\n",
        [missed(b"k"), missed(b"k"), told(b"k"), found(b"k"), found(b"k", 3)],
    ),
    "incr-of-a-word": (put(b"k", b"x") + b"incr k 1\r\n", [missed(b"k"), told(b"k"), found(b"k")]),
    "delete": (
        put(b"k", b"1") + b"delete k\r\ndelete k\r\n",
        [missed(b"k"), told(b"k"), found(b"k"), missed(b"k")],
    ),
    "expired": (
        put(b"k", b"1") + b"touch k -1\r\nget k\r\nget k\r\n",
        [missed(b"k"), told(b"k"), found(b"k"), missed(b"k", b"expired"), missed(b"k")],
    ),
    "flushed": (
        put(b"k", b"1") + b"flush_all\r\nget k\r\nget k\r\n",
        [missed(b"k"), told(b"k"), missed(b"k", b"flushed"), missed(b"k")],
    ),
    "nothing-of-a-bad-block": (b"set k 0 0 1\r\n22\r\n\r\n", []),
    "nothing-of-other-commands": (b"version\r\nverbosity 0\r\nmn\r\nbogus\r\n", []),
    "key-to-be-encoded": (
        put(b"k\x01%&:/-_.~\xff", b"1"),
        [missed(b"k%01%25%26%3A%2F-_.~%FF"), told(b"k%01%25%26%3A%2F-_.~%FF")],
    ),
    "key-in-base64": (b"mg ayAg b\r\n", [missed(b"k%20%20")]),
    "longest-key": (b"get " + b"\xfe" * 250 + b"\r\n", [missed(b"%FE" * 250)]),
    "mg": (
        put(b"k", b"1") + b"mg k v\r\nmg k q\r\nmg k s T30\r\nmg k2 v k\r\n",
        [missed(b"k"), told(b"k"), found(b"k"), found(b"k"), found(b"k"), missed(b"k2")],
    ),
    "mg-vivify": (b"mg k N30\r\nmg k N30\r\n", [missed(b"k"), found(b"k", 0)]),
    "ms": (
        b"ms k 2 T30\r\nhi\r\nms k 1 ME\r\n1\r\nms k 1 MA\r\n1\r\nms k 1 MP\r\n1\r\nms k 1 MR\r\n1\r\n",
        [
            missed(b"k"),
            told(b"k", size=2, ttl=30),
            found(b"k", 2),
            told(b"k", b"add", b"not_stored"),
            found(b"k", 2),
            told(b"k", b"append", size=3, ttl=30),
            found(b"k", 3),
            told(b"k", b"prepend", size=4, ttl=30),
            found(b"k", 4),
            told(b"k", b"replace"),
        ],
    ),
    "ms-compare": (
        b"ms k 2 C5\r\nhi\r\n"
        + put(b"k", b"1")
        + b"ms k 2 C99999999999\r\nhi\r\n"
        + b"ms k 2 C99999999999 MR\r\nhi\r\n",
        [
            missed(b"k"),
            told(b"k", b"cas", b"not_found", 2),
            missed(b"k"),
            told(b"k"),
            found(b"k"),
            told(b"k", b"cas", b"exists", 2),
            found(b"k"),
            told(b"k", b"cas", b"exists", 2),
        ],
    ),
    "md": (
        put(b"k", b"1") + b"md k\r\nmd k q\r\n" + put(b"k", b"1") + b"md k I\r\n",
        [missed(b"k"), told(b"k"), found(b"k"), missed(b"k"), missed(b"k"), told(b"k"), found(b"k")],
    ),
    "ma": (
        b"ma k\r\nma k N0 J100\r\nma k D7\r\n",
        [missed(b"k"), missed(b"k"), missed(b"k"), told(b"k", b"add", size=3), found(b"k", 3)],
    ),
    "me": (put(b"k", b"1") + b"me k\r\nme k2\r\n", [missed(b"k"), told(b"k"), found(b"k"), missed(b"k2")]),
}

Lines = dict[str, list[bytes]]


@pytest.fixture(scope="module", params=KINDS)
def heard(request: pytest.FixtureRequest) -> Iterator[tuple[Peer, Lines]]:
    """The lines of every row: all requests in one go, as memcached may take a second to tell of one.

    The server is alone, and has no maintainer that could be faster in removing what has ended.
    """
    alone = {"lru_maintainer": False, "lru_crawler": False}
    options = alone if request.param == "cachecore" else {"extended": "no_lru_maintainer,no_lru_crawler"}
    with (
        running(request.param, threads=1, **options) as peer,
        Watcher(peer, b"mutations fetchers") as watcher,
        peer.connect() as client,
    ):
        endings = {}
        for name, (requests, _) in TOLD.items():
            question, endings[name] = sentinel()
            client.transcript(requests)  # with its marker, so that every row is a batch of its own
            client.transcript(question)
            client.transcript(b"flush_all\r\nget k\r\nget k2\r\n")
            client.transcript(question)
        lines = {}
        for name, ending in endings.items():
            lines[name] = list(watcher.lines_until(ending))
            list(watcher.lines_until(ending))
        yield peer, lines


def without_marker(lines: list[bytes]) -> list[bytes]:
    """The marker is a look-up, too."""
    return [line for line in map(masked, lines) if b" key=%01mark%01 " not in line]


@pytest.mark.parametrize("name", TOLD)
def test_what_is_told(heard: tuple[Peer, Lines], name: str) -> None:
    assert without_marker(heard[1][name]) == TOLD[name][1]


def test_events_are_numbered_and_say_whose_they_are(heard: tuple[Peer, Lines]) -> None:
    everything = [line.split() for lines in heard[1].values() for line in lines]
    numbers = [int(words[1].removeprefix(b"gid=")) for words in everything]
    assert numbers == sorted(set(numbers))
    assert len({word for words in everything for word in words if word.startswith(b"cfd=")}) == 1


def test_a_later_watcher_hears_only_what_comes_then(cachecore_peer: Peer) -> None:
    """Also when the logger has not told the first one yet."""
    question, ending = sentinel()
    with cachecore_peer.fresh() as client, Watcher(cachecore_peer):
        for _ in range(20):
            client.transcript(b"get before\r\n")
            with Watcher(cachecore_peer) as later:
                client.transcript(question)
                assert list(later.lines_until(ending)) == []


@pytest.mark.parametrize("size", [1, 30, 150, 1000, 5000, 600_000])
@pytest.mark.parametrize("flags", [0, 7])
def test_the_class_is_that_of_the_stored_item(cachecore_peer: Peer, size: int, flags: int) -> None:
    """In the line about storing it as in the one about finding it then, by whatever command it came."""
    question, ending = sentinel()
    with cachecore_peer.fresh() as client, Watcher(cachecore_peer, b"fetchers mutations") as watcher:
        value = b"x" * size
        client.transcript(put(b"k", value, flags=flags) + b"get k\r\n")
        client.transcript(b"append k 0 0 %d\r\n%s\r\nget k\r\n" % (size // 2, value[: size // 2]))
        client.transcript(b"ms k %d F%d\r\n%s\r\nget k\r\n" % (size, flags, value) + question)
        lines = [line for line in watcher.lines_until(ending) if b" key=k " in line]
    classes = [re.search(rb" clsid=(\d+) ", line)[1] for line in lines]  # type: ignore[index]
    for i, line in enumerate(lines):
        if b"item_store" in line:
            assert b"item_get" in lines[i + 1]
            assert classes[i] == classes[i + 1] != b"0"
    assert len(lines) == 9


def test_a_value_that_is_too_large(cachecore_peer: Peer) -> None:
    """memcached has neither its size nor whose it was."""
    question, ending = sentinel()
    with cachecore_peer.fresh() as client, Watcher(cachecore_peer, b"fetchers mutations") as watcher:
        client.transcript(b"set large 0 0 2000000\r\n" + b"x" * 2_000_000 + b"\r\n" + question)
        lines = without_marker(list(watcher.lines_until(ending)))
    assert lines == [told(b"large", b"set", b"too_large", 2_000_000), missed(b"large")]


def test_vivify_by_append_is_an_append(cachecore_peer: Peer) -> None:
    question, ending = sentinel()
    with cachecore_peer.fresh() as client, Watcher(cachecore_peer, b"fetchers mutations") as watcher:
        client.transcript(b"ms vivified 2 MA N30\r\nhi\r\n" + question)
        lines = without_marker(list(watcher.lines_until(ending)))
    assert lines == [missed(b"vivified"), told(b"vivified", b"append", size=2, ttl=30)]


def test_deletions(cachecore_peer: Peer) -> None:
    """Told is what was removed; an item that is only marked stale still is there."""
    question, ending = sentinel()
    with cachecore_peer.fresh() as client, Watcher(cachecore_peer, b"deletions fetchers") as watcher:
        requests = put(b"k", b"1") + b"delete k\r\ndelete k\r\n" + put(b"k", b"22") + b"md k I\r\nmd k q\r\n"
        client.transcript(requests + put(b"k", b"3") + b"md k C1\r\n" + question)
        lines = without_marker(list(watcher.lines_until(ending)))
    assert [line for line in lines if b"item_get" not in line] == [
        b"type=deleted key=k cmd=delete clsid=# size=1",
        b"type=deleted key=k cmd=md clsid=# size=2",
    ]
    assert lines.index(found(b"k")) == lines.index(b"type=deleted key=k cmd=delete clsid=# size=1") - 1


def test_evictions(launch_cachecore: Launch) -> None:
    """Each eviction is told, or counted as not told; with what is known of the item."""
    # The segmented LRU: otherwise what was fetched does not go at all.
    peer = launch_cachecore(memory_limit=4, max_item_size="1m", threads=1, lru_policy="segmented")
    with peer.fresh() as client, Watcher(peer, b"evictions mutations") as watcher:
        client.transcript(put(b"fetched", b"x" * 900) + b"get fetched\r\n" + put(b"ends", b"x" * 900, exptime=500))
        client.transcript(put(b"never", b"x" * 900))
        peer.advance(30)
        gone: dict[bytes, bytes] = {}
        for i in range(25):
            client.transcript(b"".join(put(b"%05d" % (200 * i + j), b"x" * 900) for j in range(200)))
            ending = b" key=%05d " % (200 * i + 199)
            for line in map(masked, watcher.lines_until(b"item_store" + ending)):
                if line.startswith(b"type=eviction"):
                    gone[line.split(b" ")[1]] = line
        stats = peer.stats()
    assert int(stats[b"evictions"]) > 1000
    assert len(gone) == int(stats[b"evictions"])
    end = b" la=30 clsid=# size=900"
    assert gone[b"key=ends"] == b"type=eviction key=ends fetch=no ttl=470" + end
    assert gone[b"key=never"] == b"type=eviction key=never fetch=no ttl=-1" + end
    assert gone[b"key=fetched"] == b"type=eviction key=fetched fetch=yes ttl=-1" + end
    assert stats[b"log_worker_dropped"] == stats[b"log_watcher_skipped"] == b"0"


# ---- maintenance


def test_pages_that_move(launch_cachecore: Launch) -> None:
    peer = launch_cachecore(memory_limit=8, slab_automove=0)
    with peer.fresh() as client, Watcher(peer, b"sysevents") as watcher:
        client.transcript(b"".join(put(b"%d" % i, b"x" * 50_000) for i in range(60)))
        for i in range(60):
            client.transcript(b"delete %d\r\n" % i)
        source = max(cls for cls, counters in peer.server._running().class_counters().items())
        assert client.transcript(b"slabs reassign %d 1\r\n" % source) == OK
        line = next(line for line in iter(lambda: watcher.client.read_until(b"\n"), b"") if b"slab_move" in line)
    assert STAMP.sub(b"", line) == b"type=slab_move src=%d dst=1 state=ok\n" % source


def test_a_crawl(launch_cachecore: Launch) -> None:
    """In which there is something to see; the crawls of empty classes are not told."""
    peer = launch_cachecore(threads=1)
    with peer.fresh() as client, Watcher(peer, b"sysevents") as watcher:
        client.transcript(b"".join(put(b"key%d" % i, b"x", exptime=100 if i < 3 else 0) for i in range(10)))
        client.transcript(b"lru_crawler crawl all\r\n")
        for line in iter(lambda: watcher.client.read_until(b"\n"), b""):
            if b" examined=10 " in line:
                break
    shape = (
        rb"type=lru_crawler crawler=1 lru=all low_mark=1 next_reclaims=0 since_run=\d+ next_run=\d+ elapsed=0 "
        rb"examined=10 reclaimed=0\n"
    )
    assert re.fullmatch(shape, STAMP.sub(b"", line))


# ---- connections

NEW = b"type=conn_new rip=127.0.0.1 rport=# transport=tcp cfd=#"
CLOSE = b"type=conn_close rip=127.0.0.1 rport=# transport=tcp reason=%s cfd=#"


def reset(client: Client) -> None:
    """End a connection the hard way."""
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def test_why_connections_end(launch: Launch) -> None:
    peer = launch(threads=1)
    with Watcher(peer, b"connevents") as watcher:
        for leave, reason in (
            (lambda client: client.transcript_to_close(b"quit\r\n"), b"normal"),
            (Client.close, b"normal"),
            (reset, b"error"),
            (lambda client: client.transcript_to_close(b"GET / HTTP/1.1\r\n"), b"error"),
        ):
            with peer.connect() as client:
                client.transcript(b"mn\r\n")
                port = b" rport=%d " % client.socket.getsockname()[1]
                leave(client)
            lines = [watcher.client.read_until(b"\n") for _ in range(2)]
            assert list(map(masked, lines)) == [NEW, CLOSE % reason]
            assert all(port in line for line in lines)


def test_a_client_of_a_unix_socket(launch: Launch, tmp_path) -> None:
    peer = launch(unix_socket=str(tmp_path / "socket"), threads=1)
    with Watcher(peer, b"connevents") as watcher:
        peer.connect().close()
        lines = [watcher.client.read_until(b"\n") for _ in range(2)]
    assert list(map(masked, lines)) == [
        b"type=conn_new rip=unix rport=# transport=local cfd=#",
        b"type=conn_close rip=unix rport=# transport=local reason=normal cfd=#",
    ]


def test_a_watcher_ends_with_the_server(launch_cachecore: Launch) -> None:
    peer = launch_cachecore()
    with Watcher(peer, b"connevents") as watcher:
        peer.server.stop()
        assert watcher.client.read_until(b"\n").endswith(CLOSED)


# ---- a watcher that does not read


class Slow:
    """A server whose watchers have little room, and somebody who gives it much to tell."""

    def __init__(self, launch: Launch, **kibibytes: int) -> None:
        self.peer = launch(threads=1, **kibibytes)
        self.asked = 0

    def get_until_skipped(self, number: int = 1000) -> None:
        """Look for keys that are not there, until the kernel has no room for the lines, and so many are skipped."""
        with self.peer.connect() as client:
            while self.stat("log_watcher_skipped") < number:
                keys = b" ".join(b"\xff" * 200 + b"%06d" % (self.asked + i) for i in range(100))
                assert client.ask(b"get %s\r\n" % keys) == b"END\r\n"
                self.asked += 100

    def stat(self, name: str) -> int:
        return int(self.peer.server.stats()[name])


def numbers(lines: list[bytes]) -> tuple[int, int]:
    """How many lines of events, and how many others these say were skipped."""
    skipped = [int(line.removeprefix(b"skipped=")) for line in lines if line.startswith(b"skipped=")]
    assert all(line.startswith(b"ts=") or line.startswith(b"skipped=") for line in lines)
    return len(lines) - len(skipped), sum(skipped)


def test_who_does_not_read_delays_nobody(launch_cachecore: Launch) -> None:
    """Beside it another one gets its lines, clients get their replies, and memory stays what it was."""
    slow = Slow(launch_cachecore, watcher_logbuf_size=8)
    with Watcher(slow.peer), Watcher(slow.peer, b"connevents") as other:
        slow.get_until_skipped()
        before = resident()
        slow.get_until_skipped(40_000)  # 27 MB of lines
        assert resident() - before < 8 << 20
        assert b"conn_new" in other.client.read_until(b"\n")


@pytest.mark.parametrize("worker_logbuf_size", [0, 4, 64])
def test_every_event_is_accounted_for(launch_cachecore: Launch, worker_logbuf_size: int) -> None:
    """Sent, or skipped with a word about it, or dropped by the worker."""
    slow = Slow(launch_cachecore, watcher_logbuf_size=8, worker_logbuf_size=worker_logbuf_size)
    with Watcher(slow.peer) as watcher:
        slow.get_until_skipped()
        written = slow.stat("log_worker_written")
        lines: list[bytes] = []
        read = b""
        while sum(numbers(lines)) < written:
            read += watcher.client.read_exact(max(1, len(watcher.client.received)))
            lines = read[: read.rfind(b"\n") + 1].splitlines(keepends=True)
    got, skipped = numbers(lines)
    assert skipped == slow.stat("log_watcher_skipped")
    assert got == slow.stat("log_watcher_sent")
    assert written + slow.stat("log_worker_dropped") == slow.asked
    whole = rb"(ts=\S+ gid=\d+ type=item_get key=(%FF){200}\d{6} status=not_found clsid=0 cfd=\d+ size=0|skipped=\d+)\n"
    assert [line for line in lines if not re.fullmatch(whole, line)] == []


def resident() -> int:
    """Bytes of memory that this process, and so the server, has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_the_counters_begin_anew(launch_cachecore: Launch) -> None:
    peer = launch_cachecore()
    question, ending = sentinel()
    with peer.connect() as client, Watcher(peer) as watcher:
        client.transcript(question)
        list(watcher.lines_until(ending))
        stats = peer.stats()
        assert int(stats[b"log_worker_written"]) == int(stats[b"log_watcher_sent"]) == 2
        client.transcript(b"stats reset\r\n")
        list(watcher.lines_until(b"mark"))
        stats = peer.stats()
        assert int(stats[b"log_worker_written"]) <= 1
        assert stats[b"log_watchers"] == b"1"
