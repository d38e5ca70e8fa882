"""What 64 connections did at once adds up: in the counters, in a number, and in what is left."""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.support.peers import Peer, running_cachecore
from tests.support.wire import Client

CONNECTIONS = 64
ROUNDS = 20
KEYS = 200


@pytest.fixture
def served() -> Iterator[tuple[Peer, list[Client]]]:
    with running_cachecore(threads=4) as peer, contextlib.ExitStack() as stack:
        yield peer, [stack.enter_context(peer.connect()) for _ in range(CONNECTIONS)]


def together(clients: list[Client], requests: list[bytes]) -> list[bytes]:
    """Send to all before anything is read; the replies."""
    for client, request in zip(clients, requests, strict=True):
        client.send(request + b"mn\r\n")
    return [client.read_until(b"MN\r\n").removesuffix(b"MN\r\n") for client in clients]


def drawn(chosen: random.Random, sent: Counter[str]) -> bytes:
    """Some commands; what they are is added to ``sent``."""
    request = b""
    for _ in range(10):
        key = b"k%d" % chosen.randrange(KEYS)
        word = chosen.choice(["get", "get", "set", "delete", "incr", "touch"])
        sent[word] += 1
        rest = {"set": b" 0 0 2\r\n10", "incr": b" 1", "touch": b" 0"}.get(word, b"")
        request += b"%b %b%b\r\n" % (word.encode(), key, rest)
    return request


def test_the_counters_are_what_the_clients_saw(served):
    peer, clients = served
    chosen, sent, seen = random.Random(1), Counter(), Counter()
    for _ in range(ROUNDS):
        requests = [drawn(chosen, sent) for _ in clients]
        for reply in together(clients, requests):
            seen.update(reply.split())
    counted = {name.decode(): int(value) for name, value in peer.stats().items() if value.isdigit()}
    assert counted["cmd_get"] == sent["get"] == counted["get_hits"] + counted["get_misses"]
    assert counted["get_hits"] == seen[b"VALUE"]
    assert counted["cmd_set"] == sent["set"] == seen[b"STORED"]
    assert counted["cmd_touch"] == sent["touch"] == counted["touch_hits"] + counted["touch_misses"]
    assert counted["touch_hits"] == seen[b"TOUCHED"]
    assert sent["delete"] == counted["delete_hits"] + counted["delete_misses"]
    assert counted["delete_hits"] == seen[b"DELETED"]
    assert sent["incr"] == counted["incr_hits"] + counted["incr_misses"]
    assert counted["total_items"] == sent["set"]
    together(clients[:1], [b"".join(b"delete k%d\r\n" % number for number in range(KEYS))])
    left = peer.stats()
    assert (left[b"curr_items"], left[b"bytes"]) == (b"0", b"0")


def test_no_turn_of_a_cas_loop_is_lost(served):
    peer, clients = served
    together(clients[:1], [b"set n 0 0 1\r\n0\r\n"])
    won = 0
    for _ in range(ROUNDS):
        requests = []
        for reply in together(clients, [b"gets n\r\n"] * CONNECTIONS):
            _, _, _, _, cas, value, _ = reply.split()
            number = b"%d" % (int(value) + 1)
            requests.append(b"cas n 0 0 %d %b\r\n%b\r\n" % (len(number), cas, number))
        replies = together(clients, requests)
        assert replies.count(b"STORED\r\n") == 1
        assert replies.count(b"EXISTS\r\n") == CONNECTIONS - 1
        won += 1
    with peer.connect() as client:
        assert client.ask(b"get n\r\n").split()[4] == b"%d" % won
