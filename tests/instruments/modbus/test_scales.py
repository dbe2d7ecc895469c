"""Scales: for each model the number in the register is what the user said, and a unit whose scale is not known gets nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.instruments.driver import IdentityError, MalformedAnswerError, Write, never
from agent.instruments.modbus.driver import ModbusDriver
from agent.instruments.modbus.plan import RegisterPlan
from agent.protocol.quantities import SETTINGS, Setting
from agent.simulator.riden.registers import CALIBRATION, SYSTEM
from tests.instruments.modbus.paper import (
    DPS_POLL,
    MODELS,
    RD_POLL,
    Paper,
    dps_block,
    frame,
    on_paper,
    rd_block,
    registers,
)
from tests.properties import examples

#: By the fact sheets: signature, numbers for 3.3 V and for 0.5 A.
SHEET = {
    "RD6006": (60062, 330, 500),
    "RD6006P": (60065, 3300, 5000),
    "RD6012": (60121, 330, 50),
    "RD6018": (60181, 330, 50),
    "RD6024": (60241, 330, 50),
    "DPS3005": (3005, 330, 500),
    "DPS5005": (5005, 330, 500),
    "DPH5005": (5205, 330, 500),
    "DPS5015": (5015, 330, 50),
    "DPS5020": (5020, 330, 50),
    "DPS8005": (8005, 330, 500),
}
RD_IDENTITY, DPS_IDENTITY = "01 03 0000 0004", "01 03 0009 0004"
#: Registers of voltage, current, output, and trip levels, by series.
PLACES = {"RD60xx": (8, 9, 18, 82, 83), "DPS": (0, 1, 9, 82, 83)}


def connected(name: str, signature: int) -> tuple[ModbusDriver, Paper]:
    driver, paper = on_paper(name)
    if MODELS[name].series.name == "DPS":
        paper.will((DPS_IDENTITY, registers(0, 5, signature, 17)), ("01 03 0057 0001", registers(0)))
    else:
        paper.will((RD_IDENTITY, registers(signature, 0, 23001, 142)), ("01 03 0044 0001", registers(0)))
    driver.connect()
    return driver, paper


def test_an_rd60xx_whose_current_is_the_signature_of_a_dps_is_taken_for_none() -> None:
    """Register 11 of an RD60xx is its current: at 3.005 A it holds what a DPS3005 tells as its model."""
    driver, paper = connected("DPS3005", 3005)
    as_dps = [60062, 0, 23001, 142, 0, 24, 0, 75, 500, 5000, 500, 3005, 17]
    paper.will(("01 03 0000 000d", registers(*as_dps)), ("01 03 0052 0002", registers(0, 0)))
    with pytest.raises(MalformedAnswerError, match=r"a voltage_limit of 600\.62 V"):
        driver.poll(never)


def order(register: int, number: int) -> tuple[str, str]:
    text = f"01 06 {register:04x} {number:04x}"
    return text, text


@pytest.mark.parametrize("name", SHEET)
def test_what_is_written_is_what_the_user_said(name: str) -> None:
    signature, volts, amps = SHEET[name]
    driver, paper = connected(name, signature)
    voltage, current, output, ovp, ocp = PLACES[MODELS[name].series.name]
    paper.will(order(voltage, volts), order(current, amps), order(ovp, volts), order(ocp, amps))
    paper.will(order(output, 1), order(output, 0))
    for setting, value in (
        ("voltage_limit", 3.3),
        ("current_limit", 0.5),
        ("voltage_protection", 3.3),
        ("current_protection_level", 0.5),
        ("state", True),
        ("state", False),
    ):
        driver.write(Write(setting, (1,), value))  # type: ignore[arg-type]
    assert paper.expected == []
    assert driver.complaints() == []


@pytest.mark.parametrize("name", SHEET)
def test_every_step_is_written_as_itself(name: str) -> None:
    """In floats 2.3 V would be 229 steps of 10 mV. What lies above a step and below the next becomes the lower one."""
    plan = RegisterPlan(MODELS[name])
    _, volts, _ = SHEET[name]
    per_volt = volts * 10 // 33
    for number in range(30 * per_volt):
        assert plan.number(Write("voltage_limit", (1,), number / per_volt))[1] == number
    for value, written in ((2.3, 2.3), (2.3 + 0.9 / per_volt, 2.3), (2.3 - 0.1 / per_volt, 2.3 - 1 / per_volt)):
        assert plan.number(Write("voltage_limit", (1,), value))[1] == round(written * per_volt)


@pytest.mark.parametrize("name", SHEET)
def test_what_is_read_is_what_the_unit_has(name: str) -> None:
    signature, volts, amps = SHEET[name]
    driver, paper = connected(name, signature)
    levels = ("01 03 0052 0002", registers(volts, amps))
    if MODELS[name].series.name == "DPS":
        paper.will((DPS_POLL, dps_block(signature, volts, amps, volts, amps, 165, 2400, 0, 0, 1, 1)), levels)
    else:
        block = rd_block((signature, 0, 23001, 142), volts, amps, volts, amps, 0, 165, 6500, 0, 0, 1, 1, 0, 0)
        paper.will((RD_POLL, block), levels)
    (reading,) = (driver.poll(never) or {}).values()
    assert (reading.voltage_limit, reading.voltage, reading.voltage_protection) == (3.3, 3.3, 3.3)
    assert (reading.current_limit, reading.current, reading.current_protection_level) == (0.5, 0.5, 0.5)
    assert (reading.state, reading.mode, reading.tripped) == (True, "CC", None)
    assert (reading.current_protection, reading.voltage_protection_state) == (None, None)


KNOWN = {signature for model in MODELS.values() for signature in model.series.modbus.models[model.name].signatures}  # type: ignore[union-attr]


@given(st.integers(0, 0xFFFF).filter(lambda number: number not in KNOWN), st.sampled_from(["RD60xx", "DPS"]))
@examples()
def test_an_unknown_signature_gets_no_command(signature: int, series: str) -> None:
    driver, paper = on_paper([name for name, model in MODELS.items() if model.series.name == series])
    if series == "DPS":
        paper.will((DPS_IDENTITY, registers(0, 5, signature, 17)))
    else:
        paper.will((RD_IDENTITY, registers(signature, 0, 23001, 142)))
    with pytest.raises(IdentityError, match=f"signature {signature}, which {series} does not know"):
        driver.connect()
    assert len(paper.sent) == 1
    assert not paper.is_open


@pytest.mark.parametrize("signature", [60060, 60063, 60066, 60120, 60180, 60249])
def test_signatures_that_nobody_has_seen_for_sure(signature: int) -> None:
    """One digit higher means a tenfold scale in 60065: a signature beside a known one says nothing of the scale."""
    driver, paper = on_paper(SHEET.keys() - {name for name in SHEET if name.startswith("D")})
    paper.will((RD_IDENTITY, registers(signature, 0, 23001, 142)))
    with pytest.raises(IdentityError, match="its scales are not known, so it gets no commands"):
        driver.connect()


def test_another_model_of_the_series_gets_no_command() -> None:
    driver, paper = on_paper("RD6006")
    paper.will((RD_IDENTITY, registers(60065, 0, 23001, 142)))
    with pytest.raises(IdentityError, match="is a RD6006P, not a RD6006; it gets no commands"):
        driver.connect()


@given(
    name=st.sampled_from(sorted(MODELS)),
    setting=st.sampled_from(sorted(SETTINGS)),
    value=st.floats(-1e9, 1e9) | st.booleans(),
    moved=st.integers(0, 3),
)
@examples(200)
def test_no_other_register_is_ever_written(name: str, setting: Setting, value: float | bool, moved: int) -> None:
    """Neither calibration nor presets nor the bootloader, whatever is to be set; and never more than was asked for."""
    signature = 60125 if name == "RD6012P" else SHEET[name][0]
    driver, paper = connected(name, signature)
    series = MODELS[name].series
    paper.sent.clear()
    if series.name == "RD60xx":
        # The RD6012P is asked for its range first.
        block = rd_block((signature, 0, 23001, 142), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, moved)
        paper.expected = [(frame(RD_POLL), block)] if name == "RD6012P" else []
    driver_send = paper.send

    def send(data: bytes, deadline: float) -> None:
        if data[1] == 6:
            paper.sent.append(data)
            paper.expected = []
            paper._answer = data
        else:
            driver_send(data, deadline)

    paper.send = send  # type: ignore[method-assign]
    driver.write(Write(setting, (1,), value))
    written = [data for data in paper.sent if data[1] != 3]
    assert len(written) <= 1
    for data in written:
        register, number = int.from_bytes(data[2:4], "big"), int.from_bytes(data[4:6], "big")
        assert data[1] == 6
        assert register in PLACES[series.name]
        assert register not in CALIBRATION
        assert register != SYSTEM
        if setting == "state":
            assert number == bool(value)
        elif isinstance(value, float):
            assert number <= round(value, 6) * 10000 + 1e-6
