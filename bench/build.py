"""Compile the bench's own modules beside their sources, when they are missing or older than those."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

from bench.errors import BenchError

HERE = Path(__file__).parent
SOURCES = [HERE / f"{name}.pyx" for name in ("lines", "loadgen", "nullserver", "traces", "policies", "replay")]
#: A change of any of these makes every module outdated.
SHARED = [*sorted(HERE.glob("*.pxd")), Path(__file__)]

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
    "show_performance_hints": True,
}
COMPILE_ARGS = [
    *("-std=gnu11", "-O3", "-g1", "-fno-strict-aliasing", "-Wall", "-Wextra"),
    # Cython's own generated code: unused helpers and CPython's casts are not ours to fix.
    *("-Wno-unused-function", "-Wno-unused-parameter", "-Wno-missing-field-initializers"),
    "-Wno-cast-function-type",
]


class BuildError(BenchError):
    """The compiled half of the bench could not be built."""


def target(source: Path) -> Path:
    """The file a source is compiled to."""
    return source.with_name(source.stem + sysconfig.get_config_var("EXT_SUFFIX"))


def outdated() -> list[Path]:
    """The sources that have to be compiled."""
    shared = max(path.stat().st_mtime for path in SHARED)
    return [
        source
        for source in SOURCES
        if not target(source).exists() or target(source).stat().st_mtime < max(shared, source.stat().st_mtime)
    ]


def ensure(*, force: bool = False, quiet: bool = True) -> None:
    """Compile what is missing or outdated, or with ``force`` everything; BuildError says what that takes."""
    sources = SOURCES if force else outdated()
    if not sources:
        return
    try:
        from Cython.Build import cythonize
        from setuptools import Distribution, Extension
    except ImportError as error:
        raise BuildError(
            f"the bench compiles its loops with Cython and setuptools, and {error.name} is not "
            "installed: pip install 'cachecore[bench]'"
        ) from None
    before = Path.cwd()
    os.chdir(HERE.parent)  # module names and build folders are relative to it
    try:
        extensions = [
            Extension(f"bench.{source.stem}", [f"bench/{source.name}"], extra_compile_args=COMPILE_ARGS)
            for source in sources
        ]
        modules = cythonize(
            extensions, compiler_directives=DIRECTIVES, build_dir="bench/build", force=True, quiet=quiet
        )
        distribution = Distribution({"name": "bench", "ext_modules": modules, "packages": []})
        command = distribution.get_command_obj("build_ext")
        command.inplace = True
        command.force = True
        command.build_temp = "bench/build/objects"
        distribution.verbose = not quiet
        command.ensure_finalized()
        command.run()
    except SystemExit as error:
        raise BuildError(f"the bench's load generator could not be compiled: {error}") from None
    except Exception as error:
        raise BuildError(f"the bench's load generator could not be compiled: {error!r}") from error
    finally:
        os.chdir(before)


if __name__ == "__main__":
    ensure(force=True, quiet=False)
