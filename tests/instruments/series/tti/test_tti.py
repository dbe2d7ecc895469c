"""Aim-TTi PL-P, CPX, MX and QL: the number of the output in the word, headers in answers, a register that reading clears."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.instruments.driver import Write, never
from tests.instruments.series.on_paper import CHECKS, Supply, connected, reading

NO_ERROR = {"*ESR?": "0", "EER?": "0"}
FREE = {"IFLOCK?": "0"}


def polled(*outputs: int) -> list[str]:
    """The messages of a poll."""
    asks = ["V{}O?", "I{}O?", "V{}?", "I{}?", "OP{}?", "OVP{}?", "OCP{}?", "LSR{}?"]
    return [ask.format(output) for ask in asks for output in outputs]


#: Answers that a PL068-P has recorded.
PL = Supply(
    series="PL-P",
    models={
        "THURLBY THANDAR, PL601-P, 514123, 3.05-4.06": "PL601-P",
        "THURLBY THANDAR, PL303-P, 490123, 3.02-4.06": "PL303-P",
        "THURLBY THANDAR, PL303QMD-P,  426123, 3.02 - 3.13": "PL303QMD-P",
    },
    answers={
        "V1O?": "-0.006V",
        "I1O?": "0.000A",
        "V1?": "V1 1.350",
        "I1?": "I1 0.100",
        "OP1?": "0",
        "OVP1?": "4.000",
        "OCP1?": "2.2000",
        "LSR1?": "1",
        **NO_ERROR,
        **FREE,
    },
    poll=["V1O?", "I1O?", "V1?", "I1?", "OP1?", "OVP1?", "OCP1?", "LSR1?"],
    readings={
        1: reading(
            voltage=-0.006,
            current=0.0,
            voltage_limit=1.35,
            current_limit=0.1,
            state=False,
            voltage_protection=4.0,
            current_protection_level=2.2,
            mode="OFF",
        )
    },
    settings=[
        (1, "state", True, ["OP1 1"]),
        (1, "state", False, ["OP1 0"]),
        (1, "voltage_limit", 5.0, ["V1 5.000"]),
        (1, "current_limit", 0.25, ["I1 0.2500"]),
        (1, "clear_protection", True, ["TRIPRST"]),
    ],
    refusal=("16", "16"),
)
#: Answers that a CPX400DP has recorded.
CPX = Supply(
    series="CPX",
    models={
        "THURLBY THANDAR, CPX400DP, 581123, 3.00-4.12": "CPX400DP",
        "THURLBY THANDAR, CPX400DP, 599123, 2.03-4.12": "CPX400DP",
    },
    answers={
        "V1O?": "-0.005V",
        "V2O?": "12.00V",
        "I1O?": "0.019A",
        "I2O?": "1.250A",
        "V1?": "V1 20.19",
        "V2?": "V2 12.00",
        "I1?": "I1 0.070",
        "I2?": "I2 20.202",
        "OP1?": "0",
        "OP2?": "1",
        "OVP1?": "VP1 66.00",
        "OVP2?": "VP2 15.00",
        "OCP1?": "CP1 22.00",
        "OCP2?": "CP2 2.00",
        "LSR1?": "0",
        "LSR2?": "1",
        "CONFIG?": "2",
        **NO_ERROR,
        **FREE,
    },
    poll=polled(1, 2),
    readings={
        1: reading(
            voltage=-0.005,
            current=0.019,
            voltage_limit=20.19,
            current_limit=0.07,
            state=False,
            voltage_protection=66.0,
            current_protection_level=22.0,
            mode="OFF",
        ),
        2: reading(
            voltage=12.0,
            current=1.25,
            voltage_limit=12.0,
            current_limit=20.202,
            state=True,
            voltage_protection=15.0,
            current_protection_level=2.0,
            mode="CV",
        ),
    },
    settings=[
        (2, "state", True, ["OP2 1"]),
        (1, "state", False, ["OP1 0"]),
        (1, "voltage_limit", 3.3, ["V1 3.30"]),
        (2, "current_limit", 1.5, ["I2 1.500"]),
        (1, "current_limit", 1.5, ["I1 1.500"]),
        (1, "voltage_protection", 5.5, ["OVP1 5.5"]),
        (1, "current_protection_level", 2.25, ["OCP1 2.25"]),
        (1, "clear_protection", True, ["TRIPRST"]),
    ],
    refusal=("16", "16"),
)
MX = Supply(
    series="MX",
    models={"THURLBY THANDAR, MX100TP, 436123, 1.03-1.00-1.02": "MX100TP"},
    answers={
        **{f"V{ch}O?": f"{ch}.000V" for ch in (1, 2, 3)},
        **{f"I{ch}O?": "0.500A" for ch in (1, 2, 3)},
        **{f"V{ch}?": f"V{ch} {ch}.00" for ch in (1, 2, 3)},
        **{f"I{ch}?": f"I{ch} 1.000" for ch in (1, 2, 3)},
        **{f"OP{ch}?": "1" for ch in (1, 2, 3)},
        "OVP1?": "VP1 OFF",
        "OVP2?": "VP2 40.0",
        "OVP3?": "VP3 OFF",
        "OCP1?": "CP1 7.00",
        "OCP2?": "CP2 OFF",
        "OCP3?": "CP3 OFF",
        **{f"LSR{ch}?": "1" for ch in (1, 2, 3)},
        **NO_ERROR,
    },
    poll=polled(1, 2, 3),
    readings={
        ch: reading(
            voltage=float(ch),
            current=0.5,
            voltage_limit=float(ch),
            current_limit=1.0,
            state=True,
            voltage_protection=40.0 if ch == 2 else None,
            voltage_protection_state=ch == 2,
            current_protection_level=7.0 if ch == 1 else None,
            current_protection=ch == 1,
            mode="CV",
        )
        for ch in (1, 2, 3)
    },
    settings=[
        (3, "state", True, ["OP3 1"]),
        (1, "state", False, ["OP1 0"]),
        (1, "voltage_limit", 3.3, ["V1 3.3"]),
        (1, "current_limit", 1.5, ["I1 1.5"]),
        (1, "voltage_protection_state", True, ["OVP1 ON"]),
        (1, "voltage_protection_state", False, ["OVP1 OFF"]),
        (1, "current_protection", True, ["OCP1 ON"]),
    ],
    refusal=("16", "16"),
)
QL = Supply(
    series="QL",
    models={"THURLBY THANDAR, QL355TP, 429123, 2.05-2.00": "QL355TP"},
    answers={
        **{f"V{ch}O?": f"{ch}.000V" for ch in (1, 2, 3)},
        **{f"I{ch}O?": "0.500A" for ch in (1, 2, 3)},
        **{f"V{ch}?": f"V{ch} {ch}.000" for ch in (1, 2, 3)},
        **{f"I{ch}?": f"I{ch} 1.0000" for ch in (1, 2)},
        **{f"OP{ch}?": "1" for ch in (1, 2, 3)},
        **{f"OVP{ch}?": f"VP{ch} 40.0" for ch in (1, 2)},
        "OCP1?": "CP1 5.50",
        "OCP2?": "IP2 5.50",
        "LSR1?": "1",
        "LSR2?": "2",
        **NO_ERROR,
    },
    poll=[
        *("V1O?", "V2O?", "V3O?", "I1O?", "I2O?", "I3O?", "V1?", "V2?", "V3?", "I1?", "I2?", "OP1?", "OP2?", "OP3?"),
        *("OVP1?", "OVP2?", "OCP1?", "OCP2?", "LSR1?", "LSR2?"),
    ],
    readings={
        **{
            ch: reading(
                voltage=float(ch),
                current=0.5,
                voltage_limit=float(ch),
                current_limit=1.0,
                state=True,
                voltage_protection=40.0,
                current_protection_level=5.5,
                mode=mode,
            )
            for ch, mode in ((1, "CV"), (2, "CC"))
        },
        3: reading(voltage=3.0, current=0.5, voltage_limit=3.0, state=True),
    },
    settings=[
        (1, "state", True, ["OP1 1"]),
        (3, "state", False, ["OP3 0"]),
        (3, "voltage_limit", 3.3, ["V3 3.300"]),
        (1, "voltage_limit", 3.3, ["V1 3.300"]),
        (2, "current_limit", 1.5, ["I2 1.5000"]),
        (1, "current_limit", 1.5, ["I1 1.5000"]),
        (1, "clear_protection", True, ["TRIPRST"]),
    ],
    refusal=("16", "16"),
)
SUPPLIES = {supply.series: supply for supply in (PL, CPX, MX, QL)}


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("series", SUPPLIES)
def test_series(series: str, check: Callable[[Supply], None]) -> None:
    check(SUPPLIES[series])


def test_levels_with_a_header() -> None:
    """PL068-P tells the bare number, the others a header before it."""
    told = PL.reading({"OVP1?": "VP1 4.00", "OCP1?": "CP1 2.20"})
    assert (told.voltage_protection, told.current_protection_level) == (4.0, 2.2)


@pytest.mark.parametrize(
    ("register", "mode", "tripped"),
    [
        ("1", "CV", None),
        ("2", "CC", None),
        ("3", None, None),  # it crossed over in between
        ("16", "UR", None),
        ("18", None, None),
        ("4", "OFF", "OVP"),
        ("8", "OFF", "OCP"),
        ("64", "OFF", "OTHER"),
    ],
)
def test_modes_and_trips(register: str, mode: str | None, tripped: str | None) -> None:
    told = CPX.reading({"OP1?": "1", "LSR1?": register})
    assert (told.mode, told.tripped) == (mode, tripped)


def test_the_register_is_remembered() -> None:
    """Reading it clears it: a poll that reads nothing keeps the mode and the trip."""
    driver, unit, _ = connected(CPX, answers={"OP1?": "1", "LSR1?": ["0", "2", "0", "8", "0"]})
    seen = []
    for state in ("1", "1", "0", "0"):
        unit.answers["OP1?"] = state
        readings = driver.poll(never)
        assert readings is not None
        seen.append((readings[1].mode, readings[1].tripped))
    assert seen == [("CC", None), ("CC", None), ("OFF", "OCP"), ("OFF", "OCP")]
    driver.write(Write("clear_protection", (1,), True))
    readings = driver.poll(never)
    assert readings is not None
    assert readings[1].tripped is None


def test_power_on_is_no_error() -> None:
    driver, _, _ = connected(PL, answers={"*ESR?": "128"})
    assert driver.complaints() == []


def test_an_execution_error_is_told_with_its_number() -> None:
    driver, _, _ = connected(PL, answers={"*ESR?": ["0", "16", "0"], "EER?": ["0", "100", "0"]})
    assert driver.complaints() == ["16", "100"]


def test_resolutions() -> None:
    output = connected(CPX)[2].outputs[0]
    settings = ("voltage_limit", "current_limit", "voltage_protection", "current_protection_level")
    assert [output.resolution(setting) for setting in settings] == [0.01, 0.001, 0.1, 0.01]


def test_clearing_acts_on_all_outputs_and_a_switch_on_one() -> None:
    _, _, profile = connected(CPX)
    assert profile.together == ()
    driver, unit, _ = connected(CPX)
    driver.write(Write("clear_protection", (1, 2), True))
    assert unit.sent == ["TRIPRST"]


@pytest.mark.parametrize(
    ("answers", "words"), [({"CONFIG?": "0"}, "output 2 tracks output 1"), ({"IFLOCK?": "-1"}, "another interface")]
)
def test_couplings(answers: dict[str, str], words: str) -> None:
    driver, _, _ = connected(CPX, answers=answers)
    assert any(words in bar for bar in driver.inspect([1]).bars)
    assert connected(CPX)[0].inspect([1]).bars == []


def test_mx100tp_has_no_trip_reset() -> None:
    _, _, profile = connected(MX)
    assert all("clear_protection" not in output.settings for output in profile.outputs)
    _, _, profile = connected(MX, idn="THURLBY THANDAR, MX180TP, 1, 1.03-1.00-1.02")
    assert all("clear_protection" in output.settings for output in profile.outputs)


def test_the_panel_is_free_when_the_agent_stops() -> None:
    driver, unit, _ = connected(PL)
    driver.close()
    assert unit.sent == ["LOCAL"]
