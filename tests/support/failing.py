"""A daemon whose memory runs out when a test says so.

A few lines of C, compiled here and loaded before it, stand between the daemon and everything that the system may refuse
for lack of memory or descriptors: malloc and its kin, mmap, mprotect, eventfd, epoll and accept4. Each call made from
one of our own compiled rooms, or made from anywhere else (which is Python), is counted, and the n-th fails. The blocks
that our rooms own are counted as well, so that a leak of a single one shows.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from tests.support.peers import free_port

ROOT: Final = Path(__file__).resolve().parents[2]
#: Seconds after which a daemon that neither starts nor ends has failed the test.
PATIENCE: Final = 60
#: The system call's number on x86-64 and on AArch64.
_SIGTIMEDWAIT: Final = ("128", "137")

_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t), __libc_free(void *);

static struct {
    int64_t armed;      /* 0: not; 1: calls of our rooms; 2: all the others */
    int64_t left;       /* calls until the first that fails */
    int64_t row;        /* how many fail, one behind the other */
    int64_t failed;     /* calls that did */
    int64_t blocks;     /* that our rooms have and did not give back; counted always */
} nowhere, *control = &nowhere;

__attribute__((constructor)) static void begin(void) {
    int file = open(getenv("FAILING_CONTROL"), O_RDWR | O_CLOEXEC);
    control = mmap(0, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (control == MAP_FAILED)
        abort();
    close(file);
}

/* Whether an address lies in one of our rooms; remembered for its page, because dladdr is slow. */
static int ours(void *address) {
    static uintptr_t known[8192];
    uintptr_t page = (uintptr_t)address >> 12, *place = &known[page % 8192];
    uintptr_t entry = __atomic_load_n(place, __ATOMIC_RELAXED);
    Dl_info found;
    if (entry >> 1 != page) {
        entry = page << 1 | (dladdr(address, &found) && found.dli_fname && strstr(found.dli_fname, "cachecore_ext/"));
        __atomic_store_n(place, entry, __ATOMIC_RELAXED);
    }
    return entry & 1;
}

static int fails(int own) {
    int64_t before;
    if (control->armed != (own ? 1 : 2))
        return 0;
    before = __atomic_fetch_sub(&control->left, 1, __ATOMIC_RELAXED);
    if (before > 1 || before <= 1 - control->row)
        return 0;
    __atomic_fetch_add(&control->failed, 1, __ATOMIC_RELAXED);
    errno = ENOMEM;
    return 1;
}

static void *owned(int own, void *block) {
    if (own && block)
        __atomic_fetch_add(&control->blocks, 1, __ATOMIC_RELAXED);
    return block;
}

#define OWN ours(__builtin_return_address(0))

void *malloc(size_t size) {
    int own = OWN;
    return fails(own) ? 0 : owned(own, __libc_malloc(size));
}

void *calloc(size_t number, size_t size) {
    int own = OWN;
    return fails(own) ? 0 : owned(own, __libc_calloc(number, size));
}

void *realloc(void *block, size_t size) {
    int own = OWN;
    void *grown = fails(own) ? 0 : __libc_realloc(block, size);
    return block ? grown : owned(own, grown);
}

int posix_memalign(void **block, size_t boundary, size_t size) {
    int own = OWN;
    *block = fails(own) ? 0 : owned(own, __libc_memalign(boundary, size));
    return *block ? 0 : ENOMEM;
}

void free(void *block) {
    if (block && OWN)
        __atomic_fetch_sub(&control->blocks, 1, __ATOMIC_RELAXED);
    __libc_free(block);
}

/* The others are only our rooms' affair. */
#define OR_FAIL(...) (control->armed == 1 && OWN && fails(1) ? -1 : (__VA_ARGS__))

void *mmap64(void *address, size_t size, int protection, int flags, int file, off_t offset) {
    return (void *)OR_FAIL(syscall(SYS_mmap, address, size, protection, flags, file, offset));
}

void *mmap(void *address, size_t size, int protection, int flags, int file, off_t offset)
    __attribute__((alias("mmap64")));

int mprotect(void *address, size_t size, int protection) {
    return OR_FAIL(syscall(SYS_mprotect, address, size, protection));
}

int eventfd(unsigned initial, int flags) { return OR_FAIL(syscall(SYS_eventfd2, initial, flags)); }

int epoll_create1(int flags) { return OR_FAIL(syscall(SYS_epoll_create1, flags)); }

int epoll_ctl(int epoll, int what, int file, void *event) {
    /* Only what adds needs memory: 1 is EPOLL_CTL_ADD. */
    return what == 1 ? OR_FAIL(syscall(SYS_epoll_ctl, epoll, what, file, event))
                     : syscall(SYS_epoll_ctl, epoll, what, file, event);
}

int accept4(int file, void *address, void *size, int flags) {
    return OR_FAIL(syscall(SYS_accept4, file, address, size, flags));
}
"""

_CONTROL = struct.Struct("=5q")
_BLOCKS_AT = 32


class Failpoints:
    """What the C lines share with the test."""

    OURS: Final = 1
    PYTHON: Final = 2

    def __init__(self, folder: Path) -> None:
        self.library = folder / "failing.so"
        command = [shutil.which("cc") or "gcc", "-shared", "-fPIC", "-O1", "-x", "c", "-", "-o", str(self.library)]
        subprocess.run(command, input=_SOURCE.encode(), check=True)
        self._file = folder / "control"
        self._file.write_bytes(bytes(_CONTROL.size))
        with self._file.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), _CONTROL.size)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to have them."""
        return {"LD_PRELOAD": str(self.library), "FAILING_CONTROL": str(self._file)}

    def arm(self, number: int, row: int = 1, whose: int = OURS) -> None:
        """Let the call of this number, from 1 on, fail; ``row`` of them, one behind the other."""
        struct.pack_into("=4q", self._shared, 0, 0, number, row, 0)
        struct.pack_into("=q", self._shared, 0, whose)

    def disarm(self) -> int:
        """Let nothing fail any more. How many calls did."""
        struct.pack_into("=q", self._shared, 0, 0)
        return self.failed

    @property
    def failed(self) -> int:
        """Calls that failed since they were armed."""
        return int(struct.unpack_from("=q", self._shared, 24)[0])

    @property
    def blocks(self) -> int:
        """Blocks of memory that our rooms have."""
        return int(struct.unpack_from("=q", self._shared, _BLOCKS_AT)[0])

    def close(self) -> None:
        self._shared.close()

    def forget(self) -> None:
        """Begin anew, for a new process."""
        self._shared[:] = bytes(_CONTROL.size)


class Ended(NamedTuple):
    """How a daemon's start went wrong."""

    status: int
    said: str


class FailingDaemon:
    """A daemon with failpoints; ``address`` once it listens."""

    def __init__(self, failpoints: Failpoints, words: Sequence[str] = (), **environment: str) -> None:
        self.failpoints = failpoints
        self.address = ("127.0.0.1", free_port())
        command = [sys.executable, "-m", "cachecore", "-l", "127.0.0.1", "-p", str(self.address[1]), *words]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env={**os.environ, **failpoints.environment, **environment},
        )
        self._lines: list[str] = []

    def await_start(self) -> Ended | None:
        """Return when it listens, or how it ended instead."""
        assert self._process.stdout is not None
        while line := self._process.stdout.readline().decode(errors="replace"):
            self._lines.append(line)
            if "listening on" in line:
                return None
        return Ended(self._process.wait(PATIENCE), "".join(self._lines))

    def await_rest(self) -> None:
        """Return when the main thread, after all that it does at the start, waits for a signal."""
        place = Path(f"/proc/{self._process.pid}/syscall")
        while place.read_text().split()[0] not in _SIGTIMEDWAIT:
            os.sched_yield()

    @property
    def pid(self) -> int:
        return self._process.pid

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> Ended:
        """End it; its status, and what it said."""
        self._process.send_signal(number)
        said, _ = self._process.communicate(timeout=PATIENCE)
        return Ended(self._process.returncode, "".join(self._lines) + said.decode(errors="replace"))

    def kill(self) -> None:
        """Leave nothing of it behind, however it is."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


@contextlib.contextmanager
def failpoints() -> Iterator[Failpoints]:
    """The library and its control file, for as long as the block."""
    with tempfile.TemporaryDirectory() as folder:
        points = Failpoints(Path(folder))
        yield points
        points.close()


@contextlib.contextmanager
def running_failing(points: Failpoints, *words: str, **environment: str) -> Iterator[FailingDaemon]:
    """A daemon that has started, and ends without a fault."""
    points.forget()
    daemon = FailingDaemon(points, words, **environment)
    try:
        ended = daemon.await_start()
        assert ended is None, ended
        try:
            yield daemon
        finally:
            points.disarm()
            ended = daemon.stop()  # if it has ended before, that is of more interest than what followed
            assert ended.status == 0, ended
    finally:
        daemon.kill()
