"""Which class should give a page to which: the automover's eyes.

A cache with one order of eviction would evict its oldest item, whatever its size. With an order for each slab class
that is what equal ages at the tails stand for: the class whose tail is the youngest suffers most from the limit, the
one whose tail is the oldest could do with less. So, while a class evicts, a page goes to it from a class that has had a
page's worth of free chunks for ``window`` looks, or else from the one with the oldest tail, if the two ages are further
apart than ``ratio``.

An age is counted in stores (cas numbers) since the tail's storing, not in seconds: a busy cache turns over within one.
It is averaged over about ``window`` looks. A class that found no memory at all, or wants its first page, is served at
once; and while more is charged than the limit allows, as after cache_memlimit, pages go back to the pool.
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from cachecore_ext.base.counters cimport CLASSES
from cachecore_ext.storage.allocation cimport Context
from cachecore_ext.storage.mover cimport Mover

cdef enum:
    LOOK_US = 10000          # between two looks while a class evicts
    LOOK_IDLE_US = 1000000   # ... while none does
    RATIO_ONE = 1000         # the ratio is counted in thousandths

cdef struct BalanceClass:
    uint64_t evicted         # items, at the last look
    uint64_t evictions       # since the look before
    uint64_t pages
    uint64_t spare           # pages' worth of free chunks
    double age               # of the tail, in stores; averaged
    uint32_t quiet           # looks since it evicted, or was given a page
    bint known               # age was seen since the last move

cdef struct Balance:
    # Settings, atomic:
    uint32_t mode            # slab_automove: 0 only what must be; 1; 2: every eviction asks for a page
    uint32_t ratio           # of RATIO_ONE
    uint32_t window
    # The maintenance's own:
    int64_t next_us          # the next look
    int64_t vain_us          # ... for a class that wants a page: not at once, if the last look found none to give
    BalanceClass classes[CLASSES]

cdef void balance_init(Balance *balance) noexcept nogil
cdef int64_t balance_step(Balance *balance, Mover *mover, Context *context) noexcept nogil
