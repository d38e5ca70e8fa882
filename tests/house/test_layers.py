"""Who may know whom.

base < storage < protocol < network < figures < restart < embedded < keeper < engine, and inside storage
item < flush < slabs < lru < table < ghosts < allocation < store < snapshot < survey < crawler < mover < balance <
maintenance: a room names only rooms below it. ``store`` and ``item`` are all that protocol sees of storage,
``protocol.request`` sees none of it, a connection never names its worker. ``probe``, the tests' window, may see
everything and is seen by nobody. The control plane imports the data plane, never the reverse.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.house.sources import ROOT, cython_files, logical_lines

PACKAGE = "cachecore_ext"
FLOORS = ("base", "storage", "protocol", "network", "figures", "restart", "embedded", "keeper", "engine")
STORAGE = (
    *("item", "flush", "slabs", "lru", "table", "ghosts", "allocation", "store"),
    *("snapshot", "survey", "crawler", "mover", "balance", "maintenance"),
)
WINDOW = "probe"


def room_of(path: Path) -> str:
    """``storage.table`` for cachecore_ext/storage/table.pyx and for its .pxd."""
    return ".".join(path.relative_to(ROOT / PACKAGE).with_suffix("").parts)


def imported_modules(text: str, room: str = "") -> set[str]:
    """Every module that a source names after (c)import, absolute; a package's children one by one."""
    found = set()
    for _, line in logical_lines(text):
        if match := re.match(r"\s*from\s+(\.*)([\w.]*)\s+c?import\s+(.*)", line):
            dots, module, names = match.groups()
            if dots:
                above = f"{PACKAGE}.{room}".split(".")[: -len(dots)]
                module = ".".join([*above, *([module] if module else [])])
            if module == PACKAGE or module.removeprefix(PACKAGE + ".") in FLOORS[:-1]:
                children = re.findall(r"(\w+)(?:\s+as\s+\w+)?", names)
                found |= {f"{module}.{child}" for child in children}
            else:
                found.add(module)
        elif match := re.match(r"\s*c?import\s+(.*)", line):
            found |= {part.split()[0] for part in match[1].split(",")}
    return found


def objection(room: str, other: str) -> str | None:
    """Why ``room`` may not name ``other``; None if it may."""
    floor, other_floor = room.split(".")[0], other.split(".")[0]
    if WINDOW in (floor, other_floor) or room == other:
        return f"{room}: nobody names {WINDOW}" if other_floor == WINDOW != floor else None
    for name in (floor, other_floor):
        if name not in FLOORS:
            return f"{name} is no floor of {' < '.join(FLOORS)}"
    if FLOORS.index(other_floor) > FLOORS.index(floor):
        return f"{room} names {other}, which is above it"
    if other_floor == "storage":
        inner = other.removeprefix("storage.")
        if inner not in STORAGE:
            return f"{other} has no place in {' < '.join(STORAGE)}"
        if floor == "storage":
            own = room.removeprefix("storage.")
            if own not in STORAGE:
                return f"{room} has no place in {' < '.join(STORAGE)}"
            if STORAGE.index(inner) > STORAGE.index(own):
                return f"{room} names {other}, which is above it"
        if floor == "protocol" and inner not in ("store", "item"):
            return f"{room} names {other}: the protocol enters storage by its door, store, and knows item"
        if room == "protocol.request":
            return f"{room} names {other}: the parser knows no storage"
    if (room, other) == ("network.connection", "network.worker"):
        return "a connection never names its worker"
    return None


def objections(room: str, text: str) -> list[str]:
    prefix = PACKAGE + "."
    named = sorted(m.removeprefix(prefix) for m in imported_modules(text, room) if m.startswith(prefix))
    return [found for other in named if (found := objection(room, other))]


@pytest.mark.parametrize("path", cython_files(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_rooms_name_only_what_is_below_them(path):
    assert objections(room_of(path), path.read_text()) == []


def graph(sources: dict[str, str]) -> dict[str, set[str]]:
    prefix = PACKAGE + "."
    edges: dict[str, set[str]] = {}
    for room, text in sources.items():
        named = {m.removeprefix(prefix) for m in imported_modules(text, room) if m.startswith(prefix)}
        edges.setdefault(room, set()).update(named - {room})
    return edges


def read_rooms() -> dict[str, str]:
    sources: dict[str, str] = {}
    for path in cython_files():
        sources[room_of(path)] = sources.get(room_of(path), "") + "\n" + path.read_text()
    return sources


def test_no_circles():
    tuple(TopologicalSorter(graph(read_rooms())).static_order())


def test_every_floor_is_there():
    rooms = read_rooms()
    assert {room.split(".")[0] for room in rooms} >= set(FLOORS)
    assert {room for room in rooms if room.startswith("storage.")} <= {f"storage.{name}" for name in STORAGE}


def control_plane_imports(text: str) -> set[str]:
    return {module for module in imported_modules(text) if module.split(".")[0] == "cachecore"}


@pytest.mark.parametrize(
    "path", cython_files((".pyx", ".pxd", ".py", ".pyi")), ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_the_data_plane_does_not_know_the_control_plane(path):
    assert control_plane_imports(path.read_text()) == set()


@pytest.mark.parametrize(
    ("room", "line", "complaint"),
    [
        ("base.clock", "from cachecore_ext.storage.item cimport Item", "above"),
        ("storage.store", "from cachecore_ext.protocol.reply cimport reply_value", "above"),
        ("network.worker", "cimport cachecore_ext.engine", "above"),
        ("storage.item", "from cachecore_ext.storage.slabs cimport slab_alloc", "above"),
        ("storage.slabs", "from cachecore_ext.storage cimport item, lru as l", "above"),
        ("storage.table", "from .store cimport store_get", "above"),
        ("storage.lru", "from cachecore_ext.storage.table cimport (\n    Table,\n    find,\n)", "above"),
        ("storage.store", "from cachecore_ext.storage.attic cimport x", "no place"),
        ("storage.attic", "from cachecore_ext.storage.item cimport x", "no place"),
        ("protocol.classic", "from cachecore_ext.storage.lru cimport lru_bump", "door"),
        ("protocol.request", "from cachecore_ext.storage.item cimport Item", "no storage"),
        ("network.connection", "from cachecore_ext.network.worker cimport Worker", "never names its worker"),
        ("network.connection", "from . cimport worker", "never names its worker"),
        ("storage.store", "from cachecore_ext.probe cimport peek", "nobody names"),
        ("engine", "import cachecore_ext.probe", "nobody names"),
        ("base.lock", "    cimport cachecore_ext.cellar.wine", "no floor"),
    ],
)
def test_a_forbidden_import_is_seen(room, line, complaint):
    (found,) = objections(room, f'"""A room."""\n{line}\n')
    assert complaint in found


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("storage.store", "from cachecore_ext.storage cimport item, slabs as s, lru, table"),
        ("protocol.meta", "from ..storage.store cimport store_get"),
        ("network.worker", "from cachecore_ext.network.connection cimport Connection"),
        ("probe", "from cachecore_ext.storage.slabs cimport Slabs"),
        ("base.clock", "from libc.stdint cimport int64_t"),
        ("base.clock", "# from cachecore_ext.engine cimport Engine"),
        ("base.clock", '"""Not\nfrom cachecore_ext.engine cimport Engine\n"""'),
    ],
)
def test_an_allowed_import_is_allowed(room, line):
    assert objections(room, line) == []


def cimported(text: str) -> Iterator[tuple[str, str]]:
    """Module and name, as it is called here, of all that a source cimports by name."""
    for _, line in logical_lines(text):
        if match := re.match(r"from\s+([\w.]+)\s+cimport\s+(.*)", line):
            for part in match[2].strip("() ").split(","):
                if part.strip():
                    yield match[1], part.split()[-1]


def cimported_in_vain(contract: str, body: str, asked_for: set[str]) -> set[str]:
    """What a room's .pxd or .pyx cimports and nobody uses; ``asked_for``: what other rooms cimport from this one."""
    without = [
        "\n".join(line for _, line in logical_lines(text) if not re.match(r"from\s+[\w.]+\s+cimport\b", line))
        for text in (contract, body)
    ]
    found = {name for _, name in cimported(body) if not re.search(rf"\b{name}\b", without[1])}
    for _, name in cimported(contract):
        if name not in asked_for and not re.search(rf"\b{name}\b", "\n".join(without)):
            found.add(name)
    return found


@cache
def all_cimported() -> frozenset[tuple[str, str]]:
    return frozenset(pair for path in cython_files() for pair in cimported(path.read_text()))


@pytest.mark.parametrize("room", sorted(read_rooms()))
def test_nothing_is_cimported_in_vain(room):
    paths = [(ROOT / PACKAGE / room.replace(".", "/")).with_suffix(suffix) for suffix in (".pxd", ".pyx")]
    contract, body = (path.read_text() if path.exists() else "" for path in paths)
    asked_for = {name for module, name in all_cimported() if module == f"{PACKAGE}.{room}"}
    assert cimported_in_vain(contract, body, asked_for) == set()


def test_a_name_cimported_in_vain_is_seen():
    contract = "from libc.stdint cimport int64_t, uint8_t, uint32_t\nfrom a cimport (\n    b, c as d,\n)\n"
    contract += "cdef int64_t n\n"
    body = "from libc.math cimport ceil, floor\ncdef uint8_t f():\n    return floor(1.5)  # uint32_t\n"
    assert cimported_in_vain(contract, body, {"b"}) == {"uint32_t", "d", "ceil"}


def test_a_circle_is_seen():
    circle = {
        "protocol.a": "from cachecore_ext.protocol.b cimport x",
        "protocol.b": "from cachecore_ext.protocol.a cimport y",
    }
    with pytest.raises(CycleError):
        tuple(TopologicalSorter(graph(circle)).static_order())


def test_an_import_of_the_control_plane_is_seen():
    assert control_plane_imports("from cachecore.server import Server\n") == {"cachecore.server"}
    assert control_plane_imports("import os, cachecore\n") == {"cachecore"}
    assert control_plane_imports("from cachecore_ext.engine import Engine\n") == set()
