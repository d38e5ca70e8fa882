"""What is in the wheel and in the sdist, and what is not."""

from __future__ import annotations

import email
import email.message
import importlib.machinery
import re
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest

from tests.house.sources import ROOT, text_files
from tests.packaging.conftest import TIMEOUT, Distributions

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NAME = f"{PROJECT['name']}-{PROJECT['version']}"

#: What a build or a run leaves in a checkout.
LEFTOVERS = {".c", ".html", ".pyc", ".pyo", ".so"}

pytestmark = pytest.mark.timeout(TIMEOUT)  # whoever comes first waits for the build


def needed_at_run_time() -> Iterator[str]:
    """The files of both packages that an installation uses, as they are called there."""
    compiled = importlib.machinery.EXTENSION_SUFFIXES[0]
    for package in ("cachecore", "cachecore_ext"):
        for path in (ROOT / package).rglob("*"):
            name = path.relative_to(ROOT)
            if name.parts[:2] == ("cachecore_ext", "probe"):
                continue  # the tests' windows
            if path.suffix == ".pyx":
                yield name.with_suffix(compiled).as_posix()
            elif path.suffix in {".py", ".pyi"} or path.name == "py.typed":
                yield name.as_posix()


def metadata(wheel: zipfile.ZipFile, name: str) -> email.message.Message:
    return email.message_from_bytes(wheel.read(f"{NAME}.dist-info/{name}"))


def test_the_wheel_has_what_runs_and_nothing_else(wheel):
    described = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "top_level.txt"}
    expected = {*needed_at_run_time(), *(f"{NAME}.dist-info/{name}" for name in described)}
    assert {name for name in wheel.namelist() if not name.endswith("/")} == expected


def test_the_wheel_says_what_it_is_for(wheel):
    python = f"cp{sys.version_info.major}{sys.version_info.minor}{sys.abiflags}"
    tags = metadata(wheel, "WHEEL").get_all("Tag", [])
    assert tags
    assert [tag for tag in tags if not re.fullmatch(rf"{python}-{python}-(many)?linux_\w+", tag)] == []


def test_nothing_else_has_to_be_installed(wheel):
    found = metadata(wheel, "METADATA")
    assert found["Requires-Python"] == PROJECT["requires-python"]
    assert found["License-Expression"] == "MIT"
    assert [line for line in found.get_all("Requires-Dist", []) if "extra ==" not in line] == []


def test_the_sdist_has_all_that_people_wrote(distributions):
    found = names_in(distributions)
    assert {path.relative_to(ROOT).as_posix() for path in text_files()} - found == set()
    drawings = (ROOT / "docs").rglob("*.svg")
    assert {path.relative_to(ROOT).as_posix() for path in drawings} - found == set()


def test_the_sdist_has_nothing_that_tools_left(distributions):
    found = [PurePosixPath(name) for name in names_in(distributions)]
    assert [str(name) for name in found if name.suffix in LEFTOVERS or "results" in name.parts] == []
    written = {"PKG-INFO", "setup.cfg", "cachecore.egg-info"}  # setuptools' own
    assert {name.parts[0] for name in found} - {path.name for path in ROOT.iterdir()} - written == set()
    assert {name.parts[0] for name in found} & {"build", "dist"} == set()


def names_in(distributions: Distributions) -> set[str]:
    """The files of the sdist, without the folder that they are all in."""
    with tarfile.open(distributions.sdist) as archive:
        return {member.name.removeprefix(f"{NAME}/") for member in archive.getmembers() if member.isfile()}
