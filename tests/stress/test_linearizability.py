"""What many connections see of few keys could have been seen one command after the other; and the search that says so.

``python -m tests.stress.linearizability --seconds 300`` does the same for longer, ``python -m tests.stress.faults``
shows that it sees what goes wrong without a lock.
"""

from __future__ import annotations

import pytest

from tests.stress import linearizability
from tests.support.linearizable import NEVER, UNKNOWN, Held, Operation, UndecidedError, find_fault


def op(request: int, reply: int, kind: str, argument: object = None, result: object = None) -> Operation:
    return Operation(request, reply, kind, argument, result)


ONE, TWO = Held(1, 11), Held(2, 12)
SET_ONE = op(0, 1, "set", 1, ONE)

IMPOSSIBLE = {
    "a stale read": [[SET_ONE, op(2, 3, "set", 2, TWO)], [op(4, 5, "get", None, ONE)]],
    "the new value, then the old one": [
        [SET_ONE, op(2, 9, "set", 2, TWO)],
        [op(3, 4, "get", None, TWO), op(5, 6, "get", None, ONE)],
    ],
    "two winners of add": [[op(0, 9, "add", 1, ONE)], [op(0, 9, "add", 2, TWO)]],
    "a lost incr": [
        [SET_ONE, op(2, 9, "incr", 1, Held(2, 12))],
        [op(2, 9, "incr", 1, Held(2, 13))],
    ],
    "a resurrection after delete": [[SET_ONE, op(2, 3, "delete", None, True), op(4, 5, "get", None, ONE)]],
    "two winners of a cas": [
        [SET_ONE, op(2, 9, "cas", (2, 11), Held(2, 12))],
        [op(2, 9, "cas", (3, 11), Held(3, 13))],
    ],
    "a cas that fails without a reason": [[SET_ONE, op(2, 3, "cas", (2, 11), "EXISTS")]],
    "a cas over an older number": [[SET_ONE, op(2, 3, "set", 2, TWO), op(4, 5, "cas", (3, 11), Held(3, 13))]],
    "a value under the wrong cas": [[SET_ONE, op(2, 3, "get", None, Held(1, 12))]],
    "an incr that leaves the cas": [[SET_ONE, op(2, 3, "incr", 1, Held(2, 11))]],
    "what a flush left": [[SET_ONE, op(2, 3, "flush", None, True), op(4, 5, "get", None, ONE)]],
    "a value of nobody": [[op(0, 1, "get", None, ONE)]],
    "a miss of what is there": [[SET_ONE, op(2, 3, "get")]],
    "a delete of what is there finds nothing": [[SET_ONE, op(2, 3, "delete", None, False)]],
    "an add over what is there": [[SET_ONE, op(2, 3, "add", 2, TWO)]],
    "an order that the connection did not send": [
        [op(0, 9, "set", 1, ONE), op(0, 9, "set", 2, TWO)],
        [op(0, 9, "get", None, TWO), op(0, 9, "get", None, ONE)],
    ],
    "two values while one reply is missing": [
        [op(0, NEVER, "set", 1, UNKNOWN)],
        [op(2, 3, "get", None, ONE), op(4, 5, "get"), op(6, 7, "get", None, ONE)],
    ],
}

POSSIBLE = {
    "nothing": [[], []],
    "a read beside a set, either way": [
        [SET_ONE, op(2, 9, "set", 2, TWO)],
        [op(3, 4, "get", None, ONE), op(5, 6, "get", None, TWO)],
    ],
    "an incr of each": [
        [SET_ONE, op(2, 9, "incr", 1, Held(3, 13))],
        [op(2, 9, "incr", 1, Held(2, 12))],
    ],
    "a cas that loses": [[SET_ONE, op(2, 9, "cas", (5, 11), "EXISTS")], [op(2, 9, "incr", 1, TWO)]],
    "a cas that nobody had told": [
        [op(0, 1, "set", 1, Held(1, None)), op(4, 5, "cas", (2, 11), TWO)],
        [op(2, 3, "get", None, ONE)],
    ],
    "a set without a reply that is seen late": [
        [op(0, NEVER, "set", 1, UNKNOWN)],
        [op(2, 3, "get"), op(4, 5, "get", None, ONE), op(6, 7, "delete", None, True)],
    ],
    "a set without a reply that never was": [[op(0, NEVER, "set", 1, UNKNOWN)], [op(2, 3, "get")]],
    "a cas without a reply": [
        [SET_ONE, op(2, NEVER, "cas", (2, 11), UNKNOWN)],
        [op(3, 4, "get", None, ONE), op(5, 6, "get", None, TWO)],
    ],
    "a delete of what a flush left nothing of": [
        [SET_ONE, op(2, 9, "delete", None, False), op(10, 11, "cas", (2, 11))],
        [op(2, 9, "flush", None, True)],
    ],
    "a refused add": [[SET_ONE, op(2, 3, "add", 2), op(4, 5, "get", None, ONE)]],
}


@pytest.mark.parametrize("lanes", IMPOSSIBLE.values(), ids=list(IMPOSSIBLE))
def test_what_cannot_be_is_found(lanes):
    assert find_fault(lanes) is not None


@pytest.mark.parametrize("lanes", POSSIBLE.values(), ids=list(POSSIBLE))
def test_what_can_be_is_explained(lanes):
    assert find_fault(lanes) is None


def test_a_fault_names_what_cannot_be_explained():
    lanes = IMPOSSIBLE["a stale read"]
    fault = find_fault(lanes)
    assert fault is not None
    assert (fault.explained, fault.state, fault.stuck) == (2, TWO, [lanes[1][0]])


def test_a_search_without_end_ends():
    """Eight sets side by side, and a read of none of them."""
    lanes = [[op(0, 9, "set", number, Held(number, number))] for number in range(8)]
    with pytest.raises(UndecidedError):
        find_fault([*lanes, [op(10, 11, "get", None, Held(99, 99))]], most=100)


@pytest.mark.parametrize("threads", [4, 6])
def test_what_a_daemon_answers_can_be_explained(threads):
    """With more than four threads each has cas numbers of its own."""
    verdict = linearizability.run(0.5, 1, threads)
    assert (verdict.faults, verdict.undecided, verdict.died, verdict.losses) == ([], 0, False, 0), str(verdict)
    assert verdict.operations > 2000
