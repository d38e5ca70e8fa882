"""Keys as they stand in a URI: what is no letter, digit or one of ``-._~`` is %XX."""

cdef size_t percent_encode(const char *data, size_t n, char *out) noexcept nogil
