"""NGP800: channel lists, armed outputs behind a master switch, mode and trips in one register (manual, page 178)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.instruments.series.on_paper import CHECKS, Supply, connected, reading, series_of

_LISTS = {
    "MEAS:VOLT? {}": ("5.0001", "0.0000"),
    "MEAS:CURR? {}": ("1.0000", "0.0000"),
    "VOLT? {}": ("5.000", "12.000"),
    "CURR? {}": ("1.0000", "2.0000"),
    "OUTP? {}": ("1", "0"),
    "VOLT:PROT? {}": ("1", "0"),
    "VOLT:PROT:LEV? {}": ("6.000", "64.050"),
    "FUSE? {}": ("0", "1"),
}
_ORDER = [*list(_LISTS)[:5], "OUTP:GEN?", *list(_LISTS)[5:]]


def answers(outputs: int) -> dict[str, str]:
    """Those of a unit with that many outputs: the first one on, the others off."""
    listed = f"(@{','.join(map(str, range(1, outputs + 1)))})"
    return {
        **{ask.format(listed): ",".join((first, *[other] * (outputs - 1))) for ask, (first, other) in _LISTS.items()},
        "OUTP:GEN?": "1",
        **{f"STAT:QUES:INST:ISUM{channel}:COND?": "1" if channel == 1 else "0" for channel in range(1, outputs + 1)},
        "SYST:ERR?": '0, "No error"',
    }


NGP822 = Supply(
    series="NGP800",
    models={
        "Rohde&Schwarz,NGP822,5601.4007k02/101234,1.00.000": "NGP822",
        "Rohde&Schwarz,NGP824,5601.4007k03/101234,1.00.000": "NGP824",
    },
    answers=answers(2),
    poll=[
        ";:".join(ask.format("(@1,2)") for ask in _ORDER) + ";:STAT:QUES:INST:ISUM1:COND?;:STAT:QUES:INST:ISUM2:COND?"
    ],
    readings={
        1: reading(
            voltage=5.0001,
            current=1.0,
            voltage_limit=5.0,
            current_limit=1.0,
            state=True,
            mode="CC",
            voltage_protection=6.0,
            voltage_protection_state=True,
            current_protection=False,
        ),
        2: reading(
            voltage=0.0,
            current=0.0,
            voltage_limit=12.0,
            current_limit=2.0,
            state=False,
            mode="OFF",
            voltage_protection=64.05,
            voltage_protection_state=False,
            current_protection=True,
        ),
    },
    settings=[
        (1, "voltage_limit", 48.0, ["VOLT 48,(@1)"]),
        (2, "current_limit", 0.5, ["CURR 0.5,(@2)"]),
        (1, "current_limit", 0.5, ["CURR 0.5,(@1)"]),
        (1, "state", True, ["OUTP:SEL 1,(@1)"]),
        (2, "state", False, ["OUTP:SEL 0,(@2)", "OUTP 0,(@2)"]),
        (1, "voltage_protection", 50.0, ["VOLT:PROT:LEV 50,(@1)"]),
        (1, "voltage_protection_state", True, ["VOLT:PROT 1,(@1)"]),
        (1, "current_protection", True, ["FUSE 1,(@1)"]),
        (1, "clear_protection", True, ["VOLT:PROT:CLE (@1)", "FUSE:TRIP:CLE (@1)"]),
    ],
    refusal=('-222, "Data out of range"', "Data out of range"),
)


@pytest.mark.parametrize("check", CHECKS)
def test_by_its_table(check: Callable[[Supply], None]) -> None:
    check(NGP822)


@pytest.mark.parametrize(("bits", "tripped"), [(1 << 4, "OTP"), (1 << 9, "OVP"), (1 << 10, "OCP"), (2, None)])
def test_the_register_has_the_trips(bits: int, tripped: str | None) -> None:
    assert NGP822.reading({"STAT:QUES:INST:ISUM1:COND?": str(bits)}).tripped == tripped


def test_an_output_is_on_only_behind_a_closed_master_switch() -> None:
    assert NGP822.reading({"OUTP:GEN?": "0"}).state is False
    driver, _, _ = connected(NGP822, answers={"OUTP:GEN?": "0"})
    assert "master switch of the unit is off" in driver.inspect((2,), settings={"state"}).bars[0]
    file = series_of("NGP800").model_dump_json(include={"settings"})
    assert "OUTP:GEN" not in file
    assert "OUTP 1" not in file


def test_a_unit_of_mixed_outputs_tells_its_ranges() -> None:
    told = {
        **answers(4),
        "VOLT? MAX,(@1,2,3,4)": "32.05,32.05,64.05,64.05",
        "CURR? MAX,(@1,2,3,4)": "20.01,20.01,10.01,10.01",
    }
    _, _, profile = connected(NGP822, "Rohde&Schwarz,NGP814,5601.4007k05/101234,1.00.000", answers=told)
    ranges = [(output.ranges["voltage_limit"].max, output.ranges["current_limit"].max) for output in profile.outputs]
    assert ranges == [(32.05, 20.01), (32.05, 20.01), (64.05, 10.01), (64.05, 10.01)]
    assert all("voltage_protection" not in output.settings for output in profile.outputs)


def test_a_unit_that_does_not_tell_them_gets_what_both_kinds_take() -> None:
    _, _, profile = connected(NGP822, "Rohde&Schwarz,NGP824,5601.4007k03/101234,1.00.000", answers=answers(4))
    assert {output.ranges["voltage_limit"].max for output in profile.outputs} == {32.05}
    assert {output.ranges["current_limit"].max for output in profile.outputs} == {10.01}
