"""cas numbers: with many threads each takes a block of them, and a client cannot tell."""

from __future__ import annotations

import contextlib
import itertools
import socket
from collections.abc import Iterator

import pytest

from cachecore import Server


def ask(client: socket.socket, request: bytes) -> bytes:
    """The reply to ``request``, told by that of a meta no-op behind it."""
    client.sendall(request + b"mn\r\n")
    read = b""
    while not read.endswith(b"MN\r\n"):
        part = client.recv(1 << 16)
        assert part
        read += part
    return read[:-4]


def cas_after_set(client: socket.socket, key: bytes) -> int:
    reply = ask(client, b"ms %s 1 c\r\nx\r\n" % key)
    assert reply.startswith(b"HD c")
    return int(reply[4:])


@contextlib.contextmanager
def serve(threads: int) -> Iterator[tuple[Server, list[socket.socket]]]:
    """A server, and a connection for each of its workers."""
    with Server(port=0, threads=threads, memory_limit=16) as server, contextlib.ExitStack() as stack:
        server.clock.freeze()
        clients = [stack.enter_context(socket.create_connection(server.address, 30)) for _ in range(threads)]
        for client in clients:
            ask(client, b"")
        yield server, clients


@pytest.mark.parametrize("threads", [1, 4, 5, 8])
def test_a_key_s_cas_rises_whoever_sets_it(threads):
    with serve(threads) as (_, clients):
        for key in (b"a", b"b"):
            for _ in range(3):  # each has its block by then
                seen = [cas_after_set(client, key) for client in (*clients, *reversed(clients))]
                assert all(earlier < later for earlier, later in itertools.pairwise(seen))


def test_up_to_four_threads_number_all_sets_in_their_order():
    with serve(4) as (_, clients):
        assert [cas_after_set(client, b"k%d" % i) for i, client in enumerate(clients * 3)] == list(range(2, 14))


def test_eight_threads_seldom_touch_the_common_number():
    """Each of the sets of different keys is numbered by its thread's block, one behind the other."""
    with serve(8) as (_, clients):
        for number, client in enumerate(clients):
            seen = [cas_after_set(client, b"k%d.%d" % (number, i)) for i in range(64)]
            assert seen == list(range(seen[0], seen[0] + 64))


def test_no_number_is_given_twice():
    with serve(8) as (_, clients):
        seen = [cas_after_set(client, b"k%d" % (i % 37)) for i, client in enumerate(clients * 100)]
        assert len(set(seen)) == len(seen)


def test_what_is_stored_after_a_flush_stays_whoever_stores_it():
    """Also by a thread that had numbers left from before the flush."""
    with serve(8) as (_, clients):
        for i, client in enumerate(clients):
            cas_after_set(client, b"old%d" % i)
        assert ask(clients[3], b"flush_all\r\n") == b"OK\r\n"
        for i, client in enumerate(clients):
            cas_after_set(client, b"new%d" % i)
        for i in range(8):
            assert ask(clients[0], b"mg old%d\r\nmg new%d\r\n" % (i, i)) == b"EN\r\nHD\r\n"


def test_a_number_that_a_client_chose_does_not_hold_up_the_next_one():
    with serve(8) as (_, clients):
        before = cas_after_set(clients[0], b"a")
        assert ask(clients[0], b"ms a 1 c E9000000000000000000\r\nx\r\n") == b"HD c9000000000000000000\r\n"
        assert before < cas_after_set(clients[0], b"a") <= before + 8 * 64


def test_a_new_second_brings_a_new_block():
    """So a key that went and came again has a later number than its former self, but for the same second."""
    with serve(8) as (server, clients):
        cas_after_set(clients[0], b"mine")
        last = cas_after_set(clients[7], b"k")
        assert cas_after_set(clients[0], b"mine") < last
        server.clock.advance(1)
        assert cas_after_set(clients[0], b"mine") > last
