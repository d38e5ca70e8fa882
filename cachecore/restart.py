"""Warm restart (``-e``): the file that the items lie in, and the one beside it that tells how to go on with them.

The file ``<path>.meta`` is written when a server ends gracefully, and removed when the next one begins: whoever finds
it finds items that were left in order. A server that ended in any other way leaves none, and the next one starts
empty.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .errors import StartError

if TYPE_CHECKING:
    from cachecore_ext.engine import Engine

#: The meta file: this line, the unix time of the end in 8 bytes, the engine's state, and a digest of all that.
_MAGIC: Final = b"cachecore memory 1\n"
_TIME_SIZE: Final = 8
_DIGEST_SIZE: Final = 32

_NOTHING_SAVED: Final = "[restart] no metadata save file, starting with a clean cache"


class _UnusableError(Exception):
    """A meta file that cannot be used; the text says why, after its name."""


class MemoryFile:
    """The open file of a server's items, which no other server can open meanwhile."""

    def __init__(self, path: str) -> None:
        """Open or create it, for its owner alone.

        Raises:
            StartError: it cannot be opened, or is another server's (exit status 71).
        """
        self.path: Final = path
        #: What became of the items, as a line for the user; empty before ``start_engine``.
        self.report = ""
        self._meta = Path(f"{path}.meta")
        self._fd = _open_own(path)

    def start_engine(self, create: Callable[..., Engine]) -> Engine:
        """An engine with the items that were left here, or an empty one. ``create`` is given what Engine is to know.

        Raises:
            StartError: the meta file cannot be removed (exit status 71).
            MemoryError, OSError, ValueError: from ``create``; OSError also when there is no space for the file.
        """
        from cachecore_ext.restart import StateError

        try:
            engine = self._go_on(create, self._take_meta())
        except FileNotFoundError:
            self.report = _NOTHING_SAVED
        except _UnusableError as error:
            self.report = f"[restart] {self._meta} {error}, starting with a clean cache"
        except StateError as error:
            self.report = f"[restart] {self.path} {error}, starting with a clean cache"
        else:
            self.report = f"[restart] going on with {engine.counters()['curr_items']} items of {self.path}"
            return engine
        return create(memory_fd=self._fd)

    def _go_on(self, create: Callable[..., Engine], content: bytes) -> Engine:
        """An engine with the items that the meta file tells of; see start_engine for what it raises."""
        ended, state = _read_meta(content)
        try:
            return create(memory_fd=self._fd, memory_state=state, memory_downtime=max(0, int(time.time()) - ended))
        except (MemoryError, OSError):
            self._write_meta(content)  # the items are as they were: taking them up is an engine's last step
            raise

    def save(self, engine: Engine) -> None:
        """Close ``engine``, whose threads have ended, so that the next one can go on. Raises OSError."""
        content = _MAGIC + int(time.time()).to_bytes(_TIME_SIZE, "little") + engine.save()
        self._write_meta(content + _digest(content))

    def _write_meta(self, content: bytes) -> None:
        """Put it on the disk, at once or not at all. Raises OSError."""
        temporary = Path(f"{self._meta}.tmp")
        temporary.unlink(missing_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(fd)
        temporary.rename(self._meta)
        self._sync_directory()

    def close(self) -> None:
        """Let others have the file."""
        fcntl.flock(self._fd, fcntl.LOCK_UN)  # a child process has it open, too
        os.close(self._fd)

    def leave_to_the_parent(self) -> None:
        """In a child process: it stays the parent's."""
        os.close(self._fd)

    def _take_meta(self) -> bytes:
        """Read the meta file and remove it, for good: the items change from here on. FileNotFoundError without one."""
        try:
            content = _read_own(self._meta)
            self._meta.unlink()
            self._sync_directory()  # after a power failure there must not be an old one
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StartError(f"failed to read and remove {self._meta}: {error.strerror}") from error
        if content is None:
            raise _UnusableError("is another user's, or no regular file")
        return content

    def _sync_directory(self) -> None:
        fd = os.open(self._meta.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_SIZE).digest()


def _read_meta(content: bytes) -> tuple[int, bytes]:
    """When the engine ended, and its state. Raises _UnusableError."""
    if not content.startswith(_MAGIC):
        raise _UnusableError("is damaged, or of another version of cachecore")
    content, digest = content[:-_DIGEST_SIZE], content[-_DIGEST_SIZE:]
    if _digest(content) != digest:
        raise _UnusableError("is damaged")
    body = content[len(_MAGIC) :]
    return int.from_bytes(body[:_TIME_SIZE], "little"), body[_TIME_SIZE:]


def _is_own(fd: int) -> bool:
    """Whether it is a regular file that no other user, but root, can have filled."""
    status = os.fstat(fd)
    return stat.S_ISREG(status.st_mode) and status.st_uid in (os.geteuid(), 0)


def _read_own(path: Path) -> bytes | None:
    """The content of a file, None unless it is one of our own. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not _is_own(fd):
        os.close(fd)
        return None
    with os.fdopen(fd, "rb") as file:
        return file.read()


def _open_own(path: str) -> int:
    """Open or create the file of the items, and lock it. Raises StartError."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    except OSError as error:
        raise StartError(f"failed to open file for mmap: {path}: {error.strerror}") from error
    try:
        if not _is_own(fd):
            raise StartError(f"failed to open file for mmap: {path}: another user's, or no regular file")
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_uid == os.geteuid():
            os.fchmod(fd, 0o600)
    except BlockingIOError:
        os.close(fd)
        raise StartError(f"failed to open file for mmap: {path}: in use by another server") from None
    except OSError as error:
        os.close(fd)
        raise StartError(f"failed to open file for mmap: {path}: {error.strerror}") from error
    except StartError:
        os.close(fd)
        raise
    return fd
