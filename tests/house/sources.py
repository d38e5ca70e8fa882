"""The project's sources, as the rules read them."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (".ci", "bench", "cachecore", "cachecore_ext", "contrib", "docs", "examples", "tests")
SUFFIXES = {
    ".cfg",
    ".ini",
    ".json",
    ".md",
    ".pxd",
    ".pxi",
    ".py",
    ".pyi",
    ".pyx",
    ".service",
    ".sh",
    ".socket",
    ".toml",
    ".yaml",
    ".yml",
}
GENERATED = {"__pycache__", "build", "results"}

#: That this process may use.
CORES = len(os.sched_getaffinity(0))

#: The rooms that serve requests and must never meet the GIL.
HOT_FLOORS = ("base", "storage", "protocol", "network")


def text_files() -> Iterator[Path]:
    """Everything that people write: sources and prose, without what tools generate beside them."""
    for path in sorted(ROOT.iterdir()):
        if path.is_file() and (path.suffix in SUFFIXES or path.name in {"LICENSE", ".gitignore"}):
            yield path
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            inside = path.relative_to(ROOT)
            if GENERATED.isdisjoint(inside.parts) and (
                path.suffix in SUFFIXES or inside.as_posix() in {".ci/run", "contrib/Containerfile"}
            ):
                yield path


def cython_files(suffixes: tuple[str, ...] = (".pyx", ".pxd")) -> list[Path]:
    return sorted(path for path in (ROOT / "cachecore_ext").rglob("*") if path.suffix in suffixes)


def without_comments(text: str) -> str:
    """Cython or Python source with comments and docstrings blanked out; line numbers stay."""

    def blank(match: re.Match[str]) -> str:
        found = match[0]
        if found[0] == "#":
            return ""
        return "\n" * found.count("\n") if found[:3] in ('"""', "'''") else found

    pattern = (
        r'"""(?:\\.|[^\\])*?"""'
        r"|'''(?:\\.|[^\\])*?'''"
        r'|"(?:\\.|[^"\\\n])*"'
        r"|'(?:\\.|[^'\\\n])*'|#[^\n]*"
    )
    return re.sub(pattern, blank, text, flags=re.DOTALL)


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with open brackets joined to what closes them, and the number of the first."""
    pending, begin, depth = "", 0, 0
    for number, line in enumerate(without_comments(text).splitlines(), 1):
        if not pending:
            begin = number
        depth += sum(line.count(c) for c in "([{") - sum(line.count(c) for c in ")]}")
        pending = f"{pending} {line.strip()}" if pending else line.rstrip()
        if depth <= 0 and not pending.endswith("\\"):
            yield begin, pending
            pending, depth = "", 0
    if pending:
        yield begin, pending


def directives() -> dict[str, object]:
    """setup.py's table of compiler directives, read without running setup.py."""
    for node in ast.parse((ROOT / "setup.py").read_text()).body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["DIRECTIVES"]:
            table = ast.literal_eval(node.value)
            assert isinstance(table, dict)
            return table
    raise LookupError("setup.py has no table DIRECTIVES")


def copy_sources(to: Path) -> Path:
    """cachecore_ext without anything generated, below ``to``."""
    keep = {".pyx", ".pxd", ".pxi", ".py", ".h"}

    def ignore(folder: str, names: list[str]) -> list[str]:
        return [n for n in names if not (Path(folder) / n).is_dir() and Path(n).suffix not in keep]

    return Path(shutil.copytree(ROOT / "cachecore_ext", to / "cachecore_ext", ignore=ignore))


def generate_c(folder: Path, sources: list[Path]) -> str:
    """Translate ``sources`` below ``folder`` to C beside them, as the build does; what Cython said.

    It takes long enough that every core gets a share of them.
    """
    options = [f"--directive={name}={value}" for name, value in directives().items()]
    shares = [share for core in range(CORES) if (share := sources[core::CORES])]
    runs = [
        subprocess.Popen(
            [sys.executable, "-m", "cython", *options, *(str(source.relative_to(folder)) for source in share)],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for share in shares
    ]
    said = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0] * len(runs), "".join(said)
    return "".join(said)
