"""The load generator: one thread, one epoll, up to 1000 connections with up to 100 requests in flight each.

It must never be the bottleneck. A batch is rendered by copying a template and overwriting key digits, goes out
with one send, and the replies are walked token by token: four bytes of head, the key, the CRLF at the end, and
the length that the head stands for. Everything from ``load_run`` down runs without the GIL and allocates nothing.

A connection's batch is complete when every request of it has been answered; then the next one is sent. Any
reply that is not exactly as expected ends the run: after it the stream cannot be trusted.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memmove, memset

from bench.drawing cimport draw
from bench.histogram cimport histogram_note, histogram_pairs
from bench.sockets cimport (
    EAGAIN, EINTR, EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLLIN, EPOLLOUT, MSG_DONTWAIT, MSG_NOSIGNAL,
    bench_errno, bench_load4, bench_load8, bench_store8, epoll_create1, epoll_event, epoll_wait, iovec, msghdr,
    now_ns, recv, send, sendmsg, watch,
)

import os

from bench import streams

OUTCOMES = {
    RUN_UNKNOWN_HEAD: "wrong reply: unexpected beginning",
    RUN_WRONG_END: "wrong reply: no CRLF where it should end",
    RUN_WRONG_KEY: "wrong reply: it is about another key",
    RUN_WRONG_COUNT: "wrong reply: not one answer for each key",
    RUN_SURPLUS: "wrong reply: bytes after the last expected one",
    RUN_CLOSED: streams.CLOSED,
    RUN_STALLED: "no reply for too long (a reply too short, or a server that hangs)",
    RUN_SYSCALL: streams.SYSTEM_CALL,
}


# ---- drawing keys --------------------------------------------------------------------------------------------

cdef inline uint64_t draw_digits(Load *load, Conn *conn) noexcept nogil:
    """The eight digits of the next key, as bytes."""
    cdef uint64_t key
    if load.sequential:
        key = load.next_key % load.keys
        load.next_key += 1
    elif load.zipf != NULL:
        key = load.zipf[draw(&conn.seed) % ZIPF_SIZE]
    else:
        key = ((draw(&conn.seed) >> 32) * load.keys) >> 32
    return load.ascii[key // DIGITS] | <uint64_t>load.ascii[key % DIGITS] << 32


# ---- sending -------------------------------------------------------------------------------------------------

cdef inline uint32_t render_request(Load *load, Conn *conn, Request *request, uint64_t *digits) noexcept nogil:
    """Append one request to the batch; its keys go to ``digits``. Returns how many those are."""
    cdef uint8_t *text = conn.out + conn.rendered
    cdef uint32_t key, copy, at = 0
    memcpy(text, request.text, request.size)
    for key in range(request.keys):
        digits[key] = draw_digits(load, conn)
        for copy in range(request.copies):
            bench_store8(text + request.digits_at[at], digits[key])
            at += 1
    conn.rendered += request.size
    conn.total += request.size + request.tail_size
    return request.keys


cdef void render_batch(Load *load, Conn *conn) noexcept nogil:
    """Draw the next batch of a connection; the caller has checked that the budget is not empty."""
    cdef uint32_t i, at = 0
    conn.rendered = conn.total = conn.sent = 0
    conn.answered = conn.digits_next = conn.key_next = conn.keys_answered = 0
    conn.opened = False
    conn.requests = load.pipeline
    if conn.requests > load.budget:
        conn.requests = <uint32_t>load.budget
    load.budget -= conn.requests
    for i in range(conn.requests):
        if load.write_below and (draw(&conn.seed) & 0xFFFF) < load.write_below:
            conn.writes[i] = 1
            at += render_request(load, conn, &load.write, conn.digits + at)
        else:
            conn.writes[i] = 0
            at += render_request(load, conn, &load.read, conn.digits + at)


cdef inline size_t add_part(iovec *part, const uint8_t *start, size_t size, size_t *skip) noexcept nogil:
    """Describe what is unsent of ``size`` bytes; 1 when there is anything, else 0."""
    if skip[0] >= size:
        skip[0] -= size
        return 0
    part.iov_base = <void *>(start + skip[0])
    part.iov_len = size - skip[0]
    skip[0] = 0
    return 1


cdef ssize_t send_parts(Load *load, Conn *conn) noexcept nogil:
    """Send the rest of a batch whose large values are shared: one sendmsg over texts and tails."""
    cdef msghdr message
    cdef size_t parts = 0, skip = conn.sent
    cdef const uint8_t *text = conn.out
    cdef Request *request
    cdef uint32_t i
    for i in range(conn.requests):
        request = &load.write if conn.writes[i] else &load.read
        parts += add_part(&load.parts[parts], text, request.size, &skip)
        if request.tail_size:
            parts += add_part(&load.parts[parts], request.tail, request.tail_size, &skip)
        text += request.size
    memset(&message, 0, sizeof(message))
    message.msg_iov = load.parts
    message.msg_iovlen = parts
    return sendmsg(conn.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT)


cdef int conn_send(Load *load, Conn *conn) noexcept nogil:
    """Send what is left of the batch, in one call; wait for room only after a short send. An Outcome."""
    cdef ssize_t size
    cdef bint unsent
    if conn.total == conn.rendered:
        size = send(conn.fd, conn.out + conn.sent, conn.total - conn.sent, MSG_NOSIGNAL | MSG_DONTWAIT)
    else:
        size = send_parts(load, conn)
    if size < 0:
        if bench_errno() != EAGAIN and bench_errno() != EINTR:
            return fail_errno(load)
        size = 0
    conn.sent += <size_t>size
    unsent = conn.sent < conn.total
    if unsent != conn.wants_out:
        conn.wants_out = unsent
        if watch(load.epoll, EPOLL_CTL_MOD, conn.fd, EPOLLIN | (EPOLLOUT if unsent else 0), conn) < 0:
            return fail_errno(load)
    return RUN_OK


# ---- reading -------------------------------------------------------------------------------------------------

cdef int fail_errno(Load *load) noexcept nogil:
    """Keep errno for the message."""
    load.failed_errno = bench_errno()
    return RUN_SYSCALL


cdef int fail_sample(Load *load, int outcome, const uint8_t *start, const uint8_t *end) noexcept nogil:
    """Keep the bytes that were wrong for the message."""
    load.sample_size = <uint32_t>min(<size_t>(end - start), sizeof(load.sample))
    memcpy(load.sample, start, load.sample_size)
    return outcome


cdef inline bint expects_key(Load *load, Conn *conn, Request *request, Token *token,
                             const uint8_t *text) noexcept nogil:
    """Whether the token is about the next key asked for, or one after it (those between were misses)."""
    cdef const uint64_t *digits = conn.digits + conn.digits_next
    cdef uint64_t found = bench_load8(text + token.digits_at[0])
    cdef uint32_t i
    while conn.key_next < request.keys and digits[conn.key_next] != found:
        if not request.has_close:  # such a protocol spells each miss out, nothing may be left out
            return False
        conn.key_next += 1
    if conn.key_next == request.keys:
        return False
    for i in range(1, token.keys):
        if bench_load8(text + token.digits_at[i]) != found:
            return False
    conn.key_next += 1
    return True


cdef inline void finish_request(Load *load, Conn *conn, Request *request) noexcept nogil:
    """Count a request as answered and expect the next."""
    load.done_requests += 1
    load.done_keys += request.keys
    conn.digits_next += request.keys
    conn.answered += 1
    conn.key_next = conn.keys_answered = 0
    conn.opened = False


cdef inline int take_token(Load *load, Conn *conn, Request *request, Token *token,
                           const uint8_t *text) noexcept nogil:
    """Judge one token whose head is at ``text`` and count it. An Outcome."""
    if token.does == DOES_HIT:
        if load.check_keys and not expects_key(load, conn, request, token, text):
            return RUN_WRONG_KEY
        conn.keys_answered += 1
        load.hits += 1
    elif token.does == DOES_MISS:
        conn.key_next += 1
        conn.keys_answered += 1
        load.misses += 1
    elif token.does == DOES_OPEN:
        if conn.opened:
            return RUN_WRONG_COUNT
        conn.opened = True
        return RUN_OK
    elif token.does == DOES_STORED or token.does == DOES_REFUSED:
        load.refused += token.does == DOES_REFUSED
        finish_request(load, conn, request)
        return RUN_OK
    if conn.keys_answered > request.keys or (request.has_open and not conn.opened):
        return RUN_WRONG_COUNT
    if token.does == DOES_CLOSE:
        load.misses += request.keys - conn.keys_answered
        finish_request(load, conn, request)
    elif conn.keys_answered == request.keys and not request.has_close:
        finish_request(load, conn, request)
    return RUN_OK


cdef inline Token *find_token(Request *request, uint32_t head) noexcept nogil:
    """The token that begins with ``head``, or NULL."""
    cdef uint32_t i
    for i in range(request.tokens):
        if request.token[i].head == head:
            return &request.token[i]
    return NULL


cdef inline bint wrong_end(const uint8_t *start, const uint8_t *end) noexcept nogil:
    """Whether the last bytes of a token, of which all since ``start`` are there, are not CRLF."""
    return (end - 1)[0] != 10 or (end - start >= 2 and (end - 2)[0] != 13)


cdef int take_bytes(Load *load, Conn *conn, const uint8_t *text, const uint8_t *end) noexcept nogil:
    """Walk the bytes of one recv, token by token; what cannot be judged yet is carried over. An Outcome."""
    cdef const uint8_t *start = text
    cdef Request *request
    cdef Token *token
    cdef int outcome
    while text < end:
        if conn.skip:
            if <uint64_t>(end - text) < conn.skip:
                conn.skip -= <uint64_t>(end - text)
                return RUN_OK
            text += conn.skip
            conn.skip = 0
            if wrong_end(start, text):
                return fail_sample(load, RUN_WRONG_END, max(start, text - 40), end)
            continue
        if conn.answered == conn.requests:
            return fail_sample(load, RUN_SURPLUS, text, end)
        if end - text < 4:
            break
        request = &load.write if conn.writes[conn.answered] else &load.read
        token = find_token(request, bench_load4(text))
        if token == NULL:
            return fail_sample(load, RUN_UNKNOWN_HEAD, text, end)
        if <uint64_t>(end - text) < token.needed:
            break
        outcome = take_token(load, conn, request, token, text)
        if outcome != RUN_OK:
            return fail_sample(load, outcome, text, end)
        conn.skip = token.length
    conn.carried = <uint32_t>(end - text)
    memmove(conn.carry, text, conn.carried)
    return RUN_OK


cdef int conn_receive(Load *load, Conn *conn) noexcept nogil:
    """One recv and what it holds. An Outcome."""
    cdef uint8_t *text = load.buffer + CARRY_MAX
    cdef ssize_t size = recv(conn.fd, text, RECV_SIZE, MSG_DONTWAIT)
    cdef uint8_t *end = text + size
    if size < 0:
        return RUN_OK if bench_errno() == EAGAIN or bench_errno() == EINTR else fail_errno(load)
    if size == 0:
        return RUN_CLOSED
    if conn.carried:
        text -= conn.carried
        memcpy(text, conn.carry, conn.carried)
        conn.carried = 0
    return take_bytes(load, conn, text, end)


# ---- the run -------------------------------------------------------------------------------------------------

cdef int conn_start(Load *load, Conn *conn, uint64_t now) noexcept nogil:
    """Send the next batch, or let the connection rest when the run is over. An Outcome."""
    if load.budget == 0 or now >= load.deadline:
        load.active -= 1
        return RUN_OK
    render_batch(load, conn)
    conn.started = now
    return conn_send(load, conn)


cdef int conn_ready(Load *load, epoll_event *event) noexcept nogil:
    """Serve one connection that epoll reported. An Outcome."""
    cdef Conn *conn = <Conn *>event.data.ptr
    cdef uint64_t now
    cdef int outcome = RUN_OK
    if conn.wants_out and event.events & EPOLLOUT:
        outcome = conn_send(load, conn)
    if outcome == RUN_OK and event.events & ~EPOLLOUT:
        outcome = conn_receive(load, conn)
    if outcome != RUN_OK or conn.answered < conn.requests or conn.skip or conn.requests == 0:
        return outcome
    if conn.sent < conn.total:  # answered before it was asked
        return RUN_SURPLUS
    now = now_ns()
    histogram_note(&load.histogram, now - conn.started)
    conn.requests = conn.answered = 0
    return conn_start(load, conn, now)


cdef int load_run(Load *load) noexcept nogil:
    """Run until every connection rests. An Outcome."""
    cdef epoll_event events[EVENTS_MAX]
    cdef int count, i, outcome = RUN_OK
    cdef uint32_t c
    load.active = load.connections
    for c in range(load.connections):
        load.conn[c].requests = load.conn[c].answered = 0
        outcome = conn_start(load, &load.conn[c], now_ns())
        if outcome != RUN_OK:
            return outcome
    load.last_progress = now_ns()
    while load.active:
        count = epoll_wait(load.epoll, events, EVENTS_MAX, 0 if load.spin else 200)
        if count < 0 and bench_errno() != EINTR:
            return fail_errno(load)
        if count > 0:
            load.last_progress = now_ns()
        elif now_ns() - load.last_progress > load.stall_ns:
            return RUN_STALLED
        for i in range(count):
            outcome = conn_ready(load, &events[i])
            if outcome != RUN_OK:
                return outcome
    return RUN_OK


# ---- what Python sees ----------------------------------------------------------------------------------------

class LoadError(RuntimeError):
    """A run that failed: a wrong reply, a closed connection, a server that hangs."""


cdef void request_free(Request *request) noexcept:
    free(request.text)
    free(request.digits_at)


cdef int request_init(Request *request, object template, bytes tail) except -1:
    """Copy a bench.wire.Request; ``tail`` is kept alive by the caller."""
    cdef bytes text = template.text
    cdef list key_at = template.key_at
    request.size = len(text)
    request.text = <uint8_t *>malloc(request.size)
    request.digits_at = <uint32_t *>calloc(len(key_at), sizeof(uint32_t))
    if request.text == NULL or request.digits_at == NULL:
        raise MemoryError
    memcpy(request.text, <const uint8_t *>text, request.size)
    for i, at in enumerate(key_at):
        request.digits_at[<size_t>i] = at + PREFIX
    request.tail = <const uint8_t *>tail
    request.tail_size = len(tail)
    request.keys = template.keys
    request.copies = len(key_at) // template.keys
    request.tokens = len(template.tokens)
    for i, token in enumerate(template.tokens):
        token_init(&request.token[<size_t>i], token)
        request.has_open = request.has_open or token.does == DOES_OPEN
        request.has_close = request.has_close or token.does == DOES_CLOSE
    return 0


cdef int token_init(Token *token, object template) except -1:
    """Copy a bench.wire.Token."""
    cdef bytes head = template.head
    token.head = bench_load4(<const uint8_t *>head)
    token.does = int(template.does)
    token.length = template.length
    token.keys = len(template.key_at)
    token.needed = max((at + PREFIX + 8 for at in template.key_at), default=4)
    if token.needed > CARRY_MAX:
        raise ValueError(f"the head of a reply takes {token.needed} bytes, at most {CARRY_MAX} are possible")
    for i, at in enumerate(template.key_at):
        token.digits_at[<size_t>i] = at + PREFIX
    return 0


cdef void fill_zipf(uint32_t *table, uint64_t keys, double skew) noexcept nogil:
    """Fill ``table`` with ZIPF_SIZE keys at even quantiles of a Zipf distribution; ranks are scattered."""
    cdef double total = 0, reached = 0
    cdef uint64_t rank, i = 0
    for rank in range(1, keys + 1):
        total += <double>rank ** -skew
    for rank in range(1, keys + 1):
        reached += <double>rank ** -skew
        while i < ZIPF_SIZE and (<double>i + 0.5) / ZIPF_SIZE * total <= reached:
            table[i] = <uint32_t>(rank * <uint64_t>2654435761 % keys)
            i += 1
    while i < ZIPF_SIZE:
        table[i] = 0
        i += 1


cdef class LoadGenerator:
    """Connections to one server that run one workload (a ``bench.wire.Wire``), again and again.

    ``address`` is what socket.connect takes: (host, port), or the path of a unix socket. ``sequential`` sends
    keys in order (a preload). ``check_keys`` compares the key in each reply; only the null server needs it off.
    ``spin`` polls without sleeping. ``zipf`` is the skew of the key distribution, 0 for uniform. ``stall`` is the
    time in seconds without any reply after which a run fails.
    """

    cdef Load load
    cdef object sockets, tails

    def __cinit__(self, wire, address, *, int64_t keys, int connections=50, int pipeline=1, uint64_t seed=1,
                  bint sequential=False, bint check_keys=True, bint spin=False, double zipf=0.0, double stall=10.0):
        memset(&self.load, 0, sizeof(self.load))
        self.load.epoll = -1
        self.sockets = []
        self.tails = [wire.read.tail, wire.write.tail]
        if not 1 <= connections <= CONNECTIONS_MAX or not 1 <= pipeline <= PIPELINE_MAX:
            raise ValueError(f"connections = {connections} (1 to {CONNECTIONS_MAX}), "
                             f"pipeline = {pipeline} (1 to {PIPELINE_MAX})")
        if not 1 <= keys <= DIGITS * DIGITS:
            raise ValueError(f"keys = {keys}: 1 to {DIGITS * DIGITS}")
        request_init(&self.load.read, wire.read, self.tails[0])
        request_init(&self.load.write, wire.write, self.tails[1])
        self.load.write_below = wire.write_percent * 65536 // 100
        self.load.pipeline = pipeline
        self.load.keys = keys
        self.load.sequential = sequential
        self.load.check_keys = check_keys
        self.load.spin = spin
        self.load.stall_ns = <uint64_t>(stall * 1e9)
        self._allocate(connections)
        if zipf > 0.0:
            self._allocate_zipf(zipf)
        self._connect(address, connections, seed)

    def _allocate(self, int connections):
        """The tables and buffers that all connections share, and the connections."""
        cdef uint32_t i
        self.load.conn = <Conn *>calloc(connections, sizeof(Conn))
        self.load.allocated = connections if self.load.conn != NULL else 0
        self.load.ascii = <uint32_t *>malloc(DIGITS * sizeof(uint32_t))
        self.load.buffer = <uint8_t *>malloc(CARRY_MAX + RECV_SIZE)
        self.load.parts = <iovec *>calloc(2 * PIPELINE_MAX, sizeof(iovec))
        if (self.load.conn == NULL or self.load.ascii == NULL or self.load.buffer == NULL
                or self.load.parts == NULL):
            raise MemoryError
        for i in range(<uint32_t>DIGITS):
            text = b"%04d" % i
            self.load.ascii[i] = bench_load4(<const uint8_t *>text)

    def _allocate_zipf(self, double skew):
        self.load.zipf = <uint32_t *>malloc(ZIPF_SIZE * sizeof(uint32_t))
        if self.load.zipf == NULL:
            raise MemoryError
        with nogil:
            fill_zipf(self.load.zipf, self.load.keys, skew)

    def _connect(self, address, int connections, uint64_t seed):
        """Open the connections, each with its own seed and its own batch buffers."""
        cdef size_t batch = max(self.load.read.size, self.load.write.size) * self.load.pipeline
        cdef size_t keys = max(self.load.read.keys, self.load.write.keys) * self.load.pipeline
        cdef Conn *conn
        self.load.epoll = epoll_create1(0)
        if self.load.epoll < 0:
            raise OSError(bench_errno(), os.strerror(bench_errno()))
        for i in range(connections):
            client = streams.open_stream(address)
            self.sockets.append(client)
            conn = &self.load.conn[<size_t>i]
            self.load.connections += 1
            conn.fd = client.fileno()
            conn.seed = seed + <uint64_t>(i + 1) * <uint64_t>0xD1342543DE82EF95
            conn.seed = draw(&conn.seed)
            conn.out = <uint8_t *>malloc(batch)
            conn.writes = <uint8_t *>calloc(PIPELINE_MAX, 1)
            conn.digits = <uint64_t *>calloc(keys, sizeof(uint64_t))
            if conn.out == NULL or conn.writes == NULL or conn.digits == NULL:
                raise MemoryError
            if watch(self.load.epoll, EPOLL_CTL_ADD, conn.fd, EPOLLIN, conn) < 0:
                raise OSError(bench_errno(), os.strerror(bench_errno()))

    def run(self, *, double seconds=0.0, uint64_t requests=0):
        """Run for ``seconds``, or send ``requests`` requests; LoadError when anything is wrong.

        Returns requests, keys, hits, misses, errors (sets without memory), batches, elapsed (seconds) and the histogram of
        batch latencies as pairs (upper bound in microseconds, count).
        """
        cdef int outcome
        cdef uint64_t started
        if (seconds > 0.0) == (requests > 0):
            raise ValueError("either seconds or requests")
        self._reset()
        started = now_ns()
        self.load.budget = requests or <uint64_t>-1
        self.load.deadline = started + <uint64_t>(seconds * 1e9) if seconds > 0.0 else <uint64_t>-1
        with nogil:
            outcome = load_run(&self.load)
        elapsed = (now_ns() - started) / 1e9
        if outcome != RUN_OK:
            raise LoadError(self._explain(outcome))
        return {
            "requests": self.load.done_requests, "keys": self.load.done_keys, "hits": self.load.hits,
            "misses": self.load.misses, "errors": self.load.refused, "batches": self.load.histogram.total, "elapsed": elapsed,
            "histogram": histogram_pairs(&self.load.histogram),
        }

    def _reset(self):
        """Forget the counts of the run before."""
        self.load.done_requests = self.load.done_keys = self.load.hits = self.load.misses = 0
        self.load.next_key = self.load.refused = 0
        memset(&self.load.histogram, 0, sizeof(self.load.histogram))

    def _explain(self, int outcome):
        """One line for a failed run."""
        cdef bytes sample = <bytes>self.load.sample[:self.load.sample_size]
        return streams.explain(OUTCOMES[outcome], self.load.failed_errno, sample, self.load.done_requests)

    def close(self):
        """Close the connections; again is a no-op."""
        self.load.epoll = streams.close_all(self.sockets, self.load.epoll)
        self.load.connections = 0

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def __dealloc__(self):
        cdef uint32_t i
        if self.load.conn != NULL:
            for i in range(self.load.allocated):
                free(self.load.conn[i].out)
                free(self.load.conn[i].writes)
                free(self.load.conn[i].digits)
        request_free(&self.load.read)
        request_free(&self.load.write)
        free(self.load.conn)
        free(self.load.zipf)
        free(self.load.ascii)
        free(self.load.buffer)
        free(self.load.parts)
