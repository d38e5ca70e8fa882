"""Percent-encoding, by RFC 3986."""

cdef const char *DIGITS = b"0123456789ABCDEF"


cdef inline bint is_unreserved(char c) noexcept nogil:
    return (
        c'a' <= c <= c'z' or c'A' <= c <= c'Z' or c'0' <= c <= c'9'
        or c == c'-' or c == c'.' or c == c'_' or c == c'~'
    )


cdef size_t percent_encode(const char *data, size_t n, char *out) noexcept nogil:
    """How many bytes were written: at most three for each of the ``n``."""
    cdef char *at = out
    cdef size_t i
    for i in range(n):
        if is_unreserved(data[i]):
            at[0] = data[i]
            at += 1
        else:
            at[0] = c'%'
            at[1] = DIGITS[<unsigned char>data[i] >> 4]
            at[2] = DIGITS[<unsigned char>data[i] & 15]
            at += 3
    return at - out
