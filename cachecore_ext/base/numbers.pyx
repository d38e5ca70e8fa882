"""Reading and writing decimal numbers."""
from libc.stdint cimport INT64_MAX, UINT32_MAX, UINT64_MAX, int32_t, int64_t, uint32_t, uint64_t

cdef enum:
    DIGITS_32 = 11  # the most characters that the strict parser takes for 32 bits, sign and leading zeros counted
    DIGITS_64 = 22
    DIGITS_MAX = 20


cdef bint digits(const char *p, size_t n, uint64_t *value) noexcept nogil:
    """``n`` decimal digits, and nothing but; none at all is 0."""
    cdef uint64_t total = 0, digit
    cdef size_t i
    for i in range(n):
        digit = <uint64_t>(<unsigned char>p[i]) - c'0'
        if digit > 9 or total > (UINT64_MAX - digit) / 10:
            return False
        total = total * 10 + digit
    value[0] = total
    return True


cdef bint parse_u64(const char *p, size_t n, uint64_t *value) noexcept nogil:
    return 0 < n <= DIGITS_64 and digits(p, n, value)


cdef bint parse_u32(const char *p, size_t n, uint32_t *value) noexcept nogil:
    cdef uint64_t wide = 0
    if n == 0 or n > DIGITS_32 or not digits(p, n, &wide) or wide > UINT32_MAX:
        return False
    value[0] = <uint32_t>wide
    return True


cdef bint parse_i32(const char *p, size_t n, int32_t *value) noexcept nogil:
    """A lone minus sign is 0: memcached's reading."""
    cdef uint64_t wide = 0, bound = <uint64_t>1 << 31
    cdef bint negative
    if n == 0 or n > DIGITS_32:
        return False
    negative = p[0] == c'-'
    if not digits(p + negative, n - negative, &wide) or wide > bound or (wide == bound and not negative):
        return False
    value[0] = <int32_t>(-<int64_t>wide if negative else <int64_t>wide)
    return True


cdef inline bint is_space(char c) noexcept nogil:
    return c == c' ' or c'\t' <= c <= c'\r'


cdef bint lenient(const char *p, size_t n, bint *negative, uint64_t *value) noexcept nogil:
    """White space, a sign, at least one digit, and then the end, white space or a NUL."""
    cdef size_t start = 0, end
    while start < n and is_space(p[start]):
        start += 1
    negative[0] = start < n and p[start] == c'-'
    if start < n and (p[start] == c'-' or p[start] == c'+'):
        start += 1
    end = start
    while end < n and c'0' <= p[end] <= c'9':
        end += 1
    if end == start or (end < n and p[end] != 0 and not is_space(p[end])):
        return False
    return digits(p + start, end - start, value)


cdef bint parse_lenient_u64(const char *p, size_t n, uint64_t *value) noexcept nogil:
    cdef bint negative = False
    return lenient(p, n, &negative, value) and not (negative and value[0] != 0)


cdef bint parse_lenient_i64(const char *p, size_t n, int64_t *value) noexcept nogil:
    cdef bint negative = False
    cdef uint64_t magnitude = 0
    if not lenient(p, n, &negative, &magnitude) or magnitude > <uint64_t>INT64_MAX + negative:
        return False
    value[0] = <int64_t>(0 - magnitude if negative else magnitude)
    return True


cdef bint parse_stored_u64(const char *p, size_t n, uint64_t *value) noexcept nogil:
    """The number that a stored value begins with, for incr and decr."""
    return parse_lenient_u64(p, n, value)


cdef uint32_t format_u64(char *out, uint64_t value) noexcept nogil:
    """Write the decimal digits, without a NUL; at most 20. How many they are."""
    cdef uint64_t power = 10
    cdef uint32_t length = 1, at
    while length < DIGITS_MAX and value >= power:
        power *= 10
        length += 1
    at = length
    while at > 1:
        at -= 2
        put_pair(out + at, <uint32_t>(value % 100))
        value = value / 100
    if at == 1:
        out[0] = <char>(c'0' + value)
    return length
