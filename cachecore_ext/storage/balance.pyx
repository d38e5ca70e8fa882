"""Looking, and asking the mover."""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset

from cachecore_ext.base.atomics cimport load_u32, load_u64, store_u32
from cachecore_ext.base.clock cimport monotonic_us
from cachecore_ext.base.lock cimport lock_acquire, lock_release
from cachecore_ext.storage.allocation cimport Store
from cachecore_ext.storage.item cimport ITEM_EXPLICIT, Item, item_cas, item_meta
from cachecore_ext.storage.lru cimport LruClass, lru_oldest_locked
from cachecore_ext.storage.mover cimport mover_request
from cachecore_ext.storage.slabs cimport slab_look

cdef enum:
    KEEP_PAGES = 2     # who has fewer gives none, who has no more gives only what is free


cdef void balance_init(Balance *balance) noexcept nogil:
    memset(balance, 0, sizeof(Balance))
    balance.mode = 1
    balance.ratio = RATIO_ONE * 4 / 5
    balance.window = 10


cdef void note_age(const Balance *balance, BalanceClass *of, double age) noexcept nogil:
    if of.known:
        of.age += (age - of.age) / load_u32(&balance.window)
    else:
        of.age = age
        of.known = True


cdef void look_at(Balance *balance, Store *store, uint32_t cls) noexcept nogil:
    """Bring what is known of a class up to date."""
    cdef BalanceClass *of = &balance.classes[cls]
    cdef LruClass *lists = &store.lru.classes[cls]
    cdef uint64_t free_chunks = 0, evicted, cas = load_u64(&store.cas)
    cdef Item *item
    slab_look(&store.slabs, cls, &of.pages, &free_chunks)
    of.spare = free_chunks / store.slabs.classes[cls].per_page
    lock_acquire(&lists.lock)
    evicted = lists.evicted + lists.outofmemory
    item = lru_oldest_locked(&store.lru, lists)
    if item == NULL:
        of.known = False
    elif not item_meta(item) & ITEM_EXPLICIT and item_cas(item) <= cas:
        note_age(balance, of, <double>(cas - item_cas(item)))
    lock_release(&lists.lock)
    of.evictions = evicted - of.evicted
    of.evicted = evicted
    of.quiet = 0 if of.evictions > 0 else of.quiet + 1


cdef uint32_t youngest(const Balance *balance, uint32_t nclasses) noexcept nogil:
    """The class that evicts the youngest items; 0 when none evicts."""
    cdef uint32_t cls, found = 0
    for cls in range(1, nclasses + 1):
        if balance.classes[cls].evictions > 0 and balance.classes[cls].known and (
            found == 0 or balance.classes[cls].age < balance.classes[found].age
        ):
            found = cls
    return found


cdef uint32_t giver(const Balance *balance, const Store *store, uint32_t taker, double least_age) noexcept nogil:
    """The class that can best do without a page: one that has had a page's worth of free chunks for a while, else the
    one with the oldest tail, if that is older than ``least_age`` and items may be evicted. 0 when there is none."""
    cdef uint32_t cls, spare = 0, oldest = 0
    cdef const BalanceClass *of
    for cls in range(1, store.slabs.nclasses + 1):
        of = &balance.classes[cls]
        if cls == taker or of.pages < KEEP_PAGES:
            continue
        if of.spare > 0 and of.quiet >= load_u32(&balance.window) and (
            spare == 0 or of.spare > balance.classes[spare].spare
        ):
            spare = cls
        if store.evictions and of.pages > KEEP_PAGES and of.known and of.age > least_age and (
            oldest == 0 or of.age > balance.classes[oldest].age
        ):
            oldest = cls
    return spare if spare != 0 else oldest


cdef void ask(Balance *balance, Mover *mover, Store *store, uint32_t source, uint32_t target) noexcept nogil:
    """Ask for a page, and forget the ages that will not hold any more."""
    if source == 0:
        return
    mover_request(mover, &store.slabs, source, target)
    balance.classes[source].known = False
    balance.classes[target].known = False
    balance.classes[target].quiet = 0


cdef void decide(Balance *balance, Mover *mover, Store *store) noexcept nogil:
    """At most one move."""
    cdef uint32_t mode = load_u32(&balance.mode)
    cdef uint32_t wanting = load_u32(&store.wanting), taker
    cdef double ratio = load_u32(&balance.ratio) / <double>RATIO_ONE
    if wanting != 0:
        store_u32(&store.wanting, 0)
    if mode != 0 and wanting != 0:
        ask(balance, mover, store, giver(balance, store, wanting, -1), wanting)
    elif load_u64(&store.slabs.charged) > load_u64(&store.slabs.limit):
        ask(balance, mover, store, giver(balance, store, 0, -1), 0)
    elif mode != 0:
        taker = youngest(balance, store.slabs.nclasses)
        if taker != 0:
            ask(balance, mover, store, giver(balance, store, taker, balance.classes[taker].age / ratio), taker)


cdef bint any_evicts(const Balance *balance, uint32_t nclasses) noexcept nogil:
    cdef uint32_t cls
    for cls in range(1, nclasses + 1):
        if balance.classes[cls].evictions > 0:
            return True
    return False


cdef int64_t balance_step(Balance *balance, Mover *mover, Context *context) noexcept nogil:
    """Look, if it is time to, and ask the mover for what should be moved; how long to rest, in microseconds."""
    cdef Store *store = context.store
    cdef uint32_t cls
    cdef int64_t now = monotonic_us(), next_us
    cdef bint asked, soon
    if load_u32(&mover.source) != 0:
        return LOOK_US
    next_us = balance.next_us if load_u32(&store.wanting) == 0 else balance.vain_us
    if now < next_us:
        return next_us - now
    for cls in range(1, store.slabs.nclasses + 1):
        look_at(balance, store, cls)
    decide(balance, mover, store)
    asked = load_u32(&mover.source) != 0
    # One move is often followed by the next, as when the limit was lowered; unless moves come to nothing.
    soon = any_evicts(balance, store.slabs.nclasses) or (asked and not mover.gave_up)
    balance.next_us = now + (LOOK_US if soon else LOOK_IDLE_US)
    if asked:
        return 0
    balance.vain_us = now + LOOK_US
    return balance.next_us - now
