"""The units of an agent, without a broker: told of its loss, replaced and ended."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from agent import config
from agent.config import Config
from agent.service.units import Difference, Units
from agent.unit.supply import Supply
from tests.lab import PATIENCE, settings, unit
from tests.unit.fakedriver import Sheet


def configuration(folder: Path, *numbers: int) -> Config:
    units = [unit(f"psu{number}", uri=f"TCPIP::127.0.0.1::{number}::SOCKET") for number in numbers]
    return config.from_data(settings(1883, units, folder))


def test_a_new_unit_is_told_of_a_broker_that_goes_while_units_are_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told in the wrong order, it would never turn off what is to be off without a broker."""
    older, newer = configuration(tmp_path, 1), configuration(tmp_path, 1, 2)
    units = Units(older, [Sheet()], {})
    units.broker_gone(None)
    told: list[float | None] = []
    mqtt = threading.Thread(target=units.broker_gone, args=(5.0,))
    broker_gone = Supply.broker_gone

    def tell(self: Supply, since: float | None) -> None:
        if mqtt.ident is None:
            mqtt.start()
            mqtt.join(0.1)  # as far as it comes before the main thread goes on
        if self.name == "psu2":
            told.append(since)
        broker_gone(self, since)

    monkeypatch.setattr(Supply, "broker_gone", tell)
    drivers = units.drivers(Difference.between(older, newer), newer)
    units.replace(newer, drivers, {})
    mqtt.join(PATIENCE)
    assert told == [None, 5.0]


def test_units_that_never_began_are_ended(tmp_path: Path) -> None:
    units = Units(configuration(tmp_path, 1, 2), [Sheet()], {})
    units.end()
    units.end(["psu2"])


def test_channels_without_a_limit_are_told_when_units_start_or_are_added(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "agent.service.units")
    older, newer = configuration(tmp_path, 1), configuration(tmp_path, 1, *range(2, 30))
    units = Units(older, [Sheet()], {})
    assert not caplog.messages
    units.start()
    assert [line for line in caplog.messages if "limit" in line] == [
        "psu1: no limit but the rating on channels 1, 2 and 3; voltage_max and current_max set one"
    ]
    caplog.clear()
    units.replace(newer, units.drivers(Difference.between(older, newer), newer), {})
    told = [line for line in caplog.messages if "limit" in line]
    assert told[0].startswith("psu2: no limit")
    assert told[-1] == "8 more lines on limits; `psu-agent check` tells them all"
    units.end()
