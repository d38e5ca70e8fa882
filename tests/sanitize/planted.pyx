"""Bugs, planted so that each sanitizer can be seen to report them; compiled in sanitized builds alone.

What is read and written is volatile: an optimiser may not do away with it.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from cachecore_ext.base.atomics cimport add_u32, load_u32
from cachecore_ext.base.lock cimport Lock, lock_acquire, lock_release
from cachecore_ext.storage.slabs cimport (
    CHUNK_MAX, SlabSettings, Slabs, chunk_class, chunk_room, slab_alloc, slab_free, slabs_free, slabs_init,
)

cdef extern from *:
    """
    typedef volatile uint8_t cc_volatile_u8;
    typedef volatile uint64_t cc_volatile_u64;
    typedef volatile int cc_volatile_int;
    """
    ctypedef uint8_t volatile_u8 "cc_volatile_u8"
    ctypedef uint64_t volatile_u64 "cc_volatile_u64"
    ctypedef int volatile_int "cc_volatile_int"

cdef enum:
    TIMES = 1000


cdef class Chunks:
    """A slab allocator and three neighbouring chunks of a class, the last of them free again."""

    cdef Slabs *slabs
    cdef volatile_u8 *chunk[3]
    cdef readonly uint32_t room

    def __cinit__(self, size_t size):
        cdef SlabSettings settings
        memset(&settings, 0, sizeof(SlabSettings))
        settings.limit = 8 << 20
        settings.chunk_min = 48
        settings.chunk_max = CHUNK_MAX
        settings.file = -1
        self.slabs = <Slabs *>calloc(1, sizeof(Slabs))
        if self.slabs == NULL or slabs_init(self.slabs, &settings) != 0:
            raise MemoryError
        cls = 1
        while chunk_room(&self.slabs.classes[<int>cls]) < size:
            cls += 1
        for i in range(3):
            self.chunk[<int>i] = <volatile_u8 *>slab_alloc(self.slabs, cls)
        self.room = chunk_room(&self.slabs.classes[<int>chunk_class(self.slabs, <void *>self.chunk[0])])
        slab_free(self.slabs, <void *>self.chunk[2])

    def __dealloc__(self):
        if self.slabs != NULL:
            slabs_free(self.slabs)
            free(self.slabs)

    def write(self, int chunk, size_t offset):
        """Write a byte there, whether it is the chunk's or not."""
        self.chunk[chunk][offset] = 1

    def read(self, int chunk, size_t offset):
        """Read a byte there, whether it is the chunk's or not."""
        return self.chunk[chunk][offset]


def overflow_block(size_t size):
    """Write behind a block of malloc's."""
    cdef volatile_u8 *block = <volatile_u8 *>malloc(size)
    block[size] = 1
    free(<void *>block)


def shift(int bits):
    """1, shifted by so many bits: undefined behaviour beyond 31."""
    cdef volatile_int by = bits
    cdef volatile_int one = 1
    return one << by


cdef class Account:
    """A number that threads add to, with a lock of ours or without one."""

    cdef Lock lock
    cdef uint32_t met
    cdef volatile_u64 number

    def add(self, bint locked, uint32_t threads):
        """Add 1, many times, as soon as all the threads are here.

        They wait without the GIL, whose lock would order them, for a word that orders nothing: so that what follows is
        a race also where one of them ends before the next one runs.
        """
        cdef uint32_t i
        with nogil:
            add_u32(&self.met, 1)
            while load_u32(&self.met) < threads:
                pass
            for i in range(TIMES):
                if locked:
                    lock_acquire(&self.lock)
                self.number += 1
                if locked:
                    lock_release(&self.lock)

    def look(self):
        """The sum, when all threads are done."""
        return self.number
