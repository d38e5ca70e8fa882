"""Asking for a dump of all keys, as memcached wants it: nothing before it, nothing behind it, one at a time."""

from __future__ import annotations

import re

from tests.support.wire import Client

BUSY = b"BUSY currently processing crawler request\r\n"


def dump(client: Client, request: bytes = b"lru_crawler metadump all\r\n") -> bytes:
    """The reply to a dump that nothing follows; memcached does one at a time, and may not be done with the last."""
    while True:
        client.send(request)
        reply = client.read_until(b"\r\n")
        while not re.search(rb"(^|\n)(END|EN|ERROR|[A-Z]{4,} .*)\r\n$", reply):
            reply += client.read_until(b"\r\n")
        if reply != BUSY:
            return reply
