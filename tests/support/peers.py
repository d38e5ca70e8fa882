"""Servers to test against: cachecore inside this process, and Debian's memcached as a subprocess."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import IO, Any

from tests.support.wire import Address, Client

CACHECORE = "cachecore"
MEMCACHED = "memcached"
KINDS = (CACHECORE, MEMCACHED)

#: The version whose replies are written down in the tables, see differences.py.
MEMCACHED_VERSION = b"1.6.18"

Option = int | str | float | bool | None


class Peer:
    """A running server. ``server`` is cachecore's own object; memcached has none."""

    def __init__(self, kind: str, address: Address, server: Any = None) -> None:
        self.kind = kind
        self.address = address
        self.server = server

    def connect(self, timeout: float = 10.0) -> Client:
        return Client(self.address, timeout)

    @property
    def is_cachecore(self) -> bool:
        return self.kind == CACHECORE

    def fresh(self) -> Client:
        """A connection to a server without items. cachecore's clock stands still from here on."""
        if self.server is not None:
            self.server.clock.freeze()
        client = self.connect()
        client.ask(b"flush_all\r\n", b"OK\r\n")
        return client

    def advance(self, seconds: int) -> None:
        """Move the clock; only cachecore can."""
        self.server.clock.advance(seconds)

    def stats(self, section: bytes = b"") -> dict[bytes, bytes]:
        """``stats`` or one of its sections as a dict."""
        with self.connect() as client:
            reply = client.ask(b"stats %s\r\n" % section)
        lines = [line.split(b" ", 2) for line in reply.split(b"\r\n") if line.startswith(b"STAT ")]
        return {line[1]: line[2] if len(line) > 2 else b"" for line in lines}

    @functools.cached_property
    def version(self) -> bytes:
        """What ``version`` should answer with."""
        return self.stats()[b"version"]

    def now(self) -> int:
        """The server's idea of the unix time."""
        return int(self.stats()[b"time"])


@contextlib.contextmanager
def running_cachecore(**options: Option) -> Iterator[Peer]:
    """cachecore in this process. The options are ``Server``'s keywords."""
    from cachecore import Server

    options = {"port": 0, "threads": 2, "debug_commands": True, **options}
    with Server(**options) as server:
        address = str(options["unix_socket"]) if "unix_socket" in options else server.address
        yield Peer(CACHECORE, address, server)


@contextlib.contextmanager
def running_memcached(environment: Mapping[str, str] | None = None, **options: Option) -> Iterator[Peer]:
    """Debian's memcached. The options are its long options with underscores; ``environment`` adds variables."""
    binary = os.environ.get("MEMCACHED") or shutil.which("memcached")
    if binary is None:
        raise RuntimeError("install Debian's memcached: apt-get install memcached")
    options = {"threads": 2, **options}
    options.pop("debug_commands", None)
    address: Address
    if "unix_socket" in options:
        address = str(options["unix_socket"])
    else:
        port = free_port()
        address = ("127.0.0.1", port)
        options |= {"port": port, "listen": "127.0.0.1"}
    if os.geteuid() == 0:
        options["user"] = "root"
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [binary, *_arguments(options)],
            stdin=subprocess.DEVNULL,
            stderr=said,
            env={**os.environ, "LD_PRELOAD": "", **(environment or {})},  # a sanitizer's library is for us alone
        )
        try:
            _wait_for(address, process, said)
            yield Peer(MEMCACHED, address)
            if process.poll() is not None:
                raise RuntimeError(f"memcached ended by itself with status {process.returncode}")
        finally:
            process.kill()
            process.wait()


def running(kind: str, **options: Option) -> contextlib.AbstractContextManager[Peer]:
    """A server of the given kind."""
    return running_cachecore(**options) if kind == CACHECORE else running_memcached(**options)


def check_version(peer: Peer) -> None:
    """The tables hold one memcached's replies: say so at once if it is another."""
    with peer.connect() as client:
        version = client.ask(b"version\r\n", b"\r\n").split()[1]
    if version != MEMCACHED_VERSION:
        raise RuntimeError(
            f"the tables are those of memcached {MEMCACHED_VERSION.decode()}, found {version.decode()};"
            " name the right binary in the environment variable MEMCACHED"
        )


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _arguments(options: dict[str, Option]) -> Iterator[str]:
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if value is True:
            yield flag
        elif value is not False and value is not None:
            yield f"{flag}={value}"


def _wait_for(address: Address, process: subprocess.Popen[bytes], said: IO[bytes]) -> None:
    deadline = time.monotonic() + 10
    while True:
        if process.poll() is not None:
            said.seek(0)
            raise RuntimeError(f"memcached did not start: {said.read().decode(errors='replace')}")
        try:
            Client(address).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            os.sched_yield()
