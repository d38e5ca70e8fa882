"""Values under way."""
from libc.stdlib cimport malloc
from libc.string cimport memcpy

from cachecore_ext.base.bytes cimport copy_value
from cachecore_ext.base.linux cimport passing_size
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
        copy_value(upload.cursor.at, at[0], step)
        cursor_skip(context.store, &upload.cursor, step)
        upload.missing -= step
        at[0] += step
    while upload.missing == 0 and upload.ntail < 2 and at[0] < end:
        upload.tail[upload.ntail] = at[0][0]
        upload.ntail += 1
        at[0] += 1
    return True
