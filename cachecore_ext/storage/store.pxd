"""The store: the one door to the items, for the protocols and for whoever embeds the engine.

Every function takes a Context: whose counters, and what time it is. Functions ending in _locked are for a caller who
holds the bucket's lock of the hash that they name (store_lock); such a section waits for nothing and calls no I/O.

An item that a reply still sends from its place is held by store_hold_locked and let go by store_release.
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from cachecore_ext.base.compiler cimport unlikely
from cachecore_ext.base.counters cimport CLASS_HITS_TO_HOT, ClassCounter, count_class
from cachecore_ext.base.eventlog cimport LOOKUP_FOUND, LOOKUP_NOT_FOUND, WATCH_FETCHERS, Lookup, event_item_get
from cachecore_ext.base.hashing cimport hash_bytes
# Passed on: what others need of the allocation they take from here.
from cachecore_ext.storage.allocation cimport (
    Context, Store, ValueCursor, cursor_open, cursor_skip, store_class, store_extend, store_hold_locked, store_is_dead,
    store_release, value_copy,
)
from cachecore_ext.storage.flush cimport flush_suspects
from cachecore_ext.storage.item cimport Item, item_cas, item_expired, item_nbytes, meta_key_offset, meta_layout
from cachecore_ext.storage.lru cimport item_segment, lru_fetched, lru_id
from cachecore_ext.storage.slabs cimport slab_class_for
from cachecore_ext.storage.table cimport (
    Bucket, TableCursor, TableVisit, table_find_locked, table_lock, table_prefetch_bucket, table_prefetch_item,
    table_unlock,
)

cdef enum StoreStatus:
    STORED, NOT_STORED, EXISTS, NOT_FOUND, TOO_LARGE, NO_MEMORY, NON_NUMERIC

cdef enum PutMode:
    PUT_SET, PUT_ADD, PUT_REPLACE, PUT_APPEND, PUT_PREPEND
    STORE_BY_CAS  # no mode of its own: what the log calls a PUT_SET or PUT_REPLACE that compares

cdef struct StoreSettings:
    uint64_t memory_limit    # bytes for pages and hash table
    uint64_t item_size_max   # bytes, as memcached counts an item
    double growth_factor     # of the chunk sizes; 0: the default ladder
    uint32_t chunk_min       # bytes for key, value and flags in the smallest class
    uint32_t chunk_max       # the largest chunk; larger items are chained
    const uint32_t *chunk_sizes  # the chunk sizes wanted; NULL: by factor or ladder
    uint32_t nchunk_sizes
    uint32_t threads         # how many will work on the store at once
    bint hugepages           # ask the kernel for large pages
    int memory_file          # descriptor of the file that the items are to lie in; -1: none
    bint evictions           # False: a full cache refuses
    bint use_cas             # False: no cas is shown, none ever matches

cdef struct Put:
    # What a storage command asks for.
    PutMode mode
    bint compare             # store only over an item whose cas is compare_cas; ADD does not look
    bint invalidate          # with compare: a lower compare_cas stores too, but marks the result stale
    bint vivify              # APPEND and PREPEND: create what is missing, to end at vivify_exptime
    bint binary              # the key came in base64
    bint drop_on_failure     # a value that cannot be stored removes the old one
    uint32_t flags
    uint32_t exptime         # tick; 0 never
    uint32_t vivify_exptime
    uint64_t compare_cas
    uint64_t explicit_cas    # the cas to give; 0: the next one
    # And what came of it, for STORED:
    uint64_t cas
    uint32_t nbytes

ctypedef TableCursor StoreCursor  # a place in a walk over all items; all bits zero is its beginning
ctypedef TableVisit StoreVisit

cdef int store_init(Store *store, const StoreSettings *settings) noexcept nogil
cdef void store_free(Store *store) noexcept nogil
cdef bint store_set_limit(Store *store, uint64_t limit) noexcept nogil

cdef bint store_fits(const Store *store, uint32_t nkey, uint32_t flags, uint64_t nbytes) noexcept nogil
cdef void store_count_set(Context *context, const Put *put, uint32_t nkey, uint32_t nbytes) noexcept nogil
cdef StoreStatus store_put(Context *context, Put *put, uint64_t h, const char *key, uint32_t nkey,
                           char *value, uint32_t nbytes) noexcept nogil
cdef StoreStatus store_reserve(Context *context, const Put *put, const char *key, uint32_t nkey, uint32_t nbytes,
                               Item **reserved) noexcept nogil
cdef StoreStatus store_commit(Context *context, Put *put, uint64_t h, Item *item) noexcept nogil
cdef void store_drop_failed(Context *context, uint64_t h, const char *key, uint32_t nkey) noexcept nogil

cdef Item *store_find_dead_locked(Context *context, uint64_t h, Item *item) noexcept nogil
cdef void store_unlink_locked(Context *context, uint64_t h, Item *item) noexcept nogil
cdef Item *store_create_locked(Context *context, const Put *put, uint64_t h, const char *key, uint32_t nkey,
                               char *value, uint32_t nbytes) noexcept nogil
cdef Item *store_empty_locked(Context *context, uint64_t h, Item *item, uint32_t flags) noexcept nogil
cdef StoreStatus store_delta_locked(Context *context, uint64_t h, Item **item, bint increment, uint64_t delta,
                                    uint64_t explicit_cas, uint64_t *result) noexcept nogil
cdef void store_set_cas_locked(Context *context, Item *item, uint64_t explicit_cas) noexcept nogil
cdef void store_grow(Context *context, uint64_t h) noexcept nogil
cdef void store_flush(Context *context, int64_t delay) noexcept nogil
cdef uint32_t store_walk(Context *context, StoreCursor *cursor, uint32_t most, StoreVisit visit,
                         void *visitor) noexcept nogil

cdef inline uint64_t store_hash(const Store *store, const char *key, uint32_t nkey) noexcept nogil:
    return hash_bytes(&store.hash_key, key, nkey)


cdef inline const void *store_prefetch_bucket(Store *store, uint64_t h) noexcept nogil:
    """Ask for the bucket: where it is, for store_prefetch_item."""
    return table_prefetch_bucket(&store.table, h)


cdef inline void store_prefetch_item(Store *store, const void *bucket, uint64_t h) noexcept nogil:
    """Once the bucket has come: ask for the item. For a batch, buckets first, then items, then the look-ups."""
    table_prefetch_item(&store.table, <const Bucket *>bucket, h)


cdef inline void store_lock(Store *store, uint64_t h) noexcept nogil:
    table_lock(&store.table, h)


cdef inline void store_unlock(Store *store, uint64_t h) noexcept nogil:
    table_unlock(&store.table, h)


cdef inline bint store_suspect(const Store *store, const Item *item, uint32_t now) noexcept nogil:
    """Whether an item may have expired or been flushed: false for nearly all, at the price of three comparisons."""
    return item_expired(item, now) or flush_suspects(&store.flush, item)


cdef inline Item *store_peek_locked(Store *store, uint64_t h, const char *key, uint32_t nkey) noexcept nogil:
    """The item with this key, or NULL. It may be dead: for who asks store_suspect next, and then store_find_locked."""
    return table_find_locked(&store.table, h, key, nkey)


cdef inline Item *store_find_locked(Context *context, uint64_t h, const char *key, uint32_t nkey) noexcept nogil:
    """The live item with this key, or NULL. One that has expired or was flushed is removed and counted."""
    cdef Item *item = table_find_locked(&context.store.table, h, key, nkey)
    if item != NULL and store_suspect(context.store, item, context.now):
        return store_find_dead_locked(context, h, item)
    return item


cdef inline void store_fetched_locked(Context *context, Item *item) noexcept nogil:
    """A client fetched the item."""
    lru_fetched(item, context.now)


cdef inline void store_count_hit(Context *context, const Item *item) noexcept nogil:
    """Count a get's hit, for the item's class and segment."""
    count_class(
        context.counters, lru_id(&context.store.slabs, item), <ClassCounter>(CLASS_HITS_TO_HOT + item_segment(item))
    )


cdef inline uint64_t store_shown_cas(const Store *store, const Item *item) noexcept nogil:
    return item_cas(item) if store.use_cas else 0


cdef inline uint32_t store_class_for(const Store *store, uint32_t nkey, uint32_t flags, uint32_t nbytes) noexcept nogil:
    """The slab class that an item with such a value is counted under."""
    cdef uint32_t meta = meta_layout(nkey, flags, nbytes, store.slabs.chunk_max)
    cdef uint32_t cls = slab_class_for(&store.slabs, meta_key_offset(meta) + nkey + <size_t>nbytes)
    return cls if cls != 0 else store.slabs.nclasses


# ---- for those who watch

cdef inline void store_report_lookup_locked(Context *context, const char *key, uint32_t nkey,
                                            const Item *item) noexcept nogil:
    """Tell who watches fetchers what a look-up found. To be called after every look-up while they are watched."""
    cdef Lookup status = LOOKUP_FOUND if item != NULL else <Lookup>context.lost
    context.lost = LOOKUP_NOT_FOUND
    event_item_get(
        context.log, status, key, nkey, store_class(context.store, item) if item != NULL else 0, context.fd,
        item_nbytes(item) if item != NULL else 0,
    )


cdef inline Item *store_look_up_locked(Context *context, uint64_t h, const char *key, uint32_t nkey) noexcept nogil:
    """store_find_locked, told to who watches: for storage commands, and calls from inside the process."""
    cdef Item *item = store_find_locked(context, h, key, nkey)
    if unlikely(context.watched & WATCH_FETCHERS):
        store_report_lookup_locked(context, key, nkey, item)
    return item
