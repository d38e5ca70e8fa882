"""Where words lie that many threads use: which of them share a cache line."""
from libc.stdlib cimport calloc, free

from cachecore_ext.base.counters cimport CounterSet
from cachecore_ext.base.eventlog cimport EventHub, EventLog
from cachecore_ext.network.connection cimport Buffers, Connection, Descriptor, Shared
from cachecore_ext.storage.slabs cimport SlabClass
from cachecore_ext.storage.store cimport Store
from cachecore_ext.storage.table cimport Bucket, Stripe


cdef tuple span(const void *start, const void *first, const void *end):
    """Bytes from the beginning of a structure to its words ``first`` up to ``end``."""
    return <const char *>first - <const char *>start, <const char *>end - <const char *>start


def store_words():
    """Of a store, which begins a line: what everybody reads for every operation, and words that operations write, by
    who writes them. Spans of bytes: (first, behind the last)."""
    cdef Store *store = <Store *>calloc(1, sizeof(Store))
    if store == NULL:
        raise MemoryError
    cdef const SlabClass *slab = &store.slabs.classes[1]
    found = {
        "read: table": span(store, &store.table, &store.table.max_buckets),
        "read: key, flush, clock": span(store, &store.hash_key, &store.cas_block),
        "read: slabs": span(store, &store.slabs.region, &store.slabs.chunk_max),
        "read: lru": span(store, &store.lru.slabs, &store.lru.tuning + 1),
        "insert, remove": span(store, &store.table.max_buckets, &store.table.pad_behind),
        "set": span(store, &store.cas, &store.pad_behind),
        "allocate: a class": span(store, slab, &slab.pad),
        "allocate: the next": span(store, slab + 1, &(slab + 1).pad),
        "list: a class": span(store, &store.lru.classes[1], &store.lru.classes[1].pad),
        "list: the next": span(store, &store.lru.classes[2], &store.lru.classes[2].pad),
    }
    free(store)
    return found


def shared_words():
    """Of what all connections share, wherever it lies."""
    cdef Shared *shared = <Shared *>calloc(1, sizeof(Shared))
    if shared == NULL:
        raise MemoryError
    found = {
        "read": span(shared, shared, &shared.pad),
        "come and go": span(shared, &shared.connections, &shared.pad_behind),
    }
    free(shared)
    return found


def sizes():
    """Bytes of the entries of arrays, of which neighbours belong to different threads."""
    return {
        "counters": sizeof(CounterSet), "log": sizeof(EventLog), "hub": sizeof(EventHub), "buffers": sizeof(Buffers),
        "connection": sizeof(Connection), "descriptor": sizeof(Descriptor), "bucket": sizeof(Bucket),
        "stripe": sizeof(Stripe),
    }
