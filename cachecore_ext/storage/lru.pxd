"""The order of eviction: lists for every slab class, and the rules of what moves between them and what leaves.

S3-FIFO, with SIEVE's hand:

    new items -> HOT --used--> WARM <- items that were evicted lately     TEMP: what ends soon anyway, where that is
                  |             |                                               asked for
                  +-> evicted   +-> evicted: not used since the hand came by

A new item enters HOT's head, and HOT is kept to a twentieth of the class's bytes: what comes to its tail and was not
fetched meanwhile is evicted, and leaves a ghost (``ghosts``). So a scan passes through HOT and disturbs nothing else.
What was used goes to WARM, and so does at once what has a ghost when it is stored. In WARM nothing moves: a hand goes
from the tail to the head and round again, takes the marks of what was used since it came by, and stays where it finds
an item without one, which is the next to be evicted.

Segmented, as memcached's:

    new items -> HOT --fetched twice--> WARM
                  |                     ^  |
                  +------> COLD <-------|--+
                            |  fetched  |
                            +-----------+
                            +-> evicted from its tail

An item enters at HOT's head. Where HOT or WARM have more than their share of the class's bytes, or hold what was not
used for longer than COLD's oldest (times a factor), their tails move to COLD. COLD's tail is what is evicted. An item
that was fetched twice since it came carries a mark (ITEM_ACTIVE); when it comes to a tail it goes to WARM's head
instead, and loses the mark.

With one list (flat) everything is in COLD, and a mark earns a second round.

A get writes no list: it sets a mark, and the first look at that is at the tail, where memcached queues a move at the
second fetch of a COLD item. An item that was stored again in its old place carries ITEM_REWRITTEN, and counts as used,
with the segments as new. What another mode has left in a segment is taken before the rest. A chained item is in the
lists of the largest class, where most of its memory is.

Everything the store knows of the policy are the functions below. A class's lock guards its segments, their sums, the
hand, the segment that an item's meta names, and next and prev of its items.
"""
from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t

from cachecore_ext.base.atomics cimport load_u32
from cachecore_ext.base.counters cimport CLASSES
from cachecore_ext.base.lock cimport Lock
from cachecore_ext.storage.item cimport (
    ITEM_ACTIVE, ITEM_CHAINED, ITEM_FETCHED, ITEM_REWRITTEN, SEGMENT_MASK, SEGMENT_SHIFT, Item, item_accessed,
    item_mark, item_meta,
)
from cachecore_ext.storage.slabs cimport Slabs, chunk_class

cdef enum LruMode:
    LRU_FLAT, LRU_SEGMENTED, LRU_S3FIFO

cdef enum Segment:
    HOT, WARM, COLD, TEMP

cdef enum:
    SEGMENTS = 4
    TEMP_OFF = 0xFFFFFFFF  # a temporary_ttl that no item has
    FACTOR_ONE = 1000      # the factors are counted in thousandths
    # Clock of evictions (lru_stamp): so many strokes are a page's worth.
    STAMP_PAGE = 16
    DEPTHS = 8             # how early an item was evicted, in pages: up to 1, 2, 4, 8, 16, 32, 64, and more
    # What lru_link is told of an item that is no ghost's.
    ARRIVAL_NEW = -1
    ARRIVAL_KNOWN = -2     # it takes the place of one that is in WARM

cdef struct LruSegment:
    uint32_t head          # references; 0 when empty
    uint32_t tail
    uint64_t number        # items
    uint64_t bytes         # that they ask for (item_size)

cdef struct LruClass:
    Lock lock
    uint32_t evicted_time  # seconds since the last access of what was evicted last
    LruSegment segment[SEGMENTS]
    # Since the start, all in items:
    uint64_t evicted
    uint64_t evicted_nonzero
    uint64_t evicted_unfetched
    uint64_t evicted_active
    uint64_t expired_unfetched
    uint64_t reclaimed
    uint64_t outofmemory
    uint64_t reflocked
    uint64_t direct_reclaims
    uint64_t moves_to_cold
    uint64_t moves_to_warm
    uint64_t moves_within_lru
    uint64_t crawler_reclaimed
    uint64_t crawler_items_checked
    uint32_t returned[DEPTHS]  # ghosts that came back, by depth; wraps around
    uint32_t hand          # S3-FIFO: the item of WARM to look at next; 0: its tail
    uint32_t pad

cdef struct LruTuning:
    # All atomic: a command may change them at any time.
    uint32_t mode             # an LruMode
    uint32_t temporary_ttl    # seconds; items that end within it enter TEMP
    uint32_t hot_pct          # of a class's bytes; this and what follows is for the segmented mode
    uint32_t warm_pct
    uint32_t hot_factor       # of COLD's age, in thousandths
    uint32_t warm_factor

cdef struct Lru:
    Slabs *slabs
    LruTuning tuning
    uint64_t pad[4]
    LruClass classes[CLASSES]

cdef void lru_init(Lru *lru, Slabs *slabs) noexcept nogil
cdef void lru_link(Lru *lru, Item *item, int32_t arrival) noexcept nogil
cdef uint16_t lru_stamp(const Lru *lru, const LruClass *lists) noexcept nogil
cdef void lru_unlink(Lru *lru, Item *item) noexcept nogil
cdef void lru_rewrite(Lru *lru, Item *item, uint32_t kept, uint32_t meta) noexcept nogil
cdef void lru_replace_locked(Lru *lru, LruClass *lists, Item *old, Item *item) noexcept nogil
cdef void lru_unlink_locked(Lru *lru, LruClass *lists, Item *item) noexcept nogil
cdef void lru_defer_locked(Lru *lru, LruClass *lists, Item *item) noexcept nogil
cdef Item *lru_oldest_locked(Lru *lru, const LruClass *lists) noexcept nogil
cdef Item *lru_upcoming_locked(Lru *lru, LruClass *lists) noexcept nogil
cdef Item *lru_victim_locked(Lru *lru, LruClass *lists) noexcept nogil
cdef uint32_t lru_juggle_locked(Lru *lru, LruClass *lists, uint32_t now, uint32_t steps) noexcept nogil
cdef Item *lru_before_locked(Lru *lru, const LruClass *lists, Segment segment, const Item *item) noexcept nogil
cdef LruClass lru_look(Lru *lru, uint32_t cls) noexcept nogil
cdef uint32_t lru_age(Lru *lru, uint32_t cls, Segment segment, uint32_t now) noexcept nogil
cdef bint lru_is_temporary(const Lru *lru, uint32_t exptime, uint32_t now) noexcept nogil


cdef inline uint32_t lru_id(const Slabs *slabs, const Item *item) noexcept nogil:
    """The slab class whose lists the item is in."""
    return slabs.nclasses if item_meta(item) & ITEM_CHAINED else chunk_class(slabs, item)


cdef inline Segment item_segment(const Item *item) noexcept nogil:
    return <Segment>(item_meta(item) >> SEGMENT_SHIFT)


cdef inline bint lru_has_temporary(const Lru *lru) noexcept nogil:
    """Whether there is a TEMP segment at all."""
    return load_u32(&lru.tuning.temporary_ttl) != <uint32_t>TEMP_OFF


cdef inline void lru_fetched(Item *item, uint32_t now) noexcept nogil:
    """A client fetched the item; the caller holds its bucket's lock.

    The first fetch marks it as fetched, the second as active and notes the time; after that nothing is written until
    the item comes to a tail. These are memcached's rules, and clients see them in the meta flags h and l. One that
    entered WARM at once, as a ghost, is active from the first fetch on.
    """
    cdef uint32_t meta = item_meta(item)
    if meta & ITEM_ACTIVE:
        return
    if meta & ITEM_FETCHED or meta & (SEGMENT_MASK | ITEM_REWRITTEN) == <uint32_t>WARM << SEGMENT_SHIFT:
        item_mark(item, ITEM_FETCHED | ITEM_ACTIVE)
        item_accessed(item, now)
    else:
        item_mark(item, ITEM_FETCHED)
