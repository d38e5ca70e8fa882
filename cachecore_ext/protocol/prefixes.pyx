"""Counting by prefix."""
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memset

from cachecore_ext.base.hashing cimport hash_bytes
from cachecore_ext.base.lock cimport lock_acquire, lock_release
from cachecore_ext.base.mapping cimport mapping_free, mapping_open, mapping_reserve

cdef enum:
    SLOTS = 2 * PREFIXES_MAX


cdef void *reserve(size_t size) noexcept nogil:
    """Address space that becomes memory, all zero, as it is written to; NULL when there is none."""
    cdef void *space = mapping_reserve(size)
    if space != NULL and not mapping_open(space, size):
        mapping_free(space, size)
        return NULL
    return space


cdef int prefixes_open(Prefixes *prefixes) noexcept nogil:
    """Be ready to count; again is a no-op. 0, or -1 without the address space. One thread at a time."""
    if prefixes.slots == NULL:
        prefixes.slots = <uint32_t *>reserve(SLOTS * sizeof(uint32_t))
    if prefixes.entries == NULL:
        prefixes.entries = <PrefixEntry *>reserve(PREFIXES_MAX * sizeof(PrefixEntry))
    return 0 if prefixes.slots != NULL and prefixes.entries != NULL else -1


cdef void prefixes_free(Prefixes *prefixes) noexcept nogil:
    mapping_free(prefixes.slots, SLOTS * sizeof(uint32_t))
    mapping_free(prefixes.entries, PREFIXES_MAX * sizeof(PrefixEntry))
    prefixes.slots = NULL
    prefixes.entries = NULL
    prefixes.count = 0
    prefixes.nbytes = 0


cdef void prefixes_reset(Prefixes *prefixes) noexcept nogil:
    """Forget every prefix."""
    lock_acquire(&prefixes.lock)
    prefixes.count = 0
    prefixes.nbytes = 0
    prefixes.resets += 1
    lock_release(&prefixes.lock)


cdef uint32_t prefixes_copy(Prefixes *prefixes, uint32_t first, uint32_t most, uint32_t *resets,
                            PrefixEntry *out) noexcept nogil:
    """Copy entries from number ``first`` on; how many. ``resets``: entries of different ones do not belong together.

    ``most`` is small: whoever counts waits meanwhile.
    """
    cdef uint32_t n = 0
    lock_acquire(&prefixes.lock)
    resets[0] = prefixes.resets
    if first < prefixes.count:
        n = min(most, prefixes.count - first)
        memcpy(out, &prefixes.entries[first], n * sizeof(PrefixEntry))
    lock_release(&prefixes.lock)
    return n


# ---- counting

cdef PrefixEntry *add_locked(Prefixes *prefixes, uint32_t slot, const char *prefix, size_t length) noexcept nogil:
    """A new prefix; NULL when there are as many as there may be."""
    cdef PrefixEntry *entry = &prefixes.entries[prefixes.count]
    if prefixes.count == PREFIXES_MAX or prefixes.nbytes + length > PREFIXES_BYTES:
        return NULL
    memset(entry, 0, sizeof(PrefixEntry))
    entry.slot = slot
    entry.length = length
    memcpy(entry.prefix, prefix, length)
    prefixes.slots[slot] = prefixes.count
    prefixes.count += 1
    prefixes.nbytes += length
    return entry


cdef PrefixEntry *find_locked(Prefixes *prefixes, uint64_t h, const char *prefix, size_t length) noexcept nogil:
    """The entry of a prefix, a new one if need be. At most half of the slots are in use, so the search is short."""
    cdef uint32_t slot = h % SLOTS, number
    cdef PrefixEntry *entry
    while True:
        number = prefixes.slots[slot]
        if number >= prefixes.count or prefixes.entries[number].slot != slot:
            return add_locked(prefixes, slot, prefix, length)
        entry = &prefixes.entries[number]
        if entry.length == length and memcmp(entry.prefix, prefix, length) == 0:
            return entry
        slot = (slot + 1) % SLOTS


cdef void add(Prefixes *prefixes, const char *key, uint32_t nkey, uint32_t gets, uint32_t hits, uint32_t sets,
              uint32_t deletes) noexcept nogil:
    cdef const char *end = <const char *>memchr(key, prefixes.delimiter, nkey)
    cdef size_t length
    cdef uint64_t h
    cdef PrefixEntry *entry
    if end == NULL:
        return
    length = end - key
    h = hash_bytes(prefixes.hash_key, key, length)
    lock_acquire(&prefixes.lock)
    entry = find_locked(prefixes, h, key, length)
    if entry != NULL:
        entry.gets += gets
        entry.hits += hits
        entry.sets += sets
        entry.deletes += deletes
    lock_release(&prefixes.lock)


cdef void prefixes_got(Prefixes *prefixes, const char *key, uint32_t nkey, bint hit) noexcept nogil:
    """Count a key that was looked for: by get, gat, touch, incr, mg, ma, me and their like."""
    add(prefixes, key, nkey, 1, hit, 0, 0)


cdef void prefixes_set(Prefixes *prefixes, const char *key, uint32_t nkey) noexcept nogil:
    """Count a storage command, whatever came of it."""
    add(prefixes, key, nkey, 0, 0, 1, 0)


cdef void prefixes_deleted(Prefixes *prefixes, const char *key, uint32_t nkey) noexcept nogil:
    """Count a command that deletes, whatever came of it."""
    add(prefixes, key, nkey, 0, 0, 0, 1)
