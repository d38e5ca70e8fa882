"""The slab allocator: one reserved region, cut into 1 MiB pages; a page belongs to a slab class and is cut into chunks.

    region   +--------+--------+--------+ ...      page_class[i] says whose page i is (0: nobody's)
             | page 0 | page 1 | page 2 |
             +--------+--------+--------+ ...
    page     | chunk | chunk | chunk | ... | rest |   chunks of one size, from first to last, on first use

A chunk reference is its address in units of ``1 << shift`` bytes above ``base``, in 32 bits; 0 is no chunk. The unit
is 4 bytes up to 16 GiB of memory and doubles with every doubling beyond it; chunk sizes are multiples of it. As much
address space is reserved as the unit can reach, so the limit may be raised later; only what the limit allows is open.

Free chunks are kept page by page, and a class knows which of its pages have some. So a page can be withdrawn from its
class in one step, and goes back to the pool, or to another class, when the last of its chunks has come back
(``slab_page_leave`` ... ``slab_page_move``; the mover empties it meanwhile). Pages in the pool take no memory, unless
the region is a file's: then its limit is fixed, and the pages that it can lead to are the file's from the start, as
there must be no write that the file system has no room for.

A page is charged against the limit together with the hash table that its chunks can come to need, so pages and table
stay within it; the table does not shrink, so what it was charged once stays charged. Each class may have its first page
also beyond the limit (as in memcached, or a cache of small items could never take a large one), and the largest class
its first TOP_PAGES, so that a value of a megabyte can be replaced while another is written: that is the bound on what
the limit can be exceeded by, until the mover has found pages to give back.

Under AddressSanitizer nobody may touch a chunk in no use, beyond what walkers of pages look at, the last RED_ZONE bytes
of any chunk, nor what is left of a page behind its last chunk.

Locks: a class's lock guards its numbers and its pages'; page_lock, taken inside it, guards the pool and the charges.
A page changes its class only when all of its chunks are free, by the one thread that moves pages.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from cachecore_ext.base.atomics cimport load_u8
from cachecore_ext.base.compiler cimport RED_ZONE
from cachecore_ext.base.counters cimport CLASSES
from cachecore_ext.base.lock cimport Lock

cdef enum:
    PAGE_SHIFT = 20
    PAGE_SIZE = 1 << PAGE_SHIFT
    CHUNK_MAX = 512 * 1024    # memcached's default of slab_chunk_max; larger items are chained over chunks of that size
    TOP_PAGES = 3             # the largest class's pages beyond the limit
    DIRECT_MAX = 2048         # up to this size, size -> class is one look-up

cdef struct Page:
    # The lock of the class that owns the page; page_lock for next, in the pool.
    uint32_t free_head        # list of freed chunks through Item.next
    uint32_t free_count       # in that list
    uint32_t fresh_left       # never used chunks, at the page's end; their first word is 0, as a freed chunk's
    uint32_t next             # neighbours in the class's list of open pages: number + 1; in the pool: the next one
    uint32_t prev
    bint leaving              # gives out no chunk any more

cdef struct SlabClass:
    Lock lock
    uint32_t size             # of a chunk, in bytes; set once
    uint32_t per_page         # chunks; set once
    uint32_t open             # list of pages that have chunks to give out: the first one's number + 1
    uint64_t free_count       # chunks in the class's pages that are in no use, those of leaving pages, too
    uint64_t pages
    uint64_t pad[4]

cdef struct SlabSettings:
    uint64_t limit            # bytes for pages and table
    double factor             # of the chunk sizes; 0: the default ladder
    uint32_t chunk_min        # bytes for key, value and flags in the smallest class
    uint32_t chunk_max        # the largest chunk
    const uint32_t *sizes     # the chunk sizes wanted, rising; NULL: by factor or ladder
    uint32_t nsizes
    uint64_t table_cost       # bytes of hash table to charge for 1024 chunks
    uint64_t initial_charge   # what the hash table takes from the start
    bint hugepages            # ask the kernel for large pages
    int file                  # descriptor of the file that the region is to be; -1: none

cdef struct Slabs:
    SlabClass classes[CLASSES]  # first: each on a line of its own
    char *region              # all below is set once, but for what a lock is named for
    char *base                # region - (1 << shift)
    uint8_t *page_class       # atomic
    Page *page
    uint64_t region_size      # reserved
    uint32_t shift
    uint32_t nclasses         # the highest class id: the class of chunk_max
    uint32_t chunk_max        # what the largest chunk holds
    uint64_t table_cost
    uint64_t initial_charge
    int file                  # that the region is; -1: none
    Lock page_lock
    uint32_t pages            # that were ever handed out; atomic; page_lock to change it and what follows
    uint32_t pages_open       # the region is open up to this page
    uint32_t pool             # list of free pages among those: the first one's number + 1
    uint32_t pooled           # how many there are; atomic
    uint32_t owned            # pages of classes
    uint64_t table_now        # bytes of table that their chunks can need
    uint64_t table_peak       # the most that this ever was; atomic
    uint64_t limit            # bytes for pages and table; atomic
    uint64_t charged          # bytes of the limit used up; atomic
    uint8_t direct[DIRECT_MAX / 4 + 1]
    uint8_t pad[55]           # to whole lines

cdef int slabs_init(Slabs *slabs, const SlabSettings *settings) noexcept nogil
cdef void slabs_free(Slabs *slabs) noexcept nogil
cdef void *slab_alloc(Slabs *slabs, uint32_t cls) noexcept nogil
cdef void slab_free(Slabs *slabs, void *chunk) noexcept nogil
cdef bint slab_grant(Slabs *slabs, uint32_t cls) noexcept nogil
cdef void slab_look(Slabs *slabs, uint32_t cls, uint64_t *pages, uint64_t *free_chunks) noexcept nogil
cdef bint slabs_set_limit(Slabs *slabs, uint64_t limit) noexcept nogil
cdef uint32_t slab_class_search(const Slabs *slabs, size_t size) noexcept nogil
cdef void slab_page_leave(Slabs *slabs, uint32_t page) noexcept nogil
cdef void slab_page_stay(Slabs *slabs, uint32_t page) noexcept nogil
cdef uint32_t slab_page_free(Slabs *slabs, uint32_t page) noexcept nogil
cdef void slab_page_move(Slabs *slabs, uint32_t page, uint32_t cls) noexcept nogil
cdef void slab_page_restore(Slabs *slabs, uint32_t page, uint32_t cls, const uint8_t *used) noexcept nogil


cdef inline void *chunk_at(const Slabs *slabs, uint32_t ref) noexcept nogil:
    return slabs.base + (<uint64_t>ref << slabs.shift)


cdef inline uint32_t chunk_ref(const Slabs *slabs, const void *chunk) noexcept nogil:
    return <uint32_t>((<uint64_t>(<const char *>chunk - slabs.base)) >> slabs.shift)


cdef inline uint32_t chunk_page(const Slabs *slabs, const void *chunk) noexcept nogil:
    """The number of the page that a chunk lies in."""
    return <uint32_t>(<uint64_t>(<const char *>chunk - slabs.region) >> PAGE_SHIFT)


cdef inline uint32_t chunk_room(const SlabClass *slab) noexcept nogil:
    """Bytes that a chunk of the class holds: all of it, but under AddressSanitizer."""
    return slab.size - RED_ZONE


cdef inline uint32_t page_class(const Slabs *slabs, uint32_t page) noexcept nogil:
    """Whose page it is; 0: nobody's."""
    return load_u8(&slabs.page_class[page])


cdef inline uint32_t chunk_class(const Slabs *slabs, const void *chunk) noexcept nogil:
    return page_class(slabs, chunk_page(slabs, chunk))


cdef inline void *page_chunk(const Slabs *slabs, uint32_t page, uint32_t size, uint32_t index) noexcept nogil:
    """A page's chunk by its index, with chunks of ``size`` bytes."""
    return slabs.region + (<uint64_t>page << PAGE_SHIFT) + <uint64_t>index * size


cdef inline uint64_t slabs_open_bytes(const Slabs *slabs) noexcept nogil:
    """How much of the region is open; its file's length, if it is one's. For who knows that it stays so."""
    return <uint64_t>slabs.pages_open << PAGE_SHIFT


cdef inline bint bit_is_set(const uint8_t *bits, uint64_t index) noexcept nogil:
    return (bits[index >> 3] >> (index & 7)) & 1


cdef inline uint32_t slab_class_for(const Slabs *slabs, size_t size) noexcept nogil:
    """The smallest class whose chunks hold ``size`` bytes; 0 when none does."""
    if size <= DIRECT_MAX:
        return slabs.direct[(size + 3) >> 2]
    return slab_class_search(slabs, size)
