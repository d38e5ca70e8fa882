"""Which class should give a page to which: the automover's eyes.

A page goes to where it brings most hits, from where it brings least. What one more would bring a class is seen from its
ghosts (``ghosts``): an item that is stored again when its class has evicted n pages' worth of items since it went would
have been kept with n pages more. What one less would cost is somewhat more than that, the more so the fewer there are;
and for a class that evicts nothing it is taken from what its pages are hit. A page moves when the one is clearly more
than the other: by ``ratio``, and by more than chance brings about. What was seen fades as items are evicted, not as
time goes by.

A class that has had a page's worth of free chunks for ``window`` looks gives it before all others. A class that nothing
was asked of, while the others evicted a good part of their items, is worth nothing, and gives even its last page.

Where no ghost comes back, as while a cache is only filled, the class that evicts the youngest items gets a page from
the one with the oldest tail, if that is worth nothing and the two ages are further apart than ``ratio``. An age is
counted in stores (cas numbers) since the tail's storing, and averaged over about ``window`` looks. A class that found
no memory at all, or wants its first page, is served at once; and while more is charged than the limit allows, as after
cache_memlimit, pages go back to the pool.
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from cachecore_ext.base.counters cimport CLASSES, CounterSet
from cachecore_ext.storage.allocation cimport Context
from cachecore_ext.storage.lru cimport DEPTHS
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
    uint32_t returned[DEPTHS]  # ghosts that came back, at the last look
    double returns[DEPTHS]   # ... and of late, by how many pages more would have kept them
    double gain              # hits that a page more would have brought of late
    uint64_t all_hits        # fetches that found an item, at the last look
    uint64_t all_sets
    double hits              # ... and of late
    double idle              # evictions of all classes since one of them or a set
    uint32_t quiet           # looks since it evicted, or was given a page
    bint known               # age was seen since the last move

cdef struct Balance:
    # Settings, atomic:
    uint32_t mode            # slab_automove: 0 only what must be; 1; 2: every eviction asks for a page
    uint32_t ratio           # of RATIO_ONE
    uint32_t window
    const CounterSet *sets   # of who serves; set once
    uint32_t nsets
    # The maintenance's own:
    uint32_t fed             # the class that was given a page last; 0: none
    int64_t next_us          # the next look
    double evictions         # of all classes, between the two looks before
    double chunks            # of all classes
    double fading            # of what was seen before, by the last look
    int64_t vain_us          # ... for a class that wants a page: not at once, if the last look found none to give
    BalanceClass classes[CLASSES]

cdef void balance_init(Balance *balance) noexcept nogil
cdef void balance_watch(Balance *balance, const CounterSet *sets, uint32_t nsets) noexcept nogil
cdef int64_t balance_step(Balance *balance, Mover *mover, Context *context) noexcept nogil
