"""Fixtures of the control plane's tests, and how hard hypothesis looks in those of the data plane."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

import cachecore.server
from tests.unit.fake_engine import FakeEngine

#: The same examples every time, in seconds; ``HYPOTHESIS_PROFILE=search`` looks for new ones, for minutes.
settings.register_profile(
    "quick",
    max_examples=60,
    stateful_step_count=50,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile(
    "search", settings.get_profile("quick"), max_examples=3000, stateful_step_count=150, derandomize=False
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """What the next server runs on."""
    fake = FakeEngine()
    monkeypatch.setattr(cachecore.server, "create_engine", lambda settings: fake)
    return fake
