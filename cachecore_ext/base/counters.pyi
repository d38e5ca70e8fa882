"""The counters' names for Python; the values are positions in a counter set."""

from enum import IntEnum

class Counter(IntEnum):
    """What every thread counts."""

    CMD_FLUSH = 0
    CMD_META = 1
    GET_MISSES = 2
    GET_EXPIRED = 3
    GET_FLUSHED = 4
    DELETE_MISSES = 5
    INCR_MISSES = 6
    DECR_MISSES = 7
    CAS_MISSES = 8
    TOUCH_MISSES = 9
    STORE_TOO_LARGE = 10
    STORE_NO_MEMORY = 11
    BYTES_READ = 12
    BYTES_WRITTEN = 13
    CONN_YIELDS = 14
    TOTAL_ITEMS = 15
    TOTAL_CONNECTIONS = 16
    REJECTED_CONNECTIONS = 17
    LISTEN_DISABLED_NUM = 18
    TIME_IN_LISTEN_DISABLED_US = 19
    READ_BUF_OOM = 20
    RESPONSE_OBJ_OOM = 21
    MALLOC_FAILS = 22
    IDLE_KICKS = 23
    AUTH_CMDS = 24
    AUTH_ERRORS = 25
    LOG_WORKER_DROPPED = 26
    LOG_WORKER_WRITTEN = 27
    LOG_WATCHER_SKIPPED = 28
    LOG_WATCHER_SENT = 29

class ClassCounter(IntEnum):
    """What every thread counts for each slab class."""

    CLASS_HITS_TO_HOT = 0
    CLASS_HITS_TO_WARM = 1
    CLASS_HITS_TO_COLD = 2
    CLASS_HITS_TO_TEMP = 3
    CLASS_CMD_SET = 4
    CLASS_DELETE_HITS = 5
    CLASS_INCR_HITS = 6
    CLASS_DECR_HITS = 7
    CLASS_CAS_HITS = 8
    CLASS_CAS_BADVAL = 9
    CLASS_TOUCH_HITS = 10
