"""mg: flags and what they echo, vivify, recache, win tokens."""

from __future__ import annotations

import base64

from tests.support.cases import (
    BAD_FLAG,
    BAD_TOKEN,
    DECODING,
    DUPLICATE,
    ERROR,
    FORMAT,
    LONG_KEY,
    MANY_FLAGS,
    MN,
    OPAQUE,
    OVERLONG_KEY,
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

A = put(b"a", b"hello", 5)
HD = b"HD\r\n"
EN = b"EN\r\n"
LONG_BINARY = bytes(range(186))  # 248 characters of base64


def get(name: str, flags: bytes, reply: bytes, **more: object) -> Case:
    """``mg a`` with flags on a present item."""
    return case(name, b"mg a %s\r\n" % flags, reply, setup=A, **more)


def refused(name: str, flags: bytes, reply: bytes, **more: object) -> Case:
    """Flags that are an error, whether or not the item exists."""
    return case(name, b"mg a %s\r\nmn\r\n" % flags, reply + MN, setup=A, **more)


HITS = [
    case("miss", b"mg a\r\n", EN),
    case("miss-with-value", b"mg a v\r\n", EN),
    case("miss-echoes-key-and-opaque", b"mg a s v k t O7 f\r\n", b"EN ka O7\r\n"),
    case("miss-echoes-in-order", b"mg a O7 k\r\n", b"EN O7 ka\r\n"),
    case("quiet-miss", b"mg a q\r\nmn\r\n", MN),
    case("quiet-miss-echoes-nothing", b"mg a k O7 q v\r\nmn\r\n", MN),
    get("hit", b"", HD),
    get("hit-with-value", b"v", b"VA 5\r\nhello\r\n"),
    get("quiet-hit", b"q", HD),
    get("quiet-hit-with-value", b"v q", b"VA 5\r\nhello\r\n"),
    get("everything", b"s v t f c h l k O123 q", b"VA 5 s5 t-1 f5 c<cas:a> h0 l0 ka O123\r\nhello\r\n", ticks=True),
    get(
        "everything-reversed",
        b"O123 k l h c f t v s",
        b"VA 5 O123 ka l0 h0 c<cas:a> f5 t-1 s5\r\nhello\r\n",
        ticks=True,
    ),
    get("everything-without-value", b"s t f c h l k O1", b"HD s5 t-1 f5 c<cas:a> h0 l0 ka O1\r\n", ticks=True),
    get("size", b"s", b"HD s5\r\n"),
    get("key", b"k", b"HD ka\r\n"),
    get("client-flags", b"f", b"HD f5\r\n"),
    get("time-left-unlimited", b"t", b"HD t-1\r\n"),
    get("bare-opaque", b"O", b"HD O\r\n"),
    get("opaque-of-31", b"O" + b"x" * 31, b"HD O" + b"x" * 31 + b"\r\n"),
    get("opaque-of-any-bytes", b"O\x01\xff\t", b"HD O\x01\xff\t\r\n"),
    get("flag-with-junk-behind", b"sxyz k\x01", b"HD s5 ka\r\n"),
    get("value-flag-with-junk-behind", b"v5", b"VA 5\r\nhello\r\n"),
    get("flags-of-other-commands", b"J5 D5 I F5 MX", HD),
    get("proxy-flags", b"P Lx", HD),
    get("flag-x", b"x", HD),
    get("all-foreign-flags", b"J5 D5 I x F5", HD),
    get("no-bump", b"u s", b"HD s5\r\n"),
    get("trailing-spaces", b"s  k   ", b"HD s5 ka\r\n"),
    get("cas", b"c", b"HD c<cas:a>\r\n"),
    get("conditional-same-cas", b"C<cas:a> v", HD),
    get("conditional-other-cas", b"C<cas:a+1> v", b"VA 5\r\nhello\r\n"),
    case("empty-value", b"mg a v s\r\n", b"VA 0 s0\r\n\r\n", setup=put(b"a", b"")),
    case("value-with-crlf", b"mg a v\r\n", b"VA 4\r\na\r\nb\r\n", setup=put(b"a", b"a\r\nb")),
    case(
        "large-value", b"mg a v k\r\n", b"VA 300000 ka\r\n" + b"v" * 300_000 + b"\r\n", setup=put(b"a", b"v" * 300_000)
    ),
    case("flags-zero", b"mg a f\r\n", b"HD f0\r\n", setup=put(b"a", b"1")),
    case("flags-largest", b"mg a f\r\n", b"HD f4294967295\r\n", setup=put(b"a", b"1", 2**32 - 1)),
    case("fetched-after-get", b"mg a h\r\nmg a h\r\n", b"HD h0\r\nHD h1\r\n", setup=A),
    case("classic-get-counts-as-fetch", b"get a\r\nmg a h\r\n", hit(b"a", b"hello", 5) + b"HD h1\r\n", setup=A),
    case("touch-counts-as-fetch", b"touch a 0\r\nmg a h\r\n", b"TOUCHED\r\nHD h1\r\n", setup=A),
    case("incr-is-no-fetch", b"incr a 1\r\nmg a h\r\n", b"6\r\nHD h0\r\n", setup=put(b"a", b"5")),
    case("no-bump-is-no-fetch", b"mg a u h\r\nmg a h\r\nmg a h\r\n", b"HD h0\r\nHD h0\r\nHD h1\r\n", setup=A),
    case("store-clears-fetched", b"mg a\r\n" + A + b"mg a h\r\n", HD + STORED + b"HD h0\r\n", setup=A),
    case("longest-key", b"mg %s k\r\n" % LONG_KEY, b"EN k%s\r\n" % LONG_KEY),
    case("quiet-batch", b"mg x q v\r\nmg a q v\r\nmg y q v\r\nmn\r\n", b"VA 5\r\nhello\r\nMN\r\n", setup=A),
]

TIMES = [
    case("time-left", b"mg a t\r\n", b"HD t100\r\n", setup=put(b"a", b"1", 0, 100), ticks=True),
    get("touch-then-time", b"T30 t", b"HD t30\r\n", ticks=True),
    get("touch-then-time-stays", b"T30\r\nmg a t", b"HD\r\nHD t30\r\n", ticks=True),
    get("time-then-touch", b"t T40\r\nmg a t", b"HD t-1\r\nHD t40\r\n", ticks=True),
    get("touch-to-never", b"T30\r\nmg a T0 t", b"HD\r\nHD t-1\r\n"),
    get("touch-negative", b"T-1 v\r\nmg a", b"VA 5\r\nhello\r\n" + EN),
    get("touch-absolute-past", b"T2592001\r\nmg a", HD + EN),
    get("touch-absolute-future", b"T<time+100> t", b"HD t100\r\n", ticks=True),
    get("touch-keeps-the-cas", b"T30 c\r\nmg a c", b"HD c<cas:a>\r\n" * 2),
    case("touch-absent", b"mg a T30\r\nmg a\r\n", EN * 2),
]

VIVIFY = [
    case("vivify", b"mg a N30 t s v f k\r\n", b"VA 0 t30 s0 f0 ka W\r\n\r\n", ticks=True),
    case(
        "vivify-second-sees-z",
        b"mg a N30 t\r\nmg a N30 t\r\nmg a v\r\n",
        b"HD t30 W\r\nHD t30 Z\r\nVA 0 Z\r\n\r\n",
        ticks=True,
    ),
    case("vivify-time-first", b"mg a t N30\r\nmg a t\r\n", b"HD t-1 W\r\nHD t30 Z\r\n", ticks=True),
    case("vivify-present", b"mg a N30 t v\r\n", b"VA 5 t-1\r\nhello\r\n", setup=A),
    case("vivify-quiet", b"mg a N30 q v\r\n", b"VA 0 W\r\n\r\n"),
    case("vivify-classic-get", b"mg a N0\r\nget a\r\n", b"HD W\r\nVALUE a 0 0\r\n\r\nEND\r\n"),
    case("vivify-never-expires", b"mg a N0 t\r\n", b"HD t-1 W\r\n"),
    case("vivify-then-set", b"mg a N30\r\nms a 1\r\nx\r\nmg a v\r\n", b"HD W\r\nHD\r\nVA 1\r\nx\r\n"),
    case("vivify-then-classic-set", b"mg a N30\r\n" + A + b"mg a s\r\n", b"HD W\r\n" + STORED + b"HD s5\r\n"),
    case("vivify-then-add", b"mg a N30\r\nadd a 0 0 1\r\nx\r\n", b"HD W\r\nNOT_STORED\r\n"),
    case("vivify-then-delete", b"mg a N30\r\nmd a\r\nmg a\r\n", b"HD W\r\nHD\r\nEN\r\n"),
    case("vivify-explicit-cas", b"mg a N30 E500 c\r\nmg a c\r\n", b"HD c500 W\r\nHD c500 Z\r\n"),
    case("vivify-opaque-and-key", b"mg a O9 N30 k\r\n", b"HD O9 ka W\r\n"),
    case(
        "recache-wins-once",
        b"mg a R30 t\r\nmg a R30 t\r\nmg a\r\n",
        b"HD t10 W\r\nHD t10 Z\r\nHD Z\r\n",
        setup=put(b"a", b"1", 0, 10),
        ticks=True,
    ),
    case("recache-not-yet", b"mg a R30\r\n", HD, setup=put(b"a", b"1", 0, 100)),
    case("recache-unlimited-never-wins", b"mg a R30\r\n", HD, setup=A),
    case(
        "recache-and-set",
        b"mg a R30\r\n" + A + b"mg a R30\r\n",
        b"HD W\r\n" + STORED + HD,
        setup=put(b"a", b"1", 0, 10),
    ),
    case("recache-and-touch", b"mg a R30\r\nmg a T100 R30\r\n", b"HD W\r\nHD Z\r\n", setup=put(b"a", b"1", 0, 10)),
    case(
        "stale-first-wins",
        b"md a I\r\nmg a v\r\nmg a v\r\nmg a\r\n",
        HD + b"VA 5 X W\r\nhello\r\nVA 5 Z X\r\nhello\r\nHD Z X\r\n",
        setup=A,
    ),
    case(
        "stale-with-time",
        b"md a I T30\r\nmg a t v\r\nmg a t\r\n",
        HD + b"VA 5 t30 X W\r\nhello\r\nHD t30 Z X\r\n",
        setup=A,
        ticks=True,
    ),
    case(
        "stale-is-still-read-by-get",
        b"md a I\r\nget a\r\nmg a\r\n",
        HD + hit(b"a", b"hello", 5) + b"HD X W\r\n",
        setup=A,
    ),
    case(
        "stale-again-frees-the-token",
        b"md a I\r\nmg a\r\nmd a I\r\nmg a\r\nmg a\r\n",
        HD + b"HD X W\r\n" + HD + b"HD X W\r\nHD Z X\r\n",
        setup=A,
    ),
    case("store-ends-staleness", b"md a I\r\nmg a\r\n" + A + b"mg a\r\n", HD + b"HD X W\r\n" + STORED + HD, setup=A),
    case("stale-quiet", b"md a I q\r\nmg a q k\r\n", b"HD ka X W\r\n", setup=A),
]

BINARY = [
    case("binary-miss", b"mg YQ== b\r\n", EN),
    case("binary-miss-echo", b"mg YQ== b k O1\r\n", b"EN kYQ== b O1\r\n"),
    case("binary-finds-text-key", b"mg YQ== b v\r\n", b"VA 5\r\nhello\r\n", setup=A),
    case("binary-finds-text-key-echo", b"mg YQ== b k\r\n", b"HD ka\r\n", setup=A),
    case(
        "binary-stored",
        b"ms YWI= 1 b\r\nx\r\nmg YWI= b k v\r\nget ab\r\nmg ab k\r\n",
        HD + b"VA 1 kYWI= b\r\nx\r\n" + hit(b"ab", b"x") + b"HD kYWI= b\r\n",
    ),
    case(
        "binary-key-of-odd-bytes", b"ms AAEKDSA= 1 b\r\nx\r\nmg AAEKDSA= k v b\r\n", HD + b"VA 1 kAAEKDSA= b\r\nx\r\n"
    ),
    case("binary-flag-last", b"mg YQ== k v b\r\n", b"VA 5 ka\r\nhello\r\n", setup=A),
    case("binary-flag-first", b"mg YQ== b s\r\n", b"HD s5\r\n", setup=A),
    case(
        "binary-longest",
        b"ms %s 1 b\r\nx\r\nmg %s b v\r\n" % ((base64.b64encode(LONG_BINARY),) * 2),
        HD + b"VA 1\r\nx\r\n",
    ),
    case("binary-too-long", b"mg %s b\r\n" % base64.b64encode(bytes(189)), FORMAT),
    case("binary-without-padding", b"mg YQ b\r\n", DECODING),
    case("binary-one-character", b"mg Y b\r\n", DECODING),
    case("binary-nothing-decodable", b"mg **** b\r\n", DECODING),
    case("vivify-binary", b"mg YQ== b N30 k\r\nmg a k\r\n", b"HD ka W\r\nHD ka Z\r\n"),
]

ERRORS = [
    case("no-key", b"mg\r\n", FORMAT),
    case("no-key-but-space", b"mg \r\n", FORMAT),
    case("overlong-key", b"mg %s v\r\nmn\r\n" % OVERLONG_KEY, FORMAT + MN),
    refused("unknown-flag", b"y", BAD_FLAG),
    refused("unknown-flag-S", b"S", BAD_FLAG),
    refused("unknown-flag-quiet", b"q y", BAD_FLAG),
    refused("unknown-flag-after-good-ones", b"s v y", BAD_FLAG),
    refused("digit-flag", b"5", BAD_FLAG),
    refused("punctuation-flag", b"!", FORMAT),
    refused("high-byte-flag", b"\xe9", FORMAT),
    refused("duplicate-flag", b"v v", DUPLICATE),
    refused("duplicate-flag-quiet", b"q q", DUPLICATE),
    refused("duplicate-opaque", b"O1 O2", DUPLICATE),
    refused("duplicate-token", b"T30 T40", DUPLICATE),
    refused("duplicate-not-adjacent", b"s v k s", DUPLICATE),
    refused("T-missing", b"T", BAD_TOKEN),
    refused("T-word", b"Tx", BAD_TOKEN),
    refused("T-letters-after", b"T5x", BAD_TOKEN),
    refused("T-plus", b"T+5", BAD_TOKEN),
    refused("T-beyond-32-bits", b"T2147483648", BAD_TOKEN),
    refused("N-missing", b"N", BAD_TOKEN),
    refused("N-word", b"Nx", BAD_TOKEN),
    refused("R-missing", b"R", BAD_TOKEN),
    refused("R-word", b"Rx", BAD_TOKEN),
    refused("C-missing", b"C", BAD_TOKEN),
    refused("C-word", b"Cx", BAD_TOKEN),
    refused("C-negative", b"C-1", BAD_TOKEN),
    refused("E-missing", b"E", BAD_TOKEN),
    refused("E-word", b"Ex", BAD_TOKEN),
    refused("F-missing", b"F", FORMAT),
    refused("F-word", b"Fx", FORMAT),
    refused("F-negative", b"F-1", FORMAT),
    refused("F-33-bits", b"F4294967296", FORMAT),
    refused("J-missing", b"J", b"CLIENT_ERROR invalid numeric initial value\r\n"),
    refused("J-word", b"Jx", b"CLIENT_ERROR invalid numeric initial value\r\n"),
    refused("D-missing", b"D", b"CLIENT_ERROR invalid numeric delta value\r\n"),
    refused("D-word", b"Dx", b"CLIENT_ERROR invalid numeric delta value\r\n"),
    refused("opaque-of-32", b"O" + b"x" * 32, OPAQUE),
    refused("opaque-of-32-quiet", b"q O" + b"x" * 32, OPAQUE),
    get(
        "twenty-tokens",
        b"k s t f h l c u v q I O1 J1 D1 F1 R0 MS P",
        b"VA 5 ka s5 t-1 f5 h0 l0 c<cas:a> O1\r\nhello\r\n",
        ticks=True,
    ),
    refused("twenty-one-tokens", b"k s t f h l c u v q I O1 J1 D1 F1 R0 MS P L", MANY_FLAGS),
    case(
        "quiet-errors-are-sent",
        b"mg a q y\r\nmg %s q\r\nmg * b q\r\nmn\r\n" % OVERLONG_KEY,
        BAD_FLAG + FORMAT + DECODING + MN,
    ),
]

#: What memcached 1.6.18 answers instead: by difference, then by row.
MEMCACHED: dict[str, dict[str, bytes]] = {
    "unknown-meta-flags": {
        "flag-x": BAD_FLAG,
        "all-foreign-flags": BAD_FLAG,
        "vivify-explicit-cas": BAD_FLAG + b"EN\r\n",
        "E-missing": BAD_FLAG + MN,
        "E-word": BAD_FLAG + MN,
    },
    "conditional-get": {
        "conditional-same-cas": b"VA 5\r\nhello\r\n",
    },
    "too-few-arguments": {
        "no-key": ERROR,
        "no-key-but-space": ERROR,
    },
    "any-byte-a-flag": {
        "punctuation-flag": BAD_FLAG + MN,
        "high-byte-flag": DUPLICATE + MN,
    },
    "lenient-numbers": {
        "T-plus": b"HD\r\n" + MN,
    },
    "truncated-numbers": {
        "T-beyond-32-bits": b"HD\r\n" + MN,
        "F-33-bits": b"HD\r\n" + MN,
    },
    "meta-token-limit": {
        "twenty-tokens": MANY_FLAGS,
    },
}

CASES = recorded(HITS + TIMES + VIVIFY + BINARY + ERRORS, MEMCACHED)


@rows(CASES)
def test_meta_get(peer: Peer, row: Case) -> None:
    check(peer, row)
