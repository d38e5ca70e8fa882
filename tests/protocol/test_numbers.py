"""How numbers are read: the strict way (lengths, cas, deltas) and the C library's (flags, exptime)."""

from __future__ import annotations

from tests.support.cases import (
    CHUNK,
    END,
    ERROR,
    FORMAT,
    MN,
    NOT_FOUND,
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

GET = b"get a\r\n"


def flags(name: str, written: bytes, read: int, **more: object) -> Case:
    """A flags field that is accepted, and what get shows."""
    return case(f"flags-{name}", b"set a %s 0 1\r\nx\r\n" % written + GET, STORED + hit(b"a", b"x", read), **more)


def no_flags(name: str, written: bytes, **more: object) -> Case:
    """A flags field that is refused; the block is swallowed."""
    return case(f"flags-{name}", b"set a %s 0 1\r\nx\r\nmn\r\n" % written, FORMAT + MN, **more)


def lasting(name: str, written: bytes, **more: object) -> Case:
    """An exptime with which the item can be read."""
    return case(f"exptime-{name}", b"set a 0 %s 1\r\nx\r\n" % written + GET, STORED + hit(b"a", b"x"), **more)


def expired(name: str, written: bytes, **more: object) -> Case:
    """An exptime with which the item is stored and gone at once."""
    return case(
        f"exptime-{name}", b"set a 0 %s 1\r\nx\r\n" % written + GET, STORED + END, setup=put(b"a", b"old"), **more
    )


def no_exptime(name: str, written: bytes, **more: object) -> Case:
    """An exptime that is refused; the block is swallowed and the old value stays."""
    return case(
        f"exptime-{name}",
        b"set a 0 %s 1\r\nx\r\nmn\r\n" % written + GET,
        FORMAT + MN + hit(b"a", b"old"),
        setup=put(b"a", b"old"),
        **more,
    )


def length(name: str, written: bytes, **more: object) -> Case:
    """A length of one."""
    return case(f"length-{name}", b"set a 0 0 %s\r\nx\r\n" % written + GET, STORED + hit(b"a", b"x"), **more)


def no_length(name: str, written: bytes, **more: object) -> Case:
    """A length that is refused; nothing is swallowed."""
    return case(f"length-{name}", b"set a 0 0 %s\r\nmn\r\n" % written, FORMAT + MN, **more)


ROWS = [
    flags("zero", b"0", 0),
    flags("largest", b"4294967295", 4294967295),
    flags("plus", b"+5", 5),
    flags("leading-zeros", b"0000000000000000000005", 5),
    flags("leading-tab", b"\t5", 5),
    flags("trailing-tab", b"5\t", 5),
    flags("minus-zero", b"-0", 0),
    no_flags("33-bits", b"4294967296"),
    no_flags("64-bits", b"18446744073709551615"),
    no_flags("65-bits", b"18446744073709551616"),
    no_flags("negative", b"-1"),
    no_flags("word", b"x"),
    no_flags("letters-after", b"5x"),
    no_flags("hex", b"0x10"),
    no_flags("lone-minus", b"-"),
    no_flags("lone-plus", b"+"),
    no_flags("fraction", b"1.5"),
    lasting("plus", b"+500"),
    lasting("relative-largest", b"2592000"),
    lasting("leading-tab", b"\t500"),
    lasting("leading-zeros", b"000000000000000500"),
    lasting("absolute-future", b"<time+100>"),
    lasting("33-bits-truncated", b"4294967296"),
    expired("negative", b"-1"),
    expired("very-negative", b"-2147483648"),
    expired("absolute-past", b"2592001"),
    expired("absolute-now", b"<time+0>"),
    expired("31-bits-truncated-to-negative", b"2147483648"),
    expired("32-bits-truncated-to-negative", b"4294967295"),
    no_exptime("word", b"x"),
    no_exptime("letters-after", b"5x"),
    no_exptime("65-bits", b"18446744073709551616"),
    no_exptime("lone-minus", b"-"),
    length("leading-zeros", b"00000000001"),
    no_length("twelve-characters", b"000000000001"),
    no_length("plus", b"+1"),
    no_length("minus-one", b"-1"),
    no_length("negative", b"-2147483648"),
    no_length("beyond-int-less-terminator", b"2147483646"),
    no_length("int-most", b"2147483647"),
    no_length("31-bits", b"2147483648"),
    no_length("32-bits", b"4294967295"),
    no_length("33-bits", b"4294967296"),
    no_length("33-bits-and-one", b"4294967297"),
    no_length("63-bits", b"9223372036854775807"),
    no_length("64-bits", b"18446744073709551615"),
    no_length("65-bits", b"18446744073709551617"),
    no_length("word", b"abc"),
    no_length("letters-after", b"1x"),
    no_length("hex", b"0x1"),
    no_length("tab", b"\t1"),
    no_length("fraction", b"1.0"),
    case("length-lone-minus-is-zero", b"set a 0 0 -\r\n\r\n" + GET, STORED + b"VALUE a 0 0\r\n\r\nEND\r\n"),
    case("length-minus-zero", b"set a 0 0 -0\r\n\r\n" + GET, STORED + b"VALUE a 0 0\r\n\r\nEND\r\n"),
    case("ms-length-plus", b"ms a +1\r\nmn\r\n", FORMAT + MN),
    case("ms-length-33-bits", b"ms a 4294967297\r\nmn\r\n", FORMAT + MN),
    case("ms-length-leading-zeros", b"ms a 00000000001\r\nx\r\n", b"HD\r\n"),
    case("ms-length-twelve-characters", b"ms a 000000000001\r\nmn\r\n", FORMAT + MN),
    case("ms-length-int-most", b"ms a 2147483647\r\nmn\r\n", FORMAT + MN),
    case("cas-leading-zeros", b"cas a 0 0 1 0000000000000000000001\r\nx\r\n", b"NOT_FOUND\r\n"),
    case("cas-23-characters", b"cas a 0 0 1 00000000000000000000001\r\nx\r\n", FORMAT),
    case("cas-plus", b"cas a 0 0 1 +1\r\nx\r\n", FORMAT),
]

#: What memcached 1.6.18 answers instead: by difference, then by row.
MEMCACHED: dict[str, dict[str, bytes]] = {
    "wide-client-flags": {
        "flags-33-bits": STORED + MN,
        "flags-64-bits": STORED + MN,
    },
    "block-not-swallowed": {
        "flags-65-bits": FORMAT + ERROR + MN,
        "flags-negative": FORMAT + ERROR + MN,
        "flags-word": FORMAT + ERROR + MN,
        "flags-letters-after": FORMAT + ERROR + MN,
        "flags-hex": FORMAT + ERROR + MN,
        "flags-lone-minus": FORMAT + ERROR + MN,
        "flags-lone-plus": FORMAT + ERROR + MN,
        "flags-fraction": FORMAT + ERROR + MN,
        "exptime-word": FORMAT + ERROR + MN + b"VALUE a 0 3\r\nold\r\n" + END,
        "exptime-letters-after": FORMAT + ERROR + MN + b"VALUE a 0 3\r\nold\r\n" + END,
        "exptime-65-bits": FORMAT + ERROR + MN + b"VALUE a 0 3\r\nold\r\n" + END,
        "exptime-lone-minus": FORMAT + ERROR + MN + b"VALUE a 0 3\r\nold\r\n" + END,
    },
    "lenient-numbers": {
        "length-twelve-characters": CHUNK + ERROR,
        "length-plus": CHUNK + ERROR,
        "length-tab": CHUNK + ERROR,
        "ms-length-plus": CHUNK + ERROR,
        "ms-length-twelve-characters": CHUNK + ERROR,
        "cas-23-characters": NOT_FOUND,
        "cas-plus": NOT_FOUND,
    },
    "truncated-numbers": {
        "length-33-bits": CHUNK + ERROR,
        "length-33-bits-and-one": CHUNK + ERROR,
        "ms-length-33-bits": CHUNK + ERROR,
    },
    "lone-minus": {
        "length-lone-minus-is-zero": FORMAT + ERROR + END,
    },
}

CASES = recorded(ROWS, MEMCACHED)


@rows(CASES)
def test_numbers(peer: Peer, row: Case) -> None:
    check(peer, row)
