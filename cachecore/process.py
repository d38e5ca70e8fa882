"""What concerns the whole process, and thus only the daemon: its limits, its user, its files, its signals."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from .errors import EXIT_NO_USER, StartError
from .listeners import Address
from .settings import Settings

#: The signals that end the daemon.
ENDING: Final = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGUSR1})

#: Descriptors beside those of clients: the standard streams, listeners, files, and a few for each thread.
_RESERVED: Final = 32
_RESERVED_PER_THREAD: Final = 5


def raise_descriptor_limit(settings: Settings) -> None:
    """Raise the limit of open files so that ``conn_limit`` clients fit, and a reserve where that is allowed.

    Raises:
        StartError: the system does not allow even ``conn_limit`` (exit status 71).
    """
    wanted = settings.conn_limit + _RESERVED + _RESERVED_PER_THREAD * settings.threads
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    infinity = resource.RLIM_INFINITY
    if soft == infinity or soft >= wanted:
        return
    if hard == infinity or hard >= wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))  # root may
    except (OSError, ValueError) as error:
        if hard < settings.conn_limit:
            raise StartError(
                "failed to set rlimit for open files. "
                "Try starting as root or requesting smaller maxconns value."
            ) from error
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def drop_privileges(user: str) -> None:
    """Become this user for good; without effect unless the process is root's.

    Raises:
        StartError: there is no such user (exit status 67), or the system refuses (71).
    """
    if 0 not in (os.getuid(), os.geteuid()):
        return
    import pwd

    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise StartError(f"can't find the user {user} to switch to", EXIT_NO_USER) from None
    try:
        os.initgroups(entry.pw_name, entry.pw_gid)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    except OSError as error:
        raise StartError(f"failed to assume identity of user {user}: {error.strerror}") from error


def write_pid_file(path: str) -> None:
    """Put the process id into the file at ``path``, at once or not at all. Raises OSError."""
    _write_whole(path, f"{path}.tmp", f"{os.getpid()}\n")


def write_port_file(path: str, addresses: Iterable[Address]) -> None:
    """Put the TCP ports into the file at ``path``, at once or not at all. Raises OSError."""
    ports = [address for address in addresses if not isinstance(address, str)]
    lines = [f"TCP {'INET6' if ':' in host else 'INET'}: {port}\n" for host, port in ports]
    _write_whole(path, f"{path}.lck", "".join(lines))


def _write_whole(path: str, temporary: str, text: str) -> None:
    Path(temporary).write_text(text, encoding="ascii")
    Path(temporary).rename(path)


@contextlib.contextmanager
def ending_signals() -> Iterator[None]:
    """Hold back the signals that end the daemon, for ``wait_for_end``; ignore SIGHUP and SIGPIPE for good.

    Threads that are started inside leave the ending signals to the caller's thread.
    """
    for ignored in (signal.SIGHUP, signal.SIGPIPE):
        signal.signal(ignored, signal.SIG_IGN)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        while signal.sigtimedwait(ENDING, 0) is not None:
            pass  # a second Ctrl-C while stopping
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def wait_for_end() -> signal.Signals:
    """Wait for one of the ``ENDING`` signals."""
    return signal.Signals(signal.sigwait(ENDING))
