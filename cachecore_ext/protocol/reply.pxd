"""What a worker has to send: replies written one behind the other, and values sent from where they lie.

    data      | reply bytes ... | reply bytes ...        | free
    segments    [0, n) of data    a large item's value     [n, m) of data

Writers do not check for room: whoever runs a request first asks reply_room, which keeps enough for any one reply.
A worker has one Output and uses it for one connection at a time; what could not be sent is carried away by the
connection (network/connection).
"""
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy, strlen

from cachecore_ext.base.bytes cimport copy_bytes
from cachecore_ext.base.numbers cimport write_u64
from cachecore_ext.protocol.base64 cimport base64_encode
from cachecore_ext.storage.item cimport ITEM_LARGE, LARGE_MIN, Item, meta_nbytes, meta_value
from cachecore_ext.storage.store cimport store_hold_locked

cdef enum:
    OUTPUT_SIZE = 64 * 1024   # bytes of replies collected before they are sent
    REPLY_MAX = LARGE_MIN + 1024  # any one reply, with a value that is copied; a line takes less than 1024 bytes
    SEGMENTS = 32
    # So many bytes are sent at once: one huge send is slower than several, the client could be reading meanwhile.
    SEND_AT = 192 * 1024

cdef struct Segment:
    Item *item        # held until sent; NULL: bytes of ``data``
    size_t start      # in data, or in the item's value
    size_t length

cdef struct Output:
    char *data
    size_t used
    size_t bound      # with as many bytes used, or more, it is to be sent before another reply is written
    size_t sealed     # bytes of data that are in segments already
    size_t total      # bytes in all segments
    uint32_t nsegments
    Segment segments[SEGMENTS]


cdef inline bint reply_room(const Output *out) noexcept nogil:
    """Whether one more reply fits."""
    return out.used < out.bound


cdef inline void reply_clear(Output *out) noexcept nogil:
    """Begin anew. An Output needs that before its first use, too."""
    out.used = 0
    out.bound = OUTPUT_SIZE - REPLY_MAX + 1
    out.sealed = 0
    out.total = 0
    out.nsegments = 0


cdef inline size_t output_size(const Output *out) noexcept nogil:
    """Bytes collected."""
    return out.total + (out.used - out.sealed)


cdef inline char *reply_at(const Output *out) noexcept nogil:
    """Where the next byte goes. The hottest replies are written through this pointer, by ``write_``, and then counted
    by reply_upto; the others by the ``reply_`` functions below."""
    return out.data + out.used


cdef inline void reply_upto(Output *out, const char *end) noexcept nogil:
    out.used = end - out.data


cdef inline char *write_bytes(char *p, const char *source, size_t n) noexcept nogil:
    """A constant."""
    memcpy(p, source, n)
    return p + n


cdef inline char *write_run(char *p, const char *source, size_t n) noexcept nogil:
    """A key or a value: of any length, most likely a short one."""
    copy_bytes(p, source, n)
    return p + n


cdef inline void reply_bytes(Output *out, const char *p, size_t n) noexcept nogil:
    memcpy(out.data + out.used, p, n)
    out.used += n


cdef inline void reply_text(Output *out, const char *text) noexcept nogil:
    reply_bytes(out, text, strlen(text))


cdef inline void reply_char(Output *out, char c) noexcept nogil:
    out.data[out.used] = c
    out.used += 1


cdef inline void reply_u64(Output *out, uint64_t value) noexcept nogil:
    reply_upto(out, write_u64(reply_at(out), value))


cdef inline void reply_end(Output *out) noexcept nogil:
    reply_bytes(out, b"\r\n", 2)


cdef inline void reply_base64(Output *out, const char *p, size_t n) noexcept nogil:
    out.used += base64_encode(p, n, out.data + out.used)


cdef inline void reply_seal(Output *out) noexcept nogil:
    """Make a segment of the bytes written since the last one."""
    cdef Segment *segment = &out.segments[out.nsegments]
    if out.used > out.sealed:
        segment.item = NULL
        segment.start = out.sealed
        segment.length = out.used - out.sealed
        out.total += segment.length
        out.sealed = out.used
        out.nsegments += 1


cdef inline void reply_held_locked(Output *out, Item *item, uint32_t nbytes) noexcept nogil:
    """A large item's value, from where it lies; it is held until it is sent."""
    cdef Segment *segment
    reply_seal(out)
    store_hold_locked(item)
    segment = &out.segments[out.nsegments]
    segment.item = item
    segment.start = 0
    segment.length = nbytes
    out.total += nbytes
    out.nsegments += 1
    if out.nsegments + 3 > SEGMENTS or out.total >= SEND_AT:
        out.bound = 0


cdef inline void reply_value_locked(Output *out, Item *item, uint32_t meta) noexcept nogil:
    """The value and its line end: copied if small, else the item is held until it is sent. ``meta``: the item's."""
    cdef uint32_t nbytes = meta_nbytes(item, meta)
    cdef char *p
    if meta & ITEM_LARGE:
        reply_held_locked(out, item, nbytes)
        reply_end(out)
    else:
        p = write_run(reply_at(out), meta_value(item, meta), nbytes)
        reply_upto(out, write_bytes(p, b"\r\n", 2))
