"""The bench: its load generator counts right and notices every kind of wrong reply."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import itertools
import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from bench import build, callgrind, plots, quiet, report, wire, workload
from bench.errors import BenchError
from bench.measure import Plan, Runner, Sample, pinned, preload, quantile
from bench.servers import CPUS, KINDS, Launch, Server

VALUE = 32
STALL = 0.5  # seconds


@pytest.fixture(scope="session", autouse=True)
def compiled() -> None:
    build.ensure()


@pytest.fixture
def null_server() -> Iterator[Callable[[wire.Wire], tuple[str, int]]]:
    """Start the server that does no work, in this process."""
    from bench.nullserver import NullServer, NullWorker

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def start(plan: wire.Wire) -> tuple[str, int]:
            worker = NullWorker(NullServer(plan))
            threading.Thread(target=worker.run, daemon=True).start()

            def accept() -> None:
                while True:
                    try:
                        client, _ = listener.accept()
                    except OSError:
                        return
                    client.setblocking(False)
                    worker.add(client.detach())

            threading.Thread(target=accept, daemon=True).start()
            return listener.getsockname()

        yield start
        listener.shutdown(socket.SHUT_RDWR)


def generator(plan: wire.Wire, address, **options):
    from bench.loadgen import LoadGenerator

    settings = {"keys": 1000, "connections": 3, "pipeline": 16, "check_keys": False, "stall": STALL}
    return LoadGenerator(plan, address, **{**settings, **options})


@pytest.mark.parametrize("pipeline", [1, 7, 100])
@pytest.mark.parametrize("value", [32, 5000, 500_000])
@pytest.mark.parametrize("kind", wire.KINDS)
def test_every_request_is_answered(null_server, kind, value, pipeline):
    plan = wire.make(kind, value, 10)
    requests = 400 if value < 500_000 else 20
    with generator(plan, null_server(plan), pipeline=pipeline) as load:
        for _ in range(2):
            counts = load.run(requests=requests)
            assert counts["requests"] == requests
            assert counts["keys"] == requests * (10 if kind == "multiget" else 1)
            assert counts["misses"] == counts["errors"] == 0
            assert sum(count for _, count in counts["histogram"]) == counts["batches"]
    reads = {"set": 0, "mix": None}.get(kind, counts["keys"])
    assert counts["hits"] == reads if reads is not None else 0 < counts["hits"] < requests


def test_a_run_for_a_time_ends_then(null_server):
    plan = wire.make("get", VALUE)
    with generator(plan, null_server(plan)) as load:
        counts = load.run(seconds=0.1)
    assert 0.1 <= counts["elapsed"] < 5
    assert counts["hits"] == counts["requests"] > 0


def tampered(plan: wire.Wire, reply: bytes) -> wire.Wire:
    """The null server's plan with another reply to reads."""
    return dataclasses.replace(plan, read=dataclasses.replace(plan.read, reply=reply))


GOOD = wire.make("get", VALUE).read.reply


@pytest.mark.parametrize(
    ("reply", "complaint"),
    [
        (b"SERVER_ERROR out of memory\r\n", "unexpected beginning"),
        (b"X" + GOOD[1:], "unexpected beginning"),
        (GOOD[:-2] + b"\n\r", "unexpected beginning"),
        (GOOD[:-1] + b"x", "no CRLF"),
        (GOOD[:-7] + b"..END\r\n", "no CRLF"),
        (GOOD.replace(b"....", b"...", 1), "no CRLF"),
        (GOOD.replace(b"....", b".....", 1), "no CRLF"),
        (GOOD[:-5], "no reply for too long"),
        (GOOD + b"x", "after the last expected one"),
        (GOOD[:-5] * 2 + b"END\r\n", "not one answer for each key"),
    ],
)
def test_a_wrong_reply_fails_the_run(null_server, reply, complaint):
    from bench.loadgen import LoadError

    plan = wire.make("get", VALUE)
    with (
        generator(plan, null_server(tampered(plan, reply)), pipeline=1) as load,
        pytest.raises(LoadError, match=complaint),
    ):
        load.run(requests=1000)


@contextlib.contextmanager
def scripted(wrong_at: int, spoil: Callable[[bytes, bytes], bytes], *, piece: int = 65536) -> Iterator[tuple[str, int]]:
    """A memcached that answers one client's gets rightly, but the ``wrong_at``-th as ``spoil`` makes it."""

    def serve() -> None:
        client, _ = listener.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with client, client.makefile("rb") as requests, contextlib.suppress(OSError):
            for number in itertools.count(1):
                line = requests.readline()
                if not line:
                    return
                key = line.split()[1]
                reply = b"VALUE %s 0 %d\r\n%s\r\nEND\r\n" % (key, VALUE, key + b"." * (VALUE - len(key)))
                if number == wrong_at:
                    reply = spoil(reply, key)
                for at in range(0, len(reply), piece):
                    client.sendall(reply[at : at + piece])

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()
        thread.join()


def run_scripted(wrong_at: int, spoil: Callable[[bytes, bytes], bytes], piece: int = 65536) -> dict:
    plan = wire.make("get", VALUE)
    with (
        scripted(wrong_at, spoil, piece=piece) as address,
        generator(plan, address, connections=1, check_keys=True) as load,
    ):
        return load.run(requests=200)


def other_key(key: bytes) -> bytes:
    return key[:-1] + (b"1" if key.endswith(b"0") else b"0")


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 1000])
def test_replies_in_pieces_are_put_together(piece):
    counts = run_scripted(0, lambda reply, key: reply, piece)
    assert (counts["hits"], counts["misses"]) == (200, 0)


@pytest.mark.parametrize("piece", [3, 1000])
@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda reply, key: reply.replace(key, other_key(key)), "another key"),
        (lambda reply, key: reply.replace(key, other_key(key), 1), "another key"),
        (lambda reply, key: reply[::-1].replace(key[::-1], other_key(key)[::-1], 1)[::-1], "another key"),
        (lambda reply, key: b"ERROR\r\n", "unexpected beginning"),
        (lambda reply, key: reply.replace(b".\r\nEND", b"\r\nEND"), "no CRLF|unexpected beginning"),
        (lambda reply, key: reply + reply, "another key|after the last"),
        (lambda reply, key: reply[:-5], "not one answer|unexpected|too long|another key"),
    ],
)
def test_one_wrong_reply_among_many_fails_the_run(spoil, complaint, piece):
    from bench.loadgen import LoadError

    with pytest.raises(LoadError, match=complaint):
        run_scripted(150, spoil, piece)


def test_a_miss_is_counted():
    counts = run_scripted(150, lambda reply, key: b"END\r\n")
    assert (counts["hits"], counts["misses"]) == (199, 1)


def test_a_set_without_memory_is_counted(null_server):
    plan = wire.make("set", VALUE)
    refusing = dataclasses.replace(plan, write=dataclasses.replace(plan.write, reply=wire.NO_MEMORY))
    with generator(plan, null_server(refusing)) as load:
        counts = load.run(requests=400)
    assert (counts["requests"], counts["errors"]) == (400, 400)


def test_connections_do_not_draw_the_same_keys():
    seen: list[list[bytes]] = []

    def serve(listener: socket.socket) -> None:
        clients = [listener.accept()[0] for _ in range(2)]
        for client in clients:
            seen.append(client.recv(65536).split(b"\r\n")[:-1])
        for client in clients:
            client.close()

    from bench.loadgen import LoadError

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        plan = wire.make("get", VALUE)
        with (
            generator(plan, listener.getsockname(), connections=2, keys=10**6) as load,
            pytest.raises(LoadError, match="closed"),
        ):
            load.run(requests=32)
        thread.join()
    assert len(seen[0]) == len(seen[1]) == 16
    assert not set(seen[0]) & set(seen[1])


@pytest.mark.parametrize("zipf", [0.0, 0.99])
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (name, kind)
        for name in ("memcached", "redis", "redis-io")
        for kind in wire.KINDS
        if workload.Workload("test", kind).runs_on(KINDS[name].protocol)
    ],
)
def test_real_servers_hit_after_a_preload(name, kind, zipf):
    work = workload.Workload("test", kind, keys=500, keys_per_request=20, zipf=zipf)
    protocol = KINDS[name].protocol
    with Server(KINDS[name], Launch(work, work.memory)) as server:
        plan = work.wire(protocol)
        with generator(plan, server.address, keys=500, check_keys=True, zipf=zipf) as load:
            before = load.run(requests=300)
        with generator(wire.preload(VALUE, protocol), server.address, keys=500, sequential=True) as load:
            assert load.run(requests=500)["keys"] == 500
        with generator(plan, server.address, keys=500, check_keys=True, zipf=zipf) as load:
            after = load.run(requests=300)
    if kind not in ("set", "mix"):
        assert (before["hits"], before["misses"]) == (0, before["keys"])
        assert (after["hits"], after["misses"]) == (after["keys"], 0)
    assert after["misses"] == 0


def test_a_run_over_unix_sockets():
    work = workload.Workload("tiny", "mix", keys=500, connections=4, pipeline=4)
    lines: list[str] = []
    plan = Plan(servers=("null",), rounds=2, seconds=0.05, warm_up=0.01, unix=True)
    results = Runner(plan, lines.append).run([work])
    assert [sample.round for sample in results.samples] == [0, 1]
    assert all(sample.cpu_us > 0 for sample in results.samples)
    assert [line.split()[0] for line in lines] == ["1/2", "2/2"]
    result = report.as_json(results, {"tiny": work.title}, {"rounds:": 2})
    assert "| tiny | null |" in report.markdown(json.loads(json.dumps(result)))


def test_a_full_cache_is_filled_with_what_the_workload_says():
    work = workload.Workload("full", "set", keys=10**6, filled=700, limit=64)
    with Server(KINDS["memcached"], Launch(work, work.memory)) as server:
        preload(server, work)
        with server.connect(10) as client:
            client.sendall(b"stats\r\n")
            answer = client.recv(65536).decode()
    assert "STAT curr_items 700\r\n" in answer
    assert f"STAT limit_maxbytes {64 << 20}\r\n" in answer


@pytest.mark.parametrize(
    ("name", "threads", "expected"),
    [("redis", 1, "1"), ("redis", 2, "1"), ("redis-io", 3, "3"), ("redis-io", 1, str(max(2, min(4, len(CPUS)))))],
)
def test_redis_says_the_io_threads_it_was_given(name, threads, expected):
    work = workload.Workload("test", "get")
    with (
        Server(KINDS[name], Launch(work, 77, threads=threads)) as server,
        server.connect(10) as client,
        client.makefile("rb") as answers,
    ):
        said = {}
        for setting in (b"io-threads", b"io-threads-do-reads", b"maxmemory", b"maxmemory-policy", b"appendonly"):
            client.sendall(b"CONFIG GET %s\r\n" % setting)
            said[setting.decode()] = [answers.readline() for _ in range(5)][-1].decode().strip()
    reads = "yes" if name == "redis-io" else "no"
    assert said == {
        "io-threads": expected,
        "io-threads-do-reads": reads,
        "maxmemory": str(77 << 20),
        "maxmemory-policy": "allkeys-lru",
        "appendonly": "no",
    }


def test_a_server_with_more_threads_than_asked_for_has_all_cores():
    work = workload.Workload("test", "get")
    one = frozenset([min(CPUS)])
    cores = {}
    for name in ("redis", "redis-io"):
        with pinned(one), Server(KINDS[name], Launch(work, work.memory, cpus=one)) as server:
            cores[name] = os.sched_getaffinity(server.pid)
    assert cores == {"redis": one, "redis-io": CPUS}


def test_turns_wait_for_who_has_the_lock(tmp_path, monkeypatch):
    path = tmp_path / "lock"
    monkeypatch.setenv("BENCH_LOCK", str(path))
    monkeypatch.setattr(quiet, "PAUSE", 0.0)
    with quiet.Turns() as turns, path.open() as other:
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        turns.offer()
        began = turns.since
        monkeypatch.setattr(quiet, "LONGEST", -1.0)
        turns.offer()
        assert turns.since > began
    with path.open() as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_server_that_does_not_start_is_said(tmp_path):
    work = workload.Workload("test", "get")
    launch = Launch(work, work.memory, binaries={"memcached": str(tmp_path / "missing")})
    with pytest.raises(BenchError, match="No such file"), Server(KINDS["memcached"], launch):
        pass
    launch = Launch(work, work.memory, binaries={"memcached": sys.executable})
    with pytest.raises(BenchError, match="ended with status"), Server(KINDS["memcached"], launch):
        pass


def test_the_workload_files_are_sound():
    known = workload.load_all()
    everything = {work.name for work in workload.select(known, [], short=False)}
    short = {work.name for work in workload.select(known, [], short=True)}
    assert {"get-p16-32", "set-p16-32", "mix-p16-32", "metaget-p16-32", "multiget100-32"} <= short < everything
    assert set(plots.OVERVIEW) <= everything
    assert set(callgrind.SHORT) < set(callgrind.WORKLOADS) <= everything
    titles = [work.title for work in known]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[a]\nvalue = 32\n", "no kind"),
        ("[a]\nkind = 'get'\ncolour = 1\n", "unknown setting colour"),
        ("[a]\nkind = 'get'\npipeline = 101\n", "pipeline = 101"),
        ("[a]\nkind = 'got'\n", "known are get"),
        ("[a\n", "a.toml"),
    ],
)
def test_a_wrong_workload_file_is_said(tmp_path, text, complaint):
    path = tmp_path / "a.toml"
    path.write_text(text)
    with pytest.raises(BenchError, match=complaint):
        workload.load_file(path)


@pytest.mark.parametrize("option", ["--memcached", "--redis"])
def test_a_server_that_is_named_has_to_be_there(option):
    from bench.throughput import run

    with pytest.raises(BenchError, match="there is no program /nonexistent"):
        run([option, "/nonexistent", "--no-plot"])


def test_ratios_are_taken_round_by_round():
    def sample(server: str, number: int, cpu_us: float) -> Sample:
        counts = {"operations": 1, "requests": 1, "hits": 1, "misses": 0, "errors": 0}
        names = ("elapsed", "user_us", "system_us", "load_us", "p50_us", "p99_us", "p999_us")
        figures = dict.fromkeys(names, 1.0)
        return Sample("w", server, number, cpu_us=cpu_us, **counts, **figures)

    samples = [sample("memcached", n, cpu) for n, cpu in enumerate([2.0, 4.0, 6.0])]
    samples += [sample("cachecore", n, cpu) for n, cpu in enumerate([1.0, 4.0, 1.0])]
    cachecore, memcached = report.summarize(samples)
    assert memcached.times_memcached == 1
    assert cachecore.times_memcached == 2
    assert cachecore.cpu_us == 1
    assert cachecore.share_of_null is None


def test_a_quantile_is_the_bound_of_its_bucket():
    histogram = [(1.0, 50), (2.0, 49), (9.0, 1)]
    assert [quantile(histogram, share) for share in (0.5, 0.99, 0.999)] == [1.0, 2.0, 9.0]
