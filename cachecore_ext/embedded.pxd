"""The store as Python calls it from this process: the same items that a server's clients see, without a socket.

A call for a small value is over before another thread of Python could have its turn, so it keeps the GIL and has the
first context, which the GIL guards. It may wait for a bucket's lock with the GIL in hand: who holds such a lock waits
for nothing, least of all for the GIL. A call that is long gives the GIL away, and has one of the other contexts for
as long as it holds that one's lock; while they are all taken, it does without, and keeps the GIL.
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from cachecore_ext.base.counters cimport CounterSet
from cachecore_ext.base.eventlog cimport EventHub, EventLog
from cachecore_ext.base.lock cimport Lock
from cachecore_ext.storage.item cimport Item
from cachecore_ext.storage.store cimport Context, PutMode, Store, StoreCursor, StoreStatus

cdef enum:
    CALLERS = 5  # contexts: that of calls with the GIL, and those of calls without

cdef struct Caller:
    Lock lock        # who holds it has the context, and the store stays; not used for the first one
    Context context  # its ``fd`` is -1: no connection

cdef struct Key:
    const char *p
    uint32_t n

cdef struct Found:
    # What a look-up tells of an item. Of a value that is not held, the bytes have been copied.
    uint32_t nbytes
    uint32_t flags
    uint64_t cas
    bint held

cdef class Callers:
    # What stands between the store's owner and those who call it. The GIL guards all of it but the callers without.
    cdef Store *store            # NULL: not attached yet, or closed
    cdef EventHub *hub
    cdef object owner            # the Engine, which has to live as long as this is attached
    cdef str gone                # why there is no store
    cdef Caller each[CALLERS]

    cdef void attach(self, owner, Store *store, EventHub *hub, CounterSet *counters, EventLog *logs) noexcept
    cdef void detach(self) noexcept
    cdef Context *begin(self, int index) except NULL
    cdef int claim(self) noexcept
    cdef Context *begin_long(self, int *index) except NULL

cdef class Embedded:
    cdef readonly Callers callers
    cdef object dumps            # a serializer's; None: values are bytes
    cdef object loads
    cdef int64_t default_ttl     # seconds, or NEVER

    cdef object look_up(self, key, uint64_t *cas)
    cdef bytes held_value(self, Item *item, uint32_t nbytes)
    cdef object opened(self, bytes value, uint32_t flags)
    cdef bytes closed(self, value, uint32_t *flags)
    cdef StoreStatus put(self, PutMode mode, key, value, ttl, const uint64_t *compare) except *
    cdef StoreStatus store_bytes(self, PutMode mode, const Key *key, bytes value, uint32_t flags, int64_t seconds,
                                 const uint64_t *compare) except *
    cdef object delta(self, key, bint increment, uint64_t by, initial, ttl)
    cdef bint remove(self, key, const uint64_t *compare) except *

cdef class KeyIterator:
    cdef Callers callers
    cdef StoreCursor cursor
    cdef list batch              # keys found and not yet given
