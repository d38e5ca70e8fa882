"""A server for tests, with what a test wants of one beside serving."""

from __future__ import annotations

import dataclasses
import importlib.util
import socket
import tempfile
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self

from cachecore.server import Clock, Server
from cachecore_ext.figures import ItemInfo as Item

from .commands import Commands
from .faults import Faults
from .proxy import Proxy

__all__ = ["CacheServer", "Counters", "Item"]

#: A name and a password, or several such pairs.
Auth = tuple[str, str] | Sequence[tuple[str, str]]

#: Libraries that speak the text or the meta protocol, by what one imports.
CLIENT_LIBRARIES: Final = ("pymemcache", "aiomcache", "emcache", "meta_memcache", "pylibmc", "memcache")
_TIMEOUT: Final = 10.0
_ITEM_BESIDE: Final = 512  # bytes of an item beside its value, at most


@dataclasses.dataclass(frozen=True, slots=True)
class Counters:
    """What the server has counted since it started or was reset; the fields have memcached's names of ``stats``."""

    cmd_get: int
    cmd_set: int
    cmd_touch: int
    cmd_flush: int
    get_hits: int
    get_misses: int
    get_expired: int
    delete_hits: int
    delete_misses: int
    incr_hits: int
    incr_misses: int
    decr_hits: int
    decr_misses: int
    cas_hits: int
    cas_misses: int
    cas_badval: int
    touch_hits: int
    touch_misses: int
    evictions: int
    curr_items: int
    total_items: int
    bytes: int
    curr_connections: int
    total_connections: int


class CacheServer:
    """A memcached for tests, in this process, on a free port of 127.0.0.1.

    ``options`` are those of ``cachecore.Server``. ``auth`` is who may use it: a name and a password, or several pairs.
    With ``proxy`` clients come through a proxy, which costs them time and gives ``faults`` and ``commands``. Use it
    with ``with``, or ``start`` and ``stop`` it.

    Raises:
        SettingsError: an option has a wrong value.
        TypeError: there is no option of that name.
        ValueError: ``auth`` has another form.
    """

    def __init__(self, *, proxy: bool = False, auth: Auth | None = None, **options: Any) -> None:
        self.users: Final = _pairs(auth)
        self._options = {"port": 0, "listen": "127.0.0.1", "threads": 2, "debug_commands": True, **options}
        #: The server itself, which serves from its own address also when there is a proxy.
        self.server = Server(**self._options)
        self._wants_proxy = proxy
        self._proxy: Proxy | None = None

    # ---- life

    def start(self) -> Self:
        """Serve. Raises StartError as ``Server.start`` does, and OSError when the proxy cannot have a port."""
        self._start_server()
        if self._wants_proxy:
            try:
                value_max = self.server.settings.max_item_size - _ITEM_BESIDE
                proxy = Proxy(self._direct(), Commands(), authenticating=bool(self.users), value_max=value_max)
                proxy.faults = Faults(proxy, self.flush)
                proxy.accept()
            except OSError:
                self.server.stop()
                raise
            self._proxy = proxy
        return self

    def stop(self) -> None:
        """End every connection and thread. A no-op the second time."""
        if self._proxy is not None:
            self._proxy.close()
            self._proxy = None
        self.server.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # ---- where it is

    @property
    def address(self) -> tuple[str, int]:
        """Where clients find it, host and port: the same as long as it runs. Raises RuntimeError unless it does."""
        return self._direct() if self._proxy is None else self._proxy.address

    @property
    def host(self) -> str:
        """The host of ``address``."""
        return self.address[0]

    @property
    def port(self) -> int:
        """The port of ``address``."""
        return self.address[1]

    @property
    def location(self) -> str:
        """``address`` as one text, ``127.0.0.1:40123``, the way Django and many clients want it."""
        return f"{self.host}:{self.port}"

    @property
    def client_libraries(self) -> tuple[str, ...]:
        """The installed client libraries that can talk to it, by the names they are imported by.

        None of them knows the handshake of the text protocol: where there are users, only pymemcache is left, by
        ``pymemcache_client``, which does it.
        """
        known = ("pymemcache",) if self.users else CLIENT_LIBRARIES
        return tuple(name for name in known if importlib.util.find_spec(name) is not None)

    def pymemcache_client(self, **options: Any) -> Any:
        """A ``pymemcache.client.base.Client`` of this server, to be closed by the caller.

        It waits for every reply (``default_noreply=False``), so that a clock that is moved overtakes nothing, logs in
        as the first of ``users``, and has a timeout of 10 seconds; ``options`` say otherwise. Raises ImportError.
        """
        from .clients import client

        return client(self.address, self.users[0] if self.users else None, options)

    # ---- time

    @property
    def clock(self) -> Clock:
        """The clock that expiry, the crawler and idle timeouts go by: ``advance(60)``, ``freeze()``, ``resume()``."""
        return self.server.clock

    # ---- faults, and looking in

    @property
    def faults(self) -> Faults:
        """What can go wrong, on demand. Raises RuntimeError without a proxy."""
        return self._through().faults

    @property
    def commands(self) -> Commands:
        """The commands received, oldest first. Raises RuntimeError without a proxy."""
        return self._through().commands

    def items(self) -> dict[bytes, Item]:
        """The items that are there, by key; looking counts as no fetch."""
        return {item.key: item for item in self.server.items()}

    def counters(self) -> Counters:
        """What has been counted; ``server.stats()`` has the rest."""
        stats: dict[str, Any] = self.server.stats()
        return Counters(**{field.name: stats[field.name] for field in dataclasses.fields(Counters)})

    # ---- between two tests

    def flush(self) -> None:
        """Forget all items. Raises RuntimeError if ``flush_all`` is disabled."""
        self._ask(b"flush_all")

    def reset(self) -> None:
        """Make it as good as new: no items, the right time, counters at 0, no commands. Connections stay.

        What a client changed by ``lru``, ``slabs``, ``cache_memlimit`` and the like stays, too.
        """
        self.flush()
        self.clock.resume()
        if abs(difference := int(time.time()) - self.clock.now) > 1:
            self.clock.advance(difference)
            self.flush()  # at the time that is now the present
        self._ask(b"stats reset")
        if self._proxy is not None:
            self._proxy.commands.clear()

    def _start_server(self) -> None:
        if not self.users:
            self.server.start()
            return
        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:  # which only this user can read
            file.writelines(f"{name}:{password}\n" for name, password in self.users)
            file.flush()
            self.server = Server(**self._options, auth_file=file.name).start()

    def _direct(self) -> tuple[str, int]:
        address = self.server.address
        assert isinstance(address, tuple)  # it has no UNIX socket
        return address[0], address[1]

    def _through(self) -> Proxy:
        if self._proxy is None:
            raise RuntimeError("faults and commands need a proxy: CacheServer(proxy=True), in pytest the fixture"
                               " cachecore_faults or cachecore_commands, or the marker cachecore(proxy=True)")
        return self._proxy

    def _ask(self, line: bytes) -> None:
        """Send a command past the proxy. Raises RuntimeError unless it goes well."""
        with socket.create_connection(self._direct(), _TIMEOUT) as connection, connection.makefile("rb") as replies:
            if self.users:
                connection.sendall(login(self.users[0]))
                replies.readline()
            connection.sendall(line + b"\r\n")
            reply = replies.readline()
        if reply not in (b"OK\r\n", b"RESET\r\n"):
            raise RuntimeError(f"{line.decode()}: {reply.decode().strip()}")


def login(user: tuple[str, str]) -> bytes:
    """The command by which this user logs in; the answer is STORED."""
    secret = " ".join(user).encode()
    return b"set auth 0 0 %d\r\n%s\r\n" % (len(secret), secret)


def _pairs(auth: Auth | None) -> tuple[tuple[str, str], ...]:
    if auth is None:
        return ()
    if isinstance(auth, tuple) and len(auth) == 2 and isinstance(auth[0], str) and isinstance(auth[1], str):
        return ((auth[0], auth[1]),)
    pairs = tuple(auth)
    if not all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
        raise ValueError(f"auth is a name and a password, or several such pairs; got {auth!r}")
    return pairs
