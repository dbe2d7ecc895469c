"""Korad KA3005P and rebrands, and Velleman PS3005D: no terminators, no commas in the identity, a status byte, long pauses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from agent.instruments.catalogue import candidates
from agent.instruments.driver import IdentityError, never
from agent.instruments.text.driver import TextDriver
from agent.instruments.text.knowledge import Knowledge
from tests.instruments.series.on_paper import CHECKS, Supply, connected, reading, series_of

KORAD = Supply(
    series="Korad KA",
    models={
        "TENMA 72-2535 V2.1": "72-2535",
        "KORADKA3005PV2.0": "KA3005P",
        "KORAD KD3005P V2.0": "KD3005P",
        "KORADKA6003PV2.0": "KA6003P",
        "TENMA72-2540V2.0": "72-2540",
        "TENMA 72-2540 V2.1": "72-2540",
        "VELLEMANLABPS3005DV2.0": "LABPS3005D",
        "RND 320-KA3005P V2.0": "320-KA3005P",
        "S-LS-31 V2.0": "S-LS-31",
        # What some firmware sends behind it.
        "KORADKA3005PV2.0\x01": "KA3005P",
        "KORADKA3005PV2.0\xbc": "KA3005P",
        "KORADKA3005PV2.0\x00": "KA3005P",
        "TENMA 72-2540 V5.8 SN:04152634": "72-2540",
    },
    answers={"VOUT1?": "12.00", "IOUT1?": "0.305", "VSET1?": "12.00", "ISET1?": "1.000K", "STATUS?": "\x51"},
    poll=["VOUT1?", "IOUT1?", "VSET1?", "ISET1?", "STATUS?"],
    readings={
        1: reading(
            voltage=12.0,
            current=0.305,
            voltage_limit=12.0,
            current_limit=1.0,
            state=True,
            mode="CV",
            voltage_protection_state=False,
        )
    },
    settings=[
        (1, "state", True, ["OUT1"]),
        (1, "state", False, ["OUT0"]),
        (1, "voltage_limit", 3.3, ["VSET1:03.30"]),
        (1, "voltage_limit", 12.5, ["VSET1:12.50"]),
        (1, "current_limit", 0.25, ["ISET1:0.250"]),
        (1, "voltage_protection_state", True, ["OVP1"]),
        (1, "voltage_protection_state", False, ["OVP0"]),
    ],
)
VELLEMAN = replace(
    KORAD,
    series="PS3005D",
    models={"VELLEMANPS3005DV2.0": "PS3005D", "VELLEMANPS3005DV1.3": "PS3005D"},
    readings={1: KORAD.readings[1]._replace(voltage_protection_state=None)},
    settings=[line for line in KORAD.settings if line[1] != "voltage_protection_state"],
)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("supply", [KORAD, VELLEMAN], ids=lambda supply: supply.series.split()[-1])
def test_series(supply: Supply, check: Callable[[Supply], None]) -> None:
    check(supply)


@pytest.mark.parametrize(
    ("status", "state", "mode", "ovp"),
    [
        (80, True, "CC", False),
        (16, False, "OFF", False),
        (81, True, "CV", False),
        (17, False, "OFF", False),
        (208, True, "CC", True),
        (144, False, "OFF", True),
        (209, True, "CV", True),
        (145, False, "OFF", True),
    ],
)
def test_recorded_status(status: int, state: bool, mode: str, ovp: bool) -> None:
    """Status bytes of Tenma units. 145 is the one after a trip, too: nothing tells that."""
    told = KORAD.reading({"STATUS?": chr(status)})
    assert told[4:5] == (state,)
    assert (told.mode, told.voltage_protection_state, told.tripped) == (mode, ovp, None)


@pytest.mark.parametrize("answer", ["1.000", "1.000K", "1.000\x01"])
def test_the_sixth_byte_of_a_current_is_rubbish(answer: str) -> None:
    assert KORAD.reading({"ISET1?": answer}).current_limit == 1.0


def test_over_voltage_protection_is_told_where_its_bit_was_recorded() -> None:
    _, _, profile = connected(KORAD, idn="KORADKA3005PV2.0", answers={"STATUS?": "\xd1"})
    assert "voltage_protection_state" not in profile.outputs[0].settings
    driver, unit, _ = connected(KORAD, idn="KORADKA3005PV2.0", answers={"STATUS?": "\xd1"})
    readings = driver.poll(never)
    assert readings is not None
    assert readings[1].voltage_protection_state is None
    assert unit.sent.count("STATUS?") == 1


@pytest.mark.parametrize("series", ["Korad KA", "PS3005D"])
def test_every_model_asks_for_its_status_once(series: str) -> None:
    for model in candidates(series):
        asked = [poll.ask for poll in model.series.polls if poll.is_for(model.name)]
        assert asked.count("STATUS?") == 1, model.name


def test_pauses_and_endings() -> None:
    """A message that comes too soon is lost without a word."""
    for name, gap in (("Korad KA", 0.08), ("PS3005D", 0.5)):
        link = series_of(name).link
        assert link.gap >= gap
        assert (link.write, link.read, link.raw) == (None, None, True)


@pytest.mark.parametrize(
    ("configured", "told", "name"),
    [
        ("Tenma 72-2550", "KORADKA6003PV2.0", "72-2550"),
        ("Tenma,72-2550", "TENMA 72-2550 V2.0", "72-2550"),
        ("KA6003P", "KORADKA6003PV2.0", "KA6003P"),
    ],
)
def test_configured_by_the_name_on_the_box(configured: str, told: str, name: str) -> None:
    driver = TextDriver(KORAD.unit(told), name="psu1", models=candidates(configured), knowledge=Knowledge())
    assert driver.connect().model == name


def test_another_model_gets_no_commands() -> None:
    unit = KORAD.unit("KORADKA6003PV2.0")
    with pytest.raises(IdentityError):
        TextDriver(unit, name="psu1", models=candidates("KA3005P"), knowledge=Knowledge()).connect()
    assert set(unit.sent) == {"*IDN?"}
