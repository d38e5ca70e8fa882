"""What the daemon may occupy, and what one client can do to another: bounds that hold whatever comes."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import resource
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import memory
from cachecore import Server
from cachecore.admin import Admin
from cachecore_ext.probe import Store
from tests.support.processes import daemon, descriptors, resident
from tests.support.sockets import outgoing

MB = 1 << 20
#: Stashes, pendings and uploads of all connections together (cachecore_ext/engine.pyx).
BUFFERS = 16 * MB


def connect(address: object) -> socket.socket:
    client = socket.create_connection(address)  # type: ignore[arg-type]
    client.settimeout(30)
    return client


def read_until(client: socket.socket, end: bytes) -> bytes:
    read = b""
    while not read.endswith(end):
        part = client.recv(1 << 16)
        assert part, f"closed after {read[-200:]!r}"
        read += part
    return read


def ask(client: socket.socket, request: bytes) -> bytes:
    """The replies to ``request``, told by that of a meta no-op behind it."""
    client.sendall(request + b"mn\r\n")
    return read_until(client, b"MN\r\n")[:-4]


def stat(server: Server, name: str) -> int:
    return int(server.stats()[name])


def fill(client: socket.socket, sizes: Iterator[int], total: int) -> None:
    """Store values of these sizes, ``total`` bytes of them, without waiting for a reply to each."""
    written, batch, number = 0, bytearray(), itertools.count()
    while written < total:
        size = next(sizes)
        written += size
        batch += b"set key:%d 0 0 %d noreply\r\n%s\r\n" % (next(number), size, b"v" * size)
        if len(batch) > 200_000:
            client.sendall(batch)
            batch.clear()
    assert ask(client, bytes(batch)) == b""


@pytest.mark.parametrize("size", [1, 20, 100, 1000, 5000, 100_000])
def test_pages_and_table_stay_within_the_limit(size: int) -> None:
    with Server(port=0, threads=2, memory_limit=16) as server, connect(server.address) as client:
        fill(client, itertools.repeat(size), 40 * MB if size > 20 else 4 * MB if size == 20 else MB // 4)
        stats = server.stats()
        slabs = ask(client, b"stats slabs\r\n")
        malloced = int(slabs.split(b"STAT total_malloced ")[1].split()[0])
        assert malloced + int(stats["hash_bytes"]) <= 16 * MB
        assert int(stats["curr_items"]) > 0
        if size >= 100:
            assert int(stats["evictions"]) > 0


def test_mixed_sizes_exceed_it_by_a_page_a_class_at_most() -> None:
    chosen = random.Random(7)
    with Server(port=0, threads=2, memory_limit=16) as server, connect(server.address) as client:
        fill(client, itertools.repeat(50), 24 * MB)
        fill(client, (int(20 * 1.3 ** chosen.uniform(0, 38)) for _ in itertools.count()), 40 * MB)
        slabs = ask(client, b"stats slabs\r\n")
        malloced = int(slabs.split(b"STAT total_malloced ")[1].split()[0])
        classes = int(slabs.split(b"STAT active_slabs ")[1].split()[0])
        assert malloced <= 16 * MB + classes * MB


@pytest.mark.parametrize("size", [32, 100])
def test_an_item_costs_40_bytes_beyond_key_and_value_at_most(size: int) -> None:
    """Pages and table of a million items with keys of 12 bytes."""
    number, content = 1_000_000, 12 + size
    store = Store(memory_limit=256 * MB)
    store.fill(100_000_000, number, size)
    used = store.memory()
    assert store.repeat_get(100_000_000, number, 1) == number
    assert (used["pages"] + used["table"]) / number - content <= 40


def test_resident_memory() -> None:
    """The interpreter, the engine and its buffers beside what -m says."""
    with daemon("-m", "32") as (process, address), connect(address) as client:
        before = resident(process.pid)
        fill(client, itertools.cycle([30, 300, 3000]), 200 * MB)
        assert resident(process.pid) - before < 32 * MB * 1.1 + 2 * MB


def test_mixed_sizes_take_85_hundredths_of_memcached_s_memory_at_most() -> None:
    mixed = memory.measure_mixed(80_000_000, 0.99, print)
    ratio = memory.mixed_ratio(mixed, "resident")
    assert ratio is not None and ratio <= 0.85


def allow_descriptors(number: int) -> None:
    """Let this process, and those that it starts, have so many files open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < number:
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, max(hard, number)))


def test_ten_thousand_connections_at_once_cost_160_bytes_each_at_most() -> None:
    """Whether it was ever used or not, and all at once; the kernel's part is the kernel's."""
    number, value = 10_000, b"v" * 500
    allow_descriptors(number + 500)
    line = b"set k 0 0 1000\r\n"
    with daemon("-c", str(number + 100), "-t", "4") as (process, address), contextlib.ExitStack() as stack:

        def cost() -> float:
            for client in clients[-100:]:  # their turns before this one have ended, and freed what they freed
                assert ask(client, b"") == b""
            return (resident(process.pid) - before) / number

        for _ in range(20):  # the first of anything costs more
            with connect(address) as client:
                client.sendall(line + value)
                ask(client, value + b"\r\n")
        before = resident(process.pid)
        clients = [stack.enter_context(connect(address)) for _ in range(number)]
        assert cost() <= 160
        for client in clients:
            assert ask(client, b"get a\r\n") == b"END\r\n"
        assert cost() <= 160
        for client in clients:
            client.sendall(line + value)
        for client in clients:
            assert ask(client, value + b"\r\n") == b"STORED\r\n"
        assert cost() <= 160


def test_a_value_of_a_gigabyte() -> None:
    """The largest item that -I allows is stored, served and counted; one byte more is refused without being kept."""
    largest, block = (1 << 30) - 60, bytes(range(256)) * 4096
    with daemon("-m", "2100", "-I", "1024m") as (process, address), connect(address) as client:

        def store(size: int) -> bytes:
            client.sendall(b"set k 0 0 %d\r\n" % size)
            for start in range(0, size, len(block)):
                client.sendall(block[: size - start])
            client.sendall(b"\r\n")
            return read_until(client, b"\r\n")

        assert store(largest) == b"STORED\r\n"
        client.sendall(b"get k\r\n")
        reply = client.makefile("rb")
        assert reply.readline() == b"VALUE k 0 %d\r\n" % largest
        for start in range(0, largest, len(block)):
            expected = block[: largest - start]
            assert reply.read(len(expected)) == expected
        assert reply.read(7) == b"\r\nEND\r\n"
        assert store(largest + 1) == b"SERVER_ERROR object too large for cache\r\n"
        assert ask(client, b"get k\r\n") == b"END\r\n"
        assert resident(process.pid) < largest * 1.05


def test_clients_that_do_not_read_share_a_bound() -> None:
    """Each pipelines gets for 40 MB and reads nothing; another one is served all the while."""
    with Server(port=0, threads=2) as server, contextlib.ExitStack() as stack:
        other = stack.enter_context(connect(server.address))
        assert ask(other, b"set small 0 0 1000\r\n%s\r\n" % (b"s" * 1000)) == b"STORED\r\n"
        assert ask(other, b"set large 0 0 900000\r\n%s\r\n" % (b"l" * 900_000)) == b"STORED\r\n"
        for name in [b"small", b"large"] * 200:
            client = stack.enter_context(connect(server.address))
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError, ConnectionError):
                for _ in range(40):
                    client.send(b"get %s\r\n" % name * 1000)
            assert ask(other, b"get small\r\n").endswith(b"END\r\n")
            assert stat(server, "response_obj_bytes") + stat(server, "read_buf_bytes") <= BUFFERS + 2 * MB
        assert ask(other, b"set large 0 0 1\r\nx\r\n") == b"STORED\r\n"


def test_clients_that_do_not_read_long_answers_share_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Admin, "answer", lambda _, line: bytes(8 * MB) if line == b"stats long" else b"OK\r\n")
    with Server(port=0, threads=2) as server, contextlib.ExitStack() as stack:
        other = stack.enter_context(connect(server.address))
        for _ in range(20):
            stack.enter_context(connect(server.address)).sendall(b"stats long\r\n")
            assert ask(other, b"stats short\r\n") == b"OK\r\n"  # the long answer is behind its worker, or before it
            assert stat(server, "response_obj_bytes") <= BUFFERS + 2 * 8 * MB
        assert stat(server, "response_obj_oom") > 0


@pytest.mark.parametrize(("option", "bound"), [(0, BUFFERS), (4, 4 * MB)])
def test_long_get_lines_share_a_bound(option: int, bound: int) -> None:
    """A line of a megabyte is allowed; sixty unfinished ones at once are not: some are told so and closed."""
    line = b"get " + b"k" * 200 + b" k" * 500_000
    refused = b"SERVER_ERROR out of memory reading request\r\n"
    with Server(port=0, threads=2, read_buf_mem_limit=option) as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(server.address)) for _ in range(60)]
        outcomes = []
        for client in clients:
            with contextlib.suppress(ConnectionError):
                client.sendall(line)
            assert stat(server, "read_buf_bytes") <= bound + 2 * MB
        for client in clients:
            with contextlib.suppress(ConnectionError):
                client.sendall(b"\r\n")
            try:
                outcomes.append(read_until(client, b"\r\n"))
            except ConnectionError:
                outcomes.append(refused)
        assert b"END\r\n" in outcomes
        assert refused in outcomes
        assert set(outcomes) == {b"END\r\n", refused}
        assert stat(server, "read_buf_oom") > 0


def test_who_is_refused_gets_the_replies_before_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """No memory is left for the rest of a line while a large reply waits for the client to read it."""
    value = b"v" * (8 * MB)
    free_to_answer = threading.Event()
    monkeypatch.setattr(Admin, "answer", lambda _, line: b"OK\r\n" if free_to_answer.wait(30) else b"")
    half_a_line = b"get" + b" k" * 20_000
    with (
        Server(port=0, threads=1, read_buf_mem_limit=1, memory_limit=64, max_item_size=9 * MB) as server,
        contextlib.ExitStack() as stack,
    ):
        client = stack.enter_context(connect(server.address))
        assert ask(client, b"set large 0 0 %d\r\n%s\r\n" % (len(value), value)) == b"STORED\r\n"
        while stat(server, "read_buf_oom") == 0:
            stack.enter_context(connect(server.address)).sendall(half_a_line)
        client.sendall(b"stats\r\n")  # what comes while Python is asked is received at once
        client.sendall(b"get large\r\n" + half_a_line)
        while outgoing(client):
            os.sched_yield()
        free_to_answer.set()
        large = b"VALUE large 0 %d\r\n%s\r\nEND\r\n" % (len(value), value)
        refused = b"SERVER_ERROR out of memory reading request\r\n"
        assert read_until(client, b"request\r\n") == b"OK\r\n" + large + refused
        assert client.recv(1) == b""


def test_unfinished_uploads_are_seen_by_nobody() -> None:
    with Server(port=0, threads=2) as server, contextlib.ExitStack() as stack:
        other = stack.enter_context(connect(server.address))
        for _ in range(50):
            client = stack.enter_context(connect(server.address))
            client.sendall(b"set key 0 0 500000\r\n" + b"x" * 250_000)
            assert ask(other, b"get key\r\n") == b"END\r\n"
        assert ask(other, b"set key 0 0 1\r\n1\r\nget key\r\n") == b"STORED\r\nVALUE key 0 1\r\n1\r\nEND\r\n"


def test_connections_come_and_go() -> None:
    """Three thousand clients, half of which reset the connection in the middle of something."""
    reset = b"\1\0\0\0\0\0\0\0"  # struct linger: on, no time
    parts = [b"", b"get a\r\n", b"set a 0 0 100\r\nabc", b"set a 0 0 500000\r\nabc", b"get " + b"a " * 4000]
    with Server(port=0, threads=2) as server:
        before = descriptors(os.getpid())
        for number in range(3000):
            with connect(server.address) as client:
                if number % 2:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
                client.sendall(parts[number % len(parts)])
        with connect(server.address) as last:
            ask(last, b"")  # all before it have been accepted, too
            while stat(server, "curr_connections") > 1:
                ask(last, b"")
            while descriptors(os.getpid()) != before + 2:  # both ends of the last
                ask(last, b"")
        assert stat(server, "total_connections") == 3001


def server_side(client: socket.socket) -> int:
    """A duplicate of the server's end of a connection, such as a child process has between its fork and its exec."""
    for link in Path("/proc/self/fd").iterdir():  # the server is in this process
        with contextlib.suppress(OSError):
            if str(link.readlink()).startswith("socket:"):
                with socket.socket(fileno=os.dup(int(link.name))) as end:
                    if end.getpeername() == client.getsockname():
                        return end.detach()
    raise LookupError("no socket with that peer")


def test_a_closed_connection_that_a_child_process_still_has() -> None:
    """It is watched no longer, although the kernel keeps it open: nothing may come of its events."""
    with Server(port=0, threads=1) as server, connect(server.address) as other:
        for _ in range(10):
            client = connect(server.address)
            assert ask(client, b"") == b""
            duplicate = server_side(client)
            client.close()
            while stat(server, "curr_connections") > 1:
                ask(other, b"")
            for _ in range(10):
                with connect(server.address) as another:
                    assert ask(another, b"version\r\n").startswith(b"VERSION")
            os.close(duplicate)


def test_exactly_as_many_clients_as_c_says() -> None:
    with Server(port=0, threads=2, conn_limit=20) as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(server.address)) for _ in range(20)]
        for client in clients:
            assert ask(client, b"") == b""
        with connect(server.address) as surplus:
            assert read_until(surplus, b"\n") == b"ERROR Too many open connections\r\n"
            assert surplus.recv(1) == b""
        clients.pop().close()
        while stat(server, "curr_connections") == 20:
            ask(clients[0], b"")
        assert ask(stack.enter_context(connect(server.address)), b"") == b""
        assert stat(server, "rejected_connections") == 1
