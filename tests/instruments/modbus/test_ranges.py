"""The RD6012P, whose scale of currents moves with its range."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.instruments.driver import IdentityError, Range, Write, never
from agent.instruments.modbus.driver import ModbusDriver
from tests.instruments.modbus.paper import RD_POLL, Paper, on_paper, rd_block, registers
from tests.properties import examples

UNIT = (60125, 1, 2, 138)
BLOCK, LEVELS = RD_POLL, ("01 03 0052 0002", registers(62000, 6200))
LOW, HIGH = 0, 1


def connected() -> tuple[ModbusDriver, Paper]:
    driver, paper = on_paper("RD6012P")
    paper.will(("01 03 0000 0004", registers(*UNIT)), ("01 03 0044 0001", registers(1)))
    profile = driver.connect()
    assert profile.identity is not None
    assert (profile.model, profile.identity.serial, profile.identity.firmware) == ("RD6012P", str(65536 + 2), "1.38")
    assert profile.power_up == "the output comes back by itself after power returns (boot power in the menu)"
    return driver, paper


def block(current_set: int, current: int, chosen: int) -> bytes:
    return rd_block(UNIT, 5000, current_set, 4999, current, 0, 2500, 6500, 0, 0, 0, 1, 0, chosen)


def test_currents_are_read_in_either_range() -> None:
    driver, paper = connected()
    for chosen, number in ((HIGH, 500), (LOW, 5000), (HIGH, 500)):
        paper.will((BLOCK, block(number, number, chosen)), LEVELS)
        reading = (driver.poll(never) or {})[1]
        assert (reading.current_limit, reading.current) == (0.5, 0.5)
        assert (reading.voltage_limit, reading.voltage, reading.voltage_protection) == (5.0, 4.999, 62.0)
        assert reading.current_protection_level is None


@pytest.mark.parametrize(("chosen", "number"), [(LOW, 5000), (HIGH, 500)])
def test_a_current_is_set_by_the_range_that_is_read_right_before(chosen: int, number: int) -> None:
    driver, paper = connected()
    text = f"01 06 0009 {number:04x}"
    paper.will((BLOCK, block(1, 1, 1 - chosen)), LEVELS)
    driver.poll(never)  # the range changes after it, at the panel
    paper.will((BLOCK, block(1, 1, chosen)), (text, text))
    driver.write(Write("current_limit", (1,), 0.5))
    assert paper.expected == []


def test_no_current_is_set_at_a_unit_in_the_place_of_another() -> None:
    driver, paper = connected()
    stranger = (60065, *UNIT[1:])
    paper.will((BLOCK, rd_block(stranger, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, LOW)))
    with pytest.raises(IdentityError, match="another unit now"):
        driver.write(Write("current_limit", (1,), 0.5))
    assert paper.expected == []


def test_a_voltage_needs_no_look_at_the_range() -> None:
    driver, paper = connected()
    paper.will(("01 06 0008 0ce4", "01 06 0008 0ce4"), ("01 06 0012 0000", "01 06 0012 0000"))
    driver.write(Write("voltage_limit", (1,), 3.3))
    driver.write(Write("state", (1,), False))


@given(st.integers(2, 0xFFFF))
@examples(50)
def test_a_range_that_nobody_knows(chosen: int) -> None:
    """Its currents are unknown, and none is set: nothing says by how much they are multiplied."""
    driver, paper = connected()
    paper.will((BLOCK, block(500, 500, chosen)), LEVELS)
    reading = (driver.poll(never) or {})[1]
    assert (reading.current_limit, reading.current, reading.voltage) == (None, None, 4.999)
    paper.will((BLOCK, block(500, 500, chosen)))
    driver.write(Write("current_limit", (1,), 0.5))
    (complaint,) = driver.complaints()
    assert complaint == (
        f"register 20 tells {chosen}, a range of currents that the series file does not know; choose the range 6 A or 12 A"
    )
    paper.will((BLOCK, block(500, 500, chosen)), LEVELS)
    inspection = driver.inspect((1,), settings={"current_limit"})
    assert inspection.bars == [complaint]
    assert inspection.conditions.ranges == {}
    paper.will((BLOCK, block(500, 500, chosen)), LEVELS)
    assert driver.inspect((1,), settings={"state"}).bars == []


@pytest.mark.parametrize(("chosen", "most"), [(LOW, 6.0), (HIGH, 12.0)])
def test_the_present_range_bounds_what_may_be_set(chosen: int, most: float) -> None:
    driver, paper = connected()
    paper.will((BLOCK, block(500, 500, chosen)), LEVELS)
    inspection = driver.inspect((1,), settings={"current_limit"})
    assert inspection.conditions.ranges == {1: {"voltage_limit": Range(0, 60), "current_limit": Range(0, most)}}
    assert inspection.bars == []
