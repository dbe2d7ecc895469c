"""Simulated units that speak Modbus, byte by byte, from the specification and the fact sheets."""

from __future__ import annotations

import pytest

from agent.simulator import loads
from agent.simulator.riden import DPS, Gateway, ModbusLine, Riden
from agent.simulator.riden.frames import check_sum, cut_rtu, cut_tcp
from tests.simulator.lines import on_serial, on_socket


def sealed(text: str) -> bytes:
    data = bytes.fromhex(text)
    return data + check_sum(data)


def ask(unit: Riden, text: str) -> str | None:
    answer = unit.answer(bytes.fromhex(text))
    return None if answer is None else answer[:-2].hex(" ")


def test_the_check_sum() -> None:
    """The examples of Modbus over serial line 1.02, 6.2.2, and of many a manual."""
    assert check_sum(bytes.fromhex("02 07")).hex() == "4112"
    assert check_sum(bytes.fromhex("01 03 00 00 00 0a")).hex() == "c5cd"


def test_frames_are_cut_out_of_bytes() -> None:
    one, two = sealed("01 03 0000 0004"), sealed("01 10 0008 0002 04 014a 01f4")
    assert cut_rtu(one + two[:5]) == ([one[:-2]], two[:5])
    assert cut_rtu(b"\xff\x00" + one + two) == ([one[:-2], two[:-2]], b"")
    assert cut_rtu(one[:3]) == ([], one[:3])
    broken = one[:-1] + bytes([one[-1] ^ 1])
    frames, rest = cut_rtu(broken + one)
    assert (frames, rest) == ([one[:-2]], b"")
    assert cut_tcp(bytes.fromhex("0001 0000 0006 01 03 0000 0004 00")) == (
        [bytes.fromhex("0001 0000 0006 01 03 0000 0004")],
        b"\0",
    )


@pytest.mark.parametrize("way", [on_socket, on_serial])
def test_identity_as_bytes(way: object) -> None:
    """Signature 60062, serial number 0x00010002, firmware 1.42."""
    unit = Riden("RD6006", serial="65538")
    with way(unit) as wire:  # type: ignore[operator]
        wire.send(bytes.fromhex("01 03 00 00 00 04 44 09"))
        assert wire.read(13).hex(" ") == sealed("01 03 08 ea9e 0001 0002 008e").hex(" ")


def test_settings_and_their_scales() -> None:
    unit = Riden("RD6006", noise=False, loads={1: loads.Resistor(10.0)})
    assert ask(unit, "01 06 0008 014a") == "01 06 00 08 01 4a"  # 3.3 V
    assert ask(unit, "01 06 0009 01f4") == "01 06 00 09 01 f4"  # 0.5 A
    assert ask(unit, "01 06 0012 0001") == "01 06 00 12 00 01"
    assert (unit.output.voltage_set, unit.output.current_set, unit.output.on) == (3.3, 0.5, True)
    # Set and measured voltage and current: 3.3 V, 0.33 A.
    assert ask(unit, "01 03 0008 0004") == "01 03 08 01 4a 01 f4 01 4a 01 4a"
    assert unit.written == [(8, 330), (9, 500), (18, 1)]


@pytest.mark.parametrize(
    ("model", "volts", "amps"),
    [("RD6006P", 3300, 5000), ("RD6012", 330, 50), ("RD6012P", 3300, 500), ("DPS5015", 330, 50)],
)
def test_scales_by_model(model: str, volts: int, amps: int) -> None:
    unit = DPS(model) if model.startswith("D") else Riden(model)
    first = 0 if model.startswith("D") else 8
    unit.write(first, volts)
    unit.write(first + 1, amps)
    assert (unit.output.voltage_set, unit.output.current_set) == (3.3, 0.5)
    assert (unit.read(first), unit.read(first + 1)) == (volts, amps)


def test_the_range_of_an_rd6012p_moves_its_scale() -> None:
    unit = Riden("RD6012P")
    unit.write(9, 8000)
    assert (unit.output.current_set, unit.read(20)) == (8.0, 1)
    unit.choose_range(0)
    assert (unit.output.current_set, unit.read(9), unit.read(20)) == (6.0, 60000, 0)
    unit.write(9, 500)
    assert unit.output.current_set == 0.05


def test_trips() -> None:
    unit = Riden("RD6006", noise=False, loads={1: loads.Resistor(10.0)})
    unit.turn(1, 5.0, 1.0)
    unit.write(18, 1)
    unit.write(82, 400)
    assert (unit.read(18), unit.read(16), unit.read(10)) == (0, 1, 0)
    unit.write(82, 6000)
    unit.write(18, 1)
    assert (unit.read(18), unit.read(16), unit.read(17)) == (1, 0, 0)
    unit.write(83, 400)
    assert (unit.read(18), unit.read(16)) == (0, 2)


def test_cc() -> None:
    unit = DPS("DPS5005", noise=False, loads={1: loads.Resistor(10.0)})
    unit.turn(1, 5.0, 0.2)
    unit.write(9, 1)
    assert [unit.read(register) for register in (2, 3, 8, 9)] == [200, 200, 1, 1]


def test_refusals() -> None:
    unit = Riden("RD6006")
    assert ask(unit, "01 06 0008 2710") == "01 86 03"  # 100 V
    assert ask(unit, "01 04 0000 0001") == "01 84 01"
    assert ask(unit, "02 03 0000 0001") is None
    assert ask(unit, "01 03 0000 0054") is None  # more registers than the firmware takes
    unit.is_silent = True
    assert ask(unit, "01 03 0000 0001") is None
    assert unit.output.voltage_set == 0.0


def test_many_registers_are_written_at_once() -> None:
    unit = Riden("RD6006")
    assert ask(unit, "01 10 0008 0002 04 014a 01f4") == "01 10 00 08 00 02"
    assert (unit.output.voltage_set, unit.output.current_set) == (3.3, 0.5)


@pytest.mark.parametrize("comes_back", [True, False])
def test_power_returns(comes_back: bool) -> None:
    unit = Riden("RD6006", comes_back=comes_back)
    unit.write(8, 330)
    unit.write(18, 1)
    unit.power_cycle()
    assert (unit.output.on, unit.read(68), unit.read(8)) == (comes_back, int(comes_back), 330)


def test_several_units_on_one_line() -> None:
    line = ModbusLine([Riden("RD6006", address=1), DPS("DPS5005", address=2)])
    with on_socket(line) as wire:  # type: ignore[arg-type]
        line.late.add(2)
        wire.send(sealed("02 03 000b 0001"))
        wire.send(sealed("01 03 0000 0001"))
        assert wire.read(14) == sealed("02 03 02 138d") + sealed("01 03 02 ea9e")


def test_a_gateway_speaks_modbus_tcp() -> None:
    with on_socket(Gateway([Riden("RD6006")])) as wire:  # type: ignore[arg-type]
        wire.send(bytes.fromhex("0007 0000 0006 01 03 0000 0001"))
        assert wire.read(11) == bytes.fromhex("0007 0000 0005 01 03 02 ea9e")
        wire.send(bytes.fromhex("0008 0000 0006 02 03 0000 0001"))
        assert wire.read(9) == bytes.fromhex("0008 0000 0003 02 83 0b")


def test_an_unknown_model() -> None:
    with pytest.raises(ValueError, match="no such model to simulate: 'RD9'"):
        Riden("RD9")
