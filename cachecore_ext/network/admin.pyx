"""Lists of tickets between workers and Python."""
from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from cachecore_ext.base.linux cimport (
    EFD_CLOEXEC, EFD_NONBLOCK, close, eventfd, eventfd_read, eventfd_write, passing_size,
)
from cachecore_ext.base.lock cimport lock_acquire, lock_release


cdef int tickets_init(TicketList *tickets, bint blocking) noexcept nogil:
    """0, or -1 without a descriptor. ``blocking``: tickets_await really waits."""
    tickets.lock.word = 0
    tickets.head = NULL
    tickets.tail = NULL
    tickets.signal = eventfd(0, EFD_CLOEXEC if blocking else EFD_CLOEXEC | EFD_NONBLOCK)
    return 0 if tickets.signal >= 0 else -1


cdef void tickets_drop(TicketList *tickets) noexcept nogil:
    """Free the tickets, and leave an empty list."""
    cdef Ticket *ticket = tickets_take(tickets)
    while ticket != NULL:
        ticket_free(ticket)
        ticket = tickets_take(tickets)


cdef void tickets_free(TicketList *tickets) noexcept nogil:
    tickets_drop(tickets)
    if tickets.signal >= 0:
        close(tickets.signal)
    tickets.signal = -1


cdef void tickets_put(TicketList *tickets, Ticket *ticket) noexcept nogil:
    ticket.next = NULL
    lock_acquire(&tickets.lock)
    if tickets.tail != NULL:
        tickets.tail.next = ticket
    else:
        tickets.head = ticket
    tickets.tail = ticket
    lock_release(&tickets.lock)
    tickets_signal(tickets)


cdef Ticket *tickets_take(TicketList *tickets) noexcept nogil:
    """The oldest ticket, or NULL."""
    cdef Ticket *ticket
    lock_acquire(&tickets.lock)
    ticket = tickets.head
    if ticket != NULL:
        tickets.head = ticket.next
        if tickets.head == NULL:
            tickets.tail = NULL
    lock_release(&tickets.lock)
    return ticket


cdef void tickets_signal(TicketList *tickets) noexcept nogil:
    eventfd_write(tickets.signal, 1)


cdef void tickets_await(TicketList *tickets) noexcept nogil:
    """Wait until something was put in, or signalled, since the last time."""
    cdef uint64_t counted = 0
    eventfd_read(tickets.signal, &counted)


cdef Ticket *ticket_new(Connection *conn, const char *line, size_t nline) noexcept nogil:
    """NULL without the memory."""
    cdef Ticket *ticket = <Ticket *>malloc(passing_size(sizeof(Ticket) + nline))
    if ticket != NULL:
        ticket.next = NULL
        ticket.conn = conn
        ticket.worker = conn.worker
        ticket.reply = NULL
        ticket.nreply = 0
        ticket.nline = nline
        memcpy(ticket.line, line, nline)
    return ticket


cdef bint ticket_answer(Ticket *ticket, const char *reply, size_t n) noexcept nogil:
    """Copy the answer into the ticket. False without the memory."""
    ticket.reply = <char *>malloc(n if n > 0 else 1)
    if ticket.reply == NULL:
        return False
    memcpy(ticket.reply, reply, n)
    ticket.nreply = n
    return True


cdef void ticket_free(Ticket *ticket) noexcept nogil:
    free(ticket.reply)
    free(ticket)
