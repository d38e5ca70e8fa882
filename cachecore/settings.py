"""Every option of cachecore, one row each; command line, ``-h``, ``stats settings``, the tables of the options follow.

The suboptions of ``-o`` are in ``extended``. Names, defaults, ranges, messages and exit statuses are memcached's
unless a row's help says otherwise.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from .errors import EXIT_FAILURE, SettingsError
from .extended import Extended, yes_no
from .options import (
    MEBIBYTE,
    Option,
    character,
    choice,
    level,
    likely,
    octal,
    option,
    ratio,
    rows,
    size,
    size_text,
    switch,
    whole,
    word_list,
    words,
)

#: Where a server listens that was told nothing: on this machine only.
LOOPBACK: Final = ("127.0.0.1", "::1")

#: Megabytes. Whoever asks for more means bytes.
MEMORY_MAX: Final = 1 << 24

_INT_MAX: Final = (1 << 31) - 1
_PORT: Final = "ERROR: Invalid port number"


def _null(value: str | None) -> str:
    return "NULL" if value is None else value


def _yes_unless(value: bool) -> str:
    return yes_no(not value)


def _protocol_refused(value: object) -> str:
    if value == "binary":
        return "This server does not speak the binary protocol"
    return f"Invalid value for binding protocol: {value} -- should be one of auto or ascii"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Extended):
    """How a server is set up: keyword options with memcached's long names and defaults, checked when built.

    Sizes are bytes, except ``memory_limit`` in MiB and those of ``Extended``. ``listen`` holds addresses as ``-l``
    takes them; a list or one text is fine, too. ``daemon``, ``enable_coredumps``, ``lock_memory``, ``pidfile`` and
    ``user`` concern the process: only the daemon acts on them.

    Raises:
        SettingsError: a value has the wrong type, is out of its range or does not go with another one.
        TypeError: there is no option of that name.
    """

    port: int = option(
        "p",
        "num",
        11211,
        whole(-1, 65535, _PORT),
        "TCP port to listen on; -1 picks a free one, 0 means no TCP",
        keyword="TCP port to listen on; 0 or -1 picks a free one (in `Settings`, as by `-p`, 0 means no TCP)",
        stats={"tcpport": int},
    )
    udp_port: int = option(
        "U",
        "num",
        0,
        whole(0, 0, "UDP is not available in this version, only -U 0 (off) is"),
        "UDP port to listen on; only 0 (off) in this version",
        stats={"udpport": int},
        hidden=True,
    )
    unix_socket: str | None = option(
        "s",
        "file",
        None,
        words("The path of the UNIX socket"),
        "UNIX socket to listen on (disables network support)",
        stats={"domain_socket": _null},
    )
    unix_mask: int = option(
        "a",
        "mask",
        0o700,
        octal(0, 0o777, "The access mask must be an octal number from 0 to 777"),
        "access mask for the UNIX socket, in octal",
        keyword="access mask for the UNIX socket; a text is read as octal",
        shown="700",
        stats={"umask": "{:o}".format},
    )
    enable_shutdown: bool = option(
        "A",
        "",
        False,
        switch(),
        "enable the command shutdown",
        stats={"shutdown_command": yes_no},
    )
    listen: tuple[str, ...] = option(
        "l",
        "addr",
        (),
        word_list(",;", "The address to listen on"),
        "address to listen on: host, host:port, [IPv6]:port or * for every interface; "
        "lists with commas, or give the option again",
        shown="127.0.0.1 and ::1",
        stats={"inter": lambda value: ",".join(value or LOOPBACK)},
    )
    daemon: bool = option("d", "", False, switch(), "run as a daemon; relative paths start at / then, unless -r")
    enable_coredumps: bool = option("r", "", False, switch(), "maximize the limit of core files")
    user: str | None = option(
        "u",
        "user",
        None,
        words("The user"),
        "assume the identity of this user (only when run as root)",
    )
    memory_limit: int = option(
        "m",
        "num",
        64,
        whole(1, MEMORY_MAX, f"The memory limit must be a whole number of megabytes, from 1 to {MEMORY_MAX}"),
        "megabytes for items and the hash table",
    )
    disable_evictions: bool = option(
        "M",
        "",
        False,
        switch(),
        "return an error when memory is exhausted instead of evicting",
        stats={"evictions": lambda value: "off" if value else "on"},
    )
    conn_limit: int = option(
        "c",
        "num",
        1024,
        whole(1, _INT_MAX, "Maximum connections must be greater than 0", EXIT_FAILURE),
        "max simultaneous client connections",
        stats={"maxconns": int},
    )
    lock_memory: bool = option("k", "", False, switch(), "keep the memory that is in use from being paged out")
    verbose: int = option(
        "v",
        "",
        0,
        level("The verbosity must be a number from 0 on"),
        "say more on stderr: settings and farewell; -vv: every listener too",
        shown="",
    )
    pidfile: str | None = option(
        "P",
        "file",
        None,
        words("The path of the pid file"),
        "save the process id in this file; with -d it is removed at the end",
    )
    slab_growth_factor: float | None = option(
        "f",
        "num",
        None,
        ratio(1, math.inf, "Factor must be greater than 1"),
        "chunk size growth factor",
        shown="fine steps for small items, coarser for large ones",
        stats={"growth_factor": lambda value: f"{1.25 if value is None else value:.2f}"},
    )
    slab_min_size: int = option(
        "n",
        "bytes",
        48,
        whole(1, _INT_MAX, "Chunk size must be greater than 0", EXIT_FAILURE),
        "min space used for key, value and flags",
        stats={"chunk_size": int},
    )
    enable_largepages: bool = option("L", "", False, switch(), "ask for large memory pages")
    prefix_delimiter: str | None = option(
        "D",
        "char",
        None,
        character("No delimiter specified: it is one character, no blank"),
        "what separates a key's prefix from the rest in stats detail; given, these statistics are on from the start",
        shown=":",
        stats={"stat_key_prefix": lambda value: value or ":"},
    )
    threads: int = option(
        "t",
        "num",
        4,
        whole(1, _INT_MAX, "Number of threads must be greater than 0", EXIT_FAILURE),
        "number of worker threads",
        stats={"num_threads": int, "num_threads_per_udp": int},
    )
    max_reqs_per_event: int = option(
        "R",
        "num",
        20,
        whole(1, _INT_MAX, "Number of requests per event must be greater than 0", EXIT_FAILURE),
        "requests in one turn of a connection beyond which it counts as yielding (a turn is one receive of 32 KiB)",
        stats={"reqs_per_event": int},
    )
    disable_cas: bool = option(
        "C",
        "",
        False,
        switch(),
        "disable use of CAS",
        stats={"cas_enabled": _yes_unless},
    )
    listen_backlog: int = option(
        "b",
        "num",
        1024,
        whole(0, _INT_MAX, "The backlog must be a number from 0 on"),
        "backlog queue limit",
        stats={"tcp_backlog": int},
    )
    protocol: str = option(
        "B",
        "name",
        "auto",
        choice(("auto", "ascii"), _protocol_refused),
        "auto closes connections that begin in another protocol than this server's; ascii reads them as text",
        stats={"binding_protocol": lambda value: "auto-negotiate" if value == "auto" else value},
    )
    max_item_size: int = option(
        "I",
        "size",
        MEBIBYTE,
        size(1024, 1 << 30, "Item max size must be from 1024 bytes to 1024m"),
        "max item size, with a suffix k or m; a multiple of slab_chunk_max (512k), at most 1024m and half of -m",
        shown="1m",
        stats={"item_size_max": int},
    )
    disable_flush_all: bool = option(
        "F",
        "",
        False,
        switch(),
        "disable the command flush_all",
        stats={"flush_enabled": _yes_unless},
    )
    disable_dumping: bool = option(
        "X",
        "",
        False,
        switch(),
        "disable stats cachedump and detail, lru_crawler metadump and mgdump",
        stats={"dump_enabled": _yes_unless},
    )
    disable_watch: bool = option("W", "", False, switch(), "disable the command watch")
    auth_file: str | None = option(
        "Y",
        "file",
        None,
        words("The path of the authentication file"),
        "clients must give a name and password of this file, a line user:password for each of at most 8; "
        "SIGHUP reads it again",
        stats={"auth_enabled_ascii": lambda value: "no" if value is None else value},
    )
    memory_file: str | None = option(
        "e",
        "file",
        None,
        words("The path of the memory file"),
        "keep the items in this file, which a stop by SIGUSR1 leaves for the next start",
        stats={"memory_file": lambda value: "(null)" if value is None else value},
    )
    napi_ids: int | None = option(
        "N",
        "num",
        None,
        whole(1, _INT_MAX, "Maximum number of NAPI IDs must be greater than 0", EXIT_FAILURE),
        "number of NAPI ids (accepted, no effect)",
        stats={"num_napi_ids": lambda value: value or 0},
    )
    debug_commands: bool = option(
        "",
        "",
        False,
        switch(),
        "enable the command debugtime, which moves the server's clock (not in memcached)",
    )

    def __post_init__(self) -> None:
        for row in ROWS:
            value = getattr(self, row.name)
            object.__setattr__(self, row.name, row.checked(value, f"{row.name}={value!r}"))
        if self.max_item_size > self.memory_limit * MEBIBYTE // 2:
            raise SettingsError(
                "Cannot set item size limit higher than 1/2 of memory max. "
                f"(-I {size_text(self.max_item_size)}, -m {self.memory_limit}): "
                f"make memory_limit, or -m, {-(-self.max_item_size * 2 // MEBIBYTE)} at least"
            )
        self.check_sizes(item_size=self.max_item_size, smallest=self.slab_min_size)
        self.check_extended()

    def stats(self) -> dict[str, int | str]:
        """The fields of ``stats settings`` that stay as the options had them, by their names there."""
        return {name: show(getattr(self, row.name)) for row in ROWS for name, show in row.stats.items()}


#: Every row.
ROWS: Final[tuple[Option, ...]] = rows(Settings)

#: The rows of the options proper, in the order of ``-h``.
OPTIONS: Final = tuple(row for row in ROWS if not row.suboption)

#: The rows of the suboptions of ``-o``.
SUBOPTIONS: Final = tuple(row for row in ROWS if row.suboption)


def keywords(owner: str, options: Mapping[str, Any], beside: Iterable[str] = ()) -> Settings:
    """The settings that ``owner`` was given as keywords; ``beside`` are keywords that it has itself, to be suggested.

    Raises:
        SettingsError: a value has the wrong type or is out of its range.
        TypeError: there is no option of that name.
    """
    known = [row.name for row in ROWS]
    for name in options:
        if name not in known:
            advice = likely(name, [*known, *beside], "help(cachecore.Settings)")
            raise TypeError(f"{owner} has no option {name}{advice}")
    return Settings(**options)
