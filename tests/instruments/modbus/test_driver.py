"""The driver with simulated units, over TCP and serial lines."""

from __future__ import annotations

import pytest

from agent.instruments.driver import IdentityError, LinkError, MalformedAnswerError, Write, never
from agent.instruments.modbus.driver import ModbusDriver
from agent.simulator.loads import Resistor
from agent.simulator.riden import DPS, Gateway, Riden
from agent.simulator.riden.registers import MODELS as SIMULATED
from agent.simulator.simulator import NetworkInstrument
from tests.instruments.modbus.bench import BRIEF, driver_for, make_unit, on_line
from tests.instruments.modbus.paper import DPS_POLL, MODELS, RD_POLL, dps_block, on_paper, rd_block, registers
from tests.instruments.modbus.test_scales import RD_IDENTITY

#: Signature, serial number 5, firmware 1.42.
UNIT = (60062, 0, 5, 142)
ON, OFF = Write("state", (1,), True), Write("state", (1,), False)


def test_every_model_has_its_simulator_and_its_entry() -> None:
    assert MODELS.keys() == SIMULATED.keys()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("way", ["socket", "serial"])
def test_a_unit_does_what_it_is_told_and_says_so(name: str, way: str) -> None:
    unit = make_unit(name, noise=False, loads={1: Resistor(10.0)})
    with on_line(unit) as network:
        driver = driver_for(unit, network.resources[way])
        profile = driver.connect()
        assert (profile.model, profile.effort, profile.power_up) == (name, "2 messages", None)
        assert unit.written == []
        driver.write(Write("voltage_limit", (1,), 4.2))
        driver.write(Write("current_limit", (1,), 0.4))
        driver.write(Write("voltage_protection", (1,), 5.0))
        driver.write(ON)
        assert driver.complaints() == []
        reading = (driver.poll(never) or {})[1]
        assert (unit.output.voltage_set, unit.output.current_set, unit.output.ovp_level) == (4.2, 0.4, 5.0)
        assert (reading.voltage_limit, reading.current_limit, reading.voltage_protection) == (4.2, 0.4, 5.0)
        assert (reading.voltage, reading.current) == (4.0, 0.4)  # 0.4 A through 10 ohm
        assert (reading.state, reading.mode, reading.tripped) == (True, "CC", None)
        driver.write(OFF)
        assert not unit.output.on
        assert (driver.poll(never) or {})[1].mode == "OFF"
        driver.close()


@pytest.mark.parametrize("name", ["RD6006", "DPS5005"])
def test_what_a_poll_tells_is_known_once_the_unit_is_connected(name: str) -> None:
    unit = make_unit(name, noise=False)
    with on_line(unit) as network:
        driver = driver_for(unit, network.resource)
        assert [output.tells for output in driver.expected.outputs] == [None]
        (output,) = driver.connect().outputs
        reading = (driver.poll(never) or {})[1]
        driver.close()
    assert output.tells is not None
    assert {"power", "energy", "charge", "mode", "state", "tripped"} <= output.tells
    known = {name for name, value in reading._asdict().items() if value is not None}
    assert known <= output.tells
    assert "current_protection" not in output.tells, "no register holds it"


def test_modbus_tcp(monkeypatch: pytest.MonkeyPatch) -> None:
    """On its registered port, which a test has no right to: the simulator's stands in for it."""
    unit = Riden("RD6018", noise=False)
    with NetworkInstrument(Gateway([unit])) as network:
        monkeypatch.setattr("agent.instruments.modbus.link.MODBUS_TCP_PORT", network.socket_port)
        driver = driver_for(unit, network.resource)
        driver.connect()
        driver.write(Write("current_limit", (1,), 17.5))
        assert unit.output.current_set == 17.5
        assert (driver.poll(never) or {})[1].current_limit == 17.5
        unit.is_silent = True
        with pytest.raises(LinkError, match="the unit does not answer the gateway"):
            driver.poll(never)
        driver.close()


@pytest.mark.parametrize("name", ["RD6006", "DPS5005"])
def test_trips_are_told(name: str) -> None:
    unit = make_unit(name, noise=False, loads={1: Resistor(10.0)})
    with on_line(unit) as network:
        driver = driver_for(unit, network.resource)
        driver.connect()
        for write in (Write("voltage_limit", (1,), 4.0), Write("current_limit", (1,), 1.0), ON):
            driver.write(write)
        driver.write(Write("voltage_protection", (1,), 3.0))
        reading = (driver.poll(never) or {})[1]
        assert (reading.state, reading.tripped, reading.mode, reading.voltage) == (False, "OVP", "OFF", 0.0)
        driver.write(Write("voltage_protection", (1,), 5.0))
        driver.write(ON)
        assert (driver.poll(never) or {})[1].tripped is None
        driver.write(Write("current_protection_level", (1,), 0.1))
        assert (driver.poll(never) or {})[1].tripped == "OCP"
        driver.close()


def test_a_dps_tells_a_trip_by_power() -> None:
    driver, paper = on_paper("DPS5005")
    paper.will(("01 03 0009 0004", registers(0, 5, 5005, 17)), ("01 03 0057 0001", registers(1)))
    assert driver.connect().power_up == "the output comes back by itself after power returns"
    paper.will((DPS_POLL, dps_block(5005, 500, 1000, 0, 0, 0, 2400, 0, 3, 0, 0)))
    paper.will(("01 03 0052 0002", registers(5200, 5100)))
    reading = (driver.poll(never) or {})[1]
    assert (reading.tripped, reading.state, reading.mode) == ("OPP", False, "OFF")


def test_numbers_that_the_series_file_does_not_know_are_unknown() -> None:
    driver, paper = on_paper("RD6006")
    paper.will((RD_IDENTITY, registers(*UNIT)), ("01 03 0044 0001", "01 83 02"))
    assert driver.connect().power_up is None  # the unit refuses that register
    paper.will((RD_POLL, rd_block(UNIT, 1, 2, 3, 4, 0, 0, 0, 0, 7, 8, 9, 0, 0)), ("01 03 0052 0002", registers(5, 6)))
    reading = (driver.poll(never) or {})[1]
    assert (reading.tripped, reading.mode, reading.state) == (None, None, None)


def test_a_refusal_is_told_in_words() -> None:
    unit = Riden("RD6006")
    with on_line(unit) as network:
        driver = driver_for(unit, network.resource)
        driver.connect()
        complaints = driver.write_checked(Write("voltage_limit", (1,), 61.0))
        assert complaints == ["illegal data value (Modbus exception 3)"]
        driver.write(Write("voltage_limit", (1,), 61.0))
        assert driver.inspect((1,)).complaints == complaints
        assert driver.complaints() == []
        assert driver.write_checked(Write("voltage_limit", (1,), 12.0)) == []
        driver.write(Write("voltage_limit", (1,), 1e6))
        assert driver.complaints() == ["voltage_limit 1000000 does not go into a register"]
        driver.close()


def test_registers_that_the_unit_refuses_to_read() -> None:
    driver, paper = on_paper("RD6006")
    paper.will((RD_IDENTITY, registers(*UNIT)), ("01 03 0044 0001", registers(0)))
    driver.connect()
    paper.will((RD_POLL, "01 83 02"))
    with pytest.raises(MalformedAnswerError, match=r"refuses registers 0 to 20: illegal data address"):
        driver.poll(never)
    with pytest.raises(LinkError, match="closed"):
        driver.poll(never)


def test_a_poll_is_dropped_for_an_off() -> None:
    driver, paper = on_paper("RD6006")
    paper.will((RD_IDENTITY, registers(*UNIT)), ("01 03 0044 0001", registers(0)))
    driver.connect()
    paper.will((RD_POLL, rd_block(UNIT, *range(13))))
    assert driver.poll(lambda: True) is None
    assert paper.expected == []


@pytest.mark.parametrize("given", ["23001", "00023001"])
def test_a_serial_number(given: str) -> None:
    unit = Riden("RD6006", serial="23001")
    with on_line(unit) as network:
        driver = driver_for(unit, network.resource, serial=given)
        profile = driver.connect()
        assert profile.identity is not None
        assert profile.identity.serial == "23001"
        driver.close()
        other = driver_for(unit, network.resource, serial="23002")
        with pytest.raises(IdentityError, match="is number 23001, not 23002; it gets no commands"):
            other.connect()


def test_a_unit_without_a_serial_number_can_not_be_pinned() -> None:
    unit = DPS("DPS5005")
    with on_line(unit) as network:
        with pytest.raises(
            IdentityError, match="tells 0 as its serial number, as every unit of its kind may, so `serial` can't pin it"
        ):
            driver_for(unit, network.resource, serial="123").connect()
        driver = driver_for(unit, network.resource)
        profile = driver.connect()
        assert profile.identity is not None
        assert profile.identity.serial == "0"
        driver.close()


# Links that break.


def test_an_off_goes_on_a_new_connection_where_the_old_one_was_closed() -> None:
    unit = Riden("RD6006")
    with on_line(unit) as network:
        driver = driver_for(unit, network.resource)
        driver.connect()
        driver.write(ON)
        network.disconnect()
        driver.write(OFF)
        assert not unit.output.on
        driver.close()


def test_an_off_without_an_answer_is_sent_once_more() -> None:
    driver, paper = on_paper("RD6006")
    identity = (RD_IDENTITY, registers(*UNIT))
    paper.will(identity, ("01 03 0044 0001", registers(0)))
    driver.connect()
    paper.will(("01 06 0012 0000", None), identity, ("01 06 0012 0000", "01 06 0012 0000"))
    driver.write(OFF)
    assert paper.expected == []
    assert paper.opened == 2


def test_an_off_without_an_answer_is_not_sent_once_more_to_a_unit_that_does_not_tell_who_it_is() -> None:
    driver, paper = on_paper("RD6006")
    paper.will((RD_IDENTITY, registers(*UNIT)), ("01 03 0044 0001", registers(0)))
    driver.connect()
    paper.will(("01 06 0012 0000", None), (RD_IDENTITY, "01 83 06"))
    with pytest.raises(LinkError, match=r"does not tell who it is: busy \(Modbus exception 6\)"):
        driver.write(OFF)
    assert paper.expected == []


@pytest.mark.parametrize("write", [ON, Write("voltage_limit", (1,), 5.0), Write("voltage_protection", (1,), 5.0)])
def test_nothing_else_is_sent_twice(write: Write) -> None:
    driver, paper = on_paper("RD6006")
    paper.will((RD_IDENTITY, registers(*UNIT)), ("01 03 0044 0001", registers(0)))
    driver.connect()
    text = (
        "01 06 0012 0001"
        if write is ON
        else "01 06 0008 01f4"
        if write.setting == "voltage_limit"
        else "01 06 0052 01f4"
    )
    paper.will((text, None))
    with pytest.raises(LinkError, match="no answer"):
        driver.write(write)
    assert paper.expected == []
    with pytest.raises(LinkError, match="closed"):
        driver.write(write)


def test_an_off_does_not_go_to_another_unit_that_is_there_now() -> None:
    driver, paper = on_paper("RD6006")
    paper.will((RD_IDENTITY, registers(*UNIT)), ("01 03 0044 0001", registers(0)))
    driver.connect()
    paper.will(("01 06 0012 0000", None), (RD_IDENTITY, registers(60062, 0, 6, 142)))
    with pytest.raises(IdentityError, match="another unit now: number 6"):
        driver.write(OFF)
    assert paper.expected == []
    assert not paper.is_open


def test_a_late_answer_is_not_taken_for_the_next_ones() -> None:
    """The answer to a poll comes when the unit is asked who it is, and an answer to that when it is polled again."""
    driver, paper = on_paper("RD6006")
    identity, power_up = registers(*UNIT), ("01 03 0044 0001", registers(0))
    old, new = rd_block(UNIT, *range(100, 113)), rd_block(UNIT, *range(200, 213))
    levels = ("01 03 0052 0002", registers(6200, 6100))
    paper.will((RD_IDENTITY, identity), power_up)
    driver.connect()
    paper.will((RD_POLL, None))
    with pytest.raises(
        LinkError, match=r"no answer to the question for registers 0 to 20 within 0\.5 s; is the unit on"
    ):
        driver.poll(never)
    paper.will((RD_IDENTITY, old + identity), power_up)
    driver.connect()
    paper.will((RD_POLL, identity + new), levels)
    assert (driver.poll(never) or {})[1].voltage_limit == 2.0


@pytest.mark.parametrize("stranger", [(60065, 0, 5, 142), (60062, 0, 6, 142), (60062, 1, 5, 142)])
def test_a_unit_in_the_place_of_another_is_found_out_by_the_poll(stranger: tuple[int, ...]) -> None:
    """A cable was put into another unit: on a serial line nothing else tells, and its scale may be another one."""
    driver, paper = on_paper("RD6006")
    levels = ("01 03 0052 0002", registers(6200, 6100))
    paper.will((RD_IDENTITY, registers(*UNIT)), ("01 03 0044 0001", registers(0)))
    driver.connect()
    numbers = range(13)
    paper.will((RD_POLL, rd_block(UNIT, *numbers)), levels)
    driver.poll(never)
    paper.will((RD_POLL, rd_block(stranger, *numbers)), levels)
    with pytest.raises(IdentityError, match="is another unit now; it gets no commands"):
        driver.inspect((1,))
    with pytest.raises(LinkError, match="closed"):
        driver.write(ON)
    assert paper.expected == []


def test_another_model_of_dps_in_the_place_of_one_is_found_out() -> None:
    driver, paper = on_paper("DPS5005")
    paper.will(("01 03 0009 0004", registers(0, 5, 5005, 17)), ("01 03 0057 0001", registers(0)))
    driver.connect()
    paper.will(
        (DPS_POLL, dps_block(5015, 500, 100, 0, 0, 0, 2400, 0, 0, 0, 0)), ("01 03 0052 0002", registers(5200, 510))
    )
    with pytest.raises(IdentityError, match="another unit now"):
        driver.poll(never)


def test_the_reason_has_the_question_and_what_came() -> None:
    driver, paper = on_paper("RD6006")
    paper.will((RD_IDENTITY, b"RIDEN"))
    with pytest.raises(LinkError) as caught:
        driver.connect()
    assert str(caught.value) == (
        "no answer to the question for registers 0 to 3 (01 03 00 00 00 04 44 09) within 0.5 s, but other bytes: 52 49 44 45 4e"
    )


@pytest.mark.parametrize("way", ["socket", "serial"])
def test_a_unit_that_hangs_and_comes_back(way: str) -> None:
    unit = Riden("RD6006", noise=False)
    with on_line(unit) as network:
        driver = driver_for(unit, network.resources[way], timeout=BRIEF)
        patient = driver_for(unit, network.resources[way])
        driver.connect()
        driver.write(Write("voltage_limit", (1,), 1.0))
        network.freeze()
        with pytest.raises(LinkError, match=r"no answer to the question for registers 0 to 20 within 1 s"):
            driver.poll(never)
        driver.close()
        network.thaw()
        unit.turn(1, 2.0, 1.0)
        patient.connect()
        assert (patient.poll(never) or {})[1].voltage_limit == 2.0
        patient.close()


def test_a_line_that_is_not_there() -> None:
    unit = Riden("RD6006")
    with pytest.raises(LinkError, match="can't open it: "):
        driver_for(unit, "ASRL/dev/no-such-port::INSTR").connect()
    with pytest.raises(LinkError, match="can't open it: Modbus goes over a serial port"):
        driver_for(unit, "USB0::0x1AB1::0x0E11::DP8C::INSTR").connect()


def test_a_driver_that_was_never_connected() -> None:
    driver: ModbusDriver
    driver, _ = on_paper(["RD6006", "RD6012"])
    assert (driver.expected.model, len(driver.expected.outputs)) == (None, 1)
    driver.close()
    for write in (ON, OFF):
        with pytest.raises(LinkError):
            driver.write(write)
    with pytest.raises(LinkError):
        driver.poll(never)
