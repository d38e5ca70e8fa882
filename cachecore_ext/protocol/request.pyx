"""The parser: command lines of the text and meta protocols, as memcached 1.6.45 reads them."""
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memset

from cachecore_ext.base.bytes cimport word32, word_end
from cachecore_ext.base.counters cimport CLASSES
from cachecore_ext.base.eventlog cimport (
    WATCH_CONNEVENTS, WATCH_DELETIONS, WATCH_EVICTIONS, WATCH_FETCHERS, WATCH_MUTATIONS, WATCH_SYSEVENTS,
)
from cachecore_ext.base.numbers cimport parse_i32, parse_lenient_i64, parse_lenient_u64, parse_u32, parse_u64
from cachecore_ext.protocol.base64 cimport base64_decode

cdef enum:
    TOKENS_MAX = 23        # of a classic line; the rest of it is ignored
    META_TOKENS_MAX = 20
    OPAQUE_MAX = 32        # with its letter
    SHORTEST_LINE = 4      # with its end; anything shorter is malformed rather than unknown
    NUMBERS_MAX = 32       # three numbers of SHORT_DIGITS, each behind a blank, and the line's end
    SHORT_DIGITS = 9       # of a number that every field has room for
    UINT32_LIMIT = 0xFFFFFFFF

cdef struct Token:
    const char *p
    size_t n

cdef struct Tokens:
    uint32_t count
    Token token[TOKENS_MAX]

cdef const char *ERROR = b"ERROR\r\n"
cdef const char *BAD_FORMAT = b"CLIENT_ERROR bad command line format\r\n"
cdef const char *BAD_EXPTIME = b"CLIENT_ERROR invalid exptime argument\r\n"
cdef const char *BAD_DELTA = b"CLIENT_ERROR invalid numeric delta argument\r\n"
cdef const char *TOO_MANY_FLAGS = b"CLIENT_ERROR options flags are too long\r\n"
cdef const char *DUPLICATE_FLAG = b"CLIENT_ERROR duplicate flag\r\n"
cdef const char *INVALID_FLAG = b"CLIENT_ERROR invalid flag\r\n"
cdef const char *MA_FLAG = b"CLIENT_ERROR invalid or duplicate flag\r\n"
cdef const char *BAD_TOKEN = b"CLIENT_ERROR bad token in command line format\r\n"
cdef const char *BAD_INITIAL = b"CLIENT_ERROR invalid numeric initial value\r\n"
cdef const char *BAD_META_DELTA = b"CLIENT_ERROR invalid numeric delta value\r\n"
cdef const char *BAD_KEY = b"CLIENT_ERROR error decoding key\r\n"
cdef const char *LONG_OPAQUE = b"CLIENT_ERROR opaque token too long\r\n"
cdef const char *BAD_MS_MODE = b"CLIENT_ERROR invalid mode for ms M token\r\n"
cdef const char *BAD_MA_MODE = b"CLIENT_ERROR invalid mode for ma M token\r\n"


cdef void tokenize(const char *line, size_t n, Tokens *tokens) noexcept nogil:
    cdef const char *at = line
    tokens.count = 0
    while tokens.count < TOKENS_MAX and next_token(
        &at, line + n, &tokens.token[tokens.count].p, &tokens.token[tokens.count].n
    ):
        tokens.count += 1


cdef inline bint token_is(const Token *token, const char *text, size_t n) noexcept nogil:
    return token.n == n and memcmp(token.p, text, n) == 0


cdef bint ends_in_noreply(const Tokens *tokens) noexcept nogil:
    return tokens.count > 1 and token_is(&tokens.token[tokens.count - 1], b"noreply", 7)


cdef void take_words(Request *request, Tokens *tokens) noexcept nogil:
    """The words of a classic line, the last of which may be noreply."""
    tokenize(request.line, request.nline, tokens)
    request.noreply = ends_in_noreply(tokens)


cdef void reject(Request *request, const char *reply) noexcept nogil:
    request.command = CMD_REJECT
    request.reject = reply


cdef bint take_key(Request *request, const Token *token) noexcept nogil:
    request.key = token.p
    request.nkey = <uint32_t>token.n
    return token.n <= KEY_MAX


# ---- get, gets, gat, gats

cdef bint check_keys(const char *at, const char *end, Request *request) noexcept nogil:
    """Whether there are keys and none is too long. The first one becomes the request's.

    Of a line that was checked before it is the only one looked at: there may be half a million for every turn.
    """
    cdef Token key
    cdef const char *space
    while at < end and at[0] == c' ':
        at += 1
    key.p = at
    space = <const char *>memchr(at, c' ', end - at)
    at = space if space != NULL else end
    key.n = at - key.p
    if key.n == 0 or not take_key(request, &key):
        return False
    request.keys = <char *>key.p
    while at < end and not request.checked:
        if next_key(request.line, &at, end, &key.p, &key.n) and key.n > KEY_MAX:
            return False
    return True


cdef void reject_get(Request *request, const char *reply) noexcept nogil:
    """A rejected get. Its last word may be noreply, which silences the error although a get itself ignores it."""
    cdef Tokens tokens
    tokenize(request.line, request.nline, &tokens)
    request.noreply = (request.command == CMD_GET or request.command == CMD_GETS) and ends_in_noreply(&tokens)
    reject(request, reply)


cdef void parse_get(Request *request) noexcept nogil:
    if not check_keys(request.args, request.line + request.nline, request):
        reject_get(request, BAD_FORMAT)


cdef void parse_gat(Request *request) noexcept nogil:
    cdef const char *at = request.args
    cdef const char *end = request.line + request.nline
    cdef const char *keys
    cdef Token exptime, key
    cdef int32_t seconds = 0
    if not next_token(&at, end, &exptime.p, &exptime.n):
        reject(request, BAD_FORMAT)
        return
    keys = at
    if not next_token(&at, end, &key.p, &key.n):
        reject(request, BAD_FORMAT)
        return
    if not parse_i32(exptime.p, exptime.n, &seconds):
        reject(request, BAD_EXPTIME)
        return
    request.exptime = seconds
    if not check_keys(keys, end, request):
        reject(request, BAD_FORMAT)


# ---- the classic commands that store

cdef void parse_storage(Request *request) noexcept nogil:
    """set, add, replace, append, prepend, cas: ``key flags exptime bytes [cas] [noreply]``.

    Without a readable length nothing can be skipped: what follows is taken for commands, as memcached does.
    """
    cdef Tokens tokens
    cdef int32_t nbytes = 0
    cdef uint64_t flags = 0
    tokenize(request.line, request.nline, &tokens)
    if (
        tokens.count < 5
        or not parse_i32(tokens.token[4].p, tokens.token[4].n, &nbytes)
        or nbytes < 0
        or nbytes > VALUE_MAX
    ):
        reject(request, BAD_FORMAT)
        return
    request.noreply = ends_in_noreply(&tokens)
    request.nvalue = nbytes
    request.swallow = <uint64_t>nbytes + 2
    if (
        not take_key(request, &tokens.token[1])
        or not parse_lenient_u64(tokens.token[2].p, tokens.token[2].n, &flags)
        or flags > UINT32_LIMIT
        or not parse_lenient_i64(tokens.token[3].p, tokens.token[3].n, &request.exptime)
    ):
        reject(request, BAD_FORMAT)
        return
    request.flags = <uint32_t>flags
    request.exptime = <int32_t>request.exptime  # memcached's truncation, which clients can see
    if request.command == CMD_CAS and (
        tokens.count < 6 or not parse_u64(tokens.token[5].p, tokens.token[5].n, &request.number)
    ):
        reject(request, BAD_FORMAT)


# ---- the other classic commands

cdef void parse_delete(Request *request) noexcept nogil:
    cdef Tokens tokens
    take_words(request, &tokens)
    if tokens.count < 2 or not take_key(request, &tokens.token[1]):
        reject(request, BAD_FORMAT)


cdef void parse_delta(Request *request) noexcept nogil:
    cdef Tokens tokens
    take_words(request, &tokens)
    if tokens.count < 3 or not take_key(request, &tokens.token[1]):
        reject(request, BAD_FORMAT)
    elif not parse_u64(tokens.token[2].p, tokens.token[2].n, &request.number):
        reject(request, BAD_DELTA)


cdef void parse_touch(Request *request) noexcept nogil:
    cdef Tokens tokens
    cdef int32_t seconds = 0
    take_words(request, &tokens)
    if tokens.count < 3 or not take_key(request, &tokens.token[1]):
        reject(request, BAD_FORMAT)
    elif not parse_i32(tokens.token[2].p, tokens.token[2].n, &seconds):
        reject(request, BAD_EXPTIME)
    request.exptime = seconds


cdef void parse_flush_all(Request *request) noexcept nogil:
    """``flush_all [delay]``. It counts, and may be forbidden, also with a wrong delay: it stays itself."""
    cdef Tokens tokens
    cdef int32_t delay = 0
    take_words(request, &tokens)
    request.reject = NULL
    if tokens.count > 1 + <uint32_t>request.noreply and not parse_i32(
        tokens.token[1].p, tokens.token[1].n, &delay
    ):
        request.reject = BAD_EXPTIME
    request.exptime = delay


cdef void parse_verbosity(Request *request) noexcept nogil:
    cdef Tokens tokens
    cdef uint32_t level = 0
    take_words(request, &tokens)
    if tokens.count < 2 or not parse_u32(tokens.token[1].p, tokens.token[1].n, &level):
        reject(request, BAD_FORMAT)
    request.number = level


cdef uint64_t take_classes(const Token *token) noexcept nogil:
    """Slab classes: ``all``, ``hash`` (all, in memcached by another way), or numbers with commas between them."""
    cdef const char *at = token.p
    cdef const char *end = token.p + token.n
    cdef const char *comma
    cdef uint64_t classes = 0
    cdef uint32_t cls = 0
    if token_is(token, b"all", 3) or token_is(token, b"hash", 4):
        return ~<uint64_t>BAD_CLASS
    while at < end:
        comma = <const char *>memchr(at, c',', end - at)
        if comma == NULL:
            comma = end
        if comma > at:
            if not parse_u32(at, comma - at, &cls) or not 1 <= cls < CLASSES:
                return BAD_CLASS
            classes |= <uint64_t>1 << cls
        at = comma + 1
    return classes


cdef void parse_lru_crawler(Request *request) noexcept nogil:
    """``metadump`` and ``mgdump``, which list the keys of some classes; its other commands are Python's."""
    cdef Tokens tokens
    tokenize(request.line, request.nline, &tokens)
    if tokens.count > 1 and token_is(&tokens.token[1], b"metadump", 8):
        request.command = CMD_METADUMP
    elif tokens.count > 1 and token_is(&tokens.token[1], b"mgdump", 6):
        request.command = CMD_MGDUMP
    else:
        request.command = CMD_ADMIN
        return
    if tokens.count == 3:
        request.classes = take_classes(&tokens.token[2])
    else:
        reject(request, ERROR)


cdef int watch_bit(const Token *word) noexcept nogil:
    """What a word of ``watch`` asks for, as a bit of Watched; 0 for what never happens here; -1 for no such word."""
    if token_is(word, b"fetchers", 8):
        return WATCH_FETCHERS
    if token_is(word, b"mutations", 9):
        return WATCH_MUTATIONS
    if token_is(word, b"evictions", 9):
        return WATCH_EVICTIONS
    if token_is(word, b"deletions", 9):
        return WATCH_DELETIONS
    if token_is(word, b"connevents", 10):
        return WATCH_CONNEVENTS
    if token_is(word, b"sysevents", 9):
        return WATCH_SYSEVENTS
    if (
        token_is(word, b"rawcmds", 7)
        or token_is(word, b"proxyreqs", 9)
        or token_is(word, b"proxyevents", 11)
        or token_is(word, b"proxyuser", 9)
    ):
        return 0
    return -1


cdef bint watch_words(const char *line, size_t nline, uint32_t *watched) noexcept nogil:
    """The bits of Watched that a line of ``watch`` asks for. False when there is a word that it does not know."""
    cdef Tokens tokens
    cdef uint32_t i
    cdef int bit
    tokenize(line, nline, &tokens)
    watched[0] = WATCH_FETCHERS if tokens.count == 1 else 0
    for i in range(1, tokens.count):
        bit = watch_bit(&tokens.token[i])
        if bit < 0:
            return False
        watched[0] |= <uint32_t>bit
    return True


cdef void parse_watch(Request *request) noexcept nogil:
    cdef uint32_t watched = 0
    request.known = watch_words(request.line, request.nline, &watched)


cdef void parse_unknown(Request *request) noexcept nogil:
    """No command of ours. A browser, or a request forged through one, is hung up on before it does anything."""
    cdef Tokens tokens
    cdef Token *last
    take_words(request, &tokens)
    reject(request, ERROR)
    if tokens.count > 0:
        last = &tokens.token[tokens.count - 1]
        if last.n >= 5 and memcmp(last.p, b"HTTP/", 5) == 0:
            request.command = CMD_HANG_UP


# ---- meta commands

cdef const char *take_number_flag(Meta *meta, char letter, const char *p, size_t n) noexcept nogil:
    """Read the argument of a flag that has a numeric one. The error, or NULL; other flags are none of its business."""
    if letter >= c'a':
        return NULL
    if letter == c'T':
        return NULL if parse_i32(p, n, &meta.ttl) else BAD_TOKEN
    if letter == c'N':
        return NULL if parse_i32(p, n, &meta.vivify) else BAD_TOKEN
    if letter == c'R':
        return NULL if parse_i32(p, n, &meta.recache) else BAD_TOKEN
    if letter == c'C':
        return NULL if parse_u64(p, n, &meta.compare) else BAD_TOKEN
    if letter == c'E':
        return NULL if parse_u64(p, n, &meta.explicit) else BAD_TOKEN
    if letter == c'F':
        return NULL if parse_u32(p, n, &meta.flags) else BAD_FORMAT
    if letter == c'D':
        return NULL if parse_u64(p, n, &meta.delta) else BAD_META_DELTA
    if letter == c'J':
        return NULL if parse_u64(p, n, &meta.initial) else BAD_INITIAL
    return NULL


cdef bint is_meta_letter(char letter) noexcept nogil:
    return letter in b"bcfhklqstuvxICDEFJMNORTPL"


cdef const char *decode_key(Request *request) noexcept nogil:
    cdef size_t length = base64_decode(request.key, request.nkey, request.decoded_key, DECODED_KEY_MAX)
    if length == 0:
        return BAD_KEY
    request.key = request.decoded_key
    request.nkey = <uint32_t>length
    return NULL


cdef uint32_t count_words(const char *at, const char *end) noexcept nogil:
    cdef uint32_t n = 0
    cdef Token word
    while next_token(&at, end, &word.p, &word.n):
        n += 1
    return n


cdef const char *take_flags(Request *request, uint32_t tokens_before) noexcept nogil:
    """Read the flags in request.args. The error, or NULL.

    As in memcached a bad argument does not end the reading, and the last one's error is told; an unknown or repeated
    flag ends it. ``tokens_before``: words of the line in front of the flags.
    """
    cdef Meta *meta = &request.meta
    cdef const char *at = request.args
    cdef const char *end = request.args + request.nargs
    cdef const char *error = NULL
    cdef const char *found
    cdef bint long_opaque = False
    cdef Token token
    cdef uint64_t bit
    cdef char letter
    if tokens_before + (request.nargs + 1) / 2 > META_TOKENS_MAX and tokens_before + count_words(
        at, end
    ) > META_TOKENS_MAX:
        return TOO_MANY_FLAGS
    while next_token(&at, end, &token.p, &token.n):
        letter = token.p[0]
        if letter < c'A' or letter > c'z':
            return INVALID_FLAG if c'0' <= letter <= c'9' else BAD_FORMAT
        bit = <uint64_t>1 << (letter - c'A')
        if meta.seen & bit:
            return DUPLICATE_FLAG
        if not is_meta_letter(letter):
            return INVALID_FLAG
        meta.seen |= bit
        found = take_number_flag(meta, letter, token.p + 1, token.n - 1)
        if letter == c'b':
            found = decode_key(request)
        elif letter == c'M':
            meta.mode = token.p[1] if token.n > 1 else c'?'
        elif letter == c'O' and token.n > OPAQUE_MAX:
            long_opaque = True
        if found != NULL:
            error = found
    return error if error != NULL or not long_opaque else LONG_OPAQUE


cdef void meta_begin(Request *request, const char *at) noexcept nogil:
    """The flags begin at ``at``; nothing is known of them yet."""
    request.args = at
    request.nargs = request.line + request.nline - at
    memset(&request.meta, 0, sizeof(Meta))
    request.meta.delta = 1


cdef void parse_meta(Request *request) noexcept nogil:
    """mg, md, ma: ``key flag*``."""
    cdef const char *at = request.args
    cdef const char *error
    cdef Token key
    if not next_key(request.line, &at, request.line + request.nline, &key.p, &key.n):
        reject(request, BAD_FORMAT)
        return
    meta_begin(request, at)
    error = take_flags(request, 2) if take_key(request, &key) else BAD_FORMAT
    if request.command == CMD_MA:
        if error != NULL and error != LONG_OPAQUE:
            error = MA_FLAG
        elif error == NULL and request.meta.mode != 0 and memchr(b"I+D-", request.meta.mode, 4) == NULL:
            error = BAD_MA_MODE
    if error != NULL:
        reject(request, error)


cdef void parse_ms(Request *request) noexcept nogil:
    """``ms key datalen flag*``."""
    cdef const char *at = request.args
    cdef const char *end = request.line + request.nline
    cdef const char *error
    cdef Token key, length
    cdef int32_t nbytes = 0
    if (
        not next_key(request.line, &at, end, &key.p, &key.n)
        or not next_token(&at, end, &length.p, &length.n)
        or not parse_i32(length.p, length.n, &nbytes)
        or nbytes < 0
        or nbytes > VALUE_MAX
    ):
        reject(request, BAD_FORMAT)
        return
    request.nvalue = nbytes
    request.swallow = <uint64_t>nbytes + 2
    meta_begin(request, at)
    error = take_flags(request, 3) if take_key(request, &key) else BAD_FORMAT
    if error == NULL and request.meta.mode != 0 and memchr(b"SEAPR", request.meta.mode, 5) == NULL:
        error = BAD_MS_MODE
    if error != NULL:
        reject(request, error)


cdef void parse_me(Request *request) noexcept nogil:
    """``me key``, and a word ``b`` anywhere behind it if the key is in base64."""
    cdef const char *at = request.args
    cdef const char *end = request.line + request.nline
    cdef Token key, word
    if not next_token(&at, end, &key.p, &key.n) or not take_key(request, &key):
        reject(request, BAD_FORMAT)
        return
    while next_token(&at, end, &word.p, &word.n):
        if token_is(&word, b"b", 1):
            if decode_key(request) != NULL:
                reject(request, BAD_FORMAT)
            return


# ---- lines

cdef Command command_of(const char *word, size_t n) noexcept nogil:
    """The command of a word, CMD_REJECT if there is none. Words are case-sensitive and complete."""
    if n == 3:
        if memcmp(word, b"get", 3) == 0:
            return CMD_GET
        if memcmp(word, b"set", 3) == 0:
            return CMD_SET
        if memcmp(word, b"add", 3) == 0:
            return CMD_ADD
        if memcmp(word, b"cas", 3) == 0:
            return CMD_CAS
        if memcmp(word, b"gat", 3) == 0:
            return CMD_GAT
        return CMD_ADMIN if memcmp(word, b"lru", 3) == 0 else CMD_REJECT
    if n == 2:
        return meta_command_of(word)
    if n == 4:
        if memcmp(word, b"gets", 4) == 0:
            return CMD_GETS
        if memcmp(word, b"incr", 4) == 0:
            return CMD_INCR
        if memcmp(word, b"decr", 4) == 0:
            return CMD_DECR
        if memcmp(word, b"gats", 4) == 0:
            return CMD_GATS
        return CMD_QUIT if memcmp(word, b"quit", 4) == 0 else CMD_REJECT
    return long_command_of(word, n)


cdef Command meta_command_of(const char *word) noexcept nogil:
    if word[0] != c'm':
        return CMD_REJECT
    if word[1] == c'g':
        return CMD_MG
    if word[1] == c's':
        return CMD_MS
    if word[1] == c'd':
        return CMD_MD
    if word[1] == c'a':
        return CMD_MA
    if word[1] == c'n':
        return CMD_MN
    return CMD_ME if word[1] == c'e' else CMD_REJECT


cdef Command long_command_of(const char *word, size_t n) noexcept nogil:
    if n == 5:
        if memcmp(word, b"touch", 5) == 0:
            return CMD_TOUCH
        if memcmp(word, b"stats", 5) == 0 or memcmp(word, b"slabs", 5) == 0:
            return CMD_ADMIN
        return CMD_WATCH if memcmp(word, b"watch", 5) == 0 else CMD_REJECT
    if n == 6:
        if memcmp(word, b"delete", 6) == 0:
            return CMD_DELETE
        return CMD_APPEND if memcmp(word, b"append", 6) == 0 else CMD_REJECT
    if n == 7:
        if memcmp(word, b"replace", 7) == 0:
            return CMD_REPLACE
        if memcmp(word, b"prepend", 7) == 0:
            return CMD_PREPEND
        return CMD_VERSION if memcmp(word, b"version", 7) == 0 else CMD_REJECT
    if n == 9:
        if memcmp(word, b"flush_all", 9) == 0:
            return CMD_FLUSH_ALL
        if memcmp(word, b"verbosity", 9) == 0:
            return CMD_VERBOSITY
        return CMD_DEBUGTIME if memcmp(word, b"debugtime", 9) == 0 else CMD_REJECT
    if n == 8:
        return CMD_ADMIN if memcmp(word, b"shutdown", 8) == 0 else CMD_REJECT
    if n == 11:
        return CMD_METADUMP if memcmp(word, b"lru_crawler", 11) == 0 else CMD_REJECT
    if n == 14:
        return CMD_ADMIN if memcmp(word, b"cache_memlimit", 14) == 0 else CMD_REJECT
    return CMD_REJECT


cdef void parse_line(Request *request) noexcept nogil:
    """Read a complete line: the command word decides how."""
    cdef size_t n = 0
    while n < request.nline and request.line[n] != c' ':
        n += 1
    request.args = request.line + n
    request.nargs = request.nline - n
    request.command = command_of(request.line, n)
    if request.command <= CMD_GETS:
        parse_get(request)
    elif request.command <= CMD_GATS:
        parse_gat(request)
    elif request.command <= CMD_CAS:
        parse_storage(request)
    elif request.command == CMD_MS:
        parse_ms(request)
    elif request.command <= CMD_TOUCH:
        parse_short(request)
    elif request.command <= CMD_MA:
        parse_meta(request)
    elif request.command == CMD_ME:
        parse_me(request)
    elif request.command == CMD_FLUSH_ALL:
        parse_flush_all(request)
    elif request.command == CMD_VERBOSITY:
        parse_verbosity(request)
    elif request.command == CMD_METADUMP:
        parse_lru_crawler(request)
    elif request.command == CMD_WATCH:
        parse_watch(request)
    elif request.command == CMD_REJECT:
        parse_unknown(request)


cdef void parse_short(Request *request) noexcept nogil:
    if request.command == CMD_DELETE:
        parse_delete(request)
    elif request.command == CMD_TOUCH:
        parse_touch(request)
    else:
        parse_delta(request)


cdef bint is_get_line(const char *data) noexcept nogil:
    """Whether a line of LINE_MAX bytes or more may be longer still. All four words fit in what is there."""
    return (
        memcmp(data, b"get ", 4) == 0
        or memcmp(data, b"gets ", 5) == 0
        or memcmp(data, b"gat ", 4) == 0
        or memcmp(data, b"gats ", 5) == 0
    )


cdef const char *find_line_end(const char *data, size_t n, size_t scanned, Parsed *verdict) noexcept nogil:
    """Where the line's LF is, or NULL and why. The limits hold for a line with its LF as for one without."""
    cdef const char *end = NULL
    cdef size_t limit = LINE_MAX if n < LINE_MAX or not is_get_line(data) else GET_LINE_MAX
    cdef size_t within = min(n, limit)
    if scanned < within:
        end = <const char *>memchr(data + scanned, c'\n', within - scanned)
    verdict[0] = PARSED if end != NULL else PARSED_INCOMPLETE if n < limit else PARSED_TOO_LONG
    return end


# ---- the line that most clients store by

cdef inline bint take_short_number(const char **at, uint32_t *value) noexcept nogil:
    """A blank and then up to SHORT_DIGITS digits. There are as many bytes to look at, and one more."""
    cdef const char *p = at[0] + 2
    cdef uint32_t total = <uint32_t>(<unsigned char>at[0][1]) - c'0', digit = <uint32_t>(<unsigned char>p[0]) - c'0'
    if at[0][0] != c' ' or total > 9:
        return False
    while digit <= 9 and p <= at[0] + SHORT_DIGITS:
        total = total * 10 + digit
        p += 1
        digit = <uint32_t>(<unsigned char>p[0]) - c'0'
    at[0] = p
    value[0] = total
    return True


cdef inline void begin(Request *request, char *data) noexcept nogil:
    """Nothing is known yet but where the request begins."""
    request.line = data
    request.noreply = False
    request.plain = False
    request.swallow = 0
    request.value = NULL
    request.nkey = 0
    request.exptime = 0
    request.number = 0


cdef bint parse_set(char *data, size_t n, Request *request) noexcept nogil:
    """``set key flags exptime bytes``, written as clients write it, with all of the line and some of what follows.

    False for anything else, wrong or right: that is parse_any's, which reads this line in the same way.
    """
    cdef const char *key = data + 4
    cdef const char *at
    cdef uint32_t nkey, exptime = 0
    if n < 4 + NUMBERS_MAX or word32(data) != word32(b"set "):
        return False
    at = word_end(key, data + min(n - NUMBERS_MAX, <size_t>(4 + KEY_MAX + 1)), data)
    nkey = <uint32_t>(at - key)
    if nkey == 0 or nkey > KEY_MAX:
        return False
    begin(request, data)
    if not (
        take_short_number(&at, &request.flags)
        and take_short_number(&at, &exptime)
        and take_short_number(&at, &request.nvalue)
        and at[0] == c'\r' and at[1] == c'\n'
    ):
        return False
    request.command = CMD_SET
    request.key = key
    request.nkey = nkey
    request.nline = at - data
    request.consumed = request.nline + 2
    request.exptime = exptime
    request.swallow = <uint64_t>request.nvalue + 2
    return True


cdef Parsed parse_any(char *data, size_t n, size_t scanned, bint checked, Request *request) noexcept nogil:
    cdef Parsed verdict = PARSED
    cdef const char *end = find_line_end(data, n, scanned, &verdict)
    if end == NULL:
        return verdict
    begin(request, data)
    request.checked = checked
    request.consumed = end - data + 1
    request.nline = request.consumed - 1
    if request.nline > 0 and data[request.nline - 1] == c'\r':
        request.nline -= 1
    if request.consumed < SHORTEST_LINE:
        reject(request, BAD_FORMAT)
    else:
        parse_line(request)
    return PARSED


cdef Parsed request_parse(char *data, size_t n, size_t scanned, Request *request) noexcept nogil:
    """Parse the request at the beginning of ``data``, of which ``scanned`` bytes are known to hold no LF.

    PARSED: ``consumed`` bytes are the request's. If it stores, ``value`` is NULL while its block is incomplete, and
    then only the line counts as consumed.
    """
    cdef Parsed verdict
    if scanned == 0 and request_parse_plain(data, n, request):
        return PARSED
    if scanned > 0 or not parse_set(data, n, request):
        verdict = parse_any(data, n, scanned, False, request)
        if verdict != PARSED:
            return verdict
    if request_stores(request) and n - request.consumed >= request.swallow:
        request.value = data + request.consumed
        request.value_ended = request.value[request.nvalue] == c'\r' and request.value[request.nvalue + 1] == c'\n'
        request.consumed += request.swallow
        request.swallow = 0
    return PARSED


cdef Parsed request_resume(char *data, size_t n, Request *request) noexcept nogil:
    """Parse what is left, at the beginning of ``data``, of a get line that was parsed before: PARSED."""
    return parse_any(data, n, 0, True, request)
