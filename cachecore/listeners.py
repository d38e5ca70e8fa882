"""The listening sockets of a server: which addresses its settings mean, how they are opened and closed."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import stat
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from .errors import StartError
from .settings import LOOPBACK, Settings

#: Host and port of a TCP listener, or the path of a UNIX socket.
Address = tuple[str, int] | str

#: An address that this machine does not have; harmless as long as its name or list means another one, too.
_ABSENT: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})

#: What may stand before an address: the use of TLS, a protocol, a tag. The tag serves memcached's proxy.
_PREFIX: Final = re.compile(
    r"\A(?:(notls|btls|mtls):)?(?:proto\[(\w*)\]:)?(?:tag(?:\[\w{1,8}\]|_\w{1,8}_):)?(.*)\Z", re.DOTALL
)

#: The protocols that may be named there; none is what -B says.
_PROTOCOLS: Final = frozenset({"", "ascii", "negotiating"})

#: How often a free port is looked for that every address of a server can have.
_EPHEMERAL_ATTEMPTS: Final = 16


@dataclass(frozen=True, slots=True)
class Listener:
    """An open listening socket; whoever holds it closes it."""

    socket: socket.socket
    address: Address
    inode: tuple[int, int] | None = None  # of the UNIX socket's file

    def left_to_the_parent(self) -> Listener:
        """In a child process: what is left when its share of the socket is closed, the address."""
        self.socket.close()
        return replace(self, inode=None)

    def close(self) -> None:
        """Close the socket, and remove the UNIX socket's file if it is still this one's."""
        self.socket.close()
        if isinstance(self.address, str):
            with contextlib.suppress(OSError):
                if _inode(self.address) == self.inode:
                    Path(self.address).unlink()


class _Interface(NamedTuple):
    """One thing to listen on: at least one of its socket addresses has to be there."""

    label: str  # for messages
    addresses: list[tuple[int, tuple[Any, ...]]]  # family and socket address; port 0 is any free one


def show_address(address: Address) -> str:
    """An address as ``-l`` or ``-s`` would take it."""
    if isinstance(address, str):
        return address
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def open_listeners(settings: Settings) -> list[Listener]:
    """Bind and listen, non-blocking, on all that the settings name; if one fails, nothing stays open.

    Raises:
        StartError: an address is not one, is not this machine's or is in use (exit status 71).
    """
    if settings.unix_socket is not None:
        return [_open_unix(settings.unix_socket, settings.unix_mask, settings.listen_backlog)]
    if settings.port == 0:
        return []
    interfaces = _interfaces(settings)
    for _ in range(_EPHEMERAL_ATTEMPTS - 1):
        with contextlib.suppress(_PortTakenError):
            return _open_tcp(interfaces, settings)
    return _open_tcp(interfaces, settings)


def adopt_listeners(sockets: Iterable[socket.socket]) -> list[Listener]:
    """Listeners on sockets that somebody else has bound; a UNIX socket's file stays when they are closed."""
    return [_adopted(sock) for sock in sockets]


def close_listeners(listeners: Iterable[Listener]) -> None:
    """Close every one of them."""
    for listener in listeners:
        listener.close()


class _PortTakenError(StartError):
    """The free port of the first address is in use at another one; another free port may do."""


def _adopted(sock: socket.socket) -> Listener:
    sock.setblocking(False)
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        path = os.fsdecode(name)
        return Listener(sock, "@" + path[1:] if path.startswith("\0") else path)
    _set_for_clients(sock)
    return Listener(sock, name[:2])


def _interfaces(settings: Settings) -> list[_Interface]:
    port = max(settings.port, 0)
    if settings.listen:
        return [_resolve(text, port) for text in settings.listen]
    found = [address for host in LOOPBACK for address in _addresses(host, port)]
    return [_Interface(f"TCP port {settings.port}", found)]


def _resolve(text: str, port: int) -> _Interface:
    """The socket addresses that one item of ``-l`` means."""
    label = f"one of interface(s) {text}"
    tls, protocol, place = _PREFIX.findall(text)[0]
    if tls:
        raise StartError(f"failed to listen on {label}: '{tls}' option is valid only when SSL is enabled")
    if protocol not in _PROTOCOLS:
        raise StartError(f"failed to listen on {label}: this server does not speak the protocol {protocol}")
    host, given = _split(place)
    if given is not None:
        if not (given.isascii() and given.isdecimal() and int(given) <= 65535):
            raise StartError(f'failed to listen on {label}: Invalid port number: "{given}"')
        port = int(given)
    try:
        return _Interface(label, _addresses(None if host == "*" else host, port))
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "Name or service not known"
        raise StartError(f"failed to listen on {label}: {reason}") from error


def _split(text: str) -> tuple[str, str | None]:
    """Host and port of ``host``, ``host:port``, ``[v6]``, ``[v6]:port`` or a bare IPv6 address."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if bracket and (rest == "" or rest.startswith(":")):
            return host, rest[1:] or None
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
        return host, port
    return text, None


def _addresses(host: str | None, port: int) -> list[tuple[int, tuple[Any, ...]]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    families = (socket.AF_INET, socket.AF_INET6)  # IPv4 first, so that it is the server's first address
    return [(family, entry[4]) for family in families for entry in found if entry[0] == family]


def _open_tcp(interfaces: list[_Interface], settings: Settings) -> list[Listener]:
    opened: list[Listener] = []
    free_port = 0  # one for all, once the system has chosen it
    try:
        for label, addresses in interfaces:
            absent: OSError | None = None
            before = len(opened)
            for family, (host, port, *rest) in addresses:
                try:
                    listener = _listen_tcp(family, (host, port or free_port, *rest), settings)
                except OSError as error:
                    if error.errno not in _ABSENT:
                        if error.errno == errno.EADDRINUSE and port == 0:
                            raise _refused(label, error, _PortTakenError) from error
                        raise _refused(label, error, advice=_advice(error, settings)) from error
                    absent = error
                else:
                    opened.append(listener)
                    free_port = free_port if port else listener.socket.getsockname()[1]
            if absent is not None and len(opened) == before:
                raise _refused(label, absent) from absent
    except BaseException:
        close_listeners(opened)
        raise
    return opened


def _listen_tcp(family: int, address: tuple[Any, ...], settings: Settings) -> Listener:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if settings.sock_cookie_id:
            _mark(sock, settings.sock_cookie_id)
        _set_for_clients(sock)
        sock.bind(address)
        sock.listen(settings.listen_backlog)
        sock.setblocking(False)
        return Listener(sock, sock.getsockname()[:2])
    except BaseException:
        sock.close()
        raise


def _set_for_clients(sock: socket.socket) -> None:
    """What the sockets that a TCP listener accepts have from it."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _mark(sock: socket.socket, mark: int) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
    except OSError as error:
        raise OSError(error.errno, f"sock_cookie_id: {error.strerror}") from error


def _open_unix(path: str, mask: int, backlog: int) -> Listener:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    bound = False
    try:
        _remove_stale(path)
        sock.bind(path)
        bound = True
        Path(path).chmod(mask)  # before listen: until then nobody can connect
        sock.listen(backlog)
        sock.setblocking(False)
        return Listener(sock, path, _inode(path))
    except OSError as error:
        sock.close()
        if bound:
            Path(path).unlink(missing_ok=True)
        raise _refused(f"UNIX socket: {path}", error) from error


def _remove_stale(path: str) -> None:
    """Remove the socket that a dead server left behind, not a living server's. Raises OSError for another file."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "there is something else by that name, no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        if probe.connect_ex(path) == errno.ECONNREFUSED:
            Path(path).unlink()


def _refused(label: str, error: OSError, kind: type[StartError] = StartError, advice: str = "") -> StartError:
    return kind(f"failed to listen on {label}: {error.strerror or error}{advice}")


def _advice(error: OSError, settings: Settings) -> str:
    """What the user may do about an address that is taken."""
    if error.errno != errno.EADDRINUSE:
        return ""
    return " (is a memcached running there?" + (")" if settings.listen else " -p takes another port)")


def _inode(path: str) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino
