"""The parser: requests out of bytes, however these are cut.

The probe parses in memory that ends where the bytes end (a look behind them is a crash), on top of two former
requests (nothing of them may be left), and sees that the parser consumes something and writes nothing.
"""

from __future__ import annotations

import base64
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachecore_ext.probe import Parser

LINE_MAX = 2048
GET_LINE_MAX = 1 << 20

ERROR = b"ERROR\r\n"
BAD_FORMAT = b"CLIENT_ERROR bad command line format\r\n"
BAD_EXPTIME = b"CLIENT_ERROR invalid exptime argument\r\n"
BAD_DELTA = b"CLIENT_ERROR invalid numeric delta argument\r\n"
BAD_TOKEN = b"CLIENT_ERROR bad token in command line format\r\n"


def parse(data: bytes, cuts: tuple[int, ...] | list[int] = ()) -> list[dict]:
    parser = Parser(1 << 21)
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    pieces = [data[begin:end] for begin, end in itertools.pairwise(places)]
    return [request for piece in pieces for request in parser.feed(piece)]


def one(data: bytes) -> dict:
    (request,) = parse(data)
    return request


def reject(reply: bytes, **more) -> dict:
    return {"command": "REJECT", "reject": reply} | more


def test_get():
    assert one(b"get a\r\n") == {"command": "GET", "key": b"a", "keys": [b"a"]}
    assert one(b"gets a b  a \r\n") == {"command": "GETS", "key": b"a", "keys": [b"a", b"b", b"a"]}
    assert one(b"gat 10 a b\n") == {"command": "GAT", "key": b"a", "keys": [b"a", b"b"], "exptime": 10}
    assert one(b"gats -1 a\n") == {"command": "GATS", "key": b"a", "keys": [b"a"], "exptime": -1}


@pytest.mark.parametrize("word", ["set", "add", "replace", "append", "prepend"])
def test_storage(word):
    assert one(b"%s k 1 2 3\r\nabc\r\n" % word.encode()) == {
        "command": word.upper(),
        "key": b"k",
        "flags": 1,
        "exptime": 2,
        "size": 3,
        "value": b"abc",
        "ended": True,
    }


def test_storage_variants():
    assert one(b"cas k 0 0 0 99 noreply\r\n\r\n") == {
        "command": "CAS",
        "key": b"k",
        "flags": 0,
        "exptime": 0,
        "size": 0,
        "number": 99,
        "value": b"",
        "ended": True,
        "noreply": True,
    }
    assert one(b"set k 4294967295 -1 2\n\r\n\r\n")["value"] == b"\r\n"
    assert one(b"set k 0 0 3\r\nabcde") == one(b"set k 0 0 3\r\nabcde") | {"ended": False, "value": b"abc"}
    assert one(b"set k 0 4294967296 1\r\nx\r\n")["exptime"] == 0, "memcached's truncation to 32 bits"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"delete k", {"command": "DELETE", "key": b"k"}),
        (b"delete k noreply", {"command": "DELETE", "key": b"k", "noreply": True}),
        (b"incr k 5", {"command": "INCR", "key": b"k", "number": 5}),
        (b"decr k 18446744073709551615", {"command": "DECR", "key": b"k", "number": 2**64 - 1}),
        (b"touch k -5 noreply", {"command": "TOUCH", "key": b"k", "exptime": -5, "noreply": True}),
        (b"flush_all", {"command": "FLUSH_ALL", "exptime": 0}),
        (b"flush_all noreply", {"command": "FLUSH_ALL", "exptime": 0, "noreply": True}),
        (b"flush_all 7 noreply", {"command": "FLUSH_ALL", "exptime": 7, "noreply": True}),
        (b"verbosity 1", {"command": "VERBOSITY", "number": 1}),
        (b"version", {"command": "VERSION"}),
        (b"flush_all x", {"command": "FLUSH_ALL", "exptime": 0, "reject": BAD_EXPTIME}),
        (b"stats items", {"command": "ADMIN"}),
        (b"stats noreply", {"command": "ADMIN"}),
        (b"slabs", {"command": "ADMIN"}),
        (b"lru mode flat", {"command": "ADMIN"}),
        (b"lru_crawler enable", {"command": "ADMIN"}),
        (b"cache_memlimit 8 noreply", {"command": "ADMIN"}),
        (b"shutdown graceful", {"command": "ADMIN"}),
        (b"slab reassign 1 2", reject(ERROR)),
        (b"lrux", reject(ERROR)),
        (b"lru_crawle1 enable", reject(ERROR)),
        (b"cache_memlimi1 8", reject(ERROR)),
        (b"shutdowm", reject(ERROR)),
        (b"shutdown\x00", reject(ERROR)),
        (b"extstore item_size 5", reject(ERROR)),
        (b"refresh_certs", reject(ERROR)),
        (b"quit", {"command": "QUIT"}),
        (b"mn", {"command": "MN"}),
        (b"me k", {"command": "ME", "key": b"k"}),
        (b"lru_crawler metadump all", {"command": "METADUMP", "classes": set(range(1, 64))}),
        (b"lru_crawler mgdump hash", {"command": "MGDUMP", "classes": set(range(1, 64))}),
        (b"lru_crawler  metadump  1,63,,7, ", {"command": "METADUMP", "classes": {1, 7, 63}}),
        (b"lru_crawler metadump ,", {"command": "METADUMP", "classes": set()}),
        (b"lru_crawler metadump 1,64", {"command": "METADUMP", "classes": {0}}),
        (b"lru_crawler metadump 0", {"command": "METADUMP", "classes": {0}}),
        (b"lru_crawler metadump 1,all", {"command": "METADUMP", "classes": {0}}),
        (b"lru_crawler metadump -1", {"command": "METADUMP", "classes": {0}}),
        (b"lru_crawler metadump 4294967297", {"command": "METADUMP", "classes": {0}}),
        (b"lru_crawler metadump", reject(ERROR)),
        (b"lru_crawler metadump all x", reject(ERROR)),
        (b"lru_crawler mgdump", reject(ERROR)),
        (b"lru_crawler meta all", {"command": "ADMIN"}),
        (b"lru_crawler", {"command": "ADMIN"}),
        (b"lru_crawlers metadump all", reject(ERROR)),
        (b"GET / HTTP/1.1", {"command": "HANG_UP"}),
        (b"", reject(BAD_FORMAT)),
        (b"x", reject(BAD_FORMAT)),
        (b"GET a", reject(ERROR)),
        (b" get a", reject(ERROR)),
        (b"get", reject(BAD_FORMAT)),
        (b"get " + b"k" * 251, reject(BAD_FORMAT)),
        (b"get a " + b"k" * 251 + b" b", reject(BAD_FORMAT)),
        (b"gat x a", reject(BAD_EXPTIME)),
        (b"gat 1", reject(BAD_FORMAT)),
        (b"set k 0 0", reject(BAD_FORMAT)),
        (b"set k 0 0 -1", reject(BAD_FORMAT)),
        (b"set k 0 0 2147483646", reject(BAD_FORMAT)),
        (b"incr k x", reject(BAD_DELTA)),
        (b"incr k -1", reject(BAD_DELTA)),
        (b"touch k x", reject(BAD_EXPTIME)),
        (b"delete " + b"k" * 251, reject(BAD_FORMAT)),
    ],
)
def test_lines(line, expected):
    for end in (b"\r\n", b"\n"):
        if len(line + end) >= 4 or expected == reject(BAD_FORMAT):
            assert one(line + end) == expected


def test_meta():
    assert one(b"mg key v t T30 Oopaque k q\r\n") == {
        "command": "MG",
        "key": b"key",
        "meta": {"seen": "OTkqtv", "T": 30},
        "args": b" v t T30 Oopaque k q",
    }
    assert one(b"ms k 2 F5 T-1 C7 E8 MA I\r\nhi\r\n") == {
        "command": "MS",
        "key": b"k",
        "size": 2,
        "value": b"hi",
        "ended": True,
        "meta": {"seen": "CEFIMT", "F": 5, "T": -1, "C": 7, "E": 8, "M": "A"},
        "args": b" F5 T-1 C7 E8 MA I",
    }
    assert one(b"ma k N9 J5 D3 MD\r\n")["meta"] == {"seen": "DJMN", "N": 9, "J": 5, "D": 3, "M": "D"}
    assert one(b"md k q\r\n")["meta"] == {"seen": "q"}


def test_meta_keys_in_base64():
    for key in (b"a", b"binary\0\xff key", bytes(range(186))):
        text = base64.b64encode(key)
        assert one(b"mg " + text + b" b v\r\n")["key"] == key
        assert one(b"me " + text + b" b\r\n")["key"] == key
    assert one(b"mg A b\r\n") == reject(b"CLIENT_ERROR error decoding key\r\n")


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"mg", BAD_FORMAT),
        (b"mg " + b"k" * 251, BAD_FORMAT),
        (b"mg k v v", b"CLIENT_ERROR duplicate flag\r\n"),
        (b"mg k Z", b"CLIENT_ERROR invalid flag\r\n"),
        (b"mg k Tx", BAD_TOKEN),
        (b"mg k T", BAD_TOKEN),
        (b"mg k \xff", BAD_FORMAT),
        (b"mg k O" + b"o" * 32, b"CLIENT_ERROR opaque token too long\r\n"),
        (b"mg k " + b"v " * 19, b"CLIENT_ERROR options flags are too long\r\n"),
        (b"ma k MX", b"CLIENT_ERROR invalid mode for ma M token\r\n"),
        (b"ms k x", BAD_FORMAT),
        (b"ms k -1", BAD_FORMAT),
    ],
)
def test_meta_rejects(line, reply):
    assert one(line + b"\r\n") == reject(reply)


@pytest.mark.parametrize("line", [b"set %s 0 0 5", b"ms %s 5", b"cas %s 0 0 5 1", b"ms k 5 Z0%.0s"])
@pytest.mark.parametrize("value", [b"get a", b"\r\n\r\n\r"])
def test_the_block_of_a_rejected_request_is_skipped(line, value):
    data = line % (b"k" * 251) + b"\r\n" + value + b"\r\nget b\r\n"
    found = parse(data)
    assert [request["command"] for request in found] == ["REJECT", "GET"]
    assert found[1]["key"] == b"b"


def test_what_follows_a_length_that_cannot_be_read_is_taken_for_commands():
    assert [r["command"] for r in parse(b"set k 0 0 x\r\nget a\r\n")] == ["REJECT", "GET"]


def test_the_longest_lines():
    fits = b"get " + b"a " * 1021 + b"a"
    assert len(fits + b"\r\n") < LINE_MAX + 2
    short = b"touch k 0 " + b"x" * (LINE_MAX - 12)
    assert len(short + b"\r\n") == LINE_MAX
    assert one(short + b"\r\n")["command"] == "TOUCH"
    assert one(b"x" + short + b"\r\n") == {"command": "TOO_LONG"}
    assert one(b"x" * LINE_MAX) == {"command": "TOO_LONG"}
    assert parse(b"x" * (LINE_MAX - 1)) == []


@pytest.mark.parametrize("word", [b"get", b"gets", b"gat 1", b"gats 1"])
def test_a_line_of_keys_may_be_longer(word):
    keys = [b"key%05d" % i for i in range(5000)]
    line = word + b" " + b" ".join(keys) + b"\r\n"
    assert one(line)["keys"] == keys
    line = word + b" " + b"k " * (GET_LINE_MAX // 2)
    assert one(line + b"\r\n") == {"command": "TOO_LONG"}
    exact = (word + b" " + b"k " * GET_LINE_MAX)[: GET_LINE_MAX - 1]
    assert one(exact + b"\n")["command"] in ("GET", "GETS", "GAT", "GATS")
    assert parse(exact) == []


# ---- any stream

keys = (
    st.text(alphabet="abk\x01\x7f", min_size=1, max_size=6).map(str.encode) | st.just(b"k" * 250) | st.just(b"k" * 251)
)
numerals = st.sampled_from([b"0", b"1", b"-1", b"99", b"4294967296", b"x", b"", b"00", b"+1", b"18446744073709551616"])
blanks = st.sampled_from([b" ", b"  "])
ends = st.sampled_from([b"\r\n", b"\n"])
noreplies = st.sampled_from([b"", b" noreply"])
block_ends = st.sampled_from([b"\r\n", b"\r\n", b"xx"])
flags = st.lists(
    st.sampled_from(
        [
            b"v",
            b"t",
            b"b",
            b"q",
            b"k",
            b"T30",
            b"Tx",
            b"F1",
            b"Oab",
            b"C1",
            b"E2",
            b"MA",
            b"MX",
            b"D",
            b"Z",
            b"9",
        ]
    ),
    max_size=5,
).map(lambda words: b"".join(b" " + word for word in words))


@st.composite
def storage(draw):
    word = draw(st.sampled_from([b"set", b"add", b"cas", b"append", b"ms"]))
    value = draw(st.binary(max_size=30) | st.sampled_from([b"get a\r\n", b"\r\n", b"\n" * 9]))
    length = b"%d" % len(value)
    key, end, block_end = draw(keys), draw(ends), draw(block_ends)
    if word == b"ms":
        return b"ms " + key + b" " + length + draw(flags) + end + value + block_end
    unique = b" " + draw(numerals) if word == b"cas" else b""
    head = b" ".join([word, key, draw(numerals), draw(numerals), length])
    return head + unique + draw(noreplies) + end + value + block_end


lines = st.one_of(
    st.builds(
        lambda w, b, k: w + b + b.join(k),
        st.sampled_from([b"get", b"gets", b"gat 5"]),
        blanks,
        st.lists(keys, max_size=4),
    ),
    st.builds(
        lambda w, k, n, r: b" ".join([w, k, n]) + r,
        st.sampled_from([b"delete", b"incr", b"decr", b"touch", b"flush_all", b"verbosity", b"bogus"]),
        keys,
        numerals,
        noreplies,
    ),
    st.builds(
        lambda w, k, f: w + b" " + k + f,
        st.sampled_from([b"mg", b"md", b"ma", b"me", b"mn", b"mz"]),
        keys,
        flags,
    ),
    st.binary(max_size=20),
    st.sampled_from(
        [b"x" * 2046, b"x" * 2047, b"get " + b"k" * 2050, b"get " + b"k " * 1100, b"GET / HTTP/1.0", b"quit"]
    ),
)
streams = st.lists(storage() | st.builds(bytes.__add__, lines, ends), max_size=6).map(b"".join)


@given(stream=streams, cuts=st.lists(st.integers(0, 5000), max_size=8))
def test_any_cut_of_a_stream_gives_the_same_requests(stream, cuts):
    assert parse(stream, cuts) == parse(stream)


@given(stream=streams.filter(lambda data: len(data) < 400))
def test_byte_by_byte(stream):
    assert parse(stream, range(len(stream))) == parse(stream)


@given(stream=streams, size=st.integers(0, 300))
def test_the_beginning_of_a_stream_gives_the_first_of_its_requests(stream, size):
    found = parse(stream[:size])
    assert found == parse(stream)[: len(found)]


@given(data=st.binary(max_size=100) | streams)
def test_whatever_comes_the_parser_moves_on(data):
    verdict, consumed, swallow, request = Parser().peek(data)
    if verdict == "incomplete":
        assert b"\n" not in data
    elif verdict == "parsed":
        assert 0 < consumed <= len(data)
        line_end = data.index(b"\n") + 1
        assert consumed == line_end + len(request.get("value", b"")) + 2 * ("value" in request)
        assert swallow == 0 or consumed == line_end
    else:
        assert b"\n" not in data[:LINE_MAX]


@given(first=streams, second=storage() | st.builds(bytes.__add__, lines, ends))
def test_a_request_does_not_depend_on_those_before(first, second):
    parser = Parser()
    parser.feed(first)
    after = Parser()
    if not parser.closed and parse(first + b"mn\r\n")[-1:] == [{"command": "MN"}]:
        assert parser.feed(second) == after.feed(second)
