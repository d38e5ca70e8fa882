"""What is held against the inventory of tests/support/compatibility.py; each ``check_*`` raises AssertionError.

The suite's rows are run and counted, options are given to the parsers, and a live server shows its statistics, its
lines for who watches, and what signals do to it.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cachecore.errors import SettingsError
from cachecore.extended import FORGOTTEN, PRESETS
from cachecore.options import Option as Row
from cachecore.settings import OPTIONS, SUBOPTIONS
from cachecore.usage import EXTENDED, REFUSED, Action, parse_argv
from tests.protocol import test_auth, test_dump, test_watch
from tests.protocol.tables import ALL, APART
from tests.support import compatibility as inventory
from tests.support.cases import END, ERROR, OK, STORED, Case, check, hit, put
from tests.support.compatibility import ABSENT, ACCEPTED, SAME, Command, Field, Option
from tests.support.differences import DIFFERENCES
from tests.support.peers import CACHECORE, MEMCACHED, Peer, free_port, running
from tests.support.watching import STAMP, Watcher
from tests.unit.test_cli import daemon

AUTH = "auth"


# ---- the suite's rows


class Counted(NamedTuple):
    """A row of the suite, with the table that it is from and the command lines that it sends."""

    table: str
    row: Case
    lines: tuple[bytes, ...]


def command_lines(request: bytes) -> Iterator[bytes]:
    """The lines of a request that are commands: without line ends, and without the data blocks."""
    while request:
        line, _, request = request.partition(b"\n")
        line = line.removesuffix(b"\r")
        yield line
        words = line.split(b" ")
        length = words[2:3] if words[0] == b"ms" else words[4:5]
        if words[0] in (b"set", b"add", b"replace", b"append", b"prepend", b"cas", b"ms") and length[:1]:
            request = request[int(length[0]) + 2 if length[0].isdigit() else 0 :]


def _counted(table: str, rows: Iterable[Case]) -> Iterator[Counted]:
    for row in rows:
        yield Counted(table or row.name.partition("-")[0], row, tuple(command_lines(row.request)))


#: Every row of the suite. Names in ALL begin with their table's.
ROWS: tuple[Counted, ...] = (
    *_counted("", ALL),
    *_counted("dump", APART),
    *_counted("watch", test_watch.REFUSED),
    *_counted(AUTH, test_auth.CASES),
)


class Sum(NamedTuple):
    """How many rows there are for something, and how many of cachecore's replies are those of a memcached."""

    rows: int
    like_current: int  # 1.6.45
    like_older: int  # 1.6.18


def ours(row: Case) -> bool:
    """Whether the row names a difference by which cachecore departs from 1.6.45."""
    return bool(row.differs) and DIFFERENCES[row.differs].peer == CACHECORE


@functools.cache
def owners(one: Counted) -> frozenset[Command]:
    """The commands and rules that say why cachecore departs from 1.6.45 in a row; none where it does not."""
    return frozenset(
        command
        for command in inventory.COMMANDS
        if (ours(one.row) and one.row.differs in command.differences) or any(map(command.departs, one.lines))
    )


def summed(rows: Sequence[Counted]) -> Sum:
    like_current = [one for one in rows if not owners(one)]
    return Sum(len(rows), len(like_current), sum(not one.row.differs for one in rows))


@functools.cache
def counting(command: Command) -> list[Counted]:
    """The rows that count for a command, a flag or a rule.

    One in which cachecore departs from 1.6.45 counts only where that is said: for what it is about.
    """
    return [
        one
        for one in ROWS
        if (one.table in command.tables if command.tables else one.table != AUTH)
        and (not owners(one) or command in owners(one))
        and any(map(command.matches, replies(one.row) if command in inventory.RETURNED else one.lines))
    ]


def replies(row: Case) -> list[bytes]:
    return row.reply.split(b"\r\n")


def check_rows(kind: str) -> None:
    """Every row gets its reply from this server."""
    failures: list[str] = []

    def run(rows: Iterable[Case], peer: Peer, verify: Callable[[Peer, Case], None]) -> None:
        for row in rows:
            try:
                verify(peer, row)
            except (AssertionError, pytest.fail.Exception) as failure:
                failures.append(str(failure))

    with running(kind) as peer:
        run([*ALL, *test_watch.REFUSED], peer, check)
        run(APART, peer, test_dump.check_dump)
    with tempfile.NamedTemporaryFile() as users:
        Path(users.name).write_bytes(test_auth.USERS)
        with running(kind, auth_file=users.name) as peer:
            run(test_auth.CASES, peer, test_auth.exchange)
    assert not failures, "\n".join(failures)


def check_commands() -> None:
    """Each command has rows, and who is better says how; each row that departs from 1.6.45 is of one that names it."""
    wrong = []
    for command in inventory.COMMANDS:
        if not counting(command) and not command.lists and command.verdict is not ABSENT:
            wrong.append(f"{command.name}: no row of the suite is about it")
        if command.verdict is not SAME and not command.how:
            wrong.append(f"{command.name}: does not say how it is {command.verdict.name.lower()}")
        if command.verdict in (SAME, ACCEPTED) and (command.differences or command.departing):
            wrong.append(f"{command.name}: is better in what it names")
    explained = {one for command in inventory.COMMANDS for one in counting(command)}
    departures = [one.row for one in ROWS if ours(one.row) and one not in explained]
    wrong += [f"{row.name}: departs by {row.differs}, which no command that it sends names" for row in departures]
    named = {name for command in inventory.COMMANDS for name in command.differences}
    known = {name for name, difference in DIFFERENCES.items() if difference.peer == CACHECORE}
    wrong += [f"{name}: is named by one side only" for name in named ^ known]
    assert not wrong, "\n".join(wrong)


def check_absent_commands() -> None:
    with running(CACHECORE) as peer, peer.connect() as client:
        for command in inventory.NO_COMMANDS:
            for words in (b"", b" x", b" x 1"):
                reply = client.transcript(command.name.encode() + words + b"\r\n")
                assert reply == ERROR, f"{command.name} is there: {reply!r}"


# ---- options


def words_of(option: Option) -> list[list[str]]:
    """The option on a command line, in each of its spellings."""
    flags = option.name.split(", ")
    if not flags[0].startswith("-"):
        return [["-o", option.name + f"={option.value}" * bool(option.value)]]
    long = [[f"{flag}={option.value}" if option.value else flag] for flag in flags[1:]]
    return [[flags[0], *filter(None, [option.value])], *long]


def check_options() -> None:
    """What is there is taken, and its default changes nothing; what is absent ends with one line."""
    default = parse_argv([]).settings
    for option in (*inventory.OPTIONS, *inventory.SUBOPTIONS):
        for words in words_of(option):
            settings = parse_argv(words).settings
            assert not option.default or settings == default, f"{words} is not the default"
    for option in (*inventory.NO_OPTIONS, *inventory.NO_SUBOPTIONS):
        for words in words_of(option):
            try:
                parse_argv(words)
            except SettingsError as refusal:
                assert len(str(refusal).splitlines()) == 1, f"{words}: {refusal}"
            else:
                raise AssertionError(f"{words} is taken")


def check_options_are_all() -> None:
    """cachecore has no option that is not listed, and says in its help which ones have no effect."""
    listed = {flag for option in inventory.OPTIONS for flag in option.name.split(", ")}
    refused = {flag for letter, long, _ in REFUSED for flag in (f"-{letter}", f"--{long}")}
    offered = {flag for row in OPTIONS for flag in flags_of(row)}
    offered |= {flag for action in Action for flag in (f"-{action.value[0]}", f"--{action.value[1]}")}
    offered |= {f"-{EXTENDED[0]}", f"--{EXTENDED[1]}"}
    listed |= {entry.name for entry in inventory.BEYOND if entry.name.startswith("--")}
    assert listed == offered, listed ^ offered
    assert refused <= {flag for option in inventory.NO_OPTIONS for flag in option.name.split(", ")}, refused
    words = {word for row in SUBOPTIONS for word in (*row.words, *[row.name] * bool(row.metavar))}
    words |= set(PRESETS) | set(FORGOTTEN)
    listed = {option.name for option in inventory.SUBOPTIONS}
    listed |= {entry.name.removeprefix("-o ") for entry in inventory.BEYOND if entry.name.startswith("-o ")}
    assert listed == words, listed ^ words
    idle = {flag for row in (*OPTIONS, *SUBOPTIONS) if "no effect" in row.help for flag in (*flags_of(row), *row.words)}
    idle |= {row.name for row in SUBOPTIONS if "no effect" in row.help and row.metavar} | set(FORGOTTEN)
    accepted = [option for option in (*inventory.OPTIONS, *inventory.SUBOPTIONS) if option.verdict is ACCEPTED]
    listed = {flag for option in accepted for flag in option.name.split(", ")}
    assert listed == idle, listed ^ idle


def flags_of(row: Row) -> list[str]:
    """The option's letter and its long form; a suboption has neither."""
    return [] if row.suboption else [*[f"-{row.short}"] * bool(row.short), f"--{row.long}"]


def check_options_of_memcached() -> None:
    """The memcached at hand takes the same ones, but the newer; what its help shows is listed."""
    binary = shutil.which("memcached")
    assert binary is not None

    def ask(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([binary, *words], capture_output=True, text=True, timeout=20, check=False)

    for option in (*inventory.OPTIONS, *inventory.SUBOPTIONS):
        for words in words_of(option):
            done = ask(*words, "-h")  # it reads one after the other, and prints its help when it comes to this one
            assert option.newer or done.stdout, f"memcached does not take {words}: {done.stderr}"
    shown = ask("-h").stdout
    letters = set(re.findall(r"^(-\w)\b", shown, re.MULTILINE))
    suboptions = set(re.findall(r"^ +- (\w+): ", shown, re.MULTILINE))
    known = {option.name[:2] for option in (*inventory.OPTIONS, *inventory.NO_OPTIONS)}
    assert letters <= known, letters - known
    known = {option.name for option in (*inventory.SUBOPTIONS, *inventory.NO_SUBOPTIONS)}
    assert len(suboptions) > 30
    assert suboptions <= known, suboptions - known


# ---- statistics

Shown = dict[str, list[tuple[str, str]]]


#: Suboptions with which every statistic is there, and some with which others are not.
ALL_SHOWN = "idle_timeout=1000,temporary_ttl=61,slab_automove_window=10"
FEWER_SHOWN = (
    "slab_automove_window=10",
    "slab_automove_window=10,no_maxconns_fast",
    "slab_automove_window=10,no_slab_reassign",
    "slab_automove_window=10,no_lru_crawler",
    "slab_automove_window=10,no_lru_maintainer",
)


def statistics(kind: str, suboptions: str = ALL_SHOWN) -> Shown:
    """The names and values of every section, from a server with these suboptions."""
    options: dict[str, Any] = {"extended": suboptions}
    if kind == CACHECORE:
        given = [item.partition("=") for item in suboptions.split(",")]
        options = {name.removeprefix("no_"): int(value) if value else False for name, _, value in given}
        options |= {"port": free_port(), "listen": "127.0.0.1"}
    with running(kind, **options) as peer, peer.connect() as client:
        client.transcript(put(b"a", b"1") + put(b"b", b"1", exptime=10))
        return {
            section: [
                (name.decode().rpartition(":")[2], value.decode())
                for name, value in peer.stats(b"" if section == "general" else section.encode()).items()
            ]
            for section in inventory.SECTIONS
        }


def check_statistics() -> None:
    """cachecore shows what is listed, all of it, in this order and format, and nothing else."""
    shown = statistics(CACHECORE)
    for section, fields in inventory.SECTIONS.items():
        names = [name for name, _ in shown[section]]
        order = [field.name for field in fields]
        assert set(names) == set(order), section
        # A class, or a connection, begins with the first field; a listener has not all of them.
        begun = [*(at for at, name in enumerate(names) if name == order[0]), len(names)]
        for begin, end in itertools.pairwise(begun):
            one = names[begin:end]
            assert one == [name for name in order if name in one], section
        check_formats(section, shown[section], fields)
        absent = {name for names, _ in inventory.NO_FIELDS.get(section, ()) for name in names.split()}
        assert not absent & set(names), section


def check_formats(section: str, shown: list[tuple[str, str]], fields: Sequence[Field]) -> None:
    forms = {field.name: field.form for field in fields}
    for name, value in shown:
        if name in forms:
            assert re.fullmatch(forms[name], value), f"{section}: {name} is {value!r}"


def check_statistics_of_memcached(suboptions: str) -> None:
    """The memcached at hand shows the same, but what is newer; its settings have the same values."""
    shown, theirs = statistics(CACHECORE, suboptions), statistics(MEMCACHED, suboptions)
    for section, fields in inventory.SECTIONS.items():
        names = list(dict.fromkeys(name for name, _ in theirs[section]))
        absent = {name for names, _ in inventory.NO_FIELDS.get(section, ()) for name in names.split()}
        assert set(names) - {field.name for field in fields} <= absent | inventory.FORMER_FIELDS, section
        newer = {field.name for field in fields if field.newer}
        ours = [name for name in dict.fromkeys(name for name, _ in shown[section]) if name not in newer]
        assert ours == [name for name in names if name not in absent | inventory.FORMER_FIELDS], section
        check_formats(section, theirs[section], [field for field in fields if field.form != "0"])
    own = {field.name for field in inventory.SETTINGS if field.note or field.newer} | {"tcpport"}
    values = dict(shown["settings"])
    different = {
        name: (values[name], value)
        for name, value in theirs["settings"]
        if name in values and name not in own and values[name] != value
    }
    assert not different, different


# ---- watch


def watched_words() -> list[str]:
    return list(dict.fromkeys(line.watched for line in inventory.LINES))


def check_watch() -> None:
    """Each line comes to who watches its word, with these names; other words are granted."""
    with (
        contextlib.ExitStack() as stack,
        running(CACHECORE, memory_limit=4, threads=1, slab_automove=0, worker_logbuf_size=4096) as peer,
    ):
        for quiet in inventory.QUIET_WORDS:
            Watcher(peer, quiet.watched.encode()).client.close()
        watchers = {word: stack.enter_context(Watcher(peer, word.encode())) for word in watched_words()}
        make_events(peer)
        for word, watcher in watchers.items():
            lines = {line.name: line.names for line in inventory.LINES if line.watched == word}
            shown = first_lines(watcher, set(lines))
            for kind, names in lines.items():
                assert re.fullmatch("".join(rf" {name}=\S+" for name in names.split()), shown[kind]), shown[kind]


def make_events(peer: Peer) -> None:
    """Something of everything that may be watched."""
    with peer.connect() as client:
        client.transcript(put(b"k", b"1") + b"get k\r\ndelete k\r\n")
        client.transcript(b"".join(put(b"%d" % i, b"x" * 900) for i in range(6000)))
        deadline = time.monotonic() + 10
        while client.transcript(b"lru_crawler crawl all\r\n") != OK:
            assert time.monotonic() < deadline, "its own crawl does not end"
        pages = peer.stats(b"slabs")
        source = next(name.split(b":")[0] for name, n in pages.items() if b":total_pages" in name and int(n) > 1)
        assert client.transcript(b"slabs reassign %s 0\r\n" % source) == OK


def first_lines(watcher: Watcher, kinds: set[str]) -> dict[str, str]:
    """The first line of each type, without its stamp and its type; no other type may come."""
    lines: dict[str, str] = {}
    while lines.keys() != kinds:
        kind, _, names = STAMP.sub(b"", watcher.client.read_until(b"\n")).decode().rstrip("\n").partition(" ")
        kind = kind.removeprefix("type=")
        assert kind in kinds, f"a line of the type {kind}"
        lines.setdefault(kind, f" {names}")
    return lines


# ---- the daemon

#: What ends the daemon, and what it says then.
ENDINGS = {"SIGINT": [], "SIGTERM": [], "SIGUSR1": ["Gracefully stopping"]}


def check_memory_file() -> None:
    """With -e an item is there after a graceful end and another start."""
    with tempfile.TemporaryDirectory() as folder:
        for expected in (END, hit(b"a", b"1")):
            with running(CACHECORE, memory_file=f"{folder}/items") as peer, peer.connect() as client:
                assert client.transcript(b"get a\r\n") == expected
                client.transcript(put(b"a", b"1"))
                peer.server.stop(save=True)


def check_signals_and_environment() -> None:
    """Those that end it do, in their manner; the others do not; the port file is written."""
    surviving = {"SIGHUP", "SIGPIPE"}
    assert {entry.name for entry in inventory.SIGNALS} == ENDINGS.keys() | surviving
    here = [entry.name for entry in inventory.ENVIRONMENT if entry.verdict is not ABSENT]
    assert here == ["MEMCACHED_PORT_FILENAME"]
    with tempfile.TemporaryDirectory() as folder:
        users, ports = Path(folder, "users"), Path(folder, "ports")
        for name, farewell in ENDINGS.items():
            users.write_text("user:old\n")
            with daemon("-p", "-1", "-Y", str(users), MEMCACHED_PORT_FILENAME=str(ports)) as running_daemon:
                found = re.search(r"^TCP INET: (\d+)$", ports.read_text(), re.MULTILINE)
                assert found is not None
                users.write_text("user:new\n")
                running_daemon.process.send_signal(signal.SIGPIPE)
                running_daemon.process.send_signal(signal.SIGHUP)
                await_password(Peer(CACHECORE, ("127.0.0.1", int(found[1]))), b"user new")
                said = [f"read {users} again", *farewell]
                assert running_daemon.end(signal.Signals[name]) == (0, said), name


def await_password(peer: Peer, shown: bytes) -> None:
    deadline = time.monotonic() + 10
    with peer.connect() as client:
        while client.ask(test_auth.token(shown), b"\r\n") != STORED:
            assert time.monotonic() < deadline, "SIGHUP does not have the users read again"
