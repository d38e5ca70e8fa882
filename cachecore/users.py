"""The file of ``-Y``: who may use the server, a line ``user:password`` for each."""

from __future__ import annotations

import errno
import os
import select
import stat
import time
from typing import Final

from .errors import EXIT_FAILURE, StartError

#: memcached takes the first so many lines and leaves the others aside.
USERS_MAX: Final = 8

_LINE_MAX: Final = 256
_TEXT_MAX: Final = USERS_MAX * (_LINE_MAX + len(b"\r\n"))

#: Seconds that a pipe has to come to its end.
_PATIENCE = 5.0


def read_users(path: str) -> list[tuple[bytes, bytes]]:
    """Names and passwords, as many as there may be; a password may have blanks and colons.

    Raises:
        StartError: the file cannot be read, or a line has no colon or more than 256 bytes (exit status 1).
    """
    try:
        text = _read_beginning(path)
    except OSError as error:
        raise StartError(
            f"Could not open authfile [{path}] for reading, error {error.strerror}", EXIT_FAILURE
        ) from error
    lines = text.removesuffix(b"\n").split(b"\n") if text else []
    return [_read_line(path, line.removesuffix(b"\r")) for line in lines[:USERS_MAX]]


def _read_beginning(path: str) -> bytes:
    """As much as users can take up. A pipe, which the shell makes of ``<(...)``, is not waited for for ever.

    Raises OSError, also for a pipe without data: one that was read before is no file without users.
    """
    text = b""
    until = time.monotonic() + _PATIENCE
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        readable = select.poll()
        readable.register(fd, select.POLLIN)
        while len(text) < _TEXT_MAX:
            if not readable.poll(max(0, until - time.monotonic()) * 1000):
                raise OSError(errno.ETIMEDOUT, f"no end within {_PATIENCE} seconds")
            part = os.read(fd, _TEXT_MAX - len(text))
            if not part:
                break
            text += part
        if not text and stat.S_ISFIFO(os.fstat(fd).st_mode):
            raise OSError(errno.ENODATA, "a pipe without data")
    finally:
        os.close(fd)
    return text


def _read_line(path: str, line: bytes) -> tuple[bytes, bytes]:
    name, colon, password = line.partition(b":")
    if not colon or len(line) > _LINE_MAX:
        raise StartError(f"Authfile [{path}] has a malformed entry. Should be 'user:password'", EXIT_FAILURE)
    return name, password
