"""A memcached for tests: ``CacheServer`` in the test's process, with a clock to move, faults on demand, and a look in.

``plugin`` has it as pytest fixtures; nothing here needs pytest but that module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .commands import Command, Commands
    from .faults import Fault, Faults
    from .server import CacheServer, Counters, Item, Items

__all__ = ["CacheServer", "Command", "Commands", "Counters", "Fault", "Faults", "Item", "Items"]

#: The module of each public name; it is imported when the name is first asked for.
_HOMES = {
    "CacheServer": "server",
    "Command": "commands",
    "Commands": "commands",
    "Counters": "server",
    "Fault": "faults",
    "Faults": "faults",
    "Item": "server",
    "Items": "server",
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(f".{_HOMES[name]}", __name__), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
