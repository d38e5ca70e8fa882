"""The file of ``-Y``: who may use the server, a line ``user:password`` for each."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from .errors import EXIT_FAILURE, StartError

#: memcached takes the first so many lines and leaves the others aside.
USERS_MAX: Final = 8

_LINE_MAX: Final = 256


def read_users(path: str) -> list[tuple[bytes, bytes]]:
    """Names and passwords, as many as there may be; a password may have blanks and colons.

    Raises:
        StartError: the file cannot be read, or a line has no colon or more than 256 bytes (exit status 1).
    """
    try:
        with Path(path).open("rb") as file:
            text = file.read(USERS_MAX * (_LINE_MAX + len(b"\r\n")))  # of a file without an end, too
    except OSError as error:
        raise StartError(
            f"Could not open authfile [{path}] for reading, error {error.strerror}", EXIT_FAILURE
        ) from error
    lines = text.removesuffix(b"\n").split(b"\n") if text else []
    return [_read_line(path, line.removesuffix(b"\r")) for line in lines[:USERS_MAX]]


def _read_line(path: str, line: bytes) -> tuple[bytes, bytes]:
    name, colon, password = line.partition(b":")
    if not colon or len(line) > _LINE_MAX:
        raise StartError(
            f"Authfile [{path}] has a malformed entry. Should be 'user:password'", EXIT_FAILURE
        )
    return name, password
