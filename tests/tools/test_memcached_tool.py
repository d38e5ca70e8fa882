"""memcached-tool, and what damemtop asks for."""

from __future__ import annotations

import re

import pytest

from tests.conftest import Launch
from tests.support.cases import hit, put
from tests.support.peers import Peer
from tests.tools.conftest import Run

TOOL = "/usr/share/memcached/scripts/memcached-tool"  # where Debian's package has it


def tool(run: Run, peer: Peer, *words: str) -> str:
    host, port = peer.address
    return run("perl", TOOL, f"{host}:{port}", *words)


def table(output: str) -> dict[str, str]:
    """Name and value of every row below the heading."""
    return dict(row.split(maxsplit=1) for row in output.splitlines()[1:])


def store(peer: Peer, items: dict[bytes, bytes]) -> None:
    with peer.connect() as client:
        replies = client.transcript(b"".join(put(key, data, flags=7, exptime=1000) for key, data in items.items()))
        assert replies == b"STORED\r\n" * len(items)


ITEMS = {b"a": b"1", b"some/key%": b"two\r\nlines", b"large": b"x" * 300_000, b"empty": b""}


@pytest.mark.parametrize(("mode", "section"), [("stats", b""), ("settings", b"settings")])
def test_stats_and_settings(node: Peer, run: Run, mode: str, section: bytes) -> None:
    store(node, ITEMS)
    shown = table(tool(run, node, mode))
    assert set(shown) == {name.decode() for name in node.stats(section)}
    expected = {"stats": ("curr_items", "4"), "settings": ("maxconns", "1024")}[mode]
    assert shown[expected[0]] == expected[1]


def test_display(node: Peer, run: Run) -> None:
    store(node, ITEMS)
    for words in ((), ("display",)):
        heading, *lines = tool(run, node, *words).splitlines()
        assert heading.split()[:5] == ["#", "Item_Size", "Max_age", "Pages", "Count"]
        classes = [
            re.fullmatch(r" *(\d+) +([\d.]+[BK]) +(\d+)s +(\d+) +(\d+) +(yes|no) +(\d+) +(\d+) +(\d+)", line)
            for line in lines
        ]
        assert all(classes), lines
        assert sum(int(found[5]) for found in classes if found) == len(ITEMS)
        slabs = node.stats(b"slabs")
        for found in classes:
            assert found and slabs[b"%d:total_pages" % int(found[1])] == found[4].encode()
        assert len(lines) == int(slabs[b"active_slabs"])


def test_sizes(counting: Peer, run: Run) -> None:
    store(counting, ITEMS)
    shown = {int(size): int(number) for size, number in table(tool(run, counting, "sizes")).items()}
    assert sum(shown.values()) == len(ITEMS)
    assert all(size % 32 == 0 for size in shown)
    assert max(shown) > 300_000
    assert min(shown) <= 96


def test_keys(node: Peer, run: Run) -> None:
    store(node, ITEMS)
    lines = tool(run, node, "keys").splitlines()
    assert {line.split()[0] for line in lines} == {"key=a", "key=some%2Fkey%25", "key=large", "key=empty"}
    assert all(re.match(r"key=\S+ exp=\d+ la=\d+ cas=\d+ fetch=no cls=\d+ size=\d+", line) for line in lines)
    assert len(tool(run, node, "keys", "2").splitlines()) <= 2  # it hangs up in the middle


def test_a_dump_restores_the_items(node: Peer, run: Run, launch: Launch) -> None:
    store(node, ITEMS)
    dumped = tool(run, node, "dump").encode()
    now = node.now()
    ends = [int(end) for end in re.findall(rb"(?m)^add \S+ 7 (\d+) \d+\r", dumped)]
    assert len(ends) == len(ITEMS)
    assert all(now + 900 < end <= now + 1000 for end in ends)
    other = launch()
    with other.connect() as client:
        assert client.transcript(dumped) == b"STORED\r\n" * len(ITEMS)
        for key, data in ITEMS.items():
            assert client.transcript(b"get %s\r\n" % key) == hit(key, data, flags=7)


def test_what_damemtop_asks_for(node: Peer) -> None:
    """It ends its commands in a bare LF, with a blank behind stats."""
    store(node, ITEMS)
    with node.connect() as client:
        for question, names in {
            b"stats \n": b"get_hits get_misses bytes limit_maxbytes version evictions bytes_written curr_items",
            b"stats items\n": b"items:1:number items:1:age items:1:evicted",
            b"stats slabs\n": b"1:chunk_size 1:used_chunks active_slabs total_malloced",
        }.items():
            lines = client.ask(question).split(b"\r\n")
            assert lines[-2:] == [b"END", b""]
            assert {line.split()[1] for line in lines[:-2]} >= set(names.split())
