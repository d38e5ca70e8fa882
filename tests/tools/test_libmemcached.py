"""libmemcached's command line tools."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.cases import hit, put
from tests.support.peers import Peer, free_port
from tests.tools.conftest import Run

#: memccapable expects an error for surplus words behind a delete; memcached 1.6.45, as cachecore, ignores them.
SURPLUS_WORDS = {"ascii delete", "ascii delete noreply"}


def servers(peer: Peer) -> str:
    host, port = peer.address
    return f"--servers={host}:{port}"


def get(peer: Peer, key: bytes) -> bytes:
    with peer.connect() as client:
        return client.ask(b"get %s\r\n" % key)


def store(peer: Peer, *items: bytes) -> None:
    with peer.connect() as client:
        assert client.transcript(b"".join(items)) == b"STORED\r\n" * len(items)


def test_ping(node: Peer, run: Run) -> None:
    run("memcping", servers(node))
    run("memcping", f"--servers=127.0.0.1:{free_port()}", status=1)


def test_files_to_the_server_and_back(node: Peer, run: Run, tmp_path: Path) -> None:
    contents = {"one": b"first\n", "two": b"x" * 100_000 + b"\n"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    run("memccp", servers(node), *(str(tmp_path / name) for name in contents))
    for name, content in contents.items():
        assert get(node, name.encode()) == hit(name.encode(), content)
    assert run("memccat", servers(node), "one").encode().startswith(b"first\n")
    run("memccat", servers(node), f"--file={tmp_path / 'copy'}", "two")
    assert (tmp_path / "copy").read_bytes() == contents["two"]


def test_exist_touch_and_rm(node: Peer, run: Run) -> None:
    store(node, put(b"a", b"1"), put(b"b", b"2"))
    run("memcexist", servers(node), "a")
    run("memcexist", servers(node), "x", status=1)
    run("memctouch", servers(node), "--expire=100", "a")
    run("memctouch", servers(node), "--expire=100", "x", status=1)
    with node.connect() as client:
        left = re.fullmatch(rb"HD t(\d+)\r\n", client.transcript(b"mg a t\r\n"))
        assert left and 90 < int(left[1]) <= 100
    run("memcrm", servers(node), "a")
    assert get(node, b"a") == b"END\r\n"
    assert get(node, b"b") == hit(b"b", b"2")


def test_flush(node: Peer, run: Run) -> None:
    store(node, put(b"a", b"1"))
    run("memcflush", servers(node))
    assert get(node, b"a") == b"END\r\n"


def test_stat(node: Peer, run: Run) -> None:
    store(node, put(b"a", b"1"))
    shown = dict(re.findall(r"^\s+(\w+): (.*)$", run("memcstat", servers(node)), re.MULTILINE))
    expected = node.stats()
    assert set(shown) == {name.decode() for name in expected}
    for name in ("version", "curr_items", "limit_maxbytes", "threads"):
        assert shown[name] == expected[name.encode()].decode()


def test_dump(node: Peer, run: Run) -> None:
    """It lists the keys of every class with ``stats cachedump``."""
    store(node, put(b"a", b"1"), put(b"b", b"2" * 1000), put(b"c", b"3" * 5000), put(b"d", b""))
    assert sorted(run("memcdump", servers(node)).split()) == ["a", "b", "c", "d"]


def test_capable(node: Peer, run: Run) -> None:
    """The text protocol as libmemcached expects it."""
    host, port = node.address
    surplus = SURPLUS_WORDS if node.is_cachecore else set()
    output = run("memccapable", "-h", host, "-p", str(port), "-a", "-t", "10", status=bool(surplus))
    tried = dict(re.findall(r"(ascii [a-z]+(?: noreply)?) +(\[pass\])?", output))
    assert len(tried) == 27
    assert {name for name, passed in tried.items() if not passed} == surplus


@pytest.mark.parametrize("kind", ["set", "get", "mget"])
def test_slap(node: Peer, run: Run, kind: str) -> None:
    before = node.stats()
    words = [servers(node), f"--test={kind}", "--concurrency=2", "--execute-number=100"]
    run("memcslap", *words, *([] if kind == "set" else ["--initial-load=100"]))
    after = node.stats()
    counter = b"cmd_set" if kind == "set" else b"cmd_get"
    assert int(after[counter]) - int(before[counter]) >= 200
    assert after[b"get_misses"] == before[b"get_misses"]


def test_memcaslap(node: Peer, run: Run) -> None:
    """Sets and gets from eight connections, every value verified."""
    host, port = node.address
    output = run("memcaslap", "-s", f"{host}:{port}", "-T", "1", "-c", "8", "-x", "4000", "-v", "1.0")
    assert re.search(r"^cmd_get: [1-9]\d*$", output, re.MULTILINE)
    for failures in ("get_misses", "verify_misses", "verify_failed"):
        assert re.search(rf"^{failures}: 0$", output, re.MULTILINE), output
