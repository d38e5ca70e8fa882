"""The store: storing, changing, expiring; values of every size."""

from __future__ import annotations

import pytest

from cachecore_ext.probe import Store

MEGABYTE = 1 << 20
LARGE_MIN = 4096
CHUNK_MAX = 512 * 1024
PIECE = CHUNK_MAX - 12
COUNTED = 48 + 8 + 1 + 2  # what memcached counts beside key, value and flags


def pattern(size: int, seed: int = 0) -> bytes:
    """Bytes of which any two stretches differ."""
    return b"".join(b"%08d" % (i + seed * 1_000_000) for i in range(size // 8 + 1))[:size]


@pytest.fixture
def store():
    """Its clock stands still; its invariants hold at the end."""
    standing = Store()
    standing.freeze()
    yield standing
    standing.check()


def value_of(store: Store, key: bytes) -> bytes | None:
    found = store.get(key)
    return found[0] if found else None


def test_set_and_get(store):
    assert store.get(b"k") is None
    assert store.put("set", b"k", b"value", flags=7) == "STORED"
    assert store.get(b"k") == (b"value", 7, 2)
    assert store.put("set", b"k", b"other") == "STORED"
    assert store.get(b"k") == (b"other", 0, 3)
    assert store.counters()["total_items"] == 2


@pytest.mark.parametrize("size", [4095, 4096, 4097, 4111, 4112, 4159, 4160, 4161, 9000, 70_001, PIECE + 4097])
def test_a_value_lies_where_it_belongs_whatever_its_length_and_place(store, size):
    values = {b"k" * nkey: pattern(size, nkey) for nkey in range(1, 34)}  # beginning at every byte of a line
    for key, value in values.items():
        assert store.put("set", key, value) == "STORED"
    for key, value in values.items():
        assert value_of(store, key) == value


def test_add_and_replace(store):
    assert store.put("replace", b"k", b"1") == "NOT_STORED"
    assert store.put("add", b"k", b"2") == "STORED"
    assert store.put("add", b"k", b"3") == "NOT_STORED"
    assert store.put("replace", b"k", b"4") == "STORED"
    assert value_of(store, b"k") == b"4"


def test_cas(store):
    assert store.put("set", b"k", b"1", compare=1) == "NOT_FOUND"
    store.put("set", b"k", b"1")
    cas = store.get(b"k")[2]
    assert store.put("set", b"k", b"2", compare=cas + 1) == "EXISTS"
    assert store.put("set", b"k", b"2", compare=cas) == "STORED"
    assert store.put("set", b"k", b"3", compare=cas) == "EXISTS"
    assert value_of(store, b"k") == b"2"


def test_without_cas_none_is_shown_and_none_matches():
    store = Store(use_cas=False)
    store.put("set", b"k", b"1")
    assert store.get(b"k")[2] == 0
    assert store.put("set", b"k", b"2", compare=0) == "EXISTS"
    assert store.put("set", b"k", b"2", compare=2) == "EXISTS"


def test_an_explicit_cas_is_kept_until_the_next_storing(store):
    store.put("set", b"k", b"1", explicit=1000)
    assert store.get(b"k")[2] == 1000
    assert "explicit" in store.look(b"k")["marks"]
    store.put("set", b"k", b"2", compare=1000)
    assert 0 < store.get(b"k")[2] < 1000
    assert "explicit" not in store.look(b"k")["marks"]


@pytest.mark.parametrize("size", [10, LARGE_MIN, 2 * CHUNK_MAX])
def test_a_lower_cas_may_store_a_stale_value(size):
    store = Store(item_size_max=4 * MEGABYTE)
    store.put("set", b"k", b"1", explicit=100, exptime=50)
    end = store.look(b"k")["exptime"]
    assert store.put("set", b"k", pattern(size), compare=101, invalidate=True) == "EXISTS"
    assert store.put("set", b"k", pattern(size), compare=99, invalidate=True, exptime=9) == "STORED"
    assert value_of(store, b"k") == pattern(size)
    assert "stale" in store.look(b"k")["marks"]
    assert store.look(b"k")["exptime"] == end
    store.check()


def test_delete(store):
    assert not store.delete(b"k")
    store.put("set", b"k", b"1")
    assert store.delete(b"k")
    assert not store.delete(b"k")
    assert store.check()["items"] == 0


# ---- numbers in values


@pytest.mark.parametrize(
    ("value", "by", "increment", "result", "after"),
    [
        (b"5", 3, True, 8, b"8"),
        (b"5", 7, False, 0, b"0"),
        (b"10", 1, False, 9, b"9 "),
        (b"99", 1, True, 100, b"100"),
        (b"18446744073709551615", 2, True, 1, b"1" + b" " * 19),
        (b"0", 2**64 - 1, True, 2**64 - 1, b"18446744073709551615"),
        (b"7 rest", 1, True, 8, b"8     "),
        (b"x", 1, True, "NON_NUMERIC", b"x"),
        (b"", 1, True, "NON_NUMERIC", b""),
        (b"1" + b" " * 5000, 1, True, 2, b"2" + b" " * 5000),
        (b"1" * CHUNK_MAX * 2, 1, True, "NON_NUMERIC", b"1" * CHUNK_MAX * 2),
    ],
)
def test_incr_and_decr(value, by, increment, result, after):
    store = Store(item_size_max=2 * MEGABYTE)
    store.put("set", b"k", value, flags=5, exptime=100)
    cas, end = store.get(b"k")[2], store.look(b"k")["exptime"]
    assert store.delta(b"k", by, increment) == result
    got, flags, new_cas = store.get(b"k")
    assert (got, flags, store.look(b"k")["exptime"]) == (after, 5, end)
    assert (new_cas > cas) == isinstance(result, int)
    store.check()


def test_incr_of_nothing(store):
    assert store.delta(b"k", 1) == "NOT_FOUND"


def test_incr_does_not_write_under_a_reply(store):
    store.put("set", b"k", b"1" + b" " * 5000)
    held = store.hold(b"k")
    assert store.delta(b"k", 41) == 42
    assert store.held_value(held)[:3] == b"1  "
    assert value_of(store, b"k")[:3] == b"42 "
    store.check()
    store.release(held)


# ---- exptimes


def test_items_end(store):
    store.put("set", b"never", b"1")
    store.put("set", b"ten", b"1", exptime=10)
    store.put("set", b"gone", b"1", exptime=-1)
    assert store.get(b"gone") is None
    store.advance(9)
    assert value_of(store, b"ten") == b"1"
    store.advance(1)
    assert store.get(b"ten") is None
    assert store.look(b"ten") is None, "what was found to have expired is removed"
    assert value_of(store, b"never") == b"1"
    assert store.counters()["get_expired"] == 2


@pytest.mark.parametrize("size", [1, LARGE_MIN, 2 * CHUNK_MAX])
def test_touch_gives_an_item_another_end(size):
    store = Store(item_size_max=4 * MEGABYTE)
    store.freeze()
    assert not store.touch(b"k", 5)
    store.put("set", b"k", pattern(size), flags=9)
    cas = store.get(b"k")[2]
    assert store.touch(b"k", 5)
    assert store.get(b"k") == (pattern(size), 9, cas)
    store.check()
    assert store.touch(b"k", 10)
    store.advance(9)
    assert store.touch(b"k", 0)
    store.advance(1000)
    assert store.get(b"k") == (pattern(size), 9, cas)
    assert store.touch(b"k", -1)
    assert store.get(b"k") is None
    store.check()


def test_touch_changes_nothing_else(store):
    store.put("set", b"k", b"value", flags=3, explicit=77)
    for _ in range(2):
        store.get(b"k")
    before = store.look(b"k")
    store.touch(b"k", 100)
    assert store.look(b"k") == before | {"exptime": store.now + 100}


# ---- in place


def test_a_small_value_is_stored_in_the_place_of_the_old_one(store):
    store.put("set", b"k", b"12345678")
    store.get(b"k")
    before = store.look(b"k")
    store.put("set", b"k", b"1234567")
    after = store.look(b"k")
    assert after["address"] == before["address"]
    assert after["marks"] == {"rewritten"}
    assert after["cas"] > before["cas"]
    assert after["size"] == before["size"] - 1
    assert value_of(store, b"k") == b"1234567"


@pytest.mark.parametrize(
    "change",
    [{"value": b"x" * 200}, {"flags": 1}, {"value": b"x" * LARGE_MIN}],
    ids=["class", "flags", "large"],
)
def test_another_layout_makes_another_item(store, change):
    store.put("set", b"k", b"12345678")
    before = store.look(b"k")
    store.put("set", b"k", change.pop("value", b"12345678"), **change)
    assert store.look(b"k")["address"] != before["address"]
    assert "rewritten" not in store.look(b"k")["marks"]


def test_flags_and_ends_are_overwritten_in_place(store):
    store.put("set", b"k", b"1", flags=1, exptime=10)
    before = store.look(b"k")
    store.put("set", b"k", b"2", flags=0xFFFFFFFF, exptime=0)
    after = store.look(b"k")
    assert after["address"] == before["address"]
    assert after["exptime"] == 0
    assert store.get(b"k")[:2] == (b"2", 0xFFFFFFFF)


# ---- sizes

EDGES = [0, 1, 7, 8, 9, 4095, 4096, 4097, CHUNK_MAX - 60, CHUNK_MAX - 40, CHUNK_MAX]
EDGES += [pieces * PIECE + by for pieces in (1, 2) for by in (-1, 0, 1)] + [2 * PIECE + 5000]


@pytest.mark.parametrize("size", EDGES)
@pytest.mark.parametrize("nkey", [1, 250])
def test_values_of_every_size(size, nkey):
    store = Store(item_size_max=4 * MEGABYTE)
    key, value = b"k" * nkey, pattern(size)
    for flags in (0, 5):
        assert store.put("set", key, value, flags=flags) == "STORED"
        assert store.get(key)[:2] == (value, flags)
        store.check()
    if size >= LARGE_MIN:
        assert store.put("set", key, pattern(size, 1), reserve=True) == "STORED"
        assert value_of(store, key) == pattern(size, 1)
        store.check()
    assert store.delete(key)
    found = store.check()
    assert sum(of["used"] for of in found["classes"].values()) == 0


@pytest.mark.parametrize("flags", [0, 1])
@pytest.mark.parametrize("use_cas", [True, False])
def test_the_largest_item_is_memcacheds(flags, use_cas):
    store = Store(item_size_max=10_000, use_cas=use_cas)
    largest = 10_000 - COUNTED - len(b"k") - 4 * flags + 8 * (not use_cas)
    assert store.put("set", b"k", bytes(largest), flags=flags) == "STORED"
    assert store.put("add", b"k", bytes(largest + 1), flags=flags) == "TOO_LARGE"
    assert store.get(b"k") is not None
    assert store.put("set", b"k", bytes(largest + 1), flags=flags) == "TOO_LARGE"
    assert store.get(b"k") is None, "a set that fails leaves no older value behind"
    assert store.put("set", b"k", bytes(largest + 1), flags=flags, reserve=True) == "TOO_LARGE"


@pytest.mark.parametrize("mode", ["append", "prepend"])
@pytest.mark.parametrize("old", [0, 5, 4090, CHUNK_MAX - 50, PIECE, 2 * PIECE - 3])
@pytest.mark.parametrize(
    ("added", "reserve"),
    [(0, False), (1, False), (10, False), (5000, False), (PIECE + 1, False), (5000, True), (PIECE + 1, True)],
)
def test_append_and_prepend(mode, old, added, reserve):
    store = Store(item_size_max=4 * MEGABYTE)
    first, second = pattern(old), pattern(added, 1)
    assert store.put(mode, b"k", second, reserve=reserve) == "NOT_STORED"
    store.put("set", b"k", first, flags=8, exptime=100)
    end = store.look(b"k")["exptime"]
    assert store.put(mode, b"k", second, flags=1, exptime=5, reserve=reserve) == "STORED"
    assert store.get(b"k")[:2] == (first + second if mode == "append" else second + first, 8)
    assert store.look(b"k")["exptime"] == end
    assert store.check()["items"] == 1


@pytest.mark.parametrize("mode", ["append", "prepend"])
def test_a_long_value_is_lengthened_in_its_place(mode):
    """Memory for a second one there is not; nor does it come to lie in more pieces than it needs, but for one."""
    store = Store(item_size_max=8 * MEGABYTE, memory_limit=8 * MEGABYTE, chunk_max=4096)
    expected = pattern(5 * MEGABYTE)
    store.put("set", b"k", expected, flags=3, exptime=100)
    end = store.look(b"k")["exptime"]
    parts = [pattern(i % 13, i) for i in range(3000)]
    assert all(store.put(mode, b"k", part) == "STORED" for part in parts)
    expected = expected + b"".join(parts) if mode == "append" else b"".join(reversed(parts)) + expected
    assert store.get(b"k")[:2] == (expected, 3)
    assert store.look(b"k")["exptime"] == end
    checked = store.check()
    largest = max(checked["classes"])
    assert checked["classes"][largest]["used"] <= len(expected) // 4000 + 2
    store.delete(b"k")
    store.check()


@pytest.mark.parametrize("mode", ["append", "prepend"])
def test_a_long_value_stays_as_it_is_when_there_is_no_memory_to_lengthen_it(mode):
    store = Store(item_size_max=8 * MEGABYTE, memory_limit=4 * MEGABYTE, chunk_max=4096, evictions=False)
    expected = pattern(2 * MEGABYTE)
    assert store.put("set", b"k", expected, flags=3) == "STORED"
    before = store.look(b"k")
    assert store.put(mode, b"k", pattern(3 * MEGABYTE), flags=7) == "NOT_STORED"
    assert store.get(b"k")[:2] == (expected, 3)
    assert store.look(b"k")["address"] == before["address"]
    store.check()
    assert store.put(mode, b"k", b"1") == "STORED"


@pytest.mark.parametrize("mode", ["append", "prepend"])
def test_a_long_value_that_a_reply_reads_is_copied(mode):
    store = Store(item_size_max=4 * MEGABYTE)
    store.put("set", b"k", pattern(2 * MEGABYTE))
    handle = store.hold(b"k")
    assert store.put(mode, b"k", b"more") == "STORED"
    assert store.held_value(handle) == pattern(2 * MEGABYTE)
    store.release(handle)
    assert len(value_of(store, b"k")) == 2 * MEGABYTE + 4
    store.check()


def test_append_beyond_the_largest_item_is_not_stored():
    store = Store(item_size_max=10_000)
    store.put("set", b"k", bytes(6000))
    assert store.put("append", b"k", bytes(6000)) == "NOT_STORED"
    assert value_of(store, b"k") == bytes(6000)
    store.check()


def test_append_may_create(store):
    assert store.put("append", b"k", b"1", vivify=30, exptime=5) == "STORED"
    assert store.look(b"k")["exptime"] == store.now + 30
    assert store.put("append", b"k", b"2", vivify=60) == "STORED"
    assert value_of(store, b"k") == b"12"
    assert store.look(b"k")["exptime"] == store.now + 30
    assert store.put("prepend", b"large", pattern(9000), vivify=0, reserve=True) == "STORED"
    assert value_of(store, b"large") == pattern(9000)


# ---- replies under way


@pytest.mark.parametrize("size", [LARGE_MIN, 3 * CHUNK_MAX])
@pytest.mark.parametrize("event", ["delete", "set", "append", "flush", "expire"])
def test_what_a_reply_reads_stays(size, event):
    store = Store(item_size_max=4 * MEGABYTE)
    store.freeze()
    store.put("set", b"k", pattern(size), exptime=10)
    assert store.hold(b"nothing") is None
    held, again = store.hold(b"k"), store.hold(b"k")
    if event == "delete":
        assert store.delete(b"k")
    elif event == "set":
        store.put("set", b"k", pattern(size, 1))
    elif event == "append":
        store.put("append", b"k", b"x")
    elif event == "flush":
        store.flush()
        assert store.get(b"k") is None
    else:
        store.advance(10)
        assert store.get(b"k") is None
    for _ in range(5):
        store.put("set", b"other", pattern(size, 2))
        store.delete(b"other")
    assert store.held_value(held) == pattern(size)
    store.check()
    store.release(held)
    assert store.held_value(again) == pattern(size)
    store.release(again)
    store.delete(b"k")
    assert sum(of["used"] for of in store.check()["classes"].values()) == 0


# ---- flush


@pytest.mark.parametrize("explicit", [0, 5, 2**64 - 1])
def test_flush_takes_what_there_is_and_leaves_what_comes(store, explicit):
    for i in range(3):
        assert store.put("set", b"before", b"1", explicit=explicit) == "STORED"
        store.flush()
        assert store.get(b"before") is None
        assert store.put("set", b"after", b"%d" % i, explicit=explicit) == "STORED"
        assert value_of(store, b"after") == b"%d" % i
    assert store.counters()["get_flushed"] >= 3


@pytest.mark.parametrize("explicit", [0, 5])
def test_gets_do_not_make_an_item_older_than_a_flush(store, explicit):
    """The second fetch notes the time; an item with a client's cas has one later than the flush."""
    store.flush()
    store.put("set", b"k", b"1", explicit=explicit)
    for _ in range(4):
        assert value_of(store, b"k") == b"1"


@pytest.mark.parametrize("explicit", [0, 5])
def test_emptying_does_not_make_an_item_older_than_a_flush(store, explicit):
    store.flush()
    store.put("set", b"k", b"1", explicit=explicit)
    assert store.empty(b"k")
    assert value_of(store, b"k") == b""


@pytest.mark.parametrize("change", ["touch", "incr", "append", "add"])
@pytest.mark.parametrize("explicit", [0, 5])
def test_nor_does_anything_else(store, explicit, change):
    store.flush()
    store.put("set", b"k", b"1", explicit=explicit)
    if change == "touch":
        assert store.touch(b"k", 100)
    elif change == "incr":
        assert store.delta(b"k", 1) == 2
    elif change == "append":
        assert store.put("append", b"k", b"1") == "STORED"
    else:
        assert store.put("add", b"k", b"1") == "NOT_STORED"
    assert store.get(b"k") is not None


def test_a_delayed_flush_takes_what_was_not_used_after_it(store):
    store.put("set", b"k", b"1")
    store.flush(10)
    store.put("set", b"still", b"1")
    store.advance(8)
    assert store.get(b"k") is not None
    store.advance(2)
    assert store.put("set", b"new", b"1") == "STORED"
    assert store.get(b"k") is None
    assert store.get(b"still") is None
    assert store.get(b"new") is not None
    store.advance(100)
    assert store.get(b"new") is not None


def test_there_is_one_delayed_flush_at_a_time(store):
    store.put("set", b"k", b"1")
    store.flush(10)
    store.flush(100)
    store.advance(50)
    assert store.get(b"k") is not None
    store.advance(50)
    assert store.get(b"k") is None


def test_an_immediate_flush_calls_off_a_delayed_one(store):
    store.flush(10)
    store.flush()
    store.put("set", b"k", b"1")
    store.advance(50)
    assert store.get(b"k") is not None


def test_a_delayed_flush_that_was_due_is_not_forgotten(store):
    store.put("set", b"k", b"1")
    store.flush(10)
    store.advance(20)
    store.flush(1000)
    assert store.get(b"k") is None


def test_a_client_s_cas_says_nothing_about_a_delayed_flush(store):
    store.put("set", b"k", b"1", explicit=2**63)
    store.flush(10)
    store.advance(20)
    assert store.get(b"k") is None
