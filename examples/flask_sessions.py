"""Who is logged in stands in the cache, with Flask-Session: any worker, on any machine, knows it.

With cachecore running: flask --app examples/flask_sessions.py run
"""

from __future__ import annotations

import os
from datetime import timedelta

from flask import Flask, redirect, render_template_string, request, session, url_for
from flask_session import Session
from pymemcache.client.base import PooledClient
from werkzeug.wrappers import Response

PAGE = """{% if name %}<p>Hello {{ name }}</p><form method="post" action="/logout"><button>Log out</button></form>
{% else %}<form method="post" action="/login"><input name="name"><button>Log in</button></form>{% endif %}
"""


def create_app(memcached: str = os.environ.get("MEMCACHED", "127.0.0.1:11211")) -> Flask:
    """The site, with its sessions in the server at ``memcached``, as in ``127.0.0.1:11211``."""
    app = Flask(__name__)
    app.config["SESSION_TYPE"] = "memcached"
    # It waits for every reply: who is told that the login was good must be logged in when the next request comes.
    # A get that fails finds no session, by ignore_exc: when the cache is away, or the cookie holds what no key can be.
    app.config["SESSION_MEMCACHED"] = PooledClient(
        memcached, default_noreply=False, ignore_exc=True, connect_timeout=0.5, timeout=0.5, no_delay=True
    )
    app.config["PERMANENT_SESSION_LIFETIME"] = timedelta(hours=1)  # since the visitor's last request
    app.config["SESSION_COOKIE_SAMESITE"] = "Lax"
    app.config["SESSION_COOKIE_SECURE"] = not app.debug
    Session(app)

    @app.get("/")
    def home() -> str:
        return render_template_string(PAGE, name=session.get("name"))

    @app.post("/login")
    def login() -> Response:
        session.clear()
        session["name"] = request.form["name"]  # here a password would be checked
        app.session_interface.regenerate(session)  # the cookie from before the login is worth nothing
        return redirect(url_for("home"))

    @app.post("/logout")
    def logout() -> Response:
        session.clear()
        return redirect(url_for("home"))

    return app
