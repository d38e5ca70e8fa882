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
        done = subprocess.run(command, cwd=folder, env=copies.environment("address", log), check=False)
        reports = "".join(path.read_text(errors="replace") for path in Path(name).glob("report.*"))
        if done.returncode == 0 and not reports:
            return 0
        FINDINGS.mkdir(parents=True, exist_ok=True)
        shutil.copy(current, FINDINGS / f"engine-{seed}")
    (FINDINGS / f"engine-{seed}.report").write_text(reports)
    print(f"{reports[:20_000]}status {done.returncode}; the last streams: {FINDINGS}/engine-{seed}")
    return 1
