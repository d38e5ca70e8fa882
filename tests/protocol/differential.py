"""The same random commands to two servers; their replies must be the same bytes.

``python -m tests.protocol.differential --seconds 600`` runs for ten minutes, with new seeds every time.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.protocol.generator import BARRIER, Generator
from tests.support.peers import KINDS, MEMCACHED, Peer, running
from tests.support.wire import Client, WireTimeoutError

STREAM = 60  # commands

_CAS = re.compile(rb"<cas:([^>+-]+)([+-]\d+)?>")
_META = (b"HD", b"VA", b"EN", b"NF", b"NS", b"EX")


@dataclass
class Mismatch:
    """A stream that the two peers answer differently."""

    seed: int
    cut_seed: int | None
    commands: list[bytes]
    replies: tuple[bytes, bytes]

    def __str__(self) -> str:
        left, right = self.replies
        shorter = min(len(left), len(right))
        at = next((n for n in range(shorter) if left[n] != right[n]), shorter)
        begin = max(0, at - 200)
        lines = [f"seed {self.seed}, cuts {self.cut_seed}; replies differ at byte {at}"]
        lines += ["commands = [", *(f"    {command!r}," for command in self.commands), "]"]
        lines += [f"left   {left[begin : at + 300]!r}", f"right  {right[begin : at + 300]!r}"]
        return "\n".join(lines)


class Normaliser:
    """Takes out of one peer's replies what must differ: version, cas numbers, seconds, item sizes."""

    def __init__(self) -> None:
        self.cas: dict[bytes, bytes] = {b"0": b"0"}

    def __call__(self, reply: bytes) -> bytes:
        out, at = [], 0
        while (end := reply.find(b"\n", at)) >= 0:
            line, at = reply[at : end + 1], end + 1
            words = line.split()
            size = None
            if words[:1] == [b"VALUE"] and len(words) in (4, 5) and words[3].isdigit():
                size = int(words[3])
                if len(words) == 5:
                    line = b"VALUE %s %s %s cas%s\r\n" % (*words[1:4], self.number(words[4]))
            elif words[:1] == [b"VERSION"]:
                line = b"VERSION\r\n"
            elif words and words[0] in _META:
                if words[0] == b"VA":
                    size = int(words[1])
                line = b" ".join(map(self.token, words)) + b"\r\n"
            elif words[:1] == [b"ME"]:
                line = b" ".join(map(self.debug, words)) + b"\r\n"
            out.append(line)
            if size is not None:
                out.append(reply[at : at + size + 2])
                at += size + 2
        return b"".join(out) + reply[at:]

    def number(self, cas: bytes) -> bytes:
        """The cas number's place in the order of their appearance."""
        return self.cas.setdefault(cas, b"#%d" % len(self.cas))

    def token(self, word: bytes) -> bytes:
        """A word of a meta reply."""
        kind, rest = word[:1], word[1:]
        if kind == b"c" and rest.isdigit():
            return b"c" + self.number(rest)
        if kind == b"t" and rest.isdigit():
            return b"t" + seconds(rest)
        if kind == b"l" and rest.isdigit():
            return b"l" + seconds(rest)
        return word

    def debug(self, word: bytes) -> bytes:
        """A word of a ``me`` line. 1.6.18 has the sign of exp wrong ("me-exptime-sign")."""
        name, equals, rest = word.partition(b"=")
        if name == b"cas":
            return b"cas=" + self.number(rest)
        if name in (b"cls", b"size"):
            return name
        if name in (b"exp", b"la") and rest != b"-1":
            return name + equals + seconds(rest.lstrip(b"-"))
        return word


def seconds(shown: bytes) -> bytes:
    """A number of seconds; the two clocks do not tick together."""
    number = int(shown)
    if number > 1 << 31:
        return b"past"
    for whole in (100_000, 1000):
        if whole - 200 < number <= whole:
            return b"%d" % whole
    return b"few" if number < 100 else shown


def converse(peer: Peer, commands: list[bytes], cut_seed: int | None, timeout: float = 10.0) -> bytes:
    """All replies of ``peer`` to the commands, on an empty server, normalised."""
    client = peer.connect(timeout)
    cutter = random.Random(cut_seed)
    normalise = Normaliser()
    replies = []
    try:
        client.ask(b"flush_all\r\n", b"OK\r\n")
        for batch in batches(commands):
            request = looked_up(client, b"".join(batch))
            try:
                replies.append(client.transcript(request, *cuts(cutter, len(request), cut_seed)))
            except WireTimeoutError as error:
                return normalise(b"".join(replies)) + f"<no reply: {error}>".encode()
            if client.closed:
                client.close()
                client = peer.connect(timeout)
        return normalise(b"".join(replies))
    finally:
        client.close()


def batches(commands: list[bytes]) -> list[list[bytes]]:
    """The commands between the barriers."""
    found: list[list[bytes]] = [[]]
    for command in commands:
        if command == BARRIER:
            found.append([])
        else:
            found[-1].append(command)
    return [batch for batch in found if batch]


def looked_up(client: Client, request: bytes) -> bytes:
    """The request with the cas numbers that the keys have now; an absent key's is one that never was."""
    known = {}
    for key in {found[1] for found in _CAS.finditer(request)}:
        shown = re.search(rb" cas=(\d+) ", client.transcript(b"me %s\r\n" % key))
        known[key] = int(shown[1]) if shown else 1 << 60
    return _CAS.sub(lambda found: b"%d" % (known[found[1]] + int(found[2] or 0)), request)


def cuts(cutter: random.Random, size: int, cut_seed: int | None) -> tuple[list[int] | None, bool]:
    """Where to cut a request, and whether to wait until each piece has been read."""
    style = cutter.random()
    if cut_seed is None or style < 0.3 or size < 2:
        return None, False
    if style < 0.35 and size < 2000:
        return list(range(1, size)), True
    return cutter.sample(range(1, size), min(size - 1, cutter.randint(1, 12))), style < 0.65


def opponent(kind: str) -> contextlib.AbstractContextManager[Peer]:
    """A server to compare. memcached runs without its LRU thread: an item that this thread just looks at is
    replaced by incr instead of changed in place, and then looks as if it had never been fetched.
    """
    return running(kind, extended="no_lru_maintainer,no_lru_crawler") if kind == MEMCACHED else running(kind)


def compare(left: Peer, right: Peer, seed: int, length: int = STREAM) -> Mismatch | None:
    """One seeded stream; a mismatch comes back shrunk."""
    commands = Generator(seed).stream(length)
    found = differ(left, right, commands, seed)
    if found is None:
        return None
    cut_seed: int | None = seed
    if (simpler := differ(left, right, commands, None)) is not None:
        found, cut_seed = simpler, None
    commands = shrink(commands, lambda fewer: differ(left, right, fewer, cut_seed, 3.0) is not None)
    return Mismatch(seed, cut_seed, commands, differ(left, right, commands, cut_seed) or found)


def differ(
    left: Peer, right: Peer, commands: list[bytes], cut_seed: int | None, timeout: float = 10.0
) -> tuple[bytes, bytes] | None:
    """Both peers' replies if they are not the same."""
    replies = converse(left, commands, cut_seed, timeout), converse(right, commands, cut_seed, timeout)
    return replies if replies[0] != replies[1] else None


def shrink(commands: list[bytes], fails: Callable[[list[bytes]], bool], limit: float = 30.0) -> list[bytes]:
    """Fewer commands that still fail: delta debugging, for at most ``limit`` seconds."""
    deadline = time.monotonic() + limit
    size = max(1, len(commands) // 2)
    while time.monotonic() < deadline:
        for begin in range(0, len(commands), size):
            fewer = commands[:begin] + commands[begin + size :]
            if fewer and fails(fewer):
                commands = fewer
                break
            if time.monotonic() > deadline:
                break
        else:
            if size == 1:
                break
            size = max(1, size // 2)
    return commands


def main() -> int:
    """Compare until the time is over or a mismatch is found."""
    parser = argparse.ArgumentParser(description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, help="the first seed; without it a new one every time")
    parser.add_argument("--streams", type=int, help="this many streams instead of a time")
    parser.add_argument("--left", choices=KINDS, default=KINDS[0])
    parser.add_argument("--right", choices=KINDS, default=KINDS[1])
    parser.add_argument("--keep-going", type=int, default=1, metavar="N", help="stop after N mismatches")
    options = parser.parse_args()
    first = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 40)
    print(f"first seed {first}", flush=True)
    began, done, wrong = time.monotonic(), 0, 0
    with opponent(options.left) as left, opponent(options.right) as right:
        while wrong < options.keep_going:
            if options.streams is not None and done >= options.streams:
                break
            if options.streams is None and time.monotonic() - began > options.seconds:
                break
            if mismatch := compare(left, right, first + done):
                wrong += 1
                print(mismatch, flush=True)
            done += 1
    print(f"{done} streams, {done * STREAM} commands, {time.monotonic() - began:.1f} s, {wrong} mismatches")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
