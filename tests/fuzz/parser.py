"""The parser under libFuzzer: builds the target with clang, hands it seeds and a dictionary, and runs it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz import seeds
from tests.house.sources import ROOT, copy_sources, generate_c

FOLDER = ROOT / "build" / "fuzz-parser"
PLANTED = ROOT / "build" / "fuzz-parser-planted"
FINDINGS = ROOT / "build" / "fuzz-findings"
CORPUS = ROOT / "build" / "fuzz-corpus-parser"
#: The parser, what it calls, and what Cython loads with it.
MODULES = (
    *(f"cachecore_ext/base/{name}" for name in ("clock", "eventlog", "lock", "numbers")),
    "cachecore_ext/protocol/base64",
    "cachecore_ext/protocol/request",
)
TARGET = "tests/fuzz/target"
CASES = Path(__file__).parent / "cases" / "parser"

#: A bug that ``--planted`` puts into the copy: the search for a line's end looks at one byte too many.
SOUND, BROKEN = "within - scanned)", "within - scanned + 1)"

COMMON = ["-g", "-O1", "-fno-omit-frame-pointer", "-fno-strict-aliasing", "-w", "-fno-sanitize-recover=undefined"]
GUIDED = "-fsanitize=fuzzer-no-link,address,undefined"
CHECKED = "-fsanitize=address,undefined"
LONGEST = 2600  # bytes of an input: a line that is too long is 2049


def build(folder: Path, planted: bool = False) -> Path:
    """The fuzzer's program, in ``folder`` with the modules that it loads; ``planted``: with a bug."""
    if shutil.which("clang") is None:
        raise SystemExit("the parser's fuzzer is libFuzzer: apt-get install -y clang libclang-rt-dev")
    shutil.rmtree(folder, ignore_errors=True)
    copy_sources(folder)
    if planted:
        source = folder / "cachecore_ext/protocol/request.pyx"
        text = source.read_text()
        if text.count(SOUND) != 1:
            raise SystemExit(f"there is no place for the bug in {source}")
        source.write_text(text.replace(SOUND, BROKEN))
    (folder / "tests" / "fuzz").mkdir(parents=True)
    for name in ("tests/__init__.py", "tests/fuzz/__init__.py", TARGET + ".pyx"):
        shutil.copy(ROOT / name, folder / name)
    sources = [folder / f"{name}.pyx" for name in (*MODULES, TARGET)]
    said = generate_c(folder, sources)
    if said:
        raise SystemExit(said)
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    include = "-I" + sysconfig.get_paths()["include"]
    for name in (*MODULES, TARGET):
        instrument = CHECKED if name == TARGET else GUIDED
        _clang(folder, *COMMON, instrument, "-shared", "-fPIC", include, f"{name}.c", "-o", name + suffix)
    libraries = sysconfig.get_config_var("LIBDIR")
    _clang(
        folder,
        *COMMON, "-fsanitize=fuzzer,address,undefined", "-rdynamic", include, str(ROOT / "tests/fuzz/main.c"),
        *("-o", "fuzz"),
        *(f"-L{libraries}", f"-Wl,-rpath,{libraries}", f"-lpython{sysconfig.get_config_var('VERSION')}"),
    )  # fmt: skip
    return folder / "fuzz"


def _clang(folder: Path, *arguments: str) -> None:
    subprocess.run(["clang", *arguments], cwd=folder, check=True)


def dictionary() -> Iterator[str]:
    """The words of the protocol, as libFuzzer reads them."""
    for word in seeds.WORDS:
        yield '"' + "".join(chr(c) if 32 < c < 127 and c not in b'"\\' else f"\\x{c:02x}" for c in word) + '"'


def run(seconds: int, corpus: Path | None) -> int:
    """Fuzz for so long; 0 if nothing was found. Findings lie in build/, as does the corpus unless one is given."""
    return 0 if _fuzz(build(FOLDER), seconds, corpus or CORPUS, FINDINGS).returncode == 0 else 1


def find_planted(seconds: int) -> int:
    """Fuzz a parser with a bug for so long; 0 if that was found. What this leaves lies apart from all else."""
    done = _fuzz(build(PLANTED, planted=True), seconds, PLANTED / "corpus", PLANTED / "findings")
    return 0 if is_report(done) else 1


def is_report(done: subprocess.CompletedProcess[str]) -> bool:
    """Whether the fuzzer ended because it found bad use of memory, and not for any other reason."""
    return done.returncode != 0 and "ERROR: AddressSanitizer" in done.stderr


def _fuzz(program: Path, seconds: int, corpus: Path, findings: Path) -> subprocess.CompletedProcess[str]:
    """Run it for so long, and say how it went."""
    folder = program.parent
    sown = folder / "seeds"
    for needed in (corpus, findings, sown):
        needed.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds.streams()):
        (sown / f"{number:05d}").write_bytes(bytes([number % 256]) + seed[: LONGEST - 1])
    (folder / "words").write_text("\n".join(dictionary()) + "\n")
    known = [str(CASES)] if CASES.is_dir() else []
    done = subprocess.run(
        [
            *(str(program), f"-max_total_time={seconds}", f"-max_len={LONGEST}", "-detect_leaks=0", "-timeout=10"),
            *("-print_final_stats=1", "-dict=words", f"-artifact_prefix={findings}/parser-"),
            *(str(corpus.resolve()), str(sown), *known),
        ],
        cwd=folder,
        env=_environment(folder),
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    lines = done.stderr.splitlines()
    told = [line for line in lines if not re.match(r'#\d+\s+(NEW|REDUCE|pulse|RELOAD)|"', line)]
    print("\n".join([*[line for line in lines if "INITED" in line or "DONE" in line], *told[-40:]]))
    return done


def _environment(folder: Path) -> dict[str, str]:
    packages = [path for path in sys.path if path.endswith("site-packages")]
    return {
        **os.environ,
        "PYTHONHOME": sys.base_prefix,
        "PYTHONPATH": os.pathsep.join([str(folder), *packages]),
        "PYTHONMALLOC": "malloc",
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    }
