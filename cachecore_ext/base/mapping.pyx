"""Reserving and opening address space."""
from cachecore_ext.base.linux cimport (
    MAP_ANONYMOUS, MAP_FAILED, MAP_NORESERVE, MAP_PRIVATE, PROT_NONE, PROT_READ, PROT_WRITE, mmap, mprotect, munmap,
)


cdef void *mapping_reserve(size_t nbytes) noexcept nogil:
    """So much address space, none of it usable yet; NULL when it cannot be had."""
    cdef void *mapping = mmap(NULL, nbytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    return NULL if mapping == MAP_FAILED else mapping


cdef bint mapping_open(void *mapping, size_t nbytes) noexcept nogil:
    """Make its first ``nbytes`` usable; zero on first use. False when the system does not grant that."""
    return mprotect(mapping, nbytes, PROT_READ | PROT_WRITE) == 0


cdef void mapping_free(void *mapping, size_t nbytes) noexcept nogil:
    """Give it back; NULL is fine."""
    if mapping != NULL:
        munmap(mapping, nbytes)
