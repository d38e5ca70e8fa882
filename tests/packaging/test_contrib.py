"""The examples for operators: a unit and its socket for systemd, and a container."""

from __future__ import annotations

import configparser
import ctypes
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cachecore import Settings
from cachecore.usage import parse_argv
from tests.house.sources import ROOT
from tests.support.wire import Client

CONTRIB = ROOT / "contrib"
UNITS = sorted((CONTRIB / "systemd").iterdir())
CONTAINER = (CONTRIB / "Containerfile").read_text()

#: Seconds; for a start of the daemon.
TIMEOUT = 30

#: From Linux's prctl.h: what MemoryDenyWriteExecute= asks of newer kernels. Older ones refuse.
PR_SET_MDWE = 65
PR_MDWE_REFUSE_EXEC_GAIN = 1

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


class Unit(configparser.RawConfigParser):
    """A unit as systemd reads it: its keys are case sensitive. Of a repeated one the last value."""

    def __init__(self, path: Path) -> None:
        super().__init__(strict=False, interpolation=None)
        self.read(path)

    def optionxform(self, optionstr: str) -> str:
        return optionstr


def settings_of(words: list[str]) -> Settings:
    """What cachecore makes of a command line, whose first word is its path."""
    assert words[0] == "/opt/cachecore/bin/cachecore"
    settings, action, remarks = parse_argv(words[1:])
    assert (action, list(remarks)) == (None, [])
    return settings


def instruction(name: str) -> str:
    """The last instruction of this name in the Containerfile, without the name."""
    return re.findall(rf"^{name} (.*)$", CONTAINER, re.MULTILINE)[-1]


@pytest.fixture
def installed_units(tmp_path: Path) -> list[Path]:
    """The units with a program that is there: systemd wants to see it."""
    for unit in UNITS:
        (tmp_path / unit.name).write_text(unit.read_text().replace("/opt/cachecore/bin/cachecore", sys.executable))
    return [tmp_path / unit.name for unit in UNITS]


@needs_systemd
def test_systemd_understands_the_units(installed_units):
    done = subprocess.run(["systemd-analyze", "verify", *installed_units], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
def test_the_service_has_little_power(installed_units):
    """Beyond 2.0 of systemd's ten something was left open; 9.6 is a unit without any of it."""
    words = ["systemd-analyze", "security", "--offline=true", "--threshold=20"]
    services = [unit for unit in installed_units if unit.suffix == ".service"]
    done = subprocess.run([*words, *services], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_service_starts_the_daemon():
    service = Unit(CONTRIB / "systemd" / "cachecore.service")["Service"]
    assert settings_of(shlex.split(service["ExecStart"])).memory_limit == 64
    assert service["Type"] == "notify"


def test_the_daemon_needs_no_memory_that_can_be_written_and_run(tmp_path):
    """With -k, which is what calls the C library by way of ctypes."""
    libc = ctypes.CDLL(None)
    kept = subprocess.Popen(
        [sys.executable, "-m", "cachecore", "-k", "-s", str(tmp_path / "socket")],
        preexec_fn=lambda: libc.prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0),
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    with kept as daemon:
        assert daemon.stderr is not None
        try:
            said = [next(line for line in daemon.stderr if "socket" in line)]
            with Client(str(tmp_path / "socket")) as client:
                client.ask(b"mn\r\n", b"MN\r\n")
        finally:
            daemon.terminate()
        said += daemon.stderr
        assert daemon.wait(TIMEOUT) == 0, said


def test_the_container_starts_the_daemon_for_others():
    words = [*json.loads(instruction("ENTRYPOINT")), *json.loads(instruction("CMD"))]
    assert settings_of(words).listen == ("0.0.0.0",)
    assert int(instruction("EXPOSE")) == settings_of(words).port
    assert instruction("USER").split(":")[0].isdecimal()


@pytest.mark.parametrize("serves", [True, False])
def test_the_containers_health_is_asked_for(cachecore_peer, serves):
    command = json.loads(instruction("HEALTHCHECK").partition(" CMD ")[2])
    assert command[:2] == ["/opt/cachecore/bin/python", "-c"]
    _, port = cachecore_peer.address
    asked = command[2].replace("11211", str(port if serves else 1))
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, timeout=TIMEOUT, check=False)
    assert (done.returncode == 0) == serves
