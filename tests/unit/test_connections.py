"""What the server knows of its connections; those that idle; those that are too many."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import cachecore.server
from cachecore import Server
from cachecore_ext.engine import ConnectionInfo

Address = tuple[str, int] | str
#: What the tests of idle_timeout start a server with.
IDLE = {"idle_timeout": 10}


def serve(**options: Any) -> Server:
    return Server(**{"port": 0, "threads": 2, **options})


def connect(address: Address) -> socket.socket:
    client = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    client.settimeout(10)
    client.connect(address)
    return client


def ask(client: socket.socket, request: bytes = b"") -> bytes:
    """The replies to ``request``, told by that of a meta no-op behind it."""
    client.sendall(request + b"mn\r\n")
    read = b""
    while not read.endswith(b"MN\r\n"):
        part = client.recv(1 << 16)
        assert part, f"closed after {read[-200:]!r}"
        read += part
    return read[:-4]


def awaited(condition: Callable[[], Any], what: str) -> Any:
    """What becomes true soon: another thread is about to do it."""
    deadline = time.monotonic() + 10
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
    return found


def closed(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def info(server: Server, client: socket.socket) -> ConnectionInfo | None:
    """The server's own row of a client's connection; None before it is accepted and after it is closed."""
    host, port = client.getsockname()
    rows = server._running().connections()
    return next((row for row in rows if row.addr == f"tcp:{host}:{port}"), None)


def in_state(server: Server, client: socket.socket, state: str) -> ConnectionInfo:
    """The connection's row, once it is in that state."""

    def arrived() -> ConnectionInfo | None:
        found = info(server, client)
        return found if found is not None and found.state == state else None

    found: ConnectionInfo = awaited(arrived, state)
    return found


# ---- stats conns


def test_every_state_has_memcached_s_name():
    with serve() as server, contextlib.ExitStack() as stack:
        clients = {
            state: stack.enter_context(connect(server.address))
            for state in ("new_cmd", "read", "nread", "swallow", "mwrite", "closing")
        }
        ask(clients["read"])
        clients["nread"].sendall(b"set a 0 0 100000\r\nabc")
        clients["swallow"].sendall(b"set a 0 0 3000000\r\nabc")
        ask(clients["mwrite"], b"set b 0 0 900000\r\n" + b"x" * 900_000 + b"\r\n")
        clients["mwrite"].sendall(b"get b\r\n" * 100)
        clients["closing"].sendall(b"x" * 3000)
        for state, client in clients.items():
            in_state(server, client, f"conn_{state}")


def test_the_lines_of_one_that_asks():
    with serve(listen="localhost", port=0) as server, connect(server.addresses[0]) as client:
        host, port = client.getsockname()
        client.sendall(b"stats conns\r\n")
        reply = b""
        while not reply.endswith(b"END\r\n"):
            reply += client.recv(10_000)
        fd = in_state(server, client, "conn_read").fd
        expected = (
            f"STAT {fd}:addr tcp:{host}:{port}\r\nSTAT {fd}:listen_addr tcp:127.0.0.1:{server.address[1]}\r\n"
            f"STAT {fd}:state conn_parse_cmd\r\nSTAT {fd}:secs_since_last_cmd 0\r\nEND\r\n"
        )
        assert reply.decode().endswith(expected)
        for listener in server.listeners:
            number, family = listener.socket.fileno(), "tcp6:[::1]" if "::1" in listener.address else "tcp:127.0.0.1"
            listening = f"STAT {number}:addr {family}:{server.address[1]}\r\nSTAT {number}:state conn_listening\r\n"
            assert listening in reply.decode()


def test_before_the_server_s_start_no_time_has_passed():
    with serve() as server, connect(server.address) as client:
        server.clock.advance(-50)
        ask(client)
        assert {row.secs_since_last_cmd for row in server._running().connections()} == {0}


def test_the_rows_are_in_the_order_of_their_descriptors_and_go_with_the_clients():
    with serve() as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(server.address)) for _ in range(20)]
        for client in clients:
            ask(client)
        rows = server._running().connections()
        assert [row.fd for row in rows] == sorted({row.fd for row in rows})
        assert len(rows) == 20 + len(server.listeners)
        for client in clients[::2]:
            client.close()
        awaited(lambda: len(server._running().connections()) == 10 + len(server.listeners), "the other ten")
        for client in clients[1::2]:
            in_state(server, client, "conn_read")


def test_seconds_since_the_last_command():
    with serve() as server, connect(server.address) as one, connect(server.address) as two:
        server.clock.freeze()
        ask(one), ask(two)
        server.clock.advance(100)
        ask(two)
        two.sendall(b"get a")  # bytes, no command
        server.clock.advance(7)
        two.sendall(b"\r")
        awaited(lambda: int(server.stats()["bytes_read"]) == 18, "the bytes")
        assert [in_state(server, client, "conn_read").secs_since_last_cmd for client in (one, two)] == [107, 7]


def test_a_unix_socket_s_client_is_named_after_the_socket(tmp_path):
    path = str(tmp_path / "socket")
    with serve(unix_socket=path) as server, connect(path) as client:
        ask(client)
        awaited(lambda: server._running().connections()[1].state == "conn_read", "the end of its turn")
        listener, connection = server._running().connections()
        assert listener[1:4] == (f"unix:{path}", None, "conn_listening")
        assert connection[1:] == (f"unix:{path}", f"unix:{path}", "conn_read", 0)


def test_connections_may_come_and_go_while_they_are_looked_at():
    with serve(threads=3) as server:
        over = threading.Event()

        def churn() -> None:
            while not over.is_set():
                with connect(server.address) as client:
                    ask(client)

        threads = [threading.Thread(target=churn) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(300):
                for row in server._running().connections():
                    assert row.state.startswith("conn_")
                    assert row.addr.startswith(("tcp:", "tcp6:"))
        finally:
            over.set()
            for thread in threads:
                thread.join()


# ---- idle_timeout


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"mn\r\n",
        b"get a",
        b"set a 0 0 5\r\nab",
        b"set a 0 0 100000\r\nab",
        b"set a 0 0 100000\r\n" + b"x" * 100_000 + b"\r",
        b"set a 0 0 3000000\r\nab",
    ],
    ids=["nothing", "a-command", "half-a-line", "half-a-value", "half-an-upload", "half-its-end", "half-a-refused-one"],
)
def test_who_is_idle_is_closed(sent):
    with serve(**IDLE) as server, connect(server.address) as client, connect(server.address) as other:
        server.clock.freeze()
        client.sendall(sent)
        awaited(lambda: info(server, client), "its arrival")
        awaited(lambda: int(server.stats()["bytes_read"]) == len(sent), "the bytes")
        server.clock.advance(10)
        ask(other)
        assert info(server, client)
        server.clock.advance(1)
        while client.recv(1 << 16):
            pass
        assert ask(other) == b""
        assert server.stats()["idle_kicks"] == 1


def test_half_a_value_is_not_stored():
    with serve(**IDLE) as server, connect(server.address) as client:
        client.sendall(b"set a 0 0 100000\r\nab")
        in_state(server, client, "conn_nread")
        server.clock.advance(11)
        assert closed(client)
        with connect(server.address) as other:
            assert ask(other, b"get a\r\n") == b"END\r\n"


def test_an_upload_that_moves_is_not_idle():
    with serve(**IDLE) as server, connect(server.address) as client:
        server.clock.freeze()
        client.sendall(b"set a 0 0 100000\r\n")
        for _ in range(10):
            read = server.stats()["bytes_read"]
            client.sendall(b"x" * 10_000)
            awaited(lambda read=read: int(server.stats()["bytes_read"]) >= int(read) + 10_000, "the bytes")
            in_state(server, client, "conn_nread")
            server.clock.advance(9)
        assert ask(client, b"\r\n") == b"STORED\r\n"
        assert server.stats()["idle_kicks"] == 0


def test_raw_bytes_are_no_command():
    with serve(**IDLE) as server, connect(server.address) as client:
        server.clock.freeze()
        client.sendall(b"get ")
        in_state(server, client, "conn_read")
        server.clock.advance(6)
        client.sendall(b"a")
        awaited(lambda: int(server.stats()["bytes_read"]) == 5, "the byte")
        server.clock.advance(5)
        assert closed(client)


def test_who_has_replies_to_read_is_not_idle():
    with serve(**IDLE) as server, connect(server.address) as client, connect(server.address) as other:
        ask(client, b"set b 0 0 900000\r\n" + b"x" * 900_000 + b"\r\n")
        client.sendall(b"get b\r\n" * 30)
        in_state(server, client, "conn_mwrite")
        server.clock.advance(100)
        assert closed(other)
        expected = len(b"VALUE b 0 900000\r\n\r\nEND\r\n") + 900_000
        read = 0
        while read < 30 * expected:
            read += len(client.recv(1 << 20)) or pytest.fail("closed")


def test_nor_is_who_said_quit_behind_them():
    reply = b"VALUE b 0 60000\r\n%s\r\nEND\r\n" % (b"x" * 60_000)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # of those whom it accepts: less than the reply
    server = Server(**IDLE, threads=1).start([listener])
    with contextlib.ExitStack() as stack, connect(server.address) as client, connect(server.address) as other:
        stack.callback(server.stop)
        ask(client, b"set b 0 0 60000\r\n%s\r\n" % (b"x" * 60_000))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(b"get b\r\nquit\r\n")
        in_state(server, client, "conn_mwrite")
        server.clock.advance(100)
        assert closed(other)
        assert b"".join(iter(lambda: client.recv(1 << 16), b"")) == reply


def test_who_was_slow_to_read_replies_has_its_time_from_then_on():
    value = b"x" * (30 << 20)  # more than the kernel keeps for them
    options = {**IDLE, "threads": 1, "max_item_size": 32 << 20, "memory_limit": 100}
    with serve(**options) as server, connect(server.address) as client:
        ask(client, b"set b 0 0 %d\r\n%s\r\n" % (len(value), value))
        client.sendall(b"get b\r\n")
        in_state(server, client, "conn_mwrite")
        server.clock.freeze()
        server.clock.advance(100)
        with connect(server.address) as other:
            ask(other)
            server.clock.advance(5)
            left = len(b"VALUE b 0 %d\r\n%s\r\nEND\r\n" % (len(value), value))
            while left > 0:
                left -= len(client.recv(1 << 20)) or pytest.fail("closed")
            in_state(server, client, "conn_read")
            server.clock.advance(6)
            assert closed(other)
        ask(client)
        server.clock.advance(11)
        assert closed(client)


def test_who_waits_for_python_is_not_idle(monkeypatch):
    """Python holds its connection meanwhile, and from the answer on it has its time."""
    late = threading.Event()
    serve_admin = cachecore.server._serve_admin
    monkeypatch.setattr(cachecore.server, "_serve_admin", lambda *given: late.wait(20) and serve_admin(*given))
    with serve(**IDLE, threads=1) as server, connect(server.address) as client, connect(server.address) as other:
        try:
            ask(other)
            client.sendall(b"stats settings\r\n")
            in_state(server, client, "conn_parse_cmd")
            server.clock.advance(1000)
            assert closed(other)
            server.clock.freeze()
            with connect(server.address) as third:
                ask(third)
                server.clock.advance(5)
                late.set()
                answer = client.recv(1 << 16)
                server.clock.advance(6)
                assert closed(third)
        finally:
            late.set()
        assert (answer + ask(client)).endswith(b"END\r\n")


def test_a_unix_socket_s_client_may_idle(tmp_path):
    path = str(tmp_path / "socket")
    with serve(**IDLE, unix_socket=path) as server, connect(path) as client:
        ask(client)
        server.clock.advance(1000)
        assert ask(client) == b""
        server.clock.advance(1000)
        assert ask(client) == b""
        assert server.stats()["idle_kicks"] == 0


def test_without_a_timeout_everybody_may_idle():
    with serve() as server, connect(server.address) as client:
        ask(client)
        server.clock.advance(1_000_000)
        assert ask(client) == b""
        assert "idle_kicks" not in server.stats()


def test_a_moved_clock_acts_at_once():
    """The workers look once a second; three of their looks in less than that are the clock's doing."""
    with serve(**IDLE) as server:
        began = time.monotonic()
        for _ in range(3):
            with connect(server.address) as client:
                ask(client)
                server.clock.advance(11)
                assert closed(client)
        assert time.monotonic() - began < 1


def test_a_kick_without_any_other_event():
    """The workers look by themselves as time passes: here by the clock of a command, which wakes nobody else."""
    with serve(**IDLE, debug_commands=True, threads=4) as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(server.address)) for _ in range(8)]
        for client in clients:
            ask(client)  # so it has arrived before time passes
        clients[0].sendall(b"debugtime 11\r\n")
        for client in clients[1:]:
            assert closed(client)


# ---- the limit


def test_who_is_too_many_is_told_so():
    with serve(conn_limit=2) as server, connect(server.address) as one, connect(server.address) as two:
        ask(one), ask(two)
        with connect(server.address) as surplus:
            assert surplus.recv(100) == b"ERROR Too many open connections\r\n"
            assert closed(surplus)
        assert server.stats()["rejected_connections"] == 1
        assert server.stats()["accepting_conns"] == 1


@contextlib.contextmanager
def full() -> Iterator[tuple[Server, list[socket.socket]]]:
    """Two clients are served, and a third one waits: the kernel has accepted it, the server has not."""
    with serve(maxconns_fast=False, conn_limit=2) as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(server.address)) for _ in range(2)]
        ask(clients[0]), ask(clients[1])
        clients.append(stack.enter_context(connect(server.address)))
        awaited(lambda: server.stats()["accepting_conns"] == 0, "the rest")
        yield server, clients


def test_who_is_too_many_waits_for_somebody_to_leave():
    with full() as (server, clients):
        clients[2].sendall(b"mn\r\n")
        for client in clients[:2]:
            ask(client)
        assert [server.stats()[name] for name in ("curr_connections", "listen_disabled_num")] == [2, 1]
        assert "rejected_connections" not in server.stats()
        began = time.monotonic()
        clients[0].close()
        assert clients[2].recv(10) == b"MN\r\n"
        assert time.monotonic() - began < 0.9  # not by the look that it takes once a second
        ask(clients[1]), ask(clients[2])
        assert server.stats()["time_in_listen_disabled_us"] > 0


def test_waiting_costs_nothing():
    with full() as (server, _):

        def used() -> float:
            acceptor = next(thread for thread in threading.enumerate() if thread.name == "cachecore-acceptor")
            fields = Path(f"/proc/self/task/{acceptor.native_id}/stat").read_text().rsplit(")", 1)[1].split()
            return int(fields[11]) + int(fields[12])

        def waited() -> int:
            return int(server.stats()["time_in_listen_disabled_us"])

        before, began = used(), waited()
        awaited(lambda: waited() >= began + 500_000, "half a second of it")
        assert used() - before <= 5  # hundredths of a second
        assert server.stats()["listen_disabled_num"] == 1


def test_it_stops_while_it_is_full():
    with full() as (server, clients):
        server.stop()
        for client in clients:
            assert closed(client)


def test_many_come_and_go_at_the_limit():
    with serve(maxconns_fast=False, conn_limit=3) as server:

        def visit(times: int) -> None:
            for _ in range(times):
                with connect(server.address) as client:
                    assert ask(client) == b""

        threads = [threading.Thread(target=visit, args=(100,)) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        awaited(lambda: server.stats()["curr_connections"] == 0, "the last to be gone")
        assert server.stats()["total_connections"] == 1200


@pytest.mark.parametrize("name", ["\0cachecore-conns-%d", "/a/path"])
def test_listeners_of_every_family_are_named(name, tmp_path):
    name = name % os.getpid() if "%" in name else str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(name)
        unix.listen()
        with Server(port=0, threads=1) as server:
            server._running().add_listener(unix.fileno())
            shown = {row.addr for row in server._running().connections()}
    assert f"unix:{name.replace(chr(0), '@')}" in shown
    assert any(address.startswith("tcp:127.0.0.1:") for address in shown)
