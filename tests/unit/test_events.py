"""The event logs: order, wrapping, what is dropped, two threads, and the lines of maintenance."""

from __future__ import annotations

import random
import re
import threading

import pytest

from cachecore_ext.probe import Events

SIZE = 4096


def opened(size: int = SIZE) -> Events:
    events = Events(size)
    assert events.open()
    return events


def keys(lines: list[bytes]) -> list[bytes]:
    return [re.search(rb" key=(\S+) ", line)[1] for line in lines]


def gids(lines: list[bytes]) -> list[int]:
    return [int(re.search(rb" gid=(\d+) ", line)[1]) for line in lines]


def test_an_unopened_log_drops():
    events = Events(SIZE)
    events.got(b"a")
    assert events.take() == []
    assert (events.written, events.dropped) == (0, 1)


def test_a_full_log_drops_until_something_is_taken_out():
    events = opened()
    events.got(b"a", 1000)
    assert events.written + events.dropped == 1000
    assert SIZE * 0.9 < events.written * 64 <= SIZE
    taken = events.take()
    assert len(taken) == events.written
    assert events.take() == []
    events.got(b"b")
    assert keys(events.take()) == [b"b"]


@pytest.mark.parametrize("size", [1024, 1032, 4096, 5000])
def test_records_wrap(size):
    """Whatever their lengths, and wherever the end falls, they come out whole and in order."""
    chosen, events = random.Random(size), opened(size)
    waiting: list[bytes] = []
    for number in range(5000):
        key = b"%d" % number + b"x" * chosen.randrange(240)
        written = events.written
        events.got(key)
        if events.written > written:
            waiting.append(key)
        if chosen.random() < 200 / size:
            assert keys(events.take()) == waiting
            waiting = []
    assert events.dropped > 0


def test_one_records_while_another_takes_out():
    events, number, taken = opened(), 200_000, []
    producer = threading.Thread(target=events.got, args=(b"key", number))
    producer.start()
    while producer.is_alive():
        taken += events.take()
    producer.join()
    taken += events.take()
    assert len(taken) == events.written
    assert events.written + events.dropped == number
    assert gids(taken) == list(range(1, len(taken) + 1))
    line = rb"ts=\d+\.\d+ gid=\d+ type=item_get key=key status=found clsid=1 cfd=5 size=7\n"
    assert all(re.fullmatch(line, found) for found in taken)


def test_a_page_that_moves():
    events = opened()
    events.slab_move(3, 17, True)
    events.slab_move(0, 63, False)
    assert [line.split(b" ", 2)[2] for line in events.take()] == [
        b"type=slab_move src=3 dst=17 state=ok\n",
        b"type=slab_move src=0 dst=63 state=fail\n",
    ]


def test_a_run_of_the_crawler():
    events = opened()
    events.lru_crawler(5, 1, 2, 3, 4, 5, 1 << 40, 7)
    (line,) = events.take()
    assert line.split(b" ", 2)[2] == (
        b"type=lru_crawler crawler=5 lru=all low_mark=4 next_reclaims=5 since_run=1 next_run=2 elapsed=3 "
        b"examined=1099511627776 reclaimed=7\n"
    )
