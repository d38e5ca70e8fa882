"""Emptying a page."""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

from cachecore_ext.base.atomics cimport add_u64, load_acquire_u32, load_u32, store_release_u32, store_u32
from cachecore_ext.base.clock cimport monotonic_us
from cachecore_ext.base.eventlog cimport WATCH_SYSEVENTS, event_slab_move
from cachecore_ext.base.lock cimport lock_acquire, lock_release
from cachecore_ext.storage.allocation cimport (
    EVICTED, Store, store_evict, store_release, store_try_lock_linked, store_try_take_locked,
)
from cachecore_ext.storage.item cimport (
    CHAIN_META, ITEM_CHAINED, ITEM_UNLINKED, PIECE_HEADER, Item, Piece, item_is_held, item_large, item_meta,
    item_nbytes, item_nkey, item_size, meta_key_offset,
)
from cachecore_ext.storage.lru cimport LruClass, lru_id, lru_replace_locked
from cachecore_ext.storage.slabs cimport (
    SlabClass, chunk_at, chunk_class, chunk_ref, page_chunk, page_class, slab_alloc, slab_free, slab_grant,
    slab_look, slab_page_free, slab_page_leave, slab_page_move, slab_page_stay,
)
from cachecore_ext.storage.store cimport store_unlock
from cachecore_ext.storage.table cimport table_replace_locked

cdef enum:
    MOVER_IDLE_US = 1000000
    STEP_CHUNKS = 256           # looked at in one step
    STEP_BYTES = 512 * 1024     # copied in one step
    ROUND_US = 1000             # between two walks over the same page
    ROUNDS_MAX = 1000           # after which the move is given up
    EVICTIONS_FOR_ONE = 8       # tries to make room for one item
    PIECES_MAX = 4096           # a value in more is not moved: its pieces are walked under its bucket's lock
    CLASS_ANY = -1


# ---- asking

cdef uint32_t richest(Slabs *slabs, int64_t target) noexcept nogil:
    """The class with the most pages, but for the target; 0 when no other has one."""
    cdef uint32_t cls, found = 0
    cdef uint64_t most = 0, pages = 0, free_chunks = 0
    for cls in range(1, slabs.nclasses + 1):
        slab_look(slabs, cls, &pages, &free_chunks)
        if pages > most and cls != target:
            found = cls
            most = pages
    return found


cdef bint has_spare_page(Slabs *slabs, uint32_t cls, bint last) noexcept nogil:
    cdef uint64_t pages = 0, free_chunks = 0
    slab_look(slabs, cls, &pages, &free_chunks)
    return pages >= (1 if last else 2)


cdef MoveAnswer mover_request(Mover *mover, Slabs *slabs, int64_t source, int64_t target, bint last) noexcept nogil:
    """Ask for a page of ``source`` (-1: any class, 0: the pool) to go to ``target`` (0: the pool). For any thread.

    last: it may be the only one, whose items all have to go.
    """
    cdef MoveAnswer answer = MOVE_OK
    if source == target:
        return MOVE_SAME
    if not CLASS_ANY <= source <= <int64_t>slabs.nclasses or not 0 <= target <= <int64_t>slabs.nclasses:
        return MOVE_BADCLASS
    if source == CLASS_ANY:
        source = richest(slabs, target)
        if source == 0:
            return MOVE_NOSPARE
    if source == 0:
        return MOVE_OK if slab_grant(slabs, <uint32_t>target) else MOVE_NOSPARE
    lock_acquire(&mover.lock)
    if load_acquire_u32(&mover.source) != 0:
        answer = MOVE_BUSY
    elif not has_spare_page(slabs, <uint32_t>source, last):
        answer = MOVE_NOSPARE
    else:
        mover.target = <uint32_t>target
        mover.last = last
        store_release_u32(&mover.source, <uint32_t>source)
    lock_release(&mover.lock)
    return answer


# ---- one chunk

cdef void busy(Mover *mover, BusyStatus why) noexcept nogil:
    add_u64(&mover.busy_items, 1)
    store_u32(&mover.last_busy, <uint32_t>why)


cdef void *room_for(Mover *mover, Context *context, uint32_t cls, uint32_t lists, bint *later) noexcept nogil:
    """Another chunk of the class, for which an item of ``lists`` may give way; NULL when there is none. ``later``: then
    there may be one in the next walk, for what gave way lay in the page that is to be emptied, too."""
    cdef Store *store = context.store
    cdef void *chunk = slab_alloc(&store.slabs, cls)
    cdef int i
    later[0] = False
    for i in range(EVICTIONS_FOR_ONE):
        if chunk != NULL or store_evict(context, lists) != EVICTED:
            break
        later[0] = True
        chunk = slab_alloc(&store.slabs, cls)
    return chunk


cdef void adopt_pieces(Store *store, const Item *item) noexcept nogil:
    """Tell a chained item's pieces whose they are."""
    cdef uint32_t ref = item_large(item).chain, owner = chunk_ref(&store.slabs, item)
    cdef Piece *piece
    while ref != 0:
        piece = <Piece *>chunk_at(&store.slabs, ref)
        store_u32(&piece.owner, owner)
        ref = piece.next


cdef size_t relocate_locked(Context *context, LruClass *lists, uint64_t h, Item *item, Item *copy) noexcept nogil:
    """Let ``copy`` take the item's place everywhere; the caller holds the bucket's lock. The bytes copied."""
    cdef Store *store = context.store
    cdef uint32_t meta = item_meta(item)
    cdef size_t size = meta_key_offset(meta) + item_nkey(item) if meta & ITEM_CHAINED else item_size(item)
    # next, prev and the segment may change until the class is locked: lru_replace_locked copies those.
    memcpy(&copy.time, &item.time, size - (<char *>&item.time - <char *>item))
    lock_acquire(&lists.lock)
    lru_replace_locked(&store.lru, lists, item, copy)
    lock_release(&lists.lock)
    table_replace_locked(&store.table, h, chunk_ref(&store.slabs, item), chunk_ref(&store.slabs, copy))
    if meta & ITEM_CHAINED:
        adopt_pieces(store, copy)
    return size


cdef bint has_too_many_pieces(const Store *store, const Item *item) noexcept nogil:
    return (
        item_meta(item) & ITEM_CHAINED != 0
        and item_nbytes(item) / (store.slabs.chunk_max - PIECE_HEADER) >= <uint32_t>PIECES_MAX
    )


cdef bint lock_item(Store *store, LruClass *lists, const Item *item, uint64_t *h) noexcept nogil:
    """Lock the bucket of a chunk that looks like an item, if it is one that can be found, nobody reads and may move."""
    cdef bint locked
    lock_acquire(&lists.lock)
    locked = store_try_lock_linked(store, lists, item, h)
    lock_release(&lists.lock)
    if not locked:
        return False
    if item_is_held(item) or has_too_many_pieces(store, item):
        store_unlock(store, h[0])
        return False
    return True


cdef bint take(Mover *mover, Context *context, LruClass *lists, Item *item, bint dead_only) noexcept nogil:
    """Remove an item if it has ended or, unless ``dead_only``, if it can be evicted."""
    cdef uint64_t ended = 0
    cdef bint gone
    lock_acquire(&lists.lock)
    gone = store_try_take_locked(context, lists, item, dead_only, &ended)
    lock_release(&lists.lock)
    if gone:
        store_release(context.store, item)
        add_u64(&mover.inline_reclaim, ended)
    return gone


cdef size_t give_way(Mover *mover, Context *context, LruClass *lists, Item *item) noexcept nogil:
    """There is no other chunk: the item is evicted, where that may be."""
    mover.starved = not context.store.evictions
    if mover.starved or not take(mover, context, lists, item, False):
        add_u64(&mover.busy_nomem, 1)
        busy(mover, BUSY_NO_MEMORY)
    return 0


cdef bint is_busy(const Item *item) noexcept nogil:
    """Whether somebody reads the item, or it is still being stored; without a lock, so only a hint."""
    return load_u32(&item.prev) == <uint32_t>ITEM_UNLINKED or item_is_held(item)


cdef size_t rescue_item(Mover *mover, Context *context, Item *item) noexcept nogil:
    """Copy an item to another chunk, or remove it if it has ended. The bytes copied."""
    cdef Store *store = context.store
    cdef uint32_t id = lru_id(&store.slabs, item), cls = chunk_class(&store.slabs, item)
    cdef LruClass *lists = &store.lru.classes[id]
    cdef Item *copy
    cdef uint64_t h = 0
    cdef size_t copied = 0
    cdef bint later = False
    if take(mover, context, lists, item, True):
        return 0
    if is_busy(item):
        busy(mover, BUSY_IN_USE)
        return 0
    # Before any lock is taken. It may be this very item that gives way; then the bucket cannot be locked below.
    copy = NULL if mover.starved else <Item *>room_for(mover, context, cls, cls, &later)
    if copy == NULL:
        return 0 if later else give_way(mover, context, lists, item)
    if lock_item(store, lists, item, &h):
        copied = relocate_locked(context, lists, h, item, copy)
        store_unlock(store, h)
        slab_free(&store.slabs, item)
        add_u64(&mover.rescues, 1)
    else:
        slab_free(&store.slabs, copy)
        if item_nkey(item) != 0:
            busy(mover, BUSY_IN_USE)
    return copied


cdef uint32_t *link_to(Store *store, const Item *owner, uint32_t ref) noexcept nogil:
    """Where a chained item refers to its piece; NULL when the piece is not one of its."""
    cdef uint32_t *link = &item_large(owner).chain
    while link[0] != 0 and link[0] != ref:
        link = &(<Piece *>chunk_at(&store.slabs, link[0])).next
    return link if link[0] == ref else NULL


cdef size_t rescue_piece(Mover *mover, Context *context, Piece *piece) noexcept nogil:
    """Copy a piece of a chained value to another chunk. The bytes copied."""
    cdef Store *store = context.store
    cdef uint32_t ref = chunk_ref(&store.slabs, piece), id = store.slabs.nclasses
    cdef LruClass *lists = &store.lru.classes[id]
    cdef Item *owner = <Item *>chunk_at(&store.slabs, load_u32(&piece.owner))
    cdef Piece *copy
    cdef uint32_t *link = NULL
    cdef uint64_t h = 0
    cdef size_t copied = 0
    cdef bint later = False
    if is_busy(owner):
        busy(mover, BUSY_UPLOADING)
        return 0
    copy = NULL if mover.starved else <Piece *>room_for(mover, context, chunk_class(&store.slabs, piece), id, &later)
    if copy == NULL:
        return 0 if later else give_way(mover, context, lists, owner)
    # The owner is found by the piece's word alone, and may have been freed since. But a chunk it is: pages change their
    # class in this thread only. Whether an item that can be found, and this piece's, is seen under the locks.
    if lock_item(store, lists, owner, &h):
        # Where one class has all chunks, its chunk may be another item's by now.
        link = link_to(store, owner, ref) if item_meta(owner) & ITEM_CHAINED else NULL
        if link != NULL:
            copied = PIECE_HEADER + <size_t>piece.size
            memcpy(copy, piece, copied)
            link[0] = chunk_ref(&store.slabs, copy)
        store_unlock(store, h)
    if link != NULL:
        slab_free(&store.slabs, piece)
        add_u64(&mover.chunk_rescues, 1)
    else:
        slab_free(&store.slabs, copy)
        busy(mover, BUSY_UPLOADING)
    return copied


cdef size_t look_at(Mover *mover, Context *context, Item *chunk) noexcept nogil:
    cdef uint32_t meta = load_acquire_u32(&chunk.meta)
    if meta & 0xFF != 0:
        return rescue_item(mover, context, chunk)
    if meta == <uint32_t>CHAIN_META:
        return rescue_piece(mover, context, <Piece *>chunk)
    return 0  # free, or just given out to somebody


# ---- a move

cdef uint32_t emptiest(Slabs *slabs, uint32_t cls, uint32_t shunned) noexcept nogil:
    """The class's page with the fewest chunks in use. It has one at least."""
    cdef uint32_t page, found = 0, free_now, most = 0
    for page in range(load_u32(&slabs.pages)):
        if page_class(slabs, page) != cls or page + 1 == shunned:
            continue
        free_now = slab_page_free(slabs, page)
        if free_now >= most:
            found = page
            most = free_now
    return found


cdef bint begin(Mover *mover, Slabs *slabs) noexcept nogil:
    """Take up the move that was asked for. False when the class has come to have too few pages for it."""
    cdef uint32_t source = load_u32(&mover.source)
    if not has_spare_page(slabs, source, mover.last):
        return False
    mover.page = emptiest(slabs, source, mover.shunned)
    mover.index = 0
    mover.rounds = 0
    mover.next_us = 0
    mover.starved = False
    mover.moving = True
    store_u32(&mover.running, True)
    slab_page_leave(slabs, mover.page)
    return True


cdef void end(Mover *mover, Context *context, bint moved) noexcept nogil:
    if context.watched & WATCH_SYSEVENTS:
        event_slab_move(context.log, load_u32(&mover.source), mover.target, moved)
    mover.moving = False
    mover.gave_up = not moved
    store_u32(&mover.running, False)
    store_release_u32(&mover.source, 0)


cdef int64_t end_round(Mover *mover, Context *context) noexcept nogil:
    """The page was walked once: move it if that has emptied it, give up if it never will. How long to rest."""
    cdef Slabs *slabs = &context.store.slabs
    mover.index = 0
    mover.rounds += 1
    if slab_page_free(slabs, mover.page) == slabs.classes[load_u32(&mover.source)].per_page:
        slab_page_move(slabs, mover.page, mover.target)
        add_u64(&mover.moved, 1)
        end(mover, context, True)
        return 0
    if mover.rounds < ROUNDS_MAX and not mover.starved:
        mover.next_us = monotonic_us() + ROUND_US
        return ROUND_US
    slab_page_stay(slabs, mover.page)
    mover.shunned = mover.page + 1
    end(mover, context, False)
    return 0


cdef int64_t mover_step(Mover *mover, Context *context) noexcept nogil:
    """Go on with the move that was asked for, if there is one; how long to rest, in microseconds."""
    cdef Slabs *slabs = &context.store.slabs
    cdef SlabClass *slab
    cdef size_t copied = 0
    cdef uint32_t looked = 0
    cdef int64_t now = monotonic_us()
    if load_acquire_u32(&mover.source) == 0:
        return MOVER_IDLE_US
    if mover.moving and now < mover.next_us:
        return mover.next_us - now
    if not mover.moving and not begin(mover, slabs):
        end(mover, context, False)
        return MOVER_IDLE_US
    slab = &slabs.classes[load_u32(&mover.source)]
    while mover.index < slab.per_page and looked < STEP_CHUNKS and copied < STEP_BYTES:
        copied += look_at(mover, context, <Item *>page_chunk(slabs, mover.page, slab.size, mover.index))
        mover.index += 1
        looked += 1
    return end_round(mover, context) if mover.index == slab.per_page else 0
