"""The hash table: from a key to its item.

A bucket is one cache line: a byte of hash ("tag") and a chunk reference for each of 12 items, and the number of an
overflow bucket. All tags of a bucket are compared at once, so a miss usually touches this one line and a hit one more,
the item's.

        0                        12      16                                                    64
        +------------------------+-------+-----------------------------------------------------+
        | tag[12] (0: slot free) | next  | ref[12]                                             |
        +------------------------+-------+-----------------------------------------------------+
        The slots of a bucket and its overflow chain are filled from the front, without holes; what a free slot's ref
        is used for, ``ghosts`` knows.

The table grows while it serves, one bucket at a time (linear hashing). With n buckets and 2^l <= n < 2^(l+1), a hash
belongs to bucket ``h mod 2^(l+1)`` if there is one, else to ``h mod 2^l``. To grow by one, the items of bucket ``n -
2^l`` are divided between it and the new bucket n: microseconds, done by whoever inserted an item that makes the table
fuller than it should be. The buckets lie in one reserved stretch of address space, opened as far as the memory limit
can need it, so nothing is ever copied, and at no moment are there two tables.

Locks: the low bits of a hash choose a stripe, and its lock guards every bucket that such hashes can ever belong to: the
table starts with as many buckets as stripes, so a bucket and the one that it is divided into share their stripe.
Holding the lock of h's stripe means that h's bucket, its chain and their items stay as they are. ``nbuckets`` may move
meanwhile, but not in a way that concerns h. grow_lock admits one grower at a time; pool_lock, the innermost, guards the
overflow buckets' free list. "Its bucket's lock" elsewhere means the stripe's.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from cachecore_ext.base.atomics cimport load_acquire_u64, load_u32, load_u64
from cachecore_ext.base.bytes cimport same_bytes
from cachecore_ext.base.compiler cimport likely, prefetch
from cachecore_ext.base.lock cimport Lock, lock_acquire, lock_release, lock_try
from cachecore_ext.storage.item cimport Item, item_meta, meta_key_offset
from cachecore_ext.storage.slabs cimport Slabs, chunk_at

cdef enum:
    SLOTS = 12
    # Items a bucket has on average before the table grows: 9 bytes of table an item, ghosts included.
    LOAD = 7

cdef struct Bucket:
    uint8_t tag[SLOTS]    # written one by one, also read eight at once; never without the stripe's lock but to prefetch
    uint32_t next         # overflow bucket's number + 1; 0 ends the chain; read with the tags, so written atomically
    uint32_t ref[SLOTS]

cdef struct Stripe:
    Lock lock
    uint32_t items        # in the stripe's buckets; the lock

cdef struct Table:
    uint64_t nbuckets     # atomic; grow_lock to change it, and mask
    # 2^(l+1) - 1 or, while nbuckets is 2^l, also 2^l - 1: then both lead to the same bucket. Atomic.
    uint64_t mask
    Bucket *buckets       # the others in this line are set once
    Stripe *stripes
    const Slabs *slabs
    uint64_t stripe_mask
    Bucket *overflow
    uint64_t reserved     # what could be opened
    # A line that is written by who inserts and removes, and not read by who looks up.
    uint64_t max_buckets  # what is open of them; grow_lock
    uint64_t max_overflow # as many; pool_lock
    Lock grow_lock
    Lock pool_lock
    uint32_t pool_free    # list of free overflow buckets through Bucket.next; pool_lock
    uint32_t pool_fresh   # never used ones begin here; pool_lock
    uint64_t overflowed   # overflow buckets in use; pool_lock
    uint32_t ghost_epoch  # a flush begins another one: older ghosts are known no more. Atomic
    uint32_t pad_behind[5]

cdef struct TableCursor:
    # A place in a walk over the whole table (table_walk). All bits zero is its beginning.
    uint64_t at
    bint ended

ctypedef uint64_t (*HashOf)(const void *context, const Item *item) noexcept nogil
ctypedef void (*TableVisit)(void *visitor, Item *item) noexcept nogil

cdef extern from * nogil:
    """
    #ifdef __SSE2__
    #include <emmintrin.h>
    static inline uint32_t cc_match12(const uint8_t *tags, uint8_t wanted) {
        const uint64_t *half = (const void *)tags;
        __m128i line = _mm_set_epi64x((long long)__atomic_load_n(half + 1, __ATOMIC_RELAXED),
                                      (long long)__atomic_load_n(half, __ATOMIC_RELAXED));
        return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(line, _mm_set1_epi8((char)wanted))) & 0xFFF;
    }
    #else
    static inline uint32_t cc_match12(const uint8_t *tags, uint8_t wanted) {
        uint32_t mask = 0;
        for (int i = 0; i < 12; i++)
            mask |= (uint32_t)(__atomic_load_n(tags + i, __ATOMIC_RELAXED) == wanted) << i;
        return mask;
    }
    #endif
    #define CC_LOWEST(x) ((uint32_t)__builtin_ctz(x))
    #define CC_TOP_BIT(x) ((uint64_t)1 << (63 - __builtin_clzll(x)))
    static inline uint64_t cc_reverse_bits(uint64_t x) {
        x = (x >> 1 & 0x5555555555555555) | (x & 0x5555555555555555) << 1;
        x = (x >> 2 & 0x3333333333333333) | (x & 0x3333333333333333) << 2;
        x = (x >> 4 & 0x0F0F0F0F0F0F0F0F) | (x & 0x0F0F0F0F0F0F0F0F) << 4;
        return __builtin_bswap64(x);
    }
    """
    uint32_t match_tags "cc_match12"(const uint8_t *tags, uint8_t wanted) noexcept
    uint32_t lowest_bit "CC_LOWEST"(uint32_t mask) noexcept
    uint64_t top_bit "CC_TOP_BIT"(uint64_t value) noexcept
    uint64_t reverse_bits "cc_reverse_bits"(uint64_t value) noexcept

cdef int table_init(Table *table, const Slabs *slabs, uint64_t stripes, uint64_t max_items,
                    uint64_t reserved_items) noexcept nogil
cdef bint table_open(Table *table, uint64_t max_items) noexcept nogil
cdef void table_presize(Table *table, uint64_t items) noexcept nogil
cdef void table_free(Table *table) noexcept nogil
cdef uint64_t table_bytes(Table *table) noexcept nogil
cdef uint64_t table_initial_bytes(uint64_t stripes) noexcept nogil
cdef bint table_insert_locked(Table *table, uint64_t h, uint32_t ref) noexcept nogil
cdef bint table_remove_locked(Table *table, uint64_t h, uint32_t ref) noexcept nogil
cdef void table_replace_locked(Table *table, uint64_t h, uint32_t old_ref, uint32_t new_ref) noexcept nogil
cdef bint table_is_full(Table *table, uint64_t h) noexcept nogil
cdef bint table_grow(Table *table, HashOf hash_of, const void *context) noexcept nogil
cdef uint32_t table_walk(Table *table, TableCursor *cursor, uint32_t most, TableVisit visit, void *visitor,
                         HashOf hash_of, const void *context) noexcept nogil


cdef inline uint8_t hash_tag(uint64_t h) noexcept nogil:
    """The byte of the hash that a slot keeps; 0 stands for a free slot."""
    cdef uint8_t tag = <uint8_t>(h >> 56)
    return tag if tag != 0 else 1


cdef inline Stripe *table_stripe(Table *table, uint64_t h) noexcept nogil:
    return &table.stripes[h & table.stripe_mask]


cdef inline void table_lock(Table *table, uint64_t h) noexcept nogil:
    lock_acquire(&table_stripe(table, h).lock)


cdef inline bint table_try_lock(Table *table, uint64_t h) noexcept nogil:
    return lock_try(&table_stripe(table, h).lock)


cdef inline void table_unlock(Table *table, uint64_t h) noexcept nogil:
    lock_release(&table_stripe(table, h).lock)


cdef inline Bucket *table_bucket(Table *table, uint64_t h) noexcept nogil:
    cdef uint64_t n = load_acquire_u64(&table.nbuckets), mask = load_u64(&table.mask)
    cdef uint64_t index = h & mask
    if index >= n:
        index &= mask >> 1
    return &table.buckets[index]


cdef inline Bucket *bucket_next(Table *table, const Bucket *bucket) noexcept nogil:
    return &table.overflow[bucket.next - 1] if bucket.next != 0 else NULL


cdef inline uint32_t bucket_used(const Bucket *bucket) noexcept nogil:
    """How many slots from the front have an entry."""
    cdef uint32_t free_slots = match_tags(bucket.tag, 0)
    return lowest_bit(free_slots) if free_slots != 0 else <uint32_t>SLOTS


cdef inline Item *table_find_locked(Table *table, uint64_t h, const char *key, uint32_t nkey) noexcept nogil:
    """The item with this key, or NULL."""
    cdef Bucket *bucket = table_bucket(table, h)
    cdef uint32_t matches, meta
    cdef Item *item
    while True:
        matches = match_tags(bucket.tag, hash_tag(h))
        while matches != 0:
            item = <Item *>chunk_at(table.slabs, bucket.ref[lowest_bit(matches)])
            meta = item_meta(item)
            if meta & 0xFF == nkey and same_bytes(<const char *>item + meta_key_offset(meta), key, nkey):
                return item
            matches &= matches - 1
        if likely(bucket.next == 0):
            return NULL
        bucket = &table.overflow[bucket.next - 1]


cdef inline const Bucket *table_prefetch_bucket(Table *table, uint64_t h) noexcept nogil:
    cdef const Bucket *bucket = table_bucket(table, h)
    prefetch(bucket)
    return bucket


cdef inline void table_prefetch_item(Table *table, const Bucket *bucket, uint64_t h) noexcept nogil:
    """Ask for the line of the item that h likely has; without a lock, so only ever a hint."""
    cdef uint32_t matches = match_tags(bucket.tag, hash_tag(h))
    cdef char *item
    if matches != 0:
        item = <char *>chunk_at(table.slabs, load_u32(&bucket.ref[lowest_bit(matches)]))
        prefetch(item)
        prefetch(item + 64)
