"""The table of commands."""
from libc.stdint cimport int32_t, uint32_t, uint64_t

from cachecore_ext.base.atomics cimport store_u32
from cachecore_ext.base.clock cimport clock_advance, clock_freeze, clock_now, clock_resume
from cachecore_ext.base.compiler cimport unlikely
from cachecore_ext.base.counters cimport STORE_NO_MEMORY, STORE_TOO_LARGE, count
from cachecore_ext.base.numbers cimport parse_i32
from cachecore_ext.protocol.classic cimport (
    classic_delete, classic_delta, classic_flush_all, classic_get, classic_get_one, classic_prepare, classic_stored,
    classic_touch,
)
from cachecore_ext.protocol.dump cimport dump_judge
from cachecore_ext.protocol.meta cimport (
    meta_arithmetic, meta_debug, meta_delete, meta_get, meta_prepare, meta_stored,
)
from cachecore_ext.protocol.reply cimport reply_text
from cachecore_ext.protocol.request cimport (
    CMD_ADMIN, CMD_DEBUGTIME, CMD_DECR, CMD_DELETE, CMD_FLUSH_ALL, CMD_GATS, CMD_INCR, CMD_MA, CMD_MD, CMD_ME,
    CMD_METADUMP, CMD_MG, CMD_MGDUMP, CMD_MN, CMD_MS, CMD_QUIT, CMD_REJECT, CMD_TOUCH, CMD_VERBOSITY, CMD_VERSION,
    CMD_WATCH, next_token, request_stores,
)
from cachecore_ext.protocol.session cimport ASK, BYTES_PER_KEY, DONE, HANG_UP, QUIT
from cachecore_ext.protocol.witness cimport witness_bad_chunk, witness_store
from cachecore_ext.storage.store cimport (
    NO_MEMORY, STORED, TOO_LARGE, Context, Put, StoreStatus, store_commit, store_count_set, store_drop_failed,
    store_fits, store_put, store_release, store_reserve,
)

cdef enum:
    VERBOSITY_MAX = 2


# ---- commands with a value

cdef void prepare(Session *session, const Request *request, Put *put) noexcept nogil:
    if request.command == CMD_MS:
        meta_prepare(session, request, put)
    else:
        classic_prepare(session, request, put)


cdef void stored(Session *session, const Request *request, const Put *put, StoreStatus status) noexcept nogil:
    if unlikely(session.context.watched != 0):
        witness_store(session, request, put, status)
    if status == TOO_LARGE:
        count(session.context.counters, STORE_TOO_LARGE)
    elif status == NO_MEMORY:
        count(session.context.counters, STORE_NO_MEMORY)
    elif status == STORED:
        session.budget -= put.nbytes / BYTES_PER_KEY  # an append copies the whole value, however little it adds
    if request.command == CMD_MS:
        meta_stored(session, request, put, status)
    else:
        classic_stored(session, request, status)


cdef void bad_chunk(Session *session, const Request *request, const Put *put) noexcept nogil:
    """A value that is longer or shorter than was said counts as a storage command all the same."""
    store_count_set(&session.context, put, request.nkey, request.nvalue)
    if unlikely(session.context.watched != 0):
        witness_bad_chunk(session, request)
    if not request.noreply:
        reply_text(&session.output, b"CLIENT_ERROR bad data chunk\r\n")


cdef void store_value(Session *session, Request *request) noexcept nogil:
    """A storage command whose value is in the buffer."""
    cdef Put put
    prepare(session, request, &put)
    if not request.value_ended and store_fits(session.context.store, request.nkey, put.flags, request.nvalue):
        bad_chunk(session, request, &put)
        return
    stored(session, request, &put, store_put(
        &session.context, &put, request.hash, request.key, request.nkey, request.value, request.nvalue
    ))


cdef Item *command_reserve(Session *session, Request *request) noexcept nogil:
    """An item to receive the value that is still to come. NULL when it cannot be stored: that was answered, and the
    value has to be skipped."""
    cdef Item *item = NULL
    cdef StoreStatus status
    cdef Put put
    prepare(session, request, &put)
    status = store_reserve(&session.context, &put, request.key, request.nkey, request.nvalue, &item)
    if item == NULL:
        stored(session, request, &put, status)
        if put.drop_on_failure:
            store_drop_failed(&session.context, request.hash, request.key, request.nkey)
    return item


cdef void command_commit(Session *session, Request *request, Item *item, bint ended) noexcept nogil:
    """The value was received into the item: store it. ``ended``: it was followed by CRLF."""
    cdef Put put
    prepare(session, request, &put)
    if not ended:
        store_release(session.context.store, item)
        bad_chunk(session, request, &put)
        return
    stored(session, request, &put, store_commit(&session.context, &put, request.hash, item))


# ---- commands about the service

cdef void verbosity(Session *session, const Request *request) noexcept nogil:
    store_u32(&session.service.verbosity, <uint32_t>min(request.number, <uint64_t>VERBOSITY_MAX))
    if not request.noreply:
        reply_text(&session.output, b"OK\r\n")


cdef bint move_clock(Session *session, const Request *request) noexcept nogil:
    """debugtime: ``p`` stops the clock, ``r`` lets it go on, a number moves it. False for anything else."""
    cdef Context *context = &session.context
    cdef const char *at = request.args
    cdef const char *token = NULL
    cdef int32_t seconds = 0
    cdef size_t n = 0
    if not next_token(&at, request.args + request.nargs, &token, &n):
        return False
    if n == 1 and token[0] == c'p':
        clock_freeze(&context.store.clock)
    elif n == 1 and token[0] == c'r':
        clock_resume(&context.store.clock)
    elif parse_i32(token, n, &seconds):
        clock_advance(&context.store.clock, seconds)
    else:
        return False
    context.now = clock_now(&context.store.clock)
    return True


cdef void debugtime(Session *session, const Request *request) noexcept nogil:
    """Exists only where it was asked for."""
    if session.service.debug_commands and move_clock(session, request):
        reply_text(&session.output, b"OK\r\n")
    else:
        reply_text(&session.output, b"ERROR\r\n")


cdef Outcome watch(Session *session, const Request *request) noexcept nogil:
    """What can be said at once; the logger answers the rest, and keeps the connection."""
    if not session.service.watch_enabled:
        reply_text(&session.output, b"CLIENT_ERROR watch commands not allowed\r\n")
    elif not request.known:
        reply_text(&session.output, b"ERROR\r\n")
    else:
        return ASK
    return DONE


# ---- the table

cdef Outcome service_command(Session *session, Request *request) noexcept nogil:
    """The commands that are about no key."""
    if request.command == CMD_MN:
        reply_text(&session.output, b"MN\r\n")
    elif request.command == CMD_REJECT:
        if not request.noreply:
            reply_text(&session.output, request.reject)
    elif request.command == CMD_FLUSH_ALL:
        classic_flush_all(session, request)
    elif request.command == CMD_VERSION:
        reply_text(&session.output, session.service.version_line)
    elif request.command == CMD_VERBOSITY:
        verbosity(session, request)
    elif request.command == CMD_DEBUGTIME:
        debugtime(session, request)
    elif request.command == CMD_ADMIN:
        return ASK
    elif request.command == CMD_METADUMP or request.command == CMD_MGDUMP:
        return dump_judge(session, request)
    elif request.command == CMD_WATCH:
        return watch(session, request)
    elif request.command == CMD_QUIT:
        return QUIT
    else:
        return HANG_UP
    return DONE


cdef Outcome command_execute(Session *session, Request *request) noexcept nogil:
    """Run a request whose value, if it has one, is in the buffer. There is room for one reply."""
    if request.plain:
        classic_get_one(session, request)
        return DONE
    if request.command <= CMD_GATS:
        return classic_get(session, request)
    if request_stores(request):
        store_value(session, request)
    elif request.command == CMD_MG:
        meta_get(session, request)
    elif request.command == CMD_DELETE:
        classic_delete(session, request)
    elif request.command == CMD_INCR or request.command == CMD_DECR:
        classic_delta(session, request)
    elif request.command == CMD_TOUCH:
        classic_touch(session, request)
    elif request.command == CMD_MD:
        meta_delete(session, request)
    elif request.command == CMD_MA:
        meta_arithmetic(session, request)
    elif request.command == CMD_ME:
        meta_debug(session, request)
    else:
        return service_command(session, request)
    return DONE
