"""Sanitized copies of the checkout, below build/, and the environment in which they run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.house.sources import ROOT

KINDS = ("address", "thread")
FOLDERS = ("bench", "cachecore", "cachecore_ext", "docs", "tests")
FILES = ("setup.py", "pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE")
GENERATED = {".c", ".so", ".pyc", ".o"}

#: Nothing of these hides a report. ASan's leak check is off, as CPython keeps what it has until its end; see
#: docs/reliability.md. Memory that a test asks for and cannot have is a test of ours, not an error.
OPTIONS = {
    "address": {
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0:exitcode=66:allocator_may_return_null=1",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1:exitcode=66",
        "PYTHONMALLOC": "malloc",
    },
    "thread": {"TSAN_OPTIONS": "exitcode=66:halt_on_error=0:history_size=4:second_deadlock_stack=1"},
}
LIBRARIES = {"address": ("libasan.so", "libubsan.so"), "thread": ("libtsan.so",)}


def copy_to(folder: Path) -> None:
    """Bring the copy up to date: what has changed is copied with its time, so that only this is built again."""
    for name in FOLDERS:
        for inside in _written(ROOT, name):
            _refresh(ROOT / inside, folder / inside)
        for inside in _written(folder, name):
            if not (ROOT / inside).exists():
                (folder / inside).unlink()
    for name in FILES:
        _refresh(ROOT / name, folder / name)


def _written(root: Path, name: str) -> list[Path]:
    """The files below a folder that people have written, relative to ``root``."""
    found = [path.relative_to(root) for path in (root / name).rglob("*") if not path.is_dir()]
    return [path for path in found if path.suffix not in GENERATED and {"build", "results"}.isdisjoint(path.parts)]


def _refresh(source: Path, target: Path) -> None:
    if target.exists() and target.stat().st_mtime == source.stat().st_mtime:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)


def build(kind: str) -> Path:
    """A copy that is built for the sanitizer; where it is."""
    folder = ROOT / "build" / f"sanitize-{kind}"
    copy_to(folder)
    environment = {**os.environ, "CACHECORE_SANITIZE": kind, "CACHECORE_WERROR": "0"}
    command = [sys.executable, "-W", "ignore", "setup.py", "-q", "build_ext", "--inplace", f"-j{os.cpu_count()}"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{done.stdout[-4000:]}{done.stderr[-4000:]}\nthe build for {kind} failed")
    return folder


def environment(kind: str, log: Path | None = None) -> dict[str, str]:
    """What a program in the copy runs with; reports go to ``log``.PID, or to stderr."""
    libraries = [subprocess.check_output(["gcc", f"-print-file-name={name}"], text=True) for name in LIBRARIES[kind]]
    options = dict(OPTIONS[kind])
    if log is not None:
        for name in options:
            if name.endswith("_OPTIONS"):
                options[name] += f":log_path={log}"
    return {**os.environ, **options, "LD_PRELOAD": " ".join(found.strip() for found in libraries), "SANITIZED": kind}


def python(*arguments: str) -> list[str]:
    """A command that runs Python at fixed addresses, as ThreadSanitizer wants them."""
    return ["setarch", "-R", sys.executable, *arguments]
