"""Ghosts: what was evicted lately, as a mark made of its hash, and when that was.

A key that is stored again while its ghost is there was evicted too early: ``lru`` lets it in where it stays longer, and
``balance`` learns how many pages more it would have taken to keep it.

Ghosts lie in the free slots of the table's buckets, where they cost no memory, no lock and no line of the cache: who
evicts or stores has the item's bucket at hand, and its lock. A slot whose tag is 0 is free, and so to the table it is
nothing; if its ref is not 0 it is a ghost, a mark of 16 bits and a stamp of 16. The latest is in the last slot, and the
next item is put where the oldest is. In a full cache there are five free slots to seven items (table.LOAD), so that a
key is remembered for about as long as S3-FIFO asks for. A bucket that is divided keeps its ghosts, also those that are
looked for in the other half from then on; while things are evicted the table seldom grows.

The stamp is the clock of evictions (lru.lru_stamp) of the class that the item left, at that moment. A value that comes
back with another size is compared with another class's clock, and tells a wrong depth: that is rare, and only a hint.
A mark is taken for another one's in 1 of some 10,000 look-ups; then an item stays a little longer than it should.

A flush at once forgets all ghosts (ghosts_forget), as it makes all items go; a delayed one leaves those that there are.
"""
from libc.stdint cimport int32_t, uint16_t, uint64_t

from cachecore_ext.storage.table cimport Table

cdef void ghost_add_locked(Table *table, uint64_t h, uint16_t stamp) noexcept nogil
cdef int32_t ghost_take_locked(Table *table, uint64_t h) noexcept nogil
cdef void ghosts_forget(Table *table) noexcept nogil
