"""Pages out of the region, chunks out of the pages."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from cachecore_ext.base.atomics cimport load_u64, store_u8, store_u32, store_u64
from cachecore_ext.base.compiler cimport RED_ZONE, memory_forbid, memory_permit, static_same
from cachecore_ext.base.linux cimport MADV_DONTNEED, madvise
from cachecore_ext.base.lock cimport lock_acquire, lock_release
from cachecore_ext.base.mapping cimport mapping_ask_huge, mapping_free, mapping_open, mapping_open_file, mapping_reserve
from cachecore_ext.storage.item cimport ITEM_HEADER, LARGE_HEADER, Item

cdef enum:
    # The default ladder: small items are most items, so the steps are finest where they are: one unit up to 100 bytes,
    # two up to 164, an eighth up to 8.5 KiB, a quarter up to 16 KiB, a half beyond, and what is left of it to the
    # largest chunk. That takes all 63 classes; bench/memory.py says what it wastes.
    SINGLE_UNITS_MAX = 100
    DOUBLE_UNITS_MAX = 164
    EIGHTHS_MAX = 8704
    QUARTERS_MAX = 16 * 1024
    # What memcached stores in the room that -n asks for and we do not: cas (ours is in the header), NUL, line end.
    COUNTED_BESIDE = 11
    # Of a chunk in no use: who walks pages (crawler, mover) reads so much without a lock, and then finds it is none.
    LOOKED_AT = ITEM_HEADER + LARGE_HEADER


cdef uint32_t align(const Slabs *slabs, uint64_t size) noexcept nogil:
    cdef uint64_t unit = <uint64_t>1 << slabs.shift
    return <uint32_t>((size + unit - 1) & ~(unit - 1))


# ---- classes

cdef uint32_t next_size(const Slabs *slabs, uint32_t size, double factor) noexcept nogil:
    """The chunk size after ``size``. A ``factor`` of 0 asks for the default ladder."""
    if factor > 0:
        if size * factor > slabs.chunk_max:  # also keeps the product within its integer
            return slabs.chunk_max + 1
        return align(slabs, max(<uint64_t>(size * factor), <uint64_t>size + 1))
    if size < SINGLE_UNITS_MAX:
        return align(slabs, size + 1)
    if size < DOUBLE_UNITS_MAX:
        return align(slabs, size + 8)
    if size < EIGHTHS_MAX:
        return align(slabs, size + size / 8)
    if size < QUARTERS_MAX:
        return align(slabs, size + size / 4)
    return align(slabs, size + size / 2)


cdef uint32_t add_class(Slabs *slabs, uint32_t cls, uint32_t size) noexcept nogil:
    slabs.classes[cls].size = size
    slabs.classes[cls].per_page = PAGE_SIZE / size
    return cls + 1


cdef uint32_t ladder(Slabs *slabs, const SlabSettings *settings) noexcept nogil:
    """Classes of rising sizes from the smallest item on; the id of the one that follows."""
    cdef uint32_t cls = 1
    cdef uint32_t size = align(
        slabs, ITEM_HEADER + <uint64_t>max(settings.chunk_min, COUNTED_BESIDE + 1) - COUNTED_BESIDE
    )
    while cls < CLASSES - 1 and next_size(slabs, size, settings.factor) <= slabs.chunk_max:
        cls = add_class(slabs, cls, size)
        size = next_size(slabs, size, settings.factor)
    return cls


cdef uint32_t chosen(Slabs *slabs, const SlabSettings *settings) noexcept nogil:
    """Classes of the sizes that were asked for; the id of the one that follows."""
    cdef uint32_t i, size, before = ITEM_HEADER, cls = 1
    for i in range(settings.nsizes):
        size = align(slabs, settings.sizes[i])
        if size > before and size < slabs.chunk_max and cls < CLASSES - 1:
            cls = add_class(slabs, cls, size)
            before = size
    return cls


cdef void cut_classes(Slabs *slabs, const SlabSettings *settings) noexcept nogil:
    """Fill in the classes: rising sizes, the last one chunk_max, at most 63."""
    cdef uint32_t i
    slabs.nclasses = ladder(slabs, settings) if settings.sizes == NULL else chosen(slabs, settings)
    add_class(slabs, slabs.nclasses, slabs.chunk_max)
    for i in range(DIRECT_MAX / 4 + 1):
        slabs.direct[i] = <uint8_t>slab_class_search(slabs, <size_t>i * 4)


cdef uint32_t slab_class_search(const Slabs *slabs, size_t size) noexcept nogil:
    """slab_class_for, for any size: by bisection."""
    cdef uint32_t low = 1, high = slabs.nclasses, middle
    if size > chunk_room(&slabs.classes[high]):
        return 0
    while low < high:
        middle = (low + high) / 2
        if chunk_room(&slabs.classes[middle]) >= size:
            high = middle
        else:
            low = middle + 1
    return low


# ---- the region

cdef uint64_t pages_for(uint64_t limit) noexcept nogil:
    """Pages that a limit can lead to: it, and a page a class beyond it."""
    return limit / PAGE_SIZE + CLASSES


cdef bint reserve_region(Slabs *slabs, uint64_t limit) noexcept nogil:
    """Reserve as much as references reach, or, where so much cannot be had, as much as the limit needs."""
    cdef uint64_t needed = pages_for(limit) * PAGE_SIZE, unit = 4
    slabs.shift = 2
    while needed / unit >= <uint64_t>0xFFFFFFFE:
        slabs.shift += 1
        unit *= 2
    slabs.region_size = (unit << 32) - 2 * PAGE_SIZE
    slabs.region = <char *>mapping_reserve(slabs.region_size)
    if slabs.region == NULL:
        slabs.region_size = needed
        slabs.region = <char *>mapping_reserve(needed)
    return slabs.region != NULL


cdef int slabs_init(Slabs *slabs, const SlabSettings *settings) noexcept nogil:
    """Set up a region without pages. 0, or -1 when the address space cannot be had."""
    static_same(sizeof(SlabClass), 64)
    static_same(sizeof(Slabs) % 64, 0)
    memset(slabs, 0, sizeof(Slabs))
    slabs.file = settings.file
    slabs.chunk_max = settings.chunk_max
    slabs.table_cost = settings.table_cost
    slabs.initial_charge = settings.initial_charge
    slabs.charged = settings.initial_charge
    if not reserve_region(slabs, settings.limit):
        return -1
    slabs.base = slabs.region - (<uint64_t>1 << slabs.shift)
    cut_classes(slabs, settings)
    slabs.chunk_max = chunk_room(&slabs.classes[slabs.nclasses])
    slabs.page_class = <uint8_t *>calloc(slabs.region_size / PAGE_SIZE, 1)
    slabs.page = <Page *>calloc(slabs.region_size / PAGE_SIZE, sizeof(Page))
    if slabs.page_class == NULL or slabs.page == NULL or not slabs_set_limit(slabs, settings.limit):
        slabs_free(slabs)
        return -1
    if settings.hugepages:
        mapping_ask_huge(slabs.region, slabs.region_size)
    return 0


cdef void slabs_free(Slabs *slabs) noexcept nogil:
    memory_permit(slabs.region, slabs_open_bytes(slabs))
    mapping_free(slabs.region, slabs.region_size)
    free(slabs.page_class)
    free(slabs.page)
    slabs.region = NULL
    slabs.page_class = NULL
    slabs.page = NULL


cdef bint open_region(Slabs *slabs, uint64_t nbytes) noexcept nogil:
    if slabs.file < 0:
        return mapping_open(slabs.region, nbytes)
    return mapping_open_file(slabs.region, nbytes, slabs.file)


cdef bint slabs_set_limit(Slabs *slabs, uint64_t limit) noexcept nogil:
    """Change the limit; False, and nothing changed, when the region cannot hold so much.

    A lower one takes no page away by itself: that is the mover's work.
    """
    cdef uint64_t wanted = pages_for(limit)
    cdef bint opened
    if wanted * PAGE_SIZE > slabs.region_size:
        return False
    lock_acquire(&slabs.page_lock)
    opened = wanted <= slabs.pages_open or open_region(slabs, wanted * PAGE_SIZE)
    if opened:
        slabs.pages_open = max(slabs.pages_open, <uint32_t>wanted)
        store_u64(&slabs.limit, limit)
    lock_release(&slabs.page_lock)
    return opened


# ---- what AddressSanitizer is told

cdef void forbid_chunk(const SlabClass *slab, const char *chunk) noexcept nogil:
    """Nobody's from here on, but for what is looked at."""
    if slab.size > LOOKED_AT:
        memory_forbid(chunk + LOOKED_AT, slab.size - LOOKED_AT)


cdef void permit_chunk(const SlabClass *slab, const char *chunk) noexcept nogil:
    memory_permit(chunk, chunk_room(slab))
    memory_forbid(chunk + chunk_room(slab), RED_ZONE)


cdef void forbid_page(const Slabs *slabs, uint32_t page) noexcept nogil:
    """All chunks of a page, and what is left behind the last."""
    cdef const SlabClass *slab = &slabs.classes[page_class(slabs, page)]
    cdef const char *first = <const char *>page_chunk(slabs, page, 0, 0)
    cdef uint32_t i, whole = slab.per_page * slab.size
    for i in range(slab.per_page):
        forbid_chunk(slab, first + i * slab.size)
    memory_forbid(first + whole, PAGE_SIZE - whole)


# ---- pages

cdef void charge_page(Slabs *slabs, int by, uint32_t cls) noexcept nogil:
    """Account for a page that a class gets (1) or loses (-1); page_lock."""
    cdef uint64_t table = (slabs.classes[cls].per_page * slabs.table_cost) / 1024
    slabs.owned += by
    slabs.table_now += <uint64_t>by * table
    store_u64(&slabs.table_peak, max(slabs.table_peak, slabs.table_now))
    store_u64(&slabs.charged, slabs.initial_charge + <uint64_t>slabs.owned * PAGE_SIZE + slabs.table_peak)


cdef bint may_grow(const Slabs *slabs, uint32_t cls) noexcept nogil:
    """Whether a class may have a further page; page_lock."""
    cdef const SlabClass *slab = &slabs.classes[cls]
    cdef uint64_t table = slabs.table_now + (slab.per_page * slabs.table_cost) / 1024
    cdef uint64_t charged = slabs.initial_charge + (<uint64_t>slabs.owned + 1) * PAGE_SIZE
    if slabs.pool == 0 and slabs.pages == slabs.pages_open:
        return False
    return (
        charged + max(table, slabs.table_peak) <= load_u64(&slabs.limit)
        or slab.pages < (1 if cls != slabs.nclasses else TOP_PAGES)
    )


cdef uint32_t take_page(Slabs *slabs) noexcept nogil:
    """A free page's number; there is one. page_lock."""
    cdef uint32_t page
    if slabs.pool != 0:
        page = slabs.pool - 1
        slabs.pool = slabs.page[page].next
        store_u32(&slabs.pooled, slabs.pooled - 1)
    else:
        page = slabs.pages
        store_u32(&slabs.pages, page + 1)
    return page


cdef void pool_page(Slabs *slabs, uint32_t page) noexcept nogil:
    """Put an empty page into the pool; page_lock."""
    slabs.page[page].next = slabs.pool
    slabs.pool = page + 1
    store_u32(&slabs.pooled, slabs.pooled + 1)


cdef void open_page(Slabs *slabs, SlabClass *slab, uint32_t page) noexcept nogil:
    """Put a page in front of those that its class gives chunks from; the class's lock."""
    slabs.page[page].prev = 0
    slabs.page[page].next = slab.open
    if slab.open != 0:
        slabs.page[slab.open - 1].prev = page + 1
    slab.open = page + 1


cdef void close_page(Slabs *slabs, SlabClass *slab, uint32_t page) noexcept nogil:
    """Take a page out of them."""
    cdef Page *p = &slabs.page[page]
    if p.prev != 0:
        slabs.page[p.prev - 1].next = p.next
    else:
        slab.open = p.next
    if p.next != 0:
        slabs.page[p.next - 1].prev = p.prev


cdef void adopt_page(Slabs *slabs, uint32_t cls, uint32_t page) noexcept nogil:
    """Make a free page a class's; the class's lock."""
    cdef SlabClass *slab = &slabs.classes[cls]
    memset(&slabs.page[page], 0, sizeof(Page))
    slabs.page[page].fresh_left = slab.per_page
    store_u8(&slabs.page_class[page], <uint8_t>cls)
    slab.pages += 1
    slab.free_count += slab.per_page
    forbid_page(slabs, page)
    open_page(slabs, slab, page)


cdef bint grow_locked(Slabs *slabs, uint32_t cls) noexcept nogil:
    """Give a class that has no chunk left a further page, if the limit allows."""
    cdef bint granted
    cdef uint32_t page = 0
    lock_acquire(&slabs.page_lock)
    granted = may_grow(slabs, cls)
    if granted:
        page = take_page(slabs)
        charge_page(slabs, 1, cls)
    lock_release(&slabs.page_lock)
    if granted:
        adopt_page(slabs, cls, page)
    return granted


# ---- chunks

cdef void *slab_alloc(Slabs *slabs, uint32_t cls) noexcept nogil:
    """A chunk of the class, or NULL when it has none left and may have no further page.

    A page's freed chunks come first, the last freed before all: its lines are likely still in the cache.
    """
    cdef SlabClass *slab = &slabs.classes[cls]
    cdef Item *chunk = NULL
    cdef Page *page
    lock_acquire(&slab.lock)
    if slab.open != 0 or grow_locked(slabs, cls):
        page = &slabs.page[slab.open - 1]
        if page.free_head != 0:
            chunk = <Item *>chunk_at(slabs, page.free_head)
            page.free_head = chunk.next
            page.free_count -= 1
        else:
            chunk = <Item *>page_chunk(slabs, slab.open - 1, slab.size, slab.per_page - page.fresh_left)
            page.fresh_left -= 1
        slab.free_count -= 1
        permit_chunk(slab, <const char *>chunk)
        if page.free_head == 0 and page.fresh_left == 0:
            close_page(slabs, slab, slab.open - 1)
    lock_release(&slab.lock)
    return chunk


cdef void slab_free(Slabs *slabs, void *chunk) noexcept nogil:
    """Give a chunk back to its page."""
    cdef uint32_t number = chunk_page(slabs, chunk)
    cdef Page *page = &slabs.page[number]
    cdef SlabClass *slab = &slabs.classes[page_class(slabs, number)]
    cdef Item *freed = <Item *>chunk
    lock_acquire(&slab.lock)
    if page.free_head == 0 and page.fresh_left == 0 and not page.leaving:
        open_page(slabs, slab, number)
    store_u32(&freed.meta, 0)
    freed.next = page.free_head
    page.free_head = chunk_ref(slabs, chunk)
    page.free_count += 1
    slab.free_count += 1
    forbid_chunk(slab, <const char *>chunk)
    lock_release(&slab.lock)


cdef bint slab_grant(Slabs *slabs, uint32_t cls) noexcept nogil:
    """Give a class a page of the pool, which it did not ask for. False when there is none, or the limit forbids it."""
    cdef SlabClass *slab = &slabs.classes[cls]
    cdef bint pooled, granted
    lock_acquire(&slab.lock)
    lock_acquire(&slabs.page_lock)
    pooled = slabs.pool != 0
    lock_release(&slabs.page_lock)
    granted = pooled and grow_locked(slabs, cls)
    lock_release(&slab.lock)
    return granted


cdef void slab_look(Slabs *slabs, uint32_t cls, uint64_t *pages, uint64_t *free_chunks) noexcept nogil:
    """How many pages a class has, and how many chunks in no use."""
    cdef SlabClass *slab = &slabs.classes[cls]
    lock_acquire(&slab.lock)
    pages[0] = slab.pages
    free_chunks[0] = slab.free_count
    lock_release(&slab.lock)


# ---- moving pages: for one thread

cdef void slab_page_leave(Slabs *slabs, uint32_t page) noexcept nogil:
    """Withdraw a page from its class: it gives out no chunk from here on."""
    cdef SlabClass *slab = &slabs.classes[page_class(slabs, page)]
    cdef Page *p = &slabs.page[page]
    lock_acquire(&slab.lock)
    if p.free_head != 0 or p.fresh_left != 0:
        close_page(slabs, slab, page)
    p.leaving = True
    lock_release(&slab.lock)


cdef void slab_page_stay(Slabs *slabs, uint32_t page) noexcept nogil:
    """Let a page that was leaving give out chunks again."""
    cdef SlabClass *slab = &slabs.classes[page_class(slabs, page)]
    cdef Page *p = &slabs.page[page]
    lock_acquire(&slab.lock)
    p.leaving = False
    if p.free_head != 0 or p.fresh_left != 0:
        open_page(slabs, slab, page)
    lock_release(&slab.lock)


cdef uint32_t slab_page_free(Slabs *slabs, uint32_t page) noexcept nogil:
    """How many chunks of a page are in no use; the page has a class."""
    cdef SlabClass *slab = &slabs.classes[page_class(slabs, page)]
    cdef uint32_t chunks
    lock_acquire(&slab.lock)
    chunks = slabs.page[page].free_count + slabs.page[page].fresh_left
    lock_release(&slab.lock)
    return chunks


cdef void empty_page(Slabs *slabs, uint32_t page) noexcept nogil:
    """Let nobody's page take no memory, and be all zero: on that who walks pages relies. Where memory is locked, the
    kernel does not take it back; a file's stays the file's."""
    cdef void *first = page_chunk(slabs, page, 0, 0)
    memory_permit(first, PAGE_SIZE)
    if slabs.file >= 0 or madvise(first, PAGE_SIZE, MADV_DONTNEED) != 0:
        memset(first, 0, PAGE_SIZE)


cdef void slab_page_move(Slabs *slabs, uint32_t page, uint32_t cls) noexcept nogil:
    """Make a leaving page that is empty the class's, or the pool's (0)."""
    cdef uint32_t old = page_class(slabs, page)
    cdef SlabClass *slab = &slabs.classes[old]
    lock_acquire(&slab.lock)
    slab.pages -= 1
    slab.free_count -= slab.per_page
    store_u8(&slabs.page_class[page], 0)
    lock_release(&slab.lock)
    empty_page(slabs, page)
    if cls != 0:
        lock_acquire(&slabs.classes[cls].lock)
    lock_acquire(&slabs.page_lock)
    charge_page(slabs, -1, old)
    if cls != 0:
        charge_page(slabs, 1, cls)
    else:
        pool_page(slabs, page)
    lock_release(&slabs.page_lock)
    if cls != 0:
        adopt_page(slabs, cls, page)
        lock_release(&slabs.classes[cls].lock)


# ---- a page of the process before

cdef void free_unused(Slabs *slabs, uint32_t page, const uint8_t *used) noexcept nogil:
    """Make the chunks that are in no use the page's free ones: those behind the last used one are as never used."""
    cdef Page *p = &slabs.page[page]
    cdef SlabClass *slab = &slabs.classes[page_class(slabs, page)]
    cdef uint32_t index = slab.per_page
    cdef Item *chunk
    memset(p, 0, sizeof(Page))
    while index > 0:
        index -= 1
        chunk = <Item *>page_chunk(slabs, page, slab.size, index)
        if bit_is_set(used, index):
            permit_chunk(slab, <const char *>chunk)
            continue
        store_u32(&chunk.meta, 0)
        forbid_chunk(slab, <const char *>chunk)
        if index + p.fresh_left + 1 == slab.per_page:
            p.fresh_left += 1
        else:
            chunk.next = p.free_head
            p.free_head = chunk_ref(slabs, chunk)
            p.free_count += 1


cdef void slab_page_restore(Slabs *slabs, uint32_t page, uint32_t cls, const uint8_t *used) noexcept nogil:
    """Take up the next page of the region as it was left: the class's, or the pool's (0).

    ``used`` has a bit for each of its chunks. For a region that nobody works on yet, and a page whose class is noted.
    """
    cdef Page *p = &slabs.page[page]
    cdef SlabClass *slab = &slabs.classes[cls]
    slabs.pages = page + 1
    if cls == 0:
        empty_page(slabs, page)
        pool_page(slabs, page)
        return
    free_unused(slabs, page, used)
    charge_page(slabs, 1, cls)
    slab.pages += 1
    slab.free_count += p.free_count + p.fresh_left
    if p.free_count + p.fresh_left > 0:
        open_page(slabs, slab, page)
