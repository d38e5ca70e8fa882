"""A fast keyed 64-bit hash of a key: multiply-and-fold over 16 bytes at a time.

The four words of the key are random in every process, so that nobody can choose keys that fall into one bucket without
having seen the process's memory. Below 17 bytes, the common case, it is two loads and two multiplications.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from *:
    """
    static inline uint64_t cc_fold(uint64_t a, uint64_t b) {
        unsigned __int128 product = (unsigned __int128)a * b;
        return (uint64_t)product ^ (uint64_t)(product >> 64);
    }
    """
    uint64_t fold "cc_fold"(uint64_t a, uint64_t b) noexcept nogil

cdef struct HashKey:
    uint64_t word[4]  # random, set once


cdef inline uint64_t read_u64(const char *p) noexcept nogil:
    cdef uint64_t value = 0
    memcpy(&value, p, 8)
    return value


cdef inline uint64_t read_u32(const char *p) noexcept nogil:
    cdef uint32_t value = 0
    memcpy(&value, p, 4)
    return value


cdef inline uint64_t hash_bytes(const HashKey *key, const char *p, size_t n) noexcept nogil:
    """Hash ``n`` bytes at ``p``; reads nothing outside them."""
    cdef uint64_t a = 0, b = 0, state = key.word[0]
    cdef size_t left = n
    if n <= 16:
        if n >= 8:
            a = read_u64(p)
            b = read_u64(p + n - 8)
        elif n >= 4:
            a = read_u32(p)
            b = read_u32(p + n - 4)
        elif n > 0:
            a = (<uint64_t><uint8_t>p[0] << 16) | (<uint64_t><uint8_t>p[n >> 1] << 8) | <uint8_t>p[n - 1]
    else:
        while left > 16:
            state = fold(read_u64(p) ^ key.word[1], read_u64(p + 8) ^ state)
            p += 16
            left -= 16
        a = read_u64(p + left - 16)
        b = read_u64(p + left - 8)
    return fold(key.word[2] ^ n, fold(a ^ key.word[1], b ^ state) ^ key.word[3])
