"""With -Y: what somebody who has not said who he is can make the server keep, and what the others notice of it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from cachecore import Server
from tests.stress.test_bounds import ask, connect, stat

NUMBER = 60
KEPT = 5 * 1024  # bytes of a stranger's at most, read and to be sent

LINE = b"set key 0 0 %d\r\n"
GOOD = LINE % 3 + b"u p\r\n"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "users").write_text("u:p\n")
    with Server(port=0, threads=2, auth_file=str(tmp_path / "users")) as running:
        yield running


@contextlib.contextmanager
def admitted(server: Server) -> Iterator[socket.socket]:
    with connect(server.address) as client:
        client.sendall(GOOD)
        assert client.recv(100) == b"STORED\r\n"
        yield client


WAITING = {
    "half a line": b"set " + b"x" * 2000,
    "a token that has not ended": LINE % 16384 + b"x" * 16383,
    "a short token that has not ended": LINE % 256 + b"x" * 255,
    "wrong passwords": (LINE % 3 + b"u x\r\n") * 4000,
    "lines that are refused": b"nonsense\r\n" * 8000,
}

#: They are sent until the server takes no more.
ANSWERED = ("wrong passwords", "lines that are refused")


@pytest.mark.parametrize("name", WAITING)
def test_what_a_stranger_sends_is_not_kept(server: Server, name: str) -> None:
    with admitted(server) as client, contextlib.ExitStack() as stack:
        before = stat(server, "read_buf_bytes") + stat(server, "response_obj_bytes")
        for _ in range(NUMBER):
            stranger = stack.enter_context(connect(server.address))
            stranger.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stranger.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                stranger.send(WAITING[name])
                while name in ANSWERED:
                    stranger.send(WAITING[name])
            kept = stat(server, "read_buf_bytes") + stat(server, "response_obj_bytes") - before
            assert kept <= NUMBER * KEPT
        long_line = b"get" + b" k" * 100_000 + b"\r\n"  # for which there has to be room
        for _ in range(3):
            assert ask(client, long_line) == b"END\r\n"


@pytest.mark.parametrize("length", [257, 16384])
def test_a_token_too_long_for_anybody_is_skipped(server: Server, length: int) -> None:
    """Whatever it says, and be it the password; then the stranger may try again."""
    blocks = (b"u " + b"p" * length, b"x" * length, b"\n" * length, GOOD * (length // 10))
    with connect(server.address) as client, client.makefile("rb") as replies:
        for block in blocks:
            client.sendall(LINE % length + block[:length] + b"\r\n")
            assert replies.readline() == b"CLIENT_ERROR authentication failure\r\n"
        client.sendall(GOOD + b"mn\r\n")
        assert [replies.readline(), replies.readline()] == [b"STORED\r\n", b"MN\r\n"]
    assert stat(server, "auth_errors") == len(blocks)


def test_skipping_is_no_activity(tmp_path: Path) -> None:
    """A stranger does not stay by sending a byte now and then."""
    (tmp_path / "users").write_text("u:p\n")
    with Server(port=0, threads=1, idle_timeout=10, auth_file=str(tmp_path / "users")) as server:
        server.clock.freeze()
        with connect(server.address) as client:
            client.sendall(LINE % 16384)
            assert client.recv(100) == b"CLIENT_ERROR authentication failure\r\n"
            for _ in range(6):
                server.clock.advance(2)
                with contextlib.suppress(ConnectionError):
                    client.sendall(b"x")
            with contextlib.suppress(ConnectionError):
                assert client.recv(100) == b""
            assert stat(server, "idle_kicks") == 1
