"""The data plane as Python sees it: the one place where Python objects, the GIL and exceptions meet it."""
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from posix.stdlib cimport posix_memalign

from cachecore_ext.base.atomics cimport load_u32, load_u64, store_release_u32
from cachecore_ext.base.clock cimport clock_advance, clock_freeze, clock_now, clock_resume
from cachecore_ext.base.counters cimport CLASS_COUNTERS, COUNTERS, CounterSet
from cachecore_ext.base.linux cimport close
from cachecore_ext.base.lock cimport lock_acquire, lock_release
from cachecore_ext.network.acceptor cimport (
    Acceptor, acceptor_add, acceptor_free, acceptor_init, acceptor_run, acceptor_wake,
)
from cachecore_ext.network.admin cimport (
    Ticket, TicketList, ticket_answer, ticket_free, tickets_await, tickets_free, tickets_init, tickets_put,
    tickets_signal, tickets_take,
)
from cachecore_ext.network.connection cimport CARRY_MAX, READ_SIZE, Connection, Shared, conn_free
from cachecore_ext.network.worker cimport Worker, worker_free, worker_init, worker_run
from cachecore_ext.protocol.session cimport Service
from cachecore_ext.storage.item cimport Item, item_age
from cachecore_ext.storage.lru cimport LruList
from cachecore_ext.storage.slabs cimport PAGE_SIZE, SlabClass, chunk_at
from cachecore_ext.storage.store cimport Store, StoreSettings, store_free, store_init
from cachecore_ext.storage.table cimport table_bytes, top_bit

import resource

from cachecore_ext.base.counters import ClassCounter, Counter

cdef enum:
    CACHE_LINE = 64
    # Stashes and pendings of all connections together: by default an eighth of the memory limit, and at least this.
    BUFFERS_MIN = 16 * 1024 * 1024
    DESCRIPTORS_PER_WORKER = 2   # epoll, inbox
    DESCRIPTORS_BESIDE = 3       # the acceptor's epoll and wake, the questions

COUNTER_NAMES = [counter.name.lower() for counter in Counter]
CLASS_COUNTER_NAMES = [counter.name.lower().removeprefix("class_") for counter in ClassCounter]
# Counted in an LRU list under its lock, and zeroed by reset_counters like the threads' counters.
LIST_COUNTER_NAMES = (
    "evicted", "evicted_nonzero", "evicted_unfetched", "expired_unfetched", "reclaimed", "outofmemory",
    "lrutail_reflocked",
)

assert len(COUNTER_NAMES) == COUNTERS and len(CLASS_COUNTER_NAMES) == CLASS_COUNTERS


cdef void *allocate(size_t size) noexcept nogil:
    """Zeroed memory on a cache line's boundary, or NULL."""
    cdef void *memory = NULL
    if posix_memalign(&memory, CACHE_LINE, size) != 0:
        return NULL
    memset(memory, 0, size)
    return memory


cdef class AdminRequest:
    """A command that the data plane leaves to Python; its connection waits for the answer."""

    cdef readonly object token
    cdef readonly bytes line

    def __init__(self, token, line):
        self.token = token
        self.line = line


cdef class Engine:
    """Owns the store, the workers and the connections; brings no thread of its own."""

    cdef Store *store
    cdef CounterSet *counter_sets   # one a worker, then the acceptor's
    cdef Worker **workers
    cdef uint32_t nworkers
    cdef Acceptor acceptor
    cdef Service service
    cdef Shared shared
    cdef TicketList questions
    cdef uint32_t stopping          # atomic
    cdef bint closed
    cdef dict asked                 # token -> None: tickets that Python holds
    cdef dict baseline              # what the counters stood at when they were reset
    cdef dict class_baseline

    def __cinit__(self):
        self.closed = False
        self.acceptor.epoll = -1
        self.acceptor.wake = -1
        self.questions.signal = -1

    def __init__(
        self,
        *,
        memory_limit,
        item_size_max,
        threads,
        max_connections,
        growth_factor,
        chunk_size_min,
        evictions,
        use_cas,
        reqs_per_event,
        buffer_limit,
        binary_probe,
        debug_commands,
        verbosity,
        version,
    ):
        cdef StoreSettings settings
        if self.store != NULL:
            raise RuntimeError("an Engine is initialised once")
        if not 1 <= threads <= 4096:
            raise ValueError(f"threads must be 1 to 4096, not {threads}")
        if growth_factor is not None and growth_factor <= 1.0:
            raise ValueError(f"growth_factor must be above 1, not {growth_factor}")
        self.asked = {}
        self.baseline = {}
        self.class_baseline = {}
        settings.memory_limit = memory_limit
        settings.item_size_max = item_size_max
        settings.growth_factor = growth_factor or 0.0
        settings.chunk_min = chunk_size_min
        settings.threads = threads
        settings.evictions = evictions
        settings.use_cas = use_cas
        self.service.debug_commands = debug_commands
        self.service.verbosity = verbosity
        self._set_version(version)
        self.shared.max_connections = max_connections
        self.shared.reqs_per_event = reqs_per_event
        self.shared.binary_probe = binary_probe
        self.shared.buffer_limit = buffer_limit or max(<uint64_t>BUFFERS_MIN, settings.memory_limit / 8)
        self._allocate(&settings, threads)

    cdef _set_version(self, version):
        cdef bytes line = f"VERSION {version}\r\n".encode("ascii")
        cdef size_t length = len(line)
        if length >= sizeof(self.service.version_line):
            raise ValueError(f"version is too long: {version!r}")
        memcpy(self.service.version_line, <const char *>line, length + 1)

    cdef _allocate(self, const StoreSettings *settings, uint32_t threads):
        cdef uint32_t i
        cdef Store *store = <Store *>allocate(sizeof(Store))
        if store == NULL or store_init(store, settings) != 0:
            free(store)
            raise MemoryError(f"cannot reserve {settings.memory_limit} bytes of address space")
        self.store = store
        # Descriptors are small numbers; this is the largest that the process may come to have.
        self.shared.nfds = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 1 << 20)
        self.shared.by_fd = <Connection **>calloc(self.shared.nfds, sizeof(Connection *))
        self.counter_sets = <CounterSet *>allocate((threads + 1) * sizeof(CounterSet))
        self.workers = <Worker **>calloc(threads, sizeof(Worker *))
        if self.shared.by_fd == NULL or self.counter_sets == NULL or self.workers == NULL:
            raise MemoryError("cannot allocate the workers")
        if tickets_init(&self.questions, True) != 0:
            raise OSError("cannot create an eventfd")
        for i in range(threads):
            self.workers[i] = <Worker *>allocate(sizeof(Worker))
            if self.workers[i] == NULL:
                raise MemoryError("cannot allocate the workers")
            self.nworkers += 1
            if worker_init(self.workers[i], store, &self.counter_sets[i], &self.service, &self.shared,
                           &self.questions, &self.stopping) != 0:
                raise OSError("cannot set up a worker: no memory or no file descriptors left")
        if acceptor_init(&self.acceptor, &self.shared, &self.counter_sets[threads], self.workers, threads,
                         &self.stopping) != 0:
            raise OSError("cannot set up the acceptor: no file descriptors left")

    def __dealloc__(self):
        self._release()

    cdef void _release(self) noexcept:
        """Free everything, in whatever state it is."""
        cdef uint32_t i
        cdef Connection *conn
        if self.shared.by_fd != NULL and self.nworkers > 0:
            for i in range(self.shared.nfds if load_u32(&self.shared.connections) else 0):
                conn = self.shared.by_fd[i]
                if conn != NULL:
                    conn_free(conn, &self.shared, &self.workers[0].scratch.session)
                    close(<int>i)
        free(self.shared.by_fd)
        self.shared.by_fd = NULL
        for token in self.asked or ():
            ticket_free(<Ticket *><uint64_t>token)
        self.asked = {}
        tickets_free(&self.questions)
        acceptor_free(&self.acceptor)
        for i in range(self.nworkers):
            worker_free(self.workers[i])
            free(self.workers[i])
        self.nworkers = 0
        free(self.workers)
        self.workers = NULL
        free(self.counter_sets)
        self.counter_sets = NULL
        if self.store != NULL:
            store_free(self.store)
            free(self.store)
        self.store = NULL
        memset(&self.acceptor, 0, sizeof(Acceptor))
        self.acceptor.epoll = -1
        self.acceptor.wake = -1
        self.closed = True

    cdef _check_open(self):
        if self.closed or self.store == NULL:
            raise RuntimeError("the engine is closed")

    # ---- serving

    def add_listener(self, int fd):
        self._check_open()
        if acceptor_add(&self.acceptor, fd) != 0:
            raise OSError(f"cannot watch the listening socket {fd}")

    def run_acceptor(self):
        self._check_open()
        with nogil:
            acceptor_run(&self.acceptor)

    def run_worker(self, uint32_t index):
        self._check_open()
        if index >= self.nworkers:
            raise IndexError(f"there are {self.nworkers} workers")
        with nogil:
            worker_run(self.workers[index])

    def next_admin(self):
        cdef Ticket *ticket
        self._check_open()
        while load_u32(&self.stopping) == 0:
            ticket = tickets_take(&self.questions)
            if ticket != NULL:
                token = <uint64_t>ticket
                self.asked[token] = None
                return AdminRequest(token, ticket.line[:ticket.nline])
            with nogil:
                tickets_await(&self.questions)
        return None

    def answer_admin(self, token, bytes reply):
        cdef Ticket *ticket
        self._check_open()
        if token not in self.asked:
            raise ValueError("no such question, or it was answered before")
        del self.asked[token]
        ticket = <Ticket *><uint64_t>token
        # Without the memory for the answer the worker closes the connection.
        ticket_answer(ticket, reply, len(reply))
        tickets_put(&self.workers[ticket.worker].inbox, ticket)

    def stop(self):
        cdef uint32_t i
        if self.closed:
            return
        store_release_u32(&self.stopping, 1)
        for i in range(self.nworkers):
            tickets_signal(&self.workers[i].inbox)
        acceptor_wake(&self.acceptor)
        tickets_signal(&self.questions)

    def close(self):
        self._release()

    # ---- looking in

    cdef dict _thread_counters(self):
        """The sums of what the threads count."""
        cdef uint32_t i
        cdef int counter
        cdef uint64_t total
        sums = {}
        for counter in range(COUNTERS):
            total = 0
            for i in range(self.nworkers + 1):
                total += load_u64(&self.counter_sets[i].counter[counter])
            sums[COUNTER_NAMES[counter]] = total
        return sums

    cdef dict _class_totals(self, uint32_t cls):
        """What is counted for one class since the start, by its threads and in its list."""
        cdef uint32_t i
        cdef int counter
        cdef uint64_t total
        cdef LruList *lru_list = &self.store.lru.lists[cls]
        sums = {}
        for counter in range(CLASS_COUNTERS):
            total = 0
            for i in range(self.nworkers + 1):
                total += load_u64(&self.counter_sets[i].by_class[cls][counter])
            sums[CLASS_COUNTER_NAMES[counter]] = total
        lock_acquire(&lru_list.lock)
        values = (
            lru_list.evicted, lru_list.evicted_nonzero, lru_list.evicted_unfetched, lru_list.expired_unfetched,
            lru_list.reclaimed, lru_list.outofmemory, lru_list.reflocked,
        )
        lock_release(&lru_list.lock)
        sums.update(zip(LIST_COUNTER_NAMES, values, strict=True))
        return sums

    cdef dict _class_gauges(self, uint32_t cls):
        """How things stand in one class."""
        cdef SlabClass *slab = &self.store.slabs.classes[cls]
        cdef LruList *lru_list = &self.store.lru.lists[cls]
        cdef uint64_t pages, free_chunks, number, nbytes
        cdef uint32_t age = 0, evicted_time
        lock_acquire(&slab.lock)
        pages = slab.pages
        free_chunks = slab.free_count + slab.fresh_left
        lock_release(&slab.lock)
        lock_acquire(&lru_list.lock)
        number = lru_list.number
        nbytes = lru_list.bytes
        evicted_time = lru_list.evicted_time
        if lru_list.tail != 0:
            age = item_age(<Item *>chunk_at(&self.store.slabs, lru_list.tail), clock_now(&self.store.clock))
        lock_release(&lru_list.lock)
        total = pages * slab.per_page
        return {
            "chunk_size": slab.size, "chunks_per_page": slab.per_page, "total_pages": pages, "total_chunks": total,
            "used_chunks": total - free_chunks, "free_chunks": free_chunks, "number": number, "age": age,
            "mem_requested": nbytes, "evicted_time": evicted_time,
        }

    cdef dict _gauges(self):
        """How things stand."""
        cdef Shared *shared = &self.shared
        cdef uint64_t nbuckets = load_u64(&self.store.table.nbuckets)
        connections = load_u32(&shared.connections)
        stashes = load_u64(&shared.stash_bytes)
        own_buffers = <uint64_t>self.nworkers * (CARRY_MAX + READ_SIZE)
        return {
            "curr_connections": connections,
            "connection_structures": connections,
            "response_obj_count": self.nworkers,
            "response_obj_bytes": load_u64(&shared.buffer_bytes) - stashes,
            "read_buf_count": self.nworkers,
            "read_buf_bytes": own_buffers + stashes,
            "read_buf_bytes_free": own_buffers,
            "reserved_fds": DESCRIPTORS_PER_WORKER * self.nworkers + DESCRIPTORS_BESIDE,
            "limit_maxbytes": self.store.slabs.limit,
            "accepting_conns": load_u32(&self.acceptor.accepting),
            "hash_power_level": top_bit(nbuckets).bit_length() - 1,
            "hash_bytes": table_bytes(&self.store.table),
        }

    cdef _since_reset(self, dict totals, dict before):
        return {name: value - before.get(name, 0) for name, value in totals.items()}

    def counters(self):
        self._check_open()
        counters = self._since_reset(self._thread_counters(), self.baseline)
        counters.update(self._gauges())
        per_class = self._all_classes()
        for name in ("get_hits", "delete_hits", "incr_hits", "decr_hits", "cas_hits", "cas_badval", "touch_hits",
                     "cmd_set", "evicted_unfetched", "expired_unfetched", "reclaimed", "lrutail_reflocked"):
            counters[name] = sum(values[name] for values in per_class.values())
        counters["cmd_get"] = counters["get_hits"] + counters["get_misses"]
        counters["cmd_touch"] = counters["touch_hits"] + counters["touch_misses"]
        counters["evictions"] = sum(values["evicted"] for values in per_class.values())
        counters["bytes"] = sum(values["mem_requested"] for values in per_class.values())
        counters["curr_items"] = sum(values["number"] for values in per_class.values())
        counters["total_malloced"] = PAGE_SIZE * sum(values["total_pages"] for values in per_class.values())
        return counters

    cdef dict _all_classes(self):
        classes = {}
        for cls in range(1, self.store.slabs.nclasses + 1):
            values = self._since_reset(self._class_totals(cls), self.class_baseline.get(cls, {}))
            values.update(self._class_gauges(cls))
            classes[cls] = values
        return classes

    def class_counters(self):
        self._check_open()
        return {
            cls: values
            for cls, values in self._all_classes().items()
            if values["total_pages"] > 0 or values["number"] > 0
        }

    def reset_counters(self):
        self._check_open()
        self.baseline = self._thread_counters()
        self.class_baseline = {
            cls: self._class_totals(cls) for cls in range(1, self.store.slabs.nclasses + 1)
        }

    # ---- the clock

    def clock_now(self):
        self._check_open()
        return clock_now(&self.store.clock)

    def clock_advance(self, seconds):
        self._check_open()
        clock_advance(&self.store.clock, seconds)

    def clock_freeze(self):
        self._check_open()
        clock_freeze(&self.store.clock)

    def clock_resume(self):
        self._check_open()
        clock_resume(&self.store.clock)

    @property
    def started(self):
        self._check_open()
        return self.store.clock.unix_start

    @property
    def verbosity(self):
        return load_u32(&self.service.verbosity)

    @property
    def flush_tick(self):
        self._check_open()
        return load_u32(&self.store.flush_shown)
