"""Numbers as the protocol writes them, against rules in regular expressions and Python's int.

``parse_number`` itself sees that nothing behind the text is read.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cachecore_ext.probe import format_number, parse_number

U64, U32, I64, I32 = 2**64 - 1, 2**32 - 1, 2**63 - 1, 2**31 - 1

#: What a number may look like, and from where to where it may go.
RULES = {
    "u64": (rb"(?P<n>[0-9]{1,22})", 0, U64),
    "u32": (rb"(?P<n>[0-9]{1,11})", 0, U32),
    "i32": (rb"(?=.{1,11}$)(?P<n>-?[0-9]*)", -I32 - 1, I32),
    "lenient_u64": (rb"[ \t-\r]*(?P<n>[+-]?[0-9]+)(?:[ \t-\r\0].*)?", 0, U64),
    "lenient_i64": (rb"[ \t-\r]*(?P<n>[+-]?[0-9]+)(?:[ \t-\r\0].*)?", -I64 - 1, I64),
    "stored_u64": (rb"[ \t-\r]*(?P<n>[+-]?[0-9]+)(?:[ \t-\r\0].*)?", 0, U64),
}


def expected(how: str, text: bytes) -> int | None:
    pattern, low, high = RULES[how]
    match = re.fullmatch(pattern, text, re.DOTALL)
    if not match:
        return None
    value = 0 if match["n"] == b"-" else int(match["n"])
    return value if low <= value <= high else None


edges = st.sampled_from([0, 1, 9, 10, 99, I32, I32 + 1, U32, U32 + 1, I64, I64 + 1, U64, U64 + 1, 10**22])
numbers = st.builds(
    lambda sign, zeros, value, by, tail: sign + b"0" * zeros + b"%d" % max(0, value + by) + tail,
    st.sampled_from([b"", b"-", b"+", b" ", b" -", b"\t+", b"--", b"\0"]),
    st.integers(0, 25),
    edges | st.integers(0, 10**24),
    st.integers(-2, 2),
    st.sampled_from([b"", b" ", b"\r\n", b"\0", b"x", b".5", b" 7", b"-"]),
)
texts = numbers | st.text(alphabet="0123456789-+ \t\v\0xe.", max_size=25).map(str.encode) | st.binary(max_size=6)


@pytest.mark.parametrize("how", RULES)
@given(text=texts)
@example(text=b"")
@example(text=b"-")
@example(text=b"-0")
@example(text=b"-2147483648")
@example(text=b"18446744073709551615")
@example(text=b"18446744073709551616")
@example(text=b"-9223372036854775808")
@example(text=b"9223372036854775808")
@example(text=b"0" * 21 + b"7")
@example(text=b"0" * 22 + b"7")
@example(text=b"0" * 10 + b"7")
@example(text=b"0" * 11 + b"7")
@example(text=b"-" + b"0" * 9 + b"7")
@example(text=b"-" + b"0" * 10 + b"7")
@example(text=b"12 ")
@example(text=b" +12\0x")
def test_parsing(how, text):
    assert parse_number(how, text) == expected(how, text)


@given(value=edges.filter(lambda n: n <= U64) | st.integers(0, U64) | st.integers(0, 19).map(lambda n: 10**n - 1))
def test_formatting(value):
    assert format_number(value) == b"%d" % value
    assert parse_number("u64", b"%d" % value) == value


def test_formatting_every_length():
    for digits in range(20):
        for value in (10**digits, 10 ** (digits + 1) - 1):
            if value <= U64:
                assert format_number(value) == str(value).encode()
