"""What there is to see of the data plane, as Python sees it: numbers by memcached's names, connections, items."""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

from cachecore_ext.base.atomics cimport load_acquire_u16, load_u8, load_u32, load_u64
from cachecore_ext.base.clock cimport clock_now
from cachecore_ext.base.counters cimport CLASS_COUNTERS, CLASSES, COUNTERS, CounterSet
from cachecore_ext.base.linux cimport (
    AF_INET, AF_INET6, INET6_ADDRSTRLEN, error_number, getpeername, getsockname, inet_ntop, ntohs, sockaddr_in,
    sockaddr_in6, sockaddr_storage,
)
from cachecore_ext.network.acceptor cimport Acceptor
from cachecore_ext.network.connection cimport Descriptor, Shared
from cachecore_ext.storage.lru cimport LruClass, Segment, lru_age, lru_look
from cachecore_ext.storage.maintenance cimport Maintenance
from cachecore_ext.storage.slabs cimport SlabClass, slab_look
from cachecore_ext.storage.store cimport Context, Store, StoreCursor
from cachecore_ext.storage.survey cimport Note, Notes, survey

from typing import NamedTuple

from cachecore_ext.base.counters import ClassCounter, Counter

cdef enum:
    SURVEY_NOTES = 1024              # items looked at between two looks at Python
    SIZE_STEP = 32                   # bytes: the steps of ``stats sizes``
    CACHEDUMP_MAX = 2 * 1024 * 1024  # bytes of ``stats cachedump``, its END and a NUL counted

COUNTER_NAMES = [counter.name.lower() for counter in Counter]
CLASS_COUNTER_NAMES = [counter.name.lower().removeprefix("class_") for counter in ClassCounter]
# Counted in an LRU class under its lock, and zeroed by reset_counters like the threads' counters.
LIST_COUNTER_NAMES = (
    "evicted", "evicted_nonzero", "evicted_unfetched", "evicted_active", "expired_unfetched", "reclaimed",
    "outofmemory", "lrutail_reflocked", "direct_reclaims", "moves_to_cold", "moves_to_warm", "moves_within_lru",
    "crawler_reclaimed", "crawler_items_checked",
)
# What the classes' counters and gauges add up to, under the same names.
CLASS_SUM_NAMES = (
    "get_hits", "delete_hits", "incr_hits", "decr_hits", "cas_hits", "cas_badval", "touch_hits", "cmd_set",
    "evicted_unfetched", "evicted_active", "expired_unfetched", "reclaimed", "lrutail_reflocked", "direct_reclaims",
    "moves_to_cold", "moves_to_warm", "moves_within_lru", "crawler_reclaimed", "crawler_items_checked",
)
SEGMENT_NAMES = ("hot", "warm", "cold", "temp")

#: What a connection does, in memcached's words; in the order of network/connection's Doing.
STATE_NAMES = (
    "conn_new_cmd", "conn_new_cmd", "conn_read", "conn_nread", "conn_swallow", "conn_mwrite", "conn_closing",
    "conn_parse_cmd", "conn_watch",
)

assert len(COUNTER_NAMES) == COUNTERS and len(CLASS_COUNTER_NAMES) == CLASS_COUNTERS


# ---- counters and gauges

cdef dict thread_counters(const CounterSet *sets, uint32_t nsets):
    """The sums of what the threads count."""
    cdef uint32_t i
    cdef int counter
    cdef uint64_t total
    sums = {}
    for counter in range(COUNTERS):
        total = 0
        for i in range(nsets):
            total += load_u64(&sets[i].counter[counter])
        sums[COUNTER_NAMES[counter]] = total
    return sums


cdef dict class_totals(Store *store, const CounterSet *sets, uint32_t nsets, uint32_t cls):
    """What is counted for one class since the start, by the threads and in its lists."""
    cdef uint32_t i
    cdef int counter
    cdef uint64_t total
    cdef LruClass seen
    sums = {}
    for counter in range(CLASS_COUNTERS):
        total = 0
        for i in range(nsets):
            total += load_u64(&sets[i].by_class[cls][counter])
        sums[CLASS_COUNTER_NAMES[counter]] = total
    seen = lru_look(&store.lru, cls)
    values = (
        seen.evicted, seen.evicted_nonzero, seen.evicted_unfetched, seen.evicted_active, seen.expired_unfetched,
        seen.reclaimed, seen.outofmemory, seen.reflocked, seen.direct_reclaims, seen.moves_to_cold,
        seen.moves_to_warm, seen.moves_within_lru, seen.crawler_reclaimed, seen.crawler_items_checked,
    )
    sums.update(zip(LIST_COUNTER_NAMES, values, strict=True))
    sums["get_hits"] = sum([sums[f"hits_to_{name}"] for name in SEGMENT_NAMES])
    return sums


cdef dict segment_gauges(Store *store, uint32_t cls):
    """How things stand in the segments of one class."""
    cdef LruClass seen = lru_look(&store.lru, cls)
    cdef uint32_t now = clock_now(&store.clock)
    gauges = {"number": 0, "mem_requested": 0, "evicted_time": seen.evicted_time}
    for i, name in enumerate(SEGMENT_NAMES):
        gauges[f"number_{name}"] = seen.segment[<int>i].number
        gauges[f"age_{name}"] = lru_age(&store.lru, cls, <Segment>i, now)
        gauges["number"] += seen.segment[<int>i].number
        gauges["mem_requested"] += seen.segment[<int>i].bytes
    gauges["age"] = gauges["age_cold"]
    return gauges


cdef dict class_gauges(Store *store, uint32_t cls):
    """How things stand in one class."""
    cdef SlabClass *slab = &store.slabs.classes[cls]
    cdef uint64_t pages = 0, free_chunks = 0
    slab_look(&store.slabs, cls, &pages, &free_chunks)
    total = pages * slab.per_page
    return {
        "chunk_size": slab.size, "chunks_per_page": slab.per_page, "total_pages": pages, "total_chunks": total,
        "used_chunks": total - free_chunks, "free_chunks": free_chunks,
        "tailrepairs": 0,  # no item gets stuck at a tail
    } | segment_gauges(store, cls)


cdef dict maintenance_counters(const Maintenance *maintenance):
    """What the maintenance counts."""
    mover = &maintenance.mover
    return {
        "slabs_moved": load_u64(&mover.moved),
        "slab_reassign_rescues": load_u64(&mover.rescues),
        "slab_reassign_chunk_rescues": load_u64(&mover.chunk_rescues),
        "slab_reassign_inline_reclaim": load_u64(&mover.inline_reclaim),
        "slab_reassign_busy_items": load_u64(&mover.busy_items),
        "slab_reassign_busy_deletes": 0,  # what is in use is never deleted for a page
        "slab_reassign_busy_nomem": load_u64(&mover.busy_nomem),
        "lru_crawler_starts": load_u64(&maintenance.crawler.starts),
        "lru_maintainer_juggles": load_u64(&maintenance.juggles),
        "lru_bumps_dropped": 0,  # a fetch queues nothing
    }


# ---- connections

class ConnectionInfo(NamedTuple):
    """A connection, or a listening socket, as it was when it was looked at."""

    fd: int
    addr: str
    listen_addr: str | None
    state: str
    secs_since_last_cmd: int


class ItemInfo(NamedTuple):
    """An item, as it was when it was looked at."""

    key: bytes
    flags: int
    size: int
    ttl: int | None
    cas: int
    fetched: bool


cdef str _shown(const sockaddr_storage *address, uint32_t length, bytes path):
    """A socket's address in memcached's notation; ``path`` stands for that of a UNIX socket without a name."""
    cdef const sockaddr_in *v4 = <const sockaddr_in *>address
    cdef const sockaddr_in6 *v6 = <const sockaddr_in6 *>address
    cdef char text[INET6_ADDRSTRLEN]
    cdef bytes own
    if address.ss_family == AF_INET:
        inet_ntop(AF_INET, &v4.sin_addr, text, sizeof(text))
        return f"tcp:{text.decode('ascii')}:{ntohs(v4.sin_port)}"
    if address.ss_family == AF_INET6:
        inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof(text))
        return f"tcp6:[{text.decode('ascii')}]:{ntohs(v6.sin6_port)}"
    own = (<const char *>address)[sizeof(address.ss_family):max(length, <uint32_t>sizeof(address.ss_family))]
    own = b"@" + own[1:] if own.startswith(b"\0") else own.rstrip(b"\0")  # the first: of the abstract namespace
    return "unix:" + (own or path).decode("utf-8", "surrogateescape")


# The kernel is asked here and not by way of Python's socket objects: one that is left, for lack of memory, before its
# descriptor was taken from it again closes that, which is not its own.

cdef tuple _addresses(int fd):
    """Whom a connection is with, and the listening address it came to. OSError: it is gone."""
    cdef sockaddr_storage own, peer
    cdef unsigned int nown = sizeof(own), npeer = sizeof(peer)
    if getsockname(fd, <void *>&own, &nown) != 0 or getpeername(fd, <void *>&peer, &npeer) != 0:
        raise OSError(error_number(), f"descriptor {fd} has no address")
    listening = _shown(&own, nown, b"")
    return _shown(&peer, npeer, listening.encode("utf-8", "surrogateescape")[len("unix:"):]), listening


cdef list listening_sockets(const Acceptor *acceptor, uint32_t age):
    """The listening sockets, which have been idle for ``age`` seconds."""
    cdef uint32_t i
    cdef sockaddr_storage own
    cdef unsigned int length
    found = []
    for i in range(acceptor.nlisteners):
        length = sizeof(own)
        if getsockname(acceptor.listeners[i].fd, <void *>&own, &length) == 0:
            shown = _shown(&own, length, b"")
            found.append(ConnectionInfo(acceptor.listeners[i].fd, shown, None, "conn_listening", age))
    return found


cdef list connections(const Shared *shared, uint32_t now):
    """The clients' connections. Their addresses are asked of the sockets, which may go away meanwhile."""
    cdef uint32_t fd
    cdef const Descriptor *entry
    found = []
    for fd in range(load_u32(&shared.top_fd) + 1):
        entry = &shared.by_fd[fd]
        if load_acquire_u16(&entry.owner) == 0:
            continue
        state = STATE_NAMES[load_u8(&entry.doing)]
        idle = max(0, <int64_t>now - load_u32(&entry.active))
        try:
            found.append(ConnectionInfo(fd, *_addresses(fd), state, idle))
        except OSError:
            pass
    return found


# ---- items

cdef class _Survey:
    """Notes of all items in some classes, a batch at a time, taken without the GIL."""

    cdef Context context
    cdef StoreCursor cursor
    cdef Notes notes

    def __cinit__(self):
        self.notes.room = SURVEY_NOTES
        self.notes.note = <Note *>malloc(SURVEY_NOTES * sizeof(Note))
        if self.notes.note == NULL:
            raise MemoryError("cannot allocate the notes of a survey")

    def __dealloc__(self):
        free(self.notes.note)

    cdef void begin(self, Store *store, uint64_t classes) noexcept:
        self.context.store = store
        self.context.counters = NULL  # a walk counts nothing
        self.notes.context = &self.context
        self.notes.classes = classes

    cdef bint more(self) noexcept:
        """Take the next notes. False when there are none left."""
        if self.cursor.ended:
            return False
        self.context.now = clock_now(&self.context.store.clock)
        with nogil:
            survey(&self.cursor, &self.notes)
        return True


cdef dict item_sizes(Store *store):
    """How many items there are of each size, in bytes rounded up to SIZE_STEP."""
    cdef _Survey items = _Survey()
    items.begin(store, ~<uint64_t>0)
    sizes = {}
    while items.more():
        for i in range(items.notes.count):
            size = (items.notes.note[<uint32_t>i].size + SIZE_STEP - 1) // SIZE_STEP * SIZE_STEP
            sizes[size] = sizes.get(size, 0) + 1
    return sizes


cdef list items(Store *store):
    """Every item that is there."""
    cdef _Survey walk = _Survey()
    cdef Note *note
    walk.begin(store, ~<uint64_t>0)
    found = []
    while walk.more():
        for i in range(walk.notes.count):
            note = &walk.notes.note[<uint32_t>i]
            ttl = <int64_t>note.exptime - walk.context.now if note.exptime else None
            found.append(ItemInfo(note.key[:note.nkey], note.flags, note.nbytes, ttl, note.cas, note.fetched))
    return found


cdef list cachedump(Store *store, uint32_t cls, limit):
    """Items of a class, at most ``limit`` (0: no limit) and no more than make CACHEDUMP_MAX bytes of text."""
    cdef _Survey items = _Survey()
    cdef Note *note
    items.begin(store, <uint64_t>1 << cls if cls < CLASSES else 0)
    found = []
    text = len(b"END\r\n") + 1
    while items.more():
        for i in range(items.notes.count):
            note = &items.notes.note[<uint32_t>i]
            if note.binary:
                continue
            ends = store.clock.unix_start + note.exptime if note.exptime else 0
            entry = (note.key[:note.nkey], note.nbytes, ends)
            text += len(b"ITEM %b [%d b; %d s]\r\n" % entry)
            if text > CACHEDUMP_MAX:
                return found
            found.append(entry)
            if len(found) == limit:
                return found
    return found
