"""Remembering what was evicted."""
from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memmove, memset

from cachecore_ext.base.atomics cimport add_u32, load_u32, load_u64, store_u32, store_u64
from cachecore_ext.base.compiler cimport static_same
from cachecore_ext.base.mapping cimport mapping_free, mapping_open, mapping_reserve
from cachecore_ext.storage.slabs cimport Slabs


cdef uint64_t layers(const Ghosts *ghosts, uint64_t wanted) noexcept nogil:
    """How many rows each stripe needs for so many ghosts in all."""
    cdef uint64_t layer = (ghosts.stripe_mask + 1) * ROW
    return (wanted + layer - 1) / layer


cdef uint64_t bytes_of(const Ghosts *ghosts, uint64_t rows) noexcept nogil:
    return rows * (ghosts.stripe_mask + 1) * sizeof(GhostRow)


cdef int ghosts_init(Ghosts *ghosts, uint64_t stripes, uint64_t most, uint64_t reserved) noexcept nogil:
    """``stripes`` as the table's; at most ``most`` ghosts, or ``reserved`` after ghosts_open, if that is to be had.
    0, or -1 without the memory."""
    static_same(sizeof(GhostRow), 64)
    memset(ghosts, 0, sizeof(Ghosts))
    ghosts.stripe_mask = stripes - 1
    ghosts.reserved = max(layers(ghosts, reserved), <uint64_t>1)
    ghosts.rows = <GhostRow *>mapping_reserve(bytes_of(ghosts, ghosts.reserved))
    if ghosts.rows == NULL:
        ghosts.reserved = max(layers(ghosts, most), <uint64_t>1)
        ghosts.rows = <GhostRow *>mapping_reserve(bytes_of(ghosts, ghosts.reserved))
    if ghosts.rows == NULL or not ghosts_open(ghosts, most):
        ghosts_free(ghosts)
        return -1
    return 0


cdef bint ghosts_open(Ghosts *ghosts, uint64_t most) noexcept nogil:
    """Let there be up to this many. False, and nothing changed, when that cannot be had."""
    cdef uint64_t wanted = max(layers(ghosts, most), <uint64_t>1)
    if wanted > load_u64(&ghosts.open):
        if wanted > ghosts.reserved or not mapping_open(ghosts.rows, bytes_of(ghosts, wanted)):
            return False
        store_u64(&ghosts.open, wanted)
    return True


cdef void ghosts_free(Ghosts *ghosts) noexcept nogil:
    mapping_free(ghosts.rows, bytes_of(ghosts, ghosts.reserved))
    ghosts.rows = NULL


cdef void ghosts_grow(Ghosts *ghosts, const Slabs *slabs) noexcept nogil:
    """The far half of ghosts_follow. With another depth about half of the older ghosts are in a row where they are not
    looked for any more."""
    cdef uint64_t peak = load_u64(&slabs.table_peak)
    cdef uint64_t depth = min(
        max(layers(ghosts, peak * 1024 / slabs.table_cost), <uint64_t>1), load_u64(&ghosts.open)
    )
    store_u64(&ghosts.followed, peak)
    if depth > load_u32(&ghosts.depth):
        store_u32(&ghosts.depth, <uint32_t>depth)


cdef uint64_t ghosts_bytes(const Ghosts *ghosts) noexcept nogil:
    """Memory in use."""
    return bytes_of(ghosts, load_u32(&ghosts.depth))


cdef void ghosts_forget(Ghosts *ghosts) noexcept nogil:
    """All that was evicted was evicted from another cache, so to say: after a flush."""
    add_u32(&ghosts.epoch, 1)


cdef uint16_t mark_of(const Ghosts *ghosts, uint64_t h) noexcept nogil:
    """Bits that decide neither the stripe nor its row; another one in each epoch."""
    cdef uint16_t mark = <uint16_t>((h >> 16) + load_u32(&ghosts.epoch) * <uint32_t>0x9E37)
    return mark if mark != 0 else 1


cdef void ghost_add_locked(Ghosts *ghosts, uint64_t h, uint16_t stamp) noexcept nogil:
    """The item with this hash is evicted."""
    cdef GhostRow *row
    if load_u32(&ghosts.depth) == 0:
        return
    row = ghost_row(ghosts, h)
    memmove(&row.mark[1], &row.mark[0], (ROW - 1) * sizeof(uint16_t))
    memmove(&row.stamp[1], &row.stamp[0], (ROW - 1) * sizeof(uint16_t))
    row.mark[0] = mark_of(ghosts, h)
    row.stamp[0] = stamp


cdef int32_t ghost_take_locked(Ghosts *ghosts, uint64_t h) noexcept nogil:
    """An item with this hash is stored: the stamp of its ghost, which is there no more, or -1 without one."""
    cdef GhostRow *row
    cdef uint16_t mark
    cdef int i
    if load_u32(&ghosts.depth) == 0:
        return -1
    row = ghost_row(ghosts, h)
    mark = mark_of(ghosts, h)
    for i in range(ROW):
        if row.mark[i] == mark:
            row.mark[i] = 0
            return row.stamp[i]
    return -1
