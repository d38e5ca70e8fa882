"""Whether a dump may begin, and its lines."""
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memset

from cachecore_ext.protocol.percent cimport percent_encode
from cachecore_ext.protocol.reply cimport (
    OUTPUT_SIZE, Output, reply_at, reply_base64, reply_bytes, reply_end, reply_text, reply_u64,
    reply_upto,
)
from cachecore_ext.protocol.request cimport BAD_CLASS, CMD_MGDUMP
from cachecore_ext.protocol.session cimport DONE, DUMP
from cachecore_ext.storage.item cimport (
    ITEM_FETCHED, Item, item_exptime, item_flags, item_key, item_key_is_binary, item_meta, item_nkey, item_size,
    item_time,
)
from cachecore_ext.storage.store cimport Context, store_class, store_is_dead, store_shown_cas, store_walk

cdef enum:
    DUMP_LINE_MAX = 896   # the longest line: 250 bytes of key as %XX, names and numbers
    DUMP_LINES_MIN = 16   # with room for fewer the output counts as full; most buckets have fewer items
    DUMP_END_MAX = 8      # the line behind the last one


cdef Outcome dump_judge(Session *session, const Request *request) noexcept nogil:
    """DUMP: it may begin. DONE: it was answered why not."""
    cdef Output *out = &session.output
    cdef bint commands = request.command == CMD_MGDUMP
    if not session.service.dump_enabled:
        reply_text(out, b"ERROR key dump not allowed\r\n" if commands else b"ERROR metadump not allowed\r\n")
    elif request.classes & BAD_CLASS:
        reply_text(out, b"BADCLASS invalid class id\r\n")
    elif request.classes == 0:
        reply_text(out, b"NOTSTARTED no items to crawl\r\n")
    else:
        return DUMP
    return DONE


cdef void dump_begin(Session *session, const Request *request, Dump *dump) noexcept nogil:
    """Answer the command. The lines are dump_write's."""
    memset(dump, 0, sizeof(Dump))
    dump.classes = request.classes
    dump.commands = request.command == CMD_MGDUMP
    reply_text(&session.output, b"OK\r\n")


cdef void write_meta_locked(Session *session, const Item *item, uint32_t cls) noexcept nogil:
    """``key=a exp=-1 la=1700000000 cas=2 fetch=no cls=1 size=40 flags=0``, times in unix seconds; ends in a bare LF."""
    cdef Output *out = &session.output
    cdef int64_t start = session.context.store.clock.unix_start
    reply_bytes(out, b"key=", 4)
    reply_upto(out, reply_at(out) + percent_encode(item_key(item), item_nkey(item), reply_at(out)))
    if item_exptime(item) == 0:
        reply_text(out, b" exp=-1")
    else:
        reply_text(out, b" exp=")
        reply_u64(out, start + item_exptime(item))
    reply_text(out, b" la=")
    reply_u64(out, start + item_time(item))
    reply_text(out, b" cas=")
    reply_u64(out, store_shown_cas(session.context.store, item))
    reply_text(out, b" fetch=yes cls=" if item_meta(item) & ITEM_FETCHED else b" fetch=no cls=")
    reply_u64(out, cls)
    reply_text(out, b" size=")
    reply_u64(out, item_size(item))
    reply_text(out, b" flags=")
    reply_u64(out, item_flags(item))
    reply_bytes(out, b" \n", 2)


cdef void write_command_locked(Output *out, const Item *item) noexcept nogil:
    """``mg a``, the command that fetches the item."""
    reply_bytes(out, b"mg ", 3)
    if item_key_is_binary(item):
        reply_base64(out, item_key(item), item_nkey(item))
        reply_bytes(out, b" b", 2)
    else:
        reply_bytes(out, item_key(item), item_nkey(item))
    reply_end(out)


cdef struct Writing:
    Session *session
    Dump *dump


cdef void write_line_locked(void *visitor, Item *item) noexcept nogil:
    cdef Writing *writing = <Writing *>visitor
    cdef const Context *context = &writing.session.context
    cdef uint32_t cls = store_class(context.store, item)
    if not (writing.dump.classes >> cls) & 1 or store_is_dead(context.store, item, context.now):
        return
    if writing.dump.commands:
        write_command_locked(&writing.session.output, item)
    else:
        write_meta_locked(writing.session, item, cls)


cdef bint dump_write(Session *session, Dump *dump) noexcept nogil:
    """Write lines until the output is full, the budget is used up, or everything is said: then True."""
    cdef Output *out = &session.output
    cdef size_t full = OUTPUT_SIZE - DUMP_END_MAX - DUMP_LINES_MIN * DUMP_LINE_MAX
    cdef uint32_t lines
    cdef Writing writing
    writing.session = session
    writing.dump = dump
    while not dump.cursor.ended:
        if out.used > full or session.budget <= 0:
            return False
        lines = <uint32_t>((OUTPUT_SIZE - DUMP_END_MAX - out.used) / DUMP_LINE_MAX)
        session.budget -= 1 + <int64_t>store_walk(&session.context, &dump.cursor, lines, write_line_locked, &writing)
    reply_text(out, b"EN\r\n" if dump.commands else b"END\r\n")
    return True
