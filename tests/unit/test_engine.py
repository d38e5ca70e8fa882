"""The engine's Python face by itself."""

from __future__ import annotations

import pytest

from cachecore.server import create_engine
from cachecore.settings import Settings

#: Arguments for the methods that take some; the others, and the properties, are asked as they are.
ARGUMENTS = {
    "add_listener": (0,),
    "answer_admin": (0, None),
    "cachedump": (1, 0),
    "clock_advance": (1,),
    "crawl": (None,),
    "run_worker": (0,),
    "set_automove": (2,),
    "set_automove_ratio": (0.5,),
    "set_automove_window": (5,),
    "set_crawler_enabled": (True,),
    "set_crawler_sleep": (1,),
    "set_crawler_tocrawl": (1,),
    "set_detail": (True,),
    "set_lru_policy": ("segmented",),
    "set_lru_tuning": (20, 40, 0.2, 2.0),
    "set_memory_limit": (1 << 23,),
    "set_temporary_ttl": (1,),
    "slabs_reassign": (1, 2),
}

#: What may be called all the same.
HARMLESS = {"abandon", "close_network", "stop_network", "close", "set_users", "stop"}


def test_a_closed_engine_says_so() -> None:
    """... whatever it is asked, for the memory that it would look into is gone."""
    engine = create_engine(Settings())
    engine.close()
    names = {name for name in dir(engine) if not name.startswith("_")} - HARMLESS
    assert set(ARGUMENTS) < names
    for name in sorted(names):
        with pytest.raises(RuntimeError, match="the engine is closed"):
            getattr(engine, name)(*ARGUMENTS.get(name, ()))
    engine.stop()
    engine.close()
