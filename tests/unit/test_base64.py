"""Base64 against Python's. The probe sees that nothing is written beyond the result."""

from __future__ import annotations

import base64
import binascii

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachecore_ext.probe import decode_base64, encode_base64

ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


@given(data=st.binary(max_size=200))
def test_encoding(data):
    assert encode_base64(data) == base64.b64encode(data)


@given(data=st.binary(min_size=1, max_size=188))
def test_what_was_encoded_is_decoded(data):
    assert decode_base64(base64.b64encode(data)) == data


@given(
    data=st.binary(min_size=1, max_size=60),
    noise=st.lists(st.tuples(st.integers(0, 90), st.sampled_from(b" -_.\x00\xff"))),
)
def test_bytes_outside_the_alphabet_are_passed_over(data, noise):
    text = bytearray(base64.b64encode(data))
    for at, byte in noise:
        text.insert(at % (len(text) + 1), byte)
    assert decode_base64(bytes(text)) == data


@given(text=st.lists(st.sampled_from(ALPHABET + b"=="), max_size=40).map(bytes))
def test_any_text_of_the_alphabet(text):
    try:
        whole = len(text) % 4 == 0 and text.rstrip(b"=").find(b"=") < 0
        expected = base64.b64decode(text, validate=True) if whole and text.count(b"=") <= 2 else b""
    except binascii.Error:
        expected = b""
    assert decode_base64(text) == expected


@pytest.mark.parametrize("text", [b"", b"A", b"AA", b"AAA", b"A===", b"====", b"AA=A", b"AA==AAAA", b"AAAAA"])
def test_what_is_not_whole_groups_is_refused(text):
    assert decode_base64(text) == b""


@pytest.mark.parametrize("capacity", [2, 3, 5, 6, 7])
def test_no_more_is_written_than_fits(capacity):
    assert decode_base64(base64.b64encode(b"abcdef"), capacity) == (b"abcdef" if capacity >= 6 else b"")
