"""The data plane as Python sees it: the one place where Python objects, the GIL and exceptions meet it."""
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from cachecore_ext.base.atomics cimport load_u32, load_u64, store_release_u32, store_u32
from cachecore_ext.base.clock cimport CLOCK_START, clock_now
from cachecore_ext.base.counters cimport CLASSES, CounterSet
from cachecore_ext.base.eventlog cimport (
    WATCH_PREFIXES, EventHub, EventLog, PeerAddress, event_log_free, event_log_init, hub_watch, hub_watched,
)
from cachecore_ext.base.linux cimport close, malloc_returns
from cachecore_ext.base.mapping cimport mapping_free, mapping_open, mapping_reserve
from cachecore_ext.embedded cimport CALLERS, Callers
from cachecore_ext.figures cimport (
    class_gauges, class_totals, connections, listening_sockets, maintenance_counters, thread_counters,
)
from cachecore_ext.keeper cimport Keeper, allocate
from cachecore_ext.network.acceptor cimport (
    Acceptor, acceptor_add, acceptor_free, acceptor_init, acceptor_run, acceptor_wake,
)
from cachecore_ext.network.admin cimport (
    Ticket, TicketList, ticket_answer, ticket_free, tickets_await, tickets_drop, tickets_free, tickets_init,
    tickets_put, tickets_signal, tickets_take,
)
from cachecore_ext.network.connection cimport (
    CARRY_MAX, VALUE_READ_SIZE, Buffers, Connection, Descriptor, Shared, conn_close, conn_free, other_bytes,
    stash_bytes,
)
from cachecore_ext.network.watcher cimport LINE_ROOM, Logger, logger_drop, logger_free, logger_init, logger_run
from cachecore_ext.network.worker cimport Worker, worker_free, worker_init, worker_run
from cachecore_ext.protocol.auth cimport CREDENTIAL_MAX, USERS_MAX, Credential, Users, credential_set, users_replace
from cachecore_ext.protocol.prefixes cimport (
    PrefixEntry, Prefixes, prefixes_copy, prefixes_free, prefixes_open, prefixes_reset,
)
from cachecore_ext.protocol.session cimport Service
from cachecore_ext.restart cimport begin_file, save_store, take_up
from cachecore_ext.storage.balance cimport balance_watch
from cachecore_ext.storage.slabs cimport CHUNK_MAX, PAGE_SIZE
from cachecore_ext.storage.store cimport StoreSettings
from cachecore_ext.storage.table cimport table_bytes, top_bit

import resource

from cachecore_ext.figures import CLASS_SUM_NAMES, ConnectionInfo, ItemInfo

cdef enum:
    # Stashes and pendings of all connections together: by default an eighth of the memory limit, and at least this.
    BUFFERS_MIN = 16 * 1024 * 1024
    DESCRIPTORS_PER_WORKER = 2   # epoll, inbox
    DESCRIPTORS_BESIDE = 5       # acceptor's epoll and wake, questions, maintenance's alarm, logger's arrivals
    LOGS_BESIDE = 2              # event logs beside the workers': the acceptor's and the maintenance's
    PREFIXES_AT_ONCE = 64        # copied under the lock for which who counts waits
    WORKER_LOG_MIN = 1024        # bytes
    WORKER_LOG_MAX = 1 << 30
    # glibc keeps up to 2 MiB of every thread's heap: more than ten thousand used connections are.
    HEAP_FREE_MAX = 128 * 1024   # bytes, of each heap
    HEAP_FREE_KEPT = 4 * 1024    # ... when there are more


def return_freed_memory():
    malloc_returns(HEAP_FREE_MAX, HEAP_FREE_KEPT)


cdef uint32_t read_sizes(slab_sizes, uint32_t *chunk_sizes) except? 0:
    """Write the sizes, CLASSES of them at most; how many."""
    cdef uint32_t i, number = min(len(slab_sizes), <uint32_t>CLASSES)
    for i in range(number):
        chunk_sizes[i] = slab_sizes[i]
    return number


cdef class AdminRequest:
    """A command that the data plane leaves to Python; its connection waits for the answer."""

    cdef readonly object token
    cdef readonly bytes line

    def __init__(self, token, line):
        self.token = token
        self.line = line


cdef class Engine(Keeper):
    """Owns the store, the workers and the connections; brings no thread of its own."""

    # One a worker, then the acceptor's, the maintenance's, those of calls from this process, and the logger's.
    cdef CounterSet *counter_sets
    cdef EventHub *hub
    cdef EventLog *logs             # the same, but for the logger's
    cdef uint32_t nlogs
    cdef Worker **workers
    cdef uint32_t nworkers          # those that there are
    cdef uint32_t nworkers_wanted   # ... while the network is open
    cdef Acceptor acceptor
    cdef Logger logger
    cdef Prefixes prefixes
    cdef uint32_t ncounter_sets
    cdef Service service
    cdef Shared shared
    cdef Users users
    cdef TicketList questions
    cdef Callers embedded          # the cache that calls the store from this process, or None
    cdef bint abandoned             # in a child process: nothing is freed any more
    cdef uint32_t stopping          # the network's threads are to end; atomic
    cdef dict asked                 # token -> None: tickets that Python holds
    cdef dict baseline              # what the counters stood at when they were reset
    cdef dict class_baseline

    def __cinit__(self):
        self.acceptor.epoll = -1
        self.acceptor.wake = -1
        self.questions.signal = -1
        self.logger.arrivals.signal = -1

    def __init__(
        self, *, memory_limit, item_size_max, threads, max_connections, growth_factor, chunk_size_min, evictions,
        use_cas, reqs_per_event, maxconns_fast, idle_timeout, buffer_limit, users, binary_probe, debug_commands,
        verbosity, version, slab_sizes=(), slab_chunk_max=CHUNK_MAX, hugepages=False,
        lru_policy="s3fifo", lru_maintainer=True, hot_lru_pct=20, warm_lru_pct=40, hot_max_factor=0.2,
        warm_max_factor=2.0, temporary_ttl=None, lru_crawler=True, lru_crawler_sleep=100, lru_crawler_tocrawl=0,
        slab_reassign=True, slab_automove=1, slab_automove_ratio=0.8, slab_automove_window=10,
        flush_enabled=True, dump_enabled=True, watch_enabled=True, watcher_logbuf_size=256 * 1024,
        worker_logbuf_size=64 * 1024, prefix_delimiter=b":", detail_enabled=False,
        memory_fd=None, memory_state=None, memory_downtime=0, embedded=None,
    ):
        cdef StoreSettings settings
        cdef uint32_t[CLASSES] chunk_sizes
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
        settings.chunk_max = slab_chunk_max
        settings.nchunk_sizes = read_sizes(slab_sizes, chunk_sizes)
        settings.chunk_sizes = chunk_sizes if slab_sizes else NULL
        settings.hugepages = hugepages
        settings.memory_file = -1 if memory_fd is None else memory_fd
        settings.evictions = evictions
        settings.use_cas = use_cas
        self._set_service(
            version, debug_commands, flush_enabled, dump_enabled, watch_enabled, verbosity, prefix_delimiter
        )
        self._set_shared(max_connections, reqs_per_event, maxconns_fast, idle_timeout, binary_probe, users)
        self.shared.buffer_limit = buffer_limit or max(<uint64_t>BUFFERS_MIN, settings.memory_limit / 8)
        self._allocate(
            &settings, threads, embedded, max(watcher_logbuf_size, 4 * LINE_ROOM),
            min(max(worker_logbuf_size, WORKER_LOG_MIN), WORKER_LOG_MAX),
        )
        self.nworkers_wanted = threads
        if embedded is None:
            self._open_network()
        self.maintenance.lru = lru_maintainer
        self.maintenance.moves = slab_reassign
        self.set_lru_policy(lru_policy)
        self.set_lru_tuning(hot_lru_pct, warm_lru_pct, hot_max_factor, warm_max_factor)
        self.set_temporary_ttl(temporary_ttl)
        self._set_crawler(lru_crawler, lru_crawler_sleep, lru_crawler_tocrawl)
        self._set_automove(slab_automove, slab_automove_ratio, slab_automove_window)
        self.set_detail(detail_enabled)
        if memory_fd is not None:
            self._begin_file(memory_state, memory_downtime)

    cdef _set_service(self, version, bint debug_commands, bint flush_enabled, bint dump_enabled, bint watch_enabled,
                      verbosity, bytes prefix_delimiter):
        """What commands look at."""
        self._set_version(version)
        self.service.debug_commands = debug_commands
        self.service.flush_enabled = flush_enabled
        self.service.dump_enabled = dump_enabled
        self.service.watch_enabled = watch_enabled
        self.service.verbosity = verbosity
        self.service.prefixes = &self.prefixes
        self.prefixes.delimiter = prefix_delimiter[0]

    cdef _set_shared(self, max_connections, reqs_per_event, bint maxconns_fast, idle_timeout, bint binary_probe, users):
        """What connections look at, but for their buffers' limit."""
        self.shared.max_connections = max_connections
        self.shared.reqs_per_event = reqs_per_event
        self.shared.maxconns_fast = maxconns_fast
        self.shared.idle_timeout = idle_timeout
        self.shared.binary_probe = binary_probe
        if users is not None:
            self.shared.users = &self.users
            self.set_users(users)

    cdef _set_crawler(self, enabled, sleep, tocrawl):
        self.set_crawler_enabled(enabled)
        self.set_crawler_sleep(sleep)
        self.set_crawler_tocrawl(tocrawl)

    cdef _set_automove(self, mode, ratio, window):
        self.set_automove(mode)
        self.set_automove_ratio(ratio)
        self.set_automove_window(window)

    cdef _begin_file(self, memory_state, memory_downtime):
        """Make a file of items the store's, or go on with those that are in it."""
        if memory_state is None:
            begin_file(self.store)
        else:
            take_up(&self.maintenance.context, memory_state, memory_downtime)

    cdef _set_version(self, version):
        cdef bytes line = f"VERSION {version}\r\n".encode("ascii")
        cdef size_t length = len(line)
        if length >= sizeof(self.service.version_line):
            raise ValueError(f"version is too long: {version!r}")
        memcpy(self.service.version_line, <const char *>line, length + 1)

    cdef _allocate(self, const StoreSettings *settings, uint32_t threads, Callers embedded, size_t watcher_log,
                   uint32_t worker_log):
        cdef uint32_t i, nlogs = threads + LOGS_BESIDE + (0 if embedded is None else CALLERS)
        self._open_store(settings)
        self.prefixes.hash_key = &self.store.hash_key
        # Descriptors are small numbers; this is the largest that the process may come to have.
        self.shared.nfds = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 1 << 20)
        self.shared.by_fd = <Descriptor *>calloc(self.shared.nfds, sizeof(Descriptor))
        self.shared.peers = <PeerAddress *>calloc(self.shared.nfds, sizeof(PeerAddress))
        self.shared.conns = <Connection *>mapping_reserve(self.shared.nfds * sizeof(Connection))
        self.shared.buffers = <Buffers *>allocate(threads * sizeof(Buffers))
        self.shared.nbuffers = threads
        self.ncounter_sets = nlogs + 1
        self.counter_sets = <CounterSet *>allocate(self.ncounter_sets * sizeof(CounterSet))
        self.workers = <Worker **>calloc(threads, sizeof(Worker *))
        self.hub = <EventHub *>allocate(sizeof(EventHub))
        self.logs = <EventLog *>allocate(nlogs * sizeof(EventLog))
        if (
            self.shared.by_fd == NULL or self.shared.peers == NULL or self.shared.conns == NULL
            or self.shared.buffers == NULL
            or not mapping_open(self.shared.conns, self.shared.nfds * sizeof(Connection))
            or self.counter_sets == NULL or self.workers == NULL or self.hub == NULL or self.logs == NULL
        ):
            raise MemoryError("cannot allocate the workers")
        if tickets_init(&self.questions, True) != 0:
            raise OSError("cannot create an eventfd")
        for i in range(nlogs):
            event_log_init(&self.logs[i], self.hub, &self.counter_sets[i], worker_log)
        self.nlogs = nlogs
        if logger_init(&self.logger, self.hub, self.logs, nlogs, self.workers, &self.counter_sets[nlogs],
                       watcher_log, &self.stopping) != 0:
            raise OSError("cannot set up the logger: no file descriptors left")
        self._open_maintenance(&self.counter_sets[threads + 1], &self.logs[threads + 1])
        balance_watch(&self.maintenance.balance, self.counter_sets, self.ncounter_sets)
        if embedded is not None:
            i = threads + LOGS_BESIDE
            embedded.attach(self, self.store, self.hub, &self.counter_sets[i], &self.logs[i])
            self.embedded = embedded

    cdef _open_network(self):
        cdef uint32_t i, threads = self.nworkers_wanted
        for i in range(threads):
            self.workers[i] = <Worker *>allocate(sizeof(Worker))
            if self.workers[i] == NULL:
                raise MemoryError("cannot allocate the workers")
            self.nworkers += 1
            if worker_init(self.workers[i], i, self.store, &self.counter_sets[i], &self.service, &self.logs[i],
                           &self.shared, &self.questions, &self.logger.arrivals, &self.stopping) != 0:
                raise OSError("cannot set up a worker: no memory or no file descriptors left")
        if acceptor_init(&self.acceptor, &self.shared, &self.counter_sets[threads], &self.logs[threads],
                         self.workers, threads, &self.stopping) != 0:
            raise OSError("cannot set up the acceptor: no file descriptors left")

    def __dealloc__(self):
        self._release()

    cdef void _close_connections(self) noexcept:
        cdef uint32_t i
        if self.shared.by_fd == NULL or self.nworkers == 0:
            return
        for i in range(self.shared.top_fd + 1):
            if self.shared.by_fd[i].owner != 0:
                conn_free(&self.shared.conns[i], &self.shared, &self.workers[0].scratch.session)
                self.shared.by_fd[i].owner = 0
                conn_close(<int>i)

    cpdef void close_network(self) noexcept:
        cdef uint32_t i
        self._close_connections()
        self.shared.connections = 0
        for token in self.asked or ():
            ticket_free(<Ticket *><uint64_t>token)
        self.asked = {}
        tickets_drop(&self.questions)
        logger_drop(&self.logger)
        acceptor_free(&self.acceptor)
        memset(&self.acceptor, 0, sizeof(Acceptor))
        self.acceptor.epoll = -1
        self.acceptor.wake = -1
        for i in range(self.nworkers):
            worker_free(self.workers[i])
            free(self.workers[i])
        self.nworkers = 0

    cdef void _release(self) noexcept:
        """Free everything, in whatever state it is."""
        cdef uint32_t i
        if self.abandoned:
            return
        if self.embedded is not None:
            self.embedded.detach()
            self.why = self.why or "the cache is closed"
        self.embedded = None
        self.close_network()
        free(self.shared.by_fd)
        free(self.shared.peers)
        mapping_free(self.shared.conns, self.shared.nfds * sizeof(Connection))
        free(self.shared.buffers)
        memset(&self.shared, 0, sizeof(Shared))
        tickets_free(&self.questions)
        logger_free(&self.logger)
        free(self.workers)
        self.workers = NULL
        for i in range(self.nlogs):
            event_log_free(&self.logs[i])
        self.nlogs = 0
        free(self.logs)
        self.logs = NULL
        free(self.hub)
        self.hub = NULL
        self.logger.hub = NULL
        prefixes_free(&self.prefixes)
        free(self.counter_sets)
        self.counter_sets = NULL
        self._free_store()

    # ---- serving

    def open_network(self):
        self._check_open()
        if self.nworkers:
            raise RuntimeError("the network is open")
        store_u32(&self.stopping, 0)
        self._open_network()

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

    def run_logger(self):
        self._check_open()
        with nogil:
            logger_run(&self.logger)

    def next_admin(self):
        cdef Ticket *ticket
        self._check_open()
        while load_u32(&self.stopping) == 0:
            ticket = tickets_take(&self.questions)
            if ticket != NULL:
                try:
                    request = AdminRequest(<uint64_t>ticket, ticket.line[:ticket.nline])
                    self.asked[request.token] = None
                    return request
                except MemoryError:
                    tickets_put(&self.workers[ticket.worker].inbox, ticket)  # without an answer
                    raise
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
        # Without an answer, or the memory for it, the worker closes the connection.
        if reply is not None:
            ticket_answer(ticket, reply, len(reply))
        tickets_put(&self.workers[ticket.worker].inbox, ticket)

    cdef void _wake_workers(self) noexcept:
        cdef uint32_t i
        for i in range(self.nworkers):
            tickets_signal(&self.workers[i].inbox)

    def set_users(self, users):
        cdef Credential credentials[USERS_MAX]
        cdef size_t i
        cdef bytes user, password
        if self.shared.users == NULL:
            raise RuntimeError("the engine was set up without users")
        if len(users) > USERS_MAX:
            raise ValueError(f"at most {USERS_MAX} users, not {len(users)}")
        memset(credentials, 0, sizeof(credentials))
        for i, (user, password) in enumerate(users):
            if len(user) + len(password) >= CREDENTIAL_MAX:
                raise ValueError(f"a user and a password have less than {CREDENTIAL_MAX} bytes together")
            credential_set(&credentials[i], user, len(user), password, len(password))
        users_replace(&self.users, credentials)

    def stop(self):
        if self.closed:
            return
        self.stop_network()
        self._end_maintenance()

    def stop_network(self):
        if self.closed:
            return
        store_release_u32(&self.stopping, 1)
        self._wake_workers()
        acceptor_wake(&self.acceptor)
        tickets_signal(&self.questions)
        tickets_signal(&self.logger.arrivals)

    def close(self):
        self._release()

    def abandon(self, str why not None):
        cdef uint32_t i
        self.why = why
        if self.closed:
            return
        if self.shared.by_fd != NULL:
            for i in range(self.shared.top_fd + 1):
                if self.shared.by_fd[i].owner != 0:
                    close(<int>i)
        self.abandoned = True
        self.closed = True

    def save(self):
        """close, leaving memory_fd's file so that it can be taken up."""
        self._check_open()
        if self.store.slabs.file < 0:
            raise RuntimeError("the engine has no memory file")
        self._close_connections()
        try:
            return save_store(self.store)
        finally:
            self._release()

    # ---- looking in

    cdef dict _gauges(self):
        """How things stand."""
        cdef Shared *shared = &self.shared
        cdef uint64_t nbuckets = load_u64(&self.store.table.nbuckets)
        connections = load_u32(&shared.connections)
        stashes = stash_bytes(shared)
        own_buffers = <uint64_t>self.nworkers * (CARRY_MAX + VALUE_READ_SIZE)
        return {
            "curr_connections": connections,
            "connection_structures": connections,
            "response_obj_count": self.nworkers,
            "response_obj_bytes": other_bytes(shared),
            "read_buf_count": self.nworkers,
            "read_buf_bytes": own_buffers + stashes,
            "read_buf_bytes_free": own_buffers,
            "reserved_fds": DESCRIPTORS_PER_WORKER * self.nworkers + DESCRIPTORS_BESIDE,
            "limit_maxbytes": load_u64(&self.store.slabs.limit),
            "accepting_conns": load_u32(&self.acceptor.accepting),
            "hash_power_level": top_bit(nbuckets).bit_length() - 1,
            "hash_bytes": table_bytes(&self.store.table),
            "log_watchers": load_u32(&self.logger.nwatchers),
            "slab_global_page_pool": load_u32(&self.store.slabs.pooled),
            "lru_crawler_running": load_u32(&self.maintenance.crawler.running),
            "slab_reassign_running": load_u32(&self.maintenance.mover.running),
        }

    cdef _since_reset(self, dict totals, dict before):
        return {name: value - before.get(name, 0) for name, value in totals.items()}

    cdef dict _totals(self):
        return thread_counters(self.counter_sets, self.ncounter_sets) | maintenance_counters(&self.maintenance)

    cdef dict _class_totals(self, uint32_t cls):
        return class_totals(self.store, self.counter_sets, self.ncounter_sets, cls)

    def counters(self):
        self._check_open()
        counters = self._since_reset(self._totals(), self.baseline)
        counters.update(self._gauges())
        per_class = self._all_classes()
        for name in CLASS_SUM_NAMES:
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
            values.update(class_gauges(self.store, cls))
            classes[cls] = values
        return classes

    def class_counters(self):
        self._check_open()
        return {
            cls: values
            for cls, values in self._all_classes().items()
            if values["total_pages"] > 0 or values["number"] > 0
        }

    def connections(self):
        self._check_open()
        now = clock_now(&self.store.clock)
        return sorted(listening_sockets(&self.acceptor, max(now - CLOCK_START, 0)) + connections(&self.shared, now))

    def reset_counters(self):
        self._check_open()
        self.baseline = self._totals()
        self.class_baseline = {
            cls: self._class_totals(cls) for cls in range(1, self.store.slabs.nclasses + 1)
        }
        prefixes_reset(&self.prefixes)

    # ---- statistics per prefix

    def set_detail(self, on):
        self._check_open()
        if on and prefixes_open(&self.prefixes) != 0:
            raise MemoryError("cannot reserve the memory for the prefixes")
        hub_watch(self.hub, WATCH_PREFIXES, WATCH_PREFIXES if on else 0)

    @property
    def detail(self):
        self._check_open()
        return hub_watched(self.hub) & WATCH_PREFIXES != 0

    def prefix_stats(self):
        cdef PrefixEntry entries[PREFIXES_AT_ONCE]
        cdef uint32_t i, n, began = 0, resets = 0
        self._check_open()
        found = []
        while True:
            n = prefixes_copy(&self.prefixes, len(found), PREFIXES_AT_ONCE, &resets, entries)
            if resets != began:  # forgotten meanwhile
                began = resets
                found.clear()
                continue
            for i in range(n):
                found.append((
                    entries[i].prefix[:entries[i].length], entries[i].gets, entries[i].hits, entries[i].sets,
                    entries[i].deletes,
                ))
            if n < PREFIXES_AT_ONCE:
                return found

    # ---- settings beside the store's

    def clock_advance(self, seconds):
        Keeper.clock_advance(self, seconds)
        if self.shared.idle_timeout:
            self._wake_workers()

    @property
    def verbosity(self):
        self._check_open()
        return load_u32(&self.service.verbosity)
