"""A daemon that runs out of memory at every place, one after the other.

    python -m tests.stress.failpoints

The same scenario is played again and again, and each time another of the calls fails with which the data plane asks
the system for memory or descriptors (tests/support/failing.py), until a run has no failure. Who is struck gets an
error, or is disconnected; nobody gets a wrong answer or none, and afterwards the daemon serves on and has not kept a
single block. So it is done for the calls of a start, alone and with a file to go on with, and, with everything that
Python allocates instead, for the commands that Python answers. Exit status 0 if nothing was found.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, Self

from tests.support.failing import FailingDaemon, Failpoints, failpoints, running_failing
from tests.support.sockets import wait_until_read

#: Seconds after which somebody who got no answer was forgotten.
PATIENCE: Final = 20
#: Runs without a failure after which there are no further calls: how many there are depends on how input is cut.
QUIET_RUNS: Final = 2
WORDS: Final = ("-t", "2", "-m", "64", "-o", "track_sizes,idle_timeout=0")

#: What a client may be told instead of an answer.
NO_MEMORY: Final = (
    b"SERVER_ERROR out of memory", b"SERVER_ERROR Out of memory", b"SERVER_ERROR internal error", b"WATCHER_FAILED",
)  # fmt: skip

#: What Python answers at length.
LISTS: Final = (
    b"stats", b"stats settings", b"stats items", b"stats slabs", b"stats sizes", b"stats conns",
    b"stats cachedump 5 0", b"stats detail dump",
)  # fmt: skip

SMALL, LARGE, CHAINED = b"s" * 20, b"l" * 200_000, b"c" * 900_000


class FaultError(AssertionError):
    """What must not be."""


class GoneError(Exception):
    """The server ended the connection."""


class Client:
    """One that knows what it may be answered."""

    def __init__(self, address: tuple[str, int], receive: int = 0) -> None:
        self.socket = socket.socket()
        if receive:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(address)
        self._read = bytearray()
        #: Whether there was a reply that there is no memory.
        self.was_told = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.socket.close()

    def send(self, request: bytes) -> None:
        try:
            self.socket.sendall(request)
        except ConnectionError:
            raise GoneError from None

    def pause(self) -> None:
        """Wait until what was sent has been read."""
        wait_until_read(self.socket, PATIENCE)

    def _more(self) -> None:
        """Have more to read. Raises GoneError, also for a reply that says that there is no memory."""
        try:
            part = self.socket.recv(1 << 18)
        except ConnectionError:
            raise GoneError from None
        except TimeoutError:
            raise FaultError(f"no answer behind {bytes(self._read[-200:])!r}") from None
        if not part:
            raise GoneError
        self._read += part
        if self._read.startswith(NO_MEMORY):
            self.was_told = True
            raise GoneError  # what comes behind it is of no interest

    def read(self, until: bytes) -> bytes:
        """Up to and with ``until``."""
        while (end := self._read.find(until)) < 0:
            self._more()
        return self._take(end + len(until))

    def _take(self, size: int) -> bytes:
        taken = bytes(self._read[:size])
        del self._read[:size]
        return taken

    def expect(self, reply: bytes) -> None:
        while len(self._read) < len(reply):
            self._more()
        if (found := self._take(len(reply))) != reply:
            raise FaultError(f"{found[:100]!r} instead of {reply[:100]!r}")

    def ask(self, request: bytes, reply: bytes) -> None:
        self.send(request)
        self.expect(reply)


def hit(key: bytes, value: bytes) -> bytes:
    return b"VALUE %s 0 %d\r\n%s\r\nEND\r\n" % (key, len(value), value)


# ---- the scenario: each step has connections of its own


class Scenario:
    """The steps, and the connections that they have open."""

    def __init__(self, address: tuple[str, int], limit: int) -> None:
        self.address = address
        self._limit = limit  # megabytes: a higher one each time opens more
        self._open: list[Client] = []

    def connect(self, receive: int = 0) -> Client:
        client = Client(self.address, receive)
        self._open.append(client)
        return client

    def close(self) -> None:
        for client in self._open:
            client.socket.close()
        self._open.clear()

    def steps(self) -> Iterable[Callable[[], None]]:
        return (
            self.small, self.in_pieces, self.large, self.chained, self.unread, self.long_line, self.dumps, self.watched,
            self.told, self.limits, self.maintained, self.many,
        )  # fmt: skip

    def run(self, on_gone: Callable[[str], None]) -> None:
        try:
            for step in self.steps():
                try:
                    step()
                except GoneError:
                    on_gone(step.__name__)
                except FaultError as fault:
                    raise FaultError(f"{step.__name__}: {fault}") from None
        finally:
            self.close()

    def small(self) -> None:
        client = self.connect()
        client.ask(b"set a 0 0 20\r\n%s\r\nget a\r\n" % SMALL, b"STORED\r\n" + hit(b"a", SMALL))
        client.ask(b"set n 0 0 1\r\n1\r\nincr n 5\r\nappend n 0 0 1\r\n0\r\n", b"STORED\r\n6\r\nSTORED\r\n")
        client.ask(b"mg n v\r\nms m 1\r\nx\r\nma n D1\r\n", b"VA 2\r\n60\r\nHD\r\nHD\r\n")
        client.ask(b"touch a 100\r\ngat 0 a\r\ndelete n\r\n", b"TOUCHED\r\n" + hit(b"a", SMALL) + b"DELETED\r\n")

    def in_pieces(self) -> None:
        client = self.connect()
        for piece in (b"set b 0", b" 0 5\r\n", b"ab", b"cde", b"\r", b"\nge", b"t b\r\n"):
            client.send(piece)
            client.pause()
        client.expect(b"STORED\r\n" + hit(b"b", b"abcde"))
        client = self.connect()
        client.send(b"set b 0 0 500\r\nab")  # and no more
        client.pause()

    def large(self) -> None:
        client = self.connect()
        client.send(b"set l 0 0 %d\r\n" % len(LARGE))
        client.pause()
        client.send(LARGE[:100_000])
        client.pause()
        client.send(LARGE[100_000:] + b"\r\nget l\r\n")
        client.expect(b"STORED\r\n" + hit(b"l", LARGE))
        client.ask(b"append l 0 0 20\r\n%s\r\nget l\r\n" % SMALL, b"STORED\r\n" + hit(b"l", LARGE + SMALL))
        client = self.connect()
        client.send(b"set l 0 0 300000\r\nab")
        client.pause()

    def chained(self) -> None:
        client = self.connect()
        client.ask(b"set c 0 0 %d\r\n%s\r\n" % (len(CHAINED), CHAINED), b"STORED\r\n")
        client.ask(b"get c\r\n", hit(b"c", CHAINED))
        client.ask(b"append c 0 0 20\r\n%s\r\nget c\r\n" % SMALL, b"STORED\r\n" + hit(b"c", CHAINED + SMALL))
        client.ask(
            b"set c 0 0 2000000\r\n%s\r\nmn\r\n" % bytes(2_000_000),
            b"SERVER_ERROR object too large for cache\r\nMN\r\n",
        )
        client = self.connect()
        client.send(b"set c 0 0 900000\r\n" + CHAINED[:600_000])
        client.pause()

    def unread(self) -> None:
        """More than the socket takes, read late or never."""
        client = self.connect(receive=32768)
        client.ask(b"set u 0 0 %d\r\n%s\r\n" % (len(LARGE), LARGE), b"STORED\r\n")
        client.send(b"get u\r\n" * 25)
        client.expect(hit(b"u", LARGE) * 25)
        client.ask(b"set u 0 0 2000\r\n%s\r\n" % (SMALL * 100), b"STORED\r\n")
        client.send(b"get u\r\n" * 3000)
        client.expect(hit(b"u", SMALL * 100) * 3000)
        client.send(b"get u\r\n" * 3000)

    def long_line(self) -> None:
        client = self.connect()
        client.ask(b"set b 0 0 1\r\nx\r\n", b"STORED\r\n")
        client.send(b"get b")
        for _ in range(4):
            client.pause()
            client.send(b" absent" * 10_000)
        client.ask(b"\r\n", hit(b"b", b"x"))

    def dumps(self) -> None:
        client = self.connect()
        client.send(b"lru_crawler metadump all\r\nlru_crawler mgdump all\r\n")
        client.read(b"END\r\n")
        client.read(b"EN\r\n")

    def watched(self) -> None:
        watcher, other = self.connect(), self.connect()
        watcher.ask(b"watch fetchers mutations connevents\r\n", b"OK\r\n")
        other.ask(b"get watched\r\n", b"END\r\n")
        watcher.read(b"\n")

    def told(self) -> None:
        client = self.connect()
        for line in LISTS:
            client.send(line + b"\r\n")
            client.read(b"END\r\n")
        client.ask(b"stats detail on\r\nset p:a 0 0 1\r\nx\r\ndelete p:a\r\n", b"OK\r\nSTORED\r\nDELETED\r\n")
        client.ask(b"stats detail off\r\n", b"OK\r\n")
        client.ask(b"stats reset\r\n", b"RESET\r\n")

    def limits(self) -> None:
        client = self.connect()
        client.send(b"cache_memlimit %d\r\n" % self._limit)
        if client.read(b"\r\n") not in (b"OK\r\n", b"MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust\r\n"):
            raise FaultError("an odd answer to cache_memlimit")

    def maintained(self) -> None:
        client = self.connect()
        client.send(b"lru_crawler crawl all\r\n")
        client.read(b"\r\n")  # OK or BUSY
        client.send(b"slabs reassign 1 2\r\n")
        client.read(b"\r\n")

    def many(self) -> None:
        clients = [self.connect() for _ in range(30)]
        gone = 0
        for client in clients:
            try:
                client.ask(b"mn\r\n", b"MN\r\n")
            except GoneError:
                gone += 1
        if gone:
            raise GoneError


KEYS: Final = (b"a", b"b", b"c", b"l", b"m", b"n", b"u", b"p:a")


class Checker:
    """What has to hold between two runs."""

    def __init__(self, daemon: FailingDaemon) -> None:
        self._daemon = daemon
        self._client = Client(daemon.address)
        self._blocks = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._client.socket.close()

    def stats(self) -> dict[bytes, bytes]:
        self._client.send(b"stats\r\n")
        lines = self._client.read(b"END\r\n").split(b"\r\n")
        return {words[1]: words[2] for line in lines if len(words := line.split(b" ")) == 3}

    def standing(self) -> dict[str, int]:
        stats = self.stats()
        names = ("curr_connections", "curr_items", "bytes", "log_watchers", "response_obj_bytes", "read_buf_bytes")
        standing = {name: int(stats[name.encode()]) for name in names}
        standing["read_buf_bytes"] -= int(stats[b"read_buf_bytes_free"])
        return standing | {"blocks": self._daemon.failpoints.blocks}

    def settle(self, blocks: int | None = None) -> int:
        """Empty the cache, and wait until nothing is left of the clients before. How many blocks there are.

        Raises:
            FaultError: something is left.
        """
        wanted = {
            "curr_connections": 1, "curr_items": 0, "bytes": 0, "log_watchers": 0, "response_obj_bytes": 0,
            "read_buf_bytes": 0,
        }  # fmt: skip
        for key in KEYS:
            self._client.send(b"delete %s noreply\r\n" % key)
        until = time.monotonic() + PATIENCE
        while (standing := self.standing()) != wanted | {"blocks": standing["blocks"] if blocks is None else blocks}:
            if time.monotonic() > until:
                raise FaultError(f"left behind: {standing}, with {blocks} blocks before")
        return standing["blocks"]

    def works(self) -> None:
        """Serve as if nothing had been."""
        self._client.ask(b"set a 0 0 1\r\nx\r\nget a\r\n", b"STORED\r\n" + hit(b"a", b"x"))


def _play(daemon: FailingDaemon, number: int, row: int, limit: int) -> tuple[int, list[str]]:
    """One run. How many calls failed, and in which steps the server ended a connection."""
    gone: list[str] = []
    points = daemon.failpoints
    points.arm(number, row)
    try:
        Scenario(daemon.address, limit).run(gone.append)
    finally:
        failed = points.disarm()
    if gone and not failed:
        raise FaultError(f"without any failure the server ended a connection in {gone}")
    return failed, gone


def serving(points: Failpoints, row: int = 1, first: int = 1, step: int = 1) -> Iterator[tuple[int, list[str]]]:
    """Let every ``step``-th call of a serving daemon fail; yield its number, and the steps in which clients lost out.

    ``row``: so many calls in a row fail. Raises FaultError.
    """
    with running_failing(points, *WORDS) as daemon, Checker(daemon) as checker:
        _play(daemon, 0, 0, 65)
        _play(daemon, 0, 0, 66)
        blocks = checker.settle()
        quiet, limit = 0, 66
        for number in itertools.count(first, step):
            limit += 1
            failed, gone = _play(daemon, number, row, limit)
            try:
                checker.works()
                checker.settle(blocks)
            except GoneError:
                raise FaultError(f"call {number}: the server ended a connection of no concern") from None
            except FaultError as fault:
                raise FaultError(f"call {number}: {fault}") from None
            quiet = 0 if failed else quiet + 1
            if quiet == QUIET_RUNS:
                return
            yield number, gone


# ---- the start


def _start(points: Failpoints, words: tuple[str, ...], number: int, row: int) -> tuple[int, str]:
    """One start. How many calls failed, and what was said; raises FaultError."""
    points.forget()
    points.arm(number, row)
    daemon = FailingDaemon(points, words)
    try:
        ended = daemon.await_start()
        failed = points.disarm()
        if ended is None:
            with Client(daemon.address) as client:
                client.ask(b"set a 0 0 1\r\nx\r\nget a\r\n", b"STORED\r\n" + hit(b"a", b"x"))
            ended = daemon.stop()
            wanted = 0
        else:
            wanted = 1 if "failed to start the engine" in ended.said else 0
        if ended.status != wanted or points.blocks or "Traceback" in ended.said:
            raise FaultError(f"call {number} of the start: {ended}, {points.blocks} blocks left")
    except GoneError:
        raise FaultError(f"call {number} of the start: it did not serve") from None
    finally:
        daemon.kill()
    return failed, ended.said


def starting(points: Failpoints, words: tuple[str, ...] = WORDS, row: int = 1, step: int = 1) -> Iterator[str]:
    """Let every ``step``-th call of a start fail; yield what the daemon said. Raises FaultError."""
    for number in itertools.count(1, step):
        failed, said = _start(points, words, number, row)
        if not failed:
            return
        yield said


def going_on(points: Failpoints, folder: Path, step: int = 1) -> Iterator[str]:
    """The same for a start that takes up what was saved: it goes on with the items, or begins empty, or not at all."""
    words, saved = (*WORDS, "-e", str(folder / "memory")), folder / "saved"
    with_items = b"set a 0 0 900000\r\n%s\r\nset b 0 0 1\r\nx\r\n" % CHAINED
    points.forget()
    daemon = FailingDaemon(points, words)
    try:
        assert daemon.await_start() is None
        with Client(daemon.address) as client:
            client.ask(with_items, b"STORED\r\nSTORED\r\n")
        assert daemon.stop(signal.SIGUSR1).status == 0
    finally:
        daemon.kill()
    saved.mkdir()
    for name in ("memory", "memory.meta"):
        shutil.copy(folder / name, saved / name)
    for number in itertools.count(1, step):
        for name in ("memory", "memory.meta"):
            shutil.copy(saved / name, folder / name)
        failed, said = _start(points, words, number, 1)
        if not failed or ("cannot" in said and "cannot watch" not in said and "cannot be taken up" not in said):
            again = _start(points, words, 0, 0)[1] if failed else said
            if "going on with 2 items" not in again:
                raise FaultError(f"call {number} of the start: {said}; then, without a failure: {again}")
        if not failed:
            return
        yield said


# ---- Python's part


def answering(points: Failpoints, line: bytes, step: int = 1) -> Iterator[bool]:
    """Let every ``step``-th allocation of Python's fail while a command is answered; yield whether the client was told.

    All are answered by one daemon, which has to know the next time what it did not know before. Raises FaultError.
    """
    with running_failing(points, *WORDS, PYTHONMALLOC="malloc") as daemon, Checker(daemon) as checker:
        daemon.await_rest()
        for number in itertools.count(1, step):
            client = Client(daemon.address)
            told = True
            points.arm(number, whose=Failpoints.PYTHON)
            try:
                client.send(line + b"\r\n")
                client.read(b"END\r\n")
            except GoneError:
                told = client.was_told
            except FaultError as fault:
                raise FaultError(f"{line!r}, allocation {number}: {fault}") from None
            finally:
                failed = points.disarm()
                client.socket.close()
            try:
                checker.settle()
            except GoneError:
                raise FaultError(f"{line!r}, allocation {number}: afterwards a connection was ended") from None
            if not failed:
                return
            yield told


def _admits(daemon: FailingDaemon, password: int) -> bool:
    """Whether this is the password."""
    shown = b"u %d" % password
    with Client(daemon.address) as client:
        client.send(b"set - 0 0 %d\r\n%s\r\n" % (len(shown), shown))
        return client.read(b"\r\n") == b"STORED\r\n"


def _await(condition: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > until:
            raise FaultError(what)


def reloading(points: Failpoints, folder: Path, step: int = 1) -> Iterator[int]:
    """Let every ``step``-th allocation of Python's fail while the users are read again; yield its number.

    Whatever fails, the users are the old ones or the new ones, and the next SIGHUP is heard. Raises FaultError.
    """
    users = folder / "users"
    users.write_text("u:0\n")
    with running_failing(points, *WORDS, "-Y", str(users), PYTHONMALLOC="malloc") as daemon:
        daemon.await_rest()
        for number in itertools.count(1, step):
            users.write_text(f"u:{number}\n")
            points.arm(number, whose=Failpoints.PYTHON)
            daemon.send_signal(signal.SIGHUP)
            _await(lambda n=number: points.failed > 0 or _admits(daemon, n), "a SIGHUP was not heard")  # type: ignore[misc]
            failed = points.disarm()
            daemon.send_signal(signal.SIGHUP)
            _await(lambda n=number: _admits(daemon, n), f"allocation {number}: the next SIGHUP")  # type: ignore[misc]
            daemon.await_rest()
            if not failed:
                return
            yield number


def main() -> int:
    """All of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step", type=int, default=1, help="only every so many calls")
    step = parser.parse_args().step
    try:
        with failpoints() as points, tempfile.TemporaryDirectory() as folder:
            print(f"start: {len(list(starting(points, step=step)))} calls", flush=True)
            print(f"start with a file: {len(list(going_on(points, Path(folder), step)))} calls", flush=True)
            for row in (1, 8):
                gone = [step for _, steps in serving(points, row, step=step) for step in steps]
                print(f"serving, {row} in a row: clients were disconnected {len(gone)} times", flush=True)
            for line in LISTS:
                told = list(answering(points, line, step))
                print(f"{line.decode()}: {len(told)} allocations, {told.count(False)} disconnected", flush=True)
            print(f"SIGHUP: {len(list(reloading(points, Path(folder), step)))} allocations", flush=True)
    except FaultError as fault:
        print(f"FAULT: {fault}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
