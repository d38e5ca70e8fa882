"""Pages of prose whose code blocks are run as they stand there, one after the other, as a reader would.

What a block is, its language says:

- ``python``: run, all of a page in one namespace; with a ``title`` it is a file of that name instead.
- ``sh``: run by bash, but for installing, where what is installed has to be there already. One that begins with
  ``cachecore`` starts a daemon in the foreground, which the blocks that follow talk to; before there is one, they talk
  to a daemon whose clock stands still.
- ``telnet``: a session with the daemon, typed lines and answers; with a ``title`` its connection stays for the next
  block of the same title.
- ``output``: what the block before it printed.
- every other: nothing is done.

``...`` in an answer or output stands for any text, and as a line of its own for any lines. Ports and folders of a page
are exchanged for free ones.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from tests.house.sources import ROOT
from tests.support.peers import free_port

_FENCE = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_STORAGE = ("set", "add", "replace", "append", "prepend", "cas", "ms")
_COMMANDS = {
    *_STORAGE,
    *("get", "gets", "gat", "gats", "delete", "incr", "decr", "touch", "mg", "md", "ma", "mn", "me", "quit", "stats"),
    *("flush_all", "version", "verbosity", "watch", "lru", "lru_crawler", "slabs", "cache_memlimit", "shutdown"),
    "debugtime",
}
_FOLDERS = ("/dev/shm/", "/run/", "/etc/")
_INSTALLING = ("pip install ", "python3 -m venv ", ". .venv/")
_DAEMON = re.compile(r"cachecore(?! -[dhiV]\b)")
_TIMEOUT = 60.0


class Block(NamedTuple):
    """A code block of a page."""

    language: str
    title: str
    text: str
    line: int  # of the page, where the text begins


def blocks(page: str, *languages: str) -> list[Block]:
    """The blocks of a page's text, or those in these languages."""
    found = [Block(m[1], m[2] or "", m[3], page.count("\n", 0, m.start(3)) + 1) for m in _FENCE.finditer(page)]
    return [block for block in found if not languages or block.language in languages]


def turns(session: str) -> list[tuple[str, str]]:
    """A session as (typed, answered); a storage command is typed with the line that follows it."""
    found: list[tuple[str, str]] = []
    lines = iter(session.splitlines())
    for line in lines:
        word = line.split()[0] if line.split() else ""
        if word in _COMMANDS:
            data = f"{next(lines)}\r\n" if word in _STORAGE else ""
            found.append((f"{line}\r\n{data}", ""))
        else:
            typed, answered = found.pop() if found else ("", "")
            found.append((typed, f"{answered}{line}\r\n"))
    return found


def assert_shown(shown: str, real: str, where: str) -> None:
    """``shown`` is what ``real`` is, but for what its ``...`` stand for."""
    lines = (
        r"(?:.*\n)*" if line.strip() == "..." else re.escape(line).replace(re.escape("..."), ".*") + r"\n"
        for line in shown.splitlines()
    )
    plain = "".join(f"{line.rstrip()}\n" for line in real.splitlines())
    assert re.fullmatch("".join(lines), plain), f"{where}: shown\n{shown}\nbut it is\n{plain}"


class Reader:
    """Who follows a page, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = {"11211": str(free_port()), "11311": str(free_port())}
        self._names: dict[str, object] = {"__name__": "page"}
        self._daemon: subprocess.Popen[str] | None = None
        self._said: IO[str] | None = None
        self._has_pid_file = False
        self._connections: dict[str, tuple[socket.socket, IO[bytes]]] = {}
        programs = folder / "programs"
        programs.mkdir()
        for name, words in {"cachecore": "-m cachecore", "python": ""}.items():
            (programs / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {words} "$@"\n')
            (programs / name).chmod(0o755)
        self._environment = {
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTEST_PLUGINS": "cachecore.testing.plugin",
        }

    def follow(self, page: Path) -> None:
        """Do everything that the page says. Raises AssertionError where it is otherwise."""
        found = blocks(page.read_text(encoding="utf-8"))
        with contextlib.ExitStack() as stack:
            stack.callback(self._end)
            for at, block in enumerate(found):
                where = f"{page.name}:{block.line}"
                printed = self._do(block, where)
                after = found[at + 1] if at + 1 < len(found) else None
                if after is not None and after.language == "output":
                    assert printed is not None, f"{where}: nothing that prints"
                    assert_shown(self._here(after.text), printed, where)

    def _do(self, block: Block, where: str) -> str | None:
        text = self._here(block.text)
        if block.language == "telnet":
            self._talk(text, block.title, where)
        elif block.language == "sh":
            return self._start(text) if _DAEMON.match(text) else self._run(text, where)
        elif block.title:
            (self._folder / block.title).write_text(text)
        elif block.language == "python":
            printed = io.StringIO()
            if re.search(r":\d|\(\"127", text):
                self._serve()
            with contextlib.redirect_stdout(printed):
                exec(compile(text, where, "exec"), self._names)
            return printed.getvalue()
        return None

    def _here(self, text: str) -> str:
        """A text with ports and folders that are free."""
        for port, free in self._ports.items():
            text = text.replace(port, free)
        return re.sub(rf"(?<![\w.])({'|'.join(_FOLDERS)})", f"{self._folder}/", text)

    def _run(self, script: str, where: str) -> str:
        self._serve()
        lines = []
        for line in script.splitlines():
            if line.startswith("pip install "):
                for name in shlex.split(line)[2:]:
                    assert name.startswith((".", "-")) or importlib.metadata.version(name)
            elif not line.startswith(_INSTALLING):
                lines.append(line)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", "\n".join(lines)],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_TIMEOUT,
        )
        assert done.returncode == 0, f"{where}: {done.stdout}"
        if "kill -" in script and self._daemon is not None and self._has_pid_file:
            assert self._daemon.wait(_TIMEOUT) == 0
            self._drop()
        return done.stdout

    # ---- the daemon

    def _start(self, command: str) -> str:
        """Start a daemon instead of the one that there is; the line that says where it listens, and those before."""
        self._end()
        if not re.search(r" -[ps] ?\S", command):
            command = f"{command.rstrip()} -p {self._ports['11211']}"
        self._has_pid_file = " -P " in command
        self._daemon = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._daemon.stderr is not None
        self._said = self._daemon.stderr
        said = ""
        for line in self._said:
            if not line.startswith("cachecore is running as root"):
                said += line
            if "listening on" in line:
                return said
        raise AssertionError(f"{command}: {said}")

    def _serve(self) -> None:
        """See to it that there is a daemon."""
        if self._daemon is None:
            self._start("cachecore --debug-commands")
            self._talk("debugtime p\nOK\n", "", "debugtime")

    def _end(self) -> None:
        """Stop the daemon as Ctrl-C does."""
        if self._daemon is not None:
            for title in list(self._connections):
                self._hang_up(title)
            self._daemon.send_signal(signal.SIGINT)
            assert self._daemon.wait(_TIMEOUT) == 0
            self._drop()

    def _drop(self) -> None:
        assert self._said is not None
        self._said.close()
        self._daemon = self._said = None

    # ---- sessions

    def _talk(self, session: str, title: str, where: str) -> None:
        self._serve()
        with contextlib.ExitStack() as ending:
            if title not in self._connections:
                connection = socket.create_connection(("127.0.0.1", int(self._ports["11211"])), _TIMEOUT)
                self._connections[title] = connection, connection.makefile("rb")
            if not title:
                ending.callback(self._hang_up, title)
            connection, replies = self._connections[title]
            said = turns(session)
            for typed, answered in said:
                connection.sendall(typed.encode())
                assert_shown(answered, self._answer(connection, replies, answered), f"{where}: {typed}")
            if said[-1][0] == "quit\r\n":
                assert replies.read() == b"", where
            elif not title:
                assert self._rest(connection, replies) == "", f"{where}: more is answered than shown"

    def _hang_up(self, title: str) -> None:
        connection, replies = self._connections.pop(title)
        replies.close()
        connection.close()

    def _answer(self, connection: socket.socket, replies: IO[bytes], shown: str) -> str:
        lines = shown.splitlines()
        if "..." in lines:
            return self._rest(connection, replies)
        return "".join(replies.readline().decode() for _ in lines)

    def _rest(self, connection: socket.socket, replies: IO[bytes]) -> str:
        """All that is answered."""
        connection.sendall(b"version\r\n")
        return "".join(iter(lambda: _line_before_version(replies), ""))


def _line_before_version(replies: IO[bytes]) -> str:
    line = replies.readline().decode()
    return "" if line.startswith("VERSION ") else line


def pages_to_follow() -> Iterator[Path]:
    """The site's pages with blocks to run, but for those of docs/testing.md, which are tests for the plugin."""
    for path in sorted((ROOT / "docs").rglob("*.md")):
        if path.name != "testing.md" and blocks(path.read_text(encoding="utf-8"), "python", "sh", "telnet"):
            yield path
