"""Windows into the event logs and the statistics per prefix. One thread may record while another takes out."""
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from cachecore_ext.base.counters cimport LOG_WORKER_DROPPED, LOG_WORKER_WRITTEN, CounterSet
from cachecore_ext.base.eventlog cimport (
    LOOKUP_FOUND, CrawlerRun, Event, EventHub, EventLog, event_done, event_item_get, event_log_free, event_log_init,
    event_log_open, event_look, event_lru_crawler, event_next, event_slab_move,
)
from cachecore_ext.base.hashing cimport HashKey
from cachecore_ext.network.watcher cimport LINE_ROOM, format_event
from cachecore_ext.protocol.prefixes cimport (
    PrefixEntry, Prefixes as PrefixesStruct, prefixes_copy, prefixes_deleted, prefixes_free, prefixes_got,
    prefixes_open, prefixes_reset, prefixes_set,
)


cdef class Events:
    """One ring."""

    cdef EventHub *hub
    cdef EventLog *log
    cdef CounterSet *counted

    def __cinit__(self, uint32_t size):
        self.hub = <EventHub *>calloc(1, sizeof(EventHub))
        self.log = <EventLog *>calloc(1, sizeof(EventLog))
        self.counted = <CounterSet *>calloc(1, sizeof(CounterSet))
        if self.hub == NULL or self.log == NULL or self.counted == NULL:
            raise MemoryError
        self.hub.signal = -1
        event_log_init(self.log, self.hub, self.counted, size)

    def __dealloc__(self):
        if self.log != NULL:
            event_log_free(self.log)
        free(self.hub)
        free(self.log)
        free(self.counted)

    def open(self):
        """Have room; before that, everything is dropped."""
        return event_log_open(self.log)

    def got(self, bytes key, uint64_t times=1):
        """Record that a key was found, so often."""
        cdef const char *k = key
        cdef uint32_t nkey = len(key)
        cdef uint64_t i
        with nogil:
            for i in range(times):
                event_item_get(self.log, LOOKUP_FOUND, k, nkey, 1, 5, 7)

    def slab_move(self, uint32_t src, uint32_t dst, bint moved):
        """Record a page's move."""
        event_slab_move(self.log, src, dst, moved)

    def lru_crawler(self, *numbers):
        """Record a run of the crawler: the fields of CrawlerRun, in order."""
        cdef CrawlerRun run
        (run.cls, run.since_run, run.next_run, run.elapsed, run.low_mark, run.next_reclaims, run.examined,
         run.reclaimed) = numbers
        event_lru_crawler(self.log, &run)

    def take(self):
        """Take out what there is: lines."""
        cdef char line[LINE_ROOM]
        cdef const Event *event
        lines = []
        event_look(self.log)
        event = event_next(self.log)
        while event != NULL:
            lines.append(line[:format_event(event, line)])
            event_done(self.log, event)
            event = event_next(self.log)
        return lines

    @property
    def written(self):
        """How many were recorded."""
        return self.counted.counter[<int>LOG_WORKER_WRITTEN]

    @property
    def dropped(self):
        """How many had no room."""
        return self.counted.counter[<int>LOG_WORKER_DROPPED]


cdef class Prefixes:
    """Statistics per prefix, with ``:`` as the delimiter."""

    cdef PrefixesStruct prefixes
    cdef HashKey hash_key

    def __cinit__(self):
        memset(&self.prefixes, 0, sizeof(PrefixesStruct))
        memset(&self.hash_key, 1, sizeof(HashKey))
        self.prefixes.hash_key = &self.hash_key
        self.prefixes.delimiter = c':'
        if prefixes_open(&self.prefixes) != 0:
            raise MemoryError

    def __dealloc__(self):
        prefixes_free(&self.prefixes)

    def got(self, bytes key, bint hit):
        """Count a get."""
        prefixes_got(&self.prefixes, key, len(key), hit)

    def set(self, bytes key):
        """Count a set."""
        prefixes_set(&self.prefixes, key, len(key))

    def deleted(self, bytes key):
        """Count a delete."""
        prefixes_deleted(&self.prefixes, key, len(key))

    def reset(self):
        """Forget all."""
        prefixes_reset(&self.prefixes)

    def all(self):
        """What was counted: prefix to gets, hits, sets, deletes."""
        cdef PrefixEntry entry
        cdef uint32_t resets = 0
        found = {}
        while prefixes_copy(&self.prefixes, len(found), 1, &resets, &entry):
            found[entry.prefix[:entry.length]] = entry.gets, entry.hits, entry.sets, entry.deletes
        return found
