"""Whether what several clients saw of one key could have been seen of a key that does one thing at a time.

The search is Wing and Gong's with Lowe's memory of what was tried. A history holds one lane for each connection: its
operations in the order in which it sent them, which is the order the server owes it. An operation may have taken effect
at any moment between its request and its reply. Keys are independent of each other, so each is decided by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

#: The reply of an operation that never came: it may have happened, or not, or it happens later.
UNKNOWN: Final = "unknown"
NEVER = 1 << 62  # the time at which it came
MOST = 2_000_000  # situations that are looked at before the search gives up


class Held(NamedTuple):
    """A key's number; ``cas`` is None as long as no reply has told it."""

    value: int
    cas: int | None


State = Held | None


class Operation(NamedTuple):
    """A command on one key, or a flush; times in nanoseconds of one clock.

    ========  =======================  ==================================================
    kind      argument                 result
    ========  =======================  ==================================================
    get       None                     Held, or None
    set       the value                Held as stored
    add       the value                Held as stored, or None
    cas       (value, cas to compare)  Held as stored, "EXISTS", or None: there is no key
    delete    None                     whether there was one
    incr      by how much              Held after it, or None
    flush     None                     True
    ========  =======================  ==================================================
    """

    request: int
    reply: int
    kind: str
    argument: Any
    result: Any


Lane = Sequence[Operation]


class UndecidedError(Exception):
    """The search looked at :data:`MOST` situations and did not find out."""


@dataclass
class Fault:
    """The longest explanation that there is of a history without one, and what it cannot explain."""

    explained: int
    state: State
    stuck: list[Operation]


def matches(seen: Held, held: Held) -> Held | None:
    """What is known of ``held`` after ``seen`` was seen of it; None if that cannot be."""
    if seen.value != held.value or (None not in (seen.cas, held.cas) and seen.cas != held.cas):
        return None
    return held if seen.cas is None else seen


def outcomes(state: State, operation: Operation) -> Iterator[State]:
    """The states that the operation may leave, given its result; none if the result cannot be."""
    kind, argument, result = operation.kind, operation.argument, operation.result
    if result == UNKNOWN:
        yield from unknown_outcomes(state, kind, argument)
    elif kind in ("flush", "delete"):
        if kind == "flush" or result == (state is not None):
            yield None
    elif kind == "set":
        yield result
    elif kind == "add":
        if (result is None) != (state is None):
            yield result if state is None else state
    elif kind == "cas":
        yield from compared(state, argument[1], result)
    elif state is None or result is None:  # of a get or an incr
        if state is result:
            yield None
    elif kind == "incr":
        if result.value == state.value + argument and (result.cas is None or result.cas != state.cas):
            yield result
    elif known := matches(result, state):
        yield known


def compared(state: State, compare: int, result: Any) -> Iterator[State]:
    """The state after a cas; a cas that nobody has told may be any."""
    if state is None:
        if result is None:
            yield None
    elif result == "EXISTS":
        if state.cas != compare:
            yield state
    elif result is not None and state.cas in (None, compare):
        yield result


def unknown_outcomes(state: State, kind: str, argument: Any) -> Iterator[State]:
    """The states that an operation may leave if nobody knows its result."""
    if kind in ("flush", "delete"):
        yield None
    elif kind == "set" or (kind == "add" and state is None):
        yield Held(argument, None)
    elif kind == "incr" and state is not None:
        yield Held(state.value + argument, None)
    else:
        yield state
        if kind == "cas" and state is not None and state.cas in (None, argument[1]):
            yield Held(argument[0], None)


def find_fault(lanes: Sequence[Lane], most: int = MOST) -> Fault | None:
    """None if the history is linearizable, from a key that is absent; else how far it can be explained.

    Raises :class:`UndecidedError` after ``most`` situations.
    """
    first = (0,) * len(lanes)
    seen: set[tuple[tuple[int, ...], State]] = {(first, None)}
    stack: list[tuple[tuple[int, ...], State]] = [(first, None)]
    best = (-1, first, None)
    while stack:
        places, state = stack.pop()
        heads = [(lane, at) for lane, at in enumerate(places) if at < len(lanes[lane])]
        until = min((lanes[lane][at].reply for lane, at in heads), default=NEVER)
        if until == NEVER:
            return None  # whatever is left has no reply
        if sum(places) > best[0]:
            best = (sum(places), places, state)
        for lane, at in heads:
            if lanes[lane][at].request > until:
                continue
            moved = (*places[:lane], at + 1, *places[lane + 1 :])
            for after in outcomes(state, lanes[lane][at]):
                if (moved, after) not in seen:
                    seen.add((moved, after))
                    stack.append((moved, after))
        if len(seen) > most:
            raise UndecidedError(f"{sum(map(len, lanes))} operations")
    explained, places, state = best
    return Fault(explained, state, [lane[at] for lane, at in zip(lanes, places, strict=True) if at < len(lane)])
