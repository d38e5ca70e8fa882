"""Looking, and asking the mover."""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.math cimport log, sqrt
from libc.string cimport memset

from cachecore_ext.base.atomics cimport load_u32, load_u64, store_u32
from cachecore_ext.base.clock cimport monotonic_us
from cachecore_ext.base.counters cimport CLASSES, CLASS_CMD_SET, CLASS_HITS_TO_HOT, CounterSet
from cachecore_ext.base.lock cimport lock_acquire, lock_release
from cachecore_ext.storage.allocation cimport Store
from cachecore_ext.storage.item cimport ITEM_EXPLICIT, Item, item_cas, item_meta
from cachecore_ext.storage.lru cimport DEPTHS, SEGMENTS, LruClass, lru_oldest_locked
from cachecore_ext.storage.mover cimport mover_request
from cachecore_ext.storage.slabs cimport TOP_PAGES, slab_look

cdef enum:
    NOISE = 3          # so many standard deviations apart are two counts that differ
    MEMORY = 4         # what was seen fades to 1/e, about, until this part of all items has been evicted
    IDLE = 16          # ... and a class is idle that had nothing to do until this part of them has been
    COLDEST = 4        # how much less a class's coldest page is hit than its average one
    KEEP_PAGES = 2     # who has fewer gives none while it is hit, who has no more none for its age


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


cdef void balance_watch(Balance *balance, const CounterSet *sets, uint32_t nsets) noexcept nogil:
    """Look at what these threads count, from 0 on; all that serve, or the balance errs."""
    cdef uint32_t cls
    balance.sets = sets
    balance.nsets = nsets
    for cls in range(<uint32_t>CLASSES):
        balance.classes[cls].all_hits = 0
        balance.classes[cls].all_sets = 0


cdef void note_use(const Balance *balance, BalanceClass *of, uint32_t cls) noexcept nogil:
    """Count the fetches that found an item of the class, and see whether there was anything asked of it."""
    cdef uint64_t hits = 0, sets = 0
    cdef uint32_t i
    cdef int segment
    for i in range(balance.nsets):
        sets += load_u64(&balance.sets[i].by_class[cls][<int>CLASS_CMD_SET])
        for segment in range(SEGMENTS):
            hits += load_u64(&balance.sets[i].by_class[cls][<int>CLASS_HITS_TO_HOT + segment])
    of.idle = of.idle + balance.evictions if hits == of.all_hits and sets == of.all_sets else 0
    of.hits = of.hits * balance.fading + <double>(hits - of.all_hits)
    of.all_hits = hits
    of.all_sets = sets


cdef bint is_idle(const Balance *balance, const BalanceClass *of) noexcept nogil:
    """Whether nothing was asked of a class for as long as a good part of the others' items was evicted."""
    return balance.nsets > 0 and of.idle * IDLE > balance.chunks


cdef void note_returns(BalanceClass *of, const LruClass *lists, double fading) noexcept nogil:
    """Count the ghosts that came back, and see what a page more would have brought: a share of what n pages more would
    have, for the best n. With n = 1 alone a class would never get to where its hits begin."""
    cdef double within = 0
    cdef int depth
    of.gain = 0
    for depth in range(DEPTHS):
        of.returns[depth] = of.returns[depth] * fading + <uint32_t>(lists.returned[depth] - of.returned[depth])
        of.returned[depth] = lists.returned[depth]
        within += of.returns[depth]
        of.gain = max(of.gain, within / (1 << depth))


cdef void look_at(Balance *balance, Store *store, uint32_t cls) noexcept nogil:
    """Bring what is known of a class up to date."""
    cdef BalanceClass *of = &balance.classes[cls]
    cdef LruClass *lists = &store.lru.classes[cls]
    cdef uint64_t free_chunks = 0, evicted, cas = load_u64(&store.cas)
    cdef Item *item
    note_use(balance, of, cls)
    slab_look(&store.slabs, cls, &of.pages, &free_chunks)
    of.spare = free_chunks / store.slabs.classes[cls].per_page
    lock_acquire(&lists.lock)
    evicted = lists.evicted + lists.outofmemory
    note_returns(of, lists, balance.fading)
    item = lru_oldest_locked(&store.lru, lists)
    if item == NULL:
        of.known = False
    elif not item_meta(item) & ITEM_EXPLICIT and item_cas(item) <= cas:
        note_age(balance, of, <double>(cas - item_cas(item)))
    lock_release(&lists.lock)
    of.evictions = evicted - of.evicted
    of.evicted = evicted
    of.quiet = 0 if of.evictions > 0 else of.quiet + 1


cdef double worth(const Balance *balance, uint32_t cls) noexcept nogil:
    """Hits that the class would lose with a page: more than one more would bring, by as much as hits rise with the
    logarithm of the memory. One that evicts nothing loses an unknown part of what a page of its has on average, of
    which the coldest items go."""
    cdef const BalanceClass *of = &balance.classes[cls]
    cdef double pages = <double>of.pages
    if is_idle(balance, of):
        return 0
    if of.quiet >= load_u32(&balance.window):
        return max(of.gain, of.hits / pages / COLDEST)
    return of.gain * log(pages / (pages - 1)) / log((pages + 1) / pages)


cdef uint32_t neediest(const Balance *balance, uint32_t nclasses) noexcept nogil:
    """The class that a page more would bring most; 0 when it would bring none of them anything worth mentioning."""
    cdef uint32_t cls, found = 0
    cdef double most = NOISE * NOISE
    for cls in range(1, nclasses + 1):
        if balance.classes[cls].gain > most:
            found = cls
            most = balance.classes[cls].gain
    return found


cdef uint32_t youngest(const Balance *balance, uint32_t nclasses) noexcept nogil:
    """The class that evicts the youngest items; 0 when none evicts."""
    cdef uint32_t cls, found = 0
    for cls in range(1, nclasses + 1):
        if balance.classes[cls].evictions > 0 and balance.classes[cls].known and (
            found == 0 or balance.classes[cls].age < balance.classes[found].age
        ):
            found = cls
    return found


cdef bint may_give(const Balance *balance, const Store *store, uint32_t cls) noexcept nogil:
    """Whether a class has a page that it may lose, and has no right to another one for it, whatever the limit says: the
    last one only while nothing is asked of the class; of the largest class one of TOP_PAGES at the least."""
    cdef const BalanceClass *of = &balance.classes[cls]
    if cls == store.slabs.nclasses:
        return of.pages >= TOP_PAGES
    return of.pages >= KEEP_PAGES or (of.pages == 1 and is_idle(balance, of))


cdef uint32_t with_spare(const Balance *balance, const Store *store, uint32_t taker) noexcept nogil:
    """The class that has had most pages' worth of free chunks, for a while; 0 when none has."""
    cdef uint32_t cls, found = 0
    cdef const BalanceClass *of
    for cls in range(1, store.slabs.nclasses + 1):
        of = &balance.classes[cls]
        if cls != taker and of.pages >= KEEP_PAGES and of.quiet >= load_u32(&balance.window) and (
            of.spare > (balance.classes[found].spare if found != 0 else 0)
        ):
            found = cls
    return found


cdef uint32_t least_useful(const Balance *balance, const Store *store, uint32_t taker) noexcept nogil:
    """The class whose page is worth least, and of those that are worth nothing the one with the oldest tail; 0 when
    there is none."""
    cdef uint32_t cls, found = 0
    cdef double least = 0, value
    if not store.evictions:
        return 0
    for cls in range(1, store.slabs.nclasses + 1):
        if cls == taker or not may_give(balance, store, cls):
            continue
        value = worth(balance, cls)
        if found == 0 or value < least or (value == least and balance.classes[cls].age > balance.classes[found].age):
            found = cls
            least = value
    return found


cdef uint32_t giver(const Balance *balance, const Store *store, uint32_t taker) noexcept nogil:
    """The class that can best do without a page; 0 when there is none."""
    cdef uint32_t spare = with_spare(balance, store, taker)
    return spare if spare != 0 else least_useful(balance, store, taker)


cdef uint32_t giver_by_worth(const Balance *balance, const Store *store, uint32_t taker) noexcept nogil:
    """... whose page is also worth clearly less than it is to the taker."""
    cdef uint32_t found = giver(balance, store, taker)
    cdef double gain = balance.classes[taker].gain, lost
    if found == 0 or found == with_spare(balance, store, taker):
        return found
    lost = worth(balance, found)
    return found if gain * load_u32(&balance.ratio) / RATIO_ONE > lost + NOISE * sqrt(gain + lost) else 0


cdef uint32_t giver_by_age(const Balance *balance, const Store *store, uint32_t taker) noexcept nogil:
    """... or whose tail is older than the taker's by more than the ratio, and is worth nothing."""
    cdef uint32_t found = giver(balance, store, taker)
    cdef const BalanceClass *of = &balance.classes[found]
    if found == 0 or found == with_spare(balance, store, taker):
        return found
    return found if of.pages > KEEP_PAGES and worth(balance, found) == 0 and of.known and (
        of.age * load_u32(&balance.ratio) / RATIO_ONE > balance.classes[taker].age
    ) else 0


cdef void ask(Balance *balance, Mover *mover, Store *store, uint32_t source, uint32_t target) noexcept nogil:
    """Ask for a page, and forget the ages that will not hold any more."""
    cdef int depth
    if source == 0:
        return
    mover_request(mover, &store.slabs, source, target, balance.classes[source].pages <= 1)
    for depth in range(DEPTHS):
        balance.classes[target].returns[depth] /= 2
    balance.classes[source].known = False
    balance.classes[target].known = False
    balance.classes[target].quiet = 0
    if target != 0:
        balance.fed = target


cdef uint32_t giver_to_none(const Balance *balance, const Store *store) noexcept nogil:
    """Whose page can best be given back: not that which somebody found no memory without, if another can be had."""
    cdef uint32_t found = giver(balance, store, balance.fed)
    return found if found != 0 else giver(balance, store, 0)


cdef void decide(Balance *balance, Mover *mover, Store *store) noexcept nogil:
    """At most one move."""
    cdef uint32_t mode = load_u32(&balance.mode), nclasses = store.slabs.nclasses
    cdef uint32_t wanting = load_u32(&store.wanting), taker
    if wanting != 0:
        store_u32(&store.wanting, 0)
    if mode != 0 and wanting != 0:
        ask(balance, mover, store, giver(balance, store, wanting), wanting)
    elif load_u64(&store.slabs.charged) > load_u64(&store.slabs.limit):
        ask(balance, mover, store, giver_to_none(balance, store), 0)
    elif mode != 0:
        taker = neediest(balance, nclasses)
        if taker != 0:
            ask(balance, mover, store, giver_by_worth(balance, store, taker), taker)
            return
        taker = youngest(balance, nclasses)
        if taker != 0:
            ask(balance, mover, store, giver_by_age(balance, store, taker), taker)


cdef bint any_evicts(const Balance *balance, uint32_t nclasses) noexcept nogil:
    cdef uint32_t cls
    for cls in range(1, nclasses + 1):
        if balance.classes[cls].evictions > 0:
            return True
    return False


cdef void fade(Balance *balance, const Store *store) noexcept nogil:
    """What was seen counts for less, the more has been evicted since."""
    cdef uint32_t cls
    balance.evictions = 0
    balance.chunks = 1
    for cls in range(1, store.slabs.nclasses + 1):
        balance.evictions += balance.classes[cls].evictions
        balance.chunks += balance.classes[cls].pages * store.slabs.classes[cls].per_page
    balance.fading = balance.chunks / (balance.chunks + MEMORY * balance.evictions)


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
    fade(balance, store)
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
