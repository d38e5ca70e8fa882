"""What a server leaves behind: nothing, whether it was stopped or failed to start."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cachecore import Server, StartError


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def own_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("cachecore-")}


@contextlib.contextmanager
def nothing_left() -> Iterator[None]:
    """Other servers of the session may live; their connections may go meanwhile, but none comes."""
    threads, before = own_threads(), descriptors()
    yield
    assert own_threads() <= threads
    assert descriptors() <= before


def refused(**options: object) -> StartError:
    """What a server's start fails with, leaving nothing behind."""
    server = Server(**options)
    try:
        with nothing_left(), pytest.raises(StartError) as caught:
            server.start()
    finally:
        server.stop()
    return caught.value
