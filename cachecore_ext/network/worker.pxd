"""A worker: one thread, one epoll, and the connections that were dealt to it."""
from libc.stdint cimport uint16_t, uint32_t

from cachecore_ext.base.counters cimport CounterSet
from cachecore_ext.base.eventlog cimport EventLog
from cachecore_ext.network.admin cimport TicketList
from cachecore_ext.network.connection cimport Connection, Scratch, Shared
from cachecore_ext.protocol.session cimport Service
from cachecore_ext.storage.store cimport Store

cdef struct Worker:
    # Used by its own thread alone, but for what others put into the inbox.
    Scratch scratch
    uint16_t owner            # its number plus 1, as a Descriptor has it
    uint32_t looked           # the tick at which it last looked for idle connections
    const uint32_t *stop      # not 0: end; atomic, the engine's
    TicketList inbox          # answers from Python; its signal also wakes the worker up to see ``stop``
    TicketList *questions     # to Python
    TicketList *watchers      # to the logger

cdef int worker_init(Worker *worker, uint32_t number, Store *store, CounterSet *counters, Service *service,
                     EventLog *log, Shared *shared, TicketList *questions, TicketList *watchers,
                     const uint32_t *stop) noexcept nogil
cdef void worker_free(Worker *worker) noexcept nogil
cdef void worker_run(Worker *worker) noexcept nogil
cdef bint worker_deal(Worker *worker, Connection *conn) noexcept nogil
