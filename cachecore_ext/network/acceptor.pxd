"""The acceptor: takes new clients off the listening sockets and deals them to the workers in turn."""
from libc.stdint cimport uint32_t

from cachecore_ext.base.counters cimport CounterSet
from cachecore_ext.base.eventlog cimport EventLog
from cachecore_ext.network.connection cimport Shared
from cachecore_ext.network.worker cimport Worker

cdef struct Listener:
    int fd                    # the caller's
    bint local                # a UNIX socket

cdef struct Acceptor:
    # Used by its own thread alone, once it runs.
    int epoll
    int wake                  # an eventfd; Shared.vacancy, too
    Shared *shared
    CounterSet *counters
    EventLog *log
    Worker **workers
    uint32_t nworkers
    uint32_t turn             # whose the next client is
    uint32_t nlisteners
    Listener *listeners
    bint listening            # False while it rests: no descriptors for new clients, or as many of them as may be
    bint starved              # descriptors were wanting at the last try: that it rests again is no news
    uint32_t accepting        # the same for stats; atomic
    const uint32_t *stop      # atomic, the engine's

cdef int acceptor_init(Acceptor *acceptor, Shared *shared, CounterSet *counters, EventLog *log, Worker **workers,
                       uint32_t nworkers, const uint32_t *stop) noexcept nogil
cdef void acceptor_free(Acceptor *acceptor) noexcept nogil
cdef int acceptor_add(Acceptor *acceptor, int fd) noexcept nogil
cdef void acceptor_run(Acceptor *acceptor) noexcept nogil
cdef void acceptor_wake(Acceptor *acceptor) noexcept nogil
