"""A lock in one 32-bit word, for sections of some hundred nanoseconds that never wait on I/O.

Uncontended it costs what a spin lock costs; contended, a thread spins shortly and then sleeps in the kernel, so that a
holder that lost its core is not waited for by burning another one. All bits zero is an unlocked lock.
"""
from libc.stdint cimport uint32_t

from cachecore_ext.base.atomics cimport exchange_release_u32, take_u32

cdef struct Lock:
    uint32_t word  # 0 free, 1 held, 2 held and somebody may sleep on it

cdef void lock_wait(Lock *lock) noexcept nogil
cdef void lock_wake(Lock *lock) noexcept nogil


cdef inline bint lock_try(Lock *lock) noexcept nogil:
    return take_u32(&lock.word)


cdef inline void lock_acquire(Lock *lock) noexcept nogil:
    if not take_u32(&lock.word):
        lock_wait(lock)


cdef inline void lock_release(Lock *lock) noexcept nogil:
    if exchange_release_u32(&lock.word, 0) == 2:
        lock_wake(lock)
