"""Numbers as the protocol writes them. Every parser takes a pointer and a length, and reads nothing beyond them.

memcached has two ways of reading a number, and clients can tell them apart. ``parse_*`` is the strict one: digits only,
a bounded count of them. ``parse_lenient_*`` follows the C library: leading white space and a plus sign are allowed,
and it ends at white space or a NUL.
"""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

cdef bint parse_u64(const char *p, size_t n, uint64_t *value) noexcept nogil
cdef bint parse_u32(const char *p, size_t n, uint32_t *value) noexcept nogil
cdef bint parse_i32(const char *p, size_t n, int32_t *value) noexcept nogil
cdef bint parse_lenient_u64(const char *p, size_t n, uint64_t *value) noexcept nogil
cdef bint parse_lenient_i64(const char *p, size_t n, int64_t *value) noexcept nogil
cdef bint parse_stored_u64(const char *p, size_t n, uint64_t *value) noexcept nogil
cdef uint32_t format_u64(char *out, uint64_t value) noexcept nogil
