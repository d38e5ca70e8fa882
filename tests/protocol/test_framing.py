"""Where a command ends, where a data block ends, and what a broken one leaves behind."""

from __future__ import annotations

from tests.support.cases import (
    BAD_FLAG,
    CHUNK,
    CLOSED,
    DELETED,
    END,
    ERROR,
    FORMAT,
    MN,
    NOT_FOUND,
    OK,
    STORED,
    TOO_LARGE,
    Case,
    case,
    check,
    hit,
    put,
    recorded,
    rows,
)
from tests.support.peers import Peer

VERSION = b"version\r\n"

LINES = [
    case("get-ends-with-lf", b"get a\n", END),
    case("get-hit-ends-with-lf", b"get a\n", hit(b"a", b"1"), setup=put(b"a", b"1")),
    case("set-line-ends-with-lf", b"set a 0 0 1\nx\r\nget a\n", STORED + hit(b"a", b"x")),
    case("delete-ends-with-lf", b"delete a\n", NOT_FOUND),
    case("mg-ends-with-lf", b"mg a v\n", b"EN\r\n"),
    case("empty-line", b"\r\n", FORMAT),
    case("empty-line-lf", b"\n", FORMAT),
    case("two-empty-lines", b"\r\n\r\n", FORMAT * 2),
    case("one-letter", b"a\r\n", FORMAT),
    case("one-letter-lf", b"a\n", FORMAT),
    case("one-space", b" \r\n", FORMAT),
    case("cr-lf-lf", b"\r\n\n", FORMAT * 2),
    case("two-letters", b"ab\r\n", ERROR),
    case("two-letters-lf", b"ab\n", FORMAT),
    case("three-letters-lf", b"abc\n", ERROR),
    case("two-spaces", b"  \r\n", ERROR),
    case("only-cr", b"\r\r\r\n", ERROR),
    case("mn-lf", b"mn\n", FORMAT),
    case("unknown-word", b"foo\r\n", ERROR),
    case("unknown-word-with-arguments", b"foo a b c\r\n", ERROR),
    case("upper-case", b"GET a\r\n", ERROR),
    case("mixed-case", b"gEt a\r\n", ERROR),
    case("longer-word", b"getx a\r\n", ERROR),
    case("shorter-word", b"ge a\r\n", ERROR),
    case("leading-space", b" get a\r\n", ERROR),
    case("leading-tab", b"\tget a\r\n", ERROR),
    case("tab-is-no-separator", b"get\ta\r\n", ERROR),
    case("spaces-between-tokens", b"get   a    b\r\n", hit(b"a", b"1"), setup=put(b"a", b"1")),
    case("trailing-spaces", b"get a   \r\n", hit(b"a", b"1"), setup=put(b"a", b"1")),
    case("set-with-runs-of-spaces", b"set  a   0 0    1  \r\nx\r\n", STORED),
    case("spaces-before-lf", b"delete a  \n", DELETED, setup=put(b"a", b"1")),
    case("pipelined", put(b"a", b"1") + b"get a\r\ndelete a\r\nget a\r\n", STORED + hit(b"a", b"1") + DELETED + END),
    case(
        "pipelined-beyond-one-round",
        b"".join(put(b"k%d" % n, b"%d" % n) for n in range(120)) + b"".join(b"get k%d\r\n" % n for n in range(120)),
        STORED * 120 + b"".join(hit(b"k%d" % n, b"%d" % n) for n in range(120)),
    ),
    case("http", b"GET / HTTP/1.1\r\n", b"<closed>", closing=True),
    case("http-post", b"POST /index.html HTTP/1.0\r\nHost: x\r\n\r\n", b"<closed>", closing=True),
    case("http-two-tokens", b"foo HTTP/1.1\r\n", b"<closed>", closing=True),
    case("http-not-last", b"foo HTTP/1.1 x\r\n", ERROR),
    case("http-known-command", b"get / HTTP/1.1\r\n", END),
    case("http-lower-case", b"GET / http/1.1\r\n", ERROR),
    case("high-byte-later-is-text", b"version\r\n\x80\x81\x82\r\n", b"VERSION <v>\r\n" + ERROR),
]

TOKENS = [
    case("22-tokens-and-noreply", b"delete q" + b" f" * 20 + b" noreply\r\n", b""),
    case("23-tokens-and-noreply", b"delete q" + b" f" * 21 + b" noreply\r\n", DELETED, setup=put(b"q", b"1")),
    case("trailing-tokens", b"set a 0 0 1 f f f\r\nx\r\n", STORED),
    case("many-trailing-tokens", b"set a 0 0 1" + b" f" * 40 + b"\r\nx\r\n", STORED),
]

BLOCKS = [
    case("value-too-long", b"set a 0 0 1\r\nxx\r\n", CHUNK + FORMAT),
    case("value-too-long-leaves-a-command", b"set a 0 0 1\r\nxyzversion\r\n", CHUNK + b"VERSION <v>\r\n"),
    case(
        "value-too-long-old-value-stays",
        b"set a 0 0 1\r\nxyzget a\r\n",
        CHUNK + hit(b"a", b"old"),
        setup=put(b"a", b"old"),
    ),
    case("value-ends-with-lf", b"set a 0 0 1\r\nx\nget a\r\n", CHUNK + ERROR),
    case("value-ends-with-cr-cr", b"set a 0 0 1\r\nx\r\rget a\r\n", CHUNK + END),
    case("value-too-short", b"set a 0 0 5\r\nab\r\nget a\r\n", CHUNK + ERROR),
    case("value-holds-crlf", b"set a 0 0 6\r\na\r\nb\r\n\r\nget a\r\n", STORED + hit(b"a", b"a\r\nb\r\n")),
    case("value-holds-a-command", b"set a 0 0 7\r\nversion\r\nget a\r\n", STORED + hit(b"a", b"version")),
    case("value-of-every-byte", put(b"a", bytes(range(256))) + b"get a\r\n", STORED + hit(b"a", bytes(range(256)))),
    case("empty-value", b"set a 0 0 0\r\n\r\nget a\r\n", STORED + b"VALUE a 0 0\r\n\r\nEND\r\n"),
    case("add-too-long", b"add a 0 0 1\r\nxx\r\n", CHUNK + FORMAT),
    case("bad-chunk-of-an-add-that-would-fail", b"add a 0 0 1\r\nxyz\r\n", CHUNK + FORMAT, setup=put(b"a", b"1")),
    case("ms-too-long", b"ms a 1\r\nxx\r\n", CHUNK + FORMAT),
    case("ms-too-long-leaves-a-command", b"ms a 1\r\nxyzmn\r\n", CHUNK + MN),
    case("ms-quiet-too-long", b"ms a 1 q\r\nxyzmn\r\n", CHUNK + MN),
    case("set-noreply-too-long", b"set a 0 0 1 noreply\r\nxyzmn\r\n", MN),
    case("bad-flags-swallow", b"set a x 0 4\r\nquit\r\nmn\r\n", FORMAT + MN),
    case("bad-flags-swallow-without-check", b"set a x 0 4\r\nquitXXmn\r\n", FORMAT + MN),
    case("bad-exptime-swallows", b"set a 0 x 4\r\nquit\r\nmn\r\n", FORMAT + MN),
    case("overlong-key-swallows", b"set " + b"k" * 251 + b" 0 0 4\r\nquit\r\nmn\r\n", FORMAT + MN),
    case("bad-cas-swallows", b"cas a 0 0 4 x\r\nquit\r\nmn\r\n", FORMAT + MN),
    case("missing-cas-swallows", b"cas a 0 0 4\r\nquit\r\nmn\r\n", FORMAT + MN),
    case("too-large-swallows", b"set a 0 0 2000000\r\n" + b"quit\r\n" * 333333 + b"qu\r\nmn\r\n", TOO_LARGE + MN),
    case("ms-too-large-swallows", b"ms a 2000000\r\n" + b"quit\r\n" * 333333 + b"qu\r\nmn\r\n", TOO_LARGE + MN),
    case("ms-bad-flag-swallows", b"ms a 4 !\r\nquit\r\nmn\r\n", FORMAT + MN),
    case("ms-unknown-flag-swallows", b"ms a 4 y\r\nquit\r\nmn\r\n", b"CLIENT_ERROR invalid flag\r\n" + MN),
    case("ms-overlong-key-swallows", b"ms " + b"k" * 251 + b" 4\r\nquit\r\nmn\r\n", FORMAT + MN),
    case("length-missing-leaves-the-block", b"set a 0 0\r\nversion\r\n", FORMAT + b"VERSION <v>\r\n"),
    case("length-garbled-leaves-the-block", b"set a 0 0 abc\r\nversion\r\n", FORMAT + b"VERSION <v>\r\n"),
    case("length-negative-leaves-the-block", b"set a 0 0 -1\r\nversion\r\n", FORMAT + b"VERSION <v>\r\n"),
    case("length-huge-leaves-the-block", b"set a 0 0 2147483646\r\nversion\r\n", FORMAT + b"VERSION <v>\r\n"),
    case("length-2-31-leaves-the-block", b"set a 0 0 2147483648\r\nversion\r\n", FORMAT + b"VERSION <v>\r\n"),
    case("ms-length-garbled-leaves-the-block", b"ms a abc\r\nversion\r\n", FORMAT + b"VERSION <v>\r\n"),
    case("ms-length-missing-leaves-the-block", b"ms a\r\nversion\r\n", FORMAT + b"VERSION <v>\r\n"),
    case("ms-length-negative-leaves-the-block", b"ms a -1\r\nversion\r\n", FORMAT + b"VERSION <v>\r\n"),
]

QUIT = [
    case("quit", b"quit\r\n", b"<closed>", closing=True),
    case("quit-lf", b"quit\n", b"<closed>", closing=True),
    case("quit-with-arguments", b"quit now please\r\n", b"<closed>", closing=True),
    case(
        "quit-after-replies",
        put(b"a", b"1") + b"get a\r\nquit\r\n",
        STORED + hit(b"a", b"1") + b"<closed>",
        closing=True,
    ),
    case("bytes-after-quit-are-ignored", b"flush_all\r\nquit\r\nget a\r\nversion\r\n", OK + b"<closed>", closing=True),
    case(
        "end-of-stream-after-replies",
        put(b"a", b"1") + b"get a\r\n",
        STORED + hit(b"a", b"1") + b"<closed>",
        half_close=True,
    ),
    case("end-of-stream-in-a-line", b"version\r\nget a", b"VERSION <v>\r\n<closed>", half_close=True),
]

#: What memcached 1.6.18 answers instead: by difference, then by row.
MEMCACHED: dict[str, dict[str, bytes]] = {
    "short-lines": {
        "empty-line": ERROR,
        "empty-line-lf": ERROR,
        "two-empty-lines": ERROR * 2,
        "one-letter": ERROR,
        "one-letter-lf": ERROR,
        "one-space": ERROR,
        "cr-lf-lf": ERROR * 2,
        "two-letters-lf": ERROR,
        "mn-lf": MN,
        "value-too-long": CHUNK + ERROR,
        "add-too-long": CHUNK + ERROR,
        "bad-chunk-of-an-add-that-would-fail": CHUNK + ERROR,
        "ms-too-long": CHUNK + ERROR,
    },
    "leading-spaces": {
        "leading-space": END,
    },
    "surplus-arguments": {
        "22-tokens-and-noreply": ERROR,
        "23-tokens-and-noreply": ERROR,
        "trailing-tokens": ERROR * 2,
        "many-trailing-tokens": ERROR * 2,
    },
    "block-not-swallowed": {
        "bad-flags-swallow": FORMAT + CLOSED,
        "bad-flags-swallow-without-check": FORMAT + ERROR,
        "bad-exptime-swallows": FORMAT + CLOSED,
        "overlong-key-swallows": FORMAT + CLOSED,
        "bad-cas-swallows": FORMAT + CLOSED,
        "ms-bad-flag-swallows": BAD_FLAG + MN,
        "ms-overlong-key-swallows": FORMAT + CLOSED,
    },
    "too-few-arguments": {
        "missing-cas-swallows": ERROR + CLOSED,
        "length-missing-leaves-the-block": ERROR + b"VERSION <v>\r\n",
    },
}

CASES = recorded(LINES + TOKENS + BLOCKS + QUIT, MEMCACHED)


@rows(CASES)
def test_framing(peer: Peer, row: Case) -> None:
    check(peer, row)
