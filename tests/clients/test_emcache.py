"""emcache: asyncio protocol with a Cython parser, pools per node, automatic batches of gets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import emcache
import pytest

Body = Callable[[emcache.Client], Awaitable[None]]


def run(nodes, body: Body, **options) -> None:
    async def main() -> None:
        client = await emcache.create_client(addresses(nodes), timeout=10.0, **options)
        try:
            await body(client)
        finally:
            await client.close()
            await asyncio.sleep(0)  # let the transports say goodbye

    asyncio.run(main())


def addresses(nodes) -> list[emcache.MemcachedHostAddress]:
    return [emcache.MemcachedHostAddress(*node.address) for node in nodes]


def test_set_get_delete(peer):
    async def body(client: emcache.Client) -> None:
        assert await client.get(b"k") is None
        await client.set(b"k", b"value", flags=12)
        assert (await client.get(b"k")).value == b"value"
        assert (await client.get(b"k", return_flags=True)).flags == 12
        await client.delete(b"k")
        with pytest.raises(emcache.NotFoundCommandError):
            await client.delete(b"k")
        assert await client.get(b"k") is None

    run([peer], body)


def test_add_replace_append_prepend(peer):
    async def body(client: emcache.Client) -> None:
        for refused in (client.replace, client.append, client.prepend):
            with pytest.raises(emcache.NotStoredStorageCommandError):
                await refused(b"k", b"x")
        await client.add(b"k", b"one")
        with pytest.raises(emcache.NotStoredStorageCommandError):
            await client.add(b"k", b"two")
        await client.replace(b"k", b"three")
        await client.append(b"k", b">")
        await client.prepend(b"k", b"<")
        assert (await client.get(b"k")).value == b"<three>"

    run([peer], body)


def test_cas(peer):
    async def body(client: emcache.Client) -> None:
        await client.set(b"k", b"first", flags=7)
        item = await client.gets(b"k", return_flags=True)
        assert (item.value, item.flags) == (b"first", 7)
        await client.cas(b"k", b"second", item.cas)
        with pytest.raises(emcache.NotStoredStorageCommandError):
            await client.cas(b"k", b"third", item.cas)
        with pytest.raises(emcache.StorageCommandError):
            await client.cas(b"missing", b"x", item.cas)
        assert (await client.get(b"k")).value == b"second"

    run([peer], body)


def test_increment_and_decrement(peer):
    async def body(client: emcache.Client) -> None:
        with pytest.raises(emcache.NotFoundCommandError):
            await client.increment(b"n", 1)
        await client.set(b"n", b"10")
        assert await client.increment(b"n", 5) == 15
        assert await client.decrement(b"n", 20) == 0
        await client.increment(b"n", 3, noreply=True)
        assert (await client.get(b"n")).value == b"3 "  # a shorter number is padded to the old length

    run([peer], body)


def test_touch_and_gat(peer):
    async def body(client: emcache.Client) -> None:
        with pytest.raises(emcache.NotFoundCommandError):
            await client.touch(b"k", 100)
        assert await client.gat(100, b"k") is None
        await client.set(b"k", b"v", flags=3)
        await client.touch(b"k", 100)
        assert (await client.gat(100, b"k")).value == b"v"
        item = await client.gats(100, b"k", return_flags=True)
        assert (item.value, item.flags) == (b"v", 3)
        assert item.cas == (await client.gets(b"k")).cas
        await client.set(b"l", b"w")
        assert {key: item.value for key, item in (await client.gat_many(9, [b"k", b"l", b"m"])).items()} == {
            b"k": b"v",
            b"l": b"w",
        }
        assert set(await client.gats_many(-1, [b"k", b"l"])) == {b"k", b"l"}
        assert await client.get_many([b"k", b"l"]) == {}

    run([peer], body)


def test_noreply(peer):
    async def body(client: emcache.Client) -> None:
        await client.set(b"k", b"one", noreply=True)
        await client.add(b"k", b"not this", noreply=True)
        await client.append(b"k", b"+", noreply=True)
        await client.touch(b"k", 100, noreply=True)
        await client.set(b"gone", b"x", noreply=True)
        await client.delete(b"gone", noreply=True)
        found = await client.get_many([b"k", b"gone"])
        assert {key: item.value for key, item in found.items()} == {b"k": b"one+"}

    # One connection: what is not acknowledged has an order only there.
    run([peer], body, max_connections=1)


def test_three_nodes(nodes):
    everything = {b"key-%d" % number: b"value-%d" % number for number in range(300)}

    async def body(client: emcache.Client) -> None:
        await asyncio.gather(*(client.set(key, value) for key, value in everything.items()))
        found = await client.get_many([*everything, b"missing"])
        assert {key: item.value for key, item in found.items()} == everything
        tokens = {item.cas for item in (await client.gets_many(list(everything))).values()}
        assert None not in tokens
        used = [await client.stats(address) for address in addresses(nodes)]
        assert all(int(stats["curr_items"]) > 30 for stats in used)
        for address in addresses(nodes):
            await client.flush_all(address)
        assert await client.get_many(list(everything)) == {}

    run(nodes, body)


def test_autobatching(peer):
    async def body(client: emcache.Client) -> None:
        keys = [b"key-%d" % number for number in range(500)]
        await asyncio.gather(*(client.set(key, key) for key in keys))
        items = await asyncio.gather(*(client.get(key) for key in keys), client.get(b"missing"))
        assert [item.value for item in items[:-1]] == keys
        assert items[-1] is None

    run([peer], body, autobatching=True)


@pytest.mark.parametrize("size", [0, 1, 65_536, 524_289, 1024 * 1024 - 1024])
def test_binary_values(peer, size):
    value = (bytes(range(256)) * (size // 256 + 1))[:size]

    async def body(client: emcache.Client) -> None:
        await client.set(b"k", value)
        assert (await client.get(b"k")).value == value

    run([peer], body)


def test_too_large(peer):
    async def body(client: emcache.Client) -> None:
        with pytest.raises(emcache.StorageCommandError, match="too large"):
            await client.set(b"k", b"x" * 1024 * 1024)
        await client.set(b"k", b"small")
        assert (await client.get(b"k")).value == b"small"

    run([peer], body)


def test_version_stats_verbosity(peer):
    (address,) = addresses([peer])

    async def body(client: emcache.Client) -> None:
        assert (await client.version(address))[0].isdigit()
        assert (await client.stats(address))["threads"] == "2"
        assert (await client.stats(address, "settings"))["item_size_max"] == "1048576"
        await client.verbosity(address, 0)

    run([peer], body)


def test_expiry(ticking):
    async def body(client: emcache.Client) -> None:
        await client.set(b"k", b"v", exptime=10)
        await client.set(b"l", b"w", exptime=10)
        ticking.advance(5)
        assert (await client.gat(20, b"k")).value == b"v"
        ticking.advance(15)
        assert set(await client.get_many([b"k", b"l"])) == {b"k"}
        ticking.advance(10)
        assert await client.get(b"k") is None

    run([ticking], body)
