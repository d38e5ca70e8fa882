"""Who may use the server, and what a connection may say before it has told who it is.

memcached's handshake in the text protocol is a set command whose block is ``user password``; its key, flags and exptime
mean nothing. Knows no socket and no storage.

Credentials are compared in constant time: all entries, all bytes of each, whatever was shown and whatever is kept; a
password's length is not told either. A block of more than CREDENTIAL_MAX bytes is nobody's: it is refused by its
length, and skipped, so that a stranger costs little memory.
"""
from libc.stdint cimport uint32_t, uint64_t

from cachecore_ext.base.counters cimport CounterSet
from cachecore_ext.base.lock cimport Lock

cdef enum:
    USERS_MAX = 8
    CREDENTIAL_MAX = 256               # bytes of a user and a password with the blank between them
    CREDENTIAL_WORDS = CREDENTIAL_MAX / 8
    TOKEN_MAX = 16 * 1024              # bytes of a block after which it may try again

cdef struct Credential:
    # ``user password``, padded with zeros; an unused entry is all zeros, which nobody can show.
    uint64_t nuser
    uint64_t nbytes                    # may exceed what the words hold; such a one matches none
    uint64_t words[CREDENTIAL_WORDS]

cdef struct Users:
    Lock lock                          # guards all of it; taken by who authenticates, and by nobody else's request
    Credential credentials[USERS_MAX]

cdef enum Heard:
    AUTH_INCOMPLETE   # the line or its block has not ended yet
    AUTH_LINE_LONG    # the line is longer than may be
    AUTH_HANG_UP      # close without a word
    AUTH_ADMITTED     # these three: answer ``reply``; from here on it is a client like any other
    AUTH_REFUSED      # it may try again
    AUTH_FAILED       # the same, after a comparison
    AUTH_CLOSE        # answer ``reply``, then close

cdef struct Attempt:
    const char *reply                  # NUL-terminated, with its line end
    size_t consumed
    uint32_t swallow                   # bytes behind those, to be skipped
    size_t scanned                     # with AUTH_INCOMPLETE: bytes that are known to hold no LF

cdef void credential_set(Credential *credential, const char *user, size_t nuser, const char *password,
                         size_t npassword) noexcept nogil
cdef void users_replace(Users *users, const Credential *credentials) noexcept nogil
cdef Heard auth_try(Users *users, CounterSet *counters, const char *data, size_t n, size_t scanned,
                    Attempt *attempt) noexcept nogil
