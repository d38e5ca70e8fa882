"""Traces: what a cache is asked for, request by request, as numbers alone.

A request is a look-up of a key; one that misses is followed by a set of that key. Keys are numbers from 0 on, each
with a value size in bytes and a TTL in seconds (0: none) that belong to the key and are drawn from it, so that a key's
value is as large whenever it is set again. The same seed and settings give the same trace, anywhere.
"""

from cpython cimport array
from libc.math cimport exp, log, pow
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc

from bench.drawing cimport draw, fraction, scatter

import array

cdef enum:
    GUIDES = 1 << 20  # a Zipf draw begins its search at one of so many places

cdef struct Zipf:
    uint64_t keys
    double *reached  # [keys] the probability of a key and all before it, times the total weight
    uint32_t *guide  # [GUIDES + 1] the first key that a draw of this slice of the unit interval may be

cdef struct Shape:
    # Of one half of a trace.
    uint64_t first_key    # of the keys drawn by Zipf
    double smallest       # bytes of a value; log-uniform from this
    double largest        # ... to this
    uint32_t ttl_percent  # of the keys that have a TTL
    uint32_t ttl_least    # seconds; log-uniform
    uint32_t ttl_most
    uint64_t seed

cdef struct Scan:
    double begins         # the probability that a request outside of a scan begins one
    uint32_t length       # requests of one scan, in a row
    uint32_t left         # of the present one
    uint64_t next_key


# ---- drawing keys --------------------------------------------------------------------------------------------

cdef bint zipf_init(Zipf *zipf, uint64_t keys, double skew) noexcept nogil:
    """Prepare drawing: key k (from 0) has the weight (k + 1) ** -skew. False when there is no memory."""
    cdef double total = 0
    cdef uint64_t key = 0, i
    zipf.keys = keys
    zipf.reached = <double *>malloc(keys * sizeof(double))
    zipf.guide = <uint32_t *>malloc((<size_t>GUIDES + 1) * sizeof(uint32_t))
    if zipf.reached == NULL or zipf.guide == NULL:
        return False
    for i in range(keys):
        total += pow(<double>(i + 1), -skew)
        zipf.reached[i] = total
    for i in range(<uint64_t>GUIDES + 1):
        while key < keys - 1 and zipf.reached[key] <= total * <double>i / <double>GUIDES:
            key += 1
        zipf.guide[i] = <uint32_t>key
    return True


cdef void zipf_free(Zipf *zipf) noexcept nogil:
    free(zipf.reached)
    free(zipf.guide)


cdef inline uint64_t zipf_draw(const Zipf *zipf, uint64_t *seed) noexcept nogil:
    """A key: the first whose reach is above a drawn number; the guides leave few to look at."""
    cdef double drawn = fraction(draw(seed))
    cdef uint64_t slice = <uint64_t>(drawn * <double>GUIDES)
    cdef uint64_t low = zipf.guide[slice], high = zipf.guide[slice + 1], middle
    drawn *= zipf.reached[zipf.keys - 1]
    while low < high:
        middle = (low + high) / 2
        if zipf.reached[middle] <= drawn:
            low = middle + 1
        else:
            high = middle
    return low


cdef inline bint scan_goes_on(Scan *scan, uint64_t *seed) noexcept nogil:
    """Whether the next request is a scan's."""
    if scan.left == 0 and scan.begins > 0 and fraction(draw(seed)) < scan.begins:
        scan.left = scan.length
    if scan.left == 0:
        return False
    scan.left -= 1
    return True


# ---- what belongs to a key -----------------------------------------------------------------------------------

cdef inline double log_uniform(double least, double most, double drawn) noexcept nogil:
    return least * exp(drawn * log(most / least)) if most > least else least


cdef inline uint32_t size_of(const Shape *shape, uint64_t key) noexcept nogil:
    return <uint32_t>(log_uniform(shape.smallest, shape.largest, fraction(scatter(key * 2 + shape.seed))) + 0.5)


cdef inline uint32_t ttl_of(const Shape *shape, uint64_t key) noexcept nogil:
    cdef uint64_t drawn = scatter(key * 2 + 1 + shape.seed)
    if drawn % 100 >= shape.ttl_percent:
        return 0
    return <uint32_t>(log_uniform(shape.ttl_least, shape.ttl_most, fraction(scatter(drawn))) + 0.5)


# ---- the trace -----------------------------------------------------------------------------------------------

cdef void fill(const Zipf *zipf, const Shape *shape, Scan *scan, uint64_t *seed, uint32_t *keys, uint32_t *sizes,
                   uint32_t *ttls, uint64_t requests) noexcept nogil:
    """Draw ``requests`` requests of one shape."""
    cdef uint64_t i, key
    for i in range(requests):
        if scan_goes_on(scan, seed):
            key = scan.next_key
            scan.next_key += 1
        else:
            key = shape.first_key + zipf_draw(zipf, seed)
        keys[i] = <uint32_t>key
        sizes[i] = size_of(shape, key)
        ttls[i] = ttl_of(shape, key)


cdef class Trace:
    """Requests in three arrays of unsigned 32-bit numbers: ``keys``, ``sizes`` (bytes) and ``ttls`` (seconds).

    ``ids`` is one more than the greatest key; ``rate`` is how many requests there are in a second of the trace, by
    which TTLs end.
    """

    def __init__(self, keys, sizes, ttls, *, rate=1):
        self.keys, self.sizes, self.ttls = (array.array("I", numbers) for numbers in (keys, sizes, ttls))
        if not len(self.keys) == len(self.sizes) == len(self.ttls) or rate < 1:
            raise ValueError("a trace needs a key, a size and a TTL for each request, and a rate from 1 on")
        self.ids = max(self.keys, default=0) + 1
        self.rate = rate

    def __len__(self):
        return len(self.keys)


def generate(*, uint64_t requests, uint64_t seed, uint64_t keys, double skew, sizes, later_sizes=None, double scans=0,
             uint32_t scan_length=1, uint32_t ttl_percent=0, ttls=(0, 0), uint64_t rate=1):
    """A trace of ``requests`` requests to ``keys`` keys by Zipf's law, of which a share of ``scans`` goes to keys that
    come once, ``scan_length`` of them in a row. ``sizes`` and ``ttls`` are (least, most), log-uniform over the keys;
    with ``later_sizes`` the second half has other keys, of these sizes. MemoryError when there is none.
    """
    cdef Trace trace = Trace.__new__(Trace)
    cdef array.array template = array.array("I")
    cdef Zipf zipf
    cdef Scan scan
    cdef Shape shape
    cdef uint64_t first, done = 0
    if not 1 <= keys <= 1 << 30 or not 0 <= scans < 1 or scan_length < 1 or rate < 1:
        raise ValueError("keys from 1 to a thousand million, scans from 0 to below 1, scan_length and rate from 1 on")
    trace.keys, trace.sizes, trace.ttls = (array.clone(template, requests, False) for _ in range(3))
    trace.rate = rate
    scan.begins = 1 / (1 + scan_length * (1 - scans) / scans) if scans else 0
    scan.length, scan.left, scan.next_key = scan_length, 0, 2 * keys if later_sizes else keys
    halves = [(0, requests // 2, sizes), (keys, requests, later_sizes)] if later_sizes else [(0, requests, sizes)]
    if not zipf_init(&zipf, keys, skew):
        zipf_free(&zipf)
        raise MemoryError
    shape.seed = scatter(seed)
    shape.ttl_percent = ttl_percent
    shape.ttl_least, shape.ttl_most = ttls
    for first, end, (shape.smallest, shape.largest) in halves:
        shape.first_key = first
        fill_from(trace, &zipf, &shape, &scan, &seed, done, end - done)
        done = end
    zipf_free(&zipf)
    trace.ids = scan.next_key
    return trace


cdef void fill_from(Trace trace, const Zipf *zipf, const Shape *shape, Scan *scan, uint64_t *seed, uint64_t first,
                    uint64_t requests) noexcept:
    cdef uint32_t *keys = trace.keys.data.as_uints + first
    cdef uint32_t *sizes = trace.sizes.data.as_uints + first
    cdef uint32_t *ttls = trace.ttls.data.as_uints + first
    with nogil:
        fill(zipf, shape, scan, seed, keys, sizes, ttls, requests)
