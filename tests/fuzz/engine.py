"""The whole engine: servers under AddressSanitizer in a process of its own, whose end this one looks at."""

from __future__ import annotations

import random
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.house.sources import ROOT
from tests.sanitize import copies

FINDINGS = ROOT / "build" / "fuzz-findings"


def run(seconds: int, corpus: Path | None, seed: int | None) -> int:
    """Fuzz for so long; 0 if nothing was found."""
    folder = copies.build("address")
    seed = seed if seed is not None else random.SystemRandom().randrange(1 << 40)
    with tempfile.TemporaryDirectory() as name:
        current = Path(name) / "current"
        log = Path(name) / "report"
        command = copies.python(
            "-m", "tests.fuzz.streams", f"--seconds={seconds}", f"--seed={seed}", f"--current={current}",
            *([f"--corpus={corpus.resolve()}"] if corpus else []),
        )  # fmt: skip
        done = subprocess.run(
            command, cwd=folder, env=copies.environment("address", log), stderr=subprocess.PIPE, text=True, check=False
        )
        reports = "".join(path.read_text(errors="replace") for path in sorted(Path(name).glob("report.*")))
        if done.returncode == 0 and not reports:
            return 0
        return tell(seed, done.returncode, done.stderr, reports, current)


def tell(seed: int, status: int, said: str, reports: str, current: Path) -> int:
    """Say what was found: the process's last words, and the sanitizer's. Keep it, and the streams that were under way,
    if it came that far. 1."""
    print(f"{said[-10_000:]}\n{reports[:20_000]}")
    FINDINGS.mkdir(parents=True, exist_ok=True)
    (FINDINGS / f"engine-{seed}.report").write_text(f"{said}\n{reports}")
    if current.exists():
        shutil.copy(current, FINDINGS / f"engine-{seed}")
    print(f"status {status}; the report, and the last streams if there were any: {FINDINGS}/engine-{seed}*")
    return 1
