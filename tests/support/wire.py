"""A raw client: it sends bytes, cut where the test says, and reads bytes; its marker is all it knows."""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import time
from collections.abc import Sequence

from tests.support.sockets import wait_until_read

Address = tuple[str, int] | str

#: Stands in a transcript where the server closed the connection.
CLOSED = b"<closed>"

_serial = itertools.count(1)


class WireTimeoutError(AssertionError):
    """The server did not say within the time limit what the test waits for."""


def cut(data: bytes, offsets: Sequence[int]) -> list[bytes]:
    """``data`` in pieces that end at the given offsets; offsets outside of it are left out."""
    edges = [0, *sorted({offset for offset in offsets if 0 < offset < len(data)}), len(data)]
    return [data[begin:end] for begin, end in itertools.pairwise(edges)]


def marker() -> tuple[bytes, bytes]:
    """A request that no test sends otherwise, and its reply."""
    opaque = b"Omark%08d" % next(_serial)
    return b"md \x01mark\x01 %s\r\n" % opaque, b"NF %s\r\n" % opaque


class Client:
    """One connection. Every wait ends after ``timeout`` seconds with :class:`WireTimeoutError`."""

    def __init__(self, address: Address, timeout: float = 10.0) -> None:
        self.timeout = timeout
        self.received = bytearray()  # read from the socket, not yet handed out
        self.closed = False  # the server closed the connection
        self.reset = False  # it did so with some of what was sent unread: replies on their way here are lost
        if isinstance(address, str):
            self.socket = socket.socket(socket.AF_UNIX)
        else:
            self.socket = socket.socket(socket.AF_INET)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(timeout)
        try:
            self.socket.connect(address)
        except OSError:
            self.socket.close()
            raise
        self.socket.setblocking(False)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send(self, data: bytes, cuts: Sequence[int] | None = None) -> None:
        """Send ``data``, reading replies meanwhile so that neither side blocks the other.

        With ``cuts`` every piece is a segment of its own: the next one follows when the server has read it.
        """
        if cuts is None:
            self._push(data)
            return
        for piece in cut(data, cuts):
            self._push(piece)
            if not self.closed:
                wait_until_read(self.socket, self.timeout, self._drain)

    def send_pieces(self, data: bytes, cuts: Sequence[int]) -> None:
        """Send ``data`` in pieces without waiting between them; some may arrive together."""
        for piece in cut(data, cuts):
            self._push(piece)

    def end(self) -> None:
        """Close the sending side: the server sees the end of the stream."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def read_exact(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        deadline = time.monotonic() + self.timeout
        while len(self.received) < count:
            self._pull(deadline, f"{count} bytes")
        return self._take(count)

    def read_until(self, ending: bytes) -> bytes:
        """Everything up to and including ``ending``, or up to :data:`CLOSED` when the server closes first."""
        deadline = time.monotonic() + self.timeout
        searched = 0
        while (at := self.received.find(ending, max(0, searched - len(ending)))) < 0:
            searched = len(self.received)
            if self.closed:
                return self._take(searched) + CLOSED
            self._pull(deadline, repr(ending))
        return self._take(at + len(ending))

    def read_to_close(self) -> bytes:
        """Everything until the server closes the connection."""
        deadline = time.monotonic() + self.timeout
        while not self.closed:
            self._pull(deadline, "the connection to close")
        return self._take(len(self.received))

    def ask(self, request: bytes, ending: bytes = b"END\r\n") -> bytes:
        """Send ``request`` and read up to the known end of its reply."""
        self.send(request)
        return self.read_until(ending)

    def transcript(self, request: bytes, cuts: Sequence[int] | None = None, settled: bool = True) -> bytes:
        """Every byte that ``request`` is answered with, :data:`CLOSED` at its end if the server closed.

        A marker follows in the same segment; its reply says that all of the request has been answered.
        """
        question, answer = marker()
        if cuts is None or settled:
            self.send(request + question, cuts)
        else:
            self.send_pieces(request + question, cuts)
        return self.read_until(answer).removesuffix(answer)

    def transcript_to_close(self, request: bytes, cuts: Sequence[int] | None = None, end: bool = False) -> bytes:
        """Every byte until the server closes; no marker is sent. ``end`` closes the sending side first."""
        self.send(request, cuts)
        if end:
            self.end()
        return self.read_to_close() + CLOSED

    def _take(self, count: int) -> bytes:
        taken = bytes(self.received[:count])
        del self.received[:count]
        return taken

    def _push(self, data: bytes) -> None:
        deadline = time.monotonic() + self.timeout
        view = memoryview(data)
        while view and not self.closed:
            try:
                view = view[self.socket.send(view) :]
            except BlockingIOError:
                self._pull(deadline, "the server to read", writing=True)
            except (BrokenPipeError, ConnectionResetError):
                self._drain()
                self.closed = self.reset = True

    def _pull(self, deadline: float, awaited: str, writing: bool = False) -> None:
        if self.closed:
            raise WireTimeoutError(f"closed, waited for {awaited}; so far: {bytes(self.received[-2000:])!r}")
        readable, writable, _ = select.select(
            [self.socket], [self.socket] if writing else [], [], max(0.0, deadline - time.monotonic())
        )
        if readable:
            self._drain()
        elif not writable:
            raise WireTimeoutError(
                f"no reply within {self.timeout} s, waited for {awaited}; so far: {bytes(self.received[-2000:])!r}"
            )

    def _drain(self) -> None:
        """Take what has arrived."""
        while True:
            try:
                data = self.socket.recv(1 << 18)
            except BlockingIOError:
                return
            except (ConnectionResetError, BrokenPipeError):
                self.closed = self.reset = True
                return
            if not data:
                self.closed = True
                return
            self.received += data
