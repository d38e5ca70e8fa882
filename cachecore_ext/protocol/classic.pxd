"""The classic text commands, run against the store."""
from libc.stdint cimport uint32_t, uint64_t

from cachecore_ext.base.compiler cimport unlikely
from cachecore_ext.protocol.request cimport Request
from cachecore_ext.protocol.session cimport Outcome, Session
from cachecore_ext.storage.store cimport Put, StoreStatus

cdef enum:
    END = 5  # bytes of what ends a get's replies

cdef bint classic_get_plain(Session *session, const char *key, uint32_t nkey, uint64_t h, size_t end) noexcept nogil
cdef void classic_get_other(Session *session, const Request *request) noexcept nogil
cdef Outcome classic_get(Session *session, Request *request) noexcept nogil
cdef void classic_prepare(Session *session, const Request *request, Put *put) noexcept nogil
cdef void classic_stored(Session *session, const Request *request, StoreStatus status) noexcept nogil
cdef void classic_delete(Session *session, const Request *request) noexcept nogil
cdef void classic_delta(Session *session, const Request *request) noexcept nogil
cdef void classic_touch(Session *session, const Request *request) noexcept nogil
cdef void classic_flush_all(Session *session, const Request *request) noexcept nogil


cdef inline void classic_get_one(Session *session, const Request *request) noexcept nogil:
    """Run a request that is ``plain``."""
    if unlikely(session.context.watched != 0) or not classic_get_plain(
        session, request.key, request.nkey, request.hash, END
    ):
        classic_get_other(session, request)
