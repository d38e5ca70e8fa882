"""What a cache line costs that two cores write in turn: loops for threads, without the GIL."""
from libc.stdint cimport uint32_t, uint64_t

from cachecore_ext.base.atomics cimport add_u64, load_acquire_u32, store_release_u32
from cachecore_ext.base.linux cimport CLOCK_MONOTONIC, clock_gettime, timespec

cdef enum:
    APART = 32   # words of 8 bytes: four lines, for the neighbour that the processor fetches along


cdef inline uint64_t nanoseconds() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <uint64_t>now.tv_sec * 1000000000 + <uint64_t>now.tv_nsec


cdef class Lines:
    """A word each for up to four threads, on lines of their own; each method is one thread's part, and returns the
    nanoseconds that it took."""

    cdef uint64_t[6 * APART] words

    def meet(self, uint32_t threads):
        """Wait, awake, for so many threads to have come."""
        cdef uint64_t came
        with nogil:
            came = add_u64(&self.words[5 * APART], 1)
            came += threads - 1 - (came - 1) % threads  # what the count will be when the last of this round is there
            while add_u64(&self.words[5 * APART], 0) < came:
                pass

    def pass_on(self, uint64_t rounds, uint32_t mine):
        """Two threads, ``mine`` 0 and 1, hand one word to and fro: two transfers a round."""
        cdef uint64_t i, began
        cdef uint32_t *word = <uint32_t *>&self.words[APART]
        with nogil:
            began = nanoseconds()
            for i in range(rounds):
                while load_acquire_u32(word) & 1 != mine:
                    pass
                store_release_u32(word, <uint32_t>(2 * i + mine + 1))
            began = nanoseconds() - began
        return began

    def add(self, uint64_t times, uint32_t word):
        """Add to a word atomically."""
        cdef uint64_t i, began
        with nogil:
            began = nanoseconds()
            for i in range(times):
                add_u64(&self.words[(1 + word) * APART], 1)
            began = nanoseconds() - began
        return began
