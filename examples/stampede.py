"""A page that takes long and that many want: when it gets old one request renders it, and the others do not wait.

With cachecore running: flask --app examples/stampede.py run
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress

from flask import Flask
from meta_memcache import (
    CacheApi,
    CacheClient,
    Key,
    MemcacheError,
    ServerAddress,
    StalePolicy,
    connection_pool_factory_builder,
)
from meta_memcache.protocol import RequestFlags, Value

#: Seconds for which one request alone may render a page that nobody has.
LEASE = 30


def page(
    cache: CacheApi,
    key: str,
    render: Callable[[], str],
    fresh: int = 60,
    stale: int = 30,
    wait: Callable[[float], None] = time.sleep,
) -> str:
    """The page of this key: what the cache has, or what ``render`` returns, which may not be an empty text.

    It is fresh for ``fresh`` seconds. In the ``stale`` seconds behind them, or when it was invalidated, the first who
    asks renders it anew, while all others still get the old one. Only where there is no old one do they wait.

    The question is ``mg <key> v f c s N30 R<stale>``. The server answers one client with W: it won, and renders. To all
    others it says Z, somebody else has won. Who finds nothing leaves an empty item, by N, that the next will find.
    """
    question = RequestFlags(
        return_value=True,
        return_client_flag=True,
        return_cas_token=True,
        return_size=True,
        vivify_on_miss_ttl=LEASE,
        recache_ttl=stale,
    )
    while True:
        try:
            found = cache.meta_get(Key(key), question)
        except MemcacheError:
            return render()  # without its cache the site is slow, and there
        assert isinstance(found, Value)  # by N there is always an item
        if found.flags.win:
            return _rendered(cache, key, render, found, fresh + stale)
        if found.size:
            return found.value
        wait(0.05)  # at most LEASE seconds in all: if the winner has died, the empty item ends and another one wins


def _rendered(cache: CacheApi, key: str, render: Callable[[], str], found: Value, ttl: int) -> str:
    """Render as the winner. The cas sees to it that a page invalidated meanwhile is not stored."""
    try:
        text = render()
    except Exception:
        if found.size:
            return found.value  # the old page, until its TTL ends; then somebody else tries
        with suppress(MemcacheError):
            cache.delete(key, cas_token=found.flags.cas_token)  # whoever waits tries at once
        raise
    with suppress(MemcacheError):
        cache.set(key, text, ttl, cas_token=found.flags.cas_token)
    return text


def invalidate(cache: CacheApi, key: str, stale: int = 30) -> None:
    """What the page shows has changed: the next request renders it. It is ``md <key> I T<stale>``."""
    cache.invalidate(key, stale_policy=StalePolicy(mark_stale_on_deletion_ttl=stale))


def connect(memcached: str = os.environ.get("MEMCACHED", "127.0.0.1:11211")) -> CacheApi:
    """A client of the server at ``memcached``; threads may share it."""
    host, _, port = memcached.rpartition(":")
    return CacheClient.cache_client_from_servers([ServerAddress(host, int(port))], connection_pool_factory_builder())


def render_report() -> str:
    """A page that takes two seconds."""
    time.sleep(2)
    return f"<h1>Report</h1><p>rendered at {time.strftime('%X')}</p>"


def create_app(cache: CacheApi | None = None, render: Callable[[], str] = render_report) -> Flask:
    """A site with that page, and a button that makes it old."""
    shared = cache or connect()
    app = Flask(__name__)

    @app.get("/")
    def report() -> str:
        return page(shared, "report", render) + '<form method="post"><button>Render it anew</button></form>'

    @app.post("/")
    def changed() -> tuple[str, int, dict[str, str]]:
        invalidate(shared, "report")
        return "", 303, {"Location": "/"}

    return app
