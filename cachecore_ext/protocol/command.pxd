"""Requests run: which command is whose, and how a value that is still to come is received and stored."""
from cachecore_ext.protocol.request cimport Request
from cachecore_ext.protocol.session cimport Outcome, Session
from cachecore_ext.storage.item cimport Item

cdef Outcome command_execute(Session *session, Request *request) noexcept nogil
cdef Item *command_reserve(Session *session, Request *request) noexcept nogil
cdef void command_commit(Session *session, Request *request, Item *item, bint ended) noexcept nogil
