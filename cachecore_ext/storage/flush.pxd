"""What was flushed: which items a flush_all has made go, and which a delayed one will.

"Now" is told by cas, which every storing draws anew, so that what is stored in the same second stays. A cas that a
client chose tells nothing: such items (ITEM_EXPLICIT) go by their time, and get one later than any flush so far. A
delayed flush takes away, at its tick, everything that was not stored or used after it; there is one at a time.
"""
from libc.stdint cimport uint32_t, uint64_t

from cachecore_ext.base.atomics cimport load_acquire_u32, load_u64
from cachecore_ext.base.lock cimport Lock
from cachecore_ext.storage.item cimport ITEM_EXPLICIT, Item, item_cas, item_meta, item_time

cdef struct Flush:
    # The lock to change them; all atomic, as every lookup reads them.
    uint64_t cas              # items with a cas up to this one are gone (those with ITEM_EXPLICIT go by explicit_gone)
    uint32_t horizon          # items with a time up to this one may be gone; 0: none
    uint32_t fired            # ... are gone: the last delayed flush that was due
    uint32_t pending          # ... will be gone at this tick: a delayed flush; 0: none
    uint32_t explicit_gone    # items with ITEM_EXPLICIT and a time up to this one are gone
    uint32_t explicit_stamp   # the least time that such an item gets: later than explicit_gone
    uint32_t shown            # for ``stats settings``
    Lock lock

cdef bint item_flushed(const Flush *flush, const Item *item, uint32_t now) noexcept nogil
cdef bint flush_may_concern(const Flush *flush, const Item *item) noexcept nogil
cdef void flush_now(Flush *flush, uint64_t last_cas, uint32_t now) noexcept nogil
cdef void flush_at(Flush *flush, uint32_t tick, uint32_t now) noexcept nogil


cdef inline bint flush_suspects(const Flush *flush, const Item *item) noexcept nogil:
    """Whether an item may have been flushed: false for nearly all, at the price of two comparisons."""
    return (
        item_time(item) <= load_acquire_u32(&flush.horizon)  # before cas: see item_flushed
        or item_cas(item) <= load_u64(&flush.cas)
        or item_meta(item) & ITEM_EXPLICIT != 0
    )
