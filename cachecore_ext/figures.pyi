"""What there is to see of the data plane, as Python sees it: numbers by memcached's names, connections, items."""

from typing import NamedTuple

class ConnectionInfo(NamedTuple):
    """A connection, or a listening socket, as it was when it was looked at."""

    fd: int
    addr: str  # of the client; of a listening socket its own: tcp:1.2.3.4:5, tcp6:[::1]:5 or unix:/path
    listen_addr: str | None  # None for a listening socket
    state: str  # memcached's name of it
    secs_since_last_cmd: int  # or since the last bytes of a value, or since a late answer was read

class ItemInfo(NamedTuple):
    """An item, as it was when it was looked at."""

    key: bytes
    flags: int  # the client's
    size: int  # bytes of the value
    ttl: int | None  # seconds that it still has by the server's clock; None: it does not expire
    cas: int  # 0 where cas is off
    fetched: bool  # since it was stored
