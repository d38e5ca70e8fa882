"""ms: modes, compare-and-swap, invalidation, echoes."""

from __future__ import annotations

from tests.support.cases import (
    BAD_FLAG,
    BAD_TOKEN,
    CHUNK,
    CLOSED,
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

OLD = put(b"a", b"old", 7)
SEE = b"mg a v f t\r\n"
KEPT = b"VA 3 f7 t-1\r\nold\r\n"
MODE = b"CLIENT_ERROR invalid mode for ms M token\r\n"
HD, NS, EX, NF, EN = b"HD\r\n", b"NS\r\n", b"EX\r\n", b"NF\r\n", b"EN\r\n"


def store(name: str, flags: bytes, reply: bytes, after: bytes, *, setup: bytes = OLD, **more: object) -> Case:
    """``ms a 3`` with flags, and what is there afterwards."""
    return case(name, b"ms a 3 %s\r\nnew\r\n" % flags + SEE, reply + after, setup=setup, **more)


def seen(data: bytes, flags: int = 0, left: int = -1, extra: bytes = b"") -> bytes:
    """What mg v f t shows."""
    return b"VA %d f%d t%d%s\r\n%s\r\n" % (len(data), flags, left, extra, data)


def refused(name: str, flags: bytes, reply: bytes, **more: object) -> Case:
    """Flags that are an error: the block is swallowed, the old value stays."""
    return case(name, b"ms a 4 %s\r\nquit\r\nmn\r\n" % flags + SEE, reply + MN + KEPT, setup=OLD, **more)


NEW = seen(b"new")

MODES = [
    store("plain", b"", HD, NEW),
    store("plain-absent", b"", HD, NEW, setup=b""),
    store("set", b"MS", HD, NEW),
    store("set-absent", b"MS", HD, NEW, setup=b""),
    store("add-present", b"ME", NS, KEPT),
    store("add-absent", b"ME", HD, NEW, setup=b""),
    store("replace-present", b"MR", HD, NEW),
    store("replace-absent", b"MR", NS, EN, setup=b""),
    store("append-present", b"MA", HD, seen(b"oldnew", 7)),
    store("append-absent", b"MA", NS, EN, setup=b""),
    store("prepend-present", b"MP", HD, seen(b"newold", 7)),
    store("prepend-absent", b"MP", NS, EN, setup=b""),
    store("append-ignores-flags-and-time", b"MA F5 T30", HD, seen(b"oldnew", 7)),
    store("append-vivify", b"MA N0", HD, NEW, setup=b""),
    store("append-vivify-with-time", b"MA N30 T50", HD, seen(b"new", 0, 30), setup=b"", ticks=True),
    store("append-vivify-with-flags", b"MA N30 F5", HD, seen(b"new", 5, 30), setup=b"", ticks=True),
    store("prepend-vivify", b"MP N0", HD, NEW, setup=b""),
    store("append-vivify-present", b"MA N30", HD, seen(b"oldnew", 7)),
    store("vivify-only-with-append", b"N30", HD, NEW),
    store("vivify-does-not-help-replace", b"MR N30", NS, EN, setup=b""),
    store("mode-only-first-letter", b"MSet", HD, NEW),
    store("mode-last", b"F5 k ME", b"NS ka\r\n", KEPT),
    refused("mode-missing", b"M", MODE),
    refused("mode-unknown", b"Mx", MODE),
    refused("mode-lower-case", b"Ms", MODE),
    refused("mode-lower-case-append", b"Ma", MODE),
    refused("mode-lower-case-word", b"Mset", MODE),
    refused("mode-incr", b"MI", MODE),
]

OPTIONS = [
    store("flags", b"F5", HD, seen(b"new", 5)),
    store("flags-largest", b"F4294967295", HD, seen(b"new", 2**32 - 1)),
    store("time", b"T30", HD, seen(b"new", 0, 30), ticks=True),
    store("time-zero", b"T0", HD, NEW),
    store("time-negative", b"T-1", HD, EN),
    store("time-absolute-past", b"T2592001", HD, EN),
    store("time-absolute-future", b"T<time+100>", HD, seen(b"new", 0, 100), ticks=True),
    store("flags-and-time", b"T30 F5", HD, seen(b"new", 5, 30), ticks=True),
    store("quiet", b"q", b"", NEW),
    store("quiet-failing", b"q ME", NS, KEPT),
    store("quiet-replace-absent", b"q MR k", b"NS ka\r\n", EN, setup=b""),
    store("key", b"k", b"HD ka\r\n", NEW),
    store("opaque", b"O123", b"HD O123\r\n", NEW),
    store("opaque-of-31", b"O" + b"x" * 31, b"HD O" + b"x" * 31 + b"\r\n", NEW),
    store("echo-in-order", b"O1 k", b"HD O1 ka\r\n", NEW),
    store("echo-on-failure", b"ME k O1", b"NS ka O1\r\n", KEPT),
    store("cas-on-failure", b"ME O1 c k", b"NS O1 c0 ka\r\n", KEPT),
    case("cas", b"ms a 1 c k\r\nx\r\n", b"HD c<new:a> ka\r\n", setup=OLD),
    case("cas-absent", b"ms a 1 c\r\nx\r\n", b"HD c<new:a>\r\n"),
    store("size", b"s", b"HD s3\r\n", NEW),
    store("size-after-append", b"MA s", b"HD s6\r\n", seen(b"oldnew", 7)),
    store("flags-of-other-commands", b"v t f h l u D5 J5 R30", HD, NEW),
    store("proxy-flags", b"P Lx", HD, NEW),
    store("flag-x", b"x", HD, NEW),
    store("invalidate-without-compare", b"I", HD, NEW),
    case("empty-value", b"ms a 0\r\n\r\nmg a v\r\n", HD + b"VA 0\r\n\r\n", setup=OLD),
    case(
        "value-of-every-byte", b"ms a 256\r\n" + bytes(range(256)) + b"\r\nget a\r\n", HD + hit(b"a", bytes(range(256)))
    ),
    case("line-ends-with-lf", b"ms a 1\nx\r\n", HD),
    case("longest-key", b"ms %s 1 k\r\nx\r\n" % LONG_KEY, b"HD k%s\r\n" % LONG_KEY),
    case("quiet-batch", b"ms a 1 q\r\n1\r\nms b 1 q\r\n2\r\nms a 1 q ME O7\r\n3\r\nmn\r\n", b"NS O7\r\n" + MN),
    case("store-clears-fetched", b"mg a\r\nms a 1\r\nx\r\nmg a h\r\n", HD * 2 + b"HD h0\r\n", setup=OLD),
    case(
        "append-keeps-time",
        b"ms a 1 MA T0\r\nx\r\nmg a t\r\n",
        HD + b"HD t100\r\n",
        setup=put(b"a", b"1", 0, 100),
        ticks=True,
    ),
    case("binary-key", b"ms YWI= 1 b k\r\nx\r\nget ab\r\n", b"HD kYWI= b\r\n" + hit(b"ab", b"x")),
    case(
        "binary-key-failure-echo",
        b"ms YWI= 1 b k ME\r\nx\r\nms YWI= 1 b k ME\r\nx\r\n",
        b"HD kYWI= b\r\nNS kYWI= b\r\n",
    ),
    case(
        "binary-append-to-a-text-key",
        b"ms YQ== 1 b MA k\r\nx\r\nmg a k v\r\n",
        b"HD kYQ== b\r\nVA 4 ka\r\noldx\r\n",
        setup=OLD,
    ),
    case(
        "append-ends-the-binary-mark",
        b"ms YWI= 1 b\r\nx\r\nms YWI= 1 b MP\r\ny\r\nmg ab k v\r\n",
        HD * 2 + b"VA 2 kab\r\nyx\r\n",
    ),
    case(
        "classic-append-ends-the-binary-mark",
        b"ms YWI= 1 b\r\nx\r\nappend ab 0 0 1\r\ny\r\nmg ab k v\r\n",
        HD + STORED + b"VA 2 kab\r\nxy\r\n",
    ),
    case(
        "text-store-ends-the-binary-mark",
        b"ms YWI= 1 b\r\nx\r\n" + put(b"ab", b"y") + b"mg ab k\r\n",
        HD + STORED + b"HD kab\r\n",
    ),
]

COMPARE = [
    store("equal", b"C<cas:a>", HD, NEW),
    store("higher", b"C<cas:a+1>", EX, KEPT),
    store("lower", b"C<cas:a-1>", EX, KEPT),
    store("zero", b"C0", EX, KEPT),
    store("absent", b"C5", NF, EN, setup=b""),
    store("absent-echo", b"k C5 O1 c", b"NF ka O1 c0\r\n", EN, setup=b""),
    store("mismatch-echo", b"C1 k O1 c", b"EX ka O1 c0\r\n", KEPT),
    store("mismatch-quiet", b"C1 q", EX, KEPT),
    store("absent-quiet", b"C1 q", NF, EN, setup=b""),
    store("equal-quiet", b"C<cas:a> q", b"", NEW),
    store("replace-equal", b"C<cas:a> MR", HD, NEW),
    store("replace-mismatch", b"C1 MR", EX, KEPT),
    store("replace-absent-with-cas", b"C1 MR", NF, EN, setup=b""),
    store("append-equal", b"C<cas:a> MA", HD, seen(b"oldnew", 7)),
    store("append-mismatch", b"C1 MA", EX, KEPT),
    store("append-absent-with-cas", b"C1 MA", NS, EN, setup=b""),
    store("append-absent-with-cas-vivify", b"C1 MA N0", HD, NEW, setup=b""),
    store("add-ignores-cas-absent", b"C1 ME", HD, NEW, setup=b""),
    store("add-ignores-cas-present", b"C<cas:a> ME", NS, KEPT),
    store("invalid-lower", b"I C<cas:a-1>", HD, seen(b"new", 0, -1, b" X W")),
    store(
        "invalid-lower-keeps-time",
        b"I C<cas:a-1> T30",
        HD,
        seen(b"new", 0, 100, b" X W"),
        setup=put(b"a", b"old", 7, 100),
        ticks=True,
    ),
    store("invalid-higher", b"I C<cas:a+1>", EX, KEPT),
    store("invalid-equal", b"I C<cas:a>", HD, NEW),
    store("invalid-absent", b"I C1", NF, EN, setup=b""),
    case(
        "invalid-keeps-the-token",
        b"md a I\r\nmg a\r\nms a 1 I C<cas:a>\r\nx\r\nmg a\r\nmg a\r\n",
        HD + b"HD X W\r\n" + HD + b"HD Z X\r\n" * 2,
        setup=OLD,
    ),
    case("token-then-right-cas", b"md a I\r\nmg a c\r\n", HD + b"HD c<new:a> X W\r\n", setup=OLD),
    store("explicit-cas", b"E500 c", b"HD c500\r\n", NEW),
    store("explicit-cas-absent", b"E500 c", b"HD c500\r\n", NEW, setup=b""),
    case(
        "explicit-cas-stays",
        b"ms a 1 E500\r\nx\r\nmg a c\r\nms a 1 C500 E400 c\r\ny\r\n",
        HD + b"HD c500\r\nHD c400\r\n",
        setup=OLD,
    ),
    case("explicit-cas-zero-is-none", b"ms a 1 E0 c\r\nx\r\n", b"HD c<new:a>\r\n", setup=OLD),
    case(
        "explicit-cas-append", b"ms a 1 MA E500 c\r\nx\r\nmg a c v\r\n", b"HD c500\r\nVA 4 c500\r\noldx\r\n", setup=OLD
    ),
    case("explicit-cas-most", b"ms a 1 E18446744073709551615 c\r\nx\r\n", b"HD c18446744073709551615\r\n"),
]

ERRORS = [
    case("alone", b"ms\r\n", FORMAT),
    case("key-only", b"ms a\r\n", FORMAT),
    case("key-and-flag", b"ms a T30\r\n", FORMAT),
    case("old-size-flag", b"ms a S1\r\nmn\r\n", FORMAT + MN),
    case("length-word", b"ms a x\r\nmn\r\n", FORMAT + MN),
    case("length-negative", b"ms a -1\r\nmn\r\n", FORMAT + MN),
    case("length-letters-after", b"ms a 1x\r\nmn\r\n", FORMAT + MN),
    case("length-wrong-keeps-old", b"ms a x\r\n" + SEE, FORMAT + KEPT, setup=OLD),
    case("overlong-key", b"ms %s 4\r\nquit\r\nmn\r\n" % OVERLONG_KEY, FORMAT + MN),
    case(
        "too-large-quiet", b"ms a 1100000 q\r\n" + b"x" * 1100000 + b"\r\nmn\r\n" + SEE, TOO_LARGE + MN + EN, setup=OLD
    ),
    case("bad-chunk-keeps-old", b"ms a 1\r\nxyzmn\r\n" + SEE, CHUNK + MN + KEPT, setup=OLD),
    refused("flag-S", b"S1", BAD_FLAG),
    refused("flag-unknown", b"y", BAD_FLAG),
    refused("flag-unknown-quiet", b"q y", BAD_FLAG),
    refused("flag-digit", b"5", BAD_FLAG),
    refused("flag-punctuation", b"!", FORMAT),
    refused("flag-repeated", b"k k", DUPLICATE),
    refused("flag-repeated-quiet", b"q q", DUPLICATE),
    refused("T-missing", b"T", BAD_TOKEN),
    refused("T-word", b"Tx", BAD_TOKEN),
    refused("T-33-bits", b"T4294967296", BAD_TOKEN),
    refused("N-word", b"MA Nx", BAD_TOKEN),
    refused("C-missing", b"C", BAD_TOKEN),
    refused("C-word", b"Cx", BAD_TOKEN),
    refused("C-beyond-64-bits", b"C18446744073709551616", BAD_TOKEN),
    refused("E-word", b"Ex", BAD_TOKEN),
    refused("F-missing", b"F", FORMAT),
    refused("F-word", b"Fx", FORMAT),
    refused("F-negative", b"F-1", FORMAT),
    refused("F-33-bits", b"F4294967296", FORMAT),
    refused("R-word", b"Rx", BAD_TOKEN),
    refused("J-word", b"Jx", b"CLIENT_ERROR invalid numeric initial value\r\n"),
    refused("D-word", b"Dx", b"CLIENT_ERROR invalid numeric delta value\r\n"),
    refused("opaque-too-long", b"O" + b"x" * 32, OPAQUE),
    refused("many-flags", b"k s t f h l c u v q I O1 J1 D1 F1 R0 MS P", MANY_FLAGS),
    case("binary-undecodable", b"ms * 4 b\r\nquit\r\nmn\r\n", DECODING + MN),
    case("binary-without-padding", b"ms YQ 4 b\r\nquit\r\nmn\r\n", DECODING + MN),
]

#: What memcached 1.6.18 answers instead: by difference, then by row.
MEMCACHED: dict[str, dict[str, bytes]] = {
    "append-vivify": {
        "append-vivify": b"NS\r\nEN\r\n",
        "append-vivify-with-time": b"NS\r\nEN\r\n",
        "append-vivify-with-flags": b"NS\r\nEN\r\n",
        "prepend-vivify": b"NS\r\nEN\r\n",
        "append-absent-with-cas-vivify": b"NS\r\nEN\r\n",
    },
    "mode-length": {
        "mode-only-first-letter": b"CLIENT_ERROR incorrect length for M token\r\nVA 3 f7 t-1\r\nold\r\n",
        "mode-missing": b"CLIENT_ERROR incorrect length for M token\r\n" + MN + b"VA 3 f7 t-1\r\nold\r\n",
        "mode-lower-case-word": b"CLIENT_ERROR incorrect length for M token\r\n" + MN + b"VA 3 f7 t-1\r\nold\r\n",
    },
    "ms-size": {
        "size": b"HD\r\nVA 3 f0 t-1\r\nnew\r\n",
        "size-after-append": b"HD\r\nVA 6 f7 t-1\r\noldnew\r\n",
    },
    "unknown-meta-flags": {
        "flag-x": BAD_FLAG + b"VA 3 f7 t-1\r\nold\r\n",
        "explicit-cas": BAD_FLAG + b"VA 3 f7 t-1\r\nold\r\n",
        "explicit-cas-absent": BAD_FLAG + b"EN\r\n",
        "explicit-cas-stays": BAD_FLAG + b"HD c<cas:a>\r\n" + BAD_FLAG,
        "explicit-cas-zero-is-none": BAD_FLAG,
        "explicit-cas-append": BAD_FLAG + b"VA 3 c<cas:a>\r\nold\r\n",
        "explicit-cas-most": BAD_FLAG,
        "E-word": BAD_FLAG + MN + b"VA 3 f7 t-1\r\nold\r\n",
    },
    "too-few-arguments": {
        "alone": ERROR,
    },
    "block-not-swallowed": {
        "overlong-key": FORMAT + CLOSED,
    },
    "any-byte-a-flag": {
        "flag-punctuation": BAD_FLAG + MN + b"VA 3 f7 t-1\r\nold\r\n",
    },
    "truncated-numbers": {
        "T-33-bits": b"HD\r\n" + MN + b"VA 4 f0 t-1\r\nquit\r\n",
        "F-33-bits": b"HD\r\n" + MN + b"VA 4 f0 t-1\r\nquit\r\n",
    },
    "meta-token-limit": {
        "many-flags": b"CLIENT_ERROR options flags too long\r\n" + CLOSED,
    },
}

CASES = recorded(MODES + OPTIONS + COMPARE + ERRORS, MEMCACHED)


@rows(CASES)
def test_meta_set(peer: Peer, row: Case) -> None:
    check(peer, row)
