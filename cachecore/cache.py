"""A cache inside this process: the engine of the server without a socket, until it is asked to serve."""

from __future__ import annotations

import dataclasses
import inspect
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, ItemsView, Iterator, MutableMapping, ValuesView
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NoReturn, ParamSpec, Self, TypeVar, overload

from cachecore_ext.embedded import Embedded
from cachecore_ext.embedded import TooLargeError as TooLargeError
from cachecore_ext.engine import Engine

from . import stats
from .memoize import AsyncMemoized, KeyMaker, Memoized, computes_later
from .options import KIBIBYTE, MEBIBYTE
from .server import Clock, Server, engine_options
from .settings import MEMORY_MAX, Settings, keywords

if TYPE_CHECKING:
    from cachecore_ext.embedded import _Serializer

P = ParamSpec("P")
R = TypeVar("R")

Key = str | bytes

_OMITTED: Final[Any] = object()
_DEFAULT_TTL: Final[Any] = inspect.signature(Embedded.set).parameters["ttl"].default  # shows as that in help
_GONE: Final[Any] = object()  # in place of a value that another thread has taken
_BATCH: Final = 100  # keys that a view looks up at once
#: Options that a cache cannot have: where to listen, what concerns the process or a file, and to be without the cas
#: that ``gets``, ``cas`` and ``pop`` go by.
_NOT_FOR_A_CACHE: Final = {
    *("port", "listen", "unix_socket", "unix_mask", "auth_file", "memory_file", "pidfile", "daemon", "user"),
    *("enable_coredumps", "lock_memory", "verbose", "disable_cas"),
}
_OWN: Final = ("serializer", "default_ttl")
_INHERITED: Final = "the cache is its parent's: after a fork it cannot be used; let the parent serve it"

#: Those of this process, which its children cannot use.
_caches: weakref.WeakSet[Cache] = weakref.WeakSet()


class Cache(Embedded, MutableMapping[Key, Any]):
    """A cache in this process: ``get``, ``set`` and the like, a mapping, ``memoize``, and ``serve`` for others.

    Keys are str or bytes (1 to 250 of them, a str in UTF-8), given back as bytes; values are bytes, or whatever
    ``serializer`` takes. Every operation is atomic and may be called from any thread. When ``memory_limit`` is reached,
    what was not used goes. ``close`` it, or use ``with``; unclosed it ends with the last reference.

    Every ``ttl`` is in seconds, a fraction counts as a whole one; None is for ever; 0 and less has ended already; left
    out it is ``default_ttl``. It ends with a second of the clock, so up to one second early, and never late.
    Every operation raises TypeError or ValueError for a wrong key or TTL, and RuntimeError once the cache is closed.

    Args:
        memory_limit: bytes for the items and the hash table, at least 1 MiB.
        serializer: has ``dumps`` and ``loads``, as ``pickle`` and ``json`` have; None: values are bytes. Unpickling
            what others wrote lets them run code, so do not ``serve`` a cache of pickles to those you do not trust.
        default_ttl: seconds for what is stored without a TTL; None: for ever.
        options: of ``Settings``, what concerns items and those who are served, such as ``max_item_size=4 << 20``,
            ``disable_evictions=True`` or ``threads=2``.

    Raises:
        SettingsError: an option has a wrong value.
        TypeError: there is no option of that name.
        ValueError: ``memory_limit`` or ``default_ttl`` is out of range, or an option is the daemon's alone.
        MemoryError, OSError: no address space or descriptors for it.
    """

    def __init__(
        self,
        memory_limit: int = 64 * MEBIBYTE,
        *,
        serializer: _Serializer | None = None,
        default_ttl: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(serializer=serializer, default_ttl=default_ttl)
        if not isinstance(memory_limit, int):
            raise TypeError(f"memory_limit is a number of bytes, not {memory_limit!r}")
        if memory_limit < MEBIBYTE:
            raise ValueError(f"memory_limit is in bytes, at least {MEBIBYTE}, not {memory_limit}")
        if memory_limit > MEMORY_MAX * MEBIBYTE:
            raise ValueError(f"memory_limit is in bytes, at most {MEMORY_MAX * MEBIBYTE}, not {memory_limit}")
        if foreign := sorted(_NOT_FOR_A_CACHE & options.keys()):
            raise ValueError(f"a Cache has no {', '.join(foreign)}; where it listens is said to serve")
        if memory_limit < 2 * MEBIBYTE:
            options.setdefault("max_item_size", 512 * KIBIBYTE)
        #: The settings; their ``memory_limit`` is in whole MiB.
        self.settings: Final = keywords("Cache", {"memory_limit": memory_limit // MEBIBYTE, **options}, _OWN)
        options = engine_options(self.settings) | {"memory_limit": memory_limit}
        self._engine: Final = Engine(**options, embedded=self.callers)
        #: Where ``popitem`` goes on, at most once for each thread that was in it: from the start it would meet all that
        #: it has emptied. Taken out while it is used.
        self._walks: Final[list[Iterator[Key]]] = []
        self._lifecycle = threading.RLock()
        self._server: ServedCache | None = None
        thread = threading.Thread(target=self._engine.run_maintenance, name="cachecore-maintenance", daemon=True)
        thread.start()
        self._end = weakref.finalize(self, _end, self._engine, thread)
        _caches.add(self)

    def close(self) -> None:
        """Stop serving, and free everything; the values are gone, and every later call raises RuntimeError. Again is a
        no-op."""
        with self._lifecycle:
            if self._server is not None:
                self._server.stop()
            self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def serve(self, host: str = "127.0.0.1", port: int = 0) -> Server:
        """Let others in by memcached's protocol: a running ``Server`` on this very store, at its ``address``.

        It ends with its ``stop``, its ``with`` or the cache's end; then the cache may serve again. ``port`` 0 is any
        free one.

        Raises:
            StartError: the address cannot be listened on, or threads or descriptors are lacking.
            RuntimeError: it serves already, or the cache is closed.
        """
        with self._lifecycle:
            if self._server is not None and self._server.serving:
                raise RuntimeError("the cache is being served already")
            address: dict[str, Any] = {"listen": (host,), "port": port or -1, "unix_socket": None}
            server = ServedCache(self, dataclasses.replace(self.settings, **address))
            server.start()
            self._server = server
            return server

    @property
    def clock(self) -> Clock:
        """The clock that TTLs go by."""
        return Clock(self._engine)

    def stats(self) -> dict[str, stats.Value]:
        """The fields of memcached's command ``stats``, numbers as int: ``get_hits``, ``evictions``, ``bytes`` ..."""
        return stats.general(self._engine, self.settings)

    # ---- memoize

    def memoize(self, ttl: float | None = _DEFAULT_TTL, *, key: KeyMaker | None = None) -> _Memoizer:
        """A decorator, to be called, that keeps what a function returns, by its arguments.

        However many threads, or tasks of one event loop, ask for the same result at once, one computes it and the
        others wait. A function that raises has no result, and the next caller computes. What does not fit into the
        cache is returned all the same. The function gets ``key``, ``invalidate`` and ``cache_clear``. Whatever is
        decorated has results of its own, also a second function of one name, or the same one again.

        Args:
            ttl: seconds, as for ``set``; left out, ``default_ttl``.
            key: makes a short str or bytes of the arguments; by default it is a digest of their pickle, so equal
                arguments of different types (1 and 1.0) are kept apart.

        Raises:
            TypeError: ``ttl`` is the function, as in a bare ``@cache.memoize``.
        """
        if callable(ttl):
            raise TypeError("write @cache.memoize() with its brackets: ttl is what stands in them")
        return _Memoizer(self, {} if ttl is _DEFAULT_TTL else {"ttl": ttl}, key)

    # ---- as a mapping

    def items(self) -> ItemsView[Any, Any]:
        """Keys, as bytes, and values, of what is there when its turn comes."""
        return _Items(self)

    def values(self) -> ValuesView[Any]:
        """The values of what is there when its turn comes."""
        return _Values(self)

    def setdefault(self, key: Key, default: Any = None) -> Any:
        """The value; if there is none, ``default`` is stored and returned."""
        while True:
            value = self.get(key, _OMITTED)
            if value is not _OMITTED:
                return value
            if self.add(key, default):
                return default

    def pop(self, key: Key, default: Any = _OMITTED) -> Any:
        """Remove a value and return it, so that nobody else gets it; ``default`` if there is none, or KeyError."""
        while (found := self.gets(key)) is not None:
            value, cas = found
            if self.delete(key, cas):
                return value
        if default is _OMITTED:
            raise KeyError(key)
        return default

    def popitem(self) -> tuple[Any, Any]:
        """Remove any one value and return it with its key. Raises KeyError when there is none."""
        try:
            begun = self._walks.pop()
        except IndexError:
            begun = iter(())
        for keys in (begun, iter(self)):
            for key in keys:
                value = self.pop(key, _GONE)
                if value is not _GONE:
                    self._walks.append(keys)
                    return key, value
        raise KeyError("the cache is empty")

    __eq__ = object.__eq__  # a cache is equal to itself alone: comparing items would be slow, and true by chance
    __hash__ = object.__hash__

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Cache belongs to its process: let it serve, and give others its address")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.settings.memory_limit} MiB>"


class ServedCache(Server):
    """A server on a cache's engine, which outlives it."""

    def __init__(self, cache: Cache, settings: Settings) -> None:
        super().__init__(settings)
        self._cache = cache  # which would end with its last reference

    def __enter__(self) -> Self:
        return self if self.serving else self.start()

    @property
    def serving(self) -> bool:
        """Whether it has been started, and not stopped since."""
        return self._engine is not None

    def _create_engine(self) -> Engine:
        engine = self._cache._engine
        try:
            engine.open_network()
        except (MemoryError, OSError):
            engine.close_network()
            raise
        return engine

    def _start_storage(self, engine: Engine) -> None:
        """The cache has done so."""

    def _stop_engine(self, engine: Engine) -> None:
        engine.stop_network()

    def _close_engine(self, engine: Engine) -> None:
        engine.close_network()


class _Memoizer:
    """The decorator that ``Cache.memoize`` makes."""

    def __init__(self, cache: Cache, keep: dict[str, Any], key: KeyMaker | None) -> None:
        self._arguments = (keep, key)
        self._cache = cache

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a coroutine function is a function, too
        self, function: Callable[P, Awaitable[R]]
    ) -> AsyncMemoized[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R]) -> Memoized[P, R]: ...
    def __call__(self, function: Callable[P, Any]) -> Memoized[P, Any] | AsyncMemoized[P, Any]:
        kind = AsyncMemoized if computes_later(function) else Memoized
        return kind(self._cache, function, *self._arguments)


def _pairs(cache: Cache) -> Iterator[tuple[Key, Any]]:
    keys = iter(cache)
    while batch := list(islice(keys, _BATCH)):
        yield from cache.get_many(batch).items()


class _Items(ItemsView[Any, Any]):
    _mapping: Cache

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return _pairs(self._mapping)


class _Values(ValuesView[Any]):
    _mapping: Cache

    def __iter__(self) -> Iterator[Any]:
        return (value for _, value in _pairs(self._mapping))


def _end(engine: Engine, thread: threading.Thread) -> None:
    engine.stop()
    thread.join()
    engine.close()


def _leave_to_the_parent() -> None:
    """In a child process, which has the memory as some thread left it, and no thread that would go on."""
    for cache in list(_caches):
        cache.callers.abandon(_INHERITED)
        cache._end.detach()
        cache._lifecycle = threading.RLock()
        cache._engine.abandon(_INHERITED)


os.register_at_fork(after_in_child=_leave_to_the_parent)
