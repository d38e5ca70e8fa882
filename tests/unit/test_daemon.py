"""The daemon as init scripts and service managers meet it: -d, signals, sockets that are open already."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "cachecore"]
TIMEOUT = 20


def environment(**more: str) -> dict[str, str]:
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)]))
    return {**os.environ, "PYTHONPATH": path, **more}


class Daemon:
    """A daemon of -d, which is no child of this process: what is known of it is its id."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.descriptor = os.pidfd_open(pid)

    def link(self, name: str) -> str:
        return str(Path(f"/proc/{self.pid}/{name}").readlink())

    def end(self, number: signal.Signals) -> None:
        """Send this signal, and wait for the end."""
        signal.pidfd_send_signal(self.descriptor, number)
        self.wait()

    def wait(self) -> None:
        ended, _, _ = select.select([self.descriptor], [], [], TIMEOUT)
        assert ended


@contextlib.contextmanager
def detached(pid_file: Path, *words: str, cwd: Path = ROOT) -> Iterator[tuple[Daemon, list[str]]]:
    """A daemon that was started with -d, and what was said before the command returned."""
    with tempfile.TemporaryFile("w+") as said:
        done = subprocess.run(
            [*COMMAND, "-d", "-P", str(pid_file), *words],
            stdin=subprocess.DEVNULL,
            stderr=said,
            env=environment(),
            cwd=cwd,
            timeout=TIMEOUT,
            check=False,
        )
        said.seek(0)
        lines = said.read().splitlines()
    assert done.returncode == 0, lines
    daemon = Daemon(int(pid_file.read_text()))
    try:
        yield daemon, lines
    finally:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(daemon.descriptor, signal.SIGKILL)
        os.close(daemon.descriptor)


def port_of(line: str) -> int:
    """The port in the line that says where it listens."""
    return int(line.split(" (")[0].rpartition(":")[2])


def ask(address: tuple[str, int] | str, request: bytes) -> bytes:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as client:
        client.settimeout(TIMEOUT)
        client.connect(address)
        client.sendall(request)
        return client.recv(1000)


# -d


def test_it_serves_when_the_command_returns_and_needs_nothing_of_it(tmp_path):
    pid_file = tmp_path / "pid"
    with detached(pid_file, "-p", "-1") as (daemon, said):
        assert ask(("127.0.0.1", port_of(said[-1])), b"mn\r\n") == b"MN\r\n"
        assert daemon.link("cwd") == "/"
        assert [daemon.link(f"fd/{stream}") for stream in range(3)] == ["/dev/null"] * 3
        assert os.getsid(daemon.pid) == daemon.pid
        daemon.end(signal.SIGTERM)
    assert list(tmp_path.iterdir()) == []


def test_with_v_it_keeps_its_output_and_with_r_its_directory(tmp_path):
    with detached(tmp_path / "pid", "-vrp", "-1", cwd=tmp_path) as (daemon, said):
        assert "memory 64 MB" in said[-1]
        assert daemon.link("fd/2") != "/dev/null"
        assert daemon.link("cwd") == str(tmp_path)
        soft, hard = resource.prlimit(daemon.pid, resource.RLIMIT_CORE)
        assert soft == hard != 0
        daemon.end(signal.SIGUSR1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["-l", "127.0.0.1:x"], 71, 'Invalid port number: "x"'),
        (["-u", "no such user"], 67, "can't find the user no such user to switch to"),
        (["-p", "-1", "-t", "5000"], 1, "failed to start the engine: "),
        (["-t", "0"], 1, "Number of threads must be greater than 0 (-t 0)"),
        (["-p", "-1", "-Y", "/no/where"], 1, "Could not open authfile [/no/where]"),
    ],
)
def test_the_command_ends_as_a_daemon_that_does_not_come_to_serve(tmp_path, words, status, message):
    if words[0] == "-u" and os.geteuid() != 0:
        words, status, message = ["-l", "127.0.0.1:y"], 71, "Invalid port number"
    done = subprocess.run(
        [*COMMAND, "-d", "-P", str(tmp_path / "pid"), *words],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == status
    assert message in done.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_a_second_start(tmp_path):
    with detached(tmp_path / "pid", "-p", "-1") as (_, said):
        port = port_of(said[-1])
        done = subprocess.run(
            [*COMMAND, "-d", "-p", str(port)],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    assert done.returncode == 71
    assert done.stderr.splitlines()[-1].startswith(f"failed to listen on TCP port {port}: Address already in use (is a")


# A client that may end it


@pytest.mark.parametrize("request_line", [b"shutdown\r\n", b"shutdown graceful\r\n"])
def test_a_client_ends_it(tmp_path, request_line):
    with detached(tmp_path / "pid", "-A", "-p", "-1") as (daemon, said):
        assert ask(("127.0.0.1", port_of(said[-1])), request_line) == b""
        daemon.wait()
    assert list(tmp_path.iterdir()) == []


# A service manager


@contextlib.contextmanager
def supervised(
    notices: socket.socket, *words: str, handed: Sequence[socket.socket] = ()
) -> Iterator[subprocess.Popen[str]]:
    """The daemon under a manager that listens to it and hands it these sockets, from descriptor 3 on."""
    place = notices.getsockname()
    name = "@" + place[1:].decode() if isinstance(place, bytes) else place
    script = """if True:
        import os, sys
        count = int(sys.argv[1])
        for index in range(count):
            os.dup2(int(sys.argv[2 + index]), 100 + index)
        for index in range(count):
            os.dup2(100 + index, 3 + index)
        if count:
            os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(count), LISTEN_FDNAMES="a:b")
        os.execv(sys.executable, [sys.executable, "-m", "cachecore", *sys.argv[2 + count:]])
    """
    fds = [sock.fileno() for sock in handed]
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(len(fds)), *map(str, fds), *words],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(NOTIFY_SOCKET=name),
        pass_fds=fds,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(params=["path", "abstract"])
def notices(request, tmp_path) -> Iterator[socket.socket]:
    """What the daemon tells its manager."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(TIMEOUT)
        listener.bind(str(tmp_path / "notify") if request.param == "path" else f"\0cachecore-notify-{os.getpid()}")
        yield listener


def test_the_manager_is_told_how_it_goes(notices):
    with supervised(notices, "-p", "-1") as process:
        ready = f"READY=1\nMAINPID={process.pid}".encode()
        assert notices.recv(1000) == ready
        process.send_signal(signal.SIGHUP)
        first, second = notices.recv(1000).split(b"\n")
        assert first == b"RELOADING=1"
        assert second.startswith(b"MONOTONIC_USEC=")
        assert notices.recv(1000) == ready
        process.send_signal(signal.SIGTERM)
        assert notices.recv(1000) == b"STOPPING=1"
        assert process.wait(timeout=TIMEOUT) == 0


def test_sockets_of_the_manager_are_served(notices, tmp_path):
    path = tmp_path / "socket"
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(path))
        unix.listen()
        place = tcp.getsockname()
        with supervised(notices, "-p", "1", handed=[tcp, unix]) as process:
            assert notices.recv(1000).startswith(b"READY=1")
            tcp.close()
            assert ask(place, b"mn\r\n") == b"MN\r\n"
            assert ask(str(path), b"mn\r\n") == b"MN\r\n"
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=TIMEOUT) == 0
            assert process.stderr is not None
            said = process.stderr.read()
    assert f"cachecore is listening on 127.0.0.1:{place[1]} and {path}\n" in said
    assert "the sockets of LISTEN_FDS are served instead of -p\n" in said
    assert path.exists()


def test_a_socket_that_listens_to_nobody(notices):
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket() as deaf,
        supervised(notices, handed=[tcp, deaf]) as process,
    ):
        assert process.wait(timeout=TIMEOUT) == 71
        assert process.stderr is not None
        assert process.stderr.read() == (
            "cannot listen on a socket of LISTEN_FDS: b (descriptor 4) is no listening stream socket\n"
        )
