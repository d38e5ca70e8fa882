"""A connection: what it remembers between two of its turns, and how a turn goes.

A worker lends every connection the same Scratch; a connection owns memory only while something is unfinished: a partial
request (stash), replies that its socket did not take (pending), a value under way (upload), a dump of the keys (dump).
An idle one is this struct, and 28 bytes that others may see. All three lie in arrays by the descriptor's number, of
which only the entries in use take memory: no allocator stands between a connection and what it costs.

A turn is one receive and everything that it completed, answered by one send. While a receive brings as much as there
was room for, the turn goes on with the next one, up to its budget. When replies are pending, the next receive and the
parsing wait until they are gone, so a client that does not read costs what is said under "bounds" and no more.

Bounds: a stash has at most CARRY_MAX and one receive, or for a get line still growing GET_LINE_MAX and one receive; a
pending at most one Output's bytes, and the items of its segments. All buffers together, beyond the first STASH_FREE
bytes of each, stay within Shared.buffer_limit, growing get lines within half of it: who would need more is closed.

Only the worker that a connection was dealt to touches it, except while it waits for Python's answer, when nobody does.
One that watches belongs to the logger, which gives it back to its worker to be closed.

What others may know of a connection is kept beside it (Descriptor), in an array that outlives every connection:
whoever looks reads words, and follows no pointer.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from cachecore_ext.base.eventlog cimport PeerAddress
from cachecore_ext.network.transmit cimport Pending
from cachecore_ext.network.upload cimport Upload
from cachecore_ext.protocol.auth cimport Users
from cachecore_ext.protocol.dump cimport Dump
from cachecore_ext.protocol.request cimport LINE_MAX, Request
from cachecore_ext.protocol.session cimport Session

cdef enum:
    READ_SIZE = 64 * 1024                # one receive: a buffer that stays in the processor's caches
    VALUE_READ_SIZE = 2 * READ_SIZE      # ... of which all is a value's: fewer calls, longer copies
    CARRY_MAX = 32 * 1024                # a stash up to this size is carried into the worker's buffer
    BATCH = 32                           # requests whose buckets and items are asked for together
    STASH_FREE = 8 * 1024                # what each connection may keep whatever the others do

cdef enum Verdict:
    KEEP    # the connection waits for its next turn
    CLOSE   # it is to be closed
    ASKED   # it waits for Python's answer, or the logger's

cdef enum Doing:
    ARRIVING          # not its worker's yet
    NEW               # has sent nothing yet
    READING           # waits for a request, or for the rest of one
    RECEIVING_VALUE
    SKIPPING          # bytes of a value that is not stored
    SENDING           # has replies that its socket did not take
    CLOSING           # has been told why
    AWAITING_PYTHON
    WATCHING          # the logger's

cdef struct Connection

cdef struct Descriptor:
    # A connection as others see it; ``by_fd`` has one for every descriptor. Entered by the acceptor, then written by
    # its worker alone, which takes ``owner`` out before it closes the descriptor. All atomic.
    uint32_t active           # the tick since which it is the client's turn, or of its last command or value's bytes
    uint16_t owner            # its worker's number plus 1; 0: no connection
    uint8_t doing             # a Doing
    uint8_t local             # it came through a UNIX socket

cdef struct Buffers:
    # Bytes of a worker's connections; it alone writes them, on a line of its own. All atomic.
    uint64_t stashes
    uint64_t others           # pendings, uploads and dumps
    uint64_t pad[6]

cdef struct Shared:
    # Of all connections of an engine. What every turn reads is set once, or moves seldom; what connections that come
    # and go write lies apart from it.
    Buffers *buffers          # one a worker
    uint32_t nbuffers
    uint64_t buffer_limit     # of all of them together; set once, like the rest
    uint32_t max_connections
    uint32_t reqs_per_event
    bint maxconns_fast        # who comes when there are max_connections is turned away; else it has to wait
    bint binary_probe         # a first byte of 0x80 closes the connection
    uint32_t idle_timeout     # seconds without a command after which a connection is closed; 0: never
    Users *users              # who may use the server; NULL: everybody
    int vacancy               # an eventfd, the acceptor's: there is room for a client again
    uint32_t nfds             # entries of each array: no descriptor reaches it
    uint32_t top_fd           # the largest descriptor that a connection ever had; atomic
    Descriptor *by_fd
    PeerAddress *peers        # the acceptor writes one, the connection's worker reads it
    Connection *conns         # its owner's; on lines of their own: neighbours have different owners
    uint64_t pad[8]
    uint32_t connections      # clients; atomic
    uint64_t pad_behind[8]

cdef struct Connection:
    # Small, because there are many: one line, and no more while it is idle.
    int fd
    uint16_t events           # what epoll watches for
    uint16_t worker           # the number of the worker that it was dealt to
    uint8_t stranger          # has yet to say who it is
    uint8_t began             # its first byte was seen
    uint8_t closing           # to be closed once pending is sent
    uint8_t draining          # told why it is closed: only reads on, so that the client gets to see it
    uint8_t reason            # a CloseReason, once it is to be closed
    uint8_t refused           # there was no memory for its request: told so, and closed, once pending is sent
    uint8_t checked           # its stash begins with what is left of a get line whose keys have been checked
    uint32_t swallow          # bytes to be skipped; when draining: that it may still send
    uint32_t scanned          # bytes of the stash that are known to hold no LF
    uint32_t nstash
    uint32_t stash_size
    char *stash
    Pending *pending
    Upload *upload
    Dump *dump                # commands behind it wait until it has ended

cdef struct Scratch:
    # What a worker has once, for whichever connection has its turn.
    Session session
    Shared *shared
    int epoll
    uint32_t served           # requests in this turn
    char *buffer              # CARRY_MAX + VALUE_READ_SIZE bytes
    Request requests[BATCH]
    bint to_logger            # with ASKED: who is asked
    size_t nquestion          # ... and the command line
    char question[LINE_MAX]

cdef uint64_t stash_bytes(const Shared *shared) noexcept nogil
cdef uint64_t other_bytes(const Shared *shared) noexcept nogil
cdef Connection *conn_new(Shared *shared, int fd, uint32_t worker) noexcept nogil
cdef void conn_free(Connection *conn, Shared *shared, Session *session) noexcept nogil
cdef void conn_close(int fd) noexcept nogil
cdef bint conn_idle(const Descriptor *entry, uint32_t now, uint32_t timeout) noexcept nogil
cdef Verdict conn_turn(Connection *conn, Scratch *scratch, uint32_t events) noexcept nogil
cdef Verdict conn_answer(Connection *conn, Scratch *scratch, const char *reply, size_t n) noexcept nogil
