"""Storing, changing and removing items; allocation and eviction; flush."""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from cachecore_ext.base.atomics cimport (
    add_u32, drop_u32, load_acquire_u32, load_u32, load_u64, store_release_u32, store_release_u64, store_u32,
)
from cachecore_ext.base.clock cimport clock_expiry, clock_init
from cachecore_ext.base.compiler cimport likely, static_same
from cachecore_ext.base.counters cimport (
    CAS_MISSES, CLASS_CAS_BADVAL, CLASS_CAS_HITS, CLASS_CMD_SET, GET_EXPIRED, GET_FLUSHED, TOTAL_ITEMS, count,
    count_class,
)
from cachecore_ext.base.linux cimport getrandom
from cachecore_ext.base.lock cimport lock_acquire, lock_release
from cachecore_ext.base.numbers cimport format_u64, parse_stored_u64
from cachecore_ext.storage.item cimport (
    CHAIN_META, FLAGS_SIZE, ITEM_BINARY, ITEM_CHAINED, ITEM_EXPLICIT, ITEM_FETCHED, ITEM_FLAGS, ITEM_HEADER, ITEM_LARGE,
    ITEM_REWRITTEN, ITEM_STALE, ITEM_TOKEN, LARGE_HEADER, LARGE_MIN, PIECE_HEADER, Item, ItemLarge, Piece, item_accessed, item_age, item_cas,
    item_exptime, item_flags, item_key, item_large, item_mark, item_meta, item_nbytes, item_nkey, item_set_cas,
    item_set_exptime, item_set_flags, item_set_time, item_size, item_time, item_unmark, item_value, meta_key_offset,
)
from cachecore_ext.storage.lru cimport (
    LruList, lru_before_locked, lru_defer_locked, lru_init, lru_link, lru_resize, lru_unlink, lru_unlink_locked,
    lru_victim_locked,
)
from cachecore_ext.storage.slabs cimport (
    CHUNK_MAX, chunk_at, chunk_class, chunk_ref, slab_alloc, slab_class_for, slab_free, slabs_free, slabs_init,
)
from cachecore_ext.storage.table cimport (
    LOAD, Bucket, table_free, table_grow, table_init, table_initial_bytes, table_insert_locked, table_is_full,
    table_remove_locked, table_replace_locked, table_try_lock, table_unlock,
)

cdef enum:
    STRIPES_MIN = 2048
    STRIPES_MAX = 32768
    STRIPES_PER_THREAD = 512  # two threads that meet by chance on a lock: 1 in 512
    FIRST_CAS = 1             # so that the first item's is 2, as memcached's
    EVICT_TRIES = 8           # items at the tail that may be in use before the search ends
    ALLOC_TRIES = 64          # evictions for one chunk: other threads may be faster in taking what was freed
    TABLE_SLACK = 125         # percent of LOAD's bytes an item that a table can come to: overflow buckets, early growth
    GROW_STEPS = 2            # buckets divided by one insertion: the table catches up with any rate of insertions
    # memcached's count of an item's size, by which -I is meant: header, cas, NUL, flags, line end.
    COUNTED_HEADER = 48
    COUNTED_CAS = 8


cdef enum Evicted:
    EVICTED
    ALL_IN_USE      # the candidates were; they went to the head, so other ones may not be
    NOTHING_THERE   # or nothing that may go


cdef uint64_t hash_of_item(const void *hash_key, const Item *item) noexcept nogil:
    return hash_bytes(<const HashKey *>hash_key, item_key(item), item_nkey(item))


cdef int store_init(Store *store, const StoreSettings *settings) noexcept nogil:
    """Set up an empty store. 0, or -1 without the memory or the random bytes."""
    cdef uint64_t stripes = STRIPES_MIN, wanted = <uint64_t>settings.threads * STRIPES_PER_THREAD
    static_same(sizeof(Item), ITEM_HEADER)
    static_same(sizeof(ItemLarge), LARGE_HEADER)
    static_same(sizeof(Piece), PIECE_HEADER)
    memset(store, 0, sizeof(Store))
    while stripes < wanted and stripes < STRIPES_MAX:
        stripes *= 2
    store.evictions = settings.evictions
    store.use_cas = settings.use_cas
    store.item_size_max = settings.item_size_max
    store.cas = FIRST_CAS
    clock_init(&store.clock)
    if getrandom(&store.hash_key, sizeof(HashKey), 0) != sizeof(HashKey):
        return -1
    if slabs_init(&store.slabs, settings.memory_limit, settings.growth_factor, settings.chunk_min,
                  sizeof(Bucket) * 1024 * TABLE_SLACK / 100 / LOAD, table_initial_bytes(stripes)) != 0:
        return -1
    if table_init(&store.table, &store.slabs, stripes, store.slabs.region_size / store.slabs.classes[1].size) != 0:
        slabs_free(&store.slabs)
        return -1
    lru_init(&store.lru, &store.slabs)
    return 0


cdef void store_free(Store *store) noexcept nogil:
    table_free(&store.table)
    slabs_free(&store.slabs)


# ---- a value's bytes

cdef void cursor_open(const Store *store, const Item *item, ValueCursor *cursor) noexcept nogil:
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


cdef void cursor_skip(const Store *store, ValueCursor *cursor, size_t n) noexcept nogil:
    """Move on by ``n``, at most what is left of this stretch; at its end go to the next one."""
    cdef Piece *piece
    cursor.at += n
    cursor.left -= n
    if cursor.left == 0 and cursor.next != 0:
        piece = <Piece *>chunk_at(&store.slabs, cursor.next)
        cursor.at = <char *>piece + PIECE_HEADER
        cursor.left = piece.size
        cursor.next = piece.next


cdef void cursor_copy(const Store *store, ValueCursor *target, ValueCursor *source, size_t n) noexcept nogil:
    """Copy ``n`` bytes from one place to another, which both have them."""
    cdef size_t step
    while n > 0:
        step = min(n, min(target.left, source.left))
        memcpy(target.at, source.at, step)
        cursor_skip(store, target, step)
        cursor_skip(store, source, step)
        n -= step


# ---- chunks

cdef bint item_flushed(const Store *store, const Item *item, uint32_t now) noexcept nogil:
    cdef uint32_t pending = load_u32(&store.flush_pending)
    if item_meta(item) & ITEM_EXPLICIT:
        if item_time(item) <= load_u32(&store.explicit_gone):
            return True
    elif item_cas(item) <= load_u64(&store.flush_cas):
        return True
    return item_time(item) <= load_u32(&store.flush_fired) or (
        pending != 0 and pending <= now and item_time(item) <= pending
    )


cdef bint item_expired(const Item *item, uint32_t now) noexcept nogil:
    cdef uint32_t exptime = item_exptime(item)
    return exptime != 0 and exptime <= now


cdef void item_free(Store *store, Item *item) noexcept nogil:
    """Give back an item's chunks. Nobody can reach it any more."""
    cdef uint32_t ref
    cdef Piece *piece
    if item_meta(item) & ITEM_CHAINED:
        ref = item_large(item).chain
        while ref != 0:
            piece = <Piece *>chunk_at(&store.slabs, ref)
            ref = piece.next
            slab_free(&store.slabs, piece)
    slab_free(&store.slabs, item)


cdef void store_hold_locked(Item *item) noexcept nogil:
    """Keep a large item's memory until store_release, whatever happens to its key."""
    add_u32(&item_large(item).refs, 1)


cdef void store_release(Store *store, Item *item) noexcept nogil:
    """Let go of an item: one that was held, or one that was reserved and is not to be stored."""
    if not item_meta(item) & ITEM_LARGE or drop_u32(&item_large(item).refs, 1) == 0:
        item_free(store, item)


cdef void count_eviction(LruList *lru_list, const Item *item, bint dead, uint32_t now) noexcept nogil:
    cdef uint32_t meta = item_meta(item)
    if dead:
        lru_list.reclaimed += 1
        if not meta & ITEM_FETCHED:
            lru_list.expired_unfetched += 1
        return
    lru_list.evicted += 1
    lru_list.evicted_time = item_age(item, now)
    if item_exptime(item) != 0:
        lru_list.evicted_nonzero += 1
    if not meta & ITEM_FETCHED:
        lru_list.evicted_unfetched += 1


cdef bint try_evict_locked(Context *context, LruList *lru_list, Item *item) noexcept nogil:
    """Evict this item unless it is in use; the caller holds the list's lock. Comes from the other side of the lock
    order, so it only tries the bucket's lock."""
    cdef Store *store = context.store
    cdef uint64_t h = hash_of_item(&store.hash_key, item)
    cdef bint dead, gone = False
    if not table_try_lock(&store.table, h):
        return False
    dead = item_expired(item, context.now) or item_flushed(store, item, context.now)
    if (dead or store.evictions) and not (
        item_meta(item) & ITEM_LARGE and load_u32(&item_large(item).refs) > 1
    ):
        table_remove_locked(&store.table, h, chunk_ref(&store.slabs, item))
        count_eviction(lru_list, item, dead, context.now)
        lru_unlink_locked(&store.lru, lru_list, item)
        gone = True
    table_unlock(&store.table, h)
    return gone


cdef Evicted evict(Context *context, uint32_t cls) noexcept nogil:
    """Make the least useful item of the class give way."""
    cdef Store *store = context.store
    cdef LruList *lru_list = &store.lru.lists[cls]
    cdef Item *item = NULL
    cdef bint gone = False
    cdef int i
    lock_acquire(&lru_list.lock)
    for i in range(EVICT_TRIES):
        # Where only what has ended may go, the list stays as it is: what is in use now is found at the tail later.
        if store.evictions:
            item = lru_victim_locked(&store.lru, lru_list)
        else:
            item = lru_before_locked(&store.lru, lru_list, item)
        if item == NULL:
            break
        gone = try_evict_locked(context, lru_list, item)
        if gone:
            break
        lru_list.reflocked += 1
        if store.evictions:
            lru_defer_locked(&store.lru, lru_list, item)
    lock_release(&lru_list.lock)
    if gone:
        store_release(store, item)
        return EVICTED
    return NOTHING_THERE if item == NULL or not store.evictions else ALL_IN_USE


cdef void *chunk_or_evict(Context *context, uint32_t cls) noexcept nogil:
    """A chunk of the class, if need be by eviction; NULL when there is none to be had."""
    cdef void *chunk
    cdef LruList *lru_list = &context.store.lru.lists[cls]
    cdef int i
    for i in range(ALLOC_TRIES):
        chunk = slab_alloc(&context.store.slabs, cls)
        if likely(chunk != NULL):
            return chunk
        if evict(context, cls) == NOTHING_THERE:
            break
    lock_acquire(&lru_list.lock)
    lru_list.outofmemory += 1
    lock_release(&lru_list.lock)
    return NULL


cdef uint32_t layout(uint32_t nkey, uint32_t flags, uint32_t nbytes) noexcept nogil:
    """The meta of a new item: the lengths, and which of the optional fields it has."""
    cdef uint32_t meta = nkey | (ITEM_FLAGS if flags != 0 else 0)
    return meta | (ITEM_LARGE if nbytes >= LARGE_MIN else nbytes << 8)


cdef Item *item_begin(Context *context, const char *key, uint32_t nkey, uint32_t flags, uint32_t nbytes) noexcept nogil:
    """An unlinked item with its key and flags, and room for the value unless that is to be chained; NULL without the
    memory. exptime, time and cas are still to be set."""
    cdef Store *store = context.store
    cdef uint32_t meta = layout(nkey, flags, nbytes)
    cdef uint32_t in_head = nbytes
    cdef size_t head = meta_key_offset(meta) + nkey
    cdef Item *item
    if head + nbytes > CHUNK_MAX:
        meta |= ITEM_CHAINED
        in_head = 0
    item = <Item *>chunk_or_evict(context, slab_class_for(&store.slabs, head + in_head))
    if item == NULL:
        return NULL
    item.next = 0
    item.prev = 0
    store_u32(&item.meta, meta)
    memcpy(item_key(item), key, nkey)
    if flags != 0:
        item_set_flags(item, flags)
    if meta & ITEM_LARGE:
        item_large(item).nbytes = nbytes
        item_large(item).refs = 1
        item_large(item).chain = 0
    return item


cdef bint store_extend(Context *context, Item *item, Piece **last, size_t missing, ValueCursor *cursor) noexcept nogil:
    """Give a chained item its next piece, for at most ``missing`` bytes, and point to it. False without the memory.

    ``last``: the piece before it, NULL for the first; set to the new one.
    """
    cdef Store *store = context.store
    cdef size_t size = min(missing, <size_t>CHUNK_MAX - PIECE_HEADER)
    cdef uint32_t cls = slab_class_for(&store.slabs, size + PIECE_HEADER)
    cdef uint32_t *link = &last[0].next if last[0] != NULL else &item_large(item).chain
    cdef Piece *piece = <Piece *>chunk_or_evict(context, cls)
    if piece == NULL and cls != store.slabs.nclasses:
        piece = <Piece *>chunk_or_evict(context, store.slabs.nclasses)
    if piece == NULL:
        return False
    piece.meta = CHAIN_META
    piece.next = 0
    piece.size = <uint32_t>size
    link[0] = chunk_ref(&store.slabs, piece)
    last[0] = piece
    cursor.at = <char *>piece + PIECE_HEADER
    cursor.left = size
    cursor.next = 0
    return True


cdef Item *item_alloc(Context *context, const char *key, uint32_t nkey, uint32_t flags, uint32_t nbytes) noexcept nogil:
    """item_begin, with all the pieces of a chained value."""
    cdef Item *item = item_begin(context, key, nkey, flags, nbytes)
    cdef Piece *last = NULL
    cdef size_t missing = nbytes
    cdef ValueCursor cursor
    if item != NULL and item_meta(item) & ITEM_CHAINED:
        while missing > 0:
            if not store_extend(context, item, &last, missing, &cursor):
                item_free(context.store, item)
                return NULL
            missing -= cursor.left
    return item


cdef void count_set(Context *context, const Put *put, uint32_t nkey, uint32_t nbytes) noexcept nogil:
    """Count a storage command for the class that its value would go to."""
    cdef uint32_t meta = layout(nkey, put.flags, nbytes)
    cdef uint32_t cls = slab_class_for(&context.store.slabs, meta_key_offset(meta) + nkey + <size_t>nbytes)
    count_class(context.counters, cls if cls != 0 else context.store.slabs.nclasses, CLASS_CMD_SET)


cdef bint fits_limit(const Store *store, uint32_t nkey, uint32_t flags, uint64_t nbytes) noexcept nogil:
    """Whether memcached, whose items have other headers, would take an item of this size under -I."""
    cdef uint64_t counted = COUNTED_HEADER + nkey + 1 + nbytes + 2
    if store.use_cas:
        counted += COUNTED_CAS
    if flags != 0:
        counted += FLAGS_SIZE
    return counted <= store.item_size_max


# ---- linking and unlinking

cdef Item *store_find_dead_locked(Context *context, uint64_t h, Item *item) noexcept nogil:
    """The far half of store_find_locked: the item itself if it lives after all, else NULL, and it is removed."""
    if item_expired(item, context.now):
        count(context.counters, GET_EXPIRED)
    elif item_flushed(context.store, item, context.now):
        count(context.counters, GET_FLUSHED)
    else:
        return item
    store_unlink_locked(context, h, item)
    return NULL


cdef void store_unlink_locked(Context *context, uint64_t h, Item *item) noexcept nogil:
    """Remove an item from the table and its list, and free it unless a reply still reads it."""
    cdef Store *store = context.store
    table_remove_locked(&store.table, h, chunk_ref(&store.slabs, item))
    lru_unlink(&store.lru, item)
    store_release(store, item)


cdef void store_set_cas_locked(Context *context, Item *item, uint64_t explicit_cas) noexcept nogil:
    """Give an item its next cas, or the one that a client chose. Its time is set before."""
    cdef Store *store = context.store
    if explicit_cas == 0:
        item_set_cas(item, store_next_cas(store))
        item_unmark(item, ITEM_EXPLICIT)
        return
    item_set_cas(item, explicit_cas)
    item_mark(item, ITEM_EXPLICIT)
    item_set_time(item, max(item_time(item), load_u32(&store.explicit_stamp)))


cdef void replace_locked(Context *context, uint64_t h, Item *item, Item *old) noexcept nogil:
    """Let an unlinked item be found in place of ``old``, which is freed unless a reply still reads it."""
    cdef Store *store = context.store
    table_replace_locked(&store.table, h, chunk_ref(&store.slabs, old), chunk_ref(&store.slabs, item))
    lru_unlink(&store.lru, old)
    store_release(store, old)
    lru_link(&store.lru, item)


cdef StoreStatus link_locked(Context *context, uint64_t h, Item *item, Item *old) noexcept nogil:
    """Let an item, complete but for its time, be found; in place of ``old`` if there is one. Takes it over.

    The caller has set its cas by store_set_cas_locked.
    """
    cdef Store *store = context.store
    if old != NULL:
        replace_locked(context, h, item, old)
    elif table_insert_locked(&store.table, h, chunk_ref(&store.slabs, item)):
        lru_link(&store.lru, item)
    else:
        store_release(store, item)
        return NO_MEMORY
    count(context.counters, TOTAL_ITEMS)
    return STORED


cdef void store_grow(Context *context, uint64_t h) noexcept nogil:
    """Let the table catch up after an insertion; the caller holds no lock. h: the stripe to judge by."""
    cdef Store *store = context.store
    cdef bint full
    cdef int i
    for i in range(GROW_STEPS):
        table_lock(&store.table, h)
        full = table_is_full(&store.table, h)
        table_unlock(&store.table, h)
        if not full or not table_grow(&store.table, hash_of_item, &store.hash_key):
            return


cdef void unlock_and_grow(Context *context, uint64_t h) noexcept nogil:
    cdef bint full = table_is_full(&context.store.table, h)
    store_unlock(context.store, h)
    if full:
        store_grow(context, h)


# ---- storage commands

cdef StoreStatus judge_locked(Context *context, const Put *put, const Item *old, bint *stale) noexcept nogil:
    """Whether a storage command may go ahead (STORED), or what it answers. ``stale``: the result is to be marked so."""
    cdef Store *store = context.store
    cdef uint32_t cls
    stale[0] = False
    if put.mode == PUT_ADD:
        return STORED if old == NULL else NOT_STORED
    if put.mode == PUT_APPEND or put.mode == PUT_PREPEND:
        if old == NULL:
            return STORED if put.vivify else NOT_STORED
        return STORED if not put.compare or store_shown_cas(store, old) == put.compare_cas else EXISTS
    if not put.compare:
        return STORED if put.mode == PUT_SET or old != NULL else NOT_STORED
    if old == NULL:
        count(context.counters, CAS_MISSES)
        return NOT_FOUND
    cls = store_class(store, old)
    if put.compare_cas != 0 and store_shown_cas(store, old) == put.compare_cas:
        count_class(context.counters, cls, CLASS_CAS_HITS)
        return STORED
    if put.invalidate and put.compare_cas < store_shown_cas(store, old):
        stale[0] = True
        return STORED
    count_class(context.counters, cls, CLASS_CAS_BADVAL)
    return EXISTS


cdef void dress_locked(Context *context, Put *put, Item *item, const Item *old, bint stale) noexcept nogil:
    """Give a new item its times, marks and cas."""
    cdef uint32_t marks = 0
    item_set_exptime(item, item_exptime(old) if stale else put.exptime)
    item_set_time(item, context.now)
    if put.binary:
        marks |= ITEM_BINARY
    if stale:
        marks |= ITEM_STALE | (item_meta(old) & ITEM_TOKEN)
    if marks:
        item_mark(item, marks)
    store_set_cas_locked(context, item, put.explicit_cas)
    put.cas = store_shown_cas(context.store, item)
    put.nbytes = item_nbytes(item)


cdef bint fits_in_place(const Store *store, const Item *old, const Put *put, uint32_t nbytes) noexcept nogil:
    """Whether a value can take an old one's place: both small, the layout and the slab class the same."""
    cdef uint32_t meta = item_meta(old)
    if meta & ITEM_LARGE or nbytes >= LARGE_MIN or (meta & ITEM_FLAGS != 0) != (put.flags != 0):
        return False
    return slab_class_for(&store.slabs, meta_key_offset(meta) + (meta & 0xFF) + nbytes) == chunk_class(
        &store.slabs, old
    )


cdef void overwrite_locked(Context *context, Put *put, Item *item, const char *value, uint32_t nbytes,
                           bint stale) noexcept nogil:
    """Store a value in the place of the old one: nothing is allocated, no list is touched.

    To the LRU the item is as good as new (ITEM_REWRITTEN); a client cannot tell.
    """
    cdef Store *store = context.store
    cdef size_t old_size = item_size(item)
    cdef uint32_t meta = item_meta(item), token = meta & ITEM_TOKEN
    cdef uint32_t exptime = item_exptime(item)
    store_u32(&item.meta, (meta & (0xFF | ITEM_FLAGS)) | nbytes << 8 | ITEM_REWRITTEN)
    memcpy(item_value(item), value, nbytes)
    if put.flags != 0:
        item_set_flags(item, put.flags)
    item_set_exptime(item, exptime if stale else put.exptime)
    item_set_time(item, context.now)
    if put.binary or stale:
        item_mark(item, (ITEM_BINARY if put.binary else 0) | (ITEM_STALE | token if stale else 0))
    store_set_cas_locked(context, item, put.explicit_cas)
    put.cas = store_shown_cas(store, item)
    put.nbytes = nbytes
    if item_size(item) != old_size:
        lru_resize(&store.lru, item, old_size, item_size(item))
    count(context.counters, TOTAL_ITEMS)


cdef StoreStatus concat_locked(Context *context, Put *put, uint64_t h, Item *old, ValueCursor *added,
                               uint32_t nbytes) noexcept nogil:
    """Append or prepend: a new item of both values, with the old one's flags and exptime."""
    cdef Store *store = context.store
    cdef uint64_t total = <uint64_t>item_nbytes(old) + nbytes
    cdef ValueCursor target, kept
    cdef Item *item
    if not fits_limit(store, item_nkey(old), item_flags(old), total):
        return NOT_STORED
    item = item_alloc(context, item_key(old), item_nkey(old), item_flags(old), <uint32_t>total)
    if item == NULL:
        return NOT_STORED
    cursor_open(store, item, &target)
    cursor_open(store, old, &kept)
    if put.mode == PUT_APPEND:
        cursor_copy(store, &target, &kept, item_nbytes(old))
        cursor_copy(store, &target, added, nbytes)
    else:
        cursor_copy(store, &target, added, nbytes)
        cursor_copy(store, &target, &kept, item_nbytes(old))
    put.exptime = item_exptime(old)
    put.binary = False  # as in memcached, a value that was put together forgets how its key was given
    dress_locked(context, put, item, old, False)
    return link_locked(context, h, item, old)


cdef StoreStatus put_new_locked(Context *context, Put *put, uint64_t h, const char *key, uint32_t nkey,
                                ValueCursor *value, uint32_t nbytes, Item *old, bint stale) noexcept nogil:
    """Store a value as a new item, in place of ``old`` if there is one."""
    cdef Item *item = item_alloc(context, key, nkey, put.flags, nbytes)
    cdef ValueCursor target
    if item == NULL:
        if old != NULL and put.drop_on_failure:
            store_unlink_locked(context, h, old)
        return NO_MEMORY
    cursor_open(context.store, item, &target)
    cursor_copy(context.store, &target, value, nbytes)
    dress_locked(context, put, item, old, stale)
    return link_locked(context, h, item, old)


cdef StoreStatus store_put(Context *context, Put *put, uint64_t h, const char *key, uint32_t nkey,
                           char *value, uint32_t nbytes) noexcept nogil:
    """Run a storage command whose value is at hand."""
    cdef Store *store = context.store
    cdef ValueCursor source
    cdef StoreStatus status
    cdef bint stale = False
    cdef Item *old
    if not fits_limit(store, nkey, put.flags, nbytes):
        if put.drop_on_failure:
            store_drop_failed(context, h, key, nkey)
        return TOO_LARGE
    count_set(context, put, nkey, nbytes)
    store_lock(store, h)
    old = store_find_locked(context, h, key, nkey)
    status = judge_locked(context, put, old, &stale)
    if status == STORED:
        source.at = value
        source.left = nbytes
        source.next = 0
        if old != NULL and put.mode >= PUT_APPEND:
            status = concat_locked(context, put, h, old, &source, nbytes)
        elif old != NULL and fits_in_place(store, old, put, nbytes):
            overwrite_locked(context, put, old, value, nbytes, stale)
        else:
            if put.mode >= PUT_APPEND:
                put.exptime = put.vivify_exptime
            status = put_new_locked(context, put, h, key, nkey, &source, nbytes, old, stale)
    elif status == NOT_STORED and old != NULL:
        item_accessed(old, context.now)  # a failed add counts as an access, as in memcached
    unlock_and_grow(context, h)
    return status


cdef StoreStatus store_reserve(Context *context, const Put *put, const char *key, uint32_t nkey, uint32_t nbytes,
                               Item **reserved) noexcept nogil:
    """An item for a value that is still to come, for store_commit or store_release. STORED, or why not.

    The value has LARGE_MIN bytes at least: a smaller one is waited for, and stored by store_put. A chained item gets
    its pieces as the value comes (store_extend), so that an announced value takes no more memory than a sent one.
    """
    if not fits_limit(context.store, nkey, put.flags, nbytes):
        return TOO_LARGE
    reserved[0] = item_begin(context, key, nkey, put.flags, nbytes)
    return STORED if reserved[0] != NULL else NO_MEMORY


cdef StoreStatus store_commit(Context *context, Put *put, uint64_t h, Item *item) noexcept nogil:
    """Run a storage command whose value was received into ``item``, which it takes over. The item is a large one."""
    cdef Store *store = context.store
    cdef ValueCursor added
    cdef StoreStatus status
    cdef bint stale = False
    cdef Item *old
    count_set(context, put, item_nkey(item), item_nbytes(item))
    store_lock(store, h)
    old = store_find_locked(context, h, item_key(item), item_nkey(item))
    status = judge_locked(context, put, old, &stale)
    if status == STORED and old != NULL and put.mode >= PUT_APPEND:
        cursor_open(store, item, &added)
        status = concat_locked(context, put, h, old, &added, item_nbytes(item))
        store_release(store, item)
    elif status == STORED:
        if put.mode >= PUT_APPEND:
            put.exptime = put.vivify_exptime
        dress_locked(context, put, item, old, stale)
        status = link_locked(context, h, item, old)
    else:
        if status == NOT_STORED and old != NULL:
            item_accessed(old, context.now)
        store_release(store, item)
    unlock_and_grow(context, h)
    return status


cdef void store_drop_failed(Context *context, uint64_t h, const char *key, uint32_t nkey) noexcept nogil:
    """A value that could not be stored leaves no older one behind."""
    cdef Item *old
    store_lock(context.store, h)
    old = store_find_locked(context, h, key, nkey)
    if old != NULL:
        store_unlink_locked(context, h, old)
    store_unlock(context.store, h)


# ---- changes to a stored item

cdef Item *store_create_locked(Context *context, const Put *put, uint64_t h, const char *key, uint32_t nkey,
                               char *value, uint32_t nbytes) noexcept nogil:
    """Store a small value where there is no item; NULL without the memory. store_grow is the caller's, once unlocked."""
    cdef Put unconditional = put[0]
    cdef ValueCursor source
    source.at = value
    source.left = nbytes
    source.next = 0
    if put_new_locked(context, &unconditional, h, key, nkey, &source, nbytes, NULL, False) != STORED:
        return NULL
    return table_find_locked(&context.store.table, h, key, nkey)


cdef Item *replace_value_locked(Context *context, uint64_t h, Item *old, uint32_t flags, const char *value,
                                uint32_t length, uint32_t nbytes) noexcept nogil:
    """Let a new item of ``nbytes``, the text padded with blanks, take the place of ``old``. NULL without the memory.

    It keeps exptime and cas; the marks that clients set and see start anew.
    """
    cdef Item *item = item_alloc(context, item_key(old), item_nkey(old), flags, nbytes)
    if item == NULL:
        return NULL
    if nbytes > 0:
        memcpy(item_value(item), value, length)
        memset(item_value(item) + length, c' ', nbytes - length)
    item_set_exptime(item, item_exptime(old))
    item_set_time(item, max(item_time(old), context.now))
    item_set_cas(item, item_cas(old))
    item_mark(item, item_meta(old) & ITEM_EXPLICIT)
    link_locked(context, h, item, old)
    return item


cdef Item *store_empty_locked(Context *context, uint64_t h, Item *item, uint32_t flags) noexcept nogil:
    """Take an item's value away but keep the item: what stands in its place, or NULL without the memory."""
    return replace_value_locked(context, h, item, flags, NULL, 0, 0)


cdef StoreStatus store_delta_locked(Context *context, uint64_t h, Item **item, bint increment, uint64_t delta,
                                    uint64_t explicit_cas, uint64_t *result) noexcept nogil:
    """Add to the number in an item, modulo 2^64, or subtract down to 0. ``item`` is set to what holds it afterwards.

    A number that fits the old value's length is written over it and padded with blanks, as memcached does; a longer
    one makes a new item. STORED, NON_NUMERIC or NO_MEMORY.
    """
    cdef Item *old = item[0]
    cdef char text[24]
    cdef uint64_t value = 0
    cdef uint32_t length, nbytes = item_nbytes(old), padded
    cdef bint shared = item_meta(old) & ITEM_LARGE and load_acquire_u32(&item_large(old).refs) > 1
    if item_meta(old) & ITEM_CHAINED or not parse_stored_u64(item_value(old), nbytes, &value):
        return NON_NUMERIC
    if increment:
        value += delta
    else:
        value = value - delta if value > delta else 0
    length = format_u64(text, value)
    padded = max(length, nbytes)
    if length <= nbytes and not shared:
        memcpy(item_value(old), text, length)
        memset(item_value(old) + length, c' ', nbytes - length)
        item_accessed(old, context.now)
    else:
        old = replace_value_locked(context, h, old, item_flags(old), text, length, padded)
        if old == NULL:
            return NO_MEMORY
        item[0] = old
    store_set_cas_locked(context, old, explicit_cas)
    result[0] = value
    return STORED


# ---- flush

cdef void store_flush(Context *context, int64_t delay) noexcept nogil:
    """Make every item go: at once those that there are (delay <= 0), or those stored or used up to a later tick.

    "At once" is told by cas, which every storing draws anew, so that what is stored in the same second stays. A cas
    that a client chose tells nothing: such items go by their time, and get one later than any flush so far.
    A delayed flush takes away, at its tick, everything that was not stored or used after it. There is one at a time.
    """
    cdef Store *store = context.store
    lock_acquire(&store.flush_lock)
    if delay > 0:
        if store.flush_pending != 0 and store.flush_pending <= context.now:
            store_u32(&store.flush_fired, store.flush_pending)
        store_u32(&store.flush_pending, clock_expiry(&store.clock, context.now, delay) - 1)
        store_u32(&store.flush_shown, store.flush_pending)
    else:
        # First what makes everything go, then what had made some of it go: nothing comes back in between.
        store_u32(&store.explicit_gone, max(context.now, store.explicit_stamp))
        store_u32(&store.explicit_stamp, store.explicit_gone + 1)
        store_release_u64(&store.flush_cas, load_u64(&store.cas))
        store_release_u32(&store.flush_pending, 0)
        store_release_u32(&store.flush_fired, 0)
        store_u32(&store.flush_shown, context.now)
    store_u32(&store.flush_horizon, max(store.flush_fired, store.flush_pending))
    lock_release(&store.flush_lock)
