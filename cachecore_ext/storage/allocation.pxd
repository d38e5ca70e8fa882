"""Memory for items: chunks, whose items give way when there is none left, and the bytes of a value in its chunks.

This room also lays out the Store itself, and the Context that every function of it takes: whose counters, and what time
it is. What is done with items is the business of ``store``, which passes on what others need of this room.

An item that a reply still sends from its place is held by store_hold_locked and let go by store_release. A function
that ends in _locked wants the lock that it names held; the others take theirs.
"""
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from cachecore_ext.base.bytes cimport copy_value
from cachecore_ext.base.clock cimport Clock
from cachecore_ext.base.counters cimport CounterSet
from cachecore_ext.base.eventlog cimport EventLog
from cachecore_ext.base.hashing cimport HashKey, hash_bytes
from cachecore_ext.storage.flush cimport Flush, flush_may_concern
from cachecore_ext.storage.item cimport (
    ITEM_CHAINED, PIECE_HEADER, Item, Piece, item_expired, item_key, item_large, item_meta, item_nbytes, item_nkey,
    item_value,
)
from cachecore_ext.storage.lru cimport Lru, LruClass, lru_id
from cachecore_ext.storage.slabs cimport Slabs, chunk_at
from cachecore_ext.storage.table cimport Table

cdef struct Store:
    Table table
    HashKey hash_key         # set once
    bint evictions           # set once, like the next two
    bint use_cas
    uint64_t item_size_max
    Flush flush
    Clock clock
    # For the maintenance: a class that wants a page, which it found no memory for; 0: none. Atomic; alarm is set once.
    uint32_t wanting
    uint32_t always_wanting  # every eviction is such a case (automove 2); atomic
    int alarm                # an eventfd that is written when ``wanting`` is set, or -1
    uint32_t cas_block       # so many cas a thread takes at once; set once
    uint64_t pad[6]
    uint64_t cas             # the last one given out, or taken; atomic, on a line of its own
    uint64_t pad_behind[7]
    Slabs slabs
    Lru lru

cdef struct Context:
    Store *store
    CounterSet *counters     # this thread's own
    uint32_t now             # the tick, read when the thread woke up or took an answer of Python's
    uint32_t watched         # bits of base/eventlog's Watched, read together with it
    EventLog *log            # this thread's own; nobody looks at it while ``watched`` is 0
    int fd                   # whose commands are run, for the log
    uint32_t lost            # a Lookup: why the last look-up that found nothing did not, if not LOOKUP_NOT_FOUND
    uint32_t cas_tick        # when this thread took its cas; none are taken yet when cas_left is 0
    uint32_t cas_left        # ... and how many of them, up to the one before cas_end, it still has
    uint64_t cas_end

cdef struct ValueCursor:
    # A place in a value, whose bytes lie in one stretch or in pieces.
    char *at
    size_t left              # bytes in this stretch from here on
    uint32_t next            # reference of the piece after it; 0: none

cdef enum Evicted:
    EVICTED
    ALL_IN_USE      # the candidates were; they went to the head, so other ones may not be
    NOTHING_THERE   # or nothing that may go

cdef Item *item_begin(Context *context, const char *key, uint32_t nkey, uint32_t flags, uint32_t nbytes) noexcept nogil
cdef Item *item_alloc(Context *context, const char *key, uint32_t nkey, uint32_t flags, uint32_t nbytes) noexcept nogil
cdef bint store_extend(Context *context, Item *item, Piece **last, size_t missing, ValueCursor *cursor) noexcept nogil
cdef bint item_lengthen_locked(Context *context, Item *item, bint behind, ValueCursor *added,
                               uint32_t nbytes) noexcept nogil
cdef void store_release(Store *store, Item *item) noexcept nogil
cdef void store_hold_locked(Item *item) noexcept nogil

# Eviction. The maintenance comes from the chunks' side: see item.pxd.
cdef bint store_is_dead(const Store *store, const Item *item, uint32_t now) noexcept nogil
cdef bint store_try_lock_linked(Store *store, LruClass *lists, const Item *item, uint64_t *h) noexcept nogil
cdef bint store_try_take_locked(Context *context, LruClass *lists, Item *item, bint dead_only,
                                uint64_t *reclaimed) noexcept nogil
cdef Evicted store_evict(Context *context, uint32_t cls) noexcept nogil


cdef inline uint64_t hash_of_item(const void *hash_key, const Item *item) noexcept nogil:
    """A HashOf (table); hash_key: a HashKey."""
    return hash_bytes(<const HashKey *>hash_key, item_key(item), item_nkey(item))


cdef inline bint store_may_be_dead(const Store *store, const Item *item, uint32_t now) noexcept nogil:
    """store_is_dead for who comes from the chunks' side and holds no bucket's lock: it errs by saying yes too often."""
    return item_expired(item, now) or flush_may_concern(&store.flush, item)


cdef inline uint32_t store_class(const Store *store, const Item *item) noexcept nogil:
    """The slab class that an item is counted under."""
    return lru_id(&store.slabs, item)


# ---- a value's bytes

cdef inline void cursor_open(const Store *store, const Item *item, ValueCursor *cursor) noexcept nogil:
    """Point to the value's beginning."""
    cdef Piece *piece
    if item_meta(item) & ITEM_CHAINED:
        piece = <Piece *>chunk_at(&store.slabs, item_large(item).chain)
        cursor.at = <char *>piece + PIECE_HEADER
        cursor.left = piece.size
        cursor.next = piece.next
    else:
        cursor.at = item_value(item)
        cursor.left = item_nbytes(item)
        cursor.next = 0


cdef inline void cursor_skip(const Store *store, ValueCursor *cursor, size_t n) noexcept nogil:
    """Move on by ``n``, at most what is left of this stretch; at its end go to the next one."""
    cdef Piece *piece
    cursor.at += n
    cursor.left -= n
    if cursor.left == 0 and cursor.next != 0:
        piece = <Piece *>chunk_at(&store.slabs, cursor.next)
        cursor.at = <char *>piece + PIECE_HEADER
        cursor.left = piece.size
        cursor.next = piece.next


cdef inline void cursor_copy(const Store *store, ValueCursor *target, ValueCursor *source, size_t n) noexcept nogil:
    """Copy ``n`` bytes from one place to another, which both have them."""
    cdef size_t step
    while n > 0:
        step = min(n, min(target.left, source.left))
        copy_value(target.at, source.at, step)
        cursor_skip(store, target, step)
        cursor_skip(store, source, step)
        n -= step


cdef inline void value_copy(const Store *store, const Item *item, char *out) noexcept nogil:
    """Copy an item's value to where it all lies in one piece."""
    cdef ValueCursor cursor
    cdef size_t left = item_nbytes(item), step
    cursor_open(store, item, &cursor)
    while left > 0:
        step = min(left, cursor.left)
        memcpy(out, cursor.at, step)
        out += step
        left -= step
        cursor_skip(store, &cursor, step)
