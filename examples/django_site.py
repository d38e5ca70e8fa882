"""Django's cache framework and its sessions, in one file.

With cachecore running: python examples/django_site.py migrate && python examples/django_site.py runserver
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from django.conf import settings

settings.configure(
    SECRET_KEY=os.environ.get("SECRET_KEY", "of this example"),
    DEBUG=__name__ == "__main__",
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["django.contrib.sessions"],
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": Path(__file__).with_suffix(".sqlite3"),
        }
    },
    CACHES={
        "default": {
            "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
            "LOCATION": os.environ.get("MEMCACHED", "127.0.0.1:11211"),
            "KEY_PREFIX": "site",
            "OPTIONS": {
                "ignore_exc": True,  # when the cache is away the site is slower, and there
                "connect_timeout": 0.5,
                "timeout": 0.5,
                "no_delay": True,
            },
        }
    },
    # Sessions in the cache and in the database, where they are looked for when the cache has lost them.
    # django.contrib.sessions.backends.cache has them in the cache alone: no database, and what it loses is gone.
    SESSION_ENGINE="django.contrib.sessions.backends.cached_db",
    SESSION_COOKIE_AGE=14 * 24 * 3600,
)

from django.core.cache import cache  # noqa: E402
from django.core.management import execute_from_command_line  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import HttpRequest, HttpResponse, JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402
from django.views.decorators.cache import cache_page, never_cache  # noqa: E402
from django.views.decorators.http import require_POST  # noqa: E402

#: Stands for a database: how many orders came on a day.
ORDERS = {"monday": 3, "tuesday": 5}


@cache_page(60)
def front_page(request: HttpRequest) -> HttpResponse:
    """A whole page, rendered once a minute for every URL, which includes the query string."""
    return HttpResponse(f"<h1>{sum(ORDERS.values())} orders</h1>")


def report(request: HttpRequest, day: str) -> JsonResponse:
    """What takes long is computed when the cache does not have it."""
    orders = cache.get_or_set(f"report:{day}", lambda: ORDERS.get(day, 0), timeout=600)
    return JsonResponse({"day": day, "orders": orders})


@require_POST
def order(request: HttpRequest, day: str) -> HttpResponse:
    """A change makes the cache forget what showed the old state."""
    ORDERS[day] = ORDERS.get(day, 0) + 1
    cache.delete(f"report:{day}")
    return HttpResponse(status=204)


@never_cache
def counter(request: HttpRequest) -> JsonResponse:
    """Requests of all workers together: ``incr`` is done by the server, so that none is lost."""
    cache.add("requests", 0, timeout=None)  # unless it is there
    try:
        requests = cache.incr("requests") or None  # False when the cache is away, as ignore_exc has it
    except ValueError:  # the server has lost it just now
        requests = None
    return JsonResponse({"requests": requests})


@never_cache
def visits(request: HttpRequest) -> JsonResponse:
    """Visits of this visitor, whom a cookie names."""
    request.session["visits"] = request.session.get("visits", 0) + 1
    return JsonResponse({"visits": request.session["visits"]})


urlpatterns = [
    path("", front_page),
    path("report/<day>", report),
    path("order/<day>", order),
    path("counter", counter),
    path("visits", visits),
]

application = get_wsgi_application()  # for gunicorn and its like

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
