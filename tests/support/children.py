"""Child processes that are copies of this one."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import traceback
from collections.abc import Callable, Iterator


def in_a_child(body: Callable[[], object]) -> int:
    """Fork; the child's exit status is 0, or 1 when ``body`` has failed there."""
    child = _forked(body)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@contextlib.contextmanager
def idle_child() -> Iterator[int]:
    """A child that does nothing while the block runs, and has begun to."""
    reader, writer = os.pipe()

    def idle() -> None:
        os.write(writer, b".")
        signal.pause()

    child = _forked(idle)
    try:
        os.read(reader, 1)
        os.close(reader)
        os.close(writer)
        yield child
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@contextlib.contextmanager
def silent_copy() -> Iterator[int]:
    """A child that was forked past Python, so that it keeps whatever is open here while the block runs."""
    libc = ctypes.PyDLL(None)
    child = libc.fork()
    if child == 0:
        libc.pause()
    try:
        yield child
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _forked(body: Callable[[], object]) -> int:
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        signal.alarm(20)  # rather than hang
        body()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)
