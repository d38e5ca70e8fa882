"""delete, incr, decr, touch and flush_all."""

from __future__ import annotations

from tests.support.cases import (
    DELETED,
    DELTA,
    END,
    ERROR,
    EXPTIME,
    FORMAT,
    MN,
    NON_NUMERIC,
    NOT_FOUND,
    OK,
    STORED,
    TOUCHED,
    Case,
    case,
    check,
    hit,
    put,
    recorded,
    rows,
)
from tests.support.peers import Peer

A = put(b"a", b"1")
GET = b"get a\r\n"
MOST = 2**64 - 1


def counted(name: str, stored: bytes, request: bytes, reply: bytes, after: bytes, **more: object) -> Case:
    """``request`` on the stored value, and the value thereafter."""
    return case(name, request + b"mn\r\n" + GET, reply + MN + hit(b"a", after, 3), setup=put(b"a", stored, 3), **more)


DELETE = [
    case("delete-present", b"delete a\r\n" + GET, DELETED + END, setup=A),
    case("delete-absent", b"delete a\r\n", NOT_FOUND),
    case("delete-twice", b"delete a\r\ndelete a\r\n", DELETED + NOT_FOUND, setup=A),
    case("delete-alone", b"delete\r\n", FORMAT),
    case("delete-space", b"delete \r\n", FORMAT),
    case("delete-noreply", b"delete a noreply\r\n" + GET, END, setup=A),
    case("delete-zero", b"delete a 0\r\n", DELETED, setup=A),
    case("delete-zero-noreply", b"delete a 0 noreply\r\n" + GET, END, setup=A),
    case("delete-number", b"delete a 5\r\n", DELETED, setup=A),
    case("delete-words", b"delete a foo bar\r\n", DELETED, setup=A),
    case("delete-key-noreply", b"delete noreply\r\nget noreply\r\n", END, setup=put(b"noreply", b"x")),
    case("delete-and-add", b"delete a\r\nadd a 0 0 1\r\nx\r\n", DELETED + STORED, setup=A),
]

ARITHMETIC = [
    counted("incr", b"5", b"incr a 1\r\n", b"6\r\n", b"6"),
    counted("incr-grows", b"9", b"incr a 1\r\n", b"10\r\n", b"10"),
    counted("incr-zero", b"5", b"incr a 0\r\n", b"5\r\n", b"5"),
    counted("incr-much", b"1", b"incr a 99999999999\r\n", b"100000000000\r\n", b"100000000000"),
    counted("incr-leading-zeros", b"1", b"incr a 0005\r\n", b"6\r\n", b"6"),
    counted("incr-22-digits", b"1", b"incr a " + b"5".rjust(22, b"0") + b"\r\n", b"6\r\n", b"6"),
    counted("incr-23-digits", b"1", b"incr a " + b"5".rjust(23, b"0") + b"\r\n", DELTA, b"1"),
    counted("incr-wraps", b"%d" % MOST, b"incr a 1\r\n", b"0\r\n", b"0" + b" " * 19),
    counted("incr-wraps-further", b"%d" % MOST, b"incr a 2\r\n", b"1\r\n", b"1" + b" " * 19),
    counted("incr-most", b"0", b"incr a %d\r\n" % MOST, b"%d\r\n" % MOST, b"%d" % MOST),
    counted("incr-keeps-padding", b"10", b"decr a 1\r\nincr a 1\r\n", b"9\r\n10\r\n", b"10"),
    counted("decr", b"5", b"decr a 1\r\n", b"4\r\n", b"4"),
    counted("decr-shrinks-and-pads", b"10", b"decr a 1\r\n", b"9\r\n", b"9 "),
    counted("decr-pads-more", b"1000", b"decr a 1\r\ndecr a 990\r\n", b"999\r\n9\r\n", b"9   "),
    counted("decr-stops-at-zero", b"5", b"decr a 6\r\n", b"0\r\n", b"0"),
    counted("decr-stops-at-zero-and-pads", b"55", b"decr a 100\r\n", b"0\r\n", b"0 "),
    counted("decr-to-zero", b"5", b"decr a 5\r\n", b"0\r\n", b"0"),
    counted("decr-most", b"5", b"decr a %d\r\n" % MOST, b"0\r\n", b"0"),
    case("incr-absent", b"incr a 1\r\n", NOT_FOUND),
    case("decr-absent", b"decr a 1\r\n", NOT_FOUND),
    case("incr-alone", b"incr\r\n", FORMAT),
    case("incr-key-only", b"incr a\r\n", FORMAT),
    case("decr-alone", b"decr\r\n", FORMAT),
    case("decr-key-only", b"decr a\r\n", FORMAT),
    case("incr-noreply", b"incr a 1 noreply\r\n" + GET, hit(b"a", b"2"), setup=A),
    case("decr-noreply", b"decr a 1 noreply\r\n" + GET, hit(b"a", b"0"), setup=A),
    case("incr-noreply-absent", b"incr a 1 noreply\r\nmn\r\n", MN),
    case("incr-noreply-as-delta", b"incr a noreply\r\nmn\r\n", MN, setup=A),
    case("incr-trailing-token", b"incr a 1 x\r\n", b"2\r\n", setup=A),
    counted("delta-word", b"1", b"incr a x\r\n", DELTA, b"1"),
    counted("delta-letters-after", b"1", b"incr a 1x\r\n", DELTA, b"1"),
    counted("delta-negative", b"1", b"incr a -1\r\n", DELTA, b"1"),
    counted("delta-plus", b"1", b"incr a +1\r\n", DELTA, b"1"),
    counted("delta-hex", b"1", b"incr a 0x1\r\n", DELTA, b"1"),
    counted("delta-beyond-64-bits", b"1", b"incr a %d\r\n" % (MOST + 1), DELTA, b"1"),
    counted("decr-delta-negative", b"1", b"decr a -1\r\n", DELTA, b"1"),
    case("delta-is-checked-before-the-key", b"incr absent x\r\n", DELTA),
    counted("value-word", b"abc", b"incr a 1\r\n", NON_NUMERIC, b"abc"),
    counted("value-number-and-word", b"1a", b"incr a 1\r\n", NON_NUMERIC, b"1a"),
    counted("value-negative", b"-12", b"incr a 1\r\n", NON_NUMERIC, b"-12"),
    counted("value-hex", b"0x10", b"incr a 1\r\n", NON_NUMERIC, b"0x10"),
    counted("value-beyond-64-bits", b"%d" % (MOST + 1), b"incr a 1\r\n", NON_NUMERIC, b"%d" % (MOST + 1)),
    counted("value-trailing-space", b"12 ", b"incr a 1\r\n", b"13\r\n", b"13 "),
    counted("value-leading-space", b" 12", b"incr a 1\r\n", b"13\r\n", b"13 "),
    counted("value-leading-tab", b"\t12", b"incr a 1\r\n", b"13\r\n", b"13 "),
    counted("value-plus", b"+12", b"incr a 1\r\n", b"13\r\n", b"13 "),
    counted("value-two-numbers", b"1 2", b"incr a 1\r\n", b"2\r\n", b"2  "),
    counted("value-nul", b"1\0a", b"incr a 1\r\n", b"2\r\n", b"2  "),
    counted("value-crlf", b"1\r\na", b"incr a 1\r\n", b"2\r\n", b"2   "),
    counted("value-leading-zeros", b"0" * 25 + b"12", b"incr a 1\r\n", b"13\r\n", b"13" + b" " * 25),
    counted("value-most", b"%d" % MOST, b"decr a 1\r\n", b"%d\r\n" % (MOST - 1), b"%d" % (MOST - 1)),
    case(
        "incr-keeps-flags-when-growing",
        b"incr a 1\r\n" + GET,
        b"10\r\n" + hit(b"a", b"10", 77),
        setup=put(b"a", b"9", 77),
    ),
    case("padded-number-read-again", b"decr a 1\r\nincr a 5\r\n", b"9\r\n14\r\n", setup=put(b"a", b"10")),
    case(
        "append-to-a-padded-number",
        b"decr a 1\r\nappend a 0 0 1\r\n5\r\nincr a 1\r\n" + GET,
        b"9\r\n" + STORED + b"10\r\n" + hit(b"a", b"10 "),
        setup=put(b"a", b"10"),
    ),
    case("hundred-incr", b"incr a 1\r\n" * 100, b"".join(b"%d\r\n" % n for n in range(2, 102)), setup=A),
    case(
        "decr-shrinks-under-an-unsent-get",
        b"get a\r\ndecr a 1\r\nmn\r\nget a\r\n",
        hit(b"a", b"10") + b"9\r\n" + MN + hit(b"a", b"9 "),
        setup=put(b"a", b"10"),
    ),
]

TOUCH = [
    case("touch", b"touch a 0\r\n" + GET, TOUCHED + hit(b"a", b"1"), setup=A),
    case("touch-absent", b"touch a 0\r\n", NOT_FOUND),
    case("touch-alone", b"touch\r\n", FORMAT),
    case("touch-key-only", b"touch a\r\n", FORMAT),
    case("touch-noreply", b"touch a 0 noreply\r\nmn\r\n", MN, setup=A),
    case("touch-noreply-absent", b"touch a 0 noreply\r\nmn\r\n", MN),
    case("touch-noreply-as-exptime", b"touch a noreply\r\nmn\r\n", MN, setup=A),
    case("touch-trailing-token", b"touch a 0 x\r\n", TOUCHED, setup=A),
    case("touch-word", b"touch a x\r\n", EXPTIME, setup=A),
    case("touch-letters-after", b"touch a 5x\r\n", EXPTIME, setup=A),
    case("touch-word-absent", b"touch a x\r\n", EXPTIME),
    case("touch-negative", b"touch a -1\r\n" + GET, TOUCHED + END, setup=A),
    case("touch-very-negative", b"touch a -2147483648\r\n" + GET, TOUCHED + END, setup=A),
    case("touch-absolute-past", b"touch a 2592001\r\n" + GET, TOUCHED + END, setup=A),
    case("touch-absolute-future", b"touch a <time+100>\r\n" + GET, TOUCHED + hit(b"a", b"1"), setup=A),
    case("touch-most", b"touch a 2147483647\r\n", TOUCHED, setup=A),
    case("touch-beyond-32-bits", b"touch a 2147483648\r\n", EXPTIME, setup=A),
    case("touch-below-32-bits", b"touch a -2147483649\r\n", EXPTIME, setup=A),
    case("touch-plus", b"touch a +5\r\n", EXPTIME, setup=A),
    case("touch-lone-minus", b"touch a -\r\n" + GET, TOUCHED + hit(b"a", b"1"), setup=A),
    case("touch-eleven-digits", b"touch a 00000000005\r\n", TOUCHED, setup=A),
    case("touch-twelve-digits", b"touch a 000000000005\r\n", EXPTIME, setup=A),
    case("gat-beyond-32-bits", b"gat 2147483648 a\r\n", EXPTIME, setup=A),
    case("gat-plus", b"gat +5 a\r\n", EXPTIME, setup=A),
]

FLUSH = [
    case("flush-all", b"flush_all\r\n" + GET, OK + END, setup=A),
    case("flush-all-noreply", b"flush_all noreply\r\n" + GET, END, setup=A),
    case("flush-all-zero", b"flush_all 0\r\n" + GET, OK + END, setup=A),
    case("flush-all-negative", b"flush_all -1\r\n" + GET, OK + END, setup=A),
    case("flush-all-delay-noreply", b"flush_all 0 noreply\r\n" + GET, END, setup=A),
    case("flush-all-word", b"flush_all x\r\n" + GET, EXPTIME + hit(b"a", b"1"), setup=A),
    case("flush-all-word-noreply", b"flush_all x noreply\r\n" + GET, hit(b"a", b"1"), setup=A),
    case("flush-all-plus", b"flush_all +5\r\n", EXPTIME),
    case("flush-all-beyond-32-bits", b"flush_all 2147483648\r\n", EXPTIME),
    case("flush-all-lone-minus", b"flush_all -\r\n" + GET, OK + END, setup=A),
    case("flush-all-trailing-tokens", b"flush_all 0 a b c\r\n" + GET, OK + END, setup=A),
    case("flush-all-later", b"flush_all 1000\r\n" + GET, OK + hit(b"a", b"1"), setup=A),
    case("stored-after-flush-survives", b"flush_all\r\n" + A + GET, OK + STORED + hit(b"a", b"1"), setup=A),
    case("add-after-flush", b"flush_all\r\nadd a 0 0 1\r\nx\r\n" + GET, OK + STORED + hit(b"a", b"x"), setup=A),
    case(
        "flushed-is-gone-for-everybody",
        b"flush_all\r\nreplace a 0 0 1\r\nx\r\nappend a 0 0 1\r\nx\r\nincr a 1\r\ntouch a 0\r\ndelete a\r\nmg a\r\n",
        OK + b"NOT_STORED\r\n" * 2 + NOT_FOUND * 3 + b"EN\r\n",
        setup=A,
    ),
    case(
        "flush-between-stores",
        A + b"flush_all\r\n" + put(b"b", b"2") + b"get a b\r\n",
        STORED + OK + STORED + hit(b"b", b"2"),
    ),
]

#: What memcached 1.6.18 answers instead: by difference, then by row.
MEMCACHED: dict[str, dict[str, bytes]] = {
    "too-few-arguments": {
        "delete-alone": ERROR,
        "delete-space": ERROR,
        "incr-alone": ERROR,
        "incr-key-only": ERROR,
        "decr-alone": ERROR,
        "decr-key-only": ERROR,
        "touch-alone": ERROR,
        "touch-key-only": ERROR,
    },
    "delete-arguments": {
        "delete-number": b"CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n",
        "delete-words": b"CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n",
    },
    "noreply-as-key": {
        "delete-key-noreply": DELETED + END,
    },
    "lenient-numbers": {
        "incr-23-digits": b"6\r\n" + MN + b"VALUE a 3 1\r\n6\r\n" + END,
        "delta-plus": b"2\r\n" + MN + b"VALUE a 3 1\r\n2\r\n" + END,
        "touch-plus": TOUCHED,
        "touch-twelve-digits": TOUCHED,
        "gat-plus": b"VALUE a 0 1\r\n1\r\n" + END,
        "flush-all-plus": OK,
    },
    "truncated-numbers": {
        "touch-beyond-32-bits": TOUCHED,
        "touch-below-32-bits": TOUCHED,
        "gat-beyond-32-bits": b"VALUE a 0 1\r\n1\r\n" + END,
        "flush-all-beyond-32-bits": OK,
    },
    "lone-minus": {
        "touch-lone-minus": EXPTIME + b"VALUE a 0 1\r\n1\r\n" + END,
        "flush-all-lone-minus": EXPTIME + b"VALUE a 0 1\r\n1\r\n" + END,
    },
    "surplus-arguments": {
        "flush-all-trailing-tokens": ERROR + b"VALUE a 0 1\r\n1\r\n" + END,
    },
}

CASES = recorded(DELETE + ARITHMETIC + TOUCH + FLUSH, MEMCACHED)


@rows(CASES)
def test_changes(peer: Peer, row: Case) -> None:
    check(peer, row)
