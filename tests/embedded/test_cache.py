"""``Cache``: the store's operations, time, memory, threads, and its end."""

from __future__ import annotations

import ast
import gc
import inspect
import json
import os
import pickle
import sys
import threading
import tracemalloc
import weakref
from datetime import timedelta
from pathlib import Path

import pytest

import cachecore_ext
from cachecore import Cache, TooLargeError
from cachecore_ext.embedded import Embedded
from tests.support.children import in_a_child

MEBIBYTE = 1 << 20


@pytest.fixture
def cache():
    with Cache() as one:
        one.clock.freeze()
        yield one


def test_single_operations(cache):
    assert cache.get("a") is None
    assert cache.get("a", 5) == 5
    assert cache.set("a", b"1") is None
    assert (cache.get("a"), cache.get(b"a"), cache["a"]) == (b"1", b"1", b"1")
    assert (cache.add("a", b"2"), cache.add("b", b"2")) == (False, True)
    assert (cache.replace("a", b"3"), cache.replace("c", b"3")) == (True, False)
    assert (cache.delete("a"), cache.delete("a")) == (True, False)
    assert "a" not in cache
    assert "b" in cache


def test_cas(cache):
    assert cache.gets("a") is None
    cache["a"] = b"1"
    value, token = cache.gets("a")
    assert value == b"1"
    assert cache.cas("a", b"2", token) is True
    assert cache.cas("a", b"3", token) is False
    assert cache.cas("b", b"3", token) is None
    assert cache["a"] == b"2"


def test_numbers(cache):
    assert cache.incr("n") is None
    assert cache.incr("n", initial=7) == 7
    assert (cache.incr("n", 5), cache.decr("n"), cache.decr("n", 100)) == (12, 11, 0)
    cache["n"] = b"18446744073709551615"
    assert cache.incr("n") == 0
    cache["n"] = b"x"
    with pytest.raises(ValueError, match="number"):
        cache.incr("n")
    for wrong in (-1, 1 << 64):
        with pytest.raises(OverflowError):
            cache.incr("n", wrong)


def test_many(cache):
    cache.set_many({"a": b"1", b"b": b"2"})
    assert cache.get_many(["a", b"b", "c"]) == {"a": b"1", b"b": b"2"}
    assert cache.delete_many(["a", "b", "c"]) == 2
    assert len(cache) == 0


@pytest.mark.parametrize("size", [0, 1, 8, 100, 4095, 4096, 5000, 256 * 1024 - 1, 256 * 1024, 600_000, 1_000_000])
def test_values_of_every_size(cache, size):
    value = os.urandom(size)
    for key in ("a", "b"):
        cache[key] = value
    assert (cache["a"], cache["b"]) == (value, value)


def test_keys(cache):
    for key in ("ä" * 125, b"\x00\r\n \xff", "k" * 250):
        cache[key] = b"v"
        assert cache[key] == b"v"
    assert cache["ä" * 125] == cache[("ä" * 125).encode()]
    for wrong in ("", b"", "k" * 251, "ä" * 126):
        with pytest.raises(ValueError, match="250"):
            cache.get(wrong)
    for wrong in (1, None, ("a",)):
        with pytest.raises(TypeError, match="key"):
            cache.get(wrong)


def test_wrong_values(cache):
    for wrong in ("text", 1, None):
        with pytest.raises(TypeError, match="bytes"):
            cache.set("a", wrong)
    cache["a"] = bytearray(b"1")
    cache["a"] = memoryview(b"23")
    assert cache["a"] == b"23"
    with pytest.raises(TooLargeError):
        cache.set("a", bytes(MEBIBYTE))
    assert "a" not in cache


# ---- time


def test_a_ttl_ends(cache):
    cache.set("a", b"1", 10)
    cache.set("b", b"1", 9.5)
    cache.set("c", b"1", None)
    cache.add("d", b"1", ttl=40 * 24 * 3600)  # longer than the protocol's relative times
    cache.clock.advance(9)
    assert {key for key in "abcd" if key in cache} == set("abcd")
    cache.clock.advance(1)
    assert {key for key in "abcd" if key in cache} == set("cd")
    cache.clock.advance(40 * 24 * 3600)
    assert {key for key in "abcd" if key in cache} == set("c")


def test_touch(cache):
    cache.set("a", b"1", 5)
    assert (cache.touch("a", 20), cache.touch("b", 20)) == (True, False)
    cache.clock.advance(10)
    assert "a" in cache
    cache.touch("a", 0)
    assert "a" not in cache


def test_a_ttl_of_nothing_has_ended(cache):
    for ttl in (0, -1, -0.5):
        cache["a"] = b"1"
        cache.set("a", b"2", ttl)
        assert "a" not in cache
    cache.set("a", b"1", float("inf"))
    assert "a" in cache
    with pytest.raises(ValueError, match="nan"):
        cache.set("a", b"1", float("nan"))
    with pytest.raises(TypeError, match="TTL"):
        cache.set("a", b"1", "60")


def test_default_ttl():
    with Cache(default_ttl=10) as cache:
        cache.clock.freeze()
        cache["a"] = b"1"
        cache.set("b", b"1")
        cache.set("c", b"1", None)
        cache.clock.advance(10)
        assert list(cache) == [b"c"]


# ---- memory


def test_what_is_not_used_goes():
    with Cache(2 * MEBIBYTE) as cache:
        for i in range(20_000):
            cache[f"key{i}"] = bytes(500)
        found = cache.stats()
        assert found["evictions"] > 10_000
        assert found["limit_maxbytes"] == 2 * MEBIBYTE
        assert len(cache) == found["curr_items"] > 1000


def test_without_evictions():
    with Cache(2 * MEBIBYTE, disable_evictions=True) as cache:
        with pytest.raises(MemoryError):
            for i in range(20_000):
                cache[f"key{i}"] = bytes(500)
        assert cache["key0"] == bytes(500)


def test_options():
    with pytest.raises(ValueError, match="memory_limit"):
        Cache(64)
    with pytest.raises(TypeError):
        Cache(no_such_option=1)
    with pytest.raises(ValueError, match="memory_file"):
        Cache(memory_file="/tmp/x")


# ---- a serializer


@pytest.mark.parametrize("serializer", [pickle, json])
def test_a_serializer(serializer):
    with Cache(serializer=serializer) as cache:
        for value in (None, 5, "text", {"a": [1, 2.5]}):
            cache["a"] = value
            assert cache.get("a", "missing") == value
        assert cache.setdefault("n", 3) == cache.setdefault("n", 4) == 3
        assert cache.incr("counter", initial=1) == 1
        assert cache["counter"] == b"1"


# ---- as a mapping


def test_a_mapping(cache):
    expected = {f"key{i}".encode(): b"%d" % i for i in range(1000)}
    cache.update(expected)
    assert dict(cache.items()) == expected
    assert sorted(cache) == sorted(cache.keys()) == sorted(expected)
    assert sorted(cache.values()) == sorted(expected.values())
    assert len(cache) == 1000
    assert cache.pop("key5") == b"5"
    with pytest.raises(KeyError, match="key5"):
        cache["key5"]
    with pytest.raises(KeyError, match="key5"):
        del cache["key5"]
    cache.clear()
    assert list(cache) == []
    assert cache == cache
    assert hash(cache) != hash(Cache())


@pytest.mark.parametrize("number", [1, 10, 1000, 60_000])
def test_a_cleared_cache_has_no_length(cache, number):
    cache.set_many({f"{i:0{1 + i % 99}}": b"v" for i in range(number)})
    cache.set("ended", b"v", ttl=0)
    cache["held"] = bytes(300_000)
    assert len(cache) >= number
    cache.clear()
    assert (len(cache), list(cache), bool(cache)) == (0, [], False)
    cache["new"] = b"v"
    assert (len(cache), list(cache)) == (1, [b"new"])


def test_clear_leaves_what_comes_meanwhile():
    """... and counts it: one thread clears while another stores."""
    with Cache() as cache:
        cache.set_many({f"old {i}": b"v" for i in range(50_000)})
        begun = threading.Event()

        def store():
            begun.set()
            for i in range(2000):
                cache[f"new {i}"] = b"v"

        other = threading.Thread(target=store)
        other.start()
        begun.wait()
        cache.clear()
        other.join()
        assert len(cache) == len(list(cache))
        assert not [key for key in cache if key.startswith(b"old")]
        assert b"new 1999" in cache or len(cache) == 0


def test_keys_that_go_during_a_walk_are_no_error(cache):
    cache.update({f"key{i}": b"1" for i in range(500)})
    seen = 0
    for key, _ in cache.items():
        cache.pop(key, None)
        cache.delete_many([f"key{i}" for i in range(250)])
        seen += 1
    assert 250 <= seen <= 500
    assert len(cache) == 0


# ---- threads


def together(count, work):
    failures = []

    def run(index):
        try:
            work(index)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_threads_count_together(cache):
    cache["n"] = b"0"
    together(4, lambda _: [cache.incr("n") for _ in range(5000)])
    assert int(cache["n"]) == 20_000


def test_large_values_are_whole_for_every_thread(cache):
    """More threads than there are contexts without the GIL."""
    values = [bytes([65 + i]) * (300_000 + i) for i in range(8)]
    cache["a"] = values[0]

    def work(index):
        for _ in range(100):
            cache["a"] = values[index]
            assert cache["a"] in values

    together(8, work)
    stats = cache.stats()
    assert (stats["get_hits"], stats["cmd_set"]) == (800, 801)


def test_closing_waits_for_calls_without_the_gil():
    for _ in range(20):
        cache = Cache()
        cache["a"] = bytes(1_000_000)

        def work(_, cache=cache):
            try:
                while len(cache["a"]) == 1_000_000:
                    cache["a"] = bytes(1_000_000)
            except RuntimeError as error:
                assert "closed" in str(error)

        timer = threading.Timer(0.005, cache.close)
        timer.start()
        together(3, work)
        timer.join()


# ---- the end


def test_a_closed_cache_says_so():
    cache = Cache()
    walk = iter(cache)
    cache.close()
    cache.close()
    for call in (
        lambda: cache.get("a"), lambda: cache.set("a", b""), lambda: cache.delete("a"), lambda: "a" in cache,
        lambda: len(cache), lambda: list(cache), lambda: next(walk), cache.clear, cache.serve, cache.stats,
    ):  # fmt: skip
        with pytest.raises(RuntimeError, match="closed"):
            call()


def test_it_ends_with_its_last_reference():
    cache = Cache()
    gone = weakref.ref(cache)
    threads = threading.active_count()
    del cache
    gc.collect()
    assert gone() is None
    assert threading.active_count() == threads - 1


@pytest.mark.parametrize("served", [False, True])
@pytest.mark.parametrize(
    "call",
    [
        lambda cache, _: cache.get("a"), lambda cache, _: cache.serve(), lambda cache, _: cache.stats(),
        lambda cache, _: cache.clock.now, lambda _, clock: clock.now, lambda _, clock: clock.freeze(),
    ],
    ids=["get", "serve", "stats", "clock", "a clock from before", "which is stopped"],
)  # fmt: skip
def test_a_child_process_is_told(call, served):
    with Cache() as cache:
        cache["a"] = b"1"
        clock = cache.clock
        if served:
            cache.serve()

        def told():
            with pytest.raises(RuntimeError, match="the cache is its parent's: after a fork"):
                call(cache, clock)
            cache.close()

        assert in_a_child(told) == 0
        assert cache["a"] == b"1"
        now = clock.now
        clock.advance(5)
        assert clock.now - now >= 5


def test_it_is_not_pickled(cache):
    with pytest.raises(TypeError, match="serve"):
        pickle.dumps(cache)


def test_nothing_leaks(cache):
    key, value, large = "key" * 5, b"v" * 100, bytes(300_000)

    def work():
        for _ in range(200):
            cache[key] = value
            cache.get(key)
            cache.gets(key)
            cache["large"] = large
            cache.get("large")
            cache.get("missing", value)
            cache.incr("n", initial=1)
            cache.get_many([key, "large"])
            list(cache)
            with pytest.raises(KeyError):
                cache["missing"]

    work()
    counts = sys.getrefcount(key), sys.getrefcount(value), sys.getrefcount(large)
    tracemalloc.start()
    work()
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    work()
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 4096
    assert (sys.getrefcount(key), sys.getrefcount(value), sys.getrefcount(large)) == counts


class Contended(Cache):
    """Between a look-up and what follows somebody else stores another value, once."""

    newer: bytes | None = None

    def gets(self, key):
        seen = super().gets(key)
        if self.newer is not None:
            self.set(key, self.newer)
            self.newer = None
        return seen


def test_pop_removes_what_it_returns():
    with Contended() as cache:
        cache["key"] = b"old"
        cache.newer = b"newer"
        assert cache.pop("key") == b"newer"
        assert cache.pop("key", None) is None
        with pytest.raises(KeyError):
            cache.pop("key")


def test_popitem_takes_each_once():
    with Cache() as cache:
        cache.set_many({"a": b"1", "b": b"2"})
        assert dict([cache.popitem(), cache.popitem()]) == {b"a": b"1", b"b": b"2"}
        with pytest.raises(KeyError):
            cache.popitem()


class Walked(Cache):
    """Counts the walks that were begun."""

    walks = 0

    def __iter__(self):
        self.walks += 1
        yield from super().__iter__()


def test_popitem_goes_on_where_it_was():
    with Walked() as cache:
        cache.set_many({b"%d" % i: b"x" for i in range(1000)})
        found = {cache.popitem()[0] for _ in range(999)}
        cache["new"] = b"x"
        found |= {cache.popitem()[0], cache.popitem()[0]}
        assert found == {b"new", *(b"%d" % i for i in range(1000))}
        assert cache.walks <= 3
        with pytest.raises(KeyError):
            cache.popitem()


def test_delete_of_what_was_seen():
    with Cache() as cache:
        cache["key"] = b"old"
        _, cas = cache.gets("key")
        cache["key"] = b"new"
        assert not cache.delete("key", cas)
        assert cache["key"] == b"new"
        assert cache.delete("key", cas=cache.gets("key")[1])
        assert "key" not in cache


def test_a_wrong_use_is_told_at_once():
    for name, value in {"port": 5, "auth_file": "/x", "memory_file": "/x", "disable_cas": True}.items():
        with pytest.raises(ValueError, match=f"a Cache has no {name}"):
            Cache(**{name: value})
    with pytest.raises(TypeError, match="number of bytes, not '64m'"):
        Cache("64m")
    with pytest.raises(ValueError, match=f"memory_limit is in bytes, at most {1 << 44}, not {1 << 45}"):
        Cache(1 << 45)
    with pytest.raises(TypeError, match=r"Cache has no option default_tll; is it default_ttl\?"):
        Cache(default_tll=5)
    with Cache(serializer=pickle) as cache:
        with pytest.raises(TypeError, match="seconds or None, not timedelta"):
            cache.set("key", 1, ttl=timedelta(seconds=5))
        with pytest.raises(TypeError, match=r"@cache\.memoize\(\)"):
            cache.memoize(len)
        cache["number"] = 5
        with pytest.raises(ValueError, match="as incr itself stores it"):
            cache.incr("number")


def test_wrong_arguments_are_named(cache):
    for call, name in {
        (lambda: cache.incr("n", -1), "by"),
        (lambda: cache.decr("n", 1 << 64), "by"),
        (lambda: cache.incr("n", initial=-1), "initial"),
        (lambda: cache.delete("n", -1), "cas"),
        (lambda: cache.incr("n", 10**5000), "by"),
    }:
        with pytest.raises(OverflowError, match=f"^{name} is a whole number from 0 to 2 [*][*] 64 - 1, not"):
            call()
    with pytest.raises(TypeError, match="set_many takes a mapping of keys to values, not list"):
        cache.set_many([("a", b"1")])


def test_whatever_is_closed_says_that_the_cache_is():
    cache = Cache()
    clock = cache.clock
    cache.close()
    for call in (cache.serve, cache.stats, lambda: clock.now, lambda: cache.clock.advance(1), lambda: cache.get("a")):
        with pytest.raises(RuntimeError, match=r"^the cache is closed$"):
            call()


def test_a_ttl_left_out_shows_as_what_it_is():
    for method in (Cache.set, Cache.add, Cache.touch, Cache.incr, Cache.memoize):
        assert repr(inspect.signature(method).parameters["ttl"].default) == "default_ttl"


def test_help_shows_what_the_stub_says():
    stub = ast.parse((Path(cachecore_ext.__file__).parent / "embedded.pyi").read_text())
    (described,) = (node for node in stub.body if isinstance(node, ast.ClassDef) and node.name == "Embedded")
    for method in described.body:
        if isinstance(method, ast.FunctionDef) and (text := ast.get_docstring(method)):
            shown = getattr(Embedded, method.name).__doc__
            assert text.split() == shown.partition("\n")[2].split(), method.name  # behind the signature
    assert ast.get_docstring(described).split() == Embedded.__doc__.partition("\n")[2].split()
