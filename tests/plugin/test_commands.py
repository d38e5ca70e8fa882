"""What is understood of a command line."""

from __future__ import annotations

import re

import pytest

from cachecore.testing import Command, Commands
from cachecore.testing.commands import parse_line


@pytest.mark.parametrize(
    ("line", "name", "keys", "size", "noreply"),
    [
        (b"get a", "get", (b"a",), None, False),
        (b"gets a  b", "gets", (b"a", b"b"), None, False),
        (b"get noreply", "get", (b"noreply",), None, True),
        (b"gat 10 a b", "gat", (b"a", b"b"), None, False),
        (b"set a 1 0 5", "set", (b"a",), 5, False),
        (b"set a 1 0 5 noreply", "set", (b"a",), 5, True),
        (b"cas a 1 0 5 77", "cas", (b"a",), 5, False),
        (b"ms a 3 T0 noreply", "ms", (b"a",), 3, False),
        (b"ms YQ== 3 b", "ms", (b"a",), 3, False),
        (b"mg YQ== b v", "mg", (b"a",), None, False),
        (b"mg YQ== v", "mg", (b"YQ==",), None, False),
        (b"mg a b", "mg", (b"a",), None, False),
        (b"delete a noreply", "delete", (b"a",), None, True),
        (b"incr a 1", "incr", (b"a",), None, False),
        (b"get", "get", (), None, False),
        (b"mg", "mg", (), None, False),
        (b"flush_all", "flush_all", (), None, False),
        (b"", "", (), None, False),
    ],
)
def test_a_line(line, name, keys, size, noreply):
    assert parse_line(line, 4) == Command(name, keys, line, size, noreply, 4)


@pytest.mark.parametrize(
    "line", [b"set a 0 0", b"set a 0 0 -1", b"set a 0 0 x", b"ms a", b"ms a S3", b"set a 0 0 99999999999"]
)
def test_a_line_whose_value_has_no_known_size(line):
    assert parse_line(line, 1) is None


def test_the_record():
    commands = Commands()
    for line in (b"get a", b"set b 0 0 1", b"gets b c"):
        commands.record(parse_line(line, 1))
    assert [command.line for command in commands] == [b"get a", b"set b 0 0 1", b"gets b c"]
    assert commands[-1].keys == (b"b", b"c")
    assert commands[0].key == b"a"
    assert commands.named("get", "gets") == [commands[0], commands[2]]
    assert commands.about("b") == commands.about(b"b") == commands[1:]
    assert re.search("3 commands.*get a", repr(commands))
    commands.clear()
    assert list(commands) == []
