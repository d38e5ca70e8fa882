"""A value under way: moved into the item that it will be, however it comes in pieces.

It comes by way of the worker's buffer. The kernel would write it into the item as well, but what it writes to has to be
read first where no cache has it; copy_value spares that, so two copies cost less than one.
"""
from libc.stdint cimport uint32_t

from cachecore_ext.protocol.request cimport Request
from cachecore_ext.storage.item cimport Item, Piece
from cachecore_ext.storage.store cimport Context, ValueCursor

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

cdef Upload *upload_new(Context *context, const Request *request, Item *item) noexcept nogil
cdef size_t upload_size(const Upload *upload) noexcept nogil
cdef bint upload_feed(Upload *upload, Context *context, char **at, char *end) noexcept nogil


cdef inline bint upload_complete(const Upload *upload) noexcept nogil:
    """Whether the value and its line end have come."""
    return upload.missing == 0 and upload.ntail == 2
