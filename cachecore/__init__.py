"""A memcached-compatible cache daemon with GIL-free workers; ``Server`` runs one inside this process.

``Cache`` is the same engine for this process alone, without a socket.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cache import Cache, TooLargeError
    from .errors import SettingsError, StartError
    from .server import Clock, Server
    from .settings import Settings

    __version__: str

__all__ = ["Cache", "Clock", "Server", "Settings", "SettingsError", "StartError", "TooLargeError", "__version__"]

#: The module of each public name; it is imported when the name is first asked for.
_HOMES = {
    "Cache": "cache",
    "Clock": "server",
    "Server": "server",
    "Settings": "settings",
    "SettingsError": "errors",
    "StartError": "errors",
    "TooLargeError": "cache",
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            from .version import package_version

            return package_version()
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(f".{_HOMES[name]}", __name__), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
