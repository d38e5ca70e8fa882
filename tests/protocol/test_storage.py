"""set, add, replace, append, prepend and cas."""

from __future__ import annotations

from tests.support.cases import (
    END,
    ERROR,
    EXISTS,
    FORMAT,
    MN,
    NOT_FOUND,
    NOT_STORED,
    STORED,
    Case,
    case,
    check,
    hit,
    put,
    recorded,
    rows,
)
from tests.support.peers import Peer

OLD = b"set a 7 0 3\r\nold\r\n"
GET = b"get a\r\n"

OUTCOMES = [
    case("set-absent", b"set a 5 0 3\r\nnew\r\n" + GET, STORED + hit(b"a", b"new", 5)),
    case("set-present", b"set a 5 0 3\r\nnew\r\n" + GET, STORED + hit(b"a", b"new", 5), setup=OLD),
    case("add-absent", b"add a 5 0 3\r\nnew\r\n" + GET, STORED + hit(b"a", b"new", 5)),
    case("add-present", b"add a 5 0 3\r\nnew\r\n" + GET, NOT_STORED + hit(b"a", b"old", 7), setup=OLD),
    case("replace-absent", b"replace a 5 0 3\r\nnew\r\n" + GET, NOT_STORED + END),
    case("replace-present", b"replace a 5 0 3\r\nnew\r\n" + GET, STORED + hit(b"a", b"new", 5), setup=OLD),
    case("append-absent", b"append a 5 0 3\r\nnew\r\n" + GET, NOT_STORED + END),
    case("append-present-keeps-flags", b"append a 5 0 3\r\nnew\r\n" + GET, STORED + hit(b"a", b"oldnew", 7), setup=OLD),
    case("prepend-absent", b"prepend a 5 0 3\r\nnew\r\n" + GET, NOT_STORED + END),
    case(
        "prepend-present-keeps-flags", b"prepend a 5 0 3\r\nnew\r\n" + GET, STORED + hit(b"a", b"newold", 7), setup=OLD
    ),
    case("append-keeps-the-time", b"append a 0 -1 1\r\nx\r\n" + GET, STORED + hit(b"a", b"oldx", 7), setup=OLD),
    case("append-nothing", b"append a 0 0 0\r\n\r\n" + GET, STORED + hit(b"a", b"old", 7), setup=OLD),
    case("append-to-nothing", b"append a 0 0 1\r\nx\r\n" + GET, STORED + hit(b"a", b"x"), setup=put(b"a", b"")),
    case("set-shorter", b"set a 0 0 1\r\nx\r\n" + GET, STORED + hit(b"a", b"x"), setup=OLD),
    case("set-longer", put(b"a", b"y" * 5000) + GET, STORED + hit(b"a", b"y" * 5000), setup=OLD),
    case(
        "many-appends", b"append a 0 0 1\r\nx\r\n" * 50 + GET, STORED * 50 + hit(b"a", b"old" + b"x" * 50, 7), setup=OLD
    ),
    case(
        "add-replace-append",
        put(b"a", b"1") + b"add a 0 0 1\r\n2\r\nreplace a 0 0 1\r\n3\r\n"
        b"append a 0 0 1\r\n4\r\nprepend a 0 0 1\r\n5\r\n" + GET,
        STORED + NOT_STORED + STORED * 3 + hit(b"a", b"534"),
    ),
]

CAS = [
    case("cas-absent", b"cas a 0 0 1 1\r\nx\r\n", NOT_FOUND),
    case("cas-absent-zero", b"cas a 0 0 1 0\r\nx\r\n", NOT_FOUND),
    case("cas-equal", b"cas a 5 0 3 <cas:a>\r\nnew\r\n" + GET, STORED + hit(b"a", b"new", 5), setup=OLD),
    case("cas-higher", b"cas a 5 0 3 <cas:a+1>\r\nnew\r\n" + GET, EXISTS + hit(b"a", b"old", 7), setup=OLD),
    case("cas-lower", b"cas a 5 0 3 <cas:a-1>\r\nnew\r\n" + GET, EXISTS + hit(b"a", b"old", 7), setup=OLD),
    case("cas-zero", b"cas a 5 0 3 0\r\nnew\r\n" + GET, EXISTS + hit(b"a", b"old", 7), setup=OLD),
    case(
        "cas-twice",
        b"cas a 0 0 1 <cas:a>\r\nx\r\ncas a 0 0 1 <cas:a>\r\ny\r\n" + GET,
        STORED + EXISTS + hit(b"a", b"x"),
        setup=OLD,
    ),
    case("cas-greatest", b"cas a 0 0 1 18446744073709551615\r\nx\r\n", EXISTS, setup=OLD),
    case("cas-beyond-64-bits", b"cas a 0 0 1 18446744073709551616\r\nx\r\n", FORMAT, setup=OLD),
    case("cas-garbled", b"cas a 0 0 1 x\r\nx\r\nmn\r\n", FORMAT + MN, setup=OLD),
    case("cas-negative", b"cas a 0 0 1 -1\r\nx\r\nmn\r\n", FORMAT + MN, setup=OLD),
    case("cas-missing", b"cas a 0 0 1\r\nb\r\n", FORMAT),
    case("cas-missing-noreply-instead", b"cas a 0 0 1 noreply\r\nb\r\nmn\r\n", MN),
    case("cas-with-a-trailing-token", b"cas a 0 0 1 <cas:a> f\r\nx\r\n" + GET, STORED + hit(b"a", b"x"), setup=OLD),
    case("gets-shows-the-cas", b"gets a\r\n", b"VALUE a 7 3 <cas:a>\r\nold\r\nEND\r\n", setup=OLD),
    case("gats-shows-the-cas", b"gats 0 a\r\n", b"VALUE a 7 3 <cas:a>\r\nold\r\nEND\r\n", setup=OLD),
    case("gets-after-set", OLD + b"gets a\r\n", STORED + b"VALUE a 7 3 <new:a>\r\nold\r\nEND\r\n", setup=OLD),
    case("append-changes-the-cas", b"append a 0 0 1\r\nx\r\ncas a 0 0 1 <cas:a>\r\ny\r\n", STORED + EXISTS, setup=OLD),
    case(
        "failed-add-keeps-the-cas", b"add a 0 0 1\r\nx\r\ncas a 0 0 1 <cas:a>\r\ny\r\n", NOT_STORED + STORED, setup=OLD
    ),
    case("incr-changes-the-cas", b"incr a 1\r\ncas a 0 0 1 <cas:a>\r\ny\r\n", b"6\r\n" + EXISTS, setup=put(b"a", b"5")),
    case("touch-keeps-the-cas", b"touch a 0\r\ncas a 0 0 1 <cas:a>\r\ny\r\n", b"TOUCHED\r\n" + STORED, setup=OLD),
    case("gat-keeps-the-cas", b"gat 0 a\r\ncas a 0 0 1 <cas:a>\r\ny\r\n", hit(b"a", b"old", 7) + STORED, setup=OLD),
]

HEADERS = [
    case("set-alone", b"set\r\n", FORMAT),
    case("set-key-only", b"set a\r\n", FORMAT),
    case("set-three-tokens", b"set a 0\r\n", FORMAT),
    case("set-four-tokens", b"set a 0 0\r\n", FORMAT),
    case("set-four-tokens-noreply", b"set a 0 noreply\r\n", FORMAT),
    case("length-noreply", b"set a 0 0 noreply\r\n", FORMAT),
    case("length-garbled-with-noreply", b"set a 0 0 x noreply\r\n", FORMAT),
    case("length-negative-with-noreply", b"set a 0 0 -1 noreply\r\n", FORMAT),
    case("add-four-tokens", b"add a 0 0\r\n", FORMAT),
    case("cas-four-tokens", b"cas a 0 0\r\n", FORMAT),
    case("bad-flags", b"set a x 0 1\r\nx\r\nmn\r\n", FORMAT + MN),
    case("bad-flags-noreply", b"set a x 0 1 noreply\r\nx\r\nmn\r\n", MN),
    case("bad-exptime-noreply", b"set a 0 x 1 noreply\r\nx\r\nmn\r\n", MN),
    case("bad-flags-keep-the-old-value", b"set a x 0 1\r\nx\r\n" + GET, FORMAT + hit(b"a", b"old", 7), setup=OLD),
    case("noreply-stores", b"set a 0 0 1 noreply\r\nx\r\n" + GET, hit(b"a", b"x")),
    case("noreply-not-last", b"set a 0 0 1 noreply x\r\nx\r\n" + GET, STORED + hit(b"a", b"x")),
    case("noreply-after-a-token", b"set a 0 0 1 x noreply\r\nx\r\n" + GET, hit(b"a", b"x")),
    case("noreply-upper-case", b"set a 0 0 1 NOREPLY\r\nx\r\n", STORED),
    case("noreply-longer", b"set a 0 0 1 noreplyx\r\nx\r\n", STORED),
    case(
        "every-command-noreply",
        b"set a 0 0 1 noreply\r\n1\r\nadd a 0 0 1 noreply\r\n2\r\nreplace a 0 0 1 noreply\r\n3\r\n"
        b"append a 0 0 1 noreply\r\n4\r\nprepend a 0 0 1 noreply\r\n5\r\ncas a 0 0 1 0 noreply\r\n6\r\n" + GET,
        hit(b"a", b"534"),
    ),
    case("unknown-storage-word", b"store a 0 0 1\r\nmn\r\n", ERROR + MN),
]

#: What memcached 1.6.18 answers instead: by difference, then by row.
MEMCACHED: dict[str, dict[str, bytes]] = {
    "block-not-swallowed": {
        "cas-beyond-64-bits": FORMAT + ERROR,
        "cas-garbled": FORMAT + ERROR + MN,
        "cas-negative": FORMAT + ERROR + MN,
        "bad-flags": FORMAT + ERROR + MN,
        "bad-flags-noreply": ERROR + MN,
        "bad-exptime-noreply": ERROR + MN,
        "bad-flags-keep-the-old-value": FORMAT + ERROR + b"VALUE a 7 3\r\nold\r\n" + END,
    },
    "too-few-arguments": {
        "cas-missing": ERROR * 2,
        "cas-missing-noreply-instead": ERROR + MN,
        "set-alone": ERROR,
        "set-key-only": ERROR,
        "set-three-tokens": ERROR,
        "set-four-tokens": ERROR,
        "set-four-tokens-noreply": ERROR,
        "add-four-tokens": ERROR,
        "cas-four-tokens": ERROR,
    },
    "bad-length-noreply": {
        "length-noreply": b"",
        "length-garbled-with-noreply": b"",
        "length-negative-with-noreply": b"",
    },
    "surplus-arguments": {
        "noreply-not-last": ERROR * 2 + END,
        "noreply-after-a-token": ERROR * 2 + END,
    },
}

CASES = recorded(OUTCOMES + CAS + HEADERS, MEMCACHED)


@rows(CASES)
def test_storage(peer: Peer, row: Case) -> None:
    check(peer, row)
