"""Every kind of bug that the sanitizer is there for is planted once, and has to be reported.

Run by ``python -m tests.sanitize`` inside the copy that it has built; a bug ends a process of its own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

KIND = os.environ["SANITIZED"]

in_address = pytest.mark.skipif(KIND != "address", reason="AddressSanitizer's")
in_thread = pytest.mark.skipif(KIND != "thread", reason="ThreadSanitizer's")

POISONED = re.compile(r"AddressSanitizer: (use-after-poison|unknown-crash)(?s:.*)planted\.pyx")
CHUNKS = "from tests.sanitize.planted import Chunks; chunks = Chunks({size}); "
THREADS = """
import threading
from tests.sanitize.planted import Account
account = Account()
threads = [threading.Thread(target=account.add, args=({locked}, 4)) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(account.look())
"""


def run(code: str) -> tuple[int, str]:
    """A process's status, and all that it said."""
    environment = {
        name: value.split(":log_path=")[0] if name.endswith("_OPTIONS") else value for name, value in os.environ.items()
    }
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@in_address
@pytest.mark.parametrize("size", [29, 100, 4000, 100_000])
@pytest.mark.parametrize(
    "touch",
    [
        "chunks.write(0, chunks.room)",  # one byte too many, a chunk in use behind it
        "chunks.read(0, chunks.room)",
        "chunks.write(1, chunks.room)",  # ... a free one
    ],
)
def test_a_byte_behind_a_chunk(size: int, touch: str) -> None:
    # "unknown-crash" is what ASan calls it where the forbidden bytes begin within eight, and end with them.
    status, said = run(CHUNKS.format(size=size) + touch)
    assert (status, bool(POISONED.search(said))) == (66, True), said


@in_address
@pytest.mark.parametrize("size", [100, 4000, 100_000])
@pytest.mark.parametrize("touch", ["chunks.write(2, 40)", "chunks.read(2, chunks.room - 1)"])
def test_a_free_chunk(size: int, touch: str) -> None:
    status, said = run(CHUNKS.format(size=size) + touch)
    assert (status, bool(POISONED.search(said))) == (66, True), said


@in_address
@pytest.mark.parametrize("size", [29, 100, 4000, 100_000])
def test_all_of_a_chunk_may_be_used(size: int) -> None:
    code = "[chunks.write(n, at) for n in (0, 1) for at in range(chunks.room)]; chunks.read(2, 0)"
    assert run(CHUNKS.format(size=size) + code) == (0, "")


@in_address
def test_a_byte_behind_a_block() -> None:
    status, said = run("from tests.sanitize.planted import overflow_block; overflow_block(100)")
    assert (status, "AddressSanitizer: heap-buffer-overflow" in said) == (66, True), said


@in_address
def test_undefined_behaviour() -> None:
    code = "from tests.sanitize.planted import shift; shift({})"
    assert run(code.format(31)) == (0, "")
    status, said = run(code.format(32))
    assert (status != 0, "runtime error: shift exponent 32 is too large" in said) == (True, True), said


@in_thread
def test_a_race() -> None:
    status, said = run(THREADS.format(locked=False))
    assert (status, "ThreadSanitizer: data race" in said) == (66, True), said
    assert "planted" in said


@in_thread
def test_no_race_under_our_lock() -> None:
    assert run(THREADS.format(locked=True)) == (0, f"{4 * 1000}\n")
