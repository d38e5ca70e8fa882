"""The meta commands. A reply's flags stand in the order in which the client listed them."""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset

from cachecore_ext.base.clock cimport clock_expiry
from cachecore_ext.base.compiler cimport unlikely
from cachecore_ext.base.counters cimport (
    CLASS_DECR_HITS, CLASS_DELETE_HITS, CLASS_INCR_HITS, CLASS_TOUCH_HITS, CMD_META, DECR_MISSES,
    DELETE_MISSES, GET_MISSES, INCR_MISSES, count, count_class,
)
from cachecore_ext.base.numbers cimport format_u64
from cachecore_ext.protocol.reply cimport (
    Output, reply_base64, reply_bytes, reply_char, reply_end, reply_text, reply_u64, reply_value_locked,
)
from cachecore_ext.protocol.request cimport Meta, meta_has, next_token
from cachecore_ext.protocol.session cimport BYTES_PER_KEY
from cachecore_ext.protocol.witness cimport (
    witness_create_locked, witness_delete_locked, witness_get_locked, witness_removal_locked,
)
from cachecore_ext.storage.item cimport (
    ITEM_FETCHED, ITEM_STALE, ITEM_TOKEN, Item, item_age, item_exptime, item_flags, item_key, item_key_is_binary,
    item_mark, item_meta, item_nbytes, item_nkey, item_set_exptime, item_size, item_unmark,
)
from cachecore_ext.storage.store cimport (
    EXISTS, NO_MEMORY, NON_NUMERIC, NOT_FOUND, NOT_STORED, PUT_ADD, PUT_APPEND, PUT_PREPEND, PUT_REPLACE, PUT_SET,
    STORED, TOO_LARGE, Context, store_class, store_count_hit, store_delta_locked, store_empty_locked,
    store_fetched_locked, store_find_locked, store_create_locked, store_grow, store_lock, store_set_cas_locked,
    store_shown_cas, store_unlink_locked, store_unlock,
)


cdef inline uint32_t expiry(const Session *session, int64_t exptime) noexcept nogil:
    return clock_expiry(&session.context.store.clock, session.context.now, exptime)


# ---- the flags of a reply

cdef void echo_key(Output *out, const char *key, uint32_t nkey, bint binary) noexcept nogil:
    """A binary key is written in base64, followed by b."""
    reply_bytes(out, b" k", 2)
    if binary:
        reply_base64(out, key, nkey)
        reply_bytes(out, b" b", 2)
    else:
        reply_bytes(out, key, nkey)


cdef bint echo_request(Output *out, const Request *request, const char *token, size_t n) noexcept nogil:
    """k and O, which the request itself answers. False for another flag."""
    if token[0] == c'O':
        reply_char(out, c' ')
        reply_bytes(out, token, n)
    elif token[0] == c'k':
        echo_key(out, request.key, request.nkey, meta_has(&request.meta, c'b'))
    else:
        return False
    return True


cdef void reply_plain(Session *session, const Request *request, const char *code) noexcept nogil:
    """A code and the request's own k and O."""
    cdef Output *out = &session.output
    cdef const char *at = request.args
    cdef const char *token = NULL
    cdef size_t n = 0
    reply_text(out, code)
    while next_token(&at, request.args + request.nargs, &token, &n):
        echo_request(out, request, token, n)
    reply_end(out)


cdef void echo_flag(Output *out, char letter, uint64_t value) noexcept nogil:
    reply_char(out, c' ')
    reply_char(out, letter)
    reply_u64(out, value)


cdef void echo_ttl(Output *out, const Item *item, uint32_t now) noexcept nogil:
    """Seconds left, in memcached's 32 unsigned bits: an item that is past its end shows a huge number."""
    if item_exptime(item) == 0:
        reply_bytes(out, b" t-1", 4)
    else:
        echo_flag(out, c't', <uint32_t>(item_exptime(item) - now))


# ---- mg

cdef bint wins_locked(const Session *session, const Request *request, const Item *item) noexcept nogil:
    """Whether R hands this client the token to recache an item that has little time left."""
    return (
        item_meta(item) & ITEM_TOKEN == 0
        and item_exptime(item) != 0
        and item_exptime(item) < expiry(session, request.meta.recache)
    )


cdef bint echo_item_locked(Session *session, const Request *request, Item *item, bint created) noexcept nogil:
    """The flags of an mg hit, some of which change the item at their place. True when the client won the token."""
    cdef Output *out = &session.output
    cdef const char *at = request.args
    cdef const char *token = NULL
    cdef bint won = False
    cdef size_t n = 0
    while next_token(&at, request.args + request.nargs, &token, &n):
        if token[0] == c't':
            echo_ttl(out, item, session.context.now)
        elif token[0] == c's':
            echo_flag(out, c's', item_nbytes(item))
        elif token[0] == c'f':
            echo_flag(out, c'f', item_flags(item))
        elif token[0] == c'c':
            echo_flag(out, c'c', store_shown_cas(session.context.store, item))
        elif token[0] == c'h':
            echo_flag(out, c'h', item_meta(item) & ITEM_FETCHED != 0)
        elif token[0] == c'l':
            echo_flag(out, c'l', item_age(item, session.context.now))
        elif token[0] == c'k':
            echo_key(out, item_key(item), item_nkey(item), item_key_is_binary(item))
        elif token[0] == c'T':
            item_set_exptime(item, expiry(session, request.meta.ttl))
        elif token[0] == c'N' and created:
            item_set_exptime(item, expiry(session, request.meta.vivify))
            won = True
        elif token[0] == c'R' and not created:
            won = won or wins_locked(session, request, item)
        else:
            echo_request(out, request, token, n)
    return won


cdef void echo_token_locked(Output *out, Item *item, bint won) noexcept nogil:
    """Z: somebody has the token already. X: stale. W: this client has it now; a stale item offers it unasked."""
    cdef uint32_t meta = item_meta(item)
    if meta & ITEM_TOKEN:
        reply_bytes(out, b" Z", 2)
    if meta & ITEM_STALE:
        reply_bytes(out, b" X", 2)
        won = won or not meta & ITEM_TOKEN
    if won:
        reply_bytes(out, b" W", 2)
        item_mark(item, ITEM_TOKEN)


cdef Item *vivify_locked(Session *session, const Request *request, char *value, uint32_t nbytes) noexcept nogil:
    """The item that N asks for, where there was none; N gives it its exptime later, at its place among the flags.

    It does not remember that its key came in base64: that is told where it cannot be written otherwise.
    """
    cdef Put put
    memset(&put, 0, sizeof(put))
    put.explicit_cas = request.meta.explicit
    return store_create_locked(
        &session.context, &put, request.hash, request.key, request.nkey, value, nbytes
    )


cdef void hit_locked(Session *session, const Request *request, Item *item, bint created) noexcept nogil:
    cdef Output *out = &session.output
    cdef bint with_value = meta_has(&request.meta, c'v'), won
    if with_value and meta_has(&request.meta, c'C'):
        with_value = store_shown_cas(session.context.store, item) != request.meta.compare
    if with_value:
        reply_bytes(out, b"VA ", 3)
        reply_u64(out, item_nbytes(item))
    else:
        reply_bytes(out, b"HD", 2)
    won = echo_item_locked(session, request, item, created)
    echo_token_locked(out, item, won)
    reply_end(out)
    if with_value:
        reply_value_locked(out, item, item_meta(item))
    if not meta_has(&request.meta, c'u'):
        store_fetched_locked(&session.context, item)


cdef void meta_get(Session *session, const Request *request) noexcept nogil:
    cdef Context *context = &session.context
    cdef bint touching = meta_has(&request.meta, c'T'), created = False
    cdef Item *item
    store_lock(context.store, request.hash)
    item = store_find_locked(context, request.hash, request.key, request.nkey)
    if unlikely(context.watched != 0):
        witness_get_locked(session, request.key, request.nkey, item)
    if item == NULL and meta_has(&request.meta, c'N'):
        created = True
        item = vivify_locked(session, request, NULL, 0)
    if item == NULL:
        count(context.counters, GET_MISSES)
    elif touching:  # an item that was just made counts as found
        count_class(context.counters, store_class(context.store, item), CLASS_TOUCH_HITS)
    else:
        store_count_hit(context, item)
    if item != NULL:
        hit_locked(session, request, item, created)
    store_unlock(context.store, request.hash)
    if created:
        store_grow(context, request.hash)
    if item == NULL:
        if created:
            reply_text(&session.output, b"SERVER_ERROR out of memory\r\n")
        elif not meta_has(&request.meta, c'q'):
            reply_plain(session, request, b"EN")


# ---- ms

cdef void meta_prepare(Session *session, const Request *request, Put *put) noexcept nogil:
    """What an ms asks of the store."""
    cdef const Meta *meta = &request.meta
    memset(put, 0, sizeof(Put))
    put.mode = PUT_SET
    if meta.mode == c'E':
        put.mode = PUT_ADD
    elif meta.mode == c'A':
        put.mode = PUT_APPEND
    elif meta.mode == c'P':
        put.mode = PUT_PREPEND
    elif meta.mode == c'R':
        put.mode = PUT_REPLACE
    put.compare = meta_has(meta, c'C')
    put.compare_cas = meta.compare
    put.invalidate = meta_has(meta, c'I')
    put.vivify = meta_has(meta, c'N')
    put.vivify_exptime = expiry(session, meta.vivify)
    put.binary = meta_has(meta, c'b')
    put.drop_on_failure = True
    put.flags = meta.flags
    put.exptime = expiry(session, meta.ttl)
    put.explicit_cas = meta.explicit


cdef const char *result_code(StoreStatus status) noexcept nogil:
    if status == STORED:
        return b"HD"
    if status == NOT_STORED:
        return b"NS"
    return b"EX" if status == EXISTS else b"NF"


cdef void meta_stored(Session *session, const Request *request, const Put *put, StoreStatus status) noexcept nogil:
    cdef Output *out = &session.output
    cdef const char *at = request.args
    cdef const char *token = NULL
    cdef size_t n = 0
    if status == STORED and meta_has(&request.meta, c'q'):
        return
    if status == TOO_LARGE:
        reply_text(out, b"SERVER_ERROR object too large for cache\r\n")
        return
    if status == NO_MEMORY:
        reply_text(out, b"SERVER_ERROR out of memory storing object\r\n")
        return
    reply_text(out, result_code(status))
    while next_token(&at, request.args + request.nargs, &token, &n):
        if token[0] == c'c':
            echo_flag(out, c'c', put.cas if status == STORED else 0)
        elif token[0] == c's':
            echo_flag(out, c's', put.nbytes if status == STORED else request.nvalue)
        else:
            echo_request(out, request, token, n)
    reply_end(out)


# ---- md

cdef StoreStatus invalidate_locked(Session *session, const Request *request, Item *item) noexcept nogil:
    """I marks the item stale and frees its token; x takes its value. STORED or NO_MEMORY."""
    cdef Context *context = &session.context
    cdef const Meta *meta = &request.meta
    if meta_has(meta, c'x'):
        item = store_empty_locked(context, request.hash, item, meta.flags)
        if item == NULL:
            return NO_MEMORY
    if meta_has(meta, c'T') or meta_has(meta, c'x'):
        item_set_exptime(item, expiry(session, meta.ttl))
    if meta_has(meta, c'I'):
        item_mark(item, ITEM_STALE)
        item_unmark(item, ITEM_TOKEN)
    if meta_has(meta, c'I') or meta.explicit != 0:
        store_set_cas_locked(context, item, meta.explicit)
    return STORED


cdef void meta_delete(Session *session, const Request *request) noexcept nogil:
    cdef Context *context = &session.context
    cdef const Meta *meta = &request.meta
    cdef StoreStatus status = STORED
    cdef Item *item
    store_lock(context.store, request.hash)
    item = store_find_locked(context, request.hash, request.key, request.nkey)
    if unlikely(context.watched != 0):
        witness_delete_locked(session, request, item)
    if item == NULL:
        status = NOT_FOUND
    elif meta_has(meta, c'C') and store_shown_cas(context.store, item) != meta.compare:
        status = EXISTS
    elif meta_has(meta, c'I') or meta_has(meta, c'x'):
        status = invalidate_locked(session, request, item)
    else:
        count_class(context.counters, store_class(context.store, item), CLASS_DELETE_HITS)
        if unlikely(context.watched != 0):
            witness_removal_locked(session, request, item)
        store_unlink_locked(context, request.hash, item)
    if status == NOT_FOUND or status == EXISTS:
        count(context.counters, DELETE_MISSES)
    store_unlock(context.store, request.hash)
    if status == NO_MEMORY:
        reply_text(&session.output, b"SERVER_ERROR out of memory\r\n")
    elif status != STORED:
        reply_plain(session, request, b"NF" if status == NOT_FOUND else b"EX")
    elif not meta_has(meta, c'q'):
        reply_plain(session, request, b"HD")


# ---- ma

cdef void reply_number_locked(Session *session, const Request *request, Item *item, uint64_t value,
                              bint created) noexcept nogil:
    """The reply to an ma that went well, whose flags T and N act at their place among the others."""
    cdef Context *context = &session.context
    cdef Output *out = &session.output
    cdef const char *at = request.args
    cdef const char *token = NULL
    cdef char text[24]
    cdef size_t n = 0
    cdef uint32_t length = format_u64(text, value)
    if meta_has(&request.meta, c'v'):
        reply_bytes(out, b"VA ", 3)
        reply_u64(out, length)
    else:
        reply_bytes(out, b"HD", 2)
    while next_token(&at, request.args + request.nargs, &token, &n):
        if token[0] == c't':
            echo_ttl(out, item, context.now)
        elif token[0] == c'c':
            echo_flag(out, c'c', store_shown_cas(context.store, item))
        elif token[0] == c'T':
            item_set_exptime(item, expiry(session, request.meta.ttl))
        elif token[0] == c'N' and created:
            item_set_exptime(item, expiry(session, request.meta.vivify))
        else:
            echo_request(out, request, token, n)
    reply_end(out)
    if meta_has(&request.meta, c'v'):
        reply_bytes(out, text, length)
        reply_end(out)


cdef StoreStatus arithmetic_locked(Session *session, const Request *request) noexcept nogil:
    """Find the item, or create it, do the sum, and write the reply if it went well."""
    cdef Context *context = &session.context
    cdef const Meta *meta = &request.meta
    cdef bint increment = meta.mode != c'D' and meta.mode != c'-'
    cdef StoreStatus status
    cdef uint64_t value = meta.initial
    cdef size_t before = session.output.used
    cdef char text[24]
    cdef Item *item = store_find_locked(context, request.hash, request.key, request.nkey)
    cdef bint created = item == NULL
    if unlikely(context.watched != 0):
        witness_get_locked(session, request.key, request.nkey, item)
    if created:
        if not meta_has(meta, c'N'):
            count(context.counters, INCR_MISSES if increment else DECR_MISSES)
            return NOT_FOUND
        item = vivify_locked(session, request, text, format_u64(text, value))
        if item == NULL:
            return NO_MEMORY
    elif meta_has(meta, c'C') and meta.compare != 0 and store_shown_cas(context.store, item) != meta.compare:
        return EXISTS
    else:
        session.budget -= item_nbytes(item) / BYTES_PER_KEY
        status = store_delta_locked(context, request.hash, &item, increment, meta.delta, meta.explicit, &value)
        if status != STORED:
            return status
        count_class(
            context.counters, store_class(context.store, item), CLASS_INCR_HITS if increment else CLASS_DECR_HITS
        )
    reply_number_locked(session, request, item, value, created)
    if created and unlikely(context.watched != 0):
        witness_create_locked(session, request, item)
    if meta_has(meta, c'q') and not created:
        session.output.used = before  # q hides what was to be expected; that there was no item was not
    return STORED


cdef void meta_arithmetic(Session *session, const Request *request) noexcept nogil:
    cdef StoreStatus status
    store_lock(session.context.store, request.hash)
    status = arithmetic_locked(session, request)
    store_unlock(session.context.store, request.hash)
    if meta_has(&request.meta, c'N'):
        store_grow(&session.context, request.hash)
    if status == NOT_FOUND:
        reply_plain(session, request, b"NF")
    elif status == EXISTS:
        reply_plain(session, request, b"EX")
    elif status == NON_NUMERIC:
        reply_text(&session.output, b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n")
    elif status == NO_MEMORY:
        reply_text(&session.output, b"SERVER_ERROR out of memory\r\n")


# ---- me

cdef void meta_debug(Session *session, const Request *request) noexcept nogil:
    """What is known of an item, without touching it."""
    cdef Context *context = &session.context
    cdef Output *out = &session.output
    cdef Item *item
    count(context.counters, CMD_META)
    store_lock(context.store, request.hash)
    item = store_find_locked(context, request.hash, request.key, request.nkey)
    if unlikely(context.watched != 0):
        witness_get_locked(session, request.key, request.nkey, item)
    if item == NULL:
        reply_text(out, b"EN")
    else:
        reply_bytes(out, b"ME ", 3)
        if item_key_is_binary(item):
            reply_base64(out, item_key(item), item_nkey(item))
        else:
            reply_bytes(out, item_key(item), item_nkey(item))
        if item_exptime(item) == 0:
            reply_text(out, b" exp=-1")
        else:
            reply_text(out, b" exp=")
            reply_u64(out, <uint32_t>(item_exptime(item) - context.now))
        reply_text(out, b" la=")
        reply_u64(out, item_age(item, context.now))
        reply_text(out, b" cas=")
        reply_u64(out, store_shown_cas(context.store, item))
        reply_text(out, b" fetch=yes" if item_meta(item) & ITEM_FETCHED else b" fetch=no")
        reply_text(out, b" cls=")
        reply_u64(out, store_class(context.store, item))
        reply_text(out, b" size=")
        reply_u64(out, item_size(item))
    reply_end(out)
    store_unlock(context.store, request.hash)
