"""The load generator's structs: a run's state is one Load, which owns its connections; one thread touches it."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from bench.histogram cimport Histogram
from bench.sockets cimport iovec

cdef enum:
    CONNECTIONS_MAX = 1000
    PIPELINE_MAX = 100
    RECV_SIZE = 262144  # bytes for one recv
    CARRY_MAX = 96  # bytes of a token's head that may have to wait for the rest of it
    EVENTS_MAX = 256
    TOKENS_MAX = 4
    TOKEN_KEYS_MAX = 2
    PREFIX = 4  # bytes of a key before its eight digits
    DIGITS = 10000  # four digits at a time
    ZIPF_SIZE = 1048576  # samples of the Zipf distribution

# What a token means; bench.wire.Does has the same numbers.
cdef enum:
    DOES_HIT = 0
    DOES_MISS = 1
    DOES_OPEN = 2
    DOES_CLOSE = 3
    DOES_STORED = 4
    DOES_REFUSED = 5

# How a run ended.
cdef enum Outcome:
    RUN_OK = 0
    RUN_UNKNOWN_HEAD = 1
    RUN_WRONG_END = 2
    RUN_WRONG_KEY = 3
    RUN_WRONG_COUNT = 4
    RUN_SURPLUS = 5
    RUN_CLOSED = 6
    RUN_STALLED = 7
    RUN_SYSCALL = 8

# One part of a reply, from bench.wire.Token.
cdef struct Token:
    uint32_t head  # its first four bytes, as loaded
    uint32_t does
    uint64_t length  # bytes, CRLF included
    uint32_t needed  # bytes that must be there before it can be judged
    uint32_t keys
    uint32_t digits_at[TOKEN_KEYS_MAX]  # where the key's digits stand

# One request template, from bench.wire.Request.
cdef struct Request:
    uint8_t *text
    size_t size  # bytes of text
    const uint8_t *tail  # the shared part of a large value
    size_t tail_size
    uint32_t keys  # distinct keys
    uint32_t copies  # times each key stands in text
    uint32_t *digits_at  # [keys * copies]
    uint32_t tokens
    Token token[TOKENS_MAX]
    bint has_open
    bint has_close

cdef struct Conn:
    int fd
    bint wants_out  # epoll waits for room to send
    uint64_t seed  # its own: connections that draw the same keys flatter a server
    uint64_t started  # ns: when the batch was sent
    # The batch on its way out.
    uint8_t *out
    size_t rendered  # bytes in out
    size_t total  # bytes to send, shared tails included
    size_t sent
    uint32_t requests  # in the batch
    uint8_t *writes  # [PIPELINE_MAX] whether a request is a set
    uint64_t *digits  # [pipeline * keys] the keys asked for, in order
    # The reply on its way in.
    uint32_t answered  # requests of the batch that are answered
    uint32_t digits_next  # the first key of the request being answered
    uint32_t key_next  # keys of that request that are passed
    uint32_t keys_answered
    bint opened
    uint64_t skip  # bytes of the current token still to come
    uint32_t carried
    uint8_t carry[CARRY_MAX]

cdef struct Load:
    int epoll
    uint32_t allocated  # of conn
    uint32_t connections  # of those, open
    uint32_t pipeline
    Conn *conn
    Request read
    Request write
    uint32_t write_below  # a 16-bit draw below this is a set
    uint64_t keys  # in the data set
    bint sequential  # keys 0, 1, 2, ... instead of random ones
    bint check_keys
    bint spin
    uint64_t next_key
    uint32_t *zipf  # [ZIPF_SIZE] or NULL for uniform
    uint64_t stall_ns
    uint32_t *ascii  # [DIGITS] four digits as bytes
    uint8_t *buffer  # CARRY_MAX + RECV_SIZE
    iovec *parts
    # One run.
    uint64_t budget  # requests that may still be sent
    uint64_t deadline  # ns; no batch starts after it
    uint64_t last_progress  # ns
    uint32_t active  # connections with a batch in flight
    uint64_t done_requests
    uint64_t done_keys
    uint64_t hits
    uint64_t misses
    uint64_t refused  # sets that found no memory
    Histogram histogram  # of batches
    # The first thing that went wrong.
    int failed_errno
    uint32_t sample_size
    uint8_t sample[80]
