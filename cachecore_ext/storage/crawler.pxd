"""The crawler: looks for items that have ended, and gives their memory back without being asked.

It walks the pages of the classes that are due, chunk by chunk, as they lie in memory: what has no chance of having
ended costs one look at a line that the prefetcher has brought, no lock. A step looks at CRAWL_STEP chunks and then
rests, so the rate is bounded by ``sleep_us``. A class is due again when, by the exptimes that were seen, a hundredth of
its items that can end will have: CRAWL_MIN to CRAWL_MAX seconds later, or a hundred times as long as the crawl took, if
that is more. memcached waits for up to an hour, as it has to follow its lists from item to item.
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from cachecore_ext.base.counters cimport CLASSES
from cachecore_ext.storage.allocation cimport Context

cdef enum:
    CRAWL_STEP = 1000     # chunks
    CRAWL_MIN = 5         # seconds
    CRAWL_MAX = 60
    CRAWL_SLOTS = CRAWL_MAX / CRAWL_MIN  # the exptimes that are near are counted by as many seconds

cdef struct CrawlClass:
    uint32_t due              # tick of the next crawl
    uint32_t began            # tick of this one
    uint32_t since            # seconds between the last one and this
    uint64_t left             # items that this crawl may still look at
    uint64_t seen             # items, this time
    uint64_t reclaimed
    uint64_t ending           # items that have an exptime
    uint64_t soon[CRAWL_SLOTS]  # how many of them end within each of the next CRAWL_MIN seconds
    uint64_t enough           # from the last crawl: so many would be worth the next one

cdef struct Crawler:
    # Settings, atomic:
    uint32_t enabled
    uint32_t sleep_us         # after each step
    uint32_t tocrawl          # items of a class at most; 0: all
    uint64_t requested        # classes to be crawled at once, a bit each
    # For others to look at, atomic:
    uint32_t running
    uint64_t starts
    # The maintenance's own:
    uint64_t crawling         # classes in this crawl, a bit each
    uint32_t page             # the next to look at
    uint32_t index            # the chunk in it
    int64_t began_us
    int64_t next_us           # the next step, while it crawls
    CrawlClass classes[CLASSES]

cdef void crawler_init(Crawler *crawler) noexcept nogil
cdef int64_t crawler_step(Crawler *crawler, Context *context) noexcept nogil
