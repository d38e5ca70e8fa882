"""Ghosts: what was evicted lately, as a mark made of its hash, and when that was.

A key that is stored again while its ghost is there was evicted too early: ``lru`` lets it in where it stays longer, and
``balance`` learns how many pages more it would have taken to keep it.

Ghosts lie in rows of 16, one cache line, the latest first; the oldest falls out. A row belongs to a stripe of the
table: what holds the bucket's lock of a hash guards its row, so a ghost costs no lock. There is about one ghost for
each chunk that items can have, and that is charged like the table's memory.

The stamp is the class's clock of evictions (lru.lru_stamp) when the item left. A mark of 16 bits is taken for another
one's in 1 of 4096 look-ups; then an item stays a little longer than it should.
"""
from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t

from cachecore_ext.base.atomics cimport load_u32, load_u64
from cachecore_ext.base.compiler cimport prefetch, unlikely
from cachecore_ext.storage.slabs cimport Slabs

cdef enum:
    ROW = 16

cdef struct GhostRow:
    uint16_t mark[ROW]     # 0: no ghost
    uint16_t stamp[ROW]

cdef struct Ghosts:
    GhostRow *rows         # set once, as the next two
    uint64_t stripe_mask
    uint64_t reserved      # rows of each stripe that could be opened
    uint64_t open          # ... that are; atomic
    uint64_t followed      # slabs.table_peak, as it was when ``depth`` was chosen; atomic
    uint32_t depth         # ... that are in use; 0 until something is evicted. Atomic, only grows
    uint32_t epoch         # a flush begins another one: older ghosts are known no more. Atomic
    uint64_t pad[2]        # to a whole line

cdef int ghosts_init(Ghosts *ghosts, uint64_t stripes, uint64_t most, uint64_t reserved) noexcept nogil
cdef bint ghosts_open(Ghosts *ghosts, uint64_t most) noexcept nogil
cdef void ghosts_free(Ghosts *ghosts) noexcept nogil
cdef void ghosts_grow(Ghosts *ghosts, const Slabs *slabs) noexcept nogil
cdef uint64_t ghosts_bytes(const Ghosts *ghosts) noexcept nogil
cdef void ghosts_forget(Ghosts *ghosts) noexcept nogil
cdef void ghost_add_locked(Ghosts *ghosts, uint64_t h, uint16_t stamp) noexcept nogil
cdef int32_t ghost_take_locked(Ghosts *ghosts, uint64_t h) noexcept nogil


cdef inline GhostRow *ghost_row(const Ghosts *ghosts, uint64_t h) noexcept nogil:
    """The row of a hash: which of its stripe's depends on the upper half, which no stripe is made of."""
    cdef uint64_t layer = ((h >> 32) * load_u32(&ghosts.depth)) >> 32
    return &ghosts.rows[layer * (ghosts.stripe_mask + 1) + (h & ghosts.stripe_mask)]


cdef inline void ghosts_follow(Ghosts *ghosts, const Slabs *slabs) noexcept nogil:
    """Something may have to be evicted: let there be a ghost for each chunk."""
    if unlikely(load_u64(&ghosts.followed) != load_u64(&slabs.table_peak)):
        ghosts_grow(ghosts, slabs)


cdef inline void ghost_prefetch(const Ghosts *ghosts, uint64_t h) noexcept nogil:
    prefetch(ghost_row(ghosts, h))
