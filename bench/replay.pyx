"""A trace over the wire: look-ups in batches, and a set for each that missed, on one connection.

A batch is so many ``mg KEY``, answered by four bytes each (HD or EN), and goes out behind the sets (``set ... noreply``)
of the keys that the batch before it missed: one round trip a batch, and the server executes all in the order of the
trace, but that a key which misses twice within a batch is set twice.
"""

from cpython cimport array
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from bench.sockets cimport (
    EINTR, MSG_NOSIGNAL, bench_errno, bench_load4, nanosleep, now_ns, recv, send, strerror, timespec,
)
from bench.traces cimport Trace

import array
import socket

cdef enum:
    BATCH_MAX = 256
    LOOK_UP = 17          # bytes of "mg key_........\r\n"
    SET_HEAD = 64         # bytes, at most, of a set before its value
    REPLY = 4
    ROOM = 1 << 16        # bytes collected before a send; and the largest value that is copied into it

cdef enum Outcome:
    DONE
    CLOSED
    WRONG_REPLY
    FAILED

cdef struct Replay:
    int fd
    uint32_t batch
    const uint32_t *keys
    const uint32_t *sizes
    const uint32_t *ttls
    uint64_t requests
    uint64_t rate            # requests a second; 0: as fast as may be
    uint64_t parts
    uint64_t *missed         # [parts]
    const char *filler       # of values
    char *out
    size_t collected         # bytes in out
    uint64_t due[BATCH_MAX]  # requests whose keys are to be set
    uint32_t dues
    uint64_t late_ns         # the most that a batch was late
    char reply[BATCH_MAX * REPLY]


cdef int send_all(Replay *replay, const char *data, size_t size) noexcept nogil:
    cdef ssize_t sent
    while size > 0:
        sent = send(replay.fd, data, size, MSG_NOSIGNAL)
        if sent < 0 and bench_errno() != EINTR:
            return FAILED
        if sent > 0:
            data += sent
            size -= <size_t>sent
    return DONE


cdef int flush(Replay *replay) noexcept nogil:
    cdef int outcome = send_all(replay, replay.out, replay.collected)
    replay.collected = 0
    return outcome


cdef inline char *append_number(char *at, uint32_t number) noexcept nogil:
    cdef char digits[10]
    cdef int n = 0
    while True:
        digits[n] = 48 + <char>(number % 10)
        number /= 10
        n += 1
        if number == 0:
            break
    while n > 0:
        n -= 1
        at[0] = digits[n]
        at += 1
    return at


cdef inline char *append_key(char *at, uint32_t key) noexcept nogil:
    """``key_`` and eight digits."""
    cdef int i
    memcpy(at, b"key_", 4)
    for i in range(8):
        at[11 - i] = 48 + <char>(key % 10)
        key /= 10
    return at + 12


cdef int append_set(Replay *replay, uint64_t request) noexcept nogil:
    """Ask for a set of the request's key."""
    cdef uint32_t size = replay.sizes[request]
    cdef char *at
    if replay.collected + SET_HEAD + size + 2 > <size_t>ROOM and flush(replay) != DONE:
        return FAILED
    at = replay.out + replay.collected
    memcpy(at, b"set ", 4)
    at = append_key(at + 4, replay.keys[request])
    memcpy(at, b" 0 ", 3)
    at = append_number(at + 3, replay.ttls[request])
    at[0] = 32
    at = append_number(at + 1, size)
    memcpy(at, b" noreply\r\n", 10)
    replay.collected = <size_t>(at + 10 - replay.out)
    if SET_HEAD + size + 2 > <uint32_t>ROOM:
        if flush(replay) != DONE or send_all(replay, replay.filler, size) != DONE:
            return FAILED
    else:
        memcpy(replay.out + replay.collected, replay.filler, size)
        replay.collected += size
    memcpy(replay.out + replay.collected, b"\r\n", 2)
    replay.collected += 2
    return DONE


cdef int ask(Replay *replay, uint64_t first, uint32_t n) noexcept nogil:
    """Send the sets that are due, and look-ups of ``n`` requests."""
    cdef uint32_t i
    cdef char *at
    for i in range(replay.dues):
        if append_set(replay, replay.due[i]) != DONE:
            return FAILED
    replay.dues = 0
    if replay.collected + n * <size_t>LOOK_UP > <size_t>ROOM and flush(replay) != DONE:
        return FAILED
    for i in range(n):
        at = replay.out + replay.collected
        memcpy(at, b"mg ", 3)
        memcpy(append_key(at + 3, replay.keys[first + i]), b"\r\n", 2)
        replay.collected += LOOK_UP
    return flush(replay)


cdef int listen_to(Replay *replay, uint64_t first, uint32_t n) noexcept nogil:
    """Take the replies to ``n`` look-ups."""
    cdef size_t got = 0
    cdef ssize_t size
    cdef uint32_t i, head
    while got < n * <size_t>REPLY:
        size = recv(replay.fd, replay.reply + got, n * <size_t>REPLY - got, 0)
        if size == 0:
            return CLOSED
        if size < 0 and bench_errno() != EINTR:
            return FAILED
        if size > 0:
            got += <size_t>size
    for i in range(n):
        head = bench_load4(replay.reply + i * REPLY)
        if head == bench_load4(b"HD\r\n"):
            continue
        if head != bench_load4(b"EN\r\n"):
            return WRONG_REPLY
        replay.missed[(first + i) * replay.parts / replay.requests] += 1
        replay.due[replay.dues] = first + i
        replay.dues += 1
    return DONE


cdef void wait_until(Replay *replay, uint64_t due) noexcept nogil:
    """Sleep until ``due`` (ns), or note how late it is already."""
    cdef uint64_t now = now_ns()
    cdef timespec rest
    if now >= due:
        replay.late_ns = max(replay.late_ns, now - due)
        return
    rest.tv_sec = <long>((due - now) / 1_000_000_000)
    rest.tv_nsec = <long>((due - now) % 1_000_000_000)
    nanosleep(&rest, NULL)


cdef int replay_run(Replay *replay) noexcept nogil:
    """Run the whole trace. An Outcome."""
    cdef uint64_t first = 0, begin = now_ns()
    cdef uint32_t n
    cdef int outcome
    while first < replay.requests:
        n = <uint32_t>min(<uint64_t>replay.batch, replay.requests - first)
        if replay.rate:
            wait_until(replay, begin + <uint64_t>(<double>first / replay.rate * 1e9))
        outcome = ask(replay, first, n)
        if outcome == DONE:
            outcome = listen_to(replay, first, n)
        if outcome != DONE:
            return outcome
        first += n
    return DONE


class ReplayError(RuntimeError):
    """A trace that could not be run to its end."""


def misses(Trace trace, address, *, bint paced=False, uint32_t batch=64, int parts=1):
    """How many requests of ``trace`` the server at ``address`` (host and port, or a path) misses, a number for each of
    so many parts of the trace; and the most seconds that a batch was late. ``paced``: at the trace's own rate, not as
    fast as may be. ReplayError when the server answers anything but a hit or a miss.
    """
    cdef Replay replay
    cdef int outcome = DONE
    cdef array.array missed = array.clone(array.array("Q"), parts, True)
    cdef bytes filler = b"." * max(trace.sizes, default=0)
    if not 1 <= batch <= BATCH_MAX or trace.ids > 10**8:
        raise ValueError(f"batch = {batch} (1 to {BATCH_MAX}), keys up to {trace.ids} (below 10**8)")
    memset(&replay, 0, sizeof(Replay))
    replay.batch, replay.parts, replay.missed = batch, parts, <uint64_t *>missed.data.as_ulongs
    replay.rate = trace.rate if paced else 0
    replay.requests = len(trace)
    replay.keys, replay.sizes = trace.keys.data.as_uints, trace.sizes.data.as_uints
    replay.ttls, replay.filler = trace.ttls.data.as_uints, filler
    replay.out = <char *>malloc(2 * ROOM)
    if replay.out == NULL:
        raise MemoryError
    with connect(address) as client:
        replay.fd = client.fileno()
        with nogil:
            outcome = replay_run(&replay)
    free(replay.out)
    if outcome != DONE:
        raise ReplayError(explain(outcome, replay.reply[:40]))
    return list(missed), replay.late_ns / 1e9


cdef explain(int outcome, bytes reply):
    if outcome == FAILED:
        return f"a system call failed: {strerror(bench_errno()).decode()}"
    return "the server closed the connection" if outcome == CLOSED else f"wrong reply: {reply!r}"


def connect(address):
    """A connected, blocking stream socket."""
    client = socket.socket(socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        client.connect(address)
        if isinstance(address, tuple):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError:
        client.close()
        raise
    return client
