"""A flush and what is made of an old item at the same moment: it does not outlive a flush that the old item does not.

The tests hold a flush between its two halves: it has read the last cas, and nothing is gone yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait

import pytest

from cachecore_ext.probe import Store

LARGE, CHAINED = 10_000, 600_000
EXPLICIT = 2**60

Change = Callable[[Store], object]

#: Commands whose outcome has to do with the item that there is, and what they say to one that lives.
CHANGES: dict[str, tuple[Change, object]] = {
    "incr": (lambda store: store.delta(b"k", 1), 8),
    "a longer number": (lambda store: store.delta(b"k", 10), 17),
    "decr": (lambda store: store.delta(b"k", 1, False), 6),
    "append": (lambda store: store.put("append", b"k", b"0"), "STORED"),
    "prepend": (lambda store: store.put("prepend", b"k", b"0", vivify=0), "STORED"),
    "append a large value": (lambda store: store.put("append", b"k", bytes(LARGE), reserve=True), "STORED"),
    "replace": (lambda store: store.put("replace", b"k", b"8"), "STORED"),
    "replace by a large value": (lambda store: store.put("replace", b"k", bytes(LARGE), reserve=True), "STORED"),
    "cas": (lambda store: store.put("set", b"k", b"8", compare=store.look(b"k")["cas"]), "STORED"),
    "cas of another size": (lambda store: store.put("set", b"k", bytes(99), compare=store.look(b"k")["cas"]), "STORED"),
    "invalidate": (lambda store: store.put("set", b"k", b"8", compare=1, invalidate=True), "STORED"),
    "another cas": (lambda store: store.renew(b"k"), True),
}
#: The same with a cas that the client chooses: what goes by its time.
CHOSEN: dict[str, tuple[Change, object]] = {
    "replace": (lambda store: store.put("replace", b"k", b"8", explicit=EXPLICIT), "STORED"),
    "append": (lambda store: store.put("append", b"k", b"0", explicit=EXPLICIT), "STORED"),
    "another cas": (lambda store: store.renew(b"k", EXPLICIT), True),
}


@pytest.fixture(params=[4, 8])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """Its clock stands still; with eight threads cas are drawn in blocks."""
    standing = Store(threads=request.param)
    standing.freeze()
    yield standing
    standing.check()


def meanwhile(store: Store, change: Change) -> object:
    """What is said to ``change``, which comes between the halves of a flush, if it does not wait for its end."""
    last = store.flush_begin()
    with ThreadPoolExecutor(1) as pool:
        running: Future[object] = pool.submit(change, store)
        while not store.flush_awaited and not running.done():
            wait([running], 0.001)
        store.flush_end(last)
        return running.result()


@pytest.mark.parametrize(("change", "said"), [*CHANGES.values(), *CHOSEN.values()], ids=[*CHANGES, *CHOSEN])
def test_what_is_made_of_an_old_item_goes_with_it(store, change, said):
    store.put("set", b"k", b"7")
    assert meanwhile(store, change) == said
    assert store.get(b"k") is None
    assert store.counters()["get_flushed"] == 1


def test_so_does_a_chained_value_that_grows_in_its_place(store):
    store.put("set", b"k", bytes(CHAINED))
    address = store.look(b"k")["address"]
    assert meanwhile(store, lambda store: store.put("append", b"k", b"0")) == "STORED"
    assert store.look(b"k")["address"] == address
    assert store.get(b"k") is None


@pytest.mark.parametrize(("change", "said"), CHANGES.values(), ids=list(CHANGES))
def test_what_is_made_of_a_new_item_stays(store, change, said):
    def anew(store: Store) -> object:
        assert store.put("set", b"k", b"7") == "STORED"
        return change(store)

    assert meanwhile(store, anew) == said
    assert store.get(b"k") is not None


@pytest.mark.parametrize("value", [b"8", bytes(99), bytes(LARGE)])
def test_a_set_stays(store, value):
    store.put("set", b"k", b"7")
    assert meanwhile(store, lambda store: store.put("set", b"k", value)) == "STORED"
    assert store.get(b"k") is not None


@pytest.mark.parametrize(
    ("access", "said"),
    [
        (lambda store: store.get(b"k"), None),
        (lambda store: store.delta(b"k", 1), "NOT_FOUND"),
        (lambda store: store.put("append", b"k", b"0"), "NOT_STORED"),
        (lambda store: store.put("add", b"k", b"8"), "STORED"),
    ],
)
def test_an_item_that_goes_by_its_time_is_not_looked_at_before_the_end(store, access, said):
    store.put("set", b"k", b"7", explicit=EXPLICIT)
    assert meanwhile(store, access) == said


@pytest.mark.parametrize("explicit", [0, EXPLICIT])
def test_a_flush_since_an_item_was_found_takes_it(store, explicit):
    store.put("set", b"k", b"7", explicit=explicit)
    former = store.former(b"k")
    assert not store.overtaken(former)
    store.flush()
    assert store.overtaken(former)
    store.put("set", b"k", b"7", explicit=explicit)
    assert not store.overtaken(store.former(b"k"))
    assert not store.overtaken(store.former(b"none"))


# ---- the time of an item whose cas a client chose


@pytest.mark.parametrize("flushes", [1, 2, 1000])
def test_flushes_that_meet_no_such_item_move_no_time_on(store, flushes):
    for _ in range(flushes):
        store.flush()
    store.put("set", b"k", b"7", explicit=EXPLICIT)
    assert store.look(b"k")["time"] == store.now + 1


def test_each_flush_takes_those_stored_since_the_last_one(store):
    for _ in range(10):
        store.put("set", b"k", b"7", explicit=EXPLICIT)
        store.put("set", b"l", b"7", explicit=EXPLICIT)
        store.advance(1)
        assert store.get(b"k") is not None  # noted, which is later than its storing
        store.flush()
        store.flush()
        assert store.get(b"k") is None
        assert store.get(b"l") is None


def far_ahead(store: Store) -> None:
    """Let times run ahead of the clock."""
    for _ in range(100):
        store.put("set", b"k", b"7", explicit=EXPLICIT)
        store.flush()


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("stored", [0, 3, 9, 10])
def test_a_delayed_flush_takes_what_was_stored_before_it_is_due(store, ahead, stored):
    """As it does with other items: what is stored in its last second goes, too."""
    if ahead:
        far_ahead(store)
    store.flush(10)  # takes what is stored up to the ninth second
    store.advance(stored)
    for key, explicit in (b"e", EXPLICIT), (b"p", 0):
        store.put("set", key, b"7", explicit=explicit)
        assert store.get(key) is not None or stored == 9
    store.advance(10)
    assert (store.get(b"e") is None) == (store.get(b"p") is None) == (stored < 10)
    store.flush(5)  # the one before stays done
    assert (store.get(b"e") is None) == (stored < 10)
    store.advance(5)
    assert store.get(b"e") is None


def test_delayed_flushes_by_turns_with_such_items(store):
    far_ahead(store)
    for _ in range(20):
        store.flush(2)
        store.put("set", b"e", b"7", explicit=EXPLICIT)
        store.advance(1)
        store.put("set", b"l", b"7", explicit=EXPLICIT)
        store.flush(2)  # the one before was due: what was stored in its second is gone
        assert store.get(b"l") is None
        store.put("set", b"l", b"7", explicit=EXPLICIT)
        assert store.get(b"l") is not None
        store.advance(2)
        assert store.get(b"e") is None


def test_delayed_flushes_that_meet_no_such_item_move_no_time_on(store):
    for _ in range(100):
        store.flush(1)
    store.advance(1)
    store.put("set", b"k", b"7", explicit=EXPLICIT)
    assert store.look(b"k")["time"] <= store.now + 1


def test_an_item_that_gets_a_cas_of_the_servers_goes_by_the_clock_again(store):
    far_ahead(store)
    store.put("set", b"k", b"7", explicit=EXPLICIT)
    store.delta(b"k", 1)
    assert store.look(b"k")["time"] == store.now
    store.flush(2)
    store.advance(2)
    assert store.get(b"k") is None
