"""Warm restart for the engine: snapshots with Python's bytes and exceptions."""
from libc.stdint cimport int64_t

from cachecore_ext.storage.store cimport Context, Store

cdef void begin_file(Store *store) except *
cdef void take_up(Context *context, bytes state, int64_t downtime) except *
cdef bytes save_store(Store *store)
