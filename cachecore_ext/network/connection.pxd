"""A connection: what it remembers between two of its turns, and how a turn goes.

A worker lends every connection the same Scratch; a connection owns memory only while something is unfinished: a partial
request (stash), replies that its socket did not take (pending), a value under way (upload), a dump of the keys (dump).
An idle one is this struct.

A turn is one receive and everything that it completed, answered by one send. The next receive, and the parsing, wait
until the replies are gone, so a client that does not read costs what is said under "bounds" and no more.

Bounds: a stash has at most CARRY_MAX and one receive, or for a get line still growing GET_LINE_MAX and one receive; a
pending at most one Output's bytes, and the items of its segments. All buffers together, beyond the first STASH_FREE bytes
of each, stay within Shared.buffer_limit, growing get lines within half of it: who would need more is closed.

Only the worker that a connection was dealt to touches it, except between conn_ask and its answer, when nobody does.
One that watches belongs to the logger, which gives it back to its worker to be closed.
"""
from libc.stdint cimport uint32_t, uint64_t

from cachecore_ext.base.eventlog cimport CloseReason, PeerAddress
from cachecore_ext.network.transmit cimport Pending
from cachecore_ext.protocol.dump cimport Dump
from cachecore_ext.protocol.request cimport LINE_MAX, Request
from cachecore_ext.protocol.session cimport Session
from cachecore_ext.storage.item cimport Item, Piece
from cachecore_ext.storage.store cimport ValueCursor

cdef enum:
    READ_SIZE = 32 * 1024                # one receive
    CARRY_MAX = 32 * 1024                # a stash up to this size is carried into the worker's buffer
    BATCH = 32                           # requests whose buckets and items are asked for together
    STASH_FREE = 8 * 1024                # what each connection may keep whatever the others do

cdef enum Verdict:
    KEEP    # the connection waits for its next turn
    CLOSE   # it is to be closed
    ASKED   # it waits for Python's answer, or the logger's

cdef struct Connection

cdef struct Shared:
    # Of all connections of an engine.
    uint64_t buffer_bytes     # in stashes, pendings, uploads and dumps; atomic
    uint64_t buffer_limit     # set once
    uint64_t stash_bytes      # in stashes; atomic
    uint32_t connections      # clients; atomic
    uint32_t max_connections  # set once, like the rest
    uint32_t reqs_per_event
    bint binary_probe         # a first byte of 0x80 closes the connection
    uint32_t nfds             # entries of by_fd: no descriptor reaches it
    Connection **by_fd        # every connection; the acceptor enters it, its worker takes it out

cdef struct Upload:
    # A value under way into its item. Owned by the connection, as the item is.
    Item *item
    Piece *last               # of a chained item: the piece that is being filled
    ValueCursor cursor        # where the next byte goes
    size_t missing            # bytes of the value
    uint32_t ntail            # bytes of the line end that have come
    char tail[2]
    size_t nline
    char line[0]              # the command line, to be read again when the value is complete

cdef struct Connection:
    int fd
    uint32_t events           # what epoll watches for
    bint began                # its first byte was seen
    bint uploads              # its last value went straight to its item: the next one likely does, too
    bint closing              # to be closed once pending is sent
    bint draining             # told why it is closed: only reads on, so that the client gets to see it
    uint32_t drained          # bytes read since
    uint32_t worker           # the number of the worker that it was dealt to
    uint32_t scanned          # bytes of the stash that are known to hold no LF
    uint32_t nstash
    uint32_t stash_size
    char *stash
    Pending *pending
    Upload *upload
    Dump *dump                # commands behind it wait until it has ended
    uint64_t swallow          # bytes to be skipped
    CloseReason reason        # why it is closed, once it is
    PeerAddress peer          # set once

cdef struct Scratch:
    # What a worker has once, for whichever connection has its turn.
    Session session
    Shared *shared
    int epoll
    uint32_t served           # requests in this turn
    char *buffer              # CARRY_MAX + READ_SIZE bytes
    Request requests[BATCH]
    bint to_logger            # with ASKED: who is asked
    size_t nquestion          # ... and the command line
    char question[LINE_MAX]

cdef Connection *conn_new(int fd, uint32_t worker) noexcept nogil
cdef void conn_free(Connection *conn, Shared *shared, Session *session) noexcept nogil
cdef Verdict conn_turn(Connection *conn, Scratch *scratch, uint32_t events) noexcept nogil
cdef Verdict conn_answer(Connection *conn, Scratch *scratch, const char *reply, size_t n) noexcept nogil
