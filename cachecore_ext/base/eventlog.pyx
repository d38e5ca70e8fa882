"""Recording events, and taking them out."""
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from cachecore_ext.base.atomics cimport (
    add_u64, load_acquire_u64, load_u32, store_release_u32, store_release_u64,
)
from cachecore_ext.base.counters cimport LOG_WORKER_DROPPED, LOG_WORKER_WRITTEN, count
from cachecore_ext.base.linux cimport CLOCK_REALTIME, clock_gettime, eventfd_write, timespec
from cachecore_ext.base.lock cimport lock_acquire, lock_release


cdef void hub_watch(EventHub *hub, uint32_t mask, uint32_t bits) noexcept nogil:
    """Of the bits in ``mask``, let exactly ``bits`` be watched. For any thread; the rooms have been opened before."""
    lock_acquire(&hub.lock)
    store_release_u32(&hub.watched, (load_u32(&hub.watched) & ~mask) | bits)
    lock_release(&hub.lock)


cdef void event_log_init(EventLog *log, EventHub *hub, CounterSet *counters, uint32_t size) noexcept nogil:
    memset(log, 0, sizeof(EventLog))
    log.hub = hub
    log.counters = counters
    log.size = size & ~<uint32_t>7


cdef void event_log_free(EventLog *log) noexcept nogil:
    free(log.room)
    log.room = NULL


# ---- the consumer's side

cdef bint event_log_open(EventLog *log) noexcept nogil:
    """Have room for records; again is a no-op. False without the memory: until the next try every event is dropped."""
    cdef char *room
    if log.room == NULL:
        room = <char *>malloc(log.size)
        store_release_u64(<uint64_t *>&log.room, <uint64_t>room)
    return log.room != NULL


cdef void event_look(EventLog *log) noexcept nogil:
    """See how much has been recorded; event_next goes no further."""
    log.seen = load_acquire_u64(&log.head)


cdef const Event *event_next(EventLog *log) noexcept nogil:
    """The oldest record, which stays as it is until event_done; NULL when all that was seen has been taken out."""
    cdef const Event *event
    while log.tail < log.seen:
        event = <const Event *>(log.room + log.tail % log.size)
        if event.kind != EVENT_PAD:
            return event
        event_done(log, event)
    return NULL


cdef void event_done(EventLog *log, const Event *event) noexcept nogil:
    """Let the producer have the room of the record that event_next gave."""
    store_release_u64(&log.tail, log.tail + event.size)


# ---- the producer's side

cdef uint64_t now_us() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_REALTIME, &now)
    return <uint64_t>now.tv_sec * 1000000 + <uint64_t>now.tv_nsec / 1000


cdef Event *begin(EventLog *log, EventKind kind, uint32_t watch, const void *data, size_t ndata) noexcept nogil:
    """Room for a record, its data in it and its other fields zero; NULL when it is dropped. ``end`` hands it over."""
    cdef uint64_t size = (sizeof(Event) + ndata + 7) & ~<uint64_t>7
    cdef char *room = <char *>load_acquire_u64(<uint64_t *>&log.room)
    cdef uint64_t offset = log.head % log.size
    cdef uint64_t pad = log.size - offset if log.size - offset < size else 0
    cdef Event *event
    if room == NULL or log.head + pad + size - load_acquire_u64(&log.tail) > log.size:
        count(log.counters, LOG_WORKER_DROPPED)
        return NULL
    if pad > 0:
        event = <Event *>(room + offset)
        event.size = <uint32_t>pad
        event.kind = EVENT_PAD
        offset = 0
    log.reserved = log.head + pad + size
    event = <Event *>(room + offset)
    memset(event, 0, sizeof(Event))
    event.size = <uint32_t>size
    event.ndata = <uint16_t>ndata
    event.kind = <uint8_t>kind
    event.watch = <uint8_t>watch
    event.gid = add_u64(&log.hub.gid, 1)
    event.time = now_us()
    if ndata > 0:
        memcpy(event.data, data, ndata)
    return event


cdef void end(EventLog *log) noexcept nogil:
    """Hand the record over. The logger looks in from time to time; when the room becomes half full it is woken."""
    cdef uint64_t tail = load_acquire_u64(&log.tail), half = log.size / 2
    cdef bint wake = log.head - tail < half and log.reserved - tail >= half
    store_release_u64(&log.head, log.reserved)
    count(log.counters, LOG_WORKER_WRITTEN)
    if wake:
        eventfd_write(log.hub.signal, 1)


# ---- the events

cdef void event_item_get(EventLog *log, Lookup status, const char *key, uint32_t nkey, uint32_t cls, int fd,
                         uint32_t nbytes) noexcept nogil:
    """A key was looked for, by a client or for a storage command. nbytes: of the value, if it was found."""
    cdef Event *event = begin(log, EVENT_ITEM_GET, WATCH_FETCHERS, key, nkey)
    if event != NULL:
        event.status = status
        event.cls = cls
        event.fd = fd
        event.nbytes = nbytes
        end(log)


cdef void event_item_store(EventLog *log, uint32_t status, uint32_t command, const char *key, uint32_t nkey,
                           uint32_t ttl, uint32_t cls, int fd, uint32_t nbytes) noexcept nogil:
    """A storage command was answered. status: the store's StoreStatus; command: its PutMode, or one beyond for cas.

    ttl: seconds, 0 when the item does not end. nbytes: of the value that is stored now, or of the refused one.
    """
    cdef Event *event = begin(log, EVENT_ITEM_STORE, WATCH_MUTATIONS, key, nkey)
    if event != NULL:
        event.status = status
        event.command = command
        event.ttl = <int32_t>ttl
        event.cls = cls
        event.fd = fd
        event.nbytes = nbytes
        end(log)


cdef void event_eviction(EventLog *log, bint fetched, const char *key, uint32_t nkey, int32_t ttl, uint32_t age,
                         uint32_t cls, uint32_t nbytes) noexcept nogil:
    """A living item had to go. ttl: seconds it had left, -1 when it was not to end; age: seconds since its access."""
    cdef Event *event = begin(log, EVENT_EVICTION, WATCH_EVICTIONS, key, nkey)
    if event != NULL:
        event.status = fetched
        event.ttl = ttl
        event.age = age
        event.cls = cls
        event.nbytes = nbytes
        end(log)


cdef void event_deleted(EventLog *log, bint meta, const char *key, uint32_t nkey, uint32_t cls,
                        uint32_t nbytes) noexcept nogil:
    """A client deleted an item; meta: by md."""
    cdef Event *event = begin(log, EVENT_DELETED, WATCH_DELETIONS, key, nkey)
    if event != NULL:
        event.command = meta
        event.cls = cls
        event.nbytes = nbytes
        end(log)


cdef void event_conn_new(EventLog *log, const PeerAddress *peer, int fd) noexcept nogil:
    cdef Event *event = begin(log, EVENT_CONN_NEW, WATCH_CONNEVENTS, peer, sizeof(PeerAddress))
    if event != NULL:
        event.fd = fd
        end(log)


cdef void event_conn_close(EventLog *log, const PeerAddress *peer, int fd, CloseReason reason) noexcept nogil:
    cdef Event *event = begin(log, EVENT_CONN_CLOSE, WATCH_CONNEVENTS, peer, sizeof(PeerAddress))
    if event != NULL:
        event.status = reason
        event.fd = fd
        end(log)


cdef void event_lru_crawler(EventLog *log, const CrawlerRun *run) noexcept nogil:
    if begin(log, EVENT_LRU_CRAWLER, WATCH_SYSEVENTS, run, sizeof(CrawlerRun)) != NULL:
        end(log)


cdef void event_slab_move(EventLog *log, uint32_t src, uint32_t dst, bint moved) noexcept nogil:
    """A page went from one slab class to another, or could not."""
    cdef Event *event = begin(log, EVENT_SLAB_MOVE, WATCH_SYSEVENTS, NULL, 0)
    if event != NULL:
        event.cls = src
        event.command = dst
        event.status = moved
        end(log)
