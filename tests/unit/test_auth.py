"""Users of a server, given to it at its start and exchanged while it serves."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from cachecore import Server, SettingsError, StartError


def test_a_server_does_not_start_without_its_file(tmp_path):
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(StartError, match="Could not open authfile"):
        Server(port=0, auth_file=str(tmp_path / "absent")).start()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    with pytest.raises(SettingsError):
        Server(auth_file="")


def say(client: socket.socket, request: bytes) -> bytes:
    client.sendall(request)
    return client.recv(1000)


def test_a_wrong_password_is_all_that_a_turn_has(tmp_path):
    """Whoever guesses is served between the others. A turn with more requests than -R counts as yielding."""
    (tmp_path / "users").write_text("u:p\n")
    wrong, right = b"set - 0 0 3\r\nu x\r\n", b"set - 0 0 3\r\nu p\r\n"
    options = {"auth_file": str(tmp_path / "users"), "max_reqs_per_event": 1, "threads": 1}
    with Server(port=0, **options) as server, socket.create_connection(server.address) as client:
        client.sendall(wrong * 100 + right)
        with client.makefile("rb") as replies:
            assert [replies.readline() for _ in range(101)][-1] == b"STORED\r\n"
        assert server.stats()["conn_yields"] == 0
        client.sendall(b"mn\r\n" * 100)
        while server.stats()["conn_yields"] == 0:
            client.recv(1000)


def test_users_are_exchanged_while_serving(tmp_path):
    (tmp_path / "users").write_text("old:pass\n")
    old, new = b"set - 0 0 8\r\nold pass\r\n", b"set - 0 0 8\r\nnew pass\r\n"
    failure = b"CLIENT_ERROR authentication failure\r\n"
    with Server(port=0, auth_file=str(tmp_path / "users")) as server, socket.create_connection(server.address) as first:
        assert [say(first, new), say(first, old)] == [failure, b"STORED\r\n"]
        server._running().set_users([(b"new", b"pass")])
        with socket.create_connection(server.address) as second:
            assert [say(second, old), say(second, new)] == [failure, b"STORED\r\n"]
        assert say(first, b"mn\r\n") == b"MN\r\n"  # who is in stays in
        server._running().set_users([(b"new pass", b"word")])
        with socket.create_connection(server.address) as other:
            assert say(other, b"set - 0 0 13\r\nnew pass word\r\n") == failure  # a user ends at the first blank
        server._running().set_users([(b"", b"pass"), (b"new", b"")])
        with socket.create_connection(server.address) as nobody:
            malformed = b"CLIENT_ERROR bad authentication token format\r\n"
            assert say(nobody, b"set - 0 0 5\r\n pass\r\n") == malformed
            assert say(nobody, b"set - 0 0 4\r\nnew \r\n") == malformed
        server._running().set_users([])
        with socket.create_connection(server.address) as third:
            assert [say(third, old), say(third, new)] == [failure, failure]


@pytest.mark.parametrize("users", [[(b"u", b"p")] * 9, [(b"u" * 200, b"p" * 56)]])
def test_users_that_cannot_be(tmp_path, users):
    (tmp_path / "users").write_text("u:p\n")
    with Server(port=0, auth_file=str(tmp_path / "users")) as server:
        with pytest.raises(ValueError, match=r"at most 8 users|together"):
            server._running().set_users(users)
        with socket.create_connection(server.address) as client:
            assert say(client, b"set - 0 0 3\r\nu p\r\n") == b"STORED\r\n"


def test_a_server_for_everybody_takes_no_users():
    with Server(port=0) as server, pytest.raises(RuntimeError, match="without users"):
        server._running().set_users([(b"u", b"p")])
