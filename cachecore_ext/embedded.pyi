"""The cache inside this process: every operation on one key, and a walk over all of them.

Keys are str, which stands for its UTF-8, or bytes: 1 to 250 of them. Raised by every operation: TypeError and
ValueError for a wrong key or TTL, RuntimeError once the cache is closed. A TTL is in seconds, a fraction counts as a
whole one; None is for ever; 0 and less has ended already; left out it is ``default_ttl``. It ends with a second of the
cache's clock, so up to one second earlier than asked, and never later.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Protocol, Self

class _Serializer(Protocol):
    """What makes bytes of values and values of bytes: the modules ``pickle``, ``json`` and ``marshal`` do."""

    def dumps(self, obj: Any, /) -> bytes | str: ...
    def loads(self, data: bytes, /) -> Any: ...

class TooLargeError(ValueError):
    """A value is too large for the cache (``max_item_size``)."""

class Callers:
    """Who may call a store from this process: given to an Engine as ``embedded``."""

    def abandon(self, why: str) -> None:
        """Let every call raise RuntimeError(why) from now on; for a child process, which has the memory only."""

class Embedded:
    """A store's operations for the process that it lies in, once an Engine has its ``callers``.

    Values are bytes, or anything that ``serializer`` takes. What other clients have stored, and numbers of ``incr``,
    are bytes also with a serializer, unless their flags are 1.
    """

    callers: Final[Callers]

    def __init__(self, *, serializer: _Serializer | None = None, default_ttl: float | None = None) -> None: ...
    def get(self, key: str | bytes, default: Any = None) -> Any:
        """The value, or ``default``."""

    def gets(self, key: str | bytes) -> tuple[Any, int] | None:
        """The value and its number for ``cas``; None when there is none."""

    def set(self, key: str | bytes, value: Any, ttl: float | None = ...) -> None:
        """Store a value.

        Raises:
            TooLargeError: it is larger than ``max_item_size``; an older value is gone.
            MemoryError: there is no room, and nothing to evict for it. For a moment that is so, too, when a full cache
                gets values of a size that it had none of, until the upkeep has taken memory from the others.
            TypeError: it is no bytes, and there is no serializer.
        """

    def add(self, key: str | bytes, value: Any, ttl: float | None = ...) -> bool:
        """``set`` if there is nothing yet; whether it was so."""

    def replace(self, key: str | bytes, value: Any, ttl: float | None = ...) -> bool:
        """``set`` if there is something already; whether it was so."""

    def cas(self, key: str | bytes, value: Any, cas: int, ttl: float | None = ...) -> bool | None:
        """``set`` if the value is still the one that ``gets`` gave ``cas`` with: True; False if it is another one, None
        if there is none any more."""

    def incr(self, key: str | bytes, by: int = 1, initial: int | None = None, ttl: float | None = ...) -> int | None:
        """Add to a number, modulo 2 ** 64; the new one.

        The value is the number's decimal digits, as bytes; one that ``decr`` makes shorter keeps its length, with
        blanks behind it, as in memcached. Where there is none, ``initial`` is stored, with the TTL, and returned;
        without ``initial`` nothing is, and None.

        Raises:
            ValueError: the value is no number.
            OverflowError: ``by`` or ``initial`` is below 0, or not below 2 ** 64.
        """

    def decr(self, key: str | bytes, by: int = 1, initial: int | None = None, ttl: float | None = ...) -> int | None:
        """``incr`` downwards, at most to 0."""

    def touch(self, key: str | bytes, ttl: float | None = ...) -> bool:
        """Give a value another TTL; whether there is one."""

    def delete(self, key: str | bytes, cas: int | None = None) -> bool:
        """Remove a value, with ``cas`` only the one that ``gets`` has seen; whether it was there."""

    def get_many(self, keys: Iterable[str | bytes]) -> dict[str | bytes, Any]:
        """The values that there are, by their keys as given."""

    def set_many(self, items: Mapping[Any, Any], ttl: float | None = ...) -> None:
        """``set`` each; what it raises for one leaves those before it stored."""

    def delete_many(self, keys: Iterable[str | bytes]) -> int:
        """Remove values; how many there were."""

    def clear(self) -> None:
        """Remove all values, and what has ended: ``len`` counts only what is stored from here on.

        They are gone for everybody at once, and then walked over without the GIL, a million in half a second.
        """

    def __getitem__(self, key: str | bytes, /) -> Any:
        """The value. Raises KeyError when there is none."""

    def __setitem__(self, key: str | bytes, value: Any, /) -> None:
        """``set`` with ``default_ttl``."""

    def __delitem__(self, key: str | bytes, /) -> None:
        """Remove a value. Raises KeyError when there is none."""

    def __contains__(self, key: object, /) -> bool:
        """Whether there is a value."""

    def __len__(self) -> int:
        """How many values there are, those that have ended and were not looked at since included."""

    def __iter__(self) -> KeyIterator:
        """The keys, as bytes: each that is there all the while once, the others perhaps."""

class KeyIterator(Iterator[bytes]):
    """The keys of a cache, as bytes: each that is there all the while once, the others perhaps."""

    def __new__(cls, callers: Callers) -> Self: ...
    def __iter__(self) -> KeyIterator: ...
    def __next__(self) -> bytes: ...
