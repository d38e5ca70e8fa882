"""What can go wrong between a client and its memcached, on demand.

Each fault is a context manager and in force inside its block. Where several fit a command, the one that was begun last
is done.
"""

from __future__ import annotations

import contextlib
import functools
import re
import threading
import warnings
from collections.abc import Callable, Collection, Iterator
from types import TracebackType
from typing import Final, NamedTuple, ParamSpec, Protocol, TypeVar

from .commands import STORAGE, Command, checked, words_of

P = ParamSpec("P")
T = TypeVar("T")

#: A key, several, or a pattern that is looked for in it.
Keys = bytes | str | Collection[bytes | str] | re.Pattern[bytes] | re.Pattern[str]

#: Sends bytes to the server in the client's stead; what it answers.
Exchange = Callable[[bytes], bytes]

_FULL: Final = b"SERVER_ERROR out of memory storing object\r\n"


class Outcome(NamedTuple):
    """What the client gets."""

    reply: bytes
    then: str = "go on"  # or "close" the connection, or "hang": say nothing any more
    late: float = 0.0  # seconds by which the reply is held back, at most until the fault is over


#: What a fault does to a command, whose bytes are the second argument.
_Deed = Callable[[Command, bytes, Exchange], Outcome]


class Fault:
    """A fault in force. ``hits`` counts how many commands it has struck.

    Raises:
        ValueError: a command is unknown, or ``times`` below 0.
        TypeError: ``keys`` or ``commands`` are none.
    """

    def __init__(
        self,
        do: _Deed,
        commands: str | Collection[str] | None,
        keys: Keys | None,
        times: int | None,
    ) -> None:
        _not_negative(times=times or 0)
        self.hits = 0
        #: Set when the block has ended.
        self.over: Final = threading.Event()
        self._do: Final = do
        several = [commands] if isinstance(commands, str) else commands
        if several is not None and not isinstance(several, Collection):
            raise TypeError(f"commands are a command's name or several, not {commands!r}")
        self._commands: Final = None if several is None else checked(several)
        self._fits_key: Final = _matcher(keys)
        self._times: Final = times
        #: What it is for, as it was asked for.
        self.aim: Final = ", ".join(
            f"{name}={value!r}" for name, value in (("commands", commands), ("keys", keys)) if value is not None
        )

    def fits(self, command: Command) -> bool:
        """Whether it is for this command, and has not struck often enough."""
        if self._times is not None and self.hits >= self._times:
            return False
        if self._commands is not None and command.name not in self._commands:
            return False
        return self._fits_key is None or any(map(self._fits_key, command.keys))

    def outcome(self, command: Command, raw: bytes, exchange: Exchange) -> Outcome:
        """Do it to a command, whose bytes are ``raw``."""
        return self._do(command, raw, exchange)


class Block(contextlib.AbstractContextManager[T]):
    """Something that goes wrong inside a ``with``. Without one it would do nothing, which a RuntimeWarning tells, like
    that of a coroutine that was never awaited: pytest shows it, and not a ResourceWarning."""

    def __init__(self, name: str, inner: contextlib.AbstractContextManager[T]) -> None:
        self._name: Final = name
        self._inner: Final = inner
        self._entered = False

    def __enter__(self) -> T:
        self._entered = True
        return self._inner.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return self._inner.__exit__(kind, error, traceback)

    def __del__(self) -> None:
        if not self._entered:
            text = f"the fault {self._name} was never in force: write `with faults.{self._name}(...):`"
            warnings.warn(text, RuntimeWarning, stacklevel=2, source=self)


def _block(begin: Callable[P, Iterator[T]]) -> Callable[P, contextlib.AbstractContextManager[T]]:
    """``contextlib.contextmanager``, but a Block."""
    make = contextlib.contextmanager(begin)

    @functools.wraps(begin)
    def block(*args: P.args, **kwargs: P.kwargs) -> Block[T]:
        return Block(begin.__name__, make(*args, **kwargs))

    return block


class Wire(Protocol):
    """What stands between client and server, and can be cut."""

    def cut(self) -> None:
        """End all connections; when it returns, they have."""

    def refuse(self) -> None:
        """Let nobody connect until ``accept``."""

    def accept(self) -> None:
        """Let clients connect again, at the same address."""


class Faults:
    """The faults of one server."""

    def __init__(self, wire: Wire, empty: Callable[[], None]) -> None:
        self._wire = wire
        self._empty = empty
        self._lock = threading.Lock()  # guards the fields below, and the hits of each fault
        self._active: list[Fault] = []
        self._refusals = 0

    # ---- connections

    @_block
    def refuse(self, *, drop: bool = True) -> Iterator[None]:
        """Connections are refused; those that there are end, unless ``drop`` is false. The items stay."""
        with self._lock:
            self._refusals += 1
            if self._refusals == 1:
                self._wire.refuse()
        try:
            if drop:
                self._wire.cut()
            yield
        finally:
            with self._lock:
                self._refusals -= 1
                if self._refusals == 0:
                    self._wire.accept()

    @_block
    def restart(self) -> Iterator[None]:
        """The server is down inside the block, and empty after it."""
        with self.refuse():
            self._empty()
            yield

    def drop_connections(self) -> None:
        """End all connections, at once; clients may connect again."""
        self._wire.cut()

    # ---- replies: with ``must_hit`` the block ends with AssertionError if no command was struck

    def drop(
        self,
        *,
        after: int | None = None,
        commands: str | Collection[str] | None = None,
        keys: Keys | None = None,
        times: int | None = None,
        must_hit: bool = False,
    ) -> contextlib.AbstractContextManager[Fault]:
        """The connection ends in the middle of the reply: behind ``after`` bytes, or half. The command is done."""
        _not_negative(after=after or 0)

        def do(command: Command, raw: bytes, exchange: Exchange) -> Outcome:
            reply = exchange(raw)
            return Outcome(reply[: len(reply) // 2 if after is None else after], "close")

        return self._force("drop", Fault(do, commands, keys, times), must_hit)

    def truncate(
        self,
        after: int,
        *,
        commands: str | Collection[str] | None = None,
        keys: Keys | None = None,
        times: int | None = None,
        must_hit: bool = False,
    ) -> contextlib.AbstractContextManager[Fault]:
        """Of a reply longer than ``after`` bytes the rest never comes, but the connection stays, for as long as the
        block lasts. The command is done."""
        _not_negative(after=after)

        def do(command: Command, raw: bytes, exchange: Exchange) -> Outcome:
            reply = exchange(raw)
            return Outcome(reply[:after], "hang" if len(reply) > after else "go on")

        return self._force("truncate", Fault(do, commands, keys, times), must_hit)

    def delay(
        self,
        seconds: float,
        *,
        commands: str | Collection[str] | None = None,
        keys: Keys | None = None,
        times: int | None = None,
        must_hit: bool = False,
    ) -> contextlib.AbstractContextManager[Fault]:
        """Replies come so many seconds late, real ones, or when the block ends. The command is done at once."""
        _not_negative(seconds=seconds)

        def do(command: Command, raw: bytes, exchange: Exchange) -> Outcome:
            return Outcome(exchange(raw), late=seconds)

        return self._force("delay", Fault(do, commands, keys, times), must_hit)

    def server_error(
        self,
        message: str = "injected by the test",
        *,
        commands: str | Collection[str] | None = None,
        keys: Keys | None = None,
        times: int | None = None,
        must_hit: bool = False,
    ) -> contextlib.AbstractContextManager[Fault]:
        """The answer is SERVER_ERROR with this message, and the command is not done. To noreply there is no answer.

        Raises:
            ValueError: the message is more than a line.
        """
        if "\r" in message or "\n" in message:
            raise ValueError("a SERVER_ERROR is one line")
        answer = f"SERVER_ERROR {message}\r\n".encode()

        def do(command: Command, raw: bytes, exchange: Exchange) -> Outcome:
            return Outcome(b"" if command.noreply else answer)

        return self._force("server_error", Fault(do, commands, keys, times), must_hit)

    def full(
        self, *, keys: Keys | None = None, times: int | None = None, must_hit: bool = False
    ) -> contextlib.AbstractContextManager[Fault]:
        """There is no memory to store anything. As with memcached, what ``set`` or ``ms`` was to replace is gone."""

        def do(command: Command, raw: bytes, exchange: Exchange) -> Outcome:
            if command.name in ("set", "ms"):
                _, key, _, *flags = words_of(command.line)
                base64 = b" b" if command.name == "ms" and b"b" in flags else b""
                exchange(b"md %s%s q\r\n" % (key, base64))
            return Outcome(b"" if command.noreply else _FULL)

        return self._force("full", Fault(do, STORAGE, keys, times), must_hit)

    # ---- for whoever carries the bytes

    def strike(self, command: Command) -> Fault | None:
        """The fault to do to this command, counted as done; None: nothing is wrong."""
        with self._lock:
            for fault in reversed(self._active):
                if fault.fits(command):
                    fault.hits += 1
                    return fault
        return None

    def _force(self, name: str, fault: Fault, must_hit: bool) -> Block[Fault]:
        return Block(name, self._in_force(name, fault, must_hit))

    @contextlib.contextmanager
    def _in_force(self, name: str, fault: Fault, must_hit: bool) -> Iterator[Fault]:
        with self._lock:
            self._active.append(fault)
        try:
            yield fault
        finally:
            with self._lock:
                self._active.remove(fault)
            fault.over.set()
        if must_hit and fault.hits == 0:
            raise AssertionError(f"the fault {name}({fault.aim}) has struck no command")


def _not_negative(**numbers: float) -> None:
    """Raises ValueError."""
    for name, number in numbers.items():
        if not number >= 0:
            raise ValueError(f"{name} is 0 or more, not {number}")


def _matcher(keys: Keys | None) -> Callable[[bytes], bool] | None:
    if keys is None:
        return None
    if isinstance(keys, re.Pattern):
        pattern = re.compile(keys.pattern.encode(), keys.flags & ~re.UNICODE) if isinstance(keys.pattern, str) else keys
        return lambda key: re.search(pattern, key) is not None
    if not isinstance(keys, bytes | str | Collection):
        raise TypeError(f"keys are a key, several, or a pattern, not {keys!r}")
    several = [keys] if isinstance(keys, bytes | str) else keys
    wanted = {key.encode() if isinstance(key, str) else key for key in several}
    return lambda key: key in wanted
