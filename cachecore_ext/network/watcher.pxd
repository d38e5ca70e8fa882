"""The logger: one thread that takes events out of the rings and sends them, as lines, to those who watch.

A connection that watches leaves its worker and belongs to the logger: what it sends is read and thrown away, and when
it ends it goes back to its worker, which closes it. A watcher that does not read loses lines, which are counted and
told to it, once it reads again, by a line ``skipped=<n>``; it delays nobody. Of each watcher the logger keeps
``buffer_size`` bytes of lines, and there are WATCHERS_MAX at most.
"""
from libc.stdint cimport uint32_t, uint64_t

from cachecore_ext.base.counters cimport CounterSet
from cachecore_ext.base.eventlog cimport Event, EventHub, EventLog
from cachecore_ext.network.admin cimport Ticket, TicketList
from cachecore_ext.network.worker cimport Worker

cdef enum:
    WATCHERS_MAX = 20
    LINE_ROOM = 1280           # bytes that no line exceeds: a key of 250 bytes, all of them encoded, and the numbers

cdef struct Watcher:
    Watcher *next
    Ticket *ticket             # how its connection came, and how it goes back
    uint32_t watched           # bits of Watched
    uint64_t since             # it gets events with a larger gid
    uint64_t skipped           # lines that it lost since it was last told
    bint full                  # its socket took no more at the last try
    size_t used                # bytes that wait to be sent
    size_t size
    char buffer[0]

cdef struct Logger:
    # Used by its own thread alone, once it runs, but for the arrivals.
    TicketList arrivals        # connections that want to watch; its signal is the hub's, too
    EventHub *hub
    EventLog *logs
    uint32_t nlogs
    Worker **workers
    CounterSet *counters
    size_t buffer_size
    const uint32_t *stop       # atomic, the engine's
    Watcher *watchers
    uint32_t nwatchers         # atomic

cdef int logger_init(Logger *logger, EventHub *hub, EventLog *logs, uint32_t nlogs, Worker **workers,
                     CounterSet *counters, size_t buffer_size, const uint32_t *stop) noexcept nogil
cdef void logger_drop(Logger *logger) noexcept nogil
cdef void logger_free(Logger *logger) noexcept nogil
cdef void logger_run(Logger *logger) noexcept nogil
cdef size_t format_event(const Event *event, char *out) noexcept nogil
