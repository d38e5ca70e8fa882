"""The stubs say of the compiled rooms what these are."""

from __future__ import annotations

import subprocess
import sys

from tests.house.sources import ROOT

#: What Python shows of a compiled constructor that runs as ``__init__`` is ``(*args, **kwargs)``.
CONSTRUCTORS = r".*\.__init__"


def test_each_stub_is_its_room(tmp_path):
    stubs = sorted((ROOT / "cachecore_ext").rglob("*.pyi"))
    allowed = tmp_path / "allowed"
    allowed.write_text(f"{CONSTRUCTORS}\n")
    options = ["--concise", "--ignore-missing-stub", "--ignore-disjoint-bases", "--allowlist", str(allowed)]
    found = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", *options]
        + [".".join(stub.relative_to(ROOT).with_suffix("").parts) for stub in stubs],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.returncode, found.stdout) == (0, ""), found.stdout + found.stderr
