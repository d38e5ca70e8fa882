"""The store against a model: any sequence of commands answers and leaves what the model says."""

from __future__ import annotations

import dataclasses

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cachecore_ext.probe import Clock, Store, parse_number

LIMIT = 1_200_000
CHUNK_MAX = 512 * 1024
PIECE = CHUNK_MAX - 12

keys = st.sampled_from([b"a", b"bb", b"c" * 250])
sizes = st.sampled_from([0, 1, 8, 40, 100, 4095, 4096, 9000, CHUNK_MAX - 40, PIECE, PIECE + 1, 2 * PIECE + 9, LIMIT])
values = st.builds(
    lambda size, seed: (bytes([seed]) * 7 + b"%d-" % seed) * (size // 8 + 1) if size else b"",
    sizes,
    st.integers(65, 90),
) | st.sampled_from([b"0", b"9", b"10", b"18446744073709551615", b" 5", b"5x", b"7 "])
flags = st.sampled_from([0, 0, 1, 0xFFFFFFFF])
exptimes = st.sampled_from([0, 0, 0, 1, 5, 100, -1])
explicits = st.sampled_from([0, 0, 0, 3, 10**6])


@dataclasses.dataclass
class Entry:
    value: bytes
    flags: int
    end: int  # tick, 0 never
    cas: int
    stale: bool = False
    used: int = 0  # what the store notes as its time, unless that is ahead
    spared: int = -1  # the delayed flush of this second, by its number, that it came too late for


class StoreModel(RuleBasedStateMachine):
    """Memory is never short here, so nothing may go but by a command, its end or a flush."""

    def __init__(self):
        super().__init__()
        self.store = Store(item_size_max=LIMIT, memory_limit=200 << 20)
        self.store.freeze()
        self.model: dict[bytes, Entry] = {}
        self.highest_cas = 1
        self.pending = 0
        self.fired = 0
        self.superseded = 0
        self.flushes = 0  # the delayed ones that were due
        self.held: list[tuple[int, bytes]] = []
        self.steps = 0

    def end_of(self, exptime):
        return Clock().expiry(self.store.now, exptime)

    def live(self, key):
        now = self.store.now
        if self.pending and self.pending <= now:
            self.fired, self.pending, self.superseded = self.pending, 0, 0
            self.flushes += 1
        entry = self.model.get(key)
        if entry and ((entry.end and entry.end <= now) or (entry.used <= self.fired and entry.spared != self.flushes)):
            del self.model[key]
            return None
        return entry

    def note(self, key):
        """Take over what the model does not predict: the time, and a new cas, higher than any before."""
        look = self.store.look(key)
        entry = self.model[key]
        entry.used = min(look["time"], self.store.now)
        # With a cas of the client's its time may be ahead; so it outlives a flush of this second that was superseded.
        entry.spared = self.flushes if look["time"] > entry.used and self.fired == self.superseded > 0 else -1
        if entry.cas == 0:
            entry.cas = look["cas"]
            assert entry.cas > self.highest_cas
            self.highest_cas = entry.cas

    def too_large(self, key, size, item_flags):
        return 48 + 8 + 1 + 2 + len(key) + size + 4 * (item_flags != 0) > LIMIT

    # ---- commands

    @rule(
        mode=st.sampled_from(["set", "set", "add", "replace"]),
        key=keys,
        value=values,
        item_flags=flags,
        exptime=exptimes,
        explicit=explicits,
        parts=st.booleans(),
    )
    def put(self, mode, key, value, item_flags, exptime, explicit, parts):
        status = self.store.put(
            mode,
            key,
            value,
            flags=item_flags,
            exptime=exptime,
            explicit=explicit,
            reserve=parts and len(value) >= 4096,
        )
        old = self.live(key)
        if self.too_large(key, len(value), item_flags):
            assert status == "TOO_LARGE"
            if mode == "set":
                self.model.pop(key, None)
        elif (mode == "add" and old) or (mode == "replace" and not old):
            assert status == "NOT_STORED"
            if old:
                self.note(key)
        else:
            assert status == "STORED"
            self.model[key] = Entry(value, item_flags, self.end_of(exptime), explicit)
            self.note(key)

    @rule(
        key=keys,
        value=values,
        item_flags=flags,
        exptime=exptimes,
        explicit=explicits,
        off=st.sampled_from([-1, 0, 0, 1]),
        invalidate=st.booleans(),
    )
    def cas(self, key, value, item_flags, exptime, explicit, off, invalidate):
        old = self.live(key)
        compare = old.cas + off if old else 5
        status = self.store.put(
            "set",
            key,
            value,
            flags=item_flags,
            exptime=exptime,
            explicit=explicit,
            compare=compare,
            invalidate=invalidate,
        )
        if self.too_large(key, len(value), item_flags):
            assert status == "TOO_LARGE"
        elif not old:
            assert status == "NOT_FOUND"
        elif off == 0 or (invalidate and off < 0):
            assert status == "STORED"
            end = self.end_of(exptime) if off == 0 else old.end
            self.model[key] = Entry(value, item_flags, end, explicit, stale=off != 0)
            self.note(key)
        else:
            assert status == "EXISTS"

    @rule(
        mode=st.sampled_from(["append", "prepend"]),
        key=keys,
        value=values,
        vivify=st.none() | exptimes,
        parts=st.booleans(),
    )
    def concat(self, mode, key, value, vivify, parts):
        old = self.live(key)
        status = self.store.put(mode, key, value, vivify=vivify, reserve=parts and len(value) >= 4096)
        if self.too_large(key, len(value), 0):
            assert status == "TOO_LARGE"
        elif old:
            whole = old.value + value if mode == "append" else value + old.value
            if self.too_large(key, len(whole), old.flags):
                assert status == "NOT_STORED"
            else:
                assert status == "STORED"
                self.model[key] = Entry(whole, old.flags, old.end, 0)
                self.note(key)
        elif vivify is None:
            assert status == "NOT_STORED"
        else:
            assert status == "STORED"
            self.model[key] = Entry(value, 0, self.end_of(vivify), 0)
            self.note(key)

    @rule(key=keys, times=st.integers(1, 3))
    def get(self, key, times):
        for _ in range(times):
            entry = self.live(key)
            assert self.store.get(key) == ((entry.value, entry.flags, entry.cas) if entry else None)
            if entry:
                self.note(key)
                assert ("stale" in self.store.look(key)["marks"]) == entry.stale

    @rule(key=keys)
    def delete(self, key):
        entry = self.live(key)
        assert self.store.delete(key) == bool(entry)
        self.model.pop(key, None)

    @rule(key=keys, exptime=exptimes)
    def touch(self, key, exptime):
        entry = self.live(key)
        assert self.store.touch(key, exptime) == bool(entry)
        if entry:
            entry.end = self.end_of(exptime)
            self.note(key)

    @rule(key=keys, by=st.sampled_from([0, 1, 9, 2**64 - 1]), increment=st.booleans())
    def delta(self, key, by, increment):
        entry = self.live(key)
        result = self.store.delta(key, by, increment)
        if not entry:
            assert result == "NOT_FOUND"
            return
        number = parse_number("stored_u64", entry.value) if len(entry.value) < CHUNK_MAX - 300 else None
        if number is None:
            assert result == "NON_NUMERIC"
            return
        expected = (number + by) % 2**64 if increment else max(0, number - by)
        assert result == expected
        longer = len(b"%d" % expected) > len(entry.value)
        entry.value = (b"%d" % expected).ljust(len(entry.value))
        entry.cas = 0
        entry.stale = entry.stale and not longer
        self.note(key)

    @rule()
    def flush(self):
        self.store.flush()
        self.model.clear()
        self.pending = self.fired = self.superseded = 0

    @rule(delay=st.sampled_from([1, 2, 10]))
    def flush_later(self, delay):
        self.live(b"")
        self.superseded = self.fired
        self.store.flush(delay)
        self.pending = self.store.now + delay - 1

    @rule(seconds=st.sampled_from([1, 1, 3, 50]))
    def advance(self, seconds):
        self.store.advance(seconds)

    # ---- replies under way

    @precondition(lambda self: len(self.held) < 4)
    @rule(key=keys)
    def hold(self, key):
        if entry := self.live(key):
            handle = self.store.hold(key)
            assert (handle is not None) == (len(entry.value) >= 4096)
            if handle is not None:
                self.held.append((handle, entry.value))

    @precondition(lambda self: self.held)
    @rule()
    def release(self):
        handle, value = self.held.pop(0)
        assert self.store.held_value(handle) == value
        self.store.release(handle)

    @invariant()
    def sound(self):
        self.steps += 1
        if self.steps % 10 == 0:  # it walks all of the table
            self.store.check()

    def teardown(self):
        for key in list(self.model):
            entry = self.live(key)
            assert self.store.get(key) == ((entry.value, entry.flags, entry.cas) if entry else None)
        while self.held:
            self.release()
        for key in list(self.model):
            self.store.delete(key)
        for key in (b"a", b"bb", b"c" * 250):
            self.store.delete(key)
        assert not any(of["used"] for of in self.store.check()["classes"].values())


TestStoreModel = StoreModel.TestCase
