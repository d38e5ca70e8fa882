"""A memcached whose clock stands still until a test moves it.

memcached reads CLOCK_MONOTONIC once a second and whenever a connection comes. A few lines of C, compiled here and
loaded before it, answer it with a number from a file.
"""

from __future__ import annotations

import contextlib
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.support.peers import Option, Peer, running_memcached

_BEGIN = 1_000_000
_SOURCE = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *now;

__attribute__((constructor)) static void begin(void) {
    int file = open(getenv("MOVABLE_CLOCK"), O_RDONLY);
    now = mmap(0, sizeof *now, PROT_READ, MAP_SHARED, file, 0);
    if (now == MAP_FAILED)
        abort();
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *found) {
    if (now && (clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE)) {
        found->tv_sec = *now;
        found->tv_nsec = 0;
        return 0;
    }
    return (int)syscall(SYS_clock_gettime, clock, found);
}
"""


class MovablePeer(Peer):
    """A peer with an :meth:`advance` by way of the file."""

    def __init__(self, peer: Peer, file: Path) -> None:
        super().__init__(peer.kind, peer.address)
        self._file = file
        self._moved = 0
        self._begin = self._uptime()

    def _uptime(self) -> int:
        return int(self.stats()[b"uptime"])

    def advance(self, seconds: int) -> None:
        """Move the clock; return when the server has noticed."""
        self._moved += seconds
        with self._file.open("r+b") as file:
            file.write(struct.pack("=q", _BEGIN + self._moved))
        for _ in range(10_000):
            if self._uptime() == self._begin + self._moved:
                return
        raise AssertionError("memcached never looked at its clock")


@contextlib.contextmanager
def running_movable(**options: Option) -> Iterator[MovablePeer]:
    """Debian's memcached with a clock that :meth:`MovablePeer.advance` moves."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "clock"
        file.write_bytes(struct.pack("=q", _BEGIN))
        library = Path(folder) / "clock.so"
        command = [shutil.which("cc") or "gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(library)]
        subprocess.run(command, input=_SOURCE.encode(), check=True)
        environment = {"LD_PRELOAD": str(library), "MOVABLE_CLOCK": str(file)}
        with running_memcached(environment=environment, **options) as peer:
            yield MovablePeer(peer, file)
