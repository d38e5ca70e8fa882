"""Waiting, without sleeping, until the other side has read what was sent to it."""

from __future__ import annotations

import array
import fcntl
import os
import socket
import struct
import termios
import time
from collections.abc import Callable

from cachecore import Server

_SOCK_DIAG = 4  # NETLINK_SOCK_DIAG
_BY_FAMILY = 20  # SOCK_DIAG_BY_FAMILY
_ERROR = 2  # NLMSG_ERROR
_NO_COOKIE = b"\xff" * 8

_netlink: socket.socket | None = None


def wait_until_read(sender: socket.socket, timeout: float, meanwhile: Callable[[], object] = lambda: None) -> None:
    """Return when the peer process has taken everything ``sender`` sent out of its own receive queue.

    ``meanwhile`` is called over and over: who awaits replies has to take them, or the peer may stop reading.
    The peer must be on this machine. Where the kernel does not tell, return at once: pieces may then
    arrive together, which is legal as well.
    """
    unread = outgoing if sender.family == socket.AF_UNIX else _unread_tcp
    deadline = time.monotonic() + timeout
    while unread(sender):
        if time.monotonic() > deadline:
            raise AssertionError(f"the server did not read within {timeout} s")
        meanwhile()
        os.sched_yield()


def wait_until_stuck(server: Server, ping: Callable[[], object]) -> None:
    """Return when ``server`` has sent its clients all that their sockets take. ``ping`` is answered by ``MN``."""
    rounds, written = 20, -1
    while server.stats()["bytes_written"] != written:
        written = int(server.stats()["bytes_written"]) + rounds * len(b"MN\r\n")
        for _ in range(rounds):
            ping()


def outgoing(sender: socket.socket) -> int:
    """Bytes in its output queue: what the peer has not read (UNIX), or what has not come to the peer's kernel (TCP)."""
    count = array.array("i", [0])
    fcntl.ioctl(sender, termios.TIOCOUTQ, count)
    return count[0]


def _unread_tcp(sender: socket.socket) -> int:
    """The receive queue of the connection's other end, as the kernel reports it (sock_diag(7))."""
    global _netlink
    if _netlink is None:
        _netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _SOCK_DIAG)
        _netlink.settimeout(5)
    try:
        near, far = sender.getsockname(), sender.getpeername()
    except OSError:
        return 0  # the peer has closed
    request = struct.pack("=BBBxI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0xFFFFFFFF)
    request += struct.pack("!HH", far[1], near[1])
    request += socket.inet_aton(far[0]).ljust(16, b"\0") + socket.inet_aton(near[0]).ljust(16, b"\0")
    request += struct.pack("=I", 0) + _NO_COOKIE
    _netlink.send(struct.pack("=IHHII", 16 + len(request), _BY_FAMILY, 1, 0, 0) + request)
    reply = _netlink.recv(4096)
    if struct.unpack_from("=H", reply, 4)[0] == _ERROR:
        return 0  # no such socket any more, or not permitted
    (queued,) = struct.unpack_from("=I", reply, 16 + 4 + 48 + 4)
    return int(queued)
