"""The handshake of a connection that has to say who it is, with memcached 1.6.45's replies."""
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memset

from cachecore_ext.base.counters cimport AUTH_CMDS, AUTH_ERRORS, count
from cachecore_ext.base.lock cimport lock_acquire, lock_release
from cachecore_ext.base.numbers cimport parse_u32
from cachecore_ext.protocol.request cimport LINE_MAX, next_token

cdef enum:
    WORD = 3           # that a line has to begin with, however its word goes on
    SHORTEST_LINE = 6  # bytes before the LF; who says less is hung up on
    LENGTH_TOKEN = 4   # the block's length is the fifth word


cdef void credential_set(Credential *credential, const char *user, size_t nuser, const char *password,
                         size_t npassword) noexcept nogil:
    """Join a user and a password; what does not fit counts by its length only."""
    cdef char *bytes = <char *>credential.words
    cdef size_t fits = min(nuser, <size_t>CREDENTIAL_MAX)
    memset(credential, 0, sizeof(Credential))
    credential.nuser = nuser
    credential.nbytes = nuser + 1 + npassword
    memcpy(bytes, user, fits)
    if fits < CREDENTIAL_MAX:
        bytes[fits] = c' '
        memcpy(bytes + fits + 1, password, min(npassword, CREDENTIAL_MAX - 1 - fits))


cdef void users_replace(Users *users, const Credential *credentials) noexcept nogil:
    """Exchange all USERS_MAX entries. For any thread; who is authenticated already stays so."""
    lock_acquire(&users.lock)
    memcpy(users.credentials, credentials, sizeof(users.credentials))
    lock_release(&users.lock)


cdef bint is_known(Users *users, const Credential *shown) noexcept nogil:
    """Whether one of the entries is what was shown. Its time depends on neither."""
    cdef uint64_t difference, known = 0
    cdef const Credential *kept
    cdef int i, word
    lock_acquire(&users.lock)
    for i in range(USERS_MAX):
        kept = &users.credentials[i]
        difference = (kept.nuser ^ shown.nuser) | (kept.nbytes ^ shown.nbytes)
        for word in range(CREDENTIAL_WORDS):
            difference |= kept.words[word] ^ shown.words[word]
        known |= difference == 0
    lock_release(&users.lock)
    return known != 0


cdef bint block_length(const char *line, const char *end, uint32_t *length) noexcept nogil:
    """The length that a line announces. False when it is no handshake."""
    cdef const char *at = line
    cdef const char *token = NULL
    cdef size_t n = 0
    cdef int i
    if memcmp(line, b"set", WORD) != 0:
        return False
    for i in range(LENGTH_TOKEN + 1):
        if not next_token(&at, end, &token, &n):
            return False
    return parse_u32(token, n, length)


cdef Heard refuse_long(CounterSet *counters, uint32_t length, Attempt *attempt) noexcept nogil:
    """A block that is nobody's name and password, whatever it says."""
    if length > TOKEN_MAX:
        attempt.reply = b"CLIENT_ERROR auth token too long\r\n"
        return AUTH_CLOSE
    count(counters, AUTH_CMDS)
    count(counters, AUTH_ERRORS)
    attempt.swallow = length + 2
    attempt.reply = b"CLIENT_ERROR authentication failure\r\n"
    return AUTH_FAILED


cdef Heard take_block(Users *users, CounterSet *counters, const char *block, size_t n, Attempt *attempt) noexcept nogil:
    """A complete block of ``n`` bytes and a line end."""
    cdef const char *blank = <const char *>memchr(block, c' ', n)
    cdef Credential shown
    if block[n] != c'\r' or block[n + 1] != c'\n':
        attempt.reply = b"CLIENT_ERROR bad command line termination\r\n"
        return AUTH_REFUSED
    if blank == NULL or blank == block or blank + 1 == block + n:
        attempt.reply = b"CLIENT_ERROR bad authentication token format\r\n"
        return AUTH_REFUSED
    credential_set(&shown, block, blank - block, blank + 1, block + n - blank - 1)
    count(counters, AUTH_CMDS)
    if is_known(users, &shown):
        attempt.reply = b"STORED\r\n"
        return AUTH_ADMITTED
    count(counters, AUTH_ERRORS)
    attempt.reply = b"CLIENT_ERROR authentication failure\r\n"
    return AUTH_FAILED


cdef Heard auth_try(Users *users, CounterSet *counters, const char *data, size_t n, size_t scanned,
                    Attempt *attempt) noexcept nogil:
    """Read what a stranger says first in ``data``, of which ``scanned`` bytes are known to hold no LF."""
    cdef size_t within = min(n, <size_t>LINE_MAX)
    cdef const char *end = NULL
    cdef uint32_t length = 0
    if scanned < within:
        end = <const char *>memchr(data + scanned, c'\n', within - scanned)
    attempt.scanned = n
    attempt.swallow = 0
    if end == NULL:
        return AUTH_INCOMPLETE if n < LINE_MAX else AUTH_LINE_LONG
    if end - data < SHORTEST_LINE:
        return AUTH_HANG_UP
    attempt.scanned = 0
    attempt.consumed = end + 1 - data
    if not block_length(data, end - ((end - 1)[0] == c'\r'), &length):
        attempt.reply = b"CLIENT_ERROR unauthenticated\r\n"
        return AUTH_REFUSED
    if length > CREDENTIAL_MAX:
        return refuse_long(counters, length, attempt)
    if n - attempt.consumed < <size_t>length + 2:
        return AUTH_INCOMPLETE
    attempt.consumed += <size_t>length + 2
    return take_block(users, counters, end + 1, length, attempt)
