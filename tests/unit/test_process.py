"""The daemon's user, its limits and its files."""

from __future__ import annotations

import os
import pwd
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cachecore import StartError, cli, process
from cachecore.cli import main
from cachecore.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


# Its user


class Identity:
    """The process's user, as a test wants it; what would be changed is written down."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, uid: int) -> None:
        self.changes: list[tuple[object, ...]] = []
        for name in ("getuid", "geteuid"):
            monkeypatch.setattr(os, name, lambda: uid)
        for name in ("initgroups", "setgid", "setuid"):
            monkeypatch.setattr(os, name, lambda *values, name=name: self.changes.append((name, *values)))


def test_root_becomes_the_user(monkeypatch):
    identity = Identity(monkeypatch, 0)
    nobody = pwd.getpwnam("nobody")
    process.drop_privileges("nobody")
    assert identity.changes == [
        ("initgroups", "nobody", nobody.pw_gid),
        ("setgid", nobody.pw_gid),
        ("setuid", nobody.pw_uid),
    ]


def test_who_is_not_root_stays_who_it_is(monkeypatch):
    identity = Identity(monkeypatch, 1000)
    process.drop_privileges("no such user")
    assert identity.changes == []


def test_an_unknown_user(monkeypatch, capsys):
    Identity(monkeypatch, 0)
    monkeypatch.setattr(cli, "preload", lambda: None)
    assert main(["-u", "no such user", "-p", "-1"]) == 67
    assert capsys.readouterr().err == "can't find the user no such user to switch to\n"


def test_what_comes_after_the_user_needs_none_of_python_s_files(tmp_path):
    """The interpreter may lie where only root can read. SIGHUP and SIGUSR1 await the daemon, in this order."""
    script = """if True:
        import os, signal, sys
        from cachecore import cli, process
        process.drop_privileges = lambda user: sys.meta_path.clear()
        signal.pthread_sigmask(signal.SIG_BLOCK, process.AWAITED)
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGUSR1)
        sys.exit(cli.main(sys.argv[1:]))
    """
    (tmp_path / "users").write_text("name:password\n", "ascii")
    done = subprocess.run(
        [sys.executable, "-c", script, "-u", "nobody", "-p", "-1", "-kvv", "-P", "pid", "-Y", "users", "-e", "items"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT), "MEMCACHED_PORT_FILENAME": "ports"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith("Gracefully stopping\n")
    assert "No module" not in done.stderr
    assert {file.name for file in tmp_path.iterdir()} == {"users", "pid", "ports", "items", "items.meta"}


def test_a_user_that_cannot_be_had(monkeypatch):
    Identity(monkeypatch, 0)

    def refuse(_: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "setuid", refuse)
    with pytest.raises(StartError, match="failed to assume identity of user nobody: Operation not") as caught:
        process.drop_privileges("nobody")
    assert caught.value.exit_status == 71


@pytest.mark.parametrize(("uid", "said"), [(0, True), (1000, False)])
def test_root_without_a_user_is_told(monkeypatch, capsys, uid, said):
    Identity(monkeypatch, uid)
    main(["-l", "127.0.0.1:x"])
    assert ("cachecore is running as root; -u <user>" in capsys.readouterr().err) is said


# Its limits


class Limits:
    """The limit of open files, as a test wants it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, may_raise: bool) -> None:
        self.now = (soft, hard)

        def change(_: int, wanted: tuple[int, int]) -> None:
            if wanted[1] > hard and not may_raise:
                raise ValueError("not allowed to raise maximum limit")
            self.now = wanted

        monkeypatch.setattr(resource, "getrlimit", lambda _: self.now)
        monkeypatch.setattr(resource, "setrlimit", change)


INFINITE = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("soft", "hard", "may_raise", "expected"),
    [
        (1024, 4096, False, (1076, 4096)),
        (1024, INFINITE, False, (1076, INFINITE)),
        (2000, 4096, False, (2000, 4096)),
        (INFINITE, INFINITE, False, (INFINITE, INFINITE)),
        (256, 1060, True, (1076, 1076)),
        (256, 1060, False, (1060, 1060)),
        (256, 1024, False, (1024, 1024)),
    ],
)
def test_the_limit_of_open_files(monkeypatch, soft, hard, may_raise, expected):
    limits = Limits(monkeypatch, soft, hard, may_raise)
    process.raise_descriptor_limit(Settings())
    assert limits.now == expected


def test_a_limit_that_is_too_low(monkeypatch, capsys):
    Limits(monkeypatch, 256, 1023, False)
    assert main(["-p", "-1"]) == 71
    assert capsys.readouterr().err == (
        "failed to set rlimit for open files. Try starting as root or requesting smaller maxconns value. "
        "(-c 1024, limit 1023)\n"
    )


@pytest.mark.parametrize(
    ("soft", "hard", "may_raise", "expected"),
    [(0, 5, True, (INFINITE, INFINITE)), (0, 5, False, (5, 5)), (0, INFINITE, False, (INFINITE, INFINITE))],
)
def test_the_limit_of_core_files(monkeypatch, soft, hard, may_raise, expected):
    limits = Limits(monkeypatch, soft, hard, may_raise)
    if not may_raise and hard != INFINITE:
        monkeypatch.setattr(resource, "RLIM_INFINITY", 1 << 62)
    process.raise_core_limit()
    assert limits.now == expected


def test_no_core_files_to_be_had(monkeypatch, capsys):
    Limits(monkeypatch, 0, 0, False)
    monkeypatch.setattr(resource, "RLIM_INFINITY", 1 << 62)
    assert main(["-r", "-p", "-1"]) == 71
    assert capsys.readouterr().err == "failed to ensure corefile creation\n"


def locked(words: str) -> tuple[int, list[str]]:
    """KiB that a server with -k has locked, and what it says, under a limit of its own."""
    script = f"""if True:
        import resource, signal, sys
        from pathlib import Path
        from cachecore import cli, process
        {words}
        def seen(graceful=False):
            status = Path("/proc/self/status").read_text()
            print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmLck")))
            return signal.SIGTERM
        process.wait_for_signal = seen
        sys.exit(cli.main(["-k", "-p", "-1"]))
    """
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return int(done.stdout), done.stderr.splitlines()


def test_memory_is_locked_or_a_warning_given():
    amount, said = locked("")
    assert (amount > 0) is not any("warning: -k invalid, mlockall() failed: " in line for line in said)


def test_memory_that_cannot_be_locked():
    amount, said = locked("process.lock_memory = lambda: (_ for _ in ()).throw(OSError(12, 'Cannot allocate memory'))")
    assert amount == 0
    assert "warning: -k invalid, mlockall() failed: Cannot allocate memory" in said


# Its files


def test_a_reader_of_the_files_never_sees_half_of_one(tmp_path):
    for write, more in ((process.write_pid_file, ()), (process.write_port_file, ([("::1", 5)],))):
        path, before = tmp_path / "file", tmp_path / "before"
        path.write_text("old")
        before.hardlink_to(path)
        write(str(path), *more)
        assert before.read_text() == "old"
        assert path.read_text() in (f"{os.getpid()}\n", "TCP INET6: 5\n")
        before.unlink()


def test_a_pid_file_that_is_gone_already(monkeypatch, tmp_path, capsys):
    path = tmp_path / "pid"
    monkeypatch.setattr(process, "start_daemon", lambda **_: path.unlink)
    monkeypatch.setattr(process, "wait_for_signal", lambda: signal.SIGTERM)
    assert main(["-d", "-p", "-1", "-P", str(path)]) == 0
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"Could not remove the pid file {path}: No such file or directory"
    )


# Signals


def test_a_signal_without_memory_to_tell_of_it_is_not_the_end(monkeypatch):
    real, lacking = signal.sigwaitinfo, [True]

    def wait(awaited: frozenset[signal.Signals]) -> signal.struct_siginfo:
        if lacking:
            lacking.pop()
            raise MemoryError
        return real(awaited)

    monkeypatch.setattr(signal, "sigwaitinfo", wait)
    with process.awaited_signals():
        signal.pthread_kill(threading.get_ident(), signal.SIGHUP)
        assert process.wait_for_signal() is signal.SIGHUP
    assert not lacking
