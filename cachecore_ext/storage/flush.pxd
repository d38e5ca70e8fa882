"""What was flushed: which items a flush_all has made go, and which a delayed one will.

"Now" is told by cas, which every storing draws anew, so that what is stored in the same second stays. A cas that a
client chose tells nothing: such items (ITEM_EXPLICIT) go by their time, and get one later than any flush so far: the
next tick, if there was one in this. A flush that meets no such time moves nothing on, so only who flushes and stores
such items by turns, often within a second, gets times far ahead. A delayed flush takes away, at its tick, everything
that was not stored or used after it; there is one at a time. Of the items that go by a time which is ahead of its tick
it takes all: those stored after it get a later one still.

What is made of an old item (a sum, a longer value, what a cas has let through) does not outlive a flush that the old
item does not. Its new cas alone would not see to that: a flush reads the last cas, and only then can say that all up to
it are gone; who has found the old item before, and draws its cas in between, would have a higher one. So

    the flush    1. puts EVERY_CAS into ``floor``     the other    1. finds the old item
                 2. reads the last cas                             2. draws a new cas
                 3. says what is gone                              3. reads ``floor`` and compares it with the old cas
                 4. puts the last cas into ``floor``

and the first two steps of the one, and the last two of the other, are in one order for all threads (``seq``). Has the
flush read too early to know the new cas, then its step 1 comes before the other's step 3, which finds EVERY_CAS, and
waits for step 4, or finds what step 4 has left; and lets the old item's fate be the new one's: flush_overtook. Has it
not, then the new cas is among those that are gone. Either way the command has come just before the flush. With cas that
are drawn in blocks the same holds, as a block is drawn before its first one is used. It costs one load. Where a client
chose the cas, steps 2 are about its time instead: the other raises ``explicit_last`` to it, and the flush reads that.

An item whose cas a client chose is looked at (flush_settle) only when no flush is under way: the access may note a
time, which must not come to lie behind the time of a flush that began before.
"""
from libc.stdint cimport uint32_t, uint64_t

from cachecore_ext.base.atomics cimport load_acquire_u32, load_seq_u64, load_u64, raise_seq_u32
from cachecore_ext.base.compiler cimport unlikely
from cachecore_ext.base.lock cimport Lock, lock_acquire, lock_release
from cachecore_ext.storage.item cimport ITEM_EXPLICIT, Item, item_cas, item_meta, item_time

cdef enum:
    NO_CAS = 0
    EVERY_CAS = 0xFFFFFFFFFFFFFFFE    # as high as any
    BEYOND_CAS = 0xFFFFFFFFFFFFFFFF
    LAST_TIME = 0xFFFFFFFF

cdef struct Flush:
    # The lock to change them; all atomic, as every lookup reads them.
    uint64_t cas              # items with a cas up to this one are gone (those with ITEM_EXPLICIT go by explicit_gone)
    uint64_t floor            # the same; EVERY_CAS while a flush is under way
    uint32_t horizon          # items with a time up to this one may be gone; 0: none
    uint32_t fired            # ... are gone: the last delayed flush that was due
    uint32_t pending          # ... will be gone at this tick: a delayed flush; 0: none
    uint32_t explicit_gone    # items with ITEM_EXPLICIT and a time up to this one are gone
    uint32_t explicit_stamp   # the least time that such an item gets: later than explicit_gone, but for 2^32 - 1
    uint32_t explicit_last    # the last time that such an item was given; who gives one raises it, without the lock
    uint32_t shown            # for ``stats settings``
    Lock lock                 # taken last, and for as long as these are written

cdef struct Former:
    # What an old item says about the flushes that may take it.
    uint64_t cas              # NO_CAS: it goes by its time; BEYOND_CAS: there is none, and no flush takes it
    uint32_t time

cdef bint item_flushed(const Flush *flush, const Item *item, uint32_t now) noexcept nogil
cdef bint flush_may_concern(const Flush *flush, const Item *item) noexcept nogil
cdef bint flush_took(Flush *flush, const Former *former) noexcept nogil
cdef void flush_begin(Flush *flush) noexcept nogil
cdef void flush_end(Flush *flush, uint64_t last_cas, uint32_t now) noexcept nogil
cdef void flush_at(Flush *flush, uint32_t tick, uint32_t now) noexcept nogil


cdef inline bint flush_suspects(const Flush *flush, const Item *item) noexcept nogil:
    """Whether an item may have been flushed: false for nearly all, at the price of two comparisons."""
    return (
        item_time(item) <= load_acquire_u32(&flush.horizon)  # before cas: see item_flushed
        or item_cas(item) <= load_u64(&flush.cas)
        or item_meta(item) & ITEM_EXPLICIT != 0
    )


cdef inline void flush_settle(Flush *flush) noexcept nogil:
    """Wait until no flush is under way."""
    if unlikely(load_seq_u64(&flush.floor) == EVERY_CAS):
        lock_acquire(&flush.lock)
        lock_release(&flush.lock)


cdef inline uint32_t time_after(uint32_t time) noexcept nogil:
    """The next one; there is none after the last, and such an item is gone at once."""
    return min(time, LAST_TIME - 1) + 1


cdef inline uint32_t flush_stamp(Flush *flush, uint32_t time, uint32_t now) noexcept nogil:
    """The time of an item that gets a cas of a client's choice, and has been given ``time``."""
    cdef uint32_t pending = load_acquire_u32(&flush.pending)  # before the stamp: who supersedes it writes that first
    cdef uint32_t stamp = load_acquire_u32(&flush.explicit_stamp)
    if pending != 0 and pending < now:
        stamp = time_after(max(pending, stamp))
    stamp = max(time, stamp)
    raise_seq_u32(&flush.explicit_last, stamp)
    return stamp


cdef inline void former_of(const Item *item, Former *former) noexcept nogil:
    """Remember an item that something else will be made of; NULL for none. Not later than what it says is changed."""
    if item == NULL:
        former.cas = BEYOND_CAS
        former.time = 0
        return
    former.cas = NO_CAS if item_meta(item) & ITEM_EXPLICIT else item_cas(item)
    former.time = item_time(item)


cdef inline bint flush_overtook(Flush *flush, const Former *former) noexcept nogil:
    """Whether a flush has come since the item was found that takes it, but not what was made of it, whose cas is
    drawn."""
    return former.cas <= load_seq_u64(&flush.floor) and flush_took(flush, former)
