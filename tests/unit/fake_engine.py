"""An engine without a data plane: for tests of what stands around it, with numbers of the test's choice."""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass, field
from functools import partialmethod

from cachecore import Settings


class EveryNumber(dict[str, int]):
    """Counters that are all there: each name has a number of its own, until told otherwise."""

    def __missing__(self, name: str) -> int:
        return sum(name.encode())


@dataclass
class FakeRequest:
    token: int
    line: bytes


@dataclass
class FakeOptions:
    """The options that the answers depend on, each with a switch of its own."""

    settings: Settings = field(default_factory=Settings)
    enable_shutdown: bool = False
    disable_dumping: bool = False
    slab_reassign: bool = False
    lru_maintainer: bool = False
    track_sizes: bool = False
    maxconns_fast: bool = True
    idle_timeout: int = 0

    def __post_init__(self) -> None:
        self.conn_limit = self.settings.conn_limit
        self.threads = self.settings.threads
        self.stats = self.settings.stats


@dataclass
class FakeEngine:
    started: int = 1_700_000_000
    verbosity: int = 0
    flush_tick: int = 0
    classes: dict[int, dict[str, int]] = field(default_factory=dict)
    tick: int = 62
    frozen: bool = False
    detail: bool = False
    automove: int = 1
    automove_ratio: float = 0.8
    automove_window: int = 10
    lru_policy: str = "s3fifo"
    hot_lru_pct: int = 20
    warm_lru_pct: int = 40
    hot_max_factor: float = 0.2
    warm_max_factor: float = 2.0
    temporary_ttl: int | None = None
    crawler_enabled: bool = True
    crawler_sleep: int = 100
    crawler_tocrawl: int = 0
    slab_reassign_last_busy_status: str = "none"
    verdict: str = "OK"  # what comes of a page's move, or of a crawl
    memory_limit: int | None = 64 << 20  # None: it cannot be changed
    sizes: dict[int, int] = field(default_factory=dict)
    dumped: list[tuple[bytes, int, int]] = field(default_factory=list)
    prefixes: list[tuple[bytes, int, int, int, int]] = field(default_factory=list)
    clients: list[tuple[int, str, str | None, str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.calls: list[object] = []
        self.fds: list[int] = []
        self.users: list[tuple[bytes, bytes]] | None = None
        self.threads: dict[str, str] = {}
        self.answers: queue.Queue[tuple[int, bytes | None]] = queue.Queue()
        self.requests: queue.Queue[FakeRequest | None] = queue.Queue()
        self._stopped = threading.Event()

    def add_listener(self, fd: int) -> None:
        self.fds.append(fd)

    def run_acceptor(self) -> None:
        self._run("acceptor")

    def run_worker(self, index: int) -> None:
        self._run(f"worker {index}")

    def run_maintenance(self) -> None:
        self._run("maintenance")

    def run_logger(self) -> None:
        self._run("logger")

    def _run(self, role: str) -> None:
        self.threads[role] = threading.current_thread().name
        self._stopped.wait()

    def next_admin(self) -> FakeRequest | None:
        return self.requests.get()

    def answer_admin(self, token: int, reply: bytes | None) -> None:
        self.answers.put((token, reply))

    def stop(self) -> None:
        self.calls.append("stop")
        self._stopped.set()
        self.requests.put(None)

    def close(self) -> None:
        assert self._stopped.is_set()
        self.calls.append("close")

    def counters(self) -> dict[str, int]:
        return EveryNumber() if self.memory_limit is None else EveryNumber(limit_maxbytes=self.memory_limit)

    def class_counters(self) -> dict[int, dict[str, int]]:
        return self.classes

    def set_users(self, users: list[tuple[bytes, bytes]]) -> None:
        self.users = users

    def reset_counters(self) -> None:
        self.calls.append("reset")

    def clock_now(self) -> int:
        return self.tick

    def clock_advance(self, seconds: int) -> None:
        self.tick += seconds

    def clock_freeze(self) -> None:
        self.frozen = True

    def clock_resume(self) -> None:
        self.frozen = False

    def _set(self, name: str, value: object) -> None:
        setattr(self, name, value)

    set_detail = partialmethod(_set, "detail")
    set_automove = partialmethod(_set, "automove")
    set_automove_ratio = partialmethod(_set, "automove_ratio")
    set_automove_window = partialmethod(_set, "automove_window")
    set_lru_policy = partialmethod(_set, "lru_policy")
    set_temporary_ttl = partialmethod(_set, "temporary_ttl")
    set_crawler_enabled = partialmethod(_set, "crawler_enabled")
    set_crawler_sleep = partialmethod(_set, "crawler_sleep")
    set_crawler_tocrawl = partialmethod(_set, "crawler_tocrawl")

    def set_lru_tuning(self, hot_pct: int, warm_pct: int, hot_factor: float, warm_factor: float) -> None:
        self.hot_lru_pct, self.warm_lru_pct = hot_pct, warm_pct
        self.hot_max_factor, self.warm_max_factor = hot_factor, warm_factor

    def slabs_reassign(self, source: int, target: int) -> str:
        self.calls.append(("reassign", source, target))
        return self.verdict

    def crawl(self, classes: frozenset[int] | None) -> str:
        self.calls.append(("crawl", classes if classes is None else sorted(classes)))
        return self.verdict

    def set_memory_limit(self, nbytes: int) -> bool:
        if self.memory_limit is not None:
            self.memory_limit = nbytes
        return self.memory_limit is not None

    def item_sizes(self) -> dict[int, int]:
        return self.sizes

    def cachedump(self, cls: int, limit: int) -> list[tuple[bytes, int, int]]:
        self.calls.append(("cachedump", cls, limit))
        return self.dumped

    def prefix_stats(self) -> list[tuple[bytes, int, int, int, int]]:
        return self.prefixes

    def connections(self) -> list[tuple[int, str, str | None, str, int]]:
        return self.clients
