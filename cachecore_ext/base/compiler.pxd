"""What the compiler offers beyond the language: declarations only."""

cdef extern from * nogil:
    """
    #define CC_PREFETCH(p) __builtin_prefetch((p), 0, 3)
    #define CC_LIKELY(x) __builtin_expect(!!(x), 1)
    #define CC_UNLIKELY(x) __builtin_expect(!!(x), 0)
    #define CC_SAME_SIZE(a, b) ((void)sizeof(char[(a) == (b) ? 1 : -1]))
    """
    void prefetch "CC_PREFETCH"(const void *address) noexcept
    bint likely "CC_LIKELY"(bint condition) noexcept
    bint unlikely "CC_UNLIKELY"(bint condition) noexcept
    # Does not compile when the two constants differ.
    void static_same "CC_SAME_SIZE"(size_t a, size_t b) noexcept
