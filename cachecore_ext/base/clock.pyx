"""Reading and moving the server's clock."""
from libc.stdint cimport int64_t, uint32_t

from cachecore_ext.base.atomics cimport add_i64, load_i64, store_i64
from cachecore_ext.base.linux cimport CLOCK_MONOTONIC, CLOCK_MONOTONIC_COARSE, clock_gettime, time, timespec

cdef enum:
    RELATIVE_MAX = 60 * 60 * 24 * 30  # a larger exptime is a unix time: memcached's rule
    LONG_EXPIRED = 1                  # the tick of everything that is stored already expired


cdef inline int64_t monotonic_seconds() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now)
    return now.tv_sec


cdef int64_t monotonic_us() noexcept nogil:
    """Microseconds of real time, which no test moves: for how long something took."""
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1000000 + now.tv_nsec / 1000


cdef void clock_init(Clock *clock) noexcept nogil:
    clock.mono_start = monotonic_seconds()
    clock.unix_start = time(NULL) - CLOCK_START
    clock.offset = 0
    clock.frozen = -1


cdef void clock_continue(Clock *clock, int64_t unix_start, uint32_t tick) noexcept nogil:
    """Go on from this tick; ``unix_start`` is the unix time of tick 0. For a clock that nobody reads yet."""
    clock.mono_start = monotonic_seconds() + CLOCK_START - tick
    clock.unix_start = unix_start


cdef uint32_t clock_now(Clock *clock) noexcept nogil:
    """The current tick, never below 2: tick 0 means "never", tick 1 "long expired"."""
    cdef int64_t standing = load_i64(&clock.frozen)
    cdef int64_t raw = standing if standing >= 0 else monotonic_seconds()
    cdef int64_t tick = raw - clock.mono_start + CLOCK_START + load_i64(&clock.offset)
    return <uint32_t>tick if tick > 2 else 2


cdef void clock_advance(Clock *clock, int64_t seconds) noexcept nogil:
    add_i64(&clock.offset, seconds)


cdef void clock_freeze(Clock *clock) noexcept nogil:
    store_i64(&clock.frozen, monotonic_seconds())


cdef void clock_resume(Clock *clock) noexcept nogil:
    store_i64(&clock.frozen, -1)


cdef uint32_t clock_expiry(Clock *clock, uint32_t now, int64_t exptime) noexcept nogil:
    """The tick at which ``exptime`` of the protocol ends: 0 for never; relative up to 30 days, else unix time."""
    cdef int64_t tick
    if exptime == 0:
        return 0
    if exptime < 0:
        return LONG_EXPIRED
    if exptime <= RELATIVE_MAX:
        return <uint32_t>exptime + now
    tick = exptime - clock.unix_start
    return <uint32_t>tick if tick > LONG_EXPIRED else LONG_EXPIRED
