"""Address space: reserved at once, opened as it is needed. What is not open takes no memory and counts for no limit."""

cdef void *mapping_reserve(size_t nbytes) noexcept nogil
cdef bint mapping_open(void *mapping, size_t nbytes) noexcept nogil
cdef bint mapping_open_file(void *mapping, size_t nbytes, int fd) noexcept nogil
cdef void mapping_ask_huge(void *mapping, size_t nbytes) noexcept nogil
cdef void mapping_free(void *mapping, size_t nbytes) noexcept nogil
