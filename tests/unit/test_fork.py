"""``Server`` and os.fork: the server stays the parent's, and nothing of it hangs on a child that lives on."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

import cachecore.server
from cachecore import Cache, Server
from tests.support.children import idle_child, in_a_child, silent_copy


def ask(client: socket.socket, request: bytes = b"version\r\n") -> bytes:
    client.settimeout(10)
    client.sendall(request)
    return client.recv(100)


def connect(server: Server) -> socket.socket:
    assert isinstance(server.address, tuple)
    return socket.create_connection(server.address, timeout=10)


@pytest.mark.parametrize("request_", [b"quit\r\n", b"set " + bytes(3000)])
def test_whom_the_server_closes_sees_it(request_):
    with Server(port=0, threads=2) as server, connect(server) as client:
        ask(client)
        with idle_child():
            client.sendall(request_)
            while client.recv(100):
                pass


@pytest.mark.parametrize("request_", [b"quit\r\n", None])
def test_whom_the_server_closes_sees_it_whoever_has_a_copy(request_):
    """A child has one between its fork and its exec; and for good, of what comes or goes while it is forked."""
    with Server(port=0, threads=2) as server, connect(server) as client:
        ask(client)
        with silent_copy():
            if request_ is None:
                server.stop()
            else:
                client.sendall(request_)
            assert client.recv(100) == b""


@pytest.mark.parametrize("kind", [Server, Cache])
def test_a_server_that_stops_is_gone(kind):
    cache = Cache()
    server = Server(port=0, threads=2).start() if kind is Server else cache.serve()
    address = server.address
    with connect(server) as client:
        ask(client)
        with idle_child():
            server.stop()
            assert client.recv(100) == b""
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address, timeout=10)
    cache.close()


@pytest.mark.parametrize(
    "call",
    [lambda server: server.clock, Server.stats, Server.items, Server.reload],
    ids=["clock", "stats", "items", "reload"],
)
def test_a_child_process_is_told(call):
    with Server(port=0, threads=2) as server:

        def told():
            with pytest.raises(RuntimeError, match="the server is its parent's: after a fork"):
                call(server)

        assert in_a_child(told) == 0
        call(server)


def test_a_child_process_may_be_a_client():
    with Server(port=0, threads=2) as server:

        def be_a_client():
            with connect(server) as client:
                assert ask(client).startswith(b"VERSION")
            server.wait()
            server.stop()
            assert server.addresses == []

        assert in_a_child(be_a_client) == 0
        with connect(server) as client:
            assert ask(client).startswith(b"VERSION")


def test_a_child_process_may_start_a_server_of_its_own():
    with Server(port=0, threads=2) as server, connect(server) as client:
        ask(client, b"set a 0 0 1\r\n1\r\n")

        def serve_alone():
            with server, connect(server) as own:
                assert ask(own, b"get a\r\n") == b"END\r\n"
                assert server.stats()["curr_connections"] == 1

        assert in_a_child(serve_alone) == 0
        assert ask(client, b"get a\r\n") == b"VALUE a 0 1\r\n1\r\nEND\r\n"


def test_a_child_process_removes_no_file(tmp_path: Path):
    path = tmp_path / "socket"
    with Server(unix_socket=str(path), threads=1) as server:
        assert in_a_child(server.stop) == 0
        assert path.exists()
    assert not path.exists()


def test_a_child_process_holds_no_file_of_items(tmp_path: Path):
    with Server(port=0, threads=1, memory_file=str(tmp_path / "items")) as server, connect(server) as client:
        ask(client, b"set a 0 0 1\r\n1\r\n")
        assert in_a_child(server.stop) == 0
        with idle_child():
            server.stop(save=True)
            server.start()
            with connect(server) as again:
                assert ask(again, b"get a\r\n") == b"VALUE a 0 1\r\n1\r\nEND\r\n"


def sockets() -> set[str]:
    """The sockets that this process has open."""
    links = list(Path("/proc/self/fd").iterdir())
    return {name for link in links if link.is_symlink() and (name := str(link.readlink())).startswith("socket:")}


def test_a_child_process_has_no_socket_of_the_server_s():
    before = sockets()
    with Server(port=0, threads=2) as server, connect(server) as client:
        ask(client)

        def look():
            assert len(sockets() - before) == 1  # the client's

        assert in_a_child(look) == 0


def test_nor_of_one_that_is_starting(monkeypatch):
    before = sockets()
    statuses = []

    def look():
        assert sockets() <= before  # those of other servers of this process are closed here, too

    def create_engine(*given, **memory):
        statuses.append(in_a_child(look))
        return create(*given, **memory)

    create = cachecore.server.create_engine
    monkeypatch.setattr(cachecore.server, "create_engine", create_engine)
    with Server(port=0, threads=1):
        assert statuses == [0]
