"""What once went wrong in memcached, done again here: each test sends what made the fault, and sees that it does no
harm. docs/security.md says which fault each one is about."""

from __future__ import annotations

import base64
import contextlib
import itertools
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from cachecore import Server
from cachecore_ext.probe import Store
from tests.conftest import Launch
from tests.house.sources import ROOT
from tests.stress.test_bounds import daemon
from tests.support.cases import DELETED, END, ERROR, FORMAT, MN, STORED, hit, put
from tests.support.peers import Peer
from tests.support.sockets import wait_until_stuck
from tests.support.wire import Client

OPAQUE_TOO_LONG = b"CLIENT_ERROR opaque token too long\r\n"


def used_chunks(peer: Peer) -> int:
    """Of all slab classes: those of items, and of what still holds them."""
    return sum(int(number) for name, number in peer.stats(b"slabs").items() if name.endswith(b":used_chunks"))


def slow_reader(peer: Peer) -> Client:
    """A connection whose client takes little in at a time."""
    client = peer.connect()
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    return client


# ---- what is told of the process


def own_memory() -> list[range]:
    """The addresses in use in this process, and so in the server."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return [range(*(int(edge, 16) for edge in line.split()[0].split("-"))) for line in lines]


def addresses(text: bytes) -> list[bytes]:
    """Numbers in a reply, decimal or hexadecimal, that are an address in use."""
    words = re.findall(rb"[0-9a-fA-F]{6,16}", text)
    memory = own_memory()
    return [
        word
        for word in words
        if any(int(word, base) in part for base in (10, 16) if base == 16 or word.isdigit() for part in memory)
    ]


@pytest.mark.parametrize("line", [b"stats maps", b"stats malloc", b"stats cachedump", b"stats x", b"stats detail x"])
def test_no_statistics_beyond_those_that_are_listed(cachecore_peer: Peer, line: bytes) -> None:
    with cachecore_peer.fresh() as client:
        assert re.fullmatch(rb"(CLIENT_)?ERROR[^\n]*\r\n", client.transcript(line + b"\r\n"))


def test_no_reply_has_an_address(cachecore_peer: Peer) -> None:
    assert addresses(b"STAT pointer %x\r\n" % id(cachecore_peer)) == [b"%x" % id(cachecore_peer)]
    lines = (b"", b" settings", b" items", b" slabs", b" sizes", b" conns", b" detail dump", b" extstore")
    with cachecore_peer.fresh() as client:
        client.transcript(put(b"a", b"x" * 10) + put(b"large", b"x" * 100_000))
        told = b"".join(client.ask(b"stats%s\r\n" % line) for line in lines)
        told += client.transcript(b"me a\r\nme large\r\nmg a h l t s f c\r\nversion\r\nlru_crawler metadump all\r\n")
    assert len(told) > 4000
    assert addresses(told) == []


def test_no_key_is_written_to_the_log() -> None:
    """At the highest verbosity, whatever bytes the key has and wherever it ends in memory."""
    keys = [b"secret" + b"\xff" * 244, b"secret\0\1", b"secret%s%n%x"]
    requests = b"".join(b"set %s 0 0 1\r\nx\r\nget %s\r\ndelete %s\r\n" % (key, key, key) for key in keys)
    with daemon("-vv") as (process, address), socket.create_connection(address) as client:
        client.sendall(b"verbosity 2\r\n" + requests + b"get " + b"k" * 251 + b"\r\nnonsense secret\r\nmn\r\n")
        with client.makefile("rb") as replies:
            assert sum(line == b"STORED\r\n" for line in iter(replies.readline, b"MN\r\n")) == len(keys)
        client.close()
        process.terminate()
        assert process.stderr is not None
        said = process.stderr.read()
    assert b"secret" not in said
    assert b"kkk" not in said


def test_the_longest_path_of_a_socket_is_shown_whole(launch_cachecore: Launch, tmp_path: Path) -> None:
    """One that leaves no room for a NUL in the kernel's structure."""
    room = 107 - len(str(tmp_path)) - 1
    path = tmp_path / ("s" * room)
    peer = launch_cachecore(unix_socket=str(path))
    with peer.connect() as client:
        shown = client.ask(b"stats conns\r\n")
    assert len(str(path)) == 107
    assert set(re.findall(rb"STAT \d+:(?:listen_)?addr (.*)\r\n", shown)) == {b"unix:" + str(path).encode()}


# ---- keys that no line could hold

#: In base64 it is a key like any other; written as it is it would end the reply, and begin another one.
FORGED = b"a\r\nflush_all\r\nx y"
WRITTEN = base64.b64encode(FORGED)


@pytest.mark.parametrize(
    "made",
    [
        b"mg %s b N30\r\n",
        b"ms %s 1 b\r\n1\r\nms %s 1 b MA\r\n2\r\n",
        b"ms %s 1 b\r\n9\r\nma %s b\r\n",
        b"ma %s b N30\r\n",
        b"ms %s 1 b\r\n1\r\nmd %s b x\r\n",
    ],
    ids=["vivify", "append", "grow", "count", "empty"],
)
def test_a_key_is_never_read_as_a_reply(launch_cachecore: Launch, made: bytes) -> None:
    """Nor, by who feeds an mgdump to a server, as a command; however the item came to be."""
    with launch_cachecore(threads=1).connect() as client:
        client.transcript(made.replace(b"%s", WRITTEN))
        echoed = client.transcript(b"mg %s b k\r\n" % WRITTEN)
        assert re.fullmatch(rb"HD k%s b( [ZW])?\r\n" % re.escape(WRITTEN), echoed)
        assert client.transcript(b"me %s b\r\n" % WRITTEN).startswith(b"ME %s exp=" % WRITTEN)
        assert client.transcript(b"lru_crawler mgdump all\r\n") == b"OK\r\nmg %s b\r\nEN\r\n" % WRITTEN
        assert client.transcript(b"stats cachedump 1 0\r\nstats cachedump 2 0\r\n") == END * 2


# ---- references to items


def test_more_references_than_16_bits_hold() -> None:
    store = Store(memory_limit=4 << 20)
    store.put("set", b"a", b"v" * 20_000)
    handles = [store.hold(b"a") for _ in range((1 << 16) + 2)]
    assert store.delete(b"a")
    store.put("set", b"a", b"w" * 20_000)
    for handle in handles[1:]:
        assert handle is not None
        store.release(handle)
    assert handles[0] is not None
    assert store.held_value(handles[0]) == b"v" * 20_000
    store.release(handles[0])
    assert sum(cls["used"] for cls in store.check()["classes"].values()) == 1


def test_a_value_that_is_asked_for_very_often(launch_cachecore: Launch) -> None:
    """2 ** 17 replies with it, on connections that do not read; then it is deleted, and stored anew."""
    peer = launch_cachecore(threads=1)
    value, other = b"v" * 20_000, b"w" * 20_000
    with peer.connect() as client, contextlib.ExitStack() as stack:
        client.transcript(put(b"a", value))
        before = used_chunks(peer)
        readers = [stack.enter_context(slow_reader(peer)) for _ in range(64)]
        for reader in readers:
            reader.socket.send(b"get a\r\n" * 1024 + b"get" + b" a" * 1024 + b"\r\n")
        wait_until_stuck(peer.server, lambda: client.ask(b"mn\r\n", MN))
        assert client.transcript(b"delete a\r\n") == DELETED
        assert client.transcript(put(b"a", other) + b"get a\r\n") == STORED + hit(b"a", other)
        for reader in readers:
            assert reader.read_until(b"\r\n") == b"VALUE a 0 20000\r\n"
            assert reader.read_exact(len(value)) == value
            reader.close()
        while used_chunks(peer) > before:
            client.transcript(b"")
        assert client.transcript(b"get a\r\n") == hit(b"a", other)


@pytest.mark.parametrize(
    "line",
    [
        b"mg a v " + b"O" * 33,
        b"mg a v N30 " + b"O" * 33,
        b"md a " + b"O" * 33,
        b"ma a " + b"O" * 33,
        b"ms a 20000 " + b"O" * 33 + b"\r\n" + b"x" * 20000,
    ],
    ids=["mg", "mg-vivify", "md", "ma", "ms"],
)
def test_an_opaque_too_long_holds_nothing(launch_cachecore: Launch, line: bytes) -> None:
    """However often: the item can go afterwards, and its memory with it."""
    peer = launch_cachecore(threads=1)
    with peer.connect() as client:
        client.transcript(put(b"a", b"v" * 20_000))
        assert used_chunks(peer) == 1
        assert client.transcript((line + b"\r\n") * 500) == OPAQUE_TOO_LONG * 500
        assert client.transcript(b"get a\r\ndelete a\r\n") == hit(b"a", b"v" * 20_000) + DELETED
        assert used_chunks(peer) == 0


@pytest.mark.parametrize("size", [10, 20_000, 700_000])
@pytest.mark.parametrize("flags", [b"!", b"T", b"Tx", b"F-1", b"MX", b"S1", b"b", b"I I", b"C1x", b"E"])
def test_a_malformed_ms_keeps_no_item(launch_cachecore: Launch, size: int, flags: bytes) -> None:
    peer = launch_cachecore(threads=1)
    block = b"x" * size + b"\r\n"
    with peer.connect() as client:
        replies = client.transcript(b"ms a %d %s\r\n%s" % (size, flags, block) * 20)
        assert re.fullmatch(rb"(CLIENT_ERROR [^\n]*\r\n){20}", replies)
        unended = client.transcript(b"ms a %d\r\n%s" % (size, block[:-2] + b"xx"))
        assert unended.startswith(b"CLIENT_ERROR bad data chunk")
        assert client.transcript(b"get a\r\n") == END
        assert used_chunks(peer) == 0


# ---- lines


def test_spaces_of_every_number(cachecore_peer: Peer) -> None:
    """Alone, before a command, between its words and behind them."""
    with cachecore_peer.fresh() as client:
        client.transcript(put(b"a", b"1"))
        for number in (*range(1, 40), 100, 101, 2000, 2030):
            spaces = b" " * number
            alone = FORMAT if number < 2 else ERROR
            assert client.transcript(spaces + b"\r\n") == alone
            assert client.transcript(spaces + b"get a\r\n") == ERROR
            for line in (b"get%sa\r\n", b"get a%s\r\n", b"get%sb a\r\n"):
                assert client.transcript(line % spaces) == hit(b"a", b"1")
            for line in (b"mg%sa v\r\n", b"mg a%sv\r\n", b"mg a v%s\r\n"):
                assert client.transcript(line % spaces) == b"VA 1\r\n1\r\n"


# ---- commands of operators

ODD = (b"-2147483648", b"-2", b"-1", b"0", b"1", b"20", b"62", b"63", b"64", b"255", b"256", b"65536", b"2147483647")


def test_pages_between_odd_classes(launch_cachecore: Launch) -> None:
    """Every pair; the items are all there afterwards but those of a page that moved."""
    peer = launch_cachecore(memory_limit=16, threads=1)
    answers = {b"OK", b"BUSY", b"BADCLASS", b"NOSPARE", b"SAME"}
    with peer.connect() as client:
        client.transcript(b"".join(put(b"k%d" % i, b"x" * 100) for i in range(50_000)))
        for source, target in itertools.product(ODD, ODD):
            reply = client.transcript(b"slabs reassign %s %s\r\n" % (source, target))
            assert reply.split(b" ")[0].strip() in answers, (source, target)
        assert client.transcript(put(b"a", b"1") + b"get a\r\n") == STORED + hit(b"a", b"1")


def test_automove_while_pages_move(launch_cachecore: Launch) -> None:
    peer = launch_cachecore(memory_limit=8, threads=1)
    with peer.connect() as client:
        for round_ in range(60):
            size = (50, 5000, 100_000)[round_ % 3]
            number = 1_000_000 // size
            batch = b"".join(put(b"k%d:%d" % (round_, i), b"x" * size) for i in range(number))
            line = b"slabs automove %d\r\nslabs reassign -1 %d\r\n" % (round_ % 3, round_ + 1)
            assert client.transcript(line).startswith(b"OK\r\n")
            refused = client.transcript(batch).replace(STORED, b"")  # while the only page of a class leaves it
            assert refused in [b"SERVER_ERROR out of memory storing object\r\n" * n for n in range(2 + number // 50)]
            assert client.transcript(b"slabs automove 0\r\n") == b"OK\r\n"
        assert client.transcript(put(b"a", b"1") + b"get a\r\n") == STORED + hit(b"a", b"1")


# ---- users


def credentials(text: bytes) -> bytes:
    return b"set - 0 0 %d\r\n%s\r\n" % (len(text), text)


def test_no_password_of_two_halves(tmp_path: Path) -> None:
    """The users are exchanged all the while; nobody who is in neither list is let in, and who is in both always is."""
    first, second = ([(b"both", b"x"), (b"u", b"%s%s%s" % (end, b"x" * 252, end))] for end in (b"1", b"2"))
    torn = b"".join(credentials(b"u %c%s%c" % (begin, b"x" * 252, end)) for begin, end in (b"12", b"21"))
    (tmp_path / "users").write_text("both:x\n")
    with Server(port=0, threads=2, auth_file=str(tmp_path / "users")) as server:
        engine = server._running()
        with socket.create_connection(server.address) as client, client.makefile("rb") as replies:
            for _ in range(40):
                client.sendall(torn * 100)
                for _ in range(100):
                    engine.set_users(first)
                    engine.set_users(second)
                assert {replies.readline() for _ in range(200)} == {b"CLIENT_ERROR authentication failure\r\n"}
            client.sendall(credentials(b"both x"))
            assert replies.readline() == b"STORED\r\n"


def function(source: str, name: str) -> list[str]:
    """The lines of a function's body, without its docstring."""
    found = re.search(rf"^cdef [^\n]*\b{name}\([^)]*\)[^\n]*:\n((?:    .*\n|\n)+)", source, re.MULTILINE)
    assert found is not None
    return [line.strip() for line in re.sub(r'^ +""".*?"""\n', "", found[1], count=1, flags=re.DOTALL).splitlines()]


def steps_by_secrets(body: list[str]) -> Iterator[str]:
    """Lines that make a comparison's time depend on what is compared."""
    for line in body:
        if re.match(r"(if|elif|while|break|continue)\b", line) or re.search(r"\b(memcmp|strcmp|and|or|if)\b", line):
            yield line
        if line.startswith("return") and line != body[-1]:
            yield line


def test_all_users_are_compared_in_full() -> None:
    """No way out of the loops, no comparison that stops early, no bound that is not a constant."""
    source = (ROOT / "cachecore_ext" / "protocol" / "auth.pyx").read_text()
    body = [line for line in function(source, "is_known") if line]
    assert list(steps_by_secrets(body)) == []
    assert re.findall(r"range\((.*)\)", "\n".join(body)) == ["USERS_MAX", "CREDENTIAL_WORDS"]
    assert source.count("is_known(") == 2, "there is one comparison"
    assert list(steps_by_secrets(["if a == b:", "return True", "x = memcmp(a, b, n)", "return x"])) == [
        "if a == b:",
        "return True",
        "x = memcmp(a, b, n)",
    ]


@pytest.mark.parametrize("text", [b"a:b\nlong:%s\nc:d" % (b"x" * 251), b"a:b\r\nc:d\r", b":"])
def test_a_file_of_users_that_ends_anywhere(text: bytes, tmp_path: Path) -> None:
    """With or without a last line end: what is read is what is there."""
    from cachecore import StartError
    from cachecore.users import read_users

    path = tmp_path / "users"
    for length in range(len(text) + 1):
        path.write_bytes(text[:length])
        lines = [line.removesuffix(b"\r") for line in text[:length].removesuffix(b"\n").split(b"\n")] if length else []
        if all(b":" in line for line in lines):
            assert read_users(str(path)) == [tuple(line.split(b":", 1)) for line in lines]
        else:
            with pytest.raises(StartError):
                read_users(str(path))
