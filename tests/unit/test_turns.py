"""A turn of a connection that sends much: whole values, in order."""

from __future__ import annotations

import random
import socket
import threading

import pytest

from cachecore import Server

#: Around the sizes of a receive (64 KiB), of the look at a large value's line (2 KiB), of a copied value, of a piece.
SIZES = (1, 2000, 2048, 4095, 4096, 16_384, 65_500, 65_536, 65_537, 70_000, 131_072, 300_000, 524_288, 1_000_000)


def value_of(key: str, size: int) -> bytes:
    """A value that is nobody else's, and has no two equal stretches."""
    return random.Random(key).randbytes(size)


def read(client: socket.socket, size: int) -> bytes:
    parts = []
    while size > 0:
        part = client.recv(min(size, 1 << 20))
        assert part, "closed"
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


@pytest.mark.parametrize("seed", range(4))
def test_values_of_all_sizes_behind_one_another(seed):
    """Written without a pause, so that receives end anywhere in a line, a value, or its end."""
    chance = random.Random(seed)
    sizes = [chance.choice(SIZES) + chance.randrange(-1, 2) for _ in range(40)]
    requests, expected = [], []
    for number, size in enumerate(sizes):
        key = f"{seed}.{number}"
        value = value_of(key, size)
        requests.append(b"set %s 0 0 %d\r\n%s\r\n" % (key.encode(), size, value))
        expected.append(b"STORED\r\n")
        if chance.random() < 0.5:
            requests.append(b"get %s\r\n" % key.encode())
            expected.append(b"VALUE %s 0 %d\r\n%s\r\nEND\r\n" % (key.encode(), size, value))
    replies = b"".join(expected)
    with Server(port=0, threads=1) as server, socket.create_connection(server.address, timeout=10) as client:
        writer = threading.Thread(target=client.sendall, args=(b"".join(requests),))
        writer.start()
        try:
            assert read(client, len(replies)) == replies
        finally:
            writer.join()
