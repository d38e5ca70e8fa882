"""An engine without a data plane: for tests of what stands around it, with numbers of the test's choice."""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass, field


class EveryNumber(dict[str, int]):
    """Counters that are all there: each name has a number of its own, until told otherwise."""

    def __missing__(self, name: str) -> int:
        return sum(name.encode())


@dataclass
class FakeRequest:
    token: int
    line: bytes


@dataclass
class FakeEngine:
    started: int = 1_700_000_000
    verbosity: int = 0
    flush_tick: int = 0
    classes: dict[int, dict[str, int]] = field(default_factory=dict)
    tick: int = 62
    frozen: bool = False

    def __post_init__(self) -> None:
        self.calls: list[str] = []
        self.fds: list[int] = []
        self.threads: dict[str, str] = {}
        self.answers: queue.Queue[tuple[int, bytes]] = queue.Queue()
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

    def _run(self, role: str) -> None:
        self.threads[role] = threading.current_thread().name
        self._stopped.wait()

    def next_admin(self) -> FakeRequest | None:
        return self.requests.get()

    def answer_admin(self, token: int, reply: bytes) -> None:
        self.answers.put((token, reply))

    def stop(self) -> None:
        self.calls.append("stop")
        self._stopped.set()
        self.requests.put(None)

    def close(self) -> None:
        assert self._stopped.is_set()
        self.calls.append("close")

    def counters(self) -> dict[str, int]:
        return EveryNumber()

    def class_counters(self) -> dict[int, dict[str, int]]:
        return self.classes

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
