"""The README's examples, run as they stand there; only the port is another one."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
SNIPPETS = [
    text
    for text in re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    if "def test_" not in text  # those are run by tests/plugin/test_examples.py
]
COMMANDS = ("set", "get", "incr", "mg", "quit")


def session() -> list[tuple[str, str]]:
    """The telnet session as (typed, answered): after a set, the line that follows is typed as well."""
    (block,) = re.findall(r"^<!-- telnet -->\n```text\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    turns: list[tuple[str, str]] = []
    lines = iter(block.splitlines())
    for line in lines:
        if line.split()[0] in COMMANDS:
            typed = f"{line}\r\n"
            if line.startswith("set "):
                typed += f"{next(lines)}\r\n"
            turns.append((typed, ""))
        else:
            typed, answered = turns[-1]
            turns[-1] = typed, f"{answered}{line}\r\n"
    return turns


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
