"""Where a server listens, how its sockets are set up, and what it says when it cannot."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable, Iterator

import pytest

from cachecore import Server
from tests.unit.traces import nothing_left, refused


@pytest.fixture
def taken() -> Iterator[int]:
    """A port of 127.0.0.1 that is in use."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_it_listens_on_loopback_at_one_free_port(engine):
    with Server(port=0) as server:
        (host, port), (host6, port6) = server.addresses
        assert (host, host6) == ("127.0.0.1", "::1")
        assert port == port6 > 0
        assert server.address == ("127.0.0.1", port)
        for address in server.addresses:
            socket.create_connection(address).close()


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        ("127.0.0.1", ["127.0.0.1"]),
        ("127.0.0.1;[::1]", ["127.0.0.1", "::1"]),
        ("::1", ["::1"]),
        ("[::1],127.0.0.2", ["::1", "127.0.0.2"]),
        ("0.0.0.0", ["0.0.0.0"]),
        ("::", ["::"]),
        ("*", ["0.0.0.0", "::"]),
    ],
)
def test_where_it_listens(engine, listen, expected):
    with Server(port=0, listen=listen) as server:
        assert [host for host, _ in server.addresses] == expected
        assert len({port for _, port in server.addresses}) == 1


@pytest.mark.parametrize(
    "prefix", ["proto[ascii]:", "proto[negotiating]:", "tag[a]:", "tag_12345678_:", "proto[ascii]:tag[x_y]:"]
)
def test_a_prefix_changes_no_address(engine, prefix):
    with Server(port=0, listen=[prefix + "127.0.0.1", prefix + "[::1]:0"]) as server:
        assert [host for host, _ in server.addresses] == ["127.0.0.1", "::1"]


def test_a_mark_for_the_firewall(engine, monkeypatch):
    set_option = socket.socket.setsockopt
    marks: list[int] = []

    class Marked(socket.socket):
        def setsockopt(self, level: int, name: int, value: int) -> None:
            if name == socket.SO_MARK:
                marks.append(value)
                if value == 2:
                    raise PermissionError(errno.EPERM, "Operation not permitted")
            else:
                set_option(self, level, name, value)

    monkeypatch.setattr(socket, "socket", Marked)
    with Server(port=0):
        assert marks == []
    with Server(port=0, sock_cookie_id=1):
        assert marks == [1, 1]
    assert str(refused(port=0, sock_cookie_id=2)) == (
        "failed to listen on TCP port -1: sock_cookie_id: Operation not permitted"
    )


def test_sockets_of_somebody_else_s(engine, tmp_path):
    path = str(tmp_path / "socket")
    tcp = socket.create_server(("127.0.0.1", 0))
    unix, abstract = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    unix.bind(path)
    abstract.bind(f"\0cachecore-{os.getpid()}")
    sockets = [tcp, unix, abstract]
    for sock in sockets[1:]:
        sock.listen()
    place = tcp.getsockname()
    with nothing_left():
        server = Server(port=1).start(sockets)
        assert server.addresses == [place, path, f"@cachecore-{os.getpid()}"]
        assert not any(sock.getblocking() for sock in sockets)
        assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        server.stop()
    assert all(sock.fileno() == -1 for sock in sockets)
    assert [entry.name for entry in tmp_path.iterdir()] == ["socket"]


def test_a_name_means_all_its_addresses(engine):
    with Server(port=0, listen="localhost") as server:
        found = {entry[4][0] for entry in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
        assert {host for host, _ in server.addresses} == found


def test_an_address_may_bring_its_port(engine, taken):
    with Server(port=taken, listen=["127.0.0.1:0", "[::1]:0", "127.0.0.2"]) as server:
        ports = [port for _, port in server.addresses]
        assert ports[2] == taken
        assert taken not in ports[:2]


def test_the_sockets_are_set_up_as_memcached_s(engine):
    with Server(port=0) as server:
        for listener in server.listeners:
            sock = listener.socket
            assert not sock.getblocking()
            for level, option in (
                (socket.SOL_SOCKET, socket.SO_REUSEADDR),
                (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                (socket.SOL_SOCKET, socket.SO_ACCEPTCONN),
                (socket.IPPROTO_TCP, socket.TCP_NODELAY),
            ):
                assert sock.getsockopt(level, option)
        assert server.listeners[1].socket.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        assert engine.fds == [listener.socket.fileno() for listener in server.listeners]


def test_the_backlog_is_the_option_s(engine, monkeypatch):
    backlogs = []
    monkeypatch.setattr(socket.socket, "listen", lambda self, backlog: backlogs.append(backlog))
    with Server(port=0, listen_backlog=77):
        assert backlogs == [77, 77]


def test_a_port_in_use_is_not_half_taken(engine, taken):
    error = refused(port=taken)
    assert str(error) == (
        f"failed to listen on TCP port {taken}: Address already in use"
        " (is a memcached running there? -p takes another port)"
    )
    assert error.exit_status == 71
    assert isinstance(error.__cause__, OSError)


@pytest.mark.parametrize(
    ("listen", "reason"),
    [
        ("203.0.113.1", "Cannot assign requested address"),
        ("no.such.invalid", "Name or service not known"),
        ("127.0.0.1:x", 'Invalid port number: "x"'),
        ("127.0.0.1:65536", 'Invalid port number: "65536"'),
        ("127.0.0.1:", 'Invalid port number: ""'),
        (":11211", "Name or service not known"),
        ("[::1", "Name or service not known"),
        ("proto[binary]:127.0.0.1", "this server does not speak the protocol binary"),
        ("proto[proxy]:127.0.0.1", "this server does not speak the protocol proxy"),
        ("notls:127.0.0.1", "'notls' option is valid only when SSL is enabled"),
        ("mtls:proto[ascii]:127.0.0.1", "'mtls' option is valid only when SSL is enabled"),
        ("tag[123456789]:127.0.0.1", 'Invalid port number: "127.0.0.1"'),
        ("x" * 70 + ".invalid", "Name or service not known"),
    ],
)
def test_an_address_that_cannot_be(engine, monkeypatch, listen, reason):
    look_up = socket.getaddrinfo

    def numeric(host: str | None, port: int, **options: int) -> list[tuple[object, ...]]:
        options["flags"] |= socket.AI_NUMERICHOST  # no test asks a name server
        return look_up(host, port, **options)

    monkeypatch.setattr(socket, "getaddrinfo", numeric)
    error = refused(port=0, listen=["127.0.0.1", listen])
    assert str(error) == f"failed to listen on one of interface(s) {listen}: {reason}"
    assert error.exit_status == 71


def test_a_name_that_cannot_be_encoded(engine):
    assert "interface(s) a..b: Name or service not known" in str(refused(port=0, listen="a..b"))


def test_an_interface_in_use(engine, taken):
    assert str(refused(port=0, listen=f"127.0.0.1:{taken}")) == (
        f"failed to listen on one of interface(s) 127.0.0.1:{taken}: Address already in use"
        " (is a memcached running there?)"
    )


class Machine:
    """``socket.socket.bind`` of a machine where some addresses are not to be had."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, refuse: Callable[[tuple[str, int]], int]) -> None:
        bind = socket.socket.bind
        self.asked: list[tuple[str, int]] = []

        def limited(sock: socket.socket, address: tuple[str, int]) -> None:
            self.asked.append(address[:2])
            if number := refuse(address):
                raise OSError(number, os.strerror(number))
            bind(sock, address)

        monkeypatch.setattr(socket.socket, "bind", limited)


def test_without_ipv6_it_listens_on_the_rest(engine, monkeypatch):
    Machine(monkeypatch, lambda address: errno.EADDRNOTAVAIL if ":" in address[0] else 0)
    with Server(port=0) as server:
        assert [host for host, _ in server.addresses] == ["127.0.0.1"]


def test_without_any_loopback_it_says_so(engine, monkeypatch):
    Machine(monkeypatch, lambda _: errno.EAFNOSUPPORT)
    assert "TCP port 5: Address family not supported" in str(refused(port=5))


def test_a_free_port_that_is_taken_elsewhere_is_given_up(engine, monkeypatch):
    refusals = iter([errno.EADDRINUSE, errno.EADDRINUSE, 0])
    machine = Machine(monkeypatch, lambda address: next(refusals) if ":" in address[0] else 0)
    with nothing_left(), Server(port=0) as server:
        assert len(server.addresses) == 2
    assert [host for host, _ in machine.asked] == ["127.0.0.1", "::1"] * 3


def test_free_ports_are_not_looked_for_forever(engine, monkeypatch):
    machine = Machine(monkeypatch, lambda address: errno.EADDRINUSE if ":" in address[0] else 0)
    assert "Address already in use" in str(refused(port=0))
    assert len(machine.asked) == 32


# UNIX sockets


def test_a_unix_socket(engine, tmp_path):
    path = tmp_path / "socket"
    with Server(unix_socket=str(path), unix_mask=0o640) as server:
        assert server.addresses == [str(path)]
        assert server.address == str(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
    assert not path.exists()


def test_a_stale_socket_is_replaced(engine, tmp_path):
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with Server(unix_socket=str(path)), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_living_socket_is_not(engine, tmp_path):
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        assert str(refused(unix_socket=str(path))) == f"failed to listen on UNIX socket: {path}: Address already in use"
        assert path.exists()


def test_another_file_is_left_alone(engine, tmp_path):
    path = tmp_path / "file"
    path.write_text("mine")
    assert str(refused(unix_socket=str(path))) == (
        f"failed to listen on UNIX socket: {path}: there is something else by that name, no socket"
    )
    assert path.read_text() == "mine"


def test_at_the_end_only_the_own_socket_is_removed(engine, tmp_path):
    path = tmp_path / "socket"
    with Server(unix_socket=str(path)), socket.socket(socket.AF_UNIX) as successor:
        path.unlink()
        successor.bind(str(path))
    assert path.exists()


@pytest.mark.parametrize(
    ("name", "reason"), [("no/where", "No such file or directory"), ("x" * 200, "AF_UNIX path too long")]
)
def test_a_path_that_cannot_be(engine, tmp_path, name, reason):
    path = tmp_path / name
    assert str(refused(unix_socket=str(path))) == f"failed to listen on UNIX socket: {path}: {reason}"


def test_a_socket_that_cannot_be_listened_on_is_removed(engine, tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.EADDRINUSE, "Address already in use")

    monkeypatch.setattr(socket.socket, "listen", refuse)
    refused(unix_socket=str(tmp_path / "socket"))
    assert list(tmp_path.iterdir()) == []
