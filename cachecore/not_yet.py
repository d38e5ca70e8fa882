"""What the engine and the options do not have yet, filled in as if it were off.

It goes when nothing is missing: what is named here is what is.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from .control import Control, Options

#: Counters, of the engine and of its classes, that read as 0.
NOT_YET: Final = ("tailrepairs",)

#: The options.
OPTIONS: Final[Mapping[str, object]] = {
    "enable_shutdown": False,
    "disable_dumping": False,
    "slab_reassign": False,
    "lru_maintainer": False,
    "track_sizes": False,
    "maxconns_fast": True,
    "idle_timeout": 0,
}

_ZEROS: Final = dict.fromkeys(NOT_YET, 0)


class _Filled:
    def __init__(self, whole: Any, missing: Mapping[str, object]) -> None:
        self._whole = whole
        self._missing = missing

    def __getattr__(self, name: str) -> Any:
        if name in self._missing and not hasattr(self._whole, name):
            return self._missing[name]
        return getattr(self._whole, name)


class _FilledEngine(_Filled):
    def counters(self) -> Mapping[str, int]:
        return ChainMap(self._whole.counters(), _ZEROS)

    def class_counters(self) -> Mapping[int, Mapping[str, int]]:
        return {cls: ChainMap(counters, _ZEROS) for cls, counters in self._whole.class_counters().items()}


def request_shutdown(server: Any) -> Callable[[bool], None]:
    """The server's method of that name, which nobody calls without the option for it."""
    return lambda graceful: server.request_shutdown(graceful)


def control(engine: object) -> Control:
    """The engine, filled in."""
    return cast(Control, _FilledEngine(engine, {}))


def options(settings: object) -> Options:
    """The options, filled in."""
    return cast(Options, _Filled(settings, OPTIONS))
