"""The order of eviction: a list per slab class, and the policy of what leaves it next.

The policy is a clock over a list: an item enters at the head and leaves at the tail; a fetch only sets a mark (the
second one ITEM_ACTIVE), and an item that comes to the tail with a mark loses it and goes round again. So a get writes
no list, and an item that nobody fetched twice does not outlive those that are in use. A chained item is in the list of
the largest class, where most of its memory is.

Everything the store knows of the policy are the functions below; another policy is another body for them.
A list's lock guards the list, its sums, and next and prev of the items in it.
"""
from libc.stdint cimport uint32_t, uint64_t

from cachecore_ext.base.counters cimport CLASSES
from cachecore_ext.base.lock cimport Lock
from cachecore_ext.storage.item cimport (
    ITEM_ACTIVE, ITEM_CHAINED, ITEM_FETCHED, Item, item_accessed, item_mark, item_meta,
)
from cachecore_ext.storage.slabs cimport Slabs, chunk_class

cdef struct LruList:
    Lock lock
    uint32_t head          # references; 0 when empty
    uint32_t tail
    uint32_t evicted_time  # seconds since the last access of what was evicted last
    uint64_t number        # items
    uint64_t bytes         # that they ask for (item_size)
    # Since the start, all in items:
    uint64_t evicted
    uint64_t evicted_nonzero
    uint64_t evicted_unfetched
    uint64_t expired_unfetched
    uint64_t reclaimed
    uint64_t outofmemory
    uint64_t reflocked
    uint64_t pad[5]

cdef struct Lru:
    Slabs *slabs
    LruList lists[CLASSES]

cdef void lru_init(Lru *lru, Slabs *slabs) noexcept nogil
cdef void lru_link(Lru *lru, Item *item) noexcept nogil
cdef void lru_unlink(Lru *lru, Item *item) noexcept nogil
cdef void lru_resize(Lru *lru, Item *item, size_t old_size, size_t new_size) noexcept nogil
cdef Item *lru_before_locked(Lru *lru, const LruList *lru_list, const Item *item) noexcept nogil
cdef Item *lru_victim_locked(Lru *lru, LruList *lru_list) noexcept nogil
cdef void lru_unlink_locked(Lru *lru, LruList *lru_list, Item *item) noexcept nogil
cdef void lru_defer_locked(Lru *lru, LruList *lru_list, Item *item) noexcept nogil


cdef inline uint32_t lru_id(const Slabs *slabs, const Item *item) noexcept nogil:
    """The slab class whose list the item is in."""
    return slabs.nclasses if item_meta(item) & ITEM_CHAINED else chunk_class(slabs, item)


cdef inline void lru_fetched(Item *item, uint32_t now) noexcept nogil:
    """A client fetched the item; the caller holds its bucket's lock.

    The first fetch marks it as fetched, the second as active and notes the time; after that nothing is written until
    the clock has passed over it. These are memcached's rules, and clients see them in the meta flags h and l.
    """
    cdef uint32_t meta = item_meta(item)
    if meta & ITEM_ACTIVE:
        return
    if meta & ITEM_FETCHED:
        item_mark(item, ITEM_ACTIVE)
        item_accessed(item, now)
    else:
        item_mark(item, ITEM_FETCHED)
