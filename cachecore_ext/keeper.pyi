"""The store as Python owns it: opened and freed, tuned while it serves, looked through; and its clock."""

from collections.abc import Collection

from .figures import ItemInfo

class Keeper:
    """Owns the store and what maintains it; brings no thread of its own. The half of an Engine, never made alone.

    RuntimeError: it is closed.
    """

    def run_maintenance(self) -> None: ...
    def set_memory_limit(self, nbytes: int) -> bool:
        """Change the limit while serving; False, and nothing changed, when so much cannot be had."""

    def slabs_reassign(self, source: int, target: int) -> str:
        """Ask for a page of a class (-1: any) to go to another (0: the pool): OK, BUSY, BADCLASS, NOSPARE or SAME."""

    @property
    def slab_reassign_last_busy_status(self) -> str:
        """Why a chunk could not be moved at once, the last time: none, in_use, uploading or no_memory."""

    def set_automove(self, mode: int) -> None: ...
    @property
    def automove(self) -> int: ...
    def set_automove_ratio(self, ratio: float) -> None: ...
    @property
    def automove_ratio(self) -> float: ...
    def set_automove_window(self, looks: int) -> None: ...
    @property
    def automove_window(self) -> int: ...
    def set_lru_policy(self, policy: str) -> None: ...
    @property
    def lru_policy(self) -> str: ...
    def set_lru_tuning(self, hot_pct: int, warm_pct: int, hot_factor: float, warm_factor: float) -> None: ...
    @property
    def hot_lru_pct(self) -> int: ...
    @property
    def warm_lru_pct(self) -> int: ...
    @property
    def hot_max_factor(self) -> float: ...
    @property
    def warm_max_factor(self) -> float: ...
    def set_temporary_ttl(self, seconds: int | None) -> None: ...
    @property
    def temporary_ttl(self) -> int | None: ...
    def set_crawler_enabled(self, on: bool) -> None: ...
    @property
    def crawler_enabled(self) -> bool: ...
    def set_crawler_sleep(self, us: int) -> None: ...
    @property
    def crawler_sleep(self) -> int: ...
    def set_crawler_tocrawl(self, items: int) -> None: ...
    @property
    def crawler_tocrawl(self) -> int: ...
    def crawl(self, classes: Collection[int] | None) -> str:
        """Crawl these classes (None: all) at once, as far as they have items: OK, BUSY or BADCLASS."""

    def item_sizes(self) -> dict[int, int]:
        """How many items there are of each size, in bytes rounded up to 32 (``stats sizes``). Walks over all items."""

    def items(self) -> list[ItemInfo]:
        """Every item that has not ended, in no order. It walks over all of them without the GIL, and counts nothing."""

    def cachedump(self, cls: int, limit: int) -> list[tuple[bytes, int, int]]:
        """Items of a slab class: key, bytes of the value, and the unix time of its end or 0 (``stats cachedump``).

        At most ``limit`` (0: no limit), and no more than make 2 MiB of text. Keys given in base64 are left out.
        """

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
    def flush_tick(self) -> int:
        """The tick of the last flush_all, 0 without one (``oldest`` of ``stats settings``)."""
