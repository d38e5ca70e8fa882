"""How large a value may be, how long a line, how many keys; what the first byte decides."""

from __future__ import annotations

import pytest

from tests.conftest import Launch
from tests.support.cases import (
    CLOSED,
    END,
    ERROR,
    LONG_KEY,
    MN,
    NOT_STORED,
    OK,
    STORED,
    TOO_LARGE,
    TOO_LONG,
    Case,
    answer,
    case,
    check,
    hit,
    put,
    recorded,
    rows,
    value,
)
from tests.support.peers import Peer

LINE = 2048  # bytes of a command line, its end included
GET_LINE = 1 << 20  # the same for get, gets, gat and gats
OLD = put(b"a", b"old")


def line(start: bytes, size: int, filler: bytes = b" ") -> bytes:
    """A command line of exactly ``size`` bytes."""
    return start + filler * (size - len(start) - 2) + b"\r\n"


def sized(key: bytes, size: int, flags: int = 0) -> bytes:
    return put(key, b"v" * size, flags)


SIZES = [
    case("largest", sized(b"a", 1048516) + b"mg a s\r\n", STORED + b"HD s1048516\r\n"),
    case("one-too-many", sized(b"a", 1048517), TOO_LARGE),
    case("largest-with-flags", sized(b"a", 1048512, 1) + b"mg a s\r\n", STORED + b"HD s1048512\r\n"),
    case("one-too-many-with-flags", sized(b"a", 1048513, 1), TOO_LARGE),
    case("largest-with-long-key", sized(LONG_KEY, 1048267), STORED),
    case("one-too-many-with-long-key", sized(LONG_KEY, 1048268), TOO_LARGE),
    case("largest-comes-back", b"get a\r\n", hit(b"a", b"v" * 1048516), setup=sized(b"a", 1048516)),
    case("too-large-removes-the-old", sized(b"a", 1048517) + b"get a\r\n", TOO_LARGE + END, setup=OLD),
    case(
        "too-large-noreply-removes-the-old",
        b"set a 0 0 1048517 noreply\r\n" + b"v" * 1048517 + b"\r\nget a\r\n",
        END,
        setup=OLD,
    ),
    case(
        "too-large-add-keeps-the-old",
        b"add" + sized(b"a", 1048517)[3:] + b"get a\r\n",
        TOO_LARGE + hit(b"a", b"old"),
        setup=OLD,
    ),
    case(
        "too-large-replace-keeps-the-old",
        b"replace" + sized(b"a", 1048517)[3:] + b"get a\r\n",
        TOO_LARGE + hit(b"a", b"old"),
        setup=OLD,
    ),
    case(
        "too-large-append-keeps-the-old",
        b"append" + sized(b"a", 1048517)[3:] + b"get a\r\n",
        TOO_LARGE + hit(b"a", b"old"),
        setup=OLD,
    ),
    case(
        "append-beyond-the-limit",
        b"append a 0 0 600000\r\n" + b"w" * 600000 + b"\r\nmg a s\r\n",
        NOT_STORED + b"HD s600000\r\n",
        setup=sized(b"a", 600000),
    ),
    case(
        "prepend-beyond-the-limit",
        b"prepend a 0 0 600000\r\n" + b"w" * 600000 + b"\r\nmg a s\r\n",
        NOT_STORED + b"HD s600000\r\n",
        setup=sized(b"a", 600000),
    ),
    case(
        "append-up-to-the-limit",
        b"append a 0 0 448516\r\n" + b"w" * 448516 + b"\r\nmg a s\r\n",
        STORED + b"HD s1048516\r\n",
        setup=sized(b"a", 600000),
    ),
    case(
        "append-one-beyond-the-limit",
        b"append a 0 0 448517\r\n" + b"w" * 448517 + b"\r\nmg a s\r\n",
        NOT_STORED + b"HD s600000\r\n",
        setup=sized(b"a", 600000),
    ),
    case("ms-largest", b"ms a 1048516\r\n" + b"v" * 1048516 + b"\r\nmg a s\r\n", b"HD\r\nHD s1048516\r\n"),
    case("ms-one-too-many", b"ms a 1048517\r\n" + b"v" * 1048517 + b"\r\nmg a s\r\n", TOO_LARGE + b"EN\r\n", setup=OLD),
    case("twenty-megabytes-swallowed", sized(b"a", 20_000_000) + b"mn\r\n", TOO_LARGE + MN),
    case(
        "large-value-in-the-middle",
        b"set a 0 0 1048516\r\n" + bytes(range(256)) * 4095 + b"v" * 196 + b"\r\nget a\r\n",
        STORED + hit(b"a", bytes(range(256)) * 4095 + b"v" * 196),
    ),
    case(
        "incr-on-a-large-value",
        b"incr a 1\r\n",
        b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
        setup=put(b"a", b"1" + b" " * 900_000),
    ),
]

LINES = [
    case("line-of-the-limit", line(b"version", LINE), b"VERSION <v>\r\n"),
    case("unknown-line-of-the-limit", line(b"foo", LINE, b"x"), ERROR),
    case("line-over-the-limit", line(b"version", LINE + 1), TOO_LONG + CLOSED),
    case("unknown-line-over-the-limit", line(b"foo", 3000, b"x"), TOO_LONG + CLOSED),
    case("mg-line-over-the-limit", line(b"mg a", 3000), TOO_LONG + CLOSED),
    case("set-line-over-the-limit", line(b"set a 0 0 1", 3000) + b"x\r\n", TOO_LONG + CLOSED),
    case(
        "line-over-the-limit-among-others",
        OLD + b"get a\r\n" + line(b"version", LINE + 1) + b"get a\r\n",
        STORED + hit(b"a", b"old") + TOO_LONG + CLOSED,
    ),
    case("endless-line", b"x" * 4000, TOO_LONG + CLOSED, closing=True),
    case("endless-mg-line", b"mg " + b"x" * 4000, TOO_LONG + CLOSED, closing=True),
    case("endless-set-line", b"set " + b"x" * 4000, TOO_LONG + CLOSED, closing=True),
    case("endless-spaces", b" " * 4000, TOO_LONG + CLOSED, closing=True),
    case("endless-get-line-behind-spaces", b" " * 200 + b"get " + b"a " * 4000, TOO_LONG + CLOSED, closing=True),
    case("get-line-over-its-limit", line(b"get a", GET_LINE + 1), TOO_LONG + CLOSED, setup=OLD),
    case("gat-line-over-its-limit", line(b"gat 0 a", GET_LINE + 1), TOO_LONG + CLOSED, setup=OLD),
]

MANY = 40_000
KEYS = [
    case(
        "forty-thousand-keys",
        b"get " + b" ".join(b"k%d" % n for n in range(MANY)) + b"\r\n",
        value(b"k7", b"seven") + hit(b"k39999", b"last"),
        setup=put(b"k7", b"seven") + put(b"k39999", b"last"),
    ),
    case(
        "one-key-forty-thousand-times",
        b"gets" + b" a" * MANY + b"\r\n",
        b"VALUE a 0 3 <cas:a>\r\nold\r\n" * MANY + END,
        setup=OLD,
    ),
    case("gat-of-many-keys", b"gat 0" + b" a" * 1500 + b"\r\n", value(b"a", b"old") * 1500 + END, setup=OLD),
    case(
        "gats-of-many-keys",
        b"gats 0" + b" a" * 1500 + b"\r\n",
        b"VALUE a 0 3 <cas:a>\r\nold\r\n" * 1500 + END,
        setup=OLD,
    ),
    case("get-line-of-the-limit", line(b"get a", GET_LINE), hit(b"a", b"old"), setup=OLD),
]

#: What memcached 1.6.18 answers instead: by difference, then by row.
MEMCACHED: dict[str, dict[str, bytes]] = {
    "line-too-long": {
        "line-over-the-limit": b"VERSION <v>\r\n",
        "unknown-line-over-the-limit": ERROR,
        "mg-line-over-the-limit": b"EN\r\n",
        "set-line-over-the-limit": STORED,
        "line-over-the-limit-among-others": STORED
        + b"VALUE a 0 3\r\nold\r\n"
        + END
        + b"VERSION <v>\r\nVALUE a 0 3\r\nold\r\n"
        + END,
        "endless-line": CLOSED,
        "endless-mg-line": CLOSED,
        "endless-set-line": CLOSED,
        "endless-spaces": CLOSED,
        "endless-get-line-behind-spaces": CLOSED,
        "get-line-over-its-limit": b"VALUE a 0 3\r\nold\r\n" + END,
        "gat-line-over-its-limit": CLOSED,
    },
}

CASES = recorded(SIZES + LINES + KEYS, MEMCACHED)


@rows(CASES)
def test_limits(peer: Peer, row: Case) -> None:
    check(peer, row)


@pytest.mark.parametrize("word", [b"get", b"gets", b"gat 0", b"gats 0"])
def test_get_line_without_end(cachecore_peer: Peer, word: bytes) -> None:
    """memcached's buffer for such a line grows as long as the client sends."""
    with cachecore_peer.fresh() as client:
        endless = word + b" a" * (GET_LINE // 2 + 1000)
        assert client.transcript_to_close(endless) == TOO_LONG + CLOSED


@pytest.mark.parametrize("word", [b"get", b"gets", b"gat 0", b"gats 0"])
def test_long_get_line_in_pieces(cachecore_peer: Peer, word: bytes) -> None:
    """Only get and gets may be longer than 2048 bytes with memcached when their end has not arrived."""
    with cachecore_peer.fresh() as client:
        request = word + b" a" * 20_000 + b"\r\n"
        assert client.transcript(request, range(1000, len(request), 1000)) == END


def test_long_get_line_in_pieces_on_both(peer: Peer) -> None:
    with peer.fresh() as client:
        request = b"get" + b" a" * 20_000 + b"\r\n"
        assert client.transcript(request, range(1000, len(request), 1000)) == END


def test_limit_without_cas(launch: Launch) -> None:
    """Without cas numbers an item is eight bytes smaller, and no cas matches."""
    with launch(disable_cas=True).connect() as client:
        assert client.transcript(sized(b"a", 1048525)) == TOO_LARGE
        assert client.transcript(sized(b"a", 1048524)) == STORED
        assert client.transcript(OLD) == STORED
        assert client.transcript(b"gets a\r\n") == b"VALUE a 0 3 0\r\nold\r\nEND\r\n"
        assert client.transcript(b"cas a 0 0 1 0\r\nx\r\ncas a 0 0 1 1\r\nx\r\n") == b"EXISTS\r\n" * 2
        assert client.transcript(b"cas b 0 0 1 0\r\nx\r\n") == b"NOT_FOUND\r\n"
        assert client.transcript(b"mg a c\r\nms a 1 c\r\nx\r\n") == b"HD c0\r\nHD c0\r\n"


@pytest.mark.parametrize("option", ["2m", 2 << 20])
def test_limit_of_two_megabytes(launch: Launch, option: str | int) -> None:
    with launch(max_item_size=option).fresh() as client:
        assert client.transcript(sized(b"a", 2097093)) == TOO_LARGE
        assert client.transcript(sized(b"a", 2097092)) == STORED
        assert client.transcript(b"get a\r\n") == hit(b"a", b"v" * 2097092)


def test_full_without_evictions(launch: Launch) -> None:
    """With -M a store is refused when memory is full; set removes the old value; reading goes on."""
    full = b"SERVER_ERROR out of memory storing object\r\n"
    with launch(disable_evictions=True, memory_limit=4, threads=1).fresh() as client:
        replies = [client.transcript(sized(b"k%d" % n, 100_000)) for n in range(100)]
        assert set(replies) == {STORED, full}
        first, refused = b"k0", b"k%d" % replies.index(full)
        assert client.transcript(b"get %s\r\n" % refused) == END
        assert client.transcript(b"get %s\r\n" % first) == hit(first, b"v" * 100_000)
        assert client.transcript(b"delete %s\r\n" % first) == b"DELETED\r\n"
        assert client.transcript(sized(refused, 100_000)) == STORED


def test_batches_larger_than_a_round(launch: Launch) -> None:
    """However many commands a connection may run in a row, all are answered in order."""
    with launch(max_reqs_per_event=1).fresh() as client:
        request = b"".join(put(b"k%d" % n, b"%d" % n) + b"get k%d\r\n" % n for n in range(100))
        replies = b"".join(STORED + hit(b"k%d" % n, b"%d" % n) for n in range(100))
        assert client.transcript(request) == replies


def test_binary_protocol(peer: Peer) -> None:
    """A first byte of 0x80 is memcached's binary protocol: cachecore closes such a connection at once."""
    noop = b"\x80\x0a" + bytes(22)
    with peer.fresh() as client, peer.connect() as binary:
        assert client.transcript(b"mn\r\n") == MN
        binary.send(noop)
        if peer.is_cachecore:
            answer(peer, "binary-protocol", binary.read_to_close(), b"")
        else:
            answer(peer, "binary-protocol", binary.read_exact(24), b"\x81" + noop[1:])


def test_binary_protocol_first_byte_alone(cachecore_peer: Peer) -> None:
    with cachecore_peer.connect() as client:
        client.send(b"\x80")
        assert client.read_to_close() == b""


def test_replies_are_not_lost_with_an_upload(peer: Peer) -> None:
    with peer.fresh() as client:
        replies = client.transcript_to_close(b"flush_all\r\nget a\r\nset b 0 0 5\r\nab", end=True)
        assert replies == OK + END + CLOSED
    with peer.connect() as client:
        assert client.transcript(b"get b\r\n") == END


def test_replies_arrive_while_an_upload_stands(peer: Peer) -> None:
    """memcached keeps the last reply back until the upload behind it is complete."""
    with peer.fresh() as client:
        client.send(put(b"a", b"1") + b"get a\r\nmg a v\r\nset b 0 0 5\r\nab", cuts=())
        last, rest = b"VA 1\r\n1\r\n", b"cde\r\nget b\r\n"
        if peer.is_cachecore:
            early = client.read_until(last)
            answer(peer, "replies-before-upload", early, STORED + hit(b"a", b"1") + last)
            client.send(rest)
            assert client.read_until(END) == STORED + hit(b"b", b"abcde")
        else:
            early = client.read_until(END)
            answer(peer, "replies-before-upload", early + client.received, STORED + hit(b"a", b"1"))
            client.send(rest)
            assert client.read_until(END) == last + STORED + hit(b"b", b"abcde")


def test_unfinished_upload_leaves_nothing(peer: Peer) -> None:
    with peer.fresh() as client:
        client.transcript(OLD)
        with peer.connect() as other:
            assert other.transcript_to_close(b"set a 0 0 1000\r\nhalf", end=True) == CLOSED
        assert client.transcript(b"get a\r\n") == hit(b"a", b"old")
