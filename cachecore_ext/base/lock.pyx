"""The contended half of the lock: spin a little, then sleep on a futex."""
from libc.stdint cimport uint32_t

from cachecore_ext.base.atomics cimport exchange_acquire_u32, load_u32, take_u32

cdef extern from *:
    """
    #include <linux/futex.h>
    #include <sys/syscall.h>
    #include <unistd.h>
    static inline void cc_futex_wait(uint32_t *word, uint32_t while_value) {
        syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, while_value, (void *)0, (void *)0, 0);
    }
    static inline void cc_futex_wake_one(uint32_t *word) {
        syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, (void *)0, (void *)0, 0);
    }
    #if defined(__x86_64__) || defined(__i386__)
    #define CC_PAUSE() __builtin_ia32_pause()
    #else
    #define CC_PAUSE() __asm__ volatile("" ::: "memory")
    #endif
    """
    void cc_futex_wait(uint32_t *word, uint32_t while_value) noexcept nogil
    void cc_futex_wake_one(uint32_t *word) noexcept nogil
    void pause "CC_PAUSE"() noexcept nogil

cdef enum:
    SPINS = 100  # about a microsecond: longer than any section that these locks guard


cdef void lock_wait(Lock *lock) noexcept nogil:
    """Take a lock that was found held."""
    cdef int i
    for i in range(SPINS):
        pause()
        if load_u32(&lock.word) == 0 and take_u32(&lock.word):
            return
    # From here on the word says 2, also for the next holder: it cannot know whether more threads sleep.
    while exchange_acquire_u32(&lock.word, 2) != 0:
        cc_futex_wait(&lock.word, 2)


cdef void lock_wake(Lock *lock) noexcept nogil:
    cc_futex_wake_one(&lock.word)
