"""What the fuzzers begin with: the protocol tests' requests, streams of the generators, and what was found before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.protocol.admin_generator import AdminGenerator
from tests.protocol.auth_generator import AuthGenerator
from tests.protocol.generator import Generator
from tests.protocol.tables import ALL

CASES = Path(__file__).parent / "cases"

#: What a mutation puts in: words of the protocol, and numbers at the edges of types.
WORDS = [
    *(b"get ", b"gets ", b"gat ", b"gats ", b"set ", b"add ", b"replace ", b"append ", b"prepend ", b"cas "),
    *(b"delete ", b"incr ", b"decr ", b"touch ", b"mg ", b"ms ", b"md ", b"ma ", b"me ", b"mn\r\n", b"flush_all"),
    *(b"version\r\n", b"verbosity ", b"quit\r\n", b"stats ", b"slabs ", b"lru ", b"lru_crawler ", b"metadump "),
    *(b"mgdump ", b"watch ", b"cache_memlimit ", b"shutdown", b" noreply\r\n", b"\r\n", b"\n", b"\r", b" ", b"\0"),
    *(b" b", b" q", b" k", b" O", b" T0", b" N60", b" R30", b" E9", b" C1", b" F1", b" S2", b" I", b" MA", b" v t s c"),
    *(b"-1", b"0", b"2147483647", b"2147483648", b"4294967295", b"4294967296", b"9223372036854775807"),
    *(b"18446744073709551615", b"18446744073709551616", b"2592001", b"1e5", b"all", b"Zm9v", b"\x80\x00"),
    b"GET / HTTP/1.1\r\n",
]
SEEDED = 60  # streams of each generator


def streams() -> Iterator[bytes]:
    """Every seed, as bytes on one connection."""
    for row in ALL:
        yield row.setup + row.request
    for generator in (Generator, AdminGenerator, AuthGenerator):
        for seed in range(SEEDED):
            yield b"".join(command for command in generator(seed).stream(8) if not command.startswith(b"<"))


def cases(target: str) -> list[Path]:
    """What was found before, or is worth keeping: a file each."""
    return sorted((CASES / target).glob("*"))
