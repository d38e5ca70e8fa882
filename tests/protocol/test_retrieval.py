"""get, gets, gat and gats; which keys there are."""

from __future__ import annotations

from tests.support.cases import (
    END,
    ERROR,
    EXPTIME,
    FORMAT,
    LONG_KEY,
    MN,
    NOT_FOUND,
    OVERLONG_KEY,
    STORED,
    Case,
    case,
    check,
    hit,
    put,
    recorded,
    rows,
    value,
)
from tests.support.peers import Peer

TWO = put(b"a", b"1", 5) + put(b"b", b"22")
ODD_KEYS = [b"a\rb", b"a\tb", b"\x01", b"\x7f", b"\x80\xff", b"a\x0bb", b"\xc3\xa9"]
ODD_KEYS += [b"%d%s%n", b"get", b"gets"]

GETS = [
    case("get-alone", b"get\r\n", FORMAT),
    case("get-space", b"get \r\n", FORMAT),
    case("gets-alone", b"gets\r\n", FORMAT),
    case("gat-alone", b"gat\r\n", FORMAT),
    case("gat-exptime-only", b"gat 0\r\n", FORMAT),
    case("gats-exptime-only", b"gats 0\r\n", FORMAT),
    case("gats-alone", b"gats\r\n", FORMAT),
    case("miss", b"get a\r\n", END),
    case("gets-miss", b"gets a\r\n", END),
    case("gat-miss", b"gat 0 a\r\n", END),
    case("gats-miss", b"gats 0 a\r\n", END),
    case("hit", b"get a\r\n", hit(b"a", b"1", 5), setup=TWO),
    case("two-keys", b"get a b\r\n", value(b"a", b"1", 5) + hit(b"b", b"22"), setup=TWO),
    case("request-order", b"get b a\r\n", value(b"b", b"22") + hit(b"a", b"1", 5), setup=TWO),
    case("misses-are-left-out", b"get x b y a z\r\n", value(b"b", b"22") + hit(b"a", b"1", 5), setup=TWO),
    case(
        "same-key-twice",
        b"get a a b a\r\n",
        value(b"a", b"1", 5) * 2 + value(b"b", b"22") + hit(b"a", b"1", 5),
        setup=TWO,
    ),
    case(
        "gets-two-keys", b"gets a b\r\n", b"VALUE a 5 1 <cas:a>\r\n1\r\nVALUE b 0 2 <cas:b>\r\n22\r\nEND\r\n", setup=TWO
    ),
    case("gat-two-keys", b"gat 0 a b\r\n", value(b"a", b"1", 5) + hit(b"b", b"22"), setup=TWO),
    case(
        "gats-two-keys",
        b"gats 0 a x b\r\n",
        b"VALUE a 5 1 <cas:a>\r\n1\r\nVALUE b 0 2 <cas:b>\r\n22\r\nEND\r\n",
        setup=TWO,
    ),
    case("gat-garbled-exptime", b"gat x a\r\n", EXPTIME, setup=TWO),
    case("gat-exptime-with-letters", b"gat 5x a\r\n", EXPTIME, setup=TWO),
    case("gat-key-forgotten", b"gat a b\r\n", EXPTIME, setup=TWO),
    case("gats-garbled-exptime", b"gats x a\r\n", EXPTIME, setup=TWO),
    case("gat-negative-still-shows-the-value", b"gat -1 a\r\nget a\r\n", hit(b"a", b"1", 5) + END, setup=TWO),
    case(
        "gats-negative-still-shows-the-value",
        b"gats -1 a\r\nget a\r\n",
        b"VALUE a 5 1 <cas:a>\r\n1\r\nEND\r\n" + END,
        setup=TWO,
    ),
    case("gat-absolute-past", b"gat 2592001 a\r\nget a\r\n", hit(b"a", b"1", 5) + END, setup=TWO),
    case(
        "gat-sets-the-time-of-all",
        b"gat -1 a b\r\nget a b\r\n",
        value(b"a", b"1", 5) + hit(b"b", b"22") + END,
        setup=TWO,
    ),
    case("noreply-is-a-key", b"get a noreply\r\n", hit(b"a", b"1", 5), setup=TWO),
    case("noreply-is-a-present-key", b"get noreply\r\n", hit(b"noreply", b"x"), setup=put(b"noreply", b"x")),
    case("gat-noreply-is-a-key", b"gat 0 a noreply\r\n", hit(b"a", b"1", 5), setup=TWO),
    case(
        "hundred-keys",
        b"get " + b" ".join(b"k%d" % n for n in range(100)) + b"\r\n",
        b"".join(value(b"k%d" % n, b"%d" % n) for n in range(0, 100, 3)) + END,
        setup=b"".join(put(b"k%d" % n, b"%d" % n) for n in range(0, 100, 3)),
    ),
    case(
        "gets-hundred-keys",
        b"gets " + b" ".join(b"k%d" % n for n in range(100)) + b"\r\n",
        b"VALUE k99 0 2 <cas:k99>\r\n99\r\nEND\r\n",
        setup=put(b"k99", b"99"),
    ),
    case("large-value", b"get a\r\nget a\r\n", hit(b"a", b"v" * 300_000) * 2, setup=put(b"a", b"v" * 300_000)),
    case(
        "large-among-small",
        b"get a b a c\r\n",
        value(b"a", b"1") + value(b"b", b"v" * 100_000) + value(b"a", b"1") + hit(b"c", b"2"),
        setup=put(b"a", b"1") + put(b"b", b"v" * 100_000) + put(b"c", b"2"),
    ),
    case(
        "value-overwritten-in-the-same-batch",
        b"get a\r\n" + put(b"a", b"two") + b"get a\r\ndelete a\r\nget a\r\n",
        hit(b"a", b"1", 5) + STORED + hit(b"a", b"two") + b"DELETED\r\n" + END,
        setup=TWO,
    ),
    case(
        "large-value-overwritten-in-the-same-batch",
        b"get a\r\n" + put(b"a", b"w" * 100_000) + b"get a\r\n",
        hit(b"a", b"v" * 100_000) + STORED + hit(b"a", b"w" * 100_000),
        setup=put(b"a", b"v" * 100_000),
    ),
]

KEYS = [
    case(
        f"key-{key!r}",
        put(key, b"x") + b"get %s\r\nmg %s k\r\ndelete %s\r\n" % (key, key, key),
        STORED + hit(key, b"x") + b"HD k%s\r\n" % key + b"DELETED\r\n",
    )
    for key in ODD_KEYS
] + [
    case("cr-before-crlf-belongs-to-the-key", b"get a\r\r\n", hit(b"a\r", b"x"), setup=put(b"a\r", b"x")),
    case("nul-in-a-key", put(b"a\0b", b"x") + b"get a\0b\r\n", STORED + hit(b"a\0b", b"x")),
    case("keys-differ-in-case", b"get A\r\n", END, setup=put(b"a", b"1")),
    case("longest-key", put(LONG_KEY, b"x") + b"get %s\r\n" % LONG_KEY, STORED + hit(LONG_KEY, b"x")),
    case(
        "longest-key-everywhere",
        b"gat 0 %s\r\ntouch %s 0\r\nincr %s 1\r\ndelete %s\r\n" % ((LONG_KEY,) * 4),
        END + NOT_FOUND * 3,
    ),
    case(
        "longest-keys-in-one-line",
        b"get " + b" ".join(b"%03d" % n + b"k" * 247 for n in range(100)) + b"\r\n",
        hit(b"042" + b"k" * 247, b"x"),
        setup=put(b"042" + b"k" * 247, b"x"),
    ),
    case("overlong-key-get", b"get %s\r\nmn\r\n" % OVERLONG_KEY, FORMAT + MN),
    case("overlong-key-gets", b"gets %s\r\nmn\r\n" % OVERLONG_KEY, FORMAT + MN),
    case("overlong-key-gat", b"gat 0 %s\r\nmn\r\n" % OVERLONG_KEY, FORMAT + MN),
    case("overlong-key-gats", b"gats 0 %s\r\nmn\r\n" % OVERLONG_KEY, FORMAT + MN),
    case("overlong-key-drops-its-own-values", b"get a b %s a\r\nmn\r\n" % OVERLONG_KEY, FORMAT + MN, setup=TWO),
    case(
        "overlong-key-keeps-earlier-replies",
        b"get a\r\nversion\r\nget a %s\r\nmn\r\n" % OVERLONG_KEY,
        hit(b"a", b"1", 5) + b"VERSION <v>\r\n" + FORMAT + MN,
        setup=TWO,
    ),
    case("overlong-key-set", b"set %s 0 0 2\r\nhi\r\nmn\r\n" % OVERLONG_KEY, FORMAT + MN),
    case("overlong-key-set-noreply", b"set %s 0 0 2 noreply\r\nhi\r\nmn\r\n" % OVERLONG_KEY, MN),
    case("overlong-key-delete", b"delete %s\r\n" % OVERLONG_KEY, FORMAT),
    case("overlong-key-incr", b"incr %s 1\r\n" % OVERLONG_KEY, FORMAT),
    case("overlong-key-touch", b"touch %s 0\r\n" % OVERLONG_KEY, FORMAT),
    case("very-long-key", b"get %s\r\nmn\r\n" % (b"k" * 1500), FORMAT + MN),
]

#: What memcached 1.6.18 answers instead: by difference, then by row.
MEMCACHED: dict[str, dict[str, bytes]] = {
    "too-few-arguments": {
        "get-alone": ERROR,
        "get-space": ERROR,
        "gets-alone": ERROR,
        "gat-alone": ERROR,
        "gats-alone": ERROR,
    },
    "gat-without-keys": {
        "gat-exptime-only": END,
        "gats-exptime-only": END,
    },
    "nul-ends-line": {
        "nul-in-a-key": ERROR * 2 + END,
    },
    "overlong-key-replies": {
        "overlong-key-keeps-earlier-replies": b"VALUE a 5 1\r\n1\r\n" + END + FORMAT + MN,
    },
    "block-not-swallowed": {
        "overlong-key-set": FORMAT + ERROR + MN,
        "overlong-key-set-noreply": ERROR + MN,
    },
}

CASES = recorded(GETS + KEYS, MEMCACHED)


@rows(CASES)
def test_retrieval(peer: Peer, row: Case) -> None:
    check(peer, row)
