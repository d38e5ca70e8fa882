"""What figures depend on beside the code: the machine, the programs and their versions."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sysconfig
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
#: How a program is asked for its version, by the name it is reported under.
PROGRAMS = {
    "memcached": ("memcached", "-V"),
    "memcached-new": ("memcached-new", "-V"),
    "redis": ("redis-server", "--version"),
    "valgrind": ("valgrind", "--version"),
    "gcc": ("gcc", "-dumpfullversion"),
}
ASK_SECONDS = 20.0


def answer(command: tuple[str, ...]) -> str:
    """What a program prints, or an empty text when there is no such program or it fails."""
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=ASK_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def version_in(text: str) -> str:
    """The first thing in ``text`` that looks like a version."""
    match = re.search(r"\d+(?:\.\d+)+", text)
    return match[0] if match else ""


def cachecore() -> str:
    """The version of this checkout, and its commit where git knows it."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    commit = answer(("git", "describe", "--always", "--dirty", "--exclude=*"))
    return f"{version}, commit {commit}" if commit else version


def versions() -> dict[str, str]:
    """The versions of all programs that are there."""
    found = {"cachecore": cachecore(), "Python": platform.python_version()}
    for name, command in PROGRAMS.items():
        if shutil.which(command[0]) and (version := version_in(answer(command))):
            found[name] = version
    return found


def machine() -> str:
    """The processor, how many of its cores there are, memory and kernel, in one line."""
    model = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    size = re.search(r"^MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)
    processor = model[1].strip() if model else platform.machine()
    virtual = ", virtual" if "hypervisor" in Path("/proc/cpuinfo").read_text() else ""
    memory = f", {int(size[1]) / 2**20:.0f} GB" if size else ""
    return f"{processor}, {os.cpu_count()} cores{virtual}{memory}, Linux {platform.release()}, {libc()}"


def libc() -> str:
    """The C library, by name and version."""
    return " ".join(platform.libc_ver()) or str(sysconfig.get_config_var("HOST_GNU_TYPE"))


def about(command: str) -> dict[str, object]:
    """What a chapter says about how it came to be."""
    return {
        "command": command,
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "machine": machine(),
        "versions": versions(),
    }
