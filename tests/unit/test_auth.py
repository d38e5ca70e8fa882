"""The file of users, and exchanging them while serving."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from cachecore import Server, SettingsError, StartError
from cachecore.auth import read_users


def reading(tmp_path: Path, text: bytes) -> list[tuple[bytes, bytes]]:
    (tmp_path / "users").write_bytes(text)
    return read_users(str(tmp_path / "users"))


@pytest.mark.parametrize(
    ("text", "users"),
    [
        (b"", []),
        (b"a:b\n", [(b"a", b"b")]),
        (b"a:b", [(b"a", b"b")]),
        (b"a:b\r\nc:d\r\n", [(b"a", b"b"), (b"c", b"d")]),
        (b"a:b:c d \n", [(b"a", b"b:c d ")]),
        (b"\xff:\x00\x80", [(b"\xff", b"\x00\x80")]),
        (b"a:b\na:c\n", [(b"a", b"b"), (b"a", b"c")]),
        (b"a:\n:b\nc:d\n", [(b"c", b"d")]),
        (b"a:" + b"x" * 254 + b"\n", [(b"a", b"x" * 254)]),
        (b"".join(b"%d:p\n" % number for number in range(8)) + b"no entry", [(b"%d" % n, b"p") for n in range(8)]),
    ],
)
def test_entries(tmp_path, text, users):
    assert reading(tmp_path, text) == users


@pytest.mark.parametrize("text", [b"a", b"a:b\n\nc:d\n", b"a:b\nc", b"\n", b"a b\n", b"a:b\n\r\n"])
def test_a_line_without_a_colon_is_none(tmp_path, text):
    with pytest.raises(StartError) as caught:
        reading(tmp_path, text)
    expected = f"Authfile [{tmp_path}/users] has a malformed entry. Should be 'user:password'"
    assert (str(caught.value), caught.value.exit_status) == (expected, 1)


def test_a_long_line_is_not_cut(tmp_path):
    with pytest.raises(StartError, match=r"malformed entry\. Should have at most 256 bytes"):
        reading(tmp_path, b"a:" + b"x" * 255)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(StartError) as caught:
        read_users(str(tmp_path / "absent"))
    expected = f"Could not open authfile [{tmp_path}/absent] for reading, error No such file or directory"
    assert (str(caught.value), caught.value.exit_status) == (expected, 1)
    with pytest.raises(StartError, match=r"error Is a directory$"):
        read_users(str(tmp_path))


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
        server._running().set_users([])
        with socket.create_connection(server.address) as third:
            assert [say(third, old), say(third, new)] == [failure, failure]


@pytest.mark.parametrize(
    "users", [[(b"u", b"p")] * 9, [(b"", b"p")], [(b"u", b"")], [(b"u" * 200, b"p" * 56)]]
)
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
