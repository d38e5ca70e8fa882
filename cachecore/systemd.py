"""What a service manager such as systemd offers a daemon: sockets that are open already, and an ear for its state."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from typing import Final, NamedTuple

from .errors import StartError

#: The first descriptor that is handed over; the others follow.
_FIRST_FD: Final = 3

_FAMILIES: Final = frozenset({socket.AF_INET, socket.AF_INET6, socket.AF_UNIX})

#: Seconds after which a manager that does not listen is left alone.
_PATIENCE: Final = 5


class Inherited(NamedTuple):
    """A listening socket that came with the process; whoever takes it closes it."""

    name: str  # as the manager calls it
    socket: socket.socket


def inherited_sockets() -> list[Inherited]:
    """The sockets of LISTEN_FDS, if it is this process that they are for; asked again, none.

    Raises:
        StartError: one of them is no listening stream socket; all of them are closed (exit status 71).
    """
    pid, count, names = (os.environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    given = names.split(":") if names else []
    found: list[Inherited] = []
    try:
        for index in range(int(count)):
            name = given[index] if index < len(given) else "unknown"
            found.append(Inherited(name, _listening(_FIRST_FD + index, name)))
    except OSError as error:
        for _, sock in found:
            sock.close()
        raise StartError(f"cannot listen on a socket of LISTEN_FDS: {error.strerror}") from error
    return found


def _listening(fd: int, name: str) -> socket.socket:
    """The socket at ``fd``, which a child process would not inherit any more. Raises OSError."""
    sock = socket.socket(fileno=fd)
    try:
        listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        if not listens or sock.type != socket.SOCK_STREAM or sock.family not in _FAMILIES:
            raise OSError(0, f"{name} (descriptor {fd}) is no listening stream socket")
        sock.set_inheritable(False)
    except BaseException:
        sock.close()
        raise
    return sock


def notify(*lines: str) -> None:
    """Tell the manager, if NOTIFY_SOCKET names one; whether it hears is its own affair."""
    place = os.environ.get("NOTIFY_SOCKET", "")
    if not place.startswith(("/", "@")):
        return
    address = "\0" + place[1:] if place.startswith("@") else place
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as teller:
        teller.settimeout(_PATIENCE)
        teller.connect(address)
        teller.send("\n".join(lines).encode())


def notify_ready() -> None:
    """The daemon serves (again)."""
    notify("READY=1", f"MAINPID={os.getpid()}")


def notify_reloading() -> None:
    """The daemon reads its files again; ``notify_ready`` ends this."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def notify_stopping() -> None:
    """The daemon is about to end."""
    notify("STOPPING=1")
