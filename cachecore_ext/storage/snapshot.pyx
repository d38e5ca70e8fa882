"""Saving a store that is at rest, and taking it up again."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from cachecore_ext.base.clock cimport clock_continue, clock_now
from cachecore_ext.base.compiler cimport memory_permit, prefetch, static_same
from cachecore_ext.base.counters cimport TOTAL_ITEMS, count_many
from cachecore_ext.base.hashing cimport HashKey, hash_bytes
from cachecore_ext.base.linux cimport MS_SYNC, SEEK_END, ftruncate, lseek, msync, posix_fallocate
from cachecore_ext.storage.flush cimport Flush
from cachecore_ext.storage.item cimport (
    CHAIN_META, ITEM_CHAINED, ITEM_EXPLICIT, ITEM_LARGE, PIECE_HEADER, Item, Piece, item_cas, item_key, item_large,
    item_meta, item_nbytes, item_nkey, item_size, item_time, meta_key_offset,
)
from cachecore_ext.storage.lru cimport Segment, item_segment, lru_id
from cachecore_ext.storage.slabs cimport (
    PAGE_SHIFT, PAGE_SIZE, Slabs, bit_is_set, chunk_class, page_chunk, page_class, slab_page_restore, slabs_open_bytes,
)
from cachecore_ext.storage.store cimport store_hash
from cachecore_ext.storage.table cimport table_find_locked, table_insert_locked, table_presize

cdef struct Load:
    # What is needed while a store is taken up.
    Store *store
    const SnapshotHead *head
    const SnapshotClass *classes
    const SnapshotPage *pages
    uint8_t *used            # a bit for each chunk that an item has claimed, a row for each page
    uint64_t row             # bytes of a row


# ---- files

cdef int snapshot_clear(Store *store) noexcept nogil:
    """Begin with nothing: make the store's file all zero, and as long as its region. 0, or the error's number.

    The file gets all its space at once: a write to memory that the file system has no room for would kill the process.
    """
    cdef int number
    ftruncate(store.slabs.file, 0)
    number = posix_fallocate(store.slabs.file, 0, <int64_t>slabs_open_bytes(&store.slabs))
    if number != 0:
        ftruncate(store.slabs.file, 0)
    return number


cdef uint64_t checksum(const Slabs *slabs, uint32_t page) noexcept nogil:
    cdef HashKey key
    # Any will do, but these.
    key.word = [0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89]
    return hash_bytes(&key, <const char *>page_chunk(slabs, page, 0, 0), PAGE_SIZE)


# ---- saving

cdef size_t snapshot_size(const Store *store) noexcept nogil:
    """Bytes of the state."""
    static_same(sizeof(SnapshotHead), 96)  # see SNAPSHOT_FORMAT
    static_same(sizeof(SnapshotClass), 104)
    static_same(sizeof(SnapshotPage), 16)
    return (
        sizeof(SnapshotHead) + store.slabs.nclasses * sizeof(SnapshotClass) + store.slabs.pages * sizeof(SnapshotPage)
    )


cdef void save_head(Store *store, SnapshotHead *head) noexcept nogil:
    cdef const Flush *flush = &store.flush
    head.format = SNAPSHOT_FORMAT
    head.unit = <uint32_t>1 << store.slabs.shift
    head.nclasses = store.slabs.nclasses
    head.pages = store.slabs.pages
    head.limit = store.slabs.limit
    head.item_size_max = store.item_size_max
    head.use_cas = store.use_cas
    head.unix_start = store.clock.unix_start
    head.tick = clock_now(&store.clock)
    head.cas = store.cas
    head.flush_cas = flush.cas
    head.flush_horizon = flush.horizon
    head.flush_fired = flush.fired
    head.flush_pending = flush.pending
    head.flush_explicit_gone = flush.explicit_gone
    head.flush_explicit_stamp = flush.explicit_stamp
    head.flush_shown = flush.shown


cdef bint snapshot_save(Store *store, char *state) noexcept nogil:
    """Fill in the state, snapshot_size long, and bring the file to rest. False, and errno, when that fails.

    Nobody works on the store, no reply holds an item; and from here on nobody may, as the file is cut to what was used.
    """
    cdef Slabs *slabs = &store.slabs
    cdef SnapshotClass *of = <SnapshotClass *>(state + sizeof(SnapshotHead))
    cdef SnapshotPage *page = <SnapshotPage *>(of + slabs.nclasses)
    cdef uint64_t used = <uint64_t>slabs.pages << PAGE_SHIFT
    cdef uint32_t i
    memset(state, 0, snapshot_size(store))
    save_head(store, <SnapshotHead *>state)
    for i in range(slabs.nclasses):
        of[i].size = slabs.classes[i + 1].size
        memcpy(of[i].segment, store.lru.classes[i + 1].segment, sizeof(of[i].segment))
    for i in range(slabs.pages):
        page[i].cls = page_class(slabs, i)
        if page[i].cls != 0:
            memory_permit(page_chunk(slabs, i, 0, 0), PAGE_SIZE)  # free chunks, too
            page[i].checksum = checksum(slabs, i)
    return ftruncate(slabs.file, <int64_t>used) == 0 and msync(slabs.region, used, MS_SYNC) == 0


# ---- taking up: what can be refused without looking at the pages

cdef SnapshotStatus compare(Load *load, size_t size) noexcept nogil:
    """Whether the state is whole, and of a store that was set up like this one."""
    cdef const Store *store = load.store
    cdef const SnapshotHead *head = load.head
    cdef uint32_t i
    if size < sizeof(SnapshotHead):
        return SNAPSHOT_STATE_WRONG
    if head.format != SNAPSHOT_FORMAT:
        return SNAPSHOT_OTHER_FORMAT
    if head.limit != store.slabs.limit:
        return SNAPSHOT_OTHER_LIMIT
    if head.item_size_max != store.item_size_max:
        return SNAPSHOT_OTHER_ITEM_SIZE
    if head.use_cas != <uint64_t>store.use_cas:
        return SNAPSHOT_OTHER_CAS
    if head.unit != <uint32_t>1 << store.slabs.shift or head.nclasses != store.slabs.nclasses:
        return SNAPSHOT_OTHER_CHUNKS
    if head.pages > store.slabs.pages_open or size != (
        sizeof(SnapshotHead) + head.nclasses * sizeof(SnapshotClass) + head.pages * sizeof(SnapshotPage)
    ):
        return SNAPSHOT_STATE_WRONG
    for i in range(head.nclasses):
        if load.classes[i].size != store.slabs.classes[i + 1].size:
            return SNAPSHOT_OTHER_CHUNKS
    return SNAPSHOT_TAKEN_UP


cdef SnapshotStatus prepare_file(Load *load) noexcept nogil:
    """Make the file as long as the region again; what is added is zero."""
    cdef Slabs *slabs = &load.store.slabs
    if lseek(slabs.file, 0, SEEK_END) != <int64_t>load.head.pages << PAGE_SHIFT:
        return SNAPSHOT_FILE_LENGTH
    if posix_fallocate(slabs.file, 0, <int64_t>slabs_open_bytes(slabs)) != 0:
        return SNAPSHOT_NO_ROOM
    return SNAPSHOT_TAKEN_UP


cdef SnapshotStatus check_pages(Load *load) noexcept nogil:
    """Compare the checksums, and note whose the pages are."""
    cdef Slabs *slabs = &load.store.slabs
    cdef uint32_t i
    for i in range(load.head.pages):
        if load.pages[i].cls > slabs.nclasses:
            return SNAPSHOT_STATE_WRONG
        if load.pages[i].cls != 0 and load.pages[i].checksum != checksum(slabs, i):
            return SNAPSHOT_PAGE_DAMAGED
        slabs.page_class[i] = <uint8_t>load.pages[i].cls
    return SNAPSHOT_TAKEN_UP


# ---- taking up the items

cdef void *claim(Load *load, uint32_t ref) noexcept nogil:
    """The chunk that a reference names; NULL when there is none, or it has been claimed before."""
    cdef const Slabs *slabs = &load.store.slabs
    cdef uint64_t offset = (<uint64_t>ref - 1) << slabs.shift, page = offset >> PAGE_SHIFT
    cdef uint32_t within = offset & (PAGE_SIZE - 1), cls, index
    cdef uint8_t *row
    if ref == 0 or page >= load.head.pages:
        return NULL
    cls = page_class(slabs, <uint32_t>page)
    if cls == 0:
        return NULL
    index = within / slabs.classes[cls].size
    row = load.used + page * load.row
    if index * slabs.classes[cls].size != within or index >= slabs.classes[cls].per_page or bit_is_set(row, index):
        return NULL
    row[index >> 3] |= <uint8_t>(1 << (index & 7))
    return slabs.region + offset


cdef bint claim_pieces(Load *load, const Item *item, uint32_t ref) noexcept nogil:
    """Whether a chained value's pieces are there, its own, and as long as the value."""
    cdef const Slabs *slabs = &load.store.slabs
    cdef uint32_t left = item_nbytes(item), following = item_large(item).chain
    cdef const Piece *piece
    if following == 0:
        return False
    while following != 0:
        piece = <const Piece *>claim(load, following)
        if piece == NULL or piece.meta != <uint32_t>CHAIN_META or piece.owner != ref:
            return False
        if not 0 < piece.size <= min(left, slabs.classes[chunk_class(slabs, piece)].size - PIECE_HEADER):
            return False
        left -= piece.size
        following = piece.next
    return left == 0


cdef bint value_fits(Load *load, const Item *item, uint32_t ref) noexcept nogil:
    """Whether an item's lengths are those of the chunks that it lies in."""
    cdef const Slabs *slabs = &load.store.slabs
    cdef uint32_t meta = item_meta(item), room = slabs.classes[chunk_class(slabs, item)].size
    if not meta & ITEM_CHAINED:
        return item_size(item) <= room
    if not meta & ITEM_LARGE:
        return False
    return meta_key_offset(meta) + item_nkey(item) <= room and claim_pieces(load, item, ref)


cdef bint take_up(Load *load, Item *item, uint32_t ref) noexcept nogil:
    """Let an item be found again; whether it is a sound one, with a key that no other has."""
    cdef Store *store = load.store
    cdef uint32_t nkey = item_nkey(item)
    cdef uint64_t h
    if nkey == 0 or not value_fits(load, item, ref):
        return False
    if item_meta(item) & ITEM_EXPLICIT:
        store.flush.explicit_last = max(store.flush.explicit_last, item_time(item))
    elif item_cas(item) > store.cas:
        return False
    if item_meta(item) & ITEM_LARGE:
        item_large(item).refs = 1
    h = store_hash(store, item_key(item), nkey)
    return (
        table_find_locked(&store.table, h, item_key(item), nkey) == NULL
        and table_insert_locked(&store.table, h, ref)
    )


cdef bint take_up_segment(Load *load, uint32_t cls, Segment segment) noexcept nogil:
    """Follow a segment from its head to its tail and take up each item; whether all is as it should be."""
    cdef const Slabs *slabs = &load.store.slabs
    cdef const LruSegment *saved = &load.classes[cls - 1].segment[<int>segment]
    cdef LruSegment *of = &load.store.lru.classes[cls].segment[<int>segment]
    cdef uint32_t ref = saved.head, before = 0
    cdef Item *item
    while ref != 0:
        item = <Item *>claim(load, ref)
        if item == NULL or item.prev != before or item_segment(item) != segment or lru_id(slabs, item) != cls:
            return False
        prefetch(slabs.base + (<uint64_t>item.next << slabs.shift))
        if not take_up(load, item, ref):
            return False
        of.number += 1
        of.bytes += item_size(item)
        before = ref
        ref = item.next
    of.head = saved.head
    of.tail = before
    return of.tail == saved.tail and of.number == saved.number and of.bytes == saved.bytes


cdef uint64_t saved_items(const Load *load) noexcept nogil:
    cdef uint64_t items = 0
    cdef uint32_t i
    cdef int segment
    for i in range(load.head.nclasses):
        for segment in range(SEGMENTS):
            items += load.classes[i].segment[segment].number
    return items


cdef bint take_up_all(Load *load) noexcept nogil:
    """Take up every item, then the pages, of which the rest is free."""
    cdef Slabs *slabs = &load.store.slabs
    cdef uint32_t cls, page
    cdef int segment
    table_presize(&load.store.table, saved_items(load))
    for cls in range(1, slabs.nclasses + 1):
        for segment in range(SEGMENTS):
            if not take_up_segment(load, cls, <Segment>segment):
                return False
    for page in range(load.head.pages):
        slab_page_restore(slabs, page, <uint32_t>load.pages[page].cls, load.used + page * load.row)
    return True


cdef SnapshotStatus take_up_items(Load *load) noexcept nogil:
    cdef bint sound
    load.row = PAGE_SIZE / load.store.slabs.classes[1].size / 8 + 1
    load.used = <uint8_t *>calloc(<size_t>load.head.pages + 1, load.row)
    if load.used == NULL:
        return SNAPSHOT_NO_ROOM
    sound = take_up_all(load)
    free(load.used)
    return SNAPSHOT_TAKEN_UP if sound else SNAPSHOT_ITEM_WRONG


# ---- taking up the rest

cdef void load_head(Store *store, const SnapshotHead *head, int64_t downtime) noexcept nogil:
    """Let clock, cas and flushes go on, the clock by what has passed meanwhile."""
    cdef Flush *flush = &store.flush
    clock_continue(&store.clock, head.unix_start, <uint32_t>(head.tick + <uint64_t>max(downtime, <int64_t>0)))
    store.cas = head.cas
    flush.cas = head.flush_cas
    flush.floor = flush.cas
    flush.horizon = head.flush_horizon
    flush.fired = head.flush_fired
    flush.pending = head.flush_pending
    flush.explicit_gone = head.flush_explicit_gone
    flush.explicit_stamp = head.flush_explicit_stamp
    flush.shown = head.flush_shown


cdef SnapshotStatus snapshot_load(Context *context, const char *state, size_t size, int64_t downtime) noexcept nogil:
    """Take up what the process before has left in the store's file, ``downtime`` seconds ago.

    The store is a new one that nobody works on yet, its file as it was found. Unless this says SNAPSHOT_TAKEN_UP,
    the store cannot be used.
    """
    cdef Load load
    cdef SnapshotStatus status
    memset(&load, 0, sizeof(Load))
    load.store = context.store
    load.head = <const SnapshotHead *>state
    load.classes = <const SnapshotClass *>(state + sizeof(SnapshotHead))
    status = compare(&load, size)
    if status != SNAPSHOT_TAKEN_UP:
        return status
    load.pages = <const SnapshotPage *>(load.classes + load.head.nclasses)
    load_head(context.store, load.head, downtime)
    status = prepare_file(&load)
    if status == SNAPSHOT_TAKEN_UP:
        status = check_pages(&load)
    if status == SNAPSHOT_TAKEN_UP:
        status = take_up_items(&load)
    if status == SNAPSHOT_TAKEN_UP:
        count_many(context.counters, TOTAL_ITEMS, saved_items(&load))
    return status
