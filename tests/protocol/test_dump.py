"""lru_crawler metadump and mgdump: the lines, the errors, and that a dump disturbs nobody."""

from __future__ import annotations

import contextlib
import functools
import re
import select

import pytest

from tests.conftest import Launch
from tests.support.cases import (
    END,
    ERROR,
    LONG_KEY,
    MN,
    OK,
    Case,
    answer,
    case,
    check,
    explain,
    filled,
    hit,
    masked,
    put,
    recorded,
    rows,
)
from tests.support.dumps import dump
from tests.support.peers import Peer
from tests.support.wire import Client

BAD_CLASS = b"BADCLASS invalid class id\r\n"
EN = b"EN\r\n"
A = put(b"a", b"1")


def line(key: bytes, end: bytes = b"-1", fetched: bytes = b"no", flags: int = 0, item: bytes = b"") -> bytes:
    """A line of a metadump, of an item that was stored just now."""
    return b"key=%s exp=%s la=<time+0> cas=<cas:%s> fetch=%s cls=# size=# flags=%d \n" % (
        key,
        end,
        item or key,
        fetched,
        flags,
    )


def old(reply: bytes) -> bytes:
    """What memcached 1.6.18 answers instead: no OK, no flags, no trailing blank."""
    return re.sub(rb" flags=\d+ \n", b"\n", reply.removeprefix(OK))


#: Replies that are lists: memcached answers what follows them only when more bytes arrive.
LISTS = [
    case("metadump-of-nothing", b"lru_crawler metadump all\r\n", OK + END),
    case("metadump", b"lru_crawler metadump all\r\n", OK + line(b"a") + END, setup=A),
    case("metadump-by-hash", b"lru_crawler metadump hash\r\n", OK + line(b"a") + END, setup=A),
    case(
        "metadump-with-flags",
        b"lru_crawler metadump all\r\n",
        OK + line(b"a", flags=4294967295) + END,
        setup=put(b"a", b"1", flags=4294967295),
    ),
    case(
        "metadump-with-an-end",
        b"lru_crawler metadump all\r\n",
        OK + line(b"a", b"<time+100>") + END,
        setup=put(b"a", b"1", exptime=100),
    ),
    case(
        "metadump-of-a-fetched-item",
        b"lru_crawler metadump all\r\n",
        OK + line(b"a", fetched=b"yes") + END,
        setup=A + b"get a\r\n",
    ),
    case(
        "metadump-of-a-large-item",
        b"lru_crawler metadump all\r\n",
        OK + line(b"a") + END,
        setup=put(b"a", b"x" * 600_000),
    ),
    case(
        "metadump-skips-what-has-expired", b"lru_crawler metadump all\r\n", OK + END, setup=put(b"a", b"1", exptime=-1)
    ),
    case("metadump-skips-what-was-flushed", b"lru_crawler metadump all\r\n", OK + END, setup=A + b"flush_all\r\n"),
    case(
        "metadump-encodes",
        b"lru_crawler metadump 1,2,3,4,5,6,7,8,9\r\n",
        OK + line(b"az09AZ-._~%2F%25%7F%C3%A4%2B%01", item=b"z-1") + END,
        setup=put(b"az09AZ-._~/%\x7f\xc3\xa4+\x01", b"1") + put(b"z", b"x" * 5000),
    ),  # z has the next cas
    case(
        "metadump-encodes-a-long-key",
        b"lru_crawler metadump all\r\n",
        OK + line(b"%2F" * 250, item=b"/" * 250) + END,
        setup=put(b"/" * 250, b"1"),
    ),
    case(
        "metadump-encodes-a-binary-key",
        b"lru_crawler metadump all\r\n",
        OK + b"key=%00%FF exp=-1 la=<time+0> cas=<cas:AP8= b x> fetch=no cls=# size=# flags=0 \n" + END,
        setup=b"ms AP8= 1 b\r\n1\r\n",
    ),
    case("metadump-of-another-class", b"lru_crawler metadump 9,63\r\n", OK + END, setup=A),
    case("metadump-of-its-class", b"lru_crawler metadump 2,,1,\r\n", OK + line(b"a") + END, setup=A),
    case("mgdump-of-nothing", b"lru_crawler mgdump all\r\n", OK + EN),
    case("mgdump", b"lru_crawler mgdump hash\r\n", OK + b"mg a\r\n" + EN, setup=A),
    case("mgdump-does-not-encode", b"lru_crawler mgdump all\r\n", OK + b"mg /%\r\n" + EN, setup=put(b"/%", b"1")),
    case(
        "mgdump-of-a-long-key",
        b"lru_crawler mgdump all\r\n",
        OK + b"mg %s\r\n" % LONG_KEY + EN,
        setup=put(LONG_KEY, b"1"),
    ),
    case(
        "mgdump-of-a-binary-key",
        b"lru_crawler mgdump all\r\n",
        OK + b"mg AP8= b\r\n" + EN,
        setup=b"ms AP8= 1 b\r\n1\r\n",
    ),
    case("mgdump-of-another-class", b"lru_crawler mgdump 9\r\n", OK + EN, setup=A),
]
LISTS = recorded(
    LISTS,
    {
        "dump-lines": {row.name: old(row.reply) for row in LISTS if b"metadump" in row.request},
        "mgdump": {row.name: ERROR for row in LISTS if b"mgdump" in row.request},
    },
)

#: Errors of a dump that is the first command of its packet.
REFUSED = recorded(
    [
        case("class-zero", b"lru_crawler metadump 0\r\n", BAD_CLASS),
        case("class-beyond-the-last", b"lru_crawler metadump 64\r\n", BAD_CLASS),
        case("negative-class", b"lru_crawler metadump -1\r\n", BAD_CLASS),
        case("bad-class-among-others", b"lru_crawler metadump 1,x,2\r\n", BAD_CLASS),
        case("all-among-others", b"lru_crawler metadump 1,all\r\n", BAD_CLASS),
        case("upper-case-all", b"lru_crawler metadump ALL\r\n", BAD_CLASS),
        case("noreply-is-a-class", b"lru_crawler metadump noreply\r\n", BAD_CLASS),
        case("mgdump-class-zero", b"lru_crawler mgdump 0\r\n", BAD_CLASS),
    ],
    {"mgdump": {"mgdump-class-zero": ERROR}},
)

CASES = [
    case("metadump-alone", b"lru_crawler metadump\r\n", ERROR),
    case("metadump-and-blank", b"lru_crawler metadump \r\n", ERROR),
    case("metadump-with-more", b"lru_crawler metadump all x\r\n", ERROR),
    case("metadump-noreply", b"lru_crawler metadump all noreply\r\n", ERROR),
    case("mgdump-alone", b"lru_crawler mgdump\r\n", ERROR),
    case("upper-case", b"lru_crawler METADUMP all\r\n", ERROR),
    case("longer-word", b"lru_crawler metadumps all\r\n", ERROR),
]


@rows(CASES)
def test_words(peer: Peer, row: Case) -> None:
    check(peer, row)


@rows(LISTS + REFUSED)
def test_dumps(peer: Peer, row: Case) -> None:
    check_dump(peer, row)


def check_dump(peer: Peer, row: Case) -> None:
    """Fail unless ``peer`` answers the row as it should."""
    attempts = 1 if peer.is_cachecore else 3  # memcached's clock goes on
    while True:
        attempts -= 1
        with peer.fresh() as client:
            assert b"ERROR" not in client.transcript(row.setup)
            known: dict[bytes, bytes] = {}
            expected = filled(peer, client, row.expected(peer), known)
            ask = client.transcript if peer.is_cachecore else functools.partial(dump, client)
            reply = masked(ask(row.request))
        if reply == expected:
            return
        if not attempts:
            pytest.fail(explain(peer, row, expected, reply), pytrace=False)


def test_commands_before_a_dump(peer: Peer) -> None:
    """memcached refuses it while their replies are not sent yet, so that depends on how the packets were cut."""
    refused = b"ERROR cannot pipeline other commands before metadump\r\n"
    with peer.fresh() as client:
        reply = client.transcript(b"touch a 0\r\nlru_crawler metadump 63\r\n")
        answer(peer, "before-a-dump", reply, b"NOT_FOUND\r\n" + (OK + END if peer.is_cachecore else refused))
        assert client.transcript(b"mn\r\n") == MN


def test_commands_before_a_dump_of_keys(cachecore_peer: Peer) -> None:
    with cachecore_peer.fresh() as client:
        assert client.transcript(b"touch a 0\r\nlru_crawler mgdump all\r\n") == b"NOT_FOUND\r\n" + OK + EN


def test_commands_behind_a_dump(peer: Peer) -> None:
    """They are answered when it has ended; memcached answers them when more bytes come."""
    with peer.fresh() as client:
        client.transcript(A)
        question = b"lru_crawler metadump 63\r\nget a\r\nlru_crawler metadump 63\r\n"
        if peer.is_cachecore:
            expected = OK + END + hit(b"a", b"1") + OK + END
            answer(peer, "behind-a-dump", client.transcript(question), expected)
            quitting = client.transcript_to_close(b"lru_crawler mgdump all\r\nquit\r\nget a\r\n")
            assert quitting == OK + b"mg a\r\n" + EN + b"<closed>"
        else:
            dump(client)  # the last one's crawler has ended
            answer(peer, "behind-a-dump", client.ask(b"lru_crawler metadump 63\r\nget a\r\n"), END)
            assert client.ask(b"mn\r\n", MN) == hit(b"a", b"1") + MN


@pytest.mark.parametrize("word", [b"metadump", b"mgdump"])
def test_a_dump_in_every_two_pieces(cachecore_peer: Peer, word: bytes) -> None:
    request = b"lru_crawler %s all\r\nget a\r\n" % word
    with cachecore_peer.fresh() as client:
        client.transcript(A)
        whole = client.transcript(request)
        assert whole.endswith(hit(b"a", b"1"))
        for place in range(1, len(request)):
            assert client.transcript(request, [place]) == whole.replace(b"fetch=no", b"fetch=yes")
        assert client.transcript(request, range(1, len(request))) == whole.replace(b"fetch=no", b"fetch=yes")


def test_no_class_at_all(cachecore_peer: Peer) -> None:
    """memcached says so, too, and from then on refuses every dump."""
    with cachecore_peer.fresh() as client:
        assert client.transcript(b"lru_crawler metadump ,\r\n") == b"NOTSTARTED no items to crawl\r\n"
        assert client.transcript(b"lru_crawler mgdump ,,\r\n") == b"NOTSTARTED no items to crawl\r\n"


def test_dumps_that_are_not_allowed(launch_cachecore: Launch) -> None:
    with launch_cachecore(disable_dumping=True).connect() as client:
        for classes in (b"all", b"0", b","):
            assert client.transcript(b"touch a 0\r\nlru_crawler metadump %s\r\n" % classes) == (
                b"NOT_FOUND\r\nERROR metadump not allowed\r\n"
            )
            assert client.transcript(b"lru_crawler mgdump %s\r\n" % classes) == b"ERROR key dump not allowed\r\n"
        assert client.transcript(b"lru_crawler metadump\r\n") == ERROR


def test_without_a_crawler(launch_memcached: Launch, cachecore_peer: Peer) -> None:
    peer = launch_memcached(extended="no_lru_crawler")
    with peer.connect() as client:
        reply = client.transcript(b"lru_crawler metadump all\r\n")
        answer(peer, "dump-without-crawler", reply, b"CLIENT_ERROR lru crawler disabled\r\n")
    with cachecore_peer.fresh() as client:
        answer(cachecore_peer, "dump-without-crawler", client.transcript(b"lru_crawler metadump all\r\n"), OK + END)


# ---- large ones

NUMBER = 30_000


def keys() -> set[bytes]:
    """Their metadump is 12 MB, more than sockets hold."""
    return {b"k%d" % i + b"/" * 100 for i in range(NUMBER)}


def fill(client: Client, names: set[bytes]) -> None:
    client.transcript(b"".join(b"set %s 0 0 1 noreply\r\nx\r\n" % name for name in names))


def names_in(reply: bytes) -> list[bytes]:
    lines = reply.replace(b"%2F", b"/").split(b"\n")  # which is all there is to decode in ``keys``
    assert lines[0] == b"OK\r" and lines[-2:] == [b"END\r", b""]
    return [line.split()[0].removeprefix(b"key=") for line in lines[1:-2]]


def test_every_item_once(launch_cachecore: Launch) -> None:
    with launch_cachecore().connect() as client:
        names = keys()
        fill(client, names)
        found = names_in(client.transcript(b"lru_crawler metadump all\r\n"))
        assert len(found) == NUMBER
        assert set(found) == names
        found = client.transcript(b"lru_crawler mgdump all\r\n").split(b"\r\n")
        assert set(found) == {b"mg " + name for name in names} | {b"OK", b"EN", b""}
        assert len(found) == NUMBER + 3


def slow_reader(peer: Peer) -> Client:
    """A client that has begun to read a dump, and stops."""
    client = peer.connect()
    client.send(b"lru_crawler metadump all\r\nget k-\r\n")
    begun, _, _ = select.select([client.socket], [], [], client.timeout)
    assert begun
    return client


def unsent(client: Client) -> int:
    """Bytes of replies that the server keeps for its clients."""
    stats = client.ask(b"stats\r\n")
    found = re.search(rb"STAT response_obj_bytes (\d+)", stats)
    assert found
    return int(found[1])


def test_dumps_that_are_not_read(launch_cachecore: Launch) -> None:
    """Five of them, on the only worker: others are served, the table grows, memory stays small, and each is whole."""
    peer = launch_cachecore(threads=1)
    with peer.connect() as other, contextlib.ExitStack() as stack:
        names = keys()
        fill(other, names)
        readers = [stack.enter_context(slow_reader(peer)) for _ in range(5)]
        before = int(peer.stats()[b"hash_bytes"])
        later = {b"later%d" % i for i in range(3 * NUMBER)}
        first = min(names)
        for _ in range(100):
            assert other.ask(b"mg %s v\r\nmn\r\n" % first, MN) == b"VA 1\r\nx\r\n" + MN
        fill(other, later)
        assert int(peer.stats()[b"hash_bytes"]) > 2 * before, "the table did not grow"
        assert 0 < unsent(other) < 5 * 70_000
        for reader in readers:
            reply = reader.read_until(b"\nEND\r\n")
            found = names_in(reply)
            assert len(found) == len(set(found))
            assert names <= set(found) <= names | later
            assert reader.read_until(END) == END  # of the get behind the dump
        assert unsent(other) == 0


def test_a_dump_that_is_left(launch_cachecore: Launch) -> None:
    peer = launch_cachecore(threads=1)
    with peer.connect() as other:
        fill(other, keys())
        readers = [slow_reader(peer) for _ in range(5)]
        assert unsent(other) > 0
        for reader in readers:
            reader.close()
        while int(peer.stats()[b"curr_connections"]) > 2:
            other.ask(b"mn\r\n", MN)
        assert unsent(other) == 0


def test_a_dump_takes_turns_with_others(launch_cachecore: Launch) -> None:
    """Also one that has nothing to write: who asks meanwhile is answered before it ends."""
    peer = launch_cachecore(threads=1)
    with peer.connect() as dumping, peer.connect() as other:
        fill(other, {b"%d" % i for i in range(100_000)})
        for _ in range(50):  # the test may be slower than the dump now and then
            dumping.send(b"lru_crawler metadump 63\r\n")
            assert other.ask(b"mn\r\n", MN) == MN
            with contextlib.suppress(BlockingIOError):
                dumping.received += dumping.socket.recv(100)
            ended = END in dumping.received
            assert dumping.read_until(END) == OK + END
            if not ended:
                return
        pytest.fail("nobody was served before a dump had ended")
