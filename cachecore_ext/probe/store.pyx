"""A window into the store. Every method may be called from any thread; the work is done without the GIL."""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from posix.stdlib cimport posix_memalign

import itertools

from cachecore_ext.base.counters import Counter

from cachecore_ext.base.atomics cimport load_seq_u64, load_u32, store_u32
from cachecore_ext.base.clock cimport clock_advance, clock_expiry, clock_freeze, clock_now, monotonic_us
from cachecore_ext.base.counters cimport COUNTERS, CounterSet
from cachecore_ext.base.numbers cimport format_u64, parse_u64
from cachecore_ext.probe.census cimport lru_census, slabs_census, table_census
from cachecore_ext.probe.loops cimport (
    Mix, Tally, cpu_ns, delete_once, delta_once, demand_once, drawn_once, get_locked, mixed_once, sealed,
    set_once, upload, write_value,
)
from cachecore_ext.storage.balance cimport balance_watch
from cachecore_ext.storage.allocation cimport hash_of_item
from cachecore_ext.storage.flush cimport Former, flush_begin, flush_end, flush_overtook, former_of
from cachecore_ext.storage.item cimport (
    ITEM_ACTIVE, ITEM_BINARY, ITEM_CHAINED, ITEM_EXPLICIT, ITEM_FETCHED, ITEM_FLAGS, ITEM_LARGE, ITEM_REWRITTEN,
    ITEM_STALE, ITEM_TOKEN, LARGE_MIN, Item, Piece, item_cas, item_exptime, item_flags, item_key, item_large, item_meta,
    item_nbytes, item_nkey, item_set_exptime, item_size, item_time, item_value,
)
from cachecore_ext.storage.lru cimport COLD, HOT, SEGMENTS, TEMP, WARM, LruClass
from cachecore_ext.storage.maintenance cimport Maintenance, maintenance_free, maintenance_init, maintenance_step
from cachecore_ext.storage.mover cimport mover_request
from cachecore_ext.storage.slabs cimport CHUNK_MAX, PAGE_SIZE, TOP_PAGES, chunk_at, chunk_class
from cachecore_ext.storage.snapshot cimport (
    SNAPSHOT_TAKEN_UP, snapshot_clear, snapshot_load, snapshot_save, snapshot_size,
)
from cachecore_ext.storage.store cimport (
    PUT_ADD, PUT_APPEND, PUT_PREPEND, PUT_REPLACE, PUT_SET, STORED, Context, Put, Store as StoreStruct,
    StoreSettings, StoreStatus, store_class, store_empty_locked, store_fetched_locked, store_find_locked,
    store_flush, store_free, store_hash, store_hold_locked, store_init, store_lock, store_put, store_release,
    store_set_cas_locked, store_set_limit, store_shown_cas, store_unlock, value_copy,
)
from cachecore_ext.storage.table cimport table_bytes, table_find_locked

cdef enum:
    CACHE_LINE = 64        # as the engine has it
    VALUE_ROOM = 1 << 21   # the largest value of the loops
    CHECK_CLOCK = 256      # turns of a loop between two looks at the clock
    TICK_STEPS = 64        # steps of the maintenance in a hundredth of a second, at most
    TICKS = 100            # of those in a second
    KEY_FIRST = 100000000  # added to a key's number, so that all are of one length

STATUS = ("STORED", "NOT_STORED", "EXISTS", "NOT_FOUND", "TOO_LARGE", "NO_MEMORY", "NON_NUMERIC")
REFUSALS = (
    "TAKEN_UP", "OTHER_FORMAT", "OTHER_LIMIT", "OTHER_ITEM_SIZE", "OTHER_CAS", "OTHER_CHUNKS", "STATE_WRONG",
    "FILE_LENGTH", "PAGE_DAMAGED", "ITEM_WRONG", "NO_ROOM",
)
MODES = {"set": PUT_SET, "add": PUT_ADD, "replace": PUT_REPLACE, "append": PUT_APPEND, "prepend": PUT_PREPEND}
MARKS = {
    "flags": ITEM_FLAGS, "large": ITEM_LARGE, "chained": ITEM_CHAINED, "binary": ITEM_BINARY, "fetched": ITEM_FETCHED,
    "active": ITEM_ACTIVE, "stale": ITEM_STALE, "token": ITEM_TOKEN, "explicit": ITEM_EXPLICIT,
    "rewritten": ITEM_REWRITTEN,
}


cdef class Store:
    """A store of its own, with a clock that can be moved."""

    cdef StoreStruct *store
    cdef dict held
    cdef int next_held
    cdef uint64_t counted[COUNTERS]
    cdef uint64_t initial_charge
    cdef Maintenance maintenance
    cdef CounterSet maintenance_counters
    cdef uint32_t never

    def __cinit__(self, *, uint64_t memory_limit=64 << 20, uint64_t item_size_max=1 << 20, double growth_factor=0,
                  uint32_t chunk_min=48, uint32_t chunk_max=CHUNK_MAX, uint32_t threads=4, bint evictions=True,
                  bint use_cas=True, int memory_fd=-1, memory_state=None, int64_t downtime=0):
        cdef StoreSettings settings
        self.held = {}
        if posix_memalign(<void **>&self.store, CACHE_LINE, sizeof(StoreStruct)) != 0:
            raise MemoryError
        memset(self.store, 0, sizeof(StoreStruct))
        if self.store == NULL:
            raise MemoryError
        settings.memory_limit = memory_limit
        settings.item_size_max = item_size_max
        settings.growth_factor = growth_factor
        settings.chunk_min = chunk_min
        settings.chunk_max = chunk_max
        settings.chunk_sizes = NULL
        settings.hugepages = False
        settings.memory_file = memory_fd
        settings.threads = threads
        settings.evictions = evictions
        settings.use_cas = use_cas
        if store_init(self.store, &settings) != 0:
            raise MemoryError
        self.initial_charge = self.store.slabs.charged
        if memory_fd >= 0 and memory_state is None:
            assert snapshot_clear(self.store) == 0
        elif memory_fd >= 0:
            self.take_up(memory_state, downtime)

    cdef take_up(self, bytes state, int64_t downtime):
        cdef Context context
        cdef CounterSet counters
        self.begin(&context, &counters)
        status = snapshot_load(&context, state, len(state), downtime)
        self.end(&counters)
        if status != SNAPSHOT_TAKEN_UP:
            raise ValueError(REFUSALS[<int>status])

    def __dealloc__(self):
        maintenance_free(&self.maintenance)
        if self.store != NULL:
            store_free(self.store)
            free(self.store)

    cdef void begin(self, Context *context, CounterSet *counters) noexcept:
        memset(counters, 0, sizeof(CounterSet))
        context.store = self.store
        context.counters = counters
        context.now = clock_now(&self.store.clock)
        context.watched = 0
        context.cas_left = 0

    cdef void end(self, const CounterSet *counters) noexcept:
        cdef int i
        for i in range(COUNTERS):
            self.counted[i] += counters.counter[i]

    # ---- single operations

    def put(self, str mode, bytes key, bytes value, *, uint32_t flags=0, int64_t exptime=0, compare=None,
            uint64_t explicit=0, bint invalidate=False, vivify=None, bint reserve=False):
        """A storage command; its status. ``compare``: a cas; ``reserve``: the way of a value that comes in parts."""
        cdef Context context
        cdef CounterSet counters
        cdef Put put
        cdef StoreStatus status
        cdef const char *k = key
        cdef char *v = value
        cdef uint32_t nkey = len(key), n = len(value)
        cdef uint64_t h = store_hash(self.store, k, nkey)
        self.begin(&context, &counters)
        memset(&put, 0, sizeof(Put))
        put.mode = MODES[mode]
        put.drop_on_failure = mode == "set" and compare is None
        put.flags = flags
        put.exptime = clock_expiry(&self.store.clock, context.now, exptime)
        put.compare = compare is not None
        put.compare_cas = compare or 0
        put.explicit_cas = explicit
        put.invalidate = invalidate
        put.vivify = vivify is not None
        put.vivify_exptime = clock_expiry(&self.store.clock, context.now, vivify or 0)
        with nogil:
            if not reserve:
                status = store_put(&context, &put, h, k, nkey, v, n)
            else:
                status = upload(&context, &put, h, k, nkey, v, n)
        self.end(&counters)
        return STATUS[<int>status]

    def get(self, bytes key):
        """Fetch a value: (value, flags, cas), or None."""
        cdef Context context
        cdef CounterSet counters
        cdef const char *k = key
        cdef uint32_t nkey = len(key)
        cdef uint64_t h = store_hash(self.store, k, nkey)
        cdef Item *item
        cdef char room[LARGE_MIN]
        cdef size_t size = 0
        cdef uint32_t flags = 0
        cdef uint64_t cas = 0
        self.begin(&context, &counters)
        # Who holds a bucket's lock must not wait for the GIL: its holder may be waiting for that lock.
        with nogil:
            store_lock(self.store, h)
            item = get_locked(&context, h, k, nkey, room, &size)
            if item != NULL:
                flags = item_flags(item)
                cas = store_shown_cas(self.store, item)
            store_unlock(self.store, h)
        self.end(&counters)
        if item == NULL:
            return None
        if size < LARGE_MIN:
            return room[:size], flags, cas
        found = self.value_of(item), flags, cas
        store_release(self.store, item)
        return found

    cdef bytes value_of(self, const Item *item):
        cdef bytes value = bytes(item_nbytes(item))
        value_copy(self.store, item, <char *>value)
        return value

    def look(self, bytes key):
        """What is known of an item, dead or alive, without touching it; None if the table does not have it."""
        cdef uint64_t h = store_hash(self.store, key, len(key))
        cdef Item *item
        store_lock(self.store, h)
        item = table_find_locked(&self.store.table, h, key, len(key))
        found = None
        if item != NULL:
            found = {
                "cas": item_cas(item), "exptime": item_exptime(item), "time": item_time(item), "size": item_size(item),
                "class": store_class(self.store, item), "address": <uint64_t>item,
                "marks": {name for name, bit in MARKS.items() if item_meta(item) & <uint32_t>bit},
            }
        store_unlock(self.store, h)
        return found

    def delete(self, bytes key):
        """Remove a key; whether it was there."""
        cdef Context context
        cdef CounterSet counters
        cdef Tally tally
        cdef const char *k = key
        cdef uint32_t nkey = len(key)
        self.begin(&context, &counters)
        tally.deleted = 0
        with nogil:
            delete_once(&context, k, nkey, &tally)
        self.end(&counters)
        return bool(tally.deleted)

    def delta(self, bytes key, uint64_t by, bint increment=True):
        """incr or decr: the new number, or the status that says why not."""
        cdef Context context
        cdef CounterSet counters
        cdef uint64_t result = 0
        cdef const char *k = key
        cdef uint32_t nkey = len(key)
        cdef StoreStatus status
        self.begin(&context, &counters)
        with nogil:
            status = delta_once(&context, k, nkey, increment, by, &result)
        self.end(&counters)
        return result if status == STORED else STATUS[<int>status]

    def touch(self, bytes key, int64_t exptime):
        """Give an item another exptime; whether it was there."""
        cdef Context context
        cdef CounterSet counters
        cdef uint64_t h = store_hash(self.store, key, len(key))
        self.begin(&context, &counters)
        store_lock(self.store, h)
        cdef Item *item = store_find_locked(&context, h, key, len(key))
        if item != NULL:
            item_set_exptime(item, clock_expiry(&self.store.clock, context.now, exptime))
            store_fetched_locked(&context, item)
        store_unlock(self.store, h)
        self.end(&counters)
        return item != NULL

    def empty(self, bytes key, uint32_t flags=0):
        """Take an item's value away but keep the item; whether it was there and there was memory."""
        cdef Context context
        cdef CounterSet counters
        cdef uint64_t h = store_hash(self.store, key, len(key))
        self.begin(&context, &counters)
        store_lock(self.store, h)
        cdef Item *item = store_find_locked(&context, h, key, len(key))
        if item != NULL:
            item = store_empty_locked(&context, h, item, flags)
        store_unlock(self.store, h)
        self.end(&counters)
        return item != NULL

    def flush(self, int64_t delay=0):
        """Make every item go, at once or later."""
        cdef Context context
        cdef CounterSet counters
        self.begin(&context, &counters)
        store_flush(&context, delay)

    def flush_begin(self):
        """The first half of a flush: the last cas, for flush_end."""
        with nogil:
            flush_begin(&self.store.flush)
        return load_seq_u64(&self.store.cas)

    def flush_end(self, uint64_t last_cas):
        """The second half."""
        flush_end(&self.store.flush, last_cas, clock_now(&self.store.clock))

    @property
    def flush_awaited(self):
        """Whether somebody sleeps until the second half."""
        return load_u32(&self.store.flush.lock.word) == 2

    def former(self, bytes key):
        """What an item says about the flushes that may take it; for overtaken."""
        cdef Former former
        former_of(table_find_locked(&self.store.table, store_hash(self.store, key, len(key)), key, len(key)), &former)
        return former.cas, former.time

    def overtaken(self, former):
        """Whether a flush has taken it since."""
        cdef Former asked
        asked.cas, asked.time = former
        return bool(flush_overtook(&self.store.flush, &asked))

    def renew(self, bytes key, uint64_t explicit=0):
        """Give an item another cas; whether it was there."""
        cdef Context context
        cdef CounterSet counters
        cdef const char *k = key
        cdef uint32_t nkey = len(key)
        cdef uint64_t h = store_hash(self.store, k, nkey)
        cdef Item *item
        self.begin(&context, &counters)
        with nogil:
            store_lock(self.store, h)
            item = store_find_locked(&context, h, k, nkey)
            if item != NULL:
                store_set_cas_locked(&context, item, explicit)
            store_unlock(self.store, h)
        self.end(&counters)
        return item != NULL

    def hold(self, bytes key):
        """Keep a large item's memory, as a reply does that is being sent; a handle, or None."""
        cdef uint64_t h = store_hash(self.store, key, len(key))
        store_lock(self.store, h)
        cdef Item *item = table_find_locked(&self.store.table, h, key, len(key))
        if item != NULL and item_meta(item) & ITEM_LARGE:
            store_hold_locked(item)
        store_unlock(self.store, h)
        if item == NULL or not item_meta(item) & ITEM_LARGE:
            return None
        self.next_held += 1
        self.held[self.next_held] = <uint64_t>item
        return self.next_held

    def held_value(self, int handle):
        """The value of a held item."""
        return self.value_of(<Item *><uint64_t>self.held[handle])

    def release(self, int handle):
        """Let it go."""
        store_release(self.store, <Item *><uint64_t>self.held.pop(handle))

    def save(self):
        """Bring the file to rest: the state. The store may not be used any more."""
        cdef bytes state = bytes(snapshot_size(self.store))
        assert snapshot_save(self.store, state)
        return state

    def order(self):
        """The keys in each segment of each class, from head to tail, and what else is restored of the lists."""
        cdef Item *item
        found = {}
        for cls in range(1, self.store.slabs.nclasses + 1):
            for i, refs in enumerate(lru_census(&self.store.lru, cls)):
                keys = []
                for ref in refs:
                    item = <Item *>chunk_at(&self.store.slabs, ref)
                    keys.append(item_key(item)[:item_nkey(item)])
                if keys:
                    found[cls, i] = keys
        return found

    # ---- clock and sums

    def freeze(self):
        """Let the clock stand still."""
        clock_freeze(&self.store.clock)

    def advance(self, int64_t seconds):
        """Move the clock."""
        clock_advance(&self.store.clock, seconds)

    @property
    def now(self):
        """The tick."""
        return clock_now(&self.store.clock)

    def counters(self):
        """What was counted, by name."""
        return {which.name.lower(): self.counted[<int>which] for which in Counter}

    def memory(self):
        """Bytes: of the limit, charged against it, of pages, of the table in use."""
        slabs = &self.store.slabs
        return {
            "limit": slabs.limit, "charged": slabs.charged, "pages": <uint64_t>slabs.pages * PAGE_SIZE,
            "table": table_bytes(&self.store.table),
        }

    def lists(self):
        """The LRU classes' sums, for those that ever had an item."""
        cdef LruClass of
        found = {}
        for cls in range(1, self.store.slabs.nclasses + 1):
            of = self.store.lru.classes[<int>cls]
            number = sum([of.segment[i].number for i in range(<int>SEGMENTS)])
            if number or of.evicted or of.reclaimed or of.outofmemory or of.crawler_reclaimed:
                found[cls] = {
                    "number": number, "bytes": sum([of.segment[i].bytes for i in range(<int>SEGMENTS)]),
                    "hot": of.segment[<int>HOT].number, "warm": of.segment[<int>WARM].number,
                    "cold": of.segment[<int>COLD].number, "temp": of.segment[<int>TEMP].number,
                    "evicted": of.evicted, "reclaimed": of.reclaimed, "outofmemory": of.outofmemory,
                    "reflocked": of.reflocked, "crawler_reclaimed": of.crawler_reclaimed,
                }
        return found

    def check(self):
        """The invariants, with nobody at work: every item is in the table and its list, every chunk accounted for."""
        cdef StoreStruct *store = self.store
        cdef Item *item
        table = table_census(&store.table, hash_of_item, &store.hash_key)
        classes = slabs_census(&store.slabs)
        used = dict.fromkeys(classes, 0)
        items, size = 0, 0
        for cls in range(1, store.slabs.nclasses + 1):
            for ref in itertools.chain(*lru_census(&store.lru, cls)):
                item = <Item *>chunk_at(&store.slabs, ref)
                assert self.linked(item), "an item is in a list, but the table does not have it"
                assert not item_meta(item) & ITEM_LARGE or item_large(item).refs == 1 + self.holds(item), "refs"
                self.count_chunks(item, used)
                items += 1
                size += item_size(item)
        for address in set(self.held.values()):
            item = <Item *><uint64_t>address
            if not self.linked(item):
                assert item_large(item).refs == self.holds(item), "refs of a held item"
                self.count_chunks(item, used)
        assert items == table["items"], f"{items} items in the lists, {table['items']} in the table"
        for cls, of in classes.items():
            assert of["used"] == used[cls], f"class {cls}: {of['used']} chunks in use, {used[cls]} in items"
        charged = sum([of["pages"] * (PAGE_SIZE + (PAGE_SIZE // of["size"]) * store.slabs.table_cost // 1024)
                       for of in classes.values()])
        assert store.slabs.charged >= self.initial_charge + charged
        pages = len(classes) + TOP_PAGES - 1  # what may be beyond the limit
        assert store.slabs.charged <= max(store.slabs.limit, self.initial_charge) + pages * (PAGE_SIZE + PAGE_SIZE // 4)
        return table | {"bytes": size, "classes": classes}

    cdef bint linked(self, const Item *item) noexcept:
        cdef uint64_t h = hash_of_item(&self.store.hash_key, item)
        return table_find_locked(&self.store.table, h, item_key(item), item_nkey(item)) == item

    cdef uint32_t holds(self, const Item *item) except? 0xFFFFFFFF:
        return list(self.held.values()).count(<uint64_t>item)

    cdef int count_chunks(self, const Item *item, dict used) except -1:
        cdef uint32_t ref = item_large(item).chain if item_meta(item) & ITEM_CHAINED else 0
        cdef uint64_t size = 0
        cdef const Piece *piece
        used[chunk_class(&self.store.slabs, item)] += 1
        while ref != 0:
            piece = <const Piece *>chunk_at(&self.store.slabs, ref)
            assert item_nkey(<const Item *>piece) == 0, "a piece that looks like an item"
            used[chunk_class(&self.store.slabs, piece)] += 1
            size += piece.size
            ref = piece.next
        assert size == (item_nbytes(item) if item_meta(item) & ITEM_CHAINED else 0), "the pieces' sizes"
        return 0

    # ---- maintenance

    def set_limit(self, uint64_t limit):
        """Change the memory limit; False when so much cannot be had."""
        return bool(store_set_limit(self.store, limit))

    def tune(self, *, temporary_ttl=None, mode=None):
        """Change the LRU's tuning."""
        if temporary_ttl is not None:
            store_u32(&self.store.lru.tuning.temporary_ttl, temporary_ttl)
        if mode is not None:
            store_u32(&self.store.lru.tuning.mode, mode)

    cdef int begin_maintenance(self) except -1:
        if self.maintenance.context.store == NULL:
            memset(&self.maintenance_counters, 0, sizeof(CounterSet))
            if maintenance_init(&self.maintenance, self.store, &self.maintenance_counters, NULL, &self.never) != 0:
                raise OSError("no descriptors left")
        return 0

    cdef int64_t maintain_at_once(self) noexcept nogil:
        self.maintenance.next_lru_us = 0
        self.maintenance.balance.next_us = 0
        self.maintenance.balance.vain_us = 0
        self.maintenance.crawler.next_us = 0
        self.maintenance.mover.next_us = 0
        return maintenance_step(&self.maintenance)

    def maintain(self, uint64_t steps=1):
        """So many steps of the maintenance, at once, whatever it says about resting."""
        cdef uint64_t i
        self.begin_maintenance()
        with nogil:
            for i in range(steps):
                self.maintain_at_once()

    def reassign(self, int64_t source, int64_t target):
        """Ask for a page of a class to go to another; 0 if the mover takes it up."""
        return <int>mover_request(&self.maintenance.mover, &self.store.slabs, source, target, False)

    def mover(self):
        """What the mover counted, and the page that it gave up last."""
        of = &self.maintenance.mover
        return {
            "moved": of.moved, "rescues": of.rescues, "chunk_rescues": of.chunk_rescues,
            "inline_reclaim": of.inline_reclaim, "busy_items": of.busy_items, "busy_nomem": of.busy_nomem,
            "given_up": of.shunned - 1 if of.shunned else None, "moving": bool(of.moving),
        }

    def automove(self, uint32_t mode):
        """The automover's mode; 0 to keep it out of a test of the mover."""
        store_u32(&self.maintenance.balance.mode, mode)
        store_u32(&self.store.always_wanting, mode == 2)

    # ---- loops, for threads of the caller's

    def run_mixed(self, uint64_t operations, *, uint64_t seed, uint64_t keys, uint32_t sets=10, uint32_t deletes=0,
                  uint32_t others=0, uint32_t smallest=100, uint32_t largest=100, uint32_t ttl=0):
        """Gets, and so many in a hundred of the others (see Mix), of keys drawn from ``keys``; every value got is
        verified: that it is whole, and that it is the key's."""
        cdef Context context
        cdef CounterSet *counters = <CounterSet *>calloc(1, sizeof(CounterSet))
        cdef char *room = <char *>calloc(1, VALUE_ROOM)
        cdef Tally tally
        cdef Mix mix
        cdef uint64_t i, state = seed
        if counters == NULL or room == NULL or smallest < 8 or not smallest <= largest <= VALUE_ROOM:
            free(counters)
            free(room)
            raise ValueError("sizes")
        memset(&tally, 0, sizeof(Tally))
        mix.keys, mix.sets, mix.deletes, mix.others = keys, sets, deletes, others
        mix.smallest, mix.largest, mix.ttl = smallest, largest, ttl
        self.begin(&context, counters)
        with nogil:
            for i in range(operations):
                if i % CHECK_CLOCK == 0:
                    context.now = clock_now(&self.store.clock)
                mixed_once(&context, &mix, &state, room, &tally)
        self.end(counters)
        free(counters)
        free(room)
        return <dict>tally

    def fill(self, uint64_t first, uint64_t number, uint32_t size=32, *, bint measure=False):
        """Set the keys ``key<n>``, one after the other, to values that say whose they are, from 8 bytes on; ``measure``
        the most CPU time, and the most time, that one takes."""
        cdef Context context
        cdef CounterSet *counters = <CounterSet *>calloc(1, sizeof(CounterSet))
        cdef Tally tally
        cdef char key[32]
        cdef char *value = <char *>calloc(1, size + 1)
        cdef uint64_t i, begin = 0, taken
        cdef int64_t begin_us = 0
        cdef uint32_t nkey
        if counters == NULL or value == NULL:
            free(counters)
            free(value)
            raise MemoryError
        memset(&tally, 0, sizeof(Tally))
        memcpy(key, b"key", 3)
        self.begin(&context, counters)
        with nogil:
            for i in range(first, first + number):
                nkey = 3 + format_u64(key + 3, i)
                write_value(value, size, sealed(i, store_hash(self.store, key, nkey)))
                if measure:
                    begin_us = monotonic_us()
                    begin = cpu_ns()
                set_once(&context, key, nkey, value, size, &tally)
                if measure:
                    taken = cpu_ns() - begin
                    tally.longest_us = max(tally.longest_us, <uint64_t>(monotonic_us() - begin_us))
                    tally.longest_ns = max(tally.longest_ns, taken)
                    tally.over_ms += taken > 1000000
        self.end(counters)
        free(counters)
        free(value)
        return <dict>tally

    def replay(self, const uint32_t[::1] keys, const uint32_t[::1] sizes, const uint32_t[::1] ttls, *,
               uint64_t rate, int parts=1):
        """Look up keys, by number, and store those that are not there, with values of ``sizes`` bytes and ``ttls`` in
        seconds (0: none); how many were not there, for each of so many parts of the requests. There are ``rate``
        requests to a second: so the clock moves, which must be frozen, and so often does the maintenance have its turn.
        """
        cdef Context context
        cdef CounterSet counters
        cdef char key[32]
        cdef char *value = <char *>calloc(1, VALUE_ROOM)
        cdef uint64_t missed[64]
        cdef uint64_t i, requests = len(keys), tick = max(<uint64_t>1, rate / <uint64_t>TICKS)
        cdef uint32_t nkey, steps, exptime
        memcpy(key, b"key", 3)
        memset(missed, 0, sizeof(missed))
        self.begin_maintenance()
        self.begin(&context, &counters)
        balance_watch(&self.maintenance.balance, &counters, 1)
        with nogil:
            for i in range(requests):
                if i % rate == 0 and i > 0:
                    clock_advance(&self.store.clock, 1)
                    context.now = clock_now(&self.store.clock)
                if i % tick == 0 and self.maintain_at_once() == 0:
                    steps = 1
                    while maintenance_step(&self.maintenance) == 0 and steps < <uint32_t>TICK_STEPS:
                        steps += 1
                nkey = 3 + format_u64(key + 3, <uint64_t>KEY_FIRST + keys[i])
                exptime = clock_expiry(&self.store.clock, context.now, ttls[i])
                missed[i * parts / requests] += not demand_once(&context, key, nkey, value, sizes[i], exptime)
        balance_watch(&self.maintenance.balance, NULL, 0)
        self.end(&counters)
        free(value)
        return [missed[part] for part in range(parts)]

    def run_incr(self, bytes key, uint64_t times):
        """Add 1 to a number, so often; how often that succeeded."""
        cdef Context context
        cdef CounterSet counters
        cdef uint64_t i, result = 0, done = 0
        cdef const char *k = key
        cdef uint32_t nkey = len(key)
        self.begin(&context, &counters)
        with nogil:
            for i in range(times):
                done += delta_once(&context, k, nkey, True, 1, &result) == STORED
        return done

    def run_cas(self, bytes key, uint64_t times):
        """Add 1 to a number of fixed length by get and cas, so often, each until it succeeds; how many cas failed."""
        cdef Context context
        cdef CounterSet counters
        cdef Put put
        cdef uint64_t i = 0, h = store_hash(self.store, key, len(key)), number = 0, failed = 0
        cdef char text[24]
        cdef const char *k = key
        cdef uint32_t nkey = len(key), n
        cdef Item *item
        cdef bint good = True
        self.begin(&context, &counters)
        with nogil:
            while i < times and good:
                memset(&put, 0, sizeof(Put))
                put.mode = PUT_SET
                put.compare = True
                store_lock(self.store, h)
                item = store_find_locked(&context, h, k, nkey)
                good = item != NULL and parse_u64(item_value(item), item_nbytes(item), &number)
                if good:
                    put.compare_cas = item_cas(item)
                store_unlock(self.store, h)
                n = format_u64(text, number + 1)
                if good and store_put(&context, &put, h, k, nkey, text, n) == STORED:
                    i += 1
                else:
                    failed += 1
        if not good:
            raise KeyError(key)
        return failed

    def repeat_get(self, uint64_t first, uint64_t number, uint64_t times):
        """Get ``number`` keys of ``fill``, of values in one stretch, ``times`` times, without the GIL; how many were
        there. A small value is copied, a large one held while its first bytes are."""
        cdef Context context
        cdef CounterSet counters
        cdef char key[32]
        cdef char room[LARGE_MIN]
        cdef uint64_t i, j, h, found = 0
        cdef uint32_t nkey
        cdef size_t size = 0
        cdef Item *item
        memcpy(key, b"key", 3)
        self.begin(&context, &counters)
        with nogil:
            for i in range(times):
                for j in range(first, first + number):
                    nkey = 3 + format_u64(key + 3, j)
                    h = store_hash(self.store, key, nkey)
                    store_lock(self.store, h)
                    item = get_locked(&context, h, key, nkey, room, &size)
                    store_unlock(self.store, h)
                    found += item != NULL
                    if item != NULL and size >= LARGE_MIN:
                        memcpy(room, item_value(item), LARGE_MIN)
                        store_release(self.store, item)
        return found

    def run_drawn(self, const uint32_t[::1] numbers, uint64_t operations, *, uint32_t set_every=0, uint32_t size=32,
                  bint locked=True):
        """Get the keys of ``fill`` with these numbers, over and over, without the GIL; every ``set_every``th is set
        instead. ``locked``: False leaves out the buckets' locks, where nobody writes."""
        cdef Context context
        cdef CounterSet counters
        cdef Tally tally
        cdef char key[32]
        cdef char room[LARGE_MIN]
        cdef uint64_t i, place = 0, number, left = set_every
        cdef uint32_t nkey
        if numbers.shape[0] == 0 or size >= LARGE_MIN or (set_every and not locked):
            raise ValueError("numbers, a small value, and locks where there are sets")
        memset(&tally, 0, sizeof(Tally))
        memset(room, 0, LARGE_MIN)
        memcpy(key, b"key", 3)
        self.begin(&context, &counters)
        with nogil:
            for i in range(operations):
                number = numbers[place]
                place += 1
                if place == <uint64_t>numbers.shape[0]:
                    place = 0
                left -= 1
                if set_every and left == 0:
                    left = set_every
                    nkey = 3 + format_u64(key + 3, number)
                    set_once(&context, key, nkey, room, size, &tally)
                else:
                    drawn_once(&context, number, locked, room, &tally)
        self.end(&counters)
        return <dict>tally
