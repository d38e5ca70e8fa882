"""The data plane as Python sees it: the one place where Python objects, the GIL and exceptions meet it."""

from typing import Final

class AdminRequest:
    """A command that the data plane leaves to Python (the ``stats`` family); its connection waits for the answer."""

    token: Final[int]
    line: Final[bytes]  # the command line without its line end, for example b"stats settings"

class Engine:
    """Owns the store, the listeners and the connections; brings no thread of its own.

    The caller gives one thread to ``run_acceptor``, one to each ``run_worker(i)``, and one that loops over
    ``next_admin``; all of them return after ``stop``. Then, and only then, ``close`` frees everything.
    """

    def __init__(
        self,
        *,
        memory_limit: int,  # bytes: pages and table together (-m)
        item_size_max: int,  # bytes, memcached's counting (-I)
        threads: int,  # workers (-t)
        max_connections: int,  # client connections (-c)
        growth_factor: float | None,  # -f; None is the default ladder
        chunk_size_min: int,  # bytes for key, value and flags in the smallest class (-n)
        evictions: bool,  # False is -M
        use_cas: bool,  # False is -C
        reqs_per_event: int,  # -R
        buffer_limit: int,  # bytes that clients have sent or were sent unfinished; 0 is the default
        binary_probe: bool,  # True: a first byte 0x80 closes the connection (-B auto)
        debug_commands: bool,  # True: the command debugtime exists
        verbosity: int,
        version: str,  # what the command version answers
    ) -> None:
        """Reserve the memory. MemoryError: the address space cannot be had; OSError: no descriptors left;
        ValueError: a value out of range."""

    def add_listener(self, fd: int) -> None:
        """Accept clients on this listening, non-blocking socket. The caller keeps and closes it, after ``close``."""

    def run_acceptor(self) -> None: ...
    def run_worker(self, index: int) -> None: ...
    def next_admin(self) -> AdminRequest | None:
        """Wait, without the GIL, for the next command for Python; None after ``stop``."""

    def answer_admin(self, token: int, reply: bytes) -> None:
        """Send ``reply`` to the connection that asked, and let it go on. A connection gone meanwhile is no error."""

    def stop(self) -> None:
        """Let every run_* and next_admin return soon. May be called from any thread, more than once."""

    def close(self) -> None:
        """Close the connections and free the memory. Call after the threads have been joined; again is a no-op."""

    def counters(self) -> dict[str, int]:
        """Every counter since start or ``reset_counters`` and every gauge, summed over the threads."""

    def class_counters(self) -> dict[int, dict[str, int]]:
        """The same per slab class, for the classes that own a page or hold an item."""

    def reset_counters(self) -> None: ...
    def clock_now(self) -> int:
        """The server clock's tick: seconds since start, plus 62, plus what the clock was advanced by."""

    def clock_advance(self, seconds: int) -> None:
        """Move the clock, also backwards; a frozen clock moves and stays frozen."""

    def clock_freeze(self) -> None: ...
    def clock_resume(self) -> None: ...
    @property
    def started(self) -> int:
        """Unix time of tick 0."""

    @property
    def verbosity(self) -> int: ...
    @property
    def flush_tick(self) -> int:
        """The tick of the last flush_all, 0 without one (``oldest`` of ``stats settings``)."""
