"""A shop whose pages and API responses lie in the cache, with Flask-Caching.

With cachecore running: flask --app examples/flask_pages.py run
"""

from __future__ import annotations

import os
from typing import Any

from flask import Flask, abort, render_template_string, request
from flask_caching import Cache
from pymemcache.client.base import PooledClient
from pymemcache.serde import pickle_serde

PAGE = """<h1>Shop</h1>
<ul>{% for name, product in products.items() %}<li>{{ name }}: {{ product.price }}</li>{% endfor %}</ul>
"""


class Catalogue:
    """Stands for a database that is asked too often; ``queries`` counts."""

    def __init__(self) -> None:
        self.queries = 0
        self._products = {
            "tea": {"category": "drinks", "price": 4},
            "coffee": {"category": "drinks", "price": 7},
            "bread": {"category": "food", "price": 3},
        }

    def products(self, category: str | None = None) -> dict[str, dict[str, Any]]:
        """Those of a category, or all."""
        self.queries += 1
        return {name: row for name, row in self._products.items() if category in (None, row["category"])}

    def set_price(self, name: str, price: int) -> str:
        """The category of the product that costs this now. Raises KeyError."""
        self._products[name]["price"] = price
        return self._products[name]["category"]


cache = Cache()
catalogue = Catalogue()


def create_app(memcached: str = os.environ.get("MEMCACHED", "127.0.0.1:11211")) -> Flask:
    """The shop, with its cache in the server at ``memcached``, as in ``127.0.0.1:11211``."""
    app = Flask(__name__)
    app.config["CACHE_TYPE"] = "MemcachedCache"
    # A pool is safe for threads and connects when it is first used, so also behind a fork. A list of addresses instead
    # would let Flask-Caching choose a library, which would wait for a server that is away as long as that one likes.
    app.config["CACHE_MEMCACHED_SERVERS"] = PooledClient(
        memcached, serde=pickle_serde, default_noreply=False, connect_timeout=0.5, timeout=0.5, no_delay=True
    )
    app.config["CACHE_KEY_PREFIX"] = "shop:"
    cache.init_app(app)
    app.add_url_rule("/", view_func=front_page)
    app.add_url_rule("/api/products", view_func=products)
    app.add_url_rule("/api/categories/<category>", view_func=category_summary)
    app.add_url_rule("/api/products/<name>/price", view_func=set_price, methods=["PUT"])
    return app


@cache.cached(timeout=60)
def front_page() -> str:
    """A whole page, rendered once a minute."""
    return render_template_string(PAGE, products=catalogue.products())


@cache.cached(timeout=60, query_string=True)
def products() -> dict[str, Any]:
    """A response for every query string; the order of its parameters makes no difference."""
    found = catalogue.products(request.args.get("category"))
    below = request.args.get("below", type=int)
    return {name: row for name, row in found.items() if below is None or row["price"] < below}


@cache.memoize(timeout=600)
def average_price(category: str) -> float:
    """A result for every argument, for whichever views need it."""
    prices = [row["price"] for row in catalogue.products(category).values()]
    return sum(prices) / len(prices) if prices else 0.0


def category_summary(category: str) -> dict[str, Any]:
    """A view that is not cached itself, though what it costs is."""
    return {"category": category, "average": average_price(category)}


def set_price(name: str) -> tuple[str, int]:
    """Change a price, and forget what showed the old one."""
    try:
        category = catalogue.set_price(name, request.get_json()["price"])
    except KeyError:
        abort(404)
    cache.delete_cached(front_page, path="/")
    cache.delete_memoized(average_price, category)
    # Nobody knows for which query strings there are responses of products(): those end with their timeout.
    return "", 204
