"""A store that goes on in the next process: everything is as it was, or nothing is taken up."""

from __future__ import annotations

import os
import random
import time
import weakref
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from cachecore_ext.probe import Store
from tests.unit.test_store_model import LIMIT, StoreModel

MEGABYTE = 1 << 20
PAGE = MEGABYTE
HEAD = 96  # bytes of the state before what concerns classes and pages
OPTIONS: dict[str, Any] = {"memory_limit": 24 * MEGABYTE, "item_size_max": 4 * MEGABYTE}


class Place:
    """A file, and the stores that live in it one after the other."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("memory")
        self.close = weakref.finalize(self, os.close, self.fd)

    @property
    def size(self) -> int:
        return os.fstat(self.fd).st_size

    @property
    def allocated(self) -> int:
        return os.fstat(self.fd).st_blocks * 512

    def read(self) -> bytes:
        return os.pread(self.fd, self.size, 0)

    def rewrite(self, content: bytes) -> None:
        os.ftruncate(self.fd, len(content))
        assert os.pwrite(self.fd, content, 0) == len(content)

    def fresh(self, **options: Any) -> Store:
        return Store(memory_fd=self.fd, **(OPTIONS | options))

    def again(self, state: bytes, downtime: int = 0, **options: Any) -> Store:
        return Store(memory_fd=self.fd, memory_state=state, downtime=downtime, **(OPTIONS | options))


@pytest.fixture
def place() -> Place:
    return Place()


def value(seed: int, size: int) -> bytes:
    return (b"%d-" % seed * (size // 2 + 1))[:size]


SIZES = (0, 1, 10, 100, 1000, 4095, 4096, 20_000, 300_000, 600_000, 1_400_000)


def crowd(store: Store, seed: int, number: int = 3000) -> dict[bytes, bytes]:
    """Fill a store with items of every kind; the values of those that may be there."""
    draw = random.Random(seed)
    values: dict[bytes, bytes] = {}
    for i in range(number):
        key = b"%d" % draw.randrange(number) + bytes([draw.randrange(256)]) * draw.choice((0, 5, 200))
        size = draw.choice(SIZES[:6] * 8 + SIZES)
        status = store.put(
            "set",
            key,
            value(i, size),
            flags=draw.choice((0, 0, 7, 0xFFFFFFFF)),
            exptime=draw.choice((0, 0, 1000, 100_000)),
            explicit=draw.choice((0, 0, 0, 5, 10**12)),
            reserve=size >= 4096 and draw.random() < 0.5,
        )
        values.pop(key, None)
        if status == "STORED":
            values[key] = value(i, size)
        other = draw.choice(list(values))
        what = draw.randrange(12)
        if what < 4:
            store.get(other)
        elif what == 4:
            store.delete(other)
            del values[other]
        elif what == 5:
            store.touch(other, draw.choice((0, 500)))
        elif what == 6 and store.put("append", other, b"+") == "STORED":
            values[other] += b"+"
        elif what == 7 and store.put("set", other, b"stale", compare=1, invalidate=True) == "STORED":
            values[other] = b"stale"
    return values


def looks(store: Store) -> dict[bytes, Any]:
    """All that is known of every item, but for its address."""
    keys = [key for keys in store.order().values() for key in keys]
    return {key: {name: v for name, v in (store.look(key) or {}).items() if name != "address"} for key in keys}


def picture(store: Store) -> dict[str, Any]:
    """All that a restart keeps."""
    lists = {
        cls: {name: of[name] for name in ("number", "bytes", "hot", "warm", "cold", "temp")}
        for cls, of in store.lists().items()
        if of["number"]
    }
    check = store.check()
    classes = {cls: (of["size"], of["pages"], of["used"]) for cls, of in check["classes"].items()}
    return {"order": store.order(), "looks": looks(store), "lists": lists, "classes": classes, "bytes": check["bytes"]}


# ---- all is kept


@pytest.mark.parametrize("seed", range(6))
def test_every_item_its_place_and_all_that_is_known_of_it(place, seed):
    store = place.fresh()
    values = crowd(store, seed)
    before = picture(store)
    assert any("chained" in look["marks"] for look in before["looks"].values())
    again = place.again(store.save())
    after = picture(again)
    assert after == before
    for key in before["looks"]:
        assert again.get(key)[0] == values[key]
    assert again.counters()["total_items"] == len(before["looks"])


@pytest.mark.parametrize("seed", range(3))
def test_it_serves_on(place, seed):
    store = place.fresh()
    crowd(store, seed)
    for _ in range(4):
        store = place.again(store.save())
        store.run_mixed(30_000, seed=seed, keys=5000, sets=50, deletes=10, smallest=16, largest=20_000)
        store.maintain(200)
        store.check()


def test_an_empty_store(place):
    again = place.again(place.fresh().save())
    assert again.check()["items"] == 0
    assert again.put("set", b"k", b"v") == "STORED"
    assert again.get(b"k") == (b"v", 0, 2)


def test_a_clean_start_is_one(place):
    store = place.fresh()
    crowd(store, 1)
    del store
    store = place.fresh()
    assert store.check()["items"] == 0
    store.fill(0, 50_000, 100)
    store.check()


def test_the_order_of_eviction(place):
    """One that was restarted and one that was not evict the same items, but for those whose bucket was in use."""
    there = place.fresh()
    control = Store(**OPTIONS)
    for store in (there, control):
        store.freeze()
        store.fill(0, 20_000, 500)
        store.repeat_get(3000, 2000, 2)
        store.fill(20_000, 20_000, 500)
    there = place.again(there.save())
    left = []
    for store in (there, control):
        store.fill(40_000, 10_000, 500)
        left.append({i for i in range(50_000) if store.look(b"key%d" % i)})
    assert len(left[0]) > 20_000
    assert len(left[0] ^ left[1]) < 50


def test_the_cas_goes_on(place):
    store = place.fresh()
    for i in range(5):
        store.put("set", b"k", b"%d" % i)
    again = place.again(store.save())
    assert again.get(b"k") == (b"4", 0, 6)
    assert again.put("set", b"k", b"v", compare=6) == "STORED"
    assert again.get(b"k") == (b"v", 0, 7)


def test_without_cas(place):
    store = place.fresh(use_cas=False)
    store.put("set", b"k", b"v")
    again = place.again(store.save(), use_cas=False)
    assert again.get(b"k") == (b"v", 0, 0)


def test_what_was_used_when_it_ended_is_in_use_no_more(place):
    """A reply's hold on an item ends with the process, and with it the memory of one that was deleted meanwhile."""
    store = place.fresh()
    for key in (b"kept", b"gone"):
        store.put("set", key, value(1, 100_000))
        store.hold(key)
    store.delete(b"gone")
    again = place.again(store.save())
    assert again.check()["items"] == 1
    assert sum(of["used"] for of in again.check()["classes"].values()) == 1
    assert again.get(b"kept")[0] == value(1, 100_000)


def test_in_the_middle_of_a_move(place):
    store = place.fresh()
    for i in range(6):
        store.put("set", b"%d" % i, value(i, 1_400_000))
    store.fill(0, 9000, 500)
    cls = next(cls for cls, of in store.lists().items() if of["number"] == 9000)
    held = [store.hold(b"%d" % i) for i in range(6)]
    store.maintain()
    store.automove(0)
    for source, steps in ((cls, 2000), (max(store.lists()), 100)):
        assert store.reassign(source, 0) == 0
        store.maintain(steps)
    assert store.mover()["moved"] == 1
    assert store.mover()["moving"]
    for handle in held:
        store.release(handle)
    before = looks(store)
    again = place.again(store.save())
    assert looks(again) == before
    again.check()
    again.fill(9000, 9000, 500)
    again.check()
    assert all(again.get(b"%d" % i)[0] == value(i, 1_400_000) for i in range(6))


def test_a_page_that_left_its_class_is_clean(place):
    store = place.fresh()
    store.maintain()
    store.automove(0)
    for i in range(9000):
        store.put("set", b"%d" % i, value(i, 500))
    cls = max(store.lists())
    for i in range(9000):
        store.delete(b"%d" % i)
    assert store.reassign(cls, 0) == 0
    store.maintain(2000)
    assert store.mover()["moved"] == 1
    for i in range(60):
        store.put("set", b"%d" % i, value(i, i * 10))
    store.check()
    again = place.again(store.save())
    again.check()


def test_the_limit_is_the_file_s(place):
    store = place.fresh()
    size = place.size
    assert size > 24 * MEGABYTE
    assert place.allocated >= size, "a write could find no space"
    assert not store.set_limit(16 * MEGABYTE)
    assert not store.set_limit(64 * MEGABYTE)
    assert store.memory()["limit"] == 24 * MEGABYTE
    state = store.save()
    assert place.size < size
    place.again(state)
    assert place.size == size
    assert place.allocated >= size


class RestartedStoreModel(StoreModel):
    """The store's model does not see that its store is another one."""

    def __init__(self):
        super().__init__()
        self.place = Place()
        self.options = {"item_size_max": LIMIT, "memory_limit": 20 << 20}
        self.store = self.place.fresh(**self.options)
        self.store.freeze()

    @precondition(lambda self: not self.held)
    @rule(downtime=st.sampled_from([0, 0, 1, 60]))
    def restart(self, downtime):
        before = self.store.now
        self.store = self.place.again(self.store.save(), downtime, **self.options)
        self.store.freeze()
        assert before + downtime <= self.store.now <= before + downtime + 1


TestRestartedStoreModel = RestartedStoreModel.TestCase
TestRestartedStoreModel.settings = settings(TestRestartedStoreModel.settings, max_examples=25)


# ---- time goes on


def test_what_ended_meanwhile_is_gone(place):
    store = place.fresh()
    store.put("set", b"short", b"1", exptime=10)
    store.put("set", b"long", b"2", exptime=1000)
    store.put("set", b"for ever", b"3")
    store.put("set", b"until soon", b"4", exptime=int(time.time()) + 50)
    store.put("set", b"until later", b"5", exptime=int(time.time()) + 5000)
    again = place.again(store.save(), downtime=60)
    assert again.get(b"short") is None
    assert again.get(b"until soon") is None
    assert again.get(b"for ever")[0] == b"3"
    for key, left in ((b"long", 940), (b"until later", 4940)):
        assert again.get(key) is not None
        assert abs(again.look(key)["exptime"] - again.now - left) <= 1
    again.put("set", b"until then", b"6", exptime=int(time.time()) + 60 + 500)
    assert abs(again.look(b"until then")["exptime"] - again.now - 500) <= 1


def test_a_clock_that_went_backwards_keeps_what_there_is(place):
    store = place.fresh()
    store.put("set", b"k", b"v", exptime=10)
    tick = store.now
    again = place.again(store.save(), downtime=-1000)
    assert again.now >= tick
    assert again.get(b"k") is not None


def test_a_flush_holds(place):
    store = place.fresh()
    store.freeze()
    store.put("set", b"before", b"1")
    store.put("set", b"before, explicit", b"1", explicit=10**9)
    store.flush()
    store.put("set", b"after", b"2")
    store.put("set", b"after, explicit", b"2", explicit=3)
    again = place.again(store.save())
    assert again.get(b"before") is None
    assert again.get(b"before, explicit") is None
    assert again.get(b"after")[0] == b"2"
    assert again.get(b"after, explicit")[0] == b"2"
    again.put("set", b"later, explicit", b"3", explicit=4)  # within the same second, most likely
    assert again.get(b"later, explicit")[0] == b"3"


@pytest.mark.parametrize("downtime", [0, 60])
def test_a_flush_that_is_still_to_come_comes(place, downtime):
    store = place.fresh()
    store.put("set", b"k", b"1")
    store.flush(50)
    again = place.again(store.save(), downtime=downtime)
    assert (again.get(b"k") is None) == (downtime == 60)
    again.advance(60)
    assert again.get(b"k") is None


# ---- what is refused


def refusal(place: Place, state: bytes, **options: Any) -> str:
    with pytest.raises(ValueError, match=r"^[A-Z_]+$") as caught:
        place.again(state, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"memory_limit": 25 * MEGABYTE}, "OTHER_LIMIT"),
        ({"item_size_max": 3 * MEGABYTE}, "OTHER_ITEM_SIZE"),
        ({"use_cas": False}, "OTHER_CAS"),
        ({"growth_factor": 1.25}, "OTHER_CHUNKS"),
        ({"chunk_min": 52}, "OTHER_CHUNKS"),
        ({"chunk_max": 256 * 1024}, "OTHER_CHUNKS"),
    ],
)
def test_other_settings(place, options, reason):
    store = place.fresh()
    crowd(store, 1, 100)
    assert refusal(place, store.save(), **options) == reason


def test_another_number_of_threads_is_fine(place):
    store = place.fresh(threads=1)
    crowd(store, 1, 100)
    before = picture(store)
    assert picture(place.again(store.save(), threads=20)) == before


def test_another_format(place):
    state = place.fresh().save()
    assert refusal(place, bytes([state[0] + 1]) + state[1:]) == "OTHER_FORMAT"
    assert refusal(place, state[:4][::-1] + state[4:]) == "OTHER_FORMAT"


def test_a_state_that_was_cut(place):
    store = place.fresh()
    crowd(store, 1, 100)
    state = store.save()
    for length in (0, 1, HEAD - 1, HEAD, HEAD + 1, len(state) - 16, len(state) - 1):
        assert refusal(place, state[:length]) == "STATE_WRONG"
    assert refusal(place, state + bytes(1)) == "STATE_WRONG"
    assert refusal(place, state + bytes(16)) == "STATE_WRONG"


@pytest.mark.parametrize("change", [-PAGE, -1, 1, PAGE])
def test_a_file_that_was_cut_or_made_longer(place, change):
    store = place.fresh()
    crowd(store, 1, 500)
    state = store.save()
    os.ftruncate(place.fd, place.size + change)
    assert refusal(place, state) == "FILE_LENGTH"


def test_a_page_that_was_damaged(place):
    store = place.fresh()
    crowd(store, 1, 2000)
    state = store.save()
    content = place.read()
    draw = random.Random(2)
    for at in [0, len(content) - 1, *(draw.randrange(len(content)) for _ in range(40))]:
        os.pwrite(place.fd, bytes([content[at] ^ (1 << draw.randrange(8))]), at)
        assert refusal(place, state) == "PAGE_DAMAGED"
        place.rewrite(content)
    place.again(state).check()


def test_a_page_of_the_pool_may_hold_anything(place):
    store = place.fresh()
    store.maintain()
    store.automove(0)
    store.fill(0, 9000, 500)
    cls = max(store.lists())
    for i in range(9000):
        store.delete(b"key%d" % i)
    for _ in range(2):
        store.reassign(cls, 0)
        store.maintain(2000)
    assert store.mover()["moved"] == 2
    state = store.save()
    content = place.read()
    pool = next(at for at in range(0, len(content), PAGE) if not any(content[at : at + PAGE]))
    os.pwrite(place.fd, os.urandom(PAGE), pool)
    again = place.again(state)
    again.fill(0, 9000, 500)
    again.check()


# ---- Damage that the checksums do not show: the file is written before they are made, while nobody works on the store.


def outcome(place: Place, state: bytes) -> str:
    """Take up what may be damaged: either it is refused or it is sound."""
    try:
        again = place.again(state)
    except ValueError as error:
        return str(error)
    again.check()
    again.run_mixed(2000, seed=1, keys=3000, sets=50, deletes=10, smallest=16, largest=20_000)
    again.check()
    return "TAKEN_UP"


WORDS = {"meta": 0, "next": 4, "prev": 8, "time": 12, "exptime": 16, "cas": 20, "nbytes": 28, "refs": 32, "chain": 36}


def damaged(place: Place, store: Store, key: bytes, word: str, number: int) -> str:
    """What comes of an item with another number in this word."""
    base = base_of(store)
    os.pwrite(place.fd, number.to_bytes(4, "little"), store.look(key)["address"] - base + WORDS[word])
    return outcome(place, store.save())


def base_of(store: Store) -> int:
    """The address at which the store's file is mapped."""
    address = next(look["address"] for key in looks(store) if (look := store.look(key)))
    for line in Path("/proc/self/maps").read_text().splitlines():
        begin, end = (int(number, 16) for number in line.split(" ")[0].split("-"))
        if begin <= address < end:
            assert "/memfd:memory" in line
            return begin
    raise LookupError(address)


@pytest.mark.parametrize(
    ("word", "number", "expected"),
    [
        ("meta", 0, "ITEM_WRONG"),  # no key
        ("meta", 250, "ITEM_WRONG"),  # a key longer than the chunk
        ("meta", 3 | 4000 << 8, "ITEM_WRONG"),  # a value longer than the chunk
        ("meta", 3 | 1 << 22, "ITEM_WRONG"),  # chained but not large
        ("next", 1, "ITEM_WRONG"),
        ("next", 3, "ITEM_WRONG"),
        ("next", 0xFFFFFFFF, "ITEM_WRONG"),
        ("prev", 1, "ITEM_WRONG"),
        ("prev", 0, "ITEM_WRONG"),
        ("prev", 0xFFFFFFFF, "ITEM_WRONG"),
        ("cas", 10**9, "ITEM_WRONG"),  # not given out yet
        ("time", 0xFFFFFFFF, "TAKEN_UP"),
        ("exptime", 0xFFFFFFFF, "TAKEN_UP"),
    ],
)
def test_a_wrong_word_of_an_item(place, word, number, expected):
    store = place.fresh()
    for i in range(20):
        store.put("set", b"k%02d" % i, b"value")
    assert damaged(place, store, b"k10", word, number) == expected


@pytest.mark.parametrize(
    ("word", "number", "expected"),
    [
        ("nbytes", 0, "ITEM_WRONG"),
        ("nbytes", 0xFFFFFFFF, "ITEM_WRONG"),
        ("chain", 0, "ITEM_WRONG"),
        ("chain", 1, "ITEM_WRONG"),
        ("chain", 0xFFFFFFFF, "ITEM_WRONG"),
        ("refs", 0, "TAKEN_UP"),
        ("refs", 77, "TAKEN_UP"),
    ],
)
def test_a_wrong_word_of_a_chained_item(place, word, number, expected):
    store = place.fresh()
    for i in range(3):
        store.put("set", b"k%d" % i, value(i, 1_400_000))
    assert damaged(place, store, b"k1", word, number) == expected


def word_at(place: Place, at: int) -> int:
    return int.from_bytes(os.pread(place.fd, 4, at), "little")


def add_to_word(place: Place, at: int, number: int) -> None:
    os.pwrite(place.fd, (word_at(place, at) + number).to_bytes(4, "little"), at)


def test_an_item_of_another_segment(place):
    store = place.fresh()
    store.put("set", b"k", b"value")
    add_to_word(place, store.look(b"k")["address"] - base_of(store), 1 << 30)
    assert outcome(place, store.save()) == "ITEM_WRONG"


def pieces_of(place: Place, store: Store, key: bytes) -> list[int]:
    """Where the pieces of a chained value are in the file."""
    ref = word_at(place, store.look(key)["address"] - base_of(store) + WORDS["chain"])
    found = []
    while ref:
        found.append((ref - 1) * 4)
        ref = word_at(place, found[-1] + PIECE_WORDS["next"])
    return found


PIECE_WORDS = {"meta": 0, "next": 4, "size": 8, "owner": 12}


@pytest.mark.parametrize("word", PIECE_WORDS)
def test_a_wrong_word_of_a_piece(place, word):
    store = place.fresh()
    for i in range(3):
        store.put("set", b"k%d" % i, value(i, 1_400_000))
    first, *_ = pieces_of(place, store, b"k1")
    add_to_word(place, first + PIECE_WORDS[word], 1)
    assert outcome(place, store.save()) == "ITEM_WRONG"


def test_a_value_that_is_longer_than_its_pieces(place):
    """Two lengths are wrong, but their sum is right."""
    store = place.fresh()
    for i in range(3):
        store.put("set", b"k%d" % i, value(i, 1_400_000))
    base = base_of(store)
    add_to_word(place, store.look(b"k0")["address"] - base + WORDS["nbytes"], 1)
    add_to_word(place, store.look(b"k1")["address"] - base + WORDS["nbytes"], -1)
    add_to_word(place, pieces_of(place, store, b"k1")[-1] + PIECE_WORDS["size"], -1)
    assert outcome(place, store.save()) == "ITEM_WRONG"


def test_two_items_of_one_key(place):
    store = place.fresh()
    store.put("set", b"k1", b"value")
    store.put("set", b"k2", b"value")
    at = store.look(b"k2")["address"] - base_of(store)
    os.pwrite(place.fd, b"k1", at + 28)
    assert outcome(place, store.save()) == "ITEM_WRONG"


def test_an_item_that_is_in_its_list_twice(place):
    store = place.fresh()
    for key in (b"k1", b"k2", b"k3"):
        store.put("set", key, b"value")
    base = base_of(store)
    first, last = (store.look(key)["address"] - base for key in (b"k1", b"k3"))  # k3 is the list's head
    os.pwrite(place.fd, os.pread(place.fd, 4, last + 4), first + 4)  # the tail goes on with the second
    assert outcome(place, store.save()) == "ITEM_WRONG"


def test_an_item_inside_of_another(place):
    """A reference into the middle of a chunk, where a client has stored what looks like the item that is meant."""
    store = place.fresh()
    for key in (b"k1", b"k2", b"k3"):
        store.put("set", key, value(1, 3000))
    base = base_of(store)
    tail, middle, head = (store.look(key)["address"] - base for key in (b"k1", b"k2", b"k3"))
    os.pwrite(place.fd, os.pread(place.fd, 30, middle), middle + 100)
    inside = ((middle + 100) // 4 + 1).to_bytes(4, "little")
    os.pwrite(place.fd, inside, head + WORDS["next"])
    os.pwrite(place.fd, inside, tail + WORDS["prev"])
    assert outcome(place, store.save()) == "ITEM_WRONG"


@pytest.mark.parametrize("seed", range(2))
def test_any_damage_is_refused_or_does_no_harm(place, seed):
    draw = random.Random(seed)
    outcomes = set()
    for i in range(30):
        store = place.fresh()
        crowd(store, seed * 100 + i, 300)
        base = base_of(store)
        chunks = [look["address"] - base for key in looks(store) if (look := store.look(key))]
        for _ in range(draw.choice((1, 1, 3))):
            at = draw.choice(chunks) + draw.randrange(44)
            os.pwrite(place.fd, bytes([draw.choice((0, 1, 255, draw.randrange(256)))]), at)
        outcomes.add(outcome(place, store.save()))
    assert outcomes == {"ITEM_WRONG", "TAKEN_UP"}


def test_any_damage_to_the_state_is_refused_or_does_no_harm(place):
    store = place.fresh()
    crowd(store, 5, 300)
    state = store.save()
    content = place.read()
    draw = random.Random(6)
    outcomes = set()
    for i in range(80):
        damaged_state = bytearray(state)
        damaged_state[draw.randrange(HEAD if i % 2 else len(state))] ^= 1 << draw.randrange(8)
        outcomes.add(outcome(place, bytes(damaged_state)))
        place.rewrite(content)
    assert outcomes >= {"TAKEN_UP", "STATE_WRONG", "ITEM_WRONG"}
