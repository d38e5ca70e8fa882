"""The hit ratios: traces are what they say, policies do what they are known to do, runs count right."""

from __future__ import annotations

import collections
import itertools
import random
import socket
import threading
import time
from functools import cache

import pytest

from bench import build, hits
from bench.errors import BenchError

build.ensure()

from bench import policies, replay, traces  # noqa: E402
from cachecore import Server  # noqa: E402
from cachecore_ext.probe import Store  # noqa: E402

ONLINE = ("LRU", "SIEVE", "S3-FIFO", "W-TinyLFU")


def generate(**settings) -> traces.Trace:
    defaults = {"requests": 100_000, "seed": 7, "keys": 1000, "skew": 1.0, "sizes": (100, 100)}
    return traces.generate(**{**defaults, **settings})


def trace_of(keys, sizes=None, ttls=None, rate=1) -> traces.Trace:
    """Without sizes, items of one byte each."""
    return traces.Trace(keys, sizes or [1] * len(keys), ttls or [0] * len(keys), rate=rate)


def missed(trace, policy, capacity, **options) -> int:
    return sum(policies.misses(trace, policy, capacity, overhead=0, **options))


def numbers(trace) -> tuple[list[int], list[int], list[int]]:
    return list(trace.keys), list(trace.sizes), list(trace.ttls)


# ---- traces


def test_a_trace_is_its_seed():
    settings = {"sizes": (10, 1000), "ttl_percent": 50, "ttls": (1, 9), "scans": 0.2, "scan_length": 10}
    assert numbers(generate(**settings)) == numbers(generate(**settings))
    assert numbers(generate(**settings)) != numbers(generate(**settings, seed=8))


@pytest.mark.parametrize("skew", [0.6, 0.9, 1.0, 1.2])
def test_keys_follow_zipf(skew):
    trace = generate(skew=skew, requests=400_000)
    counts = collections.Counter(trace.keys)
    total = sum(rank**-skew for rank in range(1, 1001))
    for first, last in [(1, 1), (2, 2), (3, 10), (11, 100), (101, 1000)]:
        expected = 400_000 * sum(rank**-skew for rank in range(first, last + 1)) / total
        found = sum(counts[rank - 1] for rank in range(first, last + 1))
        assert abs(found - expected) < 5 * expected**0.5
    assert trace.ids == 1000


def test_a_scan_is_of_keys_that_come_once_and_in_a_row():
    trace = generate(scans=0.3, scan_length=50, requests=400_000)
    scanned = [key for key in trace.keys if key >= 1000]
    assert scanned == list(range(1000, 1000 + len(scanned)))
    assert trace.ids == 1000 + len(scanned)
    assert len(scanned) == pytest.approx(120_000, rel=0.05)
    runs = [len(list(run)) for of_scan, run in itertools.groupby(trace.keys, lambda key: key >= 1000) if of_scan]
    assert {run % 50 for run in runs[:-1]} == {0}


def test_sizes_are_log_uniform_and_belong_to_the_key():
    trace = generate(sizes=(16, 4096), skew=0.0, keys=20_000)
    of_key = dict(zip(trace.keys, trace.sizes, strict=True))
    assert [of_key[key] for key in trace.keys] == list(trace.sizes)
    assert min(of_key.values()) >= 16
    assert max(of_key.values()) <= 4096
    for limit, share in [(64, 0.25), (256, 0.5), (1024, 0.75)]:
        assert sum(size < limit for size in of_key.values()) / len(of_key) == pytest.approx(share, abs=0.02)


def test_so_many_keys_have_a_ttl():
    trace = generate(ttl_percent=40, ttls=(2, 20), skew=0.0, keys=20_000)
    of_key = dict(zip(trace.keys, trace.ttls, strict=True))
    assert [of_key[key] for key in trace.keys] == list(trace.ttls)
    ending = [ttl for ttl in of_key.values() if ttl]
    assert len(ending) / len(of_key) == pytest.approx(0.4, abs=0.02)
    assert (min(ending), max(ending)) == (2, 20)


def test_a_shift_has_other_keys_of_other_sizes():
    trace = generate(sizes=(10, 20), later_sizes=(100, 200), scans=0.1)
    zipf = [key < 2000 for key in trace.keys]
    for part, first, sizes in [(slice(0, 50_000), 0, range(10, 21)), (slice(50_000, None), 1000, range(100, 201))]:
        assert {k for k, z in zip(trace.keys[part], zipf[part], strict=True) if z} <= set(range(first, first + 1000))
        assert set(trace.sizes[part]) <= set(sizes)


def test_the_six_traces_are_made():
    for spec in hits.TRACES:
        trace = spec.make(1000, 8, 1)
        assert len(trace) == 1000
        assert trace.ids >= spec.settings["keys"] // 8


# ---- policies


def test_lru_by_hand():
    trace = trace_of([0, 1, 0, 2, 1, 0])
    assert policies.misses(trace, "LRU", 2, overhead=0, parts=6) == [1, 1, 0, 1, 1, 1]


def test_sieve_spares_what_was_visited_and_its_hand_stays():
    trace = trace_of([0, 1, 2, 0, 3, 4, 5, 0])
    assert missed(trace, "LRU", 3) == 7
    assert policies.misses(trace, "SIEVE", 3, overhead=0, parts=8) == [1, 1, 1, 0, 1, 1, 1, 0]
    # 0 is spared once; then the hand has gone by and comes to it last, after 3, 4 and 5.
    assert missed(trace_of([0, 1, 2, 0, 3, 4, 5, 6, 0]), "SIEVE", 3) == 7


def test_s3fifo_keeps_what_was_asked_for_twice_more_and_what_comes_back():
    once = list(range(1, 31))
    assert missed(trace_of([0, 0, *once, 0]), "S3-FIFO", 10) == 32
    assert missed(trace_of([0, 0, 0, *once, 0]), "S3-FIFO", 10) == 31
    # 0 leaves, is remembered as a ghost, and goes straight to the main list.
    assert missed(trace_of([0, *range(1, 11), 0, *range(11, 31), 0]), "S3-FIFO", 10) == 32
    # ... but not for longer than the main list's bytes.
    assert missed(trace_of([0, *range(1, 25), 0, *range(25, 45), 0]), "S3-FIFO", 10) == 47


def test_tinylfu_does_not_let_a_scan_in():
    often = list(range(90)) * 6
    trace = trace_of([*often, *range(100, 400), *range(90)])
    assert missed(trace, "LRU", 100) == 90 + 300 + 90
    assert missed(trace, "W-TinyLFU", 100) < 90 + 300 + 10


def test_belady_by_hand():
    trace = trace_of([0, 1, 2, 0, 1, 2])
    assert policies.misses(trace, "Belady", 2, overhead=0, parts=6) == [1, 1, 1, 0, 0, 1]
    # The large one goes first, for it is used last; the others fit beside each other.
    trace = trace_of([0, 1, 2, 1, 2, 0], [3, 1, 1, 1, 1, 3])
    assert policies.misses(trace, "Belady", 3, overhead=0, parts=6) == [1, 1, 1, 0, 0, 1]


def least_misses(keys: tuple[int, ...], capacity: int) -> int:
    """By trying everything."""

    @cache
    def least(at: int, kept: frozenset[int]) -> int:
        if at == len(keys):
            return 0
        if keys[at] in kept:
            return least(at + 1, kept)
        there = kept | {keys[at]}
        if len(there) <= capacity:
            return 1 + least(at + 1, there)
        return 1 + min(least(at + 1, there - {gone}) for gone in there)

    return least(0, frozenset())


def test_nothing_misses_less_than_belady():
    draw = random.Random(3)
    for _ in range(100):
        keys = tuple(draw.choices(range(7), k=24))
        for capacity in (1, 2, 4):
            assert missed(trace_of(keys), "Belady", capacity) == least_misses(keys, capacity)


@pytest.mark.parametrize("policy", ONLINE)
def test_no_policy_is_better_than_belady(policy):
    for skew, scans in [(0.7, 0), (1.0, 0), (1.0, 0.3)]:
        trace = generate(skew=skew, scans=scans, scan_length=100, requests=50_000)
        for capacity in (1000, 10_000, 50_000):
            assert missed(trace, "Belady", capacity) <= missed(trace, policy, capacity)


def lru_model(trace, capacity: int, overhead: int) -> int:
    """LRU with sizes and TTLs, written another way."""
    kept: collections.OrderedDict[int, tuple[int, float]] = collections.OrderedDict()
    misses = 0
    for now, (key, size, ttl) in enumerate(zip(*numbers(trace), strict=True)):
        if key in kept and now < kept[key][1]:
            kept.move_to_end(key)
            continue
        misses += 1
        kept.pop(key, None)
        while sum(size for size, _ in kept.values()) + size + overhead > capacity:
            kept.popitem(last=False)
        kept[key] = size + overhead, now + ttl * trace.rate if ttl else float("inf")
    return misses


def test_lru_with_sizes_and_ttls_is_the_model():
    trace = generate(requests=5000, keys=300, sizes=(5, 300), ttl_percent=50, ttls=(1, 5), rate=200, skew=0.8)
    for capacity in (1000, 4000, 10_000):
        assert sum(policies.misses(trace, "LRU", capacity, overhead=20)) == lru_model(trace, capacity, 20)


@pytest.mark.parametrize("policy", policies.POLICIES)
def test_what_is_too_large_is_not_kept_and_what_fits_is(policy):
    assert missed(trace_of([0, 1, 0, 1], [200, 1, 200, 1]), policy, 100) == 3
    trace = generate(requests=20_000, sizes=(1, 50))
    assert missed(trace, policy, 1 << 30) == len(set(trace.keys))


@pytest.mark.parametrize("policy", policies.POLICIES)
def test_an_item_ends(policy):
    trace = trace_of([0, 0, 0, 0, 0], ttls=[1] * 5, rate=2)
    assert policies.misses(trace, policy, 200, overhead=0, parts=5) == [1, 0, 1, 0, 1]


def test_what_has_ended_makes_room_if_that_is_wanted():
    trace = trace_of([0, 1, 0, 2, 1], ttls=[1, 0, 1, 0, 0], rate=3)
    assert missed(trace, "LRU", 2) == 4
    assert missed(trace, "LRU", 2, reaps=True) == 3


def test_an_unknown_policy_is_refused():
    with pytest.raises(ValueError, match="known are LRU"):
        missed(trace_of([0]), "FIFO", 1)


# ---- runs


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_a_run_over_the_wire_counts_each_key_once(batch):
    keys = [*range(500), *range(300), 1000, *range(500)]
    sizes = [200_000 if key == 1000 else 10 + key for key in keys]
    with Server(port=0, memory_limit=64) as server:
        misses, late = replay.misses(trace_of(keys, sizes), server.address, batch=batch, parts=2)
        assert (sum(misses), late) == (501, 0)
        assert misses[1] == 1
        again, _ = replay.misses(trace_of(keys, sizes), server.address, batch=batch)
    assert again == [0]


def test_a_paced_run_takes_its_time():
    with Server(port=0, memory_limit=64) as server:
        begun = time.monotonic()
        misses, _ = replay.misses(trace_of([0, 0, 0], rate=20), server.address, paced=True, batch=1, parts=3)
        assert time.monotonic() - begun >= 2 / 20
    assert misses == [1, 0, 0]


@pytest.mark.parametrize(("reply", "complaint"), [(b"ERROR\r\n", "wrong reply"), (b"", "closed")])
def test_a_wrong_reply_ends_a_run(reply, complaint):
    def answer() -> None:
        client, _ = listener.accept()
        with client:
            client.recv(1000)
            client.sendall(reply)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(replay.ReplayError, match=complaint):
            replay.misses(trace_of([0]), listener.getsockname())
        thread.join()


def storage_misses(trace, **options) -> list[int]:
    store = Store(**options)
    store.freeze()
    found = store.replay(trace.keys, trace.sizes, trace.ttls, rate=trace.rate, parts=2)
    store.check()
    return found


def test_the_storage_alone_counts_the_same():
    keys = [*range(500), *range(300), *range(200)]
    assert storage_misses(trace_of(keys, [2000] * 1000, rate=10)) == [500, 0]
    assert storage_misses(trace_of([0, 0, 0, 0, 0, 0], ttls=[1] * 6, rate=2)) == [2, 1]


def test_the_storage_alone_evicts():
    trace = generate(keys=100_000, sizes=(256, 256))
    distinct = len(set(trace.keys))
    assert distinct < sum(storage_misses(trace, memory_limit=4 << 20)) < len(trace) / 2


# ---- the report


RESULT = {
    **{"requests": hits.REQUESTS, "memory": hits.MEMORY, "overhead": 37, "comparable": True},
    "traces": [
        {
            **{"title": "a trace", "bound": 0.3, "paced": True, "ratios": {"LRU": 0.5, "cachecore": 0.31}},
            "misses": {"LRU": [5] * hits.PARTS, "cachecore": [3] * hits.PARTS},
            "runs": {"cachecore": {"version": "7", "late_seconds": 3.0}},
        }
    ],
}


def test_the_report_says_what_is_amiss():
    text = hits.markdown(RESULT)
    assert text.startswith("## ")
    assert "| a trace | 0.3100 | 0.5000 | 0.300 |" in text
    assert "misses more than 0.300" in text
    assert "3.0 s late" in text
    text = hits.markdown({**RESULT, "comparable": False})
    assert "misses more" not in text
    assert "compared" in text


def test_the_warm_up_is_not_counted():
    requests = hits.PARTS * 10
    assert hits.ratio([10] * hits.WARM_UP + [5] * (hits.PARTS - hits.WARM_UP), requests) == 0.5


def test_a_plan_is_what_was_asked_for():
    plan = hits.make_plan(hits.parse(["--trace", "shift", "--servers", "cachecore", "--options", "cachecore=-o a=1,b"]))
    assert [spec.name for spec in plan.traces] == ["shift"]
    assert (plan.servers, plan.options) == (("cachecore",), {"cachecore": ["-o", "a=1,b"]})
    for wrong in (["--trace", "x"], ["--servers", "redis"], ["--options", "x"], ["--tune", "a=b"]):
        with pytest.raises(BenchError):
            hits.make_plan(hits.parse(wrong))
