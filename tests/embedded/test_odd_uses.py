"""Arguments that are none, and code of the user's that comes back to the cache in the middle of a call."""

from __future__ import annotations

import importlib
import math
import pickle
import sys
import threading
from pathlib import Path

import pytest

import cachecore_ext
from cachecore import Cache


@pytest.fixture
def cache():
    with Cache() as one:
        yield one


@pytest.mark.parametrize("wrong", [1.5, 2.0, math.nan, "1", b"1", None])
def test_a_number_is_whole_or_none(cache, wrong):
    """A float is not cut off."""
    cache["n"] = b"5"
    for call in (
        lambda: cache.incr("n", wrong),
        lambda: cache.decr("n", wrong),
        lambda: cache.cas("n", b"6", wrong),
    ):
        with pytest.raises(TypeError):
            call()
    if wrong is not None:
        with pytest.raises(TypeError):
            cache.incr("new", initial=wrong)
    assert cache["n"] == b"5"
    assert "new" not in cache


@pytest.mark.parametrize("ttl", [-1, -1e300, -math.inf, 0.0, -(1 << 80)])
def test_what_ends_before_it_begins(cache, ttl):
    cache.set("a", b"1", ttl=ttl)
    assert cache.get("a") is None


@pytest.mark.parametrize("ttl", [1 << 80, math.inf, 1e300])
def test_what_ends_after_all_time_does_not_end(cache, ttl):
    cache.set("a", b"1", ttl=ttl)
    cache.clock.advance(1 << 31)
    assert cache.get("a") == b"1"


class Intruder:
    """A serializer, a TTL, a number and an iterable of keys that run ``act`` when the cache asks for what they are."""

    def __init__(self, act):
        self.act = act

    def dumps(self, value):
        self.act()
        return pickle.dumps(value)

    def loads(self, value):
        self.act()
        return pickle.loads(value)

    def __float__(self):
        self.act()
        return 5.0

    def __index__(self):
        self.act()
        return 5

    def __iter__(self):
        yield "a"
        self.act()
        yield "b"


def entries(cache, intruder):
    return (
        lambda: cache.set("a", b"1", ttl=intruder),
        lambda: cache.incr("n", intruder),
        lambda: cache.get_many(intruder),
        lambda: cache.delete_many(intruder),
        lambda: cache.touch("a", intruder),
    )


@pytest.mark.parametrize("number", range(5))
def test_a_cache_that_is_closed_in_the_middle_of_a_call(number):
    with Cache() as cache:
        cache["a"] = b"1"
        cache["n"] = b"1"
        with pytest.raises(RuntimeError, match="closed"):
            entries(cache, Intruder(cache.close))[number]()


def test_a_serializer_that_closes_the_cache():
    calls = []
    with Cache(serializer=Intruder(lambda: calls.append(1) or (len(calls) == 3 and cache.close()))) as cache:
        cache["a"] = "x" * 300_000
        assert cache["a"] == "x" * 300_000
        with pytest.raises(RuntimeError, match="closed"):
            cache["b"] = "2"


def test_a_serializer_that_uses_the_cache():
    """It finds the old value while the new one is made, and the new one while that is opened."""
    seen = []
    inside = threading.local()

    def look():
        if not getattr(inside, "busy", False):
            inside.busy = True
            seen.append(cache.get("a"))
            inside.busy = False

    with Cache(serializer=Intruder(look)) as cache:
        cache["a"] = 1
        cache["a"] = 2
        assert cache["a"] == 2
        assert seen == [None, 1, 2]


def test_a_value_without_end_is_refused_by_the_serializer():
    endless = []
    for _ in range(100_000):
        endless = [endless]
    with Cache(serializer=pickle) as cache:
        cache["a"] = 1
        with pytest.raises(RecursionError):
            cache["a"] = endless
        assert cache["a"] == 1
        while endless:  # one level at a time: its end is no recursion
            endless = endless[0]


def test_a_function_that_calls_itself_is_no_deadlock():
    with Cache(serializer=pickle) as cache:

        @cache.memoize()
        def below(number):
            return 0 if number == 0 else below(number - 1) + 1

        @cache.memoize()
        def same(number):
            return same(number)

        assert below(50) == 50
        with pytest.raises(RecursionError):
            same(1)
        assert below(51) == 51


def test_closing_while_every_kind_of_call_is_under_way():
    for _ in range(5):
        cache = Cache(memory_limit=8 << 20)
        errors = []

        def use(cache=cache, errors=errors):
            try:
                while True:
                    cache.set("large", b"x" * 600_000)
                    cache.get("large")
                    cache.incr("n", 1, initial=1)
                    list(cache.items())
            except RuntimeError as error:
                errors.append(str(error))

        threads = [threading.Thread(target=use) for _ in range(4)]
        for thread in threads:
            thread.start()
        while "n" not in cache:
            pass
        cache.close()
        for thread in threads:
            thread.join(30)
        assert errors == ["the cache is closed"] * 4


def test_sources_that_were_not_built_say_so(tmp_path, monkeypatch):
    """They come first in a checkout, whatever is installed."""
    (tmp_path / "cachecore_ext").mkdir()
    (tmp_path / "cachecore_ext" / "__init__.py").write_bytes(Path(cachecore_ext.__file__).read_bytes())
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cachecore_ext")
    with pytest.raises(ImportError, match=r"not built in .*: go to another folder"):
        importlib.import_module("cachecore_ext")
