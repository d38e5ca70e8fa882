"""The statistics per prefix of a key: how often it was got, hit, set and deleted.

A key's prefix is what stands before the first delimiter; a key without one is not counted. There are PREFIXES_MAX
prefixes at most, the first that came, of PREFIXES_BYTES together: what there is to tell of all has to fit into the
buffers of the connections. The memory for them is reserved when they are first wanted, and taken as they come. The
table of slots needs no clearing: a slot is good if the entry that it names names the slot.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from cachecore_ext.base.hashing cimport HashKey
from cachecore_ext.base.lock cimport Lock

cdef enum:
    PREFIXES_MAX = 65536
    PREFIX_MAX = 250        # bytes of a prefix
    PREFIXES_BYTES = 4 << 20

cdef struct PrefixEntry:
    uint64_t gets
    uint64_t hits
    uint64_t sets
    uint64_t deletes
    uint32_t slot
    uint8_t length
    char prefix[PREFIX_MAX]

cdef struct Prefixes:
    Lock lock               # guards all but what is set once; taken for one key, or to copy some entries
    const HashKey *hash_key # set once, like the next two
    char delimiter
    PrefixEntry *entries    # PREFIXES_MAX of them; set before anything is counted
    uint32_t *slots         # numbers of entries, found by hash
    uint32_t count          # entries in use
    uint32_t nbytes         # ... and the bytes of their prefixes
    uint32_t resets         # how often they were forgotten

cdef int prefixes_open(Prefixes *prefixes) noexcept nogil
cdef void prefixes_free(Prefixes *prefixes) noexcept nogil
cdef void prefixes_reset(Prefixes *prefixes) noexcept nogil
cdef uint32_t prefixes_copy(Prefixes *prefixes, uint32_t first, uint32_t most, uint32_t *resets,
                            PrefixEntry *out) noexcept nogil
cdef void prefixes_got(Prefixes *prefixes, const char *key, uint32_t nkey, bint hit) noexcept nogil
cdef void prefixes_set(Prefixes *prefixes, const char *key, uint32_t nkey) noexcept nogil
cdef void prefixes_deleted(Prefixes *prefixes, const char *key, uint32_t nkey) noexcept nogil
