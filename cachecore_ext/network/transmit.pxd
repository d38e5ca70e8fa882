"""Sending: what an Output has collected, and what of it a socket did not take at once."""
from libc.stdint cimport uint32_t

from cachecore_ext.base.counters cimport CounterSet
from cachecore_ext.protocol.reply cimport SEGMENTS, Output, Segment
from cachecore_ext.storage.store cimport Store

cdef enum Sent:
    SENT_ALL
    SENT_PART    # the socket is full, or this turn's share is used up: wait until it is writable
    SENT_ERROR   # the connection is gone

cdef struct Pending:
    # What one connection still has to be sent. Owned by the connection; the items in it are held.
    uint32_t first             # segments before this one are sent
    uint32_t nsegments
    size_t size                # bytes allocated for this
    Segment segments[SEGMENTS]
    char data[0]               # the bytes of the segments without an item

cdef Sent output_send(Store *store, CounterSet *counters, Output *out, int fd, Pending **pending) noexcept nogil
cdef void output_drop(Store *store, Output *out) noexcept nogil
cdef Sent pending_send(Store *store, CounterSet *counters, Pending *pending, int fd) noexcept nogil
cdef Pending *pending_of(const char *data, size_t n) noexcept nogil
cdef void pending_free(Store *store, Pending *pending) noexcept nogil
