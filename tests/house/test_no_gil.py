"""The rooms that serve requests never meet the GIL: not in what we write, not in what Cython makes of it.

A nogil function without ``noexcept`` has its caller look for an exception, under the GIL, after every call; a
division or an assert can raise. Both compile, so the generated C is read, too: in the body of a function of
ours nothing of Python's may appear. Cython's own helpers, unused in every file, are not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.sources import HOT_FLOORS, ROOT, copy_sources, cython_files, generate_c, logical_lines

HOT_SOURCES = [path for path in cython_files() if path.relative_to(ROOT).parts[1] in HOT_FLOORS]


def careless_signatures(text: str) -> Iterator[str]:
    """Nogil functions and function types that may raise in a way that only the GIL can tell."""
    for number, line in logical_lines(text):
        if not (match := re.search(r"\)([^()]*\bnogil\b[^()]*?):?$", line)) or "extern from" in line:
            continue
        manner = match[1]
        if not re.search(r"\b(noexcept|except)\b", manner):
            yield f"{number}: neither noexcept nor except: {line.strip()}"
        elif re.search(r"except\s*[*+]", manner):
            yield f"{number}: asks for the GIL after every call: {line.strip()}"


def defined_functions(text: str) -> set[str]:
    """Names of the cdef functions whose body stands in this source."""
    found = set()
    for _, line in logical_lines(text):
        if match := re.match(r"cdef\s[^(=]*?(\w+)\(.*\)[^()]*:$", line):
            found.add(match[1])
    return found


def function_bodies(c: str) -> dict[str, str]:
    """The C of our own functions by their mangled names, comments left out."""
    code = re.sub(r"/\*.*?\*/", "", c, flags=re.DOTALL)
    pattern = r"^(?:static|CYTHON_INLINE|extern|__PYX)[^\n;]*?\b__pyx_f_(\w+)\([^;{]*\)\s*\{\n(.*?)^\}"
    return dict(re.findall(pattern, code, re.MULTILINE | re.DOTALL))


def words_of_python(body: str) -> set[str]:
    found = set(re.findall(r"\b_?(?:Py[A-Z_]|__Pyx_|__PYX_ERR|_Py_)\w*", body))
    return found - {"Py_ssize_t"}  # C's ssize_t by another name


@pytest.mark.parametrize("path", cython_files(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_nogil_function_says_what_it_raises(path):
    assert list(careless_signatures(path.read_text())) == []


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the data plane, translated to C as the build does it."""
    folder = tmp_path_factory.mktemp("c")
    copy = copy_sources(folder)
    heard = generate_c(folder, [source for floor in HOT_FLOORS for source in sorted((copy / floor).glob("*.pyx"))])
    assert heard == "", "Cython has something to say"
    return copy


@pytest.mark.parametrize(
    "path",
    [path for path in HOT_SOURCES if path.suffix == ".pyx"],
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_no_function_of_a_hot_room_names_python(path, generated):
    bodies = function_bodies((generated / path.relative_to(ROOT / "cachecore_ext")).with_suffix(".c").read_text())
    ours = path.relative_to(ROOT).with_suffix("").parts
    mangled = "".join(f"{len(part)}{part}_" for part in ours)
    missing = {name for name in defined_functions(path.read_text()) if mangled + name not in bodies}
    assert missing == set(), "the test cannot find these functions in the generated C"
    assert {name: found for name, body in bodies.items() if (found := words_of_python(body))} == {}


PLANTED = '''
from libc.stdint cimport uint32_t

cdef uint32_t total = 0

cdef void careless(uint32_t by) nogil:
    """Says nothing about exceptions."""
    global total
    total += by

cdef void calls_it() noexcept nogil:
    careless(1)

cdef int takes_it(int a) noexcept nogil:
    with gil:
        return len(str(a))

cdef int asserts_it(int a) noexcept nogil:
    assert a > 0
    return a

cdef uint32_t clean(uint32_t a, uint32_t b) noexcept nogil:
    return a // b % 7

def use(a):
    calls_it()
    return takes_it(a) + asserts_it(a) + clean(a, 2)
'''


def test_a_hidden_gil_is_seen(tmp_path):
    source = tmp_path / "planted.pyx"
    source.write_text(PLANTED)
    assert [line.split(":")[0] for line in careless_signatures(PLANTED)] == ["6"]
    assert "performance hint" in generate_c(tmp_path, [source])
    bodies = {
        name.removeprefix("7planted_"): words_of_python(body)
        for name, body in function_bodies(source.with_suffix(".c").read_text()).items()
    }
    assert set(bodies) == defined_functions(PLANTED)
    assert "__Pyx_ErrOccurredWithGIL" in bodies["calls_it"]
    assert "__Pyx_WriteUnraisable" in bodies["calls_it"]
    assert "__Pyx_PyGILState_Ensure" in bodies["takes_it"]
    assert "__Pyx_PyGILState_Ensure" in bodies["asserts_it"]
    assert bodies["clean"] == set()


@pytest.mark.parametrize(
    ("line", "complaints"),
    [
        ("cdef void f() nogil", 1),
        ("cdef void f(int a,\n            int b) nogil:\n    pass", 1),
        ("cdef inline int f(int (*g)(int) noexcept nogil) nogil:", 1),
        ("ctypedef void (*callback)(void *) nogil", 1),
        ("cdef void f() except * nogil:", 1),
        ("cdef void f() noexcept nogil:", 0),
        ("cdef int f() except -1 nogil:", 0),
        ("cdef int f() except? -1 nogil:", 0),
        ('cdef extern from "x.h" nogil:', 0),
        ("    with nogil:", 0),
        ("# cdef void f() nogil", 0),
    ],
)
def test_a_careless_signature_is_seen(line, complaints):
    assert len(list(careless_signatures(line))) == complaints
