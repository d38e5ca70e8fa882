"""The lists, and the policy over them."""
from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from cachecore_ext.base.atomics cimport load_u32, store_u32, xor_u32
from cachecore_ext.base.compiler cimport prefetch, static_same
from cachecore_ext.base.lock cimport Lock, lock_acquire, lock_release
from cachecore_ext.storage.item cimport (
    ITEM_ACTIVE, ITEM_REWRITTEN, ITEM_UNLINKED, LENGTH_MASK, Item, item_age, item_change_meta,
    item_exptime, item_meta, item_size, item_time, item_unmark,
)
from cachecore_ext.storage.slabs cimport Slabs, chunk_at, chunk_ref

cdef enum:
    # So many marked items may pass the tail before one is evicted all the same: it bounds the time under the lock.
    ROUNDS_MAX = 32
    # So many the maintenance lets pass in one round. While items are fetched there are always more of them, and moving
    # them on is worth nothing until one has to be evicted.
    SPARED_MAX = 16
    SMALL_PERCENT = 5     # S3-FIFO: of a class's bytes, for HOT


cdef void lru_init(Lru *lru, Slabs *slabs) noexcept nogil:
    """Empty lists, with memcached's tuning."""
    static_same(sizeof(LruClass), 256)
    memset(lru, 0, sizeof(Lru))
    lru.slabs = slabs
    lru.tuning.mode = LRU_S3FIFO
    lru.tuning.temporary_ttl = TEMP_OFF
    lru.tuning.hot_pct = 20
    lru.tuning.warm_pct = 40
    lru.tuning.hot_factor = FACTOR_ONE / 5
    lru.tuning.warm_factor = FACTOR_ONE * 2


# ---- lists

cdef void push_head(Lru *lru, LruSegment *segment, Item *item) noexcept nogil:
    cdef uint32_t ref = chunk_ref(lru.slabs, item)
    store_u32(&item.prev, 0)
    item.next = segment.head
    if segment.head != 0:
        store_u32(&(<Item *>chunk_at(lru.slabs, segment.head)).prev, ref)
    else:
        segment.tail = ref
    segment.head = ref


cdef void take_out(Lru *lru, LruSegment *segment, Item *item) noexcept nogil:
    if item.prev != 0:
        (<Item *>chunk_at(lru.slabs, item.prev)).next = item.next
    else:
        segment.head = item.next
    if item.next != 0:
        store_u32(&(<Item *>chunk_at(lru.slabs, item.next)).prev, item.prev)
    else:
        segment.tail = item.prev
        if item.prev != 0:
            prefetch(chunk_at(lru.slabs, item.prev))  # the next one to be looked at


cdef void enter(Lru *lru, LruClass *lists, Item *item, Segment to, size_t size) noexcept nogil:
    """Put an item at a segment's head, and note that in its meta."""
    cdef LruSegment *segment = &lists.segment[<int>to]
    xor_u32(&item.meta, (<uint32_t>item_segment(item) ^ <uint32_t>to) << SEGMENT_SHIFT)
    push_head(lru, segment, item)
    segment.number += 1
    segment.bytes += size


cdef void leave(Lru *lru, LruClass *lists, Item *item, size_t size) noexcept nogil:
    cdef LruSegment *segment = &lists.segment[<int>item_segment(item)]
    if lists.hand == chunk_ref(lru.slabs, item):
        lists.hand = item.prev
    take_out(lru, segment, item)
    segment.number -= 1
    segment.bytes -= size


cdef void move(Lru *lru, LruClass *lists, Item *item, Segment to) noexcept nogil:
    cdef size_t size = item_size(item)
    leave(lru, lists, item, size)
    enter(lru, lists, item, to, size)


cdef Item *tail_of(Lru *lru, const LruClass *lists, Segment segment) noexcept nogil:
    """The segment's oldest item; NULL when it is empty."""
    cdef uint32_t ref = lists.segment[<int>segment].tail
    return <Item *>chunk_at(lru.slabs, ref) if ref != 0 else NULL


# ---- where an item belongs

cdef bint lru_is_temporary(const Lru *lru, uint32_t exptime, uint32_t now) noexcept nogil:
    """Whether an item that ends at this tick (0: never) belongs to TEMP."""
    cdef uint32_t ttl = load_u32(&lru.tuning.temporary_ttl)
    return ttl != <uint32_t>TEMP_OFF and exptime != 0 and (exptime <= now or exptime - now <= ttl)


cdef Segment segment_for_new(const Lru *lru, const Item *item) noexcept nogil:
    if load_u32(&lru.tuning.mode) == LRU_FLAT:
        return COLD
    return TEMP if lru_is_temporary(lru, item_exptime(item), item_time(item)) else HOT


cdef bint spare(Lru *lru, LruClass *lists, Item *item) noexcept nogil:
    """Let an item at a tail that was used since it came live on, elsewhere. False for one that was not."""
    cdef uint32_t marks = item_meta(item) & (ITEM_ACTIVE | ITEM_REWRITTEN)
    cdef Segment segment_now = item_segment(item), to
    if not marks:
        return False
    item_unmark(item, ITEM_ACTIVE | ITEM_REWRITTEN)
    if marks & ITEM_REWRITTEN:
        to = segment_for_new(lru, item)
    else:
        to = COLD if load_u32(&lru.tuning.mode) == LRU_FLAT else WARM
    if to == WARM and segment_now != WARM:
        lists.moves_to_warm += 1
    else:
        lists.moves_within_lru += 1
    move(lru, lists, item, to)
    return True


cdef void to_cold(Lru *lru, LruClass *lists, Item *item) noexcept nogil:
    if not spare(lru, lists, item):
        move(lru, lists, item, COLD)
        lists.moves_to_cold += 1


cdef bint too_large(const Lru *lru, const LruClass *lists, Segment segment) noexcept nogil:
    """Whether HOT or WARM have more than their share of the class's bytes."""
    cdef uint32_t pct = load_u32(&lru.tuning.hot_pct if segment == HOT else &lru.tuning.warm_pct)
    cdef uint64_t total = (
        lists.segment[<int>HOT].bytes + lists.segment[<int>WARM].bytes + lists.segment[<int>COLD].bytes
    )
    return lists.segment[<int>segment].bytes * 100 > total * pct


cdef void balance(Lru *lru, LruClass *lists) noexcept nogil:
    """Keep HOT and WARM to their shares: at most one item of each moves for one that entered."""
    if lists.segment[<int>HOT].tail != 0 and too_large(lru, lists, HOT):
        to_cold(lru, lists, tail_of(lru, lists, HOT))
    if lists.segment[<int>WARM].tail != 0 and too_large(lru, lists, WARM):
        to_cold(lru, lists, tail_of(lru, lists, WARM))


# ---- what the store does

cdef uint16_t lru_stamp(const Lru *lru, const LruClass *lists) noexcept nogil:
    """The class's clock of evictions, which the caller has the lock for."""
    return <uint16_t>(lists.evicted * STAMP_PAGE / lru.slabs.classes[lists - lru.classes].per_page)


cdef Segment welcome_back(Lru *lru, LruClass *lists, Segment to, uint16_t stamp) noexcept nogil:
    """Count an item that was evicted at ``stamp`` and is stored again; where it belongs, had it been new: ``to``."""
    cdef uint32_t strokes = <uint16_t>(lru_stamp(lru, lists) - stamp), depth = 0
    while depth < DEPTHS - 1 and strokes >= <uint32_t>STAMP_PAGE << depth:
        depth += 1
    lists.returned[depth] += 1
    return WARM if to == HOT and load_u32(&lru.tuning.mode) == LRU_S3FIFO else to


cdef void lru_link(Lru *lru, Item *item, int32_t arrival) noexcept nogil:
    """A new item enters. Its exptime and time are set. arrival: the stamp of its ghost, or an ARRIVAL_."""
    cdef LruClass *lists = &lru.classes[lru_id(lru.slabs, item)]
    cdef uint32_t mode = load_u32(&lru.tuning.mode)
    cdef Segment to
    lock_acquire(&lists.lock)
    to = segment_for_new(lru, item)
    if arrival >= 0:
        to = welcome_back(lru, lists, to, <uint16_t>arrival)
    elif arrival == ARRIVAL_KNOWN and to == HOT and mode == LRU_S3FIFO:
        to = WARM
    enter(lru, lists, item, to, item_size(item))
    if mode == LRU_SEGMENTED:
        balance(lru, lists)
    lock_release(&lists.lock)


cdef void lru_unlink(Lru *lru, Item *item) noexcept nogil:
    """An item leaves its list for good."""
    cdef LruClass *lists = &lru.classes[lru_id(lru.slabs, item)]
    lock_acquire(&lists.lock)
    lru_unlink_locked(lru, lists, item)
    lock_release(&lists.lock)


cdef void lru_unlink_locked(Lru *lru, LruClass *lists, Item *item) noexcept nogil:
    """lru_unlink for a caller who holds the class's lock."""
    leave(lru, lists, item, item_size(item))
    store_u32(&item.prev, ITEM_UNLINKED)


cdef void lru_replace_locked(Lru *lru, LruClass *lists, Item *old, Item *item) noexcept nogil:
    """Let a copy of ``old``, in another chunk of the class, stand in its place. Copies next, prev and meta."""
    cdef LruSegment *segment = &lists.segment[<int>item_segment(old)]
    cdef uint32_t ref = chunk_ref(lru.slabs, item)
    store_u32(&item.meta, item_meta(old))
    item.next = old.next
    store_u32(&item.prev, old.prev)
    if item.prev != 0:
        (<Item *>chunk_at(lru.slabs, item.prev)).next = ref
    else:
        segment.head = ref
    if item.next != 0:
        store_u32(&(<Item *>chunk_at(lru.slabs, item.next)).prev, ref)
    else:
        segment.tail = ref
    if lists.hand == chunk_ref(lru.slabs, old):
        lists.hand = ref
    store_u32(&old.prev, ITEM_UNLINKED)


cdef void lru_rewrite(Lru *lru, Item *item, uint32_t kept, uint32_t meta) noexcept nogil:
    """A linked item is stored again in its place: its meta keeps the bits ``kept`` and the segment, and gets ``meta``.

    Another length changes together with the segment's sum, or a move in between would count the item as what it is not.
    """
    cdef LruClass *lists = &lru.classes[lru_id(lru.slabs, item)]
    cdef size_t old_size = item_size(item)
    cdef LruSegment *segment
    if (item_meta(item) ^ meta) & LENGTH_MASK == 0:
        item_change_meta(item, kept, meta)
        return
    lock_acquire(&lists.lock)
    segment = &lists.segment[<int>item_segment(item)]
    item_change_meta(item, kept, meta)
    segment.bytes += item_size(item)
    segment.bytes -= old_size
    lock_release(&lists.lock)


cdef Item *lru_oldest_locked(Lru *lru, const LruClass *lists) noexcept nogil:
    """The tail to take from: COLD's; only without one another segment's. NULL when the class has no item."""
    cdef Item *item = tail_of(lru, lists, COLD)
    if item == NULL:
        item = tail_of(lru, lists, HOT)
    if item == NULL:
        item = tail_of(lru, lists, WARM)
    return item if item != NULL else tail_of(lru, lists, TEMP)


# ---- S3-FIFO

cdef Item *candidate(Lru *lru, LruClass *lists) noexcept nogil:
    """Who is looked at next: HOT's tail while HOT has more than its share, else who the hand points at."""
    cdef uint64_t total = lists.segment[<int>HOT].bytes + lists.segment[<int>WARM].bytes
    if lists.segment[<int>COLD].tail != 0:  # the segmented LRU's, from before
        return tail_of(lru, lists, COLD)
    if lists.segment[<int>HOT].bytes * 100 > total * SMALL_PERCENT or lists.segment[<int>WARM].tail == 0:
        return lru_oldest_locked(lru, lists)
    if lists.hand == 0:
        lists.hand = lists.segment[<int>WARM].tail
    return <Item *>chunk_at(lru.slabs, lists.hand)


cdef bint pass_by(Lru *lru, LruClass *lists, Item *item) noexcept nogil:
    """Let a candidate that was used stay: in WARM the hand goes on, from elsewhere it goes there. False for one that
    was not used."""
    cdef uint32_t used = ITEM_ACTIVE | ITEM_REWRITTEN
    cdef Segment segment_now = item_segment(item)
    if segment_now != WARM:
        used |= ITEM_FETCHED
    if item_meta(item) & used == 0 or segment_now == TEMP:
        return False
    if item_meta(item) & (ITEM_ACTIVE | ITEM_REWRITTEN):
        item_unmark(item, ITEM_ACTIVE | ITEM_REWRITTEN)
    if segment_now == WARM:
        lists.hand = item.prev
        if item.prev != 0:
            prefetch(chunk_at(lru.slabs, item.prev))
        lists.moves_within_lru += 1
    else:
        move(lru, lists, item, WARM)
        lists.moves_to_warm += 1
    return True


cdef Item *s3fifo_victim(Lru *lru, LruClass *lists) noexcept nogil:
    cdef Item *item = candidate(lru, lists)
    cdef int i
    for i in range(ROUNDS_MAX):
        if item == NULL or not pass_by(lru, lists, item):
            return item
        item = candidate(lru, lists)
    return item


cdef Item *lru_upcoming_locked(Lru *lru, LruClass *lists) noexcept nogil:
    """Who is likely to leave after the next one, to be asked for early; NULL when the class has no item. Its line was
    asked for the time before, as the one's behind it is now."""
    cdef Item *item = candidate(lru, lists) if load_u32(&lru.tuning.mode) == LRU_S3FIFO else lru_oldest_locked(
        lru, lists
    )
    if item != NULL and item.prev != 0:
        item = <Item *>chunk_at(lru.slabs, item.prev)
        if item.prev != 0:
            prefetch(chunk_at(lru.slabs, item.prev))
    return item


cdef Item *lru_victim_locked(Lru *lru, LruClass *lists) noexcept nogil:
    """Who should leave next; NULL when there is nobody. It stays linked: the caller unlinks it or defers it."""
    cdef Item *item
    cdef int i
    if load_u32(&lru.tuning.mode) == LRU_S3FIFO:
        return s3fifo_victim(lru, lists)
    item = lru_oldest_locked(lru, lists)
    for i in range(ROUNDS_MAX):
        if item == NULL or not spare(lru, lists, item):
            return item
        item = lru_oldest_locked(lru, lists)
    return item


cdef Item *lru_before_locked(Lru *lru, const LruClass *lists, Segment segment, const Item *item) noexcept nogil:
    """The item before this one, counted from the segment's tail; the tail itself for NULL; NULL at the head."""
    cdef uint32_t ref = lists.segment[<int>segment].tail if item == NULL else item.prev
    return <Item *>chunk_at(lru.slabs, ref) if ref != 0 else NULL


cdef void lru_defer_locked(Lru *lru, LruClass *lists, Item *item) noexcept nogil:
    """The item cannot leave now: it goes to its segment's head."""
    move(lru, lists, item, item_segment(item))


# ---- what the maintenance does

cdef bint stays(const Lru *lru, const LruClass *lists, const Item *item, Segment segment, uint32_t now,
                uint32_t cold_age) noexcept nogil:
    """Whether the tail of HOT or WARM may stay: within the share, and not unused for too long."""
    cdef uint32_t factor = load_u32(&lru.tuning.hot_factor if segment == HOT else &lru.tuning.warm_factor)
    if load_u32(&lru.tuning.mode) == LRU_FLAT or item_meta(item) & (ITEM_ACTIVE | ITEM_REWRITTEN):
        return False
    return not too_large(lru, lists, segment) and (
        <uint64_t>item_age(item, now) * FACTOR_ONE <= <uint64_t>cold_age * factor
    )


cdef uint32_t drain(Lru *lru, LruClass *lists, Segment segment, uint32_t now, uint32_t cold_age, uint32_t steps,
                    uint32_t *spared) noexcept nogil:
    """Move from the tail of HOT or WARM to COLD what may not stay; how many. Those in use go elsewhere (``spared``)."""
    cdef uint32_t done = 0
    cdef Item *item = tail_of(lru, lists, segment)
    while (
        item != NULL and done < steps and spared[0] < SPARED_MAX
        and not stays(lru, lists, item, segment, now, cold_age)
    ):
        if spare(lru, lists, item):
            spared[0] += 1
        else:
            to_cold(lru, lists, item)
            done += 1
        item = tail_of(lru, lists, segment)
    return done


cdef uint32_t lru_juggle_locked(Lru *lru, LruClass *lists, uint32_t now, uint32_t steps) noexcept nogil:
    """Apply the rules to the tails, in at most so many moves to COLD; how many there were."""
    cdef uint32_t done, spared = 0
    cdef Item *item = tail_of(lru, lists, COLD)
    cdef uint32_t cold_age = item_age(item, now) if item != NULL else 0
    if load_u32(&lru.tuning.mode) == LRU_S3FIFO:
        return 0
    done = drain(lru, lists, HOT, now, cold_age, steps, &spared)
    done += drain(lru, lists, WARM, now, cold_age, steps - done, &spared)
    item = tail_of(lru, lists, COLD)
    while item != NULL and spared < SPARED_MAX and spare(lru, lists, item):
        item = tail_of(lru, lists, COLD)
        spared += 1
    return done


# ---- looking in

cdef LruClass lru_look(Lru *lru, uint32_t cls) noexcept nogil:
    """A class's sums as they stand."""
    cdef LruClass *lists = &lru.classes[cls]
    cdef LruClass seen
    seen.lock.word = 0  # others look at the one in the class while it is held
    lock_acquire(&lists.lock)
    memcpy(&seen.evicted_time, &lists.evicted_time, sizeof(LruClass) - sizeof(Lock))
    lock_release(&lists.lock)
    return seen


cdef uint32_t lru_age(Lru *lru, uint32_t cls, Segment segment, uint32_t now) noexcept nogil:
    """Seconds since the last access of a segment's oldest item; 0 when there is none."""
    cdef LruClass *lists = &lru.classes[cls]
    cdef Item *item
    cdef uint32_t age = 0
    lock_acquire(&lists.lock)
    item = tail_of(lru, lists, segment)
    if item != NULL:
        age = item_age(item, now)
    lock_release(&lists.lock)
    return age
