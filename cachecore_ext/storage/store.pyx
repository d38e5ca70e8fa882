"""Storing, changing and removing items; allocation and eviction; flush; a walk over all of them."""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from cachecore_ext.base.atomics cimport (
    add_u32, drop_u32, load_acquire_u32, load_u32, load_u64, store_release_u32, store_u32,
)
from cachecore_ext.base.clock cimport clock_expiry, clock_init
from cachecore_ext.base.compiler cimport likely, static_same, unlikely
from cachecore_ext.base.counters cimport (
    CAS_MISSES, CLASSES, CLASS_CAS_BADVAL, CLASS_CAS_HITS, CLASS_CMD_SET, GET_EXPIRED, GET_FLUSHED, TOTAL_ITEMS, count,
    count_class,
)
from cachecore_ext.base.eventlog cimport LOOKUP_EXPIRED, LOOKUP_FLUSHED, WATCH_EVICTIONS
from cachecore_ext.base.linux cimport eventfd_write, getrandom
from cachecore_ext.base.lock cimport lock_acquire, lock_release
from cachecore_ext.base.numbers cimport format_u64, parse_stored_u64
from cachecore_ext.storage.flush cimport flush_at, flush_now, item_flushed
from cachecore_ext.storage.item cimport (
    CHAIN_META, FLAGS_SIZE, ITEM_ACTIVE, ITEM_BINARY, ITEM_CHAINED, ITEM_EXPLICIT, ITEM_FETCHED, ITEM_FLAGS,
    ITEM_HEADER, ITEM_LARGE, ITEM_REWRITTEN, ITEM_STALE, ITEM_TOKEN, ITEM_UNLINKED, LARGE_HEADER, LARGE_MIN,
    PIECE_HEADER, Item, ItemLarge, Piece, item_accessed, item_age, item_cas, item_expired, item_exptime, item_flags,
    item_is_held, item_key, item_large, item_mark, item_meta, item_nbytes, item_nkey, item_set_cas, item_set_exptime,
    item_set_flags, item_set_time, item_time, item_unmark, item_value, meta_key_offset,
)
from cachecore_ext.storage.lru cimport (
    SEGMENTS, TEMP, Segment, item_segment, lru_before_locked, lru_defer_locked, lru_has_temporary,
    lru_init, lru_is_temporary, lru_link, lru_rewrite, lru_unlink, lru_unlink_locked, lru_victim_locked,
)
from cachecore_ext.storage.slabs cimport (
    PAGE_SIZE, SlabSettings, chunk_at, chunk_class, chunk_ref, slab_alloc, slab_class_for, slab_free, slabs_free,
    slabs_init, slabs_set_limit,
)
from cachecore_ext.storage.table cimport (
    LOAD, Bucket, table_free, table_grow, table_init, table_initial_bytes, table_insert_locked, table_is_full,
    table_open, table_remove_locked, table_replace_locked, table_try_lock, table_unlock, table_walk,
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


cdef uint64_t hash_of_item(const void *hash_key, const Item *item) noexcept nogil:
    return hash_bytes(<const HashKey *>hash_key, item_key(item), item_nkey(item))


cdef uint64_t max_items(const Store *store, uint64_t limit) noexcept nogil:
    """How many items the slabs can hold at most, a page of each class beyond the limit counted."""
    return (limit / PAGE_SIZE + CLASSES) * store.slabs.classes[1].per_page


cdef int store_init(Store *store, const StoreSettings *settings) noexcept nogil:
    """Set up an empty store. 0, or -1 without the memory or the random bytes."""
    cdef uint64_t stripes = STRIPES_MIN, wanted = <uint64_t>settings.threads * STRIPES_PER_THREAD
    cdef SlabSettings slabs
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
    store.alarm = -1
    clock_init(&store.clock)
    if getrandom(&store.hash_key, sizeof(HashKey), 0) != sizeof(HashKey):
        return -1
    slabs.limit = settings.memory_limit
    slabs.factor = settings.growth_factor
    slabs.chunk_min = settings.chunk_min
    slabs.chunk_max = settings.chunk_max
    slabs.sizes = settings.chunk_sizes
    slabs.nsizes = settings.nchunk_sizes
    slabs.table_cost = sizeof(Bucket) * 1024 * TABLE_SLACK / 100 / LOAD
    slabs.initial_charge = table_initial_bytes(stripes)
    slabs.hugepages = settings.hugepages
    slabs.file = settings.memory_file
    if slabs_init(&store.slabs, &slabs) != 0:
        return -1
    if table_init(&store.table, &store.slabs, stripes, max_items(store, settings.memory_limit),
                  store.slabs.region_size / store.slabs.classes[1].size) != 0:
        slabs_free(&store.slabs)
        return -1
    lru_init(&store.lru, &store.slabs)
    return 0


cdef void store_free(Store *store) noexcept nogil:
    table_free(&store.table)
    slabs_free(&store.slabs)


cdef bint store_set_limit(Store *store, uint64_t limit) noexcept nogil:
    """Change the memory limit; False, and nothing changed, when so much cannot be had, or the memory is a file."""
    if store.slabs.file >= 0:
        return False
    return table_open(&store.table, max_items(store, limit)) and slabs_set_limit(&store.slabs, limit)


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


cdef void count_eviction(LruClass *lists, const Item *item, bint dead, uint64_t *reclaimed,
                         uint32_t now) noexcept nogil:
    cdef uint32_t meta = item_meta(item)
    if dead:
        reclaimed[0] += 1
        if not meta & ITEM_FETCHED:
            lists.expired_unfetched += 1
        return
    lists.evicted += 1
    lists.evicted_time = item_age(item, now)
    if item_exptime(item) != 0:
        lists.evicted_nonzero += 1
    if meta & ITEM_ACTIVE:
        lists.evicted_active += 1
    if not meta & ITEM_FETCHED:
        lists.evicted_unfetched += 1


cdef bint store_is_dead(const Store *store, const Item *item, uint32_t now) noexcept nogil:
    """Whether an item has expired or was flushed."""
    return item_expired(item, now) or item_flushed(&store.flush, item, now)


cdef bint store_try_lock_linked(Store *store, LruClass *lists, const Item *item, uint64_t *h) noexcept nogil:
    """Lock the bucket of a chunk that looks like an item; the caller holds the lock of its LRU class.

    False when it is no item, in no list, or in use at the moment. This comes from the other side of the lock order, so
    it only tries. With the lock the item stays where it is, and what it is.
    """
    if (
        load_acquire_u32(&item.meta) & 0xFF == 0  # item_begin sets prev before it
        or load_u32(&item.prev) == <uint32_t>ITEM_UNLINKED
        or &store.lru.classes[lru_id(&store.slabs, item)] != lists
    ):
        return False
    h[0] = hash_of_item(&store.hash_key, item)
    return table_try_lock(&store.table, h[0])


cdef bint store_try_take_locked(Context *context, LruClass *lists, Item *item, bint dead_only,
                                uint64_t *reclaimed) noexcept nogil:
    """Unlink an item unless it is in use, or lives and only the dead may be taken; the caller holds the lock of its LRU
    class, and gives the item to store_release once that is released. ``reclaimed`` counts the dead."""
    cdef Store *store = context.store
    cdef uint64_t h = 0
    cdef bint dead, gone = False
    if not store_try_lock_linked(store, lists, item, &h):
        return False
    dead = store_is_dead(store, item, context.now)
    if (dead or not dead_only) and not item_is_held(item):
        table_remove_locked(&store.table, h, chunk_ref(&store.slabs, item))
        count_eviction(lists, item, dead, reclaimed, context.now)
        if unlikely(context.watched & WATCH_EVICTIONS) and not dead:
            store_report_eviction_locked(context, item)
        lru_unlink_locked(&store.lru, lists, item)
        gone = True
    table_unlock(&store.table, h)
    return gone


cdef Item *take_victim_locked(Context *context, LruClass *lists) noexcept nogil:
    """Unlink the item that is to leave first and can; NULL when the candidates are in use, or there are none."""
    cdef Item *item
    cdef int i
    for i in range(EVICT_TRIES):
        item = lru_victim_locked(&context.store.lru, lists)
        if item == NULL or store_try_take_locked(context, lists, item, False, &lists.reclaimed):
            return item
        lists.reflocked += 1
        lru_defer_locked(&context.store.lru, lists, item)
    return NULL


cdef Item *take_dead_locked(Context *context, LruClass *lists) noexcept nogil:
    """Unlink an item that has ended, if one is near a tail. The lists stay as they are: what is in use now is found
    there later."""
    cdef Item *item
    cdef int segment, i
    for segment in range(SEGMENTS):
        item = NULL
        for i in range(EVICT_TRIES):
            item = lru_before_locked(&context.store.lru, lists, <Segment>segment, item)
            if item == NULL:
                break
            if store_try_take_locked(context, lists, item, True, &lists.reclaimed):
                return item
    return NULL


cdef Evicted store_evict(Context *context, uint32_t cls) noexcept nogil:
    """Make the least useful item of the class give way."""
    cdef Store *store = context.store
    cdef LruClass *lists = &store.lru.classes[cls]
    cdef Item *item
    cdef bint empty
    lock_acquire(&lists.lock)
    item = take_victim_locked(context, lists) if store.evictions else take_dead_locked(context, lists)
    lists.direct_reclaims += item != NULL
    empty = item == NULL and lru_victim_locked(&store.lru, lists) == NULL
    lock_release(&lists.lock)
    if item != NULL:
        store_release(store, item)
        return EVICTED
    return NOTHING_THERE if empty or not store.evictions else ALL_IN_USE


cdef void want_page(Store *store, uint32_t cls) noexcept nogil:
    """Tell the maintenance that a class has no memory left."""
    if load_u32(&store.wanting) == 0:
        store_u32(&store.wanting, cls)
        if store.alarm >= 0:
            eventfd_write(store.alarm, 1)


cdef void *chunk_or_evict(Context *context, uint32_t cls) noexcept nogil:
    """A chunk of the class, if need be by eviction; NULL when there is none to be had."""
    cdef Store *store = context.store
    cdef LruClass *lists = &store.lru.classes[cls]
    cdef void *chunk = slab_alloc(&store.slabs, cls)
    cdef Evicted evicted
    cdef uint32_t i, in_vain = 0
    if likely(chunk != NULL):
        return chunk
    if load_u32(&store.always_wanting):
        want_page(store, cls)
    # What is evicted may lie in a page that leaves the class, which gives out no chunk; and who are neighbours at the
    # tail often are in a page. There is one such page at a time.
    for i in range(ALLOC_TRIES + store.slabs.classes[cls].per_page):
        evicted = store_evict(context, cls)
        in_vain += evicted == ALL_IN_USE
        if evicted == NOTHING_THERE or in_vain == ALLOC_TRIES:
            break
        chunk = slab_alloc(&store.slabs, cls)
        if likely(chunk != NULL):
            return chunk
    want_page(store, cls)
    lock_acquire(&lists.lock)
    lists.outofmemory += 1
    lock_release(&lists.lock)
    return NULL


cdef Item *item_begin(Context *context, const char *key, uint32_t nkey, uint32_t flags, uint32_t nbytes) noexcept nogil:
    """An unlinked item with its key and flags, and room for the value unless that is to be chained; NULL without the
    memory. exptime, time and cas are still to be set."""
    cdef Store *store = context.store
    cdef uint32_t meta = meta_layout(nkey, flags, nbytes, store.slabs.chunk_max)
    cdef uint32_t in_head = 0 if meta & ITEM_CHAINED else nbytes
    cdef size_t head = meta_key_offset(meta) + nkey
    cdef Item *item = <Item *>chunk_or_evict(context, slab_class_for(&store.slabs, head + in_head))
    if item == NULL:
        return NULL
    item.next = 0
    store_u32(&item.prev, ITEM_UNLINKED)
    store_release_u32(&item.meta, meta)
    memcpy(item_key(item), key, nkey)
    if flags != 0:
        item_set_flags(item, flags)
    if meta & ITEM_LARGE:
        item_large(item).nbytes = nbytes
        store_u32(&item_large(item).refs, 1)
        item_large(item).chain = 0
    return item


cdef bint store_extend(Context *context, Item *item, Piece **last, size_t missing, ValueCursor *cursor) noexcept nogil:
    """Give a chained item its next piece, for at most ``missing`` bytes, and point to it. False without the memory.

    ``last``: the piece before it, NULL for the first; set to the new one.
    """
    cdef Store *store = context.store
    cdef size_t size = min(missing, <size_t>store.slabs.chunk_max - PIECE_HEADER)
    cdef uint32_t cls = slab_class_for(&store.slabs, size + PIECE_HEADER)
    cdef uint32_t *link = &last[0].next if last[0] != NULL else &item_large(item).chain
    cdef Piece *piece = <Piece *>chunk_or_evict(context, cls)
    if piece == NULL and cls != store.slabs.nclasses:
        piece = <Piece *>chunk_or_evict(context, store.slabs.nclasses)
    if piece == NULL:
        return False
    piece.next = 0
    piece.size = <uint32_t>size
    store_u32(&piece.owner, chunk_ref(&store.slabs, item))
    store_release_u32(&piece.meta, CHAIN_META)
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


cdef void store_count_set(Context *context, const Put *put, uint32_t nkey, uint32_t nbytes) noexcept nogil:
    """Count a storage command for the class that its value would go to."""
    count_class(context.counters, store_class_for(context.store, nkey, put.flags, nbytes), CLASS_CMD_SET)


cdef bint store_fits(const Store *store, uint32_t nkey, uint32_t flags, uint64_t nbytes) noexcept nogil:
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
        context.lost = LOOKUP_EXPIRED
    elif item_flushed(&context.store.flush, item, context.now):
        count(context.counters, GET_FLUSHED)
        context.lost = LOOKUP_FLUSHED
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
        if item_meta(item) & ITEM_EXPLICIT:
            item_unmark(item, ITEM_EXPLICIT)
        return
    item_set_cas(item, explicit_cas)
    item_mark(item, ITEM_EXPLICIT)
    item_set_time(item, max(item_time(item), load_u32(&store.flush.explicit_stamp)))


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
        count_class(context.counters, cls, CLASS_CAS_HITS)
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


cdef bint fits_in_place(const Store *store, const Item *old, const Put *put, uint32_t nbytes,
                        uint32_t now) noexcept nogil:
    """Whether a value can take an old one's place: both small, layout and slab class the same, and TEMP's or not."""
    cdef uint32_t meta = item_meta(old)
    if meta & ITEM_LARGE or nbytes >= LARGE_MIN or (meta & ITEM_FLAGS != 0) != (put.flags != 0):
        return False
    if lru_has_temporary(&store.lru) and (
        (item_segment(old) == TEMP) != lru_is_temporary(&store.lru, put.exptime, now)
    ):
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
    cdef uint32_t exptime = item_exptime(item)
    cdef uint32_t marks = ITEM_REWRITTEN | (ITEM_BINARY if put.binary else 0)
    if stale:
        marks |= ITEM_STALE | (item_meta(item) & ITEM_TOKEN)
    lru_rewrite(&store.lru, item, 0xFF | ITEM_FLAGS, nbytes << 8 | marks)
    memcpy(item_value(item), value, nbytes)
    if put.flags != 0:
        item_set_flags(item, put.flags)
    item_set_exptime(item, exptime if stale else put.exptime)
    item_set_time(item, context.now)
    store_set_cas_locked(context, item, put.explicit_cas)
    put.cas = store_shown_cas(store, item)
    put.nbytes = nbytes
    count(context.counters, TOTAL_ITEMS)


cdef StoreStatus concat_locked(Context *context, Put *put, uint64_t h, Item *old, ValueCursor *added,
                               uint32_t nbytes) noexcept nogil:
    """Append or prepend: a new item of both values, with the old one's flags and exptime."""
    cdef Store *store = context.store
    cdef uint64_t total = <uint64_t>item_nbytes(old) + nbytes
    cdef ValueCursor target, kept
    cdef Item *item
    if not store_fits(store, item_nkey(old), item_flags(old), total):
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
    put.flags = item_flags(old)
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
    if not store_fits(store, nkey, put.flags, nbytes):
        if put.drop_on_failure:
            store_drop_failed(context, h, key, nkey)
        return TOO_LARGE
    store_count_set(context, put, nkey, nbytes)
    store_lock(store, h)
    old = store_look_up_locked(context, h, key, nkey)
    status = judge_locked(context, put, old, &stale)
    if status == STORED:
        source.at = value
        source.left = nbytes
        source.next = 0
        if old != NULL and put.mode >= PUT_APPEND:
            status = concat_locked(context, put, h, old, &source, nbytes)
        elif old != NULL and fits_in_place(store, old, put, nbytes, context.now):
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
    if not store_fits(context.store, nkey, put.flags, nbytes):
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
    store_count_set(context, put, item_nkey(item), item_nbytes(item))
    store_lock(store, h)
    old = store_look_up_locked(context, h, item_key(item), item_nkey(item))
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
    old = store_look_up_locked(context, h, key, nkey)
    if old != NULL:
        store_unlink_locked(context, h, old)
    store_unlock(context.store, h)


# ---- changes to a stored item

cdef Item *store_create_locked(Context *context, const Put *put, uint64_t h, const char *key, uint32_t nkey,
                               char *value, uint32_t nbytes) noexcept nogil:
    """Store a small value where there is no item; NULL without the memory. Once unlocked the caller lets the
    table grow (store_grow)."""
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
    if item_meta(old) & ITEM_CHAINED or not parse_stored_u64(item_value(old), nbytes, &value):
        return NON_NUMERIC
    if increment:
        value += delta
    else:
        value = value - delta if value > delta else 0
    length = format_u64(text, value)
    padded = max(length, nbytes)
    if length <= nbytes and not item_is_held(old):
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
    """Make every item go: at once those that there are (delay <= 0), or those stored or used up to a later tick."""
    cdef Store *store = context.store
    if delay > 0:
        flush_at(&store.flush, clock_expiry(&store.clock, context.now, delay) - 1, context.now)
    else:
        flush_now(&store.flush, load_u64(&store.cas), context.now)


# ---- a walk

cdef uint32_t store_walk(Context *context, StoreCursor *cursor, uint32_t most, StoreVisit visit,
                         void *visitor) noexcept nogil:
    """One step of a walk over all items, see table_walk: ``visit`` is called for each under its bucket's lock, also for
    one that is dead. How many they were, at most ``most``; none is a step as well, the cursor says when it ends."""
    cdef Store *store = context.store
    return table_walk(&store.table, cursor, most, visit, visitor, hash_of_item, &store.hash_key)
