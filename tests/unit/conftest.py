"""Fixtures of the control plane's tests."""

from __future__ import annotations

import pytest

import cachecore.server
from tests.unit.fake_engine import FakeEngine


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """What the next server runs on."""
    fake = FakeEngine()
    monkeypatch.setattr(cachecore.server, "create_engine", lambda settings: fake)
    return fake
