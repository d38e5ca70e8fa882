"""What is told of a command to those who watch, and to the statistics per prefix: the far side of Context.watched.

Whoever runs a command calls these only when Context.watched is not 0, which it nearly always is.
"""
from libc.stdint cimport uint32_t

from cachecore_ext.protocol.request cimport Request
from cachecore_ext.protocol.session cimport Session
from cachecore_ext.storage.item cimport Item
from cachecore_ext.storage.store cimport Put, StoreStatus

cdef void witness_get_locked(Session *session, const char *key, uint32_t nkey, const Item *item) noexcept nogil
cdef void witness_delete_locked(Session *session, const Request *request, const Item *item) noexcept nogil
cdef void witness_removal_locked(Session *session, const Request *request, const Item *item) noexcept nogil
cdef void witness_create_locked(Session *session, const Request *request, const Item *item) noexcept nogil
cdef void witness_store(Session *session, const Request *request, const Put *put, StoreStatus status) noexcept nogil
cdef void witness_bad_chunk(Session *session, const Request *request) noexcept nogil
