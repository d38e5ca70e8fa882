"""The same random commands to two servers; their replies must be the same bytes.

``python -m tests.protocol.differential --seconds 600`` runs for ten minutes, with new seeds every time.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.protocol.admin_generator import (
    CRAWL,
    DUMP,
    FORGET,
    QUESTIONS,
    RESTORE,
    AdminGenerator,
    MaintainedGenerator,
)
from tests.protocol.auth_generator import GOOD, USERS, AuthGenerator
from tests.protocol.generator import BARRIER, Generator, WatchedGenerator
from tests.protocol.normaliser import Normaliser, event, keys
from tests.support.dumps import BUSY, dump
from tests.support.peers import CACHECORE, KINDS, MEMCACHED, Option, Peer, running
from tests.support.watching import Watcher, masked, sentinel
from tests.support.wire import Client, WireTimeoutError

STREAM = 60  # commands

_CAS = re.compile(rb"<cas:([^>+-]+)([+-]\d+)?>")


@dataclass
class Mismatch:
    """A stream that the two peers answer differently."""

    contest: str
    seed: int
    cut_seed: int | None
    commands: list[bytes]
    replies: tuple[bytes, bytes]

    def __str__(self) -> str:
        left, right = self.replies
        shorter = min(len(left), len(right))
        at = next((n for n in range(shorter) if left[n] != right[n]), shorter)
        begin = max(0, at - 200)
        lines = [f"{self.contest}: seed {self.seed}, cuts {self.cut_seed}; replies differ at byte {at}"]
        lines += ["commands = [", *(f"    {command!r}," for command in self.commands), "]"]
        lines += [f"left   {left[begin : at + 300]!r}", f"right  {right[begin : at + 300]!r}"]
        return "\n".join(lines)


class Contest:
    """Two servers of different kinds that are sent the same streams, and how their replies are compared."""

    generator: type[Generator] = Generator
    prepare = b"flush_all\r\n"  # what a stream begins with
    threads = 2
    #: Without its LRU thread: an item that this thread just looks at is replaced by incr instead of changed in place,
    #: and then looks as if it had never been fetched.
    memcached: str | None = "no_lru_maintainer,no_lru_crawler"
    cachecore: Mapping[str, Option] = {}

    def __init__(self, left: str = CACHECORE, right: str = MEMCACHED) -> None:
        self.kinds = left, right
        self.stack = contextlib.ExitStack()

    def __enter__(self) -> Contest:
        with self.stack:
            self.left, self.right = (self.stack.enter_context(running(k, **self.options(k))) for k in self.kinds)
            self.stack = self.stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stack.close()

    def options(self, kind: str) -> dict[str, Option]:
        own = self.cachecore if kind == CACHECORE else {"extended": self.memcached}
        return {"threads": self.threads, **own}

    def compare(self, seed: int, length: int = STREAM) -> Mismatch | None:
        """One seeded stream; a mismatch comes back shrunk."""
        commands = self.generator(seed).stream(length)
        found = self.differ(commands, seed)
        if found is None:
            return None
        cut_seed: int | None = seed
        if (simpler := self.differ(commands, None)) is not None:
            found, cut_seed = simpler, None
        commands = shrink(commands, lambda fewer: self.differ(fewer, cut_seed, 3.0) is not None)
        return Mismatch(type(self).__name__, seed, cut_seed, commands, self.differ(commands, cut_seed) or found)

    def differ(self, commands: list[bytes], cut_seed: int | None, timeout: float = 10.0) -> tuple[bytes, bytes] | None:
        """Both peers' replies if they are not the same."""
        replies = (
            self.converse(self.left, commands, cut_seed, timeout),
            self.converse(self.right, commands, cut_seed, timeout),
        )
        return replies if replies[0] != replies[1] else None

    def converse(self, peer: Peer, commands: list[bytes], cut_seed: int | None, timeout: float) -> bytes:
        """All replies of ``peer`` to the commands, on an empty server, normalised."""
        client = peer.connect(timeout)
        cutter = None if cut_seed is None else random.Random(cut_seed)
        normalise = Normaliser()
        replies = []
        try:
            client.transcript(self.prepare)
            for batch in batches(commands):
                try:
                    replies.append(self.exchange(peer, client, batch, cutter, normalise))
                except WireTimeoutError as error:
                    return b"".join(replies) + f"<no reply: {error}>".encode()
                if client.closed:
                    client.close()
                    client = peer.connect(timeout)
            return b"".join(replies)
        finally:
            client.close()

    def exchange(
        self, peer: Peer, client: Client, batch: list[bytes], cutter: random.Random | None, normalise: Normaliser
    ) -> bytes:
        """The normalised reply to a batch."""
        if batch[0] in QUESTIONS:
            return ask(peer, client, batch[0], normalise)
        request = looked_up(client, b"".join(batch))
        return normalise(client.transcript(request, *cuts(cutter, len(request))))


class Administration(Contest):
    """Commands that tell about the server or change it as well."""

    generator = AdminGenerator
    prepare = RESTORE + b"flush_all\r\n" + FORGET
    memcached = "no_lru_maintainer,track_sizes"
    cachecore: Mapping[str, Option] = {"lru_maintainer": False, "track_sizes": True}


class Maintained(Contest):
    """The same between servers with all their threads; what these do is not compared."""

    generator = MaintainedGenerator
    prepare = RESTORE + b"flush_all\r\n" + FORGET
    memcached = None


class Watched(Contest):
    """The commands of every day, and what somebody who watches hears of them."""

    generator = WatchedGenerator
    threads = 1  # so that the events are in the commands' order
    memcached = "no_lru_maintainer,no_lru_crawler,worker_logbuf_size=4096,watcher_logbuf_size=8192"
    cachecore: Mapping[str, Option] = {
        "lru_maintainer": False,
        "lru_crawler": False,
        "worker_logbuf_size": 4096,
        "watcher_logbuf_size": 8192,
    }

    def __enter__(self) -> Watched:
        super().__enter__()
        self.watchers = {
            peer: self.stack.enter_context(Watcher(peer, b"fetchers mutations")) for peer in (self.left, self.right)
        }
        return self

    def converse(self, peer: Peer, commands: list[bytes], cut_seed: int | None, timeout: float) -> bytes:
        question, begins = sentinel()
        with peer.connect(timeout) as client:
            client.transcript(b"flush_all\r\n" + FORGET + question)
        replies = super().converse(peer, commands, cut_seed, timeout)
        question, ends = sentinel()
        with peer.connect(timeout) as client:
            client.transcript(question)
        watcher = self.watchers[peer]
        for _ in watcher.lines_until(begins):
            pass
        heard = [event(masked(line)) for line in watcher.lines_until(ends) if b" key=%01mark%01 " not in line]
        return replies + b"\n".join([b"", *heard])


class Strangers(Contest):
    """Handshakes and what is no handshake, each batch on a connection of its own."""

    generator = AuthGenerator
    cachecore: Mapping[str, Option] = {"lru_maintainer": False, "lru_crawler": False}

    def __enter__(self) -> Strangers:
        self.directory = self.stack.enter_context(tempfile.TemporaryDirectory())
        users = Path(self.directory) / "users"
        users.write_bytes(USERS)
        self.users = str(users)
        super().__enter__()
        return self

    def options(self, kind: str) -> dict[str, Option]:
        return {**super().options(kind), "auth_file": self.users}

    def converse(self, peer: Peer, commands: list[bytes], cut_seed: int | None, timeout: float) -> bytes:
        cutter = None  # how memcached reads a handshake depends on the packets
        normalise = Normaliser()
        replies = []
        with peer.connect(timeout) as client:
            client.ask(GOOD + b"flush_all\r\nstats reset\r\n", b"RESET\r\n")
            for batch in batches(commands):
                with peer.connect(timeout) as stranger:
                    try:
                        for command in batch:
                            places, settled = cuts(cutter, len(command))
                            (stranger.send if settled else stranger.send_pieces)(command, places or [])
                            stranger.send(b"", [])
                        replies.append(normalise(stranger.ask(GOOD + b"mn\r\n", b"MN\r\n")))
                    except AssertionError as error:
                        return b"".join(replies) + f"<no reply: {error}>".encode()
            return b"".join(replies) + normalise(client.ask(b"stats\r\n"))


#: Every contest, by what the command line calls it.
CONTESTS: dict[str, type[Contest]] = {
    contest.__name__.lower(): contest for contest in (Contest, Administration, Maintained, Watched, Strangers)
}


def ask(peer: Peer, client: Client, question: bytes, normalise: Normaliser) -> bytes:
    """The answer to one of the questions that take several requests; the crawler is at rest then."""
    client.transcript(b"lru_crawler sleep 0\r\nlru_crawler tocrawl 0\r\n")
    if question == CRAWL:
        while (answer := client.ask(b"lru_crawler crawl all\r\n", b"\r\n")) == BUSY:
            pass
    elif question == DUMP:
        answer = normalise.dump(dump(client))
    else:
        line = b"lru_crawler mgdump all\r\n" if peer.is_cachecore else b"lru_crawler metadump hash\r\n"
        answer = keys(dump(client, line))
    while b"lru_crawler_running 1" in client.ask(b"stats\r\n"):
        pass
    return answer


def batches(commands: list[bytes]) -> list[list[bytes]]:
    """The commands between the barriers; a question stands alone."""
    found: list[list[bytes]] = [[]]
    for command in commands:
        if command == BARRIER:
            found.append([])
        elif command in QUESTIONS:
            found += [[command], []]
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


def cuts(cutter: random.Random | None, size: int) -> tuple[list[int] | None, bool]:
    """Where to cut a request, and whether to wait until each piece has been read."""
    style = cutter.random() if cutter else 0.0
    if cutter is None or style < 0.3 or size < 2:
        return None, False
    if style < 0.35 and size < 2000:
        return list(range(1, size)), True
    return cutter.sample(range(1, size), min(size - 1, cutter.randint(1, 12))), style < 0.65


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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, help="the first seed; without it a new one every time")
    parser.add_argument("--streams", type=int, help="this many streams instead of a time")
    parser.add_argument("--contest", choices=CONTESTS, action="append", help="only this one; may be repeated")
    parser.add_argument("--left", choices=KINDS, default=CACHECORE)
    parser.add_argument("--right", choices=KINDS, default=MEMCACHED)
    parser.add_argument("--keep-going", type=int, default=1, metavar="N", help="stop after N mismatches")
    options = parser.parse_args()
    first = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 40)
    print(f"first seed {first}", flush=True)
    began, done, wrong = time.monotonic(), 0, 0
    with contextlib.ExitStack() as stack:
        names = options.contest or CONTESTS
        contests = [stack.enter_context(CONTESTS[name](options.left, options.right)) for name in names]
        for contest in itertools.cycle(contests):
            if wrong >= options.keep_going or done == options.streams:
                break
            if options.streams is None and time.monotonic() - began > options.seconds:
                break
            if mismatch := contest.compare(first + done):
                wrong += 1
                print(mismatch, flush=True)
            done += 1
    print(f"{done} streams, {done * STREAM} commands, {time.monotonic() - began:.1f} s, {wrong} mismatches")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
