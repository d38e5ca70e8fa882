"""Storing, changing and removing items; flush; a walk over all of them."""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from cachecore_ext.base.atomics cimport add_seq_u64, load_seq_u64, load_u64
from cachecore_ext.base.bytes cimport copy_bytes
from cachecore_ext.base.clock cimport clock_expiry, clock_init, clock_now
from cachecore_ext.base.compiler cimport static_same, unlikely
from cachecore_ext.base.counters cimport (
    CAS_MISSES, CLASSES, CLASS_CAS_BADVAL, CLASS_CAS_HITS, CLASS_CMD_SET, GET_EXPIRED, GET_FLUSHED, TOTAL_ITEMS, count,
    count_class,
)
from cachecore_ext.base.eventlog cimport LOOKUP_EXPIRED, LOOKUP_FLUSHED
from cachecore_ext.base.hashing cimport HashKey
from cachecore_ext.base.linux cimport getrandom
from cachecore_ext.base.numbers cimport format_u64, parse_stored_u64
from cachecore_ext.storage.allocation cimport cursor_copy, hash_of_item, item_alloc, item_begin, item_lengthen_locked
from cachecore_ext.storage.flush cimport (
    Flush, Former, flush_at, flush_begin, flush_end, flush_overtook, flush_settle, flush_stamp, former_of,
    item_flushed,
)
from cachecore_ext.storage.ghosts cimport ghost_take_locked, ghosts_forget
from cachecore_ext.storage.item cimport (
    FLAGS_SIZE, ITEM_ACTIVE, ITEM_BINARY, ITEM_CHAINED, ITEM_EXPLICIT, ITEM_FETCHED, ITEM_FLAGS, ITEM_HEADER,
    ITEM_LARGE, ITEM_REWRITTEN, ITEM_STALE, ITEM_TOKEN, LARGE_HEADER, LARGE_MIN, LENGTH_MASK, PIECE_HEADER, Item,
    ItemLarge, Piece, item_accessed, item_cas, item_change_meta, item_expired, item_exptime, item_flags, item_is_held,
    item_key, item_large, item_mark, item_meta, item_nbytes, item_nkey, item_set_cas, item_set_exptime,
    item_set_flags, item_set_time, item_time, item_unmark, item_value, meta_key_offset,
)
from cachecore_ext.storage.lru cimport (
    ARRIVAL_KNOWN, ARRIVAL_NEW, TEMP, WARM, item_segment, lru_has_temporary, lru_init, lru_is_temporary, lru_link,
    lru_rewrite, lru_unlink,
)
from cachecore_ext.storage.slabs cimport (
    PAGE_SIZE, SlabSettings, chunk_class, chunk_ref, slab_class_for, slabs_free, slabs_init, slabs_set_limit,
)
from cachecore_ext.storage.table cimport (
    LOAD, Bucket, table_free, table_grow, table_init, table_initial_bytes, table_insert_locked, table_is_full,
    table_open, table_remove_locked, table_replace_locked, table_walk,
)

cdef enum:
    STRIPES_MIN = 2048
    STRIPES_MAX = 32768
    STRIPES_PER_THREAD = 512  # two threads that meet by chance on a lock: 1 in 512
    FIRST_CAS = 1             # so that the first item's is 2, as memcached's
    THREADS_APART = 5         # from so many on, threads take their cas in blocks: up to then they go up as memcached's
    CAS_BLOCK = 64
    TABLE_SLACK = 125         # percent of LOAD's bytes an item that a table can come to: overflow buckets, early growth
    GROW_STEPS = 2            # buckets divided by one insertion: the table catches up with any rate of insertions
    # What a new item has not.
    MARKS = ITEM_BINARY | ITEM_FETCHED | ITEM_ACTIVE | ITEM_STALE | ITEM_TOKEN | ITEM_EXPLICIT | ITEM_REWRITTEN
    FLUSHED = 0               # the time of an item with ITEM_EXPLICIT that any flush has made go
    # memcached's count of an item's size, by which -I is meant: header, cas, NUL, flags, line end.
    COUNTED_HEADER = 48
    COUNTED_CAS = 8


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
    store.cas_block = CAS_BLOCK if settings.threads >= THREADS_APART else 1
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
    if item_meta(item) & ITEM_EXPLICIT:
        flush_settle(&context.store.flush)
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


cdef inline uint64_t next_cas(Context *context, uint64_t above) noexcept nogil:
    """A cas that nobody had. It is larger than ``above``, and than those that a flush has made go.

    Many threads take theirs in blocks: one word that all of them write for every set would be the first thing they
    meet. So numbers rise for each key, but from key to key only from one second to the next: a block is given up at
    a new tick.
    """
    cdef Store *store = context.store
    if (
        context.cas_left == 0
        or context.cas_tick != context.now
        or context.cas_end - context.cas_left <= max(above, load_u64(&store.flush.cas))
    ):
        context.cas_end = add_seq_u64(&store.cas, store.cas_block) + 1
        context.cas_left = store.cas_block
        context.cas_tick = context.now
    context.cas_left -= 1
    return context.cas_end - context.cas_left - 1


cdef void renew_cas_locked(Context *context, Item *item, uint64_t explicit_cas, const Former *former) noexcept nogil:
    """store_set_cas_locked for an item that was made of ``former``."""
    cdef Flush *flush = &context.store.flush
    cdef bint was_explicit = item_meta(item) & ITEM_EXPLICIT != 0
    if explicit_cas == 0:
        item_set_cas(item, next_cas(context, 0 if was_explicit else item_cas(item)))
        if was_explicit:
            item_unmark(item, ITEM_EXPLICIT)
            item_set_time(item, min(item_time(item), context.now))
    else:
        item_set_cas(item, explicit_cas)
        item_mark(item, ITEM_EXPLICIT)
        item_set_time(item, flush_stamp(flush, item_time(item), context.now))
    if unlikely(flush_overtook(flush, former)):
        # The command came before the flush, which takes what it has left.
        item_mark(item, ITEM_EXPLICIT)
        item_set_time(item, FLUSHED)


cdef void store_set_cas_locked(Context *context, Item *item, uint64_t explicit_cas) noexcept nogil:
    """Give an item its next cas, after the one that it has, or the one that a client chose. Its time is set before.

    It may be gone then, by a flush that came in between. To the caller it is what it was.
    """
    cdef Former former
    former_of(item, &former)
    renew_cas_locked(context, item, explicit_cas, &former)


cdef void replace_locked(Context *context, uint64_t h, Item *item, Item *old) noexcept nogil:
    """Let an unlinked item be found in place of ``old``, which is freed unless a reply still reads it."""
    cdef Store *store = context.store
    cdef bint warm = item_segment(old) == WARM
    table_replace_locked(&store.table, h, chunk_ref(&store.slabs, old), chunk_ref(&store.slabs, item))
    lru_unlink(&store.lru, old)
    lru_link(&store.lru, item, ARRIVAL_KNOWN if warm else ARRIVAL_NEW)
    store_release(store, old)


cdef StoreStatus link_locked(Context *context, uint64_t h, Item *item, Item *old) noexcept nogil:
    """Let an item, complete but for its time, be found; in place of ``old`` if there is one. Takes it over.

    The caller has set its cas by store_set_cas_locked.
    """
    cdef Store *store = context.store
    cdef int32_t arrival
    if old != NULL:
        replace_locked(context, h, item, old)
    else:
        arrival = ghost_take_locked(&store.table, h)
        if not table_insert_locked(&store.table, h, chunk_ref(&store.slabs, item)):
            store_release(store, item)
            return NO_MEMORY
        lru_link(&store.lru, item, arrival)
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


cdef inline const Item *basis(const Put *put, const Item *old) noexcept nogil:
    """The item that the outcome of a command has to do with, which for a plain set is none."""
    return old if put.mode != PUT_SET or put.compare else NULL


cdef void dress_locked(Context *context, Put *put, Item *item, const Item *old, bint stale) noexcept nogil:
    """Give a new item its times, marks and cas. It may be ``old`` itself."""
    cdef uint32_t marks = 0
    cdef Former former
    former_of(basis(put, old), &former)
    item_set_exptime(item, item_exptime(old) if stale else put.exptime)
    item_set_time(item, context.now)
    if put.binary:
        marks |= ITEM_BINARY
    if stale:
        marks |= ITEM_STALE | (item_meta(old) & ITEM_TOKEN)
    if marks:
        item_mark(item, marks)
    item_set_cas(item, item_cas(old) if old != NULL and not item_meta(old) & ITEM_EXPLICIT else 0)
    renew_cas_locked(context, item, put.explicit_cas, &former)
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
    cdef Former former
    former_of(basis(put, item), &former)
    if stale:
        marks |= ITEM_STALE | (item_meta(item) & ITEM_TOKEN)
    lru_rewrite(&store.lru, item, 0xFF | ITEM_FLAGS, nbytes << 8 | marks)
    memcpy(item_value(item), value, nbytes)
    if put.flags != 0:
        item_set_flags(item, put.flags)
    item_set_exptime(item, exptime if stale else put.exptime)
    item_set_time(item, context.now)
    renew_cas_locked(context, item, put.explicit_cas, &former)
    put.cas = store_shown_cas(store, item)
    put.nbytes = nbytes
    count(context.counters, TOTAL_ITEMS)


cdef inline bint same_shape(const Store *store, const Item *old, const Put *put, uint32_t nbytes) noexcept nogil:
    """Whether a plain set would leave an item's lengths, layout and class as they are."""
    cdef uint32_t shape = nbytes << 8 | (ITEM_FLAGS if put.flags != 0 else 0)
    return (
        put.mode == PUT_SET
        and not put.compare
        and put.explicit_cas == 0
        and nbytes < LARGE_MIN
        and item_meta(old) & (LENGTH_MASK | ITEM_FLAGS | ITEM_LARGE) == shape
        and not lru_has_temporary(&store.lru)
    )


cdef inline void refill_locked(Context *context, Put *put, Item *item, const char *value,
                               uint32_t nbytes) noexcept nogil:
    """overwrite_locked for the same_shape: what most sets of a warm cache are, and so the short way."""
    item_change_meta(
        item, 0xFF | LENGTH_MASK | ITEM_FLAGS, ITEM_REWRITTEN | (ITEM_BINARY if put.binary else 0)
    )
    copy_bytes(item_value(item), value, nbytes)
    if put.flags != 0:
        item_set_flags(item, put.flags)
    item_set_exptime(item, put.exptime)
    item_set_time(item, context.now)
    item_set_cas(item, next_cas(context, item_cas(item)))
    put.cas = store_shown_cas(context.store, item)
    put.nbytes = nbytes
    count(context.counters, TOTAL_ITEMS)


cdef void dress_as_before_locked(Context *context, Put *put, Item *item, const Item *old) noexcept nogil:
    """dress_locked, with the old item's flags and exptime."""
    put.flags = item_flags(old)
    put.exptime = item_exptime(old)
    put.binary = False  # as in memcached, a value that was put together forgets how its key was given
    dress_locked(context, put, item, old, False)


cdef StoreStatus lengthen_locked(Context *context, Put *put, Item *item, ValueCursor *added,
                                 uint32_t nbytes) noexcept nogil:
    """Append or prepend to a chained value that nobody reads: in its place, however long it is, but as good as new."""
    cdef Store *store = context.store
    cdef bint warm
    if not item_lengthen_locked(context, item, put.mode == PUT_APPEND, added, nbytes):
        return NOT_STORED
    warm = item_segment(item) == WARM
    lru_unlink(&store.lru, item)  # it is counted there by its length
    item_large(item).nbytes += nbytes
    item_unmark(item, MARKS & ~ITEM_EXPLICIT)  # that one says something about its cas
    dress_as_before_locked(context, put, item, item)
    lru_link(&store.lru, item, ARRIVAL_KNOWN if warm else ARRIVAL_NEW)
    count(context.counters, TOTAL_ITEMS)
    return STORED


cdef StoreStatus concat_locked(Context *context, Put *put, uint64_t h, Item *old, ValueCursor *added,
                               uint32_t nbytes) noexcept nogil:
    """Append or prepend: both values in a new item, or in the old one's pieces, with its flags and exptime."""
    cdef Store *store = context.store
    cdef uint64_t total = <uint64_t>item_nbytes(old) + nbytes
    cdef ValueCursor target, kept
    cdef Item *item
    if not store_fits(store, item_nkey(old), item_flags(old), total):
        return NOT_STORED
    if item_meta(old) & ITEM_CHAINED and not item_is_held(old):
        return lengthen_locked(context, put, old, added, nbytes)
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
    dress_as_before_locked(context, put, item, old)
    return link_locked(context, h, item, old)


cdef StoreStatus put_new_locked(Context *context, Put *put, uint64_t h, const char *key, uint32_t nkey,
                                ValueCursor *value, uint32_t nbytes, Item *old, bint stale) noexcept nogil:
    """Store a value as a new item, in place of ``old`` if there is one."""
    cdef Item *item
    cdef ValueCursor target
    item = item_alloc(context, key, nkey, put.flags, nbytes)
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
    store_lock(store, h)
    old = store_look_up_locked(context, h, key, nkey)
    if old != NULL and same_shape(store, old, put, nbytes):
        count_class(context.counters, chunk_class(&store.slabs, old), CLASS_CMD_SET)
        refill_locked(context, put, old, value, nbytes)
        store_unlock(store, h)
        return STORED
    store_count_set(context, put, nkey, nbytes)
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
    cdef Former former
    cdef char text[24]
    cdef uint64_t value = 0
    cdef uint32_t length, nbytes = item_nbytes(old), padded
    former_of(old, &former)
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
    renew_cas_locked(context, old, explicit_cas, &former)
    result[0] = value
    return STORED


# ---- flush

cdef void store_flush(Context *context, int64_t delay) noexcept nogil:
    """Make every item go: at once those that there are (delay <= 0), or those stored or used up to a later tick."""
    cdef Store *store = context.store
    if delay > 0:
        flush_at(&store.flush, clock_expiry(&store.clock, context.now, delay) - 1, context.now)
    else:
        flush_begin(&store.flush)
        # Not the thread's own tick: another thread's may be a later one, and have been noted in an item.
        flush_end(&store.flush, load_seq_u64(&store.cas), clock_now(&store.clock))
        ghosts_forget(&store.table)


# ---- a walk

cdef uint32_t store_walk(Context *context, StoreCursor *cursor, uint32_t most, StoreVisit visit,
                         void *visitor) noexcept nogil:
    """One step of a walk over all items, see table_walk: ``visit`` is called for each under its bucket's lock, also for
    one that is dead. How many they were, at most ``most``; none is a step as well, the cursor says when it ends."""
    cdef Store *store = context.store
    return table_walk(&store.table, cursor, most, visit, visitor, hash_of_item, &store.hash_key)
