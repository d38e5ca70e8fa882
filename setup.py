"""Build of the Cython data plane; everything else about the project is in pyproject.toml.

Switches (environment variables, all off by default):

``CACHECORE_WERROR=1``      C warnings and Cython's performance hints are errors (what CI builds with)
``CACHECORE_DEBUG=1``       ``-O0 -g``
``CACHECORE_SANITIZE=address`` or ``thread``  build for the sanitizer of that name
``CACHECORE_ANNOTATE=1``    write Cython's HTML annotation beside each source
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import sysconfig
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

if not sys.platform.startswith("linux"):
    sys.exit("cachecore needs Linux: its workers are built on epoll, eventfd and accept4.")

ROOT = Path(__file__).parent

#: The tests' windows into the rooms: built where the tests are, which is in a checkout, and not for a wheel.
WINDOWS = "cachecore_ext.probe."

#: One table for every room. Directives written into a .pyx would not reach the inline functions of the
#: .pxd files it cimports, so they stand here and nowhere else.
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
    "nonecheck": False,
    "embedsignature": True,
    "warn.undeclared": False,
    "warn.maybe_uninitialized": True,
    "show_performance_hints": True,
}

SANITIZERS = {
    "address": ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"],
    "thread": ["-fsanitize=thread"],
}


def switch(name: str) -> bool:
    """Whether the environment variable ``name`` is set to anything but empty or 0."""
    return os.environ.get(name, "") not in ("", "0")


def flags() -> tuple[list[str], list[str]]:
    """Compiler and linker flags for every extension."""
    compile_args = ["-std=gnu11", "-fno-strict-aliasing", "-Wall", "-Wextra"]
    # Cython's own generated code: unused helpers and CPython's casts are not ours to fix.
    compile_args += ["-Wno-unused-function", "-Wno-unused-parameter", "-Wno-missing-field-initializers"]
    compile_args += ["-Wno-cast-function-type", "-Wno-discarded-qualifiers"]  # its temporaries lose const
    compile_args += ["-O0", "-g"] if switch("CACHECORE_DEBUG") else ["-O3", "-g1"]
    if switch("CACHECORE_WERROR"):
        compile_args.append("-Werror")
    link_args: list[str] = []
    if sanitizer := os.environ.get("CACHECORE_SANITIZE"):
        if sanitizer not in SANITIZERS:
            sys.exit(f"CACHECORE_SANITIZE={sanitizer}: known are {', '.join(SANITIZERS)}")
        compile_args += [*SANITIZERS[sanitizer], "-fno-omit-frame-pointer", "-O1", "-g"]
        link_args += SANITIZERS[sanitizer]
    return compile_args, link_args


def extensions() -> list[Extension]:
    """One extension a room: every .pyx below cachecore_ext; for sanitizers the planted bugs, too."""
    compile_args, link_args = flags()
    sources = sorted((ROOT / "cachecore_ext").rglob("*.pyx"))
    if os.environ.get("CACHECORE_SANITIZE"):
        sources += sorted((ROOT / "tests" / "sanitize").glob("*.pyx"))
    return [
        Extension(
            ".".join(source.relative_to(ROOT).with_suffix("").parts),
            [str(source.relative_to(ROOT))],
            extra_compile_args=compile_args,
            extra_link_args=link_args,
        )
        for source in sources
    ]


def require_compiler() -> None:
    """Say what is missing before anything is translated."""
    program = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    if shutil.which(program) is None:
        sys.exit(f"cachecore needs a C compiler, and there is no {program}: apt-get install gcc python3-dev, or set CC")
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        sys.exit("cachecore needs the headers of Python, and there is no Python.h: apt-get install python3-dev")


class BuildRooms(build_ext):
    """Translates and compiles the rooms when they are to be built, which asking for metadata or an sdist is not."""

    def run(self) -> None:
        """Build what this installation needs, as many rooms at a time as there are cores."""
        if not (self.inplace or self.editable_mode):
            self.extensions = [room for room in self.extensions if not room.name.startswith(WINDOWS)]
        require_compiler()
        self.parallel = self.parallel or len(os.sched_getaffinity(0))
        translated = cythonize(
            self.extensions,
            compiler_directives=DIRECTIVES,
            annotate=switch("CACHECORE_ANNOTATE"),
            emit_linenums=switch("CACHECORE_DEBUG") or bool(os.environ.get("CACHECORE_SANITIZE")),
            nthreads=0,
        )
        sources = {room.name: room.sources for room in translated}
        for room in self.extensions:
            room.sources = sources[room.name]
        super().run()


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildRooms})
