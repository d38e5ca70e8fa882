"""One input for the parser: a stream of bytes, parsed whole and in pieces, must make the same requests.

Each look of the parser's is at a block of its own, of just the bytes that have arrived, with nothing of the request
before in it; AddressSanitizer sees a byte too many. What is wrong otherwise ends in ``abort``.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport abort, free, malloc
from libc.string cimport memcmp, memcpy, memset, strlen

from cachecore_ext.protocol.request cimport (
    CMD_CAS, CMD_DECR, CMD_FLUSH_ALL, CMD_GAT, CMD_GATS, CMD_HANG_UP, CMD_INCR, CMD_MA, CMD_METADUMP, CMD_MG,
    CMD_MGDUMP, CMD_MS, CMD_REJECT, CMD_TOUCH, CMD_VERBOSITY, CMD_WATCH, PARSED, PARSED_INCOMPLETE, Meta, Parsed,
    Command, Request, meta_has, next_key, request_has_key, request_parse, request_parse_plain, request_stores, watch_words,
)

cdef enum:
    REQUESTS_MAX = 4096

cdef struct Stream:
    # What a connection remembers, and what came of it.
    const uint8_t *data
    size_t at                       # of it has been consumed
    size_t arrived
    size_t scanned
    uint64_t swallow
    bint closed
    uint32_t count
    uint64_t digest[REQUESTS_MAX]   # one of each request
    size_t place[REQUESTS_MAX]      # where in the stream it ended


cdef uint64_t mix(uint64_t digest, uint64_t number) noexcept nogil:
    digest = (digest ^ number) * <uint64_t>0x9E3779B97F4A7C15
    return digest ^ (digest >> 29)


cdef uint64_t mix_bytes(uint64_t digest, const char *bytes, size_t n) noexcept nogil:
    cdef size_t i
    digest = mix(digest, n)
    for i in range(n):
        digest = mix(digest, <uint8_t>bytes[i])
    return digest


cdef uint64_t mix_keys(uint64_t digest, const Request *request) noexcept nogil:
    cdef const char *at = request.keys
    cdef const char *token = NULL
    cdef size_t n = 0
    while next_key(request.line, &at, request.line + request.nline, &token, &n):
        digest = mix_bytes(digest, token, n)
    return digest


cdef uint64_t mix_meta(uint64_t digest, const Meta *meta) noexcept nogil:
    digest = mix(digest, meta.seen)
    if meta_has(meta, c'T'):
        digest = mix(digest, <uint64_t>meta.ttl)
    if meta_has(meta, c'N'):
        digest = mix(digest, <uint64_t>meta.vivify)
    if meta_has(meta, c'R'):
        digest = mix(digest, <uint64_t>meta.recache)
    if meta_has(meta, c'F'):
        digest = mix(digest, meta.flags)
    if meta_has(meta, c'C'):
        digest = mix(digest, meta.compare)
    if meta_has(meta, c'E'):
        digest = mix(digest, meta.explicit)
    if meta_has(meta, c'M'):
        digest = mix(digest, <uint64_t>meta.mode)
    if meta_has(meta, c'D'):
        digest = mix(digest, meta.delta)
    if meta_has(meta, c'J'):
        digest = mix(digest, meta.initial)
    return digest


cdef uint64_t mix_value(uint64_t digest, const Request *request) noexcept nogil:
    digest = mix(mix(digest, request.nvalue), request.value_ended)
    digest = mix_bytes(digest, request.value, request.nvalue)
    return mix(digest, request.flags) if request.command != CMD_MS else digest


cdef uint64_t digest_of(const Request *request) noexcept nogil:
    """All that the request says, and nothing that it does not have."""
    cdef Command command = request.command
    cdef uint64_t digest = mix(<uint64_t>command + 1, request.swallow)
    cdef uint32_t watched = 0
    if command == CMD_HANG_UP:
        return digest
    digest = mix(digest, request.noreply)
    if command == CMD_REJECT or (command == CMD_FLUSH_ALL and request.reject != NULL):
        return mix_bytes(digest, request.reject, strlen(request.reject))
    if request_has_key(request):
        digest = mix_bytes(digest, request.key, request.nkey)
    if command <= CMD_GATS:  # whether a get is plain depends on what has arrived; what it says must not
        digest = mix_bytes(digest, request.key, request.nkey) if request.plain else mix_keys(digest, request)
    if request_stores(request):
        digest = mix_value(digest, request)
    if command in (CMD_GAT, CMD_GATS, CMD_TOUCH, CMD_FLUSH_ALL) or (request_stores(request) and command != CMD_MS):
        digest = mix(digest, <uint64_t>request.exptime)
    if command in (CMD_CAS, CMD_INCR, CMD_DECR, CMD_VERBOSITY):
        digest = mix(digest, request.number)
    if command in (CMD_METADUMP, CMD_MGDUMP):
        digest = mix(digest, request.classes)
    if command == CMD_MS or CMD_MG <= command <= CMD_MA:
        digest = mix_bytes(mix_meta(digest, &request.meta), request.args, request.nargs)
    if command == CMD_WATCH:
        watch_words(request.line, request.nline, &watched)
        digest = mix(digest, watched)
    return digest


cdef void note(Stream *stream, uint64_t digest) noexcept nogil:
    if stream.count == REQUESTS_MAX:
        abort()  # an input has fewer bytes
    stream.digest[stream.count] = digest
    stream.place[stream.count] = stream.at
    stream.count += 1


cdef void check_plain(const Request *request, char *block, size_t n) noexcept nogil:
    """What the short way reads, the long one has read in the same way."""
    cdef Request plain
    memset(&plain, 0x5A, sizeof(Request))
    if request_parse_plain(block, n, &plain) and (
        request.command != plain.command or request.nkey != plain.nkey or request.consumed != plain.consumed
        or request.noreply or request.swallow != 0 or request.key != plain.key
    ):
        abort()


cdef bint parse_next(Stream *stream) noexcept nogil:
    """Parse once what has arrived; whether it is worth trying again before more arrives."""
    cdef Request request
    cdef size_t n = stream.arrived - stream.at
    cdef char *block = <char *>malloc(n)
    cdef Parsed verdict
    cdef bint went_on = False
    memcpy(block, stream.data + stream.at, n)
    memset(&request, 0xA5, sizeof(Request))
    verdict = request_parse(block, n, stream.scanned, &request)
    if memcmp(block, stream.data + stream.at, n) != 0:
        abort()  # the parser wrote into the buffer
    stream.scanned = n if verdict == PARSED_INCOMPLETE else 0
    if verdict == PARSED:
        if request.consumed == 0 or request.consumed > n:
            abort()
        check_plain(&request, block, n)
        if not request_stores(&request) or request.value != NULL:
            stream.at += request.consumed
            stream.swallow = request.swallow
            stream.closed = request.command == CMD_HANG_UP
            note(stream, digest_of(&request))
            went_on = True
    elif verdict != PARSED_INCOMPLETE:
        stream.closed = True
        note(stream, 0)
    free(block)
    return went_on


cdef void arrive(Stream *stream, size_t n) noexcept nogil:
    """So many further bytes are there."""
    cdef uint64_t step
    stream.arrived += n
    while stream.at < stream.arrived and not stream.closed:
        step = min(stream.swallow, <uint64_t>(stream.arrived - stream.at))
        stream.swallow -= step
        stream.at += step
        if step == 0 and not parse_next(stream):
            break


cdef Stream whole
cdef Stream pieces


cdef int one_input(const uint8_t *data, size_t n) noexcept nogil:
    """The first byte says how to cut the others: 0 in single bytes, else at random from it."""
    cdef uint64_t seed
    cdef size_t left
    if n < 2 or n > REQUESTS_MAX:
        return 0
    memset(&whole, 0, sizeof(Stream))
    memset(&pieces, 0, sizeof(Stream))
    whole.data = data + 1
    pieces.data = data + 1
    seed = data[0]
    left = n - 1
    arrive(&whole, left)
    while left > 0:
        n = min(left, 1 + (seed >> 33) % (1 + (data[0] & 63)))
        arrive(&pieces, n)
        left -= n
        seed = seed * <uint64_t>6364136223846793005 + <uint64_t>1442695040888963407
    if whole.count != pieces.count or whole.at != pieces.at or whole.swallow != pieces.swallow:
        abort()
    if memcmp(whole.digest, pieces.digest, whole.count * sizeof(uint64_t)) != 0:
        abort()
    if memcmp(whole.place, pieces.place, whole.count * sizeof(size_t)) != 0:
        abort()
    return 0


#: Where the function is, for who has no Python.
ADDRESS = <uintptr_t>&one_input


def run(bytes data):
    """One input, from Python; ends the process if there is something wrong."""
    one_input(data, len(data))
