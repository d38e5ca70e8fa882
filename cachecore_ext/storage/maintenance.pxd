"""What goes on beside the serving: the LRU's upkeep, the crawler, and the moving of pages; one thread, bounded steps.

Each of them says how long it can rest; the thread sleeps as long as the first of them, on the store's alarm, so that a
class without memory, or a command, wakes it up.
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from cachecore_ext.base.counters cimport CounterSet
from cachecore_ext.base.eventlog cimport EventLog
from cachecore_ext.storage.allocation cimport Context, Store
from cachecore_ext.storage.balance cimport Balance
from cachecore_ext.storage.crawler cimport Crawler
from cachecore_ext.storage.mover cimport Mover

cdef struct Maintenance:
    Context context
    const uint32_t *stop      # not 0: end; atomic, the engine's
    bint lru                  # whether the LRU is kept up; set once, as the next
    bint moves                # whether pages may move
    int64_t next_lru_us       # the LRU's next round, unless the tick is another one before
    uint32_t lru_tick         # the tick of the last one
    int64_t lru_rest_us
    uint64_t juggles          # rounds; atomic
    Crawler crawler
    Mover mover
    Balance balance

cdef int maintenance_init(Maintenance *maintenance, Store *store, CounterSet *counters, EventLog *log,
                          const uint32_t *stop) noexcept nogil
cdef void maintenance_free(Maintenance *maintenance) noexcept nogil
cdef void maintenance_wake(Maintenance *maintenance) noexcept nogil
cdef void maintenance_run(Maintenance *maintenance) noexcept nogil
cdef int64_t maintenance_step(Maintenance *maintenance) noexcept nogil
