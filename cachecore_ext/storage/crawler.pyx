"""Crawling, a step at a time."""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset

from cachecore_ext.base.atomics cimport (
    add_u64, and_u64, load_acquire_u32, load_u32, store_u32,
)
from cachecore_ext.base.clock cimport monotonic_us
from cachecore_ext.base.eventlog cimport WATCH_SYSEVENTS, CrawlerRun, event_lru_crawler
from cachecore_ext.base.lock cimport lock_acquire, lock_release
from cachecore_ext.storage.allocation cimport Store, store_may_be_dead, store_release, store_try_take_locked
from cachecore_ext.storage.item cimport Item, item_exptime
from cachecore_ext.storage.lru cimport LruClass, lru_id
from cachecore_ext.storage.slabs cimport SlabClass, Slabs, page_chunk, page_class

cdef enum:
    CRAWL_IDLE_US = 1000000
    SECONDS_PER_CRAWL = 100  # a class rests so many times as long as its crawl took


cdef void crawler_init(Crawler *crawler) noexcept nogil:
    memset(crawler, 0, sizeof(Crawler))
    crawler.enabled = True
    crawler.sleep_us = 100


cdef bint is_set(uint64_t classes, uint32_t cls) noexcept nogil:
    return (classes >> cls) & 1


cdef void begin(Crawler *crawler, const Context *context) noexcept nogil:
    """Begin a crawl of the classes that are due, or were asked for."""
    cdef uint64_t requested = and_u64(&crawler.requested, 0), tocrawl = load_u32(&crawler.tocrawl)
    cdef CrawlClass *of
    cdef uint32_t cls, before
    for cls in range(1, context.store.slabs.nclasses + 1):
        of = &crawler.classes[cls]
        if of.due <= context.now or is_set(requested, cls):
            crawler.crawling |= <uint64_t>1 << cls
            before = of.began
            memset(of, 0, sizeof(CrawlClass))
            of.began = context.now
            of.since = context.now - before if before != 0 else 0
            of.left = tocrawl if tocrawl != 0 else <uint64_t>0 - 1
    crawler.page = 0
    crawler.index = 0
    crawler.began_us = monotonic_us()
    if crawler.crawling:
        add_u64(&crawler.starts, 1)
        store_u32(&crawler.running, True)


cdef uint32_t wait_of(CrawlClass *of, int64_t took_us) noexcept nogil:
    """Seconds until a class is due again."""
    cdef uint64_t ended = 0
    cdef uint32_t slot = 0
    of.enough = of.ending / 100 + 1
    while slot < <uint32_t>CRAWL_SLOTS - 1 and ended + of.soon[slot] < of.enough:
        ended += of.soon[slot]
        slot += 1
    return max((slot + 1) * <uint32_t>CRAWL_MIN, <uint32_t>(took_us * SECONDS_PER_CRAWL / 1000000))


cdef void report(Context *context, uint32_t cls, const CrawlClass *of, int64_t took_us) noexcept nogil:
    """Tell who watches the system of a class's crawl, in which there was something to see."""
    cdef CrawlerRun run
    cdef uint32_t slot, next_run = of.due - context.now
    if not context.watched & WATCH_SYSEVENTS or of.seen == 0:
        return
    memset(&run, 0, sizeof(CrawlerRun))
    run.cls = cls
    run.low_mark = of.enough
    for slot in range(min(next_run / CRAWL_MIN, <uint32_t>CRAWL_SLOTS)):
        run.next_reclaims += of.soon[slot]
    run.since_run = of.since
    run.next_run = next_run
    run.elapsed = <uint32_t>(took_us / 1000000)
    run.examined = of.seen
    run.reclaimed = of.reclaimed
    event_lru_crawler(context.log, &run)


cdef void finish(Crawler *crawler, Context *context) noexcept nogil:
    """The crawl is complete: say when its classes are due again."""
    cdef int64_t took_us = monotonic_us() - crawler.began_us
    cdef uint32_t cls
    for cls in range(1, context.store.slabs.nclasses + 1):
        if is_set(crawler.crawling, cls):
            crawler.classes[cls].due = context.now + wait_of(&crawler.classes[cls], took_us)
            report(context, cls, &crawler.classes[cls], took_us)
    crawler.crawling = 0
    store_u32(&crawler.running, False)


cdef void reclaim(Context *context, CrawlClass *of, Item *item) noexcept nogil:
    """Take an item that seems to have ended, if it has."""
    cdef Store *store = context.store
    cdef LruClass *lists = &store.lru.classes[lru_id(&store.slabs, item)]
    cdef bint gone
    lock_acquire(&lists.lock)
    gone = store_try_take_locked(context, lists, item, True, &lists.crawler_reclaimed)
    lock_release(&lists.lock)
    if gone:
        store_release(store, item)
        of.reclaimed += 1


cdef void look_at(Context *context, CrawlClass *of, Item *chunk) noexcept nogil:
    """One chunk, which anybody may be writing at this moment; the caller holds no lock."""
    cdef uint32_t exptime
    if load_acquire_u32(&chunk.meta) & 0xFF == 0:
        return  # free, or a piece
    of.seen += 1
    of.left -= 1
    exptime = item_exptime(chunk)
    if store_may_be_dead(context.store, chunk, context.now):
        reclaim(context, of, chunk)
    elif exptime > context.now:
        of.ending += 1
        if exptime - context.now < <uint32_t>CRAWL_MAX:
            of.soon[(exptime - context.now) / CRAWL_MIN] += 1


cdef void count_checked(Context *context, uint32_t cls, uint64_t checked) noexcept nogil:
    cdef LruClass *lists = &context.store.lru.classes[cls]
    if checked > 0:
        lock_acquire(&lists.lock)
        lists.crawler_items_checked += checked
        lock_release(&lists.lock)


cdef uint64_t crawl_page(Crawler *crawler, Context *context, uint64_t limit) noexcept nogil:
    """Go on with the current page for up to ``limit`` chunks; how many it was. At its end move on to the next page."""
    cdef Slabs *slabs = &context.store.slabs
    cdef uint32_t cls = page_class(slabs, crawler.page), first = crawler.index
    cdef SlabClass *slab = &slabs.classes[cls]
    cdef CrawlClass *of = &crawler.classes[cls]
    cdef uint64_t seen = of.seen
    cdef bint ended = cls == 0 or not is_set(crawler.crawling, cls) or of.left == 0
    while not ended and crawler.index - first < limit and of.left > 0 and crawler.index < slab.per_page:
        look_at(context, of, <Item *>page_chunk(slabs, crawler.page, slab.size, crawler.index))
        crawler.index += 1
    count_checked(context, cls, of.seen - seen)
    limit = crawler.index - first
    if ended or crawler.index >= slab.per_page:  # beyond it when the page has become another class's meanwhile
        crawler.page += 1
        crawler.index = 0
    return limit


cdef int64_t crawler_step(Crawler *crawler, Context *context) noexcept nogil:
    """Look at the next CRAWL_STEP chunks, if a class is due; how long to rest, in microseconds."""
    cdef uint64_t looked = 0
    cdef int64_t now = monotonic_us()
    if not load_u32(&crawler.enabled):
        crawler.crawling = 0
        store_u32(&crawler.running, False)
        return CRAWL_IDLE_US
    if crawler.crawling and now < crawler.next_us:
        return crawler.next_us - now
    if not crawler.crawling:
        begin(crawler, context)
    while crawler.crawling and looked < CRAWL_STEP:
        if crawler.page >= load_u32(&context.store.slabs.pages):
            finish(crawler, context)
        else:
            looked += crawl_page(crawler, context, CRAWL_STEP - looked)
    if not crawler.crawling:
        return CRAWL_IDLE_US
    crawler.next_us = monotonic_us() + load_u32(&crawler.sleep_us)
    return load_u32(&crawler.sleep_us)
