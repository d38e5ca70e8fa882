"""Flushing, and telling what was flushed."""
from libc.stdint cimport uint32_t, uint64_t

from cachecore_ext.base.atomics cimport (
    load_acquire_u32, load_acquire_u64, load_seq_u32, load_u32, store_release_u32, store_release_u64, store_seq_u64,
    store_u32,
)
from cachecore_ext.base.lock cimport lock_acquire, lock_release
from cachecore_ext.storage.item cimport ITEM_EXPLICIT, Item, item_cas, item_meta, item_time


cdef bint item_flushed(const Flush *flush, const Item *item, uint32_t now) noexcept nogil:
    """Whether a flush has made the item go."""
    # In the opposite order of their writing: who sees that a flush was superseded also sees what superseded it.
    cdef uint32_t pending = load_acquire_u32(&flush.pending), fired = load_acquire_u32(&flush.fired), due = pending
    if item_meta(item) & ITEM_EXPLICIT:
        # With the stamp of a flush that is about to supersede the delayed one this takes an item too many, but none
        # too few.
        due = max(pending, load_acquire_u32(&flush.explicit_stamp))
        fired = max(fired, load_acquire_u32(&flush.explicit_gone))
    elif item_cas(item) <= load_acquire_u64(&flush.cas):
        return True
    return item_time(item) <= fired or (
        pending != 0 and pending <= now and item_time(item) <= due
    )


cdef bint flush_may_concern(const Flush *flush, const Item *item) noexcept nogil:
    """item_flushed for who may not read the item's cas together with its time: it errs by saying yes too often."""
    return (
        item_time(item) <= max(load_u32(&flush.horizon), load_u32(&flush.shown))
        or item_meta(item) & ITEM_EXPLICIT != 0
    )


cdef bint flush_took(Flush *flush, const Former *former) noexcept nogil:
    """The far half of flush_overtook."""
    flush_settle(flush)
    if former.cas == NO_CAS:
        return former.time <= load_acquire_u32(&flush.explicit_gone)
    return former.cas <= load_acquire_u64(&flush.cas)


cdef void flush_begin(Flush *flush) noexcept nogil:
    """A flush is under way: the caller reads the last cas and the clock, and flush_end makes everything go."""
    lock_acquire(&flush.lock)
    store_seq_u64(&flush.floor, EVERY_CAS)


cdef void flush_end(Flush *flush, uint64_t last_cas, uint32_t now) noexcept nogil:
    """Make everything go that was stored up to ``last_cas``."""
    # Not less than before, even if somebody has set the clock back.
    cdef uint32_t gone = max(now, load_seq_u32(&flush.explicit_last), flush.explicit_gone)
    # Who sees that an item is gone also sees what those have to have that are to stay. And first what makes everything
    # go, then what had made some of it go: nothing comes back in between.
    store_u32(&flush.explicit_stamp, time_after(gone))
    store_release_u64(&flush.cas, last_cas)
    store_release_u32(&flush.explicit_gone, gone)
    store_release_u32(&flush.pending, 0)
    store_release_u32(&flush.fired, 0)
    store_u32(&flush.shown, now)
    store_release_u32(&flush.horizon, 0)
    store_seq_u64(&flush.floor, last_cas)
    lock_release(&flush.lock)


cdef void flush_at(Flush *flush, uint32_t tick, uint32_t now) noexcept nogil:
    """Make everything go, at ``tick``, that was not stored or used after it."""
    cdef uint32_t gone
    lock_acquire(&flush.lock)
    if flush.pending != 0 and flush.pending <= now:
        gone = max(flush.pending, min(flush.explicit_stamp, load_seq_u32(&flush.explicit_last)), flush.explicit_gone)
        store_u32(&flush.explicit_stamp, max(flush.explicit_stamp, time_after(gone)))
        store_release_u32(&flush.explicit_gone, gone)
        store_u32(&flush.fired, flush.pending)
    store_release_u32(&flush.pending, tick)
    store_u32(&flush.shown, tick)
    store_release_u32(&flush.horizon, max(flush.fired, flush.pending))
    lock_release(&flush.lock)
