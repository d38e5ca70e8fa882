"""``Server``: what it gives the engine, what it answers, and that it leaves nothing behind."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import cachecore.server
from cachecore import Server, Settings, SettingsError, StartError
from cachecore.admin import Admin
from cachecore.server import create_engine, engine_options
from cachecore.stats import FIRST_TICK
from tests.unit.fake_engine import FakeEngine
from tests.unit.traces import nothing_left, own_threads, refused

ROOT = Path(__file__).resolve().parents[2]
LAST_TICK = (1 << 32) - 366 * 24 * 3600


# Its settings


def test_the_default_port_is_memcached_s():
    assert Server().settings == Settings()
    assert Server().settings.port == 11211


def test_settings_are_taken_ready_made(engine):
    settings = Settings(port=-1, listen="127.0.0.1")
    with Server(settings) as server:
        assert server.settings is settings
        assert [host for host, _ in server.addresses] == ["127.0.0.1"]


def test_settings_or_options_but_not_both():
    with pytest.raises(TypeError, match="either"):
        Server(Settings(), port=0)
    with pytest.raises(TypeError, match="nonsense"):
        Server(nonsense=1)
    with pytest.raises(SettingsError):
        Server(threads=0)


def test_settings_with_port_0_mean_no_tcp(engine):
    with Server(Settings(port=0)) as server:
        assert server.addresses == []
        with pytest.raises(RuntimeError, match="does not listen"):
            _ = server.address


# Life


def test_it_brings_the_engine_its_threads(engine):
    before = own_threads()
    with Server(port=0, threads=3):
        brought = own_threads() - before
        names = ["acceptor", "admin", "logger", "maintenance", *(f"worker-{i}" for i in range(3))]
        assert sorted(thread.name for thread in brought) == [f"cachecore-{name}" for name in names]
        assert all(thread.daemon for thread in brought)
    assert own_threads() == before
    assert engine.calls == ["stop", "close"]
    assert engine.threads == {name: f"cachecore-{name}" for name in ("acceptor", "logger", "maintenance")} | {
        f"worker {i}": f"cachecore-worker-{i}" for i in range(3)
    }


def test_stop_is_a_no_op_the_second_time_and_before_the_first_start(engine):
    server = Server(port=0)
    server.stop()
    server.start()
    server.stop()
    server.stop()
    assert engine.calls == ["stop", "close"]


def test_a_port_goes_by_name():
    with pytest.raises(TypeError, match=r"Server\(port=0\); got 11211"):
        Server(11211)


def test_start_twice(engine):
    with Server(port=0) as server:
        with pytest.raises(RuntimeError, match="already"):
            server.start()
        assert len(server.addresses) == 2


@pytest.mark.parametrize("error", [MemoryError("none"), OSError("none"), ValueError("none")])
def test_an_engine_that_cannot_be_is_a_start_error(monkeypatch, error):
    def refuse(settings):
        raise error

    monkeypatch.setattr(cachecore.server, "create_engine", refuse)
    with pytest.raises(StartError, match="failed to start the engine: none") as raised:
        Server(port=0).start()
    assert raised.value.exit_status == 1


def test_it_can_be_started_again(monkeypatch):
    monkeypatch.setattr(cachecore.server, "create_engine", lambda settings: FakeEngine())
    server = Server(port=0)
    for _ in range(2):
        with server:
            socket.create_connection(server.address).close()


def test_not_running(engine):
    server = Server(port=0)
    for _ in range(2):
        assert server.addresses == []
        for use in (lambda: server.address, lambda: server.clock, server.stats):
            with pytest.raises(RuntimeError, match="not"):
                use()
        server.wait()  # returns at once
        server.start()
        server.stop()


def test_wait_ends_with_stop(engine):
    with Server(port=0) as server:
        waiting = threading.Thread(target=server.wait)
        waiting.start()
        assert waiting.is_alive()
        server.stop()
        waiting.join()


@pytest.mark.parametrize("error", [MemoryError("no room"), ValueError("no room")])
def test_no_engine(monkeypatch, error):
    def refuse(settings: Settings) -> FakeEngine:
        raise error

    monkeypatch.setattr(cachecore.server, "create_engine", refuse)
    refusal = refused(port=0)
    assert (str(refusal), refusal.exit_status) == ("failed to start the engine: no room", 1)


def test_no_threads(engine, monkeypatch):
    start = threading.Thread.start

    def limited(thread: threading.Thread) -> None:
        if thread.name == "cachecore-worker-1":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    refusal = refused(port=0, threads=2)
    assert str(refusal) == "failed to start the threads: can't start new thread"
    assert refusal.exit_status == 1
    assert engine.calls == ["stop", "close"]
    assert "worker 0" in engine.threads


# What Python answers


def test_stats_are_answered_to_who_asked(engine):
    with Server(port=0):
        for token, line in ((7, b"stats reset"), (8, b"stats nonsense")):
            engine.requests.put(type("Request", (), {"token": token, "line": line})())
        assert engine.answers.get() == (7, b"RESET\r\n")
        assert engine.answers.get() == (8, b"ERROR\r\n")


def test_a_failure_while_answering_is_answered_and_logged(engine, monkeypatch, caplog):
    def fail() -> None:
        raise KeyError("lost")

    monkeypatch.setattr(engine, "reset_counters", fail)
    with Server(port=0):
        for token in (1, 2):
            engine.requests.put(type("Request", (), {"token": token, "line": b"stats reset"})())
            assert engine.answers.get() == (token, b"SERVER_ERROR internal error, see the server's log\r\n")
    assert "KeyError: 'lost'" in caplog.text
    assert "stats reset" in caplog.text


def no_memory(*_: object) -> None:
    raise MemoryError


def ask_engine(engine: FakeEngine, token: int) -> tuple[int, bytes | None]:
    engine.requests.put(type("Request", (), {"token": token, "line": b"stats reset"})())
    return engine.answers.get(timeout=10)


@pytest.mark.parametrize(
    ("where", "name", "answer"),
    [
        (FakeEngine, "reset_counters", b"SERVER_ERROR out of memory\r\n"),
        (Admin, "_run", b"SERVER_ERROR out of memory\r\n"),
        (cachecore.server, "_render", None),
    ],
)
def test_memory_that_lacks_for_an_answer_ends_no_thread(engine, monkeypatch, where, name, answer):
    """The client is told or, where even that needs memory, disconnected; the next one is answered."""
    with Server(port=0), monkeypatch.context() as patched:
        patched.setattr(where, name, no_memory)
        assert ask_engine(engine, 1) == (1, answer)
        patched.undo()
        assert ask_engine(engine, 2) == (2, b"RESET\r\n")


def test_memory_that_lacks_for_a_question_ends_no_thread(engine, monkeypatch):
    failing = [True]
    next_admin = engine.next_admin
    monkeypatch.setattr(engine, "next_admin", lambda: no_memory() if failing and failing.pop() else next_admin())
    with Server(port=0):
        assert ask_engine(engine, 1) == (1, b"RESET\r\n")


def test_an_answer_that_cannot_be_given_closes_the_connection(engine, monkeypatch):
    given = engine.answer_admin
    refused = lambda token, reply: given(token, reply) if reply is None else no_memory()  # noqa: E731
    monkeypatch.setattr(engine, "answer_admin", refused)
    with Server(port=0):
        assert ask_engine(engine, 1) == (1, None)


def test_stats_from_python(engine):
    with Server(port=0, conn_limit=99) as server:
        found = server.stats()
    assert found["max_connections"] == 99
    assert found["version"] == "1.6.45"
    assert found["pid"] == os.getpid()


def test_the_clock(engine):
    with Server(port=0) as server:
        assert server.clock.now == engine.started + FIRST_TICK
        server.clock.advance(-5)
        assert server.clock.now == engine.started + FIRST_TICK - 5
        server.clock.freeze()
        assert engine.frozen
        server.clock.resume()
        assert not engine.frozen


@pytest.mark.parametrize("wrong", [0.5, "60", None, float("inf"), float("nan")])
def test_the_clock_moves_by_whole_seconds(engine, wrong):
    with Server(port=0) as server:
        with pytest.raises(TypeError, match="seconds is a whole number, not"):
            server.clock.advance(wrong)
        server.clock.advance(60.0)
        assert engine.tick == FIRST_TICK + 60


def test_the_clock_goes_no_further_than_its_ticks(engine):
    with Server(port=0) as server:
        server.clock.advance(10)
        for wrong in (10**12, -(10**12), 1 << 32, -71):
            with pytest.raises(ValueError, match=rf"back by 70 seconds and on by {LAST_TICK - 72}, not by {wrong}"):
                server.clock.advance(wrong)
        server.clock.advance(-70)
        assert engine.tick == 2
        server.clock.advance(LAST_TICK - 2)
        assert engine.tick == LAST_TICK


def test_what_a_server_and_its_clock_show(engine, tmp_path):
    server = Server(port=0)
    assert repr(server) == "<Server, not listening>"
    with server:
        port = server.address[1]
        assert repr(server) == f"<Server at 127.0.0.1:{port} and [::1]:{port}>"
        assert repr(server.clock) == "<Clock at 2023-11-14 22:14:22 UTC>"
    with Server(unix_socket=str(tmp_path / "socket")) as server:
        assert repr(server) == f"<Server at {tmp_path / 'socket'}>"


DEFAULTS = {
    "memory_limit": 64 << 20,
    "item_size_max": 1 << 20,
    "threads": 4,
    "max_connections": 1024,
    "growth_factor": None,
    "chunk_size_min": 48,
    "evictions": True,
    "use_cas": True,
    "reqs_per_event": 20,
    "buffer_limit": 0,
    "binary_probe": True,
    "debug_commands": False,
    "verbosity": 0,
    "version": "1.6.45",
    "lru_policy": "s3fifo",
    "lru_maintainer": True,
    "hot_lru_pct": 20,
    "warm_lru_pct": 40,
    "hot_max_factor": 0.2,
    "warm_max_factor": 2.0,
    "temporary_ttl": None,
    "lru_crawler": True,
    "lru_crawler_sleep": 100,
    "lru_crawler_tocrawl": 0,
    "slab_reassign": True,
    "slab_automove": 1,
    "slab_automove_ratio": 0.8,
    "slab_automove_window": 10,
    "slab_sizes": (),
    "slab_chunk_max": 512 << 10,
    "idle_timeout": 0,
    "maxconns_fast": True,
    "flush_enabled": True,
    "dump_enabled": True,
    "watch_enabled": True,
    "prefix_delimiter": b":",
    "detail_enabled": False,
    "watcher_logbuf_size": 256 << 10,
    "worker_logbuf_size": 64 << 10,
    "hugepages": False,
    "users": None,
}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, {}),
        ({"memory_limit": 9}, {"memory_limit": 9 << 20}),
        ({"max_item_size": 2 << 20}, {"item_size_max": 2 << 20}),
        ({"threads": 1, "conn_limit": 2}, {"threads": 1, "max_connections": 2}),
        ({"slab_growth_factor": 2.0, "slab_min_size": 3}, {"growth_factor": 2.0, "chunk_size_min": 3}),
        ({"disable_evictions": True, "disable_cas": True}, {"evictions": False, "use_cas": False}),
        ({"max_reqs_per_event": 4, "verbose": 2}, {"reqs_per_event": 4, "verbosity": 2}),
        ({"debug_commands": True}, {"debug_commands": True}),
        ({"protocol": "ascii"}, {"binary_probe": False}),
        ({"read_buf_mem_limit": 3}, {"buffer_limit": 3 << 20}),
        ({"lru_maintainer": False}, {"lru_maintainer": False, "lru_policy": "flat"}),
        ({"hot_lru_pct": 1, "warm_lru_pct": 2}, {"hot_lru_pct": 1, "warm_lru_pct": 2}),
        ({"hot_max_factor": 0.1, "warm_max_factor": 0.3}, {"hot_max_factor": 0.1, "warm_max_factor": 0.3}),
        ({"temporary_ttl": 9, "idle_timeout": 8}, {"temporary_ttl": 9, "idle_timeout": 8}),
        (
            {"lru_crawler": False, "lru_crawler_sleep": 1, "lru_crawler_tocrawl": 2},
            {"lru_crawler": False, "lru_crawler_sleep": 1, "lru_crawler_tocrawl": 2},
        ),
        (
            {"slab_reassign": False, "slab_automove": 2, "slab_automove_ratio": 0.5, "slab_automove_window": 5},
            {"slab_reassign": False, "slab_automove": 2, "slab_automove_ratio": 0.5, "slab_automove_window": 5},
        ),
        (
            {"slab_sizes": (60, 100), "slab_chunk_max": 1024},
            {"slab_sizes": (60, 100), "slab_chunk_max": 1 << 20},
        ),
        ({"maxconns_fast": False}, {"maxconns_fast": False}),
        (
            {"disable_flush_all": True, "disable_dumping": True, "disable_watch": True},
            {"flush_enabled": False, "dump_enabled": False, "watch_enabled": False},
        ),
        ({"prefix_delimiter": ":"}, {"detail_enabled": True}),
        ({"prefix_delimiter": "\udce9"}, {"detail_enabled": True, "prefix_delimiter": b"\xe9"}),
        (
            {"watcher_logbuf_size": 1, "worker_logbuf_size": 2},
            {"watcher_logbuf_size": 1024, "worker_logbuf_size": 2048},
        ),
        ({"enable_largepages": True}, {"hugepages": True}),
    ],
)
def test_what_the_engine_is_told(options, told):
    assert engine_options(Settings(**options)) == DEFAULTS | told


def test_the_engine_is_told_who_may_use_it():
    assert engine_options(Settings(), [(b"a", b"b")])["users"] == [(b"a", b"b")]


def test_the_engine_is_told_what_it_knows(monkeypatch):
    told: dict[str, object] = {}
    module = type("Module", (), {"Engine": lambda **options: told.update(options)})
    monkeypatch.setitem(sys.modules, "cachecore_ext.engine", module)
    create_engine(Settings(), memory_fd=5)
    assert told == DEFAULTS | {"memory_fd": 5}


def test_a_file_of_users_that_is_missing():
    refusal = refused(port=0, auth_file="/no/where")
    assert refusal.exit_status == 1
    assert str(refusal).startswith("Could not open authfile [/no/where] for reading")


# What may change while it runs


def test_reload_reads_the_users_again(engine, tmp_path):
    file = tmp_path / "users"
    file.write_text("a:b\n")
    with Server(port=0, auth_file=str(file)) as server:
        server.reload()
        assert engine.users == [(b"a", b"b")]
        file.write_text("c:d\ne:f\n")
        server.reload()
        assert engine.users == [(b"c", b"d"), (b"e", b"f")]
        file.write_text("nonsense\n")
        with pytest.raises(StartError, match="malformed"):
            server.reload()
        assert engine.users == [(b"c", b"d"), (b"e", b"f")]
    with pytest.raises(RuntimeError, match="not running"):
        server.reload()


def test_reload_without_a_file_changes_nothing(engine):
    with Server(port=0) as server:
        server.reload()
    assert engine.users is None


@pytest.mark.parametrize("graceful", [False, True])
def test_a_client_may_end_it_from_a_thread_that_the_end_waits_for(engine, monkeypatch, graceful):
    saved: list[bool] = []
    stop = Server.stop

    def stop_and_tell(server: Server, *, save: bool = False) -> None:
        stop(server, save=save)
        saved.append(save)

    monkeypatch.setattr(Server, "stop", stop_and_tell)
    monkeypatch.setattr(engine, "reset_counters", lambda: server.request_shutdown(graceful))
    server = Server(port=0).start()
    engine.requests.put(type("Request", (), {"token": 1, "line": b"stats reset"})())
    server.wait()
    for thread in threading.enumerate():
        if thread.name == "cachecore-shutdown":
            thread.join()
    assert saved == [graceful]
    assert server.addresses == []


def test_who_starts_it_may_decide_how_it_ends(engine):
    asked: list[bool] = []
    with Server(port=0) as server:
        server.on_shutdown = asked.append
        server.request_shutdown(True)
        assert len(server.addresses) == 2
    assert asked == [True]


# With the engine itself


def ask(address: tuple[str, int], request: bytes, end: bytes) -> bytes:
    with socket.create_connection(address, timeout=10) as client:
        client.sendall(request)
        reply = b""
        while not reply.endswith(end):
            received = client.recv(65536)
            assert received, reply
            reply += received
        return reply


def test_clients_are_served_on_every_address():
    with Server(port=0, threads=2) as server:
        for address in server.addresses:
            assert ask(address, b"version\r\n", b"\n") == b"VERSION 1.6.45\r\n"


def test_the_statistics_are_the_same_from_both_sides():
    with Server(port=0, threads=2) as server:
        server.clock.freeze()
        ask(server.address, b"set a 0 0 1\r\nb\r\nget a b\r\n", b"\r\nEND\r\n")
        reply = ask(server.address, b"stats\r\n", b"\r\nEND\r\n")
        wire = dict(line.split(" ")[1:] for line in reply.decode().split("\r\n") if line.startswith("STAT "))
        found = server.stats()
    assert list(found) == list(wire)
    for name in ("cmd_get", "get_hits", "get_misses", "cmd_set", "curr_items", "bytes", "uptime", "time"):
        assert str(found[name]) == wire[name], name
    assert (found["cmd_get"], found["get_hits"], found["get_misses"], found["curr_items"]) == (2, 1, 1, 1)


def test_what_an_answer_may_be(monkeypatch):
    """Bytes, none of them, or None for a closed connection; earlier replies and later commands are not lost."""
    answers = {b"stats one": b"ONE\r\n", b"slabs two noreply": b"", b"shutdown": None}
    monkeypatch.setattr(Admin, "answer", lambda _, line: answers[line])
    with Server(port=0, threads=1) as server, socket.create_connection(server.address, timeout=10) as client:
        client.sendall(b"mn\r\nstats one\r\nmn\r\nslabs two noreply\r\nmn\r\nshutdown\r\nmn\r\n")
        with client.makefile("rb") as replies:
            assert replies.read() == b"MN\r\nONE\r\nMN\r\nMN\r\n"


def test_flush_all_can_be_forbidden():
    with Server(port=0, threads=1, disable_flush_all=True) as server:
        request = b"set a 0 0 1\r\nb\r\nflush_all\r\nflush_all x\r\nflush_all noreply\r\nget a\r\n"
        assert ask(server.address, request, b"END\r\n") == (
            b"STORED\r\n" + b"CLIENT_ERROR flush_all not allowed\r\n" * 2 + b"VALUE a 0 1\r\nb\r\nEND\r\n"
        )
        assert server.stats()["cmd_flush"] == 3


def test_every_list_is_answered():
    with Server(port=0, threads=2) as server:
        assert b"STAT maxbytes 67108864\r\n" in ask(server.address, b"stats settings\r\n", b"\r\nEND\r\n")
        items = ask(server.address, b"set a 0 0 1\r\nb\r\nstats items\r\n", b"\r\nEND\r\n")
        assert b":number 1\r\n" in items
        assert b"STAT active_slabs 1\r\n" in ask(server.address, b"stats slabs\r\n", b"\r\nEND\r\n")
        assert ask(server.address, b"stats reset\r\n", b"\n") == b"RESET\r\n"
        assert ask(server.address, b"stats r\r\n", b"\n") == b"ERROR\r\n"
        assert server.stats()["cmd_set"] == 0


def run_script(script: str, *words: str) -> bytes:
    """What a Python process of its own prints."""
    return subprocess.run([sys.executable, "-c", script, *words], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout


def test_a_server_that_nobody_stops_ends_with_the_interpreter(tmp_path):
    script = "import sys, cachecore; cachecore.Server(unix_socket=sys.argv[1], threads=2).start()"
    assert run_script(script, str(tmp_path / "socket")) == b""
    assert list(tmp_path.iterdir()) == []


def test_after_preload_nothing_needs_python_s_files():
    script = """if True:
        import sys
        from cachecore import Server
        from cachecore.server import preload
        preload()
        sys.meta_path.clear()
        with Server(port=0, listen="localhost") as server:
            print(server.stats()["version"])
    """
    assert run_script(script) == b"1.6.45\n"


def test_stats_need_no_file_once_it_serves():
    """When clients have taken every descriptor, ``stats`` is what the operator looks at."""
    script = """if True:
        import socket, sys
        from cachecore import Server
        with Server(port=0) as server, socket.create_connection(server.address) as client:
            sys.meta_path.clear()
            client.settimeout(10)
            client.sendall(b"stats\\r\\n")
            print(b"STAT version 1.6.45\\r\\n" in client.recv(10_000))
    """
    assert run_script(script) == b"True\n"


def test_without_descriptors_clients_wait_and_are_served_later():
    script = """if True:
        import os, resource, socket, threading, time
        from cachecore import Server
        def listening(server):
            return [server.stats()[name] for name in ("curr_connections", "accepting_conns", "listen_disabled_num")]
        with Server(port=0, threads=1) as server:
            clients = [socket.socket() for _ in range(6)]
            with socket.create_connection(server.address) as first:
                first.sendall(b"stats items\\r\\n")
                assert first.recv(100) == b"END\\r\\n"
                clients[0].connect(server.address)
                clients[0].sendall(b"mn\\r\\n")
                assert clients[0].recv(100) == b"MN\\r\\n"
                hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
                resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))), hard))
                for client in clients[1:]:
                    client.settimeout(10)
                    client.connect(server.address)
                while listening(server)[1] == 1:
                    pass
                assert listening(server)[2] == 1
                acceptor = next(thread for thread in threading.enumerate() if thread.name == "cachecore-acceptor")
                clock = time.pthread_getcpuclockid(acceptor.ident)
                before = time.clock_gettime(clock)
                while server.stats()["time_in_listen_disabled_us"] < 300_000:
                    pass
                print(time.clock_gettime(clock) - before < 0.05)  # it does not try without a pause
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            for client in clients[1:]:
                client.sendall(b"mn\\r\\n")
                assert client.recv(100) == b"MN\\r\\n"
            assert listening(server) == [6, 1, 1], listening(server)
    """
    assert run_script(script) == b"True\n"


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_200_starts_leave_nothing_behind():
    def once() -> None:
        with Server(port=0, threads=2) as server:
            assert ask(server.address, b"set a 0 0 1\r\nb\r\n", b"\n") == b"STORED\r\n"

    for _ in range(20):  # until the allocator has what it keeps
        once()
    with nothing_left():
        before = resident()
        for _ in range(200):
            once()
        assert resident() - before < 2 << 20
