"""An item: its layout in a chunk, and the accessors.

        0        4      8      12     16        20           28        40       44 or 28..44
        +--------+------+------+------+---------+------------+---------+--------+-----+-------+
        | meta   | next | prev | time | exptime | cas        | large?  | flags? | key | value |
        +--------+------+------+------+---------+------------+---------+--------+-----+-------+

    meta    bits 0-7 key length, 8-19 value length of a small item, 20-29 the ITEM_ marks below, 30-31 the LRU segment.
            A chunk that is no item has key length 0: meta 0 is a free chunk, CHAIN_META a piece of a chained value.
    next    the neighbours in the LRU list, as chunk references (see slabs.pxd); 0 ends the list. prev says
            ITEM_UNLINKED while the item is in no list.
    large?  only with ITEM_LARGE: value length, reference count, and the first piece of a chained value.
    flags?  only with ITEM_FLAGS: the client's flags, which most items leave at 0.

28 bytes before the key is what an item costs; the value carries no line end, the key no NUL. exptime is there whether
the item has one or not: an item that a touch makes longer may need a chunk of another class, and a touch of all items
of a full cache would evict most of them.

Who protects what. Between its allocation and its linking an item belongs to the thread that asked for it. Once
linked: the bucket's lock guards the value, cas, flags and exptime; the lock of its LRU class guards next, prev and
the segment; meta changes by atomic operations, as the eviction looks at its marks under the class's lock alone; key,
key length, ITEM_LARGE and ITEM_CHAINED never change; a small item's length changes with both locks held, a chained
one's with the bucket's, while it is in no list and nobody reads the value. Who walks a page (the crawler, the mover)
looks at chunks that anybody may be writing: meta and prev are read and written atomically, and what they promise holds
once the class's lock is held. refs counts who may still read the value: the
table, and every reply under way. A small item has no count: its value is copied under the bucket's lock.
"""
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memchr, memcpy

from cachecore_ext.base.atomics cimport and_u32, load_acquire_u32, load_u32, or_u32, store_u32, swap_u32
from cachecore_ext.base.compiler cimport likely

cdef struct Item:
    uint32_t meta
    uint32_t next
    uint32_t prev
    uint32_t time      # the tick of its storing, or of the last access that was noted
    uint32_t exptime   # the tick at which it ends; 0 never
    uint32_t cas[2]    # 64 bits, low half first

cdef struct ItemLarge:
    uint32_t nbytes
    uint32_t refs      # atomic; the one who drops it to 0 frees the item
    uint32_t chain     # reference of the first Piece; 0 when the value follows the key

cdef struct Piece:
    # A piece of a chained value: this header, then ``size`` bytes of the value.
    uint32_t meta      # CHAIN_META
    uint32_t next      # reference of the next piece; 0 ends the chain
    uint32_t size      # bytes of the value in this piece
    uint32_t owner     # reference of the item; atomic, as the page mover comes from the piece's side

cdef enum:
    ITEM_HEADER = 28
    LARGE_HEADER = 12
    FLAGS_SIZE = 4
    PIECE_HEADER = 16
    # From this length on a value is sent from where it lies, under a reference; below, it is cheaper to copy it.
    LARGE_MIN = 4096

    LENGTH_MASK = 0xFFF << 8
    ITEM_FLAGS = 1 << 20      # client flags are stored
    ITEM_LARGE = 1 << 21      # has an ItemLarge
    ITEM_CHAINED = 1 << 22    # the value lies in pieces
    ITEM_BINARY = 1 << 23     # the key was given in base64
    ITEM_FETCHED = 1 << 24    # fetched since it was stored
    ITEM_ACTIVE = 1 << 25     # fetched again since: the policy (lru) gives it another round, and clears this
    ITEM_STALE = 1 << 26      # invalidated, but still served (meta protocol)
    ITEM_TOKEN = 1 << 27      # somebody was told to recache it (meta protocol's W)
    ITEM_EXPLICIT = 1 << 28   # its cas was chosen by a client, so it says nothing about when it was stored
    ITEM_REWRITTEN = 1 << 29  # stored again in its old place: as good as new to the LRU, which clears this
    SEGMENT_SHIFT = 30        # the LRU segment that it is in
    SEGMENT_MASK = 0xC0000000

    ITEM_UNLINKED = 0xFFFFFFFF  # in prev: in no list

    CHAIN_META = ITEM_LARGE | ITEM_CHAINED  # key length 0: no item


cdef inline uint32_t item_meta(const Item *item) noexcept nogil:
    return load_u32(&item.meta)


cdef inline uint32_t item_nkey(const Item *item) noexcept nogil:
    return item_meta(item) & 0xFF


cdef inline ItemLarge *item_large(const Item *item) noexcept nogil:
    return <ItemLarge *>(<char *>item + ITEM_HEADER)


cdef inline uint32_t meta_nbytes_small(uint32_t meta) noexcept nogil:
    """... of an item that is not ITEM_LARGE."""
    return (meta >> 8) & 0xFFF


cdef inline uint32_t meta_nbytes(const Item *item, uint32_t meta) noexcept nogil:
    """item_nbytes, with the item's meta at hand. So are the other ``meta_`` functions: a load of it is never merged."""
    return item_large(item).nbytes if meta & ITEM_LARGE else meta_nbytes_small(meta)


cdef inline uint32_t item_nbytes(const Item *item) noexcept nogil:
    return meta_nbytes(item, item_meta(item))


cdef inline uint32_t meta_key_offset(uint32_t meta) noexcept nogil:
    """Bytes in front of the key."""
    if likely(meta & (ITEM_LARGE | ITEM_FLAGS) == 0):
        return ITEM_HEADER
    return ITEM_HEADER + ((meta >> 21) & 1) * LARGE_HEADER + ((meta >> 20) & 1) * FLAGS_SIZE


cdef inline uint32_t meta_layout(uint32_t nkey, uint32_t flags, uint32_t nbytes, size_t chunk_max) noexcept nogil:
    """The meta of a new item: the lengths, and which of the optional fields it has. chunk_max: bytes of one chunk."""
    cdef uint32_t meta = nkey | (ITEM_FLAGS if flags != 0 else 0)
    if nbytes < LARGE_MIN and likely(meta_key_offset(meta) + nkey + nbytes <= chunk_max):
        return meta | nbytes << 8
    meta |= ITEM_LARGE
    if meta_key_offset(meta) + nkey + <size_t>nbytes > chunk_max:
        meta |= ITEM_CHAINED
    return meta


cdef inline void item_change_meta(Item *item, uint32_t kept, uint32_t meta) noexcept nogil:
    """Let a linked item's meta keep the bits ``kept`` and its segment, and get ``meta``.

    Not by a plain store: who holds the class's lock alone may be moving the item, or taking marks away.
    """
    cdef uint32_t before = item_meta(item)
    while not swap_u32(&item.meta, &before, (before & (kept | SEGMENT_MASK)) | meta):
        pass


cdef inline char *item_key(const Item *item) noexcept nogil:
    return <char *>item + meta_key_offset(item_meta(item))


cdef inline bint item_key_is_binary(const Item *item) noexcept nogil:
    """Whether the key is to be written in base64: it was given so last, or it has a byte that ends a word or a line.

    memcached goes by its mark alone, which N, append, prepend, a growing number and md's x take away: then what is in
    the key is read as the next reply, or, of an mgdump, run as the next command.
    """
    cdef const char *key = item_key(item)
    cdef size_t n = item_nkey(item)
    return (
        item_meta(item) & ITEM_BINARY != 0 or memchr(key, c'\n', n) != NULL or memchr(key, c' ', n) != NULL
    )


cdef inline char *meta_value(const Item *item, uint32_t meta) noexcept nogil:
    return <char *>item + meta_key_offset(meta) + (meta & 0xFF)


cdef inline char *item_value(const Item *item) noexcept nogil:
    """Where the value begins; not for a chained one."""
    return meta_value(item, item_meta(item))


cdef inline uint32_t meta_flags(const Item *item, uint32_t meta) noexcept nogil:
    cdef uint32_t flags = 0
    if meta & ITEM_FLAGS:
        memcpy(&flags, <char *>item + meta_key_offset(meta) - FLAGS_SIZE, FLAGS_SIZE)
    return flags


cdef inline uint32_t item_flags(const Item *item) noexcept nogil:
    return meta_flags(item, item_meta(item))


cdef inline void item_set_flags(Item *item, uint32_t flags) noexcept nogil:
    """Only for an item with ITEM_FLAGS."""
    memcpy(item_key(item) - FLAGS_SIZE, &flags, FLAGS_SIZE)


cdef inline uint64_t item_cas(const Item *item) noexcept nogil:
    return load_u32(&item.cas[0]) | (<uint64_t>load_u32(&item.cas[1]) << 32)


cdef inline void item_set_cas(Item *item, uint64_t cas) noexcept nogil:
    store_u32(&item.cas[0], <uint32_t>cas)
    store_u32(&item.cas[1], <uint32_t>(cas >> 32))


cdef inline uint32_t item_exptime(const Item *item) noexcept nogil:
    return load_u32(&item.exptime)


cdef inline void item_set_exptime(Item *item, uint32_t tick) noexcept nogil:
    store_u32(&item.exptime, tick)


cdef inline bint item_expired(const Item *item, uint32_t now) noexcept nogil:
    cdef uint32_t exptime = item_exptime(item)
    return exptime != 0 and exptime <= now


cdef inline uint32_t item_time(const Item *item) noexcept nogil:
    return load_u32(&item.time)


cdef inline void item_set_time(Item *item, uint32_t tick) noexcept nogil:
    store_u32(&item.time, tick)


cdef inline void item_accessed(Item *item, uint32_t now) noexcept nogil:
    """Note an access. The time does not go back: it may lie ahead (store_set_cas_locked)."""
    item_set_time(item, max(item_time(item), now))


cdef inline void item_mark(Item *item, uint32_t marks) noexcept nogil:
    or_u32(&item.meta, marks)


cdef inline void item_unmark(Item *item, uint32_t marks) noexcept nogil:
    and_u32(&item.meta, ~marks)


cdef inline uint32_t item_age(const Item *item, uint32_t now) noexcept nogil:
    """Seconds since the last access that was noted."""
    cdef uint32_t then = item_time(item)
    return now - then if now > then else 0


cdef inline bint item_is_held(const Item *item) noexcept nogil:
    """Whether somebody beside the table may still read the value. Who holds the bucket's lock, and hears that nobody
    does, may change it: all reading has happened before."""
    return item_meta(item) & ITEM_LARGE != 0 and load_acquire_u32(&item_large(item).refs) > 1


cdef inline size_t item_size(const Item *item) noexcept nogil:
    """Bytes that the item asks for: header, key and value."""
    return meta_key_offset(item_meta(item)) + item_nkey(item) + <size_t>item_nbytes(item)
