"""The statistics per prefix against a dict, and their bound."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from cachecore_ext.probe import Prefixes

MOST = 65_536

KEYS = st.one_of(
    st.sampled_from([b"a:1", b"a:2", b"b:1", b"ab:", b":", b"::", b"none", b"a\0b:1", b"\xff:\xff"]),
    st.binary(min_size=1, max_size=250),
    st.integers(0, 400).map(lambda n: b"%d:key" % n),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("hit"), KEYS),
        st.tuples(st.just("miss"), KEYS),
        st.tuples(st.just("set"), KEYS),
        st.tuples(st.just("deleted"), KEYS),
        st.just(("reset", b"")),
    ),
    max_size=200,
)
COLUMNS = {"hit": (0, 1), "miss": (0,), "set": (2,), "deleted": (3,)}


def apply(prefixes: Prefixes, step: str, key: bytes) -> None:
    if step == "reset":
        prefixes.reset()
    elif step == "set":
        prefixes.set(key)
    elif step == "deleted":
        prefixes.deleted(key)
    else:
        prefixes.got(key, step == "hit")


@given(STEPS)
def test_against_a_dict(steps):
    prefixes, model = Prefixes(), {}
    for step, key in steps:
        apply(prefixes, step, key)
        if step == "reset":
            model = {}
        elif b":" in key:
            numbers = model.setdefault(key.partition(b":")[0], [0, 0, 0, 0])
            for column in COLUMNS[step]:
                numbers[column] += 1
    assert prefixes.all() == {prefix: tuple(numbers) for prefix, numbers in model.items()}


def test_so_many_and_no_more():
    """The first ones that come are counted on; a reset makes room for others."""
    prefixes = Prefixes()
    for i in range(MOST + 100):
        prefixes.got(b"%d:" % i, False)
    prefixes.set(b"0:")
    prefixes.set(b"%d:" % MOST)
    found = prefixes.all()
    assert len(found) == MOST
    assert found[b"0"] == (1, 0, 1, 0)
    assert found[b"%d" % (MOST - 1)] == (1, 0, 0, 0)
    assert b"%d" % MOST not in found
    prefixes.reset()
    prefixes.set(b"%d:" % MOST)
    assert prefixes.all() == {b"%d" % MOST: (0, 0, 1, 0)}
