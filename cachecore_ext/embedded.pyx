"""The cache inside this process: every operation on one key, and a walk over all of them."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.number cimport PyNumber_Index
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.math cimport ceil, isnan
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset

from cachecore_ext.base.bytes cimport copy_bytes, word_end
from cachecore_ext.base.clock cimport clock_now
from cachecore_ext.base.compiler cimport unlikely
from cachecore_ext.base.counters cimport (
    CLASS_DECR_HITS, CLASS_DELETE_HITS, CLASS_INCR_HITS, CLASS_TOUCH_HITS, CMD_FLUSH, DECR_MISSES, DELETE_MISSES,
    GET_MISSES, INCR_MISSES, TOUCH_MISSES, CounterSet, count, count_class,
)
from cachecore_ext.base.eventlog cimport (
    WATCH_DELETIONS, WATCH_MUTATIONS, WATCH_PREFIXES, EventHub, EventLog, event_deleted,
    event_item_store, hub_watched,
)
from cachecore_ext.base.lock cimport lock_acquire, lock_release, lock_try
from cachecore_ext.storage.item cimport (
    ITEM_LARGE, LARGE_MIN, Item, item_cas, item_meta, item_nbytes, item_set_exptime, meta_flags, meta_nbytes,
    meta_value,
)
from cachecore_ext.storage.lru cimport SEGMENTS, LruClass, lru_look
from cachecore_ext.storage.store cimport (
    NO_MEMORY, NON_NUMERIC, NOT_FOUND, PUT_ADD, PUT_REPLACE, PUT_SET, STORED, STORE_BY_CAS, TOO_LARGE, Context,
    Put, Store, StoreStatus, store_class, store_class_for, store_count_hit,
    store_delta_locked, store_fetched_locked, store_find_locked, store_flush, store_hash, store_hold_locked,
    store_lock, store_look_up_locked, store_put, store_release, store_unlink_locked, store_unlock, value_copy,
)
from cachecore_ext.storage.survey cimport Note, Notes, survey, survey_sweep

cdef enum:
    KEY_MAX = 250              # bytes: memcached's
    # Values of so many bytes are copied without the GIL. Giving it away costs little, but who takes it may keep it for
    # some milliseconds; a smaller value is copied in less time than the others would gain.
    GIL_KEPT = 256 * 1024
    SWEPT = 16384              # buckets that clear goes through before it looks whether the cache is still there
    NOTES = 128                # keys of a walk's batch, at most
    NEVER = -1                 # in place of a TTL's seconds
    TTL_MAX = 0x7FFFFFFF       # seconds; who asks for more wants no end
    LONG_EXPIRED = 1           # the tick of what has ended when it is stored
    SERIALIZED = 1             # the client flags of a value that the serializer wrote

class _DefaultTTL:
    """In place of a TTL that was not given."""

    def __repr__(self):
        return "default_ttl"  # as help shows it


cdef object OMITTED = _DefaultTTL()


# ---- single operations on the store

cdef Item *get_once(Context *context, const Key *key, char *room, Found *found) noexcept nogil:
    """Copy a value below LARGE_MIN bytes to ``room``, or hold the item of a larger one; NULL when there is none."""
    cdef Store *store = context.store
    cdef uint64_t h = store_hash(store, key.p, key.n)
    cdef uint32_t meta
    cdef Item *item
    store_lock(store, h)
    item = store_look_up_locked(context, h, key.p, key.n)
    if item == NULL:
        store_unlock(store, h)
        count(context.counters, GET_MISSES)
        return NULL
    meta = item_meta(item)
    found.nbytes = meta_nbytes(item, meta)
    found.flags = meta_flags(item, meta)
    found.cas = item_cas(item)
    found.held = meta & ITEM_LARGE != 0
    if found.held:
        store_hold_locked(item)
    else:
        copy_bytes(room, meta_value(item, meta), found.nbytes)
    store_fetched_locked(context, item)
    store_count_hit(context, item)
    store_unlock(store, h)
    return item


cdef void report_put(Context *context, const Put *put, const Key *key, uint32_t nbytes,
                     StoreStatus status) noexcept nogil:
    """Tell who watches mutations."""
    cdef uint32_t ttl = put.exptime - context.now if put.exptime > context.now else 0
    event_item_store(
        context.log, status, STORE_BY_CAS if put.compare else put.mode, key.p, key.n, ttl,
        store_class_for(context.store, key.n, put.flags, nbytes), context.fd, nbytes,
    )


cdef StoreStatus put_once(Context *context, Put *put, const Key *key, char *value, uint32_t nbytes) noexcept nogil:
    """A storage command. A key that no line of the protocol could hold is marked as one that came in base64."""
    cdef StoreStatus status
    put.binary = word_end(key.p, key.p + key.n, key.p) != key.p + key.n
    status = store_put(context, put, store_hash(context.store, key.p, key.n), key.p, key.n, value, nbytes)
    if unlikely(context.watched & WATCH_MUTATIONS):
        report_put(context, put, key, nbytes, status)
    return status


cdef bint delete_once(Context *context, const Key *key, const uint64_t *compare) noexcept nogil:
    """Whether it was there, with the cas ``compare`` if that is given, and so is not any more."""
    cdef Store *store = context.store
    cdef uint64_t h = store_hash(store, key.p, key.n)
    cdef Item *item
    store_lock(store, h)
    item = store_look_up_locked(context, h, key.p, key.n)
    if item == NULL or (compare != NULL and item_cas(item) != compare[0]):
        item = NULL
        count(context.counters, DELETE_MISSES)
    else:
        count_class(context.counters, store_class(store, item), CLASS_DELETE_HITS)
        if unlikely(context.watched & WATCH_DELETIONS):
            event_deleted(context.log, False, key.p, key.n, store_class(store, item), item_nbytes(item))
        store_unlink_locked(context, h, item)
    store_unlock(store, h)
    return item != NULL


cdef StoreStatus delta_once(Context *context, const Key *key, bint increment, uint64_t by,
                            uint64_t *result) noexcept nogil:
    cdef Store *store = context.store
    cdef uint64_t h = store_hash(store, key.p, key.n)
    cdef StoreStatus status = NOT_FOUND
    cdef Item *item
    store_lock(store, h)
    item = store_look_up_locked(context, h, key.p, key.n)
    if item == NULL:
        count(context.counters, INCR_MISSES if increment else DECR_MISSES)
    else:
        status = store_delta_locked(context, h, &item, increment, by, 0, result)
        if status == STORED:
            count_class(context.counters, store_class(store, item), CLASS_INCR_HITS if increment else CLASS_DECR_HITS)
    store_unlock(store, h)
    return status


cdef bint touch_once(Context *context, const Key *key, uint32_t exptime) noexcept nogil:
    """Whether it was there."""
    cdef Store *store = context.store
    cdef uint64_t h = store_hash(store, key.p, key.n)
    cdef Item *item
    store_lock(store, h)
    item = store_look_up_locked(context, h, key.p, key.n)
    if item == NULL:
        count(context.counters, TOUCH_MISSES)
    else:
        item_set_exptime(item, exptime)
        store_fetched_locked(context, item)
        count_class(context.counters, store_class(store, item), CLASS_TOUCH_HITS)
    store_unlock(store, h)
    return item != NULL


cdef bint is_there(Context *context, const Key *key) noexcept nogil:
    """Whether there is an item, for which this is no access."""
    cdef uint64_t h = store_hash(context.store, key.p, key.n)
    cdef Item *item
    store_lock(context.store, h)
    item = store_find_locked(context, h, key.p, key.n)
    store_unlock(context.store, h)
    return item != NULL


# ---- what Python gives

cdef int read_key(key, Key *read) except -1:
    """Points into ``key``, which has to live on."""
    cdef Py_ssize_t n = 0
    if isinstance(key, str):
        read.p = PyUnicode_AsUTF8AndSize(key, &n)
    elif isinstance(key, bytes):
        read.p = PyBytes_AS_STRING(key)
        n = PyBytes_GET_SIZE(key)
    else:
        raise TypeError(f"a key is str or bytes, not {type(key).__name__}")
    if not 0 < n <= KEY_MAX:
        raise ValueError(f"a key has 1 to {KEY_MAX} bytes, not {n}")
    read.n = <uint32_t>n
    return 0


cdef int64_t read_ttl(ttl) except -2:
    """Seconds, at least 0, or NEVER."""
    cdef double seconds
    if ttl is None:
        return NEVER
    try:
        seconds = ttl
    except TypeError:
        raise TypeError(f"a TTL is a number of seconds or None, not {type(ttl).__name__}") from None
    if isnan(seconds):
        raise ValueError("a TTL of nan seconds")
    if seconds >= TTL_MAX:
        return NEVER
    return <int64_t>ceil(seconds) if seconds > 0 else 0


cdef uint64_t read_number(number, str name) except? 0:
    """A whole number below 2 ** 64; nothing is cut off a float. ``name`` is the argument's, for who gave another."""
    whole = PyNumber_Index(number)
    try:
        return whole
    except OverflowError:
        # Python writes no number of thousands of digits.
        shown = whole if whole.bit_length() <= 256 else f"one of {whole.bit_length()} bits"
        raise OverflowError(f"{name} is a whole number from 0 to 2 ** 64 - 1, not {shown}") from None


cdef inline uint32_t tick_after(int64_t seconds, uint32_t now) noexcept:
    if seconds == NEVER:
        return 0
    return <uint32_t>min(now + seconds, <int64_t>0xFFFFFFFF) if seconds > 0 else LONG_EXPIRED


class TooLargeError(ValueError):
    """A value is too large for the cache (``max_item_size``)."""


cdef refuse(StoreStatus status, size_t nbytes):
    if status == TOO_LARGE:
        raise TooLargeError(f"a value of {nbytes} bytes is too large: see max_item_size")
    if status == NO_MEMORY:
        raise MemoryError(f"no memory in the cache for a value of {nbytes} bytes")


cdef class Callers:
    """Who may call a store from this process: given to an Engine as ``embedded``."""

    def __cinit__(self):
        self.gone = "the cache has no store yet"

    cdef void attach(self, owner, Store *store, EventHub *hub, CounterSet *counters, EventLog *logs) noexcept:
        """Counters and logs: CALLERS of each."""
        cdef int i
        memset(self.each, 0, sizeof(self.each))
        for i in range(CALLERS):
            self.each[i].context.store = store
            self.each[i].context.counters = &counters[i]
            self.each[i].context.log = &logs[i]
            self.each[i].context.fd = -1
        self.owner = owner
        self.hub = hub
        self.store = store

    cdef void detach(self) noexcept:
        """Begin no call any more, and wait for those without the GIL."""
        cdef int i
        if self.store == NULL:
            return
        self.store = NULL
        self.gone = "the cache is closed"
        for i in range(1, CALLERS):
            with nogil:
                lock_acquire(&self.each[i].lock)
            lock_release(&self.each[i].lock)
        self.owner = None

    def abandon(self, why):
        self.gone = why
        self.store = NULL

    cdef Context *begin(self, int index) except NULL:
        """The context of this caller, who has the GIL: for at once."""
        cdef Context *context = &self.each[index].context
        if unlikely(self.store == NULL):
            raise RuntimeError(self.gone)
        context.now = clock_now(&self.store.clock)
        context.watched = hub_watched(self.hub) & ~<uint32_t>WATCH_PREFIXES
        return context

    cdef int claim(self) noexcept:
        """A caller for a call without the GIL, whose lock is to be released at its end; 0, the other one, if all are
        taken."""
        cdef int i
        for i in range(1, CALLERS):
            if lock_try(&self.each[i].lock):
                return i
        return 0

    cdef Context *begin_long(self, int *index) except NULL:
        """The context for a call without the GIL: that of the caller ``index``, see ``claim``."""
        index[0] = self.claim()
        try:
            return self.begin(index[0])
        except RuntimeError:
            if index[0] != 0:
                lock_release(&self.each[index[0]].lock)
            raise


cdef class Embedded:
    """A store's operations for the process that it lies in, once an Engine has its ``callers``.

    Values are bytes, or anything that ``serializer`` takes. What other clients have stored, and numbers of ``incr``,
    are bytes also with a serializer, unless their flags are 1.
    """

    def __cinit__(self, *_arguments, **_options):
        self.callers = Callers()

    def __init__(self, *, serializer=None, default_ttl=None):
        if serializer is not None:
            self.dumps = serializer.dumps
            self.loads = serializer.loads
        self.default_ttl = read_ttl(default_ttl)

    # ---- values

    cdef bytes held_value(self, Item *item, uint32_t nbytes):
        """The value of an item that is held, and is let go."""
        cdef Store *store = self.callers.store
        cdef int index = 0
        cdef bytes value
        cdef char *out
        try:
            value = PyBytes_FromStringAndSize(NULL, nbytes)
        except MemoryError:
            store_release(store, item)
            raise
        out = PyBytes_AS_STRING(value)
        if nbytes >= GIL_KEPT:
            index = self.callers.claim()
        if index == 0:
            value_copy(store, item, out)
            store_release(store, item)
            return value
        with nogil:
            value_copy(store, item, out)
            store_release(store, item)
            lock_release(&self.callers.each[index].lock)
        return value

    cdef object opened(self, bytes value, uint32_t flags):
        """What the user had stored. What has other flags, the serializer has not written."""
        return value if self.loads is None or flags != SERIALIZED else self.loads(value)

    cdef bytes closed(self, value, uint32_t *flags):
        """The bytes to store."""
        if self.dumps is None:
            if isinstance(value, bytes):
                return value
            if isinstance(value, (bytearray, memoryview)):
                return bytes(value)
            raise TypeError(f"without a serializer a value is bytes, not {type(value).__name__}")
        flags[0] = SERIALIZED
        value = self.dumps(value)
        return value.encode() if isinstance(value, str) else value

    cdef object look_up(self, key, uint64_t *cas):
        """The value, or OMITTED."""
        cdef char room[LARGE_MIN]
        cdef Found found
        cdef Key read
        cdef Item *item
        cdef bytes value
        read_key(key, &read)
        item = get_once(self.callers.begin(0), &read, room, &found)
        if item == NULL:
            return OMITTED
        if found.held:
            value = self.held_value(item, found.nbytes)
        else:
            value = PyBytes_FromStringAndSize(room, found.nbytes)
        cas[0] = found.cas
        return self.opened(value, found.flags)

    cdef StoreStatus put(self, PutMode mode, key, value, ttl, const uint64_t *compare) except *:
        """A storage command with a value as the user has it."""
        cdef uint32_t flags = 0
        cdef int64_t seconds = self.default_ttl if ttl is OMITTED else read_ttl(ttl)
        cdef Key read
        read_key(key, &read)
        return self.store_bytes(mode, &read, self.closed(value, &flags), flags, seconds, compare)

    cdef StoreStatus store_bytes(self, PutMode mode, const Key *key, bytes value, uint32_t flags, int64_t seconds,
                                 const uint64_t *compare) except *:
        cdef Context *context
        cdef StoreStatus status
        cdef Put put
        cdef char *data
        cdef size_t nbytes
        cdef int index = 0
        if value is None:
            raise TypeError("the serializer's dumps returns bytes or str")
        data = PyBytes_AS_STRING(value)
        nbytes = PyBytes_GET_SIZE(value)
        context = self.callers.begin(0)
        memset(&put, 0, sizeof(Put))
        put.mode = mode
        put.flags = flags
        put.exptime = tick_after(seconds, context.now)
        put.drop_on_failure = mode == PUT_SET and compare == NULL
        if compare != NULL:
            put.compare = True
            put.compare_cas = compare[0]
        nbytes = min(nbytes, <size_t>0xFFFFFFFF)  # which is too large, too
        if nbytes >= GIL_KEPT:
            index = self.callers.claim()
        if index == 0:
            status = put_once(context, &put, key, data, <uint32_t>nbytes)
        else:
            context = self.callers.begin(index)
            with nogil:
                status = put_once(context, &put, key, data, <uint32_t>nbytes)
                lock_release(&self.callers.each[index].lock)
        refuse(status, nbytes)
        return status

    # ---- one key

    def get(self, key, default=None):
        """The value, or ``default``."""
        cdef uint64_t cas = 0
        value = self.look_up(key, &cas)
        return default if value is OMITTED else value

    def gets(self, key):
        """The value and its number for ``cas``; None when there is none."""
        cdef uint64_t cas = 0
        value = self.look_up(key, &cas)
        return None if value is OMITTED else (value, cas)

    def set(self, key, value, ttl=OMITTED):
        """Store a value.

        Raises:
            TooLargeError: it is larger than ``max_item_size``; an older value is gone.
            MemoryError: there is no room, and nothing to evict for it. For a moment that is so, too, when a full cache
                gets values of a size that it had none of, until the upkeep has taken memory from the others.
            TypeError: it is no bytes, and there is no serializer.
        """
        self.put(PUT_SET, key, value, ttl, NULL)

    def add(self, key, value, ttl=OMITTED):
        """``set`` if there is nothing yet; whether it was so."""
        return self.put(PUT_ADD, key, value, ttl, NULL) == STORED

    def replace(self, key, value, ttl=OMITTED):
        """``set`` if there is something already; whether it was so."""
        return self.put(PUT_REPLACE, key, value, ttl, NULL) == STORED

    def cas(self, key, value, cas, ttl=OMITTED):
        """``set`` if the value is still the one that ``gets`` gave ``cas`` with: True; False if it is another one,
        None if there is none any more."""
        cdef uint64_t number = read_number(cas, "cas")
        cdef StoreStatus status = self.put(PUT_SET, key, value, ttl, &number)
        return None if status == NOT_FOUND else status == STORED

    def incr(self, key, by=1, initial=None, ttl=OMITTED):
        """Add to a number, modulo 2 ** 64; the new one.

        The value is the number's decimal digits, as bytes; one that ``decr`` makes shorter keeps its length, with
        blanks behind it, as in memcached. Where there is none, ``initial`` is stored, with the TTL, and returned;
        without ``initial`` nothing is, and None.

        Raises:
            ValueError: the value is no number.
            OverflowError: ``by`` or ``initial`` is below 0, or not below 2 ** 64.
        """
        return self.delta(key, True, read_number(by, "by"), initial, ttl)

    def decr(self, key, by=1, initial=None, ttl=OMITTED):
        """``incr`` downwards, at most to 0."""
        return self.delta(key, False, read_number(by, "by"), initial, ttl)

    cdef object delta(self, key, bint increment, uint64_t by, initial, ttl):
        cdef uint64_t result = 0, begin = 0
        cdef int64_t seconds = self.default_ttl if ttl is OMITTED else read_ttl(ttl)
        cdef StoreStatus status
        cdef Key read
        cdef bytes digits = None
        if initial is not None:
            begin = read_number(initial, "initial")
            digits = b"%d" % begin
        read_key(key, &read)
        while True:
            status = delta_once(self.callers.begin(0), &read, increment, by, &result)
            if status == STORED:
                return result
            if status == NON_NUMERIC:
                raise ValueError("the value is no decimal number below 2 ** 64"
                                 + (", as incr itself stores it" if self.dumps is not None else ""))
            refuse(status, 0)
            if initial is None:
                return None
            # Another thread may be faster: then that one's number counts.
            if self.store_bytes(PUT_ADD, &read, digits, 0, seconds, NULL) == STORED:
                return begin

    def touch(self, key, ttl=OMITTED):
        """Give a value another TTL; whether there is one."""
        cdef int64_t seconds = self.default_ttl if ttl is OMITTED else read_ttl(ttl)
        cdef Context *context
        cdef Key read
        read_key(key, &read)
        context = self.callers.begin(0)
        return touch_once(context, &read, tick_after(seconds, context.now))

    cdef bint remove(self, key, const uint64_t *compare) except *:
        cdef Key read
        read_key(key, &read)
        return delete_once(self.callers.begin(0), &read, compare)

    def delete(self, key, cas=None):
        """Remove a value, with ``cas`` only the one that ``gets`` has seen; whether it was there."""
        cdef uint64_t number = 0
        if cas is None:
            return self.remove(key, NULL)
        number = read_number(cas, "cas")
        return self.remove(key, &number)

    # ---- many keys

    def get_many(self, keys):
        """The values that there are, by their keys as given."""
        cdef uint64_t cas = 0
        cdef dict found = {}
        for key in keys:
            value = self.look_up(key, &cas)
            if value is not OMITTED:
                found[key] = value
        return found

    def set_many(self, items, ttl=OMITTED):
        """``set`` each; what it raises for one leaves those before it stored."""
        if not hasattr(items, "items"):
            raise TypeError(f"set_many takes a mapping of keys to values, not {type(items).__name__}")
        for key, value in items.items():
            self.put(PUT_SET, key, value, ttl, NULL)

    def delete_many(self, keys):
        """Remove values; how many there were."""
        cdef Py_ssize_t removed = 0
        for key in keys:
            removed += self.remove(key, NULL)
        return removed

    def clear(self):
        """Remove all values, and what has ended: ``len`` counts only what is stored from here on.

        They are gone for everybody at once, and then walked over without the GIL, a million in half a second.
        """
        cdef Context *context = self.callers.begin(0)
        cdef StoreCursor cursor
        count(context.counters, CMD_FLUSH)
        store_flush(context, 0)
        memset(&cursor, 0, sizeof(cursor))
        while not cursor.ended:
            sweep(self.callers, &cursor)

    # ---- as a mapping

    def __getitem__(self, key):
        """The value. Raises KeyError when there is none."""
        cdef uint64_t cas = 0
        value = self.look_up(key, &cas)
        if value is OMITTED:
            raise KeyError(key)
        return value

    def __setitem__(self, key, value):
        """``set`` with ``default_ttl``."""
        self.put(PUT_SET, key, value, OMITTED, NULL)

    def __delitem__(self, key):
        """Remove a value. Raises KeyError when there is none."""
        if not self.remove(key, NULL):
            raise KeyError(key)

    def __contains__(self, key):
        """Whether there is a value."""
        cdef Key read
        read_key(key, &read)
        return is_there(self.callers.begin(0), &read)

    def __len__(self):
        """How many values there are, those that have ended and were not looked at since included."""
        cdef LruClass seen
        cdef uint64_t number = 0
        cdef uint32_t cls
        cdef int segment
        self.callers.begin(0)
        for cls in range(1, self.callers.store.slabs.nclasses + 1):
            seen = lru_look(&self.callers.store.lru, cls)
            for segment in range(SEGMENTS):
                number += seen.segment[segment].number
        return number

    def __iter__(self):
        """The keys, as bytes: each that is there all the while once, the others perhaps."""
        self.callers.begin(0)
        return KeyIterator(self.callers)


cdef class KeyIterator:
    """The keys of a cache, as bytes: each that is there all the while once, the others perhaps."""

    def __cinit__(self, Callers callers not None):
        self.callers = callers
        self.batch = []
        memset(&self.cursor, 0, sizeof(self.cursor))

    def __iter__(self):
        return self

    def __next__(self):
        while not self.batch and not self.cursor.ended:
            self.batch = next_keys(self.callers, &self.cursor)
        if not self.batch:
            raise StopIteration
        return self.batch.pop()


cdef int sweep(Callers callers, StoreCursor *cursor) except -1:
    """Remove what has ended from some more buckets, without the GIL."""
    cdef StoreCursor here = cursor[0]
    cdef int index = 0
    cdef Context *context = callers.begin_long(&index)
    if index == 0:
        survey_sweep(context, &here, SWEPT / 64)
    else:
        with nogil:
            survey_sweep(context, &here, SWEPT)
            lock_release(&callers.each[index].lock)
    cursor[0] = here
    return 0


cdef list next_keys(Callers callers, StoreCursor *cursor):
    """Some keys, perhaps none. The walk is without the GIL: where there is little it goes far."""
    cdef Note room[NOTES]
    cdef Notes notes
    cdef StoreCursor here = cursor[0]
    cdef uint32_t i
    cdef int index = 0
    notes.context = callers.begin_long(&index)
    notes.classes = ~<uint64_t>0
    notes.count = 0
    notes.room = NOTES
    notes.note = room
    if index == 0:
        survey(&here, &notes)
    else:
        with nogil:
            survey(&here, &notes)
            lock_release(&callers.each[index].lock)
    cursor[0] = here
    return [room[i].key[:room[i].nkey] for i in range(notes.count)]
