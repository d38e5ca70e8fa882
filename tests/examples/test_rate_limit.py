"""The limiters: never one request too many, however many come at once."""

from __future__ import annotations

from collections import Counter

import pytest

from examples.rate_limit import Verdict, create_app, fixed_window, token_bucket
from tests.examples.conftest import at_once


def test_a_window_lets_exactly_so_many_through(meta):
    verdicts = at_once(32, lambda: fixed_window(meta, "ada", limit=10, seconds=60))
    assert Counter(verdict.allowed for verdict in verdicts) == {True: 10, False: 22}


def test_a_window_ends_by_the_server_s_clock(meta, server):
    assert fixed_window(meta, "ada", 2, 60) == Verdict(True)
    server.clock.advance(40)
    assert fixed_window(meta, "ada", 2, 60) == Verdict(True)
    assert fixed_window(meta, "ada", 2, 60) == Verdict(False, retry_after=20)
    assert fixed_window(meta, "bob", 2, 60) == Verdict(True)
    server.clock.advance(20)
    assert fixed_window(meta, "ada", 2, 60) == Verdict(True)


def test_a_window_is_one_round_trip(meta, cachecore_commands):
    cachecore_commands.clear()
    fixed_window(meta, "ada", 2, 60)
    (command,) = [command for command in cachecore_commands if command.name != "mn"]
    assert (command.name, command.key) == ("ma", b"window:ada")
    assert {b"N60", b"J1", b"v", b"t"} <= set(command.line.split())


def test_a_bucket_lets_exactly_a_burst_through(meta, server):
    verdicts = at_once(32, lambda: token_bucket(meta, "ada", rate=1, burst=10, now=lambda: server.clock.now))
    assert Counter(verdict.allowed for verdict in verdicts) == {True: 10, False: 22}


def test_a_bucket_fills_again(meta, server):
    def take() -> Verdict:
        return token_bucket(meta, "ada", rate=0.5, burst=3, now=lambda: server.clock.now)

    assert [take().allowed for _ in range(4)] == [True, True, True, False]
    assert take() == Verdict(False, retry_after=2)
    server.clock.advance(2)
    assert [take().allowed for _ in range(2)] == [True, False]
    server.clock.advance(1000)
    assert server.items() == {}, "a full bucket needs no item"
    assert [take().allowed for _ in range(4)] == [True, True, True, False]


def test_a_bucket_never_holds_more_than_a_burst(meta, server):
    """A second later its item is still there, of a time that is over: ten tokens might have come since."""

    def take() -> bool:
        return token_bucket(meta, "ada", rate=10, burst=2, now=lambda: server.clock.now).allowed

    assert take()
    server.clock.advance(1)
    assert b"bucket:ada" in server.items()
    assert [take() for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("start", [0.0, 0.999])
def test_a_bucket_has_no_border_at_which_more_pass(meta, server, start):
    """Two seconds, asked a hundred times each: 5 at once and 5 a second, whenever they begin."""
    passed = sum(
        token_bucket(meta, "ada", 5, 5, now=lambda step=step: server.clock.now + start + step / 100).allowed
        for step in range(200)
    )
    assert passed == 5 + 9


def test_the_site_says_when_to_come_again(meta, server):
    client = create_app(meta).test_client()
    answers = [client.get("/") for _ in range(12)]
    assert [answer.status_code for answer in answers] == [200] * 10 + [429] * 2
    assert answers[-1].headers["Retry-After"] == "60"
    assert client.get("/", environ_base={"REMOTE_ADDR": "192.0.2.7"}).status_code == 200
    server.clock.advance(60)
    assert client.get("/").status_code == 200


def test_without_the_cache_the_site_serves(meta, cachecore_faults):
    client = create_app(meta).test_client()
    with cachecore_faults.server_error(commands="ma"):
        assert [client.get("/").status_code for _ in range(12)] == [200] * 12
