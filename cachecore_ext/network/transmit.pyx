"""Segments onto a socket, by as few system calls as serve the receiver."""
from libc.stdint cimport uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from cachecore_ext.base.counters cimport BYTES_WRITTEN, RESPONSE_OBJ_OOM, count, count_many
from cachecore_ext.base.linux cimport (
    EAGAIN, EINTR, MSG_NOSIGNAL, error_number, iovec, msghdr, passing_size, send_bytes, sendmsg,
)
from cachecore_ext.protocol.reply cimport reply_clear, reply_seal
from cachecore_ext.storage.store cimport ValueCursor, cursor_open, cursor_skip, store_release

cdef enum:
    PARTS = 64                # of one sendmsg
    CALL_MAX = 1024 * 1024    # bytes of one sendmsg
    TURN_MAX = 1024 * 1024    # bytes for one connection before others have their turn


cdef void add_value(Store *store, const Segment *segment, iovec *parts, int *nparts, size_t *total) noexcept nogil:
    """The rest of an item's value, as far as the call has room for it."""
    cdef ValueCursor cursor
    cdef size_t skip = segment.start, left = segment.length, step
    cursor_open(store, segment.item, &cursor)
    while skip > 0:
        step = min(skip, cursor.left)
        cursor_skip(store, &cursor, step)
        skip -= step
    while left > 0 and nparts[0] < PARTS and total[0] < CALL_MAX:
        step = min(left, min(cursor.left, CALL_MAX - total[0]))
        parts[nparts[0]].iov_base = cursor.at
        parts[nparts[0]].iov_len = step
        nparts[0] += 1
        total[0] += step
        left -= step
        cursor_skip(store, &cursor, step)


cdef size_t gather(Store *store, char *data, const Segment *segments, uint32_t n, iovec *parts,
                   int *nparts) noexcept nogil:
    """The parts of the next call. How many bytes they are."""
    cdef size_t total = 0
    cdef uint32_t i
    nparts[0] = 0
    for i in range(n):
        if nparts[0] == PARTS or total >= CALL_MAX:
            break
        if segments[i].item != NULL:
            add_value(store, &segments[i], parts, nparts, &total)
        else:
            parts[nparts[0]].iov_base = data + segments[i].start
            parts[nparts[0]].iov_len = segments[i].length
            nparts[0] += 1
            total += segments[i].length
    return total


cdef uint32_t advance(Store *store, Segment *segments, uint32_t first, size_t sent) noexcept nogil:
    """Note that so many bytes were sent; let go of the items behind. The first segment that is not complete."""
    cdef Segment *segment
    while sent > 0:
        segment = &segments[first]
        if sent < segment.length:
            segment.start += sent
            segment.length -= sent
            return first
        sent -= segment.length
        segment.length = 0
        if segment.item != NULL:
            store_release(store, segment.item)
        first += 1
    return first


cdef Sent send_segments(Store *store, CounterSet *counters, int fd, char *data, Segment *segments,
                        uint32_t *first, uint32_t n) noexcept nogil:
    """Send segments from ``first`` on, and move it. An empty segment counts as sent once its turn comes."""
    cdef iovec parts[PARTS]
    cdef msghdr message
    cdef int nparts = 0
    cdef size_t wanted, turn = 0
    cdef ssize_t sent
    message.msg_name = NULL
    message.msg_namelen = 0
    message.msg_control = NULL
    message.msg_controllen = 0
    message.msg_flags = 0
    while first[0] < n:
        wanted = gather(store, data, segments + first[0], n - first[0], parts, &nparts)
        if nparts == 1:
            sent = send_bytes(fd, parts[0].iov_base, wanted)
        else:
            message.msg_iov = parts
            message.msg_iovlen = nparts
            sent = sendmsg(fd, &message, MSG_NOSIGNAL)
        if sent < 0:
            if error_number() == EINTR:
                continue
            return SENT_PART if error_number() == EAGAIN else SENT_ERROR
        count_many(counters, BYTES_WRITTEN, sent)
        first[0] = advance(store, segments, first[0], sent)
        turn += sent
        if first[0] < n and (<size_t>sent < wanted or turn >= TURN_MAX):
            return SENT_PART
    return SENT_ALL


cdef void release_from(Store *store, Segment *segments, uint32_t first, uint32_t n) noexcept nogil:
    cdef uint32_t i
    for i in range(first, n):
        if segments[i].item != NULL:
            store_release(store, segments[i].item)


cdef void output_drop(Store *store, Output *out) noexcept nogil:
    """Forget what was collected: the connection is gone."""
    release_from(store, out.segments, 0, out.nsegments)
    reply_clear(out)


cdef Pending *carry_away(const Output *out, uint32_t first) noexcept nogil:
    """The segments from ``first`` on, with a copy of their bytes. NULL without the memory."""
    cdef size_t nbytes = 0, at = 0
    cdef Pending *pending
    cdef Segment *segment
    cdef uint32_t i
    for i in range(first, out.nsegments):
        if out.segments[i].item == NULL:
            nbytes += out.segments[i].length
    pending = <Pending *>malloc(passing_size(sizeof(Pending) + nbytes))
    if pending == NULL:
        return NULL
    pending.first = 0
    pending.nsegments = out.nsegments - first
    pending.size = passing_size(sizeof(Pending) + nbytes)
    for i in range(pending.nsegments):
        segment = &pending.segments[i]
        segment[0] = out.segments[first + i]
        if segment.item == NULL:
            memcpy(pending.data + at, out.data + segment.start, segment.length)
            segment.start = at
            at += segment.length
    return pending


cdef inline bint send_whole(CounterSet *counters, int fd, Output *out) noexcept nogil:
    """The short way for replies that all lie in ``data``, as most do. False when something is left, the beginning of
    which ``sealed`` marks, or nothing could be sent."""
    cdef ssize_t sent = send_bytes(fd, out.data, out.used)
    if sent <= 0:
        return False
    count_many(counters, BYTES_WRITTEN, sent)
    if <size_t>sent == out.used:
        reply_clear(out)
        return True
    out.sealed = sent
    return False


cdef Sent output_send(Store *store, CounterSet *counters, Output *out, int fd, Pending **pending) noexcept nogil:
    """Send all that was collected. What the socket does not take is left in ``pending``; the Output is empty after."""
    cdef uint32_t first = 0
    cdef Sent sent
    if out.nsegments == 0 and send_whole(counters, fd, out):
        return SENT_ALL
    reply_seal(out)
    sent = send_segments(store, counters, fd, out.data, out.segments, &first, out.nsegments)
    if sent == SENT_PART:
        pending[0] = carry_away(out, first)
        if pending[0] == NULL:
            count(counters, RESPONSE_OBJ_OOM)
            sent = SENT_ERROR
    if sent == SENT_ERROR:
        release_from(store, out.segments, first, out.nsegments)
    reply_clear(out)
    return sent


cdef Sent pending_send(Store *store, CounterSet *counters, Pending *pending, int fd) noexcept nogil:
    """Go on with what was left."""
    return send_segments(
        store, counters, fd, pending.data, pending.segments, &pending.first, pending.nsegments
    )


cdef Pending *pending_of(const char *data, size_t n) noexcept nogil:
    """Bytes to be sent, copied. NULL without the memory."""
    cdef Pending *pending = <Pending *>malloc(passing_size(sizeof(Pending) + n))
    if pending == NULL:
        return NULL
    pending.first = 0
    pending.nsegments = 1
    pending.size = passing_size(sizeof(Pending) + n)
    pending.segments[0].item = NULL
    pending.segments[0].start = 0
    pending.segments[0].length = n
    memcpy(pending.data, data, n)
    return pending


cdef void pending_free(Store *store, Pending *pending) noexcept nogil:
    if pending != NULL:
        release_from(store, pending.segments, pending.first, pending.nsegments)
        free(pending)
