"""What is known of the items, in batches: for whoever looks through all of them at leisure (``stats sizes``), or wants
those away that have ended."""
from libc.stdint cimport uint32_t, uint64_t

from cachecore_ext.storage.allocation cimport Context
from cachecore_ext.storage.store cimport StoreCursor

cdef struct Note:
    uint64_t size       # bytes, as ``me`` shows it
    uint32_t nbytes     # of the value
    uint32_t exptime    # tick; 0 never
    uint32_t flags      # the client's
    uint64_t cas        # as shown to clients
    bint fetched        # since it was stored
    bint binary         # the key came in base64
    uint32_t nkey
    char key[256]

cdef struct Notes:
    Context *context    # whose walk it is
    uint64_t classes    # a bit for each slab class whose items are noted
    uint32_t count
    uint32_t room       # entries of ``note``
    Note *note          # the caller's

cdef void survey(StoreCursor *cursor, Notes *notes) noexcept nogil
cdef void survey_sweep(Context *context, StoreCursor *cursor, uint32_t steps) noexcept nogil
