"""Pages out of the region, chunks out of the pages."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from cachecore_ext.base.atomics cimport store_u8
from cachecore_ext.base.compiler cimport static_same
from cachecore_ext.base.linux cimport (
    MAP_ANONYMOUS, MAP_FAILED, MAP_NORESERVE, MAP_PRIVATE, PROT_READ, PROT_WRITE, mmap, munmap,
)
from cachecore_ext.base.lock cimport lock_acquire, lock_release
from cachecore_ext.storage.item cimport ITEM_HEADER, Item

cdef enum:
    # The default ladder: small items are most items, so the steps are finest where they are: one unit up to 160 bytes,
    # an eighth up to 1 KiB, a quarter up to 16 KiB, a half beyond, and what is left of it to CHUNK_MAX.
    SINGLE_UNITS_MAX = 160
    EIGHTHS_MAX = 1024
    QUARTERS_MAX = 16 * 1024
    # What memcached stores in the room that -n asks for and we do not: cas (ours is in the header), NUL, line end.
    COUNTED_BESIDE = 11


cdef uint32_t align(const Slabs *slabs, uint64_t size) noexcept nogil:
    cdef uint64_t unit = 1 << slabs.shift
    return <uint32_t>((size + unit - 1) & ~(unit - 1))


cdef uint32_t next_size(const Slabs *slabs, uint32_t size, double factor) noexcept nogil:
    """The chunk size after ``size``. A ``factor`` of 0 asks for the default ladder."""
    if factor > 0:
        if size * factor > CHUNK_MAX:  # also keeps the product within its integer
            return CHUNK_MAX + 1
        return align(slabs, max(<uint64_t>(size * factor), <uint64_t>size + 1))
    if size < SINGLE_UNITS_MAX:
        return align(slabs, size + 1)
    if size < EIGHTHS_MAX:
        return align(slabs, size + size / 8)
    if size < QUARTERS_MAX:
        return align(slabs, size + size / 4)
    return align(slabs, size + size / 2)


cdef void cut_classes(Slabs *slabs, double factor, uint32_t chunk_min) noexcept nogil:
    """Fill in the classes: rising sizes from the smallest item to CHUNK_MAX, at most 63."""
    cdef uint32_t size = align(slabs, ITEM_HEADER + <uint64_t>max(chunk_min, COUNTED_BESIDE + 1) - COUNTED_BESIDE)
    cdef uint32_t cls = 1, i
    while cls < CLASSES - 1 and next_size(slabs, size, factor) <= CHUNK_MAX:
        slabs.classes[cls].size = size
        size = next_size(slabs, size, factor)
        cls += 1
    slabs.classes[cls].size = CHUNK_MAX
    slabs.nclasses = cls
    for i in range(1, cls + 1):
        slabs.classes[i].per_page = PAGE_SIZE / slabs.classes[i].size
    for i in range(DIRECT_MAX / 4 + 1):
        slabs.direct[i] = <uint8_t>slab_class_search(slabs, <size_t>i * 4)


cdef int slabs_init(Slabs *slabs, uint64_t limit, double factor, uint32_t chunk_min, uint64_t table_cost,
                    uint64_t initial_charge) noexcept nogil:
    """Reserve the region for ``limit`` bytes. 0, or -1 when the address space cannot be had.

    ``initial_charge`` is what the hash table takes from the start, ``table_cost`` what 1024 chunks add to it.
    """
    cdef uint64_t pages
    static_same(sizeof(SlabClass), 64)
    memset(slabs, 0, sizeof(Slabs))
    slabs.limit = limit
    slabs.table_cost = table_cost
    slabs.charged = initial_charge
    pages = limit / PAGE_SIZE + CLASSES
    slabs.region_size = pages * PAGE_SIZE
    slabs.shift = 2
    while (slabs.region_size >> slabs.shift) >= <uint64_t>0xFFFFFFFE:
        slabs.shift += 1
    cut_classes(slabs, factor, chunk_min)
    slabs.page_class = <uint8_t *>calloc(pages, 1)
    if slabs.page_class == NULL:
        return -1
    slabs.region = <char *>mmap(NULL, slabs.region_size, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    if <void *>slabs.region == MAP_FAILED:
        free(slabs.page_class)
        slabs.page_class = NULL
        slabs.region = NULL
        return -1
    slabs.base = slabs.region - (<uint64_t>1 << slabs.shift)
    return 0


cdef void slabs_free(Slabs *slabs) noexcept nogil:
    if slabs.region != NULL:
        munmap(slabs.region, slabs.region_size)
    free(slabs.page_class)
    slabs.region = NULL
    slabs.page_class = NULL


cdef uint32_t slab_class_search(const Slabs *slabs, size_t size) noexcept nogil:
    """slab_class_for, for any size: by bisection."""
    cdef uint32_t low = 1, high = slabs.nclasses, middle
    if size > slabs.classes[high].size:
        return 0
    while low < high:
        middle = (low + high) / 2
        if slabs.classes[middle].size >= size:
            high = middle
        else:
            low = middle + 1
    return low


cdef bint grow_locked(Slabs *slabs, uint32_t cls) noexcept nogil:
    """Give a class whose page is used up its next one, if the limit allows."""
    cdef SlabClass *slab = &slabs.classes[cls]
    cdef uint64_t cost = PAGE_SIZE + (slab.per_page * slabs.table_cost) / 1024
    cdef bint granted
    cdef uint32_t page = 0
    lock_acquire(&slabs.page_lock)
    granted = slabs.charged + cost <= slabs.limit or slab.pages < (1 if cls != slabs.nclasses else TOP_PAGES)
    granted = granted and (<uint64_t>slabs.pages + 1) * PAGE_SIZE <= slabs.region_size
    if granted:
        page = slabs.pages
        slabs.pages += 1
        slabs.charged += cost
    lock_release(&slabs.page_lock)
    if not granted:
        return False
    store_u8(&slabs.page_class[page], <uint8_t>cls)
    slab.fresh = slabs.region + <uint64_t>page * PAGE_SIZE
    slab.fresh_left = slab.per_page
    slab.pages += 1
    return True


cdef void *slab_alloc(Slabs *slabs, uint32_t cls) noexcept nogil:
    """A chunk of the class, or NULL when it has none left and may have no further page.

    Freed chunks come first, the last freed before all: its lines are likely still in the cache.
    """
    cdef SlabClass *slab = &slabs.classes[cls]
    cdef Item *chunk = NULL
    lock_acquire(&slab.lock)
    if slab.free_head != 0:
        chunk = <Item *>chunk_at(slabs, slab.free_head)
        slab.free_head = chunk.next
        slab.free_count -= 1
    elif slab.fresh_left > 0 or grow_locked(slabs, cls):
        chunk = <Item *>slab.fresh
        slab.fresh += slab.size
        slab.fresh_left -= 1
    lock_release(&slab.lock)
    return chunk


cdef void slab_free(Slabs *slabs, void *chunk) noexcept nogil:
    """Give a chunk back to its class, which its page knows."""
    cdef SlabClass *slab = &slabs.classes[chunk_class(slabs, chunk)]
    cdef Item *freed = <Item *>chunk
    lock_acquire(&slab.lock)
    freed.meta = 0
    freed.next = slab.free_head
    slab.free_head = chunk_ref(slabs, chunk)
    slab.free_count += 1
    lock_release(&slab.lock)
