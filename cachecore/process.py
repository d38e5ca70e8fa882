"""What concerns the whole process, and thus only the daemon: its limits, its user, its files, its signals."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Final

from .errors import EXIT_FAILURE, EXIT_NO_USER, NO_MEMORY, StartError
from .listeners import Address
from .settings import Settings

#: The signals that end the daemon.
ENDING: Final = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGUSR1})

#: All that the daemon waits for; the other one has it read its files again.
AWAITED: Final = ENDING | {signal.SIGHUP}

_BY_NUMBER: Final = {int(number): number for number in AWAITED}

# Of Linux: every page is locked when it is used, those of now and those to come.
_MCL_CURRENT: Final = 1
_MCL_FUTURE: Final = 2
_MCL_ONFAULT: Final = 4

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
                f"Try starting as root or requesting smaller maxconns value. (-c {settings.conn_limit}, limit {hard})"
            ) from error
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def raise_core_limit() -> None:
    """Raise the limit of core files as far as it goes (-r).

    Raises:
        StartError: there would be no core file (exit status 71).
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    infinity = resource.RLIM_INFINITY
    for wanted in ((infinity, infinity), (hard, hard)):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_CORE, wanted)
            break
    if resource.getrlimit(resource.RLIMIT_CORE)[0] == 0:
        raise StartError("failed to ensure corefile creation")


def return_freed_memory() -> None:
    """Give back to the system what connections needed and do no longer."""
    with contextlib.suppress(ImportError):  # the server tells why
        import_module("cachecore_ext.engine").return_freed_memory()


def allow_locked_memory() -> None:
    """Let ``lock_memory`` succeed also after ``drop_privileges``, if this is root."""
    with contextlib.suppress(ImportError):
        import_module("ctypes")  # while Python's files can be read
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def lock_memory() -> None:
    """Keep memory that is used, now or later, from being paged out (-k). Raises OSError."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


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
    """A link that somebody else put there is replaced, not followed; only the owner may write the file."""
    Path(temporary).unlink(missing_ok=True)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    with os.fdopen(fd, "wb") as file:  # in text it may have to find a codec, after -u
        file.write(text.encode())
    Path(temporary).rename(path)


def start_daemon(*, keep_directory: bool, keep_output: bool) -> Callable[[], None]:
    """Go on in a child of this process, in a session of its own and, unless told otherwise, in the root directory.

    This process waits, and ends with status 0 when the child calls what is returned: the daemon serves. From then
    on the child's standard streams lead nowhere, unless told otherwise. A child that ends before passes its exit
    status on. To be called before there are threads.

    Raises:
        SystemExit: in the process that waited.
        StartError: the system has no room for another process (exit status 71).
    """
    reader, writer = os.pipe()
    try:
        child = os.fork()
    except OSError as error:
        raise StartError(f"failed to daemon() in order to daemonize: {error.strerror}") from error
    if child:
        os.close(writer)
        raise SystemExit(_wait_for_daemon(child, reader))
    os.close(reader)
    os.setsid()
    if not keep_directory:
        os.chdir("/")
    return partial(_leave_parent, writer, keep_output)


def _wait_for_daemon(child: int, reader: int) -> int:
    """The exit status of the process that started the daemon; a signal ends the waiting, not the daemon."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, AWAITED)
    with open(reader, "rb") as report:
        if report.read():
            return 0
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status if status >= 0 else EXIT_FAILURE


def _leave_parent(writer: int, keep_output: bool) -> None:
    if not keep_output:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        os.close(nowhere)
    with contextlib.suppress(BrokenPipeError), open(writer, "wb") as report:
        report.write(b"serving")


@contextlib.contextmanager
def awaited_signals() -> Iterator[None]:
    """Hold back the ``AWAITED`` signals, for ``wait_for_signal``; ignore SIGPIPE for good.

    Threads that are started inside leave these signals to the caller's thread.
    """
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, AWAITED)
    try:
        yield
    finally:
        while signal.sigtimedwait(AWAITED, 0) is not None:
            pass  # a second Ctrl-C while stopping
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def wait_for_signal() -> signal.Signals:
    """Wait for one of the ``AWAITED`` signals. Without the memory to say which it was, it has not come."""
    while True:
        try:
            return _BY_NUMBER[signal.sigwaitinfo(AWAITED).si_signo]
        except NO_MEMORY:
            continue


def end(graceful: bool) -> None:
    """Let ``wait_for_signal``, in the main thread, return as if a signal had come from outside."""
    # Not to the process: a thread of some library's may not hold the signal back.
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1 if graceful else signal.SIGINT)
