"""Build for a sanitizer, see that it sees, and run the suite under it.

    python -m tests.sanitize address            the protocol, threads, moving pages; minutes
    python -m tests.sanitize thread --full      the unit tests as well, and five minutes of each stress

The status is not 0 if a test fails or anything was reported, by whichever process.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.sanitize import copies

#: What times and memory prove proves nothing here, where both are several times as much.
MEASURED = (
    *("work_of_one", "python_goes_on", "waits_for_the_table", "step_of_growth_is_short"),
    "who_does_not_read_delays_nobody",
)
#: To the byte: under AddressSanitizer a chunk holds eight bytes less.
LEFT_OUT = "tests/unit/test_slabs.py"
DESELECTED = ("-k", " and ".join(f"not {name}" for name in MEASURED), f"--ignore={LEFT_OUT}")
#: For CI, two minutes or so of each: memory goes wrong with what a client sends, races need threads.
SHORT = {
    "address": ["tests/protocol", "tests/embedded", "tests/stress/test_maintenance.py"],
    "thread": [
        *("tests/unit/test_lock.py", "tests/embedded"),
        *(f"tests/stress/test_{name}.py" for name in ("maintenance", "dumps", "watchers")),
        *(f"tests/stress/test_threads.py::test_no_{what}_is_lost" for what in ("incr", "cas")),
        "tests/stress/test_threads.py::test_flush_touch_and_time_disturb_nothing",
    ],
}
FULL = [f"tests/{name}" for name in ("protocol", "embedded", "stress", "unit", "plugin", "clients", "fuzz")]
STRESS = 300  # seconds of each, with --full


def reported(directory: Path) -> str:
    """What the sanitizer had to say, in any process."""
    return "".join(path.read_text(errors="replace") for path in sorted(directory.iterdir()))


def run(kind: str, folder: Path, *arguments: str) -> bool:
    """Run Python in the copy; whether it ended well and nothing was reported."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        done = subprocess.run(
            copies.python(*arguments), cwd=folder, env=copies.environment(kind, directory / "report"), check=False
        )
        said = reported(directory)
    print(said[:20_000], end="")
    verdict = f"status {done.returncode}, {said.count('SUMMARY:') or said.count('runtime error:')} reports"
    print(f"{' '.join(arguments)[:100]}: {verdict}, {time.monotonic() - began:.0f} s", flush=True)
    return done.returncode == 0 and not said


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=copies.KINDS)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--only", nargs="+", metavar="TEST", help="these tests instead")
    options = parser.parse_args()
    began = time.monotonic()
    folder = copies.build(options.kind)
    print(f"built in {time.monotonic() - began:.0f} s: {folder}", flush=True)
    tests = options.only or (FULL if options.full else SHORT[options.kind])
    runs = [
        ("tests/sanitize/check_planted.py",),
        (*tests, *DESELECTED, "--timeout=600"),
    ]
    good = [run(options.kind, folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen) for chosen in runs]
    if options.full:
        good.append(run(options.kind, folder, "-m", "tests.stress.maintenance", "--seconds", str(STRESS)))
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
