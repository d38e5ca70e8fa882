"""Base64 as memcached reads it: bytes outside the alphabet are passed over, the rest has to be whole groups of four."""
from libc.stdint cimport uint32_t

cdef const char *ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


cdef size_t base64_encode(const char *data, size_t n, char *out) noexcept nogil:
    """Writes 4 characters for every 3 bytes begun."""
    cdef size_t i = 0, written = 0
    cdef uint32_t group
    while i < n:
        group = <uint32_t><unsigned char>data[i] << 16
        if i + 1 < n:
            group |= <uint32_t><unsigned char>data[i + 1] << 8
        if i + 2 < n:
            group |= <unsigned char>data[i + 2]
        out[written] = ALPHABET[group >> 18]
        out[written + 1] = ALPHABET[(group >> 12) & 63]
        out[written + 2] = ALPHABET[(group >> 6) & 63] if i + 1 < n else c'='
        out[written + 3] = ALPHABET[group & 63] if i + 2 < n else c'='
        written += 4
        i += 3
    return written


cdef int sextet(char c) noexcept nogil:
    """The value of a character: 0 to 63, 64 for the padding, -1 for what is not of the alphabet."""
    if c'A' <= c <= c'Z':
        return c - c'A'
    if c'a' <= c <= c'z':
        return c - c'a' + 26
    if c'0' <= c <= c'9':
        return c - c'0' + 52
    if c == c'+':
        return 62
    if c == c'/':
        return 63
    return 64 if c == c'=' else -1


cdef size_t base64_decode(const char *text, size_t n, char *out, size_t capacity) noexcept nogil:
    cdef size_t i, written = 0
    cdef uint32_t group = 0, filled = 0, padding = 0
    cdef int value
    for i in range(n):
        value = sextet(text[i])
        if value < 0:
            continue
        if value == 64:
            padding += 1
            value = 0
        elif padding > 0:
            return 0  # nothing may follow the padding
        group = group << 6 | <uint32_t>value
        filled += 1
        if filled == 4:
            if padding > 2 or written + 3 > capacity:
                return 0
            out[written] = <char>(group >> 16)
            out[written + 1] = <char>(group >> 8)
            out[written + 2] = <char>group
            written += 3 - padding
            group = 0
            filled = 0
    return written if filled == 0 else 0
