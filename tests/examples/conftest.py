"""What the examples' tests share: the server of the pytest plugin, clients that are closed, threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import meta_memcache as mm
import pytest
from pymemcache.client.base import PooledClient

from cachecore.testing import CacheServer


@pytest.fixture(autouse=True)
def server(cachecore_server: CacheServer) -> CacheServer:
    """Its clock stands still until the test moves it: a slow machine changes nothing."""
    cachecore_server.clock.freeze()
    return cachecore_server


@pytest.fixture
def meta(server: CacheServer) -> Iterator[mm.CacheApi]:
    """A client as the examples make it, patient with a busy machine, whose connections end with the test."""
    pools: list[mm.ConnectionPool] = []
    build = mm.connection_pool_factory_builder(connection_timeout=10, recv_timeout=10, max_pool_size=40)

    def remembered(address: mm.ServerAddress) -> mm.ConnectionPool:
        pools.append(build(address))
        return pools[-1]

    yield mm.CacheClient.cache_client_from_servers([mm.ServerAddress(*server.address)], remembered)
    for pool in pools:
        while pool.get_counters().available:
            pool.pop_connection().close()


def patient(pool: PooledClient) -> PooledClient:
    """The examples give up after half a second, which a busy machine may take once."""
    pool.timeout = pool.connect_timeout = 10.0
    return pool


def at_once(count: int, call: Callable[[], Any]) -> list[Any]:
    """What so many threads got that all called at the same moment."""
    start = Barrier(count)

    def begin() -> Any:
        start.wait(10)
        return call()

    with ThreadPoolExecutor(count) as threads:
        return [future.result(30) for future in [threads.submit(begin) for _ in range(count)]]
