"""What the load generators have in common beside their loops: connections, and what went wrong with them."""

from __future__ import annotations

import os
import socket

#: What a run's outcome means, where it means the same to all of them.
CLOSED = "the server closed a connection"
SYSTEM_CALL = "a system call failed"


def open_stream(address: tuple[str, int] | str) -> socket.socket:
    """A connected, non-blocking stream socket."""
    if isinstance(address, tuple):
        client = socket.create_connection(address, timeout=10)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    else:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            client.connect(os.fspath(address))
        except OSError:
            client.close()
            raise
    client.setblocking(False)
    return client


def close_all(clients: list[socket.socket], epoll: int) -> int:
    """Close connections, and the epoll unless that is done; -1, the epoll's number from then on."""
    for client in clients:
        client.close()
    clients.clear()
    if epoll >= 0:
        os.close(epoll)
    return -1


def explain(message: str, error: int, sample: bytes, good: int) -> str:
    """One line for a run that failed: by a system call's error number, or on a reply of which ``sample`` is a part."""
    if message == SYSTEM_CALL:
        message += f": {os.strerror(error)}"
    elif sample:
        message += f": {sample!r}"
    return f"{message} (after {good} good replies)"
