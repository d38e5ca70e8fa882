"""The lists, and the clock policy over them."""
from libc.stdint cimport uint32_t
from libc.string cimport memset

from cachecore_ext.base.compiler cimport static_same
from cachecore_ext.base.lock cimport lock_acquire, lock_release
from cachecore_ext.storage.item cimport (
    ITEM_ACTIVE, ITEM_REWRITTEN, Item, item_meta, item_size, item_unmark,
)
from cachecore_ext.storage.slabs cimport Slabs, chunk_at, chunk_ref

cdef enum:
    # So many marked items may pass the tail before one is evicted all the same: it bounds the time under the lock.
    ROUNDS_MAX = 32


cdef void lru_init(Lru *lru, Slabs *slabs) noexcept nogil:
    static_same(sizeof(LruList), 128)
    memset(lru, 0, sizeof(Lru))
    lru.slabs = slabs


cdef void push_head(Lru *lru, LruList *lru_list, Item *item) noexcept nogil:
    cdef uint32_t ref = chunk_ref(lru.slabs, item)
    item.prev = 0
    item.next = lru_list.head
    if lru_list.head != 0:
        (<Item *>chunk_at(lru.slabs, lru_list.head)).prev = ref
    else:
        lru_list.tail = ref
    lru_list.head = ref


cdef void take_out(Lru *lru, LruList *lru_list, Item *item) noexcept nogil:
    if item.prev != 0:
        (<Item *>chunk_at(lru.slabs, item.prev)).next = item.next
    else:
        lru_list.head = item.next
    if item.next != 0:
        (<Item *>chunk_at(lru.slabs, item.next)).prev = item.prev
    else:
        lru_list.tail = item.prev


cdef void lru_link(Lru *lru, Item *item) noexcept nogil:
    """A new item enters its list."""
    cdef LruList *lru_list = &lru.lists[lru_id(lru.slabs, item)]
    lock_acquire(&lru_list.lock)
    push_head(lru, lru_list, item)
    lru_list.number += 1
    lru_list.bytes += item_size(item)
    lock_release(&lru_list.lock)


cdef void lru_unlink(Lru *lru, Item *item) noexcept nogil:
    """An item leaves its list for good."""
    cdef LruList *lru_list = &lru.lists[lru_id(lru.slabs, item)]
    lock_acquire(&lru_list.lock)
    lru_unlink_locked(lru, lru_list, item)
    lock_release(&lru_list.lock)


cdef void lru_unlink_locked(Lru *lru, LruList *lru_list, Item *item) noexcept nogil:
    """lru_unlink for a caller who holds the list's lock."""
    take_out(lru, lru_list, item)
    lru_list.number -= 1
    lru_list.bytes -= item_size(item)


cdef void lru_resize(Lru *lru, Item *item, size_t old_size, size_t new_size) noexcept nogil:
    """A linked item's value changed its length in place."""
    cdef LruList *lru_list = &lru.lists[lru_id(lru.slabs, item)]
    lock_acquire(&lru_list.lock)
    lru_list.bytes += new_size
    lru_list.bytes -= old_size
    lock_release(&lru_list.lock)


cdef Item *lru_victim_locked(Lru *lru, LruList *lru_list) noexcept nogil:
    """Who should leave next, or NULL from an empty list. It stays linked: the caller unlinks it or defers it."""
    cdef Item *item
    cdef int i
    for i in range(ROUNDS_MAX):
        if lru_list.tail == 0:
            return NULL
        item = <Item *>chunk_at(lru.slabs, lru_list.tail)
        if not item_meta(item) & (ITEM_ACTIVE | ITEM_REWRITTEN):
            return item
        item_unmark(item, ITEM_ACTIVE | ITEM_REWRITTEN)
        lru_defer_locked(lru, lru_list, item)
    return <Item *>chunk_at(lru.slabs, lru_list.tail)


cdef Item *lru_before_locked(Lru *lru, const LruList *lru_list, const Item *item) noexcept nogil:
    """The item before this one, counted from the tail; the tail itself for NULL; NULL at the head."""
    cdef uint32_t ref = lru_list.tail if item == NULL else item.prev
    return <Item *>chunk_at(lru.slabs, ref) if ref != 0 else NULL


cdef void lru_defer_locked(Lru *lru, LruList *lru_list, Item *item) noexcept nogil:
    """The item cannot or should not leave now: it goes round again."""
    take_out(lru, lru_list, item)
    push_head(lru, lru_list, item)
