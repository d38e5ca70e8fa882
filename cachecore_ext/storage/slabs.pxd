"""The slab allocator: one reserved region, cut into 1 MiB pages; a page belongs to a slab class and is cut into chunks.

    region   +--------+--------+--------+ ...      page_class[i] says whose page i is (0: nobody's)
             | page 0 | page 1 | page 2 |
             +--------+--------+--------+ ...
    page     | chunk | chunk | chunk | ... | rest |   chunks of one size, from first to last, on first use

A chunk reference is its address in units of ``1 << shift`` bytes above ``base``, in 32 bits; 0 is no chunk. The unit
is 4 bytes up to 16 GiB of memory and doubles with every doubling beyond it; chunk sizes are multiples of it.

A page is charged against the limit together with the hash table that its chunks can come to need, so pages and table
stay within it. Each class may have its first page also beyond the limit (as in memcached, or a cache of small items
could never take a large one), and the largest class its first TOP_PAGES, so that a value of a megabyte can be replaced
while another is written: that is the bound on what the limit can be exceeded by.

Locks: a class's lock guards its free list and its fresh page; page_lock, taken inside it, guards the handing out of
pages. Free memory is never given back to the kernel before the end.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from cachecore_ext.base.atomics cimport load_u8
from cachecore_ext.base.counters cimport CLASSES
from cachecore_ext.base.lock cimport Lock

cdef enum:
    PAGE_SHIFT = 20
    PAGE_SIZE = 1 << PAGE_SHIFT
    CHUNK_MAX = 512 * 1024    # memcached's slab_chunk_max; larger items are chained over chunks of this size
    TOP_PAGES = 3             # the largest class's pages beyond the limit
    DIRECT_MAX = 2048         # up to this size, size -> class is one look-up

cdef struct SlabClass:
    Lock lock
    uint32_t size             # of a chunk, in bytes; set once
    uint32_t per_page         # chunks; set once
    uint32_t free_head        # list of freed chunks through Item.next
    uint32_t fresh_left       # never used chunks in the newest page
    char *fresh               # the first of them
    uint64_t free_count       # in the list
    uint64_t pages
    uint64_t pad[2]

cdef struct Slabs:
    char *region              # all below is set once, but for what a lock is named for
    char *base                # region - (1 << shift)
    uint8_t *page_class
    uint64_t region_size
    uint64_t limit            # bytes for pages and table
    uint32_t shift
    uint32_t nclasses         # the highest class id: the class of CHUNK_MAX
    uint64_t table_cost       # bytes of hash table to charge for 1024 chunks
    Lock page_lock
    uint32_t pages            # handed out; page_lock
    uint64_t charged          # bytes of the limit used up; page_lock
    uint8_t direct[DIRECT_MAX / 4 + 1]
    SlabClass classes[CLASSES]

cdef int slabs_init(Slabs *slabs, uint64_t limit, double factor, uint32_t chunk_min, uint64_t table_cost,
                    uint64_t initial_charge) noexcept nogil
cdef void slabs_free(Slabs *slabs) noexcept nogil
cdef void *slab_alloc(Slabs *slabs, uint32_t cls) noexcept nogil
cdef void slab_free(Slabs *slabs, void *chunk) noexcept nogil
cdef uint32_t slab_class_search(const Slabs *slabs, size_t size) noexcept nogil


cdef inline void *chunk_at(const Slabs *slabs, uint32_t ref) noexcept nogil:
    return slabs.base + (<uint64_t>ref << slabs.shift)


cdef inline uint32_t chunk_ref(const Slabs *slabs, const void *chunk) noexcept nogil:
    return <uint32_t>((<uint64_t>(<const char *>chunk - slabs.base)) >> slabs.shift)


cdef inline uint32_t chunk_class(const Slabs *slabs, const void *chunk) noexcept nogil:
    return load_u8(&slabs.page_class[<uint64_t>(<const char *>chunk - slabs.region) >> PAGE_SHIFT])


cdef inline uint32_t slab_class_for(const Slabs *slabs, size_t size) noexcept nogil:
    """The smallest class whose chunks hold ``size`` bytes; 0 when none does."""
    if size <= DIRECT_MAX:
        return slabs.direct[(size + 3) >> 2]
    return slab_class_search(slabs, size)
