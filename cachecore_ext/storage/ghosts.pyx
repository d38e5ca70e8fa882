"""Remembering what was evicted."""
from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t

from cachecore_ext.base.atomics cimport add_u32, load_u32, store_u32
from cachecore_ext.storage.table cimport SLOTS, Bucket, Table, bucket_next, bucket_used, table_bucket

cdef enum:
    STAMP_BITS = 16


cdef uint32_t mark_of(const Table *table, uint64_t h) noexcept nogil:
    """Bits of the hash that neither the bucket nor the tag are made of, never 0; other ones in each epoch."""
    cdef uint16_t mark = <uint16_t>((h >> 32) + load_u32(&table.ghost_epoch) * <uint32_t>0x9E37)
    return mark if mark != 0 else 1


cdef Bucket *last_bucket(Table *table, uint64_t h) noexcept nogil:
    """The one of the chain that has free slots, if any has."""
    cdef Bucket *bucket = table_bucket(table, h)
    while bucket.next != 0:
        bucket = bucket_next(table, bucket)
    return bucket


cdef void ghost_add_locked(Table *table, uint64_t h, uint16_t stamp) noexcept nogil:
    """The item with this hash has been evicted."""
    cdef Bucket *bucket = last_bucket(table, h)
    cdef uint32_t slot = bucket_used(bucket)
    if slot == SLOTS:
        return
    while slot < SLOTS - 1:
        store_u32(&bucket.ref[slot], bucket.ref[slot + 1])
        slot += 1
    store_u32(&bucket.ref[slot], mark_of(table, h) << STAMP_BITS | stamp)


cdef int32_t ghost_take_locked(Table *table, uint64_t h) noexcept nogil:
    """An item with this hash is about to be stored: the stamp of its ghost, which is there no more, or -1 without
    one."""
    cdef Bucket *bucket = last_bucket(table, h)
    cdef uint32_t first = bucket_used(bucket), slot, mark = mark_of(table, h), found
    for slot in range(first, <uint32_t>SLOTS):
        found = bucket.ref[slot]
        if found >> STAMP_BITS == mark:
            while slot > first:
                store_u32(&bucket.ref[slot], bucket.ref[slot - 1])
                slot -= 1
            store_u32(&bucket.ref[first], 0)
            return <int32_t>(found & 0xFFFF)
    return -1


cdef void ghosts_forget(Table *table) noexcept nogil:
    """All that was evicted was evicted from another cache, so to say: after a flush."""
    add_u32(&table.ghost_epoch, 1)
