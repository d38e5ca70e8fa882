"""Watchers come and go while there is much to tell; nothing is left of them."""

from __future__ import annotations

import contextlib
import random
import socket
import threading

from cachecore import Server

WORDS = (b"", b"fetchers mutations", b"connevents", b"evictions deletions", b"fetchers mutations connevents evictions")
ROUNDS = 60


def work(server: Server, stop: threading.Event, seed: int) -> None:
    """Gets, sets and deletes; a new connection now and then."""
    chosen = random.Random(seed)
    while not stop.is_set():
        with socket.create_connection(server.address) as client:
            client.settimeout(60)
            for _ in range(20):
                batch = b"".join(
                    b"set k%d 0 0 1000\r\n%s\r\nget k%d k%d\r\ndelete k%d\r\n"
                    % (chosen.randrange(20_000), b"x" * 1000, *(chosen.randrange(20_000) for _ in range(3)))
                    for _ in range(20)
                )
                client.sendall(batch + b"mn\r\n")
                read = b""
                while not read.endswith(b"MN\r\n"):
                    part = client.recv(1 << 16)
                    assert part
                    read = read[-3:] + part


def watcher(server: Server, chosen: random.Random) -> socket.socket:
    """A connection that watches, or is about to."""
    client = socket.create_connection(server.address)
    client.settimeout(60)
    client.sendall(b"watch %s\r\n" % chosen.choice(WORDS))
    if chosen.random() < 0.7:
        assert client.recv(4) in (b"OK\r\n", b"WATC")
    if chosen.random() < 0.5:
        client.recv(1 << 16)
    return client


def test_watchers_come_and_go() -> None:
    chosen, stop = random.Random(5), threading.Event()
    with Server(port=0, threads=3, memory_limit=8) as server:
        workers = [threading.Thread(target=work, args=(server, stop, seed)) for seed in range(3)]
        for worker in workers:
            worker.start()
        try:
            watching: list[socket.socket] = []
            for _ in range(ROUNDS):
                watching += [watcher(server, chosen) for _ in range(chosen.randrange(6))]
                while watching and chosen.random() < 0.75:
                    watching.pop(chosen.randrange(len(watching))).close()
            assert int(server.stats()["log_worker_written"]) > 0
        finally:
            stop.set()
            for worker in workers:
                worker.join()
            for client in watching:
                client.close()
        for _ in range(100_000):
            stats = server.stats()
            if stats["log_watchers"] == stats["curr_connections"] == 0:
                break
        else:
            raise AssertionError("somebody is left")
        with contextlib.closing(socket.create_connection(server.address)) as client:
            client.sendall(b"watch\r\n")
            assert client.recv(10) == b"OK\r\n"


def test_servers_that_stop_while_they_are_watched() -> None:
    for _ in range(20):
        with Server(port=0, threads=2) as server, contextlib.ExitStack() as stack:
            clients = [stack.enter_context(socket.create_connection(server.address)) for _ in range(4)]
            for client in clients[1:]:
                client.sendall(b"watch fetchers connevents\r\n")
            assert clients[1].recv(4) == b"OK\r\n"
            clients[0].sendall(b"get a\r\n" * 1000)
            clients[2].close()
