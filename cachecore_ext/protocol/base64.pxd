"""Base64 with padding, for the meta protocol's binary keys. Both return the bytes written, 0 when they cannot."""

cdef size_t base64_encode(const char *data, size_t n, char *out) noexcept nogil
cdef size_t base64_decode(const char *text, size_t n, char *out, size_t capacity) noexcept nogil
