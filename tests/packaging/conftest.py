"""The distributions, and an environment in which nothing but the wheel is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.house.sources import ROOT

#: Seconds; building takes a minute on one core.
TIMEOUT = 300

#: A folder with an sdist and a wheel that are built already; without it they are built for the tests.
GIVEN = "CACHECORE_DIST"


class Distributions(NamedTuple):
    """What is uploaded."""

    sdist: Path
    wheel: Path


class Installation:
    """A virtual environment with the wheel in it. Its programs see no compiler, no index and no checkout."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.python = self.bin / "python"
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        self.packages = folder / "lib" / version / "site-packages"
        self.elsewhere = folder / "elsewhere"
        self.elsewhere.mkdir()
        self.environment = {
            "PATH": str(self.bin),
            "HOME": str(self.elsewhere),
            "LANG": "C.UTF-8",
            "CC": "false",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def run(self, *words: str | Path, status: int = 0) -> str:
        """Run a program of the environment; what it wrote to stdout."""
        done = subprocess.run(
            [self.bin / words[0], *words[1:]],
            cwd=self.elsewhere,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout


def build(folder: Path) -> None:
    """Both distributions, the wheel from what is in the sdist. Quickly: how fast the code is does not matter here."""
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT],
        cwd=folder,
        env={**os.environ, "CACHECORE_DEBUG": "1"},
        stdout=subprocess.DEVNULL,
        timeout=TIMEOUT,
        check=True,
    )


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    if GIVEN in os.environ:
        folder = ROOT / os.environ[GIVEN]
    else:
        folder = tmp_path_factory.mktemp("dist")
        build(folder)
    (sdist,) = folder.glob("*.tar.gz")
    (wheel,) = folder.glob("*.whl")
    return Distributions(sdist, wheel)


@pytest.fixture(scope="session")
def wheel(distributions: Distributions) -> Iterator[zipfile.ZipFile]:
    with zipfile.ZipFile(distributions.wheel) as archive:
        yield archive


@pytest.fixture(scope="session")
def installation(distributions: Distributions, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", folder], timeout=TIMEOUT, check=True)
    found = Installation(folder)
    found.run("python", "-m", "pip", "install", "--no-index", "--only-binary=:all:", distributions.wheel)
    return found
