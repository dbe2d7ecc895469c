"""TDK-Lambda Genesys in its own language: every line is answered, most of a poll is one line, ratings come from the name."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.instruments.catalogue import candidates
from agent.instruments.driver import Range, Write
from tests.instruments.series.on_paper import CHECKS, Supply, connected, reading, series_of

STT = "MV({mv}),PV({pv}),MC({mc}),PC({pc}),SR({sr}),FR({fr})"
#: The manual's example of STT?, and REV? of a GEN40-38.
GENESYS = Supply(
    series="Genesys",
    models={
        "LAMBDA,GEN80-65": "GEN80-65",
        "LAMBDA, GEN40-38": "GEN40-38",
        "TDK-LAMBDA,GEN600-1.3": "GEN600-1.3",
        "NEMIC-LAMBDA,GEN12.5-60": "GEN12.5-60",
    },
    answers={
        "SN?": "123456789",
        "REV?": "REV:1U:4.3",
        "STT?": "MV(45.201),PV(45),MC(4.3257),PC(10),SR(30),FR(00)",
        "OUT?": "ON",
        "OVP?": "88",
        "AST?": "OFF",
    },
    poll=["STT?", "OUT?", "OVP?"],
    readings={
        1: reading(
            voltage=45.201,
            current=4.3257,
            voltage_limit=45.0,
            current_limit=10.0,
            state=True,
            voltage_protection=88.0,
            current_protection=True,
        )
    },
    settings=[
        (1, "state", True, ["OUT 1"]),
        (1, "state", False, ["OUT 0"]),
        (1, "voltage_limit", 12.5, ["PV 12.5"]),
        (1, "current_limit", 10.0, ["PC 10"]),
        (1, "voltage_protection", 44.0, ["OVP 44"]),
        (1, "current_protection", True, ["FLD 1"]),
        (1, "current_protection", False, ["FLD 0"]),
    ],
    refused_by_answer="E01",
    taken="OK",
)


@pytest.mark.parametrize("check", CHECKS)
def test_series(check: Callable[[Supply], None]) -> None:
    check(GENESYS)


@pytest.mark.parametrize(
    ("status", "fault", "mode", "tripped"),
    [
        ("05", "00", "CV", None),
        ("06", "00", "CC", None),
        ("04", "00", None, None),
        ("08", "02", "OFF", "AC"),
        ("08", "04", "OFF", "OTP"),
        ("08", "08", "OFF", "FOLD"),
        ("08", "10", "OFF", "OVP"),
        ("08", "20", "OFF", "INHIBIT"),
        ("08", "80", "OFF", "INTERLOCK"),
        ("05", "40", "CV", None),  # the OUT button is no trip
    ],
)
def test_registers(status: str, fault: str, mode: str | None, tripped: str | None) -> None:
    told = GENESYS.reading({"STT?": STT.format(mv="40.0", pv="40", mc="1.5", pc="10", sr=status, fr=fault)})
    assert (told.mode, told.tripped) == (mode, tripped)
    assert told.current_protection is False


@pytest.mark.parametrize(("answer", "state"), [("ON", True), ("OFF", False), ("1", True), ("0", False)])
def test_newer_firmware_tells_its_switch_as_a_number(answer: str, state: bool) -> None:
    told = GENESYS.reading({"OUT?": answer})
    assert told[4:5] == (state,)


@pytest.mark.parametrize("refusal", ["E01", "E02", "E04", "E07", "C01", "C03", "C05"])
def test_refusals(refusal: str) -> None:
    driver, unit, _ = connected(GENESYS)
    unit.answers["PV 60"] = refusal
    driver.write(Write("voltage_limit", (1,), 60.0))
    assert [refusal in complaint for complaint in driver.complaints()] == [True]
    assert driver.complaints() == []


@pytest.mark.parametrize(
    ("model", "ranges"),
    [
        ("GEN40-125", {"voltage_limit": (0, 42), "current_limit": (0, 131.25), "voltage_protection": (2, 44)}),
        ("GEN80-65", {"voltage_limit": (0, 84), "current_limit": (0, 68.25), "voltage_protection": (5, 88)}),
        ("GEN600-1.3", {"voltage_limit": (0, 630), "current_limit": (0, 1.365), "voltage_protection": (5, 660)}),
        # No manual has the over-voltage range of 12.5 V units.
        ("GEN12.5-60", {"voltage_limit": (0, 13.125), "current_limit": (0, 63)}),
        ("GENH30-25", {"voltage_limit": (0, 31.5), "current_limit": (0, 26.25), "voltage_protection": (2, 36)}),
    ],
)
def test_ratings_come_from_the_name(model: str, ranges: dict[str, tuple[float, float]]) -> None:
    (found,) = candidates(f"Genesys,{model}")
    assert found.outputs[0].ranges == {name: Range(*ends) for name, ends in ranges.items()}


def test_a_trip_is_not_cleared_by_turning_the_output_on() -> None:
    _, _, profile = connected(GENESYS)
    output = profile.outputs[0]
    assert "clear_protection" not in output.settings
    assert "only when its output is turned on" in output.unsupported["clear_protection"]


@pytest.mark.parametrize(("answer", "comes_back"), [("ON", True), ("1", True), ("OFF", False), ("0", False)])
def test_auto_restart_is_told(answer: str, comes_back: bool) -> None:
    _, _, profile = connected(GENESYS, answers={"AST?": answer})
    assert (profile.power_up is not None) is comes_back


def test_an_address_is_confirmed_before_anything_is_set() -> None:
    bus = series_of("Genesys").bus
    assert bus is not None
    assert (bus.select, bus.answer, bus.addresses, bus.needed) == ("ADR {address}", "OK", (0, 30), True)


def test_no_message_acts_on_the_whole_bus() -> None:
    series = series_of("Genesys")
    texts = [
        text
        for name in series.settings
        for entry in series.entries(name)
        for text in (*entry.send, *entry.on, *entry.off)
    ]
    texts += [*series.link.enter, *series.link.leave, *series.link.setup, *(poll.ask for poll in series.polls)]
    assert not any(text.startswith("G") or "\\" in text for text in texts)
