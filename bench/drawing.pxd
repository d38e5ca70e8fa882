"""Numbers drawn from a seed, for what the bench's compiled halves send. Inline only: nothing has to be linked."""

from libc.stdint cimport uint64_t


cdef inline uint64_t draw(uint64_t *seed) noexcept nogil:
    """The next number of a splitmix64 sequence."""
    seed[0] += <uint64_t>0x9E3779B97F4A7C15
    return scatter(seed[0])


cdef inline uint64_t scatter(uint64_t z) noexcept nogil:
    """A number that depends on ``z`` alone and looks drawn."""
    z = (z ^ (z >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * <uint64_t>0x94D049BB133111EB
    return z ^ (z >> 31)


cdef inline double fraction(uint64_t z) noexcept nogil:
    """A drawn number as one from 0 up to, but not including, 1."""
    return <double>(z >> 11) * (1.0 / 9007199254740992.0)
