"""The data plane as Python sees it: the one place where Python objects, the GIL and exceptions meet it."""

from collections.abc import Sequence
from typing import Final

from .embedded import Callers
from .figures import ConnectionInfo as ConnectionInfo
from .figures import ItemInfo as ItemInfo
from .keeper import Keeper

def return_freed_memory() -> None:
    """Let the C library give back what was freed, rather than keep it for the next; for the whole process."""

class AdminRequest:
    """A command that the data plane leaves to Python (``stats``, ``slabs`` ...); its connection waits."""

    token: Final[int]
    line: Final[bytes]  # the command line without its line end, for example b"stats settings"
    def __init__(self, token: int, line: bytes) -> None: ...

class Engine(Keeper):
    """Owns the store, the listeners and the connections; brings no thread of its own.

    The caller gives one thread to ``run_acceptor``, one to each ``run_worker(i)``, one to ``run_maintenance``, one to
    ``run_logger``, and one that loops over ``next_admin``; all of them return after ``stop``. Then, and only then,
    ``close`` frees everything.
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
        maxconns_fast: bool,  # turn away who comes when there are max_connections; False: let them wait
        idle_timeout: int,  # seconds without a command after which a TCP connection is closed; 0 is never
        buffer_limit: int,  # bytes that clients have sent or were sent unfinished; 0 is the default
        users: Sequence[tuple[bytes, bytes]] | None,  # who may use it (-Y); None is everybody
        binary_probe: bool,  # True: a first byte 0x80 closes the connection (-B auto)
        debug_commands: bool,  # True: the command debugtime exists
        verbosity: int,
        version: str,  # what the command version answers
        slab_sizes: Sequence[int] = ...,  # bytes of a chunk, rising; empty: by growth_factor
        slab_chunk_max: int = ...,  # bytes
        hugepages: bool = ...,
        lru_policy: str = ...,  # s3fifo, segmented or flat
        lru_maintainer: bool = ...,  # False: nobody keeps up the LRU
        hot_lru_pct: int = ...,
        warm_lru_pct: int = ...,
        hot_max_factor: float = ...,
        warm_max_factor: float = ...,
        temporary_ttl: int | None = ...,  # seconds; None: no TEMP segment
        lru_crawler: bool = ...,
        lru_crawler_sleep: int = ...,  # microseconds
        lru_crawler_tocrawl: int = ...,  # items of a class; 0: all
        slab_reassign: bool = ...,  # False: no page ever moves
        slab_automove: int = ...,  # 0, 1 or 2
        slab_automove_ratio: float = ...,
        slab_automove_window: int = ...,  # looks
        flush_enabled: bool = True,  # False is -F
        dump_enabled: bool = True,  # False is -X: no client may have all keys listed
        watch_enabled: bool = True,  # False: the command watch is refused (-W)
        watcher_logbuf_size: int = 262144,  # bytes of lines kept for each watcher
        worker_logbuf_size: int = 65536,  # bytes of events that each thread records ahead; both: 0 is the least
        prefix_delimiter: bytes = b":",  # the byte that ends a key's prefix (-D)
        detail_enabled: bool = False,  # whether the statistics per prefix are on from the start
        memory_fd: int | None = ...,  # descriptor of the file that the items are to lie in; stays the caller's
        memory_state: bytes | None = ...,  # what save said of that file; None: empty it
        memory_downtime: int = ...,  # seconds since then
        embedded: Callers | None = ...,  # what calls the store from this process; the network is not open then
    ) -> None:
        """Reserve the memory. MemoryError: the address space cannot be had; OSError: no descriptors left, or
        no space for the file; ValueError: a value out of range; restart.StateError: the file cannot be taken up."""

    def open_network(self) -> None:
        """Set up the workers and the acceptor, for an engine that was made with ``embedded``.

        Raises:
            RuntimeError: it is open, or the engine is closed.
            MemoryError, OSError: no memory or descriptors; ``close_network`` takes back what there is already.
        """

    def stop_network(self) -> None:
        """Let all but ``run_maintenance`` return."""

    def close_network(self) -> None:
        """Close every connection and free the workers and the acceptor, once their threads have returned."""

    def add_listener(self, fd: int) -> None:
        """Accept clients on this listening, non-blocking socket. The caller keeps and closes it, after ``close``."""

    def run_acceptor(self) -> None: ...
    def run_worker(self, index: int) -> None: ...
    def run_logger(self) -> None: ...
    def next_admin(self) -> AdminRequest | None:
        """Wait, without the GIL, for the next command for Python; None after ``stop``.

        With a MemoryError, who asked has been disconnected.
        """

    def answer_admin(self, token: int, reply: bytes | None) -> None:
        """Send ``reply``, which may be empty, to the connection that asked, and let it go on; None closes it.

        A connection gone meanwhile is no error.
        """

    def set_users(self, users: Sequence[tuple[bytes, bytes]]) -> None:
        """Exchange users and passwords while serving; who is authenticated stays so.

        No client can show an empty user or password, so such a one lets nobody in.

        ValueError: more than 8, or one whose user and password are longer than 255 bytes together;
        RuntimeError: the engine was set up without users.
        """

    def stop(self) -> None:
        """Let every run_* and next_admin return soon. May be called from any thread, more than once."""

    def close(self) -> None:
        """Close the connections and free the memory. Call after the threads have been joined; again is a no-op."""

    def abandon(self, why: str) -> None:
        """In a child process, to which it is of no use: close its share of the connections, but for those that came or
        went while it was forked. From here on everything else raises RuntimeError with ``why``, or does nothing."""

    def save(self) -> bytes:
        """``close``, but let another engine, in a process to come, go on with the file of ``memory_fd``; how, say the
        bytes returned. OSError: the file cannot be written."""

    def counters(self) -> dict[str, int]:
        """Every counter since start or ``reset_counters`` and every gauge, summed over the threads."""

    def class_counters(self) -> dict[int, dict[str, int]]:
        """The same per slab class, for the classes that own a page or hold an item."""

    def connections(self) -> list[ConnectionInfo]:
        """Listening sockets and connections by descriptor. It waits for no worker, and no worker for it."""

    def reset_counters(self) -> None:
        """Begin to count anew, the statistics per prefix included."""

    def set_detail(self, on: bool) -> None:
        """Begin or cease to count per prefix; what was counted stays. MemoryError: no room for the prefixes."""

    @property
    def detail(self) -> bool:
        """Whether it is counted per prefix."""

    def prefix_stats(self) -> list[tuple[bytes, int, int, int, int]]:
        """Every prefix with its numbers of gets, hits, sets and deletes; in no order."""

    def clock_advance(self, seconds: int) -> None:
        """The same, and who has been idle for too long then is looked for."""

    @property
    def verbosity(self) -> int: ...
