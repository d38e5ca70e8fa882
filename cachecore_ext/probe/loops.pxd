"""What the loops over the store are made of: single operations, and values that tell whether they are whole."""
from libc.stdint cimport uint32_t, uint64_t

from cachecore_ext.base.hashing cimport fold
from cachecore_ext.base.linux cimport clock_gettime, timespec
from cachecore_ext.storage.item cimport Item
from cachecore_ext.storage.store cimport Context, Put, StoreStatus

cdef extern from "<time.h>" nogil:
    enum: CLOCK_THREAD_CPUTIME_ID

cdef struct Tally:
    uint64_t hits
    uint64_t misses
    uint64_t torn         # values that are not as any thread wrote them
    uint64_t foreign      # ... that are whole, but another key's
    uint64_t stored
    uint64_t refused
    uint64_t deleted
    uint64_t longest_ns   # most CPU time of one storing, where it is measured
    uint64_t over_ms      # storings above a millisecond of that
    uint64_t longest_us   # most time that one took, waiting for locks and cores included

cdef struct Mix:
    # What a loop does: so many in a hundred of each, and gets; to keys drawn from ``keys``.
    uint64_t keys
    uint32_t sets
    uint32_t deletes
    uint32_t others       # touches, sets by cas, appends of nothing, values that come in parts
    uint32_t smallest     # bytes of a value
    uint32_t largest
    uint32_t ttl          # half of the values end within so many seconds; 0: none does

cdef void write_value(char *out, size_t n, uint64_t first) noexcept nogil
cdef bint value_is_whole(const char *value, size_t n) noexcept nogil
cdef Item *get_locked(Context *context, uint64_t h, const char *key, uint32_t nkey, char *out,
                      size_t *size) noexcept nogil
cdef uint64_t sealed(uint64_t drawn, uint64_t h) noexcept nogil
cdef void get_once(Context *context, const char *key, uint32_t nkey, char *room, Tally *tally) noexcept nogil
cdef void drawn_once(Context *context, uint64_t number, bint locked, char *room, Tally *tally) noexcept nogil
cdef void set_once(Context *context, const char *key, uint32_t nkey, char *value, uint32_t n,
                   Tally *tally) noexcept nogil
cdef bint demand_once(Context *context, const char *key, uint32_t nkey, char *value, uint32_t n,
                      uint32_t exptime) noexcept nogil
cdef StoreStatus delta_once(Context *context, const char *key, uint32_t nkey, bint increment, uint64_t by,
                            uint64_t *result) noexcept nogil
cdef StoreStatus upload(Context *context, Put *put, uint64_t h, const char *key, uint32_t nkey, const char *value,
                        uint32_t n) noexcept nogil
cdef void delete_once(Context *context, const char *key, uint32_t nkey, Tally *tally) noexcept nogil
cdef void mixed_once(Context *context, const Mix *mix, uint64_t *state, char *room, Tally *tally) noexcept nogil


cdef inline uint64_t cpu_ns() noexcept nogil:
    """CPU time of this thread: being preempted does not count."""
    cdef timespec now
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now)
    return <uint64_t>now.tv_sec * 1000000000 + <uint64_t>now.tv_nsec


cdef inline uint64_t next_random(uint64_t *state) noexcept nogil:
    state[0] += <uint64_t>0x9E3779B97F4A7C15
    return fold(state[0], state[0] ^ <uint64_t>0xE7037ED1A0B428DB)
