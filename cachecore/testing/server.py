"""A server for tests, with what a test wants of one beside serving."""

from __future__ import annotations

import dataclasses
import importlib.util
import socket
import tempfile
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

from cachecore.listeners import show_address
from cachecore.server import Clock, Server
from cachecore.settings import Settings, keywords
from cachecore_ext.figures import ItemInfo as Item

from .commands import Commands
from .faults import Faults
from .proxy import Proxy

__all__ = ["CacheServer", "Counters", "Item", "Items"]

#: A name and a password, as two texts or as one with a colon between; or several of these.
Auth = str | Sequence[str | Sequence[str]]

#: Libraries that speak the text or the meta protocol, by what one imports.
CLIENT_LIBRARIES: Final = ("pymemcache", "aiomcache", "emcache", "meta_memcache", "pylibmc", "memcache")
_TIMEOUT: Final = 10.0
_DAEMON_S: Final = "that is the daemon's alone"
#: Options of ``Server`` that are not to be had here, and why.
_REFUSED: Final = {
    "unix_socket": "its clients come by TCP",
    "auth_file": 'who may use it is said as in auth=("user", "password")',
    **dict.fromkeys(("daemon", "user", "pidfile", "enable_coredumps", "lock_memory"), _DAEMON_S),
}
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


class Items(dict[bytes, Item]):
    """Items by key; the keys are bytes, and may be asked for as str, too."""

    def __getitem__(self, key: bytes | str) -> Item:
        return super().__getitem__(_bytes(key))

    def __contains__(self, key: object) -> bool:
        return super().__contains__(_bytes(key))

    def get(self, key: bytes | str, default: Any = None) -> Any:
        """The item, or ``default``."""
        return super().get(_bytes(key), default)


class CacheServer:
    """A memcached for tests, in this process, on a free port of 127.0.0.1.

    ``options`` are those of ``cachecore.Server``, but for ``unix_socket``, ``auth_file`` and what is the daemon's
    alone. ``auth`` is who may use it: a name and a password, as in ``("user", "password")`` or ``"user:password"``, or
    several. With ``proxy`` clients come through a proxy, which costs them time and gives ``faults`` and ``commands``.
    Use it with ``with``, or ``start`` and ``stop`` it.

    Raises:
        SettingsError: an option has a wrong value.
        TypeError: there is no option of that name.
        ValueError: ``auth`` has another form, or an option is none for a test's server.
    """

    def __init__(self, *, proxy: bool = False, auth: Auth | None = None, **options: Any) -> None:
        self.users: Final = _pairs(auth)
        #: The server itself, which serves from its own address also when there is a proxy.
        self.server = Server(settings_of("CacheServer", options))
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
        """``address`` as one text, ``127.0.0.1:40123`` or ``[::1]:40123``, the way Django and many clients want it."""
        return show_address(self.address)

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
        """What can go wrong, on demand. Raises RuntimeError without a proxy, and unless it runs."""
        return self._through().faults

    @property
    def commands(self) -> Commands:
        """The commands received, oldest first. Raises RuntimeError without a proxy, and unless it runs."""
        return self._through().commands

    def items(self) -> Items:
        """The items that are there, by key; looking counts as no fetch."""
        return Items((item.key, item) for item in self.server.items())

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

    def __repr__(self) -> str:
        return f"<CacheServer at {self.location}>" if self.server.listeners else "<CacheServer, not running>"

    def _start_server(self) -> None:
        if not self.users:
            self.server.start()
            return
        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:  # which only this user can read
            file.writelines(f"{name}:{password}\n" for name, password in self.users)
            file.flush()
            settings = dataclasses.replace(self.server.settings, auth_file=file.name)
            self.server = Server(settings).start()

    def _direct(self) -> tuple[str, int]:
        address = self.server.address
        assert isinstance(address, tuple)  # unix_socket is refused
        return address[0], address[1]

    def _through(self) -> Proxy:
        if not self._wants_proxy:
            raise RuntimeError(
                "faults and commands need a proxy: CacheServer(proxy=True), in pytest the fixture"
                " cachecore_faults or cachecore_commands, or the marker cachecore(proxy=True)"
            )
        if self._proxy is None:
            raise RuntimeError("the server is not running")
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


def settings_of(owner: str, options: Mapping[str, Any]) -> Settings:
    """The settings of a test's server that was given these options by ``owner``. Raises as ``CacheServer`` does."""
    for name, why in _REFUSED.items():
        if options.get(name):
            raise ValueError(f"{owner} has no {name}: {why}")
    given = {"port": 0, "listen": "127.0.0.1", "threads": 2, "debug_commands": True, **options}
    return keywords(owner, {**given, "port": given["port"] or -1}, ("proxy", "auth"))


def login(user: tuple[str, str]) -> bytes:
    """The command by which this user logs in; the answer is STORED."""
    secret = " ".join(user).encode()
    return b"set auth 0 0 %d\r\n%s\r\n" % (len(secret), secret)


def _bytes(key: Any) -> Any:
    return key.encode() if isinstance(key, str) else key


def _pairs(auth: Auth | None) -> tuple[tuple[str, str], ...]:
    if auth is None:
        return ()
    if isinstance(auth, str) or _is_pair(auth):
        auth = [auth]  # type: ignore[list-item]  # a pair is one of these
    if not isinstance(auth, Sequence):
        raise _no_users(auth)
    return tuple(_pair(user) for user in auth)


def _pair(user: str | Sequence[str]) -> tuple[str, str]:
    if isinstance(user, str):
        user = user.split(":", 1)
    if not _is_pair(user):
        raise _no_users(user)
    return user[0], user[1]


def _is_pair(user: object) -> bool:
    """Whether it is a name, in which no colon can be, and a password."""
    texts = isinstance(user, list | tuple) and len(user) == 2 and all(isinstance(text, str) for text in user)
    return texts and ":" not in user[0]  # type: ignore[index]  # it is one of two


def _no_users(auth: object) -> ValueError:
    return ValueError(
        'auth is a name and a password, as in auth=("user", "password") or auth="user:password", or several of these;'
        f" not {auth!r}"
    )
