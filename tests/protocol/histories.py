"""cachecore, memcached and a model of both: long random histories, with time moving, answered alike.

    python -m tests.protocol.histories --seconds 300

Both servers' clocks stand still until a rule moves them. No rule goes where the two are meant to differ
(differences.py).
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import random
import re
import sys
import time
from collections.abc import Iterator
from typing import ClassVar

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from tests.protocol.generator import SETTLE
from tests.support.model import Model
from tests.support.movable import running_movable
from tests.support.peers import Peer, running_cachecore
from tests.support.wire import Client

KEYS = [b"a", b"bb", b"key:with:colons"]
MODES = {"set": b"MS", "add": b"ME", "replace": b"MR", "append": b"MA", "prepend": b"MP"}

keys = st.sampled_from(KEYS)
#: A text and how often: hypothesis prints what it drew.
numbers = st.tuples(st.sampled_from([b"0", b"1", b"9", b"99", b"10 ", b"007", b"18446744073709551615"]), st.just(1))
sizes = st.sampled_from([0, 1, 7, 100, 1000, 4096, 20_000, 300_000, 1_048_576])
texts = st.tuples(st.sampled_from([b"x", b"-", b"\xff"]), sizes)
values = numbers | numbers | texts
client_flags = st.sampled_from([0, 0, 5, 4294967295])
#: Relative seconds, or from the server's time on: a unix time.
exptimes = st.tuples(st.just("in"), st.sampled_from([0, 0, 0, 1, 2, 10, 1000, 2_592_000, -1])) | st.tuples(
    st.just("at"), st.sampled_from([-5, 1, 30, 5000])
)
ends = st.tuples(st.just("in"), st.sampled_from([0, 1, 10, 1000]))
relations = st.sampled_from([0, 0, 0, -1, 10**6])
deltas = st.sampled_from([0, 1, 9, 10, 2**64 - 1])
opaque = st.sampled_from([[], [], [b"O123"], [b"k"]])


class Follower:
    """A server, its connection, and the cas numbers that it gave to the model's versions."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.client: Client = peer.connect()
        self.time = peer.now()
        self.cas: dict[int, int] = {}

    def forget(self) -> None:
        """Empty the server for a new history."""
        self.client.transcript(b"flush_all\r\n" + b"".join(b"mg %b\r\n" % key for key in KEYS))
        self.cas.clear()

    def advance(self, seconds: int) -> None:
        self.peer.advance(seconds)
        self.time += seconds

    def ask(self, request: bytes, key: bytes, relation: int) -> bytes:
        """The reply; in the request ``<time+5>`` is the server's time, ``<cas>`` the key's."""
        request = re.sub(rb"<time([+-]\d+)>", lambda found: b"%d" % (self.time + int(found[1])), request)
        if b"<cas>" in request:
            shown = re.search(rb" cas=(\d+) ", self.client.transcript(b"me %b\r\n" % key))
            request = request.replace(b"<cas>", b"%d" % (int(shown[1]) + relation if shown else 1 << 60))
        if request.startswith((b"incr ", b"decr ", b"ma ")):
            self.client.transcript(SETTLE)
        return self.client.transcript(request)

    def accept(self, request: bytes, expected: bytes, reply: bytes) -> None:
        """Fail unless the reply is the model's with this server's own cas numbers."""
        head, *pieces = re.split(rb"<cas:(\d+)>", expected)
        found, at = [], len(head)
        alike = reply.startswith(head)
        for version, piece in zip(pieces[::2], pieces[1::2], strict=True):
            number = re.compile(rb"\d*").match(reply, at)
            assert number
            found.append((int(version), number[0]))
            alike &= number[0] != b"" and reply.startswith(piece, number.end())
            at = number.end() + len(piece)
        assert alike and at == len(reply), (
            f"{self.peer.kind} to {request[:300]!r}: {reply[:300]!r}, and the model: {expected[:300]!r}"
        )
        for version, cas in found:
            known = self.cas.setdefault(version, int(cas))
            assert known == int(cas), f"{self.peer.kind}: another cas for the same item after {request[:300]!r}"
        shown = [cas for _, cas in sorted(self.cas.items())]
        assert all(a < b for a, b in itertools.pairwise(shown)), f"{self.peer.kind}: a later cas is lower"


@contextlib.contextmanager
def both() -> Iterator[list[Follower]]:
    """cachecore and memcached with clocks that stand still."""
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(running_cachecore(threads=1))
        ours.server.clock.freeze()
        theirs = stack.enter_context(running_movable(threads=1, extended="no_lru_maintainer,no_lru_crawler"))
        followers = [Follower(ours), Follower(theirs)]
        for follower in followers:
            stack.callback(follower.client.close)
        yield followers


class Histories(RuleBasedStateMachine):
    """Each rule is a command to all three."""

    followers: ClassVar[list[Follower]]
    commands: ClassVar[int] = 0
    model_of: ClassVar[type[Model]] = Model

    def __init__(self) -> None:
        super().__init__()
        self.model = self.model_of()
        self.agreed = True  # so far
        for follower in self.followers:
            follower.forget()

    def compare(self, request: bytes, expected: bytes, key: bytes = b"", relation: int = 0) -> None:
        Histories.commands += 1
        replies = [follower.ask(request, key, relation) for follower in self.followers]
        self.agreed = False
        for follower, reply in zip(self.followers, replies, strict=True):
            follower.accept(request, expected, reply)
        self.agreed = True

    def end(self, exptime: tuple[str, int]) -> tuple[bytes, int]:
        """An exptime as it is written, and the tick that it means."""
        how, seconds = exptime
        if how == "in":
            return b"%d" % seconds, self.model.end(seconds)
        return b"<time%+d>" % seconds, self.model.end(seconds)

    def version(self, key: bytes, relation: int) -> int:
        item = self.model.find(key)
        return item.version + relation if item else 1 << 60

    def undefined(self, key: bytes) -> bool:
        """Whether memcached's arithmetic would read stale memory: behind nothing, or behind more than 63 bits."""
        item = self.model.find(key)
        value = item.value.split(b" ")[0] if item else b"0"
        digits = value.removeprefix(b"-")
        return not value or (digits.isdigit() and len(digits) < 99 and int(digits) >= 1 << 63)

    # ---- classic commands

    @rule(wanted=st.lists(keys, min_size=1, max_size=4), cas=st.booleans())
    def get(self, wanted, cas):
        self.compare(b"%b %b\r\n" % (b"gets" if cas else b"get", b" ".join(wanted)), self.model.get(wanted, cas))

    @rule(wanted=st.lists(keys, min_size=1, max_size=2), cas=st.booleans(), exptime=exptimes)
    def gat(self, wanted, cas, exptime):
        written, end = self.end(exptime)
        request = b"%b %b %b\r\n" % (b"gats" if cas else b"gat", written, b" ".join(wanted))
        self.compare(request, self.model.get(wanted, cas, end))

    @rule(
        mode=st.sampled_from(["set", "set", "set", "add", "replace", "append", "prepend"]),
        key=keys,
        value=values,
        flags=client_flags,
        exptime=exptimes,
    )
    def storage(self, mode, key, value, flags, exptime):
        value, (written, end) = value[0] * value[1], self.end(exptime)
        request = b"%b %b %d %b %d\r\n%b\r\n" % (mode.encode(), key, flags, written, len(value), value)
        self.compare(request, self.model.storage(mode, key, value, flags, end))

    @rule(key=keys, value=values, flags=client_flags, exptime=exptimes, relation=relations)
    def cas(self, key, value, flags, exptime, relation):
        value, (written, end) = value[0] * value[1], self.end(exptime)
        request = b"cas %b %d %b %d <cas>\r\n%b\r\n" % (key, flags, written, len(value), value)
        compare = self.version(key, relation)
        self.compare(request, self.model.storage("set", key, value, flags, end, compare), key, relation)

    @rule(key=keys)
    def delete(self, key):
        self.compare(b"delete %b\r\n" % key, self.model.delete(key))

    @rule(key=keys, delta=deltas, increment=st.booleans())
    def arithmetic(self, key, delta, increment):
        if self.undefined(key):
            return
        request = b"%b %b %d\r\n" % (b"incr" if increment else b"decr", key, delta)
        self.compare(request, self.model.arithmetic(key, delta, increment))

    @rule(key=keys, exptime=exptimes)
    def touch(self, key, exptime):
        written, end = self.end(exptime)
        self.compare(b"touch %b %b\r\n" % (key, written), self.model.touch(key, end))

    @rule()
    def flush(self):
        self.compare(b"flush_all\r\n", self.model.flush())

    # ---- meta commands

    @rule(
        key=keys,
        flags=st.lists(st.sampled_from([b"v", b"c", b"f", b"h", b"k", b"s", b"t"]), unique=True),
        more=opaque,
        exptime=st.none() | st.none() | ends,
        vivify=st.none() | ends,
        recache=st.none() | st.sampled_from([5, 500]),
    )
    def meta_get(self, key, flags, more, exptime, vivify, recache):
        flags = flags + [flag for flag in more if flag not in flags]
        words, moments = [], []  # a t before the T or N shows what was before it
        for letter, chosen in ((b"T", exptime), (b"N", vivify)):
            written, end = self.end(chosen) if chosen else (b"", None)
            moments.append(end)
            words += [letter + written] if chosen else []
        words += [b"R%d" % recache] if recache else []
        request = b"mg %b\r\n" % b" ".join([key, *words, *flags])
        self.compare(request, self.model.meta_get(key, flags, *moments, recache))

    @rule(
        mode=st.sampled_from(["set", "set", "set", "add", "replace", "append", "prepend"]),
        key=keys,
        value=values,
        more=opaque,
        flags=client_flags,
        exptime=ends,
        relation=st.none() | relations,
        invalidate=st.booleans(),
    )
    def meta_set(self, mode, key, value, more, flags, exptime, relation, invalidate):
        value, (written, end) = value[0] * value[1], self.end(exptime)
        mode = mode if relation is None else "set"
        words = [*more, b"F%d" % flags, b"T" + written, MODES[mode]]
        words += [b"I"] * invalidate + [b"C<cas>"] * (relation is not None)
        compare = None if relation is None else self.version(key, relation)
        request = b"ms %b %d %b\r\n%b\r\n" % (key, len(value), b" ".join(words), value)
        expected = self.model.meta_set(mode, key, value, more, flags, end, compare, invalidate)
        self.compare(request, expected, key, relation or 0)

    @rule(key=keys, more=opaque, relation=st.none() | relations, invalidate=st.booleans(), exptime=st.none() | ends)
    def meta_delete(self, key, more, relation, invalidate, exptime):
        written, end = self.end(exptime) if exptime and invalidate else (b"", None)
        words = [*more] + [b"I"] * invalidate + ([b"T" + written] if written else [])
        words += [b"C<cas>"] * (relation is not None)
        compare = None if relation is None else self.version(key, relation)
        expected = self.model.meta_delete(key, more, compare, invalidate, end)
        self.compare(b"md %b\r\n" % b" ".join([key, *words]), expected, key, relation or 0)

    @rule(
        key=keys,
        flags=st.lists(st.sampled_from([b"v", b"c", b"k", b"t"]), unique=True),
        delta=deltas,
        increment=st.booleans(),
        vivify=st.none() | ends,
        initial=st.sampled_from([0, 13, 2**64 - 1]),
    )
    def meta_arithmetic(self, key, flags, delta, increment, vivify, initial):
        if self.undefined(key):
            return
        written, end = self.end(vivify) if vivify else (b"", None)
        words = [b"N" + written, b"J%d" % initial] if vivify else []  # before t, as in mg
        words += [*flags, b"D%d" % delta, b"MI" if increment else b"MD"]
        expected = self.model.meta_arithmetic(key, flags, delta, increment, end, initial)
        self.compare(b"ma %b\r\n" % b" ".join([key, *words]), expected)

    # ---- time

    @rule(seconds=st.sampled_from([1, 1, 1, 2, 9, 10, 29, 60, 1000, 100_000]))
    def advance(self, seconds):
        self.model.now += seconds
        for follower in self.followers:
            follower.advance(seconds)

    def teardown(self):
        if self.agreed:
            self.get(KEYS, True)


def settings(examples: int, steps: int) -> hypothesis.settings:
    """Of so many histories of so many commands at most."""
    return hypothesis.settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )


def main() -> int:
    """Batches of histories until the time is over; a failure is shown as its shortest history."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--steps", type=int, default=300, help="commands of a history")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    arguments = parser.parse_args()
    until, batches = time.monotonic() + arguments.seconds, 0
    while time.monotonic() < until:
        with both() as Histories.followers:
            machine = hypothesis.seed(arguments.seed + batches)(type("Batch", (Histories,), {}))
            run_state_machine_as_test(machine, settings=settings(50, arguments.steps))
        batches += 1
    print(f"seed {arguments.seed}: {batches * 50} histories, {Histories.commands:,} commands answered alike")
    return 0


if __name__ == "__main__":
    sys.exit(main())
