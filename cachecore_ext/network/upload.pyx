"""Values under way."""
from libc.stdlib cimport malloc
from libc.string cimport memcpy

from cachecore_ext.base.linux cimport iovec, passing_size, readv
from cachecore_ext.protocol.request cimport Request
from cachecore_ext.storage.item cimport ITEM_CHAINED, Item, item_meta
from cachecore_ext.storage.store cimport Context, cursor_open, cursor_skip, store_extend


cdef Upload *upload_new(Context *context, const Request *request, Item *item) noexcept nogil:
    """An upload of the request's value into ``item``, to be freed by free(); NULL without the memory."""
    cdef size_t nline = request.consumed
    cdef Upload *upload = <Upload *>malloc(passing_size(sizeof(Upload) + nline))
    if upload == NULL:
        return NULL
    upload.item = item
    upload.last = NULL
    upload.cursor.left = 0
    upload.cursor.next = 0
    if not item_meta(item) & ITEM_CHAINED:
        cursor_open(context.store, item, &upload.cursor)
    upload.missing = request.nvalue
    upload.ntail = 0
    upload.nline = nline
    memcpy(upload.line, request.line, nline)
    return upload


cdef size_t upload_size(const Upload *upload) noexcept nogil:
    """Bytes that were allocated for it, the item apart."""
    return passing_size(sizeof(Upload) + upload.nline)


cdef bint has_room(Upload *upload, Context *context) noexcept nogil:
    """Whether there is a place for the next byte, if need be in a new piece. False without the memory."""
    return (
        upload.cursor.left > 0
        or upload.missing == 0
        or store_extend(context, upload.item, &upload.last, upload.missing, &upload.cursor)
    )


cdef bint upload_feed(Upload *upload, Context *context, char **at, char *end) noexcept nogil:
    """Move bytes from ``at`` on to where they belong. False when the memory for them ran out."""
    cdef size_t step
    while upload.missing > 0 and at[0] < end:
        if not has_room(upload, context):
            return False
        step = min(min(upload.missing, upload.cursor.left), <size_t>(end - at[0]))
        memcpy(upload.cursor.at, at[0], step)
        cursor_skip(context.store, &upload.cursor, step)
        upload.missing -= step
        at[0] += step
    while upload.missing == 0 and upload.ntail < 2 and at[0] < end:
        upload.tail[upload.ntail] = at[0][0]
        upload.ntail += 1
        at[0] += 1
    return True


cdef ssize_t upload_receive(Upload *upload, Context *context, int fd, char *behind, size_t nbehind,
                            size_t *offered, size_t *overflow) noexcept nogil:
    """Receive into the item; what comes behind this stretch of it goes to ``behind``. As recv.

    ``offered``: the bytes that there was room for; ``overflow``: those that went behind. Without the memory for the
    next stretch it all goes there, and upload_feed finds the same.
    """
    cdef size_t direct = min(upload.missing, upload.cursor.left) if has_room(upload, context) else 0
    cdef iovec parts[2]
    cdef ssize_t n
    parts[0].iov_base = upload.cursor.at
    parts[0].iov_len = direct
    parts[1].iov_base = behind
    parts[1].iov_len = nbehind
    offered[0] = direct + nbehind
    overflow[0] = 0
    n = readv(fd, parts, 2)
    if n > 0:
        if <size_t>n > direct:
            overflow[0] = <size_t>n - direct
        else:
            direct = n
        cursor_skip(context.store, &upload.cursor, direct)
        upload.missing -= direct
    return n
