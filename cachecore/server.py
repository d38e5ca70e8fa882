"""A server inside this process: listening sockets, an engine, and the threads that the engine is given."""

from __future__ import annotations

import atexit
import contextlib
import operator
import os
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from . import stats
from .admin import Admin
from .errors import EXIT_FAILURE, NO_MEMORY, StartError
from .listeners import Address, Listener, adopt_listeners, close_listeners, open_listeners, show_address
from .options import KIBIBYTE, MEBIBYTE
from .settings import Settings, keywords
from .users import read_users
from .version import MEMCACHED_VERSION, package_version

if TYPE_CHECKING:
    from cachecore_ext.engine import AdminRequest, Engine, ItemInfo

    from .restart import MemoryFile

#: Names and passwords.
Users = list[tuple[bytes, bytes]]

_RENDERING_FAILED: Final = b"SERVER_ERROR internal error, see the server's log\r\n"
_OUT_OF_MEMORY: Final = b"SERVER_ERROR out of memory\r\n"
_INHERITED: Final = "the server is its parent's: after a fork a child process can only be its client"

# What the clock may be moved to. Below, ticks have a meaning of their own; above, a year would bring it to the end of
# their 32 bits.
_TICK_MIN: Final = 2
_TICK_MAX: Final = (1 << 32) - 366 * 24 * 3600

#: Those of this process, of which its children have nothing but the address.
_servers: weakref.WeakSet[Server] = weakref.WeakSet()


def engine_options(settings: Settings, users: Users | None = None) -> dict[str, Any]:
    """These settings in the data plane's words; ``users`` are those of ``auth_file``."""
    delimiter = settings.prefix_delimiter
    return {
        # Memory: bytes.
        "memory_limit": settings.memory_limit * MEBIBYTE,
        "item_size_max": settings.max_item_size,
        "growth_factor": settings.slab_growth_factor,
        "chunk_size_min": settings.slab_min_size,
        "slab_sizes": settings.slab_sizes,
        "slab_chunk_max": settings.slab_chunk_max * KIBIBYTE,
        "buffer_limit": settings.read_buf_mem_limit * MEBIBYTE,
        "hugepages": settings.enable_largepages,
        # Items.
        "evictions": not settings.disable_evictions,
        "use_cas": not settings.disable_cas,
        "lru_policy": settings.lru_policy if settings.lru_maintainer else "flat",
        "lru_maintainer": settings.lru_maintainer,
        "hot_lru_pct": settings.hot_lru_pct,
        "warm_lru_pct": settings.warm_lru_pct,
        "hot_max_factor": settings.hot_max_factor,
        "warm_max_factor": settings.warm_max_factor,
        "temporary_ttl": settings.temporary_ttl,  # seconds
        "lru_crawler": settings.lru_crawler,
        "lru_crawler_sleep": settings.lru_crawler_sleep,  # microseconds
        "lru_crawler_tocrawl": settings.lru_crawler_tocrawl,
        "slab_reassign": settings.slab_reassign,
        "slab_automove": settings.slab_automove,
        "slab_automove_ratio": settings.slab_automove_ratio,
        "slab_automove_window": settings.slab_automove_window,
        # Threads and connections.
        "threads": settings.threads,
        "max_connections": settings.conn_limit,
        "maxconns_fast": settings.maxconns_fast,
        "idle_timeout": settings.idle_timeout,  # seconds
        "reqs_per_event": settings.max_reqs_per_event,
        # What clients may ask, and who they have to be.
        "binary_probe": settings.protocol == "auto",
        "users": users,
        "flush_enabled": not settings.disable_flush_all,
        "dump_enabled": not settings.disable_dumping,
        "watch_enabled": not settings.disable_watch,
        "prefix_delimiter": os.fsencode(delimiter or ":"),
        "detail_enabled": delimiter is not None,
        "watcher_logbuf_size": settings.watcher_logbuf_size * KIBIBYTE,
        "worker_logbuf_size": settings.worker_logbuf_size * KIBIBYTE,
        "debug_commands": settings.debug_commands,
        "verbosity": settings.verbose,
        "version": MEMCACHED_VERSION,
    }


def create_engine(settings: Settings, **memory: Any) -> Engine:
    """A data plane for these settings, and, as ``memory``, the keywords that ``MemoryFile`` has for Engine.

    Raises:
        MemoryError: the address space for ``memory_limit`` cannot be had.
        OSError: there are no descriptors left.
        StartError: ``auth_file`` cannot be read.
        ValueError: the data plane does not go as far as an option does.
    """
    from cachecore_ext.engine import Engine  # not needed for -h, -V and wrong options

    users = None if settings.auth_file is None else read_users(settings.auth_file)
    return Engine(**engine_options(settings, users), **memory)


def preload() -> None:
    """Import what a server imports late: after ``-u``, or without descriptors, it cannot read Python's files."""
    for module in ("cachecore_ext.engine", "cachecore.restart", "encodings.idna", "logging"):
        import_module(module)
    package_version()


class Clock:
    """A running server's clock, which expiry goes by; tests move it instead of sleeping."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def now(self) -> int:
        """The time by this clock, in Unix seconds."""
        return self._engine.started + self._engine.clock_now()

    def advance(self, seconds: float) -> None:
        """Move the clock by so many whole seconds, backwards if negative; a frozen clock stays frozen.

        It acts at once, and may overtake a command that a client sent without waiting for a reply.

        Raises:
            TypeError: ``seconds`` is no whole number.
            ValueError: it goes back to a minute before its start at most, and on for some 135 years.
        """
        step = _whole(seconds)
        tick = self._engine.clock_now()
        if not _TICK_MIN <= tick + step <= _TICK_MAX:
            raise ValueError(
                f"the clock can go back by {tick - _TICK_MIN} seconds and on by {_TICK_MAX - tick}, not by {step}"
            )
        self._engine.clock_advance(step)

    def freeze(self) -> None:
        """Let the clock stand still until ``resume``."""
        self._engine.clock_freeze()

    def resume(self) -> None:
        """Let the clock go on, from where it would be had it not stood still."""
        self._engine.clock_resume()

    def __repr__(self) -> str:
        try:
            return time.strftime("<Clock at %Y-%m-%d %H:%M:%S UTC>", time.gmtime(self.now))
        except RuntimeError as error:
            return f"<Clock: {error}>"


def _whole(seconds: float) -> int:
    if isinstance(seconds, float) and seconds.is_integer():
        return int(seconds)
    try:
        return operator.index(seconds)  # type: ignore[arg-type]  # which says whether it is one
    except TypeError:
        raise TypeError(f"seconds is a whole number, not {seconds!r}") from None


class Server:
    """A cache server in this process, serving from threads that never take the GIL.

    ``Server(threads=2, memory_limit=64)`` takes the options of ``Settings`` as keywords, ``Server(settings)``
    takes them ready-made. As a keyword, ``port=0`` means any free port; see ``address`` for which it became.

    It starts with ``start`` or ``with``; stopped, it may be started again: empty, unless there is a
    ``memory_file`` and it was stopped with ``save``. Signals, the process's user
    and its limits are left alone.

    After a fork it stays the parent's. The child process may ask for its ``addresses`` and connect; ``clock``,
    ``stats`` and the like raise RuntimeError there, ``stop`` ends nothing, and ``start`` starts another server.

    Raises:
        SettingsError: an option has a wrong value.
        TypeError: there is no option of that name, or both settings and options are given.
    """

    def __init__(self, settings: Settings | None = None, /, **options: Any) -> None:
        if settings is None:
            if options.get("port") == 0:
                options["port"] = -1
            settings = keywords("Server", options)
        elif options:
            raise TypeError("Server takes either settings or options")
        elif not isinstance(settings, Settings):
            raise TypeError(f"options go by name, as in Server(port=0); got {settings!r}")
        #: The settings, as given.
        self.settings: Final = settings
        #: Called from a thread of the server's when a client asks for its end, with whether it is to be graceful;
        #: it must not wait for that end. The daemon ends itself this way; by default the server stops.
        self.on_shutdown: Callable[[bool], None] = self._stop_beside
        self._lifecycle = threading.Lock()
        self._stopped = threading.Event()
        self._stopped.set()
        self._listeners: list[Listener] = []
        self._threads: list[threading.Thread] = []
        self._engine: Engine | None = None
        self._memory: MemoryFile | None = None
        self._why_not = ""
        _servers.add(self)

    def start(self, sockets: Iterable[socket.socket] = ()) -> Self:
        """Listen and serve; return once clients can connect.

        Given listening ``sockets``, it serves these instead of the addresses of its settings, and closes them.

        Raises:
            StartError: an address cannot be listened on or the ``memory_file`` opened (exit status 71), or memory,
                threads or descriptors are lacking (1); nothing is left behind but the items in the ``memory_file``.
            RuntimeError: it has been started already.
        """
        with self._lifecycle:
            if self._engine is not None:
                raise RuntimeError("the server has been started already")
            try:
                self._start(list(sockets))
            except BaseException:
                with contextlib.suppress(OSError):  # what went wrong first is what is told
                    self._release(save=True)  # the items that were taken up
                raise
            self._stopped.clear()
            atexit.register(self.stop)
        return self

    def stop(self, *, save: bool = False) -> None:
        """Close every connection, end every thread and free everything; a no-op unless started.

        ``save`` leaves the items in the ``memory_file``, if there is one, for the next start.

        Raises:
            OSError: they could not be saved; everything has ended all the same.
        """
        with self._lifecycle:
            atexit.unregister(self.stop)
            try:
                self._release(save=save)
            finally:
                self._stopped.set()

    def wait(self) -> None:
        """Block until the server is stopped, by another thread."""
        self._stopped.wait()

    def reload(self) -> None:
        """Read again what can change while serving: the users of ``auth_file``.

        Raises:
            StartError: the file cannot be read or is wrong; the users stay those that they were.
            RuntimeError: the server does not run.
        """
        engine = self._running()
        if self.settings.auth_file is not None:
            engine.set_users(read_users(self.settings.auth_file))

    def request_shutdown(self, graceful: bool) -> None:
        """End the server soon, as a client has asked for; returns at once, and may be called from any thread."""
        self.on_shutdown(graceful)

    def _stop_beside(self, graceful: bool) -> None:
        stop = partial(self.stop, save=graceful)  # in a thread of its own: it waits for the caller's
        threading.Thread(target=stop, name="cachecore-shutdown", daemon=True).start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """The open listening sockets, which stay the server's; empty unless it runs."""
        return tuple(self._listeners)

    @property
    def addresses(self) -> list[Address]:
        """Where it listens: (host, port) of every TCP listener, or the path of the UNIX socket."""
        return [listener.address for listener in self._listeners]

    @property
    def address(self) -> Address:
        """The first of ``addresses``. Raises RuntimeError if there is none."""
        if not self._listeners:
            raise RuntimeError("the server does not listen: not started, or without an address")
        return self._listeners[0].address

    @property
    def clock(self) -> Clock:
        """The server's clock. Raises RuntimeError unless the server runs."""
        return Clock(self._running())

    @property
    def restart_report(self) -> str:
        """What became of the items in the ``memory_file``, a line for the user; empty without one, or not running."""
        return "" if self._memory is None else self._memory.report

    def stats(self) -> dict[str, stats.Value]:
        """The fields of the command ``stats``, numbers as int. Raises RuntimeError unless the server runs."""
        return stats.general(self._running(), self.settings)

    def items(self) -> list[ItemInfo]:
        """The items that are there, in no order. Raises RuntimeError unless the server runs.

        Looking counts as no fetch. It takes time and memory in proportion to their number.
        """
        return self._running().items()

    def __repr__(self) -> str:
        places = " and ".join(map(show_address, self.addresses))
        return f"<{type(self).__name__} at {places}>" if places else f"<{type(self).__name__}, not listening>"

    def _running(self) -> Engine:
        if self._engine is None:
            raise RuntimeError(self._why_not or "the server is not running")
        return self._engine

    def _start(self, sockets: list[socket.socket]) -> None:
        self._listeners = adopt_listeners(sockets) if sockets else open_listeners(self.settings)
        try:
            engine = self._engine = self._create_engine()
            for listener in self._listeners:
                engine.add_listener(listener.socket.fileno())
            preload()  # before there are clients, who can take the descriptors that reading a file needs
        except (ImportError, MemoryError, OSError, ValueError) as error:
            raise StartError(f"failed to start the engine: {error}", EXIT_FAILURE) from error
        try:
            admin = Admin(engine, self.settings, self.request_shutdown)
            self._spawn("admin", partial(_serve_admin, engine, admin))
            for index in range(self.settings.threads):
                self._spawn(f"worker-{index}", partial(engine.run_worker, index))
            self._start_storage(engine)
            self._spawn("logger", engine.run_logger)
            self._spawn("acceptor", engine.run_acceptor)
        except RuntimeError as error:
            raise StartError(f"failed to start the threads: {error}", EXIT_FAILURE) from error

    def _create_engine(self) -> Engine:
        if self.settings.memory_file is None:
            return create_engine(self.settings)
        from .restart import MemoryFile  # for its checksums, which few servers need

        self._memory = MemoryFile(self.settings.memory_file)
        return self._memory.start_engine(partial(create_engine, self.settings))

    def _start_storage(self, engine: Engine) -> None:
        self._spawn("maintenance", engine.run_maintenance)

    def _stop_engine(self, engine: Engine) -> None:
        engine.stop()

    def _close_engine(self, engine: Engine) -> None:
        engine.close()

    def _spawn(self, name: str, body: Callable[[], None]) -> None:
        thread = threading.Thread(target=body, name=f"cachecore-{name}", daemon=True)
        thread.start()
        self._threads.append(thread)

    def _release(self, *, save: bool = False) -> None:
        """Undo as much of ``_start`` as has been done. Raises OSError, at the end, if saving fails."""
        with contextlib.ExitStack() as undoing:
            undoing.callback(self._forget)
            if self._memory is not None:
                undoing.callback(self._memory.close)
            undoing.callback(close_listeners, self._listeners)
            if self._engine is None:
                return
            undoing.callback(self._close_engine, self._engine)
            self._stop_engine(self._engine)
            for thread in self._threads:
                thread.join()
            if save and self._memory is not None:
                self._memory.save(self._engine)

    def _forget(self) -> None:
        self._listeners, self._threads, self._engine, self._memory = [], [], None, None
        self._why_not = ""

    def _leave_to_the_parent(self) -> None:
        """In a child process, which has the memory as some thread left it, and no thread that would go on."""
        self._lifecycle = threading.Lock()
        if self._engine is None and not self._listeners:
            return
        atexit.unregister(self.stop)
        if self._engine is not None:
            self._engine.abandon(_INHERITED)
        if self._memory is not None:
            self._memory.leave_to_the_parent()
        listeners = [listener.left_to_the_parent() for listener in self._listeners]
        self._forget()
        self._listeners = listeners
        self._why_not = _INHERITED
        self._stopped = threading.Event()
        self._stopped.set()


def _serve_admin(engine: Engine, admin: Admin) -> None:
    """Answer the commands that the data plane leaves to Python, until the engine stops.

    Any line here may find no memory: then who asked is disconnected, and the next one has better luck.
    """
    request: AdminRequest | None = None
    lost = False
    while True:
        try:
            if request is None:
                lost = False
                request = engine.next_admin()
            if request is None:
                return
            engine.answer_admin(request.token, None if lost else _render(admin, request.line))
            request = None
        except NO_MEMORY:
            lost = True


def _render(admin: Admin, line: bytes) -> bytes | None:
    """The answer, or what is wrong."""
    try:
        return admin.answer(line)
    except NO_MEMORY:
        return _OUT_OF_MEMORY  # a line in the log would need some, too
    except Exception:
        import logging  # preloaded

        logging.getLogger("cachecore").exception("rendering the answer to %r failed", line)
        return _RENDERING_FAILED


def _leave_to_the_parent() -> None:
    for server in list(_servers):
        server._leave_to_the_parent()


os.register_at_fork(after_in_child=_leave_to_the_parent)
