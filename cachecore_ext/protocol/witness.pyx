"""Events and counts of single commands."""
from cachecore_ext.base.eventlog cimport (
    WATCH_DELETIONS, WATCH_FETCHERS, WATCH_MUTATIONS, WATCH_PREFIXES, event_deleted, event_item_store,
)
from cachecore_ext.protocol.prefixes cimport prefixes_deleted, prefixes_got, prefixes_set
from cachecore_ext.protocol.request cimport CMD_MD
from cachecore_ext.storage.item cimport item_exptime, item_key, item_nbytes, item_nkey
from cachecore_ext.storage.store cimport (
    PUT_ADD, PUT_REPLACE, PUT_SET, STORED, STORE_BY_CAS, Context, store_class, store_class_for,
    store_report_lookup_locked,
)


cdef uint32_t seconds_left(const Context *context, uint32_t exptime) noexcept nogil:
    """0 for an item that does not end, and for one that has."""
    return exptime - context.now if exptime > context.now else 0


cdef void witness_get_locked(Session *session, const char *key, uint32_t nkey, const Item *item) noexcept nogil:
    """A client looked for a key, and found this item or none; whatever it did with it then."""
    if session.context.watched & WATCH_FETCHERS:
        store_report_lookup_locked(&session.context, key, nkey, item)
    if session.context.watched & WATCH_PREFIXES:
        prefixes_got(session.service.prefixes, key, nkey, item != NULL)


cdef void witness_delete_locked(Session *session, const Request *request, const Item *item) noexcept nogil:
    """delete or md found this item, or none."""
    if session.context.watched & WATCH_FETCHERS:
        store_report_lookup_locked(&session.context, request.key, request.nkey, item)
    if session.context.watched & WATCH_PREFIXES:
        prefixes_deleted(session.service.prefixes, request.key, request.nkey)


cdef void witness_removal_locked(Session *session, const Request *request, const Item *item) noexcept nogil:
    """... and is going to remove it, rather than keep it or mark it."""
    cdef Context *context = &session.context
    if context.watched & WATCH_DELETIONS:
        event_deleted(
            context.log, request.command == CMD_MD, request.key, request.nkey, store_class(context.store, item),
            item_nbytes(item),
        )


cdef void witness_create_locked(Session *session, const Request *request, const Item *item) noexcept nogil:
    """ma created an item where there was none: to a watcher that is an add, with a look-up of its own."""
    cdef Context *context = &session.context
    if context.watched & WATCH_FETCHERS:
        store_report_lookup_locked(context, request.key, request.nkey, NULL)
    if context.watched & WATCH_MUTATIONS:
        event_item_store(
            context.log, STORED, PUT_ADD, item_key(item), item_nkey(item), seconds_left(context, item_exptime(item)),
            store_class(context.store, item), context.fd, item_nbytes(item),
        )


cdef void witness_store(Session *session, const Request *request, const Put *put, StoreStatus status) noexcept nogil:
    """A storage command was tried. Its look-up was told by the store."""
    cdef Context *context = &session.context
    cdef uint32_t nbytes = put.nbytes if status == STORED else request.nvalue
    cdef bint by_cas = put.compare and (put.mode == PUT_SET or put.mode == PUT_REPLACE)
    if context.watched & WATCH_MUTATIONS:
        event_item_store(
            context.log, status, STORE_BY_CAS if by_cas else put.mode, request.key, request.nkey,
            seconds_left(context, put.exptime),
            store_class_for(context.store, request.nkey, put.flags, nbytes), context.fd, nbytes,
        )
    if context.watched & WATCH_PREFIXES:
        prefixes_set(session.service.prefixes, request.key, request.nkey)


cdef void witness_bad_chunk(Session *session, const Request *request) noexcept nogil:
    """A storage command whose value is longer or shorter than it said: no event, but an attempt."""
    if session.context.watched & WATCH_PREFIXES:
        prefixes_set(session.service.prefixes, request.key, request.nkey)
