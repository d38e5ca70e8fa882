"""The simulated cache: nodes by key, and lists of them."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    NIL = 0xFFFFFFFF  # no key
    LISTS = 3

# Where a key is: in one of the policy's lists, or not there.
cdef enum:
    FIRST = 0
    SECOND = 1
    THIRD = 2
    ABSENT = 3

cdef struct Node:
    uint32_t newer
    uint32_t older
    uint64_t ends  # the request from which on it has expired; 0: never
    uint32_t size  # bytes charged
    uint8_t place  # of FIRST to ABSENT
    uint8_t mark  # SIEVE: visited; S3-FIFO: uses, up to 3

cdef struct List:
    uint32_t newest
    uint32_t oldest
    uint64_t bytes

cdef struct Cache:
    uint64_t capacity  # bytes
    uint64_t used
    uint64_t ids
    Node *node  # [ids]
    List list[LISTS]
    uint32_t hand  # SIEVE's: the next to look at, or NIL to begin at the oldest
    # S3-FIFO: the bytes that ever left by the small list, and for each key how many there were when it did; 0: not so.
    uint64_t ghosts
    uint64_t *ghosted  # [ids] or NULL
    # W-TinyLFU: how often keys were asked for, about.
    uint8_t *sketch  # SKETCH_ROWS rows of sketch_mask + 1, or NULL
    uint64_t sketch_mask
    uint64_t sketched  # since the counts were halved
    uint64_t sketch_sample  # requests between two halvings
    # Belady: by request, whether a cached item is used next then; two further levels tell words that are not 0.
    uint64_t *level[4]
    uint32_t *next_use  # [requests] the next request for the same key; NIL: none

ctypedef void (*Touch)(Cache *cache, uint32_t key) noexcept nogil
ctypedef void (*Admit)(Cache *cache, uint32_t key) noexcept nogil

cdef struct Policy:
    Touch touch  # the key was found
    Admit admit  # the key was not; its node's size and ends are set
