"""What Python sees: the public names of cachecore, and a stub for every compiled module."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.house.sources import ROOT, cython_files, logical_lines


def sort_key(name: str) -> tuple[int, list[tuple[int, int, str]]]:
    """ruff's order of ``__all__``: CONSTANTS, Classes, the rest; numbers count as numbers."""
    kind = 0 if name.isupper() and len(name) > 1 else 1 if name[:1].isupper() else 2
    parts = [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in re.split(r"(\d+)", name) if p]
    return kind, parts


def undocumented(module: ModuleType) -> list[str]:
    """Public names, and public members of public classes, that say nothing about themselves."""
    found = []
    for name in module.__all__:
        thing = getattr(module, name)
        if not (inspect.isclass(thing) or inspect.isroutine(thing)):
            continue
        if not (thing.__doc__ or "").strip():
            found.append(name)
        if inspect.isclass(thing):
            for member, value in vars(thing).items():
                described = isinstance(value, property) or inspect.isroutine(value)
                if not member.startswith("_") and described and not (inspect.getdoc(getattr(thing, member))):
                    found.append(f"{name}.{member}")
    return found


def names_at_the_top(source: str) -> set[str]:
    """Public names that a module defines, assigns or fetches from another module of the project."""
    found = set()
    body = ast.parse(source).body
    body += [inner for outer in body if isinstance(outer, ast.If) for inner in outer.body]
    for node in body:
        if isinstance(node, ast.ImportFrom):
            if node.level or (node.module or "").startswith("cachecore"):
                found |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return {name for name in found if not name.startswith("_")}


def test_the_public_names():
    import cachecore

    names = list(cachecore.__all__)
    assert "Server" in names
    assert [name for name in names if not hasattr(cachecore, name)] == []
    assert names == sorted(set(names), key=sort_key)
    assert (cachecore.__doc__ or "").strip()
    assert undocumented(cachecore) == []


def test_nothing_public_is_left_out():
    import cachecore

    source = (ROOT / "cachecore" / "__init__.py").read_text()
    assert names_at_the_top(source) <= set(cachecore.__all__)


def test_a_bad_name_is_seen():
    module = ModuleType("m")
    exec(
        "class Documented:\n"
        "    'Yes.'\n"
        "    def told(self): 'Yes.'\n"
        "    def silent(self): ...\n"
        "def silent(): ...\n"
        "__all__ = ['Documented', 'silent']\n",
        vars(module),
    )
    assert undocumented(module) == ["Documented.silent", "silent"]
    assert sorted(["run", "Server", "PORT", "a10", "a9"], key=sort_key) == [
        "PORT",
        "Server",
        "a9",
        "a10",
        "run",
    ]
    imports = "from typing import Any\nfrom cachecore.x import y as z, _w\nif True:\n    from .v import V\n"
    assert names_at_the_top(imports + "N = 1\n") == {"z", "V", "N"}


def visible_names(pyx: str, pxd: str = "") -> set[str]:
    """What ``import`` of a compiled module gives, from its source; members as ``Class.name``."""
    found, owner, named_tuple = set(), "", False
    for _, line in (*logical_lines(pyx), *logical_lines(pxd)):
        inside = line.startswith("    ")
        if not inside and line.strip() and line[0] not in "@)":
            owner = match[1] if (match := re.match(r"(?:cdef\s+)?class\s+(\w+)", line)) else ""
            named_tuple = line.startswith(f"class {owner}(NamedTuple)")
        for pattern in (
            r"(?:async\s+)?(?:def|class|cdef\s+class|cpdef\s+enum)\s+(\w+)",
            r"cpdef\s(?!enum\b)[^(=]*?(\w+)\(",
            *([r"cdef\s+(?:readonly|public)\s.*?(\w+)$"] if inside else []),
            *([r"(\w+):\s"] if inside and named_tuple else []),
        ):
            if match := re.match(pattern, line[4:] if inside and owner else line):
                found.add(f"{owner}.{match[1]}" if inside else match[1])
    return {name for name in found if not any(part.startswith("_") for part in name.split("."))}


def stubbed_names(stub: str) -> set[str]:
    def names(body: list[ast.stmt]) -> Iterator[str]:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield node.name
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                yield node.target.id
            if isinstance(node, ast.ClassDef):
                yield from (f"{node.name}.{member}" for member in names(node.body))

    return set(names(ast.parse(stub).body))


def missing_from_the_stub(path: Path) -> set[str]:
    pxd, stub = path.with_suffix(".pxd"), path.with_suffix(".pyi")
    visible = visible_names(path.read_text(), pxd.read_text() if pxd.exists() else "")
    return visible - stubbed_names(stub.read_text() if stub.exists() else "")


@pytest.mark.parametrize("path", cython_files((".pyx",)), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_visible_name_has_a_stub(path):
    assert missing_from_the_stub(path) == set()


@pytest.mark.parametrize(
    "path",
    [path for path in cython_files((".pyi",)) if path.name != "__init__.pyi"],
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_every_stub_stands_beside_its_module(path):
    pxd = path.with_suffix(".pxd")
    sources = path.with_suffix(".pyx").read_text(), pxd.read_text() if pxd.exists() else ""
    enums = set(re.findall(r"^cpdef\s+enum\s+(\w+)", "\n".join(sources), re.MULTILINE))
    public = {name for name in stubbed_names(path.read_text()) if "._" not in f".{name}"}
    assert {name for name in public if name.split(".")[0] not in enums} <= visible_names(*sources)


def test_a_missing_stub_is_seen(tmp_path):
    room = tmp_path / "room.pyx"
    room.write_text(
        "cdef class Thing:\n    cdef readonly bytes line\n    cdef int hidden\n    @property\n"
        "    def inner(self):\n        def nested(): ...\n\n    def __len__(self): ...\n"
        "cpdef int f(int a):\n    return a\n"
        "def _own(): ...\n"
        "class Row(NamedTuple):\n    field: int\n"
    )
    room.with_suffix(".pxd").write_text("cpdef enum Colour:\n    RED\ncdef int hidden() noexcept nogil\n")
    assert missing_from_the_stub(room) == {"Thing", "Thing.line", "Thing.inner", "f", "Colour", "Row", "Row.field"}
    room.with_suffix(".pyi").write_text(
        "class Thing:\n    line: bytes\n    @property\n    def inner(self) -> int: ...\n"
        "def f(a: int) -> int: ...\nclass Colour: ...\nclass Row:\n    field: int\n"
    )
    assert missing_from_the_stub(room) == set()
