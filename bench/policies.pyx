"""Eviction policies in simulation: what they would miss of a trace, had they so many bytes for items.

Every key has a node, found by its number, so that nothing has to be looked up; lists are made of such numbers. An
item is charged its key, its value and an overhead. A request that finds its item expired misses, and stores it anew.

LRU; SIEVE (Zhang and others, NSDI 2024); S3-FIFO (Yang and others, SOSP 2023: a tenth is the small list, an item goes
on to the main list when it was asked for twice more, and ghosts are remembered as long as the main list is large);
W-TinyLFU (Einziger and others, 2017: a window of 1 %, a main area in two segments, 80 % of it protected, and counts of
4 bits in four rows, halved every ten times as many requests as there are items); and Belady, which knows the future:
it evicts what is used last from now on, stores nothing that is not asked for again before it expires or leaves, and
does not look at sizes, so where these differ there may be a better one.
"""

from cpython cimport array
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from bench.drawing cimport scatter
from bench.traces cimport Trace

import array

cdef extern from *:
    int __builtin_clzll(uint64_t n) noexcept nogil

cdef enum:
    SMALL_PERCENT = 10       # S3-FIFO's small list
    SMALL_USES = 2           # uses, after the first, that bring an item from there to the main list
    USES_MAX = 3
    WINDOW_PERCENT = 1       # W-TinyLFU's window
    PROTECTED_PERCENT = 80   # of the rest
    SKETCH_ROWS = 4
    COUNT_MAX = 15
    SAMPLE_FACTOR = 10       # requests for each item that fits, after which the counts are halved


# ---- lists ---------------------------------------------------------------------------------------------------

cdef void push(Cache *cache, uint32_t key, uint8_t place) noexcept nogil:
    """Make a key that is in no list the newest of one."""
    cdef List *into = &cache.list[place]
    cdef Node *node = &cache.node[key]
    node.place = place
    node.newer = NIL
    node.older = into.newest
    if into.newest != NIL:
        cache.node[into.newest].newer = key
    else:
        into.oldest = key
    into.newest = key
    into.bytes += node.size
    cache.used += node.size


cdef void pull(Cache *cache, uint32_t key) noexcept nogil:
    """Take a key out of its list."""
    cdef Node *node = &cache.node[key]
    cdef List *of = &cache.list[node.place]
    if cache.hand == key:
        cache.hand = node.newer
    if node.newer != NIL:
        cache.node[node.newer].older = node.older
    else:
        of.newest = node.older
    if node.older != NIL:
        cache.node[node.older].newer = node.newer
    else:
        of.oldest = node.newer
    of.bytes -= node.size
    cache.used -= node.size
    node.place = ABSENT


cdef void renew(Cache *cache, uint32_t key, uint8_t place) noexcept nogil:
    pull(cache, key)
    push(cache, key, place)


# ---- LRU and SIEVE -------------------------------------------------------------------------------------------

cdef void lru_touch(Cache *cache, uint32_t key) noexcept nogil:
    renew(cache, key, FIRST)


cdef void lru_admit(Cache *cache, uint32_t key) noexcept nogil:
    while cache.used + cache.node[key].size > cache.capacity:
        pull(cache, cache.list[<int>FIRST].oldest)
    push(cache, key, FIRST)


cdef void sieve_touch(Cache *cache, uint32_t key) noexcept nogil:
    cache.node[key].mark = 1


cdef void sieve_evict(Cache *cache) noexcept nogil:
    """The hand goes from old to new, spares what was visited, once, and stays where it evicted."""
    if cache.hand == NIL:
        cache.hand = cache.list[<int>FIRST].oldest
    while cache.node[cache.hand].mark:
        cache.node[cache.hand].mark = 0
        cache.hand = cache.node[cache.hand].newer
        if cache.hand == NIL:
            cache.hand = cache.list[<int>FIRST].oldest
    pull(cache, cache.hand)


cdef void sieve_admit(Cache *cache, uint32_t key) noexcept nogil:
    while cache.used + cache.node[key].size > cache.capacity:
        sieve_evict(cache)
    cache.node[key].mark = 0
    push(cache, key, FIRST)


# ---- S3-FIFO: FIRST is the small list, SECOND the main list ----------------------------------------------------

cdef void s3fifo_touch(Cache *cache, uint32_t key) noexcept nogil:
    cache.node[key].mark = min(<int>cache.node[key].mark + 1, <int>USES_MAX)


cdef void s3fifo_evict(Cache *cache) noexcept nogil:
    """Take one step that makes room, or moves an item where it stays longer."""
    cdef uint32_t key
    cdef Node *node
    if cache.list[<int>FIRST].bytes * 100 > cache.capacity * <uint64_t>SMALL_PERCENT or cache.list[<int>SECOND].bytes == 0:
        key = cache.list[<int>FIRST].oldest
        node = &cache.node[key]
        if node.mark >= SMALL_USES:
            node.mark = 0
            renew(cache, key, SECOND)
        else:
            pull(cache, key)
            cache.ghosts += node.size
            cache.ghosted[key] = cache.ghosts
        return
    key = cache.list[<int>SECOND].oldest
    node = &cache.node[key]
    if node.mark > 0:
        node.mark -= 1
        renew(cache, key, SECOND)
    else:
        pull(cache, key)


cdef void s3fifo_admit(Cache *cache, uint32_t key) noexcept nogil:
    cdef uint64_t main = cache.capacity * (100 - <uint64_t>SMALL_PERCENT) / 100
    cdef bint ghost = cache.ghosted[key] != 0 and cache.ghosts - cache.ghosted[key] < main
    while cache.used + cache.node[key].size > cache.capacity:
        s3fifo_evict(cache)
    cache.ghosted[key] = 0
    cache.node[key].mark = 0
    push(cache, key, SECOND if ghost else FIRST)


# ---- W-TinyLFU: FIRST is the window, SECOND on probation, THIRD protected ---------------------------------------

cdef inline uint8_t *sketch_at(Cache *cache, uint32_t key, uint64_t row) noexcept nogil:
    return &cache.sketch[row * (cache.sketch_mask + 1) + (scatter(key + (row << 32)) & cache.sketch_mask)]


cdef uint8_t sketch_count(Cache *cache, uint32_t key) noexcept nogil:
    cdef uint8_t least = COUNT_MAX
    cdef uint64_t row
    for row in range(<uint64_t>SKETCH_ROWS):
        least = min(least, sketch_at(cache, key, row)[0])
    return least


cdef void sketch_add(Cache *cache, uint32_t key) noexcept nogil:
    cdef uint64_t row, i
    for row in range(<uint64_t>SKETCH_ROWS):
        if sketch_at(cache, key, row)[0] < COUNT_MAX:
            sketch_at(cache, key, row)[0] += 1
    cache.sketched += 1
    if cache.sketched >= cache.sketch_sample:
        cache.sketched /= 2
        for i in range(SKETCH_ROWS * (cache.sketch_mask + 1)):
            cache.sketch[i] >>= 1


cdef void tinylfu_touch(Cache *cache, uint32_t key) noexcept nogil:
    cdef uint64_t most = cache.capacity * (100 - <uint64_t>WINDOW_PERCENT) * <uint64_t>PROTECTED_PERCENT / 10000
    sketch_add(cache, key)
    renew(cache, key, FIRST if cache.node[key].place == FIRST else THIRD)
    while cache.list[<int>THIRD].bytes > most:
        renew(cache, cache.list[<int>THIRD].oldest, SECOND)


cdef void tinylfu_contest(Cache *cache, uint32_t candidate) noexcept nogil:
    """What left the window against the oldest of the main area, until all fits: who was asked for more often stays."""
    cdef uint32_t victim
    while cache.used > cache.capacity:
        victim = cache.list[<int>SECOND].oldest
        if victim == candidate:
            victim = cache.list[<int>THIRD].oldest
        if victim == NIL or sketch_count(cache, candidate) <= sketch_count(cache, victim):
            pull(cache, candidate)
            return
        pull(cache, victim)


cdef void tinylfu_admit(Cache *cache, uint32_t key) noexcept nogil:
    cdef uint32_t candidate
    sketch_add(cache, key)
    push(cache, key, FIRST)
    while cache.list[<int>FIRST].bytes * 100 > cache.capacity * <uint64_t>WINDOW_PERCENT:
        candidate = cache.list[<int>FIRST].oldest
        renew(cache, candidate, SECOND)
        tinylfu_contest(cache, candidate)


cdef bint tinylfu_init(Cache *cache, uint64_t items) noexcept nogil:
    """Counts for so many items; False when there is no memory."""
    cdef uint64_t width = 64
    while width < items:
        width *= 2
    cache.sketch = <uint8_t *>calloc(<size_t>SKETCH_ROWS, width)
    cache.sketch_mask = width - 1
    cache.sketch_sample = max(items, <uint64_t>1) * SAMPLE_FACTOR
    return cache.sketch != NULL


# ---- the simulation ------------------------------------------------------------------------------------------

cdef inline bint expired(const Node *node, uint64_t request) noexcept nogil:
    return node.ends != 0 and request >= node.ends


cdef inline void prepare(Node *node, const uint32_t *sizes, const uint32_t *ttls, uint64_t request, uint64_t rate,
                         uint64_t overhead) noexcept nogil:
    """What a set makes of a node."""
    node.size = <uint32_t>(sizes[request] + overhead)
    node.ends = request + ttls[request] * rate if ttls[request] else 0


cdef void reap(Cache *cache, uint64_t request) noexcept nogil:
    """Free what has expired."""
    cdef uint64_t key
    for key in range(cache.ids):
        if cache.node[key].place != ABSENT and expired(&cache.node[key], request):
            pull(cache, <uint32_t>key)


cdef void simulate(Cache *cache, const Policy *policy, const uint32_t *keys, const uint32_t *sizes,
                   const uint32_t *ttls, uint64_t requests, uint64_t rate, uint64_t overhead, bint reaps,
                   uint64_t *missed, uint64_t parts) noexcept nogil:
    """Run the requests; ``missed``: how many did not find their key, for each of so many parts of the trace."""
    cdef uint64_t i
    cdef uint32_t key
    cdef Node *node
    for i in range(requests):
        if reaps and i % rate == 0:
            reap(cache, i)
        key = keys[i]
        node = &cache.node[key]
        if node.place != ABSENT and not expired(node, i):
            policy.touch(cache, key)
            continue
        missed[i * parts / requests] += 1
        if node.place != ABSENT:
            pull(cache, key)
        prepare(node, sizes, ttls, i, rate, overhead)
        if node.size <= cache.capacity:
            policy.admit(cache, key)


# ---- Belady --------------------------------------------------------------------------------------------------

cdef inline void use_set(Cache *cache, uint64_t request) noexcept nogil:
    cdef int level
    for level in range(4):
        cache.level[level][request >> 6] |= <uint64_t>1 << (request & 63)
        request >>= 6


cdef inline void use_clear(Cache *cache, uint64_t request) noexcept nogil:
    cdef int level
    for level in range(4):
        cache.level[level][request >> 6] &= ~(<uint64_t>1 << (request & 63))
        if cache.level[level][request >> 6] != 0:
            return
        request >>= 6


cdef inline uint64_t use_last(const Cache *cache, uint64_t words) noexcept nogil:
    """The last request at which a cached item is used; there is one. ``words``: of the topmost level."""
    cdef uint64_t at = words - 1
    cdef int level
    while cache.level[3][at] == 0:
        at -= 1
    for level in range(3, -1, -1):
        at = at * 64 + 63 - __builtin_clzll(cache.level[level][at])
    return at


cdef void find_next_uses(uint32_t *next_use, const uint32_t *keys, uint64_t requests, uint32_t *seen,
                         uint64_t ids) noexcept nogil:
    """``seen``: room for a number a key."""
    cdef uint64_t i
    memset(seen, 0xFF, ids * sizeof(uint32_t))
    for i in range(requests):
        next_use[requests - 1 - i] = seen[keys[requests - 1 - i]]
        seen[keys[requests - 1 - i]] = <uint32_t>(requests - 1 - i)


cdef void simulate_belady(Cache *cache, const uint32_t *keys, const uint32_t *sizes, const uint32_t *ttls,
                          uint64_t requests, uint64_t rate, uint64_t overhead, uint64_t *missed,
                          uint64_t parts) noexcept nogil:
    """Run the requests with what is to come known; ``missed`` as above."""
    cdef uint64_t i, last, words = (requests >> 24) + 1
    cdef uint32_t next_use
    cdef Node *node
    for i in range(requests):
        node = &cache.node[keys[i]]
        next_use = cache.next_use[i]
        if node.place != ABSENT:
            use_clear(cache, i)
        else:
            missed[i * parts / requests] += 1
            prepare(node, sizes, ttls, i, rate, overhead)
            cache.used += node.size
        node.place = ABSENT if next_use == NIL or expired(node, next_use) else FIRST
        if node.place == ABSENT:
            cache.used -= node.size
        else:
            use_set(cache, next_use)
        while cache.used > cache.capacity:
            last = use_last(cache, words)
            use_clear(cache, last)
            node = &cache.node[keys[last]]
            node.place = ABSENT
            cache.used -= node.size


# ---- what Python sees ----------------------------------------------------------------------------------------

POLICIES = ("LRU", "SIEVE", "S3-FIFO", "W-TinyLFU", "Belady")


cdef void cache_free(Cache *cache) noexcept:
    cdef int level
    free(cache.node)
    free(cache.ghosted)
    free(cache.sketch)
    free(cache.next_use)
    for level in range(4):
        free(cache.level[level])


cdef bint cache_init(Cache *cache, uint64_t ids, uint64_t capacity) noexcept:
    """An empty cache; False when there is no memory."""
    cdef uint64_t i
    memset(cache, 0, sizeof(Cache))
    cache.capacity = capacity
    cache.ids = ids
    cache.hand = NIL
    for i in range(<uint64_t>LISTS):
        cache.list[i].newest = cache.list[i].oldest = NIL
    cache.node = <Node *>calloc(ids, sizeof(Node))
    if cache.node == NULL:
        return False
    for i in range(ids):
        cache.node[i].place = ABSENT
    return True


cdef bint policy_init(Cache *cache, Policy *policy, str name, uint64_t items) noexcept:
    """Choose the functions of a policy, with what it remembers; False when there is no memory."""
    if name == "LRU":
        policy.touch, policy.admit = lru_touch, lru_admit
    elif name == "SIEVE":
        policy.touch, policy.admit = sieve_touch, sieve_admit
    elif name == "S3-FIFO":
        policy.touch, policy.admit = s3fifo_touch, s3fifo_admit
        cache.ghosted = <uint64_t *>calloc(cache.ids, sizeof(uint64_t))
        return cache.ghosted != NULL
    else:
        policy.touch, policy.admit = tinylfu_touch, tinylfu_admit
        return tinylfu_init(cache, items)
    return True


cdef bint belady_init(Cache *cache, const uint32_t *keys, uint64_t requests) noexcept:
    """Look into the future; False when there is no memory."""
    cdef uint32_t *seen = <uint32_t *>malloc(cache.ids * sizeof(uint32_t))
    cdef int level
    cache.next_use = <uint32_t *>malloc(requests * sizeof(uint32_t) + 1)
    for level in range(4):
        cache.level[level] = <uint64_t *>calloc((requests >> (6 * level + 6)) + 1, sizeof(uint64_t))
    if seen == NULL or cache.next_use == NULL or NULL in (cache.level[0], cache.level[1], cache.level[2], cache.level[3]):
        free(seen)
        return False
    with nogil:
        find_next_uses(cache.next_use, keys, requests, seen, cache.ids)
    free(seen)
    return True


def misses(Trace trace, str policy, uint64_t capacity, *, uint64_t overhead, bint reaps=False, int parts=1):
    """How many requests of ``trace`` a cache of ``capacity`` bytes misses under ``policy`` (one of POLICIES), as a list
    with a number for each of so many parts of it. An item takes its value and ``overhead`` bytes, which has to cover
    the key. With ``reaps``, what has expired gives its memory back each second of the trace, not when it is asked for.
    """
    cdef Cache cache
    cdef Policy functions = Policy(NULL, NULL)
    cdef uint64_t requests = len(trace), average = sum(trace.sizes) // max(len(trace), 1) + overhead
    cdef const uint32_t *keys = trace.keys.data.as_uints
    cdef const uint32_t *sizes = trace.sizes.data.as_uints
    cdef const uint32_t *ttls = trace.ttls.data.as_uints
    cdef array.array missed = array.clone(array.array("Q"), parts, True)
    if policy not in POLICIES:
        raise ValueError(f"unknown policy {policy!r}: known are {', '.join(POLICIES)}")
    ready = cache_init(&cache, trace.ids, capacity)
    if policy == "Belady":
        ready = ready and belady_init(&cache, keys, requests)
    else:
        ready = ready and policy_init(&cache, &functions, policy, capacity // average)
    if ready:
        with nogil:
            if cache.next_use != NULL:
                simulate_belady(&cache, keys, sizes, ttls, requests, trace.rate, overhead,
                                <uint64_t *>missed.data.as_ulongs, parts)
            else:
                simulate(&cache, &functions, keys, sizes, ttls, requests, trace.rate, overhead, reaps,
                         <uint64_t *>missed.data.as_ulongs, parts)
    cache_free(&cache)
    if not ready:
        raise MemoryError
    return list(missed)
