"""The maintenance's loop, and the LRU's rounds."""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset

from cachecore_ext.base.atomics cimport add_u64, load_acquire_u32
from cachecore_ext.base.clock cimport clock_now, monotonic_us
from cachecore_ext.base.eventlog cimport hub_watched
from cachecore_ext.base.linux cimport (
    EFD_CLOEXEC, EFD_NONBLOCK, POLLIN, close, eventfd, eventfd_read, eventfd_write, pollfd, ppoll, timespec,
)
from cachecore_ext.base.lock cimport lock_acquire, lock_release
from cachecore_ext.storage.allocation cimport store_may_be_dead, store_release, store_try_take_locked
from cachecore_ext.storage.balance cimport balance_init, balance_step
from cachecore_ext.storage.crawler cimport crawler_init, crawler_step
from cachecore_ext.storage.item cimport Item
from cachecore_ext.storage.lru cimport SEGMENTS, LruClass, Segment, lru_before_locked, lru_juggle_locked
from cachecore_ext.storage.mover cimport mover_step

cdef enum:
    REST_MIN_US = 1000      # memcached's bounds for the LRU's rests
    REST_MAX_US = 1000000
    MOVES = 64              # items moved before a class's lock is released
    BATCHES = 8             # ... and so often before the next class has its turn: 500, as in memcached
    RECLAIMS = 64           # items that had ended, taken from a class's tails in one round


cdef int maintenance_init(Maintenance *maintenance, Store *store, CounterSet *counters, EventLog *log,
                          const uint32_t *stop) noexcept nogil:
    """``log``: NULL where nobody watches. 0, or -1 without descriptors; maintenance_free in either case."""
    memset(maintenance, 0, sizeof(Maintenance))
    maintenance.context.store = store
    maintenance.context.counters = counters
    maintenance.context.log = log
    maintenance.stop = stop
    maintenance.lru = True
    maintenance.moves = True
    crawler_init(&maintenance.crawler)
    balance_init(&maintenance.balance)
    store.alarm = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
    return 0 if store.alarm >= 0 else -1


cdef void maintenance_free(Maintenance *maintenance) noexcept nogil:
    cdef Store *store = maintenance.context.store
    if store != NULL and store.alarm >= 0:
        close(store.alarm)
        store.alarm = -1


cdef void maintenance_wake(Maintenance *maintenance) noexcept nogil:
    """Let it look at once what there is to do. For any thread."""
    eventfd_write(maintenance.context.store.alarm, 1)


# ---- the LRU

cdef Item *dead_tail_locked(Context *context, LruClass *lists) noexcept nogil:
    """Take an item that has ended from one of the tails; NULL when there is none."""
    cdef Item *item
    cdef int segment
    for segment in range(SEGMENTS):
        item = lru_before_locked(&context.store.lru, lists, <Segment>segment, NULL)
        if item == NULL or not store_may_be_dead(context.store, item, context.now):
            continue
        if store_try_take_locked(context, lists, item, True, &lists.reclaimed):
            return item
    return NULL


cdef uint32_t reclaim_tails(Context *context, LruClass *lists) noexcept nogil:
    """Give back what has ended and lies at the tails; how many items."""
    cdef Item *item
    cdef uint32_t done = 0
    while done < RECLAIMS:
        lock_acquire(&lists.lock)
        item = dead_tail_locked(context, lists)
        lock_release(&lists.lock)
        if item == NULL:
            break
        store_release(context.store, item)
        done += 1
    return done


cdef uint32_t keep_up(Context *context, uint32_t cls) noexcept nogil:
    """A class's round; how much there was to do."""
    cdef LruClass *lists = &context.store.lru.classes[cls]
    cdef uint32_t done = reclaim_tails(context, lists), moved = MOVES
    cdef int i
    for i in range(BATCHES):
        lock_acquire(&lists.lock)
        moved = lru_juggle_locked(&context.store.lru, lists, context.now, MOVES)
        lock_release(&lists.lock)
        done += moved
        if moved < MOVES:
            break
    return done


cdef int64_t lru_step(Maintenance *maintenance) noexcept nogil:
    """A round over all classes, if it is time for one; how long to rest. The less there was to do, the longer."""
    cdef int64_t now = monotonic_us()
    cdef uint32_t cls, done = 0
    if not maintenance.lru:
        return REST_MAX_US
    if now < maintenance.next_lru_us and maintenance.context.now == maintenance.lru_tick:
        return maintenance.next_lru_us - now
    maintenance.lru_tick = maintenance.context.now
    for cls in range(1, maintenance.context.store.slabs.nclasses + 1):
        done = max(done, keep_up(&maintenance.context, cls))
    add_u64(&maintenance.juggles, 1)
    if done >= MOVES * BATCHES:
        maintenance.lru_rest_us = REST_MIN_US
    elif done > 0:
        maintenance.lru_rest_us = max(maintenance.lru_rest_us / 2, <int64_t>REST_MIN_US)
    else:
        maintenance.lru_rest_us = min(maintenance.lru_rest_us * 2 + REST_MIN_US, <int64_t>REST_MAX_US)
    maintenance.next_lru_us = now + maintenance.lru_rest_us
    return maintenance.lru_rest_us


# ---- the loop

cdef int64_t maintenance_step(Maintenance *maintenance) noexcept nogil:
    """One step of everything; how long to rest, in microseconds."""
    cdef Context *context = &maintenance.context
    cdef int64_t rest
    context.now = clock_now(&context.store.clock)
    if context.log != NULL:
        context.watched = hub_watched(context.log.hub)
    rest = min(lru_step(maintenance), crawler_step(&maintenance.crawler, context))
    if maintenance.moves:
        rest = min(rest, balance_step(&maintenance.balance, &maintenance.mover, context))
        rest = min(rest, mover_step(&maintenance.mover, context))
    return rest


cdef void sleep_until_alarm(int alarm, int64_t rest_us) noexcept nogil:
    cdef pollfd waiting
    cdef timespec rest
    cdef uint64_t count = 0
    waiting.fd = alarm
    waiting.events = POLLIN
    rest.tv_sec = rest_us / 1000000
    rest.tv_nsec = rest_us % 1000000 * 1000
    if ppoll(&waiting, 1, &rest, NULL) > 0:
        eventfd_read(alarm, &count)


cdef void maintenance_run(Maintenance *maintenance) noexcept nogil:
    """Work until told to stop. Never takes the GIL."""
    cdef int64_t rest
    while load_acquire_u32(maintenance.stop) == 0:
        rest = maintenance_step(maintenance)
        if rest > 0:
            sleep_until_alarm(maintenance.context.store.alarm, rest)
