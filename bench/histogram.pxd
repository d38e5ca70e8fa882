"""Latencies counted in logarithmic buckets: HIST_SUB for each doubling, exact below twice that many nanoseconds.

A latency is told as its bucket's upper bound, which is at most 1/HIST_SUB above it: 1.6 %. The largest is kept exactly.
"""

from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    HIST_SUB = 64
    HIST_SIZE = 3776  # buckets, for every number of 64 bits

cdef struct Histogram:
    uint64_t total  # how many were counted
    uint64_t most  # the largest, ns
    uint64_t count[HIST_SIZE]


cdef inline void histogram_note(Histogram *histogram, uint64_t ns) noexcept nogil:
    """Count one latency of ``ns`` nanoseconds."""
    cdef uint32_t shift = 0
    while (ns >> shift) >= 2 * HIST_SUB:
        shift += 1
    histogram.count[shift * HIST_SUB + (ns >> shift)] += 1
    histogram.total += 1
    if ns > histogram.most:
        histogram.most = ns


cdef inline list histogram_pairs(const Histogram *histogram):
    """What was counted as pairs (upper bound in microseconds, count), rising, without the empty buckets."""
    cdef list pairs = []
    for bucket in range(HIST_SIZE):
        count = histogram.count[<size_t>bucket]
        if count:
            shift = max(bucket // HIST_SUB - 1, 0)
            pairs.append((((bucket - shift * HIST_SUB + 1) << shift) / 1000, count))
    return pairs
