"""The pytest plugin, in a pytest of its own."""

from __future__ import annotations

import os
import textwrap
import tomllib

import pytest

from tests.house.sources import ROOT

pytest_plugins = ("pytester",)


def test_a_flushed_server_for_each_test(suite):
    suite(
        """
        import time, pytest

        @pytest.mark.parametrize("turn", range(3))
        def test_empty(turn, cachecore_server, cachecore_client, cachecore_session):
            assert cachecore_server is cachecore_session
            assert cachecore_server.items() == {}
            assert abs(cachecore_server.clock.now - time.time()) <= 2
            assert cachecore_server.counters().cmd_set == 0
            cachecore_client.set("a", "1")
            cachecore_server.clock.freeze()
            cachecore_server.clock.advance(86400)
            assert cachecore_client.server == cachecore_server.address
        """
    ).assert_outcomes(passed=3)


def test_a_marker_gives_a_server_of_its_own(suite):
    suite(
        """
        import pytest

        @pytest.fixture
        def settings(cachecore_server):
            return cachecore_server.server.settings

        @pytest.mark.cachecore(memory_limit=8, threads=1, max_item_size="2m")
        class TestSmall:
            def test_class(self, settings, cachecore_server, cachecore_session):
                assert cachecore_server is not cachecore_session
                assert (settings.memory_limit, settings.threads, settings.max_item_size) == (8, 1, 2 << 20)

            @pytest.mark.cachecore(threads=3, auth=("me", "secret"))
            def test_closest(self, settings, cachecore_server, cachecore_client):
                assert (settings.memory_limit, settings.threads) == (8, 3)
                assert cachecore_client.set("a", "1") and b"a" in cachecore_server.items()

        def test_none(settings):
            assert settings.threads == 2
        """
    ).assert_outcomes(passed=3)


@pytest.mark.parametrize(
    ("marker", "said"),
    [
        ("threads=0", "*cachecore: *threads*"),
        ("nonsense=1", "*cachecore: the marker cachecore has no option nonsense; see *"),
        ("memory_limt=8", "*cachecore: the marker cachecore has no option memory_limt; is it memory_limit?"),
        ("unix_socket='/x'", "*in_a_line.py:3: cachecore: the marker cachecore has no unix_socket: *"),
        ("auth='x'", "*cachecore: auth is a name and a password*"),
        ("8", "*takes keywords only*"),
    ],
)
def test_a_wrong_marker_is_said_in_a_line(suite, marker, said):
    result = suite(
        f"""
        import pytest

        @pytest.mark.cachecore({marker})
        def test_it(cachecore_server): ...
        """
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([said])
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*another exception*")


def test_faults_and_commands_have_the_proxy(suite):
    suite(
        """
        def test_faults(cachecore_server, cachecore_faults, cachecore_client):
            assert cachecore_server.faults is cachecore_faults
            cachecore_client.set("a", "1")
            with cachecore_faults.restart():
                pass

        def test_commands(cachecore_commands, cachecore_server, cachecore_client):
            cachecore_client.get("a")
            assert [command.line for command in cachecore_commands] == [b"get a"]

        def test_neither(cachecore_server, cachecore_session):
            assert cachecore_server is cachecore_session
        """
    ).assert_outcomes(passed=3)


def test_the_session_s_server_behind_the_proxy(suite):
    suite(
        """
        def test_one(cachecore_faults, cachecore_session, cachecore_server, cachecore_client, cachecore_commands):
            assert cachecore_server is cachecore_session
            assert list(cachecore_commands) == []
            cachecore_client.get("a")
            assert cachecore_session.faults is cachecore_faults

        test_two = test_one
        """,
        ini="cachecore_proxy = true",
    ).assert_outcomes(passed=2)


APPLICATION = """
import pytest

@pytest.fixture(scope="session", autouse=True)
def application(cachecore_session):
    return cachecore_session.address

def test_faults(cachecore_faults): ...

def test_commands(cachecore_commands): ...

def test_neither(cachecore_server): ...
"""


def test_faults_that_an_application_would_never_meet_are_told(suite):
    result = suite(APPLICATION)
    result.assert_outcomes(errors=2, passed=1)
    result.stdout.fnmatch_lines(["*: cachecore: this test's faults * cachecore_session, too: set cachecore_proxy = *"])


def test_with_the_proxy_an_application_meets_them(suite):
    suite(APPLICATION, ini="cachecore_proxy = true").assert_outcomes(passed=3)


def test_with_a_marker_it_may_be_meant(suite):
    source = APPLICATION.replace("def test_", "@pytest.mark.cachecore(threads=1)\ndef test_")
    result = suite(source, "-W", "default::pytest.PytestWarning")
    result.assert_outcomes(passed=3, warnings=2)


TYPES = """
def test_it(cachecore_server):
    settings = cachecore_server.server.settings
    assert (settings.memory_limit, settings.threads, settings.max_item_size) == (16, 3, 2 << 20)
    assert cachecore_server.users == (("me", "secret"), ("you", "se:cret"))
    cachecore_server.faults
"""


@pytest.mark.parametrize(
    ("table", "since"),
    [
        (
            """
            [pytest]
            cachecore_memory_limit = 16
            cachecore_threads = 3
            cachecore_max_item_size = 2097152
            cachecore_auth = ["me:secret", "you:se:cret"]
            cachecore_proxy = true
            """,
            (9, 2),
        ),
        (
            """
            [pytest]
            cachecore_memory_limit = 16
            cachecore_threads = 3
            cachecore_max_item_size = "2m"
            cachecore_auth = ["me:secret", "you:se:cret"]
            cachecore_proxy = true
            """,
            (9, 0),
        ),
        (
            """
            [pytest]
            cachecore_memory_limit = "16"
            cachecore_threads = "3"
            cachecore_max_item_size = "2m"
            cachecore_auth = ["me:secret", "you:se:cret"]
            cachecore_proxy = true
            """,
            (9, 2),
        ),
    ],
)
def test_the_options_in_pytest_s_own_toml(suite, pytester, table, since):
    if pytest.version_tuple < since:
        pytest.skip(f"pytest {since[0]}.{since[1]} does so")
    (pytester.path / "pytest.toml").write_text(textwrap.dedent(table))
    suite(TYPES).assert_outcomes(passed=1)


@pytest.mark.parametrize("size", ["2m", "2097152"])
def test_the_options_in_an_ini_file(suite, size):
    lines = ("memory_limit = 16", "threads = 3", f"max_item_size = {size}", "auth =\n  me:secret\n  you:se:cret")
    suite(TYPES, ini="\n".join(f"cachecore_{line}" for line in (*lines, "proxy = true"))).assert_outcomes(passed=1)


def test_a_wrong_option_of_the_ini_file_is_said_in_a_line(suite):
    result = suite("def test_it(cachecore_server): ...", ini="cachecore_memory_limit = much")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*tox.ini: cachecore: The memory limit must be a whole number of megabytes*"])
    result.stdout.no_fnmatch_line("*another exception*")


UNUSED = """
import sys, threading

def test_nothing(request):
    assert "cachecore.testing.plugin" in sys.modules
    ours = {name for name in sys.modules if name.split(".")[0] in ("cachecore", "cachecore_ext")}
    assert ours == {"cachecore", "cachecore.testing", "cachecore.testing.plugin"}
    assert "pymemcache" not in sys.modules
    assert threading.active_count() == 1
"""


def test_unused_it_is_an_import(suite):
    suite(UNUSED).assert_outcomes(passed=1)


def test_it_is_on_by_install(pytester, monkeypatch):
    """An installation's metadata is all that pytest needs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    info = pytester.mkdir("cachecore-0.dist-info")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cachecore\nVersion: 0\n")
    entries = "".join(f"{name} = {module}\n" for name, module in project["entry-points"]["pytest11"].items())
    (info / "entry_points.txt").write_text(f"[pytest11]\n{entries}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(pytester.path), str(ROOT)]))
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", raising=False)
    pytester.makepyfile("def test_it(cachecore_server): assert cachecore_server.items() == {}")
    pytester.runpytest_subprocess("-W", "error", timeout=60).assert_outcomes(passed=1)
    assert pytester.runpytest_subprocess("-p", "no:cachecore", timeout=60).ret != 0


def test_without_pymemcache_it_is_said(suite):
    result = suite(
        """
        import sys
        sys.modules["pymemcache"] = None

        def test_it(cachecore_server, cachecore_client): ...

        def test_server(cachecore_server): ...
        """
    )
    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines(["*:4: cachecore: cachecore_client needs pymemcache: pip install pymemcache*"])
    result.stdout.no_fnmatch_line("*another exception*")


def test_each_worker_of_xdist_has_its_own(suite, pytester):
    pytest.importorskip("xdist")
    suite(
        """
        import os, pathlib, pytest

        @pytest.mark.parametrize("turn", range(8))
        def test_it(turn, cachecore_server, cachecore_client, worker_id):
            assert cachecore_server.items() == {}
            for i in range(100):
                cachecore_client.set(worker_id, str(i))
                assert cachecore_client.get(worker_id) == str(i).encode()
            assert set(cachecore_server.items()) == {worker_id.encode()}
            pathlib.Path(f"{worker_id}-{cachecore_server.port}").touch()
        """,
        *("-p", "xdist", "-n", "2"),
    ).assert_outcomes(passed=8)
    found = sorted(path.name.split("-") for path in pytester.path.glob("gw*-*"))
    assert [worker for worker, _ in found] == ["gw0", "gw1"]
    assert len({port for _, port in found}) == 2
