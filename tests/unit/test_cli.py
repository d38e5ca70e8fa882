"""The daemon as its user meets it: what it prints, how it ends, what it leaves."""

from __future__ import annotations

import contextlib
import io
import os
import pwd
import resource
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cachecore import Settings, StartError
from cachecore.cli import _unused_addresses, main, say

ROOT = Path(__file__).resolve().parents[2]


class Daemon:
    """``python -m cachecore`` with these words, from when it says where it listens."""

    def __init__(self, *words: str, **environment: str) -> None:
        path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)]))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cachecore", *words],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path, **environment},
            cwd="/",
        )
        self.said: list[str] = []
        for line in self.stderr:
            self.said.append(line.rstrip("\n"))
            if line.startswith("cachecore is listening on"):
                break

    @property
    def stderr(self) -> io.TextIOBase:
        assert self.process.stderr is not None
        return self.process.stderr

    @property
    def port(self) -> int:
        return int(self.said[-1].split(" (")[0].rpartition(":")[2])

    def end(self, number: signal.Signals) -> tuple[int, list[str]]:
        """Its exit status after this signal, and what it said after it had started."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> tuple[int, list[str]]:
        rest = self.stderr.read().splitlines()
        return self.process.wait(timeout=20), rest


@contextlib.contextmanager
def daemon(*words: str, **environment: str) -> Iterator[Daemon]:
    running = Daemon(*words, **environment)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.communicate()


def failing(*words: str) -> tuple[int, list[str]]:
    """Exit status and stderr of a daemon that does not come to serve."""
    with daemon(*words) as running:
        return running.wait()[0], running.said


# Without serving


@pytest.mark.parametrize("flag", ["-h", "--help", "-V", "--version", "-i", "--license"])
def test_the_first_line_names_memcached_and_the_second_cachecore(capsys, flag):
    assert main([flag]) == 0
    out, err = capsys.readouterr()
    first, second, *_ = out.splitlines()
    assert first == "memcached 1.6.45"
    assert second.startswith("cachecore ")
    assert err == ""


def test_what_they_print(capsys):
    main(["-h"])
    assert "--memory-limit=<num>" in capsys.readouterr().out
    main(["-i"])
    assert "MIT License" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["-p", "70000"], 64, "ERROR: Invalid port number (-p 70000)\n"),
        (["-c", "0"], 1, "Maximum connections must be greater than 0 (-c 0)\n"),
        (["-S"], 64, "This server is not built with SASL support.\n"),
        (["-o", "foo"], 1, 'Illegal suboption "foo"; see cachecore -h\n'),
        (["-q"], 1, 'Illegal argument "-q": option -q not recognized; see cachecore -h\n'),
    ],
)
def test_a_wrong_option(capsys, words, status, message):
    assert main(words) == status
    assert capsys.readouterr() == ("", message)


def test_the_process_takes_its_own_words():
    done = subprocess.run(
        [sys.executable, "-m", "cachecore", "-p", "70000"], cwd=ROOT, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (64, b"")
    assert done.stderr == b"ERROR: Invalid port number (-p 70000)\n"


def test_say_needs_no_stderr(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    say("nobody hears")
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb", buffering=0) as broken:
        monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(broken, write_through=True))
        say("nobody hears")
        sys.stderr.detach()


# Starting and ending


def test_it_says_where_it_listens_and_how_to_open_it():
    with daemon("-p", "-1", "-u", pwd.getpwuid(os.getuid()).pw_name) as running:
        port = running.port
        assert running.said == [
            f"cachecore is listening on 127.0.0.1:{port} and [::1]:{port} "
            "(this machine only; -l 0.0.0.0, -l :: or -l '*' opens it)"
        ]
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port)).close()


def test_an_address_of_the_user_s_choice_needs_no_hint():
    with daemon("-p", "-1", "-l", "127.0.0.1") as running:
        assert running.said[-1] == f"cachecore is listening on 127.0.0.1:{running.port}"


def test_a_daemon_that_nobody_could_reach_is_refused(capsys):
    assert main(["-p", "0"]) == 64
    assert capsys.readouterr().err.endswith("nothing to listen on: -p 0, and neither -s nor sockets of systemd's\n")


@pytest.mark.parametrize(
    ("options", "named"),
    [({}, ""), ({"port": 1, "listen": "127.0.0.1"}, "-p, -l"), ({"unix_socket": "/tmp/s", "port": 0}, "-p, -s")],
)
def test_options_that_sockets_of_somebody_else_s_make_idle(options, named):
    assert _unused_addresses(Settings(**options)) == named


def test_more_with_v_and_each_listener_with_vv():
    with daemon("-vvp", "-1") as running:
        lines = [running.stderr.readline() for _ in range(3)]
        assert lines[0] == "memory 64 MB, items up to 1048576 bytes, 4 threads, 1024 connections\n"
        for line in lines[1:]:
            assert line.startswith("<")
            assert " server listening (auto-negotiate) on " in line
            assert line.endswith(f":{running.port}\n")


def test_many_threads_are_warned_about():
    with daemon("-p", "-1", "-t", "65") as running:
        assert "WARNING: Setting a high number of worker threads is not recommended." in running.said
    with daemon("-p", "-1", "-t", "64") as running:
        assert not [line for line in running.said if "WARNING" in line]


@pytest.mark.parametrize(
    ("number", "words", "farewell"),
    [
        (signal.SIGINT, [], []),
        (signal.SIGTERM, [], []),
        (
            signal.SIGTERM,
            ["-v"],
            ["memory 64 MB, items up to 1048576 bytes, 4 threads, 1024 connections", "Exiting normally"],
        ),
        (signal.SIGUSR1, [], ["Gracefully stopping"]),
    ],
)
def test_a_signal_ends_it_at_once(number, words, farewell):
    with (
        daemon("-p", "-1", *words) as running,
        socket.create_connection(("127.0.0.1", running.port)) as client,
    ):
        begin = time.monotonic()
        assert running.end(number) == (0, farewell)
        assert time.monotonic() - begin < 1
        client.settimeout(10)
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""


def test_hangups_do_not_end_it():
    with daemon("-p", "-1") as running:
        for _ in range(3):
            running.process.send_signal(signal.SIGHUP)
        running.process.send_signal(signal.SIGPIPE)
        socket.create_connection(("127.0.0.1", running.port)).close()
        assert running.end(signal.SIGINT)[0] == 0


def test_a_broken_file_of_users_changes_nobody(tmp_path):
    users = tmp_path / "users"
    users.write_text("me:secret\n")
    with daemon("-p", "-1", "-Y", str(users)) as running:
        users.write_text("nonsense\n")
        running.process.send_signal(signal.SIGHUP)
        assert running.stderr.readline() == (
            f"Authfile [{users}] has a malformed entry. Should be 'user:password'; the users stay who they were\n"
        )


def test_a_second_signal_while_stopping_is_no_traceback():
    with daemon("-p", "-1") as running:
        running.process.send_signal(signal.SIGSTOP)
        running.process.send_signal(signal.SIGTERM)
        running.process.send_signal(signal.SIGINT)
        assert running.end(signal.SIGCONT) == (0, [])


def test_it_serves_well_within_half_a_second():
    taken = []
    for _ in range(5):
        begin = time.monotonic()
        with daemon("-p", "-1"):
            taken.append(time.monotonic() - begin)
    assert min(taken) < 0.5


def test_signals_are_as_before_when_a_start_fails():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    handler = signal.getsignal(signal.SIGPIPE)
    try:
        assert main(["-l", "127.0.0.1:x"]) == 71
    finally:
        signal.signal(signal.SIGPIPE, handler)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


class Ending:
    """A server for ``cli``: while it starts a client asks for its end; how it was stopped is written down."""

    def __init__(self, settings: Settings, graceful: bool, failure: Exception) -> None:
        self.settings = settings
        self.graceful = graceful
        self.failure = failure
        self.calls: list[tuple[str, object]] = []
        self.on_shutdown: Callable[[bool], None] | None = None
        self.listeners, self.addresses, self.restart_report = (), [("127.0.0.1", 1)], ""

    def start(self, sockets: list[socket.socket]) -> None:
        assert sockets == []
        signal.pthread_kill(threading.get_ident(), signal.SIGHUP)  # no other thread of this process may take it

    def reload(self) -> None:
        self.calls.append(("reload", None))
        assert self.on_shutdown is not None
        self.on_shutdown(self.graceful)
        raise self.failure

    def stop(self, *, save: bool) -> None:
        self.calls.append(("stop", save))


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (StartError("the file is lost"), "the file is lost; the users stay who they were"),
        (MemoryError(), "out of memory"),
    ],
)
@pytest.mark.parametrize(("graceful", "farewell"), [(True, "Gracefully stopping"), (False, "Exiting normally")])
def test_it_reloads_and_a_client_ends_it(monkeypatch, capsys, graceful, farewell, failure, said):
    ending: list[Ending] = []

    def make(settings: Settings) -> Ending:
        ending.append(Ending(settings, graceful, failure))
        return ending[0]

    monkeypatch.setattr("cachecore.cli.Server", make)
    handler = signal.getsignal(signal.SIGPIPE)
    try:
        assert main(["-vp", "-1"]) == 0
    finally:
        signal.signal(signal.SIGPIPE, handler)
    assert ending[0].calls == [("reload", None), ("stop", graceful)]
    assert capsys.readouterr().err.splitlines()[-2:] == [said, farewell]


# What the system refuses


def test_a_second_start_on_the_same_port():
    with daemon("-p", "-1") as first:
        port = first.port
        status, said = failing("-p", str(port))
        assert status == 71
        assert said[-1] == (
            f"failed to listen on TCP port {port}: Address already in use"
            " (is a memcached running there? -p takes another port)"
        )
        status, said = failing("-l", f"127.0.0.1:{port}")
        assert status == 71
        assert said[-1] == (
            f"failed to listen on one of interface(s) 127.0.0.1:{port}: Address already in use"
            " (is a memcached running there?)"
        )


def test_a_wrong_address():
    status, said = failing("-l", "127.0.0.1:nonsense")
    assert status == 71
    assert said[-1] == ('failed to listen on one of interface(s) 127.0.0.1:nonsense: Invalid port number: "nonsense"')


def test_more_threads_than_there_can_be():
    status, said = failing("-t", "5000", "-p", "-1")
    assert status == 1
    assert said[-1].startswith("failed to start the engine: ")


# Files


def test_the_pid_file_stays(tmp_path):
    path = tmp_path / "pid"
    with daemon("-p", "-1", "-P", str(path)) as running:
        assert path.read_text() == f"{running.process.pid}\n"
        running.end(signal.SIGTERM)
    assert [entry.name for entry in tmp_path.iterdir()] == ["pid"]


def test_the_port_file(tmp_path):
    path = tmp_path / "ports"
    with daemon("-p", "-1", MEMCACHED_PORT_FILENAME=str(path)) as running:
        assert path.read_text() == f"TCP INET: {running.port}\nTCP INET6: {running.port}\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["ports"]


def test_files_that_cannot_be_written_end_nothing(tmp_path):
    lost = tmp_path / "no" / "where"
    with daemon("-p", "-1", "-P", str(lost), MEMCACHED_PORT_FILENAME=str(lost)) as running:
        assert running.said[-3:-1] == [
            f'Failed to open "{lost}.lck": No such file or directory',
            f"Could not write the pid file {lost}: No such file or directory",
        ]
        assert running.end(signal.SIGTERM)[0] == 0


def test_a_unix_socket(tmp_path):
    path, ports = tmp_path / "socket", tmp_path / "ports"
    with daemon("-s", str(path), "-a", "770", MEMCACHED_PORT_FILENAME=str(ports)) as running:
        assert running.said[-1] == f"cachecore is listening on {path}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o770
        status, said = failing("-s", str(path))
        assert status == 71
        assert said[-1] == f"failed to listen on UNIX socket: {path}: Address already in use"
        assert running.end(signal.SIGTERM)[0] == 0
    assert list(tmp_path.iterdir()) == []


def test_the_limit_is_the_daemon_s():
    with daemon("-p", "-1", "-c", "3000") as running:
        soft, _ = resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE)
        assert soft >= 3052


def test_help_for_a_reader_who_has_seen_enough():
    seen, told = os.pipe()
    os.close(seen)
    ended = subprocess.run(
        [sys.executable, "-m", "cachecore", "-h"], stdout=told, stderr=subprocess.PIPE, text=True, timeout=30, cwd=ROOT
    )
    os.close(told)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("option", ["-h", "-V"])
def test_help_that_cannot_be_written(option):
    """Of a short text all, of a long one nothing, is still in Python's buffer at the exit."""
    command = [sys.executable, "-m", "cachecore", option]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=30, cwd=ROOT, env=buffered
        )
    assert (ended.returncode, ended.stderr) == (1, "cannot write: No space left on device\n")


def test_it_says_that_every_interface_is_open():
    with daemon("-p", "-1", "-l", "0.0.0.0") as running:
        assert "every interface" in running.said[-1]
