"""The store as Python owns it: opened and freed, tuned while it serves, looked through; and its clock."""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memset
from posix.stdlib cimport posix_memalign

from cachecore_ext.base.atomics cimport load_u32, or_u64, store_release_u32, store_u32
from cachecore_ext.base.clock cimport clock_advance, clock_freeze, clock_now, clock_resume
from cachecore_ext.base.counters cimport CLASSES, CounterSet
from cachecore_ext.base.eventlog cimport EventLog
from cachecore_ext.figures cimport cachedump, class_gauges, item_sizes, items
from cachecore_ext.storage.balance cimport RATIO_ONE
from cachecore_ext.storage.lru cimport FACTOR_ONE, TEMP_OFF
from cachecore_ext.storage.maintenance cimport (
    Maintenance, maintenance_free, maintenance_init, maintenance_run, maintenance_wake,
)
from cachecore_ext.storage.mover cimport mover_request
from cachecore_ext.storage.store cimport Store, StoreSettings, store_free, store_init, store_set_limit

cdef enum:
    CACHE_LINE = 64

MOVE_ANSWERS = ("OK", "BUSY", "BADCLASS", "NOSPARE", "SAME")
LRU_POLICIES = ("flat", "segmented", "s3fifo")  # in the order of storage/lru's LruMode
BUSY_NAMES = ("none", "in_use", "uploading", "no_memory")


cdef void *allocate(size_t size) noexcept nogil:
    """Zeroed memory on a cache line's boundary, or NULL."""
    cdef void *memory = NULL
    if posix_memalign(&memory, CACHE_LINE, size) != 0:
        return NULL
    memset(memory, 0, size)
    return memory


cdef class Keeper:
    """Owns the store and what maintains it; brings no thread of its own."""

    cdef _open_store(self, const StoreSettings *settings):
        cdef Store *store = <Store *>allocate(sizeof(Store))
        if store == NULL or store_init(store, settings) != 0:
            free(store)
            raise MemoryError(f"cannot reserve {settings.memory_limit} bytes of address space")
        self.store = store

    cdef _open_maintenance(self, CounterSet *counters, EventLog *log):
        if maintenance_init(&self.maintenance, self.store, counters, log, &self.ending) != 0:
            raise OSError("cannot set up the maintenance: no file descriptors left")

    cdef void _end_maintenance(self) noexcept:
        """Let run_maintenance return soon."""
        store_release_u32(&self.ending, 1)
        if self.maintenance.context.store != NULL:
            maintenance_wake(&self.maintenance)

    cdef void _free_store(self) noexcept:
        """Free all of it, in whatever state it is; its thread and those who use the store have ended."""
        maintenance_free(&self.maintenance)
        memset(&self.maintenance, 0, sizeof(Maintenance))
        if self.store != NULL:
            store_free(self.store)
            free(self.store)
        self.store = NULL
        self.closed = True

    cdef _check_open(self):
        if self.closed or self.store == NULL:
            raise RuntimeError(self.why or "the engine is closed")

    def run_maintenance(self):
        self._check_open()
        with nogil:
            maintenance_run(&self.maintenance)

    # ---- memory and its maintenance, while serving

    def set_memory_limit(self, uint64_t nbytes):
        self._check_open()
        changed = store_set_limit(self.store, nbytes)
        maintenance_wake(&self.maintenance)
        return bool(changed)

    def slabs_reassign(self, int64_t source, int64_t target):
        self._check_open()
        answer = mover_request(&self.maintenance.mover, &self.store.slabs, source, target, False)
        maintenance_wake(&self.maintenance)
        return MOVE_ANSWERS[<int>answer]

    @property
    def slab_reassign_last_busy_status(self):
        self._check_open()
        return BUSY_NAMES[load_u32(&self.maintenance.mover.last_busy)]

    def set_automove(self, uint32_t mode):
        self._check_open()
        store_u32(&self.maintenance.balance.mode, mode)
        store_u32(&self.store.always_wanting, mode == 2)

    @property
    def automove(self):
        self._check_open()
        return load_u32(&self.maintenance.balance.mode)

    def set_automove_ratio(self, double ratio):
        cdef double most = 0xFFFFFFFF
        self._check_open()
        ratio = min(max(ratio * RATIO_ONE + 0.5, 1.0), most)
        store_u32(&self.maintenance.balance.ratio, <uint32_t>ratio)

    @property
    def automove_ratio(self):
        self._check_open()
        return load_u32(&self.maintenance.balance.ratio) / <double>RATIO_ONE

    def set_automove_window(self, uint32_t looks):
        self._check_open()
        if looks == 0:
            raise ValueError("the window must be at least 1")
        store_u32(&self.maintenance.balance.window, looks)

    @property
    def automove_window(self):
        self._check_open()
        return load_u32(&self.maintenance.balance.window)

    def set_lru_policy(self, str policy):
        self._check_open()
        store_u32(&self.store.lru.tuning.mode, LRU_POLICIES.index(policy))

    @property
    def lru_policy(self):
        self._check_open()
        return LRU_POLICIES[load_u32(&self.store.lru.tuning.mode)]

    def set_lru_tuning(self, uint32_t hot_pct, uint32_t warm_pct, double hot_factor, double warm_factor):
        cdef double most = 0xFFFFFFFF
        self._check_open()
        if hot_factor <= 0 or warm_factor <= 0:
            raise ValueError("the factors must be above 0")
        tuning = &self.store.lru.tuning
        store_u32(&tuning.hot_pct, hot_pct)
        store_u32(&tuning.warm_pct, warm_pct)
        store_u32(&tuning.hot_factor, <uint32_t>min(hot_factor * FACTOR_ONE, most))
        store_u32(&tuning.warm_factor, <uint32_t>min(warm_factor * FACTOR_ONE, most))

    @property
    def hot_lru_pct(self):
        self._check_open()
        return load_u32(&self.store.lru.tuning.hot_pct)

    @property
    def warm_lru_pct(self):
        self._check_open()
        return load_u32(&self.store.lru.tuning.warm_pct)

    @property
    def hot_max_factor(self):
        self._check_open()
        return load_u32(&self.store.lru.tuning.hot_factor) / <double>FACTOR_ONE

    @property
    def warm_max_factor(self):
        self._check_open()
        return load_u32(&self.store.lru.tuning.warm_factor) / <double>FACTOR_ONE

    def set_temporary_ttl(self, seconds):
        self._check_open()
        store_u32(&self.store.lru.tuning.temporary_ttl, <uint32_t>TEMP_OFF if seconds is None else seconds)

    @property
    def temporary_ttl(self):
        self._check_open()
        ttl = load_u32(&self.store.lru.tuning.temporary_ttl)
        return None if ttl == <uint32_t>TEMP_OFF else ttl

    def set_crawler_enabled(self, bint on):
        self._check_open()
        store_u32(&self.maintenance.crawler.enabled, on)
        maintenance_wake(&self.maintenance)

    @property
    def crawler_enabled(self):
        self._check_open()
        return bool(load_u32(&self.maintenance.crawler.enabled))

    def set_crawler_sleep(self, uint32_t us):
        self._check_open()
        store_u32(&self.maintenance.crawler.sleep_us, us)

    @property
    def crawler_sleep(self):
        self._check_open()
        return load_u32(&self.maintenance.crawler.sleep_us)

    def set_crawler_tocrawl(self, uint32_t items):
        self._check_open()
        store_u32(&self.maintenance.crawler.tocrawl, items)

    @property
    def crawler_tocrawl(self):
        self._check_open()
        return load_u32(&self.maintenance.crawler.tocrawl)

    def crawl(self, classes):
        cdef uint64_t wanted = 0
        self._check_open()
        filled = {
            cls for cls in range(1, self.store.slabs.nclasses + 1) if class_gauges(self.store, cls)["number"]
        }
        for cls in filled if classes is None else classes:
            if not 1 <= cls < <int>CLASSES:
                return "BADCLASS"
            if cls in filled:
                wanted |= <uint64_t>1 << <int>cls
        if load_u32(&self.maintenance.crawler.running):
            return "BUSY"
        or_u64(&self.maintenance.crawler.requested, wanted)
        maintenance_wake(&self.maintenance)
        return "OK"

    def item_sizes(self):
        self._check_open()
        return item_sizes(self.store)

    def items(self):
        self._check_open()
        return items(self.store)

    def cachedump(self, uint32_t cls, limit):
        self._check_open()
        return cachedump(self.store, cls, limit)

    # ---- the clock

    def clock_now(self):
        self._check_open()
        return clock_now(&self.store.clock)

    def clock_advance(self, seconds):
        self._check_open()
        clock_advance(&self.store.clock, seconds)
        maintenance_wake(&self.maintenance)

    def clock_freeze(self):
        self._check_open()
        clock_freeze(&self.store.clock)

    def clock_resume(self):
        self._check_open()
        clock_resume(&self.store.clock)

    @property
    def started(self):
        self._check_open()
        return self.store.clock.unix_start

    @property
    def flush_tick(self):
        self._check_open()
        return load_u32(&self.store.flush.shown)
