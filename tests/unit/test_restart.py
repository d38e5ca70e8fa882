"""Warm restart as its user meets it: what survives which end, what is refused, what is said."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import stat
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import cachecore.restart
from cachecore import Server, StartError
from tests.support.wire import Client
from tests.unit.test_cli import daemon, failing

NOTHING = "[restart] no metadata save file, starting with a clean cache"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "memory"


@pytest.fixture
def meta(path: Path) -> Path:
    return Path(f"{path}.meta")


def serving(path: Path, **options: Any) -> Server:
    return Server(port=0, threads=2, memory_file=str(path), **options)


@contextlib.contextmanager
def client_of(server: Server) -> Iterator[Client]:
    with Client(server.address) as client:
        yield client


def store(server: Server, *keys: bytes) -> None:
    with client_of(server) as client:
        for key in keys:
            client.ask(b"set %s 0 0 5\r\nvalue\r\n" % key, b"STORED\r\n")


def saved(path: Path, *keys: bytes, **options: Any) -> None:
    """Leave a file with these keys."""
    with serving(path, **options) as server:
        store(server, *keys)
        server.stop(save=True)


def items(server: Server) -> int:
    return int(server.stats()["curr_items"])


# ---- what survives


REQUESTS = (
    b"set plain 0 0 5\r\nvalue\r\n",
    b"set flags 4294967295 0 5\r\nvalue\r\n",
    b"set ttl 0 1000 5\r\nvalue\r\n",
    b"set empty 0 0 0\r\n\r\n",
    b"set large 7 0 10000\r\n" + b"l" * 10_000 + b"\r\n",
    b"set chained 7 0 900000\r\n" + b"c" * 900_000 + b"\r\n",
    b"ms YmluYXJ5IQ== 5 b T100\r\nvalue\r\n",
    b"ms explicit 5 E12345\r\nvalue\r\n",
    b"set stale 0 0 5\r\nvalue\r\n",
    b"md stale I T500\r\n",
    b"set won 0 0 5\r\nvalue\r\n",
    b"md won I T500\r\n",
    b"mg won v\r\n",  # wins the recache
    b"set fetched 0 0 5\r\nvalue\r\n",
    b"get fetched\r\n",
    b"set number 0 0 2\r\n41\r\n",
    b"incr number 1\r\n",
)
PLAIN = (b"plain", b"flags", b"ttl", b"empty", b"large", b"chained", b"explicit", b"fetched", b"number")
MARKED = (b"YmluYXJ5IQ== b", b"stale", b"won")
QUESTIONS = tuple(b"mg %s v f c h k s\r\n" % key for key in PLAIN + MARKED)


def test_what_a_client_sees_is_what_it_was(path):
    def answers(server: Server, *requests: bytes) -> list[bytes]:
        with client_of(server) as client:
            return [client.transcript(request) for request in requests]

    with Server(port=0, threads=2) as server:  # what the answers are without a restart
        answers(server, *REQUESTS)
        expected = answers(server, *QUESTIONS)
    assert all(answer.startswith(b"VA ") for answer in expected)
    assert [b" W" in expected[-2], b" X" in expected[-1], b" Z" in expected[-1]] == [True] * 3
    with serving(path) as server:
        answers(server, *REQUESTS)
        before = server.stats()
        server.stop(save=True)
        server.start()
        after = server.stats()
        assert [after[name] for name in ("curr_items", "bytes")] == [before[name] for name in ("curr_items", "bytes")]
        assert after["total_items"] == after["curr_items"] == 12
        assert (after["cmd_set"], after["get_hits"], after["evictions"]) == (0, 0, 0)
        assert answers(server, *QUESTIONS) == expected
        assert b"MEMLIMIT_ADJUST_FAILED" in answers(server, b"cache_memlimit 128\r\n")[0]


def test_again_and_again(path):
    server = serving(path)
    for i in range(5):
        with server:
            assert items(server) == i
            store(server, b"k%d" % i)
            server.stop(save=True)


def test_time_goes_on_meanwhile(path, monkeypatch):
    begin = time.time()
    with serving(path) as server, client_of(server) as client:
        client.ask(b"set short 0 10 5\r\nvalue\r\n", b"STORED\r\n")
        client.ask(b"set long 0 1000 5\r\nvalue\r\n", b"STORED\r\n")
        client.ask(b"set absolute 0 %d 5\r\nvalue\r\n" % (begin + 1000), b"STORED\r\n")
        server.stop(save=True)
        monkeypatch.setattr(cachecore.restart, "time", SimpleNamespace(time=lambda: begin + 60))
        server.start()
        with client_of(server) as again:
            assert again.transcript(b"mg short t\r\n") == b"EN\r\n"
            for key in (b"long", b"absolute"):
                left = int(again.transcript(b"mg %s t\r\n" % key).split()[1][1:])
                assert 935 <= left <= 941
        assert abs(server.clock.now - (begin + 60)) <= 5
        assert server.stats()["uptime"] >= 59


def test_a_flush_takes_what_was_stored_before_the_clock_was_set_back(path):
    with serving(path) as server, client_of(server) as client:
        server.clock.advance(1000)
        client.ask(b"ms explicit 5 E12345\r\nvalue\r\nset plain 0 0 5\r\nvalue\r\n", b"STORED\r\n")
        server.clock.advance(-900)
        server.stop(save=True)
    with serving(path) as server, client_of(server) as client:
        assert items(server) == 2
        assert client.ask(b"flush_all\r\n", b"OK\r\n") == b"OK\r\n"
        assert client.ask(b"get explicit plain\r\n", b"END\r\n") == b"END\r\n"


def test_an_upload_under_way_is_no_item(path):
    with serving(path) as server:
        with client_of(server) as client:
            client.send(b"set half 0 0 800000\r\n" + bytes(300_000))
            while server.stats()["bytes_read"] < 300_000:
                pass
            server.stop(save=True)
        server.start()
        assert items(server) == 0
        server.stop(save=True)
        server.start()
        assert server.restart_report == f"[restart] going on with 0 items of {path}"


def test_a_reply_under_way_holds_nothing(path):
    with serving(path, max_item_size=8 << 20, memory_limit=64) as server:
        with client_of(server) as client:
            client.ask(b"set k 0 0 8000000\r\n" + bytes(8_000_000) + b"\r\n", b"STORED\r\n")
            for _ in range(4):
                client.send(b"get k\r\n")  # more than the socket takes
            while server.stats()["get_hits"] == 0:
                pass
            server.stop(save=True)
        server.start()
        assert items(server) == 1
        with client_of(server) as client:
            client.ask(b"delete k\r\n", b"DELETED\r\n")
        assert server.stats()["bytes"] == 0


# ---- what does not


@pytest.mark.parametrize("end", [Server.stop, lambda server: None])
def test_another_end_leaves_nothing(path, meta, end):
    saved(path, b"k")
    with serving(path) as server:
        assert items(server) == 1
        assert not meta.exists()
        end(server)
    with serving(path) as server:
        assert (items(server), server.restart_report) == (0, NOTHING)


def test_without_a_file_nothing_is_said(path):
    with Server(port=0) as server:
        assert server.restart_report == ""
        server.stop(save=True)
    assert serving(path).restart_report == ""


OTHER = [
    ({"memory_limit": 65}, "another memory limit"),
    ({"max_item_size": 2 << 20}, "another maximum item size"),
    ({"disable_cas": True}, "another setting of cas"),
    ({"slab_growth_factor": 1.25}, "other chunk sizes"),
    ({"slab_min_size": 60}, "other chunk sizes"),
]


@pytest.mark.parametrize(("options", "what"), OTHER)
def test_other_settings(path, meta, options, what):
    saved(path, b"k")
    with serving(path, **options) as server:
        assert server.restart_report == f"[restart] {path} was saved with {what}, starting with a clean cache"
        assert items(server) == 0
        store(server, b"k")
    assert not meta.exists()
    with serving(path) as server:
        assert (items(server), server.restart_report) == (0, NOTHING)


def damage_refused(path: Path, report: str) -> None:
    with serving(path) as server:
        assert server.restart_report == f"[restart] {report}, starting with a clean cache"
        assert items(server) == 0
        with client_of(server) as client:
            assert client.transcript(b"get k\r\n") == b"END\r\n"
        store(server, b"k", b"l")
        assert items(server) == 2


def test_damage_to_the_meta_file(path, meta):
    saved(path, b"k")
    sound, memory = meta.read_bytes(), path.read_bytes()
    draw = random.Random(1)
    places = [0, 18, 19, 27, 28, len(sound) - 32, len(sound) - 1, *(draw.randrange(len(sound)) for _ in range(15))]
    for at in places:
        meta.write_bytes(sound[:at] + bytes([sound[at] ^ 1]) + sound[at + 1 :])
        path.write_bytes(memory)
        damage_refused(path, f"{meta} is damaged" + ", or of another version of cachecore" * (at < 19))
    for length in [0, 1, 18, 19, 27, 28, 50, 51, 52, len(sound) - 32, len(sound) - 1]:
        meta.write_bytes(sound[:length])
        path.write_bytes(memory)
        damage_refused(path, f"{meta} is damaged" + ", or of another version of cachecore" * (length < 19))
    meta.write_bytes(sound)
    path.write_bytes(memory)
    with serving(path) as server:
        assert items(server) == 1


def test_damage_to_the_items(path):
    saved(path, b"k")
    path.write_bytes(path.read_bytes().replace(b"value", b"Value"))
    damage_refused(path, f"{path} is damaged: a page is not as it was saved")
    saved(path, b"m")
    os.truncate(path, 100)
    damage_refused(path, f"{path} does not have the length that it was saved with")
    saved(path, b"m")
    path.unlink()
    damage_refused(path, f"{path} does not have the length that it was saved with")


def test_a_meta_file_that_is_no_file_of_ours(path, meta, tmp_path, monkeypatch):
    saved(path, b"k")
    elsewhere = tmp_path / "elsewhere"
    meta.rename(elsewhere)
    meta.symlink_to(elsewhere)
    with pytest.raises(StartError, match="failed to read and remove"):
        serving(path).start()
    meta.unlink()
    meta.mkdir()
    with pytest.raises(StartError, match="failed to read and remove"):
        serving(path).start()
    meta.rmdir()
    elsewhere.rename(meta)
    become_another_s(meta, monkeypatch)
    with serving(path) as server:
        assert "is another user's" in server.restart_report


def become_another_s(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:
        os.chown(path, 4242, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 4242)


# ---- files


def test_the_files_are_for_their_owner_alone(path, meta):
    path.touch(mode=0o666)
    path.chmod(0o666)
    saved(path, b"k")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(meta.stat().st_mode) == 0o600
    assert set(path.parent.iterdir()) == {path, meta}


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("/", "Is a directory"),
        ("/nowhere/memory", "No such file or directory"),
        ("/dev/null", "another user's, or no regular file"),
    ],
)
def test_a_file_that_cannot_be(place, reason):
    with pytest.raises(StartError) as caught:
        serving(Path(place)).start()
    assert str(caught.value) == f"failed to open file for mmap: {place}: {reason}"
    assert caught.value.exit_status == 71


def test_a_file_of_another_user_s(path, monkeypatch):
    path.touch()
    become_another_s(path, monkeypatch)
    with pytest.raises(StartError, match="another user's"):
        serving(path).start()


def test_a_file_of_another_server_s(path):
    with serving(path) as server:
        store(server, b"k")
        with pytest.raises(StartError, match="in use by another server"):
            serving(path).start()
        assert items(server) == 1
        server.stop(save=True)
    with serving(path) as server:
        assert items(server) == 1


def test_a_file_system_without_the_space(path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100 << 20, before[1]))
    try:
        with pytest.raises(StartError, match="cannot get space for the memory file"):
            serving(path).start()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.stat().st_blocks == 0
    with serving(path):
        pass


def test_a_save_that_fails_is_told_and_ends_the_server(path, meta):
    server = serving(path).start()
    store(server, b"k")
    Path(f"{meta}.tmp").mkdir()
    with pytest.raises(OSError, match="tmp"):
        server.stop(save=True)
    assert server.addresses == []
    Path(f"{meta}.tmp").rmdir()
    with serving(path) as server:
        assert (items(server), server.restart_report) == (0, NOTHING)


def test_what_an_interrupted_save_left_is_no_hindrance(path, meta):
    Path(f"{meta}.tmp").write_bytes(b"half")
    saved(path, b"k")
    with serving(path) as server:
        assert items(server) == 1


def test_nothing_is_left_open(path):
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    saved(path, b"k")
    before = open_files()
    for _ in range(3):
        saved(path, b"k")
    with serving(path, memory_limit=65):
        pass
    assert open_files() == before


@pytest.mark.parametrize("lacking", ["admin", "worker-1", "acceptor"])
def test_a_start_that_fails_later_leaves_the_items_for_the_next(path, monkeypatch, lacking):
    saved(path, b"k")

    def start(thread):
        if thread.name == f"cachecore-{lacking}":
            raise RuntimeError("can't start new thread")
        begin(thread)

    begin = threading.Thread.start
    with monkeypatch.context() as lack:
        lack.setattr(threading.Thread, "start", start)
        with pytest.raises(StartError, match="can't start new thread"):
            serving(path).start()
    with serving(path) as server:
        assert items(server) == 1


# ---- the daemon


def words(path: Path, *more: str) -> list[str]:
    return ["-p", "-1", "-t", "2", "-e", str(path), *more]


def reports(said: list[str]) -> list[str]:
    return [line for line in said if line.startswith("[restart]")]


def test_the_daemon_goes_on_after_sigusr1_alone(path):
    for number, kept in ((signal.SIGUSR1, 1), (signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGKILL, 0)):
        with daemon(*words(path)) as running, Client(("127.0.0.1", running.port)) as client:
            client.ask(b"set k 0 0 1\r\nv\r\n", b"STORED\r\n")
            status, said = running.end(number)
        assert status == (-9 if number == signal.SIGKILL else 0)
        assert said == ["Gracefully stopping"] * kept
        with daemon(*words(path)) as running:
            assert reports(running.said) == [f"[restart] going on with 1 items of {path}" if kept else NOTHING]


def test_a_client_may_end_it_gracefully(path):
    with daemon(*words(path, "-A")) as running, Client(("127.0.0.1", running.port)) as client:
        client.ask(b"set k 0 0 1\r\nv\r\n", b"STORED\r\n")
        client.transcript_to_close(b"shutdown graceful\r\n")
        assert running.wait() == (0, ["Gracefully stopping"])
    with serving(path) as server:
        assert items(server) == 1


def test_the_daemon_says_why_not(path):
    with daemon(*words(path)) as running:
        running.end(signal.SIGUSR1)
    with daemon(*words(path, "-m", "65")) as running:
        assert len(reports(running.said)) == 1
    status, said = failing(*words(Path("/nowhere/memory")))
    assert (status, said[-1]) == (71, "failed to open file for mmap: /nowhere/memory: No such file or directory")


def test_a_daemon_that_nobody_could_reach_takes_no_items(path, meta):
    saved(path, b"k")
    assert failing("-p", "0", "-e", str(path))[0] == 64
    assert meta.exists()
    with serving(path) as server:
        assert items(server) == 1


def test_the_daemon_says_when_it_cannot_save(path, meta):
    with daemon(*words(path)) as running:
        Path(f"{meta}.tmp").mkdir()
        status, said = running.end(signal.SIGUSR1)
    assert status == 71
    assert said == ["Gracefully stopping", f"[restart] failed to save {path}: Is a directory"]


def value_of(key: bytes, number: int, size: int) -> bytes:
    """A value that tells whose it is, and whether it is whole."""
    body = b"%s %d " % (key, number) + b"x" * size
    return body + b" %08x" % zlib.crc32(body)


def is_whole(key: bytes, value: bytes) -> bool:
    body, _, checksum = value.rpartition(b" ")
    return body.startswith(key + b" ") and b"%08x" % zlib.crc32(body) == checksum


def load(port: int, name: int, stored: dict[bytes, int], tried: dict[bytes, int], enough: threading.Event) -> None:
    """Store, until the server ends. ``tried``: the last number sent for a key; ``stored``: the last acknowledged.
    ``enough`` is set once a thousand keys are stored."""
    draw = random.Random(name)
    reply, number = b"STORED\r\n", 0
    with Client(("127.0.0.1", port)) as client:
        while reply == b"STORED\r\n":
            number += 1
            key = b"%d:%d" % (name, draw.randrange(3000))
            value = value_of(key, number, draw.choice((10, 100, 3000, 50_000 if number % 50 == 0 else 10)))
            tried[key] = number
            reply = client.ask(b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value), b"STORED\r\n")
            if reply == b"STORED\r\n":
                stored[key] = number
            if len(stored) >= 1000:
                enough.set()


def under_load(path: Path, number: signal.Signals) -> tuple[dict[bytes, int], dict[bytes, int]]:
    """End a daemon under load; what its clients know."""
    stored: list[dict[bytes, int]] = [{} for _ in range(3)]
    tried: list[dict[bytes, int]] = [{} for _ in range(3)]
    enough = [threading.Event() for _ in range(3)]
    with daemon(*words(path, "-m", "256")) as running:
        each = zip(range(3), stored, tried, enough, strict=True)
        threads = [threading.Thread(target=load, args=(running.port, *arguments)) for arguments in each]
        for thread in threads:
            thread.start()
        assert all(event.wait(60) for event in enough)
        running.end(number)
        for thread in threads:
            thread.join()
    return {k: v for d in stored for k, v in d.items()}, {k: v for d in tried for k, v in d.items()}


def test_under_load_every_item_that_was_acknowledged_is_there(path):
    stored, tried = under_load(path, signal.SIGUSR1)
    with daemon(*words(path, "-m", "256")) as running, Client(("127.0.0.1", running.port)) as client:
        assert "going on with" in reports(running.said)[0]
        for key, last in stored.items():
            reply = client.transcript(b"mg %s v\r\n" % key)
            value = reply.partition(b"\r\n")[2].removesuffix(b"\r\n")
            assert is_whole(key, value)
            assert last <= int(value.split()[1]) <= tried[key]


def test_killed_under_load_it_starts_empty(path):
    stored, _ = under_load(path, signal.SIGKILL)
    with daemon(*words(path, "-m", "256")) as running, Client(("127.0.0.1", running.port)) as client:
        assert reports(running.said) == [NOTHING]
        assert b"STAT curr_items 0\r\n" in client.ask(b"stats\r\n")
        assert all(client.transcript(b"mg %s v\r\n" % key) == b"EN\r\n" for key in list(stored)[:100])


@pytest.mark.parametrize("moment", ["before the file is at rest", "before the meta file has its name"])
def test_killed_while_saving_it_starts_empty(path, monkeypatch, moment):
    class KilledError(BaseException):
        pass

    def kill(*_: object) -> None:
        raise KilledError

    target: tuple[Any, str] = (cachecore.restart.MemoryFile, "save") if moment.endswith("at rest") else (Path, "rename")
    server = serving(path).start()
    store(server, b"k")
    with monkeypatch.context() as patched:
        patched.setattr(*target, kill)
        with pytest.raises(KilledError):
            server.stop(save=True)
    with serving(path) as server:
        assert (items(server), server.restart_report) == (0, NOTHING)
