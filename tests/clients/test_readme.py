"""The README's examples, run as they stand there; only the port is another one."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.support.pages import blocks, turns

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
SNIPPETS = [
    block.text
    for block in blocks(README, "python")
    if "def test_" not in block.text  # those are run by tests/plugin/test_examples.py
]


def session() -> list[tuple[str, str]]:
    """The telnet session as (typed, answered)."""
    return turns(blocks(README.partition("<!-- telnet -->\n")[2], "text")[0].text)


def test_the_telnet_session(peer):
    with (
        socket.create_connection(peer.address, timeout=10) as connection,
        connection.makefile("rb") as replies,
    ):
        for typed, answered in session():
            connection.sendall(typed.encode())
            assert replies.read(len(answered)) == answered.encode(), typed
        assert replies.read() == b""


def test_there_are_snippets():
    assert [("Server(" in snippet, "Client(" in snippet) for snippet in SNIPPETS] == [
        (False, True),
        (True, False),
        (False, False),  # the cache inside a process
    ]


@pytest.mark.parametrize("snippet", [text for text in SNIPPETS if "Client(" in text])
def test_client_snippets(snippet, peer):
    assert "11211" in snippet
    exec(compile(snippet.replace("11211", str(peer.address[1])), "README.md", "exec"), {})


@pytest.mark.parametrize("snippet", [text for text in SNIPPETS if "Server(" in text])
def test_server_snippets(snippet):
    names: dict[str, object] = {}
    exec(compile(snippet, "README.md", "exec"), names)
    assert isinstance(names["port"], int)


@pytest.mark.parametrize("snippet", [text for text in SNIPPETS if "Cache(" in text])
def test_cache_snippets(snippet):
    names: dict[str, object] = {}
    exec(compile(snippet, "README.md", "exec"), names)
    assert isinstance(names["port"], int)
