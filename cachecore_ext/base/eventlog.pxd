"""What happens, recorded for those who watch: a ring of records per thread, and what all the rings share.

A ring has one producer, its thread, and one consumer, the logger's thread (network/watcher); neither ever waits. When
the ring is full an event is dropped and counted. Records hold raw facts; whoever takes them out makes lines of them.

    room    | record | record | ...          | pad |        a record never wraps: a pad fills what is left at the end
              ^ tail % size     ^ head % size

Nobody calls an ``event_`` function without having found one of its bits in EventHub.watched, so that all of this costs
nothing while nobody watches.
"""
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from cachecore_ext.base.atomics cimport load_acquire_u32
from cachecore_ext.base.counters cimport CounterSet
from cachecore_ext.base.lock cimport Lock

cdef enum Watched:
    # What may be watched.
    WATCH_FETCHERS = 1
    WATCH_MUTATIONS = 2
    WATCH_EVICTIONS = 4
    WATCH_DELETIONS = 8
    WATCH_CONNEVENTS = 16
    WATCH_SYSEVENTS = 32
    WATCH_PREFIXES = 64      # by the statistics per prefix (protocol/prefixes), which make no records

cdef enum EventKind:
    EVENT_PAD
    EVENT_ITEM_GET, EVENT_ITEM_STORE, EVENT_EVICTION, EVENT_DELETED,
    EVENT_CONN_NEW, EVENT_CONN_CLOSE,
    EVENT_LRU_CRAWLER, EVENT_SLAB_MOVE

cdef enum Lookup:
    # What came of looking for a key.
    LOOKUP_NOT_FOUND, LOOKUP_FOUND, LOOKUP_FLUSHED, LOOKUP_EXPIRED

cdef enum CloseReason:
    CLOSE_ERROR, CLOSE_NORMAL, CLOSE_IDLE_TIMEOUT

cdef struct PeerAddress:
    # Where a client comes from. All zero: over a UNIX socket.
    uint16_t family      # AF_INET or AF_INET6
    uint16_t port        # in the host's byte order
    uint8_t ip[16]       # in the network's; of an IPv4 address the first four

cdef struct CrawlerRun:
    # The crawl of one class, all of its lists together.
    uint32_t cls
    uint32_t since_run   # seconds, as the next two: since the crawl before, until the next, and how long this one took
    uint32_t next_run
    uint32_t elapsed
    uint64_t low_mark    # items: so many that end make the next crawl worth while
    uint64_t next_reclaims  # ... so many will have ended by then
    uint64_t examined
    uint64_t reclaimed

cdef struct Event:
    uint32_t size        # bytes of the record, with ``data``; a multiple of 8
    uint16_t ndata
    uint8_t kind         # EventKind; a pad has nothing behind this
    uint8_t watch        # whom it is for: one bit of Watched
    uint64_t gid         # a number that grows from event to event, over all rings
    uint64_t time        # microseconds since 1970
    # What the fields mean is said by the function that records the kind.
    uint32_t status
    uint32_t command
    uint32_t cls
    int32_t fd
    int32_t ttl          # seconds
    uint32_t age         # seconds
    uint64_t nbytes
    char data[0]         # the key; or a PeerAddress, or a CrawlerRun

cdef struct EventHub:
    # What all threads share.
    uint32_t watched     # bits of Watched; changed under ``lock``, read by anybody
    Lock lock
    int signal           # an eventfd that wakes the logger
    uint64_t pad[6]
    uint64_t gid         # the last one given out; atomic, on a line of its own
    uint64_t pad_behind[7]

cdef struct EventLog:
    # Of one thread, which alone records into it.
    EventHub *hub        # set once, like the next two
    CounterSet *counters
    uint32_t size        # bytes of the room; a multiple of 8
    char *room           # NULL until somebody watches for the first time; set by the consumer, once
    uint64_t head        # bytes recorded; the producer's
    uint64_t reserved    # ... with the record that is being written; the producer's
    uint64_t pad[2]
    uint64_t tail        # bytes taken out; the consumer's, on a line of its own
    uint64_t seen        # bytes recorded when the consumer last looked
    uint64_t pad_behind[6]

cdef void hub_watch(EventHub *hub, uint32_t mask, uint32_t bits) noexcept nogil

cdef void event_log_init(EventLog *log, EventHub *hub, CounterSet *counters, uint32_t size) noexcept nogil
cdef void event_log_free(EventLog *log) noexcept nogil
cdef bint event_log_open(EventLog *log) noexcept nogil
cdef void event_look(EventLog *log) noexcept nogil
cdef const Event *event_next(EventLog *log) noexcept nogil
cdef void event_done(EventLog *log, const Event *event) noexcept nogil

cdef void event_item_get(EventLog *log, Lookup status, const char *key, uint32_t nkey, uint32_t cls, int fd,
                         uint32_t nbytes) noexcept nogil
cdef void event_item_store(EventLog *log, uint32_t status, uint32_t command, const char *key, uint32_t nkey,
                           uint32_t ttl, uint32_t cls, int fd, uint32_t nbytes) noexcept nogil
cdef void event_eviction(EventLog *log, bint fetched, const char *key, uint32_t nkey, int32_t ttl, uint32_t age,
                         uint32_t cls, uint32_t nbytes) noexcept nogil
cdef void event_deleted(EventLog *log, bint meta, const char *key, uint32_t nkey, uint32_t cls,
                        uint32_t nbytes) noexcept nogil
cdef void event_conn_new(EventLog *log, const PeerAddress *peer, int fd) noexcept nogil
cdef void event_conn_close(EventLog *log, const PeerAddress *peer, int fd, CloseReason reason) noexcept nogil
cdef void event_lru_crawler(EventLog *log, const CrawlerRun *run) noexcept nogil
cdef void event_slab_move(EventLog *log, uint32_t src, uint32_t dst, bint moved) noexcept nogil


cdef inline uint32_t hub_watched(const EventHub *hub) noexcept nogil:
    """What is watched now. Whose bits are in it has its rooms open."""
    return load_acquire_u32(&hub.watched)
