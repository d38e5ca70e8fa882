"""Windows into the base floor, and into base64."""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from cachecore_ext.base.atomics cimport load_u32
from cachecore_ext.base.clock cimport (
    Clock as ClockStruct, clock_advance, clock_expiry, clock_freeze, clock_init, clock_now, clock_resume,
)
from cachecore_ext.base.lock cimport Lock as LockStruct, lock_acquire, lock_release, lock_try
from cachecore_ext.base.numbers cimport (
    format_u64, parse_i32, parse_lenient_i64, parse_lenient_u64, parse_stored_u64, parse_u32, parse_u64,
)
from cachecore_ext.protocol.base64 cimport base64_decode, base64_encode


cdef class Clock:
    """A clock of its own."""

    cdef ClockStruct clock

    def __cinit__(self):
        clock_init(&self.clock)

    def now(self):
        """The tick."""
        return clock_now(&self.clock)

    def advance(self, int64_t seconds):
        """Move it, also backwards."""
        clock_advance(&self.clock, seconds)

    def freeze(self):
        """Let it stand still."""
        clock_freeze(&self.clock)

    def resume(self):
        """Let it go again, from where it would be without the standing."""
        clock_resume(&self.clock)

    def expiry(self, uint32_t now, int64_t exptime):
        """The tick at which an exptime ends."""
        return clock_expiry(&self.clock, now, exptime)

    @property
    def started(self):
        """Unix time of tick 0."""
        return self.clock.unix_start


cdef class Lock:
    """A lock, and a plain number that only it protects."""

    cdef LockStruct lock
    cdef uint64_t total

    def acquire(self):
        """Take it, waiting without the GIL."""
        with nogil:
            lock_acquire(&self.lock)

    def try_acquire(self):
        """Take it if it is free."""
        return lock_try(&self.lock)

    def release(self):
        """Let it go."""
        lock_release(&self.lock)

    def count(self, uint64_t times):
        """Take it ``times`` times, without the GIL, and each time add one to the number; what that is then."""
        cdef uint64_t i, found
        # The compiler has to read and write the number each time: others add to it meanwhile.
        cdef volatile uint64_t *total = &self.total
        with nogil:
            for i in range(times):
                lock_acquire(&self.lock)
                total[0] = total[0] + 1
                lock_release(&self.lock)
            lock_acquire(&self.lock)
            found = total[0]
            lock_release(&self.lock)
        return found

    @property
    def word(self):
        """0 free, 1 held, 2 held and somebody may sleep on it."""
        return load_u32(&self.lock.word)


cdef object parse_at(str how, const char *p, size_t n):
    """The number, or None if it is refused."""
    cdef uint64_t u64 = 0
    cdef int64_t i64 = 0
    cdef uint32_t u32 = 0
    cdef int32_t i32 = 0
    if how == "u64":
        return u64 if parse_u64(p, n, &u64) else None
    if how == "u32":
        return u32 if parse_u32(p, n, &u32) else None
    if how == "i32":
        return i32 if parse_i32(p, n, &i32) else None
    if how == "lenient_u64":
        return u64 if parse_lenient_u64(p, n, &u64) else None
    if how == "lenient_i64":
        return i64 if parse_lenient_i64(p, n, &i64) else None
    if how == "stored_u64":
        return u64 if parse_stored_u64(p, n, &u64) else None
    raise ValueError(how)


def parse_number(str how, bytes text):
    """Parse by ``how`` (u64, u32, i32, lenient_u64, lenient_i64, stored_u64), and see that nothing more is read."""
    cdef size_t n = len(text)
    cdef char *buffer = <char *>malloc(n + 1)
    if buffer == NULL:
        raise MemoryError
    try:
        memcpy(buffer, <const char *>text, n)
        found = []
        for behind in b"0 x":
            buffer[n] = <char>behind
            found.append(parse_at(how, buffer, n))
        assert found[0] == found[1] == found[2], f"{text!r}: what stands behind it changes the result: {found}"
        return found[0]
    finally:
        free(buffer)


def format_number(uint64_t value):
    """The digits that are written, after a look at the bytes behind them."""
    cdef char out[32]
    memset(out, c'#', sizeof(out))
    cdef uint32_t n = format_u64(out, value)
    assert n <= 20 and out[n:32] == b"#" * (32 - n), "written too far"
    return out[:n]


def encode_base64(bytes data):
    """The text that is written."""
    cdef size_t room = len(data) + 2 * len(data) // 3 + 16, n
    cdef char *out = <char *>malloc(room)
    if out == NULL:
        raise MemoryError
    try:
        memset(out, c'#', room)
        n = base64_encode(data, len(data), out)
        assert n <= room and out[n:room] == b"#" * (room - n), "written too far"
        return out[:n]
    finally:
        free(out)


def decode_base64(bytes text, size_t capacity=192):
    """The bytes, at most ``capacity`` of them; empty when they cannot be."""
    cdef size_t n
    cdef char *out = <char *>malloc(capacity + 8)
    if out == NULL:
        raise MemoryError
    try:
        memset(out, c'#', capacity + 8)
        n = base64_decode(text, len(text), out, capacity)
        assert n <= capacity and out[capacity:capacity + 8] == b"#" * 8, "written too far"
        return out[:n]
    finally:
        free(out)
