"""A daemon that ends under load, however it does, and its successor on the same port, at once."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import threading

import pytest

from tests.support.peers import free_port
from tests.support.processes import ROOT

TIMEOUT = 30


def begin(port: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "cachecore", "-l", "127.0.0.1", "-p", str(port), "-t", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, cwd=ROOT)
    assert process.stderr is not None
    while b"listening on" not in (line := process.stderr.readline()):
        assert line, "it ended before it listened"
    return process


def load(port: int, loaded: threading.Semaphore) -> None:
    """Pipelines, and a value under way, until the server is gone."""
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", port), TIMEOUT) as client,
        socket.create_connection(("127.0.0.1", port), TIMEOUT) as uploader,
    ):
        uploader.sendall(b"set u 0 0 500000\r\nabc")
        while True:
            client.sendall(b"set k 0 0 3\r\nabc\r\nget k\r\n" * 100)
            if not client.recv(1 << 16):
                return
            loaded.release()


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGUSR1, 0), (signal.SIGKILL, -9)]
)
def test_an_end_under_load(number: signal.Signals, status: int) -> None:
    port, loaded = free_port(), threading.Semaphore(0)
    process = begin(port)
    threads = [threading.Thread(target=load, args=(port, loaded)) for _ in range(4)]
    try:
        for thread in threads:
            thread.start()
        for _ in range(40):
            assert loaded.acquire(timeout=TIMEOUT)
        process.send_signal(number)
        assert process.wait(TIMEOUT) == status
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()
        for thread in threads:
            thread.join(TIMEOUT)
            assert not thread.is_alive(), "its connection was not closed"
        process.stderr.close()
        process = begin(port)
        with socket.create_connection(("127.0.0.1", port), TIMEOUT) as client:
            client.sendall(b"get k\r\n")
            assert client.recv(100) == b"END\r\n"
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()
