"""Tables of requests and replies, as raw bytes, and the check of one row against one peer.

Placeholders, so that a table need not know cas numbers:

``<cas:KEY>``, ``<cas:KEY+5>``  the item's cas before the request (in requests and replies)
``<new:KEY>``                  its cas after the request (in replies)
``<time+100>``                 the server's unix time plus 100
``<v>``                        the version that the server's ``stats`` name

The item size and slab class in the line of a ``me`` or a metadump are the server's own business: ``cls=# size=#``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pytest

from tests.support.differences import DIFFERENCES
from tests.support.peers import Peer
from tests.support.wire import CLOSED, Client

__all__ = ["CLOSED"]

ERROR = b"ERROR\r\n"
FORMAT = b"CLIENT_ERROR bad command line format\r\n"
CHUNK = b"CLIENT_ERROR bad data chunk\r\n"
DELTA = b"CLIENT_ERROR invalid numeric delta argument\r\n"
EXPTIME = b"CLIENT_ERROR invalid exptime argument\r\n"
NON_NUMERIC = b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"
TOO_LARGE = b"SERVER_ERROR object too large for cache\r\n"
TOO_LONG = b"CLIENT_ERROR line too long\r\n"
BAD_TOKEN = b"CLIENT_ERROR bad token in command line format\r\n"
BAD_FLAG = b"CLIENT_ERROR invalid flag\r\n"
DUPLICATE = b"CLIENT_ERROR duplicate flag\r\n"
MA_FLAG = b"CLIENT_ERROR invalid or duplicate flag\r\n"
OPAQUE = b"CLIENT_ERROR opaque token too long\r\n"
MANY_FLAGS = b"CLIENT_ERROR options flags are too long\r\n"
DECODING = b"CLIENT_ERROR error decoding key\r\n"
STORED = b"STORED\r\n"
NOT_STORED = b"NOT_STORED\r\n"
EXISTS = b"EXISTS\r\n"
NOT_FOUND = b"NOT_FOUND\r\n"
DELETED = b"DELETED\r\n"
TOUCHED = b"TOUCHED\r\n"
OK = b"OK\r\n"
END = b"END\r\n"
MN = b"MN\r\n"

LONG_KEY = b"k" * 250
OVERLONG_KEY = b"k" * 251

_PLACEHOLDER = re.compile(rb"<(cas|new|time|v)(?::([^>+-]+))?([+-]\d+)?>")
_OWN_SIZES = re.compile(rb"(?m)^((?:ME |key=).* cls=)\d+( size=)\d+")


@dataclass(frozen=True)
class Case:
    """One row: ``setup`` is sent first and must succeed, then ``request`` must get exactly ``reply``.

    A row that names a difference holds in ``memcached`` what the memcached at hand answers instead.
    """

    name: str
    request: bytes
    reply: bytes
    setup: bytes = b""
    differs: str = ""
    memcached: bytes | None = None
    closing: bool = False  # the request is not a whole command: wait for the server to close, send no marker
    half_close: bool = False  # close the sending side after the request
    ticks: bool = False  # the reply shows the clock: memcached gets a second try

    def __post_init__(self) -> None:
        if bool(self.differs) != (self.memcached is not None):
            raise ValueError(f"{self.name}: differs and memcached belong together")
        if self.differs and self.differs not in DIFFERENCES:
            raise ValueError(f"{self.name}: no row {self.differs!r} in differences.py")

    def expected(self, peer: Peer) -> bytes:
        if self.memcached is not None and not peer.is_cachecore:
            return self.memcached
        return self.reply


def case(name: str, request: bytes, reply: bytes, **more: object) -> Case:
    """A row; spelled as a function because tables are long."""
    return Case(name, request, reply, **more)  # type: ignore[arg-type]


def put(key: bytes, value: bytes, flags: int = 0, exptime: int = 0) -> bytes:
    """A set command that stores ``value``."""
    return b"set %s %d %d %d\r\n%s\r\n" % (key, flags, exptime, len(value), value)


def value(key: bytes, data: bytes, flags: int = 0) -> bytes:
    """What a get hit looks like, without its END."""
    return b"VALUE %s %d %d\r\n%s\r\n" % (key, flags, len(data), data)


def hit(key: bytes, data: bytes, flags: int = 0) -> bytes:
    """The whole reply to a get of one present key."""
    return value(key, data, flags) + END


def rows(cases: Sequence[Case]) -> pytest.MarkDecorator:
    """Run the test once for every row."""
    names = [row.name for row in cases]
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise ValueError(f"rows of the same name: {sorted(repeated)}")
    return pytest.mark.parametrize("row", cases, ids=names)


def masked(reply: bytes) -> bytes:
    """``reply`` without what belongs to the server itself."""
    return _OWN_SIZES.sub(rb"\1#\2#", reply)


def check(peer: Peer, row: Case) -> None:
    """Fail unless ``peer`` answers the row as it should."""
    attempts = 3 if row.ticks and not peer.is_cachecore else 1
    while True:
        attempts -= 1
        reply, expected = run(peer, row)
        if reply == expected:
            return
        if not attempts:
            pytest.fail(explain(peer, row, expected, reply), pytrace=False)


def answer(peer: Peer, difference: str, reply: bytes, expected: bytes) -> None:
    """For tests that are no table: ``peer``'s own reply where a listed difference makes the peers differ."""
    assert reply == expected, f"{DIFFERENCES[difference].reason}; on {peer.kind}: {shown(reply)}"


def recorded(cases: Sequence[Case], answers: Mapping[str, Mapping[str, bytes]]) -> list[Case]:
    """``cases`` with what the memcached at hand answers instead: by difference, then by the row's name."""
    different = {name: (why, reply) for why, replies in answers.items() for name, reply in replies.items()}
    if lost := set(different) - {row.name for row in cases}:
        raise ValueError(f"no such rows: {sorted(lost)}")
    return [
        replace(row, differs=different[row.name][0], memcached=different[row.name][1]) if row.name in different else row
        for row in cases
    ]


def run(peer: Peer, row: Case, cuts: Sequence[int] | None = None) -> tuple[bytes, bytes]:
    """The reply to the row's request, and the expected one with its placeholders filled in."""
    with peer.fresh() as client:
        if row.setup:
            prepared = client.transcript(row.setup)
            assert b"ERROR" not in prepared, f"setup failed: {prepared!r}"
        known: dict[bytes, bytes] = {}
        request = filled(peer, client, row.request, known)
        expected = filled(peer, client, row.expected(peer), known)
        if row.closing or row.half_close:
            reply = client.transcript_to_close(request, cuts, row.half_close)
        else:
            reply = client.transcript(request, cuts)
        return masked(reply), filled(peer, client, expected, known, after=True)


def filled(peer: Peer, client: Client, template: bytes, known: dict[bytes, bytes], after: bool = False) -> bytes:
    """``template`` with its placeholders replaced; ``known`` keeps what has been looked up already.

    ``<new:KEY>`` is left as it is until ``after`` the request.
    """

    def number(found: re.Match[bytes]) -> bytes:
        what, key, plus = found[1], found[2] or b"", int(found[3] or 0)
        if what == b"new" and not after:
            return found[0]
        if what == b"v":
            return peer.version
        name = what + b":" + key
        if name not in known:
            known[name] = str(peer.now() if what == b"time" else cas_of(client, key)).encode()
        return b"%d" % (int(known[name]) + plus)

    return _PLACEHOLDER.sub(number, template)


def cas_of(client: Client, key: bytes) -> int:
    """The item's cas, asked for without touching the item."""
    found = re.search(rb" cas=(\d+) ", client.transcript(b"me %s\r\n" % key))
    assert found, f"no item {key!r}"
    return int(found[1])


def explain(peer: Peer, row: Case, expected: bytes, reply: bytes) -> str:
    """What a failing row prints."""
    return "\n".join(
        [
            f"{row.name} on {peer.kind}" + (f" (difference {row.differs})" if row.differs else ""),
            f"  setup    {shown(row.setup)}",
            f"  request  {shown(row.request)}",
            f"  expected {shown(expected)}",
            f"  reply    {shown(reply)}",
        ]
    )


def shown(data: bytes) -> str:
    """``data`` as a Python literal, its middle left out when it is long."""
    return repr(data) if len(data) <= 600 else f"{data[:300]!r} ... {len(data)} bytes ... {data[-200:]!r}"
