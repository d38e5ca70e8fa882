"""Warm restart: how a store whose region is a file goes on in the next process.

The file keeps the pages as they are; references are relative, so nothing in them changes. Everything else is in a
state, a stretch of bytes that the one process writes when it has come to rest and the next one reads before it serves:

    SnapshotHead | a SnapshotClass for each slab class | a SnapshotPage for each page

Locks, the hash table, the lists of free chunks, the sums and the last time of items with a client's cas are not in
it: they are made anew from the items. Nor are the ghosts, which the free slots of the old table held, and S3-FIFO's
hand, which begins at WARM's tail again. While a store is at rest its file is as long as the pages that it has used.

What is taken up is believed only as far as it can be checked: each page has a checksum, and every reference, length and
mark of an item is compared with what it has to be. A chunk that no item claims is free. When something is wrong the
store is of no use any more; its owner starts with a new one and an empty file.
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from cachecore_ext.storage.allocation cimport Context, Store
from cachecore_ext.storage.lru cimport SEGMENTS, LruSegment

cdef enum:
    # To be raised when the layout of an item, a piece or of the structures below changes, or what a field means. Read
    # with the other byte order it is another number.
    SNAPSHOT_FORMAT = 1

cdef enum SnapshotStatus:
    SNAPSHOT_TAKEN_UP
    SNAPSHOT_OTHER_FORMAT
    SNAPSHOT_OTHER_LIMIT
    SNAPSHOT_OTHER_ITEM_SIZE
    SNAPSHOT_OTHER_CAS
    SNAPSHOT_OTHER_CHUNKS
    SNAPSHOT_STATE_WRONG     # the state does not hold together
    SNAPSHOT_FILE_LENGTH     # the file is not as long as it was
    SNAPSHOT_PAGE_DAMAGED
    SNAPSHOT_ITEM_WRONG      # pages as they were saved, but what is in them does not hold together
    SNAPSHOT_NO_ROOM         # no memory, or no space for the file

cdef struct SnapshotHead:
    uint32_t format
    uint32_t unit            # of a reference, in bytes
    uint32_t nclasses
    uint32_t pages
    # The settings that must be the same:
    uint64_t limit
    uint64_t item_size_max
    uint64_t use_cas
    # Clock, cas and flushes go on:
    int64_t unix_start
    uint64_t tick
    uint64_t cas
    uint64_t flush_cas
    uint32_t flush_horizon
    uint32_t flush_fired
    uint32_t flush_pending
    uint32_t flush_explicit_gone
    uint32_t flush_explicit_stamp
    uint32_t flush_shown

cdef struct SnapshotClass:
    uint64_t size            # of its chunks
    LruSegment segment[SEGMENTS]

cdef struct SnapshotPage:
    uint64_t checksum
    uint64_t cls             # 0: in the pool, with nothing in it

cdef int snapshot_clear(Store *store) noexcept nogil
cdef size_t snapshot_size(const Store *store) noexcept nogil
cdef bint snapshot_save(Store *store, char *state) noexcept nogil
cdef SnapshotStatus snapshot_load(Context *context, const char *state, size_t size, int64_t downtime) noexcept nogil
