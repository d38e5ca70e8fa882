"""How each server is started, recognised as ready, and stopped."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from pathlib import Path

from bench.errors import BenchError
from bench.workload import Workload

ROOT = Path(__file__).parent.parent
START_SECONDS = 20.0
STOP_SECONDS = 10.0
#: Connections every server must admit: the load generator's most, and some.
CONNECTIONS = 1100
PR_SET_PDEATHSIG = 1
#: The cores of this machine that the bench may use, read before anything is tied to fewer of them.
CPUS = frozenset(os.sched_getaffinity(0))

Address = tuple[str, int] | str


@dataclass(frozen=True)
class Launch:
    """What a server is started with."""

    workload: Workload  # one of those it will serve: the null server needs it
    memory: int  # megabytes
    threads: int = 1  # worker threads; redis has one that executes commands, whatever this is
    connections: int = CONNECTIONS  # that the server admits
    cpus: frozenset[int] = frozenset()  # empty: all of them
    binaries: dict[str, str] = field(default_factory=dict)  # by server name, where not the default one
    unix: bool = False
    prefix: tuple[str, ...] = ()  # a command that runs the server, such as valgrind's


def _user() -> list[str]:
    """memcached and its like refuse to run as root unless told."""
    return ["-u", "root"] if os.geteuid() == 0 else []


def _memcached_options(launch: Launch, address: Address) -> list[str]:
    """Options that memcached and cachecore share."""
    where = ["-s", address] if isinstance(address, str) else ["-l", address[0], "-p", str(address[1])]
    return [
        *where,
        *_user(),
        "-m",
        str(launch.memory),
        "-t",
        str(launch.threads),
        "-c",
        str(launch.connections),
    ]


def _cachecore(launch: Launch, address: Address) -> list[str]:
    return [sys.executable, "-m", "cachecore", *_memcached_options(launch, address)]


def _memcached(launch: Launch, address: Address, name: str = "memcached") -> list[str]:
    return [launch.binaries.get(name, KINDS[name].binary), *_memcached_options(launch, address)]


def io_threads(launch: Launch) -> int:
    """I/O threads of ``redis-io``, its main thread counted: as many as asked for, else 4, but not above the cores.

    They spin while they wait, so that one without a core of its own takes the time of those that work.
    """
    return launch.threads if launch.threads > 1 else max(2, min(4, len(CPUS)))


def _redis(launch: Launch, address: Address, name: str = "redis") -> list[str]:
    if isinstance(address, str):
        where = ["--port", "0", "--unixsocket", address]
    else:
        where = ["--bind", address[0], "--port", str(address[1])]
    limits = ["--maxmemory", f"{launch.memory}mb", "--maxmemory-policy", "allkeys-lru"]
    several = ["--io-threads", str(io_threads(launch)), "--io-threads-do-reads", "yes"]
    threads = several if name == "redis-io" else ["--io-threads", "1"]
    binary = launch.binaries.get(name, KINDS[name].binary)
    return [binary, *where, "--save", "", "--appendonly", "no", *limits, *threads]


def _null(launch: Launch, address: Address) -> list[str]:
    workload = launch.workload
    where = ["-s", address] if isinstance(address, str) else ["-p", str(address[1])]
    shape = ["--kind", workload.kind, "--value", str(workload.value)]
    keys = ["--keys-per-request", str(workload.keys_per_request)]
    return [sys.executable, "-m", "bench.null", *where, "-t", str(launch.threads), *shape, *keys]


@dataclass(frozen=True)
class Kind:
    """One kind of server."""

    name: str
    command: Callable[[Launch, Address], list[str]]
    protocol: str = "memcached"
    binary: str = ""  # the program, where it is not part of this checkout
    stores: bool = True  # whether it keeps what it is told, so that it needs a preload and its keys can be checked
    spreads: bool = False  # it has more threads than asked for, and is not tied to fewer cores


#: memcached-new is a second memcached to compare with, where a program of that name is in the path.
KINDS = {
    kind.name: kind
    for kind in (
        Kind("cachecore", _cachecore),
        Kind("memcached", _memcached, binary="memcached"),
        Kind("memcached-new", partial(_memcached, name="memcached-new"), binary="memcached-new"),
        Kind("redis", _redis, protocol="redis", binary="redis-server"),
        Kind(
            "redis-io",
            partial(_redis, name="redis-io"),
            protocol="redis",
            binary="redis-server",
            spreads=True,
        ),
        Kind("null", _null, stores=False),
    )
}


def installed() -> tuple[str, ...]:
    """The servers that this machine has."""
    return tuple(name for name, kind in KINDS.items() if not kind.binary or shutil.which(kind.binary))


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class Server:
    """A running server process; a context manager that stops it whatever happens."""

    def __init__(self, kind: Kind, launch: Launch) -> None:
        self.kind = kind
        self.launch = launch
        self.folder = Path(tempfile.mkdtemp(prefix="bench-"))
        self.address: Address = str(self.folder / "socket") if launch.unix else ("127.0.0.1", free_port())
        self.command = [*launch.prefix, *kind.command(launch, self.address)]
        self.log = self.folder / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Server:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The server's process id."""
        if self.process is None:
            raise BenchError(f"{self.kind.name} is not running")
        return self.process.pid

    def start(self) -> None:
        """Start the process and wait until it accepts connections."""
        libc = ctypes.CDLL(None)  # loaded before the fork: after it as little as possible happens
        cpus = CPUS if self.kind.spreads or not self.launch.cpus else self.launch.cpus

        def prepare() -> None:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # not to outlive a bench that is killed
            os.sched_setaffinity(0, cpus)

        try:
            with self.log.open("wb") as log:
                self.process = subprocess.Popen(
                    self.command,
                    cwd=ROOT,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    preexec_fn=prepare,
                )
        except OSError as error:
            raise BenchError(f"{self.kind.name}: {self.command[0]}: {error.strerror}") from None
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until the server answers; BenchError with its last words when it does not."""
        assert self.process is not None
        slower = 10 if self.launch.prefix else 1
        deadline = time.monotonic() + START_SECONDS * slower
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise BenchError(f"{self.kind.name} ended with status {self.process.returncode}: {self.last_words()}")
            try:
                with self.connect(1.0 * slower) as client:
                    if not self.kind.stores or ask_version(client, self.kind.protocol):
                        return
            except OSError:
                pass
            time.sleep(0.02)
        raise BenchError(f"{self.kind.name} did not answer within {START_SECONDS * slower:.0f} s")

    def connect(self, timeout: float) -> socket.socket:
        """A blocking connection, for a question or two."""
        if isinstance(self.address, tuple):
            return socket.create_connection(self.address, timeout=timeout)
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.settimeout(timeout)
        try:
            client.connect(self.address)
        except OSError:
            client.close()
            raise
        return client

    def version(self) -> str:
        """What the server says it is."""
        if not self.kind.stores:
            return "-"
        with self.connect(10.0) as client:
            answer = ask_version(client, self.kind.protocol)
        if self.kind.name != "cachecore":
            return answer
        # What it answers is the version of the memcached that it matches.
        with contextlib.suppress(metadata.PackageNotFoundError):
            return f"{metadata.version('cachecore')} (matches memcached {answer})"
        return f"of this checkout (matches memcached {answer})"

    def last_words(self) -> str:
        """The last line the server wrote."""
        lines = self.log.read_text(errors="replace").strip().splitlines() if self.log.exists() else []
        return lines[-1] if lines else "it said nothing"

    def stop(self) -> None:
        """End the process, kindly first, and remove its folder; again is a no-op."""
        if self.process is not None:
            if self.process.poll() is None:
                self.process.terminate()
                try:
                    self.process.wait(STOP_SECONDS * (10 if self.launch.prefix else 1))
                except subprocess.TimeoutExpired:
                    self.process.kill()
            self.process.wait()
            self.process = None
        shutil.rmtree(self.folder, ignore_errors=True)


def ask_version(client: socket.socket, protocol: str) -> str:
    """The version a server reports, or an empty string while it is not ready."""
    client.sendall(b"version\r\n" if protocol == "memcached" else b"INFO server\r\n")
    answer = client.recv(65536).decode(errors="replace")
    for line in answer.splitlines():
        for head in ("VERSION ", "redis_version:"):
            if line.startswith(head):
                return line.removeprefix(head).strip()
    return ""
