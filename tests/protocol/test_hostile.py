"""Input that is made to do harm: numbers past every limit, requests that a browser was made to send, chosen keys."""

from __future__ import annotations

import itertools
import re

import pytest

from tests.support.cases import CLOSED, END, MN, STORED, hit, put
from tests.support.peers import Peer, running_cachecore

#: At and past the limits of every width, and what is no number.
NUMBERS = [
    *(b"%d" % (sign * (1 << bits) + more) for bits in (31, 32, 63, 64) for sign in (1, -1) for more in (-1, 0, 1)),
    b"-1", b"0", b"+1", b"-", b"+", b"00000000000000000000000000000001", b"9" * 100, b"1x", b"0x10", b"1.5", b"1e9",
    b"nan", b"inf", b"\x001", b"\xff", b"x", b"-0",
]  # fmt: skip

#: Every command that takes a number, but for the lengths of values: # stands for it.
LINES = [
    b"incr n #", b"decr n #", b"touch n #", b"gat # n", b"gats # n", b"flush_all # x", b"verbosity #",
    b"mg n T#", b"mg n N#", b"mg n R#", b"mg n E#", b"md n T#", b"md n C#", b"md n E#", b"ma n D#", b"ma n N# J1",
    b"ma n N1 J#", b"ma n T#", b"ma n C#", b"ma n E#", b"slabs reassign # 1", b"slabs reassign 1 #",
    b"slabs automove #", b"slabs automove ratio #", b"slabs automove window #", b"lru tune # 10 0.1 2",
    b"lru tune 10 # 0.1 2", b"lru tune 10 10 # 2", b"lru tune 10 10 0.1 #", b"lru temp_ttl #", b"lru_crawler sleep #",
    b"lru_crawler tocrawl #", b"lru_crawler crawl #", b"cache_memlimit #", b"stats cachedump # 1",
    b"stats cachedump 1 #",
]  # fmt: skip

#: Those with a value behind them, where the number is not its length.
STORING = [
    b"set s # 0 1", b"set s 0 # 1", b"add s # # 1", b"replace n 0 # 1", b"append n # 0 1", b"prepend n 0 # 1",
    b"cas n 0 0 1 #", b"ms s 1 T#", b"ms s 1 F#", b"ms s 1 C#", b"ms s 1 E#", b"ms s 1 N# MA",
]  # fmt: skip

#: ... and where it is.
LENGTHS = [b"set s 0 0 #", b"add s 0 0 # noreply", b"cas s 0 0 # 1", b"append s 0 0 #", b"ms s #", b"ms s # T0 b"]

REPLY = re.compile(
    rb"(ERROR|CLIENT_ERROR|SERVER_ERROR|BADCLASS|BUSY|NOSPARE|SAME|MEMLIMIT|NOTSTARTED|STORED|NOT_STORED|EXISTS"
    rb"|NOT_FOUND|TOUCHED|OK|END|EN|HD|NF|NS|EX|VA|VALUE|ITEM|RESET|\d+)[^\0]*\r\n"
)


@pytest.fixture(scope="module")
def victim():
    with running_cachecore(memory_limit=64) as peer:
        yield peer


@pytest.mark.parametrize("line", LINES)
def test_a_number_past_its_limits(victim: Peer, line: bytes) -> None:
    """One reply that is known, and what comes behind it is understood; another client notices nothing."""
    with victim.connect() as client, victim.connect() as other:
        for number in NUMBERS:
            assert client.transcript(put(b"n", b"7")) == STORED
            reply = client.transcript(line.replace(b"#", number) + b"\r\nmn\r\n")
            assert reply.endswith(MN), (number, reply)
            assert REPLY.fullmatch(reply.removesuffix(MN)), (number, reply)
        assert other.transcript(put(b"o", b"1") + b"get o\r\n") == STORED + hit(b"o", b"1")
        client.transcript(b"cache_memlimit 64\r\nlru_crawler enable\r\nlru tune 20 40 0.2 2\r\n")


@pytest.mark.parametrize("line", STORING)
def test_a_number_before_a_value(victim: Peer, line: bytes) -> None:
    """Whether it is stored or not, its value is not taken for a command."""
    with victim.connect() as client:
        for number in NUMBERS:
            assert client.transcript(put(b"n", b"7") + b"delete s noreply\r\n") == STORED
            reply = client.transcript(line.replace(b"#", number) + b"\r\nv\r\nmn\r\n")
            assert reply.endswith(MN), (number, reply)
            assert REPLY.fullmatch(reply.removesuffix(MN)), (number, reply)


@pytest.mark.parametrize("line", LENGTHS)
def test_a_length_past_its_limits(victim: Peer, line: bytes) -> None:
    """It is refused at once or its value waited for; half of that leaves nothing behind."""
    with victim.connect() as other:
        other.transcript(b"delete s\r\n")
        before = victim.stats()
        for number in NUMBERS:
            with victim.connect() as client:
                read = client.transcript_to_close(line.replace(b"#", number) + b"\r\n", end=True)
                assert read.endswith(CLOSED)
                assert not read.removesuffix(CLOSED) or REPLY.fullmatch(read.removesuffix(CLOSED)), (number, read)
            assert other.transcript(b"get s\r\n") in (END, hit(b"s", b""))
            other.transcript(b"delete s\r\n")
        after = victim.stats()
        for name in (b"curr_items", b"bytes"):
            assert after[name] == before[name]


# A browser, or a server that was made to send a request, can send what it likes behind the first line.

COMMANDS = put(b"forged", b"1") + b"flush_all\r\n" + put(b"forged", b"2")


@pytest.mark.parametrize("verb", [b"POST", b"PUT", b"GET", b"HEAD", b"OPTIONS", b"CONNECT", b"PRI"])
@pytest.mark.parametrize("path", [b"/", b"/" + b"p" * 3000, b"*", b"/set%20a"])
def test_a_forged_request_runs_nothing(victim: Peer, verb: bytes, path: bytes) -> None:
    request = b"%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % (verb, path, len(COMMANDS))
    with victim.connect() as other:
        assert other.transcript(put(b"kept", b"1")) == STORED
        before = victim.stats()
        for cuts in ([], [len(verb)], [len(request) - 2], [len(request)]):
            with victim.connect() as client:
                client.transcript_to_close(request + COMMANDS, cuts, end=True)
        after = victim.stats()
        for name in (b"cmd_set", b"cmd_flush"):
            assert after[name] == before[name]
        assert other.transcript(b"get kept forged\r\n") == hit(b"kept", b"1")


def order(peer: Peer) -> list[bytes]:
    """The keys as a walk over the table meets them: in the order of their hashes."""
    with peer.connect() as client:
        client.transcript(b"".join(put(b"key%d" % number, b"1") for number in range(200)))
        lines = client.ask(b"lru_crawler metadump hash\r\n", b"END\r\n").split(b"\n")
    return [line.split(b" ")[0] for line in lines if line.startswith(b"key=")]


def test_nobody_knows_the_hashes_beforehand() -> None:
    """Who could compute them could choose keys that all go to one bucket. Each server has a secret of its own."""
    with running_cachecore() as one, running_cachecore() as another:
        first, second = order(one), order(another)
    assert len(first) == 200
    assert sorted(first) == sorted(second)
    assert sum(a == b for a, b in zip(first, second, strict=True)) < 20
    assert sum(a < b for a, b in itertools.pairwise(first)) < 190  # and not by their bytes
