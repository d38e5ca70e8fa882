"""What the README promises is there: commands, files, links, markers; .ci/run has its test command."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.sources import ROOT

PROSE = [
    path
    for path in (
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
        *sorted((ROOT / "docs").rglob("*.md")),
        *(ROOT / name / "README.md" for name in ("bench", "cachecore_ext", "contrib", "examples")),
    )
    if path.exists()
]
README = (ROOT / "README.md").read_text()
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+\s+(.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def broken_links(text: str, folder: Path) -> Iterator[str]:
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        if name and not (folder / name).exists():
            yield target
        elif anchor:
            page = (folder / name).read_text() if name else text
            if anchor not in anchors(page):
                yield target


def command_after(marker: str, text: str = README) -> str:
    """The shell command in the code block that follows ``<!-- marker -->``."""
    match = re.search(rf"^<!-- {marker} -->\n```sh\n(.*?)\n```$", text, re.MULTILINE | re.DOTALL)
    if match is None:
        raise LookupError(f"no command after {marker}")
    return match[1]


def unknown_parts(command: str, project: dict) -> Iterator[str]:
    """Parts of a shell command that this project does not offer."""
    extras, scripts = project["optional-dependencies"], project["scripts"]
    for part in command.split("&&"):
        words = part.split()
        if words[:2] == ["pip", "install"]:
            target = words[-1].strip("'\"")
            extra = re.fullmatch(r"\.(?:\[(\w+)\])?", target)
            if extra is None or (extra[1] and extra[1] not in extras):
                yield part.strip()
        elif words[:2] == ["python", "-m"]:
            if not (ROOT / words[2]).is_dir() and not any(
                re.match(rf"{words[2]}\b", needed) for needed in extras["test"]
            ):
                yield part.strip()
        elif words[0] not in scripts:
            yield part.strip()


@pytest.mark.parametrize("path", PROSE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path):
    assert list(broken_links(path.read_text(), path.parent)) == []


def test_folders_of_the_map_have_a_readme_or_code():
    rows = re.findall(r"^\| \[([\w/]+)/\]\((\S+?)\) \|", README, re.MULTILINE)
    assert {name for name, _ in rows} >= {"cachecore", "cachecore_ext", "tests", "bench"}
    for name, target in rows:
        assert name == target
        assert (ROOT / name / "README.md").exists() or any((ROOT / name).rglob("*.py*")), f"{name} is empty"


@pytest.mark.parametrize("marker", ["start", "test"])
def test_commands_are_offered(marker):
    assert list(unknown_parts(command_after(marker), PYPROJECT["project"])) == []


def test_the_console_script_names_a_function():
    module, _, function = PYPROJECT["project"]["scripts"]["cachecore"].partition(":")
    source = (ROOT / (module.replace(".", "/") + ".py")).read_text()
    assert re.search(rf"^def {function}\(", source, re.MULTILINE)


def test_ci_runs_the_test_command_of_the_readme():
    script = (ROOT / ".ci" / "run").read_text()
    (cut_out,) = re.findall(r"^command=\$\((sed .*) README\.md\)$", script, re.MULTILINE)
    done = subprocess.run(f"{cut_out} README.md", shell=True, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == command_after("test")
    assert script.rstrip().endswith('-c "$command"'), "pytest's closing line has to be the last one"
    assert "set -euo pipefail" in script


@pytest.mark.parametrize("name", ["bench", "throughput", "memory", "embedded"])
def test_generated_parts_have_their_markers(name):
    assert README.count(f"<!-- {name} -->\n") == 1
    assert README.index(f"<!-- {name} -->") < README.index(f"<!-- /{name} -->")


def test_a_broken_link_is_seen():
    text = "# A b\n[x](LICENSE) [y](NOWHERE.md) [z](#a-b) [w](#c) [v](https://x.example/) [u](README.md#c)\n"
    assert list(broken_links(text, ROOT)) == ["NOWHERE.md", "#c", "README.md#c"]


def test_an_unknown_command_is_seen():
    project = {"optional-dependencies": {"test": ["pytest>=8"]}, "scripts": {"cachecore": "x:y"}}
    assert list(unknown_parts("pip install . && cachecore", project)) == []
    assert list(unknown_parts("pip install -e '.[tests]' && memcache && python -m nose", project)) == [
        "pip install -e '.[tests]'",
        "memcache",
        "python -m nose",
    ]
    with pytest.raises(LookupError):
        command_after("test", "<!-- test -->\nno block\n")
