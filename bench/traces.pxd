"""A trace, for the bench's compiled halves that run one."""

from cpython cimport array
from libc.stdint cimport uint64_t


cdef class Trace:
    cdef readonly array.array keys, sizes, ttls
    cdef readonly uint64_t ids, rate
