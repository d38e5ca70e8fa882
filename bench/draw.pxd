"""Random numbers for the bench's loops: seeded, so that every server is asked the same."""

from libc.stdint cimport uint64_t


cdef inline uint64_t draw(uint64_t *seed) noexcept nogil:
    """The next number of a splitmix64 sequence."""
    cdef uint64_t z
    seed[0] += <uint64_t>0x9E3779B97F4A7C15
    z = seed[0]
    z = (z ^ (z >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * <uint64_t>0x94D049BB133111EB
    return z ^ (z >> 31)
