"""Since when the broker has been gone, and who is told."""

from __future__ import annotations

import pytest

from agent.mqtt.presence import SILENCE, Presence


@pytest.fixture
def told() -> list[float | None]:
    return []


@pytest.fixture
def presence(told: list[float | None]) -> Presence:
    presence = Presence(100.0)
    presence.listen(told.append)
    return presence


def test_it_is_gone_until_it_is_found(presence: Presence, told: list[float | None]) -> None:
    assert (presence.gone_since, presence.connected, told) == (100.0, False, [])
    presence.tell()
    presence.found()
    assert (presence.gone_since, presence.connected) == (None, True)
    presence.lost(130.0, 120.0)
    assert (presence.gone_since, presence.connected) == (120.0, False)
    presence.found()
    assert told == [100.0, None, 120.0, None]


def test_a_broker_that_is_silent_is_gone_though_it_is_connected(presence: Presence, told: list[float | None]) -> None:
    presence.found()
    presence.watch(200.0, None, 110.0)  # nothing is due
    presence.watch(200.0, 200.0 - SILENCE, 110.0)  # not for long
    presence.watch(200.0, 150.0, 200.0 - SILENCE)  # it was heard just now
    assert told == [None]
    presence.watch(200.0, 150.0, 160.0)
    presence.watch(201.0, 150.0, 160.0)
    assert told == [None, 160.0]
    assert (presence.gone_since, presence.connected) == (160.0, True)
    presence.watch(202.0, 201.5, 201.6)
    assert told == [None, 160.0, None]
    presence.watch(210.0, 205.0, 206.0)
    presence.lost(220.0, 206.0)
    assert presence.gone_since == 206.0
    assert told[3:] == [206.0, 206.0]


def test_a_listener_that_raises_keeps_nothing_from_the_others(
    presence: Presence, told: list[float | None], caplog: pytest.LogCaptureFixture
) -> None:
    def raise_(_: float | None) -> None:
        raise RuntimeError("of the listener's")

    presence = Presence(1.0)
    presence.listen(raise_)
    presence.listen(told.append)
    presence.tell()
    assert told == [1.0]
    assert "of the listener's" in caplog.text
