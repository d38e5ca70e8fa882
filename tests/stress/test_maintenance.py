"""Pages move, limits change, items expire and are flushed, while threads work: nothing is torn, lost or mixed up.

``python -m tests.stress.maintenance --seconds 300`` does the same for longer.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from cachecore import Server
from tests.stress import maintenance, serving
from tests.stress.maintenance import KEEPING, KEEPING_CHAINED

SECONDS = 2.0


@pytest.mark.parametrize("options", [{}, {"chunk_max": 16 * 1024}], ids=["", "short pieces"])
def test_under_eviction_nothing_is_torn(options):
    churn = maintenance.evicting(SECONDS, 1, **options)
    mover = churn.store.mover()
    assert mover["moved"] > 0
    assert mover["rescues"] > 0
    assert mover["chunk_rescues"] > 0


@pytest.mark.parametrize(
    ("loads", "options"),
    [(KEEPING, {}), (KEEPING_CHAINED, {"chunk_max": 16 * 1024})],
    ids=["small", "chained"],
)
def test_without_evictions_no_move_loses_an_item(loads, options):
    churn = maintenance.keeping(SECONDS, 2, loads, **options)
    assert churn.store.mover()["moved"] > 0
    assert sum(of["evicted"] for of in churn.store.lists().values()) == 0


def test_items_that_are_rewritten_are_counted_where_they_are():
    maintenance.rewriting(SECONDS, 5)


def test_what_is_held_does_not_move():
    churn = maintenance.holding(SECONDS, 6)
    assert churn.store.mover()["rescues"] > 0


def test_numbers_that_move_are_added_to_all_the_same():
    churn = maintenance.counting(SECONDS, 3)
    assert churn.store.mover()["rescues"] > 0


def test_clients_notice_nothing():
    clients, counters = serving.serve(SECONDS, 4)
    assert [client.wrong for client in clients] == [[], [], [], []]
    assert counters["slabs_moved"] > 0
    assert counters["lru_crawler_starts"] > 0


def seconds_on_a_core(thread: threading.Thread) -> float:
    return int(Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text().split()[0]) / 1e9


def maintenance_of(server: Server) -> threading.Thread:
    return next(thread for thread in server._threads if thread.name == "cachecore-maintenance")


def test_sets_that_find_no_memory_do_not_keep_the_maintenance_busy():
    """Each of them asks for a page, but nobody has one to give."""
    with Server(port=0, threads=1, memory_limit=8, disable_evictions=True) as server:
        client = serving.Client(server.address, 1, 10**9, 3000, 3001)
        client.run(time.monotonic() + 1)
        before, begin = seconds_on_a_core(maintenance_of(server)), time.monotonic()
        client.run(begin + 1)
        assert seconds_on_a_core(maintenance_of(server)) - before < 0.1 * (time.monotonic() - begin)
