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
