"""A daemon without a lock: the checks of this folder must find it out.

    python -m tests.stress.faults

Each fault is put into a private copy of the sources, which is built, and is then looked for as one would without
knowing of it. Takes minutes of compiling; exit status 0 if every fault was found.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.house.sources import ROOT, copy_sources

SECONDS = 30


@dataclass(frozen=True)
class Fault:
    """What a source says, and what it says instead: once each, or the fault is out of date."""

    file: str
    changes: tuple[tuple[str, str], ...]


_LOCK = "    lock_acquire(&table_stripe(table, h).lock)\n"
_UNLOCK = "    lock_release(&table_stripe(table, h).lock)\n"

FAULTS = {
    "no bucket lock": Fault("cachecore_ext/storage/table.pxd", ((_LOCK, "    pass\n"), (_UNLOCK, "    pass\n"))),
}


def put_into(fault: Fault, copy: Path) -> None:
    """Change the copy of the sources; raises :class:`LookupError` if they do not say what the fault is about."""
    text = (copy / fault.file).read_text()
    for before, after in fault.changes:
        if text.count(before) != 1:
            raise LookupError(f"{fault.file} has {before!r} {text.count(before)} times")
        text = text.replace(before, after)
    (copy / fault.file).write_text(text)


def build(copy: Path) -> None:
    """Copy what is needed beside ``cachecore_ext`` and compile, without optimising: that is quicker."""
    for folder in ("cachecore", "tests"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "setup.py", copy)
    environment = {**os.environ, "CACHECORE_DEBUG": "1", "CACHECORE_WERROR": ""}
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace", "-j2"]
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])


def search(copy: Path, seconds: float) -> tuple[bool, str]:
    """Whether a history without an explanation was found, and what was said."""
    command = [sys.executable, "-m", "tests.stress.linearizability", f"--seconds={seconds}", "--stretch=2"]
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    return done.returncode == 1 and "then not" in done.stdout, done.stdout + done.stderr[-1000:]


def main() -> int:
    """Look for each fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each of the searches")
    seconds = parser.parse_args().seconds
    missed = 0
    for name, fault in FAULTS.items():
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder)
            copy_sources(copy)
            put_into(fault, copy)
            build(copy)
            found, said = search(copy, seconds)
        missed += not found
        print(f"{name}: {'found' if found else 'NOT FOUND'}\n{said}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
