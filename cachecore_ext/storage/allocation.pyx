"""Chunks for items, by eviction if need be."""
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.string cimport memcpy

from cachecore_ext.base.atomics cimport (
    add_u32, drop_u32, load_acquire_u32, load_u32, store_release_u32, store_u32,
)
from cachecore_ext.base.compiler cimport likely, unlikely
from cachecore_ext.base.eventlog cimport WATCH_EVICTIONS, event_eviction
from cachecore_ext.base.linux cimport eventfd_write
from cachecore_ext.base.lock cimport lock_acquire, lock_release
from cachecore_ext.storage.flush cimport item_flushed
from cachecore_ext.storage.ghosts cimport ghost_add_locked
from cachecore_ext.storage.item cimport (
    CHAIN_META, ITEM_ACTIVE, ITEM_CHAINED, ITEM_FETCHED, ITEM_LARGE, ITEM_UNLINKED, PIECE_HEADER, Item, Piece,
    item_age, item_expired, item_exptime, item_is_held, item_key, item_large, item_meta, item_nbytes, item_nkey,
    item_set_flags, meta_key_offset, meta_layout,
)
from cachecore_ext.storage.lru cimport (
    SEGMENTS, LruClass, Segment, lru_before_locked, lru_defer_locked, lru_id, lru_oldest_locked, lru_stamp,
    lru_unlink_locked, lru_upcoming_locked, lru_victim_locked,
)
from cachecore_ext.storage.slabs cimport chunk_at, chunk_class, chunk_ref, slab_alloc, slab_class_for, slab_free
from cachecore_ext.storage.table cimport table_prefetch_bucket, table_remove_locked, table_try_lock, table_unlock

cdef enum:
    EVICT_TRIES = 8           # items at the tail that may be in use before the search ends
    ALLOC_TRIES = 64          # evictions for one chunk: other threads may be faster in taking what was freed


cdef void free_chain(Store *store, uint32_t ref) noexcept nogil:
    """Give back pieces, from this one on."""
    cdef Piece *piece
    while ref != 0:
        piece = <Piece *>chunk_at(&store.slabs, ref)
        ref = piece.next
        slab_free(&store.slabs, piece)


cdef void item_free(Store *store, Item *item) noexcept nogil:
    """Give back an item's chunks. Nobody can reach it any more."""
    if item_meta(item) & ITEM_CHAINED:
        free_chain(store, item_large(item).chain)
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


cdef void report_eviction_locked(Context *context, const Item *item) noexcept nogil:
    """Tell who watches evictions that a living item has to go."""
    cdef int32_t ttl = <int32_t>(item_exptime(item) - context.now) if item_exptime(item) != 0 else -1
    event_eviction(
        context.log, item_meta(item) & ITEM_FETCHED != 0, item_key(item), item_nkey(item), ttl,
        item_age(item, context.now), store_class(context.store, item), item_nbytes(item),
    )


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
            report_eviction_locked(context, item)
        lru_unlink_locked(&store.lru, lists, item)
        if not dead:
            ghost_add_locked(&store.table, h, lru_stamp(&store.lru, lists))
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


cdef inline void look_ahead_locked(Store *store, LruClass *lists) noexcept nogil:
    """Ask for the bucket that the eviction after the next one looks at: it takes as long as two to come."""
    cdef const Item *item = lru_upcoming_locked(&store.lru, lists)
    if item != NULL:
        table_prefetch_bucket(&store.table, hash_of_item(&store.hash_key, item))


cdef Evicted evict(Context *context, uint32_t cls, Item **victim) noexcept nogil:
    """Unlink the least useful item of the class; with EVICTED it is the caller's to give back, otherwise NULL."""
    cdef Store *store = context.store
    cdef LruClass *lists = &store.lru.classes[cls]
    cdef Item *item
    cdef bint empty
    lock_acquire(&lists.lock)
    item = take_victim_locked(context, lists) if store.evictions else take_dead_locked(context, lists)
    lists.direct_reclaims += item != NULL
    if likely(item != NULL):
        look_ahead_locked(store, lists)
    empty = item == NULL and lru_oldest_locked(&store.lru, lists) == NULL
    lock_release(&lists.lock)
    victim[0] = item
    if item != NULL:
        return EVICTED
    return NOTHING_THERE if empty or not store.evictions else ALL_IN_USE


cdef Evicted store_evict(Context *context, uint32_t cls) noexcept nogil:
    """Make the least useful item of the class give way."""
    cdef Item *item = NULL
    cdef Evicted evicted = evict(context, cls, &item)
    if item != NULL:
        store_release(context.store, item)
    return evicted


cdef void *inherit(Store *store, Item *item, uint32_t cls) noexcept nogil:
    """The chunk of an evicted item, if it is one of the class; NULL when its chunks, freed, are of other classes.

    It goes to the next item directly, also if its page leaves the class and would give out no chunk: neighbours at the
    tail often are in one page, all of whose items would be evicted for one chunk elsewhere. The mover sees to what is
    in that page now as it would have to what was.
    """
    if item_meta(item) & ITEM_CHAINED or chunk_class(&store.slabs, item) != cls:
        store_release(store, item)
        return NULL
    store_u32(&item.meta, 0)
    return item


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
    cdef Item *item = NULL
    cdef Evicted evicted
    cdef uint32_t i, in_vain = 0
    if likely(chunk != NULL):
        return chunk
    if load_u32(&store.always_wanting):
        want_page(store, cls)
    # A chained value's pieces may all lie in a page that leaves the class. There is one such page at a time.
    for i in range(ALLOC_TRIES + store.slabs.classes[cls].per_page):
        evicted = evict(context, cls, &item)
        in_vain += evicted == ALL_IN_USE
        if evicted == NOTHING_THERE or in_vain == ALLOC_TRIES:
            break
        chunk = inherit(store, item, cls) if item != NULL else NULL
        if chunk == NULL:
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


cdef bint item_lengthen_locked(Context *context, Item *item, bint behind, ValueCursor *added,
                               uint32_t nbytes) noexcept nogil:
    """Put bytes behind a chained value that nobody reads, or before it; False, and nothing changed, without the memory.

    Only the piece at that end is copied, into new ones together with what is added; before the value only where it all
    fits into one, so that the pieces in between stay full. The caller holds the bucket's lock, and changes the item's
    length.
    """
    cdef Store *store = context.store
    cdef uint32_t *link = &item_large(item).chain
    cdef uint32_t end, behind_end
    cdef Piece *last = NULL
    cdef Piece *piece = <Piece *>chunk_at(&store.slabs, link[0])
    cdef ValueCursor kept, target
    cdef size_t missing
    if nbytes == 0:
        return True
    while behind and piece.next != 0:
        last = piece
        link = &piece.next
        piece = <Piece *>chunk_at(&store.slabs, link[0])
    end = link[0]
    behind_end = piece.next
    kept = ValueCursor(<char *>piece + PIECE_HEADER, piece.size, 0)
    if not behind and <size_t>piece.size + nbytes > store.slabs.chunk_max - PIECE_HEADER:
        behind_end = end
        kept.left = 0
    missing = kept.left + nbytes
    while missing > 0:
        if not store_extend(context, item, &last, missing, &target):
            if link[0] != end:
                free_chain(store, link[0])
                link[0] = end
            return False
        missing -= target.left
    piece = <Piece *>chunk_at(&store.slabs, link[0])
    target = ValueCursor(<char *>piece + PIECE_HEADER, piece.size, piece.next)
    if not behind:
        cursor_copy(store, &target, added, nbytes)
    cursor_copy(store, &target, &kept, kept.left)
    if behind:
        cursor_copy(store, &target, added, nbytes)
    last.next = behind_end
    if behind_end != end:
        slab_free(&store.slabs, chunk_at(&store.slabs, end))
    return True
