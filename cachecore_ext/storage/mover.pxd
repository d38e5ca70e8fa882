"""The mover: empties a page of one slab class, so that another class, or the pool, can have it.

The page gives out no chunk any more (slab_page_leave). Then it is walked, chunk by chunk, as long as it takes: an item
that lives is copied to another chunk of its class, for which the class's least useful items give way if there is no
free one; an item that has ended is removed; what is in use at the moment, by a reply or an upload, is left for the next
time round, as is a value in very many pieces. Items keep their place in the LRU, their cas and all else; a client
notices nothing. If the page does not become empty, because somebody holds on to a chunk of it, the move is given up;
without evictions also when a walk has found no chunk to copy an item to.

One move at a time, done by the maintenance in bounded steps; others may ask for one (mover_request).
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from cachecore_ext.base.lock cimport Lock
from cachecore_ext.storage.allocation cimport Context
from cachecore_ext.storage.slabs cimport Slabs

cdef enum MoveAnswer:
    MOVE_OK, MOVE_BUSY, MOVE_BADCLASS, MOVE_NOSPARE, MOVE_SAME

cdef enum BusyStatus:
    # Why a chunk could not be moved the last time.
    BUSY_NONE, BUSY_IN_USE, BUSY_UPLOADING, BUSY_NO_MEMORY

cdef struct Mover:
    Lock lock                 # guards the request
    uint32_t source           # class of the move asked for or under way; 0: none. Atomic
    uint32_t target           # 0: the pool
    bint last                 # the source may lose its last page
    # The maintenance's own:
    bint moving
    uint32_t page
    uint32_t index            # the next chunk to look at
    uint32_t rounds           # how often the page was walked
    int64_t next_us           # the next walk
    bint starved              # without evictions, there was no chunk to copy to in this walk
    bint gave_up              # the last move came to nothing
    uint32_t shunned          # the page whose move was given up last, + 1: another one is tried next
    # For others to look at, atomic:
    uint32_t running
    uint32_t last_busy        # BusyStatus
    uint64_t moved            # pages
    uint64_t rescues          # items copied
    uint64_t chunk_rescues    # pieces of chained values copied
    uint64_t inline_reclaim   # items that had ended
    uint64_t busy_items
    uint64_t busy_nomem

cdef MoveAnswer mover_request(Mover *mover, Slabs *slabs, int64_t source, int64_t target, bint last) noexcept nogil
cdef int64_t mover_step(Mover *mover, Context *context) noexcept nogil
