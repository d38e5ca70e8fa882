"""A dump of all keys (``lru_crawler metadump`` and ``mgdump``): a reply without a bound, written piece by piece.

A dump is a place in a walk over the items and nothing else; whoever reads slowly makes it wait, and nobody beside it.
"""
from libc.stdint cimport uint64_t

from cachecore_ext.protocol.request cimport Request
from cachecore_ext.protocol.session cimport Outcome, Session
from cachecore_ext.storage.store cimport StoreCursor

cdef struct Dump:
    # Owned by the connection that asked for it.
    StoreCursor cursor
    uint64_t classes   # a bit for each slab class that was asked for
    bint commands      # mgdump: a meta get for each key, not what is known of it

cdef Outcome dump_judge(Session *session, const Request *request) noexcept nogil
cdef void dump_begin(Session *session, const Request *request, Dump *dump) noexcept nogil
cdef bint dump_write(Session *session, Dump *dump) noexcept nogil
