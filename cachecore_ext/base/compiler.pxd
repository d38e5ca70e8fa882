"""What the compiler offers beyond the language: declarations only."""

cdef extern from * nogil:
    """
    #define CC_PREFETCH(p) __builtin_prefetch((p), 0, 3)
    #define CC_LIKELY(x) __builtin_expect(!!(x), 1)
    #define CC_UNLIKELY(x) __builtin_expect(!!(x), 0)
    #define CC_SAME_SIZE(a, b) ((void)sizeof(char[(a) == (b) ? 1 : -1]))
    #if defined(__has_feature)
    #if __has_feature(address_sanitizer)
    #define CC_ADDRESS_SANITIZER
    #endif
    #elif defined(__SANITIZE_ADDRESS__)
    #define CC_ADDRESS_SANITIZER
    #endif
    #ifdef CC_ADDRESS_SANITIZER
    void __asan_poison_memory_region(void const volatile *address, size_t size);
    void __asan_unpoison_memory_region(void const volatile *address, size_t size);
    #define CC_RED_ZONE 8
    #define CC_FORBID(p, n) __asan_poison_memory_region((p), (n))
    #define CC_PERMIT(p, n) __asan_unpoison_memory_region((p), (n))
    #else
    #define CC_RED_ZONE 0
    #define CC_FORBID(p, n) ((void)(p), (void)(n))
    #define CC_PERMIT(p, n) ((void)(p), (void)(n))
    #endif
    """
    void prefetch "CC_PREFETCH"(const void *address) noexcept
    bint likely "CC_LIKELY"(bint condition) noexcept
    bint unlikely "CC_UNLIKELY"(bint condition) noexcept
    # Does not compile when the two constants differ.
    void static_same "CC_SAME_SIZE"(size_t a, size_t b) noexcept
    # From here on AddressSanitizer reports who touches these bytes; or no longer. In other builds: nothing.
    void memory_forbid "CC_FORBID"(const void *address, size_t size) noexcept
    void memory_permit "CC_PERMIT"(const void *address, size_t size) noexcept
    # Bytes at the end of a chunk that nobody may use, so that it is seen when somebody does; 0 in other builds.
    enum: RED_ZONE "CC_RED_ZONE"
