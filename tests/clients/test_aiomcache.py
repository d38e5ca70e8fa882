"""aiomcache: asyncio streams, one command in flight a connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import aiomcache
import pytest
from aiomcache.exceptions import ClientException, ValidationException

Body = Callable[[aiomcache.Client], Awaitable[None]]


@contextlib.asynccontextmanager
async def connected(node, **options) -> AsyncIterator[aiomcache.Client]:
    client = aiomcache.Client(*node.address, **options)
    try:
        yield client
    finally:
        await client.close()


def run(node, body: Body, **options) -> None:
    async def main() -> None:
        async with connected(node, **options) as client:
            await body(client)

    asyncio.run(main())


def test_set_get_delete(peer):
    async def body(client: aiomcache.Client) -> None:
        assert await client.get(b"k") is None
        assert await client.get(b"k", b"nothing") == b"nothing"
        assert await client.set(b"k", b"value") is True
        assert await client.get(b"k") == b"value"
        assert await client.delete(b"k") is True
        assert await client.delete(b"k") is False

    run(peer, body)


def test_add_replace_append_prepend(peer):
    async def body(client: aiomcache.Client) -> None:
        assert await client.replace(b"k", b"x") is False
        assert await client.append(b"k", b"x") is False
        assert await client.add(b"k", b"one") is True
        assert await client.add(b"k", b"two") is False
        assert await client.replace(b"k", b"three") is True
        assert await client.append(b"k", b">") is True
        assert await client.prepend(b"k", b"<") is True
        assert await client.get(b"k") == b"<three>"

    run(peer, body)


def test_cas(peer):
    async def body(client: aiomcache.Client) -> None:
        assert await client.gets(b"k") == (None, None)
        await client.set(b"k", b"first")
        value, token = await client.gets(b"k")
        assert value == b"first"
        assert await client.cas(b"k", b"second", token) is True
        assert await client.cas(b"k", b"third", token) is False
        assert await client.cas(b"missing", b"x", token) is False
        assert await client.get(b"k") == b"second"

    run(peer, body)


def test_incr_and_decr(peer):
    async def body(client: aiomcache.Client) -> None:
        with pytest.raises(ClientException, match="NOT_FOUND"):
            await client.incr(b"n")
        await client.set(b"n", b"10")
        assert await client.incr(b"n", 5) == 15
        assert await client.decr(b"n") == 14
        assert await client.decr(b"n", 99) == 0
        await client.set(b"n", b"text")
        with pytest.raises(ClientException):
            await client.incr(b"n")

    run(peer, body)


def test_multi_get_keeps_the_order_of_the_keys(peer):
    async def body(client: aiomcache.Client) -> None:
        for number in range(100):
            await client.set(b"key-%d" % number, b"value-%d" % number)
        keys = [b"key-%d" % number for number in (99, 3, 7, 1000, 50)]
        assert await client.multi_get(*keys) == (b"value-99", b"value-3", b"value-7", None, b"value-50")
        assert await client.multi_get() == ()

    run(peer, body)


def test_touch(peer):
    async def body(client: aiomcache.Client) -> None:
        assert await client.touch(b"k", 100) is False
        await client.set(b"k", b"v")
        assert await client.touch(b"k", 100) is True
        assert await client.get(b"k") == b"v"

    run(peer, body)


@pytest.mark.parametrize("size", [0, 1, 65_536, 524_289, 1024 * 1024 - 1024])
def test_binary_values(peer, size):
    value = (bytes(range(256)) * (size // 256 + 1))[:size]

    async def body(client: aiomcache.Client) -> None:
        assert await client.set(b"k", value) is True
        assert await client.get(b"k") == value

    run(peer, body)


def test_too_large(peer):
    async def body(client: aiomcache.Client) -> None:
        with pytest.raises(ClientException):
            await client.set(b"k", b"x" * 1024 * 1024)
        assert await client.set(b"k", b"small") is True
        with pytest.raises(ValidationException):
            await client.get(b"k" * 251)
        assert await client.get(b"k") == b"small"

    run(peer, body)


def test_flags_through_handlers(peer):
    async def pack(value: object) -> tuple[bytes, int]:
        return str(value).encode(), 5

    async def unpack(value: bytes, flags: int) -> object:
        assert flags == 5
        return int(value)

    async def main() -> None:
        client = aiomcache.FlagClient(*peer.address, get_flag_handler=unpack, set_flag_handler=pack)
        try:
            await client.set(b"k", 42)
            assert await client.get(b"k") == 42
            await client.set(b"k", b"raw")
            assert await client.get(b"k") == b"raw"
        finally:
            await client.close()

    asyncio.run(main())


def test_many_tasks_over_a_pool(peer):
    async def body(client: aiomcache.Client) -> None:
        await client.set(b"n", b"0")

        async def one(number: int) -> None:
            key = b"task-%d" % number
            await client.set(key, key * 10)
            await client.incr(b"n")
            assert await client.get(key) == key * 10

        await asyncio.gather(*(one(number) for number in range(200)))
        assert await client.get(b"n") == b"200"

    run(peer, body, pool_size=8)


def test_stats_version_flush(peer):
    async def body(client: aiomcache.Client) -> None:
        assert (await client.version())[:1].isdigit()
        await client.set(b"k", b"v")
        stats = await client.stats()
        assert stats[b"threads"] == b"2"
        assert int(stats[b"curr_items"]) >= 1
        assert (await client.stats(b"settings"))[b"item_size_max"] == b"1048576"
        await client.flush_all()
        assert await client.get(b"k") is None

    run(peer, body)


def test_expiry(ticking):
    async def body(client: aiomcache.Client) -> None:
        await client.set(b"k", b"v", exptime=10)
        ticking.advance(5)
        assert await client.get(b"k") == b"v"
        assert await client.touch(b"k", 20) is True
        ticking.advance(15)
        assert await client.get(b"k") == b"v"
        ticking.advance(10)
        assert await client.get(b"k") is None

    run(ticking, body)
