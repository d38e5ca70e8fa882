"""A daemon in a process of its own, and what it occupies."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support.peers import free_port

ROOT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def daemon(*options: str) -> Iterator[tuple[subprocess.Popen[bytes], tuple[str, int]]]:
    """A daemon process of its own, and its address. It has to end well when it is told to."""
    port = free_port()
    command = [sys.executable, "-m", "cachecore", "-l", "127.0.0.1", "-p", str(port), *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, cwd=ROOT)
    try:
        assert process.stderr is not None
        while b"listening on" not in (line := process.stderr.readline()):
            assert line, "it ended before it listened"
        yield process, ("127.0.0.1", port)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        process.stderr.close()


def resident(pid: int) -> int:
    """Bytes of memory that a process has."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def descriptors(pid: int) -> int:
    """How many files a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
