"""The store and the maintenance of an engine: the half of it that knows no connection."""
from libc.stdint cimport uint32_t

from cachecore_ext.base.counters cimport CounterSet
from cachecore_ext.base.eventlog cimport EventLog
from cachecore_ext.storage.maintenance cimport Maintenance
from cachecore_ext.storage.store cimport Store, StoreSettings

cdef void *allocate(size_t size) noexcept nogil

cdef class Keeper:
    cdef Store *store            # NULL: not opened yet, or closed
    cdef Maintenance maintenance
    cdef uint32_t ending         # the maintenance is to end; atomic
    cdef bint closed
    cdef str why                 # ... in words

    cdef _open_store(self, const StoreSettings *settings)
    cdef _open_maintenance(self, CounterSet *counters, EventLog *log)
    cdef void _end_maintenance(self) noexcept
    cdef void _free_store(self) noexcept
    cdef _check_open(self)
