"""Retries that a test can wait for."""

from __future__ import annotations

import pytest

from agent.unit import connecting


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries at a unit that is offline come after 10 to 50 ms."""
    monkeypatch.setattr(connecting, "FIRST_RETRY", 0.01)
    monkeypatch.setattr(connecting, "LAST_RETRY", 0.04)
    monkeypatch.setattr(connecting, "RETRY_JITTER", 0.01)
    monkeypatch.setattr(connecting, "SHORT_LIVED", 0.05)
