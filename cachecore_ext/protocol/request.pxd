"""From bytes to requests. Knows no socket and no storage, so it can be tested and fuzzed alone.

A request points into the buffer that it was parsed from; nothing is copied but a key that came in base64. What a
command consumes follows from its bytes alone, never from how they were cut into packets or from what the store says.
"""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from cachecore_ext.base.bytes cimport word16, word32, word_end

cdef enum:
    LINE_MAX = 2048              # bytes of a command line with its end
    GET_LINE_MAX = 1024 * 1024   # ... of get, gets, gat and gats
    VALUE_MAX = 2147483645       # bytes of a value, whatever -I says
    DECODED_KEY_MAX = 192
    BAD_CLASS = 1                # in Request.classes: there is no slab class 0, so its bit says that an id is none

cdef enum Parsed:
    PARSED             # a request; its value may still be missing
    PARSED_INCOMPLETE  # the line has not ended yet
    PARSED_TOO_LONG    # the line is longer than may be

cdef enum Command:
    CMD_GET, CMD_GETS, CMD_GAT, CMD_GATS,
    CMD_SET, CMD_ADD, CMD_REPLACE, CMD_APPEND, CMD_PREPEND, CMD_CAS, CMD_MS,
    CMD_DELETE, CMD_INCR, CMD_DECR, CMD_TOUCH,
    CMD_MG, CMD_MD, CMD_MA, CMD_ME, CMD_MN,
    CMD_FLUSH_ALL, CMD_VERSION, CMD_VERBOSITY, CMD_ADMIN, CMD_WATCH, CMD_DEBUGTIME,
    CMD_METADUMP, CMD_MGDUMP,
    CMD_QUIT,
    CMD_REJECT         # not a valid request: answer ``reject``
    CMD_HANG_UP        # not a client of ours: close without a word

cdef struct Meta:
    # The flags of a meta command. Which were given says ``seen``, a bit for each letter (meta_has).
    uint64_t seen
    int32_t ttl         # T
    int32_t vivify      # N
    int32_t recache     # R
    uint32_t flags      # F
    uint64_t compare    # C
    uint64_t explicit   # E
    uint64_t delta      # D, 1 unless given
    uint64_t initial    # J
    char mode           # M's first letter, 0 when not given

cdef struct Request:
    Command command
    bint noreply
    bint plain               # a get of one key, and all that is said of it are key and nkey
    const char *reject       # the reply line with its line end, NUL-terminated; of a flush_all NULL unless it is wrong
    char *line
    size_t nline             # without the line end
    size_t consumed          # of the buffer: the line, and the value's block if that is complete
    uint64_t swallow         # bytes behind the line that are to be skipped: the block of a rejected request
    const char *key          # the first, for a get
    uint32_t nkey
    uint64_t hash            # of the key; filled in by who knows the store's hash, as is
    const void *place        # ... where the store is going to look for it
    char *keys               # get: from the first key on
    bint checked             # ... of which none is too long, as was seen when there were more of them
    const char *args         # what follows the key (meta: the flags), or the command word (admin)
    size_t nargs
    uint32_t flags
    int64_t exptime          # as given; flush_all's delay
    uint64_t number          # cas unique, delta of incr and decr, level of verbosity
    uint64_t classes         # of a dump: a bit for each slab class
    uint32_t nvalue
    char *value              # NULL while the block is not complete in the buffer
    bint value_ended         # the block ends in CRLF
    bint known               # watch: every word is one of its own
    Meta meta
    char decoded_key[DECODED_KEY_MAX]

cdef enum:
    KEY_MAX = 250

cdef Parsed request_parse(char *data, size_t n, size_t scanned, Request *request) noexcept nogil
cdef Parsed request_resume(char *data, size_t n, Request *request) noexcept nogil
cdef bint watch_words(const char *line, size_t nline, uint32_t *watched) noexcept nogil


cdef inline bint next_token(const char **at, const char *end, const char **token, size_t *length) noexcept nogil:
    """The next word between blanks, most likely a short one; only 0x20 is a blank. Moves ``at`` behind it. False at
    the end."""
    cdef const char *p = at[0]
    while p < end and p[0] == c' ':
        p += 1
    token[0] = p
    while p < end and p[0] != c' ':
        p += 1
    at[0] = p
    length[0] = p - token[0]
    return length[0] != 0


cdef inline bint next_key(const char *line, const char **at, const char *end, const char **token,
                          size_t *length) noexcept nogil:
    """next_token, for a word that is longer. ``line``: where the line begins."""
    cdef const char *p = at[0]
    while p < end and p[0] == c' ':
        p += 1
    token[0] = p
    p = word_end(p, end, line)
    while p < end and p[0] != c' ':
        p = word_end(p + 1, end, line)
    at[0] = p
    length[0] = p - token[0]
    return length[0] != 0


cdef inline bint request_parse_plain(char *data, size_t n, Request *request) noexcept nogil:
    """Parse ``get key`` at the beginning of ``data``, written as clients write it.

    False for anything else, wrong or right: request_parse knows it, and reads this line in the same way.
    """
    cdef const char *key = data + 4
    cdef const char *at
    if n < 8 or word32(data) != word32(b"get "):
        return False
    at = word_end(key, data + n - 2, data)
    if <size_t>(at - key) - 1 >= <size_t>KEY_MAX or word16(at) != word16(b"\r\n"):
        return False
    request.command = CMD_GET
    request.noreply = False
    request.plain = True
    request.line = data
    request.consumed = at + 2 - data
    request.key = key
    request.nkey = <uint32_t>(at - key)
    request.swallow = 0
    return True


cdef inline bint request_has_key(const Request *request) noexcept nogil:
    """Whether the request is about a key, so that its bucket is worth asking for early."""
    return request.command <= CMD_ME


cdef inline bint request_stores(const Request *request) noexcept nogil:
    """Whether a value's block belongs to the request."""
    return CMD_SET <= request.command <= CMD_MS


cdef inline bint meta_has(const Meta *meta, char letter) noexcept nogil:
    return (meta.seen >> (letter - c'A')) & 1
