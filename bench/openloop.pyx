"""The open-loop generator: requests have a due time in a fixed schedule, whether the server keeps up or not.

The times between two requests are drawn from an exponential distribution with a seed (a Poisson process): the same for
every server. A latency is counted from the time at which a request was *due* to its last byte, so a server that stands
still is charged with everything that was due meanwhile, sent or not. Requests go to the connections in turn; one that
is due is sent even if others are under way on its connection, up to DEPTH of them, after which the requests wait here
and their clocks run on. Without a rate the loop is closed: a connection asks as soon as it was answered.

One thread that never sleeps: it looks at the clock all the time, and notes when it could not (``still``), which is
the machine's doing. Requests that took longer than SLOW_NS are noted with their times. Speaks the classic protocol.
"""

from libc.math cimport log
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memchr, memcmp, memcpy, memmove, memset

from bench.drawing cimport draw
from bench.histogram cimport Histogram, histogram_note, histogram_pairs
from bench.sockets cimport (
    EAGAIN, EINTR, EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLLIN, EPOLLOUT, MSG_DONTWAIT, MSG_NOSIGNAL, bench_errno,
    bench_load8, bench_store8, epoll_create1, epoll_event, epoll_wait, now_ns, recv, send, watch,
)

import os

from bench import streams
from bench.loadgen import LoadError
from bench.wire import FILLER, KEY, KEYS_MAX

cdef enum:
    CONNECTIONS_MAX = 1000
    DEPTH = 128  # requests under way on a connection; a power of two, and no more than the null server queues
    OUT_SIZE = 262144  # bytes that a connection may have to send
    RECV_SIZE = 262144
    LINE_MAX = 96  # bytes of a reply's line
    SHAPES_MAX = 8
    DIGITS = 10000
    # Between two looks at the clock there are at most so many sends and receives: some 100 us.
    SENDS_MAX = 8
    EVENTS_MAX = 8
    NOTES_MAX = 4096
    SLOW_NS = 1_000_000
    STILL_NS = 300_000  # a longer time between two looks at the clock is not this loop's work

cdef enum Outcome:
    RUN_OK, RUN_REPLY, RUN_SURPLUS, RUN_CLOSED, RUN_STALLED, RUN_SYSCALL

OUTCOMES = {
    RUN_REPLY: "wrong reply",
    RUN_SURPLUS: "a reply that nothing was asked for",
    RUN_CLOSED: streams.CLOSED,
    RUN_STALLED: "no reply for too long",
    RUN_SYSCALL: streams.SYSTEM_CALL,
}

cdef struct Shape:
    # One kind of set: its text with a key to be filled in twice, and its weight among the others as a run goes on.
    uint8_t *text
    size_t size
    size_t again  # where the key stands in the value
    double weight
    double weight_end

cdef struct Asked:
    uint64_t due  # ns
    uint64_t digits  # of the key
    bint write

cdef struct Conn:
    int fd
    bint control  # its replies mean nothing
    bint wants_out
    uint8_t *out
    size_t out_end
    size_t out_sent
    Asked asked[DEPTH]
    uint32_t tail  # the next to be asked
    uint32_t head  # the next to be answered
    bint hit  # a value came for the one being answered
    uint64_t skip  # bytes of that value still to come
    uint32_t carried
    uint8_t carry[LINE_MAX]

# A stretch of time, ns.
cdef struct Note:
    uint64_t first
    uint64_t last
    uint64_t longest  # the slowest request in it
    uint64_t longest_done  # ns: when that was answered
    uint64_t requests

cdef struct Schedule:
    uint64_t seed
    double gap_ns  # mean time between two requests; 0: there is no schedule
    double at_ns  # since the run's beginning

cdef struct Load:
    int epoll
    uint32_t connections
    Conn *conn  # one more than connections: that of the control line
    uint8_t *buffer  # LINE_MAX + RECV_SIZE
    uint32_t *ascii
    uint32_t nshapes
    Shape shape[SHAPES_MAX]
    uint32_t write_below  # a 16-bit draw below this is a set
    uint64_t first_key
    uint64_t keys
    bint fresh  # sets are of new keys in order, gets of those that were set
    uint64_t set_keys  # how many those are
    bint check_keys
    const uint8_t *control
    size_t control_size
    uint64_t control_ns  # between two control lines; 0: none
    uint64_t stall_ns
    uint64_t seed
    # One run.
    Schedule schedule
    uint32_t in_flight  # without a schedule: on a connection
    uint64_t began
    uint64_t ends  # nothing is due after it
    uint64_t budget  # requests that may still be sent
    uint64_t due  # of the next request
    uint32_t turn  # whose it is
    uint64_t next_control
    uint64_t last_progress
    uint64_t under_way
    uint64_t done
    uint64_t hits
    uint64_t misses
    uint64_t refused  # sets for which the server had no memory
    Histogram latency
    Histogram late  # from the due time to the send, when the connection had room
    uint32_t nslow
    uint32_t nstill
    uint64_t unnoted
    Note slow[NOTES_MAX]
    Note still[NOTES_MAX]
    int failed_errno
    uint32_t sample_size
    uint8_t sample[LINE_MAX]


# ---- the schedule --------------------------------------------------------------------------------------------

cdef inline uint64_t schedule_next(Schedule *schedule) noexcept nogil:
    """When the next request is due, in ns since the beginning."""
    cdef double uniform = (<double>(draw(&schedule.seed) >> 11) + 0.5) / 9007199254740992.0  # 2^53
    schedule.at_ns -= log(uniform) * schedule.gap_ns
    return <uint64_t>schedule.at_ns


cdef inline void load_next_due(Load *load) noexcept nogil:
    load.due = load.began + schedule_next(&load.schedule)


# ---- notes ---------------------------------------------------------------------------------------------------

cdef void note(Load *load, Note *notes, uint32_t *count, uint64_t first, uint64_t last) noexcept nogil:
    """Note a stretch of time; one that touches the last noted is put together with it."""
    cdef Note *before = &notes[count[0] - 1] if count[0] > 0 else NULL
    if before != NULL and first <= before.last:
        before.first = min(before.first, first)
        before.last = max(before.last, last)
        before.requests += 1
        if last - first > before.longest:
            before.longest = last - first
            before.longest_done = last
    elif count[0] == <uint32_t>NOTES_MAX:
        load.unnoted += 1
    else:
        notes[count[0]] = Note(first, last, last - first, last, 1)
        count[0] += 1


# ---- asking --------------------------------------------------------------------------------------------------

cdef inline uint64_t digits_of(const Load *load, uint64_t key) noexcept nogil:
    return load.ascii[key // DIGITS % DIGITS] | <uint64_t>load.ascii[key % DIGITS] << 32


cdef uint64_t draw_key(Load *load, bint write) noexcept nogil:
    cdef uint64_t among = load.keys
    if load.fresh and write:
        load.set_keys += 1
        return load.first_key + load.set_keys - 1
    if load.fresh:
        among = max(load.set_keys, <uint64_t>1)
    return load.first_key + ((draw(&load.seed) >> 32) * among >> 32)


cdef Shape *draw_shape(Load *load, uint64_t now) noexcept nogil:
    """The kind of the next set; the weights change evenly from the run's beginning to its end."""
    cdef double way = <double>(now - load.began) / <double>(load.ends - load.began), total = 0.0, left
    cdef uint32_t i
    if load.nshapes == 1:
        return &load.shape[0]
    way = min(way, 1.0)
    for i in range(load.nshapes):
        total += load.shape[i].weight + (load.shape[i].weight_end - load.shape[i].weight) * way
    left = total * <double>(draw(&load.seed) >> 11) / 9007199254740992.0
    for i in range(load.nshapes):
        left -= load.shape[i].weight + (load.shape[i].weight_end - load.shape[i].weight) * way
        if left < 0.0:
            return &load.shape[i]
    return &load.shape[load.nshapes - 1]


cdef bint make_room(Conn *conn, size_t size) noexcept nogil:
    """Whether there is room for ``size`` bytes to send, behind what is still unsent."""
    if conn.out_sent == conn.out_end:
        conn.out_sent = conn.out_end = 0
    elif conn.out_end + size > OUT_SIZE:
        memmove(conn.out, conn.out + conn.out_sent, conn.out_end - conn.out_sent)
        conn.out_end -= conn.out_sent
        conn.out_sent = 0
    return conn.out_end + size <= OUT_SIZE


cdef bint has_room(Load *load, Conn *conn) noexcept nogil:
    """Whether another request can be put on a connection, whatever its shape."""
    return conn.tail - conn.head < DEPTH and make_room(conn, load.shape[load.nshapes - 1].size)


cdef void ask(Load *load, Conn *conn, uint64_t due) noexcept nogil:
    """Put a request, drawn now, on a connection that has room for it."""
    cdef Asked *asked = &conn.asked[conn.tail % DEPTH]
    cdef uint8_t *text = conn.out + conn.out_end
    cdef bint write = (draw(&load.seed) & 0xFFFF) < load.write_below
    cdef Shape *shape
    asked.due = due
    asked.write = write
    asked.digits = digits_of(load, draw_key(load, write))
    if write:
        shape = draw_shape(load, due)
        memcpy(text, shape.text, shape.size)
        bench_store8(text + 8, asked.digits)
        bench_store8(text + shape.again, asked.digits)
        conn.out_end += shape.size
    else:
        memcpy(text, b"get key_00000000\r\n", 18)
        bench_store8(text + 8, asked.digits)
        conn.out_end += 18
    conn.tail += 1
    load.under_way += 1
    load.budget -= 1


cdef int fail_errno(Load *load) noexcept nogil:
    """Keep errno for the message."""
    load.failed_errno = bench_errno()
    return RUN_SYSCALL


cdef int flush(Load *load, Conn *conn) noexcept nogil:
    """Send what there is to send; wait for room only after a short send. An Outcome."""
    cdef ssize_t size
    cdef bint unsent
    size = send(conn.fd, conn.out + conn.out_sent, conn.out_end - conn.out_sent, MSG_NOSIGNAL | MSG_DONTWAIT)
    if size < 0:
        if bench_errno() != EAGAIN and bench_errno() != EINTR:
            return fail_errno(load)
        size = 0
    conn.out_sent += <size_t>size
    unsent = conn.out_sent < conn.out_end
    if unsent != conn.wants_out:
        conn.wants_out = unsent
        if watch(load.epoll, EPOLL_CTL_MOD, conn.fd, EPOLLIN | (EPOLLOUT if unsent else 0), conn) < 0:
            return fail_errno(load)
    return RUN_OK


cdef int ask_due(Load *load, uint64_t now) noexcept nogil:
    """Send what is due, in the order of the schedule, up to SENDS_MAX requests. An Outcome."""
    cdef Conn *conn
    cdef int i, outcome
    for i in range(SENDS_MAX):
        if load.due > now or load.due > load.ends:
            break
        conn = &load.conn[load.turn]
        if not has_room(load, conn):
            break
        histogram_note(&load.late, now - load.due)
        ask(load, conn, load.due)
        outcome = RUN_OK if conn.wants_out else flush(load, conn)
        if outcome != RUN_OK:
            return outcome
        load.turn = (load.turn + 1) % load.connections
        load_next_due(load)
    return RUN_OK


cdef int ask_again(Load *load, Conn *conn, uint64_t now) noexcept nogil:
    """Without a schedule: fill a connection up that has half of its requests answered. An Outcome."""
    if conn.tail - conn.head > load.in_flight // 2 or conn.wants_out:
        return RUN_OK
    while load.budget > 0 and now < load.ends and conn.tail - conn.head < load.in_flight and has_room(load, conn):
        ask(load, conn, now)
    return flush(load, conn) if conn.out_sent < conn.out_end else RUN_OK


cdef int send_control(Load *load, uint64_t now) noexcept nogil:
    """Send the control line, if it is time for one and the last one is away. An Outcome."""
    cdef Conn *conn = &load.conn[load.connections]
    if load.control_ns == 0 or now < load.next_control:
        return RUN_OK
    load.next_control = now + load.control_ns
    if conn.wants_out or not make_room(conn, load.control_size):
        return RUN_OK
    memcpy(conn.out + conn.out_end, load.control, load.control_size)
    conn.out_end += load.control_size
    return flush(load, conn)


# ---- being answered ------------------------------------------------------------------------------------------

cdef void answered(Load *load, Conn *conn, uint64_t now) noexcept nogil:
    """A request's last byte is here."""
    cdef uint64_t due = conn.asked[conn.head % DEPTH].due
    histogram_note(&load.latency, now - due)
    if now - due > SLOW_NS:
        note(load, load.slow, &load.nslow, due, now)
    conn.head += 1
    conn.hit = False
    load.under_way -= 1
    load.done += 1


cdef inline bint starts_with(const uint8_t *text, const uint8_t *end, const char *head, size_t size) noexcept nogil:
    return <size_t>(end - text) >= size and memcmp(text, head, size) == 0


cdef bint take_value(Load *load, Conn *conn, const uint8_t *text, const uint8_t *end) noexcept nogil:
    """The line before a value: "VALUE key_00000000 0 <bytes>\\r\\n". False when it is not the one expected."""
    cdef uint64_t size = 0
    if conn.hit or end - text < 24:
        return False
    if load.check_keys and bench_load8(text + 10) != conn.asked[conn.head % DEPTH].digits:
        return False
    text += 21
    while text < end - 2:
        size = size * 10 + <uint64_t>(text[0] - c"0")
        text += 1
    conn.skip = size + 2
    conn.hit = True
    return True


cdef bint take_line(Load *load, Conn *conn, const uint8_t *text, const uint8_t *end, uint64_t now) noexcept nogil:
    """One line of a reply, its end included. False when it is not one of those expected."""
    if not conn.asked[conn.head % DEPTH].write:
        if starts_with(text, end, b"VALUE ", 6):
            return take_value(load, conn, text, end)
        if not starts_with(text, end, b"END\r\n", 5):
            return False
        load.hits += conn.hit
        load.misses += not conn.hit
    elif starts_with(text, end, b"SERVER_ERROR out of memory", 26):
        load.refused += 1
    elif not starts_with(text, end, b"STORED\r\n", 8):
        return False
    answered(load, conn, now)
    return True


cdef int fail_sample(Load *load, int outcome, const uint8_t *text, const uint8_t *end) noexcept nogil:
    """Keep the bytes that were wrong for the message."""
    load.sample_size = <uint32_t>min(<size_t>(end - text), <size_t>LINE_MAX)
    memcpy(load.sample, text, load.sample_size)
    return outcome


cdef int take_bytes(Load *load, Conn *conn, const uint8_t *text, const uint8_t *end, uint64_t now) noexcept nogil:
    """Walk the bytes of one recv, line by line; the beginning of a line is carried over. An Outcome."""
    cdef const uint8_t *line_end
    cdef size_t step
    while text < end:
        if conn.skip:
            step = min(<size_t>(end - text), conn.skip)
            conn.skip -= step
            text += step
            continue
        if conn.head == conn.tail:
            return fail_sample(load, RUN_SURPLUS, text, end)
        line_end = <const uint8_t *>memchr(text, c"\n", <size_t>(end - text))
        if line_end == NULL:
            break
        if not take_line(load, conn, text, line_end + 1, now):
            return fail_sample(load, RUN_REPLY, text, end)
        text = line_end + 1
    if end - text > LINE_MAX:
        return fail_sample(load, RUN_REPLY, text, end)
    conn.carried = <uint32_t>(end - text)
    memmove(conn.carry, text, conn.carried)
    return RUN_OK


cdef int receive(Load *load, Conn *conn) noexcept nogil:
    """One recv and what it holds. An Outcome."""
    cdef uint8_t *text = load.buffer + LINE_MAX
    cdef ssize_t size = recv(conn.fd, text, RECV_SIZE, MSG_DONTWAIT)
    cdef uint8_t *end = text + size
    cdef uint64_t now = now_ns()
    if size < 0:
        return RUN_OK if bench_errno() == EAGAIN or bench_errno() == EINTR else fail_errno(load)
    if size == 0:
        return RUN_CLOSED
    load.last_progress = now
    if conn.control:
        return RUN_OK
    text -= conn.carried
    memcpy(text, conn.carry, conn.carried)
    conn.carried = 0
    return take_bytes(load, conn, text, end, now)


# ---- the run -------------------------------------------------------------------------------------------------

cdef int serve(Load *load, epoll_event *event) noexcept nogil:
    """One connection that epoll reported. An Outcome."""
    cdef Conn *conn = <Conn *>event.data.ptr
    cdef int outcome = RUN_OK
    if event.events & EPOLLOUT:
        outcome = flush(load, conn)
    if outcome == RUN_OK and event.events & ~EPOLLOUT:
        outcome = receive(load, conn)
    if outcome == RUN_OK and load.schedule.gap_ns == 0.0 and not conn.control:
        outcome = ask_again(load, conn, now_ns())
    return outcome


cdef bint is_over(const Load *load, uint64_t now) noexcept nogil:
    """Whether nothing more is to be asked, and everything was answered."""
    if load.under_way > 0:
        return False
    if load.schedule.gap_ns == 0.0:
        return load.budget == 0 or now >= load.ends
    return load.due > load.ends


cdef int load_run(Load *load) noexcept nogil:
    """Run until everything that was due is answered. An Outcome."""
    cdef epoll_event events[EVENTS_MAX]
    cdef uint64_t now = now_ns(), before = now
    cdef int count, i, outcome = RUN_OK
    cdef uint32_t c
    for c in range(load.connections):
        if load.schedule.gap_ns == 0.0:
            outcome = ask_again(load, &load.conn[c], now)
    while outcome == RUN_OK and not is_over(load, now):
        if load.schedule.gap_ns != 0.0:
            outcome = ask_due(load, now)
        if outcome == RUN_OK:
            outcome = send_control(load, now)
        count = epoll_wait(load.epoll, events, EVENTS_MAX, 0)
        for i in range(count):
            if outcome == RUN_OK:
                outcome = serve(load, &events[i])
        if count == 0 and load.under_way > 0 and now > load.last_progress + load.stall_ns:
            return RUN_STALLED
        now = now_ns()
        if now - before > STILL_NS:
            note(load, load.still, &load.nstill, before, now)
        if load.under_way == 0:
            load.last_progress = now
        before = now
    return outcome


# ---- what Python sees ----------------------------------------------------------------------------------------

def due_times(double rate, uint64_t seed, int count):
    """The first ``count`` due times, in ns, of a schedule of ``rate`` requests a second."""
    cdef Schedule schedule = Schedule(seed, 1e9 / rate, 0.0)
    return [schedule_next(&schedule) for _ in range(count)]


def histogram_of(latencies):
    """Latencies in ns as the pairs (upper bound in us, count) in which a run tells them."""
    cdef Histogram histogram
    memset(&histogram, 0, sizeof(histogram))
    for latency in latencies:
        histogram_note(&histogram, latency)
    return histogram_pairs(&histogram)


cdef class OpenLoop:
    """Connections to one server that ask it again and again, by a schedule or without one.

    ``address`` is what socket.connect takes. ``shapes``: the sets, as (bytes of the value, exptime in seconds, weight
    at a run's beginning, weight at its end), the largest last. ``writes``: the percentage of sets. The keys are
    ``keys`` many from ``first`` on; with ``fresh`` a set takes the next one that was not set yet, of which there are
    ``set_keys`` already, and a get one of those. ``control`` is a line to be sent every ``control_seconds`` on a
    connection of its own, whatever its answer. ``stall``: seconds without a reply after which a run fails.
    """

    cdef Load *load
    cdef object sockets, control

    def __cinit__(self, address, *, list shapes, int writes, uint64_t keys, uint64_t first=0, bint fresh=False,
                  uint64_t set_keys=0, int connections=50, bint check_keys=True, uint64_t seed=1, bytes control=b"",
                  double control_seconds=0.0, double stall=10.0):
        self.sockets = []
        self.control = control
        self.load = <Load *>calloc(1, sizeof(Load))
        if self.load == NULL:
            raise MemoryError
        self.load.epoll = -1
        if not 1 <= connections < CONNECTIONS_MAX or not 1 <= len(shapes) <= SHAPES_MAX:
            raise ValueError(f"connections = {connections} (below {CONNECTIONS_MAX}), {len(shapes)} shapes")
        if not 1 <= keys <= KEYS_MAX - first:
            raise ValueError(f"keys = {keys} from {first} on: there are {KEYS_MAX}")
        self.load.write_below = writes * 65536 // 100
        self.load.keys = keys
        self.load.first_key = first
        self.load.fresh = fresh
        self.load.set_keys = set_keys
        self.load.check_keys = check_keys
        self.load.seed = seed
        self.load.stall_ns = <uint64_t>(stall * 1e9)
        self.load.control = <const uint8_t *>control
        self.load.control_size = len(control)
        self.load.control_ns = <uint64_t>(control_seconds * 1e9) if control else 0
        for shape in shapes:
            self._add_shape(*shape)
        self._allocate(connections)
        self._connect(address)

    def _add_shape(self, int value, int exptime, double weight, double weight_end):
        """A kind of set with ``value`` bytes, its key at their beginning."""
        cdef Shape *shape = &self.load.shape[self.load.nshapes]
        cdef bytes head = b"set %s 0 %d %d\r\n" % (KEY, exptime, value)
        cdef bytes text = head + KEY + FILLER * (value - len(KEY)) + b"\r\n"
        if len(text) > OUT_SIZE or (self.load.nshapes > 0 and len(text) < <long>(shape - 1).size):
            raise ValueError(f"a value of {value} bytes: rising sizes up to {OUT_SIZE} bytes of request")
        shape.text = <uint8_t *>malloc(len(text))
        if shape.text == NULL:
            raise MemoryError
        self.load.nshapes += 1
        memcpy(shape.text, <const uint8_t *>text, len(text))
        shape.size = len(text)
        shape.again = len(head) + 4
        shape.weight = weight
        shape.weight_end = weight_end

    def _allocate(self, int connections):
        """The connections and what they share."""
        cdef uint32_t i
        self.load.conn = <Conn *>calloc(connections + 1, sizeof(Conn))
        self.load.connections = connections
        self.load.ascii = <uint32_t *>malloc(DIGITS * sizeof(uint32_t))
        self.load.buffer = <uint8_t *>malloc(LINE_MAX + RECV_SIZE)
        if self.load.conn == NULL or self.load.ascii == NULL or self.load.buffer == NULL:
            raise MemoryError
        for i in range(<uint32_t>DIGITS):
            text = b"%04d" % i
            memcpy(&self.load.ascii[i], <const uint8_t *>text, 4)
        for i in range(<uint32_t>connections + 1):
            self.load.conn[i].control = i == <uint32_t>connections
            self.load.conn[i].out = <uint8_t *>malloc(OUT_SIZE)
            if self.load.conn[i].out == NULL:
                raise MemoryError

    def _connect(self, address):
        """Open the connections, and that of the control line."""
        cdef uint32_t i
        self.load.epoll = epoll_create1(0)
        if self.load.epoll < 0:
            raise OSError(bench_errno(), os.strerror(bench_errno()))
        for i in range(self.load.connections + 1):
            client = streams.open_stream(address)
            self.sockets.append(client)
            self.load.conn[i].fd = client.fileno()
            if watch(self.load.epoll, EPOLL_CTL_ADD, client.fileno(), EPOLLIN, &self.load.conn[i]) < 0:
                raise OSError(bench_errno(), os.strerror(bench_errno()))

    def run(self, *, double seconds=0.0, uint64_t requests=0, double rate=0.0, int in_flight=1, uint64_t seed=1):
        """Run for ``seconds`` at ``rate`` requests a second, in a schedule made from ``seed``; or, without a rate,
        with ``in_flight`` requests on every connection until the time is over or ``requests`` are sent.

        LoadError when anything is wrong. Returns requests, hits, misses, refused, elapsed (seconds); the histograms
        ``latency`` and ``late`` as pairs (upper bound in us, count), their largest exactly (``most_us``,
        ``late_us``); and as stretches of time on the monotonic clock, in ns, ``slow``: (first, last, longest latency,
        when that ended, requests), and ``still``: (first, last). ``unnoted``: stretches for which there was no room.
        """
        cdef int outcome
        if rate > 0.0 and not seconds > 0.0 or not 1 <= in_flight <= DEPTH:
            raise ValueError(f"rate = {rate} needs seconds; in_flight = {in_flight}: 1 to {DEPTH}")
        self._reset(rate, seed)
        self.load.in_flight = in_flight
        self.load.budget = requests or <uint64_t>-1
        self.load.ends = self.load.began + <uint64_t>((seconds or 1e9) * 1e9)
        with nogil:
            outcome = load_run(self.load)
        elapsed = (now_ns() - self.load.began) / 1e9
        if outcome != RUN_OK:
            raise LoadError(self._explain(outcome))
        return self._result(elapsed)

    def _reset(self, double rate, uint64_t seed):
        """Forget the run before, and begin."""
        cdef Load *load = self.load
        load.done = load.hits = load.misses = load.refused = load.unnoted = 0
        load.nslow = load.nstill = 0
        memset(&load.latency, 0, sizeof(Histogram))
        memset(&load.late, 0, sizeof(Histogram))
        load.schedule = Schedule(seed, 1e9 / rate if rate > 0.0 else 0.0, 0.0)
        load.began = load.last_progress = now_ns()
        load.next_control = load.began + load.control_ns
        load_next_due(load)

    def _result(self, elapsed):
        cdef Load *load = self.load
        cdef uint32_t i
        slow = [
            (load.slow[i].first, load.slow[i].last, load.slow[i].longest, load.slow[i].longest_done,
             load.slow[i].requests)
            for i in range(load.nslow)
        ]
        still = [(load.still[i].first, load.still[i].last) for i in range(load.nstill)]
        return {
            "requests": load.done, "hits": load.hits, "misses": load.misses, "refused": load.refused,
            "elapsed": elapsed, "latency": histogram_pairs(&load.latency), "most_us": load.latency.most / 1000,
            "late": histogram_pairs(&load.late), "late_us": load.late.most / 1000,
            "slow": slow, "still": still, "unnoted": load.unnoted,
        }

    @property
    def set_keys(self):
        """With ``fresh``: how many keys were set."""
        return self.load.set_keys

    def _explain(self, int outcome):
        """One line for a failed run."""
        cdef bytes sample = <bytes>self.load.sample[:self.load.sample_size]
        return streams.explain(OUTCOMES[outcome], self.load.failed_errno, sample, self.load.done)

    def close(self):
        """Close the connections; again is a no-op."""
        self.load.epoll = streams.close_all(self.sockets, self.load.epoll)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def __dealloc__(self):
        cdef uint32_t i
        if self.load == NULL:
            return
        for i in range(self.load.nshapes):
            free(self.load.shape[i].text)
        if self.load.conn != NULL:
            for i in range(self.load.connections + 1):
                free(self.load.conn[i].out)
        free(self.load.conn)
        free(self.load.ascii)
        free(self.load.buffer)
        free(self.load)
