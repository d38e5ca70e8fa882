"""Ready clients of libraries that may be installed."""

from __future__ import annotations

from typing import Any

from pymemcache.client.base import Client

from .server import login


class _Authenticating(Client):  # type: ignore[misc]
    """A client that logs in whenever it connects."""

    def __init__(self, address: tuple[str, int], user: tuple[str, str], **options: Any) -> None:
        self._user = user
        super().__init__(address, **options)

    def _connect(self) -> None:
        super()._connect()
        self.sock.sendall(login(self._user))
        reply = b""
        while not reply.endswith(b"\n"):
            received = self.sock.recv(1024)
            if not received:
                break
            reply += received
        if reply != b"STORED\r\n":
            self.close()
            raise ConnectionError(f"cannot log in: {reply!r}")


def client(address: tuple[str, int], user: tuple[str, str] | None, options: dict[str, Any]) -> Client:
    """A client of pymemcache's, for this user if there is one."""
    options = {"default_noreply": False, "timeout": 10.0, "connect_timeout": 10.0, **options}
    return Client(address, **options) if user is None else _Authenticating(address, user, **options)
