"""A walk that takes notes."""
from libc.string cimport memcpy

from cachecore_ext.storage.allocation cimport Store, store_class, store_is_dead
from cachecore_ext.storage.item cimport (
    ITEM_FETCHED, Item, item_exptime, item_flags, item_key, item_key_is_binary, item_meta, item_nbytes, item_nkey,
    item_size,
)
from cachecore_ext.storage.store cimport store_shown_cas, store_walk


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
