"""Reserving and opening address space."""
from cachecore_ext.base.linux cimport (
    MADV_HUGEPAGE, MAP_ANONYMOUS, MAP_FAILED, MAP_FIXED, MAP_NORESERVE, MAP_PRIVATE, MAP_SHARED, PROT_NONE, PROT_READ,
    PROT_WRITE, madvise, mmap, mprotect, munmap,
)


cdef void *mapping_reserve(size_t nbytes) noexcept nogil:
    """So much address space, none of it usable yet; NULL when it cannot be had."""
    cdef void *mapping = mmap(NULL, nbytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    return NULL if mapping == MAP_FAILED else mapping


cdef bint mapping_open(void *mapping, size_t nbytes) noexcept nogil:
    """Make its first ``nbytes`` usable; zero on first use. False when the system does not grant that."""
    return mprotect(mapping, nbytes, PROT_READ | PROT_WRITE) == 0


cdef bint mapping_open_file(void *mapping, size_t nbytes, int fd) noexcept nogil:
    """Let its first ``nbytes`` be those of a file, shared with it. False when the system does not grant that.

    The file may still be shorter; what lies beyond its end must not be touched until it has grown.
    """
    return mmap(mapping, nbytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED


cdef void mapping_ask_huge(void *mapping, size_t nbytes) noexcept nogil:
    """Ask for large memory pages where it is not touched yet, open or not. Where the kernel has none: as before."""
    madvise(mapping, nbytes, MADV_HUGEPAGE)


cdef void mapping_free(void *mapping, size_t nbytes) noexcept nogil:
    """Give it back; NULL is fine."""
    if mapping != NULL:
        munmap(mapping, nbytes)
