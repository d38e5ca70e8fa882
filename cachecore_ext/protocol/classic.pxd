"""The classic text commands, run against the store."""
from cachecore_ext.protocol.request cimport Request
from cachecore_ext.protocol.session cimport Outcome, Session
from cachecore_ext.storage.store cimport Put, StoreStatus

cdef Outcome classic_get(Session *session, Request *request) noexcept nogil
cdef void classic_prepare(Session *session, const Request *request, Put *put) noexcept nogil
cdef void classic_stored(Session *session, const Request *request, StoreStatus status) noexcept nogil
cdef void classic_delete(Session *session, const Request *request) noexcept nogil
cdef void classic_delta(Session *session, const Request *request) noexcept nogil
cdef void classic_touch(Session *session, const Request *request) noexcept nogil
cdef void classic_flush_all(Session *session, const Request *request) noexcept nogil
