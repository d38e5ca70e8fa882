"""The proxy is not there, as far as a client can tell; and it knows what was sent."""

from __future__ import annotations

import socket

import pytest

from cachecore.testing import CacheServer
from tests.support.wire import Client

TRICKY = b"x\r\nMN\r\nVALUE a 0 99\r\nEND\r\n"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"set a 0 0 %d\r\n%s\r\nget a\r\nmg a v\r\nmg a k v s\r\n" % (len(TRICKY), TRICKY),
        b"set a 0 0 1 noreply\r\nx\r\nget a b a\r\ndelete a noreply\r\nget a\r\n",
        b"mg a q v\r\nmg b q v\r\nmn\r\n",
        b"mn\r\nmn\r\nmn\r\n",
        b"\r\n\r\nnonsense\r\nget\r\n",
        b"set a 0 0 3\r\nabcdef\r\nget a\r\n",
        b"set a 0 0 -1\r\nget a\r\n",
        b"set a 0 0 x\r\nabc\r\nget a\r\n",
        b"set %s 0 0 1\r\nx\r\nversion\r\n" % (b"k" * 251),
        b"set a 0 0 2000000\r\n%s\r\nget a\r\n" % (b"v" * 2_000_000),
        b"set a 0 0 900000\r\n%s\r\nget a a a\r\n" % (b"v" * 900_000),
        b"set a 0 0 1\r\nx\r\nlru_crawler mgdump all\r\nget a\r\n",
        b"get %s\r\n" % (b"k" * 3000),
        b"touch a 1\r\n" + b"k" * 3000 + b"\r\nversion\r\n",
        b"incr a 1\nset a 0 0 1\n5\r\nincr a 1\n",
        b"set a 0 0 1\r\nx\r\nquit\r\nget a\r\n",
        b"verbosity 1\r\ncache_memlimit 64\r\nstats reset\r\n",
        b"watch nonsense\r\nget a\r\n",
        b"set a\tb 1000 0 3\r\nabc\r\nget a\tb\r\nversion\r\n",
        b"set a\x0bb 0 0 6\r\nx\r\nMN\r\r\nget a\x0bb\r\nmg a\x0bb v\r\nversion\r\n",
        b"mn\tx\r\nversion\r\n",
        b"set a 0 0 1048500\r\n%s\r\nget a\r\n" % (b"v" * 1_048_500),
        b"set a 0 0 1048300\r\n%s\r\nget a\r\n" % (b"v" * 1_048_300),
        b"set a 0 0 2000000 noreply\r\n%s\r\nget a\r\n" % (b"v" * 2_000_000),
        b"ms a 2000000 q\r\n%s\r\nmn\r\nget a\r\n" % (b"v" * 2_000_000),
        b"set a 0 0 9999999999\r\nversion\r\nget a\r\n",
    ],
)
def test_replies_are_those_of_the_server(request_bytes, direct, proxied):
    def replies(server: CacheServer) -> bytes:
        with socket.create_connection(server.address, 10) as client:
            client.sendall(request_bytes)
            client.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: client.recv(65_536), b""))

    wanted = replies(direct)
    assert replies(proxied) == wanted


def test_a_command_in_pieces(proxied):
    with Client(proxied.address) as client:
        for piece in (b"se", b"t a 0 0 3\r", b"\nab", b"c\r"):
            client.send(piece)
        assert client.ask(b"\n", b"STORED\r\n") == b"STORED\r\n"


@pytest.mark.parametrize("size", [1_048_570, 3_000_000, 9_999_999_999])
def test_who_waits_to_hear_that_a_value_is_too_long(size, direct, proxied):
    answers = []
    for server in direct, proxied:
        with Client(server.address) as client:
            answers.append(client.ask(b"set a 0 0 %d\r\n" % size, b"\r\n"))
    assert answers[0] == answers[1]
    assert b"ERROR" in answers[0]


def test_after_a_value_that_is_too_long_all_goes_on(proxied):
    with Client(proxied.address) as client:
        client.ask(b"set a 0 0 3000000\r\n", b"too large for cache\r\n")
        client.send(b"v" * 1_000_000)
        client.send(b"v" * 2_000_000 + b"\r\n")
        with proxied.faults.server_error(commands="get") as fault:
            assert client.ask(b"get a\r\n", b"\r\n") == b"SERVER_ERROR injected by the test\r\n"
        assert fault.hits == 1
        assert client.ask(b"get a\r\n", b"END\r\n") == b"END\r\n"
    assert [command.name for command in proxied.commands] == ["set", "get", "get"]


def test_a_watcher_watches(proxied):
    with Client(proxied.address) as watcher, Client(proxied.address) as client:
        watcher.ask(b"watch fetchers\r\n", b"OK\r\n")
        client.ask(b"get seen\r\n", b"END\r\n")
        assert b"key=seen" in watcher.ask(b"", b"\n")


def test_what_was_sent_is_recorded(proxied):
    with Client(proxied.address) as one, Client(proxied.address) as two:
        one.transcript(b"set a 5 0 1\r\nx\r\nget a b\r\n")
        two.transcript(b"mg YQ== b v\r\ndelete a noreply\r\n")
    commands = proxied.commands.named("set", "get", "mg", "delete")
    assert [(command.name, command.keys, command.noreply) for command in commands] == [
        ("set", (b"a",), False),
        ("get", (b"a", b"b"), False),
        ("mg", (b"a",), False),
        ("delete", (b"a",), True),
    ]
    assert commands[0].line == b"set a 5 0 1"
    assert commands[0].connection == commands[1].connection != commands[2].connection


def test_what_the_server_itself_does_is_not_recorded(proxied):
    proxied.flush()
    proxied.items()
    assert list(proxied.commands) == []


def test_who_authenticates_is_let_through_whole():
    with CacheServer(proxy=True, auth=("me", "secret")) as server, Client(server.address) as client:
        assert client.ask(b"get a\r\n", b"\r\n") == b"CLIENT_ERROR unauthenticated\r\n"
        assert client.ask(b"set auth 0 0 9\r\nme secret\r\n", b"\r\n") == b"STORED\r\n"
        assert client.transcript(b"set a 0 0 4\r\nMN\r\n\r\nget a\r\n") == b"STORED\r\nVALUE a 0 4\r\nMN\r\n\r\nEND\r\n"
