"""The server's clock: whole seconds ("ticks") since the start, in 32 bits, as every item's times are kept.

It follows the monotonic clock, so a step of the wall clock changes no item's life; the wall clock is read once, at the
start, to translate absolute exptimes. A warm restart goes on with the ticks of the process before. Tests move it: the
offset and the freeze are words that any thread may set.
"""
from libc.stdint cimport int64_t, uint32_t

cdef enum:
    # memcached starts counting here, so that "a minute ago" is never negative; the number shows in replies.
    CLOCK_START = 62

cdef struct Clock:
    int64_t mono_start   # monotonic seconds at the start; set once
    int64_t unix_start   # unix time of tick 0; set once
    int64_t offset       # seconds the clock was moved by; atomic
    int64_t frozen       # monotonic seconds at which it stands still, or -1; atomic

cdef int64_t monotonic_us() noexcept nogil
cdef void clock_init(Clock *clock) noexcept nogil
cdef void clock_continue(Clock *clock, int64_t unix_start, uint32_t tick) noexcept nogil
cdef uint32_t clock_now(Clock *clock) noexcept nogil
cdef void clock_advance(Clock *clock, int64_t seconds) noexcept nogil
cdef void clock_freeze(Clock *clock) noexcept nogil
cdef void clock_resume(Clock *clock) noexcept nogil
cdef uint32_t clock_expiry(Clock *clock, uint32_t now, int64_t exptime) noexcept nogil
