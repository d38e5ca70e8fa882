"""md, ma, me and mn."""

from __future__ import annotations

from tests.support.cases import (
    BAD_FLAG,
    BAD_TOKEN,
    DECODING,
    DUPLICATE,
    END,
    ERROR,
    FORMAT,
    LONG_KEY,
    MA_FLAG,
    MANY_FLAGS,
    MN,
    NON_NUMERIC,
    OPAQUE,
    OVERLONG_KEY,
    Case,
    case,
    check,
    hit,
    put,
    recorded,
    rows,
)
from tests.support.peers import Peer

A = put(b"a", b"old", 7)
TEN = put(b"n", b"10", 3)
SEE = b"mg a v f t\r\n"
SEE_N = b"mn\r\nget n\r\n"
KEPT = b"VA 3 f7 t-1\r\nold\r\n"
HD, NS, EX, NF, EN = b"HD\r\n", b"NS\r\n", b"EX\r\n", b"NF\r\n", b"EN\r\n"
MOST = 2**64 - 1
MA_MODE = b"CLIENT_ERROR invalid mode for ma M token\r\n"


def delete(name: str, flags: bytes, reply: bytes, after: bytes = EN, *, setup: bytes = A, **more: object) -> Case:
    """``md a`` with flags, and what is there afterwards."""
    return case(f"md-{name}", b"md a %s\r\n" % flags + SEE, reply + after, setup=setup, **more)


def change(name: str, flags: bytes, reply: bytes, after: bytes, *, setup: bytes = TEN, **more: object) -> Case:
    """``ma n`` with flags, and the value thereafter."""
    return case(f"ma-{name}", b"ma n %s\r\n" % flags + SEE_N, reply + MN + hit(b"n", after, 3), setup=setup, **more)


def unchanged(name: str, flags: bytes, reply: bytes) -> Case:
    """``ma n`` with flags that are an error."""
    return change(name, flags, reply, b"10")


DELETE = [
    delete("present", b"", HD),
    delete("absent", b"", NF, setup=b""),
    delete("quiet", b"q", b""),
    delete("quiet-absent", b"q", NF, setup=b""),
    delete("echo", b"k O1", b"HD ka O1\r\n"),
    delete("echo-absent", b"O1 k", b"NF O1 ka\r\n", setup=b""),
    delete("echoes-only-key-and-opaque", b"s t c f k h l", b"HD ka\r\n"),
    delete("equal-cas", b"C<cas:a>", HD),
    delete("other-cas", b"C<cas:a+1>", EX, KEPT),
    delete("cas-zero", b"C0", EX, KEPT),
    delete("other-cas-quiet", b"C1 q k", b"EX ka\r\n", KEPT),
    delete("cas-absent", b"C1", NF, setup=b""),
    delete("time-is-ignored", b"T30", HD),
    delete("invalidate", b"I", HD, b"VA 3 f7 t-1 X W\r\nold\r\n"),
    delete("invalidate-with-time", b"I T30", HD, b"VA 3 f7 t30 X W\r\nold\r\n", ticks=True),
    delete(
        "invalidate-keeps-time", b"I", HD, b"VA 3 f7 t100 X W\r\nold\r\n", setup=put(b"a", b"old", 7, 100), ticks=True
    ),
    delete("invalidate-with-past-time", b"I T-1", HD, EN),
    delete("invalidate-quiet", b"I q", b"", b"VA 3 f7 t-1 X W\r\nold\r\n"),
    delete("invalidate-absent", b"I", NF, setup=b""),
    delete("invalidate-other-cas", b"I C1", EX, KEPT),
    case("md-invalidate-changes-the-cas", b"md a I\r\nms a 1 C<cas:a>\r\nx\r\n", HD + EX, setup=A),
    case("md-invalidate-and-classic-cas", b"md a I\r\ncas a 0 0 1 <cas:a>\r\nx\r\n", HD + b"EXISTS\r\n", setup=A),
    case("md-invalidate-twice", b"md a I\r\nmd a I\r\nmg a\r\n", HD * 2 + b"HD X W\r\n", setup=A),
    delete("invalidate-explicit-cas", b"I E500\r\nmg a c", HD + b"HD c500 X W\r\n", b"VA 3 f7 t-1 Z X\r\nold\r\n"),
    delete("value-only", b"x", HD, b"VA 0 f0 t-1\r\n\r\n"),
    delete("value-only-flags", b"x F5", HD, b"VA 0 f5 t-1\r\n\r\n"),
    delete("value-only-time", b"x T30", HD, b"VA 0 f0 t30\r\n\r\n", ticks=True),
    delete("value-only-and-stale", b"x I", HD, b"VA 0 f0 t-1 X W\r\n\r\n"),
    delete("value-only-explicit-cas", b"x E500\r\nmg a c", HD + b"HD c500\r\n", b"VA 0 f0 t-1\r\n\r\n"),
    delete("value-only-keeps-the-cas", b"x\r\nmg a c", HD + b"HD c<cas:a>\r\n", b"VA 0 f0 t-1\r\n\r\n"),
    delete("value-only-absent", b"x", NF, setup=b""),
    delete("value-only-clears-time", b"x", HD, b"VA 0 f0 t-1\r\n\r\n", setup=put(b"a", b"old", 7, 100)),
    delete("binary", b"\r\nmd YWI= b k", HD + b"NF kYWI= b\r\n"),
    case("md-binary-present", b"md YQ== b k\r\n" + SEE, b"HD kYQ== b\r\n" + EN, setup=A),
    case("md-no-key", b"md\r\n", FORMAT),
    case("md-overlong-key", b"md %s\r\n" % OVERLONG_KEY, FORMAT),
    case("md-longest-key", b"md %s k\r\n" % LONG_KEY, b"NF k%s\r\n" % LONG_KEY),
    delete("flag-unknown", b"y", BAD_FLAG, KEPT),
    delete("flag-unknown-quiet", b"q S", BAD_FLAG, KEPT),
    delete("flag-repeated", b"q q", DUPLICATE, KEPT),
    delete("C-word", b"Cx", BAD_TOKEN, KEPT),
    delete("T-word", b"Tx", BAD_TOKEN, KEPT),
    delete("T-missing", b"T", BAD_TOKEN, KEPT),
    delete("F-word", b"Fx", FORMAT, KEPT),
    delete("opaque-too-long", b"O" + b"x" * 32, OPAQUE, KEPT),
    delete("undecodable", b"\r\nmd * b", HD + DECODING),
    delete("flags-of-other-commands", b"v u J5 D5 MX N5 R5", HD),
    delete("many-flags", b"k s t f h l c u v q I O1 J1 D1 F1 R0 MS P L", MANY_FLAGS, KEPT),
]

ARITHMETIC = [
    change("plain", b"", HD, b"11"),
    change("value", b"v", b"VA 2\r\n11\r\n", b"11"),
    change("delta", b"D5 v", b"VA 2\r\n15\r\n", b"15"),
    change("delta-zero", b"D0 v", b"VA 2\r\n10\r\n", b"10"),
    change("incr-mode", b"MI v", b"VA 2\r\n11\r\n", b"11"),
    change("plus-mode", b"M+ v", b"VA 2\r\n11\r\n", b"11"),
    change("decr-mode", b"MD v", b"VA 1\r\n9\r\n", b"9 "),
    change("minus-mode", b"M- D3 v", b"VA 1\r\n7\r\n", b"7 "),
    change("mode-only-first-letter", b"MDxyz v", b"VA 1\r\n9\r\n", b"9 "),
    change("decr-stops-at-zero", b"MD D50 v", b"VA 1\r\n0\r\n", b"0 "),
    change("grows", b"D990 v", b"VA 4\r\n1000\r\n", b"1000"),
    change("wraps", b"v", b"VA 1\r\n0\r\n", b"0" + b" " * 19, setup=put(b"n", b"%d" % MOST, 3)),
    change("most", b"D%d v" % (MOST - 10), b"VA 20\r\n%d\r\n" % MOST, b"%d" % MOST),
    change("padded-number", b"v", b"VA 2\r\n13\r\n", b"13 ", setup=put(b"n", b"12 ", 3)),
    change("quiet", b"q", b"", b"11"),
    change("quiet-value", b"q v", b"", b"11"),
    change("echo-in-order", b"O1 t v k", b"VA 2 O1 t-1 kn\r\n11\r\n", b"11"),
    change("echo-without-value", b"k O1 t", b"HD kn O1 t-1\r\n", b"11"),
    case("ma-cas", b"ma n c\r\n", b"HD c<new:n>\r\n", setup=TEN),
    case("ma-cas-growing", b"ma n c D990\r\n", b"HD c<new:n>\r\n", setup=TEN),
    change("time", b"T30 t", b"HD t30\r\n", b"11", ticks=True),
    case("ma-time-stays", b"ma n T30 t\r\nmg n t\r\n", b"HD t30\r\nHD t30\r\n", setup=TEN, ticks=True),
    change("time-then-touch", b"t T30", b"HD t-1\r\n", b"11"),
    change("time-then-touch-and-value", b"t T30 v", b"VA 2 t-1\r\n11\r\n", b"11"),
    case("ma-time-then-vivify", b"ma n t N30\r\nmg n t\r\n", b"HD t-1\r\nHD t30\r\n", ticks=True),
    case(
        "ma-time-when-growing",
        b"ma n T30 t v\r\nmn\r\nmg n t v\r\n",
        b"VA 2 t30\r\n10\r\nMN\r\nVA 2 t30\r\n10\r\n",
        setup=put(b"n", b"9"),
        ticks=True,
    ),
    case("ma-keeps-time", b"ma n\r\nmg n t\r\n", HD + b"HD t100\r\n", setup=put(b"n", b"9", 0, 100), ticks=True),
    change("equal-cas", b"C<cas:n>", HD, b"11"),
    change("other-cas", b"C<cas:n+1>", EX, b"10"),
    change("other-cas-echo", b"C1 k O1 q", b"EX kn O1\r\n", b"10"),
    case("ma-explicit-cas", b"ma n E500 c\r\nmg n c\r\n", b"HD c500\r\nHD c500\r\n", setup=TEN),
    case(
        "ma-explicit-cas-when-growing",
        b"ma n E500 c\r\nmn\r\nmg n c\r\n",
        b"HD c500\r\nMN\r\nHD c500\r\n",
        setup=put(b"n", b"9"),
    ),
    case("ma-absent", b"ma n\r\n", NF),
    case("ma-absent-quiet", b"ma n q\r\n", NF),
    case("ma-absent-echo", b"ma n v k O1\r\n", b"NF kn O1\r\n"),
    case("ma-absent-cas", b"ma n C5\r\n", NF),
    case("ma-vivify", b"ma n N0 v\r\nma n N0 v\r\n", b"VA 1\r\n0\r\nVA 1\r\n1\r\n"),
    case("ma-vivify-initial", b"ma n N0 J13 D5 v\r\nma n N0 J13 D5 v\r\n", b"VA 2\r\n13\r\nVA 2\r\n18\r\n"),
    case("ma-vivify-time", b"ma n N30 t\r\nmg n t\r\n", b"HD t30\r\nHD t30\r\n", ticks=True),
    case("ma-vivify-then-time", b"ma n N0 T30\r\nmg n t\r\n", b"HD\r\nHD t30\r\n", ticks=True),
    case("ma-time-and-vivify", b"ma n T30 N0\r\nmg n t\r\n", b"HD\r\nHD t-1\r\n"),
    case("ma-vivify-present", b"ma n N30 J99 t v\r\n", b"VA 2 t-1\r\n11\r\n", setup=TEN),
    case("ma-vivify-quiet", b"ma n N0 J5 q\r\nget n\r\n", HD + hit(b"n", b"5")),
    case("ma-vivify-decr", b"ma n N0 J5 MD v\r\n", b"VA 1\r\n5\r\n"),
    case("ma-vivify-most", b"ma n N0 J%d v\r\n" % MOST, b"VA 20\r\n%d\r\n" % MOST),
    case("ma-vivify-explicit-cas", b"ma n N0 E500 c\r\nmg n c\r\n", b"HD c500\r\nHD c500\r\n"),
    case("ma-vivify-expired", b"ma n N-1\r\nmg n\r\n", HD + EN),
    case("ma-is-no-fetch", b"ma n\r\nmg n h\r\n", b"HD\r\nHD h0\r\n", setup=TEN),
    change("non-numeric", b"", NON_NUMERIC, b"abc", setup=put(b"n", b"abc", 3)),
    change("non-numeric-quiet", b"q", NON_NUMERIC, b"abc", setup=put(b"n", b"abc", 3)),
    case("ma-binary", b"ma bjI= b k v\r\n", b"VA 1 kbjI= b\r\n6\r\n", setup=put(b"n2", b"5")),
    case("ma-binary-absent", b"ma bjI= b k\r\n", b"NF kbjI= b\r\n"),
    case("ma-binary-vivify", b"ma bjI= b k N0\r\nmg n2 k\r\n", b"HD kbjI= b\r\nHD kn2\r\n"),
    case(
        "ma-growing-ends-the-binary-mark",
        b"ms bjI= 1 b\r\n9\r\nma n2\r\nmn\r\nmg n2 k v\r\n",
        HD * 2 + MN + b"VA 2 kn2\r\n10\r\n",
    ),
    case(
        "ma-in-place-keeps-the-binary-mark",
        b"ms bjI= 1 b\r\n5\r\nma n2\r\nmn\r\nmg n2 k v\r\n",
        HD * 2 + MN + b"VA 1 kbjI= b\r\n6\r\n",
    ),
    case(
        "ma-growing-ends-fetched",
        b"mg n\r\nma n\r\nmn\r\nmg n h\r\n",
        HD * 2 + MN + b"HD h0\r\n",
        setup=put(b"n", b"9"),
    ),
    case(
        "ma-in-place-keeps-fetched",
        b"mg n\r\nmn\r\nma n\r\nmn\r\nmg n h\r\n",
        HD + MN + HD + MN + b"HD h1\r\n",
        setup=put(b"n", b"5"),
    ),
    case(
        "ma-growing-ends-staleness",
        b"md n I\r\nmn\r\nma n\r\nmn\r\nmg n v\r\n",
        HD + MN + HD + MN + b"VA 2\r\n10\r\n",
        setup=put(b"n", b"9"),
    ),
    case(
        "ma-in-place-keeps-staleness",
        b"md n I\r\nmn\r\nma n\r\nmn\r\nmg n v\r\n",
        HD + MN + HD + MN + b"VA 1 X W\r\n6\r\n",
        setup=put(b"n", b"5"),
    ),
    case("ma-no-key", b"ma\r\n", FORMAT),
    case("ma-overlong-key", b"ma %s\r\n" % OVERLONG_KEY, MA_FLAG),
    case("ma-undecodable", b"ma * b\r\n", MA_FLAG),
    unchanged("flag-unknown", b"y", MA_FLAG),
    unchanged("flag-unknown-quiet", b"q y", MA_FLAG),
    unchanged("flag-repeated", b"v v", MA_FLAG),
    unchanged("N-missing", b"N", MA_FLAG),
    unchanged("N-word", b"Nx", MA_FLAG),
    unchanged("J-word", b"Jx", MA_FLAG),
    unchanged("J-negative", b"J-1", MA_FLAG),
    unchanged("D-missing", b"D", MA_FLAG),
    unchanged("D-negative", b"D-1", MA_FLAG),
    unchanged("D-word", b"Dx", MA_FLAG),
    unchanged("D-65-bits", b"D%d" % (MOST + 1), MA_FLAG),
    unchanged("T-word", b"Tx", MA_FLAG),
    unchanged("C-word", b"Cx", MA_FLAG),
    unchanged("F-word", b"Fx", MA_FLAG),
    unchanged("many-flags", b"k s t f h l c u v q I O1 J1 D1 F1 R0 MI P L", MA_FLAG),
    unchanged("opaque-too-long", b"O" + b"x" * 32, OPAQUE),
    unchanged("mode-unknown", b"Mx", MA_MODE),
    unchanged("mode-lower-case", b"Mi", MA_MODE),
    unchanged("mode-lower-case-decr", b"Md", MA_MODE),
    unchanged("mode-missing", b"M", MA_MODE),
    unchanged("mode-set", b"MS", MA_MODE),
    unchanged("mode-unknown-quiet", b"Mx q", MA_MODE),
]

ME_A = b"ME a exp=-1 la=0 cas=<new:a> fetch=no cls=# size=#\r\n"

DEBUG = [
    case("me", b"me a\r\n", ME_A, setup=A, ticks=True),
    case("me-absent", b"me a\r\n", EN),
    case("me-no-key", b"me\r\n", FORMAT),
    case("me-overlong-key", b"me %s\r\n" % OVERLONG_KEY, FORMAT),
    case("me-longest-key", b"me %s\r\n" % LONG_KEY, EN),
    case("me-fetched", b"mg a\r\nme a\r\n", HD + ME_A.replace(b"=no", b"=yes"), setup=A, ticks=True),
    case("me-is-no-fetch", b"me a\r\nme a\r\nmg a h\r\n", ME_A * 2 + b"HD h0\r\n", setup=A, ticks=True),
    case("me-time", b"me a\r\n", ME_A.replace(b"-1", b"100"), setup=put(b"a", b"1", 0, 100), ticks=True),
    case("me-binary-with-fourth-token", b"me YQ== b x\r\n", ME_A, setup=A, ticks=True),
    case("me-binary", b"me YQ== b\r\n", ME_A, setup=A, ticks=True),
    case("me-binary-flag-last", b"me YQ== x b\r\n", ME_A, setup=A, ticks=True),
    case("me-binary-stored", b"me a\r\n", ME_A.replace(b" a ", b" YQ== "), setup=b"ms YQ== 1 b\r\nx\r\n", ticks=True),
    case("me-other-flags", b"me a v k q\r\n", ME_A, setup=A, ticks=True),
    case("me-noreply", b"me a noreply\r\n", ME_A, setup=A, ticks=True),
]

NOOP = [
    case("mn", b"mn\r\n", MN),
    case("mn-twice", b"mn\r\nmn\r\n", MN * 2),
    case("mn-arguments", b"mn a b c\r\n", MN),
    case("mn-trailing-space", b"mn \r\n", MN),
    case("mn-upper-case", b"MN\r\n", b"ERROR\r\n"),
    case("mn-after-everything", b"get a\r\nmg a\r\nmd a\r\nmn\r\n", b"END\r\nEN\r\nNF\r\nMN\r\n"),
    case("meta-word-unknown", b"mx a\r\n", b"ERROR\r\n"),
]

#: What memcached 1.6.18 answers instead: by difference, then by row.
MEMCACHED: dict[str, dict[str, bytes]] = {
    "unknown-meta-flags": {
        "md-invalidate-explicit-cas": MA_FLAG + b"HD c<cas:a>\r\nVA 3 f7 t-1\r\nold\r\n",
        "md-value-only": MA_FLAG + b"VA 3 f7 t-1\r\nold\r\n",
        "md-value-only-flags": MA_FLAG + b"VA 3 f7 t-1\r\nold\r\n",
        "md-value-only-time": MA_FLAG + b"VA 3 f7 t-1\r\nold\r\n",
        "md-value-only-and-stale": MA_FLAG + b"VA 3 f7 t-1\r\nold\r\n",
        "md-value-only-explicit-cas": MA_FLAG + b"HD c<cas:a>\r\nVA 3 f7 t-1\r\nold\r\n",
        "md-value-only-keeps-the-cas": MA_FLAG + b"HD c<cas:a>\r\nVA 3 f7 t-1\r\nold\r\n",
        "md-value-only-absent": MA_FLAG + b"EN\r\n",
        "md-value-only-clears-time": MA_FLAG + b"VA 3 f7 t100\r\nold\r\n",
        "ma-explicit-cas": MA_FLAG + b"HD c<cas:n>\r\n",
        "ma-explicit-cas-when-growing": MA_FLAG + MN + b"HD c<cas:n>\r\n",
        "ma-vivify-explicit-cas": MA_FLAG + b"EN\r\n",
    },
    "too-few-arguments": {
        "md-no-key": ERROR,
        "ma-no-key": ERROR,
    },
    "md-errors": {
        "md-flag-unknown": MA_FLAG + b"VA 3 f7 t-1\r\nold\r\n",
        "md-flag-unknown-quiet": MA_FLAG + b"VA 3 f7 t-1\r\nold\r\n",
        "md-flag-repeated": MA_FLAG + b"VA 3 f7 t-1\r\nold\r\n",
        "md-C-word": MA_FLAG + b"VA 3 f7 t-1\r\nold\r\n",
        "md-T-word": MA_FLAG + b"VA 3 f7 t-1\r\nold\r\n",
        "md-T-missing": MA_FLAG + b"VA 3 f7 t-1\r\nold\r\n",
        "md-F-word": MA_FLAG + b"VA 3 f7 t-1\r\nold\r\n",
        "md-undecodable": b"HD\r\n" + MA_FLAG + b"EN\r\n",
    },
    "meta-token-limit": {
        "md-many-flags": b"CLIENT_ERROR options flags too long\r\nVA 3 f7 t-1\r\nold\r\n",
        "ma-many-flags": b"CLIENT_ERROR options flags too long\r\n" + MN + b"VALUE n 3 2\r\n10\r\n" + END,
    },
    "mode-length": {
        "ma-mode-only-first-letter": MA_FLAG + MN + b"VALUE n 3 2\r\n10\r\n" + END,
        "ma-mode-missing": MA_FLAG + MN + b"VALUE n 3 2\r\n10\r\n" + END,
    },
    "ma-when-growing": {
        "ma-time-when-growing": b"VA 2 t30\r\n10\r\n" + MN + b"VA 2 t-1\r\n10\r\n",
    },
    "ma-overlong-key": {
        "ma-overlong-key": FORMAT,
    },
    "ma-opaque": {
        "ma-opaque-too-long": OPAQUE + MN + b"VALUE n 3 2\r\n11\r\n" + END,
    },
    "me-exptime-sign": {
        "me-time": b"ME a exp=-100 la=0 cas=<cas:a> fetch=no cls=# size=#\r\n",
    },
    "me-binary-anywhere": {
        "me-binary-flag-last": b"EN\r\n",
    },
}

CASES = recorded(DELETE + ARITHMETIC + DEBUG + NOOP, MEMCACHED)


@rows(CASES)
def test_meta(peer: Peer, row: Case) -> None:
    check(peer, row)
