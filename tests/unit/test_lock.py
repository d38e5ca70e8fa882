"""The lock in a word."""

from __future__ import annotations

import threading

import pytest

from cachecore_ext.probe import Lock


def test_it_is_held_once():
    lock = Lock()
    assert lock.word == 0
    assert lock.try_acquire()
    assert lock.word == 1
    assert not lock.try_acquire()
    lock.release()
    assert lock.try_acquire()
    lock.release()
    assert lock.word == 0


def test_who_waits_gets_it():
    lock = Lock()
    lock.acquire()
    got = threading.Event()

    def wait():
        lock.acquire()
        got.set()
        lock.release()

    threads = [threading.Thread(target=wait) for _ in range(4)]
    for thread in threads:
        thread.start()
    while lock.word != 2:  # until one of them sleeps on it
        assert not got.is_set()
    lock.release()
    for thread in threads:
        thread.join()
    assert got.is_set()
    assert lock.try_acquire()


@pytest.mark.parametrize("threads", [2, 5])
def test_no_two_are_inside(threads):
    lock, turns = Lock(), 1_000_000
    workers = [threading.Thread(target=lock.count, args=(turns,)) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert lock.count(0) == threads * turns
    assert lock.word == 0
