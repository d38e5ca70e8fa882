"""Functions whose results are kept in a cache, each computed once however many callers wait for it."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import inspect
import io
import pickle
import threading
import weakref
from collections import defaultdict
from collections.abc import Awaitable, Callable, Hashable, Iterator
from itertools import count
from types import MethodType
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, TypeVar

from cachecore_ext.embedded import TooLargeError

if TYPE_CHECKING:
    from .cache import Cache

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

#: Makes the part of a key that tells one call from another.
KeyMaker = Callable[..., str | bytes]

_MISSING: Final = object()
_NAME_MAX: Final = 100  # bytes of the function's name that are in a key

#: Of each cache, how many functions of a name were decorated. Lambdas, closures, methods of several objects share one.
_decorated: weakref.WeakKeyDictionary[Cache, defaultdict[bytes, Iterator[int]]] = weakref.WeakKeyDictionary()


def key_of_arguments(*args: Any, **kwargs: Any) -> str:
    """A digest of the arguments, the same in every process for equal arguments of the same types.

    Raises:
        TypeError: an argument cannot be pickled.
    """
    written = io.BytesIO()
    pickler = pickle.Pickler(written, protocol=4)
    pickler.fast = True  # else it would tell equal objects from the same object
    try:
        pickler.dump((args, sorted(kwargs.items())))
    except (pickle.PicklingError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise TypeError(f"no key can be made of the arguments ({error}); give memoize key=, which makes one") from error
    return hashlib.blake2b(written.getvalue(), digest_size=16).hexdigest()


class _Flight(Generic[T]):
    """A computation that is under way, and those who wait for it."""

    def __init__(self, lock: T) -> None:
        self.lock: Final = lock
        self.callers = 0  # guarded by Memoized._guard
        self.stale = False  # what it computes is not to be kept


class _Memo(Generic[P, R, T]):
    """What functions and coroutine functions have in common; ``T`` is their lock."""

    def __init__(self, cache: Cache, function: Callable[P, R], keep: dict[str, Any], key: KeyMaker | None) -> None:
        if not callable(function):
            raise TypeError(f"{function!r} is no function; @classmethod belongs above @cache.memoize()")
        functools.update_wrapper(self, function)  # type: ignore[arg-type]  # it is called by its heirs
        self._cache = cache
        self._function = function
        self._keep = keep  # how it is stored: ``ttl``, or nothing
        self._make_key: KeyMaker = key or key_of_arguments
        if not hasattr(function, "__qualname__"):
            raise TypeError(f"results are kept by the function's name; {function!r} has none: wrap it in a function")
        module = getattr(function, "__module__", None)  # str.upper has none
        name = f"{module}.{function.__qualname__}".encode()[-_NAME_MAX:]
        before = next(_decorated.setdefault(cache, defaultdict(count))[name])
        self._prefix = b"%s#%d(" % (name, before + 1) if before else name + b"("
        self._guard = threading.Lock()
        self._flights: dict[Hashable, _Flight[T]] = {}

    def key(self, *args: P.args, **kwargs: P.kwargs) -> bytes:
        """The key that the result of such a call is kept under."""
        made = self._make_key(*args, **kwargs)
        if not isinstance(made, str | bytes):
            raise TypeError(f"the key of a call is str or bytes; key= has made {made!r}")
        return self._prefix + (made.encode() if isinstance(made, str) else made) + b")"

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Forget the result of such a call; one that is being computed is not kept."""
        key = self.key(*args, **kwargs)
        self._spoil(lambda name: name == key)
        self._cache.delete(key)

    def cache_clear(self) -> None:
        """Forget all results of this function, which takes a walk over all keys of the cache."""
        self._spoil(lambda name: True)
        self._cache.delete_many(key for key in self._cache if key.startswith(self._prefix))

    def _spoil(self, chosen: Callable[[Hashable], bool]) -> None:
        with self._guard:
            for name, flight in self._flights.items():
                if chosen(name[1] if isinstance(name, tuple) else name):
                    flight.stale = True

    def _board(self, name: Hashable, make_lock: Callable[[], T]) -> _Flight[T]:
        """The computation of this name, of which the caller is one until ``_leave``."""
        with self._guard:
            flight = self._flights.get(name)
            if flight is None:
                flight = self._flights[name] = _Flight(make_lock())
            flight.callers += 1
            return flight

    def _leave(self, name: Hashable, flight: _Flight[T]) -> None:
        with self._guard:
            flight.callers -= 1
            if flight.callers == 0:
                del self._flights[name]

    def _store(self, key: bytes, value: Any, flight: _Flight[T]) -> None:
        """Keep a result if the cache has room for it, and nobody has asked to forget it."""
        try:
            self._cache.set(key, value, **self._keep)
        except (MemoryError, TooLargeError):
            return
        # Whoever forgets it marks first and deletes then: one of the two deletes comes after the set.
        if flight.stale:
            self._cache.delete(key)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else _Method(self, instance)


class _Method:
    """A kept function as the method of an object, which is the first argument also of ``key`` and ``invalidate``.

    ``cache_clear`` and what else the function has is the function's.
    """

    def __init__(self, function: _Memo[Any, Any, Any], instance: object) -> None:
        self.__func__ = function
        self.__self__ = instance
        self.__doc__ = function.__doc__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        function: Any = self.__func__  # Memoized or AsyncMemoized
        return function(self.__self__, *args, **kwargs)

    def key(self, *args: Any, **kwargs: Any) -> bytes:
        """The key that the result of such a call is kept under."""
        return self.__func__.key(self.__self__, *args, **kwargs)

    def invalidate(self, *args: Any, **kwargs: Any) -> None:
        """Forget the result of such a call; one that is being computed is not kept."""
        self.__func__.invalidate(self.__self__, *args, **kwargs)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(MethodType(self.__func__, self.__self__))  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "__func__"), name)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Method):
            return NotImplemented
        return self.__func__ is other.__func__ and self.__self__ is other.__self__

    def __hash__(self) -> int:
        return hash((self.__func__, id(self.__self__)))

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (self.__self__, self.__func__.__name__)  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        return f"<kept method {self.__func__._prefix.decode(errors='replace')[:-1]} of {self.__self__!r}>"


class Memoized(_Memo[P, R, "threading.RLock"]):
    """A function whose results are kept; see ``Cache.memoize``."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The result that is kept, or a new one; raises what the function raises."""
        key = self.key(*args, **kwargs)
        found: R = self._cache.get(key, _MISSING)
        return found if found is not _MISSING else self._compute(key, *args, **kwargs)

    def _compute(self, key: bytes, *args: P.args, **kwargs: P.kwargs) -> R:
        flight = self._board(key, threading.RLock)
        try:
            with flight.lock:
                value: R = self._cache.get(key, _MISSING)
                if value is _MISSING:
                    flight.stale = False
                    value = self._function(*args, **kwargs)
                    self._store(key, value, flight)
                return value
        finally:
            self._leave(key, flight)


class AsyncMemoized(_Memo[P, Awaitable[R], asyncio.Lock]):
    """A coroutine function whose results are kept; see ``Cache.memoize``."""

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The result that is kept, or a new one; raises what the function raises."""
        key = self.key(*args, **kwargs)
        found: R = self._cache.get(key, _MISSING)
        return found if found is not _MISSING else await self._compute(key, *args, **kwargs)

    async def _compute(self, key: bytes, *args: P.args, **kwargs: P.kwargs) -> R:
        name = (asyncio.get_running_loop(), key)  # a lock belongs to one loop
        flight = self._board(name, asyncio.Lock)
        try:
            async with flight.lock:
                value: R = self._cache.get(key, _MISSING)
                if value is _MISSING:
                    flight.stale = False
                    value = await self._function(*args, **kwargs)
                    self._store(key, value, flight)
                return value
        finally:
            self._leave(name, flight)


def computes_later(function: Callable[..., Any]) -> bool:
    """Whether what it returns is to be awaited: a coroutine function, also one that is kept already."""
    kept = function.__func__ if isinstance(function, _Method) else function
    return isinstance(kept, AsyncMemoized) or inspect.iscoroutinefunction(function)
