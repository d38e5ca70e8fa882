"""One operation on a store each, without the GIL."""
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from cachecore_ext.base.numbers cimport format_u64
from cachecore_ext.storage.item cimport (
    ITEM_CHAINED, ITEM_LARGE, LARGE_MIN, Item, Piece, item_cas, item_meta, item_nbytes, item_set_exptime, item_value,
)
from cachecore_ext.storage.store cimport (
    NO_MEMORY, NOT_FOUND, PUT_APPEND, PUT_SET, STORED, Context, Put, StoreStatus, ValueCursor, cursor_open,
    cursor_skip, store_commit, store_count_hit, store_delta_locked, store_drop_failed, store_extend,
    store_fetched_locked, store_find_locked, store_hash, store_hold_locked, store_lock, store_put, store_release,
    store_reserve, store_unlink_locked, store_unlock, value_copy,
)


# ---- values that tell whether they are whole: word i is made of word 0 and i

cdef inline uint64_t word_at(uint64_t first, size_t i) noexcept nogil:
    return first if i == 0 else fold(first ^ i, <uint64_t>0x9E3779B97F4A7C15)


cdef void write_value(char *out, size_t n, uint64_t first) noexcept nogil:
    cdef size_t i
    cdef uint64_t word
    for i in range(0, n, 8):
        word = word_at(first, i // 8)
        memcpy(out + i, &word, min(<size_t>8, n - i))


cdef bint value_is_whole(const char *value, size_t n) noexcept nogil:
    cdef uint64_t first = 0, word
    cdef size_t i
    memcpy(&first, value, min(<size_t>8, n))
    for i in range(8, n, 8):
        word = word_at(first, i // 8)
        if memcmp(value + i, &word, min(<size_t>8, n - i)) != 0:
            return False
    return True


cdef uint64_t sealed(uint64_t drawn, uint64_t h) noexcept nogil:
    """A first word that says whose value it is: half of it chosen, half of it made of that and the key's hash."""
    cdef uint64_t chosen = drawn & <uint64_t>0xFFFFFFFF
    return chosen | fold(chosen ^ h, <uint64_t>0xA0761D6478BD642F) << 32


cdef bint value_is_foreign(const char *value, size_t n, uint64_t h) noexcept nogil:
    cdef uint64_t first = 0
    if n < sizeof(first):
        return True
    memcpy(&first, value, sizeof(first))
    return first != sealed(first, h)


cdef Item *get_locked(Context *context, uint64_t h, const char *key, uint32_t nkey, char *out,
                      size_t *size) noexcept nogil:
    """Copy a small value to ``out``, or hold a large one's item for the caller to copy; NULL when there is none."""
    cdef Item *item = store_find_locked(context, h, key, nkey)
    if item != NULL:
        size[0] = item_nbytes(item)
        if item_meta(item) & ITEM_LARGE:
            store_hold_locked(item)
        else:
            memcpy(out, item_value(item), size[0])
        store_fetched_locked(context, item)
    return item


cdef void get_once(Context *context, const char *key, uint32_t nkey, char *room, Tally *tally) noexcept nogil:
    cdef size_t size = 0
    cdef uint64_t h = store_hash(context.store, key, nkey)
    cdef Item *item
    store_lock(context.store, h)
    item = get_locked(context, h, key, nkey, room, &size)
    store_unlock(context.store, h)
    if item == NULL:
        tally.misses += 1
        return
    tally.hits += 1
    if size >= LARGE_MIN:  # item itself may be gone by now unless it is a large one
        value_copy(context.store, item, room)
        store_release(context.store, item)
    if not value_is_whole(room, size):
        tally.torn += 1
    else:
        tally.foreign += value_is_foreign(room, size, h)


cdef void drawn_once(Context *context, uint64_t number, bint locked, char *room, Tally *tally) noexcept nogil:
    """Get ``key<number>``, of a value in one stretch below LARGE_MIN bytes; ``locked``: False where nobody writes."""
    cdef char key[32]
    cdef size_t size = 0
    cdef uint32_t nkey
    cdef uint64_t h
    cdef Item *item
    memcpy(key, b"key", 3)
    nkey = 3 + format_u64(key + 3, number)
    h = store_hash(context.store, key, nkey)
    if locked:
        store_lock(context.store, h)
    item = get_locked(context, h, key, nkey, room, &size)
    if locked:
        store_unlock(context.store, h)
    tally.hits += item != NULL
    tally.misses += item == NULL


cdef void note(Tally *tally, StoreStatus status) noexcept nogil:
    """A storage command's answer; that there was something else, or nothing, is no refusal."""
    tally.stored += status == STORED
    tally.refused += status == NO_MEMORY


cdef void set_once(Context *context, const char *key, uint32_t nkey, char *value, uint32_t n,
                   Tally *tally) noexcept nogil:
    cdef Put put
    memset(&put, 0, sizeof(Put))
    put.mode = PUT_SET
    put.drop_on_failure = True
    note(tally, store_put(context, &put, store_hash(context.store, key, nkey), key, nkey, value, n))


cdef bint demand_once(Context *context, const char *key, uint32_t nkey, char *value, uint32_t n,
                      uint32_t exptime) noexcept nogil:
    """What a client of a cache does: look up, and store what is not there; whether it was."""
    cdef Put put
    cdef uint64_t h = store_hash(context.store, key, nkey)
    cdef Item *item
    store_lock(context.store, h)
    item = store_find_locked(context, h, key, nkey)
    if item != NULL:
        store_fetched_locked(context, item)
        store_count_hit(context, item)
    store_unlock(context.store, h)
    if item != NULL:
        return True
    memset(&put, 0, sizeof(Put))
    put.mode = PUT_SET
    put.drop_on_failure = True
    put.exptime = exptime
    store_put(context, &put, h, key, nkey, value, n)
    return False


cdef StoreStatus delta_once(Context *context, const char *key, uint32_t nkey, bint increment, uint64_t by,
                            uint64_t *result) noexcept nogil:
    cdef uint64_t h = store_hash(context.store, key, nkey)
    cdef StoreStatus status = NOT_FOUND
    cdef Item *item
    store_lock(context.store, h)
    item = store_find_locked(context, h, key, nkey)
    if item != NULL:
        status = store_delta_locked(context, h, &item, increment, by, 0, result)
    store_unlock(context.store, h)
    return status


cdef StoreStatus upload(Context *context, Put *put, uint64_t h, const char *key, uint32_t nkey, const char *value,
                        uint32_t n) noexcept nogil:
    """The way of a large value that is received into its item, piece by piece."""
    cdef Item *item = NULL
    cdef Piece *last = NULL
    cdef ValueCursor cursor
    cdef size_t step
    cdef StoreStatus status = store_reserve(context, put, key, nkey, n, &item)
    if status == STORED:
        cursor.left = 0
        cursor.next = 0
        if not item_meta(item) & ITEM_CHAINED:
            cursor_open(context.store, item, &cursor)
        while n > 0:
            if cursor.left == 0 and not store_extend(context, item, &last, n, &cursor):
                store_release(context.store, item)
                status = NO_MEMORY
                break
            step = min(<size_t>n, cursor.left)
            memcpy(cursor.at, value, step)
            cursor_skip(context.store, &cursor, step)
            value += step
            n -= <uint32_t>step
    if status == STORED:
        return store_commit(context, put, h, item)
    if put.drop_on_failure:
        store_drop_failed(context, h, key, nkey)
    return status


cdef void delete_once(Context *context, const char *key, uint32_t nkey, Tally *tally) noexcept nogil:
    cdef uint64_t h = store_hash(context.store, key, nkey)
    cdef Item *item
    store_lock(context.store, h)
    item = store_find_locked(context, h, key, nkey)
    if item != NULL:
        store_unlink_locked(context, h, item)
        tally.deleted += 1
    store_unlock(context.store, h)


# ---- a mixture of them

cdef void touch_once(Context *context, uint64_t h, const char *key, uint32_t nkey, uint32_t exptime) noexcept nogil:
    cdef Item *item
    store_lock(context.store, h)
    item = store_find_locked(context, h, key, nkey)
    if item != NULL:
        item_set_exptime(item, exptime)
        store_fetched_locked(context, item)
    store_unlock(context.store, h)


cdef uint64_t cas_of(Context *context, uint64_t h, const char *key, uint32_t nkey) noexcept nogil:
    """A key's cas, or one that no item has."""
    cdef Item *item
    cdef uint64_t cas = 0
    store_lock(context.store, h)
    item = store_find_locked(context, h, key, nkey)
    if item != NULL:
        cas = item_cas(item)
    store_unlock(context.store, h)
    return cas


cdef void other_once(Context *context, Put *put, uint64_t h, const char *key, uint32_t nkey, char *value, uint32_t n,
                     uint64_t which, Tally *tally) noexcept nogil:
    """A touch, a set by cas, an append of nothing, or a value that comes in parts where it is large."""
    if which == 0:
        touch_once(context, h, key, nkey, put.exptime)
    elif which == 1:
        put.compare = True
        put.compare_cas = cas_of(context, h, key, nkey)
        note(tally, store_put(context, put, h, key, nkey, value, n))
    elif which == 2:
        put.mode = PUT_APPEND
        note(tally, store_put(context, put, h, key, nkey, value, 0))
    elif n >= LARGE_MIN:
        note(tally, upload(context, put, h, key, nkey, value, n))


cdef void mixed_once(Context *context, const Mix *mix, uint64_t *state, char *room, Tally *tally) noexcept nogil:
    """One operation on one key, as they are drawn."""
    cdef Put put
    cdef char key[32]
    cdef uint64_t h, drawn
    cdef uint32_t nkey, n, what
    memcpy(key, b"key", 3)
    nkey = 3 + format_u64(key + 3, next_random(state) % mix.keys)
    h = store_hash(context.store, key, nkey)
    drawn = next_random(state)
    what = <uint32_t>(drawn % 100)
    n = mix.smallest + <uint32_t>((drawn >> 32) % (mix.largest - mix.smallest + 1))
    memset(&put, 0, sizeof(Put))
    put.mode = PUT_SET
    put.drop_on_failure = True
    if mix.ttl != 0 and drawn & 256:
        put.exptime = context.now + 1 + <uint32_t>((drawn >> 16) % mix.ttl)
    if what >= mix.sets + mix.deletes + mix.others:
        get_once(context, key, nkey, room, tally)
    elif what >= mix.sets + mix.others:
        delete_once(context, key, nkey, tally)
    else:
        write_value(room, n, sealed(drawn, h))
        if what < mix.sets:
            note(tally, store_put(context, &put, h, key, nkey, room, n))
        else:
            other_once(context, &put, h, key, nkey, room, n, (drawn >> 9) & 3, tally)
