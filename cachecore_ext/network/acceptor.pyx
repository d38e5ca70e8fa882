"""Accepting, and what to do when there is no room for one more."""
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset, strlen

from cachecore_ext.base.atomics cimport (
    add_u32, load_acquire_u16, load_acquire_u32, load_u32, replace_u8, store_release_u16, store_u8, store_u32,
)
from cachecore_ext.base.clock cimport clock_now, monotonic_us
from cachecore_ext.base.counters cimport (
    LISTEN_DISABLED_NUM, REJECTED_CONNECTIONS, TIME_IN_LISTEN_DISABLED_US, TOTAL_CONNECTIONS, count, count_many,
)
from cachecore_ext.base.eventlog cimport WATCH_CONNEVENTS, PeerAddress, event_conn_new, hub_watched
from cachecore_ext.base.linux cimport (
    AF_INET, AF_INET6, AF_UNIX, ECONNABORTED, EFD_CLOEXEC, EFD_NONBLOCK, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM,
    EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLLIN, MSG_NOSIGNAL, SO_DOMAIN, SOCK_CLOEXEC, SOCK_NONBLOCK,
    SOL_SOCKET, accept4, close, epoll_create1, epoll_ctl, epoll_event, epoll_wait, error_number, eventfd, eventfd_read,
    eventfd_write, getsockopt, ntohs, send, sockaddr_in, sockaddr_in6, sockaddr_storage,
)
from cachecore_ext.network.connection cimport ARRIVING, NEW, Connection, Descriptor, conn_close, conn_free, conn_new
from cachecore_ext.network.worker cimport worker_deal

cdef enum:
    EVENTS = 16
    ACCEPTS = 64      # clients of one listener in a row, before the others have their turn
    PAUSE_MS = 10     # between tries while descriptors are lacking
    FULL_MS = 1000    # while there are as many clients as may be; whoever leaves wakes it earlier
    WAKE = -1         # in place of a listener's number

cdef const char *FULL = b"ERROR Too many open connections\r\n"


cdef int acceptor_init(Acceptor *acceptor, Shared *shared, CounterSet *counters, EventLog *log, Worker **workers,
                       uint32_t nworkers, const uint32_t *stop) noexcept nogil:
    """0, or -1 without descriptors; acceptor_free in either case."""
    cdef epoll_event event
    memset(acceptor, 0, sizeof(Acceptor))
    acceptor.shared = shared
    acceptor.counters = counters
    acceptor.log = log
    acceptor.workers = workers
    acceptor.nworkers = nworkers
    acceptor.stop = stop
    acceptor.listening = True
    acceptor.accepting = 1
    acceptor.epoll = epoll_create1(EPOLL_CLOEXEC)
    acceptor.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
    shared.vacancy = acceptor.wake
    if acceptor.epoll < 0 or acceptor.wake < 0:
        return -1
    event.events = EPOLLIN
    event.data.ptr = <void *>WAKE
    return epoll_ctl(acceptor.epoll, EPOLL_CTL_ADD, acceptor.wake, &event)


cdef void acceptor_free(Acceptor *acceptor) noexcept nogil:
    if acceptor.epoll >= 0:
        close(acceptor.epoll)
    if acceptor.wake >= 0:
        close(acceptor.wake)
    free(acceptor.listeners)


cdef int acceptor_add(Acceptor *acceptor, int fd) noexcept nogil:
    """Accept on this socket, too; before acceptor_run. 0, or -1 and errno."""
    cdef epoll_event event
    cdef int domain = 0
    cdef unsigned int length = sizeof(domain)
    cdef Listener *grown = <Listener *>realloc(acceptor.listeners, (acceptor.nlisteners + 1) * sizeof(Listener))
    if grown == NULL:
        return -1
    acceptor.listeners = grown
    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length)
    grown[acceptor.nlisteners].fd = fd
    grown[acceptor.nlisteners].local = domain == AF_UNIX
    event.events = EPOLLIN
    event.data.ptr = <void *><int64_t>acceptor.nlisteners
    acceptor.nlisteners += 1
    return epoll_ctl(acceptor.epoll, EPOLL_CTL_ADD, fd, &event)


cdef void acceptor_wake(Acceptor *acceptor) noexcept nogil:
    """Let the loop look at ``stop``. For any thread."""
    eventfd_write(acceptor.wake, 1)


cdef void take_wake(Acceptor *acceptor) noexcept nogil:
    cdef uint64_t wakes = 0
    eventfd_read(acceptor.wake, &wakes)


cdef void watch_listeners(Acceptor *acceptor, bint listening) noexcept nogil:
    cdef epoll_event event
    cdef uint32_t i
    acceptor.listening = listening
    store_u32(&acceptor.accepting, listening)
    event.events = EPOLLIN if listening else 0
    for i in range(acceptor.nlisteners):
        event.data.ptr = <void *><int64_t>i
        epoll_ctl(acceptor.epoll, EPOLL_CTL_MOD, acceptor.listeners[i].fd, &event)


cdef bint is_full(const Shared *shared) noexcept nogil:
    """Whether there are as many clients as may be."""
    return load_u32(&shared.connections) >= shared.max_connections


cdef void rest(Acceptor *acceptor, bint starved) noexcept nogil:
    """Accept nobody for a while: the kernel keeps the clients waiting."""
    if not starved or not acceptor.starved:
        count(acceptor.counters, LISTEN_DISABLED_NUM)
    acceptor.starved = starved
    watch_listeners(acceptor, False)


cdef void reject(Acceptor *acceptor, int fd) noexcept nogil:
    """As many clients as there may be: say so. It is the first thing on this socket, so it cannot block."""
    count(acceptor.counters, REJECTED_CONNECTIONS)
    send(fd, FULL, strlen(FULL), MSG_NOSIGNAL)
    conn_close(fd)


cdef void take_address(PeerAddress *peer, const sockaddr_storage *address) noexcept nogil:
    """What is kept of a client's address; nothing of one that came over a UNIX socket."""
    cdef const sockaddr_in *v4 = <const sockaddr_in *>address
    cdef const sockaddr_in6 *v6 = <const sockaddr_in6 *>address
    peer.family = 0
    if address.ss_family == AF_INET:
        peer.family = AF_INET
        peer.port = ntohs(v4.sin_port)
        memcpy(peer.ip, &v4.sin_addr, 4)
    elif address.ss_family == AF_INET6:
        peer.family = AF_INET6
        peer.port = ntohs(v6.sin6_port)
        memcpy(peer.ip, &v6.sin6_addr, 16)


cdef bint hand_over(Acceptor *acceptor, Connection *conn, bint local) noexcept nogil:
    """Enter the connection under its descriptor, and give it to its worker. False when that was not possible."""
    cdef Shared *shared = acceptor.shared
    cdef Descriptor *entry = &shared.by_fd[conn.fd]
    cdef Worker *worker = acceptor.workers[conn.worker]
    store_u32(&entry.active, clock_now(&worker.scratch.session.context.store.clock))
    store_u8(&entry.local, local)
    store_u8(&entry.doing, ARRIVING)
    store_release_u16(&entry.owner, <uint16_t>(conn.worker + 1))
    if <uint32_t>conn.fd > load_u32(&shared.top_fd):
        store_u32(&shared.top_fd, conn.fd)
    if not worker_deal(worker, conn):
        store_release_u16(&entry.owner, 0)
        return False
    # It may have had its first turn by now, or all of them: then this changes nothing that counts.
    replace_u8(&entry.doing, ARRIVING, NEW)
    return True


cdef void welcome(Acceptor *acceptor, int fd, const sockaddr_storage *address, bint local) noexcept nogil:
    """A new client: to the next worker."""
    cdef Shared *shared = acceptor.shared
    cdef uint32_t worker = acceptor.turn
    cdef Connection *conn
    if is_full(shared) or <uint32_t>fd >= shared.nfds:
        reject(acceptor, fd)
        return
    # Whoever had this descriptor before has left its entries: the worker's release.
    load_acquire_u16(&shared.by_fd[fd].owner)
    conn = conn_new(shared, fd, worker)
    take_address(&shared.peers[fd], address)
    if hub_watched(acceptor.log.hub) & WATCH_CONNEVENTS:
        event_conn_new(acceptor.log, &shared.peers[fd], fd)
    acceptor.turn = (worker + 1) % acceptor.nworkers
    add_u32(&shared.connections, 1)
    count(acceptor.counters, TOTAL_CONNECTIONS)
    if not hand_over(acceptor, conn, local):
        add_u32(&shared.connections, <uint32_t>-1)
        conn_free(conn, shared, &acceptor.workers[worker].scratch.session)
        conn_close(fd)


cdef void accept_all(Acceptor *acceptor, const Listener *listener) noexcept nogil:
    """Accept what waits on a listener, as far as there are descriptors and, unless those who are too many are turned
    away, room."""
    cdef sockaddr_storage address
    cdef uint32_t length
    cdef int i, fd
    for i in range(ACCEPTS):
        if not acceptor.shared.maxconns_fast and is_full(acceptor.shared):
            rest(acceptor, False)
            return
        length = sizeof(sockaddr_storage)
        fd = accept4(listener.fd, <void *>&address, &length, SOCK_NONBLOCK | SOCK_CLOEXEC)
        if fd >= 0:
            acceptor.starved = False
            welcome(acceptor, fd, &address, listener.local)
        elif error_number() in (EMFILE, ENFILE, ENOBUFS, ENOMEM):
            rest(acceptor, True)
            return
        elif error_number() != EINTR and error_number() != ECONNABORTED:
            return


cdef void sit_out(Acceptor *acceptor) noexcept nogil:
    """Rest, until there may be room again."""
    cdef epoll_event event
    cdef int64_t began = monotonic_us()
    # The listeners are not watched: an event is a wake.
    if epoll_wait(acceptor.epoll, &event, 1, PAUSE_MS if acceptor.starved else FULL_MS) > 0:
        take_wake(acceptor)
    count_many(acceptor.counters, TIME_IN_LISTEN_DISABLED_US, monotonic_us() - began)
    if acceptor.starved or not is_full(acceptor.shared):
        watch_listeners(acceptor, True)


cdef void acceptor_run(Acceptor *acceptor) noexcept nogil:
    """Accept until told to stop. Never takes the GIL."""
    cdef epoll_event events[EVENTS]
    cdef int64_t listener
    cdef int i, n
    while load_acquire_u32(acceptor.stop) == 0:
        if not acceptor.listening:
            sit_out(acceptor)
            continue
        n = epoll_wait(acceptor.epoll, events, EVENTS, -1)
        for i in range(n):
            listener = <int64_t>events[i].data.ptr
            if listener == WAKE:
                take_wake(acceptor)
            elif acceptor.listening:
                accept_all(acceptor, &acceptor.listeners[listener])
