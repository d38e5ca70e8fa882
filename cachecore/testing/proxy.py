"""Between clients and a server in the same process: it passes bytes on, records commands, and does faults to them.

A command goes on when the reply to the one before has come. Where a reply ends is found out without knowing the
commands: ``mn`` is sent behind each, whose answer ``MN`` no other command has. What the proxy does not understand it
passes on as it is, until that connection ends.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Iterator
from typing import Final

from .commands import Command, Commands, parse_line, words_of
from .faults import Fault, Faults

_CHUNK: Final = 65_536
_LOOK: Final = 0.01  # seconds between two looks whether a fault is over
_LINE_MAX: Final = 1 << 20  # of the longest line that a server takes
_BARRIER: Final = b"mn\r\n"
_BARRIER_REPLY: Final = b"MN\r\n"

#: After these the connection speaks another language, or ends.
_LAST_COMMANDS: Final = frozenset({"watch", "quit", "shutdown"})


class _EndedError(Exception):
    """The other side has closed."""


class Proxy:
    """Listens on a free port of 127.0.0.1, which stays its own while it refuses connections, and serves from threads.

    ``faults`` has to be set before ``accept``.
    """

    faults: Faults

    def __init__(self, upstream: tuple[str, int], commands: Commands, *, authenticating: bool, value_max: int) -> None:
        self.upstream: Final = upstream
        self.commands = commands
        #: Whether the server wants to know who it is first.
        self.authenticating = authenticating
        #: The server may refuse a longer value as soon as it has read the length: bytes.
        self.value_max: Final = value_max
        self._holder = _bound(("127.0.0.1", 0))  # never listens, and keeps the port from everybody else
        self.address: Final[tuple[str, int]] = self._holder.getsockname()
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self._lock = threading.Lock()  # guards the two fields below
        self._links: dict[_Link, threading.Thread] = {}
        self._count = 0

    def accept(self) -> None:
        """Listen, until ``refuse``."""
        listener = self._listener = _bound(self.address)
        listener.listen(1024)
        self._acceptor = threading.Thread(target=self._serve, args=(listener,), name="cachecore-proxy", daemon=True)
        self._acceptor.start()

    def refuse(self) -> None:
        """Listen no more; connections that there are stay."""
        if self._listener is not None and self._acceptor is not None:
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes up who accepts
            self._acceptor.join()
            self._listener.close()
            self._listener = self._acceptor = None

    def cut(self) -> None:
        """End all connections, and wait until they have."""
        with self._lock:
            links = list(self._links.items())
        for link, _ in links:
            link.cut()
        for _, thread in links:
            thread.join()

    def close(self) -> None:
        """End everything."""
        self.refuse()
        self.cut()
        self._holder.close()

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:  # shut down
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._count += 1
                link = _Link(self, client, self._count)
                thread = threading.Thread(target=self._run, args=(link,), name="cachecore-link", daemon=True)
                self._links[link] = thread
                thread.start()

    def _run(self, link: _Link) -> None:
        try:
            link.run()
        finally:
            with self._lock:
                del self._links[link]


class _Stream:
    """One side of a link, read with a buffer."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket: Final = connection
        self._buffer = bytearray()

    def line(self) -> bytes:
        """The next line with its end; without one if it is longer than any may be. Raises _EndedError, OSError."""
        seen = 0
        while (end := self._buffer.find(b"\n", seen)) < 0:
            seen = len(self._buffer)
            if seen > _LINE_MAX:
                return self.rest()
            self.receive()
        return self._take(end + 1)

    def exactly(self, size: int) -> bytes:
        """So many bytes. Raises _EndedError, OSError."""
        while len(self._buffer) < size:
            self.receive()
        return self._take(size)

    def at_most(self, size: int) -> bytes:
        """What is in the buffer, up to so many bytes."""
        return self._take(min(size, len(self._buffer)))

    def rest(self) -> bytes:
        """What is in the buffer."""
        return self._take(len(self._buffer))

    @property
    def empty(self) -> bool:
        """Whether nothing is in the buffer."""
        return not self._buffer

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def receive(self) -> None:
        """Wait for something, into the buffer. Raises _EndedError, OSError."""
        received = self.socket.recv(_CHUNK)
        if not received:
            raise _EndedError
        self._buffer += received


class _Link:
    """A client's connection and the server's that belongs to it."""

    def __init__(self, proxy: Proxy, client: socket.socket, number: int) -> None:
        self._proxy = proxy
        self._number = number
        self._client = _Stream(client)
        self._server = _Stream(socket.socket())  # not connected yet
        self._known = not proxy.authenticating  # the server knows who it is
        self._cut = threading.Event()

    def cut(self) -> None:
        """Let ``run`` end soon; from any thread."""
        self._cut.set()
        for side in (self._client, self._server):
            with contextlib.suppress(OSError):
                side.socket.shutdown(socket.SHUT_RDWR)

    def run(self) -> None:
        """Serve the client until either side ends."""
        with self._client.socket, self._server.socket as server, contextlib.suppress(_EndedError, OSError):
            server.connect(self._proxy.upstream)
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while not self._cut.is_set() and self._turn():
                pass

    def _turn(self) -> bool:
        """One command and its reply. False: the connection is to end. Raises _EndedError, OSError."""
        if self._client.empty:
            self._await_client()
        line = self._client.line()
        command = parse_line(line.rstrip(b"\r\n"), self._number) if line.endswith(b"\n") and line[0] < 0x80 else None
        if command is None:
            return self._relay(line)
        size = 0 if command.size is None else command.size + 2
        doubtful = size > self._proxy.value_max + 2
        raw = line if doubtful else line + self._client.exactly(size)
        self._proxy.commands.record(command)
        fault = self._proxy.faults.strike(command)
        if fault is not None:
            return self._suffer(fault, command, raw + self._client.exactly(size) if doubtful else raw)
        if command.name in _LAST_COMMANDS or (doubtful and not self._known):
            return self._relay(raw)
        if doubtful:
            self._pass_doubtful(raw, size)
            raw = b""
        self._pass_on(command, raw)
        return True

    def _pass_doubtful(self, line: bytes, size: int) -> None:
        """Send a command and its ``size`` bytes, and pass on what the server says before it has all of them.

        A client may hear so that they are refused, and wait for that. Raises _EndedError, OSError.
        """
        client, server = self._client, self._server
        server.socket.sendall(line)
        while size > 0:
            if client.empty:
                self._await_client()
                try:
                    client.receive()
                except _EndedError:  # it has said all, and may still hear answers
                    self._relay(b"")
                    raise
            part = client.at_most(size)
            server.socket.sendall(part)
            size -= len(part)

    def _await_client(self) -> None:
        """Wait for the client to say something. Raises _EndedError if the server closes meanwhile: it was idle."""
        server = self._server.socket
        poll = select.poll()
        poll.register(self._client.socket, select.POLLIN)
        poll.register(server, select.POLLIN)
        while server.fileno() in (ready := {fd for fd, _ in poll.poll()}):
            said = server.recv(_CHUNK)
            if not said:
                raise _EndedError
            self._client.socket.sendall(said)
            if self._client.socket.fileno() in ready:
                break

    def _pass_on(self, command: Command, raw: bytes) -> None:
        pending = bytearray()
        try:
            for part in self._replies(raw, command.name == "mn"):
                pending += part
                if len(pending) >= _CHUNK:
                    self._client.socket.sendall(pending)
                    pending.clear()
        finally:
            self._client.socket.sendall(pending)

    def _suffer(self, fault: Fault, command: Command, raw: bytes) -> bool:
        def exchange(request: bytes) -> bytes:
            return b"".join(self._replies(request, words_of(request.rstrip(b"\r\n"))[:1] == [b"mn"]))

        outcome = fault.outcome(command, raw, exchange)
        if outcome.late:
            self._wait(fault, outcome.late)
        self._client.socket.sendall(outcome.reply)
        if outcome.then == "hang":
            self._hang(fault)
        return outcome.then == "go on"

    def _wait(self, fault: Fault, seconds: float) -> None:
        """Hold back, until the time is up, the fault over or the connection cut."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not fault.over.is_set():
            if self._cut.wait(min(left, _LOOK)):
                return

    def _hang(self, fault: Fault) -> None:
        """Read on, without a word, until the client gives up or the fault is over."""
        poll = select.poll()
        poll.register(self._client.socket, select.POLLIN)
        while not (fault.over.is_set() or self._cut.is_set()):
            if poll.poll(_LOOK * 1000) and not self._client.socket.recv(_CHUNK):
                return

    def _replies(self, raw: bytes, is_barrier: bool) -> Iterator[bytes]:
        """What the server answers to a command: lines and values. Raises _EndedError, OSError."""
        if not self._known:  # every answer is one line, and the barrier would cost the connection
            self._server.socket.sendall(raw)
            reply = self._server.line()
            self._known = reply == b"STORED\r\n"
            yield reply
            return
        self._server.socket.sendall(raw + _BARRIER)
        if is_barrier:
            yield self._server.line()
        while (line := self._server.line()) != _BARRIER_REPLY:
            yield line
            if (size := _value_size(line)) is not None:
                yield self._server.exactly(size + 2)

    def _relay(self, raw: bytes) -> bool:
        """Pass everything on as it is, until the server ends."""
        client, server = self._client.socket, self._server.socket
        server.sendall(raw + self._client.rest())
        to = {client.fileno(): (client, server), server.fileno(): (server, client)}
        poll = select.poll()
        for fd in to:
            poll.register(fd, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                source, sink = to[fd]
                received = source.recv(_CHUNK)
                if received:
                    sink.sendall(received)
                elif source is server or self._cut.is_set():
                    return False
                else:  # the client has said all, and may still hear answers
                    server.shutdown(socket.SHUT_WR)
                    poll.unregister(fd)


def _value_size(line: bytes) -> int | None:
    """The size of the value that follows this line of a reply; None where none does."""
    words = words_of(line.rstrip(b"\r\n"))
    at = {b"VALUE": 3, b"VA": 1}.get(words[0]) if words else None
    if at is None or len(words) <= at or not words[at].isdigit():
        return None
    return int(words[at])


def _bound(address: tuple[str, int]) -> socket.socket:
    """A socket at an address that it shares with others of ours."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound
