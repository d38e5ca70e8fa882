"""Many connections on few keys: whatever they saw, it could have been seen one command after the other.

    python -m tests.stress.linearizability --seconds 60

A daemon of its own is asked by several processes with several connections each, in pipelines; all turn to new keys at
the same moments. Meanwhile the table grows, pages move and the crawler walks. The recorded history of every key is then
decided by :mod:`tests.support.linearizable`. Exit status: 0 all could be, 1 one could not, 2 the daemon died.
"""

from __future__ import annotations

import argparse
import bisect
import contextlib
import itertools
import multiprocessing
import random
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import IO, NamedTuple

from tests.support.linearizable import NEVER, UNKNOWN, Fault, Held, Lane, Operation, UndecidedError, find_fault
from tests.support.peers import free_port

ROUND = 50_000_000  # nanoseconds on the same keys
KEYS = 3
PROCESSES, CONNECTIONS = 2, 4  # connections of each process
PIPELINE = 6
KINDS = ("get", "set", "add", "cas", "delete", "incr", "flush")
WEIGHTS = (30, 14, 6, 20, 8, 24, 0.3)
FIRST = 10**12  # so that no number grows by a digit

#: What a storage command that stores nothing answers, and how it is recorded.
REFUSALS = {b"EXISTS": "EXISTS", b"EX": "EXISTS", **dict.fromkeys((b"NOT_STORED", b"NS", b"NOT_FOUND", b"NF"))}

Address = tuple[str, int]


class Entry(NamedTuple):
    """An operation in a connection's history; a flush, which is of every key, has the key b""."""

    order: int
    key: bytes
    operation: Operation


class Connection:
    """Sends pipelines and records what it was answered."""

    def __init__(self, address: Address, seed: int, number: int) -> None:
        self.socket = socket.create_connection(address, 30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.replies = self.socket.makefile("rb")
        self.chosen = random.Random(seed * 1000 + number)
        self.fresh = itertools.count(FIRST + number * 10**9, 10_000)  # values nobody else sets
        self.cas: dict[bytes, int] = {}  # the last that was seen
        self.sent: list[tuple[bytes, str, object, bool]] = []
        self.sent_at = 0
        self.history: list[Entry] = []

    def draw(self, key: bytes) -> tuple[bytes, str, object, bool]:
        """A command's key, kind and argument, and whether it is a meta command."""
        (kind,) = self.chosen.choices(KINDS, WEIGHTS)
        argument: object = None
        if kind in ("set", "add"):
            argument = next(self.fresh)
        elif kind == "cas":
            argument = (next(self.fresh), self.cas.get(key, 1))
        elif kind == "incr":
            argument = self.chosen.randint(1, 5)
        return b"" if kind == "flush" else key, kind, argument, self.chosen.random() < 0.7

    def send(self, keys: list[bytes]) -> None:
        for _ in range(self.chosen.randint(1, PIPELINE)):
            self.sent.append(self.draw(self.chosen.choice(keys)))
        request = b"".join(spelled(*command) for command in self.sent)
        self.sent_at = time.monotonic_ns()
        self.socket.sendall(request)

    def receive(self) -> None:
        while self.sent:
            key, kind, argument, meta = self.sent[0]
            result = self._result(kind, argument, meta)
            if isinstance(result, Held) and result.cas is not None:
                self.cas[key] = result.cas
            self._note(key, Operation(self.sent_at, time.monotonic_ns(), kind, argument, result))
            del self.sent[0]

    def give_up(self) -> None:
        """The daemon is gone: nobody knows what became of what was sent."""
        for key, kind, argument, _ in self.sent:
            self._note(key, Operation(self.sent_at, NEVER, kind, argument, UNKNOWN))
        self.sent.clear()

    def close(self) -> None:
        self.replies.close()
        self.socket.close()

    def _note(self, key: bytes, operation: Operation) -> None:
        self.history.append(Entry(len(self.history), key, operation))

    def _result(self, kind: str, argument: object, meta: bool) -> object:
        """The next reply, as :class:`Operation` has it."""
        line = self._line()
        if kind == "flush":
            return line == b"OK"
        if kind == "delete":
            return {b"HD": True, b"DELETED": True, b"NF": False, b"NOT_FOUND": False}[line]
        if kind in ("get", "incr"):
            return self._number(line, kind)
        word = line.split()[0]
        if word in (b"STORED", b"HD"):
            assert argument is not None
            value = argument[0] if isinstance(argument, tuple) else argument
            assert isinstance(value, int)
            return Held(value, int(line[4:]) if meta else None)
        return REFUSALS[word]

    def _number(self, line: bytes, kind: str) -> Held | None:
        """What a get or an incr says."""
        if line.split()[0] in (b"END", b"EN", b"NF", b"NOT_FOUND"):
            return None
        if line.isdigit():
            return Held(int(line), None)
        value = int(self._line())
        if line.startswith(b"VALUE "):
            assert self._line() == b"END"
            return Held(value, int(line.split()[4]))
        return Held(value, int(line.split(b" c")[1]))

    def _line(self) -> bytes:
        line = self.replies.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError
        return line[:-2]


def spelled(key: bytes, kind: str, argument: object, meta: bool) -> bytes:
    """The command on the wire."""
    if isinstance(argument, tuple):
        value, compare = argument
        return (b"ms %b 13 C%d c\r\n%d\r\n" if meta else b"cas %b 0 0 13 %d\r\n%d\r\n") % (key, compare, value)
    if kind in ("set", "add"):
        line = {"set": b"ms %b 13 c", "add": b"ms %b 13 ME c"}[kind] if meta else kind.encode() + b" %b 0 0 13"
        return line % key + b"\r\n%d\r\n" % argument
    if kind == "incr":
        return (b"ma %b D%d v c\r\n" if meta else b"incr %b %d\r\n") % (key, argument)
    if kind == "flush":
        return b"flush_all\r\n"
    return {"get": (b"gets %b\r\n", b"mg %b v c\r\n"), "delete": (b"delete %b\r\n", b"md %b\r\n")}[kind][meta] % key


def record(address: Address, seed: int, process: int, begin: int, end: int) -> list[list[Entry]]:
    """Run one process' connections from ``begin`` to ``end``; what each of them saw."""
    numbers = range(process * CONNECTIONS, (process + 1) * CONNECTIONS)
    connections = [Connection(address, seed, number) for number in numbers]
    with contextlib.suppress(ConnectionError):
        while (now := time.monotonic_ns()) < end:
            turn = max(0, now - begin) // ROUND
            keys = [b"k%d-%d" % (turn, number) for number in range(KEYS)]
            for connection in connections:
                connection.send(keys)
            for connection in connections:
                connection.receive()
    for connection in connections:
        connection.give_up()
        connection.close()
    return [connection.history for connection in connections]


def disturb(address: Address, seed: int, end: int) -> None:
    """Let the table grow, pages move and the crawler walk; nothing here makes an item go."""
    chosen = random.Random(seed)
    with contextlib.suppress(ConnectionError), socket.create_connection(address, 30) as client:
        replies = client.makefile("rb")
        for turn in itertools.count():
            if time.monotonic_ns() > end:
                return
            names = [b"noise%d" % chosen.randrange(100_000) for _ in range(50)]
            sizes = chosen.choices([10, 50, 100, 1000], k=len(names))
            pairs = zip(names, sizes, strict=True)
            lines = [b"set %b 0 0 %d noreply\r\n%b\r\n" % (name, size, bytes(size)) for name, size in pairs]
            source, target = chosen.randint(1, 40), chosen.choice([0, chosen.randint(1, 40)])
            lines.append(b"slabs reassign %d %d\r\n" % (source, target))
            lines.append(b"lru_crawler crawl all\r\n" if turn % 20 == 0 else b"verbosity 0\r\n")
            client.sendall(b"".join([*lines, b"mn\r\n"]))
            while (line := replies.readline()) != b"MN\r\n":
                if not line:
                    raise ConnectionError
            time.sleep(0.002)  # leave the cores to the others


def by_key(histories: list[list[Entry]]) -> Iterator[tuple[bytes, list[Lane]]]:
    """Each key's lanes, with the flushes that met it."""
    found: defaultdict[bytes, list[list[Entry]]] = defaultdict(lambda: [[] for _ in histories])
    flushes = []
    for lane, history in enumerate(histories):
        for entry in history:
            if entry.key:
                found[entry.key][lane].append(entry)
            else:
                flushes.append((lane, entry))
    for key, lanes in found.items():
        begin = min(lane[0].operation.request for lane in lanes if lane)
        end = max(entry.operation.reply for lane in lanes for entry in lane)
        for lane, flush in flushes:
            if flush.operation.reply >= begin and flush.operation.request <= end:
                bisect.insort(lanes[lane], flush)
        yield key, [[entry.operation for entry in lane] for lane in lanes if lane]


@dataclass
class Verdict:
    """What came of a run."""

    histories: int = 0
    operations: int = 0
    undecided: int = 0
    died: bool = False
    losses: int = 0  # items that went by themselves: none may
    faults: list[tuple[bytes, Fault]] = field(default_factory=list)

    def judge(self, histories: list[list[Entry]]) -> None:
        self.operations += sum(map(len, histories))
        for key, lanes in by_key(histories):
            self.histories += 1
            try:
                if fault := find_fault(lanes):
                    self.faults.append((key, fault))
            except UndecidedError:
                self.undecided += 1

    def __str__(self) -> str:
        said = (
            f"{self.histories:,} histories of {self.operations:,} operations:"
            f" {len(self.faults)} not linearizable, {self.undecided} undecided"
        )
        for key, fault in self.faults[:3]:
            said += f"\n{key.decode()}: {fault.explained} operations can be explained and leave {fault.state}; then not"
            said += "".join(f"\n    {operation}" for operation in fault.stuck)
        return said + ("\nthe daemon died" if self.died else "")


@contextlib.contextmanager
def daemon(threads: int) -> Iterator[tuple[subprocess.Popen[bytes], Address]]:
    """A daemon in a process of its own: its end must not be ours."""
    address = ("127.0.0.1", free_port())
    words = ["-l", address[0], "-p", str(address[1]), "-t", str(threads), "-m", "256"]
    process = subprocess.Popen([sys.executable, "-m", "cachecore", *words], stderr=subprocess.DEVNULL)
    try:
        for _ in range(10_000):
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection(address).close()
                break
            if process.poll() is not None:
                raise RuntimeError(f"the daemon did not start: {process.returncode}")
            time.sleep(0.01)
        yield process, address
    finally:
        process.kill()
        process.wait()


def losses(replies: IO[bytes]) -> int:
    """How many items went by themselves, from the reply to ``stats``."""
    lines = iter(replies.readline, b"END\r\n")
    return sum(int(line.split()[2]) for line in lines if line.split()[1] == b"evictions")


def run(seconds: float, seed: int, threads: int = 4) -> Verdict:
    """Record for so long, and judge."""
    verdict = Verdict()
    spawn = multiprocessing.get_context("spawn")
    with daemon(threads) as (process, address), ProcessPoolExecutor(PROCESSES, spawn) as pool:
        begin = time.monotonic_ns() + 500_000_000  # by then they are all there
        end = begin + int(seconds * 1e9)
        recorders = [pool.submit(record, address, seed, number, begin, end) for number in range(PROCESSES)]
        disturb(address, seed, end)
        histories = [history for recorder in recorders for history in recorder.result()]
        try:
            with socket.create_connection(address, 30) as client:
                client.sendall(b"stats\r\n")
                verdict.losses = losses(client.makefile("rb"))
        except ConnectionError:
            verdict.died = True
        verdict.died |= process.poll() is not None
    verdict.judge(histories)
    return verdict


def main() -> int:
    """Record and judge in stretches, each with a daemon of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--stretch", type=float, default=10, help="seconds that are recorded before they are judged")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    end = time.monotonic() + arguments.seconds
    for turn in itertools.count():
        seed, threads = arguments.seed + turn, (4, 6, 2)[turn % 3]
        verdict = run(min(arguments.stretch, arguments.seconds), seed, threads)
        print(f"seed {seed}, {threads} threads: {verdict}", flush=True)
        assert verdict.losses == 0, "items went by themselves"
        if verdict.faults or verdict.undecided or verdict.died:
            return 1 if verdict.faults else 2
        if time.monotonic() > end:
            return 0
    raise AssertionError


if __name__ == "__main__":
    sys.exit(main())
