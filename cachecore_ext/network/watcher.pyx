"""Lines of events, and who gets them."""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove, strlen

from cachecore_ext.base.atomics cimport load_acquire_u32, load_u64, store_u32
from cachecore_ext.base.counters cimport LOG_WATCHER_SENT, LOG_WATCHER_SKIPPED, MALLOC_FAILS, count
from cachecore_ext.base.eventlog cimport (
    CLOSE_ERROR, CLOSE_NORMAL, EVENT_CONN_CLOSE, EVENT_CONN_NEW, EVENT_DELETED, EVENT_EVICTION, EVENT_ITEM_GET,
    EVENT_ITEM_STORE, EVENT_LRU_CRAWLER, WATCH_PREFIXES, CrawlerRun, PeerAddress, event_done,
    event_log_open, event_look, event_next, hub_watch,
)
from cachecore_ext.base.linux cimport (
    EAGAIN, EINTR, INET6_ADDRSTRLEN, MSG_DONTWAIT, MSG_NOSIGNAL, POLLIN, error_number, inet_ntop, poll, pollfd, recv,
    send,
)
from cachecore_ext.base.numbers cimport format_u64
from cachecore_ext.network.admin cimport (
    ticket_answer, ticket_free, tickets_await, tickets_drop, tickets_free, tickets_init, tickets_put, tickets_take,
)
from cachecore_ext.protocol.percent cimport percent_encode
from cachecore_ext.protocol.request cimport watch_words

cdef enum:
    LOOK_MS = 50                # between two looks into the rings while somebody watches
    DISCARD = 16 * 1024         # bytes that a watcher may send between two looks; the rest waits in the kernel
    MICROSECONDS = 1000000

cdef const char *OK = b"OK\r\n"
cdef const char *TOO_MANY = b"WATCHER_TOO_MANY log watcher limit reached\r\n"
cdef const char *FAILED = b"WATCHER_FAILED failed to add log watcher\r\n"

# In the order of Lookup, StoreStatus, PutMode with cas behind it, and CloseReason.
cdef const char *LOOKUPS[4]
cdef const char *STATUSES[6]
cdef const char *MODES[6]
cdef const char *REASONS[3]
LOOKUPS[:] = [b"not_found", b"found", b"flushed", b"expired"]
STATUSES[:] = [b"stored", b"not_stored", b"exists", b"not_found", b"too_large", b"no_memory"]
MODES[:] = [b"set", b"add", b"replace", b"append", b"prepend", b"cas"]
REASONS[:] = [b"error", b"normal", b"idle_timeout"]


# ---- lines

cdef char *put_text(char *p, const char *text) noexcept nogil:
    cdef size_t n = strlen(text)
    memcpy(p, text, n)
    return p + n


cdef char *put_number(char *p, const char *name, int64_t number) noexcept nogil:
    """`` name=number``."""
    p = put_text(p, name)
    if number < 0:
        p[0] = c'-'
        return p + 1 + format_u64(p + 1, <uint64_t>-number)
    return p + format_u64(p, <uint64_t>number)


cdef char *put_key(char *p, const char *key, size_t nkey) noexcept nogil:
    p = put_text(p, b" key=")
    return p + percent_encode(key, nkey, p)


cdef char *put_named(char *p, const char *name, const char *value) noexcept nogil:
    return put_text(put_text(p, name), value)


cdef char *put_peer(char *p, const PeerAddress *peer) noexcept nogil:
    cdef char text[INET6_ADDRSTRLEN]
    if peer.family == 0 or inet_ntop(peer.family, peer.ip, text, sizeof(text)) == NULL:
        return put_text(p, b" rip=unix rport=0 transport=local")
    p = put_named(p, b" rip=", text)
    return put_text(put_number(p, b" rport=", peer.port), b" transport=tcp")


cdef char *put_item(char *p, const Event *event) noexcept nogil:
    if event.kind == EVENT_ITEM_GET:
        p = put_named(put_key(put_text(p, b"item_get"), event.data, event.ndata), b" status=", LOOKUPS[event.status])
        p = put_number(put_number(p, b" clsid=", event.cls), b" cfd=", event.fd)
    elif event.kind == EVENT_ITEM_STORE:
        p = put_key(put_text(p, b"item_store"), event.data, event.ndata)
        p = put_named(put_named(p, b" status=", STATUSES[event.status]), b" cmd=", MODES[event.command])
        p = put_number(put_number(p, b" ttl=", <uint32_t>event.ttl), b" clsid=", event.cls)
        p = put_number(p, b" cfd=", event.fd)
    elif event.kind == EVENT_EVICTION:
        p = put_key(put_text(p, b"eviction"), event.data, event.ndata)
        p = put_named(p, b" fetch=", b"yes" if event.status else b"no")
        p = put_number(put_number(put_number(p, b" ttl=", event.ttl), b" la=", event.age), b" clsid=", event.cls)
    else:
        p = put_key(put_text(p, b"deleted"), event.data, event.ndata)
        p = put_number(put_named(p, b" cmd=", b"md" if event.command else b"delete"), b" clsid=", event.cls)
    return put_number(p, b" size=", event.nbytes)


cdef char *put_connection(char *p, const Event *event) noexcept nogil:
    p = put_text(p, b"conn_new" if event.kind == EVENT_CONN_NEW else b"conn_close")
    p = put_peer(p, <const PeerAddress *>event.data)
    if event.kind == EVENT_CONN_CLOSE:
        p = put_named(p, b" reason=", REASONS[event.status])
    return put_number(p, b" cfd=", event.fd)


cdef char *put_maintenance(char *p, const Event *event) noexcept nogil:
    cdef const CrawlerRun *run = <const CrawlerRun *>event.data
    if event.kind == EVENT_LRU_CRAWLER:
        p = put_text(put_number(p, b"lru_crawler crawler=", run.cls), b" lru=all")
        p = put_number(put_number(p, b" low_mark=", run.low_mark), b" next_reclaims=", run.next_reclaims)
        p = put_number(put_number(p, b" since_run=", run.since_run), b" next_run=", run.next_run)
        p = put_number(put_number(p, b" elapsed=", run.elapsed), b" examined=", run.examined)
        return put_number(p, b" reclaimed=", run.reclaimed)
    p = put_number(put_number(p, b"slab_move src=", event.cls), b" dst=", event.command)
    return put_named(p, b" state=", b"ok" if event.status else b"fail")


cdef size_t format_event(const Event *event, char *out) noexcept nogil:
    """An event's line, with its end; how many bytes. The microseconds have no leading zeros: that is memcached's."""
    cdef char *p = put_number(out, b"ts=", event.time / MICROSECONDS)
    p = put_number(put_number(p, b".", event.time % MICROSECONDS), b" gid=", event.gid)
    p = put_text(p, b" type=")
    if event.kind <= EVENT_DELETED:
        p = put_item(p, event)
    elif event.kind <= EVENT_CONN_CLOSE:
        p = put_connection(p, event)
    else:
        p = put_maintenance(p, event)
    return put_text(p, b"\n") - out


# ---- a watcher

cdef bint send_lines(Watcher *watcher) noexcept nogil:
    """Send what the socket takes now. False when the client is gone."""
    cdef ssize_t n
    if watcher.used == 0:
        return True
    n = send(watcher.ticket.conn.fd, watcher.buffer, watcher.used, MSG_NOSIGNAL | MSG_DONTWAIT)
    if n < 0:
        watcher.full = True
        return error_number() == EAGAIN or error_number() == EINTR
    watcher.used -= n
    watcher.full = watcher.used > 0
    memmove(watcher.buffer, watcher.buffer + n, watcher.used)
    return True


cdef void put_skipped(Watcher *watcher) noexcept nogil:
    """Say what was lost, where that has room."""
    cdef char *p = watcher.buffer + watcher.used
    if watcher.skipped > 0 and watcher.size - watcher.used >= 2 * LINE_ROOM:
        watcher.used = put_text(put_number(p, b"skipped=", watcher.skipped), b"\n") - watcher.buffer
        watcher.skipped = 0


cdef void give_line(Logger *logger, Watcher *watcher, const char *line, size_t n) noexcept nogil:
    """Keep a line for a watcher; without room for it, and none to be had by sending, it is skipped."""
    if watcher.size - watcher.used < n and not watcher.full:
        send_lines(watcher)  # a client that is gone shows again at the next look
    put_skipped(watcher)
    if watcher.skipped > 0 or watcher.size - watcher.used < n:
        watcher.skipped += 1
        count(logger.counters, LOG_WATCHER_SKIPPED)
        return
    memcpy(watcher.buffer + watcher.used, line, n)
    watcher.used += n
    count(logger.counters, LOG_WATCHER_SENT)


cdef bint attend(Watcher *watcher) noexcept nogil:
    """Send, and see whether the client is still there; what it says is not heard. False when it is not."""
    cdef char heard[DISCARD]
    cdef ssize_t n = recv(watcher.ticket.conn.fd, heard, sizeof(heard), MSG_DONTWAIT)
    watcher.ticket.conn.reason = CLOSE_NORMAL if n == 0 else CLOSE_ERROR
    if n == 0 or (n < 0 and error_number() != EAGAIN and error_number() != EINTR):
        return False
    put_skipped(watcher)
    return send_lines(watcher)


# ---- who watches

cdef int logger_init(Logger *logger, EventHub *hub, EventLog *logs, uint32_t nlogs, Worker **workers,
                     CounterSet *counters, size_t buffer_size, const uint32_t *stop) noexcept nogil:
    """0, or -1 without a descriptor; logger_free in either case. ``buffer_size``: at least 4 * LINE_ROOM."""
    logger.hub = hub
    logger.logs = logs
    logger.nlogs = nlogs
    logger.workers = workers
    logger.counters = counters
    logger.buffer_size = buffer_size
    logger.stop = stop
    logger.watchers = NULL
    logger.nwatchers = 0
    if tickets_init(&logger.arrivals, False) != 0:
        return -1
    hub.signal = logger.arrivals.signal
    return 0


cdef void logger_drop(Logger *logger) noexcept nogil:
    """Nobody watches any more. The connections are the caller's."""
    cdef Watcher *watcher
    while logger.watchers != NULL:
        watcher = logger.watchers
        logger.watchers = watcher.next
        ticket_free(watcher.ticket)
        free(watcher)
    tickets_drop(&logger.arrivals)
    if logger.hub != NULL:
        settle_watched(logger)


cdef void logger_free(Logger *logger) noexcept nogil:
    """The connections are the caller's."""
    logger_drop(logger)
    tickets_free(&logger.arrivals)


cdef void settle_watched(Logger *logger) noexcept nogil:
    """Let the threads record what somebody watches, and nothing else."""
    cdef Watcher *watcher = logger.watchers
    cdef uint32_t bits = 0, i, number = 0
    while watcher != NULL:
        bits |= watcher.watched
        number += 1
        watcher = watcher.next
    if bits != 0:
        for i in range(logger.nlogs):
            if not event_log_open(&logger.logs[i]):
                count(logger.counters, MALLOC_FAILS)
    store_u32(&logger.nwatchers, number)
    hub_watch(logger.hub, ~<uint32_t>WATCH_PREFIXES, bits)


cdef const char *admit(Logger *logger, Ticket *ticket) noexcept nogil:
    """Make a watcher of a connection; the reply to it if that cannot be."""
    cdef Watcher *watcher
    if logger.nwatchers >= WATCHERS_MAX:
        return TOO_MANY
    watcher = <Watcher *>malloc(sizeof(Watcher) + logger.buffer_size)
    if watcher == NULL:
        count(logger.counters, MALLOC_FAILS)
        return FAILED
    watcher.ticket = ticket
    watch_words(ticket.line, ticket.nline, &watcher.watched)
    watcher.since = load_u64(&logger.hub.gid)
    watcher.skipped = 0
    watcher.full = False
    watcher.size = logger.buffer_size
    watcher.used = put_text(watcher.buffer, OK) - watcher.buffer
    watcher.next = logger.watchers
    logger.watchers = watcher
    settle_watched(logger)
    return NULL


cdef void give_back(Logger *logger, Ticket *ticket) noexcept nogil:
    """Return a connection to its worker: with a reply in its ticket it goes on there, without one it is closed."""
    tickets_put(&logger.workers[ticket.worker].inbox, ticket)


cdef void take_arrivals(Logger *logger) noexcept nogil:
    cdef const char *refusal
    cdef Ticket *ticket
    tickets_await(&logger.arrivals)
    ticket = tickets_take(&logger.arrivals)
    while ticket != NULL:
        refusal = admit(logger, ticket)
        if refusal != NULL:
            ticket_answer(ticket, refusal, strlen(refusal))
            give_back(logger, ticket)
        ticket = tickets_take(&logger.arrivals)


cdef void attend_all(Logger *logger) noexcept nogil:
    """Send to each watcher; those that are gone cease to be."""
    cdef Watcher **link = &logger.watchers
    cdef Watcher *watcher
    cdef bint changed = False
    while link[0] != NULL:
        watcher = link[0]
        if attend(watcher):
            link = &watcher.next
        else:
            link[0] = watcher.next
            give_back(logger, watcher.ticket)
            free(watcher)
            changed = True
    if changed:
        settle_watched(logger)


# ---- the loop

cdef void tell(Logger *logger, const Event *event) noexcept nogil:
    """Give an event's line to those whom it is for."""
    cdef char line[LINE_ROOM]
    cdef size_t n = 0
    cdef Watcher *watcher = logger.watchers
    while watcher != NULL:
        if watcher.watched & event.watch and event.gid > watcher.since:
            if n == 0:
                n = format_event(event, line)
            give_line(logger, watcher, line, n)
        watcher = watcher.next


cdef EventLog *oldest(Logger *logger) noexcept nogil:
    """The ring with the smallest gid, NULL when all are empty."""
    cdef EventLog *found = NULL
    cdef const Event *event
    cdef uint64_t gid = 0
    cdef uint32_t i
    for i in range(logger.nlogs):
        event = event_next(&logger.logs[i])
        if event != NULL and (found == NULL or event.gid < gid):
            found = &logger.logs[i]
            gid = event.gid
    return found


cdef void drain(Logger *logger) noexcept nogil:
    """Take out what has been recorded up to now, in order; what comes meanwhile waits for the next look."""
    cdef uint32_t i
    cdef EventLog *log
    for i in range(logger.nlogs):
        event_look(&logger.logs[i])
    log = oldest(logger)
    while log != NULL:
        tell(logger, event_next(log))
        event_done(log, event_next(log))
        log = oldest(logger)


cdef void logger_run(Logger *logger) noexcept nogil:
    """Serve the watchers until told to stop; sleep while there are none. Never takes the GIL."""
    cdef pollfd signal
    signal.fd = logger.arrivals.signal
    signal.events = POLLIN
    while load_acquire_u32(logger.stop) == 0:
        poll(&signal, 1, LOOK_MS if logger.nwatchers > 0 else -1)
        take_arrivals(logger)
        drain(logger)
        attend_all(logger)
