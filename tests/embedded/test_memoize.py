"""``Cache.memoize``: each result is computed once."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import pickle
import threading

import pytest

from cachecore import Cache


@pytest.fixture
def cache():
    with Cache(serializer=pickle) as one:
        one.clock.freeze()
        yield one


def test_a_result_is_kept(cache):
    calls = []

    @cache.memoize(ttl=10)
    def double(x, *, plus=0):
        "Twice."
        calls.append(x)
        return None if x == 0 else 2 * x + plus

    assert [double(4), double(4), double(4, plus=1), double(0), double(0)] == [8, 8, 9, None, None]
    assert calls == [4, 4, 0]
    assert (double.__name__, double.__doc__) == ("double", "Twice.")
    cache.clock.advance(10)
    assert double(4) == 8
    assert calls == [4, 4, 0, 4]


def test_equal_arguments_are_one_call(cache):
    calls = []
    tell = cache.memoize()(lambda *args: calls.append(args))
    one, other = "".join(["a", "b"]), "".join(["a", "b"])
    tell(one, one)
    tell(one, other)
    tell(1)
    tell(1.0)
    assert len(calls) == 3


def test_forgetting(cache):
    calls = []
    first = cache.memoize(key=str)(lambda x: calls.append(x))
    second = cache.memoize(key=lambda x: b"%d" % x)(len)
    cache["other"] = 1
    first(1)
    first(2)
    first.invalidate(1)
    first(1)
    first(2)
    assert calls == [1, 2, 1]
    first.cache_clear()
    assert list(cache) == [b"other"]
    assert second.key(5).endswith(b"(5)")


def test_exceptions_are_not_kept(cache):
    calls = []

    @cache.memoize()
    def fail():
        calls.append(1)
        raise LookupError("no")

    for _ in range(2):
        with pytest.raises(LookupError):
            fail()
    assert calls == [1, 1]
    assert fail._flights == {}


def test_what_does_not_fit_is_returned(cache):
    large = cache.memoize()(lambda: bytes(2 << 20))
    assert large() == bytes(2 << 20)


def test_what_has_no_name_is_refused(cache):
    """There is nothing that a key of a partial's results could begin with."""
    with pytest.raises(TypeError, match="by the function's name"):
        cache.memoize()(functools.partial(pow, 2))
    assert cache.memoize()(lambda x: pow(2, x))(3) == 8


def test_a_method_of_a_builtin_type_is_kept(cache):
    upper = cache.memoize()(bytes.upper)
    assert upper(b"a") == b"A" == cache[upper.key(b"a")]


def test_what_cannot_be_called_is_refused(cache):
    with pytest.raises(TypeError, match="@classmethod belongs above @cache"):
        cache.memoize()(classmethod(lambda cls: b""))


def test_what_is_awaited_can_be_kept_in_two_caches(cache):
    calls = []

    class Shop:
        @cache.memoize(key=lambda shop: "")
        async def price(self):
            calls.append(1)
            return b"5"

    async def ask():
        with Cache() as near:
            price = near.memoize(key=lambda shop: "")(Shop.price)
            assert await price(Shop()) == await price(Shop()) == b"5"
            bound = near.memoize()(Shop().price)
            assert await bound() == await bound() == b"5"

    asyncio.run(ask())
    assert calls == [1]


def test_who_shares_a_name_shares_no_results(cache):
    def times(factor):
        @cache.memoize()
        def product(x):
            return factor * x

        return product

    functions = [times(2), times(3), cache.memoize()(lambda x: x + 1), cache.memoize()(lambda x: x + 2)]
    functions += [cache.memoize()(text.count) for text in ("7", "77")]
    arguments = [7, 7, 7, 7, "7", "7"]
    results = [function(x) for function, x in zip(functions, arguments, strict=True)]
    assert results == [14, 21, 8, 9, 1, 2]
    functions[0].cache_clear()
    assert len(cache) == 5


def test_methods(cache):
    class Thing:
        calls = 0

        @cache.memoize(key=lambda self, x: str(x))
        def method(self, x):
            Thing.calls += 1
            return x

    assert (Thing().method(3), Thing().method(3), Thing.calls) == (3, 3, 1)


class Repository:
    """What a method's own key is made of."""

    def __init__(self, name):
        self.name = name
        self.calls = 0


def test_a_bound_method_forgets_for_its_object(cache):
    class Repo(Repository):
        @cache.memoize(key=lambda self, x: f"{self.name}:{x}")
        def total(self, x, *, of=None):
            """All of it."""
            self.calls += 1
            return x

    one, other = Repo("one"), Repo("other")
    for repo in (one, one, other):
        assert repo.total(1) == 1
    assert one.total.key(1) == Repo.total.key(one, 1) in cache
    one.total.invalidate(1)
    for repo in (one, other):
        repo.total(1)
    assert (one.calls, other.calls) == (2, 1)
    one.total.cache_clear()
    other.total(1)
    assert other.calls == 2
    assert str(inspect.signature(one.total)) == "(x, *, of=None)"
    assert (one.total.__doc__, one.total.__name__, one.total.__self__) == ("All of it.", "total", one)
    assert (one.total == one.total, one.total == other.total, len({one.total, one.total})) == (True, False, 1)
    assert copy.copy(one.total) == one.total


def test_a_bound_coroutine_method_forgets_for_its_object(cache):
    class Repo(Repository):
        @cache.memoize(key=lambda self, x: f"{self.name}:{x}")
        async def total(self, x):
            self.calls += 1
            return x

    async def use(repo):
        assert [await repo.total(1), await repo.total(1)] == [1, 1]
        repo.total.invalidate(1)
        return await repo.total(1)

    repo = Repo("one")
    assert asyncio.run(use(repo)) == 1
    assert repo.calls == 2


def test_what_makes_no_key_is_said(cache):
    @cache.memoize()
    def plain(x): ...

    with pytest.raises(TypeError, match=r"no key can be made of the arguments .*give memoize key="):
        plain(threading.Lock())
    with pytest.raises(TypeError, match="the key of a call is str or bytes; key= has made 5"):
        cache.memoize(key=lambda x: 5)(plain)(1)


def test_a_stampede_computes_once(cache):
    calls, results = [], []
    inside, go_on = threading.Event(), threading.Event()

    @cache.memoize()
    def slow(x):
        calls.append(x)
        inside.set()
        assert go_on.wait(30)
        return x

    threads = [threading.Thread(target=lambda: results.append(slow(7))) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert inside.wait(30)
    while slow._flights[slow.key(7)].callers < 8:
        pass
    go_on.set()
    for thread in threads:
        thread.join()
    assert (calls, results) == ([7], [7] * 8)
    assert slow._flights == {}


def test_other_keys_do_not_wait(cache):
    inside, go_on = threading.Event(), threading.Event()

    @cache.memoize()
    def slow(x):
        if x == 1:
            inside.set()
            assert go_on.wait(30)
        return x

    thread = threading.Thread(target=slow, args=(1,))
    thread.start()
    assert inside.wait(30)
    assert slow(2) == 2
    go_on.set()
    thread.join()


def test_what_is_forgotten_while_it_is_computed_is_not_kept(cache):
    for forget in ("invalidate", "cache_clear"):
        versions = iter("ab")

        @cache.memoize()
        def read(versions=versions, forget=forget):
            found = next(versions)
            if found == "a":
                getattr(read, forget)()  # the thing changes while it is being read
            return found

        read._make_key = lambda: "key"
        assert [read(), read(), read()] == ["a", "b", "b"]
        read.cache_clear()


def test_a_stampede_of_tasks_computes_once(cache):
    calls = []

    @cache.memoize()
    async def slow(x):
        calls.append(x)
        for _ in range(10):
            await asyncio.sleep(0)
        return x

    async def storm():
        return await asyncio.gather(*(slow(x) for x in (1, 2) for _ in range(5)))

    assert asyncio.run(storm()) == [1] * 5 + [2] * 5
    assert calls == [1, 2]
    assert asyncio.run(storm()) == [1] * 5 + [2] * 5
    assert calls == [1, 2]
    assert slow._flights == {}
