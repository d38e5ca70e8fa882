"""The classic text commands."""
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memmove, memset

from cachecore_ext.base.clock cimport clock_expiry
from cachecore_ext.base.compiler cimport unlikely
from cachecore_ext.base.counters cimport (
    CLASS_DECR_HITS, CLASS_DELETE_HITS, CLASS_INCR_HITS, CLASS_TOUCH_HITS, CMD_FLUSH, DECR_MISSES,
    DELETE_MISSES, GET_MISSES, INCR_MISSES, TOUCH_MISSES, count, count_class,
)
from cachecore_ext.base.numbers cimport write_u64
from cachecore_ext.protocol.reply cimport (
    Output, reply_at, reply_end, reply_room, reply_text, reply_u64, reply_upto, reply_value_locked, write_bytes,
    write_run,
)
from cachecore_ext.protocol.request cimport (
    CMD_APPEND, CMD_ADD, CMD_CAS, CMD_GAT, CMD_GATS, CMD_GET, CMD_GETS, CMD_INCR, CMD_PREPEND, CMD_REPLACE, CMD_SET,
    next_key,
)
from cachecore_ext.protocol.session cimport BLOCKED, BYTES_PER_KEY, DONE
from cachecore_ext.protocol.witness cimport witness_delete_locked, witness_get_locked, witness_removal_locked
from cachecore_ext.storage.item cimport (
    ITEM_LARGE, Item, item_meta, item_nbytes, item_set_exptime, meta_flags, meta_nbytes, meta_nbytes_small, meta_value,
)
from cachecore_ext.storage.store cimport (
    EXISTS, NO_MEMORY, NON_NUMERIC, NOT_FOUND, NOT_STORED, PUT_ADD, PUT_APPEND, PUT_PREPEND, PUT_REPLACE, PUT_SET,
    STORED, TOO_LARGE, Context, Store, store_class, store_count_hit, store_delta_locked, store_fetched_locked,
    store_find_locked, store_flush, store_hash, store_lock, store_peek_locked, store_prefetch_bucket,
    store_prefetch_item, store_shown_cas, store_suspect, store_unlink_locked, store_unlock,
)

cdef enum:
    AHEAD = 24  # keys of a multi-key get whose buckets and items are asked for before the first is looked at

cdef struct Key:
    const char *p
    uint32_t n
    uint64_t hash
    const void *place


# ---- get, gets, gat, gats

cdef inline char *write_head(char *p, const char *key, uint32_t nkey, const Item *item, uint32_t meta) noexcept nogil:
    """The beginning of a VALUE line, up to the length."""
    p = write_run(write_bytes(p, b"VALUE ", 6), key, nkey)
    p[0] = c' '
    p = write_u64(p + 1, meta_flags(item, meta))
    p[0] = c' '
    return write_u64(p + 1, meta_nbytes(item, meta))


cdef bint classic_get_plain(Session *session, const char *key, uint32_t nkey, uint64_t h, size_t end) noexcept nogil:
    """One key of a get, as most are: a miss, or a small item that is alive. Nobody watches, and there is room for it.

    False for any other, of which nothing was done yet: that is serve_key's. This is the way that has to be short.
    ``end``: bytes of END that follow, all or none.
    """
    cdef Context *context = &session.context
    cdef Store *store = context.store
    cdef Item *item
    cdef uint32_t meta
    cdef char *p
    store_lock(store, h)
    item = store_peek_locked(store, h, key, nkey)
    if item == NULL:
        store_unlock(store, h)
        count(context.counters, GET_MISSES)
        write_bytes(reply_at(&session.output), b"END\r\n", END)
        session.output.used += end
        return True
    meta = item_meta(item)
    if unlikely(meta & ITEM_LARGE) or unlikely(store_suspect(store, item, context.now)):
        store_unlock(store, h)
        return False
    p = write_head(reply_at(&session.output), key, nkey, item, meta)
    p = write_run(write_bytes(p, b"\r\n", 2), meta_value(item, meta), meta_nbytes_small(meta))
    write_bytes(p, b"\r\nEND\r\n", 2 + END)
    reply_upto(&session.output, p + 2 + end)
    store_fetched_locked(context, item)
    store_count_hit(context, item)
    store_unlock(store, h)
    return True


cdef void serve_key(Session *session, const Request *request, const Key *key, uint32_t exptime) noexcept nogil:
    """One key of a get: its VALUE block if there is an item. There is room for it."""
    cdef Store *store = session.context.store
    cdef Output *out = &session.output
    cdef bint touching = request.command == CMD_GAT or request.command == CMD_GATS
    cdef uint32_t meta
    cdef Item *item
    cdef char *p
    store_lock(store, key.hash)
    item = store_find_locked(&session.context, key.hash, key.p, key.n)
    if unlikely(session.context.watched != 0):
        witness_get_locked(session, key.p, key.n, item)
    if item == NULL:
        store_unlock(store, key.hash)
        count(session.context.counters, TOUCH_MISSES if touching else GET_MISSES)
        return
    if touching:
        item_set_exptime(item, exptime)
    meta = item_meta(item)
    p = write_head(reply_at(out), key.p, key.n, item, meta)
    if request.command == CMD_GETS or request.command == CMD_GATS:
        p[0] = c' '
        p = write_u64(p + 1, store_shown_cas(store, item))
    reply_upto(out, write_bytes(p, b"\r\n", 2))
    reply_value_locked(out, item, meta)
    store_fetched_locked(&session.context, item)
    if touching:
        count_class(session.context.counters, store_class(store, item), CLASS_TOUCH_HITS)
    else:
        store_count_hit(&session.context, item)
    store_unlock(store, key.hash)


cdef void shorten(Request *request, char *remaining) noexcept nogil:
    """Cut off the keys that were served: what precedes the first key moves up to the remaining ones."""
    cdef size_t prefix = request.keys - request.line
    cdef size_t dropped = remaining - request.keys
    memmove(request.line + dropped, request.line, prefix)
    request.line += dropped
    request.keys = remaining
    request.nline -= dropped
    request.consumed -= dropped


cdef uint32_t gather(Store *store, const char *line, const char **at, const char *end, Key *keys) noexcept nogil:
    """Take up to AHEAD keys and ask for their buckets, then for their items. How many."""
    cdef uint32_t n = 0, i
    cdef size_t length = 0
    while n < AHEAD and next_key(line, at, end, &keys[n].p, &length):
        keys[n].n = <uint32_t>length
        keys[n].hash = store_hash(store, keys[n].p, keys[n].n)
        keys[n].place = store_prefetch_bucket(store, keys[n].hash)
        n += 1
    for i in range(n):
        store_prefetch_item(store, keys[i].place, keys[i].hash)
    return n


cdef Outcome classic_get(Session *session, Request *request) noexcept nogil:
    """get, gets, gat, gats: a VALUE block for every key that is there, in the order given, as often as given; END."""
    cdef Store *store = session.context.store
    cdef const char *at = request.keys
    cdef const char *end = request.line + request.nline
    cdef bint plain = request.command == CMD_GET and session.context.watched == 0
    cdef uint32_t i, n, exptime = 0
    cdef Key keys[AHEAD]
    if request.exptime != 0:
        exptime = clock_expiry(&store.clock, session.context.now, request.exptime)
    n = gather(store, request.line, &at, end, keys)
    while n > 0:
        for i in range(n):
            if session.budget <= 0 or not reply_room(&session.output):
                shorten(request, <char *>keys[i].p)
                return BLOCKED
            session.budget -= 1
            if not plain or not classic_get_plain(
                session, keys[i].p, keys[i].n, keys[i].hash, 0
            ):
                serve_key(session, request, &keys[i], exptime)
        n = gather(store, request.line, &at, end, keys)
    reply_text(&session.output, b"END\r\n")
    return DONE


cdef void classic_get_other(Session *session, const Request *request) noexcept nogil:
    """classic_get_one of what classic_get_plain left."""
    cdef Key key
    key.p = request.key
    key.n = request.nkey
    key.hash = request.hash
    serve_key(session, request, &key, 0)
    reply_text(&session.output, b"END\r\n")


# ---- storage

cdef void classic_prepare(Session *session, const Request *request, Put *put) noexcept nogil:
    """What a storage command asks of the store."""
    memset(put, 0, sizeof(Put))
    put.mode = PUT_SET
    if request.command == CMD_ADD:
        put.mode = PUT_ADD
    elif request.command == CMD_REPLACE:
        put.mode = PUT_REPLACE
    elif request.command == CMD_APPEND:
        put.mode = PUT_APPEND
    elif request.command == CMD_PREPEND:
        put.mode = PUT_PREPEND
    put.compare = request.command == CMD_CAS
    put.compare_cas = request.number
    put.drop_on_failure = request.command == CMD_SET
    put.flags = request.flags
    if request.exptime != 0:
        put.exptime = clock_expiry(&session.context.store.clock, session.context.now, request.exptime)


cdef void classic_stored(Session *session, const Request *request, StoreStatus status) noexcept nogil:
    if request.noreply:
        return
    if status == STORED:
        reply_text(&session.output, b"STORED\r\n")
    elif status == NOT_STORED:
        reply_text(&session.output, b"NOT_STORED\r\n")
    elif status == EXISTS:
        reply_text(&session.output, b"EXISTS\r\n")
    elif status == NOT_FOUND:
        reply_text(&session.output, b"NOT_FOUND\r\n")
    elif status == TOO_LARGE:
        reply_text(&session.output, b"SERVER_ERROR object too large for cache\r\n")
    else:
        reply_text(&session.output, b"SERVER_ERROR out of memory storing object\r\n")


# ---- delete, incr, decr, touch, flush_all

cdef inline void answer(Session *session, const Request *request, const char *text) noexcept nogil:
    if not request.noreply:
        reply_text(&session.output, text)


cdef void classic_delete(Session *session, const Request *request) noexcept nogil:
    cdef Context *context = &session.context
    cdef Item *item
    store_lock(context.store, request.hash)
    item = store_find_locked(context, request.hash, request.key, request.nkey)
    if unlikely(context.watched != 0):
        witness_delete_locked(session, request, item)
    if item != NULL:
        count_class(context.counters, store_class(context.store, item), CLASS_DELETE_HITS)
        if unlikely(context.watched != 0):
            witness_removal_locked(session, request, item)
        store_unlink_locked(context, request.hash, item)
    else:
        count(context.counters, DELETE_MISSES)
    store_unlock(context.store, request.hash)
    answer(session, request, b"DELETED\r\n" if item != NULL else b"NOT_FOUND\r\n")


cdef void classic_delta(Session *session, const Request *request) noexcept nogil:
    """incr and decr."""
    cdef Context *context = &session.context
    cdef bint increment = request.command == CMD_INCR
    cdef StoreStatus status = NOT_FOUND
    cdef uint64_t value = 0
    cdef Item *item
    store_lock(context.store, request.hash)
    item = store_find_locked(context, request.hash, request.key, request.nkey)
    if unlikely(context.watched != 0):
        witness_get_locked(session, request.key, request.nkey, item)
    if item != NULL:
        session.budget -= item_nbytes(item) / BYTES_PER_KEY  # blanks are read, and written, to the value's end
        status = store_delta_locked(context, request.hash, &item, increment, request.number, 0, &value)
    if status == STORED:
        count_class(
            context.counters, store_class(context.store, item), CLASS_INCR_HITS if increment else CLASS_DECR_HITS
        )
    store_unlock(context.store, request.hash)
    if status == NOT_FOUND:
        count(context.counters, INCR_MISSES if increment else DECR_MISSES)
        answer(session, request, b"NOT_FOUND\r\n")
    elif status == NON_NUMERIC:
        answer(session, request, b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n")
    elif status == NO_MEMORY:
        answer(session, request, b"SERVER_ERROR out of memory\r\n")
    elif not request.noreply:
        reply_u64(&session.output, value)
        reply_end(&session.output)


cdef void classic_touch(Session *session, const Request *request) noexcept nogil:
    cdef Context *context = &session.context
    cdef uint32_t exptime = clock_expiry(&context.store.clock, context.now, request.exptime)
    cdef Item *item
    store_lock(context.store, request.hash)
    item = store_find_locked(context, request.hash, request.key, request.nkey)
    if unlikely(context.watched != 0):
        witness_get_locked(session, request.key, request.nkey, item)
    if item != NULL:
        item_set_exptime(item, exptime)
        store_fetched_locked(context, item)
        count_class(context.counters, store_class(context.store, item), CLASS_TOUCH_HITS)
    else:
        count(context.counters, TOUCH_MISSES)
    store_unlock(context.store, request.hash)
    answer(session, request, b"TOUCHED\r\n" if item != NULL else b"NOT_FOUND\r\n")


cdef void classic_flush_all(Session *session, const Request *request) noexcept nogil:
    count(session.context.counters, CMD_FLUSH)
    if not session.service.flush_enabled:
        answer(session, request, b"CLIENT_ERROR flush_all not allowed\r\n")
    elif request.reject != NULL:
        answer(session, request, request.reject)
    else:
        store_flush(&session.context, request.exptime)
        answer(session, request, b"OK\r\n")
