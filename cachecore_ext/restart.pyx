"""Warm restart for the engine: snapshots with Python's bytes and exceptions."""
from libc.stdint cimport int64_t

from cachecore_ext.base.linux cimport error_number
from cachecore_ext.storage.snapshot cimport (
    SNAPSHOT_TAKEN_UP, SnapshotStatus, snapshot_clear, snapshot_load, snapshot_save, snapshot_size,
)
from cachecore_ext.storage.store cimport Context, Store

import os

# In the order of SnapshotStatus; what comes after "the file".
REFUSALS = (
    "", "was saved by another version of cachecore", "was saved with another memory limit",
    "was saved with another maximum item size", "was saved with another setting of cas",
    "was saved with other chunk sizes",
    "is damaged", "does not have the length that it was saved with", "is damaged: a page is not as it was saved",
    "is damaged: an item does not hold together", "cannot be taken up: no memory, or no space for the file",
)


class StateError(ValueError):
    """A store of an earlier process cannot be taken up."""


cdef void begin_file(Store *store) except *:
    """Begin with an empty file."""
    cdef int number
    with nogil:
        number = snapshot_clear(store)
    if number != 0:
        raise OSError(f"cannot get space for the memory file: {os.strerror(number)}")


cdef void take_up(Context *context, bytes state, int64_t downtime) except *:
    """Begin with what an earlier process has left, ``downtime`` seconds ago."""
    cdef SnapshotStatus status
    cdef const char *bytes_of_state = state
    cdef size_t size = len(state)
    with nogil:
        status = snapshot_load(context, bytes_of_state, size, downtime)
    if status != SNAPSHOT_TAKEN_UP:
        raise StateError(REFUSALS[<int>status])


cdef bytes save_store(Store *store):
    """Bring a store's file to rest; its state."""
    cdef bytes state = bytes(snapshot_size(store))
    cdef char *bytes_of_state = state
    cdef bint saved
    cdef int number
    with nogil:
        saved = snapshot_save(store, bytes_of_state)
        number = error_number()
    if not saved:
        raise OSError(number, os.strerror(number))
    return state
