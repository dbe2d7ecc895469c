"""Short steps of ramps."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def short_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.unit.plans.RAMP_INTERVAL", 0.005)
