"""Each room's invariants, checked by walking all of it. Nobody else may be at work meanwhile."""
from libc.stdint cimport uint32_t

from cachecore_ext.storage.lru cimport Lru
from cachecore_ext.storage.slabs cimport Slabs
from cachecore_ext.storage.table cimport HashOf, Table

cdef dict slabs_census(const Slabs *slabs)
cdef dict table_census(Table *table, HashOf hash_of, const void *context)
cdef list lru_census(Lru *lru, uint32_t cls)
