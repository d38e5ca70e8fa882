"""A server that does no work: the limit of one recv, one send and one thread per connection's readiness.

It keeps no data and reads no request. With requests of one size it counts bytes; with two kinds it looks at the
one byte of a request that tells them apart. What it sends are copies of fixed replies of the right length, so
the load generator counts hits; only the keys in them are wrong.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from bench.sockets cimport (
    EAGAIN, EINTR, EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLLIN, EPOLLOUT, MSG_DONTWAIT, MSG_NOSIGNAL, bench_errno,
    epoll_create1, epoll_event, epoll_wait, recv, send, watch,
)

import os

cdef enum:
    EVENTS_MAX = 256
    RECV_SIZE = 262144  # bytes for one recv
    SEND_SIZE = 65536  # bytes of small replies gathered for one send; a larger reply goes alone
    QUEUE = 256  # replies a connection may owe; a power of two, above the load generator's longest pipeline

# What is shared by all workers and never changes.
cdef struct Plan:
    bint mixed
    uint32_t mark_at  # offset of the byte that tells the kinds apart
    uint8_t mark  # its value in a request of kind 1
    size_t request_size[2]
    size_t reply_size[2]
    uint8_t *reply[2]  # one reply; of kind 0 without mixing: as many as fit in replies_size
    size_t replies_size

cdef struct Conn:
    int fd
    bint wants_out
    uint64_t pending  # bytes of an incomplete request that have come
    uint64_t missing  # mixed: bytes of the current request still to come
    uint64_t owed  # one kind: bytes of replies to send
    uint64_t phase  # bytes of the first of them that are already sent
    uint32_t queue_head  # mixed: kinds of the replies to send
    uint32_t queue_tail
    uint8_t queue[QUEUE]

cdef struct Worker:
    int epoll
    Plan *plan
    uint8_t *inbox
    uint8_t *outbox


cdef int send_owed(Plan *plan, Conn *conn) noexcept nogil:
    """One kind: send from the repeated reply until nothing is owed or the socket is full; -1 when broken."""
    cdef size_t size
    cdef ssize_t sent
    while conn.owed:
        size = plan.replies_size - conn.phase
        if size > conn.owed:
            size = conn.owed
        sent = send(conn.fd, plan.reply[0] + conn.phase, size, MSG_NOSIGNAL | MSG_DONTWAIT)
        if sent < 0:
            return 0 if bench_errno() == EAGAIN or bench_errno() == EINTR else -1
        conn.owed -= <size_t>sent
        conn.phase = (conn.phase + <size_t>sent) % plan.reply_size[0]
        if <size_t>sent < size:
            return 0
    return 0


cdef size_t gather(Worker *worker, Conn *conn) noexcept nogil:
    """Mixed: copy the small replies at the head of the queue to the outbox; their size in bytes."""
    cdef Plan *plan = worker.plan
    cdef uint32_t at = conn.queue_head
    cdef size_t size = 0
    cdef uint8_t kind
    while at != conn.queue_tail:
        kind = conn.queue[at % QUEUE]
        if size + plan.reply_size[kind] > SEND_SIZE:
            break
        memcpy(worker.outbox + size, plan.reply[kind], plan.reply_size[kind])
        size += plan.reply_size[kind]
        at += 1
    return size


cdef int send_queue(Worker *worker, Conn *conn) noexcept nogil:
    """Mixed: send the queued replies until none is left or the socket is full; -1 when broken."""
    cdef Plan *plan = worker.plan
    cdef const uint8_t *start
    cdef size_t size, kind
    cdef ssize_t sent
    while conn.queue_head != conn.queue_tail:
        start = worker.outbox
        size = gather(worker, conn)
        if size == 0:
            kind = conn.queue[conn.queue_head % QUEUE]
            start = plan.reply[kind]
            size = plan.reply_size[kind]
        sent = send(conn.fd, start + conn.phase, size - conn.phase, MSG_NOSIGNAL | MSG_DONTWAIT)
        if sent < 0:
            return 0 if bench_errno() == EAGAIN or bench_errno() == EINTR else -1
        size -= conn.phase + <size_t>sent  # what stayed behind
        conn.phase += <size_t>sent
        while conn.queue_head != conn.queue_tail:
            kind = conn.queue[conn.queue_head % QUEUE]
            if conn.phase < plan.reply_size[kind]:
                break
            conn.phase -= plan.reply_size[kind]
            conn.queue_head += 1
        if size:
            return 0
    return 0


cdef int count_mixed(Plan *plan, Conn *conn, const uint8_t *text, uint64_t size) noexcept nogil:
    """Queue a reply for each request that ends in these bytes; -1 when more are in flight than can be queued."""
    cdef uint64_t at = 0
    cdef uint8_t kind
    while at < size:
        if conn.missing == 0:
            # ``pending`` is at most mark_at here: the mark is in these bytes or still to come.
            if size - at <= plan.mark_at - conn.pending:
                conn.pending += size - at
                return 0
            kind = text[at + plan.mark_at - conn.pending] == plan.mark
            conn.missing = plan.request_size[kind] - conn.pending
            conn.pending = 0
            if conn.queue_tail - conn.queue_head == QUEUE:
                return -1
            conn.queue[conn.queue_tail % QUEUE] = kind
        if size - at < conn.missing:
            conn.missing -= size - at
            return 0
        at += conn.missing
        conn.missing = 0
        conn.queue_tail += 1
    return 0


cdef int conn_read(Worker *worker, Conn *conn) noexcept nogil:
    """One recv, the requests that end in it, and the replies they earn; -1 when the connection is over."""
    cdef Plan *plan = worker.plan
    cdef ssize_t size = recv(conn.fd, worker.inbox, RECV_SIZE, MSG_DONTWAIT)
    if size < 0:
        return 0 if bench_errno() == EAGAIN or bench_errno() == EINTR else -1
    if size == 0:
        return -1
    if plan.mixed:
        return count_mixed(plan, conn, worker.inbox, <uint64_t>size)
    conn.pending += <uint64_t>size
    conn.owed += conn.pending // plan.request_size[0] * plan.reply_size[0]
    conn.pending %= plan.request_size[0]
    return 0


cdef int conn_write(Worker *worker, Conn *conn) noexcept nogil:
    """Send what is owed, and wait for room only while something is left; -1 when the connection is over."""
    cdef int status
    cdef bint unsent
    status = send_queue(worker, conn) if worker.plan.mixed else send_owed(worker.plan, conn)
    if status < 0:
        return -1
    unsent = conn.owed > 0 or conn.queue_head != conn.queue_tail
    if unsent == conn.wants_out:
        return 0
    conn.wants_out = unsent
    # A client that does not read its replies is not read from either.
    return watch(worker.epoll, EPOLL_CTL_MOD, conn.fd, EPOLLOUT if unsent else EPOLLIN, conn)


cdef int worker_loop(Worker *worker) noexcept nogil:
    """Serve until epoll itself fails; returns errno."""
    cdef epoll_event events[EVENTS_MAX]
    cdef Conn *conn
    cdef int count, i, status
    while True:
        count = epoll_wait(worker.epoll, events, EVENTS_MAX, -1)
        if count < 0 and bench_errno() != EINTR:
            return bench_errno()
        for i in range(count):
            conn = <Conn *>events[i].data.ptr
            status = 0
            if not conn.wants_out:
                status = conn_read(worker, conn)
            if status == 0:
                status = conn_write(worker, conn)
            if status < 0:
                close(conn.fd)
                free(conn)


cdef extern from "<unistd.h>":
    int close(int fd) noexcept nogil


cdef class NullServer:
    """What its workers answer: the requests and replies of a ``bench.wire.Wire``."""

    cdef Plan plan

    def __cinit__(self, wire):
        kinds = [wire.write] if wire.write_percent == 100 else [wire.read]
        if 0 < wire.write_percent < 100:
            kinds.append(wire.write)
            self.plan.mixed = True
            self.plan.mark_at = wire.mark_at
            self.plan.mark = wire.write.text[wire.mark_at]
        for i, request in enumerate(kinds):
            self._add_kind(i, request.size, request.reply)

    cdef int _add_kind(self, size_t kind, size_t size, bytes reply) except -1:
        """Keep one kind's sizes, and its reply as often as one send can use it."""
        cdef size_t copies = 1 if self.plan.mixed else max(SEND_SIZE // len(reply), 1)
        cdef bytes text = reply * copies
        self.plan.request_size[kind] = size
        self.plan.reply_size[kind] = len(reply)
        self.plan.replies_size = len(text)
        self.plan.reply[kind] = <uint8_t *>malloc(len(text))
        if self.plan.reply[kind] == NULL:
            raise MemoryError
        memcpy(self.plan.reply[kind], <const uint8_t *>text, len(text))
        return 0

    def __dealloc__(self):
        free(self.plan.reply[0])
        free(self.plan.reply[1])


cdef class NullWorker:
    """One thread's epoll; ``run`` never returns, ``add`` may be called from another thread."""

    cdef Worker worker
    cdef NullServer server

    def __cinit__(self, NullServer server):
        self.server = server
        self.worker.plan = &server.plan
        self.worker.epoll = epoll_create1(0)
        self.worker.inbox = <uint8_t *>malloc(RECV_SIZE)
        self.worker.outbox = <uint8_t *>malloc(SEND_SIZE)
        if self.worker.inbox == NULL or self.worker.outbox == NULL:
            raise MemoryError
        if self.worker.epoll < 0:
            raise OSError(bench_errno(), os.strerror(bench_errno()))

    def add(self, int fd):
        """Serve a connected socket; the worker closes it."""
        cdef Conn *conn = <Conn *>calloc(1, sizeof(Conn))
        if conn == NULL:
            raise MemoryError
        conn.fd = fd
        if watch(self.worker.epoll, EPOLL_CTL_ADD, fd, EPOLLIN, conn) < 0:
            free(conn)
            raise OSError(bench_errno(), os.strerror(bench_errno()))

    def run(self):
        """Serve; only an OSError ends it."""
        cdef int number
        with nogil:
            number = worker_loop(&self.worker)
        raise OSError(number, os.strerror(number))

    def __dealloc__(self):
        free(self.worker.inbox)
        free(self.worker.outbox)
