"""So many requests a visitor, counted for all workers together: a fixed window, and a token bucket.

With cachecore running: flask --app examples/rate_limit.py run
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from flask import Flask
from meta_memcache import (
    CacheApi,
    CacheClient,
    Key,
    MemcacheError,
    ServerAddress,
    SetMode,
    connection_pool_factory_builder,
)
from meta_memcache.protocol import RequestFlags, Value


class Verdict(NamedTuple):
    """Whether a request may pass."""

    allowed: bool
    retry_after: int = 0  # seconds after which another try is worthwhile; 0 for one that may pass


def fixed_window(cache: CacheApi, name: str, limit: int, seconds: int) -> Verdict:
    """At most ``limit`` requests in a window, which begins with the first of them and lasts ``seconds``.

    One round trip, ``ma <key> N<seconds> J1 v t``: the server counts, and begins with 1 where it has no counter. Its
    clock alone ends the window, as the counter's TTL. In the seconds around its end twice the limit may pass.
    """
    counted = cache.meta_arithmetic(
        Key(f"window:{name}"),
        RequestFlags(vivify_on_miss_ttl=seconds, ma_initial_value=1, return_value=True, return_ttl=True),
    )
    assert isinstance(counted, Value)  # a counter that is not there is made
    if int(counted.value) <= limit:
        return Verdict(True)
    return Verdict(False, max(1, counted.flags.ttl or 0))


def token_bucket(cache: CacheApi, name: str, rate: float, burst: int, now: Callable[[], float] = time.time) -> Verdict:
    """``burst`` requests at once, and ``rate`` a second in the long run; in no stretch of time more.

    The item is the time at which the bucket is full again: a request moves it on by one token's time, and is refused if
    that would be more than a bucket away. The item is exchanged by compare-and-swap. Who loses that tries again, once
    for each token that others have taken, so at most ``burst`` times. The workers' clocks must agree.
    """
    key, token_time = f"bucket:{name}", 1 / rate
    while True:
        text, cas = cache.get_cas(key)
        present = now()
        full = max(float(text or 0), present) + token_time
        surplus = full - present - burst * token_time
        if surplus > 1e-6:  # beyond what a float of the time of day can resolve
            return Verdict(False, math.ceil(surplus))
        ttl = math.ceil(full - present) + 1  # a TTL may end up to a second early
        if cas is None:
            stored = cache.set(key, repr(full), ttl, set_mode=SetMode.ADD)
        else:
            stored = cache.set(key, repr(full), ttl, cas_token=cas)
        if stored:
            return Verdict(True)


class RateLimited:
    """A WSGI application in front of another one, of whichever framework, which asks ``check`` about each visitor.

    Behind a proxy REMOTE_ADDR is the proxy's: put werkzeug's ProxyFix in front of this.
    """

    def __init__(self, application: Callable[..., Iterable[bytes]], check: Callable[[str], Verdict]) -> None:
        self._application = application
        self._check = check

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request, or 429."""
        try:
            verdict = self._check(environ["REMOTE_ADDR"])
        except MemcacheError:
            verdict = Verdict(True)  # without its cache the site serves; a login would rather refuse
        if verdict.allowed:
            return self._application(environ, start_response)
        headers = [("Retry-After", str(verdict.retry_after)), ("Content-Type", "text/plain")]
        start_response("429 Too Many Requests", headers)
        return [b"Too many requests\n"]


def connect(memcached: str = os.environ.get("MEMCACHED", "127.0.0.1:11211")) -> CacheApi:
    """A client of the server at ``memcached``; threads may share it."""
    host, _, port = memcached.rpartition(":")
    return CacheClient.cache_client_from_servers([ServerAddress(host, int(port))], connection_pool_factory_builder())


def create_app(cache: CacheApi | None = None) -> Flask:
    """A site of which a visitor gets ten pages a minute."""
    limiter = cache or connect()
    app = Flask(__name__)

    @app.get("/")
    def home() -> str:
        return "Welcome\n"

    app.wsgi_app = RateLimited(app.wsgi_app, lambda visitor: fixed_window(limiter, visitor, limit=10, seconds=60))
    return app
