"""Commands as a client sent them: just enough of their grammar to know name, keys, and where they end."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import re
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from typing import Final, overload

#: Commands that a value's block follows.
STORAGE: Final = frozenset({"set", "add", "replace", "append", "prepend", "cas", "ms"})

#: So many commands are kept; older ones are forgotten.
KEPT_MAX: Final = 65_536

_META: Final = frozenset({"mg", "ms", "md", "ma", "me"})
_ONE_KEY: Final = STORAGE | _META | {"delete", "incr", "decr", "touch"}
_KEYS_FROM: Final = {"get": 1, "gets": 1, "gat": 2, "gats": 2}

#: All that there are, so that a slip of the pen in a test is noticed.
NAMES: Final = frozenset(
    {
        *(_ONE_KEY | set(_KEYS_FROM)),
        *("mn", "stats", "version", "verbosity", "flush_all", "cache_memlimit", "shutdown", "quit", "debugtime"),
        *("watch", "slabs", "lru", "lru_crawler", "refresh_certs"),
    }
)


def checked(names: Collection[str]) -> frozenset[str]:
    """These names of commands. Raises ValueError for one that no command has."""
    if unknown := sorted(set(names) - NAMES):
        raise ValueError(f"there is no command {', '.join(unknown)}; there are {', '.join(sorted(NAMES))}")
    return frozenset(names)


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """A command that a client sent."""

    name: str  # its first word, for example "get" or "ms"
    keys: tuple[bytes, ...]  # decoded where a meta command gave base64
    line: bytes  # without its line end
    size: int | None  # bytes of the value that follows the line; None where none does
    noreply: bool  # the client waits for no reply
    connection: int  # clients' connections, numbered from 1 in the order in which they came

    @property
    def key(self) -> bytes:
        """The only key, or the first. Raises IndexError for a command without one."""
        return self.keys[0]


class Commands(Sequence[Command]):
    """The commands received, oldest first; it grows while clients talk."""

    def __init__(self) -> None:
        self._kept: deque[Command] = deque(maxlen=KEPT_MAX)  # its single operations are atomic

    @overload
    def __getitem__(self, index: int) -> Command: ...
    @overload
    def __getitem__(self, index: slice) -> list[Command]: ...
    def __getitem__(self, index: int | slice) -> Command | list[Command]:
        return list(self._kept.copy())[index]

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[Command]:
        return iter(self._kept.copy())

    def __repr__(self) -> str:
        return f"<{len(self)} commands: {[command.line for command in self[-10:]]}>"

    def named(self, *names: str) -> list[Command]:
        """Those of these names, as in ``commands.named("get", "gets")``. Raises ValueError for no command's name."""
        wanted = checked(names)
        return [command for command in self if command.name in wanted]

    def about(self, key: bytes | str) -> list[Command]:
        """Those with this key among theirs."""
        wanted = key.encode() if isinstance(key, str) else key
        return [command for command in self if wanted in command.keys]

    def record(self, command: Command) -> None:
        """Add one, as the newest."""
        self._kept.append(command)

    def clear(self) -> None:
        """Forget all of them."""
        self._kept.clear()


def words_of(line: bytes) -> list[bytes]:
    """The words of a line, which blanks alone divide: other white space is part of a key."""
    return [word for word in line.split(b" ") if word]


def parse_line(line: bytes, connection: int) -> Command | None:
    """The command of a line, given without its end; None where it cannot be told how long its value is."""
    words = words_of(line)
    name = words[0].decode("ascii", "replace") if words else ""
    size: int | None = None
    if name in STORAGE:
        at = 2 if name == "ms" else 4
        if len(words) <= at or not re.fullmatch(rb"\d{1,10}", words[at]):
            return None
        size = int(words[at])
    noreply = name not in _META and len(words) > 1 and words[-1] == b"noreply"
    return Command(name, _keys(name, words), line, size, noreply, connection)


def _keys(name: str, words: list[bytes]) -> tuple[bytes, ...]:
    if name in _KEYS_FROM:
        return tuple(words[_KEYS_FROM[name] :])
    if name not in _ONE_KEY or len(words) < 2:
        return ()
    flags = words[3 if name == "ms" else 2 :]
    if name in _META and b"b" in flags:
        try:
            return (base64.b64decode(words[1], validate=True),)
        except binascii.Error:
            pass
    return (words[1],)
