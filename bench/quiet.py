"""Turns on a machine that several people measure on: ``BENCH_LOCK`` names a file that everybody locks."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import IO

VARIABLE = "BENCH_LOCK"
LONGEST = 120.0  # seconds after which a turn ends as soon as it can
PAUSE = 0.5  # seconds between turns: a lock that is asked for again at once is never somebody else's


class Turns:
    """The lock while the block runs; ``offer`` lets others have it in between. Nothing without BENCH_LOCK."""

    def __init__(self) -> None:
        self.path = os.environ.get(VARIABLE, "")
        self.file: IO[str] | None = None
        self.since = 0.0  # monotonic seconds: the beginning of the turn

    def __enter__(self) -> Turns:
        if self.path:
            self.file = Path(self.path).open("a")
            self.take()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None

    def take(self) -> None:
        """Wait for the lock."""
        assert self.file is not None
        fcntl.flock(self.file, fcntl.LOCK_EX)
        self.since = time.monotonic()

    def offer(self) -> None:
        """End a turn that is long, and wait for the next."""
        if self.file is not None and time.monotonic() - self.since > LONGEST:
            fcntl.flock(self.file, fcntl.LOCK_UN)
            time.sleep(PAUSE)
            self.take()
