"""The wheel in an environment of its own: no compiler, no index, no other package, and not the checkout."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packaging.conftest import TIMEOUT, Installation
from tests.packaging.test_distributions import PROJECT
from tests.support.wire import Client

pytestmark = pytest.mark.timeout(TIMEOUT)

CACHE = """
from cachecore import Cache, Server
with Cache(64 << 20) as cache:
    cache.set("a", b"1", ttl=60)
    assert cache["a"] == b"1"
with Server(port=0) as server:
    assert server.address[1]
"""

#: All that users import, and what comes with it that is not Python's own.
IMPORTED = """
import sys
before = set(sys.modules)
import cachecore, cachecore.cli, cachecore.testing
for name in cachecore.__all__:
    getattr(cachecore, name)
cachecore.testing.CacheServer
files = {name.partition(".")[0] for name in set(sys.modules) - before if hasattr(sys.modules[name], "__file__")}
foreign = files - set(sys.stdlib_module_names)
print(*sorted(foreign))
print(sys.modules["cachecore_ext.engine"].__file__)
"""

PLUGIN = """
import cachecore

def test_a_key(cachecore_server, cachecore_client):
    assert cachecore.__file__.startswith({packages!r})
    cachecore_client.set("a", "1", expire=60)
    cachecore_server.clock.advance(61)
    assert cachecore_client.get("a") is None
"""


@pytest.fixture
def with_pytest(installation: Installation) -> Iterator[Installation]:
    """The environment, which also finds this one's packages, behind its own."""
    borrowed = installation.packages / "borrowed.pth"
    borrowed.write_text(f"{Path(pytest.__file__).parents[1]}\n")
    yield installation
    borrowed.unlink()


@pytest.mark.parametrize("command", [("cachecore",), ("python", "-m", "cachecore")], ids=" ".join)
def test_it_says_its_version(installation, command):
    assert installation.run(*command, "-V").splitlines()[-1] == f"cachecore {PROJECT['version']}"


def test_the_daemon_serves_until_it_is_told_to_end(installation, tmp_path):
    daemon = subprocess.Popen(
        [installation.bin / "cachecore", "-s", str(tmp_path / "socket")],
        cwd=tmp_path,
        env=installation.environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert daemon.stderr is not None
    try:
        assert any(str(tmp_path / "socket") in line for line in daemon.stderr)  # else it has ended
        with Client(str(tmp_path / "socket")) as client:
            client.ask(b"set a 0 0 1\r\nx\r\n", b"STORED\r\n")
            client.ask(b"get a\r\n", b"VALUE a 0 1\r\nx\r\nEND\r\n")
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(TIMEOUT) == 0
    finally:
        daemon.kill()
        daemon.wait()
        daemon.stderr.close()


def test_the_same_engine_inside_a_process(installation):
    installation.run("python", "-c", CACHE)


def test_it_imports_nothing_but_itself_and_python(installation):
    foreign, engine = installation.run("python", "-c", IMPORTED).splitlines()
    assert foreign == "cachecore cachecore_ext"
    assert Path(engine).is_relative_to(installation.packages)


def test_pytest_finds_the_plugin(with_pytest):
    test = with_pytest.elsewhere / "test_key.py"
    test.write_text(PLUGIN.format(packages=str(with_pytest.packages)))
    said = with_pytest.run("python", "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", test)
    assert "1 passed" in said


def test_pip_is_content(installation):
    assert "No broken requirements" in installation.run("python", "-m", "pip", "check")
    shown = installation.run("python", "-m", "pip", "show", "cachecore").splitlines()
    assert "Requires: " in shown


def test_a_users_program_is_checked_against_the_types(installation):
    program = installation.elsewhere / "program.py"
    program.write_text(PROGRAM)
    options = ["--strict", "--cache-dir", os.devnull, "--python-executable", str(installation.python)]
    found = subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(program)],
        cwd=installation.elsewhere,
        env=installation.environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert found.stdout.splitlines()[-1:] == ["Success: no issues found in 1 source file"], found.stdout


#: What is ignored has to be wrong, or mypy says so.
PROGRAM = """
from cachecore import Cache, Server
from cachecore.testing import CacheServer

cache = Cache(64 << 20, default_ttl=60)
cache.set("key", b"value", ttl=1.5)
count: int | None = cache.incr("visits", initial=1)
cache.set(1.5, b"value")  # type: ignore[arg-type]
text: str = count  # type: ignore[assignment]


@cache.memoize(ttl=300)
def report(day: str) -> str:
    return day


report(7)  # type: ignore[arg-type]

with Server(port=0, memory_limit=16) as server:
    address: tuple[str, int] | str = server.address
    server.clock.advance("an hour")  # type: ignore[arg-type]

with CacheServer(threads=2) as for_tests:
    for_tests.reset()
    for_tests.resett()  # type: ignore[attr-defined]
"""
