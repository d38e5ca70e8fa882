"""Windows into slabs, table and LRU, each by itself, for one thread; loops that are timed run without the GIL."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from cachecore_ext.base.hashing cimport HashKey, hash_bytes
from cachecore_ext.base.linux cimport getrandom
from cachecore_ext.base.numbers cimport format_u64
from cachecore_ext.probe.census cimport lru_census, slabs_census, table_census
from cachecore_ext.probe.loops cimport cpu_ns
from cachecore_ext.storage.ghosts cimport ghost_add_locked, ghost_take_locked
from cachecore_ext.storage.item cimport (
    ITEM_ACTIVE, ITEM_FETCHED, ITEM_HEADER, ITEM_REWRITTEN, ITEM_UNLINKED, LENGTH_MASK, Item, item_key, item_mark,
    item_meta, item_nkey, item_set_exptime, item_set_time, item_time, item_unmark,
)
from cachecore_ext.storage.lru cimport (
    ARRIVAL_NEW, LRU_S3FIFO, SEGMENTS, Lru as LruStruct, lru_defer_locked, lru_fetched, lru_init, lru_juggle_locked,
    lru_link, lru_replace_locked, lru_rewrite, lru_unlink, lru_victim_locked,
)
from cachecore_ext.storage.slabs cimport (
    CHUNK_MAX, SlabSettings, Slabs as SlabsStruct, chunk_at, chunk_class, chunk_page, chunk_ref, chunk_room, page_class,
    slab_alloc, slab_class_for, slab_free, slab_page_free, slab_page_leave, slab_page_move, slab_page_stay, slabs_free,
    slabs_init, slabs_set_limit,
)
from cachecore_ext.storage.table cimport (
    Table as TableStruct, TableCursor, table_bytes, table_find_locked, table_free, table_grow, table_init,
    table_insert_locked, table_is_full, table_lock, table_remove_locked, table_replace_locked, table_unlock, table_walk,
)


cdef class Slabs:
    """A slab allocator; ``alloc`` fills a chunk, ``free`` sees that nobody else wrote in it."""

    cdef SlabsStruct *slabs

    def __cinit__(self, uint64_t limit, double factor=0, uint32_t chunk_min=48, *, uint64_t table_cost=0,
                  uint64_t initial_charge=0, uint32_t chunk_max=CHUNK_MAX, tuple sizes=()):
        cdef SlabSettings settings
        cdef uint32_t[64] chosen
        memset(&settings, 0, sizeof(SlabSettings))
        settings.limit = limit
        settings.factor = factor
        settings.chunk_min = chunk_min
        settings.chunk_max = chunk_max
        settings.file = -1
        settings.table_cost = table_cost
        settings.initial_charge = initial_charge
        if sizes:
            settings.nsizes = len(sizes)
            for i, size in enumerate(sizes):
                chosen[<int>i] = size
            settings.sizes = chosen
        self.slabs = <SlabsStruct *>calloc(1, sizeof(SlabsStruct))
        if self.slabs == NULL or slabs_init(self.slabs, &settings) != 0:
            raise MemoryError

    def __dealloc__(self):
        if self.slabs != NULL:
            slabs_free(self.slabs)
            free(self.slabs)

    def alloc(self, uint32_t cls):
        """A chunk's reference, or None."""
        cdef void *chunk = slab_alloc(self.slabs, cls)
        if chunk == NULL:
            return None
        assert chunk_class(self.slabs, chunk) == cls and <uint64_t>chunk % 4 == 0
        ref = chunk_ref(self.slabs, chunk)
        assert chunk_at(self.slabs, ref) == chunk and ref != 0
        memset(chunk, <uint8_t>(<uint32_t>ref * 167 + 13), chunk_room(&self.slabs.classes[cls]))
        return ref

    def free(self, uint32_t ref):
        """Give it back, in the state in which alloc left it."""
        cdef uint8_t *chunk = <uint8_t *>chunk_at(self.slabs, ref)
        cdef uint32_t size = chunk_room(&self.slabs.classes[chunk_class(self.slabs, chunk)])
        cdef bytes content = chunk[:size]
        assert content == bytes([<uint8_t>(ref * 167 + 13)]) * size, "somebody else wrote into the chunk"
        slab_free(self.slabs, chunk)

    def class_for(self, size_t size):
        """The class for a size; 0 for none."""
        return slab_class_for(self.slabs, size)

    def class_of(self, uint32_t ref):
        """The class of a chunk."""
        return chunk_class(self.slabs, chunk_at(self.slabs, ref))

    def offset(self, uint32_t ref):
        """Where a chunk begins, in bytes from the first page on."""
        return <char *>chunk_at(self.slabs, ref) - self.slabs.region

    def sizes(self):
        """The chunk sizes, by class."""
        return {cls: self.slabs.classes[cls].size for cls in range(1, self.slabs.nclasses + 1)}

    def page_of(self, uint32_t ref):
        """The number of the page that a chunk lies in."""
        return chunk_page(self.slabs, chunk_at(self.slabs, ref))

    def page_class(self, uint32_t page):
        """Whose page it is; 0: nobody's."""
        return page_class(self.slabs, page)

    def page_free(self, uint32_t page):
        """How many of a page's chunks are in no use."""
        return slab_page_free(self.slabs, page)

    def leave(self, uint32_t page):
        """Withdraw a page from its class."""
        slab_page_leave(self.slabs, page)

    def stay(self, uint32_t page):
        """Take that back."""
        slab_page_stay(self.slabs, page)

    def move(self, uint32_t page, uint32_t cls):
        """Give a page that left, and is empty, to another class, or the pool (0)."""
        slab_page_move(self.slabs, page, cls)

    def set_limit(self, uint64_t limit):
        """Change the limit; False when that cannot be had."""
        return bool(slabs_set_limit(self.slabs, limit))

    @property
    def pooled(self):
        """Pages in the pool."""
        return self.slabs.pooled

    @property
    def charged(self):
        """Bytes of the limit used up."""
        return self.slabs.charged

    @property
    def unit_shift(self):
        """A reference counts units of so many bits."""
        return self.slabs.shift

    def check(self):
        """The invariants; for every class with pages: size, pages, free, fresh, used."""
        return slabs_census(self.slabs)

    def repeat(self, uint32_t cls, uint64_t times):
        """Allocate and free a chunk, without the GIL."""
        cdef uint64_t i
        with nogil:
            for i in range(times):
                slab_free(self.slabs, slab_alloc(self.slabs, cls))


cdef struct Hashing:
    bint chosen   # the hash is the key's first 8 bytes
    HashKey key


cdef uint64_t hash_key(const Hashing *hashing, const char *key, size_t nkey) noexcept nogil:
    cdef uint64_t h = 0
    if not hashing.chosen:
        return hash_bytes(&hashing.key, key, nkey)
    memcpy(&h, key, nkey if nkey < 8 else 8)
    return h


cdef uint64_t hash_of_item(const void *hashing, const Item *item) noexcept nogil:
    return hash_key(<const Hashing *>hashing, item_key(item), item_nkey(item))


cdef void collect(void *found, Item *item) noexcept nogil:
    """A visitor that wants the GIL, which only a probe may."""
    with gil:
        (<list>found).append(item_key(item)[:item_nkey(item)])


cdef class Table:
    """A table of items without values. ``chosen_hashes``: a key's hash is its first 8 bytes, the lowest first."""

    cdef readonly Slabs slabs
    cdef TableStruct table
    cdef Hashing hashing

    def __cinit__(self, Slabs slabs not None, uint64_t stripes=2048, uint64_t max_items=1 << 20, *,
                  bint chosen_hashes=False):
        self.slabs = slabs
        self.hashing.chosen = chosen_hashes
        if getrandom(&self.hashing.key, sizeof(HashKey), 0) != sizeof(HashKey):
            raise MemoryError
        if table_init(&self.table, slabs.slabs, stripes, max_items, 2 * max_items) != 0:
            raise MemoryError

    def __dealloc__(self):
        table_free(&self.table)

    cdef Item *make(self, const char *key, uint32_t nkey) noexcept nogil:
        cdef SlabsStruct *slabs = self.slabs.slabs
        cdef Item *item = <Item *>slab_alloc(slabs, slab_class_for(slabs, ITEM_HEADER + nkey))
        if item != NULL:
            memset(item, 0, ITEM_HEADER)
            item.meta = nkey
            memcpy(item_key(item), key, nkey)
        return item

    cdef Item *find_item(self, const char *key, uint32_t nkey) noexcept nogil:
        cdef uint64_t h = hash_key(&self.hashing, key, nkey)
        cdef Item *item
        table_lock(&self.table, h)
        item = table_find_locked(&self.table, h, key, nkey)
        table_unlock(&self.table, h)
        return item

    cdef int enter(self, const char *key, uint32_t nkey) noexcept nogil:
        """1 entered, 0 refused by the table, -1 no chunk."""
        cdef uint64_t h = hash_key(&self.hashing, key, nkey)
        cdef Item *item = self.make(key, nkey)
        cdef bint entered
        if item == NULL:
            return -1
        table_lock(&self.table, h)
        entered = table_insert_locked(&self.table, h, chunk_ref(self.slabs.slabs, item))
        table_unlock(&self.table, h)
        if not entered:
            slab_free(self.slabs.slabs, item)
        return entered

    def insert(self, bytes key):
        """Enter a key that is not there. False when the table refuses."""
        entered = self.enter(key, len(key))
        if entered < 0:
            raise MemoryError
        return bool(entered)

    def find(self, bytes key):
        """The reference of the key's item, or None."""
        cdef Item *item = self.find_item(key, len(key))
        if item == NULL:
            return None
        assert item_key(item)[:item_nkey(item)] == key
        return chunk_ref(self.slabs.slabs, item)

    def remove(self, bytes key):
        """Remove the key's item; False when there is none."""
        cdef uint64_t h = hash_key(&self.hashing, key, len(key))
        cdef Item *item = self.find_item(key, len(key))
        cdef bint removed
        if item == NULL:
            return False
        table_lock(&self.table, h)
        removed = table_remove_locked(&self.table, h, chunk_ref(self.slabs.slabs, item))
        table_unlock(&self.table, h)
        slab_free(self.slabs.slabs, item)
        return removed

    def remove_ref(self, bytes key, uint32_t ref):
        """Ask for the removal of an entry that may not be there."""
        return table_remove_locked(&self.table, hash_key(&self.hashing, key, len(key)), ref)

    def replace(self, bytes key):
        """Let a new item with the same key take the place of the old one; the new one's reference."""
        cdef uint64_t h = hash_key(&self.hashing, key, len(key))
        cdef Item *old = self.find_item(key, len(key))
        cdef Item *item = self.make(key, len(key))
        if old == NULL or item == NULL:
            raise MemoryError if old != NULL else KeyError(key)
        table_lock(&self.table, h)
        table_replace_locked(&self.table, h, chunk_ref(self.slabs.slabs, old), chunk_ref(self.slabs.slabs, item))
        table_unlock(&self.table, h)
        slab_free(self.slabs.slabs, old)
        return chunk_ref(self.slabs.slabs, item)

    def add_ghost(self, bytes key, uint16_t stamp):
        """The key was evicted, when its class's clock had this stamp."""
        cdef uint64_t h = hash_key(&self.hashing, key, len(key))
        table_lock(&self.table, h)
        ghost_add_locked(&self.table, h, stamp)
        table_unlock(&self.table, h)

    def take_ghost(self, bytes key):
        """The stamp of the key's ghost, which is there no more, or None without one."""
        cdef uint64_t h = hash_key(&self.hashing, key, len(key))
        table_lock(&self.table, h)
        stamp = ghost_take_locked(&self.table, h)
        table_unlock(&self.table, h)
        return stamp if stamp >= 0 else None

    def grow(self):
        """Divide one bucket; False when the table is as large as it gets."""
        return table_grow(&self.table, hash_of_item, &self.hashing)

    def is_full(self, bytes key):
        """Whether the stripe of this key says that the table should grow."""
        return table_is_full(&self.table, hash_key(&self.hashing, key, len(key)))

    def walk(self, uint64_t at=0, uint32_t most=1000, uint64_t steps=1):
        """So many steps of a walk: the keys visited, and where to go on, None at the end."""
        cdef TableCursor cursor
        cdef Py_ssize_t before
        keys = []
        cursor.at = at
        cursor.ended = False
        while steps > 0 and not cursor.ended:
            before = len(keys)
            found = table_walk(&self.table, &cursor, most, collect, <void *>keys, hash_of_item, &self.hashing)
            assert found == len(keys) - before <= most
            steps -= 1
        return keys, None if cursor.ended else cursor.at

    def lock_stripe(self, bytes key):
        """Hold the lock of a key's stripe, as another thread would."""
        table_lock(&self.table, hash_key(&self.hashing, key, len(key)))

    def unlock_stripe(self, bytes key):
        """Let it go."""
        table_unlock(&self.table, hash_key(&self.hashing, key, len(key)))

    @property
    def nbuckets(self):
        """Buckets, without the overflow."""
        return self.table.nbuckets

    @property
    def max_overflow(self):
        """How many overflow buckets there can be."""
        return self.table.max_overflow

    @property
    def bytes(self):
        """Bytes of buckets and overflow buckets in use."""
        return table_bytes(&self.table)

    def check(self):
        """The invariants; items, buckets, overflow, longest (chain)."""
        return table_census(&self.table, hash_of_item, &self.hashing)

    def fill(self, uint64_t first, uint64_t number, *, bint measure=False):
        """Insert the keys ``key<n>``, growing as the store does; the most CPU time of an insertion and of a growth."""
        cdef uint64_t i, h, begin, end, longest_insert = 0, longest_grow = 0
        cdef char key[32]
        cdef uint32_t nkey
        cdef bint full
        memcpy(key, b"key", 3)
        with nogil:
            for i in range(first, first + number):
                nkey = 3 + format_u64(key + 3, i)
                begin = cpu_ns() if measure else 0
                if self.enter(key, nkey) <= 0:
                    with gil:
                        raise MemoryError
                end = cpu_ns() if measure else 0
                longest_insert = max(longest_insert, end - begin)
                h = hash_key(&self.hashing, key, nkey)
                table_lock(&self.table, h)
                full = table_is_full(&self.table, h)
                table_unlock(&self.table, h)
                if full:
                    begin = cpu_ns() if measure else 0
                    table_grow(&self.table, hash_of_item, &self.hashing)
                    end = cpu_ns() if measure else 0
                    longest_grow = max(longest_grow, end - begin)
        return {"insert_ns": longest_insert, "grow_ns": longest_grow}

    def repeat_find(self, uint64_t first, uint64_t number, uint64_t times):
        """Look ``times`` times for ``number`` keys ``key<n>``, without the GIL; how many were there."""
        cdef uint64_t i, j, found = 0
        cdef char key[32]
        memcpy(key, b"key", 3)
        with nogil:
            for i in range(times):
                for j in range(first, first + number):
                    found += self.find_item(key, 3 + format_u64(key + 3, j)) != NULL
        return found


cdef class Lru:
    """The LRU classes, over items that have a key and nothing else."""

    cdef readonly Slabs slabs
    cdef LruStruct lru

    def __cinit__(self, Slabs slabs not None, *, int mode=LRU_S3FIFO):
        self.slabs = slabs
        lru_init(&self.lru, slabs.slabs)
        self.lru.tuning.mode = mode

    cdef Item *item(self, uint32_t ref):
        return <Item *>chunk_at(self.slabs.slabs, ref)

    def tune(self, *, hot_pct=20, warm_pct=40, hot_factor=200, warm_factor=2000, temporary_ttl=0xFFFFFFFF,
             mode=None):
        """The tuning; the factors in thousandths. The mode stays unless one is given."""
        if mode is not None:
            self.lru.tuning.mode = mode
        self.lru.tuning.hot_pct = hot_pct
        self.lru.tuning.warm_pct = warm_pct
        self.lru.tuning.hot_factor = hot_factor
        self.lru.tuning.warm_factor = warm_factor
        self.lru.tuning.temporary_ttl = temporary_ttl

    def link(self, uint32_t cls, uint32_t nkey=10, uint32_t now=100, uint32_t exptime=0, int arrival=ARRIVAL_NEW):
        """A new item of a class; its reference, or None without a chunk."""
        cdef Item *item = <Item *>slab_alloc(self.slabs.slabs, cls)
        if item == NULL:
            return None
        memset(item, 0, ITEM_HEADER)
        item.meta = nkey
        item_set_time(item, now)
        item_set_exptime(item, exptime)
        lru_link(&self.lru, item, arrival)
        return chunk_ref(self.slabs.slabs, item)

    def unlink(self, uint32_t ref):
        """Take an item out of its list, and free it."""
        lru_unlink(&self.lru, self.item(ref))
        slab_free(self.slabs.slabs, self.item(ref))

    def fetched(self, uint32_t ref, uint32_t now):
        """A fetch."""
        lru_fetched(self.item(ref), now)

    def rewrite(self, uint32_t ref):
        """A storing in the old place: it takes the marks of the fetches away."""
        item_unmark(self.item(ref), ITEM_ACTIVE | ITEM_FETCHED)
        item_mark(self.item(ref), ITEM_REWRITTEN)

    def resize(self, uint32_t ref, uint32_t nbytes):
        """The item's value has another length from here on; the class stays."""
        lru_rewrite(&self.lru, self.item(ref), ~<uint32_t>LENGTH_MASK, nbytes << 8)

    def victim(self, uint32_t cls):
        """Who should leave next, or None; it stays."""
        cdef Item *item = lru_victim_locked(&self.lru, &self.lru.classes[cls])
        return None if item == NULL else chunk_ref(self.slabs.slabs, item)

    def defer(self, uint32_t cls, uint32_t ref):
        """Send an item to its segment's head."""
        lru_defer_locked(&self.lru, &self.lru.classes[cls], self.item(ref))

    def juggle(self, uint32_t cls, uint32_t now, uint32_t steps=1000):
        """The maintenance's round; how many items it moved."""
        return lru_juggle_locked(&self.lru, &self.lru.classes[cls], now, steps)

    def replace(self, uint32_t cls, uint32_t ref):
        """Let a copy in another chunk take an item's place; the copy's reference."""
        cdef Item *copy = <Item *>slab_alloc(self.slabs.slabs, cls)
        cdef Item *item = self.item(ref)
        memcpy(copy, item, ITEM_HEADER)
        lru_replace_locked(&self.lru, &self.lru.classes[cls], item, copy)
        assert item.prev == <uint32_t>ITEM_UNLINKED
        slab_free(self.slabs.slabs, item)
        return chunk_ref(self.slabs.slabs, copy)

    def marks(self, uint32_t ref):
        """The marks that the policy looks at."""
        cdef uint32_t meta = item_meta(self.item(ref))
        names = (("fetched", ITEM_FETCHED), ("active", ITEM_ACTIVE), ("rewritten", ITEM_REWRITTEN))
        return {name for name, bit in names if meta & bit}

    def time(self, uint32_t ref):
        """The tick of the last access that was noted."""
        return item_time(self.item(ref))

    def bytes(self, uint32_t cls):
        """What a class's items ask for."""
        return sum([self.lru.classes[cls].segment[i].bytes for i in range(<int>SEGMENTS)])

    def moves(self, uint32_t cls):
        """Moves so far: to COLD, to WARM, within a segment."""
        lists = &self.lru.classes[cls]
        return lists.moves_to_cold, lists.moves_to_warm, lists.moves_within_lru

    def check(self, uint32_t cls):
        """The invariants of a class; the references in HOT, WARM, COLD and TEMP, from head to tail."""
        return lru_census(&self.lru, cls)
