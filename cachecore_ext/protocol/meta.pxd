"""The meta commands, run against the store."""
from cachecore_ext.protocol.request cimport Request
from cachecore_ext.protocol.session cimport Session
from cachecore_ext.storage.store cimport Put, StoreStatus

cdef void meta_get(Session *session, const Request *request) noexcept nogil
cdef void meta_prepare(Session *session, const Request *request, Put *put) noexcept nogil
cdef void meta_stored(Session *session, const Request *request, const Put *put, StoreStatus status) noexcept nogil
cdef void meta_delete(Session *session, const Request *request) noexcept nogil
cdef void meta_arithmetic(Session *session, const Request *request) noexcept nogil
cdef void meta_debug(Session *session, const Request *request) noexcept nogil
