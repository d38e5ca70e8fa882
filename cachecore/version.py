"""The two versions that are named to the outside: memcached's, which is matched, and cachecore's own."""

from __future__ import annotations

from functools import cache
from typing import Final

#: The memcached whose behaviour is matched: what ``version`` answers, the first line of ``-V`` and ``-h``.
MEMCACHED_VERSION: Final = "1.6.45"

#: cachecore's version where no installed metadata says it (a bare source tree).
UNINSTALLED: Final = "0+unknown"


@cache
def package_version() -> str:
    """The version of the installed distribution, for example ``0.1.0``."""
    from importlib import metadata  # 20 ms that a start does not have to pay

    try:
        return metadata.version("cachecore")
    except metadata.PackageNotFoundError:
        return UNINSTALLED
