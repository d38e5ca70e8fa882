"""Short runs of bytes, handled without a call: keys, small values, the words of a line.

Nothing outside of a run is written or, but for what word_end says, read.
"""

cdef extern from * nogil:
    """
    #include <stdint.h>
    #include <string.h>
    #ifdef __SSE2__
    #include <emmintrin.h>
    #endif

    static inline uint64_t cc_word64(const char *p) { uint64_t v; memcpy(&v, p, 8); return v; }
    static inline uint16_t cc_word16(const char *p) { uint16_t v; memcpy(&v, p, 2); return v; }
    static inline uint32_t cc_word32(const char *p) { uint32_t v; memcpy(&v, p, 4); return v; }

    /* Two loads that overlap cover every length between theirs. The lengths that most keys and many values have are
       handled where the call stands, the others behind one, so that they do not crowd the registers there. */
    static __attribute__((noinline, unused)) int cc_same_other(const char *a, const char *b, size_t n) {
        if (n > 16)
            return memcmp(a, b, n) == 0;
        if (n >= 4)
            return ((cc_word32(a) ^ cc_word32(b)) | (cc_word32(a + n - 4) ^ cc_word32(b + n - 4))) == 0;
        for (; n > 0; n--)
            if (a[n - 1] != b[n - 1])
                return 0;
        return 1;
    }
    static inline int cc_same_bytes(const char *a, const char *b, size_t n) {
        if (__builtin_expect(n - 8 <= 8, 1))
            return ((cc_word64(a) ^ cc_word64(b)) | (cc_word64(a + n - 8) ^ cc_word64(b + n - 8))) == 0;
        return cc_same_other(a, b, n);
    }

    static inline void cc_copy_two(char *to, const char *from, size_t n, size_t step) {
        char first[16], last[16];
        memcpy(first, from, step);
        memcpy(last, from + n - step, step);
        memcpy(to, first, step);
        memcpy(to + n - step, last, step);
    }
    static __attribute__((noinline, unused)) void cc_copy_other(char *to, const char *from, size_t n) {
        if (n > 64) {
            memcpy(to, from, n);
        } else if (n > 32) {
            cc_copy_two(to, from, 32, 16);
            cc_copy_two(to + n - 32, from + n - 32, 32, 16);
        } else if (n >= 4) {
            cc_copy_two(to, from, n, 4);
        } else if (n > 0) {
            char first = from[0], middle = from[n >> 1], last = from[n - 1];
            to[0] = first;
            to[n >> 1] = middle;
            to[n - 1] = last;
        }
    }
    /* From so many bytes on it takes half the time to write past the caches: no line has to be read before. Sanitizers
       do not see such writes. */
    #if defined(__SSE2__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    #define CC_STREAM_MIN 4096
    static __attribute__((noinline, unused)) void cc_stream(char *to, const char *from, size_t n) {
        size_t head = -(uintptr_t)to & 15;
        memcpy(to, from, head);
        for (to += head, from += head, n -= head; n >= 64; to += 64, from += 64, n -= 64) {
            __m128i a = _mm_loadu_si128((const __m128i *)from), b = _mm_loadu_si128((const __m128i *)from + 1);
            __m128i c = _mm_loadu_si128((const __m128i *)from + 2), d = _mm_loadu_si128((const __m128i *)from + 3);
            _mm_stream_si128((__m128i *)to, a);
            _mm_stream_si128((__m128i *)to + 1, b);
            _mm_stream_si128((__m128i *)to + 2, c);
            _mm_stream_si128((__m128i *)to + 3, d);
        }
        memcpy(to, from, n);
        _mm_sfence();  /* before the stores by which others find them */
    }
    #else
    #define CC_STREAM_MIN SIZE_MAX
    #define cc_stream memcpy
    #endif
    static inline void cc_copy_value(char *to, const char *from, size_t n) {
        if (n >= CC_STREAM_MIN)
            cc_stream(to, from, n);
        else
            memcpy(to, from, n);
    }

    static inline void cc_copy_bytes(char *to, const char *from, size_t n) {
        if (n - 8 <= 8)
            cc_copy_two(to, from, n, 8);
        else if (n - 16 <= 16)
            cc_copy_two(to, from, n, 16);
        else
            cc_copy_other(to, from, n);
    }

    #ifdef __SSE2__
    static inline uint32_t cc_blanks16(const char *p) {
        __m128i line = _mm_loadu_si128((const __m128i *)p);
        return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(line, _mm_set1_epi8(' ')), line));
    }
    static inline const char *cc_word_end(const char *p, const char *end, const char *floor) {
        for (; end - p >= 16; p += 16) {
            uint32_t blanks = cc_blanks16(p);
            if (blanks != 0)
                return p + __builtin_ctz(blanks);
        }
        if (end - floor >= 16) {
            uint32_t blanks = cc_blanks16(end - 16) >> (16 - (end - p));
            return blanks != 0 ? p + __builtin_ctz(blanks) : end;
        }
        while (p < end && (unsigned char)*p > ' ')
            p++;
        return p;
    }
    #else
    static inline const char *cc_word_end(const char *p, const char *end, const char *floor) {
        (void)floor;
        while (p < end && (unsigned char)*p > ' ')
            p++;
        return p;
    }
    #endif
    """
    # 2 or 4 bytes as they lie in memory.
    unsigned int word16 "cc_word16"(const char *p) noexcept
    unsigned int word32 "cc_word32"(const char *p) noexcept
    bint same_bytes "cc_same_bytes"(const char *a, const char *b, size_t n) noexcept
    # The runs may not overlap.
    void copy_bytes "cc_copy_bytes"(char *to, const char *from_, size_t n) noexcept
    # Into memory that is not in the caches, nor needed there soon. The runs may not overlap.
    void copy_value "cc_copy_value"(char *to, const char *from_, size_t n) noexcept
    # The first byte from ``p`` on that is a blank or a control character, or ``end``. May look at bytes that lie
    # between ``floor`` and ``p``.
    const char *word_end "cc_word_end"(const char *p, const char *end, const char *floor) noexcept
