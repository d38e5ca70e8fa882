"""Numbers as the protocol writes them. Every parser takes a pointer and a length, and reads nothing beyond them.

memcached has two ways of reading a number, and clients can tell them apart. ``parse_*`` is the strict one: digits only,
a bounded count of them. ``parse_lenient_*`` follows the C library: leading white space and a plus sign are allowed,
and it ends at white space or a NUL.
"""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

cdef extern from * nogil:
    """
    static inline void cc_put_pair(char *p, uint32_t number) {
        static const char pairs[] =
            "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849"
            "5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";
        memcpy(p, pairs + number * 2, 2);
    }
    """
    void put_pair "cc_put_pair"(char *p, uint32_t number) noexcept  # two digits of a number below 100

cdef bint parse_u64(const char *p, size_t n, uint64_t *value) noexcept nogil
cdef bint parse_u32(const char *p, size_t n, uint32_t *value) noexcept nogil
cdef bint parse_i32(const char *p, size_t n, int32_t *value) noexcept nogil
cdef bint parse_lenient_u64(const char *p, size_t n, uint64_t *value) noexcept nogil
cdef bint parse_lenient_i64(const char *p, size_t n, int64_t *value) noexcept nogil
cdef bint parse_stored_u64(const char *p, size_t n, uint64_t *value) noexcept nogil
cdef uint32_t format_u64(char *out, uint64_t value) noexcept nogil


cdef inline char *write_u64(char *p, uint64_t value) noexcept nogil:
    """Write the decimal digits of a number, most likely a small one. Behind them."""
    if value < 10:
        p[0] = <char>(c'0' + value)
        return p + 1
    if value < 100:
        put_pair(p, <uint32_t>value)
        return p + 2
    return p + format_u64(p, value)
