"""The latency bench: its schedule, its histogram, what it charges to whom, and that it counts from the due time."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench import build, latency
from bench.measure import quantile
from bench.stalls import Episode, judge, merge, overlap, unite

VALUE = 32


@pytest.fixture(scope="session", autouse=True)
def compiled() -> None:
    build.ensure()


# ---- the schedule and the histogram


def test_a_schedule_is_fixed_by_its_seed():
    from bench.openloop import due_times

    assert due_times(1000.0, 1, 100) == due_times(1000.0, 1, 100)
    assert due_times(1000.0, 1, 100) != due_times(1000.0, 2, 100)


def test_a_schedule_is_a_poisson_process_of_the_rate():
    from bench.openloop import due_times

    due = due_times(2000.0, 5, 40_000)
    gaps = [later - earlier for earlier, later in itertools.pairwise(due)]
    assert min(gaps) >= 0
    mean = sum(gaps) / len(gaps)
    assert mean == pytest.approx(500_000, rel=0.03)
    # Of an exponential distribution the standard deviation is the mean, and a share of 1/e is longer than it.
    assert (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5 == pytest.approx(mean, rel=0.03)
    assert sum(gap > mean for gap in gaps) / len(gaps) == pytest.approx(0.368, abs=0.01)


@pytest.mark.parametrize("scale", [50, 10_000, 3_000_000, 10**12])
def test_percentiles_are_those_of_the_sorted_list_but_for_two_percent(scale):
    from bench.openloop import histogram_of

    chance = random.Random(scale)
    values = sorted(int(chance.expovariate(1) * scale) for _ in range(5000))
    histogram = histogram_of(values)
    assert sum(count for _, count in histogram) == len(values)
    for share in (0.001, 0.5, 0.99, 0.999, 1.0):
        exact = values[max(0, -int(-share * len(values) // 1) - 1)]
        assert exact < quantile(histogram, share) * 1000 <= exact * 1.02 + 1


# ---- whose fault


def test_stretches_are_united():
    assert unite([(5, 9), (1, 3), (3, 4), (8, 12)]) == [(1, 4), (5, 12)]
    assert overlap([(1, 4), (5, 12)], 3, 6) == 2
    assert overlap([(1, 4)], 4, 9) == 0


def test_slow_requests_that_overlap_are_one_episode():
    assert merge([(10, 20, 8, 20, 2), (0, 12, 5, 12, 1), (30, 31, 1, 31, 1)]) == [(0, 20, 8, 20, 3), (30, 31, 1, 31, 1)]


def test_what_the_machine_stood_still_is_taken_off():
    slow = [(100, 200, 90, 190, 3)]
    assert judge(slow, []) == [Episode(100, 200, 90, 0, 3)]
    assert judge(slow, [])[0].own == 90
    # Twice in the same moment is once, and what comes after the longest request has no part in it.
    assert judge(slow, [(110, 150), (120, 160), (195, 300)])[0].own == 40
    assert judge(slow, [(0, 1000)])[0].own == 0


# ---- the generator

Answer = Callable[[bytes], bytes]
Asked = tuple[tuple[str, int], list[bytes]]  # a server's address, and the lines that it got


def answer(request: bytes) -> bytes:
    """A memcached that has every key."""
    words = request.split()
    if words[0] == b"set":
        return b"STORED\r\n"
    return b"VALUE %s 0 %d\r\n%s\r\nEND\r\n" % (words[1], VALUE, words[1] + b"." * (VALUE - len(words[1])))


@contextlib.contextmanager
def scripted(reply: Answer = answer, *, held: int = 0, clients: int = 1) -> Iterator[Asked]:
    """A server that holds its first ``held`` replies back until all of those are asked for."""
    asked: list[bytes] = []

    def serve(client: socket.socket) -> None:
        waiting = b""
        with client, client.makefile("rb") as requests, contextlib.suppress(OSError):
            for line in requests:
                if line.startswith(b"set"):
                    requests.read(int(line.split()[4]) + 2)
                asked.append(line)
                waiting += reply(line)
                if len(asked) >= held:
                    client.sendall(waiting)
                    waiting = b""

    def accept() -> None:
        for _ in range(clients + 1):  # and that of the control line
            thread = threading.Thread(target=serve, args=(listener.accept()[0],))
            thread.start()
            threads.append(thread)

    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=accept)
        accepting.start()
        yield listener.getsockname(), asked
        accepting.join()
        for thread in threads:
            thread.join()


def generator(address, **options):
    from bench.openloop import OpenLoop

    settings = {"shapes": [(VALUE, 0, 1.0, 1.0)], "writes": 50, "keys": 1000, "connections": 1, "stall": 5.0}
    return OpenLoop(address, **{**settings, **options})


def test_what_was_due_while_the_server_stood_still_waited_for_it():
    from bench.openloop import due_times

    held = 40
    due = due_times(1000.0, 3, 300)
    with scripted(held=held) as (address, _), generator(address) as load:
        counts = load.run(seconds=0.2, rate=1000.0, seed=3)
    assert counts["requests"] == sum(count for _, count in counts["latency"]) == sum(at <= 200_000_000 for at in due)
    assert counts["most_us"] >= (due[held - 1] - due[0]) / 1000
    for waited in (0.005, 0.01, 0.02):
        waiting = sum(due[held - 1] - at >= waited * 1e9 for at in due[:held])
        assert sum(count for bound, count in counts["latency"] if bound >= waited * 1e6) >= waiting
    (_, _, longest, _, _), *_ = counts["slow"]
    assert longest >= due[held - 1] - due[0]


def test_more_than_a_connection_can_have_under_way_waits_for_its_turn():
    with scripted(held=128) as (address, asked), generator(address) as load:
        counts = load.run(seconds=0.1, rate=20_000.0)
    assert len(asked) == counts["requests"] > 1000


def test_a_closed_loop_asks_when_it_was_answered():
    with scripted(clients=3) as (address, asked), generator(address, connections=3) as load:
        counts = load.run(requests=100)
        assert counts["requests"] == len(asked) == 100
        assert load.run(requests=300, in_flight=16)["requests"] == 300
    assert 0 < counts["hits"] < 100
    assert counts["misses"] == counts["refused"] == 0


def test_new_keys_come_in_order_and_only_those_are_read():
    with scripted() as (address, asked), generator(address, first=700, fresh=True, set_keys=5) as load:
        load.run(requests=200)
        sets = [int(line.split()[1][4:]) for line in asked if line.startswith(b"set")]
        assert load.set_keys == 5 + len(sets)
    assert sets == list(range(705, 705 + len(sets)))
    below = 705
    for line in asked:
        key = int(line.split()[1][4:])
        assert 700 <= key < below + line.startswith(b"set")
        below = max(below, key + 1)


def test_sizes_shift_while_a_run_goes_on():
    shapes = [(50, 0, 1.0, 0.0), (3000, 5, 0.0, 1.0)]
    with scripted() as (address, asked), generator(address, shapes=shapes, writes=100) as load:
        load.run(seconds=0.2, rate=3000.0)
    sizes = [int(line.split()[4]) for line in asked]
    third = len(sizes) // 3
    assert sizes[:third].count(50) > 2 * sizes[:third].count(3000)
    assert sizes[-third:].count(3000) > 2 * sizes[-third:].count(50)
    assert {line.split()[3] for line in asked} == {b"0", b"5"}


def test_misses_and_refusals_are_counted():
    def reply(line: bytes) -> bytes:
        return b"END\r\n" if line.startswith(b"get") else b"SERVER_ERROR out of memory\r\n"

    with scripted(reply) as (address, _), generator(address) as load:
        counts = load.run(requests=100)
    assert counts["misses"] + counts["refused"] == 100
    assert counts["misses"] > 0 < counts["refused"]


@pytest.mark.parametrize(
    ("reply", "complaint"),
    [
        (lambda line: b"ERROR\r\n", "wrong reply"),
        (lambda line: answer(b"get key_99999999\r\n"), "wrong reply"),
        (lambda line: answer(line) * 2, "wrong reply|nothing was asked for"),
        (lambda line: b"x" * 500, "wrong reply"),
        (lambda line: b"VALUE", "no reply for too long"),
    ],
)
def test_a_wrong_reply_ends_the_run(reply, complaint):
    from bench.loadgen import LoadError

    with (
        scripted(reply) as (address, _),
        generator(address, writes=0, stall=0.2) as load,
        pytest.raises(LoadError, match=complaint),
    ):
        load.run(requests=100)


def test_the_control_line_is_sent_beside_the_schedule():
    with (
        scripted(lambda line: b"OK\r\n" if line == b"stir\r\n" else answer(line)) as (address, asked),
        generator(address, control=b"stir\r\n", control_seconds=0.02) as load,
    ):
        load.run(seconds=0.15, rate=1000.0)
    assert asked.count(b"stir\r\n") >= 2


# ---- the whole


def test_the_whole_measurement_with_the_server_that_does_no_work(tmp_path: Path):
    plan = replace(latency.make_plan(True, ("null",)), seconds=0.05)
    lines: list[str] = []
    result = latency.measure(True, lines.append, scenes=("steady", "moves", "eviction"), plan=plan)
    result = json.loads(json.dumps(result))
    assert [scene["name"] for scene in result["scenes"]] == ["steady", "moves", "eviction"]
    for scene in result["scenes"]:
        assert [row["share"] for row in scene["rows"]] == list(latency.SHARES)
        for row in scene["rows"]:
            assert 0 < row["p50_us"] <= row["p99_us"] <= row["p999_us"] <= row["most_us"] * 1.02 + 0.002
    text = latency.markdown(result)
    assert text.startswith("## Latency")
    assert "| 80 % | null |" in text


def test_the_rounds_of_a_share_are_put_together():
    def sample(most: float, own: float, pairs: list[tuple[float, int]], items: int) -> dict:
        figures = dict.fromkeys(("generator_still_ms", "core_still_ms", "waited_ms", "late_p99_us"), 1.0)
        return {
            "server": "null",
            "share": 10,
            "rate": 100.0,
            "requests": 10,
            "refused": 0,
            "latency": pairs,
            "own_stalls": 1,
            "most_us": most,
            "own_ms": own,
            "evidence": {"items": (items, items + 3)},
            **figures,
        }

    samples = [sample(50.0, 1.0, [(2.0, 10)], 0), sample(7.0, 2.0, [(1.0, 980), (2.0, 10)], 5)]
    (row,) = latency.make_rows(samples)
    assert (row["p50_us"], row["p99_us"], row["most_us"], row["own_ms"]) == (1.0, 2.0, 50.0, 2.0)
    assert (row["requests"], row["own_stalls"], row["evidence"]) == (20, 2, {"items": 6})
