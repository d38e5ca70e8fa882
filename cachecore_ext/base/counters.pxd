"""What is counted, a set per thread: only its own thread writes a set, readers add all of them up.

The names of the two enums are the names that Python sees (in lower case), spelled here and nowhere else.
"""
from libc.stdint cimport uint32_t, uint64_t

from cachecore_ext.base.atomics cimport load_u64, store_u64

cpdef enum Counter:
    CMD_FLUSH, CMD_META,
    GET_MISSES, GET_EXPIRED, GET_FLUSHED,
    DELETE_MISSES, INCR_MISSES, DECR_MISSES, CAS_MISSES, TOUCH_MISSES,
    STORE_TOO_LARGE, STORE_NO_MEMORY,
    BYTES_READ, BYTES_WRITTEN, CONN_YIELDS,
    TOTAL_ITEMS, TOTAL_CONNECTIONS, REJECTED_CONNECTIONS,
    LISTEN_DISABLED_NUM, TIME_IN_LISTEN_DISABLED_US,
    READ_BUF_OOM, RESPONSE_OBJ_OOM, MALLOC_FAILS,
    IDLE_KICKS, AUTH_CMDS, AUTH_ERRORS,
    LOG_WORKER_DROPPED, LOG_WORKER_WRITTEN, LOG_WATCHER_SKIPPED, LOG_WATCHER_SENT

cpdef enum ClassCounter:
    CLASS_HITS_TO_HOT, CLASS_HITS_TO_WARM, CLASS_HITS_TO_COLD, CLASS_HITS_TO_TEMP,  # in the order of lru.Segment
    CLASS_CMD_SET, CLASS_DELETE_HITS, CLASS_INCR_HITS, CLASS_DECR_HITS,
    CLASS_CAS_HITS, CLASS_CAS_BADVAL, CLASS_TOUCH_HITS

cdef enum:
    COUNTERS = 30
    CLASS_COUNTERS = 11
    CLASSES = 64  # slab class ids run from 1 to 63, as memcached's; 0 is "no class"
    SET_PAD = 8 - (COUNTERS + CLASSES * CLASS_COUNTERS) % 8

cdef struct CounterSet:
    uint64_t counter[COUNTERS]
    uint64_t by_class[CLASSES][CLASS_COUNTERS]
    uint64_t pad[SET_PAD]  # to whole lines: the sets of two threads lie side by side


cdef inline void bump(uint64_t *counter, uint64_t by) noexcept nogil:
    """Add without a locked instruction: this thread is the only writer, others only look."""
    store_u64(counter, load_u64(counter) + by)


cdef inline void count(CounterSet *counters, Counter which) noexcept nogil:
    bump(&counters.counter[<int>which], 1)


cdef inline void count_many(CounterSet *counters, Counter which, uint64_t by) noexcept nogil:
    bump(&counters.counter[<int>which], by)


cdef inline void count_class(CounterSet *counters, uint32_t cls, ClassCounter which) noexcept nogil:
    bump(&counters.by_class[cls][<int>which], 1)
