"""version, verbosity, unknown words, and what noreply silences."""

from __future__ import annotations

from tests.support.cases import (
    ERROR,
    FORMAT,
    MN,
    OK,
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
VERSION = b"VERSION <v>\r\n"

MISC = [
    case("version", b"version\r\n", VERSION),
    case("version-with-arguments", b"version please now\r\n", VERSION),
    case("version-noreply", b"version noreply\r\n", VERSION),
    case("verbosity", b"verbosity 0\r\n", OK),
    case("verbosity-too-much", b"verbosity 7\r\nverbosity 0\r\n", OK * 2),
    case("verbosity-noreply", b"verbosity 0 noreply\r\nmn\r\n", MN),
    case("verbosity-alone", b"verbosity\r\n", FORMAT),
    case("verbosity-word", b"verbosity x\r\n", FORMAT),
    case("verbosity-negative", b"verbosity -1\r\n", FORMAT),
    case("verbosity-beyond-32-bits", b"verbosity 4294967296\r\n", FORMAT),
    case("verbosity-trailing-tokens", b"verbosity 0 x y\r\n", OK),
    case("debugtime-needs-a-debug-server", b"debugtime_ 5\r\n", ERROR),
    case("unknown", b"bogus\r\n", ERROR),
    case("unknown-long", b"b" * 1000 + b"\r\n", ERROR),
    case("unknown-noreply", b"foo noreply\r\nmn\r\n", MN),
    case("unknown-noreply-with-arguments", b"foo a b noreply\r\nmn\r\n", MN),
    case("unknown-noreply-not-last", b"foo noreply x\r\n", ERROR),
    case("word-noreply-alone", b"noreply\r\nmn\r\n", ERROR + MN),
]

NOREPLY = [
    case("get-noreply", b"get a noreply\r\n", hit(b"a", b"1"), setup=A),
    case("gets-noreply", b"gets a noreply\r\n", b"VALUE a 0 1 <cas:a>\r\n1\r\nEND\r\n", setup=A),
    case("gat-overlong-key-noreply", b"gat 0 " + b"k" * 251 + b" noreply\r\nmn\r\n", FORMAT + MN),
    case("delete-overlong-key-noreply", b"delete " + b"k" * 251 + b" noreply\r\nmn\r\n", MN),
    case("incr-bad-delta-noreply", b"incr a x noreply\r\nmn\r\n", MN),
    case("incr-non-numeric-noreply", b"incr a 1 noreply\r\nmn\r\n", MN, setup=put(b"a", b"x")),
    case("touch-bad-exptime-noreply", b"touch a x noreply\r\nmn\r\n", MN),
    case("verbosity-word-noreply", b"verbosity x noreply\r\nmn\r\n", MN),
    case("set-too-large-noreply", b"set a 0 0 1100000 noreply\r\n" + b"x" * 1100000 + b"\r\nmn\r\n", MN),
    case("set-bad-flags-noreply", b"set a x 0 1 noreply\r\nx\r\nmn\r\n", MN),
    case("stats-noreply", b"stats foo noreply\r\n", ERROR),
    case("mg-noreply-is-flags", b"mg a noreply\r\n", b"CLIENT_ERROR invalid flag\r\n"),
    case("mn-noreply", b"mn noreply\r\n", MN),
    case("upper-case-noreply", b"delete a NOREPLY\r\n", b"DELETED\r\n", setup=A),
    case("quit-noreply", b"quit noreply\r\n", b"<closed>", closing=True),
]

#: What memcached 1.6.18 answers instead: by difference, then by row.
MEMCACHED: dict[str, dict[str, bytes]] = {
    "too-few-arguments": {
        "verbosity-alone": ERROR,
    },
    "truncated-numbers": {
        "verbosity-beyond-32-bits": OK,
    },
    "surplus-arguments": {
        "verbosity-trailing-tokens": ERROR,
    },
    "unknown-noreply": {
        "unknown-noreply": ERROR + MN,
        "unknown-noreply-with-arguments": ERROR + MN,
    },
    "block-not-swallowed": {
        "set-bad-flags-noreply": ERROR + MN,
    },
    "delete-arguments": {
        "upper-case-noreply": b"CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n",
    },
}

CASES = recorded(MISC + NOREPLY, MEMCACHED)


@rows(CASES)
def test_misc(peer: Peer, row: Case) -> None:
    check(peer, row)
