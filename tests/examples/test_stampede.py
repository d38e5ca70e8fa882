"""The stampede: many want a page at once that is not there or old, and one renders it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event, Semaphore

import pytest

from examples.stampede import create_app, invalidate, page
from tests.examples.conftest import at_once

CROWD = 8


class Renderer:
    """Renders "page 1", "page 2", ...; while it is closed, one who renders waits inside."""

    def __init__(self) -> None:
        self.begun = Semaphore(0)
        self.count = 0
        self._open = Event()
        self._open.set()

    def __call__(self) -> str:
        self.count += 1
        text = f"page {self.count}"
        self.begun.release()
        assert self._open.wait(10)
        return text

    def close(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def render() -> Renderer:
    return Renderer()


def test_of_a_crowd_that_finds_nothing_one_renders(meta, render):
    """The winner is held inside until all others have asked and wait; they go on when it has stored the page."""
    waiting, stored = Semaphore(0), Event()

    def wait(_seconds: float) -> None:
        waiting.release()
        assert stored.wait(10)

    def ask() -> str:
        text = page(meta, "report", render, wait=wait)
        stored.set()
        return text

    render.close()
    with ThreadPoolExecutor(1) as watcher:

        def let_go() -> None:
            for _ in range(CROWD - 1):
                assert waiting.acquire(timeout=10)
            render.open()

        watching = watcher.submit(let_go)
        assert at_once(CROWD, ask) == ["page 1"] * CROWD
        watching.result(10)
    assert render.count == 1


@pytest.mark.parametrize("why", ["it is old", "it was invalidated"])
def test_while_one_renders_anew_nobody_waits(meta, render, server, why):
    client = create_app(meta, render).test_client
    assert "page 1" in client().get("/").text
    if why == "it is old":
        server.clock.advance(61)
    else:
        assert client().post("/").status_code == 303
    render.begun = Semaphore(0)
    render.close()
    with ThreadPoolExecutor(1) as winner:
        renewed = winner.submit(lambda: client().get("/").text)
        assert render.begun.acquire(timeout=10)
        # It is inside. All others are answered, and with the old page.
        assert all("page 1" in text for text in at_once(CROWD, lambda: client().get("/").text))
        render.open()
        assert "page 2" in renewed.result(10)
    assert "page 2" in client().get("/").text
    assert render.count == 2


def test_fresh_for_a_minute_stale_for_half_of_one(meta, render, server):
    def text() -> str:
        return page(meta, "report", render)

    assert text() == "page 1"
    server.clock.advance(60)
    assert text() == "page 1"
    server.clock.advance(1)
    assert text() == "page 2"
    server.clock.advance(90)
    assert text() == "page 3", "nobody asked while it was stale"


def test_a_winner_that_fails_gives_the_old_page(meta, render, server):
    def fail() -> str:
        raise RuntimeError("no database")

    assert page(meta, "report", render) == "page 1"
    server.clock.advance(61)
    assert page(meta, "report", fail) == "page 1"
    server.clock.advance(29)
    assert page(meta, "report", render) == "page 2"


def test_a_winner_that_fails_lets_another_try(meta, render):
    def fail() -> str:
        raise RuntimeError("no database")

    with pytest.raises(RuntimeError, match="no database"):
        page(meta, "report", fail)
    assert page(meta, "report", render, wait=lambda _: pytest.fail("there is nobody to wait for")) == "page 1"


def test_who_dies_rendering_holds_the_others_up_for_the_lease_only(meta, render, server):
    def die() -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        page(meta, "report", die)
    waits = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        server.clock.advance(10)

    assert page(meta, "report", render, wait=wait) == "page 1"
    assert len(waits) == 3


def test_without_the_cache_the_page_is_rendered(meta, render, cachecore_faults):
    with cachecore_faults.server_error(commands="ms"):
        assert page(meta, "report", render) == "page 1"
    cachecore_faults.drop_connections()
    with cachecore_faults.server_error(commands="mg"):
        assert [page(meta, "report", render) for _ in range(2)] == ["page 2", "page 3"]


def test_a_page_that_was_invalidated_while_it_was_rendered_is_not_stored(meta, render):
    def overtaken() -> str:
        invalidate(meta, "report")
        return "of before"

    assert page(meta, "report", overtaken) == "of before"
    assert page(meta, "report", render, wait=lambda _: pytest.fail("there is nobody to wait for")) == "page 1"
