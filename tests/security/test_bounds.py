"""What one client can make the server keep or do, and what the others notice of it; tests/stress/test_bounds.py has
the bounds of memory for honest loads, and for readers that do not read."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import socket
from pathlib import Path

import pytest

from cachecore import Server
from cachecore.process import write_pid_file
from tests.stress.test_bounds import BUFFERS, MB, ask, connect, daemon, read_until, resident, stat
from tests.support.sockets import wait_until_stuck

PREFIXES_BYTES = 4 * MB


def test_prefixes_without_end() -> None:
    """As many as can be told in one reply: beyond, the first that came are counted on."""
    with daemon("-t", "1") as (process, address), connect(address) as client:
        before = resident(process.pid)
        ask(client, b"stats detail on\r\n")
        for start in range(0, 30_000, 1000):
            ask(client, b"".join(b"get %0249d:\r\n" % number for number in range(start, start + 1000)))
        client.sendall(b"stats detail dump\r\n")
        told = read_until(client, b"END\r\n")
        assert len(re.findall(rb"PREFIX 0\d{248} get 1 hit 0 set 0 del 0\r\n", told)) == PREFIXES_BYTES // 249
        assert resident(process.pid) - before < 32 * MB
        ask(client, b"stats reset\r\nget new:1\r\n")
        client.sendall(b"stats detail dump\r\n")
        assert read_until(client, b"END\r\n") == b"PREFIX new get 1 hit 0 set 0 del 0\r\nEND\r\n"


def test_one_line_that_names_a_large_value_very_often() -> None:
    """80 KB of request for 20 GB of replies, which nobody reads."""
    with Server(port=0, threads=1) as server, contextlib.ExitStack() as stack:
        other = stack.enter_context(connect(server.address))
        ask(other, b"set big 0 0 1000000\r\n%s\r\n" % (b"b" * 1_000_000))
        before = resident(os.getpid())
        for _ in range(20):
            client = stack.enter_context(connect(server.address))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.sendall(b"get" + b" big" * 20_000 + b"\r\n")
        wait_until_stuck(server, lambda: ask(other, b""))
        assert stat(server, "response_obj_bytes") + stat(server, "read_buf_bytes") < 20 * 300_000
        assert resident(os.getpid()) - before < 20 * 300_000


def work() -> int:
    """Nanoseconds for which threads of this process have had a processor."""
    return sum(int(path.read_text().split()[0]) for path in Path("/proc/self/task").glob("*/schedstat"))


def work_for(client: socket.socket, lines: bytes) -> int:
    before = work()
    for _ in range(5):
        client.sendall(lines)
        assert ask(client, b"").count(b"END\r\n") == lines.count(b"\n")
    return work() - before


def test_the_keys_of_a_long_line_are_checked_once() -> None:
    """A line of half a million keys takes many turns, none of which may begin with looking at all that are left."""
    with Server(port=0, threads=1) as server, connect(server.address) as client:
        short = work_for(client, (b"get" + b" a" * 1000 + b"\r\n") * 520)
        assert work_for(client, b"get" + b" a" * 520_000 + b"\r\n") < 3 * short


def test_what_is_behind_a_line_that_had_to_wait_is_checked() -> None:
    """Replies of a line that come one by one, down to the last: the next line is another matter."""
    overlong = b"get b %s\r\n" % (b"k" * 251)
    with Server(port=0, threads=1) as server, connect(server.address) as client:
        ask(client, b"set a 0 0 1000000\r\n%s\r\n" % (b"a" * 1_000_000))
        for keys in range(1, 12):
            client.sendall(b"get" + b" a" * keys + b"\r\n" + overlong * 2)
            with connect(server.address) as other:
                wait_until_stuck(server, lambda other=other: ask(other, b""))
            assert ask(client, b"").endswith(b"END\r\n" + b"CLIENT_ERROR bad command line format\r\n" * 2)


@pytest.mark.parametrize("line", [b"incr a 1\r\n", b"ma a v\r\n"])
def test_a_number_behind_half_a_megabyte_of_blanks(line: bytes) -> None:
    """Each sum reads and writes all of it, so a turn has few of them, and then the others have theirs."""
    with Server(port=0, threads=1) as server, connect(server.address) as client:
        ask(client, b"set a 0 0 500000\r\n%s1\r\n" % (b" " * 499_999))
        client.sendall(line * 6000)
        assert client.recv(1 << 20).count(b"\r\n") < 1000
        ask(client, b"")


def test_values_that_are_announced_and_never_come() -> None:
    """They may take all the memory of their class; small values are stored and found all the same."""
    with Server(port=0, threads=1, memory_limit=8) as server, contextlib.ExitStack() as stack:
        other = stack.enter_context(connect(server.address))
        assert ask(other, b"set a 0 0 1\r\n1\r\n") == b"STORED\r\n"
        clients = [stack.enter_context(connect(server.address)) for _ in range(100)]
        for number, client in enumerate(clients):
            client.sendall(b"set up%d 0 0 500000\r\n" % number + b"x" * 5000)
            assert ask(other, b"set b 0 0 1\r\n%d\r\nget b\r\n" % (number % 10)).endswith(b"END\r\n")
        assert ask(other, b"get a\r\n") == b"VALUE a 0 1\r\n1\r\nEND\r\n"
        assert stat(server, "store_no_memory") > 0
        for client in clients:
            client.close()
        while stat(server, "curr_connections") > 1:
            ask(other, b"")
        assert ask(other, b"set large 0 0 500000\r\n%s\r\n" % (b"l" * 500_000)) == b"STORED\r\n"


@pytest.mark.parametrize("command", [b"append", b"prepend"])
def test_a_value_put_together_of_single_bytes(command: bytes) -> None:
    """A chained value has few pieces, however it was made: what it takes beyond its length is a piece or two."""
    with Server(port=0, threads=1, slab_chunk_max=16, memory_limit=16) as server, connect(server.address) as client:
        ask(client, b"set a 0 0 20000\r\n%s\r\n" % (b"a" * 20_000))
        for _ in range(10):
            assert set(ask(client, b"%s a 0 0 1\r\nx\r\n" % command * 2000).split()) == {b"STORED"}
        client.sendall(b"stats slabs\r\n")
        slabs = read_until(client, b"END\r\n")
        used = dict(re.findall(rb"STAT (\d+):used_chunks (\d+)", slabs))
        sizes = dict(re.findall(rb"STAT (\d+):chunk_size (\d+)", slabs))
        assert sum(int(number) * int(sizes[cls]) for cls, number in used.items()) < 40_000 + 2 * 16_384
        assert sum(map(int, used.values())) <= 8


def test_the_limits_of_all_buffers_hold_against_all_kinds_at_once() -> None:
    """Half lines, unread replies, unread dumps and values under way, on two hundred connections."""
    kinds = [
        b"get " + b"k " * 250_000,
        b"get" + b" big" * 10_000 + b"\r\n",
        b"lru_crawler metadump all\r\n" * 50,
        b"set u 0 0 900000\r\n" + b"x" * 200_000,
        b"stats settings\r\n" * 2000,
    ]
    with Server(port=0, threads=2) as server, contextlib.ExitStack() as stack:
        other = stack.enter_context(connect(server.address))
        ask(other, b"set big 0 0 100000\r\n%s\r\n" % (b"b" * 100_000))
        ask(other, b"".join(b"set k%d 0 0 1\r\n1\r\n" % number for number in range(2000)))
        for _, request in zip(range(200), itertools.cycle(kinds), strict=False):
            client = stack.enter_context(connect(server.address))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError, ConnectionError):
                client.send(request)
            assert stat(server, "response_obj_bytes") + stat(server, "read_buf_bytes") <= BUFFERS + 2 * MB
        assert ask(other, b"set a 0 0 1\r\n1\r\nget a\r\n") == b"STORED\r\nVALUE a 0 1\r\n1\r\nEND\r\n"


def test_the_pid_file_is_no_way_to_another_file(tmp_path) -> None:
    """A link where it is put together is replaced; nobody but the owner may write what a stop script reads."""
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (tmp_path / "pid.tmp").symlink_to(precious)
    mask = os.umask(0)
    try:
        write_pid_file(str(tmp_path / "pid"))
    finally:
        os.umask(mask)
    assert precious.read_text() == "precious"
    assert (tmp_path / "pid").read_text() == f"{os.getpid()}\n"
    assert not (tmp_path / "pid").is_symlink()
    assert (tmp_path / "pid").stat().st_mode & 0o777 == 0o644
