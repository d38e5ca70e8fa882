"""Atomic access to plain integers; Cython has no ``libc.stdatomic``, so these name GCC's builtins.

``load`` and ``store`` are relaxed: they say "others look at this word too" and cost what a plain access costs.
Order between words comes from a lock, or from the pair ``store_release`` and ``load_acquire``. Those with ``seq`` are
in one order that all threads agree on: for two threads of which each writes one word and then reads the other's.
"""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from *:
    """
    #define CC_LOAD(p) __atomic_load_n((p), __ATOMIC_RELAXED)
    #define CC_LOAD_ACQUIRE(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
    #define CC_STORE(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
    #define CC_STORE_RELEASE(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
    #define CC_LOAD_SEQ(p) __atomic_load_n((p), __ATOMIC_SEQ_CST)
    #define CC_STORE_SEQ(p, v) __atomic_store_n((p), (v), __ATOMIC_SEQ_CST)
    #define CC_ADD_SEQ(p, v) __atomic_add_fetch((p), (v), __ATOMIC_SEQ_CST)
    #define CC_ADD(p, v) __atomic_add_fetch((p), (v), __ATOMIC_RELAXED)
    #define CC_SUB_ACQ_REL(p, v) __atomic_sub_fetch((p), (v), __ATOMIC_ACQ_REL)
    #define CC_OR(p, v) __atomic_fetch_or((p), (v), __ATOMIC_RELAXED)
    #define CC_AND(p, v) __atomic_fetch_and((p), (v), __ATOMIC_RELAXED)
    #define CC_XOR(p, v) __atomic_fetch_xor((p), (v), __ATOMIC_RELAXED)
    #define CC_EXCHANGE_ACQUIRE(p, v) __atomic_exchange_n((p), (v), __ATOMIC_ACQUIRE)
    #define CC_EXCHANGE_RELEASE(p, v) __atomic_exchange_n((p), (v), __ATOMIC_RELEASE)
    static inline int cc_swap(uint32_t *p, uint32_t *expected, uint32_t value) {
        return __atomic_compare_exchange_n(p, expected, value, 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    }
    static inline void cc_raise(uint32_t *p, uint32_t value) {
        uint32_t seen = __atomic_load_n(p, __ATOMIC_SEQ_CST);
        while (seen < value &&
               !__atomic_compare_exchange_n(p, &seen, value, 1, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {}
    }
    static inline int cc_take(uint32_t *p) {
        uint32_t expected = 0;
        return __atomic_compare_exchange_n(p, &expected, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
    }
    static inline int cc_replace_u8(uint8_t *p, uint8_t expected, uint8_t value) {
        return __atomic_compare_exchange_n(p, &expected, value, 0, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
    }
    """
    uint8_t load_u8 "CC_LOAD"(const uint8_t *p) noexcept nogil
    uint32_t load_u32 "CC_LOAD"(const uint32_t *p) noexcept nogil
    uint64_t load_u64 "CC_LOAD"(const uint64_t *p) noexcept nogil
    int64_t load_i64 "CC_LOAD"(const int64_t *p) noexcept nogil
    void store_u8 "CC_STORE"(uint8_t *p, uint8_t value) noexcept nogil
    void store_u32 "CC_STORE"(uint32_t *p, uint32_t value) noexcept nogil
    void store_u64 "CC_STORE"(uint64_t *p, uint64_t value) noexcept nogil
    void store_i64 "CC_STORE"(int64_t *p, int64_t value) noexcept nogil
    uint8_t load_acquire_u8 "CC_LOAD_ACQUIRE"(const uint8_t *p) noexcept nogil
    uint16_t load_acquire_u16 "CC_LOAD_ACQUIRE"(const uint16_t *p) noexcept nogil
    uint32_t load_acquire_u32 "CC_LOAD_ACQUIRE"(const uint32_t *p) noexcept nogil
    uint64_t load_acquire_u64 "CC_LOAD_ACQUIRE"(const uint64_t *p) noexcept nogil
    uint32_t load_seq_u32 "CC_LOAD_SEQ"(const uint32_t *p) noexcept nogil
    uint64_t load_seq_u64 "CC_LOAD_SEQ"(const uint64_t *p) noexcept nogil
    void store_seq_u64 "CC_STORE_SEQ"(uint64_t *p, uint64_t value) noexcept nogil
    void store_release_u16 "CC_STORE_RELEASE"(uint16_t *p, uint16_t value) noexcept nogil
    void store_release_u32 "CC_STORE_RELEASE"(uint32_t *p, uint32_t value) noexcept nogil
    void store_release_u64 "CC_STORE_RELEASE"(uint64_t *p, uint64_t value) noexcept nogil
    # These return the new value.
    uint32_t add_u32 "CC_ADD"(uint32_t *p, uint32_t value) noexcept nogil
    uint64_t add_u64 "CC_ADD"(uint64_t *p, uint64_t value) noexcept nogil
    uint64_t add_seq_u64 "CC_ADD_SEQ"(uint64_t *p, uint64_t value) noexcept nogil
    int64_t add_i64 "CC_ADD"(int64_t *p, int64_t value) noexcept nogil
    uint32_t drop_u32 "CC_SUB_ACQ_REL"(uint32_t *p, uint32_t value) noexcept nogil
    # These return the old one.
    uint32_t or_u32 "CC_OR"(uint32_t *p, uint32_t value) noexcept nogil
    uint32_t and_u32 "CC_AND"(uint32_t *p, uint32_t value) noexcept nogil
    uint64_t or_u64 "CC_OR"(uint64_t *p, uint64_t value) noexcept nogil
    uint64_t and_u64 "CC_AND"(uint64_t *p, uint64_t value) noexcept nogil
    uint32_t xor_u32 "CC_XOR"(uint32_t *p, uint32_t value) noexcept nogil
    uint32_t exchange_acquire_u32 "CC_EXCHANGE_ACQUIRE"(uint32_t *p, uint32_t value) noexcept nogil
    uint32_t exchange_release_u32 "CC_EXCHANGE_RELEASE"(uint32_t *p, uint32_t value) noexcept nogil
    # expected -> value, and true; false, and expected set to what the word says, when it says something else.
    bint swap_u32 "cc_swap"(uint32_t *p, uint32_t *expected, uint32_t value) noexcept nogil
    # To ``value``, unless it is as much already; with seq.
    void raise_seq_u32 "cc_raise"(uint32_t *p, uint32_t value) noexcept nogil
    # 0 -> 1, and true; false when the word was not 0.
    bint take_u32 "cc_take"(uint32_t *p) noexcept nogil
    # ``expected`` -> ``value`` with release, and true; false when the word was something else.
    bint replace_u8 "cc_replace_u8"(uint8_t *p, uint8_t expected, uint8_t value) noexcept nogil
