"""Commands that Python answers (``stats``, ``slabs``, ``lru`` ...): how they get there and back.

A worker puts a ticket into the queue and leaves the connection alone; Python takes it, writes the answer into it, and
puts it into the worker's inbox. No worker ever waits for Python.
"""
from libc.stdint cimport uint32_t

from cachecore_ext.base.lock cimport Lock
from cachecore_ext.network.connection cimport Connection

cdef struct Ticket:
    Ticket *next
    Connection *conn
    uint32_t worker
    size_t nreply
    char *reply           # malloc'ed; the ticket's. NULL in an answer: the connection is to be closed
    size_t nline
    char line[0]

cdef struct TicketList:
    Lock lock             # guards the list
    Ticket *head
    Ticket *tail
    int signal            # an eventfd that is written after each entry

cdef int tickets_init(TicketList *tickets, bint blocking) noexcept nogil
cdef void tickets_drop(TicketList *tickets) noexcept nogil
cdef void tickets_free(TicketList *tickets) noexcept nogil
cdef void tickets_put(TicketList *tickets, Ticket *ticket) noexcept nogil
cdef Ticket *tickets_take(TicketList *tickets) noexcept nogil
cdef void tickets_signal(TicketList *tickets) noexcept nogil
cdef void tickets_await(TicketList *tickets) noexcept nogil
cdef Ticket *ticket_new(Connection *conn, const char *line, size_t nline) noexcept nogil
cdef bint ticket_answer(Ticket *ticket, const char *reply, size_t n) noexcept nogil
cdef void ticket_free(Ticket *ticket) noexcept nogil
