"""The file of users: what is read of it, and what is wrong with it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from cachecore import StartError
from cachecore.users import read_users

LONGEST = b"a:" + b"x" * 254


@pytest.mark.parametrize(
    ("text", "users"),
    [
        (b"", []),
        (b"a:b", [(b"a", b"b")]),
        (b"a:b\n", [(b"a", b"b")]),
        (b"a:b\r\nc:d\r\n", [(b"a", b"b"), (b"c", b"d")]),
        (b"a:b c:d \n", [(b"a", b"b c:d ")]),
        (b":\n", [(b"", b"")]),
        (LONGEST, [(b"a", b"x" * 254)]),
        (b"a:b\n" * 8 + b"nonsense\n", [(b"a", b"b")] * 8),
    ],
)
def test_users(tmp_path, text, users):
    file = tmp_path / "users"
    file.write_bytes(text)
    assert read_users(str(file)) == users


@pytest.mark.parametrize("text", [b"\n", b"a\n", b"a:b\n\n", b"a:b\n\nc:d\n", LONGEST + b"x", b"a:b\n" * 7 + b"c\n"])
def test_a_malformed_file(tmp_path, text):
    file = tmp_path / "users"
    file.write_bytes(text)
    with pytest.raises(StartError) as caught:
        read_users(str(file))
    assert str(caught.value) == f"Authfile [{file}] has a malformed entry. Should be 'user:password'"
    assert caught.value.exit_status == 1


def test_a_file_that_is_not_there():
    with pytest.raises(StartError) as caught:
        read_users("/no/where")
    message = "Could not open authfile [/no/where] for reading, error No such file or directory"
    assert (str(caught.value), caught.value.exit_status) == (message, 1)


def test_no_more_is_read_than_there_may_be(tmp_path):
    file = tmp_path / "users"
    with file.open("wb") as users:
        users.truncate(1 << 40)
    with pytest.raises(StartError):
        read_users(str(file))


@pytest.fixture
def pipe(tmp_path, monkeypatch):
    monkeypatch.setattr("cachecore.users._PATIENCE", 0.1)
    os.mkfifo(tmp_path / "pipe")
    return str(tmp_path / "pipe")


def test_a_pipe_that_nobody_writes_to_is_not_waited_for(pipe):
    with pytest.raises(StartError, match="error no end within"):
        read_users(pipe)


def test_a_pipe_that_is_never_at_its_end_is_not_waited_for(pipe):
    with Path(pipe).open("r+b", buffering=0) as writer:
        writer.write(b"a:b\n")
        with pytest.raises(StartError, match="error no end within"):
            read_users(pipe)


def test_a_pipe_is_read_to_its_end(monkeypatch):
    """As the shell makes one of ``-Y <(echo user:password)``. Read again it has nothing, which is not: no users."""
    monkeypatch.setattr("cachecore.users._PATIENCE", 10)
    reader, writer = os.pipe()
    os.write(writer, b"a:b\n")
    later = threading.Timer(0, lambda: (os.write(writer, b"c:d\n"), os.close(writer)))
    later.start()
    try:
        assert read_users(f"/dev/fd/{reader}") == [(b"a", b"b"), (b"c", b"d")]
        with pytest.raises(StartError, match="error a pipe without data"):
            read_users(f"/dev/fd/{reader}")
    finally:
        later.join()
        os.close(reader)
