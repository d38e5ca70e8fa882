"""Walks: one takes notes, the other takes away what has ended."""
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from cachecore_ext.storage.allocation cimport Store, store_class, store_is_dead
from cachecore_ext.storage.item cimport (
    ITEM_FETCHED, Item, item_exptime, item_flags, item_key, item_key_is_binary, item_meta, item_nbytes, item_nkey,
    item_size,
)
from cachecore_ext.storage.store cimport (
    store_hash, store_lock, store_peek_locked, store_shown_cas, store_unlink_locked, store_unlock, store_walk,
)

cdef enum:
    DOOMED_MAX = 16  # keys: a bucket has twelve slots, and one with more items is walked in several steps


cdef struct Doomed:
    # The keys of dead items of one step.
    Context *context
    uint32_t count
    uint32_t nkey[DOOMED_MAX]
    char key[DOOMED_MAX][256]


cdef void take_note_locked(void *visitor, Item *item) noexcept nogil:
    cdef Notes *notes = <Notes *>visitor
    cdef Note *note = &notes.note[notes.count]
    cdef Store *store = notes.context.store
    if (notes.classes >> store_class(store, item)) & 1 and not store_is_dead(store, item, notes.context.now):
        note.size = item_size(item)
        note.nbytes = item_nbytes(item)
        note.exptime = item_exptime(item)
        note.flags = item_flags(item)
        note.cas = store_shown_cas(store, item)
        note.fetched = item_meta(item) & ITEM_FETCHED != 0
        note.binary = item_key_is_binary(item)
        note.nkey = item_nkey(item)
        memcpy(note.key, item_key(item), note.nkey)
        notes.count += 1


cdef void survey(StoreCursor *cursor, Notes *notes) noexcept nogil:
    """Note the next items, until half of the room is used or the cursor has ended. The notes before are forgotten."""
    notes.count = 0
    while not cursor.ended and notes.count <= notes.room / 2:
        store_walk(notes.context, cursor, notes.room - notes.count, take_note_locked, notes)


# ---- what is dead goes

cdef void note_dead_locked(void *visitor, Item *item) noexcept nogil:
    cdef Doomed *doomed = <Doomed *>visitor
    if store_is_dead(doomed.context.store, item, doomed.context.now):
        doomed.nkey[doomed.count] = item_nkey(item)
        memcpy(doomed.key[doomed.count], item_key(item), item_nkey(item))
        doomed.count += 1


cdef void remove_dead(Context *context, const char *key, uint32_t nkey) noexcept nogil:
    """Remove the item with this key, unless another one has taken its place meanwhile."""
    cdef Store *store = context.store
    cdef uint64_t h = store_hash(store, key, nkey)
    cdef Item *item
    store_lock(store, h)
    item = store_peek_locked(store, h, key, nkey)
    if item != NULL and store_is_dead(store, item, context.now):
        store_unlink_locked(context, h, item)
    store_unlock(store, h)


cdef void survey_sweep(Context *context, StoreCursor *cursor, uint32_t steps) noexcept nogil:
    """Remove the items that have ended from the next buckets, so many of them at most. Of those that are dead when the
    walk begins, and are not looked at meanwhile, none is left at its end. No lock is held for longer than a look-up."""
    cdef Doomed doomed
    cdef uint32_t i
    doomed.context = context
    while not cursor.ended and steps > 0:
        doomed.count = 0
        store_walk(context, cursor, DOOMED_MAX, note_dead_locked, &doomed)
        for i in range(doomed.count):
            remove_dead(context, doomed.key[i], doomed.nkey[i])
        steps -= 1
