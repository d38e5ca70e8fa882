"""Inserting, removing, growing, walking."""
from libc.stdint cimport UINT64_MAX, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from cachecore_ext.base.atomics cimport load_u64, store_release_u64, store_u8, store_u32, store_u64
from cachecore_ext.base.compiler cimport prefetch, static_same
from cachecore_ext.base.lock cimport lock_acquire, lock_release, lock_try
from cachecore_ext.base.mapping cimport mapping_ask_huge, mapping_free, mapping_open, mapping_reserve
from cachecore_ext.storage.item cimport Item
from cachecore_ext.storage.slabs cimport Slabs, chunk_at

cdef enum:
    INITIAL_BUCKETS = 8192  # half a megabyte, as memcached's first table; more when there are more stripes
    # From here on, 16 megabytes, a table grows by large memory pages: it is read at random, which with small ones costs
    # a walk through the page tables each time. A large one is 2 megabytes, which a smaller table has no use for.
    HUGE_BUCKETS = 1 << 18


cdef uint64_t initial_buckets(uint64_t stripes) noexcept nogil:
    return stripes if stripes > INITIAL_BUCKETS else INITIAL_BUCKETS


cdef uint64_t table_initial_bytes(uint64_t stripes) noexcept nogil:
    """What the table takes before it grows; only the touched part of it is resident."""
    return initial_buckets(stripes) * sizeof(Bucket)


cdef void set_size(Table *table, uint64_t nbuckets) noexcept nogil:
    """How large a table is that is not in use."""
    table.nbuckets = nbuckets
    table.mask = top_bit(nbuckets) * 2 - 1


cdef bint reserve(Table *table, uint64_t items) noexcept nogil:
    """Reserve address space for the table of so many items."""
    table.reserved = table.nbuckets + items / LOAD + 1
    table.buckets = <Bucket *>mapping_reserve(table.reserved * sizeof(Bucket))
    # As many again: with a keyed hash one bucket in eleven has an overflow bucket, at worst.
    table.overflow = <Bucket *>mapping_reserve(table.reserved * sizeof(Bucket))
    return table.buckets != NULL and table.overflow != NULL


cdef void unreserve(Table *table) noexcept nogil:
    mapping_free(table.buckets, table.reserved * sizeof(Bucket))
    mapping_free(table.overflow, table.reserved * sizeof(Bucket))
    table.buckets = NULL
    table.overflow = NULL


cdef int table_init(Table *table, const Slabs *slabs, uint64_t stripes, uint64_t max_items,
                    uint64_t reserved_items) noexcept nogil:
    """``stripes`` is a power of two, ``max_items`` what the slabs can hold at most, ``reserved_items`` what they could
    after table_open, if that is to be had. 0, or -1 without the memory."""
    static_same(sizeof(Bucket), 64)
    static_same(sizeof(Table), 128)
    memset(table, 0, sizeof(Table))
    table.slabs = slabs
    table.stripe_mask = stripes - 1
    set_size(table, initial_buckets(stripes))
    table.stripes = <Stripe *>calloc(stripes, sizeof(Stripe))
    if not reserve(table, reserved_items):
        unreserve(table)
        reserve(table, max_items)
    if table.stripes == NULL or table.buckets == NULL or table.overflow == NULL or not table_open(table, max_items):
        table_free(table)
        return -1
    return 0


cdef bint table_open(Table *table, uint64_t max_items) noexcept nogil:
    """Let the table grow up to this many items. False, and nothing changed, when that cannot be had."""
    cdef uint64_t wanted = initial_buckets(table.stripe_mask + 1) + max_items / LOAD + 1
    cdef bint opened
    lock_acquire(&table.grow_lock)
    opened = wanted <= table.max_buckets or (
        wanted <= table.reserved
        and mapping_open(table.buckets, wanted * sizeof(Bucket))
        and mapping_open(table.overflow, wanted * sizeof(Bucket))
    )
    if opened and wanted > table.max_buckets:
        table.max_buckets = wanted
        lock_acquire(&table.pool_lock)
        table.max_overflow = wanted
        lock_release(&table.pool_lock)
    lock_release(&table.grow_lock)
    return opened


cdef void table_presize(Table *table, uint64_t items) noexcept nogil:
    """Begin as large as so many items will need it, instead of growing. For a table that is empty and not in use."""
    set_size(table, min(max(table.nbuckets, items / LOAD + 1), table.max_buckets))
    if table.nbuckets >= HUGE_BUCKETS:
        mapping_ask_huge(table.buckets, table.reserved * sizeof(Bucket))


cdef void table_free(Table *table) noexcept nogil:
    unreserve(table)
    free(table.stripes)
    table.stripes = NULL


cdef uint64_t table_bytes(Table *table) noexcept nogil:
    """Bytes of buckets and overflow buckets in use."""
    cdef uint64_t overflowed
    lock_acquire(&table.pool_lock)
    overflowed = table.overflowed
    lock_release(&table.pool_lock)
    return (load_u64(&table.nbuckets) + overflowed) * sizeof(Bucket)


# ---- overflow buckets

cdef uint32_t pool_take(Table *table) noexcept nogil:
    """A cleared overflow bucket's number + 1, or 0 when there is none."""
    cdef uint32_t taken = 0
    lock_acquire(&table.pool_lock)
    if table.pool_free != 0:
        taken = table.pool_free
        table.pool_free = table.overflow[taken - 1].next
    elif table.pool_fresh < table.max_overflow:
        table.pool_fresh += 1
        taken = table.pool_fresh
    if taken != 0:
        table.overflowed += 1
    lock_release(&table.pool_lock)
    if taken != 0:
        memset(&table.overflow[taken - 1], 0, sizeof(Bucket))
    return taken


cdef void pool_give(Table *table, uint32_t number) noexcept nogil:
    lock_acquire(&table.pool_lock)
    table.overflow[number - 1].next = table.pool_free
    table.pool_free = number
    table.overflowed -= 1
    lock_release(&table.pool_lock)


# ---- chains of buckets: filled from the front

cdef void slot_set(Bucket *bucket, uint32_t slot, uint8_t tag, uint32_t ref) noexcept nogil:
    store_u32(&bucket.ref[slot], ref)
    store_u8(&bucket.tag[slot], tag)


cdef bint chain_append(Table *table, Bucket *bucket, uint8_t tag, uint32_t ref, uint32_t *spare) noexcept nogil:
    """Put an entry behind the last one; a bucket that this needs is taken from ``spare`` (0: none), else the pool."""
    cdef uint32_t empty = match_tags(bucket.tag, 0), number
    while empty == 0:
        if bucket.next == 0:
            number = spare[0]
            if number != 0:
                spare[0] = table.overflow[number - 1].next
                memset(&table.overflow[number - 1], 0, sizeof(Bucket))
            else:
                number = pool_take(table)
                if number == 0:
                    return False
            store_u32(&bucket.next, number)
        bucket = bucket_next(table, bucket)
        empty = match_tags(bucket.tag, 0)
    slot_set(bucket, lowest_bit(empty), tag, ref)
    return True


cdef bint chain_remove(Table *table, Bucket *head, Bucket *bucket, uint32_t slot, uint32_t *spare) noexcept nogil:
    """Remove an entry of the chain that begins with ``head``: the chain's last one takes its place.

    An overflow bucket that this empties goes to ``spare``. True when that was ``bucket`` itself, which is then no
    longer part of the chain.
    """
    cdef Bucket *last = head
    cdef Bucket *before = NULL
    cdef uint32_t last_slot
    while last.next != 0:
        before = last
        last = bucket_next(table, last)
    last_slot = bucket_used(last) - 1
    slot_set(bucket, slot, last.tag[last_slot], last.ref[last_slot])
    slot_set(last, last_slot, 0, 0)
    if last_slot == 0 and before != NULL:
        last.next = spare[0]
        spare[0] = before.next
        store_u32(&before.next, 0)
        return last == bucket
    return False


cdef void spare_give(Table *table, uint32_t spare) noexcept nogil:
    cdef uint32_t following
    while spare != 0:
        following = table.overflow[spare - 1].next
        pool_give(table, spare)
        spare = following


# ---- the table's verbs

cdef bint table_insert_locked(Table *table, uint64_t h, uint32_t ref) noexcept nogil:
    """Enter an item whose key is not there. False, and nothing changed, when no overflow bucket is left."""
    cdef uint32_t spare = 0
    if not chain_append(table, table_bucket(table, h), hash_tag(h), ref, &spare):
        return False
    table_stripe(table, h).items += 1
    return True


cdef Bucket *chain_search(Table *table, uint64_t h, uint32_t ref, uint32_t *slot) noexcept nogil:
    """The bucket and the slot that hold ``ref``; NULL when none does."""
    cdef Bucket *bucket = table_bucket(table, h)
    cdef uint32_t matches
    while bucket != NULL:
        matches = match_tags(bucket.tag, hash_tag(h))
        while matches != 0:
            slot[0] = lowest_bit(matches)
            if bucket.ref[slot[0]] == ref:
                return bucket
            matches &= matches - 1
        bucket = bucket_next(table, bucket)
    return NULL


cdef bint table_remove_locked(Table *table, uint64_t h, uint32_t ref) noexcept nogil:
    """Remove an item; False when it is not there."""
    cdef uint32_t slot = 0, spare = 0
    cdef Bucket *bucket = chain_search(table, h, ref, &slot)
    if bucket == NULL:
        return False
    chain_remove(table, table_bucket(table, h), bucket, slot, &spare)
    spare_give(table, spare)
    table_stripe(table, h).items -= 1
    return True


cdef void table_replace_locked(Table *table, uint64_t h, uint32_t old_ref, uint32_t new_ref) noexcept nogil:
    """Let an item's slot name another item with the same key."""
    cdef uint32_t slot = 0
    cdef Bucket *bucket = chain_search(table, h, old_ref, &slot)
    if bucket != NULL:
        store_u32(&bucket.ref[slot], new_ref)


# ---- growth

cdef bint table_is_full(Table *table, uint64_t h) noexcept nogil:
    """Whether the table should grow, judged by the stripe of h, whose lock the caller holds: so no count is shared."""
    return table_stripe(table, h).items * (table.stripe_mask + 1) > load_u64(&table.nbuckets) * LOAD


cdef void divide_locked(Table *table, uint64_t old_index, uint64_t new_index, uint64_t bit, HashOf hash_of,
                        const void *context) noexcept nogil:
    """Move the entries of a bucket whose hash has ``bit`` to the new one.

    This needs no overflow bucket that it has not freed before: two chains of a and b entries have together at most as
    many overflow buckets as one of a + b.
    """
    cdef Bucket *head = &table.buckets[old_index]
    cdef Bucket *bucket = head
    cdef Bucket *target = &table.buckets[new_index]
    cdef uint32_t slot, ref, spare = 0
    cdef uint8_t tag
    cdef bint ended = False
    memset(target, 0, sizeof(Bucket))
    while bucket != NULL and not ended:
        slot = 0
        while slot < SLOTS and bucket.tag[slot] != 0:
            ref = bucket.ref[slot]
            tag = bucket.tag[slot]
            if hash_of(context, <const Item *>chunk_at(table.slabs, ref)) & bit:
                ended = chain_remove(table, head, bucket, slot, &spare)  # else the last entry is in this slot now
                chain_append(table, target, tag, ref, &spare)
                if ended:
                    break
            else:
                slot += 1
        if not ended:
            bucket = bucket_next(table, bucket)
    spare_give(table, spare)


cdef bint table_grow(Table *table, HashOf hash_of, const void *context) noexcept nogil:
    """Divide one bucket. False when somebody else is at it, the bucket is in use, or the table is as large as it gets.

    The caller holds no bucket's lock. ``hash_of`` computes an item's hash again from its key.
    """
    cdef uint64_t n, bit, index
    cdef uint32_t slot
    cdef bint grown = False
    if not lock_try(&table.grow_lock):
        return False
    n = load_u64(&table.nbuckets)
    bit = top_bit(n)
    index = n - bit
    if n < table.max_buckets and table_try_lock(table, index):
        for slot in range(bucket_used(&table.buckets[index])):
            prefetch(chunk_at(table.slabs, table.buckets[index].ref[slot]))
        divide_locked(table, index, n, bit, hash_of, context)
        store_u64(&table.mask, bit * 2 - 1)
        store_release_u64(&table.nbuckets, n + 1)
        table_unlock(table, index)
        if n + 1 == HUGE_BUCKETS:
            mapping_ask_huge(table.buckets, table.reserved * sizeof(Bucket))
        prefetch(&table.buckets[index + 1])
        grown = True
    lock_release(&table.grow_lock)
    return grown


# ---- a walk

cdef struct Stretch:
    # Reversed hashes from ``first`` to ``last``.
    uint64_t first
    uint64_t last
    bint whole   # all that a bucket can have: no hash needs to be looked at


cdef void bucket_stretch(Table *table, uint64_t at, Stretch *stretch) noexcept nogil:
    """What is left, from ``at`` on, of the bucket that this place is in; the caller holds the stripe's lock."""
    cdef uint64_t n = load_u64(&table.nbuckets), top = top_bit(n)
    cdef uint64_t mask = top - 1, beyond
    if (reverse_bits(at) & mask) + top < n:
        mask += top  # the bucket was divided at this size already
    beyond = ~reverse_bits(mask)
    stretch.first = at
    stretch.last = at | beyond
    stretch.whole = at & beyond == 0


cdef uint32_t visit_chain(Table *table, const Bucket *bucket, const Stretch *stretch, uint32_t most,
                          TableVisit visit, void *visitor, HashOf hash_of, const void *context) noexcept nogil:
    """Visit the chain's items in this stretch, up to ``most``; with no ``visit`` ask for their memory. How many."""
    cdef uint32_t slot, found = 0
    cdef uint64_t place
    cdef Item *item
    while bucket != NULL:
        for slot in range(<uint32_t>SLOTS):
            if bucket.tag[slot] == 0:
                return found
            item = <Item *>chunk_at(table.slabs, bucket.ref[slot])
            if not stretch.whole:
                place = reverse_bits(hash_of(context, item))
                if place < stretch.first or place > stretch.last:
                    continue
            if visit == NULL:
                prefetch(item)
            elif found < most:
                visit(visitor, item)
            found += 1
        bucket = bucket_next(table, bucket)
    return found


cdef uint32_t table_walk(Table *table, TableCursor *cursor, uint32_t most, TableVisit visit, void *visitor,
                         HashOf hash_of, const void *context) noexcept nogil:
    """Visit the items of the next bucket, at most ``most``, under its lock, and move the cursor on. How many they were.

    The cursor is a place among the hashes with their bits reversed: there, all that a bucket can hold is one stretch,
    which growth only divides. So whatever happens between two steps, an item that is in the table all the time is
    visited exactly once. A bucket with more than ``most`` items is treated as if it had been divided already; only
    where more than so many hashes are equal in all their 64 bits, the surplus is passed by.
    """
    cdef uint64_t h = reverse_bits(cursor.at)
    cdef const Bucket *bucket
    cdef Stretch stretch
    cdef uint32_t found
    table_lock(table, h)
    bucket = table_bucket(table, h)
    bucket_stretch(table, cursor.at, &stretch)
    found = visit_chain(table, bucket, &stretch, most, NULL, NULL, hash_of, context)
    while found > most and stretch.first < stretch.last:
        stretch.last = stretch.first + (stretch.last - stretch.first) / 2
        stretch.whole = False
        found = visit_chain(table, bucket, &stretch, most, NULL, NULL, hash_of, context)
    found = visit_chain(table, bucket, &stretch, most, visit, visitor, hash_of, context)
    table_unlock(table, h)
    cursor.ended = stretch.last == UINT64_MAX
    cursor.at = stretch.last + 1
    return min(found, most)
