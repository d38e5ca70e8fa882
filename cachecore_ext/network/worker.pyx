"""The worker's loop."""
from libc.stdint cimport uint16_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from cachecore_ext.base.atomics cimport add_u32, load_acquire_u16, load_acquire_u32, load_u32, store_release_u16
from cachecore_ext.base.clock cimport clock_now
from cachecore_ext.base.counters cimport IDLE_KICKS, MALLOC_FAILS, count
from cachecore_ext.base.eventlog cimport (
    CLOSE_IDLE_TIMEOUT, LOOKUP_NOT_FOUND, WATCH_CONNEVENTS, CloseReason, event_conn_close, hub_watched,
)
from cachecore_ext.base.linux cimport (
    EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLLIN, close, epoll_create1, epoll_ctl, epoll_event, epoll_wait,
    eventfd_write,
)
from cachecore_ext.network.admin cimport (
    Ticket, ticket_free, ticket_new, tickets_await, tickets_free, tickets_init, tickets_put, tickets_take,
)
from cachecore_ext.network.connection cimport (
    ASKED, CARRY_MAX, CLOSE, VALUE_READ_SIZE, Descriptor, Verdict, conn_answer, conn_close, conn_free, conn_idle,
    conn_turn,
)
from cachecore_ext.network.transmit cimport output_drop
from cachecore_ext.protocol.reply cimport OUTPUT_SIZE, reply_clear
from cachecore_ext.storage.store cimport Context

cdef enum:
    EVENTS = 128    # of one epoll_wait
    LOOK_MS = 1000  # between two looks for idle connections


cdef int worker_init(Worker *worker, uint32_t number, Store *store, CounterSet *counters, Service *service,
                     EventLog *log, Shared *shared, TicketList *questions, TicketList *watchers,
                     const uint32_t *stop) noexcept nogil:
    """0, or -1 without memory or descriptors; worker_free in either case."""
    cdef epoll_event event
    memset(worker, 0, sizeof(Worker))
    worker.owner = <uint16_t>(number + 1)
    worker.stop = stop
    worker.questions = questions
    worker.watchers = watchers
    worker.scratch.shared = shared
    worker.scratch.session.context.store = store
    worker.scratch.session.context.counters = counters
    worker.scratch.session.context.log = log
    worker.scratch.session.service = service
    worker.inbox.signal = -1
    worker.scratch.epoll = epoll_create1(EPOLL_CLOEXEC)
    worker.scratch.buffer = <char *>malloc(CARRY_MAX + VALUE_READ_SIZE)
    worker.scratch.session.output.data = <char *>malloc(OUTPUT_SIZE)
    reply_clear(&worker.scratch.session.output)
    if (
        worker.scratch.epoll < 0
        or worker.scratch.buffer == NULL
        or worker.scratch.session.output.data == NULL
        or tickets_init(&worker.inbox, False) != 0
    ):
        return -1
    event.events = EPOLLIN
    event.data.ptr = NULL  # no connection: the inbox
    return epoll_ctl(worker.scratch.epoll, EPOLL_CTL_ADD, worker.inbox.signal, &event)


cdef void worker_free(Worker *worker) noexcept nogil:
    if worker.scratch.epoll >= 0:
        close(worker.scratch.epoll)
    tickets_free(&worker.inbox)
    free(worker.scratch.buffer)
    free(worker.scratch.session.output.data)


cdef bint worker_deal(Worker *worker, Connection *conn) noexcept nogil:
    """Give a connection to the worker, whose it is from here on. For any thread."""
    cdef epoll_event event
    event.events = conn.events
    event.data.ptr = conn
    return epoll_ctl(worker.scratch.epoll, EPOLL_CTL_ADD, conn.fd, &event) == 0


cdef void hang_up(Worker *worker, Connection *conn) noexcept nogil:
    cdef Shared *shared = worker.scratch.shared
    cdef Context *context = &worker.scratch.session.context
    cdef int fd = conn.fd
    cdef uint32_t left
    if context.watched & WATCH_CONNEVENTS:
        event_conn_close(context.log, &shared.peers[fd], fd, <CloseReason>conn.reason)
    output_drop(context.store, &worker.scratch.session.output)
    conn_free(conn, shared, &worker.scratch.session)
    store_release_u16(&shared.by_fd[fd].owner, 0)
    # Before the client can see the end, and come again.
    left = add_u32(&shared.connections, <uint32_t>-1)
    # A child process may still have the socket, between its fork and its exec: closing it would not end the events.
    epoll_ctl(worker.scratch.epoll, EPOLL_CTL_DEL, fd, NULL)
    conn_close(fd)
    if not shared.maxconns_fast and left + 1 == shared.max_connections:
        eventfd_write(shared.vacancy, 1)


cdef void put_question(Worker *worker, Connection *conn) noexcept nogil:
    """Hand the connection's command to Python, or to the logger; until the answer no worker looks at it."""
    cdef Ticket *ticket = ticket_new(conn, worker.scratch.question, worker.scratch.nquestion)
    if ticket == NULL:
        count(worker.scratch.session.context.counters, MALLOC_FAILS)
        hang_up(worker, conn)
        return
    epoll_ctl(worker.scratch.epoll, EPOLL_CTL_DEL, conn.fd, NULL)
    tickets_put(worker.watchers if worker.scratch.to_logger else worker.questions, ticket)


cdef void settle(Worker *worker, Connection *conn, Verdict verdict) noexcept nogil:
    if verdict == CLOSE:
        hang_up(worker, conn)
    elif verdict == ASKED:
        put_question(worker, conn)


cdef void look(Context *context) noexcept nogil:
    """See what time it is, and what is watched."""
    context.now = clock_now(&context.store.clock)
    context.watched = hub_watched(context.log.hub)


cdef void take_answers(Worker *worker) noexcept nogil:
    cdef Ticket *ticket
    tickets_await(&worker.inbox)
    ticket = tickets_take(&worker.inbox)
    while ticket != NULL:
        look(&worker.scratch.session.context)  # what was asked for may be that more is watched
        if ticket.reply == NULL or not worker_deal(worker, ticket.conn):
            hang_up(worker, ticket.conn)
        else:
            settle(
                worker, ticket.conn, conn_answer(ticket.conn, &worker.scratch, ticket.reply, ticket.nreply)
            )
        ticket_free(ticket)
        ticket = tickets_take(&worker.inbox)


cdef void close_idle(Worker *worker) noexcept nogil:
    """Once a tick: close those of the worker's connections that have been idle for too long."""
    cdef Shared *shared = worker.scratch.shared
    cdef uint32_t now = worker.scratch.session.context.now
    cdef Descriptor *entry
    cdef uint32_t fd
    if now == worker.looked:
        return
    worker.looked = now
    for fd in range(load_u32(&shared.top_fd) + 1):
        entry = &shared.by_fd[fd]
        if load_acquire_u16(&entry.owner) == worker.owner and conn_idle(entry, now, shared.idle_timeout):
            count(worker.scratch.session.context.counters, IDLE_KICKS)
            shared.conns[fd].reason = CLOSE_IDLE_TIMEOUT
            hang_up(worker, &shared.conns[fd])


cdef void worker_run(Worker *worker) noexcept nogil:
    """Serve until told to stop. Never takes the GIL."""
    cdef epoll_event events[EVENTS]
    cdef Context *context = &worker.scratch.session.context
    cdef Connection *conn
    cdef int i, n
    cdef uint32_t idle_timeout = worker.scratch.shared.idle_timeout
    while load_acquire_u32(worker.stop) == 0:
        n = epoll_wait(worker.scratch.epoll, events, EVENTS, LOOK_MS if idle_timeout > 0 else -1)
        look(context)
        context.lost = LOOKUP_NOT_FOUND
        for i in range(n):
            conn = <Connection *>events[i].data.ptr
            if conn == NULL:
                take_answers(worker)
            else:
                settle(worker, conn, conn_turn(conn, &worker.scratch, events[i].events))
        if idle_timeout > 0:
            close_idle(worker)
