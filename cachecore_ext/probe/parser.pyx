"""A window into the parser: bytes in, in whatever pieces, requests out."""
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from cachecore_ext.base.linux cimport (
    MAP_ANONYMOUS, MAP_FAILED, MAP_PRIVATE, PROT_READ, PROT_WRITE, mmap, munmap,
)
from cachecore_ext.protocol.request cimport (
    CMD_CAS, CMD_DECR, CMD_FLUSH_ALL, CMD_GAT, CMD_GATS, CMD_HANG_UP, CMD_INCR, CMD_MA, CMD_METADUMP, CMD_MG,
    CMD_MGDUMP, CMD_MS, CMD_REJECT, CMD_TOUCH, CMD_VERBOSITY, PARSED, PARSED_INCOMPLETE, Meta, Parsed, Request,
    meta_has, next_token, request_has_key, request_parse, request_stores,
)

cdef extern from "<sys/mman.h>" nogil:
    enum: PROT_NONE
    int mprotect(void *address, size_t length, int prot)

cdef enum:
    GUARD = 4096

COMMANDS = (
    "GET", "GETS", "GAT", "GATS", "SET", "ADD", "REPLACE", "APPEND", "PREPEND", "CAS", "MS", "DELETE", "INCR", "DECR",
    "TOUCH", "MG", "MD", "MA", "ME", "MN", "FLUSH_ALL", "VERSION", "VERBOSITY", "ADMIN", "WATCH", "DEBUGTIME",
    "METADUMP", "MGDUMP", "QUIT", "REJECT", "HANG_UP",
)  # in the order of the enum Command
assert len(COMMANDS) == CMD_HANG_UP + 1


cdef list keys_of(const Request *request):
    cdef const char *at = request.keys
    cdef const char *token = NULL
    cdef size_t n = 0
    found = []
    while next_token(&at, request.line + request.nline, &token, &n):
        found.append(token[:n])
    return found


cdef dict flags_of(const Request *request):
    """The meta flags that have a number, or M; and all that were given, in ``seen``."""
    cdef const Meta *meta = &request.meta
    values = {
        "T": meta.ttl, "N": meta.vivify, "R": meta.recache, "F": meta.flags, "C": meta.compare, "E": meta.explicit,
        "D": meta.delta, "J": meta.initial, "M": chr(<uint8_t>meta.mode),
    }
    seen = "".join([chr(letter) for letter in range(65, 123) if meta_has(meta, <char><int>letter)])
    return {"seen": seen} | {name: value for name, value in values.items() if name in seen}


cdef dict describe(const Request *request):
    """What a request says, without what it does not have."""
    cdef int command = request.command
    found = {"command": COMMANDS[command]}
    if command == CMD_HANG_UP:
        return found
    if request.noreply:
        found["noreply"] = True
    if command == CMD_REJECT:
        found["reject"] = <bytes>request.reject
        return found
    if command == CMD_FLUSH_ALL and request.reject != NULL:
        found["reject"] = <bytes>request.reject
    if request_has_key(request):
        found["key"] = request.key[:request.nkey]
    if command <= CMD_GATS:
        found["keys"] = [found["key"]] if request.plain else keys_of(request)
    if request_stores(request):
        found["size"] = request.nvalue
        if command != CMD_MS:
            found["flags"] = request.flags
        if request.value != NULL:
            found["value"] = request.value[:request.nvalue]
            found["ended"] = bool(request.value_ended)
    if command in (CMD_GAT, CMD_GATS, CMD_TOUCH, CMD_FLUSH_ALL) or (request_stores(request) and command != CMD_MS):
        found["exptime"] = request.exptime
    if command in (CMD_CAS, CMD_INCR, CMD_DECR, CMD_VERBOSITY):
        found["number"] = request.number
    if command in (CMD_METADUMP, CMD_MGDUMP):
        found["classes"] = {cls for cls in range(64) if (request.classes >> <uint64_t>cls) & 1}
    if command == CMD_MS or CMD_MG <= command <= CMD_MA:
        found["meta"] = flags_of(request)
        found["args"] = request.args[:request.nargs]
    return found


cdef class Parser:
    """One connection's stream. Behind the bytes comes a page that cannot be read: a look there is a crash."""

    cdef char *memory
    cdef size_t capacity
    cdef bytes pending
    cdef size_t scanned
    cdef uint64_t swallow
    cdef readonly bint closed

    def __cinit__(self, size_t capacity=1 << 16):
        self.capacity = (capacity + GUARD - 1) // GUARD * GUARD
        cdef void *memory = mmap(NULL, self.capacity + GUARD, PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        if memory == MAP_FAILED:
            raise MemoryError
        self.memory = <char *>memory
        self.pending = b""
        if mprotect(self.memory + self.capacity, GUARD, PROT_NONE) != 0:
            raise MemoryError

    def __dealloc__(self):
        if self.memory != NULL:
            munmap(self.memory, self.capacity + GUARD)

    cdef Parsed parse(self, bytes data, size_t scanned, Request *request) except *:
        """Parse at the end of the readable memory, on top of whatever ``request`` held."""
        cdef size_t n = len(data)
        if n > self.capacity:
            raise ValueError(f"more than {self.capacity} bytes")
        cdef char *at = self.memory + self.capacity - n
        memcpy(at, <const char *>data, n)
        verdict = request_parse(at, n, scanned, request)
        assert memcmp(at, <const char *>data, n) == 0, "the parser wrote into the buffer"
        return verdict

    cdef tuple parse_twice(self, bytes data, size_t scanned, Request *request):
        """Parse on top of two different former requests, of which nothing may be left."""
        memset(request, 0xA5, sizeof(Request))
        cdef Parsed first = self.parse(data, scanned, request)
        found = None if first != PARSED else describe(request)
        memset(request, 0, sizeof(Request))
        cdef Parsed second = self.parse(data, scanned, request)
        assert first == second and (first != PARSED or found == describe(request)), "something is left of before"
        return first, found

    def feed(self, bytes chunk):
        """The requests that are complete with these further bytes."""
        cdef Request request
        cdef size_t step
        found = []
        self.pending += chunk
        while self.pending and not self.closed:
            step = min(self.swallow, <uint64_t>len(self.pending))
            if step > 0:
                self.swallow -= step
                self.pending = self.pending[step:]
                continue
            verdict, described = self.parse_twice(self.pending, self.scanned, &request)
            if verdict == PARSED_INCOMPLETE:
                self.scanned = len(self.pending)
                break
            self.scanned = 0
            if verdict != PARSED:
                self.closed = True
                found.append({"command": "TOO_LONG"})
                break
            assert 0 < request.consumed <= <size_t>len(self.pending), "consumed nothing, or more than there is"
            if request_stores(&request) and request.value == NULL:
                break
            found.append(described)
            self.pending = self.pending[request.consumed:]
            self.swallow = request.swallow
            self.closed = request.command == CMD_HANG_UP
        return found

    def peek(self, bytes data):
        """What the parser makes of the beginning of ``data``: verdict, bytes consumed, bytes to swallow, request."""
        cdef Request request
        verdict, described = self.parse_twice(data, 0, &request)
        name = ("parsed", "incomplete", "too long")[verdict]
        return (name, request.consumed, request.swallow, described) if verdict == PARSED else (name, 0, 0, None)

    def repeat(self, bytes data, uint64_t times):
        """Parse all of a stream ``times`` times, without the GIL; how many requests those were."""
        cdef Request request
        cdef char *at = data
        cdef size_t n = len(data), left
        cdef uint64_t i, parsed = 0
        with nogil:
            for i in range(times):
                left = n
                while left > 0 and request_parse(at + (n - left), left, 0, &request) == PARSED:
                    left -= request.consumed
                    parsed += 1
        return parsed
