"""A connection's turn: receive, parse, run, send."""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memmove, memset

from cachecore_ext.base.atomics cimport load_acquire_u8, load_u8, load_u32, load_u64, store_u8, store_u32
from cachecore_ext.base.counters cimport (
    BYTES_READ, CONN_YIELDS, MALLOC_FAILS, READ_BUF_OOM, RESPONSE_OBJ_OOM, STORE_NO_MEMORY, bump, count, count_many,
)
from cachecore_ext.base.eventlog cimport CLOSE_ERROR, CLOSE_NORMAL
from cachecore_ext.base.linux cimport (
    EAGAIN, EINTR, EPOLLIN, EPOLLOUT, EPOLL_CTL_MOD, SHUT_RDWR, SHUT_WR, close, epoll_ctl, epoll_event, error_number,
    passing_size, receive_bytes, shutdown,
)
from cachecore_ext.network.transmit cimport (
    SENT_ALL, SENT_ERROR, SENT_PART, Sent, output_drop, output_send, pending_free, pending_of, pending_send,
)
from cachecore_ext.network.upload cimport (
    Upload, upload_complete, upload_feed, upload_new, upload_size,
)
from cachecore_ext.protocol.auth cimport (
    AUTH_ADMITTED, AUTH_CLOSE, AUTH_FAILED, AUTH_HANG_UP, AUTH_INCOMPLETE, AUTH_LINE_LONG, Attempt, Heard, auth_try,
)
from cachecore_ext.protocol.classic cimport classic_get_one
from cachecore_ext.protocol.command cimport command_commit, command_execute, command_reserve
from cachecore_ext.protocol.dump cimport Dump, dump_begin, dump_write
from cachecore_ext.protocol.reply cimport output_size, reply_room, reply_text
from cachecore_ext.protocol.request cimport (
    CMD_WATCH, GET_LINE_MAX, PARSED, PARSED_INCOMPLETE, PARSED_TOO_LONG, Parsed, request_has_key, request_parse,
    request_parse_plain, request_resume, request_stores,
)
from cachecore_ext.protocol.session cimport ASK, BLOCKED, BYTES_PER_KEY, DONE, DUMP, QUIT, Outcome
from cachecore_ext.storage.item cimport Item
from cachecore_ext.storage.store cimport (
    Store, store_hash, store_prefetch_bucket, store_prefetch_item, store_release,
)

cdef enum:
    WAIT_MAX = 4096            # a value up to this length is waited for in the stash, a longer one goes to its item
    STRANGER_SIZE = 1024       # a receive of who has yet to say who it is: neither its input nor its replies pile up
    TURN_KEYS = 8192           # the budget of one turn: requests and keys, or a megabyte sent or copied
    DRAIN_MAX = 1024 * 1024    # bytes that are read and thrown away after the reason for closing was told
    BINARY_MAGIC = 0x80

cdef struct Input:
    # The bytes of a turn, while they are worked through.
    char *at
    char *end


# ---- coming and going

cdef Connection *conn_new(Shared *shared, int fd, uint32_t worker) noexcept nogil:
    """The connection of a descriptor that nobody has; where there are users it has to say who it is."""
    cdef Connection *conn = &shared.conns[fd]
    memset(conn, 0, sizeof(Connection))
    conn.fd = fd
    conn.worker = <uint16_t>worker
    conn.events = EPOLLIN
    conn.stranger = shared.users != NULL
    return conn


cdef uint64_t stash_bytes(const Shared *shared) noexcept nogil:
    """Bytes in the stashes of all connections."""
    cdef uint64_t total = 0
    cdef uint32_t i
    for i in range(shared.nbuffers):
        total += load_u64(&shared.buffers[i].stashes)
    return total


cdef uint64_t other_bytes(const Shared *shared) noexcept nogil:
    """... and in their pendings, uploads and dumps."""
    cdef uint64_t total = 0
    cdef uint32_t i
    for i in range(shared.nbuffers):
        total += load_u64(&shared.buffers[i].others)
    return total


cdef void charge(const Connection *conn, Shared *shared, uint64_t nbytes) noexcept nogil:
    bump(&shared.buffers[conn.worker].others, nbytes)


cdef void discharge(const Connection *conn, Shared *shared, uint64_t nbytes) noexcept nogil:
    bump(&shared.buffers[conn.worker].others, 0 - nbytes)


cdef void free_stash(Connection *conn, Shared *shared) noexcept nogil:
    if conn.stash != NULL:
        bump(&shared.buffers[conn.worker].stashes, 0 - <uint64_t>conn.stash_size)
        free(conn.stash)
    conn.stash = NULL
    conn.nstash = 0
    conn.stash_size = 0
    conn.scanned = 0


cdef void free_pending(Connection *conn, Shared *shared, Store *store) noexcept nogil:
    if conn.pending != NULL:
        discharge(conn, shared, conn.pending.size)
        pending_free(store, conn.pending)
        conn.pending = NULL


cdef void free_upload(Connection *conn, Shared *shared) noexcept nogil:
    """The item is somebody else's by now."""
    discharge(conn, shared, upload_size(conn.upload))
    free(conn.upload)
    conn.upload = NULL


cdef void free_dump(Connection *conn, Shared *shared) noexcept nogil:
    if conn.dump != NULL:
        discharge(conn, shared, passing_size(sizeof(Dump)))
        free(conn.dump)
    conn.dump = NULL


cdef void conn_free(Connection *conn, Shared *shared, Session *session) noexcept nogil:
    """Free what a connection owns; the socket is the caller's."""
    free_stash(conn, shared)
    free_pending(conn, shared, session.context.store)
    free_dump(conn, shared)
    if conn.upload != NULL:
        store_release(session.context.store, conn.upload.item)
        free_upload(conn, shared)


cdef void conn_close(int fd) noexcept nogil:
    """Close a connection's socket. A child process may have it, too, for a while or for good: closing it alone would
    not tell the client."""
    shutdown(fd, SHUT_RDWR)
    close(fd)


# ---- the stash

cdef bint grow_stash(Connection *conn, Scratch *scratch, size_t size) noexcept nogil:
    """Make room for ``size`` bytes. False when memory, or this connection's share of it, is used up."""
    cdef Shared *shared = scratch.shared
    cdef uint64_t limit = shared.buffer_limit
    cdef size_t added
    cdef char *grown
    if size <= conn.stash_size:
        return True
    size = passing_size(size)
    added = size - conn.stash_size
    if size > CARRY_MAX + READ_SIZE:
        limit /= 2
    if size > STASH_FREE and stash_bytes(shared) + other_bytes(shared) + added > limit:
        count(scratch.session.context.counters, READ_BUF_OOM)
        return False
    grown = <char *>realloc(conn.stash, size)
    if grown == NULL:
        count(scratch.session.context.counters, READ_BUF_OOM)
        return False
    conn.stash = grown
    conn.stash_size = <uint32_t>size
    bump(&shared.buffers[conn.worker].stashes, added)
    return True


cdef bint keep(Connection *conn, Scratch *scratch, const Input *rest) noexcept nogil:
    """Put what is left of the input into the stash, which it may lie in already."""
    cdef size_t n = rest.end - rest.at
    if n == 0:
        free_stash(conn, scratch.shared)
        return True
    if conn.stash == NULL or rest.at < conn.stash or rest.at >= conn.stash + conn.stash_size:
        if not grow_stash(conn, scratch, n):
            return False
    memmove(conn.stash, rest.at, n)
    conn.nstash = <uint32_t>n
    return True


# ---- sending

cdef bint pending_too_much(Connection *conn, Scratch *scratch) noexcept nogil:
    """Whether it is given up: it does not read, and the buffers of all connections have reached their limit."""
    cdef Shared *shared = scratch.shared
    if (
        conn.pending == NULL
        or conn.pending.size <= STASH_FREE
        or stash_bytes(shared) + other_bytes(shared) <= shared.buffer_limit
    ):
        return False
    count(scratch.session.context.counters, RESPONSE_OBJ_OOM)
    return True


cdef Verdict send_output(Connection *conn, Scratch *scratch) noexcept nogil:
    """Send what was collected. KEEP, also when part of it is pending now; CLOSE when the connection is gone."""
    cdef Session *session = &scratch.session
    cdef Sent sent
    session.budget -= output_size(&session.output) / BYTES_PER_KEY
    sent = output_send(session.context.store, session.context.counters, &session.output, conn.fd, &conn.pending)
    if conn.pending != NULL:
        charge(conn, scratch.shared, conn.pending.size)
        if pending_too_much(conn, scratch):
            return CLOSE
    return CLOSE if sent == SENT_ERROR else KEEP


cdef bint make_room(Connection *conn, Scratch *scratch, Verdict *verdict) noexcept nogil:
    """Have room for one more reply, if need be by sending. False when this has to wait, or the connection is gone."""
    if reply_room(&scratch.session.output):
        return True
    verdict[0] = send_output(conn, scratch)
    return verdict[0] == KEEP and conn.pending == NULL


cdef Verdict close_with(Connection *conn, Scratch *scratch, const char *reply) noexcept nogil:
    """Tell the client why, then close. There is room: the caller made it."""
    reply_text(&scratch.session.output, reply)
    conn.draining = True
    conn.closing = True
    conn.swallow = DRAIN_MAX
    return KEEP


# ---- values under way

cdef bint begin_upload(Connection *conn, Scratch *scratch, Request *request) noexcept nogil:
    """Receive a request's value into an item. If there is none for it, that was answered and the value is skipped."""
    cdef Item *item = command_reserve(&scratch.session, request)
    if item == NULL:
        conn.swallow = <uint32_t>request.swallow
        return True
    conn.upload = upload_new(&scratch.session.context, request, item)
    if conn.upload == NULL:
        count(scratch.session.context.counters, MALLOC_FAILS)
        store_release(scratch.session.context.store, item)
        return False
    charge(conn, scratch.shared, upload_size(conn.upload))
    return True


cdef void give_up_upload(Connection *conn, Scratch *scratch) noexcept nogil:
    """There is no memory for the rest of the value: it is skipped."""
    cdef Upload *upload = conn.upload
    cdef Request *request = &scratch.requests[0]
    request_parse(upload.line, upload.nline, 0, request)
    if not request.noreply:
        reply_text(&scratch.session.output, b"SERVER_ERROR Out of memory during read\r\n")
    count(scratch.session.context.counters, STORE_NO_MEMORY)
    conn.swallow = <uint32_t>(upload.missing + 2 - upload.ntail)
    store_release(scratch.session.context.store, upload.item)
    free_upload(conn, scratch.shared)


cdef void end_upload(Connection *conn, Scratch *scratch) noexcept nogil:
    """The value is complete: run its command."""
    cdef Upload *upload = conn.upload
    cdef Request *request = &scratch.requests[0]
    cdef bint ended = upload.tail[0] == c'\r' and upload.tail[1] == c'\n'
    request_parse(upload.line, upload.nline, 0, request)
    request.hash = store_hash(scratch.session.context.store, request.key, request.nkey)
    command_commit(&scratch.session, request, upload.item, ended)
    scratch.served += 1
    free_upload(conn, scratch.shared)


cdef bint unfinished(Connection *conn, Scratch *scratch, Input *input, Verdict *verdict) noexcept nogil:
    """Go on with a value, or with bytes to be skipped. True when the input is used up by it, or has to wait."""
    cdef size_t step
    if conn.swallow > 0:
        step = min(<size_t>conn.swallow, <size_t>(input.end - input.at))
        input.at += step
        conn.swallow -= <uint32_t>step
        return conn.swallow > 0
    if conn.upload == NULL:
        return False
    if not upload_feed(conn.upload, &scratch.session.context, &input.at, input.end):
        if not make_room(conn, scratch, verdict):
            return True
        give_up_upload(conn, scratch)
        return False
    if not upload_complete(conn.upload) or not make_room(conn, scratch, verdict):
        return True
    end_upload(conn, scratch)
    return False


# ---- dumps

cdef Verdict begin_dump(Connection *conn, Scratch *scratch, const Request *request, Input *input) noexcept nogil:
    """The command may go ahead: from here on the connection has a dump, which work_through goes on with."""
    conn.dump = <Dump *>malloc(passing_size(sizeof(Dump)))
    if conn.dump == NULL:
        count(scratch.session.context.counters, MALLOC_FAILS)
        return CLOSE
    charge(conn, scratch.shared, passing_size(sizeof(Dump)))
    dump_begin(&scratch.session, request, conn.dump)
    input.at = request.line + request.consumed
    return KEEP


# ---- requests

cdef uint32_t parse_batch(Connection *conn, Scratch *scratch, const Input *input, Parsed *parsed) noexcept nogil:
    """Parse as many requests as there are, up to BATCH, and ask for their buckets. ``parsed``: why it ended.

    A request whose value is not complete, or has to be skipped beyond the input, is the last one. So is a value that
    is short enough to be waited for, and that counts as not parsed.
    """
    cdef Store *store = scratch.session.context.store
    cdef char *at = input.at
    cdef Request *request
    cdef uint32_t n = 0
    cdef size_t scanned = conn.scanned
    cdef bint checked = conn.checked
    conn.scanned = 0
    conn.checked = False
    while n < BATCH:
        if at == input.end:
            parsed[0] = PARSED_INCOMPLETE
            return n
        request = &scratch.requests[n]
        if scanned == 0 and not checked and request_parse_plain(at, input.end - at, request):
            request.hash = store_hash(store, request.key, request.nkey)
            request.place = store_prefetch_bucket(store, request.hash)
            at += request.consumed
            n += 1
            continue
        if checked:
            parsed[0] = request_resume(at, input.end - at, request)
        else:
            parsed[0] = request_parse(at, input.end - at, scanned, request)
        scanned = 0
        checked = False
        if parsed[0] != PARSED:
            if parsed[0] == PARSED_INCOMPLETE:
                conn.scanned = <uint32_t>(input.end - at)
            return n
        if request_has_key(request):
            if request.swallow > 0 and request.nvalue <= WAIT_MAX:
                parsed[0] = PARSED_INCOMPLETE
                return n
            request.hash = store_hash(store, request.key, request.nkey)
            request.place = store_prefetch_bucket(store, request.hash)
        n += 1
        at += request.consumed
        if request.swallow > 0:
            return n
    return n


cdef Verdict ask(Connection *conn, Scratch *scratch, Request *request, Input *input) noexcept nogil:
    """A command for Python or the logger. All before it is sent first; if that has to wait, so does the command."""
    cdef Verdict verdict = send_output(conn, scratch)
    if verdict == CLOSE or conn.pending != NULL:
        return verdict
    scratch.to_logger = request.command == CMD_WATCH
    scratch.nquestion = request.nline
    memcpy(scratch.question, request.line, request.nline)
    input.at += request.consumed
    return ASKED


cdef bint run(Connection *conn, Scratch *scratch, Request *request, Input *input, Verdict *verdict) noexcept nogil:
    """Run one request and move the input behind it. False when the turn ends here; the verdict says how."""
    cdef Outcome outcome
    input.at = request.line
    while scratch.session.budget > 0 and make_room(conn, scratch, verdict):
        if request_stores(request) and request.value == NULL:
            if not begin_upload(conn, scratch, request):
                verdict[0] = CLOSE
                return False
            input.at += request.consumed
            return True
        outcome = command_execute(&scratch.session, request)
        if outcome == BLOCKED:
            input.at = request.line
            conn.checked = True
            continue
        conn.checked = False
        scratch.served += 1
        scratch.session.budget -= 1
        if outcome == DONE:
            input.at = request.line + request.consumed
            conn.swallow = <uint32_t>request.swallow
            return True
        if outcome == ASK:
            verdict[0] = ask(conn, scratch, request, input)
        elif outcome == DUMP:
            verdict[0] = begin_dump(conn, scratch, request, input)
        else:
            conn.closing = True
            conn.reason = CLOSE_NORMAL if outcome == QUIT else CLOSE_ERROR
        return False
    return False


cdef bint run_batch(Connection *conn, Scratch *scratch, Input *input, uint32_t n, Verdict *verdict) noexcept nogil:
    """Run parsed requests in order. False when the turn ends before they do."""
    cdef Store *store = scratch.session.context.store
    cdef Request *request
    cdef uint32_t i
    if n > 1:
        for i in range(n):
            if request_has_key(&scratch.requests[i]):
                store_prefetch_item(store, scratch.requests[i].place, scratch.requests[i].hash)
    for i in range(n):
        request = &scratch.requests[i]
        if request.plain and scratch.session.budget > 0 and reply_room(&scratch.session.output):
            classic_get_one(&scratch.session, request)
            scratch.session.budget -= 1
            scratch.served += 1
            input.at = request.line + request.consumed
        elif not run(conn, scratch, request, input, verdict):
            return False
    return True


cdef Verdict too_long(Connection *conn, Scratch *scratch) noexcept nogil:
    cdef Verdict verdict = KEEP
    if not make_room(conn, scratch, &verdict):
        return verdict
    return close_with(conn, scratch, b"CLIENT_ERROR line too long\r\n")


# ---- before it has said who it is

cdef bint authenticate(Connection *conn, Scratch *scratch, Input *input, Verdict *verdict) noexcept nogil:
    """The next that a stranger says. False when the turn ends here; the verdict says how.

    It may try as often as it likes, as with memcached, but a wrong password ends its turn: the others come first.
    """
    cdef Session *session = &scratch.session
    cdef Attempt attempt
    cdef Heard heard
    if session.budget <= 0 or not make_room(conn, scratch, verdict):
        return False
    heard = auth_try(
        scratch.shared.users, session.context.counters, input.at, input.end - input.at, conn.scanned, &attempt
    )
    conn.scanned = <uint32_t>attempt.scanned if heard == AUTH_INCOMPLETE else 0
    if heard == AUTH_INCOMPLETE:
        return False
    if heard == AUTH_LINE_LONG:
        verdict[0] = too_long(conn, scratch)
        return False
    if heard == AUTH_HANG_UP:
        conn.closing = True
        return False
    input.at += attempt.consumed
    conn.swallow = attempt.swallow
    scratch.served += 1
    session.budget = 0 if heard == AUTH_FAILED else session.budget - 1
    if heard == AUTH_CLOSE:
        verdict[0] = close_with(conn, scratch, attempt.reply)
        return False
    reply_text(&session.output, attempt.reply)
    conn.stranger = heard != AUTH_ADMITTED
    return True


cdef Verdict work_through(Connection *conn, Scratch *scratch, Input *input) noexcept nogil:
    """Do everything that the input asks for, as far as its replies find room."""
    cdef Verdict verdict = KEEP
    cdef Parsed parsed = PARSED
    cdef uint32_t n
    while input.at < input.end or conn.upload != NULL or conn.dump != NULL:
        if conn.stranger and conn.swallow == 0:
            if not authenticate(conn, scratch, input, &verdict):
                return verdict
            continue
        if conn.dump != NULL:
            if not dump_write(&scratch.session, conn.dump):
                return KEEP
            free_dump(conn, scratch.shared)
            continue
        if conn.swallow > 0 or conn.upload != NULL:
            if unfinished(conn, scratch, input, &verdict):
                return verdict
            continue
        n = parse_batch(conn, scratch, input, &parsed)
        if not run_batch(conn, scratch, input, n, &verdict):
            conn.scanned = 0
            if conn.dump != NULL:
                continue
            return verdict
        if conn.swallow > 0 or conn.upload != NULL:
            continue
        if parsed == PARSED_TOO_LONG:
            return too_long(conn, scratch)
        if parsed == PARSED_INCOMPLETE:
            return KEEP
    return verdict


# ---- a turn

cdef bint watch(Connection *conn, Scratch *scratch, uint32_t events) noexcept nogil:
    """Let epoll wait for something else from now on."""
    cdef epoll_event event
    if conn.events == events:
        return True
    conn.events = <uint16_t>events
    event.events = events
    event.data.ptr = conn
    return epoll_ctl(scratch.epoll, EPOLL_CTL_MOD, conn.fd, &event) == 0


cdef void note_activity(const Connection *conn, const Scratch *scratch) noexcept nogil:
    """It ran a command, or its value grew. Written only when it changes: a cache line has eight connections' words."""
    cdef Descriptor *entry = &scratch.shared.by_fd[conn.fd]
    if scratch.served > 0 or conn.upload != NULL or (conn.swallow > 0 and not conn.stranger):
        if load_u32(&entry.active) != scratch.session.context.now:
            store_u32(&entry.active, scratch.session.context.now)


cdef Verdict finish(Connection *conn, Scratch *scratch, Verdict verdict, const Input *input) noexcept nogil:
    """The end of a turn: send, keep the rest, and say what the connection waits for now."""
    cdef bint stopped_early = input.at < input.end and scratch.session.budget <= 0
    note_activity(conn, scratch)
    if verdict == CLOSE:
        output_drop(scratch.session.context.store, &scratch.session.output)
        return CLOSE
    if scratch.session.output.used > 0 and send_output(conn, scratch) == CLOSE:
        return CLOSE
    if scratch.served > scratch.shared.reqs_per_event:
        count(scratch.session.context.counters, CONN_YIELDS)
    if conn.closing:
        free_stash(conn, scratch.shared)
        return settle_closing(conn, scratch)
    if not keep(conn, scratch, input):
        return refuse(conn, scratch)
    if verdict == ASKED:
        return ASKED
    # With replies pending it waits to be writable. So it does when its turn ended with work left: a socket that is
    # writable gets its next turn when the others had theirs.
    if conn.pending != NULL or conn.dump != NULL or stopped_early:
        return KEEP if watch(conn, scratch, EPOLLOUT) else CLOSE
    return KEEP if watch(conn, scratch, EPOLLIN) else CLOSE


cdef Verdict settle_closing(Connection *conn, Scratch *scratch) noexcept nogil:
    """To be closed: at once, or when the replies are gone, or after the client had time to read why."""
    if conn.pending != NULL:
        return KEEP if watch(conn, scratch, EPOLLOUT) else CLOSE
    if not conn.draining:
        return CLOSE
    shutdown(conn.fd, SHUT_WR)
    return KEEP if watch(conn, scratch, EPOLLIN) else CLOSE


cdef Verdict refuse(Connection *conn, Scratch *scratch) noexcept nogil:
    """There is no memory to keep the rest of a request in: say so, behind the replies to all before it, and close."""
    cdef Verdict verdict = KEEP
    free_stash(conn, scratch.shared)
    conn.refused = conn.pending != NULL or not make_room(conn, scratch, &verdict)
    if conn.refused:
        return verdict if verdict == CLOSE or watch(conn, scratch, EPOLLOUT) else CLOSE
    close_with(conn, scratch, b"SERVER_ERROR out of memory reading request\r\n")
    return CLOSE if send_output(conn, scratch) == CLOSE else settle_closing(conn, scratch)


cdef Verdict drain(Connection *conn, Scratch *scratch) noexcept nogil:
    cdef ssize_t n = receive_bytes(conn.fd, scratch.buffer, READ_SIZE)
    if n > 0:
        conn.swallow -= min(<uint32_t>n, conn.swallow)
        return KEEP if conn.swallow > 0 else CLOSE
    return KEEP if n < 0 and (error_number() == EAGAIN or error_number() == EINTR) else CLOSE


cdef ssize_t receive_stash(Connection *conn, Scratch *scratch, Input *input, size_t *offered) noexcept nogil:
    """Receive behind a stash too large to be carried: a get line that is still growing."""
    cdef size_t size = conn.stash_size
    cdef ssize_t n
    if size - conn.nstash < READ_SIZE:
        size = min(<size_t>conn.nstash * 2, <size_t>GET_LINE_MAX) + READ_SIZE
    if not grow_stash(conn, scratch, size):
        return -2
    offered[0] = conn.stash_size - conn.nstash
    n = receive_bytes(conn.fd, conn.stash + conn.nstash, offered[0])
    input.at = conn.stash
    input.end = conn.stash + conn.nstash + (n if n > 0 else 0)
    return n


cdef ssize_t receive(Connection *conn, Scratch *scratch, Input *input, size_t *offered) noexcept nogil:
    """One receive, behind what is left of the last one. As recv; -2 when there is no memory for it.

    ``offered`` is set to the bytes that there was room for.
    """
    cdef bint only_value
    cdef ssize_t n
    if conn.nstash > CARRY_MAX:
        return receive_stash(conn, scratch, input, offered)
    if conn.nstash > 0:
        memcpy(scratch.buffer, conn.stash, conn.nstash)
    if conn.stranger:
        offered[0] = STRANGER_SIZE
    else:
        only_value = conn.upload != NULL and conn.upload.missing >= VALUE_READ_SIZE
        offered[0] = VALUE_READ_SIZE if only_value else READ_SIZE
    n = receive_bytes(conn.fd, scratch.buffer + conn.nstash, offered[0])
    input.at = scratch.buffer
    input.end = scratch.buffer + conn.nstash + (n if n > 0 else 0)
    return n


cdef bint is_binary(Connection *conn, const Shared *shared, const Input *input) noexcept nogil:
    """Whether a connection opens with the binary protocol, which is not spoken here."""
    if conn.began or input.at == input.end:
        return False
    conn.began = True
    return shared.binary_probe and <unsigned char>input.at[0] == BINARY_MAGIC


cdef bint goes_on(const Connection *conn, const Scratch *scratch, Verdict verdict) noexcept nogil:
    """Whether a turn that has more to receive may do so: all that came is answered, and the replies find room."""
    return (
        verdict == KEEP
        and scratch.session.budget > 0
        and conn.pending == NULL and conn.dump == NULL
        and not conn.closing and not conn.stranger
    )


cdef Verdict read_turn(Connection *conn, Scratch *scratch) noexcept nogil:
    """Receive and answer. A receive that was filled is followed by the next one before anything is sent."""
    cdef Input input
    cdef Verdict verdict
    cdef size_t offered = 0
    cdef ssize_t n = receive(conn, scratch, &input, &offered)
    if n == -2:
        return refuse(conn, scratch)
    if n <= 0:
        conn.reason = CLOSE_NORMAL if n == 0 else CLOSE_ERROR
        return KEEP if n < 0 and (error_number() == EAGAIN or error_number() == EINTR) else CLOSE
    if is_binary(conn, scratch.shared, &input):
        count_many(scratch.session.context.counters, BYTES_READ, n)
        return CLOSE
    while True:
        count_many(scratch.session.context.counters, BYTES_READ, n)
        scratch.session.budget -= n / BYTES_PER_KEY
        verdict = work_through(conn, scratch, &input)
        if <size_t>n < offered or not goes_on(conn, scratch, verdict):
            return finish(conn, scratch, verdict, &input)
        if not keep(conn, scratch, &input):
            return refuse(conn, scratch)
        n = receive(conn, scratch, &input, &offered)
        if n <= 0:
            # The next turn learns why; what was asked for is answered first.
            return refuse(conn, scratch) if n == -2 else finish(conn, scratch, KEEP, &input)


cdef Verdict stash_turn(Connection *conn, Scratch *scratch) noexcept nogil:
    """Go on with what was received before."""
    cdef Input input
    input.at = conn.stash
    input.end = conn.stash + conn.nstash
    return finish(conn, scratch, work_through(conn, scratch, &input), &input)


cdef Verdict write_turn(Connection *conn, Scratch *scratch) noexcept nogil:
    """The socket is writable: send what is pending, then go on with the requests that waited for it."""
    cdef Session *session = &scratch.session
    cdef Sent sent
    if conn.pending != NULL:
        sent = pending_send(session.context.store, session.context.counters, conn.pending, conn.fd)
        if sent != SENT_ALL:
            return KEEP if sent == SENT_PART else CLOSE
        free_pending(conn, scratch.shared, session.context.store)
    if conn.refused:
        return refuse(conn, scratch)
    if conn.closing:
        return settle_closing(conn, scratch)
    return stash_turn(conn, scratch)


cdef Doing doing_of(const Connection *conn) noexcept nogil:
    """What a connection does between its turns."""
    if conn.events == EPOLLOUT:
        return SENDING
    if conn.closing:
        return CLOSING
    if conn.upload != NULL:
        return RECEIVING_VALUE
    return SKIPPING if conn.swallow > 0 else READING


cdef inline bint awaits_client(uint8_t doing) noexcept nogil:
    """Whether it is the client's turn: it owes a command, the rest of one or of a value, or its end."""
    return doing == NEW or doing == READING or doing == RECEIVING_VALUE or doing == SKIPPING or doing == CLOSING


cdef Verdict seen(Connection *conn, Scratch *scratch, Verdict verdict) noexcept nogil:
    """The end of a turn: let others see what the connection does now."""
    cdef Descriptor *entry = &scratch.shared.by_fd[conn.fd]
    cdef Doing doing = doing_of(conn)
    cdef uint8_t before = load_u8(&entry.doing)
    if verdict == ASKED:
        doing = WATCHING if scratch.to_logger else AWAITING_PYTHON
    if before != doing:
        if not awaits_client(before):
            store_u32(&entry.active, scratch.session.context.now)  # the client's time begins
        store_u8(&entry.doing, doing)
    return verdict


cdef bint conn_idle(const Descriptor *entry, uint32_t now, uint32_t timeout) noexcept nogil:
    """Whether the connection, which is the caller's, has done nothing for too long though it is the client's turn.

    Who has replies to read is not idle, nor is who waits for Python, or watches: its time begins at the end of that. A
    UNIX socket's client may be idle for as long as it likes.
    """
    # The acceptor's release: from here on the connection is its worker's.
    cdef uint8_t doing = load_acquire_u8(&entry.doing)
    if entry.local or <int64_t>now - load_u32(&entry.active) <= timeout:
        return False
    return awaits_client(doing)


cdef Verdict turn(Connection *conn, Scratch *scratch) noexcept nogil:
    if conn.events == EPOLLOUT:
        # An error or a hang-up shows in the send.
        return write_turn(conn, scratch)
    return drain(conn, scratch) if conn.draining else read_turn(conn, scratch)


cdef Verdict conn_turn(Connection *conn, Scratch *scratch, uint32_t events) noexcept nogil:
    """A turn of the connection, for which epoll reported ``events``."""
    scratch.served = 0
    scratch.session.budget = TURN_KEYS
    scratch.session.context.fd = conn.fd
    return seen(conn, scratch, turn(conn, scratch))


cdef Verdict conn_answer(Connection *conn, Scratch *scratch, const char *reply, size_t n) noexcept nogil:
    """Python's answer to the command that the connection waited with. epoll watches it again already."""
    cdef Verdict verdict
    scratch.served = 0
    scratch.session.budget = TURN_KEYS
    scratch.session.context.fd = conn.fd
    if n == 0:
        return seen(conn, scratch, stash_turn(conn, scratch))
    conn.pending = pending_of(reply, n)
    if conn.pending == NULL:
        count(scratch.session.context.counters, MALLOC_FAILS)
        return CLOSE
    charge(conn, scratch.shared, conn.pending.size)
    if not watch(conn, scratch, EPOLLOUT):
        return CLOSE
    verdict = seen(conn, scratch, write_turn(conn, scratch))
    return CLOSE if verdict != CLOSE and pending_too_much(conn, scratch) else verdict
